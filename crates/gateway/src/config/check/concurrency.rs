//! Checks what a config says of how many requests an upstream is given at once, and how often it is called.

use std::time::Duration;

use steadfast_layers::{BulkheadPolicy, CourtesyPolicy, Priority};

use super::{
    super::raw::{At, RawConcurrency, RawCourtesy, RawPriority, RawTimeout},
    Checker,
};

/// How many requests an upstream is given at once at the most, unless stated.
const MAX: u32 = 200;
/// Where an adaptive limit starts, unless stated.
const MIN: u32 = 20;
/// The part of the places that is for critical requests, unless stated.
const RESERVE_PERCENT: u32 = 10;
/// How long a request waits for a place, unless stated.
const QUEUE_WAIT: Duration = Duration::from_secs(1);

impl Checker<'_> {
    /// The policy of `raw`, if there is any.
    pub(super) fn concurrency(
        &mut self,
        raw: Option<&At<RawConcurrency>>,
        timeout: Option<&RawTimeout>,
    ) -> Option<BulkheadPolicy> {
        let stated_wait = timeout.and_then(|timeout| timeout.queue.as_ref());
        let Some(raw) = raw.map(At::get) else {
            if let Some(wait) = stated_wait.filter(|_| !self.partial) {
                let what = "`timeout.queue` is never used: nothing waits without `concurrency`";
                self.error(&wait.span(), what.into(), "add concurrency = { max = … }, or remove it".into());
            }
            return None;
        };
        let max = raw.max.as_ref().map_or(MAX, |max| count(*max.get()));
        let min = raw.min.as_ref().map_or(MIN.min(max), |min| count(*min.get()));
        if let Some(stated) = raw.min.as_ref().filter(|_| min > max && !self.partial) {
            self.error(
                &stated.span(),
                format!("`concurrency.min` is {min}, and `max` only {max}"),
                "lower min, or raise max".into(),
            );
        }
        Some(BulkheadPolicy {
            max,
            is_adaptive: raw.adaptive.as_ref().is_some_and(|adaptive| *adaptive.get()),
            min,
            queue: raw.queue.as_ref().map_or(max, |queue| count(*queue.get())),
            wait_max: stated_wait.map_or(QUEUE_WAIT, |wait| wait.get().0),
            reserve_percent: raw.reserve.as_ref().map_or(RESERVE_PERCENT, |reserve| reserve.get().0),
            is_shadow: raw.mode.as_ref().is_some_and(|mode| mode.get().is_shadow()),
        })
    }

    /// The policy of `raw`, if there is any.
    pub(super) fn courtesy(&mut self, raw: Option<&At<RawCourtesy>>) -> Option<CourtesyPolicy> {
        let raw = raw?.get();
        let burst = raw.burst.as_ref();
        if let Some(burst) = burst.filter(|_| raw.rate.is_none() && !self.partial) {
            let what = "`courtesy.burst` says nothing without `rate`";
            self.error(&burst.span(), what.into(), "add rate = \"100/s\", say, or remove burst".into());
        }
        let burst = burst.map_or(1, |burst| count(*burst.get()));
        Some(CourtesyPolicy { rate: raw.rate.as_ref().map(|rate| (rate.get().0, burst)) })
    }
}

pub(super) fn priority(raw: Option<&At<RawPriority>>) -> Priority {
    match raw.map(At::get) {
        Some(RawPriority::Critical) => Priority::Critical,
        None | Some(RawPriority::Normal) => Priority::Normal,
        Some(RawPriority::Low) => Priority::Low,
    }
}

/// The schema bounds every count far below what fits.
fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
