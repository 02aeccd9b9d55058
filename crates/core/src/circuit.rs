//! A circuit: whether an endpoint may be sent requests, judged by what became of the last ones.
//!
//! An endpoint that fails is left alone for a while, so that it can recover and nobody waits for a failure; then a few
//! requests find out whether it is well again. Everything here is a pure function of what happened and when: time comes
//! in as the time since some origin, and chance from a seed.
//!
//! ```text
//!            too many failed or slow            its time is up
//!   closed ──────────────────────────▶ open ─────────────────────▶ half-open
//!     ▲                                 ▲ one probe failed: longer     │ │
//!     │                                 └──────────────────────────────┘ │
//!     └──────────────────────────────────────────── all probes succeeded ┘
//! ```

use std::time::Duration;

use crate::call_window::CallWindow;

/// By how much of itself an open time may be shorter, so that many gateways do not probe at once: a tenth.
const JITTER_PARTS: u64 = 10;
/// When to come again while probes are under way: nobody knows how long they take.
const WHILE_PROBING: Duration = Duration::from_secs(1);

/// What opens a circuit, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitPolicy {
    /// Opens it: this share of the calls in the window failed. 0.5 unless stated.
    pub failure_ratio: Ratio,
    /// What takes longer is slow, until the head of its answer. Nothing is unless stated.
    pub slow: Option<Duration>,
    /// Opens it: this share of the calls in the window was slow. 0.8 unless stated.
    pub slow_ratio: Ratio,
    /// How far back it looks; 10 s unless stated.
    pub window: Duration,
    /// With fewer calls in the window the ratios mean nothing; 20 unless stated.
    pub volume_min: u32,
    /// Opens it: this many calls in a row failed. However many, unless stated.
    pub consecutive: Option<u32>,
    /// For how long it opens first; 5 s unless stated. Twice as long after each failed probe.
    pub open_for: Duration,
    /// For how long it opens at most; 1 min unless stated.
    pub open_for_max: Duration,
    /// How many calls go through after that, and must succeed to close it; 3 unless stated.
    pub probes: u32,
    /// Whether it is not acted on: what it would have refused is counted, and goes through. Not unless stated.
    pub is_shadow: bool,
}

impl Default for CircuitPolicy {
    fn default() -> Self {
        Self {
            failure_ratio: Ratio::from_millionths(500_000),
            slow: None,
            slow_ratio: Ratio::from_millionths(800_000),
            window: Duration::from_secs(10),
            volume_min: 20,
            consecutive: None,
            open_for: Duration::from_secs(5),
            open_for_max: Duration::from_secs(60),
            probes: 3,
            is_shadow: false,
        }
    }
}

/// A share of a whole, exact to a millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(u32);

impl Ratio {
    /// So many millionths; the whole at most.
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Self {
        Self(if millionths > 1_000_000 { 1_000_000 } else { millionths })
    }

    /// It in millionths.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// Whether `part` of `whole` is at least that share.
    fn is_reached(self, part: u32, whole: u32) -> bool {
        u64::from(part) * 1_000_000 >= u64::from(whole) * u64::from(self.0)
    }
}

/// What became of a call, as far as its circuit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// It was answered; a caller's own fault is an answer too.
    Succeeded,
    /// It was not answered, or with the endpoint's own failure.
    Failed,
    /// It says nothing of the endpoint: the caller left, or its own request broke off, or there was too much of them.
    Unjudged,
}

/// Leave for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    era: u32,
}

impl Ticket {
    /// Leave for a call in an era in which the circuit is closed, for whoever knows that without asking it.
    #[must_use]
    pub const fn of_era(era: u32) -> Self {
        Self { era }
    }
}

/// A call may not go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// When to come again.
    pub retry_after: Duration,
}

/// How a circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Everything goes through.
    Closed,
    /// Nothing does.
    Open,
    /// A few probes do.
    HalfOpen,
}

impl Phase {
    /// The name that logs and the admin API write.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Why a circuit stands as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It began so.
    Began,
    /// Too many calls failed.
    Failures {
        /// How many.
        failed: u32,
        /// Of how many.
        calls: u32,
    },
    /// Too many calls were slow.
    Slow {
        /// How many.
        slow: u32,
        /// Of how many.
        calls: u32,
    },
    /// Too many calls failed in a row.
    Consecutive {
        /// How many.
        failed: u32,
    },
    /// Its time was up.
    TimeUp,
    /// A probe failed, or was slow.
    ProbeFailed,
    /// The probes succeeded.
    ProbesSucceeded,
    /// Somebody said so.
    ByHand,
}

impl std::fmt::Display for Why {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Began => formatter.write_str("it began so"),
            Self::Failures { failed, calls } => write!(formatter, "{failed} of {calls} calls failed"),
            Self::Slow { slow, calls } => write!(formatter, "{slow} of {calls} calls were slow"),
            Self::Consecutive { failed } => write!(formatter, "{failed} calls in a row failed"),
            Self::TimeUp => formatter.write_str("its time was up"),
            Self::ProbeFailed => formatter.write_str("a probe failed or was slow"),
            Self::ProbesSucceeded => formatter.write_str("the probes succeeded"),
            Self::ByHand => formatter.write_str("by hand"),
        }
    }
}

/// A circuit went from one phase to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// How it stood.
    pub from: Phase,
    /// How it stands.
    pub to: Phase,
    /// Why.
    pub why: Why,
    /// For how long it is open now.
    pub open_for: Option<Duration>,
}

/// What somebody wants of a circuit by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To let nothing through until then; probes find out what follows.
    Open {
        /// Until when.
        until: Duration,
    },
    /// To let everything through until then, whatever becomes of it.
    Closed {
        /// Until when.
        until: Duration,
    },
    /// To go by what happens, from a clean slate.
    Automatic,
}

/// How a circuit stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitView {
    /// Its phase.
    pub phase: Phase,
    /// Since when.
    pub since: Duration,
    /// Why.
    pub why: Why,
    /// Until when it is open, or held by hand.
    pub until: Option<Duration>,
    /// Whether somebody holds it so.
    pub by_hand: bool,
    /// How many calls the window holds, how many of them failed, and how many were slow.
    pub calls: u32,
    /// How many of them failed.
    pub failed: u32,
    /// How many of them were slow.
    pub slow: u32,
}

/// One circuit.
#[derive(Clone, Debug)]
pub struct Circuit {
    policy: CircuitPolicy,
    state: State,
    window: CallWindow,
    /// Counts the changes: what a call of an earlier era brings says nothing of this one.
    era: u32,
    since: Duration,
    why: Why,
    random: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        /// How many calls failed since the last that did not.
        consecutive: u32,
        /// Until when somebody holds it closed.
        held_until: Option<Duration>,
    },
    Open {
        until: Duration,
        /// How often it opened without closing in between.
        streak: u32,
        by_hand: bool,
    },
    HalfOpen {
        under_way: u32,
        succeeded: u32,
        streak: u32,
        /// When a probe last began or ended.
        moved_at: Duration,
    },
}

impl Circuit {
    /// A closed one.
    #[must_use]
    pub fn new(policy: CircuitPolicy, seed: u64) -> Self {
        let window = CallWindow::new(policy.window);
        let state = State::Closed { consecutive: 0, held_until: None };
        Self { policy, state, window, era: 0, since: Duration::ZERO, why: Why::Began, random: seed }
    }

    /// How it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Closed { .. } => Phase::Closed,
            State::Open { .. } => Phase::Open,
            State::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// How often it changed. A [`Ticket`] is good for one era.
    #[must_use]
    pub fn era(&self) -> u32 {
        self.era
    }

    /// Whether somebody holds it open just now.
    #[must_use]
    pub fn is_held_open(&self, now: Duration) -> bool {
        matches!(self.state, State::Open { until, by_hand: true, .. } if now < until)
    }

    /// Whether a call might go through; it changes nothing.
    ///
    /// # Errors
    /// It might not, and says when to come again.
    pub fn look(&self, now: Duration) -> Result<(), Held> {
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until, .. } if now < until => Err(Held { retry_after: until - now }),
            State::Open { .. } => Ok(()),
            State::HalfOpen { under_way, succeeded, moved_at, .. } => {
                let has_room = under_way + succeeded < self.policy.probes;
                let given_up = now.saturating_sub(moved_at) >= self.policy.open_for_max;
                if has_room || given_up { Ok(()) } else { Err(Held { retry_after: WHILE_PROBING }) }
            }
        }
    }

    /// Asks for leave to make a call. Whoever gets it says what became of it: [`Circuit::ended`].
    pub fn admit(&mut self, now: Duration) -> (Result<Ticket, Held>, Option<Change>) {
        if let Err(held) = self.look(now) {
            return (Err(held), None);
        }
        let change = match &mut self.state {
            State::Closed { .. } => None,
            State::Open { streak, .. } => {
                let streak = *streak;
                let state = State::HalfOpen { under_way: 1, succeeded: 0, streak, moved_at: now };
                Some(self.turn(state, Why::TimeUp, now, None))
            }
            State::HalfOpen { under_way, succeeded, moved_at, .. } => {
                if *under_way + *succeeded >= self.policy.probes {
                    // Nothing was heard of the probes for so long that nothing will be: others take their place.
                    *under_way = 0;
                    self.era += 1;
                }
                *under_way += 1;
                *moved_at = now;
                None
            }
        };
        (Ok(Ticket { era: self.era }), change)
    }

    /// Says what became of a call that took so long. `may_eject` is whether a row of failures may open it.
    pub fn ended(
        &mut self,
        ticket: Ticket,
        end: CallEnd,
        took: Duration,
        now: Duration,
        may_eject: bool,
    ) -> Option<Change> {
        if ticket.era != self.era {
            return None;
        }
        let failed = end == CallEnd::Failed;
        let slow = self.policy.slow.is_some_and(|slow| took > slow);
        match &mut self.state {
            State::Closed { consecutive, held_until } => {
                if end == CallEnd::Unjudged {
                    return None;
                }
                *consecutive = if failed { consecutive.saturating_add(1) } else { 0 };
                let (in_a_row, held) = (*consecutive, held_until.is_some_and(|until| now < until));
                self.window.add(now, failed, slow);
                let why = if held { None } else { self.overdue(in_a_row, may_eject) };
                why.map(|why| self.open(0, why, now))
            }
            State::HalfOpen { under_way, succeeded, streak, moved_at } => {
                *under_way = under_way.saturating_sub(1);
                *moved_at = now;
                match end {
                    CallEnd::Unjudged => None,
                    CallEnd::Succeeded if !slow => {
                        *succeeded += 1;
                        let closed = State::Closed { consecutive: 0, held_until: None };
                        (*succeeded >= self.policy.probes)
                            .then(|| self.turn(closed, Why::ProbesSucceeded, now, None))
                    }
                    CallEnd::Succeeded | CallEnd::Failed => {
                        let streak = streak.saturating_add(1);
                        Some(self.open(streak, Why::ProbeFailed, now))
                    }
                }
            }
            // No call is let through in an era in which it is open.
            State::Open { .. } => None,
        }
    }

    /// Does what somebody wants of it.
    pub fn order(&mut self, order: Order, now: Duration) -> Change {
        let (state, open_for) = match order {
            Order::Open { until } => {
                (State::Open { until, streak: 0, by_hand: true }, Some(until.saturating_sub(now)))
            }
            Order::Closed { until } => (State::Closed { consecutive: 0, held_until: Some(until) }, None),
            Order::Automatic => (State::Closed { consecutive: 0, held_until: None }, None),
        };
        self.turn(state, Why::ByHand, now, open_for)
    }

    /// How it stands, for people.
    #[must_use]
    pub fn view(&self, now: Duration) -> CircuitView {
        let (calls, failed, slow) = self.window.clone().totals(now);
        let (until, by_hand) = match self.state {
            State::Closed { held_until, .. } => {
                let held = held_until.filter(|until| now < *until);
                (held, held.is_some())
            }
            State::Open { until, by_hand, .. } => (Some(until), by_hand && now < until),
            State::HalfOpen { .. } => (None, false),
        };
        let (phase, since, why) = (self.phase(), self.since, self.why);
        CircuitView { phase, since, why, until, by_hand, calls, failed, slow }
    }

    /// Why a closed circuit should open, if it should.
    fn overdue(&self, in_a_row: u32, may_eject: bool) -> Option<Why> {
        if may_eject && self.policy.consecutive.is_some_and(|most| in_a_row >= most) {
            return Some(Why::Consecutive { failed: in_a_row });
        }
        let CallWindow { calls, failed, slow, .. } = self.window;
        if calls < self.policy.volume_min {
            return None;
        }
        if failed > 0 && self.policy.failure_ratio.is_reached(failed, calls) {
            return Some(Why::Failures { failed, calls });
        }
        (slow > 0 && self.policy.slow_ratio.is_reached(slow, calls)).then_some(Why::Slow { slow, calls })
    }

    fn open(&mut self, streak: u32, why: Why, now: Duration) -> Change {
        let times = 2_u32.saturating_pow(streak.min(20));
        let longest = self.policy.open_for.saturating_mul(times).min(self.policy.open_for_max);
        let jitter_ms_max = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX) / JITTER_PARTS;
        let open_for = longest - Duration::from_millis(self.chance(jitter_ms_max));
        let state = State::Open { until: now + open_for, streak, by_hand: false };
        self.turn(state, why, now, Some(open_for))
    }

    fn turn(&mut self, state: State, why: Why, now: Duration, open_for: Option<Duration>) -> Change {
        let from = self.phase();
        self.state = state;
        self.era += 1;
        (self.since, self.why) = (now, why);
        if self.phase() == Phase::Closed {
            self.window = CallWindow::new(self.policy.window);
        }
        Change { from, to: self.phase(), why, open_for }
    }

    /// A number up to `most` (SplitMix64).
    fn chance(&mut self, most: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens, and when in milliseconds.
    enum Step {
        /// So many calls begin and end at once.
        Calls(u32, CallEnd),
        /// A call that took so many milliseconds succeeds.
        Took(u64),
        /// A call begins and does not end.
        Begins,
        /// The call that began first of those ends.
        Ends(CallEnd),
        /// A call is held, and told to come again after so many milliseconds.
        IsHeld(u64),
        By(Order),
    }
    use CallEnd::{Failed, Succeeded, Unjudged};
    use Step::{Begins, By, Calls, Ends, IsHeld, Took};

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Opens when half of at least 4 calls within 1 s failed, or all were slow; for 1, 2, 4, 5, 5 … seconds.
    fn policy() -> CircuitPolicy {
        CircuitPolicy {
            volume_min: 4,
            slow: Some(ms(200)),
            slow_ratio: Ratio::from_millionths(1_000_000),
            window: ms(1_000),
            open_for: ms(1_000),
            open_for_max: ms(5_000),
            probes: 2,
            ..CircuitPolicy::default()
        }
    }

    /// Goes through `steps`, and says how the circuit stands after each.
    fn run(policy: CircuitPolicy, steps: &[(u64, Step, Phase)]) -> Circuit {
        let mut circuit = Circuit::new(policy, 0);
        let mut under_way = std::collections::VecDeque::new();
        for (number, (at, step, phase)) in steps.iter().enumerate() {
            let now = ms(*at);
            match step {
                Calls(count, end) => {
                    for _ in 0..*count {
                        let (ticket, _) = circuit.admit(now);
                        let ticket = ticket.unwrap_or_else(|held| panic!("step {number}: {held:?}"));
                        circuit.ended(ticket, *end, ms(1), now, true);
                    }
                }
                Took(took) => {
                    let ticket = circuit.admit(now).0.expect("it goes through");
                    circuit.ended(ticket, Succeeded, ms(*took), now, true);
                }
                Begins => under_way.push_back(circuit.admit(now).0.expect("it goes through")),
                Ends(end) => {
                    circuit.ended(under_way.pop_front().expect("one is under way"), *end, ms(1), now, true);
                }
                IsHeld(after) => {
                    let (ticket, change) = circuit.admit(now);
                    let held = ticket.expect_err("it is held");
                    // Its open time may be a tenth shorter.
                    let tenth = ms((*after / 10).max(100));
                    assert!(change.is_none());
                    assert!(
                        held.retry_after <= ms(*after) && held.retry_after + tenth >= ms(*after),
                        "step {number}: {held:?}"
                    );
                }
                By(order) => {
                    circuit.order(*order, now);
                }
            }
            assert_eq!(circuit.phase(), *phase, "after step {number}");
        }
        circuit
    }

    use Phase::{Closed, HalfOpen, Open};

    #[test]
    fn it_opens_when_the_share_of_failures_is_reached_and_there_were_enough_calls() {
        run(policy(), &[(0, Calls(3, Failed), Closed), (10, Calls(1, Succeeded), Open)]);
        run(policy(), &[(0, Calls(5, Succeeded), Closed), (10, Calls(4, Failed), Closed)]);
        run(policy(), &[(0, Calls(5, Succeeded), Closed), (10, Calls(5, Failed), Open)]);
        run(policy(), &[(0, Calls(900, Succeeded), Closed)]);
    }

    #[test]
    fn what_is_no_longer_in_the_window_counts_no_more() {
        run(policy(), &[(0, Calls(3, Failed), Closed), (1_000, Calls(3, Failed), Closed)]);
        run(policy(), &[(0, Calls(3, Failed), Closed), (899, Calls(1, Failed), Open)]);
        run(policy(), &[(50, Calls(3, Failed), Closed), (90_000, Calls(3, Failed), Closed)]);
    }

    #[test]
    fn it_opens_when_the_share_of_slow_calls_is_reached() {
        let slow = || Took(201);
        run(policy(), &[(0, slow(), Closed), (1, slow(), Closed), (2, slow(), Closed), (3, slow(), Open)]);
        run(
            policy(),
            &[(0, Took(200), Closed), (1, slow(), Closed), (2, slow(), Closed), (3, slow(), Closed)],
        );
    }

    #[test]
    fn it_opens_after_failures_in_a_row_where_that_is_asked_for() {
        let consecutive = || CircuitPolicy { consecutive: Some(3), volume_min: 100, ..policy() };
        run(consecutive(), &[(0, Calls(2, Failed), Closed), (1, Calls(1, Failed), Open)]);
        let between = [
            (0, Calls(2, Failed), Closed),
            (1, Calls(1, Succeeded), Closed),
            (2, Calls(2, Failed), Closed),
            // What says nothing interrupts no row.
            (3, Calls(1, Unjudged), Closed),
            (4, Calls(1, Failed), Open),
        ];
        run(consecutive(), &between);
        let mut circuit = Circuit::new(consecutive(), 0);
        for _ in 0..50 {
            let ticket = circuit.admit(ms(0)).0.expect("it goes through");
            circuit.ended(ticket, Failed, ms(1), ms(0), false);
        }
        assert_eq!(circuit.phase(), Closed, "it may not be ejected");
    }

    #[test]
    fn what_is_not_judged_never_opens_it() {
        run(policy(), &[(0, Calls(500, Unjudged), Closed)]);
    }

    #[test]
    fn after_its_time_a_few_probes_close_it() {
        let steps = [
            (0, Calls(4, Failed), Open),
            (500, IsHeld(500), Open),
            (1_000, Begins, HalfOpen),
            (1_010, Begins, HalfOpen),
            (1_020, IsHeld(1_000), HalfOpen),
            (1_030, Ends(Succeeded), HalfOpen),
            // Those that went through already have to do.
            (1_040, IsHeld(1_000), HalfOpen),
            (1_050, Ends(Succeeded), Closed),
            // What was before counts no more.
            (1_060, Calls(3, Failed), Closed),
            (1_070, Calls(1, Failed), Open),
            // It begins anew with the short time.
            (1_070, IsHeld(1_000), Open),
        ];
        run(policy(), &steps);
    }

    #[test]
    fn each_probe_that_fails_or_is_slow_doubles_its_time_up_to_a_bound() {
        let steps = [
            (0, Calls(4, Failed), Open),
            (1_000, Calls(1, Failed), Open),
            (1_000, IsHeld(2_000), Open),
            (3_000, Took(201), Open),
            (3_000, IsHeld(4_000), Open),
            (7_000, Calls(1, Failed), Open),
            (7_000, IsHeld(5_000), Open),
            (12_000, Calls(1, Failed), Open),
            (12_000, IsHeld(5_000), Open),
            (17_000, Calls(2, Succeeded), Closed),
            (17_010, Calls(4, Failed), Open),
            (17_010, IsHeld(1_000), Open),
        ];
        run(policy(), &steps);
    }

    #[test]
    fn a_probe_of_which_nothing_is_learned_makes_room_for_another() {
        let steps = [
            (0, Calls(4, Failed), Open),
            (1_000, Begins, HalfOpen),
            (1_000, Begins, HalfOpen),
            (1_001, IsHeld(1_000), HalfOpen),
            (1_002, Ends(Unjudged), HalfOpen),
            (1_003, Begins, HalfOpen),
            (1_004, IsHeld(1_000), HalfOpen),
        ];
        run(policy(), &steps);
    }

    #[test]
    fn probes_of_which_nothing_is_heard_are_given_up() {
        let steps = [
            (0, Calls(4, Failed), Open),
            (1_000, Begins, HalfOpen),
            (1_000, Begins, HalfOpen),
            (5_999, IsHeld(1_000), HalfOpen),
            (6_000, Begins, HalfOpen),
            // What the first ones bring is of no interest any more.
            (6_001, Ends(Failed), HalfOpen),
            (6_001, Ends(Failed), HalfOpen),
            (6_002, Ends(Succeeded), HalfOpen),
            (6_003, Calls(1, Succeeded), Closed),
        ];
        run(policy(), &steps);
    }

    #[test]
    fn what_an_earlier_call_brings_says_nothing_of_now() {
        let steps = [
            (0, Begins, Closed),
            (0, Begins, Closed),
            (0, Calls(4, Failed), Open),
            (500, Ends(Succeeded), Open),
            (1_000, Calls(1, Succeeded), HalfOpen),
            (1_001, Ends(Failed), HalfOpen),
            (1_002, Calls(1, Succeeded), Closed),
        ];
        run(policy(), &steps);
    }

    #[test]
    fn it_can_be_held_open_and_probes_find_out_what_follows() {
        let steps = [
            (0, By(Order::Open { until: ms(60_000) }), Open),
            (59_000, IsHeld(1_000), Open),
            (60_000, Calls(1, Succeeded), HalfOpen),
            (60_000, Calls(1, Succeeded), Closed),
        ];
        let steps_with_failure = [
            (0, By(Order::Open { until: ms(60_000) }), Open),
            (60_000, Calls(1, Failed), Open),
            (60_000, IsHeld(2_000), Open),
        ];
        run(policy(), &steps);
        run(policy(), &steps_with_failure);
    }

    #[test]
    fn it_can_be_held_closed_and_goes_by_what_happens_afterwards() {
        let steps = [
            (0, Calls(4, Failed), Open),
            (10, By(Order::Closed { until: ms(60_000) }), Closed),
            (59_999, Calls(100, Failed), Closed),
            (60_000, Calls(1, Failed), Open),
            (60_001, By(Order::Automatic), Closed),
            (60_002, Calls(3, Failed), Closed),
        ];
        run(policy(), &steps);
    }

    #[test]
    fn people_see_how_it_stands_and_why() {
        let circuit = run(policy(), &[(10, Calls(1, Succeeded), Closed), (20, Calls(3, Failed), Open)]);
        let view = circuit.view(ms(30));
        assert_eq!((view.phase, view.since, view.by_hand), (Open, ms(20), false));
        assert_eq!(view.why.to_string(), "3 of 4 calls failed");
        assert!(view.until.is_some_and(|until| until > ms(900) && until <= ms(1_020)));
        let held = run(
            policy(),
            &[(0, By(Order::Closed { until: ms(100) }), Closed), (1, Calls(1, Failed), Closed)],
        );
        let view = held.view(ms(50));
        assert_eq!((view.until, view.by_hand, view.calls, view.failed), (Some(ms(100)), true, 1, 1));
        assert_eq!(held.view(ms(100)).until, None);
    }
}
