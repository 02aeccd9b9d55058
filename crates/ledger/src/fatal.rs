//! The end of the process after a failed fsync: the one error that nobody may carry on after.
//!
//! When an fsync fails, the kernel may have dropped the pages and will say nothing the next time: what was
//! written cannot be believed any more, neither by a retry nor by a read, until a new process reads the file
//! from the disk. (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.)

/// Ends the process at once, without running a destructor that might write again.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
#[expect(clippy::print_stderr, reason = "the log may not be set up, and nothing else will be said")]
pub(crate) fn fsync_failed(what: &str) -> ! {
    tracing::error!(what, "an fsync of the ledger failed: what was written cannot be believed, ending");
    eprintln!(
        "steadfast: an fsync of the ledger failed ({what}): what was written cannot be believed, ending"
    );
    std::process::abort()
}
