//! Every way out of a sandbox that we know, tried on each level. What a level cannot hold is tried too, so that the
//! list of its gaps is true.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::sandbox::{World, helper_program, quoted, world};
use sterna_shell::sandbox::{Gap, Level, Network};
use sterna_shell::shim::How;

/// What the kernel says to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Let,
    /// With whatever error.
    Refused,
    /// By the filter of system calls: `EPERM`.
    Filtered,
    /// Not by the filter: whatever but `EPERM`. Proves that the attempt is a real one.
    Reached,
    /// Let, because the level cannot hold it.
    Gap(Gap),
    /// The answer says nothing here; the effect is looked at.
    Any,
}
use Want::*;

/// The attempt, its argument, and what is wanted under bubblewrap, under Landlock, and without a sandbox.
type Row = (&'static str, &'static str, [Want; 3]);

const ROWS: &[Row] = &[
    // Files outside of the workspace.
    ("write", "OUTSIDE/new", [Refused, Refused, Let]),
    ("write", "OUTSIDE/file", [Refused, Refused, Let]),
    ("append", "OUTSIDE/file", [Refused, Refused, Let]),
    ("truncate", "OUTSIDE/file", [Refused, Refused, Let]),
    ("make_folder", "OUTSIDE/folder", [Refused, Refused, Let]),
    ("chmod", "OUTSIDE/file", [Refused, Gap(Gap::Metadata), Let]),
    ("link_into", "OUTSIDE/file", [Refused, Refused, Any]),
    ("through_link", "OUTSIDE/file", [Refused, Refused, Let]),
    ("write", "WORK/../outside/file", [Refused, Refused, Let]),
    ("remove", "OUTSIDE/file", [Refused, Refused, Let]),
    ("write", "WORK/file", [Let, Let, Let]),
    ("write", "SHARED/NAME", [Let, Refused, Any]),
    ("write", "SHARED_VAR/NAME", [Let, Refused, Any]),
    ("write", "TMP/file", [Any, Let, Let]),
    ("open_for_writing", "/etc/passwd", [Refused, Refused, Any]),
    ("open_for_writing", "/proc/sys/kernel/core_pattern", [Refused, Refused, Any]),
    ("open_for_writing", "/proc/sysrq-trigger", [Refused, Refused, Any]),
    ("open_device", "/dev/kmsg", [Refused, Refused, Any]),
    ("open_device", "/dev/mem", [Refused, Refused, Any]),
    ("open_device", "/dev/urandom", [Let, Let, Let]),
    ("open_for_writing", "/dev/null", [Let, Let, Let]),
    // Secrets.
    ("read", "HIDDEN/key", [Refused, Refused, Let]),
    ("list", "HIDDEN", [Refused, Refused, Let]),
    ("write", "HIDDEN/new", [Refused, Refused, Let]),
    ("read", "/etc/passwd", [Let, Let, Let]),
    // What git runs by itself.
    ("write", "WORK/.git/hooks/pre-commit", [Refused, Gap(Gap::CarveOuts), Let]),
    ("write", "WORK/.git/config", [Refused, Gap(Gap::CarveOuts), Let]),
    ("rename", "WORK/.git/hooks", [Refused, Gap(Gap::CarveOuts), Let]),
    ("make_folder", "WORK/nested/.git/hooks", [Gap(Gap::NewRepositories), Gap(Gap::NewRepositories), Let]),
    // The network.
    ("tcp", "TCP", [Refused, Refused, Let]),
    ("udp", "UDP", [Any, Refused, Let]),
    ("listen", "", [Let, Refused, Let]),
    ("abstract_socket", "ABSTRACT", [Refused, Refused, Let]),
    ("socket_file", "SOCKET", [Gap(Gap::SocketFiles), Refused, Let]),
    ("socket_pair", "", [Let, Let, Let]),
    ("raw_socket", "", [Filtered, Filtered, Reached]),
    ("packet_socket", "", [Filtered, Filtered, Reached]),
    ("vsock", "", [Filtered, Filtered, Reached]),
    ("audit_socket", "", [Filtered, Filtered, Reached]),
    // Other processes: one that runs outside, of the same user.
    ("ptrace", "PID", [Filtered, Filtered, Reached]),
    ("trace_me", "", [Filtered, Filtered, Reached]),
    ("read_memory", "PID", [Filtered, Filtered, Reached]),
    ("steal_descriptor", "PID", [Refused, Filtered, Any]),
    ("signal", "PID", [Refused, Refused, Let]),
    ("limits_of", "PID", [Refused, Filtered, Let]),
    ("environment_of", "PID", [Refused, Refused, Let]),
    ("memory_of", "PID", [Refused, Refused, Any]),
    ("root_of", "PID", [Refused, Refused, Let]),
    ("command_of", "PID", [Refused, Gap(Gap::ProcessList), Let]),
    // (Without a sandbox it would stay.)
    ("shared_memory", "", [Let, Filtered, Any]),
    // Mounts and namespaces.
    ("mount", "WORK/none", [Filtered, Filtered, Reached]),
    ("unmount", "WORK/none", [Filtered, Filtered, Reached]),
    ("mount_new", "", [Filtered, Filtered, Reached]),
    ("copy_mounts", "", [Filtered, Filtered, Reached]),
    ("user_namespace", "", [Filtered, Filtered, Any]),
    ("mount_namespace", "", [Filtered, Filtered, Reached]),
    ("enter_namespace", "", [Filtered, Filtered, Reached]),
    ("chroot", "", [Filtered, Filtered, Reached]),
    ("by_handle", "", [Filtered, Filtered, Reached]),
    // Kernel keyrings.
    ("keyring", "", [Filtered, Filtered, Reached]),
    ("add_key", "", [Filtered, Filtered, Reached]),
    ("request_key", "", [Filtered, Filtered, Reached]),
    // Doors to the kernel.
    ("io_uring", "", [Filtered, Filtered, Any]),
    ("bpf", "", [Filtered, Filtered, Reached]),
    ("userfaultfd", "", [Filtered, Filtered, Any]),
    ("perf", "", [Filtered, Filtered, Reached]),
    ("load_kernel", "", [Filtered, Filtered, Reached]),
    ("load_kernel_file", "", [Filtered, Filtered, Reached]),
    ("load_module", "", [Filtered, Filtered, Reached]),
    ("reboot", "", [Filtered, Filtered, Reached]),
    ("set_clock", "", [Filtered, Filtered, Reached]),
    ("host_name", "", [Filtered, Filtered, Reached]),
    ("kernel_log", "", [Filtered, Filtered, Reached]),
    ("type_into_terminal", "", [Filtered, Filtered, Reached]),
    // Files that run as another user, and privileges.
    ("set_user_id", "WORK/file", [Filtered, Filtered, Let]),
    ("set_group_id", "WORK/file", [Filtered, Filtered, Let]),
    ("set_user_id_by_name", "WORK/file", [Filtered, Filtered, Reached]),
    ("make_set_user_id", "WORK/made", [Filtered, Filtered, Let]),
    ("make_by_open2", "WORK/made-2", [Refused, Refused, Reached]),
    ("has_capabilities", "", [Refused, Refused, Any]),
    ("can_gain_privileges", "", [Refused, Refused, Any]),
    ("inherited", "", [Refused, Refused, Refused]),
    // Last, as nothing is where it was after it.
    ("rename", "WORK/.git", [Refused, Gap(Gap::CarveOuts), Let]),
    ("rename", "WORK", [Refused, Refused, Let]),
];

/// With all of the network: what changes.
const WITH_NETWORK: &[Row] = &[
    ("tcp", "TCP", [Gap(Gap::LocalServices), Gap(Gap::LocalServices), Let]),
    ("udp", "UDP", [Gap(Gap::LocalServices), Gap(Gap::LocalServices), Let]),
    ("listen", "", [Let, Let, Let]),
    ("abstract_socket", "ABSTRACT", [Refused, Refused, Let]),
    ("raw_socket", "", [Filtered, Filtered, Reached]),
    ("packet_socket", "", [Filtered, Filtered, Reached]),
    ("signal", "PID", [Refused, Refused, Let]),
    ("has_capabilities", "", [Refused, Refused, Any]),
    ("inherited", "", [Refused, Refused, Refused]),
];

/// Gaps that follow from how a level works and are not tried here.
const NOT_TRIED: &[(Gap, &str)] = &[
    (Gap::Memory, "limits of the system are for each process"),
    (Gap::Caches, "it is a folder in the list of those that can be written"),
    (Gap::OwnTmp, "/tmp is refused above, where bubblewrap lets it"),
    (Gap::Signals, "only on kernels without version 6 of Landlock; refused above on newer ones"),
    (Gap::DeviceControl, "only on kernels without version 5 of Landlock"),
];

/// What the attempts are aimed at, outside of the sandbox.
struct Targets {
    outside: PathBuf,
    _room: Option<tempfile::TempDir>,
    tcp: TcpListener,
    udp: UdpSocket,
    name: String,
    _abstract: UnixListener,
    _socket: UnixListener,
    process: std::process::Child,
}

impl Targets {
    fn new() -> Self {
        // Not below /tmp: there, a private one would hide it in any case.
        let (outside, room) = match std::env::var_os("STERNA_TEST_OUTSIDE") {
            Some(outside) => (PathBuf::from(outside), None),
            None => {
                let room = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
                (std::fs::canonicalize(room.path()).unwrap(), Some(room))
            }
        };
        let name = format!("sterna-corpus-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = outside.join("socket");
        drop(std::fs::remove_file(&socket));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_nonblocking(true).unwrap();
        Self {
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            udp,
            _abstract: UnixListener::bind_addr(&address).unwrap(),
            name,
            _socket: UnixListener::bind(socket).unwrap(),
            process: Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap(),
            outside,
            _room: room,
        }
    }

    fn argument(&self, world: &World, arg: &str) -> String {
        let paths = [
            ("OUTSIDE", self.outside.clone()),
            ("SOCKET", self.outside.join("socket")),
            ("HIDDEN", world.at("hidden")),
            ("WORK", world.at("work")),
            ("TMP", world.at("tmp")),
            ("SHARED", "/tmp".into()),
            ("SHARED_VAR", "/var/tmp".into()),
        ];
        let words = [
            ("TCP", self.tcp.local_addr().unwrap().port().to_string()),
            ("UDP", self.udp.local_addr().unwrap().port().to_string()),
            ("ABSTRACT", self.name.clone()),
            ("PID", self.process.id().to_string()),
        ];
        let (head, rest) = arg.split_once('/').map_or((arg, None), |(head, rest)| (head, Some(rest)));
        if let Some((_, word)) = words.iter().find(|(name, _)| *name == head) {
            return word.clone();
        }
        match (paths.iter().find(|(name, _)| *name == head), rest) {
            (Some((_, path)), None) => path.display().to_string(),
            (Some((_, path)), Some(rest)) => {
                path.join(rest.replace("NAME", &self.name)).display().to_string()
            }
            (None, _) => arg.to_owned(),
        }
    }

    /// Whether a datagram has come since the last look.
    fn datagram(&self) -> bool {
        self.udp.recv(&mut [0; 8]).is_ok()
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Makes everything as it was before the attempts.
fn lay_out(world: &World, targets: &Targets) {
    for folder in ["work", "hidden", "tmp"] {
        drop(std::fs::remove_dir_all(world.at(folder)));
        std::fs::create_dir(world.at(folder)).unwrap();
    }
    for name in ["new", "folder", "file"] {
        let path = targets.outside.join(name);
        drop(std::fs::remove_file(&path));
        drop(std::fs::remove_dir(&path));
    }
    std::fs::write(targets.outside.join("file"), "mine").unwrap();
    std::fs::write(world.at("hidden").join("key"), "secret").unwrap();
    let git = world.at("work").join(".git");
    for folder in ["hooks", "objects", "refs"] {
        std::fs::create_dir_all(git.join(folder)).unwrap();
    }
    std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    std::fs::write(git.join("config"), "[core]\n").unwrap();
    std::fs::create_dir_all(world.at("work").join("nested/.git")).unwrap();
}

/// All answers of one level, in one command.
async fn answers(
    world: &World,
    targets: &Targets,
    rows: &[Row],
    level: Level,
    network: Network,
) -> Option<BTreeMap<usize, String>> {
    lay_out(world, targets);
    let confine = if level == Level::None {
        None
    } else {
        let mut confinement = world.confinement(level)?;
        confinement.network = network;
        let git = world.at("work").join(".git");
        confinement.read_only = vec![git.join("hooks"), git.join("config")];
        Some(confinement)
    };
    let helper = quoted(&std::fs::canonicalize(helper_program()).unwrap());
    let mut line = String::new();
    for (n, (name, arg, _)) in rows.iter().enumerate() {
        let arg = targets.argument(world, arg);
        line.push_str(&format!("printf '{n} '; {helper} try {name} {}\n", quoted(arg.as_ref())));
    }
    let (exit, output) = world.run(&line, confine).await;
    assert_eq!(exit.how, How::Code(0), "{level}: {output}");
    let answers = output.lines().filter_map(|line| {
        let (n, answer) = line.split_once(' ')?;
        Some((n.parse().ok()?, answer.to_owned()))
    });
    Some(answers.collect())
}

fn as_wanted(want: Want, answer: &str, is_root: bool) -> bool {
    match want {
        Let | Gap(_) => answer == "ok",
        Refused => answer.starts_with("errno "),
        Filtered => answer == "errno 1",
        // Without a sandbox, a person who is not root is refused much all the same.
        Reached => answer.starts_with("errno ") && answer != "errno 1" || answer == "ok" || !is_root,
        Any => true,
    }
}

/// Tries `rows` on a level. Returns the gaps that were proven.
async fn check(
    world: &World,
    targets: &Targets,
    rows: &[Row],
    level: Level,
    network: Network,
) -> Option<BTreeSet<Gap>> {
    let column = match level {
        Level::Bubblewrap => 0,
        Level::Landlock => 1,
        Level::None => 2,
    };
    targets.datagram();
    let Some(answers) = answers(world, targets, rows, level, network.clone()).await else {
        // Excused by name: nothing is proven.
        return None;
    };
    let is_root = rustix::process::getuid().is_root();
    let mut wrong = Vec::new();
    let mut proven = BTreeSet::new();
    for (n, (name, arg, wants)) in rows.iter().enumerate() {
        let answer = answers.get(&n).map(String::as_str).unwrap_or("nothing");
        if !as_wanted(wants[column], answer, is_root) {
            wrong.push(format!("{name} {arg}: {answer}, and not {:?}", wants[column]));
        }
        if let Gap(gap) = wants[column] {
            proven.insert(gap);
        }
    }
    assert!(wrong.is_empty(), "{level}, {network:?}:\n{}", wrong.join("\n"));
    let heard = level == Level::None || network == Network::All;
    assert_eq!(targets.datagram(), heard, "{level}: a datagram came out");
    if level != Level::None && network == Network::None {
        let mine = std::fs::read_to_string(targets.outside.join("file")).unwrap();
        assert_eq!(mine, "mine", "{level}");
        assert!(!PathBuf::from("/tmp").join(&targets.name).exists(), "{level}");
    }
    for folder in ["/tmp", "/var/tmp"] {
        drop(std::fs::remove_file(PathBuf::from(folder).join(&targets.name)));
    }
    Some(proven)
}

async fn corpus(level: Level) {
    let world = world().await;
    let targets = Targets::new();
    for (rows, network) in [(ROWS, Network::None), (WITH_NETWORK, Network::All)] {
        let proven = check(&world, &targets, rows, level, network.clone()).await;
        let Some(proven) = proven.filter(|_| level != Level::None) else { continue };
        let told: BTreeSet<Gap> = world.gaps(level, &network).into_iter().collect();
        let untold: Vec<_> = proven.difference(&told).collect();
        assert!(untold.is_empty(), "{level} lets {untold:?} and does not say so");
        if network == Network::None {
            let unproven = told.difference(&proven);
            let unproven: Vec<_> =
                unproven.filter(|gap| !NOT_TRIED.iter().any(|(known, _)| known == *gap)).collect();
            assert!(unproven.is_empty(), "{level} says that it cannot hold {unproven:?}: no row proves it");
        }
    }
}

#[tokio::test]
async fn bubblewrap_holds_what_it_says() {
    corpus(Level::Bubblewrap).await;
}

#[tokio::test]
async fn landlock_holds_what_it_says() {
    corpus(Level::Landlock).await;
}

/// The same attempts without a sandbox get through: they are real.
#[tokio::test]
async fn without_a_sandbox_the_attempts_get_through() {
    corpus(Level::None).await;
}

/// Tests mostly run as root, people do not.
#[tokio::test]
async fn it_holds_for_a_person_without_rights_too() {
    if !rustix::process::getuid().is_root() {
        // Then the others have shown it.
        return;
    }
    common::sandbox::as_nobody(&["bubblewrap_holds_what_it_says", "landlock_holds_what_it_says"]);
}
