//! What starts turns when nobody is there: schedules and triggers, kept in a reserved log.
//!
//! Ring 2. It decides what is due by the log and by the time that it is told, and writes the decision down once, however
//! many processes decide. It must never run anything, read a clock, or know a session but by its name: whoever drives
//! runs is a door.

mod board;
pub mod decide;
mod fold;
mod times;

pub use board::{Board, BoardError, Published, times};
pub use fold::{Automations, Discarded, Held, Over, Row, Run};
pub use times::{COUNTED, Due, Times, parse_at, parse_every, parse_quiet, zone_here};
