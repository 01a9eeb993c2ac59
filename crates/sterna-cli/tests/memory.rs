//! `sterna memory`: a person sees, changes and carries what is remembered.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::World;

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_the_model_keeps_a_person_sees_changes_and_forgets() {
    let keep = json!({"calls": [{"name": "remember", "arguments": {"name": "Port", "text": "5432"}}]});
    let world = World::new(&format!("{keep}\n{{\"text\":\"kept\"}}\n"));
    // Looking makes nothing.
    let none = world.sterna(&["memory", "list", "--json"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""), "{none:?}");
    assert!(!world.home().join("data").exists());

    let run = world.run(&["remember the port"]);
    assert_eq!(run.code, 0, "{run:?}");
    let listed = objects(&world.sterna(&["memory", "--json"]).out);
    assert_eq!(listed.len(), 1);
    let note = &listed[0];
    assert_eq!(
        (&note["name"], &note["text"], &note["scope"]),
        (&json!("Port"), &json!("5432"), &json!("project"))
    );
    assert_eq!(note["source"]["by"], "model");
    let id = note["id"].as_str().unwrap().to_owned();

    let edited = world.sterna(&["memory", "edit", "port", "--text", "5433", "--alias", "db port", "--json"]);
    assert_eq!(objects(&edited.out), [json!({"id": id, "replaced": true})], "{edited:?}");
    let shown = world.sterna(&["memory", "show", "DB port"]);
    assert!(shown.code == 0 && shown.out.contains("5433") && shown.out.contains(&id), "{shown:?}");
    let found = world.sterna(&["memory", "search", "which", "port?"]);
    assert!(found.out.starts_with(&id), "{found:?}");

    // Of another folder it is none.
    let elsewhere = world.home();
    let other = world.sterna(&["memory", "list", "--json", "-C", elsewhere.to_str().unwrap()]);
    assert_eq!((other.code, other.out.as_str()), (0, ""), "{other:?}");

    let dumped = world.sterna(&["memory", "dump"]);
    assert_eq!(
        dumped.out, "# Memory\n\n## Port\n\n- scope: project\n- aliases: db port\n\n5433\n",
        "{dumped:?}"
    );
    std::fs::write(world.work().join("notes.md"), &dumped.out).unwrap();
    let gone = world.sterna(&["memory", "forget", &id]);
    assert_eq!(gone.out, format!("forgot {id} of the project: Port\n"), "{gone:?}");
    let again = world.sterna(&["memory", "forget", &id]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.err.contains("nothing is remembered under"), "{again:?}");
    let loaded = world.sterna(&["memory", "load", "notes.md"]);
    assert_eq!(loaded.out, "kept 1 new notes and replaced 0\n", "{loaded:?}");
    assert_eq!(objects(&world.sterna(&["memory", "list", "--json"]).out)[0]["id"], id);

    let secret = world.sterna(&["memory", "add", "token", "ghp_aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF3gH6"]);
    assert_eq!(secret.code, 2, "{secret:?}");
    assert!(secret.err.contains("it holds a secret"), "{secret:?}");
}

/// What is kept beyond the session is a write, and plan mode lets none through; the session's own notes pass.
#[test]
fn in_plan_mode_nothing_is_kept_beyond_the_session() {
    let keep = |scope: &str| json!({"name": "remember", "arguments": {"name": scope, "text": "5432", "scope": scope}});
    let forget = json!({"name": "forget", "arguments": {"ref": "Port"}});
    for (call, status) in
        [(keep("user"), "denied"), (keep("project"), "denied"), (forget, "denied"), (keep("session"), "ok")]
    {
        let script = format!("{}\n{}", json!({"calls": [call]}), json!({"text": "done"}));
        let world = World::new(&script);
        assert_eq!(world.sterna(&["memory", "add", "Port", "1"]).code, 0);
        let run = world.run(&["--mode", "plan", "x"]);
        let ended = run.events().into_iter().find(|event| event["type"] == "tool.ended").unwrap();
        assert_eq!(ended["status"], status, "{call} {ended}");
        let notes = objects(&world.sterna(&["memory", "--json"]).out);
        let kept: Vec<&str> = notes.iter().map(|note| note["name"].as_str().unwrap()).collect();
        assert!(kept.contains(&"Port") && !kept.contains(&"user") && !kept.contains(&"project"), "{kept:?}");
    }
}
