//! What goes on without a caller: an answer is brought up to date after a stale one was given. One task an answer at
//! most, which ends in bounded time. The only place of the cache that spawns.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use tokio::{runtime::Handle, time::Instant};

use crate::{Deadline, HeldBody};

use super::recording::CacheBody;

/// How long it may take, the reading of the body included.
const LASTS_MAX: Duration = Duration::from_secs(30);

/// The deadline of what goes on without a caller.
pub(super) fn deadline() -> Deadline {
    Deadline(Instant::now() + LASTS_MAX)
}

/// Waits for an answer in a task of its own and reads it to its end, which keeps it. Without a runtime (the process is
/// ending) nothing is done.
pub(super) fn fetch<R>(
    answer: impl Future<Output = Option<Response<HeldBody<CacheBody<R>>>>> + Send + 'static,
) where
    R: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        let until = deadline().0;
        let whole = tokio::time::timeout_at(until, async {
            let Some(response) = answer.await else { return };
            let mut body = response.into_body();
            while let Some(Ok(_)) =
                std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
            {}
        });
        if whole.await.is_err() {
            tracing::debug!("an answer was not brought up to date in time");
        }
    });
}
