//! What is asked of the store, and what it says.

use std::time::Duration;

use steadfast_core::{LimitDecision, Quota};
use steadfast_layers::{LimitedKey, Take};

use crate::slot::LimitTag;

/// What is to become of the limits of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Each is asked, and charged where none that is enforced refuses.
    Take,
    /// Each is charged, whatever is left.
    Charge,
    /// Each is given back what it was charged.
    GiveBack,
    /// Each is asked, and nothing is charged.
    Look,
    /// Each is asked, and then forgets what it counted.
    Forget,
}

impl Verb {
    /// Whether the store says something to it.
    pub(crate) fn is_answered(self) -> bool {
        match self {
            Self::Take | Self::Look | Self::Forget => true,
            Self::Charge | Self::GiveBack => false,
        }
    }
}

/// One limit of a question.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) limit: LimitTag,
    pub(crate) key: LimitedKey,
    pub(crate) quota: Quota,
    pub(crate) cost: u64,
    pub(crate) wait_max: Duration,
    pub(crate) enforced: bool,
}

impl Ask {
    pub(crate) fn of(take: &Take<'_>) -> Self {
        Self {
            limit: LimitTag::of(take.limit),
            key: take.key,
            quota: take.quota,
            cost: take.cost,
            wait_max: take.wait_max,
            enforced: take.enforced,
        }
    }
}

/// All that is asked together.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) verb: Verb,
    pub(crate) asks: Box<[Ask]>,
}

/// What each limit of a question says, in their order; of nothing where nothing is said.
pub(crate) type Answers = Box<[LimitDecision]>;
