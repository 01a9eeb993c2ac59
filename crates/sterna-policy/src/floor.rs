//! The safety floor: what nobody can allow, in any mode. It looks at the plan, so quotes and wrappers do not help.

use std::path::{Path, PathBuf};

use crate::effects::{How, Reach};
use crate::paths::{base_name, is_device, within_any_case};
use crate::shell::SimpleCommand;

/// The folder under a state folder whose folders are agents' workspaces.
pub const WORKTREES: &str = "worktrees";

/// What the floor protects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Protected<'a> {
    pub roots: &'a [PathBuf],
    pub home: Option<&'a Path>,
    pub state: &'a [PathBuf],
}

/// Says why touching `path` like this is never allowed. `everything`: the path stands for all that is in it.
pub(crate) fn forbids_path(
    how: How,
    path: &Path,
    reach: Reach,
    everything: bool,
    protected: Protected,
) -> Option<String> {
    let shown = path.display();
    match how {
        How::Read => None,
        How::Named => {
            own_state(path, protected).map(|_| format!("`{shown}` is Sterna's own state or configuration"))
        }
        How::Write => {
            if is_device(path) {
                return Some(format!("`{shown}` is a device"));
            }
            own_state(path, protected)
        }
        How::Delete => {
            let over = |p: &Path| within_any_case(p, path);
            if over(Path::new("/")) || protected.home.is_some_and(over) {
                return Some(format!(
                    "removal of `{shown}`, which holds the home folder or the whole system"
                ));
            }
            if protected.roots.iter().any(|r| over(r)) && (!everything || reach == Reach::Tree) {
                return Some(format!("removal of `{shown}`, which is or holds the workspace"));
            }
            if let Some(state) = protected.state.iter().find(|s| over(s)) {
                return Some(format!(
                    "removal of `{}`, Sterna's own state or configuration",
                    state.display()
                ));
            }
            if is_device(path) {
                return Some(format!("`{shown}` is a device"));
            }
            own_state(path, protected)
        }
    }
}

/// Says why running this is never allowed, whatever its arguments name.
pub(crate) fn forbids_command(command: &SimpleCommand) -> Option<String> {
    let name = base_name(command.program());
    let args: Vec<&str> = command.argv.iter().skip(1).map(|w| w.text.as_str()).collect();
    if name == "mkfs" || name.starts_with("mkfs.") || DISKS.contains(&name) {
        return Some(format!("`{name}` rewrites a disk"));
    }
    let stops = POWER.contains(&name)
        || (["init", "telinit"].contains(&name) && args.iter().any(|a| ["0", "6"].contains(a)))
        || (name == "systemctl" && args.iter().any(|a| POWER.contains(a) || SLEEPS.contains(a)));
    if stops {
        return Some(format!("`{name}` stops the machine"));
    }
    // An agent that trusts a folder, or answers what it asks itself, would need nobody.
    let persons = |a: &&&str| ["trust", "approve", "answer"].contains(*a);
    let trusts = |a: &&&str| **a == "--trust";
    if name == "sterna"
        && let Some(word) = args.first().filter(persons).or_else(|| args.iter().find(trusts))
    {
        return Some(format!("`sterna {word}` is for a person"));
    }
    let device = |a: &&&str| a.strip_prefix("of=").is_some_and(|p| is_device(Path::new(p)));
    if name == "dd" && args.iter().any(|a| device(&a)) {
        return Some("`dd` to a device".into());
    }
    None
}

/// A function that pipes into itself.
pub(crate) fn is_fork_bomb(line: &str) -> bool {
    let dense: String = line.chars().filter(|c| !c.is_whitespace()).collect();
    dense.match_indices("(){").any(|(at, open)| {
        let before = &dense[..at];
        let name = before.rsplit([';', '|', '&', '(', ')', '{', '}']).next().unwrap_or_default();
        let name = name.strip_prefix("function").unwrap_or(name);
        !name.is_empty() && dense[at + open.len()..].contains(&format!("{name}|{name}&"))
    })
}

/// Our own files: the state folders given, and what configures a workspace.
fn own_state(path: &Path, protected: Protected) -> Option<String> {
    let refuse = || Some(format!("`{}` is Sterna's own state or configuration", path.display()));
    let worktree = |state: &PathBuf| {
        let all = state.join(WORKTREES);
        let is_one = |root: &&PathBuf| root.as_path() != all && within_any_case(root, &all);
        protected.roots.iter().filter(is_one).any(|root| within_any_case(path, root))
    };
    // What an agent was given to work in lies among our own files, and is not one of them.
    let given = protected.state.iter().any(worktree);
    if !given && protected.state.iter().any(|s| within_any_case(path, s)) {
        return refuse();
    }
    for root in protected.roots.iter().filter(|r| within_any_case(path, r)) {
        let mut inner = path.components().skip(root.components().count());
        let first = inner.next().map(|c| c.as_os_str().to_string_lossy().to_lowercase());
        if first.as_deref() != Some(".sterna") {
            continue;
        }
        let second = inner.next().map(|c| c.as_os_str().to_string_lossy().to_lowercase());
        if second
            .is_none_or(|s| ["config", "hooks", "policy", "trust", "mcp"].iter().any(|p| s.starts_with(p)))
        {
            return refuse();
        }
    }
    None
}

const DISKS: [&str; 8] = ["mkswap", "wipefs", "blkdiscard", "fdisk", "sfdisk", "parted", "cfdisk", "sgdisk"];
const POWER: [&str; 5] = ["shutdown", "reboot", "halt", "poweroff", "kexec"];
const SLEEPS: [&str; 3] = ["suspend", "hibernate", "hybrid-sleep"];
