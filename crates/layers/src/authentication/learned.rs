//! What others said of credentials, for as long as it is good. Of several requests that want to know the same, one asks; if
//! its caller leaves, the next one does. Where the answer turns out to be of no use to the others, they ask for themselves.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use quick_cache::sync::Cache;
use steadfast_core::{CredentialDigest, Timestamp};

use super::authenticator::Verdict;

/// How many answers are kept.
const LEARNED_MAX: usize = 10_000;

/// Held by who asks; it says whether an answer was not to be kept.
type Asking = Arc<tokio::sync::Mutex<bool>>;

/// What others said of credentials.
#[derive(Debug)]
pub(super) struct Learned {
    answers: Cache<CredentialDigest, Arc<(Verdict, Timestamp)>>,
    /// What is being asked. Never more than there are requests under way.
    asking: Mutex<HashMap<CredentialDigest, Asking>>,
}

impl Default for Learned {
    fn default() -> Self {
        Self { answers: Cache::new(LEARNED_MAX), asking: Mutex::default() }
    }
}

impl Learned {
    /// What is known, if it is still good.
    pub(super) fn get(&self, digest: CredentialDigest, now: Timestamp) -> Option<Verdict> {
        let answer = self.answers.get(&digest)?;
        (now < answer.1).then(|| answer.0.clone())
    }

    /// What is known, or what `ask` finds out, and until when that is good.
    pub(super) async fn or_ask(
        &self,
        digest: CredentialDigest,
        now: Timestamp,
        ask: impl Future<Output = (Verdict, Timestamp)>,
    ) -> Verdict {
        let turn = Turn::take(self, digest);
        let in_vain = turn.lock.lock().await;
        if let Some(known) = self.get(digest, now) {
            return known;
        }
        // What is not kept is of no use to those who wait: then each asks for itself, and none waits for another.
        let mine = (!*in_vain).then_some(in_vain);
        let (verdict, until) = ask.await;
        if until > now {
            self.answers.insert(digest, Arc::new((verdict.clone(), until)));
        }
        if let Some(mut in_vain) = mine {
            *in_vain = until <= now;
        }
        verdict
    }
}

/// A place among those who want to know the same; the last to leave takes the sign down.
struct Turn<'l> {
    learned: &'l Learned,
    digest: CredentialDigest,
    lock: Asking,
}

impl<'l> Turn<'l> {
    fn take(learned: &'l Learned, digest: CredentialDigest) -> Self {
        let mut asking = learned.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = Arc::clone(asking.entry(digest).or_default());
        Self { learned, digest, lock }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut asking = self.learned.asking.lock().unwrap_or_else(PoisonError::into_inner);
        // This one and the one on the list.
        if Arc::strong_count(&self.lock) <= 2 {
            asking.remove(&self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn digest(text: &[u8]) -> CredentialDigest {
        CredentialDigest::of([("test", text)]).expect("a digest")
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_who_want_to_know_the_same_one_asks_and_another_where_that_one_leaves() {
        let learned = Learned::default();
        let asked = Cell::new(0);
        let ask = |digest| {
            learned.or_ask(digest, NOW, async {
                asked.set(asked.get() + 1);
                tokio::time::sleep(Duration::from_secs(1)).await;
                (Verdict::NotMine, NOW.after(Duration::from_secs(30)))
            })
        };
        let leaves = tokio::time::timeout(Duration::from_millis(500), ask(digest(b"a")));
        let (left, one, two, other) =
            tokio::join!(leaves, ask(digest(b"a")), ask(digest(b"a")), ask(digest(b"b")));
        assert!(left.is_err());
        for verdict in [one, two, other] {
            assert!(matches!(verdict, Verdict::NotMine));
        }
        assert_eq!(asked.get(), 3, "the one that left, one of the two, and the other");
        assert!(learned.asking.lock().expect("a lock").is_empty());
        assert!(learned.get(digest(b"a"), NOW).is_some());
        assert!(learned.get(digest(b"a"), NOW.after(Duration::from_secs(30))).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_queues_for_an_answer_that_is_not_kept() {
        let learned = Learned::default();
        let began = tokio::time::Instant::now();
        let ask = || {
            learned.or_ask(digest(b"a"), NOW, async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                (Verdict::NotMine, NOW)
            })
        };
        tokio::join!(ask(), ask(), ask(), ask(), ask());
        assert_eq!(began.elapsed(), Duration::from_secs(2), "the first one, and then all others at once");
        assert!(learned.asking.lock().expect("a lock").is_empty());
    }

    #[tokio::test]
    async fn what_is_not_to_be_kept_is_asked_each_time() {
        let learned = Learned::default();
        let asked = Cell::new(0);
        for _ in 0..2 {
            let ask = async {
                asked.set(asked.get() + 1);
                (Verdict::NotMine, NOW)
            };
            learned.or_ask(digest(b"a"), NOW, ask).await;
        }
        assert_eq!(asked.get(), 2);
    }
}
