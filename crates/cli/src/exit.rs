//! What the process ends with.

use std::process::ExitCode;

/// How a command ended; scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Ok = 0,
    /// It did not.
    Failure = 1,
    /// The command line asks for something that cannot be done so.
    Usage = 2,
    /// The config is not valid.
    ConfigInvalid = 3,
    /// It is not allowed in this state.
    NotAllowed = 4,
    /// What it is about is not there.
    NotFound = 5,
    /// The gateway or a dependency cannot be reached.
    Unreachable = 6,
    /// Somebody interrupted it.
    #[cfg(feature = "demo")]
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure with an exit code of its own.
#[derive(Debug)]
struct Failed {
    exit: Exit,
    message: String,
}

/// An error that ends the process with this exit code.
pub(crate) fn failed(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Failed { exit, message: message.into() })
}

impl std::fmt::Display for Failed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failed {}

/// Says on stderr what went wrong, and finds its exit code.
#[expect(
    clippy::print_stderr,
    reason = "the one place where a failure is told to the person at the terminal"
)]
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    eprintln!("steadfast: {error:#}");
    code_of(error)
}

/// The exit code that an error ends the process with.
pub(crate) fn code_of(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Failed>().map_or(Exit::Failure, |failed| failed.exit)
}
