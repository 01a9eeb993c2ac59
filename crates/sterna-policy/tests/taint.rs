//! Rules that count only while the model has text of strangers before it.

#![allow(clippy::unwrap_used)]

mod world;

use sterna_model::{Decision, Mode, RuleText, Scope};
use sterna_policy::{Rule, Sandbox};
use world::{grant, judge_tainted, rules};

const PAGE: &[&str] = &["web:evil.example"];

#[test]
fn what_a_page_may_try_to_bring_about_is_asked() {
    let check = |mode: Mode, given: &str, call: &str, clean: Decision, tainted: Decision| {
        let rules = rules(given);
        let got = |untrusted: &[&str]| judge_tainted(Sandbox::None, mode, &rules, &[], untrusted, call);
        let told = format!("{} [{given}] {call}", mode.word());
        assert_eq!(got(&[]).decision, clean, "{told}: {}", got(&[]).reason);
        assert!(!got(&[]).tainted, "{told}");
        let found = got(PAGE);
        assert_eq!(found.decision, tainted, "{told}: {}", found.reason);
        if clean != tainted && tainted != Decision::Allow {
            assert!(found.tainted && found.reason.contains("web:evil.example"), "{told}: {}", found.reason);
        }
    };
    use Decision::{Allow, Ask, Deny};
    let execute = Mode::Execute;
    // Egress: a plain allow is not enough, one that says so is, and a deny stays one.
    check(execute, "allow Web(docs.rs)", "web docs.rs", Allow, Ask);
    check(execute, "allow Web", "web docs.rs", Allow, Ask);
    check(execute, "allow Web(docs.rs) when tainted", "web docs.rs", Ask, Allow);
    check(execute, "allow Web(docs.rs) when tainted", "web evil.example", Ask, Ask);
    check(execute, "allow Web; allow Web(docs.rs) when tainted", "web docs.rs", Allow, Allow);
    check(execute, "allow Web; deny Web(docs.rs) when tainted", "web docs.rs", Allow, Deny);
    check(execute, "allow web_fetch", "web docs.rs", Allow, Ask);
    let curl = "allow Shell(curl *); allow Web(docs.rs)";
    check(execute, curl, "$ curl https://docs.rs/x", Allow, Ask);
    // Notes, rights, work for later.
    check(execute, "allow remember", "remember", Allow, Ask);
    check(execute, "allow request_permission", "request_permission", Allow, Ask);
    check(execute, "allow remember; allow remember when tainted", "remember", Allow, Allow);
    // What goes on as before.
    check(execute, "", "read src/a.rs", Allow, Allow);
    check(execute, "", "write src/a.rs", Allow, Allow);
    check(execute, "", "$ git status", Allow, Allow);
    check(execute, "", "session", Allow, Allow);
    // A person's own rule of each kind.
    check(execute, "ask Write(src/**) when tainted", "write src/a.rs", Allow, Ask);
    check(
        execute,
        "deny Shell(git push *) when tainted; allow Shell(git push *); allow Web",
        "$ git push o",
        Allow,
        Deny,
    );
    check(execute, "deny Read(**/*.pem) when tainted", "read a/b.pem", Allow, Deny);
    // What an ask becomes.
    check(Mode::NeverAsk, "allow Web", "web docs.rs", Allow, Deny);
    check(Mode::Bypass, "", "web docs.rs", Allow, Allow);
    check(Mode::Bypass, "deny Web when tainted", "web docs.rs", Allow, Deny);
}

#[test]
fn a_grant_for_this_very_content_answers() {
    let rules = rules("");
    let granted = grant("web docs.rs", None);
    let judged = |call: &str| judge_tainted(Sandbox::None, Mode::Execute, &rules, &[&granted], PAGE, call);
    assert_eq!(judged("web docs.rs").decision, Decision::Allow);
    assert_eq!(judged("web evil.example").decision, Decision::Ask);
}

#[test]
fn a_condition_is_part_of_a_rule_or_an_error() {
    let parse = |text: &str| {
        let (decision, scope, source) = (Decision::Ask, Scope::User, "f:1".to_owned());
        Rule::parse(&RuleText { decision, text: text.into(), scope, source })
    };
    for (text, conditional) in [
        ("Web(*) when tainted", true),
        ("Web when tainted", true),
        ("remember when tainted", true),
        ("Shell(echo when tainted)", false),
        ("Shell(say (x) when y)", false),
        ("Shell(rm *)", false),
    ] {
        let rule = parse(text).unwrap();
        assert_eq!((rule.is_conditional(), rule.text()), (conditional, text));
    }
    let error = parse("Web(*) when tained").unwrap_err().to_string();
    let want = "rule `Web(*) when tained`, at character 13: the condition `tained` is not known; a rule may end with \
        `when tainted`";
    assert_eq!(error, want);
}

/// In a network of its own a command sends nothing out, whatever a page may have told the model.
#[test]
fn what_a_sandbox_keeps_in_is_not_asked_for() {
    let none = rules("");
    let in_sandbox = |given: &[Rule], call: &str| {
        judge_tainted(Sandbox::Bubblewrap, Mode::Execute, given, &[], PAGE, call).decision
    };
    for call in ["$ ./x", "$ cat $(ls)", "$ make -j$(nproc)", "$ npm start & sleep 1; curl localhost:3000"] {
        assert_eq!(in_sandbox(&none, call), Decision::Allow, "{call}");
    }
    for call in ["$ curl localhost:3000", "$ npm start & curl https://docs.rs", "$ curl \"$URL\""] {
        assert_eq!(in_sandbox(&none, call), Decision::Ask, "{call}");
    }
    let own = rules("ask Web(localhost:*) when tainted");
    assert_eq!(in_sandbox(&own, "$ npm start & sleep 1; curl localhost:3000"), Decision::Ask);
}
