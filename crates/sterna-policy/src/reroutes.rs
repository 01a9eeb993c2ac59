//! What leads a command's traffic to hosts that no address among its words names: variables, and options of programs that
//! do more than can be listed.

use crate::effects::Effects;
use crate::network::{REMOTE, fetch, host_of_url, remote};
use crate::paths::base_name;
use crate::rule::trusted_name;
use crate::shell::{SimpleCommand, Word};

/// Hosts that a command may reach by its variables and by options that take a host without a scheme.
pub(crate) fn hosts(command: &SimpleCommand, effects: &Effects) -> Vec<String> {
    let reaches = !effects.hosts.is_empty() || effects.contact.is_some();
    let mut hosts = Vec::new();
    for variable in &command.env_prefix {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        let name = name.trim_end_matches('+').to_ascii_uppercase();
        let is_proxy = name.ends_with("_PROXY") && name != "NO_PROXY";
        let places = value.split([',', '|', ';', ' ']).filter(|place| !place.is_empty());
        // `sqlite:///a.db` names a file.
        let is_file = |place: &str| place.contains(":///") && !place.to_ascii_lowercase().contains("http");
        hosts.extend(
            places.filter(|place| is_proxy || place.contains("://") && !is_file(place)).map(host_of_url),
        );
        if reaches
            && (ROUTES.contains(&name.as_str())
                || name.starts_with("GIT_") && !LOOKS.contains(&name.as_str()))
        {
            hosts.push("*".to_owned());
        }
    }
    let args = command.argv.get(1..).unwrap_or_default();
    let program = trusted_name(command.program());
    // Words that only `xargs` will know may be the hosts.
    let hands_on =
        |argv: &Vec<Word>| argv.first().is_some_and(|w| ["xargs", "find"].contains(&base_name(&w.text)));
    let names = ["curl", "wget"].contains(&program) || REMOTE.contains(&program) || effects.contact.is_some();
    if names && command.via.iter().any(hands_on) {
        hosts.push("*".to_owned());
    }
    let reads_a_file = program == "openssl" && args.first().is_some_and(|word| word.text != "s_client");
    // A program of the same name in another folder takes the same words.
    let base = base_name(program);
    if base != program && (["curl", "wget"].contains(&base) || REMOTE.contains(&base)) {
        hosts.extend(if REMOTE.contains(&base) { remote(base, args) } else { fetch(base, args) }.hosts);
    }
    if NAME_HOSTS.contains(&program) && !reads_a_file {
        let words = args.iter().map(|word| word.text.as_str());
        for piece in
            words.flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && !"-._".contains(c)))
        {
            hosts.extend(piece.contains('.').then(|| piece.to_ascii_lowercase()));
        }
    }
    if let Some((_, letters, long)) = WITH_A_HOST.iter().find(|row| row.0.contains(&program)) {
        hosts.extend(
            values(args, letters, long).into_iter().filter(|value| !value.is_empty()).map(host_of_url),
        );
    }
    hosts
}

/// The values of these options: `-H x`, `-Hx`, `--host x`, `--host=x`. Beginnings of long names count.
fn values<'a>(args: &'a [Word], letters: &str, long: &[&str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (i, word) in args.iter().enumerate() {
        let next = || args.get(i + 1).map(|next| next.text.as_str());
        let text = word.text.as_str();
        if let Some(option) = text.strip_prefix("--") {
            let (name, value) = option.split_once('=').map_or((option, None), |(n, v)| (n, Some(v)));
            let is_one = name.len() > 2 && long.iter().any(|long| long.starts_with(name));
            found.extend(value.or_else(next).filter(|_| is_one));
        } else if let Some(option) = text.strip_prefix('-')
            && let Some(at) = option.find(|c| letters.contains(c))
        {
            let joined = option[at + 1..].trim_start_matches('=');
            found.extend(Some(joined).filter(|joined| !joined.is_empty()).or_else(next));
        }
    }
    found
}

type Row = (&'static [&'static str], &'static str, &'static [&'static str]);
/// Programs with options whose value is a host, or an address that may lack its scheme.
const WITH_A_HOST: &[Row] = &[
    (
        &["pip", "pip3", "pipx", "uv", "uvx"],
        "i",
        &["index-url", "pypi-url", "extra-index-url", "proxy", "trusted-host", "default-index", "index"],
    ),
    (&["npm", "npx", "pnpm", "yarn", "bun", "bunx"], "", &["registry", "proxy", "https-proxy", "http-proxy"]),
    (&["docker", "podman", "nerdctl"], "H", &["host", "url"]),
    (&["gem", "bundle"], "p", &["http-proxy", "source"]),
];
/// Programs that reach hosts among their words, whichever those are.
const NAME_HOSTS: [&str; 29] = [
    "aria2c",
    "autossh",
    "axel",
    "delv",
    "drill",
    "elinks",
    "http",
    "https",
    "httpie",
    "kdig",
    "lftp",
    "links",
    "lynx",
    "mosh",
    "mtr",
    "nmap",
    "openssl",
    "ping6",
    "rclone",
    "socat",
    "sshfs",
    "tftp",
    "tracepath",
    "traceroute",
    "w3m",
    "websocat",
    "wget2",
    "whois",
    "xh",
];
/// Variables that say where settings of programs that reach hosts are, or what a name means.
const ROUTES: [&str; 11] = [
    "CURL_HOME",
    "WGETRC",
    "SYSTEM_WGETRC",
    "HOME",
    "XDG_CONFIG_HOME",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "RES_OPTIONS",
    "RSYNC_RSH",
    "RSYNC_CONNECT_PROG",
    "LD_PRELOAD",
];
/// Variables of git that change what it shows or whose name it writes.
const LOOKS: [&str; 10] = [
    "GIT_PAGER",
    "GIT_EDITOR",
    "GIT_SEQUENCE_EDITOR",
    "GIT_TERMINAL_PROMPT",
    "GIT_OPTIONAL_LOCKS",
    "GIT_MERGE_AUTOEDIT",
    "GIT_AUTHOR_NAME",
    "GIT_AUTHOR_EMAIL",
    "GIT_COMMITTER_NAME",
    "GIT_COMMITTER_EMAIL",
];
