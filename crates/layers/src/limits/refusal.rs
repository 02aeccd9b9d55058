//! What a caller reads whom a limit refused: by which one, why, for how long, and what to do.

use std::{sync::Arc, time::Duration};

use http::Response;
use serde_json::Value;
use steadfast_core::{Code, LimitAlgorithm, LimitDecision, Period, Quota, Resend};

use super::{
    policy::{LimitPolicy, told_quota},
    route::RouteLimits,
    store::Taken,
    telling::Stand,
};
use crate::{HeldBody, Problem, RequestId};

/// A request that was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) limits: Arc<RouteLimits>,
    /// Which of the route's limits refuse it.
    pub(crate) violated: Vec<u8>,
    /// The one that speaks for all.
    pub(crate) speaker: u8,
    pub(crate) quota: Quota,
    pub(crate) cost: u64,
    pub(crate) taken: Taken,
    /// The strictest first.
    pub(crate) stands: Vec<Stand>,
}

/// An extension of a refusal: a limit refused it that counts this caller alone. Where there is none, others may have used up
/// what all share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnLimit;

/// When somebody comes again whose limit could not be counted.
const LOST_AFTER: Duration = Duration::from_secs(1);

impl Refusal {
    pub(crate) fn into_response<R>(self, request_id: Option<&RequestId>) -> Response<HeldBody<R>> {
        let mut response = self.problem().instance(request_id).into_response();
        let limits = &self.limits;
        let is_own = |index: &u8| limits.limits[usize::from(*index)].policy.is_of_one_caller();
        if self.violated.iter().any(is_own) {
            response.extensions_mut().insert(OwnLimit);
        }
        limits.tell_several(response.headers_mut(), &self.stands);
        response
    }

    fn problem(&self) -> Problem {
        let policy = &self.limits.limits[usize::from(self.speaker)].policy;
        let names = self.violated.iter().map(|index| &*self.limits.limits[usize::from(*index)].policy.name);
        let violated: Vec<Value> = names.map(Value::from).collect();
        let (remaining, after) = match self.taken {
            Taken::Told(LimitDecision::Refused { remaining, after }) => (remaining, after),
            Taken::Told(LimitDecision::Allowed { .. }) | Taken::Uncounted | Taken::Lost => {
                return Problem::new(Code::TemporaryReducedCapacity)
                    .detail(format!(
                        "The limit `{}` cannot be counted just now, and lets nobody through.",
                        policy.name
                    ))
                    .retry_after(LOST_AFTER)
                    .member("violated-policies", violated.into());
            }
        };
        let problem = Problem::new(Code::QuotaExceeded)
            .member("policy", (*policy.name).into())
            .member("limit", told_quota(&self.quota).0.into())
            .member("remaining", remaining.into())
            .member("violated-policies", violated.into());
        let allows = allows(policy, &self.quota);
        match after {
            Some(_) => {
                // The same as `RateLimit` says, so that nobody is told two times.
                let seconds = self.stands.first().map_or(1, |stand| stand.reset_s).max(1);
                let costs = match self.cost {
                    0 | 1 => String::new(),
                    cost => format!(" This request costs {cost}."),
                };
                let left = if remaining == 0 { "none is".to_owned() } else { format!("{remaining} are") };
                problem
                    .detail(format!("{allows}; {left} left.{costs}"))
                    .retry_after(Duration::from_secs(u64::from(seconds)))
            }
            None => problem
                .detail(format!(
                    "{allows}; this request costs {}, which is more than it ever lets through at once.",
                    self.cost
                ))
                .resend(Resend::No)
                .next_step("Ask for less in one request: the same one will never be let through."),
        }
    }
}

/// What a limit allows, in words.
fn allows(policy: &LimitPolicy, quota: &Quota) -> String {
    let unit = match policy.unit() {
        Some("content-bytes") => " bytes",
        _ if quota.algorithm == LimitAlgorithm::Concurrency => " requests at once",
        _ if policy.cost_from_answer.is_some() => "",
        _ => " requests",
    };
    let time = match (quota.algorithm, quota.period) {
        (LimitAlgorithm::Concurrency, _) => String::new(),
        (_, Period::Month) => " a month".to_owned(),
        (_, Period::Time(period)) => format!(" {}", a_period(period)),
    };
    let per: Vec<String> = policy
        .per
        .iter()
        .map(|per| match per {
            super::per::Per::Expression(_) => "caller".to_owned(),
            super::per::Per::Address => "address".to_owned(),
            super::per::Per::Header(name) => format!("value of {name}"),
            per => per.to_string(),
        })
        .collect();
    format!("The limit `{}` allows {}{unit}{time} to each {}", policy.name, quota.count, per.join(" and "))
}

/// A length of time after a count: `a minute`, `in 10 seconds`.
fn a_period(period: Duration) -> String {
    let seconds = period.as_secs();
    for (name, plural, length) in [
        ("day", "days", 86_400),
        ("hour", "hours", 3_600),
        ("minute", "minutes", 60),
        ("second", "seconds", 1),
    ] {
        if seconds == length {
            return if name == "hour" { "an hour".to_owned() } else { format!("a {name}") };
        }
        if seconds > 0 && seconds.is_multiple_of(length) {
            return format!("in {} {plural}", seconds / length);
        }
    }
    format!("in {} ms", period.as_millis())
}
