//! Which routes rest by hand, as this process knows it: asked of the ledger once a second.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use steadfast_ledger::{LedgerError, RoutePause, SharedLedger};

/// How long it is from one question to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// Knows which routes rest.
#[derive(Clone)]
pub struct Resting {
    ledger: SharedLedger,
    /// None before the ledger has told for the first time.
    routes: Arc<RwLock<Option<Vec<Box<str>>>>>,
}

impl Resting {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(ledger: SharedLedger) -> Self {
        Self { ledger, routes: Arc::default() }
    }

    /// Whether nothing of this route is to be taken: also where the ledger has not told yet which routes rest.
    #[must_use]
    pub fn rests(&self, route: &str) -> bool {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.as_ref().is_none_or(|routes| routes.iter().any(|resting| **resting == *route))
    }

    /// Asks the ledger.
    ///
    /// # Errors
    /// [`LedgerError`]: what was known before still counts.
    pub async fn run_once(&self) -> Result<(), LedgerError> {
        let pauses = self.ledger.pauses().await?;
        let routes = pauses.into_iter().map(|RoutePause { route, .. }| route).collect();
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Some(routes);
        Ok(())
    }

    /// Asks for ever.
    pub async fn run(self) {
        let mut ticks = crate::workers::ticks(INTERVAL);
        loop {
            ticks.tick().await;
            if let Err(error) = self.run_once().await {
                tracing::debug!(%error, "the ledger does not tell which routes rest: what is known of them still counts");
            }
        }
    }
}

impl std::fmt::Debug for Resting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Resting").field("routes", &self.routes).finish_non_exhaustive()
    }
}
