//! What whole-system tests share: the binaries under test as processes, their ports, and a caller that remembers.
//!
//! A [`Gateway`] and an [`Office`] are real processes that a test starts, kills, pauses and starts again on the same
//! ports and files. Nothing of the gateway's insides is used: what it did is read from its answers, its admin API
//! and the box office's own books.

mod await_that;
mod caller;
mod dns_packet;
mod gateway;
mod killer;
mod name_server;
mod notebook;
mod office;
mod port;
mod process;
mod programs;
mod random;
mod replica;
mod service_manager;
mod wayward;

pub use await_that::{await_that, within};
pub use caller::{Answer, Ask, Caller, NoAnswer};
pub use gateway::{Gateway, LEASE};
pub use killer::{Killer, Moment};
pub use name_server::{NameServer, Says};
pub use notebook::{Note, Notebook, Temper};
pub use office::Office;
pub use port::Port;
pub use process::Process;
pub use programs::program;
pub use random::Random;
pub use replica::Replica;
pub use service_manager::ServiceManager;
pub use wayward::{Step, Wayward};

/// Whether the long storms were asked for (`STEADFAST_LONG=1`).
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("STEADFAST_LONG").is_some_and(|value| !value.is_empty() && value != "0")
}
