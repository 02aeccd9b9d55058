//! API keys with the command line alone: made, used, rotated and revoked.

use std::process::Output;

use e2e::{Ask, Caller};
use serde_json::Value;

use crate::serve::{House, PATIENCE, command};

/// A house whose callers must show a key.
async fn house() -> House {
    let house = House::open().await;
    let more = "[authentication.customers]\napi_keys = {}\n";
    let asks = "authentication = { by = [\"customers\"], scopes = [\"orders:write\"] }\nidempotency";
    let text = house.text(false, more).replace("idempotency", asks);
    std::fs::write(&house.config, text).expect("the test's folder");
    let reloaded = run(&house, &["reload"]).await;
    assert!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
    house
}

async fn run(house: &House, arguments: &[&str]) -> Output {
    let admin = house.gateway.admin_addr().to_string();
    let arguments: Vec<String> =
        arguments.iter().map(ToString::to_string).chain(["--admin".to_owned(), admin]).collect();
    let running = tokio::task::spawn_blocking(move || {
        command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    });
    running.await.expect("it runs")
}

async fn printed(house: &House, arguments: &[&str]) -> Value {
    let output = run(house, &[&["credentials"], arguments, &["-o", "json"]].concat()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
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
    let made = run(&house, &["credentials", "create", "acme", "--scope", "orders:write"]).await;
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
    let again = run(&house, &["credentials", "revoke", &id]).await;
    assert!(again.status.success(), "an expired one can be revoked still");
    assert_eq!(run(&house, &["credentials", "revoke", &id]).await.status.code(), Some(4));
    assert_eq!(run(&house, &["credentials", "revoke", "000000000000"]).await.status.code(), Some(5));
}
