//! What an endpoint has to do just now, and what a call to it costs.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::HeaderMap;
use steadfast_core::PeakEwma;
use steadfast_layers::retry_after;
use tokio::time::Instant;

/// What a call costs at least that brought no answer, or one that says that there is too much to do, or trouble.
const PENALTY: Duration = Duration::from_secs(5);
/// How much an endpoint's own `Retry-After` may make of it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// What is not known yet costs nothing, so that it is tried; but not by everybody before the first answer is there.
const UNKNOWN_AND_BUSY: f64 = 1e9;

/// What an endpoint has to do just now, and what a call to it costs.
#[derive(Debug)]
pub(crate) struct Load {
    in_flight: AtomicU64,
    cost: Mutex<PeakEwma>,
    origin: Instant,
}

impl Load {
    pub(crate) fn new(origin: Instant) -> Self {
        Self { in_flight: AtomicU64::new(0), cost: Mutex::default(), origin }
    }

    /// How many requests were sent to it whose answers have not ended.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What a call costs, in seconds; nothing while nobody knows.
    pub(crate) fn cost(&self, now: Instant) -> Option<f64> {
        let cost = self.cost.lock().unwrap_or_else(PoisonError::into_inner);
        cost.cost(now.saturating_duration_since(self.origin))
    }

    /// What one more call would cost, beside those that are under way.
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^52 requests under way")]
    pub(crate) fn weight(&self, now: Instant) -> f64 {
        let in_flight = self.in_flight() as f64;
        match self.cost(now) {
            Some(cost) => cost * (in_flight + 1.0),
            None if in_flight > 0.0 => UNKNOWN_AND_BUSY + in_flight,
            None => 0.0,
        }
    }

    /// A call took so long until its answer's head.
    pub(crate) fn answered(&self, took: Duration, now: Instant) {
        let mut cost = self.cost.lock().unwrap_or_else(PoisonError::into_inner);
        cost.observe(took, now.saturating_duration_since(self.origin));
    }

    /// A call was given up after so long. That it was not answered sooner says nothing good.
    fn waited(&self, waited: Duration, now: Instant) {
        if self.cost(now).is_none_or(|cost| waited.as_secs_f64() > cost) {
            self.answered(waited, now);
        }
    }

    /// A call brought no answer after so long, or one that tells of trouble; `headers` are those of that.
    pub(crate) fn troubled(&self, took: Duration, headers: Option<&HeaderMap>, now: Instant) {
        let asked = headers.and_then(retry_after).unwrap_or_default().min(RETRY_AFTER_MAX);
        self.answered(took.max(PENALTY).max(asked), now);
    }
}

/// One request that is counted until this is dropped.
pub(crate) struct InFlight {
    load: Arc<Load>,
    /// Since when it waits for its answer's head; nothing once that is there, or will not be.
    waits_since: Option<Instant>,
}

impl InFlight {
    pub(crate) fn new(load: Arc<Load>, now: Instant) -> Self {
        load.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { load, waits_since: Some(now) }
    }

    /// It waits no longer: what it cost was said.
    pub(crate) fn answered(&mut self) {
        self.waits_since = None;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
        // Whoever waited in vain knows at least that it takes longer.
        if let Some(since) = self.waits_since {
            let now = Instant::now();
            self.load.waited(now.saturating_duration_since(since), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_unknown_is_tried_once_and_what_is_busy_or_troubled_weighs_more() {
        let now = Instant::now();
        let loads: Vec<Arc<Load>> = (0..3).map(|_| Arc::new(Load::new(now))).collect();
        assert_eq!(loads[0].weight(now), 0.0);
        let trying = InFlight::new(Arc::clone(&loads[0]), now);
        assert!(loads[0].weight(now) > loads[1].weight(now));
        loads[0].answered(Duration::from_millis(10), now);
        assert!((loads[0].weight(now) - 0.020).abs() < 1e-9, "{}", loads[0].weight(now));
        drop(trying);
        let in_vain = InFlight::new(Arc::clone(&loads[0]), now);
        tokio::time::advance(Duration::from_secs(3)).await;
        drop(in_vain);
        assert_eq!(loads[0].cost(Instant::now()), Some(3.0));
        let loads: Vec<Arc<Load>> = (0..3).map(|_| Arc::new(Load::new(now))).collect();
        loads[0].answered(Duration::from_millis(10), now);
        assert!((loads[0].weight(now) - 0.010).abs() < 1e-9);
        let mut headers = HeaderMap::new();
        loads[1].troubled(Duration::from_millis(1), Some(&headers), now);
        assert_eq!(loads[1].cost(now), Some(5.0));
        headers.insert(http::header::RETRY_AFTER, "9000".parse().expect("a value"));
        loads[2].troubled(Duration::from_millis(1), Some(&headers), now);
        assert_eq!(loads[2].cost(now), Some(300.0));
    }
}
