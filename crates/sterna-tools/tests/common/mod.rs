//! A folder, a session's view and a store, and tools called as the runtime would call them.

// Each test program uses a part of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use sterna_log::{BlobWriter, Blobs, LogError, digest};
use sterna_model::{BlobRef, Digest, Fact, Question, ToolStatus};
use sterna_tool::{
    Cancel, Output, Plan, PlanContext, SessionView, SharedTool, ToolContext, ToolDone, ToolError, ToolReturn,
};

/// A workspace with a session in it.
pub struct World {
    folder: tempfile::TempDir,
    pub cwd: PathBuf,
    pub view: SessionView,
    pub session: Arc<dyn sterna_tool::SessionReader>,
    pub blobs: Arc<Memory>,
    pub attempt: u32,
    pub cancel: Cancel,
    pub answers: Option<Vec<String>>,
    pub memory: Option<sterna_tool::MemoryAccess>,
    pub progress: Arc<dyn Fn(String) + Send + Sync>,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cwd = std::fs::canonicalize(folder.path()).unwrap().join("work");
        std::fs::create_dir(&cwd).unwrap();
        Self {
            folder,
            cwd,
            view: SessionView::default(),
            session: Arc::new(sterna_tool::NoSession),
            blobs: Arc::default(),
            attempt: 1,
            cancel: Cancel::new(),
            answers: None,
            memory: None,
            progress: Arc::new(|_| {}),
        }
    }

    /// The folder that the workspace is in.
    pub fn outside(&self) -> PathBuf {
        std::fs::canonicalize(self.folder.path()).unwrap()
    }

    /// Makes a file of the workspace.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.cwd.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The same, known to the session.
    pub fn seen(&mut self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name, content.as_ref());
        self.view.files.insert(path.to_str().unwrap().into(), digest(content.as_ref()));
        path
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.cwd.join(name)).unwrap()
    }

    pub fn plan(&self, name: &str, args: &Value) -> Result<Plan, ToolError> {
        let cx = PlanContext { cwd: self.cwd.clone(), roots: vec![self.cwd.clone()] };
        tool(name).plan(&cx, args)
    }

    /// Plans and calls; the facts are folded into the view, as the runtime does.
    pub async fn call(&mut self, name: &str, args: Value) -> Result<ToolDone, ToolError> {
        let plan = self.plan(name, &args)?;
        self.call_planned(name, args, plan).await
    }

    pub async fn call_planned(&mut self, name: &str, args: Value, plan: Plan) -> Result<ToolDone, ToolError> {
        match tool(name).call(self.context(plan), args).await? {
            other @ (ToolReturn::Ask(_)
            | ToolReturn::Child(_)
            | ToolReturn::Sleep { .. }
            | ToolReturn::Signal { .. }
            | ToolReturn::Continue { .. }
            | ToolReturn::EnterPlan
            | ToolReturn::Permit { .. }
            | ToolReturn::Plan { .. }) => {
                panic!("{other:?}")
            }
            ToolReturn::Done(done) => {
                for fact in &done.facts {
                    match fact.clone() {
                        Fact::FileRead { path, hash } | Fact::FileWritten { path, after: hash, .. } => {
                            self.view.files.insert(path, hash);
                        }
                        Fact::FileRemoved { path, .. } => {
                            self.view.files.remove(&path);
                        }
                        Fact::Todo(item) => {
                            self.view.todos.insert(item.id.clone(), item);
                        }
                        Fact::Command { .. }
                        | Fact::ToolsFound { .. }
                        | Fact::Child(_)
                        | Fact::ChildClosed(_)
                        | Fact::Continued(_)
                        | Fact::Goal(_) => {}
                    }
                }
                Ok(done)
            }
        }
    }

    pub async fn ask(&self, args: Value) -> Result<Vec<Question>, ToolError> {
        let plan = self.plan("ask_user", &args)?;
        match tool("ask_user").call(self.context(plan), args).await? {
            ToolReturn::Ask(questions) => Ok(questions),
            other => panic!("{other:?}"),
        }
    }

    pub fn context(&self, plan: Plan) -> ToolContext {
        ToolContext {
            turn: None,
            key: "demo/1/1/tool/0".parse().unwrap(),
            attempt: self.attempt,
            // After whatever the test has made.
            intended_at: u64::MAX,
            plan: Arc::new(plan),
            cwd: self.cwd.clone(),
            roots: vec![self.cwd.clone()],
            cancel: self.cancel.clone(),
            blobs: self.blobs.clone(),
            progress: self.progress.clone(),
            now: Arc::new(|| 0),
            view: Arc::new(self.view.clone()),
            session: self.session.clone(),
            env: Arc::new(BTreeMap::from([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())])),
            confine: Arc::default(),
            answers: self.answers.clone(),
            memory: self.memory.clone(),
            ended: None,
            woken: None,
        }
    }

    /// The call's text; an error is its message.
    pub async fn told(&mut self, name: &str, args: Value) -> String {
        match self.call(name, args).await {
            Ok(done) => text(&done),
            Err(error) => format!("{}: {}", error.status.word(), error.message),
        }
    }

    /// The call fails with exactly this, and no file has changed.
    pub async fn refuses(&mut self, name: &str, args: Value, status: ToolStatus, message: &str) {
        let before = tree(&self.cwd);
        let error = self.call(name, args.clone()).await.unwrap_err();
        assert_eq!((error.status, error.message.as_str()), (status, message), "{name} {args}");
        assert_eq!(tree(&self.cwd), before, "{name} {args} changed something");
    }
}

pub fn tool(name: &str) -> SharedTool {
    sterna_tools::builtin(sterna_tools::Options::default())
        .into_iter()
        .find(|tool| tool.spec().name == name)
        .unwrap()
}

pub fn text(done: &ToolDone) -> String {
    match &done.output {
        Output::Text(text) => text.clone(),
        Output::Large { .. } => panic!("{done:?}"),
    }
}

/// Every path below, with the bytes of files.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            all.insert(entry.path(), Vec::new());
            all.extend(tree(&entry.path()));
        } else {
            let is_file = entry.file_type().unwrap().is_file();
            all.insert(entry.path(), if is_file { std::fs::read(entry.path()).unwrap() } else { Vec::new() });
        }
    }
    all
}

#[derive(Default)]
pub struct Memory(Arc<Mutex<BTreeMap<Digest, Bytes>>>);

#[async_trait]
impl Blobs for Memory {
    async fn put(&self, bytes: Bytes) -> Result<BlobRef, LogError> {
        let blob = BlobRef { hash: digest(&bytes), bytes: bytes.len() as u64 };
        self.0.lock().unwrap().insert(blob.hash, bytes);
        Ok(blob)
    }
    async fn get(&self, hash: &Digest) -> Result<Bytes, LogError> {
        self.0.lock().unwrap().get(hash).cloned().ok_or(LogError::BlobMissing(*hash))
    }
    async fn has(&self, hash: &Digest) -> Result<bool, LogError> {
        Ok(self.0.lock().unwrap().contains_key(hash))
    }
    fn writer(&self) -> Result<Box<dyn BlobWriter>, LogError> {
        Ok(Box::new(MemoryWriter { blobs: self.0.clone(), bytes: Vec::new() }))
    }
}

struct MemoryWriter {
    blobs: Arc<Mutex<BTreeMap<Digest, Bytes>>>,
    bytes: Vec<u8>,
}

impl BlobWriter for MemoryWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
    fn finish(self: Box<Self>) -> Result<BlobRef, LogError> {
        let blob = BlobRef { hash: digest(&self.bytes), bytes: self.bytes.len() as u64 };
        self.blobs.lock().unwrap().insert(blob.hash, self.bytes.into());
        Ok(blob)
    }
}
