//! Stores as other versions wrote them, and one whose indexes somebody dropped.

#![allow(clippy::unwrap_used)]

mod support;

use rusqlite::Connection;
use serde_json::{Value, json};
use support::World;

/// A store of version 1 without its indexes: two sessions, of which the second is a fork of the first.
const V1: &str = include_str!("../../sterna-sqlite/tests/stores/v1.sql");
/// The same as version 3 keeps it.
const V3: &str = include_str!("../../sterna-sqlite/tests/stores/v3.sql");

fn database(world: &World) -> Connection {
    std::fs::create_dir_all(world.home().join("data")).unwrap();
    Connection::open(world.home().join("data/sterna.db")).unwrap()
}

fn lines(world: &World, args: &[&str]) -> Vec<Value> {
    let done = world.sterna(args);
    assert_eq!(done.code, 0, "{args:?}: {}{}", done.out, done.err);
    done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What lists, usage and search say: all that the indexes are made of.
fn indexed(world: &World) -> Vec<Vec<Value>> {
    vec![
        lines(world, &["sessions", "list", "--json"]),
        lines(world, &["sessions", "search", "hello", "--json"]),
        lines(world, &["usage", "--json"]),
    ]
}

#[test]
fn a_store_of_version_1_opens_and_goes_on() {
    it_opens_and_goes_on(V1);
}

#[test]
fn a_store_of_version_3_opens_and_goes_on() {
    it_opens_and_goes_on(V3);
}

fn it_opens_and_goes_on(store: &str) {
    let world =
        World::new("{\"text\":\"-\"}\n{\"text\":\"-\"}\n{\"text\":\"-\"}\n{\"text\":\"it goes on\"}\n");
    database(&world).execute_batch(store).unwrap();
    // Its indexes were dropped: that is found, named and mended.
    let found = world.sterna(&["sessions", "fsck"]);
    assert!(found.code == 1 && found.out.contains("deleted index"), "{}", found.out);
    assert_eq!(world.sterna(&["sessions", "fsck", "--rebuild-indexes"]).code, 0);

    let rows = lines(&world, &["sessions", "list", "--json"]);
    let told: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!([
                row["id"],
                row["title"],
                row["head"],
                row["turns"],
                row["steps"],
                row["tokens"],
                row["parent"]
            ])
        })
        .collect();
    // By hand, from the script that it was made with: 100 + 10, 120 + 6 and 130 + 3 tokens.
    assert_eq!(
        told,
        [
            json!(["second", "A fork", 2, 0, 0, 0, "first"]),
            json!(["first", "What does notes.txt say?", 14, 2, 3, 369, null]),
        ]
    );
    let hits = lines(&world, &["sessions", "search", "hello", "--json"]);
    assert!(hits.iter().any(|hit| hit["session"] == "first"), "{hits:?}");
    let types = |session: &str| -> Vec<String> {
        let events = lines(&world, &["sessions", "show", session, "--json"]);
        events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    let count = |session: &str, kind: &str| types(session).iter().filter(|found| *found == kind).count();
    assert_eq!((count("first", "input.accepted"), count("first", "tool.ended")), (2, 1));
    // Six records that the fork shares, and two of its own.
    let shared = lines(&world, &["sessions", "export", "second"]);
    assert_eq!(shared.iter().filter(|line| line["record"].is_object()).count(), 8);

    // The key of then still makes no second turn, and the session goes on.
    let again = world.run(&["--session", "first", "--key", "one", "What does notes.txt say?"]);
    assert_eq!(again.result()["message"], "The file says hello.", "{}", again.out);
    let conflict = world.run(&["--session", "first", "--key", "one", "Something else"]);
    assert_eq!(conflict.code, 2);
    let done = world.run(&["--session", "first", "go on"]);
    assert_eq!(
        (&done.result()["message"], &done.result()["turn"]),
        (&json!("it goes on"), &json!(3)),
        "{}",
        done.err
    );
    assert_eq!(world.sterna(&["sessions", "fsck"]).code, 0);
}

#[test]
fn indexes_that_were_dropped_are_made_anew_as_they_were() {
    let read = json!({"calls": [{"name": "read", "arguments": {"path": "s.jsonl"}}], "usage": {"input": 7, "output": 2}});
    let world =
        World::new(&format!("{read}\n{{\"text\":\"hello there\",\"usage\":{{\"input\":9,\"output\":3}}}}\n"));
    for (session, key) in [("a", "one"), ("b", "two")] {
        assert_eq!(world.run(&["--session", session, "--key", key, "say hello"]).code, 0);
    }
    assert_eq!(world.sterna(&["sessions", "fork", "a@1.1", "--id", "c"]).code, 0);
    let before = indexed(&world);
    assert!(before.iter().all(|rows| !rows.is_empty()));
    let drop = "DROP TABLE search; DROP TABLE keys;
        UPDATE sessions SET title = NULL, tokens = 0, cost = 0, steps = 0, turns = 0, status = 3, cwd = 'x';";
    database(&world).execute_batch(drop).unwrap();
    assert_eq!(world.sterna(&["sessions", "fsck"]).code, 1);
    assert_eq!(world.sterna(&["sessions", "fsck", "--rebuild-indexes"]).code, 0);
    assert_eq!(indexed(&world), before);
    // Keys are an index too: the same input is still the same.
    let again = world.run(&["--session", "a", "--key", "one", "say hello"]);
    assert_eq!(again.result()["turn"], 1, "{}", again.err);
    assert_eq!(lines(&world, &["sessions", "list", "--json"]).len(), 3);
}

#[test]
fn a_newer_store_is_read_and_says_why_it_is_not_written() {
    let world = World::new("{\"text\":\"hello\"}\n");
    assert_eq!(world.run(&["--session", "a", "go"]).code, 0);
    let before = indexed(&world);
    database(&world).pragma_update(None, "user_version", 99).unwrap();
    assert_eq!(indexed(&world), before);
    for args in [
        &["run", "-m", "scripted:s.jsonl", "--session", "a", "more"][..],
        &["sessions", "rename", "a", "other"],
        &["sessions", "delete", "a", "--yes"],
    ] {
        let refused = world.sterna(args);
        assert_ne!(refused.code, 0, "{args:?}");
        assert!(refused.err.contains("newer version of Sterna"), "{args:?}: {}", refused.err);
    }
    // What would be swept is not: a newer version may hold more than this one knows.
    let swept = world.sterna(&["sessions", "gc"]);
    assert!(swept.code == 1 && swept.err.contains("newer version of Sterna"), "{}", swept.err);
    assert_eq!(indexed(&world), before);
}
