//! The context ledger: whose each byte of a request is.
//!
//! A request is built up part by part, and each part owns the bytes that it adds to the encoded body: its text and what
//! the wire puts round it. So the owners of a request sum to its bytes, whatever the wire.

use std::sync::Arc;

use serde::Serialize;
use sterna_llm::{Item, Request};
use sterna_model::{Digest, Part, Stability};

use crate::derive::tail_pieces;
use crate::prompt::system_of;
use crate::transcript::Entry;
use crate::{Prompt, TurnFacts};
use sterna_log::fold::World;
use sterna_model::Transition;

/// Where in a request a part stands. In the order in which providers cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Model, limits and the wire's own words.
    Request,
    Tool,
    Stable,
    Frame,
    History,
    Tail,
}

impl Layer {
    pub fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Tool => "tool",
            Self::Stable => "stable",
            Self::Frame => "frame",
            Self::History => "history",
            Self::Tail => "tail",
        }
    }
}

/// Bytes of one owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owned {
    /// `AGENTS.md:1-40`, `tool shell`, `record 12 (person)`, `section rules (sterna)` ...
    pub owner: String,
    pub layer: Layer,
    pub bytes: u64,
    /// Hash of the content.
    pub content: Digest,
}

/// The parts that a request is derived from.
#[derive(Debug, Clone, Copy)]
pub struct Derived<'a> {
    pub prompt: &'a Prompt,
    pub entries: &'a [Entry],
    pub world: &'a World,
    pub facts: &'a TurnFacts,
    pub transition: Transition,
    /// The whole of it.
    pub request: &'a Request,
}

/// The owners of a request's bytes, in the order in which providers cache. `bytes` says how long a request is when it is
/// encoded.
pub fn owners(derived: &Derived<'_>, mut bytes: impl FnMut(&Request) -> u64) -> Vec<Owned> {
    let Derived { prompt, entries, world, facts, transition, request } = *derived;
    let mut rows: Vec<Owned> = Vec::new();
    let mut growing = Request {
        system: Arc::from([]),
        tools: Arc::from([]),
        items: Vec::new(),
        tail: String::new(),
        ..request.clone()
    };
    let mut total = bytes(&growing);
    let own =
        Digest(*blake3::hash(format!("{} {}", request.route, request.max_output).as_bytes()).as_bytes());
    rows.push(Owned { owner: "request".into(), layer: Layer::Request, bytes: total, content: own });
    let mut add = |growing: &Request, owner: String, place: Layer, content: &[u8]| {
        let now = bytes(growing);
        let content = Digest(*blake3::hash(content).as_bytes());
        match now.checked_sub(total) {
            Some(bytes) => rows.push(Owned { owner, layer: place, bytes, content }),
            // What a wire saves elsewhere because this part is there.
            None => {
                let saved = total - now;
                rows.push(Owned { owner, layer: place, bytes: 0, content });
                take_back(&mut rows, saved);
            }
        }
        total = now;
    };
    for n in 1..=request.tools.len() {
        growing.tools = request.tools[..n].into();
        let spec = &request.tools[n - 1];
        let content = serde_json::to_vec(spec).unwrap_or_default();
        add(&growing, format!("tool {}", spec.name), Layer::Tool, &content);
    }
    let sections = prompt.sections();
    for n in 1..=sections.len() {
        let section = &sections[n - 1];
        let place = match section.stability {
            Stability::Stable => Layer::Stable,
            Stability::Frame => Layer::Frame,
            Stability::Tail => continue,
        };
        growing.system = system_of(&sections[..n]).into();
        add(&growing, owner_of(&section.name, &section.owner), place, section.text.as_bytes());
    }
    growing.system = request.system.clone();
    for entry in entries {
        add_entry(&mut growing, entry, &mut add);
    }
    for (owner, text) in tail_pieces(prompt, world, facts, transition) {
        growing.tail.push_str(&text);
        add(&growing, owner, Layer::Tail, text.as_bytes());
    }
    rows
}

fn add_entry(growing: &mut Request, entry: &Entry, add: &mut impl FnMut(&Request, String, Layer, &[u8])) {
    let content = |item: &Item| serde_json::to_vec(item).unwrap_or_default();
    let first = entry.from.first().copied().unwrap_or(0);
    match &*entry.item {
        Item::Results(results) => {
            for n in 1..=results.len() {
                if n > 1 {
                    growing.items.pop();
                }
                let part = Item::Results(results[..n].to_vec());
                growing.items.push(Arc::new(part));
                let (name, place) = (&results[n - 1].name, entry.from.get(n - 1).copied().unwrap_or(0));
                let text = content(&Item::Results(vec![results[n - 1].clone()]));
                add(growing, format!("record {place} ({name})"), Layer::History, &text);
            }
            growing.items.pop();
            growing.items.push(entry.item.clone());
        }
        Item::User(_) | Item::Mixed(_) => {
            growing.items.push(entry.item.clone());
            let who = match (&entry.head, &entry.by, entry.hook) {
                (Some(_), _, _) => "compacted".to_owned(),
                (None, Some(by), _) => format!("guest {by}"),
                (None, None, true) => "hook".to_owned(),
                (None, None, false) => "person".to_owned(),
            };
            add(growing, format!("record {first} ({who})"), Layer::History, &content(&entry.item));
        }
        Item::Assistant(parts) => {
            growing.items.push(entry.item.clone());
            let calls = parts.iter().filter(|part| matches!(part, Part::ToolCall(_))).count();
            let what = if calls > 0 { format!("model, {calls} calls") } else { "model".to_owned() };
            add(growing, format!("record {first} ({what})"), Layer::History, &content(&entry.item));
        }
    }
}

/// A file with its lines owns what it says; other sections are named, with whose they are.
fn owner_of(name: &str, owner: &str) -> String {
    if owner.contains(['/', ':']) { owner.to_owned() } else { format!("section {name} ({owner})") }
}

/// Takes bytes from the rows before, the last first: their sum stays that of the request.
fn take_back(rows: &mut [Owned], mut saved: u64) {
    for row in rows.iter_mut().rev() {
        let taken = row.bytes.min(saved);
        row.bytes -= taken;
        saved -= taken;
    }
}

/// What a step changed of what the one before had sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Bytes from the beginning that both have: what a prompt cache can keep.
    pub kept_bytes: u64,
    /// Why no more is kept. `None`: everything of the first request but its tail stands at the beginning of the second.
    pub broken_by: Option<String>,
    pub added: Vec<Owned>,
    pub removed: Vec<Owned>,
}

/// Compares two requests as a prompt cache does: from the beginning, up to the first difference. Tails never count: they
/// stand after what is cached.
pub fn compare(before: &[Owned], after: &[Owned]) -> Changes {
    let cached = |rows: &[Owned]| -> Vec<Owned> {
        rows.iter().filter(|row| row.layer != Layer::Tail).cloned().collect()
    };
    let (old, new) = (cached(before), cached(after));
    let same = |a: &Owned, b: &Owned| (&a.owner, a.content) == (&b.owner, b.content);
    let common = old.iter().zip(&new).take_while(|(a, b)| same(a, b)).count();
    let kept_bytes = new[..common].iter().map(|row| row.bytes).sum();
    let broken_by = old.get(common).map(|was| match new.get(common) {
        // What is in the log stays as it is: only less of it may be shown.
        Some(is) if is.owner == was.owner && was.layer == Layer::History && is.bytes < was.bytes => {
            format!("{} is shown shorter, to make room", was.owner)
        }
        Some(is) if is.owner == was.owner => format!("{} changed", was.owner),
        Some(is) if is.owner.ends_with("(compacted)") => {
            format!("compaction: {} stands for {} and more", is.owner, was.owner)
        }
        Some(_) | None if was.layer == Layer::History && new.iter().all(|row| row.owner != was.owner) => {
            format!("rewind: {} is gone", was.owner)
        }
        Some(is) if old.iter().all(|row| row.owner != is.owner) => {
            format!("{} is new, before {}", is.owner, was.owner)
        }
        Some(_) | None => format!("{} is gone", was.owner),
    });
    let without = |rows: &[Owned], others: &[Owned]| -> Vec<Owned> {
        rows.iter().filter(|row| !others.iter().any(|other| same(row, other))).cloned().collect()
    };
    Changes { kept_bytes, broken_by, added: without(after, before), removed: without(before, after) }
}
