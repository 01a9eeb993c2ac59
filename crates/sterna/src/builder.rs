//! The builder: every part has a default that a careful person would choose.

mod options;
mod store;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sterna_automation::Board;
use sterna_context::{Section, Template, builtin_sections};
use sterna_llm::SharedProvider;
use sterna_llm_http::HttpProvider;
use sterna_log::{SharedBlobs, SharedLog};
use sterna_model::{
    Effort, Given, InDoubtPolicy, Limits, Mode, OnAsk, Route, RuleText, Sandbox, SandboxWish,
};
use sterna_runtime::{
    Env, Levels, Listening, Parts, PromptSource, Runtime, SharedCheckpoints, SharedWorktrees, Toolbox,
    TurnConfig, TurnSections,
};
use sterna_shell::shim::{Helper, Shims};
use sterna_tool::{SharedMemory, SharedTool};
use sterna_tools::{AgentType, Sandboxes};

use self::store::Opening;
use crate::automations::{self, AUTOMATION_TOOLS, Desk};
use crate::config::Settings;
use crate::deferral::{Deferrable, Split, TOOL_BUDGET, split};
use crate::instructions::Instructions;
#[cfg(feature = "mcp")]
use crate::live::{Live, Shown};
use crate::places::Places;
use crate::sandbox::{MachineLevels, grounds};
use crate::skills::{Catalogue, Shelf};
use crate::trust::Project;
use crate::{
    Error, GitWorktrees, LocalCheckpoints, LocalModel, Router, Session, SystemEnv, memory_of, secrets_of,
};

/// A running Sterna. Cheap to clone.
#[derive(Clone)]
pub struct Sterna {
    pub(crate) runtime: Runtime,
    pub(crate) config: Arc<TurnConfig>,
    router: Option<Arc<Router>>,
    shelf: Arc<Shelf>,
    pub(crate) agents: Arc<[AgentType]>,
}

/// Where sessions are kept.
#[derive(Clone)]
pub enum Store {
    /// SQLite in this folder.
    Folder(PathBuf),
    /// Nothing is kept.
    Memory,
    /// The host's own.
    Own(SharedLog, SharedBlobs),
}

/// Collects the parts of a `Sterna`.
pub struct Builder {
    model: Option<String>,
    store: Option<Store>,
    provider: Option<SharedProvider>,
    providers: HashMap<String, SharedProvider>,
    env: Option<Arc<dyn Env>>,
    tools: Vec<SharedTool>,
    deferrable: Vec<Deferrable>,
    tool_budget: Option<u32>,
    #[cfg(feature = "mcp")]
    mcp: Vec<sterna_mcp::ServerConfig>,
    #[cfg(feature = "mcp")]
    mcp_patience: Option<std::time::Duration>,
    builtin_tools: bool,
    profile: Option<String>,
    helper: Option<Helper>,
    outlive: bool,
    sandbox: Option<SandboxWish>,
    names: Vec<String>,
    workspace: Option<PathBuf>,
    cwd: Option<PathBuf>,
    add_dirs: Vec<PathBuf>,
    mode: Option<Mode>,
    on_ask: Option<OnAsk>,
    in_doubt: Option<InDoubtPolicy>,
    in_doubt_of: BTreeMap<String, InDoubtPolicy>,
    limits: Option<Limits>,
    max_output: Option<u32>,
    effort: Option<Effort>,
    fallback: Option<Vec<Route>>,
    output_schema: Option<serde_json::Value>,
    rules: Vec<RuleText>,
    sections: Vec<Section>,
    settings: Option<Settings>,
    places: Option<Places>,
    checkpoints: Option<bool>,
    memory: Option<bool>,
    own_memory: Option<SharedMemory>,
    instructions: bool,
    trusted: bool,
    project: Option<Arc<Project>>,
    skills: bool,
    hooks: Vec<Listening>,
    mode_of_session: bool,
    titles: bool,
    notice: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Sterna {
    /// A builder with the defaults: SQLite in the user's data folder, the built-in tools, the current folder.
    pub fn builder() -> Builder {
        Builder {
            model: None,
            store: None,
            provider: None,
            providers: HashMap::new(),
            env: None,
            tools: Vec::new(),
            deferrable: Vec::new(),
            tool_budget: None,
            #[cfg(feature = "mcp")]
            mcp: Vec::new(),
            #[cfg(feature = "mcp")]
            mcp_patience: None,
            builtin_tools: true,
            helper: None,
            outlive: true,
            sandbox: None,
            profile: None,
            names: Vec::new(),
            workspace: None,
            cwd: None,
            add_dirs: Vec::new(),
            mode: None,
            on_ask: None,
            in_doubt: None,
            in_doubt_of: BTreeMap::new(),
            limits: None,
            max_output: None,
            effort: None,
            fallback: None,
            output_schema: None,
            rules: Vec::new(),
            sections: Vec::new(),
            settings: None,
            places: None,
            checkpoints: None,
            memory: None,
            own_memory: None,
            instructions: true,
            trusted: false,
            project: None,
            skills: true,
            hooks: Vec::new(),
            mode_of_session: true,
            titles: true,
            notice: Arc::new(|_| {}),
        }
    }

    /// A session by its name; its first turn makes it.
    pub fn session(&self, name: &str) -> Session {
        Session::new(self.clone(), Some(name))
    }

    /// A new session under a name of its own.
    pub fn new_session(&self) -> Session {
        Session::new(self.clone(), None)
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What turns are given unless they say otherwise.
    pub fn turn_config(&self) -> &TurnConfig {
        &self.config
    }

    /// What a turn that begins now is given: the same, and tools that MCP servers have come up with since, as far as tools
    /// are shown by name only.
    pub fn turn_config_now(&self) -> TurnConfig {
        self.with_late_tools(TurnConfig::clone(&self.config))
    }

    /// The same for a config that was changed since. One that was given fewer tools than there are is given none.
    pub fn with_late_tools(&self, mut config: TurnConfig) -> TurnConfig {
        if let Some(late) = &self.config.late {
            config.given = late(config.given);
        }
        config
    }

    /// Answers the wait of a signed key, whichever session it is of, also before the wait is opened. The first answer
    /// counts.
    pub async fn resolve_key(&self, key: &str, ruling: sterna_model::Ruling) -> Result<(), Error> {
        self.runtime.resolve_key(key, ruling, "sdk").await?;
        Ok(())
    }

    /// Whether commands of its turns can be confined as it is wished. The text says why not. Probes the machine, unless that
    /// was done.
    pub async fn check_sandbox(&self) -> Result<Sandbox, String> {
        let wish = self.config.sandbox;
        match &self.runtime.parts().levels {
            Some(levels) => levels.level(wish).await,
            None if wish.is_strict() => Err("commands cannot be confined without a helper program".into()),
            None => Ok(Sandbox::None),
        }
    }

    /// Where skills, prompt files and agents stand that count here.
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Routes to which nothing is sent now, because they failed too often. All sessions of the process share them.
    pub fn open_breakers(&self) -> Vec<sterna_runtime::OpenBreaker> {
        self.runtime.open_breakers()
    }

    /// Whether a request on this route could be sent. The text says what to do.
    pub fn ready(&self, route: &Route) -> Result<(), String> {
        match &self.router {
            Some(router) => router.ready(route),
            None => self.runtime.parts().provider.model(route).map(|_| ()),
        }
    }
}

impl Builder {
    /// Opens the store and puts everything together. Reads the environment for keys, and no configuration file.
    pub async fn build(self) -> Result<Sterna, Error> {
        let get = |name: &str| std::env::var(name).ok();
        let places = match self.places {
            Some(places) => places,
            None => {
                Places::from_env(&get).map_err(|e| Error::setup(e.to_string(), "set HOME or STERNA_HOME"))?
            }
        };
        let settings = match self.settings {
            Some(settings) => settings,
            None => Settings::from_env(&get),
        };
        if let Some(schema) = &self.output_schema {
            sterna_runtime::check_output_schema(schema).map_err(|why| {
                Error::setup(
                    format!("the output schema cannot be used: {why}"),
                    "give a JSON Schema, as an object",
                )
            })?;
        }
        let root = real_dir(self.workspace.as_deref())?;
        let cwd = match &self.cwd {
            Some(dir) => real_dir(Some(dir))?,
            None => root.clone(),
        };
        let add_dirs = self.add_dirs.iter().map(|dir| real_dir(Some(dir))).collect::<Result<Vec<_>, _>>()?;
        let in_memory = matches!(self.store, Some(Store::Memory));
        let mut own_dirs = vec![places.config.clone(), places.data.clone(), places.state.clone()];
        if let Some(Store::Folder(dir)) = &self.store {
            let roots: Vec<PathBuf> = std::iter::once(&root).chain(&add_dirs).cloned().collect();
            own_dirs.extend(store::own_places(dir, &roots));
        }
        // Commands are kept beside the log that knows of them.
        let spools = match &self.store {
            Some(Store::Folder(dir)) => Some(dir.join("spools")),
            None | Some(Store::Own(..)) => Some(places.data.join("spools")),
            Some(Store::Memory) => None,
        };
        let helper = self.helper.or_else(|| crate::is_initialised().then(Helper::this_host));
        #[cfg(feature = "mcp")]
        let mcp_helper = helper.clone();
        let shims = spools.filter(|_| self.outlive).zip(helper.clone());
        let shims = shims.map(|(root, helper)| Arc::new(Shims::new(root, Some(helper))));
        let kept = self.outlive && !in_memory;
        let sandboxes = helper.map(|helper| {
            let mut grounds = grounds(&places, kept);
            // The folder of a store may be none of the usual ones.
            grounds.own.extend(own_dirs.iter().cloned());
            Arc::new(Sandboxes::new(helper, grounds))
        });
        let store = Opening::start(self.store, &places);
        let route = match (&self.model, &settings.model) {
            (Some(text), _) => text.parse()?,
            (None, Some(route)) => route.clone(),
            // A host that brings its provider need not name a route.
            (None, None) if self.provider.is_some() => "host/model".parse()?,
            (None, None) => {
                return Err(Error::setup(
                    "no model is chosen",
                    "name one with -m, STERNA_MODEL or `model = \"provider/model\"` in config.toml; \
                     `local` needs no key",
                ));
            }
        };
        let mut keyed = std::collections::BTreeMap::new();
        let (provider, router): (SharedProvider, _) = match self.provider {
            Some(provider) => (provider, None),
            None => {
                let endpoints = settings.endpoints(&route.provider)?;
                // A configured provider named `local` is somebody's own server.
                let own_local = endpoints.contains_key("local");
                let dir = settings.local.dir.clone().unwrap_or_else(|| places.local_model(&get));
                let local = (!own_local).then(|| {
                    let (threads, context) = (settings.local.threads, settings.local.context);
                    Arc::new(LocalModel::new(dir, threads, context, self.notice.clone()))
                });
                keyed.clone_from(&endpoints);
                let http = HttpProvider::new(endpoints);
                http.prepare(&route);
                let router = Arc::new(Router::new(http, self.providers, local, cwd.clone()));
                (router.clone(), Some(router))
            }
        };
        let profile = self.profile.or_else(|| settings.profile.clone());
        // A small model needs few tools and a short prompt.
        let small = route.provider == "local";
        let profile = profile.unwrap_or_else(|| if small { "minimal" } else { "main" }.to_owned());
        let Some(of_profile) = sterna_tools::profile(&profile) else {
            return Err(Error::setup(
                format!("there is no profile `{profile}`"),
                "profiles are main and minimal",
            ));
        };
        let template = if profile == "minimal" { Template::Minimal } else { Template::Main };
        let mut sections = builtin_sections(template);
        for section in self.sections {
            sections.retain(|held| held.name != section.name);
            sections.push(section);
        }
        let remembers = self.memory.or(settings.memory).unwrap_or(true);
        let names = [self.names, settings.tools.clone()].into_iter().find(|names| !names.is_empty());
        let shelf = if self.skills {
            crate::skills::shelf(&places.config, self.project.as_deref())
        } else {
            Shelf::default()
        };
        let shelf = Arc::new(shelf);
        let agents = crate::skills::agents(&shelf, &self.notice);
        let kinds = sterna_tools::builtin_agents().into_iter().chain(agents.iter().cloned()).collect();
        let desk = Desk::default();
        let builtin = if self.builtin_tools {
            let (shims, sandboxes) = (shims.clone(), sandboxes.clone());
            let web = settings.web.of_tools(&get);
            let named = names.as_ref().is_some_and(|names| names.iter().any(|name| name == SKILL));
            let skills = (named || shelf.has_skills()).then(|| shelf.clone());
            let agents = agents.clone();
            let options = sterna_tools::Options { shims, sandboxes, web, skills, agents };
            let mut builtin = sterna_tools::builtin(options);
            builtin.push(sterna_tools::for_goal());
            builtin.extend((!in_memory).then(|| automations::tools(&desk)).into_iter().flatten());
            builtin.extend(remembers.then(sterna_tools::for_memory).into_iter().flatten());
            builtin
        } else {
            Vec::new()
        };
        let own: Vec<String> = self.tools.iter().map(|tool| tool.spec().name.clone()).collect();
        let state_dirs = own_dirs.clone();
        let env: Arc<dyn Env> = self.env.unwrap_or_else(|| {
            Arc::new(env_of(&settings, state_dirs, (!in_memory).then(|| places.wait_key())))
        });
        let mut more = self.deferrable;
        #[cfg(feature = "mcp")]
        let (mut servers, mut starting) = (Vec::new(), Vec::new());
        #[cfg(feature = "mcp")]
        let (only, taken) = (names.clone(), own.iter().cloned().collect());
        #[cfg(feature = "mcp")]
        if !self.mcp.is_empty() {
            let wish = self.sandbox.or(settings.sandbox).unwrap_or_default();
            let hold = crate::mcp::Hold::new(sandboxes.clone(), wish, &settings, &self.rules)?;
            let setup = crate::mcp::setup(&places, env.child_env(), mcp_helper, &root, &add_dirs, hold);
            let offered = crate::mcp::tools(self.mcp, &setup, self.mcp_patience, &self.notice).await;
            more.extend(offered.tools);
            (servers, starting) = (offered.clients, offered.starting);
        }
        #[cfg(feature = "mcp")]
        let for_hooks = Arc::new(crate::mcp::Servers(servers.clone()));
        let mut extra: Vec<SharedTool> = more.iter().map(|of| of.tool.clone()).collect();
        let finds = !more.is_empty();
        // Tools may come later where there are none yet.
        #[cfg(feature = "mcp")]
        let finds = finds || !servers.is_empty();
        if finds {
            extra.extend(sterna_tools::for_deferred());
        }
        let tools = Toolbox::new(builtin.into_iter().chain(extra).chain(self.tools));
        let names = match names {
            Some(names) => {
                more.retain(|of| names.contains(&of.tool.spec().name));
                names
            }
            None if self.builtin_tools => {
                // Some are there only when they are configured.
                let there = of_profile.iter().filter(|name| tools.get(name).is_some());
                let mut names: Vec<String> = there.map(|name| (*name).to_owned()).collect();
                if profile == "main" && !in_memory {
                    names.extend(AUTOMATION_TOOLS.map(str::to_owned));
                }
                names.extend(own);
                names
            }
            None => own,
        };
        if let Some(unknown) = names.iter().find(|name| tools.get(name).is_none()) {
            return Err(Error::setup(
                format!("there is no tool `{unknown}`"),
                format!("tools are {}", tools.names().join(", ")),
            ));
        }
        let mut in_doubt_of = settings.in_doubt_of.clone();
        in_doubt_of.extend(self.in_doubt_of);
        check_in_doubt_of(&in_doubt_of, &tools, &settings)?;
        let budget = self.tool_budget.or(settings.tool_budget).unwrap_or(TOOL_BUDGET);
        let Split { shown, deferred } = split(&tools, names, &more, budget);
        #[cfg(feature = "mcp")]
        let live = (!servers.is_empty()).then(|| {
            let (whole, named) = (tools.specs(&shown), deferred.iter().cloned().collect());
            let shown = Shown { whole, named, taken, only };
            Live::new(servers, tools.clone(), shown, starting, self.notice.clone()).late_tools()
        });
        let rules = settings.rules.iter().cloned().chain(self.rules).collect();
        let instructions = self.instructions.then(|| Instructions::new(places.config.clone(), env.home()));
        let trusted = self.trusted;
        let catalogue = Catalogue::new(shelf.clone(), self.notice);
        let of_turn: TurnSections = Arc::new(move |turn| {
            let (root, cwd) = (Path::new(&turn.root), Path::new(&turn.cwd));
            let read = instructions.as_ref().map(|read| read.sections(root, cwd, trusted));
            let mut sections = read.unwrap_or_default();
            if turn.tools.iter().any(|name| name == SKILL) {
                sections.extend(catalogue.sections());
            }
            sections
        });
        let text = |path: &Path| path.display().to_string();
        let title_route = settings.title_route(&route);
        let given = Given {
            mode: self.mode.or(settings.mode).unwrap_or_default(),
            limits: self.limits.unwrap_or_else(|| settings.limits.clone()),
            rules,
            on_ask: self.on_ask.or(settings.on_ask).unwrap_or_default(),
            in_doubt: self.in_doubt.or(settings.in_doubt).unwrap_or_default(),
            in_doubt_of,
            cwd: text(&cwd),
            add_dirs: add_dirs.iter().map(|dir| text(dir)).collect(),
            tools: shown,
            deferred,
            max_output: self.max_output.or(settings.max_output),
            effort: self.effort.or(settings.effort),
            mode_of_session: self.mode_of_session && !settings.locked.contains("mode"),
            sandbox: self.sandbox.or(settings.sandbox).unwrap_or_default(),
            fallback: self.fallback.unwrap_or_else(|| settings.fallback.clone()),
            output_schema: self.output_schema.map(Box::new),
            ..Given::new(route, text(&root))
        };
        let config = TurnConfig {
            given,
            prompt: PromptSource::with_turn(sections, of_turn),
            summary_route: settings.compact_model.clone(),
            classifier_route: settings.classifier_model.clone(),
            title_route: title_route.filter(|_| self.titles && !in_memory),
            #[cfg(feature = "mcp")]
            late: live,
            #[cfg(not(feature = "mcp"))]
            late: None,
        };
        let (log, blobs) = store.finish()?;
        if let Some(shims) = &shims {
            // Where it cannot be made, commands will say so.
            drop(shims.prepare());
        }
        let keep = self.checkpoints.or(settings.checkpoints).unwrap_or(!in_memory);
        let checkpoints = keep.then(|| {
            let state = places.state.join("checkpoints");
            let keeper = LocalCheckpoints::new(blobs.clone(), state, own_dirs, env.home());
            Arc::new(keeper) as SharedCheckpoints
        });
        let secrets = secrets_of(&settings, &keyed, (!in_memory).then(|| places.wait_key()), env.clone());
        let hooks = {
            #[cfg(feature = "mcp")]
            let servers = for_hooks;
            #[cfg(not(feature = "mcp"))]
            let servers = Arc::new(crate::hooks::NoServers);
            crate::hooks::all(&settings.hooks, self.hooks, &blobs, sandboxes.as_ref(), &settings.web, servers)
        };
        let levels = sandboxes.map(|sandboxes| Arc::new(MachineLevels(sandboxes)) as Arc<dyn Levels>);
        let own = self.own_memory;
        let memory = remembers
            .then(|| own.map_or_else(|| memory_of(&settings, log.clone(), secrets.clone()), Ok))
            .transpose()?;
        let folder = places.data.join(sterna_policy::WORKTREES);
        let worktrees = (!in_memory).then(|| Arc::new(GitWorktrees::new(folder)) as SharedWorktrees);
        // The same board for all its tools; nothing is read before one of them is called.
        let common = secrets.clone();
        drop(desk.set(Board::new(log.clone()).secrets(move || common.common())));
        let parts = Parts {
            log,
            blobs,
            provider,
            env,
            tools,
            checkpoints,
            hooks,
            levels,
            secrets,
            memory,
            worktrees,
        };
        let runtime = Runtime::new(parts);
        Ok(Sterna { runtime, config: Arc::new(config), router, shelf, agents: kinds })
    }
}

/// Refuses a ruling for a tool that nobody has. Tools of MCP servers are not known before the servers are asked, and a
/// host without the built-in tools may read a configuration that is meant for all.
fn check_in_doubt_of(
    rulings: &BTreeMap<String, InDoubtPolicy>,
    tools: &Toolbox,
    settings: &Settings,
) -> Result<(), Error> {
    let known = |name: &str| {
        let builtin = || sterna_tools::profile("main").is_some_and(|names| names.contains(&name));
        name.starts_with("mcp__") || tools.get(name).is_some() || builtin()
    };
    let Some(unknown) = rulings.keys().find(|name| !known(name)) else { return Ok(()) };
    let place = settings.sources.get(&format!("in_doubt_of.{unknown}"));
    let place = place.map_or_else(String::new, |place| format!("{place}: "));
    let names = tools.names();
    Err(Error::setup(
        format!("{place}`in_doubt_of` names the tool `{unknown}`, which there is not"),
        format!("tools are {}, and those of MCP servers, mcp__SERVER__TOOL", names.join(", ")),
    ))
}

fn env_of(settings: &Settings, state_dirs: Vec<PathBuf>, secret: Option<PathBuf>) -> SystemEnv {
    let env = SystemEnv::new(&settings.env_pass, state_dirs);
    match secret {
        Some(file) => env.secret_in(file),
        None => env,
    }
}

/// The tool that loads skills.
const SKILL: &str = "skill";

/// A folder that exists, absolute, with symlinks resolved.
fn real_dir(dir: Option<&Path>) -> Result<PathBuf, Error> {
    let dir = dir.unwrap_or(Path::new("."));
    let cannot = |e: std::io::Error| {
        Error::setup(format!("cannot work in `{}`: {e}", dir.display()), "name a folder that exists")
    };
    let real = std::fs::canonicalize(dir).map_err(cannot)?;
    if !real.is_dir() {
        return Err(Error::setup(format!("`{}` is not a folder", dir.display()), "name a folder"));
    }
    Ok(real)
}
