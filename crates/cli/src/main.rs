//! Steadfast: a reliability gateway for HTTP APIs.
//!
//! The binary reads the command line, runs one command, and ends with an exit code that scripts can rely on. What
//! the commands do is done by the crates below.

mod arguments;
mod commands;
mod descriptors;
mod exit;
mod logging;
mod systemd;

use std::process::ExitCode;

use clap::Parser;

/// Small allocations by the thousand are what a gateway does; this allocator is made for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    match commands::run(arguments) {
        Ok(code) => code.into(),
        Err(error) => exit::report(&error).into(),
    }
}
