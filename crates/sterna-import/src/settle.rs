//! The end of what was open: a log that comes from elsewhere goes no further than it went there.
//!
//! A call that was under way may have run, so its outcome is unknown; a model call is given up; inputs that waited are
//! withdrawn; grants are revoked; a goal is halted. Nothing that others wrote can then start here without a new input.

use serde::Serialize;
use sterna_log::fold::{Goals, World};
use sterna_model::{
    Billed, Body, CallTool, Draft, Effect, EffectKey, EffectResult, GoalChange, GoalStatus, Grant, Millis,
    Mode, ModelOutcome, ModelStop, Outcome, Record, Seq, SessionId, StepNo, Summary, ToolOutcome, ToolStatus,
    TurnCommitted, TurnNo,
};
use sterna_turn::{Next, TurnMachine};

use crate::ImportError;

/// What had to be ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Settled {
    /// Turns that were running.
    pub turns: u64,
    /// Calls that may have run.
    pub unknown_calls: u64,
    /// Inputs that waited for a turn.
    pub withdrawn_inputs: u64,
    pub revoked_grants: u64,
}

/// A log in the making: every record is folded as it comes, so that none can be there that no session could have.
pub struct Writer {
    session: SessionId,
    machine: TurnMachine,
    world: World,
    goal: Goals,
    pub drafts: Vec<Draft>,
    pub settled: Settled,
}

impl Writer {
    pub fn new(session: SessionId) -> Self {
        Self {
            session,
            machine: TurnMachine::new(),
            world: World::default(),
            goal: Goals::default(),
            drafts: Vec::new(),
            settled: Settled::default(),
        }
    }

    /// Appends a record, and gives its place.
    pub fn push(
        &mut self,
        at: Millis,
        turn: Option<TurnNo>,
        step: Option<StepNo>,
        body: Body,
    ) -> Result<Seq, ImportError> {
        let draft = Draft { at, turn, step, body };
        let record: Record = draft.clone().at_seq(self.drafts.len() as u64 + 1);
        self.machine.apply(&record).map_err(|wrong| ImportError::Unfoldable {
            session: self.session.clone(),
            seq: wrong.seq,
            why: wrong.why,
        })?;
        self.world.apply(&record);
        self.goal.apply(&record, 0);
        self.drafts.push(draft);
        Ok(record.seq)
    }

    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// Ends the running turn: as finished when the model has answered, else as cancelled.
    pub fn end_turn(&mut self, at: Millis, by: &str, why: &str) -> Result<(), ImportError> {
        while let Some(turn) = self.machine.turn() {
            let (number, step) = (turn.number, turn.steps());
            let cancelled = turn.is_ending();
            let body = match self.machine.next() {
                Next::Done(outcome) => Body::TurnCommitted(Box::new(TurnCommitted {
                    outcome,
                    steps: turn.steps(),
                    usage: turn.usage(),
                    cost: turn.cost(),
                })),
                _ if !cancelled => {
                    self.settled.turns += 1;
                    Body::CancelRequested {
                        turn: number,
                        request: by.into(),
                        by: by.into(),
                        reason: why.into(),
                    }
                }
                Next::Effects(effects) => {
                    self.close(at, number, step, effects)?;
                    continue;
                }
                // A turn that ends waits for nothing, and starts nothing.
                Next::Wait(_) | Next::Idle | Next::Start { .. } => {
                    return Err(ImportError::Unfoldable {
                        session: self.session.clone(),
                        seq: self.machine.head(),
                        why: "its turn cannot be ended".into(),
                    });
                }
            };
            self.push(at, Some(number), None, body)?;
        }
        Ok(())
    }

    /// Ends all that is open, and takes back what was granted.
    pub fn settle(&mut self, at: Millis, by: &str) -> Result<(), ImportError> {
        self.end_turn(at, by, "it was running where this log comes from, and does not go on here")?;
        let inputs: Vec<Seq> = self.machine.waiting().map(|(seq, _)| seq).collect();
        if !inputs.is_empty() {
            self.settled.withdrawn_inputs += inputs.len() as u64;
            self.push(at, None, None, Body::InputWithdrawn { inputs, by: by.into() })?;
        }
        while let Some(Grant { content, .. }) = self.world.grants.first() {
            self.settled.revoked_grants += 1;
            let content = *content;
            self.push(at, None, None, Body::GrantRevoked { content, by: by.into() })?;
        }
        if self.goal.held().is_some_and(|held| held.is_active()) {
            let why = "it was worked on where this log comes from".into();
            let change = GoalChange::Status { status: GoalStatus::Paused, why, by: by.into() };
            self.push(at, None, None, Body::Goal(Box::new(change)))?;
        }
        Ok(())
    }

    /// The mode of the next turn, by whom: the record that says where the log comes from.
    pub fn origin(&mut self, at: Millis, mode: Mode, by: String) -> Result<(), ImportError> {
        self.push(at, None, None, Body::ModeChanged { mode, by })?;
        Ok(())
    }

    fn close(
        &mut self,
        at: Millis,
        turn: TurnNo,
        step: StepNo,
        effects: Vec<Effect>,
    ) -> Result<(), ImportError> {
        for effect in effects {
            let (key, attempt, result) = match effect {
                Effect::CallModel(call) => (call.key, call.attempt, given_up()),
                Effect::CallTool(call) => {
                    let result = self.lost(at, &call);
                    (call.key, call.started.max(1), EffectResult::Tool(result))
                }
                Effect::Compact(open) => (open.key, open.attempt, no_summary()),
            };
            self.outcome(at, turn, step, key, attempt, result)?;
        }
        Ok(())
    }

    pub fn outcome(
        &mut self,
        at: Millis,
        turn: TurnNo,
        step: StepNo,
        key: EffectKey,
        attempt: u32,
        result: EffectResult,
    ) -> Result<(), ImportError> {
        let outcome = Outcome { key, attempt, result };
        self.push(at, Some(turn), Some(step), Body::Outcome(Box::new(outcome)))?;
        Ok(())
    }

    /// A call without an intent never ran; one with an intent may have.
    fn lost(&mut self, at: Millis, call: &CallTool) -> ToolOutcome {
        if call.started == 0 {
            return answered(at, ToolStatus::Cancelled, NOT_RUN);
        }
        self.settled.unknown_calls += 1;
        answered(at, ToolStatus::OutcomeUnknown, UNKNOWN)
    }
}

/// A result of a few words.
pub fn answered(at: Millis, status: ToolStatus, view: &str) -> ToolOutcome {
    ToolOutcome {
        status,
        view: view.into(),
        full: None,
        facts: Vec::new(),
        started_at: at,
        duration_ms: 0,
        untrusted: None,
        attachments: Vec::new(),
    }
}

fn given_up() -> EffectResult {
    EffectResult::Model(ModelOutcome {
        parts: Vec::new(),
        stop: ModelStop::Cancelled,
        classes: Vec::new(),
        billed: Billed::default(),
        partial: true,
        duration_ms: 0,
        checked: None,
    })
}

fn no_summary() -> EffectResult {
    let failed = Some("the turn ended before it came".to_owned());
    EffectResult::Summary(Summary { text: String::new(), failed, billed: Billed::default(), duration_ms: 0 })
}

const NOT_RUN: &str = "cancelled: the turn ended before this call ran";
/// What the model reads in place of a result that is not in the log.
pub const UNKNOWN: &str = "outcome_unknown: the log that this session was imported from has no result of this call. \
    It may or may not have happened. Look at the state of things before you do it again.";
