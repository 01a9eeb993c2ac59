//! What the sandbox refused, in words: facts where somebody who refused has told us, hints where only the command's own
//! words suggest it.

use serde::{Deserialize, Serialize};

use super::net::Refusal;
use super::{Confinement, Level, Network};

/// Something that the command was not let do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    pub source: Source,
    /// For people and models, one line.
    pub what: String,
}

/// How sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The proxy or the kernel has refused it, and said so.
    Fact,
    /// The command failed with words that a refusal would cause. It may have failed for another reason.
    Hint,
}

impl Denied {
    /// One line for a result.
    pub fn told(&self) -> String {
        match self.source {
            Source::Fact => format!("sandbox_denied: {}", self.what),
            Source::Hint => format!("sandbox_denied (perhaps): {}", self.what),
        }
    }
}

/// Watches a confined command's output and end.
#[derive(Debug)]
pub(crate) struct Watch {
    level: Level,
    network: Network,
    tail: Vec<u8>,
}

impl Watch {
    /// `None` where nothing is refused.
    pub(crate) fn of(confinement: Option<&Confinement>) -> Option<Self> {
        let confinement = confinement.filter(|confinement| confinement.level != Level::None)?;
        Some(Self { level: confinement.level, network: confinement.network.clone(), tail: Vec::new() })
    }

    pub(crate) fn see(&mut self, output: &[u8]) {
        let new = &output[output.len().saturating_sub(TAIL)..];
        let keep = TAIL - new.len();
        self.tail.drain(..self.tail.len().saturating_sub(keep));
        self.tail.extend_from_slice(new);
    }

    /// The last line that was written.
    pub(crate) fn last_words(&self) -> String {
        let text = String::from_utf8_lossy(&self.tail);
        text.trim_end().lines().last().unwrap_or_default().trim().to_owned()
    }

    pub(crate) fn end(self, code: Option<i32>, signal: Option<i32>, refusals: &[Refusal]) -> Vec<Denied> {
        let mut denied: Vec<Denied> = refusals
            .iter()
            .take(FACTS_MAX)
            .map(|refusal| Denied { source: Source::Fact, what: format!("network: {}", refusal.told()) })
            .collect();
        let call = "a system call that no sandboxed program may make ended the command (SIGSYS)";
        if signal == Some(libc::SIGSYS) {
            denied.push(Denied { source: Source::Fact, what: call.into() });
        }
        if code == Some(SHELL_SIGNAL + libc::SIGSYS) {
            denied.push(Denied { source: Source::Hint, what: call.into() });
        }
        if code == Some(0) {
            return denied;
        }
        let text = String::from_utf8_lossy(&self.tail);
        let mut kinds = Vec::new();
        // The last words are the nearest to the end.
        for line in text.lines().rev() {
            let Some(kind) = kind(line).filter(|kind| !kinds.contains(kind)) else { continue };
            if kind == Kind::Network && (self.network == Network::All || !refusals.is_empty()) {
                continue;
            }
            kinds.push(kind);
            let line: String = line.trim().chars().filter(|c| !c.is_control()).take(LINE_MAX).collect();
            denied.push(Denied { source: Source::Hint, what: format!("{line:?}: {}", self.explain(kind)) });
        }
        denied
    }

    fn explain(&self, kind: Kind) -> String {
        let level = self.level;
        match kind {
            Kind::Write => format!(
                "under {level} only the workspace, the session's temporary folder and tool caches can be written, \
                 without .git/hooks and .git/config"
            ),
            Kind::Repository if level == Level::Landlock => format!(
                "under {level} the common folder of a git worktree can be written in part only, because its hooks and \
                 configuration lie in it: run `branch -d`, `tag -d`, `gc` and `worktree prune` in the main checkout, or \
                 ask the person to run it; bubblewrap lets all but `worktree prune` work here"
            ),
            Kind::Repository => format!(
                "under {level} the heads and indexes of other git worktrees cannot be written: run this in the main \
                 checkout, or ask the person to run it"
            ),
            Kind::Access if level == Level::Landlock => format!(
                "under {level} secrets cannot be read, nor anything outside of the workspace be written, and \
                 /dev/shm is closed (Python's multiprocessing)"
            ),
            Kind::Access => format!(
                "under {level} secrets cannot be read, nor anything outside of the workspace be written"
            ),
            Kind::Call if level == Level::Landlock => format!(
                "under {level} mounts, other processes, kernel keys, raw and Unix sockets, set-user-ID files and \
                 listening on a port are refused; bubblewrap lets a command listen inside"
            ),
            Kind::Call => format!(
                "under {level} mounts, other processes, kernel keys, raw sockets and set-user-ID files are refused"
            ),
            Kind::Network => match self.network {
                Network::None => format!("under {level} this command has no network"),
                Network::Domains(_) => format!(
                    "under {level} this command reaches only its allowed domains, by HTTP and HTTPS through a proxy"
                ),
                Network::All => String::new(),
            },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The common folder of a git worktree.
    Repository,
    Write,
    Access,
    Call,
    Network,
}

fn kind(line: &str) -> Option<Kind> {
    let refused = ["Permission denied", "Read-only file system", "Device or resource busy"];
    if REPOSITORY.iter().any(|name| line.contains(name)) && refused.iter().any(|words| line.contains(words)) {
        return Some(Kind::Repository);
    }
    WORDS.iter().find(|(_, words)| words.iter().any(|word| line.contains(word))).map(|(kind, _)| *kind)
}

/// How the system's library, and programs that print error names, call a refusal.
const WORDS: &[(Kind, &[&str])] = &[
    (
        Kind::Write,
        &[
            "Read-only file system",
            "read-only file system",
            "EROFS",
            "Device or resource busy",
            "EBUSY",
            // What git says of a repository beside the workspace that it is to push to.
            "unable to create temporary object directory",
        ],
    ),
    (
        Kind::Network,
        &[
            "Network is unreachable",
            "ENETUNREACH",
            "Could not resolve host",
            "could not resolve host",
            "Temporary failure in name resolution",
            "Name or service not known",
            "EAI_AGAIN",
            "ENOTFOUND",
            "failed to lookup address",
        ],
    ),
    (Kind::Access, &["Permission denied", "permission denied", "EACCES"]),
    (Kind::Call, &["Operation not permitted", "operation not permitted", "EPERM"]),
];
/// Files that git replaces in the common folder of a repository, and what it keeps there of other worktrees.
const REPOSITORY: [&str; 5] =
    ["packed-refs.lock", "packed-refs.new", "gc.pid", "shallow.lock", ".git/worktrees/"];
const TAIL: usize = 8 << 10;
const LINE_MAX: usize = 160;
/// Facts that a result has room for.
const FACTS_MAX: usize = 8;
/// A shell's code for a child that a signal ended.
const SHELL_SIGNAL: i32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(network: Network) -> Watch {
        Watch::of(Some(&Confinement { network, ..Confinement::new(Level::Bubblewrap, "/tmp/demo") })).unwrap()
    }

    #[test]
    fn hints_come_from_the_last_words_of_a_failure_alone() {
        let lines = "ok\ntouch: cannot touch '/etc/x': Read-only file system\n\
            curl: (6) Could not resolve host: a.example\nold: Permission denied\nnew: Permission denied\n";
        let hints = |code, network: Network| -> Vec<String> {
            let mut watch = watch(network);
            watch.see(lines.as_bytes());
            let denied = watch.end(Some(code), None, &[]);
            assert!(denied.iter().all(|denied| denied.source == Source::Hint));
            denied.into_iter().map(|denied| denied.what).collect()
        };
        assert_eq!(hints(0, Network::None), Vec::<String>::new());
        let all = hints(1, Network::None);
        let begins = ["\"new: Permission", "\"curl: (6) Could not resolve", "\"touch: cannot touch"];
        assert_eq!(all.len(), 3, "{all:?}");
        for (what, begin) in all.iter().zip(begins) {
            assert!(what.starts_with(begin) && what.contains("under bubblewrap"), "{what}");
        }
        assert!(all[1].ends_with("this command has no network"), "{}", all[1]);
        assert_eq!(hints(1, Network::All).len(), 2);
    }

    #[test]
    fn facts_are_what_was_refused_and_said() {
        let refusal = Refusal { host: "a.example".into(), port: 443, address: None };
        let denied = watch(Network::Domains(vec![])).end(Some(0), None, &[refusal]);
        let what = "network: a.example:443 is not in the list of allowed domains";
        assert_eq!(denied, [Denied { source: Source::Fact, what: what.into() }]);
        assert_eq!(denied[0].told(), format!("sandbox_denied: {what}"));
        let killed = watch(Network::None).end(None, Some(libc::SIGSYS), &[]);
        assert_eq!((killed.len(), killed[0].source), (1, Source::Fact));
        let perhaps = watch(Network::None).end(Some(159), None, &[]);
        assert_eq!((perhaps.len(), perhaps[0].source), (1, Source::Hint));
    }

    #[test]
    fn what_git_could_not_write_beside_a_worktree_is_told_with_what_to_do() {
        let told = |level, line: &str| {
            let mut watch = Watch::of(Some(&Confinement::new(level, "/tmp/demo"))).unwrap();
            watch.see(line.as_bytes());
            watch.end(Some(1), None, &[]).remove(0).what
        };
        for line in [
            "error: Unable to create '/r/.git/packed-refs.lock': Permission denied",
            "fatal: unable to create '/r/.git/gc.pid.lock': Permission denied",
            "error: failed to delete '/r/.git/worktrees/x': Permission denied",
        ] {
            let what = told(Level::Landlock, line);
            assert!(what.contains("in the main checkout") && what.contains("bubblewrap lets"), "{what}");
        }
        let what =
            told(Level::Bubblewrap, "error: failed to delete '/r/.git/worktrees/x': Read-only file system");
        assert!(what.contains("other git worktrees") && what.contains("in the main checkout"), "{what}");
        // Nothing was refused there.
        let what = told(Level::Landlock, "touch: /r/.git/hooks/x: Permission denied");
        assert!(!what.contains("main checkout"), "{what}");
    }

    #[test]
    fn only_the_end_of_the_output_is_kept_and_no_sandbox_refuses_nothing() {
        let mut watch = watch(Network::None);
        for n in 0..5000 {
            watch.see(format!("{n}: Permission denied\n").as_bytes());
        }
        watch.see(&[b'x'; 3 * TAIL]);
        assert_eq!(watch.tail.len(), TAIL);
        assert_eq!(watch.end(Some(1), None, &[]), []);
        assert!(Watch::of(None).is_none());
        assert!(Watch::of(Some(&Confinement::new(Level::None, "/tmp/demo"))).is_none());
    }
}
