//! The texts of a command that rules are held against.

use crate::git;
use crate::hidden::is_hidden;
use crate::paths::base_name;
use crate::rule::trusted_name;
use crate::shell::{Hidden, SimpleCommand, Word, joined};
use crate::variables::is_harmless;

/// The texts of a command that deny and ask rules are held against: as written, by base name, with and without
/// wrappers and variables.
pub(crate) fn texts_to_restrict(command: &SimpleCommand) -> Vec<String> {
    let mut texts = Vec::new();
    for argv in command.via.iter().chain([&command.argv]) {
        let Some((first, rest)) = argv.split_first() else { continue };
        for program in [first.text.as_str(), base_name(&first.text)] {
            // `git-push` is `git push`.
            let apart = program.strip_prefix("git-").map(|name| format!("git {}", with_program(name, rest)));
            texts.extend(apart);
            for rest in [Some(rest), git_command(program, rest)].into_iter().flatten() {
                let text = with_program(program, rest);
                if !command.env_prefix.is_empty() {
                    texts.push(format!("{} {text}", command.env_prefix.join(" ")));
                }
                texts.push(text);
            }
        }
    }
    texts.dedup();
    texts
}

/// git's command and what follows, where options of git itself stand before it: `-C x push`. What they hide is no less a push.
fn git_command<'a>(program: &str, args: &'a [Word]) -> Option<&'a [Word]> {
    if base_name(program) != "git" {
        return None;
    }
    let rest = git::command(args);
    Some(rest).filter(|rest| rest.len() < args.len() && !rest.is_empty())
}

/// The texts that an allow rule may cover: none where a word is not certain. Variables that matter are part of it, and
/// so is a wrapper that raises.
pub(crate) fn texts_to_allow(command: &SimpleCommand) -> Vec<String> {
    let mut texts = Vec::new();
    if command.unclear.is_some() {
        return texts;
    }
    let last = (command.raised.is_none()).then_some(&command.argv);
    for argv in command.via.first().into_iter().chain(last) {
        let Some((first, rest)) = argv.split_first() else { continue };
        let text = with_program(trusted_name(&first.text), rest);
        let missing = |v: &&String| !argv.iter().any(|w| w.text == **v);
        let all: Vec<&String> = command.env_prefix.iter().filter(missing).collect();
        let telling: Vec<&String> = all.iter().copied().filter(|v| !is_harmless(v)).collect();
        for variables in [telling, all] {
            let words = variables.iter().map(|v| v.as_str()).chain([text.as_str()]);
            texts.push(words.collect::<Vec<_>>().join(" "));
        }
    }
    texts
}

fn with_program(program: &str, rest: &[Word]) -> String {
    if rest.is_empty() { program.to_owned() } else { format!("{program} {}", joined(rest)) }
}

/// The beginnings of a command's texts that are certain; `None` where all of it is.
pub(crate) fn text_until_hidden(command: &SimpleCommand) -> Option<Vec<String>> {
    let argvs = || command.via.iter().chain([&command.argv]);
    if !argvs().flatten().any(is_hidden) {
        return None;
    }
    let mut texts = Vec::new();
    for argv in argvs() {
        let Some((first, rest)) = argv.split_first() else { continue };
        let command = git_command(&first.text, rest);
        let options = &rest[..rest.len() - command.unwrap_or(rest).len()];
        if options.iter().any(|word| word.glob || word.hidden == Hidden::Many) {
            // They may be more words: git's command may be any.
            texts.push("git ".to_owned());
        }
        let ends: &[char] = &['$', '`', '*', '?', '['];
        let ends = |w: &Word| if w.glob { ends } else { &ends[..2] };
        let command = command.filter(|command| command.iter().any(is_hidden));
        for rest in [Some(rest), command].into_iter().flatten() {
            let certain = rest.iter().take_while(|w| !is_hidden(w)).count();
            let begun = rest.get(certain).and_then(|w| w.text.split(ends(w)).next()).unwrap_or_default();
            for program in [first.text.as_str(), base_name(&first.text)] {
                texts.push(format!("{} {begun}", with_program(program, &rest[..certain])));
            }
        }
    }
    texts.dedup();
    Some(texts)
}
