//! Tasks that live as long as their service: each service owns a runtime of its own, and dropping it ends them all.

use tokio::task::JoinHandle;

/// Runs `task` on the service's runtime until it ends or the service stops, whoever awaits it.
#[expect(
    clippy::disallowed_methods,
    reason = "the owner is the service's own runtime, which ends its tasks with it"
)]
pub(crate) fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(task)
}
