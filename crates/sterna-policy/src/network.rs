//! Programs that reach other hosts.

use crate::effects::{Class, Effects, How, NO_OPTIONS, Options, Reach, parse};
use crate::programs::named;
use crate::shell::{Hidden, Word};

/// Plain downloads are known by host and file; everything else passes only by a rule that names the program.
pub(crate) fn fetch(name: &str, args: &[Word]) -> Effects {
    let options = Options {
        values: if name == "curl" { "HAmewXu" } else { "UtTw" },
        only: Some(if name == "curl" { "sSfIivgkO" } else { "qncO" }),
        only_long: &[
            "silent",
            "show-error",
            "fail",
            "head",
            "include",
            "header",
            "max-time",
            "user-agent",
            "request",
            "quiet",
            "no-verbose",
        ],
        long_values: &["header", "max-time", "user-agent", "request"],
        ..NO_OPTIONS
    };
    let mut effects = Effects::none();
    let mut plain = Vec::new();
    // What stands behind an option that takes a value is that, whatever it looks like.
    let valued = |word: &Word| match word.text.strip_prefix("--") {
        Some(long) => !long.contains('=') && options.long_values.iter().any(|name| name.starts_with(long)),
        None => word.text.strip_prefix('-').is_some_and(|letters| {
            letters.find(|c| options.values.contains(c)).is_some_and(|at| at + 1 == letters.len())
        }),
    };
    if args.windows(2).any(|two| valued(&two[0]) && two[1].text.starts_with('-')) {
        let mut effects = named(Effects::unknown(format!("options of `{name}` that look like values")), args);
        effects.hosts.push("*".into());
        return effects;
    }
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let output = ["-o", "--output", "--output-document"].contains(&word.text.as_str())
            && (name == "curl" || word.text != "-o");
        let wget_output = name == "wget" && word.text == "-O";
        if output || wget_output {
            words
                .next()
                .filter(|w| w.text != "-")
                .into_iter()
                .for_each(|w| effects.touch(How::Write, w, Reach::This));
        } else {
            plain.push(word.clone());
        }
    }
    match parse(&plain, &options) {
        Ok(parsed) => {
            for url in &parsed.operands {
                if with_scheme(&url.text).split("://").next().is_none_or(|s| !["http", "https"].contains(&s))
                {
                    effects.class = Class::Unknown(format!("`{name}` of `{}`", url.text));
                }
                effects.hosts.push(host_of(&with_scheme(&url.text)).unwrap_or_else(|| "*".into()));
                if name == "wget" || parsed.short.contains(['o', 'O']) {
                    let file = url.text.rsplit('/').next().filter(|f| !f.is_empty()).unwrap_or("index.html");
                    effects.touch(How::Write, &Word::literal(file), Reach::This);
                }
            }
            let unknown = matches!(effects.class, Class::Unknown(_));
            let more = parsed.short.contains(['H', 'X', 'u', 'k']) || parsed.has("", &["header", "request"]);
            if !unknown && (more || name == "wget") {
                let why =
                    if more { "sends more than a plain request" } else { "follows links to other hosts" };
                effects.class = Class::Arbitrary(format!("`{name}` {why}"));
            }
            if name == "curl" && !unknown && tells_by_file(args) {
                effects.class = Class::Arbitrary("`curl -w` of a file reads or writes it".into());
                effects = named(effects, args);
            } else if more {
                effects = named(effects, args);
            }
        }
        Err(option) => {
            effects.hosts = addresses(args);
            if effects.hosts.is_empty() || args.iter().any(leads_elsewhere) {
                effects.hosts.push("*".into());
            }
            effects.class = Class::Arbitrary(format!("{option} of `{name}` is not known"));
            effects = named(effects, args);
        }
    }
    if effects.class != Class::Known {
        option_files(args).iter().for_each(|file| effects.touch(How::Named, file, Reach::This));
    }
    effects
}

/// Files within the options of a download: a value that begins with `@`, or is joined to its letter.
fn option_files(args: &[Word]) -> Vec<Word> {
    let mut texts = Vec::new();
    for word in args {
        let text = word.text.as_str();
        let value = letters(text).and_then(|(_, value)| value).filter(|value| !value.is_empty());
        texts.extend(value);
        for (at, _) in text.match_indices(['@', '<']).take(MAX_FILES) {
            let file = text[at + 1..].split([';', ',']).next().unwrap_or_default();
            texts.extend(Some(file).filter(|file| !file.is_empty()));
        }
    }
    texts.into_iter().map(Word::literal).collect()
}

/// Whether curl is told what to print by a file, or to write into one: `-w @file`, `-w %output{file}`.
fn tells_by_file(args: &[Word]) -> bool {
    let mut values = Vec::new();
    for (i, word) in args.iter().enumerate() {
        if let Some((_, value)) = letters(&word.text).filter(|(flags, _)| flags.ends_with('w')) {
            let next = args.get(i + 1).map(|next| next.text.as_str());
            values.extend(value.filter(|value| !value.is_empty()).or(next));
        }
    }
    values.iter().any(|value| value.starts_with('@') || value.contains("%output"))
}

fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// The hosts that a download with options that are not known may reach.
fn addresses(args: &[Word]) -> Vec<String> {
    let mut hosts = Vec::new();
    let mut before = "";
    for word in args {
        let text = word.text.as_str();
        let is_value = letters(before).is_some_and(|(_, rest)| rest == Some(""))
            || before.strip_prefix("--").is_some_and(|option| WITH_A_VALUE.contains(&option));
        before = text;
        if text.contains("://") {
            hosts.extend(host_of(text));
        } else if !text.starts_with('-') && !is_value {
            let host = host_of(&with_scheme(text)).unwrap_or_default();
            let is_one = host.contains(['.', ':']) || host == "localhost";
            let begins_as_one = ["http:", "https:", "ftp:"].iter().any(|scheme| text.starts_with(scheme));
            if is_one || begins_as_one {
                hosts.push(host);
            }
        }
    }
    hosts
}

/// Whether an option makes other hosts of those that are named.
fn leads_elsewhere(word: &Word) -> bool {
    let text = word.text.as_str();
    let long = ["--location", "--config", "--proxy", "--preproxy", "--socks", "--connect-to", "--resolve"];
    let abbreviates = |option: &&str| option.starts_with(text) || text.starts_with(*option);
    text == "-L"
        || (text.len() > 4 && text.starts_with("--") && long.iter().any(abbreviates))
        || letters(text).is_some_and(|(flags, _)| flags.contains(['K', 'x']))
}

/// The short options of a word up to the first with a value, and that value as far as it stands in the word.
fn letters(text: &str) -> Option<(&str, Option<&str>)> {
    let all = text.strip_prefix('-').filter(|rest| !rest.is_empty() && !rest.starts_with('-'))?;
    match all.find(|c| "AbcCdDeEFhHKmoPQrtTuUwxXyYz".contains(c)) {
        Some(at) => Some((&all[..=at], all.get(at + 1..))),
        None => Some((all, None)),
    }
}

/// Programs that reach a host with a protocol of their own.
pub(crate) const REMOTE: [&str; 11] =
    ["ssh", "scp", "sftp", "rsync", "nc", "ncat", "telnet", "ping", "dig", "nslookup", "host"];

/// Programs that reach a host and may run something there or here.
pub(crate) fn remote(name: &str, args: &[Word]) -> Effects {
    let runs = |w: &&Word| {
        let text = w.text.to_ascii_lowercase();
        ["proxycommand", "localcommand", "permitlocal", "--rsh", "knownhostscommand", "--exec", "--sh-exec"]
            .iter()
            .any(|b| text.contains(b))
            || (name == "rsync" && w.text.starts_with("-e"))
            || (name.starts_with("nc") && (w.text.starts_with("-e") || w.text.starts_with("-c")))
            || ["-F", "-S", "-D"].iter().any(|f| w.text.starts_with(f))
    };
    if let Some(word) = args.iter().find(runs) {
        return named(Effects::unknown(format!("`{name} {}` may run a program", word.text)), args);
    }
    let mut effects = named(Effects::arbitrary(format!("`{name}` reaches another host")), args);
    effects.hosts = match name {
        "ssh" => first_host(args, "46AaCfGgKkMNnqsTtVvXxYy", "BbcDEeFIiJLlmOoPpQRSWw"),
        "sftp" => first_host(args, "46AaCfNpqrv", "BbcDFiJloPRsSX"),
        "scp" | "rsync" => args.iter().filter_map(|w| host_in(&w.text)).collect(),
        // Which word is an option's value is theirs to know: each may be the host.
        _ => {
            let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
            let may_be = |w: &&Word| !w.text.starts_with(['-', '+']) && !number(&w.text);
            args.iter().filter(may_be).map(|w| bare_host(&w.text)).collect()
        }
    };
    // What is said of a host in an option is another host.
    let tells = ["hostname=", "hostname ", "proxyjump"];
    let jumps = |w: &Word| {
        let text = w.text.to_ascii_lowercase();
        tells.iter().any(|option| text.contains(option))
            || name == "ssh" && ["-J", "-L", "-R", "-W"].iter().any(|o| w.text.starts_with(o))
            || name != "ssh" && w.text.starts_with("-J")
    };
    if args.iter().any(jumps) {
        effects.hosts.push("*".into());
    }
    effects
}

/// The first operand, where all options are known; `*` where one is not.
fn first_host(args: &[Word], flags: &str, values: &str) -> Vec<String> {
    let mut words = args.iter().map(|word| word.text.as_str());
    while let Some(text) = words.next() {
        match text.strip_prefix('-') {
            None => return vec![bare_host(text)],
            Some("-") => return words.next().map(bare_host).into_iter().collect(),
            Some(options) => match options.find(|c| !flags.contains(c)) {
                None => {}
                Some(at) if !options[at..].starts_with(|c| values.contains(c)) => {
                    return vec!["*".to_owned()];
                }
                Some(at) if at + 1 == options.len() => drop(words.next()),
                Some(_) => {}
            },
        }
    }
    Vec::new()
}

/// The host of a word that is one: `me@host`, `host:port`, a URL.
fn bare_host(text: &str) -> String {
    host_of(text).unwrap_or_else(|| {
        let host = text.rsplit('@').next().unwrap_or_default();
        readable(host.split_once(':').map_or(host, |(host, _)| host))
    })
}

/// The host of a URL or of `host:path`.
pub(crate) fn host_in(text: &str) -> Option<String> {
    if text.contains("://") { host_of(text) } else { host_before_colon(text) }
}

/// The host that a shell reaches by itself where it opens `/dev/tcp/HOST/PORT`.
pub(crate) fn host_of_device(target: &Word) -> Option<String> {
    let text = target.text.as_str();
    let rest = text.split_once("/dev/tcp/").or_else(|| text.split_once("/dev/udp/"))?.1;
    let host = rest.split('/').next().unwrap_or_default();
    Some(if target.hidden == Hidden::No { readable(host) } else { "*".to_owned() })
}

/// The host of `host:path` and `me@host:path`; `*` when it cannot be read. With a slash before the colon it is a path.
fn host_before_colon(text: &str) -> Option<String> {
    let (before, _) = text.split_once(':')?;
    if before.is_empty() || before.contains('/') || before.starts_with('-') {
        return None;
    }
    Some(readable(before.rsplit('@').next().unwrap_or_default()))
}

/// The host in an argument that is a URL or `user@host:path`; `*` when there is one that cannot be read.
pub(crate) fn host_of(text: &str) -> Option<String> {
    let authority = match text.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None => {
            let (before, _) = text.split_once(':')?;
            if !before.contains('@') || before.contains('/') {
                return None;
            }
            before
        }
    };
    // Some end the host at a backslash, and some do not.
    let clear = !authority.contains('\\');
    Some(if clear { readable(authority.rsplit('@').next().unwrap_or_default()) } else { "*".to_owned() })
}

/// `host` or `host:port`, in lower case; `*` is what is neither.
fn readable(host: &str) -> String {
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if plain && number { host.to_ascii_lowercase() } else { "*".to_owned() }
}

/// Signs of a file in one word that are looked behind.
const MAX_FILES: usize = 16;
/// Options of curl and wget whose value is the next word.
const WITH_A_VALUE: [&str; 30] = [
    "cacert",
    "cert",
    "connect-timeout",
    "continue-at",
    "cookie",
    "cookie-jar",
    "data",
    "data-ascii",
    "data-binary",
    "data-raw",
    "data-urlencode",
    "form",
    "form-string",
    "header",
    "json",
    "key",
    "limit-rate",
    "max-time",
    "output",
    "output-dir",
    "output-document",
    "range",
    "referer",
    "request",
    "retry",
    "retry-delay",
    "upload-file",
    "user",
    "user-agent",
    "write-out",
];
