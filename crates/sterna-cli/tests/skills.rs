//! Skills, prompt files and agents from the command line to the model.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Done, World};

fn write(world: &World, path: &str, text: &str) {
    let path = world.work().parent().unwrap().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn skill(name: &str, about: &str, more: &str) -> String {
    format!("---\nname: {name}\ndescription: {about}\n{more}---\nBODY of {about}, for $ARGUMENTS.\n")
}

fn session(done: &Done) -> String {
    done.result()["session"].as_str().unwrap().to_owned()
}

/// Owners of the frame of the last request.
fn owners(world: &World, done: &Done) -> Vec<String> {
    let report = world.sterna(&["context", &session(done), "--json"]);
    let report: Value = serde_json::from_str(&report.out).unwrap();
    let rows = report["rows"].as_array().unwrap().iter();
    rows.map(|row| row.to_string()).filter(|row| row.contains("skills")).collect()
}

fn shown(world: &World, done: &Done) -> String {
    world.sterna(&["sessions", "show", &session(done), "--json"]).out
}

#[test]
fn the_model_loads_a_skill_and_a_person_runs_one() {
    let call = json!({"calls": [{"name": "skill", "arguments": {"name": "fix", "args": "a.rs"}}]});
    let world = World::new(&format!("{call}\n{{\"text\":\"done\"}}"));
    // Without a folder of skills there is neither tool nor section.
    let without = world.run(&["x"]);
    assert!(shown(&world, &without).contains("skill"), "the call is refused by name");
    assert_eq!(owners(&world, &without), Vec::<String>::new());
    write(&world, "home/skills/fix/SKILL.md", &skill("fix", "mending", "allowed-tools: Read\n"));
    write(&world, "home/skills/shut/SKILL.md", &skill("shut", "nothing", "disable-model-invocation: true\n"));
    write(&world, "home/commands/go.md", "GO to $ARGUMENTS");
    let done = world.run(&["x"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(shown(&world, &done).contains("BODY of mending, for a.rs."), "{}", done.out);
    let owners = owners(&world, &done);
    assert!(owners.iter().any(|row| row.contains("home/skills\"")), "{owners:?}");

    world.script("{\"text\":\"done\"}");
    let ran = world.run(&["/fix b.rs"]);
    let told = shown(&world, &ran);
    assert!(told.contains("/fix b.rs") && told.contains("BODY of mending, for b.rs."), "{told}");
    // Disabled for the model, not for the person; a prompt file; a path, which is a prompt; a blank before.
    for (said, word) in [
        ("/shut x", "BODY of nothing, for x."),
        ("/go home", "GO to home"),
        ("/etc/hosts?", "/etc/hosts?"),
        (" /nope", " /nope"),
    ] {
        let ran = world.run(&[said]);
        assert_eq!(ran.code, 0, "{said}: {}", ran.err);
        assert!(shown(&world, &ran).contains(word), "{said}: {}", ran.out);
    }
    let unknown = world.run(&["/fxi it"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("there is no command /fxi"), "{}", unknown.err);
    assert!(unknown.err.contains("did you mean /fix?"), "{}", unknown.err);
    let chat = ["chat", "-m", "scripted:s.jsonl"];
    let talked = world.with_stdin(&chat, b"/skills\n/go home\n/modle\n");
    assert!(talked.out.contains("done"), "{talked:?}");
    assert!(
        talked.err.contains("/fix  mending")
            && talked.err.contains("there is no command /modle\nhint: did you mean /mode or /model?"),
        "{talked:?}"
    );
}

#[test]
fn a_skill_narrows_the_tools_of_its_turn() {
    let call = json!({"calls": [{"name": "write", "arguments": {"path": "made", "content": "x"}}]});
    let world = World::new(&format!("{call}\n{{\"text\":\"done\"}}"));
    write(&world, "home/skills/look/SKILL.md", &skill("look", "looking", "allowed-tools: Read Grep\n"));
    write(&world, "home/skills/none/SKILL.md", &skill("none", "nothing", "allowed-tools: Frob\n"));
    let narrowed = world.run(&["--mode", "bypass", "/look"]);
    assert_eq!(narrowed.code, 0, "{}", narrowed.err);
    assert!(!world.work().join("made").exists(), "{}", narrowed.out);
    assert_eq!(world.run(&["--mode", "bypass", "look"]).code, 0);
    assert!(world.work().join("made").exists());
    let none = world.run(&["/none"]);
    assert!(none.code == 2 && none.err.contains("none of them is there"), "{none:?}");
}

#[test]
fn skills_of_a_project_count_when_it_is_trusted() {
    let call = json!({"calls": [{"name": "skill", "arguments": {"name": "fix"}}]});
    let world = World::new(&format!("{call}\n{{\"text\":\"done\"}}"));
    write(&world, "work/.git/HEAD", "");
    write(&world, "work/.claude/skills/fix/SKILL.md", &skill("fix", "PROJECT", ""));
    write(&world, "work/.claude/skills/fix/more.md", "more");
    write(&world, "work/.claude/agents/judge.md", "---\ndescription: PROJECTJUDGE\n---\nYou judge.");
    write(&world, "home/skills/own/SKILL.md", &skill("own", "own", ""));
    let untrusted = world.run(&["x"]);
    let all = format!(
        "{}{}",
        shown(&world, &untrusted),
        world.sterna(&["sessions", "export", &session(&untrusted)]).out
    );
    assert!(!all.contains("PROJECT"), "{all}");
    assert!(all.contains("there is no skill `fix`"), "{all}");
    assert_eq!(world.run(&["/fix"]).code, 2);
    let listed = world.sterna(&["skills", "list", "--json"]);
    assert!(!listed.out.contains("PROJECT") && listed.out.contains("\"own\""), "{listed:?}");

    assert_eq!(world.sterna(&["trust"]).code, 0);
    let trusted = world.run(&["x"]);
    assert!(shown(&world, &trusted).contains("BODY of PROJECT"), "{}", trusted.out);
    let listed = world.sterna(&["skills", "list", "--json"]);
    let rows: Vec<Value> = listed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rows: Vec<(&str, &str, &str)> = rows
        .iter()
        .map(|row| {
            let of = |key: &str| row[key].as_str().unwrap();
            (of("kind"), of("name"), of("origin"))
        })
        .collect();
    assert_eq!(rows, [("skill", "fix", "project"), ("skill", "own", "user"), ("agent", "judge", "project")]);
    let shown_skill = world.sterna(&["skills", "show", "fix"]);
    assert!(
        shown_skill.out.contains("files: more.md") && shown_skill.out.contains("BODY"),
        "{shown_skill:?}"
    );

    // One byte: asked about again.
    write(&world, "work/.claude/skills/fix/more.md", "mor3");
    let changed = world.run(&["x"]);
    assert!(!shown(&world, &changed).contains("BODY of PROJECT"), "{}", changed.out);
}

#[test]
fn an_agent_of_a_file_is_started_with_its_prompt_and_tools() {
    let spawn = json!({"calls": [{"name": "agent", "arguments": {"op": "spawn", "type": "judge", "task": "judge it"}}]});
    let inner = json!({"calls": [{"name": "write", "arguments": {"path": "made", "content": "x"}}]});
    let world = World::new(&format!("{spawn}\n{inner}\n{{\"text\":\"judged\"}}"));
    write(&world, "home/agents/judge.md", "---\ndescription: judges\ntools: Read\n---\nJUDGEPROMPT");
    let run = ["run", "-m", "scripted:s.jsonl", "--mode", "bypass", "--session", "maker", "x"];
    let done = world.sterna(&run);
    // Both go through the script: the child may neither spawn nor write.
    assert_eq!((done.code, done.out.as_str()), (0, "judged\n"), "{}", done.err);
    let log = world.sterna(&["sessions", "export", "maker"]).out;
    let child = log.split("\"agent-").nth(1).unwrap().split('"').next().unwrap();
    let child = format!("agent-{child}");
    let report = world.sterna(&["context", &child, "--json"]);
    assert!(report.out.contains("agent:judge"), "{}", report.out);
    let ended = |session: &str| -> Vec<String> {
        let shown = world.sterna(&["sessions", "show", session, "--json"]).out;
        let events = shown.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let ended = events.filter(|event| event["type"] == "tool.ended");
        ended.map(|event| event["status"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((ended("maker"), ended(&child)), (vec!["ok".into(); 2], vec!["not_available".into(); 2]));
}

#[test]
fn validate_names_file_and_line() {
    let world = World::new("");
    write(&world, "home/skills/ok/SKILL.md", &skill("ok", "d", ""));
    let fine = world.sterna(&["skills", "validate"]);
    assert_eq!((fine.code, fine.out.as_str()), (0, ""), "{fine:?}");
    write(&world, "work/.claude/skills/bad/SKILL.md", "---\ndescription: d\nname: Bad\n---\n");
    write(&world, "work/.claude/agents/a.md", "---\ndescription: d\nmax_steps: 0\n---\nx");
    let bad = world.sterna(&["skills", "validate"]);
    assert_eq!(bad.code, 1, "{bad:?}");
    assert!(bad.out.contains("skills/bad/SKILL.md:3: the name `Bad` must be in lower case"), "{bad:?}");
    assert!(bad.out.contains("agents/a.md:3: `max_steps` is 1 to 1000"), "{bad:?}");
    let one = world.sterna(&["skills", "validate", ".claude/skills", "--json"]);
    let lines: Vec<Value> = one.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((one.code, &lines[0]["line"], &lines[0]["weight"]), (1, &json!(3), &json!("error")));
    write(&world, "home/skills/ok/SKILL.md", &skill("ok", "d", "user-invocable: true\n"));
    let own = world.home().join("skills/ok");
    let own = own.to_str().unwrap();
    assert_eq!(world.sterna(&["skills", "validate", own]).code, 0);
    assert_eq!(world.sterna(&["skills", "validate", own, "--strict"]).code, 1);
    assert_eq!(world.sterna(&["skills", "validate", "nowhere"]).code, 2);
}
