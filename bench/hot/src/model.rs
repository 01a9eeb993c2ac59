//! A model in this process: so many calls, then an answer, and a summary when it is asked for one.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent, wire};
use sterna_model::{Billed, ModelStop, Part, ProviderFailure, Route, ToolCall, Usage};

/// Counts its requests.
pub struct Counting {
    /// Calls before each answer.
    calls: u64,
    asked: AtomicU64,
    /// When the last request came whole, and its bytes.
    last: Mutex<Option<(Instant, usize)>>,
}

impl Counting {
    pub fn new(calls: u64) -> Self {
        Self { calls, asked: AtomicU64::new(0), last: Mutex::default() }
    }

    /// When the last request came, and how large it was.
    pub fn last(&self) -> Option<(Instant, usize)> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, body: &[u8]) -> (Part, ModelStop) {
        if std::str::from_utf8(body).is_ok_and(|body| body.contains(SUMMARY)) {
            return (Part::Text("- counted on, as it was asked".into()), ModelStop::EndTurn);
        }
        let n = self.asked.fetch_add(1, Ordering::SeqCst);
        if n % (self.calls + 1) == self.calls {
            return (Part::Text(format!("So far I have counted to {n}.")), ModelStop::EndTurn);
        }
        let (id, arguments) = (format!("call_{n:06}"), format!("{{\"n\":{n}}}"));
        let call = ToolCall { id, name: "noop".into(), arguments, truncated: false };
        (Part::ToolCall(call), ModelStop::ToolCalls)
    }
}

impl Provider for Counting {
    fn model(&self, _: &Route) -> Result<ModelInfo, String> {
        Ok(ModelInfo { context: CONTEXT, max_output: 2_000, assumed: false, ..ModelInfo::default() })
    }
    fn encoder(&self, _: &Route) -> String {
        "openai_chat/1".into()
    }
    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        match wire::by_name("openai_chat") {
            Some(wire) => wire.encode(request, cache),
            None => Encoded::of(Vec::new()),
        }
    }
    fn send<'a>(
        &'a self,
        _: &'a Route,
        body: Encoded,
        _: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        let body = body.body();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), body.len()));
        let (part, stop) = self.reply(&body);
        // Four bytes a token, as most texts have.
        let input = body.len() as u64 / 4;
        let usage = Usage { input_uncached: input, output: 10, ..Usage::default() };
        let raw =
            format!(r#"{{"prompt_tokens":{input},"completion_tokens":10,"total_tokens":{}}}"#, input + 10);
        let billed = Billed { usage, raw: Some(raw), ..Billed::default() };
        async move { Ok(ModelReply { parts: vec![part], stop, billed }) }.boxed()
    }
}

/// What a summariser is asked with.
const SUMMARY: &str = "is about to be left out";

/// Tokens of its window: long sessions are compacted again and again, as they are with any model.
const CONTEXT: u32 = 40_000;
