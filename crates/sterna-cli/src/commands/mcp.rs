//! `sterna mcp`: the MCP servers that are configured, what they offer, and logins for them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Subcommand};
use futures::future::join_all;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sterna::SystemEnv;
use sterna::config::nearest;
use sterna::mcp::{Configured, Hold, configured, project_file, setup, told, user_file};
use sterna_mcp::{
    Client, Expand, LoginError, Origin, Pool, ServerConfig, State, ToolDef, edit_add, edit_remove, has_login,
    login, logout, parse, server_name, tool_name,
};
use sterna_model::Scope;
use sterna_runtime::Env;

use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::print::{Style, harmless, one_line};
use crate::table::table;

#[derive(Debug, Args)]
pub struct McpArgs {
    #[command(subcommand)]
    command: McpCommand,
}

#[derive(Debug, Subcommand)]
enum McpCommand {
    /// Lists the servers, without starting any
    List {
        /// One object a line
        #[arg(long)]
        json: bool,
    },
    /// Shows one server and its tools as they were last seen
    Show {
        name: String,
        /// One object
        #[arg(long)]
        json: bool,
    },
    /// Starts servers and asks what they offer
    Test {
        /// All that are configured, if none is named
        names: Vec<String>,
        /// One object a line
        #[arg(long)]
        json: bool,
    },
    /// Logs in to a server with the browser
    Login { name: String },
    /// Forgets a login
    Logout { name: String },
    /// Adds a server to your own file
    Add(AddArgs),
    /// Removes a server from your own file
    Remove {
        name: String,
        /// From the file of this folder, `.mcp.json`
        #[arg(long)]
        project: bool,
    },
    /// Fills in a prompt of a server; without a prompt's name, lists them
    Prompt {
        name: String,
        prompt: Option<String>,
        /// What it takes
        #[arg(value_name = "NAME=VALUE")]
        arguments: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct AddArgs {
    name: String,
    /// A server that is reached over HTTP
    #[arg(long, conflicts_with = "command")]
    url: Option<String>,
    /// Sent with each request, for example "Authorization: Bearer ${TOKEN}"
    #[arg(long, value_name = "NAME: VALUE", requires = "url")]
    header: Vec<String>,
    /// A variable of the program; ${NAME} stands for one of yours
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Believe what it says of its tools: which only read, and which can be repeated
    #[arg(long)]
    trusted: bool,
    /// Into the file of this folder, `.mcp.json`
    #[arg(long, conflicts_with = "trusted")]
    project: bool,
    /// The program and its arguments, after `--`
    #[arg(last = true)]
    command: Vec<String>,
}

pub async fn mcp(cx: &Context, args: McpArgs) -> Result<ExitCode, Failure> {
    match args.command {
        McpCommand::List { json } => list(cx, json),
        McpCommand::Show { name, json } => show(cx, &name, json),
        McpCommand::Test { names, json } => test(cx, &names, json).await,
        McpCommand::Login { name } => log_in(cx, &name).await,
        McpCommand::Logout { name } => {
            let server = find(cx, &name)?;
            let gone = logout(&server, &cx.places.state)
                .map_err(|error| Failure::failed(format!("the login cannot be removed: {error}")))?;
            cx.print.note(if gone { "the login is forgotten" } else { "there was no login" });
            Ok(ExitCode::SUCCESS)
        }
        McpCommand::Add(args) => add(cx, &args),
        McpCommand::Remove { name, project } => remove(cx, &name, project),
        McpCommand::Prompt { name, prompt, arguments } => fill_in(cx, &name, prompt, &arguments).await,
    }
}

/// The servers that turns here are given, and a warning for each that cannot be used.
pub fn servers(cx: &Context) -> Vec<ServerConfig> {
    let all = all(cx);
    for problem in &all.problems {
        cx.print.warning(&one_line(&problem.to_string(), 500));
    }
    all.servers
}

/// What `sterna doctor` says of servers. It starts none.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub scope: &'static str,
    /// `untrusted`, `disabled`, `never started` or `ready`.
    pub state: &'static str,
    /// Tools as they were last seen.
    pub tools: Option<usize>,
    /// Tools that were redefined since they were accepted.
    pub changed: Vec<String>,
    pub logged_in: bool,
    pub protocol: Option<String>,
    pub runs: String,
    pub file: String,
}

pub fn rows(cx: &Context) -> (Vec<Row>, Vec<String>) {
    let all = all(cx);
    let row = |server: &ServerConfig, untrusted: bool| {
        let client = client(cx, server.clone());
        let manifest = client.manifest();
        let state = match (&manifest, untrusted, server.disabled) {
            (_, true, _) => "untrusted",
            (_, false, true) => "disabled",
            (None, false, false) if client.failed_lately() => "failed",
            (None, false, false) => "never started",
            (Some(_), false, false) => "ready",
        };
        Row {
            name: server.name.clone(),
            scope: scope(server.origin.scope),
            state,
            tools: manifest.as_ref().map(|manifest| manifest.tools.len()),
            changed: client.changed_tools(),
            logged_in: has_login(server, &cx.places.state),
            protocol: manifest.map(|manifest| manifest.protocol),
            runs: server.transport.shown(),
            file: server.origin.file.display().to_string(),
        }
    };
    let rows = all.servers.iter().map(|server| row(server, false));
    let rows = rows.chain(all.untrusted.iter().map(|server| row(server, true))).collect();
    (rows, all.problems.iter().map(ToString::to_string).collect())
}

fn list(cx: &Context, json: bool) -> Result<ExitCode, Failure> {
    let (rows, problems) = rows(cx);
    for problem in problems {
        cx.print.warning(&one_line(&problem, 500));
    }
    if json {
        rows.iter().try_for_each(|row| cx.print.json(row))?;
    } else if rows.is_empty() {
        cx.print.note("no MCP server is configured; `sterna mcp add` adds one");
    } else {
        let cells = |row: &Row| {
            let tools = row.tools.map_or_else(|| "-".to_owned(), |tools| tools.to_string());
            let runs = one_line(&harmless(&row.runs), 100);
            vec![row.name.clone(), row.scope.to_owned(), row.state.to_owned(), tools, runs]
        };
        let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
        cx.print.out(&table(&cx.print, &["NAME", "FROM", "STATE", "TOOLS", "RUNS"], &cells))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(cx: &Context, name: &str, json: bool) -> Result<ExitCode, Failure> {
    let server = find(cx, name)?;
    let client = client(cx, server.clone());
    let manifest = client.manifest();
    let changed = client.changed_tools();
    let tools: Vec<&ToolDef> = manifest.iter().flat_map(|manifest| &manifest.tools).collect();
    if json {
        let tool = |def: &&ToolDef| {
            json!({
                "name": tool_name(&server.name, &def.name), "offered": server.tools.takes(&def.name),
                "description": def.description, "schema": def.schema, "read_only": def.read_only,
                "idempotent": def.idempotent, "changed": changed.contains(&def.name),
            })
        };
        cx.print.json(&json!({
            "name": server.name, "scope": scope(server.origin.scope), "file": server.origin.file,
            "runs": server.transport.shown(), "trusted": server.trusted, "disabled": server.disabled,
            "logged_in": has_login(&server, &cx.places.state),
            "protocol": manifest.as_ref().map(|manifest| &manifest.protocol),
            "server": manifest.as_ref().and_then(|manifest| manifest.server.as_ref()),
            "tools": tools.iter().map(tool).collect::<Vec<_>>(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let line = |text: String| cx.print.line(&harmless(&text));
    line(format!("{}: {}", server.name, server.transport.shown()))?;
    line(format!("from {} ({})", server.origin.file.display(), scope(server.origin.scope)))?;
    let trust =
        if server.trusted { "what it says of its tools is believed" } else { "its hints are not used" };
    line(trust.to_owned())?;
    let Some(manifest) = &manifest else {
        cx.print.note(&format!("it was never started; `sterna mcp test {name}` does it"));
        return Ok(ExitCode::SUCCESS);
    };
    let own = manifest.server.clone().unwrap_or_else(|| "a server without a name".into());
    line(format!("{own}, protocol {}", manifest.protocol))?;
    for def in tools {
        let mut marks = Vec::new();
        if !server.tools.takes(&def.name) {
            marks.push("not offered");
        }
        if changed.contains(&def.name) {
            marks.push("changed since it was accepted");
        }
        let marks = if marks.is_empty() { String::new() } else { format!(" [{}]", marks.join(", ")) };
        let name = cx.print.paint(&tool_name(&server.name, &def.name), Style::Bold);
        cx.print.line(&format!("  {name}{marks}  {}", one_line(&harmless(&def.description), 100)))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn test(cx: &Context, names: &[String], json: bool) -> Result<ExitCode, Failure> {
    let servers = match names {
        [] => all(cx).servers.into_iter().filter(|server| !server.disabled).collect(),
        names => names.iter().map(|name| find(cx, name)).collect::<Result<Vec<_>, _>>()?,
    };
    if servers.is_empty() {
        cx.print.note("no MCP server is configured; `sterna mcp add` adds one");
    }
    let tests = servers.into_iter().map(|server| async move {
        let client = client(cx, server);
        let began = Instant::now();
        let tested = client.connect().await;
        (client, tested, began.elapsed())
    });
    let mut failed = false;
    for (client, tested, took) in join_all(tests).await {
        let name = &client.config().name;
        failed |= tested.is_err();
        let state = client.state();
        if json {
            let error = match &state {
                State::Failed(error) => Some(error.to_string()),
                State::Disconnected | State::Connecting | State::Connected(_) => None,
            };
            cx.print.json(&json!({
                "name": name, "state": state.word(), "error": error, "ms": took.as_millis() as u64,
                "protocol": tested.as_ref().ok().map(|manifest| &manifest.protocol),
                "tools": tested.as_ref().ok().map(|manifest| manifest.tools.len()),
            }))?;
            continue;
        }
        let (style, more) = match &tested {
            Ok(manifest) => {
                (Style::Green, format!(", {} tools, {} ms", manifest.tools.len(), took.as_millis()))
            }
            Err(_) => (Style::Red, String::new()),
        };
        let told = one_line(&harmless(&told(&state)), 1_000);
        cx.print.line(&format!("{name}: {}{more}", cx.print.paint(&told, style)))?;
        for tool in client.changed_tools() {
            cx.print.note(&format!("its tool `{}` has changed: the next call of it asks", harmless(&tool)));
        }
        client.disconnect().await;
    }
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

async fn log_in(cx: &Context, name: &str) -> Result<ExitCode, Failure> {
    let server = find(cx, name)?;
    let print = cx.print;
    let open = move |url: &str| {
        print.note("Open this page in a browser on this machine, and allow what it asks:");
        print.note(&harmless(url));
    };
    match login(&server, &cx.places.state, open).await {
        Ok(()) => {
            cx.print.note("you are logged in");
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ LoginError::NoAddress(_)) => Err(Failure::usage(error.to_string())),
        Err(error) => Err(Failure::failed(one_line(&harmless(&error.to_string()), 1_000))),
    }
}

fn add(cx: &Context, args: &AddArgs) -> Result<ExitCode, Failure> {
    if server_name(&args.name).as_deref() != Some(args.name.as_str()) {
        return Err(Failure::usage(format!("`{}` is no name for a server", args.name))
            .hint("a name has letters, digits, `-` and single `_`, 32 at most"));
    }
    let pair = |text: &String, by: char| {
        let (name, value) = text.split_once(by)?;
        Some((name.trim().to_owned(), Value::from(value.trim_start())))
    };
    let mut entry = Map::new();
    match (&args.url, args.command.split_first()) {
        (Some(url), _) => {
            let headers = args.header.iter().map(|header| pair(header, ':')).collect::<Option<Map<_, _>>>();
            let headers = headers.ok_or_else(|| Failure::usage("a header is written \"Name: value\""))?;
            entry.insert("type".into(), "http".into());
            entry.insert("url".into(), url.as_str().into());
            if !headers.is_empty() {
                entry.insert("headers".into(), headers.into());
            }
        }
        (None, Some((program, rest))) => {
            entry.insert("command".into(), program.as_str().into());
            entry.insert("args".into(), rest.into());
        }
        (None, None) => {
            return Err(Failure::usage("there is nothing to add")
                .hint("sterna mcp add NAME -- PROGRAM ARGS..., or --url https://host/mcp"));
        }
    }
    let env = args.env.iter().map(|variable| pair(variable, '=')).collect::<Option<Map<_, _>>>();
    let env = env.ok_or_else(|| Failure::usage("a variable is written NAME=VALUE"))?;
    if !env.is_empty() {
        entry.insert("env".into(), env.into());
    }
    if args.trusted {
        entry.insert("trusted".into(), true.into());
    }
    let file = file(cx, args.project);
    let text = text_of(&file)?;
    let replaced = matches!(edit_remove(&text, &args.name), Ok(Some(_)));
    let new = edit_add(&text, &args.name, entry.into()).map_err(|why| broken(&file, &why))?;
    // What would not be read is not written. Variables may be set later.
    let origin = Origin { scope: Scope::User, file: file.clone() };
    let read = parse(&new, &origin, &Expand::From(&|_| Some(String::from("http://x"))));
    let own = format!("server `{}`:", args.name);
    if let Some(problem) = read.problems.iter().find(|problem| problem.what.starts_with(&own)) {
        return Err(Failure::usage(problem.what.clone()));
    }
    write(&file, &new)?;
    let done = if replaced { "replaced in" } else { "added to" };
    cx.print.note(&format!("{done} {}; `sterna mcp test {}` tries it", file.display(), args.name));
    if args.project {
        cx.print.note("servers of a project are used once the folder is trusted");
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(cx: &Context, name: &str, project: bool) -> Result<ExitCode, Failure> {
    let file = file(cx, project);
    match edit_remove(&text_of(&file)?, name).map_err(|why| broken(&file, &why))? {
        Some(new) => {
            write(&file, &new)?;
            cx.print.note(&format!("removed from {}", file.display()));
            Ok(ExitCode::SUCCESS)
        }
        None => Err(Failure::usage(format!("there is no server `{name}` in {}", file.display()))
            .hint("`sterna mcp list` shows where each is configured")),
    }
}

async fn fill_in(
    cx: &Context,
    name: &str,
    prompt: Option<String>,
    arguments: &[String],
) -> Result<ExitCode, Failure> {
    let client = client(cx, find(cx, name)?);
    let failed =
        |error: sterna_mcp::McpError| Failure::failed(one_line(&harmless(&error.to_string()), 1_000));
    let Some(prompt) = prompt else {
        for prompt in client.prompts().await.map_err(failed)? {
            let takes: Vec<String> = prompt
                .arguments
                .iter()
                .map(|of| if of.required { of.name.clone() } else { format!("[{}]", of.name) })
                .collect();
            let line = format!("{} {}  {}", prompt.name, takes.join(" "), one_line(&prompt.description, 100));
            cx.print.line(harmless(&line).trim_end())?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let pair = |text: &String| text.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()));
    let given: Option<Vec<(String, String)>> = arguments.iter().map(pair).collect();
    let given = given.ok_or_else(|| Failure::usage("what a prompt takes is written NAME=VALUE"))?;
    let text = client.prompt(&prompt, &given).await.map_err(failed)?;
    cx.print.line(&harmless(&text))?;
    Ok(ExitCode::SUCCESS)
}

fn all(cx: &Context) -> Configured {
    let get = |name: &str| std::env::var(name).ok();
    configured(&cx.places, &cx.trust, &cx.settings, &get)
}

fn find(cx: &Context, name: &str) -> Result<ServerConfig, Failure> {
    let all = all(cx);
    if let Some(server) = all.servers.iter().find(|server| server.name == name) {
        return Ok(server.clone());
    }
    if let Some(problem) =
        all.problems.iter().find(|problem| problem.what.starts_with(&format!("server `{name}`:")))
    {
        return Err(Failure::usage(problem.to_string()));
    }
    if all.untrusted.iter().any(|server| server.name == name) {
        return Err(Failure::usage(format!(
            "the server `{name}` is a project's, and the project is not trusted"
        ))
        .hint("`sterna trust --show` lists what trust is about"));
    }
    let names: Vec<&str> = all.servers.iter().map(|server| server.name.as_str()).collect();
    let failure = Failure::usage(format!("there is no MCP server `{name}`"));
    Err(match nearest(name, &names) {
        Some(other) => failure.hint(format!("did you mean `{other}`?")),
        None if names.is_empty() => failure.hint("`sterna mcp add` adds one"),
        None => failure.hint(format!("there are: {}; `sterna mcp add` adds one", names.join(", "))),
    })
}

fn client(cx: &Context, server: ServerConfig) -> Client {
    let env = SystemEnv::new(&cx.settings.env_pass, Vec::new()).child_env();
    let helper = Some(super::shim::helper());
    let hold = Hold::of(&cx.places, &cx.settings, helper.clone());
    Pool::shared().client(server, setup(&cx.places, env, helper, &cx.cwd, &[], hold))
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Managed => "managed",
        Scope::Session => "session",
        Scope::ProjectLocal | Scope::Project => "project",
        Scope::User => "user",
        Scope::Builtin => "builtin",
    }
}

fn file(cx: &Context, project: bool) -> PathBuf {
    if project { project_file(&cx.cwd) } else { user_file(&cx.places) }
}

fn text_of(file: &PathBuf) -> Result<String, Failure> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(broken(file, &error)),
    }
}

/// It may hold keys: nobody else reads it.
fn write(file: &PathBuf, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let write = || -> std::io::Result<()> {
        let dir = file.parent().unwrap_or(std::path::Path::new("/"));
        std::fs::create_dir_all(dir)?;
        let mut new = std::ffi::OsString::from(file);
        new.push(".new");
        let mut options = std::fs::OpenOptions::new();
        let mut held = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        held.write_all(text.as_bytes())?;
        held.sync_all()?;
        std::fs::rename(&new, file)
    };
    write().map_err(|error| Failure::failed(format!("{} cannot be written: {error}", file.display())))
}

fn broken(file: &std::path::Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("{} cannot be read: {why}", file.display())).hint("mend the file, or move it away")
}
