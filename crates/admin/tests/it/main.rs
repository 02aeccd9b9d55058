//! The admin API over real sockets, on an SQLite ledger.

mod audit;
mod desk;
mod guard;
mod health;
mod reading;
mod serving;
mod settling;
