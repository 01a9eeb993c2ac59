//! `recall`: what was cut from an earlier result, and what a request shows no more.

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_log::LogError;
use sterna_model::{Digest, EffectClass, Place, ToolSpec};
use sterna_tool::{
    Access, Plan, PlanContext, SessionView, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};

use crate::support::parse;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// `blob:HASH` or `record:N`, as the cut names it.
    #[serde(rename = "ref")]
    reference: Option<String>,
    /// Words to look for in this session, instead of `ref`.
    query: Option<String>,
    /// Byte to start at.
    offset: Option<u64>,
    /// Lines to show, 390 at most.
    #[schemars(range(min = 1))]
    limit: Option<u64>,
}

/// What is to be read.
enum Wanted {
    Blob(Digest),
    Record(Place),
    Words(String),
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
            Wanted::Record(_) | Wanted::Words(_) => None,
        }
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: Args = parse(&args)?;
            recall(&args, &cx).await.map(|text| ToolReturn::Done(ToolDone::text(text)))
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
            None => blob(reference).map(Wanted::Blob),
        },
        (None, Some(query)) if !query.trim().is_empty() => Ok(Wanted::Words(query.trim().to_owned())),
        _ => Err(ToolError::invalid("give ref or query, and not both")),
    }
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

async fn recall(args: &Args, cx: &ToolContext) -> Result<String, ToolError> {
    let limit = args.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MAX_LINES).min(MAX_LINES);
    if limit == 0 {
        return Err(ToolError::invalid("limit counts from 1"));
    }
    let offset = args.offset.unwrap_or(0);
    let name = args.reference.clone().unwrap_or_default();
    let bytes = match wanted(args)? {
        Wanted::Words(query) => return search(&query, limit, cx).await,
        Wanted::Record(place) => {
            let text = cx.session.record(place).await.map_err(ToolError::failed)?;
            let text = text.ok_or_else(|| ToolError::failed(format!("{name} is not in this session")))?;
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
            let bytes = &text.as_bytes()[from..];
            Bytes::copy_from_slice(&bytes[..bytes.len().min(PAGE_BYTES + 1)])
        }
        // One byte more tells whether there is more.
        Wanted::Blob(hash) => {
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

const MAX_LINES: usize = 390;
/// Records that a search lists at most.
const MAX_FOUND: usize = 20;
/// Leaves room for the last line within a view of 16 KiB.
const PAGE_BYTES: usize = 15 << 10;
