//! What a command line would run, as a list of simple commands.
//!
//! The reader behind `ShellPlan::read` is small and fail-closed. Decisions look only at the plan, so another
//! reader can take its place.

use serde::{Serialize, Serializer};

use crate::lexer::{Arrow, Separator, Token, lex};
use crate::wrappers;

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
        match read_at(line, 0) {
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
}

impl SimpleCommand {
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
    /// Nothing of it was quoted.
    pub(crate) bare: bool,
}

impl Word {
    /// A word that the shell takes as it is.
    pub(crate) fn literal(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
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

/// Reads a line that stands `depth` levels deep in `sh -c`.
pub(crate) fn read_at(line: &str, depth: usize) -> Result<Vec<SimpleCommand>, String> {
    if depth > MAX_DEPTH {
        return Err("shells within shells, too deep".into());
    }
    let mut commands = Vec::new();
    let mut current = SimpleCommand::default();
    // Set after `&&`, `||`, `|`: a command must follow.
    let mut wanting = false;
    let mut tokens = lex(line)?.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            Token::Word(word) => take_word(&mut current, word)?,
            Token::Duplicate => {}
            Token::Redirect(arrow) => match tokens.next() {
                Some(Token::Word(target)) if !target.glob => {
                    let kind = match arrow {
                        Arrow::In => RedirectKind::Read,
                        Arrow::Out => RedirectKind::Write,
                        Arrow::Append => RedirectKind::Append,
                    };
                    current.redirects.push(Redirect { kind, target });
                }
                _ => return Err("a redirection without a plain file name".into()),
            },
            Token::Separator(separator) => {
                let empty = is_empty(&current);
                match separator {
                    Separator::Joining if empty => {
                        return Err("an operator without a command before it".into());
                    }
                    Separator::Ending if empty && wanting => {} // a newline after `&&` or `|`
                    Separator::Ending | Separator::Joining => {
                        finish(&mut commands, std::mem::take(&mut current), depth)?;
                        wanting = separator == Separator::Joining;
                    }
                }
            }
        }
        if commands.len() > MAX_COMMANDS {
            return Err(format!("more than {MAX_COMMANDS} commands in one line"));
        }
    }
    if is_empty(&current) && wanting {
        return Err("an operator without a command after it".into());
    }
    finish(&mut commands, current, depth)?;
    if commands.is_empty() {
        return Err("no command".into());
    }
    Ok(commands)
}

fn is_empty(command: &SimpleCommand) -> bool {
    command.argv.is_empty() && command.env_prefix.is_empty() && command.redirects.is_empty()
}

fn take_word(command: &mut SimpleCommand, word: Word) -> Result<(), String> {
    if !command.argv.is_empty() {
        command.argv.push(word);
        return Ok(());
    }
    if word.assign.is_some() {
        if word.glob || word.text.contains('~') && word.bare {
            return Err("an assignment with an expansion".into());
        }
        command.env_prefix.push(word.text);
        return Ok(());
    }
    let name = word.text.as_str();
    if KEYWORDS.contains(&name) {
        return Err(format!("the shell keyword `{name}`"));
    }
    if word.glob {
        return Err("a pattern where a program's name should be".into());
    }
    if !name.is_ascii() {
        return Err("a program's name with characters that are not ASCII".into());
    }
    if name.contains('=') || name.is_empty() {
        return Err("an assignment or an empty name where a program's name should be".into());
    }
    command.argv.push(word);
    Ok(())
}

fn finish(commands: &mut Vec<SimpleCommand>, command: SimpleCommand, depth: usize) -> Result<(), String> {
    if is_empty(&command) {
        return Ok(());
    }
    if command.argv.is_empty() {
        return Err("an assignment or a redirection without a program".into());
    }
    wrappers::unwrap(command, depth, commands)
}

/// Cuts a line that was not understood at everything that could begin a command. It sees too much rather than
/// too little, and what it sees is held only against deny and ask rules and the safety floor.
fn glimpse(line: &str) -> Vec<SimpleCommand> {
    let line: String = line.chars().take(MAX_GLIMPSED).filter(|c| !crate::lexer::is_invisible(*c)).collect();
    let line = line.replace("\\\n", "").replace("$IFS", " ").replace("${IFS}", " ");
    // `${NAME}` is a word, not a group.
    let line = line.replace("${HOME}", "$HOME").replace("${PWD}", "$PWD");
    let mut found = Vec::new();
    for segment in line.split(|c| ";|&(){}`\n\r".contains(c)) {
        let mut words = Vec::new();
        let mut redirects = Vec::new();
        let mut target = None;
        for piece in segment.replace('<', " < ").replace('>', " > ").split_whitespace() {
            match piece {
                "<" => target = Some(RedirectKind::Read),
                ">" => target = Some(RedirectKind::Write),
                _ => {
                    let text = piece.replace("$'", "").replace("$\"", "").replace(['\'', '"', '\\'], "");
                    let glob = text.contains(['*', '?', '[']);
                    let word = Word { tilde: text.starts_with('~'), glob, text, ..Word::default() };
                    match target.take() {
                        Some(kind) => redirects.push(Redirect { kind, target: word }),
                        None => words.push(word),
                    }
                }
            }
        }
        let prefix = |w: &Word| {
            KEYWORDS.contains(&w.text.as_str())
                || ["builtin", "eval", "exec", "command"].contains(&w.text.as_str())
                || w.text.split_once('=').is_some_and(|(n, _)| crate::lexer::is_name(n))
                || w.text.is_empty()
        };
        let start = words.iter().position(|w| !prefix(w)).unwrap_or(words.len());
        let argv = words.split_off(start);
        if argv.is_empty() && redirects.is_empty() {
            continue;
        }
        let command = SimpleCommand { argv, redirects, ..SimpleCommand::default() };
        let before = found.len();
        if command.argv.is_empty() || wrappers::unwrap(command.clone(), MAX_DEPTH, &mut found).is_err() {
            found.truncate(before);
            // Behind a wrapper that was not understood, any word may be the program.
            let wrapped = wrappers::is_wrapper(command.program());
            let tails = if wrapped { command.argv.len().min(32) } else { 1 };
            for skip in 0..tails {
                let argv = command.argv.get(skip..).unwrap_or_default().to_vec();
                found.push(SimpleCommand {
                    argv,
                    redirects: command.redirects.clone(),
                    ..SimpleCommand::default()
                });
            }
        }
        if found.len() > MAX_GLIMPSES {
            break;
        }
    }
    found
}

const KEYWORDS: [&str; 22] = [
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in",
    "select", "function", "coproc", "{", "}", "!", "[[", "]]", "return",
];
const MAX_COMMANDS: usize = 256;
const MAX_DEPTH: usize = 6;
const MAX_GLIMPSED: usize = 1 << 20;
const MAX_GLIMPSES: usize = 4096;
