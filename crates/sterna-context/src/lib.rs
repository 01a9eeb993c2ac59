//! What the model sees, and why: the transcript, the prompt, the derived request and the view of tool results.
//!
//! Ring 1. Everything here is a pure function of records and of the prompt's parts. This crate must never know a
//! clock, a file, a wire's bytes or an executor.

mod compact;
mod deferred;
mod derive;
mod files;
mod gauge;
mod guests;
mod hook_ask;
mod injection;
mod judge;
mod ledger;
mod pinned;
mod plan;
mod project;
mod prompt;
mod recalled;
mod title;
mod transcript;
mod untrusted;

pub use compact::{KEPT_OF_RESULT, LONG_RESULT, SUMMARY_TOKENS, SummaryAsk, derive_summary, size};
pub use deferred::deferred_section;
pub use derive::{CONTEXT_VERSION, TurnFacts, derive};
pub use files::{Form, Loaded, has_files, reference, show, wanted};
pub use gauge::{Gauge, MAX_FAILURES};
pub use hook_ask::{HOOK_TOKENS, hook_request, hook_text, read_hook_answer};
pub use injection::injections;
pub use judge::{JudgeAsked, JudgeCase, judge_tokens, read_judgement};
pub use ledger::{Changes, Derived, Layer, Owned, compare, owners};
pub use pinned::is_constraint;
pub use plan::{Change, Load, Step, first_step, fresh_window, mechanical, summary_blob, with_summary};
pub use project::{Projected, project, project_ends};
pub use prompt::{Prompt, PromptError, Section, Template, builtin_sections};
pub use title::{TITLE_TOKENS, read_title, title_request};
pub use transcript::{Entry, Transcript};
pub use untrusted::marked;
