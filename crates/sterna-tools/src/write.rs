//! `write`: a whole file, when nobody else has changed it.

use std::path::Path;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use similar::TextDiff;
use sterna_log::digest;
use sterna_model::{Digest, EffectClass, EffectKey, Fact, ToolSpec};
use sterna_tool::{
    Access, Placeholders, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn, shown,
};

use crate::file::{self, Snapshot, Trouble, stale};
use crate::support::{Stop, blocking, counted, cut, key, number, parse, place, planned};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// File to write, relative to the working directory or absolute.
    path: String,
    /// The file's whole new text.
    content: String,
}

pub(crate) struct Write {
    spec: ToolSpec,
}

impl Write {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("write", include_str!("write.md")) }
    }
}

impl Tool for Write {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }

    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        let path = place(&cx.cwd, &args.path)?;
        let name = shown(&path, &cx.cwd);
        let summary = format!("write {name} ({} bytes)", number(args.content.len() as u64));
        let preview = match file::read(&path) {
            Ok(before) => preview(&name, &before.bytes, &wanted(&args.content, Some(&before)).0),
            Err(Trouble::Missing) => preview(&name, b"", args.content.as_bytes()),
            // The call will say what is wrong.
            Err(_) => None,
        };
        Ok(Plan { accesses: vec![Access::Write(path)], summary, preview })
    }

    fn placeholders(&self, _: &Value) -> Placeholders {
        Placeholders::Restore
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: Args = parse(&args)?;
            let path = planned(&cx, &args.path)?;
            let cancel = cx.cancel.clone();
            blocking(&cancel, move |stop| write(&args, &path, &cx, stop)).await.map(ToolReturn::Done)
        }
        .boxed()
    }
}

fn write(args: &Args, path: &Path, cx: &ToolContext, stop: &Stop) -> Result<ToolDone, ToolError> {
    let name = shown(path, &cx.cwd);
    let trouble = |trouble: Trouble| trouble.told(path, &cx.cwd);
    let before = match file::read(path) {
        Ok(before) => Some(before),
        Err(Trouble::Missing) => None,
        Err(other) => return Err(trouble(other)),
    };
    let seen = cx.view.files.get(&key(path)).copied();
    let (bytes, crlf) = wanted(&args.content, before.as_ref());
    let after = digest(&bytes);
    let size = format!("{}, {} bytes", counted(lines(&bytes), "line"), number(bytes.len() as u64));
    if let Some(before) = &before {
        if before.hash == after && cx.attempt > 1 {
            // The attempt before this one came this far.
            let facts = vec![Fact::FileWritten { path: key(path), before: seen, after }];
            return Ok(ToolDone { facts, ..ToolDone::text(format!("wrote `{name}` ({size})")) });
        }
        if before.hash == after {
            let facts = vec![Fact::FileRead { path: key(path), hash: after }];
            let text = format!("`{name}` is unchanged: it has exactly this content ({size})");
            return Ok(ToolDone { facts, ..ToolDone::text(text) });
        }
        check_seen(&name, seen, before.hash)?;
    }
    file::replace(path, &bytes, before.as_ref(), &temp_mark(&cx.key), stop).map_err(trouble)?;
    let verb = if before.is_some() { "wrote" } else { "made" };
    let endings = if crlf { "; line endings kept as CRLF" } else { "" };
    Ok(ToolDone {
        facts: vec![Fact::FileWritten { path: key(path), before: before.map(|before| before.hash), after }],
        ..ToolDone::text(format!("{verb} `{name}` ({size}){endings}"))
    })
}

/// Compare and swap: only what this session has seen may be replaced.
pub(crate) fn check_seen(name: &str, seen: Option<Digest>, now: Digest) -> Result<(), ToolError> {
    match seen {
        None => Err(ToolError::failed(format!(
            "`{name}` exists and was not read in this session; read it first, then change it"
        ))),
        Some(seen) if seen != now => Err(ToolError::failed(stale(name))),
        Some(_) => Ok(()),
    }
}

/// The name of the temporary file of an effect: the same for each attempt.
pub(crate) fn temp_mark(key: &EffectKey) -> String {
    cut(&digest(key.to_string().as_bytes()).to_string(), 16).to_owned()
}

/// A diff for a person. `None` when there is nothing to see.
pub(crate) fn preview(name: &str, before: &[u8], after: &[u8]) -> Option<String> {
    if before == after || before.len().max(after.len()) > PREVIEWED_BYTES {
        return None;
    }
    let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
    let diff = TextDiff::from_lines(before.as_ref(), after.as_ref());
    let diff = diff.unified_diff().context_radius(3).header(name, name).to_string();
    let shown = cut(&diff, PREVIEW_BYTES - CUT_MARK.len());
    Some(if shown.len() == diff.len() { diff } else { format!("{shown}{CUT_MARK}") })
}

/// Whether most lines end in CRLF.
pub(crate) fn is_crlf(bytes: &[u8]) -> bool {
    let with = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
    with > 0 && with * 2 > bytes.iter().filter(|b| **b == b'\n').count()
}

/// Every line end as CRLF, also those that were.
pub(crate) fn to_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

/// The bytes to write, and whether the old file's line endings were put in.
fn wanted(content: &str, before: Option<&Snapshot>) -> (Vec<u8>, bool) {
    let crlf = content.contains('\n')
        && !content.contains("\r\n")
        && before.is_some_and(|before| is_crlf(&before.bytes));
    (if crlf { to_crlf(content).into_bytes() } else { content.as_bytes().to_vec() }, crlf)
}

fn lines(bytes: &[u8]) -> usize {
    let open = bytes.last().is_some_and(|last| *last != b'\n');
    bytes.iter().filter(|b| **b == b'\n').count() + usize::from(open)
}

pub(crate) const PREVIEW_BYTES: usize = 4 << 10;
const CUT_MARK: &str = "\n[… the diff goes on]\n";
/// A diff of more than this would take long, and nobody would read it.
const PREVIEWED_BYTES: usize = 1 << 20;
