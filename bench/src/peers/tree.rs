//! A process and all that it starts, watched to its end: CPU time, the most memory held, and a limit on its time.

use std::collections::HashSet;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::watch::{peak_of, read};

/// What a process tree took.
#[derive(Debug)]
pub struct Tree {
    pub started: Instant,
    /// Seconds until the first process ended.
    pub wall: f64,
    /// Seconds in user and kernel, of all its processes.
    pub cpu: f64,
    /// The most that its processes held at one time, in MB: a sum of what each held at most. Processes that live less
    /// than two looks are left out, for a process that has just been forked seems to hold its parent's memory.
    pub peak_mb: f64,
    /// `None`: it was ended, because its time was over.
    pub status: Option<ExitStatus>,
}

/// Runs it to its end or for as long as it may. What it leaves behind is ended, and so is any other child of this process.
pub fn watched(command: &mut Command, patience: Duration) -> Result<Tree> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _only = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // What a peer leaves behind becomes a child of this process: so it is found, counted and ended.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let (before, started) = (reaped_seconds(), Instant::now());
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let (mut peak_mb, mut known) = (0.0_f64, HashSet::new());
    let mut looks = 0;
    let status = loop {
        // The first process often, for it may live only for a moment; the whole tree more seldom.
        let own = peak_of(&read(child.id(), "status")).unwrap_or(0.0);
        let below = if looks % 10 == 0 { grown_up(child.id(), &mut known) } else { 0.0 };
        peak_mb = peak_mb.max(own + below);
        looks += 1;
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if started.elapsed() > patience {
            break None;
        }
        std::thread::sleep(LOOK);
    };
    let wall = started.elapsed().as_secs_f64();
    end_all(&mut child)?;
    Ok(Tree { started, wall, cpu: reaped_seconds() - before, peak_mb, status })
}

/// What the processes hold that were here at the last look, too, but for the first one.
fn grown_up(first: u32, known: &mut HashSet<u32>) -> f64 {
    let all = below(std::process::id());
    let old = all.iter().filter(|pid| **pid != first && known.contains(pid));
    let sum = old.filter_map(|pid| peak_of(&read(*pid, "status"))).sum();
    *known = all.into_iter().collect();
    sum
}

/// All processes below this one.
fn below(pid: u32) -> Vec<u32> {
    let mut all: Vec<u32> = Vec::new();
    let mut at = vec![pid];
    while let Some(pid) = at.pop() {
        let children = children(pid);
        at.extend(&children);
        all.extend(children);
    }
    all
}

/// Each thread has its own children.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let files = threads.flatten().map(|thread| thread.path().join("children"));
    let lists: Vec<String> = files.filter_map(|file| std::fs::read_to_string(file).ok()).collect();
    lists.iter().flat_map(|list| list.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

/// Ends what is left, and waits for it, so that its time is counted.
fn end_all(child: &mut Child) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        let left = below(std::process::id());
        for pid in left.iter().filter_map(|pid| i32::try_from(*pid).ok().and_then(Pid::from_raw)) {
            // One that has ended meanwhile is no matter.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        // First the one that the standard library knows of, so that nobody takes its end away.
        child.try_wait()?;
        if left.is_empty() {
            return Ok(());
        }
        while child.try_wait()?.is_some() && matches!(rustix::process::wait(WaitOptions::NOHANG), Ok(Some(_)))
        {
        }
        std::thread::sleep(LOOK);
    }
    anyhow::bail!("processes that a peer left behind do not end");
}

/// CPU time of all children that ended.
fn reaped_seconds() -> f64 {
    of_children(&std::fs::read_to_string("/proc/self/stat").unwrap_or_default())
}

fn of_children(stat: &str) -> f64 {
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after.split_whitespace().skip(13).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    // A tick is 10 ms on every Linux that we know.
    ticks / 100.0
}

const LOOK: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_children() {
        assert_eq!(of_children("42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 25 300 50 20 0"), 3.5);
        assert_eq!(of_children(""), 0.0);
    }

    #[test]
    fn a_tree_is_watched_to_its_end_and_nothing_of_it_is_left() {
        let sh = |line: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", line]);
            command
        };
        let tree = watched(&mut sh("exit 3"), Duration::from_secs(60)).unwrap();
        assert_eq!(tree.status.and_then(|status| status.code()), Some(3));

        // It hangs, and so does what it started.
        let tree = watched(&mut sh("sleep 600 & sleep 600"), Duration::from_millis(50)).unwrap();
        assert!(tree.status.is_none());
        assert!(tree.peak_mb > 0.0);
        assert!(below(std::process::id()).is_empty());

        // It ends, and what it started does not.
        let tree = watched(&mut sh("setsid sleep 600 & exit 0"), Duration::from_secs(60)).unwrap();
        assert!(tree.status.is_some_and(|status| status.success()));
        assert!(below(std::process::id()).is_empty());
    }
}
