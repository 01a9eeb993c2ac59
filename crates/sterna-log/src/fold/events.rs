//! The event stream: a projection of records. The same live and when a session is shown again.

use serde::{Deserialize, Serialize};
use sterna_model::{
    Body, BudgetChange, ChildEnd, ChildTurn, CompactStage, Decision, Digest, EVENT_OUTPUT_BYTES,
    EVENT_VERSION, EffectKey, EffectKind, EffectResult, ErrorRef, Event, EventKind, Fact, Intended,
    MemoryChange, MemoryRef, MemoryScope, MemoryWord, ModelOutcome, ParentRef, Part, ProviderFailure,
    QuestionRef, Record, Route, Ruling, SpawnedRef, ToolCall, ToolOutcome, TurnOutcome, WaitEnd, WaitOn,
    answer_text, dollars, input_text, placeholders,
};

use super::{Folded, Source};

/// What the projection remembers between records.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StepState {
    root: String,
    calls: Vec<ToolCall>,
    /// Calls that have an intent: their start was shown.
    started: Vec<bool>,
    open: usize,
    route: Option<Route>,
    /// The route of the model call before, and whether the last one has another.
    last_route: Option<Route>,
    rerouted: bool,
    attempt: u32,
    request: (String, u64),
    wait_is_question: std::collections::BTreeMap<String, bool>,
    /// Waits for children: nobody is asked.
    waits_for_child: std::collections::BTreeSet<String>,
    /// Waits that time or a signal ends: nobody is asked.
    waits_to_wake: std::collections::BTreeSet<String>,
    /// The tool call that the last call to a classifier is about.
    judging: Option<EffectKey>,
}

impl StepState {
    pub fn root(&self) -> &str {
        &self.root
    }

    pub fn apply(&mut self, record: &Record) {
        match &record.body {
            Body::SessionOpened(opened) => self.root.clone_from(&opened.root),
            Body::TurnStarted(started) => self.root.clone_from(&started.root),
            Body::Intent(intent) => match &intent.what {
                Intended::Model(model) => {
                    self.route = Some(model.route.clone());
                    self.request = (model.request.to_string(), model.bytes);
                    self.attempt = intent.attempt;
                    self.rerouted =
                        self.last_route.replace(model.route.clone()).is_some_and(|last| last != model.route);
                    self.calls.clear();
                    self.started.clear();
                    self.open = 0;
                }
                Intended::Compact(compact) => self.route = Some(compact.model.route.clone()),
                Intended::Judge(judge) => self.judging = Some(judge.call.clone()),
                Intended::Tool(_) | Intended::Undo(_) => {
                    if let Some(started) = self.started.get_mut(intent.key.ordinal as usize) {
                        *started = true;
                    }
                }
            },
            Body::Attempt(attempt) if matches!(attempt.key.kind, EffectKind::Compact | EffectKind::Judge) => {
            }
            Body::Attempt(attempt) => self.attempt = attempt.attempt + 1,
            Body::Outcome(outcome) => match &outcome.result {
                EffectResult::Model(model) => {
                    self.calls = calls_of(model);
                    self.started = vec![false; self.calls.len()];
                    self.open = self.calls.len();
                }
                EffectResult::Tool(_) => self.open = self.open.saturating_sub(1),
                EffectResult::ModelFailed(_) | EffectResult::Summary(_) | EffectResult::Judged(_) => {}
            },
            Body::WaitOpened(opened) => {
                let question = matches!(opened.on, WaitOn::Questions(_));
                self.wait_is_question.insert(opened.wait.clone(), question);
                if matches!(opened.on, WaitOn::Child(_)) {
                    self.waits_for_child.insert(opened.wait.clone());
                }
                if matches!(opened.on, WaitOn::Timer | WaitOn::Signal { .. }) {
                    self.waits_to_wake.insert(opened.wait.clone());
                }
            }
            _ => {}
        }
    }

    pub fn is_question(&self, wait: &str) -> bool {
        self.wait_is_question.get(wait).copied().unwrap_or(false)
    }

    pub fn is_for_child(&self, wait: &str) -> bool {
        self.waits_for_child.contains(wait)
    }

    pub fn is_to_wake(&self, wait: &str) -> bool {
        self.waits_to_wake.contains(wait)
    }

    fn call(&self, key: &EffectKey) -> (String, String) {
        let call = self.calls.get(key.ordinal as usize);
        call.map_or_else(Default::default, |call| (call.id.clone(), call.name.clone()))
    }
}

/// The name by which `model.reset` voids the deltas of an attempt.
pub fn correlation(key: &EffectKey, attempt: u32) -> String {
    format!("{key}#{attempt}")
}

pub fn of(folded: &Folded, record: &Record) -> Vec<Event> {
    let Some(session) = &folded.session else { return Vec::new() };
    // A cancel may be appended from outside its turn; it says which turn it means.
    let named_turn = match &record.body {
        Body::CancelRequested { turn, .. } => Some(*turn),
        _ => None,
    };
    let event = |kind: EventKind| Event {
        v: EVENT_VERSION,
        seq: record.seq,
        session: session.clone(),
        turn: record.turn.or(named_turn),
        step: record.step,
        at: record.at,
        kind,
    };
    kinds(folded, record).into_iter().map(event).collect()
}

fn kinds(folded: &Folded, record: &Record) -> Vec<EventKind> {
    let state = &folded.steps;
    match &record.body {
        Body::SessionOpened(opened) => vec![EventKind::SessionOpened {
            cwd: opened.cwd.clone(),
            root: opened.root.clone(),
            route: opened.route.clone(),
            mode: opened.mode,
            parent: opened.parent.as_ref().map(|p| ParentRef { session: p.session.clone(), seq: p.seq }),
            spawned: opened.spawned.as_ref().map(|s| SpawnedRef {
                session: s.by.session.clone(),
                agent: s.agent.clone(),
                depth: s.depth,
            }),
        }],
        Body::TitleSet { title, by, made } => {
            if let Some(made) = made.as_ref().filter(|made| made.asking) {
                return vec![EventKind::TitleAsking { route: made.route.clone() }];
            }
            // One by a model that came too late, or to nothing, names nothing, and was paid all the same.
            let counts = made.is_none() || folded.world.title.is_by(record.seq);
            let titled = EventKind::SessionTitled { title: title.clone(), by: by.clone() };
            let why = made.as_ref().and_then(|made| made.failed.as_deref());
            let why = why.unwrap_or("the session was named meanwhile");
            let said = match counts {
                true => titled,
                false => EventKind::Warning { code: "title_unused".into(), message: why.to_owned() },
            };
            std::iter::once(said).chain(usage(folded)).collect()
        }
        Body::SessionClosed { by } => vec![EventKind::SessionClosed { by: by.clone() }],
        Body::RouteChanged { route, cause, turn } => {
            let (route, cause, this_turn) = (route.clone(), cause.clone(), turn.is_some());
            vec![EventKind::RouteChanged { route, cause, this_turn }]
        }
        Body::ModeChanged { mode, by } => vec![EventKind::ModeChanged { mode: *mode, by: by.clone() }],
        Body::InputAccepted(input) => {
            let text = match &input.compact {
                Some(focus) => format!("/compact {focus}").trim_end().to_owned(),
                None => input_text(&input.parts),
            };
            let notice = secrets_notice(&text);
            let accepted = EventKind::InputAccepted {
                input: record.seq,
                delivery: input.delivery,
                text,
                origin: input.origin.clone(),
                key: input.key.clone(),
            };
            let ended = input.ended.as_deref().map(child_ended);
            std::iter::once(accepted).chain(notice).chain(ended).collect()
        }
        Body::InputEdited { input, parts, by } => {
            let text = input_text(parts);
            let notice = secrets_notice(&text);
            let edited = EventKind::InputEdited { input: *input, text, by: by.clone() };
            std::iter::once(edited).chain(notice).collect()
        }
        Body::InputWithdrawn { inputs, by } => {
            vec![EventKind::InputWithdrawn { inputs: inputs.clone(), by: by.clone() }]
        }
        Body::TurnStarted(started) => vec![EventKind::TurnStarted {
            inputs: started.inputs.clone(),
            route: started.route.clone(),
            mode: started.mode,
            on_ask: started.on_ask,
            limits: started.limits.clone(),
            guest: started.guest.as_ref().map(|guest| guest.agent.clone()),
        }],
        Body::TurnCommitted(committed) => {
            let (outcome, stop) = match &committed.outcome {
                TurnOutcome::Finished { .. } => ("finished", None),
                TurnOutcome::Stopped { reason, .. } => ("stopped", Some(*reason)),
            };
            let mut kinds = vec![EventKind::TurnCommitted { outcome, stop }];
            let result = folded.result(record.turn.unwrap_or(0), committed);
            kinds.extend(result.map(|result| EventKind::Result(Box::new(result))));
            kinds
        }
        Body::Intent(intent) => match &intent.what {
            Intended::Model(model) => {
                let mut kinds = Vec::with_capacity(4);
                if intent.attempt == 1 {
                    kinds.push(EventKind::StepStarted { transition: model.transition });
                }
                if !model.inputs.is_empty() && intent.attempt == 1 {
                    kinds.push(EventKind::InputSteered { inputs: model.inputs.clone() });
                }
                if model.left_out > 0 && state.rerouted {
                    let message = format!(
                        "{} opaque parts of the history stay with the models that made them: {} does not get them",
                        model.left_out, model.route
                    );
                    kinds.push(EventKind::Warning { code: "opaque_left_out".into(), message });
                }
                // That another route has nothing cached is told by the change of route.
                if !model.prefix_broken.is_empty() && !state.rerouted {
                    let message = format!("the prompt cache starts anew: {}", model.prefix_broken.join(", "));
                    kinds.push(EventKind::Warning { code: "prefix_broken".into(), message });
                }
                kinds.push(model_started(state, intent.attempt));
                kinds
            }
            Intended::Tool(tool) => vec![EventKind::ToolStarted {
                call_id: tool.call_id.clone(),
                name: tool.name.clone(),
                attempt: intent.attempt,
                at_ms: record.at,
            }],
            Intended::Compact(compact) => vec![EventKind::ContextCompacting {
                trigger: compact.trigger,
                route: compact.model.route.clone(),
                tokens: compact.tokens,
            }],
            Intended::Judge(judge) => {
                let (call_id, name) = state.call(&judge.call);
                vec![EventKind::ApprovalJudging {
                    call_id,
                    tool: name,
                    pass: judge.pass,
                    route: judge.route.clone(),
                }]
            }
            Intended::Undo(tool) => {
                let (call_id, name) = (&tool.call_id, &tool.name);
                let message = format!(
                    "call {call_id} of `{name}` was running when sterna died: what it may have done is taken back"
                );
                vec![EventKind::Warning { code: "undo".into(), message }]
            }
        },
        Body::Attempt(attempt) if attempt.key.kind == EffectKind::Compact => {
            let message = format!("a summary was asked for and lost: {}", attempt.failure.message);
            let warning = EventKind::Warning { code: "compaction".into(), message };
            std::iter::once(warning).chain(usage(folded)).collect()
        }
        Body::Attempt(attempt) if attempt.key.kind == EffectKind::Judge => {
            let message = format!("a classifier was asked and lost: {}", attempt.failure.message);
            let warning = EventKind::Warning { code: "classifier".into(), message };
            std::iter::once(warning).chain(usage(folded)).collect()
        }
        Body::Attempt(attempt) => {
            let failure = &attempt.failure;
            let mut kinds = vec![EventKind::ModelReset {
                correlation: correlation(&attempt.key, attempt.attempt),
                attempt: attempt.attempt,
                class: failure.class,
                message: failure.message.clone(),
            }];
            kinds.extend(usage(folded));
            if let Some(until) = attempt.retry_at {
                let next = attempt.attempt + 1;
                kinds.push(EventKind::RetryWaiting { attempt: next, class: failure.class, until });
                kinds.push(model_started(state, next));
            }
            kinds
        }
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Model(model) => model_ended(folded, model),
            EffectResult::ModelFailed(failure) => model_failed(folded, failure),
            EffectResult::Tool(result) => tool_ended(folded, record, &outcome.key, result),
            EffectResult::Judged(judgement) => {
                let call = state.judging.as_ref().map(|key| state.call(key));
                let (call_id, tool) = call.unwrap_or_default();
                let judged = EventKind::ApprovalJudged {
                    call_id,
                    tool,
                    says: judgement.says,
                    reason: judgement.reason.clone(),
                    failed: judgement.failed.clone(),
                };
                usage(folded).chain([judged]).collect()
            }
            EffectResult::Summary(summary) => {
                let mut kinds: Vec<EventKind> = usage(folded).collect();
                if let Some(why) = &summary.failed {
                    let message = format!("no summary was made: {why}");
                    kinds.push(EventKind::Warning { code: "compaction".into(), message });
                }
                if kinds.is_empty() {
                    let message = "a summary was made".to_owned();
                    kinds.push(EventKind::Warning { code: "compaction".into(), message });
                }
                kinds
            }
        },
        Body::InDoubt { key, resolution } => {
            let (call_id, name) = state.call(key);
            let message = format!("call {call_id} of `{name}` was running when Sterna died: {resolution:?}")
                .to_lowercase();
            vec![EventKind::Warning { code: "in_doubt".into(), message }]
        }
        Body::WaitOpened(opened) => {
            let (call_id, _) = state.call(&opened.key);
            let wait = opened.wait.clone();
            vec![match &opened.on {
                WaitOn::Approval(ask) => EventKind::ApprovalRequested {
                    wait,
                    call_id,
                    tool: ask.tool.clone(),
                    summary: ask.summary.clone(),
                    reason: ask.reason.clone(),
                    rule: ask.rule.clone(),
                    source: ask.source.clone(),
                    preview: ask.preview.clone(),
                    untrusted: ask.untrusted.clone(),
                },
                WaitOn::Questions(questions) => EventKind::QuestionAsked {
                    wait,
                    call_id,
                    questions: questions
                        .iter()
                        .map(|q| QuestionRef {
                            question: q.question.clone(),
                            header: q.header.clone(),
                            options: q.options.clone(),
                            multi: q.multi,
                        })
                        .collect(),
                },
                WaitOn::Child(turn) => child_started(call_id, turn, false),
                WaitOn::Timer => {
                    EventKind::WaitOpened { wait, call_id, signal: None, until: opened.deadline }
                }
                WaitOn::Signal { name } => EventKind::WaitOpened {
                    wait,
                    call_id,
                    signal: Some(name.clone()),
                    until: opened.deadline,
                },
                WaitOn::Plan(plan) => EventKind::PlanSubmitted {
                    wait,
                    call_id,
                    slug: plan.slug.clone(),
                    content: plan.content.clone(),
                    after: plan.after,
                },
            }]
        }
        Body::WaitResolved { wait, ruling, by, early } => {
            let question = state.wait_is_question.get(wait).copied();
            let question = question.unwrap_or(*early && matches!(ruling, Ruling::Answers(_)));
            let (wait, by) = (wait.clone(), by.clone());
            vec![match ruling {
                Ruling::Ended(end) => child_ended(end),
                Ruling::Signal(payload) => {
                    EventKind::WaitEnded { wait, how: WaitEnd::Signal, by, payload: Some(payload.clone()) }
                }
                _ if state.is_to_wake(&wait) => {
                    let how = if *ruling == Ruling::Timeout { WaitEnd::Timeout } else { WaitEnd::Denied };
                    EventKind::WaitEnded { wait, how, by, payload: None }
                }
                _ if state.waits_for_child.contains(&wait) => EventKind::Warning {
                    code: "child_not_awaited".into(),
                    message: format!("the wait {wait} for a child ended before the child did ({by})"),
                },
                _ if question => EventKind::QuestionAnswered { wait, ruling: ruling.clone(), by },
                Ruling::Deny { feedback } => {
                    let feedback = feedback.clone();
                    let decision = Decision::Deny;
                    EventKind::ApprovalResolved { wait, decision, by, feedback, arguments: None }
                }
                Ruling::Timeout => {
                    let (decision, feedback) = (Decision::Deny, "timeout".into());
                    EventKind::ApprovalResolved { wait, decision, by, feedback, arguments: None }
                }
                Ruling::Allow | Ruling::Answers(_) | Ruling::Edited(_) | Ruling::Plan { .. } => {
                    let arguments = match ruling {
                        Ruling::Edited(rewrite) => Some(rewrite.arguments.clone()),
                        Ruling::Plan { content, .. } => content.clone(),
                        _ => None,
                    };
                    let (decision, feedback) = (Decision::Allow, String::new());
                    EventKind::ApprovalResolved { wait, decision, by, feedback, arguments }
                }
            }]
        }
        Body::CancelRequested { by, reason, .. } => {
            vec![EventKind::CancelRequested { by: by.clone(), reason: reason.clone() }]
        }
        Body::LimitReached { reason, .. } => vec![EventKind::LimitReached { reason: *reason }],
        Body::GrantGiven { grant, by } => vec![EventKind::GrantGiven {
            tool: grant.tool.clone(),
            summary: grant.summary.clone(),
            scope: grant.scope,
            content: grant.content.to_string(),
            expires: grant.expires,
            by: by.clone(),
        }],
        Body::GrantRevoked { content, by } => {
            vec![EventKind::GrantRevoked { content: content.to_string(), by: by.clone() }]
        }
        Body::Memory(change) => vec![memory(change)],
        Body::Automation(change) => {
            vec![EventKind::AutomationChanged { change: change.word(), about: change.about().to_owned() }]
        }
        Body::Goal(_) => vec![goal(folded)],
        Body::Budget(change) => {
            let (settled, spent) = match &**change {
                BudgetChange::Asked { spent, .. } => (false, spent),
                BudgetChange::Settled { spent, .. } => (true, spent),
            };
            vec![EventKind::BudgetChanged { call: change.key().clone(), settled, tokens: spent.tokens }]
        }
        Body::TodoSet { .. } => vec![todo(folded)],
        Body::CheckpointTaken(taken) => vec![EventKind::CheckpointTaken {
            manifest: taken.manifest.to_string(),
            files: taken.files,
            bytes_new: taken.bytes_new,
            skipped: taken.skipped,
            skipped_names: taken.skipped_names.clone(),
        }],
        Body::CheckpointMissed { root, why } => {
            let message = format!("what this step changes in {root} cannot be undone: {why}");
            vec![EventKind::Warning { code: "checkpoint_missed".into(), message }]
        }
        Body::Compacted(compacted) if compacted.stage == CompactStage::Frame => {
            let frame = compacted.frame.as_deref();
            vec![EventKind::ContextFrame {
                frame: frame.map_or(Digest::ZERO, |frame| frame.id),
                task: frame.map(|frame| cut(&frame.task, EVENT_OUTPUT_BYTES)).unwrap_or_default(),
                seed: frame.map(|frame| frame.seed.keys().cloned().collect()).unwrap_or_default(),
                tokens_before: compacted.tokens_before,
                tokens_after: compacted.tokens_after,
            }]
        }
        Body::Compacted(compacted) => vec![EventKind::ContextCompacted {
            trigger: compacted.trigger,
            stage: compacted.stage,
            tokens_before: compacted.tokens_before,
            tokens_after: compacted.tokens_after,
            to: compacted.archive.map(|archive| archive.to),
            cut: compacted.cut.len() as u64,
            failed: compacted.failed.clone(),
        }],
        Body::CompactionMissed { trigger, why } => {
            let message = format!("nothing was compacted ({}): {why}", trigger.word());
            vec![EventKind::Warning { code: "compaction".into(), message }]
        }
        Body::HookIntent(intent) => vec![EventKind::HookAsking {
            event: intent.event,
            key: intent.key.clone(),
            route: intent.asks.route.clone(),
        }],
        Body::HookRan(ran) => {
            let hooks = EventKind::HookRan {
                event: ran.event,
                key: ran.key.clone(),
                call_id: ran.tool.as_ref().map(|key| state.call(key).0),
                says: ran.says.clone(),
                hooks: ran.hooks.clone(),
            };
            std::iter::once(hooks).chain(usage(folded)).collect()
        }
        Body::Rewound(rewound) => vec![EventKind::SessionRewound {
            to: rewound.to,
            files: rewound.files.map(|manifest| manifest.to_string()),
            conversation: rewound.conversation,
            by: rewound.by.clone(),
        }],
    }
}

fn memory(change: &MemoryChange) -> EventKind {
    let of = |id: &String| MemoryRef { id: id.clone(), name: None, scope: None };
    let named = |id: &String, name: &String, scope: MemoryScope| MemoryRef {
        id: id.clone(),
        name: Some(name.clone()),
        scope: Some(scope),
    };
    let (change, notes) = match change {
        MemoryChange::Kept(note) => (MemoryWord::Kept, vec![named(&note.id, &note.name, note.scope)]),
        MemoryChange::Forgotten { ids, .. } => (MemoryWord::Forgotten, ids.iter().map(of).collect()),
        MemoryChange::Used { ids } => (MemoryWord::Used, ids.iter().map(of).collect()),
        MemoryChange::Recalled { notes } => {
            let notes = notes.iter().map(|note| named(&note.id, &note.name, note.scope));
            (MemoryWord::Recalled, notes.collect())
        }
    };
    EventKind::MemoryChanged { change, notes }
}

fn child_started(call_id: String, turn: &ChildTurn, background: bool) -> EventKind {
    EventKind::ChildStarted {
        call_id,
        child: turn.session.clone(),
        input: turn.input,
        agent: turn.agent.clone(),
        task: turn.task.clone(),
        background,
    }
}

fn child_ended(end: &ChildEnd) -> EventKind {
    let cost = end.spent.iter().try_fold(0u64, |sum, spent| Some(sum.saturating_add(spent.cost?)));
    EventKind::ChildEnded {
        child: end.session.clone(),
        input: end.input,
        outcome: if end.stop.is_some() { "stopped" } else { "finished" },
        stop: end.stop,
        steps: end.steps,
        cost: dollars(cost),
    }
}

/// Tells a person that what they wrote was not kept as they wrote it.
fn secrets_notice(text: &str) -> Option<EventKind> {
    let mut names: Vec<&str> = placeholders(text).map(|(_, placeholder)| placeholder).collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| {
        let message =
            format!("secrets in your input are neither kept nor sent; they became {}", names.join(", "));
        EventKind::Warning { code: "secret_redacted".into(), message }
    })
}

fn model_started(state: &StepState, attempt: u32) -> EventKind {
    let route =
        state.route.clone().unwrap_or_else(|| Route { provider: String::new(), model: String::new() });
    EventKind::ModelStarted { route, attempt, request: state.request.0.clone(), bytes: state.request.1 }
}

fn model_ended(folded: &Folded, model: &ModelOutcome) -> Vec<EventKind> {
    let reasoning = model
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Reasoning(reasoning) => Some(reasoning.text.as_str()),
            Part::Text(_) | Part::ToolCall(_) | Part::Opaque(_) => None,
        })
        .collect();
    let mut kinds = vec![EventKind::ModelEnded {
        text: answer_text(&model.parts),
        reasoning,
        stop: Some(model.stop),
        error: None,
        partial: model.partial,
        duration_ms: model.duration_ms,
    }];
    kinds.extend(usage(folded));
    let calls = calls_of(model);
    if calls.is_empty() {
        kinds.push(EventKind::StepEnded {});
    }
    kinds.extend(calls.into_iter().map(|call| EventKind::ToolProposed {
        call_id: call.id,
        name: call.name,
        arguments: call.arguments,
    }));
    kinds
}

fn model_failed(folded: &Folded, failure: &ProviderFailure) -> Vec<EventKind> {
    let error = ErrorRef { class: failure.class, status: failure.status, message: failure.message.clone() };
    let mut kinds = vec![EventKind::ModelEnded {
        text: String::new(),
        reasoning: String::new(),
        stop: None,
        error: Some(error),
        partial: false,
        duration_ms: 0,
    }];
    kinds.extend(usage(folded));
    kinds.push(EventKind::StepEnded {});
    kinds
}

fn tool_ended(folded: &Folded, record: &Record, key: &EffectKey, result: &ToolOutcome) -> Vec<EventKind> {
    let state = &folded.steps;
    let (call_id, name) = state.call(key);
    let mut kinds = Vec::with_capacity(4);
    let shown = state.started.get(key.ordinal as usize).copied().unwrap_or(true);
    if !shown && result.status.ran() {
        let (call_id, name, at_ms) = (call_id.clone(), name.clone(), result.started_at);
        kinds.push(EventKind::ToolStarted { call_id, name, attempt: 1, at_ms });
    }
    let exit_code = result.facts.iter().find_map(|fact| match fact {
        Fact::Command { exit_code, .. } => *exit_code,
        Fact::FileRead { .. }
        | Fact::FileWritten { .. }
        | Fact::FileRemoved { .. }
        | Fact::Todo(_)
        | Fact::Child(_)
        | Fact::ChildClosed(_)
        | Fact::ToolsFound { .. }
        | Fact::Continued(_)
        | Fact::Goal(_) => None,
    });
    let children: Vec<EventKind> = result
        .facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Child(child) if child.background => Some(child_started(call_id.clone(), &child.turn, true)),
            _ => None,
        })
        .collect();
    kinds.push(EventKind::ToolEnded {
        call_id,
        name,
        status: result.status,
        output: cut(&result.view, EVENT_OUTPUT_BYTES),
        reference: format!("{}:{}", key.session, record.seq),
        bytes: result.full.as_ref().map_or(result.view.len() as u64, |full| full.bytes),
        exit_code,
        duration_ms: result.duration_ms,
        origin: result.untrusted.as_ref().map(|untrusted| untrusted.origin.clone()),
    });
    kinds.extend(children);
    kinds.extend(result.untrusted.as_ref().filter(|untrusted| !untrusted.flags.is_empty()).map(
        |untrusted| {
            let (origin, flags) = (&untrusted.origin, untrusted.flags.join(", "));
            let message =
                format!("text from {origin} looks as if it gives orders ({flags}); it is only flagged");
            EventKind::Warning { code: "injection".into(), message }
        },
    ));
    if result.facts.iter().any(|fact| matches!(fact, Fact::Todo(_))) {
        kinds.push(todo(folded));
    }
    if result.facts.iter().any(|fact| matches!(fact, Fact::Goal(_))) {
        kinds.push(goal(folded));
    }
    if state.open == 0 {
        kinds.push(EventKind::StepEnded {});
    }
    kinds
}

fn goal(folded: &Folded) -> EventKind {
    let held = folded.world.goal.held();
    EventKind::GoalChanged {
        objective: held.map(|held| held.goal.objective.clone()),
        status: held.map(|held| held.status),
        why: held.map(|held| held.why.clone()).unwrap_or_default(),
        token_budget: held.and_then(|held| held.goal.token_budget),
        tokens: held.map_or(0, |held| held.tokens),
    }
}

fn todo(folded: &Folded) -> EventKind {
    EventKind::TodoChanged { items: folded.world.todos.values().cloned().collect() }
}

/// The ledger rows of the last record. Attempts that used nothing up have none to show, and children show their own.
fn usage(folded: &Folded) -> impl Iterator<Item = EventKind> + '_ {
    let rows = folded.ledger.last().iter().filter(|row| row.source != Source::Child);
    let used = rows.filter(|row| row.billed.usage.total() > 0 || row.billed.estimated);
    used.map(|row| EventKind::Usage {
        source: row.source.word(),
        route: row.route.clone(),
        usage: row.billed.usage,
        cost: dollars(row.billed.cost),
        estimated: row.billed.estimated,
    })
}

fn calls_of(model: &ModelOutcome) -> Vec<ToolCall> {
    if model.partial {
        return Vec::new();
    }
    let call = |part: &Part| match part {
        Part::ToolCall(call) => Some(call.clone()),
        Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
    };
    model.parts.iter().filter_map(call).collect()
}

/// The first `max` bytes, at a character border.
fn cut(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
