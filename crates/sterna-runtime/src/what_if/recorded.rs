//! What a session's log says happened after a point: its turns, their model calls, and what its tools answered.

use sterna_log::SharedLog;
use sterna_model::{
    Body, Delivery, Digest, EffectKind, EffectResult, InputPart, Intended, Judgement, ModelIntent,
    ModelOutcome, Part, Record, Seq, SessionId, Summary, ToolCall, ToolOutcome, TurnNo, TurnOutcome,
    TurnStarted,
};

use crate::state::for_each_record;
use crate::{RuntimeError, State};

/// A session's history, and what is to be lived again.
pub(super) struct Recorded {
    /// All records of shared history and of the session's own log, in order.
    pub records: Vec<(SessionId, Record)>,
    /// The last record that is kept: where the new run begins.
    pub from: Seq,
    /// Whether a turn runs at `from`.
    pub in_turn: Option<TurnNo>,
    /// Turns that run at `from` or start after it.
    pub turns: Vec<RecordedTurn>,
    /// Model calls after `from` that ended, in order.
    pub steps: Vec<RecordedStep>,
    /// Requests for summaries and to classifiers after `from`, by their hash, and what came back.
    pub summaries: Vec<(Digest, Summary)>,
    /// Inputs that came after `from` and entered a turn that was running.
    pub steered: Vec<Steered>,
    pub head: Seq,
}

/// A turn of the log.
pub(super) struct RecordedTurn {
    pub number: TurnNo,
    pub at: u64,
    pub started: TurnStarted,
    /// The prompt that its first model call was sent with.
    pub intent: Option<ModelIntent>,
    pub outcome: Option<TurnOutcome>,
}

/// A model call with all that it asked for.
#[derive(Clone)]
pub(super) struct RecordedStep {
    pub turn: TurnNo,
    pub step: u32,
    pub intent: Option<ModelIntent>,
    /// The record of its intent.
    pub asked: Seq,
    /// The record of its outcome.
    pub seq: Seq,
    pub outcome: ModelOutcome,
    /// What its calls were answered, in the order of the calls.
    pub tools: Vec<Option<ToolOutcome>>,
}

/// An input that was accepted while a turn ran.
#[derive(Clone)]
pub(super) struct Steered {
    pub seq: Seq,
    pub delivery: Delivery,
    pub parts: Vec<InputPart>,
    pub tainted: Vec<String>,
}

impl RecordedStep {
    pub fn calls(&self) -> Vec<&ToolCall> {
        calls(&self.outcome.parts)
    }
}

/// The calls of an answer, in order.
pub(super) fn calls(parts: &[Part]) -> Vec<&ToolCall> {
    fn call(part: &Part) -> Option<&ToolCall> {
        match part {
            Part::ToolCall(call) => Some(call),
            Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
        }
    }
    parts.iter().filter_map(call).collect()
}

impl Recorded {
    /// Reads a session. `asked`: the last record that counts; moved back to where no effect was in flight, and on over
    /// the end of a turn of which nothing else is left.
    pub async fn read(log: &SharedLog, session: &SessionId, asked: Seq) -> Result<Self, RuntimeError> {
        let mut records: Vec<(SessionId, Record)> = Vec::new();
        let read = for_each_record(log, session, |owner, sealed| {
            records.push((owner.clone(), sealed.record));
            Ok(())
        });
        read.await?;
        let own = |(owner, _): &&(SessionId, Record)| owner == session;
        let head = records.iter().filter(own).map(|(_, record)| record.seq).max().unwrap_or(0);
        if asked == 0 || asked > head {
            return Err(RuntimeError::NoRecord { session: session.clone(), seq: asked, head });
        }
        let mut from = settled(records.iter().filter(own).map(|(_, record)| record), asked);
        // A turn of which nothing but its end is left is over.
        let committed = |(_, record): &&(SessionId, Record)| {
            record.seq == from + 1 && matches!(record.body, Body::TurnCommitted(_))
        };
        if records.iter().filter(own).any(|found| committed(&found)) {
            from += 1;
        }
        let mut state = State::default();
        for (owner, record) in &records {
            if owner != session || record.seq <= from {
                state.apply_of(owner == session, owner, record)?;
            }
        }
        let in_turn = state.machine.turn().map(|turn| turn.number);
        let own: Vec<&Record> = records.iter().filter(own).map(|(_, record)| record).collect();
        let (turns, steps) = (turns(&own, from, in_turn), steps(&own, from, in_turn));
        let steered = steered(&own, from);
        let summaries = summaries(&own, from);
        Ok(Self { from, in_turn, turns, steps, summaries, steered, head, records })
    }

    /// What an input that asks for a compaction wants kept; `None` for any other.
    pub fn asked_to_compact(&self, session: &SessionId, seq: Seq) -> Option<String> {
        self.records.iter().filter(|(owner, _)| owner == session).find_map(|(_, record)| match &record.body {
            Body::InputAccepted(input) if record.seq == seq => input.compact.clone(),
            _ => None,
        })
    }

    /// The text of an input, as it was when it was last edited.
    pub fn input(&self, session: &SessionId, seq: Seq) -> Option<Vec<InputPart>> {
        let mut found = None;
        for (_, record) in self.records.iter().filter(|(owner, _)| owner == session) {
            match &record.body {
                Body::InputAccepted(input) if record.seq == seq => found = Some(input.parts.clone()),
                Body::InputEdited { input, parts, .. } if *input == seq => found = Some(parts.clone()),
                _ => {}
            }
        }
        found
    }
}

/// The last record up to `asked` at which nothing was in flight: no model call, and no answer whose calls are not all
/// answered.
fn settled<'a>(records: impl Iterator<Item = &'a Record>, asked: Seq) -> Seq {
    let (mut settled, mut model, mut open) = (0, false, 0usize);
    for record in records.take_while(|record| record.seq <= asked) {
        match &record.body {
            Body::Intent(intent) => model |= matches!(intent.what, Intended::Model(_)),
            Body::Outcome(outcome) => match &outcome.result {
                EffectResult::Model(answer) => (model, open) = (false, calls(&answer.parts).len()),
                EffectResult::ModelFailed(_) => model = false,
                // The intent of a summary is no step: it is asked for again.
                EffectResult::Summary(_) | EffectResult::Judged(_) => {}
                EffectResult::Tool(_) => open = open.saturating_sub(1),
            },
            Body::TurnCommitted(_) | Body::Rewound(_) => (model, open) = (false, 0),
            _ => {}
        }
        if !model && open == 0 {
            settled = record.seq;
        }
    }
    settled
}

fn turns(records: &[&Record], from: Seq, in_turn: Option<TurnNo>) -> Vec<RecordedTurn> {
    let mut turns: Vec<RecordedTurn> = Vec::new();
    for record in records {
        match &record.body {
            Body::TurnStarted(started) if record.seq > from || record.turn == in_turn => {
                turns.push(RecordedTurn {
                    number: record.turn.unwrap_or(0),
                    at: record.at,
                    started: TurnStarted::clone(started),
                    intent: None,
                    outcome: None,
                });
            }
            Body::Intent(intent) => {
                let last = turns.last_mut().filter(|turn| record.turn == Some(turn.number));
                if let (Some(turn), Intended::Model(model)) = (last, &intent.what)
                    && turn.intent.is_none()
                {
                    turn.intent = Some(model.clone());
                }
            }
            Body::TurnCommitted(committed) => {
                if let Some(turn) = turns.last_mut().filter(|turn| record.turn == Some(turn.number)) {
                    turn.outcome = Some(committed.outcome.clone());
                }
            }
            _ => {}
        }
    }
    turns
}

fn steps(records: &[&Record], from: Seq, in_turn: Option<TurnNo>) -> Vec<RecordedStep> {
    let mut steps: Vec<RecordedStep> = Vec::new();
    let mut intents = std::collections::HashMap::new();
    for record in records.iter().filter(|record| record.seq > from || record.turn == in_turn) {
        match &record.body {
            Body::Intent(intent) => {
                if let Intended::Model(model) = &intent.what {
                    intents.insert(intent.key.clone(), (model.clone(), record.seq));
                }
            }
            Body::Outcome(outcome) if record.seq > from => match &outcome.result {
                EffectResult::Model(answer) => {
                    let (intent, asked) = intents.remove(&outcome.key).unzip();
                    steps.push(RecordedStep {
                        turn: outcome.key.turn,
                        step: outcome.key.step,
                        intent,
                        asked: asked.unwrap_or(record.seq),
                        seq: record.seq,
                        tools: vec![None; calls(&answer.parts).len()],
                        outcome: answer.clone(),
                    });
                }
                EffectResult::ModelFailed(_) | EffectResult::Summary(_) | EffectResult::Judged(_) => {}
                EffectResult::Tool(result) => {
                    let (turn, step) = (outcome.key.turn, outcome.key.step);
                    let of = steps.iter_mut().rev().find(|known| (known.turn, known.step) == (turn, step));
                    let slot = of.and_then(|known| known.tools.get_mut(outcome.key.ordinal as usize));
                    if let (Some(slot), EffectKind::Tool) = (slot, outcome.key.kind) {
                        *slot = Some(result.clone());
                    }
                }
            },
            _ => {}
        }
    }
    steps
}

fn summaries(records: &[&Record], from: Seq) -> Vec<(Digest, Summary)> {
    let mut asked = std::collections::HashMap::new();
    let mut found = Vec::new();
    for record in records.iter().filter(|record| record.seq > from) {
        match &record.body {
            Body::Intent(intent) => match &intent.what {
                Intended::Compact(compact) => {
                    asked.insert(intent.key.clone(), compact.model.request);
                }
                Intended::Judge(judge) => {
                    asked.insert(intent.key.clone(), judge.request);
                }
                Intended::Model(_) | Intended::Tool(_) | Intended::Undo(_) => {}
            },
            Body::Outcome(outcome) => {
                let said = match &outcome.result {
                    EffectResult::Summary(summary) => Some(summary.clone()),
                    EffectResult::Judged(judgement) => Some(answer_of(judgement)),
                    EffectResult::Model(_) | EffectResult::ModelFailed(_) | EffectResult::Tool(_) => None,
                };
                found.extend(said.and_then(|said| Some((asked.remove(&outcome.key)?, said))));
            }
            _ => {}
        }
    }
    found
}

/// What a classifier answered, in the form in which it is read.
fn answer_of(judgement: &Judgement) -> Summary {
    let decision = judgement.says.word();
    Summary {
        text: serde_json::json!({ "decision": decision, "reason": judgement.reason }).to_string(),
        failed: judgement.failed.clone(),
        billed: judgement.billed.clone(),
        duration_ms: judgement.duration_ms,
    }
}

/// Inputs after `from` that a running turn heard.
fn steered(records: &[&Record], from: Seq) -> Vec<Steered> {
    let mut first: std::collections::HashSet<Seq> = std::collections::HashSet::new();
    let mut heard: std::collections::HashSet<Seq> = std::collections::HashSet::new();
    for record in records {
        match &record.body {
            Body::TurnStarted(started) => first.extend(&started.inputs),
            Body::Intent(intent) => match &intent.what {
                Intended::Model(model) => heard.extend(&model.inputs),
                Intended::Tool(_) | Intended::Undo(_) | Intended::Compact(_) | Intended::Judge(_) => {}
            },
            _ => {}
        }
    }
    let late = records.iter().filter(|record| record.seq > from);
    late.filter_map(|record| match &record.body {
        Body::InputAccepted(input) if heard.contains(&record.seq) && !first.contains(&record.seq) => {
            let (delivery, parts, tainted) = (input.delivery, input.parts.clone(), input.tainted.clone());
            Some(Steered { seq: record.seq, delivery, parts, tainted })
        }
        _ => None,
    })
    .collect()
}
