//! What is started, and how it is put together:
//!
//! ```text
//! customers ─▶ fault proxy ─▶ gateway (a process) ─▶ fault proxy ─▶ box office (its database)
//! resellers ────────────────▶   │ │ └───────────────────────────────▶ │
//!                               │ └─ ledger                           │
//!                               │ ◀──────────── charges ──────────────┘
//!                               └─▶ fault proxy ─▶ bank (its database)
//! ```

use std::path::PathBuf;

use anyhow::Context;
use box_office::{Bank, BankConfig, BoxOffice, OfficeConfig, RunningService};
use steadfast_faults::{FaultProxy, Plan};
use tempfile::TempDir;

use super::{chaos, gateway::Gateway};

/// Everything that runs. Dropping it ends it all: the gateway is killed first.
#[derive(Debug)]
pub(super) struct World {
    pub(super) gateway: Gateway,
    /// Between customers and gateway.
    pub(super) toward_gateway: FaultProxy,
    /// Between gateway and box office.
    pub(super) toward_office: FaultProxy,
    /// Between gateway and bank.
    pub(super) toward_bank: FaultProxy,
    pub(super) office: RunningService,
    pub(super) bank: RunningService,
    folder: TempDir,
}

impl World {
    /// Starts everything, the gateway last.
    ///
    /// # Errors
    /// Something cannot be started; what was, is stopped again.
    pub(super) async fn start(seed: u64, ledger: Option<&str>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("steadfast-demo-").tempdir();
        let folder = folder.context("there is no place for a temporary folder")?;
        let bank = Bank::start(BankConfig {
            temper: chaos::bank_temper(seed),
            ..BankConfig::new(folder.path().join("bank.db"))
        })
        .context("the bank cannot be started")?;
        let toward_bank =
            FaultProxy::start(bank.addr(), Plan::default()).context("the fault proxy cannot be started")?;
        let ledger = match ledger {
            Some(ledger) => ledger.to_owned(),
            None => format!("sqlite:{}", folder.path().join("ledger.db").display()),
        };
        let mut gateway = Gateway::new(folder.path(), ledger)?;
        let office = BoxOffice::start(OfficeConfig {
            // Through the gateway: it guards the box office against its bank as well.
            bank: Some(gateway.bank_url()),
            ..OfficeConfig::new(folder.path().join("office.db"))
        })
        .context("the box office cannot be started")?;
        let toward_office = FaultProxy::start(office.addr(), chaos::between_gateway_and_office(seed))
            .context("the fault proxy cannot be started")?;
        gateway.stand_before(toward_office.addr(), toward_bank.addr(), office.addr())?;
        let toward_gateway = FaultProxy::start(gateway.address(), chaos::between_customers_and_gateway(seed))
            .context("the fault proxy cannot be started")?;
        gateway.start().await?;
        Ok(Self { gateway, toward_gateway, toward_office, toward_bank, office, bank, folder })
    }

    /// Ends everything; the folder stays where it is asked to.
    pub(super) async fn end(self, keep_folder: bool) -> Option<PathBuf> {
        let Self { gateway, toward_gateway, toward_office, toward_bank, office, bank, folder } = self;
        drop(gateway);
        toward_gateway.stop().await;
        toward_office.stop().await;
        toward_bank.stop().await;
        office.stop();
        bank.stop();
        keep_folder.then(|| folder.keep())
    }
}
