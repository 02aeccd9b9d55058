//! The admin API over real sockets, on an SQLite ledger.

#![expect(clippy::unwrap_used, reason = "in a test that is the right end")]

mod audit;
mod bans;
mod cache;
mod circuits;
mod credentials;
mod desk;
mod erasing;
mod explain;
mod guard;
mod health;
mod letters;
mod limits;
mod queue;
mod reading;
mod serving;
mod settling;
mod usage;
