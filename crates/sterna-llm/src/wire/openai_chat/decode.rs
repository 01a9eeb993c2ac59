//! Streams of `chat/completions` chunks as live events and one reply.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sterna_model::{Billed, ModelStop, Part, ProviderFailure, Reasoning, Segment, ToolCall, Usage};

use super::super::Decoder;
use super::super::failure::{classify_event, cut_stream};
use super::super::parts::{LiveSegments, MAX_CALLS, call_id, ended, feed, mark_truncated};
use crate::sse::SseDecoder;
use crate::{ModelReply, StreamEvent};

/// The state of one answer.
#[derive(Default)]
pub(super) struct ChatDecoder {
    sse: SseDecoder,
    answer: Answer,
}

impl Decoder for ChatDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut dyn FnMut(StreamEvent)) -> Result<(), ProviderFailure> {
        let answer = &mut self.answer;
        let fed =
            feed(
                &mut self.sse,
                bytes,
                |event| if answer.done { Ok(()) } else { answer.take(&event.data, events) },
            )?;
        fed.map_err(|large| cut_stream(large.to_string(), self.answer.billed(true)))
    }

    fn done(&self) -> bool {
        self.answer.done
    }

    fn finish(
        self: Box<Self>,
        complete_body: bool,
        events: &mut dyn FnMut(StreamEvent),
    ) -> Result<ModelReply, ProviderFailure> {
        let mut answer = self.answer;
        let ended = answer.done || (complete_body && answer.finish.is_some());
        if !ended {
            let message = match answer.finish {
                Some(_) => "the stream broke off between its finish reason and its end",
                None => "the stream ended before the answer did",
            };
            return Err(cut_stream(message, answer.billed(true)));
        }
        answer.live.close(events);
        Ok(answer.reply())
    }

    fn partial(&self) -> Vec<Part> {
        self.answer.parts.clone()
    }
}

#[derive(Default)]
struct Answer {
    live: LiveSegments,
    /// Text and reasoning, in the order in which they came.
    parts: Vec<Part>,
    calls: Vec<Call>,
    finish: Option<ModelStop>,
    refused: bool,
    usage: Option<Box<RawValue>>,
    /// The answer's own id, for calls that have none.
    id: String,
    /// `[DONE]` was seen.
    done: bool,
}

/// A call as its deltas build it.
#[derive(Debug, Default)]
struct Call {
    index: u64,
    id: String,
    name: String,
    arguments: String,
}

impl Answer {
    fn take(&mut self, data: &str, events: &mut dyn FnMut(StreamEvent)) -> Result<(), ProviderFailure> {
        if data.trim() == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk = match serde_json::from_str(data) {
            Ok(chunk) => chunk,
            Err(error) => {
                let message = format!("the stream sent a chunk that is not understood: {error}");
                return Err(cut_stream(message, self.billed(true)));
            }
        };
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            let failure = classify_event(&serde_json::json!({ "error": error }));
            return Err(ProviderFailure { billed: self.billed(true), ..failure });
        }
        if let (true, Some(id)) = (self.id.is_empty(), chunk.id) {
            self.id = id;
        }
        if let Some(usage) = chunk.usage.filter(|usage| usage.get().starts_with('{')) {
            self.usage = Some(usage);
        }
        // We ask for one choice; a server that sends others is not listened to.
        let first =
            chunk.choices.unwrap_or_default().into_iter().find(|choice| choice.index.unwrap_or(0) == 0);
        let Some(choice) = first else { return Ok(()) };
        if let Some(delta) = choice.delta {
            self.take_delta(delta, events)?;
        }
        match choice.finish_reason.as_deref() {
            None | Some("") => {}
            Some("error" | "insufficient_system_resource" | "network_error") => {
                let event = serde_json::json!({ "error": {
                    "type": "overloaded_error",
                    "message": "the provider gave up in the middle of the answer",
                } });
                return Err(ProviderFailure { billed: self.billed(true), ..classify_event(&event) });
            }
            Some("length") => self.finish = Some(ModelStop::MaxOutput),
            Some("content_filter" | "sensitive") => self.finish = Some(ModelStop::Refused),
            Some("tool_calls" | "function_call") => self.finish = Some(ModelStop::ToolCalls),
            // Servers have their own words for an answer that is complete.
            Some("stop" | "STOP" | "eos" | "eos_token" | "end_turn" | "stop_sequence" | "COMPLETE") => {
                self.finish = Some(ModelStop::EndTurn);
            }
            // Whether the answer is whole is not known, so it is no success.
            Some(word) => {
                let message = format!("the provider ended the answer with an unknown reason: {word:?}");
                let event = serde_json::json!({ "error": { "message": message } });
                return Err(ProviderFailure { billed: self.billed(true), ..classify_event(&event) });
            }
        }
        Ok(())
    }

    fn take_delta(
        &mut self,
        delta: Delta,
        events: &mut dyn FnMut(StreamEvent),
    ) -> Result<(), ProviderFailure> {
        let text = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
        if let Some(text) = text(&delta.reasoning_content).or_else(|| text(&delta.reasoning)) {
            self.reasoning(&text, events);
        }
        match delta.content {
            Some(Content::Text(text)) => self.text(&text, events),
            Some(Content::Blocks(blocks)) => {
                for block in blocks {
                    self.block(&block, events);
                }
            }
            Some(Content::Other(_)) | None => {}
        }
        if let Some(text) = delta.refusal.filter(|text| !text.is_empty()) {
            self.refused = true;
            self.text(&text, events);
        }
        for delta in delta.tool_calls.unwrap_or_default() {
            self.call(delta, events);
            if self.calls.len() > MAX_CALLS {
                let message = format!("the answer holds more than {MAX_CALLS} tool calls");
                return Err(cut_stream(message, self.billed(true)));
            }
        }
        Ok(())
    }

    /// Some providers send content as a list of blocks.
    fn block(&mut self, block: &Value, events: &mut dyn FnMut(StreamEvent)) {
        match block.get("type").and_then(Value::as_str) {
            Some("thinking") => match block.get("thinking") {
                Some(Value::String(text)) => self.reasoning(text, events),
                Some(Value::Array(inner)) => {
                    for text in inner.iter().filter_map(|part| part.get("text")?.as_str()) {
                        self.reasoning(text, events);
                    }
                }
                _ => {}
            },
            _ => {
                if let Some(text) = block.get("text").and_then(Value::as_str) {
                    self.text(text, events);
                }
            }
        }
    }

    fn text(&mut self, text: &str, events: &mut dyn FnMut(StreamEvent)) {
        if text.is_empty() {
            return;
        }
        match self.parts.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
        self.live.delta(Segment::Text, 0, text, events);
    }

    fn reasoning(&mut self, text: &str, events: &mut dyn FnMut(StreamEvent)) {
        if text.is_empty() {
            return;
        }
        match self.parts.last_mut() {
            Some(Part::Reasoning(last)) => last.text.push_str(text),
            _ => self.parts.push(Part::Reasoning(Reasoning { text: text.to_owned(), opaque: None })),
        }
        self.live.delta(Segment::Reasoning, 0, text, events);
    }

    fn call(&mut self, delta: CallDelta, events: &mut dyn FnMut(StreamEvent)) {
        let function = delta.function.unwrap_or_default();
        let id = delta.id.unwrap_or_default();
        let name = function.name.unwrap_or_default();
        let at = self.slot(delta.index, &id, &name);
        let call = &mut self.calls[at];
        if !id.is_empty() {
            call.id = id;
        }
        if !name.is_empty() {
            call.name = name;
        }
        let more = function.arguments.map(Arguments::text).unwrap_or_default();
        call.arguments.push_str(&more);
        let known = |text: &'_ str| !text.is_empty();
        let (id, name) = (call.id.as_str(), call.name.as_str());
        let about = (known(id).then_some(id), known(name).then_some(name));
        self.live.call_delta(Segment::ToolCall, at as u64, &more, about, events);
    }

    /// The call that a delta belongs to, made if it is new.
    fn slot(&mut self, index: Option<u64>, id: &str, name: &str) -> usize {
        let found = match index {
            Some(index) => self.calls.iter().rposition(|call| call.index == index),
            None if !id.is_empty() => self.calls.iter().rposition(|call| call.id == id),
            None if !name.is_empty() => None,
            None => self.calls.len().checked_sub(1),
        };
        // Some servers give every call of an answer the index 0: another id and name after whole arguments is
        // another call.
        let other = |call: &Call| {
            !id.is_empty()
                && !name.is_empty()
                && !call.id.is_empty()
                && call.id != id
                && serde_json::from_str::<serde::de::IgnoredAny>(&call.arguments).is_ok()
        };
        match found {
            Some(at) if !other(&self.calls[at]) => at,
            _ => {
                let next = self.calls.iter().map(|call| call.index.saturating_add(1)).max().unwrap_or(0);
                self.calls.push(Call { index: index.unwrap_or(next), ..Call::default() });
                self.calls.len() - 1
            }
        }
    }

    fn billed(&self, estimated: bool) -> Billed {
        match &self.usage {
            Some(raw) => Billed {
                usage: usage(&serde_json::from_str(raw.get()).unwrap_or_default()),
                cost: None,
                estimated,
                raw: Some(raw.get().to_owned()),
            },
            None => Billed { estimated, ..Billed::default() },
        }
    }

    fn reply(mut self) -> ModelReply {
        let billed = self.billed(false);
        // Deltas may come in any order of their indexes; the answer is in the order of the indexes.
        self.calls.sort_by_key(|call| call.index);
        let stop = self.finish.unwrap_or(ModelStop::EndTurn);
        let mut parts = self.parts;
        let mut ids: Vec<String> = Vec::new();
        for call in self.calls.into_iter().filter(|call| !call.name.is_empty()) {
            let id = call_id(&call.id, &self.id, &ids);
            ids.push(id.clone());
            let cut = stop == ModelStop::MaxOutput;
            // A call of a tool without parameters may come with no text at all.
            let arguments =
                if call.arguments.trim().is_empty() && !cut { "{}".into() } else { call.arguments };
            parts.push(Part::ToolCall(ToolCall { id, name: call.name, arguments, truncated: false }));
        }
        let stop = ended(stop, self.refused, !ids.is_empty());
        mark_truncated(&mut parts, stop);
        ModelReply { parts, stop, billed }
    }
}

/// Tokens by class. The wire's prompt tokens include what was cached.
fn usage(raw: &Value) -> Usage {
    let number = |of: &Value, name: &str| of.get(name).and_then(Value::as_u64).unwrap_or(0);
    let within = |group: &str, name: &str| raw.get(group).map_or(0, |of| number(of, name));
    let prompt = number(raw, "prompt_tokens");
    let cache_read = within("prompt_tokens_details", "cached_tokens")
        .max(number(raw, "prompt_cache_hit_tokens"))
        .min(prompt);
    let cache_write_5m = within("prompt_tokens_details", "cache_write_tokens").min(prompt - cache_read);
    let reasoning = within("completion_tokens_details", "reasoning_tokens");
    let completion = number(raw, "completion_tokens");
    // A few providers count reasoning beside the completion; their total tells.
    let beside = reasoning > 0
        && number(raw, "total_tokens") == prompt.saturating_add(completion).saturating_add(reasoning);
    let output = if beside { completion.saturating_add(reasoning) } else { completion };
    Usage {
        input_uncached: prompt - cache_read - cache_write_5m,
        cache_read,
        cache_write_5m,
        cache_write_1h: 0,
        output,
        reasoning: reasoning.min(output),
    }
}

#[derive(Deserialize)]
struct Chunk {
    id: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<Box<RawValue>>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<Content>,
    reasoning_content: Option<Value>,
    reasoning: Option<Value>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Value>),
    Other(#[allow(dead_code)] serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize, Default)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<Arguments>,
}

/// A string by the book; some servers send the object itself.
#[derive(Deserialize)]
#[serde(untagged)]
enum Arguments {
    Text(String),
    Value(Value),
}

impl Arguments {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Value(Value::Null) => String::new(),
            Self::Value(value) => value.to_string(),
        }
    }
}
