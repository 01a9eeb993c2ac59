//! Makes simple commands of a syntax tree, fail-closed: what is not in here is not understood.
//!
//! It follows what a shell would do as far as that is certain before the line runs: variables keep their values only
//! while nothing that may or may not run could have changed them.

use std::collections::{BTreeMap, BTreeSet};

use tree_sitter::Node;

use crate::characters::is_name;
use crate::programs::{hidden_words_do_no_harm, is_indifferent, is_known};
use crate::shell::{Hidden, KEYWORDS, MAX_DEPTH, Redirect, RedirectKind, SimpleCommand, Word};
use crate::syntax::{children, parse, source};
use crate::variables::is_loader;
use crate::wrappers::{self, is_wrapper};

/// Reads a line that stands `depth` levels deep in `sh -c`.
pub(crate) fn lower(line: &str, depth: usize) -> Result<Vec<SimpleCommand>, String> {
    if depth > MAX_DEPTH {
        return Err("shells within shells, too deep".into());
    }
    let tree = parse(line)?;
    let mut lowerer = Lowerer {
        text: line,
        depth,
        out: Vec::new(),
        scope: Scope::default(),
        called: BTreeSet::new(),
        nested: 0,
        repeating: 0,
        calls: 0,
        steps: 0,
    };
    lowerer.sequence(tree.root_node())?;
    lowerer.uncalled()?;
    if lowerer.out.is_empty() {
        return Err("no command".into());
    }
    Ok(lowerer.out)
}

/// What is known of a variable where it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// `home`: begins with `~` for the home folder.
    Known { text: String, home: bool },
    /// One of the names that a pattern matches.
    Pattern { text: String, home: bool },
    /// A whole number.
    Number,
    /// Set, to something that only the shell will know.
    Opaque,
    /// Set on one way and not on another.
    Unsure,
}

/// What commands of one shell share.
#[derive(Debug, Clone, Default)]
struct Scope<'t> {
    variables: BTreeMap<String, Value>,
    functions: BTreeMap<String, Node<'t>>,
    /// Arguments of the function that runs.
    arguments: Option<Vec<Word>>,
    /// `NAME=value` that later commands get.
    exported: Vec<String>,
    /// Variables that were set and may have been exported before the line.
    touched: BTreeSet<String>,
}

pub(crate) struct Lowerer<'t> {
    pub(crate) text: &'t str,
    depth: usize,
    out: Vec<SimpleCommand>,
    scope: Scope<'t>,
    called: BTreeSet<String>,
    /// Levels of what may not run, or runs in a shell of its own.
    nested: usize,
    /// Levels of what may run more than once.
    repeating: usize,
    calls: usize,
    steps: usize,
}

/// What a here-document gave.
struct Document<'t> {
    body: Option<String>,
    redirects: Vec<Redirect>,
    /// What stands behind it on its line.
    after: Vec<Node<'t>>,
}

impl<'t> Lowerer<'t> {
    /// Counts characters of values, which grow when they are put together.
    pub(crate) fn weigh(&mut self, text: &str) -> Result<(), String> {
        self.steps += text.len() / 16;
        self.step()
    }

    /// Counts work, so that no line costs more than its length is worth.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.out.len() > MAX_COMMANDS {
            return Err(format!("more than {MAX_COMMANDS} commands in one line"));
        }
        Ok(())
    }

    /// The value of a variable, a parameter of a function, or a number that the shell keeps.
    pub(crate) fn value(&self, name: &str) -> Result<Value, String> {
        if ["?", "#", "$", "!"].contains(&name) {
            return Ok(Value::Number);
        }
        if let Ok(number) = name.parse::<usize>() {
            let word = self.scope.arguments.as_ref().and_then(|a| a.get(number.checked_sub(1)?));
            let word = word.ok_or_else(|| format!("an expansion with $: `{name}` is not set here"))?;
            return Ok(value_of(word));
        }
        let value = self.scope.variables.get(name).cloned();
        value.ok_or_else(|| format!("an expansion with $: `{name}` is not set here"))
    }

    pub(crate) fn all_arguments(&self) -> Result<Vec<Word>, String> {
        self.scope.arguments.clone().ok_or_else(|| "an expansion with $: `@` is not set here".into())
    }

    /// Statements one after another. They must be told apart by more than the tree.
    fn sequence(&mut self, node: Node<'t>) -> Result<(), String> {
        let all = children(node, self.text, |_, _| true)?;
        self.statements(&all)
    }

    fn statements(&mut self, all: &[Node<'t>]) -> Result<(), String> {
        let mut last: Option<Node<'t>> = None;
        for (i, node) in all.iter().enumerate() {
            match node.kind() {
                ";" | "&" => last = None,
                _ => {
                    if let Some(last) = last
                        && !self
                            .text
                            .get(last.end_byte()..node.start_byte())
                            .unwrap_or_default()
                            .contains('\n')
                    {
                        return Err("a syntax that is not understood".into());
                    }
                    last = Some(*node);
                    if all.get(i + 1).is_some_and(|n| n.kind() == "&") {
                        self.apart(|s| s.statement(*node, Vec::new()))?;
                    } else {
                        self.statement(*node, Vec::new())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// One statement; `redirects` hold for all of it.
    fn statement(&mut self, node: Node<'t>, redirects: Vec<Redirect>) -> Result<(), String> {
        self.step()?;
        let from = self.out.len();
        match node.kind() {
            "command" => return self.command(node, redirects, Vec::new()),
            "redirected_statement" => return self.redirected(node, redirects),
            "list" => return self.list(node, redirects),
            "pipeline" => return self.pipeline(node, redirects),
            "negated_command" => {
                let parts = children(node, self.text, |_, _| false)?;
                let [mark, inner] = parts[..] else { return Err("a negation that is not understood".into()) };
                if mark.kind() != "!" || mark.end_byte() == inner.start_byte() {
                    return Err("a negation that is not understood".into());
                }
                return self.statement(inner, redirects);
            }
            "variable_assignment" => self.assignment(node)?,
            "variable_assignments" => {
                for part in children(node, self.text, |_, _| false)? {
                    self.assignment(part)?;
                }
            }
            "declaration_command" => self.export(node)?,
            "test_command" => return self.test(node, redirects),
            "subshell" => {
                let inner = self.inner(node, "(", ")")?;
                self.apart(|s| s.statements(&inner))?;
            }
            "compound_statement" => {
                let inner = self.inner(node, "{", "}")?;
                self.statements(&inner)?;
            }
            "if_statement" => self.choice(node)?,
            "while_statement" => self.repeat(node)?,
            "for_statement" => self.each(node)?,
            "case_statement" => self.case(node)?,
            "function_definition" => self.define(node)?,
            other => return Err(format!("a syntax that is not understood ({})", other.replace('_', " "))),
        }
        if !redirects.is_empty() && from == self.out.len() {
            return Err("a redirection without a program".into());
        }
        for command in self.out.iter_mut().skip(from) {
            command.redirects.extend(redirects.iter().cloned());
        }
        Ok(())
    }

    /// Runs in a shell of its own: what it sets is gone afterwards.
    fn apart(&mut self, run: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let kept = self.scope.clone();
        self.nested += 1;
        run(self)?;
        self.nested -= 1;
        self.scope = kept;
        Ok(())
    }

    /// May run or not: what it sets is not certain afterwards.
    fn perhaps(&mut self, run: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let kept = self.scope.variables.clone();
        self.nested += 1;
        run(self)?;
        self.nested -= 1;
        self.blur(&kept);
        Ok(())
    }

    /// Forgets the values of variables that differ from those before.
    fn blur(&mut self, before: &BTreeMap<String, Value>) {
        for (name, value) in &mut self.scope.variables {
            if before.get(name) != Some(value) {
                *value = Value::Unsure;
            }
        }
    }

    /// May run any number of times: what is set anywhere in it is not certain in it, either.
    fn loops(
        &mut self,
        body: Node<'t>,
        run: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        for name in set_within(body, self.text)? {
            self.scope.variables.insert(name, Value::Unsure);
        }
        self.repeating += 1;
        self.perhaps(run)?;
        self.repeating -= 1;
        Ok(())
    }

    fn inner(&self, node: Node<'t>, open: &str, close: &str) -> Result<Vec<Node<'t>>, String> {
        let mut all = children(node, self.text, |_, _| true)?;
        let ends =
            all.first().is_some_and(|n| n.kind() == open) && all.last().is_some_and(|n| n.kind() == close);
        if !ends || all.len() < 3 {
            return Err("a group that is not understood".into());
        }
        all.pop();
        all.remove(0);
        Ok(all)
    }

    /// `a && b || c`, flat: the part after `&&` knows what the parts before it set.
    fn list(&mut self, node: Node<'t>, redirects: Vec<Redirect>) -> Result<(), String> {
        let mut parts = Vec::new();
        flatten(node, "list", self.text, &mut parts)?;
        let mut before = None;
        let last = parts.len();
        for (i, (operator, part)) in parts.into_iter().enumerate() {
            let redirects = if i + 1 == last { redirects.clone() } else { Vec::new() };
            match operator {
                None => self.statement(part, redirects)?,
                Some("&&") => {
                    before.get_or_insert_with(|| self.scope.variables.clone());
                    self.nested += 1;
                    self.statement(part, redirects)?;
                    self.nested -= 1;
                }
                Some("||") => {
                    let kept = before.take().unwrap_or_else(|| self.scope.variables.clone());
                    self.blur(&kept);
                    self.perhaps(|s| s.statement(part, redirects))?;
                }
                Some(_) => return Err("an operator that is not understood".into()),
            }
        }
        if let Some(before) = before {
            self.blur(&before);
        }
        Ok(())
    }

    fn pipeline(&mut self, node: Node<'t>, redirects: Vec<Redirect>) -> Result<(), String> {
        let mut parts = Vec::new();
        flatten(node, "pipeline", self.text, &mut parts)?;
        let last = parts.len();
        for (i, (operator, part)) in parts.into_iter().enumerate() {
            if operator.is_some_and(|o| !["|", "|&"].contains(&o)) {
                return Err("an operator that is not understood".into());
            }
            let redirects = if i + 1 == last { redirects.clone() } else { Vec::new() };
            self.apart(|s| s.statement(part, redirects))?;
        }
        Ok(())
    }

    /// `if`, `elif`, `else`: the first condition runs, the rest may.
    fn choice(&mut self, node: Node<'t>) -> Result<(), String> {
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

    fn repeat(&mut self, node: Node<'t>) -> Result<(), String> {
        let all = children(node, self.text, |_, _| true)?;
        let [word, condition @ .., body] = &all[..] else {
            return Err("a loop that is not understood".into());
        };
        if !["while", "until"].contains(&word.kind()) {
            return Err("a loop that is not understood".into());
        }
        let inner = self.inner(*body, "do", "done")?;
        self.loops(node, |s| {
            s.statements(condition)?;
            s.statements(&inner)
        })
    }

    /// `for NAME in WORDS`: once for each word that is known, once for all the names of a pattern.
    fn each(&mut self, node: Node<'t>) -> Result<(), String> {
        let fail = || Err("a `for` that is not understood".to_owned());
        let all = children(node, self.text, |a, _| !matches!(a.kind(), "for" | "variable_name" | "in"))?;
        let [word, name, keyword, values @ .., body] = &all[..] else { return fail() };
        if word.kind() != "for" || name.kind() != "variable_name" || keyword.kind() != "in" {
            return fail();
        }
        let name = source(self.text, *name)?.to_owned();
        settable(&name)?;
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
        for word in words {
            let value = value_of(&word);
            let once = matches!(value, Value::Known { .. });
            self.scope.variables.insert(name.clone(), value);
            self.step()?;
            if once {
                self.nested += 1;
                self.statements(&inner)?;
                self.nested -= 1;
            } else {
                self.loops(*body, |s| s.statements(&inner))?;
            }
        }
        self.blur(&before);
        Ok(())
    }

    fn case(&mut self, node: Node<'t>) -> Result<(), String> {
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
    fn define(&mut self, node: Node<'t>) -> Result<(), String> {
        let all = children(node, self.text, |a, _| matches!(a.kind(), ")" | "word"))?;
        let name = all.iter().find(|n| n.kind() == "word").ok_or("a function that is not understood")?;
        let name = source(self.text, *name)?.to_owned();
        if !is_name(&name.replace('-', "_"))
            || is_known(&name)
            || is_wrapper(&name)
            || KEYWORDS.contains(&name.as_str())
        {
            return Err(format!("the function `{name}` has the name of a program"));
        }
        let body = *all.last().ok_or("a function that is not understood")?;
        if self.nested > 0 || self.repeating > 0 || !["compound_statement", "subshell"].contains(&body.kind())
        {
            return Err("a function within something else".into());
        }
        if self.scope.functions.insert(name.clone(), body).is_some() {
            return Err(format!("the function `{name}` twice"));
        }
        Ok(())
    }

    fn call(
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
        self.statement(body, Vec::new())?;
        self.scope.arguments = outer;
        for command in self.out.iter_mut().skip(from) {
            command.redirects.extend(redirects.iter().cloned());
        }
        Ok(())
    }

    /// What a function would do counts even when nothing calls it.
    fn uncalled(&mut self) -> Result<(), String> {
        for (name, body) in self.scope.functions.clone() {
            if !self.called.contains(&name) {
                self.apart(|s| s.call(&name, body, Vec::new(), Vec::new()))?;
            }
        }
        Ok(())
    }

    /// `NAME=value`. Variables that change what runs are not for lines that pass unseen.
    fn assignment(&mut self, node: Node<'t>) -> Result<(), String> {
        let (name, value) = self.assigned(node)?;
        settable(&name)?;
        if name.chars().any(|c| c.is_ascii_uppercase()) {
            self.scope.touched.insert(name.clone());
        }
        self.scope.variables.insert(name, value);
        if self.scope.variables.len() > MAX_VARIABLES {
            return Err(format!("more than {MAX_VARIABLES} variables in one line"));
        }
        Ok(())
    }

    fn assigned(&mut self, node: Node<'t>) -> Result<(String, Value), String> {
        let fail = || Err("an assignment that is not understood".to_owned());
        let all = children(node, self.text, |_, _| false)?;
        let (name, value) = match all[..] {
            [name, equals] if equals.kind() == "=" => (name, None),
            [name, equals, value] if equals.kind() == "=" => (name, Some(value)),
            _ => return fail(),
        };
        let name_text = source(self.text, name)?.to_owned();
        if name.kind() != "variable_name" || !is_name(&name_text) {
            return fail();
        }
        let Some(value) = value else {
            return Ok((name_text, Value::Known { text: String::new(), home: false }));
        };
        if all.windows(2).any(|w| w[0].end_byte() != w[1].start_byte()) {
            return fail();
        }
        // A value is neither cut nor matched, so what would be needs quotes here.
        let mut words = self.words(value)?;
        let word = match (words.pop(), words.is_empty()) {
            (Some(word), true) => word,
            (None, _) => Word::default(),
            _ => return fail(),
        };
        if word.glob || word.text.contains(":~") {
            return Err("an assignment with an expansion".into());
        }
        let value = match word.hidden {
            Hidden::No => Value::Known { text: word.text, home: word.tilde },
            Hidden::Number => Value::Number,
            Hidden::One | Hidden::Many => Value::Opaque,
        };
        Ok((name_text, value))
    }

    /// `export NAME=value` is a prefix of all later commands.
    fn export(&mut self, node: Node<'t>) -> Result<(), String> {
        let all = children(node, self.text, |_, _| false)?;
        let fail = || Err("a declaration that is not understood".to_owned());
        let [word, parts @ ..] = &all[..] else { return fail() };
        if word.kind() != "export" || parts.is_empty() || self.nested > 0 {
            return fail();
        }
        for part in parts {
            if part.kind() != "variable_assignment" {
                return fail();
            }
            let (name, value) = self.assigned(*part)?;
            settable(&name)?;
            match &value {
                Value::Known { text, home: false } => self.scope.exported.push(format!("{name}={text}")),
                _ => return fail(),
            }
            self.scope.variables.insert(name, value);
        }
        Ok(())
    }

    /// `[ … ]` and `[[ … ]]` as the words that they are.
    fn test(&mut self, node: Node<'t>, redirects: Vec<Redirect>) -> Result<(), String> {
        let all = children(node, self.text, |_, _| false)?;
        let (open, close) = match (all.first().map(Node::kind), all.last().map(Node::kind)) {
            (Some("["), Some("]")) => ("[", "]"),
            (Some("[["), Some("]]")) => ("[[", "]]"),
            _ => return Err("a test that is not understood".into()),
        };
        let mut argv = vec![Word::literal(open)];
        for part in all.get(1..all.len() - 1).unwrap_or_default() {
            self.operands(*part, open == "[[", &mut argv)?;
        }
        argv.push(Word::literal(close));
        if open == "[[" {
            numbers_only(&argv)?;
        }
        self.finish(SimpleCommand { argv, redirects, ..SimpleCommand::default() })
    }

    fn operands(&mut self, node: Node<'t>, double: bool, argv: &mut Vec<Word>) -> Result<(), String> {
        self.step()?;
        match node.kind() {
            "binary_expression" | "unary_expression" => {
                for part in children(node, self.text, |_, _| false)? {
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
                let mut words = self.words(node)?;
                words.iter_mut().for_each(|w| w.hidden = w.hidden.min(Hidden::One));
                argv.append(&mut words);
                Ok(())
            }
            _ => {
                argv.append(&mut self.words(node)?);
                Ok(())
            }
        }
    }

    /// Redirections bind to the last command of a list or pipeline.
    fn redirected(&mut self, node: Node<'t>, mut redirects: Vec<Redirect>) -> Result<(), String> {
        let all = children(node, self.text, |_, _| false)?;
        let mut body = None;
        let mut words = Vec::new();
        let mut after = Vec::new();
        for child in all {
            match child.kind() {
                "file_redirect" => words.extend(self.redirect(child, &mut redirects)?),
                "herestring_redirect" => self.here_string(child)?,
                "heredoc_redirect" => {
                    let mut document = self.document(child)?;
                    redirects.append(&mut document.redirects);
                    after.append(&mut document.after);
                }
                _ if body.is_none() => body = Some(child),
                _ => return Err("a redirection that is not understood".into()),
            }
        }
        match body {
            Some(body) if !words.is_empty() => {
                if body.kind() != "command" {
                    return Err("words after a redirection".into());
                }
                self.command(body, redirects, words)?;
            }
            Some(body) => self.statement(body, redirects)?,
            None if words.is_empty() => {
                let argv = vec![Word::literal(":")];
                self.finish(SimpleCommand { argv, redirects, ..SimpleCommand::default() })?;
            }
            None => return Err("a redirection without a program".into()),
        }
        for node in after {
            self.perhaps(|s| s.statement(node, Vec::new()))?;
        }
        Ok(())
    }

    /// Adds the file of a redirection. Returns words behind it, which are arguments.
    fn redirect(&mut self, node: Node<'t>, redirects: &mut Vec<Redirect>) -> Result<Vec<Node<'t>>, String> {
        let fail = || Err("a redirection that is not understood".to_owned());
        let all = children(node, self.text, |_, _| false)?;
        let mut rest = &all[..];
        if let Some((first, more)) = rest.split_first().filter(|(f, _)| f.kind() == "file_descriptor") {
            let number = source(self.text, *first)?;
            let joined = more.first().is_some_and(|next| next.start_byte() == first.end_byte());
            if !number.bytes().all(|b| b.is_ascii_digit()) || !joined {
                return fail();
            }
            rest = more;
        }
        let Some((arrow, rest)) = rest.split_first() else { return fail() };
        let kind = match arrow.kind() {
            ">" | ">|" | "&>" => RedirectKind::Write,
            ">>" | "&>>" => RedirectKind::Append,
            "<" => RedirectKind::Read,
            ">&-" | "<&-" => return if rest.is_empty() { Ok(Vec::new()) } else { fail() },
            ">&" | "<&" => {
                let [target] = rest else { return fail() };
                let text = source(self.text, *target)?;
                let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                return if number { Ok(Vec::new()) } else { fail() };
            }
            _ => return fail(),
        };
        let Some((target, words)) = rest.split_first() else { return fail() };
        let target = self.word(*target)?;
        if target.glob || target.hidden != Hidden::No || target.text.is_empty() {
            return Err("a redirection without a plain file name".into());
        }
        redirects.push(Redirect { kind, target });
        Ok(words.to_vec())
    }

    fn here_string(&mut self, node: Node<'t>) -> Result<(), String> {
        match children(node, self.text, |_, _| false)?[..] {
            [arrow, value] if arrow.kind() == "<<<" => self.words(value).map(|_| ()),
            _ => Err("a here-string that is not understood".into()),
        }
    }

    /// A here-document. Where it begins and ends is worked out a second time, by the shell's own rule.
    fn document(&mut self, node: Node<'t>) -> Result<Document<'t>, String> {
        let fail = || Err("a here-document that is not understood".to_owned());
        let mut cursor = node.walk();
        let all: Vec<Node<'t>> = node.children(&mut cursor).collect();
        let [arrow, start, middle @ .., body, end] = &all[..] else { return fail() };
        let kinds = (start.kind(), body.kind(), end.kind());
        if kinds != ("heredoc_start", "heredoc_body", "heredoc_end") {
            return fail();
        }
        let tabs = match arrow.kind() {
            "<<" => false,
            "<<-" => true,
            _ => return fail(),
        };
        let written = source(self.text, *start)?;
        let mark = written
            .strip_prefix('\'')
            .and_then(|t| t.strip_suffix('\''))
            .or_else(|| written.strip_prefix('"').and_then(|t| t.strip_suffix('"')))
            .unwrap_or(written);
        if !is_name(mark) {
            return fail();
        }
        let Some(line_end) = self.text.get(start.end_byte()..).and_then(|t| t.find('\n')) else {
            return fail();
        };
        let body_start = start.end_byte() + line_end + 1;
        let mut at = body_start;
        let closing = loop {
            let Some(rest) = self.text.get(at..).filter(|r| !r.is_empty()) else { return fail() };
            let line = rest.split('\n').next().unwrap_or_default();
            let bare = if tabs { line.trim_start_matches('\t') } else { line };
            if bare == mark {
                break at + (line.len() - bare.len());
            }
            at += line.len() + 1;
        };
        if end.start_byte() != closing
            || end.end_byte() != closing + mark.len()
            || body.start_byte() < body_start
        {
            return fail();
        }
        let content = self.text.get(body_start..at).unwrap_or_default();
        let plain = written != mark || !content.contains(['$', '`', '\\']);
        if !plain {
            self.expansions(*body, body_start, at)?;
        }
        let text = if tabs {
            content.split_inclusive('\n').map(|l| l.trim_start_matches('\t')).collect()
        } else {
            content.to_owned()
        };
        let mut document = Document { body: plain.then_some(text), redirects: Vec::new(), after: Vec::new() };
        for part in middle {
            if part.end_byte() >= body_start {
                return fail();
            }
            match part.kind() {
                "file_redirect" => {
                    if !self.redirect(*part, &mut document.redirects)?.is_empty() {
                        return fail();
                    }
                }
                "pipeline" => {
                    let parts = children(*part, self.text, |_, _| false)?;
                    for part in parts.into_iter().filter(|p| !["|", "|&"].contains(&p.kind())) {
                        document.after.push(part);
                    }
                }
                "&&" | "||" => {}
                _ if part.is_named() => document.after.push(*part),
                _ => return fail(),
            }
        }
        Ok(document)
    }

    /// Commands and variables within a here-document. Every `$` and backtick must be one of them, or escaped.
    fn expansions(&mut self, body: Node<'t>, from: usize, to: usize) -> Result<(), String> {
        let fail = || Err("an expansion in a here-document".to_owned());
        let mut at = from;
        let mut cursor = body.walk();
        let plain = |text: &str| {
            let mut chars = text.chars().peekable();
            while let Some(c) = chars.next() {
                match c {
                    '\\' => {
                        chars.next();
                    }
                    '`' => return false,
                    '$' if chars.peek().is_some_and(|c| !" \t\n.,:;\"'|)/".contains(*c)) => return false,
                    _ => {}
                }
            }
            true
        };
        for child in body.children(&mut cursor) {
            match child.kind() {
                "heredoc_content" => continue,
                "simple_expansion" | "expansion" | "command_substitution" | "arithmetic_expansion" => {}
                _ => return fail(),
            }
            let text = source(self.text, child)?;
            let start = child.start_byte() + text.find(['$', '`']).unwrap_or_default();
            if start < at || !plain(self.text.get(at..start).unwrap_or("$x")) {
                return fail();
            }
            at = child.end_byte();
            self.words(child)?;
        }
        if at > to || !plain(self.text.get(at..to).unwrap_or("$x")) {
            return fail();
        }
        Ok(())
    }

    /// The commands of `$(…)`, and its text where that is certain.
    pub(crate) fn substitution(&mut self, node: Node<'t>) -> Result<(String, Hidden), String> {
        let written = source(self.text, node)?.trim_start().to_owned();
        let all = children(node, self.text, |_, _| true)?;
        let open = all.first().map(|n| n.kind().trim_start()).unwrap_or_default();
        let close = all.last().map(Node::kind).unwrap_or_default();
        if !matches!((open, close), ("$(", ")") | ("`", "`")) || all.len() < 3 {
            return Err("a command substitution that is not understood".into());
        }
        if open == "`" && written.contains('\\') {
            return Err("command substitution with backticks".into());
        }
        let inner = &all[1..all.len() - 1];
        if let [file] = inner
            && file.kind() == "file_redirect"
        {
            let mut redirects = Vec::new();
            if !self.redirect(*file, &mut redirects)?.is_empty() {
                return Err("a command substitution that is not understood".into());
            }
            self.finish(SimpleCommand {
                argv: vec![Word::literal(":")],
                redirects,
                ..SimpleCommand::default()
            })?;
            return Ok((written, Hidden::Many));
        }
        self.apart(|s| s.statements(inner))?;
        if let [only] = inner
            && let Some(text) = self.constant(*only)?
        {
            return Ok((text.trim_end_matches('\n').to_owned(), Hidden::No));
        }
        Ok((written, Hidden::Many))
    }

    /// `cat` of a here-document is its text: how messages are written.
    fn constant(&mut self, node: Node<'t>) -> Result<Option<String>, String> {
        if node.kind() != "redirected_statement" {
            return Ok(None);
        }
        let all = children(node, self.text, |_, _| false)?;
        let [command, document] = all[..] else { return Ok(None) };
        if source(self.text, command)? != "cat" || document.kind() != "heredoc_redirect" {
            return Ok(None);
        }
        let document = self.document(document)?;
        let alone = document.after.is_empty() && document.redirects.is_empty();
        Ok(document.body.filter(|_| alone))
    }

    fn command(
        &mut self,
        node: Node<'t>,
        redirects: Vec<Redirect>,
        more: Vec<Node<'t>>,
    ) -> Result<(), String> {
        let mut command = SimpleCommand::default();
        let mut words: Vec<Node<'t>> = Vec::new();
        let all = children(node, self.text, |_, _| false)?;
        let mut last: Option<Node<'t>> = None;
        for child in all.into_iter().chain(more) {
            if let Some(last) = last.replace(child)
                && last.end_byte() == child.start_byte()
                && !child.kind().ends_with("_redirect")
            {
                return Err("a syntax that is not understood".into());
            }
            match child.kind() {
                "variable_assignment" if words.is_empty() => {
                    let (name, value) = self.assigned(child)?;
                    if !is_name(&name) || self.scope.variables.contains_key(&name) {
                        return Err(format!("the variable `{name}` in front of a command and elsewhere"));
                    }
                    match value {
                        Value::Known { text, home: false } => {
                            command.env_prefix.push(format!("{name}={text}"))
                        }
                        _ => return Err("an assignment with an expansion".into()),
                    }
                }
                "file_redirect" => words.extend(self.redirect(child, &mut command.redirects)?),
                "herestring_redirect" => self.here_string(child)?,
                _ => words.push(child),
            }
        }
        command.redirects.extend(redirects);
        let Some((name, arguments)) = words.split_first() else {
            return Err("an assignment or a redirection without a program".into());
        };
        let expands = |n: &Node| n.kind().contains("expansion") || n.kind().contains("substitution");
        if any(*name, &expands) {
            return Err("an expansion where a program's name should be".into());
        }
        let name = self.word(*name)?;
        let text = name.text.as_str();
        if KEYWORDS.contains(&text) && text != "return" {
            return Err(format!("the shell keyword `{text}`"));
        }
        if name.glob && text != "[" {
            return Err("a pattern where a program's name should be".into());
        }
        if !text.is_ascii() {
            return Err("a program's name with characters that are not ASCII".into());
        }
        if text.contains(['=', '{', '}']) || text.is_empty() {
            return Err("an assignment or an empty name where a program's name should be".into());
        }
        command.argv.push(name);
        for argument in arguments {
            command.argv.append(&mut self.words(*argument)?);
        }
        self.finish(command)
    }

    /// A command with its words: a function of the line, or a program behind its wrappers.
    fn finish(&mut self, mut command: SimpleCommand) -> Result<(), String> {
        self.step()?;
        let name = command.program().to_owned();
        if let Some(body) = self.scope.functions.get(&name).copied() {
            if !command.env_prefix.is_empty() {
                return Err(format!("variables in front of the function `{name}`"));
            }
            let arguments = command.argv.split_off(1);
            return self.call(&name, body, arguments, command.redirects);
        }
        if name == "read" {
            self.read(&command)?;
        }
        command.env_prefix.splice(0..0, self.scope.exported.iter().cloned());
        if let Some(variable) = self.scope.touched.iter().next()
            && !is_indifferent(&name)
            && !["test", "[", "printf", "cd", "read"].contains(&name.as_str())
        {
            command.raised = Some(format!("the variable `{variable}` may be set for it"));
        }
        let from = self.out.len();
        wrappers::unwrap(command, self.depth, &mut self.out)?;
        for command in self.out.iter().skip(from) {
            if !hidden_words_do_no_harm(command) {
                return Err(format!("`{}` gets arguments that only the shell will know", command.program()));
            }
            if self.repeating > 0 && command.program() == "cd" {
                return Err("a change of folder in a loop".into());
            }
        }
        Ok(())
    }

    /// `read NAME…` sets variables to what cannot be known.
    fn read(&mut self, command: &SimpleCommand) -> Result<(), String> {
        for word in &command.argv[1..] {
            if word.text == "-r" {
                continue;
            }
            if word.hidden != Hidden::No || !is_name(&word.text) {
                return Err("a `read` that is not understood".into());
            }
            settable(&word.text)?;
            self.scope.variables.insert(word.text.clone(), Value::Opaque);
        }
        Ok(())
    }
}

/// Whether a variable may be set without changing what runs.
fn settable(name: &str) -> Result<(), String> {
    if is_loader(name) {
        return Err(format!("the variable `{name}` can change what runs"));
    }
    Ok(())
}

fn value_of(word: &Word) -> Value {
    let (text, home) = (word.text.clone(), word.tilde);
    match word.hidden {
        Hidden::No if word.glob => Value::Pattern { text, home },
        Hidden::No => Value::Known { text, home },
        Hidden::Number => Value::Number,
        Hidden::One | Hidden::Many => Value::Opaque,
    }
}

/// The parts of nested lists or pipelines with the operator before each.
fn flatten<'t>(
    node: Node<'t>,
    kind: &str,
    text: &str,
    out: &mut Vec<(Option<&'t str>, Node<'t>)>,
) -> Result<(), String> {
    let operator = |n: &Node| ["&&", "||", "|", "|&"].contains(&n.kind());
    let mut todo = vec![(None, node)];
    // The left part is the deeper one, so parts come out from the right.
    let mut parts = Vec::new();
    while let Some((before, node)) = todo.pop() {
        if node.kind() != kind {
            parts.push((before, node));
            continue;
        }
        let all = children(node, text, |a, _| operator(a))?;
        let mut sign = before;
        for child in all {
            if operator(&child) {
                sign = Some(child.kind());
            } else {
                todo.push((sign, child));
                sign = None;
            }
        }
    }
    parts.reverse();
    if parts.iter().skip(1).any(|(sign, _)| sign.is_none()) || parts.first().is_some_and(|(s, _)| s.is_some())
    {
        return Err("an operator that is not understood".into());
    }
    out.append(&mut parts);
    Ok(())
}

/// Names that are set anywhere below a node.
fn set_within(node: Node, text: &str) -> Result<BTreeSet<String>, String> {
    let mut names = BTreeSet::new();
    let mut todo = vec![node];
    while let Some(node) = todo.pop() {
        let mut cursor = node.walk();
        for child in node.children(&mut cursor) {
            if matches!(node.kind(), "variable_assignment" | "for_statement")
                && child.kind() == "variable_name"
            {
                names.insert(source(text, child)?.to_owned());
            }
            todo.push(child);
        }
    }
    Ok(names)
}

fn any(node: Node, is: &impl Fn(&Node) -> bool) -> bool {
    let mut cursor = node.walk();
    is(&node) || node.children(&mut cursor).any(|child| any(child, is))
}

/// `[[ a -eq b ]]` evaluates both sides, which may run commands.
fn numbers_only(argv: &[Word]) -> Result<(), String> {
    const COMPARES: [&str; 6] = ["-eq", "-ne", "-lt", "-le", "-gt", "-ge"];
    let number = |w: Option<&Word>| {
        w.is_some_and(|w| {
            w.hidden == Hidden::Number || (w.hidden == Hidden::No && crate::words::is_number(&w.text))
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

const MAX_COMMANDS: usize = 256;
const MAX_VARIABLES: usize = 64;
const MAX_CALLS: usize = 32;
const MAX_STEPS: usize = 50_000;
