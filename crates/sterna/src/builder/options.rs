//! What can be said of a `Sterna` before it is built.

use std::path::PathBuf;
use std::sync::Arc;

use sterna_context::Section;
use sterna_llm::SharedProvider;
use sterna_model::{
    Decision, Effort, InDoubtPolicy, Limits, Mode, OnAsk, Route, RuleText, SandboxWish, Scope,
};
use sterna_runtime::{Env, Listening};
use sterna_shell::shim::Helper;
use sterna_tool::{SharedMemory, SharedTool};

use super::{Builder, Store};
use crate::config::Settings;
use crate::deferral::Deferrable;
use crate::places::Places;
use crate::trust::Project;

impl Builder {
    /// `provider/model`, `local`, or `scripted:FILE`.
    pub fn model(mut self, route: impl Into<String>) -> Self {
        self.model = Some(route.into());
        self
    }

    pub fn store(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// Sessions live in memory: nothing is kept.
    pub fn ephemeral(self) -> Self {
        self.store(Store::Memory)
    }

    /// One provider for all routes.
    pub fn provider(mut self, provider: SharedProvider) -> Self {
        self.provider = Some(provider);
        self
    }

    /// A provider for the routes `name/...`, beside the built-in ones.
    pub fn provider_named(mut self, name: &str, provider: SharedProvider) -> Self {
        self.providers.insert(name.to_owned(), provider);
        self
    }

    pub fn env(mut self, env: Arc<dyn Env>) -> Self {
        self.env = Some(env);
        self
    }

    /// A tool beside the built-in ones; of two with one name the host's counts.
    pub fn tool(mut self, tool: SharedTool) -> Self {
        self.tools.push(tool);
        self
    }

    /// A tool that is shown by name only when the schemas of all tools together pass the budget: the model finds it with
    /// `tool_search` and calls it with `call_tool`.
    pub fn deferrable_tool(mut self, tool: SharedTool) -> Self {
        self.deferrable.push(Deferrable { tool, deferred: None });
        self
    }

    /// Tokens of schemas above which deferrable tools are shown by name only: 8,000 by default.
    pub fn tool_budget(mut self, tokens: u32) -> Self {
        self.tool_budget = Some(tokens);
        self
    }

    /// How long a server is waited for that was never started before; its tools come with a later turn if it takes longer.
    /// Unless this is said, as long as a start may take.
    #[cfg(feature = "mcp")]
    pub fn mcp_patience(mut self, patience: std::time::Duration) -> Self {
        self.mcp_patience = Some(patience);
        self
    }

    /// MCP servers whose tools are offered. A server starts when a tool of it is first called, and the first time of all
    /// to ask what it offers.
    #[cfg(feature = "mcp")]
    pub fn mcp(mut self, servers: Vec<sterna_mcp::ServerConfig>) -> Self {
        self.mcp = servers;
        self
    }

    /// The program that runs commands so that they outlive this process. Without one, and without [`init`](crate::init)
    /// at the beginning of `main`, commands end with the process, and after a crash they are in doubt.
    pub fn helper(mut self, helper: Helper) -> Self {
        self.helper = Some(helper);
        self
    }

    /// Commands end with this process, helper or not.
    pub fn commands_end_with_us(mut self) -> Self {
        self.outlive = false;
        self
    }

    /// How commands are confined; on the best level that the machine offers unless it is said. Without a helper nothing can
    /// be confined.
    pub fn sandbox(mut self, wish: SandboxWish) -> Self {
        self.sandbox = Some(wish);
        self
    }

    /// Sessions keep their first words as titles, whatever is configured.
    pub fn titles_of_words(mut self) -> Self {
        self.titles = false;
        self
    }

    /// Only the host's own tools.
    pub fn without_builtin_tools(mut self) -> Self {
        self.builtin_tools = false;
        self
    }

    /// `main` or `minimal` (read, write, edit, shell).
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// Names of the tools that may be called.
    pub fn only_tools<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.names = names.into_iter().map(str::to_owned).collect();
        self
    }

    /// The folder that the agent works in, and may write in.
    pub fn workspace(mut self, dir: impl Into<PathBuf>) -> Self {
        self.workspace = Some(dir.into());
        self
    }

    /// Where relative paths start; the workspace unless it is said.
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// A further writable folder.
    pub fn add_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.add_dirs.push(dir.into());
        self
    }

    /// The mode of turns that are given no other, also in sessions that were switched to another.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self.mode_of_session = false;
        self
    }

    /// A hook beside the configured ones, which come before it.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use sterna::runtime::{Hook, Listening, Matcher};
    /// # fn add(hook: Arc<dyn Hook>) -> Result<sterna::Builder, Box<dyn std::error::Error>> {
    /// use sterna::model::HookEvent;
    /// let listening = Listening { matcher: Matcher::new("shell|edit")?, ..Listening::new(HookEvent::PreToolUse, hook) };
    /// # Ok(
    /// sterna::Sterna::builder().hook(listening)
    /// # )
    /// # }
    /// ```
    pub fn hook(mut self, listening: Listening) -> Self {
        self.hooks.push(listening);
        self
    }

    /// What an ask does where nobody answers. Default: the call is denied.
    pub fn on_ask(mut self, on_ask: OnAsk) -> Self {
        self.on_ask = Some(on_ask);
        self
    }

    /// What becomes of a call that a crash cut off, when nobody knows its end.
    pub fn in_doubt(mut self, policy: InDoubtPolicy) -> Self {
        self.in_doubt = Some(policy);
        self
    }

    /// `in_doubt` for the calls of one tool.
    pub fn in_doubt_of(mut self, tool: impl Into<String>, policy: InDoubtPolicy) -> Self {
        self.in_doubt_of.insert(tool.into(), policy);
        self
    }

    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Tokens that the model may write in one answer.
    pub fn max_output(mut self, tokens: u32) -> Self {
        self.max_output = Some(tokens);
        self
    }

    /// How much models that can are asked to think before they answer. By default nothing is said about it.
    pub fn effort(mut self, effort: Effort) -> Self {
        self.effort = Some(effort);
        self
    }

    /// Routes that take over, in this order, when the one before them fails for good; the next turn starts at the top.
    /// Only providers that are named are ever asked.
    pub fn fallback(mut self, routes: impl IntoIterator<Item = Route>) -> Self {
        self.fallback = Some(routes.into_iter().collect());
        self
    }

    /// JSON Schema that the final answer of a turn has to fit: it is `value` of the result.
    pub fn output_schema(mut self, schema: serde_json::Value) -> Self {
        self.output_schema = Some(schema);
        self
    }

    /// A rule: `Shell(cargo test *)`.
    pub fn allow(self, rule: &str) -> Self {
        self.rule(Decision::Allow, rule, "Builder::allow")
    }

    pub fn deny(self, rule: &str) -> Self {
        self.rule(Decision::Deny, rule, "Builder::deny")
    }

    pub fn rule(mut self, decision: Decision, rule: &str, source: &str) -> Self {
        self.rules.push(RuleText {
            decision,
            text: rule.into(),
            scope: Scope::Session,
            source: source.into(),
        });
        self
    }

    /// A section of the prompt beside the built-in ones; of two with one name the host's counts.
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// Configuration that was read by `config::load`. What the builder is told itself comes first.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    pub fn places(mut self, places: Places) -> Self {
        self.places = Some(places);
        self
    }

    /// Whether the workspace is kept before effects that may write in it. On by default, but not in memory: what is
    /// kept there dies with the process.
    pub fn checkpoints(mut self, on: bool) -> Self {
        self.checkpoints = Some(on);
        self
    }

    /// Whether notes are kept and found again, by the tools `remember`, `forget` and `recall` and at the beginning of
    /// turns. On by default.
    pub fn memory(mut self, on: bool) -> Self {
        self.memory = Some(on);
        self
    }

    /// The host's own memory instead of the one in the store.
    pub fn own_memory(mut self, memory: SharedMemory) -> Self {
        self.own_memory = Some(memory);
        self
    }

    /// The person trusts the files of the workspace: its instructions are not labelled as a stranger's.
    pub fn trusted(mut self, trusted: bool) -> Self {
        self.trusted = trusted;
        self
    }

    /// Reads no instructions: neither the user's nor those of the workspace.
    pub fn without_instructions(mut self) -> Self {
        self.instructions = false;
        self
    }

    /// A project whose files somebody trusts, as they were read: its skills, prompt files and agents count.
    pub fn project(mut self, project: Arc<Project>) -> Self {
        self.project = Some(project);
        self
    }

    /// Reads no skills, prompt files and agents: neither the user's nor those of the project.
    pub fn without_skills(mut self) -> Self {
        self.skills = false;
        self
    }

    /// Called with what takes long, such as starting the local model.
    pub fn on_notice(mut self, notice: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.notice = Arc::new(notice);
        self
    }
}
