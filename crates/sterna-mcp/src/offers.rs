//! What servers offer besides tools: resources to read, and prompts to fill in.

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, GetPromptRequest, GetPromptRequestParams,
    JsonObject, PaginatedRequestParams, ReadResourceRequest, ReadResourceRequestParams, ResourceContents,
    ServerResult,
};

use crate::connection::Client;
use crate::error::{McpError, cut};
use crate::reply;

/// A resource as its server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// A template where it holds `{…}`.
    pub uri: String,
    pub name: String,
    pub description: String,
}

/// A prompt as its server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    pub name: String,
    pub description: String,
    pub arguments: Vec<PromptArgument>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptArgument {
    pub name: String,
    pub required: bool,
}

impl Client {
    /// Resources, then templates of them. At most 1,000.
    pub async fn resources(&self) -> Result<Vec<Resource>, McpError> {
        let _busy = self.busy();
        let live = self.live().await?;
        let mut all = Vec::new();
        let mut cursor = None;
        while all.len() < LISTED {
            let params = PaginatedRequestParams::default().with_cursor(cursor);
            let page = live.peer.list_resources(Some(params));
            let page = self.in_time(&live, page).await?;
            all.extend(page.resources.into_iter().map(|of| Resource {
                uri: of.uri,
                name: cut(&of.title.unwrap_or(of.name)),
                description: cut(&of.description.unwrap_or_default()),
            }));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        // Many servers have none, and some do not know the question.
        let templates = live.peer.list_resource_templates(None);
        if let Ok(page) = self.in_time(&live, templates).await {
            all.extend(page.resource_templates.into_iter().map(|of| Resource {
                uri: of.uri_template,
                name: cut(&of.title.unwrap_or(of.name)),
                description: cut(&of.description.unwrap_or_default()),
            }));
        }
        all.truncate(LISTED);
        Ok(all)
    }

    /// A resource's text. What is not text is named with its size.
    pub async fn read_resource(&self, uri: &str) -> Result<String, McpError> {
        let request = ReadResourceRequest::new(ReadResourceRequestParams::new(uri));
        match self.ask(ClientRequest::ReadResourceRequest(request)).await? {
            ServerResult::ReadResourceResult(read) => {
                let parts: Vec<String> = read.contents.iter().map(contents).collect();
                Ok(parts.join("\n"))
            }
            _ => Err(self.strange("reading a resource gave something else")),
        }
    }

    /// Calls a tool for somebody who answers no questions: what it said as text, or why that is no answer. A tool that
    /// is another than the one that was accepted is not called.
    pub async fn call_tool(&self, tool: &str, arguments: JsonObject) -> Result<String, String> {
        let server = &self.config().name;
        drop(self.live().await.map_err(|error| error.to_string())?);
        match self.definition(tool) {
            None => return Err(format!("the MCP server `{server}` has no tool `{tool}`")),
            Some((_, true)) => {
                return Err(format!(
                    "the MCP server `{server}` has changed its tool `{tool}`; allow a call of it, and it is accepted"
                ));
            }
            Some((_, false)) => {}
        }
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        match self.ask(request).await.map_err(|error| error.to_string())? {
            ServerResult::CallToolResult(result) => {
                let text = reply::text(&result);
                if result.is_error.unwrap_or(false) { Err(cut(&text)) } else { Ok(text) }
            }
            _ => Err(self.strange("a call of a tool gave something else").to_string()),
        }
    }

    /// Prompts. At most 1,000.
    pub async fn prompts(&self) -> Result<Vec<Prompt>, McpError> {
        let _busy = self.busy();
        let live = self.live().await?;
        let mut all = Vec::new();
        let mut cursor = None;
        while all.len() < LISTED {
            let params = PaginatedRequestParams::default().with_cursor(cursor);
            let page = self.in_time(&live, live.peer.list_prompts(Some(params))).await?;
            all.extend(page.prompts.into_iter().map(|of| Prompt {
                name: of.name,
                description: cut(&of.description.or(of.title).unwrap_or_default()),
                arguments: of.arguments.unwrap_or_default().into_iter().map(argument).collect(),
            }));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        all.truncate(LISTED);
        Ok(all)
    }

    /// A prompt with its arguments filled in: its messages, each after the role that says it.
    pub async fn prompt(&self, name: &str, arguments: &[(String, String)]) -> Result<String, McpError> {
        let arguments: JsonObject =
            arguments.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let mut params = GetPromptRequestParams::new(name);
        if !arguments.is_empty() {
            params = params.with_arguments(arguments);
        }
        let request = GetPromptRequest::new(params);
        match self.ask(ClientRequest::GetPromptRequest(request)).await? {
            ServerResult::GetPromptResult(got) => {
                let said = got.messages.iter().map(|message| {
                    let role = match message.role {
                        rmcp::model::Role::User => "user",
                        rmcp::model::Role::Assistant => "assistant",
                    };
                    format!("{role}: {}", reply::block(&message.content))
                });
                Ok(said.collect::<Vec<_>>().join("\n\n"))
            }
            _ => Err(self.strange("a prompt gave something else")),
        }
    }

    async fn in_time<T>(
        &self,
        live: &crate::connection::Live,
        asked: impl Future<Output = Result<T, rmcp::ServiceError>>,
    ) -> Result<T, McpError> {
        let idle = self.config().times.idle;
        match tokio::time::timeout(idle, asked).await {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(error)) => Err(self.told(live, error).await),
            Err(_) => Err(McpError::Silent { server: self.config().name.clone(), seconds: idle.as_secs() }),
        }
    }

    pub(crate) fn strange(&self, what: &str) -> McpError {
        McpError::Strange { server: self.config().name.clone(), what: what.to_owned() }
    }
}

fn argument(of: rmcp::model::PromptArgument) -> PromptArgument {
    PromptArgument { name: of.name, required: of.required.unwrap_or(false) }
}

pub(crate) fn contents(of: &ResourceContents) -> String {
    match of {
        ResourceContents::TextResourceContents { text, .. } => text.clone(),
        ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
            let kind = mime_type.as_deref().unwrap_or("application/octet-stream");
            format!("({uri}: {kind}, about {} bytes, not shown)", blob.len() / 4 * 3)
        }
        _ => "(contents of a kind that is not known)".into(),
    }
}

const LISTED: usize = 1_000;
