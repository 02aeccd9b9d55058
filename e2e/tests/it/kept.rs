//! What is kept of a caller: redacted as the route says, encrypted on disk, and erased by the command line, after which
//! a retry still executes nothing.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use e2e::{Answer, Ask, Caller, Gateway, Office, program};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
const CREDENTIAL: &str = "Bearer ada-lovelace";
const KEY: &str = "order-of-ada";

struct Desk {
    gateway: Gateway,
    office: Office,
    folder: TempDir,
}

impl Desk {
    async fn set() -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut office = Office::ignoring_keys(folder.path());
        office.start().await;
        let (ledger, keys) = (folder.path().join("ledger"), folder.path().join("keys"));
        fs::create_dir(&ledger).expect("a folder");
        let key = Command::new(program("steadfast")).args(["config", "new-key"]).output().expect("a key");
        fs::write(&keys, key.stdout).expect("a key file");
        let config = folder.path().join("steadfast.toml");
        let text = format!(
            r#"ledger = "sqlite:{}"
encryption = {{ key_file = "{}" }}

[upstreams.office]
url = "http://{}"

[[routes]]
path = "/orders"
upstream = "office"
idempotency = {{ kept = {{ redact = ["buyer"], path = false }} }}
"#,
            ledger.join("ledger.db").display(),
            keys.display(),
            office.addr()
        );
        fs::write(&config, text).expect("a config");
        let mut gateway = Gateway::serve(folder.path(), "gateway", &config);
        gateway.start().await;
        Self { gateway, office, folder }
    }

    async fn order(&self) -> Answer {
        let mut caller = Caller::new(self.gateway.addr(), PATIENCE);
        caller.ask(&Ask::order(KEY).header("authorization", CREDENTIAL)).await.expect("an answer")
    }

    /// Runs `steadfast operations` with a credential on its standard input.
    fn operations(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("steadfast"))
            .arg("operations")
            .args(arguments)
            .args(["-o", "json"])
            .env("STEADFAST_ADMIN", self.gateway.admin_addr().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command line runs");
        let mut input = command.stdin.take().expect("a pipe");
        // Commands that read nothing have ended by now.
        let _ = writeln!(input, "{CREDENTIAL}");
        drop(input);
        command.wait_with_output().expect("it ends")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.operations(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The ledger's files that hold `text`.
    fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.path().join("ledger")).expect("a folder");
        let files = files.map(|file| file.expect("a file").path());
        files.filter(|file| holds(file, text)).collect()
    }
}

fn holds(file: &Path, text: &str) -> bool {
    fs::read(file).expect("a file").windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn what_is_kept_is_redacted_encrypted_and_erased_and_nothing_runs_twice() {
    let mut desk = Desk::set().await;
    let first = desk.order().await;
    assert_eq!((first.status, &first.json()["buyer"]), (201, &KEY.into()));
    let replay = desk.order().await;
    assert!(replay.is_replay());
    assert_eq!(
        (replay.header("steadfast-redacted"), &replay.json()["buyer"]),
        (Some("body"), &"[redacted]".into())
    );
    assert_eq!(replay.json()["order"], first.json()["order"]);
    // From the store, after a crash: the key file is read again.
    desk.gateway.kill();
    desk.gateway.restart().await;
    let again = desk.order().await;
    assert_eq!((again.status, &again.body), (replay.status, &replay.body));
    assert!(desk.files_with("amount_cents").is_empty() && desk.files_with("redacted").is_empty());
    assert!(!desk.files_with(KEY).is_empty(), "keys are not encrypted");

    let erase = ["erase", "--credential-header", "Authorization", "--reason", "ticket 4711"];
    let unasked = desk.operations(&erase);
    assert!(!unasked.status.success() && String::from_utf8_lossy(&unasked.stderr).contains("--yes"));
    let planned = desk.json(&[&erase[..], &["--dry-run"]].concat());
    assert_eq!((&planned["erased"], &planned["dry_run"]), (&1.into(), &true.into()));
    assert!(desk.order().await.is_replay());
    let erased = desk.json(&[&erase[..], &["--yes"]].concat());
    assert_eq!((&erased["erased"], &erased["left"]), (&1.into(), &serde_json::json!([])));
    assert!(desk.files_with(KEY).is_empty());
    for _ in 0..2 {
        let retry = desk.order().await;
        assert_eq!((retry.status, retry.code().as_deref()), (410, Some("key-expired")));
        desk.gateway.kill();
        desk.gateway.restart().await;
    }
    assert_eq!(desk.office.counts(KEY), (1, 1));
}
