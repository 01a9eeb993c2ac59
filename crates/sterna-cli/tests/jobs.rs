//! Background jobs outlive their turn and Sterna itself, are found again, and leave nothing behind.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Done, Running, World, lines_of};

const RUN: [&str; 6] = ["run", "-m", "scripted:s.jsonl", "--json", "--session", "s"];
const ALL: [&str; 2] = ["--mode", "bypass"];
/// Reads lines until its input ends.
const ECHO: &str = "echo x >> made; echo one; while read -r line; do echo \"got $line\"; done; exit 4";
/// Runs until the test says so.
const UNTIL_GO: &str = "echo x >> made; while [ ! -e go ]; do sleep 0.02; done; echo done";

/// A script, kept whole: which reply is played is told by the number of answers before it.
struct Script(Vec<Value>);

impl Script {
    fn call(mut self, name: &str, arguments: Value) -> Self {
        self.0.push(json!({"calls": [{"name": name, "arguments": arguments}]}));
        self
    }

    fn say(mut self, text: &str) -> Self {
        self.0.push(json!({"text": text}));
        self
    }

    fn play(&self, world: &World) {
        let lines: Vec<String> = self.0.iter().map(Value::to_string).collect();
        world.script(&lines.join("\n"));
    }
}

fn job(command: &str) -> Value {
    json!({"command": command, "background": true, "open_stdin": true})
}

fn run(world: &World, more: &[&str]) -> Done {
    let done = world.sterna(&[&RUN[..], &ALL, more].concat());
    assert_eq!(done.code, 0, "{done:?}");
    done
}

fn outputs(done: &Done) -> Vec<String> {
    let events = done.events();
    let ends = events.iter().filter(|event| event["type"] == "tool.ended");
    ends.map(|event| event["output"].as_str().unwrap().to_owned()).collect()
}

fn ps(world: &World, args: &[&str]) -> Vec<Value> {
    let done = world.sterna(&[&["ps", "--json"], args].concat());
    assert_eq!(done.code, 0, "{done:?}");
    done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The only job there is. An attempt that was revoked before its shim started it never ran, and is none.
fn the_job(world: &World) -> String {
    let is_job = |row: &Value| row["job"] == true && row["state"] != "never_ran";
    let jobs: Vec<Value> = ps(world, &["--all"]).into_iter().filter(is_job).collect();
    let [row] = &jobs[..] else { panic!("{jobs:?}") };
    row["id"].as_str().unwrap().to_owned()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let late = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < late, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill(mut running: Running) {
    running.signal(Signal::KILL);
    running.child.wait().unwrap();
}

#[test]
fn a_job_outlives_its_turn_and_sterna_takes_input_and_is_read_to_its_end() {
    let world = World::new("");
    let script = Script(vec![])
        .call("shell", job(ECHO))
        .call("shell", json!({"command": "echo y >> waits; while [ ! -e go ]; do sleep 0.02; done"}))
        .say("first");
    script.play(&world);
    let turn = world.start(&[&RUN[..], &ALL, &["x"]].concat());
    wait_until("the second call runs", || lines_of(&world.work().join("waits")) == 1);
    kill(turn);
    assert_eq!(world.shims().len(), 2, "the job and the call run on without us");
    std::fs::write(world.work().join("go"), "").unwrap();
    let resumed = world.sterna(&["resume", "s", "--json"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    let id = the_job(&world);
    assert!(outputs(&resumed)[0].starts_with(&format!("started {id}: echo x")), "{}", resumed.out);

    // Another process and another turn: by the id alone.
    let script = script
        .call("shell_input", json!({"job": id, "text": "two\n"}))
        .call("job_output", json!({"job": id, "offset": 4, "wait_s": 20}))
        .call("shell_input", json!({"job": id, "text": "three\n", "close": true}))
        .say("second");
    script.play(&world);
    let told = outputs(&run(&world, &["y"]));
    assert_eq!(told[0], format!("gave {id} 4 bytes"));
    assert_eq!(told[1], format!("got two\n[{id} running; bytes 4–12; offset 12 reads on]"));
    assert_eq!(told[2], format!("gave {id} 6 bytes, and closed its input"));

    world.shims_end();
    let script = script
        .call("job_output", json!({"job": id, "offset": 12}))
        .call("job_output", json!({"job": id}))
        .call("shell_input", json!({"job": id, "text": "four\n"}))
        .call("job_kill", json!({"job": id}))
        .say("third");
    script.play(&world);
    let told = outputs(&run(&world, &["z"]));
    assert_eq!(told[0], format!("got three\n[{id} exited with code 4; bytes 12–22, the end]"));
    let whole = format!("one\ngot two\ngot three\n[{id} exited with code 4; bytes 0–22, the end]");
    assert_eq!(told[1], whole);
    assert_eq!(told[2], format!("{id} takes no input any more: exited with code 4"));
    assert!(told[3].starts_with(&format!("{id} had ended before: exited with code 4\n")), "{}", told[3]);
    assert_eq!(lines_of(&world.work().join("made")), 1, "it was started once");
}

/// Killed between the start of a job and its outcome, at any record: the job is there once, and its id is told.
#[test]
fn a_start_that_a_crash_cut_off_is_told_as_it_was() {
    for kind in ["turn.started", "tool.started", "tool.ended"] {
        let world = World::new("");
        Script(vec![]).call("shell", job(UNTIL_GO)).say("seen").play(&world);
        let mut turn = world.start(&[&RUN[..], &ALL, &["x"]].concat());
        turn.until(kind);
        kill(turn);
        let resumed = world.sterna(&["resume", "s", "--json"]);
        assert_eq!(resumed.code, 0, "{kind}: {resumed:?}");
        let id = the_job(&world);
        let end = outputs(&resumed).pop().unwrap();
        assert!(end.starts_with(&format!("started {id}: ")), "{kind}: {end}");
        assert_eq!(world.shims().len(), 1, "{kind}");
        wait_until("it runs", || lines_of(&world.work().join("made")) > 0);
        assert_eq!(lines_of(&world.work().join("made")), 1, "{kind}");
        std::fs::write(world.work().join("go"), "").unwrap();
        world.shims_end();
    }
}

#[test]
fn a_job_is_ended_with_all_it_started() {
    let world = World::new("");
    let command = "trap '' TERM; setsid sleep 1000 & echo x >> made; while :; do sleep 0.02; done";
    let script = Script(vec![]).call("shell", job(command)).say("first");
    script.play(&world);
    let done = run(&world, &["x"]);
    let id = the_job(&world);
    assert_eq!(
        done.err.lines().last().unwrap(),
        format!("1 background job still runs: {id}; `sterna ps` lists, `sterna ps --kill ID` ends")
    );
    wait_until("it runs", || lines_of(&world.work().join("made")) == 1);
    script.call("job_kill", json!({"job": id, "grace_s": 0})).say("second").play(&world);
    let done = run(&world, &["y"]);
    assert!(outputs(&done)[0].starts_with(&format!("{id} ended by signal 9 (killed)\n")), "{}", done.out);
    world.shims_end();
    assert_eq!(commands(&world), [0; 0]);
    assert!(!done.err.contains("still run"), "{}", done.err);
}

#[test]
fn a_session_has_only_its_own_jobs() {
    let world = World::new("");
    Script(vec![]).call("shell", job(UNTIL_GO)).say("first").play(&world);
    run(&world, &["x"]);
    let id = the_job(&world);
    let other = ["run", "-m", "scripted:s.jsonl", "--json", "--mode", "bypass", "--session", "other", "x"];
    Script(vec![])
        .call("job_output", json!({"job": id}))
        .call("job_kill", json!({"job": id}))
        .call("shell_input", json!({"job": id, "text": "x"}))
        .call("job_output", json!({}))
        .call("job_output", json!({"job": "job-00000000"}))
        .say("done")
        .play(&world);
    let told = outputs(&world.sterna(&other));
    let refused = format!("{id} belongs to session `s`; a session has only its own jobs");
    assert_eq!(told[..3], [refused.clone(), refused.clone(), refused]);
    assert_eq!(told[3], "this session has no background jobs");
    assert_eq!(told[4], "there is no job `job-00000000`; jobs of this session: none");
    assert_eq!(world.shims().len(), 1);

    Script(vec![])
        .say("played")
        .say("played")
        .call("job_output", json!({"job": "job-00000000"}))
        .say("done")
        .play(&world);
    let told = outputs(&run(&world, &["y"]));
    assert_eq!(told[0], format!("there is no job `job-00000000`; jobs of this session: {id} (running)"));
    // A closed session has no jobs.
    let closed = world.sterna(&["sessions", "close", "s"]);
    assert!(closed.err.starts_with("1 background job ended\n"), "{closed:?}");
    world.shims_end();
    assert_eq!((commands(&world), world.spools()), (vec![], 0));
}

#[test]
fn run_waits_for_its_jobs_when_it_is_told_to() {
    let world = World::new("");
    Script(vec![]).call("shell", job(UNTIL_GO)).say("first").play(&world);
    let mut turn = world.start(&[&RUN[..], &ALL, &["--wait-background", "x"]].concat());
    turn.until("result");
    assert_eq!(turn.child.try_wait().unwrap(), None, "it waits");
    assert_eq!(world.shims().len(), 1);
    std::fs::write(world.work().join("go"), "").unwrap();
    assert_eq!(turn.end().code, 0);
    assert_eq!(ps(&world, &[]), [] as [Value; 0]);

    // A signal ends the waiting, not the job.
    std::fs::remove_file(world.work().join("go")).unwrap();
    let mut turn = world.start(&[
        "run",
        "-m",
        "scripted:s.jsonl",
        "--json",
        "--mode",
        "bypass",
        "--session",
        "t",
        "--wait-background",
        "x",
    ]);
    turn.until("result");
    turn.signal(Signal::INT);
    assert_eq!(turn.end().code, 130);
    assert_eq!(world.shims().len(), 1);
    world.kill_shims();
}

#[test]
fn ps_lists_ends_and_cleans_but_never_what_is_still_asked_for() {
    let world = World::new("");
    assert_eq!(world.sterna(&["ps"]).err, "no command runs, and none has left anything\n");
    // A job, and a call that Sterna's death cuts off.
    let call = json!({"command": "echo y >> waits; while [ ! -e go ]; do sleep 0.02; done; echo true end"});
    Script(vec![]).call("shell", job(UNTIL_GO)).call("shell", call).say("seen").play(&world);
    let turn = world.start(&[&RUN[..], &ALL, &["x"]].concat());
    wait_until("both run", || {
        lines_of(&world.work().join("waits")) == 1 && lines_of(&world.work().join("made")) == 1
    });
    kill(turn);
    let rows = ps(&world, &[]);
    let essence: Vec<_> = rows.iter().map(|row| [&row["job"], &row["state"], &row["standing"]]).collect();
    assert_eq!(
        essence,
        [
            [&json!(true), &json!("running"), &json!("settled")],
            [&json!(false), &json!("running"), &json!("open")],
        ]
    );
    assert_eq!((&rows[0]["session"], &rows[0]["command"]), (&json!("s"), &json!(UNTIL_GO)));
    assert_eq!(rows[1]["effect"], json!("s/1/2/tool/0"));
    let table = world.sterna(&["ps"]).out;
    assert!(table.starts_with("ID             SESSION  STATE    AGE"), "{table}");
    assert_eq!(table.lines().count(), 3);
    // Nothing that runs goes.
    let kept = clean(&world);
    assert_eq!((kept["removed"].clone(), kept["kept"].as_array().unwrap().len()), (json!([]), 2));

    std::fs::write(world.work().join("go"), "").unwrap();
    world.shims_end();
    assert_eq!(ps(&world, &[]), [] as [Value; 0]);
    assert_eq!(ps(&world, &["--all"]).len(), 2);
    // The job is over and its start is in the log; the call's end is not, and recovery will ask for it.
    let cleaned = clean(&world);
    assert_eq!(cleaned["removed"], json!([rows[0]["id"]]));
    let why = "its outcome is not in the log yet; `sterna resume s` asks for it";
    assert_eq!(cleaned["kept"], json!([{"id": rows[1]["id"], "why": why}]));
    let resumed = world.sterna(&["resume", "s", "--json"]);
    assert_eq!(outputs(&resumed)[1], "true end\n");
    wait_until("nothing is left", || world.spools() == 0);
}

#[test]
fn doctor_tells_what_a_crash_left_and_ps_ends_and_cleans_it() {
    let world = World::new("");
    Script(vec![]).call("shell", job(UNTIL_GO)).say("seen").play(&world);
    run(&world, &["x"]);
    let id = the_job(&world);
    let doctor = |world: &World| -> Value {
        let done = world.sterna(&["doctor", "--json"]);
        serde_json::from_str::<Value>(&done.out).unwrap()["commands"].clone()
    };
    let found = doctor(&world);
    assert_eq!((&found["running"], &found["leftovers"]), (&json!(1), &json!([])));

    // Its shim is killed: what it ran dies with it, and nobody knows how it would have ended.
    assert_eq!(world.kill_shims(), 1);
    let found = doctor(&world);
    assert_eq!((&found["running"], &found["leftovers"][0]["state"]), (&json!(0), &json!("dead")));
    let text = world.sterna(&["doctor"]).out;
    assert!(text.contains("left behind: 1; `sterna ps --clean` removes what has ended"), "{text}");
    Script(vec![]).say("played").say("played").call("job_output", json!({"job": id})).say("x").play(&world);
    let told = outputs(&run(&world, &["y"]));
    assert!(told[0].contains("lost: what watched it was killed, and its end is not known"), "{told:?}");
    assert_eq!(clean(&world)["removed"], json!([id]));
    assert_eq!((doctor(&world)["leftovers"].clone(), world.spools()), (json!([]), 0));

    // The sessions are gone, a job of them runs on: it is shown, not removed, and can be ended.
    Script(vec![]).call("shell", job(UNTIL_GO)).say("seen").play(&world);
    let again = ["run", "-m", "scripted:s.jsonl", "--json", "--mode", "bypass", "--session", "t", "x"];
    assert_eq!(world.sterna(&again).code, 0);
    let id = the_job(&world);
    for entry in std::fs::read_dir(world.home().join("data")).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    assert_eq!(doctor(&world)["leftovers"][0]["standing"], json!("gone"));
    assert_eq!(clean(&world)["kept"], json!([{"id": id, "why": "it is running"}]));
    let ended = world.sterna(&["ps", "--kill", &id]);
    // A sandbox of its own may stand between, and tells signals as shells do.
    let ends = ["ended by signal 15", "exited with code 143"].map(|end| format!("{id} {end} (killed)\n"));
    assert!(ended.code == 0 && ends.contains(&ended.out), "{ended:?}");
    let cleaned = world.sterna(&["doctor", "--clean"]);
    assert_eq!((cleaned.code, cleaned.out), (0, format!("removed {id}\n")), "{}", cleaned.err);
    assert_eq!((world.spools(), commands(&world)), (0, vec![]));
    let unknown = world.sterna(&["ps", "--kill", &id]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.starts_with(&format!("error: there is no command `{id}`\n")), "{unknown:?}");
}

/// Input for a shell is judged, whatever the job was allowed; what only reads takes it without a question.
#[test]
fn input_for_a_shell_asks_and_input_for_a_reader_does_not() {
    let world = World::new("");
    let script = Script(vec![]).call("shell", job("bash")).call("shell", job("cat")).say("first");
    script.play(&world);
    let started = run(&world, &["x"]);
    let ids: Vec<String> = ps(&world, &[]).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((started.code, ids.len()), (0, 2), "{started:?}");
    let (shell, reader) = (&ids[0], &ids[1]);
    let script = script
        .call("shell_input", json!({"job": shell, "text": "echo x >> made\n"}))
        .call("shell_input", json!({"job": reader, "text": "rm -rf /\n"}))
        .call("job_output", json!({"job": reader, "wait_s": 20}))
        .say("second");
    script.play(&world);
    let told = outputs(&world.sterna(&[&RUN[..], &["--mode", "execute", "y"]].concat()));
    assert!(told[0].starts_with("denied"), "{told:?}");
    assert_eq!(told[1], format!("gave {reader} 9 bytes"));
    assert!(told[2].starts_with("rm -rf /\n"), "{told:?}");
    // A rule that denies a command denies it there too, in any mode.
    let script = script
        .call("shell_input", json!({"job": shell, "text": "rm made\n"}))
        .call("shell_input", json!({"job": shell, "text": "echo x >> made\n"}))
        .say("third");
    script.play(&world);
    let told = outputs(&world.sterna(&[&RUN[..], &ALL, &["--deny", "Shell(rm *)", "z"]].concat()));
    assert!(told[0].starts_with("denied by rule `Shell(rm *)`"), "{told:?}");
    assert_eq!(told[1], format!("gave {shell} 15 bytes"));
    wait_until("the shell ran it", || lines_of(&world.work().join("made")) == 1);
    world.kill_shims();
}

/// After 100 SIGKILLs nothing runs but shims whose command runs, and in the end nothing at all.
#[test]
fn a_hundred_kills_leave_no_orphan() {
    let world = World::new("");
    // Waits without working: for somebody who writes into the pipe, unless they have been there.
    let pipe = world.work().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let command = "[ -e go ] || cat pipe";
    let both = json!({"calls": [
        {"name": "shell", "arguments": job(command)},
        {"name": "shell", "arguments": {"command": command}},
    ]});
    Script(vec![both]).say("seen").play(&world);
    let each = |act: &(dyn Fn(usize, &str) + Sync)| {
        std::thread::scope(|scope| {
            for lane in 0..LANES {
                scope.spawn(move || (lane..KILLS).step_by(LANES).for_each(|n| act(n, &format!("s{n}"))));
            }
        });
    };
    each(&|n, session| {
        let args = ["run", "-m", "scripted:s.jsonl", "--json", "--mode", "bypass", "--session", session, "x"];
        let mut turn = world.start(&args);
        turn.until(["turn.started", "tool.started", "tool.ended"][n % 3]);
        kill(turn);
    });
    // One that was being started at the kill may still be on its way to its claim.
    wait_until("each shim has a command", || {
        world.shims().iter().all(|shim| children(shim.as_raw_pid()) > 0)
    });
    let shims: Vec<i32> = world.shims().iter().map(|shim| shim.as_raw_pid()).collect();
    assert!(shims.len() >= KILLS / 3, "{} shims", shims.len());
    let running = ps(&world, &[]).iter().filter(|row| row["state"] == "running").count();
    assert_eq!(running, shims.len());
    for pid in commands(&world) {
        let mut above = pid;
        while !shims.contains(&above) && above > 1 {
            above = parent(above).unwrap_or(0);
        }
        assert!(above > 1 || parent(pid).is_none(), "{pid} runs without a shim");
    }
    std::fs::write(world.work().join("go"), "").unwrap();
    let all_ended = || {
        // Whoever waits is woken by somebody who comes and goes.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        drop(rustix::fs::open(&pipe, flags, Mode::empty()));
        world.shims().is_empty() && commands(&world).is_empty()
    };
    wait_until("all end", all_ended);
    each(&|_, session| {
        let done = world.sterna(&["resume", session, "--json"]);
        assert_eq!(done.code, 0, "{done:?}");
    });
    wait_until("all end again", all_ended);
    assert_eq!(clean(&world)["kept"], json!([]));
    assert_eq!((ps(&world, &["--all"]).len(), world.spools()), (0, 0));
}

const KILLS: usize = 100;
/// Runtimes at once.
const LANES: usize = 4;

fn clean(world: &World) -> Value {
    let done = world.sterna(&["ps", "--clean", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    serde_json::from_str(&done.out).unwrap()
}

/// Processes that work in the world's folder.
fn commands(world: &World) -> Vec<i32> {
    let work = world.work();
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let here = |pid: &i32| {
        std::fs::read_link(PathBuf::from(format!("/proc/{pid}/cwd"))).is_ok_and(|cwd| cwd == work)
    };
    numbers.filter(here).collect()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn children(pid: i32) -> usize {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().count()
}
