//! Everything that a command started, as far as it can be found, and its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

/// The session that a child leads, and its descendants outside of it. Dropped before `release`, it is killed.
pub(crate) struct Group {
    /// The child's process id is also its group's and its session's. `None` once nothing is left to end.
    leader: Option<Pid>,
    /// Members seen so far with their start times: they stay ours when their parents are gone.
    seen: BTreeMap<i32, u64>,
}

impl Group {
    /// The group of a child that called `setsid`.
    pub(crate) fn of(child: &Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { leader, seen: BTreeMap::new() }
    }

    /// The command ended by itself: what it left behind on purpose may go on.
    pub(crate) fn release(&mut self) {
        self.leader = None;
    }

    /// SIGTERM, up to `grace`, SIGKILL. On return nothing that could be found is alive.
    pub(crate) async fn end(&mut self, child: &mut Child, grace: Duration) {
        let until = Instant::now() + grace;
        self.signal(Signal::TERM);
        while self.is_alive() && Instant::now() < until {
            // Waiting also reaps the child.
            if timeout(POLL, child.wait()).await.is_ok() {
                sleep(POLL).await;
            }
        }
        for _ in 0..KILL_ROUNDS {
            if !self.is_alive() {
                break;
            }
            self.signal(Signal::KILL);
            sleep(POLL).await;
        }
        self.release();
    }

    fn signal(&mut self, signal: Signal) {
        let Some(leader) = self.leader else { return };
        let members = self.members();
        // All at once first, so that what forks meanwhile is hit too.
        if members.is_none() || members.iter().flatten().any(|member| member.group == leader.as_raw_pid()) {
            // Gone already is what we want.
            let _ = rustix::process::kill_process_group(leader, signal);
        }
        for member in members.into_iter().flatten() {
            if member.group != leader.as_raw_pid() && !member.dead {
                member.signal(signal);
            }
        }
    }

    fn is_alive(&mut self) -> bool {
        match self.members() {
            Some(members) => members.iter().any(|member| !member.dead),
            None => {
                self.leader.is_some_and(|leader| rustix::process::test_kill_process_group(leader).is_ok())
            }
        }
    }

    /// The session's processes, their descendants, and those that were so before. `None` without a `/proc`.
    fn members(&mut self) -> Option<Vec<Process>> {
        let leader = self.leader?.as_raw_pid();
        let all = processes()?;
        let mut ours: BTreeSet<i32> = all
            .iter()
            .filter(|p| p.session == leader || p.group == leader || self.seen.get(&p.id) == Some(&p.started))
            .map(|p| p.id)
            .collect();
        loop {
            let before = ours.len();
            ours.extend(all.iter().filter(|p| ours.contains(&p.parent)).map(|p| p.id).collect::<Vec<_>>());
            if ours.len() == before {
                break;
            }
        }
        let members: Vec<Process> = all.into_iter().filter(|p| ours.contains(&p.id)).collect();
        self.seen = members.iter().map(|p| (p.id, p.started)).collect();
        Some(members)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..2 {
            self.signal(Signal::KILL);
        }
    }
}

const POLL: Duration = Duration::from_millis(20);
/// SIGKILL is sure but for a process that the kernel holds: then we give up after a second.
const KILL_ROUNDS: usize = 50;

/// One line of the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    id: i32,
    parent: i32,
    group: i32,
    session: i32,
    /// Ticks since boot: with the id it names a process for good.
    started: u64,
    /// Ended, and not reaped yet.
    dead: bool,
}

impl Process {
    /// Signals this process, never another one that has got its id.
    fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.id) else { return };
        let Ok(fd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
        if read_process(self.id).is_some_and(|now| now.started == self.started) {
            let _ = rustix::process::pidfd_send_signal(&fd, signal);
        }
    }
}

fn processes() -> Option<Vec<Process>> {
    let table = std::fs::read_dir("/proc").ok()?;
    let ids = table.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let all: Vec<Process> = ids.filter_map(read_process).collect();
    // Mounted empty or hidden is the same as not there.
    if all.is_empty() { None } else { Some(all) }
}

fn read_process(id: i32) -> Option<Process> {
    let stat = std::fs::read(format!("/proc/{id}/stat")).ok()?;
    parse(id, &stat)
}

/// Reads `proc_pid_stat(5)`: the name in parentheses may hold anything, so fields count from the last `)`.
fn parse(id: i32, stat: &[u8]) -> Option<Process> {
    let name_end = stat.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<i32>().ok();
    Some(Process {
        id,
        dead: matches!(*fields.first()?, "Z" | "X" | "x"),
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_process_table_whatever_a_process_is_called() {
        let line = |name: &str, state: &str| {
            format!("42 ({name}) {state} 7 40 39 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 1")
        };
        let want = Process { id: 42, parent: 7, group: 40, session: 39, started: 987_654, dead: false };
        for name in ["sh", "a b", "x) R 1 1 1", "("] {
            assert_eq!(parse(42, line(name, "S").as_bytes()), Some(want), "{name}");
        }
        assert_eq!(parse(42, line("sh", "Z").as_bytes()), Some(Process { dead: true, ..want }));
        for broken in [&b""[..], b"42", b"42 (sh)", b"42 (sh) S 1", b"42 (sh) S x y z", &[0xff; 40]] {
            assert_eq!(parse(42, broken), None);
        }
    }
}
