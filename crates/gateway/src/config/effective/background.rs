//! How requests are done in the background, as a config writes it.

use http::HeaderName;
use steadfast_layers::{BackgroundMode, BackgroundPolicy, OrderingKey};
use steadfast_ledger::LaneTrouble;

use super::{all, plain, some};
use crate::config::raw::{At, RawBackground, RawBackgroundMode, RawOrderTrouble, RawOrdering, Size, Time};

pub(super) fn background(policy: &BackgroundPolicy) -> RawBackground {
    let ordering = policy.ordering.as_ref();
    RawBackground {
        mode: At::nowhere(match policy.mode {
            BackgroundMode::Always => RawBackgroundMode::Always,
            BackgroundMode::Allowed => RawBackgroundMode::Allowed,
            BackgroundMode::OnFailure => RawBackgroundMode::OnFailure,
        }),
        attempts: some(policy.tries_max.into()),
        max_age: some(Time(policy.age_max)),
        base: some(Time(policy.backoff.base)),
        cap: some(Time(policy.backoff.cap)),
        concurrency: some(policy.concurrency.into()),
        max_delay: some(Time(policy.delay_max)),
        priority: some(policy.priority.0.into()),
        ordering: ordering.and_then(|ordering| {
            some(match &ordering.by {
                OrderingKey::Header(name) => RawOrdering::Header(At::nowhere(plain(name.as_str()))),
                OrderingKey::Field(path) => RawOrdering::Field(At::nowhere(plain(path))),
            })
        }),
        order_trouble: ordering.and_then(|ordering| {
            some(match ordering.trouble {
                LaneTrouble::Blocks => RawOrderTrouble::Blocks,
                LaneTrouble::Passes => RawOrderTrouble::Passes,
            })
        }),
        keep_credentials: all(&policy.kept_credentials, HeaderName::to_string),
        max_body: some(Size(policy.request_bytes_max as u64)),
        max_wait: some(Time(policy.wait_max)),
    }
}
