//! The runtime's side: starts shims, and finds after a crash what became of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sterna_model::{EffectKey, Millis};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::control::Control;
use super::handle::Handle;
use super::host::{CLAIMED, FAILED, GREETING, MARKER, REVOKED, boot_id};
use super::plan::{Exit, Plan, PlanFile, now};
use super::spool::{self, Spool, SpoolError, Started, State, Won};
use crate::GRACE;
use crate::process::processes;

/// The program that becomes the shim, and what its arguments begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

impl Helper {
    pub fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { program: program.into(), args: args.into_iter().map(Into::into).collect() }
    }

    /// This very program, also after its file was replaced. Its `main` must know the arguments.
    pub fn this_program(args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self::new("/proc/self/exe", args)
    }

    /// This very program, whose `main` calls [`init`](super::init) first.
    pub fn this_host() -> Self {
        Self::this_program([MARKER])
    }
}

/// All spools of a root, and the helper that runs them. One for a runtime; a clone is cheap.
#[derive(Debug, Clone)]
pub struct Shims {
    root: PathBuf,
    helper: Option<Helper>,
}

/// What recovery finds.
#[derive(Debug)]
pub enum Found {
    /// It runs. The handle reads from the first byte.
    Running(Handle),
    /// It has ended; the handle gives its output, and the end once more.
    Exited(Exit, Handle),
    /// It never ran, and never will under this attempt.
    Revoked,
    /// It was started and its end is not known. The handle gives the output so far, then [`End::Lost`](super::End::Lost).
    InDoubt(Option<Started>, Handle),
}

/// What a shim cannot do for us.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    #[error("there is no effect shim: {why}; call init() first in main, or name a helper program")]
    NoShim { why: String },
    #[error("the command was not started: {0}")]
    NotStarted(String),
    #[error("the command was revoked before it started")]
    Revoked,
    #[error("the command has ended")]
    Ended,
    #[error("the spool was removed while it was read")]
    Removed,
    #[error("the shim refused: {0}")]
    Refused(String),
    #[error("the command still runs")]
    StillRuns,
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl Shims {
    /// `root` must be on a disk that keeps its files over a restart: what is not found there counts as never run, unless
    /// [`may_be_lost`](Self::may_be_lost) says otherwise.
    pub fn new(root: impl Into<PathBuf>, helper: Option<Helper>) -> Self {
        Self { root: root.into(), helper }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the root, if it is not there, and notes when. To be done before an intent is written whose command is
    /// started here: else its spool counts as lost for as long as there is none.
    pub fn prepare(&self) -> Result<(), ShimError> {
        Ok(spool::make_root(&self.root, now())?)
    }

    /// Whether a spool may have been here and be gone with its root: there is none of this attempt, and the root is
    /// younger than the attempt's intent.
    pub fn may_be_lost(&self, key: &EffectKey, attempt: u32, intended_at: Millis) -> bool {
        let spool = Spool::of(&self.root, key, attempt);
        !spool.dir().exists() && spool::root_since(&self.root).is_none_or(|since| since > intended_at)
    }

    /// Whether commands can be started at all.
    pub fn has_helper(&self) -> bool {
        self.helper.is_some()
    }

    /// Starts a command. On return its claim is durable, and it runs on whatever happens to this process. A dropped
    /// future revokes or kills it. Needs a tokio runtime with time and I/O enabled.
    ///
    /// `NoShim`, `NotStarted` and `Revoked` mean that it never ran; after a `Spool` error, `attach` tells.
    pub async fn start(&self, key: &EffectKey, attempt: u32, plan: &Plan) -> Result<Handle, ShimError> {
        let Some(helper) = &self.helper else {
            return Err(ShimError::NoShim { why: "no helper was named".into() });
        };
        if plan.holds_nul() {
            return Err(ShimError::NotStarted("it holds a NUL byte".into()));
        }
        let spool = Spool::of(&self.root, key, attempt);
        let file = PlanFile { key: key.clone(), attempt, created_at: now(), plan: plan.clone() };
        spool.create(&file)?;
        let started = {
            let mut guard = StartGuard { spool: &spool, armed: true };
            let started = launch(helper, &spool, plan.bound).await;
            guard.armed = false;
            started
        };
        let (mut child, answer) = match started {
            Ok(started) => started,
            Err(error) => {
                spool.discard()?;
                return Err(ShimError::NoShim { why: format!("{}: {error}", helper.program.display()) });
            }
        };
        let tie = child.stdin.take();
        if answer != Answer::Claimed && spool.revoke()? == Won::Me {
            // It may hang rather than be gone. It cannot run the command any more.
            drop(child.start_kill());
            spool.discard()?;
            return Err(answer.error(helper));
        }
        match (answer, spool.state()?) {
            // Somebody else ruled that it must not run, and will remove the spool.
            (_, State::Revoked | State::Open) => Err(ShimError::Revoked),
            // It was claimed after all, and what we heard of it does not matter.
            (_, State::Running(_) | State::Exited(_) | State::Dead(_)) => {
                Ok(Handle::open(spool, Some(child), tie))
            }
        }
    }

    /// What became of a command, after a restart. Ask only for an intent without an outcome: where nothing is known,
    /// this revokes, so that "it never ran" stays true. Any number may ask at once. Needs a tokio runtime, for the
    /// handle.
    pub fn attach(&self, key: &EffectKey, attempt: u32) -> Result<Found, ShimError> {
        let spool = Spool::of(&self.root, key, attempt);
        for _ in 0..ATTACH_TRIES {
            // A start that gives up takes its folder away, perhaps between two of these.
            match spool.ensure().and_then(|()| spool.revoke()) {
                Err(error) if error.is_absence() => continue,
                other => other?,
            };
            let open = |spool| Handle::open(spool, None, None);
            return Ok(match spool.state()? {
                State::Open => continue,
                State::Revoked => Found::Revoked,
                State::Exited(exit) => Found::Exited(exit, open(spool)),
                State::Running(_) => Found::Running(open(spool)),
                State::Dead(started) => Found::InDoubt(started, open(spool)),
            });
        }
        Err(ShimError::Removed)
    }

    /// The spool's state, without a say in it.
    pub fn peek(&self, key: &EffectKey, attempt: u32) -> Result<State, ShimError> {
        Ok(Spool::of(&self.root, key, attempt).state()?)
    }

    /// Speaks to a command by its key, for example to a background job.
    pub fn control(&self, key: &EffectKey, attempt: u32) -> Control {
        Control::new(Spool::of(&self.root, key, attempt))
    }

    /// Takes a spool away, when its outcome is in the log. Nothing there is no error; a running command is one.
    pub fn remove(&self, key: &EffectKey, attempt: u32) -> Result<(), ShimError> {
        self.remove_spool(&Spool::of(&self.root, key, attempt))
    }

    /// The outcome of that effect is in the log: its spool goes, unless it is a background job, which is read later.
    pub fn settle(&self, key: &EffectKey, attempt: u32) -> Result<(), ShimError> {
        let spool = Spool::of(&self.root, key, attempt);
        let is_job = spool.plan().is_ok_and(|file| file.plan.job);
        if is_job && spool.state()? != State::Revoked {
            return Ok(());
        }
        self.remove_spool(&spool)
    }

    /// As `remove`, for a spool from [`list`](Self::list).
    pub fn remove_spool(&self, spool: &Spool) -> Result<(), ShimError> {
        match spool.state()? {
            State::Running(_) => Err(ShimError::StillRuns),
            // Its shim may come late; without the folder it cannot claim.
            State::Open | State::Revoked | State::Exited(_) | State::Dead(_) => Ok(spool.discard()?),
        }
    }

    /// Kills what a killed shim has left running, and says how many there were. The system ends the command itself
    /// with its shim; this finds what it had started, by the shim's session.
    pub fn end_strays(&self, spool: &Spool) -> Result<usize, ShimError> {
        let State::Dead(Some(started)) = spool.state()? else { return Ok(0) };
        if started.boot.is_empty() || started.boot != boot_id() {
            return Ok(0);
        }
        let all = processes().unwrap_or_default();
        // While one member lives, no other session gets the number; a living leader would be another's.
        if all.iter().any(|p| p.id == started.pid && !p.dead) {
            return Ok(0);
        }
        let strays = all.iter().filter(|p| p.session == started.pid && !p.dead);
        Ok(strays.map(|process| process.signal(rustix::process::Signal::KILL)).count())
    }
}

/// What the shim said.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Claimed,
    Revoked,
    Failed(String),
    /// It greeted us and went without a word.
    Gone,
    /// It is no shim.
    Stranger,
    Late,
}

impl Answer {
    fn error(self, helper: &Helper) -> ShimError {
        let program = helper.program.display();
        match self {
            Self::Claimed | Self::Revoked => ShimError::Revoked,
            Self::Failed(why) => ShimError::NotStarted(why),
            Self::Gone => ShimError::NotStarted("its shim ended early".into()),
            Self::Stranger => ShimError::NoShim { why: format!("{program} does not answer as one") },
            Self::Late => ShimError::NoShim {
                why: format!("{program} has not answered in {} s", ANSWER_WITHIN.as_secs()),
            },
        }
    }
}

async fn launch(helper: &Helper, spool: &Spool, bound: bool) -> std::io::Result<(Child, Answer)> {
    let mut command = Command::new(&helper.program);
    command.args(&helper.args).arg(spool.dir()).arg0("sterna");
    // Its environment can be read by the command: nothing of ours is in it.
    command.env_clear().current_dir("/");
    command.stdin(if bound { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let answer = match child.stdout.take() {
        Some(stdout) => timeout(ANSWER_WITHIN, listen(stdout)).await.unwrap_or(Answer::Late),
        None => Answer::Stranger,
    };
    Ok((child, answer))
}

async fn listen(stdout: ChildStdout) -> Answer {
    let mut stdout = BufReader::with_capacity(LINE_MAX, stdout);
    let mut line = String::new();
    if !matches!(stdout.read_line(&mut line).await, Ok(1..)) || line != GREETING {
        return Answer::Stranger;
    }
    line.clear();
    match stdout.read_line(&mut line).await {
        Ok(1..) if line == CLAIMED => Answer::Claimed,
        Ok(1..) if line == REVOKED => Answer::Revoked,
        Ok(1..) => Answer::Failed(line.strip_prefix(FAILED).unwrap_or(&line).trim().to_owned()),
        Ok(0) | Err(_) => Answer::Gone,
    }
}

/// A start that nobody waits for any more must not leave a command running that nobody knows of.
struct StartGuard<'a> {
    spool: &'a Spool,
    armed: bool,
}

impl Drop for StartGuard<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        match self.spool.revoke() {
            Ok(Won::Me) => drop(self.spool.discard()),
            // It runs, and its spool tells how it ended.
            Ok(Won::Other) | Err(_) => drop(Control::new(self.spool.clone()).kill_unheard(GRACE)),
        }
    }
}

/// A program that has not claimed by then is no shim, or the machine is in deep trouble.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const ATTACH_TRIES: usize = 5;
const LINE_MAX: usize = 4 << 10;
