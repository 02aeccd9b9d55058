//! The ledger on a real Postgres: the suite that every store passes, and what only many nodes can get wrong.

#![cfg(feature = "postgres")]
#![expect(clippy::print_stdout, reason = "seeds and counts, for whoever reads a failure")]

mod backlog;
mod conformance;
mod faults;
mod fixture;
mod forwarder;
mod nodes;
mod server;
mod storm;
