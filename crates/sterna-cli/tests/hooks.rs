//! Hooks on the real command line: files, exit codes, JSON, rewrites, and what the sessions hold of them.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Done, World};

const CALL: &str = r#"{"calls":[{"name":"write","arguments":{"path":"made","content":"x\n"}}]}
{"text":"done"}"#;

fn world(hooks: &Value) -> World {
    let world = World::new(CALL);
    std::fs::write(world.home().join("hooks.json"), hooks.to_string()).unwrap();
    world
}

fn hook(event: &str, command: &str) -> Value {
    let hook = json!({"type": "command", "command": command, "timeout": 5});
    json!({"hooks": {event: [{"matcher": "write", "hooks": [hook]}]}})
}

fn go(world: &World) -> Done {
    world.run(&["--sandbox", "none", "--session", "h", "go"])
}

fn made(world: &World) -> Option<String> {
    std::fs::read_to_string(world.work().join("made")).ok()
}

#[test]
fn a_command_hook_answers_by_exit_code_and_output() {
    let rewrite =
        r#"echo '{"hookSpecificOutput": {"updatedInput": {"path": "made", "content": "hooked\n"}}}'"#;
    let (ok, denied) = (Some("ok"), Some("denied"));
    for (command, status, content, code) in [
        ("true", ok, Some("x\n"), 0),
        ("cat > /dev/null; echo not here >&2; exit 2", denied, None, 0),
        ("echo enough >&2; exit 49", Some("cancelled"), None, 1),
        ("exit 1", denied, None, 0),
        ("kill -9 $$", denied, None, 0),
        ("echo nonsense", denied, None, 0),
        (rewrite, ok, Some("hooked\n"), 0),
    ] {
        let world = world(&hook("PreToolUse", command));
        let done = go(&world);
        let events = done.events();
        let ended = events.iter().find(|event| event["type"] == "tool.ended");
        assert_eq!(ended.and_then(|ended| ended["status"].as_str()), status, "{command}: {}", done.err);
        assert_eq!(made(&world).as_deref(), content, "{command}");
        assert_eq!(done.code, code, "{command}");
        assert!(events.iter().any(|event| event["type"] == "hook.ran"), "{command}");
        assert_eq!(world.sterna(&["replay", "h"]).code, 0, "{command}");
    }
}

#[test]
fn a_hook_is_given_the_event_and_no_key() {
    let command = "cat > input.json; env > env.txt";
    let world = world(&hook("PreToolUse", command));
    let mut run =
        world.command(&["run", "-m", "scripted:s.jsonl", "--sandbox", "none", "--session", "h", "go"]);
    run.env("OPENAI_API_KEY", "sk-secret");
    let done = Done::of(run.spawn().unwrap());
    assert_eq!(done.code, 0, "{}", done.err);
    let read = |name: &str| std::fs::read_to_string(world.work().join(name)).unwrap();
    let input: Value = serde_json::from_str(&read("input.json")).unwrap();
    assert_eq!((&input["hook_event_name"], &input["tool_name"]), (&json!("PreToolUse"), &json!("write")));
    assert_eq!(input["tool_input"], json!({"path": "made", "content": "x\n"}));
    assert_eq!(input["effect_key"], "h/1/1/hook/PreToolUse/0.0");
    let env = read("env.txt");
    assert!(env.contains("STERNA_HOOK_EVENT=PreToolUse") && !env.contains("sk-secret"), "{env}");
}

#[test]
fn the_configuration_file_holds_hooks_too_and_imports_others() {
    let world = World::new(CALL);
    let imported = json!({
        "permissions": {},
        "hooks": {"PreToolUse": [{"matcher": "Write", "hooks": [{
            "type": "command",
            "command": "cat > input.json; exit 1",
        }]}]},
    });
    std::fs::write(world.home().join("settings.json"), imported.to_string()).unwrap();
    let toml = "[hooks]\nimport = [\"settings.json\"]\n[[hooks.Stop]]\nhooks = [{ type = \"command\", command = \"touch stopped\" }]\n";
    world.config(toml);
    let done = go(&world);
    // A failing hook of another agent forbids nothing: that is what it means there.
    assert_eq!((done.code, made(&world).as_deref()), (0, Some("x\n")), "{}", done.err);
    assert!(world.work().join("stopped").exists());
    let input: Value =
        serde_json::from_str(&std::fs::read_to_string(world.work().join("input.json")).unwrap()).unwrap();
    assert_eq!((&input["tool_name"], &input["tool_input"]["file_path"]), (&json!("Write"), &json!("made")));
    let shown = world.sterna(&["config", "show", "--json"]).out;
    assert!(
        shown.contains("settings.json:PreToolUse.1.1") && shown.contains("config.toml:Stop.1.1"),
        "{shown}"
    );
}

#[test]
fn a_hooks_file_that_cannot_be_understood_stops_everything() {
    for (text, message) in [
        ("{", "hooks.json: "),
        (r#"{"hooks": {"PreTool": []}}"#, "there is no event `PreTool`"),
        (r#"{"hooks": {"preToolUze": []}}"#, "there is no event `preToolUze`, did you mean `PreToolUse`?"),
        (r#"{"hooks": {"Stop": [{"hooks": [{"type": "http", "url": "x"}]}]}}"#, "no address"),
        (r#"{"hooks": {"Stop": [{"hooks": [{"type": "agent", "prompt": "x"}]}]}}"#, "not built yet"),
        (
            r#"{"hooks": {"Stop": [{"hooks": [{"type": "comand", "command": "x"}]}]}}"#,
            "there is no type `comand`",
        ),
    ] {
        let world = World::new(CALL);
        std::fs::write(world.home().join("hooks.json"), text).unwrap();
        let done = go(&world);
        assert!(done.code == 2 && done.err.contains(message), "{text}: {}", done.err);
        assert!(message.contains("no event") || !done.err.contains("did you mean"), "{text}: {}", done.err);
        assert_eq!(made(&world), None);
    }
}

#[test]
fn hooks_of_a_project_that_nobody_trusts_are_data() {
    let world = World::new(CALL);
    std::fs::create_dir(world.work().join(".sterna")).unwrap();
    std::fs::write(world.work().join(".sterna/hooks.json"), hook("PreToolUse", "touch evil").to_string())
        .unwrap();
    let done = go(&world);
    assert_eq!((done.code, made(&world).as_deref()), (0, Some("x\n")), "{}", done.err);
    assert!(!world.work().join("evil").exists());
    assert!(done.err.contains("nobody has trusted them yet"), "{}", done.err);
}

#[test]
fn checkpoints_and_closed_sessions_reach_their_hooks() {
    let command = |name: &str| json!([{"hooks": [{"type": "command", "command": format!("touch {name}")}]}]);
    let hooks = [("Checkpoint", "kept"), ("PostToolUse", "post"), ("SessionEnd", "ended")];
    let hooks: serde_json::Map<String, Value> =
        hooks.into_iter().map(|(event, name)| (event.to_owned(), command(name))).collect();
    let world = world(&json!({ "hooks": hooks }));
    assert_eq!(go(&world).code, 0);
    let touched = |name: &str| world.work().join(name).exists();
    assert!(touched("kept") && touched("post") && !touched("ended"));
    assert_eq!(world.sterna(&["sessions", "close", "h"]).code, 0);
    assert!(touched("ended"));
}

/// Where confinement is demanded, a hook that is to run without does not, and what it guards does not either.
#[test]
fn a_demanded_sandbox_is_not_passed_by_in_a_hook() {
    let mut free = hook("PreToolUse", "touch hooked");
    free["hooks"]["PreToolUse"][0]["hooks"][0]["sandbox"] = json!(false);
    let world = world(&free);
    let done = world.run(&["--require-sandbox", "--session", "h", "go"]);
    // 7: there is no level here at all.
    assert!(done.code == 0 || done.code == 7, "{}", done.err);
    assert_eq!(made(&world), None);
    assert!(!world.work().join("hooked").exists());
    // Where none is demanded it is as the person's own file says.
    let done = world.run(&["--session", "i", "go"]);
    assert_eq!((done.code, made(&world).is_some()), (0, true), "{}", done.err);
    assert!(world.work().join("hooked").exists());
}

#[test]
fn a_project_s_hook_cannot_leave_the_sandbox() {
    let world = World::new(CALL);
    std::fs::create_dir(world.work().join(".sterna")).unwrap();
    let mut free = hook("PreToolUse", "touch hooked");
    free["hooks"]["PreToolUse"][0]["hooks"][0]["sandbox"] = json!(false);
    std::fs::write(world.work().join(".sterna/hooks.json"), free.to_string()).unwrap();
    let done = world.run(&["--trust", "--session", "h", "go"]);
    assert!(done.code == 2 && done.err.contains("cannot leave the sandbox"), "{done:?}");
    let toml =
        "[[hooks.PreToolUse]]\nhooks = [{ type = \"command\", command = \"true\", sandbox = false }]\n";
    std::fs::write(world.work().join(".sterna/hooks.json"), "{\"hooks\": {}}").unwrap();
    std::fs::write(world.work().join(".sterna/config.toml"), toml).unwrap();
    let done = world.run(&["--trust", "--session", "h", "go"]);
    assert!(done.code == 2 && done.err.contains("cannot leave the sandbox"), "{done:?}");
    assert_eq!(made(&world), None);
}

/// A server that answers each POST with the next of these, and keeps the bodies.
fn posts(answers: &'static [&'static str]) -> (u16, std::sync::Arc<std::sync::Mutex<Vec<Value>>>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bodies: std::sync::Arc<std::sync::Mutex<Vec<Value>>> = Default::default();
    let kept = bodies.clone();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut all, mut chunk) = (Vec::new(), [0; 8192]);
            let body = loop {
                let n = stream.read(&mut chunk).unwrap();
                all.extend_from_slice(&chunk[..n]);
                let text = String::from_utf8_lossy(&all).into_owned();
                let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
                if let Some(body) = body {
                    break body;
                }
                assert!(n > 0, "{text}");
            };
            kept.lock().unwrap().push(body);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (port, bodies)
}

/// A hook of type `http` is given the same JSON and answers with the same; whatever is no answer is a failure, which blocks.
#[test]
fn an_http_hook_is_posted_to_and_answers() {
    let deny =
        "HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n{\"decision\": \"block\", \"reason\": \"not so\"} ";
    for (answers, status, why) in [
        (&["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"][..], "ok", ""),
        (&[deny][..], "denied", "denied: not so"),
        (&["HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"][..], "denied", "answered 500"),
        (&["HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n"][..], "denied", "answered 302"),
        (&["HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes"][..], "denied", "no JSON object"),
    ] {
        let (port, bodies) = posts(Box::leak(answers.to_vec().into_boxed_slice()));
        let hook = json!({"type": "http", "url": format!("http://127.0.0.1:{port}/h"), "timeout": 5});
        let world = world(&json!({"hooks": {"PreToolUse": [{"matcher": "write", "hooks": [hook]}]}}));
        let config = format!("[web_fetch]\nallow_private = [\"127.0.0.1:{port}\"]\n");
        std::fs::write(world.home().join("config.toml"), config).unwrap();
        let done = go(&world);
        let events = done.events();
        let ended = events.iter().find(|event| event["type"] == "tool.ended").unwrap();
        assert_eq!(ended["status"], status, "{ended} {}", done.err);
        assert!(ended["output"].as_str().unwrap().contains(why), "{ended}");
        let sent = bodies.lock().unwrap()[0].clone();
        assert_eq!((&sent["hook_event_name"], &sent["tool_name"]), (&json!("PreToolUse"), &json!("write")));
        assert_eq!(sent["tool_input"], json!({"path": "made", "content": "x\n"}));
    }
}

/// SC-88: an address of this machine or of its network is not posted to, unless it is allowed by name.
#[test]
fn an_http_hook_is_guarded_as_a_fetch_is() {
    for url in ["http://127.0.0.1:9/h", "http://2130706433/h", "http://169.254.169.254/h", "http://[::1]:9/h"]
    {
        let hook = json!({"type": "http", "url": url, "timeout": 5});
        let world = world(&json!({"hooks": {"PreToolUse": [{"matcher": "write", "hooks": [hook]}]}}));
        let done = go(&world);
        let events = done.events();
        let ended = events.iter().find(|event| event["type"] == "tool.ended").unwrap();
        let output = ended["output"].as_str().unwrap();
        assert!(ended["status"] == "denied" && output.contains("nothing was sent"), "{url}: {ended}");
        assert_eq!(made(&world), None, "{url}");
    }
}

/// What happens round a turn reaches the hooks of files, as it really happens: the folder, the instructions, the todo list,
/// and a file that somebody else changes.
#[test]
fn what_happens_round_a_turn_reaches_hooks_of_files() {
    let calls = |calls: Value| format!("{}\n", json!({ "calls": calls }));
    let todo = |args: Value| json!({"name": "todo", "arguments": args});
    let script = calls(json!([
        {"name": "read", "arguments": {"path": "a.txt"}},
        todo(json!({"op": "create", "subject": "read it"})),
    ])) + &calls(json!([todo(json!({"op": "update", "id": "t1", "status": "completed"}))]))
        + &calls(json!([{"name": "read", "arguments": {"path": "a.txt"}}]))
        + "{\"text\":\"done\"}";
    let world = World::new(&(script + "\n{\"text\":\"again\"}"));
    let events = ["Setup", "InstructionsLoaded", "TaskCreated", "TaskCompleted", "FileChanged", "CwdChanged"];
    let note = |event: &str| {
        let command = format!("cat >> {}/{event}.json", world.home().display());
        json!([{"hooks": [{"type": "command", "command": command, "timeout": 5}]}])
    };
    let mut hooks: serde_json::Map<String, Value> =
        events.iter().map(|event| ((*event).to_owned(), note(event))).collect();
    // Somebody changes the file as soon as it was read.
    let change =
        json!({"type": "command", "command": "test -e once || echo two > a.txt; touch once", "timeout": 5});
    hooks.insert("PostToolUse".into(), json!([{"matcher": "read", "hooks": [change]}]));
    std::fs::write(world.home().join("hooks.json"), json!({ "hooks": hooks }).to_string()).unwrap();
    std::fs::write(world.work().join("a.txt"), "one\n").unwrap();
    std::fs::write(world.work().join("AGENTS.md"), "be kind\n").unwrap();
    let done = go(&world);
    assert_eq!(done.code, 0, "{done:?}");
    let sub = world.work().join("sub");
    std::fs::create_dir(&sub).unwrap();
    let script = world.work().join("s.jsonl");
    let model = format!("scripted:{}", script.display());
    let args = ["run", "-m", &model, "--sandbox", "none", "--session", "h", "more"];
    let done = Done::of(world.command(&args).current_dir(&sub).spawn().unwrap());
    assert_eq!(done.code, 0, "{done:?}");
    let told = |event: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(world.home().join(format!("{event}.json")));
        let text = text.unwrap_or_else(|_| panic!("{event} did not fire: {}", done.err));
        serde_json::Deserializer::from_str(&text).into_iter().map(Result::unwrap).collect()
    };
    for (event, field, values) in [
        ("Setup", "trigger", json!(["init"])),
        ("TaskCreated", "task_subject", json!(["read it"])),
        ("TaskCompleted", "task_id", json!(["t1"])),
        ("FileChanged", "file_path", json!([world.work().join("a.txt")])),
        ("CwdChanged", "new_cwd", json!([sub])),
    ] {
        let given: Vec<Value> = told(event).into_iter().map(|input| input[field].clone()).collect();
        assert_eq!(json!(given), values, "{event}");
    }
    let loaded = told("InstructionsLoaded");
    assert_eq!(
        (loaded.len(), &loaded[0]["files"][0]["file_path"]),
        (1, &json!(world.work().join("AGENTS.md")))
    );
    assert_eq!(world.sterna(&["replay", "h"]).code, 0);
}

/// A hook may keep an item off the list, and the model is told why.
#[test]
fn a_hook_forbids_an_item_of_the_todo_list() {
    let world = World::new(
        "{\"calls\":[{\"name\":\"todo\",\"arguments\":{\"op\":\"create\",\"subject\":\"x\"}}]}\n{\"text\":\"done\"}",
    );
    let hook = json!({"type": "command", "command": "echo too vague >&2; exit 2", "timeout": 5});
    let hooks = json!({"hooks": {"TaskCreated": [{"hooks": [hook]}]}});
    std::fs::write(world.home().join("hooks.json"), hooks.to_string()).unwrap();
    let events = go(&world).events();
    let ended = events.iter().find(|event| event["type"] == "tool.ended").unwrap();
    assert!(
        ended["status"] == "denied" && ended["output"].as_str().unwrap().contains("too vague"),
        "{ended}"
    );
}
