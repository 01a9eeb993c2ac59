//! Messages: what people and models say, in one typed form for all wires.

use serde::{Deserialize, Serialize};

use crate::{Digest, Route, ToolCall};

/// Bytes kept by content: where they are, and how many.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    pub hash: Digest,
    /// Size in bytes.
    pub bytes: u64,
}

/// One part of an accepted input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputPart {
    Text(String),
}

/// One part of a model's answer, in the order in which it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Text(String),
    Reasoning(Reasoning),
    ToolCall(ToolCall),
    /// A block that this version does not know. Kept, and given back to its route as it came.
    Opaque(Opaque),
}

/// What a model let us see of its reasoning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasoning {
    pub text: String,
    /// The signed or encrypted form that its route wants back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<Opaque>,
}

/// Provider state that we keep byte for byte and never read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opaque {
    /// The only route it may go back to.
    pub route: Route,
    /// JSON text, exactly as it came.
    pub json: String,
}

/// Joins the text parts of an input with newlines.
pub fn input_text(parts: &[InputPart]) -> String {
    let texts: Vec<&str> = parts.iter().map(|InputPart::Text(text)| text.as_str()).collect();
    texts.join("\n")
}

/// Joins the text parts of a model's answer.
pub fn answer_text(parts: &[Part]) -> String {
    parts
        .iter()
        .filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Reasoning(_) | Part::ToolCall(_) | Part::Opaque(_) => None,
        })
        .collect()
}
