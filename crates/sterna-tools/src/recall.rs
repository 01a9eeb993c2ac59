//! `recall`: what was cut from an earlier result.

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_log::{LogError, SharedBlobs};
use sterna_model::{Digest, EffectClass, ToolSpec};
use sterna_tool::{
    Access, Plan, PlanContext, SessionView, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};

use crate::support::parse;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// `blob:HASH`, as the cut names it.
    #[serde(rename = "ref")]
    reference: String,
    /// Byte to start at.
    offset: Option<u64>,
    /// Lines to show, 390 at most.
    #[schemars(range(min = 1))]
    limit: Option<u64>,
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
        blob(&args.reference)?;
        let summary = format!("recall {} from byte {}", args.reference, args.offset.unwrap_or(0));
        Ok(Plan { accesses: vec![Access::Session], summary, preview: None })
    }

    fn untrusted(&self, args: &Value, view: &SessionView) -> Option<String> {
        let args: Args = parse(args).ok()?;
        view.untrusted.get(&blob(&args.reference).ok()?).cloned()
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: Args = parse(&args)?;
            recall(&args, &cx.blobs).await.map(|text| ToolReturn::Done(ToolDone::text(text)))
        }
        .boxed()
    }
}

fn blob(reference: &str) -> Result<Digest, ToolError> {
    let hash = reference.strip_prefix("blob:").unwrap_or(reference);
    hash.parse().map_err(|_| {
        ToolError::invalid(format!(
            "`{}` is not a reference; give blob: and the 64 hex digits that the cut names",
            reference.chars().take(100).collect::<String>()
        ))
    })
}

async fn recall(args: &Args, blobs: &SharedBlobs) -> Result<String, ToolError> {
    let hash = blob(&args.reference)?;
    let limit = args.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MAX_LINES).min(MAX_LINES);
    if limit == 0 {
        return Err(ToolError::invalid("limit counts from 1"));
    }
    let offset = args.offset.unwrap_or(0);
    // One byte more tells whether there is more.
    let bytes = blobs.get_range(&hash, offset, PAGE_BYTES as u64 + 1).await.map_err(|error| match error {
        LogError::BlobMissing(_) => ToolError::failed(format!("{} is not kept here", args.reference)),
        other => ToolError::failed(other),
    })?;
    if bytes.is_empty() {
        let name = &args.reference;
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

const MAX_LINES: usize = 390;
/// Leaves room for the last line within a view of 16 KiB.
const PAGE_BYTES: usize = 15 << 10;
