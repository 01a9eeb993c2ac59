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

/// None of them is allowed without asking, as nobody can say what it does.
fn asks(lines: &[&str]) {
    let none = rules("");
    for line in lines {
        for mode in [Mode::Execute, Mode::Plan] {
            let got = judge(mode, &none, &[], &format!("$ {line}"));
            assert_ne!(got.decision, Decision::Allow, "{line}: {}", got.reason);
        }
    }
}

/// They are near to what asks, and do not.
fn passes(lines: &[&str]) {
    let none = rules("");
    for line in lines {
        let got = judge(Mode::Execute, &none, &[], &format!("$ {line}"));
        assert_eq!(got.decision, Decision::Allow, "{line}: {}", got.reason);
    }
}
