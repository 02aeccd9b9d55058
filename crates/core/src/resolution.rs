//! What is known of the addresses behind a name, and when to ask again. A name that is not found any more keeps the
//! addresses it had: they may still work, and nobody has better ones.

use std::{net::IpAddr, time::Duration};

/// How long an answer is believed at least and at most, whatever it says of itself.
const BELIEVED_MIN: Duration = Duration::from_secs(1);
const BELIEVED_MAX: Duration = Duration::from_secs(60);
/// How long it is from a look-up that found nothing to the next; doubled each time, up to the second.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How many addresses of one name are used; those beyond are left out.
const ADDRESSES_MAX: usize = 64;

/// What was answered about the addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// There are these.
    Addresses(Vec<IpAddr>),
    /// There are none.
    Nothing,
    /// Nobody answered, or nobody who knew.
    NoAnswer,
}

/// What one look-up of a name brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    /// The addresses of IPv4.
    pub v4: Answered,
    /// The addresses of IPv6.
    pub v6: Answered,
    /// For how long that is true.
    pub valid_for: Duration,
}

/// How the last look-up of a name ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There was none yet.
    Unasked,
    /// It was found.
    Found,
    /// Whoever was asked says that there is no such name, or that it has no addresses.
    Missing,
    /// Whoever was asked does not answer, or does not know.
    Unanswered,
}

/// What a look-up changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The addresses are others than before.
    pub addresses_changed: bool,
    /// It ended otherwise than the one before.
    pub standing_changed: bool,
}

/// What is known of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    addresses: Vec<IpAddr>,
    standing: Standing,
    failures: u32,
    valid_for: Duration,
}

impl Resolution {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { addresses: Vec::new(), standing: Standing::Unasked, failures: 0, valid_for: Duration::ZERO }
    }

    /// Its addresses, each once and always in the same order, however they were answered; those of before, where the
    /// last look-up found none.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// How the last look-up ended.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Takes in what a look-up brought. The addresses of a family that nobody answered for stay.
    pub fn learn(&mut self, look_up: LookUp) -> Learned {
        let LookUp { v4, v6, valid_for } = look_up;
        let standing = match (&v4, &v6) {
            (Answered::Addresses(_), _) | (_, Answered::Addresses(_)) => Standing::Found,
            (Answered::Nothing, Answered::Nothing) => Standing::Missing,
            (Answered::NoAnswer, _) | (_, Answered::NoAnswer) => Standing::Unanswered,
        };
        let standing_changed = standing != self.standing;
        self.standing = standing;
        if standing != Standing::Found {
            self.failures = self.failures.saturating_add(1);
            return Learned { addresses_changed: false, standing_changed };
        }
        self.failures = 0;
        self.valid_for = valid_for;
        let before = std::mem::take(&mut self.addresses);
        let of_family = |answered: Answered, is_of_family: fn(&IpAddr) -> bool| match answered {
            Answered::Addresses(addresses) => addresses,
            Answered::Nothing => Vec::new(),
            Answered::NoAnswer => before.iter().copied().filter(is_of_family).collect(),
        };
        self.addresses = of_family(v4, IpAddr::is_ipv4);
        self.addresses.extend(of_family(v6, IpAddr::is_ipv6));
        self.addresses.sort_unstable();
        self.addresses.dedup();
        self.addresses.truncate(ADDRESSES_MAX);
        Learned { addresses_changed: self.addresses != before, standing_changed }
    }

    /// How long to wait before asking again. `chance` is a number from 0 to 1: after a failure it spreads those who
    /// ask over half of the pause.
    #[must_use]
    pub fn pause(&self, chance: f64) -> Duration {
        match self.failures.checked_sub(1) {
            None => self.valid_for.clamp(BELIEVED_MIN, BELIEVED_MAX),
            Some(doublings) => {
                let pause = PAUSE_MIN.saturating_mul(1 << doublings.min(5)).min(PAUSE_MAX);
                pause.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
            }
        }
    }
}

impl Default for Resolution {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(texts: &[&str]) -> Answered {
        Answered::Addresses(texts.iter().map(|text| text.parse().expect("an address")).collect())
    }

    fn look_up(v4: Answered, v6: Answered) -> LookUp {
        LookUp { v4, v6, valid_for: Duration::from_secs(20) }
    }

    fn known(resolution: &Resolution) -> Vec<String> {
        resolution.addresses().iter().map(ToString::to_string).collect()
    }

    fn found() -> Resolution {
        let mut resolution = Resolution::new();
        resolution.learn(look_up(addresses(&["10.0.0.2", "10.0.0.1"]), addresses(&["fd00::1"])));
        resolution
    }

    #[test]
    fn order_and_repetition_of_an_answer_change_nothing() {
        let mut resolution = found();
        assert_eq!(known(&resolution), ["10.0.0.1", "10.0.0.2", "fd00::1"]);
        let again =
            look_up(addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.1"]), addresses(&["fd00::1", "fd00::1"]));
        let learned = resolution.learn(again);
        assert_eq!(learned, Learned { addresses_changed: false, standing_changed: false });
        assert_eq!(known(&resolution), ["10.0.0.1", "10.0.0.2", "fd00::1"]);
    }

    #[test]
    fn what_a_look_up_brings_decides_what_is_known() {
        let (nothing, silence) = (Answered::Nothing, Answered::NoAnswer);
        let all: &[&str] = &["10.0.0.1", "10.0.0.2", "fd00::1"];
        for (v4, v6, expected, standing) in [
            (addresses(&["10.0.0.3"]), nothing.clone(), &["10.0.0.3"][..], Standing::Found),
            (nothing.clone(), addresses(&["fd00::2"]), &["fd00::2"][..], Standing::Found),
            (addresses(&["10.0.0.3"]), silence.clone(), &["10.0.0.3", "fd00::1"][..], Standing::Found),
            (
                silence.clone(),
                addresses(&["fd00::2"]),
                &["10.0.0.1", "10.0.0.2", "fd00::2"][..],
                Standing::Found,
            ),
            (nothing.clone(), nothing.clone(), all, Standing::Missing),
            (nothing.clone(), silence.clone(), all, Standing::Unanswered),
            (silence.clone(), nothing, all, Standing::Unanswered),
            (silence.clone(), silence, all, Standing::Unanswered),
        ] {
            let mut resolution = found();
            let learned = resolution.learn(look_up(v4.clone(), v6.clone()));
            assert_eq!(known(&resolution), expected, "{v4:?} {v6:?}");
            assert_eq!(resolution.standing(), standing, "{v4:?} {v6:?}");
            assert_eq!(learned.addresses_changed, expected != all);
            assert_eq!(learned.standing_changed, standing != Standing::Found);
        }
    }

    #[test]
    fn a_name_never_found_has_no_addresses() {
        let mut resolution = Resolution::new();
        assert_eq!(resolution.standing(), Standing::Unasked);
        let learned = resolution.learn(look_up(Answered::Nothing, Answered::Nothing));
        assert_eq!(learned, Learned { addresses_changed: false, standing_changed: true });
        assert_eq!((known(&resolution).len(), resolution.standing()), (0, Standing::Missing));
    }

    #[test]
    fn an_answer_is_believed_for_its_time_within_bounds_and_a_failure_is_asked_again_later_each_time() {
        let mut resolution = Resolution::new();
        for (seconds, expected) in [(0, 1), (1, 1), (30, 30), (86_400, 60)] {
            let valid_for = Duration::from_secs(seconds);
            resolution.learn(LookUp { valid_for, ..look_up(addresses(&["10.0.0.1"]), Answered::Nothing) });
            assert_eq!(resolution.pause(1.0), Duration::from_secs(expected));
        }
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            resolution.learn(look_up(Answered::NoAnswer, Answered::NoAnswer));
            assert_eq!(resolution.pause(0.0), Duration::from_secs(expected));
            assert_eq!(resolution.pause(1.0), Duration::from_millis(expected * 500));
        }
        resolution.learn(look_up(addresses(&["10.0.0.1"]), Answered::Nothing));
        assert_eq!(resolution.pause(0.5), Duration::from_secs(20));
    }

    fn answered() -> impl Strategy<Value = Answered> {
        prop_oneof![
            proptest::collection::vec(any::<[u8; 4]>(), 1..100)
                .prop_map(|all| Answered::Addresses(all.into_iter().map(IpAddr::from).collect())),
            Just(Answered::Nothing),
            Just(Answered::NoAnswer),
        ]
    }

    proptest! {
        #[test]
        fn what_was_once_found_is_never_forgotten_for_nothing(
            look_ups in proptest::collection::vec((answered(), answered()), 1..50),
        ) {
            let mut resolution = Resolution::new();
            let mut ever = false;
            for (v4, v6) in look_ups {
                ever |= matches!(v4, Answered::Addresses(_)) || matches!(v6, Answered::Addresses(_));
                resolution.learn(look_up(v4, v6));
                prop_assert_eq!(resolution.addresses().is_empty(), !ever);
                prop_assert!(resolution.addresses().len() <= ADDRESSES_MAX);
                prop_assert!(resolution.addresses().is_sorted());
                prop_assert!(resolution.pause(1.0) >= Duration::from_millis(500));
                prop_assert!(resolution.pause(0.0) <= BELIEVED_MAX);
            }
        }
    }
}
