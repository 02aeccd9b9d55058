//! What a running gateway can take over, and what needs a restart.

use super::{Config, EdgePolicy};

/// Whether something differs between two configs.
type Differs = fn(&Config, &Config) -> bool;

/// The settings that only a restart takes over: what a process has bound, opened or started by them.
const RESTART_ONLY: [(&str, Differs); 16] = [
    ("listeners", |old, new| old.listeners != new.listeners),
    ("admin", |old, new| old.admin != new.admin),
    ("ledger", |old, new| old.ledger != new.ledger),
    ("lease", |old, new| old.lease != new.lease),
    ("shared", |old, new| old.shared != new.shared),
    ("shared_password_file", |old, new| {
        let file = |config: &Config| config.shared.as_ref().map(|shared| shared.password_file.clone());
        file(old) != file(new)
    }),
    ("encryption", |old, new| old.encryption != new.encryption),
    ("workers", |old, new| old.workers != new.workers),
    ("edge.header_timeout", |old, new| old.edge.header_timeout != new.edge.header_timeout),
    ("edge.headers_max", |old, new| old.edge.headers_max != new.edge.headers_max),
    ("edge.header_bytes_max", |old, new| old.edge.header_bytes_max != new.edge.header_bytes_max),
    ("edge.connections_max", |old, new| old.edge.connections_max != new.edge.connections_max),
    ("edge.write_timeout", |old, new| old.edge.write_timeout != new.edge.write_timeout),
    ("edge.streams_max", |old, new| old.edge.streams_max != new.edge.streams_max),
    ("spool", |old, new| old.spool != new.spool),
    ("cache", |old, new| old.cache_memory_max != new.cache_memory_max),
];

/// The settings that differ between `old` and `new` and that only a restart takes over.
#[must_use]
pub fn restart_needed(old: &Config, new: &Config) -> Vec<&'static str> {
    RESTART_ONLY.into_iter().filter_map(|(path, differs)| differs(old, new).then_some(path)).collect()
}

/// Whether only a restart takes over what stands at `path` of a config, such as `edge.headers_max`.
#[must_use]
pub fn needs_restart(path: &str) -> bool {
    // The short form of a listener.
    let path = if path == "listen" { "listeners" } else { path };
    let below =
        |key: &str| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    RESTART_ONLY.into_iter().any(|(key, _)| below(key))
}

/// What is in force once a gateway that was started with `started` has taken over `new`: all of it but what needs a
/// restart.
#[must_use]
pub fn after_reload(started: &Config, new: Config) -> Config {
    Config {
        listeners: started.listeners.clone(),
        admin: started.admin,
        ledger: started.ledger.clone(),
        lease: started.lease,
        shared: started.shared.clone(),
        encryption: started.encryption.clone(),
        workers: started.workers,
        spool: started.spool.clone(),
        cache_memory_max: started.cache_memory_max,
        edge: EdgePolicy {
            header_timeout: started.edge.header_timeout,
            headers_max: started.edge.headers_max,
            header_bytes_max: started.edge.header_bytes_max,
            connections_max: started.edge.connections_max,
            write_timeout: started.edge.write_timeout,
            streams_max: started.edge.streams_max,
            ..new.edge
        },
        ..new
    }
}
