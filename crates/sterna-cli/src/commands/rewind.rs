//! `sterna rewind`: shows what would go back, asks, and takes it back.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use sterna_model::Seq;
use sterna_runtime::{FileChange, Rewind, RewindFiles, RewindPlan, RewindWhat, RewoundTo};

use crate::context::Context;
use crate::failure::Failure;
use crate::person::confirmed;
use crate::point::Point;
use crate::print::{Print, Style, harmless};

#[derive(Debug, Args)]
pub struct RewindArgs {
    /// The session
    id: String,
    /// The last record that counts, or TURN.STEP: the end of that step
    point: String,
    /// Only the files
    #[arg(long, conflicts_with = "conversation")]
    files: bool,
    /// Only the conversation
    #[arg(long)]
    conversation: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Name every path, and not the first 40 of each kind
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Also when files changed since the preview or were not all kept, or a killed command may still be running
    #[arg(long)]
    force: bool,
    /// One object: the plan, and what was done
    #[arg(long)]
    json: bool,
}

pub async fn rewind(cx: &Context, args: RewindArgs) -> Result<ExitCode, Failure> {
    let point = Point::parse(&format!("{}@{}", args.id, args.point))?;
    let store = cx.store_of(&point.session)?;
    let to = point.seq(&store).await?.unwrap_or(Seq::MAX);
    let what = match (args.files, args.conversation) {
        (true, _) => RewindWhat::Files,
        (_, true) => RewindWhat::Conversation,
        (false, false) => RewindWhat::Both,
    };
    let session = point.session;
    let runtime = cx.quiet_runtime(store);
    let plan = runtime.preview_rewind(&session, to, what, args.force).await?;
    if !args.json {
        cx.print.out(&told(&cx.print, &plan, if args.all { usize::MAX } else { SHOWN }))?;
    }
    if args.dry_run {
        if args.json {
            cx.print.json(&json!({ "plan": plan, "done": null }))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if is_nothing(&plan) {
        if args.json {
            cx.print.json(&json!({ "plan": plan, "done": null }))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let asked = format!("rewind session `{}` to record {}?", plan.session, plan.to);
    let nobody = || {
        Failure::usage(format!(
            "rewinding session `{}` needs a yes, and nobody is at a terminal",
            plan.session
        ))
        .hint("--yes rewinds without asking, --dry-run only shows")
    };
    if !args.yes && !confirmed(&asked, nobody)? {
        cx.print.note(&format!("session `{session}` stays as it is"));
        return Ok(ExitCode::SUCCESS);
    }
    let files = match &plan.files {
        RewindFiles::Back { plan, .. } => Some(plan.clone()),
        RewindFiles::Left | RewindFiles::Untouched => None,
    };
    let (by, force) = ("cli".to_owned(), args.force);
    let done = runtime.rewind(Rewind { session, to, what, force, by, plan: files }).await?;
    if args.json {
        cx.print.json(&json!({ "plan": plan, "done": done }))?;
    } else {
        tell_done(&cx.print, &done);
    }
    Ok(ExitCode::SUCCESS)
}

/// Files only, and there is nothing to do about them.
fn is_nothing(plan: &RewindPlan) -> bool {
    plan.what == RewindWhat::Files
        && match &plan.files {
            RewindFiles::Left | RewindFiles::Untouched => true,
            RewindFiles::Back { plan, .. } => plan.is_empty(),
        }
}

/// At most `most` paths of each kind are named.
fn told(print: &Print, plan: &RewindPlan, most: usize) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    if plan.what != RewindWhat::Files {
        line(format!("conversation: {} records after record {} no longer count", plan.records, plan.to));
        if let Some(turn) = plan.turn {
            line(format!("turn {turn}, which is not done, ends"));
        }
        if !plan.inputs.is_empty() {
            line(format!("inputs that wait for a turn are taken back: {:?}", plan.inputs));
        }
    }
    match &plan.files {
        RewindFiles::Left => {}
        RewindFiles::Untouched => {
            line("files: nothing to do, as nothing that may write has run since".to_owned());
        }
        RewindFiles::Back { root, plan: files, .. } => {
            let n = files.changes.len();
            match n {
                0 => line(format!("files: nothing to do, {} is as it was", harmless(root))),
                1 => line(format!("files: 1 path in {} goes back", harmless(root))),
                _ => line(format!("files: {n} paths in {} go back", harmless(root))),
            }
            files.changes.iter().take(most).for_each(|change| line(told_change(print, change)));
            if n > most {
                line(more(print, &files.changes[most..]));
            }
            for (path, why) in files.kept.iter().take(most) {
                line(print.paint(&format!("  stays    {}: {}", harmless(path), harmless(why)), Style::Dim));
            }
            if files.kept.len() > most {
                line(print.paint(&and_more("stays", files.kept.len() - most), Style::Dim));
            }
            for path in files.missing.iter().take(most) {
                let lost = format!("  lost     {}: the store has lost its contents", harmless(path));
                line(print.paint(&lost, Style::Red));
            }
            if files.missing.len() > most {
                line(print.paint(&and_more("lost", files.missing.len() - most), Style::Red));
            }
        }
    }
    text
}

/// What is not named, by what would happen to it: a removal is not to be overlooked.
fn more(print: &Print, changes: &[FileChange]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for change in changes {
        *counts.entry(change.what).or_default() += 1;
    }
    let lines = counts.iter().map(|(what, n)| print.paint(&and_more(what, *n), style_of(what)));
    lines.collect::<Vec<_>>().join("\n")
}

fn and_more(what: &str, n: usize) -> String {
    format!("  {what:<8} … and {n} more; --all names them")
}

fn style_of(what: &str) -> Style {
    if what == "remove" { Style::Red } else { Style::Green }
}

fn told_change(print: &Print, change: &FileChange) -> String {
    let end = if change.kind == "dir" { "/" } else { "" };
    print.paint(&format!("  {:<8} {}{end}", change.what, harmless(&change.path)), style_of(change.what))
}

fn tell_done(print: &Print, done: &RewoundTo) {
    let RewoundTo { session, to, files, undo, .. } = done;
    if let Some(files) = files {
        print.note(&format!("files: {} restored, {} removed", files.restored, files.removed));
    }
    print.note(&format!("session `{session}` is back at record {to}"));
    match (undo, done.seq) {
        (Some(undo), _) => print.hint(&format!("`sterna rewind {session} {undo}` takes this back")),
        (None, Some(seq)) => print.hint(&format!("`sterna rewind {session} {}` takes this back", seq - 1)),
        (None, None) => {}
    }
}

/// Paths of each kind that fit a screen; a build folder has thousands.
const SHOWN: usize = 40;
