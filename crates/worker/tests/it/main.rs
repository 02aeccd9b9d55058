//! The workers against a ledger whose answers a test decides, with time that a test moves.

mod heartbeat;
mod reaper;
mod scripted;
mod sweeper;
mod workers;
