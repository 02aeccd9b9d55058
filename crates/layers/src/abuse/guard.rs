//! The guard: decides from memory who is kept out, counts who does harm, and bans by itself. There is one in a process; it
//! outlives every reload, and so does what it counted.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Response;
use steadfast_core::{
    Ban, BanOrder, BanSource, BanSubject, BanTime, Code, Compared, LimitDecision, Timestamp,
};
use steadfast_ledger::{Bans, Clock, LedgerError};
use tokio::sync::Notify;

use super::{
    list::{BanList, NoRoom, Told, Who},
    policy::{AbusePolicy, AutomaticBan, BaselineRule, CountNames},
    refusal,
    security_log::SecurityLog,
    usual::{BASELINES_MAX, UsualUse},
};
use crate::{
    BanTally, BaselineTally, LimitClock, LimitStore, LocalLimits, Principal, Problem, RequestId, Take, Taken,
    limits::{KeyMaker, LimitMark, Said, SaidKind},
};

/// How many callers are counted at the most.
const COUNTED_MAX: usize = 100_000;

/// Who bans where no person does.
const BY_ITSELF: &str = "steadfast";

/// Where its numbers go.
#[derive(Clone, Debug)]
pub struct AbuseTallies {
    /// Of each source, in the order of [`BanSource::ALL`].
    pub bans: [Arc<BanTally>; BanSource::ALL.len()],
    /// Of how much principals ask for.
    pub baseline: Arc<BaselineTally>,
}

/// See the [module](self)'s words.
#[derive(Debug)]
pub struct AbuseGuard {
    list: BanList,
    policy: ArcSwap<AbusePolicy>,
    /// Whether the policy counts anything.
    counts_some: AtomicBool,
    counts: LocalLimits,
    names: CountNames,
    keys: KeyMaker,
    /// What stands in keys for what is usual.
    baseline: LimitMark,
    usual: UsualUse,
    log: SecurityLog,
    clock: Clock,
    limit_clock: LimitClock,
    tallies: AbuseTallies,
    /// Told when somebody was banned of whom the ledger does not know.
    news: Notify,
}

impl AbuseGuard {
    /// A guard that keeps nobody out yet.
    #[must_use]
    pub fn new(clock: Clock, tallies: AbuseTallies) -> Self {
        let limit_clock = LimitClock::new(clock.clone());
        let keys = KeyMaker::default();
        Self {
            list: BanList::default(),
            policy: ArcSwap::default(),
            counts_some: AtomicBool::new(false),
            counts: LocalLimits::new(limit_clock.clone(), COUNTED_MAX),
            names: CountNames::default(),
            baseline: keys.mark("baseline"),
            keys,
            usual: UsualUse::new(BASELINES_MAX),
            log: SecurityLog::default(),
            clock,
            limit_clock,
            tallies,
            news: Notify::new(),
        }
    }

    /// Goes by this policy from now on. What was banned and counted stays.
    pub fn set_policy(&self, policy: AbusePolicy) {
        let AbusePolicy { unauthenticated, limit_storm, baseline, .. } = &policy;
        let counts_some = unauthenticated.is_some() || limit_storm.is_some() || baseline.is_some();
        if baseline.is_none() {
            self.usual.clear();
        }
        self.list.set_config(&policy.bans, "config", self.clock.wall());
        self.policy.store(Arc::new(policy));
        self.counts_some.store(counts_some, Ordering::Relaxed);
    }

    /// What is said of those who do harm.
    #[must_use]
    pub fn policy(&self) -> Arc<AbusePolicy> {
        self.policy.load_full()
    }

    /// Who is banned.
    #[must_use]
    pub fn list(&self) -> &BanList {
        &self.list
    }

    /// Whether there is nothing to do for it: nobody is banned, and nothing is counted.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.list.is_empty() && !self.counts_some.load(Ordering::Relaxed)
    }

    /// Whether it counts who shows no good credential, and who goes on beyond limits.
    pub(super) fn policy_counts(&self) -> (bool, bool) {
        let policy = self.policy.load();
        (policy.unauthenticated.is_some(), policy.limit_storm.is_some())
    }

    /// Takes in what changed in the ledger.
    ///
    /// # Errors
    /// [`LedgerError`]: what is known stays as it is.
    pub async fn follow<L: Bans + ?Sized>(&self, ledger: &L) -> Result<(), LedgerError> {
        for subject in self.list.follow(ledger).await? {
            self.forget_counts(&subject);
        }
        Ok(())
    }

    /// Asks the ledger for all bans with the next question, not only for those that changed: it may be another one by now,
    /// which counts its changes differently.
    pub fn doubt_ledger(&self) {
        self.list.doubt_ledger();
    }

    /// Tells the ledger whom this node banned by itself, of very many the first; whether there are more.
    ///
    /// # Errors
    /// [`LedgerError`]: they stay banned here, and the ledger is told later.
    pub async fn tell<L: Bans + ?Sized>(&self, ledger: &L) -> Result<bool, LedgerError> {
        let Told { no_room, error } = self.list.tell(ledger).await;
        for (tally, count) in self.tallies.bans.iter().zip(no_room) {
            if count > 0 {
                tally.no_room.add_many(count);
            }
        }
        error.map_or_else(|| Ok(self.list.has_untold()), Err)
    }

    /// Returns when somebody was banned of whom the ledger does not know.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Forgets bans that ended long ago.
    pub fn sweep(&self) {
        self.list.sweep(self.clock.wall());
    }

    /// Brings the numbers up to date that say how things are.
    pub fn note_standing(&self) {
        let (in_force, _) = self.list.in_force(self.clock.wall());
        for (tally, count) in self.tallies.bans.iter().zip(in_force) {
            tally.in_force.set(count);
        }
        self.tallies.baseline.tracked.set(self.usual.tracked());
    }

    /// What whoever calls from this address is answered, where they are kept out.
    pub fn refuse_address<B: From<Bytes>>(
        &self,
        address: IpAddr,
        route: &str,
        request_id: Option<&RequestId>,
    ) -> Option<Response<B>> {
        let now = self.clock.wall();
        let found = self.list.find(Who::Address(address), now)?;
        if self.policy.load().spares_address(address) {
            return None;
        }
        self.refuse(&found, route, request_id, now)
    }

    /// What this principal is answered, where it is kept out.
    pub fn refuse_principal<B: From<Bytes>>(
        &self,
        name: &str,
        route: &str,
        request_id: Option<&RequestId>,
    ) -> Option<Response<B>> {
        let now = self.clock.wall();
        let found = self.list.find(Who::Principal(name), now)?;
        if self.policy.load().spares_principal(name) {
            return None;
        }
        self.refuse(&found, route, request_id, now)
    }

    fn refuse<B: From<Bytes>>(
        &self,
        found: &super::list::HeldBan,
        route: &str,
        request_id: Option<&RequestId>,
        now: Timestamp,
    ) -> Option<Response<B>> {
        self.log.refused(found, route, now);
        let tally = self.tally(found.ban.source);
        if found.is_shadow {
            tally.would_refuse.add();
            return None;
        }
        tally.refused.add();
        Some(refusal::banned(&found.ban, now, request_id))
    }

    /// What a principal is answered who asks for far more than usual, where that is refused.
    pub(super) fn compare<B: From<Bytes>>(
        &self,
        principal: &Principal,
        route: &str,
        request_id: Option<&RequestId>,
    ) -> Option<Response<B>> {
        let policy = self.policy.load();
        let rule: &BaselineRule = policy.baseline.as_ref()?;
        let name = principal.name();
        if policy.spares_principal(name) {
            return None;
        }
        let said = Said::Text(SaidKind::Principal, name.as_bytes());
        let key = self.keys.local(self.baseline, std::iter::once(said));
        let now = self.limit_clock.now();
        let (compared, evicted) = self.usual.compare(key, &rule.policy(), !rule.is_shadow, now);
        let tally = &self.tallies.baseline;
        if evicted > 0 {
            tally.evicted.add_many(evicted);
        }
        let Compared::Abnormal { begins, rate, usual, after } = compared else { return None };
        if begins {
            tally.begun.add();
            self.log.abnormal(name, route, [rate, usual], rule.is_shadow, self.clock.wall());
        }
        if rule.is_shadow {
            tally.would_refuse.add();
            return None;
        }
        tally.refused.add();
        Some(too_much([rate, usual], after).instance(request_id).into_response())
    }

    /// Somebody who calls from this address was answered that a credential is required.
    pub(super) fn note_unauthenticated(&self, address: IpAddr) {
        let policy = self.policy.load();
        let Some(rule) = &policy.unauthenticated else { return };
        let name = &self.names.unauthenticated;
        if self.reaches(name, rule, Said::Address(Some(address))) && !policy.spares_address(address) {
            let subject = BanSubject::of_address(address);
            self.ban(subject, BanSource::Unauthenticated, rule, policy.challenge.clone());
        }
    }

    /// A limit refused this principal; or where none is known, whoever calls from this address.
    pub(super) fn note_limited(&self, principal: Option<&Principal>, address: Option<IpAddr>) {
        let policy = self.policy.load();
        let Some(rule) = &policy.limit_storm else { return };
        if principal.is_some_and(|principal| policy.spares_principal(principal.name())) {
            return;
        }
        // A claim may say anything. Whoever has a name that no ban can have is kept out by address.
        let named = principal.and_then(|principal| BanSubject::principal(principal.name()).ok());
        let (said, subject, is_spared) = match (named, principal, address) {
            (Some(subject), Some(principal), _) => {
                (Said::Text(SaidKind::Principal, principal.name().as_bytes()), subject, false)
            }
            (_, _, Some(address)) => {
                let is_spared = policy.spares_address(address);
                (Said::Address(Some(address)), BanSubject::of_address(address), is_spared)
            }
            (_, _, None) => return,
        };
        if self.reaches(&self.names.limit_storm, rule, said) && !is_spared {
            self.ban(subject, BanSource::LimitStorm, rule, policy.challenge.clone());
        }
    }

    /// Counts one more of somebody; whether that makes as many as there may be, or more.
    fn reaches(&self, name: &Arc<str>, rule: &AutomaticBan, said: Said<'_>) -> bool {
        let take = Take {
            limit: name,
            key: self.keys.local(self.keys.mark(name), std::iter::once(said)),
            cost: 1,
            quota: rule.quota(),
            enforced: true,
            wait_max: Duration::ZERO,
        };
        let mut taken = [Taken::Uncounted];
        let _ = self.counts.take(&[take], &mut taken);
        matches!(
            taken,
            [Taken::Told(LimitDecision::Allowed { remaining: 0, .. } | LimitDecision::Refused { .. })]
        )
    }

    /// Begins anew to count this subject: what brought one ban about brings no other one about.
    fn forget_counts(&self, subject: &BanSubject) {
        let said = || match subject {
            BanSubject::Network(network) => Said::Address(Some(network.addr())),
            BanSubject::Principal(name) => Said::Text(SaidKind::Principal, name.as_bytes()),
        };
        for name in [&self.names.unauthenticated, &self.names.limit_storm] {
            self.counts.forget(self.keys.local(self.keys.mark(name), std::iter::once(said())));
        }
    }

    fn ban(&self, subject: BanSubject, source: BanSource, rule: &AutomaticBan, challenge: Option<Box<str>>) {
        let now = self.clock.wall();
        let order = BanOrder {
            subject,
            source,
            at: now,
            lasts: BanTime::Growing { first: rule.ban_for, longest: rule.ban_for_max },
            reason: rule.reason(source).into(),
            by: BY_ITSELF.into(),
            challenge,
            repeats: 0,
        };
        let tally = self.tally(source);
        self.forget_counts(&order.subject);
        match self.list.make(order, rule.is_shadow) {
            Ok(Some(ban)) => {
                let counted = if rule.is_shadow { &tally.would_make } else { &tally.made };
                counted.add();
                self.log.banned(&ban, rule.is_shadow, now);
                self.news.notify_one();
            }
            Ok(None) => {}
            Err(NoRoom) => tally.no_room.add(),
        }
    }

    /// Notes that a person banned somebody.
    pub fn note_made_by_hand(&self) {
        self.tally(BanSource::ByHand).made.add();
    }

    /// The bans that stand in no ledger: of the config, and those that would hold, were they acted on; each with whether it
    /// is only noted.
    #[must_use]
    pub fn beside_the_ledger(&self) -> Vec<(Ban, bool)> {
        self.list.beside_the_ledger(self.clock.wall())
    }

    fn tally(&self, source: BanSource) -> &BanTally {
        let place = BanSource::ALL.iter().position(|known| *known == source).unwrap_or_default();
        &self.tallies.bans[place]
    }
}

/// The refusal for whoever asks for far more than usual.
fn too_much([rate, usual]: [f64; 2], after: Duration) -> Problem {
    let [rate, usual] = [rate, usual].map(|rate| (rate * 60.0).ceil());
    Problem::new(Code::AbnormalUsageDetected)
        .detail(format!("You send about {rate} requests a minute; usually you send about {usual}."))
        .retry_after(after)
        .member("violated-policies", vec![serde_json::Value::from("baseline")].into())
}
