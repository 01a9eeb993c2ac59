//! Starts the child: which shell, with which environment and limits, from which thread.

use std::collections::BTreeMap;
use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{OnceLock, mpsc};

use rustix::process::{Resource, Rlimit, Signal};
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::env::NEVER;
use crate::group::Group;
use crate::sandbox::{Launch, Words, launch};
use crate::{Command, Limits, ShellError};

/// Starts the command with both of its outputs in `output`.
pub(crate) async fn spawn(
    command: &Command,
    output: PipeWriter,
    errors: Option<PipeWriter>,
) -> Result<(Group, Child, Launch), ShellError> {
    if command.line.contains('\0') {
        return Err(ShellError::Nul);
    }
    match tokio::fs::metadata(&command.cwd).await {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(cwd(command, io::ErrorKind::NotADirectory.into())),
        Err(source) => return Err(cwd(command, source)),
    }
    let words = shell(&command.env, &command.line).ok_or(ShellError::NoShell)?;
    let confined = command.confine.as_ref().map(|confined| (&confined.confinement, &confined.helper));
    let mut launch =
        launch(words, &command.cwd, &command.env, command.limits, confined).map_err(ShellError::Sandbox)?;
    // The rest of it lives as long as the command.
    let mut child = std::mem::replace(&mut launch.command, tokio::process::Command::new(""));
    child.stdin(if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    match errors {
        Some(errors) => child.stdout(output).stderr(errors),
        None => child.stdout(output.try_clone().map_err(ShellError::Start)?).stderr(output),
    };
    child.kill_on_drop(true);
    prepare(&mut child, launch.limits, Own::Session, std::mem::take(&mut launch.inherit));
    let (group, child) = on_spawner(child, launch.watched).await.map_err(ShellError::Start)?;
    Ok((group, child, launch))
}

/// The user's shell with a command line. `None` where there is no shell.
pub(crate) fn shell(env: &BTreeMap<String, String>, line: &str) -> Option<Words> {
    let (shell, is_bash) = find_shell(env)?;
    // A shell without a terminal reads no files, unless it believes that a remote shell daemon started it.
    let no_files: &[&str] = if is_bash { &["--noprofile", "--norc"] } else { &[] };
    let args = no_files.iter().copied().chain(["-c", "--", line]).map(Into::into).collect();
    // Messages of the shell begin with this name.
    let arg0 = Some(if is_bash { "bash" } else { "sh" }.into());
    Some(Words { program: shell.into(), arg0, args })
}

/// The child's folder and its whole environment.
pub(crate) fn surround(child: &mut tokio::process::Command, cwd: &Path, env: &BTreeMap<String, String>) {
    child.current_dir(cwd).env_clear();
    child.envs(env.iter().filter(|(name, _)| !NEVER.contains(&name.as_str())));
}

fn cwd(command: &Command, source: io::Error) -> ShellError {
    ShellError::Cwd { cwd: command.cwd.clone(), source }
}

/// The first `bash` on the child's PATH, else the first `sh`; and whether it is bash.
fn find_shell(env: &BTreeMap<String, String>) -> Option<(PathBuf, bool)> {
    let path = env.get("PATH").map_or(FALLBACK_PATH, String::as_str);
    let find = |name: &str| {
        let folders =
            path.split(':').chain(FALLBACK_PATH.split(':')).filter(|folder| folder.starts_with('/'));
        folders.map(|folder| Path::new(folder).join(name)).find(|file| is_executable(file))
    };
    find("bash").map(|file| (file, true)).or_else(|| find("sh").map(|file| (file, false)))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

const FALLBACK_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What the child leads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Own {
    /// A session, and with it a group.
    Session,
    /// A group within our session.
    Group,
}

/// Has the child, before it becomes the command, leave our session or group, take its limits, keep what it is to
/// inherit, and die with us.
// `pre_exec` is unsafe because its closure runs between fork and exec, where only async-signal-safe calls are allowed.
// This one makes plain system calls through rustix, allocates nothing and takes no lock. There is no safe way to call
// `setsid` or to set a limit for the child alone.
#[allow(unsafe_code)]
pub(crate) fn prepare(child: &mut tokio::process::Command, limits: Limits, own: Own, inherit: Vec<OwnedFd>) {
    #[cfg(target_os = "linux")]
    let parent = rustix::process::getpid();
    let enter = move || -> io::Result<()> {
        match own {
            Own::Session => {
                rustix::process::setsid()?;
            }
            Own::Group => rustix::process::setpgid(None, None)?,
        }
        #[cfg(target_os = "linux")]
        {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // We died before the line above: nobody will send the signal.
            if rustix::process::getppid() != Some(parent) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        let limit = |resource, value: Option<u64>| match value {
            Some(value) => {
                rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
            }
            None => Ok(()),
        };
        limit(Resource::Core, Some(0))?;
        limit(Resource::Cpu, limits.cpu_seconds)?;
        limit(Resource::Fsize, limits.file_bytes)?;
        limit(Resource::As, limits.address_space_bytes)?;
        limit(Resource::Nproc, limits.processes)?;
        limit(Resource::Nofile, limits.open_files)?;
        // Also what we were ourselves given by somebody careless.
        close_on_exec()?;
        for fd in &inherit {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: see above.
    unsafe {
        child.pre_exec(enter);
    }
}

/// Everything beyond the three standard streams ends with this program. No kernel that is too old for the call (before
/// 5.11) is a reason to fail.
// The call takes numbers alone and touches no memory of ours; there is no safe name for it.
#[allow(unsafe_code)]
pub(crate) fn close_on_exec() -> io::Result<()> {
    // SAFETY: see above.
    let done = unsafe {
        libc::syscall(libc::SYS_close_range, FIRST_FD, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EINVAL) => Ok(()),
        _ => Err(error),
    }
}

const FIRST_FD: libc::c_uint = 3;

/// Starts the child from a thread that lives as long as the process.
///
/// The system sends the "parent died" signal when the *thread* that started the child ends, and threads of an
/// executor come and go.
async fn on_spawner(mut child: tokio::process::Command, watched: bool) -> io::Result<(Group, Child)> {
    let (answer, started) = oneshot::channel();
    let handle = Handle::current();
    let job: Job = Box::new(move || {
        let _context = handle.enter();
        let result = child.spawn().map(|child| (Group::of(&child, watched), child));
        // Close our copies of the pipe before anyone waits for its end.
        drop(child);
        // Nobody there any more: the group's guard ends it.
        drop(answer.send(result));
    });
    let gone = || io::Error::other("the thread that starts commands is gone");
    spawner()?.send(job).map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
}

type Job = Box<dyn FnOnce() + Send>;

fn spawner() -> io::Result<mpsc::Sender<Job>> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    if let Some(sender) = SPAWNER.get() {
        return Ok(sender.clone());
    }
    let (sender, jobs) = mpsc::channel::<Job>();
    // Of two threads that come here at once, one sees its channel closed and ends.
    std::thread::Builder::new().name("sterna-spawn".into()).spawn(move || {
        for job in jobs {
            // A panic in one start must not end all later ones.
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)));
        }
    })?;
    Ok(SPAWNER.get_or_init(|| sender).clone())
}
