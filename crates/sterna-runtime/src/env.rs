//! What the host supplies beside log, provider and tools: the clock, names, and facts of the machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use sterna_log::Owner;
use sterna_model::{Digest, Millis, SessionId};
use sterna_policy::{Contacts, Look};

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileVersion {
    Gone,
    /// The hash of its content, as tools say which version they read.
    Is(Digest),
}

/// The world outside. The SDK brings the real one; tests bring one whose clock they turn.
pub trait Env: Send + Sync {
    /// Wall-clock milliseconds.
    fn now(&self) -> Millis;

    /// Completes when `now() >= at`.
    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()>;

    /// A name that no session has had.
    fn new_session_id(&self) -> SessionId;

    /// This process, by a name that no other process ever has.
    fn owner(&self) -> Owner;

    /// Whether that process is known to be dead. `false` when it cannot be known.
    fn is_dead(&self, owner: &Owner) -> bool;

    /// The environment of tools' children: an allow-list, without any key.
    fn child_env(&self) -> BTreeMap<String, String>;

    /// The person's home folder, for rules that name it.
    fn home(&self) -> Option<PathBuf>;

    /// A path with symlinks resolved as far as it exists.
    fn resolve(&self, path: &Path) -> PathBuf;

    /// Why git's reading commands in this folder may do more than read, by the settings of the repository there. `None`:
    /// they only read. What cannot be looked at is a reason, and a host that does not look has one always.
    fn git_suspect(&self, _folder: &Path) -> Option<String> {
        Some("this host does not look at repositories".into())
    }

    /// Why git in this folder, held by no sandbox, may run programs of a repository at hand, also by a push to the remote that
    /// is told; an empty one is the one that the repository's settings name. `None`: it runs none.
    fn git_outside(&self, folder: &Path, _remote: Option<&str>) -> Option<String> {
        self.git_suspect(folder)
            .or_else(|| Some("this host does not look where git leads without a sandbox".into()))
    }

    /// Where git in this folder goes when it talks to a remote, and whether it pushes; an empty remote is one that the
    /// repository's settings name. A host that does not look says that it cannot be seen.
    fn git_contacts(&self, _folder: &Path, _remote: &str, _push: bool) -> Contacts {
        Contacts { hosts: vec!["*".to_owned()], suspect: None }
    }

    /// Whether a folder holds, at any depth, something that is wanted, as far as this host looks. Links are not followed.
    fn look(&self, _folder: &Path, _wanted: &dyn Fn(&Path) -> bool) -> Look {
        Look::Unseen
    }

    /// Sterna's own state and configuration: no tool writes there.
    fn state_dirs(&self) -> Vec<PathBuf>;

    /// What a file holds now, for hooks that are told when files of the session are changed. It may look at the file
    /// system. `None`: this host does not look, or could not.
    fn file_version(&self, _path: &Path) -> Option<FileVersion> {
        None
    }

    /// What keys of waits are signed with, and placeholders of secrets keyed with: the same in every process of a
    /// store, and nobody else's. `None`: no keys, and whoever has a placeholder can try guesses against it.
    fn wait_secret(&self) -> Option<[u8; 32]> {
        None
    }
}
