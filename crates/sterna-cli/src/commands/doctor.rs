//! `sterna doctor`: what is there, what works, and what to do about the rest. It changes nothing.

mod routes;
mod sandbox;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use sterna::LocalModel;
use sterna::config::KeyWish;
use sterna_llm_http::local::probe;
use sterna_log::{Filter, Log, Page, Status};
use sterna_model::{RECORD_VERSION, Route};
use sterna_runtime::Env;
use sterna_sqlite::{ReadOnly, SCHEMA_VERSION, SqliteStore};

use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::print::{Style, one_line};
use crate::spools;
use crate::trust::{self, Wish};
use sandbox::Sandbox;

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// One object
    #[arg(long)]
    json: bool,
    /// Remove what a crash has left and nobody asks for any more, as `sterna ps --clean` does
    #[arg(long, conflicts_with = "json")]
    clean: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Nothing that is needed is broken.
    ok: bool,
    problems: Vec<Problem>,
    sterna: &'static str,
    record_version: u32,
    store_version: u32,
    model: Option<Route>,
    places: Vec<Place>,
    config: Config,
    store: Store,
    sandbox: Sandbox,
    providers: Vec<Provider>,
    /// Routes that failed within the last ten minutes.
    routes: Vec<routes::RouteRow>,
    local_servers: Vec<Server>,
    local_model: Local,
    interrupted: Vec<Interrupted>,
    commands: Commands,
    #[cfg(feature = "mcp")]
    mcp: Mcp,
}

/// MCP servers, none of which is started for this.
#[cfg(feature = "mcp")]
#[derive(Debug, Serialize)]
struct Mcp {
    servers: Vec<super::mcp::Row>,
    problems: Vec<String>,
}

/// Commands under their shims.
#[derive(Debug, Default, Serialize)]
struct Commands {
    running: usize,
    /// What a crash has left: nobody will ask for it.
    leftovers: Vec<spools::Row>,
    /// Ended jobs that can still be read.
    ended_jobs: usize,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Problem {
    what: String,
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct Place {
    name: &'static str,
    path: String,
    exists: bool,
    /// It, or where it would be made, can be written.
    writable: bool,
    free_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Config {
    file: String,
    exists: bool,
    managed: bool,
    error: Option<String>,
    notices: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Store {
    exists: bool,
    read_only: bool,
    /// Written by a newer version of Sterna.
    newer: bool,
    sessions: u64,
    /// Newest sessions whose last record was read.
    checked: u64,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Provider {
    name: String,
    wire: &'static str,
    base_url: String,
    /// Where the key is, never the key.
    key: String,
    key_set: bool,
    configured: bool,
}

#[derive(Debug, Serialize)]
struct Server {
    name: String,
    base_url: String,
    answers: bool,
}

#[derive(Debug, Serialize)]
struct Local {
    dir: String,
    installed: bool,
    note: Option<String>,
}

/// A session whose driver died.
#[derive(Debug, Serialize)]
struct Interrupted {
    session: String,
    owner: String,
}

/// Give it a lenient context: a broken configuration is one of its findings.
pub async fn doctor(mut cx: Context, args: DoctorArgs) -> Result<ExitCode, Failure> {
    if args.clean {
        return super::ps::clean(&cx, false).await;
    }
    let (store, interrupted, routes) = look_at_store(&cx).await;
    // Trust is in the store: of one that cannot be read nothing is known.
    if cx.broken.is_none() && store.error.is_none() {
        cx.broken = trust::join(&mut cx, Wish { once: false, ask: false }).await.err();
    }
    let cx = &cx;
    let (local_servers, sandbox) = futures::join!(look_for_servers(cx), Sandbox::look(cx));
    let mut report = Report {
        ok: true,
        problems: Vec::new(),
        sterna: env!("CARGO_PKG_VERSION"),
        record_version: RECORD_VERSION,
        store_version: SCHEMA_VERSION,
        model: cx.settings.model.clone(),
        places: cx.places.folders().into_iter().map(|(name, path)| Place::look(name, path)).collect(),
        config: Config {
            file: cx.places.config_file().display().to_string(),
            exists: cx.places.config_file().exists(),
            managed: cx.places.managed.exists(),
            error: cx.broken.as_ref().map(|failure| failure.message.clone()),
            notices: cx.settings.notices.clone(),
        },
        store,
        sandbox,
        providers: providers(cx),
        routes,
        local_servers,
        local_model: local_model(cx),
        interrupted,
        commands: Commands::look(cx).await,
        #[cfg(feature = "mcp")]
        mcp: Mcp::look(cx),
    };
    report.problems = problems(cx, &report);
    report.ok = report.problems.is_empty();
    if args.json {
        cx.print.json(&report)?;
    } else {
        cx.print.out(&report.text(cx))?;
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

#[cfg(feature = "mcp")]
impl Mcp {
    fn look(cx: &Context) -> Self {
        let (servers, problems) = super::mcp::rows(cx);
        Self { servers, problems }
    }

    /// Nothing, where there are none.
    fn text(&self, good: &dyn Fn(bool, &str) -> String, head: &dyn Fn(&str) -> String) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            text += &good(false, &one_line(problem, 500));
        }
        for row in &self.servers {
            let tools = row.tools.map(|tools| format!(", {tools} tools")).unwrap_or_default();
            let changed =
                if row.changed.is_empty() { "" } else { "; some have changed since they were accepted" };
            let line = format!("{:<10}  {}{tools}{changed}", row.name, row.state);
            text += &good(row.state == "ready" && row.changed.is_empty(), &line);
        }
        if text.is_empty() { text } else { head("MCP servers") + &text }
    }
}

impl Commands {
    async fn look(cx: &Context) -> Self {
        let mut found = Self::default();
        match spools::entries(cx).await {
            Ok(entries) => {
                for entry in entries {
                    if entry.is_leftover() {
                        found.leftovers.push(entry.row());
                    } else if entry.lives() {
                        found.running += 1;
                    } else if entry.is_job() {
                        found.ended_jobs += 1;
                    }
                }
            }
            Err(failure) => found.error = Some(failure.message),
        }
        found
    }
}

impl Place {
    fn look(name: &'static str, path: &Path) -> Self {
        let exists = path.exists();
        // What is not there yet is made below the first folder that is.
        let nearest = path.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
        let writable = nearest.is_dir() && rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK).is_ok();
        let free = rustix::fs::statvfs(nearest).ok();
        let free_bytes = free.map(|free| free.f_bavail.saturating_mul(free.f_frsize));
        Self { name, path: path.display().to_string(), exists, writable, free_bytes }
    }
}

async fn look_at_store(cx: &Context) -> (Store, Vec<Interrupted>, Vec<routes::RouteRow>) {
    let mut found =
        Store { exists: false, read_only: false, newer: false, sessions: 0, checked: 0, error: None };
    let mut interrupted = Vec::new();
    let mut routes = Vec::new();
    let store = match cx.store_if_there() {
        Ok(None) => return (found, interrupted, routes),
        Ok(Some(store)) => store,
        Err(failure) => {
            found.exists = true;
            found.error = Some(failure.message);
            return (found, interrupted, routes);
        }
    };
    found.exists = true;
    found.read_only = store.read_only().is_some();
    found.newer = store.read_only().is_some_and(|why| matches!(why, ReadOnly::Newer(_)));
    if let Err(error) = read_store(&store, &mut found, &mut interrupted).await {
        found.error = Some(error.to_string());
    }
    match routes::look(&store, crate::table::now()).await {
        Ok(failed) => routes = failed,
        Err(error) => found.error = found.error.or(Some(error.to_string())),
    }
    (found, interrupted, routes)
}

async fn read_store(
    store: &SqliteStore,
    found: &mut Store,
    interrupted: &mut Vec<Interrupted>,
) -> Result<(), sterna_log::LogError> {
    let env = sterna::SystemEnv::new(&[], Vec::new());
    let mut page = Page { after: None, limit: 500 };
    loop {
        let rows = store.list(&Filter::default(), page.clone()).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        page.after = Some(last.id.clone());
        for row in &rows {
            found.sessions += 1;
            if found.checked < CHECKED {
                // Reads the record, its chain, and its blob if it has one.
                store.read(&row.id, row.head, 1).await?;
                found.checked += 1;
            }
            if row.status != Status::Running {
                continue;
            }
            let lease = store.head(&row.id).await?.lease.filter(|lease| !lease.released);
            if let Some(lease) = lease.filter(|lease| env.is_dead(&lease.owner)) {
                interrupted.push(Interrupted { session: row.id.to_string(), owner: lease.owner.0 });
            }
        }
    }
}

fn providers(cx: &Context) -> Vec<Provider> {
    let of = |(name, provider): (&String, &sterna::config::ProviderSettings)| {
        let (key, key_set) = provider.key.describe();
        Provider {
            name: name.clone(),
            wire: provider.endpoint.wire,
            base_url: sterna::config::without_password(&provider.endpoint.base_url),
            key,
            key_set,
            configured: provider.place.is_some(),
        }
    };
    cx.settings.providers.iter().map(of).collect()
}

/// Asks all servers that would be on this machine at once.
async fn look_for_servers(cx: &Context) -> Vec<Server> {
    let near = cx.settings.providers.iter().filter(|(_, provider)| {
        matches!(provider.key, KeyWish::None) && is_loopback(&provider.endpoint.base_url)
    });
    let look = near.map(|(name, provider)| async move {
        let url = &provider.endpoint.base_url;
        let answers = tokio::time::timeout(PATIENCE, probe(url)).await.unwrap_or(false);
        Server { name: name.clone(), base_url: sterna::config::without_password(url), answers }
    });
    futures::future::join_all(look).await
}

fn local_model(cx: &Context) -> Local {
    let get = |name: &str| std::env::var(name).ok();
    let dir = cx.settings.local.dir.clone().unwrap_or_else(|| cx.places.local_model(&get));
    let ready = LocalModel::new(dir.clone(), None, None, std::sync::Arc::new(|_: &str| {})).ready();
    Local { dir: dir.display().to_string(), installed: ready.is_ok(), note: ready.err() }
}

/// What is needed and does not work.
fn problems(cx: &Context, report: &Report) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(failure) = &cx.broken {
        problems.push(Problem { what: failure.message.clone(), hint: failure.hint.clone() });
    }
    for place in report.places.iter().filter(|place| !place.writable && place.name == "data") {
        let what = format!("{} cannot be written", place.path);
        problems.push(Problem {
            what,
            hint: Some("make it writable, or set STERNA_HOME to a folder that is".into()),
        });
    }
    for place in report.places.iter().filter(|place| place.name == "data") {
        if let Some(free) = place.free_bytes.filter(|free| *free < LITTLE) {
            let what = format!("only {} are left where {} is", size(free), place.path);
            problems.push(Problem { what, hint: Some("free some space".into()) });
        }
    }
    if let Some(error) = &report.store.error {
        problems.push(Problem { what: error.clone(), hint: Some("sterna sessions fsck".into()) });
    }
    if report.store.newer {
        let what = "the store was written by a newer version of Sterna, and can only be read".to_owned();
        problems.push(Problem { what, hint: Some("upgrade this one".into()) });
    }
    let sandbox = report.sandbox.problem();
    problems.extend(sandbox.map(|(what, hint)| Problem { what, hint: Some(hint) }));
    problems.extend(report.model.as_ref().and_then(|route| model_problem(cx, report, route)));
    problems
}

/// Why the model that is configured could not be asked.
fn model_problem(cx: &Context, report: &Report, route: &Route) -> Option<Problem> {
    if route.provider == "scripted" {
        let file = cx.cwd.join(&route.model);
        let missing = || Problem { what: format!("{} is not there", file.display()), hint: None };
        return (!file.exists()).then(missing);
    }
    match report.providers.iter().find(|provider| provider.name == route.provider) {
        Some(provider) if provider.base_url.is_empty() => {
            let what = format!("the model is {route}, and where {} is served is not known", route.provider);
            let variable = sterna_llm_http::builtin(&route.provider).map(|builtin| builtin.base_url_env);
            let hint =
                variable.map(|name| format!("set {name}, or base_url in [providers.{}]", route.provider));
            Some(Problem { what, hint })
        }
        Some(provider) if provider.key_set => None,
        Some(provider) => {
            let what = format!("the model is {route}, and its key is not set");
            Some(Problem { what, hint: Some(format!("put a key into {}", provider.key)) })
        }
        None if route.provider == "local" => {
            let note = report.local_model.note.clone()?;
            Some(Problem { what: note, hint: None })
        }
        None => {
            let why = sterna_llm_http::not_built(&route.provider).map(str::to_owned);
            let hint = format!("add [providers.{}] to config.toml, or choose another model", route.provider);
            Some(Problem {
                what: format!("there is no provider `{}`", route.provider),
                hint: why.or(Some(hint)),
            })
        }
    }
}

impl Report {
    fn text(&self, cx: &Context) -> String {
        let print = &cx.print;
        let good = |good: bool, text: &str| {
            let mark = if good { print.paint("ok", Style::Green) } else { print.paint("--", Style::Yellow) };
            format!("  {mark}  {text}\n")
        };
        let head = |text: &str| format!("{}\n", print.paint(text, Style::Bold));
        let mut text = head(&format!("sterna {}", self.sterna));
        text += &format!(
            "  records of version {}, store of version {}\n",
            self.record_version, self.store_version
        );
        match &self.model {
            Some(route) => text += &format!("  model: {route}\n"),
            None => text += "  model: none is configured; name one with -m, STERNA_MODEL or in config.toml\n",
        }
        text += &head("places");
        for place in &self.places {
            let state = match (place.exists, place.writable) {
                (true, true) => "",
                (false, true) => ", not made yet",
                (_, false) => ", cannot be written",
            };
            let free = place.free_bytes.map_or_else(String::new, |free| format!(", {} free", size(free)));
            text += &good(place.writable, &format!("{:<6}  {}{state}{free}", place.name, place.path));
        }
        text += &head("configuration");
        match (&self.config.error, self.config.exists) {
            (Some(error), _) => text += &good(false, &one_line(error, 500)),
            (None, true) => text += &good(true, &self.config.file),
            (None, false) => {
                text += &good(true, &format!("{} is not there; the defaults hold", self.config.file))
            }
        }
        if self.config.managed {
            text += &good(true, &format!("{} is in force", cx.places.managed.display()));
        }
        for notice in &self.config.notices {
            text += &good(false, &one_line(notice, 300));
        }
        text += &head("store");
        let store = &self.store;
        let state = match (&store.error, store.exists) {
            (Some(error), _) => one_line(error, 500),
            (None, false) => "none yet; the first session makes it".to_owned(),
            (None, true) => format!("{} sessions, the newest {} read back", store.sessions, store.checked),
        };
        text += &good(store.error.is_none() && !store.read_only, &state);
        for session in &self.interrupted {
            let line = format!(
                "{0} was interrupted: its process is dead; `sterna resume {0}` carries on",
                session.session
            );
            text += &good(false, &line);
        }
        text += &self.commands.text(&good, &head);
        #[cfg(feature = "mcp")]
        {
            text += &self.mcp.text(&good, &head);
        }
        text += &head("sandbox");
        text += &self.sandbox.text(&good);
        text += &head("providers");
        // Servers of this machine that nobody configured have their own part below.
        let told = |provider: &&Provider| provider.configured || provider.key != NO_KEY;
        let (set, unset): (Vec<&Provider>, Vec<&Provider>) =
            self.providers.iter().filter(told).partition(|provider| provider.key_set);
        for provider in &set {
            let Provider { name, wire, base_url, key, .. } = provider;
            let url = if base_url.is_empty() { "no base URL" } else { base_url };
            text += &good(!base_url.is_empty(), &format!("{name:<10}  {wire}  {url}  key: {key}"));
        }
        let unset: Vec<String> = unset.iter().map(|p| format!("{} ({})", p.name, p.key)).collect();
        if !unset.is_empty() {
            text += &good(false, &format!("no key for {}", unset.join(", ")));
        }
        if !self.routes.is_empty() {
            text += &head("routes that failed lately");
            for row in &self.routes {
                let (well, line) = routes::told(row);
                text += &good(well, &one_line(&line, 300));
            }
        }
        text += &head("models on this machine");
        for server in &self.local_servers {
            let state = if server.answers { "answers" } else { "does not answer" };
            text += &good(server.answers, &format!("{:<10}  {}  {state}", server.name, server.base_url));
        }
        let local = match &self.local_model.note {
            None => format!("{:<10}  installed in {}", "local", self.local_model.dir),
            Some(note) => format!("{:<10}  {note}", "local"),
        };
        text += &good(self.local_model.installed, &local);
        if self.problems.is_empty() {
            text += &format!("{}\n", print.paint("nothing that is needed is broken", Style::Green));
        }
        for problem in &self.problems {
            text += &format!("{} {}\n", print.paint("problem:", Style::Red), one_line(&problem.what, 500));
            if let Some(hint) = &problem.hint {
                text += &format!("{} {hint}\n", print.paint("hint:", Style::Cyan));
            }
        }
        text
    }
}

impl Commands {
    /// Nothing, where there are none.
    fn text(&self, good: &dyn Fn(bool, &str) -> String, head: &dyn Fn(&str) -> String) -> String {
        let mut text = String::new();
        if let Some(error) = &self.error {
            text += &good(false, &one_line(error, 500));
        }
        if self.running > 0 {
            text += &good(true, &format!("running: {}; `sterna ps` lists them", self.running));
        }
        if self.ended_jobs > 0 {
            let hint = "`sterna ps --all` lists them, `sterna ps --clean` removes them";
            text += &good(true, &format!("ended jobs that can still be read: {}; {hint}", self.ended_jobs));
        }
        for row in self.leftovers.iter().take(SHOWN_LEFTOVERS) {
            text += &good(false, &one_line(&row.brief(), 200));
        }
        if !self.leftovers.is_empty() {
            let left = self.leftovers.len();
            text += &good(false, &format!("left behind: {left}; `sterna ps --clean` removes what has ended"));
        }
        if text.is_empty() { text } else { head("commands") + &text }
    }
}

fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]")
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

/// A server that loads its model may need a moment; a person waits for this.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Less than this is too little for a day of sessions.
const LITTLE: u64 = 64 << 20;
/// What `KeyWish::describe` says of providers that want none.
const NO_KEY: &str = "none needed";
/// Of many leftovers, the first tell enough.
const SHOWN_LEFTOVERS: usize = 10;
/// Sessions whose last record is read.
const CHECKED: u64 = 20;
