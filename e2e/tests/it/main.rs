//! The whole system: real binaries, real sockets, real databases, real crashes.
#![expect(clippy::print_stdout, reason = "a test that fails must tell its seed")]

mod abuse;
mod background;
mod bounded;
mod cache_suite;
mod circuits;
mod config;
mod contract;
mod crash;
mod crash_points;
mod credentials;
mod dead_letters;
mod deploying;
mod explain;
mod fairness;
mod faults;
mod handover;
mod isolation;
mod kept;
mod limited;
mod limits;
mod load;
mod names;
mod notify;
mod overload;
mod packaging;
mod pause;
#[path = "../../../crates/ledger/tests/postgres/server.rs"]
#[expect(dead_code, reason = "shared with the ledger's own tests, which use all of it")]
mod postgres;
mod python;
mod rebuilding;
mod reload;
mod retries;
mod serve;
mod settle;
mod storm;
mod strangers;
mod stripe;
mod tools;
mod uploads;
mod verdict;
mod watch;
