//! Eight processes, one store, 2,000 turns: no lock error, no lost turn.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use support::event_lines;

const PROCESSES: usize = 8;
const TURNS: usize = 250;

#[test]
fn eight_processes_on_one_store_lose_no_turn() {
    let dir = tempfile::tempdir().unwrap();
    let script: String = (0..TURNS).map(|n| format!("{{\"text\":\"answer {n}\"}}\n")).collect();
    std::fs::write(dir.path().join("script.jsonl"), script).unwrap();
    let start = |n: usize| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sterna"))
            .args(["chat", "-m", "scripted:script.jsonl", "--session", &format!("s{n}")])
            .current_dir(dir.path())
            .env_clear()
            .env("STERNA_HOME", dir.path().join("home"))
            .env("HOME", dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::spawn(move || {
            for turn in 0..TURNS {
                // A child that died says why at its end.
                let _ = writeln!(stdin, "question {turn}");
            }
        });
        child
    };
    let children: Vec<_> = (0..PROCESSES).map(start).collect();
    for (n, child) in children.into_iter().enumerate() {
        let done = child.wait_with_output().unwrap();
        let (said, complained) =
            (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.code(), Some(0), "process {n}: {complained}");
        for turn in 0..TURNS {
            assert!(said.contains(&format!("answer {turn}")), "process {n} lost turn {turn}: {complained}");
        }
        assert!(!complained.to_lowercase().contains("lock"), "{complained}");
    }
    for n in 0..PROCESSES {
        let run = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
            command.args(args).current_dir(dir.path()).env_clear();
            command.env("STERNA_HOME", dir.path().join("home")).env("HOME", dir.path()).output().unwrap()
        };
        let name = format!("s{n}");
        assert_eq!(run(&["sessions", "fsck", &name]).status.code(), Some(0));
        let shown = String::from_utf8(run(&["sessions", "show", &name, "--json"]).stdout).unwrap();
        let committed = event_lines(&shown).iter().filter(|event| event["type"] == "turn.committed").count();
        assert_eq!(committed, TURNS);
    }
}
