//! What a call's commands must be let do inside a sandbox, and must not: what the line names, and what the rules say.

use std::path::{Path, PathBuf};

use sterna_model::{Bounds, Decision, Mode, Scope};

use crate::effects::How;
use crate::rule::{Places, Rule, Target, Text, host_matches};

/// A path that the line itself touches, beyond what every confined command may: it runs only if that was allowed.
pub(crate) fn touch(bounds: &mut Bounds, how: How, real: &[PathBuf], mode: Mode) {
    match how {
        // Nobody said that this very secret may be read.
        How::Read | How::Named if mode == Mode::Bypass => {}
        How::Read | How::Named => bounds.readable.extend(real.iter().cloned()),
        How::Write => bounds.writable.extend(real.iter().cloned()),
        // What is removed is taken out of its folder.
        How::Delete => {
            bounds.writable.extend(real.iter().filter_map(|path| path.parent()).map(Path::to_owned))
        }
    }
}

/// What rules say of a program that is no call of the model's, such as a hook.
pub fn bounds_of_rules(all: &[Rule], roots: &[PathBuf], home: Option<&Path>, tainted: bool) -> Bounds {
    let mut bounds = Bounds::default();
    rules(&mut bounds, all, Places { roots, home }, tainted);
    bounds
}

/// What rules say of programs that do more than can be seen. A rule that restricts holds by the kernel where its pattern is
/// a plain path, with or without all beneath; one that allows adds the same.
pub(crate) fn rules(bounds: &mut Bounds, rules: &[Rule], places: Places, tainted: bool) {
    for rule in rules.iter().filter(|rule| tainted || !rule.is_conditional()) {
        let (pattern, reads) = match &rule.target {
            Target::Read(Some(pattern)) => (pattern, true),
            Target::Write(Some(pattern)) => (pattern, false),
            Target::Web(pattern) if rule.decision() == Decision::Allow => {
                bounds.hosts.extend(host(rule, pattern.as_ref(), rules, tainted));
                continue;
            }
            Target::Read(None)
            | Target::Write(None)
            | Target::Web(_)
            | Target::Shell(_)
            | Target::Tool(_) => {
                continue;
            }
        };
        let list = match (rule.decision(), reads) {
            (Decision::Allow, true) => &mut bounds.readable,
            (Decision::Allow, false) => &mut bounds.writable,
            // The usual confinement has its own list of these.
            (Decision::Deny, _) if rule.scope() == Scope::Builtin => continue,
            (Decision::Deny, true) => &mut bounds.unreadable,
            (Decision::Deny, false) => &mut bounds.read_only,
            // What is asked for is named in the line; what is not named is not asked for.
            (Decision::Ask, _) => continue,
        };
        list.extend(pattern.plain_paths(places));
    }
    for list in [&mut bounds.writable, &mut bounds.readable, &mut bounds.unreadable, &mut bounds.read_only] {
        list.sort();
        list.dedup();
    }
    bounds.hosts.sort();
    bounds.hosts.dedup();
}

/// The hosts of an allow rule as a domain list says them. A list cannot say "but not that one": where another rule restricts
/// some of them, none is opened, and a line reaches only what it names.
fn host(rule: &Rule, pattern: Option<&Text>, rules: &[Rule], tainted: bool) -> Option<String> {
    let text = match pattern {
        None => "*".to_owned(),
        Some(pattern) if pattern.is_everything() => "*".to_owned(),
        Some(_) => rule.unconditional().split_once('(')?.1.strip_suffix(')')?.trim().to_ascii_lowercase(),
    };
    let beneath = text.strip_prefix("*.").unwrap_or(&text);
    if text != "*" && beneath.contains(['*', '\\']) {
        return None;
    }
    let single = !text.contains('*');
    // What does not count now restricts nothing, and what everybody is asked is lifted by a rule that says so.
    let counts = |other: &&Rule| match other.is_conditional() {
        true => tainted && !(rule.is_conditional() && other.scope() == Scope::Builtin),
        false => true,
    };
    let restricted = rules.iter().filter(counts).any(|other| match &other.target {
        Target::Web(_) if other.decision() == Decision::Allow => false,
        Target::Web(None) => true,
        Target::Web(Some(other)) => !single || host_matches(other, &text),
        Target::Read(_) | Target::Write(_) | Target::Shell(_) | Target::Tool(_) => false,
    });
    (!restricted).then_some(text)
}

#[cfg(test)]
mod tests {
    use sterna_model::RuleText;

    use super::*;

    #[test]
    fn rules_become_paths_and_hosts() {
        let rule = |(decision, text): &(Decision, &str)| {
            let (text, source) = ((*text).to_owned(), "t".to_owned());
            Rule::parse(&RuleText { decision: *decision, text, scope: Scope::User, source }).unwrap()
        };
        let judged = |tainted: bool, rules: &[(Decision, &str)]| {
            let rules: Vec<Rule> = rules.iter().map(rule).collect();
            let roots = [PathBuf::from("/w")];
            let mut bounds = Bounds::default();
            super::rules(&mut bounds, &rules, Places { roots: &roots, home: Some(Path::new("/h")) }, tainted);
            bounds
        };
        let said = |rules: &[(Decision, &str)]| judged(false, rules);
        use Decision::{Allow, Ask, Deny};
        let bounds = said(&[
            (Allow, "Write(~/notes/**)"),
            (Allow, "Read(/data)"),
            (Deny, "Read(secrets/**)"),
            (Deny, "Write(docs/*)"),
            (Deny, "Write(Cargo.lock)"),
            (Deny, "Read(**/*.pem)"),
            (Ask, "Read(/etc/hosts)"),
        ]);
        let paths = |list: &[&str]| -> Vec<PathBuf> { list.iter().map(PathBuf::from).collect() };
        assert_eq!(bounds.writable, paths(&["/h/notes"]));
        assert_eq!(bounds.readable, paths(&["/data"]));
        assert_eq!(bounds.unreadable, paths(&["/w/secrets"]));
        assert_eq!(bounds.read_only, paths(&["/w/Cargo.lock"]));
        let hosts = |rules: &[(Decision, &str)]| said(rules).hosts;
        let table: &[(&[(Decision, &str)], &[&str])] = &[
            (&[(Allow, "Web(Docs.RS)"), (Allow, "Web(*.example.org)")], &["*.example.org", "docs.rs"]),
            (&[(Allow, "Web")], &["*"]),
            (&[(Allow, "Web(*)"), (Deny, "Web(evil.example)")], &[]),
            (&[(Allow, "Web(good.example)"), (Deny, "Web(evil.example)")], &["good.example"]),
            (&[(Allow, "Web(a.example)"), (Ask, "Web(*.example)")], &[]),
            (&[(Allow, "Web(*.example)"), (Deny, "Web(evil.example)")], &[]),
            (&[(Allow, "Web(api.*.com)")], &[]),
            (&[(Allow, "Web(localhost:8080)")], &["localhost:8080"]),
        ];
        for (rules, want) in table {
            assert_eq!(hosts(rules), *want, "{rules:?}");
        }
        // Text of strangers closes what it might send to, unless a rule says otherwise.
        let hosts = |tainted: bool, rules: &[(Decision, &str)]| judged(tainted, rules).hosts;
        let asks = (Ask, "Web(*) when tainted");
        assert_eq!(hosts(false, &[asks, (Allow, "Web(docs.rs)")]), ["docs.rs"]);
        assert_eq!(hosts(true, &[asks, (Allow, "Web(docs.rs)")]), [""; 0]);
        assert_eq!(hosts(true, &[(Allow, "Web(docs.rs) when tainted")]), ["docs.rs"]);
        assert_eq!(hosts(false, &[(Allow, "Web(docs.rs) when tainted")]), [""; 0]);
    }
}
