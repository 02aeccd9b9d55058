//! A gateway that runs from a config: reloaded under load, drained, and watched by its log and metrics.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use e2e::{Ask, Caller, Gateway, NoAnswer, Office, await_that, program, within};
use rustix::process::Signal;
use serde_json::Value;
use steadfast_faults::{Direction, FaultProxy, Plan};
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How many callers ask while the config changes.
const CALLERS: usize = 8;

pub(crate) struct House {
    pub(crate) gateway: Gateway,
    pub(crate) proxy: FaultProxy,
    pub(crate) office: Office,
    pub(crate) config: PathBuf,
    pub(crate) folder: TempDir,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::open_with(&[]).await
    }

    /// Opens it with these flags for the gateway.
    pub(crate) async fn open_with(flags: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut office = Office::ignoring_keys(folder.path());
        office.start().await;
        let proxy = FaultProxy::start(office.addr(), Plan::default()).expect("a proxy");
        let config = folder.path().join("steadfast.toml");
        let mut house = Self {
            gateway: Gateway::serve(folder.path(), "gateway", &config).with(flags),
            proxy,
            office,
            config,
            folder,
        };
        house.write(false, "");
        house.gateway.start().await;
        house
    }

    /// Writes a config; `required` says whether an order needs a key.
    pub(crate) fn write(&self, required: bool, more: &str) {
        std::fs::write(&self.config, self.text(required, more)).expect("the test's folder");
    }

    /// What [`House::write`] writes.
    pub(crate) fn text(&self, required: bool, more: &str) -> String {
        let (ledger, to) = (self.folder.path().join("ledger.db"), self.proxy.addr());
        format!(
            r#"ledger = "sqlite:{}"
{more}
[upstreams.office]
url = "http://{to}"

[[routes]]
path = "/*"
upstream = "office"
idempotency = {{ required = {required}, anonymous = true }}
"#,
            ledger.display()
        )
    }

    fn reload(&self) -> Output {
        let admin = self.gateway.admin_addr().to_string();
        command(&["reload", "--admin", &admin])
    }

    /// Has it run from this config.
    pub(crate) async fn reload_with(&self, text: &str) {
        std::fs::write(&self.config, text).expect("the test's folder");
        let reloaded = self.run(&["reload"]).await;
        assert!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
    }

    /// What the command line does to it.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let admin = self.gateway.admin_addr().to_string();
        let arguments: Vec<String> =
            arguments.iter().map(ToString::to_string).chain(["--admin".to_owned(), admin]).collect();
        let running = tokio::task::spawn_blocking(move || {
            command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        });
        running.await.expect("it runs")
    }

    /// What a command prints as JSON.
    pub(crate) async fn printed(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["-o", "json"]].concat()).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The status of an order without a key.
    pub(crate) async fn unkeyed(&self) -> u16 {
        let body = r#"{"event":"open-air","buyer":"nobody","tickets":1}"#;
        let mut caller = Caller::new(self.gateway.addr(), PATIENCE);
        caller.ask(&Ask::post("/orders", body)).await.expect("an answer").status
    }

    pub(crate) async fn metrics(&self) -> String {
        let metrics = self.gateway.ask_admin(&Ask::get("/metrics")).await.expect("metrics");
        String::from_utf8_lossy(&metrics.body).into_owned()
    }
}

pub(crate) fn command(arguments: &[&str]) -> Output {
    Command::new(program("steadfast")).args(arguments).output().expect("the command line runs")
}

/// Orders, replays and reads, until it is over; every single one must succeed.
async fn load(house: &House, caller: usize, over: &Cell<bool>) -> usize {
    let mut line = Caller::new(house.gateway.addr(), PATIENCE);
    let mut asked = 0;
    while !over.get() {
        let ask = Ask::order(&format!("order-{caller}-{asked}"));
        let first = line.ask(&ask).await.expect("an answer");
        assert_eq!(first.status, 201, "{first:?}");
        let again = line.ask(&ask).await.expect("an answer");
        assert_eq!((again.kept(), again.is_replay()), (first.kept(), true));
        let read = line.ask(&Ask::get(first.header("location").expect("a location"))).await;
        assert_eq!(read.map(|answer| answer.status), Ok(200));
        asked += 1;
    }
    asked
}

#[tokio::test]
async fn a_reload_under_load_fails_no_request_and_takes_effect() {
    let house = House::open().await;
    let over = Cell::new(false);
    let reloads = async {
        for round in 0..10 {
            let required = round % 2 == 0;
            house.write(required, "");
            if round % 4 < 2 {
                let output = {
                    let admin = house.gateway.admin_addr().to_string();
                    tokio::task::spawn_blocking(move || command(&["reload", "--admin", &admin]))
                        .await
                        .unwrap()
                };
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            } else {
                house.gateway.signal(Signal::HUP);
            }
            let expected = if required { 400 } else { 201 };
            await_that("the new config is in force", PATIENCE, async || {
                (house.unkeyed().await == expected).then_some(())
            })
            .await;
        }
        over.set(true);
    };
    let callers = async {
        let mut total = 0;
        let mut waiting: Vec<_> = (0..CALLERS).map(|caller| Box::pin(load(&house, caller, &over))).collect();
        // All at once in this one task: a failed assertion in any of them fails the test.
        std::future::poll_fn(|context| {
            waiting.retain_mut(|caller| match caller.as_mut().poll(context) {
                std::task::Poll::Ready(asked) => {
                    total += asked;
                    false
                }
                std::task::Poll::Pending => true,
            });
            if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        total
    };
    let ((), orders) = tokio::join!(reloads, callers);
    println!("{orders} orders over 10 reloads");
    assert!(orders > 20, "there must be load");
    assert!(house.metrics().await.contains("steadfast_config_last_reload_successful 1"));
}

#[tokio::test]
async fn a_bad_config_changes_nothing_and_says_where_it_is_wrong() {
    let house = House::open().await;
    house.write(true, "lissten = \"127.0.0.1:1\"");
    let refused = house.reload();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("lissten") && said.contains("listen"), "{said}");
    house.gateway.signal(Signal::HUP);
    await_that("the failure is counted", PATIENCE, async || {
        house.metrics().await.contains("steadfast_config_last_reload_successful 0").then_some(())
    })
    .await;
    assert_eq!(house.unkeyed().await, 201, "the old config is in force");
    let checked = command(&["config", "check", "--config", &house.config.to_string_lossy()]);
    assert_eq!(checked.status.code(), Some(3), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[tokio::test]
async fn sigterm_fails_readiness_first_and_finishes_what_is_under_way() {
    let mut house = House::open().await;
    house.proxy.hold(Direction::TowardClient);
    let mut caller = Caller::new(house.gateway.addr(), PATIENCE);
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move { caller.ask(&Ask::order("order")).await });
    within(PATIENCE, house.proxy.wait_for(|stats| stats.toward_client.received_bytes > 0)).await;
    house.gateway.signal(Signal::TERM);
    await_that("it says that it is not ready", PATIENCE, async || {
        let ready =
            house.gateway.ask_admin(&Ask::get("/readyz")).await.expect("the admin API answers to the end");
        (ready.status == 503).then_some(())
    })
    .await;
    await_that("it accepts nothing more", PATIENCE, async || {
        let mut late = Caller::new(house.gateway.addr(), Duration::from_secs(2));
        (late.ask(&Ask::get("/events")).await == Err(NoAnswer::NotConnected)).then_some(())
    })
    .await;
    assert!(waiting.try_join_next().is_none(), "the order is still under way");
    house.proxy.release(Direction::TowardClient);
    let told = within(PATIENCE, waiting.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(told.status, 201, "{told:?}");
    assert_eq!(house.gateway.ended(PATIENCE).await.code(), Some(0));
    house.gateway.start().await;
    let mut caller = Caller::new(house.gateway.addr(), PATIENCE);
    let again = caller.ask(&Ask::order("order")).await.unwrap();
    assert_eq!((again.kept(), again.is_replay()), (told.kept(), true));
    assert_eq!(house.office.counts("order"), (1, 1));
}

#[tokio::test]
async fn sigterm_waits_for_an_attempt_whose_caller_has_left() {
    let mut house = House::open().await;
    house.proxy.hold(Direction::TowardClient);
    let mut caller = Caller::new(house.gateway.addr(), Duration::from_millis(300));
    assert_eq!(caller.ask(&Ask::order("order")).await, Err(NoAnswer::HungUp));
    house.gateway.signal(Signal::TERM);
    await_that("it accepts nothing more", PATIENCE, async || {
        let mut late = Caller::new(house.gateway.addr(), Duration::from_secs(2));
        (late.ask(&Ask::get("/events")).await == Err(NoAnswer::NotConnected)).then_some(())
    })
    .await;
    house.proxy.release(Direction::TowardClient);
    assert_eq!(house.gateway.ended(PATIENCE).await.code(), Some(0));
    house.gateway.start().await;
    assert_eq!(house.gateway.state("order").await, "completed");
    assert_eq!(house.office.counts("order"), (1, 1));
}

#[tokio::test]
async fn every_request_leaves_one_json_line_and_is_counted_under_the_documented_names() {
    let house = House::open().await;
    let mut caller = Caller::new(house.gateway.addr(), PATIENCE);
    let odd = "/events/%22%0a%5c?secret=1";
    for _ in 0..2 {
        assert_eq!(caller.ask(&Ask::order("order")).await.unwrap().status, 201);
    }
    assert_eq!(caller.ask(&Ask::get("/events")).await.unwrap().status, 200);
    caller.ask(&Ask::get(odd)).await.unwrap();
    let bad = Ask::order("order").header("idempotency-key", "second");
    assert_eq!(caller.ask(&bad).await.unwrap().status, 400);
    let lines = await_that("the log is written", PATIENCE, async || {
        let output = house.gateway.output();
        let lines: Vec<Value> =
            output.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect();
        (lines.len() >= 5).then_some(lines)
    })
    .await;
    assert_eq!(lines.len(), 5);
    for line in &lines {
        for field in ["time", "request_id", "client", "method", "path", "route", "status", "duration_ms"] {
            assert!(!line[field].is_null(), "{field}: {line}");
        }
    }
    let told: Vec<_> = lines.iter().map(|line| line["idempotency"].as_str()).collect();
    assert_eq!(told, [Some("new"), Some("replayed"), None, None, Some("rejected")]);
    assert!(!house.gateway.output().contains("secret"), "queries carry secrets");
    let metrics = house.metrics().await;
    for name in [
        "http_server_request_duration_seconds_bucket",
        "http_server_active_requests",
        "steadfast_idempotency_requests_total{outcome=\"new\"} 1",
        "steadfast_idempotency_requests_total{outcome=\"replayed\"} 1",
        "steadfast_operations_in_doubt",
        "steadfast_config_last_reload_successful",
    ] {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
}

#[tokio::test]
async fn a_second_gateway_on_the_same_file_refuses_and_says_why() {
    let house = House::open().await;
    let second = Command::new(program("steadfast"))
        .args(["serve", "--config"])
        .arg(Path::new(&house.config))
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("ledger.db") && said.contains("another process"), "{said}");
    assert_eq!(house.unkeyed().await, 201, "the first one goes on");
}

#[tokio::test]
async fn a_low_soft_limit_on_open_files_is_raised_to_the_hard_one() {
    let mut house = House::open().await;
    house.gateway.kill();
    house.gateway.start_within(&["sh", "-c", "ulimit -Sn 64 && ulimit -Hn 4000 && exec \"$@\"", "limited"]);
    house.gateway.start().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", house.gateway.id())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let limits: Vec<_> = open_files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(limits, ["4000", "4000"]);
}
