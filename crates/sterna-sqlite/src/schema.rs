//! The tables, and how a store's file is made and opened.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use sterna_blobs::{LocalBlobs, io_error};
use sterna_log::LogError;

use crate::error::{Fail, sql};
use crate::layout::Layout;
use crate::queue::Queue;
use crate::read::Tables;
use crate::reserve::Reserve;
use crate::{Options, ReadOnly, place};

/// The version of the tables. Kept in `user_version`.
///
/// 2: a session's row counts what waits (`inputs`, `asks`, `in_turn`).
/// 3: records lie by one row number ([`Layout::Rows`]). A store of version 2 stays one, and is read and written as such.
pub const SCHEMA_VERSION: u32 = 3;
/// What a store of version 1 is brought up to.
const COUNTED: u32 = 2;

/// The connection that writes, why it must not, and how the records lie.
pub type Opened = (Connection, Option<ReadOnly>, Layout);

/// Makes the store if there is none, and opens the connection that writes.
///
/// An existing store costs an open and one read: no pragma here writes.
pub fn open(dir: &Path, options: &Options) -> Result<Opened, LogError> {
    if !dir.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| io_error("create the folder", dir, &error))?;
    }
    place::check(dir)?;
    let path = dir.join("sterna.db");
    if !path.exists() {
        // Made here, so that it is private from its first moment; SQLite gives its other files the same mode.
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| io_error("create", &path, &error))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = connect(dir, flags, options.busy)?;
    let failed = |error: rusqlite::Error| sql(dir, &error);
    let mut version = stamp(&connection, dir)?;
    if version == 0 {
        create(&connection, dir)?;
        version = stamp(&connection, dir)?;
    }
    if version > SCHEMA_VERSION {
        return frozen(connection, ReadOnly::Newer(version), dir, options, Layout::of(version));
    }
    if connection.is_readonly(rusqlite::MAIN_DB).map_err(failed)? {
        return frozen(connection, ReadOnly::Place, dir, options, Layout::of(version));
    }
    if version < COUNTED {
        upgrade(&connection, dir)?;
    }
    let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_BYTES / page.max(1)).map_err(failed)?;
    if let Some(pages) = options.max_pages {
        connection.pragma_update(None, "max_page_count", pages).map_err(failed)?;
    }
    Ok((connection, None, Layout::of(version)))
}

fn frozen(
    connection: Connection,
    why: ReadOnly,
    dir: &Path,
    options: &Options,
    layout: Layout,
) -> Result<Opened, LogError> {
    if options.may_be_read_only { Ok((connection, Some(why), layout)) } else { Err(why.error(dir)) }
}

/// A connection that only reads.
/// Whether there is a log of notes and grants. One that cannot be looked for may be there.
pub fn holds_reserved(connection: &Connection) -> bool {
    // All that begins with `sterna:`, by the index of names.
    let query = "SELECT EXISTS (SELECT 1 FROM sessions WHERE name >= 'sterna:' AND name < 'sterna;')";
    connection.query_row(query, [], |row| row.get(0)).unwrap_or(true)
}

pub fn open_reader(dir: &Path, busy: Duration) -> Result<Connection, LogError> {
    connect(dir, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX, busy)
}

fn connect(dir: &Path, flags: OpenFlags, busy: Duration) -> Result<Connection, LogError> {
    let failed = |error: rusqlite::Error| sql(dir, &error);
    let connection = Connection::open_with_flags(dir.join("sterna.db"), flags).map_err(failed)?;
    connection.busy_timeout(busy).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(64);
    // The store checkpoints by itself when that is cheap; the exit of a command is not the time for it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF;").map_err(failed)?;
    Ok(connection)
}

/// The version of the tables; 0 for an empty file. One look: another process may be making the tables just now.
fn stamp(connection: &Connection, dir: &Path) -> Result<u32, LogError> {
    connection.execute_batch("BEGIN").map_err(|error| sql(dir, &error))?;
    let found = stamp_of(connection, dir);
    connection.execute_batch("COMMIT").map_err(|error| sql(dir, &error))?;
    found
}

fn stamp_of(connection: &Connection, dir: &Path) -> Result<u32, LogError> {
    let number = |pragma: &str| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(|error| sql(dir, &error))
    };
    let (version, application) = (number("user_version")?, number("application_id")?);
    let tables = || {
        let count = "SELECT count(*) FROM sqlite_schema";
        connection.query_row(count, [], |row| row.get::<_, i64>(0)).map_err(|error| sql(dir, &error))
    };
    if application != APPLICATION_ID && (version != 0 || tables()? > 0) {
        let path = dir.join("sterna.db");
        return Err(LogError::Damaged(format!(
            "{} is another program's database; move it away or set STERNA_HOME to another folder",
            path.display()
        )));
    }
    Ok(u32::try_from(version).unwrap_or(u32::MAX))
}

fn create(connection: &Connection, dir: &Path) -> Result<(), LogError> {
    let failed = |error: rusqlite::Error| sql(dir, &error);
    let io = |error: std::io::Error| io_error("lock", dir, &error);
    let queue = Queue::open(dir).map_err(io)?;
    let turn = queue.enter().map_err(io)?;
    if stamp(connection, dir)? != 0 {
        return Ok(());
    }
    connection.pragma_update(None, "page_size", PAGE_BYTES).map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    let made = connection.execute_batch(SCHEMA).and_then(|()| connection.execute_batch(INDEXES));
    made.and_then(|()| connection.execute_batch("COMMIT")).map_err(|error| {
        let _ = connection.execute_batch("ROLLBACK");
        failed(error)
    })?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| io_error("sync", dir, &error))?;
    if let Some(above) = fs::canonicalize(dir).ok().and_then(|dir| dir.parent().map(Path::to_owned)) {
        // The folder's own name; where we may not open what is above it, it was not us who made it.
        let _ = File::open(above).and_then(|above| above.sync_all());
    }
    // Without room for it, the first input is refused with the reason.
    let _ = Reserve::of(dir).hold();
    drop(turn);
    Ok(())
}

/// Brings the tables of version 1 up to date. Their records stay as they are; the counters are made anew from them.
fn upgrade(connection: &Connection, dir: &Path) -> Result<(), LogError> {
    let failed = |error: rusqlite::Error| sql(dir, &error);
    let queue = Queue::open(dir).map_err(|error| io_error("lock", dir, &error))?;
    let turn = queue.enter().map_err(|error| io_error("lock", dir, &error))?;
    connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let done = upgrade_locked(connection, dir);
    let ended = connection.execute_batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" });
    drop(turn);
    done?;
    ended.map_err(failed)
}

fn upgrade_locked(connection: &Connection, dir: &Path) -> Result<(), LogError> {
    let failed = |error: rusqlite::Error| sql(dir, &error);
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    // Another process may have been faster.
    if number("user_version").map_err(failed)? >= i64::from(COUNTED) {
        return Ok(());
    }
    let mut added = false;
    for counter in ["inputs", "asks", "in_turn"] {
        let known = "SELECT 1 FROM pragma_table_info('sessions') WHERE name = ?1";
        let known =
            connection.prepare(known).and_then(|mut query| query.exists([counter])).map_err(failed)?;
        if !known {
            let add = format!("ALTER TABLE sessions ADD COLUMN {counter} INTEGER NOT NULL DEFAULT 0");
            connection.execute_batch(&add).map_err(failed)?;
            added = true;
        }
    }
    if added {
        let files = LocalBlobs::open(dir.join("blobs"));
        let rebuilt = Tables { connection, files: &files, dir, layout: Layout::Pairs }.rebuild();
        rebuilt.map_err(|fail| match fail {
            Fail::Refused(error) => error,
            Fail::Broken(error) => failed(error),
        })?;
    }
    connection.pragma_update(None, "user_version", COUNTED).map_err(failed)
}

/// The page of a new store. An append changes a handful of pages by a few hundred bytes each, and the write-ahead log takes
/// whole ones: small pages halve what a step writes. A store keeps the page that it was made with.
pub const PAGE_BYTES: u32 = 1_024;
/// The write-ahead log is written back when it is this long: what SQLite does by itself with pages of 4 KiB.
const WAL_BYTES: i64 = 4 << 20;
/// `STRN`
const APPLICATION_ID: i64 = 0x5354_524E;

/// `records` is the truth, with `sessions.{name, deleted, fence, owner}`; whatever else is here can be rebuilt.
const SCHEMA: &str = "
BEGIN IMMEDIATE;
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    head INTEGER NOT NULL,
    hash BLOB NOT NULL,
    fence INTEGER NOT NULL,
    owner TEXT NOT NULL,
    expires INTEGER NOT NULL,
    released INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    parent TEXT,
    parent_seq INTEGER NOT NULL,
    status INTEGER NOT NULL,
    inputs INTEGER NOT NULL DEFAULT 0,
    asks INTEGER NOT NULL DEFAULT 0,
    in_turn INTEGER NOT NULL DEFAULT 0,
    title TEXT,
    cwd TEXT NOT NULL,
    route TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    turns INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    cost INTEGER
) STRICT;
CREATE INDEX sessions_by_cwd ON sessions(cwd, id) WHERE deleted = 0;
CREATE INDEX sessions_by_parent ON sessions(parent) WHERE parent IS NOT NULL;
CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    append_id TEXT,
    hash BLOB NOT NULL,
    data BLOB NOT NULL,
    session INTEGER NOT NULL AS (id >> 32),
    seq INTEGER NOT NULL AS (id & 4294967295)
) STRICT;
CREATE TABLE snapshots (
    session INTEGER NOT NULL,
    version INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (session, version)
) STRICT;
CREATE TABLE blobs (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    data BLOB NOT NULL
) STRICT;
PRAGMA application_id = 1398035022;
PRAGMA user_version = 3;
";

/// Tables that are made anew, also where somebody dropped them.
pub const INDEXES: &str = "
DROP TABLE IF EXISTS keys;
CREATE TABLE keys (
    session INTEGER NOT NULL,
    id TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (session, id)
) STRICT, WITHOUT ROWID;
DROP TABLE IF EXISTS search;
CREATE VIRTUAL TABLE search USING fts5(text, role UNINDEXED, tokenize = 'unicode61');
";
