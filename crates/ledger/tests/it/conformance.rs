//! SQLite passes the suite that every store passes.

use std::{path::Path, sync::Arc, time::Duration};

use steadfast_core::Timestamp;
use steadfast_ledger::{
    Clock, SharedLedger,
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
    let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() };
    Arc::new(SqliteLedger::open(&folder.join("ledger.db"), options).expect("a ledger"))
}

impl Harness for Sqlite {
    fn ledger(&self) -> SharedLedger {
        self.ledger.clone()
    }

    /// Opens the files as a process that was killed at this moment would leave them to the next.
    async fn restart(&mut self) {
        let folder = tempfile::tempdir().expect("a folder");
        // The file first: the logs are only added to, so what is copied later covers what was copied before.
        for name in ["ledger.db", "ledger.db-wal", "ledger.db-log"] {
            std::fs::copy(self.folder.path().join(name), folder.path().join(name)).expect("a copy");
        }
        self.ledger.close();
        self.ledger = open(folder.path(), &self.clock);
        self.folder = folder;
    }

    async fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
    }
}

steadfast_ledger::conformance_tests!(Sqlite::new());
