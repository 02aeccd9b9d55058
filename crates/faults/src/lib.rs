//! A TCP proxy that injects faults, for tests that must see a system survive them.
//!
//! A [`FaultProxy`] stands between a client and one upstream, on its own port. Its [`Plan`] says what goes wrong
//! in which direction, how likely and how often; every draw comes from a seed, so a run can be repeated. What
//! happened is counted in [`Stats`], which a test waits for ([`FaultProxy::wait_for`]) instead of sleeping, and
//! [`FaultProxy::hold`] stops a direction until the test lets go. [`control`] offers the same over HTTP.
//!
//! ```no_run
//! # async fn test(upstream: std::net::SocketAddr) -> std::io::Result<()> {
//! use steadfast_faults::{DropReply, FaultProxy, Goodbye, Plan, When};
//!
//! let lose_one = DropReply { then: Goodbye::Reset, when: When::next_exchanges(1) };
//! let proxy = FaultProxy::start(upstream, Plan { drop_reply: Some(lose_one), ..Plan::default() })?;
//! // … let a client send an order to proxy.addr() …
//! proxy.wait_for(|stats| stats.faults.replies_dropped == 1).await;
//! # Ok(())
//! # }
//! ```
//!
//! It works on bytes and knows no protocol, save that HTTP's interim replies (1xx) are no answer.

mod armed;
mod connection;
pub mod control;
mod conversation;
mod dice;
mod listener;
mod pace;
pub mod plan;
mod proxy;
mod pump;
mod stats;

pub use plan::{
    Bandwidth, Direction, DropReply, Faults, Goodbye, HalfClose, Hang, Latency, Plan, PlanError, Refuse,
    Reset, Scope, Slow, Truncate, When,
};
pub use proxy::{CONNECTIONS_MAX, FaultProxy};
pub use stats::{ConnectionCounts, FaultCounts, Stats, Traffic};
