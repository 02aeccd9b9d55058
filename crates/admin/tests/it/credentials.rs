//! Credentials are made, listed, rotated and revoked, and a key is shown once.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use steadfast_core::{ApiKey, check_api_key};

use crate::desk::Desk;

async fn created(desk: &Desk, order: Value) -> Value {
    let reply = desk.post("/api/credentials", &order.to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

fn path(credential: &Value, action: &str) -> String {
    format!("/api/credentials/{}/{action}", credential["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn a_key_is_shown_when_it_is_made_and_never_again() {
    let desk = Desk::open().await;
    let order = json!({
        "principal": "acme", "scopes": ["orders:write"], "attributes": {"plan": "pro"}, "expires_in": "90d",
        "by": "ada", "reason": "their first",
    });
    let made = created(&desk, order).await;
    let key = made["key"].as_str().expect("a key").to_owned();
    assert_eq!(check_api_key("sf", key.as_bytes()), Ok(()));
    assert!(key.contains(made["id"].as_str().expect("an id")));
    assert_eq!(made["expires_at"], "2027-04-15T08:00:00.000Z");
    let listed = desk.get("/api/credentials").await;
    assert!(!listed.body.contains(&key[16..]), "{listed:?}");
    let mut expected = made.clone();
    expected.as_object_mut().expect("an object").remove("key");
    assert_eq!(listed.json(), json!([expected]));
    assert_eq!(desk.gateway.credentials_changed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_rotated_key_lasts_as_long_as_the_old_one_was_to_and_the_old_one_ends_after_the_overlap() {
    let desk = Desk::open().await;
    let old = created(&desk, json!({"principal": "acme", "scopes": ["a"], "expires_in": "30d"})).await;
    let new = desk.post(&path(&old, "rotate"), r#"{"overlap": "1h"}"#).await.json();
    let expected = (&json!("acme"), &json!(["a"]), &old["id"]);
    assert_eq!((&new["principal"], &new["scopes"], &new["replaces"]), expected);
    assert_eq!(new["expires_at"], old["expires_at"]);
    assert_ne!(new["key"], old["key"]);
    let listed = desk.get("/api/credentials?principal=acme").await.json();
    let listed = listed.as_array().expect("a list");
    assert_eq!(listed.len(), 2, "both are good for an hour");
    let replaced = listed.iter().find(|one| one["id"] == old["id"]).expect("it is listed");
    assert_eq!(replaced["expires_at"], "2027-01-15T09:00:00.000Z");
    assert_eq!(desk.post(&path(&new, "rotate"), r#"{"overlap": "0s"}"#).await.status, 200);
    desk.post(&path(&new, "rotate"), "{}").await.refused(409, "credential-ended");
}

#[tokio::test]
async fn a_revoked_key_is_listed_only_where_all_are() {
    let desk = Desk::open().await;
    let made = created(&desk, json!({"principal": "acme"})).await;
    let revoke = path(&made, "revoke");
    let revoked = desk.post(&revoke, r#"{"reason": "it leaked", "by": "ada"}"#).await.json();
    assert_eq!(
        (&revoked["state"], &revoked["revoked_at"]),
        (&json!("revoked"), &json!("2027-01-15T08:00:00.000Z"))
    );
    assert_eq!(desk.get("/api/credentials").await.json(), json!([]));
    assert_eq!(desk.get("/api/credentials?all=true").await.json(), json!([revoked]));
    desk.post(&revoke, "{}").await.refused(409, "credential-ended");
}

#[tokio::test]
async fn what_cannot_be_a_credential_is_refused_and_says_why() {
    let desk = Desk::open().await;
    for order in [
        json!({}),
        json!({"principal": " "}),
        json!({"principal": "a\nb"}),
        json!({"principal": "a", "scopes": ["a b"]}),
        json!({"principal": "a", "attributes": {"Plan": "pro"}}),
        json!({"principal": "a", "attributes": {"plan": ""}}),
        json!({"principal": "a", "expires_in": "soon"}),
        json!({"principal": "a", "key": "mine"}),
    ] {
        desk.post("/api/credentials", &order.to_string()).await.refused(400, "request-invalid");
    }
    let other = json!({"principal": "a", "authenticator": "partners"});
    desk.post("/api/credentials", &other.to_string()).await.refused(409, "no-authenticator");
    desk.gateway.key_prefixes.lock().unwrap().push(("partners".to_owned(), "pa".to_owned()));
    desk.post("/api/credentials", r#"{"principal": "a"}"#).await.refused(409, "no-authenticator");
    assert!(created(&desk, other).await["key"].as_str().expect("a key").starts_with("pa_"));
    desk.post("/api/credentials/000000000000/revoke", "{}").await.refused(404, "credential-not-found");
    // Somebody takes the key for its id: it is not repeated.
    let key = ApiKey::random("sf");
    let refused = desk.post(&format!("/api/credentials/{}/revoke", key.reveal()), "{}").await;
    assert!(!refused.refused(400, "request-invalid").contains(key.reveal()));
}
