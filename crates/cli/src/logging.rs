//! Where the program's own words go: stderr, so that stdout is left to data and to the access log.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging: readable on a terminal, JSON lines elsewhere. `STEADFAST_LOG` filters (`info` unless set).
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("STEADFAST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().try_init()
    };
    // Somebody else's subscriber (a test's) is as good.
    drop(started);
}
