//! One request for a target whose answers are kept: it is given one, waits for one that is on its way, or is forwarded
//! and its answer kept.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use steadfast_core::Code;
use steadfast_ledger::BootInstant;
use tokio::{
    sync::watch,
    time::{Duration, Instant, timeout, timeout_at},
};
use tower_service::Service;

use crate::{
    AttemptFailed, Deadline, HeldBody, Problem, Rung,
    request_id::request_id_of,
    trace::{self, Facts, Part},
};

use super::{
    Shared, background,
    collapse::{Flight, Lead, Place, Progress},
    conditional::validate,
    directives::{Directives, Wishes},
    entry::{Arrival, Entry, describes},
    epochs::Epoch,
    freshness::Exchange,
    give::{Asker, give, noted},
    key::{Key, KeyRef},
    recording::{CacheBody, Record},
    status::{CacheOutcome, Said, Why},
    store::Variants,
    storing::{Asked, may_store},
    vary::Selection,
};

/// Tells the upstream that a cache stands before it which reads `Surrogate-Control`.
const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");

/// How long before its deadline a caller is given a stale answer, where there is one for that.
const BEFORE_DEADLINE: Duration = Duration::from_millis(10);

/// How long others wait for a body whose head has come: its caller may be slow to read it.
const BODY_WAIT_MAX: Duration = Duration::from_secs(1);

/// What matters of a request's header.
#[derive(Clone, Debug, Default)]
pub(super) struct Asks {
    pub(super) wishes: Wishes,
    has_credential: bool,
    pub(super) is_conditional: bool,
    pub(super) has_range: bool,
}

impl Asks {
    pub(super) fn of(shared: &Shared, headers: &HeaderMap) -> Self {
        Self {
            wishes: Wishes::of(headers),
            has_credential: shared.policy.has_credential(headers),
            is_conditional: headers.contains_key(header::IF_NONE_MATCH)
                || headers.contains_key(header::IF_MODIFIED_SINCE),
            has_range: headers.contains_key(header::RANGE),
        }
    }
}

/// What is to be done with a request.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The answer is fresh.
    Fresh(Arc<Entry>),
    /// It is stale, and the caller takes it like that.
    Stale(Arc<Entry>),
    /// It is stale, and given while it is brought up to date.
    Refresh(Arc<Entry>),
    /// The upstream is to be asked; about this answer, where there is one.
    Ask(Why, Option<Arc<Entry>>),
}

/// What is to be done with a request that asks like this, where these answers are kept.
pub(super) fn judge(
    variants: Option<&Variants>,
    headers: &HeaderMap,
    asks: &Asks,
    now: BootInstant,
) -> Verdict {
    let Some(variants) = variants.filter(|variants| !variants.entries.is_empty()) else {
        return Verdict::Ask(Why::UriMiss, None);
    };
    let Some(entry) = variants.for_request(headers) else { return Verdict::Ask(Why::VaryMiss, None) };
    if asks.has_credential && !entry.terms.for_authorised {
        return Verdict::Ask(Why::Bypass, None);
    }
    let wishes = &asks.wishes;
    let (age, ttl) = (entry.age(now), entry.ttl(now));
    let young_enough = wishes.max_age.is_none_or(|max| age < max);
    let fresh_enough = wishes.min_fresh.is_none_or(|min| u64::try_from(ttl).is_ok_and(|left| left >= min));
    if wishes.no_cache || !young_enough || !fresh_enough {
        return Verdict::Ask(Why::Request, Some(Arc::clone(entry)));
    }
    if entry.is_fresh(now) {
        return Verdict::Fresh(Arc::clone(entry));
    }
    let late = ttl.min(0).unsigned_abs();
    if !entry.terms.no_cache {
        if late < entry.terms.stale_while_revalidate {
            return Verdict::Refresh(Arc::clone(entry));
        }
        if entry.terms.may_be_stale && wishes.max_stale.is_some_and(|max| late <= max) {
            return Verdict::Stale(Arc::clone(entry));
        }
    }
    Verdict::Ask(Why::Stale, Some(Arc::clone(entry)))
}

type Given<R> = Response<HeldBody<CacheBody<R>>>;

/// Serves a request that cannot be answered at once.
pub(super) async fn serve<S, B, R>(
    shared: Arc<Shared>,
    mut inner: S,
    request: Request<B>,
    key: Key,
    asks: Asks,
) -> Result<Given<R>, S::Error>
where
    S: Service<Request<B>, Response = Response<HeldBody<R>>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<AttemptFailed> + Send + 'static,
    B: Send + 'static,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let method = request.method().clone();
    let deadline = request.extensions().get::<Deadline>().copied();
    let mut alone = false;
    let (why, entry, lead) = loop {
        let now = shared.clock.boot();
        let variants = {
            let key = KeyRef::of(&shared.policy, request.uri(), request.headers());
            key.and_then(|key| shared.store.get(&key))
        };
        let (why, entry) = match judge(variants.as_deref(), request.headers(), &asks, now) {
            Verdict::Fresh(entry) => {
                let hit = shared.hit(&entry, Asker::of(&request, &asks), now);
                return Ok(noted(hit, CacheOutcome::Hit));
            }
            Verdict::Stale(entry) => return Ok(shared.stale(&entry, Asker::of(&request, &asks), now)),
            Verdict::Refresh(entry) => {
                let answer = shared.stale(&entry, Asker::of(&request, &asks), now);
                if let Some(revalidation) = entry.revalidation() {
                    let (errand, request) =
                        Errand::new(&shared, key, request, asks, Why::Stale, Some(entry), None);
                    let request = for_nobody(request);
                    background::fetch(async move {
                        let _one_at_a_time = revalidation;
                        errand.conclude_for_nobody(inner.call(request).await)
                    });
                }
                return Ok(answer);
            }
            Verdict::Ask(why, entry) => (why, entry),
        };
        if asks.wishes.only_if_cached {
            return Ok(not_cached(&request));
        }
        let validates = entry.as_ref().is_some_and(|entry| entry.has_validator());
        let is_for_all = method == Method::GET
            && !(asks.has_range || asks.has_credential || asks.wishes.no_store || asks.wishes.no_cache)
            && (!asks.is_conditional || validates)
            && variants.is_none_or(|variants| variants.collapse(now));
        if alone || !is_for_all {
            break (why, entry, None);
        }
        match shared.store.join(&key) {
            Place::Leads(lead) => break (why, entry, Some(lead)),
            Place::Full => break (why, entry, None),
            Place::Waits(flight, progress) => {
                let mark = trace::begin(Part::Cache, || Facts::Why("collapsed"));
                let waited = wait(&shared, &key, &flight, progress, deadline).await;
                trace::end(mark, trace::Verdict::Passed, |_| {});
                match waited {
                    Waited::Kept(kept) if is_for(&kept, request.headers(), &shared) => {
                        let now = shared.clock.boot();
                        shared.tally.cache_collapsed.add();
                        let said = Said::Collapsed { why, ttl: kept.ttl(now) };
                        let given = give(&kept, Asker::of(&request, &asks), now, said);
                        return Ok(noted(given, CacheOutcome::Collapsed));
                    }
                    // It is to lead, if it is the first one again.
                    Waited::Left => {}
                    Waited::Kept(_) | Waited::Alone => alone = true,
                    Waited::TooLong => {
                        let now = shared.clock.boot();
                        match entry.filter(|entry| entry.serves_on_error(now)) {
                            Some(entry) => {
                                let asker = Asker::of(&request, &asks);
                                return Ok(shared.failed(&entry, asker, now, None));
                            }
                            None => alone = true,
                        }
                    }
                }
            }
        }
    };
    trace::note(Part::Cache, trace::Verdict::Passed, || Facts::Why(why.as_str()));
    let (errand, mut request) = Errand::new(&shared, key, request, asks, why, entry, lead);
    let rescue = errand.entry.clone().filter(|entry| entry.serves_on_error(shared.clock.boot()));
    let (Some(rescue), Some(deadline)) = (rescue, deadline) else {
        let result = inner.call(request).await;
        return errand.conclude(result);
    };
    // The caller will have its answer in time; what brings the next one may take longer.
    request.extensions_mut().insert(background::deadline());
    let mut attempt = Box::pin(inner.call(request));
    let until = deadline.0.checked_sub(BEFORE_DEADLINE).unwrap_or(deadline.0);
    if let Ok(result) = timeout_at(until, &mut attempt).await {
        return errand.conclude(result);
    }
    let response = shared.failed(&rescue, errand.asker(), shared.clock.boot(), None);
    if let Some(revalidation) = rescue.revalidation() {
        background::fetch(async move {
            let _one_at_a_time = revalidation;
            errand.conclude_for_nobody(attempt.await)
        });
    }
    Ok(response)
}

/// Whether an answer that another request brought is for this one too.
fn is_for(entry: &Entry, headers: &HeaderMap, shared: &Shared) -> bool {
    let authorised = !shared.policy.has_credential(headers) || entry.terms.for_authorised;
    authorised && entry.selection.fits(headers)
}

/// How the waiting for another request ended.
#[derive(Debug)]
enum Waited {
    Kept(Arc<Entry>),
    Alone,
    Left,
    TooLong,
}

async fn wait(
    shared: &Shared,
    key: &Key,
    flight: &Arc<Flight>,
    mut progress: watch::Receiver<Progress>,
    deadline: Option<Deadline>,
) -> Waited {
    let ended = async {
        let mut coming_since = None;
        loop {
            let now = progress.borrow_and_update().clone();
            match now {
                Progress::Kept(entry) => return Waited::Kept(entry),
                Progress::Alone => return Waited::Alone,
                Progress::Left => return Waited::Left,
                Progress::Asked => {
                    if progress.changed().await.is_err() {
                        return Waited::Left;
                    }
                }
                Progress::Coming => {
                    let since = *coming_since.get_or_insert_with(Instant::now);
                    match timeout_at(since + BODY_WAIT_MAX, progress.changed()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return Waited::Left,
                        Err(_) => {
                            // Whoever comes now asks for itself as well.
                            shared.store.land(key, flight);
                            return Waited::Alone;
                        }
                    }
                }
            }
        }
    };
    match deadline {
        None => ended.await,
        Some(deadline) => {
            let left = deadline.remaining().saturating_sub(BEFORE_DEADLINE);
            timeout(left, ended).await.unwrap_or(Waited::TooLong)
        }
    }
}

/// A request that goes on without its caller.
fn for_nobody<B>(mut request: Request<B>) -> Request<B> {
    request.extensions_mut().insert(background::deadline());
    request
}

fn not_cached<B, R>(request: &Request<B>) -> Given<R> {
    let problem = Problem::new(Code::NotCached)
        .detail("The request says only-if-cached, and no kept answer is for it.")
        .instance(request_id_of(request.extensions()).as_ref());
    let mut response = problem.into_response();
    Said::NotCached.mark(response.headers_mut());
    response.extensions_mut().insert(CacheOutcome::Bypass);
    response
}

impl Shared {
    /// A fresh answer.
    pub(super) fn hit<B>(&self, entry: &Entry, asker: Asker<'_>, now: BootInstant) -> Response<HeldBody<B>> {
        self.tally.cache_hits.add();
        give(entry, asker, now, Said::Hit { ttl: entry.ttl(now) })
    }

    /// A stale answer that may be given as it is.
    fn stale<B>(&self, entry: &Entry, asker: Asker<'_>, now: BootInstant) -> Response<HeldBody<B>> {
        self.tally.cache_stale.add();
        noted(give(entry, asker, now, Said::Hit { ttl: entry.ttl(now) }), CacheOutcome::Stale)
    }

    /// A stale answer in place of a failure.
    fn failed<B>(
        &self,
        entry: &Entry,
        asker: Asker<'_>,
        now: BootInstant,
        status: Option<u16>,
    ) -> Response<HeldBody<B>> {
        self.tally.cache_stale.add();
        let said = Said::Failed { status, ttl: entry.ttl(now) };
        let mut response = noted(give(entry, asker, now, said), CacheOutcome::Stale);
        Rung::Stale.mark(response.headers_mut());
        response
    }
}

/// A request on its way to the upstream, and what is to be done with its answer.
struct Errand {
    shared: Arc<Shared>,
    key: Key,
    epoch: Epoch,
    sent: BootInstant,
    method: Method,
    /// What the caller sent.
    headers: HeaderMap,
    asks: Asks,
    why: Why,
    /// What is kept already.
    entry: Option<Arc<Entry>>,
    /// The upstream is asked whether that still holds.
    validates: bool,
    lead: Option<Lead>,
}

impl Errand {
    /// The errand, and the request as the upstream gets it.
    fn new<B>(
        shared: &Arc<Shared>,
        key: Key,
        mut request: Request<B>,
        asks: Asks,
        why: Why,
        entry: Option<Arc<Entry>>,
        lead: Option<Lead>,
    ) -> (Self, Request<B>) {
        let headers = request.headers().clone();
        let validated = entry.as_ref().filter(|entry| entry.has_validator() && !asks.has_range);
        if let Some(entry) = validated {
            validate(request.headers_mut(), entry);
        }
        let capability = HeaderValue::from_static("steadfast=\"Surrogate/1.0\"");
        request.headers_mut().append(SURROGATE_CAPABILITY, capability);
        let errand = Self {
            shared: Arc::clone(shared),
            epoch: shared.store.epochs.of(&key),
            key,
            sent: shared.clock.boot(),
            method: request.method().clone(),
            headers,
            asks,
            why,
            validates: validated.is_some(),
            entry,
            lead,
        };
        (errand, request)
    }

    /// Who sent it.
    fn asker(&self) -> Asker<'_> {
        Asker { method: &self.method, headers: &self.headers, asks: &self.asks }
    }

    /// What the caller gets, after what came was kept.
    fn conclude<R, E>(self, result: Result<Response<HeldBody<R>>, E>) -> Result<Given<R>, E>
    where
        R: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let now = self.shared.clock.boot();
        let rescue = self.entry.clone().filter(|entry| entry.serves_on_error(now));
        match (result, rescue) {
            (Err(error), None) => {
                self.alone();
                Err(error)
            }
            (Err(_), Some(rescue)) => Ok(self.failed(&rescue, now, None)),
            (Ok(response), Some(rescue)) if is_failure(response.status()) => {
                let status = response.status().as_u16();
                Ok(self.failed(&rescue, now, Some(status)))
            }
            (Ok(response), _) => Ok(self.answered(response, now)),
        }
    }

    /// What is to be read to its end after what came was kept, where a stale answer was given already.
    fn conclude_for_nobody<R, E>(self, result: Result<Response<HeldBody<R>>, E>) -> Option<Given<R>>
    where
        R: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        match result {
            Ok(response) if !is_failure(response.status()) => {
                let now = self.shared.clock.boot();
                Some(self.answered(response, now))
            }
            // What is kept stays, as long as it may.
            Ok(_) | Err(_) => {
                self.alone();
                None
            }
        }
    }

    fn failed<R>(self, rescue: &Entry, now: BootInstant, status: Option<u16>) -> Given<R> {
        let response = self.shared.failed(rescue, self.asker(), now, status);
        self.alone();
        response
    }

    fn answered<R>(mut self, response: Response<HeldBody<R>>, now: BootInstant) -> Given<R>
    where
        R: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let received_at = self.shared.clock.wall().as_millis().div_euclid(1_000);
        let delay = now.since(self.sent).as_secs();
        let arrival = Arrival { at: now, exchange: Exchange { received_at, delay } };
        if response.status() == StatusCode::NOT_MODIFIED
            && self.validates
            && let Some(entry) = self.entry.take()
        {
            return self.validated(&entry, response.headers(), arrival);
        }
        if self.method == Method::HEAD {
            self.update_by_head(&response, arrival);
            return self.passes(response, now);
        }
        let shared = Arc::clone(&self.shared);
        let policy = &shared.policy;
        let said = Directives::of(response.headers());
        let asked = Asked {
            has_credential: self.asks.has_credential,
            no_store: self.asks.wishes.no_store,
            has_range: self.asks.has_range,
        };
        let hint = response.body().size_hint();
        let fits = hint.lower() <= policy.answer_bytes_max as u64;
        if !fits || !may_store(asked, response.status(), response.headers(), &said, policy) {
            self.forget(&response);
            return self.passes(response, now);
        }
        let (parts, body) = response.into_parts();
        let selection = Selection::of(&self.headers, &parts.headers, policy);
        let entry = Entry::new(parts.status, parts.headers.clone(), selection, arrival, policy);
        let mut response = Response::from_parts(parts, body);
        if !entry.is_useful() {
            return self.passes(response, now);
        }
        if !policy.show_tags {
            for name in &policy.tag_headers {
                response.headers_mut().remove(name);
            }
        }
        let is_shared = entry.is_fresh(now);
        if let Some(lead) = self.lead.as_ref().filter(|_| is_shared) {
            lead.is_coming();
        } else {
            self.leave(now);
        }
        // What is announced is made room for at once; `fits` said that it is not too much.
        let capacity = hint.exact().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let record = Record {
            store: Arc::clone(&self.shared.store),
            key: self.key,
            epoch: self.epoch,
            entry,
            lead: self.lead,
            bytes_max: policy.answer_bytes_max,
            length: hint.exact(),
            tally: Arc::clone(&self.shared.tally),
            clock: self.shared.clock.clone(),
            body: Vec::with_capacity(capacity),
        };
        self.shared.tally.cache_misses.add();
        let status = Some(response.status().as_u16()).filter(|_| self.validates);
        Said::Forwarded { why: self.why, status, stored: true }.mark(response.headers_mut());
        response.extensions_mut().insert(CacheOutcome::Miss);
        response.map(|body| CacheBody::recorded(body, record))
    }

    /// The kept answer still holds.
    fn validated<R>(mut self, entry: &Arc<Entry>, news: &HeaderMap, arrival: Arrival) -> Given<R> {
        let policy = &self.shared.policy;
        let fresh = Arc::new(entry.freshened(news, &self.headers, arrival, policy));
        let said = Directives::of(&fresh.headers);
        let asked = Asked { has_credential: self.asks.has_credential, ..Asked::default() };
        let stored = may_store(asked, fresh.status, &fresh.headers, &said, policy)
            && self.shared.store.epochs.is(&self.key, self.epoch);
        self.shared.store.replace(&self.key, entry, stored.then(|| Arc::clone(&fresh)));
        match self.lead.take() {
            Some(lead) if stored && fresh.is_fresh(arrival.at) => lead.kept(Arc::clone(&fresh)),
            lead => {
                self.lead = lead;
                self.leave(arrival.at);
            }
        }
        self.shared.tally.cache_revalidated.add();
        let said = Said::Forwarded { why: self.why, status: Some(304), stored };
        noted(give(&fresh, self.asker(), arrival.at, said), CacheOutcome::Revalidated)
    }

    /// What the answer to a HEAD says about the kept answer to a GET (RFC 9111, section 4.3.5).
    fn update_by_head<R>(&self, response: &Response<HeldBody<R>>, arrival: Arrival) {
        let Some(entry) = &self.entry else { return };
        if response.status() != StatusCode::OK || entry.status != StatusCode::OK {
            return;
        }
        let news = response.headers();
        let fresh = describes(news, entry)
            .then(|| Arc::new(entry.freshened(news, &self.headers, arrival, &self.shared.policy)));
        let fresh = fresh.filter(|_| self.shared.store.epochs.is(&self.key, self.epoch));
        self.shared.store.replace(&self.key, entry, fresh);
    }

    /// An answer that may not be kept took the place of the one that is.
    fn forget<R>(&self, response: &Response<HeldBody<R>>) {
        let status = response.status();
        let is_another = !status.is_server_error()
            && status != StatusCode::PARTIAL_CONTENT
            && status != StatusCode::NOT_MODIFIED
            && !self.asks.has_range
            && !self.asks.wishes.no_store;
        if let Some(entry) = self.entry.as_ref().filter(|_| is_another) {
            self.shared.store.replace(&self.key, entry, None);
        }
    }

    /// The answer passes, and is not kept.
    fn passes<R>(mut self, mut response: Response<HeldBody<R>>, now: BootInstant) -> Given<R> {
        self.leave(now);
        self.shared.tally.cache_misses.add();
        let status = Some(response.status().as_u16()).filter(|_| self.validates);
        Said::Forwarded { why: self.why, status, stored: false }.mark(response.headers_mut());
        response.extensions_mut().insert(CacheOutcome::Miss);
        if !self.shared.policy.show_tags {
            for name in &self.shared.policy.tag_headers {
                response.headers_mut().remove(name);
            }
        }
        response.map(CacheBody::passed)
    }

    /// Those who wait have waited for nothing. It is remembered, so that the next ones need not.
    fn leave(&mut self, now: BootInstant) {
        if self.lead.take().is_some_and(Lead::alone) {
            self.shared.store.keep_apart(&self.key, now);
        }
    }

    /// There is no answer for those who wait; the next one may well have one.
    fn alone(mut self) {
        if let Some(lead) = self.lead.take() {
            lead.alone();
        }
    }
}

/// Whether a stale answer is better than one with this status (RFC 5861, section 4).
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
