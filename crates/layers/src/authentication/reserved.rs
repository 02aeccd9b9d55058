//! The headers by which upstreams are told who is calling. Only the gateway says them: what a caller sends under such a
//! name is removed, in every spelling that a server behind might take for it.

use http::{HeaderMap, HeaderName};

use super::known::OWN_HEADER;

/// The header by which upstreams are told who is calling.
pub const PRINCIPAL: HeaderName = HeaderName::from_static("steadfast-principal");
pub(super) const SCOPES: HeaderName = HeaderName::from_static("steadfast-scopes");
const PLAN: HeaderName = HeaderName::from_static("steadfast-plan");
const TENANT: HeaderName = HeaderName::from_static("steadfast-tenant");

/// What the gateway's own names begin with.
const OWN: &str = "steadfast";

/// What the header of any other attribute begins with.
const ATTRIBUTE: &str = "steadfast-attribute-";

/// The header that tells of the attribute with this name; none where the name is none of a header.
pub(super) fn header_of(attribute: &str) -> Option<HeaderName> {
    match attribute {
        _ if attribute == OWN_HEADER[0] => Some(PLAN),
        _ if attribute == OWN_HEADER[1] => Some(TENANT),
        other => HeaderName::from_bytes(format!("{ATTRIBUTE}{other}").as_bytes()).ok(),
    }
}

/// The names that only the gateway may say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Beside those of the gateway itself: what forward-auth services tell of callers.
    also: Vec<HeaderName>,
}

impl Reserved {
    /// The gateway's own, and these.
    #[must_use]
    pub fn new(also: Vec<HeaderName>) -> Self {
        Self { also }
    }

    /// Removes from a caller's `headers` what only the gateway may say. What a caller lists in `Connection`, so that it goes
    /// no further, is the business of whoever passes requests on.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        // Nearly every request has none, and a look over its few fields is quicker than a search for each name.
        let may_be = |name: &HeaderName| name.as_str().starts_with(OWN) || !self.also.is_empty();
        if !headers.keys().any(may_be) {
            return;
        }
        let forged: Vec<HeaderName> =
            headers.keys().filter(|name| self.is_reserved(name.as_str())).cloned().collect();
        for name in forged {
            headers.remove(name);
        }
    }

    /// Whether a name, in small letters, is one that only the gateway may say, in any spelling: servers that hand headers
    /// on as variables (CGI, WSGI, Rack) cannot tell `-` from `_`, and some no other sign either.
    fn is_reserved(&self, name: &str) -> bool {
        let name = name.as_bytes();
        is_own(name) || self.also.iter().any(|also| alike(name, also.as_str().as_bytes()))
    }
}

/// Whether it is in this header that upstreams are told something of callers.
pub(crate) fn is_told_of_callers(name: &HeaderName) -> bool {
    is_own(name.as_str().as_bytes())
}

fn is_own(name: &[u8]) -> bool {
    name.len() > 9 && &name[..9] == OWN.as_bytes() && is_sign(name[9]) && {
        let rest = &name[10..];
        [&b"principal"[..], b"scopes", b"plan", b"tenant"].iter().any(|own| alike(rest, own))
            || rest.get(..10).is_some_and(|start| alike(start, b"attribute-"))
    }
}

/// Whether two names are the same to who cannot tell signs apart.
fn alike(name: &[u8], own: &[u8]) -> bool {
    name.len() == own.len()
        && name.iter().zip(own).all(|(one, other)| one == other || (is_sign(*one) && is_sign(*other)))
}

fn is_sign(byte: u8) -> bool {
    !byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn stripped(fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let also = ["x-user", "steadfast-team"].map(HeaderName::from_static);
        Reserved::new(also.to_vec()).strip(&mut headers);
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().expect("text"));
        let mut left: Vec<String> = headers.iter().map(line).collect();
        left.sort();
        left
    }

    #[test]
    fn what_only_the_gateway_may_say_is_taken_away_in_every_spelling() {
        let left = stripped(&[
            ("steadfast-principal", "root"),
            ("steadfast_principal", "root"),
            ("steadfast.principal", "root"),
            ("steadfast-tenant", "a"),
            ("steadfast-plan", "a"),
            ("steadfast-plan", "b"),
            ("steadfast-scopes", "a"),
            ("steadfast-attribute-region", "a"),
            ("steadfast_attribute_region", "a"),
            ("x-user", "root"),
            ("x_user", "root"),
            ("steadfast-team", "admin"),
            ("steadfast_team", "admin"),
            ("x-users", "kept"),
            ("steadfast-timeout", "5"),
            ("steadfast", "kept"),
            ("steadfast-principals", "kept"),
        ]);
        assert_eq!(
            left,
            ["steadfast-principals: kept", "steadfast-timeout: 5", "steadfast: kept", "x-users: kept"]
        );
    }

    #[test]
    fn every_attribute_has_a_header_that_is_reserved() {
        for name in ["plan", "tenant", "region", "x_y"] {
            let header = header_of(name).expect("a header");
            assert!(Reserved::default().is_reserved(header.as_str()), "{header}");
        }
        assert_eq!(header_of("not a name"), None);
    }
}
