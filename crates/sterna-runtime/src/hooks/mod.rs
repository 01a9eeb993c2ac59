//! Hooks: what a person or a host wants to be asked, or told, while a session runs.
//!
//! A hook is an effect of class `idempotent`: what the hooks of an event came to is in the log before anyone acts on it,
//! and what is in the log is never run again ([ADR 17](../../../docs/adr/0017-hooks-are-effects.md)).

mod answer;
mod ask;
mod file;
mod fold;
mod happened;
mod matcher;
mod outside;
mod set;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::Value;
use sterna_model::{Bounds, EffectKey, HookAsked, HookEvent, HookReport, HookSays, SandboxWish, SessionId};

pub use answer::{HookAnswer, HookOutput, Written, read_command};
pub use ask::HookModel;
pub(crate) use ask::{Asked, Asking, FIRST, Occurrence};
pub use file::{Dialect, HookFileError, HookRun, HookSpec, read_hooks};
pub(crate) use fold::{Failure, HookFold};
pub(crate) use happened::{Arrived, Elicited, SHORT, server_of, short_of_path, short_of_version};
pub use matcher::{BadMatcher, Matcher};
pub use set::{HookSet, Listening, Servers};

/// Something that wants to be asked, or told. One value serves all sessions of a process.
pub trait Hook: Send + Sync {
    /// The name in records and events.
    fn name(&self) -> &str;

    /// Answers one occurrence of an event. It may be asked again about the same one, under the same key, when a crash
    /// took its answer. Dropping the future must leave nothing running.
    fn on<'a>(&'a self, call: &'a HookCall) -> BoxFuture<'a, HookAnswer>;
}

/// One occurrence of an event.
#[derive(Debug, Clone)]
pub struct HookCall {
    pub event: HookEvent,
    /// The same occurrence has the same key, whoever drives its turn.
    pub key: String,
    /// What matchers are held against: a tool's name, a mode, a stop.
    pub subject: String,
    /// The object that command hooks read from stdin.
    pub input: Value,
    pub cwd: PathBuf,
    pub session: SessionId,
    /// The workspace and the extra folders.
    pub roots: Vec<PathBuf>,
    /// How the turn's commands are to be confined.
    pub sandbox: SandboxWish,
    /// What rules say of confined commands.
    pub bounds: Bounds,
    /// The environment of children: an allow-list, without any key.
    pub env: Arc<BTreeMap<String, String>>,
    /// For hooks that ask a model. `None`: outside of turns, nobody pays for it.
    pub model: Option<HookModel>,
}

/// What the hooks of an occurrence came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HookAnswered {
    /// Without a rewrite: whether new input fits is for the driver to say.
    pub says: HookSays,
    pub updated_input: Option<Value>,
    pub hooks: Vec<HookReport>,
    /// Model calls of them.
    pub asked: Vec<HookAsked>,
    /// What is reserved for those.
    pub held: Vec<(EffectKey, u32)>,
}

/// All hooks of a process: the seam between the driver and whoever runs them.
pub trait Hooks: Send + Sync {
    /// Whether anybody wants to know. Asked often, and must cost nothing.
    fn listens(&self, event: HookEvent, subject: &str, key: &str) -> bool;

    /// Whether anybody wants to know of any such occurrence. What has to be looked up for it is looked up only then.
    fn hears(&self, _event: HookEvent) -> bool {
        true
    }

    /// In which states the MCP servers of the host are now.
    fn servers(&self) -> Vec<ServerState> {
        Vec::new()
    }

    /// Runs all that listen.
    fn run(&self, call: HookCall) -> BoxFuture<'static, HookAnswered>;
}

/// The state of an MCP server, for hooks that watch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    pub server: String,
    /// `connected`, `disconnected` or `failed`.
    pub state: &'static str,
    /// The version of the protocol, or what went wrong.
    pub detail: String,
}

/// Shared hooks.
pub type SharedHooks = Arc<dyn Hooks>;
