//! The keys of an issuer: given once, or fetched, refreshed in the background and when a token names one that is not known.
//! What was fetched stays good while the issuer cannot be reached, for a day.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use tokio::time::Instant;

use super::KeySet;
use crate::authentication::outbound::Outbound;

/// How old keys become before they are fetched anew.
const REFRESH_AFTER: Duration = Duration::from_secs(600);

/// How long a fetch that failed, or that brought nothing of what was looked for, is not repeated.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How long keys are good that cannot be fetched anew.
const LIVE_FOR: Duration = Duration::from_secs(24 * 3_600);

/// The keys of an issuer.
#[derive(Debug)]
pub struct Keys {
    issuer: Box<str>,
    current: ArcSwapOption<Fetched>,
    fetching: Option<Fetching>,
}

/// Keys, and since when they are known.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) set: KeySet,
    at: Instant,
    /// Counts the sets that differ from the one before.
    pub(super) generation: u64,
}

#[derive(Debug)]
struct Fetching {
    outbound: Arc<dyn Outbound>,
    target: http::Uri,
    /// Held while they are fetched: whoever waits finds what the one before brought.
    one_at_a_time: tokio::sync::Mutex<()>,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    /// When the last answer to a fetch was there, or none in time.
    at: Option<Instant>,
    /// Whether that failed, which is said once.
    failing: bool,
}

impl Keys {
    /// Keys that never change.
    #[must_use]
    pub fn given(issuer: &str, set: KeySet) -> Self {
        let fetched = Fetched { set, at: Instant::now(), generation: 0 };
        Self { issuer: issuer.into(), current: ArcSwapOption::from_pointee(fetched), fetching: None }
    }

    /// Keys that are found at `target`.
    #[must_use]
    pub fn fetched(issuer: &str, outbound: Arc<dyn Outbound>, target: http::Uri) -> Self {
        let fetching = Fetching {
            outbound,
            target,
            one_at_a_time: tokio::sync::Mutex::default(),
            asked: Mutex::default(),
        };
        Self { issuer: issuer.into(), current: ArcSwapOption::empty(), fetching: Some(fetching) }
    }

    /// Those that are known and still good.
    pub(super) fn current(&self) -> Option<Arc<Fetched>> {
        let current = self.current.load_full()?;
        (self.fetching.is_none() || current.at.elapsed() < LIVE_FOR).then_some(current)
    }

    /// Whether there may be more to know, and it was not asked for just now.
    pub(super) fn may_refresh(&self) -> bool {
        let Some(fetching) = &self.fetching else { return false };
        let asked = fetching.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.at.is_none_or(|at| at.elapsed() >= AGAIN_AFTER)
    }

    /// Fetches them anew where it is time.
    pub async fn keep_fresh(&self) {
        let is_old = self.current.load().as_ref().is_none_or(|current| current.at.elapsed() >= REFRESH_AFTER);
        if is_old && self.may_refresh() {
            self.refresh().await;
        }
    }

    /// Fetches them anew, unless that was done just now.
    pub(super) async fn refresh(&self) {
        let Some(fetching) = &self.fetching else { return };
        let _one = fetching.one_at_a_time.lock().await;
        if !self.may_refresh() {
            return;
        }
        let fetched = fetch(fetching).await;
        let was_failing = {
            let mut asked = fetching.asked.lock().unwrap_or_else(PoisonError::into_inner);
            // Only now: who comes meanwhile waits for what it brings, and where its caller leaves the next one asks.
            asked.at = Some(Instant::now());
            std::mem::replace(&mut asked.failing, fetched.is_err())
        };
        match fetched {
            Ok(set) => {
                let before = self.current.load_full();
                let generation = match &before {
                    None => 0,
                    Some(before) => before.generation + u64::from(before.set != set),
                };
                self.current.store(Some(Arc::new(Fetched { set, at: Instant::now(), generation })));
                if was_failing {
                    tracing::info!(issuer = &*self.issuer, "the keys of the issuer can be fetched again");
                }
            }
            Err(error) if was_failing => {
                tracing::debug!(
                    issuer = &*self.issuer,
                    error,
                    "the keys of the issuer still cannot be fetched"
                );
            }
            Err(error) => tracing::warn!(
                issuer = &*self.issuer,
                error,
                "the keys of the issuer cannot be fetched: those that are known stay good for a day"
            ),
        }
    }
}

async fn fetch(fetching: &Fetching) -> Result<KeySet, String> {
    let request = Request::builder()
        .uri(fetching.target.clone())
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    let answer = fetching.outbound.ask(request).await?;
    if answer.status() != StatusCode::OK {
        return Err(format!("it was answered {}", answer.status()));
    }
    KeySet::parse(answer.body()).map_err(|error| error.to_string())
}
