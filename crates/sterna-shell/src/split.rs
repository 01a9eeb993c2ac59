//! A short command whose two outputs are told apart, and bounded: a hook.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

use crate::spawn::spawn;
use crate::{Command, DRAIN, MAX_TIMEOUT, ShellError};

/// How it ended, and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// `None` when a signal ended it.
    pub exit_code: Option<i32>,
    pub timed_out: bool,
    /// The first bytes of each output; what is not UTF-8 is replaced.
    pub stdout: String,
    pub stderr: String,
}

/// Runs the command to its end, and keeps at most `max` bytes of each of its outputs. Dropping the future kills all that
/// can be found of it.
///
/// Needs a tokio runtime with time and I/O enabled.
pub async fn run_split(command: Command, max: usize) -> Result<Split, ShellError> {
    let (out, to_out) = reader()?;
    let (err, to_err) = reader()?;
    let (guard, mut child, _launch) = spawn(&command, to_out, Some(to_err)).await?;
    // Declared after the child, so that a drop kills the group while its leader's id is still its own.
    let mut group = guard;
    let stdin = child.stdin.take();
    let feed = async {
        if let (Some(mut stdin), Some(text)) = (stdin, &command.stdin) {
            // A command that does not want it is no error.
            drop(stdin.write_all(text.as_bytes()).await);
            drop(stdin.shutdown().await);
        }
    };
    let (stdout, stderr) = (Mutex::default(), Mutex::default());
    let mut pump =
        std::pin::pin!(async { tokio::join!(read(out, max, &stdout), read(err, max, &stderr), feed) });
    let mut whole = false;
    let status = {
        let mut wait = std::pin::pin!(async {
            tokio::select! {
                biased;
                status = child.wait() => Some(status),
                () = command.cancel.cancelled() => None,
                () = sleep(command.timeout.min(MAX_TIMEOUT)) => None,
            }
        });
        loop {
            tokio::select! {
                biased;
                status = &mut wait => break status,
                _ = &mut pump, if !whole => whole = true,
            }
        }
    };
    let ended = status.transpose().map_err(ShellError::Lost)?;
    if ended.is_none() {
        group.end(&mut child, command.grace).await;
    }
    if !whole {
        // Something that it left behind may hold its outputs for ever: what came until then counts.
        drop(timeout(DRAIN, &mut pump).await);
    }
    group.release();
    let exit_code = ended.and_then(|status| status.code());
    Ok(Split { exit_code, timed_out: ended.is_none(), stdout: text(&stdout), stderr: text(&stderr) })
}

fn reader() -> Result<(pipe::Receiver, std::io::PipeWriter), ShellError> {
    let (reader, writer) = std::io::pipe().map_err(ShellError::Start)?;
    let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(ShellError::Start)?;
    Ok((reader, writer))
}

/// Reads until every writer is gone. What is more than `max` is read, so that the command is not held up, and dropped.
async fn read(mut reader: pipe::Receiver, max: usize, kept: &Mutex<Vec<u8>>) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(read @ 1..) = reader.read(&mut piece).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = max.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..read.min(room)]);
    }
}

fn text(kept: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&kept.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}
