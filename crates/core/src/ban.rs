//! Bans: who is refused, until when and why, and what becomes of a ban when another one comes upon it. Whoever keeps
//! bans goes by this, so that every store and every node comes to the same.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Timestamp;

/// A ban that follows this soon upon the end of another one of the same subject is a repeat, and lasts twice as long.
pub const REPEATED_WITHIN: Duration = Duration::from_secs(24 * 3_600);

/// The longest name of a principal that can be banned, in characters.
const PRINCIPAL_CHARS_MAX: usize = 1_024;

/// And in bytes: an index of a store has no room for more.
const PRINCIPAL_BYTES_MAX: usize = 2_048;

/// What stands before the name of a principal, so that no mistyped address is taken for one.
const PRINCIPAL: &str = "principal:";

/// The widest networks that can be banned: what is wider is a slip.
const IPV4_BITS_MIN: u8 = 8;
const IPV6_BITS_MIN: u8 = 16;

/// How much of an address of IPv6 is one subscriber's.
const IPV6_SUBSCRIBER_BITS: u8 = 64;

/// Who is banned.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BanSubject {
    /// All addresses of a network, or one; without bits beyond its prefix, and of IPv4 where it can be said in that.
    Network(IpNet),
    /// A verified principal, from wherever it calls.
    Principal(Box<str>),
}

/// A text names nobody who could be banned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBanSubject {
    /// It is neither an address, nor a network, nor a principal.
    #[error("it is neither an address, nor a network, nor `principal:` and a name")]
    Unclear,
    /// It would ban a large part of everybody.
    #[error(
        "the network is too wide: it would ban a large part of everybody (/8 is the widest, /16 of IPv6)"
    )]
    TooWide,
    /// The principal has no name, or none that could be written down.
    #[error(
        "a principal has a name of 1 to {PRINCIPAL_CHARS_MAX} characters and {PRINCIPAL_BYTES_MAX} bytes, without control characters, and without white space before or behind it"
    )]
    BadName,
}

impl BanSubject {
    /// Whoever calls from this address: of IPv6 its first 64 bits, for whoever has one of those has all of them.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        let network = match address.to_canonical() {
            IpAddr::V4(address) => Ipv4Net::from(address).into(),
            IpAddr::V6(address) => {
                let bits =
                    u128::from(address) >> (128 - IPV6_SUBSCRIBER_BITS) << (128 - IPV6_SUBSCRIBER_BITS);
                Ipv6Net::new_assert(Ipv6Addr::from(bits), IPV6_SUBSCRIBER_BITS).into()
            }
        };
        Self::Network(network)
    }

    /// The principal of this name. Whoever is banned has to be written down and read back as the same one.
    ///
    /// # Errors
    /// The name could not.
    pub fn principal(name: &str) -> Result<Self, InvalidBanSubject> {
        let fits = (1..=PRINCIPAL_CHARS_MAX).contains(&name.chars().count());
        if fits
            && name.len() <= PRINCIPAL_BYTES_MAX
            && name.trim() == name
            && !name.chars().any(char::is_control)
        {
            Ok(Self::Principal(name.into()))
        } else {
            Err(InvalidBanSubject::BadName)
        }
    }

    /// Reads a network, or one address.
    fn network(text: &str) -> Result<Self, InvalidBanSubject> {
        if let Ok(address) = text.parse() {
            return Ok(Self::of_address(address));
        }
        let network = plain(text.parse().map_err(|_| InvalidBanSubject::Unclear)?);
        let bits_min = if network.addr().is_ipv4() { IPV4_BITS_MIN } else { IPV6_BITS_MIN };
        if network.prefix_len() < bits_min {
            Err(InvalidBanSubject::TooWide)
        } else {
            Ok(Self::Network(network))
        }
    }
}

/// The same network in the one form that it is compared in.
fn plain(network: IpNet) -> IpNet {
    let network = network.trunc();
    let (IpAddr::V6(address), Some(bits)) = (network.addr(), network.prefix_len().checked_sub(96)) else {
        return network;
    };
    let mapped = address.to_ipv4_mapped().and_then(|address| Ipv4Net::new(address, bits).ok());
    mapped.map_or(network, IpNet::V4)
}

impl FromStr for BanSubject {
    type Err = InvalidBanSubject;

    fn from_str(text: &str) -> Result<Self, InvalidBanSubject> {
        // Of a name nothing is trimmed: who is called `acme ` is not `acme`.
        match text.trim_start().strip_prefix(PRINCIPAL) {
            Some(name) => Self::principal(name),
            None => Self::network(text.trim()),
        }
    }
}

/// As it is read: `203.0.113.7`, `203.0.113.0/24`, `2001:db8::1/128`, `principal:acme`.
impl fmt::Display for BanSubject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Of IPv6 the length is always said: an address without one stands for its subscriber.
            Self::Network(IpNet::V4(network)) if network.prefix_len() == network.max_prefix_len() => {
                write!(formatter, "{}", network.addr())
            }
            Self::Network(network) => write!(formatter, "{network}"),
            Self::Principal(name) => write!(formatter, "{PRINCIPAL}{name}"),
        }
    }
}

/// The longest URL of a challenge, in bytes.
const CHALLENGE_BYTES_MAX: usize = 1_024;

/// Whether a text is a URL that callers can be told as it is, in a document and in a header.
#[must_use]
pub fn is_challenge(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let has_host = rest.is_some_and(|rest| {
        rest.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'[')
    });
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"<>\"\\".contains(&byte);
    has_host && text.len() <= CHALLENGE_BYTES_MAX && text.bytes().all(is_plain)
}

/// Who or what made a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BanSource {
    /// A person.
    ByHand,
    /// The config.
    Config,
    /// Too many requests without a good credential.
    Unauthenticated,
    /// Too many requests beyond limits.
    LimitStorm,
}

impl BanSource {
    /// Every source there is.
    pub const ALL: [Self; 4] = [Self::ByHand, Self::Config, Self::Unauthenticated, Self::LimitStorm];

    /// Its name, in the ledger, in logs and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByHand => "by_hand",
            Self::Config => "config",
            Self::Unauthenticated => "unauthenticated",
            Self::LimitStorm => "limit_storm",
        }
    }

    /// The source of this name.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == text)
    }

    /// Whether nobody decided about it.
    #[must_use]
    pub const fn is_automatic(self) -> bool {
        match self {
            Self::Unauthenticated | Self::LimitStorm => true,
            Self::ByHand | Self::Config => false,
        }
    }
}

/// One ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who.
    pub subject: BanSubject,
    /// What made it.
    pub source: BanSource,
    /// Since when.
    pub began_at: Timestamp,
    /// Until when; for ever where nothing is said.
    pub until: Option<Timestamp>,
    /// When somebody lifted it.
    pub lifted_at: Option<Timestamp>,
    /// Why, for those who run the gateway. Callers are not told.
    pub reason: Box<str>,
    /// Who made it.
    pub by: Box<str>,
    /// Where whoever is banned can show that they are welcome.
    pub challenge: Option<Box<str>>,
    /// How many automatic ones came before it, each soon upon the one before.
    pub repeats: u32,
}

impl Ban {
    /// When it ended, or will; `None`: never.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        match (self.until, self.lifted_at) {
            (Some(until), Some(lifted)) => Some(until.min(lifted)),
            (until, lifted) => until.or(lifted),
        }
    }

    /// Whether it holds at `now`.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        // Whoever was let in stays in, also where another node's clock is behind.
        self.lifted_at.is_none() && self.until.is_none_or(|until| now < until)
    }

    /// Whether it ended so long ago that it means nothing any more, not even for another one.
    #[must_use]
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        self.ends_at().is_some_and(|end| end.after(REPEATED_WITHIN) < now)
    }
}

/// Somebody is to be banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanOrder {
    /// Who.
    pub subject: BanSubject,
    /// By what.
    pub source: BanSource,
    /// When.
    pub at: Timestamp,
    /// For how long.
    pub lasts: BanTime,
    /// Why, for those who run the gateway.
    pub reason: Box<str>,
    /// By whom.
    pub by: Box<str>,
    /// Where they can show that they are welcome.
    pub challenge: Option<Box<str>>,
    /// How many came before it at least, as far as whoever orders it knows: a store may not have been told of all of them.
    pub repeats: u32,
}

/// How long a ban is to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BanTime {
    /// Until somebody lifts it.
    ForEver,
    /// So long.
    For(Duration),
    /// So long at first, and twice as long with each repeat, up to a longest time.
    Growing {
        /// The first time.
        first: Duration,
        /// At most.
        longest: Duration,
    },
}

impl BanOrder {
    /// What holds of its subject after the order, where `before` is what was known of it; `None`: that goes on. What was
    /// decided by a person replaces whatever was there; what nobody decided changes no ban that holds.
    #[must_use]
    pub fn upon(&self, before: Option<&Ban>) -> Option<Ban> {
        let before = before.filter(|before| !before.is_forgotten(self.at));
        if self.source.is_automatic() && before.is_some_and(|before| before.holds(self.at)) {
            return None;
        }
        // Whoever was let off by a person begins anew.
        let repeated = before.filter(|before| before.source.is_automatic() && before.lifted_at.is_none());
        let repeats = repeated.map_or(0, |before| before.repeats.saturating_add(1)).max(self.repeats);
        let (until, repeats) = match self.lasts {
            BanTime::ForEver => (None, 0),
            BanTime::For(time) => (Some(self.at.after(time)), 0),
            BanTime::Growing { first, longest } => {
                let time = first.saturating_mul(1 << repeats.min(20)).min(longest);
                (Some(self.at.after(time)), repeats)
            }
        };
        Some(Ban {
            subject: self.subject.clone(),
            source: self.source,
            began_at: self.at,
            until,
            lifted_at: None,
            reason: self.reason.clone(),
            by: self.by.clone(),
            challenge: self.challenge.clone(),
            repeats,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn subjects_are_written_in_one_form() {
        for (text, written) in [
            ("203.0.113.7", "203.0.113.7"),
            (" 203.0.113.7/32 ", "203.0.113.7"),
            ("203.0.113.99/24", "203.0.113.0/24"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("2001:DB8::1", "2001:db8::/64"),
            ("2001:DB8::1/128", "2001:db8::1/128"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("principal:acme", "principal:acme"),
            ("principal:auth0|Zürich 1", "principal:auth0|Zürich 1"),
        ] {
            let subject: BanSubject = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(subject.to_string(), written);
            assert_eq!(written.parse(), Ok(subject));
        }
    }

    #[test]
    fn what_is_mistyped_bans_nobody() {
        for (text, expected) in [
            ("", InvalidBanSubject::Unclear),
            ("acme", InvalidBanSubject::Unclear),
            ("203.0.113.256", InvalidBanSubject::Unclear),
            ("203.0.113.7/33", InvalidBanSubject::Unclear),
            ("203.0.113", InvalidBanSubject::Unclear),
            ("0.0.0.0/0", InvalidBanSubject::TooWide),
            ("10.0.0.0/7", InvalidBanSubject::TooWide),
            ("::/0", InvalidBanSubject::TooWide),
            ("::ffff:0:0/96", InvalidBanSubject::TooWide),
            ("principal:", InvalidBanSubject::BadName),
            ("principal:a\nb", InvalidBanSubject::BadName),
            ("principal:acme ", InvalidBanSubject::BadName),
            ("principal: acme", InvalidBanSubject::BadName),
            (&format!("principal:{}", "a".repeat(PRINCIPAL_CHARS_MAX + 1)), InvalidBanSubject::BadName),
        ] {
            assert_eq!(text.parse::<BanSubject>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn an_address_of_ipv6_stands_for_its_subscriber() {
        for (address, subject) in [
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(BanSubject::of_address(address).to_string(), subject);
        }
    }

    #[test]
    fn a_challenge_is_a_url_that_breaks_out_of_no_header() {
        for text in ["https://example.org/human?a=b#c", "http://[::1]:8080/"] {
            assert!(is_challenge(text), "{text}");
        }
        let long = format!("https://a/{}", "b".repeat(CHALLENGE_BYTES_MAX));
        for text in [
            "",
            "https://",
            "https:///a",
            "javascript:alert(1)",
            "https://a>; rel=x",
            "https://a b",
            "https://a/ü",
            &long,
        ] {
            assert!(!is_challenge(text), "{text}");
        }
    }

    fn order(source: BanSource, at: Timestamp, lasts: BanTime) -> BanOrder {
        let subject = BanSubject::Principal("acme".into());
        BanOrder { subject, source, at, lasts, reason: "".into(), by: "".into(), challenge: None, repeats: 0 }
    }

    const GROWING: BanTime = BanTime::Growing { first: MINUTE, longest: Duration::from_secs(600) };

    #[test]
    fn each_repeat_within_a_day_doubles_the_time_up_to_the_longest() {
        let mut at = NOW;
        let mut before = None;
        let mut minutes = Vec::new();
        for _ in 0..6 {
            let ban = order(BanSource::Unauthenticated, at, GROWING).upon(before.as_ref()).expect("a ban");
            let until = ban.until.expect("an end");
            minutes.push(until.since(at).as_secs() / 60);
            at = until.after(REPEATED_WITHIN);
            before = Some(ban);
        }
        assert_eq!(minutes, [1, 2, 4, 8, 10, 10]);
        let later = at.after(MINUTE);
        let anew = order(BanSource::LimitStorm, later, GROWING).upon(before.as_ref()).expect("a ban");
        assert_eq!((anew.repeats, anew.until), (0, Some(later.after(MINUTE))), "a day later all is forgiven");
    }

    #[test]
    fn what_nobody_decided_changes_no_ban_that_holds() {
        let by_hand = order(BanSource::ByHand, NOW, BanTime::ForEver).upon(None).expect("a ban");
        let automatic = order(BanSource::LimitStorm, NOW.after(MINUTE), GROWING);
        assert_eq!(automatic.upon(Some(&by_hand)), None);
        let first = order(BanSource::LimitStorm, NOW, GROWING).upon(None).expect("a ban");
        assert_eq!(order(BanSource::Unauthenticated, NOW, GROWING).upon(Some(&first)), None);
        let replaced = order(BanSource::ByHand, NOW, BanTime::For(MINUTE)).upon(Some(&by_hand));
        assert_eq!(replaced.expect("a ban").until, Some(NOW.after(MINUTE)), "a person's word counts");
    }

    #[test]
    fn whoever_was_let_off_by_a_person_begins_anew() {
        let first = order(BanSource::LimitStorm, NOW, GROWING).upon(None).expect("a ban");
        let lifted = Ban { lifted_at: Some(NOW.after(MINUTE / 2)), ..first };
        assert!(!lifted.holds(NOW) && !lifted.holds(NOW.after(MINUTE / 2)));
        let next = order(BanSource::LimitStorm, NOW.after(MINUTE), GROWING).upon(Some(&lifted));
        assert_eq!(next.expect("a ban").repeats, 0);
    }
}
