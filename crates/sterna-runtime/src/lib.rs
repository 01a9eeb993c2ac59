//! The driver: sessions, the effect host, leases. It drives turn machines over a log.
//!
//! Ring 3. Whatever is not a pure decision happens here, under a stable key, with its outcome in the log before anyone
//! acts on it. This crate must never bind a listener, handle a signal, write a PID file, read a clock or a file, or
//! know which store, provider, tool or surface it works with.

mod arguments;
mod breakers;
mod budget;
mod checkpoints;
mod children;
mod context;
mod driver;
mod effects;
mod env;
mod error;
mod files;
mod folded;
mod hooks;
mod hub;
mod kept;
mod mode;
mod observe;
mod outside;
mod parts;
mod reader;
mod replay;
mod resident;
mod rewind;
mod runtime;
mod schema;
mod secrets;
mod shared;
mod signals;
mod snapshot;
mod state;
mod strangers;
mod tools;
mod waits;
mod what_if;
mod worktrees;

pub use breakers::OpenBreaker;
pub use checkpoints::{
    CheckpointFault, Checkpoints, FileChange, FilePlan, FilesRestored, Reach, SharedCheckpoints,
};
pub use context::{ContextDiff, ContextReport, ContextRow, context};
pub use effects::pipeline::{Rights, explain, plan_context};
pub use env::{Env, FileVersion};
pub use error::RuntimeError;
pub use files::{FilesError, MAX_FILES, MAX_FILES_BYTES};
pub use hooks::{
    BadMatcher, Dialect, Hook, HookAnswer, HookAnswered, HookCall, HookFileError, HookModel, HookOutput,
    HookRun, HookSet, HookSpec, Hooks, Listening, Matcher, ServerState, Servers, SharedHooks, Written,
    read_command, read_hooks,
};
pub use kept::{STORED_MS, StoredGrant};
pub use observe::Observer;
pub use parts::{LateTools, Levels, Parts, PromptSource, TurnConfig, TurnSections};
pub use replay::{Difference, PrefixBreak, Replayed, replay};
pub use rewind::{Rewind, RewindFiles, RewindPlan, RewindWhat, RewoundTo};
pub use runtime::{Accepted, Runtime, Submit};
pub use schema::check_output_schema;
pub use secrets::Secrets;
pub use state::State;
pub use sterna_context::Owned;
pub use tools::Toolbox;
pub use waits::Resolve;
pub use what_if::{
    CallSide, Cost, Divergence, Ending, Sides, StepPair, StepSide, WhatIf, WhatIfHost, WhatIfRun, refill,
    what_if,
};
pub use worktrees::{SharedWorktrees, Worktrees};
