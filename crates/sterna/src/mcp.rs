//! MCP servers: which are configured, and their tools for a `Builder`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_mcp::{Client, Confines, Expand, McpError, Pool, Resources, parse, tools_of};
pub use sterna_mcp::{
    ConfigProblem, Grant, OAuth, Origin, ServerConfig, Setup, State, Times, ToolChoice, Transport,
};
use sterna_model::{Bounds, RuleText, SandboxWish, Scope, SessionId};
use sterna_policy::{Rule, bounds_of_rules};
use sterna_runtime::ServerState;
use sterna_shell::sandbox::Confinement;
use sterna_shell::shim::Helper;
use sterna_tools::Sandboxes;

use crate::Error;
use crate::config::Settings;
use crate::deferral::Deferrable;
use crate::hooks::HookServers;
use crate::places::Places;
use crate::sandbox::{Beside, grounds, holds};
use crate::trust::Trust;

/// What the files say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configured {
    /// Those of managed and user files, and of the project's if it is trusted. Of two with one name the first counts.
    pub servers: Vec<ServerConfig>,
    /// Servers of a project that nobody has trusted: to be shown, never to be started.
    pub untrusted: Vec<ServerConfig>,
    pub problems: Vec<ConfigProblem>,
}

/// The user's own file.
pub fn user_file(places: &Places) -> PathBuf {
    places.config.join("mcp.json")
}

/// The project's file.
pub fn project_file(root: &Path) -> PathBuf {
    root.join(".mcp.json")
}

/// Reads the managed file and the user's, and takes what was read of the project's: servers of one that is not trusted
/// are only shown, and those of a trusted one are given the variables that commands see and `mcp_env` names. Starts
/// nothing.
pub fn configured(
    places: &Places,
    trust: &Trust,
    settings: &Settings,
    get: &dyn Fn(&str) -> Option<String>,
) -> Configured {
    let mut all = Configured::default();
    let own = [(Scope::Managed, places.managed.with_file_name("mcp.json")), (Scope::User, user_file(places))];
    for (scope, file) in own {
        match read(&file) {
            Ok(Some(text)) => all.take(&text, Origin { scope, file }, &Expand::From(get)),
            Ok(None) => {}
            Err(what) => all.problems.push(ConfigProblem { file, what }),
        }
    }
    let gives = |name: &str| {
        let passed = settings.env_pass.iter().chain(&settings.mcp_env).map(String::as_str);
        let one = std::iter::once((name.to_owned(), String::new()));
        !sterna_shell::allow_list(one, passed).is_empty()
    };
    let (project, expand) = match trust {
        Trust::Nothing => return all,
        Trust::Trusted(project) => (project, Expand::Listed { get, gives: &gives }),
        Trust::Untrusted { project, .. } => (project, Expand::No),
    };
    for (file, bytes) in PROJECT_FILES.iter().flat_map(|name| project.named(name)) {
        match std::str::from_utf8(bytes) {
            Ok(text) => all.take(text, Origin { scope: Scope::Project, file }, &expand),
            Err(error) => all.problems.push(ConfigProblem { file, what: error.to_string() }),
        }
    }
    all
}

impl Configured {
    /// `expand`: variables, for a file that may start programs.
    fn take(&mut self, text: &str, origin: Origin, expand: &Expand<'_>) {
        let parsed = parse(text, &origin, expand);
        self.problems.extend(parsed.problems);
        for server in parsed.servers {
            if matches!(expand, Expand::No) {
                self.untrusted.push(server);
            } else if !self.servers.iter().any(|held| held.name == server.name) {
                self.servers.push(server);
            }
        }
    }
}

/// A file's text; `None` where there is none.
fn read(file: &Path) -> Result<Option<String>, String> {
    match std::fs::metadata(file) {
        Ok(meta) if meta.len() > FILE_BYTES => return Err("it is larger than 1 MiB".into()),
        Ok(_) => {}
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error.to_string()),
    }
    std::fs::read_to_string(file).map(Some).map_err(|error| error.to_string())
}

/// How programs of servers are held.
pub struct Hold {
    /// `None`: nothing can be confined.
    sandboxes: Option<Arc<Sandboxes>>,
    /// How the turns' commands are.
    wish: SandboxWish,
    rules: Vec<Rule>,
}

impl Hold {
    /// As the configuration says.
    pub fn of(places: &Places, settings: &Settings, helper: Option<Helper>) -> Self {
        let sandboxes = helper.map(|helper| Arc::new(Sandboxes::new(helper, grounds(places, true))));
        Self { sandboxes, wish: settings.sandbox.unwrap_or_default(), rules: settings.parsed.clone() }
    }

    /// With rules of a host. Errors: one that says nothing.
    pub(crate) fn new(
        sandboxes: Option<Arc<Sandboxes>>,
        wish: SandboxWish,
        settings: &Settings,
        own: &[RuleText],
    ) -> Result<Self, Error> {
        let parse = |text: &RuleText| {
            let wrong = |error| Error::setup(format!("{}: {error}", text.source), "change the rule");
            Rule::parse(text).map_err(wrong)
        };
        let rules = settings.parsed.iter().cloned().map(Ok).chain(own.iter().map(parse));
        Ok(Self { sandboxes, wish, rules: rules.collect::<Result<_, _>>()? })
    }
}

/// What servers are given that run for this workspace.
pub fn setup(
    places: &Places,
    env: BTreeMap<String, String>,
    helper: Option<Helper>,
    root: &Path,
    add_dirs: &[PathBuf],
    hold: Hold,
) -> Setup {
    let roots: Vec<PathBuf> = std::iter::once(root.to_owned()).chain(add_dirs.iter().cloned()).collect();
    let Hold { sandboxes, wish, rules } = hold;
    let home = env.get("HOME").map(Path::new);
    let bounds = Bounds {
        // What a server is for is mostly elsewhere, and it speaks more than HTTP.
        hosts: vec!["*".into()],
        ..bounds_of_rules(&rules, &roots, home, false)
    };
    let confine = Arc::new(Held { sandboxes, wish, bounds, roots: roots.clone() });
    Setup { env, helper, root: root.to_owned(), roots, state: places.state.clone(), confine: Some(confine) }
}

/// What holds a server's program: as a hook, but for the network.
struct Held {
    sandboxes: Option<Arc<Sandboxes>>,
    wish: SandboxWish,
    bounds: Bounds,
    roots: Vec<PathBuf>,
}

impl Confines for Held {
    fn confinement<'a>(
        &'a self,
        server: &'a ServerConfig,
        env: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Option<Confinement>, String>> {
        async move {
            // No session has such a name.
            let session =
                SessionId::new(&format!("sterna:mcp:{}", server.name)).map_err(|error| error.to_string())?;
            let of = Beside {
                session: &session,
                roots: &self.roots,
                env,
                wish: self.wish,
                bounds: &self.bounds,
                confined: server.sandbox,
            };
            let confined = holds(self.sandboxes.as_deref(), of).await?;
            Ok(confined.map(|confined| confined.confinement))
        }
        .boxed()
    }

    fn told(&self) -> String {
        format!("{:?} {:?} {}", self.wish, self.bounds, self.sandboxes.is_some())
    }
}

/// The tools of these servers. What a server offers is read from what it said last; only one that was never asked is
/// started, all of those at once, and waited for as long as a start may take, or as patience lasts: its tools come later then.
/// One that failed lately is not waited for.
pub(crate) async fn tools(
    servers: Vec<ServerConfig>,
    setup: &Setup,
    patience: Option<Duration>,
    notice: &Notice,
) -> Offered {
    let clients: Vec<Client> = servers
        .into_iter()
        .filter(|server| !server.disabled)
        .map(|server| Pool::shared().client(server, setup.clone()))
        .collect();
    let unknown = clients.iter().filter(|client| client.manifest().is_none());
    let first = unknown.map(|client| first_start(client.clone(), patience, notice));
    let starting = futures::future::join_all(first).await.into_iter().flatten().collect();
    let mut tools = Vec::new();
    for client in &clients {
        for tool in tools_of(client) {
            let deferred = tool.deferred();
            tools.push(Deferrable { tool: Arc::new(tool), deferred });
        }
    }
    if let Some(resources) = Resources::of(&clients) {
        tools.push(Deferrable { tool: Arc::new(resources), deferred: None });
    }
    Offered { clients, tools, starting }
}

/// What is known of servers when the first turn begins.
pub(crate) struct Offered {
    pub(crate) clients: Vec<Client>,
    pub(crate) tools: Vec<Deferrable>,
    /// Those that patience did not last for.
    pub(crate) starting: Vec<Client>,
}

/// Where a person is told something.
pub(crate) type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// The servers of a host, for hooks that call their tools.
pub(crate) struct Servers(pub(crate) Vec<Client>);

impl HookServers for Servers {
    fn call<'a>(
        &'a self,
        server: &'a str,
        tool: &'a str,
        input: serde_json::Map<String, serde_json::Value>,
        confined: bool,
    ) -> BoxFuture<'a, Result<String, String>> {
        async move {
            let Some(client) = self.0.iter().find(|client| client.config().name == server) else {
                return Err(format!("no MCP server `{server}` is configured"));
            };
            if confined && client.config().origin.scope != Scope::Project {
                return Err(format!(
                    "a project's hook calls servers of the project, and `{server}` is your own"
                ));
            }
            client.call_tool(tool, input).await
        }
        .boxed()
    }

    fn states(&self) -> Vec<ServerState> {
        let state = |client: &Client| {
            let (state, detail) = match client.state() {
                State::Disconnected => ("disconnected", String::new()),
                // It is told what comes of it.
                State::Connecting => return None,
                State::Connected(version) => ("connected", version),
                State::Failed(error) => ("failed", error.to_string()),
            };
            Some(ServerState { server: client.config().name.clone(), state, detail })
        };
        self.0.iter().filter_map(state).collect()
    }
}

/// Gives the client of a server that is still starting.
async fn first_start(client: Client, patience: Option<Duration>, notice: &Notice) -> Option<Client> {
    let name = client.config().name.clone();
    if client.failed_lately() {
        notice(&format!(
            "the MCP server `{name}` could not be started a moment ago, so its tools are missing; `sterna mcp test {name}` \
             tries again"
        ));
        return None;
    }
    notice(&format!("starting the MCP server `{name}` for the first time"));
    let starts = client.clone();
    let start = tokio::spawn(async move { starts.connect().await });
    match tokio::time::timeout(patience.unwrap_or(Duration::MAX), start).await {
        Ok(Ok(Ok(_))) => None,
        Ok(Ok(Err(error))) => {
            notice(&missing(&error));
            None
        }
        Ok(Err(stopped)) => {
            notice(&format!("the MCP server `{name}` was not started: {stopped}"));
            None
        }
        Err(_) => {
            notice(&format!(
                "the MCP server `{name}` is still starting; the first turn after that has its tools"
            ));
            Some(client)
        }
    }
}

/// For a person whose server could not be started.
pub(crate) fn missing(error: &McpError) -> String {
    format!("{error}; its tools are missing")
}

/// For people: `connected` with the protocol's version, or what went wrong.
pub fn told(state: &State) -> String {
    match state {
        State::Disconnected | State::Connecting => state.word().to_owned(),
        State::Connected(version) => format!("connected ({version})"),
        State::Failed(error) => format!("failed: {error}"),
    }
}

/// Below a project's root, the one that others read too first.
const PROJECT_FILES: [&str; 2] = [".mcp.json", ".sterna/mcp.json"];
const FILE_BYTES: u64 = 1 << 20;
