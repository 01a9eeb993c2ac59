//! Rewind: back to how a session was after one of its records. Nothing is erased: what was cut can be rewound to, and
//! the files that were replaced are kept first.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use serde::Serialize;
use sterna_log::{Append, Expect, Fence, HISTORY_PAGE, LeaseRequest, LogError};
use sterna_model::{
    Body, CheckpointTaken, Draft, EffectClass, Rewound, Seq, SessionId, StopReason, TurnCommitted, TurnNo,
    TurnOutcome,
};
use sterna_tool::Cancel;
use sterna_turn::CallState;

use crate::checkpoints::{CheckpointFault, FilePlan, FilesRestored, Reach, SharedCheckpoints};
use crate::driver::{Configs, told_by};
use crate::effects::checkpoint::{blocking, take};
use crate::runtime::{Inner, Runtime};
use crate::{RuntimeError, State};

/// What goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RewindWhat {
    Files,
    Conversation,
    Both,
}

/// A rewind that is asked for.
pub struct Rewind {
    pub session: SessionId,
    /// The last record that counts; a record of the session's own log.
    pub to: Seq,
    pub what: RewindWhat,
    /// Also when files changed since the preview, were not all kept, or a call of an interrupted turn may still run.
    pub force: bool,
    pub by: String,
    /// What a person was shown. Files that changed since are a conflict.
    pub plan: Option<FilePlan>,
}

/// What a rewind would do.
#[derive(Debug, Clone, Serialize)]
pub struct RewindPlan {
    pub session: SessionId,
    pub to: Seq,
    pub what: RewindWhat,
    /// Records that requests would no longer show.
    pub records: u64,
    /// An interrupted or parked turn that would end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnNo>,
    /// Inputs that no turn has taken, and none would.
    pub inputs: Vec<Seq>,
    pub files: RewindFiles,
}

/// What would happen to the files.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum RewindFiles {
    /// They were not asked for.
    Left,
    /// Nothing that may write has run since.
    Untouched,
    Back {
        root: String,
        /// The record of the checkpoint that goes back.
        checkpoint: Seq,
        plan: FilePlan,
    },
}

/// What a rewind did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RewoundTo {
    pub session: SessionId,
    pub to: Seq,
    /// The rewind's own record; `None`: there was nothing to do.
    pub seq: Option<Seq>,
    pub conversation: bool,
    pub files: Option<FilesRestored>,
    /// The record of the checkpoint that was taken before files were restored. A rewind to it brings them back.
    pub undo: Option<Seq>,
}

impl Runtime {
    /// Says what a rewind would do; does nothing.
    pub async fn preview_rewind(
        &self,
        session: &SessionId,
        to: Seq,
        what: RewindWhat,
        force: bool,
    ) -> Result<RewindPlan, RuntimeError> {
        let state = State::load(&self.0.parts.log, session).await?;
        let work = Work { rt: &self.0, session, to, what, force };
        let (turn, inputs) = work.closes(&state)?;
        let files = match work.target().await? {
            Target::Left => RewindFiles::Left,
            Target::Untouched => RewindFiles::Untouched,
            Target::Kept { seq, taken } => {
                let plan = work.plan(&taken).await?;
                RewindFiles::Back { root: taken.root, checkpoint: seq, plan }
            }
        };
        let records = if work.conversation() { state.head - to } else { 0 };
        Ok(RewindPlan { session: session.clone(), to, what, records, turn, inputs, files })
    }

    /// Rewinds. Refused while the session is driven, here or by another process.
    ///
    /// Files first: the present is kept, then the first checkpoint since `to` is restored, then one record says what
    /// went back. A crash between leaves a rewind that can be asked for again and ends where this one would have.
    pub async fn rewind(&self, rewind: Rewind) -> Result<RewoundTo, RuntimeError> {
        let rt = self.0.clone();
        // It goes to its end whatever becomes of whoever asked.
        let work = tokio::spawn(async move {
            let shared = rt.shared(&rewind.session);
            let rx = loop {
                let mut changed = shared.changes();
                changed.borrow_and_update();
                if let Some(rx) = shared.occupy() {
                    break rx;
                }
                let state = State::load(&rt.parts.log, &rewind.session).await?;
                if state.machine.turn().is_some() || state.machine.waiting().next().is_some() {
                    return Err(RuntimeError::TurnRunning(rewind.session));
                }
                // A driver without work is just leaving.
                let _ = changed.changed().await;
            };
            let done = AssertUnwindSafe(rewind_leased(&rt, &rewind)).catch_unwind().await;
            rt.retire(&shared, rx, None, None, Configs::new()).await;
            done.unwrap_or_else(|panic| Err(RuntimeError::Panicked(told_by(&*panic))))
        });
        work.await.unwrap_or_else(|error| Err(RuntimeError::Refused(error.to_string())))
    }
}

async fn rewind_leased(rt: &Arc<Inner>, rewind: &Rewind) -> Result<RewoundTo, RuntimeError> {
    let env = &rt.parts.env;
    let ask = |takeover| {
        let now = env.now();
        LeaseRequest { owner: env.owner(), now, expires: now.saturating_add(LEASE_MS), takeover }
    };
    let log = &rt.parts.log;
    let lease = match log.lease(&rewind.session, ask(None)).await {
        Err(LogError::Held { owner, fence, .. }) => {
            if !env.is_dead(&sterna_log::Owner(owner)) {
                return Err(RuntimeError::TurnRunning(rewind.session.clone()));
            }
            log.lease(&rewind.session, ask(Some(fence))).await?
        }
        other => other?,
    };
    let Rewind { session, to, what, force, .. } = rewind;
    let work = Work { rt, session, to: *to, what: *what, force: *force };
    let done = work.run(rewind, lease.fence).await;
    // A lease that cannot be let go expires, and its owner's death frees it at once.
    let _ = log.release(session, lease.fence).await;
    done
}

/// One rewind on its way.
struct Work<'a> {
    rt: &'a Arc<Inner>,
    session: &'a SessionId,
    to: Seq,
    what: RewindWhat,
    force: bool,
}

/// Where the files are to go.
enum Target {
    Left,
    Untouched,
    Kept { seq: Seq, taken: CheckpointTaken },
}

impl Work<'_> {
    async fn run(&self, rewind: &Rewind, fence: Fence) -> Result<RewoundTo, RuntimeError> {
        let state = State::load(&self.rt.parts.log, self.session).await?;
        self.closes(&state)?;
        let target = self.target().await?;
        let (mut files, mut undo, mut restored) = (None, None, None);
        if let Target::Kept { taken, .. } = target {
            let plan = match &rewind.plan {
                Some(plan) if plan.manifest == taken.manifest => plan.clone(),
                Some(_) | None => self.plan(&taken).await?,
            };
            files = Some(taken.manifest);
            if plan.is_empty() {
                restored = Some(FilesRestored::default());
            } else {
                undo = self.keep_present(&taken, &plan, fence).await?;
                restored = Some(self.restore(&taken, plan).await?);
            }
        }
        let conversation = self.conversation();
        let mut done = RewoundTo {
            session: self.session.clone(),
            to: self.to,
            seq: None,
            conversation,
            files: restored,
            undo,
        };
        if files.is_none() && !conversation {
            return Ok(done);
        }
        let body = Body::Rewound(Rewound { to: self.to, files, conversation, by: rewind.by.clone() });
        let seq = self
            .append(fence, |state| {
                let mut drafts = self.closing(state, &rewind.by)?;
                drafts.push(self.draft(None, body.clone()));
                Ok(drafts)
            })
            .await?;
        done.seq = Some(seq);
        Ok(done)
    }

    fn conversation(&self) -> bool {
        matches!(self.what, RewindWhat::Conversation | RewindWhat::Both)
    }

    /// The turn and the inputs that a rewind of the conversation closes. An error when the rewind cannot be.
    fn closes(&self, state: &State) -> Result<(Option<TurnNo>, Vec<Seq>), RuntimeError> {
        if self.to == 0 || self.to > state.head {
            let (session, seq, head) = (self.session.clone(), self.to, state.head);
            return Err(RuntimeError::NoRecord { session, seq, head });
        }
        let turn = state.machine.turn();
        let in_doubt = turn.and_then(|turn| {
            turn.calls().iter().find(|call| {
                let once = matches!(call.class, EffectClass::AtMostOnce | EffectClass::Compensable);
                once && call.started > 0 && (call.state == CallState::Open || call.is_doubted())
            })
        });
        if let Some(call) = in_doubt.filter(|_| !self.force) {
            let (session, tool) = (self.session.clone(), call.call.name.clone());
            return Err(RuntimeError::InDoubt { session, tool });
        }
        if !self.conversation() {
            return Ok((None, Vec::new()));
        }
        let cut = state.machine.waiting().map(|(seq, _)| seq).filter(|seq| *seq > self.to).collect();
        Ok((turn.map(|turn| turn.number), cut))
    }

    /// The records that close what the cut leaves open, so that every index and every reader sees it.
    fn closing(&self, state: &State, by: &str) -> Result<Vec<Draft>, RuntimeError> {
        let mut drafts = Vec::new();
        let (turn, inputs) = self.closes(state)?;
        if let (Some(number), Some(turn)) = (turn, state.machine.turn()) {
            let committed = TurnCommitted {
                outcome: TurnOutcome::Stopped {
                    reason: StopReason::Cancelled,
                    detail: format!("the session was rewound to record {}", self.to),
                    by: Some(by.to_owned()),
                },
                steps: turn.steps(),
                usage: turn.usage(),
                cost: turn.cost(),
            };
            drafts.push(self.draft(Some(number), Body::TurnCommitted(Box::new(committed))));
        }
        if !inputs.is_empty() {
            drafts.push(self.draft(None, Body::InputWithdrawn { inputs, by: by.to_owned() }));
        }
        Ok(drafts)
    }

    /// The first checkpoint since the record: nothing that may write ran between.
    async fn target(&self) -> Result<Target, RuntimeError> {
        if self.what == RewindWhat::Conversation {
            return Ok(Target::Left);
        }
        let mut from = self.to;
        loop {
            let page = self.rt.parts.log.read(self.session, from, HISTORY_PAGE).await?;
            let Some(last) = page.last() else { return Ok(Target::Untouched) };
            from = last.record.seq + 1;
            for sealed in page {
                let seq = sealed.record.seq;
                match sealed.record.body {
                    Body::CheckpointTaken(taken) => return Ok(Target::Kept { seq, taken: *taken }),
                    Body::CheckpointMissed { why, .. } if !self.force => {
                        return Err(RuntimeError::NotKept { seq: self.to, why });
                    }
                    _ => {}
                }
            }
        }
    }

    fn keeper(&self) -> Result<SharedCheckpoints, RuntimeError> {
        let none = || RuntimeError::Refused("checkpoints are off, so no files can be brought back".into());
        self.rt.parts.checkpoints.clone().ok_or_else(none)
    }

    async fn plan(&self, taken: &CheckpointTaken) -> Result<FilePlan, RuntimeError> {
        let (keeper, root, manifest) = (self.keeper()?, PathBuf::from(&taken.root), taken.manifest);
        Ok(blocking(move || keeper.preview(&root, &manifest, &Cancel::new())).await?)
    }

    /// Keeps the files as they are now: the undo of the rewind. Its record is durable before anything is restored.
    async fn keep_present(
        &self,
        taken: &CheckpointTaken,
        plan: &FilePlan,
        fence: Fence,
    ) -> Result<Option<Seq>, RuntimeError> {
        let root = PathBuf::from(&taken.root);
        // What the restore would change must be in it, and no more.
        let paths = plan.changes.iter().map(|change| root.join(&change.path)).collect();
        let reach = if plan.caches { Reach::Everything } else { Reach::Paths(paths) };
        let kept = take(self.keeper()?, root, reach, Cancel::new()).await;
        let body = match kept {
            Ok(taken) => Body::CheckpointTaken(Box::new(taken)),
            Err(fault) if self.force => {
                Body::CheckpointMissed { root: taken.root.clone(), why: fault.to_string() }
            }
            Err(fault) => {
                return Err(RuntimeError::Files(format!("the files as they are cannot be kept: {fault}")));
            }
        };
        let missed = matches!(body, Body::CheckpointMissed { .. });
        let seq = self.append(fence, |_| Ok(vec![self.draft(None, body.clone())])).await?;
        Ok((!missed).then_some(seq))
    }

    async fn restore(&self, taken: &CheckpointTaken, plan: FilePlan) -> Result<FilesRestored, RuntimeError> {
        let (keeper, root, force) = (self.keeper()?, PathBuf::from(&taken.root), self.force);
        Ok(blocking(move || keeper.restore(&root, &plan, force, &Cancel::new())).await?)
    }

    /// Appends what `drafts` makes of the session as it is; anew when somebody's input came first. Gives the last record.
    async fn append(
        &self,
        fence: Fence,
        drafts: impl Fn(&State) -> Result<Vec<Draft>, RuntimeError>,
    ) -> Result<Seq, RuntimeError> {
        loop {
            let state = State::load(&self.rt.parts.log, self.session).await?;
            let append = Append {
                session: self.session.clone(),
                expect: Expect::Head { head: state.head, fence },
                id: format!("rewind:{}", self.rt.parts.env.new_session_id()),
                records: drafts(&state)?,
                blobs: Vec::new(),
            };
            match self.rt.parts.log.append(append).await {
                Ok(receipt) => return Ok(receipt.last),
                Err(LogError::StaleHead { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn draft(&self, turn: Option<TurnNo>, body: Body) -> Draft {
        Draft { at: self.rt.parts.env.now(), turn, step: None, body }
    }
}

impl From<CheckpointFault> for RuntimeError {
    fn from(fault: CheckpointFault) -> Self {
        match fault {
            CheckpointFault::Changed(text) => Self::FilesChanged(text),
            CheckpointFault::Failed(text) => Self::Files(text),
        }
    }
}

/// Milliseconds that a rewind may take: a large workspace is read once and written once.
const LEASE_MS: u64 = 1_800_000;
