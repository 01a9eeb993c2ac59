//! The Log and Blobs traits on SQLite: one file for a person's sessions, shared by all of their processes.
//!
//! Ring 2. One writer commits every waiting append in one transaction, on a thread of its own as soon as several sessions
//! write; a few reader threads answer the rest.
//! This crate must never know what a record means beyond what `sterna-log` computes from it, nor an executor.

mod check;
mod collect;
mod error;
mod layout;
mod place;
mod pool;
mod queue;
mod read;
mod rebuild;
mod reserve;
mod schema;
mod store;
mod write;
mod writer;

pub use check::StaleIndex;
pub use collect::{Census, Swept};
pub use rebuild::Rebuilt;
pub use schema::SCHEMA_VERSION;
pub use store::{Options, ReadOnly, SqliteStore};

#[cfg(test)]
mod tests;
