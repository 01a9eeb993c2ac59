//! A bundle: a session's records, the chain that proves them, and every blob they refer to, as JSON lines.
//!
//! ```text
//! {"sterna_export":1,"sterna","session","records","hash"}        the session
//! {"seq","prev","hash","record"}                                 each of its records
//! {"log":ID,"records","hash"}                                    for a fork: each log that it shares, nearest first,
//! {"seq","prev","hash","record"}                                 and its records up to the shared one
//! {"blob":HASH,"offset","base64"}                                each piece of each blob, in order
//! {"sterna_export_end":1,"blobs","blake3"}                       the hash of every byte before this line
//! ```

mod read;
mod write;

pub use read::{Bundle, BundleLog, is_bundle};
pub use write::{WriteError, Written, write_bundle};

/// The version of the file.
pub const EXPORT_VERSION: u32 = 1;
/// Bytes of a blob that one line holds, so that the size of a blob is no matter of memory.
const PIECE: u64 = 192 * 1024;
