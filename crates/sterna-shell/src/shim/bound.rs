//! A server that lives as long as whoever started it: it speaks through pipes, and has no spool.
//!
//! The process between the two relays the server's input and nothing else; output and errors are the server's own
//! descriptors. It is also what stands outside of the server's sandbox, if it has one. The end of its input is the end of the server: first its input is closed, then it is asked to end, then
//! it and all that it started are killed. So `kill -9` of the runtime leaves nothing behind.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep_until};

use super::client::Helper;
use super::host::name_process;
use super::kin::Kin;
use super::supervise::{Ending, Signals, at};
use crate::Limits;
use crate::sandbox::{Confinement, Words, launch};
use crate::spawn::{Own, prepare, surround};

/// A server program to be started with pipes for its input, output and errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// A path, or a name on the PATH of `env`.
    pub program: String,
    pub args: Vec<String>,
    /// Absolute.
    pub cwd: PathBuf,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// `None`: with all rights of this process. Needs a helper.
    pub confine: Option<Confinement>,
}

impl Helper {
    /// Starts a server that ends with the child's standard input, at the latest with this process.
    pub fn start_bound(&self, server: &Server) -> io::Result<Child> {
        let confine = serde_json::to_string(&server.confine).map_err(io::Error::other)?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).args([WORD, &confine, &server.program]).args(&server.args).arg0("sterna");
        start(command, server)
    }
}

/// Starts a server without a helper: what it started itself may outlive a killed runtime.
pub fn start_unbound(server: &Server) -> io::Result<Child> {
    if server.confine.is_some() {
        return Err(io::Error::other("nothing here can confine it"));
    }
    let mut command = Command::new(&server.program);
    command.args(&server.args).kill_on_drop(true);
    start(command, server)
}

fn start(mut command: Command, server: &Server) -> io::Result<Child> {
    if !is_folder(&server.cwd) {
        let what = format!("{} is not a folder", server.cwd.display());
        return Err(io::Error::new(io::ErrorKind::NotADirectory, what));
    }
    surround(&mut command, &server.cwd, &server.env);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn()
}

fn is_folder(dir: &Path) -> bool {
    std::fs::metadata(dir).is_ok_and(|meta| meta.is_dir())
}

/// Becomes the process between runtime and server, if the arguments say so. The server's exit code, else 1.
/// `prefix` as for the helper.
pub(super) fn bound_main(prefix: &[OsString], args: &[OsString]) -> Option<u8> {
    let [word, confine, program, rest @ ..] = args else { return None };
    if word != WORD {
        return None;
    }
    let Some(Ok(confine)) = confine.to_str().map(serde_json::from_str::<Option<Confinement>>) else {
        return Some(not_started(program, "its confinement cannot be read"));
    };
    name_process();
    // Fails only for the leader of a group, which is then as far from the runtime's terminal as we can be.
    let _ = rustix::process::setsid();
    // Without it, descendants that leave are not found; the rest works.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let words = Words { program: program.clone(), arg0: None, args: rest.to_vec() };
    let helper = Helper::this_program(prefix);
    let run = |runtime: tokio::runtime::Runtime| runtime.block_on(serve(words, confine.as_ref(), &helper));
    Some(runtime.and_then(run).unwrap_or_else(|error| not_started(program, error)))
}

/// The runtime shows a server's last words.
fn not_started(program: &OsString, why: impl std::fmt::Display) -> u8 {
    let text = format!("{}{NOT_STARTED}{why}\n", program.display());
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
    CODE_NOT_STARTED
}

async fn serve(words: Words, confine: Option<&Confinement>, helper: &Helper) -> io::Result<u8> {
    let runtime = rustix::process::getppid();
    let input = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut signals = Signals::new()?;
    let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let (env, cwd) = (env.collect(), std::env::current_dir()?);
    let confinement = confine.map(|confinement| (confinement, helper));
    let mut launch = launch(words, &cwd, &env, Limits::default(), confinement).map_err(io::Error::other)?;
    // The rest of it lives as long as the server.
    let mut command = std::mem::replace(&mut launch.command, Command::new(""));
    command.stdin(Stdio::piped()).kill_on_drop(true);
    prepare(&mut command, launch.limits, Own::Group, std::mem::take(&mut launch.inherit));
    let mut child = command.spawn()?;
    drop(command);
    // Nobody but the server is to hold its output open.
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    let _ = rustix::stdio::dup2_stdout(&null);
    let kin = Kin::new(child.id(), launch.watched);
    let stdin = child.stdin.take();
    let relayed = relay(input, stdin, runtime);
    tokio::pin!(relayed);
    let mut status = None;
    let mut ending: Option<Ending> = None;
    let mut polite_until: Option<Instant> = None;
    let mut tied = true;
    loop {
        let over = match &mut ending {
            Some(ending) => ending.go_on(&kin, status.is_some()),
            None => false,
        };
        if over {
            break;
        }
        let tick = ending.as_ref().map(Ending::look_at).or(polite_until);
        tokio::select! {
            biased;
            ended = child.wait(), if status.is_none() => {
                status = Some(ended);
                // What it leaves behind served it.
                ending.get_or_insert_with(|| Ending::begin(&kin, GRACE));
            }
            () = signals.ends.told() => {
                ending.get_or_insert_with(|| Ending::begin(&kin, GRACE));
            }
            () = &mut relayed, if tied => {
                tied = false;
                polite_until = Some(Instant::now() + POLITE);
            }
            _ = signals.child.recv() => kin.reap(),
            () = at(tick) => {
                if polite_until.is_some_and(|until| Instant::now() >= until) {
                    polite_until = None;
                    ending.get_or_insert_with(|| Ending::begin(&kin, GRACE));
                }
            }
        }
    }
    let code = status.and_then(Result::ok).and_then(|status| status.code());
    if let Some(why) = launch.take_status().and_then(|status| status.failure(code)) {
        return Err(io::Error::other(why));
    }
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Copies our input to the server's until ours ends, or the runtime does. Then the server's is closed.
async fn relay(mut input: pipe::Receiver, stdin: Option<ChildStdin>, runtime: Option<Pid>) {
    let mut buffer = vec![0; CHUNK_BYTES];
    let Some(mut stdin) = stdin else { return };
    while let Ok(read @ 1..) = input.read(&mut buffer).await {
        let mut writing = std::pin::pin!(stdin.write_all(&buffer[..read]));
        loop {
            tokio::select! {
                written = &mut writing => match written {
                    Ok(()) => break,
                    // It reads no more; it may still write. Only the end of ours ends it.
                    Err(_) => return drain(input).await,
                },
                // A server that does not read must not hide that the runtime is gone.
                () = sleep_until(Instant::now() + LOOK) => {
                    if rustix::process::getppid() != runtime {
                        return;
                    }
                }
            }
        }
    }
}

async fn drain(mut input: pipe::Receiver) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while matches!(input.read(&mut buffer).await, Ok(1..)) {}
}

const WORD: &str = "bound";
/// Between a program and why it was not started.
pub(crate) const NOT_STARTED: &str = " could not be started: ";
/// What shells say of a program that is not there.
const CODE_NOT_STARTED: u8 = 127;
const CHUNK_BYTES: usize = 64 << 10;
/// From the end of its input to SIGTERM.
const POLITE: Duration = Duration::from_secs(2);
/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(500);
