//! What all who know a live session share: its events, the way to its driver, its results.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sterna_model::{ResultEvent, Seq, SessionId};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, watch};

use crate::RuntimeError;
use crate::driver::Msg;
use crate::hub::Hub;

/// What all who know a live session share.
pub(crate) struct Shared {
    pub id: SessionId,
    pub hub: Arc<Hub>,
    tx: Mutex<Option<mpsc::UnboundedSender<Msg>>>,
    results: Mutex<VecDeque<(Vec<Seq>, ResultEvent)>>,
    error: Mutex<Option<RuntimeError>>,
    pub changed: watch::Sender<u64>,
    /// After the turn of this input nothing is begun here; 0: whatever waits is.
    last: AtomicU64,
    /// Children of this session that may work at the same time.
    slots: OnceLock<Semaphore>,
}

impl Shared {
    pub fn new(id: &SessionId) -> Self {
        Self {
            id: id.clone(),
            hub: Arc::new(Hub::new(id.clone())),
            tx: Mutex::default(),
            results: Mutex::default(),
            error: Mutex::default(),
            changed: watch::Sender::new(0),
            last: AtomicU64::new(0),
            slots: OnceLock::new(),
        }
    }

    /// After the turn of this input nothing is begun here.
    pub fn end_after(&self, input: Seq) {
        self.last.store(input, Ordering::Release);
    }

    /// The turn that took these inputs is the last one here.
    pub fn ends_with(&self, heard: &[Seq]) -> bool {
        let last = self.last.load(Ordering::Acquire);
        last != 0 && heard.contains(&last)
    }

    /// Keeps a result for those who wait for it.
    pub fn finish(&self, inputs: Vec<Seq>, result: ResultEvent) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.push_back((inputs, result));
        if results.len() > KEPT_RESULTS {
            results.pop_front();
        }
        drop(results);
        self.wake();
    }

    /// A turn that is driven on is neither parked nor drained any more.
    pub fn forget_unfinished(&self) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.retain(|(_, result)| !matches!(result.outcome, "parked" | "drained"));
    }

    pub fn result_of(&self, input: Seq) -> Option<ResultEvent> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.iter().rev().find(|(inputs, _)| inputs.contains(&input)).map(|(_, result)| result.clone())
    }

    /// Takes the driver's place, unless there is one. Whoever has it calls `Inner::retire` in the end.
    pub fn occupy(&self) -> Option<mpsc::UnboundedReceiver<Msg>> {
        let mut slot = self.lock_tx();
        if slot.is_some() {
            return None;
        }
        let (tx, rx) = mpsc::unbounded_channel();
        *slot = Some(tx);
        Some(rx)
    }

    /// A place among the children that work at the same time. Whoever asks first says how many there are.
    pub async fn place(&self, children: u32) -> Option<SemaphorePermit<'_>> {
        let slots = self.slots.get_or_init(|| Semaphore::new(children.max(1) as usize));
        slots.acquire().await.ok()
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub fn is_driven(&self) -> bool {
        self.lock_tx().is_some()
    }

    pub fn wake(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    pub fn lock_tx(&self) -> MutexGuard<'_, Option<mpsc::UnboundedSender<Msg>>> {
        self.tx.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn lock_error(&self) -> MutexGuard<'_, Option<RuntimeError>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Results that a session keeps for those who wait: the log has them all.
const KEPT_RESULTS: usize = 64;
