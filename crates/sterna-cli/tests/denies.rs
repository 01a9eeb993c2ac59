//! What is denied or not listed is so on every way to it: in a list, behind a wrapper, in a mode that asks nobody, for an
//! agent, after a yes.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::World;

fn script(calls: &[Value]) -> String {
    let lines: Vec<String> = calls.iter().map(|call| json!({"calls": [call]}).to_string()).collect();
    format!("{}\n{}", lines.join("\n"), json!({"text": "done"}))
}

/// How the calls of a session and of its agents ended.
fn ended(world: &World, session: &str) -> Vec<Value> {
    let events = world.sterna(&["sessions", "show", session, "--json"]).out;
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["type"] == "tool.ended").collect()
}

fn sessions(world: &World) -> Vec<String> {
    let list = world.sterna(&["sessions", "list", "--json"]).out;
    let row = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    list.lines().map(row).collect()
}

/// SC-25: a deny rule holds in bypass, beside an allow rule for everything and a grant of that very line.
#[test]
fn a_deny_rule_holds_on_every_way() {
    let shell = |command: &str| json!({"name": "shell", "arguments": {"command": command}});
    let lines = [
        "rm -r x",
        "echo a; rm -r x",
        "sh -c 'rm -r x'",
        "y=$(rm -r x)",
        "env A=1 /bin/rm -r x",
        "ls | xargs rm -r",
    ];
    let calls: Vec<Value> = lines.iter().map(|line| shell(line)).collect();
    let world = World::new(&script(&[shell("rm -r y")]));
    let (x, y) = (world.work().join("x"), world.work().join("y"));
    std::fs::create_dir(&x).unwrap();
    std::fs::create_dir(&y).unwrap();
    // The person grants one of them for good, before anybody denies it.
    world.config("[policy]\nask = [\"Shell(rm *)\"]");
    assert_eq!(world.run(&["--session", "granted", "--on-ask", "park", "x"]).code, 8);
    assert_eq!(world.sterna(&["approve", "granted", "--for", "user"]).code, 0);
    assert!(!y.exists());
    std::fs::create_dir(&y).unwrap();

    let file = world.home().join("config.toml");
    world.config("max_consecutive_denials = 100\nno_progress_steps = 100\n[policy]\ndeny = [\"Shell(rm *)\"]\nallow = [\"Shell(*)\"]");
    world.script(&script(&[calls.clone(), vec![shell("rm -r y")]].concat()));
    let done = world.run(&["--session", "s", "--mode", "bypass", "x"]);
    assert_eq!(done.code, 0, "{done:?}");
    let told = ended(&world, "s");
    assert_eq!(told.len(), lines.len() + 1);
    for event in &told {
        let output = event["output"].as_str().unwrap();
        let rule = format!("by rule `Shell(rm *)` ({}:4)", file.display());
        assert!(event["status"] == "denied" && output.contains(&rule), "{event}");
    }
    assert!(x.exists() && y.exists());
    // An agent of that session has no more.
    let task = json!({"name": "agent", "arguments": {"op": "spawn", "type": "general", "task": "clear x"}});
    world.script(&script(&[task, calls[0].clone(), calls[2].clone()]));
    world.run(&["--session", "maker", "--mode", "bypass", "x"]);
    let agent = sessions(&world).into_iter().find(|id| id.starts_with("agent-")).unwrap();
    let refused: Vec<Value> = [ended(&world, &agent), ended(&world, "maker")].concat();
    let rms = refused.iter().filter(|event| event["name"] == "shell");
    let denied: Vec<bool> = rms.map(|event| event["status"] == "denied").collect();
    assert!(!denied.is_empty() && denied.iter().all(|denied| *denied), "{refused:?}");
    assert!(x.exists());
}

/// SC-23: a tool that is not listed is neither advertised nor run, from the start, when a later turn is given fewer, and
/// for an agent.
#[test]
fn a_tool_that_is_not_listed_is_never_run() {
    let touch = json!({"name": "shell", "arguments": {"command": "touch made"}});
    let world = World::new(&script(std::slice::from_ref(&touch)));
    let not_there = |session: &str| {
        let events = ended(&world, session);
        let shell: Vec<&Value> = events.iter().filter(|event| event["name"] == "shell").collect();
        assert!(!shell.is_empty(), "{session}: {events:?}");
        for event in shell {
            let told = event["output"].as_str().unwrap().starts_with("tool not available: shell");
            assert!(event["status"] == "not_available" && told, "{session}: {event}");
        }
    };
    world.config("tools = [\"recall\"]");
    assert_eq!(world.run(&["--session", "boot", "--mode", "bypass", "x"]).code, 0);
    not_there("boot");
    // A session that had it before has it no more.
    world.config("");
    world.script(&json!({"text": "hello"}).to_string());
    assert_eq!(world.run(&["--session", "later", "x"]).code, 0);
    world.config("tools = [\"recall\"]");
    world.script(&format!("{}\n{}", json!({"text": "hello"}), script(std::slice::from_ref(&touch))));
    assert_eq!(world.run(&["--session", "later", "--mode", "bypass", "y"]).code, 0);
    not_there("later");
    // Nor has an agent, though it asks for it by name.
    world.config("tools = [\"recall\", \"agent\"]");
    let task = json!({"name": "agent", "arguments": {"op": "spawn", "type": "general", "task": "touch", "tools": ["shell", "recall"]}});
    world.script(&script(&[task, touch]));
    world.run(&["--session", "maker", "--mode", "bypass", "x"]);
    let agent = sessions(&world).into_iter().find(|id| id.starts_with("agent-")).unwrap();
    let both = [ended(&world, &agent), ended(&world, "maker")].concat();
    let shell = both.iter().filter(|event| event["name"] == "shell");
    assert!(
        shell.clone().count() > 0 && { shell }.all(|event| event["status"] == "not_available"),
        "{both:?}"
    );
    assert!(!world.work().join("made").exists());
}
