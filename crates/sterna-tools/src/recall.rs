//! `recall`: what was cut from an earlier result, what a request shows no more, what was remembered, and what was said
//! in past sessions.

use std::fmt::Write;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_log::LogError;
use sterna_log::fold::Note;
use sterna_model::{Digest, EffectClass, Place, ToolSpec};
use sterna_tool::{
    Access, MemoryError, Plan, PlanContext, SessionView, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};

use crate::remember::{access, trouble};
use crate::support::{first_line, parse};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// `blob:HASH` or `record:N`, as the cut names it, or the id or name of a note.
    #[serde(rename = "ref")]
    reference: Option<String>,
    /// Words to look for, instead of `ref`.
    query: Option<String>,
    /// Where to look for them; this session by default.
    #[serde(rename = "in")]
    within: Option<Within>,
    /// Byte to start at.
    offset: Option<u64>,
    /// Lines of a ref, 390 at most; hits of a query, 20 at most.
    #[schemars(range(min = 1))]
    limit: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Within {
    Session,
    Memory,
    Sessions,
}

/// What is to be read.
enum Wanted {
    Blob(Digest),
    Record(Place),
    Words(String),
    /// A note, by its id, name or alias.
    Note(String),
    /// Notes on something.
    Notes(String),
    /// What was said in past sessions.
    Past(String),
}

pub(crate) struct Recall {
    spec: ToolSpec,
}

impl Recall {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("recall", include_str!("recall.md")) }
    }
}

impl Tool for Recall {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Pure
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        let summary = match wanted(&args)? {
            Wanted::Words(query) => format!("recall what was said of {query}"),
            Wanted::Note(name) => format!("recall the note {}", first_line(&name, NAME_BYTES)),
            Wanted::Notes(query) => format!("recall notes on {}", first_line(&query, NAME_BYTES)),
            Wanted::Past(query) => {
                format!("recall what was said in past sessions of {}", first_line(&query, NAME_BYTES))
            }
            Wanted::Blob(_) | Wanted::Record(_) => {
                let reference = args.reference.unwrap_or_default();
                format!("recall {reference} from byte {}", args.offset.unwrap_or(0))
            }
        };
        Ok(Plan { accesses: vec![Access::Session], summary, preview: None })
    }

    fn untrusted(&self, args: &Value, view: &SessionView) -> Option<String> {
        let args: Args = parse(args).ok()?;
        match wanted(&args).ok()? {
            Wanted::Blob(hash) => view.untrusted.get(&hash).cloned(),
            // Whose text a record holds is not known here: where strangers have spoken, it may be theirs.
            Wanted::Record(_) | Wanted::Words(_) if view.strangers => Some("earlier records".to_owned()),
            // What is found tells.
            Wanted::Record(_) | Wanted::Words(_) | Wanted::Note(_) | Wanted::Notes(_) | Wanted::Past(_) => {
                None
            }
        }
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: Args = parse(&args)?;
            let done = match wanted(&args)? {
                Wanted::Note(name) => note(&cx, &name).await?,
                Wanted::Notes(query) => notes(&cx, &query, hits(&args)).await?,
                Wanted::Past(query) => past(&cx, &query, hits(&args)).await?,
                Wanted::Words(query) => ToolDone::text(search(&query, lines(&args)?, &cx).await?),
                Wanted::Record(place) => ToolDone::text(recall(&args, &cx, Cut::Record(place)).await?),
                Wanted::Blob(hash) => ToolDone::text(recall(&args, &cx, Cut::Blob(hash)).await?),
            };
            Ok(ToolReturn::Done(done))
        }
        .boxed()
    }
}

fn wanted(args: &Args) -> Result<Wanted, ToolError> {
    match (&args.reference, &args.query) {
        (Some(reference), None) => match reference.strip_prefix("record:") {
            Some(place) => place.parse().map(Wanted::Record).map_err(|_| {
                ToolError::invalid(format!(
                    "`{}` is no record; give record: and its number",
                    short(reference)
                ))
            }),
            None if reference.starts_with("blob:") || args.within.is_none() && is_hash(reference) => {
                blob(reference).map(Wanted::Blob)
            }
            None if reference.trim().is_empty() => Err(ToolError::invalid("the ref is empty")),
            None => Ok(Wanted::Note(reference.clone())),
        },
        (None, Some(query)) if !query.trim().is_empty() => {
            let query = query.trim().to_owned();
            Ok(match args.within {
                None | Some(Within::Session) => Wanted::Words(query),
                Some(Within::Memory) => Wanted::Notes(query),
                Some(Within::Sessions) => Wanted::Past(query),
            })
        }
        _ => Err(ToolError::invalid("give ref or query, and not both")),
    }
}

/// What a cut names may be given without its `blob:`.
fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

fn blob(reference: &str) -> Result<Digest, ToolError> {
    let hash = reference.strip_prefix("blob:").unwrap_or(reference);
    hash.parse().map_err(|_| {
        ToolError::invalid(format!(
            "`{}` is not a reference; give blob: and the 64 hex digits that the cut names, or record: and a number",
            short(reference)
        ))
    })
}

/// What a reference reads page by page.
enum Cut {
    Blob(Digest),
    Record(Place),
}

fn lines(args: &Args) -> Result<usize, ToolError> {
    match args.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MAX_LINES).min(MAX_LINES) {
        0 => Err(ToolError::invalid("limit counts from 1")),
        limit => Ok(limit),
    }
}

fn hits(args: &Args) -> usize {
    args.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(HITS).min(MAX_FOUND)
}

async fn note(cx: &ToolContext, name: &str) -> Result<ToolDone, ToolError> {
    if cx.memory.is_none() {
        // Then it can only be meant for what was cut.
        blob(name)?;
    }
    let access = access(cx)?;
    let found = access.memory.get(&access.place(&cx.key, (cx.now)()), name).await.map_err(trouble)?;
    let found = found.ok_or_else(|| trouble(MemoryError::Unknown(first_line(name, NAME_BYTES))))?;
    Ok(told(&[found]))
}

async fn notes(cx: &ToolContext, query: &str, limit: usize) -> Result<ToolDone, ToolError> {
    let access = access(cx)?;
    let place = access.place(&cx.key, (cx.now)());
    let found = access.memory.search(&place, query, limit).await.map_err(trouble)?;
    Ok(told(&found))
}

async fn past(cx: &ToolContext, query: &str, limit: usize) -> Result<ToolDone, ToolError> {
    let access = access(cx)?;
    let place = access.place(&cx.key, (cx.now)());
    let hits = access.memory.past(&place, query, limit).await.map_err(trouble)?;
    if hits.is_empty() {
        return Ok(ToolDone::text("nothing was said of that"));
    }
    let mut text = String::new();
    for hit in &hits {
        let title = hit.title.as_deref().map(|title| format!(" ({})", first_line(title, NAME_BYTES)));
        let _ = writeln!(text, "{}{}", hit.session, title.unwrap_or_default());
        for entry in &hit.entries {
            let mark = if entry.matched { '>' } else { ' ' };
            // More than one line of one entry is told from the next entry.
            let body = entry.text.trim().replace('\n', "\n    ");
            let _ = writeln!(text, "{mark} @{} {}: {body}", entry.seq, entry.role);
        }
    }
    Ok(ToolDone::text(text))
}

/// Notes as the model reads them. Texts of strangers among them make all of it theirs.
fn told(notes: &[Note]) -> ToolDone {
    if notes.is_empty() {
        return ToolDone::text("nothing is remembered of that");
    }
    let mut text = String::new();
    for Note { note, .. } in notes {
        let _ = write!(text, "[{} {}] {}", note.id, note.scope, note.name);
        for (what, list) in [("tags", &note.tags), ("also", &note.aliases)] {
            if !list.is_empty() {
                let _ = write!(text, "; {what}: {}", list.join(", "));
            }
        }
        let _ = writeln!(text, "\n{}", note.text);
    }
    let origin = notes.iter().find_map(|found| found.note.tainted.first().cloned());
    ToolDone { origin, ..ToolDone::text(text) }
}

async fn recall(args: &Args, cx: &ToolContext, cut: Cut) -> Result<String, ToolError> {
    let limit = lines(args)?;
    let offset = args.offset.unwrap_or(0);
    let name = args.reference.clone().unwrap_or_default();
    let bytes = match cut {
        Cut::Record(place) => {
            let text = cx.session.record(place).await.map_err(ToolError::failed)?;
            let text = text.ok_or_else(|| ToolError::failed(format!("{name} is not in this session")))?;
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
            let bytes = &text.as_bytes()[from..];
            Bytes::copy_from_slice(&bytes[..bytes.len().min(PAGE_BYTES + 1)])
        }
        // One byte more tells whether there is more.
        Cut::Blob(hash) => {
            cx.blobs.get_range(&hash, offset, PAGE_BYTES as u64 + 1).await.map_err(|error| match error {
                LogError::BlobMissing(_) => ToolError::failed(format!("{name} is not kept here")),
                other => ToolError::failed(other),
            })?
        }
    };
    if bytes.is_empty() {
        return match offset {
            0 => Ok(format!("{name} is empty")),
            _ => Err(ToolError::failed(format!("{name} has no byte {offset}; it ends before"))),
        };
    }
    let taken = page(&bytes, limit);
    // Lossy text may be longer than its bytes; the runtime's budget still holds.
    let mut text = String::from_utf8_lossy(&bytes[..taken]).into_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let end = offset + taken as u64;
    text.push_str(&if taken < bytes.len() {
        format!("[bytes {offset}–{end}; offset {end} reads on]")
    } else {
        format!("[bytes {offset}–{end}, the end]")
    });
    Ok(text)
}

async fn search(query: &str, limit: usize, cx: &ToolContext) -> Result<String, ToolError> {
    let found = cx.session.search(query, limit.min(MAX_FOUND)).await.map_err(ToolError::failed)?;
    if found.is_empty() {
        return Ok(format!("no record of this session has a word of `{}`", short(query)));
    }
    let lines =
        found.iter().map(|found| format!("record:{} {}: {}\n", found.place, found.who, found.snippet));
    Ok(lines.collect())
}

/// How many of the bytes make a page: at most `limit` lines, whole lines and characters where that is possible.
fn page(bytes: &[u8], limit: usize) -> usize {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    if let Some(end) = ends.clone().nth(limit - 1).filter(|end| *end <= PAGE_BYTES) {
        return end;
    }
    if bytes.len() <= PAGE_BYTES {
        return bytes.len();
    }
    if let Some(end) = ends.take_while(|end| *end <= PAGE_BYTES).last() {
        return end;
    }
    // One long line: cut it where a character begins.
    (PAGE_BYTES - 3..=PAGE_BYTES).rev().find(|at| bytes[*at] & 0xC0 != 0x80).unwrap_or(PAGE_BYTES)
}

const NAME_BYTES: usize = 120;
/// Notes and past sessions that a query finds unless it says how many (design: 5).
const HITS: usize = 5;
const MAX_LINES: usize = 390;
/// Records that a search lists at most.
const MAX_FOUND: usize = 20;
/// Leaves room for the last line within a view of 16 KiB.
const PAGE_BYTES: usize = 15 << 10;
