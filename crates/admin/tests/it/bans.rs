//! Bans are made, listed and lifted by hand, and what is mistyped bans nobody.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::desk::Desk;

fn order(subject: &str, more: &Value) -> String {
    let mut order = json!({"subject": subject, "reason": "it scrapes", "by": "ada"});
    order.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    order.to_string()
}

async fn listed(desk: &Desk, query: &str) -> Vec<(String, String)> {
    let listed = desk.get(&format!("/api/bans{query}")).await.json();
    let pair = |ban: &Value| {
        (
            ban["subject"].as_str().expect("a text").to_owned(),
            ban["state"].as_str().expect("a text").to_owned(),
        )
    };
    listed.as_array().expect("a list").iter().map(pair).collect()
}

#[tokio::test]
async fn a_ban_is_made_listed_and_lifted_and_the_gateway_told_each_time() {
    let desk = Desk::open().await;
    let more = json!({"for": "2h", "challenge": "https://example.org/human"});
    let made = desk.post("/api/bans", &order("203.0.113.9/24", &more)).await.json();
    assert_eq!((&made["subject"], &made["source"]), (&json!("203.0.113.0/24"), &json!("by_hand")));
    assert_eq!(
        (&made["until"], &made["challenge"]),
        (&json!("2027-01-15T10:00:00.000Z"), &more["challenge"])
    );
    assert_eq!((&made["reason"], &made["by"]), (&json!("it scrapes"), &json!("ada")));
    let config = ("198.51.100.0/24".to_owned(), "holds".to_owned());
    let of = |state: &str| ("203.0.113.0/24".to_owned(), state.to_owned());
    assert_eq!(listed(&desk, "").await, [config.clone(), of("holds")]);
    assert_eq!(desk.gateway.bans_changed.load(Ordering::SeqCst), 1);
    let lifted = desk.post("/api/bans/lift", &order("203.0.113.0/24", &json!({}))).await.json();
    assert_eq!(lifted["state"], "lifted");
    assert!(desk.gateway.bans_changed.load(Ordering::SeqCst) > 1);
    assert_eq!(listed(&desk, "").await, std::slice::from_ref(&config));
    assert_eq!(listed(&desk, "?all=true").await, [config, of("lifted")]);
    desk.post("/api/bans/lift", &order("203.0.113.0/24", &json!({}))).await.refused(404, "ban-not-found");
}

#[tokio::test]
async fn what_is_mistyped_or_never_banned_or_in_the_config_is_refused() {
    let desk = Desk::open().await;
    for (subject, more) in [
        ("acme", json!({})),
        ("203.0.113.7/33", json!({})),
        ("0.0.0.0/0", json!({})),
        ("principal:", json!({})),
        ("203.0.113.7", json!({"for": "2 weeks"})),
        ("203.0.113.7", json!({"challenge": "javascript:alert(1)"})),
        ("203.0.113.7", json!({"reason": " "})),
    ] {
        desk.post("/api/bans", &order(subject, &more)).await.refused(400, "request-invalid");
    }
    desk.post("/api/bans", &order("10.0.0.1", &json!({}))).await.refused(409, "never-banned");
    desk.post("/api/bans/lift", &order("198.51.100.0/24", &json!({}))).await.refused(409, "ban-in-config");
    assert_eq!(listed(&desk, "?all").await.len(), 1);
}
