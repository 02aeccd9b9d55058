//! Which endpoint a request goes to: of two that chance names, the one where it would cost less (the power of two
//! choices, over peak EWMA). What cannot be sent to, or was tried by the same request before, is left out.

use std::{sync::Arc, time::Duration};

use steadfast_core::circuit::Held;
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
    /// From 0 to 1: those whose share in their slow start is below take no part.
    pub(crate) chance: f64,
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
            circuit.is_enforced() && !circuit.is_closed() && circuit.look(self.now).is_ok()
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
                self.chance < share.max(SLOW_START_MIN)
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
    use bytes::Bytes;
    use http_body_util::Full;
    use steadfast_layers::{RequestBody, UpstreamTally};
    use steadfast_ledger::Clock;
    use tokio::time::advance;

    use super::*;
    use crate::{Location, Upstream, UpstreamPolicy};

    type Body = RequestBody<Full<Bytes>>;

    fn upstream(addresses: &[&str]) -> Upstream<Body> {
        let address = |text: &&str| text.parse().expect("an address");
        let mut policy = UpstreamPolicy::new("bank", address(&addresses[0]));
        policy.addresses = addresses.iter().map(address).collect();
        Upstream::new(policy, Clock::system(), Arc::new(UpstreamTally::default())).expect("no TLS")
    }

    fn choice(slow_start: Option<Duration>) -> Choice<'static> {
        let (chance, now) = (fastrand::f64(), Instant::now());
        Choice { tried: None, left_out: &[], slow_start, chance, some_open: false, now }
    }

    /// How often each is chosen in `times` choices.
    fn chosen(upstream: &Upstream<Body>, times: usize, choice: impl Fn() -> Choice<'static>) -> Vec<usize> {
        let endpoints = upstream.endpoints();
        let mut chosen = vec![0; endpoints.len()];
        for _ in 0..times {
            let endpoint = choose(&endpoints, &choice()).expect("no circuit").expect("one is left");
            let place = endpoints.iter().position(|one| one.id() == endpoint.id());
            chosen[place.expect("one of them")] += 1;
        }
        chosen
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_ill_gets_nothing_unless_all_are() {
        let upstream = upstream(&["http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.3"]);
        let endpoints = upstream.endpoints();
        endpoints[1].set_healthy(false);
        let shares = chosen(&upstream, 300, || choice(None));
        assert!(shares[0] > 80 && shares[1] == 0 && shares[2] > 80, "{shares:?}");
        endpoints.iter().for_each(|endpoint| endpoint.set_healthy(false));
        let shares = chosen(&upstream, 300, || choice(None));
        assert!(shares.iter().all(|share| *share > 50), "{shares:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_tried_is_tried_again_only_where_nothing_else_is_left() {
        let upstream = upstream(&["http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.3"]);
        let endpoints = upstream.endpoints();
        let tried = Tried::default();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let choice = Choice { tried: Some(&tried), ..choice(None) };
            let endpoint = choose(&endpoints, &choice).expect("no circuit").expect("one");
            assert!(!seen.contains(&endpoint.id()));
            seen.push(endpoint.id());
            tried.add(endpoint.id());
        }
        let again = Choice { tried: Some(&tried), ..choice(None) };
        assert!(choose(&endpoints, &again).expect("no circuit").is_some());
        let none = Choice { left_out: &seen, ..choice(None) };
        assert!(
            choose(&endpoints, &none).expect("no circuit").is_none(),
            "but not where it could not be reached"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_endpoint_gets_its_share_by_and_by() {
        let upstream = upstream(&["http://10.0.0.1", "http://10.0.0.2"]);
        let slow_start = Duration::from_secs(10);
        let all = ["http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.3"]
            .map(|text| Location { address: text.parse().expect("an address"), socket: None });
        advance(Duration::from_secs(1)).await;
        upstream.set_endpoints(all.to_vec()).expect("no TLS");
        for (after, share) in [(0, 0.1), (5, 0.5), (5, 1.0)] {
            advance(Duration::from_secs(after)).await;
            let shares = chosen(&upstream, 6_000, || choice(Some(slow_start)));
            let (expected, got) = (2_000.0 * share, shares[2] as f64);
            assert!((got - expected).abs() < 200.0, "{share}: {shares:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_lighter_of_two_is_chosen() {
        let upstream = upstream(&["http://10.0.0.1", "http://10.0.0.2"]);
        let (endpoints, now) = (upstream.endpoints(), Instant::now());
        endpoints[0].load.answered(Duration::from_millis(10), now);
        endpoints[1].load.answered(Duration::from_millis(30), now);
        assert_eq!(chosen(&upstream, 50, || choice(None)), [50, 0]);
        let _three: Vec<_> =
            (0..3).map(|_| crate::load::InFlight::new(Arc::clone(&endpoints[0].load), now)).collect();
        assert_eq!(chosen(&upstream, 50, || choice(None)), [0, 50], "40 against 30");
    }

    #[tokio::test(start_paused = true)]
    async fn endpoints_that_stay_are_the_same_ones() {
        let upstream = upstream(&["http://10.0.0.1", "http://10.0.0.2"]);
        let before = upstream.endpoints();
        let at = |text: &str| Location { address: text.parse().expect("an address"), socket: None };
        upstream
            .set_endpoints(vec![at("http://10.0.0.3"), at("http://10.0.0.2"), at("http://10.0.0.2")])
            .expect("no TLS");
        let after = upstream.endpoints();
        let places: Vec<_> = after.iter().map(|endpoint| endpoint.location().to_string()).collect();
        assert_eq!(places, ["http://10.0.0.3", "http://10.0.0.2"]);
        assert_eq!(after[1].id(), before[1].id());
        upstream.set_endpoints(Vec::new()).expect("no TLS");
        assert_eq!(upstream.endpoints().len(), 2, "no location at all changes nothing");
    }

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
