//! The writer thread: it takes every piece of work that waits and commits it as one transaction.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::channel::oneshot;
use rusqlite::Connection;
use sterna_blobs::io_error;
use sterna_log::LogError;

use crate::error::{Fail, full, sql};
use crate::queue::Queue;
use crate::reserve::Reserve;

/// What a full disk means for a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It tells what happened already: it may use the space held back.
    Outcome,
    /// It begins something: it is refused when there is no space left to end it.
    Beginning,
}

/// The writer. Dropped, it finishes what is waiting.
pub struct Writer {
    work: Option<Sender<Box<dyn Work>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub fn start(connection: Connection, dir: PathBuf) -> Result<Self, LogError> {
        let (work, waiting) = channel();
        let reserve = Reserve::of(&dir);
        let mut state = State { connection, dir, reserve, queue: None };
        let thread = thread::Builder::new()
            .name("sterna-write".into())
            .spawn(move || state.run(&waiting))
            .map_err(|error| LogError::Io(format!("cannot start a thread: {error}")))?;
        Ok(Self { work: Some(work), thread: Some(thread) })
    }

    /// Runs a piece of work in a transaction that is durable when this returns. It may run more than once; it
    /// checks all its conditions before it writes.
    pub async fn run<T: Send + 'static>(
        &self,
        need: Need,
        work: impl FnMut(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, LogError> {
        let (reply, answer) = oneshot::channel();
        self.push(Job { need, work, outcome: None, reply: |result| drop(reply.send(result)) })?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// The same from a thread that may wait.
    pub fn run_blocking<T: Send + 'static>(
        &self,
        need: Need,
        work: impl FnMut(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, LogError> {
        let (reply, answer) = channel();
        self.push(Job { need, work, outcome: None, reply: move |result| drop(reply.send(result)) })?;
        answer.recv().unwrap_or_else(|_| Err(gone()))
    }

    fn push(&self, work: impl Work + 'static) -> Result<(), LogError> {
        let sent = self.work.as_ref().map(|sender| sender.send(Box::new(work)));
        if matches!(sent, Some(Ok(()))) { Ok(()) } else { Err(gone()) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the writer was told to everyone who waited.
            let _ = thread.join();
        }
    }
}

trait Work: Send {
    fn need(&self) -> Need;
    /// Does it and keeps the outcome; an error voids the transaction.
    fn attempt(&mut self, connection: &Connection) -> Result<(), rusqlite::Error>;
    /// Tells the outcome that was kept, or why there is none.
    fn finish(self: Box<Self>, failed: Option<LogError>);
}

struct Job<T, F, R> {
    need: Need,
    work: F,
    outcome: Option<Result<T, LogError>>,
    reply: R,
}

impl<T, F, R> Work for Job<T, F, R>
where
    T: Send,
    F: FnMut(&Connection) -> Result<T, Fail> + Send,
    R: FnOnce(Result<T, LogError>) + Send,
{
    fn need(&self) -> Need {
        self.need
    }

    fn attempt(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        self.outcome = Some(match (self.work)(connection) {
            Ok(value) => Ok(value),
            Err(Fail::Refused(error)) => Err(error),
            Err(Fail::Broken(error)) => return Err(error),
        });
        Ok(())
    }

    fn finish(self: Box<Self>, failed: Option<LogError>) {
        let outcome = match failed {
            Some(error) => Err(error),
            None => self.outcome.unwrap_or_else(|| Err(gone())),
        };
        (self.reply)(outcome);
    }
}

struct State {
    connection: Connection,
    dir: PathBuf,
    reserve: Reserve,
    queue: Option<Queue>,
}

impl State {
    fn run(&mut self, waiting: &Receiver<Box<dyn Work>>) {
        while let Ok(first) = waiting.recv() {
            let mut group = vec![first];
            group.extend(waiting.try_iter().take(GROUP - 1));
            self.commit(group);
        }
        self.checkpoint_if_worth();
    }

    /// Commits a group, and tells each of its members.
    fn commit(&mut self, group: Vec<Box<dyn Work>>) {
        let mut group = self.refuse_beginnings_without_reserve(group);
        if group.is_empty() {
            return;
        }
        let mut done = self.transact(&mut group);
        if matches!(&done, Err(failure) if failure.is_full()) {
            group = refuse_beginnings(group, &self.dir);
            if group.is_empty() {
                return;
            }
            if self.reserve.free() {
                done = self.transact(&mut group);
            }
        }
        match done {
            Ok(()) => group.into_iter().for_each(|work| work.finish(None)),
            // One of them broke it. Each on its own, so that no other fails for it.
            Err(_) if group.len() > 1 => group.into_iter().for_each(|work| self.commit(vec![work])),
            Err(failure) => group.into_iter().for_each(|work| work.finish(Some(failure.told(&self.dir)))),
        }
    }

    fn transact(&mut self, group: &mut [Box<dyn Work>]) -> Result<(), Failure> {
        let queue = match self.queue.take() {
            Some(queue) => queue,
            None => Queue::open(&self.dir).map_err(Failure::Lock)?,
        };
        let turn = self.queue.insert(queue).enter().map_err(Failure::Lock)?;
        let done = in_transaction(&self.connection, group);
        if done.is_err() && !self.connection.is_autocommit() {
            // Whatever stands in the way of this stands in the way of the next transaction, which tells it.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        drop(turn);
        done.map_err(Failure::Sql)
    }

    /// Without the space held back, what begins now might not be ended: it waits until there is space again.
    fn refuse_beginnings_without_reserve(&self, group: Vec<Box<dyn Work>>) -> Vec<Box<dyn Work>> {
        let begins = group.iter().any(|work| work.need() == Need::Beginning);
        if begins && matches!(self.reserve.hold(), Err(LogError::DiskFull(_))) {
            return refuse_beginnings(group, &self.dir);
        }
        group
    }

    /// The next process reads the whole write-ahead log when it starts: a long one is not left to it.
    fn checkpoint_if_worth(&self) {
        let log = self.dir.join("sterna.db-wal");
        let long = log.metadata().is_ok_and(|log| log.len() > LONG_WAL_BYTES);
        let Some(queue) = self.queue.as_ref().filter(|_| long) else { return };
        let Some(turn) = queue.try_enter() else { return };
        // Others may be reading from it. Then one of them does this.
        if self.connection.busy_timeout(Duration::ZERO).is_ok() {
            let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        drop(turn);
    }
}

fn in_transaction(connection: &Connection, group: &mut [Box<dyn Work>]) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    for work in group.iter_mut() {
        work.attempt(connection)?;
    }
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

/// Tells those that begin something that the disk is full, and gives the others.
fn refuse_beginnings(group: Vec<Box<dyn Work>>, dir: &Path) -> Vec<Box<dyn Work>> {
    let (begin, end): (Vec<_>, Vec<_>) = group.into_iter().partition(|work| work.need() == Need::Beginning);
    begin.into_iter().for_each(|work| work.finish(Some(full(dir))));
    end
}

/// Why a transaction is void.
enum Failure {
    Lock(std::io::Error),
    Sql(rusqlite::Error),
}

impl Failure {
    fn is_full(&self) -> bool {
        match self {
            Self::Lock(error) => error.kind() == std::io::ErrorKind::StorageFull,
            Self::Sql(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
        }
    }

    fn told(&self, dir: &Path) -> LogError {
        match self {
            Self::Lock(error) => io_error("lock", &dir.join("sterna.db.lock"), error),
            Self::Sql(error) => sql(dir, error),
        }
    }
}

fn gone() -> LogError {
    LogError::Io("the writer of the store stopped".into())
}

/// The most pieces of work that one transaction takes.
const GROUP: usize = 256;
/// Reading a log of this length takes well under a millisecond.
const LONG_WAL_BYTES: u64 = 256 << 10;
