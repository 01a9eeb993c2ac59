//! What the shim is asked to do, and how it ended: the words of a spool. No file is touched here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sterna_model::{Digest, EffectKey, Millis};

use crate::sandbox::{Confinement, Denied};
use crate::{GRACE, Limits};

/// A command and everything that the shim needs to run it. Written to the spool, mode 0600.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub run: Run,
    /// Absolute.
    pub cwd: PathBuf,
    /// The child's whole environment, except that `BASH_ENV` and `ENV` are never passed.
    pub env: BTreeMap<String, String>,
    /// `None`: the null device.
    pub input: Option<Input>,
    pub limits: Limits,
    /// `None`: with all rights of the shim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confine: Option<Confinement>,
    /// `None`: as long as it takes. The shim keeps it, also without a runtime.
    pub time_limit_ms: Option<Millis>,
    /// Between SIGTERM and SIGKILL.
    pub grace_ms: Millis,
    /// Bytes of output that the spool takes.
    pub output_cap: u64,
    pub at_cap: AtCap,
    pub leftovers: Leftovers,
    /// Everything is killed when the runtime that started it is gone.
    pub bound: bool,
    /// A background job: its spool stays when its start is in the log, for whoever reads or ends it later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub job: bool,
    /// The command gets a terminal of this size as input, output and errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Screen>,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screen {
    pub cols: u16,
    pub rows: u16,
}

impl Plan {
    /// A plan with the usual grace and cap, no input, no limits, and what is left behind left alone.
    pub fn new(run: Run, cwd: impl Into<PathBuf>, env: BTreeMap<String, String>) -> Self {
        Self {
            run,
            cwd: cwd.into(),
            env,
            input: None,
            limits: Limits::default(),
            confine: None,
            time_limit_ms: None,
            grace_ms: millis(GRACE),
            output_cap: DEFAULT_OUTPUT_CAP,
            at_cap: AtCap::End,
            leftovers: Leftovers::Leave,
            bound: false,
            job: false,
            terminal: None,
        }
    }

    /// One line for people.
    pub fn command(&self) -> String {
        match &self.run {
            Run::Shell { line } => line.clone(),
            Run::Argv { program, args } => {
                let words = std::iter::once(program).chain(args).map(String::as_str);
                words.collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// What no program can be given.
    pub(crate) fn holds_nul(&self) -> bool {
        let in_run = match &self.run {
            Run::Shell { line } => line.contains('\0'),
            Run::Argv { program, args } => {
                program.contains('\0') || args.iter().any(|arg| arg.contains('\0'))
            }
        };
        in_run || self.env.iter().any(|(name, value)| name.contains('\0') || value.contains('\0'))
    }
}

/// The most that a spool keeps unless its plan says otherwise: enough for a long build, small beside a disk.
pub const DEFAULT_OUTPUT_CAP: u64 = 1 << 30;

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// Given to `bash -c`, or to `sh -c` where there is no bash.
    Shell { line: String },
    /// A program, by path or by name on the plan's PATH, and its arguments.
    Argv { program: String, args: Vec<String> },
}

/// The command's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Written first.
    pub text: String,
    /// More may come through the control socket, until it is closed there.
    pub open: bool,
}

/// When the output reaches its cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtCap {
    /// The command is ended: its disk is also ours.
    End,
    /// The command goes on, and what comes after the cap is counted and lost.
    Drop,
}

/// What happens to descendants that are alive when the command has ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leftovers {
    /// They go on without an output, as after a shell.
    Leave,
    End,
}

/// How a command ended: the file `exited`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub how: How,
    pub cause: Cause,
    pub started_at: Millis,
    pub ended_at: Millis,
    /// By a clock that nobody sets.
    pub duration_ms: Millis,
    /// What the output file holds.
    pub bytes: u64,
    /// Output that was lost at the cap, or to a full disk.
    pub dropped: u64,
    /// Of the output file.
    pub hash: Digest,
    /// Descendants that were alive when the shim ended.
    pub left_behind: u32,
    /// What the sandbox refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<Denied>,
}

impl Exit {
    /// The code or the signal, where there is one.
    pub fn code_and_signal(&self) -> (Option<i32>, Option<i32>) {
        match self.how {
            How::Code(code) => (Some(code), None),
            How::Signal(signal) => (None, Some(signal)),
            How::NotStarted(_) | How::Unknown => (None, None),
        }
    }

    /// For people and models.
    pub fn told(&self) -> String {
        let how = match &self.how {
            How::Code(code) => format!("exited with code {code}"),
            How::Signal(signal) => format!("ended by signal {signal}"),
            How::NotStarted(why) => return format!("could not be started: {why}"),
            How::Unknown => "ended, and nobody could say how".into(),
        };
        let why = match self.cause {
            Cause::Itself => return how,
            Cause::TimeLimit => "its time was over",
            Cause::OutputCap => "its output was too large",
            Cause::Killed => "killed",
            Cause::Unbound => "what started it was gone",
            Cause::Shutdown => "the machine was shut down",
        };
        format!("{how} ({why})")
    }
}

/// The main process's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    Code(i32),
    Signal(i32),
    /// It could not be started: nothing ran.
    NotStarted(String),
    /// Not even SIGKILL has ended it, or nobody could say how it ended.
    Unknown,
}

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    Itself,
    TimeLimit,
    OutputCap,
    /// Through the control socket.
    Killed,
    /// The runtime of a bound command is gone.
    Unbound,
    /// The shim was told to end, for example by a shutdown of the machine.
    Shutdown,
}

/// The file `plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanFile {
    pub key: EffectKey,
    pub attempt: u32,
    pub created_at: Millis,
    pub plan: Plan,
}

pub(crate) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Wall-clock time, for people and for ages.
pub(crate) fn now() -> Millis {
    millis(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default())
}
