//! The Log and Blobs traits, the record codec, the folds that need no decision, an in-memory store, and the
//! conformance suite that every store passes.
//!
//! Ring 1. This crate must never know a file, a database, a clock, randomness or an executor.

mod blobs;
mod index;
mod log;

pub use blobs::*;
pub use index::*;
pub use log::*;
