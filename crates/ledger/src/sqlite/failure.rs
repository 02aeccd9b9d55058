//! What SQLite's errors mean to whoever uses the ledger.

use rusqlite::{Error, ErrorCode, ffi, types::Type};

use crate::{LedgerError, OpenError, fatal};

/// A row that contradicts the state machine or the types it is read into.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Damaged(&'static str);

/// The error for a row that cannot be what this program wrote.
pub(super) fn damaged(what: &'static str) -> Error {
    Error::FromSqlConversionFailure(0, Type::Null, Box::new(Damaged(what)))
}

/// What the error means while the ledger runs. Does not return where an fsync failed.
pub(super) fn ledger_error(error: &Error) -> LedgerError {
    end_if_fsync_failed(error);
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => LedgerError::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => LedgerError::ReadOnly,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation) => {
            LedgerError::Corrupt(error.to_string())
        }
        Some(_) => LedgerError::Unreachable(error.to_string()),
        // Everything that is not SQLite's own is a value that was not what it should have been.
        None => LedgerError::Corrupt(error.to_string()),
    }
}

/// What an error of the log means while the ledger runs.
pub(super) fn io_error(error: &std::io::Error) -> LedgerError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => LedgerError::Full,
        std::io::ErrorKind::ReadOnlyFilesystem => LedgerError::ReadOnly,
        _ => LedgerError::Unreachable(error.to_string()),
    }
}

/// What the error means while the ledger is being opened.
pub(super) fn open_error(path: &str, error: &Error) -> OpenError {
    let (path, reason) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse { path },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => OpenError::ReadOnly { path, reason },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation)
        | None => OpenError::Corrupt { path, reason },
        Some(_) => OpenError::Unreachable { path, reason },
    }
}

/// Ends the process where the error is a failed fsync: what SQLite holds to be written may not be.
fn end_if_fsync_failed(error: &Error) {
    if let Error::SqliteFailure(ffi::Error { extended_code, .. }, _) = error
        && matches!(*extended_code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
    {
        fatal::fsync_failed(&error.to_string());
    }
}
