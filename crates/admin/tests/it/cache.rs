//! What is kept of answers, and forgetting it.

use steadfast_admin::Forget;

use crate::desk::Desk;

#[tokio::test]
async fn it_says_how_much_is_kept() {
    let desk = Desk::open().await;
    let held = desk.get("/api/cache").await.json();
    assert_eq!(held["targets"], 3);
    assert_eq!((held["bytes"].as_u64(), held["bytes_max"].as_u64()), (Some(4_096), Some(65_536)));
}

#[tokio::test]
async fn a_purge_names_one_thing_and_who_asks() {
    let desk = Desk::open().await;
    for (order, forget) in [
        (r#"{"url": "https://a.example/x", "by": "ada"}"#, Forget::Url("https://a.example/x".into())),
        (r#"{"prefix": "/x", "by": "ada"}"#, Forget::Prefix("/x".into())),
        (r#"{"tag": "t", "by": "ada"}"#, Forget::Tag("t".into())),
        (r#"{"all": true, "by": "ada"}"#, Forget::All),
    ] {
        let purged = desk.post("/api/cache/purge", order).await;
        assert_eq!((purged.status, purged.json()["purged"].as_u64()), (200, Some(2)), "{order}");
        assert_eq!(desk.gateway.forgotten.lock().unwrap().pop(), Some(forget));
    }
    for order in [
        r#"{"by": "ada"}"#,
        r#"{"url": "/x", "all": true, "by": "ada"}"#,
        r#"{"url": "x", "by": "ada"}"#,
        r#"{"tag": "", "by": "ada"}"#,
        r#"{"all": true}"#,
        r#"{"all": true, "by": " "}"#,
        r#"{"everything": true, "by": "ada"}"#,
    ] {
        assert_eq!(desk.post("/api/cache/purge", order).await.status, 400, "{order}");
    }
    assert!(desk.gateway.forgotten.lock().unwrap().is_empty());
}
