//! Guests and programs of prompts through the binary.

#![allow(clippy::unwrap_used)]

mod support;

use support::*;

#[test]
fn another_agent_answers_once() {
    let world = World::new(
        "{\"text\":\"Written.\"}\n{\"text\":\"Too long.\"}\n{\"text\":\"Still long.\"}\n{\"text\":\"An address.\"}\n",
    );
    assert_eq!(world.run(&["--session", "s", "Write it."]).code, 0);
    let done = world.run(&["--session", "s", "--guest", "plan", "And?"]);
    assert_eq!((done.code, done.result()["message"].as_str()), (0, Some("Too long.")));
    let started = done.events().into_iter().find(|event| event["type"] == "turn.started").unwrap();
    assert_eq!(started["guest"], "plan");
    // In chat by name; other words that begin so are a prompt.
    let chat = world.with_stdin(
        &["chat", "-m", "scripted:s.jsonl", "--session", "s"],
        b"@plan And now?\n@someone wrote to us\n",
    );
    assert_eq!(chat.code, 0, "{}", chat.err);
    let shown = world.sterna(&["sessions", "show", "s", "--json"]).out;
    let guests: Vec<bool> = event_lines(&shown)
        .iter()
        .filter(|event| event["type"] == "turn.started")
        .map(|event| event["guest"] == "plan")
        .collect();
    assert_eq!(guests, [false, true, true, false]);
    let report = world.sterna(&["context", "s", "--json"]);
    assert!(report.out.contains("(guest plan)"), "{}", report.out);
    // A name that is none, before anything is written.
    let refused = world.run(&["--session", "s", "--guest", "nobody", "And?"]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.err.contains("there is no agent `nobody`") && refused.err.contains("explore"),
        "{}",
        refused.err
    );
    assert_eq!(world.sterna(&["sessions", "show", "s", "--json"]).out, shown);
    assert_eq!(world.sterna(&["replay", "s"]).code, 0);
}

#[test]
fn prompts_one_after_another_have_an_outcome_each() {
    let script = "{\"text\":\"one\"}\n{\"text\":\"two\"}\n{\"text\":\"three\"}\n";
    let world = World::new(script);
    let results = |done: &Done| -> Vec<(u64, String)> {
        let results = event_lines(&done.out).into_iter().filter(|event| event["type"] == "result");
        let essence = |event: serde_json::Value| {
            let said = event["message"].as_str().unwrap_or_default().to_owned();
            (event["turn"].as_u64().unwrap(), said)
        };
        results.map(essence).collect()
    };
    let all = [(1, "one".to_owned()), (2, "two".to_owned()), (3, "three".to_owned())];
    let done = world.run(&["--ephemeral", "First.", "--then", "Second.", "--then", "Third."]);
    assert_eq!((done.code, results(&done)), (0, all.to_vec()), "{}", done.err);
    assert!(
        !world.home().join("data").exists() || world.sterna(&["sessions", "list", "--json"]).out.is_empty()
    );
    // Kept, and sent twice under one key: each turn is made once.
    let keyed = ["--key", "k", "First.", "--then", "Second.", "--then", "Third."];
    assert_eq!(results(&world.run(&keyed)), all);
    assert_eq!(results(&world.run(&keyed)), all);
    // What follows one that does not finish is not begun.
    world.script("{\"error\":{\"class\":\"auth\"}}\n{\"text\":\"never\"}\n");
    let done = world.run(&["--session", "t", "First.", "--then", "Second."]);
    assert_eq!((done.code, results(&done).len()), (5, 1), "{} {}", done.out, done.err);
}
