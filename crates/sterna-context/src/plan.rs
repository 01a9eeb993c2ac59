//! The plan of a compaction: what stays, what is cut, what is summed up. It strictly shrinks, or there is none.

use std::sync::Arc;

use sterna_llm::Item;
use sterna_model::{
    Archive, BlobRef, CompactStage, CompactTrigger, Compacted, Digest, EffectKey, Frame, Pinned, Place,
};

use crate::compact::{KEPT_OF_RESULT, LONG_RESULT, head_text, size};
use crate::files::has_files;
use crate::pinned::pins;
use crate::transcript::{Entry, cut_entry};

/// What a request weighs, and what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Tokens that a request may have: the window without what is reserved for the answer.
    pub window: u64,
    /// Bytes of the whole request.
    pub bytes: u64,
    /// Tokens of the whole request.
    pub tokens: u64,
}

impl Load {
    /// Whether the history should become smaller before this is sent.
    pub fn is_high(&self) -> bool {
        let high = u128::from(self.tokens) * 100 > u128::from(self.window) * HIGH_PERCENT;
        let little_left =
            self.window >= LARGE_WINDOW && self.window.saturating_sub(self.tokens) < LITTLE_LEFT;
        high || little_left
    }

    /// Whether it cannot be sent at all.
    pub fn is_over(&self) -> bool {
        self.tokens > self.window
    }

    fn bytes_of(&self, tokens: u64) -> u64 {
        let scaled = u128::from(tokens) * u128::from(self.bytes) / u128::from(self.tokens.max(1));
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    fn tokens_of(&self, bytes: u64) -> u64 {
        let scaled = u128::from(bytes) * u128::from(self.tokens) / u128::from(self.bytes.max(1));
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// This, without asking a model.
    Change(Change),
    /// Sum up everything up to this record.
    Summarise(Place),
    /// There is nothing that could become smaller.
    Nothing(String),
}

/// A smaller view of the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub stage: CompactStage,
    pub archive: Option<Archive>,
    /// The summary of an earlier compaction, which stays.
    pub kept_summary: Option<BlobRef>,
    /// The text of a new one.
    pub new_summary: Option<String>,
    pub pinned: Vec<Pinned>,
    pub cut: Vec<Place>,
    /// The window that it is in, or that it opens.
    pub frame: Option<Box<Frame>>,
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub tokens_after: u64,
}

impl Change {
    /// The record of it. `summary` is the blob of the new summary.
    pub fn record(
        self,
        trigger: CompactTrigger,
        key: Option<EffectKey>,
        tokens_before: u64,
        summary: Option<BlobRef>,
        failed: Option<String>,
    ) -> Compacted {
        Compacted {
            trigger,
            stage: self.stage,
            key,
            archive: self.archive,
            summary: summary.or(self.kept_summary),
            pinned: self.pinned,
            cut: self.cut,
            tokens_before,
            tokens_after: self.tokens_after,
            bytes_before: self.bytes_before,
            bytes_after: self.bytes_after,
            failed,
            frame: self.frame,
        }
    }
}

/// The first thing to try. `summarise`: a model may be asked. `all_the_way`: cutting results alone is not enough,
/// because a person asked, or because the provider knows better than we how much fits.
pub fn first_step(entries: &[Entry], load: &Load, summarise: bool, all_the_way: bool) -> Step {
    let tail = tail_start(entries, load);
    if !all_the_way && let Some(change) = cut_results(entries, tail, load) {
        return Step::Change(change);
    }
    let old: u64 = entries[..tail].iter().filter(|entry| entry.head.is_none()).map(|e| size(&e.item)).sum();
    if !all_the_way && !load.is_over() && old < load.bytes_of(load.window / WORTH_SHARE) {
        return Step::Nothing("too little of it is old enough to be left out".into());
    }
    let new_in_it = old > 0;
    if summarise
        && new_in_it
        && let Some(to) = tail.checked_sub(1).and_then(|last| last_place(&entries[last]))
    {
        return Step::Summarise(to);
    }
    match mechanical(entries, load) {
        Ok(change) => Step::Change(change),
        Err(why) => Step::Nothing(why),
    }
}

/// What a summary of everything up to `to` makes of the history. An error says what is wrong with it.
pub fn with_summary(entries: &[Entry], load: &Load, to: Place, text: &str) -> Result<Change, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("the summary is empty".into());
    }
    let Some(boundary) = boundary(entries, to) else {
        return Err(format!("record {to} is not in the request any more"));
    };
    head(entries, boundary, load, CompactStage::Summary, Some(text))
        .ok_or_else(|| "the summary is no shorter than what it sums up".to_owned())
}

/// A cut without a model: the oldest whole steps become a reference, as many as the target needs. An error when nothing
/// would become smaller.
pub fn mechanical(entries: &[Entry], load: &Load) -> Result<Change, String> {
    let mut best: Option<Change> = None;
    for boundary in starts(entries).into_iter().skip(1) {
        if let Some(change) = head(entries, boundary, load, CompactStage::Cut, None) {
            let done = change.tokens_after * 100 <= load.window * TARGET_PERCENT;
            if best.as_ref().is_none_or(|best| change.bytes_after < best.bytes_after) {
                best = Some(change);
            }
            if done {
                break;
            }
        }
    }
    let still_over = |change: &Change| change.tokens_after > load.window;
    if best.as_ref().is_none_or(still_over) {
        // The last resort: results of the newest step too.
        let archived = best.as_ref().and_then(|change| change.archive);
        let from = archived.and_then(|archive| boundary(entries, archive.to)).unwrap_or(0);
        let cut = long_results(&entries[from..], KEPT_OF_RESULT + MARKER_CHARS);
        let saved = saved_by(&entries[from..], &cut);
        if saved > 0 {
            let mut change = best.unwrap_or_else(|| unchanged(entries, load));
            change.bytes_after = change.bytes_after.saturating_sub(saved);
            change.tokens_after = change.tokens_after.saturating_sub(load.tokens_of(saved));
            change.cut = cut;
            best = Some(change);
        }
    }
    best.ok_or_else(|| "nothing is left that could be shown by less".to_owned())
}

/// A fresh window: a task, what is taken along, and the person's own words stand for all that was.
pub fn fresh_window(entries: &[Entry], load: &Load, frame: Frame) -> Change {
    let places = || entries.iter().flat_map(|entry| entry.from.iter()).copied();
    let earlier = entries.first().and_then(|entry| entry.head.as_ref()).and_then(|head| head.archive);
    let from = earlier.map(|archive| archive.from).or_else(|| places().min());
    let archive = from.zip(places().max()).map(|(from, to)| Archive { from, to });
    let room = load.bytes_of((load.window / PINNED_SHARE).min(PINNED_TOKENS));
    let before = bytes(entries);
    let mut change = Change {
        stage: CompactStage::Frame,
        archive,
        kept_summary: None,
        new_summary: None,
        pinned: pins(entries, usize::try_from(room).unwrap_or(usize::MAX)),
        cut: Vec::new(),
        frame: Some(Box::new(frame)),
        bytes_before: before,
        bytes_after: 0,
        tokens_after: 0,
    };
    let shown = change.clone().record(CompactTrigger::Continue, None, 0, None, None);
    change.bytes_after = size(&Item::User(vec![head_text(&shown, None)]));
    let others = load.tokens.saturating_sub(load.tokens_of(before));
    change.tokens_after = others.saturating_add(load.tokens_of(change.bytes_after));
    change
}

/// Long results outside the newest part, if cutting them is enough.
fn cut_results(entries: &[Entry], tail: usize, load: &Load) -> Option<Change> {
    let cut = long_results(&entries[..tail], LONG_RESULT);
    let saved = saved_by(&entries[..tail], &cut);
    let tokens_after = load.tokens.saturating_sub(load.tokens_of(saved));
    let enough = tokens_after * 100 <= load.window * TARGET_PERCENT;
    (saved > 0 && enough).then(|| {
        let whole = unchanged(entries, load);
        Change { cut, bytes_after: whole.bytes_before - saved, tokens_after, ..whole }
    })
}

fn unchanged(entries: &[Entry], load: &Load) -> Change {
    let bytes = bytes(entries);
    Change {
        stage: CompactStage::Results,
        archive: None,
        kept_summary: None,
        new_summary: None,
        pinned: Vec::new(),
        cut: Vec::new(),
        frame: None,
        bytes_before: bytes,
        bytes_after: bytes,
        tokens_after: load.tokens,
    }
}

/// Everything before `boundary` shown by a head. `None` when that would not be smaller.
fn head(
    entries: &[Entry],
    boundary: usize,
    load: &Load,
    stage: CompactStage,
    summary: Option<&str>,
) -> Option<Change> {
    let old = &entries[..boundary];
    let (before, replaced) = (bytes(entries), bytes(old));
    let earlier = old.first().and_then(|entry| entry.head.as_ref());
    let from = match earlier.and_then(|head| head.archive) {
        Some(archive) => archive.from,
        None => old.iter().flat_map(|entry| entry.from.iter()).copied().min()?,
    };
    let archive = Archive { from, to: old.last().and_then(last_place)? };
    let kept_summary = earlier.and_then(|head| head.summary.clone()).filter(|_| summary.is_none());
    let frame = earlier.and_then(|head| head.frame.clone());
    let mut room = load.bytes_of((load.window / PINNED_SHARE).min(PINNED_TOKENS));
    loop {
        let pinned = pins(old, usize::try_from(room).unwrap_or(usize::MAX));
        let compacted = Compacted {
            trigger: CompactTrigger::Window,
            stage,
            key: None,
            archive: Some(archive),
            summary: kept_summary.clone(),
            pinned,
            cut: Vec::new(),
            tokens_before: 0,
            tokens_after: 0,
            bytes_before: 0,
            bytes_after: 0,
            failed: None,
            frame: frame.clone(),
        };
        let shown = size(&Item::User(vec![head_text(&compacted, summary)]));
        // A summary that stays is as long as its blob.
        let shown = shown + compacted.summary.as_ref().map_or(0, |blob| blob.bytes + SUMMARY_FRAME);
        if shown < replaced {
            let saved = replaced - shown;
            return Some(Change {
                stage,
                archive: Some(archive),
                kept_summary,
                new_summary: summary.map(str::to_owned),
                pinned: compacted.pinned,
                cut: Vec::new(),
                frame,
                bytes_before: before,
                bytes_after: before - saved,
                tokens_after: load.tokens.saturating_sub(load.tokens_of(saved)),
            });
        }
        if room == 0 {
            return None;
        }
        room /= 2;
        if room < 64 {
            room = 0;
        }
    }
}

/// Where the newest part begins: as many whole steps as its budget holds, one at least.
fn tail_start(entries: &[Entry], load: &Load) -> usize {
    let budget = load.bytes_of((load.window / 4).min(TAIL_TOKENS));
    let starts = starts(entries);
    let mut at = starts.last().copied().unwrap_or(0);
    for start in starts.into_iter().rev() {
        if bytes(&entries[start..]) > budget {
            break;
        }
        at = start;
    }
    at
}

/// Where the history may be divided: before everything but results, which stay with their calls, and not within the
/// step that is under way.
fn starts(entries: &[Entry]) -> Vec<usize> {
    let last = entries.iter().position(|entry| entry.fixed).unwrap_or(entries.len());
    (0..entries.len().min(last + 1)).filter(|at| !matches!(&*entries[*at].item, Item::Results(_))).collect()
}

/// The index after the entry of this record.
fn boundary(entries: &[Entry], to: Place) -> Option<usize> {
    entries.iter().rposition(|entry| entry.from.contains(&to)).map(|at| at + 1)
}

fn last_place(entry: &Entry) -> Option<Place> {
    entry.from.iter().copied().max()
}

fn bytes(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| size(&entry.item)).sum()
}

fn long_results(entries: &[Entry], chars: usize) -> Vec<Place> {
    let of = |entry: &Entry| match &*entry.item {
        Item::Results(results) => {
            let long = results.iter().zip(&*entry.from);
            // Files weigh more than what is told of them.
            long.filter(|(result, _)| !result.files.is_empty() || result.text.chars().count() > chars)
                .map(|(_, place)| *place)
                .collect()
        }
        // What nobody has been shown yet stays whole.
        Item::Mixed(_) if !entry.fixed && has_files(std::slice::from_ref(&entry.item)) => entry.from.to_vec(),
        Item::User(_) | Item::Mixed(_) | Item::Assistant(_) => Vec::new(),
    };
    entries.iter().flat_map(of).collect()
}

fn saved_by(entries: &[Entry], cut: &[Place]) -> u64 {
    let mut saved = 0u64;
    for entry in entries {
        let shorter = cut_entry(entry, cut);
        if !Arc::ptr_eq(&shorter.item, &entry.item) {
            saved += size(&entry.item).saturating_sub(size(&shorter.item));
        }
    }
    saved
}

/// The bytes of a summary as they are kept, and their name.
pub fn summary_blob(text: &str) -> (BlobRef, Vec<u8>) {
    let bytes = text.trim().as_bytes().to_vec();
    (BlobRef { hash: Digest(*blake3::hash(&bytes).as_bytes()), bytes: bytes.len() as u64 }, bytes)
}

// Design: more than 0.85 of the window, or less than 13,000 tokens left of 64,000 and more; the target is half of it.
const HIGH_PERCENT: u128 = 85;
const LITTLE_LEFT: u64 = 13_000;
const LARGE_WINDOW: u64 = 64_000;
const TARGET_PERCENT: u64 = 50;
/// Design: the newest 20,000 tokens, a quarter of the window at most, stay as they are.
const TAIL_TOKENS: u64 = 20_000;
/// The person's words may take an eighth of the window, 8,000 tokens at most.
const PINNED_SHARE: u64 = 8;
const PINNED_TOKENS: u64 = 8_000;
/// Less than a twentieth of the window is not worth a broken cache.
const WORTH_SHARE: u64 = 20;
/// Characters that the marker of a cut result may have.
const MARKER_CHARS: usize = 100;
/// What stands round a summary.
const SUMMARY_FRAME: u64 = 24;
