//! One file for each command.

pub mod chat;
pub mod checkpoint;
pub mod compact;
pub mod completions;
pub mod config;
pub mod context;
pub mod doctor;
#[cfg(feature = "mcp")]
pub mod mcp;
pub mod memory;
pub mod models;
pub mod policy;
pub mod ps;
pub mod replay;
pub mod resolve;
pub mod resume;
pub mod rewind;
pub mod run;
pub mod sessions;
pub mod shim;
pub mod skills;
pub mod trust;
pub mod usage;
pub mod what_if;
