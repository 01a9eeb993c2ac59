//! Landlock's rules for a confinement. They restrict this process for good: only the helper calls this.
//!
//! Landlock allows and never forbids, and what is allowed for a folder is allowed for all beneath it. So what must not
//! be read is left out: the folders above it get no rule of their own, and their other entries get one each.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

use super::confinement::within;
use super::level::{ABI_LEAST, ABI_NET};
use super::{Confinement, Network};

/// Restricts this process as the confinement says, and tells the kernel's version of Landlock. `proxy` is the one port
/// that can be connected to with a domain list.
pub(crate) fn restrict(confinement: &Confinement, proxy: Option<u16>) -> Result<u32, String> {
    let abi = enforce(confinement, proxy).map_err(|error| format!("landlock: {error}"))?;
    let network_needs = match (&confinement.network, proxy) {
        (Network::Domains(_), Some(_)) => ABI_NET,
        // Without a port to connect to there are no sockets at all: the filter of system calls holds that.
        (Network::Domains(_) | Network::None | Network::All, _) => ABI_LEAST,
    };
    match abi {
        0 => Err("landlock: the kernel does not have it, or it is not enabled".into()),
        abi if abi < ABI_LEAST => Err(format!(
            "landlock: the kernel has version {abi}, which cannot hold `truncate`; version {ABI_LEAST} is needed"
        )),
        abi if abi < network_needs => Err(format!(
            "landlock: the kernel has version {abi}, which cannot hold a domain list; version {ABI_NET} is needed"
        )),
        abi => Ok(abi),
    }
}

/// Keeps signals and abstract sockets inside, where the kernel can: for a level that holds the rest by itself.
pub(crate) fn scope() -> Result<u32, String> {
    let enforce = || Ruleset::default().scope(Scope::from_all(NEWEST))?.create()?.restrict_self();
    let status: Result<_, RulesetError> = enforce();
    Ok(number(status.map_err(|error| format!("landlock: {error}"))?.landlock))
}

fn enforce(confinement: &Confinement, proxy: Option<u16>) -> Result<u32, RulesetError> {
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(NEWEST))?;
    if confinement.network != Network::All {
        rules = rules.handle_access(AccessNet::from_all(NEWEST))?;
    }
    let mut rules = rules.scope(Scope::from_all(NEWEST))?.create()?;

    let read = AccessFs::from_read(NEWEST);
    let mut closed = confinement.unreadable.clone();
    closed.extend(SHARED.iter().filter_map(|path| std::fs::canonicalize(path).ok()));
    let everything = Cover::of(Path::new("/"), &closed);
    rules = allow(rules, &everything.whole, read)?;
    rules = allow(rules, &everything.above, AccessFs::ReadDir.into())?;
    for (paths, access) in
        [(&confinement.readable, read), (&confinement.writable, AccessFs::from_all(NEWEST))]
    {
        for path in paths {
            let cover = Cover::of(path, &confinement.unreadable);
            rules = allow(rules, &cover.whole, access)?;
            rules = allow(rules, &cover.above, AccessFs::ReadDir.into())?;
        }
    }
    rules = allow(rules, std::slice::from_ref(&confinement.tmp), AccessFs::from_all(NEWEST))?;
    let devices: Vec<PathBuf> = DEVICES.iter().map(PathBuf::from).collect();
    rules = allow(rules, &devices, AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev)?;
    if let Some(port) = proxy {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(number(rules.restrict_self()?.landlock))
}

fn allow(
    rules: RulesetCreated,
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    rules.add_rules(path_beneath_rules(paths, access))
}

/// A folder's parts, so that something beneath it stays closed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cover {
    /// Nothing beneath them is closed.
    whole: Vec<PathBuf>,
    /// Folders with something closed beneath them.
    above: Vec<PathBuf>,
}

impl Cover {
    fn of(path: &Path, closed: &[PathBuf]) -> Self {
        let mut cover = Self::default();
        // A path that is itself beneath a closed one was opened on purpose: only what lies deeper closes it.
        let deeper: Vec<&PathBuf> = closed.iter().filter(|closed| within(closed, path)).collect();
        cover.add(path.to_owned(), &deeper);
        cover
    }

    fn add(&mut self, path: PathBuf, closed: &[&PathBuf]) {
        if closed.contains(&&path) {
            return;
        }
        let beneath: Vec<&PathBuf> = closed.iter().copied().filter(|closed| within(closed, &path)).collect();
        if beneath.is_empty() {
            self.whole.push(path);
            return;
        }
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            // A rule for a link would be one for what it points to, which may be closed.
            if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
                self.add(entry.path(), &beneath);
            }
        }
        self.above.push(path);
    }
}

fn number(status: LandlockStatus) -> u32 {
    match status {
        LandlockStatus::Available { effective_abi, .. } => {
            (1..=9).find(|abi| ABI::from(*abi) == effective_abi).map_or(0, i32::unsigned_abs)
        }
        _ => 0,
    }
}

/// The newest version whose rights we know. An older kernel takes those that it has.
const NEWEST: ABI = ABI::V9;
/// Folders where everybody's files lie: closed, as there is no private one without namespaces.
const SHARED: &[&str] = &["/tmp", "/var/tmp", "/dev/shm", "/run/user"];
/// What every program may write to.
const DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_is_left_out_and_no_link_leads_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        let at = |name: &str| root.join(name);
        for name in ["home/.ssh", "home/.config/gcloud", "home/.config/git", "home/src", "usr"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::write(at("home/.netrc"), "").unwrap();
        std::fs::write(at("home/notes"), "").unwrap();
        std::os::unix::fs::symlink(at("home/.ssh"), at("home/keys")).unwrap();
        let closed = [at("home/.ssh"), at("home/.netrc"), at("home/.config/gcloud")];
        let mut cover = Cover::of(&root, &closed);
        cover.whole.sort();
        cover.above.sort();
        assert_eq!(cover.whole, [at("home/.config/git"), at("home/notes"), at("home/src"), at("usr")]);
        assert_eq!(cover.above, [root.clone(), at("home"), at("home/.config")]);
        // Opened on purpose beneath a closed one.
        let inside = Cover::of(&at("home/.ssh"), &[at("home")]);
        assert_eq!(inside, Cover { whole: vec![at("home/.ssh")], above: vec![] });
        assert_eq!(Cover::of(&at("usr"), &[at("usr")]), Cover::default());
    }
}
