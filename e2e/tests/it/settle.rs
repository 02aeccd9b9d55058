//! What nobody knows is found, shown and settled by a person, with the command line alone.

use std::{
    process::{Command, Output},
    time::Duration,
};

use e2e::{Answer, Ask, Caller, Gateway, Office, program, within};
use serde_json::Value;
use steadfast_faults::{Direction, DropReply, FaultProxy, Faults, Goodbye, Plan, Reset, When};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

struct Desk {
    gateway: Gateway,
    proxy: FaultProxy,
    office: Office,
    folder: TempDir,
}

impl Desk {
    async fn set() -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut office = Office::ignoring_keys(folder.path());
        office.start().await;
        let proxy = FaultProxy::start(office.addr(), Plan::default()).expect("a proxy");
        let ledger = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let mut gateway = Gateway::up(folder.path(), "gateway", proxy.addr(), &ledger, &[]);
        gateway.start().await;
        Self { gateway, proxy, office, folder }
    }

    async fn buy(&self, key: &str) -> Answer {
        let mut caller = Caller::new(self.gateway.addr(), PATIENCE);
        caller.ask(&Ask::order(key)).await.expect("an answer")
    }

    /// An order that took effect, and nobody was told.
    async fn lose_the_answer(&self, key: &str) {
        let lose = DropReply { then: Goodbye::Reset, when: When::next_exchanges(1) };
        self.proxy.set(Plan { drop_reply: Some(lose), ..Plan::default() }).expect("a valid plan");
        assert_eq!(self.buy(key).await.status, 502);
        assert_eq!(self.office.counts(key), (1, 1));
    }

    /// An order that was sent and never arrived.
    async fn lose_the_request(&self, key: &str) {
        let lose = Reset { after_bytes: 0, when: When::next_exchanges(1) };
        let faults = Faults { reset: Some(lose), ..Faults::default() };
        self.proxy.set(Plan { toward_upstream: faults, ..Plan::default() }).expect("a valid plan");
        assert_eq!(self.buy(key).await.status, 502);
        assert_eq!(self.office.counts(key), (0, 0));
    }

    fn operations(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("steadfast"));
        command
            .arg("operations")
            .args(arguments)
            .env("STEADFAST_ADMIN", self.gateway.admin_addr().to_string());
        command.output().expect("the command line runs")
    }

    /// What a command prints as JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.operations(&[arguments, &["-o", "json"]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The id of the only operation in doubt.
    fn in_doubt(&self, key: &str) -> String {
        let listed = self.json(&["list", "--state", "in_doubt"]);
        let listed = listed.as_array().expect("a list");
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!((&listed[0]["key"], &listed[0]["state"]), (&key.into(), &"in_doubt".into()));
        listed[0]["id"].as_str().expect("an id").to_owned()
    }
}

#[tokio::test]
async fn what_did_not_happen_is_released_and_the_retry_executes() {
    let desk = Desk::set().await;
    assert_eq!(desk.json(&["list", "--state", "in_doubt"]), Value::Array(Vec::new()));
    desk.lose_the_request("order").await;
    let id = desk.in_doubt("order");
    let shown = desk.json(&["get", &id]);
    assert_eq!(shown["attempts"][0]["end"], "unknown", "{shown}");
    let reason = ["--reason", "the box office has no trace of it", "--by", "ada"];
    let settle = [&["settle", &id, "--did-not-happen"], &reason[..]].concat();
    let unasked = desk.operations(&settle);
    assert_eq!(unasked.status.code(), Some(2), "without --yes and without a terminal nobody can be asked");
    let planned = desk.json(&[&settle[..], &["--dry-run"]].concat());
    assert_eq!((&planned["state"], &planned["dry_run"]), (&"released".into(), &true.into()));
    assert_eq!(desk.buy("order").await.status, 409);
    let settled = desk.json(&[&settle[..], &["--yes"]].concat());
    assert_eq!(settled["state"], "released");
    let told = desk.buy("order").await;
    assert_eq!((told.status, told.is_replay()), (201, false), "{told:?}");
    assert_eq!(desk.office.counts("order"), (1, 1));
    let told = desk.buy("order").await;
    assert_eq!((told.status, told.is_replay()), (201, true), "{told:?}");
}

#[tokio::test]
async fn what_happened_is_completed_with_the_answer_that_was_found_out() {
    let desk = Desk::set().await;
    desk.lose_the_answer("order").await;
    let id = desk.in_doubt("order");
    let body = desk.office.effects()["order"][0].body.clone().expect("the answer that was lost");
    let file = desk.folder.path().join("answer.json");
    std::fs::write(&file, &body).unwrap();
    let file = file.to_string_lossy();
    let settled = desk.json(&[
        "settle",
        &id,
        "--happened",
        "--reason",
        "it is on the list",
        "--answer-status",
        "201",
        "--answer-body",
        &file,
        "--yes",
    ]);
    assert_eq!(settled["state"], "completed");
    let told = desk.buy("order").await;
    assert_eq!((told.status, told.is_replay(), &*told.body), (201, true, body.as_bytes()), "{told:?}");
    assert_eq!(desk.office.counts("order"), (1, 1));
    let shown = desk.json(&["get", &id]);
    assert_eq!(shown["settlement"]["happened"], true, "{shown}");
}

#[tokio::test]
async fn what_happened_without_a_known_answer_stays_taken() {
    let desk = Desk::set().await;
    desk.lose_the_answer("order").await;
    let id = desk.in_doubt("order");
    desk.json(&["settle", &id, "--happened", "--reason", "it is on the list", "--yes"]);
    let told = desk.buy("order").await;
    assert_eq!((told.status, told.code().as_deref()), (409, Some("replay-unavailable")), "{told:?}");
    assert_eq!(desk.office.counts("order"), (1, 1));
}

#[tokio::test]
async fn what_is_under_way_or_unknown_cannot_be_settled() {
    let desk = Desk::set().await;
    desk.proxy.hold(Direction::TowardClient);
    let mut caller = Caller::new(desk.gateway.addr(), PATIENCE);
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move { caller.ask(&Ask::order("order")).await });
    within(PATIENCE, desk.proxy.wait_for(|stats| stats.toward_client.received_bytes > 0)).await;
    let operation = desk.gateway.operation("order").await.expect("it is claimed");
    let id = operation["id"].as_str().unwrap();
    let end = ["--did-not-happen", "--reason", "impatience", "--yes"];
    let refused = desk.operations(&[&["settle", id], &end[..]].concat());
    assert_eq!(refused.status.code(), Some(4), "{}", String::from_utf8_lossy(&refused.stderr));
    desk.proxy.release(Direction::TowardClient);
    let told = within(PATIENCE, waiting.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(told.status, 201);
    let refused = desk.operations(&[&["settle", id], &end[..]].concat());
    assert_eq!(refused.status.code(), Some(4), "what is completed is over");
    let unknown = desk.operations(&[&["settle", "op_00000000000000000000000000"], &end[..]].concat());
    assert_eq!(unknown.status.code(), Some(5), "{}", String::from_utf8_lossy(&unknown.stderr));
}
