//! The folded state of one session: what the driver, replay and surfaces work on. One way to it: `apply`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sterna_context::{Gauge, Transcript};
use sterna_log::fold::Folded;
use sterna_log::{HistoryCursor, LogError, Sealed, SharedLog, read_history};
use sterna_model::{
    Body, Digest, EffectKind, EffectResult, Given, Intended, Mode, ModelIntent, Part, Record, Seq, SessionId,
    Span, StepNo, SubmittedPlan, TurnNo, TurnStarted, WaitId, WaitOn,
};
use sterna_turn::TurnMachine;

use crate::RuntimeError;
use crate::hooks::HookFold;
use crate::mode::ModeNow;
use crate::outside::Places;
use crate::snapshot;

/// Machine, transcript and folds of a session, at the same record. Serialises as a snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    pub machine: TurnMachine,
    pub transcript: Transcript,
    pub folded: Folded,
    /// How much of a window requests fill.
    pub gauge: Gauge,
    /// The first record of the last turn.
    pub turn: Option<Arc<TurnStarted>>,
    /// The prompt that the last turn is sent with, from its first model call on: its manifest.
    pub prompt: Option<Digest>,
    /// The last model call that was intended.
    pub last_call: Option<Arc<ModelIntent>>,
    /// Requests carry less than that call did.
    pub compacted: bool,
    /// Inputs that the last turn took: those it started with, and those that were steered into it.
    pub heard: Vec<Seq>,
    /// The last step before whose first effect the workspace was kept, or could not be.
    pub covered: Option<(TurnNo, StepNo)>,
    /// Where the whole outputs come from that are text of strangers.
    pub strangers: BTreeMap<Digest, String>,
    /// Some result was text of strangers.
    pub heard_strangers: bool,
    /// What the log says of hooks.
    pub(crate) hooks: HookFold,
    /// The last plan that was submitted, and who answered it.
    pub(crate) plan: Option<Submitted>,
    /// The last mode that was not `plan`: a plan that is approved leads back to it.
    pub before_plan: Option<Mode>,
    /// The mode that somebody has switched to since the last turn began.
    pub switched_since: Option<Mode>,
    /// The mode that calls are judged in. Requests are made in that of `turn`, which follows it between two of them.
    pub(crate) mode: ModeNow,
    /// Where the log says what those outside have to know.
    pub(crate) places: Places,
    /// What the turns of waiting inputs are given.
    given: BTreeMap<Seq, Arc<Given>>,
    /// Conversation rewinds of the log that is being folded: their record, and the one they went back to.
    cuts: Vec<(Seq, Seq)>,
    /// Shared history, oldest first: spans of other logs.
    pub lineage: Vec<Span>,
    /// The last record of the session's own log.
    pub head: Seq,
    /// What only a rewind to a record before this one could ask for was forgotten: a snapshot was made here.
    pub(crate) horizon: Seq,
    /// About how many bytes it holds.
    #[serde(skip)]
    pub weight: usize,
    /// How many of them came since the horizon.
    #[serde(skip)]
    pub(crate) fresh: usize,
    /// Bytes of the last snapshot.
    #[serde(skip)]
    pub(crate) snapped: usize,
}

/// A plan that a person was asked about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Submitted {
    pub wait: WaitId,
    pub plan: SubmittedPlan,
    pub by: String,
}

impl State {
    /// Folds a session's log, and the history that it shares: from the last snapshot on where there is one that fits,
    /// else all of it.
    pub async fn load(log: &SharedLog, session: &SessionId) -> Result<Self, RuntimeError> {
        let (state, cursor): (Self, _) = snapshot::begin(log, session).await?;
        match state.fold_rest(log, session, cursor).await {
            Err(RuntimeError::Forgotten { .. }) => Self::load_whole(log, session).await,
            other => other,
        }
    }

    /// Folds a session's whole log, and the history that it shares.
    pub async fn load_whole(log: &SharedLog, session: &SessionId) -> Result<Self, RuntimeError> {
        let cursor = HistoryCursor::open(&**log, session).await?;
        Self::default().fold_rest(log, session, cursor).await
    }

    async fn fold_rest(
        mut self,
        log: &SharedLog,
        session: &SessionId,
        mut cursor: HistoryCursor,
    ) -> Result<Self, RuntimeError> {
        loop {
            let page = cursor.next_page(&**log).await?;
            if page.is_empty() {
                return Ok(self);
            }
            for (owner, sealed) in page {
                self.apply_of(owner == *session, &owner, &sealed.record)?;
            }
        }
    }

    /// Folds one record of the session's own log.
    pub fn apply(&mut self, record: &Record) -> Result<(), RuntimeError> {
        let paths = mismatch(&self.machine, record);
        if let (Some(paths), Some(session)) = (&paths, self.machine.session()) {
            let (session, seq, paths) = (session.id.clone(), record.seq, paths.clone());
            return Err(RuntimeError::ReplayMismatch { session, seq, paths });
        }
        if let Body::Rewound(rewound) = &record.body
            && rewound.conversation
            && rewound.to < self.horizon
        {
            return Err(RuntimeError::Forgotten { to: rewound.to, from: self.horizon });
        }
        if let Err(wrong) = self.machine.apply(record) {
            let session = self.machine.session().map(|s| s.id.clone());
            let session = session.or_else(|| SessionId::new("unknown").ok());
            return Err(match session {
                Some(session) => RuntimeError::Fold { session, detail: wrong.to_string() },
                None => RuntimeError::Refused(wrong.to_string()),
            });
        }
        self.transcript.apply(record);
        let weight = weight_of(&record.body);
        (self.weight, self.fresh) = (self.weight + weight, self.fresh + weight);
        self.folded.apply(record);
        self.gauge.apply(record);
        self.mode.apply(record);
        self.places.apply(record);
        self.hooks.apply(record, self.mode.is_of_turn(record));
        match &record.body {
            Body::WaitOpened(opened) => {
                if let WaitOn::Plan(plan) = &opened.on {
                    self.plan =
                        Some(Submitted { wait: opened.wait.clone(), plan: plan.clone(), by: String::new() });
                }
            }
            Body::WaitResolved { wait, by, .. } => {
                if let Some(plan) = self.plan.as_mut().filter(|plan| plan.wait == *wait) {
                    plan.by.clone_from(by);
                }
            }
            Body::ModeChanged { mode, .. } => {
                self.had_mode(*mode);
                self.switched_since = Some(*mode);
            }
            Body::InputAccepted(input) => {
                let given = input.given.as_ref().map(|given| (record.seq, Arc::new(Given::clone(given))));
                self.given.extend(given);
            }
            Body::InputWithdrawn { .. } => self.forget_given(),
            Body::TurnStarted(started) => {
                self.forget_given();
                self.had_mode(started.mode);
                self.switched_since = None;
                self.heard.clone_from(&started.inputs);
                self.prompt = None;
                self.turn = Some(Arc::new(TurnStarted::clone(started)));
            }
            Body::Intent(intent) => {
                if let Intended::Model(model) = &intent.what {
                    if intent.attempt == 1 {
                        self.heard.extend_from_slice(&model.inputs);
                    }
                    self.prompt = (!model.is_imported()).then_some(model.manifest);
                    self.compacted = false;
                    self.last_call = (!model.is_imported()).then(|| Arc::new(model.clone()));
                    self.forget_given();
                }
                if let Intended::Compact(compact) = &intent.what {
                    self.prompt = Some(compact.model.manifest);
                }
            }
            Body::Compacted(_) => self.compacted = true,
            Body::Outcome(outcome) => {
                if let EffectResult::Tool(result) = &outcome.result {
                    self.heard_strangers |= result.untrusted.is_some();
                }
                if let EffectResult::Tool(result) = &outcome.result
                    && let (Some(untrusted), Some(full)) = (&result.untrusted, &result.full)
                {
                    self.strangers.insert(full.hash, untrusted.origin.clone());
                }
            }
            Body::CheckpointTaken(_) | Body::CheckpointMissed { .. } => {
                self.covered = record.turn.zip(record.step).or(self.covered);
            }
            // A fork counts its records anew.
            Body::SessionOpened(opened) => {
                self.had_mode(opened.mode);
                self.horizon = 0;
                // The parent's inputs have the numbers that the fork's will have.
                self.heard.clear();
                self.cuts.clear();
                self.forget_given();
                // What the parent's last request carried is the parent's, seen from here.
                if let (Some(parent), Some(call)) = (&opened.parent, &mut self.last_call) {
                    for span in &mut Arc::make_mut(call).history {
                        span.session.get_or_insert_with(|| parent.session.clone());
                    }
                }
            }
            Body::Rewound(rewound) if rewound.conversation => {
                self.cuts.push((record.seq, rewound.to));
                self.forget_given();
            }
            _ => {}
        }
        self.switch();
        self.head = record.seq;
        Ok(())
    }

    /// The running turn has its new mode at once, unless a request is under way: that one is made again as it was.
    fn switch(&mut self) {
        let asking = self.machine.turn().is_some_and(|turn| turn.is_asking());
        if let (Some(turn), Some(mode)) = (&mut self.turn, self.mode.of_turn().filter(|_| !asking))
            && turn.mode != mode
        {
            Arc::make_mut(turn).mode = mode;
        }
    }

    /// Forgets what only a rewind to a record before the head could ask for. Whoever meets such a rewind later folds
    /// the whole log (`RuntimeError::Forgotten`).
    pub fn forget_past(&mut self) {
        self.transcript.forget_past();
        self.folded.world.forget_past();
        (self.horizon, self.fresh) = (self.head, 0);
    }

    /// The state of a log whose records a fork shares, up to here.
    pub(crate) fn share(&mut self, owner: &SessionId) {
        self.lineage.extend(self.spans(Some(owner), self.head));
        self.head = 0;
    }

    fn had_mode(&mut self, mode: Mode) {
        self.before_plan = if mode == Mode::Plan { self.before_plan } else { Some(mode) };
    }

    /// What the turn of a waiting input is given, if its record says so.
    pub fn given(&self, input: Seq) -> Option<&Arc<Given>> {
        self.given.get(&input)
    }

    /// Only inputs that wait will start a turn.
    fn forget_given(&mut self) {
        if !self.given.is_empty() {
            let waiting: Vec<Seq> = self.machine.waiting().map(|(seq, _)| seq).collect();
            self.given.retain(|input, _| waiting.contains(input));
        }
    }

    /// Records whose content a request carries when it is derived at the head.
    pub fn history(&self) -> Vec<Span> {
        let mut spans = self.lineage.clone();
        spans.extend(self.spans(None, self.head));
        spans
    }

    /// The records of one log that count at `head`: without those that rewinds cut out.
    fn spans(&self, session: Option<&SessionId>, head: Seq) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut to = head;
        // From the end: a rewind leads back to what counted at the record it went to.
        while let Some((seq, back)) = self.cuts.iter().rev().find(|(seq, _)| *seq <= to) {
            spans.push(Span { session: session.cloned(), from: *seq, to });
            to = *back;
        }
        spans.push(Span { session: session.cloned(), from: 1, to });
        spans.reverse();
        spans
    }

    pub(crate) fn apply_of(
        &mut self,
        own: bool,
        owner: &SessionId,
        record: &Record,
    ) -> Result<(), RuntimeError> {
        self.apply(record)?;
        if !own {
            match self.lineage.last_mut() {
                Some(span) if span.session.as_ref() == Some(owner) && self.cuts.is_empty() => {
                    span.to = record.seq;
                }
                _ => {
                    self.lineage.retain(|span| span.session.as_ref() != Some(owner));
                    self.lineage.extend(self.spans(Some(owner), record.seq));
                }
            }
            self.head = 0;
        }
        Ok(())
    }
}

/// In what an effect of the log is another than the machine asks for: the paths that differ first. `None` where they
/// agree, and for records that are no effect.
fn mismatch(machine: &TurnMachine, record: &Record) -> Option<String> {
    let (key, tool) = match &record.body {
        Body::Intent(intent) => match &intent.what {
            Intended::Model(_) | Intended::Compact(_) | Intended::Judge(_) => (&intent.key, None),
            Intended::Tool(tool) | Intended::Undo(tool) => (&intent.key, Some(tool)),
        },
        Body::Outcome(outcome) => (&outcome.key, None),
        Body::Attempt(attempt) => (&attempt.key, None),
        _ => return None,
    };
    // A record outside its turn is told by the machine.
    let turn = machine.turn().filter(|turn| turn.number == key.turn)?;
    let differs = |path: &str, log: &dyn std::fmt::Display, asked: &dyn std::fmt::Display| {
        Some(format!("{path} is {log} in the log, and {asked} is asked for"))
    };
    match key.kind {
        EffectKind::Model => {
            // Its intent opens the next step, whatever else belongs to it is of this one.
            let opens = matches!(record.body, Body::Intent(_)) && !turn.is_rerouted();
            let due = turn.steps() + u32::from(opens);
            if key.step == due { None } else { differs("step", &key.step, &due) }
        }
        EffectKind::Compact => {
            let due = turn.steps() + 1;
            if key.step == due { None } else { differs("step", &key.step, &due) }
        }
        EffectKind::Tool | EffectKind::Judge if key.step != turn.steps() => {
            differs("step", &key.step, &turn.steps())
        }
        EffectKind::Judge => None,
        EffectKind::Tool => match (turn.calls().get(key.ordinal as usize), tool) {
            (None, _) => differs("ordinal", &key.ordinal, &format!("one of {} calls", turn.calls().len())),
            (Some(call), Some(tool)) if call.call.name != tool.name => {
                differs("name", &format!("`{}`", tool.name), &format!("`{}`", call.call.name))
            }
            (Some(call), Some(tool)) if call.call.id != tool.call_id => {
                differs("call_id", &format!("`{}`", tool.call_id), &format!("`{}`", call.call.id))
            }
            (Some(_), _) => None,
        },
    }
}

/// Twice the text, for what is encoded of it, and a little for the rest.
fn weight_of(body: &Body) -> usize {
    let text = match body {
        Body::InputAccepted(input) => sterna_model::input_text(&input.parts).len(),
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Model(model) => model.parts.iter().map(weight_of_part).sum(),
            EffectResult::Tool(tool) => tool.view.len(),
            EffectResult::Summary(summary) => summary.text.len(),
            EffectResult::ModelFailed(_) | EffectResult::Judged(_) => 0,
        },
        _ => 0,
    };
    2 * text + 256
}

fn weight_of_part(part: &Part) -> usize {
    match part {
        Part::Text(text) => text.len(),
        Part::Reasoning(reasoning) => {
            reasoning.text.len() + reasoning.opaque.as_ref().map_or(0, |opaque| opaque.json.len())
        }
        Part::ToolCall(call) => call.arguments.len() + call.name.len() + call.id.len(),
        Part::Opaque(opaque) => opaque.json.len(),
    }
}

/// Reads a session's records in order, those of shared history first, each with the log it lies in.
pub(crate) async fn for_each_record(
    log: &SharedLog,
    session: &SessionId,
    mut each: impl FnMut(&SessionId, Sealed) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let mut history = read_history(&**log, session).await?;
    loop {
        let page = history.next_page().await?;
        if page.is_empty() {
            return Ok(());
        }
        for (owner, sealed) in page {
            each(&owner, sealed)?;
        }
    }
}
