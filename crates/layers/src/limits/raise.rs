//! What was raised by hand, for a time: the limits of one subject, so many times.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How many are raised at once at the most.
const RAISED_MAX: usize = 10_000;

/// One subject's limits were raised.
#[derive(Clone, Debug, PartialEq)]
pub struct Raise {
    /// Which limit; all of them where none is named.
    pub limit: Option<Arc<str>>,
    /// Whose, as it was written.
    pub subject: Arc<str>,
    /// How many times as much is allowed.
    pub factor: f64,
    /// Until when, since 1970 on the limits' clock.
    pub until: Duration,
    /// Why.
    pub reason: Arc<str>,
    /// Who did it.
    pub by: Arc<str>,
}

/// All that is raised.
#[derive(Debug, Default)]
pub(crate) struct Raises {
    by_subject: RwLock<HashMap<u64, Vec<Raise>>>,
    /// How many subjects have some; nobody takes the lock where there are none.
    held: AtomicUsize,
}

impl Raises {
    /// How many times as much `limit` allows the subject; nothing where it is as usual.
    pub(crate) fn factor(&self, limit: &str, subject: u64, now: impl FnOnce() -> Duration) -> Option<f64> {
        if self.held.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let by_subject = self.by_subject.read().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        let raises = by_subject.get(&subject)?.iter();
        raises
            .filter(|raise| raise.until > now && raise.limit.as_deref().is_none_or(|named| named == limit))
            .map(|raise| raise.factor)
            .max_by(f64::total_cmp)
    }

    /// Raises, in place of what was raised for the same before. Whether there was room for it.
    pub(crate) fn set(&self, subjects: &[u64], raise: &Raise, now: Duration) -> bool {
        let mut by_subject = self.by_subject.write().unwrap_or_else(PoisonError::into_inner);
        for raises in by_subject.values_mut() {
            raises.retain(|held| held.until > now);
        }
        by_subject.retain(|_, raises| !raises.is_empty());
        let has_room = by_subject.len() + subjects.len() <= RAISED_MAX;
        if has_room {
            for subject in subjects {
                let raises = by_subject.entry(*subject).or_default();
                raises.retain(|held| held.limit != raise.limit);
                raises.push(raise.clone());
            }
        }
        self.held.store(by_subject.len(), Ordering::Relaxed);
        has_room
    }

    /// Takes back what was raised for one of these subjects; what that was.
    pub(crate) fn unset(&self, subjects: &[u64], limit: Option<&str>) -> Vec<Raise> {
        let mut by_subject = self.by_subject.write().unwrap_or_else(PoisonError::into_inner);
        let mut gone: Vec<Raise> = Vec::new();
        for subject in subjects {
            let Some(raises) = by_subject.get_mut(subject) else { continue };
            raises.retain(|held| {
                let goes = limit.is_none() || held.limit.as_deref() == limit;
                if goes && !gone.contains(held) {
                    gone.push(held.clone());
                }
                !goes
            });
        }
        by_subject.retain(|_, raises| !raises.is_empty());
        self.held.store(by_subject.len(), Ordering::Relaxed);
        gone
    }

    /// Everything that is raised, each once.
    pub(crate) fn all(&self, now: Duration) -> Vec<Raise> {
        let by_subject = self.by_subject.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Raise> = Vec::new();
        for raise in by_subject.values().flatten().filter(|raise| raise.until > now) {
            if !all.contains(raise) {
                all.push(raise.clone());
            }
        }
        all.sort_by(|one, other| (&one.subject, &one.limit).cmp(&(&other.subject, &other.limit)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn raise(limit: Option<&str>, factor: f64, until: u64) -> Raise {
        Raise {
            limit: limit.map(Into::into),
            subject: "acme".into(),
            factor,
            until: S(until),
            reason: "ticket 4711".into(),
            by: "ada".into(),
        }
    }

    #[test]
    fn the_highest_that_holds_counts_until_its_time_is_over() {
        let raises = Raises::default();
        let factor = |limit: &str, subject, now| raises.factor(limit, subject, || S(now));
        assert_eq!(factor("a", 1, 0), None);
        assert!(raises.set(&[1, 2], &raise(None, 3.0, 100), S(0)));
        assert!(raises.set(&[1, 2], &raise(Some("a"), 5.0, 50), S(0)));
        assert_eq!((factor("a", 1, 10), factor("b", 2, 10)), (Some(5.0), Some(3.0)));
        assert_eq!((factor("a", 1, 50), factor("a", 3, 10)), (Some(3.0), None));
        assert_eq!(factor("a", 1, 100), None);
        assert_eq!(raises.all(S(0)).len(), 2);
    }

    #[test]
    fn raising_again_replaces_and_taking_back_ends_it() {
        let raises = Raises::default();
        raises.set(&[1], &raise(None, 3.0, 100), S(0));
        raises.set(&[1], &raise(None, 2.0, 100), S(0));
        assert_eq!(raises.factor("a", 1, || S(0)), Some(2.0));
        assert_eq!(raises.unset(&[1], None), [raise(None, 2.0, 100)]);
        assert_eq!(raises.factor("a", 1, || S(0)), None);
        assert_eq!(raises.unset(&[1], None), []);
    }
}
