//! `mcp_resources`: lists what servers offer to read, and reads it.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sterna_model::{EffectClass, ToolSpec};
use sterna_tool::{
    Access, Plan, PlanContext, SessionView, Tool, ToolContext, ToolDone, ToolError, ToolReturn, ViewBudget,
};

use crate::connection::Client;
use crate::tool::read_access;

/// One tool for the resources of all servers.
pub struct Resources {
    clients: Vec<Client>,
    spec: ToolSpec,
}

impl Resources {
    /// `None` where no server is known to have any.
    pub fn of(clients: &[Client]) -> Option<Self> {
        let has = |client: &&Client| client.manifest().is_some_and(|manifest| manifest.resources);
        let clients: Vec<Client> = clients.iter().filter(has).cloned().collect();
        if clients.is_empty() {
            return None;
        }
        let names: Vec<&str> = clients.iter().map(|client| client.config().name.as_str()).collect();
        let schema = json!({
            "type": "object",
            "properties": {
                "server": {"type": "string", "enum": names, "description": "The MCP server."},
                "uri": {"type": "string", "description": "The resource to read; left out: the list of all."},
            },
            "required": ["server"],
            "additionalProperties": false,
        });
        let spec =
            ToolSpec { name: NAME.into(), description: include_str!("resources.md").trim().into(), schema };
        Some(Self { clients, spec })
    }
}

impl Tool for Resources {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// Reading changes nothing by the protocol; a server that nobody trusts may not keep to it.
    fn class(&self, args: &Value) -> EffectClass {
        let server = args.get("server").and_then(Value::as_str);
        let client = self.clients.iter().find(|client| Some(client.config().name.as_str()) == server);
        if client.is_some_and(|client| client.config().trusted) {
            EffectClass::Pure
        } else {
            EffectClass::AtMostOnce
        }
    }

    fn untrusted(&self, args: &Value, _: &SessionView) -> Option<String> {
        let server = args.get("server").and_then(Value::as_str).unwrap_or("unknown");
        Some(format!("mcp:{server}"))
    }

    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let text = |key: &str| args.get(key).and_then(Value::as_str);
        let server = text("server").unwrap_or_default();
        let summary = match text("uri") {
            Some(uri) => format!("read {uri} from the MCP server `{server}`"),
            None => format!("list the resources of the MCP server `{server}`"),
        };
        let read = text("uri").and_then(|uri| read_access(uri, cx));
        let accesses = std::iter::once(Access::Other).chain(read).collect();
        Ok(Plan { accesses, summary, preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let text = |key: &str| args.get(key).and_then(Value::as_str);
            let server = text("server").unwrap_or_default();
            let client = self.clients.iter().find(|client| client.config().name == server);
            let Some(client) = client else {
                return Err(ToolError::invalid(format!("there is no MCP server `{server}`")));
            };
            let work = async {
                match text("uri") {
                    Some(uri) => client.read_resource(uri).await,
                    None => client.resources().await.map(|all| {
                        let line = |of: &crate::Resource| {
                            let about = [of.name.as_str(), of.description.as_str()];
                            format!("{} ({})", of.uri, about.join(": ").trim_end_matches([':', ' ']))
                        };
                        let lines: Vec<String> = all.iter().map(line).collect();
                        if lines.is_empty() { "(no resources)".into() } else { lines.join("\n") }
                    }),
                }
            };
            tokio::select! {
                read = work => match read {
                    Ok(text) => {
                        let budget = ViewBudget { bytes: TEXT_BYTES, lines: 2_000, head_percent: 100 };
                        Ok(ToolReturn::Done(ToolDone { budget, ..ToolDone::text(text) }))
                    }
                    Err(error) => Err(ToolError::failed(error)),
                },
                () = cx.cancel.cancelled() => Err(ToolError::cancelled()),
            }
        }
        .boxed()
    }
}

const NAME: &str = "mcp_resources";
/// What the model sees of a resource.
const TEXT_BYTES: usize = 64 << 10;
