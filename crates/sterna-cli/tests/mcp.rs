//! MCP servers from the command line to the model and back.

#![allow(clippy::unwrap_used)]

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use sterna_testkit::mcp::server_script;
use support::World;

fn world(script: &str, switches: &[&str]) -> World {
    let world = World::new(script);
    let script = server_script();
    let args = [&[script.as_str()], switches].concat();
    let server = json!({"command": "python3", "args": args});
    configure(&world, &json!({"mcpServers": {"t": server}}));
    world
}

fn configure(world: &World, file: &Value) {
    std::fs::write(world.home().join("mcp.json"), file.to_string()).unwrap();
}

fn call(name: &str, args: Value) -> String {
    format!("{}\n{}", json!({"calls": [{"name": name, "arguments": args}]}), json!({"text": "done"}))
}

/// What the model was told of its first call.
fn told(world: &World, done: &support::Done) -> String {
    let events = done.events();
    let session = events.last().unwrap()["session"].as_str().unwrap().to_owned();
    let shown = world.sterna(&["sessions", "show", &session, "--json"]);
    let ended = events.iter().find(|event| event["type"] == "tool.ended");
    format!("{}\n{}", ended.map(Value::to_string).unwrap_or_default(), shown.out)
}

#[test]
fn a_server_is_added_tested_shown_and_removed() {
    let world = World::new("");
    let done = world.sterna(&["mcp", "list"]);
    assert_eq!((done.code, done.out.as_str()), (0, ""));
    let script = server_script();
    let added = world.sterna(&["mcp", "add", "t", "--env", "A=b", "--", "python3", &script]);
    assert!(added.code == 0 && added.err.starts_with("added to "), "{}", added.err);
    let again = world.sterna(&["mcp", "add", "t", "--env", "A=b", "--", "python3", &script]);
    assert!(again.code == 0 && again.err.starts_with("replaced in "), "{}", again.err);
    let file: Value =
        serde_json::from_str(&std::fs::read_to_string(world.home().join("mcp.json")).unwrap()).unwrap();
    assert_eq!(
        file,
        json!({"mcpServers": {"t": {"command": "python3", "args": [script], "env": {"A": "b"}}}})
    );
    let row = |world: &World| -> Value {
        serde_json::from_str(world.sterna(&["mcp", "list", "--json"]).out.trim()).unwrap()
    };
    assert_eq!((&row(&world)["state"], &row(&world)["tools"]), (&json!("never started"), &Value::Null));
    let tested = world.sterna(&["mcp", "test"]);
    assert_eq!(tested.code, 0, "{}", tested.err);
    assert!(tested.out.starts_with("t: connected (2025-11-25), 17 tools"), "{}", tested.out);
    assert_eq!((&row(&world)["state"], &row(&world)["tools"]), (&json!("ready"), &json!(17)));
    let shown = world.sterna(&["mcp", "show", "t"]);
    assert!(shown.out.contains("mcp__t__echo  Says it back (first)."), "{}", shown.out);
    let doctor: Value = serde_json::from_str(&world.sterna(&["doctor", "--json"]).out).unwrap();
    assert_eq!(doctor["mcp"]["servers"][0]["state"], "ready");
    let prompt = world.sterna(&["mcp", "prompt", "t", "greet", "who=Ann"]);
    assert_eq!(prompt.out, "user: Greet Ann.\n");
    assert_eq!(world.sterna(&["mcp", "remove", "t"]).code, 0);
    assert_eq!(world.sterna(&["mcp", "remove", "t"]).code, 2);
    assert_eq!(world.sterna(&["mcp", "test", "t"]).code, 2);
    assert_eq!(world.sterna(&["mcp", "add", "a b", "--", "x"]).code, 2);
    assert_eq!(world.sterna(&["mcp", "add", "x", "--url", "ftp://x"]).code, 2);
}

#[test]
fn a_tool_is_called_when_somebody_allows_it() {
    let world = world(&call("mcp__t__echo", json!({"text": "hello there"})), &[]);
    let denied = world.run(&["x"]);
    assert_eq!(denied.code, 0, "{}", denied.err);
    assert_eq!(denied.result()["denials"][0]["tool"], "mcp__t__echo");
    let allowed = world.run(&["--allow", "mcp__t__*", "x"]);
    assert!(told(&world, &allowed).contains("hello there"), "{}", allowed.out);
    // A rule about paths holds for whoever touches them.
    world.script(&call("mcp__t__put", json!({"path": ".env", "text": "x"})));
    let refused = world.run(&["--allow", "mcp__t__*", "--deny", "Write(.env)", "x"]);
    assert_eq!(refused.result()["denials"][0]["tool"], "mcp__t__put");
    assert!(!world.work().join(".env").exists());
    // Arguments are checked before anything is sent.
    world.script(&call("mcp__t__put", json!({"path": "x"})));
    let invalid = world.run(&["--allow", "mcp__t__*", "x"]);
    assert!(told(&world, &invalid).contains("invalid_arguments"), "{}", invalid.out);
}

#[test]
fn in_plan_mode_no_rule_lets_a_server_write() {
    let world = world(&call("mcp__t__put", json!({"path": "made", "text": "x"})), &[]);
    let refused = world.run(&["--mode", "plan", "--allow", "mcp__t__*", "x"]);
    let denials = refused.result()["denials"].clone();
    assert!(denials[0]["reason"].as_str().unwrap().contains("plan mode"), "{denials}");
    assert!(!world.work().join("made").exists());
}

#[test]
fn a_shadowed_name_leaves_the_built_in_tool_alone() {
    let world = world(&call("shell", json!({"command": "echo mine"})), &["--shadow"]);
    let done = world.run(&["x"]);
    assert!(told(&world, &done).contains("mine"), "{}", done.out);
    world.script(&call("mcp__t__shell", json!({"x": "y"})));
    let done = world.run(&["--allow", "mcp__t__*", "x"]);
    assert!(told(&world, &done).contains("shell was called"), "{}", done.out);
}

#[test]
fn a_redefined_tool_asks_again() {
    let world = world(&call("mcp__t__echo", json!({"text": "x"})), &[]);
    let allowed = ["--allow", "mcp__t__*", "x"];
    assert_eq!(world.run(&allowed).result()["denials"], json!([]));
    world.script(&format!(
        "{}\n{}\n{}",
        json!({"calls": [{"name": "mcp__t__change", "arguments": {"word": "second"}}]}),
        json!({"delay_ms": 1500, "calls": [{"name": "mcp__t__echo", "arguments": {"text": "x"}}]}),
        json!({"text": "done"}),
    ));
    let done = world.run(&allowed);
    let denial = &done.result()["denials"][0];
    assert_eq!(denial["tool"], "mcp__t__echo", "{}", done.out);
    let listed = world.sterna(&["mcp", "list", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(listed.out.trim()).unwrap()["changed"], json!(["echo"]));
}

#[test]
fn a_tool_that_comes_while_a_session_runs_is_found_and_the_prompt_stays() {
    let later = |name: &str, arguments: Value| json!({"name": name, "arguments": arguments});
    let lines = [
        json!({"calls": [later("call_tool", json!({"name": "mcp__t__change", "arguments": {"adds": "fresh"}}))]}),
        // The server's word of it comes beside the answer.
        json!({"delay_ms": 1500, "text": "changed"}),
        json!({"calls": [later("tool_search", json!({"query": "select:mcp__t__fresh"}))]}),
        json!({"calls": [later("call_tool", json!({"name": "mcp__t__fresh", "arguments": {"how": "well"}}))]}),
        json!({"text": "done"}),
    ];
    let world = world(&lines.map(|line| line.to_string()).join("\n"), &[]);
    world.config("tool_budget = 0\n");
    // The first start is over.
    assert_eq!(world.sterna(&["mcp", "test"]).code, 0);
    let chat = ["chat", "-m", "scripted:s.jsonl", "--session", "c", "--allow", "mcp__t__*"];
    let done = world.with_stdin(&chat, b"change it\nuse it\n");
    assert_eq!(done.code, 0, "{done:?}");
    let shown = world.sterna(&["sessions", "show", "c", "--json"]).out;
    assert!(shown.contains("fresh was called") && shown.contains("Came later."), "{shown}");
    let report = |args: &[&str]| -> Value {
        let done = world.sterna(&[&["context", "c", "--json"], args].concat());
        serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:?}"))
    };
    // Before and after: the same prompt, and the tail says what is new.
    let diff = report(&["--diff", "1.1", "2.1"]);
    assert_eq!(diff["broken_by"], Value::Null, "{diff}");
    let owners = report(&["--at", "2.1"])["rows"].to_string();
    assert!(owners.contains("tools that are new"), "{owners}");
    assert_eq!(world.sterna(&["replay", "c"]).code, 0);
}

#[test]
fn a_killed_run_leaves_no_server_and_its_call_in_doubt() {
    let world = world(&call("mcp__t__hang", json!({})), &["--starts", "starts"]);
    let args = ["run", "-m", "scripted:s.jsonl", "--json", "--session", "k", "--allow", "mcp__t__*", "x"];
    let mut run = world.start(&args);
    run.until("tool.started");
    let starts = || std::fs::read_to_string(world.work().join("starts")).unwrap_or_default();
    // By where they work: in a sandbox they have other numbers.
    let alive = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok())
            .any(|cwd| cwd == world.work())
    };
    // The first start asked what there is, in the same process that calls.
    while starts().is_empty() {
        std::thread::yield_now();
    }
    assert!(alive());
    run.signal(Signal::KILL);
    drop(run.end());
    let begun = std::time::Instant::now();
    while alive() {
        assert!(begun.elapsed().as_secs() < 30, "an orphan: {}", starts());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // It is not sent again: the model is told.
    world.script(&call("mcp__t__hang", json!({})));
    let resumed = world.sterna(&["resume", "k", "--json", "-m", "scripted:s.jsonl"]);
    assert_eq!(resumed.code, 0, "{}", resumed.err);
    assert!(told(&world, &resumed).contains("outcome_unknown"), "{}", resumed.out);
    assert_eq!(starts().lines().count(), 1);
}

#[test]
fn a_question_of_a_server_is_asked_and_answered() {
    let world = world(&call("mcp__t__page", json!({})), &["--modern"]);
    let parked = world.run(&["--allow", "mcp__t__*", "--on-ask", "park", "--session", "q", "x"]);
    assert_eq!(parked.code, 8, "{}", parked.err);
    let asked = parked.events().into_iter().find(|event| event["type"] == "question.asked").unwrap();
    assert!(asked.to_string().contains("page.invalid"), "{asked}");
    // From another process, long after: the newer protocol takes the answer.
    let answered = world.sterna(&["answer", "q", "Done", "--json"]);
    assert_eq!(answered.code, 0, "{}", answered.err);
    assert!(told(&world, &answered).contains(r#"\"action\": \"accept\""#), "{}", answered.out);
}

/// Hooks of files hear a server's question before the person, and how it was answered; and that the server is up.
#[test]
fn hooks_hear_of_servers_and_their_questions() {
    for (command, code) in [("cat >> ../home/asked.json", 8), ("echo not to them >&2; exit 2", 0)] {
        let world = world(&call("mcp__t__page", json!({})), &["--modern"]);
        let hook = |command: &str| {
            let command = command.replace("../home", &world.home().display().to_string());
            json!([{"matcher": "t", "hooks": [{"type": "command", "command": command, "timeout": 5}]}])
        };
        let hooks = json!({"hooks": {
            "Elicitation": hook(command),
            "ElicitationResult": hook("cat >> ../home/answered.json"),
            "McpState": hook("cat >> ../home/state.json"),
        }});
        std::fs::write(world.home().join("hooks.json"), hooks.to_string()).unwrap();
        let args = ["--allow", "mcp__t__*", "--on-ask", "park", "--sandbox", "none", "--session", "q", "x"];
        let parked = world.run(&args);
        assert_eq!(parked.code, code, "{parked:?}");
        if code == 8 {
            let answered = world.sterna(&["answer", "q", "Done", "--json"]);
            assert_eq!(answered.code, 0, "{}", answered.err);
        }
        let told = |name: &str| -> Option<Value> {
            let text = std::fs::read_to_string(world.home().join(name)).ok()?;
            let mut all = serde_json::Deserializer::from_str(&text).into_iter();
            all.next().map(Result::unwrap)
        };
        let answered = told("answered.json").unwrap();
        let state = told("state.json").unwrap();
        assert_eq!((&state["mcp_server_name"], &state["state"]), (&json!("t"), &json!("connected")));
        if code == 8 {
            let asked = told("asked.json").unwrap();
            assert!(asked["message"].as_str().unwrap().contains("page.invalid"), "{asked}");
            assert_eq!((&asked["mcp_server_name"], &answered["action"]), (&json!("t"), &json!("accept")));
        } else {
            assert_eq!(answered["action"], "decline");
            let events = parked.events();
            let ended = events.iter().find(|event| event["type"] == "tool.ended").unwrap();
            assert!(ended["output"].as_str().unwrap().contains("not to them"), "{ended}");
        }
    }
}

#[test]
fn servers_that_cannot_be_used_stop_nothing() {
    let world = World::new("{\"text\":\"hi\"}");
    configure(
        &world,
        &json!({"mcpServers": {"gone": {"command": "no-such-program"}, "odd": {"url": "ftp://x"}}}),
    );
    std::fs::write(
        world.work().join(".mcp.json"),
        json!({"mcpServers": {"theirs": {"command": "touch", "args": ["pwned"]}}}).to_string(),
    )
    .unwrap();
    let done = world.run(&["x"]);
    assert_eq!((done.code, done.result()["message"].as_str()), (0, Some("hi")), "{}", done.err);
    for said in ["no-such-program", "odd", "is not used"] {
        assert!(done.err.contains(said), "{said}: {}", done.err);
    }
    assert!(!world.work().join("pwned").exists());
    // What failed a moment ago is not waited for again.
    assert!(world.run(&["x"]).err.contains("could not be started a moment ago"));
    let listed = world.sterna(&["mcp", "list"]);
    assert!(listed.out.contains("untrusted"), "{}", listed.out);
    assert_eq!(world.sterna(&["mcp", "test", "theirs"]).code, 2);
    assert!(!world.work().join("pwned").exists());
    // Once somebody trusts the folder, its servers are as good as any.
    assert_eq!(world.sterna(&["trust"]).code, 0);
    assert_eq!(world.sterna(&["mcp", "test", "theirs"]).code, 1);
    assert!(world.work().join("pwned").exists());
}

#[test]
fn servers_run_in_the_sandbox_unless_their_person_says_otherwise() {
    let world = World::new("");
    let outside = tempfile::tempdir().unwrap();
    let mark = outside.path().join("mark");
    // A server that leaves something outside of the workspace, or says that it could not.
    let script = server_script();
    let line = format!("echo x >'{}'; exec python3 '{script}'", mark.display());
    let server = |more: Value| {
        let mut entry = json!({"command": "bash", "args": ["-c", line]});
        entry.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        json!({"mcpServers": {"t": entry}})
    };
    let leaves = |tested: &support::Done| {
        assert_eq!(tested.code, 0, "{tested:?}");
        std::fs::remove_file(&mark).is_ok()
    };
    let excused = std::env::var("STERNA_NO_SANDBOX_TESTS").unwrap_or_default();
    for level in ["bubblewrap", "landlock"] {
        world.config(&format!("sandbox = \"{level}\""));
        configure(&world, &server(json!({})));
        let held = world.sterna(&["mcp", "test"]);
        if held.code != 0 && excused.split([',', ' ']).any(|name| name == level) {
            continue;
        }
        assert!(!leaves(&held), "{level}");
        if level == "bubblewrap" && outside.path().starts_with("/tmp") {
            // It is there, and its sandbox has another `/tmp`.
            let program = outside.path().join("program");
            std::fs::write(&program, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            configure(&world, &json!({"mcpServers": {"t": {"command": program}}}));
            let unseen = world.sterna(&["mcp", "test"]);
            assert!(unseen.code == 1 && unseen.out.contains("not to be seen in its sandbox"), "{unseen:?}");
        }
        // A level that is a must is one for all.
        configure(&world, &server(json!({"sandbox": false})));
        let refused = world.sterna(&["mcp", "test"]);
        let why = format!("it is to run without a sandbox, and sandbox = \"{level}\"");
        assert!(refused.code == 1 && refused.out.contains(&why), "{refused:?}");
        assert!(!mark.exists());
    }
    world.config("sandbox = \"auto\"");
    assert!(leaves(&world.sterna(&["mcp", "test"])), "it was to run without a sandbox");
    world.config("sandbox = \"none\"");
    configure(&world, &server(json!({})));
    assert!(leaves(&world.sterna(&["mcp", "test"])), "no sandbox was wished");

    // A folder's file cannot say so, trusted or not.
    configure(&world, &json!({}));
    std::fs::write(world.work().join(".mcp.json"), server(json!({"sandbox": false})).to_string()).unwrap();
    assert_eq!(world.sterna(&["trust"]).code, 0);
    world.config("sandbox = \"auto\"");
    let doctor = world.sterna(&["doctor"]);
    if !doctor.out.contains("landlock") && !doctor.out.contains("bubblewrap") {
        return;
    }
    let listed = world.sterna(&["mcp", "list"]);
    assert!(listed.err.contains("counts only in your own file"), "{listed:?}");
    assert!(!leaves(&world.sterna(&["mcp", "test"])), "a folder's server left the sandbox");
}

/// A hook may be a tool of a server: it is given what the hook says, and answers as a command does.
#[test]
fn a_hook_calls_a_tool_and_hears_its_answer() {
    let hook = |input: Value| json!({"type": "mcp_tool", "server": "t", "tool": "echo", "input": input, "timeout": 20});
    for (hook, status, why) in [
        (
            hook(json!({"text": "{\"decision\": \"block\", \"reason\": \"not ${tool_input.path}\"}"})),
            "denied",
            "not made",
        ),
        (hook(json!({"text": "{}"})), "ok", ""),
        (hook(json!({"text": "well"})), "denied", "no JSON object"),
        // The server gives no answer to this.
        (
            json!({"type": "mcp_tool", "server": "t", "tool": "echo", "input": {"words": "x"}, "timeout": 2}),
            "denied",
            "must answer failed",
        ),
        (json!({"type": "mcp_tool", "server": "t", "tool": "nope"}), "denied", "no tool `nope`"),
        (json!({"type": "mcp_tool", "server": "u", "tool": "echo"}), "denied", "no MCP server `u`"),
    ] {
        let world = world(&call("write", json!({"path": "made", "content": "x"})), &[]);
        let file = json!({"hooks": {"PreToolUse": [{"matcher": "write", "hooks": [hook]}]}});
        std::fs::write(world.home().join("hooks.json"), file.to_string()).unwrap();
        let done = world.run(&["x"]);
        let events = done.events();
        let ended =
            events.iter().find(|event| event["type"] == "tool.ended").unwrap_or_else(|| panic!("{done:?}"));
        assert_eq!(ended["status"], status, "{hook} {ended}");
        assert!(ended["output"].as_str().unwrap().contains(why), "{hook} {ended}");
        assert_eq!(world.work().join("made").exists(), status == "ok", "{hook}");
    }
}

/// A project's file is trusted to start a server, and not to carry a key away: it is given what commands see, and what the
/// person's own file names.
#[test]
fn a_trusted_projects_server_is_given_no_key() {
    let world = World::new("");
    let server = json!({"command": "python3", "args": [server_script()], "env": {"K": "${API_TOKEN}", "H": "${HOME}"}});
    std::fs::write(world.work().join(".mcp.json"), json!({"mcpServers": {"p": server}}).to_string()).unwrap();
    assert_eq!(world.sterna(&["trust"]).code, 0);
    let list = |world: &World| {
        let mut command = world.command(&["mcp", "list", "--json"]);
        support::Done::of(command.env("API_TOKEN", "abc-of-mine").spawn().unwrap())
    };
    let kept = list(&world);
    assert!(kept.err.contains("`API_TOKEN` is not given") && kept.err.contains("`mcp_env`"), "{kept:?}");
    assert!(!kept.out.contains("\"p\"") && !kept.out.contains("abc-of-mine"), "{kept:?}");
    world.config("mcp_env = [\"API_TOKEN\"]");
    let given = list(&world);
    assert!(given.out.contains("\"p\"") && given.err.is_empty(), "{given:?}");
}
