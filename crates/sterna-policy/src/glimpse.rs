//! What seems to be in a command line that was not understood.

use crate::characters::{is_invisible, is_name};
use crate::paths::base_name;
use crate::shell::{KEYWORDS, MAX_DEPTH, Redirect, RedirectKind, SimpleCommand, Word};
use crate::wrappers;

/// Cuts a line that was not understood at everything that could begin a command. It sees too much rather than
/// too little, and what it sees is held only against deny and ask rules and the safety floor.
pub(crate) fn glimpse(line: &str) -> Vec<SimpleCommand> {
    let line: String = line.chars().take(MAX_GLIMPSED).filter(|c| !is_invisible(*c)).collect();
    let line = line.replace("\\\n", "").replace("$IFS", " ").replace("${IFS}", " ");
    // What a shell is given to read is more of the line.
    let line = line.replace("<<<", ";");
    // `${NAME}` is a word, not a group.
    let line = line.replace("${HOME}", "$HOME").replace("${PWD}", "$PWD");
    // Nor is the word for a name.
    let line = line.replace("{}", NAME);
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
                    let text = piece
                        .replace("$'", "")
                        .replace("$\"", "")
                        .replace(['\'', '"', '\\'], "")
                        .replace(NAME, "{}");
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
                || w.text.split_once('=').is_some_and(|(n, _)| is_name(n))
                || w.text.is_empty()
        };
        let start = words.iter().position(|w| !prefix(w)).unwrap_or(words.len());
        let mut argv = words.split_off(start);
        let open = argv.iter().rev().take_while(|w| w.text != "+").any(|w| w.text.starts_with("-exec"));
        if open && base_name(&argv[0].text) == "find" {
            // It was cut there.
            argv.push(Word::literal(";"));
        }
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
    // What is printed a shell may read.
    if found.iter().any(|command| wrappers::is_shell(command.program())) {
        for at in 0..found.len().min(MAX_PRINTED) {
            if ["echo", "printf"].contains(&base_name(found[at].program())) {
                let printed = found[at].argv.iter().skip(1).skip_while(|word| word.text.starts_with('-'));
                let argv = printed.cloned().collect();
                found.push(SimpleCommand { argv, ..SimpleCommand::default() });
            }
        }
    }
    found
}

/// Stands for `{}`.
const NAME: &str = "\u{2}";
const MAX_GLIMPSED: usize = 1 << 20;
const MAX_GLIMPSES: usize = 4096;
/// Commands of which is looked at what they print.
const MAX_PRINTED: usize = 64;
