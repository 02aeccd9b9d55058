//! What a limit is per: whose requests count together.
//!
//! Each of them is a digest, so that what callers send takes up no memory, and what of it can be written in several ways
//! is digested in one: a header's value without regard to case, a path without regard to case, encoding and doubled
//! slashes, an address of IPv6 by its network. Where what a limit is per is missing, or is said twice, the caller's
//! address stands for it: to leave something out, or to say it in a new way each time, gains nobody a count of its own.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use cel::{Context, Env, Value};
use http::{Extensions, HeaderMap, HeaderName, Request};
use steadfast_core::LimitDigest;

use super::{store::LimitedKey, text::Text};
use crate::{Expression, Principal, expression::expression_context, headers_value};

/// What expressions of limits may ask about.
pub const LIMIT_VARIABLES: [&str; 7] =
    ["method", "path", "query", "headers", "address", "route", "principal"];

/// The address that a request comes from, as far as it is believed. An extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// One thing that a limit is per.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Per {
    /// Who is calling.
    Principal,
    /// Whom who is calling belongs to; who is calling, where that is not said.
    Tenant,
    /// What they proved it with; who is calling, where it has no id.
    Credential,
    /// The address that they call from; of IPv6 its first 64 bits.
    Address,
    /// The route.
    Route,
    /// What a header says.
    Header(HeaderName),
    /// The path.
    Path,
    /// What an expression comes to.
    Expression(Expression),
}

/// What is known of a request when its limits are asked.
pub(crate) struct Facts<'a> {
    pub(crate) route: &'a Arc<str>,
    pub(crate) principal: Option<&'a Principal>,
    extensions: &'a Extensions,
    pub(crate) method: &'a http::Method,
    pub(crate) uri: &'a http::Uri,
    pub(crate) headers: &'a HeaderMap,
}

impl<'a> Facts<'a> {
    pub(crate) fn of<B>(request: &'a Request<B>, route: &'a Arc<str>) -> Self {
        let extensions = request.extensions();
        Self {
            route,
            // One without a name is nobody: all of them would share one count.
            principal: extensions.get::<Principal>().filter(|principal| !principal.name().is_empty()),
            extensions,
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
        }
    }

    /// Where it comes from, looked up by whoever needs it.
    fn address(&self) -> Option<IpAddr> {
        self.extensions.get().map(|ClientAddress(address)| *address)
    }

    /// What `asking` is evaluated in. What it does not ask about, and costs more than a word, is not there.
    pub(crate) fn context(&self, env: &Arc<Env>, asking: &Expression) -> Context<'static, 'static> {
        let mut context = expression_context(env);
        context.add_variable_from_value("method", self.method.as_str());
        context.add_variable_from_value("path", self.uri.path());
        context.add_variable_from_value("query", self.uri.query().unwrap_or_default());
        if asking.asks_about("headers") {
            context.add_variable_from_value("headers", headers_value(self.headers));
        }
        context.add_variable_from_value("route", &**self.route);
        if asking.asks_about("address") {
            let address = self.address().map_or_else(String::new, |address| address.to_string());
            context.add_variable_from_value("address", address);
        }
        if asking.asks_about("principal") {
            let mut principal = std::collections::HashMap::new();
            if let Some(known) = self.principal {
                principal.extend(known.attributes().map(|(name, value)| (name.to_owned(), value.to_owned())));
                principal.insert("name".to_owned(), known.name().to_owned());
            }
            context.add_variable_from_value("principal", Value::from(principal));
        }
        context
    }
}

/// One thing as it is digested, and as an operator asks for it.
pub(crate) enum Said<'a> {
    /// By the name; its digests are remembered with it.
    Principal(&'a Principal),
    Text(Kind, &'a [u8]),
    /// Without regard to case.
    Folded(&'a [u8]),
    Path(&'a str),
    Owned(Kind, String),
    Address(Option<IpAddr>),
}

/// Which kind of thing it is: a principal and an address of the same name are not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Principal = 1,
    Tenant = 2,
    Credential = 3,
    Address = 4,
    Route = 5,
    Header = 6,
    Path = 7,
    Expression = 8,
}

impl Per {
    pub(crate) fn said<'a>(&self, facts: &Facts<'a>, env: &Arc<Env>) -> Said<'a> {
        let principal = facts.principal.map(Said::Principal);
        match self {
            Self::Principal => principal,
            Self::Tenant => {
                let tenant = facts.principal.and_then(Principal::tenant);
                tenant.map(|tenant| Said::Text(Kind::Tenant, tenant.as_bytes())).or(principal)
            }
            Self::Credential => {
                let credential = facts.principal.and_then(Principal::credential);
                credential.map(|id| Said::Owned(Kind::Credential, id.to_string())).or(principal)
            }
            Self::Address => None,
            Self::Route => Some(Said::Text(Kind::Route, facts.route.as_bytes())),
            Self::Header(name) => {
                let mut values = facts.headers.get_all(name).iter();
                let value = values.next().filter(|_| values.next().is_none());
                let value = value.map(|value| value.as_bytes().trim_ascii());
                value.filter(|value| !value.is_empty()).map(Said::Folded)
            }
            Self::Path => Some(Said::Path(facts.uri.path())),
            Self::Expression(expression) => {
                let text = expression.value(&facts.context(env, expression)).and_then(text_of);
                text.map(|text| Said::Owned(Kind::Expression, text))
            }
        }
        .unwrap_or_else(|| Said::Address(facts.address()))
    }

    /// What an operator means by `text` where this is what a limit is per.
    pub(crate) fn named<'a>(&self, text: &'a str) -> Option<Said<'a>> {
        let kind = match self {
            Self::Principal => Kind::Principal,
            Self::Tenant => Kind::Tenant,
            Self::Credential => Kind::Credential,
            Self::Address => return None,
            Self::Route => Kind::Route,
            Self::Header(_) => return Some(Said::Folded(text.trim().as_bytes())),
            Self::Path => return Some(Said::Path(text)),
            Self::Expression(_) => Kind::Expression,
        };
        Some(Said::Text(kind, text.as_bytes()))
    }

    /// Whether what it comes to may be shown: anything may be in a header, or be made of one.
    pub(crate) fn is_shown(&self) -> bool {
        !matches!(self, Self::Header(_) | Self::Expression(_))
    }
}

/// As a config writes it.
impl fmt::Display for Per {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal => formatter.write_str("principal"),
            Self::Tenant => formatter.write_str("tenant"),
            Self::Credential => formatter.write_str("credential"),
            Self::Address => formatter.write_str("ip"),
            Self::Route => formatter.write_str("route"),
            Self::Header(name) => write!(formatter, "header:{name}"),
            Self::Path => formatter.write_str("path"),
            Self::Expression(expression) => formatter.write_str(expression.text()),
        }
    }
}

/// A value as text, where it is one, or a number or a yes or no.
fn text_of(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.to_string()).filter(|text| !text.is_empty()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

impl Said<'_> {
    /// What it is for people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Principal(principal) => principal.name().to_owned(),
            Self::Text(_, bytes) | Self::Folded(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Path(path) => (*path).to_owned(),
            Self::Owned(_, text) => text.clone(),
            Self::Address(None) => "unknown".to_owned(),
            Self::Address(Some(IpAddr::V6(address))) if address.to_ipv4_mapped().is_none() => {
                let [a, b, c, d, ..] = address.segments();
                format!("{}/64", std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            Self::Address(Some(address)) => address.to_canonical().to_string(),
        }
    }

    /// Adds the bytes by which it is counted.
    fn write_to(&self, text: &mut Text) {
        let kind = match self {
            Self::Principal(_) => Kind::Principal,
            Self::Text(kind, _) | Self::Owned(kind, _) => *kind,
            Self::Folded(_) => Kind::Header,
            Self::Path(_) => Kind::Path,
            Self::Address(_) => Kind::Address,
        };
        text.put(&[kind as u8]);
        let before = text.len();
        match self {
            Self::Principal(principal) => text.put(principal.name().as_bytes()),
            Self::Text(_, bytes) => text.put(bytes),
            Self::Owned(_, owned) => text.put(owned.as_bytes()),
            Self::Folded(bytes) => bytes.iter().for_each(|byte| text.put(&[byte.to_ascii_lowercase()])),
            Self::Path(path) => plain_path(path.as_bytes(), |byte| text.put(&[byte])),
            Self::Address(address) => match address.map(|address| address.to_canonical()) {
                Some(IpAddr::V4(address)) => text.put(&address.octets()),
                // Whoever has one address of a network has all of them.
                Some(IpAddr::V6(address)) => text.put(&address.octets()[..8]),
                None => {}
            },
        }
        // At its end, where it is known: read from behind, no two lists of things are the same bytes.
        let bytes = (text.len() - before) as u64;
        text.put(&bytes.to_le_bytes());
    }

    /// Those bytes, of this alone.
    fn text(&self) -> Text {
        let mut text = Text::default();
        self.write_to(&mut text);
        text
    }
}

/// The bytes of a path as most servers read it: decoded, in lower case, without doubled slashes or one at the end.
fn plain_path(path: &[u8], mut put: impl FnMut(u8)) {
    let mut at = 0;
    let mut slashes = false;
    while at < path.len() {
        let hex = |place: usize| path.get(place).and_then(|digit| char::from(*digit).to_digit(16));
        let byte = match (path[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                at += 2;
                (high * 16 + low) as u8
            }
            (byte, ..) => byte,
        };
        at += 1;
        if byte == b'/' {
            slashes = true;
            continue;
        }
        if slashes {
            put(b'/');
            slashes = false;
        }
        put(byte.to_ascii_lowercase());
    }
}

/// Makes the keys of counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyMaker(Arc<Secrets>);

/// Keys that were drawn when the process began: nobody can choose what meets in one count.
#[derive(Debug, Default)]
struct Secrets {
    subject: RandomState,
    rest: RandomState,
    limit: RandomState,
}

/// What stands for a limit's name in the keys of its counts in this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitMark(u64);

/// The digests of the first thing that a limit is per, which are the same for all limits in this process.
#[derive(Clone, Copy, Debug)]
struct Subject {
    /// By which all that is counted of it is found.
    found_by: u64,
    /// What goes into the rest of its keys.
    rest: u64,
}

/// A subject's digests, remembered with it, and who made them.
#[derive(Debug, Default)]
pub(crate) struct Digested(OnceLock<(KeyMaker, Subject)>);

impl KeyMaker {
    /// What stands for the limit of this name.
    pub(crate) fn mark(&self, limit: &str) -> LimitMark {
        LimitMark(self.0.limit.hash_one(limit))
    }

    /// The key of a count in this process: of the limit of this mark, per all of this.
    pub(crate) fn local<'a>(&self, limit: LimitMark, mut said: impl Iterator<Item = Said<'a>>) -> LimitedKey {
        let Some(first) = said.next() else { return LimitedKey { subject: 0, rest: limit.0 } };
        let subject = match first {
            Said::Principal(principal) => self.remembered(principal),
            first => self.digested(&first),
        };
        let rest = match said.next() {
            None => subject.rest,
            Some(second) => {
                let mut text = Text::default();
                text.put(&subject.rest.to_le_bytes());
                second.write_to(&mut text);
                said.for_each(|more| more.write_to(&mut text));
                written_at_once(self.0.rest.build_hasher(), &text)
            }
        };
        // Of one subject no two limits have the same, and of two subjects the other half is not the same.
        LimitedKey { subject: subject.found_by, rest: rest ^ limit.0 }
    }

    fn digested(&self, said: &Said<'_>) -> Subject {
        let text = said.text();
        let [found_by, rest] =
            [&self.0.subject, &self.0.rest].map(|secret| written_at_once(secret.build_hasher(), &text));
        Subject { found_by, rest }
    }

    /// The digests of a principal, made once for all requests with the same credential.
    fn remembered(&self, principal: &Principal) -> Subject {
        let Digested(digested) = principal.digested();
        let made = || (self.clone(), self.digested(&Said::Principal(principal)));
        let (maker, subject) = digested.get_or_init(made);
        if Arc::ptr_eq(&maker.0, &self.0) { *subject } else { self.digested(&Said::Principal(principal)) }
    }

    /// The key of a count that nodes share.
    pub(crate) fn shared<'a>(limit: &str, mut said: impl Iterator<Item = Said<'a>>) -> LimitedKey {
        let mut text = Text::default();
        said.next().into_iter().for_each(|first| first.write_to(&mut text));
        let subject = written_at_once(LimitDigest::default(), &text);
        said.for_each(|more| more.write_to(&mut text));
        text.put(limit.as_bytes());
        text.put(&(limit.len() as u64).to_le_bytes());
        LimitedKey { subject, rest: written_at_once(LimitDigest::default(), &text) }
    }

    /// The subject alone, in both ways.
    pub(crate) fn subjects(&self, said: &Said<'_>) -> [u64; 2] {
        let text = said.text();
        let local = written_at_once(self.0.subject.build_hasher(), &text);
        [local, written_at_once(LimitDigest::default(), &text)]
    }
}

/// Small pieces cost a hasher several times as much.
fn written_at_once(mut hasher: impl Hasher, text: &Text) -> u64 {
    hasher.write(text.bytes());
    hasher.finish()
}

/// Where, from nothing to one in 65,536 parts, the first thing that a limit is per lies among all that there are: for
/// good, and on every node.
pub(crate) fn share_of(limit: &str, first: &Said<'_>) -> u16 {
    let mut hasher = LimitDigest::default();
    hasher.write(first.text().bytes());
    hasher.write(limit.as_bytes());
    hasher.finish() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> String {
        let mut plain = Vec::new();
        plain_path(text.as_bytes(), |byte| plain.push(byte));
        String::from_utf8(plain).expect("text")
    }

    #[test]
    fn a_path_has_one_form_however_it_is_written() {
        for written in
            ["/orders/a", "/Orders/A", "//orders///a/", "/%6frders/%41", "/orders%2Fa", "/orders/%61"]
        {
            assert_eq!(path(written), "/orders/a", "{written}");
        }
        assert_eq!(path("/"), "");
        assert_eq!(path("/100%"), "/100%");
        assert_eq!(path("/a%4"), "/a%4");
        assert_ne!(path("/orders/a"), path("/ordersa"));
    }

    fn key(maker: &KeyMaker, said: Vec<Said<'_>>) -> LimitedKey {
        maker.local(maker.mark("per-caller"), said.into_iter())
    }

    #[test]
    fn what_is_written_differently_and_means_the_same_counts_together() {
        let maker = KeyMaker::default();
        let address = |text: &str| Said::Address(Some(text.parse().expect("an address")));
        for (one, other) in [
            (Said::Folded(b"Acme"), Said::Folded(b"aCME")),
            (Said::Path("/A/b"), Said::Path("/a//%62/")),
            (address("2001:db8::1"), address("2001:db8::ffff:ffff:ffff:ffff")),
            (address("::ffff:192.0.2.1"), address("192.0.2.1")),
        ] {
            let shown = (one.shown(), other.shown());
            assert_eq!(key(&maker, vec![one]), key(&maker, vec![other]), "{shown:?}");
        }
        for (one, other) in [
            (Said::Text(Kind::Principal, b"acme"), Said::Text(Kind::Principal, b"Acme")),
            (Said::Text(Kind::Principal, b"acme"), Said::Text(Kind::Tenant, b"acme")),
            (address("2001:db8::1"), address("2001:db8:0:1::1")),
            (address("192.0.2.1"), address("192.0.2.2")),
            (address("0.0.0.0"), Said::Address(None)),
            (Said::Folded(b"a"), Said::Folded(b"a\0")),
        ] {
            let shown = (one.shown(), other.shown());
            assert_ne!(key(&maker, vec![one]), key(&maker, vec![other]), "{shown:?}");
        }
    }

    #[test]
    fn the_parts_of_a_key_do_not_run_into_each_other() {
        let maker = KeyMaker::default();
        let text = |text: &'static str| Said::Text(Kind::Route, text.as_bytes());
        let one = key(&maker, vec![text("ab"), text("c")]);
        assert_ne!(one, key(&maker, vec![text("a"), text("bc")]));
        assert_ne!(one, key(&maker, vec![text("c"), text("ab")]));
        let ab = key(&maker, vec![text("ab"), text("d")]);
        assert_eq!(one.subject, ab.subject);
        assert_eq!(one.subject, maker.subjects(&text("ab"))[0]);
        assert_ne!(one.rest, ab.rest);
        let shared = KeyMaker::shared("x", [text("ab"), text("c")].into_iter());
        assert_eq!(shared.subject, maker.subjects(&text("ab"))[1]);
    }

    #[test]
    fn keys_in_memory_are_another_process_s_secret_and_shared_ones_are_not() {
        let said = || [Said::Text(Kind::Principal, b"acme")].into_iter();
        let local = |maker: &KeyMaker, limit| maker.local(maker.mark(limit), said());
        assert_ne!(local(&KeyMaker::default(), "a"), local(&KeyMaker::default(), "a"));
        let maker = KeyMaker::default();
        assert_eq!(local(&maker, "a"), local(&maker, "a"));
        assert_ne!(local(&maker, "a"), local(&maker, "b"));
        assert_eq!(KeyMaker::shared("a", said()), KeyMaker::shared("a", said()));
        assert_ne!(KeyMaker::shared("a", said()), KeyMaker::shared("b", said()));
        // Pinned: after an upgrade that changed it, nodes would count apart.
        assert_eq!(format!("{:032x}", KeyMaker::shared("a", said()).digest()), PINNED);
    }

    #[test]
    fn what_is_remembered_with_a_principal_is_what_its_name_comes_to_for_whoever_asks() {
        let acme = Principal::named("acme");
        let other = || Said::Text(Kind::Route, b"orders");
        for maker in [KeyMaker::default(), KeyMaker::default()] {
            for limit in ["a", "b", "a"] {
                let key = |said: Vec<Said<'_>>| maker.local(maker.mark(limit), said.into_iter());
                let by_name = || Said::Text(Kind::Principal, b"acme");
                assert_eq!(key(vec![Said::Principal(&acme)]), key(vec![by_name()]));
                assert_eq!(key(vec![Said::Principal(&acme), other()]), key(vec![by_name(), other()]));
                assert_ne!(key(vec![by_name()]), key(vec![by_name(), other()]));
                assert_eq!(key(vec![by_name()]).subject, maker.subjects(&Said::Principal(&acme))[0]);
            }
        }
    }

    const PINNED: &str = "9432551aeb5ab90dd4640e6fa4f30506";

    #[test]
    fn shares_are_even_and_stable() {
        let within = (0..10_000_u32).filter(|number| {
            let name = number.to_string();
            u32::from(share_of("a", &Said::Text(Kind::Principal, name.as_bytes()))) < 65_536 / 10
        });
        let within = within.count();
        assert!((900..1_100).contains(&within), "{within}");
    }
}
