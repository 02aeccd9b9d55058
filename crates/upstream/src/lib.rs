//! Clients of upstreams.
//!
//! A client's errors say exactly what is known: a request was [not sent](steadfast_layers::AttemptFailed::NotSent),
//! or it may have been executed and its answer was [lost](steadfast_layers::AttemptFailed::Lost).

mod address;
mod answer_rules;
mod balance;
mod body;
mod client;
mod connection;
mod dial;
mod endpoint;
mod health;
mod hop_by_hop;
mod load;
mod location;
mod names;
mod outgoing;
mod policy;
mod pool;
mod prepare;
mod resolve;
mod stream;
mod tls;
mod upstream;
mod watched;

pub use address::{Address, InvalidAddress};
pub use answer_rules::{AnswerRule, AnswerRules};
pub use body::{BodyError, UpstreamBody};
pub use client::Tunnel;
pub use endpoint::{Endpoint, EndpointView};
pub use health::HealthPolicy;
pub use location::Location;
pub use outgoing::OutgoingBody;
pub use policy::{HostPolicy, Protocol, UpstreamPolicy};
pub use tls::{TlsClient, TlsError, TlsFiles, read_certificates, read_key};
pub use upstream::{NoCircuit, Upstream};
