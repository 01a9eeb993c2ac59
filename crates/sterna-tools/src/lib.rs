//! The built-in tools, one file each: `name.rs` is what it does, `name.md` is what the model reads of it.
//!
//! Ring 2. This crate must never know the runtime, a session's log, policy or a model. A tool judges its arguments,
//! says what it would touch, and touches that: never another file that a symlink was swapped for.

mod agent;
mod agent_types;
mod apply_patch;
mod ask_user;
pub mod attach;
mod call_tool;
mod context;
mod continue_as;
mod edit;
mod edit_match;
mod file;
mod glob;
mod goal;
mod grep;
mod job_kill;
mod job_output;
mod jobs;
mod list;
mod notebook;
mod notebook_edit;
mod patch;
mod patch_match;
pub mod paths;
mod pdf;
mod plan_mode;
mod read;
mod recall;
mod remember;
mod request_permission;
mod sandbox;
mod schema;
mod screen;
mod shell;
mod shell_input;
mod skill;
pub mod skills;
mod support;
mod todo;
mod tool_search;
mod walk;
mod web;
mod web_fetch;
mod web_search;
mod write;

use std::sync::Arc;

use sterna_shell::shim::Shims;
use sterna_tool::SharedTool;

pub use agent_types::{AgentType, builtin_agents};
pub use sandbox::{Grounds, Sandboxes, sandbox_of};
pub use web::{Backend, Posted, Poster, Resolver, SearchSettings, WebSettings};

/// The tool that starts agents of these kinds. Of two kinds with one name the later counts.
pub fn agent(kinds: Vec<AgentType>) -> SharedTool {
    Arc::new(agent::Agent::new(kinds))
}

/// A skill as the model is told of it: `- name: description`.
pub fn skill_line(skill: &skills::Found<skills::SkillText>) -> String {
    skill::line(skill)
}

/// What the built-in tools are made with.
#[derive(Clone, Default)]
pub struct Options {
    /// With them commands outlive this process and are found again.
    pub shims: Option<Arc<Shims>>,
    /// With them commands run as confined as it was decided; without, those that were to be confined do not run.
    pub sandboxes: Option<Arc<Sandboxes>>,
    pub web: WebSettings,
    /// With them there is the tool `skill`.
    pub skills: Option<Arc<skills::Shelf>>,
    /// Kinds of agents beside the built-in ones, which those of the same name replace.
    pub agents: Vec<AgentType>,
}

/// All built-in tools that these options allow, sorted by name. Starts, reads and connects nothing.
pub fn builtin(options: Options) -> Vec<SharedTool> {
    let Options { shims, sandboxes, web, skills, agents } = options;
    let jobs = jobs::Jobs::new(shims.clone());
    let kinds: Vec<AgentType> = builtin_agents().into_iter().chain(agents).collect();
    let mut tools: Vec<SharedTool> = vec![
        agent(kinds.clone()),
        Arc::new(apply_patch::ApplyPatch::new()),
        Arc::new(ask_user::AskUser::new()),
        Arc::new(context::Context::new()),
        Arc::new(continue_as::ContinueAs::new()),
        Arc::new(edit::Edit::new()),
        Arc::new(plan_mode::EnterPlan::new()),
        Arc::new(glob::Glob::new()),
        Arc::new(grep::Grep::new()),
        Arc::new(job_kill::JobKill::new(jobs.clone())),
        Arc::new(job_output::JobOutput::new(jobs.clone())),
        Arc::new(list::List::new()),
        Arc::new(notebook_edit::NotebookEdit::new()),
        Arc::new(read::Read::new()),
        Arc::new(recall::Recall::new()),
        Arc::new(request_permission::RequestPermission::new()),
        Arc::new(shell::Shell::new(shims, sandboxes)),
        Arc::new(shell_input::ShellInput::new(jobs)),
    ];
    if let Some(shelf) = skills {
        tools.push(Arc::new(skill::Skill::new(shelf, kinds)));
    }
    tools.extend::<[SharedTool; 3]>([
        Arc::new(plan_mode::SubmitPlan::new()),
        Arc::new(todo::Todo::new()),
        Arc::new(web_fetch::WebFetch::new(web::get::Web::new(&web.allow_private, web.resolver))),
    ]);
    if let Some(search) = &web.search {
        tools.push(Arc::new(web_search::WebSearch::new(search)));
    }
    tools.push(Arc::new(write::Write::new()));
    tools
}

/// The tools that keep notes and take them back: for a host that remembers.
pub fn for_memory() -> Vec<SharedTool> {
    vec![Arc::new(remember::Forget::new()), Arc::new(remember::Remember::new())]
}

/// The tool that says how a session's goal stands. Turns of sessions that have one are given it by name.
pub fn for_goal() -> SharedTool {
    Arc::new(goal::Goal::new())
}

/// The tools that find and call those that are shown by name only: for a session that has such tools.
pub fn for_deferred() -> Vec<SharedTool> {
    vec![Arc::new(call_tool::CallTool::new()), Arc::new(tool_search::ToolSearch::new())]
}

/// The names of a profile's tools, sorted. Some of them are there only when they are configured. `None` for a profile
/// that does not exist.
pub fn profile(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "main" => Some(&[
            "agent",
            "apply_patch",
            "ask_user",
            "context",
            "continue_as",
            "edit",
            "enter_plan",
            "forget",
            "glob",
            "grep",
            "job_kill",
            "job_output",
            "list",
            "notebook_edit",
            "read",
            "recall",
            "remember",
            "request_permission",
            "shell",
            "shell_input",
            "skill",
            "submit_plan",
            "todo",
            "web_fetch",
            "web_search",
            "write",
        ]),
        "minimal" => Some(&["edit", "read", "shell", "write"]),
        _ => None,
    }
}
