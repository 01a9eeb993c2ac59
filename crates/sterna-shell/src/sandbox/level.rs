//! The levels of confinement, and by name what each cannot hold.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Network;

/// How a command is confined. A later one holds more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Not at all.
    None,
    /// Landlock's rules and a filter of system calls.
    Landlock,
    /// Namespaces of its own, made by the program `bwrap`, and a filter of system calls.
    Bubblewrap,
}

impl Level {
    /// Best first: the order in which they are tried.
    pub const LADDER: [Self; 3] = [Self::Bubblewrap, Self::Landlock, Self::None];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Landlock => "landlock",
            Self::Bubblewrap => "bubblewrap",
        }
    }

    /// What this level does not hold of a confinement with that network. `landlock_abi` is the kernel's version of
    /// Landlock, 0 without.
    pub(crate) fn gaps(self, network: &Network, landlock_abi: u32) -> Vec<Gap> {
        let mut gaps = Vec::new();
        match self {
            Self::None => return vec![Gap::Everything],
            Self::Bubblewrap => {
                gaps.extend([Gap::Memory, Gap::Caches, Gap::NewRepositories, Gap::SocketFiles]);
            }
            Self::Landlock => {
                gaps.extend([
                    Gap::Memory,
                    Gap::Caches,
                    Gap::NewRepositories,
                    Gap::CarveOuts,
                    Gap::Metadata,
                    Gap::OwnTmp,
                    Gap::ProcessList,
                ]);
                if landlock_abi < ABI_IOCTL {
                    gaps.push(Gap::DeviceControl);
                }
                if landlock_abi < ABI_SCOPE {
                    gaps.push(Gap::Signals);
                }
            }
        }
        match (network, self) {
            (Network::None, _) | (_, Self::None) => {}
            (Network::Domains(_), Self::Bubblewrap) => gaps.push(Gap::SharedHosts),
            (Network::Domains(_), Self::Landlock) => gaps.extend([Gap::SharedHosts, Gap::ProxyPort]),
            (Network::All, level) => {
                gaps.push(Gap::LocalServices);
                if level == Self::Bubblewrap && landlock_abi < ABI_SCOPE {
                    gaps.push(Gap::AbstractSockets);
                }
            }
        }
        gaps
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = ParseLevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::LADDER.into_iter().find(|level| level.as_str() == text);
        known.ok_or_else(|| ParseLevelError(text.to_owned()))
    }
}

/// A name that is no level's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no sandbox level {0:?}: it is bubblewrap, landlock or none")]
pub struct ParseLevelError(String);

/// What a level cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// There is no sandbox.
    Everything,
    /// Limits hold for each process, not for all of a command together.
    Memory,
    /// Caches of tools that can be written are also used outside of the sandbox.
    Caches,
    /// The hooks and configuration of a repository that the command itself makes, or of one nested in the workspace.
    NewRepositories,
    /// Unix sockets by path, outside of `/run`, `/tmp` and hidden folders, can be connected to.
    SocketFiles,
    /// Read-only parts of a folder that can be written, such as `.git/hooks` and `.git/config`.
    CarveOuts,
    /// Mode, times and extended attributes of the user's files can be changed everywhere.
    Metadata,
    /// `/tmp` is closed, not private: `TMPDIR` leads to the session's own folder.
    OwnTmp,
    /// The process table with command lines can be read.
    ProcessList,
    /// Control calls to devices that can be read.
    DeviceControl,
    /// Other processes of the user can be signalled.
    Signals,
    /// With a domain list: whoever shares servers with an allowed name can be reached through it.
    SharedHosts,
    /// With a domain list: other hosts on the proxy's port number can be reached.
    ProxyPort,
    /// With all of the network: services on this machine can be reached.
    LocalServices,
    /// With all of the network: abstract Unix sockets can be connected to.
    AbstractSockets,
}

impl Gap {
    pub const ALL: [Self; 15] = [
        Self::Everything,
        Self::Memory,
        Self::Caches,
        Self::NewRepositories,
        Self::SocketFiles,
        Self::CarveOuts,
        Self::Metadata,
        Self::OwnTmp,
        Self::ProcessList,
        Self::DeviceControl,
        Self::Signals,
        Self::SharedHosts,
        Self::ProxyPort,
        Self::LocalServices,
        Self::AbstractSockets,
    ];

    /// For people: what it does not hold.
    pub fn told(self) -> &'static str {
        match self {
            Self::Everything => "anything: commands run with all rights of the user",
            Self::Memory => "memory and processes of a command together (each process has its limits)",
            Self::Caches => "writes to the caches of build tools, which are also used outside of the sandbox",
            Self::NewRepositories => {
                "hooks and configuration of a repository that the command itself makes, or of one nested in the workspace"
            }
            Self::SocketFiles => {
                "connections to Unix sockets by path outside of /run, /tmp and hidden folders"
            }
            Self::CarveOuts => "read-only parts of the workspace, such as .git/hooks and .git/config",
            Self::Metadata => {
                "changes of mode, times and attributes of the user's files outside of the workspace"
            }
            Self::OwnTmp => "a private /tmp (it is closed instead; TMPDIR leads to a folder of the session)",
            Self::ProcessList => "reading the process table with command lines",
            Self::DeviceControl => "control calls to devices",
            Self::Signals => "signals to other processes of the user",
            Self::SharedHosts => "connections to whoever shares servers with an allowed domain",
            Self::ProxyPort => "TCP connections to other hosts on the proxy's port number",
            Self::LocalServices => "connections to services on this machine",
            Self::AbstractSockets => "connections to abstract Unix sockets",
        }
    }
}

/// The version of Landlock that knows control calls to devices.
pub(crate) const ABI_IOCTL: u32 = 5;
/// The version of Landlock that keeps signals and abstract sockets inside.
pub(crate) const ABI_SCOPE: u32 = 6;
/// The first version of Landlock that holds `truncate`: below it, every file of the user could be emptied.
pub(crate) const ABI_LEAST: u32 = 3;
/// The first version of Landlock that knows TCP ports.
pub(crate) const ABI_NET: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_names_and_an_order() {
        for (level, name) in
            [(Level::None, "none"), (Level::Landlock, "landlock"), (Level::Bubblewrap, "bubblewrap")]
        {
            assert_eq!(level.to_string(), name);
            assert_eq!(name.parse::<Level>(), Ok(level));
            assert_eq!(serde_json::to_string(&level).unwrap(), format!("\"{name}\""));
        }
        assert!("Landlock".parse::<Level>().is_err());
        assert!(Level::LADDER.is_sorted_by(|a, b| a > b));
    }

    #[test]
    fn gaps_follow_level_network_and_kernel() {
        use Gap::*;
        let base = vec![Memory, Caches, NewRepositories];
        let landlock = [base.clone(), vec![CarveOuts, Metadata, OwnTmp, ProcessList]].concat();
        let bubblewrap = [base, vec![SocketFiles]].concat();
        let domains = Network::Domains(Vec::new());
        let cases = [
            (Level::None, Network::All, 7, vec![Everything]),
            (Level::Bubblewrap, Network::None, 0, bubblewrap.clone()),
            (Level::Bubblewrap, domains.clone(), 0, [bubblewrap.clone(), vec![SharedHosts]].concat()),
            (Level::Bubblewrap, Network::All, 6, [bubblewrap.clone(), vec![LocalServices]].concat()),
            (Level::Bubblewrap, Network::All, 5, [bubblewrap, vec![LocalServices, AbstractSockets]].concat()),
            (Level::Landlock, Network::None, 6, landlock.clone()),
            (Level::Landlock, Network::None, 5, [landlock.clone(), vec![Signals]].concat()),
            (Level::Landlock, Network::None, 4, [landlock.clone(), vec![DeviceControl, Signals]].concat()),
            (Level::Landlock, domains, 7, [landlock.clone(), vec![SharedHosts, ProxyPort]].concat()),
            (Level::Landlock, Network::All, 7, [landlock, vec![LocalServices]].concat()),
        ];
        for (level, network, abi, want) in cases {
            assert_eq!(level.gaps(&network, abi), want, "{level} {network:?} {abi}");
        }
    }
}
