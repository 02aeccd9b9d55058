//! The layers round handlers of axum, held to the contract.

#[macro_use]
#[path = "../contract/mod.rs"]
mod contract;

mod ban_list;
mod cache;
mod concurrency;
mod courtesy;
mod key_ring;
mod limits;
mod principals;
mod retries;
mod scripted;
mod spool;
mod stand;
mod upstream;

every_claim!(crate::stand::stand);
