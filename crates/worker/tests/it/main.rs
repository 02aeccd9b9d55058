//! The workers against a ledger whose answers a test decides, with time that a test moves.

#![expect(clippy::unwrap_used, reason = "in a test that is the right end")]

mod dispatcher;
mod heartbeat;
mod real;
mod reaper;
mod redriver;
mod scheduler;
mod scripted;
mod scripted_backlog;
mod sweeper;
mod workers;
