//! The store itself: it takes calls on any executor and hands them to its threads.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sterna_blobs::{LocalBlobs, LocalWriter};
use sterna_log::{
    Append, Batch, BlobWriter, Blobs, Fence, Filter, Head, Hit, KeyEntry, KeyReceipt, Lease, LeaseRequest,
    Log, LogError, Owner, Page, Receipt, Sealed, SessionRow, digest, input_id, is_reserved,
};
use sterna_model::{BlobRef, Body, Digest, Millis, Seq, SessionId};

use crate::check::StaleIndex;
use crate::collect::{Census, Swept, refers};
use crate::error::Fail;
use crate::layout::Layout;
use crate::pool::Pool;
use crate::read::Tables;
use crate::rebuild::Rebuilt;
use crate::write::INLINE_BYTES;
use crate::writer::{Need, Writer};
use crate::{SCHEMA_VERSION, schema};

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that read, at most.
    pub readers: usize,
    /// How long another program may hold the file before that is an error.
    pub busy: Duration,
    /// Open a store for reading that this version, or this place, does not let us write: every write is refused with
    /// `LogError::Newer` or `LogError::ReadOnly`.
    pub may_be_read_only: bool,
    /// The most pages the file may have; then it is full.
    pub max_pages: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 4, busy: Duration::from_secs(15), may_be_read_only: false, max_pages: None }
    }
}

/// Why a store is open for reading only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOnly {
    /// It was written by a newer version of Sterna, of which this is the number.
    Newer(u32),
    /// Its file cannot be written where it is.
    Place,
}

impl ReadOnly {
    /// What a write is refused with.
    pub(crate) fn error(self, dir: &Path) -> LogError {
        match self {
            Self::Newer(found) => LogError::Newer { found, known: SCHEMA_VERSION },
            Self::Place => LogError::ReadOnly(dir.join("sterna.db").display().to_string()),
        }
    }
}

/// A store in a folder: `sterna.db`, and `blobs` beside it. Cheap to clone; the last clone to be dropped waits until
/// everything that was sent is written.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    files: LocalBlobs,
    layout: Layout,
    pool: Pool,
    writer: Result<Writer, ReadOnly>,
    /// There was no reserved log when the store was opened, and nobody has asked since.
    none_reserved: AtomicBool,
}

impl SqliteStore {
    /// Opens the store in this folder, and makes it if there is none.
    ///
    /// Errors: `ReadOnly`, `Refused` (a network file system), `Damaged`, `Newer`, `DiskFull`.
    pub fn open(dir: &Path, options: Options) -> Result<Self, LogError> {
        let (connection, read_only, layout) = schema::open(dir, &options)?;
        let none_reserved = AtomicBool::new(!schema::holds_reserved(&connection));
        let dir = dir.to_owned();
        let files = LocalBlobs::open(dir.join("blobs"));
        let writer = match read_only {
            Some(why) => Err(why),
            None => Ok(Writer::new(connection, dir.clone())),
        };
        let pool = Pool::new(dir.clone(), files.clone(), options.busy, options.readers);
        Ok(Self { inner: Arc::new(Inner { dir, files, layout, pool, writer, none_reserved }) })
    }

    /// Why the store is open for reading only, if it is.
    pub fn read_only(&self) -> Option<ReadOnly> {
        self.inner.writer.as_ref().err().copied()
    }

    /// Makes lists, totals, keys and the search index anew from the records.
    pub async fn rebuild_indexes(&self) -> Result<Rebuilt, LogError> {
        self.write(None, Need::Beginning, |tables| tables.rebuild()).await
    }

    /// The indexes of a session that are not what its records say.
    pub async fn check_indexes(&self, session: &SessionId) -> Result<Vec<StaleIndex>, LogError> {
        let session = session.clone();
        self.read(move |tables| tables.check_indexes(&session)).await
    }

    /// What all records hold, and which blobs there are. Reads everything.
    pub async fn census(&self) -> Result<Census, LogError> {
        self.read(|tables| tables.census()).await
    }

    /// Removes the blobs of the census that are neither bodies of records nor in `keep`, unless something was written
    /// since, or somebody may be driving a session.
    pub async fn sweep(
        &self,
        census: Census,
        keep: HashSet<Digest>,
        now: Millis,
        is_dead: impl Fn(&Owner) -> bool + Send + 'static,
    ) -> Result<Swept, LogError> {
        self.write(None, Need::Outcome, move |tables| {
            tables.whole(|| tables.sweep(&census, &keep, now, &is_dead))
        })
        .await
    }

    /// Appends all of these or none: they become visible and durable together, however many they are.
    pub async fn append_all(&self, appends: Vec<Append>) -> Result<Vec<Receipt>, LogError> {
        let mut refers = refers(appends.iter().flat_map(|append| &append.records).map(|draft| &draft.body));
        let batches = appends.into_iter().map(Batch::prepare).collect::<Result<Vec<_>, _>>()?;
        from_elsewhere(&mut refers, &batches);
        let large = |batch: &Batch| {
            let large = batch.blobs.iter().filter(|(_, bytes)| bytes.len() > INLINE_BYTES);
            large.map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>()
        };
        for bytes in batches.iter().flat_map(large) {
            self.keep_large(bytes).await?;
        }
        self.write(None, Need::Beginning, move |tables| {
            tables.whole(|| {
                tables.refuse_collected(&refers)?;
                batches.iter().map(|batch| tables.append(batch)).collect()
            })
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(Tables<'_>) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let layout = self.inner.layout;
        self.inner
            .pool
            .run(move |reader| {
                let (dir, files) = (reader.dir.clone(), reader.files.clone());
                let connection = reader.connection()?;
                let failed = |error: rusqlite::Error| crate::error::sql(&dir, &error);
                // All of one answer is of one moment.
                let moment = connection.unchecked_transaction().map_err(failed)?;
                let answer = work(Tables { connection, files: &files, dir: &dir, layout });
                moment.finish().map_err(failed)?;
                answer
            })
            .await
    }

    async fn write<T: Send + 'static>(
        &self,
        by: Option<&SessionId>,
        need: Need,
        mut work: impl FnMut(Tables<'_>) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, LogError> {
        // Logs of our own are written on behalf of some session.
        let by = by.filter(|session| !is_reserved(session)).map(SessionId::as_str);
        let (dir, files, layout) = (self.inner.dir.clone(), self.inner.files.clone(), self.inner.layout);
        let work = move |connection: &rusqlite::Connection| {
            work(Tables { connection, files: &files, dir: &dir, layout })
        };
        self.writing()?.run(by, need, work).await
    }

    fn writing(&self) -> Result<&Writer, LogError> {
        self.inner.writer.as_ref().map_err(|why| why.error(&self.inner.dir))
    }

    /// Large blobs become files, durable before any record refers to them.
    async fn keep_large(&self, bytes: Bytes) -> Result<BlobRef, LogError> {
        self.writing()?;
        self.inner.pool.run(move |reader| reader.files.keep(&bytes)).await
    }
}

#[async_trait]
impl Log for SqliteStore {
    async fn append(&self, append: Append) -> Result<Receipt, LogError> {
        if is_reserved(&append.session) {
            self.inner.none_reserved.store(false, Ordering::Release);
        }
        let by = append.session.clone();
        let settles = append.records.iter().any(|draft| settles(&draft.body));
        let mut refers = refers(append.records.iter().map(|draft| &draft.body));
        let batch = Batch::prepare(append)?;
        from_elsewhere(&mut refers, std::slice::from_ref(&batch));
        let need = if settles { Need::Outcome } else { Need::Beginning };
        let large = batch.blobs.iter().filter(|(_, bytes)| bytes.len() > INLINE_BYTES);
        for (_, bytes) in large {
            self.keep_large(bytes.clone()).await?;
        }
        self.write(Some(&by), need, move |tables| {
            tables.refuse_collected(&refers)?;
            tables.append(&batch)
        })
        .await
    }

    /// What was so when the store was opened is said once: others write too.
    fn may_hold_reserved(&self) -> bool {
        !self.inner.none_reserved.swap(false, Ordering::AcqRel)
    }

    async fn read(&self, session: &SessionId, from: Seq, limit: usize) -> Result<Vec<Sealed>, LogError> {
        let session = session.clone();
        self.read(move |tables| tables.read(&session, from, limit)).await
    }

    async fn head(&self, session: &SessionId) -> Result<Head, LogError> {
        let session = session.clone();
        self.read(move |tables| {
            let found = tables.living(&session)?;
            Ok(Head { seq: found.row.head, hash: found.hash, lease: found.lease })
        })
        .await
    }

    async fn find_key(&self, session: &SessionId, key: &str) -> Result<Option<KeyReceipt>, LogError> {
        let (session, key) = (session.clone(), input_id(key));
        self.read(move |tables| match tables.living(&session) {
            Ok(found) => Ok(tables.key(found.key, &key)?.as_ref().map(KeyEntry::receipt)),
            Err(LogError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<SessionRow>, LogError> {
        let filter = filter.clone();
        self.read(move |tables| tables.list(&filter, &page)).await
    }

    async fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, LogError> {
        let query = query.to_owned();
        self.read(move |tables| tables.search(&query, limit)).await
    }

    async fn lease(&self, session: &SessionId, request: LeaseRequest) -> Result<Lease, LogError> {
        let (by, session) = (session, session.clone());
        self.write(Some(by), Need::Outcome, move |tables| tables.lease(&session, &request)).await
    }

    async fn release(&self, session: &SessionId, fence: Fence) -> Result<(), LogError> {
        let (by, session) = (session, session.clone());
        self.write(Some(by), Need::Outcome, move |tables| tables.release(&session, fence)).await
    }

    async fn snapshot_put(
        &self,
        session: &SessionId,
        seq: Seq,
        version: u32,
        bytes: Bytes,
    ) -> Result<(), LogError> {
        let (by, session) = (session, session.clone());
        self.write(Some(by), Need::Beginning, move |tables| {
            tables.put_snapshot(&session, seq, version, &bytes)
        })
        .await
    }

    async fn snapshot_get(
        &self,
        session: &SessionId,
        version: u32,
    ) -> Result<Option<(Seq, Bytes)>, LogError> {
        let session = session.clone();
        self.read(move |tables| tables.snapshot(tables.living(&session)?.key, version)).await
    }

    async fn delete(&self, session: &SessionId) -> Result<(), LogError> {
        let session = session.clone();
        // As large as the session is.
        self.write(None, Need::Outcome, move |tables| tables.delete(&session)).await
    }
}

#[async_trait]
impl Blobs for SqliteStore {
    async fn put(&self, bytes: Bytes) -> Result<BlobRef, LogError> {
        if bytes.len() > INLINE_BYTES {
            return self.keep_large(bytes).await;
        }
        let reference = BlobRef { hash: digest(&bytes), bytes: bytes.len() as u64 };
        let hash = reference.hash;
        self.write(None, Need::Beginning, move |tables| tables.put_blob(&hash, &bytes)).await?;
        Ok(reference)
    }

    async fn get(&self, hash: &Digest) -> Result<Bytes, LogError> {
        let hash = *hash;
        self.read(move |tables| tables.blob(&hash)).await
    }

    async fn get_range(&self, hash: &Digest, offset: u64, len: u64) -> Result<Bytes, LogError> {
        let hash = *hash;
        self.read(move |tables| tables.blob_range(&hash, offset, len)).await
    }

    async fn has(&self, hash: &Digest) -> Result<bool, LogError> {
        let hash = *hash;
        self.read(move |tables| tables.has_blob(&hash)).await
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>, LogError> {
        self.writing()?;
        Ok(Box::new(Pending { store: self.clone(), small: Vec::new(), large: None }))
    }
}

/// Bytes that stay in memory until they are too many for the database.
struct Pending {
    store: SqliteStore,
    small: Vec<u8>,
    large: Option<Box<LocalWriter>>,
}

impl BlobWriter for Pending {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        if let Some(large) = &mut self.large {
            return large.write(bytes);
        }
        if self.small.len() + bytes.len() <= INLINE_BYTES {
            self.small.extend_from_slice(bytes);
            return Ok(());
        }
        let large = self.large.insert(Box::new(self.store.inner.files.start()?));
        large.write(&std::mem::take(&mut self.small))?;
        large.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<BlobRef, LogError> {
        let Self { store, small, large } = *self;
        if let Some(large) = large {
            return large.finish();
        }
        let bytes = Bytes::from(small);
        let reference = BlobRef { hash: digest(&bytes), bytes: bytes.len() as u64 };
        let (dir, files, hash) = (store.inner.dir.clone(), store.inner.files.clone(), reference.hash);
        let layout = store.inner.layout;
        store.writing()?.run_blocking(Need::Beginning, move |connection| {
            Tables { connection, files: &files, dir: &dir, layout }.put_blob(&hash, &bytes)
        })?;
        Ok(reference)
    }
}

/// Of what appends refer to, what must be here before their transaction: not the small blobs that they bring, but the
/// large ones, which are files by then.
fn from_elsewhere(refers: &mut Vec<Digest>, batches: &[Batch]) {
    let brought = batches.iter().flat_map(|batch| &batch.blobs);
    let (small, large): (Vec<_>, Vec<_>) = brought.partition(|(_, bytes)| bytes.len() <= INLINE_BYTES);
    let small: HashSet<Digest> = small.into_iter().map(|(hash, _)| *hash).collect();
    refers.retain(|hash| !small.contains(hash));
    refers.extend(large.into_iter().map(|(hash, _)| *hash));
}

/// What happened or must end: written from the reserve when the disk is full. What only begins something is not.
fn settles(body: &Body) -> bool {
    match body {
        Body::Outcome(_)
        | Body::Attempt(_)
        | Body::InDoubt { .. }
        | Body::WaitResolved { .. }
        | Body::CancelRequested { .. }
        | Body::LimitReached { .. }
        | Body::TurnCommitted(_)
        | Body::InputWithdrawn { .. }
        | Body::SessionClosed { .. }
        | Body::HookRan(_)
        // Its files are restored by then.
        | Body::Rewound(_) => true,
        Body::SessionOpened(_)
        | Body::TitleSet { .. }
        | Body::RouteChanged { .. }
        | Body::ModeChanged { .. }
        | Body::InputAccepted(_)
        | Body::InputEdited { .. }
        | Body::TurnStarted(_)
        | Body::Intent(_)
        | Body::WaitOpened(_)
        | Body::GrantGiven { .. }
        | Body::GrantRevoked { .. }
        | Body::TodoSet { .. }
        | Body::Memory(_)
        | Body::Automation(_)
        | Body::Goal(_)
        | Body::Budget(_)
        | Body::HookIntent(_)
        | Body::CheckpointTaken(_)
        | Body::CheckpointMissed { .. }
        | Body::Compacted(_)
        | Body::CompactionMissed { .. } => false,
    }
}
