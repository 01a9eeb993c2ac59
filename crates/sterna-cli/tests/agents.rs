//! Sessions that agents work in: nobody's newest, and part of what their maker used.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::World;

/// It starts an agent, which has no tool `agent` and answers after its first call has failed.
const STARTS_ONE: &str = r#"{"model":{"context":32000,"max_output":4096,"price":{"input":3,"output":15}}}
{"calls":[{"name":"agent","arguments":{"op":"spawn","type":"explore","task":"look"}}],"usage":{"input":10,"output":5}}
{"text":"seen","usage":{"input":10,"output":5}}
{"text":"again","usage":{"input":10,"output":5}}"#;

/// A world in which session `s` has started one agent, and the agent's session.
fn with_an_agent() -> (World, String) {
    let world = World::new(STARTS_ONE);
    let done = world.run(&["--session", "s", "go"]);
    assert_eq!((done.code, &done.result()["message"]), (0, &json!("seen")), "{done:?}");
    let rows: Vec<Value> = lines(&world.sterna(&["sessions", "list", "--json"]).out);
    let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    let agents: Vec<&str> = ids.iter().copied().filter(|id| *id != "s").collect();
    assert_eq!((ids.len(), agents.len()), (2, 1), "{ids:?}");
    let agent = agents[0].to_owned();
    (world, agent)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_newest_session_is_one_that_a_person_began() {
    let (world, agent) = with_an_agent();
    // The agent's session is touched last.
    assert_eq!(world.sterna(&["sessions", "rename", &agent, "later"]).code, 0);
    let first = lines(&world.sterna(&["sessions", "list", "--json"]).out)[0]["id"].clone();
    assert_eq!(first, agent.as_str());
    let context: Value = serde_json::from_str(&world.sterna(&["context", "--json"]).out).unwrap();
    assert_eq!(context["session"], "s");
    let chat = world.with_stdin(&["chat", "-m", "scripted:s.jsonl", "--continue"], b"/sessions\n");
    assert_eq!((chat.code, chat.err.trim()), (0, "* s  go"), "{chat:?}");
    let continued = world.run(&["--continue", "more"]);
    assert_eq!(continued.result()["session"], "s", "{continued:?}");
    // By its name it can be told more.
    let told = world.run(&["--session", &agent, "more"]);
    assert_eq!((told.code, &told.result()["session"]), (0, &json!(agent)), "{told:?}");
    // A closed one is passed over, and so is the agent's.
    assert_eq!(world.sterna(&["sessions", "close", "s"]).code, 0);
    let none = world.sterna(&["context"]);
    assert!(none.code == 2 && none.err.contains("there is no session of"), "{none:?}");
}

#[test]
fn what_agents_used_is_part_of_their_makers_session_and_counted_once_in_all() {
    let (world, _) = with_an_agent();
    let usage = |args: &[&str]| -> Value {
        let done = world.sterna(&[&["usage", "--json"], args].concat());
        serde_json::from_str(&done.out).unwrap()
    };
    let told = |row: &Value| {
        let source = row["source"].as_str().unwrap_or("").to_owned();
        (source, row["calls"].as_u64().unwrap(), row["input_uncached"].as_u64().unwrap(), row["cost"].clone())
    };
    // Each of the four calls: 10 at 3 dollars a million, and 5 at 15.
    let one = usage(&["s"]);
    assert_eq!(told(&one["total"]), (String::new(), 4, 40, json!(0.00042)));
    let by_source: Vec<_> = one["by_source"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(by_source, [("child".into(), 2, 20, json!(0.00021)), ("turn".into(), 2, 20, json!(0.00021))]);
    assert_eq!(told(&usage(&[])["total"]), (String::new(), 4, 40, json!(0.00042)));
}
