//! A server of the testkit, its client, and tools called as the runtime would call them.

// Each test program uses a part of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use sterna_log::MemoryLog;
use sterna_mcp::{
    Client, McpTool, OAuth, Origin, Pool, ServerConfig, Setup, Times, ToolChoice, Transport, tools_of,
};
use sterna_model::{Question, Scope, ToolStatus};
use sterna_shell::shim::Helper;
use sterna_testkit::mcp::server_script;
use sterna_tool::{Cancel, Output, Plan, PlanContext, SessionView, Tool, ToolContext, ToolError, ToolReturn};

/// A workspace, a state folder and a pool.
pub struct World {
    folder: tempfile::TempDir,
    pub pool: Pool,
    pub cancel: Cancel,
    pub progress: Arc<Mutex<Vec<String>>>,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Self { folder, pool: Pool::default(), cancel: Cancel::new(), progress: Arc::default() }
    }

    pub fn work(&self) -> PathBuf {
        std::fs::canonicalize(self.folder.path()).unwrap().join("work")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn setup(&self) -> Setup {
        let env = [("PATH", std::env::var("PATH").unwrap()), ("HOME", "/home/nobody".into())];
        Setup {
            env: env.map(|(name, value)| (name.to_owned(), value)).into(),
            helper: Some(Helper::new(env!("CARGO_BIN_EXE_sterna-mcp-shim-test"), Vec::<String>::new())),
            root: self.work(),
            roots: vec![self.work()],
            state: self.state(),
            confine: None,
        }
    }

    /// A client of the test server with these switches.
    pub fn client(&self, switches: &[&str]) -> Client {
        self.pool.client(config(switches), self.setup())
    }

    pub fn client_of(&self, config: ServerConfig) -> Client {
        self.pool.client(config, self.setup())
    }

    pub async fn call(&self, client: &Client, name: &str, args: Value) -> Result<(String, bool), ToolError> {
        match self.step(client, name, args, None).await? {
            ToolReturn::Done(done) => match done.output {
                Output::Text(text) => Ok((text, done.failed)),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    pub async fn asked(
        &self,
        client: &Client,
        name: &str,
        args: Value,
        answers: Option<&[&str]>,
    ) -> Result<Vec<Question>, ToolError> {
        match self.step(client, name, args, answers).await? {
            ToolReturn::Ask(questions) => Ok(questions),
            other => panic!("{other:?}"),
        }
    }

    pub async fn step(
        &self,
        client: &Client,
        name: &str,
        args: Value,
        answers: Option<&[&str]>,
    ) -> Result<ToolReturn, ToolError> {
        let tool = tool(client, name);
        let plan = tool.plan(&self.plan_context(), &args)?;
        let mut cx = self.context(plan);
        cx.answers = answers.map(|answers| answers.iter().map(|answer| (*answer).to_owned()).collect());
        tool.call(cx, args).await
    }

    pub fn plan_context(&self) -> PlanContext {
        PlanContext { cwd: self.work(), roots: vec![self.work()] }
    }

    pub fn context(&self, plan: Plan) -> ToolContext {
        let heard = self.progress.clone();
        ToolContext {
            key: "demo/1/1/tool/0".parse().unwrap(),
            attempt: 1,
            intended_at: 0,
            plan: Arc::new(plan),
            cwd: self.work(),
            roots: vec![self.work()],
            cancel: self.cancel.clone(),
            blobs: Arc::new(MemoryLog::new()),
            progress: Arc::new(move |text| heard.lock().unwrap().push(text)),
            now: Arc::new(|| 0),
            view: Arc::new(SessionView::default()),
            session: Arc::new(sterna_tool::NoSession),
            env: Arc::new(BTreeMap::new()),
            confine: Arc::default(),
            answers: None,
            turn: None,
            memory: None,
            ended: None,
            woken: None,
        }
    }
}

/// The test server as a program, with short times.
pub fn config(switches: &[&str]) -> ServerConfig {
    let args = std::iter::once(server_script()).chain(switches.iter().map(|s| (*s).to_owned())).collect();
    let env = BTreeMap::from([("OWN".to_owned(), "value".to_owned())]);
    of(Transport::Stdio { command: "python3".into(), args, env, cwd: None })
}

pub fn of(transport: Transport) -> ServerConfig {
    ServerConfig {
        name: "test".into(),
        transport,
        origin: Origin { scope: Scope::User, file: "/conf/mcp.json".into() },
        trusted: false,
        sandbox: true,
        disabled: false,
        tools: ToolChoice::default(),
        // A start is given the time that a busy machine needs; what a short time does, a test says itself.
        times: Times {
            start: Duration::from_secs(120),
            reconnect: Duration::from_millis(20),
            ..Times::default()
        },
        oauth: OAuth::default(),
    }
}

pub fn tool(client: &Client, name: &str) -> McpTool {
    let name = format!("mcp__test__{name}");
    tools_of(client).into_iter().find(|tool| tool.spec().name == name).unwrap_or_else(|| panic!("no {name}"))
}

pub fn status<T: std::fmt::Debug>(result: Result<T, ToolError>) -> (ToolStatus, String) {
    let error = result.unwrap_err();
    (error.status, error.message)
}

/// Waits, with patience, for what must come.
pub async fn eventually(mut is: impl FnMut() -> bool, what: &str) {
    for _ in 0..6_000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

pub fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file).unwrap_or_default().lines().count()
}
