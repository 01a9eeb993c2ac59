//! The world outside the process that is killed: a server on a socket that counts what it is asked, and that honours
//! keys where it says so. It lives in the judge's process, so no kill can change what it knows.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What was asked, by whom, and what is so now.
#[derive(Debug, Default, Clone)]
pub struct Books {
    /// How often each verb came under each key.
    asked: BTreeMap<(String, String), usize>,
    /// Keys under which something was put: a second time changes nothing.
    put: BTreeSet<String>,
    /// Keys under which something is lent.
    lent: BTreeSet<String>,
}

impl Books {
    /// How often this verb came, under whatever key.
    pub fn asked(&self, verb: &str) -> usize {
        self.asked.iter().filter(|((of, _), _)| of == verb).map(|(_, times)| times).sum()
    }

    /// The most that one key was asked with this verb.
    pub fn most(&self, verb: &str) -> usize {
        self.asked.iter().filter(|((of, _), _)| of == verb).map(|(_, times)| *times).max().unwrap_or(0)
    }

    /// Things that were put: each key counts once.
    pub fn put(&self) -> usize {
        self.put.len()
    }

    /// Things that are lent now.
    pub fn lent(&self) -> usize {
        self.lent.len()
    }

    fn act(&mut self, verb: &str, key: &str) -> &'static str {
        *self.asked.entry((verb.to_owned(), key.to_owned())).or_default() += 1;
        match verb {
            "look" => "looked",
            "fire" => "fired",
            "put" => {
                self.put.insert(key.to_owned());
                "put"
            }
            "lend" => {
                self.lent.insert(key.to_owned());
                "lent"
            }
            "undo" => {
                self.lent.remove(key);
                "undone"
            }
            _ => "what?",
        }
    }
}

pub struct Outside {
    books: Arc<Mutex<Books>>,
    socket: PathBuf,
    served: Option<std::thread::JoinHandle<()>>,
}

impl Outside {
    /// Serves on `socket` until it is dropped, one request after the other: whoever came first is done first, also
    /// when it is dead since. Between the effect and the answer it takes `pause`.
    pub fn serve(socket: &Path, pause: Duration) -> std::io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let books = Arc::new(Mutex::new(Books::default()));
        let served = {
            let books = books.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if answer(stream, &books, pause).is_none() {
                        return;
                    }
                }
            })
        };
        Ok(Self { books, socket: socket.to_owned(), served: Some(served) })
    }

    pub fn books(&self) -> Books {
        lock(&self.books).clone()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let told = UnixStream::connect(&self.socket).and_then(|mut stream| stream.write_all(b"stop\n"));
        if let (Ok(()), Some(served)) = (told, self.served.take()) {
            // A thread that panicked has said so.
            let _ = served.join();
        }
    }
}

/// `None`: it is told to stop.
fn answer(mut stream: UnixStream, books: &Mutex<Books>, pause: Duration) -> Option<()> {
    // Whoever connects and says nothing does not hold up the others for ever.
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut line = String::new();
    if BufReader::new(&stream).read_line(&mut line).is_err() || !line.ends_with('\n') {
        // It was killed before it could say what it wants.
        return Some(());
    }
    if line == "stop\n" {
        return None;
    }
    if let Some((verb, key)) = line.trim_end().split_once(' ') {
        let said = lock(books).act(verb, key);
        std::thread::sleep(pause);
        // Whoever asked may be dead.
        let _ = writeln!(stream, "{said}");
    }
    Some(())
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
