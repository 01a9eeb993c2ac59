//! Makes simple commands of a syntax tree, fail-closed: what is not in here is not understood.
//!
//! It follows what a shell would do as far as that is certain before the line runs: variables keep their values only
//! while nothing that may or may not run could have changed them.

use std::collections::{BTreeMap, BTreeSet};

use tree_sitter::Node;

use crate::characters::is_name;
use crate::programs::{hidden_words_do_no_harm, is_indifferent};
use crate::shell::{Hidden, KEYWORDS, MAX_DEPTH, Redirect, SimpleCommand, Word};
use crate::syntax::{children, gap, parse, source};
use crate::variables::{is_kept_by_the_shell, is_loader};
use crate::words;
use crate::wrappers;

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
pub(crate) struct Scope<'t> {
    pub(crate) variables: BTreeMap<String, Value>,
    pub(crate) functions: BTreeMap<String, Node<'t>>,
    /// Arguments of the function that runs.
    pub(crate) arguments: Option<Vec<Word>>,
    /// `NAME=value` that later commands get.
    exported: Vec<String>,
    /// Variables that were set and may have been exported before the line.
    touched: BTreeSet<String>,
}

pub(crate) struct Lowerer<'t> {
    pub(crate) text: &'t str,
    depth: usize,
    pub(crate) out: Vec<SimpleCommand>,
    pub(crate) scope: Scope<'t>,
    pub(crate) called: BTreeSet<String>,
    /// Levels of what may not run, or runs in a shell of its own.
    pub(crate) nested: usize,
    /// Levels of what may run more than once.
    pub(crate) repeating: usize,
    pub(crate) calls: usize,
    steps: usize,
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
        let unset = || format!("an expansion with $: `{name}` is not set here");
        if let Ok(number) = name.parse::<usize>() {
            let arguments = self.scope.arguments.as_deref().unwrap_or_default();
            let (word, before) = arguments.get(..number).and_then(<[Word]>::split_last).ok_or_else(unset)?;
            // A pattern before it may become any number of arguments.
            if before.iter().any(|w| w.glob || w.hidden == Hidden::Many) {
                return Ok(Value::Unsure);
            }
            return Ok(value_of(word));
        }
        if is_kept_by_the_shell(name) {
            return Ok(Value::Unsure);
        }
        let value = self.scope.variables.get(name).cloned();
        value.ok_or_else(unset)
    }

    pub(crate) fn all_arguments(&self) -> Result<Vec<Word>, String> {
        self.scope.arguments.clone().ok_or_else(|| "an expansion with $: `@` is not set here".into())
    }

    /// Statements one after another. They must be told apart by more than the tree.
    pub(crate) fn sequence(&mut self, node: Node<'t>) -> Result<(), String> {
        let all = children(node, self.text, |_, _| true)?;
        self.statements(&all)
    }

    pub(crate) fn statements(&mut self, all: &[Node<'t>]) -> Result<(), String> {
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
    pub(crate) fn statement(&mut self, node: Node<'t>, redirects: Vec<Redirect>) -> Result<(), String> {
        self.step()?;
        let from = self.out.len();
        match node.kind() {
            "command" => return self.command(node, redirects, Vec::new(), false),
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
    pub(crate) fn apart(&mut self, run: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let kept = self.scope.clone();
        self.nested += 1;
        run(self)?;
        self.nested -= 1;
        self.scope = kept;
        Ok(())
    }

    /// May run or not: what it sets is not certain afterwards.
    pub(crate) fn perhaps(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let kept = self.scope.variables.clone();
        self.nested += 1;
        run(self)?;
        self.nested -= 1;
        self.blur(&kept);
        Ok(())
    }

    /// Forgets the values of variables that differ from those before.
    pub(crate) fn blur(&mut self, before: &BTreeMap<String, Value>) {
        for (name, value) in &mut self.scope.variables {
            let was = before.get(name);
            if was != Some(value) {
                let numbers = was.is_some_and(is_number) && is_number(value);
                *value = if numbers { Value::Number } else { Value::Unsure };
            }
        }
    }

    pub(crate) fn inner(&self, node: Node<'t>, open: &str, close: &str) -> Result<Vec<Node<'t>>, String> {
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

    pub(crate) fn assigned(&mut self, node: Node<'t>) -> Result<(String, Value), String> {
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
    pub(crate) fn export(&mut self, node: Node<'t>) -> Result<(), String> {
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

    pub(crate) fn command(
        &mut self,
        node: Node<'t>,
        redirects: Vec<Redirect>,
        more: Vec<Node<'t>>,
        dash: bool,
    ) -> Result<(), String> {
        let mut command = SimpleCommand::default();
        let mut words: Vec<Node<'t>> = Vec::new();
        let (all, inner_dash) = self.parts(node)?;
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
        if dash || inner_dash {
            command.argv.push(Word::literal("-"));
        }
        self.finish(command)
    }

    /// The parts of a command, or of one with redirections. The grammar leaves out a `-` at the end of a command,
    /// which stands for standard input: says whether there is one.
    pub(crate) fn parts(&self, node: Node<'t>) -> Result<(Vec<Node<'t>>, bool), String> {
        let mut cursor = node.walk();
        let all: Vec<Node<'t>> = node.children(&mut cursor).collect();
        let ends = all.iter().map(|n| n.end_byte());
        let starts = all.iter().skip(1).map(Node::start_byte).chain([node.end_byte()]);
        let gaps = ends.zip(starts).map(|(from, to)| self.text.get(from..to).unwrap_or_default());
        let is_dash = |gap: &str| gap.starts_with(' ') && gap.trim_matches(' ') == "-";
        // After the words of a command, and before a redirection.
        let at = if node.kind() == "command" { all.len().saturating_sub(1) } else { 0 };
        let Some(_) = gaps.enumerate().find(|(i, gap)| *i == at && is_dash(gap)) else {
            return Ok((children(node, self.text, |_, _| false)?, false));
        };
        for (_, pair) in all.windows(2).enumerate().filter(|(i, _)| *i != at) {
            gap(self.text, pair[0].end_byte(), pair[1].start_byte(), false)?;
        }
        if all.iter().any(|n| n.kind() == "comment") || all[0].start_byte() != node.start_byte() {
            return Err("a syntax that is not understood".into());
        }
        Ok((all, true))
    }

    /// A command with its words: a function of the line, or a program behind its wrappers.
    pub(crate) fn finish(&mut self, mut command: SimpleCommand) -> Result<(), String> {
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
pub(crate) fn settable(name: &str) -> Result<(), String> {
    if is_loader(name) {
        return Err(format!("the variable `{name}` can change what runs"));
    }
    Ok(())
}

pub(crate) fn value_of(word: &Word) -> Value {
    let (text, home) = (word.text.clone(), word.tilde);
    match word.hidden {
        Hidden::No if word.glob => Value::Pattern { text, home },
        Hidden::No => Value::Known { text, home },
        Hidden::Number => Value::Number,
        Hidden::One | Hidden::Many => Value::Opaque,
    }
}

/// Whether a value is certainly a whole number.
pub(crate) fn is_number(value: &Value) -> bool {
    match value {
        Value::Number => true,
        Value::Known { text, home } => !home && words::is_number(text),
        Value::Pattern { .. } | Value::Opaque | Value::Unsure => false,
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

fn any(node: Node, is: &impl Fn(&Node) -> bool) -> bool {
    let mut cursor = node.walk();
    is(&node) || node.children(&mut cursor).any(|child| any(child, is))
}

const MAX_COMMANDS: usize = 256;
const MAX_VARIABLES: usize = 64;
const MAX_STEPS: usize = 50_000;
