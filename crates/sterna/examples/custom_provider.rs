//! A provider of the host: it answers every request itself. The runtime journals the bytes before it hands them over.
#![allow(clippy::print_stdout)]

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna::llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent, wire};
use sterna::model::{Billed, ModelStop, Part, Phase, ProviderFailure, Route, Segment};
use sterna::prelude::*;

struct Parrot;

impl Provider for Parrot {
    fn model(&self, _route: &Route) -> Result<ModelInfo, String> {
        Ok(ModelInfo::default())
    }

    fn encoder(&self, _route: &Route) -> String {
        "openai_chat/1".into()
    }

    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        wire::by_name("openai_chat").expect("the wire is built in").encode(request, cache)
    }

    fn send<'a>(
        &'a self,
        _route: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        async move {
            let text = format!("Your request has {} bytes.", body.bytes);
            let delta = |phase, text: &str| StreamEvent {
                segment: Segment::Text,
                phase,
                text: text.into(),
                call_id: None,
                name: None,
            };
            events(delta(Phase::Start, ""));
            events(delta(Phase::Delta, &text));
            events(delta(Phase::End, ""));
            let parts = vec![Part::Text(text)];
            Ok(ModelReply { parts, stop: ModelStop::EndTurn, billed: Billed::default() })
        }
        .boxed()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sterna = Sterna::builder().provider(Arc::new(Parrot)).ephemeral().build().await?;
    let reply = sterna.session("birds").turn("Hello?").await?;
    println!("{}", reply.message());
    assert!(reply.is_finished());
    Ok(())
}
