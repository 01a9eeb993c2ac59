//! Other agents in a session, and turns that leave nothing behind: guests, ephemeral runs, and programs of prompts.

use std::sync::Arc;

use sterna_log::{MemoryLog, SharedLog};
use sterna_model::Guest;
use sterna_runtime::{Parts, Runtime, TurnConfig};
use sterna_tools::AgentType;

use crate::automations::AUTOMATION_TOOLS;
use crate::{Error, Reply, Session, Sterna};

impl Sterna {
    /// The kinds of agents that there are here: the built-in ones, and those of the agent files that count.
    pub fn agents(&self) -> &[AgentType] {
        &self.agents
    }

    /// Lets another agent answer the turn of this configuration: its prompt, its model, no tools.
    ///
    /// Errors: there is no agent of that name.
    pub fn as_guest(&self, config: &mut TurnConfig, name: &str) -> Result<(), Error> {
        let Some(agent) = self.agents.iter().rev().find(|agent| agent.name == name) else {
            let mut names: Vec<&str> = self.agents.iter().map(|agent| agent.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            return Err(Error::setup(
                format!("there is no agent `{name}`"),
                format!("agents are {}", names.join(", ")),
            ));
        };
        if let Some(route) = &agent.route {
            config.route = route.clone();
        }
        config.guest = Some(Box::new(Guest { agent: agent.name.clone(), prompt: agent.prompt.clone() }));
        Ok(())
    }

    /// The same, with a log and blobs in memory of its own: what it does with the world is done, and nothing of its
    /// sessions is kept. Policy, hooks and usage apply as ever; notes are neither kept nor recalled, and files cannot be
    /// rewound.
    pub fn ephemeral(&self) -> Sterna {
        let kept = Arc::new(MemoryLog::new());
        let log: SharedLog = kept.clone();
        let parts = Parts {
            log,
            blobs: kept,
            checkpoints: None,
            memory: None,
            worktrees: None,
            ..self.runtime().parts().clone()
        };
        let mut sterna = self.clone();
        sterna.runtime = Runtime::new(parts);
        // What starts by itself is kept in the store.
        let config = Arc::make_mut(&mut sterna.config);
        config.tools.retain(|name| !AUTOMATION_TOOLS.contains(&name.as_str()));
        sterna
    }
}

impl Session {
    /// Runs prompts one after another in this session, and gives what each came to. Ends after the first that does not
    /// finish: what follows it was written for its answer.
    pub async fn program(
        &self,
        prompts: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Vec<Reply>, Error> {
        let mut session = self.clone();
        let mut replies = Vec::new();
        for prompt in prompts {
            let reply = session.turn(prompt).await?;
            session = session.renamed(&reply.result().session);
            let goes_on = reply.is_finished();
            replies.push(reply);
            if !goes_on {
                break;
            }
        }
        Ok(replies)
    }
}
