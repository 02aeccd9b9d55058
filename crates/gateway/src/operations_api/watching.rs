//! Waiting for the end of an operation: `?wait=20s`.

use std::time::Duration;

use steadfast_ledger::{LedgerError, OperationRecord, SharedLedger};
use tokio::time::Instant;

use super::document::is_unfinished;
use crate::{config::parse_duration, drain::Drain};

/// How long a caller is kept waiting at most.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// How long the caller of this query would wait: `wait=20s`, or `wait=20` in seconds. What cannot be read is no wait, as
/// with `Prefer`.
pub(super) fn wait(query: Option<&str>) -> Duration {
    let values = query.unwrap_or_default().split('&').filter_map(|pair| pair.strip_prefix("wait="));
    let Some(text) = values.into_iter().next() else { return Duration::ZERO };
    let seconds = text.parse().map(Duration::from_secs);
    seconds.ok().or_else(|| parse_duration(text).ok()).unwrap_or_default().min(WAIT_MAX)
}

/// The operation at its end, or as it stands when the time is up, or the gateway is to end; `None` where it is gone by then. Where as many wait as
/// may, nobody else does.
pub(super) async fn at_its_end(
    ledger: &SharedLedger,
    mut record: OperationRecord,
    wait: Duration,
    drain: &Drain,
) -> Result<Option<OperationRecord>, LedgerError> {
    let until = Instant::now() + wait;
    if wait.is_zero() || !is_unfinished(record.state) {
        return Ok(Some(record));
    }
    // Subscribe, read again, then wait: so that no change is missed.
    let Ok(mut watch) = ledger.watch(record.name.digest()) else { return Ok(Some(record)) };
    loop {
        let Some(read) = ledger.operation(record.id).await? else { return Ok(None) };
        record = read;
        let is_over = !is_unfinished(record.state);
        let changes = async {
            tokio::select! {
                () = watch.changed() => true,
                () = tokio::time::sleep_until(until) => false,
                // Nobody waits for a wait.
                () = drain.asked() => false,
            }
        };
        if is_over || !changes.await {
            return Ok(Some(record));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_in_seconds_or_with_its_unit_and_is_bounded() {
        for (query, expected_ms) in [
            (Some("wait=20s"), 20_000),
            (Some("wait=20"), 20_000),
            (Some("a=b&wait=250ms"), 250),
            (Some("wait=5m"), 60_000),
            (Some("wait=99999999999999999999"), 0),
            (Some("wait=soon"), 0),
            (Some("wait=-1"), 0),
            (Some("await=3"), 0),
            (Some(""), 0),
            (None, 0),
        ] {
            assert_eq!(wait(query), Duration::from_millis(expected_ms), "{query:?}");
        }
    }
}
