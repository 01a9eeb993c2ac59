//! Forks and deleted sessions: what is shared stays, what was one session's alone goes.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use serde_json::{Value, json};
use sterna_log::{Log, SharedLog};
use sterna_model::{Body, Record, SessionId};
use sterna_runtime::State;
use sterna_sqlite::{Options, SqliteStore};
use support::World;

/// The folded state of a session, up to a record of its own log.
fn state(world: &World, session: &str, to: Option<u64>) -> State {
    let store = SqliteStore::open(&world.home().join("data"), Options::default()).unwrap();
    let id = SessionId::new(session).unwrap();
    futures::executor::block_on(async {
        let Some(to) = to else { return State::load(&(Arc::new(store) as SharedLog), &id).await.unwrap() };
        let mut state = State::default();
        for sealed in store.read(&id, 1, usize::try_from(to).unwrap()).await.unwrap() {
            state.apply(&sealed.record).unwrap();
        }
        state
    })
}

fn records(world: &World, session: &str) -> Vec<Record> {
    let done = world.sterna(&["sessions", "export", session]);
    assert_eq!(done.code, 0, "{}", done.err);
    let record = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let lines = done.out.lines().map(record).filter(|line| line["record"].is_object());
    let lines = lines.filter(|line| line["session"].is_null() || line["session"] == session);
    lines.map(|line| serde_json::from_value(line["record"].clone()).unwrap()).collect()
}

/// Names of the numbered files that are there.
fn files(world: &World) -> Vec<String> {
    let names = std::fs::read_dir(world.work()).unwrap().flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".txt"));
    names.sort();
    names
}

#[test]
fn a_fork_begins_as_its_step_ended_and_outlives_its_parent() {
    let write = |name: &str, content: &str| {
        let call = json!({"name": "write", "arguments": {"path": name, "content": content}});
        json!({"calls": [call], "usage": {"input": 10, "output": 1}}).to_string()
    };
    let mut script: Vec<String> =
        (1..=6).map(|step| write(&format!("{step}.txt"), &format!("of step {step}\n"))).collect();
    script.push("{\"text\":\"six\",\"usage\":{\"input\":10,\"output\":1}}".into());
    let world = World::new(&script.join("\n"));
    let ran = world.run(&["--session", "a", "--mode", "accept-edits", "go"]);
    assert_eq!(ran.result()["steps"], 7, "{}", ran.err);

    // The third of six steps: its last record is the outcome of its write.
    let of_step = |record: &&Record| record.turn == Some(1) && record.step == Some(3);
    let parent = records(&world, "a");
    let third = parent.iter().filter(of_step).map(|record| record.seq).max().unwrap();
    let forked = world.sterna(&["sessions", "fork", "a@1.3", "--id", "f", "--json"]);
    let forked: Value = serde_json::from_str(&forked.out).unwrap();
    assert_eq!(forked["parent"], json!({"session": "a", "seq": third}));

    // What a model would be shown, and what is known of files, is that of the third step.
    let (then, fork) = (state(&world, "a", Some(third)), state(&world, "f", None));
    assert_eq!(fork.transcript.with(&[]), then.transcript.with(&[]));
    assert_eq!(fork.folded.world.files, then.folded.world.files);
    let known: Vec<&String> = fork.folded.world.files.keys().collect();
    assert_eq!(known.len(), 3, "{known:?}");
    for (path, version) in &fork.folded.world.files {
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(*version, sterna_log::digest(&bytes), "{path}");
    }
    // The files of then, by the parent's checkpoints.
    let back = world.sterna(&["rewind", "a", "1.3", "--files", "--yes"]);
    assert_eq!((back.code, files(&world)), (0, ["1.txt", "2.txt", "3.txt"].map(str::to_owned).to_vec()));

    // Both go on, and neither sees the other.
    let next = |name: &str, before: usize| {
        let earlier = (0..before).map(|_| "{\"text\":\"-\"}".to_owned());
        let mut lines: Vec<String> = earlier.collect();
        lines.push(write(name, "on\n"));
        lines.push("{\"text\":\"on\",\"usage\":{\"input\":10,\"output\":1}}".into());
        lines.join("\n")
    };
    let of_parent = records(&world, "a");
    world.script(&next("f.txt", 3));
    let of_fork = world.run(&["--session", "f", "--mode", "accept-edits", "another way"]);
    assert_eq!(of_fork.result()["message"], "on", "{}", of_fork.out);
    assert_eq!(records(&world, "a"), of_parent);
    let seen = records(&world, "f");
    world.script(&next("a.txt", 7));
    let of_parent = world.run(&["--session", "a", "--mode", "accept-edits", "the same way"]);
    assert_eq!(of_parent.result()["message"], "on", "{}", of_parent.out);
    assert_eq!(records(&world, "f"), seen);
    assert_eq!(files(&world), ["1.txt", "2.txt", "3.txt", "a.txt", "f.txt"].map(str::to_owned).to_vec());

    // The fork has paid for its own two calls.
    let usage = world.sterna(&["usage", "f", "--json"]);
    let usage: Value = serde_json::from_str(&usage.out).unwrap();
    assert_eq!(usage["total"]["calls"], 2, "{usage}");

    // The parent goes. What was shared can be read, and replayed, and gone on with.
    assert_eq!(world.sterna(&["sessions", "delete", "a", "--yes"]).code, 0);
    assert_eq!(records(&world, "f"), seen);
    assert_eq!(state(&world, "f", None).folded.world.files.len(), 4);
    let replayed = world.sterna(&["replay", "f", "--json"]);
    let replayed: Value = serde_json::from_str(&replayed.out).unwrap();
    assert_eq!((&replayed["difference"], &replayed["requests"]), (&Value::Null, &json!(5)), "{replayed}");
    assert_eq!(world.sterna(&["sessions", "fsck", "f"]).code, 0);
    world.script(&next("g.txt", 5));
    assert_eq!(world.run(&["--session", "f", "--mode", "accept-edits", "on"]).result()["message"], "on");

    // Its id is refused for ever.
    for args in [
        &["run", "--session", "a", "-m", "scripted:s.jsonl", "again"][..],
        &["sessions", "fork", "f", "--id", "a"],
        &["sessions", "fork", "a"],
        &["resume", "a"],
    ] {
        let refused = world.sterna(args);
        assert_eq!(refused.code, 2, "{args:?}: {}", refused.err);
        assert!(refused.err.contains("`a` was deleted"), "{args:?}: {}", refused.err);
    }
    let opened =
        |record: &Record| matches!(&record.body, Body::SessionOpened(opened) if opened.parent.is_some());
    assert!(records(&world, "f").iter().any(opened));
}

#[test]
fn what_one_session_alone_held_goes_with_it() {
    let big = "for i in $(seq 3000); do echo \"line $i of the same output\"; done";
    let call =
        |command: &str| json!({"calls": [{"name": "shell", "arguments": {"command": command}}]}).to_string();
    let script = |own: &str| {
        [
            call(big),
            call(&format!("{big}; echo {own}; echo {own} > {own}.txt")),
            "{\"text\":\"done\"}".to_owned(),
        ]
        .join("\n")
    };
    let world = World::new(&script("a"));
    for session in ["a", "b", "c"] {
        world.script(&script(session));
        let ran = world.run(&["--session", session, "--mode", "bypass", "go"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    let fork = world.sterna(&["sessions", "fork", "a@1.1", "--id", "f"]);
    assert_eq!(fork.code, 0, "{}", fork.err);
    // What it sees of them, byte for byte, with every output it can recall.
    let seen = |session: &str| {
        let bundle = world.home().join(format!("{session}.bundle"));
        let done = world.sterna(&["sessions", "export", session, "--output", bundle.to_str().unwrap()]);
        assert_eq!(done.code, 0, "{}", done.err);
        std::fs::remove_file(bundle).unwrap();
        world.sterna(&["sessions", "export", session]).out
    };
    let before = ["b", "c", "f"].map(seen);
    let checkpoints = world.sterna(&["sessions", "fsck"]);
    assert_eq!(checkpoints.code, 0, "{}", checkpoints.out);
    let blobs = |world: &World| {
        let store = rusqlite::Connection::open(world.home().join("data/sterna.db")).unwrap();
        store.query_row("SELECT count(*) FROM blobs", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let first = blobs(&world);
    let nothing = world.sterna(&["sessions", "gc"]);
    assert!(nothing.err.contains("nothing to collect"), "{}", nothing.err);

    let deleted = world.sterna(&["sessions", "delete", "a", "--yes"]);
    assert!(deleted.code == 0 && deleted.err.contains("removed"), "{}", deleted.err);
    assert!(blobs(&world) < first);
    assert_eq!(["b", "c", "f"].map(seen), before);
    assert_eq!(world.sterna(&["sessions", "fsck"]).code, 0);
    // The others' files can still go back.
    let back = world.sterna(&["rewind", "b", "1.1", "--files", "--yes"]);
    assert!(back.code == 0 && !world.work().join("b.txt").exists(), "{}", back.err);
    // Its id is refused for ever, and the fork goes on.
    assert_ne!(world.run(&["--session", "a", "again"]).code, 0);
    world.script("{\"text\":\"x\"}\n{\"text\":\"on\"}\n");
    assert_eq!(world.run(&["--session", "f", "go on"]).result()["message"], "on");
    let json = world.sterna(&["sessions", "gc", "--json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json, json!({"blobs": 0, "bytes": 0, "busy": false}));
}
