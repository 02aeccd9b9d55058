//! Whether a request is tried again, and when: only where repeating is safe, only as often as is allowed, and never
//! where the next try could not end in time.

use std::time::Duration;

use crate::{NotSentCause, Reading};

/// What is left below this is no time for another try.
const TRY_MIN: Duration = Duration::from_millis(1);

/// What one try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryEnd {
    /// Not a byte was handed over.
    NotSent(NotSentCause),
    /// An answer came whose status is read like this.
    Answered(Reading, u16),
    /// It may have been executed, and no answer came.
    Lost,
    /// The caller's own body failed: another try would fail as well.
    Spoiled,
}

impl TryEnd {
    /// Whether nobody knows now if the request was executed.
    #[must_use]
    pub const fn leaves_doubt(self) -> bool {
        matches!(self, Self::Lost | Self::Spoiled | Self::Answered(Reading::Unknown, _))
    }

    /// Whether another try could end otherwise, and nothing is executed twice by it. `repeatable` says that nothing
    /// happens where the request is executed twice.
    #[must_use]
    pub const fn may_be_repeated(self, repeatable: bool) -> bool {
        match self {
            Self::NotSent(NotSentCause::ConnectFailed | NotSentCause::StreamRefused) => true,
            // Its own time is over, or a policy keeps it from being sent: that one says when to come again.
            Self::NotSent(
                NotSentCause::SendByPassed | NotSentCause::DeadlinePassed | NotSentCause::HeldBack,
            ) => false,
            Self::Answered(Reading::Refused, _) => true,
            // What is not implemented, or asked for in a version that is not spoken, stays so.
            Self::Answered(Reading::Unknown, 501 | 505) => false,
            Self::Answered(Reading::Unknown, _) | Self::Lost => repeatable,
            Self::Answered(Reading::Completed, _) | Self::Spoiled => false,
        }
    }

    /// The word of logs for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSent(_) => "not sent",
            Self::Answered(Reading::Refused, _) => "refused",
            Self::Answered(Reading::Unknown, _) => "an answer that tells nothing",
            Self::Answered(Reading::Completed, _) => "answered",
            Self::Lost => "no answer",
            Self::Spoiled => "its body broke off",
        }
    }
}

/// What is known when a try has ended.
#[derive(Clone, Copy, Debug)]
pub struct TryFacts {
    /// How it ended.
    pub end: TryEnd,
    /// Whether nothing happens where the request is executed twice.
    pub repeatable: bool,
    /// Its number, from 1.
    pub number: u32,
    /// How many tries there may be.
    pub number_max: u32,
    /// How much time is left for all that follows.
    pub left: Duration,
    /// How long to wait before the next one.
    pub pause: Duration,
    /// How long the upstream asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl TryFacts {
    /// How long to wait for the next try; `None` where there is none. Whether the budget has one left is another
    /// question.
    #[must_use]
    pub fn next_after(&self) -> Option<Duration> {
        if self.number >= self.number_max || !self.end.may_be_repeated(self.repeatable) {
            return None;
        }
        // Never sooner than was asked for, and not all at the same moment.
        let pause = self.retry_after.unwrap_or_default().saturating_add(self.pause);
        (pause.saturating_add(TRY_MIN) <= self.left).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: TryEnd = TryEnd::Answered(Reading::Unknown, 503);
    const REFUSED: TryEnd = TryEnd::Answered(Reading::Refused, 429);
    const CONNECT_FAILED: TryEnd = TryEnd::NotSent(NotSentCause::ConnectFailed);

    #[test]
    fn only_what_is_safe_to_repeat_is_repeated() {
        for (end, once, repeatable) in [
            (CONNECT_FAILED, true, true),
            (TryEnd::NotSent(NotSentCause::StreamRefused), true, true),
            (TryEnd::NotSent(NotSentCause::SendByPassed), false, false),
            (TryEnd::NotSent(NotSentCause::DeadlinePassed), false, false),
            (TryEnd::NotSent(NotSentCause::HeldBack), false, false),
            (REFUSED, true, true),
            (UNKNOWN, false, true),
            (TryEnd::Answered(Reading::Unknown, 408), false, true),
            (TryEnd::Answered(Reading::Unknown, 501), false, false),
            (TryEnd::Answered(Reading::Unknown, 505), false, false),
            (TryEnd::Answered(Reading::Completed, 200), false, false),
            (TryEnd::Answered(Reading::Completed, 503), false, false),
            (TryEnd::Lost, false, true),
            (TryEnd::Spoiled, false, false),
        ] {
            assert_eq!(end.may_be_repeated(false), once, "{end:?}");
            assert_eq!(end.may_be_repeated(true), repeatable, "{end:?}");
        }
    }

    #[test]
    fn only_what_may_have_been_executed_leaves_doubt() {
        for end in [UNKNOWN, TryEnd::Lost, TryEnd::Spoiled, TryEnd::Answered(Reading::Unknown, 501)] {
            assert!(end.leaves_doubt(), "{end:?}");
        }
        for end in [CONNECT_FAILED, REFUSED, TryEnd::Answered(Reading::Completed, 500)] {
            assert!(!end.leaves_doubt(), "{end:?}");
        }
    }

    #[test]
    fn a_try_starts_only_where_one_is_left_and_it_can_end_in_time() {
        let ms = Duration::from_millis;
        for (number, left, retry_after, expected) in [
            (1, ms(1_000), None, Some(ms(100))),
            (2, ms(1_000), None, Some(ms(100))),
            (3, ms(1_000), None, None),
            (1, ms(101), None, Some(ms(100))),
            (1, ms(100), None, None),
            (1, ms(0), None, None),
            (1, ms(5_000), Some(ms(2_000)), Some(ms(2_100))),
            (1, ms(2_000), Some(ms(2_000)), None),
            (1, Duration::MAX, Some(Duration::MAX), Some(Duration::MAX)),
        ] {
            let pause = ms(100);
            let tried =
                TryFacts { end: REFUSED, repeatable: false, number, number_max: 3, left, pause, retry_after };
            assert_eq!(tried.next_after(), expected, "{number} {left:?} {retry_after:?}");
        }
    }
}
