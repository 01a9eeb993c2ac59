//! Secrets: found by pattern and by value, replaced by placeholders, and given back to those few who may have them.
//!
//! Ring 1. Text in, text out. This crate must never know an environment, a file, a clock, a record or a tool: whoever
//! calls it says which values are secret and what the placeholders are keyed with.

mod known;
mod patterns;
mod redactor;
mod scan;
mod starts;
mod stream;

pub use known::{Known, looks_secret, worth_hiding};
pub use redactor::{Config, Key, Redactor, Scoped, Unknown};
pub use scan::{BadPattern, Finding, Scanner};
pub use stream::Stream;
