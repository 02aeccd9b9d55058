//! One kept answer: ready to be given, with what decides how long, and brought up to date by an answer that says that
//! nothing changed (RFC 9111, sections 3.1, 3.2 and 4.3.4).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use steadfast_ledger::BootInstant;

use crate::DEGRADED_HEADER;

use super::{
    directives::{Directives, members_of},
    freshness::{Exchange, Freshness},
    policy::CachePolicy,
    status::{CACHE_STATUS, Said},
    storing::may_share_authorised,
    vary::Selection,
};

/// What an answer without its body takes up beside its fields, in bytes, about.
const OVERHEAD_BYTES: usize = 400;
/// What a field takes up beside its text.
const FIELD_BYTES: usize = 64;

/// A kept answer. It does not change: what brings it up to date makes another one.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) status: StatusCode,
    /// Its fields, without `Age`, as they are given.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) selection: Selection,
    pub(super) tags: Box<[Box<str>]>,
    /// When its head came.
    pub(super) received: BootInstant,
    pub(super) freshness: Freshness,
    pub(super) terms: Terms,
    /// Somebody is bringing it up to date.
    revalidating: AtomicBool,
    /// As it was given last: that is another one once a second only.
    given: ArcSwapOption<Given>,
}

/// The header of an answer as it is given.
#[derive(Debug)]
struct Given {
    age: u64,
    said: Said,
    headers: HeaderMap,
}

/// On which terms a kept answer may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// It is validated before each use.
    pub(super) no_cache: bool,
    /// How many seconds after its time it may be given while another one is fetched.
    pub(super) stale_while_revalidate: u64,
    /// How many seconds after its time it may be given where the upstream fails.
    pub(super) stale_if_error: u64,
    /// It may be given after its time to who asks for that.
    pub(super) may_be_stale: bool,
    /// It may be given to requests with a credential.
    pub(super) for_authorised: bool,
}

impl Terms {
    pub(super) fn of(said: &Directives, policy: &CachePolicy) -> Self {
        // The strict words forbid what is stale whoever allows it; `s-maxage` forbids it where the answer itself does not
        // allow it beside (RFC 9111, section 5.2.2.10; RFC 5861).
        let strict = said.must_revalidate || said.proxy_revalidate || said.no_cache.is_whole();
        let may_be_stale = !strict && said.s_maxage.is_none();
        let seconds = |own: Option<u64>, route: std::time::Duration| match own {
            _ if strict => 0,
            Some(own) => own,
            None if may_be_stale => route.as_secs(),
            None => 0,
        };
        Self {
            no_cache: said.no_cache.is_whole(),
            stale_while_revalidate: seconds(said.stale_while_revalidate, policy.stale_while_revalidate),
            stale_if_error: seconds(said.stale_if_error, policy.stale_if_error),
            may_be_stale,
            for_authorised: may_share_authorised(said),
        }
    }
}

/// When an answer came, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) at: BootInstant,
    pub(super) exchange: Exchange,
}

impl Entry {
    /// The answer with this header, without its body yet. Fields that are for one connection are gone already.
    pub(super) fn new(
        status: StatusCode,
        mut headers: HeaderMap,
        selection: Selection,
        arrival: Arrival,
        policy: &CachePolicy,
    ) -> Self {
        let said = Directives::of(&headers);
        let freshness = Freshness::of(status, &headers, &said, arrival.exchange, policy);
        let tags = policy
            .tag_headers
            .iter()
            .flat_map(|name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok()))
            .flat_map(|list| list.split([' ', ',', '\t']))
            .filter(|tag| !tag.is_empty())
            .map(Into::into)
            .collect();
        for name in said.no_cache.fields().iter().chain(said.private.fields()) {
            headers.remove(name);
        }
        // These say how this one answer came, not what it is.
        for name in [header::AGE, CACHE_STATUS, DEGRADED_HEADER] {
            headers.remove(name);
        }
        if !policy.show_tags {
            for name in &policy.tag_headers {
                headers.remove(name);
            }
        }
        // Who gives it later must not give it a later date (RFC 9110, section 6.6.1).
        if !headers.contains_key(header::DATE)
            && let Some(date) = write_date(arrival.exchange.received_at)
        {
            headers.insert(header::DATE, date);
        }
        Self {
            status,
            headers: packed(&headers),
            body: Bytes::new(),
            selection,
            tags,
            received: arrival.at,
            freshness,
            terms: Terms::of(&said, policy),
            revalidating: AtomicBool::new(false),
            given: ArcSwapOption::empty(),
        }
    }

    /// The same answer after another one said that it has not changed, and what is new about it.
    pub(super) fn freshened(
        &self,
        news: &HeaderMap,
        request: &HeaderMap,
        arrival: Arrival,
        policy: &CachePolicy,
    ) -> Self {
        let mut headers = self.headers.clone();
        // The age that came with the first one is not that of this one.
        headers.remove(header::AGE);
        for name in news.keys().filter(|name| may_update(name)) {
            headers.remove(name);
            for value in news.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        if !news.contains_key(header::DATE) {
            headers.remove(header::DATE);
        }
        let selection = if news.contains_key(header::VARY) {
            Selection::of(request, &headers, policy)
        } else {
            self.selection.clone()
        };
        let tags = self.tags.clone();
        let mut entry = Self::new(self.status, headers, selection, arrival, policy);
        entry.body = self.body.clone();
        if entry.tags.is_empty() {
            entry.tags = tags;
        }
        entry
    }

    /// Its header as it is given: with its age, and what the cache did.
    pub(super) fn given_header(&self, now: BootInstant, said: Said) -> HeaderMap {
        let age = self.age(now);
        if let Some(given) = &*self.given.load()
            && given.age == age
            && given.said == said
        {
            return given.headers.clone();
        }
        let mut headers = self.headers.clone();
        headers.insert(header::AGE, HeaderValue::from(age));
        said.mark(&mut headers);
        // Its copies have room for what is added to every answer.
        headers.reserve(2);
        if matches!(said, Said::Hit { .. }) {
            self.given.store(Some(Arc::new(Given { age, said, headers: headers.clone() })));
        }
        headers
    }

    /// How old it is, in seconds (RFC 9111, section 4.2.3).
    pub(super) fn age(&self, now: BootInstant) -> u64 {
        self.freshness.initial_age.saturating_add(now.since(self.received).as_secs())
    }

    /// How many seconds it stays fresh; negative once it is stale.
    pub(super) fn ttl(&self, now: BootInstant) -> i64 {
        let (lifetime, age) = (self.freshness.lifetime, self.age(now));
        let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        seconds(lifetime).saturating_sub(seconds(age))
    }

    /// Whether others may take it without asking.
    pub(super) fn is_fresh(&self, now: BootInstant) -> bool {
        !self.terms.no_cache && self.freshness.lifetime > self.age(now)
    }

    /// Whether it may be given where the upstream fails.
    pub(super) fn serves_on_error(&self, now: BootInstant) -> bool {
        let allowed = self.terms.stale_if_error;
        allowed > 0 && self.age(now) < self.freshness.lifetime.saturating_add(allowed)
    }

    /// Whether there is anything to validate it by.
    pub(super) fn has_validator(&self) -> bool {
        self.headers.contains_key(header::ETAG) || self.headers.contains_key(header::LAST_MODIFIED)
    }

    /// Whether it can ever be of use.
    pub(super) fn is_useful(&self) -> bool {
        self.has_validator()
            || self.freshness.lifetime > self.freshness.initial_age
            || self.terms.stale_if_error > 0
            || self.terms.stale_while_revalidate > 0
    }

    /// How many bytes it takes up, about.
    pub(super) fn bytes(&self) -> usize {
        let fields = self.headers.iter();
        let fields: usize = fields.map(|(name, value)| FIELD_BYTES + name.as_str().len() + value.len()).sum();
        let tags: usize = self.tags.iter().map(|tag| 32 + tag.len()).sum();
        // Its fields are there a second time, as they were given last.
        OVERHEAD_BYTES + 2 * fields + tags + self.selection.bytes() + self.body.len()
    }

    /// The right to bring it up to date, which one at a time has.
    pub(super) fn revalidation(self: &Arc<Self>) -> Option<Revalidation> {
        let taken = self.revalidating.swap(true, Ordering::AcqRel);
        (!taken).then(|| Revalidation(Arc::clone(self)))
    }
}

/// Whoever holds it is the one who brings the answer up to date.
#[derive(Debug)]
pub(super) struct Revalidation(Arc<Entry>);

impl Drop for Revalidation {
    fn drop(&mut self) {
        self.0.revalidating.store(false, Ordering::Release);
    }
}

/// The same fields with their values in memory of their own, in one piece: those that came over a connection are parts of
/// what was read from it, and would keep all of that.
fn packed(headers: &HeaderMap) -> HeaderMap {
    let mut text = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    headers.values().for_each(|value| text.extend_from_slice(value.as_bytes()));
    let mut text = text.freeze();
    let mut packed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        // What was a value is one.
        if let Ok(mut own) = HeaderValue::from_maybe_shared(text.split_to(value.len())) {
            own.set_sensitive(value.is_sensitive());
            packed.append(name.clone(), own);
        }
    }
    packed
}

/// Whether an answer without a body may bring this field of the kept one up to date: not what describes the body, which
/// is still that of the kept one (RFC 9111, section 3.2).
fn may_update(name: &HeaderName) -> bool {
    const BODYS: [HeaderName; 5] = [
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::ETAG,
        HeaderName::from_static("content-md5"),
    ];
    !BODYS.contains(name) && *name != header::TRANSFER_ENCODING
}

/// Whether the answer to a HEAD is about the same body as the kept one (RFC 9111, section 4.3.5).
pub(super) fn describes(head: &HeaderMap, entry: &Entry) -> bool {
    [header::ETAG, header::LAST_MODIFIED].iter().all(|name| {
        let said = head.get(name);
        said.is_none() || said == entry.headers.get(name)
    }) && members_of(head, &header::CONTENT_LENGTH).all(|length| {
        std::str::from_utf8(length).ok().and_then(|text| text.parse().ok()) == Some(entry.body.len())
    })
}

fn write_date(at: i64) -> Option<HeaderValue> {
    let since = std::time::Duration::from_secs(u64::try_from(at).ok()?);
    let time = std::time::UNIX_EPOCH.checked_add(since)?;
    HeaderValue::try_from(httpdate::fmt_http_date(time)).ok()
}
