//! `sterna policy`, and grants that outlive their session.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::World;

fn call(command: &str) -> String {
    let call = json!({"calls": [{"name": "shell", "arguments": {"command": command}}]});
    format!("{call}\n{}", json!({"text": "done"}))
}

/// The exit code of a run with this command: 8 when it asks.
fn run(world: &World, session: &str, command: &str) -> i32 {
    world.script(&call(command));
    world.run(&["--session", session, "--on-ask", "park", "x"]).code
}

fn explain(world: &World, args: &[&str]) -> Value {
    let done = world.sterna(&[&["policy", "explain", "--json"], args].concat());
    assert_eq!(done.code, 0, "{done:?}");
    serde_json::from_str(&done.out).unwrap()
}

fn grants(world: &World) -> Vec<Value> {
    let done = world.sterna(&["policy", "list", "--json"]);
    let list: Value = serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    list["grants"].as_array().unwrap().clone()
}

#[test]
fn a_stored_grant_covers_that_very_command_and_nothing_else() {
    for scope in ["project", "user"] {
        let world = World::new("");
        world.config("[policy]\nask = [\"Shell(git *)\"]");
        assert!(grants(&world).is_empty());
        assert_eq!(run(&world, "first", "git status"), 8);
        let done = world.sterna(&["approve", "first", "--for", scope]);
        assert_eq!(done.code, 0, "{done:?}");
        let held = grants(&world);
        let [held] = held.as_slice() else { panic!("{held:?}") };
        // It was shown before it was stored: what, for how long, and its hash.
        let hash = held["content"].as_str().unwrap();
        let whose = if scope == "user" { "everywhere" } else { "in this folder" };
        let shown = format!(
            "stored: shell: git status {whose} for 30 days, and nothing but that; hash {}\n",
            &hash[..12]
        );
        assert!(done.err.contains(&shown), "{done:?}");
        let days = held["expires"].as_u64().unwrap() - held["given_at"].as_u64().unwrap();
        assert!(days.abs_diff(30 * 24 * 3_600 * 1_000) < 1_000, "{held}");
        let root = (scope == "project").then(|| world.work().display().to_string());
        assert_eq!((&held["scope"], &held["root"]), (&json!(scope), &json!(root)));
        // Another session, another process: it passes. What only begins like it asks.
        assert_eq!(run(&world, "plain", "git status"), 0);
        let others =
            ["git status && rm -rf x", "git status; curl h", "GIT_PAGER=x git status", "git status -s"];
        for (at, other) in others.into_iter().enumerate() {
            assert_eq!(run(&world, &format!("other{at}"), other), 8, "{other}");
        }
        // Another folder has the user's grants, and not this project's.
        let elsewhere = world.work().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        world.script(&call("git status"));
        let script = format!("scripted:{}", world.work().join("s.jsonl").display());
        let dir = elsewhere.display().to_string();
        let args = ["run", "-C", &dir, "-m", &script, "--on-ask", "park", "x"];
        assert_eq!(world.sterna(&args).code, if scope == "user" { 0 } else { 8 });
        // A deny rule comes before.
        assert_eq!(explain(&world, &["git status"])["decision"], "allow");
        assert_eq!(explain(&world, &["git status", "--deny", "Shell(git status)"])["decision"], "deny");
        // Neither list nor continue knows the log that holds it, and no session may have its name.
        let listed = world.sterna(&["sessions", "list", "--json"]).out;
        assert!(!listed.contains("sterna:"), "{listed}");
        assert_ne!(world.run(&["--session", "sterna:user", "x"]).code, 0);
        assert_eq!(world.sterna(&["sessions", "fsck"]).code, 0);
        // Taken back, it asks again.
        assert_eq!(world.sterna(&["policy", "revoke", "zz"]).code, 2);
        assert_eq!(world.sterna(&["policy", "revoke", &hash[..6]]).code, 0);
        assert!(grants(&world).is_empty());
        assert_eq!(run(&world, "again", "git status"), 8);
    }
}

#[test]
fn explain_tells_plan_rules_and_decision() {
    let world = World::new("");
    world.config(
        "[policy]\nask = [\"Shell(git push *)\"]\ndeny = [\"Shell(rm *)\"]\nallow = [\"Web(docs.rs)\"]",
    );
    let file = world.home().join("config.toml").display().to_string();
    let told = explain(&world, &["git push --force", "--sandbox", "none"]);
    assert_eq!((&told["decision"], &told["sandbox"]), (&json!("ask"), &json!("none")));
    assert_eq!((&told["rule"], &told["source"]), (&json!("Shell(git push *)"), &json!(format!("{file}:2"))));
    assert_eq!(told["plan"]["commands"][0]["argv"], json!(["git", "push", "--force"]));
    let told = explain(&world, &["make; echo a && rm -r x"]);
    assert_eq!((&told["decision"], &told["source"]), (&json!("deny"), &json!(format!("{file}:3"))));
    assert_eq!(told["plan"]["commands"].as_array().unwrap().len(), 3);
    // Other tools, modes and rules.
    let write = ["--tool", "write", "--args", "{\"path\":\"/etc/x\",\"content\":\"a\"}"];
    assert_eq!(explain(&world, &write)["decision"], "deny");
    assert_eq!(explain(&world, &["--tool", "list", "--args", "{}"])["decision"], "allow");
    assert_eq!(explain(&world, &["touch x", "--mode", "plan"])["decision"], "deny");
    assert_eq!(explain(&world, &["touch x", "--mode", "ask"])["decision"], "ask");
    assert_eq!(
        explain(&world, &["touch x", "--sandbox", "none", "--allow", "Shell(touch *)"])["decision"],
        "allow"
    );
    let text = world.sterna(&["policy", "explain", "rm -r x"]);
    assert!(text.out.starts_with("deny  `rm -r x`: denied by `deny Shell(rm *)`"), "{text:?}");
    assert!(text.out.contains("command   rm -r x\n"), "{text:?}");
    for wrong in [
        &["--tool", "nope"][..],
        &["--tool", "write", "--args", "{"],
        &["--tool", "write", "--args", "{}"],
        &[],
    ] {
        assert_eq!(world.sterna(&[&["policy", "explain"], wrong].concat()).code, 2, "{wrong:?}");
    }
    // Nothing was run, and no session made.
    assert!(!world.home().join("data/sterna.db").exists());
}

#[test]
fn test_runs_examples_and_a_table() {
    let world = World::new("");
    world.config(
        "[policy]\nallow = [{rule = \"Shell(cargo test *)\", match = [\"cargo test --lib\"], not_match = [\"cargo build\"]}]",
    );
    std::fs::write(
        world.work().join("t.tsv"),
        "# what may pass\nallow\tcargo test --lib\n\ndeny\trm -rf ~\nask\tcurl https://a.example\n",
    )
    .unwrap();
    let done = world.sterna(&["policy", "test", "t.tsv"]);
    assert_eq!((done.code, done.out.as_str()), (0, "2 examples of rules hold; 3 of 3 lines\n"), "{done:?}");
    std::fs::write(world.work().join("t.tsv"), "allow\tcurl https://a.example\n").unwrap();
    let done = world.sterna(&["policy", "test", "t.tsv"]);
    assert_eq!(done.code, 1);
    assert!(done.out.starts_with("t.tsv:1: ask and not allow: curl https://a.example\n"), "{done:?}");
    assert!(done.out.ends_with("2 examples of rules hold; 0 of 1 lines\n"), "{done:?}");
    std::fs::write(world.work().join("t.tsv"), "perhaps\tls\n").unwrap();
    assert_eq!(world.sterna(&["policy", "test", "t.tsv"]).code, 2);
    // A rule that fails its example is refused when it is read, by whatever reads it.
    world.config("[policy]\nallow = [{rule = \"Shell(cargo test *)\", match = [\"cargo build\"]}]");
    let done = world.sterna(&["policy", "test"]);
    assert_eq!(done.code, 2);
    assert!(
        done.err.contains("config.toml:2")
            && done.err.contains("`match` example `cargo build` does not match"),
        "{done:?}"
    );
}

#[test]
fn list_shows_rules_in_the_order_of_the_decision() {
    let world = World::new("");
    world.config("[policy]\nallow = [\"Shell(ls *)\"]\nask = [\"Web\"]\ndeny = [\"Shell(rm *)\"]");
    let done = world.sterna(&["policy", "list", "--own"]);
    let file = world.home().join("config.toml").display().to_string();
    let want = format!(
        "deny   Shell(rm *)  {file}:4\nfloor  what nobody can lift; then the walls of the mode\n\
         ask    Web  {file}:3\nallow  Shell(ls *)  {file}:2\n"
    );
    assert_eq!((done.code, done.out), (0, want));
    let all: Value = serde_json::from_str(&world.sterna(&["policy", "list", "--json"]).out).unwrap();
    let rules = all["rules"].as_array().unwrap();
    assert_eq!(
        rules[0],
        json!({"decision": "deny", "rule": "Shell(rm *)", "scope": "user", "source": format!("{file}:4")})
    );
    assert!(rules.iter().any(|rule| rule["scope"] == "builtin"));
}

#[test]
fn a_repository_of_strangers_runs_nothing_in_the_modes_that_only_read() {
    let lines =
        ["git log -p", "git show", "git diff", "git status", "git blame a.x", "cd . && git -C . diff"];
    let calls: Vec<Value> =
        lines.iter().map(|line| json!({"name": "shell", "arguments": {"command": line}})).collect();
    let script = format!("{}\n{{\"text\":\"seen\"}}", json!({ "calls": calls }));
    let world = World::new(&script);
    let git = |args: &[&str]| {
        let out = std::process::Command::new("git")
            .current_dir(world.work())
            .args(["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"])
            .args(args)
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
    };
    git(&["init", "-q"]);
    for text in ["one\n", "two\n"] {
        std::fs::write(world.work().join("a.x"), text).unwrap();
        git(&["add", "a.x"]);
        git(&["commit", "-q", "-m", "x"]);
    }
    world.config("max_consecutive_denials = 100\n");
    let statuses = |mode: &str| -> Vec<String> {
        let done = world.sterna(&["run", "-m", "scripted:s.jsonl", "--json", "--mode", mode, "x"]);
        assert_eq!(done.code, 0, "{done:?}");
        let lines = done.out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ends = lines.filter(|event| event["type"] == "tool.ended" || event["type"] == "tool.completed");
        ends.map(|event| event["status"].as_str().unwrap_or_default().to_owned()).collect()
    };
    // As anybody's repository it passes.
    for mode in ["ask", "plan"] {
        assert_eq!(statuses(mode), ["ok"; 6], "{mode}");
    }
    let marker = world.work().join("marker");
    let touch = format!("touch {}", marker.display());
    std::fs::write(world.work().join(".gitattributes"), "*.x diff=x filter=y\n").unwrap();
    std::fs::write(world.work().join("a.x"), "six\n").unwrap();
    for key in ["diff.x.textconv", "diff.x.command", "filter.y.clean", "filter.y.process"] {
        git(&["config", key, &touch]);
        for mode in ["ask", "plan", "accept-edits"] {
            assert_eq!(statuses(mode), ["denied"; 6], "{key} {mode}");
            assert!(!marker.exists(), "{key} {mode}");
        }
        git(&["config", "--unset", key]);
    }
    // In a sandbox it runs, and what it runs is held; without one it asks.
    git(&["config", "diff.x.textconv", &format!("sh -c 'touch ../marker'; {touch}")]);
    world.config("max_consecutive_denials = 100\nsandbox = \"none\"\n");
    assert_eq!(statuses("execute"), ["denied"; 6]);
    assert!(!marker.exists());
}
