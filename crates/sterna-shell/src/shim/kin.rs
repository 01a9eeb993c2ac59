//! All that the command started: the shim's descendants. As it adopts those whose parents end, none can leave.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};

use crate::process::{Process, descendants};

/// The descendants of this process.
pub(crate) struct Kin {
    us: i32,
    /// The command's own process; it leads a group.
    main: Option<Pid>,
    /// That process only watches the command, and must live to tell its end.
    watched: bool,
}

impl Kin {
    pub(crate) fn new(main: Option<u32>, watched: bool) -> Self {
        let main = main.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { us: rustix::process::getpid().as_raw_pid(), main, watched }
    }

    /// Signals every descendant that is alive.
    pub(crate) fn signal(&self, signal: Signal) {
        let all = descendants(self.us);
        if self.watched && signal != Signal::KILL {
            let inner = |p: &&Process| !p.dead && Some(p.id) != self.main.map(Pid::as_raw_pid);
            all.iter().flatten().filter(inner).for_each(|process| process.signal(signal));
            return;
        }
        if let Some(main) = self.main {
            // All at once first, so that what forks meanwhile is hit too; only while the group is surely ours.
            let ours = |p: &Process| p.group == main.as_raw_pid();
            if all.as_ref().is_none_or(|all| all.iter().any(ours)) {
                // Gone already is what we want.
                let _ = rustix::process::kill_process_group(main, signal);
            }
        }
        for process in all.into_iter().flatten() {
            if !process.dead && Some(process.group) != self.main.map(Pid::as_raw_pid) {
                process.signal(signal);
            }
        }
    }

    /// How many are alive. Without a `/proc`: whether the command's group is.
    pub(crate) fn alive(&self) -> usize {
        if childless() {
            return 0;
        }
        match descendants(self.us) {
            Some(all) => all.iter().filter(|process| !process.dead).count(),
            None => {
                let group = |main| rustix::process::test_kill_process_group(main).is_ok();
                usize::from(self.main.is_some_and(group))
            }
        }
    }

    /// Buries the adopted. The command's own process is left to the one who waits for it.
    pub(crate) fn reap(&self) {
        let adopted =
            |p: &Process| p.dead && p.parent == self.us && Some(p.id) != self.main.map(Pid::as_raw_pid);
        if childless() {
            return;
        }
        for process in descendants(self.us).into_iter().flatten().filter(adopted) {
            let _ = rustix::process::waitpid(Pid::from_raw(process.id), WaitOptions::NOHANG);
        }
    }
}

/// Whether we have no child at all, not even an adopted one: then nobody descends from us. Quicker than to look.
fn childless() -> bool {
    let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(rustix::process::waitid(WaitId::All, peek), Err(rustix::io::Errno::CHILD))
}
