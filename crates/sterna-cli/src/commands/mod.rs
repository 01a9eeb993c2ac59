//! One file for each command.

pub mod chat;
pub mod resume;
pub mod run;
