//! Makes simple commands of a syntax tree, fail-closed: what is not in here is not understood.
//!
//! It follows what a shell would do as far as that is certain before the line runs: variables keep their values only
//! while nothing that may or may not run could have changed them.

use std::collections::{BTreeMap, BTreeSet};

use tree_sitter::Node;

use crate::characters::is_name;
use crate::feeds;
use crate::folders;
use crate::hidden;
use crate::jumps::{Frame, Jumps, Variables, join};
use crate::programs;
use crate::shell::{Hidden, KEYWORDS, MAX_DEPTH, Redirect, SimpleCommand, Word};
use crate::syntax::{children, gap, parse, source};
use crate::variables::is_kept_by_the_shell;
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
    // Those of a group or a loop are each of its commands' too.
    let opens = |command: &&mut SimpleCommand| command.redirects.iter().any(|r| hidden::is_hidden(&r.target));
    for command in lowerer.out.iter_mut().filter(opens) {
        let why = || "it opens a file that only the shell will know".to_owned();
        command.unclear.get_or_insert_with(why);
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
    /// The number of a process that the line has started.
    Job,
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
    pub(crate) exported: Vec<String>,
    /// Variables that were set and may have been exported before the line.
    pub(crate) touched: BTreeSet<String>,
    /// Where the next command may run, from where the line starts. None: there.
    pub(crate) folders: Vec<Word>,
    /// Why it is not certain any more what commands mean, or where they run.
    pub(crate) lost: Option<String>,
    /// Of the functions that run, outermost first.
    pub(crate) frames: Vec<Frame>,
    /// Variables that cannot be set again.
    pub(crate) readonly: BTreeSet<String>,
    pub(crate) jumps: Jumps,
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
    pub(crate) steps: usize,
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
    pub(crate) fn value(&self, name: &str) -> Value {
        if name == "!" {
            return Value::Job;
        }
        if ["?", "#", "$"].contains(&name) {
            return Value::Number;
        }
        if let Ok(number) = name.parse::<usize>() {
            let arguments = self.scope.arguments.as_deref().unwrap_or_default();
            let Some((word, before)) = arguments.get(..number).and_then(<[Word]>::split_last) else {
                return Value::Opaque;
            };
            // A pattern before it may become any number of arguments, and `$!` none.
            if before.iter().any(|w| w.glob || matches!(w.hidden, Hidden::Many | Hidden::Job)) {
                return Value::Unsure;
            }
            return value_of(word);
        }
        if is_kept_by_the_shell(name) {
            return Value::Unsure;
        }
        if name == "HOME" {
            return Value::Known { text: "~".into(), home: true };
        }
        // What is not set here, the environment may have.
        self.scope.variables.get(name).cloned().unwrap_or(Value::Opaque)
    }

    pub(crate) fn all_arguments(&self) -> Result<Vec<Word>, String> {
        self.scope.arguments.clone().ok_or_else(|| "an expansion with $: `@` is not set here".into())
    }

    /// Statements one after another. They must be told apart by more than the tree.
    fn sequence(&mut self, node: Node<'t>) -> Result<(), String> {
        let all = children(node, self.text, |_, _| true)?;
        let mut from = 0;
        for (i, pair) in all.windows(2).enumerate() {
            let between = self.text.get(pair[0].end_byte()..pair[1].start_byte()).unwrap_or_default();
            if between.contains('\n') {
                self.statements(&all[from..=i])?;
                self.line_ends();
                from = i + 1;
            }
        }
        self.statements(&all[from..])
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
                    let before = self.scope.folders.clone();
                    if all.get(i + 1).is_some_and(|n| n.kind() == "&") {
                        let from = self.out.len();
                        self.apart(|s| s.statement(*node, Vec::new()))?;
                        self.out.iter_mut().skip(from).for_each(|command| command.background = true);
                    } else {
                        self.statement(*node, Vec::new())?;
                    }
                    // It may have failed.
                    self.or_in(&before)?;
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
                let before = self.scope.folders.clone();
                self.statement(inner, redirects)?;
                // What comes next runs after a failure.
                return self.or_in(&before);
            }
            "test_command" => return self.test(node, redirects),
            _ if redirects.is_empty() => self.compound(node)?,
            // Where the file cannot be opened, nothing of it runs.
            _ => self.perhaps(|s| s.compound(node))?,
        }
        if !redirects.is_empty() && from == self.out.len() {
            return Err("a redirection without a program".into());
        }
        for command in self.out.iter_mut().skip(from) {
            command.redirects.extend(redirects.iter().cloned());
        }
        Ok(())
    }

    fn compound(&mut self, node: Node<'t>) -> Result<(), String> {
        match node.kind() {
            "variable_assignment" => self.assignment(node)?,
            "variable_assignments" => {
                for part in children(node, self.text, |_, _| false)? {
                    self.assignment(part)?;
                }
            }
            "declaration_command" => self.declaration(node)?,
            "unset_command" => self.unset(node)?,
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
        let (kept, folders) = (self.scope.variables.clone(), self.scope.folders.clone());
        self.nested += 1;
        run(self)?;
        self.nested -= 1;
        self.blur(&kept);
        self.or_in(&folders)
    }

    /// What follows may also run in these folders.
    fn or_in(&mut self, folders: &[Word]) -> Result<(), String> {
        let here = [Word::default()];
        let or_here = |folders: &[Word]| if folders.is_empty() { here.to_vec() } else { folders.to_vec() };
        if self.scope.folders != folders {
            let mut all = or_here(&self.scope.folders);
            folders::merge(&mut all, &or_here(folders));
            self.scope.folders = all;
        }
        match self.scope.folders.len() > MAX_FOLDERS {
            true => Err("too many changes of folder".into()),
            false => Ok(()),
        }
    }

    /// Forgets the values of variables that differ from those before.
    pub(crate) fn blur(&mut self, before: &Variables) {
        join(&mut self.scope.variables, before);
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
        // Each place where the list may end.
        let mut seen = self.scope.folders.clone();
        let last = parts.len();
        for (i, (operator, part)) in parts.into_iter().enumerate() {
            let redirects = if i + 1 == last { redirects.clone() } else { Vec::new() };
            match operator {
                None => self.statement(part, redirects)?,
                // Only after what came before it has succeeded.
                Some("&&") => {
                    before.get_or_insert_with(|| self.scope.variables.clone());
                    self.nested += 1;
                    self.statement(part, redirects)?;
                    self.nested -= 1;
                }
                Some("||") => {
                    let kept = before.take().unwrap_or_else(|| self.scope.variables.clone());
                    self.blur(&kept);
                    self.or_in(&seen)?;
                    self.perhaps(|s| s.statement(part, redirects))?;
                }
                Some(_) => return Err("an operator that is not understood".into()),
            }
            let now = self.scope.folders.clone();
            self.or_in(&seen)?;
            seen = std::mem::replace(&mut self.scope.folders, now);
        }
        self.scope.folders = seen;
        if let Some(before) = before {
            self.blur(&before);
        }
        Ok(())
    }

    fn pipeline(&mut self, node: Node<'t>, redirects: Vec<Redirect>) -> Result<(), String> {
        let mut parts = Vec::new();
        flatten(node, "pipeline", self.text, &mut parts)?;
        let last = parts.len();
        let mut ends = vec![self.out.len()];
        for (i, (operator, part)) in parts.into_iter().enumerate() {
            if operator.is_some_and(|o| !["|", "|&"].contains(&o)) {
                return Err("an operator that is not understood".into());
            }
            let redirects = if i + 1 == last { redirects.clone() } else { Vec::new() };
            self.apart(|s| s.statement(part, redirects))?;
            ends.push(self.out.len());
        }
        feeds::flow(&mut self.out, &ends, Vec::new());
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
                        _ => {
                            command.env_prefix.push(source(self.text, child)?.to_owned());
                            let why = format!("only the shell will know the value of `{name}`");
                            command.unclear.get_or_insert(why);
                        }
                    }
                }
                "file_redirect" => words.extend(self.redirect(child, &mut command.redirects)?),
                "herestring_redirect" => command.input = feeds::names_in(&self.here_string(child)?),
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
            let redirects = command.redirects;
            return match redirects.is_empty() {
                true => self.call(&name, body, arguments, redirects),
                // Where the file cannot be opened, it is not called.
                false => self.perhaps(|s| s.call(&name, body, arguments, redirects)),
            };
        }
        if name == "time" {
            self.timed(&command.argv[1..])?;
        }
        if name == "read" {
            self.read(&command)?;
        }
        command.folders.clone_from(&self.scope.folders);
        if let Some(why) = &self.scope.lost {
            command.unclear.get_or_insert_with(|| why.clone());
        }
        command.env_prefix.splice(0..0, self.scope.exported.iter().cloned());
        if let Some(variable) = self.scope.touched.iter().next()
            && !hidden::is_indifferent(&name)
            && !["test", "[", "printf", "cd", "read"].contains(&name.as_str())
        {
            command.raised = Some(format!("the variable `{variable}` may be set for it"));
        }
        let from = self.out.len();
        if let "source" | "." = name.as_str() {
            let file = command.argv.get(1).filter(|w| w.hidden == Hidden::No && !w.glob);
            let Some(file) = file.filter(|w| !["/dev/", "/proc/"].iter().any(|f| w.text.starts_with(f)))
            else {
                return Err(format!("`{name}` runs what cannot be seen"));
            };
            self.scope.lost = Some(format!("`{name} {}` may have changed what commands mean", file.text));
            self.scope.variables.values_mut().for_each(|value| *value = Value::Unsure);
            self.out.push(command);
        } else {
            wrappers::unwrap(command, self.depth, &mut self.out)?;
        }
        for at in from..self.out.len() {
            let command = &self.out[at];
            let hidden = !hidden::words_do_no_harm(command);
            if hidden {
                hidden::words_can_be_held(command)?;
                let why = || "it gets arguments that only the shell will know".to_owned();
                self.out[at].unclear.get_or_insert_with(why);
            }
            self.leaves(at);
            self.enter(at)?;
        }
        Ok(())
    }

    /// `time` is no program: what comes behind it may be more of the shell's own.
    fn timed(&self, words: &[Word]) -> Result<(), String> {
        let of_the_shell = |word: &Word| {
            let text = word.text.as_str();
            word.assign.is_some() || KEYWORDS.contains(&text) && text != "return"
        };
        let first = words.iter().find(|word| !word.text.starts_with('-') && word.text != "time");
        let calls = words.iter().any(|word| self.scope.functions.contains_key(&word.text));
        match calls || first.is_some_and(of_the_shell) {
            true => Err("`time` of what is no program".into()),
            false => Ok(()),
        }
    }

    /// Follows a `cd` of the shell itself.
    fn enter(&mut self, at: usize) -> Result<(), String> {
        let command = &self.out[at];
        let shell = |argv: &Vec<Word>| argv.first().is_some_and(|w| wrappers::is_shell(&w.text));
        if command.program() != "cd" || command.via.iter().any(shell) {
            return Ok(());
        }
        // Behind `time` it is the shell that goes, behind `env` it is not.
        let certain = command.via.is_empty();
        match programs::effects(command).enters {
            Some(target) => {
                let before = command.folders();
                self.scope.folders = folders::all_from(&before, &[target]);
                if !certain {
                    self.or_in(&before)?;
                }
            }
            None => self.scope.lost = Some("it runs in a folder that only the shell will know".into()),
        }
        Ok(())
    }
}

pub(crate) fn value_of(word: &Word) -> Value {
    let (text, home) = (word.text.clone(), word.tilde);
    match word.hidden {
        Hidden::No if word.glob => Value::Pattern { text, home },
        Hidden::No => Value::Known { text, home },
        Hidden::Job => Value::Job,
        Hidden::Number => Value::Number,
        Hidden::One | Hidden::Many => Value::Opaque,
    }
}

/// Whether a value is certainly a whole number.
pub(crate) fn is_number(value: &Value) -> bool {
    match value {
        Value::Job | Value::Number => true,
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
/// Places that a line may be in after its `cd`s.
pub(crate) const MAX_FOLDERS: usize = 16;
const MAX_STEPS: usize = 50_000;
