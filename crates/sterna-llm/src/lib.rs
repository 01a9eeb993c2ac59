//! Models as pure functions over bytes: typed requests, wires that encode and decode them, the SSE decoder, the
//! table of errors, and the `Provider` trait that a transport implements.
//!
//! Ring 1. This crate must never know a socket, a file, a clock, randomness or an executor.

// A failure is the log's own record of it, made once a call: boxing it would buy nothing.
#![allow(clippy::result_large_err)]

pub mod breaker;
pub mod catalog;
pub mod embed;
pub mod ladder;
mod provider;
mod request;
pub mod scripted;
pub mod sse;
pub mod wire;

pub use catalog::ModelOverride;
pub use provider::*;
pub use request::*;
pub use scripted::Scripted;
pub use wire::EncodeCache;
