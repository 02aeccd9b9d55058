//! What a caller and the log read about the cache: `Cache-Status` (RFC 9211), and the outcome in one word.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that says what the cache did.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What the cache did for a request. An extension of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheOutcome {
    /// It gave a fresh answer.
    Hit,
    /// It gave an answer whose time had passed.
    Stale,
    /// The upstream said that the kept answer still holds.
    Revalidated,
    /// It gave the answer that another request brought.
    Collapsed,
    /// The upstream answered.
    Miss,
    /// The request was none for the cache.
    Bypass,
}

impl CacheOutcome {
    /// The outcome as the log names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Collapsed => "collapsed",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

/// Why a request was forwarded (RFC 9211, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    Request,
    Stale,
}

impl Why {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

/// What is said of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It was answered without asking.
    Hit { ttl: i64 },
    /// It was forwarded.
    Forwarded { why: Why, status: Option<u16>, stored: bool },
    /// Another one like it was forwarded.
    Collapsed { why: Why, ttl: i64 },
    /// It was forwarded, and a stale answer given because that failed.
    Failed { status: Option<u16>, ttl: i64 },
    /// It was answered by nobody: it asked not to be forwarded.
    NotCached,
}

impl Said {
    /// Adds it to an answer's header.
    pub(super) fn mark(self, headers: &mut HeaderMap) {
        let mut text = String::with_capacity(56);
        // Writing to a string does not fail.
        let _ = match self {
            Self::Hit { ttl } => write!(text, "steadfast; hit; ttl={ttl}"),
            Self::Forwarded { why, status, stored } => {
                let _ = write!(text, "steadfast; fwd={}", why.as_str());
                if let Some(status) = status {
                    let _ = write!(text, "; fwd-status={status}");
                }
                text.write_str(if stored { "; stored" } else { "" })
            }
            Self::Collapsed { why, ttl } => {
                write!(text, "steadfast; fwd={}; collapsed; ttl={ttl}", why.as_str())
            }
            Self::Failed { status, ttl } => {
                let _ = write!(text, "steadfast; fwd=stale");
                if let Some(status) = status {
                    let _ = write!(text, "; fwd-status={status}");
                }
                write!(text, "; ttl={ttl}; detail=stale-if-error")
            }
            Self::NotCached => text.write_str("steadfast; detail=only-if-cached"),
        };
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(CACHE_STATUS, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_as_rfc_9211_writes_it_behind_what_others_said() {
        for (said, expected) in [
            (Said::Hit { ttl: 30 }, "steadfast; hit; ttl=30"),
            (
                Said::Forwarded { why: Why::UriMiss, status: None, stored: true },
                "steadfast; fwd=uri-miss; stored",
            ),
            (
                Said::Forwarded { why: Why::Stale, status: Some(304), stored: true },
                "steadfast; fwd=stale; fwd-status=304; stored",
            ),
            (
                Said::Failed { status: Some(503), ttl: -12 },
                "steadfast; fwd=stale; fwd-status=503; ttl=-12; detail=stale-if-error",
            ),
            (Said::Collapsed { why: Why::UriMiss, ttl: 9 }, "steadfast; fwd=uri-miss; collapsed; ttl=9"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_STATUS, HeaderValue::from_static("other; hit"));
            said.mark(&mut headers);
            let lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
            assert_eq!(lines, ["other; hit", expected]);
        }
    }
}
