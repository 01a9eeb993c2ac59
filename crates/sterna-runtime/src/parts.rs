//! What a runtime is made of, and what a turn is given.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sterna_context::{Prompt, PromptError, Section};
use sterna_llm::SharedProvider;
use sterna_log::{SharedBlobs, SharedLog};
use sterna_model::{InDoubtPolicy, Limits, Mode, OnAsk, Route, RuleText};

use crate::{Env, SharedCheckpoints, Toolbox};

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
}

/// What a turn is given by whoever starts it. Everything that decides is written into `TurnStarted`.
#[derive(Clone)]
pub struct TurnConfig {
    pub route: Route,
    pub mode: Mode,
    pub limits: Limits,
    pub rules: Vec<RuleText>,
    pub on_ask: OnAsk,
    pub in_doubt: InDoubtPolicy,
    /// The workspace: absolute, symlinks resolved.
    pub root: PathBuf,
    pub cwd: PathBuf,
    pub add_dirs: Vec<PathBuf>,
    /// Names of the tools that may be called; empty: all.
    pub tools: Vec<String>,
    /// Tokens the model may write in one answer; `None`: the model's own limit.
    pub max_output: Option<u32>,
    pub prompt: PromptSource,
}

/// Sections of a prompt, and the prompts that were made of them: one for each set of tools.
#[derive(Clone)]
pub struct PromptSource(Arc<Inner>);

struct Inner {
    sections: Vec<Section>,
    /// A prompt that was stored: it is sent as it is, whatever tools there are.
    fixed: Option<Prompt>,
    made: Mutex<BTreeMap<Vec<String>, Prompt>>,
}

impl PromptSource {
    pub fn new(sections: Vec<Section>) -> Self {
        Self(Arc::new(Inner { sections, fixed: None, made: Mutex::default() }))
    }

    /// A prompt that was sent before, byte for byte.
    pub(crate) fn fixed(prompt: Prompt) -> Self {
        Self(Arc::new(Inner { sections: Vec::new(), fixed: Some(prompt), made: Mutex::default() }))
    }

    /// The prompt that advertises these tools. The same list is used for advertising and dispatch.
    pub(crate) fn prompt(&self, tools: &Toolbox, names: &[String]) -> Result<Prompt, PromptError> {
        if let Some(fixed) = &self.0.fixed {
            return Ok(fixed.clone());
        }
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prompt) = made.get(names) {
            return Ok(prompt.clone());
        }
        let prompt = Prompt::assemble(self.0.sections.clone(), tools.specs(names))?;
        made.insert(names.to_vec(), prompt.clone());
        Ok(prompt)
    }
}
