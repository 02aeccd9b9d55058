//! What an upstream says of its own limits in the header of an answer: how many requests are left, and when there will
//! be more. Read are the list of draft-ietf-httpapi-ratelimit-headers (from version 8 on, `"burst";r=50;t=30`), the
//! one of its earlier versions (`limit=100, remaining=50, reset=30`), and the two fields apart that most APIs send,
//! whose reset is in seconds for some and an instant for others.
//!
//! Upstreams are many, and their writing is loose: what is not understood is passed over.

use std::time::Duration;

use crate::Timestamp;

/// How many bytes of a header are read, and how many limits in it.
const BYTES_MAX: usize = 1_024;
const LIMITS_MAX: usize = 16;

/// From here on a reset in seconds is an instant since 1970, and from there on one in milliseconds: nobody means 31
/// years, and nobody lives in the year 5138.
const INSTANT_S_MIN: f64 = 1e9;
const INSTANT_MS_MIN: f64 = 1e11;

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// How many requests.
    pub remaining: u64,
    /// When there will be more.
    pub reset: Duration,
}

impl Allowance {
    /// The one of the two that leaves less: the slower pace.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        // remaining / reset, compared without dividing.
        let own = u128::from(self.remaining) * other.reset.as_millis();
        let others = u128::from(other.remaining) * self.reset.as_millis();
        let is_tighter = match own.cmp(&others) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => self.reset >= other.reset,
        };
        if is_tighter { self } else { other }
    }
}

/// What the `RateLimit` header says: the tightest of its limits.
#[must_use]
pub fn rate_limit(text: &str, now: Timestamp) -> Option<Allowance> {
    let text = bounded(text);
    let mut tightest: Option<Allowance> = None;
    // The earlier form is one limit, spread over the items of the list.
    let mut earlier = Parameters::default();
    for item in split_outside_quotes(text, ',').take(LIMITS_MAX) {
        let mut own = Parameters::default();
        for parameter in split_outside_quotes(item, ';') {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            match name.trim() {
                "r" => own.remaining = whole(value),
                "t" => own.reset = until(value, now),
                "remaining" => earlier.remaining = whole(value),
                "reset" => earlier.reset = until(value, now),
                _ => {}
            }
        }
        tightest = tighter(tightest, own.allowance());
    }
    tighter(tightest, earlier.allowance())
}

/// What the fields `RateLimit-Remaining` and `RateLimit-Reset`, or those with `X-` before them, say.
#[must_use]
pub fn remaining_and_reset(remaining: &str, reset: &str, now: Timestamp) -> Option<Allowance> {
    let limits = bounded(remaining).split(',').zip(bounded(reset).split(',')).take(LIMITS_MAX);
    limits.fold(None, |tightest, (remaining, reset)| {
        let one = Parameters { remaining: whole(remaining), reset: until(reset, now) };
        tighter(tightest, one.allowance())
    })
}

#[derive(Default)]
struct Parameters {
    remaining: Option<u64>,
    reset: Option<Duration>,
}

impl Parameters {
    fn allowance(self) -> Option<Allowance> {
        Some(Allowance { remaining: self.remaining?, reset: self.reset? })
    }
}

fn tighter(one: Option<Allowance>, other: Option<Allowance>) -> Option<Allowance> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.tighter(other)),
        (one, other) => one.or(other),
    }
}

/// The beginning of a text; nothing of it where that would cut a character.
fn bounded(text: &str) -> &str {
    text.get(..text.len().min(BYTES_MAX)).unwrap_or_default()
}

/// A count. Some APIs write it with a fraction, or go below nothing.
fn whole(text: &str) -> Option<u64> {
    let number = number(text)?;
    Some(number.max(0.0) as u64)
}

/// How long it is until what is written as seconds from now, or as an instant.
fn until(text: &str, now: Timestamp) -> Option<Duration> {
    let number = number(text)?.max(0.0);
    let instant_ms = match number {
        seconds if seconds < INSTANT_S_MIN => return Some(Duration::from_secs_f64(seconds)),
        seconds if seconds < INSTANT_MS_MIN => seconds * 1e3,
        ms => ms,
    };
    Some(Timestamp::from_millis(instant_ms as i64).since(now))
}

fn number(text: &str) -> Option<f64> {
    let text = text.trim().trim_matches('"');
    let plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    if !text.bytes().all(plain) {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// The parts of a list, or of one of its items. What stands in quotes is not looked into.
fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return !quoted && character == separator,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn left(remaining: u64, reset_ms: u64) -> Option<Allowance> {
        Some(Allowance { remaining, reset: Duration::from_millis(reset_ms) })
    }

    #[test]
    fn every_version_of_the_list_is_read() {
        for (text, expected) in [
            (r#""default";r=50;t=30"#, left(50, 30_000)),
            (r#""burst";r=50;t=30, "daily";r=0;t=300"#, left(0, 300_000)),
            (r#""daily";r=0;t=300,"burst";r=0;t=1"#, left(0, 300_000)),
            (r#""a";r=10;t=10, "b";r=1;t=10, "c";r=100;t=1"#, left(1, 10_000)),
            (r#""odd, \"name\"; r=0";r=5;t=7"#, left(5, 7_000)),
            (r#""partitioned";r=5;t=7;pk=:c3Vubnk=:"#, left(5, 7_000)),
            ("default ; r=3 ; t=4", left(3, 4_000)),
            ("limit=100, remaining=50, reset=30", left(50, 30_000)),
            ("remaining=0,reset=30", left(0, 30_000)),
            (r#""no reset";r=50"#, None),
            (r#""no rest";t=50"#, None),
            ("", None),
            ("nonsense", None),
            ("r=x;t=1", None),
            (";;;,,,\"", None),
        ] {
            assert_eq!(rate_limit(text, NOW), expected, "{text}");
        }
    }

    #[test]
    fn a_reset_apart_is_in_seconds_or_an_instant_in_seconds_or_milliseconds() {
        for (remaining, reset, expected) in [
            ("10", "30", left(10, 30_000)),
            ("0", "0.5", left(0, 500)),
            ("0", "1800000060", left(0, 60_000)),
            ("0", "1800000060.5", left(0, 60_500)),
            ("0", "1800000060000", left(0, 60_000)),
            ("7", "1700000000", left(7, 0)),
            ("-3", "30", left(0, 30_000)),
            ("12.7", "30", left(12, 30_000)),
            ("5, 0", "10, 20", left(0, 20_000)),
            ("", "30", None),
            ("10", "", None),
            ("10", "2030-01-01T00:00:00Z", None),
            ("ten", "30", None),
            ("10", "inf", None),
            ("10", "1e400", None),
        ] {
            assert_eq!(remaining_and_reset(remaining, reset, NOW), expected, "{remaining} {reset}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_without_a_fault(text in "\\PC*", other in "[0-9.,;=rt\"\\\\ -]{0,40}") {
            let _ = rate_limit(&text, NOW);
            let _ = rate_limit(&other, NOW);
            let _ = remaining_and_reset(&other, &text, NOW);
            let _ = remaining_and_reset(&other, &other, NOW);
        }
    }
}
