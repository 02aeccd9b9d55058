//! The ledger's tests that need files, processes or a store of their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod child;
mod claims;
mod conformance;
mod crash;
mod crash_backlog;
mod encryption;
mod erasure;
mod full;
mod log;
mod opening;
mod request;
mod syncs;
