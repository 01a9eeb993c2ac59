//! The configuration as the binary reads and shows it.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Done, World};

fn shown(world: &World, key: &str) -> Value {
    let done = world.sterna(&["config", "show", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let all: Value = serde_json::from_str(&done.out).unwrap();
    all["keys"].as_array().unwrap().iter().find(|row| row["key"] == key).cloned().unwrap()
}

#[test]
fn every_value_says_where_it_comes_from() {
    let world = World::new("");
    assert_eq!(shown(&world, "max_steps"), json!({"key": "max_steps", "value": 100, "source": "default"}));
    world.config("max_steps = 7\n[providers.mine]\nwire = \"openai_chat\"\nbase_url = \"http://h/v1\"\nkey_env = \"MINE\"");
    let file = world.home().join("config.toml");
    let source = format!("{}:1", file.display());
    assert_eq!(shown(&world, "max_steps"), json!({"key": "max_steps", "value": 7, "source": source}));
    let mut command = world.command(&["config", "show", "--json"]);
    command.env("MINE", "sk-very-secret").env("STERNA_MODEL", "local");
    let done = Done::of(command.spawn().unwrap());
    assert!(!done.out.contains("sk-very-secret") && done.out.contains("\"key\":\"$MINE\""), "{}", done.out);
    assert!(done.out.contains(r#"{"key":"model","source":"$STERNA_MODEL","value":"local"}"#), "{}", done.out);
    let text = world.sterna(&["config", "show"]).out;
    assert!(text.lines().any(|line| line.starts_with("max_steps ") && line.ends_with(&source)), "{text}");
}

#[test]
fn a_broken_file_stops_what_needs_it_and_nothing_else() {
    let world = World::new(r#"{"text":"x"}"#);
    world.config("\nmodle = \"local\"\n");
    let message = format!(
        "error: {}:2: unknown key `modle`\nhint: did you mean `model`?\n",
        world.home().join("config.toml").display()
    );
    for args in [&["config", "show"][..], &["sessions", "list"], &["run", "-m", "scripted:s.jsonl", "go"]] {
        let done = world.sterna(args);
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (2, "", message.as_str()), "{args:?}");
    }
    let schema = world.sterna(&["config", "schema"]);
    let schema: Value = serde_json::from_str(&schema.out).unwrap();
    assert_eq!(schema["properties"]["max_steps"]["minimum"], 1);
    let doctor = world.sterna(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&doctor.out).unwrap();
    assert_eq!((doctor.code, &report["ok"]), (1, &json!(false)));
    assert_eq!(report["problems"][0]["hint"], "did you mean `model`?");
    assert_eq!(world.sterna(&["completions", "bash"]).code, 0);
}

#[test]
fn a_relative_home_is_refused() {
    let world = World::new("");
    let mut command = world.command(&["sessions"]);
    command.env("STERNA_HOME", "~/sterna");
    let done = Done::of(command.spawn().unwrap());
    assert_eq!(done.code, 2);
    assert!(
        done.err.starts_with("error: STERNA_HOME is `~/sterna`, which is not an absolute path"),
        "{}",
        done.err
    );
}
