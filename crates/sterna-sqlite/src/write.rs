//! Everything that changes the tables. It runs in the writer's transaction, checks first and writes then.

use bytes::Bytes;
use rusqlite::params;
use sterna_log::{
    AppendKind, Batch, Decision, Fence, IndexedText, KeyEntry, Lease, LeaseRequest, LogError, Lookup,
    Receipt, SessionRow, Standing, apply_delta, content_from, decide, empty_row, next_lease, row_content,
    seal,
};
use sterna_model::{Digest, Parent, Seq, SessionId};

use crate::error::Fail;
use crate::layout::LAST_SEQ;
use crate::read::{Found, Tables, corrupt, int, status_number, uint};

impl Tables<'_> {
    /// Appends, or says why not. Blobs that do not belong into the database are files already.
    pub fn append(&self, batch: &Batch) -> Result<Receipt, Fail> {
        let found = self.session(&batch.session)?;
        let standing = found.as_ref().map_or(Standing::Absent, Found::standing);
        let mut look = Look { tables: self, id: &batch.session, found: found.as_ref() };
        let (first, prev, lease) = match decide(batch, &standing, &mut look)? {
            Decision::Repeat(receipt) => return Ok(receipt),
            Decision::Write { first, prev, lease } => (first, prev, lease),
        };
        let last = batch.last_at(first);
        let delta = batch.delta_at(first);
        let texts = delta.texts.clone();
        let (key, mut row, is_new) = match found {
            Some(found) => (found.key, found.row, false),
            None => (self.insert_session(batch, lease.as_ref())?, empty_row(&batch.session), true),
        };
        for (hash, bytes) in batch.blobs.iter().filter(|(_, bytes)| bytes.len() <= INLINE_BYTES) {
            self.put_blob(hash, bytes)?;
        }
        if last > LAST_SEQ {
            return Err(full_session(&batch.session).into());
        }
        let mut insert = self.connection.prepare_cached(self.layout.insert())?;
        let mut append_id = Some(AppendKind::of(&batch.expect).tagged(&batch.id));
        let mut hash = prev;
        for (seq, prepared) in (first..).zip(&batch.records) {
            let (data, next) = seal(prepared, seq, &hash);
            insert.execute(params![key, int(seq), append_id.take(), &next.0[..], data])?;
            hash = next;
        }
        apply_delta(&mut row, delta, last);
        // The fork's link and the folder are written once; later appends do not touch their columns.
        self.update_row(key, &row, &hash, is_new)?;
        for entry in batch.keys_at(first) {
            self.insert_key(key, &entry)?;
        }
        for text in &texts {
            self.insert_text(key, text)?;
        }
        Ok(Receipt { first, last, hash, repeated: false, lease })
    }

    pub fn lease(&self, id: &SessionId, request: &LeaseRequest) -> Result<Lease, Fail> {
        let found = self.living(id)?;
        let lease = next_lease(id, found.lease.as_ref(), request)?;
        self.connection
            .prepare_cached(
                "UPDATE sessions SET fence = ?2, owner = ?3, expires = ?4, released = 0 WHERE id = ?1",
            )?
            .execute(params![found.key, int(lease.fence), lease.owner.0, lease.expires as i64])?;
        Ok(lease)
    }

    pub fn release(&self, id: &SessionId, fence: Fence) -> Result<(), Fail> {
        self.connection
            .prepare_cached(
                "UPDATE sessions SET released = 1 WHERE name = ?1 AND fence = ?2 AND released = 0",
            )?
            .execute(params![id.as_str(), int(fence)])?;
        Ok(())
    }

    pub fn put_snapshot(&self, id: &SessionId, seq: Seq, version: u32, bytes: &[u8]) -> Result<(), Fail> {
        let found = self.living(id)?;
        self.connection
            .prepare_cached(
                "INSERT INTO snapshots (session, version, seq, data) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (session, version) DO UPDATE SET seq = excluded.seq, data = excluded.data
                 WHERE excluded.seq >= seq",
            )?
            .execute(params![found.key, version, int(seq), bytes])?;
        Ok(())
    }

    pub fn put_blob(&self, hash: &Digest, bytes: &Bytes) -> Result<(), Fail> {
        if self.connection.prepare_cached("SELECT 1 FROM blobs WHERE hash = ?1")?.exists([&hash.0[..]])? {
            return Ok(());
        }
        self.connection
            .prepare_cached("INSERT INTO blobs (hash, data) VALUES (?1, ?2)")?
            .execute(params![&hash.0[..], &bytes[..]])?;
        Ok(())
    }

    /// Leaves a tombstone, and of the records those that forks share.
    pub fn delete(&self, id: &SessionId) -> Result<(), Fail> {
        self.whole(|| self.delete_all(id))
    }

    fn delete_all(&self, id: &SessionId) -> Result<(), Fail> {
        let found = self.living(id)?;
        self.connection
            .prepare_cached(
                "UPDATE sessions SET deleted = 1, status = 0, title = NULL, cwd = '', route = '', created_at = 0,
                 updated_at = 0, turns = 0, steps = 0, tokens = 0, cost = 0, inputs = 0, asks = 0, in_turn = 0
                 WHERE id = ?1",
            )?
            .execute([found.key])?;
        self.connection.prepare_cached("DELETE FROM keys WHERE session = ?1")?.execute([found.key])?;
        self.connection.prepare_cached("DELETE FROM snapshots WHERE session = ?1")?.execute([found.key])?;
        self.delete_texts(found.key)?;
        let mut next = Some(id.clone());
        while let Some(id) = next.take() {
            let Some(found) = self.session(&id)?.filter(|found| found.deleted) else { break };
            // A child counts as long as it has records: its own life, or its own forks, keep them.
            let has_some = self.layout.child_has_some();
            let keep: Option<i64> = self
                .connection
                .prepare_cached(&format!(
                    "SELECT max(parent_seq) FROM sessions AS child WHERE parent = ?1 AND {has_some}"
                ))?
                .query_row([id.as_str()], |row| row.get(0))?;
            self.connection
                .prepare_cached(&self.layout.delete())?
                .execute(params![found.key, keep.unwrap_or(0) + 1])?;
            if keep.is_none() {
                next = found.row.parent;
            }
        }
        Ok(())
    }

    /// Does some work of several writes. When it is refused half-way, none of it stays.
    pub fn whole<T>(&self, work: impl FnOnce() -> Result<T, Fail>) -> Result<T, Fail> {
        self.connection.execute_batch("SAVEPOINT whole")?;
        let done = work();
        let end = if done.is_ok() { "RELEASE whole" } else { "ROLLBACK TO whole; RELEASE whole" };
        self.connection.execute_batch(end)?;
        done
    }

    pub fn update_row(&self, key: i64, row: &SessionRow, hash: &Digest, whole: bool) -> Result<(), Fail> {
        let SessionRow {
            id: _,
            status,
            pending,
            title,
            cwd,
            route,
            parent,
            created_at,
            updated_at,
            head,
            turns,
            steps,
            tokens,
            cost,
        } = row;
        self.connection
            .prepare_cached(
                "UPDATE sessions SET head = ?2, hash = ?3, status = ?4, title = ?5, route = ?6, updated_at = ?7,
                 turns = ?8, steps = ?9, tokens = ?10, cost = ?11, inputs = ?12, asks = ?13, in_turn = ?14
                 WHERE id = ?1",
            )?
            .execute(params![
                key,
                int(*head),
                &hash.0[..],
                status_number(*status),
                title,
                route.to_string(),
                int(*updated_at),
                int(*turns),
                int(*steps),
                int(*tokens),
                cost.map(int),
                int(pending.inputs),
                int(pending.asks),
                pending.in_turn,
            ])?;
        if whole {
            self.connection
                .prepare_cached("UPDATE sessions SET cwd = ?2, parent = ?3, created_at = ?4 WHERE id = ?1")?
                .execute(params![key, cwd, parent.as_ref().map(SessionId::as_str), int(*created_at)])?;
        }
        Ok(())
    }

    pub fn insert_key(&self, session: i64, entry: &KeyEntry) -> Result<(), Fail> {
        self.connection.prepare_cached("INSERT INTO keys VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            session,
            entry.id,
            int(entry.first),
            int(entry.last),
            &entry.content.0[..]
        ])?;
        Ok(())
    }

    /// Enters a text into the search index. Its row number is the session's and the record's in one.
    pub fn insert_text(&self, session: i64, text: &IndexedText) -> Result<(), Fail> {
        if text.seq <= u64::from(u32::MAX) {
            self.connection
                .prepare_cached("INSERT INTO search (rowid, text, role) VALUES (?1, ?2, ?3)")?
                .execute(params![(session << 32) | int(text.seq), text.text, text.role])?;
        }
        Ok(())
    }

    pub fn delete_texts(&self, session: i64) -> Result<(), Fail> {
        self.connection
            .prepare_cached("DELETE FROM search WHERE rowid BETWEEN ?1 AND ?2")?
            .execute(params![session << 32, (session << 32) | i64::from(u32::MAX)])?;
        Ok(())
    }

    fn insert_session(&self, batch: &Batch, lease: Option<&Lease>) -> Result<i64, Fail> {
        let owner = lease.map_or("", |lease| &lease.owner.0);
        self.connection
            .prepare_cached(
                "INSERT INTO sessions (name, head, hash, fence, owner, expires, released, parent_seq, status, cwd,
                 route, created_at, updated_at, turns, steps, tokens, cost)
                 VALUES (?1, 0, zeroblob(32), ?2, ?3, ?4, 0, ?5, 0, '', '', 0, 0, 0, 0, 0, 0)",
            )?
            .execute(params![
                batch.session.as_str(),
                int(lease.map_or(0, |lease| lease.fence)),
                owner,
                lease.map_or(0, |lease| lease.expires) as i64,
                int(batch.parent.as_ref().map_or(0, |parent| parent.seq)),
            ])?;
        Ok(self.connection.last_insert_rowid())
    }
}

fn full_session(id: &SessionId) -> LogError {
    LogError::Refused(format!(
        "session `{id}` has as many records as one can have; fork it, or go on in a new one"
    ))
}

struct Look<'a> {
    tables: &'a Tables<'a>,
    id: &'a SessionId,
    found: Option<&'a Found>,
}

impl Lookup for Look<'_> {
    fn key(&mut self, id: &str) -> Result<Option<KeyEntry>, LogError> {
        self.found.map_or(Ok(None), |found| self.tables.key(found.key, id))
    }

    fn append_after(&mut self, seq: Seq, tagged: &str) -> Result<Option<KeyEntry>, LogError> {
        let Some(found) = self.found else { return Ok(None) };
        let failed = |error: rusqlite::Error| self.tables.sql(&error);
        let mut query = self.tables.cached(&self.tables.layout.select("seq, append_id, data"))?;
        let mut rows = query.query(params![found.key, int(seq.saturating_add(1))]).map_err(failed)?;
        let (mut first, mut bodies) = (0, Vec::new());
        while let Some(row) = rows.next().map_err(failed)? {
            let at = uint(row.get(0).map_err(failed)?);
            let append: Option<&str> =
                row.get_ref(1).and_then(|id| Ok(id.as_str_or_null()?)).map_err(failed)?;
            match append {
                Some(id) if bodies.is_empty() && id == tagged => first = at,
                Some(_) if !bodies.is_empty() => break,
                None if !bodies.is_empty() => {}
                Some(_) | None => continue,
            }
            let data = row.get_ref(2).and_then(|data| Ok(data.as_blob()?)).map_err(failed)?;
            bodies.push(row_content(self.id, at, data, |hash| self.tables.blob(hash))?);
        }
        if bodies.is_empty() {
            return Ok(None);
        }
        let last = first + bodies.len() as u64 - 1;
        let id = tagged.get(1..).unwrap_or_default().to_owned();
        Ok(Some(KeyEntry { id, first, last, content: content_from(bodies) }))
    }

    fn hash_at(&mut self, seq: Seq) -> Result<Digest, LogError> {
        let hash = self.found.map_or(Ok(None), |found| self.tables.hash_at(self.id, found.key, seq))?;
        hash.ok_or_else(|| corrupt(self.id, seq, "it is missing"))
    }

    fn parent_hash(&mut self, parent: &Parent) -> Result<Digest, LogError> {
        let id = &parent.session;
        let found = self.tables.session(id)?.ok_or_else(|| LogError::NotFound(id.clone()))?;
        match self.tables.hash_at(id, found.key, parent.seq)? {
            Some(hash) => Ok(hash),
            None if found.deleted => Err(LogError::Tombstone(id.clone())),
            None => Err(LogError::Refused(format!("session `{id}` has no record {} to fork at", parent.seq))),
        }
    }
}

/// Blobs up to this size live in the database, in the transaction of their record (ruling 7).
pub const INLINE_BYTES: usize = 1 << 20;
