//! Effects beside the driver: as far as one goes at once it goes here, and from then on in a task of its own.

use std::future::Future;

use futures::FutureExt;
use tokio::task::AbortHandle;

/// What was started. It tells its end by a message, which may be there already.
#[derive(Debug, Clone)]
pub(super) struct Beside(Option<AbortHandle>);

impl Beside {
    /// Starts work and takes its first step here: handing it to another thread costs more than a call that only computes.
    pub fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        let mut work = Box::pin(work);
        match work.as_mut().now_or_never() {
            Some(()) => Self(None),
            None => Self::spawn(work),
        }
    }

    /// Starts work that runs beside others of its kind.
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(tokio::spawn(work).abort_handle()))
    }

    /// Ends it where it waits.
    pub fn abort(&self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
