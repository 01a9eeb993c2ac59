//! A file that holds space back, so that on a full disk the outcome of an effect that ran, and the stop, can still
//! be written.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sterna_blobs::io_error;
use sterna_log::LogError;

pub struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub fn of(dir: &Path) -> Self {
        Self { path: dir.join("reserve") }
    }

    pub fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Holds the space. `DiskFull` when there is none.
    pub fn hold(&self) -> Result<(), LogError> {
        if self.is_there() {
            return Ok(());
        }
        let temporary = self.path.with_extension(std::process::id().to_string());
        // Written, not allocated: some file systems promise what they do not have.
        let written =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary).and_then(
                |mut file| {
                    file.write_all(&vec![0; RESERVE_BYTES])?;
                    file.sync_all()
                },
            );
        let held = written.and_then(|()| fs::rename(&temporary, &self.path));
        held.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            io_error("hold space in", &self.path, &error)
        })
    }

    /// Gives the space back. `false` when there was none to give.
    pub fn free(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}

/// An append is at most 1 MiB, and most are far smaller.
const RESERVE_BYTES: usize = 1 << 20;
