//! The rules that everyone has. They restrict; nothing is allowed here.

use sterna_model::{Decision, RuleText, Scope};

use crate::rule::Rule;

/// The built-in rules, parsed. Join them with the rules of all other scopes.
pub fn builtin_rules() -> Vec<Rule> {
    let write = |(decision, text): (Decision, &str)| {
        let source = "built-in".to_owned();
        RuleText { decision, text: text.to_owned(), scope: Scope::Builtin, source }
    };
    let denied_reads = KEY_STORES.iter().map(|p| (Decision::Deny, format!("Read({p})")));
    let asked_reads = [(Decision::Ask, "Read(**/.env*)".to_owned())];
    let denied_writes = UNWRITABLE.iter().chain(&KEY_STORES).map(|p| (Decision::Deny, format!("Write({p})")));
    let asked_writes = [(Decision::Ask, "Write(**/.env*)".to_owned())];
    let tainted = TAINTED.iter().map(|rule| (Decision::Ask, format!("{rule} when tainted")));
    let all = denied_reads.chain(asked_reads).chain(denied_writes).chain(asked_writes).chain(tainted);
    // A test holds that every one of them parses.
    all.filter_map(|(decision, text)| Rule::parse(&write((decision, &text))).ok()).collect()
}

/// How many rules there must be.
#[cfg(test)]
pub(crate) const COUNT: usize = 2 * KEY_STORES.len() + UNWRITABLE.len() + 2 + TAINTED.len();

/// What a page's text may try to bring about: data sent out, and what stays when the page is gone: notes, rights and
/// work for later.
const TAINTED: [&str; 6] = ["Web(*)", "remember", "forget", "request_permission", "schedule", "trigger"];

const KEY_STORES: [&str; 16] = [
    "~/.ssh/id_*[!b]", // all but the public halves, which end in `.pub`
    "~/.ssh/*.pem",
    "~/.ssh/*.key",
    "~/.aws/credentials",
    "~/.aws/sso/cache",
    "~/.config/gcloud",
    "~/.azure",
    "~/.kube/config",
    "~/.docker/config.json",
    "~/.gnupg",
    "~/.password-store",
    "~/.local/share/keyrings",
    "~/.netrc",
    "~/.git-credentials",
    "~/.npmrc",
    "/etc/shadow",
];
const UNWRITABLE: [&str; 34] = [
    "/etc",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/boot",
    "/sys",
    "/proc",
    "/System",
    "**/.git",
    "**/.git/**",
    "~/.bashrc",
    "~/.bash_profile",
    "~/.bash_login",
    "~/.bash_logout",
    "~/.profile",
    "~/.zshrc",
    "~/.zshenv",
    "~/.zprofile",
    "~/.zlogin",
    "~/.zlogout",
    "~/.bash_aliases",
    "~/.config/fish",
    "~/.gitconfig",
    "~/.config/git",
    "~/.ssh",
    // What a desktop or the machine starts for a person, and what is before others in `PATH`.
    "~/.xprofile",
    "~/.xinitrc",
    "~/.xsession",
    "~/.xsessionrc",
    "~/.config/autostart",
    "~/.config/systemd/user",
    "~/.cargo/bin",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_rule_parses() {
        assert_eq!(builtin_rules().len(), COUNT);
        assert!(builtin_rules().iter().all(|r| r.decision() != Decision::Allow));
    }
}
