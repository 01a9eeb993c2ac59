//! What a shell may leave in the middle: `return`, `break` and errors skip what comes behind them. What was set until then
//! is still set afterwards, so the values at each such place are kept and joined with those at the end.

use std::collections::BTreeMap;

use crate::lower::{Lowerer, Value, is_number};
use crate::shell::Hidden;
use crate::words;

pub(crate) type Variables = BTreeMap<String, Value>;

/// The variables at the places that may have been left.
#[derive(Debug, Clone, Default)]
pub(crate) struct Jumps {
    breaks: Option<Break>,
    returns: Option<Variables>,
    /// After an error a shell drops the rest of the line at the top, and goes on behind it.
    errors: Option<Variables>,
}

/// Out of a loop.
#[derive(Debug, Clone)]
pub(crate) struct Break {
    variables: Variables,
    /// Perhaps out of the loops around it, too.
    far: bool,
}

/// What a function has declared for itself, and what it hides.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame {
    pub(crate) hides: BTreeMap<String, Value>,
    /// How deep in what may not run the function's body is.
    nested: usize,
}

impl<'t> Lowerer<'t> {
    /// A word may not be expanded, or a command may fail so that the rest of the line is dropped.
    pub(crate) fn may_fail(&mut self) {
        self.steps += weight(&self.scope.variables);
        let now = without(&self.scope.variables, &self.scope.frames);
        add(&mut self.scope.jumps.errors, now);
    }

    /// Whether the rest of the line at the top may have been dropped.
    pub(crate) fn may_have_failed(&self) -> bool {
        self.scope.jumps.errors.is_some()
    }

    /// The line at the top ends: here a shell goes on after an error.
    pub(crate) fn line_ends(&mut self) {
        if let Some(variables) = self.scope.jumps.errors.take() {
            join(&mut self.scope.variables, &variables);
        }
    }

    /// Follows `return`, `break` and `continue`.
    pub(crate) fn leaves(&mut self, at: usize) {
        let name = match self.out[at].program() {
            name @ ("return" | "break" | "continue" | "exit") => name.to_owned(),
            _ => return,
        };
        let arguments = self.out[at].argv.get(1..).unwrap_or_default();
        let far = !arguments.is_empty();
        match arguments {
            [] => {}
            [one] if one.hidden == Hidden::No && words::is_number(&one.text) => {}
            _ => self.may_fail(),
        }
        self.steps += weight(&self.scope.variables);
        let scope = &mut self.scope;
        match name.as_str() {
            "return" => {
                let last = scope.frames.len().saturating_sub(1);
                let now = without(&scope.variables, &scope.frames[last..]);
                add(&mut scope.jumps.returns, now);
            }
            "exit" => {}
            _ => {
                let mut now = scope.variables.clone();
                // Of a function, it was another shell's way to leave the loop around the call.
                join(&mut now, &without(&scope.variables, &scope.frames));
                let new = Break { variables: now, far };
                merge(&mut scope.jumps.breaks, Some(new));
            }
        }
    }

    /// Runs a loop, whose `break`s are its own. It returns what its rounds were left with.
    pub(crate) fn looping(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<Option<Break>, String>,
    ) -> Result<(), String> {
        let outer = self.scope.jumps.breaks.take();
        let left = run(self)?;
        self.scope.jumps.breaks = outer;
        if let Some(left) = left {
            join(&mut self.scope.variables, &left.variables);
            if left.far {
                merge(&mut self.scope.jumps.breaks, Some(left));
            }
        }
        Ok(())
    }

    /// A round of a loop ends, where `continue` goes, too. Adds what it was left with to `left`.
    pub(crate) fn round_ends(&mut self, left: &mut Option<Break>) {
        if let Some(new) = self.scope.jumps.breaks.take() {
            join(&mut self.scope.variables, &new.variables);
            merge(left, Some(new));
        }
    }

    /// Runs the body of a function.
    pub(crate) fn calling(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let returns = self.scope.jumps.returns.take();
        // What it defines would be gone with what it does not get to.
        self.nested += 1;
        self.scope.frames.push(Frame { nested: self.nested, ..Frame::default() });
        run(self)?;
        self.nested -= 1;
        let scope = &mut self.scope;
        if let Some(frame) = scope.frames.pop() {
            scope.variables = without(&scope.variables, &[frame]);
        }
        if let Some(variables) = std::mem::replace(&mut scope.jumps.returns, returns) {
            join(&mut scope.variables, &variables);
        }
        Ok(())
    }

    /// The function that runs has a variable of its own from here on.
    pub(crate) fn declare(&mut self, name: &str) {
        // What is not set, the environment may have.
        let before = self.scope.variables.get(name).cloned().unwrap_or(Value::Opaque);
        let nested = self.nested;
        if let Some(frame) = self.scope.frames.last_mut() {
            let hidden = if nested > frame.nested { Value::Unsure } else { before };
            frame.hides.entry(name.to_owned()).or_insert(hidden);
        }
    }
}

/// Forgets the values that differ from those on another way.
pub(crate) fn join(variables: &mut Variables, others: &Variables) {
    for (name, value) in variables {
        let other = others.get(name);
        if other != Some(value) {
            let job = [other, Some(value)].contains(&Some(&Value::Job));
            let numbers = other.is_some_and(is_number) && is_number(value);
            *value = match numbers {
                true if job => Value::Job,
                true => Value::Number,
                false => Value::Unsure,
            };
        }
    }
}

/// What it costs to keep them, in steps.
fn weight(variables: &Variables) -> usize {
    let length = |value: &Value| match value {
        Value::Known { text, .. } | Value::Pattern { text, .. } => text.len(),
        Value::Job | Value::Number | Value::Opaque | Value::Unsure => 0,
    };
    variables.values().map(length).sum::<usize>() / 256
}

/// The variables when these functions are left.
fn without(variables: &Variables, frames: &[Frame]) -> Variables {
    let mut variables = variables.clone();
    for frame in frames.iter().rev() {
        variables.extend(frame.hides.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    variables
}

fn add(kept: &mut Option<Variables>, now: Variables) {
    match kept {
        Some(kept) => join(kept, &now),
        None => *kept = Some(now),
    }
}

pub(crate) fn merge(kept: &mut Option<Break>, new: Option<Break>) {
    match (kept, new) {
        (Some(kept), Some(new)) => {
            join(&mut kept.variables, &new.variables);
            kept.far |= new.far;
        }
        (kept, Some(new)) => *kept = Some(new),
        (_, None) => {}
    }
}
