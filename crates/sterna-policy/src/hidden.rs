//! Commands with words that only the shell will know: when they do the same whatever those are, and when a sandbox holds
//! them whatever those are.

use crate::effects::{Effects, How};
use crate::program_lists::CHANGES_THE_SHELL;
use crate::programs;
use crate::shell::{Hidden, SimpleCommand, Word};
use crate::wrappers::{is_shell, is_wrapper};

/// Whether a command does the same whatever those of its words are that only the shell will know.
pub(crate) fn words_do_no_harm(command: &SimpleCommand) -> bool {
    if command.via.iter().flatten().any(is_hidden) {
        return false;
    }
    if !command.argv.iter().any(is_hidden) {
        return true;
    }
    let args = command.argv.get(1..).unwrap_or_default();
    match command.program() {
        "printf" => args.first().is_some_and(|w| !is_hidden(w) && !w.text.starts_with('-')),
        "[" => args.split_last().is_some_and(|(_, args)| plain_test(args)),
        "test" => plain_test(args),
        "wait" => args.iter().all(|w| matches!(w.hidden, Hidden::No | Hidden::Number | Hidden::Job)),
        name => is_indifferent(name),
    }
}

/// Whether it is certain which program runs, though not with which words: what it does then is for a sandbox to hold.
/// Not so where the shell itself is changed, and where something would be removed that nobody has seen.
pub(crate) fn words_can_be_held(command: &SimpleCommand) -> Result<(), String> {
    let name = command.program();
    let refused = || Err(format!("`{name}` gets arguments that only the shell will know"));
    let layers = command.via.iter();
    let inner = command.via.iter().skip(1).chain([&command.argv]);
    for (outer, inner) in layers.zip(inner) {
        let program = outer.first().map_or("", |w| w.text.as_str());
        // The wrapper's own words come before those of what it runs.
        let own = if is_shell(program) { outer.len() } else { outer.len().saturating_sub(inner.len()) };
        // Where nothing was started, `$!` is no word at all.
        let number = |w: &Word| matches!(w.hidden, Hidden::No | Hidden::Number);
        if program != "find" && !outer[..own].iter().all(number) {
            return refused();
        }
    }
    let first = command.argv.first().is_none_or(is_hidden);
    let wraps = is_wrapper(name) && !is_shell(name) && !["find", "xargs"].contains(&name);
    if first || wraps || CHANGES_THE_SHELL.contains(&name) && name != "cd" {
        return refused();
    }
    // `sh "$x"` may be `sh -c`, and is held like it.
    if removes(&programs::effects(command), name) {
        return refused();
    }
    Ok(())
}

/// Whether a command removes things, and nothing else: moving them is no loss.
pub(crate) fn removes(effects: &Effects, name: &str) -> bool {
    name != "mv" && effects.touches.iter().any(|touch| touch.how == How::Delete)
}

/// Whether a program does nothing but compute, whatever its arguments and variables are.
pub(crate) fn is_indifferent(name: &str) -> bool {
    INDIFFERENT.contains(&name)
}

pub(crate) fn is_hidden(word: &Word) -> bool {
    word.hidden != Hidden::No
}

/// `-n X` and `A = B`, where what is hidden can only be an operand.
fn plain_test(args: &[Word]) -> bool {
    let known = |w: &Word| w.hidden == Hidden::No;
    let one = |w: &Word| w.hidden != Hidden::Many;
    let args = args.strip_prefix(&[Word::literal("!")]).unwrap_or(args);
    match args {
        [operator, x] => {
            known(operator)
                && one(x)
                && operator.text.starts_with('-')
                && !["-v", "-R"].contains(&operator.text.as_str())
        }
        [a, operator, b] => {
            let compares = ["=", "==", "!=", "-eq", "-ne", "-lt", "-le", "-gt", "-ge"];
            known(operator) && one(a) && one(b) && compares.contains(&operator.text.as_str())
        }
        _ => false,
    }
}

/// Programs that touch nothing, whatever they are given. `test`, `[` and `printf` are told by their forms.
const INDIFFERENT: [&str; 19] = [
    "echo", "true", "false", ":", "[[", "sleep", "seq", "expr", "basename", "dirname", "exit", "return",
    "which", "type", "tr", "numfmt", "factor", "break", "continue",
];
