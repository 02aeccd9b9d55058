//! The fingerprint: a digest of what was asked, so that a key used again for something else is told apart from
//! a retry.

use std::fmt;

use crate::domain::{Domain, truncated};

static FINGERPRINT: Domain = Domain::new("steadfast fingerprint v1");

/// A 16-byte digest of method, path, query, content type and body.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint with these bytes, as a store kept them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, as a store keeps them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({:032x})", u128::from_be_bytes(self.0))
    }
}

/// Builds a [`Fingerprint`] while the body arrives.
#[derive(Clone, Debug)]
pub struct FingerprintBuilder(blake3::Hasher);

impl FingerprintBuilder {
    /// Begins with the request's head. An absent query or content type differs from an empty one.
    #[must_use]
    pub fn new(method: &str, path: &str, query: Option<&str>, content_type: Option<&[u8]>) -> Self {
        Self::in_domain(&FINGERPRINT, method, path, query, content_type)
    }

    /// The same, for a body that is not taken in as it is: its fingerprint is that of no other's bytes.
    pub(crate) fn in_domain(
        domain: &Domain,
        method: &str,
        path: &str,
        query: Option<&str>,
        content_type: Option<&[u8]>,
    ) -> Self {
        let mut hasher = domain.hasher();
        for part in [Some(method.as_bytes()), Some(path.as_bytes()), query.map(str::as_bytes), content_type] {
            match part {
                Some(part) => {
                    hasher.update(&(part.len() as u64).to_le_bytes());
                    hasher.update(part);
                }
                // No part is this long.
                None => {
                    hasher.update(&u64::MAX.to_le_bytes());
                }
            }
        }
        Self(hasher)
    }

    /// Takes in the next bytes of the body. Where they are cut makes no difference.
    pub fn body(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The fingerprint of all that was taken in.
    #[must_use]
    pub fn finish(&self) -> Fingerprint {
        Fingerprint(truncated(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &str, query: Option<&str>, kind: Option<&[u8]>, body: &[&[u8]]) -> Fingerprint {
        let mut builder = FingerprintBuilder::new(method, path, query, kind);
        body.iter().for_each(|bytes| builder.body(bytes));
        builder.finish()
    }

    #[test]
    fn every_part_of_the_request_counts() {
        let base = of("POST", "/a", Some("q"), Some(b"t"), &[b"body"]);
        for other in [
            of("PUT", "/a", Some("q"), Some(b"t"), &[b"body"]),
            of("POST", "/b", Some("q"), Some(b"t"), &[b"body"]),
            of("POST", "/a", None, Some(b"t"), &[b"body"]),
            of("POST", "/a", Some(""), Some(b"t"), &[b"body"]),
            of("POST", "/a", Some("q"), None, &[b"body"]),
            of("POST", "/a", Some("q"), Some(b"t"), &[b"bodY"]),
            of("POST", "/aq", Some(""), Some(b"t"), &[b"body"]),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn where_the_body_is_cut_makes_no_difference() {
        let whole = of("POST", "/", None, None, &[b"one two"]);
        assert_eq!(whole, of("POST", "/", None, None, &[b"one", b"", b" two"]));
    }
}
