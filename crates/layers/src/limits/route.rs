//! The limits of one route: what each request of it is told, and what it is charged.

use std::{pin::Pin, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use steadfast_core::{LimitAlgorithm, LimitDecision, Quota};

use super::{
    ending::Charged,
    limit::Limit,
    limiter::Limiter,
    per::{Facts, KeyMaker, LimitMark, share_of},
    policy::{Cost, ENFORCED_ON_ALL, LIMITS_MAX},
    refusal::Refusal,
    store::{LimitStore, LimitedKey, Take, Taken},
    telling::{LimitHeaders, Stand, Untroubled, policies_value, standings_value, tell, told_seconds},
};
use crate::trace::{self, Part, Verdict};

/// The limits of one route.
#[derive(Debug)]
pub struct RouteLimits {
    pub(crate) route: Arc<str>,
    /// At most [`LIMITS_MAX`].
    pub(crate) limits: Vec<Arc<Limit>>,
    /// What stands for each in the keys of its counts.
    marks: Vec<LimitMark>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) headers: LimitHeaders,
    /// What `RateLimit-Policy` says to whom all limits are enforced on and allow what they allow everybody.
    policies: Option<HeaderValue>,
    /// What `RateLimit` says to most, where there is one limit.
    untroubled: Option<Untroubled>,
    /// Whether a write may turn out to be a replay, which costs nothing.
    has_replays: bool,
    /// Whether any limit waits for the answer.
    is_settled_later: bool,
    /// Whether any may let a request wait.
    pub(crate) may_wait: bool,
}

/// One limit of a request, before it is asked.
#[derive(Debug)]
struct Asked {
    index: u8,
    key: LimitedKey,
    quota: Quota,
    cost: u64,
    enforced: bool,
    is_elsewhere: bool,
}

/// What is told of limits in an answer.
#[derive(Debug)]
pub(crate) enum Told {
    Nothing,
    /// Of one, which allows what it allows everybody.
    One {
        index: u8,
        remaining: u64,
        reset_s: u32,
    },
    /// The strictest first.
    Several(Box<[Stand]>),
}

/// A request may go.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// After so long.
    pub(crate) wait: Duration,
    pub(crate) told: Told,
    /// What may have to be settled with its answer.
    pub(crate) charged: Option<Vec<Charged>>,
}

pub(crate) type AdmittedLater = Pin<Box<dyn Future<Output = Result<Admitted, Box<Refusal>>> + Send>>;

/// What came of a request's limits.
pub(crate) enum Decided {
    Now(Result<Admitted, Box<Refusal>>),
    Later(AdmittedLater),
}

impl RouteLimits {
    /// The limits of the route of this name, `None` where there are none; of more than [`LIMITS_MAX`] the rest is left
    /// out. `has_replays`: the layer inside replays stored answers.
    #[must_use]
    pub fn new(
        route: Arc<str>,
        mut limits: Vec<Arc<Limit>>,
        limiter: Arc<Limiter>,
        headers: LimitHeaders,
        has_replays: bool,
    ) -> Option<Arc<Self>> {
        limits.truncate(LIMITS_MAX);
        if limits.is_empty() {
            return None;
        }
        let policies = policies_value(limits.iter().map(|limit| (&limit.policy, limit.policy.quota)));
        let untroubled = match &*limits {
            [only] => Untroubled::of(&only.policy),
            _ => None,
        };
        let is_settled_later =
            limits.iter().any(|limit| limit.policy.holds_places() || limit.policy.cost_from_answer.is_some());
        let may_wait = limits.iter().any(|limit| limit.policy.quota.algorithm == LimitAlgorithm::LeakyBucket);
        let marks = limits.iter().map(|limit| limiter.keys.mark(&limit.policy.name)).collect();
        Some(Arc::new(Self {
            route,
            limits,
            marks,
            limiter,
            headers,
            policies,
            untroubled,
            has_replays,
            is_settled_later,
            may_wait,
        }))
    }

    pub(crate) fn store_of(&self, limit: &Limit) -> &dyn LimitStore {
        self.limiter.store(limit.policy.is_shared)
    }

    /// Asks all limits, and charges all or none.
    pub(crate) fn decide(self: &Arc<Self>, facts: &Facts<'_>, wait_max: Duration) -> Decided {
        let keeps_charged = self.is_settled_later || self.has_replays && !facts.method.is_safe();
        if let [only] = &*self.limits
            && !self.limiter.is_elsewhere(only)
        {
            let asked = [self.asked(0, only, facts)];
            let mut taken = [Taken::Uncounted];
            let _ = self.limiter.local.take(&[self.take(&asked[0], wait_max)], &mut taken);
            self.note_refused(&asked, &taken, facts);
            return Decided::Now(self.outcome(&asked, &taken, keeps_charged));
        }
        let asked = self.limits.iter().enumerate();
        let mut asked: Vec<Asked> =
            asked.map(|(index, limit)| self.asked(index as u8, limit, facts)).collect();
        // Those in this process first: where one of them refuses, nobody else is asked.
        asked.sort_by_key(|asked| asked.is_elsewhere);
        let here = asked.partition_point(|asked| !asked.is_elsewhere);
        let takes: Vec<Take<'_>> = asked.iter().map(|asked| self.take(asked, wait_max)).collect();
        let mut taken = vec![Taken::Uncounted; asked.len()];
        if here > 0 {
            let _ = self.limiter.local.take(&takes[..here], &mut taken[..here]);
        }
        let refuses = |(asked, taken): (&Asked, &Taken)| asked.enforced && !is_allowed(taken);
        let refused_here = asked.iter().zip(&taken).take(here).any(refuses);
        if here < asked.len() && !refused_here {
            let later = self.limiter.store(true).take(&takes[here..], &mut taken[here..]);
            if let Some(later) = later {
                drop(takes);
                let shown = self.shown(facts);
                let mut held = Held { limits: Arc::clone(self), asked, taken, here };
                return Decided::Later(Box::pin(async move {
                    let told = later.await;
                    let (asked, mut taken) = held.let_go();
                    taken.truncate(here);
                    taken.extend(told);
                    taken.resize(asked.len(), Taken::Uncounted);
                    let limits = &held.limits;
                    limits.take_back(&asked, &taken, here);
                    limits.note_shown(&asked, &taken, &shown);
                    limits.outcome(&asked, &taken, keeps_charged)
                }));
            }
            self.take_back(&asked, &taken, here);
        }
        drop(takes);
        if refused_here {
            asked.truncate(here);
            taken.truncate(here);
        }
        self.note_refused(&asked, &taken, facts);
        Decided::Now(self.outcome(&asked, &taken, keeps_charged))
    }

    fn asked(&self, index: u8, limit: &Limit, facts: &Facts<'_>) -> Asked {
        let policy = &limit.policy;
        let env = &self.limiter.env;
        let said = policy.per.iter().map(|per| per.said(facts, env));
        let is_elsewhere = self.limiter.is_elsewhere(limit);
        let key = if is_elsewhere {
            KeyMaker::shared(&policy.name, said)
        } else {
            self.limiter.keys.local(self.marks[usize::from(index)], said)
        };
        let mut quota = policy.quota_of(facts.principal);
        let now = || self.limiter.local.clock().now();
        if let Some(factor) = self.limiter.raises.factor(&policy.name, key.subject, now) {
            quota = quota.times(factor);
        }
        let enforced = match policy.enforced {
            ENFORCED_ON_ALL.. => true,
            0 => false,
            share => policy
                .per
                .first()
                .is_some_and(|first| u32::from(share_of(&policy.name, &first.said(facts, env))) < share),
        };
        let cost = match &policy.cost {
            Cost::Constant(cost) => *cost,
            Cost::Expression(expression) => {
                let value = expression.value(&facts.context(env, expression));
                match value {
                    Some(cel::Value::Int(cost)) => u64::try_from(cost).unwrap_or(0),
                    Some(cel::Value::UInt(cost)) => cost,
                    _ => 1,
                }
            }
        };
        Asked { index, key, quota, cost, enforced, is_elsewhere }
    }

    fn take(&self, asked: &Asked, wait_max: Duration) -> Take<'_> {
        let limit = &self.limits[usize::from(asked.index)].policy.name;
        let Asked { key, cost, quota, enforced, .. } = *asked;
        Take { limit, key, cost, quota, enforced, wait_max }
    }

    /// Where somebody else refused, what was charged here is given back.
    fn take_back(&self, asked: &[Asked], taken: &[Taken], here: usize) {
        let elsewhere = asked.iter().zip(taken).skip(here);
        if elsewhere.into_iter().all(|(asked, taken)| !asked.enforced || is_allowed(taken)) {
            return;
        }
        self.give_back_here(asked, taken, here);
    }

    fn give_back_here(&self, asked: &[Asked], taken: &[Taken], here: usize) {
        for (asked, taken) in asked.iter().zip(taken).take(here) {
            if matches!(taken, Taken::Told(LimitDecision::Allowed { .. })) {
                self.limiter.local.give_back(&self.take(asked, Duration::ZERO));
            }
        }
    }

    /// Who it is that each limit counts, as far as that may be shown.
    fn shown(&self, facts: &Facts<'_>) -> Vec<Option<String>> {
        self.limits.iter().map(|limit| shown(limit, facts, &self.limiter)).collect()
    }

    fn note_shown(&self, asked: &[Asked], taken: &[Taken], shown: &[Option<String>]) {
        for (asked, _) in asked.iter().zip(taken).filter(|(_, taken)| !is_allowed(taken)) {
            if let Some(Some(subject)) = shown.get(usize::from(asked.index)) {
                self.limits[usize::from(asked.index)].refused.note(subject, asked.enforced);
            }
        }
    }

    fn note_refused(&self, asked: &[Asked], taken: &[Taken], facts: &Facts<'_>) {
        for (asked, _) in asked.iter().zip(taken).filter(|(_, taken)| !is_allowed(taken)) {
            let limit = &self.limits[usize::from(asked.index)];
            if let Some(subject) = shown(limit, facts, &self.limiter) {
                limit.refused.note(&subject, asked.enforced);
            }
        }
    }

    /// Counts what came of the limits, and says what it means.
    fn outcome(
        self: &Arc<Self>,
        asked: &[Asked],
        taken: &[Taken],
        keeps_charged: bool,
    ) -> Result<Admitted, Box<Refusal>> {
        let all = || {
            asked
                .iter()
                .zip(taken)
                .map(|(asked, taken)| (asked, taken, &self.limits[usize::from(asked.index)]))
        };
        let is_refused = all().any(|(asked, taken, _)| asked.enforced && !is_allowed(taken));
        for (asked, taken, limit) in all() {
            match taken {
                Taken::Told(LimitDecision::Allowed { wait, .. }) if !is_refused => {
                    limit.tally.allowed.add();
                    if !wait.is_zero() {
                        limit.tally.delayed.add();
                    }
                }
                Taken::Told(LimitDecision::Allowed { .. }) => {}
                Taken::Uncounted => limit.tally.uncounted.add(),
                Taken::Told(LimitDecision::Refused { .. }) | Taken::Lost if asked.enforced => {
                    limit.tally.refused.add();
                }
                Taken::Told(LimitDecision::Refused { .. }) | Taken::Lost => limit.tally.would_refuse.add(),
            }
        }
        if is_refused {
            let refusal = Box::new(self.refusal(asked, taken));
            self.note_steps(asked, taken, &refusal.stands);
            return Err(refusal);
        }
        self.note_steps(asked, taken, &[]);
        let mut wait_longest = Duration::ZERO;
        for (asked, taken, _) in all() {
            if let Taken::Told(LimitDecision::Allowed { wait, .. }) = taken
                && asked.enforced
            {
                wait_longest = wait_longest.max(*wait);
            }
        }
        let charged = keeps_charged.then(|| {
            let charged_at = self.limiter.local().clock().now();
            let charged =
                all().filter(|(_, taken, _)| matches!(taken, Taken::Told(LimitDecision::Allowed { .. })));
            charged
                .map(|(asked, ..)| Charged {
                    index: asked.index,
                    key: asked.key,
                    cost: asked.cost,
                    quota: asked.quota,
                    at: charged_at,
                })
                .collect()
        });
        Ok(Admitted { wait: wait_longest, told: self.told(asked, taken), charged })
    }

    /// Notes how each limit stands; of those that refuse, as `stands` tells their caller.
    fn note_steps(&self, asked: &[Asked], taken: &[Taken], stands: &[Stand]) {
        let is_told = self.headers.standard || self.headers.older;
        for (asked, taken) in asked.iter().zip(taken) {
            let verdict = match taken {
                Taken::Uncounted => Verdict::Uncounted,
                _ if is_allowed(taken) => Verdict::Passed,
                _ if asked.enforced => Verdict::Refused,
                _ => Verdict::WouldRefuse,
            };
            trace::note(Part::Limit, verdict, || {
                let told = stands.iter().find(|stand| stand.index == asked.index);
                let (remaining, reset, wait) = match *taken {
                    Taken::Told(LimitDecision::Allowed { remaining, reset, wait }) => {
                        (Some(remaining), Some(reset), wait)
                    }
                    Taken::Told(LimitDecision::Refused { remaining, after }) => {
                        (Some(remaining), after, Duration::ZERO)
                    }
                    Taken::Uncounted | Taken::Lost => (None, None, Duration::ZERO),
                };
                let seconds = |time: Duration| {
                    let seconds = time.as_secs().saturating_add(u64::from(time.subsec_millis() > 0));
                    u32::try_from(seconds).unwrap_or(u32::MAX)
                };
                let reset_s =
                    reset.map(|reset| told.map_or_else(|| seconds(reset), |stand| stand.reset_s.max(1)));
                let policy = Arc::clone(&self.limits[usize::from(asked.index)].policy.name);
                trace::Facts::Limit { policy, remaining, reset_s, wait, enforced: asked.enforced, is_told }
            });
        }
    }

    fn told(&self, asked: &[Asked], taken: &[Taken]) -> Told {
        if !self.headers.standard && !self.headers.older {
            return Told::Nothing;
        }
        if let ([asked], [Taken::Told(LimitDecision::Allowed { remaining, reset, .. })]) = (asked, taken)
            && asked.enforced
            && self.limits.len() == 1
            && asked.quota == self.limits[0].policy.quota
        {
            let (index, remaining) = (asked.index, *remaining);
            return Told::One { index, remaining, reset_s: told_seconds(*reset) };
        }
        let mut stands: Vec<Stand> = asked
            .iter()
            .zip(taken)
            .filter(|(asked, _)| asked.enforced)
            .filter_map(|(asked, taken)| stand(asked, taken))
            .collect();
        // What leaves least speaks first; of those, what takes longest.
        stands
            .sort_by(|one, other| one.remaining.cmp(&other.remaining).then(other.reset_s.cmp(&one.reset_s)));
        if stands.is_empty() { Told::Nothing } else { Told::Several(stands.into()) }
    }

    /// What `RateLimit-Policy` says beside these.
    fn policies(&self, stands: &[Stand]) -> Option<HeaderValue> {
        let policy = |stand: &Stand| &self.limits[usize::from(stand.index)].policy;
        if stands.len() == self.limits.len() && stands.iter().all(|stand| stand.quota == policy(stand).quota)
        {
            return self.policies.clone();
        }
        let mut stands: Vec<&Stand> = stands.iter().collect();
        stands.sort_by_key(|stand| stand.index);
        policies_value(stands.into_iter().map(|stand| (policy(stand), stand.quota)))
    }

    /// Tells a caller how limits stand.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, told: &Told) {
        match told {
            Told::Nothing => {}
            Told::One { index, remaining, reset_s } => {
                let (index, remaining, reset_s) = (*index, *remaining, *reset_s);
                let policy = &self.limits[usize::from(index)].policy;
                let stand = Stand { index, remaining, reset_s, quota: policy.quota };
                let standings = || {
                    let untroubled = self.untroubled.as_ref();
                    let written = untroubled.and_then(|untroubled| untroubled.value(remaining, reset_s));
                    written.or_else(|| standings_value(std::iter::once((policy, stand))))
                };
                tell(headers, self.headers, &stand, standings, || self.policies.clone());
            }
            Told::Several(stands) => self.tell_several(headers, stands),
        }
    }

    /// Tells how these stand, the strictest first.
    pub(crate) fn tell_several(&self, headers: &mut HeaderMap, stands: &[Stand]) {
        let Some(strictest) = stands.first() else { return };
        let each = stands.iter().map(|stand| (&self.limits[usize::from(stand.index)].policy, *stand));
        tell(headers, self.headers, strictest, || standings_value(each), || self.policies(stands));
    }

    fn refusal(self: &Arc<Self>, asked: &[Asked], taken: &[Taken]) -> Refusal {
        let violated = asked.iter().zip(taken).filter(|(asked, taken)| asked.enforced && !is_allowed(taken));
        // The strictest speaks: whoever lets the request through last, if ever.
        let after = |taken: &Taken| match taken {
            Taken::Told(LimitDecision::Refused { after, .. }) => after.unwrap_or(Duration::MAX),
            _ => Duration::ZERO,
        };
        let speaker = violated.clone().max_by_key(|(_, taken)| after(taken));
        let (asked_of_speaker, taken_of_speaker) = match speaker {
            Some((asked, taken)) => (asked, *taken),
            None => (&asked[0], Taken::Lost),
        };
        let mut stands: Vec<Stand> =
            violated.clone().filter_map(|(asked, taken)| stand(asked, taken)).collect();
        stands.sort_by_key(|stand| std::cmp::Reverse(stand.reset_s));
        Refusal {
            limits: Arc::clone(self),
            violated: violated.map(|(asked, _)| asked.index).collect(),
            speaker: asked_of_speaker.index,
            quota: asked_of_speaker.quota,
            cost: asked_of_speaker.cost,
            taken: taken_of_speaker,
            stands,
        }
    }
}

/// What was charged here while somebody else is asked. Where the caller leaves before that is known, it is given back.
struct Held {
    limits: Arc<RouteLimits>,
    asked: Vec<Asked>,
    taken: Vec<Taken>,
    here: usize,
}

impl Held {
    fn let_go(&mut self) -> (Vec<Asked>, Vec<Taken>) {
        (std::mem::take(&mut self.asked), std::mem::take(&mut self.taken))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.limits.give_back_here(&self.asked, &self.taken, self.here);
    }
}

/// How a limit stands, as far as that is known.
fn stand(asked: &Asked, taken: &Taken) -> Option<Stand> {
    let (remaining, reset) = match taken {
        Taken::Told(LimitDecision::Allowed { remaining, reset, .. }) => (*remaining, *reset),
        Taken::Told(LimitDecision::Refused { remaining, after }) => (*remaining, after.unwrap_or_default()),
        Taken::Uncounted | Taken::Lost => return None,
    };
    Some(Stand { index: asked.index, remaining, reset_s: told_seconds(reset), quota: asked.quota })
}

fn is_allowed(taken: &Taken) -> bool {
    match taken {
        Taken::Told(decision) => decision.is_allowed(),
        Taken::Uncounted => true,
        Taken::Lost => false,
    }
}

fn shown(limit: &Limit, facts: &Facts<'_>, limiter: &Limiter) -> Option<String> {
    let first = limit.policy.per.first().filter(|per| per.is_shown())?;
    Some(first.said(facts, &limiter.env).shown())
}
