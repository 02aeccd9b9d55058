//! Checks what a config says of those who do harm.

use std::time::Duration;

use steadfast_core::{BanSubject, is_challenge};
use steadfast_layers::{AbusePolicy, AutomaticBan, BaselineRule, StaticBan};

use super::{
    super::raw::{At, RawAbuse, RawAutomaticBan, RawBan, RawBaseline, RawMode},
    Checker, Finding, time_or,
};

/// The longest that an automatic ban grows to, unless stated.
const BAN_FOR_MAX: Duration = Duration::from_secs(86_400);

/// How many bans a config may have: more belong into the ledger.
const BANS_MAX: usize = 10_000;

const CHARS_MAX: usize = 1_024;

const SUBJECT_NEXT: &str = "write 203.0.113.7, 203.0.113.0/24, 2001:db8::/64 or principal:NAME";

impl Checker<'_> {
    /// What is done about those who do harm.
    pub(super) fn abuse(&mut self, raw: Option<&At<RawAbuse>>) -> AbusePolicy {
        let Some(raw) = raw.map(At::get) else { return AbusePolicy::default() };
        let mut policy = AbusePolicy {
            bans: self.static_bans(raw),
            unauthenticated: raw
                .unauthenticated
                .as_ref()
                .and_then(|rule| self.automatic_ban("abuse.unauthenticated", rule)),
            limit_storm: raw
                .limit_storm
                .as_ref()
                .and_then(|rule| self.automatic_ban("abuse.limit_storm", rule)),
            baseline: raw.baseline.as_ref().and_then(|rule| self.baseline(rule.get())),
            challenge: self.challenge("abuse.challenge", raw.challenge.as_ref()),
            ..AbusePolicy::default()
        };
        let Some(never) = &raw.never else { return policy };
        policy.never = Vec::new();
        for text in never.get() {
            match self.take(&text.span(), subject("abuse.never", text.get())) {
                Some(BanSubject::Network(network)) => policy.never.push(network),
                Some(BanSubject::Principal(name)) => policy.never_principals.push(name),
                None => {}
            }
        }
        policy
    }

    fn static_bans(&mut self, raw: &RawAbuse) -> Vec<StaticBan> {
        let Some(list) = &raw.bans else { return Vec::new() };
        if list.get().len() > BANS_MAX {
            let what = format!("`abuse.bans` has {} entries; {BANS_MAX} may be", list.get().len());
            self.error(&list.span(), what, "ban whole networks, or with `steadfast bans add`".into());
            return Vec::new();
        }
        let mut bans: Vec<StaticBan> = Vec::new();
        for raw in list.get() {
            let RawBan { of, reason, challenge } = raw.get();
            let Some(subject) = self.take(&of.span(), subject("abuse.bans.of", of.get())) else { continue };
            if bans.iter().any(|ban| ban.of == subject) {
                let what = format!("`abuse.bans` has {subject} twice");
                self.error(&of.span(), what, "leave one of them".into());
                continue;
            }
            let reason = reason.as_ref().and_then(|reason| self.plain_text("abuse.bans.reason", reason));
            let challenge = self.challenge("abuse.bans.challenge", challenge.as_ref());
            bans.push(StaticBan { of: subject, reason: reason.unwrap_or_default(), challenge });
        }
        bans
    }

    fn automatic_ban(&mut self, key: &str, raw: &At<RawAutomaticBan>) -> Option<AutomaticBan> {
        let RawAutomaticBan { count, within, ban_for, ban_for_max, mode } = raw.get();
        let ban_for = ban_for.get().0;
        let longest = ban_for_max.as_ref().map(|time| time.get().0);
        if longest.is_some_and(|longest| longest < ban_for) {
            self.error(
                &ban_for_max.as_ref().map_or(0..0, At::span),
                format!("`{key}.ban_for_max` is less than `{key}.ban_for`"),
                "choose at least as much".into(),
            );
            return None;
        }
        Some(AutomaticBan {
            count: *count.get(),
            within: within.get().0,
            ban_for,
            ban_for_max: longest.unwrap_or(BAN_FOR_MAX).max(ban_for),
            is_shadow: mode.as_ref().is_some_and(|mode| mode.get().is_shadow()),
        })
    }

    fn baseline(&mut self, raw: &RawBaseline) -> Option<BaselineRule> {
        let at_least = raw.at_least.as_ref().map_or((60, Duration::from_secs(60)), |rate| {
            let rate = rate.get().0;
            (rate.count.into(), rate.per)
        });
        let rule = BaselineRule {
            factor: raw.factor.as_ref().map_or(10, |factor| u32::try_from(*factor.get()).unwrap_or(u32::MAX)),
            at_least,
            learn: time_or(raw.learn.as_ref(), Duration::from_secs(3_600)),
            is_shadow: raw.mode.as_ref().map_or(RawMode::Shadow, |mode| *mode.get()).is_shadow(),
        };
        if !rule.is_within_reach() {
            let what = "`abuse.baseline.at_least` is too little: a request now and then would be far more than usual";
            self.error(
                &raw.at_least.as_ref().map_or(0..0, At::span),
                what.into(),
                "choose \"2/min\" or more".into(),
            );
            return None;
        }
        Some(rule)
    }

    fn challenge(&mut self, key: &str, raw: Option<&At<String>>) -> Option<Box<str>> {
        let raw = raw?;
        self.take(&raw.span(), challenge(key, raw.get()))
    }

    fn plain_text(&mut self, key: &str, raw: &At<String>) -> Option<Box<str>> {
        let text = raw.get().trim();
        let fits = text.chars().count() <= CHARS_MAX && !text.chars().any(char::is_control);
        let finding = if fits {
            Ok(text.into())
        } else {
            let what = format!("`{key}` is longer than {CHARS_MAX} characters, or has control characters");
            Err((what, "write a sentence".into()))
        };
        self.take(&raw.span(), finding)
    }
}

fn subject(key: &str, text: &str) -> Finding<BanSubject> {
    text.parse()
        .map_err(|error| (format!("`{key}`: `{}`: {error}", text.escape_debug()), SUBJECT_NEXT.into()))
}

/// A URL that callers are told as it is.
fn challenge(key: &str, text: &str) -> Finding<Box<str>> {
    if is_challenge(text) {
        return Ok(text.into());
    }
    let what = format!("`{key}`: `{}` is not a URL of http or https", text.escape_debug());
    Err((what, "write something like \"https://example.org/human\"".into()))
}
