//! The wall clock, read in one place: the services stamp what they record with it and decide nothing by it.

use std::time::UNIX_EPOCH;

/// Milliseconds since the Unix epoch; 0 if the clock stands before it.
#[expect(
    clippy::disallowed_methods,
    reason = "this example stands alone, and only stamps rows with the time"
)]
pub(crate) fn now_ms() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
