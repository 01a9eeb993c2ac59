//! What the official conformance suite starts as the client under test: `conformance client --command
//! "conformance_client" --scenario NAME` appends the server's address, and gives what a person would have configured in
//! `MCP_CONFORMANCE_CONTEXT`. It connects, logs in where that is wanted (by following the login page's redirect, as a browser of
//! a person who agrees would), and calls the tools that the context names, or every tool once.

#![allow(clippy::print_stderr)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sterna_log::MemoryLog;
use sterna_mcp::{
    Client, Grant, Manifest, McpError, McpTool, OAuth, Origin, Pool, ServerConfig, Setup, Times, ToolChoice,
    Transport, login, tool_name, tools_of,
};
use sterna_model::Scope;
use sterna_tool::{Cancel, PlanContext, SessionView, Tool, ToolContext, ToolReturn};

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match run().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let url = std::env::args().next_back().ok_or("no address was given")?;
    let context = std::env::var("MCP_CONFORMANCE_CONTEXT").unwrap_or_default();
    let context: Value = serde_json::from_str(&context).unwrap_or(Value::Null);
    let scenario = std::env::var("MCP_CONFORMANCE_SCENARIO").unwrap_or_default();
    let state = tempfile::tempdir().map_err(|error| error.to_string())?;
    let config = ServerConfig {
        name: "conformance".into(),
        transport: Transport::Http { url, headers: Default::default() },
        origin: Origin { scope: Scope::User, file: "/mcp.json".into() },
        trusted: false,
        sandbox: true,
        disabled: false,
        tools: ToolChoice::default(),
        times: Times { start: Duration::from_secs(20), ..Times::default() },
        oauth: oauth(&context, &scenario),
    };
    let cwd = state.path().to_owned();
    let setup = Setup {
        env: Default::default(),
        helper: None,
        root: cwd.clone(),
        roots: vec![cwd.clone()],
        state: cwd.clone(),
        confine: None,
    };
    let client = Pool::shared().client(config.clone(), setup);
    let manifest =
        with_logins(&config, &cwd, || client.connect()).await.map_err(|error| error.to_string())?;
    eprintln!("connected with {}", manifest.protocol);
    let tools = tools_of(&client);
    for (name, args) in calls(&context, &tools, &manifest) {
        let Some(tool) = tools.iter().find(|tool| tool.spec().name == name) else { continue };
        let mut said = call(tool, &cwd, args.clone()).await;
        if matches!(&said, Err(error) if error.contains("sterna mcp login")) {
            login(&config, &cwd, agree).await.map_err(|error| error.to_string())?;
            said = call(tool, &cwd, args).await;
        }
        eprintln!("{name}: {said:?}");
    }
    client.disconnect().await;
    finish(client).await;
    Ok(())
}

/// What a person would have configured.
fn oauth(context: &Value, scenario: &str) -> OAuth {
    let text = |name: &str| context[name].as_str().map(str::to_owned);
    let alone = scenario.starts_with("auth/client-credentials");
    OAuth {
        client: text("client_id").or_else(|| Some(PAGE.into())),
        secret: text("client_secret"),
        scopes: Vec::new(),
        grant: if alone { Grant::ClientCredentials } else { Grant::AuthorizationCode },
    }
}

/// Logs in as often as a patient person would: a server may want another login when it sees the first.
async fn with_logins<T, F>(
    config: &ServerConfig,
    state: &Path,
    mut attempt: impl FnMut() -> F,
) -> Result<T, McpError>
where
    F: Future<Output = Result<T, McpError>>,
{
    for _ in 0..2 {
        match attempt().await {
            Err(McpError::NeedsLogin { .. }) => {
                if let Err(error) = login(config, state, agree).await {
                    eprintln!("{error}");
                    break;
                }
            }
            other => return other,
        }
    }
    attempt().await
}

/// What is to be called: what the suite names, else every tool with what it needs.
fn calls(context: &Value, tools: &[McpTool], manifest: &Manifest) -> Vec<(String, Value)> {
    let named = context["toolCalls"].as_array();
    let named = named.into_iter().flatten().filter_map(|call| {
        Some((tool_name("conformance", call["name"].as_str()?), call["arguments"].clone()))
    });
    let named: Vec<(String, Value)> = named.collect();
    if !named.is_empty() {
        return named;
    }
    let first = manifest.tools.first().map(|def| Value::Object(def.schema.clone()));
    tools.iter().map(|tool| (tool.spec().name.clone(), needed(&tool.spec().schema, first.as_ref()))).collect()
}

/// A value for each argument that is needed. `schema` is one that a tool wants to see again.
fn needed(tool: &Value, schema: Option<&Value>) -> Value {
    let value = |name: &str| match (name, tool["properties"][name]["type"].as_str()) {
        ("schema", Some("object")) => schema.cloned().unwrap_or_default(),
        (_, Some("number" | "integer")) => json!(5),
        (_, Some("boolean")) => json!(true),
        (_, Some(_) | None) => json!("text"),
    };
    let names = tool["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Value::Object(names.map(|name| (name.to_owned(), value(name))).collect())
}

/// Calls a tool, and answers questions by leaving them empty.
async fn call(tool: &McpTool, cwd: &Path, args: Value) -> Result<String, String> {
    let mut answers: Option<Vec<String>> = None;
    for _ in 0..5 {
        let plan = tool.plan(&PlanContext { cwd: cwd.to_owned(), roots: vec![cwd.to_owned()] }, &args);
        let cx = ToolContext {
            key: "conformance/1/1/tool/0".parse().map_err(|_| "no key")?,
            attempt: 1,
            intended_at: 0,
            plan: Arc::new(plan.map_err(|error| error.message)?),
            cwd: cwd.to_owned(),
            roots: vec![cwd.to_owned()],
            cancel: Cancel::new(),
            blobs: Arc::new(MemoryLog::new()),
            progress: Arc::new(|_| {}),
            now: Arc::new(|| 0),
            view: Arc::new(SessionView::default()),
            env: Default::default(),
            confine: Arc::default(),
            answers: answers.take(),
            turn: None,
            memory: None,
            ended: None,
            woken: None,
            session: Arc::new(sterna_tool::NoSession),
        };
        match tool.call(cx, args.clone()).await.map_err(|error| error.message)? {
            ToolReturn::Done(done) => return Ok(format!("{:?}", done.output)),
            ToolReturn::Ask(questions) => answers = Some(vec![String::new(); questions.len()]),
            other => return Err(format!("{other:?}")),
        }
    }
    Err("it asks and asks".into())
}

/// A browser whose person agrees.
fn agree(url: &str) {
    let url = url.to_owned();
    tokio::spawn(async move {
        if let Err(error) = reqwest::get(url).await {
            eprintln!("the login page: {error}");
        }
    });
}

/// The last messages go out before the process ends.
async fn finish(client: Client) {
    drop(client);
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// The suite's own: it wants to see this address where the authorization server takes pages.
const PAGE: &str = "https://conformance-test.local/client-metadata.json";
