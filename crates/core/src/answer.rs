//! The answer of an operation: what its caller saw, and what every replay repeats.

use bytes::Bytes;

use crate::{
    HeaderFields,
    domain::{Domain, truncated},
};

static ANSWER: Domain = Domain::new("steadfast answer digest v1");

/// A final answer: status, the header fields that replays keep, and the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status code, 200 to 599.
    pub status: u16,
    /// The header fields that replays keep, in the order they came.
    pub headers: HeaderFields,
    /// The whole body, or `None` where it was too large, streamed or cut off: the operation is completed, but
    /// its answer cannot be replayed.
    pub body: Option<Bytes>,
}

impl Answer {
    /// What tells two answers apart: status and body. Header fields differ between two tellings of the same
    /// answer (dates, trace ids), so they do not count.
    #[must_use]
    pub fn digest(&self) -> AnswerDigest {
        let mut hasher = ANSWER.hasher();
        hasher.update(&self.status.to_le_bytes());
        if let Some(body) = &self.body {
            hasher.update(&[1]);
            hasher.update(body);
        }
        AnswerDigest(truncated(&hasher))
    }
}

/// The 16-byte digest of an answer's status and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AnswerDigest([u8; 16]);

impl AnswerDigest {
    /// The digest with these bytes, as a store kept them.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_body_differs_from_one_that_is_unavailable() {
        let answer = |status, body| Answer { status, headers: HeaderFields::default(), body }.digest();
        assert_ne!(answer(200, Some(Bytes::new())), answer(200, None));
        assert_ne!(answer(200, None), answer(201, None));
        assert_eq!(answer(200, Some(Bytes::from("a"))), answer(200, Some(Bytes::from("a"))));
    }
}
