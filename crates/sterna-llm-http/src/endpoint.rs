//! Where models are served, and the table of providers that need no configuration but a key.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use sterna_llm::ModelOverride;
use sterna_llm::ladder::Timeouts;
use sterna_llm::wire::{self, Wire};

/// One provider as it is configured.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The wire's name, one of `sterna_llm::wire::NAMES`.
    pub wire: &'static str,
    /// With the version (`https://host/v1`), but without it for `anthropic`.
    pub base_url: String,
    pub key: KeySource,
    /// The header that carries the key bare, where it is not the wire's own one.
    pub key_header: Option<String>,
    pub timeouts: Timeouts,
    /// Sent after the wire's own headers.
    pub headers: Vec<(String, String)>,
    /// By model name.
    pub models: BTreeMap<String, ModelOverride>,
}

impl Endpoint {
    /// An endpoint without a key, with the default time limits.
    pub fn new(wire: &'static str, base_url: impl Into<String>) -> Self {
        Self {
            wire,
            base_url: base_url.into(),
            key: KeySource::None,
            key_header: None,
            timeouts: Timeouts::default(),
            headers: Vec::new(),
            models: BTreeMap::new(),
        }
    }

    /// The model server on this machine: no key, and patience for the first byte.
    pub fn local(base_url: impl Into<String>) -> Self {
        Self { timeouts: Timeouts::of_provider("local"), ..Self::new("openai_chat", base_url) }
    }

    /// The endpoint of a built-in provider, with key and base URL as `get` gives them by the names of variables.
    pub fn of_builtin(builtin: &Builtin, get: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let base_url = match set(builtin.base_url_env) {
            Some(text) if builtin.base_url_env == OLLAMA_HOST => ollama_url(&text),
            Some(text) if builtin.base_url_env == AZURE_ENDPOINT => azure_url(&text),
            Some(text) => text,
            None => builtin.base_url.to_owned(),
        };
        let key = match builtin.key_env {
            None => KeySource::None,
            Some(name) => match set(name) {
                Some(text) => KeySource::Value(Secret::new(text), format!("${name}")),
                None => KeySource::Missing { hint: format!("set {name} to a key of {}", builtin.name) },
            },
        };
        let timeouts = Timeouts::of_provider(builtin.name);
        let key_header = builtin.key_header.map(str::to_owned);
        Self { key, key_header, timeouts, ..Self::new(builtin.wire_at(&base_url), base_url) }
    }

    /// The headers of a request: the wire's own, with the key where this endpoint wants it, then the configured ones. A
    /// configured header replaces one of the wire's.
    pub(crate) fn headers(&self, wire: &dyn Wire, key: Option<&str>) -> Vec<(String, String)> {
        self.with_own(match (&self.key_header, key) {
            (Some(name), Some(key)) => {
                let mut headers = wire.headers(None);
                headers.push((name.clone(), key.to_owned()));
                headers
            }
            (None, _) | (_, None) => wire.headers(key),
        })
    }

    /// Headers with the configured ones, which replace their namesakes.
    pub(crate) fn with_own(&self, mut headers: Vec<(String, String)>) -> Vec<(String, String)> {
        let replaced = |name: &str| self.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        headers.retain(|(name, _)| !replaced(name));
        headers.extend(self.headers.iter().cloned());
        headers
    }

    pub(crate) fn wire(&self) -> Result<&'static dyn Wire, String> {
        wire::by_name(self.wire).ok_or_else(|| format!("there is no wire named `{}`", self.wire))
    }
}

/// Where a key is.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// The endpoint wants none.
    None,
    /// The key, and where it was found, for people: `$OPENAI_API_KEY`.
    Value(Secret, String),
    /// There should be one. The hint says what to do.
    Missing { hint: String },
    /// It costs something to get: it is looked for when the first request needs it, and once.
    Later(LaterKey),
}

/// A key that is not looked for yet.
#[derive(Clone)]
pub struct LaterKey(Arc<Finder>);

struct Finder {
    find: Box<dyn Fn() -> Result<Secret, String> + Send + Sync>,
    found: OnceLock<Result<Secret, String>>,
}

impl LaterKey {
    /// `find` may take its time. What it says first counts.
    pub fn new(find: impl Fn() -> Result<Secret, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Finder { find: Box::new(find), found: OnceLock::new() }))
    }

    /// The key, or why there is none. The first caller looks for it, and blocks.
    pub fn get(&self) -> Result<Secret, String> {
        self.0.found.get_or_init(|| (self.0.find)()).clone()
    }
}

impl fmt::Debug for LaterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LaterKey(..)")
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one header that carries it and for redaction.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A provider that is known without configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    pub name: &'static str,
    pub wire: &'static str,
    /// Empty: each customer has another one.
    pub base_url: &'static str,
    /// The variable that holds the key; `None`: it needs none.
    pub key_env: Option<&'static str>,
    /// The header that carries the key, where it is not the wire's own one.
    pub key_header: Option<&'static str>,
    /// The variable that moves the base URL.
    pub base_url_env: &'static str,
}

impl Builtin {
    /// The wire to speak below a base URL. Servers that stand in for `openai` all speak its older wire, and few its own.
    pub fn wire_at(&self, base_url: &str) -> &'static str {
        let moved = !self.base_url.is_empty() && base_url.trim_end_matches('/') != self.base_url;
        if moved && self.wire == "openai_responses" { "openai_chat" } else { self.wire }
    }
}

/// The built-in provider of that name.
pub fn builtin(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}

/// All of them, in the order of the documentation.
pub fn builtins() -> &'static [Builtin] {
    BUILTINS
}

/// Why a provider that people will ask for is not there yet.
pub fn not_built(name: &str) -> Option<&'static str> {
    match name {
        "bedrock" | "vertex" => Some(
            "signed requests to cloud platforms are not built yet: use the vendor's own provider (anthropic, gemini), \
             or openrouter/VENDOR/MODEL",
        ),
        _ => None,
    }
}

/// `OLLAMA_HOST` is a host, perhaps with a port, perhaps with a scheme; a server's bind address means this machine.
fn ollama_url(host: &str) -> String {
    let (scheme, rest) = host.split_once("://").unwrap_or(("http", host));
    let rest = rest.trim_end_matches('/');
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let authority = match authority.strip_prefix("0.0.0.0") {
        Some(port) => format!("127.0.0.1{port}"),
        None if authority.starts_with(':') => format!("127.0.0.1{authority}"),
        None => authority.to_owned(),
    };
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = if has_port || scheme == "https" { "" } else { ":11434" };
    match path {
        Some(path) => format!("{scheme}://{authority}{port}/{path}"),
        None => format!("{scheme}://{authority}{port}/v1"),
    }
}

/// `AZURE_OPENAI_ENDPOINT` is a resource's address, as its page shows it; the API's first version is below it.
fn azure_url(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    if rest.contains('/') { endpoint.to_owned() } else { format!("{endpoint}/openai/v1") }
}

const fn chat(
    name: &'static str,
    base_url: &'static str,
    key_env: Option<&'static str>,
    base_url_env: &'static str,
) -> Builtin {
    Builtin { name, wire: "openai_chat", base_url, key_env, key_header: None, base_url_env }
}

const OLLAMA_HOST: &str = "OLLAMA_HOST";
const AZURE_ENDPOINT: &str = "AZURE_OPENAI_ENDPOINT";

const BUILTINS: &[Builtin] = &[
    Builtin {
        name: "anthropic",
        wire: "anthropic",
        base_url: "https://api.anthropic.com",
        key_env: Some("ANTHROPIC_API_KEY"),
        key_header: None,
        base_url_env: "ANTHROPIC_BASE_URL",
    },
    Builtin {
        name: "openai",
        wire: "openai_responses",
        base_url: "https://api.openai.com/v1",
        key_env: Some("OPENAI_API_KEY"),
        key_header: None,
        base_url_env: "OPENAI_BASE_URL",
    },
    Builtin {
        name: "gemini",
        wire: "gemini",
        base_url: "https://generativelanguage.googleapis.com/v1beta",
        key_env: Some("GEMINI_API_KEY"),
        key_header: None,
        base_url_env: "GEMINI_BASE_URL",
    },
    // Azure's OpenAI API, version 1: paths without `api-version`, and a resource's key as `api-key`.
    // https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle, read on 2026-11-21.
    Builtin {
        name: "azure",
        wire: "openai_responses",
        base_url: "",
        key_env: Some("AZURE_OPENAI_API_KEY"),
        key_header: Some("api-key"),
        base_url_env: AZURE_ENDPOINT,
    },
    // Its form of chat/completions leaves reasoning in the text; its form of Messages keeps it apart, and signed.
    // https://platform.minimax.io/docs/api-reference/text-anthropic-api, read on 2026-11-21.
    Builtin {
        name: "minimax",
        wire: "anthropic",
        base_url: "https://api.minimax.io/anthropic",
        key_env: Some("MINIMAX_API_KEY"),
        key_header: None,
        base_url_env: "MINIMAX_BASE_URL",
    },
    chat("openrouter", "https://openrouter.ai/api/v1", Some("OPENROUTER_API_KEY"), "OPENROUTER_BASE_URL"),
    chat("groq", "https://api.groq.com/openai/v1", Some("GROQ_API_KEY"), "GROQ_BASE_URL"),
    chat("together", "https://api.together.xyz/v1", Some("TOGETHER_API_KEY"), "TOGETHER_BASE_URL"),
    chat(
        "fireworks",
        "https://api.fireworks.ai/inference/v1",
        Some("FIREWORKS_API_KEY"),
        "FIREWORKS_BASE_URL",
    ),
    chat("deepseek", "https://api.deepseek.com/v1", Some("DEEPSEEK_API_KEY"), "DEEPSEEK_BASE_URL"),
    chat("mistral", "https://api.mistral.ai/v1", Some("MISTRAL_API_KEY"), "MISTRAL_BASE_URL"),
    chat("xai", "https://api.x.ai/v1", Some("XAI_API_KEY"), "XAI_BASE_URL"),
    chat("cerebras", "https://api.cerebras.ai/v1", Some("CEREBRAS_API_KEY"), "CEREBRAS_BASE_URL"),
    chat("moonshot", "https://api.moonshot.ai/v1", Some("MOONSHOT_API_KEY"), "MOONSHOT_BASE_URL"),
    // https://docs.z.ai/guides/develop/openai/python, read on 2026-11-21. Its coding plan has a base URL of its own.
    chat("zai", "https://api.z.ai/api/paas/v4", Some("ZAI_API_KEY"), "ZAI_BASE_URL"),
    chat("ollama", "http://127.0.0.1:11434/v1", None, OLLAMA_HOST),
    chat("lmstudio", "http://127.0.0.1:1234/v1", None, "LMSTUDIO_BASE_URL"),
    chat("llamacpp", "http://127.0.0.1:8080/v1", None, "LLAMACPP_BASE_URL"),
    chat("vllm", "http://127.0.0.1:8000/v1", None, "VLLM_BASE_URL"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtins_take_key_and_url_from_what_they_are_given() {
        let get = |name: &str| match name {
            "OPENAI_API_KEY" => Some(" sk-1 \n".to_owned()),
            "GROQ_BASE_URL" => Some("http://127.0.0.1:9/v1".to_owned()),
            "XAI_API_KEY" => Some(String::new()),
            _ => None,
        };
        let of = |name: &str| Endpoint::of_builtin(builtin(name).unwrap(), get);
        let openai = of("openai");
        let KeySource::Value(secret, origin) = &openai.key else { panic!("{:?}", openai.key) };
        assert_eq!((secret.expose(), origin.as_str()), ("sk-1", "$OPENAI_API_KEY"));
        assert!(!format!("{openai:?}").contains("sk-1"));
        assert_eq!(of("groq").base_url, "http://127.0.0.1:9/v1");
        for name in ["groq", "xai", "anthropic", "gemini", "azure", "minimax", "zai"] {
            assert!(matches!(of(name).key, KeySource::Missing { .. }), "{name}");
        }
        for name in ["ollama", "lmstudio", "llamacpp", "vllm"] {
            assert!(matches!(of(name).key, KeySource::None), "{name}");
        }
        assert!(builtin("vertex").is_none() && not_built("vertex").is_some());
        for builtin in builtins() {
            assert!(wire::by_name(builtin.wire).is_some() && not_built(builtin.name).is_none());
        }
    }

    #[test]
    fn what_stands_in_for_openai_speaks_the_older_wire() {
        for (url, wire) in [
            (None, "openai_responses"),
            (Some("https://api.openai.com/v1/"), "openai_responses"),
            (Some("http://127.0.0.1:8000/v1"), "openai_chat"),
        ] {
            let get = |name: &str| (name == "OPENAI_BASE_URL").then(|| url.map(str::to_owned)).flatten();
            assert_eq!(Endpoint::of_builtin(builtin("openai").unwrap(), get).wire, wire, "{url:?}");
        }
        let moved = |_: &str| Some("http://127.0.0.1:1".to_owned());
        for name in ["anthropic", "gemini"] {
            assert_eq!(Endpoint::of_builtin(builtin(name).unwrap(), moved).wire, name);
        }
    }

    #[test]
    fn azure_resources() {
        let azure = |url: Option<&str>| {
            let get = |name: &str| (name == AZURE_ENDPOINT).then(|| url.map(str::to_owned)).flatten();
            Endpoint::of_builtin(builtin("azure").unwrap(), get)
        };
        for (given, url) in [
            ("https://mine.openai.azure.com/", "https://mine.openai.azure.com/openai/v1"),
            ("https://mine.openai.azure.com/openai/v1/", "https://mine.openai.azure.com/openai/v1"),
            ("http://127.0.0.1:9/gate", "http://127.0.0.1:9/gate"),
        ] {
            let found = azure(Some(given));
            assert_eq!((found.base_url.as_str(), found.wire), (url, "openai_responses"), "{given}");
        }
        assert_eq!(azure(None).base_url, "");
    }

    #[test]
    fn a_key_goes_where_the_endpoint_wants_it() {
        let wire = wire::by_name("openai_responses").unwrap();
        let azure = Endpoint::of_builtin(builtin("azure").unwrap(), |_| None);
        let of = |endpoint: &Endpoint, key| -> Vec<(String, String)> {
            let told = |(name, _): &(String, String)| name == "authorization" || name == "api-key";
            endpoint.headers(wire, key).into_iter().filter(told).collect()
        };
        assert_eq!(of(&azure, Some("k")), [("api-key".to_owned(), "k".to_owned())]);
        assert_eq!(of(&azure, None), []);
        let plain = Endpoint { key_header: None, ..azure };
        assert_eq!(of(&plain, Some("k")), [("authorization".to_owned(), "Bearer k".to_owned())]);
    }

    #[test]
    fn ollama_hosts() {
        for (host, url) in [
            ("127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
            ("box", "http://box:11434/v1"),
            ("0.0.0.0", "http://127.0.0.1:11434/v1"),
            (":9999", "http://127.0.0.1:9999/v1"),
            ("http://box:80/", "http://box:80/v1"),
            ("https://box", "https://box/v1"),
            ("https://box/ollama/v1", "https://box/ollama/v1"),
        ] {
            assert_eq!(ollama_url(host), url, "{host}");
        }
    }
}
