//! Which key goes with which request. Keys look like the random UUIDs that real clients send, because what a key looks
//! like decides where a store's index is written; and they are computed, because replays need the same ones again.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// Which `Idempotency-Key` goes with each request.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Keys {
    /// None.
    None,
    /// A new one each time, different for every `seed`.
    Unique {
        /// Sets these keys apart from other loads'.
        seed: u64,
    },
    /// The first `size` of `Unique { seed }`, over and over.
    Pool {
        /// The seed of the load that executed them.
        seed: u64,
        /// How many.
        size: u64,
    },
}

impl Keys {
    /// Writes the header line for the request with this number, if it has one.
    pub(crate) fn write_header(self, request: u64, line: &mut String) {
        let (seed, index) = match self {
            Self::None => return,
            Self::Unique { seed } => (seed, request),
            Self::Pool { seed, size } => (seed, request % size),
        };
        let (high, low) =
            (scramble(seed ^ scramble(index)), scramble(seed.wrapping_add(1) ^ scramble(!index)));
        // Writing to a String cannot fail.
        let _ = write!(
            line,
            "Idempotency-Key: {:08x}-{:04x}-{:04x}-{:04x}-{:012x}\r\n",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        );
    }
}

/// One step of `SplitMix64`, a bijection whose results look random.
fn scramble(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::Keys;

    fn header(keys: Keys, request: u64) -> String {
        let mut line = String::new();
        keys.write_header(request, &mut line);
        line
    }

    #[test]
    fn a_pool_repeats_the_keys_that_were_executed() {
        let (unique, pool) = (Keys::Unique { seed: 7 }, Keys::Pool { seed: 7, size: 100 });
        assert_eq!(header(unique, 42), header(pool, 342));
        assert_ne!(header(unique, 42), header(unique, 43));
        assert_ne!(header(unique, 42), header(Keys::Unique { seed: 8 }, 42));
        assert_eq!(header(unique, 42).len(), "Idempotency-Key: ".len() + 36 + 2);
    }
}
