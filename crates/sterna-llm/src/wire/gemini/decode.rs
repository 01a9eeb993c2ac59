//! Streams of `generateContent` chunks as live events and one reply.
//!
//! The wire has no terminal event: a finish reason may come in every chunk, so only a whole body ends an answer.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sterna_model::{
    Billed, ErrorClass, ModelStop, Opaque, Part, ProviderFailure, Reasoning, Route, Segment, ToolCall, Usage,
};

use super::super::Decoder;
use super::super::body::compact;
use super::super::failure::cut_stream;
use super::super::parts::{LiveSegments, MAX_CALLS, call_id, ended, feed};
use super::errors;
use super::stray::Stray;
use crate::sse::SseDecoder;
use crate::{ModelReply, StreamEvent};

/// The state of one answer.
pub(super) struct GeminiDecoder {
    sse: SseDecoder,
    stray: Stray,
    answer: Answer,
}

impl GeminiDecoder {
    pub(super) fn new(route: Route) -> Self {
        let answer = Answer {
            route,
            live: LiveSegments::default(),
            parts: Vec::new(),
            sealed: false,
            ids: Vec::new(),
            id: String::new(),
            usage: None,
            finish: None,
        };
        Self { sse: SseDecoder::new(), stray: Stray::default(), answer }
    }
}

impl Decoder for GeminiDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut dyn FnMut(StreamEvent)) -> Result<(), ProviderFailure> {
        let answer = &mut self.answer;
        self.stray.take(bytes);
        let fed = feed(&mut self.sse, bytes, |event| answer.take(&event.data, events))?;
        fed.map_err(|large| cut_stream(large.to_string(), self.answer.billed(true)))
    }

    fn done(&self) -> bool {
        false
    }

    fn finish(
        self: Box<Self>,
        complete_body: bool,
        events: &mut dyn FnMut(StreamEvent),
    ) -> Result<ModelReply, ProviderFailure> {
        let mut answer = self.answer;
        if let Some(error) = self.stray.error() {
            return Err(answer.failed(errors::classify_event(error)));
        }
        match answer.finish {
            Some(stop) if complete_body => {
                answer.live.close(events);
                Ok(answer.reply(stop))
            }
            Some(_) => {
                let message = "the stream broke off between its finish reason and its end";
                Err(cut_stream(message, answer.billed(true)))
            }
            None => Err(cut_stream("the stream ended before the answer did", answer.billed(true))),
        }
    }

    fn partial(&self) -> Vec<Part> {
        let part = |part: &Part| match part {
            Part::Text(text) => Some(Part::Text(text.clone())),
            Part::Reasoning(reasoning) if reasoning.text.is_empty() => None,
            Part::Reasoning(Reasoning { text, .. }) => {
                Some(Part::Reasoning(Reasoning { text: text.clone(), opaque: None }))
            }
            Part::ToolCall(_) | Part::Opaque(_) => None,
        };
        self.answer.parts.iter().filter_map(part).collect()
    }
}

struct Answer {
    route: Route,
    live: LiveSegments,
    parts: Vec<Part>,
    /// The last part is signed: nothing may be added to it.
    sealed: bool,
    ids: Vec<String>,
    /// The answer's own id, for calls that have none.
    id: String,
    usage: Option<Box<RawValue>>,
    finish: Option<ModelStop>,
}

impl Answer {
    fn take(&mut self, data: &str, events: &mut dyn FnMut(StreamEvent)) -> Result<(), ProviderFailure> {
        // Some proxies end their streams so; here it ends nothing.
        if data.trim() == "[DONE]" {
            return Ok(());
        }
        let chunk: Chunk = match serde_json::from_str(data) {
            Ok(chunk) => chunk,
            Err(error) => {
                return Err(match serde_json::from_str::<Value>(data) {
                    Ok(value) if errors::is_error(&value) => self.failed(errors::classify_event(value)),
                    _ => {
                        let message = format!("the stream sent a chunk that is not understood: {error}");
                        cut_stream(message, self.billed(true))
                    }
                });
            }
        };
        if let Some(usage) = chunk.usage_metadata.filter(|usage| usage.get().starts_with('{')) {
            self.usage = Some(usage);
        }
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(self.failed(errors::classify_event(serde_json::json!({ "error": error }))));
        }
        if let (true, Some(id)) = (self.id.is_empty(), chunk.response_id) {
            self.id = id;
        }
        if let Some(feedback) = chunk.prompt_feedback
            && let Some(reason) = feedback.block_reason.filter(|reason| !reason.ends_with("_UNSPECIFIED"))
        {
            let more = feedback.block_reason_message.map(|more| format!(": {more}")).unwrap_or_default();
            let message = format!("the provider's filter blocked the prompt ({reason}){more}");
            return Err(self.stopped(ErrorClass::ContentFilter, message));
        }
        // We ask for one candidate; a server that sends others is not listened to.
        let mut candidates = chunk.candidates.unwrap_or_default().into_iter();
        let Some(candidate) = candidates.find(|one| one.index.unwrap_or(0) == 0) else { return Ok(()) };
        for raw in candidate.content.and_then(|content| content.parts).unwrap_or_default() {
            self.part(&raw, events)?;
        }
        match candidate.finish_reason.as_deref() {
            Some(reason) => self.end(reason, candidate.finish_message.as_deref().unwrap_or_default()),
            None => Ok(()),
        }
    }

    /// The words are the provider's; what is no success keeps its word in the message.
    fn end(&mut self, reason: &str, said: &str) -> Result<(), ProviderFailure> {
        let (class, what) = match reason {
            "" | "FINISH_REASON_UNSPECIFIED" => return Ok(()),
            "STOP" => {
                self.finish = Some(ModelStop::EndTurn);
                return Ok(());
            }
            "MAX_TOKENS" => {
                self.finish = Some(ModelStop::MaxOutput);
                return Ok(());
            }
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "MODEL_ARMOR"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION" => (ErrorClass::ContentFilter, "the provider's filter stopped the answer"),
            "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" => {
                (ErrorClass::Server, "the model wrote a tool call that the provider threw away")
            }
            "MISSING_THOUGHT_SIGNATURE" => {
                (ErrorClass::InvalidRequest, "the provider misses the seal of an old call")
            }
            _ => (ErrorClass::Server, "the provider stopped the answer"),
        };
        let more = if said.is_empty() { String::new() } else { format!(": {said}") };
        Err(self.stopped(class, format!("{what} ({reason}){more}")))
    }

    fn part(&mut self, raw: &RawValue, events: &mut dyn FnMut(StreamEvent)) -> Result<(), ProviderFailure> {
        if self.parts.len() >= MAX_CALLS {
            let message = format!("the answer holds more than {MAX_CALLS} parts");
            return Err(cut_stream(message, self.billed(true)));
        }
        let part: ChunkPart = serde_json::from_str(raw.get()).unwrap_or_default();
        let signature = part.signature.filter(|signature| signature.get().starts_with('"'));
        let (signed, before) = (signature.is_some(), self.parts.len());
        let text = part.text.as_deref();
        match (part.function_call, text, signature) {
            (Some(call), _, signature) => {
                self.seal(signature);
                self.call(call, events);
            }
            (None, Some(text), _) if part.thought.unwrap_or(false) => {
                self.thought(text, signed.then(|| raw.get()), events);
            }
            (None, Some(text), signature) if !text.is_empty() => {
                self.seal(signature);
                self.text(text, signed, events);
            }
            // The last chunk's, beside no text or an empty one: it seals what is not there.
            (None, _, Some(signature)) if is_bare(raw) => {
                self.opaque(format!("{{\"text\":\"\",\"{}\":{}}}", super::SIGNATURE, signature.get()));
            }
            (None, text, signature) if signature.is_some() || (text.is_none() && !is_empty(raw)) => {
                self.opaque(raw.get().to_owned());
            }
            (None, _, _) => {}
        }
        if self.parts.len() > before {
            self.sealed = signed;
        }
        Ok(())
    }

    /// Keeps a signature in front of the part that it seals.
    fn seal(&mut self, signature: Option<Box<RawValue>>) {
        if let Some(signature) = signature {
            self.opaque(format!("{{\"{}\":{}}}", super::SIGNATURE, signature.get()));
        }
    }

    fn opaque(&mut self, json: String) {
        self.parts.push(Part::Opaque(Opaque { route: self.route.clone(), json }));
    }

    fn text(&mut self, text: &str, signed: bool, events: &mut dyn FnMut(StreamEvent)) {
        match self.parts.last_mut() {
            Some(Part::Text(last)) if !signed && !self.sealed => last.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
        self.live.delta(Segment::Text, 0, text, events);
    }

    fn thought(&mut self, text: &str, raw: Option<&str>, events: &mut dyn FnMut(StreamEvent)) {
        let opaque = raw.map(|raw| Opaque { route: self.route.clone(), json: raw.to_owned() });
        match self.parts.last_mut() {
            Some(Part::Reasoning(last)) if opaque.is_none() && !self.sealed => last.text.push_str(text),
            _ if text.is_empty() && opaque.is_none() => {}
            _ => self.parts.push(Part::Reasoning(Reasoning { text: text.to_owned(), opaque })),
        }
        self.live.delta(Segment::Reasoning, 0, text, events);
    }

    /// Calls come whole.
    fn call(&mut self, call: FunctionCall, events: &mut dyn FnMut(StreamEvent)) {
        let name = call.name.unwrap_or_default();
        if name.is_empty() {
            return;
        }
        let id = call_id(call.id.as_deref().unwrap_or_default(), &self.id, &self.ids);
        let arguments = match call.args {
            Some(args) if args.get() != "null" => args.get().to_owned(),
            _ => "{}".into(),
        };
        let at = self.ids.len() as u64;
        self.live.call_delta(Segment::ToolCall, at, &arguments, (Some(&id), Some(&name)), events);
        self.live.close(events);
        self.ids.push(id.clone());
        self.parts.push(Part::ToolCall(ToolCall { id, name, arguments, truncated: false }));
    }

    /// The provider ended the answer itself: what it cost is known if it was told.
    fn stopped(&self, class: ErrorClass, message: String) -> ProviderFailure {
        let billed = self.billed(self.usage.is_none());
        ProviderFailure { class, status: None, message, retry_after_ms: None, billed }
    }

    fn failed(&self, failure: ProviderFailure) -> ProviderFailure {
        ProviderFailure { billed: self.billed(true), ..failure }
    }

    fn billed(&self, estimated: bool) -> Billed {
        match &self.usage {
            Some(raw) => Billed {
                usage: usage(&serde_json::from_str(raw.get()).unwrap_or_default()),
                cost: None,
                estimated,
                raw: Some(compact(raw.get())),
            },
            None => Billed { estimated, ..Billed::default() },
        }
    }

    fn reply(self, stop: ModelStop) -> ModelReply {
        let billed = self.billed(false);
        let stop = ended(stop, false, !self.ids.is_empty());
        ModelReply { parts: self.parts, stop, billed }
    }
}

/// Whether a part holds text and signature at most.
fn is_bare(raw: &RawValue) -> bool {
    serde_json::from_str::<serde_json::Map<String, Value>>(raw.get()).is_ok_and(|members| {
        members.keys().all(|key| matches!(key.as_str(), "text" | super::SIGNATURE | "thought"))
    })
}

fn is_empty(raw: &RawValue) -> bool {
    matches!(compact(raw.get()).as_str(), "{}" | "null")
}

/// Tokens by class. The wire's prompt tokens include what was cached; thoughts are counted beside the candidates.
fn usage(raw: &Value) -> Usage {
    let number = |key: &str| raw.get(key).and_then(Value::as_u64).unwrap_or(0);
    let input = number("promptTokenCount").saturating_add(number("toolUsePromptTokenCount"));
    let cache_read = number("cachedContentTokenCount").min(input);
    let (candidates, thoughts) = (number("candidatesTokenCount"), number("thoughtsTokenCount"));
    // A few proxies count thoughts among the candidates; their total tells.
    let inside = thoughts > 0
        && thoughts <= candidates
        && number("totalTokenCount") == input.saturating_add(candidates);
    let output = if inside { candidates } else { candidates.saturating_add(thoughts) };
    Usage {
        input_uncached: input - cache_read,
        cache_read,
        cache_write_5m: 0,
        cache_write_1h: 0,
        output,
        reasoning: thoughts,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    candidates: Option<Vec<Candidate>>,
    prompt_feedback: Option<Feedback>,
    usage_metadata: Option<Box<RawValue>>,
    response_id: Option<String>,
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
    block_reason_message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    index: Option<u64>,
    content: Option<Content>,
    finish_reason: Option<String>,
    finish_message: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    parts: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize, Default)]
struct ChunkPart {
    text: Option<String>,
    thought: Option<bool>,
    #[serde(rename = "thoughtSignature")]
    signature: Option<Box<RawValue>>,
    #[serde(rename = "functionCall")]
    function_call: Option<FunctionCall>,
}

#[derive(Deserialize)]
struct FunctionCall {
    id: Option<String>,
    name: Option<String>,
    args: Option<Box<RawValue>>,
}
