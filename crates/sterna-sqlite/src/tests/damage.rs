//! Stores that are not as they were written.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;
use sterna_log::conformance::{draft, opened_in};
use sterna_log::{Blobs, Filter, Hit, Page, SessionRow, read_history};
use sterna_model::{Body, EffectResult, ModelOutcome, ModelStop, Outcome, Part};

use super::*;
use crate::schema::PAGE_BYTES;

/// SC-46: one flipped bit in the middle; what comes before it can be read, and the check names it.
#[test]
fn a_flipped_bit_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let main = store(dir.path());
    filled(&main, "s", 20);
    filled(&main, "other", 3);
    let flips = [
        // (column, byte, what the row holds there)
        ("data", 30),
        ("data", 80),
        ("hash", 5),
    ];
    for (column, byte) in flips {
        let before = raw(dir.path(), column, 11);
        let mut after = before.clone();
        after[byte] ^= 1;
        set_raw(dir.path(), column, 11, &after);
        let error = block_on(main.read(&id("s"), 1, 100)).unwrap_err();
        assert!(matches!(&error, LogError::Corrupt { seq: 11, .. }), "{column} {byte}: {error}");
        assert_eq!(block_on(main.read(&id("s"), 1, 10)).unwrap().len(), 10);
        let found = block_on(verify(&main, &main, &id("s"))).unwrap();
        assert_eq!((found.records, found.first_bad.map(|bad| bad.0)), (10, Some(11)), "{column} {byte}");
        let session = id("s");
        let mut history = block_on(read_history(&main, &session)).unwrap();
        assert_eq!(block_on(history.next_page()).unwrap().len(), 10);
        assert!(matches!(block_on(history.next_page()), Err(LogError::Corrupt { seq: 11, .. })));
        whole(&main, "other");
        set_raw(dir.path(), column, 11, &before);
    }
    assert_eq!(whole(&main, "s").0, 21);
    // A record that is gone is found too, in the middle and at the end.
    for (gone, seq) in [("seq = 21", 21), ("seq = 7", 7)] {
        sqlite(dir.path()).execute(&format!("DELETE FROM records WHERE session = 1 AND {gone}"), []).unwrap();
        let found = block_on(verify(&main, &main, &id("s"))).unwrap();
        assert_eq!(found.first_bad.map(|bad| bad.0), Some(seq));
    }
}

#[test]
fn a_lost_or_changed_blob_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let main = store(dir.path());
    block_on(open(&main, "s"));
    send(&main, "s", "small", &"a".repeat(100_000)).unwrap();
    send(&main, "s", "large", &"b".repeat(2_000_000)).unwrap();
    assert_eq!(whole(&main, "s").0, 3);
    let file = files(&dir.path().join("blobs")).pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    for damage in [None, Some("short".into()), Some("c".repeat(bytes.len()))] {
        match damage {
            None => fs::remove_file(&file).unwrap(),
            Some(other) => fs::write(&file, other).unwrap(),
        }
        let found = block_on(verify(&main, &main, &id("s"))).unwrap();
        assert_eq!((found.records, found.first_bad.map(|bad| bad.0)), (2, Some(3)));
    }
    fs::write(&file, bytes).unwrap();
    assert_eq!(whole(&main, "s").0, 3);
    sqlite(dir.path()).execute("UPDATE blobs SET data = zeroblob(10)", []).unwrap();
    let found = block_on(verify(&main, &main, &id("s"))).unwrap();
    assert_eq!((found.records, found.first_bad.map(|bad| bad.0)), (1, Some(2)));
}

#[test]
fn a_corrupt_page_and_a_strange_file_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let main = store(dir.path());
    filled(&main, "s", 200);
    sqlite(dir.path()).query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(main);
    let path = dir.path().join("sterna.db");
    let good = fs::read(&path).unwrap();
    // Every page of the table, zeroed in turn: an error with a way out, or an answer; never a panic or a wrong record.
    let mut damaged = 0;
    let size = PAGE_BYTES as usize;
    for page in (1..good.len() / size).step_by(7) {
        let mut bad = good.clone();
        bad[page * size..(page + 1) * size].fill(0x5A);
        let broken = dir.path().join(format!("page-{page}"));
        fs::create_dir(&broken).unwrap();
        fs::write(broken.join("sterna.db"), &bad).unwrap();
        let outcome = SqliteStore::open(&broken, Options::default())
            .and_then(|store| block_on(store.read(&id("s"), 1, 1_000)));
        match outcome {
            Ok(records) => assert_eq!(records.len(), 201),
            Err(LogError::Damaged(text)) => {
                assert!(text.contains("sterna sessions fsck"), "{text}");
                damaged += 1;
            }
            Err(LogError::Corrupt { .. } | LogError::NotFound(_)) => damaged += 1,
            Err(error) => panic!("page {page}: {error}"),
        }
    }
    assert!(damaged > 0);
    fs::write(&path, "this is not a database, but it is long enough to look like one".repeat(100)).unwrap();
    let error = SqliteStore::open(dir.path(), Options::default()).err().unwrap();
    assert!(matches!(&error, LogError::Damaged(text) if text.contains("is not a database")), "{error}");
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = SqliteStore::open(dir.path(), Options::default()).err().unwrap();
    assert!(matches!(&error, LogError::Damaged(text) if text.contains("another program")), "{error}");
}

/// SC-84: a store of a newer version is refused with its number, or opened for reading.
#[test]
fn a_newer_store_is_read_and_never_written() {
    let dir = tempfile::tempdir().unwrap();
    filled(&store(dir.path()), "s", 3);
    sqlite(dir.path()).execute_batch("PRAGMA user_version = 7").unwrap();
    let error = SqliteStore::open(dir.path(), Options::default()).err().unwrap();
    assert!(matches!(error, LogError::Newer { found: 7, known: crate::SCHEMA_VERSION }), "{error}");
    let options = Options { may_be_read_only: true, ..Options::default() };
    let newer = SqliteStore::open(dir.path(), options).unwrap();
    assert_eq!(newer.read_only(), Some(crate::ReadOnly::Newer(7)));
    assert_eq!(whole(&newer, "s").0, 4);
    assert!(matches!(send(&newer, "s", "k", "x"), Err(LogError::Newer { found: 7, .. })));
    assert!(matches!(block_on(newer.delete(&id("s"))), Err(LogError::Newer { .. })));
    assert!(matches!(block_on(newer.put("x".into())), Err(LogError::Newer { .. })));
    assert!(matches!(newer.writer(), Err(LogError::Newer { .. })));
    // A record of a newer version in a store of ours: what comes before it is still there.
    sqlite(dir.path()).pragma_update(None, "user_version", crate::SCHEMA_VERSION).unwrap();
    let main = store(dir.path());
    let row = String::from_utf8(raw(dir.path(), "data", 3)).unwrap().replacen(
        &format!("\"v\":{}", sterna_model::RECORD_VERSION),
        "\"v\":9",
        1,
    );
    let prev: [u8; 32] = raw(dir.path(), "hash", 2).try_into().unwrap();
    let hash = sterna_log::chain(&Digest(prev), row.as_bytes());
    set_raw(dir.path(), "data", 3, row.as_bytes());
    set_raw(dir.path(), "hash", 3, &hash.0);
    assert!(matches!(
        block_on(main.read(&id("s"), 3, 1)),
        Err(LogError::Newer { found: 9, known: sterna_model::RECORD_VERSION })
    ));
    assert_eq!(block_on(main.read(&id("s"), 1, 2)).unwrap().len(), 2);
    let found = block_on(verify(&main, &main, &id("s"))).unwrap();
    assert_eq!((found.records, found.first_bad.map(|bad| bad.0)), (2, Some(3)));
}

/// SC-84: the first tables did not count what waits.
#[test]
fn a_store_of_the_first_tables_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let first = old_store(dir.path());
    filled(&first, "s", 3);
    let page = || sterna_log::Page { after: None, limit: 9 };
    let rows = block_on(first.list(&sterna_log::Filter::default(), page())).unwrap();
    let before = whole(&first, "s");
    drop(first);
    let old = "ALTER TABLE sessions DROP COLUMN inputs; ALTER TABLE sessions DROP COLUMN asks;
        ALTER TABLE sessions DROP COLUMN in_turn; PRAGMA user_version = 1";
    sqlite(dir.path()).execute_batch(old).unwrap();
    for _ in 0..2 {
        let now = store(dir.path());
        assert_eq!(block_on(now.list(&sterna_log::Filter::default(), page())).unwrap(), rows);
        assert_eq!(whole(&now, "s"), before);
        assert_eq!(block_on(now.check_indexes(&id("s"))).unwrap(), []);
    }
    let version = sqlite(dir.path()).pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0));
    assert_eq!(version.unwrap(), 2, "its records stay where they are");
}

/// A session ends where its row numbers do, and the one behind it is not touched.
#[test]
fn a_session_takes_no_number_of_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let main = store(dir.path());
    filled(&main, "s", 1);
    filled(&main, "t", 1);
    let last = "UPDATE records SET id = (1 << 32) + 4294967295 WHERE session = 1 AND seq = 2;
        UPDATE sessions SET head = 4294967295 WHERE id = 1";
    sqlite(dir.path()).execute_batch(last).unwrap();
    let error = send(&main, "s", "more", "x").unwrap_err();
    assert!(matches!(&error, LogError::Refused(text) if text.contains("as many records")), "{error}");
    assert_eq!(block_on(main.read(&id("t"), 1, 9)).unwrap().len(), 2);
    assert!(block_on(main.read(&id("s"), 4_294_967_296, 9)).unwrap().is_empty());
    assert!(block_on(main.read(&id("s"), u64::MAX, 9)).unwrap().is_empty());
    block_on(main.delete(&id("s"))).unwrap();
    assert_eq!(block_on(main.read(&id("t"), 1, 9)).unwrap().len(), 2);
}

/// SC-84: a store with its indexes dropped gets the same ones back.
#[test]
fn indexes_are_rebuilt_equal() {
    let dir = tempfile::tempdir().unwrap();
    let main = store(dir.path());
    for (name, cwd) in [("a", "/one"), ("b", "/two")] {
        let opening = vec![opened_in(name, cwd, None), input("the first words", Some("first"))];
        block_on(main.append(append(name, Expect::New(None), "open", opening))).unwrap();
        for n in 0..1500 {
            // Every few records an append of two, so that pages cut appends.
            let mut records = vec![input(&format!("word{n}"), Some(&n.to_string()))];
            if n % 3 == 0 {
                records.push(answer(&format!("reply{n}")));
            }
            block_on(main.append(append(name, Expect::Any, &format!("input:{n}"), records))).unwrap();
            if n > 60 && name == "a" {
                break;
            }
        }
    }
    let parent = block_on(main.read(&id("a"), 2, 1)).unwrap().remove(0);
    let parent = sterna_model::Parent { session: id("a"), seq: 2, hash: parent.hash };
    let fork = vec![opened_in("f", "/one", Some(parent))];
    block_on(main.append(append("f", Expect::New(None), "open", fork))).unwrap();
    block_on(open(&main, "gone"));
    block_on(main.delete(&id("gone"))).unwrap();

    let before = indexes(&main, dir.path());
    assert!(before.0.len() == 3 && !before.1.is_empty() && before.2.len() > 1500);
    sqlite(dir.path())
        .execute_batch(
            "DROP TABLE keys; DROP TABLE search;
             UPDATE sessions SET head = 1, hash = zeroblob(32), title = 'x', status = 3, cwd = '', route = '',
             parent = NULL, turns = 9, steps = 9, tokens = 9, cost = NULL, created_at = 0, updated_at = 0
             WHERE deleted = 0",
        )
        .unwrap();
    let done = block_on(main.rebuild_indexes()).unwrap();
    assert_eq!((done.sessions, done.damaged.len()), (3, 0));
    assert_eq!(indexes(&main, dir.path()), before);
    assert_eq!(
        block_on(main.head(&id("gone"))).unwrap_err().to_string(),
        LogError::Tombstone(id("gone")).to_string()
    );
    assert!(send(&main, "b", "6", "word6").is_err(), "its append had two records");
    assert!(send(&main, "b", "8", "word8").unwrap().repeated);
}

#[test]
fn rebuilding_names_what_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let main = store(dir.path());
    filled(&main, "s", 5);
    filled(&main, "t", 5);
    let mut row = raw(dir.path(), "data", 4);
    row[20] ^= 1;
    set_raw(dir.path(), "data", 4, &row);
    let done = block_on(main.rebuild_indexes()).unwrap();
    assert_eq!((done.sessions, done.records), (2, 9));
    assert_eq!(done.damaged.iter().map(|(s, seq, _)| (s.as_str(), *seq)).collect::<Vec<_>>(), [("s", 4)]);
    assert_eq!(block_on(main.head(&id("s"))).unwrap().seq, 6);
}

#[test]
fn files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("home");
    let main = store(&folder);
    filled(&main, "s", 1);
    send(&main, "s", "large", &"b".repeat(2_000_000)).unwrap();
    let mut seen = 0;
    for path in files(&folder) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 6, "{seen} files");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = SqliteStore::open(&file.join("home"), Options::default()).err().unwrap();
    assert!(error.to_string().contains("home"), "{error}");
    // The kernel's own folders refuse everyone, also root, who ignores the bits of others.
    let error =
        SqliteStore::open(std::path::Path::new("/sys/kernel/sterna"), Options::default()).err().unwrap();
    assert!(matches!(&error, LogError::ReadOnly(text) if text.contains("/sys/kernel/sterna")), "{error}");
}

type Keys = Vec<(i64, String, i64, i64, Vec<u8>)>;

fn indexes(store: &SqliteStore, dir: &Path) -> (Vec<SessionRow>, Vec<Hit>, Keys) {
    let rows = block_on(store.list(&Filter::default(), Page { after: None, limit: 100 })).unwrap();
    let mut hits = Vec::new();
    for word in ["first", "word30", "reply30", "word1200"] {
        hits.extend(block_on(store.search(word, 10)).unwrap());
    }
    let connection = sqlite(dir);
    let mut query =
        connection.prepare("SELECT session, id, first, last, content FROM keys ORDER BY 1, 2").unwrap();
    let keys = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    (rows, hits, keys)
}

fn answer(text: &str) -> sterna_model::Draft {
    let result = EffectResult::Model(ModelOutcome {
        parts: vec![Part::Text(text.into())],
        stop: ModelStop::EndTurn,
        classes: vec![],
        billed: sterna_model::Billed { cost: Some(3), ..Default::default() },
        partial: false,
        duration_ms: 1,
        checked: None,
    });
    let key = "s/1/1/model/0".parse().unwrap();
    draft(9, Body::Outcome(Box::new(Outcome { key, attempt: 1, result })))
}

fn sqlite(dir: &Path) -> Connection {
    Connection::open(dir.join("sterna.db")).unwrap()
}

/// Of the first session.
fn raw(dir: &Path, column: &str, seq: u64) -> Vec<u8> {
    let text = format!("SELECT {column} FROM records WHERE session = 1 AND seq = {seq}");
    sqlite(dir).query_row(&text, [], |row| row.get(0)).unwrap()
}

fn set_raw(dir: &Path, column: &str, seq: u64, bytes: &[u8]) {
    let text = format!("UPDATE records SET {column} = ?1 WHERE session = 1 AND seq = {seq}");
    assert_eq!(sqlite(dir).execute(&text, [bytes]).unwrap(), 1);
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Many appends at once: all of them, or none.
#[test]
fn appends_that_belong_together_become_visible_together() {
    let dir = tempfile::tempdir().unwrap();
    let main = store(dir.path());
    let part =
        |n: usize| append("s", Expect::Any, &format!("part:{n}"), vec![input(&"x".repeat(2_000_000), None)]);
    let opened = append("s", Expect::New(None), "open", vec![opened_in("s", "/w", None)]);
    let torn = append("other", Expect::Any, "torn", vec![input("x", None)]);
    let refused = block_on(main.append_all(vec![opened.clone(), part(1), torn]));
    assert!(matches!(refused, Err(LogError::NotFound(_))), "{refused:?}");
    assert!(matches!(block_on(main.head(&id("s"))), Err(LogError::NotFound(_))));
    let receipts = block_on(main.append_all(vec![opened, part(1), part(2)])).unwrap();
    assert_eq!(receipts.iter().map(|receipt| receipt.last).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(whole(&main, "s").0, 3);
}

/// Each index that is not what the records say is named, whichever way it was lost.
#[test]
fn a_lost_index_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let main = store(dir.path());
    filled(&main, "s", 5);
    filled(&main, "other", 2);
    let stale = |session: &str| {
        let found = block_on(main.check_indexes(&id(session))).unwrap();
        found.into_iter().map(|stale| (stale.index, stale.detail)).collect::<Vec<_>>()
    };
    assert_eq!((stale("s"), stale("other")), (vec![], vec![]));
    sqlite(dir.path()).execute("DELETE FROM search WHERE rowid = (1 << 32) | 3", []).unwrap();
    sqlite(dir.path())
        .execute("DELETE FROM keys WHERE session = 1 AND id IN ('input:1', 'input:2')", [])
        .unwrap();
    sqlite(dir.path()).execute("UPDATE sessions SET tokens = 7 WHERE name = 's'", []).unwrap();
    let expected = [
        ("search", "1 of 5 entries are missing".to_owned()),
        // The opening has one too.
        ("keys", "2 of 6 entries are missing".to_owned()),
        ("list", "its row does not say what the records say".to_owned()),
    ];
    assert_eq!((stale("s"), stale("other")), (expected.to_vec(), vec![]));
    block_on(main.rebuild_indexes()).unwrap();
    assert_eq!(stale("s"), vec![]);
}
