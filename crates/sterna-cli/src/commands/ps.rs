//! `sterna ps`: the commands that run, and what those that ended have left.

use std::process::ExitCode;

use clap::Args;
use sterna_shell::shim::State;

use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::spools::{Entry, Standing, entries, kill, shims};
use crate::table::{age, now, table};

#[derive(Debug, Args)]
pub struct PsArgs {
    /// Also those that have ended, or never ran
    #[arg(long)]
    all: bool,
    /// One object a line
    #[arg(long)]
    json: bool,
    /// Remove what is over and settled: never something that runs, or whose outcome is not in the log yet
    #[arg(long, conflicts_with_all = ["all", "kill"])]
    clean: bool,
    /// End this one, and everything it started
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    kill: Option<String>,
}

pub async fn ps(cx: &Context, args: PsArgs) -> Result<ExitCode, Failure> {
    match &args.kill {
        Some(id) => end(cx, id, args.json).await,
        None if args.clean => clean(cx, args.json).await,
        None => list(cx, &args).await,
    }
}

async fn list(cx: &Context, args: &PsArgs) -> Result<ExitCode, Failure> {
    let all = entries(cx).await?;
    let shown = |entry: &&Entry| {
        args.all || entry.lives() || matches!(entry.listed.state, Ok(State::Dead(_)) | Err(_))
    };
    let shown: Vec<&Entry> = all.iter().filter(shown).collect();
    if args.json {
        for entry in shown {
            cx.print.json(&entry.row())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !shown.is_empty() {
        let now = now();
        let row = |entry: &&Entry| {
            let created = entry.listed.plan.as_ref().map(|plan| age(now, plan.created_at));
            vec![
                entry.listed.id(),
                entry.session().map_or_else(|| "-".to_owned(), ToString::to_string),
                state(entry),
                created.unwrap_or_else(|| "-".to_owned()),
                entry.listed.output_bytes.to_string(),
                entry.command(),
            ]
        };
        let rows: Vec<Vec<String>> = shown.iter().map(row).collect();
        cx.print.out(&table(&cx.print, &["ID", "SESSION", "STATE", "AGE", "OUTPUT", "COMMAND"], &rows))?;
    }
    let hidden = all.len() - shown.len();
    if hidden > 0 {
        let note = "ended or never ran; --all shows them, --clean removes what nobody asks for any more";
        cx.print.note(&format!("{hidden} {note}"));
    } else if shown.is_empty() {
        cx.print.note("no command runs, and none has left anything");
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes what ended commands have left and nobody asks for any more.
pub async fn clean(cx: &Context, json: bool) -> Result<ExitCode, Failure> {
    let shims = shims(cx);
    let (mut removed, mut kept, mut failed) = (Vec::new(), Vec::new(), false);
    for entry in entries(cx).await? {
        let id = entry.listed.id();
        if !entry.may_go() {
            kept.push((id, why_kept(&entry)));
            continue;
        }
        match entry.remove(&shims) {
            Ok(()) => removed.push(id),
            Err(error) => {
                failed = true;
                kept.push((id, error.to_string()));
            }
        }
    }
    shims.sweep()?;
    if json {
        let kept: Vec<_> = kept.iter().map(|(id, why)| serde_json::json!({"id": id, "why": why})).collect();
        cx.print.json(&serde_json::json!({"removed": removed, "kept": kept}))?;
    } else {
        for id in &removed {
            cx.print.line(&format!("removed {id}"))?;
        }
        for (id, why) in &kept {
            cx.print.note(&format!("kept {id}: {why}"));
        }
        if removed.is_empty() && kept.is_empty() {
            cx.print.note("there is nothing to remove");
        }
    }
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

async fn end(cx: &Context, id: &str, json: bool) -> Result<ExitCode, Failure> {
    let shims = shims(cx);
    let mut found = shims.find(id)?;
    let listed = match (found.pop(), found.is_empty()) {
        (Some(listed), true) => listed,
        (Some(_), false) => {
            return Err(Failure::usage(format!("`{id}` names several commands"))
                .hint("`sterna ps --json` has their effects; end the session's job with job_kill"));
        }
        (None, _) => {
            return Err(Failure::usage(format!("there is no command `{id}`"))
                .hint("`sterna ps` lists those that run"));
        }
    };
    let before = listed.state.clone().map_err(Failure::failed)?;
    let ran = matches!(before, State::Running(_));
    if ran && !kill(&shims, &listed).await? {
        return Err(Failure::failed(format!("{} was told to end, and still runs", listed.id())));
    }
    shims.end_strays(&listed.spool)?;
    let told = listed.spool.state().map_err(|error| Failure::failed(error.to_string()))?.told();
    let text = if ran { told } else { format!("was not running: {told}") };
    if json {
        cx.print.json(&serde_json::json!({"id": listed.id(), "ended": ran, "told": text}))?;
    } else {
        cx.print.line(&format!("{} {text}", listed.id()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// In a column: without the reasons that `--json` tells.
fn state(entry: &Entry) -> String {
    let note = match entry.standing {
        Standing::Open | Standing::Settled => "",
        Standing::Gone => " (its session is gone)",
        Standing::Unknown => " (its session cannot be read)",
    };
    let state = match &entry.listed.state {
        Ok(State::Dead(_)) => "dead".to_owned(),
        _ => entry.told(),
    };
    format!("{state}{note}")
}

fn why_kept(entry: &Entry) -> String {
    if entry.lives() {
        return format!("it is {}", entry.told());
    }
    match (&entry.listed.state, &entry.standing) {
        (Err(_), _) => entry.told(),
        (Ok(_), Standing::Open) => match entry.session() {
            Some(session) => {
                format!("its outcome is not in the log yet; `sterna resume {session}` asks for it")
            }
            None => "its outcome is not in the log yet".to_owned(),
        },
        (Ok(_), Standing::Unknown) => {
            format!("nobody can tell whose it is; remove {} by hand", entry.listed.spool.dir().display())
        }
        (Ok(_), Standing::Settled | Standing::Gone) => "it is still needed".to_owned(),
    }
}
