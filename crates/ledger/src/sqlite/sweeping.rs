//! Upkeep: reaping leases that ran out, and sweeping what has expired.

use std::time::Duration;

use rusqlite::{Result, params};
use steadfast_core::{Event, Fence, OperationId, State, Timestamp};

use super::{
    claiming::expired,
    desk::Desk,
    row::{self, Whole, whole_columns},
};
use crate::{BootInstant, Reaped, Swept};

/// How far the wall clock may run ahead of the boot clock between two sweeps.
const AHEAD_MAX: Duration = Duration::from_secs(3_600);

/// How far it may fall behind: time services slew, and the two are not read at the same instant.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// Watches the wall clock between sweeps: one that jumped may call everything expired.
#[derive(Debug)]
pub(super) struct SweepClock {
    wall: Timestamp,
    boot: BootInstant,
}

impl SweepClock {
    pub(super) fn new(wall: Timestamp, boot: BootInstant) -> Self {
        Self { wall, boot }
    }

    /// Whether the wall clock went as the boot clock did since the last sweep. One jump suspends one round; if
    /// the new time stays, it is believed.
    fn is_steady(&mut self, wall: Timestamp, boot: BootInstant) -> bool {
        let expected = self.wall.after(boot.since(self.boot));
        *self = Self { wall, boot };
        let (ahead, behind) = (wall.since(expected), expected.since(wall));
        let steady = ahead <= AHEAD_MAX && behind <= BEHIND_MAX;
        if !steady {
            tracing::warn!(
                ahead_ms = ahead.as_millis(),
                behind_ms = behind.as_millis(),
                "the wall clock jumped: sweeping is suspended for a round"
            );
        }
        steady
    }
}

impl Desk {
    /// Renews these claims; returns those that are lost.
    pub(super) fn renew(&mut self, claims: &[(Fence, OperationId)]) -> Vec<Fence> {
        let lost = claims.iter().filter(|(fence, id)| !self.leases.renew(row::seq(*id), *fence, self.boot));
        lost.map(|(fence, _)| *fence).collect()
    }

    /// Ends claims whose leases ran out.
    pub(super) fn reap(&mut self, limit: u32) -> Result<Vec<Reaped>> {
        let mut reaped = Vec::new();
        for (seq, fence) in self.leases.ran_out(self.boot, limit) {
            match self.whole(seq)? {
                Some(found) if self.lose_holder(&found.head, fence)? => {
                    reaped.push(Reaped { operation: found.id(), digest: found.head.digest });
                }
                // It ended in this very batch, which also ends its lease.
                _ => {}
            }
        }
        Ok(reaped)
    }

    /// Ends the claims that a former process left, at most `limit`; how many there were.
    pub(super) fn resolve_former(&mut self, limit: u32) -> Result<u32> {
        const SQL: &str = concat!(
            "SELECT ",
            whole_columns!(),
            " FROM operations WHERE expires_at IS NULL AND state = 'claimed' LIMIT ?1"
        );
        let found: Vec<Whole> =
            self.conn.prepare_cached(SQL)?.query_map([limit], Whole::read)?.collect::<Result<_>>()?;
        let mut resolved = 0;
        for found in found {
            if let State::Claimed { fence, .. } = found.head.state {
                self.lose_holder(&found.head, fence)?;
                resolved += 1;
            }
        }
        Ok(resolved)
    }

    /// Removes what has expired, at most `limit` operations.
    pub(super) fn sweep(&mut self, limit: u32) -> Result<Swept> {
        const SQL: &str = "SELECT seq FROM operations WHERE expires_at IS NOT NULL AND expires_at <= ?1 \
                           ORDER BY expires_at LIMIT ?2";
        let mut swept = Swept::default();
        if !self.sweeping.is_steady(self.now, self.boot) {
            return Ok(swept);
        }
        let due: Vec<i64> = self
            .conn
            .prepare_cached(SQL)?
            .query_map(params![self.now.as_millis(), limit], |row| row.get(0))?
            .collect::<Result<_>>()?;
        for seq in due {
            // The writer is alone, so what was found due still is; it is read again all the same, because what
            // to do with it is for the state machine to say.
            let Some(found) = self.whole(seq)? else { continue };
            match expired(&found.head, self.now) {
                State::Absent => {
                    self.remove(seq)?;
                    swept.removed += 1;
                }
                State::Tombstone => {
                    self.apply(&found.head, Event::Expire { tombstone: true }, None, None)?.ok();
                    self.strip(seq)?;
                    swept.entombed += 1;
                }
                _ => {}
            }
        }
        Ok(swept)
    }

    /// Proves that the ledger can be written.
    pub(super) fn check(&self) -> Result<()> {
        self.must_write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;

    #[test]
    fn a_jump_of_the_wall_clock_suspends_one_round() {
        let at = |millis| Timestamp::from_millis(millis);
        let clock = Clock::manual(at(0));
        let mut sweeping = SweepClock::new(clock.wall(), clock.boot());
        let mut round = |wall: Timestamp, passed: u64| {
            clock.advance(Duration::from_secs(passed));
            clock.set_wall(wall);
            sweeping.is_steady(clock.wall(), clock.boot())
        };
        assert!(round(at(60_000), 60));
        assert!(!round(at(7_200_000), 60), "two hours ahead");
        assert!(round(at(7_260_000), 60), "the new time stays");
        assert!(!round(at(60_000), 60), "back again");
        assert!(round(at(120_000), 60));
        assert!(round(at(86_520_000), 86_400), "a day that really passed");
    }
}
