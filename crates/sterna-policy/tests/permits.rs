//! Rights that a person gave for later calls, as a table.

#![allow(clippy::unwrap_used)]

mod world;

use std::path::PathBuf;

use sterna_model::{Decision, Grant, Mode, PathAccess, Permits, PermittedPath};
use sterna_policy::Sandbox;
use world::{grant, judge, judge_in, judge_tainted, rules};

fn permit(paths: &[(&str, PathAccess, bool)], hosts: &[&str], tainted: bool) -> Grant {
    let path = |(path, access, beneath): &(&str, PathAccess, bool)| PermittedPath {
        path: PathBuf::from(path),
        access: *access,
        beneath: *beneath,
    };
    let permits = Permits {
        paths: paths.iter().map(path).collect(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        tainted,
    };
    Grant { permits: Some(permits), ..grant("request_permission", None) }
}

#[test]
fn a_permit_covers_what_was_shown_and_nothing_else() {
    use Decision::{Allow, Ask, Deny};
    let held = permit(
        &[
            ("/opt/dir", PathAccess::Write, true),
            ("/opt/file", PathAccess::Read, false),
            ("/w/.env", PathAccess::Read, false),
        ],
        &["docs.rs", "localhost:8080"],
        false,
    );
    let none = rules("");
    let table = [
        ("write /opt/dir/a", Allow),
        ("write /opt/dir/deep/a", Allow),
        ("read /opt/dir/a", Allow),
        ("write /opt/directory", Ask),
        ("write /opt/dir/../b", Ask),
        ("read /opt/file", Allow),
        ("write /opt/file", Ask),
        ("read /opt/file2", Ask),
        ("read /w/.env", Allow),
        ("read /w/sub/.env", Ask),
        ("web docs.rs", Allow),
        ("web evil.docs.rs", Ask),
        ("web docs.rs:8443", Ask),
        ("$ cat /opt/file", Allow),
        ("$ cat /opt/file /opt/other", Ask),
        ("$ grep -rn x /opt/dir", Allow),
        ("$ ls /opt", Ask),
        ("$ cat /opt/dir/*", Ask),
        ("$ curl https://docs.rs/x", Allow),
        ("$ curl https://example.org", Ask),
        ("$ frobnicate /opt/dir/a", Ask),
    ];
    for (call, want) in table {
        let got = judge(Mode::Execute, &none, &[&held], call);
        assert_eq!(got.decision, want, "{call}: {}", got.reason);
        assert_eq!(judge(Mode::Execute, &none, &[], call).decision, Ask, "{call}");
        let never = if want == Ask { Deny } else { want };
        assert_eq!(judge(Mode::NeverAsk, &none, &[&held], call).decision, never, "{call}");
    }
    // In a sandbox, the folder itself stays.
    let inside = |call: &str| judge_in(Sandbox::Bubblewrap, Mode::Execute, &none, &[&held], call).decision;
    assert_eq!((inside("$ rm -r /opt/dir/a"), inside("$ rm -r /opt/dir")), (Allow, Ask));
    // What is over is over.
    let over = Grant { expires: Some(1_000), ..held.clone() };
    assert_eq!(judge(Mode::Execute, &none, &[&over], "write /opt/dir/a").decision, Ask);
}

#[test]
fn what_denies_and_what_shows_comes_before_a_permit() {
    let held = permit(
        &[("/opt", PathAccess::Write, true), ("/home/me", PathAccess::Read, true)],
        &["docs.rs"],
        false,
    );
    let check = |mode, given: &str, call: &str| judge(mode, &rules(given), &[&held], call).decision;
    for (mode, given, call, want) in [
        (Mode::Execute, "deny Write(/opt/a)", "write /opt/a", Decision::Deny),
        (Mode::Execute, "deny Web(docs.rs)", "web docs.rs", Decision::Deny),
        (Mode::Execute, "ask Write(/opt/a)", "write /opt/a", Decision::Allow),
        (Mode::Execute, "", "read /home/me/.ssh/id_rsa", Decision::Deny),
        (Mode::Plan, "", "write /opt/a", Decision::Deny),
        (Mode::Pair, "", "write /opt/a", Decision::Ask),
        (Mode::Ask, "", "write /opt/a", Decision::Allow),
    ] {
        assert_eq!(check(mode, given, call), want, "{given} {call}");
    }
    // A program is let do it, too, but for what a rule denies by now.
    let bounds = |mode, given: &str| {
        let got = judge_in(Sandbox::Landlock, mode, &rules(given), &[&held], "$ make").bounds;
        (got.writable, got.readable, got.hosts)
    };
    let paths = |list: &[&str]| -> Vec<PathBuf> { list.iter().map(PathBuf::from).collect() };
    let all = (paths(&["/opt"]), paths(&["/home/me", "/opt"]), vec!["docs.rs".to_owned()]);
    assert_eq!(bounds(Mode::Execute, ""), all);
    let less = (paths(&[]), paths(&["/home/me", "/opt"]), Vec::new());
    assert_eq!(bounds(Mode::Execute, "deny Write(/opt); deny Web(docs.rs)"), less);
    assert_eq!(bounds(Mode::Bypass, "").1, paths(&[]));
}

#[test]
fn a_host_counts_with_what_was_read_when_it_was_permitted() {
    let none = rules("");
    let builtin = sterna_policy::builtin_rules();
    for (given, now, want) in [
        (false, &[][..], Decision::Allow),
        (false, &["web:a"][..], Decision::Ask),
        (true, &["web:a"][..], Decision::Allow),
        (true, &[][..], Decision::Allow),
    ] {
        let held = permit(&[], &["docs.rs"], given);
        let rules = [none.clone(), builtin.clone()].concat();
        let judged =
            |call: &str| judge_tainted(Sandbox::Landlock, Mode::Execute, &rules, &[&held], now, call);
        assert_eq!(judged("web docs.rs").decision, want, "{given} {now:?}");
        assert_eq!(judged("$ make").bounds.hosts.is_empty(), want == Decision::Ask, "{given} {now:?}");
    }
}
