//! `sterna approve`, `deny`, `answer` and `signal`: a word for a turn that waits, from any process.
//!
//! The word is durable first; then the turn is driven to its end, or followed where another process drives it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use sterna::who_waits;
use sterna_log::SharedLog;
use sterna_log::fold::Folded;
use sterna_model::{EffectClass, EffectKey, EventKind, GrantScope, Mode, Rewrite, Ruling, SessionId, WaitId};
use sterna_runtime::{Resolve, RuntimeError};

use crate::args::{ResumeArgs, TurnArgs};
use crate::commands::resume;
use crate::context::Context;
use crate::edit::arguments_of;
use crate::failure::Failure;
use crate::person::chosen;
use crate::print::one_line;
use crate::render::Open;

#[derive(Debug, Args)]
pub struct ApproveArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Also allow the same thing again, without asking
    #[arg(long = "for", value_name = "HOW LONG", default_value = "once")]
    scope: ScopeArg,
    /// Your own text in place of the model's: the arguments of the call as JSON, or the plan
    #[arg(long, value_name = "FILE", conflicts_with = "scope")]
    edit: Option<PathBuf>,
    /// The mode that an approved plan leads to; the one before plan mode unless it is given
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
}

#[derive(Debug, Args)]
pub struct DenyArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// What the model is told
    #[arg(long, visible_alias = "reason", value_name = "TEXT")]
    feedback: Option<String>,
}

#[derive(Debug, Args)]
pub struct AnswerArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// The answer; with several questions one text for each. A number names an option
    #[arg(required = true, num_args = 1..)]
    text: Vec<String>,
}

#[derive(Debug, Args)]
pub struct SignalArgs {
    /// The session
    id: String,
    /// The signal: 1 to 128 characters of A-Za-z0-9._:-
    name: String,
    /// What comes with it, as JSON
    #[arg(default_value = "null", allow_hyphen_values = true)]
    payload: String,
    /// Only write it down; `sterna resume` or another process carries on
    #[arg(long)]
    no_drive: bool,
    /// The turn's events, one a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct WhichArgs {
    /// A session that waits for one thing, the wait itself (SESSION/TURN/STEP/tool/N), or a signed key of a wait
    id: String,
    /// Only write it down; `sterna resume` or another process carries on
    #[arg(long)]
    no_drive: bool,
    /// The turn's events, one a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScopeArg {
    Once,
    Turn,
    Session,
    /// All sessions in this folder, for 30 days
    Project,
    /// All sessions, for 30 days
    User,
}

pub async fn approve(cx: &Context, args: ApproveArgs) -> Result<ExitCode, Failure> {
    let mode = args.mode.as_deref().map(|word| after_plan(cx, word)).transpose()?;
    let edited = args.edit.as_deref().map(read_edit).transpose()?;
    if is_key(&args.which.id) {
        if mode.is_some() || edited.is_some() {
            return Err(Failure::usage("what waits for this key is not known here, so it cannot be edited")
                .hint("name the wait or its session"));
        }
        return by_key(cx, args.which, Ruling::Allow).await;
    }
    let (session, open) = find(cx, &args.which.id).await?;
    let wait = open.wait().clone();
    let ruling = match (open, edited) {
        (Open::Questions { .. }, _) => {
            return Err(Failure::usage(format!("`{wait}` is a question, and not an approval"))
                .hint("sterna answer ID TEXT"));
        }
        (Open::Approval { .. }, _) if mode.is_some() => {
            return Err(
                Failure::usage(format!("`{wait}` is no plan, and leads to no mode")).hint("leave --mode out")
            );
        }
        (Open::Approval { .. }, Some(text)) => {
            let arguments = arguments_of(&text).map_err(Failure::usage)?;
            Ruling::Edited(Rewrite { arguments, class: EffectClass::AtMostOnce, effects: None })
        }
        (Open::Plan { .. }, content) => Ruling::Plan { mode, content },
        (Open::Approval { .. }, None) => Ruling::Allow,
    };
    let grant = match args.scope {
        ScopeArg::Once => None,
        ScopeArg::Turn => Some(GrantScope::Turn),
        ScopeArg::Session => Some(GrantScope::Session),
        ScopeArg::Project => Some(GrantScope::Project),
        ScopeArg::User => Some(GrantScope::User),
    };
    if let Some(scope) = grant.filter(|scope| scope.is_stored()) {
        let runtime = cx.quiet_runtime(cx.store_of(&session)?);
        let grant = runtime.grant_of(&session, &wait, scope).await?;
        cx.print.note(&format!("stored: {}", super::policy::grant_shown(&grant)));
    }
    settle(cx, args.which, Resolve { session, wait, ruling, grant, by: BY.into() }).await
}

pub async fn deny(cx: &Context, args: DenyArgs) -> Result<ExitCode, Failure> {
    // A question may be refused as well as an approval.
    let ruling = Ruling::Deny { feedback: args.feedback.unwrap_or_default() };
    if is_key(&args.which.id) {
        return by_key(cx, args.which, ruling).await;
    }
    let (session, open) = find(cx, &args.which.id).await?;
    let resolve = Resolve { session, wait: open.wait().clone(), ruling, grant: None, by: BY.into() };
    settle(cx, args.which, resolve).await
}

pub async fn answer(cx: &Context, args: AnswerArgs) -> Result<ExitCode, Failure> {
    if is_key(&args.which.id) {
        return by_key(cx, args.which, Ruling::Answers(args.text)).await;
    }
    let (session, open) = find(cx, &args.which.id).await?;
    let Open::Questions { wait, questions } = &open else {
        return Err(Failure::usage(format!("`{}` waits for an approval, not for an answer", open.wait()))
            .hint("sterna approve, or sterna deny"));
    };
    let texts = match questions.len() {
        // One answer may be given in several words.
        1 => vec![args.text.join(" ")],
        _ => args.text,
    };
    if texts.len() != questions.len() {
        let asked: Vec<String> =
            questions.iter().map(|q| format!("\n  {}", one_line(&q.question, 200))).collect();
        let message =
            format!("there are {} questions and {} answers:{}", questions.len(), texts.len(), asked.concat());
        return Err(Failure::usage(message).hint("give one answer for each, in quotes, in this order"));
    }
    let mut answers = Vec::new();
    for (question, text) in questions.iter().zip(&texts) {
        answers.push(chosen(question, text).ok_or_else(|| Failure::usage("an answer is empty"))?);
    }
    let wait = wait.clone();
    settle(
        cx,
        args.which,
        Resolve { session, wait, ruling: Ruling::Answers(answers), grant: None, by: BY.into() },
    )
    .await
}

/// A call that waits for it goes on; else it is kept for the first that does.
pub async fn signal(cx: &Context, args: SignalArgs) -> Result<ExitCode, Failure> {
    let session = SessionId::new(&args.id)?;
    let payload: serde_json::Value = serde_json::from_str(&args.payload).map_err(|error| {
        Failure::usage(format!("the payload is not JSON: {error}"))
            .hint("a text stands in quotes: '\"done\"'")
    })?;
    let runtime = cx.quiet_runtime(cx.store_of(&session)?);
    let receipt = runtime.signal(&session, &args.name, &payload, BY).await.map_err(|error| match error {
        RuntimeError::AlreadyResolved { .. } => {
            Failure::usage(format!("session `{session}` has a signal `{}` already", args.name))
                .hint("the first one counts, until a call has waited for it")
        }
        other => other.into(),
    })?;
    let log: SharedLog = std::sync::Arc::new(cx.store_of(&session)?);
    let kept = log.read(&session, receipt.first, 1).await?.first().is_some_and(|sealed| {
        matches!(&sealed.record.body, sterna_model::Body::WaitResolved { early: true, .. })
    });
    if kept {
        cx.print.note(&format!("nothing waits for `{}` yet: it is kept", args.name));
        return Ok(ExitCode::SUCCESS);
    }
    let which = WhichArgs { id: args.id, no_drive: args.no_drive, json: args.json };
    carry_on(cx, session, which).await
}

/// The mode that a plan leads to. What the managed configuration sets is not left that way either.
fn after_plan(cx: &Context, word: &str) -> Result<Mode, Failure> {
    cx.settings.check_flag("mode")?;
    let modes = Mode::ALL.into_iter().filter(|mode| *mode != Mode::Plan);
    modes.clone().find(|mode| mode.word() == word).ok_or_else(|| {
        let words: Vec<&str> = modes.map(Mode::word).collect();
        Failure::usage(format!("a plan does not lead to a mode `{word}`"))
            .hint(format!("modes are {}", words.join(", ")))
    })
}

fn read_edit(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))
}

/// Ids of waits and sessions hold no `~`.
fn is_key(id: &str) -> bool {
    id.contains('~')
}

/// A host gave this key away. Its wait may not be open yet: then the turn finds the answer when it asks.
async fn by_key(cx: &Context, which: WhichArgs, ruling: Ruling) -> Result<ExitCode, Failure> {
    let Some(store) = cx.store_if_there()? else {
        return Err(Failure::usage("there is no session yet").hint("the key is of another store"));
    };
    let (session, _) = cx.quiet_runtime(store).resolve_key(&which.id, ruling, BY).await?;
    carry_on(cx, session, which).await
}

/// Writes the word down, and carries on.
async fn settle(cx: &Context, which: WhichArgs, resolve: Resolve) -> Result<ExitCode, Failure> {
    let session = resolve.session.clone();
    cx.quiet_runtime(cx.store_of(&session)?).resolve(resolve).await?;
    carry_on(cx, session, which).await
}

async fn carry_on(cx: &Context, session: SessionId, which: WhichArgs) -> Result<ExitCode, Failure> {
    if which.no_drive {
        return Ok(ExitCode::SUCCESS);
    }
    let log: SharedLog = std::sync::Arc::new(cx.store_of(&session)?);
    let session = who_waits(&log, session).await?;
    let args = ResumeArgs { id: Some(session.to_string()), turn: TurnArgs::default(), json: which.json };
    resume::run(args).await
}

/// The wait that is meant: by its own id, or the only one of a session.
async fn find(cx: &Context, id: &str) -> Result<(SessionId, Open), Failure> {
    let by_wait = id.parse::<EffectKey>().ok().map(|key| key.session);
    let session = match &by_wait {
        Some(session) => session.clone(),
        None => SessionId::new(id)?,
    };
    let store = cx.store_of(&session)?;
    let log: SharedLog = std::sync::Arc::new(store);
    let (mut open, closed) = waits(&log, &session).await?;
    if by_wait.is_some() {
        if closed.iter().any(|wait| wait == id) {
            return Err(RuntimeError::AlreadyResolved { wait: id.to_owned() }.into());
        }
        return match open.into_iter().find(|open| open.wait() == id) {
            Some(found) => Ok((session, found)),
            None => Err(Failure::usage(format!("session `{session}` does not wait for `{id}`"))
                .hint("its turn may be over; `sterna sessions show` tells what it waited for")),
        };
    }
    match open.len() {
        0 => Err(Failure::usage(format!("session `{session}` waits for nobody"))
            .hint("`sterna sessions list --status parked` shows those that wait")),
        1 => Ok((session, open.remove(0))),
        several => {
            let lines: Vec<String> = open.iter().map(|open| format!("\n  {}", described(open))).collect();
            let message = format!("session `{session}` waits for {several} answers:{}", lines.concat());
            Err(Failure::usage(message).hint("name one of them in place of the session"))
        }
    }
}

/// The waits of the running turn that nobody has answered, and all that were answered.
async fn waits(log: &SharedLog, session: &SessionId) -> Result<(Vec<Open>, Vec<WaitId>), Failure> {
    let mut history = sterna_log::read_history(&**log, session).await?;
    let mut folded = Folded::new();
    let mut open: Vec<Open> = Vec::new();
    let mut closed_before = Vec::new();
    loop {
        let page = history.next_page().await?;
        if page.is_empty() {
            return Ok((open, closed_before));
        }
        for (_, sealed) in page {
            folded.apply(&sealed.record);
            for event in folded.events(&sealed.record) {
                if let Some(closed) = Open::closed_by(&event.kind) {
                    open.retain(|open| open.wait() != closed);
                    closed_before.push(closed.clone());
                }
                open.extend(Open::of(&event.kind));
                // A turn that is over, and a fork, wait for nothing of what came before.
                if matches!(event.kind, EventKind::TurnCommitted { .. } | EventKind::SessionOpened { .. }) {
                    open.clear();
                }
            }
        }
    }
}

fn described(open: &Open) -> String {
    match open {
        Open::Approval { wait, tool, summary, .. } => {
            format!("{wait}  {}: {}", one_line(tool, 50), one_line(summary, 200))
        }
        Open::Questions { wait, questions } => {
            let first = questions.first().map_or("", |question| question.question.as_str());
            format!("{wait}  {}", one_line(first, 200))
        }
        Open::Plan { wait, slug, .. } => format!("{wait}  plan {}", one_line(slug, 64)),
    }
}

/// Who did it, in the records that these commands write.
const BY: &str = "person";
