//! `recall`: what was cut from an earlier result, what was remembered, and what was said.

use std::fmt::Write;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_log::fold::Note;
use sterna_log::{LogError, SharedBlobs};
use sterna_model::{Digest, EffectClass, ToolSpec};
use sterna_tool::{
    Access, MemoryError, Past, Plan, PlanContext, SessionView, Tool, ToolContext, ToolDone, ToolError,
    ToolReturn, ViewBudget,
};

use crate::remember::{access, trouble};
use crate::support::{first_line, parse};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// `blob:HASH`, as a cut names it, or the id or name of a note.
    #[serde(rename = "ref")]
    reference: Option<String>,
    /// Words to look for.
    query: Option<String>,
    /// Where to look for them.
    #[serde(rename = "in")]
    within: Option<Within>,
    /// Byte to start at, for a ref.
    offset: Option<u64>,
    /// Lines of a ref, 390 at most; hits of a query, 20 at most.
    #[schemars(range(min = 1))]
    limit: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Within {
    Memory,
    Session,
    Sessions,
}

/// What is asked for.
enum Wanted<'a> {
    /// What was cut.
    Blob(Digest, &'a str),
    Note(&'a str),
    Notes(&'a str),
    Said(&'a str, Past),
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
            Wanted::Blob(_, name) => format!("recall {name} from byte {}", args.offset.unwrap_or(0)),
            Wanted::Note(name) => format!("recall the note {}", first_line(name, NAME_BYTES)),
            Wanted::Notes(query) => format!("recall notes on {}", first_line(query, NAME_BYTES)),
            Wanted::Said(query, Past::This) => {
                format!("recall what was said here of {}", first_line(query, NAME_BYTES))
            }
            Wanted::Said(query, Past::Others) => {
                format!("recall what was said in past sessions of {}", first_line(query, NAME_BYTES))
            }
        };
        Ok(Plan { accesses: vec![Access::Session], summary, preview: None })
    }

    fn untrusted(&self, args: &Value, view: &SessionView) -> Option<String> {
        let args: Args = parse(args).ok()?;
        match wanted(&args).ok()? {
            Wanted::Blob(hash, _) => view.untrusted.get(&hash).cloned(),
            // Only what is found tells.
            Wanted::Note(_) | Wanted::Notes(_) | Wanted::Said(..) => None,
        }
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: Args = parse(&args)?;
            let done = match wanted(&args)? {
                Wanted::Blob(hash, name) => ToolDone::text(recall(&args, hash, name, &cx.blobs).await?),
                Wanted::Note(name) => note(&cx, name).await?,
                Wanted::Notes(query) => notes(&cx, query, hits(&args)).await?,
                Wanted::Said(query, past) => said(&cx, query, past, hits(&args)).await?,
            };
            Ok(ToolReturn::Done(done))
        }
        .boxed()
    }
}

fn wanted(args: &Args) -> Result<Wanted<'_>, ToolError> {
    match (&args.reference, &args.query, args.within) {
        (Some(reference), None, None | Some(Within::Memory)) => match blob(reference) {
            Some(hash) => Ok(Wanted::Blob(hash, reference)),
            None if reference.starts_with("blob:") => Err(ToolError::invalid(format!(
                "`{}` is not a reference; give blob: and the 64 hex digits that the cut names",
                reference.chars().take(100).collect::<String>()
            ))),
            None => Ok(Wanted::Note(reference)),
        },
        (None, Some(query), _) if query.trim().is_empty() => Err(ToolError::invalid("the query is empty")),
        (None, Some(query), None | Some(Within::Memory)) => Ok(Wanted::Notes(query)),
        (None, Some(query), Some(Within::Session)) => Ok(Wanted::Said(query, Past::This)),
        (None, Some(query), Some(Within::Sessions)) => Ok(Wanted::Said(query, Past::Others)),
        (Some(_), None, Some(Within::Session | Within::Sessions)) => {
            Err(ToolError::invalid("`in` goes with a query; a ref is found without it"))
        }
        (Some(_), Some(_), _) | (None, None, _) => Err(ToolError::invalid("give either a ref or a query")),
    }
}

fn blob(reference: &str) -> Option<Digest> {
    reference.strip_prefix("blob:").unwrap_or(reference).parse().ok()
}

fn hits(args: &Args) -> usize {
    args.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(HITS).min(MOST_HITS)
}

async fn note(cx: &ToolContext, name: &str) -> Result<ToolDone, ToolError> {
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

async fn said(cx: &ToolContext, query: &str, past: Past, limit: usize) -> Result<ToolDone, ToolError> {
    let access = access(cx)?;
    let place = access.place(&cx.key, (cx.now)());
    let hits = access.memory.past(&place, query, past, limit).await.map_err(trouble)?;
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
    Ok(ToolDone { budget: FOUND, ..ToolDone::text(text) })
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
    ToolDone { origin, budget: FOUND, ..ToolDone::text(text) }
}

async fn recall(args: &Args, hash: Digest, name: &str, blobs: &SharedBlobs) -> Result<String, ToolError> {
    let limit = args.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MAX_LINES).min(MAX_LINES);
    if limit == 0 {
        return Err(ToolError::invalid("limit counts from 1"));
    }
    let offset = args.offset.unwrap_or(0);
    // One byte more tells whether there is more.
    let bytes = blobs.get_range(&hash, offset, PAGE_BYTES as u64 + 1).await.map_err(|error| match error {
        LogError::BlobMissing(_) => ToolError::failed(format!("{name} is not kept here")),
        other => ToolError::failed(other),
    })?;
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
/// Hits of a query unless it says how many (design: 5), and at most (design: 20).
const HITS: usize = 5;
const MOST_HITS: usize = 20;
/// 20 hits of 5 KiB are more than a result shows; the rest is recalled by its reference.
const FOUND: ViewBudget = ViewBudget { bytes: 16 << 10, lines: 400, head_percent: 100 };
const MAX_LINES: usize = 390;
/// Leaves room for the last line within a view of 16 KiB.
const PAGE_BYTES: usize = 15 << 10;
