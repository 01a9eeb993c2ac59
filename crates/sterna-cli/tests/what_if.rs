//! `sterna what-if`: a recorded session lived again by another model, with its tools in a cage.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::World;

/// Steps of the recorded session, the last answer not counted.
const STEPS: usize = 50;
/// The step from which the other model does something else.
const TURNS_OFF: usize = 33;

fn call(name: &str, arguments: Value) -> String {
    json!({"calls": [{"name": name, "arguments": arguments}], "usage": {"input": 10, "output": 2}})
        .to_string()
}

/// 50 steps, of which every tenth writes a file, and an answer.
fn script() -> Vec<String> {
    let mut lines = vec![json!({"model": {"price": {"input": 1.0, "output": 1.0}}}).to_string()];
    for step in 1..=STEPS {
        lines.push(if step % 10 == 0 {
            call("write", json!({"path": format!("out/{step}.txt"), "content": format!("step {step}\n")}))
        } else {
            call("read", json!({"path": "seed.txt", "limit": step}))
        });
    }
    lines.push(json!({"text": "done", "usage": {"input": 10, "output": 2}}).to_string());
    lines
}

/// The same until one step, and then these lines.
fn other(lines: &[String]) -> String {
    let mut script = script();
    script.truncate(TURNS_OFF);
    script.extend_from_slice(lines);
    script.join("\n")
}

/// Everything below a folder: kind and bytes, by path.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                waiting.push(path.clone());
            }
            found.insert(path.clone(), if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() });
        }
    }
    found
}

/// The recorded session `s`.
fn recorded() -> World {
    let world = World::new(&script().join("\n"));
    fs::write(world.work().join("seed.txt"), "a\nb\nc\n").unwrap();
    let ran = world.run(&["--session", "s", "--mode", "accept-edits", "do it"]);
    assert_eq!(ran.result()["steps"], STEPS + 1, "{}{}", ran.out, ran.err);
    world
}

fn export(world: &World) -> String {
    let done = world.sterna(&["sessions", "export", "s"]);
    assert_eq!(done.code, 0, "{}", done.err);
    done.out
}

fn what_if(world: &World, args: &[&str]) -> Value {
    let done = world.sterna(&[&["what-if", "s", "--json"], args].concat());
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    serde_json::from_str(&done.out).unwrap()
}

/// A file that no cage may change, in a folder that is not private to it.
fn canary(world: &World) -> PathBuf {
    let name = world.work().to_string_lossy().replace('/', "-");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("canary{name}"));
    fs::write(&path, "alive\n").unwrap();
    path
}

#[test]
fn another_model_leaves_the_record_at_its_step_and_works_in_a_copy() {
    let world = recorded();
    let canary = canary(&world);
    let outside = canary.to_str().unwrap();
    let script = other(&[
        call("write", json!({"path": "new.txt", "content": "new\n"})),
        call("edit", json!({"path": "seed.txt", "old_string": "b\n", "new_string": "B\n"})),
        call("read", json!({"path": "seed.txt"})),
        call("edit", json!({"path": "seed.txt", "old_string": "b\n", "new_string": "B\n"})),
        call("shell", json!({"command": format!("ls out; echo x >> {outside}; echo y > made; cat made")})),
        call("shell", json!({"command": "cat /proc/net/dev | wc -l; ls /run | wc -l; echo z > ../escaped"})),
        json!({"text": "other", "usage": {"input": 10, "output": 2}}).to_string(),
    ]);
    fs::write(world.home().join("other.jsonl"), script).unwrap();
    let (before, log) = (tree(&world.work()), export(&world));

    let route = format!("scripted:{}", world.home().join("other.jsonl").display());
    let report = what_if(&world, &["--from", "1", "-m", &route, "--mode", "bypass"]);
    let left = &report["divergence"];
    assert_eq!((&left["turn"], &left["step"]), (&json!(1), &json!(TURNS_OFF)), "{left}");
    let what = left["what"].as_str().unwrap();
    assert!(what.starts_with("write {") && what.contains("in place of read {"), "{what}");
    assert_eq!(report["sandbox"], "bubblewrap");

    // The steps before answer from the record, those from there on from the copy.
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps.len(), STEPS + 1);
    for (at, pair) in steps.iter().enumerate() {
        assert_eq!(pair["same_calls"], at + 1 < TURNS_OFF, "{at}: {pair}");
    }
    let status = |step: usize| steps[step - 1]["new"]["calls"][0]["status"].clone();
    let view = |step: usize| steps[step - 1]["new"]["calls"][0]["view"].as_str().unwrap().to_owned();
    assert_eq!(status(TURNS_OFF), "ok", "{}", view(TURNS_OFF));
    // What `read` told of the file in the record is what the copy has.
    assert_eq!(status(TURNS_OFF + 1), "ok", "{}", view(TURNS_OFF + 1));
    assert!(view(TURNS_OFF + 2).contains("B"), "{}", view(TURNS_OFF + 2));
    assert_ne!(status(TURNS_OFF + 3), "ok");
    let ls = view(TURNS_OFF + 4);
    assert!(ls.contains("10.txt") && ls.contains("30.txt") && !ls.contains("40.txt"), "{ls}");
    assert!(ls.contains("Read-only file system") && ls.contains('y'), "{ls}");
    let net = view(TURNS_OFF + 5);
    // Two lines of heading and the loopback; nothing in /run; the folder above is not the copy's.
    assert!(net.starts_with("3\n0\n"), "{net}");

    // Both runs' files from where they part: the record wrote at 40 and 50.
    let paths = |side: &str| -> Vec<(String, String)> {
        let files = report["files"][side].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        files.iter().map(|file| (text(&file["path"]), text(&file["what"]))).collect()
    };
    let created = |path: &str| (path.to_owned(), "created".to_owned());
    assert_eq!(paths("recorded"), [created("out/40.txt"), created("out/50.txt")]);
    let modified = ("seed.txt".to_owned(), "modified".to_owned());
    assert_eq!(paths("new"), [created("made"), created("new.txt"), modified]);
    let diff = report["files"]["new"][2]["diff"].as_str().unwrap();
    assert_eq!(diff, "--- a/seed.txt\n+++ b/seed.txt\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
    assert!(report["files"]["checkpoint"].as_u64().is_some());

    // 51 calls of 10 and 2 tokens at one dollar a million; the other script names no price of its own beyond the same.
    let calls = (STEPS + 1) as u64;
    assert_eq!(report["cost"]["recorded"]["calls"], calls);
    assert_eq!(report["cost"]["recorded"]["cost"], (12 * calls) as f64 / 1e6);
    let new = (TURNS_OFF - 1 + 7) as u64;
    assert_eq!(report["cost"]["new"]["calls"], new);
    assert_eq!(report["spent"]["calls"], new, "another model's requests are other requests");

    // Nothing outside was touched.
    assert_eq!(tree(&world.work()), before);
    assert_eq!(export(&world), log);
    assert_eq!(fs::read_to_string(&canary).unwrap(), "alive\n");
    assert_eq!(fs::read_dir(world.home().join("state/what-if")).unwrap().count(), 0);
    fs::remove_file(canary).unwrap();
}

#[test]
fn the_same_model_is_answered_by_the_record_to_the_end() {
    let world = recorded();
    // The script is gone: a model call would fail.
    let log = export(&world);
    let script = fs::read_to_string(world.work().join("s.jsonl")).unwrap();
    let heading = script.lines().next().unwrap().to_owned();
    fs::write(world.work().join("s.jsonl"), heading).unwrap();
    let replayed = world.sterna(&["replay", "s", "--json"]);
    let replayed: Value = serde_json::from_str(&replayed.out).unwrap();
    assert_eq!((&replayed["requests"], &replayed["difference"]), (&json!(STEPS + 1), &Value::Null));
    for from in ["1", "1.7", "1.50"] {
        let report = what_if(&world, &["--from", from]);
        assert_eq!(report["divergence"], Value::Null, "{from}");
        assert_eq!((&report["spent"]["calls"], &report["files"]), (&json!(0), &Value::Null), "{from}");
        let steps = report["steps"].as_array().unwrap();
        assert!(steps.iter().all(|pair| pair["new"]["from_record"] == true && pair["same_calls"] == true));
        assert_eq!(report["endings"]["new"], report["endings"]["recorded"]);
    }
    assert_eq!(what_if(&world, &["--from", "1.7"])["steps"].as_array().unwrap().len(), STEPS + 1 - 7);
    // Another limit is another end: the last answer, with tools off, is asked for.
    fs::write(world.work().join("s.jsonl"), script).unwrap();
    let report = what_if(&world, &["--from", "1", "--max-steps", "5"]);
    assert_eq!(report["endings"]["new"][0]["outcome"], "max_steps");
    assert!(report["divergence"]["what"].as_str().unwrap().contains("max_steps"), "{}", report["divergence"]);
    assert_eq!(export(&world), log);
}

/// What passes because a sandbox holds it passes in the cage too: a sandbox stands within.
#[test]
fn a_build_runs_in_the_cage_as_it_did_outside() {
    let world = World::new(
        &[call("read", json!({"path": "seed.txt"})), json!({"text": "done"}).to_string()].join("\n"),
    );
    fs::write(world.work().join("seed.txt"), "a\n").unwrap();
    fs::write(world.work().join("Makefile"), "all:\n\techo built > made\n\tmkdir /usr/sterna-was-here\n")
        .unwrap();
    assert_eq!(world.run(&["--session", "s", "do it"]).code, 0);
    let script = [call("shell", json!({"command": "make"})), json!({"text": "other"}).to_string()].join("\n");
    fs::write(world.home().join("other.jsonl"), script).unwrap();
    let route = format!("scripted:{}", world.home().join("other.jsonl").display());
    let report = what_if(&world, &["--from", "1", "-m", &route]);
    let made = &report["steps"][0]["new"]["calls"][0];
    let view = made["view"].as_str().unwrap();
    assert_eq!((&report["sandbox"], &made["status"]), (&json!("bubblewrap"), &json!("failed")), "{view}");
    assert!(view.contains("sandbox_denied (perhaps)"), "{view}");
    assert_eq!(report["files"]["new"][0]["path"], "made");
    assert!(!world.work().join("made").exists());
}

#[test]
fn without_bubblewrap_tools_are_refused_by_name() {
    let world = recorded();
    let script = other(&[
        call("write", json!({"path": "new.txt", "content": "new\n"})),
        call("shell", json!({"command": "echo x > made"})),
        call("todo", json!({"op": "create", "subject": "a"})),
        json!({"text": "other"}).to_string(),
    ]);
    fs::write(world.home().join("other.jsonl"), script).unwrap();
    let before = tree(&world.work());
    // All of PATH but `bwrap`.
    let bin = world.home().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["sh", "bash", "echo"] {
        let path = std::env::var("PATH").unwrap();
        let found = path.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.exists()).unwrap();
        symlink(found, bin.join(name)).unwrap();
    }
    let route = format!("scripted:{}", world.home().join("other.jsonl").display());
    let args = ["what-if", "s", "--json", "--from", "1", "-m", &route, "--mode", "bypass"];
    let done = support::Done::of(world.command(&args).env("PATH", &bin).spawn().unwrap());
    assert_eq!(done.code, 0, "{}", done.err);
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&report["sandbox"], &report["files"]), (&json!("none"), &Value::Null));
    let why = report["refused"].as_str().unwrap();
    assert_eq!(why, "bubblewrap is not installed: there is no `bwrap` in PATH");
    let calls = |step: usize| report["steps"][step - 1]["new"]["calls"][0].clone();
    for (step, name) in [(TURNS_OFF, "write"), (TURNS_OFF + 1, "shell")] {
        let call = calls(step);
        assert_eq!(call["status"], "not_available", "{call}");
        let view = call["view"].as_str().unwrap();
        assert!(view.starts_with(&format!("tool not available: {name} ({why})")), "{view}");
    }
    // What touches the session alone needs no copy.
    assert_eq!(calls(TURNS_OFF + 2)["status"], "ok", "{}", calls(TURNS_OFF + 2));
    assert_eq!(report["endings"]["new"][0]["outcome"], "finished");
    assert_eq!(tree(&world.work()), before);
}

#[test]
fn another_prompt_takes_the_place_of_the_next_input() {
    let world = World::new("{\"text\":\"one\"}\n{\"text\":\"two\"}\n{\"text\":\"three\"}\n");
    for text in ["first", "second"] {
        assert_eq!(world.run(&["--session", "s", text]).code, 0);
    }
    let log = export(&world);
    let head = log.lines().count();
    // Between the two turns: the first answer is kept, the second turn has another input.
    let report = what_if(&world, &["--from", "1.1", "--prompt", "something else"]);
    assert_eq!(report["steps"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["steps"][0]["new"]["text"], "two");
    assert_eq!(report["steps"][0]["new"]["from_record"], false);
    assert_eq!(report["spent"]["calls"], 1);
    // In a turn there is no next input, and after the last one nothing to live again.
    let refused = |args: &[&str]| world.sterna(&[&["what-if", "s"], args].concat());
    let inside = refused(&["--from", "4", "--prompt", "x"]);
    assert!(inside.code == 2 && inside.err.contains("lies in turn 1"), "{inside:?}");
    let end = refused(&["--from", "2.1"]);
    assert!(end.code == 2 && end.err.contains("nothing was recorded after"), "{end:?}");
    let wrong = refused(&["--from", "999"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    let text = refused(&["--from", "1.1", "--prompt", "y"]);
    assert!(text.code == 0 && text.out.contains("spent for this"), "{text:?}");
    assert_eq!(export(&world), log, "{head} lines");
}
