//! Worktrees: a folder of its own for an agent, so that what it changes meets nobody else's changes before it is asked to.

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::json;
use sterna_model::{HookEvent, SessionId, Worktree};

use crate::{Runtime, RuntimeError};

/// Makes worktrees and takes them away again. A host supplies it.
pub trait Worktrees: Send + Sync {
    /// The worktree of this name for the repository that holds `root`; the one that is there already, if it is. An error
    /// says why there can be none, and what to do.
    fn add<'a>(&'a self, root: &'a Path, name: &'a str) -> BoxFuture<'a, Result<Worktree, String>>;

    /// Takes it away, with its branch. Refuses while it holds anything that is nowhere else: changes that are not
    /// committed, commits that no other branch has. One that is gone already is no error.
    fn remove<'a>(&'a self, worktree: &'a Worktree) -> BoxFuture<'a, Result<(), String>>;
}

/// A shared maker of worktrees.
pub type SharedWorktrees = Arc<dyn Worktrees>;

impl Runtime {
    /// A worktree for a child of this session. An inner error says why there is none.
    pub(crate) async fn add_worktree(
        &self,
        maker: &SessionId,
        root: &str,
        child: &SessionId,
    ) -> Result<Result<Worktree, String>, RuntimeError> {
        let Some(worktrees) = self.parts().worktrees.clone() else {
            return Ok(Err("there are no worktrees here: leave `isolation` out".into()));
        };
        let about = json!({ "name": child.as_str(), "agent_id": child.as_str(), "root": root });
        match self.ask_outside(maker, HookEvent::WorktreeCreate, child.as_str(), about).await {
            Ok(()) => Ok(worktrees.add(Path::new(root), child.as_str()).await),
            Err(RuntimeError::Refused(why)) => Ok(Err(format!("a hook forbids the worktree: {why}"))),
            Err(error) => Err(error),
        }
    }

    /// Takes a child's worktree away. An inner error says why it stays.
    pub(crate) async fn remove_worktree(
        &self,
        maker: &SessionId,
        child: &SessionId,
        worktree: &Worktree,
    ) -> Result<Result<(), String>, RuntimeError> {
        let Some(worktrees) = self.parts().worktrees.clone() else {
            return Ok(Err("nobody here can take it away".into()));
        };
        let about =
            json!({ "name": child.as_str(), "agent_id": child.as_str(), "worktree_path": worktree.path });
        match self.ask_outside(maker, HookEvent::WorktreeRemove, child.as_str(), about).await {
            Ok(()) => Ok(worktrees.remove(worktree).await),
            Err(RuntimeError::Refused(why)) => Ok(Err(format!("a hook forbids it: {why}"))),
            Err(error) => Err(error),
        }
    }
}
