//! Whether an answer may be kept (RFC 9111, section 3).

use http::{HeaderMap, StatusCode, header};

use super::{
    directives::Directives,
    freshness::{is_explicit, is_heuristically_cacheable},
    policy::CachePolicy,
};

/// What matters of the request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// It carried a credential.
    pub(super) has_credential: bool,
    /// It asked that nothing be kept.
    pub(super) no_store: bool,
    /// It asked for a part.
    pub(super) has_range: bool,
}

/// Whether the answer to a GET may be kept and given to others.
pub(super) fn may_store(
    asked: Asked,
    status: StatusCode,
    headers: &HeaderMap,
    said: &Directives,
    policy: &CachePolicy,
) -> bool {
    if asked.no_store || status.is_informational() || (asked.has_range && status != StatusCode::OK) {
        return false;
    }
    if matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED) {
        return false;
    }
    let understood = is_understood(status);
    if said.must_understand && !understood {
        return false;
    }
    // `must-understand` lifts the `no-store` that is beside it for caches that do not know it (section 5.2.2.3).
    if said.no_store && !said.must_understand {
        return false;
    }
    if said.private.is_whole() || varies_by_everything(headers) {
        return false;
    }
    let for_all = said.public || said.s_maxage.is_some();
    if asked.has_credential && !may_share_authorised(said) {
        return false;
    }
    // A cookie is one caller's own: it takes a word that is meant for shared caches.
    if headers.contains_key(header::SET_COOKIE) && !for_all {
        return false;
    }
    let stated = said.public || is_explicit(headers, said);
    stated
        || is_heuristically_cacheable(status) && (policy.keeps_what_is_silent() || is_useful_later(headers))
}

/// Whether the answer to a request with a credential may be given to others (section 3.5).
pub(super) fn may_share_authorised(said: &Directives) -> bool {
    said.public || said.s_maxage.is_some() || said.must_revalidate
}

/// Whether there is anything by which it could become fresh or be validated.
fn is_useful_later(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED)
}

fn varies_by_everything(headers: &HeaderMap) -> bool {
    super::directives::members_of(headers, &header::VARY).any(|member| member == b"*")
}

/// Whether the meaning of the status is known here: those of RFC 9110, except what needs more than that to be used.
fn is_understood(status: StatusCode) -> bool {
    status.canonical_reason().is_some()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn may(asked: Asked, status: u16, fields: &[(&'static str, &'static str)]) -> bool {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers: HeaderMap = fields.iter().map(field).collect();
        let status = StatusCode::from_u16(status).expect("a status");
        may_store(asked, status, &headers, &Directives::of(&headers), &CachePolicy::default())
    }

    const FRESH: (&str, &str) = ("cache-control", "max-age=60");

    #[test]
    fn an_answer_is_kept_where_it_says_so_or_its_status_does() {
        for (status, fields, expected) in [
            (200, &[FRESH][..], true),
            (200, &[], false),
            (200, &[("etag", "\"a\"")], true),
            (302, &[("etag", "\"a\"")], false),
            (302, &[FRESH], true),
            (599, &[FRESH], true),
            (599, &[("cache-control", "max-age=60, must-understand")], false),
            (200, &[("cache-control", "max-age=60, no-store")], false),
            (200, &[("cache-control", "max-age=60, no-store, must-understand")], true),
            (200, &[("cache-control", "max-age=60, private")], false),
            (200, &[("cache-control", "max-age=60, private=\"x\"")], true),
            (206, &[FRESH], false),
            (304, &[FRESH], false),
            (200, &[FRESH, ("vary", "accept, *")], false),
            (200, &[FRESH, ("vary", "accept")], true),
        ] {
            assert_eq!(may(Asked::default(), status, fields), expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn what_is_one_callers_own_takes_a_word_for_shared_caches() {
        let cookie = ("set-cookie", "session=1");
        for (words, for_credential, for_cookie) in [
            ("max-age=60", false, false),
            ("max-age=60, public", true, true),
            ("s-maxage=60", true, true),
            ("max-age=60, must-revalidate", true, false),
        ] {
            let said = ("cache-control", words);
            let asked = Asked { has_credential: true, ..Asked::default() };
            assert_eq!(may(asked, 200, &[said]), for_credential, "{words}");
            assert_eq!(may(Asked::default(), 200, &[said, cookie]), for_cookie, "{words}");
        }
    }

    #[test]
    fn nothing_is_kept_of_a_request_that_forbids_it_or_asked_for_a_part() {
        assert!(!may(Asked { no_store: true, ..Asked::default() }, 200, &[FRESH]));
        let part = Asked { has_range: true, ..Asked::default() };
        assert!(!may(part, 416, &[FRESH]));
        assert!(may(part, 200, &[FRESH]));
    }
}
