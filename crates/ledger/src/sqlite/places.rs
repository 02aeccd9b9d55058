//! Where background operations stand: which of them can be taken, and in which order those of a lane follow each other.
//! Whatever changes the state of one comes by here, so that it can be taken exactly while it is queued or waiting, and the
//! head of its lane.

use std::time::Duration;

use rusqlite::{OptionalExtension, Result, Row, params};
use steadfast_core::{Rerun, Stamina, State, Timestamp, rerun};

use super::{desk::Desk, row::Head};

/// Where one stands, and what it has left.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) route: Box<str>,
    pub(super) urgency: i64,
    lane: Option<InLane>,
    pub(super) stamina: Stamina,
    pub(super) due_at: Timestamp,
    pub(super) first_sent: Option<Timestamp>,
    pub(super) cancel_asked: bool,
}

/// A lane: the bucket of its operations, and its digest.
type LaneName = (u16, [u8; 16]);

/// Where one stands in its lane.
#[derive(Clone, Copy, Debug)]
struct InLane {
    lane: LaneName,
    position: i64,
    /// Whether those behind it go on without it, should it be in doubt or dead.
    passes: bool,
}

/// Reads a [`Place`].
const PLACE: &str = "SELECT o.route, -b.priority, b.tries, b.tries_max, b.give_up_at, b.due_at, b.first_sent_at, \
                     b.cancel_asked, b.bucket, b.lane, b.lane_position, b.lane_passes \
                     FROM background AS b JOIN operations AS o ON o.seq = b.seq WHERE b.seq = ?1";

impl Place {
    fn read(row: &Row<'_>) -> Result<Self> {
        let lane = match row.get::<_, Option<[u8; 16]>>(9)? {
            Some(lane) => {
                Some(InLane { lane: (row.get(8)?, lane), position: row.get(10)?, passes: row.get(11)? })
            }
            None => None,
        };
        Ok(Self {
            route: row.get(0)?,
            urgency: row.get(1)?,
            lane,
            stamina: Stamina {
                tries: row.get(2)?,
                tries_max: row.get(3)?,
                give_up_at: Timestamp::from_millis(row.get(4)?),
            },
            due_at: Timestamp::from_millis(row.get(5)?),
            first_sent: row.get::<_, Option<i64>>(6)?.map(Timestamp::from_millis),
            cancel_asked: row.get(7)?,
        })
    }
}

impl InLane {
    /// Whether an operation in this state has left the lane.
    fn has_left(self, state: State) -> bool {
        match state {
            State::Queued { .. } | State::Claimed { .. } | State::Waiting { .. } => false,
            State::InDoubt { .. } | State::Dead { .. } => self.passes,
            State::Absent
            | State::Completed { .. }
            | State::Released
            | State::Cancelled
            | State::Tombstone => true,
        }
    }
}

/// Whether an operation in this state waits for a worker.
fn waits(state: State) -> bool {
    matches!(state, State::Queued { .. } | State::Waiting { .. })
}

impl Desk {
    /// Where a background operation stands.
    pub(super) fn place(&self, seq: i64) -> Result<Option<Place>> {
        self.conn.prepare_cached(PLACE)?.query_row([seq], Place::read).optional()
    }

    /// Whether an operation whose earlier attempt is in doubt may run again now.
    pub(super) fn may_rerun(&self, head: &Head, place: &Place, current: Option<Duration>) -> Rerun {
        rerun(place.first_sent.unwrap_or(head.created_at), self.now, head.repeatable_for, current)
    }

    /// The state of a background operation has become `after`: it stands where it belongs.
    pub(super) fn keep_place(&mut self, seq: i64, before: State, after: State) -> Result<()> {
        let Some(place) = self.place(seq)? else { return Ok(()) };
        if waits(before) && !waits(after) {
            self.leave_ready(seq, &place)?;
        }
        let Some(in_lane) = place.lane else {
            return if waits(after) && !waits(before) { self.enter_ready(seq, &place) } else { Ok(()) };
        };
        if in_lane.has_left(after) {
            self.leave_lane(in_lane)?;
            return self.call_up(in_lane.lane);
        }
        self.enter_lane(in_lane, seq)?;
        if waits(after) && !waits(before) && self.head_of(in_lane.lane)? == Some(seq) {
            self.enter_ready(seq, &place)?;
        }
        Ok(())
    }

    /// Lets the head of a lane be taken, if it waits for that.
    fn call_up(&mut self, lane: LaneName) -> Result<()> {
        let Some(seq) = self.head_of(lane)? else { return Ok(()) };
        const SQL: &str = "SELECT state = 'queued' OR state = 'waiting' FROM operations WHERE seq = ?1";
        let waits: Option<bool> =
            self.conn.prepare_cached(SQL)?.query_row([seq], |row| row.get(0)).optional()?;
        match self.place(seq)?.filter(|_| waits == Some(true)) {
            Some(place) => self.enter_ready(seq, &place),
            None => Ok(()),
        }
    }

    fn enter_ready(&mut self, seq: i64, place: &Place) -> Result<()> {
        const SQL: &str = "INSERT OR IGNORE INTO ready (route, urgency, due_at, seq) VALUES (?1, ?2, ?3, ?4)";
        let row = params![&*place.route, place.urgency, place.due_at.as_millis(), seq];
        self.conn.prepare_cached(SQL)?.execute(row)?;
        self.arrived = true;
        Ok(())
    }

    /// Takes one out of those that can be taken, under the time at which it was due.
    pub(super) fn leave_ready(&self, seq: i64, place: &Place) -> Result<()> {
        const SQL: &str = "DELETE FROM ready WHERE route = ?1 AND urgency = ?2 AND due_at = ?3 AND seq = ?4";
        let row = params![&*place.route, place.urgency, place.due_at.as_millis(), seq];
        self.conn.prepare_cached(SQL)?.execute(row)?;
        Ok(())
    }

    /// The position of an operation that joins a lane now, behind all that are there. A new one's number is the highest
    /// that was given out; one that was released has had its number for a while, and others may have come before it.
    pub(super) fn lane_position(&mut self, seq: i64, is_new: bool) -> Result<i64> {
        if is_new {
            return Ok(seq);
        }
        let position = self.seq_next;
        self.seq_next += 1;
        // No operation has it, so it would be given out again after a restart.
        self.count_numbers()?;
        Ok(position)
    }

    fn enter_lane(&self, InLane { lane: (bucket, lane), position, .. }: InLane, seq: i64) -> Result<()> {
        const SQL: &str = "INSERT OR IGNORE INTO lanes (bucket, lane, position, seq) VALUES (?1, ?2, ?3, ?4)";
        self.conn.prepare_cached(SQL)?.execute(params![bucket, lane, position, seq])?;
        Ok(())
    }

    fn leave_lane(&self, InLane { lane: (bucket, lane), position, .. }: InLane) -> Result<()> {
        const SQL: &str = "DELETE FROM lanes WHERE bucket = ?1 AND lane = ?2 AND position = ?3";
        self.conn.prepare_cached(SQL)?.execute(params![bucket, lane, position])?;
        Ok(())
    }

    fn head_of(&self, (bucket, lane): LaneName) -> Result<Option<i64>> {
        const SQL: &str = "SELECT seq FROM lanes WHERE bucket = ?1 AND lane = ?2 ORDER BY position LIMIT 1";
        self.conn.prepare_cached(SQL)?.query_row(params![bucket, lane], |row| row.get(0)).optional()
    }
}
