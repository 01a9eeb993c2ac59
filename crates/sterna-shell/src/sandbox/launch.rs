//! Puts the level between whoever starts a command and the command.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::MemfdFlags;
use seccompiler::BpfProgram;

use super::bwrap::{self, Arguments};
use super::helper::{MARKER, Task};
use super::net::{Proxy, service};
use super::{Confinement, DomainRule, Level, Network, seccomp};
use crate::Limits;
use crate::shim::Helper;
use crate::spawn::surround;

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) program: OsString,
    /// What it is told that it is called.
    pub(crate) arg0: Option<OsString>,
    pub(crate) args: Vec<OsString>,
}

/// A command that is ready to be started, with what has to live as long as it.
pub(crate) struct Launch {
    pub(crate) command: tokio::process::Command,
    /// For the child alone.
    pub(crate) inherit: Vec<OwnedFd>,
    /// What whoever starts it sets; the rest is set further in.
    pub(crate) limits: Limits,
    /// The child is a watcher outside of the sandbox: it must not hear what is meant for the command.
    pub(crate) watched: bool,
    pub(crate) proxy: Option<Proxy>,
    status: Option<Status>,
}

impl Launch {
    /// What tells after the end whether the command was started.
    pub(crate) fn take_status(&mut self) -> Option<Status> {
        self.status.take()
    }
}

/// The word of those between us and the command.
pub(crate) struct Status {
    reader: PipeReader,
    level: Level,
}

impl Status {
    /// After the child's end: why the command was never started, if it was not.
    pub(crate) fn failure(self, code: Option<i32>) -> Option<String> {
        let Self { mut reader, level } = self;
        // A writer that lives on has nothing more to say.
        rustix::io::ioctl_fionbio(&reader, true).ok()?;
        let mut said = Vec::new();
        drop(reader.by_ref().take(STATUS_MAX).read_to_end(&mut said));
        let said = String::from_utf8_lossy(&said);
        if let Some((_, why)) = said.rsplit_once(FAILED) {
            return Some(why.trim().to_owned());
        }
        match level {
            // It tells a code only of a command whose surroundings were ready.
            Level::Bubblewrap if code == Some(BWRAP_FAILED) && !said.contains("exit-code") => {
                Some("bubblewrap could not set up the sandbox".into())
            }
            Level::Bubblewrap | Level::Landlock | Level::None => None,
        }
    }
}

/// Describes the start of `words`, confined or not. `helper` is the program that becomes the confined helper. With a
/// domain list it needs a tokio runtime, which then runs the proxy.
pub(crate) fn launch(
    words: Words,
    cwd: &Path,
    env: &BTreeMap<String, String>,
    limits: Limits,
    confinement: Option<(&Confinement, &Helper)>,
) -> Result<Launch, String> {
    match confinement {
        Some((confinement, helper)) if confinement.level != Level::None => {
            make_tmp(&confinement.tmp).map_err(|error| {
                format!("the session's folder {} cannot be made: {error}", confinement.tmp.display())
            })?;
            confined(words, cwd, env, limits, &confinement.resolved(), helper)
                .map_err(|error| format!("the sandbox could not be made ready: {error}"))
        }
        Some(_) | None => Ok(plain(words, cwd, env, limits)),
    }
}

fn plain(words: Words, cwd: &Path, env: &BTreeMap<String, String>, limits: Limits) -> Launch {
    let mut command = tokio::process::Command::new(words.program);
    if let Some(arg0) = words.arg0 {
        command.arg0(arg0);
    }
    command.args(words.args);
    surround(&mut command, cwd, env);
    Launch { command, inherit: Vec::new(), limits, watched: false, proxy: None, status: None }
}

fn confined(
    words: Words,
    cwd: &Path,
    env: &BTreeMap<String, String>,
    limits: Limits,
    confinement: &Confinement,
    helper: &Helper,
) -> io::Result<Launch> {
    let proxy = match &confinement.network {
        Network::Domains(rules) if confinement.level == Level::Bubblewrap => {
            Some(Proxy::on_socket(rules, &confinement.tmp)?)
        }
        Network::Domains(rules) => Some(Proxy::on_loopback(rules)?),
        Network::None | Network::All => None,
    };
    let via = proxy.as_ref().map(|proxy| proxy.via(Path::new("/tmp")));
    let (services, loopback) = match &confinement.network {
        Network::Domains(rules) if confinement.level == Level::Bubblewrap => service::services(rules),
        // On this machine's own loopback a command reaches the proxy's port, and no other.
        Network::Domains(rules) => (Vec::new(), rules.iter().any(DomainRule::is_loopback)),
        Network::None | Network::All => (Vec::new(), false),
    };
    let (reader, status) = io::pipe()?;
    let mut env = env.clone();
    let bubblewrap = confinement.level == Level::Bubblewrap;
    env.insert("TMPDIR".into(), if bubblewrap { "/tmp".into() } else { path_text(&confinement.tmp)? });
    let mut all = Arguments::default();
    if bubblewrap {
        all = bwrap::arguments(confinement, cwd)?;
        for filter in &seccomp::programs(confinement).map_err(io::Error::other)? {
            all.add_fd("--add-seccomp-fd", filter_file(filter)?);
        }
        all.add_fd("--json-status-fd", OwnedFd::from(status.try_clone()?));
        all.add(&["--"]);
    }
    // Namespaces hold everything else by themselves.
    let needs_helper = !bubblewrap
        || confinement.network != Network::None
        || limits.processes.is_some()
        || words.program == OWN_PROGRAM;
    let mut command = match (&confinement.bwrap, bubblewrap) {
        (Some(bwrap), true) => tokio::process::Command::new(bwrap),
        (None, true) => return Err(io::Error::other("the confinement names no program for bubblewrap")),
        (_, false) => tokio::process::Command::new(&helper.program),
    };
    if needs_helper {
        if bubblewrap {
            // By its descriptor: its file may lie where the command must not see it, or be replaced already.
            let program = OwnedFd::from(File::open(&helper.program)?);
            all.words.push(format!("/proc/self/fd/{}", program.as_raw_fd()).into());
            all.inherit.push(program);
        } else {
            command.arg0("sterna");
        }
        let status = OwnedFd::from(status.try_clone()?);
        let task = Task {
            landlock: (!bubblewrap).then(|| confinement.clone()),
            scope: bubblewrap && confinement.network == Network::All,
            via,
            services,
            loopback,
            processes: limits.processes,
            arg0: words.arg0.as_ref().and_then(|arg0| arg0.to_str()).map(str::to_owned),
            status: status.as_raw_fd(),
        };
        all.inherit.push(status);
        let task = serde_json::to_string(&task).map_err(io::Error::other)?;
        all.words.extend(helper.args.iter().cloned());
        all.words.extend([MARKER.into(), task.into()]);
    }
    all.words.push(words.program);
    all.words.extend(words.args);
    command.args(all.words);
    surround(&mut command, cwd, &env);
    Ok(Launch {
        command,
        inherit: all.inherit,
        limits: Limits { processes: None, ..limits },
        watched: bubblewrap,
        proxy,
        status: Some(Status { reader, level: confinement.level }),
    })
}

/// A filter as a file that starts at its beginning.
fn filter_file(filter: &BpfProgram) -> io::Result<OwnedFd> {
    use std::io::{Seek, Write};
    let mut file = File::from(rustix::fs::memfd_create("sterna-filter", MemfdFlags::CLOEXEC)?);
    file.write_all(&seccomp::bytes(filter))?;
    file.rewind()?;
    Ok(file.into())
}

fn make_tmp(tmp: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(tmp)
}

fn path_text(path: &Path) -> io::Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| io::Error::other(format!("{} is not UTF-8", path.display())))
}

/// The program that becomes the command is the helper's own.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";
/// How the helper begins the reason why it did not start the command.
pub(crate) const FAILED: &str = "sterna-failed: ";
/// The code of `bwrap` itself.
const BWRAP_FAILED: i32 = 1;
const STATUS_MAX: u64 = 64 << 10;
