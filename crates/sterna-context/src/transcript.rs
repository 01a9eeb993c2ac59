//! The transcript: a fold of the log into the items of a request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sterna_llm::{CallResult, Item};
use sterna_model::{
    Body, CompactStage, Compacted, Digest, EffectKey, EffectResult, Frame, HookEvent, InputPart, Intended,
    MemoryChange, ModelOutcome, Part, Place, Reasoning, RecalledNote, Record, Route, Seq, ToolCall,
    ToolOutcome, ToolStatus, Untrusted, input_text,
};

use crate::compact::{cut_text, head_text};
use crate::files::{self, said};
use crate::guests::as_read_by;
use crate::injection::injections;
use crate::untrusted::marked;

/// What was said, in the order in which a model sees it. Items are shared, never copied. Serialises as part of a snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Transcript {
    items: Vec<Entry>,
    /// Records so far, those of shared history too.
    place: Place,
    /// Calls of the last answer; their results become an item at the next boundary.
    open: Option<OpenStep>,
    /// Inputs that tell how a child ended: no words of a person.
    reports: BTreeSet<Place>,
    /// Inputs that no request has taken yet.
    inputs: BTreeMap<Seq, Waiting>,
    /// Texts of summaries, by their blob, as far as somebody has brought them. `None`: it is not kept any more.
    #[serde(skip)]
    summaries: BTreeMap<Digest, Option<Arc<str>>>,
    /// What hooks have said since the last request, and in which record.
    notes: Vec<(Place, Arc<str>)>,
    /// The inputs that the last turn began with: where among the items.
    begun: Vec<(Seq, usize)>,
    /// How far `items` and `open` were after records of this log that changed them.
    marks: Vec<Mark>,
    /// Items that rewinds left behind, with the record of the rewind: a later one may go back to them.
    left: Vec<(Seq, Past)>,
    /// Texts of strangers among the items, with the item that holds each.
    untrusted: Vec<(usize, Arc<Untrusted>)>,
    /// The guest who answers the running turn.
    guest: Option<Arc<str>>,
    /// Some answer among the items was a guest's.
    guests: bool,
    /// What a request wants to know of the items, without a look at each of them.
    #[serde(skip)]
    counted: Counted,
}

/// One item, and where it comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    pub item: Arc<Item>,
    /// The records it shows: for results one for each call, in call order; a lost one has the record of its call.
    pub from: Arc<[Place]>,
    /// It stands for what was compacted.
    pub head: Option<Arc<Compacted>>,
    /// It belongs to the step that is under way, and stays.
    pub fixed: bool,
    /// Hooks said it, and no person.
    pub hook: bool,
    /// The guest who said it, or whose calls it answers.
    pub by: Option<Arc<str>>,
}

/// An input that waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Waiting {
    place: Place,
    parts: Vec<InputPart>,
    /// What the agent had read that wrote it.
    untrusted: Vec<Arc<Untrusted>>,
}

/// Items that a rewind or a compaction left behind.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Past {
    items: Vec<Entry>,
    untrusted: Vec<(usize, Arc<Untrusted>)>,
}

/// The answer whose calls are being run. What it holds is shared with the marks.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OpenStep {
    /// Key of the model call that asked.
    key: EffectKey,
    /// The guest who asked.
    by: Option<Arc<str>>,
    calls: Arc<[ToolCall]>,
    /// The record of the answer.
    asked: Place,
    results: Vec<Option<(Place, Arc<CallResult>)>>,
    /// Texts of strangers among the results.
    untrusted: Vec<Arc<Untrusted>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Mark {
    after: Seq,
    items: usize,
    open: Option<OpenStep>,
    notes: Vec<(Place, Arc<str>)>,
}

impl Transcript {
    pub fn new() -> Self {
        Self::default()
    }

    /// Folds one record.
    pub fn apply(&mut self, record: &Record) {
        self.place += 1;
        match &record.body {
            // It speaks to the runtime, not to the model.
            Body::InputAccepted(input) if input.compact.is_some() => {}
            Body::InputAccepted(input) => {
                if input.ended.is_some() {
                    self.reports.insert(self.place);
                }
                let flags = || injections(&input_text(&input.parts));
                let one = |origin: &String| Arc::new(Untrusted { origin: origin.clone(), flags: flags() });
                let untrusted = input.tainted.iter().map(one).collect();
                let (place, parts) = (self.place, input.parts.clone());
                self.inputs.insert(record.seq, Waiting { place, parts, untrusted });
            }
            Body::InputEdited { input, parts, .. } => {
                if let Some(held) = self.inputs.get_mut(input) {
                    held.parts.clone_from(parts);
                }
            }
            Body::InputWithdrawn { inputs, .. } => {
                for input in inputs {
                    self.inputs.remove(input);
                }
            }
            Body::TurnStarted(started) => {
                self.pass(&started.inputs);
                self.guest = started.guest.as_ref().map(|guest| guest.agent.as_str().into());
                let first = self.items.len().saturating_sub(started.inputs.len());
                self.begun = started.inputs.iter().copied().zip(first..).collect();
                self.mark(record.seq);
            }
            Body::Intent(intent) => match &intent.what {
                Intended::Model(model) => {
                    self.pass(&model.inputs);
                    self.mark(record.seq);
                }
                Intended::Tool(_) | Intended::Undo(_) | Intended::Compact(_) | Intended::Judge(_) => {}
            },
            Body::Outcome(outcome) => {
                match &outcome.result {
                    EffectResult::Model(model) => self.answered(&outcome.key, model),
                    EffectResult::Tool(result) => self.result(&outcome.key, result),
                    EffectResult::ModelFailed(_) | EffectResult::Summary(_) | EffectResult::Judged(_) => {}
                }
                self.mark(record.seq);
            }
            // A fork's opening: inputs that waited belong to the parent, and so do the numbers so far.
            Body::SessionOpened(_) => {
                self.guest = None;
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
                let place = self.place;
                self.notes.extend(ran.says.context.iter().map(|text| (place, note(text))));
                self.mark(record.seq);
            }
            Body::Memory(change) => {
                if let MemoryChange::Recalled { notes } = &**change {
                    self.reminded(notes);
                }
            }
            Body::Rewound(rewound) if rewound.conversation => self.rewind(record.seq, rewound.to),
            Body::Rewound(_) => {}
            Body::Compacted(compacted) => self.compact(record.seq, compacted),
            Body::CompactionMissed { .. }
            | Body::TitleSet { .. }
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
            | Body::Automation(_)
            | Body::Goal(_)
            | Body::Budget(_)
            | Body::HookIntent(_)
            | Body::CheckpointTaken(_)
            | Body::CheckpointMissed { .. } => {}
        }
        self.counted.go_on(&self.items);
    }

    /// Forgets what only a rewind to a record before the last one could ask for.
    pub fn forget_past(&mut self) {
        self.left = Vec::new();
        // The last one says what stood at the last record.
        self.marks.drain(..self.marks.len().saturating_sub(1));
        self.marks.shrink_to_fit();
        let shown: Vec<Digest> = self.items.iter().filter_map(summary_of).collect();
        self.summaries.retain(|hash, _| shown.contains(hash));
    }

    /// What a fold of the log alone gives: a snapshot holds no summary that somebody brought, and no counts.
    #[must_use]
    pub fn without_summaries(mut self) -> Self {
        self.summaries.clear();
        self.show_head();
        self.counted.go_on(&self.items);
        self
    }

    /// The items of a request that takes these inputs now. Nothing changes: the intent's record does that.
    pub fn with(&self, inputs: &[Seq]) -> Vec<Arc<Item>> {
        if self.guests {
            return self.entries(inputs).into_iter().map(|entry| entry.item).collect();
        }
        let mut items = Vec::with_capacity(self.items.len() + 1 + inputs.len());
        items.extend(self.items.iter().map(|entry| entry.item.clone()));
        items.extend(self.boundary(inputs).into_iter().map(|entry| entry.item));
        items
    }

    /// The window that the next request is in, if it is not the session's first.
    pub fn frame(&self) -> Option<&Frame> {
        self.items.first()?.head.as_ref()?.frame.as_deref()
    }

    /// Whether there are files among `shown`, which came from `with`.
    pub fn has_files(&self, shown: &[Arc<Item>]) -> bool {
        if self.guests {
            // What a guest was shown is not what is shown of it.
            return files::has_files(shown);
        }
        let new = shown.get(self.counted.items..).unwrap_or(shown);
        self.counted.files > 0 || files::has_files(new)
    }

    /// Opaque parts among `shown`, which came from `with`, that are not of this route: its request leaves them out.
    pub fn foreign(&self, shown: &[Arc<Item>], route: &Route) -> u32 {
        let mut counted = if self.guests { Counted::default() } else { self.counted.clone() };
        shown.iter().skip(counted.items).for_each(|item| counted.add(item));
        let foreign = counted.opaque.iter().filter(|(of, _)| *of != route);
        foreign.fold(0u32, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The text of an input that waits, or that the last turn began with.
    pub fn prompt(&self, seq: Seq) -> Option<String> {
        if let Some(held) = self.inputs.get(&seq) {
            return Some(input_text(&held.parts));
        }
        let (_, at) = self.begun.iter().find(|(begun, _)| *begun == seq)?;
        match &*self.items.get(*at)?.item {
            Item::User(texts) => Some(texts.join("\n")),
            Item::Mixed(parts) => Some(said(parts)),
            Item::Assistant(_) | Item::Results(_) => None,
        }
    }

    /// What the open calls were answered so far: text, and whether the call failed. In the order of the calls.
    pub fn open_results(&self) -> impl Iterator<Item = Option<(&str, bool)>> {
        let results = self.open.iter().flat_map(|open| &open.results);
        results.map(|result| result.as_ref().map(|(_, result)| (result.text.as_str(), result.failed)))
    }

    /// The same with where they come from.
    pub fn entries(&self, inputs: &[Seq]) -> Vec<Entry> {
        let mut entries = self.items.clone();
        if let (Some(_), Some(asked)) = (&self.open, entries.last_mut()) {
            asked.fixed = true;
        }
        entries.extend(self.boundary(inputs));
        as_read_by(entries, self.guest.as_deref())
    }

    /// The blob of a summary that stands in the next request and that nobody has brought yet.
    pub fn summary_wanted(&self) -> Option<Digest> {
        self.items.first().and_then(summary_of).filter(|hash| !self.summaries.contains_key(hash))
    }

    /// Brings the text of a summary. `None`: it is not kept any more, and the request says so.
    pub fn give_summary(&mut self, blob: Digest, text: Option<&str>) {
        self.summaries.insert(blob, text.map(Arc::from));
        self.show_head();
    }

    /// The text of an input that no request has taken yet.
    pub fn input(&self, seq: Seq) -> Option<&[InputPart]> {
        self.inputs.get(&seq).map(|held| held.parts.as_slice())
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

    /// Whether this record is an input that tells how a child ended.
    pub fn is_report(&self, place: Place) -> bool {
        self.reports.contains(&place)
    }

    /// Items so far, without what waits for the next boundary.
    pub fn items(&self) -> &[Entry] {
        &self.items
    }

    /// What stands for a part of the history from here on. As with a rewind, what stood before can come back.
    fn compact(&mut self, seq: Seq, compacted: &Compacted) {
        let shorter = |entry: &Entry| cut_entry(entry, &compacted.cut);
        let is_fresh = compacted.stage == CompactStage::Frame;
        if is_fresh {
            // The step that asked for it is over, and its results stay behind with the rest.
            let strangers = self.open.take().into_iter().flat_map(|open| open.untrusted);
            self.untrusted.extend(strangers.map(|one| (0, one)));
            self.notes.clear();
        }
        let boundary = if is_fresh { Some(self.items.len()) } else { None };
        let boundary = boundary.or_else(|| {
            let archive = compacted.archive?;
            self.items.iter().rposition(|entry| entry.from.contains(&archive.to)).map(|at| at + 1)
        });
        let stands_for = is_fresh || compacted.archive.is_some();
        let mut items = Vec::with_capacity(self.items.len() + 1);
        if stands_for {
            items.push(Entry {
                item: Arc::new(Item::User(Vec::new())),
                from: Arc::from([self.place]),
                head: Some(Arc::new(compacted.clone())),
                fixed: false,
                hook: false,
                by: None,
            });
        }
        items.extend(self.items.iter().skip(boundary.unwrap_or(0)).map(shorter));
        if let Some(open) = &mut self.open {
            for (place, result) in open.results.iter_mut().flatten() {
                if compacted.cut.contains(place) {
                    *result = Arc::new(cut_result(result, *place));
                }
            }
        }
        let moved = |at: usize| (at + usize::from(stands_for)).checked_sub(boundary.unwrap_or(0));
        let kept = |at: usize| at >= boundary.unwrap_or(0);
        self.begun.retain(|(_, at)| kept(*at));
        self.begun.iter_mut().for_each(|(_, at)| *at = moved(*at).unwrap_or(0));
        // A summary was written by who had read it all; so was what is taken into a fresh window.
        let told = compacted.summary.is_some() || compacted.frame.is_some();
        let untrusted = self.untrusted.iter().filter_map(|(at, one)| match kept(*at) {
            true => moved(*at).map(|at| (at, one.clone())),
            false => told.then(|| (0, one.clone())),
        });
        let untrusted = untrusted.collect();
        let items = std::mem::replace(&mut self.items, items);
        let untrusted = std::mem::replace(&mut self.untrusted, untrusted);
        self.left.push((seq, Past { items, untrusted }));
        self.counted = Counted::default();
        self.show_head();
        self.mark(seq);
    }

    /// Writes the text of what stands for the compacted part.
    fn show_head(&mut self) {
        let Some(entry) = self.items.first_mut() else { return };
        let Some(head) = &entry.head else { return };
        let summary = head.summary.as_ref().map(|blob| {
            let text = self.summaries.get(&blob.hash).and_then(Option::as_deref);
            text.map_or_else(|| format!("[archived context unavailable: blob:{}]", blob.hash), str::to_owned)
        });
        entry.item = Arc::new(Item::User(vec![head_text(head, summary.as_deref())]));
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
            slot.item = Arc::new(Item::User(vec![WITHHELD.to_owned()]));
            slot.hook = true;
            self.counted = Counted::default();
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
        let items: Vec<Entry> = then.iter().take(items).cloned().collect();
        let items = std::mem::replace(&mut self.items, items);
        let untrusted = std::mem::replace(&mut self.untrusted, untrusted);
        self.left.push((seq, Past { items, untrusted }));
        self.counted = Counted::default();
        self.show_head();
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
        // The inputs are the last items of it.
        let heard: Vec<&Waiting> = inputs.iter().filter_map(|seq| self.inputs.get(seq)).collect();
        let first = at + more.len() - heard.len();
        let of_inputs = (first..).zip(heard);
        let of_inputs =
            of_inputs.flat_map(|(at, input)| input.untrusted.iter().map(move |one| (at, one.clone())));
        self.untrusted.extend(of_inputs.collect::<Vec<_>>());
        self.items.extend(more.into_iter().map(|entry| Entry { fixed: false, ..entry }));
        self.open = None;
        self.notes.clear();
        for input in inputs {
            self.inputs.remove(input);
        }
    }

    fn boundary(&self, inputs: &[Seq]) -> Vec<Entry> {
        let results = self.open.iter().map(OpenStep::close);
        let heard = inputs.iter().filter_map(|seq| self.inputs.get(seq)).map(|held| Entry {
            item: Arc::new(files::user_item(&held.parts)),
            from: Arc::from([held.place]),
            head: None,
            fixed: true,
            hook: false,
            by: None,
        });
        let told = self.notes.iter().map(|(_, note)| note.to_string()).collect::<Vec<_>>();
        let from: Vec<Place> = self.notes.first().map(|(place, _)| *place).into_iter().collect();
        let told = (!told.is_empty()).then(|| Entry {
            item: Arc::new(Item::User(told)),
            from: from.into(),
            head: None,
            fixed: true,
            hook: true,
            by: None,
        });
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
            let (item, from) = (Arc::new(Item::Assistant(parts)), Arc::from([self.place]));
            let by = self.guest.clone();
            self.guests |= by.is_some();
            self.items.push(Entry { item, from, head: None, fixed: false, hook: false, by });
        }
        self.open = (!calls.is_empty()).then(|| OpenStep {
            key: key.clone(),
            by: self.guest.clone(),
            asked: self.place,
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
        let (at, place) = (key.ordinal as usize, self.place);
        if let (Some(call), Some(slot)) = (open.calls.get(at), open.results.get_mut(at)) {
            let text = match &result.untrusted {
                Some(untrusted) => {
                    open.untrusted.push(Arc::new(Untrusted::clone(untrusted)));
                    marked(&result.view, &untrusted.origin)
                }
                None => result.view.clone(),
            };
            let result = CallResult {
                call_id: call.id.clone(),
                name: call.name.clone(),
                text,
                failed: result.status != ToolStatus::Ok,
                files: files::result_files(result),
            };
            *slot = Some((place, Arc::new(result)));
        }
    }
}

/// Sums over the first items. An item that is counted stays as it is until all are counted anew.
#[derive(Debug, Clone, Default)]
struct Counted {
    items: usize,
    /// Items with files.
    files: usize,
    /// Opaque parts by their route.
    opaque: BTreeMap<Route, u32>,
}

impl Counted {
    fn go_on(&mut self, items: &[Entry]) {
        items.iter().skip(self.items).for_each(|entry| self.add(&entry.item));
    }

    fn add(&mut self, item: &Arc<Item>) {
        self.items += 1;
        self.files += usize::from(files::has_files(std::slice::from_ref(item)));
        let Item::Assistant(parts) = &**item else { return };
        for part in parts {
            if let Part::Opaque(opaque) | Part::Reasoning(Reasoning { opaque: Some(opaque), .. }) = part {
                *self.opaque.entry(opaque.route.clone()).or_default() += 1;
            }
        }
    }
}

impl OpenStep {
    /// Exactly one result for each call: a lost one says that it is lost.
    fn close(&self) -> Entry {
        let lost = |call: &ToolCall| CallResult {
            call_id: call.id.clone(),
            name: call.name.clone(),
            text: OUTCOME_UNKNOWN.to_owned(),
            failed: true,
            files: Vec::new(),
        };
        let result = |(call, result): (&ToolCall, &Option<(Place, Arc<CallResult>)>)| match result {
            Some((place, result)) => (*place, CallResult::clone(result)),
            None => (self.asked, lost(call)),
        };
        let (from, results): (Vec<Place>, Vec<CallResult>) =
            self.calls.iter().zip(&self.results).map(result).unzip();
        Entry {
            item: Arc::new(Item::Results(results)),
            from: from.into(),
            head: None,
            fixed: true,
            hook: false,
            by: self.by.clone(),
        }
    }
}

fn summary_of(entry: &Entry) -> Option<Digest> {
    entry.head.as_ref()?.summary.as_ref().map(|blob| blob.hash)
}

/// The entry with these of its records cut: results become short, and files become references.
pub(crate) fn cut_entry(entry: &Entry, cut: &[Place]) -> Entry {
    let results = match &*entry.item {
        Item::Results(results) => results,
        Item::Mixed(parts) if entry.from.iter().any(|place| cut.contains(place)) => {
            return Entry { item: Arc::new(files::referred(parts)), ..entry.clone() };
        }
        Item::User(_) | Item::Mixed(_) | Item::Assistant(_) => return entry.clone(),
    };
    if !entry.from.iter().any(|place| cut.contains(place)) {
        return entry.clone();
    }
    let shown = results.iter().zip(&*entry.from).map(|(result, place)| match cut.contains(place) {
        true => cut_result(result, *place),
        false => result.clone(),
    });
    Entry { item: Arc::new(Item::Results(shown.collect())), ..entry.clone() }
}

fn cut_result(result: &CallResult, place: Place) -> CallResult {
    let mut text = cut_text(&result.text, place);
    for file in &result.files {
        text.push('\n');
        text.push_str(&files::reference(&file.file));
    }
    CallResult { text, files: Vec::new(), ..result.clone() }
}

fn is_empty(part: &Part) -> bool {
    matches!(part, Part::Text(text) if text.trim().is_empty())
}

/// What the model reads in place of a result that was lost.
pub(crate) const OUTCOME_UNKNOWN: &str = "outcome_unknown: the result of this call was lost. It may or may not have \
    happened. Look at the state of things before you do it again.";

/// What stands in place of a prompt that a hook forbade.
const WITHHELD: &str = "(A hook of the person withheld this message: it was not sent.)";
