//! What went wrong with a transaction, and so what to do next: try again, try smaller, or say so.

use tokio_postgres::error::{DbError, SqlState};

use crate::{LedgerError, OpenError};

/// How a transaction failed. Unless the connection was lost, nothing of it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection broke or fell silent: nobody knows what was written.
    Lost(String),
    /// Somebody else held a lock for too long, or it took too long: a smaller one may do.
    Busy(String),
    /// The disk is full.
    Full,
    /// The server takes no writes (any more).
    ReadOnly,
    /// What is stored contradicts itself.
    Corrupt(String),
    /// The server refused it, perhaps for one row of it.
    Rejected(String),
}

impl From<&tokio_postgres::Error> for Failure {
    fn from(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(database) => Self::from_database(database),
            None => Self::Lost(with_source(error)),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::from(&error)
    }
}

impl Failure {
    fn from_database(error: &DbError) -> Self {
        let text = format!("{} ({})", error.message(), error.code().code());
        match error.code().code() {
            // Connection exceptions, shutdowns, too many connections, and a session that was ended.
            code if code.starts_with("08") || code.starts_with("57P") => Self::Lost(text),
            "25P03" | "53300" => Self::Lost(text),
            "40P01" | "40001" | "55P03" | "57014" => Self::Busy(text),
            "53100" => Self::Full,
            "25006" => Self::ReadOnly,
            code if code.starts_with("23") || code.starts_with("XX") => Self::Corrupt(text),
            _ => Self::Rejected(text),
        }
    }

    /// What callers are told.
    pub(super) fn to_error(&self) -> LedgerError {
        match self {
            Self::Lost(reason) | Self::Busy(reason) | Self::Rejected(reason) => {
                LedgerError::Unreachable(reason.clone())
            }
            Self::Full => LedgerError::Full,
            Self::ReadOnly => LedgerError::ReadOnly,
            Self::Corrupt(reason) => LedgerError::Corrupt(reason.clone()),
        }
    }
}

/// Of the errors of statements sent together, the one that came first: those after it say only that the
/// transaction had failed already.
pub(super) fn first<T>(result: Result<T, tokio_postgres::Error>, so_far: &mut Option<Failure>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let follows = error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION);
            if so_far.is_none() && !follows {
                *so_far = Some(Failure::from(&error));
            } else if so_far.is_none() {
                *so_far = Some(Failure::Rejected(with_source(&error)));
            }
            None
        }
    }
}

/// Why a ledger could not be opened.
pub(super) fn open_error(path: &str, error: &tokio_postgres::Error) -> OpenError {
    // What the driver says when of several hosts not one takes writes.
    let read_only = with_source(error).contains("does not allow writes");
    match Failure::from(error) {
        Failure::ReadOnly => OpenError::ReadOnly { path: path.into(), reason: with_source(error) },
        _ if read_only => OpenError::ReadOnly { path: path.into(), reason: with_source(error) },
        _ => OpenError::Unreachable { path: path.into(), reason: with_source(error) },
    }
}

/// The driver's errors keep what really happened in their source.
pub(super) fn with_source(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
