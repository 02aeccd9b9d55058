//! The ledger on a real Postgres: the suite that every store passes, and what only many nodes can get wrong.

#![cfg(feature = "postgres")]

mod conformance;
mod fixture;
mod server;
