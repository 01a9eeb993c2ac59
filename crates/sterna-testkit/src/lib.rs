//! Tools for tests: a server that plays HTTP answers from a script, an MCP server, and the table of the crash matrix.
//!
//! Dev only. This crate must never be a dependency of a crate that ships.

mod crash_matrix;
mod exchange;
pub mod mcp;
mod replies;
mod script_file;
mod script_server;

pub use crash_matrix::{CrashRow, crash_matrix};
pub use exchange::{Chunk, Exchange, Framing};
pub use replies::{Api, Reply};
pub use script_file::{BadScript, read_script};
pub use script_server::{Request, ScriptServer};
