//! Commands run confined or not at all: on each level, without one, and where one is required.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use serde_json::{Value, json};
use sterna_log::{SharedLog, read_history};
use sterna_model::{Body, Intended, SessionId};
use sterna_sqlite::{Options, SqliteStore};
use support::{Done, World};

const LEVELS: [&str; 2] = ["bubblewrap", "landlock"];

/// A script of one call with this command, and one word after it.
fn script(world: &World, arguments: &Value) {
    let call = json!({"calls": [{"name": "shell", "arguments": arguments}]});
    world.script(&format!("{call}\n{}", json!({"text": "done"})));
}

fn run(world: &World, session: &str, more: &[&str]) -> Done {
    world.run(&[&["--session", session, "x"], more].concat())
}

/// What the call gave: its status and its output.
fn ended(done: &Done) -> (String, String) {
    let events = support::event_lines(&done.out);
    let end = events.iter().find(|event| event["type"] == "tool.ended");
    let end = end.unwrap_or_else(|| panic!("{done:?}"));
    (end["status"].as_str().unwrap().to_owned(), end["output"].as_str().unwrap().to_owned())
}

/// The levels that the intents of a session's calls name.
fn intents(world: &World, session: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&world.home().join("data"), Options::default()).unwrap();
        let log: SharedLog = Arc::new(store);
        let mut history = read_history(&*log, &SessionId::new(session).unwrap()).await.unwrap();
        let mut levels = Vec::new();
        loop {
            let page = history.next_page().await.unwrap();
            if page.is_empty() {
                return levels;
            }
            for (_, sealed) in page {
                if let Body::Intent(intent) = sealed.record.body
                    && let Intended::Tool(tool) = intent.what
                {
                    levels.push(tool.sandbox);
                }
            }
        }
    })
}

/// The levels that this machine is to be tested on. One that is not to be had must be excused by name.
fn levels(world: &World) -> Vec<&'static str> {
    let excused = std::env::var("STERNA_NO_SANDBOX_TESTS").unwrap_or_default();
    let works = |level: &&&str| {
        script(world, &json!({"command": "true"}));
        let done = run(world, &format!("probe-{level}"), &["--sandbox", level]);
        let excuse = excused.split([',', ' ']).any(|name| name == **level);
        assert!(done.code == 0 || excuse, "set STERNA_NO_SANDBOX_TESTS={level} to test without it: {done:?}");
        done.code == 0
    };
    LEVELS.iter().filter(works).copied().collect()
}

/// The machine offers nothing, as far as its report says.
fn no_level(world: &World) {
    let file = world.home().join("state/sandbox.json");
    if !file.exists() {
        // Makes the report.
        script(world, &json!({"command": "true"}));
        run(world, "report", &[]);
    }
    let mut report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for tried in report["levels"].as_array_mut().unwrap().iter_mut().filter(|tried| tried["level"] != "none")
    {
        tried["fault"] = json!("not today");
    }
    std::fs::write(&file, report.to_string()).unwrap();
}

#[test]
fn a_level_holds_and_the_intent_names_it() {
    let world = World::new("");
    let home = world.home().parent().unwrap().to_owned();
    std::fs::create_dir_all(home.join(".ssh")).unwrap();
    std::fs::write(home.join(".ssh/id"), "very secret").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let git = |words: &str| {
        let done =
            std::process::Command::new("git").current_dir(world.work()).args(words.split(' ')).output();
        assert!(done.unwrap().status.success(), "git {words}");
    };
    git("init -q .");
    // What only a program knows, policy does not see.
    let tries = format!(
        "import socket, sys\n\
         def attempt(name, do):\n\
         \x20   try:\n\
         \x20       do()\n\
         \x20       print(name, 'done')\n\
         \x20   except OSError as error:\n\
         \x20       print(name, 'failed')\n\
         attempt('inside', lambda: open('inside', 'w').write('x'))\n\
         attempt('outside', lambda: open('/usr/sterna-was-here', 'w'))\n\
         attempt('config', lambda: open('{config}', 'w'))\n\
         attempt('secret', lambda: print(open('{home}/.ssh/id').read()))\n\
         attempt('connect', lambda: socket.create_connection(('127.0.0.1', {port}), 3))\n\
         attempt('hook', lambda: open('.git/hooks/pre-commit', 'w'))\n\
         sys.exit(3)\n",
        config = world.home().join("config.toml").display(),
        home = home.display(),
    );
    std::fs::write(world.work().join("tries.py"), tries).unwrap();
    for level in levels(&world) {
        for background in [false, true] {
            let session = format!("{level}-{background}");
            let line = "python3 tries.py > said 2>&1; cat said; touch ready; exit 3";
            script(&world, &json!({"command": line, "background": background}));
            let done = run(&world, &session, &["--sandbox", level, "--wait-background"]);
            assert_eq!(done.code, 0, "{done:?}");
            let (status, output) = ended(&done);
            assert!(world.work().join("ready").exists(), "{status}: {output}");
            let said = std::fs::read_to_string(world.work().join("said")).unwrap();
            // Landlock has no read-only part of a folder that can be written: a gap that it names.
            let hook = if level == "landlock" { "hook done" } else { "hook failed" };
            let want =
                ["inside done", "outside failed", "config failed", "secret failed", "connect failed", hook];
            assert_eq!(said.lines().collect::<Vec<_>>(), want, "{level}");
            assert_eq!(intents(&world, &session), [level]);
            assert!(!world.home().join("config.toml").exists());
            assert!(!said.contains("very secret") && !output.contains("very secret"));
            for made in ["ready", "said", "inside", ".git/hooks/pre-commit"] {
                drop(std::fs::remove_file(world.work().join(made)));
            }
        }
    }
}

#[test]
fn what_the_sandbox_refused_is_told() {
    let world = World::new("");
    for level in levels(&world) {
        script(&world, &json!({"command": "python3 -c 'open(\"/usr/sterna-was-here\", \"w\")'"}));
        let (status, output) = ended(&run(&world, &format!("told-{level}"), &["--sandbox", level]));
        assert_eq!(status, "failed");
        assert!(output.contains("\nsandbox_denied (perhaps): "), "{output}");
        assert!(output.contains(&format!("under {level} ")), "{output}");
    }
}

#[test]
fn without_a_level_it_asks_and_the_intent_says_none() {
    let world = World::new("");
    no_level(&world);
    std::fs::write(world.work().join("Makefile"), "all:\n\ttouch made\n").unwrap();
    script(&world, &json!({"command": "make"}));
    let done = run(&world, "s", &["--on-ask", "park"]);
    assert_eq!(done.code, 8, "{done:?}");
    let events = support::event_lines(&done.out);
    let wait = events.iter().find(|event| event["type"] == "approval.requested").unwrap()["wait"].clone();
    assert!(!world.work().join("made").exists());
    let done = world.sterna(&["approve", wait.as_str().unwrap(), "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(world.work().join("made").exists());
    assert_eq!(intents(&world, "s"), ["none"]);
    // Where it is confined it passes, and nobody is asked.
    std::fs::remove_file(world.home().join("state/sandbox.json")).unwrap();
    std::fs::remove_file(world.work().join("made")).unwrap();
    if let Some(best) = levels(&world).first() {
        script(&world, &json!({"command": "make"}));
        assert_eq!(run(&world, "t", &[]).code, 0);
        assert!(world.work().join("made").exists());
        assert_eq!(intents(&world, "t"), [*best]);
    }
}

#[test]
fn where_one_is_required_nothing_runs_without() {
    let world = World::new("");
    no_level(&world);
    for background in [false, true] {
        let flags: [&[&str]; 4] = [
            &["--require-sandbox"],
            &["--sandbox", "required"],
            &["--sandbox", "landlock"],
            &["--sandbox", "bubblewrap", "--mode", "bypass"],
        ];
        for (at, flags) in flags.iter().enumerate() {
            script(&world, &json!({"command": "touch made", "background": background}));
            let done = run(&world, &format!("s{at}{background}"), flags);
            assert_eq!((done.code, done.out.as_str()), (7, ""), "{done:?}");
            assert!(done.err.starts_with("error: a sandbox is required: "), "{done:?}");
            assert!(done.err.contains("not today"), "{done:?}");
        }
    }
    world.config("sandbox = \"required\"");
    let done = run(&world, "c", &[]);
    assert_eq!(done.code, 7, "{done:?}");
    // The person's own flag takes it back.
    assert_eq!(run(&world, "c", &["--sandbox", "none"]).code, 0);
    assert!(!world.work().join("made").exists());
}

#[test]
fn a_level_that_is_gone_when_the_turn_goes_on_runs_nothing() {
    let world = World::new("");
    if levels(&world).is_empty() {
        return;
    }
    script(&world, &json!({"command": "touch made ~/asked"}));
    let done = run(&world, "s", &["--require-sandbox", "--on-ask", "park"]);
    assert_eq!(done.code, 8, "{done:?}");
    let events = support::event_lines(&done.out);
    let wait = events.iter().find(|event| event["type"] == "approval.requested").unwrap()["wait"].clone();
    no_level(&world);
    let done = world.sterna(&["approve", wait.as_str().unwrap(), "--json"]);
    let (status, output) = ended(&done);
    assert_eq!(status, "denied", "{output}");
    assert!(
        output.starts_with("sandbox_required: no sandbox is to be had here (bubblewrap: not today"),
        "{output}"
    );
    assert!(!world.work().join("made").exists());
    assert_eq!(intents(&world, "s"), Vec::<String>::new());
}

#[test]
fn a_session_has_its_own_tmp_until_it_is_deleted() {
    let world = World::new("");
    if levels(&world).is_empty() {
        return;
    }
    let tmp = world.home().join("state/tmp/s");
    // Written by one call, and read by the next turn's.
    script(
        &world,
        &json!({"command": "python3 -c 'import os; open(os.environ[\"TMPDIR\"] + \"/kept\", \"w\").write(\"k\")'"}),
    );
    assert_eq!(run(&world, "s", &[]).code, 0);
    assert_eq!(std::fs::read_to_string(tmp.join("kept")).unwrap(), "k");
    assert_eq!(world.sterna(&["sessions", "delete", "--yes", "s"]).code, 0);
    assert!(!tmp.exists());
    // A session that is not kept leaves nothing.
    let before = std::fs::read_dir(world.home().join("state")).unwrap().count();
    let done = world.run(&["--ephemeral", "x"]);
    assert_eq!(ended(&done).0, "ok", "{done:?}");
    assert_eq!(std::fs::read_dir(world.home().join("state")).unwrap().count(), before);
}

#[test]
fn what_a_person_or_a_rule_opens_is_open_inside_and_no_more() {
    let world = World::new("");
    let home = world.home().parent().unwrap().to_owned();
    for folder in ["notes", "other"] {
        std::fs::create_dir_all(home.join(folder)).unwrap();
    }
    for level in levels(&world) {
        let at = |name: &str| format!("{}/{name}", home.display());
        let tries = format!(
            "for f in ('{}', '{}'):\n\x20   try: open(f, 'w').write('x')\n\x20   except OSError: print(f, 'failed')\n",
            at("notes/a"),
            at("other/a")
        );
        std::fs::write(world.work().join("tries.py"), tries).unwrap();
        script(&world, &json!({"command": "python3 tries.py"}));
        let rule = format!("Write({})", at("notes/**"));
        let done = run(&world, &format!("rule-{level}"), &["--sandbox", level, "--allow", &rule]);
        assert_eq!(ended(&done), ("ok".into(), format!("{} failed\n", at("other/a"))), "{level}");
        assert!(home.join("notes/a").exists() && !home.join("other/a").exists());
        std::fs::remove_file(home.join("notes/a")).unwrap();
        // What is denied to read is not there for a program either.
        std::fs::write(home.join("notes/b"), "hidden words").unwrap();
        script(&world, &json!({"command": "python3 -c 'print(open(\"../notes/b\").read())'"}));
        let rule = format!("Read({})", at("notes/**"));
        let (status, output) =
            ended(&run(&world, &format!("deny-{level}"), &["--sandbox", level, "--deny", &rule]));
        assert_eq!(status, "failed", "{output}");
        assert!(output.contains("PermissionError") && !output.contains("hidden words"), "{output}");
        std::fs::remove_file(home.join("notes/b")).unwrap();
        // A line that was allowed writes what it names.
        script(&world, &json!({"command": "mkdir ~/other/new && touch ~/other/new/file"}));
        let done = run(&world, &format!("line-{level}"), &["--sandbox", level, "--mode", "bypass"]);
        assert_eq!(ended(&done).0, "ok", "{done:?}");
        assert!(home.join("other/new/file").exists());
        std::fs::remove_dir_all(home.join("other/new")).unwrap();
    }
}

#[test]
fn hooks_are_held_as_commands_are() {
    let world = World::new("");
    let home = world.home().parent().unwrap().to_owned();
    std::fs::create_dir_all(home.join(".ssh")).unwrap();
    std::fs::write(home.join(".ssh/id"), "very secret").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tries = format!(
        "import os, socket\n\
         said = open('said', 'w')\n\
         def attempt(name, do):\n\
         \x20   try:\n\
         \x20       do()\n\
         \x20       print(name, 'done', file=said)\n\
         \x20   except OSError as error:\n\
         \x20       print(name, 'failed', file=said)\n\
         attempt('tmp', lambda: open(os.environ['TMPDIR'] + '/x', 'w'))\n\
         attempt('outside', lambda: open('/usr/sterna-was-here', 'w'))\n\
         attempt('config', lambda: open('{config}', 'w'))\n\
         attempt('secret', lambda: print(open('{home}/.ssh/id').read()))\n\
         attempt('connect', lambda: socket.create_connection(('127.0.0.1', {port}), 3))\n",
        config = world.home().join("config.toml").display(),
        home = home.display(),
    );
    std::fs::write(world.work().join("tries.py"), tries).unwrap();
    let hooks =
        json!({"hooks": {"PreToolUse": [{"hooks": [{"type": "command", "command": "python3 tries.py"}]}]}});
    let levels = levels(&world);
    std::fs::write(world.home().join("hooks.json"), hooks.to_string()).unwrap();
    let said = world.work().join("said");
    for level in levels {
        script(&world, &json!({"command": "cat said"}));
        let (status, output) = ended(&run(&world, &format!("hook-{level}"), &["--sandbox", level]));
        let want = "tmp done\noutside failed\nconfig failed\nsecret failed\nconnect failed\n";
        assert_eq!((status.as_str(), output.as_str()), ("ok", want), "{level}");
        std::fs::remove_file(&said).unwrap();
    }
    // No level, and one is a must: neither the hook runs nor what it guards.
    no_level(&world);
    script(&world, &json!({"command": "cat said"}));
    assert_eq!(run(&world, "must", &["--require-sandbox"]).code, 7);
    assert!(!said.exists());
    // None is a must: it runs as it is.
    std::fs::write(world.work().join("tries.py"), "open('said', 'w').write('free')").unwrap();
    assert_eq!(run(&world, "free", &[]).code, 0);
    assert_eq!(std::fs::read_to_string(&said).unwrap(), "free");
}

/// What is asked for, whether it passes: a path and a host for a turn, something else, and the same in the next turn.
#[test]
fn what_a_person_permits_is_open_to_policy_and_inside_for_as_long_as_they_said() {
    let world = World::new("");
    let home = world.home().parent().unwrap().to_owned();
    let at = |name: &str| home.join(name).display().to_string();
    for folder in ["p", "q"] {
        std::fs::create_dir_all(home.join(folder)).unwrap();
    }
    let shell = |command: String| json!({"calls": [{"name": "shell", "arguments": {"command": command}}]});
    let write =
        |path: String| json!({"calls": [{"name": "write", "arguments": {"path": path, "content": "x"}}]});
    let program = format!(
        "for f in ('{}', '{}'):\n\x20   try: open(f, 'a').write('x')\n\x20   except OSError: print(f, 'failed')\n",
        at("p/program"),
        at("q/program")
    );
    std::fs::write(world.work().join("tries.py"), program).unwrap();
    for level in levels(&world) {
        let request = |scope: &str| {
            json!({"calls": [{"name": "request_permission", "arguments": {
                "reason": "the test writes there",
                "filesystem": [{"path": at("p"), "access": "write"}],
                "scope": scope,
            }}]})
        };
        for scope in ["turn", "session"] {
            let session = format!("{level}-{scope}");
            let done = json!({"text": "done"});
            let play = |steps: &[Value]| {
                let lines: Vec<String> = steps.iter().map(Value::to_string).collect();
                world.script(&lines.join("\n"));
            };
            let statuses = |done: &Done| -> Vec<String> {
                let events = support::event_lines(&done.out);
                let ends = events.iter().filter(|event| event["type"] == "tool.ended");
                ends.map(|end| end["status"].as_str().unwrap().to_owned()).collect()
            };
            let more = ["--sandbox", level];
            let uses = [
                write(at("p/file")),
                shell("echo x > ~/p/line".into()),
                shell("python3 tries.py".into()),
                write(at("q/file")),
            ];
            // A script goes on where the session is.
            let next = [done.clone(), write(at("p/file")), shell("python3 tries.py".into()), done];
            play(&[&[request(scope)], &uses[..], &next[..]].concat());
            let done = run(&world, &session, &[&more[..], &["--on-ask", "park"]].concat());
            assert_eq!(done.code, 8, "{done:?}");
            let events = support::event_lines(&done.out);
            let asked = events.iter().find(|event| event["type"] == "approval.requested").unwrap();
            assert!(
                asked.to_string().contains(&format!("read and write {} and all beneath", at("p"))),
                "{asked}"
            );
            assert!(asked.to_string().contains("the test writes there"), "{asked}");
            let done = world.sterna(&["approve", asked["wait"].as_str().unwrap(), "--json"]);
            // What was not asked for asks again: the turn is parked at it.
            assert_eq!(statuses(&done), ["ok"; 4], "{done:?}");
            assert_eq!(done.code, 8, "{done:?}");
            for made in ["p/file", "p/line", "p/program"] {
                std::fs::remove_file(home.join(made)).unwrap_or_else(|error| panic!("{made}: {error}"));
            }
            assert!(!home.join("q/program").exists() && !home.join("q/file").exists());
            let events = support::event_lines(&done.out);
            let asked = events.iter().rfind(|event| event["type"] == "approval.requested").unwrap();
            assert_eq!(world.sterna(&["deny", asked["wait"].as_str().unwrap(), "--json"]).code, 0);
            // The next turn.
            let done = run(&world, &session, &more);
            let (status, made) = if scope == "turn" { ("denied", false) } else { ("ok", true) };
            assert_eq!(statuses(&done), [status, "ok"], "{done:?}");
            for name in ["p/file", "p/program"] {
                assert_eq!(home.join(name).exists(), made, "{scope} {name}");
                drop(std::fs::remove_file(home.join(name)));
            }
        }
        // Rules that deny, the floor, and plan mode stand.
        for (mode, path, rule) in [
            ("execute", at("p"), format!("Write({})", at("p"))),
            ("bypass", at("p"), format!("Write({})", at("p"))),
            ("bypass", home.display().to_string(), "nothing".into()),
            ("bypass", world.home().join("config.toml").display().to_string(), "nothing".into()),
            ("plan", at("p"), "nothing".into()),
            ("never-ask", at("p"), "nothing".into()),
            ("execute", at("p"), "nothing".into()),
        ] {
            let arguments = json!({"reason": "x", "filesystem": [{"path": path, "access": "write"}]});
            let call = json!({"calls": [{"name": "request_permission", "arguments": arguments}]});
            world.script(&format!("{call}\n{}", json!({"text": "done"})));
            let flags = ["--ephemeral", "--sandbox", level, "--mode", mode, "--deny", &rule];
            let done = world.run(&[&flags[..], &["--allow", "request_permission", "x"]].concat());
            assert_eq!(ended(&done).0, "denied", "{mode} {path} {rule}: {done:?}");
        }
    }
}
