//! A log that does something before an append.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use sterna_log::*;
use sterna_model::*;
use tokio::sync::Notify;

/// What happens before an append.
pub enum Act {
    Pass,
    /// It fails, and nothing is written.
    Fail(LogError),
    /// Somebody else's append comes first.
    First(Append),
    /// Another process, which dies at once, has taken the session.
    Steal,
    Panic,
}

type Hook = Box<dyn FnMut(&Append) -> Act + Send>;

pub struct HookLog {
    pub inner: Arc<MemoryLog>,
    hook: Mutex<Hook>,
    /// Appends of drivers so far.
    pub driven: AtomicUsize,
    /// A lease that is let go waits for `go`.
    pub hold_release: AtomicBool,
    /// Letting a lease go panics, once.
    pub panic_in_release: AtomicBool,
    /// A read does not answer at once.
    pub slow_reads: AtomicBool,
    /// Records that were read of each log so far.
    pub records_read: Mutex<BTreeMap<SessionId, usize>>,
    /// Bytes of snapshots that were read so far.
    pub snapshot_bytes: AtomicUsize,
    pub held: Notify,
    pub go: Notify,
}

/// The owner of a stolen session.
pub const GHOST: &str = "ghost";

impl HookLog {
    pub fn new(hook: impl FnMut(&Append) -> Act + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::default(),
            hook: Mutex::new(Box::new(hook)),
            driven: AtomicUsize::new(0),
            hold_release: AtomicBool::new(false),
            panic_in_release: AtomicBool::new(false),
            slow_reads: AtomicBool::new(false),
            records_read: Mutex::default(),
            snapshot_bytes: AtomicUsize::new(0),
            held: Notify::new(),
            go: Notify::new(),
        })
    }

    /// Records that were read of this log since this was asked last.
    pub fn read_since(&self, session: &SessionId) -> usize {
        self.records_read.lock().unwrap().remove(session).unwrap_or(0)
    }

    /// Acts before the n-th append of a driver, and passes all others.
    pub fn at(n: usize, mut act: impl FnMut(&Append) -> Act + Send + 'static) -> Arc<Self> {
        let mut seen = 0;
        Self::new(move |append| {
            if !is_driven(append) {
                return Act::Pass;
            }
            seen += 1;
            if seen == n + 1 { act(append) } else { Act::Pass }
        })
    }
}

/// Whether a driver wrote it.
pub fn is_driven(append: &Append) -> bool {
    matches!(append.expect, Expect::Head { .. })
}

pub fn commits(append: &Append) -> bool {
    append.records.iter().any(|draft| matches!(draft.body, Body::TurnCommitted(_)))
}

/// Somebody's input that did not come through the driver.
pub fn foreign(append: &Append, text: &str, delivery: Delivery) -> Act {
    let parts = vec![InputPart::Text(text.into())];
    let body = Body::InputAccepted(InputAccepted {
        key: None,
        delivery,
        parts,
        origin: "test".into(),
        given: None,
        ended: None,
        compact: None,
        tainted: Vec::new(),
    });
    Act::First(Append {
        session: append.session.clone(),
        expect: Expect::Any,
        id: format!("once:{text}"),
        records: vec![Draft { at: 1, turn: None, step: None, body }],
        blobs: Vec::new(),
    })
}

#[async_trait]
impl Log for HookLog {
    async fn append(&self, append: Append) -> Result<Receipt, LogError> {
        if is_driven(&append) {
            self.driven.fetch_add(1, Ordering::SeqCst);
        }
        let act = (self.hook.lock().unwrap())(&append);
        match act {
            Act::Pass => {}
            Act::Fail(error) => return Err(error),
            Act::Panic => panic!("as it must, in append"),
            Act::First(other) => drop(self.inner.append(other).await?),
            Act::Steal => {
                let takeover = self.inner.head(&append.session).await?.lease.map(|lease| lease.fence);
                let request =
                    LeaseRequest { owner: Owner(GHOST.into()), now: 0, expires: u64::MAX, takeover };
                self.inner.lease(&append.session, request).await?;
            }
        }
        self.inner.append(append).await
    }
    async fn read(&self, s: &SessionId, from: Seq, limit: usize) -> Result<Vec<Sealed>, LogError> {
        if self.slow_reads.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        let page = self.inner.read(s, from, limit).await?;
        *self.records_read.lock().unwrap().entry(s.clone()).or_default() += page.len();
        Ok(page)
    }
    async fn head(&self, s: &SessionId) -> Result<Head, LogError> {
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
        self.inner.lease(s, request).await
    }
    async fn release(&self, s: &SessionId, fence: Fence) -> Result<(), LogError> {
        assert!(!self.panic_in_release.swap(false, Ordering::SeqCst), "as it must, in release");
        if self.hold_release.swap(false, Ordering::SeqCst) {
            self.held.notify_one();
            self.go.notified().await;
        }
        self.inner.release(s, fence).await
    }
    async fn snapshot_put(&self, s: &SessionId, seq: Seq, v: u32, bytes: Bytes) -> Result<(), LogError> {
        self.inner.snapshot_put(s, seq, v, bytes).await
    }
    async fn snapshot_get(&self, s: &SessionId, v: u32) -> Result<Option<(Seq, Bytes)>, LogError> {
        let found = self.inner.snapshot_get(s, v).await?;
        let bytes = found.as_ref().map_or(0, |(_, bytes)| bytes.len());
        self.snapshot_bytes.fetch_add(bytes, Ordering::SeqCst);
        Ok(found)
    }
    async fn delete(&self, s: &SessionId) -> Result<(), LogError> {
        self.inner.delete(s).await
    }
}
