//! Circuits by hand: seen, held open and closed, and let go, with the command line alone.

use serde_json::{Value, json};

use crate::serve::House;

/// A house whose office has a circuit.
async fn house() -> House {
    let house = House::open().await;
    let text = house.text(false, "").replace("[[routes]]", "circuit = { volume_min = 1000 }\n[[routes]]");
    house.reload_with(&text).await;
    house
}

async fn printed(house: &House, arguments: &[&str]) -> Value {
    house.printed(&[&["circuits"], arguments].concat()).await
}

#[tokio::test]
async fn a_circuit_is_held_open_and_let_go_by_hand() {
    let house = house().await;
    assert_eq!(house.unkeyed().await, 201);
    let opened = printed(&house, &["open", "office", "--for", "30m", "--reason", "its maintenance"]).await;
    assert_eq!(opened, json!({"upstream": "office", "state": "open", "circuits": 1}));
    assert_eq!(house.unkeyed().await, 503);
    let listed = printed(&house, &["list"]).await;
    let circuit = &listed[0]["circuit"];
    assert_eq!(
        (&circuit["state"], &circuit["by_hand"], &circuit["why"]),
        (&json!("open"), &json!(true), &json!("by hand"))
    );
    assert!(
        circuit["left_seconds"].as_f64().is_some_and(|left| left > 1_700.0 && left <= 1_800.0),
        "{circuit}"
    );
    let table = house.run(&["circuits", "list"]).await;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("UPSTREAM") && table.contains("open (by hand)"), "{table}");
    assert_eq!(printed(&house, &["close", "office"]).await["state"], "closed");
    assert_eq!(house.unkeyed().await, 201);
    assert_eq!(printed(&house, &["reset", "office"]).await["state"], "automatic");
    assert_eq!(house.unkeyed().await, 201);
}

#[tokio::test]
async fn an_order_that_means_no_circuit_has_an_exit_code_of_its_own() {
    let house = house().await;
    for (arguments, exit) in [
        (&["circuits", "open", "elsewhere"][..], 5),
        (&["circuits", "open", "office", "--endpoint", "http://elsewhere"], 5),
        (&["circuits", "open", "office", "--for", "25h"], 1),
        (&["circuits", "ajar", "office"], 2),
    ] {
        let output = house.run(arguments).await;
        assert_eq!(
            output.status.code(),
            Some(exit),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(!output.stderr.is_empty());
    }
    house.write(false, "");
    assert!(house.run(&["reload"]).await.status.success());
    assert_eq!(house.run(&["circuits", "open", "office"]).await.status.code(), Some(4), "it has no circuit");
}
