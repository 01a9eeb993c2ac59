//! The only way to the file system: names in folders that were opened one after another without following a symlink.
//! So nothing outside the root is read or written, whatever is swapped meanwhile.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::manifest::MODE_BITS;
use crate::{CheckpointError, Kind};

/// The root of a workspace, open.
pub(crate) struct Root {
    pub fd: OwnedFd,
    pub path: PathBuf,
    pub stamp: Stamp,
}

impl Root {
    /// Opens the folder, unless a symlink was put in its place.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let failed = |error: Errno| CheckpointError::io("open the workspace", path, error);
        let fd = rustix::fs::open(path, DIR, Mode::empty()).map_err(failed)?;
        let stamp = Stamp::of(&fstat(&fd).map_err(failed)?);
        Ok(Self { fd, path: path.to_owned(), stamp })
    }

    /// A folder below the root; empty for the root.
    pub fn dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut fd = openat(&self.fd, ".", DIR, Mode::empty())?;
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            fd = openat(&fd, name, DIR, Mode::empty())?;
        }
        Ok(fd)
    }
}

/// How a folder below the root is opened.
pub(crate) const DIR: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What the system says about a path without looking into it. Equal stamps: nothing was done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub kind: Kind,
    /// The twelve mode bits.
    pub mode: u32,
    pub dev: u64,
    pub ino: u64,
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime: i64,
    pub ctime: i64,
}

impl Stamp {
    /// Of what may not even be asked about.
    pub const UNKNOWN: Self =
        Self { kind: Kind::LeftOut, mode: 0, dev: 0, ino: 0, size: 0, mtime: 0, ctime: 0 };

    // The types of these fields differ between systems.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    pub fn of(stat: &Stat) -> Self {
        let nanos = |secs: i64, nanos: i64| secs.saturating_mul(1_000_000_000).saturating_add(nanos);
        let mode = stat.st_mode as u32;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Special,
        };
        Self {
            kind,
            mode: mode & MODE_BITS,
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            size: stat.st_size as u64,
            mtime: nanos(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: nanos(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// What stands at a name; `None` for nothing. A symlink is not followed.
    pub fn at(dir: impl AsFd, name: &[u8]) -> Result<Option<Self>, Errno> {
        match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Self::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The names in a folder, sorted.
pub(crate) fn names(dir: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens a file for reading. A pipe that was put there meanwhile does not hold us up.
pub(crate) fn open_file(dir: impl AsFd, name: &[u8]) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).map(File::from)
}

/// A symlink's target.
pub(crate) fn link(dir: impl AsFd, name: &[u8]) -> Result<Vec<u8>, Errno> {
    readlinkat(dir, name, Vec::new()).map(|target| target.into_bytes())
}

/// Whether the error says that something else, or nothing, stands on the way now.
pub(crate) fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE)
}

/// A name that only an unfinished restore leaves behind.
pub(crate) fn is_leftover(name: &[u8]) -> bool {
    name.strip_prefix(LEFTOVER.as_bytes()).is_some_and(|rest| {
        rest.len() == 16 && rest.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b))
    })
}

/// How such a name begins; 16 hex digits follow.
pub(crate) const LEFTOVER: &str = ".sterna-restore-";
