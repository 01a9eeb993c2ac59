//! The wire of the Messages API.

mod decode;
mod encode;

use sterna_model::{ProviderFailure, Route};

use super::{Decoder, EncodeCache, Wire, classify_body, headers};
use crate::{Encoded, Request};

/// The wire `anthropic`. Base URLs of its endpoints have no version: it is part of the path.
#[derive(Debug, Clone, Copy)]
pub struct Anthropic;

impl Wire for Anthropic {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn path(&self, _model: &str) -> String {
        "/v1/messages".into()
    }

    fn headers(&self, key: Option<&str>) -> Vec<(String, String)> {
        let mut all = headers("x-api-key", key.map(str::to_owned));
        all.push(("anthropic-version".into(), "2023-06-01".into()));
        all
    }

    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        encode::encode(request, cache)
    }

    fn decoder(&self, route: &Route) -> Box<dyn Decoder> {
        Box::new(decode::MessagesDecoder::new(route.clone()))
    }

    fn classify(&self, status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> ProviderFailure {
        classify_body(status, retry_after_ms, body)
    }
}

const NAME: &str = "anthropic";
