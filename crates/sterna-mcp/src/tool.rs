//! A tool of a server, behind the contract of all tools.

use std::path::{Path, PathBuf};

use futures::FutureExt;
use futures::future::BoxFuture;
use rmcp::model::CallToolRequestParams;
use serde_json::{Map, Value};
use sterna_model::{EffectClass, EffectKey, ToolSpec, ToolStatus};
use sterna_tool::{Access, Plan, PlanContext, Tool, ToolContext, ToolError, ToolReturn};

use crate::connection::Client;
use crate::error::McpError;
use crate::manifest::ToolDef;
use crate::name::tool_name;
use crate::parked::{Called, Watch};
use crate::reply;

/// One tool.
pub struct McpTool {
    client: Client,
    def: ToolDef,
    spec: ToolSpec,
}

/// The tools of a server that its configuration takes, as its manifest knows them. None where there is no manifest.
pub fn tools_of(client: &Client) -> Vec<McpTool> {
    let tools = client.manifest().map(|manifest| manifest.tools).unwrap_or_default();
    let taken = tools.into_iter().filter(|def| client.config().tools.takes(&def.name));
    taken.map(|def| McpTool::new(client.clone(), def)).collect()
}

impl McpTool {
    fn new(client: Client, def: ToolDef) -> Self {
        let mut schema = def.schema.clone();
        // Providers insist on what the protocol takes for granted.
        schema.entry("type").or_insert_with(|| "object".into());
        schema.entry("properties").or_insert_with(|| Value::Object(Map::new()));
        let spec = ToolSpec {
            name: tool_name(&client.config().name, &def.name),
            description: def.description.clone(),
            schema: Value::Object(schema),
        };
        Self { client, def, spec }
    }

    /// Whether it is shown by name only: `None` leaves that to the budget.
    pub fn deferred(&self) -> Option<bool> {
        self.client.config().tools.deferred(&self.def.name)
    }

    fn is_read_only(&self) -> bool {
        self.client.config().trusted && self.def.read_only
    }

    /// Why a person has to say yes whatever the rules allow: the tool is not the one that was accepted.
    fn change(&self) -> Option<Access> {
        let (now, changed) = self.client.definition(&self.def.name)?;
        let server = &self.client.config().name;
        let tool = &self.def.name;
        let why =
            format!("the MCP server `{server}` has changed its tool `{tool}` since it was last accepted");
        changed.then_some(Access::Unaccepted { definition: now.hash, why })
    }
}

impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// What a server says of its tools counts only where the person trusts it. Nothing of it outlives us, so that a call
    /// whose answer a crash took is in doubt.
    fn class(&self, _: &Value) -> EffectClass {
        if self.is_read_only() {
            EffectClass::Pure
        } else if self.client.config().trusted && self.def.idempotent {
            EffectClass::Idempotent
        } else {
            EffectClass::AtMostOnce
        }
    }

    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let mut accesses = vec![Access::Other];
        accesses.extend(self.change());
        let home = self.client.0.setup.env.get("HOME").map(Path::new);
        let from = From { cwd: &cx.cwd, home };
        named_places(args, "", from, &mut |place| match place {
            Place::Path(path) if self.is_read_only() => accesses.push(Access::Read(path)),
            Place::Path(path) => accesses.extend([Access::Read(path.clone()), Access::Write(path)]),
            Place::Host(host) => accesses.push(Access::Web { host }),
        });
        let shown = args.to_string();
        let short: String = shown.chars().take(SUMMARY).collect();
        let more = if short.len() < shown.len() { " …" } else { "" };
        let summary =
            format!("{} of the MCP server `{}`: {short}{more}", self.def.name, self.client.config().name);
        let preview = (!more.is_empty()).then(|| format!("{args:#}"));
        Ok(Plan { accesses, summary, preview })
    }

    fn timeout_ms(&self, _: &Value) -> u64 {
        let times = self.client.config().times;
        // The limits of the call itself come first, after the longest wait for another start.
        let all = times.total + times.start + times.reconnect * 60;
        u64::try_from(all.as_millis()).unwrap_or(u64::MAX) + 5_000
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let Value::Object(arguments) = args else {
                return Err(ToolError::invalid("the arguments are no object"));
            };
            // One that comes back with a person's answers has begun already.
            if cx.answers.is_none() {
                self.is_as_judged(&cx).await?;
            }
            let params = CallToolRequestParams::new(self.def.name.clone()).with_arguments(arguments);
            let blobs = cx.blobs.clone();
            let watch = Watch { key: &cx.key, cancel: &cx.cancel, progress: &*cx.progress };
            match self.client.call(params, cx.answers, watch).await {
                Ok(Called::Done(result)) => Ok(ToolReturn::Done(reply::done(&result, &blobs).await)),
                Ok(Called::Ask(questions)) => Ok(ToolReturn::Ask(questions)),
                Ok(Called::Cancelled) => Err(ToolError::cancelled()),
                Ok(Called::Interrupted) => {
                    Err(ToolError { status: ToolStatus::OutcomeUnknown, message: INTERRUPTED.into() })
                }
                Err(error) => Err(self.failed(error)),
            }
        }
        .boxed()
    }

    fn settled(&self, key: &EffectKey, _: u32) {
        self.client.forget(key);
    }
}

impl McpTool {
    /// Starts the server if it does not run, and looks whether the tool is still what the plan was judged by: a yes to
    /// one definition is none to what the server has made of it since, also while it started.
    async fn is_as_judged(&self, cx: &ToolContext) -> Result<(), ToolError> {
        tokio::select! {
            live = self.client.live() => drop(live.map_err(|error| self.failed(error))?),
            () = cx.cancel.cancelled() => return Err(ToolError::cancelled()),
        }
        let (server, tool) = (&self.client.config().name, &self.def.name);
        match self.client.definition(tool) {
            None => {
                Err(ToolError::failed(format!("the MCP server `{server}` has no tool `{tool}` any more")))
            }
            Some((_, false)) => Ok(()),
            Some((now, true)) => {
                let judged = |access: &Access| matches!(access, Access::Unaccepted { definition, .. } if *definition == now.hash);
                if !cx.plan.accesses.iter().any(judged) {
                    return Err(ToolError::failed(format!(
                        "the MCP server `{server}` has changed its tool `{tool}` since this call was judged, and \
                         nothing was called; call it again, and the person is asked"
                    )));
                }
                // A person's yes leads here, or a mode that needs none.
                self.client.accept(tool, now.hash);
                Ok(())
            }
        }
    }

    fn failed(&self, error: McpError) -> ToolError {
        let message = error.to_string();
        let status = match error {
            McpError::Silent { .. } | McpError::TooLong { .. } => ToolStatus::Timeout,
            // It may have done all of it before it went.
            McpError::Closed { .. } | McpError::TooLarge { .. } if !self.is_read_only() => {
                ToolStatus::OutcomeUnknown
            }
            McpError::Closed { .. }
            | McpError::TooLarge { .. }
            | McpError::Start { .. }
            | McpError::StartTimeout { .. }
            | McpError::NeedsLogin { .. }
            | McpError::NeedsScopes { .. }
            | McpError::ClientRefused { .. }
            | McpError::ClientNeedsScopes { .. }
            | McpError::ClientNotWidened { .. }
            | McpError::Refused { .. }
            | McpError::Strange { .. } => ToolStatus::Failed,
        };
        if status == ToolStatus::OutcomeUnknown {
            let message = format!("outcome_unknown: {message}. The call may have happened. {LOOK}");
            return ToolError { status, message };
        }
        ToolError { status, message }
    }
}

/// What reading a resource touches, when its address is one of a file or of the web. Other schemes are the server's own.
pub(crate) fn read_access(uri: &str, cx: &PlanContext) -> Option<Access> {
    match place_of(uri, "", From { cwd: &cx.cwd, home: None })? {
        Place::Path(path) => Some(Access::Read(path)),
        Place::Host(host) => {
            let scheme = uri.split_once("://")?.0.to_ascii_lowercase();
            ["http", "https"].contains(&scheme.as_str()).then_some(Access::Web { host })
        }
    }
}

enum Place {
    Path(PathBuf),
    Host(String),
}

/// Where relative paths, and those of the person, begin.
#[derive(Clone, Copy)]
struct From<'a> {
    cwd: &'a Path,
    home: Option<&'a Path>,
}

/// Paths and hosts among the arguments: rules about them hold for whoever touches them.
fn named_places(value: &Value, name: &str, from: From<'_>, found: &mut impl FnMut(Place)) {
    match value {
        Value::String(text) => {
            if let Some(place) = place_of(text, name, from) {
                found(place);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| named_places(item, name, from, found)),
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| named_places(value, name, from, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn place_of(text: &str, name: &str, from: From<'_>) -> Option<Place> {
    if text.is_empty() || text.len() > PATH_BYTES || text.contains(['\n', '\0']) {
        return None;
    }
    // `file:/x` is `file:///x`.
    let bare_file = text.get(..6).filter(|start| start.eq_ignore_ascii_case("file:/")).map(|_| ("file", ""));
    if let Some((scheme, _)) = text.split_once("://").or(bare_file) {
        let url = reqwest::Url::parse(text).ok()?;
        if scheme.eq_ignore_ascii_case("file") {
            return url.to_file_path().ok().map(Place::Path);
        }
        let host = url.host_str()?;
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        return Some(Place::Host(host));
    }
    let lower = name.to_ascii_lowercase();
    let named = PATH_NAMES.iter().any(|word| lower.contains(word));
    let looks = ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start));
    if let (Some(rest), Some(home)) = (text.strip_prefix("~/"), from.home) {
        return Some(Place::Path(home.join(rest)));
    }
    (named || looks).then(|| Place::Path(from.cwd.join(text)))
}

const PATH_NAMES: [&str; 8] = ["path", "file", "dir", "folder", "cwd", "root", "destination", "source"];
const PATH_BYTES: usize = 4_096;
/// Characters of the arguments in the line that a person is shown.
const SUMMARY: usize = 300;
const LOOK: &str = "Look at the state of things before you do it again.";
const INTERRUPTED: &str = "outcome_unknown: the server had asked something in the middle of this call, and Sterna was \
    stopped before the answer came. The server ended with it. The call may have happened in part. Look at the state of \
    things before you do it again.";
