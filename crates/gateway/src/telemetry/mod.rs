//! What is told of every request: a line in the access log and its part in the metrics, both written when its
//! answer has been sent.

mod access_log;
mod jobs;
mod metrics;
mod shared;
mod tallies;

pub(crate) use access_log::{AccessLog, Entry};
pub(crate) use metrics::Metrics;
