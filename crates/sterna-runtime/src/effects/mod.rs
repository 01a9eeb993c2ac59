//! The effects that the driver runs, one file a kind. Each reports back with a message, never touches the log.

pub mod checkpoint;
pub mod model;
pub mod pipeline;
pub mod tool;
