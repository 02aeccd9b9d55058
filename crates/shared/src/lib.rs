//! What many Steadfast nodes share: limits counted in Redis or Valkey, one server or a Cluster.
//!
//! A request's limits are asked in one round trip ([`SharedLimits`] behind `steadfast-layers`' `LimitStore`), those of
//! concurrent requests in one call (`lane`), of one script that counts on the server's clock (`limits.lua`). While
//! the store is lost nobody waits for it (`health`, `keeper`): limits go by their [`OnLoss`].

mod ask;
mod call;
mod connection;
mod health;
mod hot;
mod keeper;
mod lane;
mod location;
mod look;
mod nodes;
mod owned;
#[cfg(test)]
mod same_answers;
#[cfg(test)]
#[path = "../tests/redis/server.rs"]
#[expect(dead_code, reason = "shared with the integration tests, which use all of it")]
mod server;
mod slot;
mod store;

pub use health::{Reason, Standing};
pub use location::{InvalidLocation, Location};
pub use store::{OnLoss, PATIENCE, SharedCounts, SharedLimits, SharedPolicies};
