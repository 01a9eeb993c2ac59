//! What can be done with sessions as a whole.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::{Done, World, types};

const WRITES: &str = r#"{"text":"I will.","calls":[{"name":"write","arguments":{"path":"a.txt","content":"hello\n"}}]}
{"text":"The zebra is there."}"#;

fn rows(done: &Done) -> Vec<Value> {
    assert_eq!(done.code, 0, "{}", done.err);
    done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(done: &Done) -> Vec<String> {
    rows(done).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn looking_makes_nothing() {
    let world = World::new("");
    for args in [
        &["sessions"][..],
        &["sessions", "list", "--json"],
        &["sessions", "search", "x"],
        &["sessions", "fsck"],
    ] {
        let done = world.sterna(args);
        assert_eq!((done.code, done.out.as_str()), (0, ""), "{args:?} {}", done.err);
    }
    for args in [
        &["sessions", "show", "x"][..],
        &["sessions", "delete", "-y", "x"],
        &["sessions", "export", "x"],
        &["sessions", "fork", "x"],
        &["sessions", "fsck", "x"],
        &["sessions", "rename", "x", "y"],
    ] {
        let done = world.sterna(args);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{args:?}");
        assert!(done.err.starts_with("error: session `x` does not exist\nhint: "), "{}", done.err);
    }
    assert_eq!(std::fs::read_dir(world.home()).unwrap().count(), 0);
}

#[test]
fn a_list_has_all_newest_first() {
    let world = World::new(WRITES);
    for id in ["one", "two", "three"] {
        assert_eq!(world.run(&["--session", id, &format!("make  {id}\nplease")]).code, 0);
    }
    let all = world.sterna(&["sessions", "list", "--json"]);
    assert_eq!(ids(&all), ["three", "two", "one"]);
    let row = rows(&all).remove(0);
    let told = ["title", "status", "cwd", "model", "turns", "steps", "parent"].map(|key| row[key].clone());
    let work = world.work();
    let expected = [
        json!("make three"),
        json!("idle"),
        json!(work),
        json!("scripted:s.jsonl"),
        json!(1),
        json!(2),
        json!(null),
    ];
    assert_eq!(told, expected);
    assert_eq!(ids(&world.sterna(&["sessions", "list", "--json", "--limit", "2"])), ["three", "two"]);
    assert_eq!(ids(&world.sterna(&["sessions", "list", "--json", "--cwd", "."])).len(), 3);
    assert_eq!(ids(&world.sterna(&["sessions", "list", "--json", "--cwd", "/"])).len(), 0);
    assert_eq!(ids(&world.sterna(&["sessions", "list", "--json", "--status", "parked"])).len(), 0);
    // For people: a table without colour in a pipe.
    let table = world.sterna(&["sessions"]).out;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((lines.len(), lines[0].split_whitespace().next()), (4, Some("id")));
    assert!(lines[1].starts_with("three  idle") && !table.contains('\x1b'), "{table}");
    // A list that nobody reads to its end is no failure.
    let mut child = world.command(&["sessions", "list", "--json"]).spawn().unwrap();
    drop(child.stdout.take());
    let gone = Done::of(child);
    assert_eq!((gone.code, gone.err.as_str()), (0, ""));
}

#[test]
fn show_gives_the_events_of_the_run_again() {
    let world = World::new(WRITES);
    let run = world.run(&["--session", "s", "go"]);
    let settled: Vec<Value> =
        run.events().into_iter().filter(|event| event["type"] != "model.delta").collect();
    let shown = world.sterna(&["sessions", "show", "s", "--json"]);
    assert_eq!(shown.events(), settled);
    let text = world.sterna(&["sessions", "show", "s"]).out;
    for line in [
        "session s",
        "> go",
        "I will.",
        "• write a.txt",
        "  write: ok,",
        "The zebra is there.",
        "turn 1 finished · 2 steps",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line} in {text}");
    }
    // What a model says cannot drive the terminal.
    world.script(r#"{"text":"a\u001b[2Jb"}"#);
    world.run(&["--session", "t", "go"]);
    let text = world.sterna(&["sessions", "show", "t"]).out;
    assert!(text.contains("a␛[2Jb") && !text.contains('\x1b'), "{text}");
}

#[test]
fn search_finds_what_was_said() {
    let world = World::new(WRITES);
    world.run(&["--session", "s", "paint a giraffe"]);
    let hits = rows(&world.sterna(&["sessions", "search", "--json", "ZEBRA"]));
    assert_eq!(hits.len(), 1);
    assert_eq!((&hits[0]["session"], &hits[0]["role"]), (&json!("s"), &json!("assistant")));
    let text = world.sterna(&["sessions", "search", "giraffe"]).out;
    assert_eq!(text, "s@2  user: paint a giraffe\n");
    assert_eq!(world.sterna(&["sessions", "search", "elephant"]).out, "");
    assert_eq!(world.sterna(&["sessions", "search", "--", "-*-"]).code, 2);
}

#[test]
fn titles_closing_and_removing() {
    let world = World::new(WRITES);
    world.run(&["--session", "s", "go"]);
    assert_eq!(world.sterna(&["sessions", "rename", "s", "Better", "name"]).code, 0);
    assert_eq!(world.sterna(&["sessions", "rename", "s", " "]).code, 2);
    assert_eq!(rows(&world.sterna(&["sessions", "list", "--json"]))[0]["title"], "Better name");
    for _ in 0..2 {
        assert_eq!(world.sterna(&["sessions", "close", "s"]).code, 0);
    }
    assert_eq!(ids(&world.sterna(&["sessions", "list", "--json", "--status", "closed"])), ["s"]);
    // Nobody is there to say yes.
    let asked = world.sterna(&["sessions", "delete", "s"]);
    assert_eq!(asked.code, 2);
    assert!(asked.err.contains("hint: --yes deletes without asking"), "{}", asked.err);
    assert_eq!(world.sterna(&["sessions", "delete", "s", "--yes"]).code, 0);
    assert_eq!(ids(&world.sterna(&["sessions", "list", "--json"])).len(), 0);
    let again = world.sterna(&["sessions", "delete", "s", "--yes"]);
    assert_eq!(again.code, 2);
    assert!(again.err.contains("was deleted, and its id is not used again"), "{}", again.err);
    let reused = world.run(&["--session", "s", "go"]);
    assert_eq!((reused.code, reused.out.as_str()), (2, ""));
}

#[test]
fn a_conversation_is_named_by_a_model_and_a_run_is_not() {
    // The second answer takes its time: the title is there by then.
    let world = World::new("{\"text\": \"hello\"}\n{\"delay_ms\": 1500, \"text\": \"again\"}\n");
    world.config("title = \"model\"\ntitle_model = \"scripted:titles.jsonl\"\n");
    std::fs::write(world.work().join("titles.jsonl"), "{\"text\": \"Two words\"}\n").unwrap();
    let title = |id: &str| -> Value {
        let listed = rows(&world.sterna(&["sessions", "list", "--json"]));
        listed.into_iter().find(|row| row["id"] == id).unwrap()["title"].clone()
    };
    let done = world
        .with_stdin(&["chat", "-m", "scripted:s.jsonl", "--session", "c"], b"please greet me\nonce more\n");
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(title("c"), "Two words");
    let usage = world.sterna(&["usage", "c", "--by", "source", "--json"]).out;
    assert!(usage.contains("\"title\""), "{usage}");
    let done = world.sterna(&["run", "-m", "scripted:s.jsonl", "--session", "r", "please greet me"]);
    assert_eq!((done.code, title("r")), (0, "please greet me".into()));
}

#[test]
fn a_fork_shares_the_past_and_shows_its_own_part() {
    let world = World::new(WRITES);
    world.run(&["--session", "s", "go"]);
    let events = world.sterna(&["sessions", "show", "s", "--json"]).events();
    let end_of_step =
        events.iter().filter(|event| event["step"] == 1).map(|event| event["seq"].as_u64()).max();
    let forked = world.sterna(&["sessions", "fork", "s@1.1", "--id", "f", "--json"]);
    let parent = json!({"session": "s", "seq": end_of_step});
    assert_eq!(rows(&forked), [json!({"session": "f", "parent": parent})]);
    let shown = world.sterna(&["sessions", "show", "f", "--json"]).out;
    let shown = support::event_lines(&shown);
    assert_eq!((types(&shown), &shown[0]["parent"]), (vec!["session.opened"], &parent));
    let made = world.sterna(&["sessions", "fork", "s"]);
    assert_eq!((made.code, made.out.lines().count()), (0, 1));
    assert_eq!(rows(&world.sterna(&["sessions", "list", "--json"])).len(), 3);
    for (point, message) in [
        ("s@0", "session `s` has records 1 to "),
        ("s@9999", "session `s` has records 1 to "),
        ("s@7.1", "session `s` has no step 1 in turn 7"),
        ("s@x", "`s@x` names no point of a session"),
        ("s", "session `f` exists already"),
    ] {
        let done = world.sterna(&["sessions", "fork", point, "--id", "f"]);
        assert_eq!((done.code, done.out.as_str()), (2, ""));
        assert!(done.err.starts_with(&format!("error: {message}")), "{}", done.err);
    }
    // What the fork shares stays readable without its parent.
    assert_eq!(world.sterna(&["sessions", "delete", "s", "--yes"]).code, 0);
    assert_eq!(world.sterna(&["sessions", "fsck", "f"]).code, 0);
    assert_eq!(world.sterna(&["replay", "f"]).code, 0);
}

/// SC-17: records, chain and every byte of every blob, and a hash of all of it.
#[test]
fn an_export_carries_its_own_proof() {
    // 640 KB with characters of two bytes: more than one piece of an export.
    let script = r#"{"calls":[{"name":"shell","arguments":{"command":"i=0; while [ $i -lt 5000 ]; do printf 'ä%0125d\n' $i; i=$((i+1)); done"}}]}
{"text":"done"}"#;
    let world = World::new(script);
    assert_eq!(world.run(&["--session", "s", "--mode", "bypass", "go"]).code, 0);
    let exported = world.sterna(&["sessions", "export", "s"]);
    let lines = rows(&exported);
    let (head, rest) = lines.split_first().unwrap();
    let (end, rest) = rest.split_last().unwrap();
    let (records, pieces) = rest.split_at(head["records"].as_u64().unwrap() as usize);
    assert_eq!((&head["sterna_export"], &head["session"]), (&json!(1), &json!("s")));
    let mut prev = json!("0".repeat(64));
    for (record, seq) in records.iter().zip(1..) {
        assert_eq!(
            (&record["seq"], &record["record"]["seq"], &record["prev"]),
            (&json!(seq), &json!(seq), &prev)
        );
        prev = record["hash"].clone();
    }
    assert_eq!(head["hash"], prev);
    // Each blob is whole, under the hash of its bytes.
    let mut blobs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for piece in pieces {
        let bytes = blobs.entry(piece["blob"].as_str().unwrap().to_owned()).or_default();
        assert_eq!(piece["offset"], bytes.len());
        bytes.extend(STANDARD.decode(piece["base64"].as_str().unwrap()).unwrap());
    }
    for (hash, bytes) in &blobs {
        assert_eq!(hash, blake3::hash(bytes).to_hex().as_str());
    }
    let output: String = (0..5000).map(|i| format!("ä{i:0125}\n")).collect();
    assert!(blobs.values().any(|bytes| bytes == output.as_bytes()), "the output is not in it");
    // Nothing that a record names is missing.
    let text = records.iter().map(Value::to_string).collect::<String>();
    let named = |hash: &String| text.contains(hash.as_str());
    assert!(blobs.keys().filter(|hash| named(hash)).count() >= 2, "{:?}", blobs.keys());
    // The last line is the hash of every byte before it.
    let before = exported.out.trim_end().rfind('\n').unwrap() + 1;
    let all = blake3::hash(&exported.out.as_bytes()[..before]).to_hex();
    assert_eq!(end, &json!({"sterna_export_end": 1, "blobs": blobs.len(), "blake3": all.as_str()}));
    let file = world.work().join("out.jsonl");
    assert_eq!(world.sterna(&["sessions", "export", "s", "-o", "out.jsonl"]).code, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), exported.out);
    // A file that is there is not written over.
    assert_eq!(world.sterna(&["sessions", "export", "s", "-o", "out.jsonl"]).code, 2);
    // What cannot be whole is not written at all.
    let store = rusqlite::Connection::open(world.home().join("data/sterna.db")).unwrap();
    store.execute("DELETE FROM blobs", []).unwrap();
    let torn = world.sterna(&["sessions", "export", "s", "-o", "torn.jsonl"]);
    assert_eq!((torn.code, world.work().join("torn.jsonl").exists()), (1, false), "{}", torn.err);
    assert!(torn.err.contains("hint: `sterna sessions fsck s`"), "{}", torn.err);
}

#[test]
fn fsck_names_the_first_bad_record() {
    let world = World::new(WRITES);
    world.run(&["--session", "good", "go"]);
    world.run(&["--session", "bad", "go"]);
    assert_eq!(world.sterna(&["sessions", "fsck"]).code, 0);
    let store = rusqlite::Connection::open(world.home().join("data/sterna.db")).unwrap();
    let of_bad = "session = (SELECT id FROM sessions WHERE name = 'bad') AND instr(data, 'zebra') > 0";
    let find = format!("SELECT min(seq) FROM records WHERE {of_bad}");
    let seq: i64 = store.query_row(&find, [], |row| row.get(0)).unwrap();
    let changed = "CAST(replace(CAST(data AS TEXT), 'zebra', 'zebrA') AS BLOB)";
    store
        .execute(&format!("UPDATE records SET data = {changed} WHERE seq = {seq} AND {of_bad}"), [])
        .unwrap();
    let found = world.sterna(&["sessions", "fsck", "--json"]);
    assert_eq!(found.code, 1);
    let rows: Vec<Value> = found.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verdict = |id: &str| rows.iter().find(|row| row["session"] == id).unwrap();
    assert_eq!((&verdict("good")["ok"], &verdict("good")["first_bad"]), (&json!(true), &json!(null)));
    assert_eq!(verdict("bad")["first_bad"]["seq"], seq);
    assert_eq!(verdict("bad")["records"], seq - 1);
    assert_eq!(world.sterna(&["sessions", "fsck", "good"]).code, 0);
    let text = world.sterna(&["sessions", "fsck", "bad"]);
    assert_eq!(text.code, 1);
    assert!(text.out.starts_with(&format!("bad  damaged at record {seq}: ")), "{}", text.out);
    // What comes before the damage is shown, and the damage is told.
    let shown = world.sterna(&["sessions", "show", "bad"]);
    assert_eq!(shown.code, 1);
    assert!(
        shown.out.contains("• write a.txt") && shown.err.contains("hint: `sterna sessions fsck bad`"),
        "{shown:?}"
    );
    assert_eq!(world.sterna(&["replay", "bad"]).code, 1);
}

#[test]
fn indexes_can_be_made_anew() {
    let world = World::new(WRITES);
    world.run(&["--session", "s", "paint a giraffe"]);
    let before = world.sterna(&["sessions", "list", "--json"]).out;
    let store = rusqlite::Connection::open(world.home().join("data/sterna.db")).unwrap();
    store.execute_batch("DELETE FROM search; UPDATE sessions SET title = 'wrong', turns = 77").unwrap();
    assert_eq!(world.sterna(&["sessions", "search", "giraffe"]).out, "");
    assert_eq!(world.sterna(&["sessions", "fsck", "--rebuild-indexes"]).code, 0);
    assert_eq!(world.sterna(&["sessions", "list", "--json"]).out, before);
    assert_eq!(world.sterna(&["sessions", "search", "giraffe"]).out, "s@2  user: paint a giraffe\n");
}
