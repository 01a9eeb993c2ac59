//! A folder, a home and the binary: what the tests of the command line stand on.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub struct World {
    dir: tempfile::TempDir,
}

/// A command that ended.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A command that runs with its stdout read line by line.
pub struct Running {
    pub child: Child,
    lines: BufReader<ChildStdout>,
    pub seen: String,
}

impl World {
    /// A fresh home and working folder, with this script in `s.jsonl`.
    pub fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Self { dir };
        std::fs::create_dir_all(world.work()).unwrap();
        std::fs::create_dir_all(world.home()).unwrap();
        world.script(script);
        world
    }

    pub fn script(&self, script: &str) {
        std::fs::write(self.work().join("s.jsonl"), script).unwrap();
    }

    pub fn work(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("work")
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("home")
    }

    pub fn config(&self, text: &str) {
        std::fs::write(self.home().join("config.toml"), text).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
        command.args(args).current_dir(self.work()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.dir.path()).env("STERNA_HOME", self.home());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Kills the processes that run this world's commands, and says how many there were.
    pub fn kill_shims(&self) -> usize {
        let shims = self.shims();
        for pid in &shims {
            // It may have ended by itself.
            let _ = kill_process(*pid, Signal::KILL);
        }
        // Their locks are free when they are gone.
        self.shims_end();
        shims.len()
    }

    /// The processes that run this world's commands.
    pub fn shims(&self) -> Vec<Pid> {
        let spools = self.home().join("data/spools");
        let spools = spools.to_str().unwrap().to_owned();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let ours = numbers.filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&spools)
        });
        let ours: Vec<i32> = ours.collect();
        // A child of a shim that has not become its command yet still bears the shim's name.
        let parent = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<i32>().ok())
        };
        let shims = ours.iter().filter(|pid| !parent(pid).is_some_and(|parent| ours.contains(&parent)));
        shims.copied().filter_map(Pid::from_raw).collect()
    }

    /// All of them end. One tells its command's end before it ends itself, a moment later.
    pub fn shims_end(&self) {
        let late = Instant::now() + Duration::from_secs(60);
        while !self.shims().is_empty() {
            assert!(Instant::now() < late, "{:?} run on", self.shims());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Spools of commands that are left on disk.
    pub fn spools(&self) -> usize {
        std::fs::read_dir(self.home().join("data/spools")).map_or(0, |dir| {
            dir.flatten().filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count()
        })
    }

    pub fn sterna(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).spawn().unwrap())
    }

    /// `sterna run -m scripted:s.jsonl --json …`
    pub fn run(&self, args: &[&str]) -> Done {
        self.sterna(&[&["run", "-m", "scripted:s.jsonl", "--json"], args].concat())
    }

    pub fn with_stdin(&self, args: &[&str], input: &[u8]) -> Done {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Done::of(child)
    }

    pub fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines, seen: String::new() }
    }
}

/// A test that fails leaves nothing running.
impl Drop for World {
    fn drop(&mut self) {
        self.kill_shims();
    }
}

impl Done {
    pub fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The events on stdout: JSON lines, `seq` never decreasing, one `result`, last.
    pub fn events(&self) -> Vec<Value> {
        events(&self.out)
    }

    pub fn result(&self) -> Value {
        self.events().pop().unwrap()
    }
}

impl Running {
    /// Reads on until an event of this type came.
    pub fn until(&mut self, kind: &str) -> Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "ended before {kind}: {}", self.seen);
            self.seen.push_str(&line);
            let event = event(&line);
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// The next line as it is.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "ended: {}", self.seen);
        self.seen.push_str(&line);
        line
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn end(mut self) -> Done {
        self.lines.read_to_string(&mut self.seen).unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        Done { code, out: self.seen, err: String::new() }
    }
}

/// One line, held against the committed schema.
pub fn event(line: &str) -> Value {
    static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let schema: Value = serde_json::from_str(include_str!("../../../../events.schema.json")).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    });
    let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    if let Err(error) = SCHEMA.validate(&event) {
        panic!("{error} at {}: {line}", error.instance_path());
    }
    event
}

/// Lines that need not be a whole run.
pub fn event_lines(out: &str) -> Vec<Value> {
    out.lines().map(event).collect()
}

/// A run's lines: valid, `seq` never decreasing, one `result`, last.
pub fn events(out: &str) -> Vec<Value> {
    let events = event_lines(out);
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
    let results: Vec<usize> =
        events.iter().enumerate().filter(|(_, event)| event["type"] == "result").map(|(at, _)| at).collect();
    assert_eq!(results, [events.len() - 1], "one result, and it is last: {out}");
    events
}

/// Events of settled records, without what differs between two runs of the same.
pub fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).filter(|kind| *kind != "model.delta").collect()
}

/// A result without names and times.
pub fn essence(result: &Value) -> Value {
    let mut result = result.clone();
    for field in ["session", "seq", "at", "v"] {
        result.as_object_mut().unwrap().remove(field);
    }
    result
}

pub fn lines_of(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}
