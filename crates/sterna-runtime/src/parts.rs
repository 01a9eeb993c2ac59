//! What a runtime is made of, and what a turn is given.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use sterna_context::{Prompt, PromptError, Section, deferred_section};
use sterna_llm::SharedProvider;
use sterna_log::{SharedBlobs, SharedLog};
use sterna_model::{Given, OnAsk, Route, Sandbox, SandboxWish, Spawned, Stability, TurnStarted};
use sterna_tool::SharedMemory;

use crate::{Env, Secrets, SharedCheckpoints, SharedHooks, SharedWorktrees, Toolbox};

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
    /// Makes folders of their own for agents. `None`: there are none.
    pub worktrees: Option<SharedWorktrees>,
}

/// Which level of a sandbox this machine offers.
pub trait Levels: Send + Sync {
    /// The level that a turn's commands run on. Finding it out may take a while the first time. An error says why none can
    /// be had that the wish takes: then no command may run.
    fn level(&self, wish: SandboxWish) -> BoxFuture<'_, Result<Sandbox, String>>;
}

/// What a turn is given by whoever starts it, and what only a runtime can hold.
#[derive(Clone)]
pub struct TurnConfig {
    /// Everything that decides: it is written into the input's record, and into `TurnStarted`.
    pub given: Given,
    pub prompt: PromptSource,
    /// The route that sums up what a window cannot hold any more; `None`: the turn's own.
    pub summary_route: Option<Route>,
    /// The route of the classifier of mode `auto`; `None`: the turn's own.
    pub classifier_route: Option<Route>,
    /// What a turn that goes on by itself, with a goal, is given besides. `None`: what the turn before had.
    pub late: Option<LateTools>,
    /// The route that names a session after its first turn; `None`: it keeps its first words.
    pub title_route: Option<Route>,
}

/// Adds the tools that came since to what a turn is given that has all that there was.
pub type LateTools = Arc<dyn Fn(Given) -> Given + Send + Sync>;

impl TurnConfig {
    pub fn new(given: Given, prompt: PromptSource) -> Self {
        Self { given, prompt, summary_route: None, classifier_route: None, title_route: None, late: None }
    }

    /// The same for a turn that is given something else.
    pub(crate) fn with(&self, given: Given) -> Self {
        Self {
            given,
            prompt: self.prompt.clone(),
            summary_route: self.summary_route.clone(),
            classifier_route: self.classifier_route.clone(),
            late: self.late.clone(),
            title_route: self.title_route.clone(),
        }
    }

    /// What somebody gave earlier, driven by us: whether a person can be asked here is ours to say.
    pub fn driving(&self, given: &Given) -> Self {
        let on_ask = if given.on_ask == OnAsk::Prompt { self.on_ask } else { given.on_ask };
        self.with(Given { on_ask, ..given.clone() })
    }
}

impl Deref for TurnConfig {
    type Target = Given;

    fn deref(&self) -> &Given {
        &self.given
    }
}

impl DerefMut for TurnConfig {
    fn deref_mut(&mut self) -> &mut Given {
        &mut self.given
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
        // Who answers: a guest, or the agent that the session is.
        let agent = match &turn.guest {
            Some(guest) => Some((&guest.agent, &guest.prompt)),
            None => agent.map(|agent| (&agent.agent, &agent.prompt)),
        };
        let told = agent.map(|(name, prompt)| format!("{name}\n{prompt}")).unwrap_or_default();
        // Tools that came later are named in the tail: the prompt stays what it was.
        let is_named = |name: &&String| !turn.added.contains(name);
        let deferred: Vec<String> = turn.deferred.iter().filter(is_named).cloned().collect();
        let key = (names.clone(), deferred.clone(), told);
        if let Some((of, prompt)) = made.get(&key)
            && *of == own
        {
            return Ok(prompt.clone());
        }
        let mut sections: Vec<Section> = self.0.sections.iter().chain(&own).cloned().collect();
        sections.extend(agent.filter(|(_, prompt)| !prompt.is_empty()).map(|(name, prompt)| Section {
            name: "agent".into(),
            owner: format!("agent:{name}"),
            stability: Stability::Stable,
            text: prompt.clone(),
        }));
        sections.extend(deferred_section(&deferred));
        let clean = secrets.common();
        for section in &mut sections {
            clean.redact_in_place(&mut section.text);
        }
        let prompt = Prompt::assemble(sections, tools.specs(names))?;
        made.insert(key, (own, prompt.clone()));
        Ok(prompt)
    }
}
