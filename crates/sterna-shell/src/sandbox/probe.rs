//! Finds out which level the machine offers: a confined process of our own tries to break out, and tells how that went.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{getpid, getuid};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::launch::OWN_PROGRAM;
use super::level::ABI_NET;
use super::{Confinement, Gap, Level, Network, landlock};
use crate::shim::{Helper, NOT_STARTED, Server};

/// What was found out about this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What it holds for: kernel, user, namespaces and `bwrap`. A change of any asks for a new report.
    pub machine: String,
    /// Best first; `Level::None` is the last, and always held.
    pub levels: Vec<Tried>,
}

/// One level, tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    pub level: Level,
    /// Why it does not hold here. `None`: it holds.
    pub fault: Option<String>,
    /// The program of `Level::Bubblewrap`, when one was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bwrap: Option<PathBuf>,
    /// What the program says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The kernel's version of Landlock, as the confined process saw it; 0 without.
    pub landlock_abi: u32,
    /// What the level does not hold even when it works, without a network.
    pub cannot_hold: Vec<Gap>,
}

/// A level that was asked for and is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sandbox level {level} is not to be had here: {why}")]
pub struct ProbeError {
    pub level: Level,
    pub why: String,
}

impl Report {
    /// A machine that offers nothing, for one reason.
    pub fn none(why: &str) -> Self {
        let levels = Level::LADDER.map(|level| {
            let fault = (level != Level::None).then(|| why.to_owned());
            Tried::new(level, fault, 0)
        });
        Self { machine: String::new(), levels: levels.into() }
    }

    /// The best level that holds.
    pub fn best(&self) -> Level {
        self.levels.iter().find(|tried| tried.fault.is_none()).map_or(Level::None, |tried| tried.level)
    }

    pub fn tried(&self, level: Level) -> Option<&Tried> {
        self.levels.iter().find(|tried| tried.level == level)
    }

    /// The program of `Level::Bubblewrap`, when that level holds.
    pub fn bwrap(&self) -> Option<&Path> {
        self.tried(Level::Bubblewrap).filter(|tried| tried.fault.is_none())?.bwrap.as_deref()
    }

    /// What that confinement's level cannot hold of it here.
    pub fn gaps(&self, confinement: &Confinement) -> Vec<Gap> {
        confinement.gaps(self.tried(confinement.level).map_or(0, |tried| tried.landlock_abi))
    }

    /// Changes a confinement to a level that holds here.
    pub fn at(&self, level: Level, mut confinement: Confinement) -> Result<Confinement, ProbeError> {
        let by_domain = matches!(confinement.network, Network::Domains(_));
        let fault = match self.tried(level) {
            None => Some("it was not tried".into()),
            Some(Tried { fault: None, landlock_abi, .. })
                if level == Level::Landlock && by_domain && *landlock_abi < ABI_NET =>
            {
                Some(format!(
                    "the kernel has version {landlock_abi} of Landlock, which cannot hold a domain list"
                ))
            }
            Some(tried) => tried.fault.clone(),
        };
        if let Some(why) = fault {
            return Err(ProbeError { level, why });
        }
        confinement.level = level;
        confinement.bwrap = self.bwrap().filter(|_| level == Level::Bubblewrap).map(Path::to_owned);
        Ok(confinement)
    }

    /// For people: one line a level, the best first.
    pub fn told(&self) -> Vec<String> {
        let best = self.best();
        let lines = self.levels.iter().map(|tried| {
            let what = match (&tried.fault, tried.level == best) {
                (Some(why), _) => format!("no: {why}"),
                (None, true) => "used".into(),
                (None, false) => "would hold too".into(),
            };
            let gaps: Vec<&str> = tried.cannot_hold.iter().map(|gap| gap.told()).collect();
            match &tried.fault {
                Some(_) => format!("{}: {what}", tried.level),
                None => format!("{}: {what}; cannot hold: {}", tried.level, gaps.join("; ")),
            }
        });
        lines.collect()
    }
}

impl Tried {
    fn new(level: Level, fault: Option<String>, landlock_abi: u32) -> Self {
        let cannot_hold = level.gaps(&Network::None, landlock_abi);
        Self { level, fault, bwrap: None, version: None, landlock_abi, cannot_hold }
    }
}

/// Probes, and remembers what it found.
#[derive(Debug, Clone)]
pub struct Prober {
    helper: Helper,
    /// Ours alone: the report is kept here, and the probe's files are made here.
    state: PathBuf,
    /// Where `bwrap` is looked for.
    folders: Vec<PathBuf>,
}

impl Prober {
    /// `helper` as for [`Shims`](crate::shim::Shims); `state` is a folder of ours.
    pub fn new(helper: Helper, state: impl Into<PathBuf>) -> Self {
        Self { helper, state: state.into(), folders: FOLDERS.iter().map(PathBuf::from).collect() }
    }

    /// Looks for `bwrap` only there. It is never looked for on PATH, which may begin in a workspace.
    pub fn folders(mut self, folders: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.folders = folders.into_iter().map(Into::into).collect();
        self
    }

    /// The report of this machine: the one that is kept, or a new one. Needs a tokio runtime.
    pub async fn report(&self) -> Report {
        let machine = self.machine();
        let kept = fs::read(self.state.join(FILE)).ok();
        let kept = kept.and_then(|bytes| serde_json::from_slice::<Report>(&bytes).ok());
        match kept.filter(|report| report.machine == machine) {
            Some(report) => report,
            None => self.probe().await,
        }
    }

    /// Tries all levels, whatever is kept, and keeps what it finds.
    pub async fn probe(&self) -> Report {
        let mut levels = Vec::new();
        for level in Level::LADDER {
            levels.push(match level {
                Level::Bubblewrap => self.bubblewrap().await,
                Level::Landlock => self.level(level, None).await,
                Level::None => Tried::new(level, None, 0),
            });
        }
        let report = Report { machine: self.machine(), levels };
        // Without a kept report, the next process probes again.
        drop(self.keep(&report));
        report
    }

    async fn bubblewrap(&self) -> Tried {
        match self.find_bwrap() {
            Err(why) => Tried::new(Level::Bubblewrap, Some(why), 0),
            Ok(bwrap) => {
                let version = tokio::process::Command::new(&bwrap).arg("--version").env_clear().output();
                let version = timeout(WITHIN, version).await.ok().and_then(Result::ok);
                let version = version.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
                let mut tried = self.level(Level::Bubblewrap, Some(&bwrap)).await;
                tried.bwrap = Some(bwrap);
                tried.version = version.filter(|version| !version.is_empty());
                tried
            }
        }
    }

    /// A program that nobody but its owner, who is the system or this user, can have changed.
    fn find_bwrap(&self) -> Result<PathBuf, String> {
        let mut why = format!("there is no program bwrap in {}; install bubblewrap", list(&self.folders));
        for path in self.folders.iter().map(|folder| folder.join("bwrap")) {
            let Ok(meta) = fs::metadata(&path) else { continue };
            let owned = meta.uid() == 0 || meta.uid() == getuid().as_raw();
            if !owned || meta.permissions().mode() & 0o022 != 0 {
                why = format!("{} can be changed by other users", path.display());
            } else if meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
                return Ok(path);
            }
        }
        Err(why)
    }

    async fn level(&self, level: Level, bwrap: Option<&Path>) -> Tried {
        let tried = self.try_level(level, bwrap).await;
        match tried {
            Ok(abi) => Tried::new(level, None, abi),
            Err(why) => Tried::new(level, Some(why), 0),
        }
    }

    /// Runs the probe on a level. On success, the version of Landlock.
    async fn try_level(&self, level: Level, bwrap: Option<&Path>) -> Result<u32, String> {
        let io = |error: io::Error| format!("the probe could not be made ready: {error}");
        let room = Room::make(&self.state).map_err(io)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io)?;
        let port = listener.local_addr().map_err(io)?.port();
        let mut confinement = Confinement::new(level, room.at("tmp"));
        confinement.bwrap = bwrap.map(Path::to_owned);
        confinement.writable = vec![room.at("inside")];
        confinement.unreadable = vec![room.at("hidden")];
        confinement.readable = fs::canonicalize(&self.helper.program).into_iter().collect();
        let own = [OsString::from(MARKER)].into_iter();
        let places = ["inside", "outside", "hidden"].map(|name| room.at(name).into_os_string());
        let args = self.helper.args.iter().cloned().chain(own).chain(places).chain([port.to_string().into()]);
        let args = args.map(|word| word.into_string().map_err(|word| not_utf8(&word)));
        let server = Server {
            program: OWN_PROGRAM.into(),
            args: args.collect::<Result<_, _>>()?,
            cwd: room.at("inside"),
            env: [].into(),
            confine: Some(confinement),
        };
        // Of a `bwrap` that is killed at once a child may stay that waits for it: what it is started by outlives us, and
        // ends what it started, when its input ends.
        let started = self.helper.start_bound(&server);
        let mut child = started.map_err(|error| format!("it could not be started: {error}"))?;
        let input = child.stdin.take();
        let output = timeout(WITHIN, child.wait_with_output()).await;
        drop(input);
        let output = match output {
            Ok(output) => output.map_err(|error| format!("it could not be watched: {error}"))?,
            Err(_) => return Err(format!("the probe did not end in {} s", WITHIN.as_secs())),
        };
        let stderr = String::from_utf8_lossy(&output.stderr);
        let not_started = format!("{OWN_PROGRAM}{NOT_STARTED}");
        let failure = stderr.lines().find_map(|line| line.strip_prefix(&not_started));
        let said = String::from_utf8_lossy(&output.stdout);
        let abi = said.trim().strip_prefix(HELD).and_then(|abi| abi.trim().parse().ok());
        match (failure, abi, output.status.success()) {
            (None, Some(abi), true) => Ok(abi),
            (failure, _, _) => {
                let complains = stderr.trim().lines().rfind(|line| !line.starts_with(&not_started));
                let words = [failure, said.trim().lines().last(), complains];
                let words: Vec<&str> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
                Err(match words.as_slice() {
                    [] => format!("the probe ended with {}", output.status),
                    words => words.join(": "),
                })
            }
        }
    }

    fn keep(&self, report: &Report) -> io::Result<()> {
        fs::create_dir_all(&self.state)?;
        let temp = self.state.join(format!("{FILE}.{}.tmp", getpid()));
        fs::write(&temp, serde_json::to_vec_pretty(report)?)?;
        fs::rename(&temp, self.state.join(FILE))
    }

    /// Names all that the report depends on.
    fn machine(&self) -> String {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let namespace = |name: &str| {
            let link = fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
            link.display().to_string()
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let own =
            status.lines().filter(|line| line.starts_with("NoNewPrivs") || line.starts_with("Seccomp:"));
        let own: Vec<String> = own.map(|line| line.split_whitespace().collect()).collect();
        let bwrap = match self.find_bwrap() {
            Err(_) => "none".into(),
            Ok(path) => {
                let meta = fs::metadata(&path).ok();
                let stamp = meta.map(|meta| (meta.len(), meta.mtime(), meta.mode(), meta.ino()));
                format!("{} {stamp:?}", path.display())
            }
        };
        format!(
            "v{FORMAT} kernel {release} uid {} {} {} {} bwrap {bwrap}",
            getuid().as_raw(),
            namespace("user"),
            namespace("mnt"),
            own.join(" ")
        )
    }
}

/// The probe's files; they go with it.
struct Room(PathBuf);

impl Room {
    fn make(state: &Path) -> io::Result<Self> {
        fs::create_dir_all(state)?;
        // Others may probe at once.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let room = Self(fs::canonicalize(state)?.join(format!("probe-{}-{count}", getpid())));
        drop(fs::remove_dir_all(&room.0));
        for name in ["inside", "outside", "tmp"] {
            fs::create_dir_all(room.at(name))?;
        }
        fs::write(room.at("hidden"), "secret")?;
        Ok(room)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The confined side: tries what must work and what must not, and says so. Returns the process's exit code.
pub(crate) fn inside(args: &[OsString]) -> u8 {
    use std::io::Write;
    let mut out = io::stdout().lock();
    let (line, code) = match break_out(args) {
        Ok(abi) => (format!("{HELD}{abi}"), 0),
        Err(why) => (why, 1),
    };
    // Without a listener there is nobody to tell.
    drop(writeln!(out, "{line}"));
    code
}

fn break_out(args: &[OsString]) -> Result<u32, String> {
    let [inside, outside, hidden, port] = args else { return Err("the probe takes four words".into()) };
    let port: u16 = port.to_str().and_then(|port| port.parse().ok()).ok_or("the probe takes a port")?;
    fs::write(Path::new(inside).join("file"), "")
        .map_err(|error| format!("the workspace cannot be written: {error}"))?;
    let leaks = [
        (
            "a file outside of the workspace was written",
            fs::write(Path::new(outside).join("file"), "").is_ok(),
        ),
        ("a hidden file was read", fs::read(hidden).is_ok()),
        ("this machine's network was reached", TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()),
        ("the root of the file tree was changed", rustix::process::chroot("/").is_ok()),
        ("programs may gain privileges", !rustix::thread::no_new_privs().unwrap_or(false)),
    ];
    if let Some((what, _)) = leaks.iter().find(|(_, leaked)| *leaked) {
        return Err(format!("it does not hold: {what}"));
    }
    // Confines itself once more, and does no harm.
    Ok(landlock::scope().unwrap_or(0))
}

fn not_utf8(word: &OsStr) -> String {
    format!("the probe could not be made ready: {} is not UTF-8", word.display())
}

fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The first argument of the probe within the sandbox.
pub(crate) const MARKER: &str = "__sterna-probe";
const HELD: &str = "held, landlock ";
const FILE: &str = "sandbox.json";
/// Changes when a report of an earlier build must not be believed.
const FORMAT: u32 = 1;
const WITHIN: Duration = Duration::from_secs(10);
/// Where systems keep programs that only they can change.
const FOLDERS: &[&str] =
    &["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin", "/run/current-system/sw/bin"];
