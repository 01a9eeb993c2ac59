//! What an error of SQLite means to a store.

use std::path::Path;

use rusqlite::{Error, ErrorCode};
use sterna_log::LogError;

/// Names an error of SQLite in the terms of a store.
pub fn sql(dir: &Path, error: &Error) -> LogError {
    let at = dir.join("sterna.db");
    let at = at.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => full(dir),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            LogError::ReadOnly(format!("{at} ({error})"))
        }
        Some(ErrorCode::CannotOpen) if !writable(dir) => {
            LogError::ReadOnly(format!("the folder {} cannot be written", dir.display()))
        }
        Some(ErrorCode::DatabaseCorrupt) => LogError::Damaged(format!(
            "{at} has a corrupt page ({error}); run `sterna sessions fsck` to see which sessions are whole, and restore the rest from a backup"
        )),
        Some(ErrorCode::NotADatabase) => LogError::Damaged(format!(
            "{at} is not a database; move it away, or restore it from a backup, and run `sterna sessions fsck`"
        )),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LogError::Io(format!(
            "{at} was locked by another program for too long; close whatever has it open and try again"
        )),
        _ => LogError::Io(format!("{at}: {error}")),
    }
}

/// No space is left.
pub fn full(dir: &Path) -> LogError {
    LogError::DiskFull(format!(
        "{}; free some space and send it again: nothing of it was written",
        dir.display()
    ))
}

/// What a failed piece of work means for the transaction that it is part of.
#[derive(Debug)]
pub enum Fail {
    /// A condition does not hold: nothing was written, the transaction goes on.
    Refused(LogError),
    /// SQLite failed: the transaction is void.
    Broken(Error),
}

impl From<LogError> for Fail {
    fn from(error: LogError) -> Self {
        Self::Refused(error)
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

fn writable(dir: &Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
}
