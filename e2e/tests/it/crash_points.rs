//! Crashes at chosen points of one order's way, and what exactly stands after each.
//!
//! The points of the ledger's own writing are reached by a [`Killer`] in the process; those between ledger and
//! upstream by holding the upstream's bytes, or the store's, in a fault proxy.

use std::time::Duration;

use e2e::{Answer, Ask, Caller, Gateway, Killer, Moment, NoAnswer, Office, await_that, within};
use steadfast_faults::{Direction, FaultProxy, Faults, Hang, Latency, Plan, When};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::postgres::Server;

const PATIENCE: Duration = Duration::from_secs(20);
/// How many writes one order makes at most; the test that tries them all says if there are more.
const WRITES_MAX: u32 = 400;
/// How often one order and its gateway exchange words with Postgres at most.
const EXCHANGES_MAX: u64 = 24;

/// A gateway with a killer in it, before a box office that ignores keys, on SQLite.
struct Scene {
    folder: TempDir,
    office: Office,
    gateway: Gateway,
    killer: Killer,
}

impl Scene {
    async fn set() -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut office = Office::ignoring_keys(folder.path());
        office.start().await;
        let killer = Killer::compile(folder.path());
        let ledger = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let mut gateway = Gateway::up(folder.path(), "gateway", office.addr(), &ledger, &[]);
        gateway.haunt(&killer);
        gateway.start().await;
        let scene = Self { folder, office, gateway, killer };
        // The log's place on the disk is written from here on, so that a batch is one write and one sync.
        assert_eq!(scene.buy("first").await.map(|answer| answer.status), Ok(201));
        scene
    }

    async fn buy(&self, key: &str) -> Result<Answer, NoAnswer> {
        buy(&self.gateway, key).await
    }

    /// Orders under `key` while the process dies at `moment`, and starts the gateway again. False where it lived.
    async fn die(&mut self, key: &str, moment: Moment) -> bool {
        self.killer.arm(moment);
        let told = self.buy(key).await;
        self.killer.disarm();
        let died = match told {
            Ok(answer) => {
                assert_eq!(answer.status, 201, "{moment:?}");
                false
            }
            Err(NoAnswer::Cut(_)) => true,
            Err(error) => panic!("{moment:?}: {error:?}"),
        };
        if died {
            self.gateway.ended(PATIENCE).await;
        }
        self.gateway.restart().await;
        died
    }
}

async fn buy(gateway: &Gateway, key: &str) -> Result<Answer, NoAnswer> {
    Caller::new(gateway.addr(), PATIENCE).ask(&Ask::order(key)).await
}

/// What must stand after a crash: the operation's state, how often the order arrived and took effect, and what the
/// next request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    state: &'static str,
    arrived: usize,
    executed: usize,
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Afresh,
    Replayed,
    InDoubt,
}

async fn assert_stands(gateway: &Gateway, office: &Office, key: &str, expected: Standing) {
    let state = gateway.state(key).await;
    assert_eq!(state, expected.state, "{key}");
    assert_eq!(office.counts(key), (expected.arrived, expected.executed), "{key}");
    let answer = buy(gateway, key).await.expect("an answer");
    let told = match (answer.status, answer.code().as_deref(), answer.is_replay()) {
        (201, None, false) => Told::Afresh,
        (201, None, true) => Told::Replayed,
        (409, Some("outcome-in-doubt"), false) => Told::InDoubt,
        _ => panic!("{key}: {answer:?}"),
    };
    assert_eq!(told, expected.told, "{key}: {answer:?}");
    let afresh = usize::from(told == Told::Afresh);
    assert_eq!(office.counts(key), (expected.arrived + afresh, expected.executed + afresh), "{key}");
    if told == Told::InDoubt {
        assert_eq!(answer.header("x-should-retry"), Some("false"), "{answer:?}");
        assert_eq!(answer.header("stripe-should-retry"), Some("false"), "{answer:?}");
    }
}

const IN_DOUBT_UNSENT: Standing =
    Standing { state: "in_doubt", arrived: 0, executed: 0, told: Told::InDoubt };
const IN_DOUBT_EXECUTED: Standing =
    Standing { state: "in_doubt", arrived: 1, executed: 1, told: Told::InDoubt };
const COMPLETED: Standing = Standing { state: "completed", arrived: 1, executed: 1, told: Told::Replayed };

#[tokio::test]
async fn before_the_claim_nothing_stands_and_the_retry_executes() {
    let mut scene = Scene::set().await;
    assert!(scene.die("order", Moment::InPlaceOfWrite(1)).await);
    let absent = Standing { state: "absent", arrived: 0, executed: 0, told: Told::Afresh };
    assert_stands(&scene.gateway, &scene.office, "order", absent).await;
}

#[tokio::test]
async fn a_claim_that_was_handed_to_the_kernel_counts_as_sent() {
    let mut scene = Scene::set().await;
    assert!(scene.die("order", Moment::InPlaceOfSync(1)).await);
    assert_stands(&scene.gateway, &scene.office, "order", IN_DOUBT_UNSENT).await;
}

#[tokio::test]
async fn after_the_claim_and_before_sending_it_is_in_doubt() {
    let mut scene = Scene::set().await;
    assert!(scene.die("order", Moment::AfterSync(1)).await);
    assert_stands(&scene.gateway, &scene.office, "order", IN_DOUBT_UNSENT).await;
}

#[tokio::test]
async fn before_and_after_the_upstream_took_it_it_is_in_doubt() {
    for (held, standing) in
        [(Direction::TowardUpstream, IN_DOUBT_UNSENT), (Direction::TowardClient, IN_DOUBT_EXECUTED)]
    {
        let folder = TempDir::new().unwrap();
        let mut office = Office::ignoring_keys(folder.path());
        office.start().await;
        let proxy = FaultProxy::start(office.addr(), Plan::default()).unwrap();
        let ledger = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let mut gateway = Gateway::up(folder.path(), "gateway", proxy.addr(), &ledger, &[]);
        gateway.start().await;
        proxy.hold(held);
        let mut caller = Caller::new(gateway.addr(), PATIENCE);
        let mut waiting = JoinSet::new();
        waiting.spawn(async move { caller.ask(&Ask::order("order")).await });
        within(PATIENCE, proxy.wait_for(|stats| stats.traffic(held).received_bytes > 0)).await;
        gateway.kill();
        let told = within(PATIENCE, waiting.join_next()).await.unwrap().unwrap();
        assert!(matches!(told, Err(NoAnswer::Cut(_))), "{told:?}");
        proxy.sever();
        within(PATIENCE, proxy.wait_for(|stats| stats.connections.open == 0)).await;
        proxy.release(held);
        gateway.start().await;
        assert_stands(&gateway, &office, "order", standing).await;
    }
}

#[tokio::test]
async fn an_outcome_that_was_not_written_is_in_doubt() {
    let mut scene = Scene::set().await;
    // The claim is one write and one sync; what is written after it is the outcome.
    assert!(scene.die("order", Moment::InPlaceOfWrite(2)).await);
    assert_stands(&scene.gateway, &scene.office, "order", IN_DOUBT_EXECUTED).await;
}

#[tokio::test]
async fn an_outcome_that_was_handed_to_the_kernel_is_replayed() {
    let mut scene = Scene::set().await;
    assert!(scene.die("order", Moment::InPlaceOfSync(2)).await);
    assert_stands(&scene.gateway, &scene.office, "order", COMPLETED).await;
}

#[tokio::test]
async fn after_the_outcome_it_is_replayed() {
    let mut scene = Scene::set().await;
    assert!(scene.die("order", Moment::AfterSync(2)).await);
    assert_stands(&scene.gateway, &scene.office, "order", COMPLETED).await;
}

#[tokio::test]
async fn at_every_single_write_it_stands_whole_or_not_at_all() {
    let mut scene = Scene::set().await;
    let (mut absent, mut unsent, mut executed) = (0, 0, 0);
    let mut number = 1;
    loop {
        let key = format!("write-{number}");
        if !scene.die(&key, Moment::InPlaceOfWrite(number)).await {
            break;
        }
        let state = scene.gateway.state(&key).await;
        let counts = scene.office.counts(&key);
        let answer = scene.buy(&key).await.unwrap();
        match (state.as_str(), counts, answer.status) {
            ("absent", (0, 0), 201) => absent += 1,
            ("in_doubt", (0, 0), 409) => unsent += 1,
            ("in_doubt", (1, 1), 409) => executed += 1,
            other => panic!("write {number}: {other:?}, {answer:?}"),
        }
        assert_eq!(scene.office.counts(&key).1, usize::from(state == "absent" || counts.1 == 1), "{key}");
        number += 1;
        assert!(number < WRITES_MAX, "an order makes more than {WRITES_MAX} writes");
    }
    println!("{absent} absent, {unsent} in doubt and not sent, {executed} in doubt and executed");
    assert!(absent > 0 && executed > 0, "claim and outcome are at least one write each");
    drop(scene.folder);
}

/// An order that was answered is only in the log at first. Whatever was written of it, and of nine more, into the
/// tables when the process died: the next one finds it as it was answered.
#[tokio::test]
async fn at_every_single_write_of_a_fold_what_was_answered_stands() {
    let mut scene = Scene::set().await;
    // A read lets the tables catch up, so that what is counted is the fold of these orders only.
    scene.gateway.state("first").await;
    let mut died = 0;
    for number in 1..WRITES_MAX {
        scene.killer.arm(Moment::InPlaceOfFold(number));
        let mut answers = Vec::new();
        for order in 0..10 {
            let key = format!("fold-{number}-{order}");
            match scene.buy(&key).await {
                Ok(answer) => {
                    assert_eq!(answer.status, 201, "{key}: {answer:?}");
                    answers.push((key, answer));
                }
                // The fold began before the last order was answered.
                Err(NoAnswer::Cut(_) | NoAnswer::NotConnected) => break,
                Err(error) => panic!("{key}: {error:?}"),
            }
        }
        let read = scene.gateway.ask_admin(&Ask::get("/api/counts")).await;
        scene.killer.disarm();
        let lived = read.is_ok();
        if !lived {
            scene.gateway.ended(PATIENCE).await;
            died += 1;
        }
        scene.gateway.restart().await;
        for (key, answer) in answers {
            let again = scene.buy(&key).await.unwrap();
            assert!(again.is_replay(), "{key}: {again:?}");
            assert_eq!((again.status, &again.body), (answer.status, &answer.body), "{key}");
            assert_eq!(scene.office.counts(&key), (1, 1), "{key}");
        }
        if lived {
            println!("died in place of {died} writes");
            assert!(died >= 3, "a fold is several pages");
            return;
        }
    }
    panic!("a fold makes more than {WRITES_MAX} writes");
}

/// A gateway that dies when its store has fallen silent, and one for which it never does.
struct OnPostgres {
    dying: Gateway,
    store: FaultProxy,
    other: Gateway,
    office: Office,
}

impl OnPostgres {
    /// Orders under `key` while the store falls silent, in one direction, after `exchanges` of its exchanges with
    /// the gateway; which is killed then. Returns how things stand, or nothing where the order was answered.
    async fn die(
        &mut self,
        key: &str,
        silent: Direction,
        exchanges: u64,
    ) -> Option<(String, (usize, usize))> {
        self.dying.start().await;
        // All its connections stand from here on.
        assert_eq!(buy(&self.dying, &format!("{key}-first")).await.map(|answer| answer.status), Ok(201));
        let hang = Hang { when: When::every_exchange().after_skipping(exchanges) };
        let faults = Faults { hang: Some(hang), ..Faults::default() };
        let plan = match silent {
            Direction::TowardUpstream => Plan { toward_upstream: faults, ..Plan::default() },
            Direction::TowardClient => Plan { toward_client: faults, ..Plan::default() },
        };
        self.store.set(plan).expect("a valid plan");
        let told = Caller::new(self.dying.addr(), Duration::from_secs(1)).ask(&Ask::order(key)).await;
        self.dying.kill();
        self.store.sever();
        within(PATIENCE, self.store.wait_for(|stats| stats.connections.open == 0)).await;
        self.store.set(Plan::default()).expect("a valid plan");
        match told {
            Err(NoAnswer::HungUp) => Some((self.other.state(key).await, self.office.counts(key))),
            Ok(answer) if answer.status == 201 => None,
            other => panic!("{key}: {other:?}"),
        }
    }

    /// Orders under `key`, and kills the gateway when the outcome is written and its store has yet to say so.
    async fn die_before_it_knows(&mut self, key: &str) {
        self.dying.start().await;
        assert_eq!(buy(&self.dying, &format!("{key}-first")).await.map(|answer| answer.status), Ok(201));
        let latency = Latency { fixed_ms: 500, ..Latency::default() };
        let faults = Faults { latency: Some(latency), ..Faults::default() };
        self.store.set(Plan { toward_client: faults, ..Plan::default() }).expect("a valid plan");
        let (mut caller, ask) = (Caller::new(self.dying.addr(), PATIENCE), Ask::order(key));
        let mut waiting = JoinSet::new();
        waiting.spawn(async move { caller.ask(&ask).await });
        let written = async || (self.other.state(key).await == "completed").then_some(());
        await_that("the outcome is written", PATIENCE, written).await;
        self.dying.kill();
        let told = within(PATIENCE, waiting.join_next()).await.expect("it was asked").expect("no panic");
        assert!(matches!(told, Err(NoAnswer::Cut(_))), "{key}: {told:?}");
    }
}

#[tokio::test]
async fn on_postgres_it_stands_as_far_as_it_was_written() {
    let server = Server::start(&["fsync=off"]);
    let folder = TempDir::new().unwrap();
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let database = server.database();
    let store = FaultProxy::start(([127, 0, 0, 1], server.port()).into(), Plan::default()).unwrap();
    let url = server.url_at(store.addr().port(), &database);
    let dying = Gateway::up(folder.path(), "dying", office.addr(), &url, &[]);
    let mut other = Gateway::up(folder.path(), "other", office.addr(), &server.url(&database), &[]);
    other.start().await;
    let mut scene = OnPostgres { dying, store, other, office };
    let mut stood = Vec::new();
    for silent in [Direction::TowardUpstream, Direction::TowardClient] {
        for exchanges in 0.. {
            let key = format!("{}-{exchanges}", silent.name());
            let Some(stands) = scene.die(&key, silent, exchanges).await else { break };
            assert!(exchanges < EXCHANGES_MAX, "an order takes more than {EXCHANGES_MAX} exchanges");
            stood.push((key, stands));
        }
    }
    scene.die_before_it_knows("written").await;
    println!("{stood:?}");
    let OnPostgres { other, office, .. } = scene;
    let known = [
        ("absent", (0, 0), Standing { state: "absent", arrived: 0, executed: 0, told: Told::Afresh }),
        ("claimed", (0, 0), IN_DOUBT_UNSENT),
        ("claimed", (1, 1), IN_DOUBT_EXECUTED),
        ("completed", (1, 1), COMPLETED),
    ];
    stood.push(("written".into(), ("completed".into(), (1, 1))));
    other.idle(crate::verdict::CLAIMED_WITHIN).await;
    let mut seen = [false; 4];
    for (key, (state, counts)) in &stood {
        let number = known.iter().position(|(name, known, _)| name == state && known == counts);
        let number = number.unwrap_or_else(|| panic!("{key} stood at {state}, {counts:?}"));
        assert_stands(&other, &office, key, known[number].2).await;
        seen[number] = true;
    }
    assert_eq!(seen, [true; 4], "not every point was hit: {stood:?}");
}
