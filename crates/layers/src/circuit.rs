//! The circuit of one endpoint, shared by all who call it: [`steadfast_core::circuit`] decides, and this keeps the time,
//! counts, and says in the log what changed.
//!
//! While it is closed, leave for a call costs a look at one number; what became of the call is noted under a lock that is
//! held for a few additions. [`CircuitLayer`](crate::CircuitLayer) stands
//! with one round any service; a gateway's upstreams hold one for each of their endpoints.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use steadfast_core::{
    Code, NotSentCause, Reading,
    circuit::{self, CallEnd, Change, CircuitPolicy, CircuitView, Held, Order, Phase, Ticket},
};
use tokio::time::Instant;

use crate::{AttemptFailed, Deadline, UpstreamTally};

/// A call that its caller's deadline ended is held against the endpoint only where it waited that long, or for what
/// the policy calls slow: whoever asks for 1 ms opens no circuit.
const PATIENCE: Duration = Duration::from_secs(1);

/// The circuit of one endpoint; clones are the same one.
#[derive(Clone)]
pub struct Circuit(Arc<Shared>);

struct Shared {
    upstream: String,
    endpoint: String,
    is_shadow: bool,
    slow: Option<Duration>,
    machine: Mutex<circuit::Circuit>,
    /// The machine's era, and in the two lowest bits its phase: what is looked at without the lock.
    seen: AtomicU64,
    origin: Instant,
    tally: Arc<UpstreamTally>,
    siblings: Siblings,
}

/// The circuits of one upstream's endpoints, as far as they must know of each other: endpoints that only failed a few
/// times in a row are not left alone all at once.
#[derive(Clone, Debug, Default)]
pub struct Siblings(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    all: AtomicU32,
    not_closed: AtomicU32,
}

impl Siblings {
    /// How many of them are not closed.
    #[must_use]
    pub fn not_closed(&self) -> u32 {
        self.0.not_closed.load(Ordering::Relaxed)
    }

    /// Whether one more may open for failures in a row: afterwards at least half of them must be left. An only one may.
    fn may_eject(&self) -> bool {
        let all = self.0.all.load(Ordering::Relaxed);
        all <= 1 || (self.not_closed() + 1) * 2 <= all
    }
}

/// Leave for one call. Dropped without a word, the call says nothing of the endpoint, unless it waited too long for it.
#[must_use]
pub struct Permit {
    circuit: Circuit,
    /// Nothing once it was said what became of it, or where that is of no interest.
    ticket: Option<Ticket>,
    began: Instant,
    deadline: Option<Deadline>,
}

impl Circuit {
    /// A closed one of `upstream`'s `endpoint`, which counts in `tally`.
    #[must_use]
    pub fn new(
        policy: CircuitPolicy,
        upstream: &str,
        endpoint: &str,
        tally: Arc<UpstreamTally>,
        siblings: &Siblings,
    ) -> Self {
        let mut seed = [0; 8];
        // Only jitter hangs on it.
        let _ = getrandom::fill(&mut seed);
        let (is_shadow, slow) = (policy.is_shadow, policy.slow);
        siblings.0.all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Shared {
            upstream: upstream.into(),
            endpoint: endpoint.into(),
            is_shadow,
            slow,
            machine: Mutex::new(circuit::Circuit::new(policy, u64::from_le_bytes(seed))),
            seen: AtomicU64::new(seen(0, Phase::Closed)),
            origin: Instant::now(),
            tally,
            siblings: siblings.clone(),
        }))
    }

    /// Whether everything goes through.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed_era().is_some()
    }

    /// Whether a call would be let through now; it changes nothing.
    ///
    /// # Errors
    /// It would not, and is told when to come again.
    pub fn look(&self, now: Instant) -> Result<(), Held> {
        if self.is_closed() {
            return Ok(());
        }
        let (machine, now) = (self.0.machine(), self.0.since_origin(now));
        match machine.look(now) {
            Err(_) if self.0.is_shadow && !machine.is_held_open(now) => Ok(()),
            looked => looked,
        }
    }

    /// Asks for leave to make a call that begins now, and that its caller waits for until `deadline`.
    ///
    /// # Errors
    /// The circuit is open, or enough probes are under way.
    pub fn admit(&self, now: Instant, deadline: Option<Deadline>) -> Result<Permit, Held> {
        let permit = |ticket| Permit { circuit: self.clone(), ticket, began: now, deadline };
        if let Some(era) = self.closed_era() {
            return Ok(permit(Some(Ticket::of_era(era))));
        }
        let shared = &self.0;
        let mut machine = shared.machine();
        let (admitted, change) = machine.admit(shared.since_origin(now));
        shared.publish(&machine);
        let held_open = machine.is_held_open(shared.since_origin(now));
        drop(machine);
        shared.tell(change);
        match admitted {
            Ok(ticket) => Ok(permit(Some(ticket))),
            // What somebody holds open by hand is meant.
            Err(_) if shared.is_shadow && !held_open => {
                shared.tally.circuit_would_refuse.add();
                Ok(permit(None))
            }
            Err(held) => Err(held),
        }
    }

    /// Does what somebody wants of it, for so long.
    pub fn order(&self, order: ByHand, now: Instant) {
        let shared = &self.0;
        let mut machine = shared.machine();
        let at = shared.since_origin(now);
        let order = match order {
            ByHand::Open(until) => Order::Open { until: shared.since_origin(until) },
            ByHand::Closed(until) => Order::Closed { until: shared.since_origin(until) },
            ByHand::Automatic => Order::Automatic,
        };
        let change = machine.order(order, at);
        shared.publish(&machine);
        drop(machine);
        shared.tell(Some(change));
    }

    /// How it stands, for people; times are those since [`Circuit::origin`].
    #[must_use]
    pub fn view(&self, now: Instant) -> CircuitView {
        self.0.machine().view(self.0.since_origin(now))
    }

    /// When it began.
    #[must_use]
    pub fn origin(&self) -> Instant {
        self.0.origin
    }

    /// Whether it is acted on.
    #[must_use]
    pub fn is_enforced(&self) -> bool {
        !self.0.is_shadow
    }

    /// Counts a call that it held.
    pub(crate) fn count_refused(&self) {
        self.0.tally.circuit_refused.add();
    }

    fn closed_era(&self) -> Option<u32> {
        let seen = self.0.seen.load(Ordering::Acquire);
        (seen & 0b11 == 0).then_some((seen >> 2) as u32)
    }
}

impl fmt::Debug for Circuit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Circuit").field(&self.0.upstream).field(&self.0.endpoint).finish()
    }
}

/// What somebody wants of a circuit by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// To let nothing through until then.
    Open(Instant),
    /// To let everything through until then.
    Closed(Instant),
    /// To go by what happens, from a clean slate.
    Automatic,
}

impl ByHand {
    /// Whether its time has not passed.
    #[must_use]
    pub fn is_meant(&self, now: Instant) -> bool {
        match self {
            Self::Open(until) | Self::Closed(until) => now < *until,
            Self::Automatic => true,
        }
    }
}

impl Shared {
    fn machine(&self) -> MutexGuard<'_, circuit::Circuit> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since_origin(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }

    /// Lets everybody see how it stands; its lock is held.
    fn publish(&self, machine: &circuit::Circuit) {
        let before = self.seen.swap(seen(machine.era(), machine.phase()), Ordering::AcqRel);
        let (was_closed, is_closed) = (before & 0b11 == 0, machine.phase() == Phase::Closed);
        if was_closed && !is_closed {
            self.siblings.0.not_closed.fetch_add(1, Ordering::Relaxed);
            self.tally.circuits_open.add();
        }
        if !was_closed && is_closed {
            self.siblings.0.not_closed.fetch_sub(1, Ordering::Relaxed);
            self.tally.circuits_open.sub();
        }
    }

    /// Counts a change, and says it in the log.
    fn tell(&self, change: Option<Change>) {
        let Some(Change { from, to, why, open_for }) = change else { return };
        if to == Phase::Open {
            self.tally.circuit_opened.add();
        }
        tracing::warn!(
            upstream = &*self.upstream,
            endpoint = &*self.endpoint,
            from = from.as_str(),
            to = to.as_str(),
            why = %why,
            open_for_ms = open_for.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            shadow = self.is_shadow,
            "a circuit changed"
        );
    }

    fn ended(&self, ticket: Ticket, end: CallEnd, took: Duration, now: Instant) {
        let mut machine = self.machine();
        let now = self.since_origin(now);
        let change = machine.ended(ticket, end, took, now, self.siblings.may_eject());
        if change.is_none() {
            return;
        }
        self.publish(&machine);
        drop(machine);
        self.tell(change);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.siblings.0.all.fetch_sub(1, Ordering::Relaxed);
        if self.seen.load(Ordering::Acquire) & 0b11 != 0 {
            self.siblings.0.not_closed.fetch_sub(1, Ordering::Relaxed);
            self.tally.circuits_open.sub();
        }
    }
}

/// An era and a phase in one number.
fn seen(era: u32, phase: Phase) -> u64 {
    let phase = match phase {
        Phase::Closed => 0,
        Phase::Open => 1,
        Phase::HalfOpen => 2,
    };
    (u64::from(era) << 2) | phase
}

impl Permit {
    /// Says what became of the call, as far as its head: what follows later is told by nobody.
    pub fn end(&mut self, end: CallEnd, now: Instant) {
        if let Some(ticket) = self.ticket.take() {
            self.circuit.0.ended(ticket, end, now.saturating_duration_since(self.began), now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.ticket.is_none() {
            return;
        }
        let now = Instant::now();
        let waited = now.saturating_duration_since(self.began);
        let slow = self.circuit.0.slow;
        let in_vain = self.deadline.is_some_and(|Deadline(deadline)| now >= deadline);
        let end = if in_vain && waited >= slow.unwrap_or(PATIENCE) {
            CallEnd::Failed
        } else if slow.is_some_and(|slow| waited > slow) {
            // Whatever it would have been answered, it would have been late.
            CallEnd::Succeeded
        } else {
            CallEnd::Unjudged
        };
        self.end(end, now);
    }
}

/// What an answer says of its endpoint. A caller's own fault is an answer like any other. `503` is the endpoint's trouble
/// even where it says that nothing was executed; `425` and `429` tell of too many calls, not of failing ones.
#[must_use]
pub fn call_answered(status: u16, reading: Reading) -> CallEnd {
    match reading {
        Reading::Completed => CallEnd::Succeeded,
        Reading::Unknown => CallEnd::Failed,
        Reading::Refused if status >= 500 => CallEnd::Failed,
        Reading::Refused => CallEnd::Unjudged,
    }
}

/// What a call without an answer says of its endpoint.
#[must_use]
pub fn call_failed(failed: &AttemptFailed) -> CallEnd {
    match failed {
        AttemptFailed::NotSent {
            cause: NotSentCause::ConnectFailed | NotSentCause::StreamRefused, ..
        }
        | AttemptFailed::Lost { .. } => CallEnd::Failed,
        AttemptFailed::NotSent {
            cause: NotSentCause::SendByPassed | NotSentCause::DeadlinePassed | NotSentCause::HeldBack,
            ..
        }
        | AttemptFailed::HeldBack { .. }
        | AttemptFailed::TooLarge { .. }
        | AttemptFailed::Broken { .. } => CallEnd::Unjudged,
    }
}

/// The refusal of a call that a circuit holds.
#[must_use]
pub fn held_by_circuit(held: Held) -> AttemptFailed {
    AttemptFailed::HeldBack {
        code: Code::CircuitOpen,
        retry_after: Some(held.retry_after),
        detail: "The upstream's circuit is open.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> CircuitPolicy {
        CircuitPolicy { volume_min: 4, probes: 1, ..CircuitPolicy::default() }
    }

    fn circuit(policy: CircuitPolicy, tally: &Arc<UpstreamTally>, siblings: &Siblings) -> Circuit {
        Circuit::new(policy, "bank", "http://bank", Arc::clone(tally), siblings)
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_dropped_makes_room_for_another() {
        let tally = Arc::new(UpstreamTally::default());
        let circuit = circuit(policy(), &tally, &Siblings::default());
        let now = Instant::now();
        circuit.order(ByHand::Open(now), now);
        let probe = circuit.admit(now, None).expect("a probe");
        assert!(circuit.admit(now, None).is_err());
        drop(probe);
        assert!(circuit.admit(now, None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_leave_half_of_the_endpoints() {
        let tally = Arc::new(UpstreamTally::default());
        let siblings = Siblings::default();
        let policy = CircuitPolicy { consecutive: Some(2), volume_min: 10, ..policy() };
        let circuits: Vec<_> = (0..5).map(|_| circuit(policy.clone(), &tally, &siblings)).collect();
        let now = Instant::now();
        let fail = |circuit: &Circuit, times| {
            for _ in 0..times {
                circuit.admit(now, None).expect("leave").end(CallEnd::Failed, now);
            }
        };
        circuits.iter().for_each(|circuit| fail(circuit, 2));
        assert_eq!(siblings.not_closed(), 2);
        circuits.iter().filter(|circuit| circuit.is_closed()).for_each(|circuit| fail(circuit, 8));
        assert_eq!(siblings.not_closed(), 5, "where all their windows say so, all are left alone");
        drop(circuits);
        assert_eq!((siblings.not_closed(), tally.circuits_open.get()), (0, 0));
        let only = circuit(policy, &tally, &siblings);
        fail(&only, 2);
        assert!(!only.is_closed(), "an only one is judged by itself");
    }
}
