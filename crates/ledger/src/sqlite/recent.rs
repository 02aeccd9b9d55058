//! The operations that changed since the tables were last written: what the log says and the tables do not, yet.
//!
//! Only what happens to nearly every operation happens here: a new one is claimed, its attempt ends. Whatever
//! else is to happen to an operation waits until the tables have it (see [`fold`](super::fold)).

use std::{collections::HashMap, time::Instant};

use steadfast_core::{
    Answer, AttemptEnd, Doubt, Effect, Fence, Next, OperationDigest, State, Timestamp, Transition, transition,
};

use super::{
    finishing::end_event,
    row::{Head, Whole},
    rows::EndColumns,
};

/// With so many of them the tables are written: a bound on how long that takes.
const OPERATIONS_MAX: usize = 16_384;

/// With so much of them in memory the tables are written.
const BYTES_MAX: usize = 16 << 20;

/// What one takes in memory beside its answer, about.
const OPERATION_BYTES: usize = 600;

/// The recent operations, by their row and by their digest.
#[derive(Debug, Default)]
pub(super) struct Recent {
    operations: HashMap<i64, Operation>,
    by_digest: HashMap<OperationDigest, i64>,
    /// Those whose attempts ended, in that order.
    ended: Vec<i64>,
    /// How many of those are in the tables, in a transaction that is open.
    folded: usize,
    bytes: usize,
    /// Since when the tables lag behind.
    since: Option<Instant>,
    /// How to take back what is not in the log yet.
    undo: Vec<Undo>,
}

/// A recent operation.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) whole: Whole,
    /// Whether the tables have a row of it, as it was claimed.
    pub(super) is_row: bool,
    pub(super) ended: Option<Ended>,
}

/// How its attempt ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) fence: Fence,
    pub(super) began_at: Timestamp,
    pub(super) columns: EndColumns,
    pub(super) answer: Option<Answer>,
}

#[derive(Debug)]
enum Undo {
    Insert(i64),
    End(i64, Box<Head>),
}

/// An end that is accepted: the operation after it, and whether somebody may be waiting for it.
pub(super) struct After {
    pub(super) head: Head,
    pub(super) wakes: bool,
}

impl Recent {
    pub(super) fn get(&self, seq: i64) -> Option<&Operation> {
        self.operations.get(&seq)
    }

    pub(super) fn by_digest(&self, digest: OperationDigest) -> Option<&Operation> {
        self.by_digest.get(&digest).and_then(|seq| self.operations.get(seq))
    }

    /// Adds an operation: a new one, or one of which the tables have a row.
    pub(super) fn insert(&mut self, whole: Whole, is_row: bool) {
        let seq = whole.head.seq;
        self.since.get_or_insert_with(Instant::now);
        self.bytes += OPERATION_BYTES;
        self.by_digest.insert(whole.head.digest, seq);
        self.operations.insert(seq, Operation { whole, is_row, ended: None });
        self.undo.push(Undo::Insert(seq));
    }

    /// Ends the attempt of one of them as [`after`] said.
    pub(super) fn end(&mut self, seq: i64, fence: Fence, end: AttemptEnd, head: Head) {
        let Some(operation) = self.operations.get_mut(&seq) else { return };
        let before = std::mem::replace(&mut operation.whole.head, head);
        let began_at = before.began_at.unwrap_or(before.created_at);
        let columns = EndColumns::of(&end);
        let answer = match end {
            AttemptEnd::Answered(answer) => {
                let body_bytes = answer.body.as_ref().map_or(0, bytes::Bytes::len);
                self.bytes += answer.headers.as_packed().len() + body_bytes;
                Some(answer)
            }
            AttemptEnd::NotSent(_) | AttemptEnd::Refused { .. } | AttemptEnd::Unknown { .. } => None,
        };
        operation.ended = Some(Ended { fence, began_at, columns, answer });
        self.ended.push(seq);
        self.undo.push(Undo::End(seq, Box::new(before)));
    }

    /// What was done is in the log.
    pub(super) fn commit(&mut self) {
        self.undo.clear();
    }

    /// What was done since the last commit was not written to the log: takes it back.
    pub(super) fn roll_back(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Insert(seq) => {
                    if let Some(operation) = self.operations.remove(&seq) {
                        self.by_digest.remove(&operation.whole.head.digest);
                    }
                }
                Undo::End(seq, before) => {
                    self.ended.pop();
                    if let Some(operation) = self.operations.get_mut(&seq) {
                        operation.whole.head = *before;
                        operation.ended = None;
                    }
                }
            }
        }
    }

    /// How many have ended and are not in the tables.
    pub(super) fn unfolded(&self) -> usize {
        self.ended.len() - self.folded
    }

    /// The next that has ended and is not in the tables.
    pub(super) fn next_ended(&self) -> Option<&Operation> {
        self.ended.get(self.folded).and_then(|seq| self.operations.get(seq))
    }

    /// It is in the tables, in the transaction that is open.
    pub(super) fn folded_one(&mut self) {
        self.folded += 1;
    }

    /// That transaction was rolled back.
    pub(super) fn unfold(&mut self) {
        self.folded = 0;
    }

    /// Those whose attempts are under way and of which the tables have no row.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values().filter(|operation| !operation.is_row && operation.ended.is_none())
    }

    /// The tables have all of it.
    pub(super) fn clear(&mut self) {
        self.operations.clear();
        self.by_digest.clear();
        self.ended.clear();
        (self.folded, self.bytes, self.since) = (0, 0, None);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Whether it is time that the tables are written.
    pub(super) fn is_full(&self) -> bool {
        self.operations.len() >= OPERATIONS_MAX || self.bytes >= BYTES_MAX
    }

    /// Since when the tables lag behind.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }
}

/// The operation after its attempt with this fence ended so, at this time; `None` where that takes more than to
/// write the end down: where the claim is not this fence's, or an earlier attempt is in doubt.
pub(super) fn after(head: &Head, fence: Fence, end: &AttemptEnd, at: Timestamp) -> Option<After> {
    let is_plain =
        matches!(head.state, State::Claimed { fence: live, doubt: Doubt::None, .. } if live == fence);
    // What follows makes no difference to a synchronous operation.
    let Transition { state, effects } =
        transition(head.state, end_event(fence, end, Next::Hold)).ok().filter(|_| is_plain)?;
    let (mut wakes, mut expires_at) = (false, None);
    for effect in effects {
        match effect {
            Effect::Wake => wakes = true,
            Effect::BeginRetention => expires_at = Some(head.retention.expiry(head.created_at, at)),
            // With the end.
            Effect::StoreAnswer => {}
            Effect::BeginAttempt | Effect::KeepEvidence | Effect::AdoptEvidence | Effect::OpenCase => {
                return None;
            }
        }
    }
    Some(After { head: Head { state, began_at: None, changed_at: at, expires_at, ..*head }, wakes })
}
