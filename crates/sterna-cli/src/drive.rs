//! Follows one turn to its `result`: shows its events, passes signals on, and asks the person where there is one.
//!
//! It must never decide what the turn does. Whatever happens, the last thing it shows is a result.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use sterna::Sterna;
use sterna_model::{
    EffectClass, Event, EventKind, GrantScope, Mode, ResultEvent, Rewrite, Ruling, Seq, SessionId,
    StopReason, TurnNo, WaitId, waiting_call,
};
use sterna_runtime::{Observer, Resolve, Runtime, RuntimeError, State};
use tokio::sync::mpsc;

use crate::commands::policy::grant_shown;
use crate::edit::{Editable, in_editor};
use crate::person::{Answer, Line, Person, chosen};
use crate::print::{Print, Style, harmless, one_line};
use crate::render::{Open, Output};
use crate::signals::{Signal, Signals};

/// How long the events of a turn that is over may take to reach us, before its result is shown without them.
const LAST_EVENTS: Duration = Duration::from_secs(2);
/// How long a process stays for its driver to leave, after the result. Most need a millisecond.
const REST: Duration = Duration::from_millis(250);
const FRAME: Duration = Duration::from_millis(100);

/// What a turn came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub result: ResultEvent,
    pub code: u8,
    /// The person wants to leave at once.
    pub left: bool,
}

/// Which turn to follow, and for whom.
pub struct Follow<'a> {
    pub sterna: &'a Sterna,
    pub session: &'a SessionId,
    /// The input that the turn took, or will take.
    pub input: Seq,
    /// Events up to this record are not shown.
    pub seen: Seq,
    /// Somebody who can be asked.
    pub person: Option<&'a Person>,
}

/// The exit code of a command that ends with this result.
pub fn exit_code(result: &ResultEvent) -> u8 {
    match result.outcome {
        "finished" => 0,
        "parked" => 8,
        "drained" => 143,
        _ => result.stop.map_or(1, StopReason::exit_code),
    }
}

/// Waits a moment for what a driver does after the result: it lets its lease go, and may leave a snapshot.
pub async fn rest(runtime: &Runtime, session: &SessionId, ended: &Ended) {
    if !ended.left {
        // A driver that has more to do is left alone: the log has everything.
        let _ = tokio::time::timeout(REST, runtime.rest(session)).await;
    }
}

impl Follow<'_> {
    /// Shows everything up to the result, which is always shown.
    pub async fn until_end(self, out: &mut Output, signals: &mut Signals) -> Ended {
        let runtime = self.sterna.runtime();
        // The turn is told by its first record, which may be older than what is to be shown.
        let from = self.seen.min(self.input.saturating_sub(1));
        let mut agents = Agents::default();
        if self.person.is_some() {
            agents.hear_those_at_work(runtime, self.session, from).await;
        }
        let watch = Watch {
            observer: runtime.observe(self.session, from),
            runtime,
            follow: &self,
            turn: None,
            wants_cancel: false,
            signalled: None,
            open: VecDeque::new(),
            calls: HashMap::new(),
            agents,
        };
        let mut ended = watch.run(out, signals).await;
        if let Some(failure) = out.lost(self.session) {
            let _ = failure.report(&Print::from_env());
            // An answer that nobody could be given is no success.
            ended.code = if ended.code == 0 { failure.code } else { ended.code };
        }
        ended
    }
}

struct Watch<'a> {
    follow: &'a Follow<'a>,
    runtime: &'a Runtime,
    observer: Observer,
    /// The turn that took our input.
    turn: Option<TurnNo>,
    /// Cancel it as soon as it has started.
    wants_cancel: bool,
    /// The first signal that came.
    signalled: Option<Signal>,
    /// Who waits for a person's word.
    open: VecDeque<Open>,
    /// The arguments of the turn's calls, as they are now, by session and call.
    calls: HashMap<(SessionId, String), String>,
    /// Agents that were started, and what they say.
    agents: Agents,
}

/// The agents of a turn: what they ask is asked here.
struct Agents {
    heard: HashSet<SessionId>,
    tell: mpsc::UnboundedSender<Event>,
    said: mpsc::UnboundedReceiver<Event>,
}

impl Default for Agents {
    fn default() -> Self {
        let (tell, said) = mpsc::unbounded_channel();
        Self { heard: HashSet::new(), tell, said }
    }
}

impl Agents {
    /// Listens to the agents that turns before the record `from` left at work.
    async fn hear_those_at_work(&mut self, runtime: &Runtime, session: &SessionId, from: Seq) {
        // A session that begins here has none.
        if from < 2 {
            return;
        }
        // Of a log that cannot be read the turn itself will tell.
        let Ok(state) = State::load(&runtime.parts().log, session).await else { return };
        for (child, known) in &state.folded.world.children {
            if known.end.is_none() {
                self.hear(runtime, child);
            }
        }
    }

    /// Listens to an agent from its beginning, until nobody wants to know.
    fn hear(&mut self, runtime: &Runtime, child: &SessionId) {
        if !self.heard.insert(child.clone()) {
            return;
        }
        let (mut observer, tell) = (runtime.observe(child, 0), self.tell.clone());
        tokio::spawn(async move {
            while let Ok(event) = observer.next().await {
                if tell.send(event).is_err() {
                    return;
                }
            }
        });
    }
}

/// What a person said, or that they want to stop.
enum Said {
    Ruled { wait: String, ruling: Ruling, grant: Option<GrantScope> },
    Interrupt,
}

type Asking<'a> = Pin<Box<dyn Future<Output = Said> + 'a>>;

impl<'a> Watch<'a> {
    async fn run(mut self, out: &mut Output, signals: &mut Signals) -> Ended {
        let runtime = self.runtime;
        let mut result = pin!(runtime.result(self.follow.session, self.follow.input));
        let mut settled: Option<Result<ResultEvent, RuntimeError>> = None;
        let mut late = pin!(tokio::time::sleep(LAST_EVENTS));
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut asking: Option<Asking<'a>> = None;
        loop {
            let can_ask = self.follow.person.is_some() && asking.is_none() && !self.open.is_empty();
            let animated = asking.is_none() && out.is_animated();
            tokio::select! {
                biased;
                signal = signals.next() => {
                    if let Some(ended) = self.signal(signal, out).await {
                        return ended;
                    }
                }
                event = self.observer.next() => match event {
                    Ok(event) => {
                        if let Some(ended) = self.event(event, out).await {
                            return ended;
                        }
                    }
                    Err(error) => return self.without_event(Err(error.into()), out).await,
                },
                Some(event) = self.agents.said.recv() => self.note(&event),
                ended = &mut result, if settled.is_none() => {
                    settled = Some(ended);
                    late.as_mut().reset(tokio::time::Instant::now() + LAST_EVENTS);
                    if matches!(settled, Some(Err(_))) {
                        // Nothing more comes by itself: what is in the log already has been shown.
                        late.as_mut().reset(tokio::time::Instant::now() + LAST_EVENTS / 10);
                    }
                }
                () = &mut late, if settled.is_some() => {
                    let settled = settled.take().unwrap_or_else(|| Err(RuntimeError::Refused(String::new())));
                    return self.without_event(settled, out).await;
                }
                said = poll(&mut asking), if asking.is_some() => {
                    asking = None;
                    match said {
                        Said::Ruled { wait, ruling, grant } => self.resolve(wait, ruling, grant, out).await,
                        Said::Interrupt => {
                            if let Some(ended) = self.signal(Signal::Interrupt, out).await {
                                return ended;
                            }
                        }
                    }
                }
                () = std::future::ready(()), if can_ask => {
                    if let (Some(person), Some(open)) = (self.follow.person, self.open.pop_front()) {
                        out.pause();
                        let session = self.session_of(open.wait());
                        let arguments = match &open {
                            Open::Approval { call_id, .. } => {
                                self.calls.get(&(session.clone(), call_id.clone())).cloned()
                            }
                            Open::Questions { .. } | Open::Plan { .. } => None,
                        };
                        if session != *self.follow.session {
                            out.note(&format!("agent {session} asks:"));
                        }
                        asking = Some(Box::pin(ask(person, open, arguments, self.runtime.clone(), session)));
                    }
                }
                _ = frames.tick(), if animated => out.tick(),
            }
        }
    }

    /// Shows an event. The turn's result ends it.
    async fn event(&mut self, event: Event, out: &mut Output) -> Option<Ended> {
        let ours = |inputs: &[Seq]| inputs.contains(&self.follow.input);
        match &event.kind {
            EventKind::TurnStarted { inputs, .. } | EventKind::InputSteered { inputs } if ours(inputs) => {
                self.turn = event.turn;
            }
            EventKind::Result(result) => {
                if self.turn.is_none() || event.turn != self.turn {
                    return None;
                }
                let result = ResultEvent::clone(result);
                out.event(&event);
                let left = self.signalled == Some(Signal::Terminate);
                return Some(Ended { code: exit_code(&result), result, left });
            }
            _ => self.note(&event),
        }
        if event.seq > self.follow.seen || event.kind.is_live() {
            out.event(&event);
        } else {
            out.earlier(&event);
        }
        if self.wants_cancel && self.turn.is_some() {
            self.wants_cancel = false;
            self.cancel(out).await;
        }
        match &event.kind {
            EventKind::InputWithdrawn { inputs, .. } if self.turn.is_none() && ours(inputs) => {
                let error = RuntimeError::Refused("the input was taken back before its turn started".into());
                Some(self.without_event(Err(error), out).await)
            }
            _ => None,
        }
    }

    /// What an event of the turn, or of one of its agents, says of calls and of who is waited for.
    fn note(&mut self, event: &Event) {
        let call = |call_id: &String| (event.session.clone(), call_id.clone());
        match &event.kind {
            EventKind::ToolProposed { call_id, arguments, .. } => {
                self.calls.insert(call(call_id), arguments.clone());
            }
            EventKind::HookRan { call_id: Some(call_id), says, .. } => {
                let new = says.rewrite.as_ref().map(|new| (call(call_id), new.arguments.clone()));
                self.calls.extend(new);
            }
            EventKind::ChildStarted { child, .. } if self.follow.person.is_some() => {
                self.agents.hear(self.runtime, child);
            }
            _ => {}
        }
        if let Some(closed) = Open::closed_by(&event.kind) {
            self.open.retain(|open| open.wait() != closed);
        }
        self.open.extend(Open::of(&event.kind));
    }

    /// The session whose call a wait belongs to: this one, or an agent's.
    fn session_of(&self, wait: &str) -> SessionId {
        waiting_call(wait).map_or_else(|| self.follow.session.clone(), |key| key.session)
    }

    async fn signal(&mut self, signal: Signal, out: &mut Output) -> Option<Ended> {
        let first = self.signalled.replace(signal).is_none();
        if !first {
            let mut result = self.empty(StopReason::Cancelled, "left before the turn had settled");
            if signal == Signal::Terminate {
                (result.outcome, result.stop) = ("drained", None);
            }
            out.result(self.now(), result.clone());
            return Some(Ended { code: signal.exit_code(), result, left: true });
        }
        match signal {
            Signal::Terminate => {
                let runtime = self.runtime.clone();
                // The second signal must be heard while what runs settles.
                tokio::spawn(async move { runtime.drain().await });
            }
            Signal::Interrupt if self.turn.is_some() => self.cancel(out).await,
            Signal::Interrupt => {
                self.wants_cancel = true;
                // Taken by a turn meanwhile: then that turn is cancelled when its start is seen.
                let _ = self.runtime.withdraw(self.follow.session, vec![self.follow.input], "person").await;
            }
        }
        None
    }

    async fn cancel(&mut self, out: &mut Output) {
        match self.runtime.cancel(self.follow.session, "person", "interrupted at the terminal").await {
            // A turn that is over needs no cancelling.
            Ok(_) | Err(RuntimeError::NoTurn(_)) => {}
            Err(error) => out.note(&format!("cannot cancel: {error}")),
        }
    }

    async fn resolve(&mut self, wait: String, ruling: Ruling, grant: Option<GrantScope>, out: &mut Output) {
        let session = self.session_of(&wait);
        match self.runtime.resolve(Resolve { session, wait, ruling, grant, by: "person".into() }).await {
            Ok(_) => {}
            Err(RuntimeError::AlreadyResolved { .. }) => out.note("somebody else has answered it already"),
            Err(error) => out.note(&format!("the answer was not taken: {error}")),
        }
    }

    /// The turn is over, and its result did not come as an event: it is shown all the same.
    async fn without_event(&self, settled: Result<ResultEvent, RuntimeError>, out: &mut Output) -> Ended {
        let result = match settled {
            Ok(result) => result,
            Err(error) => self.broken(&error).await,
        };
        out.result(self.now(), result.clone());
        Ended { code: exit_code(&result), left: self.signalled == Some(Signal::Terminate), result }
    }

    /// The result of a turn that the runtime could not go on with.
    async fn broken(&self, error: &RuntimeError) -> ResultEvent {
        let (outcome, stop) = match (self.signalled, error) {
            (Some(Signal::Terminate), RuntimeError::Interrupted { .. }) => ("drained", None),
            (Some(Signal::Interrupt), RuntimeError::Refused(_) | RuntimeError::Interrupted { .. }) => {
                ("stopped", Some(StopReason::Cancelled))
            }
            _ => ("stopped", Some(StopReason::RuntimeError)),
        };
        let folded = State::load(&self.runtime.parts().log, self.follow.session).await.ok();
        let of_turn = folded.and_then(|state| {
            let turn = state.machine.turn().filter(|turn| Some(turn.number) == self.turn)?;
            state.folded.unfinished(turn.number, outcome, turn.steps(), error.to_string())
        });
        let empty = || self.empty(StopReason::RuntimeError, &error.to_string());
        ResultEvent { outcome, stop, ..of_turn.unwrap_or_else(empty) }
    }

    fn empty(&self, stop: StopReason, message: &str) -> ResultEvent {
        ResultEvent {
            outcome: "stopped",
            stop: Some(stop),
            message: Some(message.to_owned()),
            value: None,
            usage: Vec::new(),
            cost: None,
            steps: 0,
            session: self.follow.session.clone(),
            turn: self.turn.unwrap_or(0),
            denials: Vec::new(),
            changed_files: Vec::new(),
        }
    }

    fn now(&self) -> u64 {
        self.runtime.parts().env.now()
    }
}

async fn poll(asking: &mut Option<Asking<'_>>) -> Said {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

/// Shows the grant that would be stored, and asks whether it is.
async fn store(
    person: &Person,
    runtime: &Runtime,
    session: &SessionId,
    wait: &WaitId,
    scope: GrantScope,
) -> Line {
    let print = Print::from_env();
    match runtime.grant_of(session, wait, scope).await {
        Ok(grant) => {
            print.note(&format!("  will be stored: {}", grant_shown(&grant)));
            person.read("store it? [y]es, [n]o: ", false).await
        }
        Err(error) => {
            print.note(&format!("  it cannot be stored: {error}"));
            Line::End
        }
    }
}

/// Shows what would happen, and asks.
async fn ask(
    person: &Person,
    open: Open,
    arguments: Option<String>,
    runtime: Runtime,
    session: SessionId,
) -> Said {
    let print = Print::from_env();
    match open {
        Open::Approval { wait, tool, summary, reason, rule, preview, untrusted, call_id: _ } => {
            // A summary that begins with the tool's name needs it no second time.
            let tool =
                if summary.starts_with(&tool) { String::new() } else { format!("{} ", one_line(&tool, 80)) };
            let title = format!("? {tool}{}", one_line(&summary, 500));
            print.note(&print.paint_err(&title, Style::Bold));
            if let Some(preview) = preview {
                show_preview(&print, &preview);
            }
            let rule = rule.map_or_else(String::new, |rule| format!(" · rule {}", one_line(&rule, 200)));
            let why = format!("  asks because: {}{rule}", one_line(&reason, 300));
            print.note(&print.paint_err(&why, Style::Dim));
            for text in untrusted {
                let mark = format!("  the model has read text of strangers: {}", one_line(&text, 300));
                print.note(&print.paint_err(&mark, Style::Yellow));
            }
            let (ruling, grant) = loop {
                match person.read(ALLOW, false).await {
                    Line::Interrupt => return Said::Interrupt,
                    Line::End => break (Ruling::Deny { feedback: String::new() }, None),
                    Line::Text(text) => match Answer::read(&text) {
                        Answer::Once => break (Ruling::Allow, None),
                        Answer::For(scope) if scope.is_stored() => {
                            match store(person, &runtime, &session, &wait, scope).await {
                                Line::Interrupt => return Said::Interrupt,
                                Line::Text(text) if Answer::read(&text) == Answer::Once => {
                                    break (Ruling::Allow, Some(scope));
                                }
                                // Asked again: nothing is allowed yet.
                                Line::Text(_) | Line::End => {}
                            }
                        }
                        Answer::For(scope) => break (Ruling::Allow, Some(scope)),
                        Answer::Edit => match edited(arguments.as_deref()).await {
                            Ok(Some(arguments)) => {
                                // Whoever takes the answer says what the new call is.
                                let class = EffectClass::AtMostOnce;
                                break (Ruling::Edited(Rewrite { arguments, class, effects: None }), None);
                            }
                            Ok(None) => print.note("nothing was changed"),
                            Err(why) => print.warning(&why),
                        },
                        Answer::No(feedback) => break (Ruling::Deny { feedback }, None),
                        Answer::WhyNot => match person.read("why not? (Enter: say nothing) ", false).await {
                            Line::Interrupt => return Said::Interrupt,
                            Line::End => break (Ruling::Deny { feedback: String::new() }, None),
                            Line::Text(why) => {
                                break (Ruling::Deny { feedback: why.trim().to_owned() }, None);
                            }
                        },
                        Answer::Unclear => {
                            print.note("answer y, t, s, p, u, e or n; `n use the other file` says why")
                        }
                    },
                }
            };
            Said::Ruled { wait, ruling, grant }
        }
        Open::Plan { wait, slug, content, after } => {
            print.note(&print.paint_err(&format!("? plan {}", one_line(&slug, 64)), Style::Bold));
            print.note(&harmless(content.trim_end()));
            let prompt = format!(
                "approve it, and go on in mode {}? [y]es, [e]dit, [n]o, or another mode: ",
                after.word()
            );
            let ruling = loop {
                let text = match person.read(&prompt, false).await {
                    Line::Interrupt => return Said::Interrupt,
                    Line::End => break Ruling::Deny { feedback: String::new() },
                    Line::Text(text) => text,
                };
                let mode =
                    Mode::ALL.into_iter().find(|mode| mode.word() == text.trim() && *mode != Mode::Plan);
                match (mode, Answer::read(&text)) {
                    (Some(mode), _) => break Ruling::Plan { mode: Some(mode), content: None },
                    (None, Answer::Once) => break Ruling::Allow,
                    (None, Answer::Edit) => match in_editor(content.clone(), ".md").await {
                        Ok(text) if text.trim().is_empty() => {
                            print.note("the plan is empty; nothing was changed")
                        }
                        Ok(text) => break Ruling::Plan { mode: None, content: Some(text) },
                        Err(why) => print.warning(&why),
                    },
                    (None, Answer::No(feedback)) => break Ruling::Deny { feedback },
                    (None, Answer::WhyNot) => match person.read("what should be different? ", false).await {
                        Line::Interrupt => return Said::Interrupt,
                        Line::End => break Ruling::Deny { feedback: String::new() },
                        Line::Text(why) => break Ruling::Deny { feedback: why.trim().to_owned() },
                    },
                    (None, Answer::For(_) | Answer::Unclear) => {
                        print.note("answer y, e, n or a mode; `n do the tests first` says why");
                    }
                }
            };
            Said::Ruled { wait, ruling, grant: None }
        }
        Open::Questions { wait, questions } => {
            let mut answers = Vec::new();
            for question in &questions {
                print.note(&print.paint_err(&harmless(&question.question), Style::Bold));
                for (at, option) in question.options.iter().enumerate() {
                    let about = if option.description.is_empty() { "" } else { "  " };
                    let about = print
                        .paint_err(&format!("{about}{}", one_line(&option.description, 200)), Style::Dim);
                    print.note(&format!("  {}. {}{about}", at + 1, one_line(&option.label, 100)));
                    if let Some(preview) = &option.preview {
                        show_preview(&print, preview);
                    }
                }
                let prompt = match (question.options.as_slice(), question.multi) {
                    ([], _) => "your answer: ",
                    (_, true) => "number, several with commas, or your own words: ",
                    (_, false) => "number, or your own words: ",
                };
                let answer = loop {
                    match person.read(prompt, false).await {
                        Line::Interrupt => return Said::Interrupt,
                        Line::End => {
                            let ruling =
                                Ruling::Deny { feedback: "the person did not want to answer".into() };
                            return Said::Ruled { wait, ruling, grant: None };
                        }
                        Line::Text(text) => {
                            if let Some(answer) = chosen(question, &text) {
                                break answer;
                            }
                        }
                    }
                };
                answers.push(answer);
            }
            Said::Ruled { wait, ruling: Ruling::Answers(answers), grant: None }
        }
    }
}

/// The call's arguments with the person's own text. `None`: it is as it was.
async fn edited(arguments: Option<&str>) -> Result<Option<String>, String> {
    let arguments = arguments.ok_or("the arguments of this call are not known here")?;
    let editable = Editable::of(arguments);
    let text = in_editor(editable.text.clone(), ".txt").await?;
    editable.with(arguments, &text)
}

/// A diff in its colours, or any other text, indented.
fn show_preview(print: &Print, preview: &str) {
    for line in harmless(preview).lines() {
        let style = match line.as_bytes().first() {
            Some(b'+') => Style::Green,
            Some(b'-') => Style::Red,
            Some(b'@') => Style::Cyan,
            _ => Style::Dim,
        };
        print.note(&format!("    {}", print.paint_err(line, style)));
    }
}

const ALLOW: &str = "allow it? [y]es once, for this [t]urn, [s]ession, [p]roject, [u]ser, [e]dit, or [n]o: ";
