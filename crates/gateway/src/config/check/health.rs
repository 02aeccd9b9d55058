//! Checks what a config says of health checks.

use http::uri::PathAndQuery;
use steadfast_core::HealthThresholds;
use steadfast_upstream::HealthPolicy;

use super::{
    super::raw::{At, RawHealth},
    Checker, Finding, time_or,
};

impl Checker<'_> {
    pub(super) fn health(&mut self, raw: &At<RawHealth>) -> Option<HealthPolicy> {
        let raw = raw.get();
        let default = HealthPolicy::new(self.take(&raw.path.span(), parse_path(raw.path.get()))?);
        let interval = time_or(raw.interval.as_ref(), default.interval);
        // Where only the interval is stated, and short, a check still ends before the next one.
        let timeout = time_or(raw.timeout.as_ref(), default.timeout.min(interval));
        if let Some(stated) = &raw.timeout
            && timeout > interval
        {
            self.warn(
                &stated.span(),
                "`health.timeout` is longer than `health.interval`: while an endpoint hangs, its checks come more \
                 seldom than that says"
                    .into(),
            );
        }
        let count = |raw: &Option<At<u64>>, default: u32| {
            raw.as_ref().map_or(default, |count| u32::try_from(*count.get()).unwrap_or(u32::MAX))
        };
        let thresholds = HealthThresholds {
            rise: count(&raw.rise, default.thresholds.rise),
            fall: count(&raw.fall, default.thresholds.fall),
        };
        Some(HealthPolicy { interval, timeout, thresholds, ..default })
    }
}

fn parse_path(text: &str) -> Finding<PathAndQuery> {
    let next = || "write a path such as \"/healthz\"".to_owned();
    if !text.starts_with('/') || text.contains('#') {
        return Err((format!("`health.path`: `{}` is not a path", text.escape_debug()), next()));
    }
    text.parse().map_err(|error| {
        (format!("`health.path`: `{}` cannot be asked for: {error}", text.escape_debug()), next())
    })
}
