//! What the official conformance suite starts as the client under test: `conformance client --command
//! "conformance_client" --scenario NAME` appends the server's address. It connects, logs in where that is wanted (by
//! following the login page's redirect, as a browser of a person who agrees would), and calls every tool once.

#![allow(clippy::print_stderr)]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sterna_log::MemoryLog;
use sterna_mcp::{
    Client, McpError, McpTool, Origin, Pool, ServerConfig, Setup, Times, ToolChoice, Transport, login,
    tools_of,
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
        oauth_client: context["client_id"].as_str().map(str::to_owned),
        oauth_scopes: Vec::new(),
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
    let mut client = Pool::shared().client(config.clone(), setup.clone());
    let mut manifest = client.connect().await;
    if matches!(manifest, Err(McpError::NeedsLogin { .. })) {
        login(&config, &cwd, agree).await.map_err(|error| error.to_string())?;
        client.disconnect().await;
        drop(client);
        client = Pool::shared().client(config.clone(), setup.clone());
        manifest = client.connect().await;
    }
    let manifest = manifest.map_err(|error| error.to_string())?;
    eprintln!("connected with {}", manifest.protocol);
    for tool in tools_of(&client) {
        match call(&tool, &cwd).await {
            Err(error) if error.contains("wants a login") => {
                login(&config, &cwd, agree).await.map_err(|error| error.to_string())?;
                client.disconnect().await;
                let again = call(&tool, &cwd).await;
                eprintln!("{}: {again:?} after another login", tool.spec().name);
            }
            other => eprintln!("{}: {other:?}", tool.spec().name),
        }
    }
    client.disconnect().await;
    finish(client).await;
    Ok(())
}

/// Calls with a value for each argument that is needed, and answers questions by leaving them empty.
async fn call(tool: &McpTool, cwd: &std::path::Path) -> Result<String, String> {
    let schema = &tool.spec().schema;
    let value = |name: &str| match schema["properties"][name]["type"].as_str() {
        Some("number" | "integer") => json!(5),
        Some("boolean") => json!(true),
        _ => json!("text"),
    };
    let needed = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let args: Map<String, Value> = needed.map(|name| (name.to_owned(), value(name))).collect();
    let args = Value::Object(args);
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
