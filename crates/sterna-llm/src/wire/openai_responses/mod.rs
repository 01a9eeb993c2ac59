//! The wire of the Responses API, always stateless: nothing is stored there, and reasoning comes back encrypted.

mod decode;
mod encode;
mod item;

use sterna_model::{ProviderFailure, Route};

use super::{Decoder, EncodeCache, Wire, classify_body, headers};
use crate::{Encoded, Request};

/// The wire `openai_responses`. Base URLs of its endpoints end in their version, as in `https://host/v1`.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiResponses;

impl Wire for OpenAiResponses {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn path(&self, _model: &str) -> String {
        "/responses".into()
    }

    fn headers(&self, key: Option<&str>) -> Vec<(String, String)> {
        headers("authorization", key.map(|key| format!("Bearer {key}")))
    }

    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        encode::encode(request, cache)
    }

    fn decoder(&self, route: &Route) -> Box<dyn Decoder> {
        Box::new(decode::ResponsesDecoder::new(route.clone()))
    }

    fn classify(&self, status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> ProviderFailure {
        classify_body(status, retry_after_ms, body)
    }
}

const NAME: &str = "openai_responses";
/// The member that labels a message as commentary or as the final answer. An opaque part that holds nothing else
/// labels the text after it.
const PHASE: &str = "phase";
