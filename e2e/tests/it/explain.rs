//! "Why was this refused?", asked with the command line alone.

use std::time::Duration;

use e2e::{Answer, Ask, Caller, within};
use serde_json::{Value, json};
use steadfast_faults::{Faults, Latency, Plan, When};

use crate::serve::{House, PATIENCE};

/// A house whose gateway takes a request of 100 ms for slow, and lets each address in once a day.
async fn house() -> House {
    let house = House::open().await;
    let text = house.text(false, "[explain]\nslow = \"100ms\"\n");
    let limit = "[limits.per-address]\nper = \"ip\"\nrate = \"1/d\"\n\n[[routes]]\npath = \"/limited\"\n\
                 upstream = \"office\"\nlimits = [\"per-address\"]\ndecision_header = true\n\n[[routes]]";
    house.reload_with(&text.replacen("[[routes]]", limit, 1)).await;
    house
}

async fn ask(house: &House, ask: Ask, id: &str) -> Answer {
    let mut caller = Caller::new(house.gateway.addr(), PATIENCE);
    caller.ask(&ask.header("x-request-id", id)).await.expect("an answer")
}

/// What the command line says of a request: its exit code, and what it prints.
async fn said(house: &House, id: &str) -> (Option<i32>, String) {
    let output = house.run(&["explain", id]).await;
    let all = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&all).into_owned())
}

async fn explained(house: &House, id: &str) -> Value {
    house.printed(&["explain", id]).await
}

fn step<'a>(request: &'a Value, part: &str) -> &'a Value {
    let steps = request["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["part"] == part).unwrap_or_else(|| panic!("no {part} in {request}"))
}

#[tokio::test]
async fn a_request_that_a_limit_refused_is_told_by_which_with_how_much_left_and_until_when() {
    let house = house().await;
    ask(&house, Ask::get("/limited"), "first").await;
    let refused = ask(&house, Ask::get("/limited?token=secret"), "second").await;
    assert_eq!(refused.status, 429);
    let told = refused.header("steadfast-decision").expect("the route says so").to_owned();
    assert!(told.starts_with("limit;refused;policy=\"per-address\";remaining=0;t="), "{told}");
    let after: u64 = refused.header("retry-after").expect("a time").parse().expect("seconds");

    let found = explained(&house, "second").await;
    let request = &found["requests"][0];
    assert_eq!((&request["because"], &request["status"]), (&json!("refused"), &json!(429)));
    assert_eq!(request["refusal"]["retry_after"], after);
    let limit = step(request, "limit");
    assert_eq!(limit["facts"], json!({"policy": "per-address", "remaining": 0, "t": after}));
    let (exit, text) = said(&house, "second").await;
    assert_eq!(exit, Some(0), "{text}");
    assert!(text.contains("refused by limit `per-address` with 429 quota-exceeded"), "{text}");
    assert!(text.contains(&format!("(after {after} s)")), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_slow_request_is_told_with_its_attempts_and_what_the_time_went_into() {
    let house = house().await;
    let slow = Latency { fixed_ms: 150, jitter_ms: 0, when: When::default() };
    let toward_client = Faults { latency: Some(slow), ..Faults::default() };
    house.proxy.set(Plan { toward_client, ..Plan::default() }).expect("a valid plan");
    assert_eq!(ask(&house, Ask::order("slow-1"), "slow").await.status, 201);
    let found = explained(&house, "slow").await;
    let request = &found["requests"][0];
    assert_eq!(
        (&request["because"], &request["status"], &request["refusal"]),
        (&json!("slow"), &json!(201), &json!(null))
    );
    let attempt = step(request, "attempt");
    assert_eq!((&attempt["verdict"], &attempt["facts"]["status"]), (&json!("answered"), &json!(201)));
    assert!(attempt["took_ms"].as_f64().is_some_and(|took| took >= 100.0), "{attempt}");
    assert_eq!(
        (&step(request, "claim")["verdict"], &step(request, "outcome")["verdict"]),
        (&json!("passed"), &json!("written"))
    );
    assert_eq!(found["operations"][0]["attempts"][0]["request_id"], "slow");
    let (_, text) = said(&house, "slow").await;
    assert!(text.contains("most of that went into attempt"), "{text}");
}

#[tokio::test]
async fn a_keyed_request_is_found_in_the_ledger_after_the_gateway_died() {
    within(Duration::from_secs(120), async {
        let mut house = house().await;
        assert_eq!(ask(&house, Ask::order("kept"), "mine").await.status, 201);
        house.gateway.restart().await;
        let found = explained(&house, "mine").await;
        assert_eq!((&found["requests"], &found["ledger"]), (&json!([]), &json!("whole")));
        let operation = &found["operations"][0];
        assert_eq!((&operation["key"], &operation["state"]), (&json!("kept"), &json!("completed")));
        let attempt = &operation["attempts"][0];
        assert_eq!(
            (&attempt["request_id"], &attempt["end"], &attempt["status"]),
            (&json!("mine"), &json!("answered"), &json!(201))
        );
        let (exit, text) = said(&house, "mine").await;
        assert_eq!(exit, Some(0), "{text}");
        assert!(text.contains("The ledger says what it worked for.") && text.contains("completed"), "{text}");
        let (exit, text) = said(&house, "nobody").await;
        assert_eq!(exit, Some(5), "{text}");
        assert!(text.contains("--admin"), "{text}");
    })
    .await;
}
