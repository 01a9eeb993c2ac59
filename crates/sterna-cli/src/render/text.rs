//! Text for people: the message on stdout, everything else on stderr.

use std::collections::HashMap;
use std::io::Write;
use std::time::Instant;

use sterna_model::{
    CompactTrigger, Event, EventKind, HookEnd, JudgeSays, Phase, ResultEvent, Segment, StopReason,
    TodoStatus, ToolStatus,
};

use super::Stdout;
use super::markdown::Markdown;
use super::took::Took;
use super::words::{self, Open, not_kept, waits_for};
use crate::print::{Print, Style, harmless, one_line};

/// Lines of a result that are shown when it went well, and when it failed (design: tool cards).
const OK_LINES: usize = 5;
const FAILED_LINES: usize = 10;
const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

pub struct Text {
    print: Print,
    /// Results are shown too.
    chat: bool,
    markdown: Markdown,
    /// Text of the current model call, as it was streamed.
    streamed: String,
    /// The text that stands on stdout whole: the final message is not shown twice.
    shown: String,
    /// Calls that were proposed and have not ended.
    calls: HashMap<String, Call>,
    took: Took,
    open: Vec<Open>,
    spinner: Spinner,
    since: Instant,
    /// The last warning: a folder says the same at every step.
    warned: String,
}

struct Call {
    brief: String,
    started: Option<Instant>,
}

#[derive(Default)]
struct Spinner {
    what: Option<(String, Option<Instant>)>,
    frame: usize,
    drawn: bool,
}

impl Text {
    pub fn new(print: Print, chat: bool) -> Self {
        let width = if print.live { columns() } else { 0 };
        Self {
            print,
            chat,
            markdown: Markdown::new(print.live && print.color, width),
            streamed: String::new(),
            shown: String::new(),
            calls: HashMap::new(),
            took: Took::default(),
            open: Vec::new(),
            spinner: Spinner::default(),
            since: Instant::now(),
            warned: String::new(),
        }
    }

    pub fn is_animated(&self) -> bool {
        self.print.live_err
    }

    /// Draws the spinner, unless text stands in its line.
    pub fn tick(&mut self) {
        if !self.print.live_err || self.markdown.is_open() {
            return;
        }
        let Some((what, since)) = &self.spinner.what else { return };
        let frame = FRAMES[self.spinner.frame % FRAMES.len()];
        let time = since
            .map_or_else(String::new, |since| format!(" {}", words::seconds(elapsed(since) / 100 * 100)));
        let room = columns().saturating_sub(time.chars().count() + 4);
        let line =
            format!("{} {}{}", self.print.paint_err(frame, Style::Cyan), one_line(what, room.max(8)), time);
        // A terminal that is gone needs no spinner.
        let _ = write!(std::io::stderr().lock(), "\r\x1b[2K{line}");
        self.spinner.frame += 1;
        self.spinner.drawn = true;
    }

    pub fn pause(&mut self, out: &mut Stdout) {
        self.clear();
        out.write(&self.markdown.end());
    }

    /// A line on stderr, between whatever else is shown.
    pub fn note(&mut self, line: &str, out: &mut Stdout) {
        self.pause(out);
        self.print.note(line);
    }

    fn warn(&mut self, text: String, out: &mut Stdout) {
        if self.warned != text {
            self.pause(out);
            self.print.warning(&text);
            self.warned = text;
        }
    }

    /// What is to be known of an event that was shown before, in another process.
    pub fn earlier(&mut self, event: &Event) {
        if let EventKind::ToolEnded { call_id, .. } = &event.kind {
            self.calls.remove(call_id);
            self.took.end(event, call_id, 0);
        }
        self.learn(event);
    }

    /// The calls that are open, and who is waited for.
    fn learn(&mut self, event: &Event) {
        self.took.hear(event);
        let kind = &event.kind;
        if let EventKind::ToolProposed { call_id, name, arguments } = kind {
            let call = Call { brief: words::brief(name, arguments), started: None };
            self.calls.insert(call_id.clone(), call);
        }
        if let Some(closed) = Open::closed_by(kind) {
            self.open.retain(|open| open.wait() != closed);
        }
        self.open.extend(Open::of(kind));
    }

    pub fn event(&mut self, event: &Event, out: &mut Stdout) {
        self.learn(event);
        match &event.kind {
            EventKind::TurnStarted { guest, .. } => {
                self.since = Instant::now();
                self.shown.clear();
                if let Some(guest) = guest {
                    let line = format!("{guest} answers as a guest");
                    self.note(&self.print.paint_err(&line, Style::Dim), out);
                }
            }
            EventKind::ModelStarted { .. } => {
                self.streamed.clear();
                self.spin("thinking", Some(Instant::now()));
            }
            EventKind::ModelDelta { segment: Segment::Text, phase: Phase::Delta, text, .. } => {
                self.streamed.push_str(text);
                if self.print.live {
                    self.clear();
                    out.write(&self.markdown.push(&harmless(text)));
                }
            }
            EventKind::ModelDelta { segment: Segment::ToolCall, name: Some(name), .. } => {
                self.spin(&format!("preparing {name}"), None);
            }
            EventKind::ModelReset { message, .. } => {
                let line = format!("the call failed: {}", one_line(message, 300));
                self.note(&self.print.paint_err(&line, Style::Yellow), out);
                self.streamed.clear();
            }
            EventKind::RetryWaiting { until, .. } => {
                let wait = words::seconds(until.saturating_sub(event.at));
                self.note(&self.print.paint_err(&format!("trying again in {wait}"), Style::Dim), out);
            }
            EventKind::ModelEnded { text, partial, .. } => self.model_ended(text, *partial, out),
            EventKind::ToolProposed { .. } => self.spin_calls(),
            EventKind::ToolStarted { call_id, .. } => {
                if let Some(call) = self.calls.get_mut(call_id) {
                    call.started = Some(Instant::now());
                }
                self.spin_calls();
            }
            EventKind::ToolEnded { call_id, name, status, output, exit_code, duration_ms, .. } => {
                let call = self.calls.remove(call_id);
                let brief = call.map_or_else(|| name.clone(), |call| call.brief);
                let took = self.took.end(event, call_id, *duration_ms);
                self.tool_ended(&brief, *status, output, *exit_code, took, out);
                self.spin_calls();
            }
            EventKind::TodoChanged { items } => {
                let done = items.iter().filter(|item| item.status == TodoStatus::Completed).count();
                let now = items.iter().find(|item| item.status == TodoStatus::InProgress);
                let now = now.map_or_else(String::new, |item| format!(": {}", one_line(&item.subject, 80)));
                let line = format!("  todo {done}/{}{now}", items.len());
                self.note(&self.print.paint_err(&line, Style::Dim), out);
            }
            EventKind::GoalChanged { status: Some(status), why, tokens, token_budget, .. } => {
                let line = format!("  {}", words::goal(*status, why, *tokens, *token_budget));
                self.note(&self.print.paint_err(&line, Style::Dim), out);
            }
            EventKind::ChildStarted { child, agent, task, background, .. } => {
                let behind = if *background { " in the background" } else { "" };
                let line = format!("  → {}{behind}: {}", one_line(agent, 64), one_line(task, 80));
                self.note(&format!("{line}  {}", self.print.paint_err(child.as_str(), Style::Dim)), out);
                self.spin(&format!("waiting for {}", one_line(agent, 64)), Some(Instant::now()));
            }
            EventKind::ChildEnded { child, stop, steps, .. } => {
                let how = stop.map_or("finished", |stop| stop.word());
                let line = format!("  ← {child} {how}, {}", words::counted(u64::from(*steps), "step"));
                self.note(&self.print.paint_err(&line, Style::Dim), out);
            }
            EventKind::CancelRequested { .. } => {
                self.note(&self.print.paint_err("cancelling the turn", Style::Yellow), out);
            }
            // Whoever asked for it is told so as an answer.
            EventKind::Warning { code, message } if code == "compaction" && message.contains("(manual)") => {}
            EventKind::Warning { message, .. } => self.warn(one_line(message, 500), out),
            EventKind::CheckpointTaken { skipped: skipped @ 1.., skipped_names, .. } => {
                self.warn(format!("not kept for a rewind: {}", not_kept(skipped_names, *skipped)), out);
            }
            EventKind::SessionRewound { to, .. } => {
                self.note(&self.print.paint_err(&format!("rewound to record {to}"), Style::Yellow), out);
            }
            EventKind::ApprovalJudging { .. } => self.spin("judging", Some(Instant::now())),
            EventKind::ApprovalJudged { says: JudgeSays::Unsure, .. } => {}
            EventKind::ApprovalJudged { says, reason, failed, .. } => {
                let why = failed.as_ref().unwrap_or(reason);
                let said = if why.is_empty() { String::new() } else { format!(": {why}") };
                let line = format!("classifier: {}{said}", says.word());
                self.note(&self.print.paint_err(&line, Style::Dim), out);
            }
            EventKind::ContextCompacting { .. } => self.spin("compacting", Some(Instant::now())),
            EventKind::ContextCompacted { trigger, stage, tokens_before, tokens_after, failed, .. } => {
                if let Some(why) = failed {
                    self.warn(format!("no summary was made: {}", one_line(why, 300)), out);
                }
                // The answer to whoever asked for it says the same.
                if *trigger != CompactTrigger::Manual {
                    let how = stage.word();
                    let line =
                        format!("compacted ({how}): about {tokens_before} tokens became {tokens_after}");
                    self.note(&self.print.paint_err(&line, Style::Dim), out);
                }
            }
            EventKind::ContextFrame { task, .. } => {
                let line = format!("goes on in a fresh window: {}", one_line(task, 200));
                self.note(&self.print.paint_err(&line, Style::Dim), out);
            }
            EventKind::Gap { missed } => {
                let line = format!("({missed} live events were missed)");
                self.note(&self.print.paint_err(&line, Style::Dim), out);
            }
            EventKind::ApprovalRequested { .. }
            | EventKind::QuestionAsked { .. }
            | EventKind::PlanSubmitted { .. } => self.spinner.what = None,
            EventKind::WaitOpened { signal, until, .. } => {
                let line = format!("… {}", waits_for(signal.as_deref(), *until));
                self.note(&self.print.paint_err(&line, Style::Dim), out);
            }
            EventKind::HookRan { event, hooks, .. } => {
                for hook in hooks {
                    if !hook.message.is_empty() {
                        self.note(&one_line(&hook.message, 500), out);
                    }
                    if matches!(hook.end, HookEnd::Failed | HookEnd::FailedClosed) {
                        let (name, why) = (one_line(&hook.name, 100), one_line(&hook.output, 300));
                        self.warn(format!("hook {name} ({}) failed: {why}", event.word()), out);
                    }
                }
            }
            EventKind::Result(result) => self.result(result, out),
            EventKind::ModelDelta { .. }
            | EventKind::ToolProgress { .. }
            | EventKind::SessionOpened { .. }
            | EventKind::SessionTitled { .. }
            | EventKind::SessionClosed { .. }
            | EventKind::RouteChanged { .. }
            | EventKind::ModeChanged { .. }
            | EventKind::InputAccepted { .. }
            | EventKind::InputEdited { .. }
            | EventKind::InputWithdrawn { .. }
            | EventKind::ApprovalResolved { .. }
            | EventKind::QuestionAnswered { .. }
            | EventKind::WaitEnded { .. }
            | EventKind::InputSteered { .. }
            | EventKind::TurnCommitted { .. }
            | EventKind::StepStarted { .. }
            | EventKind::StepEnded {}
            | EventKind::Usage { .. }
            | EventKind::LimitReached { .. }
            | EventKind::CheckpointTaken { .. }
            | EventKind::GrantGiven { .. }
            | EventKind::HookAsking { .. }
            | EventKind::TitleAsking { .. }
            | EventKind::GrantRevoked { .. }
            | EventKind::BudgetChanged { .. }
            | EventKind::MemoryChanged { .. }
            | EventKind::AutomationChanged { .. }
            | EventKind::GoalChanged { status: None, .. } => {}
        }
    }

    fn model_ended(&mut self, text: &str, partial: bool, out: &mut Stdout) {
        self.clear();
        self.spinner.what = None;
        if !self.print.live {
            return;
        }
        if self.streamed.is_empty() && !partial {
            out.write(&self.markdown.push(&harmless(text)));
        }
        out.write(&self.markdown.end());
        text.clone_into(&mut self.shown);
    }

    fn tool_ended(
        &mut self,
        brief: &str,
        status: ToolStatus,
        output: &str,
        exit_code: Option<i32>,
        duration_ms: u64,
        out: &mut Stdout,
    ) {
        let good = status == ToolStatus::Ok && exit_code.is_none_or(|code| code == 0);
        let (mark, style) = if good { ("✓", Style::Green) } else { ("✗", Style::Red) };
        let how = match (status, exit_code) {
            (ToolStatus::Ok, None | Some(0)) => String::new(),
            (ToolStatus::Ok | ToolStatus::Failed, Some(code)) => format!("exit {code}, "),
            (other, _) => format!("{}, ", other.word().replace('_', " ")),
        };
        let how = match status.ran() {
            true => format!("{how}{}", words::seconds(duration_ms)),
            false => how.trim_end_matches(", ").to_owned(),
        };
        let brief = match self.print.live_err {
            true => one_line(brief, columns().saturating_sub(how.chars().count() + 7).max(20)),
            false => brief.to_owned(),
        };
        let how = self.print.paint_err(&how, Style::Dim);
        let line = format!("  {} {brief}  {how}", self.print.paint_err(mark, style));
        self.note(&line, out);
        let most = match (self.chat, good) {
            (true, true) => OK_LINES,
            (true, false) => FAILED_LINES,
            (false, true) => 0,
            (false, false) => 1,
        };
        self.excerpt(output, most);
    }

    /// The beginning of a result, dim.
    fn excerpt(&self, output: &str, most: usize) {
        let shown = harmless(output);
        // The exit code stands in the line above.
        let tells = |line: &&str| !line.trim().is_empty() && !line.starts_with("exit code ");
        let lines: Vec<&str> = shown.lines().filter(tells).collect();
        let width = if self.print.live_err { columns().saturating_sub(6).max(20) } else { 200 };
        for line in lines.iter().take(most) {
            let line: String = line.replace('\t', "    ").chars().take(width).collect();
            self.print.note(&self.print.paint_err(&format!("    {line}"), Style::Dim));
        }
        if most > 1 && lines.len() > most {
            let more = format!("    … and {} more", words::counted((lines.len() - most) as u64, "line"));
            self.print.note(&self.print.paint_err(&more, Style::Dim));
        }
    }

    fn result(&mut self, result: &ResultEvent, out: &mut Stdout) {
        self.spinner.what = None;
        self.pause(out);
        let value = result.value.as_ref().filter(|_| !self.print.live).map(ToString::to_string);
        // What a program reads is the value, without what a model puts round it.
        let message = value.as_deref().or(result.message.as_deref()).unwrap_or("");
        match result.outcome {
            "finished" if self.shown != message || message.is_empty() => {
                let mut text = harmless(message);
                if self.print.live {
                    text = self.markdown.push(&text) + &self.markdown.end();
                } else if !text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
                out.write(&text);
            }
            "finished" => {}
            "parked" => self.parked(result),
            "drained" => self.print.note(&harmless(message)),
            _ => self.stopped(result, message),
        }
        self.shown.clear();
        self.calls.clear();
        self.summary(result);
        // What a rule, a hook or a person denied was meant so.
        let unasked = result.denials.iter().filter(|denial| denial.reason.contains("--on-ask")).count();
        if !self.chat && unasked > 0 {
            let denied = words::counted(unasked as u64, "call");
            let hint = format!(
                "{denied} asked, and nobody was there: --allow RULE allows it, --on-ask park lets you answer later"
            );
            self.print.hint(&hint);
        }
    }

    fn stopped(&self, result: &ResultEvent, message: &str) {
        let Some(stop) = result.stop else { return self.print.error(&harmless(message)) };
        let said = if message.is_empty() { String::new() } else { format!(": {}", harmless(message)) };
        self.print.error(&format!("stopped ({}){said}", stop.word()));
        let session = &result.session;
        let hint = match stop {
            StopReason::MaxSteps => {
                format!("`sterna run --session {session} \"go on\"` carries on; --max-steps sets the limit")
            }
            StopReason::Denied => "allow what it needs with --allow, or answer at a terminal".to_owned(),
            StopReason::ProviderFailed => {
                format!(
                    "`sterna run --session {session} \"go on\"` tries again; `sterna doctor` looks at the provider"
                )
            }
            StopReason::RuntimeError => {
                format!("`sterna resume {session}` carries on when the cause is mended")
            }
            StopReason::Cancelled => return,
            _ => format!("`sterna sessions show {session}` shows what happened"),
        };
        self.print.hint(&hint);
    }

    fn parked(&mut self, result: &ResultEvent) {
        let session = &result.session;
        if self.open.is_empty() {
            self.print.note(&format!("parked: {}", harmless(result.message.as_deref().unwrap_or(""))));
            self.print.hint(&format!("`sterna resume {session}` shows what it asks, and how it is answered"));
        }
        for open in std::mem::take(&mut self.open) {
            match open {
                Open::Approval { summary, reason, .. } => {
                    self.print.note(&format!(
                        "parked: waits for an approval of `{}` ({})",
                        one_line(&summary, 200),
                        one_line(&reason, 200)
                    ));
                    self.print.hint(&format!(
                        "`sterna approve {session}` allows it, `sterna deny {session}` does not"
                    ));
                }
                Open::Questions { questions, .. } => {
                    let (texts, them) = (vec!["TEXT"; questions.len()].join(" "), questions.len() > 1);
                    for question in questions {
                        self.print.note(&format!("parked: asks `{}`", one_line(&question.question, 300)));
                        for (option, at) in question.options.iter().zip(1..) {
                            let about = one_line(&option.description, 200);
                            let line = format!("  {at}. {}  {about}", one_line(&option.label, 100));
                            self.print.note(line.trim_end());
                        }
                    }
                    let what = if them { "them, in this order" } else { "it" };
                    let hint =
                        format!("`sterna answer {session} {texts}` answers {what}; a number names an option");
                    self.print.hint(&hint);
                }
                Open::Plan { slug, content, after, .. } => {
                    self.print.note(&harmless(content.trim_end()));
                    let slug = one_line(&slug, 64);
                    self.print.note(&format!("parked: waits for an approval of the plan `{slug}`"));
                    let mode = after.word();
                    self.print.hint(&format!(
                        "`sterna approve {session}` goes on in mode {mode}, with your own text by `--edit FILE`; \
                         `sterna deny {session} --reason TEXT` sends it back"
                    ));
                }
            }
        }
    }

    fn summary(&self, result: &ResultEvent) {
        let mut facts = vec![words::counted(result.steps.into(), "step")];
        let input: u64 = result.usage.iter().map(|row| row.usage.input()).sum();
        let output: u64 = result.usage.iter().map(|row| row.usage.output).sum();
        if input + output > 0 {
            facts.push(format!("{} in, {} out", words::tokens(input), words::tokens(output)));
            facts.push(words::money(result.cost));
        }
        if !result.changed_files.is_empty() {
            facts.push(format!("{} changed", words::counted(result.changed_files.len() as u64, "file")));
        }
        facts.push(words::seconds(elapsed(self.since)));
        if !self.chat {
            facts.push(format!("session {}", result.session));
        }
        self.print.note(&self.print.paint_err(&facts.join(" · "), Style::Dim));
    }

    fn spin(&mut self, what: &str, since: Option<Instant>) {
        self.spinner.what = Some((what.to_owned(), since));
    }

    /// The spinner names the call that runs, and how many more there are.
    fn spin_calls(&mut self) {
        let running =
            self.calls.values().filter(|call| call.started.is_some()).min_by_key(|call| call.started);
        let more = self.calls.len().saturating_sub(1);
        self.spinner.what = running.or_else(|| self.calls.values().next()).map(|call| {
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            (format!("{}{more}", call.brief), call.started)
        });
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.spinner.drawn) {
            // A terminal that is gone needs no clearing.
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K");
        }
    }
}

fn elapsed(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn columns() -> usize {
    crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns))
}
