//! Tools that MCP servers come up with while Sterna runs. The prompt stays as it was made, so that the provider's cache
//! keeps working: the next turn may call them, and its tail names them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use sterna_mcp::{Client, tools_of};
use sterna_model::ToolSpec;
use sterna_runtime::{Toolbox, TurnConfig};
use sterna_tool::{CALL_TOOL, TOOL_SEARCH, Tool};

/// The servers of a `Sterna`, and what its prompt shows of their tools.
pub(crate) struct Live {
    clients: Vec<Client>,
    tools: Toolbox,
    prompt: Shown,
    known: Mutex<Known>,
}

/// What a prompt shows, and what may be offered beside it.
pub(crate) struct Shown {
    /// With their schemas.
    pub(crate) whole: Vec<ToolSpec>,
    /// By name only: what they are now is found when it is looked for.
    pub(crate) named: BTreeSet<String>,
    /// The host has a tool of this name itself.
    pub(crate) taken: BTreeSet<String>,
    /// Nothing but these; `None`: all.
    pub(crate) only: Option<Vec<String>>,
}

#[derive(Default)]
struct Known {
    /// Of each server's offers, when they were last looked at.
    revisions: Vec<u64>,
    specs: BTreeMap<String, ToolSpec>,
    added: Vec<String>,
}

impl Live {
    pub(crate) fn new(clients: Vec<Client>, tools: Toolbox, prompt: Shown) -> Self {
        Self { clients, tools, prompt, known: Mutex::default() }
    }

    /// The config of a turn that begins now, with the tools that the prompt does not show. Where nothing was shown by name
    /// only so far, the tools that look them up come with the first of them.
    pub(crate) fn join(&self, mut config: TurnConfig) -> TurnConfig {
        let added = self.added();
        if !added.is_empty() && !config.tools.is_empty() {
            for needed in [TOOL_SEARCH, CALL_TOOL] {
                let there = config.tools.iter().any(|tool| tool == needed);
                if !there && self.tools.get(needed).is_some() {
                    // The list changes once, and then stays: there was nothing to look up before.
                    config.tools.push(needed.to_owned());
                }
            }
        }
        if [TOOL_SEARCH, CALL_TOOL].iter().all(|name| config.tools.iter().any(|tool| tool == name)) {
            config.deferred.extend(added.iter().cloned());
            config.added = added;
        }
        config
    }

    /// Tools that the prompt does not show as they are now, sorted. All of them are in the toolbox.
    fn added(&self) -> Vec<String> {
        let revisions: Vec<u64> = self.clients.iter().map(Client::revision).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.revisions != revisions {
            self.look(&mut known);
            known.revisions = revisions;
        }
        known.added.clone()
    }

    fn look(&self, known: &mut Known) {
        let Shown { whole, named, taken, only } = &self.prompt;
        let mut added = BTreeSet::new();
        for tool in self.clients.iter().flat_map(tools_of) {
            let spec = tool.spec().clone();
            let wanted = only.as_ref().is_none_or(|only| only.contains(&spec.name));
            if !wanted || taken.contains(&spec.name) {
                continue;
            }
            if !whole.contains(&spec) && !named.contains(&spec.name) {
                added.insert(spec.name.clone());
            }
            if known.specs.get(&spec.name) != Some(&spec) {
                self.tools.put(Arc::new(tool));
                known.specs.insert(spec.name.clone(), spec);
            }
        }
        known.added = added.into_iter().collect();
    }
}
