//! `edit`: one text in a file for another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_log::digest;
use sterna_model::{EffectClass, Fact, ToolSpec};
use sterna_tool::{
    Access, Placeholders, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn, shown,
};

use crate::edit_match::{Found, find, replaced};
use crate::file::{self, Snapshot};
use crate::support::{blocking, counted, key, parse, place, planned};
use crate::write::{check_seen, is_crlf, preview, temp_mark, to_crlf};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// File to change, relative to the working directory or absolute.
    path: String,
    /// Text to replace.
    old_string: String,
    /// Text to put there.
    new_string: String,
    /// Replace every occurrence instead of the only one.
    replace_all: Option<bool>,
}

pub(crate) struct Edit {
    spec: ToolSpec,
}

impl Edit {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("edit", include_str!("edit.md")) }
    }
}

impl Tool for Edit {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }

    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args = parse_checked(args)?;
        let path = place(&cx.cwd, &args.path)?;
        let name = shown(&path, &cx.cwd);
        // The call will say what is wrong.
        let preview = file::read(&path).ok().and_then(|before| {
            let change = changed(&before.bytes, &args, &name).ok()?;
            preview(&name, &before.bytes, &change.bytes)
        });
        Ok(Plan { accesses: vec![Access::Write(path)], summary: format!("edit {name}"), preview })
    }

    fn placeholders(&self, _: &Value) -> Placeholders {
        Placeholders::Restore
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args = Arc::new(parse_checked(&args)?);
            let path = planned(&cx, &args.path)?;
            edit(&cx, args, path).await.map(ToolReturn::Done)
        }
        .boxed()
    }
}

fn parse_checked(args: &Value) -> Result<Args, ToolError> {
    let args: Args = parse(args)?;
    if args.old_string.is_empty() {
        return Err(ToolError::invalid(
            "old_string is empty; give the text to replace, or make a file with write",
        ));
    }
    if args.old_string == args.new_string {
        return Err(ToolError::invalid(
            "old_string and new_string are identical; there is nothing to change",
        ));
    }
    Ok(args)
}

async fn edit(cx: &ToolContext, args: Arc<Args>, path: PathBuf) -> Result<ToolDone, ToolError> {
    let name = shown(&path, &cx.cwd);
    let before = {
        let (path, cwd) = (path.clone(), cx.cwd.clone());
        blocking(&cx.cancel, move |_| file::read(&path).map_err(|trouble| trouble.told(&path, &cwd))).await?
    };
    let seen = cx.view.files.get(&key(&path)).copied();
    if cx.attempt > 1
        && let Some(seen) = seen.filter(|seen| *seen != before.hash)
        // The attempt before this one kept the old version before it put the new one in place.
        && let Ok(old) = cx.blobs.get(&seen).await
        && let Ok(change) = changed(&old, &args, &name)
        && digest(&change.bytes) == before.hash
    {
        let facts = vec![Fact::FileWritten { path: key(&path), before: Some(seen), after: before.hash }];
        return Ok(ToolDone { facts, ..ToolDone::text(change.told) });
    }
    check_seen(&name, seen, before.hash)?;
    let (before, change) = {
        let (args, name) = (args.clone(), name.clone());
        blocking(&cx.cancel, move |_| changed(&before.bytes, &args, &name).map(|change| (before, change)))
            .await?
    };
    let fact =
        Fact::FileWritten { path: key(&path), before: Some(before.hash), after: digest(&change.bytes) };
    let kept = cx.blobs.put(Bytes::from(before.bytes.clone())).await;
    kept.map_err(|error| {
        ToolError::failed(format!(
            "the old version of `{name}` could not be kept, so nothing was changed: {error}"
        ))
    })?;
    swap(cx, path, before, change.bytes).await?;
    Ok(ToolDone { facts: vec![fact], ..ToolDone::text(change.told) })
}

async fn swap(cx: &ToolContext, path: PathBuf, before: Snapshot, bytes: Vec<u8>) -> Result<(), ToolError> {
    let (mark, cwd) = (temp_mark(&cx.key), cx.cwd.clone());
    blocking(&cx.cancel, move |stop| {
        let done = file::replace(&path, &bytes, Some(&before), &mark, stop);
        done.map_err(|trouble| trouble.told(Path::new(&path), &cwd))
    })
    .await
}

/// A file as it is to be, and what the model is told.
struct Change {
    bytes: Vec<u8>,
    told: String,
}

fn changed(before: &[u8], args: &Args, name: &str) -> Result<Change, ToolError> {
    let text = std::str::from_utf8(before).map_err(|error| {
        ToolError::failed(format!(
            "`{name}` is not UTF-8 text (byte {}); change it with shell and a program that knows its encoding",
            error.valid_up_to()
        ))
    })?;
    let crlf = is_crlf(before);
    let endings = |given: &str| if crlf { to_crlf(given) } else { given.to_owned() };
    let (old, new) = (endings(&args.old_string), endings(&args.new_string));
    let all = args.replace_all.unwrap_or(false);
    let (bytes, told) = match find(text, &old, &new, all) {
        Found::Exact { at } => {
            let first = text.as_bytes()[..at.first().map_or(0, |at| at.start)]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1;
            let told = match at.len() {
                1 => format!("edited `{name}` at line {first}"),
                n => format!(
                    "edited `{name}`: {} replaced, the first at line {first}",
                    counted(n, "occurrence")
                ),
            };
            (replaced(text, &at, &new), told)
        }
        Found::Tolerant { at, new } => {
            let line = text.as_bytes()[..at.start].iter().filter(|b| **b == b'\n').count() + 1;
            let told = format!(
                "edited `{name}` at line {line}: old_string matched there only when differences in whitespace were ignored, \
                 and new_string was given the indentation of the file"
            );
            (replaced(text, &[at], &new), told)
        }
        Found::Many { lines, exact } => {
            let n = lines.len();
            let mut shown: Vec<String> = lines.iter().take(LINES_NAMED).map(usize::to_string).collect();
            if n > LINES_NAMED {
                shown.push("…".into());
            }
            let lines = shown.join(", ");
            return Err(ToolError::failed(if exact {
                format!(
                    "old_string occurs {n} times in `{name}` (lines {lines}); add lines around it to make it unique, or set replace_all"
                )
            } else {
                format!(
                    "old_string is not in `{name}` exactly, and {n} places differ from it only in whitespace (lines {lines}); \
                     copy the text exactly as it is in the file"
                )
            }));
        }
        Found::None { nearest } => {
            let hint = nearest.map_or_else(
                || "nothing in it is alike; read the file again".to_owned(),
                |(line, text)| format!("the nearest line is {line}: `{text}`"),
            );
            return Err(ToolError::failed(format!("old_string is not in `{name}`; {hint}")));
        }
    };
    if bytes.as_bytes() == before {
        return Err(ToolError::failed(format!(
            "`{name}` already is as the edit would make it; nothing was changed"
        )));
    }
    Ok(Change { bytes: bytes.into_bytes(), told })
}

const LINES_NAMED: usize = 20;
