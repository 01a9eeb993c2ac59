//! Memory over a log: notes in reserved logs, ranked by words and vectors, and the search of past sessions.
//!
//! Ring 2. This crate must never know the runtime, a file, a clock or an executor. The log is the truth: what is held
//! here is a cache of its fold, and can be dropped at any time.

pub mod conformance;
mod keep;
mod markdown;
mod past;
mod rank;

pub use keep::{LIMIT, LogMemory, MAX_NOTE_BYTES, UNUSED_MS};
pub use markdown::{BadDump, dump, load};
pub use rank::{Document, bm25, fused};
