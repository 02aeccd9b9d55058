//! Who called which version.

use crate::desk::Desk;

#[tokio::test]
async fn usage_is_told_by_version_and_caller() {
    let desk = Desk::open().await;
    let all = desk.get("/api/usage").await.json();
    let lines = all.as_array().expect("a list");
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[0],
        serde_json::json!({
            "version": "v1",
            "by": "principal",
            "caller": "acme",
            "requests": 12,
            "refused": 2,
            "first_at": "1970-01-01T00:00:01.000Z",
            "last_at": "1970-01-01T00:00:02.000Z",
        })
    );
    let by: Vec<_> = lines.iter().map(|line| (line["by"].as_str(), line["caller"].as_str())).collect();
    assert_eq!(
        by[1..],
        [(Some("credential"), Some("00ff")), (Some("anonymous"), None), (Some("others"), None)]
    );
    let some = desk.get("/api/usage?version=v2").await.json();
    assert_eq!(some.as_array().map(Vec::len), Some(1));
    assert_eq!(desk.get("/api/usage?verzion=v2").await.status, 400);
}
