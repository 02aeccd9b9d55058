//! What a proxy has seen and done: counts that a test can read, and wait for instead of sleeping.

use serde::Serialize;
use tokio::sync::watch;

use crate::plan::Direction;

/// A snapshot of everything a proxy counts, since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// The seed of the plan in force.
    pub seed: u64,
    /// True while the listener is open.
    pub listening: bool,
    /// Connections.
    pub connections: ConnectionCounts,
    /// How often a client began to speak, for the first time or after it was answered.
    pub exchanges: u64,
    /// How many exchanges saw their reply begin to pass to the client.
    pub replies: u64,
    /// Bytes from clients to the upstream.
    pub toward_upstream: Traffic,
    /// Bytes from the upstream to clients.
    pub toward_client: Traffic,
    /// Faults that were injected.
    pub faults: FaultCounts,
}

/// How many connections came, and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConnectionCounts {
    /// Accepted in all.
    pub accepted: u64,
    /// Open now.
    pub open: u64,
    /// Reset because the upstream could not be reached.
    pub upstream_unreachable: u64,
    /// Reset because too many were open.
    pub over_limit: u64,
}

/// Bytes of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Read from the sender.
    pub received_bytes: u64,
    /// Written to the receiver.
    pub forwarded_bytes: u64,
}

/// Faults by kind, both directions together.
///
/// Delays and rates count when they are drawn for a connection or an exchange, all others when they strike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FaultCounts {
    /// Connections reset at once.
    pub refused: u64,
    /// Replies swallowed.
    pub replies_dropped: u64,
    /// Delays drawn.
    pub latency: u64,
    /// Slow forwarding drawn.
    pub slow: u64,
    /// Bandwidth limits drawn.
    pub bandwidth: u64,
    /// Connections reset after a number of bytes.
    pub reset: u64,
    /// Connections closed after a number of bytes.
    pub truncated: u64,
    /// Directions ended after a number of bytes.
    pub half_closed: u64,
    /// Directions that fell silent with something to forward.
    pub hung: u64,
    /// Connections reset by `sever`.
    pub severed: u64,
}

impl Stats {
    /// The bytes of one direction.
    pub fn traffic(&self, direction: Direction) -> &Traffic {
        match direction {
            Direction::TowardUpstream => &self.toward_upstream,
            Direction::TowardClient => &self.toward_client,
        }
    }

    pub(crate) fn traffic_mut(&mut self, direction: Direction) -> &mut Traffic {
        match direction {
            Direction::TowardUpstream => &mut self.toward_upstream,
            Direction::TowardClient => &mut self.toward_client,
        }
    }
}

/// Where a proxy's counts are kept and watched.
#[derive(Debug)]
pub(crate) struct Board {
    stats: watch::Sender<Stats>,
}

impl Board {
    pub(crate) fn new(seed: u64) -> Self {
        Board { stats: watch::Sender::new(Stats { seed, listening: true, ..Stats::default() }) }
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Stats)) {
        self.stats.send_modify(change);
    }

    pub(crate) fn snapshot(&self) -> Stats {
        self.stats.borrow().clone()
    }

    pub(crate) async fn wait_for(&self, reached: impl FnMut(&Stats) -> bool) -> Stats {
        let mut changes = self.stats.subscribe();
        // The sender lives in `self`, so the channel cannot close while this waits.
        let result = changes.wait_for(reached).await.map(|stats| stats.clone());
        result.unwrap_or_else(|_| self.snapshot())
    }
}
