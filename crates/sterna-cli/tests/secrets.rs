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
