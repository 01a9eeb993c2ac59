//! Programs that reach other hosts.

use crate::effects::{Class, Effects, How, NO_OPTIONS, Options, Reach, parse};
use crate::programs::named;
use crate::shell::Word;

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
            if more {
                effects = named(effects, args);
            }
        }
        Err(option) => {
            let hosts: Vec<String> = args.iter().filter_map(|w| host_of(&w.text)).collect();
            effects.hosts = if hosts.is_empty() { vec!["*".into()] } else { hosts };
            if args
                .iter()
                .any(|w| ["-L", "--location", "-K", "--config", "-x", "--proxy"].contains(&w.text.as_str()))
            {
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
