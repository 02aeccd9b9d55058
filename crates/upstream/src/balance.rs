//! Which endpoint a request goes to: of two that chance names, the one where it would cost less (the power of two
//! choices, over peak EWMA). What cannot be sent to, or was tried by the same request before, is left out.

use std::{sync::Arc, time::Duration};

use steadfast_core::circuit::{Held, Phase};
use steadfast_layers::{EndpointId, Tried};
use tokio::time::Instant;

use crate::{Endpoint, OutgoingBody};

/// In its first moment an endpoint that starts slowly gets this part of its share.
const SLOW_START_MIN: f64 = 0.1;

/// What a choice goes by.
pub(crate) struct Choice<'a> {
    /// Those that this request was sent to by its earlier attempts.
    pub(crate) tried: Option<&'a Tried>,
    /// Those that could not be reached, or held it, in this attempt.
    pub(crate) left_out: &'a [EndpointId],
    /// For how long an endpoint starts slowly.
    pub(crate) slow_start: Option<Duration>,
    /// Whether some circuit is not closed.
    pub(crate) some_open: bool,
    /// Now.
    pub(crate) now: Instant,
}

/// Chooses one of several endpoints; none where all were left out.
///
/// # Errors
/// The circuits of all that are left are open; the shortest time until one is not.
pub(crate) fn choose<'e, B: OutgoingBody>(
    endpoints: &'e [Arc<Endpoint<B>>],
    choice: &Choice<'_>,
) -> Result<Option<&'e Arc<Endpoint<B>>>, Held> {
    // One whose circuit waits for a probe gets it: nothing else would ever find out that it is well again.
    if choice.some_open
        && let Some(due) = endpoints.iter().find(|endpoint| choice.is_due(endpoint))
    {
        return Ok(Some(due));
    }
    let (first, second) = two_of(endpoints.len());
    let (first, second) = (&endpoints[first], &endpoints[second]);
    if choice.is_good(first) && choice.is_good(second) {
        return Ok(Some(choice.lighter(first, second)));
    }
    choice.with_care(endpoints)
}

impl Choice<'_> {
    /// For when not all endpoints are alike: from what one would like down to what is better than nothing.
    fn with_care<'e, B: OutgoingBody>(
        &self,
        endpoints: &'e [Arc<Endpoint<B>>],
    ) -> Result<Option<&'e Arc<Endpoint<B>>>, Held> {
        let left = |endpoint: &&Arc<Endpoint<B>>| !self.left_out.contains(&endpoint.id());
        let open = |endpoint: &&Arc<Endpoint<B>>| endpoint.look(self.now).is_ok();
        let untried = |endpoint: &&Arc<Endpoint<B>>| !self.was_tried(endpoint);
        let all: Vec<_> = endpoints.iter().filter(left).collect();
        if all.is_empty() {
            return Ok(None);
        }
        let taking: Vec<_> = all.iter().copied().filter(open).collect();
        if taking.is_empty() {
            let held = all.iter().filter_map(|endpoint| endpoint.look(self.now).err());
            let retry_after = held.map(|held| held.retry_after).min().unwrap_or_default();
            return Err(Held { retry_after });
        }
        // Where checks take all of them for ill, the checks may be what is wrong.
        let healthy: Vec<_> = taking.iter().copied().filter(|endpoint| endpoint.is_healthy()).collect();
        let healthy = if healthy.is_empty() { taking } else { healthy };
        let fresh: Vec<_> = healthy.iter().copied().filter(untried).collect();
        let fresh = if fresh.is_empty() { healthy } else { fresh };
        let warm: Vec<_> = fresh.iter().copied().filter(|endpoint| self.is_warm(endpoint)).collect();
        let candidates = if warm.is_empty() { fresh } else { warm };
        let (first, second) = two_of(candidates.len());
        Ok(Some(self.lighter(candidates[first], candidates[second])))
    }

    fn is_good<B: OutgoingBody>(&self, endpoint: &Endpoint<B>) -> bool {
        endpoint.is_healthy()
            && endpoint.look(self.now).is_ok()
            && !self.left_out.contains(&endpoint.id())
            && !self.was_tried(endpoint)
            && self.is_warm(endpoint)
    }

    fn is_due<B: OutgoingBody>(&self, endpoint: &Endpoint<B>) -> bool {
        let waits = endpoint.circuit.as_ref().is_some_and(|circuit| {
            circuit.is_enforced()
                && !circuit.is_closed()
                && circuit.view(self.now).phase != Phase::Closed
                && circuit.look(self.now).is_ok()
        });
        waits && endpoint.is_healthy() && !self.left_out.contains(&endpoint.id()) && !self.was_tried(endpoint)
    }

    fn was_tried<B: OutgoingBody>(&self, endpoint: &Endpoint<B>) -> bool {
        self.tried.is_some_and(|tried| tried.contains(endpoint.id()))
    }

    /// Whether chance lets it take part, which it does the more often the longer it has been taking requests.
    fn is_warm<B: OutgoingBody>(&self, endpoint: &Endpoint<B>) -> bool {
        let Some(slow_start) = self.slow_start else { return true };
        match endpoint.taking_for() {
            Some(time) if time < slow_start => {
                let share = time.as_secs_f64() / slow_start.as_secs_f64();
                fastrand::f64() < share.max(SLOW_START_MIN)
            }
            _ => true,
        }
    }

    fn lighter<'e, B: OutgoingBody>(
        &self,
        first: &'e Arc<Endpoint<B>>,
        second: &'e Arc<Endpoint<B>>,
    ) -> &'e Arc<Endpoint<B>> {
        if second.load.weight(self.now) < first.load.weight(self.now) { second } else { first }
    }
}

/// Two different places of `length`, in any order; the same where there is only one.
fn two_of(length: usize) -> (usize, usize) {
    let first = fastrand::usize(..length);
    if length == 1 {
        return (first, first);
    }
    let second = fastrand::usize(..length - 1);
    (first, if second >= first { second + 1 } else { second })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_different_places_are_named_each_as_often_as_the_others() {
        assert_eq!(two_of(1), (0, 0));
        let mut seen = [[0_u32; 4]; 4];
        for _ in 0..12_000 {
            let (first, second) = two_of(4);
            seen[first][second] += 1;
        }
        for (first, row) in seen.iter().enumerate() {
            for (second, times) in row.iter().enumerate() {
                let expected = if first == second { 0..=0 } else { 700..=1_300 };
                assert!(expected.contains(times), "{first} {second}: {times}");
            }
        }
    }
}
