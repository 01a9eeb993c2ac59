//! Every key with its value and where that comes from; of a key to a provider only where it is.

use serde::Serialize;
use serde_json::{Value, json};
use sterna_model::{OnAsk, SandboxWish};

use super::{ProviderSettings, Settings};

/// One row of `config show`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    pub key: String,
    /// `null`: nothing is set, and the program decides.
    pub value: Value,
    /// `file:line`, a variable, or `default`.
    pub source: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
}

impl Settings {
    /// All keys in the order of the documentation; providers that are configured or have a key, by name.
    pub fn shown(&self) -> Vec<Shown> {
        let limits = &self.limits;
        let mut rows = vec![
            self.row("model", json!(self.model)),
            self.row("fallback", json!(self.fallback)),
            self.row("compact_model", json!(self.compact_model)),
            self.row("classifier_model", json!(self.classifier_model)),
            self.row("mode", json!(self.mode.unwrap_or_default())),
            self.row("on_ask", json!(self.on_ask.unwrap_or(OnAsk::Deny))),
            self.row("in_doubt", json!(self.in_doubt.unwrap_or_default())),
            self.row("max_steps", json!(limits.max_steps)),
            self.row("max_parallel_tools", json!(limits.max_parallel_tools)),
            self.row("max_output_continuations", json!(limits.max_output_continuations)),
            self.row("no_progress_steps", json!(limits.no_progress_steps)),
            self.row("max_consecutive_denials", json!(limits.max_consecutive_denials)),
            self.row("max_tokens", json!(limits.max_tokens)),
            self.row("max_cost", json!(sterna_model::dollars(limits.max_cost))),
            self.row("turn_tokens", json!(limits.turn_tokens)),
            self.row("session_max_tokens", json!(limits.session_max_tokens)),
            self.row("session_max_cost", json!(sterna_model::dollars(limits.session_max_cost))),
            self.row("tree_max_tokens", json!(limits.tree_max_tokens)),
            self.row("tree_max_cost", json!(sterna_model::dollars(limits.tree_max_cost))),
            self.row("deadline", json!(limits.deadline.map(|ms| ms as f64 / 1e3))),
            self.row("max_wait", json!(limits.max_wait.map(|ms| ms as f64 / 1e3))),
            self.row("max_children", json!(limits.max_children)),
            self.row("max_child_depth", json!(limits.max_child_depth)),
            self.row("max_output", json!(self.max_output)),
            self.row("effort", json!(self.effort)),
            self.row("profile", json!(self.profile)),
            self.row("tools", json!(self.tools)),
            self.row("tool_budget", json!(self.tool_budget.unwrap_or(crate::deferral::TOOL_BUDGET))),
            self.row("env_pass", json!(self.env_pass)),
            self.row("mcp_env", json!(self.mcp_env)),
            self.row("sandbox", json!(self.sandbox.map(SandboxWish::word))),
            self.row("secrets.extra", json!(self.secrets.extra)),
            self.row("secrets.allow", json!(self.secrets.allow)),
            self.row("checkpoints", json!(self.checkpoints.unwrap_or(true))),
            self.row("memory", json!(if self.memory.unwrap_or(true) { "on" } else { "off" })),
            self.row("memory_embedder", json!(self.memory_embedder)),
            self.row("title", json!(self.title.unwrap_or_default().word())),
            self.row("title_model", json!(self.title_model)),
        ];
        let of_tools = self.in_doubt_of.iter();
        rows.extend(of_tools.map(|(tool, ruling)| self.row(&format!("in_doubt_of.{tool}"), json!(ruling))));
        rows.extend(self.rules.iter().map(|rule| Shown {
            key: format!("policy.{}", rule.decision.word()),
            value: json!(rule.text),
            source: rule.source.clone(),
            locked: rule.scope == sterna_model::Scope::Managed,
        }));
        let told = |(_, provider): &(&String, &ProviderSettings)| provider.is_told();
        rows.extend(self.providers.iter().filter(told).map(|(name, provider)| {
            let key = format!("providers.{name}");
            let locked = self.locked.contains(&key);
            Shown { key, value: provider.shown(), source: provider.source(), locked }
        }));
        rows.push(self.row("local.dir", json!(self.local.dir)));
        rows.push(self.row("local.threads", json!(self.local.threads)));
        rows.push(self.row("local.context", json!(self.local.context)));
        rows.push(self.row("web_fetch.allow_private", json!(self.web.allow_private)));
        let search = self.web.search.as_ref();
        rows.push(self.row("web_search.backend", json!(search.map(|search| search.backend.word()))));
        if let Some(search) = search {
            let url = search.url.as_deref().map(without_password);
            rows.push(self.row("web_search.url", json!(url)));
            rows.push(self.row("web_search.key_env", json!(search.key_env)));
        }
        rows.extend(self.hooks.shown().map(|(source, spec)| Shown {
            key: format!("hooks.{}", spec.event.word()),
            value: json!(spec.run.shown()),
            source,
            locked: false,
        }));
        rows
    }

    fn row(&self, key: &str, value: Value) -> Shown {
        let source = self.sources.get(key).map_or("default", String::as_str).to_owned();
        Shown { key: key.to_owned(), value, source, locked: self.locked.contains(key) }
    }
}

impl ProviderSettings {
    /// Configured, or ready because its key is there.
    fn is_told(&self) -> bool {
        self.place.is_some() || matches!(&self.key, super::KeyWish::Env { value: Some(_), .. })
    }

    fn source(&self) -> String {
        self.place.clone().unwrap_or_else(|| "built in".into())
    }

    fn shown(&self) -> Value {
        let (key, set) = self.key.describe();
        let mut shown = json!({
            "wire": self.endpoint.wire,
            "base_url": without_password(&self.endpoint.base_url),
            "key": key,
            "key_set": set,
        });
        // A header may carry a key.
        let headers: Vec<&str> = self.endpoint.headers.iter().map(|(name, _)| name.as_str()).collect();
        if !headers.is_empty() {
            shown["headers"] = json!(headers);
        }
        if !self.endpoint.models.is_empty() {
            shown["models"] = json!(self.endpoint.models.keys().collect::<Vec<_>>());
        }
        shown
    }
}

/// A URL with what stands before `@` in its host taken out.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://…@{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}
