//! The real world, for hosts that do not bring one of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_log::Owner;
use sterna_model::{Digest, Millis, SessionId};
use sterna_policy::{Contacts, Look};
use sterna_runtime::{Env, FileVersion};

/// The machine's clock, this process's name, and an environment for children that holds no key.
pub struct SystemEnv {
    child_env: BTreeMap<String, String>,
    state_dirs: Vec<PathBuf>,
    owner: Owner,
    /// Where the secret of waits' keys is kept. `None`: it lives as long as this process.
    secret_file: Option<PathBuf>,
    secret: OnceLock<Option<[u8; 32]>>,
    /// Files whose content was looked at, as they were then.
    looked: Mutex<BTreeMap<PathBuf, (Stamp, Digest)>>,
    /// Alive as long as this environment.
    _instance: Instance,
}

/// Device, inode, length, and when it was changed last: another one whenever the file is, where it was at rest.
type Stamp = (u64, u64, u64, i64, i64);
/// Bytes of a file that is looked at: tools read no larger one.
const MAX_LOOKED: u64 = 50 << 20;
/// Two ticks of the slowest kernel clock, which has 100 a second.
const GRAIN: Duration = Duration::from_millis(20);
/// FAT keeps every second one.
const GRAIN_OF_SECONDS: Duration = Duration::from_secs(2);

impl SystemEnv {
    /// `pass`: further variables that children may see. `state_dirs`: where no tool may write.
    pub fn new(pass: &[String], state_dirs: Vec<PathBuf>) -> Self {
        let all =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let child_env = sterna_shell::allow_list(all, pass.iter().map(String::as_str));
        let resolved = state_dirs.iter().map(|dir| resolve(dir));
        let mut state_dirs: Vec<PathBuf> = resolved.chain(state_dirs.clone()).collect();
        state_dirs.sort();
        state_dirs.dedup();
        let instance = Instance::new();
        let owner = Owner(format!("{}:{}", process_name(std::process::id()), instance.0));
        let (secret, looked) = (OnceLock::new(), Mutex::default());
        Self { child_env, state_dirs, owner, secret_file: None, secret, looked, _instance: instance }
    }

    /// Keeps the secret of waits' keys in this file, so that another process of the store knows them. It is made when
    /// it is needed first, for its owner alone.
    pub fn secret_in(self, file: PathBuf) -> Self {
        Self { secret_file: Some(file), ..self }
    }

    /// What a file holds. `now`: when it is looked at, or before.
    fn version_at(&self, path: &Path, now: SystemTime) -> Option<FileVersion> {
        let meta = match std::fs::metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(FileVersion::Gone),
            Err(_) => return None,
        };
        if !meta.is_file() || meta.len() > MAX_LOOKED {
            return None;
        }
        let stamp = (meta.dev(), meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec());
        let at_rest = is_at_rest(meta.ctime(), meta.ctime_nsec(), now);
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, hash)) = looked.get(path).filter(|(held, _)| *held == stamp) {
            return Some(FileVersion::Is(*hash));
        }
        let hash = sterna_log::digest(&std::fs::read(path).ok()?);
        if at_rest {
            looked.insert(path.to_owned(), (stamp, hash));
        }
        Some(FileVersion::Is(hash))
    }
}

/// One of this process's environments. Two runtimes in one process are two owners: neither may take the other's lease.
struct Instance(u64);

static INSTANCES: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

impl Instance {
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        INSTANCES.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        Self(number)
    }

    fn is_alive(number: u64) -> bool {
        INSTANCES.lock().unwrap_or_else(PoisonError::into_inner).contains(&number)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        INSTANCES.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

impl Env for SystemEnv {
    fn now(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()> {
        let wait = at.saturating_sub(self.now());
        tokio::time::sleep(Duration::from_millis(wait)).boxed()
    }

    fn new_session_id(&self) -> SessionId {
        let id = uuid::Uuid::now_v7().to_string();
        SessionId::new(&id).expect("a UUID is 36 characters of hex digits and dashes")
    }

    fn owner(&self) -> Owner {
        self.owner.clone()
    }

    fn is_dead(&self, owner: &Owner) -> bool {
        let Some((process, instance)) = owner.0.rsplit_once(':') else { return false };
        let mut fields = process.split(':');
        let (Some(boot), Some(space), Some(pid)) =
            (fields.next(), fields.next(), fields.next().and_then(|pid| pid.parse::<u32>().ok()))
        else {
            return false;
        };
        // Another machine, this one before it was started again, or a container whose processes we do not see: only
        // its lease's end tells.
        if boot != boot_id() || space != pid_space() {
            return false;
        }
        if process == process_name(std::process::id()) {
            return instance.parse().is_ok_and(|instance| !Instance::is_alive(instance));
        }
        process_name(pid) != process
    }

    fn child_env(&self) -> BTreeMap<String, String> {
        self.child_env.clone()
    }

    fn home(&self) -> Option<PathBuf> {
        std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        resolve(path)
    }

    fn git_suspect(&self, folder: &Path) -> Option<String> {
        crate::git_suspect(folder)
    }

    fn git_outside(&self, folder: &Path, remote: Option<&str>) -> Option<String> {
        crate::git_outside(folder, remote)
    }

    fn git_contacts(&self, folder: &Path, remote: &str, push: bool) -> Contacts {
        crate::git_contacts(folder, remote, push)
    }

    fn look(&self, folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Look {
        crate::look(folder, wanted)
    }

    fn file_version(&self, path: &Path) -> Option<FileVersion> {
        self.version_at(path, SystemTime::now())
    }

    fn state_dirs(&self) -> Vec<PathBuf> {
        self.state_dirs.clone()
    }

    fn wait_secret(&self) -> Option<[u8; 32]> {
        *self.secret.get_or_init(|| match &self.secret_file {
            Some(file) => kept_secret(file),
            None => new_secret(),
        })
    }
}

/// Whether a change from `now` on gives a file another time than this one, in seconds and nanoseconds of the epoch: the
/// kernel takes it from a clock that stands still for a tick, and some file systems keep whole seconds, or every second one.
fn is_at_rest(changed: i64, nanos: i64, now: SystemTime) -> bool {
    let (Ok(seconds), Ok(fraction)) = (u64::try_from(changed), u32::try_from(nanos)) else { return false };
    let Some(changed) = UNIX_EPOCH.checked_add(Duration::new(seconds, fraction)) else { return false };
    let grain = if nanos == 0 { GRAIN_OF_SECONDS } else { GRAIN };
    // A time that is still to come says nothing: the clock was set, or it is another machine's.
    now.duration_since(changed).is_ok_and(|age| age > grain)
}

/// The secret in this file, which is made if there is none. `None` where neither can be done.
fn kept_secret(file: &Path) -> Option<[u8; 32]> {
    let read = || std::fs::read(file).ok()?.try_into().ok();
    if let Some(secret) = read() {
        return Some(secret);
    }
    let secret = new_secret()?;
    // Whole or not at all, and the first one counts.
    let draft = file.with_extension(format!("{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let made = options.write(true).create(true).truncate(true).mode(0o600).open(&draft);
    made.and_then(|mut made| made.write_all(&secret).and_then(|()| made.sync_all())).ok()?;
    let linked = std::fs::hard_link(&draft, file);
    // Left behind, it is a file of 32 bytes that nobody reads.
    let _ = std::fs::remove_file(&draft);
    match linked {
        Ok(()) => Some(secret),
        Err(_) => read(),
    }
}

fn new_secret() -> Option<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).ok()?;
    Some(secret)
}

/// Boot id, process name space, process id and process start time: a name that no other process ever has on this
/// machine.
fn process_name(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The program's name stands in parentheses and may hold spaces; the start time is the 20th field after it.
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut fields = after_name.split(' ');
    let state = fields.next().unwrap_or("gone");
    let started = fields.nth(18).unwrap_or("gone");
    // A zombie runs nothing any more.
    let started = if state == "Z" || state == "X" { "gone" } else { started };
    format!("{}:{}:{pid}:{started}", boot_id(), pid_space())
}

/// The name space in which our process ids mean something.
fn pid_space() -> &'static str {
    static SPACE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    SPACE.get_or_init(|| {
        let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let digits: String = link.display().to_string().chars().filter(char::is_ascii_digit).collect();
        if digits.is_empty() { "unknown".into() } else { digits }
    })
}

fn boot_id() -> &'static str {
    static BOOT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        if id.trim().is_empty() { "unknown".into() } else { id.trim().to_owned() }
    })
}

/// Symlinks resolved component by component, as far as the path exists; the rest is appended by name.
fn resolve(path: &Path) -> PathBuf {
    sterna_tools::paths::resolve(Path::new("/"), &path.display().to_string())
        .unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_owner_is_known_and_a_living_one_is_not_taken_for_dead() {
        let env = SystemEnv::new(&[], Vec::new());
        assert!(!env.is_dead(&env.owner()));
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let owner = Owner(format!("{}:1", process_name(child.id())));
        assert!(!env.is_dead(&owner));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(env.is_dead(&owner));
        // Another boot, or another machine: not known.
        assert!(!env.is_dead(&Owner("other:1:1".into())));
        // The same process id with another start time is another process; another name space is not ours to judge.
        let mine = process_name(std::process::id());
        let (name, _) = mine.rsplit_once(':').unwrap();
        assert!(env.is_dead(&Owner(format!("{name}:1:1"))));
        assert!(!env.is_dead(&Owner(mine.replacen(pid_space(), "7", 1) + ":1")));
        // Two in one process are two owners, each alive as long as it lasts.
        let other = SystemEnv::new(&[], Vec::new());
        let owner = other.owner();
        assert!(owner != env.owner() && !env.is_dead(&owner));
        drop(other);
        assert!(env.is_dead(&owner));
    }

    #[test]
    fn a_file_that_was_just_changed_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let (env, at_once) = (SystemEnv::new(&[], Vec::new()), SystemEnv::new(&[], Vec::new()));
        let mut changed = UNIX_EPOCH;
        // Same length, same inode, and often the same tick.
        for round in 0..500 {
            let text = format!("{round:04}");
            std::fs::write(&file, &text).unwrap();
            let wanted = Some(FileVersion::Is(sterna_log::digest(text.as_bytes())));
            assert_eq!(env.file_version(&file), wanted, "{text}");
            // A kernel with finer times gives each change its own: nothing must have rested on that.
            let meta = std::fs::metadata(&file).unwrap();
            let (seconds, nanos) = (meta.ctime().try_into().unwrap(), meta.ctime_nsec().try_into().unwrap());
            changed = UNIX_EPOCH + Duration::new(seconds, nanos);
            assert_eq!(at_once.version_at(&file, changed), wanted, "{text}");
            assert!(at_once.looked.lock().unwrap().is_empty(), "{text}");
        }
        // Once the clock has moved on, it need not be.
        at_once.version_at(&file, changed + Duration::from_secs(3)).unwrap();
        assert_eq!(at_once.looked.lock().unwrap().len(), 1);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(env.file_version(&file), Some(FileVersion::Gone));
    }

    #[test]
    fn a_time_of_change_is_trusted_when_the_clock_has_moved_on() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        for (seconds, nanos, trusted) in [
            (999, 970_000_000, true),
            (999, 990_000_000, false),
            (999, 979_999_999, true),
            (999, 980_000_000, false),
            (1_000, 1, false),
            (2_000, 1, false),
            // Whole seconds: the file system may keep no less.
            (999, 0, false),
            (998, 0, false),
            (997, 0, true),
            (-1, 5, false),
            (i64::MAX, 5, false),
        ] {
            assert_eq!(is_at_rest(seconds, nanos, now), trusted, "{seconds}.{nanos:09}");
        }
    }
}
