//! The process table, as `/proc` tells it.

use std::collections::BTreeSet;

use rustix::process::{Pid, PidfdFlags, Signal};

/// One line of the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// Ticks since boot: with the id it names a process for good.
    pub(crate) started: u64,
    /// Ended, and not reaped yet.
    pub(crate) dead: bool,
}

impl Process {
    /// Signals this process, never another one that has got its id.
    pub(crate) fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.id) else { return };
        let Ok(fd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
        if read_process(self.id).is_some_and(|now| now.started == self.started) {
            let _ = rustix::process::pidfd_send_signal(&fd, signal);
        }
    }
}

/// The whole table. `None` without a `/proc`.
pub(crate) fn processes() -> Option<Vec<Process>> {
    let table = std::fs::read_dir("/proc").ok()?;
    let ids = table.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let all: Vec<Process> = ids.filter_map(read_process).collect();
    // Mounted empty or hidden is the same as not there.
    if all.is_empty() { None } else { Some(all) }
}

/// One process, or nothing when it is gone.
pub(crate) fn read_process(id: i32) -> Option<Process> {
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

/// The living and the dead that `root` started, directly or not, without itself. `None` without a `/proc`.
pub(crate) fn descendants(root: i32) -> Option<Vec<Process>> {
    let all = processes()?;
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        found.extend(all.iter().filter(|p| found.contains(&p.parent)).map(|p| p.id).collect::<Vec<_>>());
        if found.len() == before {
            break;
        }
    }
    found.remove(&root);
    Some(all.into_iter().filter(|p| found.contains(&p.id)).collect())
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
