//! A run's folder, and the lives of the worker in it: started, killed, started again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::outside::{Books, Outside};
use super::worker::Folder;

/// The word that makes this program the worker.
pub const WORKER: &str = "worker-of-the-crash-test";

/// When a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    Never,
    After(Duration),
    /// When this record is known to be durable.
    AtRecord(u64),
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Killed,
    /// It answered all its inputs.
    Done,
    /// It left with an error.
    Failed,
    /// It did not end in time.
    Hung,
}

pub struct World {
    dir: tempfile::TempDir,
    pub folder: Folder,
    outside: Outside,
}

impl World {
    pub fn new(script: &str, asks: bool) -> std::io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("sterna-crash-").tempdir()?;
        let folder = Folder(dir.path().canonicalize()?);
        std::fs::create_dir_all(folder.work())?;
        std::fs::write(folder.script(), script)?;
        if asks {
            std::fs::write(folder.asks(), "")?;
        }
        let outside = Outside::serve(&folder.socket(), Duration::from_millis(15))?;
        Ok(Self { dir, folder, outside })
    }

    /// What the server outside knows.
    pub fn books(&self) -> Books {
        self.outside.books()
    }

    /// Keeps the folder, to look at it.
    pub fn keep(self) -> std::path::PathBuf {
        drop(self.outside);
        self.dir.keep()
    }

    /// One life of the worker.
    pub fn live(&self, kill: Kill) -> std::io::Result<End> {
        let mut child = self.start()?;
        let end = match kill {
            Kill::Never => ended(&mut child, Instant::now() + PATIENCE)?,
            Kill::After(delay) => ended(&mut child, Instant::now() + delay)?,
            Kill::AtRecord(record) => {
                let out = child.stdout.take();
                until(out, record);
                // It may have ended with its last record.
                child.try_wait()?.map(End::of)
            }
        };
        let end = match end {
            Some(end) => end,
            None => {
                child.kill()?;
                child.wait()?;
                if kill == Kill::Never { End::Hung } else { End::Killed }
            }
        };
        Ok(end)
    }

    fn start(&self) -> std::io::Result<Child> {
        Command::new(std::env::current_exe()?)
            .arg(WORKER)
            .arg(&self.folder.0)
            .current_dir("/")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder.0)
            .stdin(Stdio::null())
            // Numbers of records: few enough that nobody has to read them.
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
    }

    /// Lines of a file in the workspace; 0 when it is not there.
    pub fn lines(&self, name: &str) -> usize {
        self.content(name).map_or(0, |text| text.lines().count())
    }

    pub fn content(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.work().join(name)).ok()
    }

    /// Spools that are left.
    pub fn spools(&self) -> usize {
        let entries = std::fs::read_dir(self.folder.spools());
        let ours = |entry: &std::fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
        entries.map_or(0, |entries| entries.flatten().filter(ours).count())
    }

    /// After a kill: processes of this run that no shim holds. One that was being started may still be on its way.
    pub fn orphans(&self) -> Vec<i32> {
        self.gone(|processes| {
            let held = |of: &Process| {
                let mut at = of;
                loop {
                    if at.shim {
                        return true;
                    }
                    match processes.iter().find(|above| above.pid == at.parent) {
                        Some(above) => at = above,
                        None => return false,
                    }
                }
            };
            processes.iter().filter(|of| !held(of)).map(|of| of.pid).collect()
        })
    }

    /// At the end: processes of this run of any kind. Commands may still be ending.
    pub fn left(&self) -> Vec<i32> {
        self.gone(|processes| processes.iter().map(|of| of.pid).collect())
    }

    /// What `wanted` still gives after a while.
    fn gone(&self, wanted: impl Fn(&[Process]) -> Vec<i32>) -> Vec<i32> {
        let late = Instant::now() + Duration::from_secs(10);
        loop {
            let found = wanted(&processes(&self.folder));
            if found.is_empty() || Instant::now() > late {
                return found;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl End {
    fn of(status: std::process::ExitStatus) -> Self {
        if status.success() { Self::Done } else { Self::Failed }
    }
}

/// Seconds that a life may take that nobody kills. It takes less than one; the rest is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

fn ended(child: &mut Child, until: Instant) -> std::io::Result<Option<End>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(End::of(status)));
        }
        let now = Instant::now();
        if now >= until {
            return Ok(None);
        }
        std::thread::sleep((until - now).min(Duration::from_millis(2)));
    }
}

/// Reads on until this record is told, or nothing more is.
fn until(out: Option<ChildStdout>, record: u64) {
    let lines = out.map(|out| BufReader::new(out).lines()).into_iter().flatten();
    for line in lines.map_while(Result::ok) {
        if line.parse::<u64>().is_ok_and(|told| told >= record) {
            return;
        }
    }
}

struct Process {
    pid: i32,
    parent: i32,
    /// It was started to run a command of this run.
    shim: bool,
}

/// Processes that work in this folder, or were started with it.
fn processes(folder: &Folder) -> Vec<Process> {
    let (work, root) = (folder.work(), folder.0.display().to_string());
    let spools = folder.spools().display().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let place = Path::new("/proc").join(pid.to_string());
        let line = std::fs::read(place.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let here = std::fs::read_link(place.join("cwd")).is_ok_and(|cwd| cwd == work);
        // The dead have neither.
        if !here && !line.contains(&root) {
            return None;
        }
        let stat = std::fs::read_to_string(place.join("stat")).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        Some(Process { pid, parent, shim: line.contains(&spools) })
    })
    .collect()
}
