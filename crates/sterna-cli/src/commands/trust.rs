//! `sterna trust`: lets a folder's own configuration, hooks, servers and skills count, as they are now.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use sterna::trust::{Trust, Why};

use crate::context::Context;
use crate::failure::Failure;
use crate::table::now;
use crate::trust::{BY, book_of, find, listed};

#[derive(Debug, Args)]
pub struct TrustArgs {
    /// The folder; the current one unless it is said
    pub path: Option<PathBuf>,
    /// Show what there is and whether it is trusted, and change nothing
    #[arg(long, conflicts_with = "revoke")]
    pub show: bool,
    /// Take the trust back
    #[arg(long)]
    pub revoke: bool,
    /// One object
    #[arg(long)]
    pub json: bool,
}

pub async fn trust(args: TrustArgs) -> Result<ExitCode, Failure> {
    let cx = Context::lenient(args.path.as_deref())?;
    let found = find(&cx).map(Arc::new);
    let root = found.as_ref().map_or(&cx.cwd, |project| &project.root).clone();
    if args.revoke {
        let was = match cx.store_if_there()?.map(book_of) {
            Some(book) => book.revoke(&root, now(), BY).await?,
            None => false,
        };
        if args.json {
            cx.print.json(&json!({"root": root, "trusted": false, "changed": was}))?;
        } else {
            let what = if was { "is not trusted any more" } else { "was not trusted" };
            cx.print.line(&format!("{} {what}", root.display()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Some(project) = found else {
        if args.json {
            cx.print.json(&json!({"root": root, "trusted": false, "files": [], "why": null}))?;
        } else {
            cx.print.line(&format!("{} holds nothing that needs trust", root.display()))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    if !args.show {
        if let Some(why) = &project.refused {
            return Err(Failure::failed(format!("{} cannot be trusted: {why}", root.display()))
                .hint("move it out of the folder, or give Sterna the right to read it"));
        }
        book_of(cx.store()?).trust(&project, now(), BY).await?;
    }
    let book = cx.store_if_there()?.map(book_of);
    let trust = Trust::of_project(project.clone(), book.as_ref()).await?;
    let why = match &trust {
        Trust::Untrusted { why, .. } => Some(why),
        Trust::Trusted(_) | Trust::Nothing => None,
    };
    if args.json {
        let files: Vec<_> = project.files.iter().map(|f| json!({"path": f.path, "hash": f.hash})).collect();
        let changed = match why {
            Some(Why::Changed(paths)) => json!(paths),
            _ => json!([]),
        };
        let why = why.map(Why::to_string);
        cx.print.json(&json!({
            "root": root, "trusted": why.is_none(), "why": why, "changed": changed,
            "content": project.content, "files": files,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let state = match why {
        None => "trusted, as it is now".to_owned(),
        Some(why) => format!("not trusted: {why}"),
    };
    cx.print.line(&format!("{}: {state}", root.display()))?;
    for line in listed(&project, if args.show { usize::MAX } else { 20 }) {
        cx.print.line(&format!("  {line}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
