//! Worktrees of git, and agents that change the same file.

#![allow(clippy::unwrap_used)]

#[path = "../../sterna-runtime/tests/common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use common::*;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sterna::config::Settings;
use sterna::places::Places;
use sterna::{GitWorktrees, Sterna, Store};
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent};
use sterna_log::MemoryLog;
use sterna_model::*;
use sterna_runtime::Worktrees;

/// Does the first of these whose words stand last in the request.
struct Rules {
    rules: Vec<(&'static str, Vec<(&'static str, Value)>, &'static str)>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Provider for Rules {
    fn model(&self, _: &Route) -> Result<ModelInfo, String> {
        Ok(ModelInfo::default())
    }
    fn encoder(&self, _: &Route) -> String {
        "openai_chat/1".into()
    }
    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        sterna_llm::wire::by_name("openai_chat").unwrap().encode(request, cache)
    }
    fn send<'a>(
        &'a self,
        _: &'a Route,
        body: Encoded,
        _: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        let body = String::from_utf8(body.body().to_vec()).unwrap();
        self.asked.lock().unwrap().push(body.clone());
        let rule = self.rules.iter().filter_map(|rule| Some((body.rfind(rule.0)? + rule.0.len(), rule)));
        let (_, calls, text) =
            rule.max_by_key(|(at, _)| *at).unwrap_or_else(|| panic!("no rule for {body}")).1;
        let id = self.asked.lock().unwrap().len();
        let part =
            |(n, (name, args)): (usize, &(&str, Value))| call(&format!("c{id}_{n}"), name, &args.to_string());
        let said = match calls.as_slice() {
            [] => reply(vec![Part::Text((*text).into())], ModelStop::EndTurn),
            calls => reply(calls.iter().enumerate().map(part).collect(), ModelStop::ToolCalls),
        };
        async move { Ok(said) }.boxed()
    }
}

fn git(folder: &Path, args: &[&str]) -> String {
    let out = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn repository(dir: &Path) -> PathBuf {
    let root = dir.canonicalize().unwrap().join("repo");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    git(&root, &["init", "--quiet", "-b", "main"]);
    std::fs::write(root.join("sub/f.txt"), "one\n").unwrap();
    git(&root, &["add", "-A"]);
    git(&root, &["commit", "--quiet", "-m", "first"]);
    root
}

#[tokio::test]
async fn a_worktree_goes_only_when_all_in_it_is_somewhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = repository(dir.path());
    // What the repository would run when it is checked out.
    let hook = root.join(".git/hooks/post-checkout");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\ntouch {}/ran\n", dir.path().display())).unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let trees = GitWorktrees::new(dir.path().join("data/worktrees"));
    let sub = root.join("sub");
    let made = trees.add(&sub, "agent-1").await.unwrap();
    assert_eq!(trees.add(&sub, "agent-1").await.unwrap(), made, "again is the same");
    let path = PathBuf::from(&made.path);
    assert_eq!(
        (made.root.as_str(), made.branch.as_str()),
        (path.join("sub").to_str().unwrap(), "sterna/agent-1")
    );
    assert_eq!(std::fs::read_to_string(path.join("sub/f.txt")).unwrap(), "one\n");
    assert!(!dir.path().join("ran").exists(), "a hook of the repository ran");
    std::fs::remove_file(&hook).unwrap();
    // Not committed, and not even known to git.
    std::fs::write(path.join("new.txt"), "x").unwrap();
    let refused = trees.remove(&made).await.unwrap_err();
    assert!(refused.starts_with("worktree_dirty: 1 changes") && refused.contains("new.txt"), "{refused}");
    // Committed, and on no other branch.
    git(&path, &["add", "-A"]);
    git(&path, &["commit", "--quiet", "-m", "second"]);
    let refused = trees.remove(&made).await.unwrap_err();
    assert!(refused.starts_with("worktree_unmerged: 1 commits of sterna/agent-1"), "{refused}");
    assert!(path.join("new.txt").exists());
    // The same where the branch was left behind.
    git(&path, &["checkout", "--quiet", "--detach"]);
    git(&path, &["commit", "--quiet", "--allow-empty", "-m", "third"]);
    assert!(trees.remove(&made).await.unwrap_err().starts_with("worktree_unmerged: 2 commits"));
    let head = git(&path, &["rev-parse", "HEAD"]);
    git(&root, &["merge", "--quiet", &head]);
    trees.remove(&made).await.unwrap();
    assert!(!path.exists() && git(&root, &["branch", "--list", "sterna/*"]).is_empty());
    trees.remove(&made).await.unwrap();
    // What is no worktree of ours stays, whatever a record says.
    let foreign = Worktree { path: root.display().to_string(), ..made };
    assert!(trees.remove(&foreign).await.unwrap_err().contains("no worktree of Sterna's"));
    // Where there can be none.
    let empty = dir.path().join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    assert!(trees.add(&empty, "agent-2").await.unwrap_err().contains("in no git repository"));
    git(&empty, &["init", "--quiet"]);
    let fresh = empty.canonicalize().unwrap();
    assert!(trees.add(&fresh, "agent-2").await.unwrap_err().contains("no commit yet"));
}

async fn home(root: &Path, dir: &Path, rules: Rules) -> Sterna {
    let home = dir.join("home").display().to_string();
    let get = move |name: &str| (name == "STERNA_HOME").then(|| home.clone());
    let log = Arc::new(MemoryLog::new());
    let builder = Sterna::builder()
        .places(Places::from_env(&get).unwrap())
        .settings(Settings::default())
        .store(Store::Own(log.clone(), log))
        .workspace(root)
        .checkpoints(false)
        .mode(Mode::AcceptEdits)
        .on_ask(OnAsk::Deny)
        .provider(Arc::new(rules));
    builder.build().await.unwrap()
}

fn spawn(task: &str, more: Value) -> Vec<(&'static str, Value)> {
    let mut args = json!({"op": "spawn", "task": task});
    args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    vec![("agent", args)]
}

fn edit(old: &str, new: &str) -> Vec<(&'static str, Value)> {
    vec![("edit", json!({"path": "f.txt", "old_string": old, "new_string": new}))]
}

#[tokio::test]
async fn the_second_of_two_agents_that_edit_one_file_is_told_that_it_is_stale() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("work");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("f.txt"), "one\n").unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let read = || vec![("read", json!({"path": "f.txt"}))];
    let rules = vec![
        ("Start.", [spawn("first: look", json!({})), spawn("second: look", json!({}))].concat(), ""),
        ("first: look", read(), ""),
        ("second: look", read(), ""),
        ("one\\n", vec![], "looked"),
        ("looked", vec![], "both looked"),
    ];
    let sterna = home(&root, dir.path(), Rules { rules, asked: asked.clone() }).await;
    assert_eq!(sterna.session("s").turn("Start.").await.unwrap().message(), "both looked");
    let view = sterna.session("s").view().await.unwrap();
    let ids: Vec<String> = view.folded.world.children.keys().map(ToString::to_string).collect();
    assert_eq!(ids.len(), 2);
    // Each is told to change it, one after the other. Both saw the same version.
    let tell = |id: &str, text: &str| vec![("agent", json!({"op": "message", "id": id, "text": text}))];
    let rules = vec![
        ("Let the first.", tell(&ids[0], "change it to two"), ""),
        ("Let the second.", tell(&ids[1], "change it to three"), ""),
        ("change it to two", edit("one", "two"), ""),
        ("change it to three", edit("one", "three"), ""),
        ("stale_file", vec![], "it was changed under me"),
        ("f.txt: ", vec![], "changed"),
        ("edited", vec![], "changed"),
        ("it was changed under me", vec![], "second failed"),
    ];
    let parts = sterna.runtime().parts().clone();
    let rules: Arc<dyn Provider> = Arc::new(Rules { rules, asked: asked.clone() });
    let runtime = sterna_runtime::Runtime::new(sterna_runtime::Parts { provider: rules, ..parts });
    let id = SessionId::new("s").unwrap();
    for text in ["Let the first.", "Let the second."] {
        let submit = sterna_runtime::Submit {
            session: Some(id.clone()),
            key: None,
            parts: vec![InputPart::Text(text.into())],
            delivery: Delivery::NextTurn,
            origin: "test".into(),
            config: sterna.turn_config().clone(),
            live: false,
            drive: true,
        };
        let accepted = runtime.submit(submit).await.unwrap();
        runtime.result(&id, accepted.input).await.unwrap();
    }
    let told = asked.lock().unwrap().join("\n");
    assert_eq!(std::fs::read_to_string(root.join("f.txt")).unwrap(), "two\n", "{told}");
    let stale: Vec<String> =
        asked.lock().unwrap().iter().filter(|body| body.contains("stale_file")).cloned().collect();
    assert!(!stale.is_empty() && stale.iter().all(|body| body.contains("three")));
}

#[tokio::test]
async fn an_agent_in_a_worktree_changes_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = repository(dir.path()).join("sub");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let outside = root.join("new.txt").display().to_string();
    let rules = vec![
        ("Start.", spawn("change it", json!({"isolation": "worktree"})), ""),
        (
            "change it",
            [
                vec![("write", json!({"path": "new.txt", "content": "two\n"}))],
                vec![("write", json!({"path": outside.clone(), "content": "three\n"}))],
            ]
            .concat(),
            "",
        ),
        ("denied: ", vec![], "changed my own"),
        ("changed my own", vec![("agent", json!({"op": "list"}))], ""),
        (") finished: change it", vec![], "done"),
    ];
    let sterna = home(&root, dir.path(), Rules { rules, asked: asked.clone() }).await;
    let reply = sterna.session("s").turn("Start.").await.unwrap();
    assert_eq!(reply.message(), "done", "{:?}", asked.lock().unwrap().last());
    assert!(!root.join("new.txt").exists());
    let trees = dir.path().canonicalize().unwrap().join("home/data/worktrees");
    let tree = std::fs::read_dir(&trees).unwrap().next().unwrap().unwrap().path();
    let told = asked.lock().unwrap().join("\n");
    assert_eq!(std::fs::read_to_string(tree.join("sub/new.txt")).unwrap(), "two\n", "{told}");
    assert!(git(&root, &["status", "--porcelain"]).is_empty());
}
