//! SQLite passes the suite that every store passes, and does so with its answers encrypted.

use std::{path::Path, sync::Arc, time::Duration};

use steadfast_core::Timestamp;
use steadfast_ledger::{
    Clock, Encrypting, Keys, SharedLedger,
    conformance::Harness,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::TempDir;

struct Sqlite {
    folder: TempDir,
    clock: Clock,
    ledger: Arc<SqliteLedger>,
}

impl Sqlite {
    fn new() -> Self {
        let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = open(folder.path(), &clock);
        Self { folder, clock, ledger }
    }
}

fn open(folder: &Path, clock: &Clock) -> Arc<SqliteLedger> {
    Arc::new(SqliteLedger::open(&folder.join("ledger.db"), options(clock)).expect("a ledger"))
}

fn options(clock: &Clock) -> SqliteOptions {
    SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() }
}

/// The files as a process that was killed at this moment would leave them to the next.
fn killed(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    // The file first: the logs are only added to, so what is copied later covers what was copied before.
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-log"] {
        std::fs::copy(folder.join(name), copy.path().join(name)).expect("a copy");
    }
    copy
}

impl Harness for Sqlite {
    fn ledger(&self) -> SharedLedger {
        self.ledger.clone()
    }

    async fn restart(&mut self) {
        let folder = killed(self.folder.path());
        self.ledger.close();
        self.ledger = open(folder.path(), &self.clock);
        self.folder = folder;
    }

    async fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
    }
}

steadfast_ledger::conformance_tests!(Sqlite::new());

/// The same ledger with its answers encrypted. Each process finds a new key first in its file.
struct Encrypted {
    folder: TempDir,
    clock: Clock,
    key_lines: String,
    ledger: SharedLedger,
}

impl Encrypted {
    fn new() -> Self {
        let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
        let (folder, key_lines) = (tempfile::tempdir().expect("a folder"), new_key());
        let ledger = encrypting(folder.path(), &clock, &key_lines);
        Self { folder, clock, key_lines, ledger }
    }
}

fn new_key() -> String {
    Keys::new_line().expect("random bytes")
}

fn encrypting(folder: &Path, clock: &Clock, key_lines: &str) -> SharedLedger {
    let ledger = SqliteLedger::open(&folder.join("ledger.db"), options(clock)).expect("a ledger");
    Arc::new(Encrypting::new(ledger, Keys::parse(key_lines).expect("keys")))
}

impl Harness for Encrypted {
    fn ledger(&self) -> SharedLedger {
        Arc::clone(&self.ledger)
    }

    async fn restart(&mut self) {
        self.folder = killed(self.folder.path());
        self.key_lines = format!("{}\n{}", new_key(), self.key_lines);
        self.ledger = encrypting(self.folder.path(), &self.clock, &self.key_lines);
    }

    async fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
    }
}

mod encrypted {
    use super::Encrypted;

    steadfast_ledger::conformance_tests!(Encrypted::new());
}
