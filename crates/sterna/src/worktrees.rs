//! Worktrees of git under the data folder. Nothing of the repository's own runs: no hook, no monitor, no filter that its
//! settings name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_model::Worktree;
use sterna_policy::QUIET_GIT;
use sterna_runtime::Worktrees;
use tokio::process::Command;

use crate::git_suspect;

/// Worktrees in one folder, each named after the agent that works in it.
pub struct GitWorktrees {
    folder: PathBuf,
}

impl GitWorktrees {
    /// Makes nothing yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    async fn made(&self, root: &Path, name: &str) -> Result<Worktree, String> {
        if let Some(why) = git_suspect(root) {
            return Err(format!("git would run programs of this repository: {why}"));
        }
        let top = git(root, &["rev-parse", "--show-toplevel"]).await;
        let top = top.map_err(|_| "this folder is in no git repository: leave `isolation` out".to_owned())?;
        let inner = root.strip_prefix(&top).map_err(|_| format!("{} is not in {top}", root.display()))?;
        let path = self.folder.join(name);
        let branch = format!("sterna/{name}");
        if !path.join(".git").exists() {
            let base = git(root, &["rev-parse", "--verify", "HEAD^{commit}"]).await;
            let base = base.map_err(|_| "this repository has no commit yet: make one first".to_owned())?;
            tokio::fs::create_dir_all(&self.folder).await.map_err(|e| e.to_string())?;
            let place = path.display().to_string();
            // Of another life, which did not come to its end.
            drop(git(root, &["worktree", "prune"]).await);
            let known = ["rev-parse", "--verify", "--quiet", &format!("refs/heads/{branch}")];
            if git(root, &known).await.is_ok() {
                git(root, &["worktree", "add", "--quiet", "--force", &place, &branch]).await?;
            } else {
                git(root, &["worktree", "add", "--quiet", "-b", &branch, &place, &base]).await?;
            }
        }
        let path = tokio::fs::canonicalize(&path).await.map_err(|e| e.to_string())?;
        let cwd = path.join(inner);
        Ok(Worktree {
            path: path.display().to_string(),
            root: if cwd.is_dir() { cwd } else { path }.display().to_string(),
            repository: top,
            branch,
        })
    }

    async fn removed(&self, worktree: &Worktree) -> Result<(), String> {
        let (path, repository) = (Path::new(&worktree.path), Path::new(&worktree.repository));
        let ours = tokio::fs::canonicalize(&self.folder).await.is_ok_and(|folder| {
            path.parent() == Some(&folder) && path.file_name().is_some_and(|name| !name.is_empty())
        });
        if !path.exists() {
            return Ok(());
        }
        if !ours {
            return Err(format!("{} is no worktree of Sterna's", worktree.path));
        }
        let dirty = git(path, &["status", "--porcelain", "--untracked-files=all"]).await?;
        if !dirty.is_empty() {
            let (n, first) = (dirty.lines().count(), dirty.lines().next().unwrap_or_default().trim());
            return Err(format!("worktree_dirty: {n} changes are not committed, the first: {first}"));
        }
        let branch = format!("refs/heads/{}", worktree.branch);
        let but = format!("--exclude={}", worktree.branch);
        // Also what was committed there without the branch.
        let only =
            ["rev-list", "--count", "HEAD", &branch, "--not", &but, "--branches", "--remotes", "--tags"];
        let unmerged = git(path, &only).await?;
        if unmerged != "0" {
            return Err(format!(
                "worktree_unmerged: {unmerged} commits of {} are on no other branch",
                worktree.branch
            ));
        }
        git(repository, &["worktree", "remove", &worktree.path]).await?;
        git(repository, &["branch", "--quiet", "-D", &worktree.branch]).await.map(drop)
    }
}

impl Worktrees for GitWorktrees {
    fn add<'a>(&'a self, root: &'a Path, name: &'a str) -> BoxFuture<'a, Result<Worktree, String>> {
        self.made(root, name).boxed()
    }

    fn remove<'a>(&'a self, worktree: &'a Worktree) -> BoxFuture<'a, Result<(), String>> {
        self.removed(worktree).boxed()
    }
}

/// What git says, without the line's end. Its words on what went wrong are the error.
async fn git(folder: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(args).env_clear().kill_on_drop(true);
    for name in ["PATH", "HOME", "LANG"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
        .envs(QUIET_GIT.iter().copied())
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(std::process::Stdio::null());
    let ran = tokio::time::timeout(TIMEOUT, command.output()).await;
    let ran = ran.map_err(|_| format!("git {} gave no answer within {} s", args[0], TIMEOUT.as_secs()))?;
    let out = ran.map_err(|e| format!("git cannot be run: {e}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim_end().to_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(format!("git {}: {}", args[0], said.trim().lines().last().unwrap_or("failed")))
}

/// A large repository takes a while to be written out.
const TIMEOUT: Duration = Duration::from_secs(110);
