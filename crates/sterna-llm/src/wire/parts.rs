//! What decoders share: feeding events, live segments that never overlap, calls that were cut, and how an answer ended.

use sterna_model::{ModelStop, Part, Phase, ProviderFailure, Segment};

use crate::StreamEvent;
use crate::sse::{EventTooLarge, SseDecoder, SseEvent};

/// Brackets deltas into segments: start, deltas, end, one open at a time.
#[derive(Debug, Default)]
pub(crate) struct LiveSegments {
    /// The open segment, with the index of the block or call it belongs to.
    open: Option<(Segment, u64)>,
}

impl LiveSegments {
    /// Text of a segment. Another kind or index closes the one that is open.
    pub(crate) fn delta(
        &mut self,
        segment: Segment,
        index: u64,
        text: &str,
        events: &mut dyn FnMut(StreamEvent),
    ) {
        self.call_delta(segment, index, text, (None, None), events);
    }

    /// The same for a tool call, with its id and name as far as they are known.
    pub(crate) fn call_delta(
        &mut self,
        segment: Segment,
        index: u64,
        text: &str,
        (call_id, name): (Option<&str>, Option<&str>),
        events: &mut dyn FnMut(StreamEvent),
    ) {
        let event = |phase, text: &str| StreamEvent {
            segment,
            phase,
            text: text.to_owned(),
            call_id: call_id.map(str::to_owned),
            name: name.map(str::to_owned),
        };
        if self.open != Some((segment, index)) {
            // Nothing to show yet, and nothing that must be shown.
            if text.is_empty() && segment != Segment::ToolCall {
                return;
            }
            self.close(events);
            self.open = Some((segment, index));
            events(event(Phase::Start, ""));
        }
        if !text.is_empty() {
            events(event(Phase::Delta, text));
        }
    }

    /// Ends what is open.
    pub(crate) fn close(&mut self, events: &mut dyn FnMut(StreamEvent)) {
        if let Some((segment, _)) = self.open.take() {
            let text = String::new();
            events(StreamEvent { segment, phase: Phase::End, text, call_id: None, name: None });
        }
    }
}

/// Takes the events of these bytes until one fails. Within `Ok`: whether the stream stayed within its bounds.
pub(crate) fn feed(
    sse: &mut SseDecoder,
    bytes: &[u8],
    mut take: impl FnMut(&SseEvent) -> Result<(), ProviderFailure>,
) -> Result<Result<(), EventTooLarge>, ProviderFailure> {
    let mut failure = None;
    let fed = sse.push(bytes, &mut |event| {
        if failure.is_none() {
            failure = take(&event).err();
        }
    });
    failure.map_or(Ok(fed), Err)
}

/// How an answer ended. Whether it calls something is told by its calls, not by the reason that it gives.
pub(crate) fn ended(reason: ModelStop, refused: bool, calls: bool) -> ModelStop {
    match reason {
        ModelStop::EndTurn | ModelStop::ToolCalls if refused => ModelStop::Refused,
        ModelStop::EndTurn | ModelStop::ToolCalls if calls => ModelStop::ToolCalls,
        ModelStop::EndTurn | ModelStop::ToolCalls => ModelStop::EndTurn,
        ModelStop::MaxOutput | ModelStop::Refused | ModelStop::Cancelled => reason,
    }
}

/// The most calls that one answer may hold.
pub(crate) const MAX_CALLS: usize = 1_024;

/// Marks the last call as truncated when the answer was cut inside its arguments.
pub(crate) fn mark_truncated(parts: &mut [Part], stop: ModelStop) {
    if stop != ModelStop::MaxOutput {
        return;
    }
    let last = parts.iter_mut().rev().find_map(|part| match part {
        Part::ToolCall(call) => Some(call),
        Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
    });
    if let Some(call) = last {
        call.truncated = serde_json::from_str::<serde::de::IgnoredAny>(&call.arguments).is_err();
    }
}

/// An id that no other call of the answer has, and, if the answer has an id, no call of another answer.
pub(crate) fn call_id(given: &str, answer: &str, taken: &[String]) -> String {
    let ordinal = taken.len();
    let id = match (given, answer) {
        ("", "") => format!("call_{ordinal}"),
        ("", answer) => format!("call_{}_{ordinal}", &blake3::hash(answer.as_bytes()).to_hex()[..12]),
        (given, _) => given.to_owned(),
    };
    if taken.contains(&id) { format!("{id}_{ordinal}") } else { id }
}
