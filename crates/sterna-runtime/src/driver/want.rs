//! What the machine wants, done: derive and send a request, pass a call through the pipeline, start it.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use sterna_context::{CONTEXT_VERSION, Prompt, PromptError, TurnFacts, derive};
use sterna_llm::{Encoded, Request};
use sterna_model::{
    Attempt, Body, CallModel, CallTool, ChildEnd, Closed, Effect, EffectClass, EffectKey, EffectResult,
    ErrorClass, FilesSent, Intended, Intent, Millis, ModelIntent, ModelOutcome, ModelStop, Outcome,
    ProviderFailure, Route, Ruling, StopReason, Thinking, ToolStatus, TurnStarted, wait_id,
};
use sterna_tool::{Cancel, Confine, Plan, SessionView, SharedTool, TOOL_SEARCH, ToolContext, Woken};

use super::beside::Beside;
use super::caps::Costs;
use super::compact::Room;
use super::hooks::Before;
use super::{Driver, InFlight, Msg, Stage, told_by};
use crate::RuntimeError;
use crate::effects::model::{ModelCall, estimate};
use crate::effects::pipeline::FromHooks;
use crate::effects::tool::unrun;
use crate::effects::{checkpoint, model, pipeline, tool};
use crate::files;
use crate::hub::Hub;
use crate::reader::Reader;
use crate::secrets::CleanBlobs;

/// An allowed call that starts when its intent is durable.
pub(super) struct Ready {
    pub key: EffectKey,
    pub attempt: u32,
    pub tool: SharedTool,
    pub args: Value,
    pub plan: Arc<Plan>,
    /// Git must run without its hooks, pagers and monitors.
    pub quiet_git: bool,
    /// Where its result comes from, when that is text of strangers.
    pub origin: Option<String>,
    pub confine: Arc<Confine>,
}

/// What the log says of a call that is about to run.
#[derive(Default)]
pub(super) struct CallFacts {
    pub id: String,
    pub name: String,
    pub intended_at: Millis,
    pub answers: Option<Vec<String>>,
    /// The child's turn that it waited for is over.
    pub ended: Option<Arc<ChildEnd>>,
    pub woken: Option<Woken>,
}

impl Driver {
    /// Sees to an effect. `true`: the state moved, ask the machine again.
    pub(super) async fn want(&mut self, effect: Effect) -> Result<bool, RuntimeError> {
        match effect {
            Effect::CallModel(call) => self.want_model(call).await,
            Effect::CallTool(call) => {
                if call.closed.is_some() {
                    self.cancel_awaited(&call.key).await;
                }
                match call.judging.clone().filter(|judging| judging.is_open()) {
                    Some(open) => self.want_judgement(&call, &open).await,
                    None => self.want_tool(call),
                }
            }
            Effect::Compact(wanted) => self.want_compact(wanted).await,
        }
    }

    async fn want_model(&mut self, call: CallModel) -> Result<bool, RuntimeError> {
        let ending = self.state.machine.turn().is_some_and(|turn| turn.is_ending());
        if let Some(flight) = self.inflight.get(&call.key) {
            if ending {
                flight.cancel.cancel();
            }
            return Ok(false);
        }
        if ending {
            if call.intent.is_some() && !self.own.contains(&call.key) {
                // It died in flight in another life: what it may have cost stands in the ledger.
                self.lost_attempt(&call)?;
            }
            let outcome = ModelOutcome {
                parts: Vec::new(),
                stop: ModelStop::Cancelled,
                classes: Vec::new(),
                billed: sterna_model::Billed::default(),
                partial: true,
                duration_ms: 0,
                checked: None,
            };
            self.stage(Body::Outcome(Box::new(Outcome {
                key: call.key,
                attempt: call.attempt,
                result: EffectResult::Model(outcome),
            })))?;
            return Ok(true);
        }
        if self.draining {
            return Ok(false);
        }
        match &call.intent {
            None => self.first_attempt(call).await,
            Some(_) if !self.own.contains(&call.key) => self.lost_attempt(&call),
            // What the attempt before may have cost is durable before it costs again.
            Some(_) if !self.staged.is_empty() => {
                self.flush().await?;
                Ok(true)
            }
            Some(intent) => {
                let info = self.rt.parts.provider.model(&intent.route).map_err(RuntimeError::Route)?;
                // The request stands as it is: what is left pays for it, or does not.
                let costs = Costs {
                    key: &call.key,
                    attempt: call.attempt,
                    bytes: intent.weight(),
                    max_output: intent.max_output,
                    fixed: true,
                    price: info.price.as_ref(),
                };
                if let Err(reason) = self.reserve(costs).await? {
                    return self.limit_reached(reason);
                }
                let body = self.request_again(&call, intent).await?;
                self.send(&call, body, intent.weight());
                Ok(false)
            }
        }
    }

    /// Derives the request, and sends it once its intent is durable.
    async fn first_attempt(&mut self, call: CallModel) -> Result<bool, RuntimeError> {
        let Some(turn) = self.state.turn.clone() else { return Ok(false) };
        let route = self.route();
        let info = match self.rt.parts.provider.model(&route) {
            Ok(info) => info,
            Err(why) => return Err(RuntimeError::Route(why)),
        };
        let prompt = self.current_prompt(&turn).await?;
        let schema_native = turn.output_schema.is_some() && info.schema_native;
        let asked = |(effort, dialect)| Thinking { dialect, effort };
        let thinking = turn.effort.zip(info.thinking).map(asked);
        let facts = TurnFacts::of(&turn).schema_native(schema_native).thinking(thinking);
        self.bring_summary().await?;
        let world = &self.state.folded.world;
        let mut max_output = turn.max_output.map_or(info.max_output, |most| most.min(info.max_output));
        let request = |items, max_output| -> Request {
            derive(&prompt, items, world, &facts, &route, call.transition, call.tools_off, max_output)
        };
        let blobs = &self.rt.parts.blobs;
        let items = self.state.transcript.with(&call.inputs);
        let left_out = self.state.transcript.foreign(&items, &route);
        let has_files = self.state.transcript.has_files(&items);
        let (history, files) = files::shown(items, has_files, info.sight, blobs, &mut self.files).await?;
        let mut request = request(history, max_output);
        let body = self.rt.parts.provider.encode(&request, &mut self.cache);
        let weight = FilesSent::weight(files.as_ref(), body.bytes);
        match self.make_room(&call.inputs, &route, &info, max_output, weight).await? {
            Room::Enough => {}
            Room::Moved => return Ok(true),
            Room::Waits => return Ok(false),
        }
        let mut body = body;
        let costs = Costs {
            key: &call.key,
            attempt: call.attempt,
            bytes: weight,
            max_output,
            fixed: false,
            price: info.price.as_ref(),
        };
        let room = match self.reserve(costs).await? {
            Ok(room) => room,
            Err(reason) => return self.limit_reached(reason),
        };
        if room < max_output {
            max_output = room;
            request.max_output = room;
            body = self.rt.parts.provider.encode(&request, &mut self.cache);
        }
        let mut intent = ModelIntent {
            route: route.clone(),
            transition: call.transition,
            inputs: call.inputs.clone(),
            history: self.state.history(),
            manifest: prompt.hash(),
            tools_off: call.tools_off,
            max_output,
            encoder: self.encoder(&route),
            request: body.hash,
            bytes: body.bytes,
            prefix: body.prefix,
            prefix_broken: Vec::new(),
            left_out,
            schema_native,
            files,
            thinking,
        };
        intent.prefix_broken = self.prefix_broken(&intent, &prompt).await;
        // A store keeps what it has already once: to ask it first costs a new process more than to send it.
        if !self.rt.is_stored(&prompt.hash()) {
            self.staged_blobs.extend(prompt.blobs().iter().map(|blob| bytes::Bytes::from(blob.clone())));
        }
        let key = call.key.clone();
        self.own.insert(key.clone());
        let what = Intended::Model(intent);
        let (class, attempt) = (EffectClass::Idempotent, call.attempt);
        self.stage(Body::Intent(Box::new(Intent { key, class, attempt, what })))?;
        self.request = Some((call.key.clone(), body.clone()));
        let staged = self.staged.len();
        if !self.flush().await? {
            return Ok(true);
        }
        // Somebody's input came first, and the step was decided again without this call.
        let stands = self.own.contains(&call.key) && staged > 0;
        if stands {
            self.rt.stored(prompt.hash());
            self.send(&call, body, weight);
        }
        Ok(!stands)
    }

    fn limit_reached(&mut self, reason: StopReason) -> Result<bool, RuntimeError> {
        let turn = self.state.machine.turns();
        self.stage(Body::LimitReached { turn, reason })?;
        Ok(true)
    }

    /// An intent of another life: its attempt is in the ledger as an estimate, and the call is made again.
    fn lost_attempt(&mut self, call: &CallModel) -> Result<bool, RuntimeError> {
        self.own.insert(call.key.clone());
        let now = self.rt.parts.env.now();
        if call.not_before.is_some_and(|at| at > now) {
            // It died while it waited for a retry: only the rest is waited.
            return Ok(true);
        }
        let bytes = call.intent.as_ref().map_or(0, |intent| intent.weight());
        let mut failure = ProviderFailure {
            class: ErrorClass::Interrupted,
            status: None,
            message: "Sterna was stopped while the call was in flight".into(),
            retry_after_ms: None,
            billed: estimate(bytes, 0),
        };
        self.price(&mut failure.billed);
        let route = self.route();
        let attempt = call.attempt;
        self.stage(Body::Attempt(Box::new(Attempt {
            key: call.key.clone(),
            attempt,
            route,
            failure,
            wait_ms: 0,
            retry_at: Some(now),
        })))?;
        Ok(true)
    }

    /// The request of an intent that is in the log: its stored parts, byte for byte.
    async fn request_again(
        &mut self,
        call: &CallModel,
        intent: &ModelIntent,
    ) -> Result<Encoded, RuntimeError> {
        if let Some((key, body)) = &self.request
            && *key == call.key
        {
            return Ok(body.clone());
        }
        let Some(turn) = self.state.turn.clone() else { return Err(RuntimeError::NoTurn(self.id.clone())) };
        let prompt = self.stored_prompt(&intent.manifest).await?;
        self.bring_summary().await?;
        let sight = intent.files.map(|files| files.sight).unwrap_or_default();
        let items = self.state.transcript.with(&[]);
        let has_files = self.state.transcript.has_files(&items);
        let (items, _) = files::shown(items, has_files, sight, &self.rt.parts.blobs, &mut self.files).await?;
        let request = derive(
            &prompt,
            items,
            &self.state.folded.world,
            &TurnFacts::of(&turn).schema_native(intent.schema_native).thinking(intent.thinking),
            &intent.route,
            intent.transition,
            intent.tools_off,
            intent.max_output,
        );
        let body = self.rt.parts.provider.encode(&request, &mut self.cache);
        self.prompt = Some(prompt);
        self.request = Some((call.key.clone(), body.clone()));
        Ok(body)
    }

    fn send(&mut self, call: &CallModel, body: Encoded, weight: u64) {
        let cancel = Cancel::new();
        let (tx, key, attempt) = (self.tx.clone(), call.key.clone(), call.attempt);
        let (told, of) = (self.tx.clone(), call.key.clone());
        let proposed = move |ordinal, call| {
            // A driver that is gone wants no proposal.
            let _ = told.send(Msg::Proposed { key: of.clone(), attempt, ordinal, call });
        };
        let run = model::run(ModelCall {
            proposed: Some(Box::new(proposed)),
            provider: self.rt.parts.provider.clone(),
            env: self.rt.parts.env.clone(),
            hub: self.shared.hub.clone(),
            route: self.route(),
            key: call.key.clone(),
            attempt,
            not_before: call.not_before,
            leased_until: self.leased_until.clone(),
            breakers: self.rt.breakers.clone(),
            body,
            weight,
            cancel: cancel.clone(),
            secrets: self.secrets.clone(),
        });
        let task = Beside::start(async move {
            let ended = AssertUnwindSafe(run).catch_unwind().await;
            let end = ended.unwrap_or_else(|panic| model::panicked(&told_by(&*panic)));
            // A driver that is gone wants no answer.
            let _ = tx.send(Msg::Model { key, attempt, end });
        });
        let flight = InFlight { cancel, task, stage: Stage::Running };
        self.inflight.insert(call.key.clone(), flight);
    }

    fn want_tool(&mut self, call: CallTool) -> Result<bool, RuntimeError> {
        let now = self.rt.parts.env.now();
        if call.closed.is_some()
            && self.is_passing(&call.key)
            && let Some(flight) = self.inflight.remove(&call.key)
        {
            flight.cancel.cancel();
        }
        if let Some(flight) = self.inflight.get(&call.key) {
            if call.closed.is_some() && flight.stage != Stage::Undoing {
                flight.cancel.cancel();
            }
            return Ok(false);
        }
        if let Some(at) = self.ready.iter().position(|ready| ready.key == call.key) {
            // Its intent is staged or durable, and it has not started.
            if call.closed.is_none() {
                return Ok(false);
            }
            self.ready.remove(at);
        }
        if let Some(closed) = call.closed {
            let foreign = call.started > 0 && !self.own.contains(&call.key) && !call.asked;
            if foreign && !self.unknown.contains(&call.key) {
                // What still runs of it is ended, and its true end told.
                return self.look_for(call, true);
            }
            if foreign && self.can_undo(&call) {
                return self.undo(call);
            }
            let (status, text) = match closed {
                // An intent of another life: that the turn ends does not tell whether it ran.
                _ if foreign => (ToolStatus::OutcomeUnknown, self.unknown_text(&call.key)),
                Closed::Cancelled => {
                    (ToolStatus::Cancelled, "cancelled: the turn was stopped before this call ran".to_owned())
                }
                Closed::ToolsOff => {
                    let name = &call.call.name;
                    (
                        ToolStatus::NotAvailable,
                        format!("tool not available: {name} (tools are off in this step)"),
                    )
                }
            };
            self.tool_outcome(call.key, unrun(status, text, now))?;
            return Ok(true);
        }
        if call.doubt_answered && !self.own.contains(&call.key) {
            return self.doubt_answered(call);
        }
        if self.plan_answered(&call)? {
            return Ok(true);
        }
        match &call.ruling {
            Some(Ruling::Deny { .. } | Ruling::Timeout)
                if self.state.folded.is_for_child(&wait_id(&call.key, call.waits)) =>
            {
                let text = "timeout: the agent has not ended yet. It goes on: wait again, or close it.";
                self.tool_outcome(call.key, unrun(ToolStatus::Timeout, text.into(), now))?;
                return Ok(true);
            }
            Some(Ruling::Deny { feedback })
                if self.state.folded.is_to_wake(&wait_id(&call.key, call.waits)) =>
            {
                let text = format!("the wait was ended by somebody: {feedback}");
                self.tool_outcome(call.key, unrun(ToolStatus::Failed, text, now))?;
                return Ok(true);
            }
            // The call comes again, and is told so.
            Some(Ruling::Timeout) if self.state.folded.is_to_wake(&wait_id(&call.key, call.waits)) => {}
            Some(Ruling::Deny { feedback }) => {
                let question = self.state.folded.is_question(&wait_id(&call.key, call.waits));
                let said = if feedback.is_empty() { String::new() } else { format!(": {feedback}") };
                let (status, text) = if question {
                    (ToolStatus::Failed, format!("the question was not answered{said}"))
                } else {
                    (ToolStatus::Denied, format!("denied{said}\nThe call was not run."))
                };
                self.tool_outcome(call.key, unrun(status, text, now))?;
                return Ok(true);
            }
            Some(Ruling::Timeout) => {
                let text = "timeout: nobody answered in time, and the call was not run".to_owned();
                self.tool_outcome(call.key, unrun(ToolStatus::Timeout, text, now))?;
                return Ok(true);
            }
            Some(
                Ruling::Allow
                | Ruling::Answers(_)
                | Ruling::Edited(_)
                | Ruling::Plan { .. }
                | Ruling::Ended(_)
                | Ruling::Signal(_),
            )
            | None => {}
        }
        if self.draining {
            return Ok(false);
        }
        if call.started > 0 && !self.own.contains(&call.key) {
            return self.in_doubt(call);
        }
        if self.another_is_judged(&call.key) {
            return Ok(false);
        }
        if let Some(moved) = self.take_early(&call)? {
            return Ok(moved);
        }
        let from = match self.before_call(&call)? {
            Before::Judge(from) => from,
            Before::Wait => return Ok(false),
            Before::Deny(why) => {
                let text = format!("denied: {why}\nThe call was not run.");
                self.tool_outcome(call.key, unrun(ToolStatus::Denied, text, now))?;
                return Ok(true);
            }
        };
        self.pass(call, from)?;
        Ok(false)
    }

    /// Takes a call through the pipeline, beside the driver: resolving names looks at the file system.
    fn pass(&mut self, call: CallTool, from: FromHooks) -> Result<(), RuntimeError> {
        let (mut rights, bound, mode) = (self.rights()?, self.bound(), self.mode());
        let tools = self.rt.parts.tools.clone();
        let (tx, key) = (self.tx.clone(), call.key.clone());
        let cancel = Cancel::new();
        let covered = self.state.covered == Some((key.turn, key.step));
        let keeper =
            self.rt.parts.checkpoints.clone().filter(|_| !covered).map(|keeper| (keeper, cancel.clone()));
        let task = Beside::spawn(async move {
            let key = call.key.clone();
            let checked = AssertUnwindSafe(bound.pass(&call, &tools, &mut rights, &from)).catch_unwind();
            let passed = checked.await.unwrap_or_else(|_| pipeline::Passed::Answer {
                status: ToolStatus::Panicked,
                text: format!("`{}` panicked while its call was planned", call.call.name),
            });
            let checkpoint = match (&passed, keeper) {
                (pipeline::Passed::Run { changes, .. }, Some((keeper, cancel))) => {
                    checkpoint::before(keeper, PathBuf::from(&rights.turn.root), changes, cancel).await
                }
                _ => None,
            };
            // A driver that is gone wants no answer.
            let _ = tx.send(Msg::Passed { key, passed, mode, checkpoint });
        });
        let flight = InFlight { cancel, task, stage: Stage::Passing };
        self.inflight.insert(key, flight);
        Ok(())
    }

    /// Starts the calls whose intents are durable, and pure ones, which need none.
    pub(super) fn start_ready(&mut self) {
        let ready = std::mem::take(&mut self.ready);
        self.start_all(ready);
    }

    pub(super) fn start_pure(&mut self) {
        // After a wait for the store somebody else may lead: then they start with the others, once what is staged is durable.
        if !self.holds_lease() {
            return;
        }
        let (pure, rest): (Vec<Ready>, Vec<Ready>) = std::mem::take(&mut self.ready)
            .into_iter()
            .partition(|ready| self.call(&ready.key).is_some_and(|call| call.class == EffectClass::Pure));
        self.ready = rest;
        self.start_all(pure);
    }

    /// Several run at once, also those that only compute; the last one is begun here.
    fn start_all(&mut self, mut ready: Vec<Ready>) {
        let last = ready.pop();
        for ready in ready {
            self.start(ready, Beside::spawn);
        }
        if let Some(last) = last {
            self.start(last, Beside::start);
        }
    }

    fn start(&mut self, ready: Ready, begin: fn(BoxFuture<'static, ()>) -> Beside) {
        let Ready { key, attempt, tool, args, plan, quiet_git, confine, origin } = ready;
        let Some((mut context, after, cancel)) = self.tool_context(&key, attempt, plan, quiet_git, origin)
        else {
            return;
        };
        context.confine = confine;
        let (tx, sent, env, called) =
            (self.tx.clone(), key.clone(), self.rt.parts.env.clone(), tool.spec().name.clone());
        let work = async move {
            let ended = AssertUnwindSafe(tool::run(tool, context, args, after)).catch_unwind().await;
            let end = ended.unwrap_or_else(|panic| {
                let text = format!("`{called}` panicked: {}", told_by(&*panic));
                tool::ToolEnd::Done(unrun(ToolStatus::Panicked, text, env.now()))
            });
            // A driver that is gone wants no answer.
            let _ = tx.send(Msg::Tool { key: sent, end });
        };
        self.inflight.insert(key, InFlight { cancel, task: begin(work.boxed()), stage: Stage::Running });
    }

    pub(super) fn tool_context(
        &self,
        key: &EffectKey,
        attempt: u32,
        plan: Arc<Plan>,
        quiet_git: bool,
        origin: Option<String>,
    ) -> Option<(ToolContext, tool::After, Cancel)> {
        let call = self.call(key)?;
        let facts = CallFacts {
            id: call.call.id.clone(),
            name: call.call.name.clone(),
            intended_at: call.intended_at,
            answers: match &call.ruling {
                Some(Ruling::Answers(answers)) => Some(answers.clone()),
                Some(_) | None => None,
            },
            ended: match &call.ruling {
                Some(Ruling::Ended(end)) => Some(Arc::new(ChildEnd::clone(end))),
                _ => None,
            },
            woken: match &call.ruling {
                Some(Ruling::Signal(payload)) => Some(Woken::Signal(payload.clone())),
                Some(Ruling::Timeout) => Some(Woken::Time),
                _ => None,
            },
        };
        let origin = origin.or_else(|| crate::strangers::joined(&facts.ended.as_ref()?.tainted));
        self.context_of(key, facts, attempt, plan, quiet_git, origin, Some(&self.shared.hub))
    }

    /// What a call is run with. Without a hub nobody sees its progress.
    pub(super) fn context_of(
        &self,
        key: &EffectKey,
        facts: CallFacts,
        attempt: u32,
        plan: Arc<Plan>,
        quiet_git: bool,
        origin: Option<String>,
        hub: Option<&Arc<Hub>>,
    ) -> Option<(ToolContext, tool::After, Cancel)> {
        let CallFacts { id: call_id, name, intended_at, answers, ended, woken } = facts;
        let turn = self.state.turn.clone()?;
        let env = self.rt.parts.env.clone();
        let now: Arc<dyn Fn() -> Millis + Send + Sync> = Arc::new(move || env.now());
        let cancel = Cancel::new();
        let child_env = if quiet_git { self.rt.quiet_git(&self.child_env) } else { self.child_env.clone() };
        let searches = name == TOOL_SEARCH && !turn.deferred.is_empty();
        let view = match searches {
            // What it may find is what the turn's first record names.
            true => Arc::new(SessionView {
                deferred: self.rt.parts.tools.specs(&turn.deferred),
                ..SessionView::clone(&self.view)
            }),
            false => self.view.clone(),
        };
        let blobs = CleanBlobs::new(self.rt.parts.blobs.clone(), self.secrets.clone());
        let after = tool::After { secrets: self.secrets.clone(), edited: blobs.edited.clone(), origin };
        let context = ToolContext {
            key: key.clone(),
            plan,
            attempt,
            intended_at,
            cwd: PathBuf::from(&turn.cwd),
            roots: pipeline::plan_context(&turn).roots,
            cancel: cancel.clone(),
            blobs: Arc::new(blobs),
            progress: tool::progress(
                hub.cloned().unwrap_or_else(|| Arc::new(Hub::new(self.id.clone()))),
                self.secrets.clone(),
                key.clone(),
                call_id,
                name,
                now.clone(),
            ),
            now,
            view,
            session: Arc::new(Reader::new(self.rt.parts.clone(), self.id.clone())),
            env: child_env,
            confine: Arc::default(),
            answers,
            memory: self.memory_access(&turn),
            ended,
            woken,
            turn: Some(turn),
        };
        Some((context, after, cancel))
    }

    pub(super) async fn current_prompt(&mut self, turn: &TurnStarted) -> Result<Prompt, RuntimeError> {
        if let Some(prompt) = &self.prompt {
            return Ok(prompt.clone());
        }
        if let Some(manifest) = self.state.prompt {
            // The turn was begun in another life: it goes on with what it was begun with.
            let stored = self.stored_prompt(&manifest).await?;
            self.prompt = Some(stored.clone());
            return Ok(stored);
        }
        let agent = self.state.machine.session().and_then(|session| session.spawned.as_deref());
        let (tools, secrets) = (&self.rt.parts.tools, &self.rt.parts.secrets);
        let made = self.config.prompt.prompt(tools, turn, agent, secrets);
        let prompt = made.map_err(|e| RuntimeError::Refused(e.to_string()))?;
        self.prompt = Some(prompt.clone());
        Ok(prompt)
    }

    pub(super) async fn stored_prompt(
        &self,
        manifest: &sterna_model::Digest,
    ) -> Result<Prompt, RuntimeError> {
        crate::replay::load_prompt(&self.rt.parts.blobs, manifest)
            .await
            .map_err(|e: PromptError| RuntimeError::Refused(e.to_string()))
    }

    pub(super) fn encoder(&self, route: &Route) -> String {
        format!("{}+context/{CONTEXT_VERSION}", self.rt.parts.provider.encoder(route))
    }

    /// The route of the open model call, or of the turn.
    pub(super) fn route(&self) -> Route {
        let rung = self.state.machine.turn().and_then(|turn| turn.rung().cloned());
        let route = rung.or_else(|| self.state.turn.as_ref().map(|turn| turn.route.clone()));
        route.unwrap_or_else(|| self.config.route.clone())
    }

    /// Failed attempts of the open model call that were not our own death, and what was waited for them.
    pub(super) fn attempts_so_far(&self) -> (u32, u64) {
        match self.state.machine.next() {
            sterna_turn::Next::Effects(effects) => match effects.into_iter().next() {
                Some(Effect::CallModel(call)) => (call.failures, call.waited_ms),
                Some(Effect::CallTool(_) | Effect::Compact(_)) | None => (0, 0),
            },
            _ => (0, 0),
        }
    }
}
