//! The contract between the runtime and a tool: built-in, MCP, browser and code tools share it.
//!
//! Ring 1. A tool gets its arguments and a `ToolContext`, never the runtime. This crate must never know
//! tokio, files, sockets or a session's log.

mod cancel;
mod image;
mod memory;
mod reader;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use cancel::{Cancel, Cancelled};
use futures::future::BoxFuture;
pub use image::Image;
pub use memory::{
    Memory, MemoryAccess, MemoryError, MemoryPlace, NewNote, PastEntry, PastHit, Remembered, SharedMemory,
};
pub use reader::{Found, NoSession, SessionReader};
use serde_json::Value;
use sterna_log::SharedBlobs;
use sterna_model::{
    Attachment, BlobRef, Bounds, ChildEnd, ChildRef, Digest, EffectClass, EffectKey, Fact, GoalStatus,
    GrantScope, Millis, Permits, Question, Route, Sandbox, SessionId, TodoItem, ToolSpec, ToolStatus,
    TurnStarted,
};

/// A tool. One value serves all sessions of a process: it holds no state of a session.
pub trait Tool: Send + Sync {
    /// What the model is told. Constant for the life of the value.
    fn spec(&self) -> &ToolSpec;

    /// What recovery may do with this call. Called only with arguments that fit the schema.
    fn class(&self, args: &Value) -> EffectClass;

    /// What this call would touch, for policy, hooks and people. Must not touch it, but may look at the file
    /// system to resolve names. An error is the call's result, and nothing runs.
    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError>;

    /// Whether its command lines run as `ToolContext::confine` says. Only then is a sandbox taken into account when the call
    /// is judged.
    fn confines(&self) -> bool {
        false
    }

    /// Milliseconds after which the runtime gives a call up. 120 s unless a tool keeps a limit of its own.
    fn timeout_ms(&self, _args: &Value) -> u64 {
        120_000
    }

    /// Where the result of this call comes from, when it is text of strangers: `web:docs.rs`, `mcp:server`. The model
    /// is shown such text in marks that tell it so, and what it asks for next is judged with that in mind. `None`: it
    /// is ours, or the runtime can tell by what the call touches (files from outside, commands that fetch). Results of
    /// tools named `mcp__SERVER__…` come from `mcp:SERVER` whatever this says.
    fn untrusted(&self, _args: &Value, _view: &SessionView) -> Option<String> {
        None
    }

    /// What becomes of a call whose arguments hold a secret's placeholder. Unless a tool says otherwise, one that
    /// changes nothing keeps it as the text that it is, and any other is refused.
    fn placeholders(&self, args: &Value) -> Placeholders {
        match self.class(args) {
            EffectClass::Pure => Placeholders::Keep,
            EffectClass::Idempotent | EffectClass::AtMostOnce | EffectClass::Compensable => {
                Placeholders::Refuse
            }
        }
    }

    /// The items of the todo list that this call would make or change, as it would leave them: hooks are asked about new
    /// ones, and about those that would be completed. Empty: none, or the call would fail.
    fn todos(&self, _args: &Value, _view: &SessionView) -> Vec<TodoItem> {
        Vec::new()
    }

    /// Runs the call. Dropping the future must leave nothing running but what `recover` finds.
    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>>;

    /// What became of a call whose intent is in the log and whose outcome is not, because the process that ran it
    /// died. Asked once for each such call before its class decides. May wait for what still runs; when `cx.cancel`
    /// is raised, that is to be ended. `cx.attempt` is the attempt that was running.
    fn recover<'a>(&'a self, _cx: ToolContext, _args: Value) -> BoxFuture<'a, Recovered> {
        Box::pin(std::future::ready(Recovered::Unknown))
    }

    /// Takes back what an attempt of class `compensable` may have done, whole or in part or not at all, after a crash
    /// took its outcome and `recover` does not know it. `cx.key` and `cx.attempt` are those of that attempt. Its
    /// intent is durable before; a crash in it makes it come again, so doing it twice must leave what once leaves. An
    /// error says that the world may still hold what the call did: it is in doubt then.
    fn undo<'a>(&'a self, _cx: ToolContext, _args: Value) -> BoxFuture<'a, Result<(), ToolError>> {
        let name = &self.spec().name;
        Box::pin(std::future::ready(Err(ToolError::failed(format!("`{name}` has no undo")))))
    }

    /// The outcome of that attempt is durable: what was kept to recover it may go. Must be quick.
    fn settled(&self, _key: &EffectKey, _attempt: u32) {}
}

/// What becomes of a call whose arguments hold a secret's placeholder, `[secret:NAME:HASH]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholders {
    /// The tool gets the secret itself, when this process knows it. For tools that only write it to a file.
    Restore,
    /// The call is not run, and the model is told why.
    Refuse,
    /// The placeholder is text like any other.
    Keep,
}

/// What is known of a call after a crash.
pub enum Recovered {
    /// It ended, and this is its true end.
    Ended(Result<ToolReturn, ToolError>),
    /// It never ran, and never will under that attempt.
    NeverRan,
    /// Nobody knows. What it wrote until then, if that is known.
    Unknown,
}

/// The tool by which deferred ones are called: the runtime unwraps it before anything else looks at the call.
pub const CALL_TOOL: &str = "call_tool";

/// The tool that finds deferred ones.
pub const TOOL_SEARCH: &str = "tool_search";

/// A shared tool.
pub type SharedTool = Arc<dyn Tool>;

/// Where a call would happen.
#[derive(Debug, Clone)]
pub struct PlanContext {
    /// Relative paths are relative to this. Absolute.
    pub cwd: PathBuf,
    /// The workspace and the extra folders, absolute, symlinks resolved.
    pub roots: Vec<PathBuf>,
}

/// What a call would touch: the observable copy that policy and people judge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub accesses: Vec<Access>,
    /// One line for a person: `write src/lib.rs (1,204 bytes)`.
    pub summary: String,
    /// More to look at before saying yes, such as a diff.
    pub preview: Option<String>,
}

/// One thing that a call would touch. Paths are absolute with symlinks resolved as far as they exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    Read(PathBuf),
    /// A folder and whatever lies beneath it.
    ReadTree(PathBuf),
    Write(PathBuf),
    /// A command line for the shell, and where it would run. Policy reads it.
    Shell {
        command: String,
        cwd: PathBuf,
    },
    /// A host, for tools that reach out.
    Web {
        host: String,
    },
    /// Asks a person something. Always allowed by policy; the surface decides what happens.
    Person,
    /// More rights for later calls. Asks whatever rules allow, and what a rule denies is refused at once.
    Permission(Permits),
    /// The session's own state, such as the todo list. Always allowed.
    Session,
    /// What is kept beyond the session: notes.
    Keep,
    /// Something that no rule but the tool's own name covers.
    Other,
    /// The tool is no longer what a person accepted, and this is the hash of what it is now: it asks again, whatever
    /// rules and earlier grants allow.
    Unaccepted {
        definition: Digest,
        why: String,
    },
}

/// What a running call is given.
#[derive(Clone)]
pub struct ToolContext {
    pub key: EffectKey,
    /// From 1.
    pub attempt: u32,
    /// When the intent of this attempt was written, by the clock of whoever wrote it. 0 where there is none.
    pub intended_at: Millis,
    /// What policy judged: the call touches nothing else, also when the file system has changed since.
    pub plan: Arc<Plan>,
    pub cwd: PathBuf,
    pub roots: Vec<PathBuf>,
    pub cancel: Cancel,
    /// Keeps large output.
    pub blobs: SharedBlobs,
    /// Live text for people; never stored.
    pub progress: Arc<dyn Fn(String) + Send + Sync>,
    /// The clock.
    pub now: Arc<dyn Fn() -> Millis + Send + Sync>,
    /// The session's world as its log tells it.
    pub view: Arc<SessionView>,
    /// The session's own log, as text.
    pub session: Arc<dyn SessionReader>,
    /// Environment for children: an allow-list, without any key.
    pub env: Arc<BTreeMap<String, String>>,
    /// What holds the call's command lines: what policy was told when it judged them.
    pub confine: Arc<Confine>,
    /// The answers of a person, when the call comes back from `ToolReturn::Ask`.
    pub answers: Option<Vec<String>>,
    /// What is remembered. `None`: it is off.
    pub memory: Option<MemoryAccess>,
    /// How the child's turn ended, when the call comes back from a `ToolReturn::Child` that waits.
    pub ended: Option<Arc<ChildEnd>>,
    /// What woke the call, when it comes back from `ToolReturn::Sleep` or `ToolReturn::Signal`.
    pub woken: Option<Woken>,
    /// The turn, with what it was given: what the call makes for later may have this and no more.
    pub turn: Option<Arc<TurnStarted>>,
}

/// What ended a wait in which nobody was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Woken {
    /// The time that was waited for, or the time limit of a wait for a signal.
    Time,
    /// The signal. What came with it: JSON, from outside.
    Signal(String),
}

/// How a call's command lines are confined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confine {
    /// They run on this level, or not at all.
    pub level: Sandbox,
    pub bounds: Bounds,
}

/// What a tool may know of its session.
#[derive(Debug, Clone, Default)]
pub struct SessionView {
    /// Version of each file as it was last read or written in this session, by absolute path.
    pub files: BTreeMap<String, Digest>,
    pub todos: BTreeMap<String, TodoItem>,
    /// Child sessions that are not closed, with what they were told last and how that ended.
    pub children: Vec<(ChildRef, Option<ChildEnd>)>,
    /// What the session works towards.
    pub goal: Option<GoalView>,
    /// The tools that are shown by name only. Filled for the call that searches them.
    pub deferred: Vec<ToolSpec>,
    /// Where the whole outputs come from that are text of strangers.
    pub untrusted: BTreeMap<Digest, String>,
    /// Some result of this session was text of strangers.
    pub strangers: bool,
}

/// A session's goal, as its tools know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoalView {
    pub id: String,
    pub objective: String,
    pub status: GoalStatus,
    /// Why it is not active.
    pub why: String,
    pub token_budget: Option<u64>,
    pub tokens: u64,
}

/// What a call gives back.
#[derive(Debug)]
pub enum ToolReturn {
    Done(ToolDone),
    /// A person must answer first; the call comes again with `ToolContext::answers`. The turn parks meanwhile.
    Ask(Vec<Question>),
    /// Nothing before this time; the call comes again with `ToolContext::woken`. The turn parks meanwhile, without a task,
    /// and the time counts also when nobody is there as it comes.
    Sleep {
        until: Millis,
    },
    /// Somebody outside must send the signal of this name, before or after this; the call comes again with
    /// `ToolContext::woken`. The first signal counts, and goes to one wait. The turn parks meanwhile.
    Signal {
        /// 1 to 128 characters of `A-Za-z0-9._:-`.
        name: String,
        /// When it has waited long enough.
        until: Option<Millis>,
    },
    /// The runtime is to see to a child session. Where the call waits for the child's turn, the turn parks without a
    /// task, and the call comes again with `ToolContext::ended`.
    Child(ChildOp),
    /// The session goes on in a fresh window, as soon as the step is over. `task` is what is done there, `seed` what is
    /// taken along: both were checked.
    Continue {
        task: String,
        seed: serde_json::Map<String, Value>,
    },
    /// From now on the turn is in plan mode. Whoever asks: it only takes rights away.
    EnterPlan,
    /// A person has said yes to `Access::Permission`: it holds for later calls. `scope` is a turn or a session.
    Permit {
        permits: Permits,
        scope: GrantScope,
    },
    /// A plan for a person to approve. Only their yes ends plan mode; what they say is the call's result.
    Plan {
        /// 1 to 64 characters of `a-z0-9-`.
        slug: String,
        /// At most 64 KiB.
        content: String,
    },
}

/// What a call wants of a child session. The runtime carries it out: under the call's key, so that a repetition
/// makes no second child and tells nothing twice.
#[derive(Debug, Clone, PartialEq)]
pub enum ChildOp {
    /// A new child. It never has more rights than the turn that makes it.
    Spawn(Box<SpawnChild>),
    /// Tells a child something: steers its turn, or starts the next.
    Tell { child: SessionId, text: String, background: bool },
    /// Waits for the end of what a child does.
    Wait { child: SessionId, timeout_ms: Option<u64> },
    /// Cancels what a child does, and closes it.
    Close { child: SessionId },
}

/// A child session to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct SpawnChild {
    /// The kind of agent.
    pub agent: String,
    /// What it is told to be: a section of its prompt.
    pub prompt: String,
    pub task: String,
    /// Names of the tools it may call; empty: those of its maker. Those that its maker may not call it may not either.
    pub tools: Vec<String>,
    /// `None`: its maker's.
    pub route: Option<Route>,
    pub max_steps: u32,
    /// Its maker does not wait: the end comes as an input.
    pub background: bool,
    /// It begins with what its maker knows: the history up to the answer that makes it.
    pub fork: bool,
    /// It works in a worktree of its own.
    pub worktree: bool,
}

/// A finished call.
#[derive(Debug, Default)]
pub struct ToolDone {
    pub output: Output,
    pub budget: ViewBudget,
    pub facts: Vec<Fact>,
    /// The call ran and says that it failed, for example a command with exit code 1: still an answer.
    pub failed: bool,
    /// Milliseconds that it took by its own clock, where that is not how long we waited: a command that was followed
    /// again after a crash.
    pub took_ms: Option<u64>,
    /// Files that the model is shown beside the output, 20 at most. Their blobs are kept already.
    pub attachments: Vec<Attachment>,
    /// Where the output comes from, when only the call itself could tell that it is text of strangers.
    pub origin: Option<String>,
}

impl ToolDone {
    /// Text with the usual budget.
    pub fn text(text: impl Into<String>) -> Self {
        Self { output: Output::Text(text.into()), ..Self::default() }
    }
}

/// A tool's whole output.
#[derive(Debug)]
pub enum Output {
    Text(String),
    /// Too large to hold: everything is in the blob, and these are its ends with a note on how it ended.
    Large {
        blob: BlobRef,
        head: String,
        tail: String,
        note: String,
    },
}

impl Default for Output {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// How much of the output the model sees. The runtime cuts at character borders and adds the marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewBudget {
    pub bytes: usize,
    pub lines: usize,
    /// Percent of the budget for the beginning; the rest shows the end. 100: the beginning only.
    pub head_percent: u8,
}

impl Default for ViewBudget {
    /// 16 KiB and 400 lines of the beginning.
    fn default() -> Self {
        Self { bytes: 16 << 10, lines: 400, head_percent: 100 }
    }
}

/// A call that gave no answer. The model is told the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ToolError {
    pub status: ToolStatus,
    /// For the model: what was wrong, and what to do instead.
    pub message: String,
}

impl ToolError {
    /// The tool ran, or refused to, and failed.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self { status: ToolStatus::Failed, message: message.to_string() }
    }
    /// The arguments fit the schema, and are wrong all the same.
    pub fn invalid(message: impl fmt::Display) -> Self {
        Self { status: ToolStatus::InvalidArguments, message: message.to_string() }
    }
    pub fn cancelled() -> Self {
        Self { status: ToolStatus::Cancelled, message: "cancelled".into() }
    }
}

/// A path for the model: relative to `cwd` when it lies in it.
pub fn shown(path: &Path, cwd: &Path) -> String {
    match path.strip_prefix(cwd) {
        Ok(inner) if inner.as_os_str().is_empty() => ".".into(),
        Ok(inner) => inner.display().to_string(),
        Err(_) => path.display().to_string(),
    }
}
