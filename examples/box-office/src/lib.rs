//! Small real services: a box office, the bank it charges, a ticket desk, and the sink of its mails.
//!
//! The first two are an honest example of APIs that have no idempotency of their own: every request that arrives takes
//! effect, so a request sent twice is two registrations, two orders, two charges. The ticket desk is an example of one
//! that is repeatable: it makes one ticket for a key. They exist to stand behind a gateway in the demo and in whole-system
//! tests, and they keep books a test can check: what arrived ([`arrivals()`]) and what really happened ([`effects()`]),
//! each tied to the `Idempotency-Key` and `X-Client-Reference` it came with; [`tickets()`] and [`mails()`].
//!
//! They know nothing of the gateway, and nothing of its crates.

mod answer;
mod arrivals;
mod bank;
mod clock;
mod database;
mod effects;
mod mails;
mod office;
mod orders;
mod postman;
mod refusal;
mod registrations;
mod remembered;
mod server;
mod shelf;
mod sink;
mod smtp;
mod tasks;
mod teller;
mod temper;
mod ticket_desk;
mod ticket_page;
mod tickets;

pub use arrivals::{ArrivalRecord, arrivals};
pub use bank::{Bank, BankConfig};
pub use effects::{Effect, EffectCount, EffectKind, effects, effects_by_key, standing_by_reference};
pub use mails::{MailRecord, mails};
pub use office::{BoxOffice, Event, OfficeConfig};
pub use server::{RunningService, StartError};
pub use sink::{Sink, SinkConfig};
pub use teller::InvalidBankUrl;
pub use temper::{BankTemper, InvalidTemper, Temper};
pub use ticket_desk::{TicketDesk, TicketDeskConfig};
pub use tickets::{MailState, TicketRecord, tickets};
