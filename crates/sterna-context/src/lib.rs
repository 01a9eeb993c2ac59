//! What the model sees, and why: the transcript, the prompt, the derived request and the view of tool results.
//!
//! Ring 1. Everything here is a pure function of records and of the prompt's parts. This crate must never know a
//! clock, a file, a wire's bytes or an executor.

mod deferred;
mod derive;
mod injection;
mod project;
mod prompt;
mod recalled;
mod transcript;
mod untrusted;

pub use deferred::deferred_section;
pub use derive::{CONTEXT_VERSION, TurnFacts, derive};
pub use injection::injections;
pub use project::{Projected, project, project_ends};
pub use prompt::{Prompt, PromptError, Section, Template, builtin_sections};
pub use transcript::Transcript;
pub use untrusted::marked;
