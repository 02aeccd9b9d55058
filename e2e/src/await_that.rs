//! Waiting for what another process does, which sends no signal: asked for again and again, up to a deadline.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How long it is from one question to the next.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until there is an answer, and returns it.
///
/// # Panics
/// There is none `within` this time; `what` says what was waited for.
pub async fn await_that<T>(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "{what}: not within {within:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Bounds a wait for something that has a signal.
///
/// # Panics
/// It takes longer than `time`.
pub async fn within<T>(time: Duration, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(time, wait).await {
        Ok(value) => value,
        Err(_) => panic!("it took longer than {time:?}"),
    }
}
