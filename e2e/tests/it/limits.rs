//! Limits on callers, seen, raised and reset with the command line alone.

use serde_json::{Value, json};

use crate::serve::House;

/// A house that lets each address in twice a day.
async fn house() -> House {
    let house = House::open().await;
    let text = house.text(false, "");
    let limit =
        "[limits.per-address]\nper = \"ip\"\nrate = \"2/d\"\n\n[[routes]]\nlimits = [\"per-address\"]";
    house.reload_with(&text.replace("[[routes]]", limit)).await;
    house
}

async fn printed(house: &House, arguments: &[&str]) -> Value {
    house.printed(&[&["limits"], arguments].concat()).await
}

#[tokio::test]
async fn a_caller_that_is_refused_is_seen_given_more_and_begun_anew_by_hand() {
    let house = house().await;
    assert_eq!((house.unkeyed().await, house.unkeyed().await, house.unkeyed().await), (201, 201, 429));
    let listed = printed(&house, &["list"]).await;
    let limit = &listed["limits"][0];
    assert_eq!(
        (&limit["name"], &limit["allowed"], &limit["refused"], &limit["mode"]),
        (&json!("per-address"), &json!(2), &json!(1), &json!("enforce"))
    );
    assert_eq!(limit["most_refused"][0]["subject"], "127.0.0.1");
    let table = house.run(&["limits", "list"]).await;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("2/d (token bucket)") && table.contains("127.0.0.1 (1)"), "{table}");

    let count = &printed(&house, &["get", "127.0.0.1"]).await[0];
    assert_eq!((&count["limit"], &count["remaining"]), (&json!("per-address"), &json!(0)));
    assert!(count["retry_after_seconds"].as_f64().is_some_and(|after| after > 40_000.0), "{count}");
    assert_eq!(printed(&house, &["get", "192.0.2.1"]).await, json!([]));

    let raise = ["raise", "127.0.0.1", "x2", "--for", "2h", "--reason", "ticket 4711", "--by", "ada"];
    assert_eq!(printed(&house, &raise).await, json!({"subject": "127.0.0.1", "changed": 1}));
    assert_eq!((house.unkeyed().await, house.unkeyed().await, house.unkeyed().await), (201, 201, 429));
    let raised = &printed(&house, &["list"]).await["raised"][0];
    assert_eq!(
        (&raised["factor"], &raised["by"], &raised["reason"]),
        (&json!(2.0), &json!("ada"), &json!("ticket 4711"))
    );
    printed(&house, &["raise", "127.0.0.1", "x1", "--reason", "done"]).await;
    assert_eq!(printed(&house, &["list"]).await["raised"], json!([]));

    let reset = printed(&house, &["reset", "127.0.0.1", "--reason", "our own mistake"]).await;
    assert_eq!(reset["changed"], 1);
    assert_eq!((house.unkeyed().await, house.unkeyed().await, house.unkeyed().await), (201, 201, 429));
}

#[tokio::test]
async fn an_order_that_is_not_understood_has_an_exit_code_of_its_own() {
    let house = house().await;
    for (arguments, exit) in [
        (&["limits", "get", "acme", "--limit", "other"][..], 5),
        (&["limits", "raise", "acme", "x3", "--limit", "other", "--reason", "why"], 5),
        (&["limits", "raise", "acme", "x3", "--for", "8d", "--reason", "why"], 1),
        (&["limits", "raise", "acme", "x0", "--reason", "why"], 2),
        (&["limits", "raise", "acme", "x3"], 2),
        (&["limits", "reset", "acme"], 2),
    ] {
        let output = house.run(arguments).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {said}");
        assert!(!said.is_empty());
    }
}
