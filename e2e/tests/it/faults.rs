//! Faults of the network, before the gateway and behind it, made by a proxy on either side.

use std::time::Duration;

use e2e::{Answer, Ask, Caller, Gateway, NoAnswer, Office, await_that, within};
use steadfast_faults::{
    Direction, DropReply, FaultProxy, Faults, Goodbye, HalfClose, Plan, Refuse, Reset, Slow, Truncate, When,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// Caller → front → gateway → back → box office.
struct Line {
    front: FaultProxy,
    gateway: Gateway,
    back: FaultProxy,
    office: Office,
    _folder: TempDir,
}

impl Line {
    async fn lay(more: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let office = Office::ignoring_keys(folder.path());
        Self::lay_to(folder, office, more).await
    }

    async fn lay_to(folder: TempDir, mut office: Office, more: &[&str]) -> Self {
        office.start().await;
        let back = FaultProxy::start(office.addr(), Plan::default()).expect("a proxy");
        let ledger = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let mut gateway = Gateway::up(folder.path(), "gateway", back.addr(), &ledger, more);
        gateway.start().await;
        let front = FaultProxy::start(gateway.addr(), Plan::default()).expect("a proxy");
        println!("seeds {} and {}", front.seed(), back.seed());
        Self { front, gateway, back, office, _folder: folder }
    }

    /// One order over a new connection.
    async fn buy(&self, key: &str) -> Result<Answer, NoAnswer> {
        Caller::new(self.front.addr(), PATIENCE).ask(&Ask::order(key)).await
    }

    /// Asserts that an order's answer comes, and came before.
    async fn assert_replayed(&self, key: &str) {
        let answer = self.buy(key).await.expect("an answer");
        assert_eq!((answer.status, answer.is_replay()), (201, true), "{answer:?}");
        assert_eq!(self.office.counts(key), (1, 1), "{key}");
    }

    /// Asserts that nobody knows, that nothing changes by asking, and what the box office has.
    async fn assert_in_doubt(&self, key: &str, arrived_and_executed: (usize, usize)) {
        let answer = self.buy(key).await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_deref()), (409, Some("outcome-in-doubt")), "{answer:?}");
        assert_eq!(answer.header("x-should-retry"), Some("false"), "{answer:?}");
        assert_eq!(self.gateway.state(key).await, "in_doubt");
        assert_eq!(self.office.counts(key), arrived_and_executed, "{key}");
    }
}

fn assert_lost(answer: &Answer, status: u16) {
    assert_eq!((answer.status, answer.code().as_deref()), (status, Some("outcome-in-doubt")), "{answer:?}");
    assert_eq!(answer.header("x-should-retry"), Some("false"), "{answer:?}");
    let operation = answer.header("steadfast-operation").expect("the operation is named");
    let document = answer.json().to_string();
    assert!(document.contains(&format!("/.steadfast/operations/{operation}")), "{document}");
}

fn toward_upstream(faults: Faults) -> Plan {
    Plan { toward_upstream: faults, ..Plan::default() }
}

fn toward_client(faults: Faults) -> Plan {
    Plan { toward_client: faults, ..Plan::default() }
}

fn once() -> When {
    When::next_exchanges(1)
}

fn reset(after_bytes: u64) -> Faults {
    Faults { reset: Some(Reset { after_bytes, when: once() }), ..Faults::default() }
}

fn truncate(after_bytes: u64) -> Faults {
    Faults { truncate: Some(Truncate { after_bytes, when: once() }), ..Faults::default() }
}

fn half_close(after_bytes: u64) -> Faults {
    Faults { half_close: Some(HalfClose { after_bytes, when: once() }), ..Faults::default() }
}

#[tokio::test]
async fn an_answer_lost_before_the_gateway_is_replayed() {
    let line = Line::lay(&[]).await;
    for (key, then) in [("closed", Goodbye::Close), ("reset", Goodbye::Reset)] {
        let lose = DropReply { then, when: once() };
        line.front.set(Plan { drop_reply: Some(lose), ..Plan::default() }).unwrap();
        let told = line.buy(key).await;
        assert!(matches!(told, Err(NoAnswer::Cut(_))), "{told:?}");
        line.assert_replayed(key).await;
    }
    for (number, faults) in [reset(0), reset(30), truncate(0), truncate(150)].into_iter().enumerate() {
        line.front.set(toward_client(faults)).unwrap();
        let key = format!("cut-{number}");
        let told = line.buy(&key).await;
        assert!(matches!(told, Err(NoAnswer::Cut(_))), "{told:?}");
        line.assert_replayed(&key).await;
    }
}

#[tokio::test]
async fn a_request_cut_before_the_gateway_executes_once_when_it_comes_whole() {
    let line = Line::lay(&[]).await;
    let cuts = [reset(0), reset(40), reset(200), truncate(40), truncate(200), half_close(40)];
    for (number, faults) in cuts.into_iter().enumerate() {
        line.front.set(toward_upstream(faults.clone())).unwrap();
        let key = format!("order-{number}");
        let told = line.buy(&key).await;
        assert!(told.as_ref().map_or(true, |answer| answer.status == 400), "{faults:?}: {told:?}");
        assert_eq!(line.office.counts(&key), (0, 0), "half a request is none");
        assert_eq!(line.buy(&key).await.unwrap().status, 201);
        line.assert_replayed(&key).await;
    }
}

#[tokio::test]
async fn an_answer_lost_behind_the_gateway_is_in_doubt_and_stays_so() {
    let line = Line::lay(&[]).await;
    for (key, then) in [("closed", Goodbye::Close), ("reset", Goodbye::Reset)] {
        let lose = DropReply { then, when: once() };
        line.back.set(Plan { drop_reply: Some(lose), ..Plan::default() }).unwrap();
        assert_lost(&line.buy(key).await.unwrap(), 502);
        line.assert_in_doubt(key, (1, 1)).await;
    }
}

#[tokio::test]
async fn a_head_that_breaks_off_is_in_doubt_and_a_body_that_does_is_not_run_again() {
    let line = Line::lay(&[]).await;
    for (number, faults) in [reset(0), reset(10), truncate(0), truncate(40), half_close(0), half_close(20)]
        .into_iter()
        .enumerate()
    {
        line.back.set(toward_client(faults)).unwrap();
        let key = format!("head-{number}");
        assert_lost(&line.buy(&key).await.unwrap(), 502);
        line.assert_in_doubt(&key, (1, 1)).await;
    }
    let whole = line.buy("whole").await.unwrap();
    let head = whole.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
    // More than its head by a few bytes, whatever the gateway added to that.
    let in_body = head as u64 - whole.header("steadfast-operation").map_or(0, str::len) as u64;
    line.back.set(toward_client(truncate(in_body))).unwrap();
    let told = line.buy("body").await.unwrap();
    assert_eq!((told.status, told.code().as_deref()), (502, Some("replay-unavailable")), "{told:?}");
    let told = line.buy("body").await.unwrap();
    assert_eq!((told.status, told.code().as_deref()), (409, Some("replay-unavailable")), "{told:?}");
    assert_eq!(line.gateway.state("body").await, "completed");
    assert_eq!(line.office.counts("body"), (1, 1));
}

#[tokio::test]
async fn a_request_cut_behind_the_gateway_counts_as_sent() {
    let line = Line::lay(&[]).await;
    for (number, faults) in
        [reset(0), reset(10), reset(150), truncate(0), truncate(100), half_close(0), half_close(100)]
            .into_iter()
            .enumerate()
    {
        line.back.set(toward_upstream(faults)).unwrap();
        let key = format!("order-{number}");
        let told = line.buy(&key).await.unwrap();
        // The box office may answer half a request with 400: that is an answer, and final.
        if told.status == 400 {
            let again = line.buy(&key).await.unwrap();
            assert_eq!(again.kept(), told.kept());
            assert_eq!(line.office.counts(&key).1, 0);
        } else {
            assert_lost(&told, 502);
            line.assert_in_doubt(&key, (0, 0)).await;
        }
    }
}

#[tokio::test]
async fn slow_bytes_on_every_side_change_nothing() {
    let line = Line::lay(&[]).await;
    let slow = Faults {
        slow: Some(Slow { chunk_bytes: 40, every_ms: 5, when: When::default() }),
        ..Faults::default()
    };
    let plan = Plan { toward_upstream: slow.clone(), toward_client: slow, ..Plan::default() };
    line.front.set(plan.clone()).unwrap();
    line.back.set(plan).unwrap();
    let first = line.buy("order").await.unwrap();
    assert_eq!(first.status, 201);
    assert_eq!(line.buy("order").await.unwrap().kept(), first.kept());
    line.assert_replayed("order").await;
}

#[tokio::test]
async fn an_upstream_that_refuses_was_sent_nothing_and_executes_later() {
    let line = Line::lay(&[]).await;
    line.back.close_listener().await.unwrap();
    for _ in 0..2 {
        let told = line.buy("order").await.unwrap();
        assert_eq!((told.status, told.code().as_deref()), (502, Some("upstream-unavailable")), "{told:?}");
        assert!(told.says_retry(), "{told:?}");
    }
    line.back.reopen().await.unwrap();
    let told = line.buy("order").await.unwrap();
    assert_eq!((told.status, told.is_replay()), (201, false), "{told:?}");
    line.assert_replayed("order").await;
}

#[tokio::test]
async fn a_connection_reset_on_arrival_is_never_guessed_to_be_unsent() {
    let line = Line::lay(&[]).await;
    for number in 0..20 {
        let refuse = Refuse { when: When::next_connections(1) };
        line.back.sever();
        within(PATIENCE, line.back.wait_for(|stats| stats.connections.open == 0)).await;
        line.back.set(Plan { refuse: Some(refuse), ..Plan::default() }).unwrap();
        let key = format!("order-{number}");
        let told = line.buy(&key).await.unwrap();
        match told.code().as_deref() {
            Some("upstream-unavailable") => {
                assert_eq!(line.buy(&key).await.unwrap().status, 201);
                line.assert_replayed(&key).await;
            }
            Some("outcome-in-doubt") => line.assert_in_doubt(&key, (0, 0)).await,
            _ => panic!("{told:?}"),
        }
    }
}

#[tokio::test]
async fn kept_connections_that_were_closed_meanwhile_are_not_used() {
    let line = Line::lay(&[]).await;
    for number in 0..20 {
        let key = format!("order-{number}");
        assert_eq!(line.buy(&key).await.unwrap().status, 201, "{key}");
        line.back.sever();
        within(PATIENCE, line.back.wait_for(|stats| stats.connections.open == 0)).await;
    }
}

#[tokio::test]
async fn a_late_answer_is_taken_in() {
    let line = Line::lay(&["--timeout", "1s"]).await;
    line.back.hold(Direction::TowardClient);
    assert_lost(&line.buy("order").await.unwrap(), 504);
    line.assert_in_doubt("order", (1, 1)).await;
    line.back.release(Direction::TowardClient);
    await_that("the late answer is taken in", PATIENCE, async || {
        (line.gateway.state("order").await == "completed").then_some(())
    })
    .await;
    line.assert_replayed("order").await;
    assert_eq!(line.gateway.admin("/api/counts").await["cases_open"], 0);
}

#[tokio::test]
async fn a_caller_that_hangs_up_finds_its_answer_when_it_comes_again() {
    let line = Line::lay(&[]).await;
    line.back.hold(Direction::TowardClient);
    let told = Caller::new(line.front.addr(), Duration::from_millis(300)).ask(&Ask::order("order")).await;
    assert_eq!(told, Err(NoAnswer::HungUp));
    line.back.release(Direction::TowardClient);
    line.assert_replayed("order").await;
}

#[tokio::test]
async fn before_a_repeatable_upstream_a_lost_answer_is_asked_for_again() {
    let folder = TempDir::new().unwrap();
    let office = Office::honouring_keys(folder.path());
    let line = Line::lay_to(folder, office, &["--repeatable-for", "24h"]).await;
    let lose = DropReply { then: Goodbye::Reset, when: once() };
    line.back.set(Plan { drop_reply: Some(lose), ..Plan::default() }).unwrap();
    let told = line.buy("order").await.unwrap();
    assert_eq!((told.status, told.code().as_deref()), (502, Some("outcome-in-doubt")), "{told:?}");
    assert!(told.says_retry(), "{told:?}");
    assert_eq!(line.buy("order").await.unwrap().status, 201);
    assert_eq!(line.office.counts("order"), (2, 1));
    assert_eq!(line.gateway.state("order").await, "completed");
}

#[tokio::test]
async fn a_storm_of_faults_on_both_sides_executes_nothing_twice() {
    let folder = TempDir::new().unwrap();
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let often = |probability| When::every_exchange().with_probability(probability);
    let cut = |probability| Faults {
        reset: Some(Reset { after_bytes: 60, when: often(probability) }),
        truncate: Some(Truncate { after_bytes: 200, when: often(probability) }),
        half_close: Some(HalfClose { after_bytes: 20, when: often(probability) }),
        ..Faults::default()
    };
    let plan = Plan {
        refuse: Some(Refuse { when: When::default().with_probability(0.05) }),
        drop_reply: Some(DropReply { then: Goodbye::Reset, when: often(0.03) }),
        toward_upstream: cut(0.02),
        toward_client: cut(0.02),
        ..Plan::default()
    };
    let back = FaultProxy::start(office.addr(), plan.clone()).unwrap();
    let ledger = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let mut gateway = Gateway::up(folder.path(), "gateway", back.addr(), &ledger, &["--timeout", "2s"]);
    gateway.start().await;
    let front = FaultProxy::start(gateway.addr(), plan).unwrap();
    println!("seeds {} and {}", front.seed(), back.seed());
    let mut storm = crate::storm::Storm::of_test(vec![front.addr()]);
    let progress = storm.progress();
    let (diary, ()) = storm.rage(progress.reached(1.0)).await;
    back.set(Plan::default()).unwrap();
    crate::verdict::judge(folder, &diary, &gateway, &office, crate::verdict::Upstream::NotRepeatable).await;
}

#[tokio::test]
async fn without_the_gateway_the_same_retries_execute_twice() {
    let folder = TempDir::new().unwrap();
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let mut storm = crate::storm::Storm::of_test(vec![office.addr()]);
    storm.orders = 100;
    storm.rage(std::future::ready(())).await;
    let twice = office.effects().values().filter(|effects| effects.len() > 1).count();
    assert!(twice > 0, "callers that race themselves must be able to do harm, or the storms prove nothing");
}
