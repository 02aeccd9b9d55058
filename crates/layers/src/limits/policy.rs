//! What is said of one limit.

use std::sync::Arc;

use http::HeaderName;
use steadfast_core::{LimitAlgorithm, Period, Quota};

use super::per::Per;
use crate::{Expression, Principal};

/// How many limits a route has at the most.
pub const LIMITS_MAX: usize = 8;

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitPolicy {
    /// Its name: what callers and operators are told.
    pub name: Arc<str>,
    /// Whose requests count together; at least one thing.
    pub per: Vec<Per>,
    /// How much is allowed.
    pub quota: Quota,
    /// How much is allowed instead to principals on these plans.
    pub plans: Vec<(Box<str>, Quota)>,
    /// What a request costs when it comes.
    pub cost: Cost,
    /// What it costs in all, where its answer tells; the difference is charged, or given back, when it has been sent.
    pub cost_from_answer: Option<CostFromAnswer>,
    /// On which part of the subjects it is enforced, of 65,536: none is shadow mode.
    pub enforced: u32,
    /// Whether it is counted where all nodes see it.
    pub is_shared: bool,
}

/// The share that is everybody.
pub const ENFORCED_ON_ALL: u32 = 65_536;

/// What a request costs when it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cost {
    /// So much.
    Constant(u64),
    /// What this comes to; one, where it comes to no whole number.
    Expression(Expression),
}

/// Where an answer says what its request cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CostFromAnswer {
    /// It is how many bytes its body has.
    Bytes,
    /// In this header.
    Header(HeaderName),
}

impl LimitPolicy {
    /// A limit of this name: so much, per this, enforced, for one a request, in memory.
    #[must_use]
    pub fn new(name: &str, per: Per, quota: Quota) -> Self {
        Self {
            name: name.into(),
            per: vec![per],
            quota,
            plans: Vec::new(),
            cost: Cost::Constant(1),
            cost_from_answer: None,
            enforced: ENFORCED_ON_ALL,
            is_shared: false,
        }
    }

    /// How much is allowed to `principal`.
    pub(crate) fn quota_of(&self, principal: Option<&Principal>) -> Quota {
        if self.plans.is_empty() {
            return self.quota;
        }
        let plan = principal.and_then(Principal::plan);
        self.plan(plan)
    }

    /// How much is allowed on `plan`.
    #[must_use]
    pub fn plan(&self, plan: Option<&str>) -> Quota {
        let found = plan.and_then(|plan| self.plans.iter().find(|(name, _)| **name == *plan));
        found.map_or(self.quota, |(_, quota)| *quota)
    }

    /// Whether it counts each caller for itself, so that nobody else can use it up.
    pub(crate) fn is_of_one_caller(&self) -> bool {
        matches!(self.per.first(), Some(Per::Principal | Per::Credential | Per::Address))
    }

    /// Whether a place is taken until the answer has been sent.
    pub(crate) fn holds_places(&self) -> bool {
        self.quota.algorithm == LimitAlgorithm::Concurrency
    }

    /// In which unit it counts, where that is not requests.
    pub(crate) fn unit(&self) -> Option<&'static str> {
        match (&self.cost_from_answer, self.quota.algorithm) {
            (Some(CostFromAnswer::Bytes), _) => Some("content-bytes"),
            (_, LimitAlgorithm::Concurrency) => Some("concurrent-requests"),
            _ => None,
        }
    }
}

/// How much a quota is, as `RateLimit-Policy` says it: so much in so many seconds. A bucket that lets more come at once
/// than its rate brings in a period is told by how much that is, and how long it takes to fill.
pub(crate) fn told_quota(quota: &Quota) -> (u64, Option<u64>) {
    let seconds = |period: Period| period.length().as_nanos().div_ceil(1_000_000_000) as u64;
    match quota.algorithm {
        LimitAlgorithm::Concurrency => (quota.count, None),
        LimitAlgorithm::TokenBucket | LimitAlgorithm::LeakyBucket if quota.burst > quota.count => {
            let nanos =
                quota.period.length().as_nanos() * u128::from(quota.burst) / u128::from(quota.count.max(1));
            (quota.burst, Some(nanos.div_ceil(1_000_000_000) as u64))
        }
        _ => (quota.count, Some(seconds(quota.period))),
    }
}
