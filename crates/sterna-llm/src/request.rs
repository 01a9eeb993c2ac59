//! A request in typed form: what every wire can encode.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sterna_model::{Attachment, Part, Route, Thinking, ToolSpec};

/// A model request, derived from the log. Cloning shares the content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub route: Route,
    /// The prompt's stable and frame sections, in order, without any volatile fact.
    pub system: Arc<[SystemPart]>,
    /// Sorted by name.
    pub tools: Arc<[ToolSpec]>,
    /// The history, oldest first, roles alternating as they come; wires merge neighbours where they must.
    pub items: Vec<Arc<Item>>,
    /// Volatile text after the history: a user's text at the very end. Empty: none.
    pub tail: String,
    /// `tool_choice` none, with the tool list unchanged.
    pub tools_off: bool,
    /// Tokens the model may write.
    pub max_output: u32,
    pub temperature: Option<f32>,
    /// JSON Schema that the provider is asked to hold the final answer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Arc<serde_json::Value>>,
    /// What the model is asked for before its answer. A wire that has no words for its dialect says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemPart {
    pub text: String,
    /// The last part before a cache boundary.
    pub boundary: bool,
}

/// One entry of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Item {
    /// What a person (or a host) said.
    User(Vec<String>),
    /// The same with files among the texts.
    Mixed(Vec<UserPart>),
    /// What the model answered: text, reasoning, calls and opaque parts as they came.
    Assistant(Vec<Part>),
    /// The results of one step, in call order, one for each call of the answer before.
    Results(Vec<CallResult>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallResult {
    pub call_id: String,
    pub name: String,
    pub text: String,
    pub failed: bool,
    /// Files beside the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FilePart>,
}

/// A part of what a person said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserPart {
    Text(String),
    File(FilePart),
}

/// A file of the history, and what a request shows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePart {
    pub file: Arc<Attachment>,
    /// Where it comes from, when strangers made it: `file:/tmp/x.png`, `mcp:server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    pub shown: Shown,
}

/// What a request shows of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shown {
    /// This text in its place: its content as text, or a note on why it is not there.
    Text(Arc<str>),
    /// Its bytes, in base64 with padding. Only for images and PDF documents that the model takes.
    Data(Arc<str>),
}
