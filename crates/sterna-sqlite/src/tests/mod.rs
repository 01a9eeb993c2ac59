//! The store as a whole: conformance, crashes, contention, damage, full disks, cost.

mod alone;
mod collect;
mod conformance;
mod cost;
mod crash;
mod damage;
mod full;

use std::path::Path;
use std::process::{Command, Stdio};

use futures::executor::block_on;
use sterna_log::conformance::{append, id, input, open};
use sterna_log::{Expect, Log, LogError, Receipt, verify};
use sterna_model::Digest;

use crate::{Options, SqliteStore};

fn store(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, Options::default()).unwrap()
}

/// A new store with the tables of version 2.
fn old_store(dir: &Path) -> SqliteStore {
    let tables = include_str!("../../tests/stores/v2-tables.sql");
    rusqlite::Connection::open(dir.join("sterna.db")).unwrap().execute_batch(tables).unwrap();
    store(dir)
}

/// Sends an input under a key, as anyone may.
fn send(store: &SqliteStore, session: &str, key: &str, text: &str) -> Result<Receipt, LogError> {
    let records = vec![input(text, Some(key))];
    block_on(store.append(append(session, Expect::Any, &format!("input:{key}"), records)))
}

/// Opens a session and sends `count` inputs.
fn filled(store: &SqliteStore, session: &str, count: usize) {
    block_on(open(store, session));
    for n in 0..count {
        send(store, session, &n.to_string(), &format!("text number {n}")).unwrap();
    }
}

/// Checks that a session is whole, and gives its length and last hash.
fn whole(store: &SqliteStore, session: &str) -> (u64, Digest) {
    let found = block_on(verify(store, store, &id(session))).unwrap();
    assert_eq!(found.first_bad, None, "{session}");
    (found.records, found.last_hash)
}

/// This very test in another process, with a job to do instead.
fn child(test: &str, job: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(JOB, job).env(DIR, dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The job that this process was started for by `child`.
fn job() -> Option<(String, std::path::PathBuf)> {
    Some((std::env::var(JOB).ok()?, std::env::var_os(DIR)?.into()))
}

const JOB: &str = "STERNA_SQLITE_TEST_JOB";
const DIR: &str = "STERNA_SQLITE_TEST_DIR";
