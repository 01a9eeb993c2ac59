//! Plan and pair mode on the real command line, with a person who answers from another process.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::{Done, World};

const PLAN: &str = r##"{"calls":[{"name":"write","arguments":{"path":"a","content":"early\n"}},{"name":"shell","arguments":{"command":"touch b"}}]}
{"calls":[{"name":"submit_plan","arguments":{"slug":"make-a","content":"# Make a"}}]}
{"calls":[{"name":"write","arguments":{"path":"a","content":"late\n"}}]}
{"text":"done"}"##;

fn parked(script: &str, mode: &str) -> (World, Done) {
    let world = World::new(script);
    let run = world.run(&["--sandbox", "none", "--on-ask", "park", "--mode", mode, "--session", "p", "go"]);
    assert_eq!(run.code, 8, "{}", run.err);
    (world, run)
}

fn read(world: &World, name: &str) -> Option<String> {
    std::fs::read_to_string(world.work().join(name)).ok()
}

fn found<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

#[test]
fn a_plan_is_approved_edited_or_sent_back() {
    let (world, run) = parked(PLAN, "plan");
    let events = run.events();
    let ends: Vec<&str> =
        found(&events, "tool.ended").iter().map(|end| end["status"].as_str().unwrap()).collect();
    assert_eq!(ends, ["denied", "denied"]);
    let submitted = found(&events, "plan.submitted")[0];
    assert_eq!(
        (submitted["slug"].as_str(), submitted["content"].as_str()),
        (Some("make-a"), Some("# Make a"))
    );
    assert_eq!((read(&world, "a"), read(&world, "b")), (None, None));
    // Only a mode that a plan can lead to.
    for mode in ["plan", "Auto", "x"] {
        assert_eq!(world.sterna(&["approve", "p", "--mode", mode]).code, 2);
    }
    std::fs::write(world.work().join("mine.md"), "# Make a, and no b").unwrap();
    let done = world.sterna(&["approve", "p", "--edit", "mine.md", "--mode", "accept-edits", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let events = done.events();
    assert_eq!(found(&events, "mode.changed")[0]["mode"], "accept-edits");
    assert_eq!(found(&events, "approval.resolved")[0]["arguments"], "# Make a, and no b");
    let told = found(&events, "tool.ended");
    assert!(
        told.iter().any(|end| end["output"].as_str().unwrap().contains("# Make a, and no b")),
        "{told:?}"
    );
    assert_eq!((read(&world, "a").as_deref(), read(&world, "b")), (Some("late\n"), None));
    assert_eq!(world.sterna(&["replay", "p"]).code, 0);
}

#[test]
fn a_refused_plan_leaves_the_session_in_plan_mode() {
    let (world, _) = parked(&PLAN[PLAN.find('\n').unwrap() + 1..], "plan");
    let done = world.sterna(&["deny", "p", "--reason", "not a, but c", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let events = done.events();
    let ends = found(&events, "tool.ended");
    assert!(ends.iter().any(|end| end["output"].as_str().unwrap().contains("not a, but c")), "{ends:?}");
    assert_eq!(ends.last().unwrap()["status"], "denied");
    assert!(found(&events, "mode.changed").is_empty());
    assert_eq!(read(&world, "a"), None);
}

#[test]
fn in_pair_mode_a_person_edits_the_call() {
    let script = r#"{"calls":[{"name":"write","arguments":{"path":"a","content":"theirs\n"}}]}
{"text":"done"}"#;
    let (world, run) = parked(script, "pair");
    let events = run.events();
    let asked = found(&events, "approval.requested")[0];
    assert!(asked["preview"].as_str().unwrap().contains("+theirs"), "{asked}");
    assert_eq!(read(&world, "a"), None);
    std::fs::write(world.work().join("bad.json"), "[]").unwrap();
    assert_eq!(world.sterna(&["approve", "p", "--edit", "bad.json"]).code, 2);
    std::fs::write(world.work().join("mine.json"), r#"{"path":"a","content":"mine\n"}"#).unwrap();
    let done = world.sterna(&["approve", "p", "--edit", "mine.json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(read(&world, "a").as_deref(), Some("mine\n"));
    assert_eq!(world.sterna(&["replay", "p"]).code, 0);
}
