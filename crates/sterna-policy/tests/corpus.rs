//! The public tables: what each command line would do, and what an ordinary day asks.

#![allow(clippy::unwrap_used)]

mod world;

use std::path::Path;

use sterna_model::{Decision, Mode};
use sterna_policy::{Certainty, EffectSet, Sandbox, ShellPlan, Touched};
use world::{HOME, ROOT, judge, judge_in, rules};

struct Row<'a> {
    section: &'a str,
    text: &'a str,
    verdict: &'a str,
    line: String,
    programs: &'a str,
    effects: Vec<String>,
}

#[test]
fn each_line_has_the_plan_of_the_table() {
    let none = rules("");
    let mut wrong = Vec::new();
    let rows = rows();
    for row in &rows {
        let plan = ShellPlan::read(&row.line);
        let programs: Vec<&str> = plan.commands.iter().map(|c| c.program()).collect();
        let programs = if plan.unknown.is_some() { "?".to_owned() } else { programs.join(" ") };
        let effects = words(&plan.effects(Path::new(ROOT), Some(Path::new(HOME))));
        let verdict = judge(Mode::Execute, &none, &[], &format!("$ {}", row.line)).decision.word();
        let got = (verdict, programs.as_str(), &effects);
        if got != (row.verdict, row.programs, &row.effects) {
            let why = plan.unknown.unwrap_or_default();
            wrong.push(format!(
                "{}\n    got {verdict} ¦ {programs} ¦ {} ({why})",
                row.text,
                effects.join(" ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert!(rows.len() >= 300, "the table has only {} rows", rows.len());
}

#[test]
fn no_hostile_row_passes_without_asking_and_deny_rules_hold_in_bypass() {
    let (none, shell, removal) = (rules(""), rules("deny Shell; allow Shell(*)"), rules("deny Shell(rm *)"));
    let mut wrong = Vec::new();
    let mut hostile = 0;
    for row in rows().iter().filter(|r| r.section == "hostile") {
        hostile += 1;
        let call = format!("$ {}", row.line);
        for mode in Mode::ALL.into_iter().filter(|m| *m != Mode::Bypass) {
            if judge(mode, &none, &[], &call).decision == Decision::Allow {
                wrong.push(format!("[{}] {}", mode.word(), row.text));
            }
        }
        if judge(Mode::Bypass, &shell, &[], &call).decision != Decision::Deny {
            wrong.push(format!("[bypass, deny Shell] {}", row.text));
        }
        let removes = row.programs.split(' ').any(|p| p.rsplit('/').next() == Some("rm"));
        if removes && judge(Mode::Bypass, &removal, &[], &call).decision != Decision::Deny {
            wrong.push(format!("[bypass, deny Shell(rm *)] {}", row.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(hostile >= 150, "the hostile part has only {hostile} rows");
}

/// The figures of docs/permissions.md. Lines that ask in the sandbox are named: each is one that nobody could let pass.
#[test]
fn a_day_of_development_asks_this_often() {
    let none = rules("");
    let lines: Vec<String> = include_str!("corpus/day.txt")
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|l| l.replace('␤', "\n"))
        .collect();
    let asks = |sandbox: Sandbox| -> Vec<&str> {
        let decides = |line: &&String| {
            let verdict = judge_in(sandbox, Mode::Execute, &none, &[], &format!("$ {line}"));
            assert_ne!(verdict.decision, Decision::Deny, "{line}: {}", verdict.reason);
            verdict.decision == Decision::Ask
        };
        lines.iter().filter(decides).map(String::as_str).collect()
    };
    let confined = asks(Sandbox::Bubblewrap);
    assert_eq!(confined, asks(Sandbox::Landlock));
    assert_eq!(confined, ASKS_IN_THE_SANDBOX);
    assert_eq!((lines.len(), asks(Sandbox::None).len()), (361, 227));
    assert!(
        confined.len() * 50 < lines.len(),
        "{} of {} lines ask in the sandbox",
        confined.len(),
        lines.len()
    );
}

const ASKS_IN_THE_SANDBOX: [&str; 6] = [
    // Its `-u` writes the configuration, which runs outside after a yes.
    "git push -u origin feature/button",
    "PYTHONPATH=src python3 -m app.cli --help",
    "python3 -m http.server 8000 & sleep 1; kill %1",
    "ln -s ../a.txt b.txt",
    "curl -s http://localhost:3000/health",
    "docker ps",
];

fn rows() -> Vec<Row<'static>> {
    let mut section = "";
    let mut rows = Vec::new();
    for text in include_str!("corpus/plans.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(name) = text.strip_prefix("== ") {
            section = name;
            continue;
        }
        let fields: Vec<&str> = text.split(" ¦").map(str::trim).collect();
        let [verdict, line, programs, effects] = fields[..] else { panic!("bad row: {text}") };
        // No-break space, zero-width space and right-to-left override, which an editor would hide.
        let line = line.replace('␤', "\n").replace('␉', "\t").replace('⍽', "\u{a0}");
        let line = line.replace('⌷', "\u{200b}").replace('⮐', "\u{202e}");
        let mut effects: Vec<String> = effects.split_whitespace().map(|e| e.replace('␠', " ")).collect();
        effects.sort();
        rows.push(Row { section, text, verdict, line, programs, effects });
    }
    rows
}

/// An effect set in the words of the table.
fn words(effects: &EffectSet) -> Vec<String> {
    let path = |touched: &Touched| {
        let path = &touched.path;
        let text = match (path.strip_prefix(ROOT), path.strip_prefix(HOME)) {
            (Ok(rest), _) if rest.as_os_str().is_empty() => ".".to_owned(),
            (Ok(rest), _) => rest.display().to_string(),
            (_, Ok(rest)) if rest.as_os_str().is_empty() => "~".to_owned(),
            (_, Ok(rest)) => format!("~/{}", rest.display()),
            _ => path.display().to_string(),
        };
        if touched.beneath { format!("{text}/**") } else { text }
    };
    let mut words: Vec<String> = Vec::new();
    words.extend(effects.reads.iter().map(|t| format!("r:{}", path(t))));
    words.extend(effects.lists.iter().map(|t| format!("l:{}", path(t))));
    words.extend(effects.writes.iter().map(|t| format!("w:{}", path(t))));
    words.extend(effects.deletes.iter().map(|t| format!("d:{}", path(t))));
    words.extend(effects.hosts.iter().map(|h| format!("h:{h}")));
    words.extend(match effects.certainty {
        Certainty::Known => None,
        Certainty::Arbitrary => Some("any".to_owned()),
        Certainty::Unknown => Some("?".to_owned()),
    });
    words.sort();
    words
}
