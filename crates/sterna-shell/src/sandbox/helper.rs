//! The confined helper: our own program, started once more between us and a command. It gives up what the level takes,
//! and becomes the command. It never runs a command with less than it was asked for.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

use super::launch::FAILED;
use super::net::service::Service;
use super::{Confinement, landlock, probe, seccomp};
use crate::spawn::close_on_exec;

/// The first argument by which the shim's program knows that it is to be the helper.
pub(crate) const MARKER: &str = "__sterna-confined";

/// What the helper does before it becomes the command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    /// To be held by Landlock and a filter of system calls.
    pub(crate) landlock: Option<Confinement>,
    /// Keep signals and abstract sockets inside, where the kernel can.
    pub(crate) scope: bool,
    pub(crate) via: Option<Via>,
    /// This machine's services that the command may reach: the same ports of its own loopback lead to them.
    pub(crate) services: Vec<Service>,
    /// The proxy leads to services of this machine, too: what names the loopback goes through it.
    pub(crate) loopback: bool,
    /// The limit of processes.
    pub(crate) processes: Option<u64>,
    pub(crate) arg0: Option<String>,
    /// The descriptor that takes the reason why the command was not started.
    pub(crate) status: i32,
}

/// The way to the proxy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Via {
    /// A socket of the proxy that a forwarder inside leads to.
    Socket { path: PathBuf, token: String },
    /// The proxy listens on this machine's loopback.
    Port { port: u16, token: String },
}

/// Becomes the command, if `args` (all but the program and the first `prefix`) ask for the helper or a part of it.
/// Returns a process's exit code otherwise or when it cannot.
pub(crate) fn main(prefix: &[OsString], args: &[OsString]) -> Option<u8> {
    let (role, rest) = args.split_first()?;
    if role == FORWARD {
        let texts: Option<Vec<&str>> = rest.iter().map(|text| text.to_str()).collect();
        let way = match texts.as_deref() {
            Some([socket, token]) => Way { socket, token, to: None },
            Some([socket, token, to]) => Way { socket, token, to: Some(to) },
            Some(_) | None => return Some(CANNOT),
        };
        return Some(forward(way));
    }
    if role == probe::MARKER {
        return Some(probe::inside(rest));
    }
    if role != MARKER {
        return None;
    }
    let Some((task, words)) = rest.split_first() else { return Some(CANNOT) };
    let task: Task = match task.to_str().map(serde_json::from_str) {
        Some(Ok(task)) => task,
        Some(Err(_)) | None => return Some(CANNOT),
    };
    let why = become_command(prefix, &task, words);
    // The pipe is shared with nobody who waits for it, and short texts are written at once.
    let status = OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", task.status));
    drop(status.and_then(|mut status| writeln!(status, "{FAILED}{}", why.replace('\n', " "))));
    Some(CANNOT)
}

/// Returns only the reason why it could not.
fn become_command(prefix: &[OsString], task: &Task, words: &[OsString]) -> String {
    let Some((program, args)) = words.split_first() else { return "no program was named".into() };
    let mut command = Command::new(program);
    command.args(args);
    if let Some(arg0) = &task.arg0 {
        command.arg0(arg0);
    }
    if let Err(why) = give_up(prefix, task, &mut command) {
        return why;
    }
    let error = command.exec();
    format!("cannot start {}: {error}", Path::new(program).display())
}

fn give_up(prefix: &[OsString], task: &Task, command: &mut Command) -> Result<(), String> {
    close_on_exec().map_err(|error| format!("cannot close what the command must not have: {error}"))?;
    if let Some(processes) = task.processes {
        let limit = Rlimit { current: Some(processes), maximum: Some(processes) };
        rustix::process::setrlimit(Resource::Nproc, limit)
            .map_err(|error| format!("cannot limit processes: {error}"))?;
    }
    let mut port = None;
    match &task.via {
        None => {}
        Some(Via::Socket { path, token }) => {
            let failed = |error: io::Error| format!("cannot lead to the proxy: {error}");
            let led = lead(prefix, path, token, &task.services).map_err(failed)?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
            let inner = listener.local_addr().map_err(failed)?.port();
            forwarder(prefix, listener, path, token, None).map_err(failed)?;
            use_proxy(command, &format!("http://127.0.0.1:{inner}"), task.loopback || !led);
        }
        Some(Via::Port { port: outer, token }) => {
            port = Some(*outer);
            use_proxy(command, &format!("http://{PROXY_USER}:{token}@127.0.0.1:{outer}"), task.loopback);
        }
    }
    drop_capabilities().map_err(|error| format!("cannot give up capabilities: {error}"))?;
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| format!("cannot give up new privileges: {error}"))?;
    if let Some(confinement) = &task.landlock {
        landlock::restrict(confinement, port)?;
        let filters = seccomp::programs(confinement).map_err(|error| format!("seccomp: {error}"))?;
        for filter in &filters {
            seccompiler::apply_filter(filter).map_err(|error| format!("seccomp: {error}"))?;
        }
    } else if task.scope {
        landlock::scope()?;
    }
    Ok(())
}

/// For every program that knows the usual variables.
fn use_proxy(command: &mut Command, url: &str, loopback: bool) {
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env(name, url);
    }
    for name in ["no_proxy", "NO_PROXY"] {
        command.env(name, if loopback { "" } else { "localhost,127.0.0.1,::1" });
    }
    // Node looks at the variables only when it is told to.
    command.env("NODE_USE_ENV_PROXY", "1");
}

fn drop_capabilities() -> io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        // Needs a capability itself: who has none cannot gain any, as no program gives new privileges.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let _ = rustix::thread::clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?)
}

/// Opens the ports of services. `false`: one of them cannot be opened here, such as one below 1,024; the proxy leads to it.
fn lead(prefix: &[OsString], socket: &Path, token: &str, services: &[Service]) -> io::Result<bool> {
    let mut all = true;
    for service in services {
        // One socket for both families, where the kernel has both. Nobody is on this network but the command.
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, service.port))
            .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, service.port)));
        match listener {
            Ok(listener) => forwarder(prefix, listener, socket, token, Some(&service.told()))?,
            Err(_) => all = false,
        }
    }
    Ok(all)
}

/// Starts a forwarder: all that comes to the listener is led to the proxy, or through it to one place. It ends with the
/// sandbox.
fn forwarder(
    prefix: &[OsString],
    listener: TcpListener,
    socket: &Path,
    token: &str,
    to: Option<&str>,
) -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("sterna").args(prefix).arg(FORWARD).arg(socket).arg(token).args(to).env_clear();
    // The command's output must end with the command.
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(drop)
}

/// What a forwarder is started with.
#[derive(Clone, Copy)]
struct Way<'a> {
    socket: &'a str,
    token: &'a str,
    to: Option<&'a str>,
}

/// Accepts connections on the listener that is our standard input, and leads each on.
fn forward(way: Way<'_>) -> u8 {
    let Ok(listener) = io::stdin().as_fd().try_clone_to_owned() else { return CANNOT };
    let listener = TcpListener::from(listener);
    std::thread::scope(|scope| {
        for inner in listener.incoming().flatten() {
            // A machine out of threads drops the connection.
            let led = std::thread::Builder::new().spawn_scoped(scope, move || {
                if let Ok(outer) = reach(way) {
                    join(&inner, &outer);
                }
            });
            drop(led);
        }
    });
    0
}

/// A connection to the proxy, or through it to the one place.
fn reach(way: Way<'_>) -> io::Result<UnixStream> {
    let mut outer = UnixStream::connect(way.socket)?;
    outer.write_all(format!("{}\n", way.token).as_bytes())?;
    let Some(to) = way.to else { return Ok(outer) };
    outer.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes())?;
    let mut head = Vec::new();
    // Byte by byte: what follows is the service's.
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        outer.read_exact(&mut byte)?;
        head.extend(byte);
        if head.len() > HEAD_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    if head.starts_with(b"HTTP/1.1 200 ") { Ok(outer) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
}

fn join(inner: &TcpStream, outer: &UnixStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pump(inner, outer);
            drop(outer.shutdown(Shutdown::Write));
        });
        pump(outer, inner);
        drop(inner.shutdown(Shutdown::Write));
    });
}

/// Copies until the end or an error, and passes on each piece at once.
fn pump(mut from: impl Read, mut to: impl Write) {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => {
                if to.write_all(&buffer[..read]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

const FORWARD: &str = "__sterna-forward";
/// Of the proxy's answer.
const HEAD_MAX: usize = 4 << 10;
/// The name that goes with the token.
pub(crate) const PROXY_USER: &str = "sterna";
/// As a shell's "found, and cannot be run".
const CANNOT: u8 = 126;
