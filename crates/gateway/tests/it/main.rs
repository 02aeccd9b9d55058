//! The gateway as a whole, over real sockets: held to the contract, to what only a gateway promises, and to what
//! nobody must be able to make it do.

#[macro_use]
#[path = "../../../layers/tests/contract/mod.rs"]
mod contract;

mod abuse;
mod authentication;
mod authorities;
mod background_operations;
mod bounded;
mod caching;
mod circuits;
mod cors;
mod encryption;
mod endpoints;
mod explaining;
mod fallback;
mod golden;
mod large_bodies;
mod lifecycle;
mod limits;
mod line;
mod lost_answers;
mod meanings;
mod openapi;
mod own_pages;
mod passing;
#[path = "../../../shared/tests/redis/server.rs"]
#[expect(dead_code, reason = "shared with the store's own tests, which use all of it")]
mod redis;
mod retries;
mod routing;
mod secure_upstream;
mod shared_limits;
mod smuggling;
mod smuggling_cases;
mod stand;
mod strange_requests;
mod streaming;
mod timeouts;
mod upstream;

every_claim!(crate::stand::stand);
