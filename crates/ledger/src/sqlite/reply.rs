//! The way of an answer from the ledger's threads to whoever asked.
//!
//! A batch answers many at once, and waking a task from another thread costs a system call each time. So of those
//! that were last polled on one thread, only one is woken from here; when it looks at its answer it wakes the
//! others, which costs nothing there.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    thread::{self, ThreadId},
};

/// An answer that will come.
pub(super) struct Reply<T>(Arc<Slot<T>>);

/// Where an answer is given. Dropped without one, it says that there will be none.
pub(super) struct Replier<T>(Option<Arc<Slot<T>>>);

struct Slot<T>(Mutex<Stage<T>>);

enum Stage<T> {
    /// Nothing has come; who last asked, from which thread.
    Waiting(Option<(ThreadId, Waker)>),
    /// It is there (or will never be), and nobody has looked yet. Whoever looks wakes these.
    Ready(Option<T>, Vec<Waker>),
    /// It was taken, or nobody wants it any more.
    Over,
}

/// An answer on its way, and where it is taken in.
pub(super) fn reply<T>() -> (Replier<T>, Reply<T>) {
    let slot = Arc::new(Slot(Mutex::new(Stage::Waiting(None))));
    (Replier(Some(Arc::clone(&slot))), Reply(slot))
}

/// Those who are to be woken for one batch.
#[derive(Default)]
pub(super) struct Wakes {
    waiting: Vec<(ThreadId, Waker, Arc<dyn Lead>)>,
}

/// Somebody who can wake others when it looks at its own answer.
trait Lead: Send + Sync {
    /// Takes the others on; gives them back where it has looked already or will never look.
    fn lead(&self, others: Vec<Waker>) -> Result<(), Vec<Waker>>;
}

impl<T: Send + 'static> Replier<T> {
    /// Gives the answer; who waits for it is woken by `wakes`. An answer that nobody wants any more is dropped.
    pub(super) fn give(mut self, answer: T, wakes: &mut Wakes) {
        if let Some(slot) = self.0.take() {
            slot.fill(Some(answer), wakes);
        }
    }
}

impl<T> Drop for Replier<T> {
    fn drop(&mut self) {
        let Some(slot) = self.0.take() else { return };
        let before = {
            let mut stage = slot.lock();
            match &mut *stage {
                Stage::Waiting(who) => {
                    let who = who.take();
                    *stage = Stage::Ready(None, Vec::new());
                    who
                }
                Stage::Ready(..) | Stage::Over => None,
            }
        };
        if let Some((_, waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Slot<T> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Stage<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Slot<T> {
    fn fill(self: Arc<Self>, answer: Option<T>, wakes: &mut Wakes) {
        let mut stage = self.lock();
        match mem::replace(&mut *stage, Stage::Over) {
            Stage::Waiting(who) => {
                *stage = Stage::Ready(answer, Vec::new());
                drop(stage);
                if let Some((thread, waker)) = who {
                    wakes.waiting.push((thread, waker, self));
                }
            }
            // The answer is dropped when the lock is gone: its drop may want to say something.
            Stage::Ready(..) | Stage::Over => drop(stage),
        }
    }
}

impl<T: Send> Lead for Slot<T> {
    fn lead(&self, others: Vec<Waker>) -> Result<(), Vec<Waker>> {
        match &mut *self.lock() {
            Stage::Ready(_, followers) => {
                *followers = others;
                Ok(())
            }
            Stage::Waiting(_) | Stage::Over => Err(others),
        }
    }
}

impl Wakes {
    /// Wakes them: one on each thread, who wakes the others there.
    pub(super) fn wake(mut self) {
        while let Some((thread, leader, slot)) = self.waiting.pop() {
            let mut followers = Vec::new();
            self.waiting.retain_mut(|(on, waker, _)| {
                let here = *on == thread;
                if here {
                    followers.push(mem::replace(waker, Waker::noop().clone()));
                }
                !here
            });
            let left = if followers.is_empty() { Ok(()) } else { slot.lead(followers) };
            leader.wake();
            if let Err(followers) = left {
                followers.into_iter().for_each(Waker::wake);
            }
        }
    }
}

impl<T> Future for Reply<T> {
    /// `None` where there will be no answer.
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut stage = self.0.lock();
        match &mut *stage {
            Stage::Waiting(who) => {
                let on = thread::current().id();
                match who {
                    Some((thread, waker)) if waker.will_wake(context.waker()) => *thread = on,
                    _ => *who = Some((on, context.waker().clone())),
                }
                Poll::Pending
            }
            Stage::Ready(..) => {
                let Stage::Ready(answer, followers) = mem::replace(&mut *stage, Stage::Over) else {
                    return Poll::Ready(None);
                };
                drop(stage);
                followers.into_iter().for_each(Waker::wake);
                Poll::Ready(answer)
            }
            Stage::Over => Poll::Ready(None),
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let before = mem::replace(&mut *self.0.lock(), Stage::Over);
        if let Stage::Ready(answer, followers) = before {
            followers.into_iter().for_each(Waker::wake);
            drop(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn look<T>(reply: &mut Reply<T>, counted: &Arc<Counted>) -> Poll<Option<T>> {
        let waker = Waker::from(Arc::clone(counted));
        Pin::new(reply).poll(&mut Context::from_waker(&waker))
    }

    type Many = (Vec<Replier<u8>>, Vec<Reply<u8>>, Vec<Arc<Counted>>);

    fn three() -> Many {
        let counted: Vec<_> = (0..3).map(|_| Arc::<Counted>::default()).collect();
        let (repliers, mut replies): (Vec<_>, Vec<_>) = (0..3).map(|_| reply()).unzip();
        for (reply, counted) in replies.iter_mut().zip(&counted) {
            assert_eq!(look(reply, counted), Poll::Pending);
        }
        (repliers, replies, counted)
    }

    fn woken(counted: &[Arc<Counted>]) -> usize {
        counted.iter().map(|counted| counted.0.load(Ordering::Relaxed)).sum()
    }

    fn give(repliers: Vec<Replier<u8>>) -> Wakes {
        let mut wakes = Wakes::default();
        for (replier, answer) in repliers.into_iter().zip(1..) {
            replier.give(answer, &mut wakes);
        }
        wakes
    }

    #[test]
    fn one_is_woken_and_wakes_the_others_when_it_looks() {
        let (repliers, mut replies, counted) = three();
        give(repliers).wake();
        assert_eq!(woken(&counted), 1);
        let leader = counted.iter().position(|counted| counted.0.load(Ordering::Relaxed) == 1).expect("one");
        assert_eq!(look(&mut replies[leader], &counted[leader]), Poll::Ready(Some(leader as u8 + 1)));
        assert_eq!(woken(&counted), 3);
        for other in (0..3).filter(|other| *other != leader) {
            assert_eq!(look(&mut replies[other], &counted[other]), Poll::Ready(Some(other as u8 + 1)));
        }
    }

    #[test]
    fn one_who_leaves_instead_of_looking_wakes_the_others_too() {
        let (repliers, mut replies, counted) = three();
        give(repliers).wake();
        let leader = counted.iter().position(|counted| counted.0.load(Ordering::Relaxed) == 1).expect("one");
        drop(replies.remove(leader));
        assert_eq!(woken(&counted), 3);
    }

    #[test]
    fn where_the_first_has_looked_already_everybody_is_woken_from_here() {
        for leave in [false, true] {
            let (repliers, mut replies, counted) = three();
            let wakes = give(repliers);
            // The last to be answered would lead.
            if leave {
                drop(replies.pop());
            } else {
                assert_eq!(look(&mut replies[2], &counted[2]), Poll::Ready(Some(3)));
            }
            wakes.wake();
            assert_eq!(woken(&counted), 3);
        }
    }

    #[test]
    fn those_on_other_threads_are_woken_on_their_own() {
        let (mut repliers, _replies, counted) = three();
        let (replier, mut elsewhere) = reply();
        let counted_elsewhere = Arc::<Counted>::default();
        let elsewhere = thread::spawn({
            let counted = Arc::clone(&counted_elsewhere);
            move || {
                assert_eq!(look(&mut elsewhere, &counted), Poll::Pending);
                elsewhere
            }
        });
        let mut elsewhere = elsewhere.join().expect("no panic");
        repliers.push(replier);
        give(repliers).wake();
        assert_eq!((woken(&counted), woken(std::slice::from_ref(&counted_elsewhere))), (1, 1));
        assert_eq!(look(&mut elsewhere, &counted_elsewhere), Poll::Ready(Some(4)));
    }

    #[test]
    fn a_replier_that_is_dropped_says_so() {
        let (mut repliers, mut replies, counted) = three();
        drop(repliers.pop());
        assert_eq!(woken(&counted), 1);
        assert_eq!(look(&mut replies[2], &counted[2]), Poll::Ready(None));
    }

    #[test]
    fn an_answer_that_nobody_wants_is_dropped() {
        let (replier, nobody) = reply::<Arc<()>>();
        drop(nobody);
        let answer = Arc::new(());
        replier.give(Arc::clone(&answer), &mut Wakes::default());
        assert_eq!(Arc::strong_count(&answer), 1);
    }
}
