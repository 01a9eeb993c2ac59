//! Effects: what the turn machine asks of the world, and what came back.

use serde::{Deserialize, Serialize};

use crate::{
    Billed, ChildEnd, CompactIntent, Compaction, Digest, EffectClass, EffectKey, JudgeIntent, Judgement,
    Judging, Millis, Part, Route, Seq, SessionId, Summary, Thinking, ToolCall, ToolOutcome,
};

/// Why a step came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// The first step of a turn.
    Input,
    ToolResults,
    /// Steered input was waiting.
    Steer,
    /// The answer was cut by the output limit.
    OutputContinue,
    /// The answer was empty, or nothing was achieved for a while.
    Nudge,
    /// The step limit is reached: one last answer with tools off.
    Grace,
    /// What the window cannot hold any more is to be summed up: no step of the task.
    Compact,
    /// A stop hook wants the turn to go on.
    StopHook,
    /// The answer is not what the turn's output schema asks for.
    Repair,
    /// The turn is to use a budget of tokens, and has not.
    BudgetContinue,
}

impl Transition {
    pub fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::ToolResults => "tool_results",
            Self::Steer => "steer",
            Self::OutputContinue => "output_continue",
            Self::Nudge => "nudge",
            Self::Grace => "grace",
            Self::Compact => "compact",
            Self::StopHook => "stop_hook",
            Self::Repair => "repair",
            Self::BudgetContinue => "budget_continue",
        }
    }
}

/// An effect that the machine wants now. Asking again for one that is under way changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    CallModel(CallModel),
    CallTool(CallTool),
    /// The history is to become smaller before the next model call.
    Compact(Compaction),
}

impl Effect {
    pub fn key(&self) -> &EffectKey {
        match self {
            Self::CallModel(call) => &call.key,
            Self::CallTool(call) => &call.key,
            Self::Compact(compaction) => &compaction.key,
        }
    }
}

/// One model call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallModel {
    pub key: EffectKey,
    /// 1, or one more than the attempts in the log.
    pub attempt: u32,
    /// Failed attempts in the log that were not our own death.
    pub failures: u32,
    /// What was waited for retries so far, in milliseconds.
    pub waited_ms: u64,
    /// A recorded retry is due then.
    pub not_before: Option<Millis>,
    pub transition: Transition,
    /// Steered inputs that enter the request at this boundary.
    pub inputs: Vec<Seq>,
    /// `tool_choice` none, with the tool list unchanged.
    pub tools_off: bool,
    /// The intent is in the log already: its request is to be sent, byte for byte.
    pub intent: Option<ModelIntent>,
}

/// One tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallTool {
    pub key: EffectKey,
    pub call: ToolCall,
    pub class: EffectClass,
    /// Attempts that have an intent in the log. More than 0 in a process that did not start them: in doubt.
    pub started: u32,
    /// What a person said last, if somebody was asked.
    pub ruling: Option<Ruling>,
    /// A person has allowed it. Questions that the tool asks later do not undo that.
    pub approved: bool,
    /// The places that it was allowed for. `None`: wherever it leads.
    pub approved_for: Option<Digest>,
    /// How often somebody was asked.
    pub waits: u32,
    /// How often its arguments were replaced, by hooks and by people.
    pub changes: u32,
    /// How often hooks did.
    pub rewrites: u32,
    /// Somebody was asked after its last intent: that attempt ended with the question, and is not in doubt.
    pub asked: bool,
    /// Its last attempt is in doubt, and `ruling` is a person's answer to whether it is run again.
    pub doubt_answered: bool,
    /// What its last attempt may have done is being taken back: the intent of that is in the log.
    pub undoing: bool,
    /// What a classifier was asked about it last.
    pub judging: Option<Box<Judging>>,
    /// The turn is over for this call: answer it so without running it.
    pub closed: Option<Closed>,
}

/// Why a call is answered without being run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    Cancelled,
    /// The model called although its tools were off.
    ToolsOff,
}

/// The name of the `n`th wait of a call, counted from 1. Each wait has its own, so that each can be answered.
pub fn wait_id(key: &EffectKey, n: u32) -> crate::WaitId {
    if n <= 1 { key.to_string() } else { format!("{key}/{n}") }
}

/// The call that a wait of this name belongs to. `None` for what is no such name.
pub fn waiting_call(wait: &str) -> Option<EffectKey> {
    let of_first = |wait: &str| wait.parse::<EffectKey>().ok();
    of_first(wait).or_else(|| {
        let (key, n) = wait.rsplit_once('/')?;
        n.parse::<u32>().ok().filter(|n| *n > 1)?;
        of_first(key)
    })
}

/// Where a signal is kept that came before anybody waited for it: the name of a wait that is never opened.
pub fn signal_wait(session: &crate::SessionId, name: &str) -> crate::WaitId {
    format!("{session}/{SIGNAL}/{name}")
}

/// The signal that `signal_wait` names. `None` for the wait of a call.
pub fn waiting_signal(wait: &str) -> Option<&str> {
    let (_, rest) = wait.split_once('/')?;
    let (word, name) = rest.split_once('/')?;
    (word == SIGNAL && is_signal_name(name)).then_some(name)
}

/// Names of signals: 1 to 128 characters of `A-Za-z0-9._:-`.
pub fn is_signal_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    (1..=128).contains(&name.len()) && name.chars().all(fits)
}

/// Stands where effects have their turn's number.
const SIGNAL: &str = "signal";

/// The answer to a wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    Allow,
    Deny {
        #[serde(default, skip_serializing_if = "String::is_empty")]
        feedback: String,
    },
    /// Answers to questions, in their order.
    Answers(Vec<String>),
    /// Allowed with these arguments in place of the call's own.
    Edited(crate::Rewrite),
    /// The plan is approved.
    Plan {
        /// The mode that follows; `None`: the one that the plan was submitted with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<crate::Mode>,
        /// The person's text in place of the model's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<String>,
    },
    Timeout,
    /// The child's turn is over.
    Ended(Box<ChildEnd>),
    /// What came with the signal: JSON.
    Signal(String),
}

/// What an intent says was about to happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intended {
    Model(ModelIntent),
    Tool(ToolIntent),
    /// What this attempt of a compensable call may have done is about to be taken back.
    Undo(ToolIntent),
    /// A summary is about to be asked for.
    Compact(Box<CompactIntent>),
    /// A classifier is about to be asked about a tool call.
    Judge(Box<JudgeIntent>),
}

impl Intended {
    /// The model request that it is, if it is one.
    pub fn request(&self) -> Option<&ModelIntent> {
        match self {
            Self::Model(model) => Some(model),
            Self::Compact(compact) => Some(&compact.model),
            // It carries no history, and is derived from its own blob.
            Self::Tool(_) | Self::Undo(_) | Self::Judge(_) => None,
        }
    }
}

/// Everything from which the request can be derived again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelIntent {
    pub route: Route,
    pub transition: Transition,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Seq>,
    /// The records whose content the request carries, in order.
    pub history: Vec<Span>,
    /// Blob: the manifest of prompt parts and tool schemas.
    pub manifest: Digest,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tools_off: bool,
    /// Tokens the model may write.
    pub max_output: u32,
    /// Name and version of the encoder, for example `openai_chat/1`. It begins with `import:` where another program
    /// made the request: nobody knows its bytes.
    pub encoder: String,
    /// Hash of the request's bytes.
    pub request: Digest,
    /// Size of the request's body.
    pub bytes: u64,
    /// Hash of the body up to the first entry of the history: what a provider's cache keeps from step to step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Digest>,
    /// What made a cached prefix void since the model call before: `tool grep`, `section project`, `history`, `route`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefix_broken: Vec<String>,
    /// Opaque parts of the history that this request leaves out: they belong to other routes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
    /// The provider itself holds the answer to the turn's output schema.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub schema_native: bool,
    /// How the request shows files, where its history has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSent>,
    /// What the model is asked for before its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
}

/// What a model may be shown beside text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub images: bool,
    /// PDF documents, as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub documents: bool,
}

/// The files of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesSent {
    /// What the model was said to take.
    pub sight: Sight,
    /// Bytes of the request's body that are files: they say nothing about tokens.
    pub bytes: u64,
    /// Tokens that the files are thought to cost.
    pub tokens: u64,
}

impl FilesSent {
    /// The size of a body of `bytes` as far as tokens are counted by it: text as it is, files at four bytes a token.
    pub fn weight(files: Option<&Self>, bytes: u64) -> u64 {
        files.map_or(bytes, |files| {
            bytes.saturating_sub(files.bytes).saturating_add(files.tokens.saturating_mul(4))
        })
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl ModelIntent {
    /// What an imported intent's encoder begins with.
    pub const IMPORTED: &str = "import:";

    /// The size of the request's body as far as tokens are counted by it.
    pub fn weight(&self) -> u64 {
        FilesSent::weight(self.files.as_ref(), self.bytes)
    }

    /// Another program made this request.
    pub fn is_imported(&self) -> bool {
        self.encoder.starts_with(Self::IMPORTED)
    }
}

/// Consecutive records of one log. `session` is `None` for the log that holds the span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    pub from: Seq,
    /// Inclusive.
    pub to: Seq,
}

/// A tool call that policy allowed and that is about to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolIntent {
    pub call_id: String,
    pub name: String,
    /// Hash of the tool's name and arguments.
    pub input: Digest,
    /// The level that confines it: `none`, `landlock` or `bubblewrap`.
    pub sandbox: String,
}

/// What an effect gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectResult {
    Model(ModelOutcome),
    /// The last attempt failed, and no other follows.
    ModelFailed(ProviderFailure),
    Tool(ToolOutcome),
    /// What a call of kind `compact` gave.
    Summary(Summary),
    /// What a call of kind `judge` gave.
    Judged(Judgement),
}

/// A model's whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelOutcome {
    pub parts: Vec<Part>,
    pub stop: ModelStop,
    /// The class of each tool call among the parts, in their order, as the registry judged it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<EffectClass>,
    pub billed: Billed,
    /// The text so far of a call that was cancelled: kept, and in no result.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    pub duration_ms: u64,
    /// What a final answer says about the turn's output schema. `None`: there is none, or the answer is not final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
}

/// A final answer held against the turn's output schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checked {
    /// It fits.
    Value(serde_json::Value),
    /// It does not: why, for the model.
    Errors(Vec<String>),
}

/// Why the model stopped writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelStop {
    EndTurn,
    ToolCalls,
    MaxOutput,
    /// The provider's filter, or the model itself, refused.
    Refused,
    /// We stopped it.
    Cancelled,
}

impl ModelStop {
    pub fn word(self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::ToolCalls => "tool_calls",
            Self::MaxOutput => "max_output",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The classes of provider errors. One table (`sterna_llm::ladder`) says what each leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    RateLimit,
    Overloaded,
    Timeout,
    Network,
    Server,
    Auth,
    Quota,
    InvalidRequest,
    ContextOverflow,
    ContentFilter,
    ModelGone,
    StreamCut,
    /// Our own process was killed while the call was in flight.
    Interrupted,
    /// The route's circuit breaker is open: nothing was sent.
    BreakerOpen,
}

impl ErrorClass {
    pub fn word(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::Server => "server",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::InvalidRequest => "invalid_request",
            Self::ContextOverflow => "context_overflow",
            Self::ContentFilter => "content_filter",
            Self::ModelGone => "model_gone",
            Self::StreamCut => "stream_cut",
            Self::Interrupted => "interrupted",
            Self::BreakerOpen => "breaker_open",
        }
    }
}

/// A failed model call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProviderFailure {
    pub class: ErrorClass,
    /// HTTP status, if there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// For people; a provider's own words are cut to 4,000 characters.
    pub message: String,
    /// What the provider asked us to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What was used up before it failed.
    #[serde(default)]
    pub billed: Billed,
}
