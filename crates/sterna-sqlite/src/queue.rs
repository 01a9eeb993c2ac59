//! A fair queue among processes before each write.
//!
//! Two file locks make it: whoever wants to write takes the turnstile, waits there for the main lock, and lets the
//! turnstile go. A process that has just written finds the turnstile taken by the next one, so it cannot come in
//! again first. The kernel drops both when a process dies.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub struct Queue {
    turnstile: File,
    main: File,
}

impl Queue {
    pub fn open(dir: &Path) -> Result<Self> {
        let open = |name: &str| {
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join(name))
        };
        Ok(Self { turnstile: open("sterna.db.queue")?, main: open("sterna.db.lock")? })
    }

    /// Waits for our turn. It ends when the guard is dropped.
    pub fn enter(&self) -> Result<Turn<'_>> {
        lock(&self.turnstile)?;
        let entered = lock(&self.main);
        let left = self.turnstile.unlock();
        entered.and(left).map(|()| Turn(&self.main))
    }

    /// Whether nobody has or waits for a turn just now.
    pub fn is_free(&self) -> bool {
        let free = self.turnstile.try_lock().is_ok() && self.main.try_lock().is_ok();
        // Both were ours for this moment at most.
        let _ = self.main.unlock();
        let _ = self.turnstile.unlock();
        free
    }

    /// Our turn, if nobody is before us.
    pub fn try_enter(&self) -> Option<Turn<'_>> {
        self.main.try_lock().ok().map(|()| Turn(&self.main))
    }
}

pub struct Turn<'a>(&'a File);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // The lock goes with its file at the latest.
        let _ = self.0.unlock();
    }
}

fn lock(file: &File) -> Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
