//! Events on the way out: as JSON lines, or as text for people. It shows; it decides nothing.

mod markdown;
mod text;
mod words;

use std::io::{self, Write};

use sterna_model::{Event, EventKind, ResultEvent, Seq};

use crate::context::Context;
use crate::print::Print;
use text::Text;
pub use words::{Open, brief, money, seconds};

/// Where a turn's events go. A reader that has gone stops the output and never the turn.
pub struct Output {
    form: Form,
    last: Seq,
    /// Whoever read our stdout has closed it.
    gone: bool,
}

enum Form {
    Json,
    Text(Box<Text>),
}

impl Output {
    /// What `run` and its like print: JSON lines, or the final message with a line for each call on stderr.
    pub fn of(cx: &Context, json: bool) -> Self {
        if json { Self::with(Form::Json) } else { Self::with(Form::Text(Box::new(Text::new(cx.print, false)))) }
    }

    /// What `chat` shows: the same with results, and without a line about the session at each turn's end.
    pub fn chat(print: Print) -> Self {
        Self::with(Form::Text(Box::new(Text::new(print, true))))
    }

    fn with(form: Form) -> Self {
        Self { form, last: 0, gone: false }
    }

    pub fn is_json(&self) -> bool {
        matches!(self.form, Form::Json)
    }

    /// Shows an event. The `result` it is given must be the last.
    pub fn event(&mut self, event: &Event) {
        self.last = self.last.max(event.seq);
        let mut out = Vec::new();
        match &mut self.form {
            Form::Json => {
                // Events are plain data: maps with text keys.
                if serde_json::to_writer(&mut out, event).is_ok() {
                    out.push(b'\n');
                }
            }
            Form::Text(text) => out = text.event(event).into_bytes(),
        }
        self.write(&out);
    }

    /// The seq of the last event that was shown.
    pub fn last(&self) -> Seq {
        self.last
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
        let rest = match &mut self.form {
            Form::Json => String::new(),
            Form::Text(text) => text.pause(),
        };
        self.write(rest.as_bytes());
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.gone || bytes.is_empty() {
            return;
        }
        let mut out = io::stdout().lock();
        self.gone = out.write_all(bytes).and_then(|()| out.flush()).is_err();
    }
}
