//! One turn: its phases, budgets and endings.

mod answer;
mod budget;
mod calls;
mod children;
mod judging;

use serde::{Deserialize, Serialize};
use sterna_model::{
    Attempt, Billed, CallModel, Effect, EffectClass, EffectKey, EffectKind, EffectResult, ErrorClass, Fact,
    HookRan, Intended, Intent, Limits, Millis, ModelIntent, NanoUsd, OnAsk, Outcome, Route, Ruling,
    SessionId, StepNo, StopReason, ToolStatus, Transition, TurnNo, TurnOutcome, TurnStarted, Usage,
};

use crate::call::{CallState, TurnCall};
use crate::compaction::Compacting;
use crate::machine::{Next, Steering, key_of};
use crate::progress::{Progress, cut};
use budget::GoneOn;

/// The running turn, as far as it decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    pub session: SessionId,
    pub number: TurnNo,
    limits: Limits,
    on_ask: OnAsk,
    now: Millis,
    /// The last step that has an intent; 0 before the first.
    step: StepNo,
    pub(crate) phase: Phase,
    #[serde(default)]
    pub(crate) compacting: Compacting,
    /// The calls of the current step, in their order.
    calls: Vec<TurnCall>,
    /// How often a classifier was asked in the current step.
    #[serde(default)]
    judged: u32,
    /// The last request had `tool_choice` none.
    tools_off: bool,
    grace: bool,
    continuations: u32,
    nudged_empty: bool,
    /// How often stop hooks have let the turn go on.
    #[serde(default)]
    stop_hooks: u32,
    #[serde(default)]
    gone_on: GoneOn,
    progress: Progress,
    denials_in_row: u32,
    last_denial: String,
    /// Texts of answers that were cut by the output limit: the beginning of the message.
    cut_texts: Vec<String>,
    usage: Usage,
    cost: Option<NanoUsd>,
    /// The step of the ladder that the turn stands on. `None`: its own route, the top.
    #[serde(default)]
    route: Option<Route>,
    /// Another agent answers it, without tools.
    #[serde(default)]
    guest: bool,
    /// The final answer has to fit a schema.
    #[serde(default)]
    schema: bool,
    /// Answers that did not fit it.
    #[serde(default)]
    repairs: u32,
    /// The final answer as the schema has it.
    #[serde(default)]
    value: Option<serde_json::Value>,
    /// The turn is to end by this, as soon as nothing is open.
    ending: Option<TurnOutcome>,
}

/// Where the turn stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// The next model call is to be decided.
    Decide(Transition),
    /// A model call has an intent.
    Model(Box<ModelPhase>),
    /// Calls are to be answered.
    Tools,
    /// The model has answered, and this is the message.
    Answered(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelPhase {
    intent: ModelIntent,
    /// Attempts in the log.
    attempts: u32,
    failures: u32,
    waited_ms: u64,
    retry_at: Option<Millis>,
    /// Another route takes over: its request needs an intent of its own.
    #[serde(default)]
    rerouted: bool,
}

impl Turn {
    pub(crate) fn new(session: SessionId, number: TurnNo, started: &TurnStarted) -> Self {
        Self {
            session,
            number,
            limits: started.limits.clone(),
            on_ask: started.on_ask,
            now: started.now,
            step: 0,
            phase: Phase::Decide(Transition::Input),
            compacting: Compacting::default(),
            calls: Vec::new(),
            judged: 0,
            tools_off: false,
            grace: false,
            continuations: 0,
            nudged_empty: false,
            stop_hooks: 0,
            gone_on: GoneOn::default(),
            progress: Progress::default(),
            denials_in_row: 0,
            last_denial: String::new(),
            cut_texts: Vec::new(),
            usage: Usage::default(),
            cost: Some(0),
            route: None,
            guest: started.guest.is_some(),
            schema: started.output_schema.is_some(),
            repairs: 0,
            value: None,
            ending: None,
        }
    }

    /// Steps so far.
    pub fn steps(&self) -> u32 {
        self.step
    }

    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// `None` when a call's price is unknown.
    pub fn cost(&self) -> Option<NanoUsd> {
        self.cost
    }

    /// The route that took over in this turn, if one did.
    pub fn rung(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// A request was made and has no answer yet: whoever makes it again makes the same one.
    pub fn is_asking(&self) -> bool {
        matches!(self.phase, Phase::Model(_)) || self.compacting.is_open()
    }

    /// The open step waits for the request of another route.
    pub fn is_rerouted(&self) -> bool {
        matches!(&self.phase, Phase::Model(model) if model.rerouted)
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn on_ask(&self) -> OnAsk {
        self.on_ask
    }

    /// When the turn's deadline is, by the clock that `TurnStarted` recorded.
    pub fn deadline(&self) -> Option<Millis> {
        self.limits.deadline.map(|after| self.now.saturating_add(after))
    }

    /// Answers that were cut by the output limit: what the next one goes on with.
    pub fn said_before(&self) -> String {
        self.cut_texts.concat()
    }

    /// The calls of the current step.
    pub fn calls(&self) -> &[TurnCall] {
        &self.calls
    }

    /// The last request had its tools off: no call that it brings is run.
    pub fn is_without_tools(&self) -> bool {
        self.tools_off
    }

    /// The turn was told to end: effects under way are to be stopped.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub(crate) fn is_grace(&self) -> bool {
        self.grace
    }

    pub(crate) fn next(&self, steering: &Steering) -> Next {
        if let Some(next) = self.next_compaction() {
            return next;
        }
        match &self.phase {
            Phase::Decide(transition) => self.decide(*transition, steering),
            Phase::Model(model) => self.call_again(model),
            Phase::Tools => self.run_calls(),
            Phase::Answered(message) => {
                if let Some(ending) = &self.ending {
                    return Next::Done(ending.clone());
                }
                if !steering.before_end().is_empty() {
                    return self.decide(Transition::Steer, steering);
                }
                if self.goes_on() {
                    return self.decide(Transition::BudgetContinue, steering);
                }
                Next::Done(TurnOutcome::Finished { message: message.clone(), value: self.value.clone() })
            }
        }
    }

    pub(crate) fn cancel(&mut self, by: &str, reason: &str) {
        let detail = if reason.is_empty() { format!("cancelled by {by}") } else { reason.to_owned() };
        self.end(StopReason::Cancelled, detail, Some(by.to_owned()));
    }

    /// `unheard`: inputs wait that the turn would take before it ends.
    pub(crate) fn limit(&mut self, reason: StopReason, unheard: bool) {
        use StopReason::{BudgetCost, BudgetTokens, ContextOverflow};
        let no_room = matches!(reason, BudgetCost | BudgetTokens | ContextOverflow);
        if no_room && !unheard && matches!(self.phase, Phase::Answered(_)) && self.goes_on() {
            self.gone_on.give_up();
            return;
        }
        let detail = match reason {
            StopReason::Deadline => {
                format!("the deadline of {} s has passed", self.limits.deadline.unwrap_or(0) / 1000)
            }
            StopReason::BudgetCost => "the next call could pass the cost cap".to_owned(),
            StopReason::BudgetTokens => "the next call could pass the token cap".to_owned(),
            StopReason::ContextOverflow => "the request does not fit the model's window".to_owned(),
            StopReason::Denied => {
                format!("a person stopped it after denials; the last: {}", self.last_denial)
            }
            other => format!("stopped: {}", other.word()),
        };
        self.end(reason, detail, None);
    }

    /// Another route takes over for the rest of the turn. A step that is open is asked again there.
    pub(crate) fn reroute(&mut self, route: &Route) {
        self.route = Some(route.clone());
        if let Phase::Model(model) = &mut self.phase {
            // What was waited counts for the step; attempts that may fail are those of a route.
            model.failures = 0;
            model.retry_at = None;
            model.rerouted = true;
        }
    }

    pub(crate) fn intent(&mut self, intent: &Intent, at: Millis) -> Result<(), String> {
        match &intent.what {
            Intended::Model(model) if self.is_rerouted() => {
                self.model_call(&intent.key)?;
                let Phase::Model(open) = &mut self.phase else {
                    return Err(format!("no model call is open for {}", intent.key));
                };
                if intent.attempt != open.attempts + 1 {
                    return Err(format!("attempt {} of {} is not due", intent.attempt, intent.key));
                }
                open.intent = model.clone();
                open.rerouted = false;
                Ok(())
            }
            Intended::Model(model) => {
                let due = matches!(self.phase, Phase::Decide(_) | Phase::Answered(_));
                let due = due && self.next_compaction().is_none();
                if !due || intent.key.kind != EffectKind::Model || intent.key.step != self.step + 1 {
                    return Err(format!("no model call is due as {}", intent.key));
                }
                self.step = intent.key.step;
                self.tools_off = model.tools_off;
                self.calls.clear();
                self.judged = 0;
                self.grace |= model.transition == Transition::Grace;
                if model.transition == Transition::BudgetContinue {
                    self.gone_on.begin(&self.usage);
                }
                self.phase = Phase::Model(Box::new(ModelPhase {
                    intent: model.clone(),
                    attempts: 0,
                    failures: 0,
                    waited_ms: 0,
                    retry_at: None,
                    rerouted: false,
                }));
                Ok(())
            }
            Intended::Compact(compact) => self.compact_intent(&intent.key, compact),
            Intended::Judge(judge) => self.judge_intent(&intent.key, judge),
            Intended::Tool(_) => {
                let call = self.open_call(&intent.key)?;
                if call.state != CallState::Open || intent.attempt != call.started + 1 {
                    return Err(format!("attempt {} of {} is not due", intent.attempt, intent.key));
                }
                call.started = intent.attempt;
                call.intended_at = at;
                call.undoing = false;
                Ok(())
            }
            Intended::Undo(_) => {
                let call = self.open_call(&intent.key)?;
                let due = call.class == EffectClass::Compensable && !call.undoing;
                if !due
                    || call.state != CallState::Open
                    || call.started == 0
                    || intent.attempt != call.started
                {
                    return Err(format!(
                        "nothing is to be undone of attempt {} of {}",
                        intent.attempt, intent.key
                    ));
                }
                call.undoing = true;
                Ok(())
            }
        }
    }

    pub(crate) fn attempt(&mut self, attempt: &Attempt) -> Result<(), String> {
        if attempt.key.kind == EffectKind::Compact {
            self.compact_attempt(&attempt.key, attempt.attempt)?;
            self.bill(&attempt.failure.billed);
            return Ok(());
        }
        if attempt.key.kind == EffectKind::Judge {
            self.judge_attempt(&attempt.key, attempt.attempt)?;
            self.bill(&attempt.failure.billed);
            return Ok(());
        }
        self.model_call(&attempt.key)?;
        let Phase::Model(model) = &mut self.phase else {
            return Err(format!("no model call is open for {}", attempt.key));
        };
        if attempt.attempt != model.attempts + 1 {
            return Err(format!("attempt {} of {} is not due", attempt.attempt, attempt.key));
        }
        model.attempts = attempt.attempt;
        match attempt.failure.class {
            ErrorClass::Interrupted => {}
            _ => model.failures += 1,
        }
        model.waited_ms = model.waited_ms.saturating_add(attempt.wait_ms);
        model.retry_at = attempt.retry_at;
        self.bill(&attempt.failure.billed);
        Ok(())
    }

    pub(crate) fn outcome(&mut self, outcome: &Outcome) -> Result<(), String> {
        match &outcome.result {
            EffectResult::Model(model) => {
                self.model_call(&outcome.key)?;
                self.bill(&model.billed);
                self.answered(model);
                Ok(())
            }
            EffectResult::Summary(summary) => {
                self.summarised(&outcome.key, summary)?;
                self.bill(&summary.billed);
                Ok(())
            }
            EffectResult::Judged(judgement) => {
                self.judgement(&outcome.key, judgement)?;
                self.bill(&judgement.billed);
                Ok(())
            }
            EffectResult::ModelFailed(failure) => {
                self.model_call(&outcome.key)?;
                self.bill(&failure.billed);
                self.failed(failure);
                Ok(())
            }
            EffectResult::Tool(result) => {
                let call = self.open_call(&outcome.key)?;
                call.state = CallState::Ended;
                // A person was asked what to do about denials, and wants it to go on.
                let asked = matches!(call.ruling, Some(Ruling::Answers(_)));
                let call = call.call.clone();
                self.progress.observe(&call, result);
                match result.status {
                    ToolStatus::Denied => {
                        self.denials_in_row = if asked { 0 } else { self.denials_in_row + 1 };
                        self.last_denial = cut(&result.view, 400);
                    }
                    ToolStatus::Ok => self.denials_in_row = 0,
                    ToolStatus::Failed
                    | ToolStatus::InvalidArguments
                    | ToolStatus::NotRegistered
                    | ToolStatus::NotAvailable
                    | ToolStatus::TruncatedArguments
                    | ToolStatus::Timeout
                    | ToolStatus::Cancelled
                    | ToolStatus::Panicked
                    | ToolStatus::OutcomeUnknown
                    | ToolStatus::RolledBack => {}
                }
                if self.calls.iter().all(|call| call.state == CallState::Ended) {
                    self.step_ended();
                }
                for fact in &result.facts {
                    if let Fact::Continued(frame) = fact {
                        self.continue_in(frame);
                    }
                }
                Ok(())
            }
        }
    }

    /// Hooks have answered.
    pub(crate) fn hook_ran(&mut self, ran: &HookRan) -> Result<(), String> {
        ran.asked.iter().for_each(|asked| self.bill(&asked.billed));
        if let Some(why) = &ran.says.stop {
            self.end(StopReason::HookStopped, why.clone(), None);
            return Ok(());
        }
        if let (Some(rewrite), Some(key)) = (&ran.says.rewrite, &ran.tool) {
            let call = self.open_call(key)?;
            call.replace(rewrite);
            call.rewrites += 1;
            // What a person has allowed was something else.
            call.approved = false;
            call.approved_for = None;
            call.ruling = None;
        }
        let goes_on = ran.event.is_stop()
            && ran.says.blocked
            && matches!(self.phase, Phase::Answered(_))
            && self.stop_hooks < STOP_INJECTIONS;
        if goes_on {
            self.stop_hooks += 1;
            self.phase = Phase::Decide(Transition::StopHook);
        }
        Ok(())
    }

    /// Denials in a row, as of the last outcome.
    pub fn denials_in_row(&self) -> u32 {
        self.denials_in_row
    }

    /// How often stop hooks have let the turn go on.
    pub fn stop_hooks(&self) -> u32 {
        self.stop_hooks
    }

    /// The first ending counts.
    pub(crate) fn end(&mut self, reason: StopReason, detail: String, by: Option<String>) {
        if self.ending.is_none() {
            self.ending = Some(TurnOutcome::Stopped { reason, detail, by });
        }
    }

    /// Whether an answer is gone on from, to use the turn's budget. A guest answers once; and an answer that stands does not
    /// become a stop because there is no room for another.
    fn goes_on(&self) -> bool {
        let room = self.step < self.limits.max_steps && self.bound_reached().is_none();
        !self.guest && room && self.gone_on.is_due(&self.limits, &self.usage)
    }

    fn decide(&self, transition: Transition, steering: &Steering) -> Next {
        if let Some(ending) = &self.ending {
            return Next::Done(ending.clone());
        }
        if let Some((reason, detail)) = self.bound_reached() {
            return Next::Done(TurnOutcome::Stopped { reason, detail, by: None });
        }
        let grace = self.step >= self.limits.max_steps;
        let inputs = match transition {
            Transition::Steer => steering.before_end(),
            _ => steering.after_work.clone(),
        };
        let stalled = self.progress.stalled();
        let nudge_at = self.limits.no_progress_steps / 2;
        let transition = match transition {
            _ if grace => Transition::Grace,
            // Each stalled step moves the count, so a stall is nudged once, and another stall again.
            Transition::ToolResults if nudge_at > 0 && stalled == nudge_at => Transition::Nudge,
            same => same,
        };
        Next::Effects(vec![Effect::CallModel(CallModel {
            key: key_of(&self.session, self.number, self.step + 1, EffectKind::Model, 0),
            attempt: 1,
            failures: 0,
            waited_ms: 0,
            not_before: None,
            transition,
            inputs,
            tools_off: grace || self.guest,
            intent: None,
        })])
    }

    /// A bound that forbids another step.
    fn bound_reached(&self) -> Option<(StopReason, String)> {
        let limits = &self.limits;
        if self.grace {
            return Some((StopReason::MaxSteps, self.max_steps_detail()));
        }
        if limits.no_progress_steps > 0 && self.progress.stalled() >= limits.no_progress_steps {
            return Some((StopReason::NoProgress, self.progress.evidence()));
        }
        if limits.max_consecutive_denials > 0
            && self.denials_in_row >= limits.max_consecutive_denials
            && self.on_ask != OnAsk::Prompt
        {
            let n = self.denials_in_row;
            return Some((
                StopReason::Denied,
                format!("{n} calls in a row were denied; the last: {}", self.last_denial),
            ));
        }
        if let Some(cap) = limits.max_tokens.filter(|cap| self.usage.total() >= *cap) {
            return Some((
                StopReason::BudgetTokens,
                format!("{} of {cap} tokens are used", self.usage.total()),
            ));
        }
        match (limits.max_cost, self.cost) {
            (Some(cap), Some(cost)) if cost >= cap => {
                let usd = |nano: NanoUsd| nano as f64 / 1e9;
                Some((StopReason::BudgetCost, format!("${:.4} of ${:.4} are spent", usd(cost), usd(cap))))
            }
            _ => None,
        }
    }

    fn max_steps_detail(&self) -> String {
        format!("the limit of {} steps is reached", self.limits.max_steps)
    }

    fn call_again(&self, model: &ModelPhase) -> Next {
        Next::Effects(vec![Effect::CallModel(CallModel {
            key: key_of(&self.session, self.number, self.step, EffectKind::Model, 0),
            attempt: model.attempts + 1,
            failures: model.failures,
            waited_ms: model.waited_ms,
            not_before: model.retry_at,
            transition: model.intent.transition,
            inputs: model.intent.inputs.clone(),
            tools_off: model.intent.tools_off,
            intent: (!model.rerouted).then(|| model.intent.clone()),
        })])
    }

    fn step_ended(&mut self) {
        self.progress.step_ended();
        self.phase = Phase::Decide(Transition::ToolResults);
        if self.grace {
            self.end(StopReason::MaxSteps, self.max_steps_detail(), None);
        } else if self.guest {
            let detail = "the guest called a tool, and a guest has none".to_owned();
            self.end(StopReason::ToolFailed, detail, None);
        }
    }

    fn bill(&mut self, billed: &Billed) {
        self.usage.add(&billed.usage);
        self.cost = match (self.cost, billed.cost) {
            (Some(sum), Some(cost)) => Some(sum.saturating_add(cost)),
            (sum, None) if billed.usage.total() == 0 => sum,
            _ => None,
        };
    }

    fn model_call(&self, key: &EffectKey) -> Result<(), String> {
        let due =
            matches!(self.phase, Phase::Model(_)) && key.kind == EffectKind::Model && key.step == self.step;
        if due { Ok(()) } else { Err(format!("no model call is open for {key}")) }
    }
}

/// How often stop hooks may let a turn go on (design: "a cap no hook can raise").
const STOP_INJECTIONS: u32 = 3;
