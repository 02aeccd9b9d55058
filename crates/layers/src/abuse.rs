//! Keeping out whoever does harm: bans of addresses, networks and principals, by hand and by themselves, and an eye on those
//! who suddenly ask for far more than they usually do.
//!
//! All of it is decided from memory. What is banned is in a [`BanList`] that follows the ledger; what is counted to ban by
//! itself lies in bounded tables. [`BanLayer`] stands twice in a stack: round authentication, where it knows addresses and sees
//! who was not let in, and directly behind it, where it knows principals and sees whom limits refused.

mod guard;
mod layer;
mod list;
mod networks;
mod policy;
mod refusal;
mod security_log;
mod usual;

pub use guard::{AbuseGuard, AbuseTallies};
pub use layer::{BanFuture, BanLayer, BanService};
pub use list::{BanList, UNWRITTEN_BANS_MAX};
pub use policy::{AbusePolicy, AutomaticBan, BaselineRule, StaticBan};
pub use usual::BASELINES_MAX;
