//! The shim's process, from its start to the claim; then it watches the command.
//!
//! Its standard output is the runtime's ear until the claim is decided: a greeting, then one word. After that it has
//! no tie to the runtime but, in bound mode, its standard input.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use tokio::net::UnixListener;
use tokio::net::unix::pipe;

use super::bound::bound_main;
use super::client::Helper;
use super::control::listen;
use super::plan::{PlanFile, now};
use super::spool::{Claim, Spool, SpoolError, Started, Won};
use super::supervise::{Signals, Supervisor};
use crate::sandbox::helper_main;

/// The first argument by which [`init`] knows that this process is to be a shim.
pub const MARKER: &str = "__sterna-shim";

/// Becomes the shim and does not return, if this process was started as one. Call it first in `main`: before threads,
/// before arguments are read.
pub fn init() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|arg| arg == MARKER) {
        let code = run(args, &|_| ());
        std::process::exit(i32::from(code));
    }
}

/// The shim's `main`: its one argument is the spool's folder. Needs a process of its own, with one thread.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(run(args, &|_| ()))
}

/// Says why this program will not be the shim, to a runtime that takes it for one.
pub fn refuse(why: &str) -> ExitCode {
    tell(GREETING);
    tell_failure(&why);
    ExitCode::FAILURE
}

/// As [`main`], and tells each step: tests kill it there.
#[doc(hidden)]
pub fn main_observed(args: impl IntoIterator<Item = OsString>, observe: &dyn Fn(Step)) -> ExitCode {
    ExitCode::from(run(args, observe))
}

/// What the shim has just done.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Greeted,
    Locked,
    Listening,
    /// The claim stands, and may not be durable yet.
    Linked,
    Claimed,
    Spawned,
    Output,
    /// The command has ended.
    Ended,
    /// All output is in its file.
    OutputKept,
    /// The end is written, and has no name yet.
    ExitWritten,
    ExitPublished,
    ExitDurable,
}

fn run(args: impl IntoIterator<Item = OsString>, observe: &dyn Fn(Step)) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    // What our own program needs before its own words, to be started once more.
    let all: Vec<OsString> = std::env::args_os().skip(1).collect();
    let prefix = &all[..all.len().saturating_sub(args.len())];
    if let Some(code) = helper_main(prefix, &args).or_else(|| bound_main(prefix, &args)) {
        return code;
    }
    let [dir] = args.as_slice() else {
        tell_failure(&"the shim takes one folder");
        return 2;
    };
    match become_shim(&Spool::at(dir), &Helper::this_program(prefix), observe) {
        Ok(()) => 0,
        Err(error) => {
            // Nobody may be listening any more.
            tell_failure(&error);
            1
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum HostError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("another shim has this spool")]
    Busy,
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] io::Error),
}

fn become_shim(spool: &Spool, helper: &Helper, observe: &dyn Fn(Step)) -> Result<(), HostError> {
    name_process();
    // Fails only for the leader of a group, which is then as far from the runtime's terminal as we can be.
    let _ = rustix::process::setsid();
    // Without it, descendants that leave are not found; the rest works.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    tell(GREETING);
    observe(Step::Greeted);

    let file = spool.plan()?;
    let _lock = spool.hold()?.ok_or(HostError::Busy)?;
    observe(Step::Locked);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| HostError::System("start", error))?;
    let over = runtime.block_on(async {
        let prepared = prepare(spool, &file)?;
        observe(Step::Listening);
        match spool.claim(&Claim::Started(started()), || observe(Step::Linked))? {
            Won::Me => {}
            Won::Other => {
                tell(REVOKED);
                return Ok(Over::Revoked);
            }
        }
        observe(Step::Claimed);
        tell(CLAIMED);
        hang_up();
        let Prepared { listener, output, signals, tie } = prepared;
        let mut supervisor = Supervisor::new(file.plan, output, helper.clone(), observe);
        let exit = supervisor.run(listener, signals, tie).await;
        spool.publish_exit(&exit, || observe(Step::ExitWritten))?;
        observe(Step::ExitPublished);
        Ok::<_, HostError>(Over::Exited)
    })?;
    // With it go the connections of those who wait: they look now, and write the outcome to their log while the disk
    // takes the end here.
    drop(runtime);
    if over == Over::Exited {
        spool.sync_exit();
        observe(Step::ExitDurable);
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Over {
    Exited,
    Revoked,
}

/// All that can fail is done before the claim: after it, the command runs.
struct Prepared {
    listener: UnixListener,
    output: std::fs::File,
    signals: Signals,
    /// In bound mode, the pipe that the runtime holds.
    tie: Option<pipe::Receiver>,
}

fn prepare(spool: &Spool, file: &PlanFile) -> Result<Prepared, HostError> {
    let tie = if file.plan.bound {
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        let tie = stdin.and_then(pipe::Receiver::from_owned_fd);
        Some(tie.map_err(|error| HostError::System("listen to the runtime", error))?)
    } else {
        None
    };
    spool.reserve_exit()?;
    Ok(Prepared {
        listener: listen(spool).map_err(|error| HostError::System("open the control socket", error))?,
        output: spool.create_output()?,
        signals: Signals::new().map_err(|error| HostError::System("take signals", error))?,
        tie,
    })
}

fn started() -> Started {
    Started { at: now(), pid: rustix::process::getpid().as_raw_pid(), boot: boot_id() }
}

/// Names this run of the machine. Empty where the system does not say.
pub(crate) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}

/// What lists of processes show: we may have been started by a descriptor.
pub(super) fn name_process() {
    let _ = rustix::thread::set_name(c"sterna-shim");
}

/// Says a line to the runtime, if it still listens.
fn tell(line: &str) {
    let mut stdout = io::stdout().lock();
    drop(stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()));
}

fn tell_failure(why: &dyn std::fmt::Display) {
    tell(&format!("{FAILED} {}\n", why.to_string().replace('\n', " ")));
}

/// Lets the runtime see the end of what we say.
fn hang_up() {
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// The first line of a shim, so that another program in its place is found out.
pub(crate) const GREETING: &str = "sterna-shim 1\n";
pub(crate) const CLAIMED: &str = "claimed\n";
pub(crate) const REVOKED: &str = "revoked\n";
pub(crate) const FAILED: &str = "failed";
