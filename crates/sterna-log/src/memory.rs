//! A store in memory: for ephemeral sessions and for tests. It keeps encoded rows, as any other store does.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use sterna_model::{BlobRef, Digest, Parent, Seq, SessionId};

use crate::reserved::is_reserved;
use crate::{
    Append, AppendKind, Batch, BlobWriter, Blobs, ChainReader, Decision, Fence, Filter, Head, Hit,
    IndexedText, KeyEntry, KeyReceipt, Lease, LeaseRequest, Log, LogError, Lookup, Page, Receipt, Sealed,
    SessionRow, Standing, apply_delta, codec, content_from, decide, digest, empty_row, input_id, next_lease,
    row_content, seal, snippet, words,
};

/// A store that is gone with its process. Cheap to clone: all clones are one store.
#[derive(Clone, Default)]
pub struct MemoryLog {
    state: Arc<Mutex<State>>,
}

impl MemoryLog {
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made after its last check, so a panic elsewhere leaves nothing half-written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, append: Append) -> Result<Receipt, LogError> {
        let batch = Batch::prepare(append)?;
        let mut state = self.state();
        let decision = {
            let session = state.sessions.get(&batch.session);
            let standing = session.map_or(Standing::Absent, Session::standing);
            decide(&batch, &standing, &mut Look { state: &state, id: &batch.session, session })?
        };
        match decision {
            Decision::Repeat(receipt) => Ok(receipt),
            Decision::Write { first, prev, lease } => Ok(state.write(batch, first, prev, lease)),
        }
    }

    async fn read(&self, session: &SessionId, from: Seq, limit: usize) -> Result<Vec<Sealed>, LogError> {
        let state = self.state();
        let found = state.any(session)?;
        if found.deleted && found.rows.is_empty() {
            return Err(LogError::Tombstone(session.clone()));
        }
        let from = from.max(1);
        let skip = usize::try_from(from - 1).unwrap_or(usize::MAX);
        let mut chain = match skip.checked_sub(1).and_then(|at| found.rows.get(at)) {
            Some(before) => ChainReader::after(session, from - 1, before.hash),
            None => ChainReader::from_start(session),
        };
        let rows = (1..).zip(&found.rows).skip(skip).take(limit);
        rows.map(|(seq, row)| chain.take(seq, row.hash, &row.data, |hash| state.blob(hash))).collect()
    }

    async fn head(&self, session: &SessionId) -> Result<Head, LogError> {
        let state = self.state();
        let found = state.living(session)?;
        Ok(Head { seq: found.row.head, hash: found.hash, lease: found.lease.clone() })
    }

    async fn find_key(&self, session: &SessionId, key: &str) -> Result<Option<KeyReceipt>, LogError> {
        let state = self.state();
        match state.living(session) {
            Ok(found) => Ok(found.keys.get(&input_id(key)).map(KeyEntry::receipt)),
            Err(LogError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<SessionRow>, LogError> {
        let state = self.state();
        let end = match &page.after {
            Some(after) => state.any(after)?.order,
            None => state.order.len(),
        };
        let newest_first = state.order.iter().take(end).rev();
        let living = newest_first.filter_map(|id| state.sessions.get(id)).filter(|found| !found.deleted);
        let living = living.filter(|found| !is_reserved(&found.row.id));
        let wanted = living.map(|found| &found.row).filter(|row| matches(filter, row));
        Ok(wanted.take(page.limit).cloned().collect())
    }

    async fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, LogError> {
        let wanted: Vec<String> = words(query).collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let state = self.state();
        let living = state.order.iter().rev().filter_map(|id| state.sessions.get(id));
        let texts = living.flat_map(|found| found.texts.iter().rev().map(move |text| (found, text)));
        let hits = texts.filter(|(_, text)| {
            let held: HashSet<String> = words(&text.text).collect();
            wanted.iter().all(|word| held.contains(word))
        });
        let hit = |(found, text): (&Session, &IndexedText)| Hit {
            session: found.row.id.clone(),
            seq: text.seq,
            role: text.role.to_owned(),
            snippet: snippet(&text.text, &wanted),
        };
        Ok(hits.take(limit).map(hit).collect())
    }

    async fn lease(&self, session: &SessionId, request: LeaseRequest) -> Result<Lease, LogError> {
        let mut state = self.state();
        let found = state.living_mut(session)?;
        let lease = next_lease(session, found.lease.as_ref(), &request)?;
        found.lease = Some(lease.clone());
        Ok(lease)
    }

    async fn release(&self, session: &SessionId, fence: Fence) -> Result<(), LogError> {
        let mut state = self.state();
        let lease = state.sessions.get_mut(session).and_then(|found| found.lease.as_mut());
        if let Some(lease) = lease.filter(|lease| lease.fence == fence) {
            lease.released = true;
        }
        Ok(())
    }

    async fn snapshot_put(
        &self,
        session: &SessionId,
        seq: Seq,
        version: u32,
        bytes: Bytes,
    ) -> Result<(), LogError> {
        let mut state = self.state();
        let found = state.living_mut(session)?;
        let kept = found.snapshots.entry(version).or_insert((seq, Bytes::new()));
        if seq >= kept.0 {
            *kept = (seq, bytes);
        }
        Ok(())
    }

    async fn snapshot_get(
        &self,
        session: &SessionId,
        version: u32,
    ) -> Result<Option<(Seq, Bytes)>, LogError> {
        Ok(self.state().living(session)?.snapshots.get(&version).cloned())
    }

    async fn delete(&self, session: &SessionId) -> Result<(), LogError> {
        let mut state = self.state();
        let found = state.living_mut(session)?;
        found.deleted = true;
        found.row = empty_row(session);
        found.keys = HashMap::new();
        found.snapshots = HashMap::new();
        found.texts = Vec::new();
        state.forget(session.clone());
        Ok(())
    }
}

#[async_trait]
impl Blobs for MemoryLog {
    async fn put(&self, bytes: Bytes) -> Result<BlobRef, LogError> {
        let reference = BlobRef { hash: digest(&bytes), bytes: bytes.len() as u64 };
        self.state().blobs.insert(reference.hash, bytes);
        Ok(reference)
    }

    async fn get(&self, hash: &Digest) -> Result<Bytes, LogError> {
        self.state().blob(hash)
    }

    async fn has(&self, hash: &Digest) -> Result<bool, LogError> {
        Ok(self.state().blobs.contains_key(hash))
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>, LogError> {
        Ok(Box::new(Writer { store: self.clone(), bytes: Vec::new() }))
    }
}

#[derive(Default)]
struct State {
    sessions: HashMap<SessionId, Session>,
    /// In the order of their creation; a deleted session keeps its place.
    order: Vec<SessionId>,
    blobs: HashMap<Digest, Bytes>,
}

struct Session {
    row: SessionRow,
    order: usize,
    rows: Vec<Row>,
    hash: Digest,
    lease: Option<Lease>,
    keys: HashMap<String, KeyEntry>,
    snapshots: HashMap<u32, (Seq, Bytes)>,
    texts: Vec<IndexedText>,
    parent: Option<Parent>,
    /// A tombstone. Its rows are those that forks share.
    deleted: bool,
}

struct Row {
    data: Vec<u8>,
    hash: Digest,
    /// On the first record of an append: its tagged id.
    append: Option<String>,
}

impl State {
    fn any(&self, id: &SessionId) -> Result<&Session, LogError> {
        self.sessions.get(id).ok_or_else(|| LogError::NotFound(id.clone()))
    }

    fn living(&self, id: &SessionId) -> Result<&Session, LogError> {
        let found = self.any(id)?;
        if found.deleted { Err(LogError::Tombstone(id.clone())) } else { Ok(found) }
    }

    fn living_mut(&mut self, id: &SessionId) -> Result<&mut Session, LogError> {
        match self.sessions.get_mut(id) {
            None => Err(LogError::NotFound(id.clone())),
            Some(found) if found.deleted => Err(LogError::Tombstone(id.clone())),
            Some(found) => Ok(found),
        }
    }

    fn blob(&self, hash: &Digest) -> Result<Bytes, LogError> {
        self.blobs.get(hash).cloned().ok_or(LogError::BlobMissing(*hash))
    }

    fn write(&mut self, batch: Batch, first: Seq, prev: Digest, lease: Option<Lease>) -> Receipt {
        let (last, delta) = (batch.last_at(first), batch.delta_at(first));
        let keys: Vec<KeyEntry> = batch.keys_at(first).collect();
        let tagged = AppendKind::of(&batch.expect).tagged(&batch.id);
        let Batch { session: id, records, blobs, parent, .. } = batch;
        self.blobs.extend(blobs);
        let order = self.order.len();
        let session = self.sessions.entry(id).or_insert_with_key(|id| {
            self.order.push(id.clone());
            Session::new(id, order, parent)
        });
        let (mut hash, mut append) = (prev, Some(tagged));
        for (seq, prepared) in (first..).zip(&records) {
            let (data, next) = seal(prepared, seq, &hash);
            session.rows.push(Row { data, hash: next, append: append.take() });
            hash = next;
        }
        session.hash = hash;
        session.lease = lease.clone().or(session.lease.take());
        session.keys.extend(keys.into_iter().map(|key| (key.id.clone(), key)));
        session.texts.extend(delta.texts.iter().cloned());
        apply_delta(&mut session.row, delta, last);
        Receipt { first, last, hash, repeated: false, lease }
    }

    /// Drops the rows of a deleted session that no fork shares, and then those of its parent, if that waited for it.
    fn forget(&mut self, id: SessionId) {
        let mut next = Some(id);
        while let Some(id) = next.take() {
            let children = self.sessions.values().filter(|child| !child.rows.is_empty());
            let shared = children.filter_map(|child| child.parent.as_ref().filter(|at| at.session == id));
            let keep = shared.map(|parent| parent.seq).max().unwrap_or(0);
            let Some(found) = self.sessions.get_mut(&id).filter(|found| found.deleted) else { return };
            found.rows.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            found.rows.shrink_to_fit();
            if found.rows.is_empty() {
                next = found.parent.as_ref().map(|parent| parent.session.clone());
            }
        }
    }
}

impl Session {
    fn new(id: &SessionId, order: usize, parent: Option<Parent>) -> Self {
        Self {
            row: empty_row(id),
            order,
            rows: Vec::new(),
            hash: Digest::ZERO,
            lease: None,
            keys: HashMap::new(),
            snapshots: HashMap::new(),
            texts: Vec::new(),
            parent,
            deleted: false,
        }
    }

    fn standing(&self) -> Standing {
        if self.deleted {
            return Standing::Deleted;
        }
        Standing::Living { head: self.row.head, hash: self.hash, lease: self.lease.clone() }
    }

    fn at(&self, seq: Seq) -> Option<&Row> {
        self.rows.get(usize::try_from(seq.checked_sub(1)?).ok()?)
    }
}

struct Look<'a> {
    state: &'a State,
    id: &'a SessionId,
    session: Option<&'a Session>,
}

impl Lookup for Look<'_> {
    fn key(&mut self, id: &str) -> Result<Option<KeyEntry>, LogError> {
        Ok(self.session.and_then(|session| session.keys.get(id).cloned()))
    }

    fn append_after(&mut self, seq: Seq, tagged: &str) -> Result<Option<KeyEntry>, LogError> {
        let rows = self.session.map_or(&[][..], |session| &session.rows);
        let mut later = (1..).zip(rows).skip_while(|(at, _)| *at <= seq);
        let Some((first, row)) = later.find(|(_, row)| row.append.as_deref() == Some(tagged)) else {
            return Ok(None);
        };
        let content = |at, row: &Row| row_content(self.id, at, &row.data, |hash| self.state.blob(hash));
        let mut bodies = vec![content(first, row)?];
        for (at, row) in later.take_while(|(_, row)| row.append.is_none()) {
            bodies.push(content(at, row)?);
        }
        let last = first + bodies.len() as u64 - 1;
        let id = tagged.get(1..).unwrap_or_default().to_owned();
        Ok(Some(KeyEntry { id, first, last, content: content_from(bodies) }))
    }

    fn hash_at(&mut self, seq: Seq) -> Result<Digest, LogError> {
        let row = self.session.and_then(|session| session.at(seq));
        row.map(|row| row.hash).ok_or_else(|| codec::corrupt(self.id, seq, "it is missing"))
    }

    fn parent_hash(&mut self, parent: &Parent) -> Result<Digest, LogError> {
        let found = self.state.any(&parent.session)?;
        match found.at(parent.seq) {
            Some(row) => Ok(row.hash),
            None if found.deleted => Err(LogError::Tombstone(parent.session.clone())),
            None => Err(LogError::Refused(format!(
                "session `{}` has no record {} to fork at",
                parent.session, parent.seq
            ))),
        }
    }
}

struct Writer {
    store: MemoryLog,
    bytes: Vec<u8>,
}

impl BlobWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<BlobRef, LogError> {
        let bytes = Bytes::from(self.bytes);
        let reference = BlobRef { hash: digest(&bytes), bytes: bytes.len() as u64 };
        self.store.state().blobs.insert(reference.hash, bytes);
        Ok(reference)
    }
}

fn matches(filter: &Filter, row: &SessionRow) -> bool {
    let Filter { cwd, status, parent } = filter;
    cwd.as_ref().is_none_or(|cwd| *cwd == row.cwd)
        && status.is_none_or(|status| status == row.status)
        && parent.as_ref().is_none_or(|parent| row.parent.as_ref() == Some(parent))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance::Store;

    conformance_tests!({
        let store = Arc::new(MemoryLog::new());
        (Store { log: store.clone(), blobs: store }, ())
    });
}
