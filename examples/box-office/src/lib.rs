//! Two small real HTTP services: a box office, and the bank it charges.
//!
//! They are an honest example of APIs that have no idempotency of their own: every request that arrives takes
//! effect, so a request sent twice is two registrations, two orders, two charges. They exist to stand behind a
//! gateway in the demo and in whole-system tests, and they keep books a test can check: what arrived
//! ([`arrivals()`]) and what really happened ([`effects()`]), each tied to the `Idempotency-Key` and
//! `X-Client-Reference` it came with.
//!
//! They know nothing of the gateway, and nothing of its crates.

mod answer;
mod arrivals;
mod bank;
mod clock;
mod database;
mod effects;
mod office;
mod orders;
mod refusal;
mod registrations;
mod remembered;
mod server;
mod tasks;
mod teller;
mod temper;

pub use arrivals::{ArrivalRecord, arrivals};
pub use bank::{Bank, BankConfig};
pub use effects::{Effect, EffectCount, EffectKind, effects, effects_by_key, standing_by_reference};
pub use office::{BoxOffice, Event, OfficeConfig};
pub use server::{RunningService, StartError};
pub use teller::InvalidBankUrl;
pub use temper::{BankTemper, InvalidTemper};
