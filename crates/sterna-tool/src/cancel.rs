//! A cancel signal of our own, so that the contract needs no executor's.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// A signal that is raised once. Clones share it.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Default)]
struct Inner {
    raised: AtomicBool,
    next: AtomicU64,
    wakers: Mutex<Vec<(u64, Waker)>>,
}

impl Cancel {
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the signal. Again is harmless.
    pub fn cancel(&self) {
        self.0.raised.store(true, Ordering::SeqCst);
        let wakers = std::mem::take(&mut *self.0.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        for (_, waker) in wakers {
            waker.wake();
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.raised.load(Ordering::SeqCst)
    }

    /// Completes when the signal is raised.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled { inner: self.0.clone(), slot: self.0.next.fetch_add(1, Ordering::Relaxed) }
    }
}

/// Future of `Cancel::cancelled`.
pub struct Cancelled {
    inner: Arc<Inner>,
    slot: u64,
}

impl Future for Cancelled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.inner.raised.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        let mut wakers = self.inner.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        match wakers.iter_mut().find(|(slot, _)| *slot == self.slot) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => wakers.push((self.slot, cx.waker().clone())),
        }
        // Raised between the first look and the lock: the waker may have come too late.
        if self.inner.raised.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        let mut wakers = self.inner.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.retain(|(slot, _)| *slot != self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_those_who_wait_and_forgets_those_who_left() {
        let cancel = Cancel::new();
        let left = cancel.cancelled();
        let waits = cancel.cancelled();
        let other = cancel.clone();
        let thread = std::thread::spawn(move || futures::executor::block_on(waits));
        drop(left);
        other.cancel();
        thread.join().unwrap();
        assert!(cancel.is_cancelled());
        futures::executor::block_on(cancel.cancelled());
    }
}
