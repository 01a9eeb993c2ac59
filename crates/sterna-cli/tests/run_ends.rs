//! How `sterna run` ends: an exit code for each ending, the result last, and messages that say what to do.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::World;

const LOOK: &str = r#"{"text":"I look.","calls":[{"name":"list","arguments":{"path":"."}}],"usage":{"input":100,"output":20}}
{"text":"One file.","usage":{"input":150,"output":12}}"#;
const TOUCH: &str = r#"{"calls":[{"name":"shell","arguments":{"command":"touch made"}}]}
{"text":"done"}"#;

/// Runs a script, and compares exit code, outcome and stop.
fn check(script: &str, args: &[&str], code: i32, outcome: &str, stop: Option<&str>) -> Value {
    let world = World::new(script);
    let done = world.run(args);
    let result = done.result();
    assert_eq!(done.code, code, "{args:?}: {}\n{}", done.out, done.err);
    assert_eq!((result["outcome"].as_str(), result["stop"].as_str()), (Some(outcome), stop), "{args:?}");
    result
}

#[test]
fn every_ending_has_its_exit_code() {
    let result = check(LOOK, &["look"], 0, "finished", None);
    assert_eq!(
        support::essence(&result),
        json!({
            "type": "result", "outcome": "finished", "message": "One file.", "turn": 1, "steps": 2, "cost": null,
            "denials": [], "changed_files": [],
            "usage": [{"model": "scripted:s.jsonl", "calls": 2, "input_uncached": 250, "output": 32, "cost": null}],
        })
    );
    check(r#"{"text":"no","stop":"refused"}"#, &["x"], 1, "stopped", Some("refused"));
    check(LOOK, &["--max-steps", "1", "x"], 3, "stopped", Some("max_steps"));
    check(
        r#"{"delay_ms":60000,"text":"late"}"#,
        &["--deadline", "0.05", "x"],
        3,
        "stopped",
        Some("deadline"),
    );
    check(TOUCH, &["--sandbox", "none", "--on-ask", "fail", "x"], 4, "stopped", Some("denied"));
    let down = r#"{"error":{"class":"auth","status":401,"message":"no such key"}}"#;
    let result = check(down, &["x"], 5, "stopped", Some("provider_failed"));
    assert!(result["message"].as_str().unwrap().contains("no such key"), "{result}");
    check(TOUCH, &["--sandbox", "none", "--on-ask", "park", "x"], 8, "parked", None);
    check(TOUCH, &["--sandbox", "none", "--ephemeral", "x"], 0, "finished", None);
    let priced = r#"{"model":{"price":{"input":1000,"output":1000}}}
{"text":"x","calls":[{"name":"list","arguments":{"path":"."}}],"usage":{"input":1000,"output":1000}}
{"text":"y"}"#;
    check(priced, &["--max-cost", "0.02", "x"], 3, "stopped", Some("budget_cost"));
}

/// SC-80: a code for each ending of a turn, with the stop's name in the result; stdout has events alone, and stderr no
/// event. 6, 130 and 143 need a process that is killed or signalled: see `run_waits`.
#[test]
fn every_stop_has_its_exit_code() {
    let cut = r#"{"text":"and so on","stop":"max_output"}"#;
    let asks = r#"{"calls":[{"name":"shell","arguments":{"command":"touch made"}}]}"#;
    let again = r#"{"calls":[{"name":"list","arguments":{"path":"."}}]}"#;
    let enough = "[[hooks.Stop]]\nhooks = [{ type = \"command\", command = \"echo enough >&2; exit 49\" }]\n";
    let error = |class: &str| format!(r#"{{"error":{{"class":"{class}","message":"so it is"}}}}"#);
    let table: [(&str, String, &[&str], i32, &str, Option<&str>); 16] = [
        ("", r#"{"text":"done"}"#.into(), &[], 0, "finished", None),
        ("", r#"{"text":"no","stop":"refused"}"#.into(), &[], 1, "stopped", Some("refused")),
        ("", error("content_filter"), &[], 1, "stopped", Some("refused")),
        ("", error("context_overflow"), &[], 1, "stopped", Some("context_overflow")),
        ("", LOOK.into(), &["--max-steps", "1"], 3, "stopped", Some("max_steps")),
        ("", [cut; 4].join("\n"), &[], 3, "stopped", Some("max_output")),
        ("", "{\"text\":\"\"}\n{\"text\":\"\"}".into(), &[], 3, "stopped", Some("no_progress")),
        ("", [again; 20].join("\n"), &[], 3, "stopped", Some("no_progress")),
        ("max_tokens = 50\n", LOOK.into(), &[], 3, "stopped", Some("budget_tokens")),
        ("", asks.into(), &["--on-ask", "fail"], 4, "stopped", Some("denied")),
        ("", [asks; 5].join("\n"), &[], 4, "stopped", Some("denied")),
        ("", error("auth"), &[], 5, "stopped", Some("provider_failed")),
        ("", error("model_gone"), &[], 5, "stopped", Some("provider_failed")),
        ("", String::new(), &[], 5, "stopped", Some("provider_failed")),
        (enough, LOOK.into(), &[], 1, "stopped", Some("hook_stopped")),
        ("on_ask = \"park\"\n", asks.into(), &[], 8, "parked", None),
    ];
    for (config, script, args, code, outcome, stop) in table {
        let world = World::new(&script);
        world.config(config);
        let done = world.run(&[&["--session", "s", "--sandbox", "none", "x"], args].concat());
        let result = done.result();
        assert_eq!(
            (done.code, result["outcome"].as_str(), result["stop"].as_str()),
            (code, Some(outcome), stop),
            "{script} {args:?}: {}{}",
            done.out,
            done.err
        );
        assert!(!done.err.contains("\"type\""), "{}", done.err);
        // Whoever asks later is told the same end with the same code.
        let later = world.sterna(&["resume", "s", "--json"]);
        let (later_end, end) = (support::essence(&later.result()), support::essence(&result));
        assert_eq!((later.code, later_end), (code, end), "{script} {args:?}: {}", later.err);
    }
}

/// A binary file is the model's to deal with: the tool says what it is, and the turn goes on.
#[test]
fn a_binary_file_is_told_to_the_model() {
    let world = World::new(
        r#"{"calls":[{"name":"read","arguments":{"path":"photo.raw"}}]}
{"text":"I see."}"#,
    );
    std::fs::write(world.work().join("photo.raw"), [0u8, 159, 146, 150, 0, 1, 2, 3].repeat(375)).unwrap();
    let done = world.run(&["look at it"]);
    assert_eq!((done.code, done.result()["message"].as_str()), (0, Some("I see.")));
    let ended = done.events().into_iter().find(|event| event["type"] == "tool.ended").unwrap();
    assert_eq!(ended["status"], "failed");
    assert_eq!(
        ended["output"],
        "`photo.raw` is binary data of 3,000 bytes, not text; use shell with a program that knows this format"
    );
}

#[test]
fn wrong_input_says_what_to_do_and_makes_no_session() {
    let world = World::new(LOOK);
    let check = |args: &[&str], input: &[u8], code: i32, message: &str| {
        let done = world.with_stdin(args, input);
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (code, "", message), "{args:?}");
    };
    let m = "scripted:s.jsonl";
    check(
        &["run", "-m", m],
        b" \n",
        2,
        "error: the prompt is empty\nhint: say what to do: sterna run \"fix the failing test\", or pipe it in\n",
    );
    check(
        &["run", "-m", m, "-"],
        b"\xff\xfe",
        2,
        "error: the prompt on stdin is not UTF-8\nhint: send text\n",
    );
    check(
        &["run", "x"],
        b"",
        2,
        "error: no model is chosen\nhint: name one with -m, STERNA_MODEL or `model = \"provider/model\"` in config.toml; \
         `local` needs no key\n",
    );
    check(
        &["run", "-m", m, "--mode", "automatic", "x"],
        b"",
        2,
        "error: there is no mode `automatic`\nhint: modes are execute, accept-edits, ask, auto, never-ask, bypass, plan, pair\n",
    );
    check(
        &["run", "-m", m, "--mode", "fast", "x"],
        b"",
        2,
        "error: there is no mode `fast`\nhint: modes are execute, accept-edits, ask, auto, never-ask, bypass, plan, pair\n",
    );
    check(
        &["run", "-m", m, "--sandbox", "docker", "x"],
        b"",
        2,
        "error: there is no sandbox level `docker`\nhint: levels are auto, none, landlock, bubblewrap, required\n",
    );
    check(
        &["run", "-m", m, "--sandbox", "none", "--require-sandbox", "x"],
        b"",
        2,
        "error: --require-sandbox and --sandbox none contradict each other\nhint: leave one of them out\n",
    );
    check(
        &["run", "-m", m, "--max-cost", "1", "x"],
        b"",
        2,
        "error: the price of scripted:s.jsonl is not known, so a cap on its cost cannot hold\nhint: use a model \
         whose price is known, or leave out --max-cost and what is configured like it\n",
    );
    check(
        &["run", "-m", m, "--max-cost", "0", "x"],
        b"",
        2,
        "error: --max-cost 0 is no bound\nhint: give US dollars, for example 0.50\n",
    );
    check(
        &["run", "-m", m, "-C", "nowhere", "x"],
        b"",
        2,
        "error: cannot work in `nowhere`: No such file or directory (os error 2)\nhint: name a folder that exists\n",
    );
    check(
        &["run", "-m", m, "--continue", "x"],
        b"",
        2,
        &format!(
            "error: there is no session of {} to continue\nhint: leave --continue out to begin one; `sterna sessions \
             list` shows those of other folders\n",
            world.work().display()
        ),
    );
    check(
        &["run", "-m", m, "--fork", "nobody@3", "x"],
        b"",
        2,
        "error: session `nobody` does not exist\nhint: `sterna sessions list` shows the sessions that there are\n",
    );
    check(
        &["run", "-m", m, "--fork", "a@b", "x"],
        b"",
        2,
        "error: `a@b` names no point of a session\nhint: write ID@SEQ, the number of a record, or ID@TURN.STEP\n",
    );
    check(
        &["resume"],
        b"",
        2,
        &format!(
            "error: nothing was interrupted in {}\nhint: `sterna sessions list` shows the sessions of all folders\n",
            world.work().display()
        ),
    );
    for (args, message) in [
        (
            &["run", "-m", "scripted:gone.jsonl", "x"][..],
            "error: cannot read the script `gone.jsonl`: No such file or directory (os error 2)\nhint: a script is a \
             file of replies, one JSON object a line, named from the working folder\n"
                .to_owned(),
        ),
        (
            &["run", "-m", "openai/gpt-5", "x"],
            "error: no key for openai: set OPENAI_API_KEY to a key of openai\nhint: `sterna doctor` shows which \
             providers are set up; `-m local` needs no key\n"
                .to_owned(),
        ),
        (
            &["run", "-m", m, "--session", "a/b", "x"],
            "error: `a/b` is not a session id: 1 to 128 characters of A-Z a-z 0-9 . _ : -, and not only dots\nhint: an \
             id looks like `fix-login.2`; `sterna sessions list` shows those that there are\n"
                .to_owned(),
        ),
        (
            &["run", "-m", "scripted:", "x"],
            "error: `scripted:` is not a model route: write provider/model, for example anthropic/claude-sonnet-4-5, \
             or local, or scripted:FILE\n"
                .to_owned(),
        ),
        (
            &["resume", "nobody"],
            "error: session `nobody` does not exist\nhint: `sterna sessions list` shows the sessions that there are\n"
                .to_owned(),
        ),
    ] {
        check(args, b"", 2, &message);
    }
    // Which providers there are grows: the message names them all.
    for (route, name) in [("nobody/model", "nobody"), ("opus", "opus")] {
        let done = world.sterna(&["run", "-m", route, "x"]);
        let message = format!("error: there is no provider `{name}`\nhint: there are: anthropic, ");
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{}", done.err);
        assert!(done.err.starts_with(&message) && done.err.contains(", openai, "), "{}", done.err);
    }
    // A model that is to take over is looked at before it has to.
    for (fallback, message) in [
        (
            "nobody/model",
            "error: fallback nobody/model: there is no provider `nobody`\nhint: there are: anthropic, ",
        ),
        ("scripted:gone", "error: fallback scripted:gone: cannot read the script `gone`: "),
    ] {
        let done = world.sterna(&["run", "-m", m, "--fallback", fallback, "x"]);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{}", done.err);
        assert!(done.err.starts_with(message), "{}", done.err);
    }
    // Usage errors, in the words of the parser of arguments.
    for (args, words) in [
        (&["run", "-m", m, "fix", "the", "test"][..], "hint: a prompt of several words stands in quotes"),
        (
            &["run", "-m", m, "--max-steps", "-1", "x"],
            "invalid value '-1' for '--max-steps <N>': write a whole number from 1 on",
        ),
        (
            &["run", "-m", m, "--deadline", "soon", "x"],
            "invalid value 'soon' for '--deadline <SECONDS>': that is no number",
        ),
        (&["run", "-m", m, "--deadline", "-1", "x"], "hint: give seconds, for example 600"),
        (&["run", "-m", m, "--key", "", "x"], "a value is required for '--key <KEY>'"),
        (&["run", "-m", m, "--session", "s", "--continue", "x"], "cannot be used with '--continue'"),
        (&["run", "-m", m, "--fork", "s", "--continue", "x"], "cannot be used with '--continue'"),
        (&["run", "-m", m, "--ephemeral", "--fork", "s", "x"], "cannot be used with '--fork"),
        (&["run", "--modell", m, "x"], "a similar argument exists: '--model'"),
        (&["sessions", "lst"], "a similar subcommand exists: 'list'"),
    ] {
        let done = world.sterna(args);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{args:?}: {}", done.err);
        assert!(done.err.contains(words), "{args:?}: {}", done.err);
    }
    // Messages of other crates: what matters is the code, the hint, and that nothing was begun.
    for args in [
        &["run", "-m", "scripted:gone.jsonl", "x"][..],
        &["run", "-m", "nobody/model", "x"],
        &["run", "-m", "anthropic/claude-sonnet-4-5", "x"],
        &["run", "-m", m, "--allow", "((", "x"],
        &["run", "-m", m, "--session", "a/b", "x"],
        &["run", "-m", m, "--frobnicate", "x"],
        &["frobnicate"],
        &[],
    ] {
        let done = world.sterna(args);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{args:?}: {}", done.err);
    }
    for args in [&["run", "-m", "nobody/model", "x"], &["run", "-m", "anthropic/claude-sonnet-4-5", "x"]] {
        let done = world.sterna(args);
        assert!(done.err.contains("\nhint: "), "{args:?}: {}", done.err);
    }
    // Nothing of all this left a session.
    assert_eq!(world.run(&["--continue", "x"]).code, 2);
}

#[test]
fn text_goes_to_stdout_and_the_rest_to_stderr() {
    let world = World::new(LOOK);
    let done = world.sterna(&["run", "-m", "scripted:s.jsonl", "look"]);
    assert_eq!((done.code, done.out.as_str()), (0, "One file.\n"));
    let lines: Vec<&str> = done.err.lines().collect();
    assert!(lines[0].starts_with("  ✓ list .  "), "{lines:?}");
    assert!(lines[1].starts_with("2 steps · 250 in, 32 out · price not known · "), "{lines:?}");
    assert!(!done.err.contains('\x1b'), "{lines:?}");
    let colored =
        world.command(&["run", "-m", "scripted:s.jsonl", "look"]).env("CLICOLOR_FORCE", "1").spawn();
    let colored = support::Done::of(colored.unwrap());
    assert_eq!(colored.out, "One file.\n");
    assert!(colored.err.contains("\x1b[32m✓\x1b[0m"), "{}", colored.err);

    world.script(r#"{"text":"no","stop":"refused"}"#);
    let done = world.sterna(&["run", "-m", "scripted:s.jsonl", "look"]);
    assert_eq!((done.code, done.out.as_str()), (1, ""));
    assert!(done.err.starts_with("error: stopped (refused)"), "{}", done.err);
}

#[test]
fn a_reader_that_leaves_costs_no_turn() {
    let world = World::new(LOOK);
    let mut child =
        world.command(&["run", "-m", "scripted:s.jsonl", "--json", "--session", "s", "x"]).spawn().unwrap();
    drop(child.stdout.take());
    let done = support::Done::of(child);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    let again = world.sterna(&["resume", "s", "--json"]);
    assert_eq!(again.result()["message"], "One file.");
}

#[test]
fn the_prompt_may_come_from_stdin() {
    let world = World::new(r#"{"text":"ok"}"#);
    for args in
        [&["run", "-m", "scripted:s.jsonl", "--json"][..], &["run", "-m", "scripted:s.jsonl", "--json", "-"]]
    {
        let done = world.with_stdin(args, "täglich\nzwei".as_bytes());
        let text = done.events().into_iter().find(|event| event["type"] == "input.accepted").unwrap();
        assert_eq!((done.code, text["text"].as_str()), (0, Some("täglich\nzwei")));
    }
}

#[test]
fn sessions_go_on_and_fork() {
    let world = World::new("{\"text\":\"one\"}\n{\"text\":\"two\"}\n{\"text\":\"three\"}");
    let message = |args: &[&str]| {
        let done = world.run(args);
        assert_eq!(done.code, 0, "{args:?}: {}", done.err);
        let result = done.result();
        (result["session"].as_str().unwrap().to_owned(), result["message"].as_str().unwrap().to_owned())
    };
    assert_eq!(message(&["--session", "a", "x"]), ("a".into(), "one".into()));
    assert_eq!(message(&["--session", "a", "x"]), ("a".into(), "two".into()));
    // A fork has the history up to its point: here only the first turn.
    let first_end = 6;
    let (fork, said) = message(&["--fork", &format!("a@{first_end}"), "x"]);
    assert!(fork != "a" && said == "two", "{fork} {said}");
    assert_eq!(message(&["--fork", "a", "--session", "b", "x"]), ("b".into(), "three".into()));
    let (newest, _) = message(&["--session", "c", "x"]);
    assert_eq!(message(&["--continue", "x"]), (newest, "two".into()));
    // Without -m a session goes on with the model that it has.
    let done = world.sterna(&["run", "--json", "--session", "c", "x"]);
    assert_eq!(done.result()["message"], "three", "{}", done.err);
}

#[test]
fn chat_takes_prompts_from_a_pipe() {
    let world = World::new("{\"text\":\"one\"}\n{\"text\":\"two\"}");
    let done = world
        .with_stdin(&["chat", "-m", "scripted:s.jsonl", "--session", "c"], b"hi\n\n/titel x\n/title T\nho\n");
    assert_eq!((done.code, done.out.as_str()), (0, "one\ntwo\n"), "{}", done.err);
    let unknown = "error: there is no command /titel\nhint: did you mean /title?\n";
    assert!(done.err.contains(unknown), "{}", done.err);
}

#[test]
fn an_answer_that_cannot_be_written_is_no_success() {
    let world = World::new(LOOK);
    for (session, form) in [("s", &["--json"][..]), ("t", &[])] {
        let run = ["run", "-m", "scripted:s.jsonl", "--session", session];
        let mut command = world.command(&[&run[..], form, &["x"]].concat());
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let done = support::Done::of(command.stdout(full).spawn().unwrap());
        assert_eq!(done.code, 1, "{done:?}");
        let told =
            "error: cannot write to stdout: No space left on device (os error 28)\nhint: nothing is lost: ";
        assert!(
            done.err.ends_with(&format!("{told}`sterna sessions show {session}` shows it\n")),
            "{done:?}"
        );
        assert_eq!(world.sterna(&["resume", session, "--json"]).result()["message"], "One file.");
    }
}

#[test]
fn flags_are_named_for_calls_that_asked_and_for_no_others() {
    let world = World::new(TOUCH);
    let hint = "hint: 1 call asked, and nobody was there: --allow RULE allows it, --on-ask park lets you answer later\n";
    for (flags, hinted) in [(&["--mode", "ask"][..], true), (&["--deny", "Shell(touch *)"], false)] {
        let done = world.sterna(&[&["run", "-m", "scripted:s.jsonl"], flags, &["x"]].concat());
        assert!(done.code == 0 && done.err.contains("  denied\n"), "{done:?}");
        assert_eq!(done.err.ends_with(hint), hinted, "{done:?}");
        assert_eq!(done.err.contains("hint:"), hinted, "{done:?}");
    }
}
