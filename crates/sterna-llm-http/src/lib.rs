//! Providers over HTTP: moves a request's bytes and gives the decoder what comes back.
//!
//! Ring 2. It must never know what a request says, when to try again, or where a key came from: bytes, time limits and
//! classes of failure are all it has. Clients are built at their first use, and plain `http` loads no certificates.

// A failure is the log's own record of it, made once a call: boxing it would buy nothing.
#![allow(clippy::result_large_err)]

mod call;
mod client;
mod embed;
mod endpoint;
pub mod local;
mod provider;

pub use embed::HttpEmbedder;
pub use endpoint::{Builtin, Endpoint, KeySource, LaterKey, Secret, builtin, builtins, not_built};
pub use provider::HttpProvider;
