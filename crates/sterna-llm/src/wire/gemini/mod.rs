//! The wire of `generateContent`, streamed as server-sent events.

mod decode;
mod encode;
mod errors;
mod stray;

use sterna_model::{ProviderFailure, Route};

use super::{Decoder, EncodeCache, Wire, headers};
use crate::{Encoded, Request};

/// The wire `gemini`. Base URLs of its endpoints end in their version, as in `https://host/v1beta`.
#[derive(Debug, Clone, Copy)]
pub struct Gemini;

impl Wire for Gemini {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    /// The model is part of the path. A name with a slash names its collection itself (`tunedModels/x`).
    fn path(&self, model: &str) -> String {
        let collection = if model.contains('/') { "" } else { "models/" };
        let mut path = format!("/{collection}");
        for byte in model.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b'@' => {
                    path.push(char::from(byte));
                }
                _ => path.push_str(&format!("%{byte:02X}")),
            }
        }
        path + ":streamGenerateContent?alt=sse"
    }

    fn headers(&self, key: Option<&str>) -> Vec<(String, String)> {
        headers("x-goog-api-key", key.map(str::to_owned))
    }

    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        encode::encode(request, cache)
    }

    fn decoder(&self, route: &Route) -> Box<dyn Decoder> {
        Box::new(decode::GeminiDecoder::new(route.clone()))
    }

    fn classify(&self, status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> ProviderFailure {
        errors::classify_body(status, retry_after_ms, body)
    }
}

const NAME: &str = "gemini";
/// The member that seals a part of an answer. An opaque part that holds nothing else seals the part after it.
const SIGNATURE: &str = "thoughtSignature";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_hold_the_model() {
        for (model, path) in [
            ("gemini-2.5-pro", "/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
            ("models/gemini-3-pro", "/models/gemini-3-pro:streamGenerateContent?alt=sse"),
            ("tunedModels/a b", "/tunedModels/a%20b:streamGenerateContent?alt=sse"),
            ("x?key=1#é", "/models/x%3Fkey%3D1%23%C3%A9:streamGenerateContent?alt=sse"),
        ] {
            assert_eq!(Gemini.path(model), path);
        }
    }
}
