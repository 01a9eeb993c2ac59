//! The Log and Blobs traits, the record codec, the folds that need no decision, an in-memory store, and the
//! conformance suite that every store passes.
//!
//! Ring 1. This crate must never know a file, a database, a clock, randomness or an executor.

// First, for its macro.
#[macro_use]
pub mod conformance;

mod batch;
mod blobs;
mod codec;
mod decide;
pub mod fold;
mod history;
mod index;
mod log;
mod memory;
mod over;
mod reserved;
mod text;

pub use batch::*;
pub use blobs::*;
pub use codec::*;
pub use decide::*;
pub use history::*;
pub use index::*;
pub use log::*;
pub use memory::*;
pub use over::*;
pub use reserved::{
    append_reserved, append_reserved_all, automation_log, is_reserved, project_log, project_log_of, tree_log,
    user_log, user_log_of,
};
pub use text::*;
