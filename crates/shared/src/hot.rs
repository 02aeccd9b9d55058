//! Requests that are over their limit just now: answered here until they could be let through again, so that a caller
//! who does not stop costs the store nothing.
//!
//! What is remembered is what the store said of all limits of a request whose costs and keys are the same. It was not
//! charged, so it would be said again.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use steadfast_core::LimitDecision;
use steadfast_layers::LimitedKey;

use crate::ask::{Answers, Ask};

/// How many refusals are remembered. One whose place is taken by another is asked for again: no more than that is lost.
const PLACES: usize = 4_096;
/// How many counters tell which keys something was given back to.
const MARKS: usize = 1_024;
/// How long a refusal is given again at most, however far away the reset is: so long a refund on another node, a reset
/// or a raise may take to be seen here.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// What is known to be refused.
pub(crate) struct Hot {
    places: Box<[Mutex<Option<Refused>>]>,
    marks: Box<[AtomicU32]>,
}

/// A request that is refused, and until when.
struct Refused {
    asked: u64,
    /// What the marks of its keys came to.
    marked: u32,
    answers: Answers,
    at: Instant,
    hold_until: Instant,
}

impl Hot {
    pub(crate) fn new() -> Self {
        Self {
            places: (0..PLACES).map(|_| Mutex::new(None)).collect(),
            marks: (0..MARKS).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// What a request is told, where it is still refused for sure.
    pub(crate) fn refusal(&self, asks: &[Ask], now: Instant) -> Option<Answers> {
        let asked = digest(asks);
        let place = self.place(asked).lock().unwrap_or_else(PoisonError::into_inner);
        let refused = place.as_ref().filter(|refused| refused.asked == asked && now < refused.hold_until)?;
        if refused.marked != self.marked(asks) {
            return None;
        }
        let elapsed = now.saturating_duration_since(refused.at);
        Some(refused.answers.iter().map(|decision| later(*decision, elapsed)).collect())
    }

    /// Remembers what the store said, where it refused.
    pub(crate) fn note(&self, asks: &[Ask], answers: &Answers, now: Instant) {
        let refusals = asks.iter().zip(answers).filter_map(|(ask, decision)| match decision {
            LimitDecision::Refused { after, .. } if ask.enforced => Some(after.unwrap_or(HOLD_MAX)),
            LimitDecision::Refused { .. } | LimitDecision::Allowed { .. } => None,
        });
        // All of them must let it through.
        let Some(after) = refusals.max() else { return };
        let asked = digest(asks);
        let refused = Refused {
            asked,
            marked: self.marked(asks),
            answers: answers.clone(),
            at: now,
            hold_until: now + after.min(HOLD_MAX),
        };
        *self.place(asked).lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
    }

    /// Forgets whatever was said of a key: something was given back to it.
    pub(crate) fn forget(&self, key: LimitedKey) {
        self.mark(key).fetch_add(1, Ordering::Relaxed);
    }

    fn marked(&self, asks: &[Ask]) -> u32 {
        let marks = asks.iter().map(|ask| self.mark(ask.key).load(Ordering::Relaxed));
        marks.fold(0, u32::wrapping_add)
    }

    fn mark(&self, key: LimitedKey) -> &AtomicU32 {
        // Of what is a digest already any bits are as good as random; all limits of a subject share a mark.
        &self.marks[key.subject as usize % MARKS]
    }

    fn place(&self, asked: u64) -> &Mutex<Option<Refused>> {
        &self.places[asked as usize % PLACES]
    }
}

fn digest(asks: &[Ask]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for ask in asks {
        // With its quota, which a reload or a raise may have changed.
        (ask.key, ask.cost, ask.quota.count, ask.quota.burst, ask.quota.period).hash(&mut hasher);
        (ask.quota.algorithm, ask.wait_max, ask.enforced).hash(&mut hasher);
    }
    hasher.finish()
}

/// What was said, so much time on.
fn later(decision: LimitDecision, elapsed: Duration) -> LimitDecision {
    match decision {
        LimitDecision::Allowed { remaining, reset, wait } => {
            LimitDecision::Allowed { remaining, reset: reset.saturating_sub(elapsed), wait }
        }
        LimitDecision::Refused { remaining, after } => {
            LimitDecision::Refused { remaining, after: after.map(|after| after.saturating_sub(elapsed)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use steadfast_core::{LimitAlgorithm, Period, Quota};

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn ask(subject: u64, cost: u64) -> Ask {
        let period = Period::Time(Duration::from_secs(60));
        let quota = Quota { algorithm: LimitAlgorithm::TokenBucket, count: 10, period, burst: 10 };
        let key = LimitedKey { subject, rest: 1 };
        Ask {
            limit: crate::slot::LimitTag::of("x"),
            key,
            quota,
            cost,
            wait_max: Duration::ZERO,
            enforced: true,
        }
    }

    fn refused(after_ms: u64) -> Answers {
        [LimitDecision::Refused { remaining: 0, after: Some(MS(after_ms)) }].into()
    }

    #[test]
    fn says_again_what_was_refused_until_the_reset_or_for_a_second_whichever_is_shorter() {
        let (hot, now) = (Hot::new(), Instant::now());
        hot.note(&[ask(7, 2)], &refused(300), now);
        assert_eq!(hot.refusal(&[ask(7, 2)], now + MS(100)), Some(refused(200)));
        assert_eq!(hot.refusal(&[ask(7, 1)], now), None, "less may go through");
        assert_eq!(hot.refusal(&[ask(8, 2)], now), None, "another may go through");
        let raised = Ask { quota: ask(7, 2).quota.times(3.0), ..ask(7, 2) };
        assert_eq!(hot.refusal(&[raised], now), None, "a raise counts at once");
        assert_eq!(hot.refusal(&[ask(7, 2)], now + MS(300)), None);
        hot.note(&[ask(7, 1)], &refused(60_000), now);
        assert_eq!(hot.refusal(&[ask(7, 1)], now + MS(999)), Some(refused(59_001)));
        assert_eq!(hot.refusal(&[ask(7, 1)], now + MS(1_000)), None, "a reset elsewhere would not be seen");
    }

    #[test]
    fn remembers_no_request_that_was_let_through_and_forgets_where_something_is_given_back() {
        let (hot, now) = (Hot::new(), Instant::now());
        let shadow = Ask { enforced: false, ..ask(7, 1) };
        hot.note(std::slice::from_ref(&shadow), &refused(500), now);
        assert_eq!(hot.refusal(&[shadow], now), None, "it refused nothing");
        hot.note(&[ask(7, 1)], &refused(500), now);
        hot.forget(LimitedKey { subject: 7, rest: 9 });
        assert_eq!(hot.refusal(&[ask(7, 1)], now), None);
    }
}
