//! `glob`: files by name, newest first.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec};
use sterna_tool::{Access, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn, shown};

use crate::support::{Stop, blocking, number, parse, place, planned};
use crate::walk::{Filters, check_folder, names_hidden, pattern, walk};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// For example `*.rs` or `src/**/*.ts`.
    pattern: String,
    /// Folder to search; the working directory when left out.
    path: Option<String>,
    /// Files to show, 1000 at most.
    #[schemars(range(min = 1))]
    limit: Option<u64>,
    /// Files to leave out before the first one.
    offset: Option<u64>,
}

impl Args {
    fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(".")
    }
}

pub(crate) struct Glob {
    spec: ToolSpec,
}

impl Glob {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("glob", include_str!("glob.md")) }
    }
}

impl Tool for Glob {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Pure
    }

    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        pattern(&args.pattern)?;
        let path = place(&cx.cwd, args.path())?;
        let summary = format!("glob {} in {}", args.pattern, shown(&path, &cx.cwd));
        Ok(Plan { accesses: vec![Access::ReadTree(path)], summary, preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: Args = parse(&args)?;
            let path = planned(&cx, args.path())?;
            let cancel = cx.cancel.clone();
            blocking(&cancel, move |stop| glob(&args, &path, &cx.cwd, stop)).await.map(ToolReturn::Done)
        }
        .boxed()
    }
}

fn glob(args: &Args, root: &Path, cwd: &Path, stop: &Stop) -> Result<ToolDone, ToolError> {
    let matcher = pattern(&args.pattern)?;
    check_folder(root, cwd)?;
    let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let limit = index(args.limit.unwrap_or(MAX_FILES)).min(index(MAX_FILES));
    let offset = index(args.offset.unwrap_or(0));
    let leave_out = Filters { hidden: !names_hidden(&args.pattern), ignored: true };
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    let mut capped = false;
    for entry in walk(root, leave_out).build().flatten() {
        stop.check()?;
        let is_folder = entry.file_type().is_none_or(|kind| kind.is_dir());
        let fits = entry.path().strip_prefix(root).is_ok_and(|inner| matcher.is_match(inner));
        if is_folder || !fits {
            continue;
        }
        if found.len() == MAX_FOUND {
            capped = true;
            break;
        }
        let changed =
            entry.metadata().ok().and_then(|meta| meta.modified().ok()).unwrap_or(SystemTime::UNIX_EPOCH);
        found.push((changed, entry.into_path()));
    }
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let total = found.len();
    let page: Vec<String> = found.iter().skip(offset).take(limit).map(|(_, path)| shown(path, cwd)).collect();
    let last = offset.saturating_add(page.len());
    let mut text = String::new();
    if total == 0 {
        text = format!("no file matches `{}` in `{}`", args.pattern, shown(root, cwd));
    } else if page.is_empty() {
        text = format!("[{} files match; offset {offset} is past the last]", number(total as u64));
    } else if last < total || offset > 0 || capped {
        // First, because the end of a long result is what a view leaves out.
        let from = number(offset as u64 + 1);
        let many = if capped { "more than " } else { "" };
        text = format!("[files {from}–{} of {many}{}", number(last as u64), number(total as u64));
        text.push_str(&if last < total { format!("; offset {last} shows more]\n") } else { "]\n".into() });
    }
    text.push_str(&page.join("\n"));
    Ok(ToolDone::text(text))
}

const MAX_FILES: u64 = 1000;
/// Paths held at once.
const MAX_FOUND: usize = 200_000;
