//! Claims about where a key comes from, where it is not the header.

use super::{
    Stand,
    backend::{Act, Gate},
    refusal::Again,
    routes::WINDOW,
    wire::Ask,
};

const SOURCE: &str = "steadfast-key-source";

fn order(id: &str) -> Ask {
    Ask::post("/field").body(format!("{{\"order\":{{\"id\":{id}}}}}"))
}

pub(crate) async fn a_field_of_the_body_is_a_key(stand: Stand) {
    for (number, (id, key)) in [("\"a\"", "a"), ("17", "17")].into_iter().enumerate() {
        let first = stand.ask(&order(id)).await;
        assert_eq!((first.status, first.header(SOURCE)), (201, Some("body-field")));
        assert_eq!(stand.last_seen().key(), Some(key));
        let again = stand.ask(&order(id)).await;
        assert_eq!((again.is_replay(), again.header(SOURCE)), (true, Some("body-field")));
        assert_eq!(stand.backend.count(), number + 1);
    }
    // Without one, a route that does not require a key lets it through.
    for absent in ["{}", "{\"order\":{\"id\":null}}", "no JSON", ""] {
        let answer = stand.ask(&Ask::post("/field").body(absent)).await;
        assert_eq!((answer.status, answer.header("steadfast-operation")), (201, None), "{absent}");
        assert_eq!(stand.last_seen().body, absent.as_bytes());
    }
}

pub(crate) async fn the_header_and_the_field_may_agree(stand: Stand) {
    let first = stand.ask(&order("\"a\"").key("a")).await;
    assert_eq!((first.status, first.header(SOURCE)), (201, None));
    assert!(stand.ask(&order("\"a\"").key("\"a\"")).await.is_replay());
    assert!(stand.ask(&order("\"a\"")).await.is_replay(), "either names the operation");
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_field_and_a_header_that_disagree_are_refused(stand: Stand) {
    let answer = stand.ask(&order("\"a\"").key("b")).await;
    answer.refused(400, "idempotency-key-invalid", Again::Never);
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn a_field_that_is_no_key_is_refused(stand: Stand) {
    for id in ["[1]", "{}", "true", "\"\"", "\"schl\u{fc}ssel\""] {
        stand.ask(&order(id)).await.refused(400, "idempotency-key-invalid", Again::Never);
    }
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn a_derived_key_needs_all_of_its_fields(stand: Stand) {
    for body in ["{\"event\":1}", "{\"event\":1,\"student\":null}", "", "no JSON"] {
        let answer = stand.ask(&Ask::post("/derived").body(body)).await;
        let document = answer.refused(400, "idempotency-key-missing", Again::Never);
        assert!(document["detail"].as_str().is_some_and(|detail| detail.contains("student")), "{document}");
    }
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn equal_fields_are_one_operation(stand: Stand) {
    let ask = |student, note| {
        Ask::post("/derived").body(format!("{{\"event\":1,\"student\":\"{student}\",\"note\":\"{note}\"}}"))
    };
    let first = stand.ask(&ask("ada", "")).await;
    assert_eq!((first.status, first.header(SOURCE)), (201, Some("derived")));
    let key = stand.last_seen().key().expect("a key").to_owned();
    assert!(key.starts_with("sf_"), "{key}");
    assert!(stand.ask(&ask("ada", "")).await.is_replay());
    stand.ask(&ask("ada", "else")).await.refused(422, "idempotency-key-reused", Again::Never);
    assert_eq!(stand.ask(&ask("bob", "")).await.text(), "done 2");
    assert_ne!(stand.last_seen().key(), Some(&*key));
}

pub(crate) async fn a_triple_click_within_the_window_executes_once(stand: Stand) {
    let gate = Gate::closed();
    stand.backend.will(Act::answer(201, "bought").held_by(&gate));
    let click = Ask::post("/window");
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.push(stand.send(&click).await);
    }
    stand.ledger.claims_asked(3).await;
    gate.open();
    for mut line in lines {
        let answer = line.answer("POST").await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (201, "bought"));
        assert_eq!(answer.header(SOURCE), Some("window"));
    }
    assert!(stand.ask(&click).await.is_replay());
    assert_eq!(stand.ask(&click.body("something else")).await.text(), "done 2");
}

pub(crate) async fn after_the_window_the_same_request_executes_again_with_another_key(stand: Stand) {
    let click = Ask::post("/window");
    assert_eq!(stand.ask(&click).await.text(), "done 1");
    assert!(stand.ask(&click).await.is_replay());
    stand.advance(WINDOW);
    let later = stand.ask(&click).await;
    assert_eq!((later.text().as_str(), later.is_replay()), ("done 2", false));
    let seen = stand.backend.seen();
    assert!(seen.iter().all(|seen| seen.key().is_some_and(|key| key.starts_with("sf_"))));
    assert_ne!(seen[0].key(), seen[1].key());
}

pub(crate) async fn a_window_is_bound_while_its_operation_is_unfinished(stand: Stand) {
    let gate = Gate::closed();
    stand.backend.will(Act::answer(201, "slow").held_by(&gate));
    let mut first = stand.send(&Ask::post("/window")).await;
    stand.backend.reached(1).await;
    stand.advance(WINDOW * 2);
    let impatient = stand.ask(&Ask::post("/window").header("Steadfast-Timeout", "50ms")).await;
    impatient.refused(409, "operation-in-progress", Again::HelpsAfter);
    gate.open();
    assert_eq!(first.answer("POST").await.expect("an answer").text(), "slow");
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_duplicate_that_waits_past_its_window_gets_the_answer(stand: Stand) {
    let gate = Gate::closed();
    stand.backend.will(Act::answer(201, "slow").held_by(&gate));
    let mut first = stand.send(&Ask::post("/window")).await;
    stand.backend.reached(1).await;
    let mut second = stand.send(&Ask::post("/window")).await;
    // The first asks once; the second asks, subscribes, and asks again before it waits.
    stand.ledger.claims_asked(3).await;
    stand.advance(WINDOW);
    gate.open();
    assert_eq!(first.answer("POST").await.expect("an answer").text(), "slow");
    let waited = second.answer("POST").await.expect("an answer");
    assert_eq!((waited.text().as_str(), waited.is_replay()), ("slow", true));
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_window_needs_to_know_who_is_calling(stand: Stand) {
    stand.ask(&Ask::post("/window").by("")).await.refused(401, "unauthenticated", Again::Never);
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn two_callers_have_two_windows(stand: Stand) {
    assert_eq!(stand.ask(&Ask::post("/window")).await.text(), "done 1");
    assert_eq!(stand.ask(&Ask::post("/window").by("bob")).await.text(), "done 2");
}

pub(crate) async fn in_a_window_a_header_goes_first(stand: Stand) {
    for key in ["1", "2"] {
        let answer = stand.ask(&Ask::post("/window").key(key)).await;
        assert_eq!((answer.text(), answer.header(SOURCE)), (format!("done {key}"), None));
    }
    stand.advance(WINDOW);
    assert!(stand.ask(&Ask::post("/window").key("1")).await.is_replay());
}

pub(crate) async fn a_json_body_counts_as_what_it_says(stand: Stand) {
    let ask = |body: &str| Ask::post("/json").key("k").header("Content-Type", "application/json").body(body);
    assert_eq!(stand.ask(&ask("{\"a\":1,\"b\":2,\"sent_at\":1}")).await.status, 201);
    assert!(stand.ask(&ask("{ \"b\": 2, \"a\": 1, \"sent_at\": 2 }")).await.is_replay());
    let changed = stand.ask(&ask("{\"a\":2,\"b\":2}")).await;
    changed.refused(422, "idempotency-key-reused", Again::Never);
}
