//! Where paths really lead: links out of the workspace, `..`, other case, key stores, and folders that are swapped while
//! somebody is asked. A call is judged on the real path, and a yes is one to the places that were asked about.

#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::{Value, json};
use support::World;

fn call(tool: &str, args: &Value) -> String {
    let call = json!({"calls": [{"name": tool, "arguments": args}]});
    format!("{call}\n{}", json!({"text": "done"}))
}

fn shell(command: &str) -> (&'static str, Value) {
    ("shell", json!({"command": command}))
}

/// A folder in the home folder, beside the workspace.
fn beside(world: &World, name: &str) -> PathBuf {
    let folder = world.work().parent().unwrap().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Lets the link in the workspace lead there.
fn lead(world: &World, link: &str, to: &str) {
    let link = world.work().join(link);
    // There may be none yet.
    let _ = std::fs::remove_file(&link);
    symlink(beside(world, to), link).unwrap();
}

fn park(world: &World, session: &str, (tool, args): &(&str, Value)) -> i32 {
    world.script(&call(tool, args));
    world.run(&["--session", session, "--sandbox", "none", "--on-ask", "park", "x"]).code
}

#[test]
fn a_yes_is_for_the_places_that_were_asked_about() {
    let calls = [
        ("write", json!({"path": "link/x", "content": "a"})),
        ("apply_patch", json!({"patch": "*** Begin Patch\n*** Add File: link/x\n+a\n*** End Patch\n"})),
        shell("cp s.jsonl link/x"),
        shell("cat s.jsonl > link/x"),
    ];
    for (n, call) in calls.iter().enumerate() {
        let world = World::new("");
        let (one, two) = (beside(&world, "one").join("x"), beside(&world, "two").join("x"));
        lead(&world, "link", "one");
        // As it was asked: one yes.
        let (same, other) = (format!("same{n}"), format!("other{n}"));
        assert_eq!(park(&world, &same, call), 8, "{call:?}");
        let done = world.sterna(&["approve", &same]);
        assert_eq!((done.code, one.exists()), (0, true), "{call:?}: {done:?}");
        std::fs::remove_file(&one).unwrap();
        // Swapped between the question and the run: it asks again, and nothing has happened.
        assert_eq!(park(&world, &other, call), 8, "{call:?}");
        lead(&world, "link", "two");
        let done = world.sterna(&["approve", &other]);
        assert_eq!((done.code, one.exists(), two.exists()), (8, false, false), "{call:?}: {done:?}");
        let log = world.sterna(&["sessions", "show", &other, "--json"]).out;
        assert!(log.contains("has changed since it was allowed") && log.contains("/two/x"), "{log}");
        // A yes to that is one to that.
        assert_eq!(world.sterna(&["approve", &other]).code, 0, "{call:?}");
        assert_eq!((one.exists(), two.exists()), (false, true), "{call:?}");
    }
}

#[test]
fn what_a_person_edits_is_asked_once_and_bound_to_its_own_places() {
    let world = World::new("");
    beside(&world, "two");
    lead(&world, "link", "one");
    assert_eq!(park(&world, "s", &("write", json!({"path": "link/x", "content": "a"}))), 8);
    let edit = world.work().join("edit.json");
    let mine = beside(&world, "two").join("x").display().to_string();
    std::fs::write(&edit, json!({"path": mine, "content": "mine"}).to_string()).unwrap();
    let done = world.sterna(&["approve", "s", "--edit", &edit.display().to_string()]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(std::fs::read_to_string(mine).unwrap(), "mine");
    assert!(!beside(&world, "one").join("x").exists());
}

#[test]
fn a_grant_is_for_the_places_that_it_was_given_for() {
    for scope in ["session", "project", "user"] {
        let world = World::new("");
        beside(&world, "one");
        lead(&world, "link", "one");
        let write = call("write", &json!({"path": "link/x", "content": "a"}));
        world.script(&format!("{write}\n").repeat(3));
        let again = || world.run(&["--session", "s", "--on-ask", "park", "x"]).code;
        assert_eq!(again(), 8);
        assert_eq!(world.sterna(&["approve", "s", "--for", scope]).code, 0);
        // The same call, without a question, until the link leads elsewhere.
        assert_eq!(again(), 0, "{scope}");
        lead(&world, "link", "two");
        assert_eq!(again(), 8, "{scope}");
        assert!(!beside(&world, "two").join("x").exists());
    }
}

#[test]
fn a_grant_of_a_program_by_its_path_is_one_to_that_file() {
    let world = World::new("");
    let other = beside(&world, "other");
    for folder in [world.work(), other.clone()] {
        let file = folder.join("build.sh");
        std::fs::write(&file, "#!/bin/sh\necho ran > built\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (n, line) in
        ["./build.sh", "sh build.sh", "env A=1 ./build.sh", "date > stamp"].into_iter().enumerate()
    {
        let session = format!("s{n}");
        assert_eq!(park(&world, &session, &shell(line)), 8, "{line}");
        assert_eq!(world.sterna(&["approve", &session, "--for", "user"]).code, 0, "{line}");
        assert_eq!(park(&world, &format!("again{n}"), &shell(line)), 0, "{line}");
        // Of the same name, in another folder.
        let script = format!("scripted:{}", world.work().join("s.jsonl").display());
        let dir = other.display().to_string();
        let args = ["run", "-C", &dir, "-m", &script, "--sandbox", "none", "--on-ask", "park", "x"];
        // What is no file of the folder's is what the person said: everywhere.
        let asks = line != "date > stamp";
        assert_eq!(world.sterna(&args).code, if asks { 8 } else { 0 }, "{line}");
        assert!(!other.join("built").exists(), "{line}");
    }
}

#[test]
fn a_path_is_judged_where_it_really_leads() {
    let world = World::new("");
    let (work, out) = (world.work(), beside(&world, "out"));
    std::fs::write(out.join("secret.txt"), "what-nobody-may-read").unwrap();
    let keys = beside(&world, ".ssh");
    std::fs::write(keys.join("id_ed25519"), "a-private-key-of-mine").unwrap();
    std::fs::create_dir_all(work.join("a/b")).unwrap();
    std::fs::create_dir_all(work.join(".git")).unwrap();
    lead(&world, "link", "out");
    lead(&world, "keys", ".ssh");
    symlink("a/b", work.join("in")).unwrap();
    symlink(keys.join("id_ed25519"), work.join("notes.txt")).unwrap();
    symlink(&work, out.join("back")).unwrap();
    let read = |path: &str| ("read", json!({"path": path}));
    let write = |path: &str| ("write", json!({"path": path, "content": "x"}));
    let home = work.parent().unwrap().display().to_string();
    // What leads out of the workspace asks, and a key store is refused in every mode.
    let table: Vec<(&str, (&str, Value))> = vec![
        // A link out of the root.
        ("ask", read("link/secret.txt")),
        ("ask", ("edit", json!({"path": "link/secret.txt", "old_string": "what", "new_string": "x"}))),
        ("ask", ("grep", json!({"pattern": "nobody", "path": "link"}))),
        ("ask", ("list", json!({"path": "link"}))),
        ("ask", write("link/new")),
        ("ask", shell("cat link/secret.txt")),
        ("ask", shell("cp link/secret.txt here")),
        ("ask", shell("echo x > link/new")),
        ("ask", shell("cd link && cat secret.txt")),
        // `..`, by name and behind a link.
        ("ask", read("../out/secret.txt")),
        ("ask", read("a/../../out/secret.txt")),
        ("ask", read("link/../out/secret.txt")),
        ("ask", read("in/../../../out/secret.txt")),
        ("ask", write("../out/new")),
        ("ask", shell("cat in/../../../out/secret.txt")),
        ("ask", shell("cp s.jsonl link/../out/new")),
        // Out and in again is in.
        ("allow", read("link/back/s.jsonl")),
        ("allow", read("in/../../s.jsonl")),
        // A key store, by its name, behind a link, in another case.
        ("deny", ("read", json!({"path": format!("{home}/.ssh/id_ed25519")}))),
        ("deny", read("notes.txt")),
        ("deny", read("keys/id_ed25519")),
        ("deny", read("link/../.ssh/id_ed25519")),
        ("deny", ("read", json!({"path": format!("{home}/.SSH/ID_ED25519")}))),
        ("deny", shell("cat ~/.ssh/id_ed25519")),
        ("deny", shell("cat notes.txt")),
        ("deny", shell("cd keys; cat id_ed25519")),
        ("deny", shell("cp ~/.Ssh/ID_ED25519 here")),
        ("deny", write("keys/config")),
        // What is not written, in another case.
        ("deny", write(".git/config")),
        ("deny", write(".GIT/config")),
        ("deny", shell("echo x > .Git/hooks/pre-commit")),
    ];
    let before = std::fs::read_dir(&out).unwrap().count();
    for mode in ["execute", "bypass"] {
        for (n, (want, (tool, args))) in table.iter().enumerate() {
            let args = args.to_string();
            let explained = world
                .sterna(&["policy", "explain", "--json", "--mode", mode, "--tool", tool, "--args", &args]);
            let told: Value =
                serde_json::from_str(&explained.out).unwrap_or_else(|_| panic!("{explained:?}"));
            let want = if mode == "bypass" && *want == "ask" { "allow" } else { want };
            assert_eq!(told["decision"], json!(want), "{mode} {n} {tool} {args}: {told}");
        }
    }
    // And so they are run: nothing comes in, nothing goes out.
    let calls: Vec<Value> =
        table.iter().map(|(_, (tool, args))| json!({"name": tool, "arguments": args})).collect();
    let script: Vec<String> = calls.iter().map(|call| json!({"calls": [call]}).to_string()).collect();
    world.script(&format!("{}\n{}", script.join("\n"), json!({"text": "done"})));
    world.config("max_consecutive_denials = 100\nno_progress_steps = 100");
    let done = world.run(&["--session", "all", "x"]);
    assert_eq!(done.code, 0, "{done:?}");
    let events = world.sterna(&["sessions", "show", "all", "--json"]).out;
    let ended: Vec<Value> = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    let ended = ended.iter().filter(|event| event["type"] == "tool.ended");
    let (refused, ran): (Vec<&Value>, Vec<&Value>) = ended.partition(|event| event["status"] == "denied");
    let allowed = table.iter().filter(|(want, _)| *want == "allow").count();
    assert_eq!((refused.len(), ran.len()), (table.len() - allowed, allowed), "{ran:?}");
    // Whoever is asked about an edit is shown its diff; the model is shown nothing.
    let told = events.lines().filter(|line| !line.contains("\"approval.requested\""));
    let known = |line: &&str| line.contains("what-nobody-may-read") || line.contains("a-private-key-of-mine");
    assert_eq!({ told }.find(known), None);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), before);
    assert_eq!(std::fs::read_to_string(out.join("secret.txt")).unwrap(), "what-nobody-may-read");
    assert!(!work.join("here").exists() && !keys.join("config").exists());
    assert_eq!(std::fs::read_dir(work.join(".git")).unwrap().count(), 0);
}
