//! Collecting blobs that nothing refers to any more.
//!
//! First a census, beside all work: what records hold, and which blobs there are. The host says what hangs on what is
//! held. Then the sweep, in the writer's transaction: nothing was appended since the census, nobody drives a session, and
//! what is swept is noted, so that whoever believed it to be kept is refused instead of being left without it.

use std::collections::{BTreeSet, HashSet};

use rusqlite::params;
use sterna_log::{Held, LogError, Owner, held, open};
use sterna_model::{BlobRef, Body, Digest, Millis, SessionId};

use crate::error::Fail;
use crate::read::{Tables, int, uint};

/// What a store holds at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// What all records hold, those of deleted sessions that forks share included.
    pub held: BTreeSet<Held>,
    /// Bodies that are kept as blobs.
    pub bodies: BTreeSet<Digest>,
    stamp: Stamp,
    inline: Vec<BlobRef>,
    files: Vec<BlobRef>,
}

/// Changes with every append, every lease and every delete.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp([i64; 4]);

/// How a sweep ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swept {
    Done {
        blobs: u64,
        bytes: u64,
    },
    /// Something was written since the census. Nothing was removed.
    Changed,
    /// A session is being driven, and what its driver has kept may be in no record yet. Nothing was removed.
    Driven(SessionId),
}

impl Tables<'_> {
    /// Errors: `Corrupt` for a record that cannot be read. What it held cannot be known, so nothing may be swept.
    pub fn census(&self) -> Result<Census, LogError> {
        let failed = |error: rusqlite::Error| self.sql(&error);
        let (mut all, mut bodies) = (BTreeSet::new(), BTreeSet::new());
        let mut query = self
            .cached("SELECT name, seq, data FROM records JOIN sessions ON sessions.id = records.session")?;
        let mut rows = query.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let name: String = row.get(0).map_err(failed)?;
            let (session, seq) = (SessionId::new(&name)?, uint(row.get(1).map_err(failed)?));
            let data = row.get_ref(2).and_then(|data| Ok(data.as_blob()?)).map_err(failed)?;
            let mut spilled = None;
            let record = open(&session, seq, data, |hash| {
                spilled = Some(*hash);
                self.blob(hash)
            })?;
            bodies.extend(spilled);
            all.extend(held(&record.body));
        }
        let mut query = self.cached("SELECT hash, length(data) FROM blobs")?;
        let mut rows = query.query([]).map_err(failed)?;
        let mut inline = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let hash: Vec<u8> = row.get(0).map_err(failed)?;
            let hash = <[u8; 32]>::try_from(hash).map_err(|_| self.damaged("a blob's hash"))?;
            inline.push(BlobRef { hash: Digest(hash), bytes: uint(row.get(1).map_err(failed)?) });
        }
        let stamp = self.stamp().map_err(failed)?;
        Ok(Census { held: all, bodies, stamp, inline, files: self.files.list()? })
    }

    /// Removes the blobs of the census that are not to be kept.
    pub fn sweep(
        &self,
        census: &Census,
        keep: &HashSet<Digest>,
        now: Millis,
        is_dead: &dyn Fn(&Owner) -> bool,
    ) -> Result<Swept, Fail> {
        if self.stamp()? != census.stamp {
            return Ok(Swept::Changed);
        }
        if let Some(session) = self.driven(now, is_dead)? {
            return Ok(Swept::Driven(session));
        }
        let goes = |blob: &&BlobRef| !keep.contains(&blob.hash) && !census.bodies.contains(&blob.hash);
        let (inline, files): (Vec<_>, Vec<_>) =
            (census.inline.iter().filter(goes).collect(), census.files.iter().filter(goes).collect());
        if inline.is_empty() && files.is_empty() {
            return Ok(Swept::Done { blobs: 0, bytes: 0 });
        }
        self.connection.execute_batch(COLLECTED)?;
        self.connection
            .prepare_cached("DELETE FROM collected WHERE at < ?1")?
            .execute([int(now.saturating_sub(REMEMBERED_MS))])?;
        let mut note = self.connection.prepare_cached("INSERT OR REPLACE INTO collected VALUES (?1, ?2)")?;
        let mut delete = self.connection.prepare_cached("DELETE FROM blobs WHERE hash = ?1")?;
        let mut bytes = 0;
        for blob in inline.iter().chain(&files) {
            note.execute(params![&blob.hash.0[..], int(now)])?;
            bytes += blob.bytes;
        }
        for blob in &inline {
            delete.execute([&blob.hash.0[..]])?;
        }
        // A crash before the commit costs nothing: what goes is in no record.
        for blob in &files {
            self.files.remove(&blob.hash)?;
        }
        Ok(Swept::Done { blobs: (inline.len() + files.len()) as u64, bytes })
    }

    /// Refuses records that refer to what was swept and is not here again.
    pub fn refuse_collected(&self, refers: &[Digest]) -> Result<(), Fail> {
        if refers.is_empty() {
            return Ok(());
        }
        // A store in which nothing was ever swept has no such table.
        let Ok(mut was) = self.connection.prepare_cached("SELECT 1 FROM collected WHERE hash = ?1") else {
            return Ok(());
        };
        for hash in refers {
            if was.exists([&hash.0[..]])? && !self.has_blob(hash)? {
                return Err(LogError::BlobMissing(*hash).into());
            }
        }
        Ok(())
    }

    fn stamp(&self) -> Result<Stamp, rusqlite::Error> {
        let query =
            "SELECT count(*), coalesce(sum(head), 0), coalesce(sum(fence), 0), coalesce(sum(deleted), 0)
            FROM sessions";
        self.connection
            .prepare_cached(query)?
            .query_row([], |row| Ok(Stamp([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])))
    }

    /// A session whose driver may be alive.
    fn driven(&self, now: Millis, is_dead: &dyn Fn(&Owner) -> bool) -> Result<Option<SessionId>, Fail> {
        let query =
            "SELECT name, owner, expires FROM sessions WHERE released = 0 AND owner <> '' AND deleted = 0";
        let mut query = self.connection.prepare_cached(query)?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (owner, expires) = (Owner(row.get(1)?), uint(row.get(2)?));
            let forgotten = expires.saturating_add(FORGOTTEN_MS) < now;
            if !forgotten && !is_dead(&owner) {
                let name: String = row.get(0)?;
                return Ok(Some(SessionId::new(&name).map_err(LogError::from)?));
            }
        }
        Ok(None)
    }
}

/// The hashes that these records refer to.
pub fn refers<'a>(bodies: impl Iterator<Item = &'a Body>) -> Vec<Digest> {
    bodies.flat_map(held).map(|held| held.hash()).collect()
}

/// Made by the first sweep. It can be dropped when no process runs.
const COLLECTED: &str =
    "CREATE TABLE IF NOT EXISTS collected (hash BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID";
/// Milliseconds for which what was swept is remembered: longer than a process believes that it is kept. 30 days.
const REMEMBERED_MS: Millis = 30 * 24 * 3_600_000;
/// Milliseconds after its end from which a lease counts for nobody, though its owner is not known to be dead: one on
/// another machine, as a rule. A day.
const FORGOTTEN_MS: Millis = 24 * 3_600_000;
