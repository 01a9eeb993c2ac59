//! The table of programs: what each reads, writes, removes and reaches. A program without an entry is unknown.

use crate::effects::{Class, Effects, How, NO_OPTIONS, Options, Parsed, Reach, parse};
use crate::git;
use crate::network;
use crate::readers;
use crate::rule::trusted_name;
use crate::shell::{Hidden, SimpleCommand, Word};
use crate::variables::{is_harmless, is_loader};

/// What a command would touch, redirections aside.
pub(crate) fn effects(command: &SimpleCommand) -> Effects {
    let program = command.program();
    let args = command.argv.get(1..).unwrap_or_default();
    let name = trusted_name(program);
    let mut effects = entry(name, args)
        .unwrap_or_else(|option| named(Effects::unknown(format!("{option} of `{name}` is not known")), args));
    if effects.class == Class::Known && !PURE.contains(&name) && name != "printf" {
        // What follows `=` may be a file.
        let options = args.iter().take_while(|w| w.text != "--").filter_map(|w| w.text.strip_prefix("--"));
        for value in options.filter_map(|option| Some(option.split_once('=')?.1)).filter(|v| !v.is_empty()) {
            effects.touch(How::Named, &Word::literal(value), Reach::This);
        }
    }
    if name == "read" && !command.via.is_empty() {
        effects.class = Class::Unknown("`read` behind a wrapper".into());
    }
    if args.iter().any(hidden_glob) {
        effects.class = Class::Unknown("a pattern that matches hidden files or climbs with `..`".into());
    }
    if effects.only_reads()
        && !SAFE_WITH_ANY_NAME.contains(&name)
        && args.iter().take_while(|w| w.text != "--").any(may_be_an_option)
    {
        let why = "a pattern may match a file whose name is an option";
        effects.class = Class::Arbitrary(why.into());
    }
    if let Some(variable) = command.env_prefix.iter().find(|v| is_loader(v)) {
        let variable = variable.split('=').next().unwrap_or_default();
        effects.class = Class::Unknown(format!("the variable `{variable}` can change what runs"));
    }
    let unknown = matches!(effects.class, Class::Unknown(_));
    if let Some(why) = command.raised.as_ref().filter(|_| !unknown) {
        effects.class = Class::Arbitrary(why.clone());
    } else if let Some(variable) = command.env_prefix.iter().find(|v| !unknown && !is_harmless(v)) {
        effects.class = Class::Arbitrary(format!("the variable `{variable}` is set for it"));
    }
    effects
}

/// Whether the table has the program: its name then means that program and nothing else.
pub(crate) fn is_known(name: &str) -> bool {
    !matches!(entry(name, &[]), Ok(Effects { class: Class::Unknown(_), .. }))
}

/// Whether a command acts through something that no sandbox around it confines: a service, another user, or processes
/// that were there before.
pub(crate) fn leaves_the_sandbox(command: &SimpleCommand) -> bool {
    command.via.iter().chain([&command.argv]).filter_map(|argv| argv.split_first()).any(|(program, args)| {
        match crate::paths::base_name(&program.text) {
            "git" => git::configures(args),
            name => OUTSIDE.contains(&name),
        }
    })
}

/// Whether a command reaches another host in a way that a proxy for HTTP cannot carry.
pub(crate) fn speaks_no_http(command: &SimpleCommand, effects: &Effects) -> bool {
    let program = trusted_name(command.program());
    let by_shell = |word: &Word| word.text.starts_with("ssh://") || !word.text.contains("://");
    let git = program == "git" && command.argv.iter().any(|word| word.text.contains('@') && by_shell(word));
    !effects.hosts.is_empty() && (git || network::REMOTE.contains(&program))
}

/// Whether a command does the same whatever those of its words are that only the shell will know.
pub(crate) fn hidden_words_do_no_harm(command: &SimpleCommand) -> bool {
    let hidden = |w: &Word| w.hidden != Hidden::No;
    if command.via.iter().flatten().any(hidden) {
        return false;
    }
    let args = command.argv.get(1..).unwrap_or_default();
    if !command.argv.iter().any(hidden) {
        return true;
    }
    match command.program() {
        "printf" => args.first().is_some_and(|w| !hidden(w) && !w.text.starts_with('-')),
        "[" => args.split_last().is_some_and(|(_, args)| plain_test(args)),
        "test" => plain_test(args),
        name => is_indifferent(name),
    }
}

/// Whether a program does nothing but compute, whatever its arguments and variables are.
pub(crate) fn is_indifferent(name: &str) -> bool {
    INDIFFERENT.contains(&name)
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

fn entry(name: &str, args: &[Word]) -> Result<Effects, String> {
    pure_after_all(name, args)?;
    if PURE.contains(&name) {
        let globs: Vec<&Word> = args.iter().filter(|w| w.glob).collect();
        return Ok(Effects::none().with(How::Read, &globs, Reach::Names));
    }
    if let Some(effects) = readers::effects(name, args) {
        return effects;
    }
    if ARBITRARY.contains(&name) {
        return Ok(named(Effects::arbitrary(format!("`{name}` can do anything")), args));
    }
    Ok(match name {
        "git" => git::effects(args),
        "cd" => enter(args)?,
        "set" => {
            let fits = |w: &Word| {
                ["-e", "-u", "-x", "-eu", "-ex", "-eux", "-euo", "-o", "pipefail"].contains(&w.text.as_str())
            };
            if args.is_empty() || !args.iter().all(fits) {
                return Err("an option".into());
            }
            Effects::none()
        }
        "command" | "env" => Effects::none(), // only what stands alone comes here
        "xargs" => Effects::none(),
        "printf" if args.iter().any(|w| w.text.starts_with("-v")) => return Err("the option `-v`".into()),
        "printf" => {
            let globs: Vec<&Word> = args.iter().filter(|w| w.glob).collect();
            Effects::none().with(How::Read, &globs, Reach::Names)
        }
        "date" => date(args)?,
        "hostname" if args.iter().all(|w| ["-f", "-s", "-i", "-I"].contains(&w.text.as_str())) => {
            Effects::none()
        }
        "find" => find(args),
        "sed" => sed(args)?,
        "uniq" => uniq(args)?,
        "touch" | "mkdir" | "truncate" | "mkfifo" => {
            let options = Options {
                values: if name == "touch" {
                    "dt"
                } else if name == "mkdir" {
                    "m"
                } else {
                    "s"
                },
                files: "r",
                only: Some("pvacmhf"),
                only_long: &["parents", "verbose", "no-create", "size", "mode"],
                ..NO_OPTIONS
            };
            let parsed = parse(args, &options)?;
            Effects::none().with(How::Write, &parsed.operands, Reach::This)
        }
        "tee" => {
            let parsed = parse(args, &Options { only: Some("ai"), only_long: &["append"], ..NO_OPTIONS })?;
            Effects::none().with(How::Write, &parsed.operands, Reach::This)
        }
        "rm" | "unlink" | "rmdir" | "shred" => remove(name, args)?,
        "mv" | "cp" | "ln" | "install" => transfer(name, args)?,
        "chmod" | "chown" | "chgrp" => {
            let only_long = &["recursive", "verbose", "changes", "silent", "quiet", "preserve-root"];
            // `chmod -x file`: a mode may look like options.
            let parsed = parse(args, &Options { only: Some("RvcfhrwxX"), only_long, ..NO_OPTIONS })?;
            let mode_is_option = name == "chmod" && parsed.has("rwxX", &[]);
            let paths = parsed.operands.get(usize::from(!mode_is_option)..).unwrap_or_default();
            let reach = if parsed.has("R", &["recursive"]) { Reach::Tree } else { Reach::This };
            Effects::none().with(How::Write, paths, reach)
        }
        "dd" => dd(args)?,
        "curl" | "wget" => network::fetch(name, args),
        _ if network::REMOTE.contains(&name) => network::remote(name, args),
        "tar" => tar(args),
        "sh" | "bash" | "dash" | "zsh" | "ksh" | "ash" | "mksh" | "fish" => {
            named(Effects::arbitrary(format!("`{name}` runs a script")), args)
        }
        script if script.contains('/') || script.starts_with('~') => {
            named(Effects::arbitrary(format!("the script `{script}` can do anything")), args)
        }
        other => named(Effects::unknown(format!("the program `{other}` is not known")), args),
    })
}

/// The forms of harmless programs that are not.
fn pure_after_all(name: &str, args: &[Word]) -> Result<(), String> {
    let has = |bad: &[&str]| args.iter().any(|w| bad.contains(&w.text.as_str()));
    match name {
        // Evaluates a name, and runs what stands in its brackets.
        "test" | "[" | "[[" if has(&["-v", "-R"]) => Err("the option `-v`".into()),
        "wait" if args.iter().any(|w| w.text.starts_with('-')) => Err("an option".into()),
        "jobs" if args.iter().any(|w| w.text.starts_with('-') && w.text.contains('x')) => {
            Err("the option `-x`".into())
        }
        // Shows the variables of other programs.
        "ps" if args.iter().any(|w| !w.text.starts_with('-') && w.text.contains('e')) => {
            Err("the option `e`".into())
        }
        _ => Ok(()),
    }
}

/// Arguments of a program whose work is not known: each may be a file.
pub(crate) fn named(mut effects: Effects, args: &[Word]) -> Effects {
    for word in args.iter().take(256) {
        effects.touch(How::Named, word, Reach::This);
        if let Some((_, value)) = word.text.split_once('=').filter(|(_, v)| !v.is_empty()) {
            effects.touch(
                How::Named,
                &Word { tilde: value.starts_with('~'), ..Word::literal(value) },
                Reach::This,
            );
        } else if let Some(value) = word.text.strip_prefix('@') {
            effects.touch(How::Named, &Word::literal(value), Reach::This);
        }
        effects.hosts.extend(word.text.contains("://").then(|| network::host_of(&word.text)).flatten());
    }
    effects
}

fn enter(args: &[Word]) -> Result<Effects, String> {
    let parsed = parse(args, &Options { only: Some("LP"), ..NO_OPTIONS })?;
    let home = Word { tilde: true, ..Word::literal("~") };
    let target = match parsed.operands.as_slice() {
        [] => &home,
        [one] if !one.glob && one.text != "-" => *one,
        _ => return Err("an argument".into()),
    };
    let mut effects = Effects::none().with(How::Read, &[target], Reach::Names);
    effects.enters = Some(target.clone());
    Ok(effects)
}

fn date(args: &[Word]) -> Result<Effects, String> {
    let options = Options {
        values: "d",
        files: "fr",
        only: Some("uRI"),
        only_long: &["date", "utc", "iso-8601", "rfc-3339"],
        long_values: &["date"],
        ..NO_OPTIONS
    };
    let parsed = parse(args, &options)?;
    if parsed.operands.iter().any(|w| !w.text.starts_with('+')) {
        return Err("an operand that sets the clock".into());
    }
    let files: Vec<&Word> = parsed.files.iter().collect();
    Ok(Effects::none().with(How::Read, &files, Reach::This))
}

/// Programs behind `-exec` are commands of their own in the plan.
fn find(args: &[Word]) -> Effects {
    let is_test =
        |w: &Word| w.text.starts_with('-') && w.text.len() > 1 || ["(", ")", "!"].contains(&w.text.as_str());
    let skip = args.iter().take_while(|w| ["-H", "-P"].contains(&w.text.as_str())).count();
    if args.iter().any(|w| ["-L", "-follow", "-files0-from"].contains(&w.text.as_str())) {
        return Effects::unknown("a `find` that follows links");
    }
    // Options that stand before the folders.
    if args.iter().any(|w| w.text == "-D" || w.text.starts_with("-O")) {
        return named(Effects::unknown("an option of `find` that is not known"), args);
    }
    let rest = &args[skip..];
    let count = rest.iter().take_while(|w| !is_test(w)).count();
    let here = Word::literal(".");
    let starts: Vec<&Word> = if count == 0 { vec![&here] } else { rest[..count].iter().collect() };
    let mut effects = Effects::none().with(How::Read, &starts, Reach::Names);
    let mut tests = rest[count..].iter();
    let mut narrowed = false;
    let mut deletes = false;
    while let Some(word) = tests.next() {
        match word.text.as_str() {
            "-delete" => deletes = true,
            "-fprint" | "-fprint0" | "-fls" | "-fprintf" => {
                if let Some(file) = tests.next() {
                    effects.touch(How::Write, file, Reach::This);
                }
            }
            "-newer" | "-samefile" | "-anewer" | "-cnewer" => {
                if let Some(file) = tests.next() {
                    effects.touch(How::Read, file, Reach::Names);
                }
            }
            "-depth" | "-xdev" | "-mount" | "-print" => {}
            _ => narrowed = true,
        }
    }
    if deletes {
        // With a test it removes some of what is there; without, all of it.
        for start in starts {
            let below = Word { text: format!("{}/**/*", start.text), glob: true, ..start.clone() };
            effects.touch(How::Delete, if narrowed { &below } else { start }, Reach::Tree);
        }
    }
    effects
}

fn sed(args: &[Word]) -> Result<Effects, String> {
    let options = Options {
        only: Some("nErsuzi"),
        only_long: &["quiet", "silent", "regexp-extended", "in-place"],
        ..NO_OPTIONS
    };
    // `-i.bak` hides letters behind it, and `-e` its script: read by hand.
    let mut scripts: Vec<&str> = Vec::new();
    let mut flags = Vec::new();
    let mut in_place = false;
    let mut words = args.iter();
    let mut rest = Vec::new();
    while let Some(word) = words.next() {
        match word.text.as_str() {
            "--" => rest.extend(words.by_ref()),
            "-e" | "--expression" => scripts.extend(words.next().map(|script| script.text.as_str())),
            text if text.starts_with("--expression=") => scripts.extend(text.split_once('=').map(|(_, s)| s)),
            text if text.starts_with("-i") || text.starts_with("--in-place") => in_place = true,
            text if text.starts_with('-') && text.len() > 1 => {
                in_place |= !text.starts_with("--") && text.contains('i');
                flags.push(word.clone());
            }
            _ => rest.push(word),
        }
    }
    if flags.iter().any(|f| f.text.contains('e') && !f.text.starts_with("--")) {
        return Err("an option with a script attached".into());
    }
    parse(&flags, &options)?;
    if scripts.is_empty() {
        if rest.is_empty() {
            return Err("a missing script".into());
        }
        scripts.push(&rest.remove(0).text);
    }
    let how = if in_place { How::Write } else { How::Read };
    let mut effects = Effects::none().with(how, &rest, Reach::This);
    if !scripts.iter().all(|script| plain_sed(script)) {
        effects.class = Class::Arbitrary("a `sed` script that may write or run something".into());
    }
    Ok(effects)
}

/// `10,20p`, `$d`, `/x/p`, `s/a/b/g`: no `w`, no `e`.
fn plain_sed(script: &str) -> bool {
    script.split([';', '\n']).all(|command| {
        let command = command.trim();
        let address = command.trim_start_matches(|c: char| c.is_ascii_digit() || ",$~+! ".contains(c));
        let address = match address.strip_prefix('/').and_then(|r| r.split_once('/')) {
            Some((pattern, rest)) if !pattern.contains('\\') => rest,
            _ => address,
        };
        if ["", "p", "d", "q", "="].contains(&address) {
            return true;
        }
        let Some(rest) = address.strip_prefix('s') else { return false };
        let Some(mark) = rest.chars().next().filter(|c| c.is_ascii_punctuation() && *c != '\\') else {
            return false;
        };
        let parts: Vec<&str> = rest[1..].split(mark).collect();
        // An escaped mark makes more parts: not understood.
        parts.len() == 3
            && !rest.contains(&format!("\\{mark}"))
            && parts[2].chars().all(|c| "gpiI0123456789".contains(c))
    })
}

/// The second operand is written.
fn uniq(args: &[Word]) -> Result<Effects, String> {
    let parsed = parse(args, &Options { values: "fsw", ..NO_OPTIONS })?;
    let read = parsed.operands.get(..1).unwrap_or_default();
    let written = parsed.operands.get(1..).unwrap_or_default();
    Ok(Effects::none().with(How::Read, read, Reach::This).with(How::Write, written, Reach::This))
}

fn remove(name: &str, args: &[Word]) -> Result<Effects, String> {
    let only_long = &[
        "recursive",
        "force",
        "dir",
        "verbose",
        "interactive",
        "one-file-system",
        "no-preserve-root",
        "preserve-root",
        "parents",
        "ignore-fail-on-non-empty",
    ];
    let parsed = parse(
        args,
        &Options {
            only: Some("rRfdviIpuz"),
            values: if name == "shred" { "n" } else { "" },
            only_long,
            ..NO_OPTIONS
        },
    );
    // An option that is not known makes it no less a removal.
    let (operands, recursive, why) = match parsed {
        Ok(parsed) => {
            let recursive = parsed.has("rR", &["recursive"]);
            (parsed.operands, recursive, None)
        }
        Err(why) => (args.iter().filter(|w| !w.text.starts_with('-')).collect(), true, Some(why)),
    };
    let mut effects =
        Effects::none().with(How::Delete, &operands, if recursive { Reach::Tree } else { Reach::This });
    if let Some(why) = why {
        effects.class = Class::Unknown(format!("{why} of `{name}` is not known"));
    }
    Ok(effects)
}

/// Sources and a target; what is named in a folder target is a target too.
fn transfer(name: &str, args: &[Word]) -> Result<Effects, String> {
    let options = Options {
        values: "mogS",
        only: Some("abdfiLlnPpRrsuvxTDnhF"),
        only_long: &[
            "recursive",
            "force",
            "verbose",
            "update",
            "no-clobber",
            "archive",
            "symbolic",
            "parents",
            "no-target-directory",
            "mode",
            "preserve",
            "backup",
        ],
        ..NO_OPTIONS
    };
    let (parsed, into) = match args.iter().position(|w| w.text == "-t" || w.text == "--target-directory") {
        Some(at) => {
            let into = args.get(at + 1).ok_or("a missing target")?;
            (parse_without(args, at, &options)?, Some(into.clone()))
        }
        None => (parse(args, &options)?, None),
    };
    let mut sources = parsed.operands.clone();
    let target = match into {
        Some(into) => into,
        None if sources.len() < 2 && name == "ln" => Word::literal("."),
        None if name == "install" && parsed.has("d", &[]) => {
            return Ok(Effects::none().with(How::Write, &sources, Reach::This));
        }
        None => sources.pop().ok_or("a missing target")?.clone(),
    };
    if sources.is_empty() {
        return Err("a missing target".into());
    }
    let tree = name == "cp" && parsed.has("raR", &["recursive", "archive"]);
    let mut effects = Effects::none().with(How::Write, &[&target], Reach::This);
    for source in sources {
        effects.touch(How::Read, source, if tree { Reach::Tree } else { Reach::This });
        if name == "mv" {
            effects.touch(How::Delete, source, Reach::Tree);
        }
        let last = source.text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        if ![".", "..", ""].contains(&last) {
            let text = format!("{}/{last}", target.text.trim_end_matches('/'));
            effects.touch(
                How::Write,
                &Word { text, glob: target.glob || source.glob, ..target.clone() },
                Reach::This,
            );
        }
    }
    Ok(effects)
}

/// Parses without the target option and its value.
fn parse_without<'a>(args: &'a [Word], at: usize, options: &Options) -> Result<Parsed<'a>, String> {
    let mut parsed = parse(&args[..at], options)?;
    let mut rest = parse(args.get(at + 2..).unwrap_or_default(), options)?;
    parsed.operands.append(&mut rest.operands);
    parsed.short.push_str(&rest.short);
    parsed.long.append(&mut rest.long);
    Ok(parsed)
}

fn dd(args: &[Word]) -> Result<Effects, String> {
    let mut effects = Effects::none();
    for word in args {
        let (key, value) = word.text.split_once('=').ok_or("an operand")?;
        let file = Word { tilde: value.starts_with('~'), ..Word::literal(value) };
        match key {
            "if" => effects.touch(How::Read, &file, Reach::This),
            "of" => effects.touch(How::Write, &file, Reach::This),
            "bs" | "ibs" | "obs" | "count" | "skip" | "seek" | "conv" | "iflag" | "oflag" | "status"
            | "cbs" => {}
            _ => return Err(format!("the operand `{key}`")),
        }
    }
    Ok(effects)
}

fn tar(args: &[Word]) -> Effects {
    const RUNS: [&str; 8] = [
        "to-command",
        "checkpoint-action",
        "use-compress-program",
        "rsh-command",
        "info-script",
        "new-volume-script",
        "rmt-command",
        "index-file",
    ];
    let runs = |w: &&Word| match w.text.strip_prefix("--") {
        Some(long) => {
            let key = long.split('=').next().unwrap_or_default();
            RUNS.iter().any(|r| r.starts_with(key) || key.starts_with(r))
        }
        None => w.text.strip_prefix('-').is_some_and(|letters| letters.contains(['I', 'F'])),
    };
    match args.iter().find(runs) {
        Some(word) => named(Effects::unknown(format!("`tar {}` may run a program", word.text)), args),
        None => named(Effects::arbitrary("`tar` writes what an archive names"), args),
    }
}

/// A pattern that begins with anything: it matches `--output=x`, too, if there is such a file.
fn may_be_an_option(word: &Word) -> bool {
    word.glob && word.text.starts_with(['*', '?', '['])
}

/// A pattern that would match hidden names, or whose matches are left again by `..`.
fn hidden_glob(word: &Word) -> bool {
    let mut seen = false;
    word.glob
        && word.text.split('/').any(|part| {
            let glob = part.contains(['*', '?', '[']);
            let bad = (glob && part.starts_with('.')) || (seen && part == "..");
            seen |= glob;
            bad
        })
}

/// Programs that touch nothing, whatever they are given. `test`, `[` and `printf` are told by their forms.
const INDIFFERENT: [&str; 19] = [
    "echo", "true", "false", ":", "[[", "sleep", "seq", "expr", "basename", "dirname", "exit", "return",
    "which", "type", "tr", "numfmt", "factor", "break", "continue",
];
const PURE: &[&str] = &[
    "echo", "true", "false", ":", "pwd", "test", "[", "which", "type", "uname", "whoami", "id", "groups",
    "basename", "dirname", "seq", "sleep", "expr", "nproc", "uptime", "free", "ps", "arch", "tty", "exit",
    "tr", "wait", "jobs", "printenv", "cal", "getconf", "yes", "factor", "numfmt", "[[", "return", "break",
    "continue", "read",
];

/// Programs without an option that does more than read, whatever the names of the files are.
const SAFE_WITH_ANY_NAME: &[&str] = &[
    "echo",
    "printf",
    "test",
    "[",
    "[[",
    "ls",
    "dir",
    "stat",
    "readlink",
    "realpath",
    "du",
    "df",
    "cat",
    "tac",
    "nl",
    "rev",
    "wc",
    "head",
    "tail",
    "grep",
    "egrep",
    "fgrep",
    "cut",
    "md5sum",
    "sha1sum",
    "sha256sum",
    "sha512sum",
    "cksum",
    "basename",
    "dirname",
];

/// Programs that ask someone else to act.
const OUTSIDE: &[&str] = &[
    "sudo",
    "doas",
    "docker",
    "podman",
    "nerdctl",
    "kubectl",
    "helm",
    "ansible",
    "vagrant",
    "terraform",
    "systemctl",
    "service",
    "journalctl",
    "crontab",
    "at",
    "tmux",
    "screen",
    "kill",
    "pkill",
    "killall",
    "sterna",
    "gpg",
];

/// Programs known to do anything.
const ARBITRARY: &[&str] = &[
    "make",
    "gmake",
    "cmake",
    "ninja",
    "meson",
    "bazel",
    "cargo",
    "rustc",
    "rustup",
    "rustfmt",
    "npm",
    "npx",
    "pnpm",
    "yarn",
    "bun",
    "deno",
    "node",
    "tsc",
    "eslint",
    "prettier",
    "jest",
    "vitest",
    "python",
    "python2",
    "python3",
    "pip",
    "pip3",
    "pipx",
    "poetry",
    "uv",
    "uvx",
    "pytest",
    "tox",
    "ruff",
    "mypy",
    "black",
    "ruby",
    "gem",
    "bundle",
    "rake",
    "rspec",
    "perl",
    "php",
    "composer",
    "go",
    "gofmt",
    "java",
    "javac",
    "mvn",
    "gradle",
    "kotlinc",
    "scala",
    "sbt",
    "dotnet",
    "swift",
    "gcc",
    "g++",
    "cc",
    "c++",
    "clang",
    "clang++",
    "ld",
    "gdb",
    "lldb",
    "docker",
    "podman",
    "kubectl",
    "helm",
    "terraform",
    "ansible",
    "vagrant",
    "just",
    "task",
    "awk",
    "gawk",
    "mawk",
    "lua",
    "Rscript",
    "julia",
    "ghc",
    "cabal",
    "stack",
    "mix",
    "elixir",
    "erl",
    "zig",
    "nim",
    "dart",
    "flutter",
    "apt",
    "apt-get",
    "dpkg",
    "brew",
    "dnf",
    "yum",
    "pacman",
    "apk",
    "systemctl",
    "service",
    "journalctl",
    "kill",
    "pkill",
    "killall",
    "crontab",
    "at",
    "vim",
    "vi",
    "nano",
    "emacs",
    "ed",
    "less",
    "more",
    "man",
    "zip",
    "unzip",
    "gzip",
    "gunzip",
    "xz",
    "bzip2",
    "zstd",
    "patch",
    "gh",
    "sqlite3",
    "psql",
    "mysql",
    "redis-cli",
    "openssl",
    "gpg",
    "base64",
    "xxd",
    "tmux",
    "screen",
    "watch",
    "script",
    "strace",
    "ltrace",
    "perf",
    "valgrind",
    "sterna",
    "protoc",
    "shellcheck",
    "ctest",
    "clang-format",
    "clang-tidy",
    "nm",
    "objdump",
    "readelf",
    "ldd",
    "mdbook",
    "parallel",
    "source-map",
];
