//! The promise itself: where every report is honest, nothing takes effect twice, and what the ledger says is
//! what happened.
//!
//! A world of attempts stands beside the machine. Each granted claim draws its fate (never sent, refused,
//! executed), the upstream's effects are counted, and reports and settlements tell the truth, but come lost,
//! late, repeated and in any order.

use proptest::{collection::vec, prelude::any};
use steadfast_core::{
    AfterUnknown, AfterUnsent, AnswerDigest, Doubt, Effect, Event, Fence, Mode, Rerun, State, Transition,
    transition,
};

use crate::{alphabet::MODES, seeded};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    NeverSent,
    Refused,
    Executed,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    fence: Fence,
    fate: Fate,
}

#[derive(Debug)]
struct World {
    state: State,
    rerun: Rerun,
    /// The attempts of this life.
    attempts: Vec<Attempt>,
    claims: u64,
    effects: u32,
}

/// What an upstream answers however often it is asked with the same key.
const ANSWER: AnswerDigest = AnswerDigest::from_bytes([9; 16]);

impl World {
    fn new(rerun: Rerun) -> Self {
        Self { state: State::Absent, rerun, attempts: Vec::new(), claims: 0, effects: 0 }
    }

    /// A report about an attempt, live or long over, that does not lie.
    fn report(&self, which: u16, how: u16) -> Event {
        let newest = self.attempts.len().saturating_sub(1);
        // Half of all reports are the newest attempt's, or claims would hardly ever end.
        let at = if which.is_multiple_of(2) {
            newest
        } else {
            usize::from(which / 2) % self.attempts.len().max(1)
        };
        let Some(&Attempt { fence, fate }) = self.attempts.get(at) else { return Event::Enqueue };
        let then = match how % 3 {
            0 => AfterUnknown::Hold,
            1 => AfterUnknown::RunAgain,
            _ => AfterUnknown::GiveUp,
        };
        let unsent = if how.is_multiple_of(2) { AfterUnsent::TryAgain } else { AfterUnsent::GiveUp };
        match (how / 6 % 4, fate) {
            (0, _) => Event::LeaseRanOut { fence, then },
            (1, _) => Event::Unknown { fence, then },
            (_, Fate::NeverSent) => Event::NotSent { fence, then: unsent },
            (_, Fate::Refused) => Event::Refused { fence, then: unsent },
            (_, Fate::Executed) => Event::Answered { fence, answer: ANSWER },
        }
    }

    fn settlement(&self, how: u16) -> Event {
        match (self.effects, how.is_multiple_of(2)) {
            (0, _) => Event::SettleDidNotHappen,
            (_, true) => Event::SettleHappened { answer: None },
            (_, false) => Event::SettleHappened { answer: Some(ANSWER) },
        }
    }

    fn event(&self, kind: u8, which: u16, how: u16) -> Event {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(self.claims + 1).to_le_bytes());
        let fence = Fence::from_bytes(bytes);
        let mode = MODES[usize::from(how) % MODES.len()];
        match kind % 16 {
            0..4 => Event::Claim { mode, fence, rerun: self.rerun },
            4..9 => self.report(which, how),
            9 => Event::Enqueue,
            10..12 => Event::Due,
            12 => self.settlement(how),
            13 => Event::Redrive { rerun: self.rerun },
            14 if how.is_multiple_of(2) => Event::Hold,
            14 => Event::Cancel,
            _ if how.is_multiple_of(3) => Event::Purge,
            _ => Event::Expire { tombstone: how.is_multiple_of(2) },
        }
    }

    fn step(&mut self, (kind, which, how): (u8, u16, u16)) {
        let event = self.event(kind, which, how);
        let Ok(Transition { state, effects }) = transition(self.state, event) else { return };
        assert!(!effects.contains(&Effect::OpenCase), "a case among honest people: {event:?} {self:?}");
        if let Event::Claim { fence, .. } = event {
            let fate = [Fate::NeverSent, Fate::Refused, Fate::Executed][usize::from(which) % 3];
            self.attempts.push(Attempt { fence, fate });
            self.claims += 1;
            if fate == Fate::Executed {
                // A repeatable upstream knows the forwarded key again.
                let again = self.rerun == Rerun::Allowed && self.effects > 0;
                self.effects += u32::from(!again);
            }
        }
        self.state = state;
        self.check(event);
        if state == State::Absent {
            *self = Self { claims: self.claims, ..Self::new(self.rerun) };
        }
    }

    fn check(&self, event: Event) {
        assert!(self.effects <= 1, "it took effect twice: {event:?} {self:?}");
        match self.state {
            State::Completed { answer } => {
                assert_eq!(self.effects, 1, "completed, but nothing was executed: {event:?} {self:?}");
                assert!(answer.is_none_or(|answer| answer == ANSWER));
            }
            State::Released
            | State::Cancelled
            | State::Queued { doubt: Doubt::None }
            | State::Waiting { doubt: Doubt::None }
            | State::Dead { doubt: Doubt::None } => {
                assert_eq!(self.effects, 0, "executed, but the ledger says not: {event:?} {self:?}");
            }
            State::Claimed { doubt: Doubt::None, fence, .. } => {
                let own = self.attempts.last().is_some_and(|attempt| attempt.fence == fence);
                assert!(own, "{self:?}");
                let earlier = &self.attempts[..self.attempts.len() - 1];
                assert!(earlier.iter().all(|attempt| attempt.fate != Fate::Executed), "{self:?}");
            }
            State::Claimed { .. }
            | State::Queued { .. }
            | State::Waiting { .. }
            | State::Dead { .. }
            | State::InDoubt { .. }
            | State::Absent
            | State::Tombstone => {}
        }
    }
}

fn live(rerun: Rerun) {
    seeded::check(6_000, &vec((any::<u8>(), any::<u16>(), any::<u16>()), 1..80), |steps| {
        let mut world = World::new(rerun);
        steps.into_iter().for_each(|step| world.step(step));
    });
}

#[test]
fn nothing_takes_effect_twice_on_an_upstream_that_is_not_repeatable() {
    live(Rerun::Forbidden);
}

#[test]
fn nothing_takes_effect_twice_on_an_upstream_that_knows_its_keys_again() {
    live(Rerun::Allowed);
}

#[test]
fn a_synchronous_write_whose_answer_was_lost_is_executed_once_and_settled() {
    let mut world = World::new(Rerun::Forbidden);
    let synchronous = MODES.iter().position(|&mode| mode == Mode::Synchronous).expect("a mode") as u16;
    // Claimed and executed; the lease runs out; the caller asks again; somebody finds out.
    for step in [(0, 2, synchronous), (4, 0, 0), (0, 2, synchronous), (12, 0, 1)] {
        world.step(step);
    }
    assert_eq!((world.state, world.effects), (State::Completed { answer: Some(ANSWER) }, 1));
}
