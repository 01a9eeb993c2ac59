//! Sterna put together for a measure: its own driver, a clock, and a tool that does nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sterna_llm::SharedProvider;
use sterna_log::{MemoryLog, Owner, SharedBlobs, SharedLog};
use sterna_model::{
    Delivery, EffectClass, Given, InputPart, Limits, Millis, OnAsk, ResultEvent, SessionId, ToolSpec,
};
use sterna_runtime::{Env, Parts, PromptSource, Runtime, Submit, Toolbox, TurnConfig};
use sterna_tool::{Access, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn};

/// The machine's clock and names that count up.
pub struct BenchEnv {
    ids: AtomicU64,
}

impl Env for BenchEnv {
    fn now(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()> {
        tokio::time::sleep(Duration::from_millis(at.saturating_sub(self.now()))).boxed()
    }
    fn new_session_id(&self) -> SessionId {
        let (pid, n) = (std::process::id(), self.ids.fetch_add(1, Ordering::SeqCst));
        SessionId::new(&format!("b-{pid:08}-{:013}-{n:08}", self.now())).expect("letters, digits and dashes")
    }
    fn owner(&self) -> Owner {
        Owner(format!("bench:{}", std::process::id()))
    }
    fn is_dead(&self, _owner: &Owner) -> bool {
        false
    }
    fn child_env(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn home(&self) -> Option<PathBuf> {
        None
    }
    fn resolve(&self, path: &Path) -> PathBuf {
        path.to_path_buf()
    }
    fn state_dirs(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// A tool that says its arguments back.
struct Nothing {
    spec: ToolSpec,
    class: EffectClass,
}

impl Tool for Nothing {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    fn class(&self, _: &Value) -> EffectClass {
        self.class
    }
    fn plan(&self, _: &PlanContext, _: &Value) -> Result<Plan, ToolError> {
        Ok(Plan { accesses: vec![Access::Session], summary: self.spec.name.clone(), preview: None })
    }
    fn call<'a>(&'a self, _: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move { Ok(ToolReturn::Done(ToolDone::text(format!("ok {}", args["n"])))) }.boxed()
    }
}

/// A runtime and what its turns are given.
pub struct World {
    pub runtime: Runtime,
    pub config: TurnConfig,
    pub log: SharedLog,
}

impl World {
    /// A runtime on these stores, whose model calls a tool of this class.
    pub fn new(
        log: SharedLog,
        blobs: SharedBlobs,
        provider: SharedProvider,
        class: EffectClass,
    ) -> Result<Self> {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
        let spec = ToolSpec { name: "noop".into(), description: "Says its number back.".into(), schema };
        let env = Arc::new(BenchEnv { ids: AtomicU64::new(0) });
        let tools = Toolbox::new([Arc::new(Nothing { spec, class }) as sterna_tool::SharedTool]);
        let runtime = Runtime::new(Parts {
            log: log.clone(),
            blobs,
            provider,
            env,
            tools,
            checkpoints: None,
            secrets: Default::default(),
            hooks: None,
            levels: None,
            memory: None,
            worktrees: None,
        });
        let limits = Limits { max_steps: 1_000_000, ..Limits::default() };
        let Ok(route) = "bench/x".parse() else { bail!("a route has a provider and a model") };
        let given = Given {
            limits,
            on_ask: OnAsk::Deny,
            sandbox: sterna_model::SandboxWish::None,
            ..Given::new(route, "/w")
        };
        let prompt = PromptSource::new(sterna_context::builtin_sections(sterna_context::Template::Minimal));
        let config = TurnConfig::new(given, prompt);
        Ok(Self { runtime, config, log })
    }

    /// The same, with nothing kept.
    pub fn in_memory(provider: SharedProvider, class: EffectClass) -> Result<Self> {
        let log = Arc::new(MemoryLog::new());
        Self::new(log.clone(), log, provider, class)
    }

    pub fn submit(&self, session: Option<SessionId>) -> Submit {
        Submit {
            session,
            key: None,
            parts: vec![InputPart::Text("Count, please.".into())],
            delivery: Delivery::NextTurn,
            origin: "bench".into(),
            config: self.config.clone(),
            live: false,
            drive: true,
        }
    }

    /// One turn to its end.
    pub async fn turn(&self, session: Option<SessionId>) -> Result<(SessionId, ResultEvent)> {
        let accepted = self.runtime.submit(self.submit(session)).await?;
        let result = self.runtime.result(&accepted.session, accepted.input).await?;
        if result.outcome != "finished" {
            bail!("the turn did not finish: {:?}", result);
        }
        Ok((accepted.session, result))
    }
}
