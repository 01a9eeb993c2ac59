//! SIGKILL before every system call of both sides: of the shim, and of the runtime that starts it.
//!
//! `strace` does it. Where it is missing or may not trace, these tests say so and prove nothing; the named steps in
//! `shim.rs` are tried everywhere.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::eventually;
use rustix::process::{Pid, Signal, kill_process};
use sterna_model::EffectKey;
use sterna_shell::shim::{End, Found, Helper, How, Plan, Run, Shims};

const BIN: &str = env!("CARGO_BIN_EXE_sterna-shim-test");

#[tokio::test]
async fn a_shim_killed_before_any_system_call_leaves_the_truth_or_a_doubt() {
    let world = World::new();
    let Some(points) = world
        .points(|world, args, n| {
            let world = world.clone();
            let mut args = args.to_vec();
            args.push("shim".into());
            async move {
                let shims = Shims::new(world.root(), Some(Helper::new("strace", args)));
                // Its answer is checked by what recovery finds.
                if let Ok(mut handle) = shims.start(&key(n), 1, &world.plan(n)).await {
                    handle.end().await.unwrap();
                }
            }
        })
        .await
    else {
        return;
    };
    assert!(points.never > 10 && points.doubt > 10 && points.ended > 1, "{points:?}");
}

#[tokio::test]
async fn a_runtime_killed_before_any_system_call_ran_it_once_or_never() {
    let world = World::new();
    let Some(points) = world
        .points(|world, args, n| {
            let mut runtime = Command::new("strace")
                .args(args)
                .arg("runtime")
                .arg(world.root())
                .args([&key(n).to_string(), "free"])
                .arg(world.work())
                .arg(world.line(n))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // It says that it has started, or is dead.
            let mut said = String::new();
            BufReader::new(runtime.stdout.take().unwrap()).read_line(&mut said).unwrap();
            if let Some(pid) =
                said.strip_prefix("started ").and_then(|pid| Pid::from_raw(pid.trim().parse().unwrap()))
            {
                // Its tracer follows it, and may have come first.
                let _ = kill_process(pid, Signal::KILL);
            }
            runtime.wait().unwrap();
            std::future::ready(())
        })
        .await
    else {
        return;
    };
    assert!(points.never > 10 && points.ended > 10, "{points:?}");
    assert_eq!(points.doubt, 0, "no shim was killed");
}

#[derive(Debug, Default)]
struct Found3 {
    never: u32,
    doubt: u32,
    ended: u32,
}

#[derive(Clone)]
struct World {
    folder: std::sync::Arc<tempfile::TempDir>,
}

impl World {
    fn new() -> Self {
        let world = Self { folder: std::sync::Arc::new(tempfile::tempdir().unwrap()) };
        std::fs::create_dir(world.work()).unwrap();
        world
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn mark(&self, n: u32) -> String {
        std::fs::read_to_string(self.work().join(format!("mark{n}"))).unwrap_or_default()
    }

    fn line(&self, n: u32) -> String {
        format!("echo x >> mark{n}; echo out; exit 4")
    }

    fn plan(&self, n: u32) -> Plan {
        let env = [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())].into();
        Plan::new(Run::Shell { line: self.line(n) }, self.work(), env)
    }

    /// Runs once to see which system calls there are, then once for each, killed there. `None` without a tracer.
    async fn points<F>(&self, run: impl Fn(&Self, &[String], u32) -> F) -> Option<Found3>
    where
        F: Future<Output = ()>,
    {
        let log = self.folder.path().join("log");
        let args = |at: &[&str]| -> Vec<String> { at.iter().copied().map(String::from).collect() };
        run(self, &args(&["-qqq", "-o", log.to_str().unwrap(), BIN]), 0).await;
        let Some(calls) = calls(&log) else {
            eprintln!("strace cannot trace here: nothing is proved");
            return None;
        };
        let shims = Shims::new(self.root(), None);
        let mut found = Found3::default();
        let mut revoked = Vec::new();
        for (n, call) in (1..).zip(&calls) {
            run(self, &args(&["-qqq", "-o", "/dev/null", "-e", call, BIN]), n).await;
            match shims.attach(&key(n), 1).unwrap() {
                Found::Revoked => {
                    found.never += 1;
                    revoked.push(n);
                }
                Found::InDoubt(..) => {
                    found.doubt += 1;
                    assert!(["", "x\n"].contains(&self.mark(n).as_str()), "{call}");
                }
                Found::Running(mut handle) | Found::Exited(_, mut handle) => {
                    found.ended += 1;
                    let End::Exited { exit, whole: true } = handle.end().await.unwrap() else {
                        panic!("{call}")
                    };
                    assert_eq!(
                        (exit.how, exit.bytes, self.mark(n).as_str()),
                        (How::Code(4), 4, "x\n"),
                        "{call}"
                    );
                }
            }
        }
        let root = self.root();
        eventually(|| !anyone_works_in(&root), "the last shim to end").await;
        for n in revoked {
            assert_eq!(self.mark(n), "", "revoked, and ran: {}", calls[n as usize - 1]);
        }
        Some(found)
    }
}

fn key(n: u32) -> EffectKey {
    format!("demo/1/{n}/tool/0").parse().unwrap()
}

/// Where to kill: each call that the log shows, but for those with which any process begins.
fn calls(log: &Path) -> Option<Vec<String>> {
    const OF_NO_INTEREST: [&str; 12] = [
        "mmap",
        "mprotect",
        "munmap",
        "brk",
        "pread64",
        "prlimit64",
        "rt_sigaction",
        "sigaltstack",
        "getrandom",
        "fcntl",
        "epoll_ctl",
        "exit_group",
    ];
    let text = std::fs::read_to_string(log).ok()?;
    let mut counts = BTreeMap::<&str, u32>::new();
    for (name, _) in text.lines().filter_map(|line| line.split_once('(')) {
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if is_name && !OF_NO_INTEREST.contains(&name) {
            *counts.entry(name).or_default() += 1;
        }
    }
    // Waiting makes as many calls as time allows.
    let points = |(name, count): (&str, u32)| {
        let name = name.to_owned();
        (1..=count.min(30)).map(move |at| format!("inject={name}:signal=KILL:when={at}"))
    };
    let all: Vec<String> = counts.into_iter().flat_map(points).collect();
    (!all.is_empty()).then_some(all)
}

/// Whether a process was started with something below the folder.
fn anyone_works_in(folder: &Path) -> bool {
    let folder = folder.to_str().unwrap();
    let lines = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
    lines
        .filter_map(|path| std::fs::read(path).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(folder))
}
