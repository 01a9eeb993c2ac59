//! Sessions that come from somewhere else: bundles of Sterna's own, the session logs of other agents, and what is
//! whole of a damaged log. All of them become the records of a new session.
//!
//! Ring 2. What is read was written by others: every byte is checked before anything is kept, and nothing that was
//! open there runs here. This crate must never know a store beyond its traits, a tool, a model or an executor.

mod bundle;
mod error;
mod foreign;
mod plan;
mod rename;
mod salvage;
mod settle;

pub use bundle::{Bundle, BundleLog, EXPORT_VERSION, WriteError, Written, is_bundle, write_bundle};
pub use error::{BundleError, ForeignError, ImportError};
pub use foreign::{Agent, Foreign, read_foreign};
pub use plan::{Imported, NewSession, Plan};
pub use salvage::{Lost, Salvage, salvage};
pub use settle::Settled;
