//! Clients of upstreams.
//!
//! A client's errors say exactly what is known: a request was [not sent](steadfast_layers::AttemptFailed::NotSent),
//! or it may have been executed and its answer was [lost](steadfast_layers::AttemptFailed::Lost).

mod body;
mod client;
mod connection;
mod hop_by_hop;
mod policy;
mod pool;

pub use body::UpstreamBody;
pub use client::Upstream;
pub use policy::{Address, InvalidAddress, UpstreamPolicy};
