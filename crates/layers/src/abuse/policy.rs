//! What a config says of those who do harm.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use steadfast_core::{
    BASELINE_AT_LEAST_MIN, BanSource, BanSubject, BaselinePolicy, LimitAlgorithm, Period, Quota,
};

/// What is done about those who do harm. Nothing, unless it is stated; and loopback is never banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbusePolicy {
    /// Who is banned for good.
    pub bans: Vec<StaticBan>,
    /// When an address is banned that shows no good credential.
    pub unauthenticated: Option<AutomaticBan>,
    /// When a caller is banned who goes on and on beyond its limits.
    pub limit_storm: Option<AutomaticBan>,
    /// When a principal asks for far more than usual.
    pub baseline: Option<BaselineRule>,
    /// Networks that no ban keeps out.
    pub never: Vec<IpNet>,
    /// Principals that no ban keeps out.
    pub never_principals: Vec<Box<str>>,
    /// Where those who were banned by themselves can show that they are welcome.
    pub challenge: Option<Box<str>>,
}

impl Default for AbusePolicy {
    fn default() -> Self {
        Self {
            bans: Vec::new(),
            unauthenticated: None,
            limit_storm: None,
            baseline: None,
            never: loopback(),
            never_principals: Vec::new(),
            challenge: None,
        }
    }
}

/// A proxy on the same machine that nobody called a trusted one would else have everybody banned.
fn loopback() -> Vec<IpNet> {
    ["127.0.0.0/8", "::1/128"].iter().filter_map(|network| network.parse().ok()).collect()
}

/// A ban that stands in the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticBan {
    /// Who.
    pub of: BanSubject,
    /// Why, for those who run the gateway.
    pub reason: Box<str>,
    /// Where they can show that they are welcome.
    pub challenge: Option<Box<str>>,
}

/// When somebody is banned without a person's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutomaticBan {
    /// After so many.
    pub count: u64,
    /// In this time.
    pub within: Duration,
    /// For how long the first time; each repeat within a day lasts twice as long.
    pub ban_for: Duration,
    /// And at most.
    pub ban_for_max: Duration,
    /// Whether it is only noted who would have been banned, and how often they would have been refused.
    pub is_shadow: bool,
}

impl AutomaticBan {
    /// What is let through before.
    pub(super) fn quota(&self) -> Quota {
        Quota {
            algorithm: LimitAlgorithm::SlidingWindow,
            count: self.count,
            period: Period::Time(self.within),
            burst: self.count,
        }
    }

    /// Why somebody was banned by it.
    pub(super) fn reason(&self, source: BanSource) -> String {
        let what = if source == BanSource::Unauthenticated { "answers of 401" } else { "refusals of limits" };
        format!("{} {what} within {} s", self.count, self.within.as_secs_f64())
    }
}

/// When a principal asks for far more than usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaselineRule {
    /// How many times as much.
    pub factor: u32,
    /// Below so many in this time nothing is far more.
    pub at_least: (u64, Duration),
    /// For how long a principal must be known.
    pub learn: Duration,
    /// Whether it is only noted.
    pub is_shadow: bool,
}

impl BaselineRule {
    /// Whether `at_least` is as much as anything abnormal has to be.
    #[must_use]
    pub fn is_within_reach(&self) -> bool {
        // As it is written: 2/min is enough, whatever becomes of it in a fraction.
        self.policy().at_least >= BASELINE_AT_LEAST_MIN * 0.999_999
    }

    pub(super) fn policy(&self) -> BaselinePolicy {
        let (count, per) = self.at_least;
        let at_least = count as f64 / per.as_secs_f64().max(0.001);
        BaselinePolicy { factor: self.factor.into(), at_least, learn: self.learn }
    }
}

impl AbusePolicy {
    /// Whether no ban keeps this address out.
    #[must_use]
    pub fn spares_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.never.iter().any(|network| network.contains(&address))
    }

    /// Whether no ban keeps this principal out.
    #[must_use]
    pub fn spares_principal(&self, name: &str) -> bool {
        self.never_principals.iter().any(|never| **never == *name)
    }

    /// Whether a ban of this subject would keep nobody out.
    #[must_use]
    pub fn spares(&self, subject: &BanSubject) -> bool {
        match subject {
            BanSubject::Network(network) => self.never.iter().any(|never| never.contains(network)),
            BanSubject::Principal(name) => self.spares_principal(name),
        }
    }
}

/// The names under which the counts lie.
#[derive(Debug)]
pub(super) struct CountNames {
    pub(super) unauthenticated: Arc<str>,
    pub(super) limit_storm: Arc<str>,
}

impl Default for CountNames {
    fn default() -> Self {
        Self { unauthenticated: "unauthenticated".into(), limit_storm: "limit_storm".into() }
    }
}
