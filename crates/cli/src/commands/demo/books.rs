//! The books: what the ledger says, read through the admin API, and what the box office's and the bank's own
//! databases say.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use box_office::{EffectKind, RunningService};
use steadfast_admin::api::PageView;
use tokio::time::{Instant, sleep};

use super::{client::Client, world::World};

/// Operations read at once.
const PAGE_ROWS: u32 = 1_000;
/// Pages that are read at most: a hundred thousand operations an hour for ten hours.
const PAGES_MAX: u32 = 1_000;
/// How long a page may take.
const PAGE_PATIENCE: Duration = Duration::from_secs(10);
/// How long is waited for attempts that are still under way. A node that was killed holds its claims in a shared
/// database until their lease has run out.
const SETTLED_MAX: Duration = Duration::from_secs(90);
const SETTLED_ASK: Duration = Duration::from_millis(100);

/// What the three books say, by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    /// Effects of the box office that stand.
    pub(super) effects: HashMap<String, Vec<Standing>>,
    /// Charges at the bank.
    pub(super) charges: HashMap<String, u32>,
    /// The state of each operation in the ledger.
    pub(super) ledger: HashMap<String, String>,
}

/// An effect that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) kind: EffectKind,
    /// The body that tells of it, as its caller was or would have been answered.
    pub(super) body: Option<String>,
}

impl Books {
    /// Reads all three, once nothing is under way any more. `prefix` is what this run's keys begin with.
    ///
    /// # Errors
    /// A book cannot be read.
    pub(super) async fn read(world: &World, prefix: &str) -> anyhow::Result<Self> {
        let ledger = settled_ledger(world.gateway.admin(), prefix).await?;
        let mut books = Self { ledger, ..Self::default() };
        books.read_effects(&world.office).context("the box office's database cannot be read")?;
        books.read_charges(&world.bank).context("the bank's database cannot be read")?;
        Ok(books)
    }

    fn read_effects(&mut self, office: &RunningService) -> anyhow::Result<()> {
        for effect in office.effects()?.into_iter().filter(|effect| !effect.undone) {
            let reference = effect.reference.unwrap_or_default();
            let standing = Standing { kind: effect.kind, body: effect.body };
            self.effects.entry(reference).or_default().push(standing);
        }
        Ok(())
    }

    fn read_charges(&mut self, bank: &RunningService) -> anyhow::Result<()> {
        for effect in bank.effects()? {
            *self.charges.entry(effect.reference.unwrap_or_default()).or_default() += 1;
        }
        Ok(())
    }
}

/// The state of each of this run's operations, once none is claimed any more, or with those that still are when
/// the time is up.
async fn settled_ledger(admin: SocketAddr, prefix: &str) -> anyhow::Result<HashMap<String, String>> {
    let begun = Instant::now();
    loop {
        let ledger = read_ledger(admin, prefix).await?;
        let unfinished = ledger.values().any(|state| state == "claimed");
        if !unfinished || begun.elapsed() > SETTLED_MAX {
            return Ok(ledger);
        }
        sleep(SETTLED_ASK).await;
    }
}

async fn read_ledger(admin: SocketAddr, prefix: &str) -> anyhow::Result<HashMap<String, String>> {
    let mut client = Client::new(admin);
    let mut states = HashMap::new();
    let mut path = format!("/api/operations?limit={PAGE_ROWS}");
    for _ in 0..PAGES_MAX {
        let reply = client.get(&path, PAGE_PATIENCE).await.context("the admin API does not answer")?;
        if reply.status != 200 {
            bail!("the admin API answered {}: {}", reply.status, String::from_utf8_lossy(&reply.body));
        }
        let page: PageView =
            serde_json::from_slice(&reply.body).context("the admin API's page cannot be read")?;
        let before = states.len();
        let ours = page.operations.into_iter().filter(|operation| operation.key.starts_with(prefix));
        states.extend(ours.map(|operation| (operation.key, operation.state)));
        match page.next {
            // Newest first: where none of ours is left, older runs begin.
            Some(next) if states.len() > before => {
                path = format!("/api/operations?limit={PAGE_ROWS}&before={next}");
            }
            _ => return Ok(states),
        }
    }
    bail!("the ledger has more than {} operations of this run", u64::from(PAGE_ROWS) * u64::from(PAGES_MAX))
}
