//! Staging and flushing: records are folded at once, and shown when they are durable. A step of pure calls is one
//! commit, others are two.

use sterna_log::{Append, Expect, LogError, Receipt};
use sterna_model::{Body, Draft, EffectResult, Intended, Record, Ruling, StepNo, TurnNo, WaitOn};

use super::Driver;
use crate::RuntimeError;

impl Driver {
    /// Stages a record of the running turn.
    pub(super) fn stage(&mut self, body: Body) -> Result<(), RuntimeError> {
        let turn = self.state.machine.turn().map(|turn| turn.number);
        let step = match &body {
            Body::Intent(intent) => Some(intent.key.step),
            Body::Outcome(outcome) => Some(outcome.key.step),
            Body::Attempt(attempt) => Some(attempt.key.step),
            Body::WaitOpened(opened) => Some(opened.key.step),
            Body::InDoubt { key, .. } => Some(key.step),
            _ => self.state.machine.turn().map(|turn| turn.steps()).filter(|step| *step > 0),
        };
        self.stage_at(turn, step, body)
    }

    /// Stages a record: folds it now, and keeps it for the next flush.
    pub(super) fn stage_at(
        &mut self,
        turn: Option<TurnNo>,
        step: Option<StepNo>,
        body: Body,
    ) -> Result<(), RuntimeError> {
        let at = self.rt.parts.env.now();
        let mut body = body;
        crate::secrets::clean(&mut body, &self.secrets);
        let record = Draft { at, turn, step, body }.at_seq(self.state.head + 1);
        self.state.apply(&record)?;
        self.learn(&record);
        if self.shared.hub.is_active() {
            self.staged_events.extend(self.state.folded.events(&record));
        }
        let Record { at, turn, step, body, .. } = record;
        self.staged.push(Draft { at, turn, step, body });
        Ok(())
    }

    /// Makes what is staged durable, then shows it. `false`: another process drives now, and nothing was written.
    ///
    /// When somebody's input or answer came first, what had happened is staged again behind it and made durable too;
    /// `decided_again` tells that what was decided no longer stands.
    pub(super) async fn flush(&mut self) -> Result<bool, RuntimeError> {
        while !self.staged.is_empty() {
            let records = std::mem::take(&mut self.staged);
            let blobs = std::mem::take(&mut self.staged_blobs);
            match self.append_all(records, blobs).await {
                Ok(None) => {}
                Ok(Some(unwritten)) => {
                    self.decided_again = true;
                    self.decide_again(unwritten).await?;
                }
                Err(LogError::Fenced { .. }) => {
                    self.fence = None;
                    self.forget_staged();
                    return Ok(false);
                }
                Err(error) => {
                    self.forget_staged();
                    return Err(error.into());
                }
            }
        }
        if self.fence.is_none() {
            return Ok(false);
        }
        self.publish();
        Ok(true)
    }

    /// Appends in pieces. What was not written is given back when somebody else wrote first.
    async fn append_all(
        &mut self,
        mut records: Vec<Draft>,
        mut blobs: Vec<bytes::Bytes>,
    ) -> Result<Option<Vec<Draft>>, LogError> {
        let Some(fence) = self.fence else {
            return Err(LogError::Fenced { session: self.id.clone(), ours: 0, current: 0 });
        };
        while !records.is_empty() {
            let head = self.state.head - records.len() as u64;
            let rest = records.split_off(records.len().min(APPEND_RECORDS));
            let first = records.first().map(|first| identity(&first.clone().at_seq(head + 1)));
            let (expect, id) = match &self.opening {
                Some(opening) => (Expect::New(Some(opening.lease.clone())), opening.id.clone()),
                None => (Expect::Head { head, fence }, first.unwrap_or_default()),
            };
            let append = Append {
                session: self.id.clone(),
                expect,
                id,
                records: records.clone(),
                blobs: std::mem::take(&mut blobs),
            };
            match self.rt.parts.log.append(append).await {
                // We send nothing twice: another leader decided the same, and has acted on it.
                Ok(receipt) if receipt.repeated && self.opening.is_none() => {
                    return Err(LogError::Fenced { session: self.id.clone(), ours: fence, current: fence });
                }
                Ok(receipt) => {
                    self.opened(receipt);
                    records = rest;
                }
                Err(LogError::StaleHead { .. }) => {
                    records.extend(rest);
                    return Ok(Some(records));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The session is in the log now, and so is the input that it was opened for.
    fn opened(&mut self, receipt: Receipt) {
        if let Some(opening) = self.opening.take() {
            if let Some(lease) = &receipt.lease {
                self.take_lease(lease);
            }
            // Whoever asked may have left.
            let _ = opening.reply.send(receipt);
        }
    }

    /// Somebody else's input or answer came first. What happened still happened; what was decided is decided again.
    async fn decide_again(&mut self, records: Vec<Draft>) -> Result<(), RuntimeError> {
        self.forget_staged();
        self.ready.clear();
        self.catch_up_from_start().await?;
        for mut draft in records {
            let machine = &self.state.machine;
            let fact = match &mut draft.body {
                Body::Outcome(_) | Body::Attempt(_) | Body::InDoubt { .. } => true,
                Body::LimitReached { .. } | Body::HookIntent(_) | Body::HookRan(_) => true,
                Body::WaitOpened(opened) => {
                    // The answer may be what came first.
                    opened.answered = machine.is_answered_early(&opened.key, &opened.wait, &opened.on);
                    true
                }
                Body::WaitResolved { wait, .. } => {
                    machine.turn().is_some_and(|turn| turn.waits().any(|(open, _)| open == wait))
                }
                // The attempt that it follows says that none follows on the old route.
                Body::RouteChanged { turn: Some(_), .. } => true,
                Body::CheckpointTaken(_) | Body::CheckpointMissed { .. } => true,
                // What a person's yes to a plan, and to more rights, led to.
                Body::ModeChanged { .. } | Body::GrantGiven { .. } => true,
                Body::Intent(intent) => {
                    self.own.remove(&intent.key);
                    self.inflight.remove(&intent.key);
                    false
                }
                _ => false,
            };
            if fact {
                // A fact that no longer fits, such as the outcome of a call that was cancelled meanwhile, is dropped:
                // the log has another answer to that call already.
                let _ = self.stage_at(draft.turn, draft.step, draft.body);
            }
        }
        Ok(())
    }

    async fn catch_up_from_start(&mut self) -> Result<(), RuntimeError> {
        let before = self.shown;
        self.load().await?;
        self.show_from_log(before).await
    }

    pub(super) fn forget_staged(&mut self) {
        self.staged.clear();
        self.staged_blobs.clear();
        self.staged_events.clear();
        self.staged_results.clear();
        self.staged_settled.clear();
    }

    /// Shows the events of records that are durable now.
    pub(super) fn publish(&mut self) {
        self.shown = self.state.head;
        let now = self.rt.parts.env.now();
        self.shared.hub.settle(std::mem::take(&mut self.staged_events), self.state.head, now);
        for (inputs, result) in std::mem::take(&mut self.staged_results) {
            self.shared.finish(inputs, result);
        }
        for (tool, key, attempt) in std::mem::take(&mut self.staged_settled) {
            tool.settled(&key, attempt);
        }
    }

    /// What the driver itself keeps of a record.
    pub(super) fn learn(&mut self, record: &Record) {
        match &record.body {
            Body::Outcome(outcome) => match &outcome.result {
                EffectResult::Tool(result) => {
                    if !result.facts.is_empty() || result.untrusted.is_some() {
                        self.refresh_view();
                    }
                    let call = self.call(&outcome.key).filter(|call| call.started > 0);
                    let tools = &self.rt.parts.tools;
                    let tool = call.and_then(|call| tools.get(&tools.unwrapped(&call.call).name));
                    self.staged_settled.extend(tool.map(|tool| (tool, outcome.key.clone(), outcome.attempt)));
                }
                EffectResult::Model(_)
                | EffectResult::ModelFailed(_)
                | EffectResult::Summary(_)
                | EffectResult::Judged(_) => {}
            },
            Body::TodoSet { .. } => self.refresh_view(),
            // Tools see the children of the session.
            Body::WaitOpened(opened) if matches!(opened.on, WaitOn::Child(_)) => self.refresh_view(),
            Body::WaitResolved { ruling: Ruling::Ended(_), .. } => self.refresh_view(),
            Body::InputAccepted(input) if input.ended.is_some() => self.refresh_view(),
            Body::TurnCommitted(committed) => {
                let turn = record.turn.unwrap_or(0);
                if let Some(result) = self.state.folded.result(turn, committed) {
                    self.staged_results.push((self.state.heard.clone(), result));
                }
            }
            _ => {}
        }
    }
}

/// Records that one append carries at most. The store takes more, but not more than 1 MiB: a step of hundreds of
/// calls is appended in several pieces, each of which recovery can go on from.
const APPEND_RECORDS: usize = 48;

/// The identity of an append: that of its first record.
fn identity(record: &Record) -> String {
    match &record.body {
        Body::TurnStarted(_) => format!("turn:{}", record.turn.unwrap_or(0)),
        Body::TurnCommitted(_) => format!("commit:{}", record.turn.unwrap_or(0)),
        Body::Intent(intent) => match &intent.what {
            Intended::Model(_) | Intended::Tool(_) | Intended::Compact(_) | Intended::Judge(_) => {
                format!("intent:{}:{}", intent.key, intent.attempt)
            }
            Intended::Undo(_) => format!("undo:{}:{}", intent.key, intent.attempt),
        },
        Body::Attempt(attempt) => format!("attempt:{}:{}", attempt.key, attempt.attempt),
        Body::Outcome(outcome) => format!("outcome:{}:{}", outcome.key, outcome.attempt),
        Body::InDoubt { key, .. } => format!("in_doubt:{key}"),
        Body::WaitOpened(opened) => format!("wait:{}", opened.wait),
        Body::WaitResolved { wait, .. } => format!("resolved:{wait}"),
        Body::HookRan(ran) => format!("hook:{}", ran.key),
        Body::LimitReached { turn, reason } => format!("limit:{turn}:{}", reason.word()),
        _ => format!("record:{}", record.seq),
    }
}
