//! Looks through programs that run another program: what counts is the program that runs in the end.

use crate::feeds;
use crate::folders;
use crate::glimpse::glimpse;
use crate::lower::lower;
use crate::paths::base_name;
use crate::patterns;
use crate::program_lists::RUNNERS;
use crate::rule::trusted_name;
use crate::runners;
use crate::shell::{SimpleCommand, Word};

/// Adds the commands that `command` would run to `out`, or says what was not understood.
pub(crate) fn unwrap(
    mut command: SimpleCommand,
    depth: usize,
    out: &mut Vec<SimpleCommand>,
) -> Result<(), String> {
    for _ in 0..MAX_LAYERS {
        let Some(first) = command.argv.first() else { return Err("a wrapper without a command".into()) };
        let name = base_name(&first.text).to_owned();
        if first.glob {
            return Err("a pattern where a program's name should be".into());
        }
        if is_wrapper(&name) && trusted_name(&first.text) != name {
            // It has the name of a wrapper, and is a program of its own.
            command.raised = Some(format!("the script `{}` runs it", first.text));
        }
        if REFUSED.contains(&name.as_str()) {
            return Err(format!("`{name}` runs what cannot be seen"));
        }
        if SHELLS.contains(&name.as_str()) {
            return inner_shell(command, &name, depth, out);
        }
        if name == "find" {
            return find(command, depth, out);
        }
        let args = &command.argv[1..];
        let taken = match name.as_str() {
            "command" if args.first().is_some_and(|w| ["-v", "-V"].contains(&w.text.as_str())) => break,
            "command" => Some(options(&name, args, "p", "", "", &[])?),
            "builtin" | "exec" | "nohup" => Some(options(&name, args, "", "", "", &[])?),
            "setsid" => Some(options(&name, args, "cfw", "", "", &["fork", "wait", "ctty"])?),
            "time" => Some(options(&name, args, "pv", "f", "", &["portability", "verbose", "format="])?),
            "timeout" => {
                let flags = ["preserve-status", "foreground", "verbose", "signal=", "kill-after="];
                Some(options(&name, args, "v", "sk", "", &flags)? + 1)
            }
            "nice" => Some(nice(args)?),
            "stdbuf" => Some(options(&name, args, "", "ioe", "", &["input=", "output=", "error="])?),
            "env" => match env(args, &mut command.env_prefix)? {
                None => {
                    own_words_are_certain(&name, args)?;
                    break; // prints the environment
                }
                taken => taken,
            },
            "sudo" | "doas" => {
                command.raised = Some(format!("`{name}` runs it as another user"));
                Some(options(
                    &name,
                    args,
                    "nHEk",
                    "ugUC",
                    "",
                    &["non-interactive", "set-home", "user=", "group="],
                )?)
            }
            "xargs" => {
                command.raised = Some("`xargs` adds arguments that cannot be seen".into());
                let flags = [
                    "null",
                    "no-run-if-empty",
                    "verbose",
                    "max-args=",
                    "max-procs=",
                    "delimiter=",
                    "replace?",
                    "max-lines?",
                ];
                let taken = options(&name, args, "0rtx", "nPILdsE", "il", &flags)?;
                if taken >= args.len() {
                    own_words_are_certain(&name, args)?;
                    break; // runs echo
                }
                Some(taken)
            }
            _ => None,
        };
        let Some(taken) = taken else { break };
        if taken >= args.len() {
            return Err(format!("`{name}` without a command"));
        }
        own_words_are_certain(&name, &args[..taken])?;
        let rest = args[taken..].to_vec();
        command.via.push(std::mem::replace(&mut command.argv, rest));
    }
    if command.argv.first().is_some_and(|w| is_wrapper(&w.text) && !harmless_alone(&command)) {
        return Err("wrappers within wrappers, too deep".into());
    }
    out.push(command);
    Ok(())
}

/// Whether a program runs another one that it is given.
pub(crate) fn is_wrapper(program: &str) -> bool {
    let name = base_name(program);
    WRAPPERS.contains(&name) || SHELLS.contains(&name) || REFUSED.contains(&name)
}

/// Whether a program is known to run what it is given, with options of its own before it that are not.
pub(crate) fn is_runner(program: &str) -> bool {
    let name = base_name(program);
    RUNNERS.contains(&name) || ["ld-linux", "ld-musl", "ld.so"].iter().any(|start| name.starts_with(start))
}

/// What a program runs of the words that it is given. It sees too much rather than too little, and what it sees may
/// only make a decision stricter. `any`: each of its words may be a program.
/// `None`: more than can be looked at.
pub(crate) fn tails(command: &SimpleCommand, any: bool) -> Option<Vec<SimpleCommand>> {
    let mut found = Vec::new();
    let mut next = vec![(command.clone(), any, 0)];
    while let Some((command, any, depth)) = next.pop() {
        let mut inner = Vec::new();
        for told in runners::given(&command)? {
            behind(told, depth, &mut inner);
        }
        if any && command.argv.len() > MAX_WORDS {
            return None;
        }
        let words = command.argv.iter().enumerate().skip(1).take(if any { MAX_TAILS } else { 0 });
        let runs = |w: &Word| !w.text.starts_with('-') && !w.text.bytes().all(|b| b.is_ascii_digit());
        for (at, word) in words {
            let line = word.text.split_once('=').map_or(word.text.as_str(), |(_, value)| value);
            if is_runner(command.program()) && line.contains(' ') {
                inner.append(&mut glimpse(line));
            }
            if !runs(word) {
                continue;
            }
            let argv = command.argv[at..].to_vec();
            let mut tail =
                SimpleCommand { argv, folders: command.folders.clone(), ..SimpleCommand::default() };
            if feeds::hands_on(&command.argv) {
                let names = feeds::given_behind(&command.argv, at);
                if names.is_some() {
                    // All of its words may be the program's own, too.
                    behind(tail.clone(), depth, &mut inner);
                }
                let (end, input) = names.unwrap_or_else(|| (command.argv.len(), command.input.clone()));
                tail.argv = command.argv[at..end].to_vec();
                tail.via.push(command.argv[..at].to_vec());
                tail.input = input;
            }
            behind(tail, depth, &mut inner);
        }
        for one in inner {
            if depth < 2 && (is_runner(one.program()) || runners::is_listed(&one)) {
                next.push((one.clone(), is_runner(one.program()), depth + 1));
            }
            found.push(one);
            if found.len() > MAX_RUN {
                return None;
            }
        }
    }
    Some(found)
}

/// A command behind its wrappers, and what that runs. It sees too much rather than too little.
pub(crate) fn all_that_run(command: &SimpleCommand) -> Vec<SimpleCommand> {
    let mut all = Vec::new();
    if unwrap(command.clone(), 0, &mut all).is_err() {
        // Any word may be the program.
        all.clear();
        for at in 0..command.argv.len().min(MAX_TAILS) {
            behind(SimpleCommand { argv: command.argv[at..].to_vec(), ..command.clone() }, 0, &mut all);
        }
    }
    for at in 0..all.len().min(MAX_RUN) {
        if is_runner(all[at].program()) || runners::is_listed(&all[at]) {
            all.append(&mut tails(&all[at], is_runner(all[at].program())).unwrap_or_default());
        }
    }
    all
}

/// Adds what runs behind the wrappers of a command, or the command as it stands.
fn behind(command: SimpleCommand, depth: usize, out: &mut Vec<SimpleCommand>) {
    let before = out.len();
    if unwrap(command.clone(), depth, out).is_err() {
        out.truncate(before);
        out.push(command);
    }
}

/// Whether a program is a shell, which may be given a line to run.
pub(crate) fn is_shell(program: &str) -> bool {
    SHELLS.contains(&base_name(program))
}

/// A pattern may become several words, of which one is then the program.
fn own_words_are_certain(name: &str, words: &[Word]) -> Result<(), String> {
    match words.iter().any(|w| w.glob) {
        true => Err(format!("a pattern among the words of `{name}` itself")),
        false => Ok(()),
    }
}

/// `env`, `xargs` and `command -v` may stand alone.
fn harmless_alone(command: &SimpleCommand) -> bool {
    let name = base_name(command.program());
    match name {
        "command" => command.argv.get(1).is_some_and(|w| ["-v", "-V"].contains(&w.text.as_str())),
        "env" | "xargs" => {
            let rest = &command.argv[1..];
            rest.iter().all(|w| {
                w.text.starts_with('-') || w.assign.is_some() || w.text.bytes().all(|b| b.is_ascii_digit())
            })
        }
        "find" => true,
        _ => false,
    }
}

/// Counts the words of options before the operands. Unknown options are an error: one might take a value, or
/// do something else altogether. `values` are letters whose value may be the next word; that of `joined` never is. So it is
/// with `=` and `?` behind a long name.
fn options(
    name: &str,
    args: &[Word],
    flags: &str,
    values: &str,
    joined: &str,
    long: &[&str],
) -> Result<usize, String> {
    let mut at = 0;
    while let Some(word) = args.get(at) {
        let text = word.text.as_str();
        let fail = || format!("the option `{text}` of `{name}`");
        if text == "--" {
            return Ok(at + 1);
        }
        if let Some(option) = text.strip_prefix("--") {
            let (key, value) = option.split_once('=').map_or((option, None), |(k, v)| (k, Some(v)));
            match (long.iter().find_map(|name| name.strip_prefix(key)), value) {
                (Some(""), None) | (Some("="), Some(_)) | (Some("?"), _) => {}
                (Some("="), None) => at += 1,
                _ => return Err(fail()),
            }
        } else if let Some(letters) = text.strip_prefix('-').filter(|l| !l.is_empty()) {
            for (i, c) in letters.char_indices() {
                if values.contains(c) {
                    at += usize::from(i + c.len_utf8() == letters.len());
                    break;
                }
                if joined.contains(c) {
                    break;
                }
                if !flags.contains(c) {
                    return Err(fail());
                }
            }
        } else {
            return Ok(at);
        }
        at += 1;
    }
    Ok(at)
}

/// `nice -n 5 x`, `nice -5 x`, `nice x`.
fn nice(args: &[Word]) -> Result<usize, String> {
    match args.first().and_then(|w| w.text.strip_prefix('-')) {
        Some(number) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => Ok(1),
        _ => options("nice", args, "", "n", "", &["adjustment="]),
    }
}

/// Takes `env`'s options and assignments. `None`: no program follows.
fn env(args: &[Word], prefix: &mut Vec<String>) -> Result<Option<usize>, String> {
    let mut at = options("env", args, "i0", "u", "", &["ignore-environment", "null", "unset="])?;
    at += usize::from(args.get(at).is_some_and(|w| w.text == "-"));
    while let Some(word) = args.get(at) {
        if !word.text.contains('=') {
            return Ok(Some(at));
        }
        prefix.push(word.text.clone());
        at += 1;
    }
    Ok(None)
}

/// `sh -c 'literal'` is read like the line itself; a script file stays as it is; anything else is not seen.
fn inner_shell(
    command: SimpleCommand,
    name: &str,
    depth: usize,
    out: &mut Vec<SimpleCommand>,
) -> Result<(), String> {
    let args = &command.argv[1..];
    let letters = args.first().and_then(|w| w.text.strip_prefix('-')).unwrap_or("");
    let piped = |w: &Word| ["/dev/", "/proc/"].iter().any(|folder| w.text.starts_with(folder));
    if args.iter().take(2).any(piped) {
        return Err(format!("`{name}` runs what cannot be seen"));
    }
    if args.first().is_some_and(|w| !w.text.starts_with(['-', '+'])) {
        out.push(command);
        return Ok(());
    }
    if !POSIX_LIKE.contains(&name) {
        return Err(format!("`{name}` speaks another language"));
    }
    // `bash -n FILE`, `sh -eux FILE`.
    let script = args.get(1).filter(|w| !w.text.starts_with(['-', '*', '?', '[']));
    if !letters.is_empty() && letters.chars().all(|c| "neuxv".contains(c)) && script.is_some() {
        out.push(command);
        return Ok(());
    }
    let known = letters.contains('c') && letters.chars().all(|c| "ceuxl".contains(c));
    // More options may stand between the letter and the script.
    let last = usize::from(args.get(1).is_some_and(|w| w.text == "--")) + 1;
    let option = |w: &Word| last == 1 && w.text.starts_with(['-', '+']);
    let script = match args.get(last) {
        Some(script) if known && !script.glob && !script.tilde && !option(script) => script.text.clone(),
        _ => return Err(format!("`{name}` runs what cannot be seen")),
    };
    for mut inner in lower(&script, depth + 1)? {
        let mut via = command.via.clone();
        via.push(command.argv.clone());
        via.append(&mut inner.via);
        inner.via = via;
        let mut prefix = command.env_prefix.clone();
        prefix.append(&mut inner.env_prefix);
        inner.env_prefix = prefix;
        inner.redirects.extend(command.redirects.iter().cloned());
        inner.raised = inner.raised.or_else(|| command.raised.clone());
        inner.unclear = inner.unclear.or_else(|| command.unclear.clone());
        inner.folders = folders::all_from(&command.folders(), &inner.folders());
        if inner.input.is_empty() {
            inner.input.clone_from(&command.input);
        }
        out.push(inner);
    }
    Ok(())
}

/// The search itself, and each program that it starts.
fn find(command: SimpleCommand, depth: usize, out: &mut Vec<SimpleCommand>) -> Result<(), String> {
    let words = command.argv.get(1..).unwrap_or_default();
    if let Some(word) = words.iter().find(|w| w.glob && w.text.starts_with('-')) {
        return Err(format!("the pattern `{}`, which may become `-exec`", word.text));
    }
    let mut inner = Vec::new();
    // Wherever it stands: after `-name` it may be a name, and the next one the action.
    let starts = |w: &Word| ["-exec", "-execdir", "-ok", "-okdir"].contains(&w.text.as_str());
    let starts: Vec<usize> = words.iter().enumerate().filter(|(_, w)| starts(w)).map(|(i, _)| i).collect();
    if starts.len() > MAX_EXECS {
        return Err(format!("more than {MAX_EXECS} programs of one `find`"));
    }
    for at in starts {
        let mut argv: Vec<Word> = Vec::new();
        let mut rest = words[at + 1..].iter();
        loop {
            match rest.next() {
                None => return Err("a `find -exec` that never ends".into()),
                Some(w) if w.text == ";" => break,
                Some(w) if w.text == "+" && argv.last().is_some_and(|l| l.text == "{}") => break,
                Some(w) if w.glob && [";", "+"].iter().any(|end| patterns::may_be(w, end)) => {
                    return Err(format!("the pattern `{}`, which may end an `-exec`", w.text));
                }
                Some(w) => argv.push(w.clone()),
            }
        }
        inner.push(argv);
    }
    let outer = command.argv.clone();
    let via = command.via.clone();
    let env_prefix = command.env_prefix.clone();
    let raised = command.raised.clone();
    let (unclear, folders) = (command.unclear.clone(), command.folders.clone());
    out.push(command);
    for argv in inner {
        let mut via = via.clone();
        via.push(outer.clone());
        let raised = raised.clone().or_else(|| Some("`find` gives it names that cannot be seen".into()));
        let command = SimpleCommand {
            argv,
            env_prefix: env_prefix.clone(),
            redirects: Vec::new(),
            via,
            raised,
            unclear: unclear.clone(),
            folders: folders.clone(),
            background: false,
            input: Vec::new(),
        };
        if depth >= MAX_LAYERS {
            return Err("wrappers within wrappers, too deep".into());
        }
        unwrap(command, depth + 1, out)?;
    }
    Ok(())
}

const MAX_LAYERS: usize = 12;
/// Programs of one `find`.
pub(crate) const MAX_EXECS: usize = 32;
const MAX_TAILS: usize = 32;
/// Of a command whose tails are looked at.
const MAX_WORDS: usize = 512;
/// Commands of all tails together.
const MAX_RUN: usize = 256;
const SHELLS: [&str; 9] = ["sh", "bash", "rbash", "dash", "zsh", "ksh", "ash", "mksh", "fish"];
/// Shells that read a line as bash does. The others have escapes, patterns and substitutions of their own.
const POSIX_LIKE: [&str; 7] = ["sh", "bash", "rbash", "dash", "ksh", "ash", "mksh"];
/// Programs that change what later words mean, or run text that cannot be seen.
const REFUSED: [&str; 18] = [
    "eval", "source", ".", "alias", "unalias", "trap", "export", "declare", "typeset", "local", "readonly",
    "unset", "hash", "enable", "pushd", "popd", "shopt", "busybox",
];
const WRAPPERS: [&str; 14] = [
    "env", "command", "builtin", "exec", "nohup", "time", "timeout", "nice", "setsid", "stdbuf", "sudo",
    "doas", "xargs", "find",
];
