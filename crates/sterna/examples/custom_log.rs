//! A log of the host: here one that counts appends and keeps everything in memory. A store of your own implements the
//! same methods, and proves itself with `sterna_log::conformance`.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::FutureExt;
use sterna::log::*;
use sterna::model::{Seq, SessionId};
use sterna::prelude::{Scripted, Sterna, Store};

struct Counting {
    inner: MemoryLog,
    appends: AtomicUsize,
}

#[async_trait]
impl Log for Counting {
    async fn append(&self, append: Append) -> Result<Receipt, LogError> {
        self.appends.fetch_add(1, Ordering::Relaxed);
        self.inner.append(append).await
    }
    async fn read(&self, session: &SessionId, from: Seq, limit: usize) -> Result<Vec<Sealed>, LogError> {
        self.inner.read(session, from, limit).await
    }
    async fn head(&self, session: &SessionId) -> Result<Head, LogError> {
        self.inner.head(session).await
    }
    async fn find_key(&self, session: &SessionId, key: &str) -> Result<Option<KeyReceipt>, LogError> {
        self.inner.find_key(session, key).await
    }
    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<SessionRow>, LogError> {
        self.inner.list(filter, page).await
    }
    async fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, LogError> {
        self.inner.search(query, limit).await
    }
    async fn lease(&self, session: &SessionId, request: LeaseRequest) -> Result<Lease, LogError> {
        self.inner.lease(session, request).await
    }
    async fn release(&self, session: &SessionId, fence: Fence) -> Result<(), LogError> {
        self.inner.release(session, fence).await
    }
    async fn snapshot_put(
        &self,
        session: &SessionId,
        seq: Seq,
        version: u32,
        bytes: bytes::Bytes,
    ) -> Result<(), LogError> {
        self.inner.snapshot_put(session, seq, version, bytes).await
    }
    async fn snapshot_get(
        &self,
        session: &SessionId,
        version: u32,
    ) -> Result<Option<(Seq, bytes::Bytes)>, LogError> {
        self.inner.snapshot_get(session, version).await
    }
    async fn delete(&self, session: &SessionId) -> Result<(), LogError> {
        self.inner.delete(session).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let inner = MemoryLog::new();
    let log = Arc::new(Counting { inner: inner.clone(), appends: AtomicUsize::new(0) });
    let script = Scripted::parse("{\"text\":\"counted\"}", Arc::new(|_| futures::future::ready(()).boxed()))?;
    let sterna = Sterna::builder()
        .store(Store::Own(log.clone(), Arc::new(inner)))
        .provider(Arc::new(script))
        .build()
        .await?;
    let reply = sterna.session("s").turn("Count this.").await?;
    // The input with its session, the turn with its first intent, the outcome with the commit.
    println!("{} in {} appends", reply.message(), log.appends.load(Ordering::Relaxed));
    assert!(reply.is_finished());
    Ok(())
}
