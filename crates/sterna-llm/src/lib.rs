//! Models as pure functions over bytes: typed requests, wires that encode and decode them, the SSE decoder, the
//! table of errors, and the `Provider` trait that a transport implements.
//!
//! Ring 1. This crate must never know a socket, a file, a clock, randomness or an executor.

mod provider;
mod request;

pub use provider::*;
pub use request::*;
