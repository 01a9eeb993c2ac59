//! The words of Sterna: ids, messages, tools, usage, effects, records and events.
//!
//! Ring 0. Plain data that every other crate shares. This crate must never know a clock, a file,
//! a socket, a database, a model wire or a decision: it has types and their text forms, nothing else.

mod automation;
mod budget;
mod child;
mod compact;
mod effect;
mod event;
mod goal;
mod hook;
mod ids;
mod judge;
mod memory;
mod message;
mod placeholder;
mod policy;
mod record;
mod stop;
mod thinking;
mod title;
mod tool;
mod usage;

pub use automation::*;
pub use budget::*;
pub use child::*;
pub use compact::*;
pub use effect::*;
pub use event::*;
pub use goal::*;
pub use hook::*;
pub use ids::*;
pub use judge::*;
pub use memory::*;
pub use message::*;
pub use placeholder::*;
pub use policy::*;
pub use record::*;
pub use stop::*;
pub use thinking::*;
pub use title::*;
pub use tool::*;
pub use usage::*;
