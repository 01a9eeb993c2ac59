//! Sessions that come from elsewhere: bundles, other agents' logs, and what is whole of a damaged log.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Done, World};

const WRITES: &str = r#"{"text":"I will.","calls":[{"name":"write","arguments":{"path":"a.txt","content":"hello\n"}}]}
{"text":"The zebra is there."}"#;

fn object(done: &Done) -> Value {
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(done.out.lines().count(), 1, "{}", done.out);
    serde_json::from_str(&done.out).unwrap()
}

/// A script that gives this answer, however many came before it.
fn answers(text: &str) -> String {
    format!("{}\n", json!({ "text": text })).repeat(20)
}

/// The ids that the list has.
fn ids(world: &World) -> Vec<String> {
    let listed = world.sterna(&["sessions", "list", "--json"]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    let rows = listed.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// The records of a bundle, under the name `s`.
fn records(bundle: &str, name: &str) -> Vec<String> {
    let lines: Vec<Value> = bundle.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = lines[0]["records"].as_u64().unwrap() as usize;
    let text = |line: &Value| {
        let record = line["record"].to_string();
        record.replace(&format!("\"{name}\""), "\"s\"").replace(&format!("\"{name}/"), "\"s/")
    };
    lines[1..=count].iter().map(text).collect()
}

/// A store, and a session in it whose export is in `s.bundle`.
fn exported() -> World {
    let world = World::new(WRITES);
    assert_eq!(world.run(&["--session", "s", "--mode", "bypass", "find a giraffe"]).code, 0);
    assert_eq!(world.sterna(&["sessions", "export", "s", "-o", "s.bundle"]).code, 0);
    world
}

#[test]
fn a_bundle_becomes_a_session_that_goes_on() {
    let there = exported();
    let here = World::new(&answers("and here it goes on"));
    fs::copy(there.work().join("s.bundle"), here.work().join("s.bundle")).unwrap();
    let report = object(&here.sterna(&["sessions", "import", "s.bundle", "--id", "t", "--json"]));
    assert_eq!(
        (&report["session"], &report["from"], &report["source"], &report["turns"], &report["left_out"]),
        (&json!("t"), &json!("sterna"), &json!("s"), &json!(1), &json!({}))
    );
    assert_eq!(report["folder"], json!(here.work()));
    // Shown, searched, checked, replayed, exported again.
    let shown = here.sterna(&["sessions", "show", "t"]).out;
    assert!(shown.contains("> find a giraffe") && shown.contains("The zebra is there."), "{shown}");
    assert!(here.sterna(&["sessions", "search", "zebra"]).out.starts_with("t@"));
    assert_eq!(here.sterna(&["sessions", "fsck", "t"]).code, 0);
    assert_eq!(here.sterna(&["replay", "t"]).code, 0);
    let bundle = fs::read_to_string(here.work().join("s.bundle")).unwrap();
    let again = here.sterna(&["sessions", "export", "t"]).out;
    // Checkpoints of the workspace stay where they were taken.
    let kept = |records: Vec<String>| -> (Vec<String>, Vec<String>) {
        records.into_iter().partition(|record| !record.contains("\"body\":{\"checkpoint_"))
    };
    let ((before, taken), (after, missed)) = (kept(records(&bundle, "s")), kept(records(&again, "t")));
    assert_eq!((taken.len(), missed.len()), (1, 1));
    assert!(missed[0].contains("\"checkpoint_missed\""), "{}", missed[0]);
    // The first record names the folder, and the last one where it comes from.
    assert_eq!((before.len() + 1, &before[1..]), (after.len(), &after[1..before.len()]));
    assert!(after[before.len()].contains("import: sterna session `s`"), "{}", after[before.len()]);
    // Continued: the model is told what was said there.
    let done = here.run(&["--session", "t", "go on"]);
    assert_eq!(
        (done.code, done.result()["message"].as_str()),
        (0, Some("and here it goes on")),
        "{}",
        done.err
    );
    assert_eq!(done.result()["turn"], 2);
    // Ids are used once, and without one there is a new one.
    let taken = here.sterna(&["sessions", "import", "s.bundle", "--id", "t"]);
    assert_eq!((taken.code, taken.out.as_str()), (2, ""));
    assert!(taken.err.starts_with("error: session `t` exists already\nhint: "), "{}", taken.err);
    let other = here.sterna(&["sessions", "import", "s.bundle"]);
    assert_eq!((other.code, ids(&here).len()), (0, 2), "{}", other.err);
    assert_eq!(here.sterna(&["sessions", "delete", "-y", "t"]).code, 0);
    let gone = here.sterna(&["sessions", "import", "s.bundle", "--id", "t"]);
    assert!(gone.code == 2 && gone.err.contains("its id is not used again"), "{}", gone.err);
}

#[test]
fn a_bundle_that_is_not_whole_is_not_imported() {
    let world = exported();
    let bundle = fs::read(world.work().join("s.bundle")).unwrap();
    let line = |at: usize| bundle.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(at).unwrap().0;
    let flipped = |at: usize| {
        let mut bytes = bundle.clone();
        bytes[at] ^= 1;
        bytes
    };
    let check = |bytes: &[u8], code: i32, error: &str| {
        fs::write(world.work().join("bad"), bytes).unwrap();
        let done = world.sterna(&["sessions", "import", "bad", "--id", "t"]);
        assert_eq!((done.code, done.out.as_str()), (code, ""), "{}", done.err);
        assert!(done.err.starts_with("error: bad: ") && done.err.contains(error), "{}", done.err);
        assert_eq!(ids(&world), ["s"]);
    };
    check(&bundle[..bundle.len() - 1], 1, "the bundle is cut");
    check(&bundle[..=line(3)], 1, "the bundle is cut");
    check(&bundle[..line(3) - 20], 1, "the bundle is cut");
    check(&bundle[..20], 2, "neither a Sterna bundle nor");
    check(&flipped(line(2) + 40), 1, "the bundle is not what was written");
    check(&flipped(bundle.len() - 60), 1, "the bundle is not what was written");
    check(&[&bundle[..], b"more"].concat(), 1, "after its closing line");
    check(b"", 2, "neither a Sterna bundle nor");
    let missing = world.sterna(&["sessions", "import", "nowhere"]);
    assert_eq!(missing.code, 2);
    assert!(missing.err.starts_with("error: cannot read nowhere: "), "{}", missing.err);
}

/// A fork brings the history that it shares; where that history is, it is shared again.
#[test]
fn a_fork_is_moved_with_its_history() {
    let there = exported();
    assert_eq!(there.sterna(&["sessions", "fork", "s@1.1", "--id", "f"]).code, 0);
    there.script(&answers("the fork goes on"));
    assert_eq!(there.run(&["--session", "f", "and then?"]).code, 0);
    assert_eq!(there.sterna(&["sessions", "export", "f", "-o", "f.bundle"]).code, 0);
    let again = object(&there.sterna(&["sessions", "import", "f.bundle", "--id", "g", "--json"]));
    assert_eq!((&again["shared"], ids(&there).len()), (&json!([]), 3));
    let here = World::new(&answers("and here too"));
    fs::copy(there.work().join("f.bundle"), here.work().join("f.bundle")).unwrap();
    let moved = object(&here.sterna(&["sessions", "import", "f.bundle", "--id", "h", "--json"]));
    let shared = moved["shared"][0].as_str().unwrap();
    assert_eq!(ids(&here), ["h", shared]);
    for world in [&here, &there] {
        assert_eq!(world.sterna(&["sessions", "fsck"]).code, 0);
    }
    // The requests that it made there can be derived here: its history is what it was.
    assert_eq!(here.sterna(&["replay", "h"]).code, 0);
    let done = here.run(&["--session", "h", "go on"]);
    assert_eq!(done.code, 0, "{}", done.err);
}

/// Killed at whatever moment: the session is there as a whole, or not at all.
#[test]
fn an_import_that_is_killed_leaves_nothing_half() {
    let calls: Vec<String> = (0..16)
        .map(|n| {
            let text = format!("{n} ").repeat(6_000);
            json!({"text": text, "calls": [{"name": "list", "arguments": {"path": ".", "n": n}}]}).to_string()
        })
        .collect();
    let there = World::new(&format!("{}\n{}", calls.join("\n"), r#"{"text":"done"}"#));
    assert_eq!(there.run(&["--session", "s", "go"]).code, 0);
    assert_eq!(there.sterna(&["sessions", "export", "s", "-o", "b"]).code, 0);
    let bundle = fs::read(there.work().join("b")).unwrap();
    let (mut none, mut all) = (0, 0);
    // The store's log of writes tells how far it is.
    for size in [0u64, 40_000, 200_000, 400_000, u64::MAX] {
        let here = World::new("");
        fs::write(here.work().join("b"), &bundle).unwrap();
        let wal = here.home().join("data/sterna.db-wal");
        let mut child = here.command(&["sessions", "import", "b", "--id", "t"]).spawn().unwrap();
        while child.try_wait().unwrap().is_none() && fs::metadata(&wal).map_or(0, |wal| wal.len()) < size {
            std::thread::yield_now();
        }
        // It may have ended by itself.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::KILL);
        child.wait().unwrap();
        let found = ids(&here);
        if found.is_empty() {
            none += 1;
            let again = here.sterna(&["sessions", "import", "b", "--id", "t"]);
            assert_eq!(again.code, 0, "{}", again.err);
        } else {
            all += 1;
        }
        assert_eq!(ids(&here), ["t"]);
        assert_eq!(here.sterna(&["sessions", "fsck", "t"]).code, 0);
        let records = records(&here.sterna(&["sessions", "export", "t"]).out, "t");
        assert!(records.last().unwrap().contains("import: sterna session `s`"), "{size}");
    }
    assert!(none > 0 && all > 0, "{none} and {all}");
}

/// Somebody else's bundle gives itself no rights: what was open does not go on, and grants are gone.
#[test]
fn what_was_open_elsewhere_does_not_run_here() {
    let there = World::new(
        r#"{"calls":[{"name":"shell","arguments":{"command":"echo x >> made"}}]}
{"text":"done"}"#,
    );
    let parked = there.run(&["--session", "s", "--mode", "ask", "--on-ask", "park", "go"]);
    assert_eq!(parked.code, 8, "{}", parked.err);
    assert_eq!(there.sterna(&["sessions", "export", "s", "-o", "b"]).code, 0);
    let here = World::new(&answers("something else"));
    fs::copy(there.work().join("b"), here.work().join("b")).unwrap();
    let report = object(&here.sterna(&["sessions", "import", "b", "--id", "t", "--json"]));
    assert_eq!(report["ended"]["turns"], 1);
    assert_eq!(here.sterna(&["approve", "t"]).code, 2);
    let done = here.run(&["--session", "t", "what now?"]);
    assert_eq!((done.code, done.result()["turn"].as_u64()), (0, Some(2)), "{}", done.err);
    assert!(!here.work().join("made").exists());
}

/// Logs of other agents: shown, searched, continued; what is left out is told.
#[test]
fn other_agents_sessions_go_on_here() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../sterna-import/tests/data/");
    for (file, agent, title, word, left) in [
        ("claude.jsonl", "claude", "Ducks in the pond", "There is no lake", "opaque reasoning"),
        ("codex.jsonl", "codex", "Make the swan test pass.", "swan honks", "opaque reasoning"),
        ("opencode.json", "opencode", "Herons and reeds", "In the reeds", "part patch"),
        ("pi.jsonl", "pi", "Still water", "Water.", "compaction"),
    ] {
        let world = World::new(&answers("a walrus answers"));
        let path = format!("{data}{file}");
        let done = world.sterna(&["sessions", "import", &path, "--id", "t"]);
        assert_eq!((done.code, done.out.as_str()), (0, "t\n"), "{}", done.err);
        assert!(done.err.contains(&format!("left out: 1 × {left}")), "{agent}: {}", done.err);
        let rows = world.sterna(&["sessions", "list", "--json", "--cwd", "."]).out;
        let row: Value = serde_json::from_str(&rows).unwrap();
        assert_eq!((&row["title"], &row["status"]), (&json!(title), &json!("idle")), "{agent}");
        let shown = world.sterna(&["sessions", "show", "t"]);
        assert!(shown.code == 0 && shown.out.contains(word), "{agent}: {}", shown.out);
        support::event_lines(&world.sterna(&["sessions", "show", "t", "--json"]).out);
        assert!(world.sterna(&["sessions", "search", word]).out.starts_with("t@"), "{agent}");
        assert_eq!(world.sterna(&["sessions", "fsck", "t"]).code, 0);
        assert_eq!(world.sterna(&["usage", "t"]).code, 0);
        let done = world.run(&["--session", "t", "and now?"]);
        assert_eq!(
            (done.code, done.result()["message"].as_str()),
            (0, Some("a walrus answers")),
            "{agent}: {}",
            done.err
        );
        // Its own requests are derived again, those of the other program are not.
        let replayed = object(&world.sterna(&["replay", "t", "--json"]));
        let counted = (replayed["requests"].as_u64(), replayed["imported"].as_u64() > Some(0));
        assert_eq!(
            (counted, &replayed["difference"]),
            ((Some(1), true), &Value::Null),
            "{agent}: {replayed}"
        );
        // And it is a session like any other.
        assert_eq!(world.sterna(&["sessions", "export", "t", "-o", "b"]).code, 0);
        assert_eq!(world.sterna(&["sessions", "import", "b", "--id", "u"]).code, 0);
        // Forced, and wrong.
        let other = if agent == "pi" { "codex" } else { "pi" };
        let wrong = world.sterna(&["sessions", "import", &path, "--from", other]);
        assert!(
            wrong.code == 2 && wrong.err.contains(&format!("no session log of {other}")),
            "{}",
            wrong.err
        );
        assert_eq!(world.sterna(&["sessions", "import", &path, "--from", agent, "--json"]).code, 0);
    }
}

fn store(world: &World) -> rusqlite::Connection {
    rusqlite::Connection::open(world.home().join("data/sterna.db")).unwrap()
}

const OF_S: &str = "session = (SELECT id FROM sessions WHERE name = 's')";

/// Each kind of damage has its name, and what is before it becomes a session.
#[test]
fn damage_is_named_and_what_is_whole_is_saved() {
    for (kind, words, damage) in [
        (
            "tampered_record",
            "tampered record",
            "UPDATE records SET data = CAST(replace(CAST(data AS TEXT), 'I will.', 'I wont.') AS BLOB)",
        ),
        ("torn_tail", "torn tail", "DELETE FROM records"),
        ("missing_blob", "missing blob", ""),
    ] {
        // A result of more than a view, and of more than a row.
        let script = r#"{"text":"I will.","calls":[{"name":"shell","arguments":{"command":"seq 1 30000"}}]}
{"text":"The zebra is there."}"#;
        let world = World::new(script);
        assert_eq!(world.run(&["--session", "s", "--mode", "bypass", "find a giraffe"]).code, 0);
        let before = world.sterna(&["sessions", "export", "s"]).out;
        let head = records(&before, "s").len() as u64;
        let word = if kind == "missing_blob" { "\\\"full\\\"" } else { "I will." };
        let bad = records(&before, "s").iter().position(|r| r.contains(&word.replace('\\', ""))).unwrap()
            as u64
            + 1;
        let mut damage = format!("{damage} WHERE {OF_S} AND seq >= {bad}");
        if kind == "missing_blob" {
            let line = records(&before, "s")[bad as usize - 1].clone();
            let record: Value = serde_json::from_str(&line).unwrap();
            let hash =
                record["body"]["outcome"]["result"]["tool"]["full"]["hash"].as_str().unwrap().to_owned();
            damage = format!("DELETE FROM blobs WHERE hash = x'{hash}'");
        }
        assert!(store(&world).execute(&damage, []).unwrap() > 0, "{kind}");
        let found = world.sterna(&["sessions", "fsck", "s", "--json"]);
        let row: Value = serde_json::from_str(&found.out).unwrap();
        assert_eq!(
            (found.code, &row["kind"], &row["first_bad"]["seq"], &row["records"]),
            (1, &json!(kind), &json!(bad), &json!(bad - 1)),
            "{}",
            found.out
        );
        let text = world.sterna(&["sessions", "fsck", "s"]).out;
        assert!(text.starts_with(&format!("s  damaged at record {bad}: {words}: ")), "{text}");
        // What is before it is a session of its own, and what is not in it is told.
        let saved = world.sterna(&["sessions", "fsck", "s", "--salvage", "--id", "t", "--json"]);
        let row = object(&saved);
        assert_eq!((&row["salvaged"]["session"], &row["kind"]), (&json!("t"), &json!(kind)));
        let lost = &row["lost"];
        assert_eq!(
            (&lost["from"], &lost["to"], &lost["records"]),
            (&json!(bad), &json!(head), &json!(head - bad + 1)),
            "{lost}"
        );
        let counted: u64 = lost["kinds"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(counted, head - bad + 1);
        let after = world.sterna(&["sessions", "export", "t"]).out;
        let whole = bad as usize - 1;
        assert_eq!(records(&after, "t")[..whole], records(&before, "s")[..whole], "{kind}");
        assert_eq!(world.sterna(&["sessions", "fsck", "t"]).code, 0);
        world.script(&answers("on it goes"));
        let done = world.run(&["--session", "t", "go on"]);
        assert_eq!(done.code, 0, "{kind}: {}", done.err);
        // The damaged one is as it was.
        assert_eq!(world.sterna(&["sessions", "fsck", "s"]).code, 1);
    }
}

#[test]
fn a_salvage_needs_something_to_save() {
    let world = exported();
    let whole = world.sterna(&["sessions", "fsck", "s", "--salvage"]);
    assert!(whole.code == 2 && whole.err.contains("is whole: there is nothing to salvage"), "{}", whole.err);
    assert_eq!(world.sterna(&["sessions", "fsck", "--salvage"]).code, 2);
    assert_eq!(world.sterna(&["sessions", "fsck", "s", "t", "--salvage"]).code, 2);
    assert_eq!(world.sterna(&["sessions", "fsck", "s", "--id", "t"]).code, 2);
    store(&world).execute(&format!("UPDATE records SET data = x'00' WHERE {OF_S} AND seq = 1"), []).unwrap();
    let none = world.sterna(&["sessions", "fsck", "s", "--salvage"]);
    assert!(none.code == 1 && none.err.contains("no record of session `s` is whole"), "{}", none.err);
    assert_eq!(ids(&world), ["s"]);
}

/// An index that is gone, in parts or as a whole, is named and made anew.
#[test]
fn a_deleted_index_is_named_and_made_anew() {
    for (index, damage) in [
        ("search", "DELETE FROM search"),
        ("search", "DROP TABLE search"),
        ("keys", "DELETE FROM keys"),
        ("keys", "DROP TABLE keys"),
        ("list", "UPDATE sessions SET title = 'wrong', turns = 77"),
    ] {
        let world = World::new(WRITES);
        assert_eq!(world.run(&["--session", "s", "--key", "k", "find a giraffe"]).code, 0);
        let before = world.sterna(&["sessions", "list", "--json"]).out;
        assert_eq!(world.sterna(&["sessions", "fsck", "s"]).code, 0);
        store(&world).execute_batch(damage).unwrap();
        let found = world.sterna(&["sessions", "fsck", "s", "--json"]);
        let row: Value = serde_json::from_str(&found.out).unwrap();
        assert_eq!(
            (found.code, &row["ok"], &row["kind"], &row["stale_indexes"][0]["index"]),
            (1, &json!(false), &json!("deleted_index"), &json!(index)),
            "{damage}: {}",
            found.out
        );
        let text = world.sterna(&["sessions", "fsck"]);
        assert!(
            text.out.starts_with("s  deleted index  ") && text.err.contains("--rebuild-indexes"),
            "{}",
            text.out
        );
        let mended = world.sterna(&["sessions", "fsck", "--rebuild-indexes"]);
        assert_eq!(mended.code, 0, "{damage}: {}{}", mended.out, mended.err);
        assert_eq!(world.sterna(&["sessions", "list", "--json"]).out, before);
        assert!(world.sterna(&["sessions", "search", "giraffe"]).out.starts_with("s@2"));
        // The key is known again: it makes no second turn.
        let again = world.run(&["--session", "s", "--key", "k", "find a giraffe"]);
        assert_eq!((again.code, again.result()["turn"].as_u64()), (0, Some(1)), "{}", again.err);
    }
}
