//! Lines that a shell reads otherwise than they look. What such a line would run is not said to only read.

#![allow(clippy::unwrap_used)]

mod world;

use sterna_model::{Decision, Mode};
use world::{judge, rules};

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
    ]);
    passes(&[
        "cat <<EOF\na \\\n  b\nEOF",
        "cat <<'EOF'\nEO\\\nF\nEOF",
        "cat <<EOF\na\\\\b\\n\nEOF\nls",
        "cat <<-EOF\n\ta\n\tEOF\nls",
    ]);
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
