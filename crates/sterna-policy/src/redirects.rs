//! What a shell opens for a command, and what it gives it to read: redirections, here-documents, and the text of
//! substitutions.

use tree_sitter::Node;

use crate::characters::is_name;
use crate::feeds::{self, Given};
use crate::lower::Lowerer;
use crate::shell::{Hidden, Redirect, RedirectKind, SimpleCommand, Word};
use crate::syntax::{children, gap, operator_is_one, source};

/// What a here-document gave.
struct Document<'t> {
    body: Option<String>,
    redirects: Vec<Redirect>,
    /// What stands behind it on its line.
    after: Vec<Node<'t>>,
}

impl<'t> Lowerer<'t> {
    /// Redirections bind to the last command of a list or pipeline.
    pub(crate) fn redirected(&mut self, node: Node<'t>, mut redirects: Vec<Redirect>) -> Result<(), String> {
        let (all, dash) = self.parts(node)?;
        let mut body = None;
        let mut words = Vec::new();
        let mut after = Vec::new();
        let mut given = Vec::new();
        let from = self.out.len();
        let documents = all.iter().any(|n| ["herestring_redirect", "heredoc_redirect"].contains(&n.kind()));
        for child in all {
            match child.kind() {
                "file_redirect" => words.extend(self.redirect(child, &mut redirects)?),
                "herestring_redirect" => given.append(&mut feeds::names_in(&self.here_string(child)?)),
                "heredoc_redirect" => {
                    let mut document = self.document(child)?;
                    redirects.append(&mut document.redirects);
                    given.append(&mut match document.body {
                        Some(text) => feeds::names_in(&[Word::literal(text)]),
                        None => vec![Given::Unseen],
                    });
                    after.append(&mut document.after);
                }
                _ if body.is_none() => body = Some(child),
                _ => return Err("a redirection that is not understood".into()),
            }
        }
        match body {
            Some(body) if dash || !words.is_empty() => {
                if body.kind() != "command" || (dash && !words.is_empty()) {
                    return Err("words after a redirection".into());
                }
                self.command(body, redirects, words, dash)?;
            }
            // What cannot be opened may also be a here-document.
            Some(body) if documents && !["command", "list", "pipeline"].contains(&body.kind()) => {
                self.perhaps(|s| s.statement(body, redirects))?;
            }
            Some(body) => self.statement(body, redirects)?,
            None if words.is_empty() && !dash => {
                let argv = vec![Word::literal(":")];
                self.finish(SimpleCommand { argv, redirects, ..SimpleCommand::default() })?;
            }
            None => return Err("a redirection without a program".into()),
        }
        let mut ends = vec![from, self.out.len()];
        for node in after {
            self.perhaps(|s| s.statement(node, Vec::new()))?;
            ends.push(self.out.len());
        }
        if !given.is_empty() {
            feeds::flow(&mut self.out, &ends, given);
        }
        Ok(())
    }

    /// Adds the file of a redirection. Returns words behind it, which are arguments.
    pub(crate) fn redirect(
        &mut self,
        node: Node<'t>,
        redirects: &mut Vec<Redirect>,
    ) -> Result<Vec<Node<'t>>, String> {
        let fail = || Err("a redirection that is not understood".to_owned());
        let all = children(node, self.text, |_, _| false)?;
        let mut rest = &all[..];
        if let Some((first, more)) = rest.split_first().filter(|(f, _)| f.kind() == "file_descriptor") {
            let number = source(self.text, *first)?;
            let joined = more.first().is_some_and(|next| next.start_byte() == first.end_byte());
            let before = self.text.get(..first.start_byte()).unwrap_or_default().chars().next_back();
            let starts = before.is_none_or(|c| " \t\n;|&()".contains(c));
            if !number.bytes().all(|b| b.is_ascii_digit()) || !joined || !starts {
                return fail();
            }
            rest = more;
        } else {
            self.no_descriptor_before(node)?;
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
        if rest.windows(2).any(|pair| pair[0].end_byte() == pair[1].start_byte()) {
            // One word for a shell: another file's name.
            return fail();
        }
        let Some((target, words)) = rest.split_first() else { return fail() };
        let target = self.word(*target)?;
        let unseen = target.hidden != Hidden::No && kind == RedirectKind::Read;
        if target.glob || unseen || target.text.is_empty() {
            return Err("a redirection without a plain file name".into());
        }
        redirects.push(Redirect { kind, target });
        Ok(words.to_vec())
    }

    /// A number right before an arrow is a descriptor for a shell, also where the grammar takes it for a word.
    fn no_descriptor_before(&self, node: Node<'t>) -> Result<(), String> {
        let before = self.text.get(..node.start_byte()).unwrap_or_default();
        match before.chars().next_back() {
            Some(c) if c.is_ascii_digit() || "&<>}".contains(c) => {
                Err("a redirection right behind a number or an operator".into())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn here_string(&mut self, node: Node<'t>) -> Result<Vec<Word>, String> {
        self.no_descriptor_before(node)?;
        match children(node, self.text, |_, _| false)?[..] {
            [arrow, value] if arrow.kind() == "<<<" => self.words(value),
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
        self.no_descriptor_before(node)?;
        operator_is_one(self.text, arrow)?;
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
        if self.text[..body_start - 1].ends_with('\\') {
            // The line goes on, and the document begins behind it.
            return fail();
        }
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
        if written == mark && !ends_there(content, mark, tabs) {
            return fail();
        }
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
        gap(self.text, arrow.end_byte(), start.start_byte(), false)?;
        let mut behind = start.end_byte();
        for part in middle {
            // A blank behind a backslash is no node here, and a word for a shell.
            gap(self.text, behind, part.start_byte(), false)?;
            behind = part.end_byte();
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
        gap(self.text, behind, body_start - 1, false)?;
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

    /// The commands of `<(…)`. Returns the name that stands for what they write.
    pub(crate) fn process(&mut self, node: Node<'t>) -> Result<&'static str, String> {
        let all = children(node, self.text, |_, _| true)?;
        let ends = all.first().map(Node::kind) == Some("<(") && all.last().map(Node::kind) == Some(")");
        if !ends || all.len() < 3 {
            return Err("a process substitution that is not understood".into());
        }
        self.apart(|s| s.statements(&all[1..all.len() - 1]))?;
        Ok("/dev/fd/63")
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
        let from = self.out.len();
        self.apart(|s| s.statements(inner))?;
        if let [made] = &self.out[from..]
            && is_temporary(made)
        {
            return Ok((TEMPORARY.to_owned(), Hidden::No));
        }
        if let [only] = inner
            && let Some(text) = self.constant(*only)?
        {
            return Ok((text.trim_end_matches('\n').to_owned(), Hidden::No));
        }
        Ok((written, Hidden::Many))
    }
}

/// Whether a here-document ends behind this text for a shell, too, which joins lines at an escaped line break before it
/// looks for the mark.
fn ends_there(content: &str, mark: &str, tabs: bool) -> bool {
    let mut line = String::new();
    let mut joined = false;
    let mut chars = content.chars();
    while let Some(c) = chars.next() {
        match c {
            '\n' => {
                let bare = if tabs { line.replace('\t', "") } else { line };
                if joined && bare == mark {
                    return false;
                }
                (line, joined) = (String::new(), false);
            }
            '\\' => match chars.next() {
                Some('\n') => joined = true,
                next => line.extend([Some(c), next].into_iter().flatten()),
            },
            c => line.push(c),
        }
    }
    !content.ends_with("\\\n")
}

/// `mktemp` and `mktemp -d` by themselves.
fn is_temporary(command: &SimpleCommand) -> bool {
    let plain = command.via.is_empty() && command.env_prefix.is_empty() && command.redirects.is_empty();
    let certain = command.raised.is_none() && command.unclear.is_none();
    let words: Vec<&str> = command.argv.iter().map(|word| word.text.as_str()).collect();
    plain && certain && matches!(words[..], ["mktemp"] | ["mktemp", "-d"])
}

/// The pattern of the names that `mktemp` makes.
pub(crate) const TEMPORARY: &str = "/tmp/tmp.??????????";
