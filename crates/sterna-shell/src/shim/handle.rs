//! Reads a spool from its beginning to the command's end: the same way live and after a restart.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

use sterna_model::Digest;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin};
use tokio::time::sleep;

use super::client::ShimError;
use super::control::Control;
use super::plan::Exit;
use super::spool::{Spool, SpoolError, State};

/// A command's output and end. Dropped, it leaves the command running (a bound one ends).
#[derive(Debug)]
pub struct Handle {
    spool: Spool,
    output: Option<File>,
    at: u64,
    /// Of all bytes from the first. `None` once some were skipped.
    hash: Option<blake3::Hasher>,
    /// Ends when the end is there to be read, so that nobody has to wait for the next look.
    bell: Bell,
    pause: Duration,
    end: Option<End>,
    /// A shim that we started is ours to bury; tokio does so when this is dropped.
    child: Option<Child>,
    /// The other end of a bound shim's input.
    _tie: Option<ChildStdin>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// More output, stdout and stderr in the order in which they came.
    Output(Vec<u8>),
    End(End),
}

/// How it ended, after the last byte of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Exited {
        exit: Exit,
        /// The output has the size and hash that the shim wrote down. The end is true even when it has not.
        whole: bool,
    },
    /// The shim is gone and has not said how it ended: in doubt.
    Lost,
}

#[derive(Debug)]
enum Bell {
    Silent,
    Open(UnixStream),
}

impl Handle {
    pub(crate) fn open(spool: Spool, child: Option<Child>, tie: Option<ChildStdin>) -> Self {
        let bell = match Control::new(spool.clone()).connect() {
            Ok(stream) => Bell::Open(stream),
            // Ended already, most likely: the spool says so.
            Err(_) => Bell::Silent,
        };
        Self {
            spool,
            output: None,
            at: 0,
            hash: Some(blake3::Hasher::new()),
            bell,
            pause: PAUSE_MIN,
            end: None,
            child,
            _tie: tie,
        }
    }

    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Input, its end, and kill. Stays good while this handle is read elsewhere.
    pub fn control(&self) -> Control {
        Control::new(self.spool.clone())
    }

    /// Bytes of output read so far: where a later reader would go on.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Goes on reading at that byte. The output's hash is not checked then, only its size.
    pub fn seek(&mut self, at: u64) {
        (self.at, self.hash, self.output) = (at, None, None);
    }

    /// Waits for more output or the end. After the end it says the same again. May be dropped and called again.
    pub async fn next(&mut self) -> Result<Event, ShimError> {
        loop {
            if let Some(event) = self.look()? {
                self.pause = PAUSE_MIN;
                return Ok(event);
            }
            self.wait().await;
        }
    }

    /// What is there now, without waiting. `None`: nothing new, and no end.
    pub fn look(&mut self) -> Result<Option<Event>, ShimError> {
        if let Some(end) = &self.end {
            return Ok(Some(Event::End(end.clone())));
        }
        // The state first: what was written before the end is then there to be read.
        let state = self.spool.state()?;
        let bytes = self.read()?;
        if !bytes.is_empty() {
            return Ok(Some(Event::Output(bytes)));
        }
        let end = match state {
            State::Running(_) => return Ok(None),
            // A handle is made after the claim: somebody has removed the spool.
            State::Open => return Err(ShimError::Removed),
            State::Exited(exit) => {
                let hash = self.hash.as_ref().map(|hash| Digest(*hash.finalize().as_bytes()));
                let whole = self.at == exit.bytes && hash.is_none_or(|hash| hash == exit.hash);
                End::Exited { exit, whole }
            }
            State::Dead(_) | State::Revoked => End::Lost,
        };
        self.end = Some(end.clone());
        Ok(Some(Event::End(end)))
    }

    /// Reads and drops the rest of the output, and waits for the end.
    pub async fn end(&mut self) -> Result<End, ShimError> {
        loop {
            if let Event::End(end) = self.next().await? {
                return Ok(end);
            }
        }
    }

    fn read(&mut self) -> Result<Vec<u8>, SpoolError> {
        if self.output.is_none() {
            self.output = self.spool.open_output()?;
            if let Some(file) = &mut self.output {
                file.seek(SeekFrom::Start(self.at)).map_err(|source| self.spool.unreadable(source))?;
            }
        }
        let Some(file) = &mut self.output else { return Ok(Vec::new()) };
        let mut bytes = Vec::new();
        let read = |file: &mut File, bytes: &mut Vec<u8>| -> io::Result<()> {
            bytes.reserve(CHUNK_BYTES);
            file.take(CHUNK_BYTES as u64).read_to_end(bytes).map(drop)
        };
        read(file, &mut bytes).map_err(|source| self.spool.unreadable(source))?;
        self.at += bytes.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(&bytes);
        }
        Ok(bytes)
    }

    /// A pause that grows while nothing comes, and ends with the command.
    async fn wait(&mut self) {
        let pause = self.pause;
        self.pause = (pause * 3 / 2).min(PAUSE_MAX);
        let Bell::Open(stream) = &mut self.bell else { return sleep(pause).await };
        let mut nothing = [0; 16];
        tokio::select! {
            () = sleep(pause) => {}
            // It never says anything.
            _ = stream.read(&mut nothing) => {
                (self.bell, self.pause) = (Bell::Silent, PAUSE_MIN);
                // It ends as soon as its last words are on the disk; tokio buries it.
                self.child = None;
            }
        }
    }
}

const CHUNK_BYTES: usize = 64 << 10;
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// People see output this late at most.
const PAUSE_MAX: Duration = Duration::from_millis(50);
