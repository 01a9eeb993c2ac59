//! Sterna in a product: a durable agent runtime with every seam replaceable and nothing mandatory.
//!
//! ```no_run
//! # async fn hello() -> Result<(), sterna::Error> {
//! use sterna::Sterna;
//!
//! let sterna = Sterna::builder().model("anthropic/claude-sonnet-4-5").build().await?;
//! let reply = sterna.session("demo").turn("Fix the failing test").await?;
//! println!("{}", reply.message());
//! # Ok(())
//! # }
//! ```
//!
//! Ring 4. This crate translates: it must never decide what a turn does, and it has no behaviour of its own beyond
//! finding stores, models and configuration.

mod attach;
mod automations;
mod builder;
mod checkpoints;
mod claims;
mod collect;
pub mod config;
mod deferral;
mod env;
mod error;
mod guests;
mod hooks;
pub mod instructions;
#[cfg(feature = "mcp")]
mod live;
mod local;
mod look;
#[cfg(feature = "mcp")]
pub mod mcp;
mod memory;
pub mod places;
mod policy;
mod repository;
mod router;
mod sandbox;
mod secrets;
mod session;
pub mod skills;
mod tool_fn;
pub mod trust;
pub mod watch;
mod what_if;
mod worktrees;

pub use builder::{Builder, Sterna, Store};
pub use checkpoints::LocalCheckpoints;
pub use claims::{Claim, Claims, who_waits};
pub use collect::{Collected, collect};
pub use env::SystemEnv;
pub use error::Error;
pub use hooks::HookSettings;
pub use local::LocalModel;
pub use look::look;
pub use memory::memory_of;
pub use policy::{Explained, PolicyOf, PolicyView};
pub use repository::{git_contacts, git_outside, git_suspect};
pub use router::Router;
pub use secrets::secrets_of;
pub use session::{Reply, Session, Turn, TurnStream};
pub use sterna_shell::shim::Helper;
pub use sterna_tools::AgentType;
pub use sterna_tools::attach::AttachError;
pub use tool_fn::{FnTool, tool_fn, tool_fn_of};
pub use what_if::{FileDiff, WhatIfFiles, WhatIfPlaces, WhatIfReport, what_if_inside};
pub use worktrees::GitWorktrees;

/// Call it first in `main`, before any thread: commands of the `shell` tool then run in small processes of this same
/// program that outlive it, and a session that is resumed after a crash gets their true end. Does not return in such
/// a process.
pub fn init() {
    sterna_shell::shim::init();
    INITIALISED.store(true, std::sync::atomic::Ordering::Release);
}

pub(crate) fn is_initialised() -> bool {
    INITIALISED.load(std::sync::atomic::Ordering::Acquire)
}

static INITIALISED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// What most hosts need, in one line.
pub mod prelude {
    pub use crate::{Error, Reply, Session, Sterna, Store, tool_fn};
    pub use sterna_llm::scripted::Scripted;
    pub use sterna_model::{Event, EventKind, Limits, Mode, OnAsk, Route, StopReason};
}

pub use sterna_automation as automation;
pub use sterna_llm as llm;
pub use sterna_log as log;
pub use sterna_model as model;
pub use sterna_runtime as runtime;
pub use sterna_tool as tool;
