//! What a confined command may do: plain data that travels to the shim in its plan.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::level::ABI_SCOPE;
use super::{DomainRule, Gap, Level};

/// What one command may touch, and the level that holds it. Everything that is not named here can be read, and nothing
/// else can be written.
///
/// Paths are absolute. One that does not exist is passed over, but for `tmp`, which is made. A symlink stands for what
/// it points to when the command starts. Of two paths that lie within each other the deeper one decides; of the same
/// path in two lists the stricter one does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    pub level: Level,
    /// The program of `Level::Bubblewrap`, as the report has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bwrap: Option<PathBuf>,
    /// Folders and files that can be written, with all that is beneath them.
    pub writable: Vec<PathBuf>,
    /// What cannot be written although it is beneath something that can.
    pub read_only: Vec<PathBuf>,
    /// What cannot be read, with all that is beneath it.
    pub unreadable: Vec<PathBuf>,
    /// What can be read although it is beneath something that cannot, or that the level hides (`/run`, `/tmp`).
    pub readable: Vec<PathBuf>,
    /// Where the session keeps its temporary files: `/tmp` inside, where the level has namespaces.
    pub tmp: PathBuf,
    pub network: Network,
    /// Unix sockets may be opened on a level that cannot tell a harmless one from the way out (Landlock).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unix_sockets: bool,
}

impl Confinement {
    /// Reads everything, writes only `tmp`, and has no network.
    pub fn new(level: Level, tmp: impl Into<PathBuf>) -> Self {
        Self {
            level,
            bwrap: None,
            writable: Vec::new(),
            read_only: Vec::new(),
            unreadable: Vec::new(),
            readable: Vec::new(),
            tmp: tmp.into(),
            network: Network::None,
            unix_sockets: false,
        }
    }

    /// What its level does not hold of it. `landlock_abi` is the kernel's version of Landlock, 0 without.
    pub(crate) fn gaps(&self, landlock_abi: u32) -> Vec<Gap> {
        let mut gaps = self.level.gaps(&self.network, landlock_abi);
        if self.level == Level::Landlock && self.unix_sockets {
            gaps.push(Gap::SocketFiles);
            if landlock_abi < ABI_SCOPE {
                gaps.push(Gap::AbstractSockets);
            }
        }
        gaps
    }

    /// The same with every path that exists by its real name and the others left out, each once.
    pub(crate) fn resolved(&self) -> Self {
        let mut resolved = self.clone();
        for list in [
            &mut resolved.writable,
            &mut resolved.read_only,
            &mut resolved.unreadable,
            &mut resolved.readable,
        ] {
            *list = list.iter().filter_map(|path| std::fs::canonicalize(path).ok()).collect();
            list.sort();
            list.dedup();
        }
        let stricter: Vec<PathBuf> = resolved.unreadable.clone();
        resolved.read_only.retain(|path| !stricter.contains(path));
        let stricter: Vec<PathBuf> = [stricter, resolved.read_only.clone()].concat();
        resolved.writable.retain(|path| !stricter.contains(path));
        resolved.readable.retain(|path| !resolved.unreadable.contains(path));
        if let Ok(tmp) = std::fs::canonicalize(&resolved.tmp) {
            resolved.tmp = tmp;
        }
        resolved
    }
}

/// Which hosts a command may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    None,
    /// HTTP and HTTPS through the proxy, to these alone.
    Domains(Vec<DomainRule>),
    All,
}

/// Whether `path` is `root` or beneath it.
pub(crate) fn within(path: &Path, root: &Path) -> bool {
    path.starts_with(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confinement_travels_as_json() {
        let mut confinement = Confinement::new(Level::Landlock, "/state/tmp/demo");
        confinement.writable = vec!["/work".into()];
        confinement.network = Network::Domains(vec!["*.example.com".parse().unwrap()]);
        let json =
            r#"{"level":"landlock","writable":["/work"],"read_only":[],"unreadable":[],"readable":[],"#;
        let json = format!(r#"{json}"tmp":"/state/tmp/demo","network":{{"domains":["*.example.com"]}}}}"#);
        assert_eq!(serde_json::to_string(&confinement).unwrap(), json);
        assert_eq!(serde_json::from_str::<Confinement>(&json).unwrap(), confinement);
    }

    #[test]
    fn unix_sockets_under_landlock_are_a_gap() {
        let mut confinement = Confinement::new(Level::Landlock, "/tmp/demo");
        let before = confinement.gaps(6);
        confinement.unix_sockets = true;
        assert_eq!(confinement.gaps(6), [before, vec![Gap::SocketFiles]].concat());
        assert!(confinement.gaps(5).contains(&Gap::AbstractSockets));
        confinement.level = Level::Bubblewrap;
        assert_eq!(confinement.gaps(6), Level::Bubblewrap.gaps(&Network::None, 6));
    }

    #[test]
    fn the_stricter_list_wins_and_links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| std::fs::canonicalize(folder.path()).unwrap().join(name);
        for name in ["a", "b", "c"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        let mut confinement = Confinement::new(Level::Bubblewrap, at("c"));
        confinement.writable = vec![at("link"), at("b"), at("a"), at("gone")];
        confinement.read_only = vec![at("b"), at("link")];
        confinement.unreadable = vec![at("a")];
        confinement.readable = vec![at("a"), at("c")];
        let resolved = confinement.resolved();
        assert_eq!(resolved.writable, Vec::<PathBuf>::new());
        assert_eq!(resolved.read_only, [at("b")]);
        assert_eq!(resolved.unreadable, [at("a")]);
        assert_eq!(resolved.readable, [at("c")]);
    }
}
