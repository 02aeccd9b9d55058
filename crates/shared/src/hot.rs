//! Keys that are over their limit just now: answered here until they could be let through again, so that a caller who
//! does not stop costs the store nothing.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use steadfast_core::limit::KeyDigest;

/// How many keys are remembered. A key whose place is taken by another is asked for again: no more than that is lost.
const PLACES: usize = 4_096;
/// How long an answer is given again at most, however far away the reset is: so long a refund on another node, a reset
/// or a raise may take to be seen here.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// What is known to be refused.
pub(crate) struct Hot {
    places: Box<[Mutex<Option<Refused>>]>,
}

/// That a key is refused, and until when.
#[derive(Clone, Copy, Debug)]
struct Refused {
    key: KeyDigest,
    /// The least cost that was refused.
    cost: u64,
    /// When it is asked again.
    hold_until: Instant,
    /// When that cost could be let through.
    resets_at: Instant,
}

impl Hot {
    pub(crate) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::new(None)).collect() }
    }

    /// How long a request of this cost is still refused for sure, where that is known.
    pub(crate) fn refused_for(&self, key: &KeyDigest, cost: u64, now: Instant) -> Option<Duration> {
        let place = self.place(key);
        let refused = place.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = refused.as_ref().filter(|refused| refused.key == *key)?;
        (cost >= refused.cost && now < refused.hold_until)
            .then(|| refused.resets_at.saturating_duration_since(now))
    }

    /// Notes that the store refused a request of this cost, and would for so long.
    pub(crate) fn note(&self, key: KeyDigest, cost: u64, reset: Duration, now: Instant) {
        let refused = Refused { key, cost, hold_until: now + reset.min(HOLD_MAX), resets_at: now + reset };
        *self.place(&key).lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
    }

    /// Forgets a key: something was given back.
    pub(crate) fn forget(&self, key: &KeyDigest) {
        self.place(key).lock().unwrap_or_else(PoisonError::into_inner).take_if(|refused| refused.key == *key);
    }

    fn place(&self, key: &KeyDigest) -> &Mutex<Option<Refused>> {
        // Any two bytes of a digest are as good as random.
        let at = usize::from(u16::from_le_bytes([key.0[2], key.0[3]]));
        &self.places[at % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyDigest = KeyDigest([7; 16]);

    #[test]
    fn refuses_what_costs_as_much_until_the_reset_or_a_second_whichever_is_sooner() {
        let (hot, now) = (Hot::new(), Instant::now());
        let ms = Duration::from_millis;
        hot.note(KEY, 2, ms(300), now);
        assert_eq!(hot.refused_for(&KEY, 2, now + ms(100)), Some(ms(200)));
        assert_eq!(hot.refused_for(&KEY, 1, now), None, "less may go through");
        assert_eq!(hot.refused_for(&KeyDigest([8; 16]), 2, now), None);
        assert_eq!(hot.refused_for(&KEY, 2, now + ms(300)), None);
        hot.note(KEY, 1, ms(60_000), now);
        assert_eq!(hot.refused_for(&KEY, 1, now + ms(999)), Some(ms(59_001)));
        assert_eq!(hot.refused_for(&KEY, 1, now + ms(1_000)), None, "a raise elsewhere would not be seen");
    }

    #[test]
    fn forgets_a_key_that_something_was_given_back_to() {
        let (hot, now) = (Hot::new(), Instant::now());
        hot.note(KEY, 1, HOLD_MAX, now);
        hot.forget(&KEY);
        assert_eq!(hot.refused_for(&KEY, 1, now), None);
    }
}
