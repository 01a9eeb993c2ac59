//! Carrying out a plan. Each path is changed in one step that is whole or has not happened; so a restore that was cut
//! anywhere is repeated, with the same plan or a new one, and ends where it would have.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::Write;

use bytes::Bytes;
use futures::executor::block_on;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{
    AtFlags, Mode, OFlags, RawMode, chmod, fchmod, fstat, fsync, mkdirat, openat, renameat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;
use serde::Serialize;
use sterna_log::{LogError, digest};
use sterna_model::Digest;
use sterna_tool::Cancel;

use crate::cache::now;
use crate::read::hash;
use crate::root::{DIR, LEFTOVER, Root, Stamp, is_gone, link, open_file};
use crate::{CheckpointError, Checkpointer, Kind, Plan, RelPath, Side, Step, What};

/// What a restore did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Files, folders and symlinks that were made or got their contents or mode back.
    pub restored: u64,
    pub removed: u64,
    /// Steps with nothing left to do: this is the repetition of a restore that was cut.
    pub already: u64,
    /// Bytes that were written.
    pub bytes: u64,
}

impl Checkpointer {
    /// Does what the plan says, and nothing else. Durable on return.
    ///
    /// Before anything is changed: `Missing` when the store has lost contents, `Conflict` when a path is neither as it
    /// was at the preview nor as it is to be. With `force` the plan is made anew from what is there now, and then
    /// carried out. Whoever wants to undo a restore takes a checkpoint first.
    pub fn restore(&self, plan: &Plan, force: bool, cancel: &Cancel) -> Result<Restored, CheckpointError> {
        let fresh = match force {
            true => Some(self.preview_restore(&plan.manifest, plan.remove_created, cancel)?),
            false => None,
        };
        let plan = fresh.as_ref().unwrap_or(plan);
        if !plan.missing.is_empty() {
            let paths = plan.missing.iter().map(|(path, _)| path.clone()).collect();
            return Err(CheckpointError::Missing { paths });
        }
        if plan.root.is_some() {
            fs::create_dir_all(&self.root).map_err(|e| CheckpointError::io("make", &self.root, e))?;
        }
        let root = Root::open(&self.root)?;
        let mut run = Run {
            checkpointer: self,
            cancel,
            root,
            modes: plan.root.iter().map(|mode| (Vec::new(), *mode)).collect(),
            touched: BTreeSet::new(),
            disturbed: HashSet::new(),
            done: Restored::default(),
        };
        run.check(plan)?;
        let outcome = plan.steps.iter().try_for_each(|step| run.step(step));
        // Folders that were opened up for us close again, also when a step failed.
        let finished = run.finish();
        outcome?;
        finished?;
        Ok(run.done)
    }
}

/// A restore on its way.
struct Run<'a> {
    checkpointer: &'a Checkpointer,
    cancel: &'a Cancel,
    root: Root,
    /// Modes that folders get at the end, when nothing more is written into them. The empty path is the root.
    modes: BTreeMap<Vec<u8>, u32>,
    /// Folders whose names changed and must be durable.
    touched: BTreeSet<Vec<u8>>,
    /// Inodes of which we removed a name: that moves the time of their other names.
    disturbed: HashSet<(u64, u64)>,
    done: Restored,
}

impl Run<'_> {
    /// Looks at every path of the plan before the first is changed.
    fn check(&self, plan: &Plan) -> Result<(), CheckpointError> {
        let mut paths = Vec::new();
        for step in &plan.steps {
            self.go_on()?;
            let path = &step.change.path;
            let dir = match self.root.dir(folder_of(path)) {
                Ok(dir) => Some(dir),
                Err(error) if is_gone(error) => None,
                // It opens when its turn comes, and the step looks again.
                Err(Errno::ACCESS) => continue,
                Err(error) => return Err(CheckpointError::at("open the folder of", path, error)),
            };
            let fits = match dir {
                Some(dir) => {
                    let found = stamp_at(&dir, path)?;
                    self.expected(step, found) || self.is_goal(&dir, step, found)?
                }
                None => step.stamp.is_none() || step.change.after.is_none(),
            };
            if !fits {
                paths.push(path.clone());
            }
        }
        if paths.is_empty() { Ok(()) } else { Err(CheckpointError::Conflict { paths }) }
    }

    fn step(&mut self, step: &Step) -> Result<(), CheckpointError> {
        self.go_on()?;
        let path = &step.change.path;
        let name = path.name();
        let dir = match self.folder(folder_of(path)) {
            Ok(dir) => dir,
            Err(error) if is_gone(error) && step.change.after.is_none() => {
                self.done.already += 1;
                return Ok(());
            }
            Err(error) if is_gone(error) => return Err(conflict(path)),
            Err(error) => return Err(CheckpointError::at("open the folder of", path, error)),
        };
        let found = stamp_at(&dir, path)?;
        if !self.expected(step, found) {
            if !self.is_goal(&dir, step, found)? {
                return Err(conflict(path));
            }
            if let Some(Side { kind: Kind::Dir, mode, .. }) = &step.change.after {
                self.modes.insert(path.as_bytes().to_vec(), *mode);
            }
            self.done.already += 1;
            return Ok(());
        }
        let Some(side) = &step.change.after else {
            self.clear(&dir, path, found)?;
            self.touch(path);
            self.done.removed += 1;
            return Ok(());
        };
        let failed = |error: Errno| CheckpointError::at("restore", path, error);
        let mode_only = step.change.what == What::Mode;
        match side.kind {
            Kind::Dir => {
                if !mode_only {
                    self.clear(&dir, path, found)?;
                    mkdirat(&dir, name, Mode::RWXU).map_err(failed)?;
                }
                self.modes.insert(path.as_bytes().to_vec(), side.mode);
            }
            Kind::File if mode_only => {
                set_mode(&dir, name, side.mode).map_err(failed)?;
                // A file that we may not open gets its mode when the system finds the time.
                let _ = open_file(&dir, name).and_then(fsync);
            }
            Kind::File => {
                let temp = self.write(&dir, path, side)?;
                self.replace(&dir, step, temp)?;
                self.done.bytes += side.bytes;
            }
            Kind::Symlink => {
                let target = side.target.as_ref().map(|target| target.0.as_slice()).unwrap_or_default();
                let temp = Temp::make(&dir, path, |name| symlinkat(target, &dir, name))?.1;
                self.replace(&dir, step, temp)?;
            }
            // No manifest holds these.
            Kind::Special | Kind::LeftOut => return Ok(()),
        }
        if !mode_only {
            self.touch(path);
        }
        self.done.restored += 1;
        Ok(())
    }

    /// Whether what is there is what the preview saw.
    fn expected(&self, step: &Step, found: Option<Stamp>) -> bool {
        match (step.stamp, found) {
            (None, None) => true,
            (Some(then), Some(now)) if then.kind == Kind::Dir => {
                // Its times move with every name in it, and its mode when we open it up.
                (now.kind, now.dev, now.ino) == (then.kind, then.dev, then.ino)
            }
            (Some(then), Some(now)) if self.disturbed.contains(&(now.dev, now.ino)) => {
                now == Stamp { ctime: now.ctime, ..then }
            }
            (Some(then), Some(now)) => then == now,
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// Whether what is there is what the step would make. Reads a file only when all else fits.
    fn is_goal(&self, dir: &OwnedFd, step: &Step, found: Option<Stamp>) -> Result<bool, CheckpointError> {
        let path = &step.change.path;
        let (Some(side), Some(found)) = (&step.change.after, found) else {
            return Ok(step.change.after.is_none() && found.is_none());
        };
        Ok(match side.kind {
            _ if side.kind != found.kind => false,
            Kind::Dir => step.change.what != What::Mode,
            Kind::Symlink => {
                link(dir, path.name()).ok() == side.target.as_ref().map(|target| target.0.clone())
            }
            Kind::File => {
                (found.size, found.mode) == (side.bytes, side.mode)
                    && matches!(hash(dir, path.name(), side.bytes, self.cancel)?, Ok((hash, reading))
                        if reading.steady && Some(hash) == side.hash)
            }
            Kind::Special | Kind::LeftOut => false,
        })
    }

    /// A folder to be written into, opened up if its own mode keeps us out; it gets that mode back at the end.
    fn folder(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut dir = openat(&self.root.fd, ".", DIR, Mode::empty())?;
        let mut at = 0;
        self.open_up(&dir, b"")?;
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            at += name.len() + usize::from(at > 0);
            let next = match openat(&dir, name, DIR, Mode::empty()) {
                Err(Errno::ACCESS) => {
                    let found = Stamp::at(&dir, name)?.filter(|found| found.kind == Kind::Dir);
                    let mode = found.ok_or(Errno::NOTDIR)?.mode;
                    set_mode(&dir, name, mode | OWNER)?;
                    self.modes.entry(path[..at].to_vec()).or_insert(mode);
                    openat(&dir, name, DIR, Mode::empty())?
                }
                opened => opened?,
            };
            self.open_up(&next, &path[..at])?;
            dir = next;
        }
        Ok(dir)
    }

    fn open_up(&mut self, dir: &OwnedFd, path: &[u8]) -> Result<(), Errno> {
        let mode = Stamp::of(&fstat(dir)?).mode;
        if mode & OWNER != OWNER && fchmod(dir, bits(mode | OWNER)).is_ok() {
            self.modes.entry(path.to_vec()).or_insert(mode);
        }
        Ok(())
    }

    /// Writes a file's contents under a name of our own, whole and durable, with its mode.
    fn write<'d>(&self, dir: &'d OwnedFd, path: &RelPath, side: &Side) -> Result<Temp<'d>, CheckpointError> {
        let wanted = side.hash.unwrap_or_default();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let private = Mode::RUSR | Mode::WUSR;
        let (fd, temp) = Temp::make(dir, path, |name| openat(dir, name, flags, private))?;
        let mut file = File::from(fd);
        let failed = |error: std::io::Error| CheckpointError::io("write", path.as_path(), error);
        let blobs = &self.checkpointer.blobs;
        let mut hasher = blake3::Hasher::new();
        let mut written = 0;
        loop {
            self.go_on()?;
            let piece: Bytes = match side.bytes {
                whole if whole <= PIECE => block_on(blobs.get(&wanted))?,
                _ => block_on(blobs.get_range(&wanted, written, PIECE))?,
            };
            hasher.update(&piece);
            file.write_all(&piece).map_err(failed)?;
            written += piece.len() as u64;
            if piece.is_empty() || written >= side.bytes {
                break;
            }
        }
        if (Digest(*hasher.finalize().as_bytes()), written) != (wanted, side.bytes) {
            let text =
                format!("blob {wanted} does not hold the contents of `{path}`; restore it from a backup");
            return Err(LogError::Damaged(text).into());
        }
        fchmod(&file, bits(side.mode)).map_err(|error| failed(error.into()))?;
        file.sync_all().map_err(failed)?;
        Ok(temp)
    }

    /// Puts what was made in the place of what is there, if that is still what the preview saw.
    fn replace(&mut self, dir: &OwnedFd, step: &Step, temp: Temp) -> Result<(), CheckpointError> {
        let path = &step.change.path;
        let found = stamp_at(dir, path)?;
        if !self.expected(step, found) {
            return Err(conflict(path));
        }
        match found {
            Some(Stamp { kind: Kind::Dir, .. }) => self.clear(dir, path, found)?,
            Some(stamp) => drop(self.disturbed.insert((stamp.dev, stamp.ino))),
            None => {}
        }
        temp.rename(path.name()).map_err(|error| CheckpointError::at("restore", path, error))
    }

    /// Removes a file, or a folder with nothing in it.
    fn clear(&mut self, dir: &OwnedFd, path: &RelPath, found: Option<Stamp>) -> Result<(), CheckpointError> {
        let Some(found) = found else { return Ok(()) };
        let is_dir = found.kind == Kind::Dir;
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match unlinkat(dir, path.name(), flags) {
            // Somebody put a file into it since the preview, or put something else here this moment.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::ISDIR) => return Err(conflict(path)),
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(CheckpointError::at("remove", path, error)),
        }
        if is_dir {
            self.modes.remove(path.as_bytes());
            self.touched.remove(path.as_bytes());
        } else {
            self.disturbed.insert((found.dev, found.ino));
        }
        Ok(())
    }

    fn touch(&mut self, path: &RelPath) {
        self.touched.insert(folder_of(path).to_vec());
    }

    /// Gives folders their modes and makes names durable, deepest first.
    fn finish(&mut self) -> Result<(), CheckpointError> {
        let modes = std::mem::take(&mut self.modes);
        let paths: BTreeSet<Vec<u8>> =
            modes.keys().cloned().chain(std::mem::take(&mut self.touched)).collect();
        let mut outcome = Ok(());
        for path in paths.into_iter().rev() {
            if let Err(error) = self.finish_folder(&path, modes.get(&path).copied()) {
                let shown = RelPath::join(&[], if path.is_empty() { b"." } else { &path });
                outcome = Err(CheckpointError::at("finish the folder", &shown, error));
            }
        }
        outcome
    }

    fn finish_folder(&self, path: &[u8], mode: Option<u32>) -> Result<(), Errno> {
        match (self.root.dir(path), mode) {
            (Ok(dir), mode) => {
                if let Some(mode) = mode {
                    fchmod(&dir, bits(mode))?;
                }
                fsync(&dir)
            }
            // It may not be listed; its mode can be set all the same.
            (Err(Errno::ACCESS), Some(mode)) => {
                let at = path.iter().rposition(|b| *b == b'/');
                let (folder, name) = at.map_or((&path[..0], path), |at| (&path[..at], &path[at + 1..]));
                set_mode(&self.root.dir(folder)?, name, mode)
            }
            (Err(error), _) if is_gone(error) => Ok(()),
            (Err(error), _) => Err(error),
        }
    }

    fn go_on(&self) -> Result<(), CheckpointError> {
        if self.cancel.is_cancelled() { Err(CheckpointError::Cancelled) } else { Ok(()) }
    }
}

/// Something under a name of our own. Removed when dropped without a name of its own.
struct Temp<'d> {
    dir: &'d OwnedFd,
    name: String,
    renamed: bool,
}

impl<'d> Temp<'d> {
    fn make<T>(
        dir: &'d OwnedFd,
        path: &RelPath,
        create: impl Fn(&str) -> Result<T, Errno>,
    ) -> Result<(T, Self), CheckpointError> {
        let mut attempt = 0u32;
        loop {
            let seed = format!("{}-{}-{attempt}", std::process::id(), now());
            let name = format!("{LEFTOVER}{}", &digest(seed.as_bytes()).to_string()[..16]);
            match create(&name) {
                Ok(made) => return Ok((made, Self { dir, name, renamed: false })),
                Err(Errno::EXIST) if attempt < 100 => attempt += 1,
                Err(error) => return Err(CheckpointError::at("write beside", path, error)),
            }
        }
    }

    fn rename(mut self, name: &[u8]) -> Result<(), Errno> {
        renameat(self.dir, self.name.as_str(), self.dir, name)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // The next preview sees what stays behind, and removes it.
            let _ = unlinkat(self.dir, self.name.as_str(), AtFlags::empty());
        }
    }
}

/// Sets the mode of a file or folder without following a symlink that was put there, and without reading it.
fn set_mode(dir: impl AsFd, name: &[u8], mode: u32) -> Result<(), Errno> {
    #[cfg(target_os = "linux")]
    {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&dir, name, flags, Mode::empty())?;
        if Stamp::of(&fstat(&fd)?).kind == Kind::Symlink {
            return Err(Errno::LOOP);
        }
        match chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), bits(mode)) {
            // No such folder in this container: the other way needs a file that can be read.
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            done => return done,
        }
    }
    fchmod(open_file(dir, name)?, bits(mode))
}

fn bits(mode: u32) -> Mode {
    // Narrower on some systems; twelve bits fit everywhere.
    Mode::from_raw_mode(mode as RawMode)
}

fn stamp_at(dir: &OwnedFd, path: &RelPath) -> Result<Option<Stamp>, CheckpointError> {
    Stamp::at(dir, path.name()).map_err(|error| CheckpointError::at("look at", path, error))
}

fn folder_of(path: &RelPath) -> &[u8] {
    let bytes = path.as_bytes();
    let end = bytes.len() - path.name().len();
    &bytes[..end.saturating_sub(1)]
}

fn conflict(path: &RelPath) -> CheckpointError {
    CheckpointError::Conflict { paths: vec![path.clone()] }
}

/// What the owner of a folder needs to work in it.
const OWNER: u32 = 0o700;
/// Larger files are written piece by piece.
const PIECE: u64 = 1 << 20;
