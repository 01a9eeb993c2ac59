//! The cage: this program again, under bubblewrap, with the copy in the workspace's place, everything else read-only
//! or hidden, and no network.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::frames::{self, Ask};

/// What a cage is made of.
pub(super) struct Cage<'a> {
    /// The copy, and the path that it takes.
    pub copy: &'a Path,
    pub root: &'a Path,
    /// Folders that are seen empty.
    pub hidden: &'a [PathBuf],
    /// The words after the program's name with which it becomes the caged run.
    pub words: &'a [OsString],
    /// All of its environment.
    pub env: std::collections::BTreeMap<String, String>,
}

impl Cage<'_> {
    /// Starts it, and waits until it says that it is there. An error says in words why it cannot be had.
    pub fn start(&self) -> Result<Child, String> {
        let bwrap = find("bwrap").ok_or("bubblewrap is not installed: there is no `bwrap` in PATH")?;
        let program = std::env::current_exe().map_err(|e| format!("this program cannot be found: {e}"))?;
        let mut command = Command::new(bwrap);
        command.args(self.arguments(&program)).arg("--").arg(&program).args(self.words);
        command.env_clear().envs(&self.env);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("`bwrap` cannot be started: {e}"))?;
        match hello(&mut child) {
            Ok(()) => Ok(child),
            Err(why) => {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("bubblewrap does not work here: {why}"))
            }
        }
    }

    fn arguments(&self, program: &Path) -> Vec<OsString> {
        let mut all: Vec<OsString> = FIXED.iter().map(OsString::from).collect();
        let mut add = |words: &[&OsStr]| all.extend(words.iter().map(|word| (*word).to_owned()));
        let mut covered: Vec<&Path> = PRIVATE.iter().map(Path::new).filter(|path| path.is_dir()).collect();
        covered.extend(self.hidden.iter().map(PathBuf::as_path).filter(|path| path.is_dir()));
        for path in &covered {
            add(&["--tmpfs".as_ref(), path.as_os_str()]);
        }
        // After what is private, as a workspace may lie in it.
        add(&["--bind".as_ref(), self.copy.as_os_str(), self.root.as_os_str()]);
        if covered.iter().chain([&self.root]).any(|path| program.starts_with(path)) {
            add(&["--ro-bind".as_ref(), program.as_os_str(), program.as_os_str()]);
        }
        add(&["--chdir".as_ref(), self.root.as_os_str()]);
        all
    }
}

/// Waits for the first frame.
fn hello(child: &mut Child) -> Result<(), String> {
    let (tx, rx) = mpsc::channel();
    let mut stdout = child.stdout.take().ok_or("it has no stdout")?;
    let mut stderr = child.stderr.take().ok_or("it has no stderr")?;
    let reader = std::thread::spawn(move || {
        let first = frames::read::<Ask>(&mut stdout);
        // Whoever waited may have given up.
        let _ = tx.send(first.map(|(ask, _)| matches!(ask, Ask::Hello)));
        stdout
    });
    let answer = rx.recv_timeout(HELLO);
    if matches!(answer, Ok(Ok(true))) {
        child.stdout = reader.join().ok();
        // What it complains of is its tools' matter; the pipe must not fill.
        std::thread::spawn(move || io::copy(&mut stderr, &mut io::sink()));
        return Ok(());
    }
    // It may have ended by itself.
    let _ = child.kill();
    let mut said = Vec::new();
    let _ = stderr.take(4096).read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    Err(said.lines().next().unwrap_or("it ended without a word").trim().to_owned())
}

/// A program in this process's PATH.
fn find(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(runs)
}

/// All of the machine read-only, name spaces of its own, no rights, and nothing that outlives us.
const FIXED: [&str; 16] = [
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
    "--unshare-net",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--die-with-parent",
    "--new-session",
    "--cap-drop",
    "ALL",
];
/// Folders with files and sockets of others.
const PRIVATE: [&str; 3] = ["/tmp", "/var/tmp", "/run"];
/// How long the cage may take until it is there.
const HELLO: Duration = Duration::from_secs(20);
