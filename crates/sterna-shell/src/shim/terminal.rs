//! A pseudo terminal: what a command takes for a screen and a keyboard.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::ChildStdin;

use super::plan::Screen;

/// Our end of it.
pub(crate) struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    /// A terminal of this size, and the end for the command. Needs a tokio runtime.
    pub(crate) fn open(screen: Screen) -> io::Result<(Self, OwnedFd)> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let size = Winsize { ws_row: screen.rows, ws_col: screen.cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size)?;
        // By handle, and not by name: the name may mean another one in a mount namespace.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let theirs = ioctl_tiocgptpeer(&ours, flags)?;
        rustix::fs::fcntl_setfl(&ours, rustix::fs::fcntl_getfl(&ours)? | OFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "an owned descriptor stays the same one: what is unsound with others is not here"
        )]
        let ours = AsyncFd::new(ours)?;
        Ok((Self(ours), theirs))
    }

    async fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            let mut ready = self.0.readable().await?;
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut chunk)?));
            let Ok(read) = read else { continue };
            let read = match read {
                // Nobody has the other end any more.
                Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => 0,
                other => other?,
            };
            buffer.extend_from_slice(&chunk[..read]);
            return Ok(read);
        }
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            if let Ok(written) = ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                bytes = &bytes[written?..];
            }
        }
        Ok(())
    }
}

/// Where a command's output comes from.
pub(crate) enum Outlet {
    Pipe(pipe::Receiver),
    Terminal(Arc<Terminal>),
}

impl Outlet {
    /// Reads more. `false` at the end.
    pub(crate) async fn read(&mut self, buffer: &mut Vec<u8>) -> bool {
        let read = match self {
            Self::Pipe(pipe) => pipe.read_buf(buffer).await,
            Self::Terminal(terminal) => terminal.read(buffer).await,
        };
        matches!(read, Ok(1..))
    }
}

/// Where a command's input goes.
pub(crate) enum Inlet {
    Pipe(ChildStdin),
    Terminal(Arc<Terminal>),
}

impl Inlet {
    pub(crate) async fn give(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(bytes).await,
            Self::Terminal(terminal) => terminal.write_all(bytes).await,
        }
    }

    /// No more will come. A pipe is closed by it; a terminal gets the key that says so.
    pub(crate) async fn end(self) {
        if let Self::Terminal(terminal) = self {
            // One that is gone needs no end.
            drop(terminal.write_all(&[END_OF_TRANSMISSION]).await);
        }
    }
}

const CHUNK_BYTES: usize = 16 << 10;
/// Ctrl-D.
const END_OF_TRANSMISSION: u8 = 4;
