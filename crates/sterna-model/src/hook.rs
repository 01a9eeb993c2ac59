//! Hooks as data: the events they listen to, and what a log keeps of them.

use serde::{Deserialize, Serialize};

use crate::{Billed, Decision, Digest, EffectClass, EffectKey, Route, Seq};

/// What a hook may listen to. The name is the one in `hooks.json`, in records and in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HookEvent {
    SessionStart,
    UserPromptSubmit,
    TurnStart,
    StepStart,
    PreModelCall,
    PreToolUse,
    PermissionRequest,
    PreCompact,
    Stop,
    SubagentStart,
    SubagentStop,
    Elicitation,
    TaskCreated,
    TaskCompleted,
    WorktreeCreate,
    WorktreeRemove,
    ConfigChange,
    SessionEnd,
    TurnEnd,
    StepEnd,
    StopFailure,
    PostModelCall,
    ToolBatchStart,
    ToolBatchEnd,
    PostToolUse,
    PostToolUseFailure,
    PermissionDenied,
    PostCompact,
    FrameOpened,
    Checkpoint,
    SessionRestored,
    Interrupt,
    Setup,
    InstructionsLoaded,
    CwdChanged,
    FileChanged,
    Notification,
    Error,
    ModeChanged,
    TeammateIdle,
    ElicitationResult,
    ProcessEvent,
    TriggerFired,
    McpState,
}

/// What the hooks of an event may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPower {
    /// What comes next waits for them, and they may forbid it.
    Decides,
    /// It has happened. They may tell the model something, and end the turn.
    Watches,
    /// They are told, and change nothing.
    IsTold,
}

impl HookEvent {
    pub const ALL: [Self; 44] = [
        Self::SessionStart,
        Self::UserPromptSubmit,
        Self::TurnStart,
        Self::StepStart,
        Self::PreModelCall,
        Self::PreToolUse,
        Self::PermissionRequest,
        Self::PreCompact,
        Self::Stop,
        Self::SubagentStart,
        Self::SubagentStop,
        Self::Elicitation,
        Self::TaskCreated,
        Self::TaskCompleted,
        Self::WorktreeCreate,
        Self::WorktreeRemove,
        Self::ConfigChange,
        Self::SessionEnd,
        Self::TurnEnd,
        Self::StepEnd,
        Self::StopFailure,
        Self::PostModelCall,
        Self::ToolBatchStart,
        Self::ToolBatchEnd,
        Self::PostToolUse,
        Self::PostToolUseFailure,
        Self::PermissionDenied,
        Self::PostCompact,
        Self::FrameOpened,
        Self::Checkpoint,
        Self::SessionRestored,
        Self::Interrupt,
        Self::Setup,
        Self::InstructionsLoaded,
        Self::CwdChanged,
        Self::FileChanged,
        Self::Notification,
        Self::Error,
        Self::ModeChanged,
        Self::TeammateIdle,
        Self::ElicitationResult,
        Self::ProcessEvent,
        Self::TriggerFired,
        Self::McpState,
    ];

    /// The name on every surface.
    pub fn word(self) -> &'static str {
        match self {
            Self::SessionStart => "SessionStart",
            Self::UserPromptSubmit => "UserPromptSubmit",
            Self::TurnStart => "TurnStart",
            Self::StepStart => "StepStart",
            Self::PreModelCall => "PreModelCall",
            Self::PreToolUse => "PreToolUse",
            Self::PermissionRequest => "PermissionRequest",
            Self::PreCompact => "PreCompact",
            Self::Stop => "Stop",
            Self::SubagentStart => "SubagentStart",
            Self::SubagentStop => "SubagentStop",
            Self::Elicitation => "Elicitation",
            Self::TaskCreated => "TaskCreated",
            Self::TaskCompleted => "TaskCompleted",
            Self::WorktreeCreate => "WorktreeCreate",
            Self::WorktreeRemove => "WorktreeRemove",
            Self::ConfigChange => "ConfigChange",
            Self::SessionEnd => "SessionEnd",
            Self::TurnEnd => "TurnEnd",
            Self::StepEnd => "StepEnd",
            Self::StopFailure => "StopFailure",
            Self::PostModelCall => "PostModelCall",
            Self::ToolBatchStart => "ToolBatchStart",
            Self::ToolBatchEnd => "ToolBatchEnd",
            Self::PostToolUse => "PostToolUse",
            Self::PostToolUseFailure => "PostToolUseFailure",
            Self::PermissionDenied => "PermissionDenied",
            Self::PostCompact => "PostCompact",
            Self::FrameOpened => "FrameOpened",
            Self::Checkpoint => "Checkpoint",
            Self::SessionRestored => "SessionRestored",
            Self::Interrupt => "Interrupt",
            Self::Setup => "Setup",
            Self::InstructionsLoaded => "InstructionsLoaded",
            Self::CwdChanged => "CwdChanged",
            Self::FileChanged => "FileChanged",
            Self::Notification => "Notification",
            Self::Error => "Error",
            Self::ModeChanged => "ModeChanged",
            Self::TeammateIdle => "TeammateIdle",
            Self::ElicitationResult => "ElicitationResult",
            Self::ProcessEvent => "ProcessEvent",
            Self::TriggerFired => "TriggerFired",
            Self::McpState => "McpState",
        }
    }

    /// The event of this name.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.word() == word)
    }

    /// What its hooks may do.
    pub fn power(self) -> HookPower {
        match self {
            Self::SessionStart
            | Self::UserPromptSubmit
            | Self::TurnStart
            | Self::StepStart
            | Self::PreModelCall
            | Self::PreToolUse
            | Self::PermissionRequest
            | Self::PreCompact
            | Self::Stop
            | Self::SubagentStart
            | Self::SubagentStop
            | Self::Elicitation
            | Self::TaskCreated
            | Self::TaskCompleted
            | Self::WorktreeCreate
            | Self::WorktreeRemove
            | Self::ConfigChange => HookPower::Decides,
            Self::TurnEnd
            | Self::StepEnd
            | Self::StopFailure
            | Self::PostModelCall
            | Self::ToolBatchStart
            | Self::ToolBatchEnd
            | Self::PostToolUse
            | Self::PostToolUseFailure
            | Self::PermissionDenied
            | Self::PostCompact
            | Self::FrameOpened
            | Self::Checkpoint
            | Self::SessionRestored
            | Self::Interrupt => HookPower::Watches,
            Self::SessionEnd
            | Self::Setup
            | Self::InstructionsLoaded
            | Self::CwdChanged
            | Self::FileChanged
            | Self::Notification
            | Self::Error
            | Self::ModeChanged
            | Self::TeammateIdle
            | Self::ElicitationResult
            | Self::ProcessEvent
            | Self::TriggerFired
            | Self::McpState => HookPower::IsTold,
        }
    }

    /// Whether a turn cannot go on without what it is about: where that is forbidden, the turn ends.
    pub fn carries_the_turn(self) -> bool {
        matches!(
            self,
            Self::SessionStart
                | Self::UserPromptSubmit
                | Self::TurnStart
                | Self::StepStart
                | Self::PreModelCall
                | Self::SubagentStart
        )
    }

    /// Whether it is about how something is, and not about what happens once: it is told when that is another than it was
    /// when it was told last.
    pub fn tells_a_state(self) -> bool {
        matches!(self, Self::InstructionsLoaded | Self::FileChanged | Self::McpState)
    }

    /// Whether a turn that has its answer asks its hooks whether it may end.
    pub fn is_stop(self) -> bool {
        matches!(self, Self::Stop | Self::SubagentStop)
    }

    /// Whether a hook that fails, hangs or says what cannot be read forbids what it was asked about, unless it says
    /// otherwise.
    pub fn fails_closed(self) -> bool {
        matches!(self, Self::UserPromptSubmit | Self::PreToolUse | Self::PermissionRequest)
    }
}

/// What the hooks of one occurrence of an event came to. In the log before anyone acts on it; what has this record is
/// never run again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookRan {
    /// `{session}/{turn}/{step}/hook/{event}[/{about}]`: the same occurrence has the same key when its turn is driven
    /// again. Hooks are given it, and are run again under it when a crash took their answer.
    pub key: String,
    pub event: HookEvent,
    /// The call that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<EffectKey>,
    /// The input that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Seq>,
    /// Those that ran, in the order of their files.
    pub hooks: Vec<HookReport>,
    #[serde(default, skip_serializing_if = "HookSays::is_nothing")]
    pub says: HookSays,
    /// What hooks asked models: each call is paid for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<HookAsked>,
}

/// A hook is about to ask a model: durable before the request leaves. The bill is in the `HookRan` of the same key,
/// and where a crash or a cancel took that, what stands here is in the next one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookIntent {
    /// The occurrence, as in `HookRan`.
    pub key: String,
    pub event: HookEvent,
    /// What the call costs at worst.
    pub asks: HookAsked,
}

/// A model call of a hook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookAsked {
    pub route: Route,
    pub billed: Billed,
}

/// What the answers of all hooks come to: the strictest wins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HookSays {
    /// It must not go on: a prompt is not sent, a call not run, a turn not ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blocked: bool,
    /// About the permission of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<Decision>,
    /// Why it is blocked, denied or asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The turn ends `hook_stopped`, and this is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
    /// The call's new arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// What the model is told with its next request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<String>,
}

impl HookSays {
    /// Nobody had anything to say.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Arguments that take the place of those that the model gave. What runs is what the log holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// JSON text.
    pub arguments: String,
    /// What the tool says of a call with them.
    pub class: EffectClass,
    /// For what a person wrote: hash of the places that they led to then. `None`: wherever they lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<Digest>,
}

/// How one hook ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookReport {
    /// Which one: `hooks.json:PreToolUse.1.1`, or the name of a hook of the host.
    pub name: String,
    pub end: HookEnd,
    pub duration_ms: u64,
    /// For the person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What it wrote, or why it failed: at most 2 KiB.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookEnd {
    Ok,
    Blocked,
    Stopped,
    /// It failed, and what it was asked about goes on.
    Failed,
    /// It failed, and what it was asked about does not go on.
    FailedClosed,
}
