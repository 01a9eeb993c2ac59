//! One output item as its events build it. The finished item, once it came, wins over its deltas.

use serde_json::Value;
use serde_json::value::RawValue;
use sterna_model::{Opaque, Part, Reasoning, Route, Segment, ToolCall};

use super::super::parts::{LiveSegments, call_id};
use crate::StreamEvent;

#[derive(Debug)]
pub(super) struct Slot {
    index: Option<u64>,
    item_id: String,
    kind: Kind,
    content: Content,
    /// The finished item, byte for byte.
    raw: Option<String>,
}

/// What an item is; it decides which deltas belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Reasoning,
    Call,
    Unknown,
}

#[derive(Debug, Default)]
struct Content {
    /// Text, reasoning or arguments.
    text: String,
    refused: bool,
    phase: Option<String>,
    call_id: String,
    name: String,
    /// A new part of the reasoning's summary begins.
    gap: bool,
}

impl Kind {
    pub(super) fn of(item: &Value) -> Self {
        match item.get("type").and_then(Value::as_str) {
            Some("message") => Self::Message,
            Some("reasoning") => Self::Reasoning,
            Some("function_call") => Self::Call,
            _ => Self::Unknown,
        }
    }

    fn segment(self) -> Option<Segment> {
        match self {
            Self::Message => Some(Segment::Text),
            Self::Reasoning => Some(Segment::Reasoning),
            Self::Call => Some(Segment::ToolCall),
            Self::Unknown => None,
        }
    }
}

impl Slot {
    pub(super) fn new(kind: Kind, index: Option<u64>, item_id: &str) -> Self {
        Self { index, item_id: item_id.to_owned(), kind, content: Content::default(), raw: None }
    }

    pub(super) fn finished(&self) -> bool {
        self.raw.is_some()
    }

    pub(super) fn has_id(&self, kind: Kind, id: &str) -> bool {
        self.kind == kind && !id.is_empty() && self.item_id == id
    }

    pub(super) fn has_index(&self, kind: Kind, index: Option<u64>) -> bool {
        self.kind == kind && index.is_some() && self.index == index
    }

    pub(super) fn is(&self, kind: Kind) -> bool {
        self.kind == kind
    }

    pub(super) fn refused(&self) -> bool {
        self.content.refused
    }

    /// What is known when the item begins.
    pub(super) fn begin(
        &mut self,
        item: &Value,
        key: u64,
        live: &mut LiveSegments,
        events: &mut dyn FnMut(StreamEvent),
    ) {
        self.label(item);
        if self.kind == Kind::Call {
            self.show("", key, live, events);
        }
    }

    pub(super) fn add(
        &mut self,
        more: &str,
        key: u64,
        live: &mut LiveSegments,
        events: &mut dyn FnMut(StreamEvent),
    ) {
        let gap = std::mem::take(&mut self.content.gap) && !self.content.text.is_empty();
        let more = if gap { format!("{SUMMARY_GAP}{more}") } else { more.to_owned() };
        self.content.text.push_str(&more);
        self.show(&more, key, live, events);
    }

    pub(super) fn refuse(&mut self) {
        self.content.refused = true;
    }

    pub(super) fn next_summary(&mut self) {
        self.content.gap = true;
    }

    /// The whole arguments, when they come as such.
    pub(super) fn set_arguments(
        &mut self,
        whole: &str,
        key: u64,
        live: &mut LiveSegments,
        events: &mut dyn FnMut(StreamEvent),
    ) {
        if self.content.text.is_empty() {
            self.show(whole, key, live, events);
        }
        self.content.text = whole.to_owned();
    }

    /// Takes the finished item.
    pub(super) fn finish(
        &mut self,
        raw: &RawValue,
        item: &Value,
        key: u64,
        live: &mut LiveSegments,
        events: &mut dyn FnMut(StreamEvent),
    ) {
        self.label(item);
        self.raw = Some(raw.get().to_owned());
        let whole = match self.kind {
            Kind::Message => {
                let parts = list(item, "content");
                self.content.refused |=
                    parts.iter().any(|part| part.get("refusal").is_some_and(Value::is_string));
                texts(parts, &["text", "refusal"], "")
            }
            Kind::Reasoning => match texts(list(item, "summary"), &["text"], SUMMARY_GAP) {
                none if none.is_empty() => texts(list(item, "content"), &["text"], ""),
                summary => summary,
            },
            Kind::Call => match item.get("arguments") {
                Some(Value::String(text)) => text.clone(),
                None | Some(Value::Null) => String::new(),
                // A string by the book; some servers send the object itself.
                Some(value) => value.to_string(),
            },
            Kind::Unknown => String::new(),
        };
        if self.content.text.is_empty() {
            self.show(&whole, key, live, events);
        }
        if !whole.is_empty() {
            self.content.text = whole;
        }
        live.close(events);
    }

    /// Text and reasoning, for an answer that is given up.
    pub(super) fn partial(&self) -> Option<Part> {
        let text = self.content.text.clone();
        match self.kind {
            Kind::Message | Kind::Reasoning if text.is_empty() => None,
            Kind::Message => Some(Part::Text(text)),
            Kind::Reasoning => Some(Part::Reasoning(Reasoning { text, opaque: None })),
            Kind::Call | Kind::Unknown => None,
        }
    }

    /// The item as parts. `cut`: the answer ended at its output limit, so arguments may be missing.
    pub(super) fn into_parts(
        self,
        route: &Route,
        answer: &str,
        cut: bool,
        ids: &mut Vec<String>,
        parts: &mut Vec<Part>,
    ) {
        let opaque = |json: String| Opaque { route: route.clone(), json };
        let Content { text, phase, call_id: given, name, .. } = self.content;
        match self.kind {
            Kind::Message if text.is_empty() => {}
            Kind::Message => {
                if let Some(phase) = phase {
                    parts.push(Part::Opaque(opaque(serde_json::json!({ super::PHASE: phase }).to_string())));
                }
                parts.push(Part::Text(text));
            }
            Kind::Reasoning => {
                // Without its content the item is a reference to something that was never stored.
                let kept = self.raw.filter(|raw| holds_content(raw)).map(opaque);
                if kept.is_some() || !text.is_empty() {
                    parts.push(Part::Reasoning(Reasoning { text, opaque: kept }));
                }
            }
            Kind::Call if name.is_empty() => {}
            Kind::Call => {
                let given = if given.is_empty() { &self.item_id } else { &given };
                let id = call_id(given, answer, ids);
                ids.push(id.clone());
                // A call of a tool without parameters may come with no text at all.
                let arguments = if text.trim().is_empty() && !cut { "{}".into() } else { text };
                parts.push(Part::ToolCall(ToolCall { id, name, arguments, truncated: false }));
            }
            Kind::Unknown => parts.extend(self.raw.map(opaque).map(Part::Opaque)),
        }
    }

    fn label(&mut self, item: &Value) {
        let text = |key: &str| item.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let content = &mut self.content;
        for (known, key) in
            [(&mut content.call_id, "call_id"), (&mut content.name, "name"), (&mut self.item_id, "id")]
        {
            if let Some(told) = text(key) {
                told.clone_into(known);
            }
        }
        if let Some(phase) = text(super::PHASE) {
            content.phase = Some(phase.to_owned());
        }
    }

    fn show(&self, more: &str, key: u64, live: &mut LiveSegments, events: &mut dyn FnMut(StreamEvent)) {
        let Some(segment) = self.kind.segment() else { return };
        let known = |text: &str| !text.is_empty();
        let id = if known(&self.content.call_id) { &self.content.call_id } else { &self.item_id };
        let about = match self.kind {
            Kind::Call => (
                known(id).then_some(id.as_str()),
                known(&self.content.name).then_some(self.content.name.as_str()),
            ),
            Kind::Message | Kind::Reasoning | Kind::Unknown => (None, None),
        };
        live.call_delta(segment, key, more, about, events);
    }
}

fn list<'a>(item: &'a Value, key: &str) -> &'a [Value] {
    item.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn texts(parts: &[Value], keys: &[&str], between: &str) -> String {
    let text = |part: &'_ Value| keys.iter().find_map(|key| part.get(key)?.as_str().map(str::to_owned));
    parts.iter().filter_map(text).collect::<Vec<_>>().join(between)
}

fn holds_content(raw: &str) -> bool {
    let Ok(item) = serde_json::from_str::<Value>(raw) else { return false };
    let encrypted =
        item.get("encrypted_content").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    encrypted || !list(&item, "content").is_empty()
}

/// Between the parts of a summary.
const SUMMARY_GAP: &str = "\n\n";
