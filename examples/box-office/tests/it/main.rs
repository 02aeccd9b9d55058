//! The services over real sockets, and what their books say afterwards.

#![expect(clippy::unwrap_used, reason = "this is a test from end to end, its helpers included")]

mod bank;
mod client;
mod keys;
mod kills;
mod office;
mod page;
mod port;
mod process;
mod restart;
mod sink;
mod storm;
mod tickets;

use box_office::{Bank, BankConfig, BankTemper, BoxOffice, OfficeConfig, RunningService};
use tempfile::TempDir;

/// A box office in front of its bank.
struct Town {
    office: RunningService,
    bank: RunningService,
    /// Their books, deleted at the end.
    _folder: TempDir,
}

fn town(temper: BankTemper, honours_keys: bool) -> Town {
    let folder = TempDir::new().unwrap();
    let bank = BankConfig { temper, honours_keys, ..BankConfig::new(folder.path().join("bank.db")) };
    let bank = Bank::start(bank).unwrap();
    let office = OfficeConfig {
        bank: Some(bank.url()),
        honours_keys,
        ..OfficeConfig::new(folder.path().join("office.db"))
    };
    Town { office: BoxOffice::start(office).unwrap(), bank, _folder: folder }
}

fn lone_bank(temper: BankTemper, honours_keys: bool) -> (RunningService, TempDir) {
    let folder = TempDir::new().unwrap();
    let config = BankConfig { temper, honours_keys, ..BankConfig::new(folder.path().join("bank.db")) };
    (Bank::start(config).unwrap(), folder)
}
