//! Requests that can be explained: those that were refused, and those that were slow, with what each part decided about
//! them. The newest stay in memory, found by their ids, until newer ones take their places.

mod ring;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use steadfast_core::{Code, OperationId};
use steadfast_layers::trace::{Step, Trace};

use crate::config::ExplainPolicy;
use ring::Ring;

/// The longest text that is remembered of a request, in bytes: its path, say.
const TEXT_BYTES_MAX: usize = 1_024;

/// The longest name of a policy, likewise.
const NAME_BYTES_MAX: usize = 256;

/// The longest method, likewise.
const METHOD_BYTES_MAX: usize = 32;

/// One request that can be explained.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Its id. A caller may choose it, so several may have the same.
    pub request_id: Box<str>,
    /// When it arrived, in milliseconds since 1970.
    pub at_ms: i64,
    /// Why it is remembered.
    pub because: Because,
    /// Its method; at most 32 bytes of it.
    pub method: Box<str>,
    /// Its path without its query; at most 1,024 bytes of it.
    pub path: Box<str>,
    /// The name of the route that served it, where one did.
    pub route: Option<Arc<str>>,
    /// Who called.
    pub client: IpAddr,
    /// The status of its answer; nothing where its caller left before there was one.
    pub status: Option<u16>,
    /// How long its answer took to begin, or its caller waited.
    pub took: Duration,
    /// What it was refused with, where the gateway refused it in its own words.
    pub refusal: Option<Refusal>,
    /// The operation that it is about.
    pub operation: Option<OperationId>,
    /// What was decided, in the order in which it began.
    pub steps: Box<[Step]>,
    /// How many steps found no room.
    pub steps_left_out: u32,
}

/// Why a request is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// It was refused.
    Refused,
    /// Its answer took long to begin.
    Slow,
    /// Its caller left, after it had waited for long.
    Left,
}

impl Because {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Slow => "slow",
            Self::Left => "left",
        }
    }
}

/// What a request was refused with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The problem's code.
    pub code: Code,
    /// Which policy refused, where one did that has a name; at most 256 bytes.
    pub policy: Option<Box<str>>,
    /// What happened, as the caller read it; at most 1,024 bytes.
    pub detail: Box<str>,
    /// What to do next, likewise.
    pub next_step: &'static str,
    /// In how many seconds to come again.
    pub retry_after_s: Option<u64>,
}

/// The requests that can be explained.
#[derive(Debug)]
pub(crate) struct Explanations {
    rules: Rules,
    refused: Ring,
    slow: Ring,
}

/// What every request reads, and only a reload writes: apart from what workers that refuse write.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Rules {
    /// Whether anything is noted of requests at all.
    notes: AtomicBool,
    slow_us: AtomicU64,
}

impl Explanations {
    /// None yet.
    pub(crate) fn new(policy: ExplainPolicy, is_told: bool) -> Self {
        let explanations = Self { rules: Rules::default(), refused: Ring::default(), slow: Ring::default() };
        explanations.follow(policy, is_told);
        explanations
    }

    /// Goes by `policy` from now on; `is_told` says that some callers are told what was decided. What is remembered stays,
    /// as far as there is room.
    pub(crate) fn follow(&self, policy: ExplainPolicy, is_told: bool) {
        let slow_us = u64::try_from(policy.slow.as_micros()).unwrap_or(u64::MAX);
        self.rules.slow_us.store(slow_us, Ordering::Relaxed);
        self.refused.hold(policy.requests_max.div_ceil(2));
        self.slow.hold(policy.requests_max / 2);
        self.rules.notes.store(is_told || policy.requests_max > 0, Ordering::Relaxed);
    }

    /// Where the decisions about a request are noted that began then.
    pub(crate) fn trace(&self, began: Instant) -> Trace {
        if self.rules.notes.load(Ordering::Relaxed) { Trace::begin(began) } else { Trace::none() }
    }

    /// Whether a request that took so long is slow.
    pub(crate) fn is_slow(&self, took: Duration) -> bool {
        took.as_micros() >= u128::from(self.rules.slow_us.load(Ordering::Relaxed))
    }

    /// Remembers a request, where there is room for any.
    pub(crate) fn keep(&self, because: Because, explained: impl FnOnce() -> Explained) {
        let ring = match because {
            Because::Refused => &self.refused,
            Because::Slow | Because::Left => &self.slow,
        };
        if ring.has_room() {
            ring.push(explained());
        }
    }

    /// What is remembered of requests with this id, the newest first.
    pub(crate) fn find(&self, request_id: &str) -> Vec<Arc<Explained>> {
        let mut found = self.refused.find(request_id);
        found.extend(self.slow.find(request_id));
        found.sort_by_key(|explained| std::cmp::Reverse(explained.at_ms));
        found
    }
}

/// A text as it is remembered.
pub(crate) fn remembered(text: &str) -> Box<str> {
    cut(text, TEXT_BYTES_MAX)
}

/// A policy's name as it is remembered.
pub(crate) fn remembered_name(name: &str) -> Box<str> {
    cut(name, NAME_BYTES_MAX)
}

/// A method as it is remembered.
pub(crate) fn remembered_method(method: &Method) -> Box<str> {
    cut(method.as_str(), METHOD_BYTES_MAX)
}

/// The beginning of a text, to the boundary of a character.
fn cut(text: &str, bytes_max: usize) -> Box<str> {
    let end = (0..=text.len().min(bytes_max)).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].into()
}

#[cfg(test)]
pub(crate) fn example(request_id: &str) -> Explained {
    Explained {
        request_id: request_id.into(),
        at_ms: 1,
        because: Because::Refused,
        method: "GET".into(),
        path: "/".into(),
        route: None,
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        status: Some(429),
        took: Duration::ZERO,
        refusal: None,
        operation: None,
        steps: Box::default(),
        steps_left_out: 0,
    }
}

#[cfg(test)]
mod tests {
    use steadfast_layers::{PrincipalFacts, trace::STEPS_MAX};

    use super::*;

    fn policy(requests_max: usize) -> ExplainPolicy {
        ExplainPolicy { requests_max, slow: Duration::from_millis(5) }
    }

    #[test]
    fn a_flood_of_refusals_takes_no_place_of_slow_ones() {
        let explanations = Explanations::new(policy(64), false);
        explanations.keep(Because::Slow, || Explained { because: Because::Slow, ..example("slow") });
        for number in 0..1_000 {
            explanations.keep(Because::Refused, || example(&format!("refused-{number}")));
        }
        assert_eq!(explanations.find("slow").len(), 1);
        assert_eq!(explanations.find("refused-999").len(), 1);
        assert_eq!(explanations.find("refused-900").len(), 0);
    }

    #[test]
    fn two_requests_of_one_id_are_both_found_the_newest_first() {
        let explanations = Explanations::new(policy(64), false);
        explanations.keep(Because::Slow, || Explained { at_ms: 7, ..example("mine") });
        explanations.keep(Because::Refused, || Explained { at_ms: 9, ..example("mine") });
        explanations.keep(Because::Refused, || example("other"));
        let found: Vec<i64> = explanations.find("mine").iter().map(|found| found.at_ms).collect();
        assert_eq!(found, [9, 7]);
    }

    #[test]
    fn where_nothing_is_remembered_nothing_is_noted_unless_callers_are_told() {
        let explanations = Explanations::new(policy(0), false);
        explanations.keep(Because::Refused, || panic!("there is no room"));
        let mut trace = explanations.trace(Instant::now());
        trace.refused(Code::QuotaExceeded, None);
        assert!(trace.steps().is_empty());
        explanations.follow(policy(0), true);
        let mut trace = explanations.trace(Instant::now());
        trace.refused(Code::QuotaExceeded, None);
        assert_eq!(trace.steps().len(), 1);
        assert!(
            explanations.is_slow(Duration::from_millis(5)) && !explanations.is_slow(Duration::from_millis(4))
        );
    }

    #[test]
    fn one_request_takes_up_no_more_than_is_said() {
        let cut = remembered(&format!("/{}", "ö".repeat(1_000)));
        assert_eq!(cut.len(), 1_023);
        // A policy's name and a principal's.
        let names = 2 * NAME_BYTES_MAX + size_of::<PrincipalFacts>();
        let texts = 2 * TEXT_BYTES_MAX + METHOD_BYTES_MAX + 128 + names;
        let bytes = size_of::<Explained>() + STEPS_MAX * size_of::<Step>() + texts;
        assert!(bytes <= 8 << 10, "{bytes}: docs/explain.md and the config's words say 8 KB");
    }
}
