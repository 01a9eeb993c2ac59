//! The drivers of a process: one for each session that is worked on, started when there is work and retired after it.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use futures::FutureExt;
use sterna_log::{Append, Expect, Lease, LogError};
use sterna_model::{Seq, SessionId};
use tokio::sync::mpsc;

use super::Inner;
use crate::driver::{Configs, Driver, Msg, Start, told_by};
use crate::shared::Shared;
use crate::{RuntimeError, State, TurnConfig};

impl Inner {
    /// Ends a driver: messages that came too late are seen to, and a new driver starts if they brought work.
    pub async fn retire(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        mut rx: mpsc::UnboundedReceiver<Msg>,
        error: Option<RuntimeError>,
        mut config: Option<TurnConfig>,
        mut configs: Configs,
    ) {
        let failed = error.is_some();
        *shared.lock_error() = error;
        *shared.lock_tx() = None;
        rx.close();
        let mut more = false;
        while let Some(msg) = rx.recv().await {
            match msg {
                Msg::Append { id, records, config: newer, reply } => {
                    let append = Append {
                        session: shared.id.clone(),
                        expect: Expect::Any,
                        id,
                        records,
                        blobs: Vec::new(),
                    };
                    let appended = AssertUnwindSafe(self.parts.log.append(append)).catch_unwind().await;
                    let appended = appended.unwrap_or_else(|panic| {
                        Err(LogError::Io(format!("the log panicked: {}", told_by(&*panic))))
                    });
                    more |= appended.is_ok();
                    if let (Ok(receipt), Some(newer)) = (&appended, newer)
                        && !receipt.repeated
                    {
                        configs.insert(receipt.last, *newer);
                    }
                    // Whoever asked may have left.
                    let _ = reply.send(appended);
                }
                // Somebody wants the session driven on, and with this.
                Msg::Configure { input, config: newer } => {
                    match input {
                        Some(input) => drop(configs.insert(input, *newer)),
                        None => config = Some(*newer),
                    }
                    more = true;
                }
                Msg::Drain
                | Msg::Model { .. }
                | Msg::Passed { .. }
                | Msg::Proposed { .. }
                | Msg::Early { .. }
                | Msg::Tool { .. }
                | Msg::Recovered { .. }
                | Msg::Undone { .. }
                | Msg::Child { .. }
                | Msg::ChildTurn { .. }
                | Msg::HookAsks { .. }
                | Msg::Hooked { .. }
                | Msg::Deadline { .. } => {}
            }
        }
        // Whoever knows what no turn may be given drives none.
        let config = config.or_else(|| configs.values().next().cloned());
        if let Some(config) = config.filter(|_| more && !failed) {
            self.spawn_with(shared, config, configs, Start::Stored);
        }
        shared.wake();
        self.forget_unused();
    }

    pub fn shared(&self, id: &SessionId) -> Arc<Shared> {
        let mut sessions = self.lock_sessions();
        if let Some(shared) = sessions.get(id).and_then(Weak::upgrade) {
            return shared;
        }
        let shared = Arc::new(Shared::new(id));
        sessions.insert(id.clone(), Arc::downgrade(&shared));
        shared
    }

    /// Starts a driver, or tells the one that is there what this input's turn is given.
    pub fn spawn(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        input: Option<Seq>,
        config: TurnConfig,
        opened: Option<(State, Lease)>,
    ) {
        if let Some(tx) = &*shared.lock_tx() {
            // A driver that is just leaving sees to its messages, and another one follows it.
            let _ = tx.send(Msg::Configure { input, config: Box::new(config) });
            return;
        }
        let configs = input.map(|input| (input, config.clone())).into_iter().collect();
        let start = opened.map_or(Start::Stored, |(state, lease)| Start::Opened(Box::new(state), lease));
        self.spawn_with(shared, config, configs, start);
    }

    pub(super) fn spawn_with(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        config: TurnConfig,
        configs: Configs,
        start: Start,
    ) {
        let mut slot = shared.lock_tx();
        if let Some(tx) = &*slot {
            let _ = tx.send(Msg::Configure { input: None, config: Box::new(config) });
            for (input, config) in configs {
                let _ = tx.send(Msg::Configure { input: Some(input), config: Box::new(config) });
            }
            return;
        }
        *shared.lock_error() = None;
        shared.forget_unfinished();
        let (tx, rx) = mpsc::unbounded_channel();
        *slot = Some(tx.clone());
        let driver = Driver::new(self.clone(), shared.clone(), config, configs, rx, tx);
        tokio::spawn(driver.run(start));
    }

    /// No driver may start a new step.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn forget_unused(&self) {
        let mut sessions = self.lock_sessions();
        if sessions.len() > 64 {
            sessions.retain(|_, shared| shared.strong_count() > 0);
        }
    }

    pub(super) fn lock_sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Weak<Shared>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
