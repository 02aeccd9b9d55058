//! What is done about those who do harm, as a config writes it.

use std::time::Duration;

use steadfast_core::{BanSubject, Rate};
use steadfast_layers::{AbusePolicy, AutomaticBan, BaselineRule, StaticBan};

use super::{all, plain, some};
use crate::config::raw::{At, PerTime, RawAbuse, RawAutomaticBan, RawBan, RawBaseline, RawMode, Time};

/// Nothing where nothing is stated.
pub(super) fn abuse(policy: &AbusePolicy) -> Option<At<RawAbuse>> {
    if *policy == AbusePolicy::default() {
        return None;
    }
    let AbusePolicy { bans, unauthenticated, limit_storm, baseline, never, never_principals, challenge } =
        policy;
    let is_default = *never == AbusePolicy::default().never && never_principals.is_empty();
    let networks = never.iter().map(|network| BanSubject::Network(*network));
    let principals = never_principals.iter().cloned().map(BanSubject::Principal);
    let text = |text: &Option<Box<str>>| text.as_ref().and_then(|text| some(plain(text)));
    let raw_ban = |StaticBan { of, reason, challenge }: &StaticBan| RawBan {
        of: At::nowhere(plain(&of.to_string())),
        reason: (!reason.is_empty()).then(|| At::nowhere(plain(reason))),
        challenge: text(challenge),
    };
    some(RawAbuse {
        bans: all(bans, raw_ban),
        unauthenticated: unauthenticated.as_ref().and_then(|rule| some(automatic_ban(rule))),
        limit_storm: limit_storm.as_ref().and_then(|rule| some(automatic_ban(rule))),
        baseline: baseline.as_ref().and_then(|rule| some(raw_baseline(rule))),
        never: if is_default {
            None
        } else {
            all(networks.chain(principals), |subject| plain(&subject.to_string()))
        },
        challenge: text(challenge),
    })
}

fn automatic_ban(rule: &AutomaticBan) -> RawAutomaticBan {
    RawAutomaticBan {
        count: At::nowhere(rule.count),
        within: At::nowhere(Time(rule.within)),
        ban_for: At::nowhere(Time(rule.ban_for)),
        ban_for_max: some(Time(rule.ban_for_max)),
        mode: some(RawMode::of(rule.is_shadow)),
    }
}

fn raw_baseline(rule: &BaselineRule) -> RawBaseline {
    let (count, per): (u64, Duration) = rule.at_least;
    // It was a rate of the config before.
    let rate = Rate { count: u32::try_from(count).unwrap_or(u32::MAX), per };
    RawBaseline {
        factor: some(rule.factor.into()),
        at_least: some(PerTime(rate)),
        learn: some(Time(rule.learn)),
        mode: some(RawMode::of(rule.is_shadow)),
    }
}
