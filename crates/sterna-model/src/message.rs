//! Messages: what people and models say, in one typed form for all wires.

use std::borrow::Cow;

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
    /// A file that came with it. Its bytes are in the blob, never in the record.
    File(Attachment),
}

/// A file beside a text: of a person's input, or of a tool's result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// The file's name without its folder.
    pub name: String,
    /// `image/png`, `application/pdf`, `text/plain`: what the bytes were found to be.
    pub media_type: String,
    pub blob: BlobRef,
    /// Pixels of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Pages of a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
    /// Its text, for a model that does not take the file itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<BlobRef>,
    /// The view of its tool result is its text: that is left out where the file itself is shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_view: bool,
}

impl Attachment {
    /// A file of which nothing more is known.
    pub fn new(name: impl Into<String>, media_type: impl Into<String>, blob: BlobRef) -> Self {
        let (name, media_type) = (name.into(), media_type.into());
        Self { name, media_type, blob, width: None, height: None, pages: None, text: None, in_view: false }
    }

    /// An image of a kind that models take.
    pub fn is_image(&self) -> bool {
        IMAGES.contains(&self.media_type.as_str())
    }

    pub fn is_pdf(&self) -> bool {
        self.media_type == PDF
    }

    pub fn is_text(&self) -> bool {
        self.media_type.starts_with("text/")
    }

    /// The blobs that it needs.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobRef> {
        std::iter::once(&self.blob).chain(&self.text)
    }
}

/// The media types of images that models take.
pub const IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// The media type of PDF documents.
pub const PDF: &str = "application/pdf";

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

/// Joins the parts of an input with newlines; a file is named: `[file shot.png]`.
pub fn input_text(parts: &[InputPart]) -> String {
    let texts: Vec<Cow<'_, str>> = parts
        .iter()
        .map(|part| match part {
            InputPart::Text(text) => Cow::Borrowed(text.as_str()),
            InputPart::File(file) => Cow::Owned(format!("[file {}]", file.name)),
        })
        .collect();
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
