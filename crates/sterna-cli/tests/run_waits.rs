//! What asks do where nobody is, keys, signals and crashes: nothing hangs, nothing is done twice.

#![allow(clippy::unwrap_used)]

mod support;

use rustix::process::Signal;
use serde_json::Value;
use support::{World, essence, lines_of};

const ASKS: &str = r#"{"calls":[{"name":"shell","arguments":{"command":"echo x >> made"}}]}
{"text":"done"}"#;
const SLOW: &str = "{\"delay_ms\":60000,\"text\":\"late\"}";

#[test]
fn an_ask_under_a_pipe_is_denied_fails_or_parks() {
    let world = World::new(ASKS);
    let made = world.work().join("made");
    let done = world.run(&["--sandbox", "none", "x"]);
    assert_eq!(done.code, 0);
    assert_eq!(done.result()["denials"][0]["tool"], "shell");
    assert_eq!(world.run(&["--sandbox", "none", "--on-ask", "fail", "x"]).code, 4);
    let parked = world.run(&["--sandbox", "none", "--on-ask", "park", "--session", "p", "x"]);
    assert_eq!((parked.code, lines_of(&made)), (8, 0));
    let asked = parked.events().into_iter().find(|event| event["type"] == "approval.requested").unwrap();
    assert_eq!(asked["tool"], "shell");
    // Nobody has answered: it still waits, and says so.
    let again = world.sterna(&["resume", "p"]);
    assert_eq!((again.code, again.out.as_str()), (8, ""));
    assert!(again.err.contains("sterna approve p"), "{}", again.err);
    // Somebody answers from another process: the command runs once, and the model is not asked the first time again.
    let approved = world.sterna(&["approve", "p", "--json"]);
    let events = approved.events();
    assert_eq!((approved.code, lines_of(&made)), (0, 1), "{}", approved.err);
    assert_eq!(support::types(&events).iter().filter(|kind| **kind == "model.started").count(), 2);
    assert_eq!(world.sterna(&["approve", "p"]).code, 2);
    // An allow rule needs no answer.
    assert_eq!(
        world.run(&["--sandbox", "none", "--allow", "Shell(echo *)", "--allow", "Write(made)", "x"]).code,
        0
    );
    assert_eq!(lines_of(&made), 2);
}

#[test]
fn a_key_makes_one_turn_however_often_it_is_sent() {
    let world = World::new(
        r#"{"calls":[{"name":"write","arguments":{"path":"once","content":"1"}}]}
{"delay_ms":50,"text":"done"}"#,
    );
    let args = ["run", "-m", "scripted:s.jsonl", "--json", "--key", "k1", "x"];
    let all: Vec<_> = (0..20).map(|_| world.command(&args).spawn().unwrap()).collect();
    let all: Vec<_> = all.into_iter().map(support::Done::of).collect();
    let first = all[0].result();
    for done in &all {
        assert_eq!((done.code, done.result()), (0, first.clone()), "{}\n{}", done.out, done.err);
    }
    assert_eq!((first["turn"].as_u64(), first["message"].as_str()), (Some(1), Some("done")));
    // Later too, with the same records.
    let settled = |events: Vec<Value>| -> Vec<Value> {
        events.into_iter().filter(|event| event["type"] != "model.delta" && event["type"] != "gap").collect()
    };
    let later = world.sterna(&args);
    assert_eq!(settled(later.events()), settled(all[0].events()));
    // Other content under the key is a conflict, and nothing is written.
    let other = world.sterna(&["run", "-m", "scripted:s.jsonl", "--json", "--key", "k1", "y"]);
    assert_eq!((other.code, other.out.as_str()), (2, ""));
    assert!(other.err.contains("hint: the same key always means the same input"), "{}", other.err);
    // Another key is another session.
    assert_ne!(world.run(&["--key", "k2", "x"]).result()["session"], first["session"]);
}

#[test]
fn the_first_interrupt_cancels_the_turn() {
    let world = World::new(SLOW);
    let mut run = world.start(&["run", "-m", "scripted:s.jsonl", "--json", "--session", "s", "x"]);
    run.until("model.started");
    run.signal(Signal::INT);
    let done = run.end();
    let result = done.result();
    assert_eq!((done.code, result["stop"].as_str()), (130, Some("cancelled")));
    // It is committed: there is nothing to carry on with, and the same end is told again.
    let again = world.sterna(&["resume", "s", "--json"]);
    assert_eq!((again.code, essence(&again.result())), (130, essence(&result)));
}

#[test]
fn the_second_interrupt_leaves_at_once() {
    // The command does not listen: only waiting, or leaving, helps.
    let world = World::new(
        r#"{"calls":[{"name":"shell","arguments":{"command":"trap '' TERM INT; while :; do sleep 0.1; done"}}]}"#,
    );
    let mut run = world.start(&["run", "-m", "scripted:s.jsonl", "--json", "--mode", "bypass", "x"]);
    run.until("tool.started");
    run.signal(Signal::INT);
    run.until("cancel.requested");
    run.signal(Signal::INT);
    let done = run.end();
    assert_eq!((done.code, done.result()["stop"].as_str()), (130, Some("cancelled")));
}

#[test]
fn a_session_that_is_lost_under_its_turn_still_ends_with_a_result() {
    use sterna_log::Log;
    let world = World::new(
        r#"{"calls":[{"name":"shell","arguments":{"command":"while [ ! -e go ]; do sleep 0.02; done"}}]}
{"text":"done"}"#,
    );
    let args = ["run", "-m", "scripted:s.jsonl", "--json", "--mode", "bypass", "--session", "s", "x"];
    let mut run = world.start(&args);
    run.until("tool.started");
    let store = sterna_sqlite::SqliteStore::open(&world.home().join("data"), Default::default()).unwrap();
    futures::executor::block_on(store.delete(&sterna_model::SessionId::new("s").unwrap())).unwrap();
    std::fs::write(world.work().join("go"), "").unwrap();
    let done = run.end();
    let result = done.result();
    assert_eq!((done.code, result["stop"].as_str()), (1, Some("runtime_error")), "{}", done.out);
    // The id is not used again.
    let again = world.run(&["--session", "s", "x"]);
    assert_eq!((again.code, again.out.as_str()), (2, ""));
    assert!(again.err.contains("was deleted") && again.err.contains("hint: "), "{}", again.err);
}

#[test]
fn a_terminated_run_is_resumed_to_the_same_result() {
    let reference = {
        let world = World::new(r#"{"text":"on time"}"#);
        essence(&world.run(&["x"]).result())
    };
    // `timeout` sends the signal twice.
    for signals in [&[Signal::TERM][..], &[Signal::TERM, Signal::TERM], &[Signal::KILL]] {
        let world = World::new(SLOW);
        let mut run = world.start(&["run", "-m", "scripted:s.jsonl", "--json", "--session", "s", "x"]);
        run.until("model.started");
        signals.iter().for_each(|signal| run.signal(*signal));
        if signals[0] == Signal::TERM {
            let done = run.end();
            assert_eq!((done.code, done.result()["outcome"].as_str()), (143, Some("drained")));
            assert_ne!(done.result()["message"], "left before the turn had settled");
        } else {
            run.child.wait().unwrap();
        }
        world.script(r#"{"text":"on time"}"#);
        // Without an id: there is only one that was interrupted here.
        let done = world.sterna(&["resume", "--json"]);
        let mut result = essence(&done.result());
        // The attempt that was killed is in the ledger as an estimate, and its price is not known.
        for field in ["usage", "cost"] {
            result[field] = reference[field].clone();
        }
        assert_eq!((done.code, result), (0, reference.clone()), "{}", done.err);
        assert_eq!(done.events()[0]["type"], "session.opened");
    }
}

#[test]
fn a_command_that_was_running_is_in_doubt() {
    let script = r#"{"calls":[{"name":"shell","arguments":{"command":"echo x >> made; sleep 60"}}]}
{"text":"I saw that it is not known."}"#;
    for (policy, code, stop) in [("report", 0, None), ("stop", 6, Some("in_doubt"))] {
        let world = World::new(script);
        world.config(&format!("in_doubt = \"{policy}\"\n"));
        let args = ["run", "-m", "scripted:s.jsonl", "--json", "--mode", "bypass", "--session", "s", "x"];
        let mut run = world.start(&args);
        run.until("tool.started");
        let made = world.work().join("made");
        // The command begins after its intent is durable.
        while lines_of(&made) == 0 {
            std::thread::yield_now();
        }
        run.signal(Signal::KILL);
        run.child.wait().unwrap();
        // With it the process that would know the command's end.
        assert_eq!(world.kill_shims(), 1);
        let done = world.sterna(&["resume", "s", "--json"]);
        let result = done.result();
        assert_eq!((done.code, result["stop"].as_str()), (code, stop), "{}", done.out);
        assert_eq!(lines_of(&made), 1);
    }
}
