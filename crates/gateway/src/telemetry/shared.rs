//! What is counted of the store that nodes share, where there is one; read when it is asked for.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use steadfast_shared::{SharedCounts, SharedLimits};

/// The store, once there is one.
#[derive(Debug, Default)]
pub(crate) struct SharedMetrics(OnceLock<Arc<SharedLimits>>);

impl SharedMetrics {
    /// From now on this is the store.
    pub(crate) fn are_of(&self, store: Arc<SharedLimits>) {
        let _ = self.0.set(store);
    }
}

/// A number of a store: its name, what it means, whether it only grows, and what it is.
type Number = (&'static str, &'static str, bool, fn(&SharedCounts) -> u64);

const NUMBERS: [Number; 7] = [
    ("steadfast_shared_lost", "Whether the store that nodes share is lost just now", false, |counts| {
        u64::from(counts.is_lost)
    }),
    ("steadfast_shared_losses", "Times that the store was lost", true, |counts| counts.losses),
    ("steadfast_shared_by_loss", "Requests whose limits went by on_loss", true, |counts| counts.by_loss),
    ("steadfast_shared_nodes", "Nodes that live, as far as is known", false, |counts| counts.nodes),
    ("steadfast_shared_asked", "Requests whose limits the store was asked for", true, |counts| counts.asked),
    ("steadfast_shared_calls", "Calls that carried them", true, |counts| counts.calls),
    (
        "steadfast_shared_said_again",
        "Requests refused without asking, because the store had just refused the same",
        true,
        |counts| counts.said_again,
    ),
];

impl Collector for SharedMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Some(store) = self.0.get() else { return Ok(()) };
        let counts = store.counts();
        for (name, help, is_counter, of) in NUMBERS {
            let kind = if is_counter { MetricType::Counter } else { MetricType::Gauge };
            let metric = encoder.encode_descriptor(name, help, None, kind)?;
            let value = of(&counts);
            if is_counter {
                ConstCounter::new(value).encode(metric)?;
            } else {
                ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
            }
        }
        Ok(())
    }
}
