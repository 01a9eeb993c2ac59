//! The provider `scripted`: plays a script instead of asking a model, for tests, demos and documentation.
//!
//! A script is JSON Lines. Blank lines and lines that start with `#` are skipped. A line is one of:
//!
//! - a reply: `{"text":"…"}` or with any of `reasoning`, `calls`, `stop`, `usage`, `chunks`:
//!   `{"reasoning":"plan","text":"ok","calls":[{"name":"read","arguments":{"path":"a"}}],"stop":"max_output",
//!   "usage":{"input":10,"cache_read":2,"output":5,"reasoning":1},"chunks":3}`.
//!   A call may have an `id`, and `arguments_raw` (a text, possibly malformed) in place of `arguments`. `stop` is
//!   `end_turn`, `tool_calls`, `max_output` or `refused`; without it the calls decide. `chunks` is the number of
//!   deltas the text is streamed in. Without `usage` nothing is billed.
//! - a failure: `{"error":{"class":"rate_limit","status":429,"retry_after_ms":1000,"message":"…"}}`;
//! - a cut stream: `{"cut_after":"text so far"}`;
//! - a wait before the next line: `{"delay_ms":N}`. It may also stand inside the lines above; `chunk_delay_ms` waits
//!   between the deltas.
//! - what the model is, before any reply: `{"model":{"context":32000,"max_output":4096,"price":{"input":3,"output":15}}}`.
//!
//! Which reply is played is told by the request alone, namely by how many answers its history holds, so it is right in
//! a restarted process and in sessions side by side. Lines that leave no answer in the history (failures, cuts, and
//! replies with neither text nor calls) belong to the reply below them: they are played one after the other, each once
//! for a session, before it. How many of them were played is counted in memory, by the beginning of the conversation:
//! after a restart they begin with the first again. At the script's end, without a reply below, the last one repeats.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::value::RawValue;
use sterna_model::{
    Billed, Digest, ErrorClass, ModelStop, Part, ProviderFailure, Reasoning, Route, Segment, ToolCall, Usage,
};

use crate::wire::{LiveSegments, OpenAiChat, mark_truncated};
use crate::{
    EncodeCache, Encoded, Item, ModelInfo, ModelReply, Price, Provider, Request, StreamEvent, catalog,
};

/// Waits that many milliseconds.
pub type Sleep = Arc<dyn Fn(u64) -> BoxFuture<'static, ()> + Send + Sync>;

/// A provider that plays a script.
pub struct Scripted {
    scenes: Vec<Scene>,
    info: ModelInfo,
    sleep: Sleep,
    /// How many requests were answered by a scene that has something before its reply, by scene and conversation.
    played: Mutex<HashMap<(usize, Digest), usize>>,
}

/// A line that is not part of a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the script: {message}")]
pub struct ScriptError {
    /// From 1.
    pub line: usize,
    pub message: String,
}

impl Scripted {
    /// Reads a script.
    pub fn parse(text: &str, sleep: Sleep) -> Result<Self, ScriptError> {
        let mut scenes: Vec<Scene> = Vec::new();
        let mut info = ModelInfo::default();
        let (mut scene, mut delay_ms) = (Scene::default(), 0u64);
        for (at, line) in text.lines().enumerate() {
            let text = line.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let fail = |message: String| ScriptError { line: at + 1, message };
            let line: Line = serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
            let take = read_line(line, scenes.len()).map_err(fail)?;
            match take {
                Take::Model(model) if scenes.is_empty() && scene.before.is_empty() => info = model,
                Take::Model(_) => return Err(fail("`model` must come before the replies".into())),
                Take::Delay(more) => delay_ms = delay_ms.saturating_add(more),
                Take::Play(mut play, is_answer) => {
                    play.delay_ms = play.delay_ms.saturating_add(std::mem::take(&mut delay_ms));
                    if is_answer {
                        scenes.push(Scene { reply: Some(play), before: std::mem::take(&mut scene.before) });
                    } else {
                        scene.before.push(play);
                    }
                }
            }
        }
        if !scene.before.is_empty() {
            scenes.push(scene);
        }
        Ok(Self { scenes, info, sleep, played: Mutex::default() })
    }

    /// What this request gets: the next line before its scene's reply, or the reply.
    fn pick(&self, answers: usize, body: &Encoded) -> Option<&Play> {
        let scene = self.scenes.get(answers)?;
        if scene.before.is_empty() {
            return scene.reply.as_ref();
        }
        let mut played = self.played.lock().unwrap_or_else(PoisonError::into_inner);
        let count = played.entry((answers, beginning(body))).or_default();
        let at = *count;
        *count = count.saturating_add(1);
        scene.before.get(at).or(scene.reply.as_ref()).or(scene.before.last())
    }

    async fn play(
        &self,
        play: &Play,
        events: &mut (dyn FnMut(StreamEvent) + Send),
    ) -> Result<ModelReply, ProviderFailure> {
        if play.delay_ms > 0 {
            (self.sleep)(play.delay_ms).await;
        }
        let mut live = LiveSegments::default();
        for (segment, at, delta) in &play.deltas {
            if play.chunk_delay_ms > 0 {
                (self.sleep)(play.chunk_delay_ms).await;
            }
            match delta {
                DeltaOf::Text(text) => live.delta(*segment, *at, text, events),
                DeltaOf::Call { id, name, text } => {
                    live.call_delta(*segment, *at, text, (Some(id), Some(name)), events);
                }
            }
        }
        let price = |mut billed: Billed| {
            billed.cost = self.info.price.map(|price| catalog::cost(&price, &billed.usage));
            billed
        };
        match &play.end {
            Ok(reply) => {
                live.close(events);
                Ok(ModelReply { billed: price(reply.billed.clone()), ..reply.clone() })
            }
            Err(failure) => Err(ProviderFailure { billed: price(failure.billed.clone()), ..failure.clone() }),
        }
    }
}

impl Provider for Scripted {
    fn model(&self, _route: &Route) -> Result<ModelInfo, String> {
        Ok(self.info.clone())
    }

    fn encoder(&self, _route: &Route) -> String {
        "scripted/1".into()
    }

    /// The body of `openai_chat`, with the number of answers in the history as its last member.
    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        let answers = request.items.iter().filter(|item| is_answer(item)).count();
        OpenAiChat::encode_with(request, cache, format!("{ANSWERS}{answers}").as_bytes())
    }

    fn send<'a>(
        &'a self,
        _route: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        Box::pin(async move {
            let Some(answers) = answers(&body) else {
                return Err(failure(ErrorClass::InvalidRequest, "the request was not encoded by `scripted`"));
            };
            match self.pick(answers, &body) {
                Some(play) => self.play(play, events).await,
                None => {
                    let message = format!(
                        "the script has no reply number {} (it has {}): add a line to it",
                        answers + 1,
                        self.scenes.len()
                    );
                    Err(failure(ErrorClass::ModelGone, &message))
                }
            }
        })
    }
}

/// One reply with what is played before it.
#[derive(Default)]
struct Scene {
    before: Vec<Play>,
    reply: Option<Play>,
}

/// One attempt, ready to be played.
struct Play {
    delay_ms: u64,
    chunk_delay_ms: u64,
    deltas: Vec<(Segment, u64, DeltaOf)>,
    end: Result<ModelReply, ProviderFailure>,
}

enum DeltaOf {
    Text(String),
    Call { id: String, name: String, text: String },
}

enum Take {
    Model(ModelInfo),
    Delay(u64),
    /// With whether it leaves an answer in the history.
    Play(Play, bool),
}

fn read_line(line: Line, reply_no: usize) -> Result<Take, String> {
    let replies = line.text.is_some()
        || line.reasoning.is_some()
        || line.calls.is_some()
        || line.stop.is_some()
        || line.chunks.is_some();
    let kinds = [replies, line.error.is_some(), line.cut_after.is_some(), line.model.is_some()];
    if kinds.into_iter().filter(|kind| *kind).count() > 1 {
        return Err("a line is a reply, an `error`, a `cut_after` or a `model`, and only one of them".into());
    }
    let billed = billed(line.usage.as_deref())?;
    let chunk_delay_ms = line.chunk_delay_ms.unwrap_or(0);
    let play = |deltas, end| Play { delay_ms: line.delay_ms.unwrap_or(0), chunk_delay_ms, deltas, end };
    if let Some(model) = line.model {
        let unknown = ModelInfo::default();
        return Ok(Take::Model(ModelInfo {
            context: model.context.unwrap_or(unknown.context),
            max_output: model.max_output.unwrap_or(unknown.max_output),
            price: model.price.map(PriceLine::price),
            assumed: false,
            schema_native: false,
            thinking: None,
            sight: sterna_model::Sight::default(),
        }));
    }
    if let Some(error) = line.error {
        let message = error.message.unwrap_or_else(|| format!("scripted {}", error.class.word()));
        let ErrorLine { class, status, retry_after_ms, .. } = error;
        let failed = ProviderFailure { class, status, message, retry_after_ms, billed };
        return Ok(Take::Play(play(Vec::new(), Err(failed)), false));
    }
    if let Some(text) = line.cut_after {
        let failed =
            ProviderFailure { billed, ..failure(ErrorClass::StreamCut, "the script cut the stream") };
        let deltas = vec![(Segment::Text, 0, DeltaOf::Text(text))];
        return Ok(Take::Play(play(deltas, Err(failed)), false));
    }
    if !replies {
        return match (line.delay_ms, line.usage) {
            (Some(delay), None) => Ok(Take::Delay(delay)),
            _ => Err("a reply needs `text`, `reasoning`, `calls` or `stop`".into()),
        };
    }
    let (parts, deltas) = answer(
        line.reasoning.unwrap_or_default(),
        line.text.unwrap_or_default(),
        line.calls.unwrap_or_default(),
        line.chunks.unwrap_or(1).max(1),
        reply_no,
    )?;
    let calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let stop = line.stop.unwrap_or(if calls { ModelStop::ToolCalls } else { ModelStop::EndTurn });
    let mut reply = ModelReply { parts, stop, billed };
    mark_truncated(&mut reply.parts, stop);
    let is_answer = says_something(&reply.parts);
    Ok(Take::Play(play(deltas, Ok(reply)), is_answer))
}

type Answer = (Vec<Part>, Vec<(Segment, u64, DeltaOf)>);

fn answer(
    reasoning: String,
    text: String,
    calls: Vec<CallLine>,
    chunks: usize,
    reply_no: usize,
) -> Result<Answer, String> {
    let (mut parts, mut deltas) = (Vec::new(), Vec::new());
    if !reasoning.is_empty() {
        deltas.push((Segment::Reasoning, 0, DeltaOf::Text(reasoning.clone())));
        parts.push(Part::Reasoning(Reasoning { text: reasoning, opaque: None }));
    }
    if !text.is_empty() {
        deltas
            .extend(pieces(&text, chunks).into_iter().map(|piece| (Segment::Text, 0, DeltaOf::Text(piece))));
        parts.push(Part::Text(text));
    }
    for (at, call) in calls.into_iter().enumerate() {
        let arguments = match (call.arguments, call.arguments_raw) {
            (Some(value), None) => value.get().to_owned(),
            (None, Some(raw)) => raw,
            (None, None) => "{}".into(),
            (Some(_), Some(_)) => return Err("a call has `arguments` or `arguments_raw`, not both".into()),
        };
        let (id, name) = (call.id.unwrap_or_else(|| format!("call_{}_{at}", reply_no + 1)), call.name);
        let delta = DeltaOf::Call { id: id.clone(), name: name.clone(), text: arguments.clone() };
        deltas.push((Segment::ToolCall, at as u64, delta));
        parts.push(Part::ToolCall(ToolCall { id, name, arguments, truncated: false }));
    }
    Ok((parts, deltas))
}

/// Cuts a text into at most `count` pieces of about the same number of characters.
fn pieces(text: &str, count: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let size = chars.len().div_ceil(count).max(1);
    chars.chunks(size).map(|piece| piece.iter().collect()).collect()
}

fn billed(raw: Option<&RawValue>) -> Result<Billed, String> {
    let Some(raw) = raw else { return Ok(Billed::default()) };
    let line: UsageLine = serde_json::from_str(raw.get()).map_err(|error| format!("`usage`: {error}"))?;
    let usage = Usage {
        input_uncached: line.input,
        cache_read: line.cache_read,
        cache_write_5m: line.cache_write_5m,
        cache_write_1h: line.cache_write_1h,
        output: line.output,
        reasoning: line.reasoning,
    };
    Ok(Billed { usage, cost: None, estimated: false, raw: Some(raw.get().to_owned()) })
}

/// Whether an item is an answer that said something.
fn is_answer(item: &Item) -> bool {
    match item {
        Item::Assistant(parts) => says_something(parts),
        Item::User(_) | Item::Mixed(_) | Item::Results(_) => false,
    }
}

fn says_something(parts: &[Part]) -> bool {
    parts.iter().any(|part| matches!(part, Part::Text(_) | Part::ToolCall(_)))
}

/// Hash of the prompt and the first item: what all requests of a conversation have in common.
fn beginning(body: &Encoded) -> Digest {
    #[derive(Deserialize)]
    struct Sent<'a> {
        #[serde(borrow, default)]
        tools: Option<&'a RawValue>,
        #[serde(borrow)]
        messages: Vec<&'a RawValue>,
    }
    let bytes = body.body();
    let Ok(sent) = serde_json::from_slice::<Sent<'_>>(&bytes) else { return body.hash };
    let system = sent.messages.first().is_some_and(|first| first.get().starts_with("{\"role\":\"system\""));
    let first = sent.messages.iter().take(if system { 2 } else { 1 });
    let pieces = sent.tools.iter().chain(first).map(|raw| Bytes::copy_from_slice(raw.get().as_bytes()));
    Encoded::of(pieces.collect()).hash
}

/// The number that `encode` put at the body's end.
fn answers(body: &Encoded) -> Option<usize> {
    let bytes = body.body();
    // Only the end is looked at, wherever that cuts a character.
    let end = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(64)..]);
    let (_, number) = end.strip_suffix('}')?.rsplit_once(ANSWERS)?;
    number.parse().ok()
}

fn failure(class: ErrorClass, message: &str) -> ProviderFailure {
    ProviderFailure {
        class,
        status: None,
        message: message.to_owned(),
        retry_after_ms: None,
        billed: Billed::default(),
    }
}

const ANSWERS: &str = ",\"answers\":";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    text: Option<String>,
    reasoning: Option<String>,
    calls: Option<Vec<CallLine>>,
    stop: Option<ModelStop>,
    usage: Option<Box<RawValue>>,
    chunks: Option<usize>,
    error: Option<ErrorLine>,
    cut_after: Option<String>,
    delay_ms: Option<u64>,
    chunk_delay_ms: Option<u64>,
    model: Option<ModelLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallLine {
    id: Option<String>,
    name: String,
    arguments: Option<Box<RawValue>>,
    arguments_raw: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorLine {
    class: ErrorClass,
    status: Option<u16>,
    retry_after_ms: Option<u64>,
    message: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct UsageLine {
    input: u64,
    cache_read: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    output: u64,
    reasoning: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelLine {
    context: Option<u32>,
    max_output: Option<u32>,
    price: Option<PriceLine>,
}

/// US dollars per million tokens; cache classes without a price cost what input costs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceLine {
    input: f64,
    output: f64,
    cache_read: Option<f64>,
    cache_write_5m: Option<f64>,
    cache_write_1h: Option<f64>,
}

impl PriceLine {
    fn price(self) -> Price {
        Price {
            input: self.input,
            output: self.output,
            cache_read: self.cache_read.unwrap_or(self.input),
            cache_write_5m: self.cache_write_5m.unwrap_or(self.input),
            cache_write_1h: self.cache_write_1h.unwrap_or(self.input),
            long: None,
        }
    }
}
