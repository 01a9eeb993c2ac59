//! Real commands, real processes.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{alive, command, eventually, pids};
use sterna_shell::{Captured, Ended, Limits, ShellError, run};

fn text(ended: &Ended) -> String {
    ended.output.text().into_owned()
}

#[tokio::test]
async fn a_command_ends_as_it_says() {
    // line, exit code, signal, output
    let cases = [
        ("echo hi", Some(0), None, "hi\n"),
        ("exit 7", Some(7), None, ""),
        ("kill -9 $$", None, Some(9), ""),
        ("echo a; echo b >&2; echo c", Some(0), None, "a\nb\nc\n"),
        ("cat", Some(0), None, ""),
        ("-no-such-command-", Some(127), None, "bash: line 1: -no-such-command-: command not found\n"),
        ("printf 'a\\377b'", Some(0), None, "a\u{fffd}b"),
        ("[ $(ps -o sid= -p $$) = $$ ] && echo own session", Some(0), None, "own session\n"),
        ("ulimit -c", Some(0), None, "0\n"),
    ];
    for (line, code, signal, output) in cases {
        let ended = run(command(line)).await.unwrap();
        assert_eq!((ended.exit_code, ended.signal, text(&ended).as_str()), (code, signal, output), "{line}");
        assert!(!ended.timed_out && !ended.cancelled && !ended.left_behind, "{line}");
    }
}

#[tokio::test]
async fn input_is_given_and_one_that_nobody_reads_is_no_error() {
    let mut given = command("wc -c");
    given.stdin = Some("x".repeat(300_000));
    assert_eq!(text(&run(given).await.unwrap()).trim(), "300000");
    let mut ignored = command("echo done");
    ignored.stdin = Some("x".repeat(300_000));
    assert_eq!(text(&run(ignored).await.unwrap()), "done\n");
}

#[tokio::test]
async fn the_child_sees_the_list_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let rc = folder.path().join("rc");
    std::fs::write(&rc, "echo rc file was read").unwrap();
    let rc = rc.to_str().unwrap();
    let mut list = command("/usr/bin/env");
    list.env.extend([("BASH_ENV", rc), ("ENV", rc), ("LC_X", "a b\nc=d")].map(|(k, v)| (k.into(), v.into())));
    let output = text(&run(list).await.unwrap());
    // The shell itself adds these three.
    let own = |line: &&str| !["PWD=", "SHLVL=", "_="].iter().any(|name| line.starts_with(name));
    let mut lines: Vec<&str> = output.lines().filter(own).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["LC_X=a b", "PATH=/usr/local/bin:/usr/bin:/bin", "c=d"]);
}

#[tokio::test]
async fn limits_bind_the_command() {
    let limits = Limits {
        cpu_seconds: Some(9),
        file_bytes: Some(4096),
        address_space_bytes: Some(1 << 30),
        processes: None,
        ..Limits::default()
    };
    let mut shown = command("ulimit -t; ulimit -v; ulimit -Hc");
    shown.limits = limits;
    assert_eq!(text(&run(shown).await.unwrap()), "9\n1048576\n0\n");
    let folder = tempfile::tempdir().unwrap();
    let mut large = command("head -c 10000 /dev/zero > file; echo $?");
    large.limits = limits;
    large.cwd = folder.path().into();
    // 128 + SIGXFSZ
    assert!(text(&run(large).await.unwrap()).ends_with("153\n"));
    assert_eq!(std::fs::metadata(folder.path().join("file")).unwrap().len(), 4096);
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let mut nowhere = command("echo hi");
    nowhere.cwd = "/nonexistent/x".into();
    assert!(
        matches!(run(nowhere).await, Err(ShellError::Cwd { cwd, .. }) if cwd == Path::new("/nonexistent/x"))
    );
    let mut file = command("echo hi");
    file.cwd = "/etc/passwd".into();
    assert!(matches!(run(file).await, Err(ShellError::Cwd { .. })));
    assert!(matches!(run(command("echo \0")).await, Err(ShellError::Nul)));
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group_also_what_ignores_it_and_what_left_it() {
    let folder = tempfile::tempdir().unwrap();
    let line = "echo before
        echo $$ > 1
        sleep 100 & echo $! > 2
        (trap '' TERM; echo $BASHPID > 3; while :; do sleep 100; done) &
        setsid sh -c 'echo $$ > 4; exec sleep 100' &
        sleep 100";
    // Where the machine is too busy for all four to begin in time, they are given more of it.
    for seconds in [1, 10, 100] {
        let mut slow = command(line);
        slow.cwd = folder.path().into();
        slow.timeout = Duration::from_secs(seconds);
        let began = Instant::now();
        let ended = run(slow).await.unwrap();
        let took = began.elapsed();
        let pids = pids(folder.path(), 4);
        assert!(!pids.iter().any(|pid| alive(pid)), "of {pids:?} one is alive");
        if pids.len() == 4 {
            // One of them does not hear it.
            assert!(took >= Duration::from_secs(seconds + 2), "TERM is given two seconds: {took:?}");
            let how = (ended.timed_out, ended.cancelled, text(&ended));
            return assert_eq!(how, (true, false, "before\n".into()));
        }
    }
    panic!("they never all began");
}

#[tokio::test]
async fn what_obeys_is_not_killed() {
    let mut polite = command("trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done");
    let cancel = polite.cancel.clone();
    polite.progress = Arc::new(move |_| cancel.cancel());
    let ended = run(polite).await.unwrap();
    assert_eq!((ended.exit_code, ended.cancelled, ended.timed_out), (Some(3), true, false));
    // Between the two the shell may say that its child was ended.
    assert!(text(&ended).starts_with("ready\n") && text(&ended).ends_with("bye\n"), "{}", text(&ended));
}

#[tokio::test]
async fn a_dropped_future_leaves_nothing_running() {
    let folder = tempfile::tempdir().unwrap();
    let (seen, mut ready) = tokio::sync::mpsc::unbounded_channel();
    let mut endless = command("trap '' TERM; setsid sleep 100 & echo $! > child; echo $$ > self; echo; wait");
    endless.cwd = folder.path().into();
    endless.progress = Arc::new(move |_| seen.send(()).unwrap());
    tokio::select! {
        ended = run(endless) => panic!("{ended:?}"),
        _ = ready.recv() => {}
    }
    for name in ["self", "child"] {
        let pid = std::fs::read_to_string(folder.path().join(name)).unwrap();
        eventually(|| !alive(&pid), name).await;
    }
}

#[tokio::test]
async fn the_end_of_the_command_is_the_end_though_another_holds_its_output() {
    let ended = run(command("echo $$; sleep 100 & echo $!")).await.unwrap();
    assert!(ended.left_behind && ended.succeeded());
    let output = text(&ended);
    let pids: Vec<&str> = output.lines().collect();
    assert!(alive(pids[1]), "what was left behind on purpose goes on");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pids[1].parse().unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

#[tokio::test]
async fn large_output_is_whole_in_the_blob_and_flat_in_memory() {
    const LINE: &str = "seq 1 9000000";
    // The oracle: the same bytes, read without us.
    let mut direct =
        std::process::Command::new("sh").args(["-c", LINE]).stdout(Stdio::piped()).spawn().unwrap();
    let mut want = blake3::Hasher::new();
    std::io::copy(direct.stdout.as_mut().unwrap(), &mut want).unwrap();
    direct.wait().unwrap();
    assert!(want.count() > 64 << 20);

    let before = common::peak_memory();
    let ended = run(command(LINE)).await.unwrap();
    let grown = common::peak_memory().saturating_sub(before);
    let Captured::Large { blob, head, tail } = &ended.output else { panic!("{:?}", ended.output) };
    assert_eq!(
        (blob.bytes, blob.hash.0, ended.exit_code),
        (want.count(), *want.finalize().as_bytes(), Some(0))
    );
    assert_eq!((head.len(), tail.len()), (40 << 10, 60 << 10));
    assert!(head.starts_with("1\n2\n3\n"), "{}", &head[..30]);
    assert!(tail.ends_with("8999999\n9000000\n"));
    assert!(grown < 24 << 20, "memory grew by {grown} bytes");
}

#[tokio::test]
async fn a_store_that_fails_does_not_disturb_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let mut large = command("head -c 3000000 /dev/zero; echo done > file; exit 5");
    large.cwd = folder.path().into();
    large.blobs = Arc::new(common::Broken);
    let result = run(large).await;
    assert!(matches!(result, Err(ShellError::Output { exit_code: Some(5), .. })), "{result:?}");
    assert!(folder.path().join("file").exists());
}

#[tokio::test]
async fn progress_shows_the_last_lines_and_not_too_often() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut chatty = command("for i in $(seq 1 60); do echo line $i; sleep 0.01; done");
    let sink = told.clone();
    chatty.progress = Arc::new(move |text| sink.lock().unwrap().push((Instant::now(), text)));
    run(chatty).await.unwrap();
    let told = told.lock().unwrap();
    assert!(told.len() >= 2, "{told:?}");
    for pair in told.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= Duration::from_millis(240), "{told:?}");
    }
    let last = &told.last().unwrap().1;
    assert!(last.lines().count() <= 10 && last.lines().all(|line| line.starts_with("line ")), "{last}");
}

/// The test runs itself a second time as a process that is killed while its command runs.
#[test]
fn a_command_does_not_outlive_a_killed_parent() {
    const ROLE: &str = "STERNA_SHELL_TEST_VICTIM";
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Some(folder) = std::env::var_os(ROLE) {
        let mut endless = command("echo $$ > new; mv new pid; exec sleep 100");
        endless.cwd = folder.into();
        runtime().block_on(run(endless)).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_command_does_not_outlive_a_killed_parent"])
        .env(ROLE, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    runtime().block_on(async {
        let file = folder.path().join("pid");
        eventually(|| file.exists(), "the command to start").await;
        let pid = std::fs::read_to_string(file).unwrap();
        assert!(alive(&pid));
        victim.kill().unwrap();
        victim.wait().unwrap();
        eventually(|| !alive(&pid), "the command to die").await;
    });
}

#[test]
fn the_environment_is_the_list() {
    let path = ("PATH".to_owned(), "/bin".to_owned());
    let key = ("SOME_API_KEY".to_owned(), "secret".to_owned());
    assert_eq!(sterna_shell::allow_list([path.clone(), key], []), BTreeMap::from([path]));
}
