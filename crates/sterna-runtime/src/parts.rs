//! What a runtime is made of, and what a turn is given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use sterna_context::{Prompt, PromptError, Section, deferred_section};
use sterna_llm::SharedProvider;
use sterna_log::{SharedBlobs, SharedLog};
use sterna_model::{
    Given, InDoubtPolicy, Limits, Millis, Mode, OnAsk, Route, RuleText, Sandbox, SandboxWish, Seq, SessionId,
    Spawned, Stability, TurnStarted,
};
use sterna_tool::SharedMemory;

use crate::{Env, Secrets, SharedCheckpoints, SharedHooks, Toolbox};

/// The seams: every one can be replaced.
#[derive(Clone)]
pub struct Parts {
    pub log: SharedLog,
    pub blobs: SharedBlobs,
    pub provider: SharedProvider,
    pub env: Arc<dyn Env>,
    pub tools: Toolbox,
    /// Keeps the workspace before effects that may write in it. `None`: nothing is kept, and no file can be rewound.
    pub checkpoints: Option<SharedCheckpoints>,
    /// What must be neither kept, shown nor sent. The default finds secrets by pattern alone.
    pub secrets: Secrets,
    /// Whoever wants to be asked, or told. `None`: nobody, and nothing is spent on it.
    pub hooks: Option<SharedHooks>,
    /// Says how commands are confined. `None`: they are not.
    pub levels: Option<Arc<dyn Levels>>,
    /// Remembers. `None`: nothing is kept, and no turn is reminded of anything.
    pub memory: Option<SharedMemory>,
}

/// Which level of a sandbox this machine offers.
pub trait Levels: Send + Sync {
    /// The level that a turn's commands run on. Finding it out may take a while the first time. An error says why none can
    /// be had that the wish takes: then no command may run.
    fn level(&self, wish: SandboxWish) -> BoxFuture<'_, Result<Sandbox, String>>;
}

/// What a turn is given by whoever starts it. Everything that decides is written into the input's record, and into
/// `TurnStarted`.
#[derive(Clone)]
pub struct TurnConfig {
    pub route: Route,
    pub mode: Mode,
    pub limits: Limits,
    pub rules: Vec<RuleText>,
    pub on_ask: OnAsk,
    pub in_doubt: InDoubtPolicy,
    /// What counts instead for calls of these tools, by name.
    pub in_doubt_of: BTreeMap<String, InDoubtPolicy>,
    /// The workspace: absolute, symlinks resolved.
    pub root: PathBuf,
    pub cwd: PathBuf,
    pub add_dirs: Vec<PathBuf>,
    /// Names of the tools that may be called; empty: all.
    pub tools: Vec<String>,
    /// Further tools that may be called and are shown by name only, until they are searched for.
    pub deferred: Vec<String>,
    /// Tokens the model may write in one answer; `None`: the model's own limit.
    pub max_output: Option<u32>,
    /// Nobody chose `mode`: where the session was switched to another, that one counts.
    pub mode_of_session: bool,
    pub sandbox: SandboxWish,
    /// Routes that take over, in this order, when the one before them fails for good.
    pub fallback: Vec<Route>,
    /// JSON Schema that the final answer has to fit.
    pub output_schema: Option<serde_json::Value>,
    /// The session at the top of the tree whose caps count. `None`: the session itself.
    pub tree: Option<SessionId>,
    pub prompt: PromptSource,
    /// The route that sums up what a window cannot hold any more; `None`: the turn's own.
    pub summary_route: Option<Route>,
}

impl TurnConfig {
    /// What is written into the record of an input.
    pub fn given(&self) -> Given {
        let text = |path: &Path| path.display().to_string();
        Given {
            route: self.route.clone(),
            mode: self.mode,
            limits: self.limits.clone(),
            rules: self.rules.clone(),
            on_ask: self.on_ask,
            in_doubt: self.in_doubt,
            in_doubt_of: self.in_doubt_of.clone(),
            root: text(&self.root),
            cwd: text(&self.cwd),
            add_dirs: self.add_dirs.iter().map(|dir| text(dir)).collect(),
            tools: self.tools.clone(),
            deferred: self.deferred.clone(),
            max_output: self.max_output,
            mode_of_session: self.mode_of_session,
            sandbox: self.sandbox,
            fallback: self.fallback.clone(),
            output_schema: self.output_schema.clone().map(Box::new),
            tree: self.tree.clone(),
        }
    }

    /// What a turn was given, for a turn that may do no more.
    pub(crate) fn of_turn(&self, turn: &TurnStarted) -> Self {
        let turn = turn.clone();
        Self {
            route: turn.route,
            mode: turn.mode,
            limits: turn.limits,
            rules: turn.rules,
            on_ask: turn.on_ask,
            in_doubt: turn.in_doubt,
            in_doubt_of: turn.in_doubt_of,
            root: PathBuf::from(turn.root),
            cwd: PathBuf::from(turn.cwd),
            add_dirs: turn.add_dirs.into_iter().map(PathBuf::from).collect(),
            tools: turn.tools,
            deferred: turn.deferred,
            mode_of_session: false,
            max_output: self.max_output,
            sandbox: turn.sandbox,
            fallback: turn.fallback,
            summary_route: self.summary_route.clone(),
            output_schema: turn.output_schema.map(|schema| *schema),
            tree: turn.tree,
            prompt: self.prompt.clone(),
        }
    }

    /// What somebody gave earlier, driven by us: whether a person can be asked here is ours to say.
    pub fn driving(&self, given: &Given) -> Self {
        let on_ask = if given.on_ask == OnAsk::Prompt { self.on_ask } else { given.on_ask };
        Self {
            route: given.route.clone(),
            mode: given.mode,
            limits: given.limits.clone(),
            rules: given.rules.clone(),
            on_ask,
            in_doubt: given.in_doubt,
            in_doubt_of: given.in_doubt_of.clone(),
            root: PathBuf::from(&given.root),
            cwd: PathBuf::from(&given.cwd),
            add_dirs: given.add_dirs.iter().map(PathBuf::from).collect(),
            tools: given.tools.clone(),
            deferred: given.deferred.clone(),
            max_output: given.max_output,
            mode_of_session: given.mode_of_session,
            sandbox: given.sandbox,
            fallback: given.fallback.clone(),
            output_schema: given.output_schema.as_deref().cloned(),
            tree: given.tree.clone(),
            prompt: self.prompt.clone(),
            summary_route: self.summary_route.clone(),
        }
    }
}

/// The record of a turn that starts now with these inputs.
pub(crate) fn turn_started(given: Given, inputs: Vec<Seq>, now: Millis) -> TurnStarted {
    let Given {
        route,
        mode,
        limits,
        rules,
        on_ask,
        in_doubt,
        in_doubt_of,
        root,
        cwd,
        add_dirs,
        tools,
        deferred,
        // Each model call has its own in its intent.
        max_output: _,
        mode_of_session: _,
        sandbox,
        fallback,
        output_schema,
        tree,
    } = given;
    TurnStarted {
        inputs,
        route,
        mode,
        limits,
        rules,
        on_ask,
        in_doubt,
        in_doubt_of,
        root,
        cwd,
        add_dirs,
        tools,
        deferred,
        sandbox,
        now,
        fallback,
        output_schema,
        tree,
    }
}

/// Sections of a prompt, and the prompts that were made of them: one for each set of tools and of a turn's own sections.
#[derive(Clone)]
pub struct PromptSource(Arc<Inner>);

/// Gives the sections that a turn adds to the prompt, such as the project's instructions. Called once in each turn,
/// before its first model call; what it gives is written down with that call. It may look at the file system.
pub type TurnSections = Arc<dyn Fn(&TurnStarted) -> Vec<Section> + Send + Sync>;

struct Inner {
    sections: Vec<Section>,
    of_turn: Option<TurnSections>,
    /// A prompt that was stored: it is sent as it is, whatever tools there are.
    fixed: Option<Prompt>,
    made: Mutex<BTreeMap<(Vec<String>, Vec<String>, String), (Vec<Section>, Prompt)>>,
}

impl PromptSource {
    pub fn new(sections: Vec<Section>) -> Self {
        Self(Arc::new(Inner { sections, of_turn: None, fixed: None, made: Mutex::default() }))
    }

    /// The same with what each turn adds.
    pub fn with_turn(sections: Vec<Section>, of_turn: TurnSections) -> Self {
        Self(Arc::new(Inner { sections, of_turn: Some(of_turn), fixed: None, made: Mutex::default() }))
    }

    /// A prompt that was sent before, byte for byte.
    pub(crate) fn fixed(prompt: Prompt) -> Self {
        Self(Arc::new(Inner {
            sections: Vec::new(),
            of_turn: None,
            fixed: Some(prompt),
            made: Mutex::default(),
        }))
    }

    /// The prompt of a turn, of a person's session or of a child's agent: it advertises the turn's tools, and names the
    /// deferred ones. The same lists are used for advertising and dispatch.
    pub(crate) fn prompt(
        &self,
        tools: &Toolbox,
        turn: &TurnStarted,
        agent: Option<&Spawned>,
        secrets: &Secrets,
    ) -> Result<Prompt, PromptError> {
        if let Some(fixed) = &self.0.fixed {
            return Ok(fixed.clone());
        }
        let own = self.0.of_turn.as_ref().map(|of_turn| of_turn(turn)).unwrap_or_default();
        let names = &turn.tools;
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        let told = agent.map(|agent| agent.prompt.clone()).unwrap_or_default();
        let key = (names.clone(), turn.deferred.clone(), told);
        if let Some((of, prompt)) = made.get(&key)
            && *of == own
        {
            return Ok(prompt.clone());
        }
        let mut sections: Vec<Section> = self.0.sections.iter().chain(&own).cloned().collect();
        sections.extend(agent.filter(|agent| !agent.prompt.is_empty()).map(|agent| Section {
            name: "agent".into(),
            owner: format!("agent:{}", agent.agent),
            stability: Stability::Stable,
            text: agent.prompt.clone(),
        }));
        sections.extend(deferred_section(&turn.deferred));
        let clean = secrets.common();
        for section in &mut sections {
            clean.redact_in_place(&mut section.text);
        }
        let prompt = Prompt::assemble(sections, tools.specs(names))?;
        made.insert(key, (own, prompt.clone()));
        Ok(prompt)
    }
}
