//! The driver's side of hooks: what is due by the log, run when its cause is durable, and staged before anyone acts on
//! it. Nothing here is asked when nobody listens.

mod agents;
mod calls;
mod compaction;
mod files;
mod model;
mod round;

pub(super) use compaction::{About, BeforeCompaction};

use std::path::PathBuf;

use serde_json::{Value, json};
use sterna_model::{
    Body, Bounds, CallTool, Decision, Effect, EffectKey, EffectKind, HookAsked, HookEvent, HookRan,
    HookReport, HookSays, Question, Rewrite, Seq, StepNo, StopReason, ToolStatus, TurnOutcome,
};
use sterna_policy::bounds_of_rules;
use sterna_turn::{CallState, Next, TurnCall};

use super::{Driver, Flow, Msg};
use crate::RuntimeError;
use crate::effects::pipeline::{self, FromHooks};
use crate::hooks::{HookAnswered, HookCall, SharedHooks};
use crate::tools::with_arguments;

/// One occurrence of an event that somebody listens to.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub event: HookEvent,
    pub key: String,
    step: StepNo,
    subject: String,
    tool: Option<EffectKey>,
    input: Option<Seq>,
    /// Fields of the hook's input beside those that all have.
    more: Value,
}

/// Hooks that are under way, or wait for what they are told to be durable.
#[derive(Default)]
pub(super) struct Hooking {
    pub queue: Vec<Point>,
    flights: Vec<Flight>,
    /// The session's log was read when this driver came, up to this record.
    pub restored: Option<Seq>,
    /// Questions of servers that hooks hear first, with the calls that ask them.
    pub questions: Vec<(EffectKey, Vec<Question>)>,
    seen: round::Seen,
}

/// Hooks of an occurrence that are asked.
struct Flight {
    point: Point,
    /// Calls of models of which an earlier life, or a flight that was given up, has told nothing.
    lost: Vec<HookAsked>,
    task: tokio::task::AbortHandle,
}

impl Hooking {
    /// The step of an occurrence whose hooks are asked now.
    fn step_of(&self, key: &str) -> Option<StepNo> {
        self.flights.iter().find(|flight| flight.point.key == key).map(|flight| flight.point.step)
    }

    fn has(&self, key: &str) -> bool {
        self.queue.iter().any(|point| point.key == key)
            || self.flights.iter().any(|flight| flight.point.key == key)
    }

    fn about(&self, tool: &EffectKey, events: &[HookEvent]) -> bool {
        let of = |point: &Point| point.tool.as_ref() == Some(tool) && events.contains(&point.event);
        self.queue.iter().any(of) || self.flights.iter().any(|flight| of(&flight.point))
    }

    pub fn stop(&mut self) {
        self.questions.clear();
        self.keep(|_| false);
    }

    /// Nothing is begun any more. What calls that are under way wait for is heard: nobody can ask for it again.
    pub fn drain(&mut self) {
        self.keep(|point| point.event == HookEvent::Elicitation);
    }

    fn keep(&mut self, keep: impl Fn(&Point) -> bool) {
        self.queue.retain(&keep);
        for flight in self.flights.extract_if(.., |flight| !keep(&flight.point)) {
            flight.task.abort();
        }
    }
}

/// What the hooks of a call say before it is judged.
pub(super) enum Before {
    /// Judge it, and mind this.
    Judge(FromHooks),
    /// They are still to answer.
    Wait,
    /// It is not run.
    Deny(String),
}

impl Driver {
    /// What must be heard before the machine's wish is done. `None`: nothing, go on.
    pub(super) async fn gate(&mut self, next: &Next) -> Result<Option<Flow>, RuntimeError> {
        let Some(hooks) = self.rt.parts.hooks.clone() else { return Ok(None) };
        if self.withdraw_blocked(next)? {
            return Ok(Some(Flow::Again));
        }
        self.look_at_folder(&hooks, next).await?;
        let (first, beside) = self.due(next);
        if matches!(next, Next::Done(_)) {
            // What was asked before something that will not come is asked no longer.
            let due: Vec<&String> = first.iter().flatten().map(|point| &point.key).collect();
            self.hooking.keep(|point| due.contains(&&point.key));
            self.hooking.questions.clear();
        }
        let mut beside: Vec<Point> = beside.into_iter().filter(|point| self.is_open(&hooks, point)).collect();
        // Events in their order: the hooks of one have answered before those of the next are asked.
        let stage = first.into_iter().find_map(|stage| {
            let open: Vec<Point> = stage.into_iter().filter(|point| self.is_open(&hooks, point)).collect();
            (!open.is_empty()).then_some(open)
        });
        let waits = stage.is_some();
        if !waits && self.look_at_files(&hooks, next).await {
            beside.extend(self.changed().into_iter().filter(|point| self.is_open(&hooks, point)));
        }
        if self.draining {
            let settled = self.is_settled();
            return Ok(waits.then_some(if settled { Flow::Stop(super::End::Drained) } else { Flow::Wait }));
        }
        for point in beside.into_iter().chain(stage.into_iter().flatten()) {
            if !self.hooking.has(&point.key) {
                self.hooking.queue.push(point);
            }
        }
        Ok(waits.then_some(Flow::Wait))
    }

    /// Nothing that was begun is under way.
    pub(super) fn is_settled(&self) -> bool {
        self.inflight.is_empty() && self.ready.is_empty() && self.hooking.questions.is_empty()
    }

    /// Starts the hooks whose cause is durable.
    pub(super) fn start_hooks(&mut self) {
        let Some(hooks) = self.rt.parts.hooks.clone() else { return };
        for point in std::mem::take(&mut self.hooking.queue) {
            let call = self.hook_call(&point);
            let model = call.model.clone();
            let (tx, run, told) = (self.tx.clone(), hooks.run(call), point.key.clone());
            let task = tokio::spawn(async move {
                let mut answered = run.await;
                if let Some(model) = model {
                    (answered.asked, answered.held) = model.take();
                }
                // A driver that is gone wants no answer.
                let _ = tx.send(Msg::Hooked { key: told, answered });
            });
            let lost = self.state.hooks.asking(&point.key);
            self.hooking.flights.push(Flight { point, lost, task: task.abort_handle() });
        }
    }

    /// Hooks have answered: that is durable before anyone acts on it.
    pub(super) async fn hooked(
        &mut self,
        key: &str,
        mut answered: HookAnswered,
    ) -> Result<bool, RuntimeError> {
        let held = std::mem::take(&mut answered.held);
        let stands = self.hooks_ended(key, answered).await;
        for (key, attempt) in held {
            self.held.push((key.clone(), attempt));
            self.settle(&key).await;
        }
        stands
    }

    async fn hooks_ended(&mut self, key: &str, mut answered: HookAnswered) -> Result<bool, RuntimeError> {
        let Some(at) = self.hooking.flights.iter().position(|flight| flight.point.key == key) else {
            return Ok(true);
        };
        let Flight { point, lost, .. } = self.hooking.flights.swap_remove(at);
        answered.asked.splice(0..0, lost);
        if point.event == HookEvent::SessionRestored {
            self.hooking.restored = None;
        }
        let asks = point.tool.clone().filter(|_| point.event == HookEvent::Elicitation);
        let ran = self.ran(point, answered);
        let running = self.state.machine.turn().map(|turn| turn.number);
        let fits = ran.tool.as_ref().is_none_or(|tool| self.call(tool).is_some());
        if !fits {
            // The step that it was about is over: somebody's rewind or cancel came first.
            return Ok(true);
        }
        let step = Some(ran.step).filter(|step| *step > 0);
        let says = ran.record.says.clone();
        self.stage_at(running, step, Body::HookRan(Box::new(ran.record)))?;
        if let Some(call) = asks {
            // In one append: nobody acts on it before.
            self.questions_heard(&call, &says)?;
        }
        self.flush().await
    }

    /// What hooks say of a call before policy is asked.
    pub(super) fn before_call(&mut self, call: &CallTool) -> Result<Before, RuntimeError> {
        let Some(hooks) = self.rt.parts.hooks.clone() else { return Ok(Before::Judge(FromHooks::default())) };
        let inner = self.rt.parts.tools.unwrapped(&call.call);
        let available = self.state.turn.as_ref().is_some_and(|turn| pipeline::may_call(turn, &inner.name));
        let args = self.rt.parts.tools.arguments(&inner.name, &inner.arguments);
        let (true, false, Ok(args)) = (available, inner.truncated, args) else {
            // It will not run, and no hook is asked about it.
            return Ok(Before::Judge(FromHooks::default()));
        };
        if self.hooking.about(&call.key, &BEFORE_CALLS) {
            return Ok(Before::Wait);
        }
        let asked = self.permission_point(call, &args);
        let point = self.tool_point(
            HookEvent::PreToolUse,
            &call.key,
            format!("{}.{}", call.key.ordinal, call.changes),
            args.clone(),
        );
        if self.is_open(&hooks, &point) {
            if !self.draining {
                self.hooking.queue.push(point);
            }
            return Ok(Before::Wait);
        }
        let mut from = FromHooks::default();
        for key in [&point.key, &asked.key] {
            let Some(says) = self.state.hooks.says(key) else { continue };
            match says.permission {
                Some(Decision::Deny) => return Ok(Before::Deny(says.reason.clone())),
                Some(Decision::Ask) => {
                    from = FromHooks { permission: says.permission, reason: says.reason.clone() }
                }
                Some(Decision::Allow) if from.permission.is_none() => {
                    from = FromHooks { permission: says.permission, reason: says.reason.clone() };
                }
                Some(Decision::Allow) | None => {}
            }
        }
        Ok(self.before_tasks(&hooks, call, &args).unwrap_or(Before::Judge(from)))
    }

    /// Somebody would have to be asked about a call: whether hooks are asked first.
    pub(super) fn asks_hooks(&mut self, key: &EffectKey) -> bool {
        let Some(hooks) = self.rt.parts.hooks.clone() else { return false };
        let Next::Effects(effects) = self.state.machine.next() else { return false };
        let call = effects.into_iter().find_map(|effect| match effect {
            Effect::CallTool(call) if call.key == *key => Some(call),
            Effect::CallTool(_) | Effect::CallModel(_) | Effect::Compact(_) => None,
        });
        let Some(call) = call else { return false };
        let inner = self.rt.parts.tools.unwrapped(&call.call);
        let args = self.rt.parts.tools.arguments(&inner.name, &inner.arguments).unwrap_or_default();
        let point = self.permission_point(&call, &args);
        let open = self.is_open(&hooks, &point);
        if open {
            self.hooking.queue.push(point);
        }
        open
    }

    /// Occurrences that must be heard first, in their order, and those that need only be told.
    fn due(&mut self, next: &Next) -> (Vec<Vec<Point>>, Vec<Point>) {
        let mut first = Vec::new();
        let mut beside = self.round();
        let Some(turn) = self.state.machine.turn() else { return (Vec::new(), Vec::new()) };
        let step = turn.steps();
        beside.extend(self.failures());
        beside.extend(self.modes());
        let mut shrunk = self.compactions();
        match next {
            Next::Effects(effects) => match effects.first() {
                // Another route's request for a step that is under way begins nothing.
                Some(Effect::CallModel(_)) if turn.is_rerouted() => {}
                Some(Effect::CallModel(call)) if call.intent.is_none() && !turn.is_ending() => {
                    let started =
                        self.state.turn.as_ref().map(|turn| turn.inputs.clone()).unwrap_or_default();
                    first.extend(self.restored());
                    first.push(std::mem::take(&mut shrunk));
                    if step == 0 {
                        first.extend(self.turn_begins(&started));
                    } else {
                        first.extend(self.step_over(step));
                    }
                    let steered = call.inputs.iter().filter(|input| !started.contains(input));
                    first.push(steered.map(|input| self.prompt_point(*input)).collect());
                    let transition = call.transition.word();
                    let step = call.key.step;
                    let more = || json!({ "transition": transition });
                    first.push(vec![self.point(HookEvent::StepStart, step, transition.into(), None, more())]);
                    let route = self.route().to_string();
                    let more = json!({ "model": route, "transition": transition });
                    first.push(vec![self.point(HookEvent::PreModelCall, step, route, None, more)]);
                }
                Some(Effect::CallTool(_)) => {
                    beside.extend(self.calls_over(step));
                    if !turn.is_ending() {
                        first.extend(self.restored());
                        first.push(self.model_over(step));
                        first.push(vec![self.batch_point(HookEvent::ToolBatchStart, step)]);
                    }
                }
                Some(Effect::CallModel(_) | Effect::Compact(_)) | None => {}
            },
            Next::Wait(_) => {
                first.push(self.calls_over(step));
                first.push(self.notifications());
            }
            Next::Done(outcome) => {
                if step > 0 {
                    first.extend(self.step_over(step));
                }
                beside.append(&mut shrunk);
                first.push(std::mem::take(&mut beside));
                first.extend(self.turn_over(step, outcome));
            }
            Next::Idle | Next::Start { .. } => {}
        }
        beside.extend(shrunk);
        (first, beside)
    }

    fn restored(&self) -> Option<Vec<Point>> {
        let head = self.hooking.restored?;
        let step = self.state.machine.turn().map_or(0, |turn| turn.steps());
        Some(vec![self.point(
            HookEvent::SessionRestored,
            step,
            String::new(),
            Some(head.to_string()),
            json!({}),
        )])
    }

    fn turn_begins(&self, inputs: &[Seq]) -> Vec<Vec<Point>> {
        let mut stages: Vec<Vec<Point>> = Vec::new();
        if self.state.hooks.first_turn {
            // A driver may live for more turns than the one that its session begins with.
            stages.extend(self.setup_point().map(|point| vec![point]));
            let fork = self.state.machine.session().is_some_and(|session| session.parent.is_some());
            let source = if fork { "fork" } else { "startup" };
            let more = json!({ "source": source });
            stages.push(vec![self.point(HookEvent::SessionStart, 0, source.into(), None, more)]);
            stages.extend(self.agent_begins());
        }
        stages.push(inputs.iter().map(|input| self.prompt_point(*input)).collect());
        stages.push(vec![self.point(HookEvent::TurnStart, 0, String::new(), None, json!({}))]);
        stages
    }

    /// A step has ended: its answer, its calls, itself.
    fn step_over(&self, step: StepNo) -> Vec<Vec<Point>> {
        let mut stages = vec![self.model_over(step), self.calls_over(step)];
        let calls = self.state.machine.turn().is_some_and(|turn| !turn.calls().is_empty());
        if calls {
            stages.push(vec![self.batch_point(HookEvent::ToolBatchEnd, step)]);
        }
        stages.push(vec![self.point(HookEvent::StepEnd, step, String::new(), None, json!({}))]);
        stages
    }

    fn turn_over(&self, step: StepNo, outcome: &TurnOutcome) -> Vec<Vec<Point>> {
        let mut stages = Vec::new();
        let over = match outcome {
            TurnOutcome::Finished { message, .. } => {
                let active = self.state.machine.turn().is_some_and(|turn| turn.stop_hooks() > 0);
                let more = json!({ "stop_hook_active": active, "last_assistant_message": message });
                stages.push(vec![self.stop_point(step, more)]);
                json!({ "outcome": "finished", "message": message })
            }
            TurnOutcome::Stopped { reason, detail, .. } => {
                let event = match reason {
                    StopReason::Cancelled => HookEvent::Interrupt,
                    _ => HookEvent::StopFailure,
                };
                let more = json!({ "stop": reason.word(), "message": detail });
                stages.push(vec![self.point(event, step, reason.word().into(), None, more)]);
                json!({ "outcome": "stopped", "stop": reason.word(), "message": detail })
            }
        };
        let subject = over["outcome"].as_str().unwrap_or_default().to_owned();
        stages.push(vec![self.point(HookEvent::TurnEnd, step, subject, None, over)]);
        stages
    }

    fn model_over(&self, step: StepNo) -> Vec<Point> {
        if self.state.hooks.answered != step {
            return Vec::new();
        }
        let route = self.route().to_string();
        vec![self.point(HookEvent::PostModelCall, step, route.clone(), None, json!({ "model": route }))]
    }

    /// Calls of this step that have ended, and the workspace that was kept before them.
    fn calls_over(&self, step: StepNo) -> Vec<Point> {
        let Some(turn) = self.state.machine.turn() else { return Vec::new() };
        let results: Vec<Option<(&str, bool)>> = self.state.transcript.open_results().collect();
        let mut points: Vec<Point> = Vec::new();
        if self.state.hooks.kept == Some((turn.number, step)) {
            points.push(self.point(HookEvent::Checkpoint, step, String::new(), None, json!({})));
        }
        for (ordinal, (status, duration_ms)) in &self.state.hooks.ended {
            let event = match status {
                ToolStatus::Ok => HookEvent::PostToolUse,
                ToolStatus::Denied => HookEvent::PermissionDenied,
                ToolStatus::Cancelled => continue,
                _ => HookEvent::PostToolUseFailure,
            };
            let Some(call) = turn.calls().get(*ordinal as usize) else { continue };
            let key = EffectKey {
                session: turn.session.clone(),
                turn: turn.number,
                step,
                kind: EffectKind::Tool,
                ordinal: *ordinal,
            };
            let inner = self.rt.parts.tools.unwrapped(&call.call);
            let args = serde_json::from_str(&inner.arguments).unwrap_or(Value::Null);
            let mut point = self.tool_point(event, &key, ordinal.to_string(), args);
            let text = results.get(*ordinal as usize).copied().flatten().map_or("", |(text, _)| text);
            let field = if event == HookEvent::PostToolUse { "tool_response" } else { "error" };
            point.more[field] = match event {
                HookEvent::PostToolUse => {
                    json!({ "output": text, "status": status.word(), "duration_ms": duration_ms })
                }
                _ => text.into(),
            };
            point.more["status"] = status.word().into();
            points.push(point);
        }
        points
    }

    fn failures(&self) -> Vec<Point> {
        let point = |failure: &crate::hooks::Failure| {
            let class = failure.class.word();
            let more = json!({ "class": class, "message": failure.message, "attempt": failure.attempt });
            let about = Some(failure.attempt.to_string());
            self.point(HookEvent::Error, failure.step, class.into(), about, more)
        };
        self.state.hooks.failures.iter().map(point).collect()
    }

    fn modes(&self) -> Vec<Point> {
        let point = |(seq, mode, by): &(Seq, sterna_model::Mode, String)| {
            let more = json!({ "mode": mode.word(), "by": by });
            self.point(HookEvent::ModeChanged, 0, mode.word().into(), Some(seq.to_string()), more)
        };
        self.state.hooks.modes.iter().map(point).collect()
    }

    /// Somebody is asked and has not answered.
    fn notifications(&self) -> Vec<Point> {
        let Some(turn) = self.state.machine.turn() else { return Vec::new() };
        let open = |wait: &str| turn.waits().any(|(open, _)| open == wait);
        let waits = self.state.hooks.waits.iter().filter(|(wait, _)| open(wait));
        let point = |(wait, kind): &(String, std::borrow::Cow<'static, str>)| {
            let about = wait.rsplit_once("/tool/").map_or(wait.as_str(), |(_, rest)| rest).replace('/', ".");
            let more = json!({ "notification_type": kind, "wait": wait, "message": message_of(kind) });
            self.point(HookEvent::Notification, turn.steps(), kind.clone().into_owned(), Some(about), more)
        };
        waits.map(point).collect()
    }

    fn prompt_point(&self, input: Seq) -> Point {
        let text = self.state.transcript.prompt(input).unwrap_or_default();
        let more = json!({ "prompt": text });
        let mut point =
            self.point(HookEvent::UserPromptSubmit, 0, String::new(), Some(input.to_string()), more);
        point.input = Some(input);
        point
    }

    fn batch_point(&self, event: HookEvent, step: StepNo) -> Point {
        let calls = self.state.machine.turn().map(|turn| turn.calls()).unwrap_or_default();
        let named = |call: &TurnCall| {
            let inner = self.rt.parts.tools.unwrapped(&call.call);
            json!({ "tool_name": inner.name, "tool_use_id": inner.id })
        };
        let calls: Vec<Value> = calls.iter().map(named).collect();
        self.point(event, step, String::new(), None, json!({ "calls": calls }))
    }

    fn permission_point(&self, call: &CallTool, args: &Value) -> Point {
        let about = format!("{}.{}.{}", call.key.ordinal, call.changes, call.waits);
        self.tool_point(HookEvent::PermissionRequest, &call.key, about, args.clone())
    }

    /// An occurrence about a call. Hooks are told of the tool that it is about, whatever it is wrapped in.
    fn tool_point(&self, event: HookEvent, key: &EffectKey, about: String, args: Value) -> Point {
        let call = self.call(key).map(|call| self.rt.parts.tools.unwrapped(&call.call));
        let (name, id) = call.map(|call| (call.name.clone(), call.id.clone())).unwrap_or_default();
        let more = json!({ "tool_name": name, "tool_input": args, "tool_use_id": id });
        let mut point = self.point(event, key.step, name, Some(about), more);
        point.tool = Some(key.clone());
        point
    }

    fn point(
        &self,
        event: HookEvent,
        step: StepNo,
        subject: String,
        about: Option<String>,
        more: Value,
    ) -> Point {
        let turn = self.state.machine.turns();
        let mut key = format!("{}/{turn}/{step}/hook/{}", self.id, event.word());
        if let Some(about) = &about {
            key.push('/');
            key.push_str(about);
        }
        Point { event, key, step, subject, tool: None, input: None, more }
    }

    /// Somebody listens, and the log has no answer.
    fn is_open(&self, hooks: &SharedHooks, point: &Point) -> bool {
        self.state.hooks.says(&point.key).is_none() && hooks.listens(point.event, &point.subject, &point.key)
    }

    /// A steered prompt that a hook forbade is taken back.
    fn withdraw_blocked(&mut self, next: &Next) -> Result<bool, RuntimeError> {
        let Next::Effects(effects) = next else { return Ok(false) };
        let Some(Effect::CallModel(call)) = effects.first().filter(|_| effects.len() == 1) else {
            return Ok(false);
        };
        if call.intent.is_some() {
            return Ok(false);
        }
        let blocked = |input: &Seq| {
            let key = self.prompt_point(*input).key;
            self.state.hooks.says(&key).is_some_and(|says| says.blocked)
        };
        let inputs: Vec<Seq> = call.inputs.iter().copied().filter(blocked).collect();
        if inputs.is_empty() {
            return Ok(false);
        }
        self.stage(Body::InputWithdrawn { inputs, by: "hook".into() })?;
        Ok(true)
    }

    fn hook_call(&self, point: &Point) -> HookCall {
        let turn = self.state.turn.as_ref();
        let cwd = turn.map_or_else(String::new, |turn| turn.cwd.clone());
        let mode = turn.map_or("", |turn| self.state.mode.of_turn().unwrap_or(turn.mode).word());
        let mut input = json!({
            "session_id": self.id.to_string(),
            "transcript_path": "",
            "cwd": cwd,
            "hook_event_name": point.event.word(),
            "permission_mode": mode,
            "turn_id": self.state.machine.turns(),
            "step": point.step,
            "effect_key": point.key,
        });
        if let Some(guest) = turn.and_then(|turn| turn.guest.as_ref()) {
            input["guest"] = json!(guest.agent);
        }
        if let (Some(input), Some(more)) = (input.as_object_mut(), point.more.as_object()) {
            input.extend(more.clone());
        }
        HookCall {
            event: point.event,
            key: point.key.clone(),
            subject: point.subject.clone(),
            input,
            session: self.id.clone(),
            cwd: PathBuf::from(cwd),
            roots: turn.map(|turn| pipeline::plan_context(turn).roots).unwrap_or_default(),
            bounds: self.bounds_of_hooks(),
            sandbox: turn.map(|turn| turn.sandbox).unwrap_or_default(),
            env: self.child_env.clone(),
            model: self.hook_model(point),
        }
    }

    /// What rules open to hooks, and close to them, as to any command. Rules that cannot be read open nothing.
    fn bounds_of_hooks(&self) -> Bounds {
        let Some(turn) = &self.state.turn else { return Bounds::default() };
        let Ok(rules) = self.rt.rules(&turn.rules) else { return Bounds::default() };
        let tainted = !self.state.transcript.untrusted().is_empty();
        let (roots, home) = (pipeline::plan_context(turn).roots, self.rt.parts.env.home());
        bounds_of_rules(&rules, &roots, home.as_deref(), tainted)
    }

    /// The record of what hooks said, with what it leads to where that is not for the machine to know.
    fn ran(&self, point: Point, answered: HookAnswered) -> Ran {
        let Point { event, key, step, tool, input, .. } = point;
        let HookAnswered { mut says, mut updated_input, hooks, asked: calls, held: _ } = answered;
        let asked = matches!(event, HookEvent::PreToolUse | HookEvent::PermissionRequest);
        let over = |key| self.call(key).is_none_or(|call| call.state != CallState::Open);
        if asked && tool.as_ref().is_some_and(over) {
            // It was cancelled meanwhile: nothing is left to say of it.
            (says.permission, updated_input) = (None, None);
        }
        if let (Some(tool), Some(input)) = (&tool, updated_input) {
            self.rewrite(tool, &input, &mut says, &hooks);
        }
        let turn = self.state.machine.turn();
        let steered = input
            .is_some_and(|input| !self.state.turn.as_ref().is_some_and(|turn| turn.inputs.contains(&input)));
        // What may not begin ends the turn; a prompt that was steered in is taken back instead.
        if event.carries_the_turn() && says.blocked && !steered && says.stop.is_none() {
            says.stop = Some(says.reason.clone());
        }
        if event.is_stop() && turn.is_some_and(|turn| turn.stop_hooks() >= MAX_INJECTIONS) {
            // It has gone on often enough; what it would have gone on with is said to nobody.
            says = HookSays { stop: says.stop, ..HookSays::default() };
        }
        Ran {
            step,
            tool: tool.clone(),
            record: HookRan { key, event, tool, input, hooks, says, asked: calls },
        }
    }

    /// New input of a call: checked as the model's is. What does not fit, and what is never at rest, is refused.
    fn rewrite(&self, key: &EffectKey, input: &Value, says: &mut HookSays, hooks: &[HookReport]) {
        let Some(call) = self.call(key) else { return };
        let tools = &self.rt.parts.tools;
        let by = hooks.iter().map(|hook| hook.name.as_str()).collect::<Vec<_>>().join(", ");
        let (arguments, inner) = (input.to_string(), tools.unwrapped(&call.call));
        let now = tools.arguments(&inner.name, &inner.arguments);
        let refused = match tools.arguments(&inner.name, &arguments) {
            Err(why) => format!("the new input of a hook does not fit: {why} (hooks {by})"),
            Ok(args) if now.is_ok_and(|now| now == args) => return,
            Ok(_) if call.rewrites >= MAX_REWRITES => {
                format!("hooks gave the call a new input more than {MAX_REWRITES} times (hooks {by})")
            }
            Ok(_) => {
                let rewritten = with_arguments(&call.call, arguments);
                let class = tools.class(&rewritten);
                says.rewrite = Some(Rewrite { arguments: rewritten.arguments, class, effects: None });
                return;
            }
        };
        (says.permission, says.reason) = (Some(Decision::Deny), refused);
    }
}

struct Ran {
    step: StepNo,
    tool: Option<EffectKey>,
    record: HookRan,
}

fn message_of(kind: &str) -> &'static str {
    match kind {
        "permission_prompt" => "Sterna needs your permission",
        "plan" => "Sterna has a plan for you to approve",
        _ => "Sterna asks you something",
    }
}

/// What a call waits for before it is judged, or asks a person.
const BEFORE_CALLS: [HookEvent; 5] = [
    HookEvent::PreToolUse,
    HookEvent::PermissionRequest,
    HookEvent::TaskCreated,
    HookEvent::TaskCompleted,
    HookEvent::Elicitation,
];
/// How often hooks may give a call a new input.
const MAX_REWRITES: u32 = 3;
/// How often stop hooks may let a turn go on: the machine holds it too.
const MAX_INJECTIONS: u32 = 3;
