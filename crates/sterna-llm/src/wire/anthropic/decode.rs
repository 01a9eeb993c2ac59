//! Streams of Messages events as live events and one reply.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sterna_model::{
    Billed, ModelStop, Opaque, Part, ProviderFailure, Reasoning, Route, Segment, ToolCall, Usage,
};

use super::super::Decoder;
use super::super::body::compact;
use super::super::failure::{classify_event, cut_stream};
use super::super::parts::{LiveSegments, MAX_CALLS, call_id, ended, feed, mark_truncated};
use crate::sse::SseDecoder;
use crate::{ModelReply, StreamEvent};

/// The state of one answer.
pub(super) struct MessagesDecoder {
    sse: SseDecoder,
    answer: Answer,
}

impl MessagesDecoder {
    pub(super) fn new(route: Route) -> Self {
        let answer = Answer {
            route,
            live: LiveSegments::default(),
            blocks: Vec::new(),
            id: String::new(),
            usage: Map::new(),
            stop: None,
            done: false,
        };
        Self { sse: SseDecoder::new(), answer }
    }
}

impl Decoder for MessagesDecoder {
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
        _complete_body: bool,
        events: &mut dyn FnMut(StreamEvent),
    ) -> Result<ModelReply, ProviderFailure> {
        let mut answer = self.answer;
        if !answer.done {
            let message = "the stream ended before its message_stop";
            return Err(cut_stream(message, answer.billed(true)));
        }
        answer.live.close(events);
        Ok(answer.reply())
    }

    fn partial(&self) -> Vec<Part> {
        let part = |block: &Block| match &block.kind {
            Kind::Text(text) if !text.is_empty() => Some(Part::Text(text.clone())),
            Kind::Thinking { text, .. } if !text.is_empty() => {
                Some(Part::Reasoning(Reasoning { text: text.clone(), opaque: None }))
            }
            Kind::Text(_) | Kind::Thinking { .. } | Kind::ToolUse { .. } | Kind::Redacted | Kind::Unknown => {
                None
            }
        };
        self.answer.blocks.iter().filter_map(part).collect()
    }
}

struct Answer {
    route: Route,
    live: LiveSegments,
    blocks: Vec<Block>,
    id: String,
    /// The usage objects so far, laid over one another.
    usage: Map<String, Value>,
    stop: Option<ModelStop>,
    /// `message_stop` was seen.
    done: bool,
}

/// One content block as its events build it.
struct Block {
    index: u64,
    /// The block as it was opened, byte for byte.
    raw: String,
    /// `input_json_delta` texts.
    json: String,
    stopped: bool,
    kind: Kind,
}

enum Kind {
    Text(String),
    Thinking { text: String, signature: String },
    ToolUse { id: String, name: String },
    Redacted,
    Unknown,
}

impl Answer {
    fn take(&mut self, data: &str, events: &mut dyn FnMut(StreamEvent)) -> Result<(), ProviderFailure> {
        let event: Event = match serde_json::from_str(data) {
            Ok(event) => event,
            Err(error) => {
                let message = format!("the stream sent an event that is not understood: {error}");
                return Err(cut_stream(message, self.billed(true)));
            }
        };
        match event.kind.as_str() {
            "message_start" => {
                let message = event.message.unwrap_or_default();
                self.id = message.id.unwrap_or_default();
                self.add_usage(message.usage);
            }
            "content_block_start" => {
                if let (Some(index), Some(block)) = (event.index, event.content_block) {
                    self.open(index, block.get(), events)?;
                }
            }
            "content_block_delta" => {
                if let (Some(index), Some(delta)) = (event.index, event.delta) {
                    self.delta(index, delta, events);
                }
            }
            "content_block_stop" => {
                if let Some(block) = event.index.and_then(|index| self.block(index)) {
                    self.blocks[block].stopped = true;
                    self.live.close(events);
                }
            }
            "message_delta" => {
                if let Some(reason) = event.delta.and_then(|delta| delta.stop_reason) {
                    self.stop = Some(match reason.as_str() {
                        "max_tokens" | "model_context_window_exceeded" => ModelStop::MaxOutput,
                        "tool_use" => ModelStop::ToolCalls,
                        "refusal" => ModelStop::Refused,
                        "end_turn" | "stop_sequence" | "pause_turn" => ModelStop::EndTurn,
                        // Whether the answer is whole is not known, so it is no success.
                        word => {
                            let message =
                                format!("the provider ended the answer with an unknown reason: {word:?}");
                            let event = serde_json::json!({ "error": { "message": message } });
                            return Err(ProviderFailure {
                                billed: self.billed(true),
                                ..classify_event(&event)
                            });
                        }
                    });
                }
                self.add_usage(event.usage);
            }
            "message_stop" => self.done = true,
            "error" => {
                let failure = classify_event(&serde_json::json!({ "error": event.error }));
                return Err(ProviderFailure { billed: self.billed(true), ..failure });
            }
            // `ping`, and events that are not known yet.
            _ => {}
        }
        Ok(())
    }

    fn block(&self, index: u64) -> Option<usize> {
        self.blocks.iter().rposition(|block| block.index == index)
    }

    fn open(
        &mut self,
        index: u64,
        raw: &str,
        events: &mut dyn FnMut(StreamEvent),
    ) -> Result<(), ProviderFailure> {
        if self.blocks.len() >= MAX_CALLS {
            let message = format!("the answer holds more than {MAX_CALLS} blocks");
            return Err(cut_stream(message, self.billed(true)));
        }
        let start: BlockStart = serde_json::from_str(raw).unwrap_or_default();
        let at = self.blocks.len() as u64;
        let kind = match start.kind.as_str() {
            "text" => {
                let text = start.text.unwrap_or_default();
                self.live.delta(Segment::Text, at, &text, events);
                Kind::Text(text)
            }
            "thinking" => {
                let text = start.thinking.unwrap_or_default();
                self.live.delta(Segment::Reasoning, at, &text, events);
                Kind::Thinking { text, signature: start.signature.unwrap_or_default() }
            }
            "tool_use" => {
                let (id, name) = (start.id.unwrap_or_default(), start.name.unwrap_or_default());
                self.live.call_delta(Segment::ToolCall, at, "", about(&id, &name), events);
                Kind::ToolUse { id, name }
            }
            "redacted_thinking" => Kind::Redacted,
            _ => Kind::Unknown,
        };
        let raw = raw.to_owned();
        self.blocks.push(Block { index, raw, json: String::new(), stopped: false, kind });
        Ok(())
    }

    fn delta(&mut self, index: u64, delta: Delta, events: &mut dyn FnMut(StreamEvent)) {
        let Some(at) = self.block(index) else { return };
        let (block, live, key) = (&mut self.blocks[at], &mut self.live, at as u64);
        if let Some(more) = &delta.partial_json {
            block.json.push_str(more);
        }
        match &mut block.kind {
            Kind::Text(text) => {
                let more = delta.text.unwrap_or_default();
                text.push_str(&more);
                live.delta(Segment::Text, key, &more, events);
            }
            Kind::Thinking { text, signature } => {
                let more = delta.thinking.unwrap_or_default();
                text.push_str(&more);
                live.delta(Segment::Reasoning, key, &more, events);
                signature.push_str(&delta.signature.unwrap_or_default());
            }
            Kind::ToolUse { id, name } => {
                let more = delta.partial_json.unwrap_or_default();
                live.call_delta(Segment::ToolCall, key, &more, about(id, name), events);
            }
            Kind::Redacted | Kind::Unknown => {}
        }
    }

    /// Later figures are cumulative, so the larger one holds.
    fn add_usage(&mut self, more: Option<Map<String, Value>>) {
        for (name, value) in more.unwrap_or_default() {
            let old = self.usage.get(&name).and_then(Value::as_u64);
            let stays =
                value.is_null() || matches!((old, value.as_u64()), (Some(old), Some(new)) if new < old);
            if !stays || !self.usage.contains_key(&name) {
                self.usage.insert(name, value);
            }
        }
    }

    fn billed(&self, estimated: bool) -> Billed {
        if self.usage.is_empty() {
            return Billed { estimated, ..Billed::default() };
        }
        let raw = Value::Object(self.usage.clone());
        Billed { usage: usage(&raw), cost: None, estimated, raw: Some(raw.to_string()) }
    }

    fn reply(self) -> ModelReply {
        let billed = self.billed(false);
        let mut parts = Vec::new();
        let mut ids: Vec<String> = Vec::new();
        for block in self.blocks {
            let opaque = |json: String| Opaque { route: self.route.clone(), json };
            match block.kind {
                Kind::Text(text) if text.is_empty() => {}
                Kind::Text(text) => parts.push(Part::Text(text)),
                Kind::Thinking { text, signature } => {
                    // Unsigned, the wire would refuse it.
                    let signed = (!signature.is_empty()).then(|| thinking(&block.raw, &text, &signature));
                    parts.push(Part::Reasoning(Reasoning { text, opaque: signed.map(opaque) }));
                }
                Kind::Redacted => {
                    let text = String::new();
                    parts.push(Part::Reasoning(Reasoning { text, opaque: Some(opaque(block.raw)) }));
                }
                Kind::ToolUse { name, .. } if name.is_empty() => {}
                Kind::ToolUse { id, name } => {
                    let id = call_id(&id, &self.id, &ids);
                    ids.push(id.clone());
                    let arguments = match block.json.as_str() {
                        "" if block.stopped => input(&block.raw),
                        json => json.to_owned(),
                    };
                    parts.push(Part::ToolCall(ToolCall { id, name, arguments, truncated: false }));
                }
                Kind::Unknown => parts.push(Part::Opaque(opaque(unknown(block.raw, &block.json)))),
            }
        }
        let stop = ended(self.stop.unwrap_or(ModelStop::EndTurn), false, !ids.is_empty());
        mark_truncated(&mut parts, stop);
        ModelReply { parts, stop, billed }
    }
}

fn about<'a>(id: &'a str, name: &'a str) -> (Option<&'a str>, Option<&'a str>) {
    ((!id.is_empty()).then_some(id), (!name.is_empty()).then_some(name))
}

/// A thinking block as it would have come in one piece; members that we do not know are kept.
fn thinking(raw: &str, text: &str, signature: &str) -> String {
    let mut block: Map<String, Value> = serde_json::from_str(raw).unwrap_or_default();
    block.insert("thinking".into(), text.into());
    block.insert("signature".into(), signature.into());
    Value::Object(block).to_string()
}

/// A block of a kind that we do not know, with the input that came after its start.
fn unknown(raw: String, json: &str) -> String {
    if json.is_empty() {
        return raw;
    }
    match (serde_json::from_str::<Map<String, Value>>(&raw), serde_json::from_str::<Value>(json)) {
        (Ok(mut block), Ok(input)) => {
            block.insert("input".into(), input);
            Value::Object(block).to_string()
        }
        _ => raw,
    }
}

/// The input that came with a block's start, for blocks without deltas.
fn input(raw: &str) -> String {
    let start: BlockStart = serde_json::from_str(raw).unwrap_or_default();
    match start.input {
        Some(input) if input.get() != "null" => compact(input.get()),
        _ => "{}".into(),
    }
}

/// Tokens by class. The wire's input tokens do not include the cache's.
fn usage(raw: &Value) -> Usage {
    let number = |path: &str| raw.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let written = number("/cache_creation_input_tokens");
    let long = number("/cache_creation/ephemeral_1h_input_tokens");
    let short = number("/cache_creation/ephemeral_5m_input_tokens").max(written.saturating_sub(long));
    Usage {
        input_uncached: number("/input_tokens"),
        cache_read: number("/cache_read_input_tokens"),
        cache_write_5m: short,
        cache_write_1h: long,
        output: number("/output_tokens"),
        reasoning: 0,
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", default)]
    kind: String,
    index: Option<u64>,
    message: Option<Message>,
    content_block: Option<Box<RawValue>>,
    delta: Option<Delta>,
    usage: Option<Map<String, Value>>,
    error: Option<Value>,
}

#[derive(Deserialize, Default)]
struct Message {
    id: Option<String>,
    usage: Option<Map<String, Value>>,
}

#[derive(Deserialize, Default)]
struct BlockStart {
    #[serde(rename = "type", default)]
    kind: String,
    id: Option<String>,
    name: Option<String>,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    input: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Delta {
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    partial_json: Option<String>,
    stop_reason: Option<String>,
}
