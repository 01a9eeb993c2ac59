//! What stands in a request for a part of the history that is too long: cut results, and the head.

use std::fmt::Write;

use sterna_llm::{Item, Request};
use sterna_model::{CompactStage, Compacted, Part, Place, Transition};

use crate::files::{self, said};
use crate::transcript::Entry;
use crate::{Prompt, TurnFacts, derive};
use sterna_log::fold::World;

/// Results of more characters are cut when the window fills (design: 10,000 characters become 1,000).
pub const LONG_RESULT: usize = 10_000;
/// Characters that a cut result keeps.
pub const KEPT_OF_RESULT: usize = 1_000;
/// Tokens that a summary may have.
pub const SUMMARY_TOKENS: u32 = 2_000;

/// A result by its beginning, and how to read the rest.
pub(crate) fn cut_text(text: &str, place: Place) -> String {
    let kept: String = text.chars().take(KEPT_OF_RESULT).collect();
    let left = text.chars().count().saturating_sub(KEPT_OF_RESULT);
    if left == 0 {
        return kept;
    }
    format!("{kept}\n[... {left} characters not shown; recall {{\"ref\":\"record:{place}\"}} reads all]")
}

/// The text that stands for the compacted part: the person's own words, the summary, and where the rest is.
pub(crate) fn head_text(head: &Compacted, summary: Option<&str>) -> String {
    let mut text = String::from("<earlier>\n");
    if let (Some(archive), CompactStage::Frame) = (&head.archive, head.stage) {
        let _ = writeln!(
            text,
            "You went on in a fresh window. Records {} to {} of this session are kept, and not shown: recall \
             {{\"query\":\"words\"}} finds what was said and done there, recall {{\"ref\":\"record:N\"}} reads record N.",
            archive.from, archive.to
        );
    } else if let Some(archive) = &head.archive {
        let _ = writeln!(
            text,
            "This session is longer than your window. Records {} to {} of it are kept, and not shown: recall \
             {{\"query\":\"words\"}} finds what was said and done there, recall {{\"ref\":\"record:N\"}} reads record N.",
            archive.from, archive.to
        );
    }
    if !head.pinned.is_empty() {
        text.push_str("<said_by_the_person>\n");
        for pin in &head.pinned {
            let _ = writeln!(text, "[record {}] {}", pin.record, pin.text);
        }
        text.push_str("</said_by_the_person>\n");
    }
    if let Some(summary) = summary {
        let _ = writeln!(text, "<summary>\n{}\n</summary>", summary.trim());
    }
    text.push_str("</earlier>");
    if let Some(frame) = &head.frame {
        let _ = write!(text, "\n<task>\n{}\n</task>", frame.task.trim());
        if !frame.seed.is_empty() {
            let seed = serde_json::to_string(&frame.seed).unwrap_or_default();
            let _ = write!(text, "\n<seed>\n{seed}\n</seed>");
        }
    }
    text
}

/// The request for a summary of `entries`: the session's own prompt and history, so that it is read from the cache,
/// and a closing message. Tools are off, and stay in the list.
pub fn derive_summary(
    prompt: &Prompt,
    entries: &[Entry],
    world: &World,
    facts: &TurnFacts,
    intent: &SummaryAsk<'_>,
) -> Request {
    let items = entries.iter().map(|entry| match (&*entry.item, intent.cut_results) {
        (Item::Results(results), true) => {
            let short = results.iter().zip(&*entry.from).map(|(result, place)| sterna_llm::CallResult {
                text: cut_text(&result.text, *place),
                ..result.clone()
            });
            Item::Results(short.collect()).into()
        }
        _ => entry.item.clone(),
    });
    let mut request = derive(
        prompt,
        items.collect(),
        world,
        facts,
        intent.route,
        Transition::Compact,
        true,
        intent.max_output,
    );
    request.tail = closing(prompt, entries, intent.focus);
    request
}

/// What a request for a summary is made with.
#[derive(Debug, Clone, Copy)]
pub struct SummaryAsk<'a> {
    pub route: &'a sterna_model::Route,
    pub focus: &'a str,
    pub cut_results: bool,
    pub max_output: u32,
}

/// Bytes that an item is worth when parts of a history are compared.
pub fn size(item: &Item) -> u64 {
    let of = |text: &str| text.len() as u64 + PART_BYTES;
    match item {
        Item::User(texts) => texts.iter().map(|text| of(text)).sum(),
        Item::Mixed(parts) => of(&said(parts)) + files::weight(item),
        Item::Assistant(parts) => parts.iter().map(part_size).sum(),
        Item::Results(results) => {
            results.iter().map(|result| of(&result.text)).sum::<u64>() + files::weight(item)
        }
    }
}

fn part_size(part: &Part) -> u64 {
    let bytes = match part {
        Part::Text(text) => text.len(),
        Part::Reasoning(reasoning) => {
            reasoning.opaque.as_ref().map_or(reasoning.text.len(), |o| o.json.len())
        }
        Part::ToolCall(call) => call.name.len() + call.arguments.len() + call.id.len(),
        Part::Opaque(opaque) => opaque.json.len(),
    };
    bytes as u64 + PART_BYTES
}

/// What a part costs beside its text.
const PART_BYTES: u64 = 48;

fn closing(prompt: &Prompt, entries: &[Entry], focus: &str) -> String {
    let note = Some(prompt.note("compact")).filter(|note| !note.is_empty()).unwrap_or(COMPACT);
    let mut text = note.trim().to_owned();
    if !focus.trim().is_empty() {
        let _ = write!(text, "\n\nKeep above all: {}", focus.trim());
    }
    text.push_str("\n\n<records>\n");
    let lines: Vec<String> = entries.iter().filter_map(line).collect();
    let room = INDEX_BYTES / 2;
    let fits = |lines: &mut dyn Iterator<Item = &String>| {
        let mut bytes = 0;
        lines
            .take_while(|line| {
                bytes += line.len() + 1;
                bytes <= room
            })
            .count()
    };
    let first = fits(&mut lines.iter());
    let last = fits(&mut lines[first..].iter().rev());
    for line in &lines[..first] {
        let _ = writeln!(text, "{line}");
    }
    let left_out = lines.len() - first - last;
    if left_out > 0 {
        let _ = writeln!(text, "... {left_out} more");
    }
    for line in &lines[lines.len() - last..] {
        let _ = writeln!(text, "{line}");
    }
    text.push_str("</records>");
    text
}

/// A line of the index by which a summary cites records.
fn line(entry: &Entry) -> Option<String> {
    let begin = |text: &str| -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(80).collect()
    };
    let place = entry.from.first()?;
    match &*entry.item {
        Item::User(_) if entry.head.is_some() => {
            Some(format!("record {place}: what stands for earlier records"))
        }
        Item::User(texts) if let Some(by) = &entry.by => {
            Some(format!("record {place}: the guest {by}: {}", begin(&texts.join(" "))))
        }
        Item::User(texts) => Some(format!("record {place}: the person: {}", begin(&texts.join(" ")))),
        Item::Mixed(parts) => Some(format!("record {place}: the person: {}", begin(&said(parts)))),
        Item::Assistant(parts) => {
            let said = parts.iter().filter_map(|part| match part {
                Part::Text(text) => Some(begin(text)),
                Part::ToolCall(call) => Some(begin(&format!("{} {}", call.name, call.arguments))),
                Part::Reasoning(_) | Part::Opaque(_) => None,
            });
            Some(format!("record {place}: you: {}", said.collect::<Vec<_>>().join("; ")))
        }
        Item::Results(results) => {
            let each =
                results.iter().zip(&*entry.from).map(|(result, place)| format!("{place} {}", result.name));
            Some(format!("results: records {}", each.collect::<Vec<_>>().join(", ")))
        }
    }
}

/// Bytes of the index of records in the request for a summary.
const INDEX_BYTES: usize = 6 << 10;
const COMPACT: &str = include_str!("prompts/compact.md");
