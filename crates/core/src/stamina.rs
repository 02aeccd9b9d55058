//! How long a worker goes on with a background operation, and what follows an attempt that brought nothing final.

use std::time::Duration;

use crate::{AfterUnknown, AfterUnsent, AttemptEnd, Rerun, Timestamp};

/// The most attempts that a policy may allow.
pub const ATTEMPTS_MAX: u32 = 1_000;

/// What an operation has left: attempts that count, and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamina {
    /// How many attempts that count were made, the one under way included.
    pub tries: u32,
    /// How many may be made; 1 to [`ATTEMPTS_MAX`].
    pub tries_max: u32,
    /// From when on none is begun.
    pub give_up_at: Timestamp,
}

impl Stamina {
    /// Whether another attempt may begin at `at`.
    #[must_use]
    pub fn lasts_until(&self, at: Timestamp) -> bool {
        self.tries < self.tries_max && at < self.give_up_at
    }
}

/// What follows an attempt of a worker that brought no final answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next attempt comes after this pause.
    Again {
        /// How long from the end of the attempt.
        after: Duration,
        /// Whether the attempt that ended is one of those that the policy counts. One that a policy of the gateway held
        /// back does not: the upstream was not even asked.
        counts: bool,
    },
    /// Attempts, or the time for them, ran out.
    GiveUp,
    /// The outcome is unknown, and the upstream may not be asked again: a person or a probe must find out.
    Hold,
}

impl Next {
    /// What it is to the state machine where nothing was executed. There is nothing to hold then.
    #[must_use]
    pub const fn after_unsent(self) -> AfterUnsent {
        match self {
            Self::Again { .. } | Self::Hold => AfterUnsent::TryAgain,
            Self::GiveUp => AfterUnsent::GiveUp,
        }
    }

    /// What it is to the state machine where the outcome is unknown.
    #[must_use]
    pub const fn after_unknown(self) -> AfterUnknown {
        match self {
            Self::Again { .. } => AfterUnknown::RunAgain,
            Self::GiveUp => AfterUnknown::GiveUp,
            Self::Hold => AfterUnknown::Hold,
        }
    }
}

/// What follows an attempt that ended so at `now`. `pause` is how long the next one would wait; `held_back` says that a
/// policy of the gateway kept the request from the upstream. An answer needs nothing to follow; whatever is said of it
/// here is not heeded.
#[must_use]
pub fn after_attempt(
    end: &AttemptEnd,
    stamina: Stamina,
    rerun: Rerun,
    held_back: bool,
    (now, pause): (Timestamp, Duration),
) -> Next {
    let counts = !held_back;
    let stamina = Stamina { tries: stamina.tries - u32::from(held_back).min(stamina.tries), ..stamina };
    match end {
        AttemptEnd::Unknown { .. } if rerun == Rerun::Forbidden => Next::Hold,
        _ if stamina.lasts_until(now.after(pause)) => Next::Again { after: pause, counts },
        _ => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NotSentCause, UnknownCause};

    const REFUSED: AttemptEnd = AttemptEnd::Refused { status: 429 };
    const UNSENT: AttemptEnd = AttemptEnd::NotSent(NotSentCause::ConnectFailed);
    const UNKNOWN: AttemptEnd = AttemptEnd::Unknown { cause: UnknownCause::Timeout, status: None };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn stamina(tries: u32) -> Stamina {
        Stamina { tries, tries_max: 3, give_up_at: at(100) }
    }

    const PAUSE: Duration = Duration::from_secs(10);

    #[test]
    fn attempts_follow_until_they_or_the_time_for_them_run_out() {
        let again = Next::Again { after: PAUSE, counts: true };
        for (tries, now, expected) in [
            (1, 0, again),
            (2, 0, again),
            (3, 0, Next::GiveUp),
            (1, 89, again),
            (1, 90, Next::GiveUp),
            (1, 200, Next::GiveUp),
        ] {
            for end in [&REFUSED, &UNSENT, &UNKNOWN] {
                let next = after_attempt(end, stamina(tries), Rerun::Allowed, false, (at(now), PAUSE));
                assert_eq!(next, expected, "{tries} {now} {end:?}");
            }
        }
    }

    #[test]
    fn what_nobody_knows_is_held_where_the_upstream_may_not_be_asked_again() {
        for tries in 1..=3 {
            let next = after_attempt(&UNKNOWN, stamina(tries), Rerun::Forbidden, false, (at(0), PAUSE));
            assert_eq!(next, Next::Hold);
        }
        let next = after_attempt(&REFUSED, stamina(1), Rerun::Forbidden, false, (at(0), PAUSE));
        assert_eq!(next, Next::Again { after: PAUSE, counts: true });
    }

    #[test]
    fn what_was_held_back_costs_time_and_no_attempt() {
        let held_back = |now| after_attempt(&UNSENT, stamina(3), Rerun::Allowed, true, (at(now), PAUSE));
        assert_eq!(held_back(0), Next::Again { after: PAUSE, counts: false });
        assert_eq!(held_back(95), Next::GiveUp);
    }

    #[test]
    fn there_is_nothing_to_hold_where_nothing_was_executed() {
        assert_eq!(Next::Hold.after_unsent(), AfterUnsent::TryAgain);
        assert_eq!(Next::Hold.after_unknown(), AfterUnknown::Hold);
        assert_eq!(Next::GiveUp.after_unsent(), AfterUnsent::GiveUp);
    }
}
