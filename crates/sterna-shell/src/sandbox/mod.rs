//! Confines a command with the kernel's help, on the best level that the machine offers.
//!
//! It must never know policy or a model: it is given a [`Confinement`], holds what its level can hold, says by name what
//! that level cannot ([`Gap`]), and never runs a command with less than it was asked for.
//!
//! ```text
//! runtime ──▶ shim (not confined; has the proxy) ──▶ bwrap or our helper ──▶ command
//! ```
//!
//! | level | files | network | processes |
//! |---|---|---|---|
//! | [`Level::Bubblewrap`] | a mount namespace | a network namespace; a forwarder leads to the proxy | a process namespace |
//! | [`Level::Landlock`] | rules on folders that are allowed | no sockets, or TCP to the proxy's port | rules on `ptrace` and signals |
//! | [`Level::None`] | – | – | – |
//!
//! Both upper levels have a filter of system calls ([`seccomp`]) and no capabilities. Which level the machine offers is
//! found out by running a confined process that tries to break out ([`probe`]).

mod bwrap;
mod confinement;
mod defaults;
mod denied;
mod git;
mod helper;
mod landlock;
mod launch;
mod level;
pub mod net;
mod probe;
mod seccomp;

pub use confinement::{Confinement, Network};
pub use defaults::Places;
pub use denied::{Denied, Source};
pub use level::{Gap, Level, ParseLevelError};
pub use net::{DomainRule, ParseRuleError};
pub use probe::{ProbeError, Prober, Report, Tried};

pub(crate) use denied::Watch;
pub(crate) use helper::main as helper_main;
pub(crate) use launch::{Launch, Words, launch};
