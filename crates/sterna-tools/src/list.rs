//! `list`: what is in a folder.

use std::path::Path;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec};
use sterna_tool::{Access, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn, shown};

use crate::support::{Stop, blocking, number, parse, place, planned};
use crate::walk::{Filters, check_folder, walk};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// Folder to list; the working directory when left out.
    path: Option<String>,
    /// Levels to show, 1 when left out.
    #[schemars(range(min = 1, max = 5))]
    depth: Option<u64>,
    /// Show hidden entries too.
    hidden: Option<bool>,
    /// Entries to show, 1000 at most.
    #[schemars(range(min = 1))]
    limit: Option<u64>,
}

impl Args {
    fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(".")
    }
}

pub(crate) struct List {
    spec: ToolSpec,
}

impl List {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("list", include_str!("list.md")) }
    }
}

impl Tool for List {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Pure
    }

    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        let path = place(&cx.cwd, args.path())?;
        let summary = format!("list {}", shown(&path, &cx.cwd));
        Ok(Plan { accesses: vec![Access::Read(path)], summary, preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: Args = parse(&args)?;
            let path = planned(&cx, args.path())?;
            let cancel = cx.cancel.clone();
            blocking(&cancel, move |stop| list(&args, &path, &cx.cwd, stop)).await.map(ToolReturn::Done)
        }
        .boxed()
    }
}

fn list(args: &Args, path: &Path, cwd: &Path, stop: &Stop) -> Result<ToolDone, ToolError> {
    check_folder(path, cwd)?;
    let depth = usize::try_from(args.depth.unwrap_or(1)).unwrap_or(usize::MAX);
    let limit =
        usize::try_from(args.limit.unwrap_or(MAX_ENTRIES)).unwrap_or(usize::MAX).min(MAX_ENTRIES as usize);
    if !(1..=MAX_DEPTH).contains(&depth) || limit == 0 {
        return Err(ToolError::invalid("depth is 1 to 5, limit 1 to 1000"));
    }
    // One level is shown as it is; further down, build output would hide what matters.
    let leave_out = Filters { hidden: !args.hidden.unwrap_or(false), ignored: depth > 1 };
    let mut text = String::new();
    let mut found = 0;
    for entry in walk(path, leave_out).max_depth(Some(depth)).build().flatten() {
        stop.check()?;
        if entry.depth() == 0 {
            continue;
        }
        found += 1;
        if found <= limit {
            text.push_str(&line(&entry, path));
        } else if found > MAX_COUNTED {
            break;
        }
    }
    let name = shown(path, cwd);
    if found == 0 {
        text = format!("`{name}` has nothing to show");
    } else if found > limit {
        let many = if found > MAX_COUNTED {
            format!("more than {}", number(MAX_COUNTED as u64))
        } else {
            number(found as u64)
        };
        // First, because the end of a long result is what a view leaves out.
        text.insert_str(
            0,
            &format!("[{} of {many} entries; list a folder below, or use glob]\n", number(limit as u64)),
        );
    }
    Ok(ToolDone::text(text))
}

/// `dir/`, `file⇥size`, `link -> target`, relative to the listed folder.
fn line(entry: &ignore::DirEntry, root: &Path) -> String {
    let path = entry.path();
    let name = path.strip_prefix(root).unwrap_or(path).display();
    match entry.file_type() {
        Some(kind) if kind.is_dir() => format!("{name}/\n"),
        Some(kind) if kind.is_symlink() => match std::fs::read_link(path) {
            Ok(target) => format!("{name} -> {}\n", target.display()),
            Err(_) => format!("{name} -> ?\n"),
        },
        Some(kind) if kind.is_file() => match entry.metadata() {
            Ok(meta) => format!("{name}\t{}\n", meta.len()),
            Err(_) => format!("{name}\n"),
        },
        _ => format!("{name}\tspecial\n"),
    }
}

const MAX_DEPTH: usize = 5;
const MAX_ENTRIES: u64 = 1000;
const MAX_COUNTED: usize = 100_000;
