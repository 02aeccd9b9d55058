//! Digests of an operation's name: the fixed-size index that stores look it up by, the bucket it lives in, and
//! the key that is forwarded upstream.
//!
//! Every component is length-prefixed before it is hashed, so no two names collide by concatenation, and each
//! digest has a domain of its own, so none can be computed from another.

use std::fmt;

use crate::{
    Key, Namespace, OperationId,
    domain::{Domain, truncated},
};

static OPERATION: Domain = Domain::new("steadfast operation digest v1");
static BUCKET: Domain = Domain::new("steadfast bucket v1");
static FORWARDED_KEY: Domain = Domain::new("steadfast forwarded key v1");
static FORWARDED_WINDOW_KEY: Domain = Domain::new("steadfast forwarded window key v1");

/// The 16-byte digest of namespace and key: what a store indexes. The full name is compared on a hit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationDigest([u8; 16]);

impl OperationDigest {
    /// The digest of the operation that `key` names in `namespace`.
    #[must_use]
    pub fn of(namespace: &Namespace, key: &Key) -> Self {
        Self(truncated(&hash_name(&OPERATION, namespace, key)))
    }

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

impl fmt::Display for OperationDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for OperationDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OperationDigest({self})")
    }
}

/// The part of the ledger that a namespace lives in: below [`Bucket::COUNT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    /// How many buckets there are.
    pub const COUNT: u16 = 1024;

    /// The bucket of everything in `namespace`.
    #[must_use]
    pub fn of(namespace: &Namespace) -> Self {
        let mut hasher = BUCKET.hasher();
        hasher.update(namespace.as_str().as_bytes());
        let bytes: [u8; 16] = truncated(&hasher);
        Self(u16::from_le_bytes([bytes[0], bytes[1]]) % Self::COUNT)
    }

    /// The bucket with this number, or `None` where it is not below [`Bucket::COUNT`].
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        (number < Self::COUNT).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// The key that an upstream is given in place of the caller's own, where the gateway speaks for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedKey(String);

impl ForwardedKey {
    /// A function of namespace and key alone: every attempt of an operation, on every node and after every
    /// crash, carries the same one.
    #[must_use]
    pub fn of(namespace: &Namespace, key: &Key) -> Self {
        Self::from_hash(&hash_name(&FORWARDED_KEY, namespace, key))
    }

    /// The forwarded key of a window's operation. A window's key comes back after the window, for another
    /// operation, so here the operation itself is what must be named.
    #[must_use]
    pub fn of_window(operation: OperationId) -> Self {
        let mut hasher = FORWARDED_WINDOW_KEY.hasher();
        hasher.update(&operation.to_bytes());
        Self::from_hash(&hasher)
    }

    fn from_hash(hasher: &blake3::Hasher) -> Self {
        let bytes: [u8; 16] = truncated(hasher);
        let digits = crate::operation_id::base32(u128::from_be_bytes(bytes));
        Self("sf_".chars().chain(digits.map(char::from)).collect())
    }

    /// The key as it goes into the header: 29 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn hash_name(domain: &Domain, namespace: &Namespace, key: &Key) -> blake3::Hasher {
    let mut hasher = domain.hasher();
    // The key needs no length: it is the last component.
    hasher.update(&(namespace.as_str().len() as u64).to_le_bytes());
    hasher.update(namespace.as_str().as_bytes());
    hasher.update(key.as_str().as_bytes());
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).expect("a namespace")
    }

    fn key(text: &str) -> Key {
        Key::new(text).expect("a key")
    }

    #[test]
    fn names_do_not_collide_by_concatenation() {
        assert_ne!(
            OperationDigest::of(&namespace("ab"), &key("c")),
            OperationDigest::of(&namespace("a"), &key("bc"))
        );
    }

    #[test]
    fn the_forwarded_key_is_stable_and_tells_nothing_of_the_digest() {
        let (namespace, key) = (namespace("route /pay"), key("order-1"));
        let forwarded = ForwardedKey::of(&namespace, &key);
        assert_eq!(forwarded, ForwardedKey::of(&namespace, &key));
        // Pinned: an upgrade that changed it would make upstreams execute again.
        assert_eq!(forwarded.as_str(), "sf_2sd7k735haamxhedykahv6mvqc");
        assert!(!forwarded.as_str().contains(&OperationDigest::of(&namespace, &key).to_string()));
    }

    #[test]
    fn buckets_stay_below_their_count() {
        for number in 0..5_000 {
            assert!(Bucket::of(&namespace(&format!("n{number}"))).number() < Bucket::COUNT);
        }
        assert_eq!(Bucket::from_number(1024), None);
    }
}
