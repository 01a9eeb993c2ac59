//! A random world for the turn machine: it answers whatever the machine asks for, and does foreign things between.
//! The choices are bytes, so a failing case shrinks; without bytes left every choice is the one that ends the turn
//! soonest. Pure: other crates' tests include this file by its path.

#![allow(dead_code, clippy::unwrap_used)]

use sterna_model::*;
use sterna_turn::{Next, TurnMachine};

/// Choices, one byte each; 0 when there are no more.
pub struct Dice<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Dice<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u8) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte % n
    }

    pub fn done(&self) -> bool {
        self.at >= self.bytes.len()
    }
}

/// What happened, and the machine that asked for it.
pub struct RandomWorld<'a> {
    pub records: Vec<Record>,
    pub machine: TurnMachine,
    dice: Dice<'a>,
    names: u32,
}

/// A valid log, from the opening to an idle session.
pub fn random_log(bytes: &[u8]) -> Vec<Record> {
    let mut world =
        RandomWorld { records: Vec::new(), machine: TurnMachine::new(), dice: Dice::new(bytes), names: 0 };
    world.live();
    world.records
}

pub const SESSION: &str = "s";

pub fn route() -> Route {
    "test/model".parse().unwrap()
}

pub fn opened(id: &str, parent: Option<Parent>) -> Body {
    Body::SessionOpened(SessionOpened {
        id: SessionId::new(id).unwrap(),
        parent,
        root: "/w".into(),
        cwd: "/w".into(),
        route: route(),
        mode: Mode::Execute,
        sterna: "0".into(),
        spawned: None,
    })
}

pub fn input(text: &str, delivery: Delivery) -> Body {
    let parts = vec![InputPart::Text(text.into())];
    Body::InputAccepted(InputAccepted {
        key: None,
        delivery,
        parts,
        origin: "test".into(),
        given: None,
        ended: None,
        compact: None,
        tainted: Vec::new(),
    })
}

pub fn started(inputs: Vec<Seq>, limits: Limits, on_ask: OnAsk) -> Body {
    let given = Given { limits, on_ask, ..Given::new(route(), "/w") };
    Body::TurnStarted(Box::new(TurnStarted { inputs, given, now: 1_000 }))
}

pub fn model_intent(call: &CallModel) -> Body {
    Body::Intent(Box::new(Intent {
        key: call.key.clone(),
        class: EffectClass::Idempotent,
        attempt: 1,
        what: Intended::Model(ModelIntent {
            route: route(),
            transition: call.transition,
            inputs: call.inputs.clone(),
            history: Vec::new(),
            manifest: Digest::ZERO,
            tools_off: call.tools_off,
            max_output: 100,
            encoder: "test/1".into(),
            request: Digest::ZERO,
            bytes: 400,
            prefix: None,
            prefix_broken: Vec::new(),
            left_out: 0,
            schema_native: false,
            files: None,
            thinking: None,
        }),
    }))
}

pub fn tool_intent(key: &EffectKey, class: EffectClass, attempt: u32) -> Body {
    let what = Intended::Tool(tool_intended(key));
    Body::Intent(Box::new(Intent { key: key.clone(), class, attempt, what }))
}

pub fn undo_intent(key: &EffectKey, attempt: u32) -> Body {
    let (class, what) = (EffectClass::Compensable, Intended::Undo(tool_intended(key)));
    Body::Intent(Box::new(Intent { key: key.clone(), class, attempt, what }))
}

fn tool_intended(key: &EffectKey) -> ToolIntent {
    ToolIntent {
        call_id: format!("id{}", key.ordinal),
        name: "tool".into(),
        input: Digest::ZERO,
        sandbox: "none".into(),
    }
}

pub fn billed(tokens: u64) -> Billed {
    let usage = Usage { input_uncached: tokens, output: tokens, ..Usage::default() };
    Billed { usage, cost: Some(tokens * 10), ..Billed::default() }
}

pub fn failure(class: ErrorClass, tokens: u64) -> ProviderFailure {
    ProviderFailure {
        class,
        status: None,
        message: "no".into(),
        retry_after_ms: None,
        billed: if tokens == 0 { Billed::default() } else { billed(tokens) },
    }
}

pub fn attempt(key: &EffectKey, n: u32, class: ErrorClass, retry_at: Option<Millis>) -> Body {
    Body::Attempt(Box::new(Attempt {
        key: key.clone(),
        attempt: n,
        route: route(),
        failure: failure(class, 1),
        wait_ms: 10,
        retry_at,
    }))
}

pub fn answered(key: &EffectKey, parts: Vec<Part>, classes: Vec<EffectClass>, stop: ModelStop) -> Body {
    let partial = stop == ModelStop::Cancelled;
    let model =
        ModelOutcome { parts, stop, classes, billed: billed(5), partial, duration_ms: 1, checked: None };
    outcome(key, EffectResult::Model(model))
}

pub fn outcome(key: &EffectKey, result: EffectResult) -> Body {
    Body::Outcome(Box::new(Outcome { key: key.clone(), attempt: 1, result }))
}

pub fn tool_outcome(key: &EffectKey, status: ToolStatus, view: &str) -> Body {
    let facts = Vec::new();
    let result = ToolOutcome {
        status,
        view: view.into(),
        full: None,
        facts,
        started_at: 1,
        duration_ms: 1,
        untrusted: None,
        attachments: Vec::new(),
    };
    outcome(key, EffectResult::Tool(result))
}

pub fn wait_opened(key: &EffectKey, question: bool) -> Body {
    let on = if question {
        let options = vec![Choice { label: "yes".into(), description: String::new(), preview: None }];
        WaitOn::Questions(vec![Question { question: "?".into(), header: "h".into(), options, multi: false }])
    } else {
        WaitOn::Approval(Approval {
            tool: "tool".into(),
            summary: "tool".into(),
            reason: "asks".into(),
            rule: None,
            source: None,
            preview: None,
            content: Digest::ZERO,
            effects: None,
            untrusted: Vec::new(),
        })
    };
    Body::WaitOpened(Box::new(WaitOpened {
        wait: key.to_string(),
        key: key.clone(),
        on,
        deadline: None,
        answered: false,
    }))
}

pub fn call(id: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: id.into(),
        name: "tool".into(),
        arguments: arguments.into(),
        truncated: false,
    })
}

pub fn committed(outcome: TurnOutcome) -> Body {
    let usage = Usage::default();
    Body::TurnCommitted(Box::new(TurnCommitted { outcome, steps: 1, usage, cost: Some(0) }))
}

impl RandomWorld<'_> {
    fn live(&mut self) {
        self.push(opened(SESSION, None));
        self.push(input("go", Delivery::NextTurn));
        for _ in 0..400 {
            if !self.dice.done() && self.dice.below(5) == 1 {
                self.foreign();
            }
            match self.machine.next() {
                Next::Idle if self.dice.done() => return,
                Next::Idle => {
                    let delivery = self.delivery();
                    let text = self.name("input");
                    self.push(input(&text, delivery));
                }
                Next::Start { turn, inputs } => {
                    let (limits, on_ask) = (self.limits(), self.on_ask());
                    self.push_at(Some(turn), started(inputs, limits, on_ask));
                }
                Next::Effects(effects) => {
                    let n = self.dice.below(effects.len().min(200) as u8) as usize;
                    match &effects[n] {
                        Effect::CallModel(call) => self.model(call),
                        Effect::CallTool(call) => self.tool(call),
                        Effect::Compact(wanted) => {
                            let (trigger, why) = (wanted.trigger, "nothing is left".into());
                            self.push(Body::CompactionMissed { trigger, why });
                        }
                    }
                }
                Next::Wait(waits) => {
                    let n = self.dice.below(waits.len() as u8) as usize;
                    let ruling = match self.dice.below(4) {
                        0 => Ruling::Allow,
                        1 => Ruling::Deny { feedback: "no".into() },
                        2 => Ruling::Answers(vec!["yes".into()]),
                        _ => Ruling::Timeout,
                    };
                    self.push(Body::WaitResolved {
                        wait: waits[n].clone(),
                        ruling,
                        by: "p".into(),
                        early: false,
                    });
                }
                Next::Done(outcome) => self.push(committed(outcome)),
            }
        }
        panic!("the world does not come to its end:\n{:#?}", self.records);
    }

    fn foreign(&mut self) {
        let turn = self.machine.turn().map(|turn| turn.number);
        let first = self.machine.waiting().next().map(|(seq, _)| seq);
        match self.dice.below(9) {
            0..=2 => {
                let delivery = self.delivery();
                let text = self.name("steer");
                self.push(input(&text, delivery));
            }
            3 => {
                if let Some(seq) = first {
                    self.push(Body::InputWithdrawn { inputs: vec![seq], by: "p".into() });
                }
            }
            4 => {
                let parts = vec![InputPart::Text(self.name("edited"))];
                if let Some(seq) = first {
                    self.push(Body::InputEdited { input: seq, parts, by: "p".into() });
                }
            }
            5 => {
                // Also one that comes too late.
                let turn = turn.unwrap_or(1);
                let (request, by, reason) = ("r".into(), "p".into(), "enough".into());
                self.push(Body::CancelRequested { turn, request, by, reason });
            }
            6 => {
                if let Some(turn) = turn {
                    self.push(Body::LimitReached { turn, reason: StopReason::Deadline });
                }
            }
            7 => self.push(Body::ModeChanged { mode: Mode::Plan, by: "p".into() }),
            _ => {
                let (wait, ruling) = ("nobody/waits".into(), Ruling::Allow);
                self.push(Body::WaitResolved { wait, ruling, by: "p".into(), early: false });
            }
        }
    }

    fn model(&mut self, wanted: &CallModel) {
        let key = &wanted.key;
        if wanted.intent.is_none() {
            return self.push(model_intent(wanted));
        }
        let end_turn = ModelStop::EndTurn;
        match self.dice.below(12) {
            1 | 2 if wanted.attempt < 4 => {
                let class =
                    if self.dice.below(2) == 0 { ErrorClass::RateLimit } else { ErrorClass::Interrupted };
                self.push(attempt(key, wanted.attempt, class, Some(2_000)));
            }
            3 => {
                let failed = EffectResult::ModelFailed(failure(ErrorClass::Auth, 0));
                self.push(outcome(key, failed));
            }
            4 => self.push(answered(key, vec![], vec![], end_turn)),
            5 => self.push(answered(key, vec![Part::Text("cut".into())], vec![], ModelStop::MaxOutput)),
            6 if self.machine.turn().is_some_and(|turn| turn.is_ending()) => {
                self.push(answered(key, vec![Part::Text("so far".into())], vec![], ModelStop::Cancelled));
            }
            7..=11 => {
                let n = 1 + self.dice.below(4);
                let mut parts = vec![];
                if self.dice.below(2) == 1 {
                    parts.push(Part::Text("I call".into()));
                }
                let mut classes = Vec::new();
                for _ in 0..n {
                    let id = if self.dice.below(4) == 0 { "same".into() } else { self.name("call") };
                    let id = format!("{id}-{}", classes.len());
                    let arguments = ["{}", "{\"a\":1}", "{broken"][self.dice.below(3) as usize];
                    parts.push(call(&id, arguments));
                    let class = [
                        EffectClass::AtMostOnce,
                        EffectClass::Pure,
                        EffectClass::Idempotent,
                        EffectClass::Compensable,
                    ];
                    classes.push(class[self.dice.below(4) as usize]);
                }
                self.push(answered(key, parts, classes, ModelStop::ToolCalls));
            }
            _ => self.push(answered(key, vec![Part::Text("done".into())], vec![], end_turn)),
        }
    }

    fn tool(&mut self, wanted: &CallTool) {
        let key = &wanted.key;
        if let Some(closed) = wanted.closed {
            let status = match closed {
                Closed::Cancelled => ToolStatus::Cancelled,
                Closed::ToolsOff => ToolStatus::NotAvailable,
            };
            return self.push(tool_outcome(key, status, "closed"));
        }
        if wanted.doubt_answered {
            return match &wanted.ruling {
                Some(
                    Ruling::Allow
                    | Ruling::Answers(_)
                    | Ruling::Edited(_)
                    | Ruling::Plan { .. }
                    | Ruling::Ended(_)
                    | Ruling::Signal(_),
                )
                | None => {
                    self.push(tool_intent(key, wanted.class, wanted.started + 1));
                }
                Some(Ruling::Deny { .. } | Ruling::Timeout) => {
                    self.push(tool_outcome(key, ToolStatus::OutcomeUnknown, "unknown"));
                }
            };
        }
        match &wanted.ruling {
            Some(Ruling::Deny { .. }) => return self.push(tool_outcome(key, ToolStatus::Denied, "no")),
            Some(Ruling::Timeout) => return self.push(tool_outcome(key, ToolStatus::Timeout, "late")),
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
        if wanted.started == 0 {
            match self.dice.below(6) {
                1 => return self.push(tool_outcome(key, ToolStatus::Denied, "no")),
                2 if wanted.ruling.is_none() => {
                    let question = self.dice.below(2) == 1;
                    return self.push(wait_opened(key, question));
                }
                3 => return self.push(tool_outcome(key, ToolStatus::InvalidArguments, "bad")),
                _ if wanted.class != EffectClass::Pure => {
                    return self.push(tool_intent(key, wanted.class, 1));
                }
                _ => {}
            }
        } else if wanted.started < 3 && self.dice.below(4) == 1 {
            if wanted.class == EffectClass::Compensable && !wanted.undoing {
                return self.push(undo_intent(key, wanted.started));
            }
            let resolution = match self.dice.below(4) {
                0 => InDoubtPolicy::Report,
                1 => InDoubtPolicy::Rerun,
                2 => InDoubtPolicy::Ask,
                _ => InDoubtPolicy::Stop,
            };
            self.push(Body::InDoubt { key: key.clone(), resolution });
            return match resolution {
                InDoubtPolicy::Rerun => self.push(tool_intent(key, wanted.class, wanted.started + 1)),
                InDoubtPolicy::Ask => self.push(wait_opened(key, false)),
                InDoubtPolicy::Report | InDoubtPolicy::Stop => {
                    self.push(tool_outcome(key, ToolStatus::OutcomeUnknown, "unknown"));
                }
            };
        }
        let view = if self.dice.below(3) == 0 { "the same".into() } else { self.name("news") };
        self.push(tool_outcome(key, ToolStatus::Ok, &view));
    }

    fn limits(&mut self) -> Limits {
        let mut limits = Limits { max_steps: 6, ..Limits::default() };
        match self.dice.below(8) {
            1 => limits.max_steps = 1,
            2 => limits.max_parallel_tools = 1,
            3 => limits.no_progress_steps = 3,
            4 => limits.max_consecutive_denials = 1,
            5 => limits.max_tokens = Some(25),
            6 => limits.max_cost = Some(120),
            7 => limits.max_output_continuations = 0,
            _ => {}
        }
        limits
    }

    fn on_ask(&mut self) -> OnAsk {
        [OnAsk::Deny, OnAsk::Prompt, OnAsk::Fail, OnAsk::Park][self.dice.below(4) as usize]
    }

    fn delivery(&mut self) -> Delivery {
        [Delivery::NextTurn, Delivery::AfterWork, Delivery::BeforeCompletion][self.dice.below(3) as usize]
    }

    fn name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}{}", self.names)
    }

    fn push(&mut self, body: Body) {
        self.push_at(self.machine.turn().map(|turn| turn.number), body);
    }

    fn push_at(&mut self, turn: Option<TurnNo>, body: Body) {
        let record = record(self.machine.head() + 1, turn, body);
        self.machine.apply(&record).unwrap_or_else(|e| panic!("{e}: {record:?}\n{:#?}", self.records));
        self.records.push(record);
    }
}

/// A record with the step that its body names.
pub fn record(seq: Seq, turn: Option<TurnNo>, body: Body) -> Record {
    let step = match &body {
        Body::Intent(intent) => Some(intent.key.step),
        Body::Attempt(attempt) => Some(attempt.key.step),
        Body::Outcome(outcome) => Some(outcome.key.step),
        Body::WaitOpened(opened) => Some(opened.key.step),
        Body::InDoubt { key, .. } => Some(key.step),
        _ => None,
    };
    Draft { at: 1_000 + seq, turn, step, body }.at_seq(seq)
}
