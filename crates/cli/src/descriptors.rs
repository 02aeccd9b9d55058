//! How many files and sockets the process may have open. The usual soft limit of 1,024 is meant for programs that use
//! `select`; a gateway has a connection for every caller and takes what it may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one. Where that fails the gateway serves fewer callers, and says so.
pub(crate) fn allow_all() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::warn!(%error, limit = ?limit.current, "the limit on open files cannot be raised");
    }
}
