//! Crashes at chosen points of one order's way, and what exactly stands after each.
//!
//! The points of the ledger's own writing are reached by a [`Killer`] in the process; those between ledger and
//! upstream by holding the upstream's bytes, or the store's, in a fault proxy.

use std::time::Duration;

use e2e::{Answer, Ask, Caller, Gateway, Killer, Moment, NoAnswer, Office, within};
use steadfast_faults::{Direction, FaultProxy, Plan};
use tempfile::TempDir;

use crate::postgres::Server;

const PATIENCE: Duration = Duration::from_secs(20);
/// How many writes one order makes at most; the test that tries them all says if there are more.
const WRITES_MAX: u32 = 400;

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
        // The log exists from here on, so that a commit is its frames and one sync.
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
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    state: &'static str,
    arrived: usize,
    executed: usize,
    told: Told,
}

#[derive(Debug, PartialEq, Eq)]
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
        let mut waiting = tokio::task::JoinSet::new();
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
    // The claim's commit is one sync; what is written after it is the outcome.
    let claim_writes = writes_until_sync(&mut scene, "probe").await;
    assert!(scene.die("order", Moment::InPlaceOfWrite(claim_writes + 1)).await);
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

/// Finds how many writes the claim makes: those before which a crash leaves nothing, and one more leaves doubt.
async fn writes_until_sync(scene: &mut Scene, key: &str) -> u32 {
    for number in 1..WRITES_MAX {
        let key = format!("{key}-{number}");
        if !scene.die(&key, Moment::InPlaceOfWrite(number)).await || scene.office.counts(&key).0 == 1 {
            return number - 1;
        }
    }
    panic!("the claim makes more than {WRITES_MAX} writes");
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
    assert!(absent > 1 && executed > 1, "claim and outcome are several writes each");
    drop(scene.folder);
}

#[tokio::test]
async fn on_postgres_a_crash_before_the_claim_leaves_nothing_and_after_it_doubt() {
    let server = Server::start(&["fsync=off"]);
    let folder = TempDir::new().unwrap();
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let store = ([127, 0, 0, 1], server.port()).into();
    let database = server.database();
    let proxy = FaultProxy::start(store, Plan::default()).unwrap();
    let url = server.url_at(proxy.addr().port(), &database);
    let mut gateway = Gateway::up(folder.path(), "gateway", office.addr(), &url, &[]);
    // A second gateway, for which nobody holds anything back, tells how things stand.
    let mut other = Gateway::up(folder.path(), "other", office.addr(), &server.url(&database), &[]);
    other.start().await;
    for (key, held) in [("unclaimed", Direction::TowardUpstream), ("claimed", Direction::TowardClient)] {
        gateway.start().await;
        assert_eq!(buy(&gateway, &format!("{key}-first")).await.unwrap().status, 201);
        proxy.hold(held);
        let mut caller = Caller::new(gateway.addr(), Duration::from_secs(1));
        let told = caller.ask(&Ask::order(key)).await;
        assert_eq!(told, Err(NoAnswer::HungUp), "nothing is answered while the store is silent");
        gateway.kill();
        proxy.sever();
        within(PATIENCE, proxy.wait_for(|stats| stats.connections.open == 0)).await;
        proxy.release(held);
    }
    let absent = Standing { state: "absent", arrived: 0, executed: 0, told: Told::Afresh };
    assert_stands(&other, &office, "unclaimed", absent).await;
    assert_eq!(other.state("claimed").await, "claimed");
    other.idle(crate::verdict::CLAIMED_WITHIN).await;
    assert_stands(&other, &office, "claimed", IN_DOUBT_UNSENT).await;
}
