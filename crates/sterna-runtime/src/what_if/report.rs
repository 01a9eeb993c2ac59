//! What a new run is told by: its steps beside those of the record, how each ended, and what they cost.

use serde::{Deserialize, Serialize};
use sterna_model::{
    Billed, Body, EffectKind, EffectResult, Intended, NanoUsd, Part, Record, Route, Seq, StepNo, TurnNo,
    TurnOutcome, Usage,
};

/// A step of the record beside the one that took its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepPair {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<StepSide>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<StepSide>,
    /// Both make the same calls. What they say may differ.
    pub same_calls: bool,
}

/// A model call and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepSide {
    pub turn: TurnNo,
    pub step: StepNo,
    pub model: Route,
    pub text: String,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    pub calls: Vec<CallSide>,
    pub usage: Usage,
    /// Billionths of a US dollar, in JSON US dollars; `None`: not known.
    #[serde(with = "usd")]
    pub cost: Option<NanoUsd>,
    /// The answer, and that of its tools, came from the record: nobody was asked.
    pub from_record: bool,
}

/// A tool call and how it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallSide {
    pub name: String,
    /// JSON text as the model wrote it.
    pub arguments: String,
    /// `ok`, `failed`, `denied` and so on; `None`: it did not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What the model was shown.
    pub view: String,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    pub turn: TurnNo,
    /// `finished`, the name of the stop, or `interrupted`.
    pub outcome: String,
    /// The last words, or the reason.
    pub message: String,
}

/// What model calls cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub calls: u64,
    pub usage: Usage,
    /// Billionths of a US dollar, in JSON US dollars; `None`: the price of a call is not known.
    #[serde(with = "usd")]
    pub cost: Option<NanoUsd>,
}

/// One side of a comparison: what a log says after a record.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub steps: Vec<StepSide>,
    pub endings: Vec<Ending>,
    pub cost: Cost,
}

impl Side {
    /// Folds the records of one log after `from`. `route`: that of a turn which began before.
    pub fn of<'a>(records: impl Iterator<Item = &'a Record>, from: Seq) -> Self {
        let mut side = Self { cost: Cost { cost: Some(0), ..Cost::default() }, ..Self::default() };
        let mut routes = std::collections::HashMap::new();
        let mut running = None;
        for record in records {
            match &record.body {
                Body::TurnStarted(_) => running = record.turn,
                Body::Intent(intent) => {
                    if let Intended::Model(model) = &intent.what {
                        routes.insert(intent.key.clone(), model.route.clone());
                    }
                }
                Body::Attempt(attempt) if record.seq > from => {
                    side.cost.add(&attempt.failure.billed.usage, attempt.failure.billed.cost);
                }
                Body::HookRan(ran) if record.seq > from => {
                    ran.asked.iter().for_each(|asked| side.cost.add(&asked.billed.usage, asked.billed.cost));
                }
                Body::Outcome(outcome) if record.seq > from => {
                    let key = &outcome.key;
                    let step = |model, billed: &Billed| StepSide {
                        turn: key.turn,
                        step: key.step,
                        model,
                        text: String::new(),
                        failure: None,
                        calls: Vec::new(),
                        usage: billed.usage,
                        cost: billed.cost,
                        from_record: false,
                    };
                    match &outcome.result {
                        EffectResult::Model(answer) => {
                            side.cost.add(&answer.billed.usage, answer.billed.cost);
                            let (text, calls) = said(&answer.parts);
                            let model = routes.remove(key);
                            let told =
                                model.map(|model| StepSide { text, calls, ..step(model, &answer.billed) });
                            side.steps.extend(told);
                        }
                        EffectResult::Summary(summary) => {
                            side.cost.add(&summary.billed.usage, summary.billed.cost);
                        }
                        EffectResult::Judged(judgement) => {
                            side.cost.add(&judgement.billed.usage, judgement.billed.cost);
                        }
                        EffectResult::ModelFailed(failure) => {
                            let why = Some(format!("{}: {}", failure.class.word(), failure.message));
                            let model = routes.remove(key);
                            let told = model
                                .map(|model| StepSide { failure: why, ..step(model, &Billed::default()) });
                            side.steps.extend(told);
                        }
                        EffectResult::Tool(result) => {
                            let at = (key.turn, key.step);
                            let step = side.steps.iter_mut().rev().find(|step| (step.turn, step.step) == at);
                            let call = step.and_then(|step| step.calls.get_mut(key.ordinal as usize));
                            if let (Some(call), EffectKind::Tool) = (call, key.kind) {
                                call.status = Some(result.status.word().to_owned());
                                call.view.clone_from(&result.view);
                            }
                        }
                    }
                }
                Body::TurnCommitted(committed) => {
                    running = None;
                    if record.seq > from {
                        side.endings.push(Ending::of(record.turn.unwrap_or(0), &committed.outcome));
                    }
                }
                _ => {}
            }
        }
        if let Some(turn) = running {
            let message = "the turn was not brought to its end".to_owned();
            side.endings.push(Ending { turn, outcome: "interrupted".into(), message });
        }
        side
    }
}

impl Ending {
    fn of(turn: TurnNo, outcome: &TurnOutcome) -> Self {
        match outcome {
            TurnOutcome::Finished { message, .. } => {
                Self { turn, outcome: "finished".into(), message: message.clone() }
            }
            TurnOutcome::Stopped { reason, detail, .. } => {
                Self { turn, outcome: reason.word().into(), message: detail.clone() }
            }
        }
    }
}

impl Cost {
    pub(super) fn add(&mut self, usage: &Usage, cost: Option<NanoUsd>) {
        self.calls += 1;
        self.usage.add(usage);
        // What used nothing costs nothing, whatever its price.
        let cost = cost.or((usage.total() == 0).then_some(0));
        self.cost = self.cost.zip(cost).map(|(sum, cost)| sum.saturating_add(cost));
    }
}

impl Cost {
    /// What is left when these calls are not counted.
    pub(super) fn without(&self, other: &Self) -> Self {
        let less = |a: u64, b: u64| a.saturating_sub(b);
        let (all, not) = (&self.usage, &other.usage);
        Self {
            calls: less(self.calls, other.calls),
            usage: Usage {
                input_uncached: less(all.input_uncached, not.input_uncached),
                cache_read: less(all.cache_read, not.cache_read),
                cache_write_5m: less(all.cache_write_5m, not.cache_write_5m),
                cache_write_1h: less(all.cache_write_1h, not.cache_write_1h),
                output: less(all.output, not.output),
                reasoning: less(all.reasoning, not.reasoning),
            },
            cost: self.cost.zip(other.cost).map(|(all, not)| less(all, not)),
        }
    }
}

/// The steps of both sides in pairs, by their order.
pub(super) fn pairs(recorded: Vec<StepSide>, new: Vec<StepSide>) -> Vec<StepPair> {
    let (mut recorded, mut new) = (recorded.into_iter(), new.into_iter());
    let mut pairs = Vec::new();
    loop {
        let (old, new) = (recorded.next(), new.next());
        if old.is_none() && new.is_none() {
            return pairs;
        }
        let same_calls = match (&old, &new) {
            (Some(old), Some(new)) => {
                let calls = |side: &StepSide| -> Vec<(String, Option<serde_json::Value>)> {
                    let call =
                        |call: &CallSide| (call.name.clone(), serde_json::from_str(&call.arguments).ok());
                    side.calls.iter().map(call).collect()
                };
                calls(old) == calls(new)
            }
            _ => false,
        };
        pairs.push(StepPair { recorded: old, new, same_calls });
    }
}

fn said(parts: &[Part]) -> (String, Vec<CallSide>) {
    let (mut text, mut calls) = (String::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text(said) => text.push_str(said),
            Part::ToolCall(call) => calls.push(CallSide {
                name: call.name.clone(),
                arguments: call.arguments.clone(),
                status: None,
                view: String::new(),
            }),
            Part::Reasoning(_) | Part::Opaque(_) => {}
        }
    }
    (text, calls)
}

/// Money in JSON as everywhere else: US dollars.
mod usd {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use sterna_model::{NanoUsd, dollars};

    pub fn serialize<S: Serializer>(cost: &Option<NanoUsd>, to: S) -> Result<S::Ok, S::Error> {
        dollars(*cost).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NanoUsd>, D::Error> {
        let cost = Option::<f64>::deserialize(from)?;
        // Back to the billionth that it was; a negative or a huge sum saturates.
        Ok(cost.map(|cost| (cost * 1e9).round() as NanoUsd))
    }
}
