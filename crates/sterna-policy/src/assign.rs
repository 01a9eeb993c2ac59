//! What sets variables: assignments, declarations, `read` and `unset`.

use tree_sitter::Node;

use crate::characters::is_name;
use crate::lower::{Lowerer, Value};
use crate::shell::{Hidden, SimpleCommand, Word};
use crate::syntax::{children, source};
use crate::variables::{changes_reading, changes_running, is_harmless, is_loader};
use crate::words::is_made;

impl<'t> Lowerer<'t> {
    /// `NAME=value`.
    pub(crate) fn assignment(&mut self, node: Node<'t>) -> Result<(), String> {
        let (name, value) = self.assigned(node)?;
        self.set(&name, value)
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
        self.assignable(&name_text)?;
        let Some(value) = value else {
            return Ok((name_text, Value::Known { text: String::new(), home: false }));
        };
        if all.windows(2).any(|w| w[0].end_byte() != w[1].start_byte()) {
            return fail();
        }
        // A value is neither cut nor matched, so what would be needs quotes here.
        let (mut words, braces) = self.uncut(value)?;
        let word = match (words.pop(), words.is_empty()) {
            (Some(word), true) if !braces => word,
            (None, _) => Word::default(),
            _ => return fail(),
        };
        let made = word.glob && is_made(&word.text);
        if made && word.hidden == Hidden::No {
            return Ok((name_text, Value::Pattern { text: word.text, home: false }));
        }
        if word.glob || word.text.contains(":~") {
            return Err("an assignment with an expansion".into());
        }
        let value = match word.hidden {
            Hidden::No => Value::Known { text: word.text, home: word.tilde },
            Hidden::Job => Value::Job,
            Hidden::Number => Value::Number,
            Hidden::One | Hidden::Many => Value::Opaque,
        };
        Ok((name_text, value))
    }

    /// `export NAME=value` is a prefix of all later commands; `local` and `readonly` are assignments.
    pub(crate) fn declaration(&mut self, node: Node<'t>) -> Result<(), String> {
        let all = children(node, self.text, |_, _| false)?;
        let fail = || Err("a declaration that is not understood".to_owned());
        let [word, parts @ ..] = &all[..] else { return fail() };
        let exports = word.kind() == "export";
        if !(exports || ["local", "readonly", "declare", "typeset"].contains(&word.kind()))
            || parts.is_empty()
        {
            return fail();
        }
        let function = !self.scope.frames.is_empty();
        if word.kind() == "local" && !function {
            return Err("`local` outside a function".into());
        }
        let own = function && ["local", "declare", "typeset"].contains(&word.kind());
        let mut declared = Vec::new();
        // A shell expands all of them before it sets any.
        for part in parts {
            declared.push(match part.kind() {
                "variable_assignment" => self.assigned(*part)?,
                "variable_name" => {
                    let name = source(self.text, *part)?.to_owned();
                    let value = if own { Value::Opaque } else { self.value(&name) };
                    (name, value)
                }
                _ => return fail(),
            });
        }
        for (name, value) in declared {
            if own {
                self.assignable(&name)?;
                self.declare(&name);
            }
            if exports {
                let exported = match &value {
                    Value::Known { text, home: false } => format!("{name}={text}"),
                    _ => {
                        self.scope.lost = Some(format!("only the shell will know the value of `{name}`"));
                        format!("{name}=")
                    }
                };
                if !self.scope.exported.contains(&exported) {
                    self.scope.exported.push(exported);
                }
            }
            // A prefix of what comes says all of what is exported.
            if exports {
                self.put(&name, value)?;
            } else {
                self.set(&name, value)?;
            }
            if word.kind() == "readonly" {
                self.scope.readonly.insert(name);
            }
        }
        Ok(())
    }

    pub(crate) fn unset(&mut self, node: Node<'t>) -> Result<(), String> {
        for part in children(node, self.text, |_, _| false)?.into_iter().skip(1) {
            let name = source(self.text, part)?.to_owned();
            if !["variable_name", "word"].contains(&part.kind()) || !is_name(&name) {
                return Err("an `unset` that is not understood".into());
            }
            if self.scope.functions.contains_key(&name) {
                return Err(format!("an `unset` that may remove the function `{name}`"));
            }
            // In a function that it calls, it gives the outer one back.
            if self.scope.frames.iter().any(|frame| frame.hides.contains_key(&name)) {
                return Err(format!("an `unset` of `{name}`, which a function has for itself"));
            }
            self.assignable(&name)?;
            self.set(&name, Value::Opaque)?;
        }
        Ok(())
    }

    /// `read NAME…` sets variables to what cannot be known.
    pub(crate) fn read(&mut self, command: &SimpleCommand) -> Result<(), String> {
        for word in &command.argv[1..] {
            if word.text == "-r" {
                continue;
            }
            if word.hidden != Hidden::No || !is_name(&word.text) {
                return Err("a `read` that is not understood".into());
            }
            settable(&word.text)?;
            self.assignable(&word.text)?;
            self.set(&word.text, Value::Opaque)?;
        }
        Ok(())
    }

    /// A shell drops the rest of the line where a variable cannot be set.
    pub(crate) fn assignable(&self, name: &str) -> Result<(), String> {
        match READONLY.contains(&name) || self.scope.readonly.contains(name) {
            true => Err(format!("the variable `{name}` cannot be set")),
            false => Ok(()),
        }
    }

    fn set(&mut self, name: &str, value: Value) -> Result<(), String> {
        if self.scope.exported.iter().any(|one| one.split('=').next() == Some(name)) {
            self.scope.lost = Some(format!("the exported variable `{name}` is set again"));
        }
        // It may have been exported before the line.
        if (is_loader(name) || name.chars().any(|c| c.is_ascii_uppercase())) && !is_harmless(name) {
            self.scope.touched.insert(name.to_owned());
        }
        self.put(name, value)
    }

    fn put(&mut self, name: &str, value: Value) -> Result<(), String> {
        if changes_reading(name) {
            return Err(format!("the variable `{name}` changes what words mean"));
        }
        if changes_running(name) {
            self.scope.lost = Some(format!("the variable `{name}` can change what runs"));
        }
        self.scope.variables.insert(name.to_owned(), value);
        if self.scope.variables.len() > MAX_VARIABLES {
            return Err(format!("more than {MAX_VARIABLES} variables in one line"));
        }
        Ok(())
    }
}

/// Whether a variable may be set to anything without changing what runs.
pub(crate) fn settable(name: &str) -> Result<(), String> {
    match is_loader(name) {
        true => Err(format!("the variable `{name}` can change what runs")),
        false => Ok(()),
    }
}

const READONLY: [&str; 4] = ["UID", "EUID", "PPID", "BASH_VERSINFO"];
const MAX_VARIABLES: usize = 64;
