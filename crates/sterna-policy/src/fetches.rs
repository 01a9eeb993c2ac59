//! Commands whose output is text of strangers.

use crate::paths::base_name;
use crate::programs;
use crate::shell::{ShellPlan, SimpleCommand};

/// Where the output of a command line comes from, when it is text of strangers: `web:docs.rs`, or `web:gh` for a
/// program that does not say which host it asks. `None`: nothing of it is known to be. Commands that are only glimpsed
/// count too.
pub fn fetched_from(line: &str) -> Option<String> {
    // Most lines fetch nothing, and need not be parsed a second time.
    if !FETCHERS.iter().any(|name| line.contains(name)) {
        return None;
    }
    let plan = ShellPlan::read(line);
    plan.commands.iter().chain(&plan.glimpsed).find_map(origin)
}

fn origin(command: &SimpleCommand) -> Option<String> {
    let name = base_name(&command.argv.first()?.text);
    if !FETCHERS.contains(&name) {
        return None;
    }
    let hosts = programs::effects(command).hosts;
    let host = hosts.into_iter().find(|host| host != "*");
    Some(format!("web:{}", host.as_deref().unwrap_or(name)))
}

/// Programs that print what other hosts say: pages, and what anybody wrote into an issue.
const FETCHERS: [&str; 16] = [
    "curl", "wget", "wget2", "http", "https", "xh", "aria2c", "lynx", "links", "elinks", "w3m", "nc", "ncat",
    "gh", "glab", "hub",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_other_hosts_is_told_from_ones_own() {
        for (line, origin) in [
            ("curl -s https://docs.rs/x", Some("web:docs.rs")),
            ("cd /tmp && wget -qO- http://evil.example:8080/p | head", Some("web:evil.example:8080")),
            ("sudo -u me curl https://a.b/c", Some("web:a.b")),
            ("gh issue view 4", Some("web:gh")),
            ("x=$(curl https://a.b/c); eval $x", Some("web:a.b")),
            ("curl $URL", Some("web:curl")),
            ("cargo build && git status", None),
            ("echo https://curl.example; grep -r curl .", None),
        ] {
            assert_eq!(fetched_from(line).as_deref(), origin, "{line}");
        }
    }
}
