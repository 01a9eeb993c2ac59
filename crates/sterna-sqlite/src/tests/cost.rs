//! What an append costs in bytes, and what opening costs.

use std::fs;

use sterna_log::conformance::{driven, open_leased};

use super::*;
use crate::schema::PAGE_BYTES;

/// SC-85: the last hundred steps write no more than 1.2 times what the first hundred write.
#[test]
fn bytes_per_append_stay_flat() {
    let dir = tempfile::tempdir().unwrap();
    let main = store(dir.path());
    let (_, fence) = block_on(open_leased(&main, "s", "a"));
    let database = dir.path().join("sterna.db");
    let reader = rusqlite::Connection::open(&database).unwrap();
    // The log is emptied at each mark, so its length is what was written since.
    let mark = || {
        let bytes = fs::metadata(dir.path().join("sterna.db-wal")).unwrap().len();
        reader.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        bytes
    };
    let mut head = 1;
    let mut windows = Vec::new();
    let mut stored = Vec::new();
    mark();
    for window in 0..10u64 {
        for n in 0..100 {
            let text = format!("{window:03}{n:03}{}", "z".repeat(600));
            // Not an input: those enter the search index, once a turn.
            let note =
                sterna_model::Body::GrantRevoked { content: sterna_log::digest(text.as_bytes()), by: text };
            let note = sterna_log::conformance::draft(1, note);
            head = block_on(main.append(driven("s", head, fence, &format!("n{window}.{n}"), vec![note])))
                .unwrap()
                .last;
        }
        windows.push(mark());
        let text = "SELECT sum(length(data)) FROM records WHERE seq > 1";
        stored.push(reader.query_row(text, [], |row| row.get::<_, i64>(0)).unwrap());
    }
    let (first, last) = (windows[0], windows[9]);
    assert!(last * 10 <= first * 12, "the log grew by {windows:?}");
    assert!(first < 100 * 4 * 4_096, "more than four blocks of a disk an append: {first}");
    assert!(stored[9] - stored[8] <= stored[0] * 12 / 10, "records: {stored:?}");
    let pages: i64 = reader.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    assert!(pages * i64::from(PAGE_BYTES) < stored[9] * 3, "{pages} pages for {} bytes", stored[9]);
}

/// Opening a store again writes nothing and starts no reader.
#[test]
fn opening_does_not_write() {
    let dir = tempfile::tempdir().unwrap();
    filled(&store(dir.path()), "s", 5);
    let state = |name: &str| fs::read(dir.path().join(name)).unwrap();
    let before = (state("sterna.db"), state("sterna.db-wal"));
    let start = std::time::Instant::now();
    let main = store(dir.path());
    let opened = start.elapsed();
    assert_eq!((state("sterna.db"), state("sterna.db-wal")), before);
    drop(main);

    // What a driver's append costs beside a bare commit of the same bytes: for the eye, machines differ.
    let main = store(dir.path());
    let (_, fence) = block_on(open_leased(&main, "t", "a"));
    let body = || sterna_model::Body::GrantRevoked { content: Digest::ZERO, by: "z".repeat(600) };
    let ours = median((1..=100).map(|head| {
        let records = vec![sterna_log::conformance::draft(1, body())];
        let append = driven("t", head, fence, &format!("n{head}"), records);
        let start = std::time::Instant::now();
        assert_eq!(block_on(main.append(append)).unwrap().last, head + 1);
        start.elapsed()
    }));
    let bare = rusqlite::Connection::open(dir.path().join("bare.db")).unwrap();
    bare.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (a, b)")
        .unwrap();
    let floor = median((0..100).map(|n| {
        let start = std::time::Instant::now();
        bare.execute("INSERT INTO t VALUES (?1, ?2)", rusqlite::params![n, "z".repeat(700)]).unwrap();
        start.elapsed()
    }));
    println!("open {opened:?}, append {ours:?}, a bare commit {floor:?}");
}

fn median(times: impl Iterator<Item = std::time::Duration>) -> std::time::Duration {
    let mut times: Vec<_> = times.collect();
    times.sort();
    times[times.len() / 2]
}
