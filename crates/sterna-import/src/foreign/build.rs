//! A valid log of what another agent's log says: turns are committed, and each call has one result.

use std::collections::HashSet;

use bytes::Bytes;
use sterna_log::digest;
use sterna_model::{
    BlobRef, Body, Delivery, Digest, EffectClass, EffectKey, EffectKind, EffectResult, Fact, Given,
    InputAccepted, InputPart, Intended, Intent, Limits, Manifest, Millis, ModelIntent, ModelOutcome,
    ModelStop, Part, Route, Seq, SessionOpened, StepNo, ToolCall, ToolIntent, ToolOutcome, ToolStatus,
    Transition, TurnNo, TurnStarted,
};

use super::{Answer, Foreign, Item, Kept, Step};
use crate::settle::{UNKNOWN, Writer, answered};
use crate::{ImportError, NewSession};

pub struct Built {
    pub writer: Writer,
    pub blobs: Kept,
}

/// Makes the log. Takes the items out of `foreign`.
pub fn build(
    foreign: &mut Foreign,
    new: &NewSession,
    route: &Route,
    origin: String,
) -> Result<Built, ImportError> {
    let items = std::mem::take(&mut foreign.items);
    // The session goes on with the model that it used last.
    let last_route = items.iter().rev().find_map(|item| match item {
        Item::Step(step) => step.route.clone(),
        Item::User { .. } => None,
    });
    let opened_at = items.iter().map(Item::at).find(|at| *at > 0).unwrap_or(new.now);
    let mut builder = Builder {
        writer: Writer::new(new.id.clone()),
        blobs: Vec::new(),
        agent: foreign.agent.word(),
        folder: foreign.folder.clone().unwrap_or_default(),
        new,
        manifest: Digest::ZERO,
        now: opened_at,
        turn: 0,
        step: 0,
        waiting: Vec::new(),
        carried: 0,
        after: Transition::Input,
        route: last_route.unwrap_or_else(|| route.clone()),
    };
    builder.open()?;
    if let Some(title) = foreign.title.take() {
        let by = format!("import:{}", builder.agent);
        builder.push(None, None, Body::TitleSet { title: title.clone(), by, made: None })?;
        foreign.title = Some(title);
    }
    for item in items {
        builder.item(item)?;
    }
    builder.end_turn()?;
    let todos = std::mem::take(&mut foreign.todos);
    if !todos.is_empty() {
        let by = format!("import:{}", builder.agent);
        builder.push(None, None, Body::TodoSet { items: todos, by })?;
    }
    let Builder { mut writer, blobs, .. } = builder;
    writer.settle(new.now, crate::plan::BY)?;
    writer.origin(new.now, new.mode, origin)?;
    Ok(Built { writer, blobs })
}

impl Item {
    fn at(&self) -> Millis {
        match self {
            Self::User { at, .. } => *at,
            Self::Step(step) => step.at,
        }
    }
}

struct Builder<'a> {
    writer: Writer,
    blobs: Kept,
    agent: &'static str,
    /// The folder that the log says.
    folder: String,
    new: &'a NewSession,
    /// What is known of a foreign prompt: nothing.
    manifest: Digest,
    /// The time of the last item that had one.
    now: Millis,
    turn: TurnNo,
    step: StepNo,
    /// Inputs that no turn has taken.
    waiting: Vec<Seq>,
    /// Bytes of what was said and given back so far: at least so many an answer was given to.
    carried: u64,
    /// Why the next step would come.
    after: Transition,
    route: Route,
}

impl Builder<'_> {
    fn push(&mut self, turn: Option<TurnNo>, step: Option<StepNo>, body: Body) -> Result<Seq, ImportError> {
        self.writer.push(self.now, turn, step, body)
    }

    fn open(&mut self) -> Result<(), ImportError> {
        let NewSession { id, folder, mode, sterna, .. } = self.new;
        let folder = folder.clone().unwrap_or_else(|| self.folder.clone());
        let opened = SessionOpened {
            id: id.clone(),
            parent: None,
            root: folder.clone(),
            cwd: folder,
            route: self.route.clone(),
            mode: *mode,
            sterna: sterna.clone(),
            spawned: None,
        };
        self.push(None, None, Body::SessionOpened(opened))?;
        Ok(())
    }

    fn item(&mut self, item: Item) -> Result<(), ImportError> {
        if item.at() > 0 {
            self.now = item.at();
        }
        match item {
            Item::User { text, .. } => {
                self.carried += text.len() as u64;
                if self.turn_runs() {
                    self.end_turn()?;
                }
                let body = Body::InputAccepted(InputAccepted {
                    key: None,
                    delivery: Delivery::NextTurn,
                    parts: vec![InputPart::Text(text)],
                    origin: self.agent.into(),
                    given: None,
                    ended: None,
                    compact: None,
                    tainted: Vec::new(),
                });
                let seq = self.push(None, None, body)?;
                self.waiting.push(seq);
                Ok(())
            }
            Item::Step(step) => self.take_step(step),
        }
    }

    fn turn_runs(&self) -> bool {
        self.step > 0
    }

    /// Ends the turn that runs, or that waits for its first answer.
    fn end_turn(&mut self) -> Result<(), ImportError> {
        if !self.waiting.is_empty() {
            self.start_turn(self.route.clone())?;
        }
        self.writer.end_turn(self.now, crate::plan::BY, UNANSWERED)?;
        self.step = 0;
        Ok(())
    }

    fn start_turn(&mut self, route: Route) -> Result<(), ImportError> {
        if self.waiting.is_empty() {
            // The log begins in the middle: there was an input that it does not have.
            let body = Body::InputAccepted(InputAccepted {
                key: None,
                delivery: Delivery::NextTurn,
                parts: vec![InputPart::Text(NO_INPUT.into())],
                origin: self.agent.into(),
                given: None,
                ended: None,
                compact: None,
                tainted: Vec::new(),
            });
            let seq = self.push(None, None, body)?;
            self.waiting.push(seq);
            self.carried += NO_INPUT.len() as u64;
        }
        self.turn += 1;
        self.step = 0;
        self.after = Transition::Input;
        let given = Given {
            mode: self.new.mode,
            // Its bounds were another program's.
            limits: Limits {
                max_steps: u32::MAX,
                no_progress_steps: 0,
                max_consecutive_denials: 0,
                ..Limits::default()
            },
            ..Given::new(route, self.folder.clone())
        };
        let started = TurnStarted { inputs: std::mem::take(&mut self.waiting), given, now: self.now };
        self.push(Some(self.turn), None, Body::TurnStarted(Box::new(started)))?;
        Ok(())
    }

    fn take_step(&mut self, step: Step) -> Result<(), ImportError> {
        let Step { at: _, message: _, route, mut parts, stop, billed, results } = step;
        let calls = name_calls(&mut parts);
        let route = route.unwrap_or_else(|| self.route.clone());
        if !self.turn_runs() {
            self.start_turn(route.clone())?;
        }
        self.step += 1;
        let key = self.key(EffectKind::Model, 0);
        let intent = Intent {
            key: key.clone(),
            class: EffectClass::AtMostOnce,
            attempt: 1,
            what: Intended::Model(ModelIntent {
                route,
                transition: self.after,
                inputs: Vec::new(),
                // No request of ours was sent: there is none to derive again.
                history: Vec::new(),
                manifest: self.manifest()?,
                tools_off: false,
                max_output: 0,
                encoder: format!("{}{}", ModelIntent::IMPORTED, self.agent),
                request: Digest::ZERO,
                bytes: self.carried.max(1),
                prefix: None,
                prefix_broken: Vec::new(),
                left_out: 0,
                schema_native: false,
                files: None,
                thinking: None,
            }),
        };
        self.push(Some(self.turn), Some(self.step), Body::Intent(Box::new(intent)))?;
        let stop = match stop {
            _ if !calls.is_empty() => ModelStop::ToolCalls,
            // Only a call of our own that was cut is continued.
            Some(ModelStop::MaxOutput) => ModelStop::MaxOutput,
            Some(ModelStop::Refused) => ModelStop::Refused,
            Some(ModelStop::EndTurn | ModelStop::ToolCalls | ModelStop::Cancelled) | None => {
                ModelStop::EndTurn
            }
        };
        self.carried += parts.iter().map(size).sum::<u64>();
        self.after = match (stop, calls.is_empty()) {
            (_, false) => Transition::ToolResults,
            (ModelStop::MaxOutput, true) => Transition::OutputContinue,
            (_, true) => Transition::Nudge,
        };
        let outcome = ModelOutcome {
            parts,
            stop,
            classes: vec![EffectClass::AtMostOnce; calls.len()],
            billed,
            partial: false,
            duration_ms: 0,
            checked: None,
        };
        let (turn, number) = (self.turn, self.step);
        self.writer.outcome(self.now, turn, number, key, 1, EffectResult::Model(outcome))?;
        self.take_calls(calls, results)
    }

    fn take_calls(
        &mut self,
        calls: Vec<ToolCall>,
        mut results: std::collections::BTreeMap<usize, Answer>,
    ) -> Result<(), ImportError> {
        for (at, call) in calls.into_iter().enumerate() {
            let key = self.key(EffectKind::Tool, u32::try_from(at).unwrap_or(u32::MAX));
            let answer = results.remove(&at);
            if let Some(answer) = answer.as_ref().filter(|answer| answer.at > 0) {
                self.now = answer.at;
            }
            let intent = Intent {
                key: key.clone(),
                class: EffectClass::AtMostOnce,
                attempt: 1,
                what: Intended::Tool(ToolIntent {
                    input: digest(format!("{}\0{}", call.name, call.arguments).as_bytes()),
                    call_id: call.id,
                    name: call.name,
                    sandbox: "none".into(),
                }),
            };
            self.push(Some(self.turn), Some(self.step), Body::Intent(Box::new(intent)))?;
            let result = match answer {
                Some(answer) => self.result(answer),
                None => {
                    self.writer.settled.unknown_calls += 1;
                    answered(self.now, ToolStatus::OutcomeUnknown, UNKNOWN)
                }
            };
            let (turn, step) = (self.turn, self.step);
            self.writer.outcome(self.now, turn, step, key, 1, EffectResult::Tool(result))?;
        }
        Ok(())
    }

    fn result(&mut self, answer: Answer) -> ToolOutcome {
        let Answer { at: _, status, text, exit_code } = answer;
        let bytes = text.len() as u64;
        self.carried += bytes;
        let whole = BlobRef { hash: digest(text.as_bytes()), bytes };
        let view = sterna_context::project(&text, Some(&whole), VIEW_BYTES, VIEW_LINES, 40);
        let full = (!view.whole).then_some(whole);
        if full.is_some() {
            self.blobs.push(Bytes::from(text));
        }
        let command = exit_code.map(|code| Fact::Command { exit_code: Some(code), signal: None, bytes });
        ToolOutcome {
            status,
            view: view.view,
            full,
            facts: command.into_iter().collect(),
            started_at: self.now,
            duration_ms: 0,
            untrusted: None,
            attachments: Vec::new(),
        }
    }

    fn key(&self, kind: EffectKind, ordinal: u32) -> EffectKey {
        EffectKey { session: self.new.id.clone(), turn: self.turn, step: self.step, kind, ordinal }
    }

    /// The manifest of a prompt of which nothing is known, once.
    fn manifest(&mut self) -> Result<Digest, ImportError> {
        if self.manifest == Digest::ZERO {
            let empty = Manifest { v: 1, parts: Vec::new(), tools: Vec::new() };
            let bytes = serde_json::to_vec(&empty).map_err(|error| {
                sterna_log::LogError::Refused(format!("the manifest cannot be encoded: {error}"))
            })?;
            self.manifest = digest(&bytes);
            self.blobs.push(Bytes::from(bytes));
        }
        Ok(self.manifest)
    }
}

fn size(part: &Part) -> u64 {
    let bytes = match part {
        Part::Text(text) => text.len(),
        Part::ToolCall(call) => call.name.len() + call.arguments.len(),
        Part::Reasoning(_) | Part::Opaque(_) => 0,
    };
    bytes as u64
}

/// Gives the calls. Each has an id of its own in its answer.
fn name_calls(parts: &mut [Part]) -> Vec<ToolCall> {
    let mut calls: Vec<ToolCall> = Vec::new();
    let mut taken = HashSet::new();
    for part in parts {
        let Part::ToolCall(call) = part else { continue };
        if call.id.is_empty() {
            call.id = format!("call_{}", calls.len() + 1);
        }
        while !taken.insert(call.id.clone()) {
            call.id = format!("{}_{}", call.id, calls.len() + 1);
        }
        calls.push(call.clone());
    }
    calls
}

/// What a tool result may show; the rest is a blob.
const VIEW_BYTES: usize = 64 << 10;
const VIEW_LINES: usize = 4_000;
const UNANSWERED: &str = "the log that this session was imported from has no answer of the model here";
const NO_INPUT: &str = "(the log that this session was imported from has no input here)";
