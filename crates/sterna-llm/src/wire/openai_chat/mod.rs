//! The wire of `chat/completions`, which most providers and all local servers speak.

mod decode;
mod encode;

use sterna_model::{ProviderFailure, Route};

use super::{Decoder, EncodeCache, Wire, classify_body, headers};
use crate::{Encoded, Request};

/// The wire `openai_chat`. Base URLs of its endpoints end in their version, as in `https://host/v1`.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiChat;

impl Wire for OpenAiChat {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn path(&self, _model: &str) -> String {
        "/chat/completions".into()
    }

    fn headers(&self, key: Option<&str>) -> Vec<(String, String)> {
        headers("authorization", key.map(|key| format!("Bearer {key}")))
    }

    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        encode::encode(request, cache, b"")
    }

    fn decoder(&self, _route: &Route) -> Box<dyn Decoder> {
        Box::new(decode::ChatDecoder::default())
    }

    fn classify(&self, status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> ProviderFailure {
        classify_body(status, retry_after_ms, body)
    }
}

impl OpenAiChat {
    /// Encodes with more members (`,"name":value` each) at the end of the body.
    pub(crate) fn encode_with(request: &Request, cache: &mut EncodeCache, extra: &[u8]) -> Encoded {
        encode::encode(request, cache, extra)
    }
}

const NAME: &str = "openai_chat";
