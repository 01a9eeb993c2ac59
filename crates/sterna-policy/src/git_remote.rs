//! The remotes that git talks to, as its words and the settings of a repository name them.

use crate::git_config::each_setting;
use crate::shell::Word;

/// Why a push to `remote` may run programs that stand in a repository at hand: the one that receives runs hooks of its own.
/// `texts` are the configuration files of the repository that pushes; an empty remote is the one that they name. `None`:
/// whoever receives is another machine.
pub fn suspect_remote(texts: &[String], remote: &str) -> Option<String> {
    let mut names = Vec::new();
    let mut near = None;
    let mut wanted = Vec::new();
    for text in texts {
        let parsed = each_setting(text, |setting| {
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
    ];
    let (long, short) = if name == "push" { (of_push, "o") } else { (of_fetch, "josX") };
    match option.strip_prefix("--") {
        Some(_) => option.len() > 4 && long.iter().any(|l| l.starts_with(option)),
        None => option.strip_prefix('-').is_some_and(|letters| {
            letters.find(|c| short.contains(c)).is_some_and(|at| at + 1 == letters.len())
        }),
    }
}

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
