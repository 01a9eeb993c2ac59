//! Content-addressed bytes in a local folder: `aa/bb/<hash>`, written whole and durably before they have a name.
//!
//! Ring 2. This crate must never know a record, a session or who refers to a blob. Its calls block: whoever runs on
//! an executor puts them on a thread of their own.

mod folder;
mod io;

pub use folder::{LocalBlobs, LocalWriter};
pub use io::io_error;
