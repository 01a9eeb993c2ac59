//! Rules as they are written, and what is wrong with those that are not.

#![allow(clippy::unwrap_used)]

use sterna_model::{Decision, RuleText, Scope};
use sterna_policy::{Examples, Rule, check_examples};

fn parse(decision: Decision, text: &str) -> Result<Rule, String> {
    let written = RuleText { decision, text: text.into(), scope: Scope::User, source: "t:1".into() };
    Rule::parse(&written).map_err(|e| e.to_string())
}

#[test]
fn what_does_not_parse_says_where_and_why() {
    let good = [
        "Shell",
        "shell(cargo test *)",
        "READ(**/.env)",
        "Write(src/**)",
        "Web(docs.rs)",
        "Web(*.example.org)",
        "mcp__s__*",
        "todo",
        "Shell(echo (a))",
        "Read(~/x)",
        "Read(/a/[bc])",
        "*",
    ];
    for text in good {
        assert!(parse(Decision::Allow, text).is_ok(), "{text}");
    }
    let bad = [
        ("", "at character 1: no name"),
        ("Shel(ls)", "at character 1: unknown capability `Shel`, did you mean `Shell`?"),
        ("Bash(ls *)", "did you mean `Shell`?"),
        ("Edit(src/**)", "did you mean `Write`?"),
        ("Raed", "did you mean `Read`?"),
        ("WebFetch(x)", "did you mean `Web`?"),
        ("todo(x)", "only Read, Write, Shell and Web take a pattern"),
        ("allow Shell(ls)", "at character 6: ` ` cannot be"),
        ("Shell(ls", "at character 9: the pattern is never closed"),
        ("Shell()", "at character 7: the pattern is empty"),
        ("Read(../x)", "at character 6: `..`"),
        ("Read(~root/x)", "another user"),
        ("Read([a)", "bad glob"),
        ("Web(https://x)", "at character 5: not a host"),
    ];
    for (text, part) in bad {
        let error = parse(Decision::Allow, text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_rule_is_held_to_its_examples() {
    use Decision::{Allow, Deny};
    // decision, rule, example, whether it matches
    let rows = [
        (Allow, "Shell(cargo test *)", "cargo test", true),
        (Allow, "Shell(cargo test *)", "cargo test --lib", true),
        (Allow, "Shell(cargo test *)", "cargo testx", false),
        (Allow, "Shell(cargo test *)", "cargo test; rm x", false),
        (Allow, "Shell(cargo test *)", "cargo test $X", false),
        (Allow, "Shell(echo \\*)", "echo '*'", true),
        (Allow, "Shell(echo \\*)", "echo a", false),
        (Deny, "Shell(rm *)", "ls; sudo rm x", true),
        (Deny, "Shell(rm *)", "rmdir x", false),
        (Allow, "Read(src/*)", "src/a", true),
        (Allow, "Read(src/*)", "src/a/b", false),
        (Allow, "Read(src/**)", "src/a/b", true),
        (Allow, "Read(src/**)", "/elsewhere/src/a", false),
        (Deny, "Read(src)", "src/a/b", true),
        (Deny, "Read(**/.env)", "/elsewhere/.env", true),
        (Allow, "Read(**/.env)", "/elsewhere/.env", false),
        (Deny, "Read(**/.env)", "a/.ENV", true),
        (Allow, "Read(**/.env)", "a/.ENV", false),
        (Allow, "Read(~/x)", "~/x", true),
        (Allow, "Read(*)", "/any/where", true),
        (Allow, "Read(a\\*b)", "a*b", true),
        (Allow, "Read(a\\*b)", "axb", false),
        (Allow, "Web(*.example.org)", "a.example.org", true),
        (Allow, "Web(*.example.org)", "example.org", false),
        (Allow, "Web(example.org)", "Example.ORG:443", true),
        (Allow, "mcp__s__*", "mcp__s__read", true),
        (Allow, "mcp__s__*", "mcp__t__read", false),
    ];
    for (decision, text, example, matches) in rows {
        let rule = parse(decision, text).unwrap();
        let example = [example.to_owned()];
        let (hit, missed) = (
            Examples { matching: &example, not_matching: &[] },
            Examples { matching: &[], not_matching: &example },
        );
        assert_eq!(check_examples(&rule, hit).is_ok(), matches, "{text} {example:?}");
        assert_eq!(check_examples(&rule, missed).is_ok(), !matches, "{text} {example:?}");
    }
    let rule = parse(Allow, "Shell(ls)").unwrap();
    let examples = ["rm".to_owned()];
    let error = check_examples(&rule, Examples { matching: &examples, not_matching: &[] }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rule `Shell(ls)`, at character 1: its `match` example `rm` does not match"
    );
}
