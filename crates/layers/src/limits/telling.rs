//! Tells callers how their limits stand: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10),
//! and the older `X-RateLimit-…` where a route asks for them.

use std::{fmt::Write as _, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use steadfast_core::{LimitAlgorithm, LimitDecision, LimitState, Quota};

use super::{
    policy::{Cost, LimitPolicy, told_quota},
    text::Text,
};
use crate::random::next_random;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// A reset is told up to a tenth later than it is, by chance, so that those who wait for it do not come back at once; but not
/// by more seconds than that.
const LATER_S_MAX: u64 = 30;

/// Which fields callers are told their limits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitHeaders {
    /// `RateLimit-Policy` and `RateLimit`.
    pub standard: bool,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`: of the strictest limit, the last one in seconds.
    pub older: bool,
}

/// How one limit stands, as its caller is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stand {
    /// Which of the route's limits.
    pub(crate) index: u8,
    pub(crate) remaining: u64,
    /// In whole seconds, never too early.
    pub(crate) reset_s: u32,
    /// What it allows, where that is not what it allows everybody.
    pub(crate) quota: Quota,
}

/// Whole seconds, rounded up, and a little chance.
pub(crate) fn told_seconds(time: Duration) -> u32 {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let later_max = (seconds / 10).min(LATER_S_MAX);
    let later = if later_max == 0 { 0 } else { next_random() % (later_max + 1) };
    u32::try_from(seconds.saturating_add(later)).unwrap_or(u32::MAX)
}

/// Puts how limits stand into `headers`, of which this is the strictest. What the upstream says of limits of its own there
/// is replaced: the caller cannot tell whose they are.
pub(crate) fn tell(
    headers: &mut HeaderMap,
    which: LimitHeaders,
    strictest: &Stand,
    standings: impl FnOnce() -> Option<HeaderValue>,
    policies: impl FnOnce() -> Option<HeaderValue>,
) {
    if which.older {
        headers.insert(X_LIMIT, HeaderValue::from(told_quota(&strictest.quota).0));
        headers.insert(X_REMAINING, HeaderValue::from(strictest.remaining));
        headers.insert(X_RESET, HeaderValue::from(strictest.reset_s));
    }
    if which.standard {
        if let Some(standings) = standings() {
            headers.insert(RATE_LIMIT, standings);
        }
        if let Some(policies) = policies() {
            headers.insert(RATE_LIMIT_POLICY, policies);
        }
    }
}

/// What `RateLimit` says of limits that stand like this, the strictest first.
pub(crate) fn standings_value<'a>(
    stands: impl Iterator<Item = (&'a LimitPolicy, Stand)>,
) -> Option<HeaderValue> {
    let mut text = Text::default();
    for (number, (policy, stand)) in stands.enumerate() {
        text.put(if number == 0 { b"\"" } else { b", \"" });
        text.put(policy.name.as_bytes());
        text.put(b"\";r=");
        text.put_number(stand.remaining);
        text.put(b";t=");
        text.put_number(u64::from(stand.reset_s));
    }
    // A limit's name is plain.
    HeaderValue::from_bytes(text.bytes()).ok()
}

/// How a limit stands with whoever has used nothing of it but one request, and how that is told. Most who never come near
/// their limit are told this every time, so it is written once.
#[derive(Debug)]
pub(crate) struct Untroubled {
    remaining: u64,
    reset_s: u32,
    value: HeaderValue,
}

impl Untroubled {
    /// That of this limit; nothing where it depends on the request, or on when it comes.
    pub(crate) fn of(policy: &LimitPolicy) -> Option<Self> {
        let (LimitAlgorithm::TokenBucket, Cost::Constant(cost)) = (policy.quota.algorithm, &policy.cost)
        else {
            return None;
        };
        let mut unused = LimitState::new(policy.quota.algorithm);
        let decision = unused.ask(&policy.quota, *cost, Duration::ZERO, Duration::ZERO);
        let LimitDecision::Allowed { remaining, reset, .. } = decision else { return None };
        let reset_s = told_seconds(reset);
        let stand = Stand { index: 0, remaining, reset_s, quota: policy.quota };
        let value = standings_value(std::iter::once((policy, stand)))?;
        Some(Self { remaining, reset_s, value })
    }

    /// It, where the limit stands like that.
    pub(crate) fn value(&self, remaining: u64, reset_s: u32) -> Option<HeaderValue> {
        (self.remaining == remaining && self.reset_s == reset_s).then(|| self.value.clone())
    }
}

/// What `RateLimit-Policy` says of limits that allow so much.
pub(crate) fn policies_value<'a>(
    limits: impl Iterator<Item = (&'a LimitPolicy, Quota)>,
) -> Option<HeaderValue> {
    let mut text = String::new();
    for (policy, quota) in limits {
        let (much, window) = told_quota(&quota);
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}\"{}\";q={much}", policy.name);
        if let Some(unit) = policy.unit() {
            let _ = write!(text, ";qu=\"{unit}\"");
        }
        if let Some(window) = window {
            let _ = write!(text, ";w={window}");
        }
    }
    HeaderValue::from_str(&text).ok().filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use steadfast_core::Period;

    use super::*;
    use crate::limits::per::Per;

    fn limit(name: &str, algorithm: LimitAlgorithm, count: u64, seconds: u64, burst: u64) -> LimitPolicy {
        let period = Period::Time(Duration::from_secs(seconds));
        LimitPolicy::new(name, Per::Address, Quota { algorithm, count, period, burst })
    }

    #[test]
    fn policies_are_told_as_the_draft_writes_them() {
        use LimitAlgorithm::{Concurrency, FixedWindow, TokenBucket};
        let limits = [
            limit("burst", TokenBucket, 100, 60, 20),
            limit("calm", TokenBucket, 1, 2, 10),
            limit("daily", FixedWindow, 1_000, 86_400, 1),
            limit("places", Concurrency, 10, 1, 1),
        ];
        let value = policies_value(limits.iter().map(|limit| (limit, limit.quota))).expect("a value");
        assert_eq!(
            value,
            "\"burst\";q=100;w=60, \"calm\";q=10;w=20, \"daily\";q=1000;w=86400, \
             \"places\";q=10;qu=\"concurrent-requests\""
        );
        assert_eq!(policies_value([].into_iter()), None);
    }

    #[test]
    fn the_strictest_is_told_first_and_alone_in_the_older_fields() {
        let limits = [
            limit("a", LimitAlgorithm::TokenBucket, 100, 60, 100),
            limit("b", LimitAlgorithm::FixedWindow, 9, 1, 1),
        ];
        let stand = |index, remaining, reset_s| Stand {
            index,
            remaining,
            reset_s,
            quota: limits[usize::from(index)].quota,
        };
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit", HeaderValue::from_static("\"upstream\";r=1;t=1"));
        let stands = [(&limits[1], stand(1, 3, 1)), (&limits[0], stand(0, 99, 1))];
        let which = LimitHeaders { standard: true, older: true };
        let standings = || standings_value(stands.into_iter());
        tell(&mut headers, which, &stands[0].1, standings, || Some(HeaderValue::from_static("p")));
        assert_eq!(headers["ratelimit"], "\"b\";r=3;t=1, \"a\";r=99;t=1");
        assert_eq!(headers["ratelimit-policy"], "p");
        let older = ["limit", "remaining", "reset"]
            .map(|name| headers[format!("x-ratelimit-{name}").as_str()].clone());
        assert_eq!(older, ["9", "3", "1"]);
        let ours = steadfast_core::rate_limit(
            headers["ratelimit"].to_str().expect("text"),
            steadfast_core::Timestamp::from_millis(0),
        );
        assert_eq!(ours.expect("as upstreams' are read").remaining, 3);
    }

    #[test]
    fn many_limits_with_long_names_and_numbers_are_all_told() {
        let names: Vec<String> = (0..8).map(|number| format!("{number}-{}", "n".repeat(60))).collect();
        let limits: Vec<LimitPolicy> =
            names.iter().map(|name| limit(name, LimitAlgorithm::FixedWindow, 9, 1, 1)).collect();
        let stands = limits
            .iter()
            .map(|limit| (limit, Stand { index: 0, remaining: u64::MAX, reset_s: 0, quota: limit.quota }));
        let told: Vec<String> = names.iter().map(|name| format!("\"{name}\";r={};t=0", u64::MAX)).collect();
        assert_eq!(standings_value(stands).expect("a value"), told.join(", "));
    }

    #[test]
    fn what_is_written_once_is_what_a_bucket_says_of_its_first_request_and_of_no_other() {
        let bucket = limit("a", LimitAlgorithm::TokenBucket, 100, 60, 20);
        let untroubled = Untroubled::of(&bucket).expect("a value");
        let mut state = LimitState::new(LimitAlgorithm::TokenBucket);
        let now = Duration::from_secs(1_700_000_000);
        for (number, expected) in [Some("\"a\";r=19;t=1"), None].into_iter().enumerate() {
            let decision = state.ask(&bucket.quota, 1, Duration::ZERO, now);
            state.charge(&bucket.quota, 1, now);
            let LimitDecision::Allowed { remaining, reset, .. } = decision else { panic!("{number}") };
            let value = untroubled.value(remaining, told_seconds(reset));
            assert_eq!(value.as_ref().map(|value| value.to_str().expect("text")), expected, "{number}");
        }
        assert!(Untroubled::of(&limit("b", LimitAlgorithm::FixedWindow, 9, 60, 1)).is_none());
    }

    #[test]
    fn a_reset_is_told_a_little_late_and_never_early() {
        for millis in [0, 1, 999, 1_000, 59_001, 86_400_000] {
            let time = Duration::from_millis(millis);
            for _ in 0..100 {
                let told = u64::from(told_seconds(time));
                let seconds = millis.div_ceil(1_000);
                let latest = seconds + (seconds / 10).min(30);
                assert!(told >= seconds && told <= latest, "{millis}: {told}");
            }
        }
    }
}
