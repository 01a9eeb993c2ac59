//! Following: another process drives the session, and we show what it writes.

use std::sync::atomic::Ordering;

use sterna_log::{Append, Expect, LogError};
use sterna_model::{Record, Seq};
use sterna_turn::Next;

use super::{Driver, End, Msg};
use crate::RuntimeError;
use crate::snapshot;
use crate::state::for_each_record;

/// Milliseconds between two looks at the log.
const POLL_MS: u64 = 20;

impl Driver {
    /// Shows what the leader writes, until there is nothing left to do or the leader is gone.
    pub(super) async fn follow(&mut self) -> Result<End, RuntimeError> {
        loop {
            let head = self.rt.parts.log.head(&self.id).await?;
            if head.seq != self.state.head {
                self.catch_up().await?;
            }
            if matches!(self.state.machine.next(), Next::Idle) {
                return Ok(End::Idle);
            }
            let env = &self.rt.parts.env;
            match &head.lease {
                None => return Ok(End::Leaderless(None)),
                Some(lease) if lease.released || lease.expires <= env.now() => {
                    return Ok(End::Leaderless(None));
                }
                Some(lease) if env.is_dead(&lease.owner) => return Ok(End::Leaderless(Some(lease.fence))),
                Some(_) => {}
            }
            let poll = env.sleep_until(env.now().saturating_add(POLL_MS));
            tokio::select! {
                () = poll => {}
                msg = self.rx.recv() => match msg {
                    Some(Msg::Append { id, records, config, reply }) => {
                        let append = Append {
                            session: self.id.clone(), expect: Expect::Any, id, records, blobs: Vec::new(),
                        };
                        let appended = self.rt.parts.log.append(append).await;
                        self.remember(&appended, config);
                        // Whoever asked may have left.
                        let _ = reply.send(appended);
                    }
                    Some(Msg::Configure { input: Some(input), config }) => {
                        self.configs.insert(input, *config);
                    }
                    Some(Msg::Configure { input: None, config }) => self.config = *config,
                    Some(Msg::Drain) | None => return Ok(End::Drained),
                    // Left-overs of a lead that was lost.
                    Some(
                        Msg::Model { .. }
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
                        | Msg::Deadline { .. },
                    ) => {}
                },
            }
        }
    }

    /// Folds and shows what others wrote since.
    pub(super) async fn catch_up(&mut self) -> Result<(), RuntimeError> {
        loop {
            let page = self.rt.parts.log.read(&self.id, self.state.head + 1, 512).await?;
            if page.is_empty() {
                break;
            }
            for sealed in page {
                match self.fold_durable(&sealed.record) {
                    // Somebody went back behind what is kept here.
                    Err(RuntimeError::Forgotten { .. }) => {
                        let before = self.shown;
                        self.load().await?;
                        self.show_from_log(before).await?;
                        break;
                    }
                    other => other?,
                }
            }
        }
        self.publish();
        if let Some(ours) = self.fence {
            // Records of another leader: ours are decided on what is no more.
            let lease = self.rt.parts.log.head(&self.id).await?.lease;
            if lease.is_none_or(|lease| lease.fence != ours) {
                self.fence = None;
            }
        }
        Ok(())
    }

    /// Keeps the fold of a log that has grown enough, so that a later process need not read it again.
    pub(super) async fn keep_snapshot(&mut self) {
        let ours = self.fence.is_some() && self.staged.is_empty();
        if ours && self.state.is_snapshot_due(self.rt.snapshot_every.load(Ordering::Relaxed)) {
            snapshot::keep(&self.rt.parts.log, &self.id, &mut self.state).await;
        }
    }

    /// Folds a record that is in the log already.
    pub(super) fn fold_durable(&mut self, record: &Record) -> Result<(), RuntimeError> {
        self.state.apply(record)?;
        self.learn(record);
        if self.shared.hub.is_active() {
            self.staged_events.extend(self.state.folded.events(record));
        }
        Ok(())
    }

    /// Shows records after `before` that were folded without being shown.
    pub(super) async fn show_from_log(&mut self, before: Seq) -> Result<(), RuntimeError> {
        if self.shared.hub.is_active() {
            let mut folded = sterna_log::fold::Folded::new();
            let (mut events, own) = (Vec::new(), self.id.clone());
            let read =
                for_each_record(&self.rt.parts.log, &self.id, |owner, sealed| -> Result<(), LogError> {
                    folded.apply(&sealed.record);
                    if *owner == own && sealed.record.seq > before {
                        events.extend(folded.events(&sealed.record));
                    }
                    Ok(())
                });
            read.await?;
            self.staged_events = events;
        }
        self.publish();
        Ok(())
    }
}
