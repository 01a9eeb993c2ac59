//! The store, opened while the other parts are put together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use sterna_log::{MemoryLog, SharedBlobs, SharedLog};
use sterna_sqlite::SqliteStore;

use super::Store;
use crate::Error;
use crate::places::Places;

/// A store that is opened while the other parts are put together.
pub(super) enum Opening {
    Done(Opened),
    Under(JoinHandle<Opened>),
}

type Opened = Result<(SharedLog, SharedBlobs), Error>;

/// What of the folder of a store is Sterna's own: all of it, or its files by name where a workspace lies in it.
pub(super) fn own_places(dir: &Path, roots: &[PathBuf]) -> Vec<PathBuf> {
    let real = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    if !roots.iter().any(|root| root.starts_with(&real)) {
        return vec![dir.to_owned()];
    }
    FILES.iter().map(|name| real.join(name)).collect()
}

impl Opening {
    pub(super) fn start(store: Option<Store>, places: &Places) -> Self {
        let dir = match store {
            Some(Store::Memory) => {
                let log = Arc::new(MemoryLog::new());
                return Self::Done(Ok((log.clone(), log)));
            }
            Some(Store::Own(log, blobs)) => return Self::Done(Ok((log, blobs))),
            Some(Store::Folder(dir)) => dir,
            None => places.data.clone(),
        };
        let own = dir.clone();
        let thread = std::thread::Builder::new().name("sterna-open".into()).spawn(move || sqlite(&own));
        thread.map_or_else(|_| Self::Done(sqlite(&dir)), Self::Under)
    }

    pub(super) fn finish(self) -> Opened {
        match self {
            Self::Done(opened) => opened,
            Self::Under(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        }
    }
}

/// What lies in the folder of a store, with the spools of commands.
const FILES: [&str; 9] = [
    "sterna.db",
    "sterna.db-wal",
    "sterna.db-shm",
    "sterna.db.lock",
    "sterna.db.queue",
    "reserve",
    "blobs",
    "spools",
    "wait.key",
];

fn sqlite(dir: &Path) -> Opened {
    let store = Arc::new(SqliteStore::open(dir, sterna_sqlite::Options::default())?);
    Ok((store.clone(), store))
}
