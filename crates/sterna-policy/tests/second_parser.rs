//! A second parser, written by others, reads the same lines: what it finds in command position is in our plan, with the
//! same arguments, or our plan is unknown.
//!
//! `STERNA_FUZZ_CASES=200000 cargo test -p sterna-policy --test second_parser` looks longer.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use brush_parser::ast::{
    AndOr, AssignmentValue, Command, CommandPrefixOrSuffixItem, CompoundCommand, CompoundList,
    ExtendedTestExpr, IoFileRedirectTarget, IoRedirect, Pipeline, RedirectList, SimpleCommand, Word,
};
use brush_parser::word::{WordPiece, WordPieceWithSource, parse, parse_heredoc};
use brush_parser::{Parser, ParserOptions};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sterna_policy::ShellPlan;

#[test]
fn every_program_that_another_parser_finds_is_in_the_plan() {
    let cases = std::env::var("STERNA_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let config = ProptestConfig { failure_persistence: None, cases, ..ProptestConfig::default() };
    let (known, compared) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let outcome = TestRunner::new(config).run(&lines(), |line| {
        let plan = ShellPlan::read(&line);
        if plan.unknown.is_some() {
            return Ok(());
        }
        known.fetch_add(1, Ordering::Relaxed);
        let Some(found) = Found::read(&line) else { return Ok(()) };
        compared.fetch_add(1, Ordering::Relaxed);
        compare(&line, &plan, &found).map_err(TestCaseError::fail)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let (known, compared) = (known.into_inner(), compared.into_inner());
    // Otherwise it would prove nothing.
    assert!(known * 10 > cases as usize, "only {known} of {cases} lines are understood");
    assert!(compared * 2 > known, "only {compared} of {known} understood lines could be compared");
}

#[test]
fn the_tables_read_alike() {
    let tables = [include_str!("corpus/plans.txt"), include_str!("corpus/day.txt")].join("\n");
    let mut wrong = Vec::new();
    let mut compared = 0;
    for row in tables.lines().filter(|l| !l.is_empty() && !l.starts_with(['#', '='])) {
        let line = row.split(" ¦").nth(1).unwrap_or(row).trim().replace('␤', "\n").replace('␉', "\t");
        let plan = ShellPlan::read(&line);
        if plan.unknown.is_some() {
            continue;
        }
        let Some(found) = Found::read(&line) else { continue };
        compared += 1;
        wrong.extend(compare(&line, &plan, &found).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 500, "only {compared} lines could be compared");
}

/// Here the other parser is wrong, and is not asked.
#[test]
fn a_number_apart_from_its_arrow_is_a_word() {
    for line in ["cat <<E | ls 2 >&1\nw\nE", "cat <<-E | ls && ls <<< s 2\t>&1\n\tw\n\tE"] {
        assert!(Found::read(line).is_none(), "{line:?}");
        let plan = ShellPlan::read(line);
        let last: Vec<&str> = plan.commands.last().unwrap().argv.iter().map(|w| w.text.as_str()).collect();
        assert_eq!((last, plan.unknown), (vec!["ls", "2"], None), "{line:?}");
    }
    assert!(Found::read("cat <<E | ls 2>&1\nw\nE").is_some());
}

fn compare(line: &str, plan: &ShellPlan, found: &Found) -> Result<(), String> {
    let argvs: BTreeSet<Vec<&str>> = plan
        .commands
        .iter()
        .flat_map(|c| c.via.iter().chain([&c.argv]))
        .map(|argv| argv.iter().map(|w| w.text.as_str()).collect())
        .collect();
    for name in &found.names {
        let there = argvs.iter().any(|argv| argv.first() == Some(&name.as_str()));
        if !there && !found.functions.contains(name) && !KEYWORD_PROGRAMS.contains(&name.as_str()) {
            return Err(format!("{line:?}: `{name}` runs, and is not in {argvs:?}"));
        }
    }
    for argv in found.literal.iter().filter(|argv| !found.functions.contains(&argv[0])) {
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let keyword = KEYWORD_PROGRAMS.contains(&argv[0]);
        if !keyword && !argvs.contains(&argv) {
            return Err(format!("{line:?}: {argv:?} runs, and is not in {argvs:?}"));
        }
    }
    let targets: BTreeSet<&str> =
        plan.commands.iter().flat_map(|c| &c.redirects).map(|r| r.target.text.as_str()).collect();
    match found.files.iter().find(|file| !targets.contains(file.as_str())) {
        Some(file) => Err(format!("{line:?}: `{file}` is opened, and is not in {targets:?}")),
        None => Ok(()),
    }
}

/// Words that only change the shell's own state, and so are no commands of a plan.
const KEYWORD_PROGRAMS: [&str; 6] = ["export", "declare", "typeset", "local", "readonly", "unset"];

/// What the other parser sees.
#[derive(Default)]
struct Found {
    names: BTreeSet<String>,
    /// Commands whose words are all literal.
    literal: BTreeSet<Vec<String>>,
    functions: BTreeSet<String>,
    /// Literal targets of redirections.
    files: BTreeSet<String>,
    /// Something in it could not be read.
    lost: bool,
    /// Within a function's body: its parameters are not known here.
    depth: usize,
}

impl Found {
    fn read(line: &str) -> Option<Self> {
        // Behind a here-document on the same line it loses its place in a substitution, and takes the word `2` of `2 >&1`
        // for a descriptor.
        let number = |before: &str| {
            before.ends_with([' ', '\t']) && before.trim_end().ends_with(|c: char| c.is_ascii_digit())
        };
        let misread = |rest: &str| rest.contains(['(', '`']) || rest.split(['<', '>']).any(number);
        let behind = |l: &str| l.split_once("<<").is_some_and(|(_, rest)| misread(rest));
        if line.lines().any(behind) {
            return None;
        }
        let mut found = Self::default();
        found.program(line);
        (!found.lost).then_some(found)
    }

    fn program(&mut self, text: &str) {
        self.depth += 1;
        let parsed = Parser::new(text.as_bytes(), &options()).parse_program();
        match parsed {
            Ok(program) if self.depth < 20 => {
                program.complete_commands.iter().for_each(|list| self.list(list))
            }
            _ => self.lost = true,
        }
        self.depth -= 1;
    }

    fn list(&mut self, list: &CompoundList) {
        for item in &list.0 {
            self.pipeline(&item.0.first);
            for more in &item.0.additional {
                match more {
                    AndOr::And(pipeline) | AndOr::Or(pipeline) => self.pipeline(pipeline),
                }
            }
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        pipeline.seq.iter().for_each(|command| self.command(command));
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Simple(simple) => self.simple(simple),
            Command::Compound(compound, redirects) => {
                self.compound(compound);
                self.redirects(redirects.as_ref());
            }
            Command::Function(function) => {
                self.functions.insert(function.fname.value.clone());
                self.compound(&function.body.0);
                self.redirects(function.body.1.as_ref());
            }
            Command::ExtendedTest(test, redirects) => {
                self.test(&test.expr);
                self.redirects(redirects.as_ref());
            }
        }
    }

    fn compound(&mut self, command: &CompoundCommand) {
        match command {
            CompoundCommand::Arithmetic(_) | CompoundCommand::ArithmeticForClause(_) => self.lost = true,
            CompoundCommand::BraceGroup(group) => self.list(&group.list),
            CompoundCommand::Subshell(group) => self.list(&group.list),
            CompoundCommand::ForClause(clause) => {
                clause.values.iter().flatten().for_each(|word| drop(self.word(word)));
                self.list(&clause.body.list);
            }
            CompoundCommand::CaseClause(clause) => {
                self.word(&clause.value);
                clause.cases.iter().filter_map(|case| case.cmd.as_ref()).for_each(|list| self.list(list));
            }
            CompoundCommand::IfClause(clause) => {
                self.list(&clause.condition);
                self.list(&clause.then);
                for other in clause.elses.iter().flatten() {
                    other.condition.iter().for_each(|list| self.list(list));
                    self.list(&other.body);
                }
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => {
                self.list(&clause.0);
                self.list(&clause.1.list);
            }
            CompoundCommand::Coprocess(clause) => self.command(&clause.body),
        }
    }

    fn simple(&mut self, command: &SimpleCommand) {
        command.prefix.iter().flat_map(|p| &p.0).for_each(|item| drop(self.item(item)));
        let Some(name) = &command.word_or_name else {
            command.suffix.iter().flat_map(|s| &s.0).for_each(|item| drop(self.item(item)));
            return;
        };
        let name = self.word(name);
        if let Some(name) = &name {
            self.names.insert(name.clone());
        }
        let mut argv = name.map(|name| vec![name]);
        for item in command.suffix.iter().flat_map(|s| &s.0) {
            match (self.item(item), &mut argv) {
                (Some(words), Some(argv)) => argv.extend(words),
                _ => argv = None,
            }
        }
        self.literal.extend(argv);
    }

    /// The literal words of an item: none for a redirection.
    fn item(&mut self, item: &CommandPrefixOrSuffixItem) -> Option<Vec<String>> {
        match item {
            CommandPrefixOrSuffixItem::IoRedirect(redirect) => {
                self.redirect(redirect);
                Some(Vec::new())
            }
            CommandPrefixOrSuffixItem::Word(word) => self.word(word).map(|word| vec![word]),
            CommandPrefixOrSuffixItem::AssignmentWord(assignment, word) => {
                match &assignment.value {
                    AssignmentValue::Scalar(value) => drop(self.word(value)),
                    AssignmentValue::Array(values) => values.iter().for_each(|(_, v)| drop(self.word(v))),
                }
                self.word(word).map(|word| vec![word])
            }
            CommandPrefixOrSuffixItem::ProcessSubstitution(_, subshell) => {
                self.list(&subshell.list);
                None
            }
        }
    }

    fn redirects(&mut self, list: Option<&RedirectList>) {
        list.iter().flat_map(|list| &list.0).for_each(|redirect| self.redirect(redirect));
    }

    fn redirect(&mut self, redirect: &IoRedirect) {
        match redirect {
            IoRedirect::File(_, _, IoFileRedirectTarget::Filename(word))
            | IoRedirect::OutputAndError(word, _) => {
                let file = self.word(word);
                self.files.extend(file);
            }
            IoRedirect::File(_, _, IoFileRedirectTarget::ProcessSubstitution(_, shell)) => {
                self.list(&shell.list)
            }
            IoRedirect::File(_, _, IoFileRedirectTarget::Fd(_) | IoFileRedirectTarget::Duplicate(_)) => {}
            IoRedirect::HereDocument(_, document) if document.requires_expansion => {
                match parse_heredoc(&document.doc.value, &options()) {
                    Ok(pieces) => drop(self.pieces(&pieces)),
                    Err(_) => self.lost = true,
                }
            }
            IoRedirect::HereDocument(..) => {}
            IoRedirect::HereString(_, word) => drop(self.word(word)),
        }
    }

    fn test(&mut self, test: &ExtendedTestExpr) {
        match test {
            ExtendedTestExpr::And(a, b) | ExtendedTestExpr::Or(a, b) => {
                self.test(a);
                self.test(b);
            }
            ExtendedTestExpr::Not(a) | ExtendedTestExpr::Parenthesized(a) => self.test(a),
            ExtendedTestExpr::UnaryTest(_, word) => drop(self.word(word)),
            ExtendedTestExpr::BinaryTest(_, a, b) => {
                self.word(a);
                self.word(b);
            }
        }
    }

    /// The text of a word that is literal. Commands within it are found in any case.
    fn word(&mut self, word: &Word) -> Option<String> {
        // It also gives words with the blank before them. No shell has such words.
        self.lost |= word.value.starts_with([' ', '\t']);
        match parse(&word.value, &options()) {
            Ok(pieces) => self.pieces(&pieces),
            Err(_) => {
                self.lost = true;
                None
            }
        }
    }

    fn pieces(&mut self, pieces: &[WordPieceWithSource]) -> Option<String> {
        let mut text = Some(String::new());
        for piece in pieces {
            let part = match &piece.piece {
                WordPiece::Text(part) if part.contains(['{', '}', '~']) => None,
                WordPiece::Text(part) | WordPiece::SingleQuotedText(part) => Some(part.clone()),
                WordPiece::DoubleQuotedSequence(inner) => self.pieces(inner),
                WordPiece::EscapeSequence(part) if part == "\\\n" => Some(String::new()),
                WordPiece::EscapeSequence(part) => part.strip_prefix('\\').map(str::to_owned),
                WordPiece::CommandSubstitution(inner) => {
                    self.program(inner);
                    None
                }
                WordPiece::BackquotedCommandSubstitution(inner) => {
                    self.program(inner);
                    None
                }
                WordPiece::AnsiCQuotedText(_)
                | WordPiece::GettextDoubleQuotedSequence(_)
                | WordPiece::TildeExpansion(_)
                | WordPiece::ParameterExpansion(_)
                | WordPiece::ArithmeticExpression(_) => None,
            };
            text = text.zip(part).map(|(text, part)| text + &part);
        }
        text
    }
}

fn options() -> ParserOptions {
    ParserOptions { enable_extended_globbing: false, ..ParserOptions::default() }
}

/// Lines that are mostly right, and lines that were right before something was put in, cut out or doubled.
fn lines() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), 0..3usize, prop::sample::select(&NOISE[..]));
    (statement(), prop::collection::vec(change, 0..3)).prop_map(|(mut line, changes)| {
        for (at, what, noise) in changes {
            let starts: Vec<usize> = line.char_indices().map(|(i, _)| i).collect();
            if starts.is_empty() {
                break;
            }
            let at = *at.get(&starts);
            match what {
                0 => line.insert_str(at, noise),
                1 => drop(line.remove(at)),
                _ => {
                    let end = line[at..].char_indices().nth(4).map_or(line.len(), |(i, _)| at + i);
                    let again = line[at..end].to_owned();
                    line.insert_str(at, &again);
                }
            }
        }
        line
    })
}

fn statement() -> impl Strategy<Value = String> {
    simple().prop_recursive(4, 24, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            (pair.clone(), prop::sample::select(&JOINS[..])).prop_map(|((a, b), j)| format!("{a}{j}{b}")),
            (inner.clone(), prop::sample::select(&WRAPS[..])).prop_map(|(a, w)| w.replace("%", &a)),
            (pair, prop::sample::select(&PAIRS[..]))
                .prop_map(|((a, b), w)| w.replace("%1", &a).replace("%2", &b)),
        ]
    })
}

fn simple() -> impl Strategy<Value = String> {
    let word = prop::sample::select(&WORDS[..]);
    (
        prop::sample::select(&PROGRAMS[..]),
        prop::collection::vec((prop::sample::select(&GAPS[..]), word), 0..4),
    )
        .prop_map(|(program, words)| {
            let words: String = words.iter().map(|(gap, word)| format!("{gap}{word}")).collect();
            format!("{program}{words}")
        })
}

const PROGRAMS: [&str; 17] = [
    "ls",
    "echo",
    "cat",
    "rm",
    "'rm'",
    "r\\m",
    "git log",
    "env A=1 rm",
    "A=1 ls",
    "xargs rm",
    "sh -c 'rm x'",
    "test -f",
    "[ a = b ]",
    "[[ -f a ]]",
    "find . -exec rm {} \\;",
    "x=a",
    "grep",
];
const WORDS: [&str; 34] = [
    "a",
    "-l",
    "'b c'",
    "\"d\"",
    "e\\ f",
    "$x",
    "\"$x\"",
    "${x}",
    "$(ls)",
    "\"$(rm y)\"",
    "`pwd`",
    "*.rs",
    "{p,q}",
    "~/h",
    "> o",
    "2>&1",
    "2>/dev/null",
    "< i",
    ">> o",
    "&> o",
    "<<< s",
    "$((1+2))",
    "x#y",
    "# rm z",
    "\"a\\\"b\"",
    "'it'\\''s'",
    "--",
    "-",
    "a=b",
    "\"\"",
    "$",
    "\"$ \"",
    "\\$x",
    "é",
];
const GAPS: [&str; 4] = [" ", " ", "  ", " \\\n "];
const JOINS: [&str; 9] = [" && ", " || ", "; ", " | ", "\n", " & ", " |& ", " &&\n", ";"];
const WRAPS: [&str; 16] = [
    "(%)",
    "{ %; }",
    "! %",
    "echo $(%)",
    "echo \"$(%)\"",
    "f() { %; }; f",
    "f() { %; }; f a",
    "for x in a b; do %; done",
    "for x in *.c; do %; done",
    "while read -r x; do %; done < i",
    "(%) > o",
    "{ %\n} 2>&1",
    "cat <<E\nq $(%)\nE",
    "cat <<'E'\n%\nE",
    "cat <<-E | %\n\tw\n\tE",
    "x=$(%); echo \"$x\"",
];
const PAIRS: [&str; 7] = [
    "if %1; then %2; fi",
    "if true; then %1; else %2; fi",
    "while %1; do %2; done",
    "case a in a) %1;; *) %2;; esac",
    "cat <<E && %1\nw\nE\n%2",
    "if %1\nthen %2\nelif true; then %1\nfi",
    "f() { %1; }; %2; f",
];
const NOISE: [&str; 30] = [
    ";", "|", "&", "(", ")", "{", "}", "<", ">", "'", "\"", "`", "$", "\\", "#", " ", "\n", "\\\n", "<<E\n",
    "!", "*", "~", "=", "do", "fi", "$(", "${", "[[", "rm ", "\t",
];
