//! `[web_fetch]` and `[web_search]`: what the tools for the web may reach, and where they search.

use sterna_shell::sandbox::DomainRule;
use sterna_tools::{Backend, SearchSettings, WebSettings};

use super::ConfigError;
use super::document::Node;

/// What is configured of the web.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebWish {
    /// Hosts with a port that may be fetched although they are not of the public network.
    pub allow_private: Vec<DomainRule>,
    pub search: Option<SearchWish>,
}

/// How the web is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchWish {
    pub backend: Backend,
    /// Base address; `None`: the backend's own.
    pub url: Option<String>,
    /// The variable that holds the key; `None`: the backend's own.
    pub key_env: Option<String>,
}

impl WebWish {
    /// What the tools get, with the key if it is set.
    pub fn of_tools(&self, get: &dyn Fn(&str) -> Option<String>) -> WebSettings {
        let search = self.search.as_ref().map(|wish| {
            let name = wish.key_env.as_deref().unwrap_or(BRAVE_KEY_ENV);
            let key = super::variable(get, name).ok_or_else(|| {
                format!(
                    "web_search has no key: set {name}, or name another variable as `key_env` in [web_search]"
                )
            });
            SearchSettings { backend: wish.backend, url: wish.url.clone(), key }
        });
        WebSettings { allow_private: self.allow_private.clone(), resolver: None, search }
    }

    pub(super) fn read_fetch(&mut self, key: &str, node: &Node<'_>) -> Result<(), ConfigError> {
        if key == "allow_private" {
            let rule = |text: String| {
                let rule: DomainRule = text.parse().map_err(|error| node.error(error))?;
                if rule.allows_private() {
                    return Ok(rule);
                }
                let what = format!("`{text}` in `{}` has no port: write host:port, or host:*", node.key);
                Err(node.error(what))
            };
            self.allow_private = node.texts()?.into_iter().map(rule).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// Keys come in the order of `SEARCH_KEYS`, so the backend is known first.
    pub(super) fn read_search(&mut self, key: &str, node: &Node<'_>) -> Result<(), ConfigError> {
        match (key, &mut self.search) {
            ("backend", search) => {
                let backend = node.word(&Backend::ALL)?;
                let before = search.take();
                let (url, key_env) = before.map(|before| (before.url, before.key_env)).unwrap_or_default();
                *search = Some(SearchWish { backend, url, key_env });
            }
            ("url", Some(search)) => search.url = Some(node.filled()?.to_owned()),
            ("key_env", Some(search)) => search.key_env = Some(node.filled()?.to_owned()),
            (_, Some(_)) => {}
            (_, None) => return Err(node.error("[web_search] has no `backend`: searxng or brave")),
        }
        Ok(())
    }
}

pub(super) const FETCH_KEYS: &[&str] = &["allow_private"];
pub(super) const SEARCH_KEYS: &[&str] = &["backend", "url", "key_env"];
const BRAVE_KEY_ENV: &str = "BRAVE_API_KEY";
