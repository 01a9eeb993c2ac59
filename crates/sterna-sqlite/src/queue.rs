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

    /// Our turn, if nobody has one or waits for it.
    pub fn try_enter(&self) -> Option<Turn<'_>> {
        self.turnstile.try_lock().ok()?;
        let turn = self.main.try_lock().ok().map(|()| Turn(&self.main));
        // It was ours for this moment only.
        let _ = self.turnstile.unlock();
        turn
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
