//! Checks what a config says of an upstream's circuits.

use steadfast_core::circuit::{CircuitPolicy, Ratio};

use super::{
    super::raw::{At, RawCircuit, Share},
    Checker, time_or,
};

impl Checker<'_> {
    pub(super) fn circuit(&mut self, raw: &RawCircuit) -> CircuitPolicy {
        let default = CircuitPolicy::default();
        let ratio = |raw: &Option<At<Share>>, default: Ratio| {
            raw.as_ref().map_or(default, |share| share.get().ratio())
        };
        let number = |raw: &Option<At<u64>>| {
            raw.as_ref().map(|number| u32::try_from(*number.get()).unwrap_or(u32::MAX))
        };
        let open_for = time_or(raw.open_for.as_ref(), default.open_for);
        let open_for_max = time_or(raw.open_for_max.as_ref(), default.open_for_max.max(open_for));
        if let Some(stated) = raw.open_for_max.as_ref().or(raw.open_for.as_ref())
            && open_for > open_for_max
            && !self.partial
        {
            self.error(
                &stated.span(),
                "`circuit.open_for` is longer than `circuit.open_for_max`".into(),
                "lengthen open_for_max, or shorten open_for".into(),
            );
        }
        if let Some(slow_ratio) = &raw.slow_ratio
            && raw.slow.is_none()
        {
            self.warn(
                &slow_ratio.span(),
                "`circuit.slow_ratio` means nothing without `circuit.slow`, which says what is slow".into(),
            );
        }
        CircuitPolicy {
            failure_ratio: ratio(&raw.failure_ratio, default.failure_ratio),
            slow: raw.slow.as_ref().map(|time| time.get().0),
            slow_ratio: ratio(&raw.slow_ratio, default.slow_ratio),
            window: time_or(raw.window.as_ref(), default.window),
            volume_min: number(&raw.volume_min).unwrap_or(default.volume_min),
            consecutive: number(&raw.consecutive),
            open_for,
            open_for_max,
            probes: number(&raw.probes).unwrap_or(default.probes),
            is_shadow: raw.mode.as_ref().is_some_and(|mode| mode.get().is_shadow()),
        }
    }
}
