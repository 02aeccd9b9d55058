//! Under which name a key's count is kept.
//!
//! In a Cluster one call of a script may touch keys of one slot only. Were every key in a slot of its own, no two
//! requests could share a call; were all in one, one node would do all the work. So keys are spread over
//! [`GROUPS`] slots, evenly spaced on the ring: whoever has a third of the ring has a third of the groups.

use std::sync::LazyLock;

use steadfast_core::limit::KeyDigest;

/// How many slots of a Cluster are used. More nodes than that cannot share the work; with more groups, fewer requests
/// would share a call.
pub(crate) const GROUPS: usize = 32;
/// How many slots a Cluster has.
const SLOTS: usize = 16_384;

/// One of the slots that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Group(u8);

impl Group {
    /// Every group.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..GROUPS).map(|group| Self(u8::try_from(group).expect("less than 256 groups")))
    }

    /// Which one a key belongs to.
    pub(crate) fn of(key: &KeyDigest) -> Self {
        Self(key.0[0] % 32)
    }

    /// Where it stands among them.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// A name in this group.
    pub(crate) fn named(self, name: &[u8]) -> Vec<u8> {
        let tag = &TAGS[self.index()];
        [b"sf{", tag.as_bytes(), b"}", name].concat()
    }
}

/// The name of a key's count.
pub(crate) fn name(key: &KeyDigest) -> Vec<u8> {
    Group::of(key).named(&key.0)
}

/// What stands between the braces, for each group: the first number whose slot lies in the group's part of the ring.
static TAGS: LazyLock<[String; GROUPS]> = LazyLock::new(|| {
    let mut tags = [const { String::new() }; GROUPS];
    let mut found = 0;
    for number in 0_u32.. {
        let tag = number.to_string();
        let group = slot(tag.as_bytes()) * GROUPS / SLOTS;
        if tags[group].is_empty() {
            tags[group] = tag;
            found += 1;
        }
        if found == GROUPS {
            break;
        }
    }
    tags
});

/// The slot of a tag, as the Cluster specification says.
fn slot(tag: &[u8]) -> usize {
    usize::from(crc16::State::<crc16::XMODEM>::calculate(tag)) % SLOTS
}
