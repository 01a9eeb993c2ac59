//! Events on the way out: as JSON lines, or as text for people. It shows; it decides nothing.

mod markdown;
mod text;
mod took;
mod words;

use std::io::{self, Write};

use sterna_model::{Event, EventKind, ResultEvent, Seq, SessionId};

use crate::context::Context;
use crate::failure::Failure;
use crate::print::Print;
use text::Text;
pub use took::Took;
pub use words::{Open, brief, counted, goal as goal_line, money, not_kept, seconds, waits_for};

/// Where a turn's events go. A reader that has gone stops the output and never the turn.
pub struct Output {
    form: Form,
    last: Seq,
    stdout: Stdout,
    /// The session can be shown again.
    kept: bool,
}

/// Our stdout, until whoever read it has closed it.
#[derive(Default)]
struct Stdout {
    gone: bool,
    /// Why it takes no more, where nobody has closed it.
    lost: Option<io::Error>,
}

enum Form {
    Json,
    Text(Box<Text>),
}

impl Output {
    /// What `run` and its like print: JSON lines, or the final message with a line for each call on stderr.
    pub fn of(cx: &Context, json: bool) -> Self {
        let form = if json { Form::Json } else { Form::Text(Box::new(Text::new(cx.print, false))) };
        Self { kept: !cx.ephemeral, ..Self::with(form) }
    }

    /// What `chat` shows: the same with results, and without a line about the session at each turn's end.
    pub fn chat(print: Print) -> Self {
        Self::with(Form::Text(Box::new(Text::new(print, true))))
    }

    fn with(form: Form) -> Self {
        Self { form, last: 0, stdout: Stdout::default(), kept: true }
    }

    /// Shows an event. The `result` it is given must be the last.
    pub fn event(&mut self, event: &Event) {
        self.last = self.last.max(event.seq);
        match &mut self.form {
            Form::Json => {
                let line = serde_json::to_string(event).expect("events are maps with text keys");
                self.stdout.write(&(line + "\n"));
            }
            Form::Text(text) => text.event(event, &mut self.stdout),
        }
    }

    /// An event that somebody was shown before: it is not shown again, and what follows is understood by it.
    pub fn earlier(&mut self, event: &Event) {
        if let Form::Text(text) = &mut self.form {
            text.earlier(event);
        }
    }

    /// Shows the result as the last event.
    pub fn result(&mut self, at: u64, result: ResultEvent) {
        let event = Event {
            v: sterna_model::EVENT_VERSION,
            seq: self.last,
            session: result.session.clone(),
            turn: Some(result.turn),
            step: None,
            at,
            kind: EventKind::Result(Box::new(result)),
        };
        self.event(&event);
    }

    /// Something moves while nothing comes: `tick` wants to be called.
    pub fn is_animated(&self) -> bool {
        match &self.form {
            Form::Json => false,
            Form::Text(text) => text.is_animated(),
        }
    }

    pub fn tick(&mut self) {
        if let Form::Text(text) = &mut self.form {
            text.tick();
        }
    }

    /// Clears what moves, so that a person can be asked.
    pub fn pause(&mut self) {
        if let Form::Text(text) = &mut self.form {
            text.pause(&mut self.stdout);
        }
    }

    /// What stdout did not take, such as on a full disk: told once. A reader that has gone wanted no more of it.
    pub fn lost(&mut self, session: &SessionId) -> Option<Failure> {
        let error = self.stdout.lost.take()?;
        let failure = Failure::failed(format!("cannot write to stdout: {error}"));
        Some(match self.kept {
            true => failure.hint(format!("nothing is lost: `sterna sessions show {session}` shows it")),
            false => failure,
        })
    }

    /// Shows a line for people, on stderr.
    pub fn note(&mut self, line: &str) {
        match &mut self.form {
            Form::Json => Print::from_env().note(line),
            Form::Text(text) => text.note(line, &mut self.stdout),
        }
    }
}

impl Stdout {
    fn write(&mut self, text: &str) {
        if self.gone || text.is_empty() {
            return;
        }
        let mut out = io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            self.gone = true;
            self.lost = (error.kind() != io::ErrorKind::BrokenPipe).then_some(error);
        }
    }
}
