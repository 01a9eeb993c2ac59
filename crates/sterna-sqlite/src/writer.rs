//! The writer: a thread takes every piece of work that waits and commits it as one transaction. While one session alone
//! writes there is nothing to wait for, and its work is committed where it is, without the way to the thread and back.

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use rusqlite::Connection;
use sterna_blobs::io_error;
use sterna_log::LogError;

use crate::error::{Fail, full, sql};
use crate::queue::{Queue, Turn};
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
    state: Arc<Mutex<State>>,
    /// Pieces of work at the thread that are not committed yet.
    waiting: Arc<AtomicUsize>,
    crew: Mutex<Crew>,
}

/// The thread, from when there is first something for it.
struct Crew {
    work: Option<Sender<Box<dyn Work>>>,
    thread: Option<JoinHandle<()>>,
    alone: Alone,
}

impl Writer {
    pub fn new(connection: Connection, dir: PathBuf) -> Self {
        Self::patient(connection, dir, LONG_COMMIT)
    }

    /// `patience`: how long a commit may take and the next one still be made in place.
    pub fn patient(connection: Connection, dir: PathBuf, patience: Duration) -> Self {
        let reserve = Reserve::of(&dir);
        let state = State { connection, dir, reserve, queue: OnceCell::new() };
        let crew = Crew { work: None, thread: None, alone: Alone { by: None, wait: 0, patience } };
        Self { state: Arc::new(Mutex::new(state)), waiting: Arc::default(), crew: Mutex::new(crew) }
    }

    /// Runs a piece of work in a transaction that is durable when this returns. It may run more than once; it
    /// checks all its conditions before it writes. `by`: the session that it is a step of, if it is of one; then it is small.
    pub async fn run<T: Send + 'static>(
        &self,
        by: Option<&str>,
        need: Need,
        work: impl FnMut(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, LogError> {
        let (reply, mut answer) = oneshot::channel();
        let job = Job { need, work, outcome: None, reply: |result| drop(reply.send(result)) };
        let left = match by {
            Some(by) => self.here(by, Box::new(job))?,
            // Of any size, such as an import: not for an executor's thread.
            None => Some(Box::new(job) as Box<dyn Work>),
        };
        if let Some(job) = left {
            self.push(job)?;
        } else if let Ok(Some(answer)) = answer.try_recv() {
            return answer;
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// The same from a thread that may wait.
    pub fn run_blocking<T: Send + 'static>(
        &self,
        need: Need,
        work: impl FnMut(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, LogError> {
        let (reply, answer) = channel();
        self.push(Box::new(Job {
            need,
            work,
            outcome: None,
            reply: move |result| drop(reply.send(result)),
        }))?;
        answer.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// Commits at once where nobody else writes. Gives the work back where it has to wait for others.
    fn here(&self, by: &str, work: Box<dyn Work>) -> Result<Option<Box<dyn Work>>, LogError> {
        let alone = self.crew().alone.may_commit(by);
        // What came before is committed before.
        if !alone || self.waiting.load(Ordering::SeqCst) > 0 {
            return Ok(Some(work));
        }
        let Ok(state) = self.state.try_lock() else { return Ok(Some(work)) };
        let began = Instant::now();
        // A panic leaves the lock poisoned: nobody writes any more.
        let left = catch_unwind(AssertUnwindSafe(move || state.commit_if_free(work))).map_err(|_| gone())?;
        self.crew().alone.took(began.elapsed());
        Ok(left)
    }

    fn push(&self, work: Box<dyn Work>) -> Result<(), LogError> {
        let mut crew = self.crew();
        if crew.work.is_none() {
            let (sender, work) = channel();
            let (state, waiting) = (self.state.clone(), self.waiting.clone());
            let thread = thread::Builder::new()
                .name("sterna-write".into())
                .spawn(move || serve(&state, &work, &waiting))
                .map_err(|error| LogError::Io(format!("cannot start a thread: {error}")))?;
            crew.work = Some(sender);
            crew.thread = Some(thread);
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let sent = crew.work.as_ref().map(|sender| sender.send(work));
        if matches!(sent, Some(Ok(()))) { Ok(()) } else { Err(gone()) }
    }

    fn crew(&self) -> MutexGuard<'_, Crew> {
        self.crew.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut crew = self.crew();
        crew.work = None;
        let thread = crew.thread.take();
        drop(crew);
        if let Some(thread) = thread {
            // A panic of the writer was told to everyone who waited.
            let _ = thread.join();
        }
        if let Ok(state) = self.state.lock() {
            state.checkpoint_if_worth();
        }
    }
}

/// Whether one session alone writes, and the disk is quick: then a commit holds up nobody for long.
#[derive(Debug)]
struct Alone {
    by: Option<String>,
    patience: Duration,
    /// Pieces of work that must go by before work is committed in place.
    wait: u32,
}

impl Alone {
    fn may_commit(&mut self, by: &str) -> bool {
        match self.by.as_deref() {
            Some(last) if last == by => {}
            Some(_) => (self.by, self.wait) = (Some(by.to_owned()), AFTER_ANOTHER),
            None => self.by = Some(by.to_owned()),
        }
        self.wait = self.wait.saturating_sub(1);
        self.wait == 0
    }

    fn took(&mut self, time: Duration) {
        if time > self.patience {
            self.wait = AFTER_A_LONG_ONE;
        }
    }
}

fn serve(state: &Mutex<State>, work: &Receiver<Box<dyn Work>>, waiting: &AtomicUsize) {
    while let Ok(first) = work.recv() {
        // Poisoned by a panic: whoever waits is told that the writer is gone.
        let Ok(state) = state.lock() else { return };
        let mut group = vec![first];
        group.extend(work.try_iter().take(GROUP - 1));
        let done = group.len();
        state.commit(group);
        waiting.fetch_sub(done, Ordering::SeqCst);
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
    queue: OnceCell<Queue>,
}

impl State {
    /// Commits, unless another process writes or waits just now: then the work comes back.
    fn commit_if_free(&self, work: Box<dyn Work>) -> Option<Box<dyn Work>> {
        // What stands in the way of the queue is told to who waits for a turn.
        let Some(turn) = self.queue().ok().and_then(Queue::try_enter) else { return Some(work) };
        self.commit_in(Some(turn), vec![work]);
        None
    }

    /// Commits a group, and tells each of its members.
    fn commit(&self, group: Vec<Box<dyn Work>>) {
        self.commit_in(None, group);
    }

    /// The same, the first time in a turn that is ours already.
    fn commit_in(&self, turn: Option<Turn<'_>>, group: Vec<Box<dyn Work>>) {
        let mut group = self.refuse_beginnings_without_reserve(group);
        if group.is_empty() {
            return;
        }
        let mut done = self.transact(turn, &mut group);
        if matches!(&done, Err(failure) if failure.is_full()) {
            group = refuse_beginnings(group, &self.dir);
            if group.is_empty() {
                return;
            }
            if self.reserve.free() {
                done = self.transact(None, &mut group);
            }
        }
        match done {
            Ok(()) => group.into_iter().for_each(|work| work.finish(None)),
            // One of them broke it. Each on its own, so that no other fails for it.
            Err(_) if group.len() > 1 => group.into_iter().for_each(|work| self.commit(vec![work])),
            Err(failure) => group.into_iter().for_each(|work| work.finish(Some(failure.told(&self.dir)))),
        }
    }

    fn transact(&self, turn: Option<Turn<'_>>, group: &mut [Box<dyn Work>]) -> Result<(), Failure> {
        let turn = match turn {
            Some(turn) => turn,
            None => self.queue().and_then(Queue::enter).map_err(Failure::Lock)?,
        };
        let done = in_transaction(&self.connection, group);
        drop(turn);
        done.map_err(Failure::Sql)
    }

    fn queue(&self) -> std::io::Result<&Queue> {
        match self.queue.get() {
            Some(queue) => Ok(queue),
            None => Queue::open(&self.dir).map(|queue| self.queue.get_or_init(|| queue)),
        }
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
        let Some(queue) = self.queue.get().filter(|_| long) else { return };
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
    let _open = Open(connection);
    for work in group.iter_mut() {
        work.attempt(connection)?;
    }
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

/// A transaction. What is not committed at its end is rolled back, at a panic too: else nobody could write any more.
struct Open<'a>(&'a Connection);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // Whatever stands in the way of this stands in the way of the next transaction, which tells it.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
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
/// Work of one session alone that is seen before it is committed in place, after another's.
const AFTER_ANOTHER: u32 = 8;
/// The same after a commit that took long.
const AFTER_A_LONG_ONE: u32 = 64;
/// Longer than a flash disk takes: an executor's thread should not wait for it.
const LONG_COMMIT: Duration = Duration::from_millis(5);
