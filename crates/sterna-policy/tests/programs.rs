//! What programs make of their words, where somebody has chosen the words or the names of files with care.

mod world;

use sterna_model::{Decision, Mode};
use sterna_policy::Sandbox;
use world::{judge_in, rules};

/// What mode `execute` says of each call, with these rules.
fn check(sandboxes: &[Sandbox], given: &str, calls: &[&str], fits: impl Fn(Decision) -> bool) {
    let rules = rules(given);
    let mut wrong = Vec::new();
    for sandbox in sandboxes {
        for call in calls {
            let got = judge_in(*sandbox, Mode::Execute, &rules, &[], &format!("$ {call}"));
            if !fits(got.decision) {
                let (sandbox, decision) = (sandbox.word(), got.decision.word());
                wrong.push(format!("[{sandbox}] {call}\n    {decision}: {}", got.reason));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const ALL: &[Sandbox] = &Sandbox::ALL;
const HELD: &[Sandbox] = &[Sandbox::Landlock, Sandbox::Bubblewrap];

#[test]
fn a_pattern_among_a_wrapper_s_own_words_may_be_the_program() {
    let calls = [
        "timeout [5b]* ls",
        "timeout -s [9b]* 5 ls",
        "nice -n [5b]* ls",
        "nice --adjustment [5b]* ls",
        "stdbuf -o [0b]* ls",
        "env -u [Xb]* ls",
        "env -u [Xb]*",
        "env A=* ls",
        "env A=[1]*",
        "sudo -u [rb]* ls",
        "command -[p] ls",
        "time nice -n ? ls",
        "for f in [5]*; do timeout $f ls; done",
        "ls | xargs -n [1b]* ls",
        "ls | xargs -n [1b]*",
    ];
    check(ALL, "", &calls, |got| got == Decision::Ask);
    check(HELD, "", &["timeout 5 ls *.rs", "env A=1 nice -n 5 grep -n fn a.rs"], |got| {
        got == Decision::Allow
    });
}
