//! A future that is polled only when it was woken. What waits beside a busy future would otherwise be polled with each
//! of that one's turns.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

pin_project_lite::pin_project! {
    /// A future that is polled only when it was woken. One task polls it from beginning to end.
    pub(crate) struct Woken<F> {
        #[pin]
        inner: F,
        bell: Arc<Bell>,
    }
}

/// What the future is woken by.
struct Bell {
    rung: AtomicBool,
    task: Mutex<Waker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
    }
}

impl<F> Woken<F> {
    pub(crate) fn new(inner: F) -> Self {
        // The first poll is everybody's.
        let bell = Bell { rung: AtomicBool::new(true), task: Mutex::new(Waker::noop().clone()) };
        Self { inner, bell: Arc::new(bell) }
    }
}

impl<F: Future> Future for Woken<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if !this.bell.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        this.bell.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(context.waker());
        // Before it is polled: who wakes it meanwhile is heard.
        this.bell.rung.store(false, Ordering::Release);
        this.inner.poll(&mut Context::from_waker(&Waker::from(Arc::clone(this.bell))))
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::poll_fn, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_polled_when_it_was_woken_and_only_then() {
        let polls = Cell::new(0);
        let mut inner = Box::pin(tokio::time::sleep(Duration::from_secs(5)));
        let mut waiting = std::pin::pin!(Woken::new(poll_fn(|context| {
            polls.set(polls.get() + 1);
            inner.as_mut().poll(context)
        })));
        let busy = async {
            for _ in 0..50 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            biased;
            () = &mut waiting => panic!("it ended too soon"),
            () = busy => {}
        }
        assert_eq!(polls.get(), 1);
        waiting.await;
        assert_eq!(polls.get(), 2);
    }
}
