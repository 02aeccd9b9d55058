//! What died in the background is found, tried again a little at a time, edited and removed by a person, with the command
//! line alone; and nothing takes effect twice.

use std::{
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use e2e::{Ask, Caller, Gateway, Note, Notebook, Random, Temper, await_that, program};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// How many orders die.
const LETTERS: usize = 12;

struct Desk {
    gateway: Gateway,
    notebook: Notebook,
    folder: TempDir,
}

/// An upstream that refuses everything.
const DOWN: Temper = Temper { honours_keys: false, busy: 100, silent: 0, broken: 0, takes: Duration::ZERO };

impl Desk {
    async fn set() -> Self {
        let folder = TempDir::new().expect("a folder");
        let (random, seed) = Random::of_test();
        println!("STEADFAST_SEED={seed}");
        let notebook = Notebook::start(random).await;
        let config = config(&folder, &notebook);
        let mut gateway = Gateway::serve(folder.path(), "gateway", &config);
        gateway.start().await;
        Self { gateway, notebook, folder }
    }

    async fn leave(&self, key: &str) -> String {
        let ask = Ask::post("/work", format!("{{\"piece\":\"{key}\"}}")).header("idempotency-key", key);
        let answer = Caller::new(self.gateway.addr(), PATIENCE).ask(&ask).await.expect("an answer");
        assert_eq!(answer.status, 202);
        answer.header("steadfast-operation").expect("an id").to_owned()
    }

    /// Orders that die, because the upstream is down.
    async fn let_die(&self, count: usize) -> Vec<String> {
        self.notebook.behave(DOWN);
        let mut ids = Vec::new();
        for number in 0..count {
            ids.push(self.leave(&format!("piece-{number:02}")).await);
        }
        self.await_states("dead", count).await;
        ids
    }

    async fn await_states(&self, state: &str, count: usize) {
        await_that(&format!("{count} are {state}"), PATIENCE, async || {
            (self.gateway.keys_in(state).await.len() == count).then_some(())
        })
        .await;
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("steadfast"));
        command.args(arguments).args(["--admin", &self.gateway.admin_addr().to_string()]);
        // The upstream goes on meanwhile.
        let running = tokio::task::spawn_blocking(move || command.output());
        running.await.expect("it ends").expect("the command line runs")
    }

    /// What a command prints as JSON.
    async fn printed(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["-o", "json"]].concat()).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What a command says to people.
    async fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Waits until the newest run is in this state.
    async fn await_run(&self, state: &str) -> Value {
        await_that(&format!("the run is {state}"), PATIENCE, async || {
            let runs = self.printed(&["dead-letters", "runs"]).await;
            (runs[0]["state"] == state).then(|| runs[0].clone())
        })
        .await
    }
}

fn config(folder: &TempDir, notebook: &Notebook) -> PathBuf {
    let text = format!(
        r#"
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
ledger = "sqlite:{}"

[upstreams.notebook]
url = "http://{}"
refused = [503]

[[routes]]
name = "work"
path = "/work"
methods = ["POST"]
upstream = "notebook"
idempotency = {{ required = true, anonymous = true }}
async = {{ mode = "always", attempts = 2, base = "5ms", cap = "10ms" }}
"#,
        folder.path().join("ledger.db").display(),
        notebook.addr()
    );
    let path = folder.path().join("steadfast.toml");
    std::fs::write(&path, text).expect("a file");
    path
}

const WHY: [&str; 2] = ["--reason", "the notebook is back"];

#[tokio::test]
async fn a_canary_stops_a_run_and_once_the_upstream_is_mended_all_are_done_once() {
    let mut desk = Desk::set().await;
    let ids = desk.let_die(LETTERS).await;
    let groups = desk.printed(&["dead-letters", "list"]).await;
    assert_eq!((&groups[0]["route"], &groups[0]["count"]), (&"work".into(), &LETTERS.into()));
    assert_eq!((&groups[0]["end"], &groups[0]["status"]), (&"refused".into(), &503.into()));
    assert!(desk.said(&["dead-letters", "list"]).await.contains("refused"));
    assert!(desk.said(&["dead-letters", "list", "--route", "work"]).await.contains("piece-03"));
    let shown = desk.said(&["dead-letters", "show", &ids[0]]).await;
    assert!(shown.contains("POST /work") && shown.contains("refused 503"), "{shown}");
    assert!(shown.contains("{\"piece\":\"piece-00\"}"), "{shown}");

    // Nobody means all of all routes, and counting changes nothing.
    let all = desk.run(&[&["dead-letters", "redrive"][..], &WHY].concat()).await;
    assert_eq!(all.status.code(), Some(2), "{}", String::from_utf8_lossy(&all.stderr));
    let counted = desk.printed(&["dead-letters", "redrive", "--route", "work", "--dry-run"]).await;
    assert_eq!(counted["matched"], LETTERS);
    assert_eq!(desk.printed(&["dead-letters", "runs"]).await, Value::Array(Vec::new()));

    // The upstream is still down: two are tried, and no more.
    let filter = ["dead-letters", "redrive", "--route", "work", "--canary", "2", "--rate", "200/s"];
    desk.said(&[&filter[..], &WHY].concat()).await;
    let stopped = desk.await_run("stopped_by_canary").await;
    assert!(stopped["why"].as_str().expect("a reason").contains("died again"), "{stopped}");
    desk.await_states("dead", LETTERS).await;
    let tried = |notes: &std::collections::BTreeMap<String, Note>| {
        notes.values().filter(|note| note.sent > 2).count()
    };
    assert!((1..=2).contains(&tried(&desk.notebook.notes())), "{:?}", desk.notebook.notes());
    assert!(desk.said(&["dead-letters", "runs"]).await.contains("stopped_by_canary"));

    // It is mended; meanwhile the gateway is killed.
    desk.notebook.behave(Temper::default());
    desk.gateway.restart().await;
    let run = stopped["id"].to_string();
    desk.said(&[&["dead-letters", "resume", &run][..], &WHY].concat()).await;
    let finished = desk.await_run("finished").await;
    assert_eq!((&finished["redriven"], &finished["proven"]), (&LETTERS.into(), &true.into()));
    desk.await_states("completed", LETTERS).await;
    let notes = desk.notebook.notes();
    assert_eq!(notes.len(), LETTERS);
    assert!(notes.values().all(|note| note.done == 1), "{notes:?}");
    assert_eq!(desk.printed(&["dead-letters", "list"]).await, Value::Array(Vec::new()));
}

#[tokio::test]
async fn single_letters_are_redriven_edited_and_removed() {
    let desk = Desk::set().await;
    let ids = desk.let_die(3).await;
    desk.notebook.behave(Temper::default());
    desk.said(&[&["dead-letters", "redrive", &ids[0]][..], &WHY].concat()).await;
    desk.await_states("completed", 1).await;
    let again = desk.run(&[&["dead-letters", "redrive", &ids[0]][..], &WHY].concat()).await;
    assert_eq!(again.status.code(), Some(4), "what is done is not done again");

    let body = desk.folder.path().join("body.json");
    std::fs::write(&body, "{\"piece\":\"mended\"}").expect("a file");
    let body = body.display().to_string();
    let edit = ["dead-letters", "edit", &ids[1], "--body", &body, "--header", "x-mended: yes", "--purge"];
    let edited = desk.printed(&[&edit[..], &WHY].concat()).await;
    assert_eq!(edited["original_state"], "tombstone");
    desk.await_states("completed", 2).await;
    let shown =
        desk.printed(&["dead-letters", "show", edited["id"].as_str().expect("an id"), "--body"]).await;
    assert_eq!(shown["request"]["body"], "{\"piece\":\"mended\"}");

    let removed =
        desk.printed(&[&["dead-letters", "purge", "--route", "work", "--yes"][..], &WHY].concat()).await;
    assert_eq!(removed["purged"], 1);
    let ask = Ask::post("/work", "{\"piece\":\"piece-02\"}").header("idempotency-key", "piece-02");
    let answer = Caller::new(desk.gateway.addr(), PATIENCE).ask(&ask).await.expect("an answer");
    assert_eq!((answer.status, answer.code().as_deref()), (410, Some("key-expired")), "its key stays taken");
    let notes = desk.notebook.notes();
    assert_eq!(notes.values().filter(|note| note.done == 1).count(), 2, "{notes:?}");
    // What was edited went under its own key, not under that of what died.
    assert!(notes.iter().any(|(key, note)| key.starts_with("sf_") && note.done == 1), "{notes:?}");
}

#[tokio::test]
async fn a_route_rests_over_a_restart_until_it_is_resumed() {
    let mut desk = Desk::set().await;
    let rests = desk.said(&["queue", "pause", "work", "--reason", "the notebook is full"]).await;
    assert!(rests.contains("until it is resumed"), "{rests}");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    desk.leave("one").await;
    let called_off = desk.leave("two").await;
    desk.gateway.restart().await;
    desk.leave("three").await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(desk.notebook.notes().is_empty(), "{:?}", desk.notebook.notes());
    let listed = desk.said(&["queue", "list"]).await;
    assert!(listed.contains("rests") && listed.contains("the notebook is full"), "{listed}");
    assert_eq!(desk.printed(&["queue", "list"]).await[0]["due"], 3);
    desk.said(&["queue", "cancel", &called_off, "--reason", "ordered by mistake"]).await;
    desk.said(&["queue", "resume", "work", "--reason", "there is a new page"]).await;
    desk.await_states("completed", 2).await;
    assert_eq!(desk.notebook.notes().len(), 2);
    let none = desk.run(&["queue", "resume", "work", "--reason", "again"]).await;
    assert_eq!(none.status.code(), Some(5));
}

#[tokio::test]
async fn metrics_tell_of_dead_letters() {
    let desk = Desk::set().await;
    let ids = desk.let_die(2).await;
    let says = async |line: &str| {
        await_that(line, PATIENCE, async || {
            let metrics = desk.gateway.ask_admin(&Ask::get("/metrics")).await.expect("metrics");
            String::from_utf8_lossy(&metrics.body).lines().any(|found| found == line).then_some(())
        })
        .await;
    };
    says("steadfast_route_dead_letters{http_route=\"work\"} 2").await;
    desk.notebook.behave(Temper::default());
    desk.said(&[&["dead-letters", "redrive", &ids[0], &ids[1]][..], &WHY].concat()).await;
    says("steadfast_route_dead_letters_redriven_total{http_route=\"work\"} 2").await;
    says("steadfast_route_dead_letters{http_route=\"work\"} 0").await;
}
