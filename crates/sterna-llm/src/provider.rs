//! The seam between the runtime and a model: pure encoding, and one call that moves bytes.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sterna_model::{
    Billed, Digest, ModelStop, Part, Phase, ProviderFailure, Route, Segment, Sight, ThinkingDialect,
};

use crate::{EncodeCache, Request};

/// Something that answers requests. The runtime journals the encoded bytes before it hands them to `send`.
pub trait Provider: Send + Sync {
    /// What this provider says of a route: its limits and prices. `Err` when it does not serve the route; the text
    /// says what to do.
    fn model(&self, route: &Route) -> Result<ModelInfo, String>;

    /// Name and version of the encoder for this route, for example `openai_chat/1`.
    fn encoder(&self, route: &Route) -> String;

    /// Encodes a request. Pure: the same request gives the same bytes, with or without what `cache` holds.
    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded;

    /// Sends the bytes, streams what comes, and returns the whole answer. Must stop soon when dropped.
    fn send<'a>(
        &'a self,
        route: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>>;
}

/// A shared provider.
pub type SharedProvider = Arc<dyn Provider>;

/// A request's bytes. The chunks in order are the body. The encoders here give one chunk: that is what HTTP sends.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    pub chunks: Vec<Bytes>,
    /// blake3 of the body.
    pub hash: Digest,
    /// Size of the body.
    pub bytes: u64,
    /// blake3 of the body up to the first entry of the history, where the encoder knows where that is.
    pub prefix: Option<Digest>,
}

impl Encoded {
    /// Hashes and measures a body. Encoders with a warm cache may keep the hash state of the prefix instead.
    pub fn of(chunks: Vec<Bytes>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for chunk in &chunks {
            hasher.update(chunk);
        }
        Self::with_hash(chunks, Digest(*hasher.finalize().as_bytes()))
    }

    pub fn with_hash(chunks: Vec<Bytes>, hash: Digest) -> Self {
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks, hash, bytes, prefix: None }
    }

    /// The body in one piece.
    pub fn body(&self) -> Bytes {
        match self.chunks.as_slice() {
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }
}

/// A piece of a live answer. Segments never overlap: a chunk that holds two kinds is split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEvent {
    pub segment: Segment,
    pub phase: Phase,
    /// For `Delta`.
    pub text: String,
    /// For tool-call segments, once known.
    pub call_id: Option<String>,
    pub name: Option<String>,
}

/// A model's whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelReply {
    pub parts: Vec<Part>,
    pub stop: ModelStop,
    pub billed: Billed,
}

/// What is known of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Tokens the model can read and write together.
    pub context: u32,
    /// Tokens the model may write in one answer.
    pub max_output: u32,
    pub price: Option<Price>,
    /// The facts are safe defaults, because the model is not in the catalogue.
    pub assumed: bool,
    /// The provider itself can hold an answer to a JSON Schema.
    #[serde(default)]
    pub schema_native: bool,
    /// What it takes beside text, through the wire that it is asked by.
    #[serde(default)]
    pub sight: Sight,
    /// How it is asked to think; `None`: nobody knows how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<ThinkingDialect>,
}

impl Default for ModelInfo {
    /// A model nobody has heard of (design: output limit 8,192 if unknown).
    fn default() -> Self {
        Self {
            context: 128_000,
            max_output: 8_192,
            price: None,
            assumed: true,
            schema_native: false,
            sight: Sight::default(),
            thinking: None,
        }
    }
}

/// US dollars per million tokens, by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Price {
    pub input: f64,
    pub output: f64,
    pub cache_read: f64,
    pub cache_write_5m: f64,
    pub cache_write_1h: f64,
    /// The prices of a call that reads very much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<Long>,
}

/// US dollars per million tokens of a whole call that reads more than `above` tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Long {
    pub above: u32,
    pub input: f64,
    pub output: f64,
    pub cache_read: f64,
    pub cache_write_5m: f64,
    pub cache_write_1h: f64,
}
