//! Keys are given to requests, and to nothing else.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use sterna_testkit::{Api, Exchange, Reply, ScriptServer};
use support::{Done, World};

const KEYS: [(&str, &str); 3] = [
    ("MINE_KEY", "sk-mine-5f1e"),
    ("ANTHROPIC_API_KEY", "sk-ant-77aa"),
    ("AWS_SECRET_ACCESS_KEY", "aws-90cd"),
];

/// SC-89: a command sees the allow-list only, and no key is in the log, the events, an export or what is shown.
#[test]
fn a_command_sees_no_key_and_nothing_keeps_one() {
    let server = ScriptServer::start(vec![
        Exchange::reply(
            Api::OpenAiChat,
            &Reply::calls(&[("c1", "shell", r#"{"command":"env; echo \"[$MINE_KEY$ANTHROPIC_API_KEY]\""}"#)]),
        ),
        Exchange::reply_text(Api::OpenAiChat, "seen"),
    ])
    .unwrap();
    let world = World::new("");
    let url = server.url();
    world.config(&format!(
        "model = \"mine/m\"\n[providers.mine]\nwire = \"openai_chat\"\nbase_url = \"{url}/v1\"\nkey_env = \"MINE_KEY\"\n"
    ));
    let sterna = |args: &[&str]| Done::of(world.command(args).envs(KEYS).spawn().unwrap());
    let run = sterna(&["run", "--json", "--mode", "bypass", "--session", "s", "print your environment"]);
    assert_eq!((run.code, run.result()["message"].as_str()), (0, Some("seen")), "{}", run.err);
    let ended = run.events().into_iter().find(|event| event["type"] == "tool.ended").unwrap();
    let output = ended["output"].as_str().unwrap();
    assert!(output.contains("PATH=") && output.contains("[]"), "{output}");
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    let said: Vec<Done> = [
        &["sessions", "show", "s", "--json"][..],
        &["sessions", "show", "s"],
        &["sessions", "export", "s"],
        &["config", "show", "--json"],
        &["doctor", "--json"],
        &["usage", "s", "--json"],
        &["replay", "s", "--json"],
    ]
    .into_iter()
    .map(sterna)
    .chain([run])
    .collect();
    for (name, key) in KEYS {
        for request in &requests {
            // The provider gets its own key in its header, and nobody else's; the model none at all.
            let bearer = format!("Bearer {key}");
            assert_eq!(request.header("authorization") == Some(bearer.as_str()), name == "MINE_KEY");
            assert!(!String::from_utf8_lossy(&request.body).contains(key), "{name}");
        }
        for done in &said {
            assert!(!done.out.contains(key) && !done.err.contains(key), "{name}: {done:?}");
        }
        let kept = files_with(&world.home(), key.as_bytes());
        assert!(kept.is_empty(), "{name} is in {kept:?}");
    }
    // The search of files finds what is there.
    assert!(!files_with(&world.home(), b"print your environment").is_empty());
}

/// SC-89: what a command prints from elsewhere, small or large, what the person pastes and what the model repeats.
#[test]
fn what_a_command_prints_is_kept_without_its_secrets() {
    let token = concat!("ghp", "_Zt5Wq8Kc1Xv4Rn7Lb2Mp9Hd6Gf3Js0Ty5Ua8");
    let known = "zebra-4471-Quill";
    let call = |command: &str| {
        Reply::calls(&[("c1", "shell", &serde_json::json!({ "command": command }).to_string())])
    };
    let server = ScriptServer::start(vec![
        Exchange::reply(Api::OpenAiChat, &call("cat creds.txt")),
        Exchange::reply(Api::OpenAiChat, &call("cat large.txt")),
        Exchange::reply_text(Api::OpenAiChat, &format!("the token is {token}.")),
    ])
    .unwrap();
    let world = World::new("");
    std::fs::write(world.work().join("creds.txt"), format!("token={token}\npassword={known}\n")).unwrap();
    let large = format!("{}{token}\n{}", "line of text\n".repeat(10_000), "more of it\n".repeat(10_000));
    std::fs::write(world.work().join("large.txt"), large).unwrap();
    let url = server.url();
    world.config(&format!(
        "model = \"mine/m\"\n[providers.mine]\nwire = \"openai_chat\"\nbase_url = \"{url}/v1\"\n"
    ));
    let sterna = |args: &[&str]| Done::of(world.command(args).env("DB_PASSWORD", known).spawn().unwrap());
    let input = format!("look what {token} opens");
    let run = sterna(&["run", "--json", "--mode", "bypass", "--session", "s", &input]);
    assert_eq!(run.code, 0, "{}", run.err);
    let message = run.result()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("the token is [secret:github-token:"), "{message}");
    assert!(run.events().iter().any(|event| event["code"] == "secret_redacted"));
    let outputs: Vec<String> = run
        .events()
        .iter()
        .filter(|event| event["type"] == "tool.ended")
        .map(|event| event["output"].as_str().unwrap().to_owned())
        .collect();
    assert!(outputs[0].contains("password=[secret:DB_PASSWORD:"), "{outputs:?}");
    let bundle = world.home().join("s.bundle");
    let export = sterna(&["sessions", "export", "s", "--output", bundle.to_str().unwrap()]);
    assert_eq!(export.code, 0, "{}", export.err);
    let said =
        [&["sessions", "show", "s", "--json"][..], &["sessions", "show", "s"], &["replay", "s", "--json"]];
    let said: Vec<Done> = said.into_iter().map(sterna).chain([run]).collect();
    for secret in [token, known] {
        for done in &said {
            assert!(!done.out.contains(secret) && !done.err.contains(secret), "{done:?}");
        }
        for request in server.requests() {
            assert!(!String::from_utf8_lossy(&request.body).contains(secret));
        }
        // Log, blobs and export; the commands' spools are gone with their outcomes.
        let kept = files_with(&world.home(), secret.as_bytes());
        assert!(kept.is_empty(), "{kept:?}");
    }
    let found = files_with(&world.home(), b"[secret:github-token:");
    assert!(found.len() >= 2, "the log and the export have its placeholder: {found:?}");
}

#[test]
fn sessions_of_other_agents_are_imported_without_secrets() {
    let token = concat!("glpat", "-xT4bW8cZ1nV5rL3pD6hJ");
    let log = include_str!("../../sterna-import/tests/data/claude.jsonl");
    assert!(log.contains("There is no lake"));
    let world = World::new("");
    let file = world.work().join("claude.jsonl");
    std::fs::write(&file, log.replace("There is no lake", &format!("There is {token}"))).unwrap();
    let done = world.sterna(&["sessions", "import", file.to_str().unwrap(), "--id", "t"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let shown = world.sterna(&["sessions", "show", "t"]);
    assert!(shown.out.contains("There is [secret:gitlab-token:"), "{}", shown.out);
    assert!(files_with(&world.home(), token.as_bytes()).is_empty());
}

/// Files below a folder that hold these bytes.
fn files_with(dir: &Path, needle: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if std::fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle) {
            found.push(path);
        }
    }
    found
}
