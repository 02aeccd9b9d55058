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
    pub(super) bucket: u16,
    pub(super) urgency: i64,
    pub(super) lane: Option<[u8; 16]>,
    pub(super) lane_passes: bool,
    pub(super) stamina: Stamina,
    pub(super) due_at: Timestamp,
    pub(super) first_sent: Option<Timestamp>,
    pub(super) cancel_asked: bool,
}

/// Reads a [`Place`].
const PLACE: &str = "SELECT o.route, b.bucket, -b.priority, b.lane, b.lane_passes, b.tries, b.tries_max, b.give_up_at, \
                     b.due_at, b.first_sent_at, b.cancel_asked \
                     FROM background AS b JOIN operations AS o ON o.seq = b.seq WHERE b.seq = ?1";

impl Place {
    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            route: row.get(0)?,
            bucket: row.get(1)?,
            urgency: row.get(2)?,
            lane: row.get(3)?,
            lane_passes: row.get(4)?,
            stamina: Stamina {
                tries: row.get(5)?,
                tries_max: row.get(6)?,
                give_up_at: Timestamp::from_millis(row.get(7)?),
            },
            due_at: Timestamp::from_millis(row.get(8)?),
            first_sent: row.get::<_, Option<i64>>(9)?.map(Timestamp::from_millis),
            cancel_asked: row.get(10)?,
        })
    }

    /// Whether an operation in this state has left its lane.
    fn has_left(&self, state: State) -> bool {
        match state {
            State::Queued { .. } | State::Claimed { .. } | State::Waiting { .. } => false,
            State::InDoubt { .. } | State::Dead { .. } => self.lane_passes,
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
        let Some(lane) = place.lane else {
            return if waits(after) && !waits(before) { self.enter_ready(seq, &place) } else { Ok(()) };
        };
        let lane = (place.bucket, lane);
        if place.has_left(after) {
            self.leave_lane(lane, seq)?;
            return self.call_up(lane);
        }
        self.enter_lane(lane, seq)?;
        if waits(after) && !waits(before) && self.head_of(lane)? == Some(seq) {
            self.enter_ready(seq, &place)?;
        }
        Ok(())
    }

    /// Lets the head of a lane be taken, if it waits for that.
    fn call_up(&mut self, lane: (u16, [u8; 16])) -> Result<()> {
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

    fn enter_lane(&self, (bucket, lane): (u16, [u8; 16]), seq: i64) -> Result<()> {
        const SQL: &str = "INSERT OR IGNORE INTO lanes (bucket, lane, seq) VALUES (?1, ?2, ?3)";
        self.conn.prepare_cached(SQL)?.execute(params![bucket, lane, seq])?;
        Ok(())
    }

    fn leave_lane(&self, (bucket, lane): (u16, [u8; 16]), seq: i64) -> Result<()> {
        const SQL: &str = "DELETE FROM lanes WHERE bucket = ?1 AND lane = ?2 AND seq = ?3";
        self.conn.prepare_cached(SQL)?.execute(params![bucket, lane, seq])?;
        Ok(())
    }

    fn head_of(&self, (bucket, lane): (u16, [u8; 16])) -> Result<Option<i64>> {
        const SQL: &str = "SELECT seq FROM lanes WHERE bucket = ?1 AND lane = ?2 ORDER BY seq LIMIT 1";
        self.conn.prepare_cached(SQL)?.query_row(params![bucket, lane], |row| row.get(0)).optional()
    }
}
