//! A plan in force: it draws, for each connection and exchange, which faults strike there.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::dice::Dice;
use crate::plan::{
    Bandwidth, Direction, DropReply, Fault, Faults, Kind, Latency, Plan, PlanError, Scope, Slow,
};

/// A validated plan with its seed and the counts that its limits need.
#[derive(Debug)]
pub(crate) struct Armed {
    plan: Plan,
    seed: u64,
    connections: AtomicU64,
    /// Successful draws so far, per fault and direction, for `skip` and `times`.
    hits: [AtomicU64; Kind::COUNT * 2],
}

/// The faults that were drawn for one connection or exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) refuse: bool,
    pub(crate) drop_reply: Option<DropReply>,
    toward_upstream: Effects,
    toward_client: Effects,
}

/// The faults that were drawn for one direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Effects {
    pub(crate) latency: Option<Latency>,
    pub(crate) slow: Option<Slow>,
    pub(crate) bandwidth: Option<Bandwidth>,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) hang: bool,
}

/// The end of a direction after a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) how: CutHow,
    pub(crate) after_bytes: u64,
    pub(crate) scope: Scope,
}

/// What a cut does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutHow {
    Reset,
    Truncate,
    HalfClose,
}

/// What a draw is for; exchange 0 is the connection as a whole.
#[derive(Clone, Copy)]
struct Matter {
    connection: u64,
    exchange: u64,
}

impl Armed {
    pub(crate) fn new(plan: Plan, seed: u64) -> Result<Self, PlanError> {
        plan.validate()?;
        let seed = plan.seed.unwrap_or(seed);
        let plan = Plan { seed: Some(seed), ..plan };
        let hits = std::array::from_fn(|_| AtomicU64::new(0));
        Ok(Armed { plan, seed, connections: AtomicU64::new(0), hits })
    }

    /// The plan as it was given, its seed filled in.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Counts a connection in; from 1.
    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What strikes a connection for as long as it lives.
    pub(crate) fn draw_connection(&self, connection: u64) -> Drawn {
        let matter = Matter { connection, exchange: 0 };
        Drawn {
            refuse: self.pick(&self.plan.refuse, Direction::TowardUpstream, matter).is_some(),
            ..self.draw(matter)
        }
    }

    /// What strikes one exchange (from 1) of a connection, beside what strikes the connection.
    pub(crate) fn draw_exchange(&self, connection: u64, exchange: u64) -> Drawn {
        self.draw(Matter { connection, exchange })
    }

    /// Dice for the jitter of one direction of a connection.
    pub(crate) fn jitter_dice(&self, connection: u64, direction: Direction) -> Dice {
        // No slot has this number, so jitter is independent of every decision.
        Dice::for_matter(self.seed, [connection, direction as u64, u64::MAX])
    }

    fn draw(&self, matter: Matter) -> Drawn {
        Drawn {
            refuse: false,
            drop_reply: self.pick(&self.plan.drop_reply, Direction::TowardClient, matter),
            toward_upstream: self.draw_direction(Direction::TowardUpstream, matter),
            toward_client: self.draw_direction(Direction::TowardClient, matter),
        }
    }

    fn draw_direction(&self, direction: Direction, matter: Matter) -> Effects {
        let Faults { latency, slow, bandwidth, reset, truncate, half_close, hang } =
            self.plan.faults(direction);
        let cut = |how, after_bytes, scope| Cut { how, after_bytes, scope };
        let reset = self.pick(reset, direction, matter);
        let truncate = self.pick(truncate, direction, matter);
        let half_close = self.pick(half_close, direction, matter);
        let cuts = [
            reset.map(|fault| cut(CutHow::Reset, fault.after_bytes, fault.when.scope)),
            truncate.map(|fault| cut(CutHow::Truncate, fault.after_bytes, fault.when.scope)),
            half_close.map(|fault| cut(CutHow::HalfClose, fault.after_bytes, fault.when.scope)),
        ];
        Effects {
            latency: self.pick(latency, direction, matter),
            slow: self.pick(slow, direction, matter),
            bandwidth: self.pick(bandwidth, direction, matter),
            cuts: cuts.into_iter().flatten().collect(),
            hang: self.pick(hang, direction, matter).is_some(),
        }
    }

    /// The fault, if it is planned, belongs to this kind of draw, comes up, and is within its limits.
    fn pick<F: Fault>(&self, fault: &Option<F>, direction: Direction, matter: Matter) -> Option<F> {
        let fault = (*fault)?;
        let when = fault.when();
        let scope = if matter.exchange == 0 { Scope::Connection } else { Scope::Exchange };
        if when.scope != scope {
            return None;
        }
        let slot = F::KIND as usize * 2 + direction as usize;
        let mut dice = Dice::for_matter(self.seed, [matter.connection, matter.exchange, slot as u64]);
        if !dice.chance(when.probability) {
            return None;
        }
        let before = self.hits[slot].fetch_add(1, Ordering::Relaxed);
        let struck_before = before.checked_sub(when.skip)?;
        when.times.is_none_or(|times| struck_before < times).then_some(fault)
    }
}

impl Drawn {
    pub(crate) fn effects(&self, direction: Direction) -> &Effects {
        match direction {
            Direction::TowardUpstream => &self.toward_upstream,
            Direction::TowardClient => &self.toward_client,
        }
    }

    /// Both together. A fault has one scope, so no two of the same kind meet here.
    pub(crate) fn and(&self, other: &Drawn) -> Drawn {
        Drawn {
            refuse: self.refuse || other.refuse,
            drop_reply: self.drop_reply.or(other.drop_reply),
            toward_upstream: self.toward_upstream.and(&other.toward_upstream),
            toward_client: self.toward_client.and(&other.toward_client),
        }
    }
}

impl Effects {
    fn and(&self, other: &Effects) -> Effects {
        Effects {
            latency: self.latency.or(other.latency),
            slow: self.slow.or(other.slow),
            bandwidth: self.bandwidth.or(other.bandwidth),
            cuts: self.cuts.iter().chain(&other.cuts).copied().collect(),
            hang: self.hang || other.hang,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Goodbye, Hang, Refuse, Reset, When};

    fn armed(plan: Plan, seed: u64) -> Armed {
        Armed::new(plan, seed).unwrap()
    }

    fn dropping(when: When) -> Plan {
        Plan { drop_reply: Some(DropReply { then: Goodbye::Close, when }), ..Plan::default() }
    }

    fn dropped(armed: &Armed, exchanges: u64) -> Vec<bool> {
        (1..=exchanges).map(|exchange| armed.draw_exchange(1, exchange).drop_reply.is_some()).collect()
    }

    #[test]
    fn the_same_seed_strikes_the_same_exchanges() {
        let plan = dropping(When::every_exchange().with_probability(0.5));
        assert_eq!(dropped(&armed(plan.clone(), 5), 100), dropped(&armed(plan.clone(), 5), 100));
        assert_ne!(dropped(&armed(plan.clone(), 5), 100), dropped(&armed(plan.clone(), 6), 100));
        let own = Plan { seed: Some(6), ..plan.clone() };
        assert_eq!(dropped(&armed(own, 5), 100), dropped(&armed(plan, 6), 100));
    }

    #[test]
    fn one_fault_more_leaves_the_draws_of_the_others_alone() {
        let plan = dropping(When::every_exchange().with_probability(0.5));
        let hang = Some(Hang { when: When::every_exchange().with_probability(0.5) });
        let more = Plan { toward_client: Faults { hang, ..Faults::default() }, ..plan.clone() };
        assert_eq!(dropped(&armed(plan, 5), 100), dropped(&armed(more, 5), 100));
    }

    #[test]
    fn skip_and_times_bound_the_strikes() {
        let plan = dropping(When::next_exchanges(2).after_skipping(1));
        assert_eq!(dropped(&armed(plan, 1), 5), [false, true, true, false, false]);
    }

    #[test]
    fn a_connections_draw_and_an_exchanges_draw_are_kept_apart() {
        let per_connection = armed(dropping(When::default()), 1);
        assert_eq!(per_connection.draw_exchange(1, 1), Drawn::default());
        let drawn = per_connection.draw_connection(1);
        assert!(drawn.and(&Drawn::default()).drop_reply.is_some());

        let per_exchange = armed(dropping(When::every_exchange()), 1);
        assert_eq!(per_exchange.draw_connection(1), Drawn::default());
    }

    #[test]
    fn faults_of_both_directions_combine() {
        let reset = |after_bytes| Some(Reset { after_bytes, when: When::default() });
        let plan = Plan {
            refuse: Some(Refuse::default()),
            toward_upstream: Faults { reset: reset(1), ..Faults::default() },
            toward_client: Faults { reset: reset(2), ..Faults::default() },
            ..Plan::default()
        };
        let drawn = armed(plan, 1).draw_connection(1);
        assert!(drawn.refuse);
        assert_eq!(drawn.effects(Direction::TowardUpstream).cuts[0].after_bytes, 1);
        assert_eq!(drawn.effects(Direction::TowardClient).cuts[0].after_bytes, 2);
    }
}
