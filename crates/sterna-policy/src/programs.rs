//! The table of programs: what each reads, writes, removes and reaches. A program without an entry is unknown.

use crate::effects::{Class, Effects, How, NO_OPTIONS, Options, Parsed, Reach, parse};
use crate::feeds;
use crate::find;
use crate::git;
use crate::hidden;
use crate::network;
use crate::patterns;
use crate::program_lists::{ARBITRARY, CHANGES_THE_SHELL, GO_INTO_FOLDERS, PURE, SAFE_WITH_ANY_NAME};
use crate::readers;
use crate::reroutes;
use crate::rule::trusted_name;
use crate::shell::{Hidden, SimpleCommand, Word};
use crate::variables::{is_harmless, is_loader};

/// What a command would touch, redirections aside.
pub(crate) fn effects(command: &SimpleCommand) -> Effects {
    let program = command.program();
    let args = command.argv.get(1..).unwrap_or_default();
    let name = trusted_name(program);
    let mut effects = of_program(name, args);
    feeds::remove_given(command, &mut effects);
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
    if (effects.only_reads() || name == "find" && effects.class == Class::Known)
        && !SAFE_WITH_ANY_NAME.contains(&name)
        && args.iter().take_while(|w| w.text != "--").any(may_be_an_option)
    {
        let why = "a pattern may match a file whose name is an option";
        effects.class = Class::Arbitrary(why.into());
    }
    if GO_INTO_FOLDERS.contains(&name) {
        into_folders(name, args, &mut effects);
    }
    // A download without an address may get one from elsewhere.
    if !effects.only_reads() || ["curl", "wget"].contains(&name) {
        effects.may_reach.extend(reroutes::hosts(command, &effects));
    }
    let unseen = matches!(effects.class, Class::Unknown(_) | Class::Unclear(_));
    let telling = |v: &&String| !(is_harmless(v) || name == "read" && v.starts_with("IFS="));
    if unseen {
    } else if let Some(why) = command.raised.as_ref() {
        effects.class = Class::Arbitrary(why.clone());
    } else if let Some(variable) = command.env_prefix.iter().find(telling) {
        let does = if is_loader(variable) { "can change what runs" } else { "is set for it" };
        let variable = variable.split('=').next().unwrap_or_default();
        effects.class = Class::Arbitrary(format!("the variable `{variable}` {does}"));
    }
    if let Some(why) = command.unclear.as_ref().filter(|_| !matches!(effects.class, Class::Unknown(_))) {
        // What is removed must be seen.
        let removes = hidden::removes(&effects, name);
        effects.class = if removes { Class::Unknown(why.clone()) } else { Class::Unclear(why.clone()) };
    }
    effects
}

/// What a program would touch with these arguments, by its name alone.
pub(crate) fn of_program(name: &str, args: &[Word]) -> Effects {
    entry(name, args).unwrap_or_else(|option| {
        let why = format!("{option} of `{name}` is not known");
        let own = CHANGES_THE_SHELL.contains(&name);
        let mut effects = named(if own { Effects::unknown(why) } else { Effects::unclear(why) }, args);
        writes_nevertheless(name, args, &mut effects);
        effects
    })
}

/// What these programs are named is read with all beneath where it is a folder.
fn into_folders(name: &str, args: &[Word], effects: &mut Effects) {
    let has = |long: &[&str], letter: char| {
        args.iter().any(|w| match w.text.strip_prefix("--") {
            Some(option) => option.len() > 2 && long.iter().any(|long| long.starts_with(option)),
            None => w.text.strip_prefix('-').is_some_and(|letters| letters.contains(letter)),
        })
    };
    if name == "ag" && !has(&["hidden", "unrestricted"], 'u') {
        return;
    }
    for touch in effects.touches.iter_mut().filter(|t| t.how == How::Named && t.reach == Reach::This) {
        touch.reach = Reach::MayTree;
    }
    let searches = ["ag", "ack", "rgrep", "ugrep"].contains(&name);
    if searches && args.iter().filter(|w| !w.text.starts_with('-')).count() < 2 {
        effects.touch(How::Named, &Word::literal("."), Reach::MayTree);
    }
}

/// An option that is not known makes what a program writes no less written.
fn writes_nevertheless(name: &str, args: &[Word], effects: &mut Effects) {
    let in_place = |w: &Word| w.text.starts_with("--i") || !w.text.starts_with("--") && w.text.contains('i');
    let writes = match name {
        "tee" | "touch" | "mkdir" | "truncate" | "mkfifo" | "chmod" | "chown" | "chgrp" | "uniq" => true,
        "mv" | "cp" | "ln" | "install" => true,
        "sed" => args.iter().filter(|w| w.text.starts_with('-')).any(in_place),
        _ => false,
    };
    for word in args.iter().filter(|w| writes && !w.text.starts_with('-')) {
        effects.touch(How::Write, word, Reach::This);
    }
    // `sort -o x`, `sort --output=x`, `tree -ox`, `dd of=x`.
    for (i, word) in args.iter().enumerate() {
        let text = word.text.as_str();
        let value = match name {
            "dd" => text.strip_prefix("of="),
            "sort" | "tree" if text.starts_with("--o") => {
                Some(text.split_once('=').map_or("", |(_, value)| value))
            }
            "sort" | "tree" if !text.starts_with("--") => {
                text.strip_prefix('-').and_then(|letters| letters.split_once('o')).map(|(_, value)| value)
            }
            _ => None,
        };
        match value {
            Some("") => args.get(i + 1).into_iter().for_each(|w| effects.touch(How::Write, w, Reach::This)),
            Some(value) => effects.touch(How::Write, &Word::literal(value), Reach::This),
            None => {}
        }
    }
}

/// Whether the table has the program: its name then means that program and nothing else.
pub(crate) fn is_known(name: &str) -> bool {
    !matches!(listed(name, &[]), Ok(None)) || name.contains('/') || CHANGES_THE_SHELL.contains(&name)
}

fn entry(name: &str, args: &[Word]) -> Result<Effects, String> {
    if let Some(effects) = listed(name, args)? {
        return Ok(effects);
    }
    let effects = if name.contains('/') || name.starts_with('~') {
        Effects::arbitrary(format!("the script `{name}` can do anything"))
    } else if CHANGES_THE_SHELL.contains(&name) || !is_plain(name) {
        Effects::unknown(format!("the program `{name}` is not known"))
    } else {
        Effects::arbitrary(format!("the program `{name}` is not known and can do anything"))
    };
    Ok(named(effects, args))
}

/// Letters that mean nothing else to anybody: no look-alikes, no signs of a shell's.
fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.+-".contains(&b))
}

/// What the table says of a program; `None`: it does not have it.
fn listed(name: &str, args: &[Word]) -> Result<Option<Effects>, String> {
    pure_after_all(name, args)?;
    if PURE.contains(&name) {
        let globs: Vec<&Word> = args.iter().filter(|w| w.glob).collect();
        return Ok(Some(Effects::none().with(How::Read, &globs, Reach::Names)));
    }
    if let Some(effects) = readers::effects(name, args) {
        return effects.map(Some);
    }
    if ARBITRARY.contains(&name) {
        return Ok(Some(named(Effects::arbitrary(format!("`{name}` can do anything")), args)));
    }
    Ok(Some(match name {
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
        "printf" => {
            plain_printf(args)?;
            let globs: Vec<&Word> = args.iter().filter(|w| w.glob).collect();
            Effects::none().with(How::Read, &globs, Reach::Names)
        }
        "date" => date(args)?,
        "hostname" if args.iter().all(|w| ["-f", "-s", "-i", "-I"].contains(&w.text.as_str())) => {
            Effects::none()
        }
        "find" => find::effects(args),
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
            // What a pattern becomes is a mode and files.
            let first_is_mode = !mode_is_option && parsed.operands.first().is_some_and(|w| !w.glob);
            let paths = parsed.operands.get(usize::from(first_is_mode)..).unwrap_or_default();
            let reach = if parsed.has("R", &["recursive"]) { Reach::Tree } else { Reach::This };
            Effects::none().with(How::Write, paths, reach)
        }
        "dd" => dd(args)?,
        "curl" | "wget" => network::fetch(name, args),
        _ if network::REMOTE.contains(&name) => network::remote(name, args),
        "tar" => tar(args),
        "sh" | "bash" | "rbash" | "dash" | "zsh" | "ksh" | "ash" | "mksh" | "fish" => {
            named(Effects::arbitrary(format!("`{name}` runs a script")), args)
        }
        "source" | "." => source(name, args),
        _ => return Ok(None),
    }))
}

/// Runs the lines of a file in the shell itself. What that does to the commands after it `lower` says.
fn source(name: &str, args: &[Word]) -> Effects {
    let effects = Effects::unclear(format!("`{name}` runs the lines of a file in the shell itself"));
    named(effects.with(How::Read, &args.iter().take(1).collect::<Vec<_>>(), Reach::This), args)
}

/// The forms of harmless programs that are not.
fn pure_after_all(name: &str, args: &[Word]) -> Result<(), String> {
    let has = |bad: &[&str]| args.iter().any(|w| bad.contains(&w.text.as_str()));
    // A name that somebody chose may be an option.
    let may_have = |bad: &[&str]| args.iter().any(|w| bad.iter().any(|b| patterns::may_be(w, b)));
    match name {
        // Evaluates a name, and runs what stands in its brackets.
        "test" | "[" if may_have(&["-v", "-R"]) => Err("the option `-v`".into()),
        "[[" if has(&["-v", "-R"]) => Err("the option `-v`".into()),
        "wait" if args.iter().any(|w| w.text.starts_with('-') || w.glob) => Err("an option".into()),
        "jobs" if args.iter().any(|w| w.glob || w.text.starts_with('-') && w.text.contains('x')) => {
            Err("the option `-x`".into())
        }
        // Elsewhere it runs what it is given.
        "arch" if !args.is_empty() => Err("an argument".into()),
        // Shows the variables of other programs.
        "ps" if args.iter().any(|w| w.glob || !w.text.starts_with('-') && w.text.contains('e')) => {
            Err("the option `e`".into())
        }
        _ => Ok(()),
    }
}

/// `-v` and `%n` set variables, and so does a name in the place of the format.
fn plain_printf(args: &[Word]) -> Result<(), String> {
    if args.iter().any(|w| w.text.starts_with("-v")) {
        return Err("the option `-v`".into());
    }
    let format = args.get(usize::from(args.first().is_some_and(|w| w.text == "--")));
    match format {
        Some(format) if format.glob => Err("a pattern as the format".into()),
        Some(format) if sets_a_variable(&format.text) => Err("the format `%n`".into()),
        _ => Ok(()),
    }
}

/// Whether a format may hold `%n`, with whatever stands between the two.
fn sets_a_variable(format: &str) -> bool {
    let mut rest = format;
    while let Some((_, after)) = rest.split_once('%') {
        let form = after.trim_start_matches(|c: char| c.is_ascii_digit() || "#'-+ .*hlLjtz".contains(c));
        if form.starts_with('n') {
            return true;
        }
        rest = if form.len() == after.len() { after.strip_prefix('%').unwrap_or(after) } else { form };
    }
    false
}

/// Arguments of a program whose work is not known: each may be a file. All of them, for what is too many is said by who
/// judges them.
pub(crate) fn named(mut effects: Effects, args: &[Word]) -> Effects {
    for word in args {
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
    let parsed = parse(args, &Options { only: Some("L"), ..NO_OPTIONS })?;
    let home = Word { tilde: true, ..Word::literal("~") };
    let target = match parsed.operands.as_slice() {
        [] => &home,
        [one] if !one.glob && one.hidden == Hidden::No && one.text != "-" => *one,
        [_] => return Ok(Effects::unclear("a folder that only the shell will know")),
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

fn sed(args: &[Word]) -> Result<Effects, String> {
    let options = Options {
        only: Some("nErsuzi"),
        only_long: &["quiet", "silent", "regexp-extended", "in-place"],
        ..NO_OPTIONS
    };
    // `-i.bak` hides letters behind it, and `-e` its script: read by hand.
    let mut scripts: Vec<&str> = Vec::new();
    // A script that is a pattern becomes the name of a file that somebody has chosen, and of more files.
    let mut patterns: Vec<&Word> = Vec::new();
    let mut flags = Vec::new();
    let mut in_place = false;
    let mut kept = Vec::new();
    let mut words = args.iter();
    let mut rest = Vec::new();
    while let Some(word) = words.next() {
        match word.text.as_str() {
            "--" => rest.extend(words.by_ref()),
            "-e" | "--expression" => {
                let script = words.next();
                scripts.extend(script.map(|script| script.text.as_str()));
                patterns.extend(script.filter(|script| script.glob));
            }
            text if text.starts_with("--expression=") => {
                scripts.extend(text.split_once('=').map(|(_, s)| s));
                patterns.extend(Some(word).filter(|word| word.glob));
            }
            text if text.starts_with("-i") || text.starts_with("--in-place") => {
                in_place = true;
                kept.push(word);
            }
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
        let script = rest.remove(0);
        scripts.push(&script.text);
        patterns.extend(Some(script).filter(|script| script.glob));
    }
    let how = if in_place { How::Write } else { How::Read };
    let mut effects = Effects::none().with(how, &rest, Reach::This).with(how, &patterns, Reach::This);
    if kept.len() > 4 {
        return Err("the option `-i`, given again and again".into());
    }
    for option in kept {
        let text = option.text.strip_prefix("--in-place").or_else(|| option.text.strip_prefix("-i"));
        let suffix = text.map_or("", |text| text.strip_prefix('=').unwrap_or(text));
        for file in rest.iter().filter(|_| !suffix.is_empty()) {
            let glob = file.glob || option.glob;
            effects.touch(How::Write, &Word { glob, ..copy_of(file, suffix) }, Reach::This);
        }
    }
    if !patterns.is_empty() || !scripts.iter().all(|script| plain_sed(script)) {
        effects.class = Class::Arbitrary("a `sed` script that may write or run something".into());
    }
    Ok(effects)
}

/// Where `sed -i` keeps what a file was: a star is the file's name, and with a slash it is a path of its own.
fn copy_of(file: &Word, suffix: &str) -> Word {
    let (folder, name) = file.text.rsplit_once('/').map_or(("", file.text.as_str()), |(f, n)| (f, n));
    let copy = match suffix.contains('*') {
        true => suffix.replace('*', name),
        false => format!("{name}{suffix}"),
    };
    match copy.contains('/') || file.text == name {
        true => Word { text: copy, tilde: false, ..file.clone() },
        false => Word { text: format!("{folder}/{copy}"), ..file.clone() },
    }
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

/// The second operand is written, and the second name that a pattern becomes.
fn uniq(args: &[Word]) -> Result<Effects, String> {
    let parsed = parse(args, &Options { values: "fsw", ..NO_OPTIONS })?;
    let read = parsed.operands.get(..1).unwrap_or_default();
    let written = parsed.operands.get(usize::from(!read.iter().any(|w| w.glob))..).unwrap_or_default();
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
    // Two stars are one for a shell that was not told otherwise.
    let plain = |w: &&Word| Word {
        text: if w.glob { w.text.replace("**", "*") } else { w.text.clone() },
        ..(*w).clone()
    };
    let operands: Vec<Word> = operands.iter().map(plain).collect();
    let operands: Vec<&Word> = operands.iter().collect();
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
        only: Some("abdfiLlnPpRrsuvxTDnhFHc"),
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
            "no-preserve",
            "backup",
            "suffix",
            "dereference",
            "no-dereference",
            "reflink",
            "sparse",
            "remove-destination",
            "interactive",
            "one-file-system",
            "relative",
            "link",
            "directory",
        ],
        ..NO_OPTIONS
    };
    let (args, into) = without_target(args)?;
    // An option that is not known makes it no less a copy.
    let (parsed, why) = match parse(&args, &options) {
        Ok(parsed) => (parsed, None),
        Err(why) => {
            let operands = args.iter().filter(|w| !w.text.starts_with('-')).collect();
            (Parsed { operands, ..Parsed::default() }, Some(why))
        }
    };
    let mut sources = parsed.operands.clone();
    let mut targets = Vec::new();
    match into {
        Some(into) => targets.push(into),
        None if sources.len() < 2 && name == "ln" => targets.push(Word::literal(".")),
        None if name == "install" && parsed.has("d", &["directory"]) && why.is_none() => {
            return Ok(Effects::none().with(How::Write, &sources, Reach::This));
        }
        None => {
            let target = sources.pop().ok_or("a missing target")?;
            targets.push(target.clone());
            // The last name that it becomes is the target.
            sources.extend(Some(target).filter(|target| target.glob));
        }
    }
    if sources.is_empty() {
        return Err("a missing target".into());
    }
    if parsed.has("S", &["suffix"]) {
        // What was there keeps a name that is like it.
        let like = |target: &Word| Word { text: format!("{}*", target.text), glob: true, ..target.clone() };
        targets.extend(targets.first().map(like));
    }
    let tree = name == "cp" && parsed.has("raR", &["recursive", "archive"]);
    let mut effects = Effects::none();
    for target in &targets {
        effects.touch(How::Write, target, Reach::This);
    }
    for source in sources {
        let linked = name == "ln" && (why.is_some() || parsed.has("s", &["symbolic"]));
        let reach = match name {
            _ if tree => Reach::Tree,
            "mv" => Reach::Whole,
            _ if linked => Reach::Whole,
            _ => Reach::This,
        };
        effects.touch(How::Read, source, reach);
        if name == "mv" {
            effects.touch(How::Delete, source, Reach::Tree);
        }
        if linked && !source.tilde && !source.text.starts_with('/') {
            // A link's text is told from where the link is.
            for target in &targets {
                for up in ["", "../"] {
                    let text = format!("{}/{up}{}", target.text, source.text);
                    let from = Word { text, tilde: target.tilde, ..source.clone() };
                    effects.touch(How::Named, &from, Reach::Whole);
                }
            }
        }
        let last = source.text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        if ![".", "..", ""].contains(&last) {
            for target in &targets {
                let text = format!("{}/{last}", target.text.trim_end_matches('/'));
                let glob = target.glob || source.glob;
                effects.touch(How::Write, &Word { text, glob, ..target.clone() }, Reach::This);
            }
        }
    }
    if let Some(why) = why {
        effects.class = Class::Unclear(format!("{why} of `{name}` is not known"));
        effects = named(effects, &args);
    }
    Ok(effects)
}

/// The words without the option that names the target, and what it names: `-t x`, `-vtx`, `--target=x`.
fn without_target(args: &[Word]) -> Result<(Vec<Word>, Option<Word>), String> {
    let mut rest = Vec::new();
    let mut into = None;
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let text = word.text.as_str();
        if text == "--" {
            rest.push(word.clone());
            rest.extend(words.by_ref().cloned());
            break;
        }
        let (before, value) = if let Some(option) = text.strip_prefix("--") {
            let (key, value) = option.split_once('=').map_or((option, None), |(k, v)| (k, Some(v)));
            let is_target = !key.is_empty() && "target-directory".starts_with(key);
            if !is_target {
                rest.push(word.clone());
                continue;
            }
            ("", value)
        } else {
            // Behind these letters stands a value.
            let letters = text.strip_prefix('-').unwrap_or_default();
            let valued = letters.find(['t', 'm', 'o', 'g', 'S']);
            let Some(at) = valued.filter(|at| letters[*at..].starts_with('t')) else {
                rest.push(word.clone());
                if valued.is_some_and(|at| at + 1 == letters.len()) {
                    rest.extend(words.next().cloned());
                }
                continue;
            };
            (&letters[..at], Some(&letters[at + 1..]).filter(|value| !value.is_empty()))
        };
        if !before.is_empty() {
            rest.push(Word::literal(format!("-{before}")));
        }
        let value = match value {
            Some(value) => Word { glob: word.glob, hidden: word.hidden, ..Word::literal(value) },
            None => words.next().ok_or("a missing target")?.clone(),
        };
        if into.replace(value).is_some() || word.glob {
            return Err("a second target".into());
        }
    }
    Ok((rest, into))
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
        Some(word) => named(Effects::unclear(format!("`tar {}` may run a program", word.text)), args),
        None => named(Effects::arbitrary("`tar` writes what an archive names"), args),
    }
}

/// A pattern that begins with anything, or as an option: it matches `--output=x`, too, if there is such a file.
fn may_be_an_option(word: &Word) -> bool {
    word.glob && word.text.starts_with(['*', '?', '[', '-'])
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
