//! A log that stops for ever at a point.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::pending;
use sterna_log::*;
use sterna_model::*;

/// Where the first life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// It never ends.
    None,
    BeforeAppend(usize),
    AfterAppend(usize),
    /// In the n-th call of a tool or of the model, after its outside effect.
    InEffect(usize),
}

/// A log that stops at a point.
pub struct CrashLog {
    inner: Arc<MemoryLog>,
    point: Point,
    pub appends: AtomicUsize,
    /// Appends before the driver starts do not count.
    armed: Arc<AtomicUsize>,
    dead: AtomicBool,
}

impl CrashLog {
    pub fn new(inner: Arc<MemoryLog>, point: Point, armed: Arc<AtomicUsize>) -> Self {
        Self { inner, point, appends: AtomicUsize::new(0), armed, dead: AtomicBool::new(false) }
    }

    /// From now on whoever uses this log does nothing with it any more.
    pub fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    async fn lives(&self) {
        if self.dead.load(Ordering::SeqCst) {
            pending().await
        }
    }
}

#[async_trait]
impl Log for CrashLog {
    async fn append(&self, append: Append) -> Result<Receipt, LogError> {
        self.lives().await;
        if self.armed.load(Ordering::SeqCst) == 0 {
            return self.inner.append(append).await;
        }
        let n = self.appends.fetch_add(1, Ordering::SeqCst);
        if matches!(self.point, Point::BeforeAppend(at) | Point::AfterAppend(at) if n > at) {
            return pending().await;
        }
        if self.point == Point::BeforeAppend(n) {
            return pending().await;
        }
        let receipt = self.inner.append(append).await;
        if self.point == Point::AfterAppend(n) {
            return pending().await;
        }
        receipt
    }
    async fn read(&self, s: &SessionId, from: Seq, limit: usize) -> Result<Vec<Sealed>, LogError> {
        self.lives().await;
        self.inner.read(s, from, limit).await
    }
    async fn head(&self, s: &SessionId) -> Result<Head, LogError> {
        self.lives().await;
        self.inner.head(s).await
    }
    async fn find_key(&self, s: &SessionId, key: &str) -> Result<Option<KeyReceipt>, LogError> {
        self.inner.find_key(s, key).await
    }
    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<SessionRow>, LogError> {
        self.inner.list(filter, page).await
    }
    async fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, LogError> {
        self.inner.search(query, limit).await
    }
    async fn lease(&self, s: &SessionId, request: LeaseRequest) -> Result<Lease, LogError> {
        self.lives().await;
        self.inner.lease(s, request).await
    }
    async fn release(&self, s: &SessionId, fence: Fence) -> Result<(), LogError> {
        self.inner.release(s, fence).await
    }
    async fn snapshot_put(&self, s: &SessionId, seq: Seq, v: u32, bytes: Bytes) -> Result<(), LogError> {
        self.inner.snapshot_put(s, seq, v, bytes).await
    }
    async fn snapshot_get(&self, s: &SessionId, v: u32) -> Result<Option<(Seq, Bytes)>, LogError> {
        self.inner.snapshot_get(s, v).await
    }
    async fn delete(&self, s: &SessionId) -> Result<(), LogError> {
        self.inner.delete(s).await
    }
}
