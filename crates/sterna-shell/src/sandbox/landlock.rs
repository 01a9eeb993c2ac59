//! Landlock's rules for a confinement. They restrict this process for good: only the helper calls this.
//!
//! Landlock allows and never forbids, and what is allowed for a folder is allowed for all beneath it. So what must not
//! be read is left out: the folders above it get no rule of their own, and their other entries get one each. (So those
//! folders cannot be listed: the right to do so would hold for the hidden ones too.)

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
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
    rules = allow(rules, &parts_of(Path::new("/"), &closed), read)?;
    for (paths, access) in
        [(&confinement.readable, read), (&confinement.writable, AccessFs::from_all(NEWEST))]
    {
        for path in paths {
            rules = allow(rules, &parts_of(path, &confinement.unreadable), access)?;
        }
    }
    rules = allow(rules, std::slice::from_ref(&confinement.tmp), AccessFs::from_all(NEWEST))?;
    let devices: Vec<PathBuf> = DEVICES.iter().map(PathBuf::from).collect();
    let device = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::IoctlDev;
    rules = allow(rules, &devices, device)?;
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

/// The parts of a folder that have nothing closed beneath them: itself, or as few as will do.
fn parts_of(path: &Path, closed: &[PathBuf]) -> Vec<PathBuf> {
    // A path that is itself beneath a closed one was opened on purpose: only what lies deeper closes it.
    let deeper: Vec<&PathBuf> = closed.iter().filter(|closed| within(closed, path)).collect();
    let mut parts = Vec::new();
    add_parts(path.to_owned(), &deeper, &mut parts);
    parts
}

fn add_parts(path: PathBuf, closed: &[&PathBuf], parts: &mut Vec<PathBuf>) {
    if closed.contains(&&path) {
        return;
    }
    let beneath: Vec<&PathBuf> = closed.iter().copied().filter(|closed| within(closed, &path)).collect();
    if beneath.is_empty() {
        parts.push(path);
        return;
    }
    for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
        // A rule for a link would be one for what it points to, which may be closed.
        if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            add_parts(entry.path(), &beneath, parts);
        }
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
/// Folders where everybody's files lie, closed as there is no private one without namespaces; and devices, among them
/// whole disks.
const SHARED: &[&str] = &["/tmp", "/var/tmp", "/dev", "/run/user"];
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
        let mut parts = parts_of(&root, &closed);
        parts.sort();
        assert_eq!(parts, [at("home/.config/git"), at("home/notes"), at("home/src"), at("usr")]);
        // Opened on purpose beneath a closed one.
        assert_eq!(parts_of(&at("home/.ssh"), &[at("home")]), [at("home/.ssh")]);
        assert_eq!(parts_of(&at("usr"), &[at("usr")]), Vec::<PathBuf>::new());
    }
}
