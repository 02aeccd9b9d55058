//! The id of a credential: what it is listed, limited and revoked by. It opens nothing.

use std::{fmt, str::FromStr};

/// How many characters an id is written with.
const CHARS: usize = 12;

/// Crockford's base 32, in lower case: no `i`, `l`, `o` or `u` to mistake.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Which credential: 60 random bits, written as 12 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId(u64);

/// A text that is not a credential's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a credential's id: 12 characters of 0-9 and a-z are expected")]
pub struct InvalidCredentialId;

impl CredentialId {
    /// The id with these bits; the highest four are dropped.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << (5 * CHARS)) - 1))
    }

    /// Its bits.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: [u8; CHARS] = std::array::from_fn(|at| {
            let shift = 5 * (CHARS - 1 - at);
            ALPHABET[(self.0 >> shift) as usize & 31]
        });
        formatter.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for CredentialId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for CredentialId {
    type Err = InvalidCredentialId;

    fn from_str(text: &str) -> Result<Self, InvalidCredentialId> {
        if text.len() != CHARS {
            return Err(InvalidCredentialId);
        }
        text.bytes()
            .try_fold(0_u64, |bits, digit| {
                let value = ALPHABET.iter().position(|letter| *letter == digit).ok_or(InvalidCredentialId)?;
                Ok(bits << 5 | value as u64)
            })
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_being_written_and_read_and_nothing_else_is_one() {
        for bits in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            let id = CredentialId::from_bits(bits);
            assert_eq!(id.to_string().parse(), Ok(id), "{id}");
            assert_eq!(id.to_string().len(), CHARS);
        }
        for text in ["", "00000000000", "0000000000000", "00000000000u", "ABCDEFGHJKMN"] {
            assert_eq!(text.parse::<CredentialId>(), Err(InvalidCredentialId), "{text}");
        }
    }
}
