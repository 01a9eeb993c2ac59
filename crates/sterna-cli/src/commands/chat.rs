//! `sterna chat`: a conversation at the terminal, line by line. Without a terminal each line of stdin is a prompt.

use std::process::ExitCode;

use sterna::{Sterna, Store};
use sterna_log::SharedLog;
use sterna_model::{InputPart, Seq, SessionId, TodoStatus, dollars};
use sterna_runtime::{State, TurnConfig};

use super::resume::{Work, line as session_line};
use super::run::{open, pick, submit};
use crate::args::{ChatArgs, TurnArgs};
use crate::context::Context;
use crate::drive::{Ended, Follow};
use crate::failure::Failure;
use crate::person::{Line, Person};
use crate::point::Point;
use crate::print::{Style, one_line};
use crate::render::{Output, counted, money};
use crate::setup;
use crate::signals::Signals;
use crate::slash;

/// What can be said instead of a prompt.
const COMMANDS: [(&str, &str, &str); 14] = [
    ("help", "", "what can be said"),
    ("new", "", "begin a new session"),
    ("sessions", "", "the sessions of this folder"),
    ("resume", "ID", "go on with another session"),
    ("fork", "[SEQ]", "go on in a copy, from here or from an earlier record"),
    ("model", "ROUTE", "another model from the next turn on"),
    ("mode", "MODE", "another mode from the next turn on; plan from the next step on"),
    ("compact", "[FOCUS]", "make what the model sees smaller; the log keeps everything"),
    ("cost", "", "what this session used up"),
    ("todo", "", "the list of what is to be done"),
    ("skills", "", "skills and prompt files that /NAME runs"),
    ("title", "TEXT", "name this session"),
    ("attach", "[FILE]", "a file that comes with the next prompt; alone, it lets go of all of them"),
    ("exit", "", "leave; the session is kept"),
];

struct Chat {
    cx: Context,
    args: TurnArgs,
    sterna: Sterna,
    log: SharedLog,
    lines: Lines,
    out: Output,
    signals: Signals,
    session: Option<SessionId>,
    /// This session has had a turn here: from then on its own mode counts, which plans and `/mode` switch.
    begun: bool,
    /// Files that come with the next prompt.
    attached: Vec<InputPart>,
    /// Of the last turn.
    code: u8,
}

/// Where prompts come from.
enum Lines {
    Person(Person),
    Stdin(tokio::sync::mpsc::Receiver<String>),
}

/// What a line led to.
enum Flow {
    On,
    Leave(u8),
}

pub async fn run(args: ChatArgs) -> Result<ExitCode, Failure> {
    let mut cx = setup::context_here(&args.turn, true).await?;
    cx.ephemeral = args.pick.ephemeral;
    // Somebody waits for the prompt, and there are more turns to come.
    cx.hasty = true;
    let signals = Signals::new()?;
    let (store, log) = setup::store(&cx)?;
    let (pick, route) = pick(&cx, &log, &args.pick, None, args.turn.model.is_none()).await?;
    let is_person = setup::has_person(&cx);
    let sterna = setup::sterna(&cx, &args.turn, store, route.as_ref(), is_person).await?;
    setup::ready(&sterna)?;
    let session = open(sterna.runtime(), pick).await?;
    let lines = if is_person {
        Lines::Person(Person::new(Some(cx.places.state.join("history"))))
    } else {
        Lines::Stdin(stdin_lines())
    };
    let out = if is_person { Output::chat(cx.print) } else { Output::of(&cx, false) };
    let mut chat = Chat {
        cx,
        args: args.turn,
        sterna,
        log,
        lines,
        out,
        signals,
        session,
        begun: false,
        attached: Vec::new(),
        code: 0,
    };
    chat.greet();
    if let Flow::Leave(code) = chat.carry_on().await {
        return Ok(ExitCode::from(code));
    }
    Ok(ExitCode::from(chat.talk().await))
}

impl Chat {
    async fn talk(&mut self) -> u8 {
        loop {
            let line = tokio::select! {
                biased;
                signal = self.signals.next() => return signal.exit_code(),
                line = self.lines.next() => line,
            };
            let text = match line {
                Line::Text(text) => text,
                Line::Interrupt => {
                    self.note("Ctrl-D leaves");
                    continue;
                }
                Line::End => return if self.is_person() { 0 } else { self.code },
            };
            let said = text.trim();
            if said.is_empty() {
                continue;
            }
            let flow = match said.strip_prefix('/') {
                Some(command) => match self.command(command).await {
                    Ok(flow) => flow,
                    Err(failure) => {
                        self.code = failure.code;
                        // The conversation goes on: only what was said failed.
                        let _ = failure.report(&self.cx.print);
                        Flow::On
                    }
                },
                None => match guest_of(&self.sterna, said) {
                    Some((guest, text)) => self.guest_turn(&guest, text).await,
                    None => self.turn(text, self.config()).await,
                },
            };
            if let Flow::Leave(code) = flow {
                return code;
            }
        }
    }

    /// Another agent answers, once.
    async fn guest_turn(&mut self, guest: &str, text: String) -> Flow {
        let mut config = self.config();
        let given = self.sterna.as_guest(&mut config, guest).map_err(Failure::from);
        let ready = given.and_then(|()| {
            self.sterna.ready(&config.route).map_err(|why| setup::not_ready(&config.route, &why))
        });
        match ready {
            Ok(()) => self.turn(text, config).await,
            Err(failure) => {
                self.code = failure.code;
                let _ = failure.report(&self.cx.print);
                Flow::On
            }
        }
    }

    async fn turn(&mut self, text: String, config: TurnConfig) -> Flow {
        let parts = std::iter::once(InputPart::Text(text)).chain(self.attached.iter().cloned()).collect();
        match submit(self.sterna.runtime(), self.session.clone(), None, parts, config).await {
            Ok(accepted) => {
                self.attached.clear();
                self.session = Some(accepted.session.clone());
                self.begun = true;
                self.follow(&accepted.session, accepted.input, accepted.input).await
            }
            Err(failure) => {
                self.code = failure.code;
                let _ = failure.report(&self.cx.print);
                Flow::On
            }
        }
    }

    async fn follow(&mut self, session: &SessionId, input: Seq, seen: Seq) -> Flow {
        let person = self.lines.person();
        let follow = Follow { sterna: &self.sterna, session, input, seen, person };
        let Ended { code, left, .. } = follow.until_end(&mut self.out, &mut self.signals).await;
        self.code = code;
        if left { Flow::Leave(code) } else { Flow::On }
    }

    /// Drives what the session was in the middle of.
    async fn carry_on(&mut self) -> Flow {
        let Some(id) = self.session.clone() else { return Flow::On };
        let Ok(Some(state)) = setup::state(&self.log, &id).await else { return Flow::On };
        match Work::of(&state) {
            Some(work) if !work.is_over => {
                self.note("the last turn was interrupted; it goes on now");
                self.sterna.runtime().resume(&id, self.config());
                self.follow(&id, work.input, state.head).await
            }
            _ => Flow::On,
        }
    }

    async fn command(&mut self, said: &str) -> Result<Flow, Failure> {
        let (word, rest) = said.split_once(char::is_whitespace).unwrap_or((said, ""));
        let rest = rest.trim();
        let needed = |what: &str| match rest {
            "" => Err(Failure::usage(format!("/{word} needs {what}")).hint("/help")),
            rest => Ok(rest),
        };
        match word {
            "help" | "?" => {
                for (name, given, about) in COMMANDS {
                    let usage = format!("/{name} {given}");
                    self.note(&format!("  {usage:<16} {about}"));
                }
                let usage = "@AGENT TEXT";
                self.note(&format!("  {usage:<16} let another agent answer this once, without tools"));
                self.note("  Ctrl-C cancels a running turn, Ctrl-D leaves");
            }
            "new" => {
                (self.session, self.begun) = (None, false);
                self.note("the next prompt begins a new session");
            }
            "sessions" => {
                let rows = setup::sessions_here(&self.cx, &self.log, None, 20).await?;
                if rows.is_empty() {
                    self.note("there are no sessions of this folder yet");
                }
                for row in rows {
                    let here = if Some(&row.id) == self.session.as_ref() { "*" } else { " " };
                    self.note(&format!("{here} {}", session_line(&row)));
                }
            }
            "resume" => {
                let id = SessionId::new(needed("the id of a session")?)?;
                if setup::state(&self.log, &id).await?.is_none() {
                    return Err(sterna_log::LogError::NotFound(id).into());
                }
                self.note(&format!("session {id}"));
                (self.session, self.begun) = (Some(id), false);
                return Ok(self.carry_on().await);
            }
            "fork" => {
                let parent = self.here()?;
                let seq = match rest {
                    "" => None,
                    at => Point::parse(&format!("{parent}@{at}"))?.seq(&*self.log).await?,
                };
                let id = self.sterna.runtime().fork(&parent, seq, None).await?;
                self.note(&format!("session {id}, a fork of {parent}"));
                self.session = Some(id);
            }
            "model" if rest.is_empty() => self.note(&self.sterna.turn_config().route.to_string()),
            "model" => {
                self.rebuild(TurnArgs { model: Some(rest.to_owned()), ..self.args.clone() }, "model").await?;
                let route = self.sterna.turn_config().route.clone();
                self.note(&format!("the next turn is {route}'s"));
                if let Some(id) = &self.session {
                    self.sterna.runtime().set_route(id, route, "person").await?;
                }
            }
            "mode" if rest.is_empty() => {
                let config = self.config();
                let switched = match &self.session {
                    Some(_) if config.mode_of_session => self.state().await?.machine.switched(),
                    _ => None,
                };
                self.note(switched.unwrap_or(config.mode).word());
            }
            "mode" => {
                self.rebuild(TurnArgs { mode: Some(rest.to_owned()), ..self.args.clone() }, "mode").await?;
                let mode = self.sterna.turn_config().mode;
                self.note(&format!("the next turn is in mode {}", mode.word()));
                if let Some(id) = &self.session {
                    self.sterna.runtime().set_mode(id, mode, "person").await?;
                }
            }
            "compact" => {
                let id = self.here()?;
                let accepted = self.sterna.runtime().compact(&id, rest, self.config(), "cli").await?;
                return Ok(self.follow(&id, accepted.input, accepted.input).await);
            }
            "cost" => {
                let state = self.state().await?;
                let total = state.folded.ledger.total();
                let row = |name: &str, sum: &sterna_log::fold::Sum| {
                    let (input, output) = (sum.usage.input(), sum.usage.output);
                    format!(
                        "  {name}: {}, {input} in, {output} out, {}",
                        counted(sum.calls, "call"),
                        money(dollars(sum.cost()))
                    )
                };
                let mut rows: Vec<String> = state
                    .folded
                    .ledger
                    .by_model()
                    .iter()
                    .map(|(route, sum)| row(&route.to_string(), sum))
                    .collect();
                rows.push(row("all", total));
                rows.iter().for_each(|row| self.note(row));
            }
            "todo" => {
                let state = self.state().await?;
                if state.folded.world.todos.is_empty() {
                    self.note("nothing is on the list");
                }
                for item in state.folded.world.todos.values() {
                    let mark = match item.status {
                        TodoStatus::Pending => " ",
                        TodoStatus::InProgress => ">",
                        TodoStatus::Completed | TodoStatus::Deleted => "x",
                    };
                    self.note(&format!("  [{mark}] {}", one_line(&item.subject, 100)));
                }
            }
            "attach" if rest.is_empty() => {
                self.attached.clear();
                self.note("no file comes with the next prompt");
            }
            "attach" => {
                self.attached.push(self.sterna.attach(rest).await?);
                let names: Vec<&str> = self.attached.iter().filter_map(file_name).collect();
                self.note(&format!("with the next prompt: {}", names.join(", ")));
            }
            "title" => {
                let title = needed("a text")?;
                let id = self.here()?;
                self.sterna.runtime().set_title(&id, title, "person").await?;
            }
            "exit" | "quit" => return Ok(Flow::Leave(0)),
            "skills" => {
                let names = self.sterna.shelf().slash_names();
                if names.is_empty() {
                    self.note("there are no skills and no prompt files here");
                }
                for (name, about) in names {
                    self.note(&format!("  /{name}  {}", one_line(&about, 100)));
                }
            }
            _ => {
                let names = COMMANDS.map(|(name, _, _)| name);
                let said = format!("/{said}");
                let mut config = self.config();
                let text = match slash::expand(&self.cx, &self.sterna, &said, &names)? {
                    Some(expansion) => slash::apply(expansion, &mut config)?,
                    None => {
                        let failure = format!("there is no command /{}", one_line(word, 40));
                        return Err(Failure::usage(failure).hint("/help"));
                    }
                };
                return Ok(self.turn(text, config).await);
            }
        }
        Ok(Flow::On)
    }

    /// The same with other arguments. If they are wrong, everything stays as it was.
    async fn rebuild(&mut self, args: TurnArgs, key: &str) -> Result<(), Failure> {
        self.cx.settings.check_flag(key)?;
        let parts = self.sterna.runtime().parts();
        let store = Store::Own(parts.log.clone(), parts.blobs.clone());
        let route = self.sterna.turn_config().route.clone();
        let sterna = setup::sterna(&self.cx, &args, store, Some(&route), self.is_person()).await?;
        setup::ready(&sterna)?;
        (self.sterna, self.args) = (sterna, args);
        Ok(())
    }

    fn greet(&self) {
        if self.is_person() {
            let config = self.sterna.turn_config();
            let (route, mode, cwd) = (&config.route, config.mode.word(), &config.cwd);
            self.note(&format!("{route} · mode {mode} · {cwd} · /help"));
        }
    }

    async fn state(&self) -> Result<State, Failure> {
        Ok(State::load(&self.log, &self.here()?).await?)
    }

    fn here(&self) -> Result<SessionId, Failure> {
        self.session.clone().ok_or_else(|| {
            Failure::usage("there is no session yet")
                .hint("the first prompt begins one; /sessions shows others")
        })
    }

    fn config(&self) -> TurnConfig {
        let mut config = self.sterna.turn_config_now();
        config.title_route = self.cx.settings.title_route(&config.route);
        config.mode_of_session |= self.begun && !self.cx.settings.locked.contains("mode");
        config
    }

    fn is_person(&self) -> bool {
        self.lines.person().is_some()
    }

    fn note(&self, line: &str) {
        self.cx.print.note(&self.cx.print.paint_err(line, Style::Dim));
    }
}

impl Lines {
    async fn next(&mut self) -> Line {
        match self {
            Self::Person(person) => person.read("› ", true).await,
            Self::Stdin(lines) => lines.recv().await.map_or(Line::End, Line::Text),
        }
    }

    fn person(&self) -> Option<&Person> {
        match self {
            Self::Person(person) => Some(person),
            Self::Stdin(_) => None,
        }
    }
}

fn file_name(part: &InputPart) -> Option<&str> {
    match part {
        InputPart::File(file) => Some(&file.name),
        InputPart::Text(_) => None,
    }
}

/// Lines of stdin as they come. What is not text ends them.
fn stdin_lines() -> tokio::sync::mpsc::Receiver<String> {
    let (tx, rx) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if tx.blocking_send(line).is_err() {
                return;
            }
        }
    });
    rx
}

/// `@name text`, where an agent has that name: who is asked, and what. Other words that begin so are a prompt.
fn guest_of(sterna: &Sterna, said: &str) -> Option<(String, String)> {
    let (name, text) = said.strip_prefix('@')?.split_once(char::is_whitespace)?;
    let text = text.trim();
    let is_agent = sterna.agents().iter().any(|agent| agent.name == name);
    (is_agent && !text.is_empty()).then(|| (name.to_owned(), text.to_owned()))
}
