//! The wires: each a folder with one encoder and one decoder, pure functions over bytes.
//!
//! A wire must never know a socket, a key's origin, a clock or a retry. What all wires share (assembling a body, live
//! segments, the classes of errors) is here beside them.

mod anthropic;
mod body;
mod failure;
mod files;
mod gemini;
mod openai_chat;
mod openai_responses;
mod parts;

use sterna_model::{Part, ProviderFailure, Route};

pub use self::anthropic::Anthropic;
pub use self::body::EncodeCache;
pub use self::failure::{MAX_MESSAGE_CHARS, classify_body};
pub use self::gemini::Gemini;
pub use self::openai_chat::OpenAiChat;
pub use self::openai_responses::OpenAiResponses;
pub(crate) use self::parts::{LiveSegments, mark_truncated};
use crate::{Encoded, ModelReply, Request, StreamEvent};

/// One way to talk to a model.
pub trait Wire: Send + Sync {
    /// One of `NAMES`.
    fn name(&self) -> &'static str;

    /// Rises when the same request gives other bytes.
    fn version(&self) -> u32;

    /// The path below the endpoint's base URL, with its leading slash.
    fn path(&self, model: &str) -> String;

    /// The headers of a request, content type and key among them.
    fn headers(&self, key: Option<&str>) -> Vec<(String, String)>;

    /// Encodes a request. The same request gives the same bytes, whatever `cache` holds.
    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded;

    /// A decoder for the answer to one request on `route`.
    fn decoder(&self, route: &Route) -> Box<dyn Decoder>;

    /// The failure behind an answer that is no success.
    fn classify(&self, status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> ProviderFailure;
}

/// Turns the bytes of one streamed answer into live events and a whole reply.
pub trait Decoder: Send {
    /// Takes the next bytes. An error that the provider sent within the stream ends it here.
    fn push(&mut self, bytes: &[u8], events: &mut dyn FnMut(StreamEvent)) -> Result<(), ProviderFailure>;

    /// The terminal event was seen: nothing that follows can change the reply.
    fn done(&self) -> bool;

    /// The whole reply. `complete_body`: the transport knows that nothing was lost. Without the wire's terminal event
    /// the answer is a failure, `stream_cut`.
    fn finish(
        self: Box<Self>,
        complete_body: bool,
        events: &mut dyn FnMut(StreamEvent),
    ) -> Result<ModelReply, ProviderFailure>;

    /// Text and reasoning so far, for a call that is given up. Never half a tool call.
    fn partial(&self) -> Vec<Part>;
}

/// What every request says, and its key under the name that the wire has for it.
fn headers(name: &str, key: Option<String>) -> Vec<(String, String)> {
    let own = [("content-type", "application/json".to_owned()), ("accept", "text/event-stream".to_owned())];
    own.into_iter().chain(key.map(|key| (name, key))).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The names of all wires, in the order of the documentation.
pub const NAMES: [&str; 4] = ["anthropic", "openai_responses", "openai_chat", "gemini"];

/// The wire of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Wire> {
    match name {
        "openai_chat" => Some(&OpenAiChat),
        "anthropic" => Some(&Anthropic),
        "openai_responses" => Some(&OpenAiResponses),
        "gemini" => Some(&Gemini),
        _ => None,
    }
}
