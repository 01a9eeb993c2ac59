//! Runs one command line of the user's shell: in a session of its own, with limits, captured output and a clean end.
//!
//! Ring 2. This crate must never know policy, a model, a session's log or where an environment value came from: it
//! is given an allow-list of variables and passes exactly that.
//!
//! Two ways: [`run()`] starts the command as a child of this process, which dies with it; [`shim`] puts a small process of
//! its own between, which outlives us and keeps the result.
//!
//! What [`run()`] cannot do: a descendant that called `setsid` and whose parents are all gone before the end begins
//! cannot be told from an unrelated process, and outlives a timeout. Only the direct child is sure to die with Sterna
//! itself. The shim has neither limit.

mod capture;
mod env;
mod group;
mod process;
mod run;
pub mod sandbox;
pub mod shim;
mod spawn;
mod split;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sterna_log::{LogError, SharedBlobs};
use sterna_tool::Cancel;

pub use capture::{Captured, HEAD_BYTES, MEMORY_BYTES, TAIL_BYTES, lossy_head, lossy_tail};
pub use env::allow_list;
pub use run::run;
pub use split::{Split, run_split};

/// How long a command may run when nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
/// The longest a command may run.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(600);
/// Between SIGTERM and SIGKILL.
pub const GRACE: Duration = Duration::from_secs(2);
/// How long output is still read after the command has ended and something else holds its pipe.
pub const DRAIN: Duration = Duration::from_millis(200);

/// A command line and how it is to run.
#[derive(Clone)]
pub struct Command {
    /// Given to `bash -c`, or to `sh -c` where there is no bash.
    pub line: String,
    pub cwd: PathBuf,
    /// The child's whole environment, except that `BASH_ENV` and `ENV` are never passed.
    pub env: BTreeMap<String, String>,
    /// `None`: the null device.
    pub stdin: Option<String>,
    /// Cut to `MAX_TIMEOUT`.
    pub timeout: Duration,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    pub limits: Limits,
    /// `None`: with all rights of this process.
    pub confine: Option<Confined>,
    pub cancel: Cancel,
    /// Keeps output that is larger than `MEMORY_BYTES`.
    pub blobs: SharedBlobs,
    /// The last lines of the output so far, at most four times a second.
    pub progress: Arc<dyn Fn(String) + Send + Sync>,
}

impl Command {
    /// A command with the usual times, no input, no limits and nobody watching.
    pub fn new(
        line: impl Into<String>,
        cwd: impl Into<PathBuf>,
        env: BTreeMap<String, String>,
        blobs: SharedBlobs,
    ) -> Self {
        Self {
            line: line.into(),
            cwd: cwd.into(),
            env,
            stdin: None,
            timeout: DEFAULT_TIMEOUT,
            grace: GRACE,
            limits: Limits::default(),
            confine: None,
            cancel: Cancel::new(),
            blobs,
            progress: Arc::new(|_| {}),
        }
    }
}

/// A confinement, and the program that carries it out: the one that becomes the shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confined {
    pub confinement: sandbox::Confinement,
    pub helper: shim::Helper,
}

/// Resource limits of each process of the command. `None` keeps ours. Core dumps are always off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub cpu_seconds: Option<u64>,
    /// Size of a file that is written.
    pub file_bytes: Option<u64>,
    pub address_space_bytes: Option<u64>,
    /// Counted over all processes of the user, as the system does; those of the command alone where the sandbox gives
    /// it users of its own (`bubblewrap`).
    pub processes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// `None` when a signal ended it.
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub duration_ms: u64,
    pub timed_out: bool,
    pub cancelled: bool,
    /// Something that the command started still holds its output; what it writes from now on is lost.
    pub left_behind: bool,
    pub output: Captured,
    /// What the sandbox refused.
    pub denied: Vec<sandbox::Denied>,
}

impl Ended {
    /// It ended by itself, with code 0.
    pub fn succeeded(&self) -> bool {
        self.exit_code == Some(0) && !self.timed_out && !self.cancelled
    }
}

/// Why there is no end to tell of.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    #[error("the command holds a NUL byte, which no shell can be given")]
    Nul,
    #[error("neither bash nor sh is on PATH")]
    NoShell,
    #[error("cannot run in {}: {source}", cwd.display())]
    Cwd { cwd: PathBuf, source: io::Error },
    #[error("the command could not be started: {0}")]
    Start(#[source] io::Error),
    #[error("the command was not started: {0}")]
    Sandbox(String),
    #[error("the command was started, and then lost: {0}")]
    Lost(#[source] io::Error),
    #[error("the command ran (exit code {exit_code:?}), but its output could not be kept: {source}")]
    Output { exit_code: Option<i32>, source: LogError },
    #[error(transparent)]
    Shim(#[from] shim::ShimError),
}
