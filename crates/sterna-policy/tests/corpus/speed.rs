//! What a decision costs: `cargo bench -p sterna-policy`. It prints, and asserts nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../world/mod.rs"]
mod world;

use std::hint::black_box;
use std::time::{Duration, Instant};

use sterna_model::Mode;
use sterna_policy::ShellPlan;
use world::{judge, rules};

fn main() {
    let (few, many) = (rules("deny Shell(rm *); allow Shell(cargo *)"), rules(&thousand()));
    println!("rules: {} and {}", few.len(), many.len());
    for line in LINES {
        let call = format!("$ {line}");
        let read = measure(|| drop(black_box(ShellPlan::read(black_box(line)))));
        let small = measure(|| drop(black_box(judge(Mode::Execute, &few, &[], black_box(&call)))));
        let large = measure(|| drop(black_box(judge(Mode::Execute, &many, &[], black_box(&call)))));
        let shown: String = line.replace('\n', "␤").chars().take(60).collect();
        println!("read {read:>9.1?}   decide {small:>9.1?}   with 1,000 rules {large:>9.1?}   {shown}");
    }
    let parse = measure(|| drop(black_box(rules(&thousand()))));
    println!("parsing 1,000 rules {parse:.1?}");
    let hostile = [
        ("64 KiB of `(`", "(".repeat(65_000)),
        ("64 KiB of `$(`", "$(".repeat(32_000)),
        ("64 KiB of `a;`", "a;".repeat(32_000)),
        ("64 KiB of `a|`", "a|".repeat(32_000)),
        ("2 kB of `a|`", "a|".repeat(1_000)),
        ("3 kB of `<)`", "<)".repeat(1_400)),
        ("64 KiB of `case`", "\ncase ".repeat(10_000)),
        ("64 KiB of `<<a `", "<<a ".repeat(16_000)),
        ("64 KiB of `\"`", "\"".repeat(65_000)),
        ("64 KiB of `{a,b}`", format!("ls {}", "{a,b}".repeat(13_000))),
        ("64 KiB of `if a;then `", "if a;then ".repeat(6_500)),
        ("64 KiB of `x=$x$x;`", format!("x=a;{}", "x=$x$x;".repeat(9_000))),
        ("64 KiB of `for i in *;do `", "for i in *;do ".repeat(4_600)),
        ("64 KiB of `case a in `", "case a in ".repeat(6_500)),
        ("64 KiB of words", format!("ls {}", "word ".repeat(13_000))),
        ("64 KiB of `[[ `", "[[ ".repeat(21_000)),
        ("64 KiB of `${`", "${".repeat(32_000)),
        ("64 KiB of `((`", "((".repeat(32_000)),
        ("64 KiB of backticks", "`".repeat(65_000)),
        ("64 KiB of `a&&`", format!("{}a", "a&&".repeat(21_000))),
        ("nested loops", format!("{}ls{}", "for i in a b c d;do ".repeat(10), ";done".repeat(10))),
        ("nested `while`", format!("{}x=$((x+1)){}", "x=0;while true;do ".repeat(10), ";done".repeat(10))),
    ];
    for (name, line) in &hostile {
        let started = Instant::now();
        let plan = ShellPlan::read(line);
        let why = plan.unknown.unwrap_or_else(|| format!("{} commands", plan.commands.len()));
        println!("{:>9.1?}   {name}: {why}", started.elapsed());
    }
}

/// The median of many runs.
fn measure(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn thousand() -> String {
    let rule = |i: usize| match i % 5 {
        0 => format!("allow Shell(tool{i} *)"),
        1 => format!("deny Shell(bad{i} *)"),
        2 => format!("deny Read(secret{i}/**)"),
        3 => format!("ask Write(docs{i}/**)"),
        _ => format!("allow Web(host{i}.example.org)"),
    };
    (0..1_000).map(rule).collect::<Vec<_>>().join("; ")
}

const LINES: [&str; 7] = [
    "ls",
    "git status",
    "cargo test",
    "cd crates/core && cargo test 2>&1 | tail -30",
    "git add -A && git commit -m 'Fix the parser' && git push",
    "for f in src/*.rs; do if grep -q todo \"$f\"; then echo \"$f: $(wc -l < \"$f\")\"; fi; done | sort > out.txt",
    "git commit -m \"$(cat <<'EOF'\nSubject\n\nA longer body with several words in it.\nEOF\n)\" && git log -1",
];
