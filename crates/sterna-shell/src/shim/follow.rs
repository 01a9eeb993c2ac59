//! Turns a handle into what [`run`](crate::run()) gives: output in memory or a blob, and the end.

use std::sync::Arc;
use std::time::Duration;

use sterna_log::{LogError, SharedBlobs};
use sterna_tool::Cancel;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::client::ShimError;
use super::handle::{End, Event, Handle};
use super::plan::{Cause, How};
use crate::capture::{Captured, Chunk, keep};
use crate::run::{PROGRESS_EVERY, Recent};
use crate::{Ended, ShellError};

/// What became of a followed command.
#[derive(Debug)]
pub enum Followed {
    Ended {
        ended: Ended,
        cause: Cause,
        /// Output that was lost: beyond the plan's cap, to a full disk, or to a spool that was damaged since.
        lost: u64,
    },
    /// In doubt: this is what it wrote until its shim was lost.
    Lost(Captured),
}

/// Reads a command to its end, from wherever the handle stands: live and after a restart alike.
///
/// When `cancel` is raised, the command and all it started are ended first. `progress` gets the last lines, at most
/// four times a second. Dropping the future leaves the command running.
pub async fn follow(
    mut handle: Handle,
    blobs: SharedBlobs,
    cancel: Cancel,
    grace: Duration,
    progress: Arc<dyn Fn(String) + Send + Sync>,
) -> Result<Followed, ShellError> {
    let (chunks, kept) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let keeper = tokio::task::spawn_blocking(move || keep(kept, &blobs));
    let from = handle.position();
    let mut recent = Recent::default();
    let mut next_progress = Instant::now();
    let mut cancelled = false;
    let end = loop {
        tokio::select! {
            biased;
            () = cancel.cancelled(), if !cancelled => {
                cancelled = true;
                match handle.control().kill(grace).await {
                    // Ended by itself meanwhile: the spool says how.
                    Ok(()) | Err(ShimError::Ended) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            () = tokio::time::sleep_until(next_progress), if recent.untold => {
                progress(recent.tell());
                next_progress = Instant::now() + PROGRESS_EVERY;
            }
            event = handle.next() => match event? {
                Event::Output(bytes) => {
                    recent.push(&bytes);
                    // A keeper that is gone says so itself, below.
                    drop(chunks.send(Chunk::Bytes(bytes)).await);
                }
                Event::End(end) => break end,
            }
        }
    };
    let read = handle.position() - from;
    drop(chunks.send(Chunk::End).await);
    let gone = |why: &str| LogError::Damaged(format!("the output keeper {why}"));
    let output = match keeper.await {
        Ok(Some(output)) => output,
        Ok(None) => Err(gone("stopped early")),
        Err(failure) => Err(gone(&failure.to_string())),
    };
    let exit = match end {
        End::Lost => {
            let output = output.map_err(|source| ShellError::Output { exit_code: None, source })?;
            return Ok(Followed::Lost(output));
        }
        End::Exited { exit, .. } => exit,
    };
    let (exit_code, signal) = match exit.how {
        How::Code(code) => (Some(code), None),
        How::Signal(signal) => (None, Some(signal)),
        How::Unknown => (None, None),
        How::NotStarted(why) => return Err(ShellError::Start(std::io::Error::other(why))),
    };
    let ended = Ended {
        exit_code,
        signal,
        duration_ms: exit.duration_ms,
        timed_out: exit.cause == Cause::TimeLimit,
        cancelled: exit.cause == Cause::Killed,
        left_behind: exit.left_behind > 0,
        denied: exit.denied,
        output: output.map_err(|source| ShellError::Output { exit_code, source })?,
    };
    let lost = exit.dropped + exit.bytes.saturating_sub(from).saturating_sub(read);
    Ok(Followed::Ended { ended, cause: exit.cause, lost })
}

/// A slow store makes us wait, not the memory grow; the command does not wait for either.
const CHUNKS_IN_FLIGHT: usize = 8;
