//! Words of a command line: quotes, variables with known values, patterns and braces, as a shell makes arguments of
//! them.

use tree_sitter::Node;

use crate::characters::{is_name, plain, quoted};
use crate::expansion;
use crate::lower::{Lowerer, Value};
use crate::redirects::TEMPORARY;
use crate::shell::{Hidden, Word};
use crate::syntax::{children, source};

/// A word before it is cut into fields and its braces are unfolded.
#[derive(Debug, Default)]
struct Draft {
    fields: Vec<Field>,
    /// Whether the last field still grows.
    open: bool,
    /// Values are not cut here.
    whole: bool,
    /// A value was cut, or left nothing: a shell unfolds braces before it does that.
    cut: bool,
    /// The last thing was `$name`, whose name would go on with what comes next.
    bare: bool,
    /// A brace or a comma stands right behind `$name`.
    joined: bool,
}

#[derive(Debug, Default, Clone)]
struct Field {
    chars: Vec<(char, Mark)>,
    hidden: Hidden,
    /// Begins with a home folder that was a variable's value.
    home: bool,
}

/// Where a character comes from, and so what the shell still does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Plain,
    Quoted,
    /// Of a variable that was not quoted: may be a pattern, is no brace and no `~`.
    Value,
    /// Of the pattern that stands for what `mktemp` made, whose names have no blanks.
    Made,
}

impl Draft {
    fn field(&mut self) -> &mut Field {
        if !self.open || self.fields.is_empty() {
            self.fields.push(Field::default());
            self.open = true;
        }
        let last = self.fields.len() - 1;
        &mut self.fields[last]
    }

    fn push(&mut self, c: char, mark: Mark) {
        self.joined |= self.bare && mark == Mark::Plain && matches!(c, '{' | ',' | '}');
        self.bare = false;
        let field = self.field();
        if matches!(field.hidden, Hidden::Job | Hidden::Number) {
            // A number beside something else is some text.
            field.hidden = Hidden::One;
        }
        field.chars.push((c, mark));
    }

    fn hide(&mut self, text: &str, hidden: Hidden) {
        self.bare = false;
        let field = self.field();
        let alone = field.chars.is_empty() && field.hidden == Hidden::No;
        // A number beside something else is some text.
        let hidden = if alone { hidden } else { hidden.max(Hidden::One) };
        field.hidden = field.hidden.max(hidden);
        field.chars.extend(text.chars().map(|c| (c, Mark::Quoted)));
    }
}

impl<'t> Lowerer<'t> {
    /// The arguments that a node stands for: usually one, none for an empty variable, several for a split one.
    pub(crate) fn words(&mut self, node: Node<'t>) -> Result<Vec<Word>, String> {
        self.unfolded(node, false).map(|(words, _)| words)
    }

    /// What a node stands for in an assignment or in `[[ … ]]`, where a shell cuts no value. Also whether braces were
    /// unfolded, which it does not do there either.
    pub(crate) fn uncut(&mut self, node: Node<'t>) -> Result<(Vec<Word>, bool), String> {
        self.unfolded(node, true)
    }

    fn unfolded(&mut self, node: Node<'t>, whole: bool) -> Result<(Vec<Word>, bool), String> {
        self.step()?;
        if source(self.text, node)? == "\"$@\"" {
            return Ok((self.all_arguments()?, false));
        }
        let mut draft = Draft { whole, ..Draft::default() };
        self.draft(node, &mut draft)?;
        let mut words = Vec::new();
        let mut braces = false;
        for field in draft.fields {
            let empty = field.chars.is_empty();
            let (unfolded, active) = unfold(field.chars)?;
            braces |= active;
            for chars in unfolded {
                if chars.is_empty() && !empty {
                    // Dropped, unless there were quotes in it.
                    return Err("a brace expansion that makes an empty word".into());
                }
                words.push(finish(chars, field.hidden, field.home)?);
            }
        }
        // A shell unfolds first: `$a{b,c}` are the variables `ab` and `ac`.
        match braces && (draft.cut || draft.joined) {
            true => Err("a brace expansion beside a variable".into()),
            false => Ok((words, braces)),
        }
    }

    /// The one word that a node stands for.
    pub(crate) fn word(&mut self, node: Node<'t>) -> Result<Word, String> {
        let mut words = self.words(node)?;
        match (words.pop(), words.is_empty()) {
            (Some(word), true) if word.hidden != Hidden::Many => Ok(word),
            _ => Err("an expansion that may be several words, or none".into()),
        }
    }

    fn draft(&mut self, node: Node<'t>, draft: &mut Draft) -> Result<(), String> {
        match node.kind() {
            "word" | "number" | "test_operator" | "variable_name" | "=" | "+=" | "==" | "!=" | "!" => {
                unquoted(source(self.text, node)?, draft)
            }
            "brace_expression" => unquoted(source(self.text, node)?, draft),
            "raw_string" => {
                let inner = source(self.text, node)?.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
                draft.field();
                for c in inner.ok_or("a single quote is never closed")?.chars() {
                    quoted(c)?;
                    draft.push(c, Mark::Quoted);
                }
                Ok(())
            }
            "string" => self.double_quotes(node, draft),
            "concatenation" | "command_name" | "variable_assignment" => {
                let mut end = node.start_byte();
                for child in children(node, self.text, |_, _| false)? {
                    if child.start_byte() != end {
                        return Err("a syntax that is not understood".into());
                    }
                    end = child.end_byte();
                    if child.kind() == "$" {
                        lone_dollar(self.text, end, " \t\n")?;
                        draft.push('$', Mark::Plain);
                    } else {
                        self.draft(child, draft)?;
                    }
                }
                Ok(())
            }
            "simple_expansion" | "expansion" => self.variable(node, false, draft),
            "command_substitution" => {
                let (text, hidden) = self.substitution(node)?;
                match hidden {
                    Hidden::No => unquoted_value(&text, text == TEMPORARY, draft),
                    _ => {
                        draft.hide(&text, Hidden::Many);
                        Ok(())
                    }
                }
            }
            "arithmetic_expansion" => {
                self.arithmetic(node)?;
                draft.hide(source(self.text, node)?, Hidden::Number);
                Ok(())
            }
            "process_substitution" => {
                let file = self.process(node)?;
                draft.field();
                file.chars().for_each(|c| draft.push(c, Mark::Quoted));
                Ok(())
            }
            "ansi_c_string" => {
                let text = expansion::ansi_c(source(self.text, node)?).ok_or("a $'…' string")?;
                draft.field();
                for c in text.chars() {
                    quoted(c)?;
                    draft.push(c, Mark::Quoted);
                }
                Ok(())
            }
            "translated_string" => Err("a $\"…\" string".into()),
            other => Err(format!("a syntax that is not understood ({})", other.replace('_', " "))),
        }
    }

    /// Text, and expansions that are not cut into words.
    fn double_quotes(&mut self, node: Node<'t>, draft: &mut Draft) -> Result<(), String> {
        draft.field();
        let end = node.end_byte().saturating_sub(1);
        if !source(self.text, node)?.starts_with('"') || self.text.get(end..end + 1) != Some("\"") {
            return Err("a double quote is never closed".into());
        }
        let mut at = node.start_byte() + 1;
        let mut cursor = node.walk();
        for child in node.children(&mut cursor) {
            match child.kind() {
                "\"" | "string_content" | "$" => continue,
                "simple_expansion" | "expansion" | "command_substitution" | "arithmetic_expansion" => {}
                _ => return Err("a syntax that is not understood".into()),
            }
            // A node may begin with the blanks before it.
            let text = source(self.text, child)?;
            let start =
                child.start_byte() + text.find(['$', '`']).ok_or("a syntax that is not understood")?;
            self.quoted_text(at, start, draft)?;
            at = child.end_byte();
            match child.kind() {
                "simple_expansion" | "expansion" => self.variable(child, true, draft)?,
                "command_substitution" => match self.substitution(child)? {
                    (text, Hidden::No) if text == TEMPORARY => unquoted_value(&text, true, draft)?,
                    (text, Hidden::No) => text.chars().for_each(|c| draft.push(c, Mark::Quoted)),
                    (text, _) => draft.hide(&text, Hidden::One),
                },
                _ => {
                    self.arithmetic(child)?;
                    draft.hide(text.trim_start(), Hidden::Number);
                }
            }
        }
        self.quoted_text(at, end, draft)
    }

    /// Literal text within double quotes.
    fn quoted_text(&self, from: usize, to: usize, draft: &mut Draft) -> Result<(), String> {
        let text = self.text.get(from..to).ok_or("a syntax that is not understood")?;
        let mut chars = text.char_indices().peekable();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => return Err("a syntax that is not understood".into()),
                '`' => return Err("command substitution with backticks".into()),
                '$' => {
                    lone_dollar(self.text, from + i + 1, " \t\n\"/|).,:;%^+='")?;
                    draft.push(c, Mark::Quoted);
                }
                '\\' => match chars.next() {
                    None => return Err("a backslash at the end of a string".into()),
                    Some((_, '\n')) => {}
                    Some((_, c @ ('$' | '`' | '"' | '\\'))) => draft.push(c, Mark::Quoted),
                    Some((_, c)) => {
                        quoted(c)?;
                        draft.push('\\', Mark::Quoted);
                        draft.push(c, Mark::Quoted);
                    }
                },
                c => {
                    quoted(c)?;
                    draft.push(c, Mark::Quoted);
                }
            }
        }
        Ok(())
    }

    /// `$name` and `${name}`; nothing else that may stand in braces.
    fn variable(&mut self, node: Node<'t>, quoted: bool, draft: &mut Draft) -> Result<(), String> {
        let text = source(self.text, node)?.trim_start().to_owned();
        let name =
            text.strip_prefix("${").and_then(|t| t.strip_suffix('}')).or_else(|| text.strip_prefix('$'));
        let name = name.unwrap_or_default();
        let known = is_name(name) || (name.len() == 1 && "0123456789?#$!".contains(name));
        if !known {
            let made = expansion::made_of(name).ok_or("an expansion with $")?;
            // `${x:0:-9}` of a short text is an error.
            self.may_fail();
            let cut = !quoted && made == Hidden::One;
            draft.hide(&text, if cut { Hidden::Many } else { made });
            return Ok(());
        }
        self.expand(name, &text, quoted, draft)?;
        draft.bare = !quoted && is_name(name) && !text.starts_with("${");
        Ok(())
    }

    /// What a variable with this name, written so, adds to a word.
    fn expand(&mut self, name: &str, written: &str, quoted: bool, draft: &mut Draft) -> Result<(), String> {
        let value = self.value(name);
        if let Value::Known { text, .. } | Value::Pattern { text, .. } = &value {
            self.weigh(text)?;
        }
        match value {
            Value::Job => draft.hide(written, Hidden::Job),
            Value::Number => draft.hide(written, Hidden::Number),
            Value::Opaque | Value::Unsure => {
                draft.hide(written, if quoted { Hidden::One } else { Hidden::Many })
            }
            Value::Known { text, home } => {
                let start = draft.fields.is_empty() || !draft.open || draft.field().chars.is_empty();
                if home && !start {
                    draft.hide(written, Hidden::One);
                } else if quoted || home {
                    // A home folder with blanks in it would be cut, which only a person can know.
                    draft.field().home |= home;
                    text.chars().for_each(|c| draft.push(c, Mark::Quoted));
                } else {
                    unquoted_value(&text, false, draft)?;
                }
            }
            // Its names may have blanks, at which they are cut.
            Value::Pattern { text, home } => {
                let start = draft.fields.is_empty() || !draft.open || draft.field().chars.is_empty();
                if home && !start {
                    draft.hide(written, Hidden::Many);
                } else {
                    draft.field().home |= home;
                    unquoted_value(&text, true, draft)?;
                    if !quoted && !is_made(&text) {
                        draft.field().hidden = Hidden::Many;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whole numbers, operators and variables that are whole numbers. A shell would run what it finds in other values.
    fn arithmetic(&mut self, node: Node<'t>) -> Result<(), String> {
        // It divides by nothing, or finds a number that is none.
        self.may_fail();
        let fail = || Err("arithmetic that is not understood".to_owned());
        let text = source(self.text, node)?.trim_start();
        let Some(inner) = text.strip_prefix("$((").and_then(|t| t.strip_suffix("))")) else { return fail() };
        let mut rest = inner;
        let mut last = ' ';
        while let Some(c) = rest.chars().next() {
            if rest.starts_with("<<=") || rest.starts_with(">>=") {
                // It sets the variable.
                return fail();
            }
            let operator = ["==", "!=", "<=", ">="].iter().find(|o| rest.starts_with(**o));
            if let Some(operator) = operator {
                rest = &rest[operator.len()..];
            } else if c.is_ascii_alphanumeric() || c == '_' || c == '$' {
                if last.is_ascii_alphanumeric() || last == '_' {
                    // `a$x` is another name.
                    return fail();
                }
                let dollar = usize::from(c == '$');
                let length =
                    rest[dollar..].bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
                let word = &rest[dollar..dollar + length];
                let number = dollar == 0 && word.bytes().all(|b| b.is_ascii_digit());
                if !number {
                    if !is_name(word) {
                        return fail();
                    }
                    match self.value(word) {
                        Value::Job | Value::Number => {}
                        Value::Known { text, .. } if is_number(&text) => {}
                        _ => return fail(),
                    }
                }
                rest = &rest[dollar + length..];
            } else if " +-*/%()<>&|^~!?:".contains(c) && !rest.starts_with("++") && !rest.starts_with("--") {
                rest = &rest[c.len_utf8()..];
            } else {
                return fail();
            }
            last = inner[..inner.len() - rest.len()].chars().next_back().unwrap_or(' ');
        }
        Ok(())
    }
}

/// Whether a value is a whole number and nothing else.
pub(crate) fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.len() < 19 && digits.bytes().all(|b| b.is_ascii_digit())
}

/// A `$` that stands for itself, by what comes after it.
fn lone_dollar(text: &str, after: usize, ends: &str) -> Result<(), String> {
    match text.get(after..).and_then(|rest| rest.chars().next()) {
        None => Ok(()),
        Some(c) if ends.contains(c) => Ok(()),
        Some(_) => Err("an expansion with $".into()),
    }
}

/// Whether a pattern stands for one name that `mktemp` made, or for what is beneath it.
pub(crate) fn is_made(pattern: &str) -> bool {
    pattern.strip_prefix(TEMPORARY).is_some_and(|rest| !rest.contains(['*', '?', '[']))
}

/// Source text without quotes around it.
fn unquoted(text: &str, draft: &mut Draft) -> Result<(), String> {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                None => return Err("a backslash at the end of the line".into()),
                Some('\n') => {}
                Some(c) => {
                    quoted(c)?;
                    draft.push(c, Mark::Quoted);
                }
            },
            '\'' | '"' | '$' | '`' | '|' | '&' | ';' | '<' | '>' | '(' | ')' => {
                return Err("a syntax that is not understood".into());
            }
            '#' if draft.field().chars.is_empty() => return Err("a comment that is not understood".into()),
            c => {
                plain(c)?;
                draft.push(c, Mark::Plain);
            }
        }
    }
    Ok(())
}

/// A value that the shell cuts at blanks. `whole`: the names of a pattern, which are cut only when they are used.
fn unquoted_value(text: &str, whole: bool, draft: &mut Draft) -> Result<(), String> {
    if text.contains('\\') {
        return Err("an expansion with a backslash in it".into());
    }
    if draft.whole {
        draft.field();
    }
    draft.cut |= text.is_empty();
    let made = if whole && text.starts_with(TEMPORARY) { TEMPORARY.len() } else { 0 };
    let whole = whole || draft.whole;
    for (i, c) in text.char_indices() {
        if i < made {
            draft.push(c, Mark::Made);
        } else if !whole && matches!(c, ' ' | '\t' | '\n') {
            draft.open = false;
            draft.cut = true;
        } else {
            draft.push(c, Mark::Value);
        }
    }
    Ok(())
}

/// Unfolds `{a,b}`, and says whether there was something to unfold. `{}` and `@{1}` are text.
fn unfold(chars: Vec<(char, Mark)>) -> Result<(Vec<Vec<(char, Mark)>>, bool), String> {
    let mut done: Vec<Vec<(char, Mark)>> = vec![Vec::new()];
    let mut active = false;
    let mut at = 0;
    while let Some(&(c, mark)) = chars.get(at) {
        if mark != Mark::Plain || !matches!(c, '{' | '}') {
            done.iter_mut().for_each(|d| d.push((c, mark)));
            at += 1;
            continue;
        }
        let fail = || Err("a brace expansion".to_owned());
        let rest = chars.get(at + 1..).unwrap_or_default();
        let close = rest.iter().position(|&(c, m)| m == Mark::Plain && matches!(c, '{' | '}'));
        let Some(close) = close.filter(|i| c == '{' && rest[*i].0 == '}') else { return fail() };
        let inner = &rest[..close];
        let text: String = inner.iter().map(|(c, _)| c).collect();
        if let Some(range) = expansion::range(&text).filter(|_| inner.iter().all(|(_, m)| *m == Mark::Plain))
        {
            if done.len() * range.len() > MAX_UNFOLDED {
                return fail();
            }
            let with = |d: &Vec<(char, Mark)>, word: &String| {
                d.iter().copied().chain(word.chars().map(|c| (c, Mark::Plain))).collect()
            };
            active = true;
            done = done.iter().flat_map(|d| range.iter().map(move |word| with(d, word))).collect();
        } else if inner.iter().any(|&(c, m)| c == ',' && m == Mark::Plain) {
            let choices: Vec<&[(char, Mark)]> = inner.split(|&(c, m)| c == ',' && m == Mark::Plain).collect();
            if done.len() * choices.len() > MAX_UNFOLDED {
                return fail();
            }
            active = true;
            done = done.iter().flat_map(|d| choices.iter().map(|c| [d.as_slice(), c].concat())).collect();
        } else {
            let simple = text.chars().all(|c| c.is_ascii_alphanumeric() || "-+_/^".contains(c));
            let starts = done.iter().any(Vec::is_empty);
            if !simple || (starts && !text.is_empty()) {
                return fail();
            }
            let group = &chars[at..at + close + 2];
            done.iter_mut().for_each(|d| d.extend_from_slice(group));
        }
        at += close + 2;
    }
    Ok((done, active))
}

fn finish(chars: Vec<(char, Mark)>, hidden: Hidden, home: bool) -> Result<Word, String> {
    let text: String = chars.iter().map(|(c, _)| c).collect();
    let plain_until = chars.iter().take_while(|(_, m)| *m == Mark::Plain).count();
    let mut tilde = home;
    if chars.first() == Some(&('~', Mark::Plain)) {
        match chars.get(1) {
            None | Some(('/', _)) => tilde = true,
            Some(_) => return Err("a ~user expansion".into()),
        }
    }
    let glob = chars.iter().any(|(c, m)| *m != Mark::Quoted && matches!(c, '*' | '?' | '['));
    if text.starts_with(TEMPORARY)
        && glob
        && chars.iter().take(TEMPORARY.len()).any(|(_, m)| *m != Mark::Made)
    {
        return Err("a pattern like the names of temporary files".into());
    }
    let assign = text.find('=').filter(|at| is_name(&text[..*at]) && *at < plain_until);
    Ok(Word { text, tilde, glob, assign, hidden })
}

const MAX_UNFOLDED: usize = 64;
