//! Programs that reach other hosts.

use crate::effects::{Class, Effects, How, Reach};
use crate::option_tables::{self, Line, Takes};
use crate::programs::named;
use crate::shell::{Hidden, Word};

/// Plain downloads are known by host and file; everything else passes only by a rule that names the program.
pub(crate) fn fetch(name: &str, args: &[Word]) -> Effects {
    let Some(table) = option_tables::table(name) else { return named(Effects::unknown("a download"), args) };
    let line = table.read(args);
    let curl = name == "curl";
    let mut effects = Effects::none();
    let mut hosts: Vec<String> = Vec::new();
    let mut urls: Vec<&str> = line.operands.iter().map(|word| word.text.as_str()).collect();
    let folders: Vec<&Word> = line
        .options
        .iter()
        .filter(|option| ["P", "directory-prefix", "output-dir"].contains(&option.name.as_str()))
        .filter_map(|option| option.value.as_ref())
        .collect();
    let beneath =
        |folder: &Word, file: &str| Word { text: format!("{}/{file}", folder.text), ..folder.clone() };
    let mut more = line
        .options
        .iter()
        .any(|option| !PLAIN.contains(&option.name.as_str()))
        .then_some("sends more than a plain request");
    for option in &line.options {
        let value = option.value.as_ref();
        let text = value.map_or("", |word| word.text.as_str());
        match option.takes {
            Takes::Nothing | Takes::Text | Takes::Joined => {}
            Takes::Anywhere => hosts.push("*".into()),
            // Addresses in a file.
            Takes::Host if text.starts_with('@') => hosts.push("*".into()),
            Takes::Host => {
                hosts.push(host_of_url(text));
                urls.extend((option.name == "url").then_some(text));
            }
            Takes::Elsewhere => hosts.extend([host_of_url(text), "*".into()]),
            Takes::Settings => {
                hosts.push("*".into());
                // What it was told of addresses it keeps there.
                let how = if option.name == "alt-svc" { How::Write } else { How::Named };
                value.into_iter().for_each(|w| effects.touch(how, w, Reach::This));
            }
            Takes::Reads => value.into_iter().for_each(|w| effects.touch(How::Named, w, Reach::This)),
            Takes::Data if text.starts_with('@') || text.contains("%output") => {
                more = Some("reads or writes a file that an option names");
                for rest in text.split("%output{").skip(1) {
                    let file = rest.split('}').next().unwrap_or_default().trim_start_matches('>');
                    effects.touch(How::Write, &Word::literal(file), Reach::This);
                }
            }
            Takes::Data => {}
            // What stands between braces in a URL becomes part of the name.
            Takes::Writes if curl && text.contains('#') => more = Some("writes a file that the URL names"),
            Takes::Writes => {
                value.into_iter().for_each(|w| effects.touch(How::Write, w, Reach::This));
                if curl && ["o", "output"].contains(&option.name.as_str()) {
                    folders.iter().for_each(|f| effects.touch(How::Write, &beneath(f, text), Reach::This));
                }
            }
            Takes::Runs if is_harmless_command(text) => {}
            Takes::Runs => {
                hosts.push("*".into());
                let why = format!("`{name}` with the option `{}` may run a program", option.name);
                effects.class = Class::Unclear(why);
            }
        }
    }
    let saves = match curl {
        true => line.has(&["O", "remote-name", "remote-name-all"]),
        false => !line.has(&["O", "output-document"]),
    };
    for url in urls {
        if url_with_scheme(url).split("://").next().is_none_or(|s| !["http", "https"].contains(&s)) {
            effects.class = Class::Unknown(format!("`{name}` of `{url}`"));
        }
        hosts.push(host_of_url(url));
        // A set of them, each with a name of its own.
        if saves && curl && url.contains(['{', '[']) {
            more = Some("writes files that the URL names");
            effects.touch(How::Write, &Word { glob: true, ..Word::literal("*") }, Reach::This);
        } else if saves {
            let file = saved_as(url, curl);
            effects.touch(How::Write, &Word::literal(&file), Reach::This);
            folders.iter().for_each(|f| effects.touch(How::Write, &beneath(f, &file), Reach::This));
        }
    }
    if let Some(option) = &line.unknown {
        hosts.push("*".into());
        if effects.class == Class::Known {
            effects.class = Class::Arbitrary(format!("the option `{option}` of `{name}` is not known"));
        }
    }
    let why = more.or((!curl).then_some("follows links to other hosts"));
    if let Some(why) = why.filter(|_| effects.class == Class::Known) {
        effects.class = Class::Arbitrary(format!("`{name}` {why}"));
    }
    if more.is_some()
        || line.unknown.is_some()
        || !matches!(effects.class, Class::Known | Class::Arbitrary(_))
    {
        effects = named(effects, args);
    }
    if effects.class != Class::Known {
        option_files(args).iter().for_each(|file| effects.touch(How::Named, file, Reach::This));
    }
    // Addresses in what is sent are only text, where it is known which words are sent.
    match line.unknown {
        Some(_) => effects.hosts.extend(hosts),
        None => effects.hosts = hosts,
    }
    effects
}

/// The name of the file in which a download is kept that is told none. curl takes no notice of a query, and wget keeps it.
fn saved_as(url: &str, curl: bool) -> String {
    let whole = url_with_scheme(url);
    let rest = whole.split_once("://").map_or("", |(_, rest)| rest);
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (place, query) = rest.split_at(end);
    let path = place.split_once('/').map_or("", |(_, path)| path);
    if curl {
        let file = path.trim_end_matches('/').rsplit('/').next().filter(|file| !file.is_empty());
        return file.unwrap_or("curl_response").to_owned();
    }
    let file = path.rsplit('/').next().filter(|file| !file.is_empty()).unwrap_or("index.html");
    let query = query.split('#').next().unwrap_or_default();
    format!("{}{query}", decoded(file))
}

/// With the letters and signs that `%2e` and its like stand for.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|byte| byte.is_ascii_graphic() && *byte != b'/') {
            Some(byte) => {
                all.push(char::from(byte));
                all.push_str(&part[2..]);
            }
            None => {
                all.push('%');
                all.push_str(part);
            }
        }
    }
    all
}

/// Whether a command of wget's settings only says how it behaves: `robots=off`.
fn is_harmless_command(text: &str) -> bool {
    let name = text.split_once('=').map(|(name, _)| name.trim().to_ascii_lowercase());
    name.is_some_and(|name| {
        ["robots", "tries", "timeout", "wait", "quiet", "verbose"].contains(&name.as_str())
    })
}

/// Files within the options of a download: a value that begins with `@`, or is joined to its letter.
fn option_files(args: &[Word]) -> Vec<Word> {
    let mut texts = Vec::new();
    for word in args {
        let text = word.text.as_str();
        let letters = text.strip_prefix('-').filter(|rest| !rest.starts_with('-')).unwrap_or_default();
        // Whichever of them is the one that has the value.
        texts.extend(letters.char_indices().skip(1).take(MAX_FILES).filter_map(|(at, _)| letters.get(at..)));
        for (at, _) in text.match_indices(['@', '<']).take(MAX_FILES) {
            // `@a,b` are two files.
            texts.extend(text[at + 1..].split([';', ',']).take(MAX_FILES).filter(|file| !file.is_empty()));
        }
    }
    texts.into_iter().map(Word::literal).collect()
}

/// The host of what a download takes for an address; `*` where it cannot be read.
pub(crate) fn host_of_url(text: &str) -> String {
    host_of(&url_with_scheme(text)).unwrap_or_else(|| "*".into())
}

fn url_with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// Programs that reach a host with a protocol of their own.
pub(crate) const REMOTE: [&str; 15] = [
    "ssh",
    "scp",
    "sftp",
    "rsync",
    "nc",
    "netcat",
    "nc.openbsd",
    "nc.traditional",
    "ncat",
    "ftp",
    "telnet",
    "ping",
    "dig",
    "nslookup",
    "host",
];

/// Programs that reach a host and may run something there or here.
pub(crate) fn remote(name: &str, args: &[Word]) -> Effects {
    let mut written: Vec<Word> = Vec::new();
    let (mut hosts, why) = match option_tables::table(name) {
        None => (any_word(args, name == "dig"), None),
        Some(table) => {
            let line = table.read(args);
            let mut hosts = match name {
                "ssh" | "sftp" => {
                    line.operands.first().map(|word| bare_host(&word.text)).into_iter().collect()
                }
                "scp" | "rsync" => line.operands.iter().filter_map(|w| host_in(&w.text)).collect(),
                // Which word is an option's value is theirs to know: each may be the host.
                _ => any_word(args, false),
            };
            let mut why = options_lead(name, &line, &mut hosts);
            if why.is_none() && name != "ncat" && name.starts_with('n') {
                // There are many of that name, and to some of them what stands before it takes no value.
                let runs = |w: &&Word| w.text.starts_with("-e") || w.text.starts_with("-c");
                why = args.iter().find(runs).map(|w| format!("`{name} {}` may run a program", w.text));
            }
            written = copied(name, &line);
            let files = line.options.into_iter().filter(|option| option.takes == Takes::Writes);
            written.extend(files.filter_map(|option| option.value));
            (hosts, why)
        }
    };
    let effects = match why {
        None => Effects::arbitrary(format!("`{name}` reaches another host")),
        Some(why) => Effects::unknown(why),
    };
    let mut effects = named(effects, args);
    for file in &written {
        effects.touch(How::Write, file, Reach::This);
    }
    hosts.sort();
    hosts.dedup();
    effects.hosts = hosts;
    effects
}

/// What a program that copies writes on this machine: its target, and what is named in one that is a folder.
fn copied(name: &str, line: &Line) -> Vec<Word> {
    let here = Word::literal(".");
    let (target, sources) = match (name, line.operands.as_slice()) {
        ("scp" | "rsync", [sources @ .., target]) if !sources.is_empty() => (*target, sources),
        ("sftp", [source]) if host_in(&source.text).is_some() => (&here, std::slice::from_ref(source)),
        ("sftp", [source, target]) => (*target, std::slice::from_ref(source)),
        _ => return Vec::new(),
    };
    // What is moved away is written, too.
    let moved = sources.iter().filter(|_| line.has(&["remove-source-files"])).map(|word| (*word).clone());
    let mut written: Vec<Word> = moved.filter(|word| host_in(&word.text).is_none()).collect();
    if host_in(&target.text).is_some() {
        return written;
    }
    written.push(target.clone());
    for source in sources {
        let last = source.text.rsplit(['/', ':']).next().unwrap_or_default();
        if !["", ".", ".."].contains(&last) {
            let text = format!("{}/{last}", target.text.trim_end_matches('/'));
            written.push(Word { text, glob: target.glob || source.glob, ..target.clone() });
        }
    }
    written
}

/// Adds the hosts to which options lead. Says why one of them may run a program here.
fn options_lead(name: &str, line: &Line, hosts: &mut Vec<String>) -> Option<String> {
    let mut why =
        line.unknown.as_ref().map(|option| format!("the option `{option}` of `{name}` is not known"));
    for option in &line.options {
        let text = option.value.as_ref().map_or("", |word| word.text.as_str());
        let runs = match option.takes {
            Takes::Nothing | Takes::Text | Takes::Joined | Takes::Writes => false,
            Takes::Data => match setting_of_ssh(text) {
                Setting::Harmless => false,
                Setting::Leads(host) => {
                    hosts.extend(host);
                    hosts.push("*".to_owned());
                    false
                }
                Setting::Runs => true,
            },
            Takes::Reads => {
                hosts.extend(host_in(text));
                false
            }
            Takes::Host => {
                hosts.push(bare_host(text));
                false
            }
            Takes::Anywhere | Takes::Elsewhere | Takes::Settings => {
                hosts.extend((!text.is_empty()).then(|| bare_host(text)));
                hosts.push("*".to_owned());
                false
            }
            Takes::Runs => {
                name != "rsync" || !["e", "rsh"].contains(&option.name.as_str()) || !is_plain_ssh(text)
            }
        };
        if runs {
            why = Some(format!("`{name} {}{} {text}` may run a program", dash(&option.name), option.name));
        }
    }
    if why.is_some() {
        hosts.push("*".to_owned());
    }
    why
}

fn dash(name: &str) -> &'static str {
    if name.len() == 1 { "-" } else { "--" }
}

/// Whether rsync is only told of ssh what it does by itself: `ssh`, `ssh -p 2222`.
fn is_plain_ssh(text: &str) -> bool {
    let words: Vec<Word> = text.split_whitespace().map(Word::literal).collect();
    let Some((program, args)) = words.split_first() else { return false };
    let line = option_tables::table("ssh").map(|table| table.read(args)).unwrap_or_default();
    let plain = line.options.iter().all(|option| match option.takes {
        Takes::Nothing | Takes::Text => true,
        Takes::Data => {
            let text = option.value.as_ref().map_or("", |word| word.text.as_str());
            matches!(setting_of_ssh(text), Setting::Harmless)
        }
        _ => false,
    });
    let plain_text = !text.contains(['\'', '"', '\\']);
    program.text == "ssh" && plain && plain_text && line.operands.is_empty() && line.unknown.is_none()
}

/// What `-o NAME=VALUE` of ssh means to us.
enum Setting {
    Harmless,
    /// It leads to this host, or to one that is not seen.
    Leads(Option<String>),
    Runs,
}

fn setting_of_ssh(text: &str) -> Setting {
    // What stands before it is passed over, and it may stand in quotes.
    let between = |c: char| c == '=' || c == '"' || c.is_whitespace();
    let text = text.trim_start_matches(between);
    let (name, value) = text.split_once(between).unwrap_or((text, ""));
    let name = name.to_ascii_lowercase();
    let value = value.trim_matches(between);
    match name.as_str() {
        "hostname" | "proxyjump" => Setting::Leads(Some(bare_host(value))),
        name if SSH_RUNS.contains(&name) => Setting::Runs,
        name if SSH_HARMLESS.contains(&name) => Setting::Harmless,
        // Whatever such a one is read as.
        name if !name.bytes().all(|b| b.is_ascii_alphanumeric()) => Setting::Runs,
        _ => Setting::Leads(None),
    }
}

/// Every word that may be a host, also one that is joined to an option's letter. `from_files`: `-f` names a file of them.
fn any_word(args: &[Word], from_files: bool) -> Vec<String> {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let mut hosts = Vec::new();
    for text in args.iter().map(|word| word.text.as_str()) {
        match text.strip_prefix(['-', '+']) {
            None if !number(text) => hosts.push(bare_host(text)),
            None => {}
            Some(option) => {
                let mut after = option.chars();
                let joined = after.next().map_or("", |_| after.as_str());
                let names_one =
                    joined.contains(['.', ':', '@']) && joined.contains(|c: char| c.is_alphabetic());
                hosts.extend((text.starts_with('-') && names_one).then(|| bare_host(joined)));
                if from_files && text.starts_with("-f") {
                    hosts.push("*".to_owned());
                }
            }
        }
    }
    hosts
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
/// Options of a download that send nothing but a plain request.
const PLAIN: [&str; 21] = [
    "s",
    "S",
    "f",
    "I",
    "i",
    "v",
    "g",
    "O",
    "A",
    "m",
    "e",
    "w",
    "o",
    "silent",
    "show-error",
    "fail",
    "head",
    "include",
    "max-time",
    "user-agent",
    "output",
];
/// Settings of ssh that run a program of this machine, or load a library.
const SSH_RUNS: [&str; 9] = [
    "proxycommand",
    "localcommand",
    "permitlocalcommand",
    "knownhostscommand",
    "pkcs11provider",
    "securitykeyprovider",
    "xauthlocation",
    "include",
    "match",
];
/// Settings of ssh that lead nowhere else and run nothing here.
const SSH_HARMLESS: [&str; 45] = [
    "addkeystoagent",
    "addressfamily",
    "batchmode",
    "bindaddress",
    "bindinterface",
    "checkhostip",
    "ciphers",
    "clearallforwardings",
    "compression",
    "connectionattempts",
    "connecttimeout",
    "controlmaster",
    "controlpersist",
    "exitonforwardfailure",
    "forwardagent",
    "forwardx11",
    "globalknownhostsfile",
    "gssapiauthentication",
    "hashknownhosts",
    "hostkeyalgorithms",
    "identitiesonly",
    "identityfile",
    "ipqos",
    "kbdinteractiveauthentication",
    "kexalgorithms",
    "loglevel",
    "macs",
    "nohostauthenticationforlocalhost",
    "numberofpasswordprompts",
    "passwordauthentication",
    "port",
    "preferredauthentications",
    "pubkeyacceptedalgorithms",
    "pubkeyacceptedkeytypes",
    "pubkeyauthentication",
    "rekeylimit",
    "requesttty",
    "serveralivecountmax",
    "serveraliveinterval",
    "stricthostkeychecking",
    "tcpkeepalive",
    "updatehostkeys",
    "user",
    "userknownhostsfile",
    "verifyhostkeydns",
];
