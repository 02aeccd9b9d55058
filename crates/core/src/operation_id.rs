//! The id that callers and people know an operation by: `op_` and 26 characters.
//!
//! It holds where the row is (bucket and sequence number) and half of the operation's digest, so a store finds
//! the row by its primary key, without an index more, and nobody finds one by counting.

use std::{fmt, str::FromStr};

use crate::{Bucket, OperationDigest};

/// Crockford's base 32, in lower case: no `i`, `l`, `o` or `u` to mistake.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What every id begins with.
const PREFIX: &[u8] = b"op_";

/// How many characters 128 bits take.
const BASE32_CHARS: usize = 26;

/// Names one life of an operation: a key that executes afresh after its retention gets a new one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId {
    bucket: Bucket,
    sequence: u64,
    tag: u64,
}

/// A text that is not an operation's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an operation id: `op_` and 26 characters of 0-9 and a-z are expected")]
pub struct InvalidOperationId;

impl OperationId {
    /// How many characters an id is written with.
    pub const CHARS: usize = PREFIX.len() + BASE32_CHARS;

    /// The largest sequence number: 48 bits.
    pub const SEQUENCE_MAX: u64 = (1 << 48) - 1;

    /// The id of the row `sequence` in `bucket`, whose operation has this digest. Sequence numbers above
    /// [`OperationId::SEQUENCE_MAX`] wrap; no store reaches them.
    #[must_use]
    pub fn new(bucket: Bucket, sequence: u64, digest: &OperationDigest) -> Self {
        let mut tag = [0; 8];
        tag.copy_from_slice(&digest.as_bytes()[..8]);
        Self { bucket, sequence: sequence & Self::SEQUENCE_MAX, tag: u64::from_be_bytes(tag) }
    }

    /// The bucket of its row.
    #[must_use]
    pub const fn bucket(self) -> Bucket {
        self.bucket
    }

    /// The sequence number of its row.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.sequence
    }

    /// Whether the operation with this digest is the one that is meant.
    #[must_use]
    pub fn names(self, digest: &OperationDigest) -> bool {
        digest.as_bytes()[..8] == self.tag.to_be_bytes()
    }

    /// The id as it is written, in ASCII.
    #[must_use]
    pub fn to_ascii(self) -> [u8; Self::CHARS] {
        let digits = base32(self.to_number());
        std::array::from_fn(|at| if at < PREFIX.len() { PREFIX[at] } else { digits[at - PREFIX.len()] })
    }

    /// The id as 16 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.to_number().to_be_bytes()
    }

    fn to_number(self) -> u128 {
        u128::from(self.bucket.number()) << 112 | u128::from(self.sequence) << 64 | u128::from(self.tag)
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(std::str::from_utf8(&self.to_ascii()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for OperationId {
    type Err = InvalidOperationId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("op_").filter(|digits| digits.len() == BASE32_CHARS);
        let mut number: u128 = 0;
        for digit in digits.ok_or(InvalidOperationId)?.bytes() {
            let value = ALPHABET.iter().position(|&letter| letter == digit).ok_or(InvalidOperationId)?;
            // 26 characters hold 130 bits: the first may only use its lower three.
            number = number
                .checked_mul(32)
                .and_then(|number| number.checked_add(value as u128))
                .ok_or(InvalidOperationId)?;
        }
        let bucket = Bucket::from_number((number >> 112) as u16).ok_or(InvalidOperationId)?;
        let sequence = (number >> 64) as u64 & Self::SEQUENCE_MAX;
        Ok(Self { bucket, sequence, tag: number as u64 })
    }
}

/// 128 bits as 26 characters, the most significant first.
pub(crate) fn base32(mut number: u128) -> [u8; BASE32_CHARS] {
    let mut digits = [0; BASE32_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(number & 31) as usize];
        number >>= 5;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, Namespace};

    #[test]
    fn an_id_survives_being_written_and_read() {
        let namespace = Namespace::of_route("/orders");
        let digest = OperationDigest::of(&namespace, &Key::new("k").expect("a key"));
        for sequence in [0, 1, 77, OperationId::SEQUENCE_MAX] {
            let id = OperationId::new(Bucket::of(&namespace), sequence, &digest);
            let read: OperationId = id.to_string().parse().expect("an id");
            assert_eq!((read, read.sequence(), read.names(&digest)), (id, sequence, true));
            assert_eq!(id.to_string().len(), 29);
        }
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in [
            "",
            "op_",
            "op_0",
            "26 letters",
            "op_zzzzzzzzzzzzzzzzzzzzzzzzzz",
            "op_0000000000000000000000000u",
        ] {
            assert_eq!(text.parse::<OperationId>(), Err(InvalidOperationId), "{text}");
        }
    }
}
