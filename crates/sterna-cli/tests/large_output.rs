//! A tool that says far more than a model can read.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use sterna_testkit::{Api, Exchange, Reply, ScriptServer};
use support::World;

/// `seq -w` gives lines of seven digits and a break: eight bytes each, 64 MiB in all.
const LINES: u64 = 8 * 1024 * 1024;
/// What the process may hold at most, with room for a build without optimisation.
const MEMORY_KIB: u64 = 128 * 1024;

/// The text of the last tool result in a request.
fn last_result(body: &Value) -> String {
    let messages = body["messages"].as_array().unwrap();
    let last = messages.iter().rfind(|message| message["role"] == "tool").unwrap();
    last["content"].as_str().unwrap().to_owned()
}

/// The most that a process has held so far, in KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// SC-17: the model sees a bounded view and asks for a part from the middle; memory does not grow with the output.
#[test]
fn sixty_four_mebibytes_are_kept_and_read_in_parts() {
    let pid: Arc<OnceLock<u32>> = Arc::default();
    let held: Arc<OnceLock<u64>> = Arc::default();
    let (of_child, peak_of_child) = (pid.clone(), held.clone());
    let server = ScriptServer::start_with(move |index, request| {
        let reply = match index {
            0 => {
                let command = format!(r#"{{"command":"seq -w {LINES}"}}"#);
                Reply::calls(&[("c1", "shell", &command)])
            }
            1 => {
                let view = last_result(&request.json());
                let hash = view.split("blob:").nth(1).unwrap();
                let hash: String = hash.chars().take_while(char::is_ascii_hexdigit).collect();
                // Line 4,000,001 begins after 4,000,000 lines.
                let args = format!(r#"{{"ref":"blob:{hash}","offset":{},"limit":3}}"#, 4_000_000 * 8);
                Reply::calls(&[("c2", "recall", &args)])
            }
            _ => {
                peak_of_child.set(peak(*of_child.wait())).unwrap();
                Reply::text("read")
            }
        };
        Exchange::reply(Api::OpenAiChat, &reply)
    })
    .unwrap();
    let world = World::new("");
    let url = server.url();
    world.config(&format!(
        "model = \"mine/m\"\n[providers.mine]\nwire = \"openai_chat\"\nbase_url = \"{url}/v1\"\n"
    ));
    let args = ["run", "--json", "--mode", "bypass", "--session", "s", "go"];
    let child = world.command(&args).spawn().unwrap();
    pid.set(child.id()).unwrap();
    let done = support::Done::of(child);
    assert_eq!((done.code, done.result()["message"].as_str()), (0, Some("read")), "{}", done.err);
    let requests = server.requests();
    let view = last_result(&requests[1].json());
    assert!(view.len() <= 16 * 1024 && view.lines().count() <= 400, "{} bytes", view.len());
    assert!(view.contains("0000001") && view.contains(&LINES.to_string()), "{view}");
    let part = last_result(&requests[2].json());
    assert!(part.contains("4000001\n4000002\n4000003"), "{part}");
    for event in done.events() {
        assert!(event["output"].as_str().is_none_or(|output| output.len() <= 2_048), "{event}");
    }
    let held = *held.get().unwrap();
    assert!(held < MEMORY_KIB, "{held} KiB");
    // All of it is kept.
    let kept: u64 = sizes(&world.home().join("data/blobs"));
    assert!(kept >= LINES * 8, "{kept}");
    assert_eq!(world.sterna(&["sessions", "fsck", "s"]).code, 0);
}

fn sizes(dir: &std::path::Path) -> u64 {
    let size = |entry: std::fs::DirEntry| {
        let about = entry.metadata().unwrap();
        if about.is_dir() { sizes(&entry.path()) } else { about.len() }
    };
    std::fs::read_dir(dir).unwrap().map(|entry| size(entry.unwrap())).sum()
}
