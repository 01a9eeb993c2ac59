//! `sessions list` and `sessions search`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use sterna_log::{Filter, Log, Page, SessionRow, Status};
use sterna_model::dollars;

use crate::args::whole;
use crate::context::Context;
use crate::failure::Failure;
use crate::print::{Style, harmless, one_line};
use crate::render::money;
use crate::table::{age, now, table};

#[derive(Debug, Args)]
pub struct ListArgs {
    /// One object a line; all sessions unless --limit is given
    #[arg(long)]
    json: bool,
    /// At most so many
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<usize>)]
    limit: Option<usize>,
    /// Only sessions of this folder
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Only sessions that are idle, running, parked or closed
    #[arg(long, value_name = "STATUS")]
    status: Option<StatusArg>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum StatusArg {
    Idle,
    /// A turn is not done, or an input waits
    Running,
    /// Waits for an approval or an answer
    Parked,
    Closed,
}

#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Words that must all be there
    #[arg(required = true, num_args = 1..)]
    query: Vec<String>,
    /// At most so many matches
    #[arg(long, value_name = "N", default_value_t = 20, allow_negative_numbers = true, value_parser = whole::<usize>)]
    limit: usize,
    /// One object a line
    #[arg(long)]
    json: bool,
}

pub async fn list(cx: &Context, args: ListArgs) -> Result<ExitCode, Failure> {
    let filter = Filter {
        cwd: args.cwd.as_deref().map(|dir| folder(&cx.cwd, dir)),
        status: args.status.map(|status| match status {
            StatusArg::Idle => Status::Idle,
            StatusArg::Running => Status::Running,
            StatusArg::Parked => Status::Parked,
            StatusArg::Closed => Status::Closed,
        }),
        parent: None,
    };
    // A terminal holds only so much; a program gets all.
    let limit = args.limit.unwrap_or(if args.json { usize::MAX } else { SHOWN });
    let mut rows = Vec::new();
    let mut more = false;
    if let Some(store) = cx.store_if_there()? {
        let mut page = Page { after: None, limit: 0 };
        loop {
            page.limit = (limit - rows.len()).min(PAGE);
            if page.limit == 0 {
                page.limit = 1;
                more = !store.list(&filter, page).await?.is_empty();
                break;
            }
            let found = store.list(&filter, page.clone()).await?;
            let Some(last) = found.last() else { break };
            page.after = Some(last.id.clone());
            if args.json {
                let lines: String = found.iter().map(|row| format!("{}\n", json_of(row))).collect();
                cx.print.out(&lines)?;
            }
            rows.extend(found);
        }
    }
    if !args.json {
        if rows.is_empty() {
            cx.print.note("no sessions");
            return Ok(ExitCode::SUCCESS);
        }
        let now = now();
        let head = ["id", "status", "turns", "age", "cost", "title", "folder"];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| text_of(row, now)).collect();
        cx.print.out(&table(&cx.print, &head, &rows))?;
        if more && args.limit.is_none() {
            cx.print.hint("there are more; --limit N shows N of them");
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn search(cx: &Context, args: SearchArgs) -> Result<ExitCode, Failure> {
    let query = args.query.join(" ");
    if sterna_log::words(&query).next().is_none() {
        return Err(
            Failure::usage("there is no word to search for").hint("search looks for letters and digits")
        );
    }
    let hits = match cx.store_if_there()? {
        Some(store) => store.search(&query, args.limit).await?,
        None => Vec::new(),
    };
    if hits.is_empty() && !args.json {
        cx.print.note("nothing found");
    }
    for hit in hits {
        if args.json {
            let (session, seq, role, snippet) = (hit.session, hit.seq, hit.role, hit.snippet);
            cx.print.json(&json!({"session": session, "seq": seq, "role": role, "snippet": snippet}))?;
        } else {
            let place = format!("{}@{}", hit.session, hit.seq);
            let place = cx.print.paint(&place, Style::Bold);
            cx.print.line(&format!("{place}  {}: {}", hit.role, one_line(&hit.snippet, 300)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn json_of(row: &SessionRow) -> Value {
    json!({
        "id": row.id,
        "title": row.title,
        "status": row.status,
        "cwd": row.cwd,
        "model": row.route,
        "parent": row.parent,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "head": row.head,
        "turns": row.turns,
        "steps": row.steps,
        "tokens": row.tokens,
        "cost": dollars(row.cost),
    })
}

fn text_of(row: &SessionRow, now: u64) -> Vec<String> {
    let status = match row.status {
        Status::Idle => "idle",
        Status::Running => "running",
        Status::Parked => "parked",
        Status::Closed => "closed",
    };
    let cost = if row.tokens == 0 {
        "-".to_owned()
    } else {
        row.cost.map_or("?".into(), |_| money(dollars(row.cost)))
    };
    vec![
        row.id.to_string(),
        status.to_owned(),
        row.turns.to_string(),
        age(now, row.updated_at),
        cost,
        one_line(row.title.as_deref().unwrap_or("-"), 50),
        harmless(&row.cwd),
    ]
}

/// A folder as sessions name it: absolute, symlinks resolved as far as it exists.
fn folder(cwd: &Path, dir: &Path) -> String {
    let joined = cwd.join(dir);
    std::fs::canonicalize(&joined).unwrap_or(joined).display().to_string()
}

const SHOWN: usize = 50;
const PAGE: usize = 500;
