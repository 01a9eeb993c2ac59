//! Statements that hold others: choices, loops, functions; and tests, which hold words.

use tree_sitter::Node;

use crate::assign::settable;
use crate::characters::is_name;
use crate::jumps::{Break, merge};
use crate::lower::{Lowerer, Value, value_of};
use crate::programs::is_known;
use crate::shell::{Hidden, KEYWORDS, Redirect, SimpleCommand, Word};
use crate::syntax::{children, source};
use crate::words::is_number;
use crate::wrappers::is_wrapper;

impl<'t> Lowerer<'t> {
    /// May run any number of times.
    fn loops(&mut self, run: impl Fn(&mut Self) -> Result<(), String>) -> Result<(), String> {
        self.looping(|s| s.rounds(run))
    }

    /// The body is read again until what it sets is what it began with.
    fn rounds(&mut self, run: impl Fn(&mut Self) -> Result<(), String>) -> Result<Option<Break>, String> {
        self.repeating += 1;
        for _ in 0..MAX_ROUNDS {
            let now = |s: &Self| (s.scope.variables.clone(), s.scope.folders.clone(), s.scope.lost.clone());
            let (from, before) = (self.out.len(), now(self));
            self.perhaps(&run)?;
            let mut left = None;
            self.round_ends(&mut left);
            if now(self) == before {
                self.repeating -= 1;
                return Ok(left);
            }
            self.out.truncate(from);
        }
        Err("a loop whose variables or folders never settle".into())
    }

    /// `if`, `elif`, `else`: the first condition runs, the rest may.
    pub(crate) fn choice(&mut self, node: Node<'t>) -> Result<(), String> {
        let mut part = Vec::new();
        let mut first = true;
        for child in children(node, self.text, |_, _| true)? {
            match child.kind() {
                "if" => {}
                "then" => {
                    let condition = std::mem::take(&mut part);
                    self.statements(&condition)?;
                    first = false;
                }
                "fi" | "elif_clause" | "else_clause" => {
                    let body = std::mem::take(&mut part);
                    self.perhaps(|s| s.statements(&body))?;
                    if child.kind() != "fi" {
                        let all = children(child, self.text, |_, _| true)?;
                        let inner: Vec<_> = all
                            .into_iter()
                            .filter(|n| n.is_named() || !["elif", "else", "then"].contains(&n.kind()))
                            .collect();
                        self.perhaps(|s| s.branch(&inner))?;
                    }
                }
                _ => part.push(child),
            }
        }
        if first || !part.is_empty() {
            return Err("an `if` that is not understood".into());
        }
        Ok(())
    }

    /// The condition and the body of an `elif` stand side by side; keywords between them were left out.
    fn branch(&mut self, all: &[Node<'t>]) -> Result<(), String> {
        for node in all {
            match node.kind() {
                ";" => {}
                "&" => return Err("a background command in a condition".into()),
                _ => self.statement(*node, Vec::new())?,
            }
        }
        Ok(())
    }

    pub(crate) fn repeat(&mut self, node: Node<'t>) -> Result<(), String> {
        let all = children(node, self.text, |_, _| true)?;
        let [word, condition @ .., body] = &all[..] else {
            return Err("a loop that is not understood".into());
        };
        if !["while", "until"].contains(&word.kind()) {
            return Err("a loop that is not understood".into());
        }
        let inner = self.inner(*body, "do", "done")?;
        self.loops(|s| {
            s.statements(condition)?;
            s.statements(&inner)
        })
    }

    /// `for NAME in WORDS`: once for each word that is known, once for all the names of a pattern.
    pub(crate) fn each(&mut self, node: Node<'t>) -> Result<(), String> {
        let fail = || Err("a `for` that is not understood".to_owned());
        let all = children(node, self.text, |a, _| !matches!(a.kind(), "for" | "variable_name" | "in"))?;
        let [word, name, keyword, values @ .., body] = &all[..] else { return fail() };
        if word.kind() != "for" || name.kind() != "variable_name" || keyword.kind() != "in" {
            return fail();
        }
        let name = source(self.text, *name)?.to_owned();
        settable(&name)?;
        self.assignable(&name)?;
        let mut words = Vec::new();
        let mut last = *keyword;
        for value in values.iter().filter(|v| v.kind() != ";") {
            let between = self.text.get(last.end_byte()..value.start_byte()).unwrap_or_default();
            if between.replace("\\\n", "").contains('\n') || between.is_empty() {
                return fail();
            }
            last = *value;
            words.extend(self.words(*value)?);
        }
        let inner = self.inner(*body, "do", "done")?;
        let before = self.scope.variables.clone();
        self.looping(|s| {
            let mut left = None;
            for word in words {
                let value = value_of(&word);
                let once = matches!(value, Value::Known { .. });
                s.scope.variables.insert(name.clone(), value);
                s.step()?;
                if once {
                    s.nested += 1;
                    s.statements(&inner)?;
                    s.nested -= 1;
                    s.round_ends(&mut left);
                } else {
                    merge(&mut left, s.rounds(|s| s.statements(&inner))?);
                }
            }
            Ok(left)
        })?;
        self.blur(&before);
        Ok(())
    }

    pub(crate) fn case(&mut self, node: Node<'t>) -> Result<(), String> {
        let fail = || Err("a `case` that is not understood".to_owned());
        let all = children(node, self.text, |_, _| true)?;
        let [word, value, keyword, items @ .., end] = &all[..] else { return fail() };
        if (word.kind(), keyword.kind(), end.kind()) != ("case", "in", "esac") {
            return fail();
        }
        self.words(*value)?;
        for item in items {
            if item.kind() != "case_item" {
                return fail();
            }
            let all = children(*item, self.text, |_, _| true)?;
            let Some(at) = all.iter().position(|n| n.kind() == ")") else { return fail() };
            for pattern in all[..at].iter().filter(|n| n.is_named()) {
                let text = source(self.text, *pattern)?;
                if text.chars().any(|c| c.is_whitespace() || "$`()<>;&".contains(c)) {
                    return fail();
                }
            }
            let body: Vec<_> =
                all[at + 1..].iter().filter(|n| ![";;", ";&", ";;&"].contains(&n.kind())).copied().collect();
            self.perhaps(|s| s.statements(&body))?;
        }
        Ok(())
    }

    /// Only at the top, once, and under a name that is nothing else.
    pub(crate) fn define(&mut self, node: Node<'t>) -> Result<(), String> {
        let all = children(node, self.text, |a, _| matches!(a.kind(), ")" | "word"))?;
        let name = all.iter().find(|n| n.kind() == "word").ok_or("a function that is not understood")?;
        let name = source(self.text, *name)?.to_owned();
        if !is_name(&name.replace('-', "_"))
            || is_known(&name)
            || is_wrapper(&name)
            || KEYWORDS.contains(&name.as_str())
            // Bash calls it with the words of a program that is not there.
            || name.starts_with("command_not_found_handle")
        {
            return Err(format!("the function `{name}` has the name of a program"));
        }
        let body = *all.last().ok_or("a function that is not understood")?;
        if self.may_have_failed() {
            return Err(format!("the function `{name}` may not be defined"));
        }
        if self.nested > 0 || self.repeating > 0 || !["compound_statement", "subshell"].contains(&body.kind())
        {
            return Err("a function within something else".into());
        }
        if self.scope.functions.insert(name.clone(), body).is_some() {
            return Err(format!("the function `{name}` twice"));
        }
        Ok(())
    }

    pub(crate) fn call(
        &mut self,
        name: &str,
        body: Node<'t>,
        arguments: Vec<Word>,
        redirects: Vec<Redirect>,
    ) -> Result<(), String> {
        self.called.insert(name.to_owned());
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Err(format!("the function `{name}` is called too often"));
        }
        let outer = self.scope.arguments.replace(arguments);
        let from = self.out.len();
        self.calling(|s| s.statement(body, Vec::new()))?;
        self.scope.arguments = outer;
        for command in self.out.iter_mut().skip(from) {
            command.redirects.extend(redirects.iter().cloned());
        }
        Ok(())
    }

    /// What a function would do counts even when nothing calls it.
    pub(crate) fn uncalled(&mut self) -> Result<(), String> {
        for (name, body) in self.scope.functions.clone() {
            if !self.called.contains(&name) {
                self.apart(|s| s.call(&name, body, Vec::new(), Vec::new()))?;
            }
        }
        Ok(())
    }

    /// `[ … ]` and `[[ … ]]` as the words that they are.
    pub(crate) fn test(&mut self, node: Node<'t>, redirects: Vec<Redirect>) -> Result<(), String> {
        let all = children(node, self.text, |_, _| false)?;
        let (open, close) = match (all.first().map(Node::kind), all.last().map(Node::kind)) {
            (Some("["), Some("]")) => ("[", "]"),
            (Some("[["), Some("]]")) => ("[[", "]]"),
            _ => return Err("a test that is not understood".into()),
        };
        apart(&all)?;
        let after = self.text.get(node.end_byte()..).and_then(|rest| rest.chars().next());
        if after.is_some_and(|c| !" \t\n;|&()<>".contains(c)) {
            return Err("a test that is not understood".into());
        }
        let mut argv = vec![Word::literal(open)];
        for part in all.get(1..all.len() - 1).unwrap_or_default() {
            self.operands(*part, open == "[[", &mut argv)?;
        }
        argv.push(Word::literal(close));
        if open == "[[" {
            numbers_only(&argv)?;
            self.may_fail();
        }
        self.finish(SimpleCommand { argv, redirects, ..SimpleCommand::default() })
    }

    fn operands(&mut self, node: Node<'t>, double: bool, argv: &mut Vec<Word>) -> Result<(), String> {
        self.step()?;
        match node.kind() {
            "binary_expression" | "unary_expression" => {
                let parts = children(node, self.text, |_, _| false)?;
                apart(&parts)?;
                for part in parts {
                    self.operands(part, double, argv)?;
                }
                Ok(())
            }
            // Outside bash these would begin another command.
            "<" | ">" | "&&" | "||" | "(" | ")" => Err("a test with an operator of the shell".into()),
            "=~" if double => {
                argv.push(Word::literal("=~"));
                Ok(())
            }
            "regex" | "extglob_pattern" => {
                let text = source(self.text, node)?;
                if text.chars().any(|c| c.is_whitespace() || "$`()<>;&|\"'\\".contains(c)) {
                    return Err("a pattern that is not understood".into());
                }
                argv.push(Word { glob: !double && text.contains(['*', '?', '[']), ..Word::literal(text) });
                Ok(())
            }
            _ if double => {
                let (mut words, braces) = self.uncut(node)?;
                words.iter_mut().for_each(|w| w.hidden = w.hidden.min(Hidden::One));
                if braces {
                    // They are text here.
                    words.iter_mut().for_each(|w| w.hidden = Hidden::One);
                }
                argv.append(&mut words);
                Ok(())
            }
            _ => {
                argv.append(&mut self.words(node)?);
                Ok(())
            }
        }
    }
}

/// What the grammar tells apart without a blank between is one word for a shell.
fn apart(parts: &[Node]) -> Result<(), String> {
    match parts.windows(2).any(|pair| pair[0].end_byte() == pair[1].start_byte()) {
        true => Err("a test that is not understood".into()),
        false => Ok(()),
    }
}

/// `[[ a -eq b ]]` evaluates both sides, which may run commands.
fn numbers_only(argv: &[Word]) -> Result<(), String> {
    const COMPARES: [&str; 6] = ["-eq", "-ne", "-lt", "-le", "-gt", "-ge"];
    let number = |w: Option<&Word>| {
        w.is_some_and(|w| {
            matches!(w.hidden, Hidden::Job | Hidden::Number) || (w.hidden == Hidden::No && is_number(&w.text))
        })
    };
    for (i, word) in argv.iter().enumerate() {
        if ["-v", "-R"].contains(&word.text.as_str()) {
            return Err("a test that evaluates a name".into());
        }
        if COMPARES.contains(&word.text.as_str()) && !(number(argv.get(i - 1)) && number(argv.get(i + 1))) {
            return Err("a comparison of what may be no number".into());
        }
    }
    Ok(())
}

const MAX_CALLS: usize = 32;
const MAX_ROUNDS: usize = 8;
