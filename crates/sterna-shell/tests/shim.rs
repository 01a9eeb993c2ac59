//! The shim as its user sees it: real processes, real kills.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Hashing, alive, eventually, pids};
use rustix::process::{Pid, Signal, kill_process};
use sterna_model::EffectKey;
use sterna_shell::Captured;
use sterna_shell::shim::{
    AtCap, Cause, End, Event, Exit, Followed, Found, Handle, Helper, How, Input, Leftovers, Plan, Run,
    Screen, ShimError, Shims, Spool, SpoolError, State, follow,
};
use sterna_tool::Cancel;

/// A root of spools, and beside it a folder to work in.
struct World {
    folder: tempfile::TempDir,
    shims: Shims,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let helper = Helper::new(env!("CARGO_BIN_EXE_sterna-shim-test"), ["shim"]);
    let shims = Shims::new(folder.path().join("spool"), Some(helper));
    std::fs::create_dir(folder.path().join("work")).unwrap();
    World { folder, shims }
}

impl World {
    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn plan(&self, line: &str) -> Plan {
        let env = [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())].into();
        let mut plan = Plan::new(Run::Shell { line: line.to_owned() }, self.work(), env);
        plan.grace_ms = 100;
        plan
    }

    async fn start(&self, n: u32, plan: &Plan) -> Handle {
        self.shims.start(&key(n), 1, plan).await.unwrap()
    }

    async fn run(&self, n: u32, plan: &Plan) -> (Exit, String) {
        read(&mut self.start(n, plan).await).await
    }

    /// A file that a command writes, when it is there and whole.
    async fn pid(&self, name: &str) -> String {
        let file = self.work().join(name);
        let read = || std::fs::read_to_string(&file).unwrap_or_default();
        eventually(|| read().ends_with('\n'), name).await;
        read()
    }
}

fn key(n: u32) -> EffectKey {
    format!("demo/1/{n}/tool/0").parse().unwrap()
}

/// The whole output and a true, whole end.
async fn read(handle: &mut Handle) -> (Exit, String) {
    let (end, output) = read_any(handle).await;
    match end {
        End::Exited { exit, whole: true } => (exit, output),
        other => panic!("{other:?} after {output:?}"),
    }
}

async fn read_any(handle: &mut Handle) -> (End, String) {
    let mut output = Vec::new();
    loop {
        match handle.next().await.unwrap() {
            Event::Output(bytes) => output.extend(bytes),
            Event::End(end) => return (end, String::from_utf8_lossy(&output).into_owned()),
        }
    }
}

fn shim_pid(handle: &Handle) -> Pid {
    match handle.spool().state().unwrap() {
        State::Running(Some(started)) => Pid::from_raw(started.pid).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A runtime in a process of its own, which has started a command.
fn runtime(world: &World, n: u32, tie: &str, line: &str) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sterna-shim-test"))
        .arg("runtime")
        .arg(world.shims.root())
        .args([&key(n).to_string(), tie])
        .arg(world.work())
        .arg(line)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, format!("started {}\n", child.id()));
    child
}

fn kill_now(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_command_ends_as_it_says() {
    let world = world();
    // line, end, output
    let cases = [
        ("echo hi", How::Code(0), "hi\n"),
        ("exit 7", How::Code(7), ""),
        ("kill -9 $$", How::Signal(9), ""),
        ("for i in 1 2 3; do echo o$i; echo e$i >&2; done", How::Code(0), "o1\ne1\no2\ne2\no3\ne3\n"),
        ("cat", How::Code(0), ""),
        ("[ $(ps -o pgid= -p $$) = $$ ] && echo own group", How::Code(0), "own group\n"),
        (
            "[ $(ps -o sid= -p $$) = $PPID ] && echo in the shim\\'s session",
            How::Code(0),
            "in the shim's session\n",
        ),
        ("env | grep -v -e ^PATH= -e ^PWD= -e ^SHLVL= -e ^_=", How::Code(1), ""),
        ("ls -l /proc/self/fd | grep -c spool", How::Code(1), "0\n"),
    ];
    for (n, (line, how, output)) in (0..).zip(cases) {
        let (exit, text) = world.run(n, &world.plan(line)).await;
        assert_eq!((&exit.how, text.as_str()), (&how, output), "{line}");
        assert_eq!((exit.cause, exit.bytes, exit.dropped), (Cause::Itself, output.len() as u64, 0), "{line}");
        assert_eq!(exit.hash.0, *blake3::hash(output.as_bytes()).as_bytes(), "{line}");
        assert_eq!(exit.left_behind, 0, "{line}");
        assert!(exit.started_at <= exit.ended_at, "{line}");
    }
    let mut argv = world.plan("");
    argv.run = Run::Argv { program: "printf".into(), args: vec!["%s|".into(), "a b".into(), "$c".into()] };
    assert_eq!(world.run(100, &argv).await.1, "a b|$c|");
}

#[tokio::test]
async fn what_cannot_start_says_why_and_is_an_end() {
    let world = world();
    let mut nowhere = world.plan("echo hi");
    nowhere.cwd = "/nonexistent/x".into();
    let mut nothing = world.plan("");
    nothing.run = Run::Argv { program: "no-such-program".into(), args: vec![] };
    for (n, plan, word) in [(1, nowhere, "/nonexistent/x"), (2, nothing, "No such file")] {
        let (exit, _) = world.run(n, &plan).await;
        assert!(matches!(&exit.how, How::NotStarted(why) if why.contains(word)), "{exit:?}");
    }
    let nul = world.shims.start(&key(3), 1, &world.plan("echo \0")).await;
    assert!(matches!(nul, Err(ShimError::NotStarted(_))), "{nul:?}");
    assert_eq!(world.shims.list().unwrap().len(), 2);
}

#[tokio::test]
async fn input_comes_from_the_plan_and_from_the_socket() {
    let world = world();
    let mut given = world.plan("wc -c");
    given.input = Some(Input { text: "x".repeat(300_000), open: false });
    assert_eq!(world.run(1, &given).await.1.trim(), "300000");
    let mut ignored = world.plan("echo done");
    ignored.input = Some(Input { text: "x".repeat(300_000), open: true });
    assert_eq!(world.run(2, &ignored).await.1, "done\n");

    let mut open = world.plan("read a; read b; echo $a-$b; wc -c");
    open.input = Some(Input { text: "one\n".into(), open: true });
    let mut handle = world.start(3, &open).await;
    handle.control().input(b"two\n").await.unwrap();
    assert_eq!(handle.next().await.unwrap(), Event::Output(b"one-two\n".to_vec()));
    // Another reader and another writer, as after a restart.
    let Found::Running(mut again) = world.shims.attach(&key(3), 1).unwrap() else { panic!() };
    again.control().input("y".repeat(200_000).as_bytes()).await.unwrap();
    again.control().close_input().await.unwrap();
    assert_eq!(read(&mut again).await.1, "one-two\n200000\n");
    assert!(matches!(handle.control().input(b"late").await, Err(ShimError::Ended)));

    let closed = world.start(4, &world.plan("sleep 100")).await;
    assert!(matches!(closed.control().input(b"x").await, Err(ShimError::Refused(_))));
    closed.control().kill(Duration::ZERO).await.unwrap();
}

/// A command that asks for a terminal finds one, of the size that was asked for, and is typed to.
#[tokio::test]
async fn a_command_may_have_a_terminal() {
    let world = world();
    let mut plan =
        world.plan("stty -echo; tty >/dev/null && stty size; read a; echo got $a; exec cat >/dev/tty");
    plan.terminal = Some(Screen { cols: 100, rows: 30 });
    plan.input = Some(Input { text: String::new(), open: true });
    let mut handle = world.start(1, &plan).await;
    assert_eq!(handle.next().await.unwrap(), Event::Output(b"30 100\r\n".to_vec()));
    handle.control().input(b"one\r").await.unwrap();
    // Another life of the runtime.
    let Found::Running(mut again) = world.shims.attach(&key(1), 1).unwrap() else { panic!() };
    let mut text = String::new();
    while !text.ends_with("got one\r\n") {
        let Event::Output(more) = again.next().await.unwrap() else { panic!("{text}") };
        text.push_str(&String::from_utf8(more).unwrap());
    }
    again.control().input(b"two\n").await.unwrap();
    again.control().close_input().await.unwrap();
    let (exit, rest) = read(&mut again).await;
    assert_eq!((exit.how, text.as_str()), (How::Code(0), "30 100\r\ngot one\r\n"));
    assert_eq!(rest, "two\r\n");
    // Ctrl-C goes to what runs in it.
    let mut plan = world.plan("echo ready; sleep 100");
    plan.terminal = Some(Screen { cols: 80, rows: 24 });
    plan.input = Some(Input { text: String::new(), open: true });
    let mut handle = world.start(2, &plan).await;
    handle.next().await.unwrap();
    handle.control().input(&[3]).await.unwrap();
    let End::Exited { exit, .. } = handle.end().await.unwrap() else { panic!() };
    assert!(matches!(exit.how, How::Signal(2) | How::Code(130)), "{exit:?}");
}

#[tokio::test]
async fn a_time_limit_ends_all_that_was_started() {
    let world = world();
    let mut plan = world.plan(
        "echo before
        echo $$ > 1
        sleep 100 & echo $! > 2
        (trap '' TERM; echo $BASHPID > 3; while :; do sleep 100; done) &
        setsid sh -c 'trap \"\" TERM; echo $$ > 4; while :; do sleep 100; done' &
        (setsid sh -c 'setsid sleep 100 & echo $! > 5' &)
        sleep 100",
    );
    // Where the machine is too busy for all five to begin in time, they are given more of it.
    for (n, limit) in [(1, 500), (2, 10_000), (3, 100_000)] {
        plan.time_limit_ms = Some(limit);
        let began = Instant::now();
        let (exit, output) = world.run(n, &plan).await;
        let took = began.elapsed();
        let pids = pids(&world.work(), 5);
        assert!(!pids.iter().any(|pid| alive(pid)), "of {pids:?} one is alive");
        if pids.len() == 5 {
            assert!(took >= Duration::from_millis(limit + 100), "TERM is given its time: {took:?}");
            assert_eq!((exit.cause, exit.how, exit.left_behind), (Cause::TimeLimit, How::Signal(15), 0));
            // A shell may say that its child was ended.
            return assert!(output.starts_with("before\n"), "{output}");
        }
    }
    panic!("they never all began");
}

#[tokio::test]
async fn a_polite_command_is_not_killed_and_its_last_words_count() {
    let world = world();
    let plan = world.plan("trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done");
    let mut handle = world.start(1, &plan).await;
    assert_eq!(handle.next().await.unwrap(), Event::Output(b"ready\n".to_vec()));
    handle.control().kill(Duration::from_secs(20)).await.unwrap();
    let (exit, output) = read(&mut handle).await;
    assert_eq!((exit.how, exit.cause), (How::Code(3), Cause::Killed));
    assert!(output.ends_with("bye\n"), "{output}");
    // One who will not go is killed sooner when a second request says so.
    let stubborn = world.plan("trap '' TERM; echo ready; while :; do sleep 0.01; done");
    let mut handle = world.start(3, &stubborn).await;
    handle.next().await.unwrap();
    handle.control().kill(Duration::from_secs(3_600)).await.unwrap();
    handle.control().kill(Duration::ZERO).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(120), read(&mut handle)).await;
    assert_eq!(ended.expect("it waits for the first request's time").0.how, How::Signal(9));
    // A shutdown tells the shim itself.
    let mut handle = world.start(2, &plan).await;
    handle.next().await.unwrap();
    kill_process(shim_pid(&handle), Signal::TERM).unwrap();
    let (exit, _) = read(&mut handle).await;
    assert_eq!((exit.how, exit.cause), (How::Code(3), Cause::Shutdown));
}

#[tokio::test]
async fn what_is_left_behind_goes_on_or_ends_as_the_plan_says() {
    let world = world();
    let mut plan = world.plan("sleep 100 & echo $!");
    let (exit, pid) = world.run(1, &plan).await;
    assert_eq!((exit.how, exit.left_behind), (How::Code(0), 1));
    assert!(alive(&pid), "nothing waits for what is left behind");
    kill_process(Pid::from_raw(pid.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();

    plan.leftovers = Leftovers::End;
    let (exit, pid) = world.run(2, &plan).await;
    assert_eq!((exit.how, exit.cause, exit.left_behind), (How::Code(0), Cause::Itself, 0));
    assert!(!alive(&pid));
}

#[tokio::test]
async fn a_killed_runtime_finds_the_whole_output_and_the_true_end() {
    let world = world();
    let victim = runtime(&world, 1, "free", "echo x >> f; echo before; sleep 0.4; echo done; exit 5");
    kill_now(victim);
    let Found::Running(mut handle) = world.shims.attach(&key(1), 1).unwrap() else { panic!("it runs") };
    let (exit, output) = read(&mut handle).await;
    assert_eq!((exit.how, output.as_str()), (How::Code(5), "before\ndone\n"));
    // Asked again, also much later, it is the same.
    let Found::Exited(again, mut handle) = world.shims.attach(&key(1), 1).unwrap() else {
        panic!("it ended")
    };
    assert_eq!((&again, read(&mut handle).await), (&again, (again.clone(), output)));
    assert_eq!(std::fs::read_to_string(world.work().join("f")).unwrap(), "x\n");
}

#[tokio::test]
async fn a_runtime_killed_at_any_moment_of_a_start_runs_it_once_or_never() {
    let world = world();
    let (mut ran, mut never) = (0, 0);
    for n in 0..40 {
        let mark = world.work().join(format!("mark{n}"));
        let mut victim = Command::new(env!("CARGO_BIN_EXE_sterna-shim-test"))
            .arg("runtime")
            .arg(world.shims.root())
            .args([&key(n).to_string(), "free"])
            .arg(world.work())
            .arg(format!("echo x >> mark{n}"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // A moment later each time, from before anything happened to after everything did.
        let until = Instant::now() + Duration::from_micros(300 * u64::from(n));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        match world.shims.attach(&key(n), 1).unwrap() {
            Found::Revoked => {
                never += 1;
                assert!(!mark.exists(), "{n}");
            }
            Found::Running(mut handle) | Found::Exited(_, mut handle) => {
                ran += 1;
                read(&mut handle).await;
                assert_eq!(std::fs::read_to_string(&mark).unwrap(), "x\n", "{n}");
            }
            Found::InDoubt(..) => panic!("nobody killed shim {n}"),
        }
    }
    // A shim that came late must not have run what was revoked.
    eventually(
        || world.shims.list().unwrap().iter().all(|l| !matches!(l.state, Ok(State::Running(_)))),
        "ends",
    )
    .await;
    let marks = std::fs::read_dir(world.work()).unwrap().count();
    assert_eq!(marks, ran, "{never} never ran");
    assert!(never > 0, "the first was killed before it could begin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_start_and_a_revocation_exactly_one_wins() {
    let world = Arc::new(world());
    let (mut ran, mut revoked) = (0, 0);
    for n in 0..40 {
        let mark = world.work().join(format!("mark{n}"));
        let start = {
            let world = world.clone();
            tokio::spawn(async move {
                world.shims.start(&key(n), 1, &world.plan(&format!("echo x >> mark{n}"))).await
            })
        };
        let plan = Spool::of(world.shims.root(), &key(n), 1).dir().join("plan");
        while !plan.exists() && !start.is_finished() {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_micros(150 * u64::from(n))).await;
        let found = world.shims.attach(&key(n), 1);
        let started = start.await.unwrap();
        match (found, started) {
            (Ok(Found::Revoked), Err(ShimError::Revoked)) => {
                revoked += 1;
                assert!(!mark.exists(), "{n}");
            }
            (Ok(Found::Running(mut one) | Found::Exited(_, mut one)), Ok(mut other)) => {
                ran += 1;
                assert_eq!(read(&mut one).await, read(&mut other).await);
                assert_eq!(std::fs::read_to_string(&mark).unwrap(), "x\n", "{n}");
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    assert!(revoked > 0 && ran > 0, "{revoked} revoked, {ran} ran: the race was none");
    assert_eq!(std::fs::read_dir(world.work()).unwrap().count(), ran);
}

#[tokio::test]
async fn a_shim_that_dies_at_any_step_leaves_the_truth_or_a_doubt() {
    #[derive(Debug, PartialEq)]
    enum Want {
        Never,
        Doubt,
        Code(i32),
    }
    // After this step, what recovery must find, and whether the command may have begun.
    let table = [
        ("Greeted", Want::Never, false),
        ("Locked", Want::Never, false),
        ("Listening", Want::Never, false),
        ("Linked", Want::Doubt, false),
        ("Claimed", Want::Doubt, false),
        ("Spawned", Want::Doubt, true),
        ("Output", Want::Doubt, true),
        ("Ended", Want::Doubt, true),
        ("OutputKept", Want::Doubt, true),
        ("ExitWritten", Want::Doubt, true),
        ("ExitPublished", Want::Code(4), true),
        ("ExitDurable", Want::Code(4), true),
    ];
    let world = world();
    std::fs::create_dir(world.shims.root()).unwrap();
    for (n, (step, want, may_run)) in (0..).zip(table) {
        std::fs::write(world.shims.root().join("die-at"), step).unwrap();
        let started =
            world.shims.start(&key(n), 1, &world.plan(&format!("echo x >> mark{n}; echo out; exit 4"))).await;
        assert_eq!(started.is_err(), want == Want::Never, "{step}: {started:?}");
        if let Ok(mut live) = started {
            // The live runtime is told the same.
            let (end, _) = read_any(&mut live).await;
            assert_eq!(matches!(end, End::Lost), want == Want::Doubt, "{step}: {end:?}");
        }
        let found = match world.shims.attach(&key(n), 1).unwrap() {
            Found::Revoked => Want::Never,
            Found::InDoubt(started, _) => {
                assert!(started.is_some(), "{step}");
                Want::Doubt
            }
            Found::Exited(Exit { how: How::Code(code), .. }, mut handle) => {
                assert_eq!(read(&mut handle).await.1, "out\n");
                Want::Code(code)
            }
            other => panic!("{step}: {other:?}"),
        };
        assert_eq!(found, want, "{step}");
        let mark = std::fs::read_to_string(world.work().join(format!("mark{n}"))).unwrap_or_default();
        assert!(mark.is_empty() || (may_run && mark == "x\n"), "{step}: {mark:?}");
    }
}

#[tokio::test]
async fn the_command_dies_with_a_killed_shim_and_its_strays_are_found() {
    let world = world();
    let mut handle = world.start(1, &world.plan("sleep 100 & echo $!; echo $$; wait")).await;
    let mut output = String::new();
    while output.lines().count() < 2 {
        let Event::Output(bytes) = handle.next().await.unwrap() else { panic!() };
        output += &String::from_utf8_lossy(&bytes);
    }
    assert_eq!(world.shims.end_strays(handle.spool()).unwrap(), 0, "it runs");
    kill_process(shim_pid(&handle), Signal::KILL).unwrap();
    assert_eq!(handle.end().await.unwrap(), End::Lost);
    let [stray, main] = output.lines().collect::<Vec<_>>()[..] else { panic!("{output}") };
    eventually(|| !alive(main), "the command to die").await;
    let Found::InDoubt(Some(_), mut again) = world.shims.attach(&key(1), 1).unwrap() else { panic!() };
    assert_eq!(read_any(&mut again).await, (End::Lost, output.clone()));
    assert!(alive(stray));
    assert_eq!(world.shims.end_strays(handle.spool()).unwrap(), 1);
    eventually(|| !alive(stray), "the stray to die").await;
    assert_eq!(world.shims.end_strays(handle.spool()).unwrap(), 0);
}

#[tokio::test]
async fn a_bound_command_dies_with_its_runtime() {
    let world = world();
    let victim = runtime(
        &world,
        1,
        "bound",
        "trap '' TERM; setsid sleep 100 & echo $! > 1; echo $$ > 2; wait; sleep 100",
    );
    let pids = [world.pid("1").await, world.pid("2").await];
    assert!(pids.iter().all(|pid| alive(pid)));
    kill_now(victim);
    match world.shims.attach(&key(1), 1).unwrap() {
        Found::Running(mut handle) | Found::Exited(_, mut handle) => {
            assert_eq!(read(&mut handle).await.0.cause, Cause::Unbound);
        }
        other => panic!("{other:?}"),
    }
    assert!(pids.iter().all(|pid| !alive(pid)));
}

#[tokio::test]
async fn many_readers_see_the_same() {
    let world = world();
    let line = "for i in $(seq 1 20); do seq 1 500; sleep 0.01; done; exit 9";
    let first = world.start(1, &world.plan(line)).await;
    let mut readers = vec![first];
    for _ in 0..6 {
        match world.shims.attach(&key(1), 1).unwrap() {
            Found::Running(handle) | Found::Exited(_, handle) => readers.push(handle),
            other => panic!("{other:?}"),
        }
    }
    let all = futures::future::join_all(readers.iter_mut().map(read)).await;
    let want: String = (1..=500).map(|i| format!("{i}\n")).collect::<String>().repeat(20);
    for (exit, output) in &all {
        assert_eq!((&exit.how, output == &want), (&How::Code(9), true));
    }
    let mut late = world.shims.attach(&key(1), 1).map(|found| match found {
        Found::Exited(_, handle) => handle,
        other => panic!("{other:?}"),
    });
    let late = late.as_mut().unwrap();
    late.seek(want.len() as u64 - 4);
    assert_eq!(read(late).await.1, "500\n");
}

#[tokio::test]
async fn output_beyond_the_cap_ends_the_command_or_is_counted() {
    let world = world();
    let mut plan = world.plan("head -c 300000 /dev/zero; echo x > done; exit 0");
    plan.output_cap = 100_000;
    plan.at_cap = AtCap::Drop;
    let (exit, output) = world.run(1, &plan).await;
    assert_eq!((exit.how, exit.bytes, exit.dropped, output.len()), (How::Code(0), 100_000, 200_000, 100_000));
    assert!(world.work().join("done").exists());
    let mut flood = world.plan("yes");
    flood.output_cap = 100_000;
    let (exit, output) = world.run(2, &flood).await;
    assert_eq!((exit.cause, exit.bytes, output.len()), (Cause::OutputCap, 100_000, 100_000));
    assert!(exit.dropped > 0);
    // A flood that is not capped does not outlive its time.
    let mut flood = world.plan("yes");
    flood.time_limit_ms = Some(100);
    assert_eq!(world.run(3, &flood).await.0.cause, Cause::TimeLimit);
}

#[tokio::test]
async fn without_a_helper_nothing_runs_and_nothing_stays() {
    let world = world();
    let helpers = [
        None,
        Some(Helper::new("/nonexistent/helper", ["shim"])),
        Some(Helper::new("/bin/echo", ["not a shim"])),
        Some(Helper::new("/bin/true", [""; 0])),
    ];
    for helper in helpers {
        let shims = Shims::new(world.shims.root(), helper);
        let started = shims.start(&key(1), 1, &world.plan("echo x > f")).await;
        assert!(matches!(started, Err(ShimError::NoShim { .. })), "{started:?}");
        assert_eq!(shims.list().unwrap().len(), 0);
    }
    assert_eq!(std::fs::read_dir(world.work()).unwrap().count(), 0);
}

#[tokio::test]
async fn spools_are_private_listed_and_removed() {
    let world = world();
    let secret = [("TOKEN".to_owned(), "s3cret".to_owned())];
    let mut plan = world.plan("sleep 100");
    plan.env.extend(secret);
    let mut handle = world.start(1, &plan).await;
    world.run(2, &world.plan("echo hi; exit 1")).await;
    assert!(matches!(world.shims.attach(&key(3), 1).unwrap(), Found::Revoked));

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(world.shims.root()), 0o700);
    assert_eq!(mode(handle.spool().dir()), 0o700);
    for name in ["plan", "claim", "lock", "output", "exited.tmp"] {
        assert_eq!(mode(&handle.spool().dir().join(name)), 0o600, "{name}");
    }
    let environ = |pid: Pid| {
        let mut bytes = Vec::new();
        let mut file = std::fs::File::open(format!("/proc/{}/environ", pid.as_raw_pid())).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(environ(shim_pid(&handle)), b"", "the shim has no environment");

    let list = world.shims.list().unwrap();
    let known: Vec<_> =
        list.iter().filter_map(|l| l.plan.as_ref()).map(|p| (p.key.clone(), p.command.as_str())).collect();
    assert_eq!(known, [(key(1), "sleep 100"), (key(2), "echo hi; exit 1")]);
    let state = |n| world.shims.peek(&key(n), 1).unwrap();
    assert!(matches!(state(1), State::Running(Some(_))));
    assert!(matches!(state(2), State::Exited(Exit { how: How::Code(1), bytes: 3, .. })));
    assert_eq!((state(3), state(4)), (State::Revoked, State::Open));

    assert!(matches!(world.shims.remove(&key(1), 1), Err(ShimError::StillRuns)));
    let again = world.shims.start(&key(1), 1, &plan).await;
    assert!(matches!(again, Err(ShimError::Spool(SpoolError::Exists))), "{again:?}");
    handle.control().kill(Duration::ZERO).await.unwrap();
    assert_eq!(read(&mut handle).await.0.how, How::Signal(15));
    let Found::Exited(_, mut late) = world.shims.attach(&key(2), 1).unwrap() else { panic!() };
    for n in 1..=4 {
        world.shims.remove(&key(n), 1).unwrap();
    }
    assert!(matches!(late.next().await, Err(ShimError::Removed)));
    assert_eq!(std::fs::read_dir(world.shims.root()).unwrap().count(), 0);
    std::fs::create_dir(handle.spool().dir().with_extension("gone")).unwrap();
    std::fs::create_dir(world.shims.root().join("another.gone")).unwrap();
    assert_eq!(world.shims.sweep().unwrap(), 1);
    assert_eq!(std::fs::read_dir(world.shims.root()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_deep_folder_is_no_obstacle() {
    let world = world();
    let root = world.folder.path().join("d".repeat(120)).join("e".repeat(120));
    let shims = Shims::new(root, Some(Helper::new(env!("CARGO_BIN_EXE_sterna-shim-test"), ["shim"])));
    let mut handle = shims.start(&key(1), 1, &world.plan("sleep 100")).await.unwrap();
    handle.control().kill(Duration::ZERO).await.unwrap();
    assert_eq!(read(&mut handle).await.0.cause, Cause::Killed);
}

#[tokio::test]
async fn a_start_that_is_dropped_leaves_nothing_running() {
    let world = world();
    for n in 0..12 {
        let plan = world.plan(&format!("echo $$ > {n}; exec sleep 100"));
        let wait = Duration::from_micros(400 * u64::from(n));
        let started = tokio::time::timeout(wait, world.shims.start(&key(n), 1, &plan)).await;
        if let Ok(handle) = started {
            handle.unwrap().control().kill_unheard(Duration::ZERO).unwrap();
        }
    }
    let runs =
        || world.shims.list().unwrap().iter().any(|l| matches!(l.state, Ok(State::Running(_) | State::Open)));
    eventually(|| !runs(), "all to end").await;
    for entry in std::fs::read_dir(world.work()).unwrap() {
        let pid = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!alive(&pid));
    }
}

#[tokio::test]
async fn following_gives_what_running_gives() {
    let world = world();
    let quiet = || Arc::new(|_: String| {});
    let follow_it =
        |handle, cancel| follow(handle, Arc::new(Hashing), cancel, Duration::from_millis(100), quiet());

    let handle = world.start(1, &world.plan("echo hi; exit 3")).await;
    let Followed::Ended { ended, cause, lost } = follow_it(handle, Cancel::new()).await.unwrap() else {
        panic!()
    };
    assert_eq!((ended.exit_code, ended.output.text().as_ref(), lost), (Some(3), "hi\n", 0));
    assert_eq!((cause, ended.cancelled, ended.timed_out), (Cause::Itself, false, false));

    let handle = world.start(2, &world.plan("seq 1 200000")).await;
    let Followed::Ended { ended, .. } = follow_it(handle, Cancel::new()).await.unwrap() else { panic!() };
    let want: String = (1..=200_000).map(|i| format!("{i}\n")).collect();
    let Captured::Large { blob, head, .. } = ended.output else { panic!() };
    assert_eq!((blob.bytes, blob.hash.0), (want.len() as u64, *blake3::hash(want.as_bytes()).as_bytes()));
    assert!(want.starts_with(&head));

    let cancel = Cancel::new();
    let handle = world.start(3, &world.plan("sleep 100")).await;
    cancel.cancel();
    let Followed::Ended { ended, .. } = follow_it(handle, cancel).await.unwrap() else { panic!() };
    assert_eq!((ended.cancelled, ended.signal), (true, Some(15)));

    let handle = world.start(4, &world.plan("echo half; sleep 100")).await;
    let shim = shim_pid(&handle);
    eventually(
        || std::fs::metadata(handle.spool().dir().join("output")).is_ok_and(|m| m.len() == 5),
        "output",
    )
    .await;
    kill_process(shim, Signal::KILL).unwrap();
    let Followed::Lost(output) = follow_it(handle, Cancel::new()).await.unwrap() else { panic!() };
    assert_eq!(output.text(), "half\n");
}

#[test]
fn spools_that_are_gone_with_their_root_may_be_lost() {
    let folder = tempfile::tempdir().unwrap();
    let shims = Shims::new(folder.path().join("spool"), None);
    let lost = |intended_at| shims.may_be_lost(&key(1), 1, intended_at);
    // Nobody knows since when it is there.
    assert!(lost(0) && lost(u64::MAX));
    shims.prepare().unwrap();
    let since = folder.path().join("spool/.since");
    let before: u64 = std::fs::read_to_string(&since).unwrap().parse().unwrap();
    assert!(lost(before - 1) && !lost(before) && !lost(before + 1), "it is younger than what came before it");
    // The next process finds it as it is.
    std::fs::write(&since, "1000").unwrap();
    shims.prepare().unwrap();
    assert!(lost(999) && !lost(1000));
    // Half a note is none.
    std::fs::write(&since, "10x").unwrap();
    assert!(lost(u64::MAX));
    // What is there is not lost, whatever the note says.
    std::fs::create_dir(folder.path().join("spool").join(Spool::name(&key(1), 1))).unwrap();
    assert!(!lost(0));
}
