//! Background operations, while gateways and their store are killed: nothing acknowledged is lost, nothing is done twice
//! on a guess, and what belongs together is done in order.

use std::{cell::RefCell, collections::BTreeMap, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use e2e::{Ask, Caller, Gateway, Notebook, Random, Temper, await_that, is_long};
use tempfile::TempDir;
use tokio::task::LocalSet;

use crate::postgres::{Server, Stop};

/// How often something is killed.
const KILLS: usize = 20;

/// For how long nothing new may be sent before everything counts as sent that will be.
const STANDSTILL: Duration = Duration::from_secs(10);

/// How many callers leave work at once.
const CALLERS: usize = 16;

/// How long a claim is its node's alone: short, so that much can be killed.
const LEASE: Duration = Duration::from_secs(3);

/// How long after the last crash an operation may still be unfinished: leases, the grace of a store that was away, and the
/// pauses between attempts of those that stand behind each other.
const FINISHED_WITHIN: Duration = Duration::from_secs(120);

/// Writes a config whose `/work` is done in the background, and returns its path.
fn config(
    folder: &TempDir,
    ledger: &str,
    upstream: SocketAddr,
    repeatable: bool,
    more: &str,
) -> std::path::PathBuf {
    let repeatable = if repeatable { "repeatable_for = \"24h\"" } else { "" };
    let text = format!(
        r#"
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
ledger = "{ledger}"
lease = "{}s"

[upstreams.notebook]
url = "http://{upstream}"
{repeatable}
refused = [503]
timeout = {{ connect = "1s", first_byte = "2s", total = "3s", late = "1s" }}

[[routes]]
path = "/work"
methods = ["POST"]
upstream = "notebook"
idempotency = {{ required = true, anonymous = true }}
async = {{ mode = "always", attempts = 200, base = "20ms", cap = "500ms", concurrency = 16{more} }}
"#,
        LEASE.as_secs()
    );
    let path = folder.path().join("steadfast.toml");
    std::fs::write(&path, text).expect("a file");
    path
}

/// Work that is left by many callers, each of whom goes on with one thing until it is accepted.
struct Work {
    random: Random,
    gateways: Vec<SocketAddr>,
    pieces: usize,
    accepted: Rc<RefCell<BTreeMap<String, String>>>,
}

impl Work {
    fn of_test(gateways: Vec<SocketAddr>) -> Self {
        let (random, seed) = Random::of_test();
        println!("STEADFAST_SEED={seed}");
        let pieces = if is_long() { 10_000 } else { 1_000 };
        Self { random, gateways, pieces, accepted: Rc::default() }
    }

    /// Leaves all of it beside `chaos`, which does its worst at moments spread over the work that the upstream is sent.
    /// Returns the operations by key.
    async fn leave(&mut self, notebook: &Notebook, mut chaos: impl AsyncFnMut()) -> BTreeMap<String, String> {
        let callers = LocalSet::new();
        for number in 0..CALLERS {
            let mut random = self.random.fork();
            let (gateways, accepted) = (self.gateways.clone(), Rc::clone(&self.accepted));
            let mine: Vec<usize> = (0..self.pieces).filter(|piece| piece % CALLERS == number).collect();
            callers.spawn_local(async move {
                for piece in mine {
                    let (key, id) = leave_one(number, piece, &gateways, &mut random).await;
                    accepted.borrow_mut().insert(key, id);
                }
            });
        }
        let mut shares: Vec<_> = (0..KILLS).map(|_| self.random.pick(10..950) as f64 / 1_000.0).collect();
        shares.sort_by(f64::total_cmp);
        let pieces = self.pieces;
        let began = std::time::Instant::now();
        let chaos = async move {
            let (mut sent, mut since) = (0, std::time::Instant::now());
            for share in shares {
                while (sent as f64) < share * pieces as f64 {
                    // What was claimed and not sent when its gateway was killed may be in doubt, and is never sent.
                    if since.elapsed() > STANDSTILL {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    let now = notebook.notes().len();
                    if now > sent {
                        (sent, since) = (now, std::time::Instant::now());
                    }
                }
                chaos().await;
            }
        };
        tokio::join!(callers, chaos);
        println!("{pieces} were accepted, and everything killed, in {:?}", began.elapsed());
        self.accepted.take()
    }
}

/// Goes on with one piece of work until some gateway has accepted it.
async fn leave_one(
    caller: usize,
    piece: usize,
    gateways: &[SocketAddr],
    random: &mut Random,
) -> (String, String) {
    let key = format!("piece-{piece:05}");
    let lane = format!("lane-{caller}");
    loop {
        let gateway = gateways[random.pick(0..gateways.len() as u64) as usize];
        let ask = Ask::post("/work", format!("{{\"piece\":{piece}}}"))
            .header("idempotency-key", &*key)
            .header("x-lane", &*lane);
        if let Ok(answer) = Caller::new(gateway, Duration::from_secs(5)).ask(&ask).await {
            // It may be done already, by the time that its caller hears of it.
            let told = answer.header("steadfast-operation").map(str::to_owned);
            match (answer.status, told) {
                (200..=202, Some(id)) => return (key, id),
                _ if answer.code().as_deref() == Some("outcome-in-doubt") => {
                    return (key, answer.header("steadfast-operation").unwrap_or_default().to_owned());
                }
                _ => {}
            }
        }
        tokio::time::sleep(random.millis(30)).await;
    }
}

/// Waits until nothing is unfinished.
async fn finished(gateway: &Gateway) {
    let began = std::time::Instant::now();
    await_that("every operation is finished", FINISHED_WITHIN, async || {
        for state in ["queued", "waiting", "claimed"] {
            let page = gateway.admin(&format!("/api/operations?state={state}&limit=1")).await;
            if page["operations"].as_array().is_some_and(|all| !all.is_empty()) {
                return None;
            }
        }
        Some(())
    })
    .await;
    println!("finished {:?} later", began.elapsed());
}

/// On a repeatable upstream everything that was accepted is done exactly once, in the order in which each caller left it.
async fn judge_repeatable(gateway: &Gateway, notebook: &Notebook, accepted: &BTreeMap<String, String>) {
    finished(gateway).await;
    let completed = gateway.keys_in("completed").await;
    assert_eq!(completed.len(), accepted.len(), "in doubt: {:?}", gateway.keys_in("in_doubt").await);
    let notes = notebook.notes();
    let wrong: Vec<_> =
        accepted.keys().filter(|key| notes.get(*key).is_none_or(|note| note.done != 1)).collect();
    assert!(wrong.is_empty(), "not done exactly once: {wrong:?}");
    for (lane, keys) in notebook.lanes() {
        assert!(keys.is_sorted(), "{lane} was not done in order: {keys:?}");
    }
}

const LANES: &str = r#", ordering = { header = "X-Lane" }"#;

#[tokio::test]
async fn what_was_accepted_is_done_once_and_in_order_whatever_is_killed_on_sqlite() {
    let folder = TempDir::new().expect("a folder");
    let mut work = Work::of_test(Vec::new());
    let notebook = Notebook::start(work.random.fork()).await;
    notebook.behave(Temper { honours_keys: true, busy: 4, silent: 3, broken: 3, ..Temper::default() });
    let ledger = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let config = config(&folder, &ledger, notebook.addr(), true, LANES);
    let mut gateway = Gateway::serve(folder.path(), "gateway", &config);
    gateway.start().await;
    work.gateways = vec![gateway.addr()];
    let accepted = work.leave(&notebook, async || gateway.restart().await).await;
    judge_repeatable(&gateway, &notebook, &accepted).await;
}

#[tokio::test]
async fn what_was_accepted_is_sent_once_at_most_where_the_upstream_forgets_keys() {
    let folder = TempDir::new().expect("a folder");
    let mut work = Work::of_test(Vec::new());
    let notebook = Notebook::start(work.random.fork()).await;
    notebook.behave(Temper { silent: 2, takes: Duration::from_millis(1), ..Temper::default() });
    let ledger = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let config = config(&folder, &ledger, notebook.addr(), false, "");
    let mut gateway = Gateway::serve(folder.path(), "gateway", &config);
    gateway.start().await;
    work.gateways = vec![gateway.addr()];
    let accepted = work.leave(&notebook, async || gateway.restart().await).await;
    finished(&gateway).await;
    let notes = notebook.notes();
    let twice: Vec<_> = notes.iter().filter(|(_, note)| note.sent > 1).collect();
    assert!(twice.is_empty(), "sent more than once: {twice:?}");
    let (completed, in_doubt) = (gateway.keys_in("completed").await, gateway.keys_in("in_doubt").await);
    assert!(!in_doubt.is_empty(), "no kill hit an attempt: this proves nothing");
    assert_eq!(completed.len() + in_doubt.len(), accepted.len());
    let undone: Vec<_> =
        completed.iter().filter(|key| notes.get(*key).is_none_or(|note| note.done != 1)).collect();
    assert!(undone.is_empty(), "completed and not done: {undone:?}");
}

#[tokio::test]
async fn what_was_accepted_by_any_of_three_nodes_is_done_once_and_in_order_whatever_is_killed() {
    let folder = TempDir::new().expect("a folder");
    let server = Arc::new(Server::start(&[]));
    let url = server.url(&server.database());
    let mut work = Work::of_test(Vec::new());
    let notebook = Notebook::start(work.random.fork()).await;
    notebook.behave(Temper { honours_keys: true, busy: 4, silent: 3, broken: 3, ..Temper::default() });
    let config = config(&folder, &url, notebook.addr(), true, LANES);
    let mut gateways = ["one", "two", "three"].map(|name| Gateway::serve(folder.path(), name, &config));
    for gateway in &mut gateways {
        gateway.start().await;
    }
    work.gateways = gateways.iter().map(Gateway::addr).collect();
    let mut draw = work.random.fork();
    let mut kills = 0;
    let accepted = work
        .leave(&notebook, async || {
            kills += 1;
            if kills % 7 == 0 {
                let (server, how) =
                    (Arc::clone(&server), if kills % 2 == 0 { Stop::Immediate } else { Stop::Fast });
                let restart = move || {
                    server.stop(how);
                    server.go();
                };
                tokio::task::spawn_blocking(restart).await.expect("it restarts");
            } else {
                gateways[draw.pick(0..3) as usize].restart().await;
            }
        })
        .await;
    judge_repeatable(&gateways[0], &notebook, &accepted).await;
}
