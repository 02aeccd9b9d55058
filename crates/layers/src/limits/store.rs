//! Where limits are counted, as the layer sees it: all limits of one request are asked in one call, which is answered at
//! once where the counts are in this process (or where what another one said still holds), and later where
//! somebody else has to be asked.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use steadfast_core::{LimitDecision, Quota};

/// Whose count of a limit it is: a digest of the limit's name and of all that it is per.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitedKey {
    /// A digest of the first thing that the limit is per alone: a principal, an address. It is the same for every limit
    /// that is per such a thing, so that all that is counted of one can be found.
    pub subject: u64,
    /// A digest of the limit's name and of everything that it is per.
    pub rest: u64,
}

impl LimitedKey {
    /// All 128 bits.
    #[must_use]
    pub const fn digest(self) -> u128 {
        (self.subject as u128) << 64 | self.rest as u128
    }
}

/// One limit of a request.
#[derive(Clone, Debug)]
pub struct Take<'a> {
    /// The limit's name: `per-customer`.
    pub limit: &'a Arc<str>,
    /// Whose count of it.
    pub key: LimitedKey,
    /// What the request costs; zero where only its answer tells.
    pub cost: u64,
    /// How much is allowed, after the principal's plan and what was raised by hand.
    pub quota: Quota,
    /// Whether it refuses. One that does not (shadow mode) is charged where it allows the request and all that
    /// refuse do, and stops none of them from being charged.
    pub enforced: bool,
    /// The longest time that a leaky bucket may let the request wait.
    pub wait_max: Duration,
}

/// What came of one limit of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was counted, and says this.
    Told(LimitDecision),
    /// Nobody could count, and the limit says that its callers go on.
    Uncounted,
    /// Nobody could count, and the limit says that its callers are refused.
    Lost,
}

/// What came of all limits of a request, in their order, once somebody else was asked.
pub type TakenLater = Pin<Box<dyn Future<Output = Vec<Taken>> + Send>>;

/// What is found of a subject, once somebody else was asked.
pub type LookedUp = Pin<Box<dyn Future<Output = Result<Vec<Standing>, String>> + Send>>;

/// What is asked of a subject by hand.
#[derive(Clone, Debug)]
pub struct Look {
    /// The limit's name.
    pub limit: Arc<str>,
    /// Whose.
    pub subject: u64,
    /// How much is allowed to it.
    pub quota: Quota,
    /// Whether what was counted is forgotten once it was read.
    pub reset: bool,
}

/// How one count of a subject stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The limit's name.
    pub limit: Arc<str>,
    /// Which count: a subject has several, where a limit is per something beside it.
    pub key: LimitedKey,
    /// What a request of cost one would be told.
    pub decision: LimitDecision,
}

/// Where limits are counted.
///
/// Whoever counts elsewhere answers for its loss itself: by its share of the limit, or [`Taken::Uncounted`] or
/// [`Taken::Lost`].
pub trait LimitStore: Send + Sync + fmt::Debug {
    /// Asks all limits of a request, and charges each of them where none that is enforced refuses; nothing is charged
    /// where one does. What came of them is written to `taken`, which is as long as `takes`; or it is returned what
    /// will say it. Where that is dropped before it says it, its caller has left: nobody will give back what was charged.
    fn take(&self, takes: &[Take<'_>], taken: &mut [Taken]) -> Option<TakenLater>;

    /// Gives back what was charged: the request was a replay, another limit refused it, its answer cost less than was
    /// charged before, or its place has become free.
    fn give_back(&self, take: &Take<'_>);

    /// Charges more than was asked for: what only the answer told.
    fn charge(&self, take: &Take<'_>);

    /// How a subject's counts of these limits stand; and forgets them where that is asked.
    fn look(&self, looks: Vec<Look>) -> LookedUp;
}
