//! The remotes that git talks to, as its words and the settings of a repository name them.

use crate::git_config::{Setting, each_setting};
use crate::network::host_in;
use crate::shell::Word;

/// Where git would go when it talks to a remote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contacts {
    /// The hosts of the addresses that it would use; `*` where one cannot be seen.
    pub hosts: Vec<String>,
    /// A setting that leads what is sent elsewhere, or changes how it is told who receives it.
    pub suspect: Option<String>,
}

/// Where git goes that talks to `remote`, by the texts of a repository's configuration files. An empty remote is one that
/// they name, whichever.
pub fn contacts(texts: &[String], remote: &str, push: bool) -> Contacts {
    let mut addresses = Addresses::default();
    let mut found = Contacts::default();
    for text in texts {
        let parsed = each_setting(text, |setting| {
            addresses.keep(setting);
            if leads_away(setting) {
                found.suspect.get_or_insert_with(|| format!("`{}`", setting.shown()));
            }
            // Where files that are kept apart go.
            if matches!(
                (setting.section.as_str(), setting.name.as_str()),
                ("lfs", "url" | "pushurl") | ("remote", "lfsurl" | "lfspushurl")
            ) && found.hosts.len() < MAX_ADDRESSES
            {
                found.hosts.extend(host_of_remote(&setting.value));
            }
            // What stands in that file is not seen.
            if setting.section.starts_with("include") {
                found.hosts.push("*".to_owned());
            }
        });
        if parsed.is_err() {
            found.hosts.push("*".to_owned());
            found.suspect.get_or_insert_with(|| "its settings are not understood".to_owned());
        }
    }
    if addresses.too_many() {
        found.hosts.push("*".to_owned());
        found.suspect.get_or_insert_with(|| TOO_MANY.to_owned());
        addresses = Addresses::default();
    }
    for (url, pushes) in addresses.of(remote, push) {
        let led = addresses.rewritten(url, pushes);
        let written = host_of_remote(url);
        if led.iter().any(|(url, _)| host_of_remote(url) != written)
            && let Some((_, base)) = led.first()
        {
            found.suspect.get_or_insert_with(|| format!("`url.{base}.insteadof`"));
        }
        let used: Vec<&str> =
            if led.is_empty() { vec![url] } else { led.iter().map(|(url, _)| url.as_str()).collect() };
        found.hosts.extend(used.into_iter().filter_map(host_of_remote));
    }
    found.hosts.sort();
    found.hosts.dedup();
    found
}

/// Whether `NAME=VALUE` of git's settings may change where it goes: as it is written behind `-c` or `git config`.
pub(crate) fn routes(setting: &str) -> bool {
    let name = setting.split('=').next().unwrap_or_default().to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    match name.split('.').next().unwrap_or_default() {
        "http" | "https" => !HTTP_HARMLESS.contains(&last),
        "url" | "include" | "includeif" | "ssh" => name.contains('.'),
        "remote" | "submodule" => ["url", "pushurl", "proxy", "vcs", "pushdefault"].contains(&last),
        "branch" => ["remote", "pushremote"].contains(&last),
        "core" => ["sshcommand", "gitproxy", "askpass"].contains(&last),
        "credential" => last == "helper",
        _ => false,
    }
}

/// What the settings say of addresses.
#[derive(Default)]
struct Addresses {
    /// The name of a remote, an address, and whether it is for pushes alone.
    of_remotes: Vec<(String, String, bool)>,
    /// What git talks to where nothing is named: names of remotes, or addresses.
    unnamed: Vec<String>,
    /// What an address that begins with the second is to begin with instead, and whether for pushes alone.
    instead: Vec<(String, String, bool)>,
    /// Bytes of them all.
    size: usize,
}

impl Addresses {
    /// Whether there are more than are held against each other.
    fn too_many(&self) -> bool {
        let all = self.of_remotes.len() + self.unnamed.len() + self.instead.len();
        all > MAX_ADDRESSES || self.size > MAX_SIZE
    }

    fn keep(&mut self, setting: &Setting) {
        if self.too_many() {
            return;
        }
        let before = (self.of_remotes.len(), self.unnamed.len(), self.instead.len());
        self.keep_one(setting);
        if before != (self.of_remotes.len(), self.unnamed.len(), self.instead.len()) {
            self.size += setting.sub.as_ref().map_or(0, String::len) + setting.value.len();
        }
    }

    fn keep_one(&mut self, setting: &Setting) {
        match (setting.section.as_str(), setting.name.as_str()) {
            ("branch", "remote" | "pushremote") | ("remote", "pushdefault") => {
                self.unnamed.push(setting.value.clone());
            }
            _ => {}
        }
        let Some(sub) = &setting.sub else { return };
        let entry = |only: bool| (sub.clone(), setting.value.clone(), only);
        match (setting.section.as_str(), setting.name.as_str()) {
            ("remote", "url") | ("submodule", "url") => self.of_remotes.push(entry(false)),
            ("remote", "pushurl") => self.of_remotes.push(entry(true)),
            ("url", "insteadof") => self.instead.push(entry(false)),
            ("url", "pushinsteadof") => self.instead.push(entry(true)),
            _ => {}
        }
    }

    /// The addresses of a remote as they are written, and whether what replaces for pushes counts.
    fn of<'a>(&'a self, remote: &'a str, push: bool) -> Vec<(&'a str, bool)> {
        let known = self.of_remotes.iter().any(|(name, _, _)| name == remote);
        if !known && (remote.contains([':', '/']) || [".", ".."].contains(&remote)) {
            return vec![(remote, push)];
        }
        // Neither a remote nor an address: none was named, or a group of them.
        let fits = |name: &str| !known || name == remote;
        let own = |name: &str| push && self.of_remotes.iter().any(|(other, _, only)| *only && other == name);
        let all = self.of_remotes.iter().filter(|(name, _, only)| fits(name) && *only == own(name));
        // A word that is neither may stand for an address, too.
        let words = self.unnamed.iter().filter(|_| remote.is_empty()).map(String::as_str);
        let words = words.chain((!known && !remote.is_empty()).then_some(remote));
        let is_remote = |word: &str| self.of_remotes.iter().any(|(name, _, _)| name == word);
        all.map(|(_, url, only)| (url.as_str(), push && !only))
            .chain(words.filter(|word| !is_remote(word)).map(|word| (word, push)))
            .collect()
    }

    /// The addresses that git makes of one, with what each begins with then. None: it is used as it is written.
    fn rewritten<'a>(&'a self, url: &str, pushes: bool) -> Vec<(String, &'a str)> {
        let longest = |only: bool| {
            let fits =
                || self.instead.iter().filter(move |(_, old, o)| *o == only && url.starts_with(old.as_str()));
            let length = fits().map(|(_, old, _)| old.len()).max();
            fits()
                .filter(|(_, old, _)| Some(old.len()) == length)
                .map(|(base, old, _)| (format!("{base}{}", &url[old.len()..]), base.as_str()))
                .collect::<Vec<_>>()
        };
        let for_pushes = if pushes { longest(true) } else { Vec::new() };
        if for_pushes.is_empty() { longest(false) } else { for_pushes }
    }
}

/// The host of an address as git reads it; `None`: it is a path of this machine.
fn host_of_remote(url: &str) -> Option<String> {
    // A program of this machine that has the name before it, and an address that is that program's to read.
    let by_program = url.split_once("::").is_some_and(|(program, _)| !program.contains(['/', ':']));
    if by_program {
        return Some("*".to_owned());
    }
    if url.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("file")) {
        return None;
    }
    host_in(url)
}

/// Whether a setting leads what git sends elsewhere, gives it more to send, or changes how the other end is verified.
fn leads_away(setting: &Setting) -> bool {
    let (name, value) = (setting.name.as_str(), setting.value.as_str());
    let is_on = ["true", "yes", "on", "1"].iter().any(|word| value.eq_ignore_ascii_case(word));
    match setting.section.as_str() {
        "http" | "https" => !(HTTP_HARMLESS.contains(&name) || name == "sslverify" && is_on),
        "core" => ["sshcommand", "gitproxy", "askpass"].contains(&name),
        "credential" => !["username", "usehttppath", "interactive"].contains(&name),
        "ssh" | "include" | "includeif" => true,
        "remote" => ["proxy", "proxyauthmethod", "uploadpack", "receivepack", "vcs"].contains(&name),
        _ => false,
    }
}

/// Why a push to `remote` may run programs that stand in a repository at hand: the one that receives runs hooks of its own.
/// `texts` are the configuration files of the repository that pushes; an empty remote is the one that they name. `None`:
/// whoever receives is another machine.
pub fn suspect_remote(texts: &[String], remote: &str) -> Option<String> {
    let mut names = Vec::new();
    let mut near = None;
    let mut wanted = Vec::new();
    let mut size = 0_usize;
    for text in texts {
        let parsed = each_setting(text, |setting| {
            if names.len() + wanted.len() > MAX_ADDRESSES || size > MAX_SIZE {
                near.get_or_insert_with(String::new);
                return;
            }
            if ["remote", "branch"].contains(&setting.section.as_str()) {
                size += setting.sub.as_ref().map_or(0, String::len) + setting.value.len();
            }
            let (name, value) = (setting.name.as_str(), setting.value.as_str());
            let fits = match (setting.section.as_str(), setting.sub.as_deref()) {
                ("remote", Some(sub)) if name == "url" || name == "pushurl" => {
                    names.push(sub.to_owned());
                    is_elsewhere(value)
                }
                // What an address begins with is replaced by the name of the part.
                ("url", Some(base)) if name == "insteadof" || name == "pushinsteadof" => is_base(base),
                ("branch", Some(_)) if name == "remote" || name == "pushremote" => {
                    wanted.push(value.to_owned());
                    true
                }
                ("remote", None) if name == "pushdefault" => {
                    wanted.push(value.to_owned());
                    true
                }
                // Submodules have remotes and hooks of their own.
                ("push", None) if name == "recursesubmodules" => ["no", "check"].contains(&value),
                ("submodule", None) if name == "recurse" => ["false", "no", "off", "0"].contains(&value),
                _ => true,
            };
            if !fits && near.is_none() {
                near = Some(setting.shown());
            }
        });
        if parsed.is_err() {
            return Some("its settings are not understood".to_owned());
        }
    }
    if near.as_ref().is_some_and(String::is_empty) {
        return Some(TOO_MANY.to_owned());
    }
    if let Some(setting) = near {
        return Some(format!("`{setting}` leads to a repository on this machine"));
    }
    if remote.is_empty() {
        wanted.push("origin".to_owned());
    } else {
        wanted = vec![remote.to_owned()];
    }
    let unseen = |name: &&String| !names.contains(name) && !is_elsewhere(name);
    wanted.iter().find(unseen).map(|name| format!("`{name}` is no remote on another machine"))
}

/// The word that names the remote of `fetch`, `pull` and `push`: the first that is neither an option nor the value of one.
pub(crate) fn remote<'a>(name: &str, rest: &'a [Word]) -> Option<&'a str> {
    let mut words = rest.iter().map(|word| word.text.as_str());
    let mut repo = None;
    while let Some(text) = words.next() {
        if text == "--" {
            return words.next().or(repo);
        }
        if let Some(value) = text.strip_prefix("--repo=") {
            repo = Some(value);
        } else if text == "--repo" {
            repo = words.next();
        } else if takes_the_next(name, text) {
            words.next();
        } else if !text.starts_with('-') || text == "-" {
            return Some(text);
        }
    }
    repo
}

/// Whether an address is certainly a path of this machine. A plain name may be a remote's.
pub(crate) fn is_path(text: &str) -> bool {
    text.starts_with("file:") || [".", ".."].contains(&text) || (text.contains('/') && !is_elsewhere(text))
}

/// Whether an address is of a machine that is reached by its name, in a protocol that git speaks itself.
pub(crate) fn is_elsewhere(url: &str) -> bool {
    match url.split_once("://") {
        Some((scheme, rest)) => SCHEMES.contains(&scheme) && !rest.is_empty(),
        // As git reads it: with a slash first it is a path.
        None => url
            .split_once(':')
            .is_some_and(|(host, path)| !host.is_empty() && !host.contains('/') && !path.starts_with(':')),
    }
}

/// Whether whatever begins with this is elsewhere.
fn is_base(base: &str) -> bool {
    let names_a_host = |host: &str| host.contains(['@', '.']) && !host.starts_with(['.', '/']);
    is_elsewhere(base) && (base.contains("://") || base.split_once(':').is_some_and(|(h, _)| names_a_host(h)))
}

fn takes_the_next(name: &str, option: &str) -> bool {
    let of_push: &[&str] = &["--push-option", "--recurse-submodules"];
    let of_fetch: &[&str] = &[
        "--depth",
        "--deepen",
        "--shallow-since",
        "--shallow-exclude",
        "--jobs",
        "--server-option",
        "--refmap",
        "--negotiation-tip",
        "--filter",
        "--strategy",
        "--strategy-option",
        "--cleanup",
    ];
    let (long, short) = if name == "push" { (of_push, "o") } else { (of_fetch, "josX") };
    match option.strip_prefix("--") {
        Some(_) => option.len() > 4 && long.iter().any(|l| l.starts_with(option)),
        None => option.strip_prefix('-').is_some_and(|letters| {
            letters.find(|c| short.contains(c)).is_some_and(|at| at + 1 == letters.len())
        }),
    }
}

const TOO_MANY: &str = "it names more remotes than can be looked at";
/// Remotes, and what replaces their addresses, that are looked at: each is held against each.
const MAX_ADDRESSES: usize = 1_000;
/// Bytes of those.
const MAX_SIZE: usize = 4 << 20;
/// Settings of HTTP that change how much is sent at once, and nothing of what or where.
const HTTP_HARMLESS: [&str; 11] = [
    "postbuffer",
    "lowspeedlimit",
    "lowspeedtime",
    "version",
    "maxrequests",
    "minsessions",
    "useragent",
    "noepsv",
    "keepaliveidle",
    "keepaliveinterval",
    "keepalivecount",
];
const SCHEMES: [&str; 8] = ["https", "http", "ssh", "git", "git+ssh", "ssh+git", "ftps", "ftp"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_to_a_repository_at_hand_is_told() {
        let settings = |more: &str| {
            vec![format!(
                "[remote \"origin\"]\n\turl = git@example.org:a/b.git\n[branch \"x\"] remote = origin\n{more}"
            )]
        };
        for (more, remote) in [
            ("", "origin"),
            ("", ""),
            ("", "https://example.org/a.git"),
            ("", "ssh://git@example.org:22/a.git"),
            ("", "example.org:a.git"),
            ("[remote \"up\"] url = https://example.org/u\npushurl = me@example.org:u", "up"),
            ("[url \"git@example.org:\"] insteadOf = https://example.org/", "origin"),
            ("[branch \"local\"] remote = .", "origin"),
            ("[push] recurseSubmodules = check", "origin"),
        ] {
            assert_eq!(suspect_remote(&settings(more), remote), None, "{more} {remote}");
        }
        for (more, remote) in [
            ("", "evil"),
            ("", "./evil.git"),
            ("", "/w/evil.git"),
            ("", "file:///w/evil.git"),
            ("", "ext::sh -c touch"),
            ("", "HTTPS://example.org/a"),
            ("", "."),
            ("[remote \"origin\"] pushurl = ../evil.git", "origin"),
            ("[remote \"up\"] url = evil.git", "up"),
            ("[url \"./evil\"] pushInsteadOf = git@example.org:a/b", "origin"),
            ("[url \"file:\"] insteadOf = git@example.org:", "origin"),
            ("[url \"\"] insteadOf = git@example.org:", "origin"),
            ("[branch \"x\"] pushRemote = ./evil.git", ""),
            ("[remote] pushDefault = evil", ""),
            ("[submodule] recurse", "origin"),
            ("[push] recurseSubmodules = on-demand", "origin"),
            ("not a setting", "origin"),
        ] {
            assert!(suspect_remote(&settings(more), remote).is_some(), "{more} {remote}");
        }
        assert!(suspect_remote(&[], "").is_some());
    }

    #[test]
    fn the_hosts_are_those_of_the_addresses_that_git_would_use() {
        let text = "[remote \"origin\"]\n\turl = git@good.example:a/b.git\n[remote \"both\"] url = https://a.example/x\n\
                    pushurl = https://b.example:8443/x\n[remote \"path\"] url = ../x\n[remote \"ext\"] url = ext::sh -c x\n\
                    [remote \"helped\"] url = http::https://c.example/\n[user] name = a\n[http] postBuffer = 1\n\
                    [http \"https://good.example\"] sslVerify = true\n[branch \"x\"] remote = origin\n";
        let to = |more: &str, remote: &str, push| contacts(&[format!("{text}{more}")], remote, push);
        for (more, remote, push, hosts) in [
            ("", "origin", true, &["good.example"][..]),
            ("", "both", false, &["a.example"]),
            ("", "both", true, &["b.example:8443"]),
            ("", "path", true, &[]),
            ("", "ext", true, &["*"]),
            ("", "helped", false, &["*"]),
            ("", "", false, &["*", "a.example", "good.example"]),
            ("", "https://d.example/x", true, &["d.example"]),
            ("", "me@d.example:x", true, &["d.example"]),
            ("", "./x", true, &[]),
            ("", ".", false, &[]),
            ("[remotes] group = origin both", "group", false, &["*", "a.example", "good.example"]),
            ("[remote \"origin\"] url = https://e.example/", "origin", true, &["e.example", "good.example"]),
        ] {
            let got = to(more, remote, push);
            assert_eq!(
                (got.hosts, got.suspect),
                (hosts.iter().map(|h| (*h).to_owned()).collect(), None),
                "{more} {remote}"
            );
        }
        let led = |more: &str, remote: &str, push, host: &str, setting: &str| {
            let got = to(more, remote, push);
            assert_eq!((got.hosts, got.suspect), (vec![host.to_owned()], Some(setting.to_owned())), "{more}");
        };
        let instead = "[url \"https://evil.example/\"] insteadOf = git@good.example:";
        led(instead, "origin", true, "evil.example", "`url.https://evil.example/.insteadof`");
        led(instead, "git@good.example:c", false, "evil.example", "`url.https://evil.example/.insteadof`");
        let pushes = "[url \"evil.example:\"] pushInsteadOf = git@good.example:";
        led(pushes, "origin", true, "evil.example", "`url.evil.example:.insteadof`");
        assert_eq!(to(pushes, "origin", false).suspect, None);
        // Not for an address that is for pushes alone.
        let for_both = "[url \"evil.example:\"] pushInsteadOf = https://b.example";
        assert_eq!(to(for_both, "both", true).hosts, ["b.example:8443"]);
        // An address in the place of a remote's name, and a word that stands for one.
        for setting in ["[branch \"y\"] remote", "[branch \"y\"] pushRemote", "[remote] pushDefault"] {
            let got = to(&format!("{setting} = https://evil.example/x"), "", true);
            assert!(got.hosts.contains(&"evil.example".to_owned()), "{setting}: {:?}", got.hosts);
            assert_eq!(
                to(&format!("{setting} = https://evil.example/x"), "origin", true).hosts,
                ["good.example"]
            );
            assert_eq!(to(&format!("{setting} = both"), "both", true).hosts, ["b.example:8443"]);
        }
        let short = to("[url \"https://evil.example/\"] insteadOf = sho", "short", false);
        assert!(short.hosts.contains(&"evil.example".to_owned()), "{:?}", short.hosts);
        assert_eq!(short.suspect.as_deref(), Some("`url.https://evil.example/.insteadof`"));
        let longer = "[url \"x.example:\"] insteadOf = git@good\n[url \"evil.example:\"] insteadOf = git@good.example:a";
        led(longer, "origin", true, "evil.example", "`url.evil.example:.insteadof`");
        let same = "[url \"https://good.example/\"] insteadOf = git@good.example:";
        assert_eq!(to(same, "origin", true).suspect, None);
        for setting in [
            "http.proxy=x",
            "http.sslverify=false",
            "http.sslcainfo=x",
            "http.extraheader=x",
            "http.cookiefile=x",
            "http.curloptresolve=x",
            "core.sshcommand=x",
            "core.askpass=x",
            "core.gitproxy=x",
            "credential.helper=x",
            "include.path=x",
            "ssh.variant=simple",
        ] {
            let (section, rest) = setting.split_once('.').unwrap();
            let got = to(&format!("[{section}]\n{rest}\n"), "origin", true);
            let name = rest.split('=').next().unwrap();
            assert_eq!(got.suspect, Some(format!("`{section}.{name}`")), "{setting}");
            assert_eq!(got.hosts.contains(&"*".to_owned()), section == "include", "{setting}");
        }
        for (more, setting) in [
            ("[http \"https://good.example\"] proxy = x", "`http.https://good.example.proxy`"),
            ("[remote \"origin\"] proxy = x", "`remote.origin.proxy`"),
            ("[includeIf \"gitdir:/\"] path = x", "`includeif.gitdir:/.path`"),
        ] {
            assert_eq!(to(more, "origin", true).suspect.as_deref(), Some(setting));
        }
        assert_eq!(to("not a setting", "origin", true).hosts, ["*", "good.example"]);
    }

    /// Many remotes, or a long name with many settings: each held against each, or copied for each, is the work of minutes.
    #[test]
    fn more_remotes_than_can_be_looked_at_are_not() {
        let many = |line: &dyn Fn(usize) -> String| vec![(0..40_000).map(line).collect::<String>()];
        let long = "x".repeat(500_000);
        for texts in [
            many(&|i| format!("[remote \"{i}\"]\npushurl=h{i}:x\n")),
            many(&|i| format!("[url \"h{i}:\"]\ninsteadOf=g{i}:\n[remote \"{i}\"]\nurl=g{i}:x\n")),
            many(&|i| format!("[branch \"{i}\"]\nremote=h{i}:x\n")),
            vec![format!("[remote \"{long}\"]\n{}", "url=h:x\n".repeat(50_000))],
        ] {
            let got = contacts(&texts, "", true);
            assert_eq!(got.hosts, ["*"]);
            assert_eq!(got.suspect.as_deref(), Some(TOO_MANY));
            assert!(suspect_remote(&texts, "h:x").is_some());
        }
        let texts = vec![format!("[x \"{long}\"]\n{}[remote \"o\"]\nurl=h:x\n", "a\n".repeat(150_000))];
        assert_eq!(contacts(&texts, "o", true).hosts, ["h"]);
    }

    #[test]
    fn where_large_files_go_is_seen() {
        let text =
            "[remote \"o\"]\nurl=h.example:x\nlfsurl=https://a.example/x\n[lfs]\nurl=https://b.example/y\n";
        assert_eq!(contacts(&[text.to_owned()], "o", true).hosts, ["a.example", "b.example", "h.example"]);
    }

    #[test]
    fn the_word_that_names_the_remote_is_found() {
        for (line, want) in [
            ("push", None),
            ("push -u origin x:y", Some("origin")),
            ("push --force -o ci.skip origin HEAD:x", Some("origin")),
            ("push -qo ci.skip origin", Some("origin")),
            ("push -oci.skip origin", Some("origin")),
            ("push --push-opt a up", Some("up")),
            ("push --repo=./evil -u", Some("./evil")),
            ("push --repo ./evil", Some("./evil")),
            ("push -- ./evil HEAD", Some("./evil")),
            ("fetch --depth 1 up main", Some("up")),
            ("fetch -j 4 up", Some("up")),
            ("pull --rebase up main:main", Some("up")),
        ] {
            let words: Vec<Word> = line.split(' ').map(Word::literal).collect();
            assert_eq!(remote(&words[0].text, &words[1..]), want, "{line}");
        }
    }
}
