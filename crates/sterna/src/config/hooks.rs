//! Hooks of configuration: `hooks.json` beside the user's `config.toml`, `[hooks]` in a configuration file, and files
//! that were written for another agent.

use std::path::Path;

use serde_json::{Map, Value};
use sterna_model::{HookEvent, Scope};
use sterna_runtime::{Dialect, HookFileError, HookRun, HookSpec, read_hooks};

use super::document::{Node, nearest};
use super::read::{NOT_A_PROJECTS, Reader};
use super::{ConfigError, Settings, read_file};

impl Settings {
    /// Adds the hooks of a file, if there is one.
    pub(super) fn add_hooks_file(
        &mut self,
        path: &Path,
        dialect: Dialect,
        whose: Whose,
    ) -> Result<bool, ConfigError> {
        let Some(text) = read_file(path)? else { return Ok(false) };
        self.add_hooks_text(path, &text, dialect, whose)?;
        Ok(true)
    }

    /// Adds the hooks of a file whose text is at hand: a trusted project's, as it was when it was trusted.
    pub(super) fn add_hooks_text(
        &mut self,
        path: &Path,
        text: &str,
        dialect: Dialect,
        whose: Whose,
    ) -> Result<(), ConfigError> {
        let wrong = |why: String| {
            ConfigError::new(format!("{}: {why}", path.display()))
                .hint("docs/hooks.md shows the shape of the file")
        };
        let root: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        self.add_hooks(&name, &path.display().to_string(), &root, dialect, whose).map_err(wrong)
    }

    fn add_hooks(
        &mut self,
        name: &str,
        place: &str,
        root: &Value,
        dialect: Dialect,
        whose: Whose,
    ) -> Result<(), String> {
        let (mut specs, notices) = read_hooks(root, dialect).map_err(|error| told(&error))?;
        let own = |spec: &&mut HookSpec| {
            let away = matches!(spec.run, HookRun::Http { .. } | HookRun::McpTool { .. });
            whose == Whose::Person && away
        };
        for spec in specs.iter_mut().filter(own).filter(|spec| !spec.sandbox_said) {
            // An address or a server in a file of one's own was chosen by who may choose it.
            spec.sandbox = false;
        }
        if let Some(spec) = specs.iter().find(|spec| !spec.sandbox && whose == Whose::Project) {
            let place = &spec.place;
            return Err(format!("{place}: a project's hook cannot leave the sandbox: take `sandbox` out"));
        }
        self.hooks.0.extend(specs.into_iter().map(|spec| (name.to_owned(), spec)));
        self.notices.extend(notices.into_iter().map(|notice| format!("{place}: {notice}")));
        Ok(())
    }
}

impl Reader<'_> {
    /// `[hooks]`: the same shape as `hooks.json` within `hooks`, and `import`.
    pub fn hooks(&self, settings: &mut Settings, node: &Node<'_>) -> Result<(), ConfigError> {
        let mut events = Map::new();
        let whose = match self.scope {
            Scope::Project | Scope::ProjectLocal => Whose::Project,
            Scope::Managed | Scope::Session | Scope::User | Scope::Builtin => Whose::Person,
        };
        for (name, value) in node.table()?.named() {
            if name != IMPORT {
                events.insert(name, value.json()?);
                continue;
            }
            if whose == Whose::Project {
                // What it names was not hashed when the project was trusted.
                let notice = format!("{}: `hooks.import` is not used: {NOT_A_PROJECTS}", value.place());
                settings.notices.push(notice);
                continue;
            }
            for item in value.items()? {
                let path = self.path(&item)?;
                if !settings.add_hooks_file(&path, Dialect::Imported, whose)? {
                    return Err(item.error(format!("there is no file {}", path.display())));
                }
            }
        }
        let name = node.file_name();
        let root = Value::Object(Map::from_iter([("hooks".to_owned(), Value::Object(events))]));
        settings.add_hooks(&name, &node.place(), &root, Dialect::Own, whose).map_err(|why| node.error(why))
    }
}

/// What is wrong, and for a misspelt event which one was probably meant.
fn told(error: &HookFileError) -> String {
    // Whatever is wrong further in has an event that is known.
    if error.place.contains('.') {
        return error.to_string();
    }
    let words = HookEvent::ALL.map(HookEvent::word);
    match nearest(&error.place, &words).filter(|_| HookEvent::of(&error.place).is_none()) {
        Some(word) => format!("{error}, did you mean `{word}`?"),
        None => error.to_string(),
    }
}

/// Who wrote a file with hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The person, or who manages the machine.
    Person,
    Project,
}

/// The user's own file.
pub(super) const HOOKS_FILE: &str = "hooks.json";
const IMPORT: &str = "import";
