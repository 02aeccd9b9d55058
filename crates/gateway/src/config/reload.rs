//! What a running gateway can take over, and what needs a restart.

use super::Config;

/// The keys that differ between `old` and `new` and that only a restart takes over.
#[must_use]
pub fn restart_needed(old: &Config, new: &Config) -> Vec<&'static str> {
    [
        ("listen", old.listen != new.listen),
        ("admin", old.admin != new.admin),
        ("ledger", old.ledger != new.ledger),
        ("encryption", old.encryption != new.encryption),
        ("workers", old.workers != new.workers),
        ("edge", old.edge != new.edge),
        ("drain_timeout", old.drain_timeout != new.drain_timeout),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}
