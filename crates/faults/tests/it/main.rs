//! The fault proxy over real sockets: every fault, in both directions, against real upstreams.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "also the helpers of tests fail by panicking, and say their seed"
)]

mod control;
mod cuts;
mod delays;
mod gates;
mod lifecycle;
mod replies;
mod world;
