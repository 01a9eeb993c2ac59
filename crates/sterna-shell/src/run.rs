//! The life of one command: start, read, wait, end, drain.

use std::future::{Future, poll_fn};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::FusedFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::ChildStdin;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::capture::{Chunk, keep};
use crate::sandbox::Watch;
use crate::spawn::spawn;
use crate::{Command, DRAIN, Ended, MAX_TIMEOUT, ShellError};

/// Runs the command to its end. Dropping the future kills all that can be found of it.
///
/// Needs a tokio runtime with time and I/O enabled.
pub async fn run(command: Command) -> Result<Ended, ShellError> {
    let began = Instant::now();
    let (reader, writer) = std::io::pipe().map_err(ShellError::Start)?;
    let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(ShellError::Start)?;
    let (guard, mut child, mut launch) = spawn(&command, writer, None).await?;
    // Declared after the child, so that a drop kills the group while its leader's id is still its own.
    let mut group = guard;

    let (chunks, kept) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let blobs = command.blobs.clone();
    let keeper = tokio::task::spawn_blocking(move || keep(kept, &blobs));
    let feed = feed(child.stdin.take(), command.stdin);
    let read = read(reader, chunks.clone(), command.progress);
    let mut pump = std::pin::pin!(async { tokio::join!(feed, read) }.map(|_| ()).fuse());

    let end = {
        let wait = async {
            tokio::select! {
                biased;
                status = child.wait() => End::Exited(status.map_err(ShellError::Lost)),
                () = command.cancel.cancelled() => End::Cancelled,
                () = sleep(command.timeout.min(MAX_TIMEOUT)) => End::TimedOut,
            }
        };
        beside(pump.as_mut(), wait).await
    };
    let (timed_out, cancelled) = (matches!(end, End::TimedOut), matches!(end, End::Cancelled));
    let status = match end {
        End::Exited(status) => Some(status?),
        End::Cancelled | End::TimedOut => {
            beside(pump.as_mut(), group.end(&mut child, command.grace)).await;
            // `None`: not even SIGKILL has ended it yet.
            child.try_wait().map_err(ShellError::Lost)?
        }
    };
    let left_behind = !pump.is_terminated() && timeout(DRAIN, pump.as_mut()).await.is_err();
    group.release();

    let exit_code = status.and_then(|status: ExitStatus| status.code());
    let signal = status.and_then(|status| status.signal());
    let never_started = launch.take_status().and_then(|status| status.failure(exit_code));
    let gone = |why: &str| sterna_log::LogError::Damaged(format!("the output keeper {why}"));
    // A keeper that is gone says so itself, below.
    drop(chunks.send(Chunk::End).await);
    let output = match keeper.await {
        Ok(Some(output)) => output,
        Ok(None) => Err(gone("stopped early")),
        Err(failure) => Err(gone(&failure.to_string())),
    };
    let output = output.map_err(|source| ShellError::Output { exit_code, source })?;
    let mut watch = Watch::of(command.confine.as_ref().map(|confined| &confined.confinement));
    if let Some(watch) = &mut watch {
        watch.see(output.text().as_bytes());
    }
    if let Some(why) = never_started {
        let words = watch.map(|watch| watch.last_words()).unwrap_or_default();
        return Err(ShellError::Sandbox(format!("{why}: {words}")));
    }
    let refusals = launch.proxy.as_ref().map(|proxy| proxy.refusals()).unwrap_or_default();
    let denied = watch.map(|watch| watch.end(exit_code, signal, &refusals));
    Ok(Ended {
        exit_code,
        signal,
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        timed_out,
        cancelled,
        left_behind,
        output,
        denied: denied.unwrap_or_default(),
    })
}

enum End {
    Exited(Result<ExitStatus, ShellError>),
    Cancelled,
    TimedOut,
}

/// Drives `main` to its end, and `pump` beside it.
async fn beside<T>(mut pump: Pin<&mut impl FusedFuture<Output = ()>>, main: impl Future<Output = T>) -> T {
    let mut main = std::pin::pin!(main);
    poll_fn(|cx| {
        if !pump.is_terminated() {
            // Its end is seen by `is_terminated`.
            let _: Poll<()> = pump.as_mut().poll(cx);
        }
        main.as_mut().poll(cx)
    })
    .await
}

/// Writes the command's input and closes it. A command that does not want it is no error.
async fn feed(stdin: Option<ChildStdin>, text: Option<String>) {
    if let (Some(mut stdin), Some(text)) = (stdin, text) {
        drop(stdin.write_all(text.as_bytes()).await);
        drop(stdin.shutdown().await);
    }
}

/// Reads until every writer is gone, and tells what it reads.
async fn read(
    mut reader: pipe::Receiver,
    chunks: mpsc::Sender<Chunk>,
    progress: Arc<dyn Fn(String) + Send + Sync>,
) {
    let mut recent = Recent::default();
    let mut next = Instant::now();
    loop {
        let mut bytes = Vec::with_capacity(CHUNK_BYTES);
        tokio::select! {
            biased;
            () = sleep_until(next), if recent.untold => {
                progress(recent.tell());
                next = Instant::now() + PROGRESS_EVERY;
            }
            read = reader.read_buf(&mut bytes) => {
                if !matches!(read, Ok(1..)) {
                    break;
                }
                recent.push(&bytes);
                if chunks.send(Chunk::Bytes(bytes)).await.is_err() {
                    break;
                }
            }
        }
    }
    if recent.untold && Instant::now() >= next {
        progress(recent.tell());
    }
}

const CHUNK_BYTES: usize = 64 << 10;
/// A slow store makes the command wait, not the memory grow.
const CHUNKS_IN_FLIGHT: usize = 8;
pub(crate) const PROGRESS_EVERY: Duration = Duration::from_millis(250);
const PROGRESS_BYTES: usize = 2 << 10;
const PROGRESS_LINES: usize = 10;

/// The last lines for people.
#[derive(Default)]
pub(crate) struct Recent {
    bytes: Vec<u8>,
    pub(crate) untold: bool,
}

impl Recent {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(&bytes[bytes.len().saturating_sub(PROGRESS_BYTES)..]);
        self.bytes.drain(..self.bytes.len().saturating_sub(PROGRESS_BYTES));
        self.untold = true;
    }

    pub(crate) fn tell(&mut self) -> String {
        self.untold = false;
        let text = crate::lossy_tail(&self.bytes, PROGRESS_BYTES);
        let body = text.strip_suffix('\n').unwrap_or(&text);
        let from = body.rmatch_indices('\n').nth(PROGRESS_LINES - 1).map_or(0, |(at, _)| at + 1);
        body[from..].to_owned()
    }
}
