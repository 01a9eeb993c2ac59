//! One command's folder on disk: who may run it, whether it runs, what it wrote and how it ended.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::FlockOperation;
use rustix::process::{Flock, FlockType};
use serde::{Deserialize, Serialize};
use sterna_model::{EffectKey, Millis};

use super::format::{FormatError, decode, encode};
use super::plan::{Exit, PlanFile, now};

/// A spool, by its folder. Holding one holds nothing open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    dir: PathBuf,
}

/// What a spool says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nobody has claimed it: its shim may still do so.
    Open,
    /// It never ran, and never will.
    Revoked,
    Running(Option<Started>),
    Exited(Exit),
    /// It was started, its shim is gone, and nobody knows how it ended.
    Dead(Option<Started>),
}

/// The shim's own claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub at: Millis,
    /// Of the shim. A name for people and for its session, never a sign of life.
    pub pid: i32,
    /// Changes with each start of the machine.
    pub boot: String,
}

impl State {
    /// For people and models. Names no process.
    pub fn told(&self) -> String {
        match self {
            Self::Open => "starting".into(),
            Self::Revoked => "never ran".into(),
            Self::Running(_) => "running".into(),
            Self::Exited(exit) => exit.told(),
            Self::Dead(_) => "lost: what watched it was killed, and its end is not known".into(),
        }
    }

    /// It ran, or may have run, and does not any more.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Exited(_) | Self::Dead(_) | Self::Revoked => true,
            Self::Open | Self::Running(_) => false,
        }
    }
}

/// A spool that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("there is a spool for this effect and attempt already")]
    Exists,
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

impl SpoolError {
    /// Something that should be there is not.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}

/// The file `claim`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Claim {
    Started(Started),
    Revoked { at: Millis },
}

/// Who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Won {
    Me,
    /// Somebody has claimed it before, perhaps with the same word.
    Other,
}

/// The shim's sign of life. It goes with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Spool {
    /// The folder's name: the same for the same effect and attempt.
    pub fn name(key: &EffectKey, attempt: u32) -> String {
        let hash = sterna_log::digest(format!("sterna spool\0{key}\0{attempt}").as_bytes()).to_string();
        hash[..NAME_LEN].to_owned()
    }

    /// The beginning of the name, by which people and models call a command.
    pub fn short(&self) -> &str {
        let name = self.dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.get(..SHORT_LEN).unwrap_or(name)
    }

    /// What a background job is called: the same for the same effect and attempt.
    pub fn job_id(&self) -> String {
        format!("{JOB}{}", self.short())
    }

    pub fn of(root: &Path, key: &EffectKey, attempt: u32) -> Self {
        Self { dir: root.join(Self::name(key, attempt)) }
    }

    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Whether a folder has a name that a spool may have.
    pub(crate) fn is_name(name: &str) -> bool {
        name.len() == NAME_LEN && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A new spool with its plan. Not durable: without a claim it means nothing.
    pub(crate) fn create(&self, plan: &PlanFile) -> Result<(), SpoolError> {
        let bytes = encode(PLAN, plan)?;
        self.make_root()?;
        match folder().create(&self.dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(SpoolError::Exists),
            other => other.map_err(io_at("create", &self.dir))?,
        }
        let temp = self.path("plan.tmp");
        let written = write_new(&temp, &bytes, Durable::No)
            .and_then(|()| fs::rename(&temp, self.path(PLAN)).map_err(io_at("write", &self.path(PLAN))));
        if written.is_err() {
            // Ours alone, and of no use.
            self.discard()?;
        }
        written
    }

    /// The folder, for a claim of recovery on a spool that was never made.
    pub(crate) fn ensure(&self) -> Result<(), SpoolError> {
        self.make_root()?;
        match folder().create(&self.dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(io_at("create", &self.dir)),
        }
    }

    fn make_root(&self) -> Result<(), SpoolError> {
        let Some(root) = self.dir.parent() else { return Ok(()) };
        folder().recursive(true).create(root).map_err(io_at("create", root))
    }

    pub(crate) fn plan(&self) -> Result<PlanFile, SpoolError> {
        match self.read(PLAN)? {
            Some(bytes) => Ok(decode(PLAN, &bytes)?),
            None => Err(FormatError::Damaged { kind: PLAN }.into()),
        }
    }

    /// Claims the spool, durably, unless somebody has. `linked` is called between the claim and its durability.
    pub(crate) fn claim(&self, claim: &Claim, linked: impl FnOnce()) -> Result<Won, SpoolError> {
        let bytes = encode(CLAIM, claim)?;
        let path = self.path(CLAIM);
        let temp =
            self.path(&format!("claim.{}.{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        // Whole and durable before it has its name: a claim is never seen in part.
        write_new(&temp, &bytes, Durable::Yes)?;
        let link = fs::hard_link(&temp, &path);
        let won = match link {
            Ok(()) => Won::Me,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Won::Other,
            Err(source) => return Err(SpoolError::Io { doing: "claim", path, source }),
        };
        linked();
        // Also when another won: what is read next must be durable before anyone acts on it.
        self.sync_folders()?;
        // A temporary file that stays is harmless; the folder goes as a whole.
        drop(fs::remove_file(&temp));
        Ok(won)
    }

    /// Claims the spool for recovery: if this wins, the command never ran and never will.
    pub(crate) fn revoke(&self) -> Result<Won, SpoolError> {
        if self.read(CLAIM)?.is_some() {
            self.sync_folders()?;
            return Ok(Won::Other);
        }
        self.claim(&Claim::Revoked { at: now() }, || ())
    }

    /// What the spool says now. Changes nothing.
    pub fn state(&self) -> Result<State, SpoolError> {
        let claim: Option<Claim> = match self.read(CLAIM)? {
            None => return Ok(State::Open),
            // Somebody has claimed it and we cannot tell who: it may have run.
            Some(bytes) => decode(CLAIM, &bytes).ok(),
        };
        let started = match claim {
            Some(Claim::Revoked { .. }) => return Ok(State::Revoked),
            Some(Claim::Started(started)) => Some(started),
            None => None,
        };
        // The lock first: an end that is written between the two looks is seen.
        let held = self.is_held()?;
        Ok(match self.exit()? {
            Some(exit) => State::Exited(exit),
            None if held => State::Running(started),
            None => State::Dead(started),
        })
    }

    /// How it ended; `None` while nothing readable says so.
    pub(crate) fn exit(&self) -> Result<Option<Exit>, SpoolError> {
        // It appears by rename, whole: if it cannot be read now, it never can.
        Ok(self.read(EXITED)?.and_then(|bytes| decode(EXITED, &bytes).ok()))
    }

    /// Room for the end, taken while the disk still has some.
    pub(crate) fn reserve_exit(&self) -> Result<(), SpoolError> {
        write_new(&self.path(EXITED_TEMP), &[b' '; EXIT_ROOM], Durable::No)
    }

    /// Writes how it ended: to be seen at once and whole, durable with [`sync_exit`](Self::sync_exit). `written` is called
    /// before it has its name.
    pub(crate) fn publish_exit(&self, exit: &Exit, written: impl FnOnce()) -> Result<(), SpoolError> {
        let bytes = encode(EXITED, exit)?;
        let (temp, path) = (self.path(EXITED_TEMP), self.path(EXITED));
        let write = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&temp)?;
            file.write_all(&bytes)?;
            file.set_len(bytes.len() as u64)
        };
        write().map_err(io_at("write", &temp))?;
        written();
        fs::rename(&temp, &path).map_err(io_at("write", &path))
    }

    /// Makes output and end durable. What cannot be, or is gone because its outcome is in a log, is left: should the power go
    /// now, what is found is an end that says by its hash whether the output is whole, or no end, which is a doubt.
    pub(crate) fn sync_exit(&self) {
        for name in [OUTPUT, EXITED] {
            let Ok(file) = File::open(self.path(name)) else { return };
            let has_content = file.metadata().is_ok_and(|meta| meta.len() > 0);
            if has_content && file.sync_all().is_err() {
                return;
            }
        }
        drop(sync_folder(&self.dir));
    }

    /// The file that takes the output.
    pub(crate) fn create_output(&self) -> Result<File, SpoolError> {
        let path = self.path(OUTPUT);
        let mut options = OpenOptions::new();
        options.append(true).create_new(true).mode(0o600).open(&path).map_err(io_at("create", &path))
    }

    /// The output so far. `None` before there is any.
    pub(crate) fn open_output(&self) -> Result<Option<File>, SpoolError> {
        absent(File::open(self.path(OUTPUT))).map_err(io_at("read", &self.path(OUTPUT)))
    }

    pub(crate) fn unreadable(&self, source: io::Error) -> SpoolError {
        io_at("read", &self.path(OUTPUT))(source)
    }

    /// Bytes of output so far.
    pub fn output_len(&self) -> u64 {
        fs::metadata(self.path(OUTPUT)).map_or(0, |meta| meta.len())
    }

    /// Takes the lock for the life of this process. `None` when another shim has it. This process must not ask
    /// [`is_held`](Self::is_held) after that: closing any descriptor of the file gives such a lock back.
    pub(crate) fn hold(&self) -> Result<Option<Lock>, SpoolError> {
        let path = self.path(LOCK);
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(io_at("open", &path))?;
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
            Err(error) => Err(io_at("lock", &path)(error.into())),
        }
    }

    /// Whether a living shim holds the lock. Asking takes nothing, so that nobody who asks is in another's way.
    pub(crate) fn is_held(&self) -> Result<bool, SpoolError> {
        let path = self.path(LOCK);
        let Some(file) = absent(File::open(&path)).map_err(io_at("open", &path))? else { return Ok(false) };
        let held = rustix::process::fcntl_getlk(&file, &Flock::from(FlockType::ReadLock));
        Ok(held.map_err(|error| io_at("look at", &path)(error.into()))?.is_some())
    }

    /// Takes the folder away, at once for whoever looks: first its name, then what is in it.
    pub(crate) fn discard(&self) -> Result<(), SpoolError> {
        let gone = self.dir.with_extension(GONE);
        for _ in 0..2 {
            match fs::rename(&self.dir, &gone) {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                // What an earlier crash left under that name.
                Err(_) if gone.exists() => remove_tree(&gone)?,
                Err(source) => return Err(io_at("remove", &self.dir)(source)),
            }
        }
        remove_tree(&gone)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, SpoolError> {
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(self.path(name))?.take(FILE_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        absent(read()).map_err(io_at("read", &self.path(name)))
    }

    fn sync_folders(&self) -> Result<(), SpoolError> {
        sync_folder(&self.dir)?;
        // The folder itself must be found again too.
        self.dir.parent().map_or(Ok(()), sync_folder)
    }
}

/// The end of a folder's name while it is taken away.
pub(crate) const GONE: &str = "gone";

const PLAN: &str = "plan";
const CLAIM: &str = "claim";
const LOCK: &str = "lock";
const OUTPUT: &str = "output";
const EXITED: &str = "exited";
const EXITED_TEMP: &str = "exited.tmp";
const NAME_LEN: usize = 32;
pub(crate) const SHORT_LEN: usize = 8;
/// How the id of a job begins.
pub(crate) const JOB: &str = "job-";
/// The same of a call that is waited for.
pub(crate) const CALL: &str = "call-";
/// More than `exited` ever needs, but for a long reason why a command could not start: what a sandbox refused is at most
/// a dozen lines.
const EXIT_ROOM: usize = 8 << 10;
/// No file that is read whole is larger: a plan holds a command line and its input.
const FILE_MAX: u64 = 64 << 20;

/// Names of temporary files in this process.
static COUNT: AtomicU32 = AtomicU32::new(0);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    Yes,
    No,
}

fn write_new(path: &Path, bytes: &[u8], durable: Durable) -> Result<(), SpoolError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        if durable == Durable::Yes { file.sync_all() } else { Ok(()) }
    };
    write().map_err(io_at("write", path))
}

fn sync_folder(path: &Path) -> Result<(), SpoolError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io_at("sync", path))
}

/// Makes the folder of all spools, and notes when it was made, unless that is noted already.
pub(crate) fn make_root(root: &Path, now: Millis) -> Result<(), SpoolError> {
    folder().recursive(true).create(root).map_err(io_at("create", root))?;
    let path = root.join(SINCE);
    if path.exists() {
        return Ok(());
    }
    // Of several processes the first one counts, and nobody reads half of it.
    let temp = root.join(format!("{SINCE}.{}.tmp", std::process::id()));
    write_new(&temp, now.to_string().as_bytes(), Durable::No)?;
    let linked = fs::hard_link(&temp, &path);
    fs::remove_file(&temp).map_err(io_at("remove", &temp))?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(io_at("write", &path)),
    }
}

/// Since when there is this folder; `None` when it does not say.
pub(crate) fn root_since(root: &Path) -> Option<Millis> {
    fs::read_to_string(root.join(SINCE)).ok()?.parse().ok()
}

/// In the folder of all spools: when it was made, in milliseconds.
const SINCE: &str = ".since";

pub(crate) fn remove_tree(path: &Path) -> Result<(), SpoolError> {
    absent(fs::remove_dir_all(path)).map(drop).map_err(io_at("remove", path))
}

fn folder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// What is not there is no error.
fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn io_at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    let path = path.to_owned();
    move |source| SpoolError::Io { doing, path, source }
}
