//! Claims about replays: what they repeat, what they drop, and to whom they are given.

use super::{Stand, backend::Act, refusal::Again, wire::Ask};

pub(crate) async fn a_replay_is_the_stored_answer_and_says_so(stand: Stand) {
    stand.backend.will(
        Act::answer(201, "an order")
            .header("Location", "/orders/1")
            .header("ETag", "\"1\"")
            .header("Content-Type", "text/plain; charset=utf-8")
            .header("Content-Language", "en")
            .header("X-Own", "kept"),
    );
    let ask = Ask::post("/orders").key("k");
    let (first, again) = (stand.ask(&ask).await, stand.ask(&ask).await);
    assert!(!first.is_replay() && again.is_replay());
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    for name in [
        "location",
        "etag",
        "content-type",
        "content-language",
        "content-length",
        "x-own",
        "steadfast-operation",
    ] {
        assert!(first.header(name).is_some(), "{name}");
        assert_eq!(first.header(name), again.header(name), "{name}");
    }
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_replay_drops_what_belonged_to_one_moment(stand: Stand) {
    const YESTERDAY: &str = "Sat, 21 Nov 2026 00:00:00 GMT";
    let moment = ["set-cookie", "traceparent", "x-trace-id", "x-b3-traceid", "server-timing"];
    let mut act = Act::answer(200, "x").header("Date", YESTERDAY);
    for name in moment {
        act = act.header(name, "once");
    }
    stand.backend.will(act);
    let ask = Ask::post("/orders").key("k");
    let (first, again) = (stand.ask(&ask).await, stand.ask(&ask).await);
    for name in moment {
        assert_eq!((first.header(name), again.header(name)), (Some("once"), None), "{name}");
    }
    assert_ne!(again.header("date"), Some(YESTERDAY));
}

pub(crate) async fn a_replay_keeps_repeated_fields_in_order(stand: Stand) {
    stand.backend.will(Act::answer(200, "x").header("Link", "<1>").header("Link", "<2>"));
    let ask = Ask::post("/orders").key("k");
    assert_eq!(stand.ask(&ask).await.headers.all("link"), ["<1>", "<2>"]);
    assert_eq!(stand.ask(&ask).await.headers.all("link"), ["<1>", "<2>"]);
}

pub(crate) async fn an_answer_without_a_body_is_replayed(stand: Stand) {
    for (number, status) in [204, 200, 303].into_iter().enumerate() {
        stand.backend.will(Act::answer(status, ""));
        let ask = Ask::post("/orders").key(&format!("k{number}"));
        let (first, again) = (stand.ask(&ask).await, stand.ask(&ask).await);
        assert_eq!((first.status, again.status, again.is_replay()), (status, status, true));
        assert!(again.body.is_empty());
    }
    assert_eq!(stand.backend.count(), 3);
}

pub(crate) async fn a_replay_is_withheld_from_another_credential_and_from_nobody(stand: Stand) {
    let ask = Ask::post("/orders").key("k");
    assert_eq!(stand.ask(&ask).await.status, 201);
    // From the store, and then from memory.
    for _ in 0..2 {
        let other = stand.ask(&ask.clone().by("bob")).await;
        other.refused(409, "replay-withheld", Again::Never);
        assert!(!other.text().contains("done"));
    }
    stand.ask(&ask.clone().by("")).await.refused(401, "unauthenticated", Again::Never);
    let open = Ask::post("/open").key("k");
    assert_eq!(stand.ask(&open).await.status, 201);
    stand.ask(&open.clone().by("")).await.refused(409, "replay-withheld", Again::Never);
    assert!(stand.ask(&ask).await.is_replay());
    assert_eq!(stand.backend.count(), 2);
}

pub(crate) async fn a_withheld_replay_hides_nothing_about_a_changed_request(stand: Stand) {
    let ask = Ask::post("/orders").key("k");
    assert_eq!(stand.ask(&ask).await.status, 201);
    let changed = stand.ask(&ask.by("bob").body("changed")).await;
    changed.refused(422, "idempotency-key-reused", Again::Never);
}

pub(crate) async fn cookies_are_no_credential(stand: Stand) {
    let ask = Ask::post("/orders").key("k");
    assert_eq!(stand.ask(&ask.clone().header("Cookie", "session=1")).await.status, 201);
    assert!(stand.ask(&ask.clone().header("Cookie", "session=2")).await.is_replay());
    let nobody = stand.ask(&ask.by("").header("Cookie", "session=1")).await;
    nobody.refused(401, "unauthenticated", Again::Never);
}

pub(crate) async fn a_replay_has_the_id_of_its_own_request(stand: Stand) {
    stand.backend.will(Act::answer(200, "x").header("X-Request-Id", "the-backends-own"));
    let ask = |id: &str| Ask::post("/orders").key("k").header("X-Request-Id", id);
    assert_eq!(stand.ask(&ask("one")).await.headers.all("x-request-id"), ["one"]);
    assert_eq!(stand.ask(&ask("two")).await.headers.all("x-request-id"), ["two"]);
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_replay_comes_from_the_store_as_well_as_from_memory(stand: Stand) {
    let ask = Ask::post("/orders").key("k");
    let first = stand.ask(&ask).await;
    for _ in 0..3 {
        let again = stand.ask(&ask).await;
        assert_eq!((again.status, &again.body, again.is_replay()), (first.status, &first.body, true));
    }
}
