//! The seams of a new run: a model and tools that answer from the record until the first divergence, and a clock that
//! stands where the record stood.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use sterna_llm::{
    EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, SharedProvider, StreamEvent,
};
use sterna_log::{Append, Expect, Owner, SharedLog};
use sterna_model::{
    Body, Digest, Draft, EffectClass, EffectKey, ErrorClass, HookEvent, HookRan, HookSays, InputAccepted,
    Millis, ModelStop, Part, ProviderFailure, Route, Seq, SessionId, Summary, TodoItem, ToolCall,
    ToolOutcome, ToolSpec, ToolStatus,
};
use sterna_policy::{Contacts, Look};
use sterna_tool::{
    Access, Output, Placeholders, Plan, PlanContext, Recovered, SessionView, SharedTool, Tool, ToolContext,
    ToolDone, ToolError, ToolReturn, ViewBudget,
};

use super::recorded::{RecordedStep, Steered, calls};
use super::{Divergence, WhatIfHost};
use crate::{Env, HookAnswered, HookCall, Hooks};

/// What a new run and its record share.
pub(super) struct Play {
    session: SessionId,
    steps: Vec<RecordedStep>,
    /// Requests for summaries of the record, and what came back.
    summaries: Vec<(Digest, Summary)>,
    steered: Vec<Steered>,
    /// The new run's own log.
    log: SharedLog,
    /// The last record of the session that was recorded.
    head: Seq,
    host: Arc<dyn WhatIfHost>,
    clock: Arc<Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The record's step that the next model call belongs to.
    next: usize,
    /// Whose outcomes answer the calls that are made now; `None` after the divergence.
    current: Option<RecordedStep>,
    divergence: Option<Divergence>,
    /// Steered inputs that were given.
    given: usize,
    /// Whether tools may run, once that was asked.
    ground: Option<Result<(), String>>,
    /// For each answer whether it came from the record.
    by_record: Vec<bool>,
}

/// How the new run went.
pub(super) struct Played {
    pub divergence: Option<(usize, Divergence)>,
    pub ground: Option<Result<(), String>>,
    pub by_record: Vec<bool>,
}

impl Play {
    pub fn new(
        session: &SessionId,
        recorded: &super::recorded::Recorded,
        log: SharedLog,
        host: Arc<dyn WhatIfHost>,
        clock: Arc<Clock>,
    ) -> Self {
        Self {
            session: session.clone(),
            steps: recorded.steps.clone(),
            summaries: recorded.summaries.clone(),
            steered: recorded.steered.clone(),
            log,
            head: recorded.head,
            host,
            clock,
            state: Mutex::default(),
        }
    }

    /// What the record tells of this request for a summary.
    fn summary(&self, body: &Encoded) -> Option<Result<ModelReply, ProviderFailure>> {
        let (_, summary) = self.summaries.iter().find(|(request, _)| *request == body.hash)?;
        self.clock.go();
        Some(match &summary.failed {
            Some(why) => Err(ProviderFailure {
                class: ErrorClass::Server,
                status: None,
                message: why.clone(),
                retry_after_ms: None,
                billed: summary.billed.clone(),
            }),
            None => Ok(ModelReply {
                parts: vec![Part::Text(summary.text.clone())],
                stop: ModelStop::EndTurn,
                billed: summary.billed.clone(),
            }),
        })
    }

    pub fn played(&self) -> Played {
        let state = self.lock();
        Played {
            divergence: state.divergence.clone().map(|divergence| (state.next, divergence)),
            ground: state.ground.clone(),
            by_record: state.by_record.clone(),
        }
    }

    /// The step of the record that this model call repeats.
    fn step(&self) -> Option<RecordedStep> {
        let state = self.lock();
        self.steps.get(state.next).filter(|_| state.divergence.is_none()).cloned()
    }

    /// Holds an answer against the record, before anybody acts on it.
    async fn answered(&self, step: Option<RecordedStep>, parts: &[Part], by_record: bool) {
        let new = calls(parts);
        let (diverged, ask) = {
            let mut state = self.lock();
            state.by_record.push(by_record);
            if state.divergence.is_none()
                && let Some(what) = difference(step.as_ref(), &new)
            {
                state.divergence = Some(self.divergence(step.as_ref(), what));
            }
            let diverged = state.divergence.clone();
            if diverged.is_none() {
                state.next += 1;
                state.current.clone_from(&step);
            } else {
                state.current = None;
            }
            let ask = state.ground.is_none() && !new.is_empty();
            (diverged, ask)
        };
        match (diverged, step) {
            (Some(divergence), _) if ask => {
                let ground = self.host.ground(&divergence).await;
                self.lock().ground = Some(ground);
            }
            (None, Some(step)) => self.steer(&step).await,
            _ => {}
        }
    }

    fn divergence(&self, step: Option<&RecordedStep>, what: String) -> Divergence {
        let (turn, number) = match (step, self.steps.last()) {
            (Some(step), _) => (step.turn, step.step),
            (None, Some(last)) => (last.turn, last.step + 1),
            (None, None) => (0, 0),
        };
        Divergence { turn, step: number, record: step.map_or(self.head, |step| step.seq), what }
    }

    /// Gives the inputs that the record's turn got before its next model call.
    async fn steer(&self, step: &RecordedStep) {
        let next = self.steps.iter().find(|later| later.seq > step.seq).map_or(Seq::MAX, |next| next.asked);
        let due: Vec<&Steered> = {
            let mut state = self.lock();
            let due = self.steered.iter().skip(state.given).take_while(|input| input.seq < next).collect();
            state.given += Vec::len(&due);
            due
        };
        for input in due {
            let body = Body::InputAccepted(InputAccepted {
                key: None,
                delivery: input.delivery,
                parts: input.parts.clone(),
                origin: ORIGIN.into(),
                given: None,
                ended: None,
                compact: None,
                tainted: input.tainted.clone(),
            });
            let append = Append {
                session: self.session.clone(),
                expect: Expect::Any,
                id: format!("what-if:{}", input.seq),
                records: vec![Draft { at: self.clock.now(), turn: None, step: None, body }],
                blobs: Vec::new(),
            };
            // A log in memory that takes no input takes no answer either, and that is told.
            let _ = self.log.append(append).await;
        }
    }

    /// The recorded outcome of a call, unless the run has left the record.
    fn outcome(&self, ordinal: u32) -> Option<ToolOutcome> {
        let state = self.lock();
        state.current.as_ref()?.tools.get(ordinal as usize)?.clone()
    }

    /// Where the recorded answer to this call came from, when that was text of strangers.
    fn origin(&self, name: &str, args: &Value) -> Option<String> {
        let state = self.lock();
        let step = state.current.as_ref()?;
        let calls = step.calls();
        let same = |call: &&ToolCall| {
            call.name == name
                && serde_json::from_str::<Value>(&call.arguments).is_ok_and(|given| given == *args)
        };
        let at = calls.iter().position(same)?;
        step.tools.get(at)?.as_ref()?.untrusted.as_ref().map(|untrusted| untrusted.origin.clone())
    }

    fn follows(&self) -> bool {
        self.lock().current.is_some()
    }

    fn refused(&self) -> Option<String> {
        match &self.lock().ground {
            Some(Ok(())) => None,
            Some(Err(why)) => Some(why.clone()),
            None => Some("no copy of the workspace was made".into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The model of a new run.
pub(super) struct PlayedModel {
    pub inner: SharedProvider,
    pub play: Arc<Play>,
}

impl Provider for PlayedModel {
    fn model(&self, route: &Route) -> Result<ModelInfo, String> {
        self.inner.model(route)
    }

    fn encoder(&self, route: &Route) -> String {
        self.inner.encoder(route)
    }

    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        self.inner.encode(request, cache)
    }

    fn send<'a>(
        &'a self,
        route: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        async move {
            if let Some(summary) = self.play.summary(&body) {
                return summary;
            }
            let step = self.play.step();
            let same = |step: &RecordedStep| {
                let sent = step.intent.as_ref().map(|intent| (intent.request, intent.bytes));
                sent == Some((body.hash, body.bytes)) && !step.outcome.partial
            };
            let known = step.as_ref().filter(|step| same(step)).map(|step| ModelReply {
                parts: step.outcome.parts.clone(),
                stop: step.outcome.stop,
                billed: step.outcome.billed.clone(),
            });
            let by_record = known.is_some();
            self.play.clock.go();
            let reply = match known {
                Some(reply) => reply,
                None => self.inner.send(route, body, events).await?,
            };
            self.play.answered(step, &reply.parts, by_record).await;
            Ok(reply)
        }
        .boxed()
    }
}

/// A tool of a new run.
pub(super) struct PlayedTool {
    /// `None`: this Sterna has no such tool, and only the record knows what it answered.
    pub inner: Option<SharedTool>,
    pub spec: ToolSpec,
    pub play: Arc<Play>,
}

impl Tool for PlayedTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, args: &Value) -> EffectClass {
        self.inner.as_ref().map_or(EffectClass::AtMostOnce, |inner| inner.class(args))
    }

    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let name = &self.spec.name;
        if self.play.follows() {
            let summary = format!("{name}: answered from the record");
            return Ok(Plan { accesses: vec![Access::Session], summary, preview: None });
        }
        let refuse = |why: &str| ToolError {
            status: ToolStatus::NotAvailable,
            message: format!("tool not available: {name} ({why})\nThe call was not run."),
        };
        let Some(inner) = &self.inner else {
            return Err(refuse("this Sterna has no such tool, and the record does not know the answer"));
        };
        let plan = inner.plan(cx, args)?;
        let harmless = |access: &Access| matches!(access, Access::Session | Access::Person);
        match self.play.refused() {
            Some(why) if !plan.accesses.iter().all(harmless) => Err(refuse(&why)),
            _ => Ok(plan),
        }
    }

    fn confines(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.confines())
    }

    fn timeout_ms(&self, args: &Value) -> u64 {
        self.inner.as_ref().map_or(120_000, |inner| inner.timeout_ms(args))
    }

    fn untrusted(&self, args: &Value, view: &SessionView) -> Option<String> {
        if self.play.follows() {
            return self.play.origin(&self.spec.name, args);
        }
        self.inner.as_ref().and_then(|inner| inner.untrusted(args, view))
    }

    fn placeholders(&self, args: &Value) -> Placeholders {
        match &self.inner {
            Some(inner) if !self.play.follows() => inner.placeholders(args),
            // What the record tells needs no secret.
            _ => Placeholders::Keep,
        }
    }

    fn todos(&self, args: &Value, view: &SessionView) -> Vec<TodoItem> {
        self.inner.as_ref().map(|inner| inner.todos(args, view)).unwrap_or_default()
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        if let Some(outcome) = self.play.outcome(cx.key.ordinal) {
            if self.spec.name == "enter_plan" && outcome.status == ToolStatus::Ok {
                // What it leads to is not in its outcome alone.
                return std::future::ready(Ok(ToolReturn::EnterPlan)).boxed();
            }
            return std::future::ready(again(outcome)).boxed();
        }
        match &self.inner {
            Some(inner) => inner.call(cx, args),
            None => std::future::ready(Err(ToolError::failed("there is no such tool"))).boxed(),
        }
    }

    fn recover<'a>(&'a self, _cx: ToolContext, _args: Value) -> BoxFuture<'a, Recovered> {
        // The new run begins where nothing was in flight.
        Box::pin(std::future::ready(Recovered::NeverRan))
    }

    fn undo<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<(), ToolError>> {
        match &self.inner {
            Some(inner) if !self.play.follows() => inner.undo(cx, args),
            // What the record tells has not happened here.
            _ => Box::pin(std::future::ready(Ok(()))),
        }
    }

    fn settled(&self, key: &EffectKey, attempt: u32) {
        if let Some(inner) = self.inner.as_ref().filter(|_| !self.play.follows()) {
            inner.settled(key, attempt);
        }
    }
}

/// The hooks of a new run: what they said in the record, as long as it is followed. None is run: they are the world's.
pub(super) struct PlayedHooks {
    pub ran: BTreeMap<String, HookRan>,
    pub play: Arc<Play>,
}

impl Hooks for PlayedHooks {
    fn listens(&self, _: HookEvent, _: &str, key: &str) -> bool {
        self.ran.contains_key(key) && self.play.lock().divergence.is_none()
    }

    fn hears(&self, event: HookEvent) -> bool {
        self.ran.values().any(|ran| ran.event == event)
    }

    fn run(&self, call: HookCall) -> BoxFuture<'static, HookAnswered> {
        let answered = self.ran.get(&call.key).map(|ran| HookAnswered {
            // They were paid for then.
            asked: Vec::new(),
            held: Vec::new(),
            says: HookSays { rewrite: None, ..ran.says.clone() },
            updated_input: ran
                .says
                .rewrite
                .as_ref()
                .and_then(|new| serde_json::from_str(&new.arguments).ok()),
            hooks: ran.hooks.clone(),
        });
        std::future::ready(answered.unwrap_or_default()).boxed()
    }
}

/// A recorded outcome as the tool would give it.
fn again(outcome: ToolOutcome) -> Result<ToolReturn, ToolError> {
    let ToolOutcome { status, view, facts, duration_ms, attachments, .. } = outcome;
    match status {
        ToolStatus::Ok | ToolStatus::Failed => Ok(ToolReturn::Done(ToolDone {
            output: Output::Text(view),
            // It was cut when it was recorded.
            budget: ViewBudget { bytes: usize::MAX, lines: usize::MAX, head_percent: 100 },
            facts,
            failed: status == ToolStatus::Failed,
            took_ms: Some(duration_ms),
            attachments,
            origin: None,
        })),
        status => Err(ToolError { status, message: view }),
    }
}

/// In what an answer is another than the record's, as far as tools are concerned. Words alone are no difference: they
/// change nothing in the world.
fn difference(step: Option<&RecordedStep>, new: &[&ToolCall]) -> Option<String> {
    let Some(step) = step else {
        return Some(match new.first() {
            Some(call) => format!("{} where the record has ended", told(call)),
            None => "another answer where the record has ended".into(),
        });
    };
    let old = step.calls();
    for at in 0..old.len().max(new.len()) {
        match (old.get(at), new.get(at)) {
            (Some(old), Some(new)) if same(old, new) => {}
            (Some(old), Some(new)) => return Some(format!("{} in place of {}", told(new), told(old))),
            (Some(old), None) if at == 0 => return Some(format!("an answer in place of {}", told(old))),
            (Some(old), None) => return Some(format!("{} is missing", told(old))),
            (None, Some(new)) if at == 0 => return Some(format!("{} in place of an answer", told(new))),
            (None, Some(new)) => return Some(format!("{} comes on top", told(new))),
            (None, None) => {}
        }
    }
    let open = step.tools.iter().position(Option::is_none)?;
    old.get(open).map(|call| format!("the record does not tell how {} ended", told(call)))
}

fn same(old: &ToolCall, new: &ToolCall) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    let arguments = match (read(&old.arguments), read(&new.arguments)) {
        (Some(old), Some(new)) => old == new,
        _ => old.arguments == new.arguments,
    };
    old.name == new.name && old.truncated == new.truncated && arguments
}

fn told(call: &ToolCall) -> String {
    let mut arguments: String = call.arguments.chars().take(TOLD_CHARS).collect();
    if arguments.len() < call.arguments.len() {
        arguments.push('…');
    }
    format!("{} {arguments}", call.name)
}

/// The clock of a new run: it begins at the record's time, stands still while a turn begins, and runs from the first
/// model call on.
pub(super) struct Clock {
    env: Arc<dyn Env>,
    at: Mutex<(Millis, Option<Millis>)>,
}

impl Clock {
    pub fn new(env: Arc<dyn Env>) -> Self {
        let now = env.now();
        Self { env, at: Mutex::new((now, Some(now))) }
    }

    /// Stands still at this time.
    pub fn set(&self, at: Millis) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = (at, None);
    }

    /// Runs on from where it stands.
    pub fn go(&self) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.1.get_or_insert(self.env.now());
    }
}

impl Env for Clock {
    fn now(&self) -> Millis {
        let (base, since) = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
        base.saturating_add(since.map_or(0, |since| self.env.now().saturating_sub(since)))
    }

    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()> {
        let left = at.saturating_sub(self.now());
        self.env.sleep_until(self.env.now().saturating_add(left))
    }

    fn new_session_id(&self) -> SessionId {
        self.env.new_session_id()
    }

    fn owner(&self) -> Owner {
        self.env.owner()
    }

    fn is_dead(&self, owner: &Owner) -> bool {
        self.env.is_dead(owner)
    }

    fn child_env(&self) -> BTreeMap<String, String> {
        self.env.child_env()
    }

    fn home(&self) -> Option<PathBuf> {
        self.env.home()
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        self.env.resolve(path)
    }

    fn git_suspect(&self, folder: &Path) -> Option<String> {
        self.env.git_suspect(folder)
    }

    fn git_outside(&self, folder: &Path, remote: Option<&str>) -> Option<String> {
        self.env.git_outside(folder, remote)
    }

    fn git_contacts(&self, folder: &Path, remote: &str, push: bool) -> Contacts {
        self.env.git_contacts(folder, remote, push)
    }

    fn look(&self, folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Look {
        self.env.look(folder, wanted)
    }

    fn state_dirs(&self) -> Vec<PathBuf> {
        self.env.state_dirs()
    }
}

/// Where inputs of a new run come from.
pub(super) const ORIGIN: &str = "what-if";
/// Characters of a call's arguments that a divergence shows.
const TOLD_CHARS: usize = 120;
