//! What no sandbox around a command confines: programs that ask someone else to act, and protocols that no proxy carries.

use crate::effects::Effects;
use crate::git;
use crate::network;
use crate::paths::base_name;
use crate::programs;
use crate::rule::trusted_name;
use crate::shell::{Hidden, SimpleCommand, Word};

/// Whether a command acts through something that no sandbox around it confines: a service, another user, or processes
/// that were there before.
pub(crate) fn leaves_the_sandbox(command: &SimpleCommand) -> bool {
    command.via.iter().chain([&command.argv]).filter_map(|argv| argv.split_first()).any(|(program, args)| {
        match base_name(&program.text) {
            "git" => git::configures(args),
            "kill" => !kills_own(args),
            name if is_local(name, args) => false,
            name => OUTSIDE.contains(&name),
        }
    })
}

/// Whether a line with this command runs where no sandbox holds any of it.
pub(crate) fn moves_the_line(command: &SimpleCommand) -> bool {
    let program = trusted_name(command.program());
    let may = program == "git" || network::REMOTE.contains(&program);
    leaves_the_sandbox(command) || may && speaks_no_http(command, &programs::effects(command))
}

/// Whether a command reaches another host in a way that a proxy for HTTP cannot carry.
pub(crate) fn speaks_no_http(command: &SimpleCommand, effects: &Effects) -> bool {
    let program = trusted_name(command.program());
    let by_shell = |word: &Word| word.text.starts_with("ssh://") || !word.text.contains("://");
    let words = command.argv.iter();
    // Without a URL a host is one of `host:path`.
    let git = program == "git"
        && (words.clone().any(|word| word.text.contains('@') && by_shell(word))
            || words.clone().all(|word| !word.text.contains("://")));
    !effects.hosts.is_empty() && (git || network::REMOTE.contains(&program))
}

/// The forms of those programs that look at files alone, or only tell about the program.
fn is_local(name: &str, args: &[Word]) -> bool {
    let words: Vec<&str> = args.iter().map(|word| word.text.as_str()).collect();
    let local: &[&str] = match name {
        "terraform" if words.contains(&"-backend=false") => &["init"],
        "terraform" => &["fmt", "validate", "version", "graph", "providers", "show"],
        "helm" => &["lint", "template", "version"],
        "docker" | "podman" | "nerdctl" | "kubectl" | "ansible" | "vagrant" => &[],
        _ => return false,
    };
    let command = words.iter().find(|word| !word.starts_with("-chdir="));
    matches!(words[..], ["--version" | "--help" | "-h"]) || command.is_some_and(|first| local.contains(first))
}

/// Only jobs of the very shell that runs the line: `%1`, `-TERM $!`.
fn kills_own(args: &[Word]) -> bool {
    let is_signal = |word: &Word| {
        let name = word.text.strip_prefix('-').unwrap_or_default();
        SIGNALS.contains(&name.strip_prefix("SIG").unwrap_or(name))
    };
    let is_job = |word: &Word| {
        let number = word.text.strip_prefix('%').unwrap_or_default();
        word.hidden == Hidden::Job || (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    let jobs = args.get(usize::from(args.first().is_some_and(is_signal))..).unwrap_or_default();
    !jobs.is_empty() && jobs.iter().all(is_job)
}

const SIGNALS: [&str; 13] =
    ["TERM", "INT", "KILL", "HUP", "QUIT", "STOP", "CONT", "USR1", "USR2", "9", "15", "2", "1"];
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
    "pkill",
    "killall",
    "sterna",
    "gpg",
];
