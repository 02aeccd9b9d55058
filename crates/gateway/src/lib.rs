//! The gateway: config, routing, the wiring of the layers, telemetry and listeners.
//!
//! A request's way, outermost first: [accept](server) → request id, access log and metrics ([edge]) → route →
//! [deadline → idempotency → upstream](stack). Safe methods without a policy stream straight through: nothing is
//! buffered, and the ledger is not asked.

pub mod config;

mod drain;
mod edge;
mod framing;
mod gateway;
mod handover;
mod operations_api;
mod pages;
mod routing;
mod server;
mod stack;
mod telemetry;

pub use gateway::{Gateway, LogTo, ReloadError, StartError};
