//! Claims about answers that were lost between the gateway and its upstream: which requests may have been
//! executed, and which surely were not.

use std::time::Duration;

use tokio::net::TcpListener;

use crate::{
    contract::{
        backend::{Act, Backend, Gate},
        refusal::Again,
        wire::{Ask, Line},
    },
    stand::{config, configured, in_front_of, stand, with_upstream},
    upstream::{Fault, Upstream},
};

const LOST: [Fault; 4] = [Fault::CloseAfterReading, Fault::CloseAfterHead, Fault::HalfHead, Fault::Nonsense];

#[tokio::test]
async fn a_lost_answer_leaves_the_operation_in_doubt_with_a_link() {
    let (stand, upstream) = with_upstream().await;
    for (number, fault) in LOST.into_iter().enumerate() {
        upstream.will_break(fault);
        let ask = Ask::post("/orders").key(&number.to_string());
        let first = stand.ask(&ask).await;
        first.refused(502, "outcome-in-doubt", Again::Never);
        first.operation_link();
        let before = stand.backend.count();
        stand.ask(&ask).await.refused(409, "outcome-in-doubt", Again::Never);
        assert_eq!(stand.backend.count(), before, "{fault:?}: it is not sent again");
    }
}

#[tokio::test]
async fn a_lost_answer_of_a_repeatable_upstream_runs_again_with_the_same_key() {
    let (stand, upstream) = with_upstream().await;
    upstream.will_break(Fault::CloseAfterReading);
    let ask = Ask::post("/repeatable").key("k");
    stand.ask(&ask).await.refused(502, "outcome-in-doubt", Again::HelpsAfter);
    assert_eq!(stand.ask(&ask).await.text(), "done 2");
    let seen = stand.backend.seen();
    assert_eq!(seen[0].key(), seen[1].key());
    assert!(stand.ask(&ask).await.is_replay());
}

#[tokio::test]
async fn an_answer_that_breaks_off_behind_its_head_is_completed() {
    let (stand, upstream) = with_upstream().await;
    upstream.will_break(Fault::HalfBody);
    let ask = Ask::post("/orders").key("k");
    stand.ask(&ask).await.refused(502, "replay-unavailable", Again::Never);
    stand.ask(&ask).await.refused(409, "replay-unavailable", Again::Never);
    assert_eq!(stand.backend.count(), 1);
}

#[tokio::test]
async fn a_refused_connection_executes_nothing_and_leaves_the_key_free() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = gone.local_addr().expect("an address");
    drop(gone);
    let stand = in_front_of(address, Backend::new());
    let ask = Ask::post("/orders").key("k");
    let first = stand.ask(&ask).await;
    first.refused(502, "upstream-unavailable", Again::Helps);
    // The key is bound to nothing.
    let changed = stand.ask(&ask.clone().body("changed")).await;
    changed.refused(502, "upstream-unavailable", Again::Helps);
    stand.ask(&Ask::post("/orders")).await.refused(502, "upstream-unavailable", Again::Helps);
    stand.ask(&Ask::new("GET", "/any")).await.refused(502, "upstream-unavailable", Again::Helps);
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_closed_loses_no_write() {
    let (stand, upstream) = with_upstream().await;
    for number in 0..20 {
        upstream.will_break(Fault::CloseAfterAnswer);
        let answer = stand.ask(&Ask::post("/orders").key(&number.to_string())).await;
        assert_eq!(answer.text(), "done", "{number}");
        let answer = stand.ask(&Ask::post("/unkeyed")).await;
        assert_eq!(answer.status, 201, "{number}: {}", answer.text());
    }
    assert_eq!(stand.backend.count(), 40);
}

#[tokio::test]
async fn an_unkeyed_request_whose_answer_is_lost_is_told_so_and_not_repeated() {
    let (stand, upstream) = with_upstream().await;
    for (number, fault) in LOST.into_iter().enumerate() {
        for ask in [Ask::post("/orders"), Ask::post("/unkeyed").key("k")] {
            upstream.will_break(fault);
            let answer = stand.ask(&ask).await;
            answer.refused(502, "upstream-answer-lost", Again::Never);
        }
        assert_eq!(upstream.connections(), 2 * (number + 1), "each went out once");
    }
}

#[tokio::test]
async fn an_upstream_that_keeps_silent_is_given_up_after_its_time_to_the_first_byte() {
    let upstream = Upstream::start(Backend::new()).await;
    let mut config = config(upstream.address());
    for upstream in config.upstreams.values_mut() {
        upstream.policy.first_byte_timeout = Duration::from_millis(100);
    }
    let stand = configured(config, upstream.backend().clone());
    let gate = Gate::closed();
    stand.backend.will(Act::answer(200, "late").held_by(&gate));
    stand.ask(&Ask::post("/unkeyed")).await.refused(504, "upstream-answer-lost", Again::Never);
    // A keyed request has bounds of its own, so that its late answer is not thrown away.
    stand.backend.will(Act::answer(200, "in time").held_by(&gate));
    let mut keyed = stand.send(&Ask::post("/orders").key("k")).await;
    stand.backend.reached(2).await;
    let second = Gate::closed();
    stand.backend.will(Act::answer(200, "late").held_by(&second));
    stand.ask(&Ask::new("GET", "/any")).await.refused(504, "upstream-answer-lost", Again::Never);
    gate.open();
    assert_eq!(keyed.answer("POST").await.expect("an answer").text(), "in time");
}

#[tokio::test]
async fn a_streamed_body_that_breaks_is_the_callers_fault_and_not_the_upstreams() {
    let stand = stand().await;
    let mut line = Line::to(stand.address).await;
    line.send(&Ask::post("/unkeyed").head("Transfer-Encoding: chunked\r\n")).await;
    line.send(b"no number\r\n").await;
    let answer = line.answer("POST").await.expect("an answer");
    answer.refused(400, "body-invalid", Again::Never);
}
