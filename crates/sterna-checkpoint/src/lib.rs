//! Workspace checkpoints: what every file, folder and symlink of a workspace was, kept as a manifest over blobs, and
//! the way back to it.
//!
//! Ring 2. This crate must never know a session, a record or a tool, and never enters or writes a `.git`, whatever
//! stands in it. Its calls block, and drive the store's futures to their end: call them on a thread made for that.
//!
//! What is held: kind, all twelve mode bits, bytes and symlink targets. What is not: owner, times, hard links between
//! files, extended attributes and access lists. Special files, and what is over a limit, are named and left alone.

mod cache;
mod checkpointer;
mod cold;
mod diff;
mod error;
mod manifest;
mod path;
mod plan;
mod read;
mod restore;
mod root;
mod take;
mod walk;

pub use checkpointer::{Checkpointer, Options};
pub use diff::{Against, Change, Kind, Side, What};
pub use error::CheckpointError;
pub use manifest::{Manifest, Node, Scope, Why};
pub use path::{RawText, RelPath};
pub use plan::{Plan, Stay, Step};
pub use restore::Restored;
pub use take::Taken;
