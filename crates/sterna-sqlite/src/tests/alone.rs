//! Where work is committed: in place while one session alone writes, by the thread as soon as another does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use futures::executor::block_on;
use rusqlite::Connection;

use crate::error::Fail;
use crate::queue::Queue;
use crate::writer::{Need, Writer};

fn writer(dir: &tempfile::TempDir) -> Writer {
    let connection = Connection::open(dir.path().join("sterna.db")).unwrap();
    connection.execute_batch("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY)").unwrap();
    Writer::patient(connection, dir.path().to_owned(), Duration::MAX)
}

/// Which thread commits a row.
fn commits(writer: &Writer, by: Option<&str>) -> ThreadId {
    let work = |connection: &Connection| -> Result<ThreadId, Fail> {
        connection.execute("INSERT INTO rows DEFAULT VALUES", [])?;
        Ok(thread::current().id())
    };
    block_on(writer.run(by, Need::Outcome, work)).unwrap()
}

#[test]
fn one_session_alone_is_committed_where_it_is_and_several_by_the_thread() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(&dir);
    let here = thread::current().id();
    for _ in 0..3 {
        assert_eq!(commits(&writer, Some("a")), here);
    }
    for _ in 0..20 {
        assert_ne!(commits(&writer, Some("b")), here);
        assert_ne!(commits(&writer, Some("a")), here);
    }
    // Alone again: after a while.
    // The thread tells an end a moment before it lets go.
    let places: Vec<bool> = (0..200).map(|_| commits(&writer, Some("a")) == here).collect();
    let first = places.iter().position(|place| *place).unwrap();
    assert!(first >= 4 && places[first..].iter().all(|place| *place), "{places:?}");
    drop(writer);
    let rows = Connection::open(dir.path().join("sterna.db")).unwrap();
    let rows: i64 = rows.query_row("SELECT count(*) FROM rows", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 3 + 40 + 200);
}

#[test]
fn work_of_no_session_is_the_threads_and_counts_for_none() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(&dir);
    let here = thread::current().id();
    for _ in 0..3 {
        assert_ne!(commits(&writer, None), here);
    }
    // The thread tells an end a moment before it lets go.
    assert!((0..1_000).any(|_| commits(&writer, Some("b")) == here));
    assert_ne!(commits(&writer, Some("a")), here);
    for _ in 0..20 {
        assert_ne!(commits(&writer, None), here);
    }
    assert_ne!(commits(&writer, Some("a")), here, "it is not known yet to be alone");
}

#[test]
fn nothing_is_committed_before_what_came_first() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(&dir);
    let (go, goes) = mpsc::channel::<()>();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = |name: &'static str| {
        let order = order.clone();
        move |_: &Connection| -> Result<(), Fail> {
            order.lock().unwrap().push(name);
            Ok(())
        }
    };
    let held = move |_: &Connection| -> Result<(), Fail> {
        // An error only says that the test has ended.
        let _ = goes.recv();
        Ok(())
    };
    let mut first = Box::pin(writer.run(None, Need::Outcome, held));
    let mut second = Box::pin(writer.run(None, Need::Outcome, tell("second")));
    let mut third = Box::pin(writer.run(Some("a"), Need::Outcome, tell("third")));
    block_on(async {
        assert!(futures::poll!(&mut first).is_pending());
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut third).is_pending());
        go.send(()).unwrap();
        futures::try_join!(first, second, third).unwrap();
    });
    assert_eq!(*order.lock().unwrap(), ["second", "third"]);
}

#[test]
fn a_commit_that_took_long_sends_the_next_ones_to_the_thread() {
    let dir = tempfile::tempdir().unwrap();
    let connection = Connection::open(dir.path().join("sterna.db")).unwrap();
    connection.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY)").unwrap();
    let writer = Writer::patient(connection, dir.path().to_owned(), Duration::ZERO);
    let here = thread::current().id();
    let places: Vec<bool> = (0..64).map(|_| commits(&writer, Some("a")) == here).collect();
    assert_eq!((places[0], places[1..].contains(&true)), (true, false));
    // The thread tells an end a moment before it lets go.
    assert!((0..1_000).any(|_| commits(&writer, Some("a")) == here));
}

#[test]
fn work_waits_at_the_thread_while_another_process_writes() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Arc::new(writer(&dir));
    let other = Queue::open(dir.path()).unwrap();
    let turn = other.enter().unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let (told, tells) = mpsc::channel();
    let waiting = {
        let (writer, done) = (writer.clone(), done.clone());
        thread::spawn(move || {
            let here = thread::current().id();
            let mut job =
                Box::pin(writer.run(Some("a"), Need::Outcome, |_: &Connection| Ok(thread::current().id())));
            // The executor's thread is not held up.
            assert!(block_on(async { futures::poll!(&mut job).is_pending() }));
            told.send(()).unwrap();
            let by = block_on(job).unwrap();
            done.fetch_add(1, Ordering::SeqCst);
            by != here
        })
    };
    tells.recv().unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 0);
    drop(turn);
    assert!(waiting.join().unwrap());
}

#[test]
fn a_panic_in_place_is_an_error_for_whoever_writes_then_and_later() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(&dir);
    let panics = |_: &Connection| -> Result<(), Fail> { panic!("on purpose") };
    assert!(block_on(writer.run(Some("a"), Need::Outcome, panics)).is_err());
    assert!(block_on(writer.run(Some("a"), Need::Outcome, |_: &Connection| Ok(()))).is_err());
    assert!(block_on(writer.run(Some("b"), Need::Outcome, |_: &Connection| Ok(()))).is_err());
    // Others of the machine are not held up by it.
    let other = Connection::open(dir.path().join("sterna.db")).unwrap();
    other.busy_timeout(Duration::ZERO).unwrap();
    other.execute("INSERT INTO rows DEFAULT VALUES", []).unwrap();
}

#[test]
fn a_panic_at_the_thread_holds_up_no_other_process() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(&dir);
    let panics = |_: &Connection| -> Result<(), Fail> { panic!("on purpose") };
    assert!(block_on(writer.run(None, Need::Outcome, panics)).is_err());
    assert!(block_on(writer.run(None, Need::Outcome, |_: &Connection| Ok(()))).is_err());
    let other = Connection::open(dir.path().join("sterna.db")).unwrap();
    other.busy_timeout(Duration::ZERO).unwrap();
    other.execute("INSERT INTO rows DEFAULT VALUES", []).unwrap();
}
