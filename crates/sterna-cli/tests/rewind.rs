//! `sterna rewind` and `sterna checkpoint`: what an agent destroyed comes back, and the rest stays as it was.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{World, events};

/// Everything below a folder but git's own: kind, mode bits, bytes or target, by path.
fn tree(root: &Path) -> BTreeMap<String, (char, u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if name == ".git" {
                continue;
            }
            let held = if meta.is_symlink() {
                ('l', 0, fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
            } else if meta.is_dir() {
                waiting.push(path);
                ('d', meta.mode() & 0o7777, Vec::new())
            } else {
                ('f', meta.mode() & 0o7777, fs::read(&path).unwrap())
            };
            found.insert(name, held);
        }
    }
    found
}

fn git(world: &World, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(args).current_dir(world.work()).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    for (name, value) in [
        ("HOME", world.home().to_str().unwrap()),
        ("GIT_AUTHOR_NAME", "a"),
        ("GIT_AUTHOR_EMAIL", "a@b"),
        ("GIT_COMMITTER_NAME", "a"),
        ("GIT_COMMITTER_EMAIL", "a@b"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
    ] {
        command.env(name, value);
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn write(world: &World, path: &str, content: &[u8], mode: u32) {
    let path = world.work().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A repository with tracked, changed, staged, stashed, untracked and ignored files, odd modes and symlinks.
fn repository(world: &World) {
    git(world, &["init", "-q"]);
    write(world, ".gitignore", b"ignored\n*.log\n/s.jsonl\ncache\n", 0o644);
    write(world, "src/main.txt", b"one\n", 0o644);
    write(world, "src/run.sh", b"#!/bin/sh\n", 0o755);
    write(world, "stashed.txt", b"1\n", 0o644);
    symlink("src/main.txt", world.work().join("link")).unwrap();
    git(world, &["add", "-A"]);
    git(world, &["commit", "-qm", "first"]);
    write(world, "stashed.txt", b"2\n", 0o644);
    git(world, &["stash", "-q"]);
    write(world, "src/main.txt", b"one\ntwo\n", 0o600);
    write(world, "staged.txt", b"staged\n", 0o644);
    git(world, &["add", "staged.txt"]);
    write(world, "notes/untracked.bin", &[0, 159, 146, 150, b'\n'], 0o640);
    write(world, "ignored/secret.env", b"KEY=1\n", 0o400);
    write(world, "debug.log", b"line\n", 0o666);
    // A cache, by its tag: kept because the command removes it.
    write(world, "cache/CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55\n", 0o644);
    write(world, "cache/object", b"cached\n", 0o644);
    symlink("../nowhere", world.work().join("notes/dangling")).unwrap();
    fs::create_dir(world.work().join("empty")).unwrap();
    fs::set_permissions(world.work().join("empty"), fs::Permissions::from_mode(0o1750)).unwrap();
}

const DESTROY: &str =
    "rm -rf src notes ignored debug.log cache empty link staged.txt; mkdir src; echo new > src/new";

fn destroyer() -> String {
    let call = json!({"calls": [{"name": "shell", "arguments": {"command": DESTROY}}]});
    format!("{call}\n{{\"text\":\"all gone\"}}\n{{\"text\":\"again\"}}\n")
}

const ALLOW: [&str; 6] = ["--allow", "Shell(rm *)", "--allow", "Shell(mkdir *)", "--allow", "Shell(echo *)"];

fn rewind(world: &World, args: &[&str]) -> Value {
    let done = world.sterna(&[&["rewind", "s", "--yes", "--json"], args].concat());
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    serde_json::from_str(&done.out).unwrap()
}

#[test]
fn what_an_agent_removed_comes_back_whole() {
    let world = World::new(&destroyer());
    repository(&world);
    let git_dir = || {
        let refs = [git(&world, &["status", "--porcelain", "--ignored"]), git(&world, &["stash", "list"])];
        let index = git(&world, &["ls-files", "--stage"]);
        (refs, index, git(&world, &["rev-parse", "HEAD", "stash@{0}"]))
    };
    let (files, state) = (tree(&world.work()), git_dir());

    let ran = world.run(&[&["--session", "s", "destroy it"], &ALLOW[..], &["--allow", "Write"]].concat());
    assert_eq!(ran.result()["outcome"], "finished", "{}", ran.out);
    let told = events(&ran.out);
    let taken = told.iter().find(|event| event["type"] == "checkpoint.taken").unwrap();
    let started = told.iter().find(|event| event["type"] == "tool.started").unwrap();
    assert_eq!((&taken["turn"], &taken["step"]), (&json!(1), &json!(1)));
    assert!(taken["seq"].as_u64() < started["seq"].as_u64());
    let gone = tree(&world.work());
    assert!(!gone.contains_key("notes") && gone.contains_key("src/new"));
    let index_of_git = fs::read(world.work().join(".git/index")).unwrap();

    // The preview names every file, and changes nothing.
    let input = told.iter().find(|event| event["type"] == "input.accepted").unwrap()["seq"].to_string();
    let preview = world.sterna(&["rewind", "s", &input, "--dry-run"]);
    assert_eq!(preview.code, 0, "{}", preview.err);
    for path in files.keys().filter(|path| !gone.contains_key(*path)) {
        assert!(preview.out.contains(&format!(" {path}")), "{path}: {}", preview.out);
    }
    assert!(preview.out.contains("remove   src/new"), "{}", preview.out);
    // Nobody is at a terminal to say yes.
    let asked = world.sterna(&["rewind", "s", &input]);
    assert_eq!(asked.code, 2);
    assert!(asked.err.contains("--yes"), "{}", asked.err);
    assert_eq!(tree(&world.work()), gone);

    let done = rewind(&world, &[&input, "--files"]);
    assert_eq!(tree(&world.work()), files);
    assert_eq!(fs::read(world.work().join(".git/index")).unwrap(), index_of_git);
    assert_eq!(git_dir(), state);
    // The conversation is as it was: the same script goes on with its third line.
    let listed = world.sterna(&["checkpoint", "list", "s", "--json"]);
    let points: Vec<Value> =
        listed.out.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["point"].clone()).collect();
    assert_eq!(points, ["1.1", "rewind"]);
    assert_eq!(world.sterna(&["sessions", "fsck", "s"]).code, 0);

    // The undo is undone: what the agent did is there again.
    rewind(&world, &[&done["done"]["undo"].to_string(), "--files"]);
    assert_eq!(tree(&world.work()), gone);
    // And by the name of a step.
    let fsck = world.sterna(&["sessions", "fsck", "s", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&fsck.out).unwrap()["ok"], true);
    let to_step = rewind(&world, &["1.1", "--files"]);
    assert_eq!(to_step["done"]["files"], Value::Null, "step 1 did it, and nothing since: {to_step}");

    // What was kept is raw bytes: it is in no export. What the store loses of it is found, and nothing is restored.
    let export = world.sterna(&["sessions", "export", "s"]).out;
    let manifest = taken["manifest"].as_str().unwrap();
    assert!(export.contains(manifest) && !export.contains(&format!("\"blob\":\"{manifest}\"")));
    let store = rusqlite::Connection::open(world.home().join("data/sterna.db")).unwrap();
    let lost = "DELETE FROM blobs WHERE data = CAST('KEY=1' || char(10) AS BLOB)";
    assert_eq!(store.execute(lost, []).unwrap(), 1);
    let fsck = world.sterna(&["sessions", "fsck", "s", "--json"]);
    assert_eq!(fsck.code, 1);
    let bad = &serde_json::from_str::<Value>(&fsck.out).unwrap()["first_bad"];
    assert_eq!(bad["seq"], taken["seq"]);
    assert!(bad["detail"].as_str().unwrap().contains("its checkpoint is not whole"), "{bad}");
    let refused = world.sterna(&["rewind", "s", &input, "--files", "--yes"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("ignored/secret.env"), "{}", refused.err);
    assert_eq!(tree(&world.work()), gone);
}

#[test]
fn a_conversation_goes_back_alone_and_still_replays() {
    let world = World::new(
        r#"{"calls":[{"name":"write","arguments":{"path":"a","content":"1"}}]}
{"text":"one"}
{"text":"two"}
{"text":"three"}"#,
    );
    world.run(&["--session", "s", "first"]);
    let second = world.run(&["--session", "s", "second"]);
    let input = events(&second.out).into_iter().find(|e| e["type"] == "input.accepted").unwrap();
    let before = (input["seq"].as_u64().unwrap() - 1).to_string();
    let done = rewind(&world, &[&before, "--conversation"]);
    assert_eq!((&done["done"]["conversation"], &done["done"]["files"]), (&json!(true), &Value::Null));
    assert_eq!(fs::read_to_string(world.work().join("a")).unwrap(), "1");
    world.script("{\"text\":\"other\"}");
    let third = world.run(&["--session", "s", "third"]);
    assert_eq!(third.result()["turn"], 3);
    let replayed = world.sterna(&["replay", "s", "--json"]);
    let replayed: Value = serde_json::from_str(&replayed.out).unwrap();
    assert_eq!((&replayed["requests"], &replayed["difference"]), (&json!(4), &Value::Null));
    // Every record is shown, by the schema, and told as text; the export proves itself without the kept files.
    let shown = world.sterna(&["sessions", "show", "s", "--json"]);
    let types: Vec<String> =
        support::event_lines(&shown.out).iter().map(|e| e["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types.iter().filter(|kind| *kind == "session.rewound").count(), 1);
    let text = world.sterna(&["sessions", "show", "s"]).out;
    assert!(text.contains(&format!("conversation went back to record {before}")), "{text}");
    assert!(text.contains("checkpoint of "), "{text}");
    let export = world.sterna(&["sessions", "export", "s"]);
    assert_eq!(export.code, 0, "{}", export.err);
    assert!(export.out.contains("\"rewound\""));
}

#[test]
fn without_checkpoints_nothing_is_kept_and_no_file_comes_back() {
    let script = r#"{"calls":[{"name":"write","arguments":{"path":"a","content":"1"}}]}
{"text":"one"}"#;
    let world = World::new(script);
    world.config("checkpoints = false\n");
    let ran = world.run(&["--session", "s", "go"]);
    assert!(support::types(&events(&ran.out)).iter().all(|kind| *kind != "checkpoint.taken"));
    let listed = world.sterna(&["checkpoint", "list", "s"]);
    assert_eq!((listed.code, listed.out.as_str()), (0, ""));
    let done = world.sterna(&["rewind", "s", "2", "--files", "--yes"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.contains("nothing to do"), "{}", done.out);
    for wrong in
        [&["rewind", "s", "99", "--yes"][..], &["rewind", "s", "x", "--yes"], &["rewind", "nobody", "1"]]
    {
        assert_eq!(world.sterna(wrong).code, 2, "{wrong:?}");
    }
    // In memory there is nothing to come back to.
    let world = World::new(script);
    let ran = world.run(&["--ephemeral", "go"]);
    assert!(support::types(&events(&ran.out)).iter().all(|kind| *kind != "checkpoint.taken"));
}

#[test]
fn a_home_folder_is_not_kept_and_that_is_told() {
    let world = World::new(
        r#"{"calls":[{"name":"write","arguments":{"path":"a","content":"1"}}]}
{"text":"one"}"#,
    );
    let mut command = world.command(&["run", "-m", "scripted:s.jsonl", "--json", "--session", "s", "go"]);
    let ran = support::Done::of(command.env("HOME", world.work()).spawn().unwrap());
    assert_eq!(ran.result()["outcome"], "finished", "{}", ran.err);
    let told = events(&ran.out);
    let warning = told.iter().find(|event| event["type"] == "warning").unwrap();
    assert_eq!(warning["code"], "checkpoint_missed");
    assert!(warning["message"].as_str().unwrap().contains("the home folder"), "{warning}");
    let refused = world.sterna(&["rewind", "s", "2", "--files", "--yes"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("were not kept"), "{}", refused.err);
}

#[test]
fn a_rewind_that_is_killed_is_repeated_to_the_same_end() {
    const FILES: usize = 300;
    let call = json!({"calls": [{"name": "shell", "arguments": {"command": "rm -rf many"}}]});
    let world = World::new(&format!("{call}\n{{\"text\":\"gone\"}}\n"));
    for n in 0..FILES {
        write(&world, &format!("many/{n:04}"), format!("content {n}").as_bytes(), 0o644);
    }
    let files = tree(&world.work());
    world.run(&["--session", "s", "go", "--allow", "Shell(rm *)"]);
    let many = world.work().join("many");
    assert!(!many.exists());
    let mut killed = 0;
    for _ in 0..3 {
        let mut child = world
            .command(&["rewind", "s", "2", "--files", "--yes", "--json"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // As soon as more is back than before, but not all.
        let back = || fs::read_dir(&many).map_or(0, Iterator::count);
        let had = back();
        while back() <= had + 5 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += usize::from(back() < FILES);
    }
    assert!(killed > 0, "no restore was cut");
    rewind(&world, &["2", "--files"]);
    assert_eq!(tree(&world.work()), files);
    assert_eq!(world.sterna(&["sessions", "fsck", "s"]).code, 0);
    let left = world.sterna(&["rewind", "s", "2", "--files", "--dry-run"]);
    assert!(left.out.contains("nothing to do"), "{}", left.out);
}

#[test]
fn a_long_preview_says_how_much_it_leaves_out_and_all_of_it_can_be_seen() {
    let call = json!({"calls": [{"name": "shell", "arguments": {"command": "rm -rf many"}}]});
    let world = World::new(&format!("{call}\n{{\"text\":\"gone\"}}\n"));
    for n in 0..50 {
        write(&world, &format!("many/{n:02}"), b"x", 0o644);
    }
    let ran = world.run(&[&["--session", "s", "destroy it"], &ALLOW[..]].concat());
    assert_eq!(ran.result()["outcome"], "finished", "{}", ran.out);
    let told = events(&ran.out);
    let input = told.iter().find(|event| event["type"] == "input.accepted").unwrap()["seq"].to_string();
    let named = |text: &str| text.lines().filter(|line| line.contains("many/")).count();
    // The folder and its files.
    let few = world.sterna(&["rewind", "s", &input, "--dry-run"]);
    assert!(few.out.contains("files: 51 paths in "), "{few:?}");
    assert!(few.out.contains("\n  create   … and 11 more; --all names them\n"), "{few:?}");
    assert_eq!(named(&few.out), 40, "{few:?}");
    let all = world.sterna(&["rewind", "s", &input, "--dry-run", "--all"]);
    assert!(named(&all.out) == 51 && !all.out.contains(" more"), "{all:?}");
    // What a program reads is whole in any case.
    let json = world.sterna(&["rewind", "s", &input, "--dry-run", "--json"]);
    let plan: Value = serde_json::from_str(&json.out).unwrap();
    assert!(plan["plan"]["files"].to_string().matches("many/").count() >= 50, "{json:?}");
}
