//! What an error of the file system means to a store.

use std::io::{Error, ErrorKind};
use std::path::Path;

use sterna_log::LogError;

/// Names what could not be done and where, in the terms of a store.
pub fn io_error(doing: &str, path: &Path, error: &Error) -> LogError {
    let path = path.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            LogError::DiskFull(format!("cannot {doing} {path} ({error}); free some space and try again"))
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            LogError::ReadOnly(format!("cannot {doing} {path} ({error})"))
        }
        _ => LogError::Io(format!("cannot {doing} {path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let of = |kind: ErrorKind| io_error("write", Path::new("/x/y"), &Error::from(kind));
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge] {
            let error = of(kind);
            assert!(
                matches!(&error, LogError::DiskFull(text) if text.contains("/x/y") && text.contains("free some"))
            );
        }
        for kind in [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied] {
            assert!(matches!(of(kind), LogError::ReadOnly(text) if text.starts_with("cannot write /x/y")));
        }
        assert!(matches!(of(ErrorKind::Interrupted), LogError::Io(_)));
    }
}
