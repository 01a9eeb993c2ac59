//! The kinds of agents that `agent` starts.

/// A kind of agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentType {
    /// 1 to 64 characters of `a-z0-9-`.
    pub name: String,
    /// What it is for, in one line: the model chooses by it.
    pub description: String,
    /// What it is told to be: a section of its prompt.
    pub prompt: String,
    /// Names of the tools it may call; empty: those of its maker.
    pub tools: Vec<String>,
    /// `None`: its maker's.
    pub route: Option<sterna_model::Route>,
    pub max_steps: u32,
}

/// The built-in kinds, with the tools and steps of the design.
pub fn builtin_agents() -> Vec<AgentType> {
    let kind = |name: &str, description: &str, prompt: &str, tools: &[&str], max_steps| AgentType {
        name: name.into(),
        description: description.into(),
        prompt: prompt.trim().into(),
        tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
        route: None,
        max_steps,
    };
    vec![
        kind(
            "general",
            "any piece of work, with all tools that you have",
            include_str!("agents/general.md"),
            &[],
            50,
        ),
        kind(
            "explore",
            "finds things in the workspace and says where they are; changes nothing",
            include_str!("agents/explore.md"),
            &["glob", "grep", "list", "read"],
            12,
        ),
        kind(
            "plan",
            "reads and thinks, and answers with a plan; changes nothing",
            include_str!("agents/plan.md"),
            &["glob", "grep", "list", "read", "recall", "todo"],
            20,
        ),
        kind(
            "verify",
            "checks work that was done: reads it, builds and tests it; changes no files of its own accord",
            include_str!("agents/verify.md"),
            &["glob", "grep", "job_kill", "job_output", "list", "read", "recall", "shell", "shell_input"],
            20,
        ),
    ]
}

/// The kind of agent that counts where none is named.
pub(crate) const DEFAULT_KIND: &str = "general";
