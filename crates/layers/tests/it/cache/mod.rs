//! The cache in front of an origin that the test plays.

mod collapsing;
mod forgetting;
mod privacy;
mod reusing;
mod stale;
mod world;
