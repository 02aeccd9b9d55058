//! A future that its owner may leave: an attempt goes on when its caller hangs up.
//!
//! While the caller waits the future runs in the caller's own task, which costs nothing; only when it is dropped
//! unfinished is it moved into a task of its own.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// Runs to its end even if it is dropped, as long as the runtime lives.
pub(super) struct Detach<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T: Send + 'static> Detach<T> {
    pub(super) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<T: Send + 'static> Future for Detach<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let output = std::task::ready!(future.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<T: Send + 'static> Drop for Detach<T> {
    fn drop(&mut self) {
        if let Some(future) = self.0.take() {
            spawn(async move {
                future.await;
            });
        }
    }
}

/// Runs `future` in a task of its own. Without a runtime (the process is ending) it is dropped: its claim then
/// runs out, as after a crash.
pub(super) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(future);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn goes_on_when_its_owner_leaves() {
        let (release, released) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        let mut detach = Detach::new(async move {
            released.await.expect("released");
            done.send(()).expect("somebody listens");
        });
        assert!(
            std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut detach).poll(context)))
                .await
                .is_pending()
        );
        drop(detach);
        release.send(()).expect("it still runs");
        finished.await.expect("it ran to its end");
    }
}
