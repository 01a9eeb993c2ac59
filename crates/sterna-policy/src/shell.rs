//! What a command line would run, as a list of simple commands.
//!
//! `syntax` parses the line, `lower` and `words` make commands of the tree, fail-closed: every kind of node that they
//! do not know makes the whole line unknown. Decisions look only at the plan.

use serde::{Serialize, Serializer};

use crate::feeds::Given;
use crate::glimpse::glimpse;
use crate::lower::lower;

/// The commands of a line. When `unknown` is set the line was not understood, and `commands` is empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ShellPlan {
    pub commands: Vec<SimpleCommand>,
    /// Why the line was not understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// Commands that seem to be in a line that was not understood. They may only make a decision stricter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub glimpsed: Vec<SimpleCommand>,
}

impl ShellPlan {
    /// Reads a command line. Never fails: what is not understood is `unknown`.
    pub fn read(line: &str) -> Self {
        match lower(line, 0) {
            Ok(commands) => Self { commands, unknown: None, glimpsed: Vec::new() },
            Err(reason) => Self { commands: Vec::new(), unknown: Some(reason), glimpsed: glimpse(line) },
        }
    }
}

/// A program with its arguments, after quotes and wrappers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SimpleCommand {
    /// Program and arguments, unquoted.
    pub argv: Vec<Word>,
    /// `NAME=value` before the program or given through `env`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_prefix: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirects: Vec<Redirect>,
    /// The same command with the wrappers it was written with, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<Vec<Word>>,
    /// A wrapper gives it more than is written: another user, or arguments from elsewhere. Says which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raised: Option<String>,
    /// Why it is not certain what its words are or mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unclear: Option<String>,
    /// The line goes on while it runs.
    #[serde(skip)]
    pub(crate) background: bool,
    /// What is known of its standard input.
    #[serde(skip)]
    pub(crate) input: Vec<Given>,
    /// Where it may run, from where the line starts. None: there.
    #[serde(skip)]
    pub(crate) folders: Vec<Word>,
}

impl SimpleCommand {
    /// Where it may run, from where the line starts: at least one place.
    pub(crate) fn folders(&self) -> Vec<Word> {
        if self.folders.is_empty() { vec![Word::default()] } else { self.folders.clone() }
    }

    /// The program as written, or the empty text.
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", |w| w.text.as_str())
    }
}

/// An argument as the program would get it, and what the shell may still do with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    /// Starts with an unquoted `~` that the shell replaces by the home folder.
    pub tilde: bool,
    /// Holds an unquoted `*`, `?` or `[`.
    pub glob: bool,
    /// Where `NAME` of `NAME=value` ends.
    pub(crate) assign: Option<usize>,
    /// What of its text only the shell will know.
    pub(crate) hidden: Hidden,
}

/// How much of a word is not known before the line runs. `text` is the source then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hidden {
    #[default]
    No,
    /// The number of a process that the line itself has started.
    Job,
    /// A whole number.
    Number,
    /// Some text, but one word.
    One,
    /// Any number of words.
    Many,
}

impl Word {
    /// A word that the shell takes as it is.
    pub(crate) fn literal(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// A pattern in a variable, whose names are cut at their blanks: it is certain what it is about, and not how many
    /// words it makes.
    pub(crate) fn is_cut_pattern(&self) -> bool {
        self.hidden == Hidden::Many && self.glob && !self.text.contains(['$', '`'])
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

/// A file that the shell opens for a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Redirect {
    pub kind: RedirectKind,
    pub target: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectKind {
    Read,
    Write,
    Append,
}

/// Words joined as rules see them.
pub(crate) fn joined(words: &[Word]) -> String {
    words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" ")
}

pub(crate) const KEYWORDS: [&str; 22] = [
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in",
    "select", "function", "coproc", "{", "}", "!", "[[", "]]", "return",
];
/// Shells within shells.
pub(crate) const MAX_DEPTH: usize = 6;
