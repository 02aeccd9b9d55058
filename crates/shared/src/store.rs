//! Limits that are counted in a store of many nodes, and what becomes of them while it is lost.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use redis::Script;
use steadfast_core::{LimitAlgorithm, LimitDecision, Quota};
use steadfast_layers::{LimitStore, Look, LookedUp, Take, Taken, TakenLater};
use tokio::sync::Notify;

use crate::{
    ask::{Answers, Ask, Question, Verb},
    call,
    connection::Connection,
    health::{Health, Standing},
    hot::Hot,
    keeper,
    lane::{self, Lane},
    location::Location,
    look,
    owned::OwnedTake,
};

/// How long a request waits for the store at most. Whoever waited in vain makes the store lost, and nobody waits then.
pub const PATIENCE: Duration = Duration::from_millis(50);
/// How long a node that stops waits until the others know.
const LEAVE_MAX: Duration = Duration::from_secs(1);
/// For so long after a loss or a recovery nothing is given back: it may have been charged on the other side.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// What becomes of a limit while the store is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// Each node counts for itself, and allows the limit divided by how many nodes there were.
    #[default]
    Share,
    /// Every request goes.
    Allow,
    /// Every request is refused.
    Deny,
}

/// What becomes of each limit while the store is lost, by its name; of one that is not named, [`OnLoss::Share`].
pub type SharedPolicies = HashMap<Arc<str>, OnLoss>;

/// A store of counts that many nodes share. It lives until it is dropped, whatever is reloaded.
pub struct SharedLimits {
    inner: Arc<Inner>,
    /// Counts this node's shares: of what the store does not count, and of everything while it is lost.
    local: Arc<dyn LimitStore>,
    policies: ArcSwap<SharedPolicies>,
    /// Told when the other nodes know that this one stops.
    left: Arc<Notify>,
}

/// What has been counted of the store itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedCounts {
    /// Requests whose limits the store was asked for.
    pub asked: u64,
    /// Calls that carried them.
    pub calls: u64,
    /// Requests that were refused without asking, because the store had just refused the same.
    pub said_again: u64,
    /// Times that the store was lost.
    pub losses: u64,
    /// Requests whose limits went by `on_loss`.
    pub by_loss: u64,
    /// Nodes that live, as far as is known.
    pub nodes: u64,
    /// Whether the store is lost now.
    pub is_lost: bool,
}

/// What lanes and the keeper share.
pub(crate) struct Inner {
    /// Tells this store from any other of the process.
    pub(crate) id: u64,
    pub(crate) location: Location,
    pub(crate) script: Script,
    pub(crate) patience: Duration,
    pub(crate) health: Arc<Health>,
    /// Told when the store is not used any more.
    pub(crate) gone: Arc<Notify>,
    is_leaving: AtomicBool,
    pub(crate) hot: Hot,
    pub(crate) calls: AtomicU64,
    lanes: Mutex<Vec<Weak<Lane>>>,
    nodes: AtomicU64,
    asked: AtomicU64,
    said_again: AtomicU64,
    by_loss: AtomicU64,
}

impl SharedLimits {
    /// Begins to use the store at `location`, of which nobody knows yet whether it is there; this node's heartbeat
    /// goes on the calling runtime. `local` counts in this process.
    #[must_use]
    pub fn start(location: Location, policies: SharedPolicies, local: Arc<dyn LimitStore>) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        Connection::choose_cryptography();
        let left = Arc::new(Notify::new());
        let inner = Arc::new(Inner {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            location,
            script: Script::new(call::TEXT),
            patience: PATIENCE,
            health: Arc::new(Health::new()),
            gone: Arc::new(Notify::new()),
            is_leaving: AtomicBool::new(false),
            hot: Hot::new(),
            calls: AtomicU64::new(0),
            lanes: Mutex::new(Vec::new()),
            nodes: AtomicU64::new(1),
            asked: AtomicU64::new(0),
            said_again: AtomicU64::new(0),
            by_loss: AtomicU64::new(0),
        });
        #[expect(clippy::disallowed_methods, reason = "it ends when the store is dropped")]
        drop(tokio::spawn(keeper::keep(Arc::downgrade(&inner), Arc::clone(&left))));
        Self { inner, local, policies: ArcSwap::from_pointee(policies), left }
    }

    /// Says to the other nodes that this one stops, so that their shares grow at once. It waits for a second at most;
    /// what is asked after that is answered as before.
    pub async fn leave(&self) {
        self.inner.is_leaving.store(true, Ordering::Relaxed);
        self.inner.gone.notify_one();
        let _ = tokio::time::timeout(LEAVE_MAX, self.left.notified()).await;
    }

    /// Puts other policies in force. What was counted stays.
    pub fn set_policies(&self, policies: SharedPolicies) {
        self.policies.store(Arc::new(policies));
    }

    /// Where the store is.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.inner.location
    }

    /// Whether the store answers, and since when it does not.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.inner.health.standing()
    }

    /// What has been counted of the store itself.
    #[must_use]
    pub fn counts(&self) -> SharedCounts {
        let inner = &self.inner;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SharedCounts {
            asked: read(&inner.asked),
            calls: read(&inner.calls),
            said_again: read(&inner.said_again),
            losses: inner.health.losses(),
            by_loss: read(&inner.by_loss),
            nodes: read(&inner.nodes),
            is_lost: !inner.health.is_well(),
        }
    }

    /// What becomes of this limit while the store is lost, where it is counted there.
    fn on_loss(&self, take: &Take<'_>) -> Option<OnLoss> {
        let is_counted = is_counted(take.quota.algorithm);
        is_counted.then(|| self.policies.load().get(take.limit).copied().unwrap_or_default())
    }
}

/// Whether the store counts in this way. How many are at once it does not: whoever took a place and died would hold
/// it. Each node has its share of the places.
fn is_counted(algorithm: LimitAlgorithm) -> bool {
    match algorithm {
        LimitAlgorithm::Concurrency => false,
        LimitAlgorithm::TokenBucket
        | LimitAlgorithm::LeakyBucket
        | LimitAlgorithm::FixedWindow
        | LimitAlgorithm::SlidingWindow => true,
    }
}

impl LimitStore for SharedLimits {
    fn take(&self, takes: &[Take<'_>], taken: &mut [Taken]) -> Option<TakenLater> {
        let on_loss: Vec<_> = takes.iter().map(|take| self.on_loss(take)).collect();
        let is_counted = on_loss.iter().any(Option::is_some);
        let mut request = Request::new(&self.inner, &self.local, takes, on_loss);
        // What is counted here costs least, so it is asked first; where it refuses, nothing is charged elsewhere.
        request.take_here(false);
        if !is_counted {
            taken.clone_from_slice(&request.done());
            return None;
        }
        if !self.inner.health.is_well() {
            request.go_by_loss();
            taken.clone_from_slice(&request.done());
            return None;
        }
        self.inner.asked.fetch_add(1, Ordering::Relaxed);
        let question = request.question();
        if let Some(said) = self.inner.hot.refusal(&question.asks, Instant::now()) {
            self.inner.said_again.fetch_add(1, Ordering::Relaxed);
            request.told(&said);
            taken.clone_from_slice(&request.done());
            return None;
        }
        Some(Box::pin(async move {
            let asks = question.asks.clone();
            match lane::ask(&request.inner, question).await {
                Some(said) => {
                    request.inner.hot.note(&asks, &said, Instant::now());
                    request.told(&said);
                }
                None => request.go_by_loss(),
            }
            request.done()
        }))
    }

    fn give_back(&self, take: &Take<'_>) {
        match self.on_loss(take) {
            None => self.local.give_back(&self.inner.share(take)),
            Some(on_loss) => {
                self.inner.hot.forget(take.key);
                if self.inner.health.has_stood_for(SETTLED_AFTER) {
                    self.tell(Verb::GiveBack, take, on_loss, |local, take| local.give_back(take));
                }
            }
        }
    }

    fn charge(&self, take: &Take<'_>) {
        match self.on_loss(take) {
            None => self.local.charge(&self.inner.share(take)),
            Some(on_loss) => self.tell(Verb::Charge, take, on_loss, |local, take| local.charge(take)),
        }
    }

    fn look(&self, looks: Vec<Look>) -> LookedUp {
        let (shared, mut here): (Vec<_>, Vec<_>) =
            looks.into_iter().partition(|look| is_counted(look.quota.algorithm));
        for look in &mut here {
            look.quota = self.inner.share_of(&look.quota);
        }
        let here = self.local.look(here);
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let mut found = here.await?;
            if !shared.is_empty() {
                found.extend(look::look(&inner, shared).await?);
            }
            Ok(found)
        })
    }
}

impl SharedLimits {
    /// Tells whoever counts this limit now something that nobody waits for.
    fn tell(
        &self,
        verb: Verb,
        take: &Take<'_>,
        on_loss: OnLoss,
        here: impl FnOnce(&dyn LimitStore, &Take<'_>),
    ) {
        if self.inner.health.is_well() {
            lane::tell(&self.inner, Question { verb, asks: [Ask::of(take)].into() });
        } else if on_loss == OnLoss::Share {
            here(&*self.local, &self.inner.share(take));
        }
    }
}

/// The limits of one request on their way.
struct Request {
    inner: Arc<Inner>,
    local: Arc<dyn LimitStore>,
    takes: Vec<OwnedTake>,
    /// Of those that are counted in the store.
    on_loss: Vec<Option<OnLoss>>,
    taken: Vec<Taken>,
    /// Which were charged in this process.
    charged_here: Vec<bool>,
}

impl Request {
    fn new(
        inner: &Arc<Inner>,
        local: &Arc<dyn LimitStore>,
        takes: &[Take<'_>],
        on_loss: Vec<Option<OnLoss>>,
    ) -> Self {
        Self {
            inner: Arc::clone(inner),
            local: Arc::clone(local),
            takes: takes.iter().map(OwnedTake::of).collect(),
            on_loss,
            taken: vec![Taken::Uncounted; takes.len()],
            charged_here: vec![false; takes.len()],
        }
    }

    /// Takes what is counted in this process: what the store never counts, or, with `shares`, what it does not now.
    fn take_here(&mut self, shares: bool) {
        let is_here = |on_loss: &Option<OnLoss>| match on_loss {
            None => !shares,
            Some(on_loss) => shares && *on_loss == OnLoss::Share,
        };
        let here: Vec<_> = (0..self.takes.len()).filter(|at| is_here(&self.on_loss[*at])).collect();
        if here.is_empty() {
            return;
        }
        let takes: Vec<_> = here.iter().map(|at| self.take(*at)).collect();
        let mut taken = vec![Taken::Uncounted; here.len()];
        let later = self.local.take(&takes, &mut taken);
        debug_assert!(later.is_none(), "what is counted in this process is told at once");
        let may_go = takes.iter().zip(&taken).all(|(take, taken)| !take.enforced || !refuses(taken));
        for (at, taken) in here.into_iter().zip(taken) {
            self.charged_here[at] = may_go && !refuses(&taken);
            self.taken[at] = taken;
        }
    }

    /// One limit, as it is counted in this process.
    fn take(&self, at: usize) -> Take<'_> {
        self.inner.share(&self.takes[at].take())
    }

    /// Whether no limit that is enforced has refused it so far.
    fn may_go(&self) -> bool {
        self.takes.iter().zip(&self.taken).all(|(take, taken)| !take.enforced || !refuses(taken))
    }

    /// What the store is asked.
    fn question(&self) -> Question {
        let shared = self.takes.iter().zip(&self.on_loss).filter(|(_, on_loss)| on_loss.is_some());
        let asks = shared.map(|(take, _)| Ask::of(&take.take())).collect();
        // Where it is refused already, the others are to tell how they stand, and not to be charged.
        Question { verb: if self.may_go() { Verb::Take } else { Verb::Look }, asks }
    }

    /// Notes what the store said.
    fn told(&mut self, said: &Answers) {
        let shared = self.on_loss.iter().zip(&mut self.taken).filter(|(on_loss, _)| on_loss.is_some());
        for ((_, taken), decision) in shared.zip(said) {
            *taken = Taken::Told(*decision);
        }
        self.settle_here();
    }

    /// Decides without the store.
    fn go_by_loss(&mut self) {
        self.inner.by_loss.fetch_add(1, Ordering::Relaxed);
        for (on_loss, taken) in self.on_loss.iter().zip(&mut self.taken) {
            match on_loss {
                Some(OnLoss::Deny) => *taken = Taken::Lost,
                Some(OnLoss::Allow | OnLoss::Share) | None => {}
            }
        }
        self.take_here(true);
        self.settle_here();
    }

    /// Gives back what was charged in this process of a request that was refused in the end.
    fn settle_here(&mut self) {
        if !self.may_go() {
            self.give_back_here();
        }
    }

    fn give_back_here(&mut self) {
        for at in 0..self.charged_here.len() {
            if std::mem::take(&mut self.charged_here[at]) {
                self.local.give_back(&self.take(at));
            }
        }
    }

    /// What came of it. Whoever asked gives back from now on what was charged here.
    fn done(mut self) -> Vec<Taken> {
        self.charged_here.clear();
        std::mem::take(&mut self.taken)
    }
}

/// Where its caller leaves before it was told, nobody else gives its places back.
impl Drop for Request {
    fn drop(&mut self) {
        self.give_back_here();
    }
}

/// Whether this refuses a request.
fn refuses(taken: &Taken) -> bool {
    match taken {
        Taken::Told(LimitDecision::Refused { .. }) | Taken::Lost => true,
        Taken::Told(LimitDecision::Allowed { .. }) | Taken::Uncounted => false,
    }
}

impl Inner {
    /// This node's share of a limit.
    fn share<'a>(&self, take: &Take<'a>) -> Take<'a> {
        Take { quota: self.share_of(&take.quota), ..take.clone() }
    }

    fn share_of(&self, quota: &Quota) -> Quota {
        let nodes = self.nodes.load(Ordering::Relaxed).max(1);
        quota.times(1.0 / nodes as f64)
    }

    /// Whether this node stops.
    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// Notes how many nodes live.
    pub(crate) fn note_nodes(&self, nodes: u64) {
        self.nodes.store(nodes.max(1), Ordering::Relaxed);
    }

    /// Remembers a lane, to close it.
    pub(crate) fn keep(&self, lane: &Arc<Lane>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|lane| lane.strong_count() > 0);
        lanes.push(Arc::downgrade(lane));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.gone.notify_one();
        let lanes = std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner));
        for lane in lanes.iter().filter_map(Weak::upgrade) {
            lane.close();
        }
    }
}

impl fmt::Debug for SharedLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLimits").field("location", &self.inner.location).finish_non_exhaustive()
    }
}
