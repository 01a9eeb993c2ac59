//! Threads that read. None is started before the first read, and none opens the database before it needs it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use rusqlite::Connection;
use sterna_blobs::LocalBlobs;
use sterna_log::LogError;

use crate::schema;

/// What a reader thread works with.
pub struct Reader {
    pub dir: PathBuf,
    pub files: LocalBlobs,
    busy: Duration,
    connection: Option<Connection>,
}

impl Reader {
    pub fn connection(&mut self) -> Result<&Connection, LogError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => schema::open_reader(&self.dir, self.busy)?,
        };
        Ok(self.connection.insert(connection))
    }
}

/// A few readers. Dropped, it finishes what is waiting.
pub struct Pool {
    shared: Arc<Shared>,
    dir: PathBuf,
    files: LocalBlobs,
    busy: Duration,
    most: usize,
}

type Task = Box<dyn FnOnce(&mut Reader) + Send>;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Pool {
    pub fn new(dir: PathBuf, files: LocalBlobs, busy: Duration, most: usize) -> Self {
        Self { shared: Arc::default(), dir, files, busy, most: most.max(1) }
    }

    /// Runs a piece of work on one of the threads.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let (reply, answer) = oneshot::channel();
        self.push(Box::new(move |reader| {
            // Whoever asked may be gone.
            let _ = reply.send(work(reader));
        }))?;
        answer.await.unwrap_or_else(|_| Err(LogError::Io("a reader of the store stopped".into())))
    }

    fn push(&self, task: Task) -> Result<(), LogError> {
        let mut state = self.shared.lock();
        state.tasks.push_back(task);
        if state.idle < state.tasks.len() && state.threads < self.most {
            let (shared, files) = (self.shared.clone(), self.files.clone());
            let mut reader = Reader { dir: self.dir.clone(), files, busy: self.busy, connection: None };
            let started =
                thread::Builder::new().name("sterna-read".into()).spawn(move || shared.work(&mut reader));
            match started {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => {
                    state.tasks.pop_back();
                    return Err(LogError::Io(format!("cannot start a thread: {error}")));
                }
                Err(_) => {}
            }
        }
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, reader: &mut Reader) {
        let _gone = Gone(self);
        let mut state = self.lock();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                drop(state);
                task(reader);
                state = self.lock();
            } else if state.closed {
                return;
            } else {
                state.idle += 1;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

/// Makes room for another thread when this one ends, also by a panic in its work.
struct Gone<'a>(&'a Shared);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
    }
}
