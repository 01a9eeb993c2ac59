//! The turn machine: what to do next, as a pure function of the log.
//!
//! Ring 1. `apply` folds records, `next` asks for effects. Feed it the same records and it asks for the same effects,
//! live, on resume and in replay. This crate must never know a clock, randomness, a file, an executor, a model wire,
//! or what a tool does.

mod batch;
mod call;
mod compaction;
mod goal;
mod machine;
mod progress;
mod turn;

pub use call::{CallState, TurnCall, Wake};
pub use goal::{GoalNext, GoalStanding};
pub use machine::{Next, TurnMachine, WrongRecord};
pub use turn::Turn;
