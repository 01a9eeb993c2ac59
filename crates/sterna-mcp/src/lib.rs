//! MCP servers as tools: their tools, resources and prompts behind the same contract as the built-in ones.
//!
//! Ring 2. It is given a list of servers, each with where it was configured, and gives tools. Nothing is started before
//! a tool of a server is called: what a server offers is read from a manifest that its last start left. It must never
//! know policy, a session's log or a model, and it believes nothing that a server says of itself unless the person has
//! marked that server as trusted.

mod config;
mod connection;
mod elicit;
mod error;
mod handler;
mod launch;
mod listening;
mod logins;
mod manifest;
mod name;
mod oauth;
mod offers;
mod own;
mod parked;
mod pool;
mod reply;
mod resources;
mod tool;

pub use config::{
    ConfigProblem, Expand, Grant, OAuth, Origin, Parsed, ServerConfig, Times, ToolChoice, Transport,
    edit_add, edit_remove, parse,
};
pub use connection::{Client, Confines, Prompt, PromptArgument, Resource, Setup, State};
pub use error::McpError;
pub use manifest::{Manifest, ToolDef};
pub use name::{server_name, tool_name};
pub use oauth::{LoginError, has_login, login, logout};
pub use pool::Pool;
pub use resources::Resources;
pub use tool::{McpTool, tools_of};
