//! Level 2 of the crash matrix: a real process, SIGKILL at each record boundary of a reference turn, a fresh one that
//! carries on. What must hold is written here by hand.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use sterna_testkit::{Api, Exchange, Reply, ScriptServer};
use support::{event, event_lines};

/// The model answers by what it is asked, so that asking again gives the same answer.
fn model() -> ScriptServer {
    ScriptServer::start_with(|_, request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let answers =
            body["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "assistant").count();
        let reply = match answers {
            0 => Reply::calls(&[
                ("c1", "read", r#"{"path":"a.txt"}"#),
                ("c2", "write", r#"{"path":"b.txt","content":"made\n"}"#),
                ("c3", "shell", r#"{"command":"echo x >> count.txt; sleep 0.05; echo shell done"}"#),
            ]),
            1 => Reply::calls(&[("c4", "read", r#"{"path":"b.txt"}"#)]),
            _ => Reply::text("all done"),
        };
        Exchange::reply(Api::OpenAiChat, &reply)
    })
    .unwrap()
}

fn sterna(home: &Path, work: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.args(args).current_dir(work).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("STERNA_HOME", home).env("HOME", home).stdin(Stdio::null());
    command
}

/// Runs the turn, kills it when record `at` is shown, resumes it. Gives the session's settled events.
fn life_and_next(at: Option<u64>) -> (Vec<Value>, usize) {
    let server = model();
    let dir = tempfile::tempdir().unwrap();
    let (home, work) = (dir.path().join("home"), dir.path().join("work"));
    std::fs::create_dir_all(&home).unwrap();
    std::fs::create_dir_all(&work).unwrap();
    std::fs::write(work.join("a.txt"), "first\n").unwrap();
    let config = format!(
        "model = \"mine/m\"\n[providers.mine]\nwire = \"openai_chat\"\nbase_url = \"{}/v1\"\n[policy]\nallow = [\"Shell(echo *)\", \"Shell(sleep *)\", \"Write(count.txt)\"]\n",
        server.url()
    );
    std::fs::write(home.join("config.toml"), config).unwrap();
    let mut child = sterna(&home, &work, &["run", "--json", "--session", "s", "--key", "k", "do it"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event = event(&line.unwrap());
        let seen = event["seq"].as_u64().unwrap();
        if at.is_some_and(|at| seen >= at) {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    if at.is_some() {
        let started = std::time::Instant::now();
        let resumed = sterna(&home, &work, &["resume", "s", "--json"]).output().unwrap();
        let text = String::from_utf8(resumed.stdout).unwrap();
        let last = event_lines(&text)
            .pop()
            .unwrap_or_else(|| panic!("{at:?}: {}", String::from_utf8_lossy(&resumed.stderr)));
        assert_eq!(
            (&last["type"], &last["message"]),
            (&"result".into(), &"all done".into()),
            "{at:?}: {last}"
        );
        assert_eq!(resumed.status.code(), Some(0));
        // A dead owner is taken over at once: nothing waits for a lease to expire.
        assert!(started.elapsed().as_secs() < 20);
    }
    // The same input again is the same turn: nothing is doubled.
    let again =
        sterna(&home, &work, &["run", "--json", "--session", "s", "--key", "k", "do it"]).output().unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stderr));
    let fsck = sterna(&home, &work, &["sessions", "fsck", "s"]).output().unwrap();
    assert_eq!(fsck.status.code(), Some(0), "{at:?}: {}", String::from_utf8_lossy(&fsck.stdout));
    let replay = sterna(&home, &work, &["replay", "s"]).output().unwrap();
    assert_eq!(replay.status.code(), Some(0), "{at:?}: {}", String::from_utf8_lossy(&replay.stdout));
    let shown = sterna(&home, &work, &["sessions", "show", "s", "--json"]).output().unwrap();
    let ran = std::fs::read_to_string(work.join("count.txt")).unwrap_or_default().lines().count();
    assert_eq!(std::fs::read_to_string(work.join("b.txt")).unwrap(), "made\n");
    (event_lines(&String::from_utf8(shown.stdout).unwrap()), ran)
}

#[test]
fn a_kill_at_any_record_loses_and_doubles_nothing() {
    let (whole, ran) = life_and_next(None);
    assert_eq!(ran, 1);
    let last = whole.last().unwrap()["seq"].as_u64().unwrap();
    assert!(last >= 12, "{last}");
    for at in 1..=last {
        let (events, ran) = life_and_next(Some(at));
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for event in &events {
            *count.entry(event["type"].as_str().unwrap()).or_default() += 1;
        }
        let of = |name: &str| count.get(name).copied().unwrap_or(0);
        assert_eq!(
            (of("input.accepted"), of("turn.started"), of("turn.committed"), of("result")),
            (1, 1, 1, 1)
        );
        // Each call has one outcome; the command ran once, and its true end is told wherever Sterna died.
        assert_eq!(of("tool.ended"), 4, "killed at {at}");
        let shell = events.iter().find(|e| e["type"] == "tool.ended" && e["name"] == "shell").unwrap();
        match shell["status"].as_str().unwrap() {
            "ok" => assert_eq!((ran, shell["exit_code"].as_i64()), (1, Some(0)), "killed at {at}"),
            other => panic!("killed at {at}: {other}"),
        }
        // Gap-free, also over the crash.
        let mut seqs: Vec<u64> = events.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
        seqs.dedup();
        assert_eq!(seqs, (1..=*seqs.last().unwrap()).collect::<Vec<_>>(), "killed at {at}");
    }
}
