//! Commands outlive Sterna: after SIGKILL the next process delivers the true end, and nothing runs twice.

#![allow(clippy::unwrap_used)]

mod support;

use rustix::process::Signal;
use serde_json::Value;
use support::{World, lines_of};

const RUN: [&str; 9] = ["run", "-m", "scripted:s.jsonl", "--json", "--mode", "bypass", "--session", "s", "x"];

fn script(command: &str) -> String {
    let call = serde_json::json!({"calls": [{"name": "shell", "arguments": {"command": command}}]});
    format!("{call}\n{{\"text\":\"seen\"}}")
}

/// Starts a turn with this command, and kills Sterna when the command has written to `made`.
fn killed(command: &str) -> World {
    let world = World::new(&script(command));
    let mut run = world.start(&RUN);
    run.until("tool.started");
    while lines_of(&world.work().join("made")) == 0 {
        std::thread::yield_now();
    }
    run.signal(Signal::KILL);
    run.child.wait().unwrap();
    world
}

fn ended(events: &[Value]) -> &Value {
    let mut ends = events.iter().filter(|event| event["type"] == "tool.ended");
    let end = ends.next().unwrap();
    assert!(ends.next().is_none());
    end
}

/// Spools go in the background, after the outcome is durable.
fn no_spool_is_left(world: &World) {
    for _ in 0..6_000 {
        if world.spools() == 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{} spools are left", world.spools());
}

#[test]
fn a_command_that_still_runs_is_followed_to_its_true_end() {
    let world = killed("echo x >> made; while [ ! -e go ]; do sleep 0.02; done; echo done; exit 3");
    assert_eq!(world.shims().len(), 1, "it runs on without us");
    let mut resume = world.start(&["resume", "s", "--json"]);
    resume.until("tool.started");
    std::fs::write(world.work().join("go"), "").unwrap();
    let done = resume.end();
    let events = done.events();
    let end = ended(&events);
    assert_eq!((done.code, end["status"].as_str()), (0, Some("failed")), "{}", done.out);
    let output = end["output"].as_str().unwrap();
    assert!(output.contains("done") && output.contains("exit code 3"), "{output}");
    assert_eq!(lines_of(&world.work().join("made")), 1);
    world.shims_end();
    no_spool_is_left(&world);
}

#[test]
fn a_command_that_ended_while_nobody_was_there_is_told_truly() {
    let world = killed("echo x >> made; while [ ! -e go ]; do sleep 0.02; done; sleep 0.5; echo done");
    std::fs::write(world.work().join("go"), "").unwrap();
    world.shims_end();
    let done = world.sterna(&["resume", "s", "--json"]);
    let events = done.events();
    let end = ended(&events);
    assert_eq!((done.code, end["status"].as_str()), (0, Some("ok")), "{}", done.out);
    assert_eq!(end["output"].as_str().unwrap().trim(), "done");
    assert!(end["duration_ms"].as_u64() >= Some(500), "its own time, and not that of the reader: {end}");
    assert_eq!(lines_of(&world.work().join("made")), 1);
    no_spool_is_left(&world);
}

#[test]
fn a_second_crash_while_following_changes_nothing() {
    let world = killed("echo x >> made; while [ ! -e go ]; do sleep 0.02; done; echo done");
    for _ in 0..3 {
        let mut resume = world.start(&["resume", "s", "--json"]);
        resume.until("tool.started");
        resume.signal(Signal::KILL);
        resume.child.wait().unwrap();
        assert_eq!(world.shims().len(), 1);
    }
    std::fs::write(world.work().join("go"), "").unwrap();
    let done = world.sterna(&["resume", "s", "--json"]);
    assert_eq!(ended(&done.events())["output"].as_str().unwrap().trim(), "done");
    assert_eq!(lines_of(&world.work().join("made")), 1);
}

#[test]
fn a_cancel_after_the_crash_ends_what_still_runs() {
    let world = killed("trap '' TERM; echo x >> made; while :; do sleep 0.02; done");
    let mut resume = world.start(&["resume", "s", "--json"]);
    resume.until("tool.started");
    resume.signal(Signal::INT);
    let done = resume.end();
    assert_eq!((done.code, done.result()["stop"].as_str()), (130, Some("cancelled")), "{}", done.out);
    assert_eq!(ended(&done.events())["status"].as_str(), Some("cancelled"), "{}", done.out);
    world.shims_end();
}

#[test]
fn a_command_that_ends_plainly_leaves_nothing_behind() {
    let world = World::new(&script("echo x >> made; echo fine"));
    let done = world.run(&["--mode", "bypass", "x"]);
    assert_eq!(ended(&done.events())["output"].as_str().unwrap().trim(), "fine");
    no_spool_is_left(&world);
}
