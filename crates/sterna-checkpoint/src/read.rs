//! Reading one file, and knowing whether it was one file from the first byte to the last.

use std::io::{ErrorKind, Read};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::fstat;
use rustix::io::Errno;
use sterna_model::Digest;
use sterna_tool::Cancel;

use crate::cache::now;
use crate::root::{Root, Stamp, is_gone, open_file};
use crate::{CheckpointError, Kind, RelPath};

/// What came of reading a file.
pub(crate) enum Pass {
    /// The bytes went to the sink.
    Read(Reading),
    /// More bytes than the cap; the sink has some of them.
    TooBig(u64),
    Unreadable,
    /// It went away, or something else stands there now.
    Gone,
}

#[derive(Clone, Copy)]
pub(crate) struct Reading {
    /// Of the open file, after its last byte.
    pub stamp: Stamp,
    pub bytes: u64,
    /// Just before the first byte was read.
    pub read_at: i64,
    /// Nothing was written meanwhile.
    pub steady: bool,
}

/// Gives a file's bytes to `sink`, at most `cap`.
pub(crate) fn pass(
    dir: impl AsFd,
    name: &[u8],
    cap: u64,
    cancel: &Cancel,
    mut sink: impl FnMut(&[u8]) -> Result<(), CheckpointError>,
) -> Result<Pass, CheckpointError> {
    let read_at = now();
    let mut file = match open_file(dir, name) {
        Ok(file) => file,
        Err(error) if is_gone(error) || error == Errno::NXIO => return Ok(Pass::Gone),
        Err(error @ (Errno::MFILE | Errno::NFILE)) => {
            return Err(CheckpointError::at("open", &RelPath::join(&[], name), error));
        }
        Err(_) => return Ok(Pass::Unreadable),
    };
    let Ok(before) = fstat(&file).map(|stat| Stamp::of(&stat)) else { return Ok(Pass::Unreadable) };
    if before.kind != Kind::File {
        return Ok(Pass::Gone);
    }
    if before.size > cap {
        return Ok(Pass::TooBig(before.size));
    }
    let size = usize::try_from(before.size).unwrap_or(usize::MAX);
    let mut buffer = vec![0; size.saturating_add(1).clamp(MIN_BUFFER, MAX_BUFFER)];
    let mut bytes = 0u64;
    loop {
        if cancel.is_cancelled() {
            return Err(CheckpointError::Cancelled);
        }
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                bytes += n as u64;
                if bytes > cap {
                    return Ok(Pass::TooBig(bytes));
                }
                sink(&buffer[..n])?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Ok(Pass::Unreadable),
        }
    }
    let Ok(stamp) = fstat(&file).map(|stat| Stamp::of(&stat)) else { return Ok(Pass::Unreadable) };
    let steady = stamp == before && bytes == stamp.size;
    Ok(Pass::Read(Reading { stamp, bytes, read_at, steady }))
}

/// A file's hash, and what was read. Read again when it was written meanwhile.
pub(crate) fn hash(
    dir: impl AsFd,
    name: &[u8],
    cap: u64,
    cancel: &Cancel,
) -> Result<Result<(Digest, Reading), Pass>, CheckpointError> {
    let mut tries = 1;
    loop {
        let mut hasher = blake3::Hasher::new();
        let read = pass(&dir, name, cap, cancel, |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        match read {
            Pass::Read(reading) if reading.steady || tries == TRIES => {
                return Ok(Ok((Digest(*hasher.finalize().as_bytes()), reading)));
            }
            Pass::Read(_) => tries += 1,
            other @ (Pass::TooBig(_) | Pass::Unreadable | Pass::Gone) => return Ok(Err(other)),
        }
    }
}

/// How often a file that is being written is read before it is taken as it is.
pub(crate) const TRIES: u32 = 3;
const MIN_BUFFER: usize = 4 << 10;
const MAX_BUFFER: usize = 256 << 10;

/// Opens folders, and keeps the last: files come folder by folder.
pub(crate) struct Folders<'a> {
    root: &'a Root,
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Folders<'a> {
    pub fn new(root: &'a Root) -> Self {
        Self { root, last: None }
    }

    /// The folder that holds a path.
    pub fn of(&mut self, path: &RelPath) -> Result<&OwnedFd, Errno> {
        let bytes = path.as_bytes();
        let end = bytes.len() - path.name().len();
        let folder = &bytes[..end.saturating_sub(1)];
        let opened = match self.last.take().filter(|(known, _)| known == folder) {
            Some(opened) => opened,
            None => (folder.to_vec(), self.root.dir(folder)?),
        };
        Ok(&self.last.insert(opened).1)
    }
}
