//! How a ledger on Postgres behaves: times and bounds, each with its default.

use std::time::Duration;

use crate::Clock;

/// Times and bounds of a [`super::PostgresLedger`].
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// How long a claim is its holder's alone. 30 s by default; at least 100 ms.
    pub lease: Duration,
    /// How many claims may be open at once in this process, waiting ones included. 4,096 by default.
    pub open_max: usize,
    /// How many requests may wait for operations of others. 4,096 by default.
    pub waiters_max: usize,
    /// How many connections carry claims and finishes. Four more serve reads, upkeep, the heartbeat and
    /// notifications. 4 by default; 1 to 64.
    pub connections: usize,
    /// How long one statement may take. 2 s by default.
    pub statement_timeout: Duration,
    /// How long one statement may wait for a lock. 500 ms by default.
    pub lock_timeout: Duration,
    /// How long a call waits for a connection that can take it. 2 s by default.
    pub pool_wait: Duration,
    /// How long a call takes in all, retries after failures included. 5 s by default.
    pub call_timeout: Duration,
    /// How long making a connection may take, unless the URL says so. 2 s by default.
    pub connect_timeout: Duration,
    /// Where the holder's clock is read, for `send_by`.
    pub clock: Clock,
    /// Where the store's time comes from.
    pub store_time: StoreTime,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            open_max: 4_096,
            waiters_max: 4_096,
            connections: 4,
            statement_timeout: Duration::from_secs(2),
            lock_timeout: Duration::from_millis(500),
            pool_wait: Duration::from_secs(2),
            call_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            clock: Clock::system(),
            store_time: StoreTime::Database,
        }
    }
}

/// Where leases, expiry and windows read the time.
#[derive(Clone, Debug, Default)]
pub enum StoreTime {
    /// The database's own clock, which all nodes share.
    #[default]
    Database,
    /// The wall time of this clock, sent along with each transaction: for tests that let time pass. All nodes
    /// of a test must be given the same one.
    Given(Clock),
}

impl StoreTime {
    /// What statements are handed as the time: nothing where the database is to read its clock.
    pub(super) fn millis(&self) -> Option<i64> {
        match self {
            Self::Database => None,
            Self::Given(clock) => Some(clock.wall().as_millis()),
        }
    }
}
