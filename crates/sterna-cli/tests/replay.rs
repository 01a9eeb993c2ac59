//! Each request of a session again, without a model.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::World;

#[test]
fn requests_come_out_as_they_were_sent() {
    let world = World::new(
        r#"{"calls":[{"name":"write","arguments":{"path":"a","content":"1"}},{"name":"read","arguments":{"path":"none"}}]}
{"text":"done"}"#,
    );
    world.run(&["--session", "s", "go"]);
    world.run(&["--session", "s", "again"]);
    // The script is gone, and so is the file: nothing of them is needed.
    std::fs::remove_file(world.work().join("s.jsonl")).unwrap();
    std::fs::remove_file(world.work().join("a")).unwrap();
    let done = world.sterna(&["replay", "s", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let found: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(
        (&found["session"], &found["requests"], &found["difference"]),
        (&json!("s"), &json!(3), &json!(null))
    );
    let text = world.sterna(&["replay", "s"]);
    assert!(text.out.starts_with("s  the same  3 requests derived again"), "{}", text.out);
    assert_eq!(world.sterna(&["replay", "nobody"]).code, 2);
}

#[test]
fn a_difference_is_told_and_fails() {
    let world = World::new(r#"{"text":"done"}"#);
    world.run(&["--session", "s", "go"]);
    // A prompt that is no longer what it was.
    let store = rusqlite::Connection::open(world.home().join("data/sterna.db")).unwrap();
    store.execute("DELETE FROM blobs", []).unwrap();
    let done = world.sterna(&["replay", "s"]);
    assert_eq!((done.code, done.out.as_str()), (1, ""));
    assert!(
        done.err.contains("is not in the store") && done.err.contains("sterna sessions fsck s"),
        "{}",
        done.err
    );
    assert_eq!(world.sterna(&["sessions", "fsck", "s"]).code, 1);
}
