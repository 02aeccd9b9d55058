//! Bans with the command line alone, and bans that come about by themselves: at once, after a crash, and of nobody else.

use std::time::Duration;

use e2e::{Answer, Ask, Caller, await_that};
use serde_json::{Value, json};

use crate::serve::{House, PATIENCE};

/// A house whose callers must show a key, with these lines of config.
async fn house(more: &str) -> House {
    let house = House::open().await;
    let more = format!("{more}\n[authentication.customers]\napi_keys = {{}}\n");
    let asks = "authentication = { by = [\"customers\"] }\nidempotency";
    let text = house.text(false, &more).replace("idempotency", asks);
    house.reload_with(&text).await;
    house
}

async fn ask(house: &House, ask: &Ask) -> Answer {
    Caller::new(house.gateway.addr(), PATIENCE).ask(ask).await.expect("an answer")
}

fn order(key: &str) -> Ask {
    let body = r#"{"event":"open-air","buyer":"ada","tickets":1}"#;
    Ask::post("/orders", body).header("Authorization", format!("Bearer {key}"))
}

async fn key_of(house: &House, principal: &str) -> String {
    let made = house.printed(&["credentials", "create", principal]).await;
    made["key"].as_str().expect("a key").to_owned()
}

async fn subjects(house: &House) -> Vec<String> {
    let listed = house.printed(&["bans", "list"]).await;
    let subject = |ban: &Value| ban["subject"].as_str().expect("a text").to_owned();
    listed.as_array().expect("a list").iter().map(subject).collect()
}

#[tokio::test]
async fn who_is_banned_by_hand_is_refused_at_once_and_served_again_once_let_in() {
    let house = House::open().await;
    // Everybody here calls from an address that is spared unless this is stated.
    house.reload_with(&house.text(false, "[abuse]\nnever = []\n")).await;
    assert_eq!(house.unkeyed().await, 201);
    let add = ["bans", "add", "127.0.0.0/24", "--for", "2h", "--reason", "it scrapes", "--by", "ada"];
    let ban = house.printed(&add).await;
    assert_eq!((&ban["subject"], &ban["source"]), (&json!("127.0.0.0/24"), &json!("by_hand")));
    assert_eq!(house.unkeyed().await, 403);
    let refused = ask(&house, &Ask::get("/orders")).await;
    assert_eq!(refused.code().as_deref(), Some("banned"));
    let seconds: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((7_190..=7_200).contains(&seconds), "{seconds}");
    let table = house.run(&["bans", "list"]).await;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("127.0.0.0/24") && table.contains("it scrapes"), "{table}");
    let removed = house.run(&["bans", "remove", "127.0.0.0/24", "--reason", "they called"]).await;
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    assert_eq!((house.unkeyed().await, subjects(&house).await.len()), (201, 0));

    let log = house.gateway.errors();
    for event in ["\"event\":\"banned\"", "\"event\":\"ban-lifted\"", "\"event\":\"banned-request\""] {
        assert!(
            log.lines().any(|line| line.contains(event) && line.contains("\"target\":\"security\"")),
            "{log}"
        );
    }
    let audited = |line: &str| line.contains("\"action\":\"bans_add\"") && line.contains("\"by\":\"ada\"");
    assert!(log.lines().any(audited), "{log}");
}

#[tokio::test]
async fn the_21st_request_without_a_good_credential_is_refused_and_a_crash_forgives_nothing() {
    let rule = "[abuse]\nunauthenticated = { count = 20, within = \"1m\", ban_for = \"10m\" }\nnever = []";
    let mut house = house(rule).await;
    let key = key_of(&house, "acme").await;
    assert_eq!(ask(&house, &order(&key)).await.status, 201);
    for number in 0..20 {
        // Nobody who is not a trusted proxy says who is calling: the victim is not banned for it.
        let forged = order("sf_wrong").header("X-Forwarded-For", "203.0.113.7");
        assert_eq!(ask(&house, &forged).await.status, 401, "{number}");
    }
    let refused = ask(&house, &order("sf_wrong")).await;
    assert_eq!((refused.status, refused.code().as_deref()), (403, Some("banned")));
    assert_eq!(ask(&house, &order(&key)).await.status, 403, "it is the address that is banned");
    await_that("the ledger knows of it", PATIENCE, async || {
        (subjects(&house).await == ["127.0.0.1"]).then_some(())
    })
    .await;
    house.gateway.restart().await;
    let refused = ask(&house, &order(&key)).await;
    assert_eq!(refused.status, 403);
    let seconds: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((1..=600).contains(&seconds), "{seconds}");
    assert_eq!(subjects(&house).await, ["127.0.0.1"]);
    let removed = house.run(&["bans", "remove", "127.0.0.1", "--reason", "our own test"]).await;
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    assert_eq!(ask(&house, &order(&key)).await.status, 201);
}

#[tokio::test]
async fn a_banned_principal_is_refused_from_every_address_and_whoever_storms_limits_is_banned() {
    let more = "[edge]\ntrusted_proxies = [\"127.0.0.1\"]\n\
                [abuse]\nlimit_storm = { count = 5, within = \"1m\", ban_for = \"10m\" }\n\
                [limits.daily]\nper = \"principal\"\nrate = \"2/d\"";
    let house = house(more).await;
    let text = std::fs::read_to_string(&house.config).expect("the config");
    house.reload_with(&text.replace("[[routes]]", "[[routes]]\nlimits = [\"daily\"]")).await;
    let (acme, other) = (key_of(&house, "acme").await, key_of(&house, "other").await);
    let from = |key: &str, address: &str| order(key).header("X-Forwarded-For", address);
    house.printed(&["bans", "add", "principal:acme", "--reason", "ticket 4711"]).await;
    for address in ["203.0.113.7", "198.51.100.1"] {
        assert_eq!(ask(&house, &from(&acme, address)).await.status, 403, "{address}");
        assert_eq!(ask(&house, &from(&other, address)).await.status, 201, "{address}");
    }
    for number in 0..5 {
        assert_eq!(ask(&house, &from(&other, &format!("203.0.113.{number}"))).await.status, 429);
    }
    let refused = ask(&house, &from(&other, "192.0.2.1")).await;
    assert_eq!((refused.status, refused.code().as_deref()), (403, Some("banned")));
    await_that("the ledger knows of it", PATIENCE, async || {
        let mut known = subjects(&house).await;
        known.sort();
        (known == ["principal:acme", "principal:other"]).then_some(())
    })
    .await;
    tokio::time::timeout(Duration::from_secs(20), async {
        let third = key_of(&house, "third").await;
        assert_eq!(ask(&house, &from(&third, "203.0.113.7")).await.status, 201, "their address is nobody's");
    })
    .await
    .expect("in time");
}

#[tokio::test]
async fn an_order_that_is_not_understood_bans_nobody() {
    let house = House::open().await;
    for (arguments, exit) in [
        (&["bans", "add", "acme", "--reason", "why"][..], 1),
        (&["bans", "add", "0.0.0.0/0", "--reason", "why"], 1),
        (&["bans", "add", "203.0.113.7"], 2),
        (&["bans", "remove", "203.0.113.7", "--reason", "why"], 5),
    ] {
        let output = house.run(arguments).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {said}");
        assert!(!said.is_empty());
    }
    assert_eq!(subjects(&house).await.len(), 0);
}
