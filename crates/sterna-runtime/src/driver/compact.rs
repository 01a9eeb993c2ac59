//! Compaction: measure the next request, make the history smaller when it would not fit, and settle what a summary gave.
//!
//! Whatever fails here ends in a smaller cut without a model, or in the request being sent as it is. It never decides a
//! turn's fate: only a provider, or a window that is known, says that a request does not fit.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use sterna_context::{
    Change, Entry, Load, Prompt, SUMMARY_TOKENS, Step, SummaryAsk, TurnFacts, derive, derive_summary,
    first_step, mechanical, summary_blob, with_summary,
};
use sterna_llm::{EncodeCache, Encoded, ModelInfo};
use sterna_log::{LogError, SharedBlobs};
use sterna_model::{
    Attempt, Billed, Body, CompactIntent, CompactTrigger, Compaction, EffectClass, EffectKey, EffectResult,
    ErrorClass, FilesSent, Intended, Intent, ModelIntent, ModelStop, Outcome, Part, ProviderFailure, Route,
    Seq, StopReason, Summary, Transition, answer_text,
};
use sterna_tool::Cancel;

use super::beside::Beside;
use super::caps::Costs;
use super::hooks::{About, BeforeCompaction};
use super::{Driver, InFlight, Msg, Stage, told_by};
use crate::effects::model::{self, ModelCall, ModelEnd, estimate};
use crate::hub::Hub;
use crate::{RuntimeError, files};

/// Whether there is room for the next request.
pub(super) enum Room {
    Enough,
    /// The state moved: ask the machine again.
    Moved,
    /// Hooks are asked first.
    Waits,
}

/// A compaction that is to be begun.
struct Wish<'a> {
    key: EffectKey,
    trigger: CompactTrigger,
    focus: &'a str,
}

impl Driver {
    /// Makes the history smaller when the next request would fill too much of the window.
    pub(super) async fn make_room(
        &mut self,
        inputs: &[Seq],
        route: &Route,
        info: &ModelInfo,
        max_output: u32,
        bytes: u64,
    ) -> Result<Room, RuntimeError> {
        let load = self.load_of(route, info, max_output, bytes);
        let Some(turn) = self.state.machine.turn() else { return Ok(Room::Enough) };
        let (tried, key) = (turn.compactions(), turn.compaction_key());
        if !(load.is_over() || tried == 0 && load.is_high()) {
            return Ok(Room::Enough);
        }
        let entries = self.state.transcript.entries(inputs);
        if tried == 0 {
            let wish = Wish { key, trigger: CompactTrigger::Window, focus: "" };
            match self.begin(wish, &entries, &load).await? {
                Room::Enough => {}
                moved => return Ok(moved),
            }
        } else if let Ok(change) = mechanical(&entries, &load) {
            let trigger = CompactTrigger::Window;
            match self.before_compaction(&About { key: &key, trigger, focus: "", tokens: load.tokens }) {
                BeforeCompaction::Wait => return Ok(Room::Waits),
                BeforeCompaction::Go => {
                    self.stage_change(change, trigger, None, &load, None)?;
                    return Ok(Room::Moved);
                }
                BeforeCompaction::Forbidden(_) => {}
            }
        }
        // Where the window is only assumed, or nobody has counted, the provider knows better than we.
        if load.is_over() && !info.assumed && self.state.gauge.is_counted(route) {
            let turn = self.state.machine.turns();
            self.stage(Body::LimitReached { turn, reason: StopReason::ContextOverflow })?;
            return Ok(Room::Moved);
        }
        Ok(Room::Enough)
    }

    /// Sees to a compaction that the machine wants, or that is under way.
    pub(super) async fn want_compact(&mut self, wanted: Compaction) -> Result<bool, RuntimeError> {
        let ending = self.state.machine.turn().is_some_and(|turn| turn.is_ending());
        if let Some(flight) = self.inflight.get(&wanted.key) {
            if ending {
                flight.cancel.cancel();
            }
            return Ok(false);
        }
        match (&wanted.intent, &wanted.summary) {
            (Some(intent), _) if ending => {
                let lost = !self.own.contains(&wanted.key);
                let mut billed = if lost { estimate(intent.model.bytes, 0) } else { Billed::default() };
                self.price_on(&intent.model.route, &mut billed);
                self.no_summary(&wanted.key, wanted.attempt, "the turn was stopped", billed)?;
                Ok(true)
            }
            // The summary is durable before anything is left out for it.
            (Some(_), Some(_)) if !self.staged.is_empty() => {
                self.flush().await?;
                Ok(true)
            }
            (Some(intent), Some(summary)) => self.settle_summary(&wanted, intent, summary).await,
            _ if self.draining => Ok(false),
            (None, _) if wanted.frame.is_some() => match wanted.frame {
                Some(frame) => self.open_frame(*frame).await,
                None => Ok(false),
            },
            (None, _) => {
                let (load, entries) = self.measured().await?;
                let wish = Wish { key: wanted.key, trigger: wanted.trigger, focus: &wanted.focus };
                // What the provider refused did not fit, whatever we counted; and who asks wants it smaller than it is.
                let load = Load { window: load.window.min(load.tokens), ..load };
                Ok(matches!(self.begin(wish, &entries, &load).await?, Room::Moved))
            }
            (Some(intent), None) if !self.own.contains(&wanted.key) => {
                self.own.insert(wanted.key.clone());
                let mut billed = estimate(intent.model.bytes, 0);
                self.price_on(&intent.model.route, &mut billed);
                if wanted.attempt >= MAX_LOST {
                    self.no_summary(
                        &wanted.key,
                        wanted.attempt,
                        "Sterna was stopped in it again and again",
                        billed,
                    )?;
                } else {
                    self.lost_summary(&wanted, intent, billed)?;
                }
                Ok(true)
            }
            (Some(_), None) if !self.staged.is_empty() => {
                self.flush().await?;
                Ok(true)
            }
            (Some(intent), None) => {
                let body = match &self.request {
                    Some((key, body)) if *key == wanted.key => body.clone(),
                    _ => {
                        let prompt = self.stored_prompt(&intent.model.manifest).await?;
                        self.summary_request(&prompt, intent)?
                    }
                };
                let info = self.rt.parts.provider.model(&intent.model.route);
                let price = info.ok().and_then(|info| info.price);
                let costs = Costs {
                    key: &wanted.key,
                    attempt: wanted.attempt,
                    bytes: body.bytes,
                    max_output: intent.model.max_output,
                    fixed: true,
                    price: price.as_ref(),
                };
                if self.reserve(costs).await?.is_err() {
                    let why = "a cap leaves no room for a summary any more";
                    self.no_summary(&wanted.key, wanted.attempt, why, Billed::default())?;
                    return Ok(true);
                }
                self.send_summary(wanted.key, wanted.attempt, intent.model.route.clone(), body);
                Ok(false)
            }
        }
    }

    /// What a call for a summary gave.
    pub(super) fn summary_ended(
        &mut self,
        key: EffectKey,
        attempt: u32,
        end: ModelEnd,
    ) -> Result<(), RuntimeError> {
        let route = self.request_route(&key);
        let summary = match end {
            ModelEnd::Answered(mut outcome) => {
                self.price_on(&route, &mut outcome.billed);
                let called = outcome.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
                let failed = match outcome.stop {
                    _ if outcome.partial => Some("it was cancelled".to_owned()),
                    ModelStop::Refused => Some("the model refused to write it".to_owned()),
                    _ if called => Some("the model called a tool instead of writing it".to_owned()),
                    ModelStop::EndTurn
                    | ModelStop::ToolCalls
                    | ModelStop::MaxOutput
                    | ModelStop::Cancelled => None,
                };
                let text = if failed.is_some() { String::new() } else { answer_text(&outcome.parts) };
                Summary { text, failed, billed: outcome.billed, duration_ms: outcome.duration_ms }
            }
            ModelEnd::Failed(mut failure) => {
                self.price_on(&route, &mut failure.billed);
                let failed = Some(format!("{}: {}", failure.class.word(), failure.message));
                Summary { text: String::new(), failed, billed: failure.billed, duration_ms: 0 }
            }
        };
        let result = EffectResult::Summary(summary);
        self.stage(Body::Outcome(Box::new(Outcome { key, attempt, result })))
    }

    /// Begins with what needs no model, or asks for a summary. `Enough`: there was nothing to do, or hooks forbid it.
    async fn begin(&mut self, wish: Wish<'_>, entries: &[Entry], load: &Load) -> Result<Room, RuntimeError> {
        let all_the_way = wish.trigger != CompactTrigger::Window;
        let summarise = self.state.gauge.may_summarise() && !self.draining;
        let step = match first_step(entries, load, summarise, all_the_way) {
            // Who asks for one has its hooks asked, whatever comes of it.
            Step::Nothing(why) if wish.trigger != CompactTrigger::Manual => Step::Nothing(why),
            step @ (Step::Nothing(_) | Step::Change(_) | Step::Summarise(_)) => {
                let Wish { key, trigger, focus } = &wish;
                let about = About { key, trigger: *trigger, focus, tokens: load.tokens };
                match self.before_compaction(&about) {
                    BeforeCompaction::Go => step,
                    BeforeCompaction::Wait => return Ok(Room::Waits),
                    BeforeCompaction::Forbidden(why) => Step::Nothing(format!("a hook forbids it: {why}")),
                }
            }
        };
        match step {
            Step::Change(change) => {
                self.stage_change(change, wish.trigger, None, load, None)?;
                Ok(Room::Moved)
            }
            Step::Nothing(why) => match wish.trigger {
                CompactTrigger::Window => Ok(Room::Enough),
                trigger @ (CompactTrigger::Overflow | CompactTrigger::Manual | CompactTrigger::Continue) => {
                    self.stage(Body::CompactionMissed { trigger, why })?;
                    Ok(Room::Moved)
                }
            },
            Step::Summarise(to) => {
                let Err(why) = self.ask_summary(&wish, to, load).await? else { return Ok(Room::Moved) };
                self.cut_instead(wish.trigger, None, entries, load, why)?;
                Ok(Room::Moved)
            }
        }
    }

    /// Writes the intent of a summary and sends its request. An inner error says why none can be asked for.
    async fn ask_summary(
        &mut self,
        wish: &Wish<'_>,
        to: u64,
        load: &Load,
    ) -> Result<Result<(), String>, RuntimeError> {
        let Some(turn) = self.state.turn.clone() else { return Err(RuntimeError::NoTurn(self.id.clone())) };
        let route = self.config.summary_route.clone().unwrap_or_else(|| self.route());
        let info = match self.rt.parts.provider.model(&route) {
            Ok(info) => info,
            Err(why) => return Ok(Err(why)),
        };
        let prompt = self.current_prompt(&turn).await?;
        let mut intent = CompactIntent {
            trigger: wish.trigger,
            focus: wish.focus.to_owned(),
            to,
            cut_results: false,
            tokens: load.tokens,
            model: ModelIntent {
                route: route.clone(),
                transition: Transition::Compact,
                inputs: Vec::new(),
                history: self.state.history(),
                manifest: prompt.hash(),
                tools_off: true,
                max_output: SUMMARY_TOKENS.min(info.max_output),
                encoder: self.encoder(&route),
                request: sterna_model::Digest::ZERO,
                bytes: 0,
                prefix: None,
                prefix_broken: Vec::new(),
                left_out: 0,
                schema_native: false,
                // What is summed up names its files and shows none.
                files: None,
                thinking: None,
            },
        };
        let mut body = self.summary_request(&prompt, &intent)?;
        let fits = |body: &Encoded, gauge: &sterna_context::Gauge| {
            let window = u64::from(info.context.saturating_sub(SUMMARY_TOKENS));
            gauge.tokens(&route, body.bytes) <= window
        };
        if !fits(&body, &self.state.gauge) {
            intent.cut_results = true;
            body = self.summary_request(&prompt, &intent)?;
            if !fits(&body, &self.state.gauge) {
                return Ok(Err("what is to be summed up does not fit the summariser's window".into()));
            }
        }
        let costs = Costs {
            key: &wish.key,
            attempt: 1,
            bytes: body.bytes,
            max_output: intent.model.max_output,
            fixed: true,
            price: info.price.as_ref(),
        };
        if self.reserve(costs).await?.is_err() {
            return Ok(Err("a cap of the turn leaves no room for a summary".into()));
        }
        (intent.model.request, intent.model.bytes) = (body.hash, body.bytes);
        if !self.rt.is_stored(&prompt.hash()) {
            self.staged_blobs.extend(prompt.blobs().iter().map(|blob| bytes::Bytes::from(blob.clone())));
        }
        let key = wish.key.clone();
        self.own.insert(key.clone());
        self.request = Some((key.clone(), body));
        let what = Intended::Compact(Box::new(intent));
        self.stage(Body::Intent(Box::new(Intent { key, class: EffectClass::Idempotent, attempt: 1, what })))?;
        // The call starts when the machine asks for it: its intent is durable then.
        if self.flush().await? {
            self.rt.stored(prompt.hash());
        }
        Ok(Ok(()))
    }

    async fn settle_summary(
        &mut self,
        wanted: &Compaction,
        intent: &CompactIntent,
        summary: &Summary,
    ) -> Result<bool, RuntimeError> {
        let (load, entries) = self.measured().await?;
        let made = match &summary.failed {
            Some(why) => Err(why.clone()),
            None => with_summary(&entries, &load, intent.to, &summary.text),
        };
        match made {
            Ok(change) => self.stage_change(change, wanted.trigger, Some(wanted.key.clone()), &load, None)?,
            Err(why) => self.cut_instead(wanted.trigger, Some(wanted.key.clone()), &entries, &load, why)?,
        }
        Ok(true)
    }

    /// No summary: the oldest steps become a reference.
    fn cut_instead(
        &mut self,
        trigger: CompactTrigger,
        key: Option<EffectKey>,
        entries: &[Entry],
        load: &Load,
        why: String,
    ) -> Result<(), RuntimeError> {
        match mechanical(entries, load) {
            Ok(change) => self.stage_change(change, trigger, key, load, Some(why)),
            Err(nothing) => {
                let why = format!("{why}; {nothing}");
                self.stage(Body::CompactionMissed { trigger, why })
            }
        }
    }

    pub(super) fn stage_change(
        &mut self,
        change: Change,
        trigger: CompactTrigger,
        key: Option<EffectKey>,
        load: &Load,
        failed: Option<String>,
    ) -> Result<(), RuntimeError> {
        let blob = change.new_summary.as_deref().map(summary_blob);
        let compacted =
            change.record(trigger, key, load.tokens, blob.as_ref().map(|(name, _)| name.clone()), failed);
        self.stage(Body::Compacted(Box::new(compacted)))?;
        if let Some((name, bytes)) = blob {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            self.state.transcript.give_summary(name.hash, Some(&text));
            self.staged_blobs.push(bytes.into());
        }
        Ok(())
    }

    /// The next request as it would be now, and what it weighs.
    pub(super) async fn measured(&mut self) -> Result<(Load, Vec<Entry>), RuntimeError> {
        let Some(turn) = self.state.turn.clone() else { return Err(RuntimeError::NoTurn(self.id.clone())) };
        let route = self.route();
        let info = self.rt.parts.provider.model(&route).map_err(RuntimeError::Route)?;
        let prompt = self.current_prompt(&turn).await?;
        self.bring_summary().await?;
        let max_output = turn.max_output.map_or(info.max_output, |most| most.min(info.max_output));
        let items = self.state.transcript.with(&[]);
        let has_files = self.state.transcript.has_files(&items);
        let (items, files) =
            files::shown(items, has_files, info.sight, &self.rt.parts.blobs, &mut self.files).await?;
        let request = derive(
            &prompt,
            items,
            &self.state.folded.world,
            &TurnFacts::of(&turn),
            &route,
            Transition::Input,
            false,
            max_output,
        );
        let bytes = self.rt.parts.provider.encode(&request, &mut EncodeCache::default()).bytes;
        let weight = FilesSent::weight(files.as_ref(), bytes);
        Ok((self.load_of(&route, &info, max_output, weight), self.state.transcript.entries(&[])))
    }

    /// Reads the summary that stands in the next request, unless it is here.
    pub(super) async fn bring_summary(&mut self) -> Result<(), RuntimeError> {
        bring_summary(&self.rt.parts.blobs, &mut self.state.transcript).await
    }

    fn load_of(&self, route: &Route, info: &ModelInfo, max_output: u32, bytes: u64) -> Load {
        // A model whose answer may fill its window would have no window to read.
        let reserved = max_output.min(info.context / 2);
        let window = u64::from(info.context.saturating_sub(reserved));
        Load { window, bytes, tokens: self.state.gauge.tokens(route, bytes) }
    }

    fn summary_request(&self, prompt: &Prompt, intent: &CompactIntent) -> Result<Encoded, RuntimeError> {
        let Some(turn) = self.state.turn.as_ref() else { return Err(RuntimeError::NoTurn(self.id.clone())) };
        let request = summary_request(prompt, &self.state, &TurnFacts::of(turn), intent);
        Ok(self.rt.parts.provider.encode(&request, &mut EncodeCache::default()))
    }

    fn send_summary(&mut self, key: EffectKey, attempt: u32, route: Route, body: Encoded) {
        let cancel = Cancel::new();
        let run = model::run(ModelCall {
            proposed: None,
            provider: self.rt.parts.provider.clone(),
            env: self.rt.parts.env.clone(),
            // Nobody watches it being written: it is no answer.
            hub: Arc::new(Hub::new(self.id.clone())),
            route,
            key: key.clone(),
            attempt,
            not_before: None,
            breakers: self.rt.breakers.clone(),
            leased_until: self.leased_until.clone(),
            weight: body.bytes,
            body,
            cancel: cancel.clone(),
            secrets: self.secrets.clone(),
        });
        let (tx, sent) = (self.tx.clone(), key.clone());
        let task = Beside::spawn(async move {
            let ended = AssertUnwindSafe(run).catch_unwind().await;
            let end = ended.unwrap_or_else(|panic| model::panicked(&told_by(&*panic)));
            // A driver that is gone wants no answer.
            let _ = tx.send(Msg::Model { key: sent, attempt, end });
        });
        self.inflight.insert(key, InFlight { cancel, task, stage: Stage::Running });
    }

    fn no_summary(
        &mut self,
        key: &EffectKey,
        attempt: u32,
        why: &str,
        billed: Billed,
    ) -> Result<(), RuntimeError> {
        let summary = Summary { text: String::new(), failed: Some(why.to_owned()), billed, duration_ms: 0 };
        let result = EffectResult::Summary(summary);
        self.stage(Body::Outcome(Box::new(Outcome { key: key.clone(), attempt, result })))
    }

    /// A call of another life: what it may have cost is in the ledger, and it is made again.
    fn lost_summary(
        &mut self,
        wanted: &Compaction,
        intent: &CompactIntent,
        billed: Billed,
    ) -> Result<(), RuntimeError> {
        let failure = ProviderFailure {
            class: ErrorClass::Interrupted,
            status: None,
            message: "Sterna was stopped while the summary was written".into(),
            retry_after_ms: None,
            billed,
        };
        let attempt = Attempt {
            key: wanted.key.clone(),
            attempt: wanted.attempt,
            route: intent.model.route.clone(),
            failure,
            wait_ms: 0,
            retry_at: Some(self.rt.parts.env.now()),
        };
        self.stage(Body::Attempt(Box::new(attempt)))
    }

    fn request_route(&self, key: &EffectKey) -> Route {
        match self.state.machine.next() {
            sterna_turn::Next::Effects(effects) => effects.into_iter().find_map(|effect| match effect {
                sterna_model::Effect::Compact(open) if open.key == *key => {
                    open.intent.map(|intent| intent.model.route.clone())
                }
                _ => None,
            }),
            _ => None,
        }
        .unwrap_or_else(|| self.route())
    }
}

/// The request behind an intent for a summary: the same when it is sent, sent again, and in replay.
pub(crate) fn summary_request(
    prompt: &Prompt,
    state: &crate::State,
    facts: &TurnFacts,
    intent: &CompactIntent,
) -> sterna_llm::Request {
    let entries = state.transcript.entries(&[]);
    let to = entries.iter().rposition(|entry| entry.from.contains(&intent.to)).map_or(0, |at| at + 1);
    let ask = SummaryAsk {
        route: &intent.model.route,
        focus: &intent.focus,
        cut_results: intent.cut_results,
        max_output: intent.model.max_output,
    };
    derive_summary(prompt, &entries[..to], &state.folded.world, facts, &ask)
}

/// Reads the summary that stands in the next request. One that is gone is shown as gone.
pub(crate) async fn bring_summary(
    blobs: &SharedBlobs,
    transcript: &mut sterna_context::Transcript,
) -> Result<(), RuntimeError> {
    while let Some(hash) = transcript.summary_wanted() {
        match blobs.get(&hash).await {
            Ok(bytes) => transcript.give_summary(hash, Some(&String::from_utf8_lossy(&bytes))),
            Err(LogError::BlobMissing(_)) => transcript.give_summary(hash, None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A call that kills its process every time must not do so for ever.
const MAX_LOST: u32 = 3;
