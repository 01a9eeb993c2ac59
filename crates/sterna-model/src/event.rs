//! Events: what surfaces show. All but the live ones are projections of records.
//!
//! The JSON form is a promise: `events.schema.json`.

use serde::{Deserialize, Serialize};

use crate::{
    AutomationWord, Billed, Choice, CompactStage, CompactTrigger, Decision, Delivery, Digest, EffectKey,
    ErrorClass, GoalStatus, GrantScope, HookEvent, HookReport, HookSays, JudgePass, JudgeSays, Limits,
    MemoryRef, MemoryWord, Millis, Mode, ModelStop, OnAsk, Route, Ruling, Seq, SessionId, StepNo, StopReason,
    TodoItem, ToolStatus, Transition, TurnNo, Untrusted, Usage, WaitId,
};

/// The version of the event schema.
pub const EVENT_VERSION: u32 = 1;

/// Bytes of a tool's output that an event carries at most (design: "event copy").
pub const EVENT_OUTPUT_BYTES: usize = 2048;

/// How a wait ended in which nobody was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitEnd {
    /// Its time came.
    Timeout,
    Signal,
    /// Somebody ended it.
    Denied,
}

impl WaitEnd {
    pub fn word(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Signal => "signal",
            Self::Denied => "denied",
        }
    }
}

/// One event, in its envelope.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    pub v: u32,
    /// The log's; for a live event the last settled one. Never decreases.
    pub seq: Seq,
    pub session: SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnNo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepNo>,
    pub at: Millis,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The kind of segment that a delta belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Segment {
    Text,
    Reasoning,
    ToolCall,
}

/// Where in its segment a delta stands. One segment is open at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Start,
    Delta,
    End,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum EventKind {
    #[serde(rename = "session.opened")]
    SessionOpened {
        cwd: String,
        root: String,
        route: Route,
        mode: Mode,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<ParentRef>,
        /// The session that made it, and what kind of agent it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        spawned: Option<SpawnedRef>,
    },
    #[serde(rename = "session.titled")]
    SessionTitled { title: String, by: String },
    #[serde(rename = "session.closed")]
    SessionClosed { by: String },
    #[serde(rename = "route.changed")]
    RouteChanged {
        route: Route,
        cause: String,
        /// Only for the rest of the turn: the route before it failed for good.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        this_turn: bool,
    },
    #[serde(rename = "mode.changed")]
    ModeChanged { mode: Mode, by: String },
    #[serde(rename = "input.accepted")]
    InputAccepted {
        input: Seq,
        delivery: Delivery,
        text: String,
        origin: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    #[serde(rename = "input.edited")]
    InputEdited { input: Seq, text: String, by: String },
    #[serde(rename = "input.withdrawn")]
    InputWithdrawn { inputs: Vec<Seq>, by: String },
    /// Inputs entered the running turn.
    #[serde(rename = "input.steered")]
    InputSteered { inputs: Vec<Seq> },
    #[serde(rename = "turn.started")]
    TurnStarted {
        inputs: Vec<Seq>,
        route: Route,
        mode: Mode,
        on_ask: OnAsk,
        limits: Limits,
        /// The agent that answers as a guest.
        #[serde(skip_serializing_if = "Option::is_none")]
        guest: Option<String>,
    },
    #[serde(rename = "turn.committed")]
    TurnCommitted {
        outcome: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop: Option<StopReason>,
    },
    #[serde(rename = "step.started")]
    StepStarted { transition: Transition },
    #[serde(rename = "step.ended")]
    StepEnded {},
    #[serde(rename = "model.started")]
    ModelStarted { route: Route, attempt: u32, request: String, bytes: u64 },
    /// Live.
    #[serde(rename = "model.delta")]
    ModelDelta {
        /// Ordinal within the turn's live events, from 1.
        delta: u64,
        /// The attempt this text belongs to; `model.reset` names it when it is void.
        correlation: String,
        segment: Segment,
        phase: Phase,
        #[serde(skip_serializing_if = "String::is_empty")]
        text: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// A summary of the oldest part of the history is asked for.
    #[serde(rename = "context.compacting")]
    ContextCompacting { trigger: CompactTrigger, route: Route, tokens: u64 },
    /// Requests carry less of the history from here on.
    #[serde(rename = "context.compacted")]
    ContextCompacted {
        trigger: CompactTrigger,
        stage: CompactStage,
        tokens_before: u64,
        tokens_after: u64,
        /// The last record that requests carry no more, by its place in the history.
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
        /// Results that are shown by their beginning.
        cut: u64,
        /// Why no summary was made, where one was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// The session goes on in a fresh window, with this task.
    #[serde(rename = "context.frame")]
    ContextFrame {
        frame: Digest,
        task: String,
        /// Names of the values that are taken along.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        seed: Vec<String>,
        tokens_before: u64,
        tokens_after: u64,
    },
    /// All deltas of this correlation are void.
    #[serde(rename = "model.reset")]
    ModelReset { correlation: String, attempt: u32, class: ErrorClass, message: String },
    #[serde(rename = "retry.waiting")]
    RetryWaiting { attempt: u32, class: ErrorClass, until: Millis },
    #[serde(rename = "model.ended")]
    ModelEnded {
        #[serde(skip_serializing_if = "String::is_empty")]
        text: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        reasoning: String,
        /// `None` when the call failed for good.
        #[serde(skip_serializing_if = "Option::is_none")]
        stop: Option<ModelStop>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<ErrorRef>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        partial: bool,
        duration_ms: u64,
    },
    #[serde(rename = "usage")]
    Usage { source: &'static str, route: Route, usage: Usage, cost: Option<f64>, estimated: bool },
    #[serde(rename = "tool.proposed")]
    ToolProposed { call_id: String, name: String, arguments: String },
    #[serde(rename = "tool.started")]
    ToolStarted { call_id: String, name: String, attempt: u32, at_ms: Millis },
    /// Live.
    #[serde(rename = "tool.progress")]
    ToolProgress { delta: u64, call_id: String, name: String, text: String },
    #[serde(rename = "tool.ended")]
    ToolEnded {
        call_id: String,
        name: String,
        status: ToolStatus,
        /// At most 2,048 bytes.
        output: String,
        /// The record that holds the whole result, `session:seq`.
        reference: String,
        /// Bytes of the whole output.
        bytes: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        duration_ms: u64,
        /// Where the output comes from, when it is text of strangers: `web:docs.rs`.
        #[serde(skip_serializing_if = "Option::is_none")]
        origin: Option<String>,
    },
    #[serde(rename = "approval.requested")]
    ApprovalRequested {
        wait: WaitId,
        call_id: String,
        tool: String,
        summary: String,
        reason: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        preview: Option<String>,
        /// Texts of strangers that the model had read.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        untrusted: Vec<Untrusted>,
    },
    #[serde(rename = "approval.resolved")]
    ApprovalResolved {
        wait: WaitId,
        decision: Decision,
        by: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        feedback: String,
        /// What a person wrote in place of the call's arguments, or of the plan.
        #[serde(skip_serializing_if = "Option::is_none")]
        arguments: Option<String>,
    },
    /// Mode `auto`: a classifier is asked about a call.
    #[serde(rename = "approval.judging")]
    ApprovalJudging { call_id: String, tool: String, pass: JudgePass, route: Route },
    /// Mode `auto`: what it says.
    #[serde(rename = "approval.judged")]
    ApprovalJudged {
        call_id: String,
        tool: String,
        says: JudgeSays,
        #[serde(skip_serializing_if = "String::is_empty")]
        reason: String,
        /// Why it gave no answer that counts.
        #[serde(skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// A plan waits for a person. `approval.resolved` answers it.
    #[serde(rename = "plan.submitted")]
    PlanSubmitted {
        wait: WaitId,
        call_id: String,
        slug: String,
        content: String,
        /// The mode that a yes leads to.
        after: Mode,
    },
    /// A model is asked for the session's title.
    #[serde(rename = "title.asking")]
    TitleAsking { route: Route },
    /// A hook asks a model.
    #[serde(rename = "hook.asking")]
    HookAsking { event: HookEvent, key: String, route: Route },
    #[serde(rename = "hook.ran")]
    HookRan {
        event: HookEvent,
        key: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
        #[serde(skip_serializing_if = "HookSays::is_nothing")]
        says: HookSays,
        hooks: Vec<HookReport>,
    },
    /// A call waits for a time, a signal, or for whichever comes first. Nobody is asked.
    #[serde(rename = "wait.opened")]
    WaitOpened {
        wait: WaitId,
        call_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Millis>,
    },
    /// Such a wait is over: by its time (`timeout`), a signal, or because somebody ended it (`denied`). Also a signal that
    /// came before anybody waited for it.
    #[serde(rename = "wait.ended")]
    WaitEnded {
        wait: WaitId,
        how: WaitEnd,
        by: String,
        /// What came with the signal: JSON.
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<String>,
    },
    #[serde(rename = "question.asked")]
    QuestionAsked { wait: WaitId, call_id: String, questions: Vec<QuestionRef> },
    #[serde(rename = "question.answered")]
    QuestionAnswered { wait: WaitId, ruling: Ruling, by: String },
    #[serde(rename = "limit.reached")]
    LimitReached { reason: StopReason },
    #[serde(rename = "cancel.requested")]
    CancelRequested { by: String, reason: String },
    #[serde(rename = "grant.given")]
    GrantGiven {
        tool: String,
        summary: String,
        scope: GrantScope,
        content: String,
        expires: Option<Millis>,
        by: String,
    },
    #[serde(rename = "grant.revoked")]
    GrantRevoked { content: String, by: String },
    /// Notes were kept, forgotten, used or recalled. Their texts are in the record.
    #[serde(rename = "memory.changed")]
    MemoryChanged { change: MemoryWord, notes: Vec<MemoryRef> },
    /// A schedule or trigger was made, paused or removed, fired, passed over or dropped; a run ended.
    #[serde(rename = "automation.changed")]
    AutomationChanged { change: AutomationWord, about: String },
    /// The goal that the session has now, and where it stands; `None`: it has none.
    #[serde(rename = "goal.changed")]
    GoalChanged {
        objective: Option<String>,
        status: Option<GoalStatus>,
        why: String,
        token_budget: Option<u64>,
        /// Tokens that were used for it so far.
        tokens: u64,
    },
    /// A session of a tree asked for room under the tree's cap, or gave it back. Only in the tree's own log.
    #[serde(rename = "budget.changed")]
    BudgetChanged { call: EffectKey, settled: bool, tokens: u64 },
    #[serde(rename = "todo.changed")]
    TodoChanged { items: Vec<TodoItem> },
    #[serde(rename = "checkpoint.taken")]
    CheckpointTaken {
        manifest: String,
        files: u64,
        /// Bytes of contents that no checkpoint before held.
        bytes_new: u64,
        /// Paths that it does not hold.
        skipped: u64,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        skipped_names: Vec<String>,
    },
    #[serde(rename = "session.rewound")]
    SessionRewound {
        to: Seq,
        #[serde(skip_serializing_if = "Option::is_none")]
        files: Option<String>,
        conversation: bool,
        by: String,
    },
    /// A child session was given something to do.
    #[serde(rename = "child.started")]
    ChildStarted {
        call_id: String,
        child: SessionId,
        /// The child's record of what it was told.
        input: Seq,
        agent: String,
        task: String,
        background: bool,
    },
    /// A child's turn is over.
    #[serde(rename = "child.ended")]
    ChildEnded {
        child: SessionId,
        input: Seq,
        /// `finished` or `stopped`.
        outcome: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop: Option<StopReason>,
        steps: u32,
        /// US dollars; `null` when the price of a call is not known.
        cost: Option<f64>,
    },
    #[serde(rename = "warning")]
    Warning { code: String, message: String },
    /// Live events were dropped. What follows is the settled state.
    #[serde(rename = "gap")]
    Gap { missed: u64 },
    #[serde(rename = "result")]
    Result(Box<ResultEvent>),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParentRef {
    pub session: SessionId,
    pub seq: Seq,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpawnedRef {
    pub session: SessionId,
    pub agent: String,
    pub depth: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ErrorRef {
    pub class: ErrorClass,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuestionRef {
    pub question: String,
    pub header: String,
    pub options: Vec<Choice>,
    pub multi: bool,
}

/// The last event of a turn, always: these fields and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResultEvent {
    /// `finished`, `stopped`, `parked` or `drained`.
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
    /// By model.
    pub usage: Vec<ModelUsage>,
    /// US dollars; `null` when the price of a call is not known.
    pub cost: Option<f64>,
    pub steps: u32,
    /// In JSON it stands in the envelope.
    #[serde(skip_serializing)]
    pub session: SessionId,
    /// In JSON it stands in the envelope.
    #[serde(skip_serializing)]
    pub turn: TurnNo,
    pub denials: Vec<Denial>,
    /// Relative to the session's root where they lie in it.
    pub changed_files: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelUsage {
    pub model: Route,
    pub calls: u64,
    #[serde(flatten)]
    pub usage: Usage,
    pub cost: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Denial {
    pub call_id: String,
    pub tool: String,
    pub reason: String,
}

/// Nano-dollars as dollars, for JSON.
pub fn dollars(nano: Option<crate::NanoUsd>) -> Option<f64> {
    nano.map(|n| n as f64 / 1e9)
}

impl EventKind {
    /// Live events are not projections of a record and are not shown again.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::ModelDelta { .. } | Self::ToolProgress { .. } | Self::Gap { .. })
    }
}

impl From<&Billed> for Usage {
    fn from(billed: &Billed) -> Self {
        billed.usage
    }
}
