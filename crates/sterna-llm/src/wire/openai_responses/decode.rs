//! Streams of Responses events as live events and one reply.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sterna_model::{Billed, ErrorClass, ModelStop, Part, ProviderFailure, Route, Usage};

use super::super::Decoder;
use super::super::failure::{asked_to_wait, classify_event, cut_stream};
use super::super::parts::{LiveSegments, MAX_CALLS, ended, feed, mark_truncated};
use super::item::{Kind, Slot};
use crate::sse::SseDecoder;
use crate::{ModelReply, StreamEvent};

/// The state of one answer.
pub(super) struct ResponsesDecoder {
    sse: SseDecoder,
    answer: Answer,
}

impl ResponsesDecoder {
    pub(super) fn new(route: Route) -> Self {
        let answer = Answer {
            route,
            live: LiveSegments::default(),
            slots: Vec::new(),
            id: String::new(),
            usage: None,
            stop: None,
        };
        Self { sse: SseDecoder::new(), answer }
    }
}

impl Decoder for ResponsesDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut dyn FnMut(StreamEvent)) -> Result<(), ProviderFailure> {
        let answer = &mut self.answer;
        let fed = feed(&mut self.sse, bytes, |event| {
            if answer.stop.is_some() { Ok(()) } else { answer.take(&event.name, &event.data, events) }
        })?;
        fed.map_err(|large| cut_stream(large.to_string(), self.answer.billed(true)))
    }

    fn done(&self) -> bool {
        self.answer.stop.is_some()
    }

    fn finish(
        self: Box<Self>,
        _complete_body: bool,
        events: &mut dyn FnMut(StreamEvent),
    ) -> Result<ModelReply, ProviderFailure> {
        let mut answer = self.answer;
        let Some(stop) = answer.stop else {
            let message = "the stream ended before its response.completed";
            return Err(cut_stream(message, answer.billed(true)));
        };
        answer.live.close(events);
        Ok(answer.reply(stop))
    }

    fn partial(&self) -> Vec<Part> {
        self.answer.slots.iter().filter_map(Slot::partial).collect()
    }
}

struct Answer {
    route: Route,
    live: LiveSegments,
    /// The output items, in the order in which they began.
    slots: Vec<Slot>,
    id: String,
    usage: Option<Box<RawValue>>,
    /// The terminal event was seen, and says this.
    stop: Option<ModelStop>,
}

impl Answer {
    fn take(
        &mut self,
        name: &str,
        data: &str,
        events: &mut dyn FnMut(StreamEvent),
    ) -> Result<(), ProviderFailure> {
        // No event of this wire; some servers send it all the same, and it ends nothing.
        if data.trim() == "[DONE]" {
            return Ok(());
        }
        let event: Event = match serde_json::from_str(data) {
            Ok(event) => event,
            Err(error) => return Err(self.not_understood(&error)),
        };
        match event.kind.as_deref().unwrap_or(name) {
            "response.created" | "response.in_progress" | "response.queued" => {
                let response: Response = self.read(event.response.as_deref())?;
                self.know(&response);
            }
            "response.output_item.added" => {
                if let Some(raw) = &event.item {
                    let item = serde_json::from_str(raw.get()).unwrap_or_default();
                    let at = self.open(Kind::of(&item), &event)?;
                    self.slots[at].begin(&item, at as u64, &mut self.live, events);
                }
            }
            "response.output_item.done" => {
                if let Some(raw) = &event.item {
                    self.finish_item(raw, &event, events)?;
                }
            }
            "response.output_text.delta" => self.delta(Kind::Message, &event, events)?,
            "response.refusal.delta" => {
                self.delta(Kind::Message, &event, events)?;
                if let Some(at) = self.find(Kind::Message, &event) {
                    self.slots[at].refuse();
                }
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.delta(Kind::Reasoning, &event, events)?;
            }
            "response.reasoning_summary_part.added" => {
                if let Some(at) = self.find(Kind::Reasoning, &event) {
                    self.slots[at].next_summary();
                }
            }
            "response.function_call_arguments.delta" => self.delta(Kind::Call, &event, events)?,
            "response.function_call_arguments.done" => {
                let (found, whole) =
                    (self.find(Kind::Call, &event), event.arguments.as_ref().and_then(Value::as_str));
                if let (Some(at), Some(whole)) = (found, whole) {
                    self.slots[at].set_arguments(whole, at as u64, &mut self.live, events);
                }
            }
            kind @ ("response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled") => {
                self.end(kind, event.response.as_deref(), events)?;
            }
            "error" => return Err(self.failed(serde_json::from_str(data).unwrap_or_default())),
            // Keep-alives, server tools at work, and events that are not known yet.
            _ => {
                if let Some(error) = event.error.filter(|error| !error.is_null()) {
                    return Err(self.failed(serde_json::json!({ "error": error })));
                }
            }
        }
        Ok(())
    }

    /// Reads a response object; none is an empty one.
    fn read(&self, raw: Option<&RawValue>) -> Result<Response, ProviderFailure> {
        let Some(raw) = raw else { return Ok(Response::default()) };
        serde_json::from_str(raw.get()).map_err(|error| self.not_understood(&error))
    }

    fn know(&mut self, response: &Response) {
        if let Some(id) = response.id.as_ref().and_then(Value::as_str) {
            id.clone_into(&mut self.id);
        }
        if let Some(usage) = response.usage.as_ref().filter(|usage| usage.get().starts_with('{')) {
            self.usage = Some(usage.clone());
        }
    }

    /// The unfinished item that an event belongs to. Some proxies give an item another id in every event, so a
    /// position holds where the id is unknown; others give all items the same position, so the id comes first.
    fn find(&self, kind: Kind, event: &Event) -> Option<usize> {
        let (index, id) = (event.index(), event.id());
        let open = |test: &dyn Fn(&Slot) -> bool| {
            self.slots.iter().rposition(|slot| slot.is(kind) && !slot.finished() && test(slot))
        };
        open(&|slot| slot.has_id(kind, id))
            .or_else(|| open(&|slot| slot.has_index(kind, index)))
            .or_else(|| if index.is_none() && id.is_empty() { open(&|_| true) } else { None })
    }

    fn open(&mut self, kind: Kind, event: &Event) -> Result<usize, ProviderFailure> {
        if self.slots.len() >= MAX_CALLS {
            let message = format!("the answer holds more than {MAX_CALLS} items");
            return Err(cut_stream(message, self.billed(true)));
        }
        self.slots.push(Slot::new(kind, event.index(), event.id()));
        Ok(self.slots.len() - 1)
    }

    fn delta(
        &mut self,
        kind: Kind,
        event: &Event,
        events: &mut dyn FnMut(StreamEvent),
    ) -> Result<(), ProviderFailure> {
        let Some(more) = event.delta.as_ref().and_then(Value::as_str) else { return Ok(()) };
        let late = |slot: &Slot| {
            slot.finished() && (slot.has_id(kind, event.id()) || slot.has_index(kind, event.index()))
        };
        let at = match self.find(kind, event) {
            Some(at) => at,
            None if self.slots.iter().any(late) => return Ok(()),
            None => self.open(kind, event)?,
        };
        self.slots[at].add(more, at as u64, &mut self.live, events);
        Ok(())
    }

    fn finish_item(
        &mut self,
        raw: &RawValue,
        event: &Event,
        events: &mut dyn FnMut(StreamEvent),
    ) -> Result<(), ProviderFailure> {
        let item: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        let kind = Kind::of(&item);
        let place = event.with_id(&item);
        let at = match self.find(kind, &place) {
            Some(at) => at,
            None => self.open(kind, &place)?,
        };
        self.slots[at].finish(raw, &item, at as u64, &mut self.live, events);
        Ok(())
    }

    /// The terminal event.
    fn end(
        &mut self,
        kind: &str,
        raw: Option<&RawValue>,
        events: &mut dyn FnMut(StreamEvent),
    ) -> Result<(), ProviderFailure> {
        let response = self.read(raw)?;
        self.know(&response);
        let named = kind.rsplit('.').next().unwrap_or_default();
        let stop = match response.status.as_ref().and_then(Value::as_str).unwrap_or(named) {
            "failed" => {
                let silent = || serde_json::json!({ "message": "the provider failed and said nothing more" });
                let error = response.error.filter(|error| !error.is_null()).unwrap_or_else(silent);
                return Err(self.failed(serde_json::json!({ "error": error })));
            }
            "cancelled" => {
                return Err(
                    self.failed(serde_json::json!({ "message": "the provider cancelled the answer" }))
                );
            }
            "incomplete" => {
                let details = response.incomplete_details.unwrap_or_default();
                match details.get("reason").and_then(Value::as_str).unwrap_or_default() {
                    "max_output_tokens" | "max_tokens" | "length" => ModelStop::MaxOutput,
                    "content_filter" => ModelStop::Refused,
                    reason => {
                        let message = format!("the provider left the answer incomplete: {reason:?}");
                        return Err(self.failed(serde_json::json!({ "message": message })));
                    }
                }
            }
            _ => ModelStop::EndTurn,
        };
        self.fill(response.output.as_deref(), events)?;
        self.stop = Some(stop);
        Ok(())
    }

    /// Takes from the terminal event what its stream left out.
    fn fill(
        &mut self,
        output: Option<&RawValue>,
        events: &mut dyn FnMut(StreamEvent),
    ) -> Result<(), ProviderFailure> {
        if self.slots.iter().any(Slot::finished) && self.slots.iter().all(Slot::finished) {
            return Ok(());
        }
        let output: Vec<Box<RawValue>> =
            output.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let empty = self.slots.is_empty();
        for (at, raw) in output.iter().enumerate() {
            let event = Event { output_index: Some(at.into()), ..Event::default() };
            let item: Value = serde_json::from_str(raw.get()).unwrap_or_default();
            let kind = Kind::of(&item);
            let open = self.find(kind, &event.with_id(&item)).is_some();
            if empty || open {
                self.finish_item(raw, &event, events)?;
            }
        }
        Ok(())
    }

    /// A failure that the provider words. With a usage object it is known what it cost.
    fn failed(&self, error: Value) -> ProviderFailure {
        let failure = classify_event(&error);
        let retry_after_ms = match failure.class {
            ErrorClass::RateLimit => asked_to_wait(&failure.message),
            _ => None,
        };
        ProviderFailure { retry_after_ms, billed: self.billed(self.usage.is_none()), ..failure }
    }

    fn not_understood(&self, error: &serde_json::Error) -> ProviderFailure {
        cut_stream(format!("the stream sent an event that is not understood: {error}"), self.billed(true))
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

    fn reply(self, stop: ModelStop) -> ModelReply {
        let billed = self.billed(false);
        let refused = self.slots.iter().any(Slot::refused);
        let mut parts = Vec::new();
        let mut ids: Vec<String> = Vec::new();
        for slot in self.slots {
            slot.into_parts(&self.route, &self.id, stop == ModelStop::MaxOutput, &mut ids, &mut parts);
        }
        let stop = ended(stop, refused, !ids.is_empty());
        mark_truncated(&mut parts, stop);
        ModelReply { parts, stop, billed }
    }
}

/// Tokens by class. The wire's input tokens include what was cached, its output tokens the reasoning.
fn usage(raw: &Value) -> Usage {
    let number = |path: &str| raw.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let input = number("/input_tokens");
    let cache_read = number("/input_tokens_details/cached_tokens").min(input);
    let cache_write_5m = number("/input_tokens_details/cache_write_tokens").min(input - cache_read);
    let output = number("/output_tokens");
    Usage {
        input_uncached: input - cache_read - cache_write_5m,
        cache_read,
        cache_write_5m,
        cache_write_1h: 0,
        output,
        reasoning: number("/output_tokens_details/reasoning_tokens").min(output),
    }
}

/// An event. What may have any shape in events that are not known is left as it is.
#[derive(Deserialize, Default)]
struct Event {
    #[serde(rename = "type")]
    kind: Option<String>,
    output_index: Option<Value>,
    item_id: Option<Value>,
    delta: Option<Value>,
    arguments: Option<Value>,
    item: Option<Box<RawValue>>,
    response: Option<Box<RawValue>>,
    error: Option<Value>,
}

impl Event {
    fn index(&self) -> Option<u64> {
        self.output_index.as_ref().and_then(Value::as_u64)
    }

    fn id(&self) -> &str {
        self.item_id.as_ref().and_then(Value::as_str).unwrap_or_default()
    }

    /// The same place, told by the item that the event carries.
    fn with_id(&self, item: &Value) -> Self {
        Self { output_index: self.output_index.clone(), item_id: item.get("id").cloned(), ..Self::default() }
    }
}

#[derive(Deserialize, Default)]
struct Response {
    id: Option<Value>,
    status: Option<Value>,
    incomplete_details: Option<Value>,
    error: Option<Value>,
    usage: Option<Box<RawValue>>,
    output: Option<Box<RawValue>>,
}
