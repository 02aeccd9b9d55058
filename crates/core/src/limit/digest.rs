//! Digests of what a limit is per that are the same on every node and after every restart: for counts that nodes share,
//! and for which part of the callers a limit is enforced on.

use std::hash::Hasher;

use crate::domain::{Domain, truncated};

static LIMIT: Domain = Domain::new("steadfast limit v1");

/// A hasher that no one can find collisions for, though everybody can compute it.
#[derive(Clone, Debug)]
pub struct LimitDigest(blake3::Hasher);

impl Default for LimitDigest {
    fn default() -> Self {
        Self(LIMIT.hasher())
    }
}

impl Hasher for LimitDigest {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let bytes: [u8; 16] = truncated(&self.0);
        u64::from_le_bytes(std::array::from_fn(|at| bytes[at]))
    }
}
