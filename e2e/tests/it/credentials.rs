//! API keys with the command line alone: made, used, rotated and revoked.

use e2e::{Ask, Caller};
use serde_json::Value;

use crate::serve::{House, PATIENCE};

/// A house whose callers must show a key.
async fn house() -> House {
    let house = House::open().await;
    let more = "[authentication.customers]\napi_keys = {}\n";
    let asks = "authentication = { by = [\"customers\"], scopes = [\"orders:write\"] }\nidempotency";
    let text = house.text(false, more).replace("idempotency", asks);
    house.reload_with(&text).await;
    house
}

async fn printed(house: &House, arguments: &[&str]) -> Value {
    house.printed(&[&["credentials"], arguments].concat()).await
}

async fn ordering(house: &House, key: &str) -> u16 {
    let body = r#"{"event":"open-air","buyer":"ada","tickets":1}"#;
    let ask = Ask::post("/orders", body).header("Authorization", format!("Bearer {key}"));
    Caller::new(house.gateway.addr(), PATIENCE).ask(&ask).await.expect("an answer").status
}

#[tokio::test]
async fn a_key_is_made_used_rotated_and_revoked_with_the_command_line_alone() {
    let house = house().await;
    assert_eq!(house.unkeyed().await, 401);
    // The key alone is on the standard output: it can go straight to where it is kept.
    let made = house.run(&["credentials", "create", "acme", "--scope", "orders:write"]).await;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let key = String::from_utf8(made.stdout).expect("a text").trim().to_owned();
    assert!(key.starts_with("sf_") && !key.contains(char::is_whitespace), "{key}");
    assert_eq!(ordering(&house, &key).await, 201);
    let listed = printed(&house, &["list"]).await;
    let id = listed[0]["id"].as_str().expect("an id").to_owned();
    assert!(key.contains(&id) && !listed.to_string().contains(&key));
    let rotated = printed(&house, &["rotate", &id, "--overlap", "0s"]).await;
    let next = rotated["key"].as_str().expect("a key").to_owned();
    assert_eq!((ordering(&house, &key).await, ordering(&house, &next).await), (401, 201));
    printed(&house, &["revoke", rotated["id"].as_str().expect("an id"), "--reason", "it leaked"]).await;
    assert_eq!(ordering(&house, &next).await, 401);
    let again = house.run(&["credentials", "revoke", &id]).await;
    assert!(again.status.success(), "an expired one can be revoked still");
    assert_eq!(house.run(&["credentials", "revoke", &id]).await.status.code(), Some(4));
    assert_eq!(house.run(&["credentials", "revoke", "000000000000"]).await.status.code(), Some(5));
}
