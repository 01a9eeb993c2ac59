//! A prober that is killed leaves nothing behind.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::eventually;
use common::sandbox::{helper_program, world};
use sterna_shell::sandbox::Level;

/// A process that probes this machine, with its files in `state`.
fn prober(state: &Path, folder: Option<&Path>) -> Child {
    let mut command = Command::new(helper_program());
    command.arg("report").arg(state).args(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Command lines that name the folder, as those of a probe do.
fn left(folder: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder.to_str().unwrap())).collect()
}

fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// `bwrap` itself waits for its parent before it asks to die with it: so does this one, and for ever.
#[tokio::test]
async fn a_sandbox_that_waits_for_its_maker_ends_with_a_killed_prober() {
    let folder = tempfile::tempdir().unwrap();
    let (programs, state, started) =
        (folder.path().join("bin"), folder.path().join("state"), folder.path().join("started"));
    std::fs::create_dir(&programs).unwrap();
    let bwrap = programs.join("bwrap");
    let waits = format!(
        "#!/bin/sh\n[ \"$1\" != --version ] || exit 0\nsh -c 'echo $$ >{0}.new; mv {0}.new {0}; exec sleep 3000' & wait\n",
        started.display()
    );
    std::fs::write(&bwrap, waits).unwrap();
    std::fs::set_permissions(&bwrap, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut prober = prober(&state, Some(&programs));
    eventually(|| started.exists(), "the start of the probe").await;
    let waiting = std::fs::read_to_string(&started).unwrap();
    assert!(alive(waiting.trim()));
    prober.kill().unwrap();
    prober.wait().unwrap();
    eventually(|| !alive(waiting.trim()), "its end").await;
    eventually(|| left(folder.path()).is_empty(), "the end of what held it").await;
}

#[tokio::test]
async fn a_prober_that_is_killed_at_any_moment_leaves_nothing_behind() {
    let world = world().await;
    if world.confinement(Level::Bubblewrap).is_none() {
        return;
    }
    let states = world.at("killed");
    std::fs::create_dir(&states).unwrap();
    // A whole probe takes some 50 ms.
    for moment in 0..120 {
        let state = states.join(moment.to_string());
        let mut prober = prober(&state, None);
        let until = Instant::now() + Duration::from_micros(500 * moment);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        prober.kill().unwrap();
        prober.wait().unwrap();
    }
    eventually(|| left(&states).is_empty(), "the end of what was killed").await;
}
