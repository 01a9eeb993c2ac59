//! What a person is told who has typed something else than was meant.

#![allow(clippy::unwrap_used)]

mod support;

use support::World;

/// Words after `sterna`, exit code, and the first lines of what is told.
const TYPED: [(&[&str], i32, &str); 14] = [
    (
        &["policy", "explain", "git", "push", "origin"],
        2,
        "error: the command line came as 3 words\nhint: quote it whole: sterna policy explain 'git push origin'\n",
    ),
    // Which quotes were meant, nobody knows.
    (
        &["policy", "explain", "echo", "a b"],
        2,
        "error: the command line came as 2 words\nhint: quote it whole: sterna policy explain 'git push origin main'\n",
    ),
    (
        &["policy", "explain", "rm", "-rf", "x"],
        2,
        "error: unexpected argument '-r' found\n\n  tip: to pass '-r' as a value, use '-- -r'\n\nUsage: sterna policy explain \
         [OPTIONS] [COMMAND]...\n\nFor more information, try '--help'.\nhint: a command line stands in quotes: sterna \
         policy explain 'git push origin main'\n",
    ),
    (
        &["policy", "test"],
        0,
        "no rule has examples, and no file of command lines is named: nothing was checked\n",
    ),
    (
        &["sessions", "list", "--limit", "x"],
        2,
        "error: invalid value 'x' for '--limit <N>': write a whole number from 1 on\n",
    ),
    (
        &["sessions", "search", "--limit", "-1", "word"],
        2,
        "error: invalid value '-1' for '--limit <N>': write a whole number from 1 on\n",
    ),
    (
        &["memory", "search", "--limit", "1.5", "word"],
        2,
        "error: invalid value '1.5' for '--limit <N>': write a whole number from 1 on\n",
    ),
    (
        &["what-if", "s", "--from", "1", "--max-steps", "-1"],
        2,
        "error: invalid value '-1' for '--max-steps <N>': write a whole number from 1 on\n",
    ),
    (
        &["models", "--context", "big"],
        2,
        "error: invalid value 'big' for '--context <TOKENS>': write a whole number from 1 on\n",
    ),
    (
        &["goal", "set", "--tokens", "0", "all of it"],
        2,
        "error: invalid value '0' for '--tokens <N>': write a whole number from 1 on\n",
    ),
    (
        &["mcp", "login", "trakcer"],
        2,
        "error: there is no MCP server `trakcer`\nhint: did you mean `tracker`?\n",
    ),
    (&["mcp", "login", "NOTES"], 2, "error: there is no MCP server `NOTES`\nhint: did you mean `notes`?\n"),
    (
        &["mcp", "login", "github"],
        2,
        "error: there is no MCP server `github`\nhint: there are: notes, tracker; `sterna mcp add` adds one\n",
    ),
    (
        &["mcp", "login", "notes"],
        2,
        "error: `notes` is started as a program: only servers with a `url` have logins\n",
    ),
];

#[test]
fn a_mistake_is_told_with_what_to_do_about_it() {
    let world = World::new("");
    assert_eq!(world.sterna(&["mcp", "add", "tracker", "--url", "https://tracker.invalid/mcp"]).code, 0);
    assert_eq!(world.sterna(&["mcp", "add", "notes", "--", "no-such-program"]).code, 0);
    for (args, code, told) in TYPED {
        let done = world.sterna(args);
        assert!(done.code == code && done.err.starts_with(told), "{args:?}: {done:?}");
        assert_eq!(done.out, "", "{args:?}");
    }
}

#[test]
fn a_session_that_is_there_is_not_taken_for_a_fork() {
    let world = World::new("{\"text\":\"one\"}\n{\"text\":\"two\"}\n{\"text\":\"three\"}\n");
    for session in ["a", "b"] {
        assert_eq!(world.run(&["--session", session, "hi"]).code, 0);
    }
    for id in ["a", "b"] {
        let done = world.run(&["--fork", "a", "--session", id, "hi"]);
        let told = format!(
            "error: session `{id}` is there already, and is not a fork of `a`\nhint: leave --session out, or give the fork an id \
             of its own\n"
        );
        assert_eq!((done.code, done.err.as_str()), (2, told.as_str()));
    }
    // Sent again, a fork is the one that was made.
    for _ in 0..2 {
        let made = world.run(&["--fork", "a", "--session", "c", "--key", "k", "hi"]);
        assert_eq!((made.code, &made.result()["message"]), (0, &serde_json::json!("two")), "{made:?}");
    }
    // A fork of another session is none of this one.
    let other = world.run(&["--fork", "b", "--session", "c", "--key", "k", "hi"]);
    assert!(
        other.code == 2 && other.err.contains("`c` is there already, and is not a fork of `b`"),
        "{other:?}"
    );
}

#[test]
fn what_was_not_compacted_is_said_once() {
    let world = World::new("{\"text\":\"hello\"}\n");
    assert_eq!(world.run(&["--session", "s", "hi"]).code, 0);
    let done = world.sterna(&["compact", "s"]);
    assert_eq!(done.code, 0, "{done:?}");
    let told = "nothing was compacted: nothing is left that could be shown by less\n";
    assert!(done.out == told && !done.err.contains("nothing"), "{done:?}");
}

#[test]
fn an_input_behind_a_question_says_where_the_question_is_shown() {
    let call = r#"{"calls":[{"name":"shell","arguments":{"command":"git push --force"}}]}"#;
    let world = World::new(&format!("{call}\n{{\"text\":\"done\"}}\n"));
    let ask = ["run", "-m", "scripted:s.jsonl", "--session", "s", "--mode", "ask", "--on-ask", "park"];
    assert_eq!(world.sterna(&[&ask[..], &["push"]].concat()).code, 8);
    let behind = world.sterna(&[&ask[..], &["and then"]].concat());
    let hint = "hint: `sterna resume s` shows what it asks, and how it is answered\n";
    assert!(behind.code == 8 && behind.err.contains(hint), "{behind:?}");
    let shown = world.sterna(&["resume", "s", "--on-ask", "park"]);
    assert!(shown.code == 8 && shown.err.contains("`sterna approve s` allows it"), "{shown:?}");
}
