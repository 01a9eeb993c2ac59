//! The provider: what it answers is a choice for each request, and it keeps its own books.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_llm::*;
use sterna_model::*;

use crate::dice::lane_of;
use crate::tools::TOOLS;
use crate::world::{Life, ModelSend, World};

pub struct SimModel {
    pub world: Arc<World>,
    pub life: Arc<Life>,
}

impl Provider for SimModel {
    fn model(&self, _: &Route) -> Result<ModelInfo, String> {
        let price = Price { input: 1.0, output: 2.0, ..Price::default() };
        Ok(ModelInfo { price: Some(price), ..ModelInfo::default() })
    }

    fn encoder(&self, _: &Route) -> String {
        "openai_chat/1".into()
    }

    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        if let Some(what) = unanswered(request) {
            self.world.wrong(format!("a derived request {what}"));
        }
        wire::by_name("openai_chat").unwrap().encode(request, cache)
    }

    fn send<'a>(
        &'a self,
        _: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        self.answer(body, events).boxed()
    }
}

impl SimModel {
    async fn answer(
        &self,
        body: Encoded,
        events: &mut (dyn FnMut(StreamEvent) + Send),
    ) -> Result<ModelReply, ProviderFailure> {
        self.life.stop_if_dead().await;
        let sessions = self.world.session_ids();
        let key = sessions.iter().find_map(|id| self.world.look(id, |s| s.requests.get(&body.hash).cloned()));
        let Some(key) = key else {
            self.world.wrong("a request was sent whose intent is not in the log".into());
            return Err(failure(ErrorClass::InvalidRequest));
        };
        let lane = lane_of(&key.to_string());
        let dice = &self.world.dice;
        let n = {
            let mut facts = self.world.facts();
            facts.sends.push(ModelSend { key: key.clone(), billed: None });
            facts.sends.len() - 1
        };
        self.world.tell(|| format!("{} sends {key}", self.life.name));
        self.world.boundary(&self.life, "crash.model_sent", lane, 10).await;
        self.world.sleep(1 + dice.below("model.ms", lane, 900)).await;
        self.life.stop_if_dead().await;
        let text = format!("said{n} of {key}");
        let say = |text: &str, phase| StreamEvent {
            segment: Segment::Text,
            phase,
            text: text.into(),
            call_id: None,
            name: None,
        };
        let act = dice.pick("model", lane, &[300, 420, 30, 40, 12, 100, 30, 20, 5]);
        if matches!(act, 0 | 3 | 6 | 7) {
            events(say("", Phase::Start));
            events(say(&text, Phase::Delta));
        }
        self.world.boundary(&self.life, "crash.model_streams", lane, 10).await;
        let reply = match act {
            0 => Ok((vec![Part::Text(text)], ModelStop::EndTurn)),
            1 => Ok(self.calls(lane, n, text)),
            2 => Ok((Vec::new(), ModelStop::EndTurn)),
            3 => Ok((vec![Part::Text(text)], ModelStop::MaxOutput)),
            4 => Ok((vec![Part::Text("no".into())], ModelStop::Refused)),
            5 => Err(self.error(lane)),
            6 => Err(failure(ErrorClass::StreamCut)),
            7 => {
                self.world.sleep(5_000 + dice.below("model.hangs", lane, 90_000)).await;
                Ok((vec![Part::Text(text)], ModelStop::EndTurn))
            }
            _ => std::panic::resume_unwind(Box::new("sim: the provider panics")),
        };
        self.world.sleep(dice.below("model.ms", lane, 300)).await;
        self.world.boundary(&self.life, "crash.model_answers", lane, 10).await;
        // The number of tokens tells which request it was.
        let usage = Usage { input_uncached: 50, output: 1_000 + n as u64, ..Usage::default() };
        let billed = Billed { usage, ..Billed::default() };
        let free = reply.is_err() && dice.below("model.free", lane, 2) == 0;
        self.world.facts().sends[n].billed = Some(if free { Usage::default() } else { usage });
        match reply {
            Ok((parts, stop)) => Ok(ModelReply { parts, stop, billed }),
            Err(failure) if free => Err(failure),
            Err(failure) => Err(ProviderFailure { billed, ..failure }),
        }
    }

    fn calls(&self, lane: u64, n: usize, text: String) -> (Vec<Part>, ModelStop) {
        let dice = &self.world.dice;
        let mut parts = Vec::new();
        if dice.below("calls.text", lane, 3) == 0 {
            parts.push(Part::Text(text));
        }
        let count = match dice.pick("calls", lane, &[500, 300, 150, 50, 6]) {
            // More than one append carries.
            4 => 60,
            few => few + 1,
        };
        let mut stop = ModelStop::ToolCalls;
        for i in 0..count {
            let tool = TOOLS[dice.below("calls.tool", lane, TOOLS.len() as u64) as usize].name;
            let (mut name, mut arguments, mut truncated) = (tool, format!("{{\"n\":{i}}}"), false);
            match dice.pick("calls.odd", lane, &[880, 30, 30, 30, 15]) {
                1 => arguments = "{\"n\":".into(),
                2 => arguments = "{\"n\":\"many\"}".into(),
                3 => name = "unknown",
                4 => {
                    truncated = true;
                    stop = ModelStop::MaxOutput;
                }
                _ => {}
            }
            // Some name all their calls alike.
            let id = if dice.below("calls.id", lane, 6) == 0 { "same".into() } else { format!("c{n}_{i}") };
            parts.push(Part::ToolCall(ToolCall { id, name: name.into(), arguments, truncated }));
        }
        (parts, stop)
    }

    fn error(&self, lane: u64) -> ProviderFailure {
        let dice = &self.world.dice;
        let class = ERRORS[dice.below("error.class", lane, ERRORS.len() as u64) as usize];
        let retry_after_ms = match dice.below("error.after", lane, 6) {
            0 => Some(dice.below("error.ms", lane, 8_000)),
            1 => Some(dice.below("error.ms", lane, 70_000)),
            _ => None,
        };
        ProviderFailure { retry_after_ms, ..failure(class) }
    }
}

fn failure(class: ErrorClass) -> ProviderFailure {
    let message = "as the seed says".into();
    ProviderFailure { class, status: None, message, retry_after_ms: None, billed: Billed::default() }
}

/// What is wrong with the calls and results of a request: each call has one result, in order, right behind it.
fn unanswered(request: &Request) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    for item in &request.items {
        match &**item {
            Item::Results(results) => {
                let answered: Vec<&str> = results.iter().map(|result| result.call_id.as_str()).collect();
                if answered != open {
                    return Some(format!("answers {answered:?} to calls {open:?}"));
                }
                open.clear();
            }
            _ if !open.is_empty() => return Some(format!("has no results of {open:?}")),
            Item::Assistant(parts) => {
                open.extend(parts.iter().filter_map(|part| match part {
                    Part::ToolCall(call) => Some(call.id.as_str()),
                    Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
                }));
                let distinct: std::collections::BTreeSet<&str> = open.iter().copied().collect();
                if distinct.len() != open.len() {
                    return Some(format!("names calls alike: {open:?}"));
                }
            }
            Item::User(_) | Item::Mixed(_) => {}
        }
    }
    (!open.is_empty()).then(|| format!("ends without results of {open:?}"))
}

const ERRORS: [ErrorClass; 12] = [
    ErrorClass::RateLimit,
    ErrorClass::Overloaded,
    ErrorClass::Timeout,
    ErrorClass::Network,
    ErrorClass::Server,
    ErrorClass::Auth,
    ErrorClass::Quota,
    ErrorClass::InvalidRequest,
    ErrorClass::ContextOverflow,
    ErrorClass::ContentFilter,
    ErrorClass::ModelGone,
    ErrorClass::StreamCut,
];
