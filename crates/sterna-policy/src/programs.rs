//! The table of programs: what each reads, writes, removes and reaches. A program without an entry is unknown.

use crate::effects::{Class, Effects, How, Options, Parsed, Reach, parse};
use crate::git;
use crate::rule::trusted_name;
use crate::shell::{SimpleCommand, Word};

/// What a command would touch, redirections aside.
pub(crate) fn effects(command: &SimpleCommand) -> Effects {
    let program = command.program();
    let args = command.argv.get(1..).unwrap_or_default();
    let name = trusted_name(program);
    let mut effects = entry(name, args).unwrap_or_else(|option| {
        named(Effects::unknown(format!("{option} of `{name}` is not known")), args)
    });
    if args.iter().any(hidden_glob) {
        effects.class = Class::Unknown("a pattern that matches hidden files or climbs with `..`".into());
    }
    if let Some(variable) = command.env_prefix.iter().find(|v| is_loader(v)) {
        let variable = variable.split('=').next().unwrap_or_default();
        effects.class = Class::Unknown(format!("the variable `{variable}` can change what runs"));
    }
    if matches!(effects.class, Class::Known) {
        if let Some(why) = &command.raised {
            effects.class = Class::Arbitrary(why.clone());
        } else if let Some(variable) = command.env_prefix.iter().find(|v| !is_harmless(v)) {
            effects.class = Class::Arbitrary(format!("the variable `{variable}` is set for it"));
        }
    }
    effects
}

/// The host in an argument that is a URL or `user@host:path`; `*` when there is one that cannot be read.
pub(crate) fn host_of(text: &str) -> Option<String> {
    let authority = match text.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#', '\\']).next().unwrap_or_default(),
        None => {
            let (before, _) = text.split_once(':')?;
            if !before.contains('@') || before.contains('/') {
                return None;
            }
            before
        }
    };
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    Some(if plain { host } else { "*".into() })
}

/// Whether a variable changes which code a program runs.
pub(crate) fn is_loader(variable: &str) -> bool {
    let name = variable.split(['=', '+']).next().unwrap_or_default();
    LOADERS.contains(&name) || LOADER_PREFIXES.iter().any(|p| name.starts_with(p))
}

/// Whether a variable changes nothing but looks.
pub(crate) fn is_harmless(variable: &str) -> bool {
    HARMLESS.contains(&variable.split('=').next().unwrap_or_default())
}

fn entry(name: &str, args: &[Word]) -> Result<Effects, String> {
    if PURE.contains(&name) {
        return Ok(Effects::none());
    }
    if let Some(reader) = READERS.iter().find(|r| r.names.contains(&name)) {
        return read(reader, args);
    }
    if ARBITRARY.contains(&name) {
        return Ok(named(Effects::arbitrary(format!("`{name}` can do anything")), args));
    }
    Ok(match name {
        "git" => git::effects(args),
        "cd" => enter(args)?,
        "set" => {
            let fits = |w: &Word| ["-e", "-u", "-x", "-eu", "-ex", "-eux", "-euo", "-o", "pipefail"].contains(&w.text.as_str());
            if args.is_empty() || !args.iter().all(fits) {
                return Err("an option".into());
            }
            Effects::none()
        }
        "command" | "env" => Effects::none(), // only what stands alone comes here
        "xargs" => Effects::none(),
        "printf" if args.iter().any(|w| w.text.starts_with("-v")) => return Err("the option `-v`".into()),
        "printf" => Effects::none(),
        "date" => date(args)?,
        "hostname" if args.iter().all(|w| ["-f", "-s", "-i", "-I"].contains(&w.text.as_str())) => Effects::none(),
        "find" => find(args),
        "sed" => sed(args)?,
        "uniq" => uniq(args)?,
        "touch" | "mkdir" | "truncate" | "mkfifo" => {
            let options = Options {
                values: if name == "touch" { "dt" } else if name == "mkdir" { "m" } else { "s" },
                files: "r",
                only: Some("pvacmhf"),
                only_long: &["parents", "verbose", "no-create", "size", "mode"],
                ..Options::default()
            };
            let parsed = parse(args, &options)?;
            Effects::none().with(How::Write, &parsed.operands, Reach::This)
        }
        "tee" => {
            let parsed = parse(args, &Options { only: Some("ai"), only_long: &["append"], ..Options::default() })?;
            Effects::none().with(How::Write, &parsed.operands, Reach::This)
        }
        "rm" | "unlink" | "rmdir" | "shred" => remove(name, args)?,
        "mv" | "cp" | "ln" | "install" => transfer(name, args)?,
        "chmod" | "chown" | "chgrp" => {
            let only_long = &["recursive", "verbose", "changes", "silent", "quiet", "preserve-root"];
            // `chmod -x file`: a mode may look like options.
            let parsed = parse(args, &Options { only: Some("RvcfhrwxX"), only_long, ..Options::default() })?;
            let mode_is_option = name == "chmod" && parsed.has("rwxX", &[]);
            let paths = parsed.operands.get(usize::from(!mode_is_option)..).unwrap_or_default();
            let reach = if parsed.has("R", &["recursive"]) { Reach::Tree } else { Reach::This };
            Effects::none().with(How::Write, paths, reach)
        }
        "dd" => dd(args)?,
        "curl" | "wget" => fetch(name, args),
        "ssh" | "scp" | "sftp" | "rsync" | "nc" | "ncat" | "telnet" | "ping" | "dig" | "nslookup" | "host" => remote(name, args),
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

/// Arguments of a program whose work is not known: each may be a file.
fn named(mut effects: Effects, args: &[Word]) -> Effects {
    for word in args.iter().take(256) {
        effects.touch(How::Named, word, Reach::This);
        if let Some((_, value)) = word.text.split_once('=').filter(|(_, v)| !v.is_empty()) {
            effects.touch(How::Named, &Word { tilde: value.starts_with('~'), ..Word::literal(value) }, Reach::This);
        } else if let Some(value) = word.text.strip_prefix('@') {
            effects.touch(How::Named, &Word::literal(value), Reach::This);
        }
        effects.hosts.extend(word.text.contains("://").then(|| host_of(&word.text)).flatten());
    }
    effects
}

/// A program that reads what it is given.
struct Reader {
    names: &'static [&'static str],
    options: Options,
    /// Operands before the files.
    skip: usize,
    /// Short options that give what would else be the first operand.
    instead: &'static str,
    /// Reads names and sizes, not content.
    names_only: bool,
    /// Goes into folders by itself, or with one of these options.
    tree: Option<&'static str>,
    /// Reads the current folder when no file is given.
    here: bool,
}

const READER: Reader = Reader {
    names: &[],
    options: NO_OPTIONS,
    skip: 0,
    instead: "",
    names_only: false,
    tree: None,
    here: false,
};

const NO_OPTIONS: Options =
    Options { values: "", files: "", bad: "", bad_long: &[], long_values: &[], only: None, only_long: &[] };

const READERS: &[Reader] = &[
    Reader {
        names: &["ls", "dir", "stat", "du", "readlink", "realpath"],
        options: Options { values: "IwTdtB", bad_long: &["files0-from", "exclude-from"], bad: "X", ..NO_OPTIONS },
        names_only: true,
        here: true,
        ..READER
    },
    Reader { names: &["df"], names_only: true, ..READER },
    Reader {
        names: &["tree"],
        options: Options { values: "LPI", bad: "oR", bad_long: &["output", "fromfile", "fromtabfile"], ..NO_OPTIONS },
        names_only: true,
        here: true,
        ..READER
    },
    Reader {
        names: &["cat", "tac", "nl", "rev", "wc", "od", "hexdump", "strings", "cksum", "md5sum", "sha1sum", "sha256sum", "sha512sum", "b2sum"],
        options: Options { bad: "c", bad_long: &["files0-from", "check"], ..NO_OPTIONS },
        ..READER
    },
    Reader {
        names: &["head", "tail", "cut", "fold", "fmt", "paste", "expand", "unexpand", "column", "comm", "join", "xxd"],
        options: Options { values: "cndfbwlst", bad: "r", bad_long: &["pid"], ..NO_OPTIONS },
        ..READER
    },
    Reader {
        names: &["sort"],
        options: Options { values: "kt", bad: "oTS", bad_long: &["output", "compress-program", "temporary-directory", "files0-from", "buffer-size"], ..NO_OPTIONS },
        ..READER
    },
    Reader { names: &["file"], options: Options { bad: "CmfzZS", bad_long: &["compile", "magic-file", "files-from", "uncompress", "no-sandbox"], ..NO_OPTIONS }, ..READER },
    Reader { names: &["diff", "cmp"], options: Options { values: "IUCWn", bad: "lX", bad_long: &["paginate", "exclude-from"], ..NO_OPTIONS }, ..READER },
    Reader {
        names: &["grep", "egrep", "fgrep"],
        options: Options { values: "eABCmdD", files: "f", long_values: &["include", "exclude", "exclude-dir", "regexp", "max-count", "context"], ..NO_OPTIONS },
        skip: 1,
        instead: "ef",
        tree: Some("rR"),
        ..READER
    },
    Reader {
        names: &["rg"],
        options: Options { values: "eABCgtTmMjrE", files: "f", bad: "zuL.", bad_long: &["pre", "hostname-bin", "search-zip", "hidden", "unrestricted", "no-ignore", "follow", "ignore-file"], ..NO_OPTIONS },
        skip: 1,
        instead: "ef",
        tree: Some(""),
        here: true,
        ..READER
    },
    Reader { names: &["jq"], options: Options { bad: "L", files: "f", bad_long: &["slurpfile", "rawfile", "argfile"], long_values: &[], ..NO_OPTIONS }, skip: 1, instead: "f", ..READER },
];

fn read(reader: &Reader, args: &[Word]) -> Result<Effects, String> {
    let parsed = parse(args, &reader.options)?;
    let follows = reader.tree.is_some() && parsed.has("", &["dereference-recursive"]);
    if follows || (reader.tree == Some("rR") && parsed.short.contains('R')) {
        return Err("an option that follows links".into());
    }
    let given = parsed.short.contains(|c| reader.instead.contains(c)) || parsed.has("", &["regexp", "file", "files", "from-file"]);
    let skip = if given { 0 } else { reader.skip };
    let files = parsed.operands.get(skip..).unwrap_or_default();
    let recursive = match reader.tree {
        None => false,
        Some("") => true,
        Some(letters) => parsed.has(letters, &["recursive"]),
    };
    let reach = if reader.names_only {
        Reach::Names
    } else if recursive {
        Reach::Tree
    } else {
        Reach::This
    };
    let mut effects = Effects::none().with(How::Read, files, reach);
    if files.is_empty() && (reader.here || recursive) {
        effects.touch(How::Read, &Word::literal("."), reach);
    }
    for file in &parsed.files {
        effects.touch(How::Read, file, Reach::This);
    }
    Ok(effects)
}

fn enter(args: &[Word]) -> Result<Effects, String> {
    let parsed = parse(args, &Options { only: Some("LP"), ..NO_OPTIONS })?;
    let home = Word { tilde: true, ..Word::literal("~") };
    let target = match parsed.operands.as_slice() {
        [] if args.iter().any(|w| w.text == "-") => return Err("the folder `-`".into()),
        [] => &home,
        [one] if !one.glob => *one,
        _ => return Err("an argument".into()),
    };
    let mut effects = Effects::none().with(How::Read, &[target], Reach::Names);
    effects.enters = Some(target.clone());
    Ok(effects)
}

fn date(args: &[Word]) -> Result<Effects, String> {
    let options = Options { values: "d", files: "fr", only: Some("uRI"), only_long: &["date", "utc", "iso-8601", "rfc-3339"], long_values: &["date"], ..NO_OPTIONS };
    let parsed = parse(args, &options)?;
    if parsed.operands.iter().any(|w| !w.text.starts_with('+')) {
        return Err("an operand that sets the clock".into());
    }
    let files: Vec<&Word> = parsed.files.iter().collect();
    Ok(Effects::none().with(How::Read, &files, Reach::This))
}

/// Programs behind `-exec` are commands of their own in the plan.
fn find(args: &[Word]) -> Effects {
    let is_test = |w: &Word| w.text.starts_with('-') && w.text.len() > 1 || ["(", ")", "!"].contains(&w.text.as_str());
    let skip = args.iter().take_while(|w| ["-H", "-P"].contains(&w.text.as_str())).count();
    if args.iter().any(|w| ["-L", "-follow", "-files0-from"].contains(&w.text.as_str())) {
        return Effects::unknown("a `find` that follows links");
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
            let below = Word { text: format!("{}/found", start.text), ..start.clone() };
            effects.touch(How::Delete, if narrowed { &below } else { start }, Reach::Tree);
        }
    }
    effects
}

fn sed(args: &[Word]) -> Result<Effects, String> {
    let options = Options { values: "el", only: Some("nErsuzi"), only_long: &["quiet", "silent", "regexp-extended", "in-place", "expression"], ..NO_OPTIONS };
    // `-i.bak` hides letters behind it, and `-e` its script: read by hand.
    let mut scripts = Vec::new();
    let mut flags = Vec::new();
    let mut in_place = false;
    let mut words = args.iter();
    let mut rest = Vec::new();
    while let Some(word) = words.next() {
        match word.text.as_str() {
            "-e" | "--expression" => scripts.extend(words.next()),
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
        scripts.push(rest.remove(0));
    }
    let how = if in_place { How::Write } else { How::Read };
    let mut effects = Effects::none().with(how, &rest, Reach::This);
    if !scripts.iter().all(|s| plain_sed(&s.text)) {
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
        let Some(mark) = rest.chars().next().filter(|c| c.is_ascii_punctuation() && *c != '\\') else { return false };
        let parts: Vec<&str> = rest[1..].split(mark).collect();
        // An escaped mark makes more parts: not understood.
        parts.len() == 3 && !rest.contains(&format!("\\{mark}")) && parts[2].chars().all(|c| "gpiI0123456789".contains(c))
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
    let only_long = &["recursive", "force", "dir", "verbose", "interactive", "one-file-system", "no-preserve-root", "preserve-root", "parents", "ignore-fail-on-non-empty"];
    let parsed = parse(args, &Options { only: Some("rRfdviIpuz"), values: if name == "shred" { "n" } else { "" }, only_long, ..NO_OPTIONS });
    // An option that is not known makes it no less a removal.
    let (operands, recursive, why) = match parsed {
        Ok(parsed) => {
            let recursive = parsed.has("rR", &["recursive"]);
            (parsed.operands, recursive, None)
        }
        Err(why) => (args.iter().filter(|w| !w.text.starts_with('-')).collect(), true, Some(why)),
    };
    let mut effects = Effects::none().with(How::Delete, &operands, if recursive { Reach::Tree } else { Reach::This });
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
        only_long: &["recursive", "force", "verbose", "update", "no-clobber", "archive", "symbolic", "parents", "no-target-directory", "mode", "preserve", "backup"],
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
            effects.touch(How::Write, &Word { text, glob: target.glob || source.glob, ..target.clone() }, Reach::This);
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
            "bs" | "ibs" | "obs" | "count" | "skip" | "seek" | "conv" | "iflag" | "oflag" | "status" | "cbs" => {}
            _ => return Err(format!("the operand `{key}`")),
        }
    }
    Ok(effects)
}

/// Plain downloads are known by host and file; everything else passes only by a rule that names the program.
fn fetch(name: &str, args: &[Word]) -> Effects {
    let options = Options {
        values: if name == "curl" { "HAmewXu" } else { "UtTw" },
        only: Some(if name == "curl" { "sSfIivgkoO" } else { "qncO" }),
        only_long: &["silent", "show-error", "fail", "head", "include", "header", "max-time", "user-agent", "request", "quiet", "no-verbose"],
        long_values: &["header", "max-time", "user-agent", "request"],
        ..NO_OPTIONS
    };
    let mut effects = Effects::none();
    let mut plain = Vec::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let output = ["-o", "--output", "--output-document"].contains(&word.text.as_str()) && (name == "curl" || word.text != "-o");
        let wget_output = name == "wget" && word.text == "-O";
        if output || wget_output {
            words.next().filter(|w| w.text != "-").into_iter().for_each(|w| effects.touch(How::Write, w, Reach::This));
        } else {
            plain.push(word.clone());
        }
    }
    match parse(&plain, &options) {
        Ok(parsed) => {
            for url in &parsed.operands {
                effects.hosts.push(host_of(&with_scheme(&url.text)).unwrap_or_else(|| "*".into()));
                if name == "wget" || parsed.short.contains(['o', 'O']) {
                    let file = url.text.rsplit('/').next().filter(|f| !f.is_empty()).unwrap_or("index.html");
                    effects.touch(How::Write, &Word::literal(file), Reach::This);
                }
            }
            if parsed.short.contains(['H', 'X', 'u', 'k']) || parsed.has("", &["header", "request"]) {
                effects.class = Class::Arbitrary(format!("`{name}` sends more than a plain request"));
            }
            if name == "wget" {
                effects.class = Class::Arbitrary("`wget` follows links to other hosts".into());
            }
        }
        Err(option) => {
            let hosts: Vec<String> = args.iter().filter_map(|w| host_of(&w.text)).collect();
            effects.hosts = if hosts.is_empty() { vec!["*".into()] } else { hosts };
            if args.iter().any(|w| ["-L", "--location", "-K", "--config", "-x", "--proxy"].contains(&w.text.as_str())) {
                effects.hosts.push("*".into());
            }
            effects.class = Class::Arbitrary(format!("{option} of `{name}` is not known"));
            effects = named(effects, args);
        }
    }
    effects
}

fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// Programs that reach a host and may run something there or here.
fn remote(name: &str, args: &[Word]) -> Effects {
    let runs = |w: &&Word| {
        let text = w.text.to_ascii_lowercase();
        ["proxycommand", "localcommand", "permitlocal", "--rsh", "knownhostscommand", "--exec", "--sh-exec"].iter().any(|b| text.contains(b))
            || (name == "rsync" && w.text.starts_with("-e"))
            || (name.starts_with("nc") && (w.text.starts_with("-e") || w.text.starts_with("-c")))
            || ["-F", "-S", "-D"].iter().any(|f| w.text.starts_with(f))
    };
    if let Some(word) = args.iter().find(runs) {
        return named(Effects::unknown(format!("`{name} {}` may run a program", word.text)), args);
    }
    let mut effects = named(Effects::arbitrary(format!("`{name}` reaches another host")), args);
    let hosts = args.iter().filter_map(|w| {
        host_of(&w.text).or_else(|| {
            let host = w.text.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
            let option = w.text.starts_with('-') || host.is_empty();
            let whole = ["ssh", "nc", "ncat", "telnet", "ping", "dig", "nslookup", "host"].contains(&name);
            (!option && (whole || w.text.contains('@'))).then(|| host.to_ascii_lowercase())
        })
    });
    effects.hosts.extend(hosts.take(if name == "scp" || name == "rsync" { 8 } else { 1 }));
    effects
}

fn tar(args: &[Word]) -> Effects {
    const RUNS: [&str; 8] = ["to-command", "checkpoint-action", "use-compress-program", "rsh-command", "info-script", "new-volume-script", "rmt-command", "index-file"];
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

const PURE: &[&str] = &[
    "echo", "true", "false", ":", "pwd", "test", "[", "which", "type", "uname", "whoami", "id", "groups", "basename",
    "dirname", "seq", "sleep", "expr", "nproc", "uptime", "free", "ps", "arch", "tty", "exit", "tr", "wait", "jobs",
    "printenv", "cal", "getconf", "yes", "factor", "numfmt",
];

/// Programs known to do anything.
const ARBITRARY: &[&str] = &[
    "make", "gmake", "cmake", "ninja", "meson", "bazel", "cargo", "rustc", "rustup", "rustfmt", "npm", "npx", "pnpm", "yarn",
    "bun", "deno", "node", "tsc", "eslint", "prettier", "jest", "vitest", "python", "python2", "python3", "pip", "pip3", "pipx", "poetry", "uv",
    "uvx", "pytest", "tox", "ruff", "mypy", "black", "ruby", "gem", "bundle", "rake", "rspec", "perl", "php", "composer", "go", "gofmt", "java",
    "javac", "mvn", "gradle", "kotlinc", "scala", "sbt", "dotnet", "swift", "gcc", "g++", "cc", "c++", "clang", "clang++", "ld", "gdb", "lldb",
    "docker", "podman", "kubectl", "helm", "terraform", "ansible", "vagrant", "just", "task", "awk", "gawk", "mawk", "lua", "Rscript", "julia",
    "ghc", "cabal", "stack", "mix", "elixir", "erl", "zig", "nim", "dart", "flutter", "apt", "apt-get", "dpkg", "brew", "dnf", "yum", "pacman", "apk",
    "systemctl", "service", "journalctl", "kill", "pkill", "killall", "crontab", "at", "vim", "vi", "nano", "emacs", "ed", "less", "more", "man",
    "zip", "unzip", "gzip", "gunzip", "xz", "bzip2", "zstd", "patch", "gh", "sqlite3", "psql", "mysql", "redis-cli", "openssl", "gpg", "base64",
    "tmux", "screen", "watch", "script", "strace", "ltrace", "perf", "valgrind", "sterna", "protoc", "shellcheck", "mdbook", "parallel", "source-map",
];

/// Variables that change which code runs, or where programs find their configuration.
const LOADERS: &[&str] = &[
    "PATH", "HOME", "SHELL", "ENV", "BASH_ENV", "IFS", "PS4", "PROMPT_COMMAND", "SHELLOPTS", "BASHOPTS", "CDPATH", "PAGER", "MANPAGER",
    "EDITOR", "VISUAL", "BROWSER", "LESSOPEN", "LESSCLOSE", "LESS", "GCONV_PATH", "LOCPATH", "GLIBC_TUNABLES", "TMPDIR", "RUSTC", "RUSTDOC",
    "RUSTC_WRAPPER", "RUSTFLAGS", "RUSTDOCFLAGS", "CC", "CXX", "LD", "AR", "MAKEFLAGS", "GOFLAGS", "TERMINFO", "TERMCAP", "TAR_OPTIONS", "GREP_OPTIONS",
    "RIPGREP_CONFIG_PATH", "CURL_HOME", "WGETRC", "POSIXLY_CORRECT", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "HOSTALIASES", "SUDO_ASKPASS",
];
const LOADER_PREFIXES: &[&str] = &[
    "LD_", "DYLD_", "GIT_", "PYTHON", "PERL", "RUBY", "NODE_", "NPM_", "npm_", "CARGO_", "XDG_", "SSH_", "BASH_FUNC_", "MALLOC_", "http", "HTTP",
    "https", "HTTPS", "ALL_PROXY", "all_proxy", "JAVA_", "LUA_", "PHP_", "DOTNET_", "STERNA_",
];
const HARMLESS: &[&str] = &[
    "RUST_BACKTRACE", "RUST_LOG", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "CI", "COLUMNS", "LINES", "LANG", "LC_ALL", "TERM", "DEBIAN_FRONTEND",
];
