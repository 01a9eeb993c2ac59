//! One file's keys, laid over what was there before.

use std::path::{Path, PathBuf};

use sterna_model::{Decision, Effort, InDoubtPolicy, Mode, OnAsk, RuleText, SandboxWish, Scope};
use sterna_policy::{Examples, Rule, check_examples};
use sterna_secrets::Scanner;

use super::document::{Node, Source};
use super::{ConfigError, Settings, TitleBy, provider, web};

/// Keys at the top of a file.
pub(super) const KEYS: &[&str] = &[
    "model",
    "fallback",
    "compact_model",
    "classifier_model",
    "mode",
    "on_ask",
    "in_doubt",
    "in_doubt_of",
    "max_steps",
    "max_parallel_tools",
    "max_output_continuations",
    "no_progress_steps",
    "max_consecutive_denials",
    "max_tokens",
    "max_cost",
    "turn_tokens",
    "session_max_tokens",
    "session_max_cost",
    "tree_max_tokens",
    "tree_max_cost",
    "deadline",
    "max_wait",
    "max_children",
    "max_child_depth",
    "max_output",
    "effort",
    "profile",
    "tools",
    "tool_budget",
    "env_pass",
    "mcp_env",
    "sandbox",
    "secrets",
    "checkpoints",
    "memory",
    "memory_embedder",
    "title",
    "title_model",
    "policy",
    "providers",
    "local",
    "web_fetch",
    "web_search",
    "hooks",
];
/// Keys that no project may set: what they say reaches beyond its folder, or takes away what protects from it.
const OWN_KEYS: &[&str] = &[
    "providers",
    "local",
    "sandbox",
    "env_pass",
    "mcp_env",
    "secrets",
    "checkpoints",
    "memory_embedder",
    "classifier_model",
    // Hosts of the private network, and any variable as the key for any host.
    "web_fetch",
    "web_search",
];
pub(super) const NOT_A_PROJECTS: &str = "a project may not set it; it is for your own configuration";
pub(super) const POLICY_KEYS: &[&str] = &["allow", "ask", "deny"];
pub(super) const RULE_KEYS: &[&str] = &["rule", "match", "not_match"];
pub(super) const SECRETS_KEYS: &[&str] = &["extra", "allow"];
pub(super) const LOCAL_KEYS: &[&str] = &["dir", "threads", "context"];

const IN_DOUBT: [(&str, InDoubtPolicy); 4] = [
    ("report", InDoubtPolicy::Report),
    ("ask", InDoubtPolicy::Ask),
    ("rerun", InDoubtPolicy::Rerun),
    ("stop", InDoubtPolicy::Stop),
];

/// What a file's values are read with.
pub(super) struct Reader<'a> {
    pub scope: Scope,
    /// The folder that relative paths in the file start from.
    pub folder: PathBuf,
    pub get: &'a dyn Fn(&str) -> Option<String>,
}

/// Lays a file over the settings. A managed file locks what it sets.
pub(super) fn apply(
    settings: &mut Settings,
    path: &Path,
    text: &str,
    scope: Scope,
    get: &dyn Fn(&str) -> Option<String>,
) -> Result<(), ConfigError> {
    let source = Source { path, text };
    let document = source.parse()?;
    let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
    let reader = Reader { scope, folder, get };
    for (key, node) in source.top(&document).known(KEYS)? {
        if let Some(why) = reader.too_far(key, &node) {
            settings.notices.push(format!("{}: `{key}` is not used: {why}", node.place()));
            continue;
        }
        match key {
            "in_doubt_of" => reader.in_doubt_of(settings, &node)?,
            "policy" => reader.policy(settings, &node)?,
            "providers" => reader.providers(settings, &node)?,
            "local" => reader.local(settings, &node)?,
            "web_fetch" => {
                for (key, value) in node.table()?.known(web::FETCH_KEYS)? {
                    settings.web.read_fetch(key, &value)?;
                    reader.note(settings, &value);
                }
            }
            "web_search" => {
                for (key, value) in node.table()?.known(web::SEARCH_KEYS)? {
                    settings.web.read_search(key, &value)?;
                    reader.note(settings, &value);
                }
            }
            "secrets" => reader.secrets(settings, &node)?,
            "hooks" => reader.hooks(settings, &node)?,
            key => {
                reader.plain(settings, key, &node)?;
                reader.note(settings, &node);
            }
        }
    }
    Ok(())
}

impl Reader<'_> {
    /// Says where a key's value comes from, and locks it if the file may do so.
    pub fn note(&self, settings: &mut Settings, node: &Node<'_>) {
        settings.sources.insert(node.key.clone(), node.place());
        if self.scope == Scope::Managed {
            settings.locked.insert(node.key.clone());
        }
    }

    /// Why a key is not taken from this file, though it is trusted.
    fn too_far(&self, key: &str, node: &Node<'_>) -> Option<&'static str> {
        match self.scope {
            Scope::Project | Scope::ProjectLocal => {}
            Scope::Managed | Scope::Session | Scope::User | Scope::Builtin => return None,
        }
        let answering = |mode: &Mode| key == "mode" && node.text().is_ok_and(|word| word == mode.word());
        match [Mode::Bypass, Mode::Auto].iter().find(|mode| answering(mode)) {
            Some(Mode::Auto) => {
                Some("a project may not set it to `auto`; that is for your own configuration")
            }
            Some(_) => Some("a project may not set it to `bypass`; that is for your own configuration"),
            None => OWN_KEYS.contains(&key).then_some(NOT_A_PROJECTS),
        }
    }

    /// A path of a file: `~/` is the home folder, relative ones start at the file's folder.
    pub fn path(&self, node: &Node<'_>) -> Result<PathBuf, ConfigError> {
        let text = node.filled()?;
        match text.strip_prefix("~/") {
            Some(rest) => match (self.get)("HOME").filter(|home| !home.is_empty()) {
                Some(home) => Ok(Path::new(&home).join(rest)),
                None => Err(node.error(format!("`{}` begins with `~/`, and HOME is not set", node.key))),
            },
            None => Ok(self.folder.join(text)),
        }
    }

    fn plain(&self, settings: &mut Settings, key: &str, node: &Node<'_>) -> Result<(), ConfigError> {
        let limits = &mut settings.limits;
        match key {
            "model" => settings.model = Some(node.filled()?.parse().map_err(|error| node.error(error))?),
            "classifier_model" => {
                settings.classifier_model = Some(node.filled()?.parse().map_err(|error| node.error(error))?);
            }
            "compact_model" => {
                settings.compact_model = Some(node.filled()?.parse().map_err(|error| node.error(error))?);
            }
            "fallback" => {
                let mut routes: Vec<sterna_model::Route> = Vec::new();
                for text in node.texts()? {
                    let route = text.parse().map_err(|error| node.error(error))?;
                    if routes.contains(&route) {
                        return Err(node.error(format!("`{}` names {route} twice", node.key)));
                    }
                    routes.push(route);
                }
                settings.fallback = routes;
            }
            "mode" => settings.mode = Some(node.word(&Mode::ALL.map(|mode| (mode.word(), mode)))?),
            "on_ask" => {
                let words = [("deny", OnAsk::Deny), ("fail", OnAsk::Fail), ("park", OnAsk::Park)];
                settings.on_ask = Some(node.word(&words)?);
            }
            "in_doubt" => {
                settings.in_doubt = Some(node.word(&IN_DOUBT)?);
                if self.scope == Scope::Managed {
                    // A ruling for one tool would be a way round it.
                    for tool in std::mem::take(&mut settings.in_doubt_of).into_keys() {
                        let key = format!("in_doubt_of.{tool}");
                        let place = settings.sources.remove(&key).unwrap_or_default();
                        let by = node.place();
                        settings.notices.push(format!(
                            "{place}: `{key}` is not used: {by} sets `in_doubt` for all tools"
                        ));
                    }
                }
            }
            "max_steps" => limits.max_steps = node.whole32(1)?,
            "max_parallel_tools" => limits.max_parallel_tools = node.whole32(1)?,
            "max_output_continuations" => limits.max_output_continuations = node.whole32(0)?,
            "no_progress_steps" => limits.no_progress_steps = node.whole32(1)?,
            "max_consecutive_denials" => limits.max_consecutive_denials = node.whole32(1)?,
            "max_tokens" => limits.max_tokens = Some(node.whole(1, u64::MAX)?),
            // More than anybody has is cut to what fits.
            "max_cost" => limits.max_cost = Some((node.number()? * 1e9).round() as u64),
            "turn_tokens" => limits.turn_tokens = Some(node.whole(1, u64::MAX)?),
            "session_max_tokens" => limits.session_max_tokens = Some(node.whole(1, u64::MAX)?),
            "session_max_cost" => limits.session_max_cost = Some((node.number()? * 1e9).round() as u64),
            "tree_max_tokens" => limits.tree_max_tokens = Some(node.whole(1, u64::MAX)?),
            "tree_max_cost" => limits.tree_max_cost = Some((node.number()? * 1e9).round() as u64),
            "deadline" => limits.deadline = Some(seconds(node)?),
            "max_wait" => limits.max_wait = Some(seconds(node)?),
            "max_children" => limits.max_children = node.whole(1, 64)? as u32,
            "max_child_depth" => limits.max_child_depth = node.whole(0, 5)? as u32,
            "max_output" => settings.max_output = Some(node.whole32(1)?),
            "effort" => {
                settings.effort = Some(node.word(&Effort::ALL.map(|effort| (effort.word(), effort)))?)
            }
            "profile" => {
                let word = node.word(&[("main", "main"), ("minimal", "minimal")])?;
                settings.profile = Some(word.to_owned());
            }
            "tools" => settings.tools = node.texts()?,
            "tool_budget" => settings.tool_budget = Some(node.whole32(0)?),
            "env_pass" => settings.env_pass = variables(node)?,
            "mcp_env" => settings.mcp_env = variables(node)?,
            "sandbox" => {
                settings.sandbox = Some(node.word(&SandboxWish::ALL.map(|wish| (wish.word(), wish)))?);
            }
            "checkpoints" => settings.checkpoints = Some(node.flag()?),
            "memory" => settings.memory = Some(node.word(&[("on", true), ("off", false)])?),
            "memory_embedder" => {
                let route = node.filled()?.parse().map_err(|error| node.error(error))?;
                settings.memory_embedder = Some(route);
            }
            "title" => settings.title = Some(node.word(&TitleBy::ALL.map(|by| (by.word(), by)))?),
            "title_model" => {
                settings.title_model = Some(node.filled()?.parse().map_err(|error| node.error(error))?);
            }
            // Tables are not plain; `KEYS` holds nothing else.
            _ => {}
        }
        Ok(())
    }

    /// Tools are known when the parts are put together: their names are checked then.
    fn in_doubt_of(&self, settings: &mut Settings, node: &Node<'_>) -> Result<(), ConfigError> {
        for (tool, ruling) in node.table()?.named() {
            settings.in_doubt_of.insert(tool, ruling.word(&IN_DOUBT)?);
            self.note(settings, &ruling);
        }
        Ok(())
    }

    fn policy(&self, settings: &mut Settings, node: &Node<'_>) -> Result<(), ConfigError> {
        let mut rules = Vec::new();
        for (key, list) in node.table()?.known(POLICY_KEYS)? {
            let decision = match key {
                "allow" => Decision::Allow,
                "ask" => Decision::Ask,
                _ => Decision::Deny,
            };
            for item in list.items()? {
                let (rule, examples) = self.rule(decision, &item)?;
                rules.push(rule);
                settings.examples += examples;
            }
            self.note(settings, &list);
        }
        // Managed rules come first, as they do in the decision.
        if self.scope == Scope::Managed {
            rules.append(&mut settings.parsed);
            settings.parsed = rules;
        } else {
            settings.parsed.extend(rules);
        }
        settings.rules = settings.parsed.iter().map(|rule| rule.written().clone()).collect();
        Ok(())
    }

    /// A rule, and how many examples it has.
    fn rule(&self, decision: Decision, item: &Node<'_>) -> Result<(Rule, usize), ConfigError> {
        let (mut text, mut matching, mut not_matching) = (None, Vec::new(), Vec::new());
        match item.as_table() {
            Some(table) => {
                for (key, value) in table.known(RULE_KEYS)? {
                    match key {
                        "rule" => text = Some(value.filled()?.to_owned()),
                        "match" => matching = value.texts()?,
                        _ => not_matching = value.texts()?,
                    }
                }
            }
            None => {
                let expected = || {
                    let what = format!(
                        "an entry of `{}` must be a rule, \"Shell(cargo test *)\", or {{rule = \"…\", match = […], not_match = […]}}",
                        item.key
                    );
                    item.error(what)
                };
                text = Some(item.text().map_err(|_| expected())?.to_owned());
            }
        }
        let text = text.ok_or_else(|| item.error(format!("an entry of `{}` has no `rule`", item.key)))?;
        let written = RuleText { decision, text, scope: self.scope, source: item.place() };
        let rule = Rule::parse(&written).map_err(|error| item.error(error))?;
        let examples = Examples { matching: &matching, not_matching: &not_matching };
        check_examples(&rule, examples).map_err(|error| item.error(error))?;
        Ok((rule, matching.len() + not_matching.len()))
    }

    fn providers(&self, settings: &mut Settings, node: &Node<'_>) -> Result<(), ConfigError> {
        for (name, table) in node.table()?.named() {
            let before = settings.providers.get(&name);
            let read = provider::read(self, &name, &table, before)?;
            settings.providers.insert(name, read);
            self.note(settings, &table);
        }
        Ok(())
    }

    /// Lists of all files are joined.
    fn secrets(&self, settings: &mut Settings, node: &Node<'_>) -> Result<(), ConfigError> {
        for (key, value) in node.table()?.known(SECRETS_KEYS)? {
            let patterns = value.texts()?;
            Scanner::new(&[], &patterns, &[]).map_err(|error| value.error(error))?;
            let held = match key {
                "extra" => &mut settings.secrets.extra,
                _ => &mut settings.secrets.allow,
            };
            held.extend(patterns);
            self.note(settings, &value);
        }
        Ok(())
    }

    fn local(&self, settings: &mut Settings, node: &Node<'_>) -> Result<(), ConfigError> {
        for (key, value) in node.table()?.known(LOCAL_KEYS)? {
            match key {
                "dir" => settings.local.dir = Some(self.path(&value)?),
                "threads" => settings.local.threads = Some(value.whole32(1)?),
                _ => settings.local.context = Some(value.whole32(512)?),
            }
            self.note(settings, &value);
        }
        Ok(())
    }
}

/// A time in seconds, as milliseconds; at least one.
pub(super) fn seconds(node: &Node<'_>) -> Result<u64, ConfigError> {
    let ms = (node.number()? * 1e3).round();
    if ms < 1.0 {
        return Err(node.error(format!("`{}` must be a number of seconds greater than 0", node.key)));
    }
    Ok(ms as u64)
}

fn variables(node: &Node<'_>) -> Result<Vec<String>, ConfigError> {
    let names = node.texts()?;
    let valid = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    match names.iter().find(|name| !valid(name)) {
        Some(name) => Err(node
            .error(format!("`{name}` in `{}` is not the name of a variable", node.key))
            .hint("write names of environment variables, without `$` and without `*`")),
        None => Ok(names),
    }
}
