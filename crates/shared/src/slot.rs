//! Under which name a key's count is kept.
//!
//! In a Cluster one call of a script may touch keys of one slot only. Were every key in a slot of its own, no two
//! requests could share a call; were all in one, one node would do all the work. So keys are spread over
//! [`GROUPS`] slots, evenly spaced on the ring: whoever has a third of the ring has a third of the groups.

use std::sync::LazyLock;

use steadfast_layers::LimitedKey;

/// How many slots of a Cluster are used. More nodes than that cannot share the work; with more groups, fewer requests
/// would share a call.
pub(crate) const GROUPS: usize = 32;
/// How many slots a Cluster has.
const SLOTS: usize = 16_384;

/// How many of them a group has to itself.
const PART: usize = SLOTS / GROUPS;

/// One of the slots that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Group(u8);

impl Group {
    /// Every group.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..GROUPS).map(|group| Self(u8::try_from(group).expect("less than 256 groups")))
    }

    /// Which one a subject belongs to. All limits per principal lie together, so that a request is answered by one call.
    pub(crate) fn of(subject: u64) -> Self {
        Self((subject % GROUPS as u64) as u8)
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

/// The name of a key's count of a limit.
pub(crate) fn name(limit: LimitTag, key: LimitedKey) -> Vec<u8> {
    Group::of(key.subject).named(&[&limit.0.to_be_bytes()[..], &key.digest().to_be_bytes()].concat())
}

/// What the names of all counts of a limit for one subject begin with.
pub(crate) fn beginning(limit: LimitTag, subject: u64) -> Vec<u8> {
    Group::of(subject).named(&[&limit.0.to_be_bytes()[..], &subject.to_be_bytes()].concat())
}

/// The key whose count has this name.
pub(crate) fn key_of(name: &[u8]) -> Option<LimitedKey> {
    let (rest, subject) = (name.last_chunk()?, name.get(..name.len() - 8)?.last_chunk()?);
    Some(LimitedKey { subject: u64::from_be_bytes(*subject), rest: u64::from_be_bytes(*rest) })
}

/// A limit's name in four bytes, by which its counts are found among those of a subject. The key itself tells limits
/// apart as well, so two with one tag still count for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LimitTag(u32);

impl LimitTag {
    /// The same on every node: FNV-1a.
    pub(crate) fn of(limit: &str) -> Self {
        Self(limit.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)))
    }
}

/// What stands between the braces, for each group: the first number whose slot lies in the middle of the group's part
/// of the ring.
static TAGS: LazyLock<[String; GROUPS]> = LazyLock::new(|| {
    let mut tags = [const { String::new() }; GROUPS];
    let mut found = 0;
    for number in 0_u32.. {
        let tag = number.to_string();
        let (group, within) = (slot(tag.as_bytes()) / PART, slot(tag.as_bytes()) % PART);
        if (PART * 3 / 8..PART * 5 / 8).contains(&within) && tags[group].is_empty() {
            tags[group] = tag;
            found += 1;
        }
        if found == GROUPS {
            break;
        }
    }
    tags
});

/// The slot of a name that was made here.
pub(crate) fn slot_of(name: &[u8]) -> u16 {
    let tag = name.split(|byte| *byte == b'{' || *byte == b'}').nth(1).unwrap_or_default();
    u16::try_from(slot(tag)).expect("there are 16,384 slots")
}

/// The slot of a tag, as the Cluster specification says.
fn slot(tag: &[u8]) -> usize {
    usize::from(crc16::State::<crc16::XMODEM>::calculate(tag)) % SLOTS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_third_of_a_cluster_has_a_third_of_the_groups() {
        let slots: Vec<_> = Group::all().map(|group| slot(TAGS[group.index()].as_bytes())).collect();
        let thirds = [0..5_461, 5_461..10_923, 10_923..SLOTS];
        let counts = thirds.map(|third| slots.iter().filter(|slot| third.contains(slot)).count());
        assert!(counts.iter().all(|count| (10..=11).contains(count)), "{counts:?}");
        assert_eq!(slots.iter().collect::<BTreeSet<_>>().len(), GROUPS);
    }

    #[test]
    fn all_limits_of_one_subject_lie_in_one_slot_under_names_that_begin_alike() {
        let (one, other) = (LimitTag::of("per-customer"), LimitTag::of("per-day"));
        assert_ne!(one, other);
        let name_of = |tag, rest| name(tag, LimitedKey { subject: 7, rest });
        let head = |name: &[u8]| name.split(|byte| *byte == b'}').next().map(<[u8]>::to_vec);
        assert_eq!(head(&name_of(one, 1)), head(&name_of(other, 2)));
        assert!(
            name_of(one, 1).starts_with(&beginning(one, 7))
                && !name_of(one, 1).starts_with(&beginning(other, 7))
        );
        assert_eq!(key_of(&name_of(one, 9)), Some(LimitedKey { subject: 7, rest: 9 }));
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        // From the specification: CRC16 of "123456789" is 0x31C3.
        assert_eq!(slot(b"123456789"), 0x31c3);
    }
}
