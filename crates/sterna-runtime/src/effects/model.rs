//! The model effect: wait for a retry's time, send the journalled bytes, stream deltas, report the whole answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sterna_llm::{Encoded, ModelReply, SharedProvider, StreamEvent};
use sterna_log::fold::correlation;
use sterna_model::{
    Billed, EffectKey, ErrorClass, EventKind, Millis, ModelOutcome, ModelStop, Part, Phase, ProviderFailure,
    Route, Segment, ToolCall, Usage,
};
use sterna_secrets::{Scoped, Stream};
use sterna_tool::Cancel;

use crate::Env;
use crate::breakers::{Breakers, Change};
use crate::hub::Hub;

/// What is to be sent, and where its deltas go.
pub struct ModelCall {
    pub provider: SharedProvider,
    pub env: Arc<dyn Env>,
    pub hub: Arc<Hub>,
    pub route: Route,
    pub key: EffectKey,
    pub attempt: u32,
    pub not_before: Option<Millis>,
    /// Until when our lease holds: from then on the call may be another's.
    pub leased_until: Arc<AtomicU64>,
    pub breakers: Arc<Breakers>,
    pub body: Encoded,
    /// The body's size as far as tokens are counted by it.
    pub weight: u64,
    pub cancel: Cancel,
    pub secrets: Scoped,
    /// Told of each call whose arguments are whole while the answer streams, by its place among the calls.
    pub proposed: Option<Box<dyn Fn(u32, ToolCall) + Send + Sync>>,
}

/// How it ended.
pub enum ModelEnd {
    Answered(ModelOutcome),
    Failed(ProviderFailure),
}

/// Milliseconds after which a call that waits for its lease looks again.
const LEASE_LOOK_MS: u64 = 100;

/// Runs one attempt.
pub async fn run(call: ModelCall) -> ModelEnd {
    if let Some(at) = call.not_before {
        tokio::select! {
            () = call.env.sleep_until(at) => {}
            () = call.cancel.cancelled() => return ModelEnd::Answered(cut_off(String::new(), 0, 0)),
        }
    }
    // A leader that hangs in the store is led over, and must not send what its successor sends.
    while call.env.now() >= call.leased_until.load(Ordering::Acquire) {
        let look = call.env.now().saturating_add(LEASE_LOOK_MS);
        tokio::select! {
            biased;
            () = call.cancel.cancelled() => return ModelEnd::Answered(cut_off(String::new(), 0, 0)),
            () = call.env.sleep_until(look) => {}
        }
    }
    let ticket = match call.breakers.admit(&call.route, &call.env) {
        Ok(ticket) => ticket,
        Err(until) => {
            return ModelEnd::Failed(breaker_open(&call.route, until.saturating_sub(call.env.now())));
        }
    };
    let started = call.env.now();
    let mut said = String::new();
    let correlation = correlation(&call.key, call.attempt);
    let show = |event: StreamEvent| {
        call.hub.live(&call.key, call.env.now(), |delta| EventKind::ModelDelta {
            delta,
            correlation: correlation.clone(),
            segment: event.segment,
            phase: event.phase,
            text: event.text,
            call_id: event.call_id,
            name: event.name,
        });
    };
    let mut deltas = Deltas { stream: call.secrets.stream(), open: None };
    let mut calls = Calls::default();
    let mut on_event = |event: StreamEvent| {
        if event.segment == Segment::Text && event.phase == Phase::Delta {
            said.push_str(&event.text);
        }
        if let (Some(proposed), Some((ordinal, whole))) = (&call.proposed, calls.take(&event)) {
            proposed(ordinal, whole);
        }
        // Also while nobody looks: whoever comes in the middle of a secret must not see its end.
        deltas.take(event, &show);
    };
    let bytes = call.weight;
    let answer = tokio::select! {
        biased;
        () = call.cancel.cancelled() => None,
        answer = call.provider.send(&call.route, call.body.clone(), &mut on_event) => Some(answer),
    };
    deltas.end(&show);
    let duration_ms = call.env.now().saturating_sub(started);
    if let Some(answer) = &answer {
        let changed = ticket.ended(answer.as_ref().err().map(|failure| failure.class));
        say(&call, changed);
    }
    match answer {
        None => ModelEnd::Answered(cut_off(said, bytes, duration_ms)),
        Some(Err(failure)) => ModelEnd::Failed(failure),
        Some(Ok(reply)) => ModelEnd::Answered(whole(reply, duration_ms)),
    }
}

/// The calls of an answer, as they stream.
#[derive(Default)]
struct Calls {
    open: Option<ToolCall>,
    seen: u32,
}

impl Calls {
    /// The call that is whole with this event, and its place. What is no call, or has no name yet, is passed over: whoever
    /// compares it with the answer finds it missing.
    fn take(&mut self, event: &StreamEvent) -> Option<(u32, ToolCall)> {
        if event.segment != Segment::ToolCall {
            return None;
        }
        match event.phase {
            Phase::Start => {
                self.open = Some(ToolCall {
                    id: event.call_id.clone().unwrap_or_default(),
                    name: event.name.clone().unwrap_or_default(),
                    arguments: String::new(),
                    truncated: false,
                });
                None
            }
            Phase::Delta => {
                if let Some(open) = &mut self.open {
                    open.arguments.push_str(&event.text);
                }
                None
            }
            Phase::End => {
                let call = self.open.take()?;
                self.seen += 1;
                Some((self.seen - 1, call))
            }
        }
    }
}

/// The live text of one segment after the other, without secrets: what may become one is held back.
struct Deltas {
    stream: Stream,
    /// The segment that text is held back of, as its events name it.
    open: Option<StreamEvent>,
}

impl Deltas {
    fn take(&mut self, event: StreamEvent, show: &impl Fn(StreamEvent)) {
        let other = |open: &StreamEvent| {
            (open.segment, &open.call_id, &open.name) != (event.segment, &event.call_id, &event.name)
        };
        if event.phase != Phase::Delta || self.open.as_ref().is_some_and(other) {
            self.end(show);
        }
        if event.phase != Phase::Delta {
            return show(event);
        }
        let text = self.stream.push(&event.text);
        let of = StreamEvent { text: String::new(), ..event };
        if !text.is_empty() {
            show(StreamEvent { text, ..of.clone() });
        }
        self.open = Some(of);
    }

    /// Nothing follows in this segment.
    fn end(&mut self, show: &impl Fn(StreamEvent)) {
        let text = self.stream.finish();
        if let Some(of) = self.open.take().filter(|_| !text.is_empty()) {
            show(StreamEvent { text, ..of });
        }
    }
}

/// Nothing was sent: the attempt is recorded like any other.
fn breaker_open(route: &Route, left_ms: u64) -> ProviderFailure {
    ProviderFailure {
        class: ErrorClass::BreakerOpen,
        status: None,
        message: format!(
            "{route} failed 5 times within a minute, so nothing is sent to it; it is tried again in {} s",
            left_ms.div_ceil(1_000)
        ),
        retry_after_ms: None,
        billed: Billed::default(),
    }
}

/// Shows that a route's breaker has opened or closed.
fn say(call: &ModelCall, changed: Change) {
    let route = &call.route;
    let (code, message) = match changed {
        Change::None => return,
        Change::Opened => {
            ("breaker_opened", format!("{route} failed too often: for 60 s nothing is sent to it"))
        }
        Change::Closed => ("breaker_closed", format!("{route} answers again")),
    };
    let kind = EventKind::Warning { code: code.into(), message };
    call.hub.say(Some(call.key.turn), call.env.now(), kind);
}

fn whole(reply: ModelReply, duration_ms: u64) -> ModelOutcome {
    let ModelReply { mut parts, stop, billed } = reply;
    distinct_call_ids(&mut parts);
    ModelOutcome { parts, stop, classes: Vec::new(), billed, partial: false, duration_ms, checked: None }
}

/// The text so far is kept; half a call is not.
fn cut_off(said: String, request_bytes: u64, duration_ms: u64) -> ModelOutcome {
    let billed = estimate(request_bytes, said.len() as u64);
    let parts = if said.is_empty() { Vec::new() } else { vec![Part::Text(said)] };
    ModelOutcome {
        parts,
        stop: ModelStop::Cancelled,
        classes: Vec::new(),
        billed,
        partial: true,
        duration_ms,
        checked: None,
    }
}

/// A provider that panicked has failed for good: the same call would panic again.
pub fn panicked(text: &str) -> ModelEnd {
    ModelEnd::Failed(ProviderFailure {
        class: ErrorClass::InvalidRequest,
        status: None,
        message: format!("the provider panicked: {text}"),
        retry_after_ms: None,
        billed: Billed::default(),
    })
}

/// Tokens of a call that nobody counted, at four bytes a token.
pub fn estimate(request_bytes: u64, answer_bytes: u64) -> Billed {
    let usage = Usage { input_uncached: request_bytes / 4, output: answer_bytes / 4, ..Usage::default() };
    Billed { estimated: usage.total() > 0, usage, cost: None, raw: None }
}

/// Some models name all calls of an answer alike: each call needs a name of its own to have a result of its own.
fn distinct_call_ids(parts: &mut [Part]) {
    let mut seen = std::collections::BTreeSet::new();
    for part in parts {
        if let Part::ToolCall(call) = part {
            let mut n = 1;
            let given = call.id.clone();
            while !seen.insert(call.id.clone()) {
                n += 1;
                call.id = format!("{given}-{n}");
            }
        }
    }
}
