//! Files at a place that was judged: opened, read and replaced without following a symlink.
//!
//! Each folder on the way is opened by its name from the one before. So a symlink that somebody put there since the
//! path was resolved is an error, and never a way out.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path};
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use sterna_log::digest;
use sterna_model::Digest;
use sterna_tool::{ToolError, shown};

use crate::support::{Stop, moved, number};

/// The largest file that a tool reads into memory.
pub(crate) const MAX_BYTES: u64 = 50 << 20;

/// A regular file as it was at one moment.
pub(crate) struct Snapshot {
    pub bytes: Vec<u8>,
    pub hash: Digest,
    pub mode: u32,
    stamp: Stamp,
}

/// Changes whenever the file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why there is no file to work with.
#[derive(Debug)]
pub(crate) enum Trouble {
    Missing,
    Folder,
    /// Not a file: what it is.
    Special(&'static str),
    TooLarge(u64),
    /// A symlink is where there was none.
    Moved,
    /// The file is another one than the snapshot.
    Changed,
    /// Another session holds the folder.
    Busy,
    Stopped,
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::IsADirectory => Self::Folder,
            _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Self::Moved,
            _ => Self::Io(error),
        }
    }
}

impl From<Errno> for Trouble {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl Trouble {
    /// What the model is told.
    pub(crate) fn told(self, path: &Path, cwd: &Path) -> ToolError {
        let name = shown(path, cwd);
        let message = match self {
            Self::Missing => {
                let near = nearest(path, cwd);
                if near.is_empty() {
                    format!("`{name}` does not exist")
                } else {
                    format!("`{name}` does not exist; did you mean {near}?")
                }
            }
            Self::Folder => format!("`{name}` is a folder; use list to see what is in it"),
            Self::Special(what) => format!("`{name}` is {what}, not a regular file"),
            Self::TooLarge(bytes) => format!(
                "`{name}` has {} bytes, more than the {} that are read at once; use grep, or shell with head, tail or sed",
                number(bytes),
                number(MAX_BYTES)
            ),
            Self::Moved => return moved(&name),
            Self::Changed => stale(&name),
            Self::Busy => format!("`{name}` is being written by another session; try again"),
            Self::Stopped => return ToolError::cancelled(),
            Self::Io(error) => format!("`{name}`: {error}"),
        };
        ToolError::failed(message)
    }
}

/// The message for a file that is not as this session has seen it.
pub(crate) fn stale(name: &str) -> String {
    format!(
        "stale_file: `{name}` was changed since this session last saw it; read it again, then repeat the change"
    )
}

/// Opens a regular file for reading.
pub(crate) fn open(path: &Path) -> Result<(File, u64), Trouble> {
    let Some((folder, name)) = split(path) else { return Err(Trouble::Folder) };
    let folder = open_folder(folder, false)?;
    // Not blocking: a FIFO would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
    let meta = file.metadata()?;
    let kind = meta.file_type();
    if kind.is_dir() {
        Err(Trouble::Folder)
    } else if kind.is_file() {
        Ok((file, meta.len()))
    } else if kind.is_fifo() {
        Err(Trouble::Special("a named pipe"))
    } else if kind.is_socket() {
        Err(Trouble::Special("a socket"))
    } else {
        Err(Trouble::Special("a device"))
    }
}

/// Reads a regular file whole.
pub(crate) fn read(path: &Path) -> Result<Snapshot, Trouble> {
    let (file, size) = open(path)?;
    if size > MAX_BYTES {
        return Err(Trouble::TooLarge(size));
    }
    let meta = file.metadata()?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // It may grow while it is read.
    (&file).take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Trouble::TooLarge(file.metadata()?.len()));
    }
    let stamp = Stamp {
        device: meta.dev(),
        inode: meta.ino(),
        size: bytes.len() as u64,
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    };
    Ok(Snapshot { hash: digest(&bytes), bytes, mode: meta.permissions().mode() & 0o7777, stamp })
}

/// Puts `bytes` in the place of `before`, or makes the file when there was none: whole, or not at all.
///
/// `mark` names the temporary file, so that a second attempt clears away what a crash left of the first.
pub(crate) fn replace(
    path: &Path,
    bytes: &[u8],
    before: Option<&Snapshot>,
    mark: &str,
    stop: &Stop,
) -> Result<(), Trouble> {
    Staged::new(path, bytes, before.map(|before| before.mode), mark)?.commit(before, stop)
}

/// A file's new content beside it, durable, under a name of its own. Dropped, it is gone.
pub(crate) struct Staged {
    parent: OwnedFd,
    /// A handle that only names the folder can be neither locked nor synced.
    handle: OwnedFd,
    name: OsString,
    temp: String,
}

impl Staged {
    /// Writes the content. Without a `mode` it gets that of a new file. Makes the folders that are missing.
    pub(crate) fn new(path: &Path, bytes: &[u8], mode: Option<u32>, mark: &str) -> Result<Self, Trouble> {
        let Some((folder, name)) = split(path) else { return Err(Trouble::Folder) };
        let parent = open_folder(folder, true)?;
        let handle = rustix::fs::openat(&parent, ".", FOLDER, Mode::empty())?;
        let staged = Self { parent, handle, name: name.to_owned(), temp: format!(".sterna-{mark}.tmp") };
        fill(&staged.parent, &staged.temp, bytes, mode)?;
        Ok(staged)
    }

    /// Puts it in the place of `before`, if that is still there.
    pub(crate) fn commit(self, before: Option<&Snapshot>, stop: &Stop) -> Result<(), Trouble> {
        lock(&self.handle, stop)?;
        if stop.is_set() {
            return Err(Trouble::Stopped);
        }
        // The last look before the rename. Other sessions wait for the lock; other programs have these microseconds.
        if stamp_at(&self.parent, &self.name)? != before.map(|before| before.stamp) {
            return Err(Trouble::Changed);
        }
        rustix::fs::renameat(&self.parent, self.temp.as_str(), &self.parent, &self.name)?;
        rustix::fs::fsync(&self.handle)?;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It may not have come that far, or is in its place.
        let _ = rustix::fs::unlinkat(&self.parent, self.temp.as_str(), AtFlags::empty());
    }
}

/// Removes the file, if it still is what it was.
pub(crate) fn remove(path: &Path, before: &Snapshot, stop: &Stop) -> Result<(), Trouble> {
    let Some((folder, name)) = split(path) else { return Err(Trouble::Folder) };
    let parent = open_folder(folder, false)?;
    let handle = rustix::fs::openat(&parent, ".", FOLDER, Mode::empty())?;
    lock(&handle, stop)?;
    if stamp_at(&parent, name)? != Some(before.stamp) {
        return Err(Trouble::Changed);
    }
    rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
    rustix::fs::fsync(&handle)?;
    Ok(())
}

/// Removes a folder that is empty.
pub(crate) fn remove_folder(path: &Path) -> Result<(), Trouble> {
    let Some((folder, name)) = split(path) else { return Err(Trouble::Folder) };
    let parent = open_folder(folder, false)?;
    Ok(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
}

fn fill(parent: &OwnedFd, temp: &str, bytes: &[u8], mode: Option<u32>) -> Result<(), Trouble> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // A new file gets the mode that the user's mask leaves.
    let create = || {
        let first = Mode::from_raw_mode(if mode.is_some() { 0o600 } else { 0o666 });
        rustix::fs::openat(parent, temp, flags, first)
    };
    let fd = match create() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(parent, temp, AtFlags::empty())?;
            create()?
        }
        other => other?,
    };
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    if let Some(mode) = mode {
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    file.sync_all()?;
    Ok(())
}

fn stamp_at(parent: &OwnedFd, name: &OsStr) -> Result<Option<Stamp>, Trouble> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stamp(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

// The fields' types differ from system to system.
#[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
fn stamp(stat: &Stat) -> Stamp {
    Stamp {
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
        size: stat.st_size as u64,
        modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    }
}

/// One writer a folder, over all sessions and processes.
fn lock(folder: &OwnedFd, stop: &Stop) -> Result<(), Trouble> {
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if stop.is_set() => return Err(Trouble::Stopped),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_WAIT),
            // A file system without locks: the last look is what there is.
            Ok(()) | Err(_) => return Ok(()),
        }
    }
    Err(Trouble::Busy)
}

const LOCK_TRIES: usize = 500;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// Opens an absolute path without symlinks, folder by folder; makes what is missing when asked to.
pub(crate) fn open_folder(path: &Path, make: bool) -> Result<OwnedFd, Trouble> {
    let mut at = rustix::fs::open("/", NAMED_FOLDER, Mode::empty())?;
    for component in path.components() {
        let Component::Normal(name) = component else { continue };
        at = match rustix::fs::openat(&at, name, NAMED_FOLDER, Mode::empty()) {
            Err(Errno::NOENT) if make => make_folder(&at, name)?,
            Err(Errno::NOTDIR) if is_symlink(&at, name) => return Err(Trouble::Moved),
            other => other?,
        };
    }
    Ok(at)
}

fn make_folder(at: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Trouble> {
    match rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o777)) {
        // Somebody else made it meanwhile.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let parent = rustix::fs::openat(at, ".", FOLDER, Mode::empty())?;
    rustix::fs::fsync(&parent)?;
    Ok(rustix::fs::openat(at, name, NAMED_FOLDER, Mode::empty())?)
}

fn is_symlink(at: impl AsFd, name: &OsStr) -> bool {
    rustix::fs::readlinkat(at, name, Vec::new()).is_ok()
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A handle that needs no right to list the folder.
#[cfg(target_os = "linux")]
const NAMED_FOLDER: OFlags = FOLDER.union(OFlags::PATH);
#[cfg(not(target_os = "linux"))]
const NAMED_FOLDER: OFlags = FOLDER;

fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

/// Up to three names of the same folder that the missing one may have meant.
fn nearest(path: &Path, cwd: &Path) -> String {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return String::new() };
    let name = name.to_string_lossy().to_lowercase();
    let mut near: Vec<(f64, String)> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .take(NEAREST_SCANNED)
        .flatten()
        .filter_map(|entry| {
            let other = entry.file_name().to_string_lossy().into_owned();
            let likeness = strsim::jaro_winkler(&name, &other.to_lowercase());
            (likeness >= NEAREST_LIKENESS).then(|| (likeness, shown(&entry.path(), cwd)))
        })
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let names: Vec<String> = near.into_iter().take(3).map(|(_, name)| format!("`{name}`")).collect();
    names.join(" or ")
}

const NEAREST_SCANNED: usize = 10_000;
const NEAREST_LIKENESS: f64 = 0.8;
