//! Records: the whole vocabulary of state. Adding a body is an ADR.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use crate::{
    AutomationChange, BlobRef, BudgetChange, ChildEnd, ChildTurn, CompactTrigger, Compacted, Digest,
    EffectClass, EffectKey, EffectResult, Effort, GoalChange, Grant, HookIntent, HookRan, InDoubtPolicy,
    InputPart, Intended, MemoryChange, Millis, Mode, NanoUsd, OnAsk, ProviderFailure, Route, RuleText,
    Ruling, SandboxWish, Seq, SessionId, Spawned, StepNo, StopReason, TitleMade, TodoItem, TurnNo,
    TurnOutcome, Untrusted, Usage, WaitId,
};

/// The version of records that this build writes. It reads all versions up to this one.
///
/// 2: an input says what its turn is given. 3: compactions, child agents, files, hooks, notes, plans, origins; what a
/// turn is given stands in its record as in its input's.
pub const RECORD_VERSION: u32 = 3;

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub v: u32,
    pub seq: Seq,
    pub at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnNo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepNo>,
    pub body: Body,
}

/// A record before the store has given it its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub at: Millis,
    pub turn: Option<TurnNo>,
    pub step: Option<StepNo>,
    pub body: Body,
}

impl Draft {
    /// The record that this draft becomes at `seq`.
    pub fn at_seq(self, seq: Seq) -> Record {
        let Self { at, turn, step, body } = self;
        Record { v: RECORD_VERSION, seq, at, turn, step, body }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    SessionOpened(SessionOpened),
    TitleSet {
        title: String,
        by: String,
        /// A model wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made: Option<Box<TitleMade>>,
    },
    SessionClosed {
        by: String,
    },
    /// In force from the next turn until changed.
    RouteChanged {
        route: Route,
        cause: String,
        /// Only for the rest of this turn: a step down the ladder. The next turn starts at the top.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<TurnNo>,
    },
    /// In force from the next turn until changed; at once where it is a record of the running turn.
    ModeChanged {
        mode: Mode,
        by: String,
    },

    InputAccepted(InputAccepted),
    InputEdited {
        input: Seq,
        parts: Vec<InputPart>,
        by: String,
    },
    InputWithdrawn {
        inputs: Vec<Seq>,
        by: String,
    },

    TurnStarted(Box<TurnStarted>),
    TurnCommitted(Box<TurnCommitted>),

    Intent(Box<Intent>),
    /// A model call that failed or was lost. Another attempt follows when `retry_at` is set.
    Attempt(Box<Attempt>),
    Outcome(Box<Outcome>),
    InDoubt {
        key: EffectKey,
        resolution: InDoubtPolicy,
    },

    WaitOpened(Box<WaitOpened>),
    WaitResolved {
        wait: WaitId,
        ruling: Ruling,
        by: String,
        /// It came before the wait that it answers.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        early: bool,
    },
    /// The first one of a turn counts.
    CancelRequested {
        turn: TurnNo,
        request: String,
        by: String,
        reason: String,
    },
    /// Something outside the machine found a bound of the turn reached: the clock its deadline, the price table
    /// that the next call would pass a cap.
    LimitReached {
        turn: TurnNo,
        reason: StopReason,
    },

    GrantGiven {
        grant: Grant,
        by: String,
    },
    GrantRevoked {
        content: Digest,
        by: String,
    },

    /// A person changed the todo list. The model changes it by facts of tool outcomes.
    TodoSet {
        items: Vec<TodoItem>,
        by: String,
    },

    /// The workspace as it was before the first effect of a step that may write, or before a rewind restores files.
    CheckpointTaken(Box<CheckpointTaken>),
    /// Effects of this step may write, and no checkpoint could be taken before them.
    CheckpointMissed {
        root: String,
        why: String,
    },
    Rewound(Rewound),

    /// From here on requests carry less of the history.
    Compacted(Box<Compacted>),
    /// A compaction was asked for, and there was nothing to make smaller.
    CompactionMissed {
        trigger: CompactTrigger,
        why: String,
    },
    HookIntent(Box<HookIntent>),
    HookRan(Box<HookRan>),
    /// What is remembered changes, in the log of the scope; or what a turn was reminded of.
    Memory(Box<MemoryChange>),
    /// Schedules and triggers, in the log that is theirs: what there is, what is to run, how it ended.
    Automation(Box<AutomationChange>),
    /// What the session works towards, or where that stands. The model changes it by facts of tool outcomes.
    Goal(Box<GoalChange>),
    /// What a tree of sessions has spent and reserved, in the tree's own log.
    Budget(Box<BudgetChange>),
}

/// The first record of every log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionOpened {
    pub id: SessionId,
    /// Where the history before this record is, for a fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Who made it, for a child session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spawned: Option<Box<Spawned>>,
    /// The workspace: what the session may write without asking.
    pub root: String,
    pub cwd: String,
    pub route: Route,
    pub mode: Mode,
    /// The version of Sterna that opened it.
    pub sterna: String,
}

/// The point of another log at which this one forks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub session: SessionId,
    /// The last shared record.
    pub seq: Seq,
    /// The chain hash of that record.
    pub hash: Digest,
}

/// When an input is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Starts a turn of its own, in order.
    #[default]
    NextTurn,
    /// Enters the running turn before its next model call.
    AfterWork,
    /// Enters the running turn when it would otherwise end.
    BeforeCompletion,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputAccepted {
    /// Idempotency key: unique in its session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub delivery: Delivery,
    pub parts: Vec<InputPart>,
    /// The surface it came through: `cli`, `sdk` ...
    pub origin: String,
    /// What the turn that it starts is given, whoever drives that turn and however much later. `None` in records of
    /// version 1 and in imported ones: then the driver's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Box<Given>>,
    /// It says how a child in the background ended, and what that cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Box<ChildEnd>>,
    /// It says nothing to the model: it asks for a compaction, with these words on what to keep above all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact: Option<String>,
    /// Where the texts of strangers come from that the agent had before it that wrote this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tainted: Vec<String>,
}

/// What whoever submits an input gives to the turn that takes it: its rights, its bounds, and where it works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Given {
    pub route: Route,
    pub mode: Mode,
    pub limits: Limits,
    /// Rules of all scopes, joined, with the place each comes from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleText>,
    pub on_ask: OnAsk,
    pub in_doubt: InDoubtPolicy,
    /// What counts instead for calls of these tools, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub in_doubt_of: BTreeMap<String, InDoubtPolicy>,
    pub root: String,
    pub cwd: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_dirs: Vec<String>,
    /// Names of the tools that may be called; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Further tools that may be called and are shown by name only, until they are searched for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deferred: Vec<String>,
    /// Those of `deferred` that came, or became others, after the prompt was made: it does not name them, the tail does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Tokens the model may write in one answer; `None`: the model's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u32>,
    /// Nobody chose `mode` for this input: where the session's own mode was switched, that one counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mode_of_session: bool,
    #[serde(default, skip_serializing_if = "SandboxWish::is_auto")]
    pub sandbox: SandboxWish,
    /// Routes that take over, in this order, when the one before them fails for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<Route>,
    /// JSON Schema that the final answer has to fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Box<serde_json::Value>>,
    /// The session at the top of the tree whose caps count. `None`: the session itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<SessionId>,
    /// How much a model that can is asked to think; `None`: nothing is said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// Another agent answers this turn, once and without tools. `None`: the session's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<Box<Guest>>,
}

/// An agent that answers once in another one's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// 1 to 64 characters of `a-z0-9-`.
    pub agent: String,
    /// What it is told to be: a section of its prompt.
    pub prompt: String,
}

impl Given {
    /// A turn of this route in this folder with every default: no rule, no bound of its own, all tools.
    pub fn new(route: Route, root: impl Into<String>) -> Self {
        let root = root.into();
        Self {
            route,
            mode: Mode::default(),
            limits: Limits::default(),
            rules: Vec::new(),
            on_ask: OnAsk::default(),
            in_doubt: InDoubtPolicy::default(),
            in_doubt_of: BTreeMap::new(),
            cwd: root.clone(),
            root,
            add_dirs: Vec::new(),
            tools: Vec::new(),
            deferred: Vec::new(),
            added: Vec::new(),
            max_output: None,
            mode_of_session: false,
            sandbox: SandboxWish::default(),
            fallback: Vec::new(),
            output_schema: None,
            tree: None,
            effort: None,
            guest: None,
        }
    }

    /// What becomes of a call of this tool that is in doubt.
    pub fn in_doubt_of(&self, tool: &str) -> InDoubtPolicy {
        self.in_doubt_of.get(tool).copied().unwrap_or(self.in_doubt)
    }
}

/// Everything that somebody else would need to drive the turn on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnStarted {
    pub inputs: Vec<Seq>,
    /// As the first input's, with the mode that counts. In the record its fields stand beside the others.
    #[serde(flatten)]
    pub given: Given,
    /// The clock, once, as a recorded fact.
    pub now: Millis,
}

impl Deref for TurnStarted {
    type Target = Given;

    fn deref(&self) -> &Given {
        &self.given
    }
}

impl DerefMut for TurnStarted {
    fn deref_mut(&mut self) -> &mut Given {
        &mut self.given
    }
}

/// The bounds of a turn, with the names they have in configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub max_steps: u32,
    pub max_parallel_tools: u32,
    pub max_output_continuations: u32,
    /// Stalled steps after which the turn stops; a nudge comes at half of it.
    pub no_progress_steps: u32,
    pub max_consecutive_denials: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<NanoUsd>,
    /// Tokens that the turn is to use: it goes on after an answer that comes before nine tenths of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_tokens: Option<u64>,
    /// `max_tokens` and `max_cost` for all turns of the session together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_max_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_max_cost: Option<NanoUsd>,
    /// The same for the session and all that descend from it together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree_max_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree_max_cost: Option<NanoUsd>,
    /// Milliseconds from the turn's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// Milliseconds that a wait for a person lasts: then it is resolved `timeout`. `None`: as long as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<u64>,
    /// Children of one session that work at the same time; more wait for their turn.
    #[serde(default = "eight", skip_serializing_if = "is_eight")]
    pub max_children: u32,
    /// How deep children may have children; 0: no children. More than 5 counts as 5.
    #[serde(default = "three", skip_serializing_if = "is_three")]
    pub max_child_depth: u32,
}

fn eight() -> u32 {
    8
}

fn is_eight(n: &u32) -> bool {
    *n == eight()
}

fn three() -> u32 {
    3
}

fn is_three(n: &u32) -> bool {
    *n == three()
}

impl Default for Limits {
    /// The constants of the design's turn machine.
    fn default() -> Self {
        Self {
            max_steps: 100,
            max_parallel_tools: 10,
            max_output_continuations: 3,
            no_progress_steps: 12,
            max_consecutive_denials: 3,
            max_tokens: None,
            max_cost: None,
            turn_tokens: None,
            session_max_tokens: None,
            session_max_cost: None,
            tree_max_tokens: None,
            tree_max_cost: None,
            deadline: None,
            max_wait: None,
            max_children: eight(),
            max_child_depth: three(),
        }
    }
}

/// The record that ends a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnCommitted {
    pub outcome: TurnOutcome,
    pub steps: u32,
    pub usage: Usage,
    /// `None` when a call's price is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<NanoUsd>,
}

/// Written, and durable, before an effect that is not pure starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub key: EffectKey,
    pub class: EffectClass,
    pub attempt: u32,
    pub what: Intended,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub key: EffectKey,
    pub attempt: u32,
    pub route: Route,
    pub failure: ProviderFailure,
    /// Milliseconds that are waited before the next attempt.
    #[serde(default)]
    pub wait_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Millis>,
}

/// In the log before anyone acts on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub key: EffectKey,
    pub attempt: u32,
    pub result: EffectResult,
}

/// Somebody or something has to answer before the effect can go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitOpened {
    pub wait: WaitId,
    pub key: EffectKey,
    pub on: WaitOn,
    /// When it is resolved `timeout`, if nobody was faster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Millis>,
    /// Its answer was there before it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answered: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitOn {
    Approval(Approval),
    Questions(Vec<Question>),
    /// The end of a child's turn. Nobody is asked: the runtime answers it.
    Child(ChildTurn),
    /// Only a person's yes to it ends plan mode.
    Plan(SubmittedPlan),
    /// The wait's deadline. Nobody is asked.
    Timer,
    /// Somebody outside sends the signal of this name.
    Signal {
        name: String,
    },
}

impl WaitOn {
    /// Whether this answer is one to what is asked.
    pub fn takes(&self, ruling: &Ruling) -> bool {
        match (self, ruling) {
            (_, Ruling::Deny { .. } | Ruling::Timeout) => true,
            (Self::Approval(_), Ruling::Allow | Ruling::Edited(_))
            | (Self::Questions(_), Ruling::Answers(_))
            | (Self::Child(_), Ruling::Ended(_))
            | (Self::Plan(_), Ruling::Allow | Ruling::Plan { .. })
            | (Self::Signal { .. }, Ruling::Signal(_)) => true,
            (
                Self::Approval(_),
                Ruling::Answers(_) | Ruling::Plan { .. } | Ruling::Ended(_) | Ruling::Signal(_),
            )
            | (
                Self::Questions(_),
                Ruling::Allow
                | Ruling::Edited(_)
                | Ruling::Plan { .. }
                | Ruling::Ended(_)
                | Ruling::Signal(_),
            )
            | (
                Self::Child(_),
                Ruling::Allow
                | Ruling::Answers(_)
                | Ruling::Edited(_)
                | Ruling::Plan { .. }
                | Ruling::Signal(_),
            )
            | (
                Self::Plan(_),
                Ruling::Answers(_) | Ruling::Edited(_) | Ruling::Ended(_) | Ruling::Signal(_),
            )
            | (
                Self::Signal { .. },
                Ruling::Allow
                | Ruling::Answers(_)
                | Ruling::Edited(_)
                | Ruling::Plan { .. }
                | Ruling::Ended(_),
            )
            | (
                Self::Timer,
                Ruling::Allow
                | Ruling::Answers(_)
                | Ruling::Edited(_)
                | Ruling::Plan { .. }
                | Ruling::Ended(_)
                | Ruling::Signal(_),
            ) => false,
        }
    }
}

/// What a person is asked to allow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    pub tool: String,
    /// One line: what would happen.
    pub summary: String,
    /// Why it asks.
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// More to look at before the answer, such as a diff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// What a grant given in answer would be bound to.
    pub content: Digest,
    /// Hash of the places that the call would touch, symlinks resolved: a yes covers no other ones. `None`: it is bound
    /// to the arguments alone, as answers were before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<Digest>,
    /// Texts of strangers that the model had read when it asked for this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrusted: Vec<Untrusted>,
}

/// A plan that the model asks a person to approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmittedPlan {
    /// Its name: 1 to 64 characters of `a-z0-9-`.
    pub slug: String,
    /// Markdown, at most 64 KiB.
    pub content: String,
    /// The mode that a yes leads to, unless the person names another: the one before plan mode.
    pub after: Mode,
}

/// One question of `ask_user`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    pub question: String,
    /// At most 12 characters.
    pub header: String,
    pub options: Vec<Choice>,
    #[serde(default)]
    pub multi: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    pub label: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// A checkpoint of the workspace. Its manifest, and all that the manifest names, were durable before this record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointTaken {
    /// The folder that it holds.
    pub root: String,
    /// Blob: what stood at every path.
    pub manifest: Digest,
    pub files: u64,
    /// Bytes of contents that no checkpoint before held.
    pub bytes_new: u64,
    /// Paths that it does not hold.
    pub skipped: u64,
    /// The first few of them, each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_names: Vec<String>,
}

/// The session went back to how it was after a record of its own log. Nothing is erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewound {
    pub to: Seq,
    /// The checkpoint whose files were restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Digest>,
    /// From here on requests are derived as if the records after `to` were not there.
    pub conversation: bool,
    pub by: String,
}

/// The prompt's parts and the tools of a request: the blob behind `ModelIntent::manifest`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub v: u32,
    pub parts: Vec<PromptPart>,
    /// Sorted by name.
    pub tools: Vec<ToolPart>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptPart {
    pub name: String,
    /// Who it belongs to, for the context ledger: a file, `sterna`, a host's slot.
    pub owner: String,
    pub stability: Stability,
    pub text: BlobRef,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolPart {
    pub name: String,
    /// Blob: the `ToolSpec` as JSON.
    pub spec: BlobRef,
}

/// How long a part of the prompt stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stability {
    Stable,
    Frame,
    /// Sent after the history, and only on the transition of its name.
    Tail,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Checked, ModelIntent, ModelOutcome};

    /// What was added without a new version: its form is a promise, and without it a record reads as it always did.
    #[test]
    fn fields_that_came_later_are_optional() {
        let both = |body: Body, written: Value| {
            assert_eq!(serde_json::to_value(&body).unwrap(), written);
            assert_eq!(serde_json::from_value::<Body>(written).unwrap(), body);
        };
        let route: Route = "a/m".parse().unwrap();
        let changed = |turn| Body::RouteChanged { route: route.clone(), cause: "c".into(), turn };
        both(changed(None), json!({"route_changed": {"route": "a/m", "cause": "c"}}));
        both(changed(Some(2)), json!({"route_changed": {"route": "a/m", "cause": "c", "turn": 2}}));

        let old = json!({
            "route": "a/m", "transition": "input", "history": [], "manifest": "00".repeat(32), "max_output": 1,
            "encoder": "e", "request": "00".repeat(32), "bytes": 2,
        });
        let mut intent: ModelIntent = serde_json::from_value(old.clone()).unwrap();
        assert_eq!(serde_json::to_value(&intent).unwrap(), old);
        intent.prefix = Some(Digest::ZERO);
        intent.prefix_broken = vec!["tool x new".into()];
        (intent.left_out, intent.schema_native) = (3, true);
        let mut new = old;
        new["prefix"] = json!("00".repeat(32));
        new["prefix_broken"] = json!(["tool x new"]);
        new["left_out"] = json!(3);
        new["schema_native"] = json!(true);
        assert_eq!(serde_json::to_value(&intent).unwrap(), new);

        let old = serde_json::to_value(Limits::default()).unwrap();
        let limits = Limits { turn_tokens: Some(7), ..Limits::default() };
        let mut new = old.clone();
        new["turn_tokens"] = json!(7);
        assert!(old.get("turn_tokens").is_none());
        assert_eq!(serde_json::to_value(&limits).unwrap(), new);
        assert_eq!(serde_json::from_value::<Limits>(new).unwrap(), limits);

        let old = json!({"parts": [], "stop": "end_turn", "billed": {"usage": {}}, "duration_ms": 1});
        let mut outcome: ModelOutcome = serde_json::from_value(old.clone()).unwrap();
        assert_eq!(serde_json::to_value(&outcome).unwrap(), old);
        outcome.checked = Some(Checked::Value(json!({"n": 3})));
        assert_eq!(serde_json::to_value(&outcome).unwrap()["checked"], json!({"value": {"n": 3}}));
        outcome.checked = Some(Checked::Errors(vec!["no".into()]));
        assert_eq!(serde_json::to_value(&outcome).unwrap()["checked"], json!({"errors": ["no"]}));
    }
}
