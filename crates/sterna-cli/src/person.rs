//! The person at the terminal: one line at a time, read beside everything else.

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::mpsc;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::config::{Behavior, Config};
use rustyline::error::ReadlineError;
use rustyline::history::{FileHistory, History};
use rustyline::{Editor, Helper};
use sterna_model::{GrantScope, QuestionRef};
use tokio::sync::oneshot;

use crate::failure::Failure;
use crate::print::harmless;

/// Lines that the history file keeps.
const HISTORY_LINES: usize = 1_000;

/// Reads lines of the terminal on a thread of its own. Dropping it gives the terminal back as it was.
pub struct Person {
    requests: mpsc::Sender<Request>,
    before: Option<Termios>,
}

/// What a person gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Text(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    End,
}

/// What a person says to a call that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Once,
    /// This very content, for as long.
    For(GrantScope),
    /// With the person's own text.
    Edit,
    No(String),
    /// Feedback is still to come.
    WhyNot,
    Unclear,
}

struct Request {
    prompt: String,
    /// It belongs into the history.
    keep: bool,
    reply: oneshot::Sender<Line>,
}

impl Person {
    /// `history`: the file that keeps what was typed.
    pub fn new(history: Option<PathBuf>) -> Self {
        let (requests, rx) = mpsc::channel();
        let before = tcgetattr(std::io::stdin()).ok();
        std::thread::spawn(move || serve(&rx, history));
        Self { requests, before }
    }

    /// Shows `prompt` and reads a line.
    pub async fn read(&self, prompt: &str, keep: bool) -> Line {
        let (reply, line) = oneshot::channel();
        if self.requests.send(Request { prompt: prompt.to_owned(), keep, reply }).is_err() {
            return Line::End;
        }
        line.await.unwrap_or(Line::End)
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

impl Answer {
    /// Reads an answer to "allow?". What follows a no is its reason.
    pub fn read(text: &str) -> Self {
        let text = text.trim();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match (word.to_ascii_lowercase().as_str(), rest.trim()) {
            ("y" | "yes" | "o" | "once", "") => Self::Once,
            ("t" | "turn", "") => Self::For(GrantScope::Turn),
            ("s" | "session", "") => Self::For(GrantScope::Session),
            ("p" | "project", "") => Self::For(GrantScope::Project),
            ("u" | "user", "") => Self::For(GrantScope::User),
            ("e" | "edit", "") => Self::Edit,
            ("n" | "no", "") => Self::WhyNot,
            ("n" | "no", why) => Self::No(why.to_owned()),
            _ => Self::Unclear,
        }
    }
}

/// Asks at the terminal for a yes to something that cannot be taken back. `nobody`: what is said where there is none.
pub fn confirmed(asked: &str, nobody: impl FnOnce() -> Failure) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(nobody());
    }
    // Nobody to read the question is nobody to say yes.
    let mut err = io::stderr().lock();
    let _ = write!(err, "{asked} [y/N] ");
    let _ = err.flush();
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::failed(format!("cannot read the answer: {error}")))?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// The answer to a question: numbers name options, anything else is the answer itself.
pub fn chosen(question: &QuestionRef, text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let option = |word: &str| {
        let at = word.trim().parse::<usize>().ok()?.checked_sub(1)?;
        question.options.get(at).map(|choice| choice.label.clone())
    };
    let numbers: Option<Vec<String>> = match question.multi {
        true => text.split([',', ' ']).filter(|word| !word.is_empty()).map(option).collect(),
        false => option(text).map(|label| vec![label]),
    };
    Some(numbers.map_or_else(|| text.to_owned(), |labels| labels.join(", ")))
}

fn serve(requests: &mpsc::Receiver<Request>, history: Option<PathBuf>) {
    let config = Config::builder().behavior(Behavior::PreferTerm).auto_add_history(false).build();
    let Ok(mut editor) = Editor::<(), FileHistory>::with_config(config) else { return };
    if let Some(file) = &history {
        // There is none at the first start.
        let _ = editor.load_history(file);
        let _ = editor.history_mut().set_max_len(HISTORY_LINES);
    }
    while let Ok(Request { prompt, keep, reply }) = requests.recv() {
        let line = read(&mut editor, &prompt);
        if let (Line::Text(text), true) = (&line, keep && !reply.is_closed()) {
            let added = editor.add_history_entry(text.trim()).unwrap_or(false);
            if let (Some(file), true) = (&history, added) {
                // A history that cannot be written is no reason to stop talking.
                let _ = file.parent().map(std::fs::create_dir_all);
                let _ = editor.append_history(file);
            }
        }
        // Whoever asked may have left.
        let _ = reply.send(line);
    }
}

fn read<H: Helper>(editor: &mut Editor<H, FileHistory>, prompt: &str) -> Line {
    match editor.readline(prompt) {
        Ok(text) => Line::Text(harmless(&text)),
        Err(ReadlineError::Interrupted) => Line::Interrupt,
        Err(_) => Line::End,
    }
}

fn stdin() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

#[cfg(test)]
mod tests {
    use sterna_model::Choice;

    use super::*;

    #[test]
    fn answers_are_read_as_people_type_them() {
        let no = |why: &str| Answer::No(why.into());
        for (text, answer) in [
            ("y", Answer::Once),
            (" Yes ", Answer::Once),
            ("once", Answer::Once),
            ("t", Answer::For(GrantScope::Turn)),
            ("s", Answer::For(GrantScope::Session)),
            ("session", Answer::For(GrantScope::Session)),
            ("p", Answer::For(GrantScope::Project)),
            ("User", Answer::For(GrantScope::User)),
            ("e", Answer::Edit),
            ("Edit", Answer::Edit),
            ("n", Answer::WhyNot),
            ("no use tabs", no("use tabs")),
            ("N  not here ", no("not here")),
            ("", Answer::Unclear),
            ("yes please", Answer::Unclear),
            ("maybe", Answer::Unclear),
        ] {
            assert_eq!(Answer::read(text), answer, "{text}");
        }
    }

    #[test]
    fn options_are_chosen_by_number_and_free_text_stays() {
        let choice = |label: &str| Choice { label: label.into(), description: String::new(), preview: None };
        let mut question = QuestionRef {
            question: "Which?".into(),
            header: "Which".into(),
            options: vec![choice("red"), choice("green")],
            multi: false,
        };
        let check = |question: &QuestionRef, text: &str, answer: Option<&str>| {
            assert_eq!(chosen(question, text).as_deref(), answer, "{text}");
        };
        check(&question, "2", Some("green"));
        check(&question, "3", Some("3"));
        check(&question, "blue", Some("blue"));
        check(&question, " ", None);
        question.multi = true;
        check(&question, "1, 2", Some("red, green"));
        check(&question, "1 or 2", Some("1 or 2"));
    }
}
