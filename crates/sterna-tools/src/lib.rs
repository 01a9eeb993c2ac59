//! The built-in tools, one file each: `name.rs` is what it does, `name.md` is what the model reads of it.
//!
//! Ring 2. This crate must never know the runtime, a session's log, policy or a model. A tool judges its arguments,
//! says what it would touch, and touches that: never another file that a symlink was swapped for.

mod apply_patch;
mod ask_user;
mod call_tool;
mod context;
mod edit;
mod edit_match;
mod file;
mod glob;
mod grep;
mod job_kill;
mod job_output;
mod jobs;
mod list;
mod patch;
mod patch_match;
pub mod paths;
mod plan_mode;
mod read;
mod recall;
mod sandbox;
mod schema;
mod shell;
mod shell_input;
mod support;
mod todo;
mod tool_search;
mod walk;
mod write;

use std::sync::Arc;

use sterna_shell::shim::Shims;
use sterna_tool::SharedTool;

pub use sandbox::{Grounds, Sandboxes, sandbox_of};

/// All built-in tools, sorted by name. With `shims`, commands outlive this process and are found again. With `sandboxes`,
/// they run as confined as it was decided; without, those that were to be confined do not run.
pub fn builtin(shims: Option<Arc<Shims>>, sandboxes: Option<Arc<Sandboxes>>) -> Vec<SharedTool> {
    let jobs = jobs::Jobs::new(shims.clone());
    vec![
        Arc::new(apply_patch::ApplyPatch::new()),
        Arc::new(ask_user::AskUser::new()),
        Arc::new(context::Context::new()),
        Arc::new(edit::Edit::new()),
        Arc::new(plan_mode::EnterPlan::new()),
        Arc::new(glob::Glob::new()),
        Arc::new(grep::Grep::new()),
        Arc::new(job_kill::JobKill::new(jobs.clone())),
        Arc::new(job_output::JobOutput::new(jobs.clone())),
        Arc::new(list::List::new()),
        Arc::new(read::Read::new()),
        Arc::new(recall::Recall::new()),
        Arc::new(shell::Shell::new(shims, sandboxes)),
        Arc::new(shell_input::ShellInput::new(jobs)),
        Arc::new(plan_mode::SubmitPlan::new()),
        Arc::new(todo::Todo::new()),
        Arc::new(write::Write::new()),
    ]
}

/// The tools that find and call those that are shown by name only: for a session that has such tools.
pub fn for_deferred() -> Vec<SharedTool> {
    vec![Arc::new(call_tool::CallTool::new()), Arc::new(tool_search::ToolSearch::new())]
}

/// The names of a profile's tools, sorted. `None` for a profile that does not exist.
pub fn profile(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "main" => Some(&[
            "apply_patch",
            "ask_user",
            "context",
            "edit",
            "enter_plan",
            "glob",
            "grep",
            "job_kill",
            "job_output",
            "list",
            "read",
            "recall",
            "shell",
            "shell_input",
            "submit_plan",
            "todo",
            "write",
        ]),
        "minimal" => Some(&["edit", "read", "shell", "write"]),
        _ => None,
    }
}
