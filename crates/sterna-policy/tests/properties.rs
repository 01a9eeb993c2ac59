//! What holds for every line, whatever it is.

#![allow(clippy::unwrap_used)]

mod world;

use proptest::prelude::*;
use sterna_model::{Decision, Mode};
use sterna_policy::ShellPlan;
use world::{grant, judge, rules};

/// Pieces that lines are made of, so that chance finds what is near the border.
const PIECES: [&str; 40] = [
    "ls", "cat", "rm", "git", "status", "touch", "sh", "-c", "env", "sudo", "find", "-exec", "{}", ";",
    "\\;", "|", "||", "&&", "&", ">", ">>", "<", "2>&1", "'", "\"", "\\", "$", "`", "(", ")", "*", "~", "/",
    "..", ".env", "A=1", "xargs", "\n", "#", "é",
];

fn line() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec((0..PIECES.len(), any::<bool>()), 0..12).prop_map(|pieces| {
        pieces
            .iter()
            .map(|(i, gap)| format!("{}{}", PIECES[*i], if *gap { " " } else { "" }))
            .collect::<String>()
    });
    prop_oneof![3 => pieces, 1 => any::<String>()]
}

fn strictness(decision: Decision) -> u8 {
    match decision {
        Decision::Allow => 0,
        Decision::Ask => 1,
        Decision::Deny => 2,
    }
}

/// Whoever cuts a word must do so between its letters: one of more than one byte may stand anywhere.
#[test]
fn a_letter_of_another_script_ends_nothing_wherever_it_stands() {
    let lines = [
        r"echo -e 'a\n' | xargs -I{} rm {}",
        r"printf '%s\0' a | head -n 1 | xargs -0d, rm",
        "ls -I x | tail -n +3 | grep -v '[a-z]' | xargs rm",
        "git -C a ls-files -x b | xargs -i% rm %",
        "git diff --name-only 4b825dc..HEAD | xargs rm",
        "find . -size +1k -mmin -5 -newermt a -regex '(a|[b])' -printf %p -exec rm {} +",
        "fd -Hx rm -S +1k --exec=a",
        "parallel -a b rm ::: c",
        "git -c alias.x='!rm y' -c a=b log --output=c -L 1,2:d HEAD:e",
        "git push --repo=a me@h:b c:d",
        "git archive -vo a --remote=h:b",
        "curl -sOw '%output{a}' --output-dir d -o b_#1 'https://h/%2e?x#y'",
        "wget -nvP a -e robots=off https://u:p@h:1/%c3",
        "rsync -ae 'ssh -p 2' --log-file=a h::b ./c",
        "ssh -o ProxyJump=a -L 1:b:2 me@h c",
        "npm exec --call='a b' -- c@1",
        "gdb -ex 'shell a' --eval-command=b",
        "socat - EXEC:a,b!!SYSTEM:c",
        "make SHELL=a --eval=b",
        "sed -i.b -e 's/a/b/' c*[d]",
        "cp -t a -S b c* d/../e",
        "PAGER='a b' http_proxy=h:1 GIT_X_0=c nc -e d h 1",
    ];
    let rules = rules("deny Shell(a *); deny Write(b); deny Read(c/*); deny Web(h)");
    for line in lines {
        for (at, _) in line.char_indices() {
            let (before, after) = line.split_at(at);
            for call in
                [format!("$ {before}é{after}"), format!("$ {before}\u{1f980}{after}"), format!("$ {before}")]
            {
                // To be judged is all that is asked of it.
                assert!(!judge(Mode::Bypass, &rules, &[], &call).reason.is_empty(), "{call}");
            }
        }
    }
}

#[test]
fn lines_made_to_be_slow_are_refused_whole() {
    let nested = |open: &str, close: &str| format!("{}ls{}", open.repeat(300), close.repeat(300));
    let lines = [
        "(".repeat(60_000),
        "$(".repeat(30_000),
        "a|".repeat(30_000),
        "a|".repeat(900),
        "<<a ".repeat(16_000),
        "<<a\n".repeat(700),
        "[[ ".repeat(700),
        "<)".repeat(1_400),
        "if a;then ".repeat(2_000),
        "\n case ".repeat(10_000),
        nested("(", ")"),
        nested("{ ", ";}"),
        nested("$(", ")"),
        nested("\"$(", ")\""),
        format!("x=aaaaaaaa;{}echo $x", "x=$x$x;".repeat(60)),
        format!("f() {{ f; }}; {}", "f;".repeat(200)),
        format!("{}:{}", "for i in a b c d e f;do ".repeat(20), ";done".repeat(20)),
        format!("ls {}", "{a,b}".repeat(200)),
        "a".repeat(70_000),
    ];
    for line in lines {
        let plan = ShellPlan::read(&line);
        let shown: String = line.chars().take(40).collect();
        assert!(plan.unknown.is_some(), "{shown}: {} commands", plan.commands.len());
    }
    // What is long and plain is read.
    for line in [format!("ls {}", "word ".repeat(10_000)), "ls && pwd && ".repeat(100) + "ls"] {
        assert_eq!(ShellPlan::read(&line).unknown, None);
    }
    let file = format!("cat > f <<'EOF'\n{}EOF\n", "let x = foo(a, b);\n".repeat(600));
    assert_eq!(ShellPlan::read(&file).unknown, None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn reading_a_line_never_panics(text in any::<String>(), line in line()) {
        for text in [text, line] {
            let plan = ShellPlan::read(&text);
            prop_assert!(plan.unknown.is_some() || plan.glimpsed.is_empty());
            prop_assert!(plan.unknown.is_some() == plan.commands.is_empty());
        }
    }

    #[test]
    fn another_deny_rule_never_loosens(line in line(), mode in 0..6usize, which in 0..5usize) {
        let denied = ["Shell(rm *)", "Read(**/.env)", "Write", "Web(*)", "Shell(*)"][which];
        let base = "allow Shell(*); allow Write(sub/**)";
        let (loose, strict) = (rules(base), rules(&format!("{base}; deny {denied}")));
        let call = format!("$ {line}");
        let mode = Mode::ALL[mode];
        let before = judge(mode, &loose, &[], &call).decision;
        let after = judge(mode, &strict, &[], &call).decision;
        prop_assert!(strictness(after) >= strictness(before), "{call}: {before:?} to {after:?}");
    }

    #[test]
    fn what_is_not_understood_is_never_allowed_by_a_pattern(line in line(), mode in 0..6usize) {
        if ShellPlan::read(&line).unknown.is_none() {
            return Ok(());
        }
        let mode = Mode::ALL[mode];
        let call = format!("$ {line}");
        let wide = rules("allow Shell; allow Shell(*); allow Read; allow Write; allow Web; allow *");
        let got = judge(mode, &wide, &[], &call).decision;
        prop_assert!(mode == Mode::Bypass || got != Decision::Allow, "{call}");
        let exact = grant(&call, None);
        let mut other = exact.clone();
        other.content.0[0] ^= 1;
        prop_assert!(mode == Mode::Bypass || judge(mode, &wide, &[&other], &call).decision != Decision::Allow);
    }
}
