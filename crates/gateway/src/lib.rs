//! The gateway: config, routing, the wiring of the layers, telemetry and listeners.
//!
//! A request's way, outermost first: [accept](server) → request id, access log and metrics ([edge]) →
//! [route](routing) → [CORS → deadline → idempotency → upstream](stack). Safe methods without a policy stream
//! straight through: nothing is buffered, and the ledger is not asked.

pub mod config;

mod asking;
mod authenticators;
mod background;
mod ban_keeper;
mod caller;
mod certificates;
mod connection;
mod contract;
mod drain;
mod edge;
mod explain;
mod forwarding;
mod framing;
mod gateway;
mod grpc;
mod handover;
mod key_keeper;
mod letters;
mod limits;
mod listed;
mod operations_api;
mod pages;
mod patient;
mod proxy_protocol;
mod quiet;
mod routing;
mod schedules;
mod server;
mod shared;
mod shortcut;
mod stack;
mod telemetry;
mod tunnel;
mod upstreams;
mod woken;

pub use explain::{Because, Explained, Refusal};
pub use gateway::{Gateway, HandedOver, LogTo, ReloadError, StartError};
pub use letters::{Edited, LettersDesk, NotEdited};
pub use limits::{LimitReport, LimitsDesk};
pub use steadfast_layers::trace::{Fact, FactValue, Facts, Part, Step, Verdict};
pub use steadfast_layers::{
    CacheStats, NoSuchSubject, Purge, RefusedSubject, Standing, UsageLine, Used, VersionCaller,
};
pub use upstreams::{CircuitOrder, NotOrdered};
