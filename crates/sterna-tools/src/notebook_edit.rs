//! `notebook_edit`: a Jupyter notebook, cell by cell.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_log::digest;
use sterna_model::{EffectClass, Fact, ToolSpec};
use sterna_tool::{Access, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn, shown};

use crate::edit::{Change, rewrite};
use crate::file::{self, Trouble};
use crate::notebook::{Kind, Notebook, empty};
use crate::support::{blocking, cut, key, parse, place, planned};
use crate::write::{preview, temp_mark};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// Notebook to change, relative to the working directory or absolute.
    path: String,
    op: Op,
    /// Id of the cell to replace, delete or move.
    cell: Option<String>,
    /// For insert and move: id of the cell before it.
    after: Option<String>,
    /// What the cell holds; `code` when left out.
    r#type: Option<CellType>,
    /// The cell's whole text.
    source: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Op {
    Create,
    Insert,
    Replace,
    Delete,
    Move,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum CellType {
    Code,
    Markdown,
    Raw,
}

impl CellType {
    fn kind(self) -> Kind {
        match self {
            Self::Code => Kind::Code,
            Self::Markdown => Kind::Markdown,
            Self::Raw => Kind::Raw,
        }
    }
}

pub(crate) struct NotebookEdit {
    spec: ToolSpec,
}

impl NotebookEdit {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("notebook_edit", include_str!("notebook_edit.md")) }
    }
}

impl Tool for NotebookEdit {
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
        let before = file::read(&path).map(|before| before.bytes).unwrap_or_default();
        // The call will say what is wrong.
        let change = changed(&before, &args, &name, "new").ok();
        let preview = change.and_then(|change| preview(&name, &before, &change.bytes));
        let verb = match args.op {
            Op::Create => "make",
            Op::Insert => "add a cell to",
            Op::Replace => "change a cell of",
            Op::Delete => "remove a cell of",
            Op::Move => "move a cell of",
        };
        Ok(Plan { accesses: vec![Access::Write(path)], summary: format!("{verb} {name}"), preview })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args = parse_checked(&args)?;
            let path = planned(&cx, &args.path)?;
            let name = shown(&path, &cx.cwd);
            // A second attempt makes the same cell.
            let id = cut(&temp_mark(&cx.key), ID_CHARS).to_owned();
            if args.op == Op::Create {
                return create(&cx, &args, path, &name, &id).await.map(ToolReturn::Done);
            }
            let make = Arc::new(move |old: &[u8]| changed(old, &args, &name, &id));
            rewrite(&cx, path, make).await.map(ToolReturn::Done)
        }
        .boxed()
    }
}

async fn create(
    cx: &ToolContext,
    args: &Args,
    path: PathBuf,
    name: &str,
    id: &str,
) -> Result<ToolDone, ToolError> {
    let Change { bytes, told } = changed(b"", args, name, id)?;
    let (mark, cwd, name, again) = (temp_mark(&cx.key), cx.cwd.clone(), name.to_owned(), cx.attempt > 1);
    blocking(&cx.cancel, move |stop| {
        let after = digest(&bytes);
        match file::read(&path) {
            Err(Trouble::Missing) => file::replace(&path, &bytes, None, &mark, stop)
                .map_err(|trouble| trouble.told(&path, &cwd))?,
            // The attempt before this one came this far.
            Ok(now) if again && now.hash == after => {}
            Ok(_) => return Err(ToolError::failed(format!("`{name}` exists already; insert cells into it"))),
            Err(trouble) => return Err(trouble.told(&path, &cwd)),
        }
        let facts = vec![Fact::FileWritten { path: key(&path), before: None, after }];
        Ok(ToolDone { facts, ..ToolDone::text(told) })
    })
    .await
}

fn changed(old: &[u8], args: &Args, name: &str, id: &str) -> Result<Change, ToolError> {
    let made = if args.op == Op::Create { Some(empty()) } else { None };
    let text = match &made {
        Some(made) => made.as_str(),
        None => std::str::from_utf8(old)
            .map_err(|_| ToolError::failed(format!("`{name}` is not a notebook: it is not UTF-8 text")))?,
    };
    let notebook = Notebook::read(text)
        .map_err(|why| ToolError::failed(format!("`{name}` is not a notebook that can be changed: {why}")))?;
    let find = |id: &String| notebook.position(id).map_err(ToolError::failed);
    let cell = args.cell.as_ref().map(find).transpose()?;
    let behind = args.after.as_ref().filter(|after| !after.is_empty()).map(find).transpose()?;
    let kind = args.r#type.map(CellType::kind);
    let named = args.cell.as_deref().unwrap_or_default();
    let (text, told) = match (args.op, cell) {
        (Op::Create | Op::Insert, _) => {
            let at = match (behind, &args.after) {
                (Some(behind), _) => behind + 1,
                (None, Some(_)) => 0,
                (None, None) => notebook.len(),
            };
            let made = if args.op == Op::Create { "made" } else { "changed" };
            match &args.source {
                Some(source) => {
                    let text = notebook.inserted(at, id, kind.unwrap_or(Kind::Code), source);
                    // The name that `read` will show.
                    let id = Notebook::read(&text).ok().and_then(|new| new.id(at)).unwrap_or_default();
                    (text, format!("{made} `{name}`: cell {id} is new"))
                }
                None => (notebook.text().to_owned(), format!("made `{name}` without cells")),
            }
        }
        (Op::Replace, Some(at)) => {
            let text = notebook.replaced(at, args.source.as_deref(), kind);
            (text, format!("changed `{name}`: cell {named}"))
        }
        (Op::Delete, Some(at)) => (notebook.removed(at), format!("changed `{name}`: cell {named} is gone")),
        (Op::Move, Some(at)) if behind == Some(at) => {
            return Err(ToolError::invalid("a cell cannot stand behind itself"));
        }
        (Op::Move, Some(at)) => {
            let behind = if args.after.is_none() { notebook.len().checked_sub(1) } else { behind };
            let behind = behind.filter(|behind| *behind != at);
            let is_last = args.after.is_none() && at + 1 == notebook.len();
            let text = if is_last { notebook.text().to_owned() } else { notebook.moved(at, behind) };
            (text, format!("changed `{name}`: cell {named} was moved"))
        }
        (Op::Replace | Op::Delete | Op::Move, None) => {
            return Err(ToolError::invalid("`cell` is missing: the id of a cell"));
        }
    };
    if text.as_bytes() == old {
        return Err(ToolError::failed(format!(
            "`{name}` already is as this would make it; nothing was changed"
        )));
    }
    Ok(Change { bytes: text.into_bytes(), told })
}

fn parse_checked(args: &Value) -> Result<Args, ToolError> {
    let args: Args = parse(args)?;
    let wrong = match args.op {
        Op::Create if args.cell.is_some() || args.after.is_some() => "a new notebook has no cells yet",
        Op::Insert if args.source.is_none() => "`source` is missing: the text of the new cell",
        Op::Insert if args.cell.is_some() => "insert takes `after`, not `cell`: the new cell gets its own id",
        Op::Replace if args.source.is_none() && args.r#type.is_none() => {
            "`source` and `type` are missing: there is nothing to change"
        }
        Op::Replace | Op::Delete | Op::Move if args.cell.is_none() => "`cell` is missing: the id of a cell",
        Op::Create | Op::Insert | Op::Replace | Op::Delete | Op::Move => return Ok(args),
    };
    Err(ToolError::invalid(wrong))
}

const ID_CHARS: usize = 8;
