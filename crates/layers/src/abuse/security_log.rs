//! Security events in the log: one line each, under the target `security`. What strangers bring about is told of so often and
//! no oftener, so that a flood of requests is no flood of lines.

use std::{
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use steadfast_core::{Ban, Timestamp};

use super::list::HeldBan;

/// How many lines a second there are at the most of what strangers bring about.
const LINES_A_SECOND: u32 = 20;

/// How often it is told whom one ban refused.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Writes security events.
#[derive(Debug, Default)]
pub(super) struct SecurityLog(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    second: i64,
    written: u32,
    suppressed: u64,
}

impl SecurityLog {
    /// Whether one more line is written now, and how many were not since the last one.
    fn line(&self, now: Timestamp) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now.as_millis().div_euclid(1_000);
        if lines.second != second {
            (lines.second, lines.written) = (second, 0);
        }
        if lines.written >= LINES_A_SECOND {
            lines.suppressed += 1;
            return None;
        }
        lines.written += 1;
        Some(std::mem::take(&mut lines.suppressed))
    }

    /// Somebody was banned without a person's doing, or would have been.
    pub(super) fn banned(&self, ban: &Ban, is_shadow: bool, now: Timestamp) {
        let Some(suppressed) = self.line(now) else { return };
        tracing::warn!(
            target: "security",
            event = "banned",
            subject = %ban.subject,
            source = ban.source.as_str(),
            until = ban.until.map(instant),
            repeats = ban.repeats,
            reason = &*ban.reason,
            mode = mode(is_shadow),
            suppressed,
            "a caller was banned"
        );
    }

    /// A ban refused somebody, or would have.
    pub(super) fn refused(&self, held: &HeldBan, route: &str, now: Timestamp) {
        let refused = held.untold.fetch_add(1, Ordering::Relaxed) + 1;
        let told_at = held.told_at.load(Ordering::Relaxed);
        let every = i64::try_from(TOLD_EVERY.as_millis()).unwrap_or(i64::MAX);
        // A clock that went back does not make it silent.
        if told_at <= now.as_millis() && told_at.saturating_add(every) > now.as_millis() {
            return;
        }
        let order = Ordering::Relaxed;
        // Of those who come at once, one tells.
        if held.told_at.compare_exchange(told_at, now.as_millis(), order, order).is_err() {
            return;
        }
        let Some(suppressed) = self.line(now) else { return };
        held.untold.fetch_sub(refused, order);
        tracing::warn!(
            target: "security",
            event = "banned-request",
            subject = %held.ban.subject,
            source = held.ban.source.as_str(),
            until = held.ban.until.map(instant),
            route,
            requests = refused,
            mode = mode(held.is_shadow),
            suppressed,
            "a banned caller sent requests"
        );
    }

    /// A principal began to ask for far more than usual.
    pub(super) fn abnormal(
        &self,
        principal: &str,
        route: &str,
        [rate, usual]: [f64; 2],
        is_shadow: bool,
        now: Timestamp,
    ) {
        let Some(suppressed) = self.line(now) else { return };
        tracing::warn!(
            target: "security",
            event = "abnormal-usage-detected",
            subject = %format_args!("principal:{principal}"),
            route,
            a_minute = (rate * 60.0).round(),
            usual_a_minute = (usual * 60.0).round(),
            mode = mode(is_shadow),
            suppressed,
            "a principal asks for far more than usual"
        );
    }
}

fn mode(is_shadow: bool) -> &'static str {
    if is_shadow { "shadow" } else { "enforce" }
}

/// An instant as people and programs read it.
pub(super) fn instant(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_of_in_so_many_lines_and_how_many_more_there_would_be() {
        let log = SecurityLog::default();
        let now = Timestamp::from_millis(1_700_000_000_500);
        let written = (0..1_000).filter(|_| log.line(now).is_some()).count();
        assert_eq!(written, 20);
        let next = now.after(Duration::from_millis(500));
        assert_eq!((log.line(next), log.line(next)), (Some(980), Some(0)));
    }
}
