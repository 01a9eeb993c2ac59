//! The control socket: input, its end, and kill, for whoever may enter the spool's folder.
//!
//! A frame is a letter, a length (4 bytes, little end first) and that many bytes. Each request gets one answer. A
//! connection that only listens sees its end when the shim is gone.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use sterna_model::Millis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::client::ShimError;
use super::plan::millis;
use super::spool::Spool;

/// Speaks to a running command, from any process of the same user, also after a restart. Each call stands alone.
#[derive(Debug, Clone)]
pub struct Control {
    spool: Spool,
}

impl Control {
    pub(crate) fn new(spool: Spool) -> Self {
        Self { spool }
    }

    /// Gives the command more input, and waits while it is not taken. Calls in a row keep their order.
    pub async fn input(&self, bytes: &[u8]) -> Result<(), ShimError> {
        let mut stream = self.connect()?;
        for part in bytes.chunks(PAYLOAD_MAX) {
            ask(&mut stream, INPUT, part).await?;
        }
        Ok(())
    }

    /// Ends the command's input, after what was given before.
    pub async fn close_input(&self) -> Result<(), ShimError> {
        ask(&mut self.connect()?, CLOSE, &[]).await
    }

    /// Ends the command and all it started: SIGTERM, `grace` (a minute at most), SIGKILL. The end is seen in the spool,
    /// not here. Asked again with less grace, it is sooner.
    pub async fn kill(&self, grace: Duration) -> Result<(), ShimError> {
        ask(&mut self.connect()?, KILL, &millis(grace).to_le_bytes()).await
    }

    /// As `kill`, from where nothing can wait: tells the shim and does not hear its answer.
    pub fn kill_unheard(&self, grace: Duration) -> io::Result<()> {
        let mut stream = reach(&self.spool, |path| StdStream::connect(path))?;
        stream.set_nonblocking(true)?;
        stream.write_all(&frame(KILL, &millis(grace).to_le_bytes()))
    }

    pub(crate) fn connect(&self) -> Result<UnixStream, ShimError> {
        // A plain connect to a socket of this machine does not wait, unless its queue is full.
        let connected = reach(&self.spool, |path| StdStream::connect(path)).and_then(|stream| {
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        });
        connected.map_err(|_| ShimError::Ended)
    }
}

/// What a connection asks of the one who watches the command.
#[derive(Debug)]
pub(crate) struct Kill {
    pub grace: Duration,
}

/// What a connection gives to the one who writes the command's input.
#[derive(Debug)]
pub(crate) enum Feed {
    Bytes(Vec<u8>),
    Close,
}

/// The socket of a spool, ready for connections.
pub(crate) fn listen(spool: &Spool) -> io::Result<UnixListener> {
    let listener = reach(spool, |path| std::os::unix::net::UnixListener::bind(path))?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Serves one connection until its end.
pub(crate) async fn serve(
    mut stream: UnixStream,
    kills: mpsc::Sender<Kill>,
    feed: Option<mpsc::Sender<Feed>>,
) {
    while let Ok((letter, payload)) = read_frame(&mut stream).await {
        let answer = match letter {
            INPUT => give(&feed, Feed::Bytes(payload)).await,
            CLOSE => give(&feed, Feed::Close).await,
            KILL => match <[u8; 8]>::try_from(payload.as_slice()) {
                Ok(grace) => {
                    let grace = Duration::from_millis(Millis::from_le_bytes(grace).min(GRACE_MAX));
                    // One who no longer listens is ending already.
                    drop(kills.send(Kill { grace }).await);
                    Ok(())
                }
                Err(_) => Err("malformed request"),
            },
            RESIZE => Err("the command has no terminal"),
            _ => Err("unknown request"),
        };
        let bytes = match answer {
            Ok(()) => frame(DONE, &[]),
            Err(why) => frame(REFUSED, why.as_bytes()),
        };
        if stream.write_all(&bytes).await.is_err() {
            break;
        }
    }
}

async fn give(feed: &Option<mpsc::Sender<Feed>>, what: Feed) -> Result<(), &'static str> {
    let Some(feed) = feed else { return Err("the command was started without an open input") };
    feed.send(what).await.map_err(|_| "the command's input is closed")
}

async fn ask(stream: &mut UnixStream, letter: u8, payload: &[u8]) -> Result<(), ShimError> {
    // A shim that ends in the middle has ended: that is the answer.
    stream.write_all(&frame(letter, payload)).await.map_err(|_| ShimError::Ended)?;
    match read_frame(stream).await {
        Ok((DONE, _)) => Ok(()),
        Ok((_, why)) => Err(ShimError::Refused(String::from_utf8_lossy(&why).into_owned())),
        Err(_) => Err(ShimError::Ended),
    }
}

fn frame(letter: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.push(letter);
    // Payloads are cut to `PAYLOAD_MAX` before they come here.
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

async fn read_frame(stream: &mut UnixStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; HEAD];
    stream.read_exact(&mut head).await?;
    let [letter, length @ ..] = head;
    let length = u32::from_le_bytes(length) as usize;
    if length > PAYLOAD_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Ok((letter, payload))
}

/// Calls with a path to the socket that is short enough for a socket's address, however deep the folder lies.
fn reach<T>(spool: &Spool, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = spool.path(SOCKET);
    if path.as_os_str().len() <= ADDRESS_MAX {
        return call(&path);
    }
    let folder: OwnedFd =
        rustix::fs::open(spool.dir(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    call(&PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd())))
}

const SOCKET: &str = "control";
/// A socket's address takes 108 bytes, and a closing zero is among them.
const ADDRESS_MAX: usize = 107;
const HEAD: usize = 5;
const PAYLOAD_MAX: usize = 64 << 10;
/// A grace that a request may ask for, in milliseconds.
const GRACE_MAX: Millis = 60_000;

const INPUT: u8 = b'i';
const CLOSE: u8 = b'c';
const KILL: u8 = b'k';
/// Kept for terminals.
const RESIZE: u8 = b'r';
const DONE: u8 = b'o';
const REFUSED: u8 = b'e';
