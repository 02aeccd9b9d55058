//! The file that `steadfast config init` writes.

/// A commented config file that works once its upstream's URL is right.
#[must_use]
pub const fn starter() -> &'static str {
    include_str!("starter.toml")
}
