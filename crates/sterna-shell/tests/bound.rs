//! Servers that live as long as whoever started them.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Stdio;

use common::eventually;
use common::sandbox::world;
use sterna_shell::sandbox::{Level, Network};
use sterna_shell::shim::{Helper, Server, start_unbound};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

fn server(line: &str) -> Server {
    let env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("OWN", "value")];
    Server {
        program: "sh".into(),
        args: vec!["-c".into(), line.into()],
        cwd: "/".into(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        confine: None,
    }
}

fn helper() -> Helper {
    Helper::new(env!("CARGO_BIN_EXE_sterna-shim-test"), ["shim"])
}

fn start(line: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = helper().start_bound(&server(line)).unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[tokio::test]
async fn it_speaks_through_its_own_streams_and_its_code_comes_back() {
    let (mut child, mut lines) = start("read a; echo \"$a $OWN\"; echo oops >&2; exit 7");
    child.stdin.as_mut().unwrap().write_all(b"hello\n").await.unwrap();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "hello value");
    assert_eq!(lines.next_line().await.unwrap(), None);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
    assert_eq!((errors.as_str(), child.wait().await.unwrap().code()), ("oops\n", Some(7)));
}

#[tokio::test]
async fn what_is_not_there_is_127_and_says_so() {
    let missing = Server { program: "no-such-program".into(), ..server("") };
    let output = helper().start_bound(&missing).unwrap().wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no-such-program could not be started"));
    let nowhere = Server { cwd: "/no/such/folder".into(), ..server("true") };
    assert!(helper().start_bound(&nowhere).is_err() && start_unbound(&nowhere).is_err());
}

#[tokio::test]
async fn the_end_of_its_input_is_the_end_of_all_it_started() {
    // It hears neither the end of its input nor SIGTERM, and so does what it has put into a session of its own.
    let stubborn = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & echo $$; while :; do sleep 1; done";
    let (mut child, mut lines) = start(stubborn);
    let pids = [lines.next_line().await.unwrap().unwrap(), lines.next_line().await.unwrap().unwrap()];
    assert!(pids.iter().all(|pid| alive(pid)));
    drop(child.stdin.take());
    child.wait().await.unwrap();
    assert!(!pids.iter().any(|pid| alive(pid)), "{pids:?}");
}

#[tokio::test]
async fn a_server_that_reads_nothing_does_not_outlive_its_runtime() {
    // A runtime of its own, which is killed while it waits for the server to read.
    let shim = env!("CARGO_BIN_EXE_sterna-shim-test");
    let line = format!("yes | '{shim}' shim bound null sh -c 'echo $$ >&2; exec sleep 300'");
    let mut runtime = tokio::process::Command::new("sh")
        .args(["-c", &line])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(runtime.stderr.take().unwrap()).lines();
    let server = lines.next_line().await.unwrap().unwrap();
    assert!(alive(&server));
    let group = i32::try_from(runtime.id().unwrap()).unwrap();
    let group = rustix::process::Pid::from_raw(group).unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    runtime.wait().await.unwrap();
    eventually(|| !alive(&server), "the server ends").await;
}

#[tokio::test]
async fn what_confines_it_holds_it_and_all_it_starts() {
    let world = world().await;
    for level in [Level::Bubblewrap, Level::Landlock] {
        let Some(confinement) = world.confinement(level) else { continue };
        let confinement = sterna_shell::sandbox::Confinement { network: Network::All, ..confinement };
        let (work, outside) = (world.at("work"), world.at("outside"));
        std::fs::write(world.at("hidden").join("key"), "secret").unwrap();
        let line = format!(
            "read a; echo \"$a $OWN\"; echo x >'{work}/made-{level}' && echo made; \
             sh -c 'echo x >{outside}/made-{level}' || echo refused; cat '{hidden}/key' || echo hidden; exit 7",
            work = work.display(),
            outside = outside.display(),
            hidden = world.at("hidden").display(),
        );
        let held = Server { cwd: work.clone(), confine: Some(confinement.clone()), ..server(&line) };
        let mut child = helper().start_bound(&held).unwrap();
        child.stdin.as_mut().unwrap().write_all(b"hello\n").await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "hello value\nmade\nrefused\nhidden\n", "{level}");
        assert_eq!(output.status.code(), Some(7), "{level}");
        let made = format!("made-{level}");
        assert!(work.join(&made).exists() && !outside.join(&made).exists(), "{level}");

        // The end of its input is its end here, too.
        let stubborn = "trap '' TERM; echo up; sleep 300 & while :; do sleep 1; done";
        let held = Server { cwd: work, confine: Some(confinement.clone()), ..server(stubborn) };
        let mut child = helper().start_bound(&held).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "up", "{level}");
        drop(child.stdin.take());
        child.wait().await.unwrap();
        assert_eq!(lines.next_line().await.unwrap(), None, "{level}: something holds its output");

        let missing = Server { program: "no-such-program".into(), ..held };
        let output = helper().start_bound(&missing).unwrap().wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(127), "{level}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("no-such-program could not be started: "), "{level}: {said}");
        assert!(start_unbound(&missing).is_err());
    }
}
