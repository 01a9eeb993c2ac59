//! Everything that a command started, as far as it can be found, and its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use crate::process::{Process, processes};

/// The session that a child leads, and its descendants outside of it. Dropped before `release`, it is killed.
pub(crate) struct Group {
    /// The child's process id is also its group's and its session's. `None` once nothing is left to end.
    leader: Option<Pid>,
    /// Members seen so far with their start times: they stay ours when their parents are gone.
    seen: BTreeMap<i32, u64>,
    /// The leader only watches the command, and must live to tell its end.
    watched: bool,
}

impl Group {
    /// The group of a child that called `setsid`.
    pub(crate) fn of(child: &Child, watched: bool) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { leader, seen: BTreeMap::new(), watched }
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
        if self.watched && signal != Signal::KILL {
            let inner = members.iter().flatten().filter(|member| member.id != leader.as_raw_pid());
            inner.filter(|member| !member.dead).for_each(|member| member.signal(signal));
            return;
        }
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
