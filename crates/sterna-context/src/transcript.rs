//! The transcript: a fold of the log into the items of a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use sterna_llm::{CallResult, Item};
use sterna_model::{
    Body, EffectKey, EffectResult, HookEvent, InputPart, Intended, MemoryChange, ModelOutcome, Part,
    RecalledNote, Record, Seq, ToolCall, ToolOutcome, ToolStatus, Untrusted, input_text,
};

use crate::injection::injections;
use crate::untrusted::marked;

/// What was said, in the order in which a model sees it. Items are shared, never copied.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    items: Vec<Arc<Item>>,
    /// Calls of the last answer; their results become an item at the next boundary.
    open: Option<OpenStep>,
    /// Inputs that no request has taken yet.
    inputs: BTreeMap<Seq, Vec<InputPart>>,
    /// What hooks have said since the last request.
    notes: Vec<Arc<str>>,
    /// The inputs that the last turn began with: where among the items.
    begun: Vec<(Seq, usize)>,
    /// How far `items` and `open` were after records of this log that changed them.
    marks: Vec<Mark>,
    /// Items that rewinds left behind, with the record of the rewind: a later one may go back to them.
    left: Vec<(Seq, Past)>,
    /// Texts of strangers among the items, with the item that holds each.
    untrusted: Vec<(usize, Arc<Untrusted>)>,
}

/// Items that a rewind left behind.
#[derive(Debug, Clone)]
struct Past {
    items: Vec<Arc<Item>>,
    untrusted: Vec<(usize, Arc<Untrusted>)>,
}

/// The answer whose calls are being run. What it holds is shared with the marks.
#[derive(Debug, Clone)]
struct OpenStep {
    /// Key of the model call that asked.
    key: EffectKey,
    calls: Arc<[ToolCall]>,
    results: Vec<Option<Arc<CallResult>>>,
    /// Texts of strangers among the results.
    untrusted: Vec<Arc<Untrusted>>,
}

#[derive(Debug, Clone)]
struct Mark {
    after: Seq,
    items: usize,
    open: Option<OpenStep>,
    notes: Vec<Arc<str>>,
}

impl Transcript {
    pub fn new() -> Self {
        Self::default()
    }

    /// Folds one record.
    pub fn apply(&mut self, record: &Record) {
        match &record.body {
            Body::InputAccepted(input) => {
                self.inputs.insert(record.seq, input.parts.clone());
            }
            Body::InputEdited { input, parts, .. } => {
                if let Some(held) = self.inputs.get_mut(input) {
                    held.clone_from(parts);
                }
            }
            Body::InputWithdrawn { inputs, .. } => {
                for input in inputs {
                    self.inputs.remove(input);
                }
            }
            Body::TurnStarted(started) => {
                self.pass(&started.inputs);
                let first = self.items.len().saturating_sub(started.inputs.len());
                self.begun = started.inputs.iter().copied().zip(first..).collect();
                self.mark(record.seq);
            }
            Body::Intent(intent) => match &intent.what {
                Intended::Model(model) => {
                    self.pass(&model.inputs);
                    self.mark(record.seq);
                }
                Intended::Tool(_) | Intended::Undo(_) => {}
            },
            Body::Outcome(outcome) => {
                match &outcome.result {
                    EffectResult::Model(model) => self.answered(&outcome.key, model),
                    EffectResult::Tool(result) => self.result(&outcome.key, result),
                    EffectResult::ModelFailed(_) => {}
                }
                self.mark(record.seq);
            }
            // A fork's opening: inputs that waited belong to the parent, and so do the numbers so far.
            Body::SessionOpened(_) => {
                self.inputs.clear();
                self.marks.clear();
                self.left.clear();
                self.mark(record.seq);
            }
            Body::HookRan(ran) => {
                if ran.event == HookEvent::UserPromptSubmit && ran.says.blocked {
                    self.withhold(ran.input);
                }
                let event = ran.event.word();
                let note = |text: &String| format!("<hook event=\"{event}\">\n{text}\n</hook>").into();
                self.notes.extend(ran.says.context.iter().map(note));
                self.mark(record.seq);
            }
            Body::Memory(change) => {
                if let MemoryChange::Recalled { notes } = &**change {
                    self.reminded(notes);
                }
            }
            Body::Rewound(rewound) if rewound.conversation => self.rewind(record.seq, rewound.to),
            Body::Rewound(_) => {}
            Body::TitleSet { .. }
            | Body::SessionClosed { .. }
            | Body::RouteChanged { .. }
            | Body::ModeChanged { .. }
            | Body::TurnCommitted(_)
            | Body::Attempt(_)
            | Body::InDoubt { .. }
            | Body::WaitOpened(_)
            | Body::WaitResolved { .. }
            | Body::CancelRequested { .. }
            | Body::LimitReached { .. }
            | Body::GrantGiven { .. }
            | Body::GrantRevoked { .. }
            | Body::TodoSet { .. }
            | Body::CheckpointTaken(_)
            | Body::CheckpointMissed { .. } => {}
        }
    }

    /// The items of a request that takes these inputs now. Nothing changes: the intent's record does that.
    pub fn with(&self, inputs: &[Seq]) -> Vec<Arc<Item>> {
        let mut items = Vec::with_capacity(self.items.len() + 1 + inputs.len());
        items.extend(self.items.iter().cloned());
        items.extend(self.boundary(inputs));
        items
    }

    /// The text of an input that waits, or that the last turn began with.
    pub fn prompt(&self, seq: Seq) -> Option<String> {
        if let Some(parts) = self.inputs.get(&seq) {
            return Some(input_text(parts));
        }
        let (_, at) = self.begun.iter().find(|(begun, _)| *begun == seq)?;
        match &**self.items.get(*at)? {
            Item::User(texts) => Some(texts.join("\n")),
            Item::Assistant(_) | Item::Results(_) => None,
        }
    }

    /// What the open calls were answered so far: text, and whether the call failed. In the order of the calls.
    pub fn open_results(&self) -> impl Iterator<Item = Option<(&str, bool)>> {
        let results = self.open.iter().flat_map(|open| &open.results);
        results.map(|result| result.as_ref().map(|result| (result.text.as_str(), result.failed)))
    }

    /// The text of an input that no request has taken yet.
    pub fn input(&self, seq: Seq) -> Option<&[InputPart]> {
        self.inputs.get(&seq).map(Vec::as_slice)
    }

    /// Texts of strangers that the last request carried, each origin once: what the model asked for then is tainted by
    /// them. Results of calls that no request has carried yet are not among them.
    pub fn untrusted(&self) -> Vec<Untrusted> {
        let mut all: Vec<Untrusted> = Vec::new();
        for (_, one) in &self.untrusted {
            match all.iter_mut().find(|held| held.origin == one.origin) {
                Some(held) => {
                    let new = one.flags.iter().filter(|flag| !held.flags.contains(flag));
                    let new: Vec<String> = new.cloned().collect();
                    held.flags.extend(new);
                }
                None => all.push(Untrusted::clone(one)),
            }
        }
        all
    }

    /// Items so far, without what waits for the next boundary.
    pub fn items(&self) -> &[Arc<Item>] {
        &self.items
    }

    /// What is recalled of texts of strangers is theirs as well, from the input on that it was recalled for.
    fn reminded(&mut self, notes: &[RecalledNote]) {
        let at = self.items.len().saturating_sub(1);
        let origins = notes.iter().flat_map(|note| &note.tainted);
        let one = |origin: &String| {
            let flags = notes.iter().filter(|note| note.tainted.contains(origin));
            let mut flags: Vec<String> = flags.flat_map(|note| injections(&note.text)).collect();
            flags.sort_unstable();
            flags.dedup();
            (at, Arc::new(Untrusted { origin: origin.clone(), flags }))
        };
        let strangers: Vec<_> = origins.map(one).collect();
        self.untrusted.extend(strangers);
    }

    fn mark(&mut self, after: Seq) {
        let (open, notes) = (self.open.clone(), self.notes.clone());
        self.marks.push(Mark { after, items: self.items.len(), open, notes });
    }

    /// A prompt that a hook forbade reaches no model, in no later request either. Its place stays, so that rewinds
    /// find what they look for.
    fn withhold(&mut self, input: Option<Seq>) {
        let at = self.begun.iter().find(|(seq, _)| Some(*seq) == input).map(|(_, at)| *at);
        if let Some(slot) = at.and_then(|at| self.items.get_mut(at)) {
            *slot = Arc::new(Item::User(vec![WITHHELD.to_owned()]));
        }
    }

    /// Makes it what it was after the record `to`. Between two rewinds items are only added, so what stood after a
    /// record is the beginning of what stood when the next rewind came.
    fn rewind(&mut self, seq: Seq, to: Seq) {
        let known = self.marks.partition_point(|mark| mark.after <= to).checked_sub(1);
        let (items, open, notes) = match known.and_then(|at| self.marks.get(at)) {
            Some(mark) => (mark.items, mark.open.clone(), mark.notes.clone()),
            None => (0, None, Vec::new()),
        };
        let then = self.left.iter().find(|(at, _)| *at > to);
        let (then, strangers) =
            then.map_or((&self.items, &self.untrusted), |(_, past)| (&past.items, &past.untrusted));
        let untrusted = strangers.iter().filter(|(at, _)| *at < items).cloned().collect();
        let items: Vec<Arc<Item>> = then.iter().take(items).cloned().collect();
        let items = std::mem::replace(&mut self.items, items);
        let untrusted = std::mem::replace(&mut self.untrusted, untrusted);
        self.left.push((seq, Past { items, untrusted }));
        (self.open, self.notes) = (open, notes);
        self.inputs.retain(|input, _| *input <= to);
        self.mark(seq);
    }

    fn pass(&mut self, inputs: &[Seq]) {
        let more = self.boundary(inputs);
        // The results are the first item of a boundary.
        let at = self.items.len();
        let strangers = self.open.iter().flat_map(|open| &open.untrusted).cloned();
        self.untrusted.extend(strangers.map(|one| (at, one)));
        self.items.extend(more);
        self.open = None;
        self.notes.clear();
        for input in inputs {
            self.inputs.remove(input);
        }
    }

    fn boundary(&self, inputs: &[Seq]) -> Vec<Arc<Item>> {
        let results = self.open.iter().map(|open| Arc::new(Item::Results(open.close())));
        let heard = inputs.iter().filter_map(|seq| self.inputs.get(seq)).map(|parts| {
            let texts = parts.iter().map(|InputPart::Text(text)| text.clone()).collect();
            Arc::new(Item::User(texts))
        });
        let told = self.notes.iter().map(|note| note.to_string()).collect::<Vec<_>>();
        let told = (!told.is_empty()).then(|| Arc::new(Item::User(told)));
        results.chain(told).chain(heard).collect()
    }

    fn answered(&mut self, key: &EffectKey, model: &ModelOutcome) {
        // A call of a cancelled answer never ran and is not shown: only whole calls have results.
        let keep = |part: &&Part| !model.partial || matches!(part, Part::Text(_));
        let parts: Vec<Part> =
            model.parts.iter().filter(keep).filter(|part| !is_empty(part)).cloned().collect();
        let calls: Vec<ToolCall> = parts
            .iter()
            .filter_map(|part| match part {
                Part::ToolCall(call) => Some(call.clone()),
                Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
            })
            .collect();
        let says_something = parts.iter().any(|part| matches!(part, Part::Text(_) | Part::ToolCall(_)));
        if says_something {
            self.items.push(Arc::new(Item::Assistant(parts)));
        }
        self.open = (!calls.is_empty()).then(|| OpenStep {
            key: key.clone(),
            results: vec![None; calls.len()],
            untrusted: Vec::new(),
            calls: calls.into(),
        });
    }

    fn result(&mut self, key: &EffectKey, result: &ToolOutcome) {
        let Some(open) = &mut self.open else { return };
        if (&key.session, key.turn, key.step) != (&open.key.session, open.key.turn, open.key.step) {
            return;
        }
        let at = key.ordinal as usize;
        if let (Some(call), Some(slot)) = (open.calls.get(at), open.results.get_mut(at)) {
            let text = match &result.untrusted {
                Some(untrusted) => {
                    open.untrusted.push(Arc::new(Untrusted::clone(untrusted)));
                    marked(&result.view, &untrusted.origin)
                }
                None => result.view.clone(),
            };
            *slot = Some(Arc::new(CallResult {
                call_id: call.id.clone(),
                name: call.name.clone(),
                text,
                failed: result.status != ToolStatus::Ok,
            }));
        }
    }
}

impl OpenStep {
    /// Exactly one result for each call: a lost one says that it is lost.
    fn close(&self) -> Vec<CallResult> {
        let lost = |call: &ToolCall| CallResult {
            call_id: call.id.clone(),
            name: call.name.clone(),
            text: OUTCOME_UNKNOWN.to_owned(),
            failed: true,
        };
        self.calls
            .iter()
            .zip(&self.results)
            .map(|(call, result)| result.as_deref().cloned().unwrap_or_else(|| lost(call)))
            .collect()
    }
}

fn is_empty(part: &Part) -> bool {
    matches!(part, Part::Text(text) if text.trim().is_empty())
}

/// What the model reads in place of a result that was lost.
pub(crate) const OUTCOME_UNKNOWN: &str = "outcome_unknown: the result of this call was lost. It may or may not have \
    happened. Look at the state of things before you do it again.";

/// What stands in place of a prompt that a hook forbade.
const WITHHELD: &str = "(A hook of the person withheld this message: it was not sent.)";
