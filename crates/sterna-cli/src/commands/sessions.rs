//! `sterna sessions`: what there is, and what can be done with it as a whole.

mod delete;
mod export;
mod fsck;
mod gc;
mod import;
mod list;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use sterna_log::{Log, LogError};
use sterna_model::SessionId;
use sterna_runtime::State;

use crate::context::Context;
use crate::failure::Failure;
use crate::point::Point;
use crate::print::one_line;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SessionsArgs {
    #[command(subcommand)]
    command: Option<SessionsCommand>,
    #[command(flatten)]
    list: list::ListArgs,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// Lists sessions, newest first
    List(list::ListArgs),
    /// Shows what happened in a session
    Show(show::ShowArgs),
    /// Finds what people and models said
    Search(list::SearchArgs),
    /// Gives a session another title
    Rename(RenameArgs),
    /// Closes a session: it stays readable, and takes no further turn
    Close(IdArgs),
    /// Removes a session for good
    Delete(delete::DeleteArgs),
    /// Writes a session's records as JSON lines
    Export(export::ExportArgs),
    /// Makes a session of an export, or of a session log of Claude Code, Codex, opencode or pi
    Import(import::ImportArgs),
    /// Makes a new session that shares the history of another up to a point
    Fork(ForkArgs),
    /// Removes what no session refers to any more
    Gc(gc::GcArgs),
    /// Checks that sessions are whole
    Fsck(fsck::FsckArgs),
}

#[derive(Debug, Args)]
struct IdArgs {
    /// The session
    id: String,
}

#[derive(Debug, Args)]
struct RenameArgs {
    /// The session
    id: String,
    /// Its new title
    #[arg(required = true, num_args = 1..)]
    title: Vec<String>,
}

#[derive(Debug, Args)]
struct ForkArgs {
    /// The session, and after `@` the record or TURN.STEP that is the last one shared
    #[arg(value_name = "ID[@SEQ]")]
    point: String,
    /// The id of the new session
    #[arg(long = "id", value_name = "NEW")]
    new: Option<String>,
    /// Print an object instead of the bare id
    #[arg(long)]
    json: bool,
}

pub async fn sessions(cx: &Context, args: SessionsArgs) -> Result<ExitCode, Failure> {
    match args.command.unwrap_or(SessionsCommand::List(args.list)) {
        SessionsCommand::List(args) => list::list(cx, args).await,
        SessionsCommand::Show(args) => show::show(cx, args).await,
        SessionsCommand::Search(args) => list::search(cx, args).await,
        SessionsCommand::Rename(args) => rename(cx, args).await,
        SessionsCommand::Close(args) => close(cx, args).await,
        SessionsCommand::Delete(args) => delete::delete(cx, args).await,
        SessionsCommand::Export(args) => export::export(cx, args).await,
        SessionsCommand::Import(args) => import::import(cx, args).await,
        SessionsCommand::Fork(args) => fork(cx, args).await,
        SessionsCommand::Gc(args) => gc::gc(cx, args).await,
        SessionsCommand::Fsck(args) => fsck::fsck(cx, args).await,
    }
}

async fn rename(cx: &Context, args: RenameArgs) -> Result<ExitCode, Failure> {
    let id = SessionId::new(&args.id)?;
    let title = one_line(&args.title.join(" "), MAX_TITLE);
    if title.is_empty() {
        return Err(Failure::usage("the title is empty"));
    }
    let store = cx.store_of(&id)?;
    // A session that does not exist, or was deleted, is told from a full disk.
    store.head(&id).await?;
    cx.quiet_runtime(store).set_title(&id, &title, BY).await?;
    cx.print.note(&format!("session `{id}` is now called: {title}"));
    Ok(ExitCode::SUCCESS)
}

async fn close(cx: &Context, args: IdArgs) -> Result<ExitCode, Failure> {
    let id = SessionId::new(&args.id)?;
    let runtime = cx.quiet_runtime(cx.store_of(&id)?);
    let state = State::load(&runtime.parts().log, &id).await?;
    if state.machine.turn().is_some() || state.machine.waiting().next().is_some() {
        return Err(Failure::usage(format!("session `{id}` has work that is not done"))
            .hint(format!("`sterna resume {id}` ends it; then close the session")));
    }
    if state.machine.closed() {
        cx.print.note(&format!("session `{id}` was closed before"));
        return Ok(ExitCode::SUCCESS);
    }
    runtime.close(&id, BY).await?;
    crate::spools::end_jobs(cx, &id).await;
    cx.print.note(&format!("session `{id}` is closed"));
    Ok(ExitCode::SUCCESS)
}

async fn fork(cx: &Context, args: ForkArgs) -> Result<ExitCode, Failure> {
    let point = Point::parse(&args.point)?;
    let new = args.new.as_deref().map(SessionId::new).transpose()?;
    let store = cx.store_of(&point.session)?;
    let seq = point.seq(&store).await?;
    let forked = cx.quiet_runtime(store.clone()).fork(&point.session, seq, new.clone()).await;
    let id = forked.map_err(|error| match (error.log(), new) {
        // The same fork again is the same session; another one cannot have its id.
        (Some(LogError::Conflict { .. }), Some(id)) => LogError::Exists(id).into(),
        _ => Failure::from(error),
    })?;
    if args.json {
        let at = match seq {
            Some(seq) => seq,
            None => parent_seq(&store, &id).await?,
        };
        let parent = serde_json::json!({"session": point.session, "seq": at});
        cx.print.json(&serde_json::json!({"session": id, "parent": parent}))?;
    } else {
        cx.print.line(id.as_str())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn parent_seq(log: &dyn Log, id: &SessionId) -> Result<u64, Failure> {
    let first = log.read(id, 1, 1).await?;
    match first.into_iter().next().map(|sealed| sealed.record.body) {
        Some(sterna_model::Body::SessionOpened(opened)) => Ok(opened.parent.map_or(0, |parent| parent.seq)),
        _ => Ok(0),
    }
}

/// Who did it, in the records that these commands write.
const BY: &str = "cli";
const MAX_TITLE: usize = 200;
