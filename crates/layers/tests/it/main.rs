//! The layers round handlers of axum, held to the contract.

#[macro_use]
#[path = "../contract/mod.rs"]
mod contract;

mod cache;
mod principals;
mod spool;
mod stand;

every_claim!(crate::stand::stand);
