//! The digest of a lane: what operations of a route that must follow each other have in common.

use crate::domain::{Domain, truncated};

static LANE: Domain = Domain::new("steadfast lane v1");

/// The 16-byte digest of the lane of a route's operations with this ordering key. The same on every node and after
/// every restart.
#[must_use]
pub fn lane_digest(route: &str, ordering_key: &[u8]) -> [u8; 16] {
    let mut hasher = LANE.hasher();
    // The key needs no length: it is the last component.
    hasher.update(&(route.len() as u64).to_le_bytes());
    hasher.update(route.as_bytes());
    hasher.update(ordering_key);
    truncated(&hasher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_do_not_meet_by_concatenation_and_stay_what_they_are() {
        assert_ne!(lane_digest("ab", b"c"), lane_digest("a", b"bc"));
        assert_ne!(lane_digest("a", b"1"), lane_digest("a", b"2"));
        // Pinned: an upgrade that changed it would let what is accepted then overtake what was accepted before.
        let pinned = format!("{:032x}", u128::from_be_bytes(lane_digest("/payments", b"account-1")));
        assert_eq!(pinned, "aa5245bf624df39236e6e342ac3238f6");
    }
}
