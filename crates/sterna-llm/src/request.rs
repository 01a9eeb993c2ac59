//! A request in typed form: what every wire can encode.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sterna_model::{Part, Route, ToolSpec};

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
}
