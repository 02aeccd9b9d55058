//! Whether an operation in doubt may run again: only where its upstream is declared to repeat safely, and only
//! for as long as it remembers the forwarded key.

use std::time::Duration;

use crate::Timestamp;

/// Whether an operation in doubt may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rerun {
    /// The upstream is declared to take effect once however often it is sent the same forwarded key.
    Allowed,
    /// Sending it again could take effect twice.
    Forbidden,
}

/// Decides whether an operation first sent at `first_sent` may run again `now`. Upstreams forget keys, so the
/// time counts from the first send, and of the policy stored with the operation and the current one the
/// stricter counts. `None` is an upstream that is not repeatable.
#[must_use]
pub fn rerun(
    first_sent: Timestamp,
    now: Timestamp,
    stored: Option<Duration>,
    current: Option<Duration>,
) -> Rerun {
    match (stored, current) {
        // A clock that was set back makes `now` the earlier one: then nobody knows how long ago that was.
        (Some(stored), Some(current)) if now >= first_sent && now.since(first_sent) < stored.min(current) => {
            Rerun::Allowed
        }
        _ => Rerun::Forbidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_policy_counts_from_the_first_send() {
        let at = Timestamp::from_millis;
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let hour = 3_600_000;
        for (now, stored, current, expected) in [
            (hour, hours(24), hours(24), Rerun::Allowed),
            (23 * hour, hours(24), hours(24), Rerun::Allowed),
            (24 * hour, hours(24), hours(24), Rerun::Forbidden),
            (2 * hour, hours(24), hours(1), Rerun::Forbidden),
            (2 * hour, hours(1), hours(24), Rerun::Forbidden),
            (2 * hour, None, hours(24), Rerun::Forbidden),
            (2 * hour, hours(24), None, Rerun::Forbidden),
            (-hour, hours(24), hours(24), Rerun::Forbidden),
        ] {
            assert_eq!(rerun(at(0), at(now), stored, current), expected, "{now} {stored:?} {current:?}");
        }
    }
}
