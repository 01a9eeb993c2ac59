//! Configuration: the managed file, the user's file and the environment as one `Settings` that knows where each value
//! comes from.
//!
//! It reads and never runs anything, a provider's key command aside, and that only for the provider that is chosen.

mod document;
mod error;
mod file;
mod hooks;
mod keyring;
mod provider;
mod read;
mod show;
mod web;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use sterna_llm_http::{Endpoint, KeySource, builtins};
use sterna_model::{Effort, InDoubtPolicy, Limits, Mode, OnAsk, Route, RuleText, SandboxWish, Scope};
use sterna_policy::Rule;

use self::hooks::Whose;
use crate::places::Places;
use crate::trust::Project;

pub use document::nearest;
pub use error::ConfigError;
pub use file::schema;
pub use provider::{KeyWish, ProviderSettings};
pub use show::{Shown, without_password};
pub use web::{SearchWish, WebWish};

/// What is configured. `None`: nothing was said, and the default holds.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub model: Option<Route>,
    /// Routes that take over, in this order, when the one before them fails for good.
    pub fallback: Vec<Route>,
    /// The route that sums up what a window cannot hold any more; `None`: the session's own.
    pub compact_model: Option<Route>,
    /// The route of mode `auto`'s classifier; `None`: the turn's own.
    pub classifier_model: Option<Route>,
    pub mode: Option<Mode>,
    pub on_ask: Option<OnAsk>,
    pub in_doubt: Option<InDoubtPolicy>,
    /// What counts instead for calls of these tools, by name.
    pub in_doubt_of: BTreeMap<String, InDoubtPolicy>,
    pub limits: Limits,
    /// Tokens that the model may write in one answer.
    pub max_output: Option<u32>,
    /// How much models that can are asked to think.
    pub effort: Option<Effort>,
    /// Rules of all files, the managed ones first.
    pub rules: Vec<RuleText>,
    /// The same, parsed.
    pub parsed: Vec<Rule>,
    /// How many examples the rules carry. All of them hold: a rule that fails one is refused.
    pub examples: usize,
    /// `main` or `minimal`.
    pub profile: Option<String>,
    /// Names of the tools that may be called; empty: those of the profile.
    pub tools: Vec<String>,
    /// Tokens of schemas above which tools of MCP servers are shown by name only.
    pub tool_budget: Option<u32>,
    /// Further variables that tools' children may see.
    pub env_pass: Vec<String>,
    /// Further variables that `mcp.json` of a trusted project may name.
    pub mcp_env: Vec<String>,
    /// How commands are confined.
    pub sandbox: Option<SandboxWish>,
    pub secrets: SecretsWish,
    /// Whether the workspace is kept before effects that may write in it.
    pub checkpoints: Option<bool>,
    /// Whether notes are kept and recalled.
    pub memory: Option<bool>,
    /// What makes the vectors by which notes are found; `None`: spelling alone, without a network.
    pub memory_embedder: Option<Route>,
    /// How sessions get their titles.
    pub title: Option<TitleBy>,
    /// The route that names sessions; `None`: the session's own.
    pub title_model: Option<Route>,
    /// Built-in providers and those of the files, by name.
    pub providers: BTreeMap<String, ProviderSettings>,
    pub local: LocalSettings,
    pub web: WebWish,
    /// Keys that the managed file sets. Flags and other files do not override them.
    pub locked: BTreeSet<String>,
    /// Where each key's value comes from: `file:line` or a variable. Keys that are not here have their default.
    pub sources: BTreeMap<String, String>,
    /// Hooks of all files, in their order.
    pub hooks: crate::HookSettings,
    /// For people: what was read and is not used.
    pub notices: Vec<String>,
}

impl Settings {
    /// The route that names a session whose own route this is. `None`: its first words do.
    ///
    /// A local model has one request at a time, and a script its answers in their order: neither is asked beside a
    /// session's turns, unless it was chosen for that.
    pub fn title_route(&self, own: &Route) -> Option<Route> {
        match (self.title.unwrap_or_default(), &self.title_model) {
            (TitleBy::Words, _) => None,
            (TitleBy::Model, Some(route)) => Some(route.clone()),
            (TitleBy::Model, None) if matches!(own.provider.as_str(), "local" | "scripted") => None,
            (TitleBy::Model, None) => Some(own.clone()),
        }
    }
}

/// How sessions get their titles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TitleBy {
    /// The first words of the first input.
    #[default]
    Words,
    /// A model, after the first turn.
    Model,
}

impl TitleBy {
    pub const ALL: [Self; 2] = [Self::Words, Self::Model];

    pub fn word(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Model => "model",
        }
    }
}

/// What is a secret besides what is one anyway, and what is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretsWish {
    /// Patterns; the first group of one is the secret, where it has groups.
    pub extra: Vec<String>,
    /// What matches one of these as a whole is kept as it is.
    pub allow: Vec<String>,
}

/// How the local model is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalSettings {
    pub dir: Option<PathBuf>,
    pub threads: Option<u32>,
    /// Tokens of context.
    pub context: Option<u32>,
}

/// Reads the managed file, the user's file and the environment.
pub fn load(places: &Places, get: &dyn Fn(&str) -> Option<String>) -> Result<Settings, ConfigError> {
    load_with(places, get, None)
}

/// The same with the configuration of a project that is trusted, as it was when it was hashed.
///
/// A project's word counts more than the user's and less than the environment's and the managed file's. What would
/// reach further than the project is not taken from it: providers, keys, the sandbox.
pub fn load_with(
    places: &Places,
    get: &dyn Fn(&str) -> Option<String>,
    project: Option<&Project>,
) -> Result<Settings, ConfigError> {
    let mut settings = Settings::with_builtins(get);
    let user = places.config_file();
    if let Some(text) = read_file(&user)? {
        read::apply(&mut settings, &user, &text, Scope::User, get)?;
    }
    let own = places.config.join(hooks::HOOKS_FILE);
    settings.add_hooks_file(&own, sterna_runtime::Dialect::Own, Whose::Person)?;
    let files = [(".sterna/config.toml", Scope::Project), (".sterna/config.local.toml", Scope::ProjectLocal)];
    for (name, scope) in files {
        for (file, bytes) in project.iter().flat_map(|project| project.named(name)) {
            let text = std::str::from_utf8(bytes).map_err(|_| {
                ConfigError::new(format!("cannot read {}: it is not UTF-8", file.display()))
                    .hint("mend the file, or move it away")
            })?;
            read::apply(&mut settings, &file, text, scope, get)?;
        }
    }
    let hooks = [
        (".sterna/hooks.json", sterna_runtime::Dialect::Own),
        (".claude/settings.json", sterna_runtime::Dialect::Imported),
        (".claude/settings.local.json", sterna_runtime::Dialect::Imported),
    ];
    for (name, dialect) in hooks {
        for (file, bytes) in project.iter().flat_map(|project| project.named(name)) {
            let text = String::from_utf8_lossy(bytes);
            settings.add_hooks_text(&file, &text, dialect, Whose::Project)?;
        }
    }
    if let Some(text) = variable(get, MODEL_ENV) {
        let route = text.parse().map_err(|error| ConfigError::new(format!("{MODEL_ENV}: {error}")))?;
        settings.model = Some(route);
        settings.sources.insert("model".into(), format!("${MODEL_ENV}"));
    }
    if let Some(text) = read_file(&places.managed)? {
        read::apply(&mut settings, &places.managed, &text, Scope::Managed, get)?;
    }
    Ok(settings)
}

impl Settings {
    /// What the environment alone says.
    pub fn from_env(get: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut settings = Self::with_builtins(get);
        if let Some(text) = variable(get, MODEL_ENV) {
            match text.parse() {
                Ok(route) => {
                    settings.model = Some(route);
                    settings.sources.insert("model".into(), format!("${MODEL_ENV}"));
                }
                Err(error) => settings.notices.push(format!("{MODEL_ENV} is not used: {error}")),
            }
        }
        settings
    }

    /// Refuses a flag for a key that the managed file has set.
    pub fn check_flag(&self, key: &str) -> Result<(), ConfigError> {
        if !self.locked.contains(key) {
            return Ok(());
        }
        let place = self.sources.get(key).map_or("the managed configuration", String::as_str);
        let message = format!("`{key}` is set by {place} and cannot be changed");
        Err(ConfigError::new(message).hint("leave the flag out, or ask whoever runs this machine"))
    }

    /// A provider with its key. `None`: there is no such provider.
    ///
    /// The only place where a key command runs or a key file is read.
    pub fn endpoint(&self, name: &str) -> Result<Option<Endpoint>, ConfigError> {
        self.providers.get(name).map(|provider| provider.endpoint(name)).transpose()
    }

    /// All providers: the chosen one with its key, or the error of it; the others with the keys that cost nothing, and
    /// the way to those that cost something.
    pub fn endpoints(&self, chosen: &str) -> Result<BTreeMap<String, Endpoint>, ConfigError> {
        let of = |(name, provider): (&String, &ProviderSettings)| {
            let endpoint =
                if name == chosen { provider.endpoint(name)? } else { provider.endpoint_if_cheap(name) };
            Ok((name.clone(), endpoint))
        };
        self.providers.iter().map(of).collect()
    }

    /// All providers, for work that sends nothing.
    pub fn endpoints_without_keys(&self) -> BTreeMap<String, Endpoint> {
        let of = |(name, provider): (&String, &ProviderSettings)| {
            (name.clone(), Endpoint { key: KeySource::None, ..provider.endpoint.clone() })
        };
        self.providers.iter().map(of).collect()
    }

    fn with_builtins(get: &dyn Fn(&str) -> Option<String>) -> Self {
        let providers = builtins()
            .iter()
            .map(|builtin| (builtin.name.to_owned(), ProviderSettings::of_builtin(builtin, get)));
        Self { providers: providers.collect(), ..Self::default() }
    }
}

/// A file's text; `None` when there is no file.
fn read_file(path: &Path) -> Result<Option<String>, ConfigError> {
    let cannot = |why: &dyn std::fmt::Display| {
        let message = format!("cannot read {}: {why}", path.display());
        ConfigError::new(message).hint("mend the file, or move it away")
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(cannot(&error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(cannot(&"it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| cannot(&"it is not UTF-8"))
}

fn variable(get: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

const MODEL_ENV: &str = "STERNA_MODEL";
const MAX_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests;
