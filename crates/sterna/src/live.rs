//! Tools that MCP servers come up with while Sterna runs. The prompt stays as it was made, so that the provider's cache
//! keeps working: the next turn may call them, and its tail names them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use sterna_mcp::{Client, State, tools_of};
use sterna_model::{Given, ToolSpec};
use sterna_runtime::{LateTools, Toolbox};
use sterna_tool::{CALL_TOOL, TOOL_SEARCH, Tool};

use crate::mcp::{Notice, missing};

/// The servers of a `Sterna`, and what its prompt shows of their tools.
pub(crate) struct Live {
    clients: Vec<Client>,
    tools: Toolbox,
    prompt: Shown,
    known: Mutex<Known>,
    /// Servers that were still starting when they were last looked at, and who is told when one of them fails.
    starting: Mutex<Vec<Client>>,
    notice: Notice,
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
    /// `starting`: of these it is told when a turn begins and one of them has failed; not before, because somebody may be
    /// writing.
    pub(crate) fn new(
        clients: Vec<Client>,
        tools: Toolbox,
        prompt: Shown,
        starting: Vec<Client>,
        notice: Notice,
    ) -> Self {
        Self { clients, tools, prompt, known: Mutex::default(), starting: Mutex::new(starting), notice }
    }

    pub(crate) fn late_tools(self) -> LateTools {
        Arc::new(move |given| self.join(given))
    }

    /// What a turn that begins now is given, with the tools that the prompt does not show. Where nothing was shown by name
    /// only so far, the tools that look them up come with the first of them.
    fn join(&self, mut given: Given) -> Given {
        self.tell();
        let Shown { whole, named, .. } = &self.prompt;
        let has_all = whole.iter().all(|spec| given.tools.contains(&spec.name))
            && named.iter().all(|name| given.deferred.contains(name));
        // A guest has no tools, and a skill or an agent may have been given few: what came later is not for them.
        if given.tools.is_empty() || !has_all {
            return given;
        }
        let added = self.added();
        if !added.is_empty() {
            for needed in [TOOL_SEARCH, CALL_TOOL] {
                let there = given.tools.iter().any(|tool| tool == needed);
                if !there && self.tools.get(needed).is_some() {
                    // The list changes once, and then stays: there was nothing to look up before.
                    given.tools.push(needed.to_owned());
                }
            }
        }
        if [TOOL_SEARCH, CALL_TOOL].iter().all(|name| given.tools.iter().any(|tool| tool == name)) {
            // It may be what another turn had, with what had come by then.
            given.deferred.retain(|name| !given.added.contains(name));
            given.deferred.extend(added.iter().cloned());
            given.added = added;
        }
        given
    }

    fn tell(&self) {
        let mut starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        starting.retain(|client| match client.state() {
            State::Disconnected | State::Connecting => true,
            State::Connected(_) => false,
            State::Failed(error) => {
                (self.notice)(&missing(&error));
                false
            }
        });
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
