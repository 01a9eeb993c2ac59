//! The hot paths of a step, made from the pure crates and the driver alone, so that they are cheap to build optimised:
//! for the benches, which time them, and for the program of this crate, which counts their instructions.

mod model;
mod paths;
mod world;

pub use model::Counting;
pub use paths::{Hot, NAMES, about, make};
pub use world::{BenchEnv, World};
