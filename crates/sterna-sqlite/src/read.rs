//! Everything that is asked of the tables. It runs in a transaction of the caller's.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sterna_blobs::LocalBlobs;
use sterna_log::{
    ChainReader, Filter, Hit, KeyEntry, Lease, LogError, Owner, Page, Pending, Sealed, SessionRow, Standing,
    Status, TORN_TAIL, digest, snippet, words,
};
use sterna_model::{Digest, Route, Seq, SessionId};

use crate::error::sql;
use crate::layout::Layout;

/// A connection, and what is beside the database.
#[derive(Clone, Copy)]
pub struct Tables<'a> {
    pub connection: &'a Connection,
    pub files: &'a LocalBlobs,
    pub dir: &'a Path,
    pub layout: Layout,
}

/// A session as its row says.
pub struct Found {
    pub key: i64,
    pub hash: Digest,
    pub lease: Option<Lease>,
    pub deleted: bool,
    pub row: SessionRow,
}

impl Found {
    pub fn standing(&self) -> Standing {
        if self.deleted {
            return Standing::Deleted;
        }
        Standing::Living { head: self.row.head, hash: self.hash, lease: self.lease.clone() }
    }
}

impl Tables<'_> {
    /// The session's row, if there ever was such a session.
    pub fn session(&self, id: &SessionId) -> Result<Option<Found>, LogError> {
        let found = self
            .connection
            .prepare_cached(SESSION)
            .and_then(|mut query| query.query_row([id.as_str()], |row| Ok(self.found(row))).optional());
        found.map_err(|error| self.sql(&error))?.transpose()
    }

    pub fn living(&self, id: &SessionId) -> Result<Found, LogError> {
        match self.session(id)? {
            None => Err(LogError::NotFound(id.clone())),
            Some(found) if found.deleted => Err(LogError::Tombstone(id.clone())),
            Some(found) => Ok(found),
        }
    }

    pub fn read(&self, id: &SessionId, from: Seq, limit: usize) -> Result<Vec<Sealed>, LogError> {
        let found = self.session(id)?.ok_or_else(|| LogError::NotFound(id.clone()))?;
        let from = from.max(1);
        let mut chain = ChainReader::from_start(id);
        let mut sealed = Vec::new();
        // One before, for the hash that the first is chained to.
        let before = u64::from(from > 1);
        let limit = limit.min(1 << 31) as u64;
        let mut query = self.cached(&format!("{} LIMIT ?3", self.layout.select("seq, hash, data")))?;
        let mut rows = query
            .query(params![found.key, int(from - before), int(limit + before)])
            .map_err(|error| self.sql(&error))?;
        let mut next = from;
        loop {
            let row = rows.next().map_err(|error| self.damage(id, next, &error))?;
            let Some(row) = row else { break };
            let (seq, hash, data) = record(row).map_err(|error| self.damage(id, next, &error))?;
            let hash = digest_of(hash).ok_or_else(|| corrupt(id, seq, "its hash has another length"))?;
            if seq < from {
                chain = ChainReader::after(id, seq, hash);
                continue;
            }
            sealed.push(chain.take(seq, hash, data, |hash| self.blob(hash))?);
            next = seq.saturating_add(1);
        }
        let last = if found.deleted { next.saturating_sub(1) } else { found.row.head };
        if found.deleted && sealed.is_empty() && !self.has_rows(found.key)? {
            return Err(LogError::Tombstone(id.clone()));
        }
        if (sealed.len() as u64) < limit && next <= last {
            return Err(corrupt(id, next, TORN_TAIL));
        }
        Ok(sealed)
    }

    pub fn has_rows(&self, key: i64) -> Result<bool, LogError> {
        self.cached(&format!("{} LIMIT 1", self.layout.select("1")))?
            .exists([key, 1])
            .map_err(|error| self.sql(&error))
    }

    pub fn key(&self, session: i64, id: &str) -> Result<Option<KeyEntry>, LogError> {
        let found = self
            .cached("SELECT first, last, content FROM keys WHERE session = ?1 AND id = ?2")?
            .query_row(params![session, id], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?))
            })
            .optional()
            .map_err(|error| self.sql(&error))?;
        let Some((first, last, content)) = found else { return Ok(None) };
        let content = digest_of(&content).ok_or_else(|| self.damaged("a key's hash"))?;
        Ok(Some(KeyEntry { id: id.into(), first: uint(first), last: uint(last), content }))
    }

    /// The chain hash of a record.
    pub fn hash_at(&self, id: &SessionId, session: i64, seq: Seq) -> Result<Option<Digest>, LogError> {
        let hash = self
            .cached(&self.layout.select_one("hash"))?
            .query_row(params![session, int(seq)], |row| row.get::<_, Vec<u8>>(0))
            .optional()
            .map_err(|error| self.sql(&error))?;
        hash.map(|hash| digest_of(&hash).ok_or_else(|| corrupt(id, seq, "its hash has another length")))
            .transpose()
    }

    pub fn blob(&self, hash: &Digest) -> Result<Bytes, LogError> {
        let kept = self
            .cached("SELECT data FROM blobs WHERE hash = ?1")?
            .query_row([&hash.0[..]], |row| row.get::<_, Vec<u8>>(0))
            .optional()
            .map_err(|error| self.sql(&error))?;
        match kept {
            Some(bytes) if digest(&bytes) == *hash => Ok(bytes.into()),
            Some(_) => Err(self.damaged(&format!("blob {hash}"))),
            None => self.files.load(hash),
        }
    }

    pub fn blob_range(&self, hash: &Digest, offset: u64, len: u64) -> Result<Bytes, LogError> {
        let kept = self
            .cached("SELECT coalesce(substr(data, ?2, ?3), zeroblob(0)) FROM blobs WHERE hash = ?1")?
            .query_row(params![&hash.0[..], int(offset.saturating_add(1)), int(len)], |row| {
                row.get::<_, Vec<u8>>(0)
            })
            .optional()
            .map_err(|error| self.sql(&error))?;
        kept.map_or_else(|| self.files.load_range(hash, offset, len), |bytes| Ok(bytes.into()))
    }

    pub fn has_blob(&self, hash: &Digest) -> Result<bool, LogError> {
        let kept = self
            .cached("SELECT 1 FROM blobs WHERE hash = ?1")?
            .exists([&hash.0[..]])
            .map_err(|error| self.sql(&error))?;
        if kept { Ok(true) } else { self.files.contains(hash) }
    }

    pub fn list(&self, filter: &Filter, page: &Page) -> Result<Vec<SessionRow>, LogError> {
        let Filter { cwd, status, parent } = filter;
        let after = match &page.after {
            None => i64::MAX,
            Some(after) => self.session(after)?.ok_or_else(|| LogError::NotFound(after.clone()))?.key,
        };
        let mut text = format!("{COLUMNS} WHERE deleted = 0 AND id < ?1 AND name NOT GLOB 'sterna:*'");
        // Named even where they are not used, so that the numbers of the parameters stay.
        let clauses = [
            (cwd.is_some(), " AND cwd = ?2"),
            (status.is_some(), " AND status = ?3"),
            (parent.is_some(), " AND parent = ?4"),
        ];
        for (wanted, clause) in clauses {
            text.push_str(if wanted { clause } else { "" });
        }
        text.push_str(" ORDER BY id DESC LIMIT ?5");
        let status = status.map(status_number);
        let parent = parent.as_ref().map(SessionId::as_str);
        let mut query = self.cached(&text)?;
        let rows = query.query_map(params![after, cwd, status, parent, int(page.limit as u64)], |row| {
            Ok(self.found(row))
        });
        rows.and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| self.sql(&error))?
            .into_iter()
            .map(|found| found.map(|found| found.row))
            .collect()
    }

    pub fn search(&self, text: &str, limit: usize) -> Result<Vec<Hit>, LogError> {
        let wanted: Vec<String> = words(text).collect();
        if wanted.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        // In quotes, so that every word is a word and none is syntax.
        let quoted: Vec<String> = wanted.iter().map(|word| format!("\"{word}\"")).collect();
        let mut query = self.cached(
            "SELECT search.rowid & 4294967295, sessions.name, role, snippet(search, 0, '', '', '…', 48)
             FROM search JOIN sessions ON sessions.id = search.rowid >> 32
             WHERE search MATCH ?1 ORDER BY rank, search.rowid DESC LIMIT ?2",
        )?;
        let rows = query.query_map(params![quoted.join(" "), int(limit as u64)], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
            ))
        });
        rows.and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| self.sql(&error))?
            .into_iter()
            .map(|(seq, name, role, near)| {
                // SQLite counts words, and a word may be long.
                Ok(Hit {
                    session: SessionId::new(&name)?,
                    seq: uint(seq),
                    role,
                    snippet: snippet(&near, &wanted),
                })
            })
            .collect()
    }

    pub fn snapshot(&self, session: i64, version: u32) -> Result<Option<(Seq, Bytes)>, LogError> {
        self.cached("SELECT seq, data FROM snapshots WHERE session = ?1 AND version = ?2")?
            .query_row(params![session, version], |row| {
                Ok((uint(row.get(0)?), row.get::<_, Vec<u8>>(1)?.into()))
            })
            .optional()
            .map_err(|error| self.sql(&error))
    }

    pub fn cached(&self, text: &str) -> Result<rusqlite::CachedStatement<'_>, LogError> {
        self.connection.prepare_cached(text).map_err(|error| self.sql(&error))
    }

    pub fn sql(&self, error: &rusqlite::Error) -> LogError {
        sql(self.dir, error)
    }

    pub fn damaged(&self, what: &str) -> LogError {
        let path = self.dir.join("sterna.db");
        LogError::Damaged(format!(
            "{what} in {} is not what was written; run `sterna sessions fsck`, and restore it from a backup",
            path.display()
        ))
    }

    /// A record that SQLite cannot give us is a damaged record; other errors are the store's.
    fn damage(&self, id: &SessionId, seq: Seq, error: &rusqlite::Error) -> LogError {
        match self.sql(error) {
            LogError::Damaged(detail) => corrupt(id, seq, &detail),
            other => other,
        }
    }

    fn found(&self, row: &Row<'_>) -> Result<Found, LogError> {
        let read = || -> Result<_, rusqlite::Error> {
            let name: String = row.get(1)?;
            let hash: Vec<u8> = row.get(3)?;
            let fence = uint(row.get(4)?);
            let owner = Owner(row.get(5)?);
            // Any number may stand there, so its bits are kept.
            let expires = row.get::<_, i64>(6)? as u64;
            let lease = (fence > 0).then_some(Lease { fence, owner, expires, released: row.get(7)? });
            let parent: Option<String> = row.get(9)?;
            let route: String = row.get(13)?;
            Ok((name, hash, lease, parent, route))
        };
        let (name, hash, lease, parent, route) = read().map_err(|error| self.sql(&error))?;
        let session_row = || -> Result<SessionRow, rusqlite::Error> {
            Ok(SessionRow {
                id: SessionId::new(&name).map_err(|_| rusqlite::Error::InvalidQuery)?,
                status: status_of(row.get(11)?),
                pending: Pending {
                    inputs: uint(row.get(21)?),
                    asks: uint(row.get(22)?),
                    in_turn: row.get(23)?,
                    closed: status_of(row.get(11)?) == Status::Closed,
                },
                title: row.get(12)?,
                cwd: row.get(14)?,
                route: route.parse().unwrap_or(Route { provider: String::new(), model: String::new() }),
                parent: parent.and_then(|parent| SessionId::new(&parent).ok()),
                created_at: uint(row.get(15)?),
                updated_at: uint(row.get(16)?),
                head: uint(row.get(2)?),
                turns: uint(row.get(17)?),
                steps: uint(row.get(18)?),
                tokens: uint(row.get(19)?),
                cost: row.get::<_, Option<i64>>(20)?.map(uint),
            })
        };
        Ok(Found {
            key: row.get(0).map_err(|error| self.sql(&error))?,
            hash: digest_of(&hash).ok_or_else(|| self.damaged("a session's hash"))?,
            lease,
            deleted: row.get(8).map_err(|error| self.sql(&error))?,
            row: session_row().map_err(|error| self.sql(&error))?,
        })
    }
}

pub fn digest_of(bytes: &[u8]) -> Option<Digest> {
    bytes.try_into().ok().map(Digest)
}

/// A number for a column. What is larger than a column holds is the largest that it holds.
pub fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub fn status_number(status: Status) -> i64 {
    match status {
        Status::Idle => 0,
        Status::Running => 1,
        Status::Parked => 2,
        Status::Closed => 3,
    }
}

fn status_of(number: i64) -> Status {
    match number {
        1 => Status::Running,
        2 => Status::Parked,
        3 => Status::Closed,
        _ => Status::Idle,
    }
}

pub fn corrupt(session: &SessionId, seq: Seq, detail: &str) -> LogError {
    LogError::Corrupt { session: session.clone(), seq, detail: detail.into() }
}

fn record<'a>(row: &'a Row<'_>) -> Result<(Seq, &'a [u8], &'a [u8]), rusqlite::Error> {
    let bytes = |column: usize| row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from);
    Ok((uint(row.get(0)?), bytes(1)?, bytes(2)?))
}

const COLUMNS: &str = "SELECT id, name, head, hash, fence, owner, expires, released, deleted, parent, parent_seq, \
                       status, title, route, cwd, created_at, updated_at, turns, steps, tokens, cost, inputs, asks, in_turn \
                       FROM sessions";
const SESSION: &str = "SELECT id, name, head, hash, fence, owner, expires, released, deleted, parent, parent_seq, \
                       status, title, route, cwd, created_at, updated_at, turns, steps, tokens, cost, inputs, asks, in_turn \
                       FROM sessions WHERE name = ?1";
