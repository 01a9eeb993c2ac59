//! A command whose shim died with Sterna: nobody knows its end, and `in_doubt` says what follows.

#![allow(clippy::unwrap_used)]

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Done, World, lines_of};

const RUN: [&str; 9] = ["run", "-m", "scripted:s.jsonl", "--json", "--mode", "bypass", "--session", "s", "x"];
/// Runs until it is killed the first time, and ends at once the second time.
const COMMAND: &str =
    "echo x >> made; if [ $(wc -l < made) = 1 ]; then while :; do sleep 0.02; done; fi; echo again";

/// What is left of the command when Sterna and its shim are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// The spool says that it was started.
    Spool,
    Nothing,
}

fn lost(policy: &str, left: Left) -> World {
    lost_under(&format!("in_doubt = \"{policy}\"\n"), left)
}

fn lost_under(config: &str, left: Left) -> World {
    let call = json!({"calls": [{"name": "shell", "arguments": {"command": COMMAND}}]});
    let world = World::new(&format!("{call}\n{{\"text\":\"seen\"}}"));
    world.config(config);
    let mut run = world.start(&RUN);
    run.until("tool.started");
    while made(&world) == 0 {
        std::thread::yield_now();
    }
    run.signal(Signal::KILL);
    run.child.wait().unwrap();
    assert_eq!(world.kill_shims(), 1);
    if left == Left::Nothing {
        std::fs::remove_dir_all(world.home().join("data/spools")).unwrap();
    }
    world
}

fn made(world: &World) -> usize {
    lines_of(&world.work().join("made"))
}

/// Status and text of the command's one end.
fn ended(done: &Done) -> (String, String) {
    let events = done.events();
    let mut ends = events.iter().filter(|event| event["type"] == "tool.ended");
    let end = ends.next().unwrap_or_else(|| panic!("{done:?}"));
    assert!(ends.next().is_none(), "{done:?}");
    (end["status"].as_str().unwrap().to_owned(), end["output"].as_str().unwrap().to_owned())
}

/// Attempts of the command that were started.
fn attempts(done: &Done) -> Vec<Value> {
    let events = done.events();
    events
        .iter()
        .filter(|event| event["type"] == "tool.started")
        .map(|event| event["attempt"].clone())
        .collect()
}

#[test]
fn a_lost_command_is_reported_run_again_or_stopped_for() {
    for left in [Left::Spool, Left::Nothing] {
        for (policy, code, stop, status, runs) in [
            ("report", 0, Value::Null, "outcome_unknown", 1),
            ("rerun", 0, Value::Null, "ok", 2),
            ("stop", 6, json!("in_doubt"), "outcome_unknown", 1),
        ] {
            let world = lost(policy, left);
            let done = world.sterna(&["resume", "s", "--json"]);
            assert_eq!((done.code, &done.result()["stop"]), (code, &stop), "{policy} {left:?} {done:?}");
            let (told, text) = ended(&done);
            assert_eq!((told.as_str(), made(&world)), (status, runs), "{policy} {left:?}");
            assert_eq!(text.starts_with("outcome_unknown: "), runs == 1, "{policy} {left:?} {text}");
            assert_eq!(attempts(&done), (1..=runs).map(Value::from).collect::<Vec<_>>(), "{policy} {left:?}");
            assert_eq!(world.sterna(&["replay", "s"]).code, 0);
        }
    }
}

#[test]
fn a_tool_has_a_ruling_of_its_own() {
    let world = lost_under("in_doubt = \"stop\"\nin_doubt_of = { shell = \"rerun\" }\n", Left::Nothing);
    // It stands in the log, whatever is configured when somebody else carries on.
    world.config("");
    let done = world.sterna(&["resume", "s", "--json"]);
    assert_eq!((done.code, ended(&done).0.as_str(), made(&world)), (0, "ok", 2), "{done:?}");

    world.config("in_doubt_of = { mcp__mail__send = \"ask\" }\n");
    assert_eq!(world.sterna(&["resume", "s"]).code, 0, "servers are asked later");
    world.config("\n[in_doubt_of]\nshel = \"ask\"\n");
    let wrong = world.sterna(&["run", "-m", "scripted:s.jsonl", "x"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    let said = "config.toml:3: `in_doubt_of` names the tool `shel`, which there is not";
    assert!(wrong.err.contains(said), "{wrong:?}");
    assert!(wrong.err.contains("hint: tools are agent, apply_patch, ask_user, "), "{wrong:?}");
}

#[test]
fn a_person_says_from_another_process_whether_a_lost_command_runs_again() {
    for left in [Left::Spool, Left::Nothing] {
        for (answer, status, runs, said) in [
            (&["approve", "s", "--json"][..], "ok", 2, "again"),
            (&["deny", "s", "--feedback", "it is done", "--json"], "outcome_unknown", 1, "it is done"),
        ] {
            let world = lost("ask", left);
            // Nobody is at the terminal, and `--on-ask` is `deny`: this question waits all the same.
            for _ in 0..2 {
                let parked = world.sterna(&["resume", "s", "--json"]);
                assert_eq!((parked.code, made(&world)), (8, 1), "{parked:?}");
                let events = parked.events();
                let asked: Vec<_> =
                    events.iter().filter(|event| event["type"] == "approval.requested").collect();
                assert_eq!(asked.len(), 1, "{parked:?}");
                assert!(asked[0]["summary"].as_str().unwrap().starts_with("run again: shell "), "{asked:?}");
            }
            let done = world.sterna(answer);
            assert_eq!((done.code, done.result()["message"].as_str()), (0, Some("seen")), "{done:?}");
            let (told, text) = ended(&done);
            assert_eq!((told.as_str(), made(&world)), (status, runs), "{answer:?} {text}");
            assert!(text.contains(said), "{text}");
            assert_eq!(done.result()["denials"], json!([]));
        }
    }
}
