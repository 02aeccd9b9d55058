//! Domains of digests: each kind of digest is made under a name of its own, so that none can be computed from
//! another (BLAKE3's key derivation mode). The name's own hash is computed once.

use std::sync::OnceLock;

use blake3::{
    Hasher,
    hazmat::{ContextKey, HasherExt as _, hash_derive_key_context},
};

/// A kind of digest.
pub(crate) struct Domain {
    name: &'static str,
    key: OnceLock<ContextKey>,
}

impl Domain {
    /// The domain with this name, which must be no other's.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, key: OnceLock::new() }
    }

    /// A hasher for one digest.
    pub(crate) fn hasher(&self) -> Hasher {
        Hasher::new_from_context_key(self.key.get_or_init(|| hash_derive_key_context(self.name)))
    }
}

/// The first 16 bytes of a BLAKE3 hash.
pub(crate) fn truncated(hasher: &Hasher) -> [u8; 16] {
    let hash = *hasher.finalize().as_bytes();
    std::array::from_fn(|at| hash[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_a_context_of_blake3() {
        let domain = Domain::new("a domain");
        for _ in 0..2 {
            let hash = *domain.hasher().update(b"text").finalize().as_bytes();
            assert_eq!(hash, blake3::derive_key("a domain", b"text"));
        }
    }
}
