//! Mode `auto`: a call that nothing but the mode would ask about is put before a classifier.
//!
//! Whatever fails here asks: an answer that is none, a provider's failure, a cap, half a minute without a word, three
//! denials in a row. A yes is about what the call would do when it was asked about, and about nothing else.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use sterna_context::{JudgeAsked, JudgeCase, judge_tokens, read_judgement};
use sterna_llm::{EncodeCache, Encoded};
use sterna_log::SharedBlobs;
use sterna_model::{
    Approval, Attempt, Billed, Body, CallTool, EffectClass, EffectKey, EffectResult, ErrorClass, Intended,
    Intent, JudgeIntent, JudgePass, JudgeSays, Judgement, Judging, ModelStop, Outcome, Part, ProviderFailure,
    ToolStatus, WaitOn, answer_text,
};
use sterna_tool::Cancel;

use super::beside::Beside;
use super::caps::Costs;
use super::{Driver, InFlight, Msg, Stage, told_by};
use crate::RuntimeError;
use crate::effects::model::{self, ModelCall, ModelEnd, estimate};
use crate::effects::tool::unrun;
use crate::hub::Hub;

impl Driver {
    /// A call would ask, and only because of the mode: what the classifier said of it, or a call to the classifier.
    pub(super) async fn judge(
        &mut self,
        key: EffectKey,
        approval: Approval,
        case: &JudgeCase,
    ) -> Result<(), RuntimeError> {
        let subject = case.subject();
        let last = self.call(&key).and_then(|call| call.judging.clone());
        let times = last.as_ref().map_or(0, |last| last.times);
        let pass = match last.as_ref().and_then(|last| last.of(&subject)) {
            None => JudgePass::Quick,
            Some(said) => match said.says {
                JudgeSays::Unsure => JudgePass::Reasoned,
                JudgeSays::Deny if self.denials() + 1 < MAX_DENIALS => {
                    let text = format!(
                        "denied by the classifier of mode `auto`: {}\nThe call was not run.",
                        said.reason
                    );
                    let outcome = unrun(ToolStatus::Denied, text, self.rt.parts.env.now());
                    return self.tool_outcome(key, outcome);
                }
                JudgeSays::Deny => {
                    let why = format!("it denied {MAX_DENIALS} calls in a row: {}", said.reason);
                    return self.ask_instead(key, approval, &why);
                }
                // A yes to this very call was looked for before it came here.
                JudgeSays::Allow | JudgeSays::Ask => {
                    let why = said.failed.clone().unwrap_or_else(|| said.reason.clone());
                    return self.ask_instead(key, approval, &why);
                }
            },
        };
        if times >= MAX_TIMES {
            return self.ask_instead(key, approval, "what the call would do changes again and again");
        }
        if self.another_is_judged(&key) {
            // One at a time, so that each sees what the one before has cost.
            return Ok(());
        }
        match self.ask_classifier(&key, pass, case).await? {
            Ok(()) => Ok(()),
            Err(why) => self.ask_instead(key, approval, &why),
        }
    }

    /// Whether a classifier is asked about another call just now.
    pub(super) fn another_is_judged(&self, key: &EffectKey) -> bool {
        let Some(turn) = self.state.machine.turn() else { return false };
        let open = |judging: &Judging| judging.is_open() && judging.intent.call != *key;
        turn.calls().iter().filter_map(|call| call.judging.as_deref()).any(open)
    }

    /// Sees to a call to a classifier that is open.
    pub(super) async fn want_judgement(
        &mut self,
        call: &CallTool,
        open: &Judging,
    ) -> Result<bool, RuntimeError> {
        let (key, intent) = (&open.key, &open.intent);
        let attempt = open.attempts + 1;
        if let Some(flight) = self.inflight.get(key) {
            if call.closed.is_some() {
                flight.cancel.cancel();
            }
            return Ok(false);
        }
        let lost = !self.own.contains(key);
        let mut billed = if lost { estimate(intent.bytes, 0) } else { Billed::default() };
        self.price_on(&intent.route, &mut billed);
        if call.closed.is_some() {
            self.not_judged(key, attempt, "the turn was stopped", billed)?;
            return Ok(true);
        }
        if self.draining {
            return Ok(false);
        }
        if lost {
            self.own.insert(key.clone());
            if attempt >= MAX_LOST {
                self.not_judged(key, attempt, "Sterna was stopped in it again and again", billed)?;
            } else {
                self.lost_judgement(open, billed)?;
            }
            return Ok(true);
        }
        if !self.staged.is_empty() {
            // Its intent is durable before it costs.
            self.flush().await?;
            return Ok(true);
        }
        let body = match &self.request {
            Some((of, body)) if of == key => body.clone(),
            _ => judge_request(&self.rt.parts, intent).await?,
        };
        let info = self.rt.parts.provider.model(&intent.route);
        let price = info.ok().and_then(|info| info.price);
        let costs = Costs {
            key,
            attempt,
            bytes: body.bytes,
            max_output: intent.max_output,
            fixed: true,
            price: price.as_ref(),
        };
        if self.reserve(costs).await?.is_err() {
            self.not_judged(key, attempt, "a cap leaves no room to ask it any more", Billed::default())?;
            return Ok(true);
        }
        self.send_judgement(key.clone(), attempt, intent, body);
        Ok(false)
    }

    /// What a call to a classifier gave.
    pub(super) fn judged(&mut self, key: EffectKey, attempt: u32, end: ModelEnd) -> Result<(), RuntimeError> {
        let Some(open) = self.judging_of(&key) else { return Ok(()) };
        let (route, pass) = (open.intent.route.clone(), open.intent.pass);
        let (read, mut billed, duration_ms) = match end {
            ModelEnd::Answered(outcome) => {
                let called = outcome.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
                let read = match outcome.stop {
                    _ if outcome.partial => Err("it was cancelled".to_owned()),
                    ModelStop::Refused => Err("it refused to answer".to_owned()),
                    _ if called => Err("it called a tool instead of answering".to_owned()),
                    // It had more to say than a word: that is for the other pass.
                    ModelStop::MaxOutput if pass == JudgePass::Quick => {
                        Ok((JudgeSays::Unsure, String::new()))
                    }
                    ModelStop::MaxOutput => Err("its answer was cut by the output limit".to_owned()),
                    ModelStop::EndTurn | ModelStop::ToolCalls | ModelStop::Cancelled => {
                        read_judgement(pass, &answer_text(&outcome.parts))
                    }
                };
                (read, outcome.billed, outcome.duration_ms)
            }
            ModelEnd::Failed(failure) => {
                let why = format!("{}: {}", failure.class.word(), failure.message);
                (Err(why), failure.billed, 0)
            }
        };
        self.price_on(&route, &mut billed);
        let judgement = match read {
            Ok((says, reason)) => Judgement { says, reason, failed: None, billed, duration_ms },
            Err(why) => failed(&why, billed, duration_ms),
        };
        let result = EffectResult::Judged(judgement);
        self.stage(Body::Outcome(Box::new(Outcome { key, attempt, result })))
    }

    fn denials(&self) -> u32 {
        self.state.machine.turn().map_or(0, |turn| turn.denials_in_row())
    }

    fn judging_of(&self, key: &EffectKey) -> Option<&Judging> {
        let calls = self.state.machine.turn()?.calls();
        calls.iter().filter_map(|call| call.judging.as_deref()).find(|judging| judging.key == *key)
    }

    /// A person has to say it, and is told why the classifier did not.
    fn ask_instead(&mut self, key: EffectKey, approval: Approval, why: &str) -> Result<(), RuntimeError> {
        let reason = format!("{}; the classifier of mode `auto` does not settle it: {why}", approval.reason);
        self.open_wait(key, WaitOn::Approval(Approval { reason, ..approval }))
    }

    /// Writes the intent of a call to the classifier. It is sent when that is durable. An inner error says why none can
    /// be asked.
    async fn ask_classifier(
        &mut self,
        call: &EffectKey,
        pass: JudgePass,
        case: &JudgeCase,
    ) -> Result<Result<(), String>, RuntimeError> {
        let route = self.config.classifier_route.clone().unwrap_or_else(|| self.route());
        let info = match self.rt.parts.provider.model(&route) {
            Ok(info) => info,
            Err(why) => return Ok(Err(why)),
        };
        let Some(turn) = self.state.machine.turn() else { return Ok(Ok(())) };
        let key = turn.judge_key();
        let max_output = judge_tokens(pass).min(info.max_output);
        // Two characters a token leave room for any language.
        let chars = info.context.saturating_sub(max_output).saturating_sub(PROMPT_TOKENS) as usize * 2;
        let child = self.state.machine.session().is_some_and(|session| session.spawned.is_some());
        let mut asked = JudgeAsked::new(pass, case, &self.state.transcript, child, chars);
        self.secrets.redact_in_place(&mut asked.text);
        let request = asked.request(pass, &route, max_output, info.schema_native);
        let body = self.rt.parts.provider.encode(&request, &mut EncodeCache::default());
        let costs = Costs {
            key: &key,
            attempt: 1,
            bytes: body.bytes,
            max_output,
            fixed: true,
            price: info.price.as_ref(),
        };
        if self.reserve(costs).await?.is_err() {
            return Ok(Err("a cap of the turn leaves no room to ask it".into()));
        }
        let (blob, bytes) = asked.blob();
        let intent = JudgeIntent {
            call: call.clone(),
            pass,
            subject: case.subject(),
            asked: blob,
            encoder: self.encoder(&route),
            route,
            max_output,
            request: body.hash,
            bytes: body.bytes,
            schema_native: info.schema_native,
        };
        self.own.insert(key.clone());
        self.request = Some((key.clone(), body));
        self.staged_blobs.push(bytes.into());
        let what = Intended::Judge(Box::new(intent));
        self.stage(Body::Intent(Box::new(Intent { key, class: EffectClass::Idempotent, attempt: 1, what })))?;
        Ok(Ok(()))
    }

    fn send_judgement(&mut self, key: EffectKey, attempt: u32, intent: &JudgeIntent, body: Encoded) {
        let cancel = Cancel::new();
        let env = self.rt.parts.env.clone();
        let bytes = body.bytes;
        let run = model::run(ModelCall {
            proposed: None,
            provider: self.rt.parts.provider.clone(),
            env: env.clone(),
            // Nobody watches it being written: it is no answer.
            hub: Arc::new(Hub::new(self.id.clone())),
            route: intent.route.clone(),
            key: key.clone(),
            attempt,
            not_before: None,
            breakers: self.rt.breakers.clone(),
            leased_until: self.leased_until.clone(),
            weight: bytes,
            body,
            cancel: cancel.clone(),
            secrets: self.secrets.clone(),
        });
        let (tx, sent) = (self.tx.clone(), key.clone());
        let task = Beside::spawn(async move {
            let due = env.sleep_until(env.now().saturating_add(TIME_MS));
            let end = tokio::select! {
                biased;
                ended = AssertUnwindSafe(run).catch_unwind() => {
                    ended.unwrap_or_else(|panic| model::panicked(&told_by(&*panic)))
                }
                () = due => ModelEnd::Failed(late(bytes)),
            };
            // A driver that is gone wants no answer.
            let _ = tx.send(Msg::Model { key: sent, attempt, end });
        });
        self.inflight.insert(key, InFlight { cancel, task, stage: Stage::Running });
    }

    fn not_judged(
        &mut self,
        key: &EffectKey,
        attempt: u32,
        why: &str,
        billed: Billed,
    ) -> Result<(), RuntimeError> {
        let result = EffectResult::Judged(failed(why, billed, 0));
        self.stage(Body::Outcome(Box::new(Outcome { key: key.clone(), attempt, result })))
    }

    /// A call of another life: what it may have cost is in the ledger, and it is made again.
    fn lost_judgement(&mut self, open: &Judging, billed: Billed) -> Result<(), RuntimeError> {
        let failure = ProviderFailure {
            class: ErrorClass::Interrupted,
            status: None,
            message: "Sterna was stopped while the classifier was asked".into(),
            retry_after_ms: None,
            billed,
        };
        let attempt = Attempt {
            key: open.key.clone(),
            attempt: open.attempts + 1,
            route: open.intent.route.clone(),
            failure,
            wait_ms: 0,
            retry_at: Some(self.rt.parts.env.now()),
        };
        self.stage(Body::Attempt(Box::new(attempt)))
    }
}

/// The request behind an intent for a classifier: the same when it is sent again, and in replay.
pub(crate) async fn judge_request(
    parts: &crate::Parts,
    intent: &JudgeIntent,
) -> Result<Encoded, RuntimeError> {
    let asked = asked(&parts.blobs, intent).await?;
    let request = asked.request(intent.pass, &intent.route, intent.max_output, intent.schema_native);
    Ok(parts.provider.encode(&request, &mut EncodeCache::default()))
}

async fn asked(blobs: &SharedBlobs, intent: &JudgeIntent) -> Result<JudgeAsked, RuntimeError> {
    let bytes = blobs.get(&intent.asked.hash).await?;
    JudgeAsked::read(&bytes).map_err(RuntimeError::Refused)
}

fn failed(why: &str, billed: Billed, duration_ms: u64) -> Judgement {
    let failed = Some(why.to_owned());
    Judgement { says: JudgeSays::Ask, reason: String::new(), failed, billed, duration_ms }
}

fn late(bytes: u64) -> ProviderFailure {
    ProviderFailure {
        class: ErrorClass::Timeout,
        status: None,
        message: format!("it gave no answer within {} s", TIME_MS / 1_000),
        retry_after_ms: None,
        billed: estimate(bytes, 0),
    }
}

/// Milliseconds that a classifier has for an answer (design: 30 s).
const TIME_MS: u64 = 30_000;
/// The denial in a row that a person is asked about instead (design: 3).
const MAX_DENIALS: u32 = 3;
/// How often a classifier is asked about one call: both passes, twice.
const MAX_TIMES: u32 = 4;
/// A call that kills its process every time must not do so for ever.
const MAX_LOST: u32 = 3;
/// Tokens that stay free for what the classifier is told beside the transcript.
const PROMPT_TOKENS: u32 = 12_000;
