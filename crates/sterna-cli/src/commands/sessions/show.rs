//! `sessions show`: a session's settled events again, as JSON lines or as a transcript.

use std::process::ExitCode;

use clap::Args;
use sterna_log::fold::Folded;
use sterna_log::read_history;
use sterna_model::{Event, EventKind, MemoryRef, MemoryWord, Ruling, SessionId, ToolStatus};

use crate::context::Context;
use crate::failure::Failure;
use crate::print::{Print, Style, harmless, one_line};
use crate::render::{Took, brief, counted, goal_line, money, not_kept, seconds, waits_for};
use crate::table::moment;

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The session
    id: String,
    /// The events, one a line, as `run --json` printed them, deltas aside
    #[arg(long)]
    json: bool,
}

pub async fn show(cx: &Context, args: ShowArgs) -> Result<ExitCode, Failure> {
    let id = SessionId::new(&args.id)?;
    let store = cx.store_of(&id)?;
    let mut history = read_history(&store, &id).await?;
    let mut folded = Folded::new();
    let mut took = Took::default();
    loop {
        // What is whole is shown before a damage is told.
        let page = history.next_page().await?;
        if page.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let mut text = String::new();
        for (owner, sealed) in page {
            folded.apply(&sealed.record);
            if owner != id {
                continue;
            }
            for event in folded.events(&sealed.record) {
                if args.json {
                    let line = serde_json::to_string(&event)
                        .map_err(|error| Failure::failed(format!("cannot show it as JSON: {error}")))?;
                    text.push_str(&line);
                    text.push('\n');
                } else {
                    took.hear(&event);
                    text.push_str(&told(&cx.print, &event, &mut took));
                }
            }
        }
        cx.print.out(&text)?;
    }
}

/// An event as people read it; empty for those that say nothing new.
fn told(print: &Print, event: &Event, took: &mut Took) -> String {
    let dim = |text: String| print.paint(&text, Style::Dim) + "\n";
    match &event.kind {
        EventKind::SessionOpened { cwd, route, mode, parent, .. } => {
            let head = format!("session {}", event.session);
            let mut text = print.paint(&head, Style::Bold) + "\n";
            let facts = [moment(event.at), route.to_string(), mode.word().to_owned(), harmless(cwd)];
            text.push_str(&dim(facts.join(" · ")));
            if let Some(parent) = parent {
                text.push_str(&dim(format!("forks from {} at record {}", parent.session, parent.seq)));
            }
            text
        }
        EventKind::SessionTitled { title, .. } => dim(format!("title: {}", one_line(title, 200))),
        EventKind::SessionClosed { by } => dim(format!("closed by {}", one_line(by, 50))),
        EventKind::RouteChanged { route, .. } => dim(format!("model: {route}")),
        EventKind::ModeChanged { mode, .. } => dim(format!("mode: {}", mode.word())),
        EventKind::InputAccepted { text, .. } => {
            let lines: Vec<String> = harmless(text).lines().map(|line| format!("> {line}")).collect();
            format!("\n{}\n\n", print.paint(&lines.join("\n"), Style::Cyan))
        }
        EventKind::InputEdited { input, text, .. } => {
            dim(format!("input {input} is now: {}", one_line(text, 500)))
        }
        EventKind::InputWithdrawn { inputs, .. } => dim(format!("inputs taken back: {inputs:?}")),
        EventKind::ModelEnded { text, error, .. } => match error {
            Some(error) => {
                let line =
                    format!("the model failed ({}): {}", error.class.word(), one_line(&error.message, 500));
                print.paint(&line, Style::Red) + "\n"
            }
            None if text.trim().is_empty() => String::new(),
            None => format!("{}\n", harmless(text.trim_end())),
        },
        EventKind::ModelReset { class, message, .. } => {
            dim(format!("attempt failed ({}): {}", class.word(), one_line(message, 200)))
        }
        EventKind::ToolProposed { name, arguments, .. } => {
            print.paint(&format!("• {}", brief(name, arguments)), Style::Bold) + "\n"
        }
        EventKind::ToolEnded { call_id, name, status, output, bytes, duration_ms, .. } => {
            let took = took.end(event, call_id, *duration_ms);
            tool_ended(print, name, *status, output, *bytes, took)
        }
        EventKind::ApprovalRequested { summary, reason, .. } => {
            let line = format!("? asks for: {} ({})", one_line(summary, 200), one_line(reason, 200));
            print.paint(&line, Style::Yellow) + "\n"
        }
        EventKind::PlanSubmitted { slug, content, .. } => {
            let title = print.paint(&format!("? plan {}", one_line(slug, 64)), Style::Yellow);
            format!("{title}\n{}\n", harmless(content.trim_end()))
        }
        EventKind::HookRan { event, says, hooks, .. } => {
            let what = match (&says.stop, says.permission) {
                (Some(why), _) => format!("ends the turn: {why}"),
                (None, Some(decision)) => format!("{}: {}", decision.word(), says.reason),
                (None, None) if says.blocked => format!("blocked: {}", says.reason),
                (None, None) => "heard".to_owned(),
            };
            let names: Vec<String> = hooks.iter().map(|hook| one_line(&hook.name, 100)).collect();
            dim(format!("  hook {} [{}] {}", event.word(), names.join(", "), one_line(&what, 200)))
        }
        EventKind::ApprovalResolved { decision, by, feedback, arguments, .. } => {
            let edited = if arguments.is_some() { " (edited)" } else { "" };
            let why = if feedback.is_empty() {
                edited.to_owned()
            } else {
                format!(": {}", one_line(feedback, 200))
            };
            dim(format!("  {} by {}{why}", decision.word(), one_line(by, 50)))
        }
        EventKind::QuestionAsked { questions, .. } => questions
            .iter()
            .map(|question| {
                print.paint(&format!("? {}", one_line(&question.question, 500)), Style::Yellow) + "\n"
            })
            .collect(),
        EventKind::WaitOpened { signal, until, .. } => {
            dim(format!("  … {}", waits_for(signal.as_deref(), *until)))
        }
        EventKind::WaitEnded { how, by, payload, .. } => {
            let payload = payload.as_ref().map(|payload| format!(": {}", one_line(payload, 200)));
            dim(format!("  {} by {}{}", how.word(), one_line(by, 50), payload.unwrap_or_default()))
        }
        EventKind::QuestionAnswered { ruling, .. } => match ruling {
            Ruling::Answers(answers) => dim(format!("  {}", one_line(&answers.join("; "), 500))),
            Ruling::Deny { feedback } => dim(format!("  not answered. {}", one_line(feedback, 200))),
            Ruling::Allow
            | Ruling::Timeout
            | Ruling::Edited(_)
            | Ruling::Plan { .. }
            | Ruling::Ended(_)
            | Ruling::Signal(_) => dim("  not answered".into()),
        },
        EventKind::ChildStarted { child, agent, task, .. } => {
            print.paint(&format!("→ {} ({child}): {}", one_line(agent, 64), one_line(task, 200)), Style::Bold)
                + "\n"
        }
        EventKind::ChildEnded { child, stop, steps, .. } => {
            let how = stop.map_or("finished", |stop| stop.word());
            dim(format!("← {child} {how}, {}", counted(u64::from(*steps), "step")))
        }
        EventKind::ContextCompacting { .. }
        | EventKind::ApprovalJudging { .. }
        | EventKind::TitleAsking { .. }
        | EventKind::HookAsking { .. } => String::new(),
        EventKind::ApprovalJudged { says, reason, failed, .. } => {
            let why = failed.as_ref().unwrap_or(reason);
            dim(format!("  classifier: {} {}", says.word(), one_line(why, 200)))
        }
        EventKind::ContextCompacted { stage, tokens_before, tokens_after, .. } => {
            let how = stage.word();
            dim(format!("compacted ({how}): about {tokens_before} tokens became {tokens_after}"))
        }
        EventKind::TurnStarted { guest: Some(guest), .. } => {
            dim(format!("{} answers as a guest", one_line(guest, 64)))
        }
        EventKind::ContextFrame { task, .. } => dim(format!("a fresh window: {}", one_line(task, 200))),
        EventKind::LimitReached { reason } => dim(format!("limit reached: {}", reason.word())),
        EventKind::CancelRequested { by, reason } => {
            dim(format!("cancelled by {}: {}", one_line(by, 50), one_line(reason, 200)))
        }
        EventKind::GrantGiven { summary, .. } => dim(format!("granted: {}", one_line(summary, 200))),
        EventKind::GrantRevoked { .. } => dim("a grant was taken back".into()),
        EventKind::MemoryChanged { change, notes } => dim(remembered(*change, notes)),
        EventKind::AutomationChanged { change, about } => {
            dim(format!("  {about}: {}", format!("{change:?}").to_lowercase()))
        }
        EventKind::GoalChanged { status: None, .. } => dim("  goal cleared".to_owned()),
        EventKind::GoalChanged { status: Some(status), why, tokens, token_budget, .. } => {
            dim(format!("  {}", goal_line(*status, why, *tokens, *token_budget)))
        }
        EventKind::BudgetChanged { call, settled, tokens } => {
            let how = if *settled { "settled" } else { "asked for room" };
            dim(format!("{call} {how}: {tokens} tokens spent"))
        }
        EventKind::CheckpointTaken { files, skipped, skipped_names, .. } => {
            let missed = match skipped {
                0 => String::new(),
                n => format!("; not kept: {}", not_kept(skipped_names, *n)),
            };
            dim(format!("  checkpoint of {files} files{missed}"))
        }
        EventKind::SessionRewound { to, files, conversation, .. } => {
            let what = match (files, conversation) {
                (Some(_), true) => "files and conversation",
                (Some(_), false) => "files",
                (None, _) => "conversation",
            };
            print.paint(&format!("↶ {what} went back to record {to}"), Style::Yellow) + "\n"
        }
        EventKind::Warning { message, .. } => {
            print.paint(&format!("warning: {}", one_line(message, 500)), Style::Yellow) + "\n"
        }
        EventKind::Result(result) => {
            let stop = result.stop.map_or_else(String::new, |stop| format!(": {}", stop.word()));
            let cost = money(result.cost);
            let detail = match (&result.message, result.stop) {
                (Some(message), Some(_)) => format!("{}\n", one_line(message, 500)),
                _ => String::new(),
            };
            format!(
                "{detail}{}",
                dim(format!(
                    "turn {} {}{stop} · {} · {cost}",
                    result.turn,
                    result.outcome,
                    counted(result.steps.into(), "step")
                ))
            )
        }
        EventKind::TodoChanged { items } => items
            .iter()
            .map(|item| dim(format!("  [{:?}] {}", item.status, one_line(&item.subject, 200))))
            .collect(),
        // They repeat what others say, or are live and never stored.
        EventKind::InputSteered { .. }
        | EventKind::TurnStarted { guest: None, .. }
        | EventKind::TurnCommitted { .. }
        | EventKind::StepStarted { .. }
        | EventKind::StepEnded {}
        | EventKind::ModelStarted { .. }
        | EventKind::ModelDelta { .. }
        | EventKind::RetryWaiting { .. }
        | EventKind::Usage { .. }
        | EventKind::ToolStarted { .. }
        | EventKind::ToolProgress { .. }
        | EventKind::Gap { .. } => String::new(),
    }
}

/// How a call ended, with its first lines: five when it went well, ten when not.
fn tool_ended(
    print: &Print,
    name: &str,
    status: ToolStatus,
    output: &str,
    bytes: u64,
    duration_ms: u64,
) -> String {
    let good = status == ToolStatus::Ok;
    let lines = if good { 5 } else { 10 };
    let style = if good { Style::Green } else { Style::Red };
    let (name, how) = (one_line(name, 50), print.paint(status.word(), style));
    let mut text = format!("  {name}: {how}, {}\n", seconds(duration_ms));
    let output = harmless(output.trim_end());
    for line in output.lines().take(lines) {
        text.push_str(&print.paint(&format!("    {}", one_line(line, 200)), Style::Dim));
        text.push('\n');
    }
    if output.lines().count() > lines || bytes > output.len() as u64 + 16 {
        text.push_str(&print.paint(&format!("    … {bytes} bytes in all"), Style::Dim));
        text.push('\n');
    }
    text
}

/// `recalled port (project)`
fn remembered(change: MemoryWord, notes: &[MemoryRef]) -> String {
    let verb = match change {
        MemoryWord::Kept => "remembered",
        MemoryWord::Forgotten => "forgot",
        MemoryWord::Used => "used",
        MemoryWord::Recalled => "recalled",
    };
    let of = |note: &MemoryRef| match (&note.name, note.scope) {
        (Some(name), Some(scope)) => format!("{} ({scope})", one_line(name, 60)),
        _ => one_line(&note.id, 60),
    };
    format!("{verb} {}", notes.iter().map(of).collect::<Vec<_>>().join(", "))
}
