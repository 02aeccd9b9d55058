//! One limit as it runs: what is said of it, and what is counted of it. Its tally and whom it refused outlive a reload.

use std::sync::{Arc, Mutex, PoisonError};

use super::policy::LimitPolicy;
use crate::LimitTally;

/// How many of those that a limit refuses most are remembered by name.
const REFUSED_MAX: usize = 32;

/// The longest name that is remembered, in characters.
const SHOWN_CHARS_MAX: usize = 128;

/// One limit.
#[derive(Debug)]
pub struct Limit {
    /// What is said of it.
    pub policy: LimitPolicy,
    pub(crate) tally: Arc<LimitTally>,
    pub(crate) refused: Arc<MostRefused>,
}

impl Limit {
    /// The limit of which this is said. What it counts goes into `tally`, and whom it refuses into `refused`.
    #[must_use]
    pub fn new(policy: LimitPolicy, tally: Arc<LimitTally>, refused: Arc<MostRefused>) -> Self {
        Self { policy, tally, refused }
    }

    /// What is counted of it.
    #[must_use]
    pub fn tally(&self) -> &LimitTally {
        &self.tally
    }

    /// Whom it refused most.
    #[must_use]
    pub fn most_refused(&self) -> Vec<RefusedSubject> {
        self.refused.all()
    }
}

/// How often one subject was refused, or would have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedSubject {
    /// Who: a principal, an address.
    pub subject: Box<str>,
    /// How often it was refused; a little too high where many others are, too.
    pub refused: u64,
    /// How often it would have been, had the limit been enforced on it.
    pub would_refuse: u64,
}

/// Those that a limit refuses most, in bounded memory (the Space-Saving algorithm: Metwally et al., 2005): who is new
/// takes the place of who was refused least, and its count.
#[derive(Debug, Default)]
pub struct MostRefused(Mutex<Vec<RefusedSubject>>);

impl MostRefused {
    pub(crate) fn note(&self, subject: &str, enforced: bool) {
        let end = subject.char_indices().nth(SHOWN_CHARS_MAX).map_or(subject.len(), |(at, _)| at);
        let subject = &subject[..end];
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match held.iter().position(|known| *known.subject == *subject) {
            Some(place) => place,
            None if held.len() < REFUSED_MAX => {
                held.push(RefusedSubject { subject: subject.into(), refused: 0, would_refuse: 0 });
                held.len() - 1
            }
            None => {
                let least = held.iter().enumerate().min_by_key(|(_, one)| one.refused + one.would_refuse);
                let place = least.map_or(0, |(place, _)| place);
                held[place].subject = subject.into();
                place
            }
        };
        let one = &mut held[place];
        if enforced {
            one.refused += 1;
        } else {
            one.would_refuse += 1;
        }
    }

    /// All of them, most refused first.
    fn all(&self) -> Vec<RefusedSubject> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort_by(|one, other| {
            let times = |one: &RefusedSubject| one.refused + one.would_refuse;
            times(other).cmp(&times(one)).then_with(|| one.subject.cmp(&other.subject))
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_most_is_remembered_however_many_others_there_are() {
        let most = MostRefused::default();
        for number in 0..10_000 {
            most.note(&format!("passer-by {number}"), true);
            if number % 4 == 0 {
                most.note("noisy", true);
                most.note("in shadow", false);
            }
        }
        let all = most.all();
        assert_eq!(all.len(), REFUSED_MAX);
        let first: Vec<&str> = all[..2].iter().map(|one| &*one.subject).collect();
        assert!(first.contains(&"noisy") && first.contains(&"in shadow"), "{first:?}");
        assert!(all.iter().all(|one| one.refused + one.would_refuse < 6_000));
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let most = MostRefused::default();
        most.note(&"ö".repeat(1_000), true);
        most.note(&"ö".repeat(2_000), true);
        let all = most.all();
        assert_eq!((all.len(), all[0].refused), (1, 2));
        assert_eq!(all[0].subject.chars().count(), SHOWN_CHARS_MAX);
    }
}
