//! Providers of the files, and where their keys are.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use sterna_llm::ladder::Timeouts;
use sterna_llm::wire::NAMES;
use sterna_llm::{ModelOverride, Price};
use sterna_llm_http::{Builtin, Endpoint, KeySource, LaterKey, Secret, builtin, not_built};
use sterna_model::{Scope, ThinkingDialect};

use super::document::{Node, nearest};
use super::read::{Reader, seconds};
use super::{ConfigError, keyring, variable};

pub(super) const PROVIDER_KEYS: &[&str] = &[
    "wire",
    "base_url",
    "key_env",
    "key_file",
    "key_command",
    "key_keyring",
    "key_header",
    "timeouts",
    "headers",
    "models",
];
pub(super) const TIMEOUT_KEYS: &[&str] = &["connect_s", "first_byte_s", "idle_s", "total_s"];
pub(super) const MODEL_KEYS: &[&str] = &["context", "max_output", "price", "images", "documents", "thinking"];
pub(super) const PRICE_KEYS: &[&str] = &["input", "output", "cache_read", "cache_write_5m", "cache_write_1h"];

/// A provider, its key not yet looked for.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// Without its key.
    pub endpoint: Endpoint,
    pub key: KeyWish,
    /// Where it is configured; `None`: it is built in.
    pub place: Option<String>,
}

/// Where a provider's key is to be found.
#[derive(Debug, Clone)]
pub enum KeyWish {
    /// It wants none.
    None,
    /// In a variable; the value as the environment had it.
    Env {
        name: String,
        value: Option<Secret>,
    },
    File {
        path: PathBuf,
        place: String,
    },
    /// Run only when the provider is chosen and used.
    Command {
        argv: Vec<String>,
        place: String,
    },
    /// In the keyring of the operating system, under the service `sterna`.
    Keyring {
        entry: String,
        place: String,
    },
}

impl ProviderSettings {
    pub(super) fn of_builtin(builtin: &Builtin, get: &dyn Fn(&str) -> Option<String>) -> Self {
        let endpoint = Endpoint { key: KeySource::None, ..Endpoint::of_builtin(builtin, get) };
        let key = builtin.key_env.map_or(KeyWish::None, |name| KeyWish::env(name, get));
        Self { endpoint, key, place: None }
    }

    /// With its key, however that is got.
    pub(super) fn endpoint(&self, name: &str) -> Result<Endpoint, ConfigError> {
        let key = match &self.key {
            KeyWish::None => KeySource::None,
            KeyWish::Env { .. } => self.key_if_cheap(name),
            KeyWish::File { path, place } => {
                KeySource::Value(from_file(path, place)?, path.display().to_string())
            }
            KeyWish::Command { argv, place } => {
                KeySource::Value(from_command(argv, place, name)?, format!("key_command of {place}"))
            }
            KeyWish::Keyring { entry, place } => {
                KeySource::Value(keyring::get(entry, place)?, format!("keyring entry {entry}"))
            }
        };
        Ok(Endpoint { key, ..self.endpoint.clone() })
    }

    /// With its key, unless that costs anything.
    pub(super) fn endpoint_if_cheap(&self, name: &str) -> Endpoint {
        Endpoint { key: self.key_if_cheap(name), ..self.endpoint.clone() }
    }

    fn key_if_cheap(&self, name: &str) -> KeySource {
        match &self.key {
            KeyWish::None => KeySource::None,
            KeyWish::Env { name, value: Some(secret) } => {
                KeySource::Value(secret.clone(), format!("${name}"))
            }
            KeyWish::Env { name: variable, value: None } => {
                KeySource::Missing { hint: format!("set {variable} to a key of {name}") }
            }
            KeyWish::File { path, place } => match from_file(path, place) {
                Ok(secret) => KeySource::Value(secret, path.display().to_string()),
                Err(error) => KeySource::Missing { hint: error.message },
            },
            KeyWish::Command { argv, place } => {
                let (argv, place, name) = (argv.clone(), place.clone(), name.to_owned());
                KeySource::Later(LaterKey::new(move || from_command(&argv, &place, &name).map_err(told)))
            }
            KeyWish::Keyring { entry, place } => {
                let (entry, place) = (entry.clone(), place.clone());
                KeySource::Later(LaterKey::new(move || keyring::get(&entry, &place).map_err(told)))
            }
        }
    }
}

impl KeyWish {
    pub(super) fn env(name: &str, get: &dyn Fn(&str) -> Option<String>) -> Self {
        Self::Env { name: name.to_owned(), value: variable(get, name).map(Secret::new) }
    }

    /// For people: where the key is, and whether it is there. Runs nothing and shows nothing of it.
    pub fn describe(&self) -> (String, bool) {
        match self {
            Self::None => ("none needed".into(), true),
            Self::Env { name, value } => (format!("${name}"), value.is_some()),
            Self::File { path, place } => (path.display().to_string(), from_file(path, place).is_ok()),
            // Whether it works is known when it runs.
            Self::Command { place, .. } => (format!("key_command of {place}"), true),
            // To look could ask a person to unlock it.
            Self::Keyring { entry, .. } => (format!("keyring entry {entry}"), keyring::IS_BUILT),
        }
    }
}

/// Reads `[providers.NAME]` over what the name meant before.
pub(super) fn read(
    reader: &Reader<'_>,
    name: &str,
    node: &Node<'_>,
    before: Option<&ProviderSettings>,
) -> Result<ProviderSettings, ConfigError> {
    let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !word || name == "scripted" {
        let message = format!("`{name}` cannot be the name of a provider");
        return Err(node.error(message).hint("use letters, digits, `.`, `_` and `-`; `scripted` is taken"));
    }
    // A managed file starts from what is built in, whatever the user's file says of the name.
    let base = match (reader.scope, builtin(name)) {
        (Scope::Managed, Some(builtin)) => Some(ProviderSettings::of_builtin(builtin, reader.get)),
        (Scope::Managed, None) => None,
        (_, _) => before.cloned(),
    };
    let fresh = base.is_none();
    let mut provider = base.unwrap_or_else(|| ProviderSettings {
        endpoint: Endpoint { timeouts: Timeouts::of_provider(name), ..Endpoint::new("", "") },
        key: KeyWish::None,
        place: None,
    });
    let mut keys: Vec<&str> = Vec::new();
    let (mut moved, mut wired) = (false, false);
    for (key, value) in node.table()?.known(PROVIDER_KEYS)? {
        let endpoint = &mut provider.endpoint;
        match key {
            "wire" => {
                endpoint.wire = wire(&value)?;
                wired = true;
            }
            "base_url" if keeps_env_url(reader, name) => {
                base_url(&value)?;
            }
            "base_url" => {
                endpoint.base_url = base_url(&value)?;
                moved = true;
            }
            "key_env" => provider.key = KeyWish::env(value.filled()?, reader.get),
            "key_file" => {
                provider.key = KeyWish::File { path: reader.path(&value)?, place: value.place() };
            }
            "key_command" => {
                provider.key = KeyWish::Command { argv: command(&value)?, place: value.place() };
            }
            "key_keyring" if !keyring::IS_BUILT => {
                let message =
                    format!("`{}`: this build of Sterna cannot read the system's keyring", value.key);
                return Err(value
                    .error(message)
                    .hint("build it with --features keyring, or use key_command"));
            }
            "key_keyring" => {
                provider.key = KeyWish::Keyring { entry: value.filled()?.to_owned(), place: value.place() };
            }
            "key_header" => endpoint.key_header = Some(header_name(&value)?),
            "timeouts" => timeouts(&value, &mut endpoint.timeouts)?,
            "headers" => endpoint.headers = headers(&value)?,
            _ => {
                for (model, table) in value.table()?.named() {
                    endpoint.models.insert(model, model_override(&table)?);
                }
            }
        }
        if key.starts_with("key_") && key != "key_header" {
            keys.push(key);
        }
    }
    if let (Some(builtin), true, false) = (builtin(name), moved, wired) {
        provider.endpoint.wire = builtin.wire_at(&provider.endpoint.base_url);
    }
    if let [first, second, ..] = keys.as_slice() {
        return Err(node.error(format!("`{}` has both `{first}` and `{second}`; keep one", node.key)));
    }
    for (missing, what) in [
        (fresh && provider.endpoint.wire.is_empty(), "`wire`; write for example wire = \"openai_chat\""),
        (
            fresh && provider.endpoint.base_url.is_empty(),
            "`base_url`; for openai_chat it ends with the version, as in http://127.0.0.1:8080/v1",
        ),
    ] {
        if missing {
            let (key, hint) = what.split_once("; ").unwrap_or((what, ""));
            return Err(node.error(format!("`{}` has no {key}", node.key)).hint(hint));
        }
    }
    provider.place = Some(node.place());
    Ok(provider)
}

/// A variable that moves a built-in provider's base URL comes before the user's file, as the environment does.
fn keeps_env_url(reader: &Reader<'_>, name: &str) -> bool {
    reader.scope != Scope::Managed
        && builtin(name).is_some_and(|builtin| variable(reader.get, builtin.base_url_env).is_some())
}

fn wire(node: &Node<'_>) -> Result<&'static str, ConfigError> {
    let given = node.text()?;
    if let Some(name) = NAMES.iter().find(|name| **name == given) {
        return Ok(name);
    }
    if let Some(hint) = not_built(given) {
        return Err(node.error(format!("the wire `{given}` is not built yet")).hint(hint));
    }
    let meant = nearest(given, &NAMES).map(|word| format!("did you mean `{word}`? "));
    let hint = format!("{}it is one of {}", meant.unwrap_or_default(), NAMES.join(", "));
    Err(node.error(format!("there is no wire `{given}`")).hint(hint))
}

fn base_url(node: &Node<'_>) -> Result<String, ConfigError> {
    let text = node.filled()?;
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let good = rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
    });
    if !good {
        let message = format!("`{}` is not a URL", node.key);
        return Err(node.error(message).hint("write it with its scheme, as in http://127.0.0.1:8080/v1"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn command(node: &Node<'_>) -> Result<Vec<String>, ConfigError> {
    let argv = if node.is_array() {
        node.texts()?
    } else {
        vec!["sh".to_owned(), "-c".to_owned(), node.filled()?.to_owned()]
    };
    match argv.first() {
        Some(program) if !program.is_empty() => Ok(argv),
        _ => Err(node.error(format!("`{}` is empty", node.key))),
    }
}

fn timeouts(node: &Node<'_>, timeouts: &mut Timeouts) -> Result<(), ConfigError> {
    for (key, value) in node.table()?.known(TIMEOUT_KEYS)? {
        let ms = seconds(&value)?;
        match key {
            "connect_s" => timeouts.connect_ms = ms,
            "first_byte_s" => timeouts.first_byte_ms = ms,
            "idle_s" => timeouts.idle_ms = ms,
            _ => timeouts.total_ms = ms,
        }
    }
    Ok(())
}

fn header_name(node: &Node<'_>) -> Result<String, ConfigError> {
    let name = node.filled()?;
    if !is_header_name(name) {
        return Err(node.error(format!("`{}` is not the name of an HTTP header", node.key)));
    }
    Ok(name.to_owned())
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn headers(node: &Node<'_>) -> Result<Vec<(String, String)>, ConfigError> {
    let mut headers = Vec::new();
    for (name, value) in node.table()?.named() {
        let text = value.text()?;
        if !is_header_name(&name) || text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(value.error(format!("`{}` is not an HTTP header", value.key)));
        }
        headers.push((name, text.to_owned()));
    }
    Ok(headers)
}

fn model_override(node: &Node<'_>) -> Result<ModelOverride, ConfigError> {
    let mut model = ModelOverride::default();
    for (key, value) in node.table()?.known(MODEL_KEYS)? {
        match key {
            "context" => model.context = Some(value.whole32(1)?),
            "max_output" => model.max_output = Some(value.whole32(1)?),
            "images" => model.images = Some(value.flag()?),
            "documents" => model.documents = Some(value.flag()?),
            "thinking" => {
                let words = ThinkingDialect::ALL.map(|dialect| (dialect.word(), dialect));
                model.thinking = Some(value.word(&words)?);
            }
            _ => model.price = Some(price(&value)?),
        }
    }
    Ok(model)
}

/// US dollars per million tokens. What is not said of the cache costs what input costs.
fn price(node: &Node<'_>) -> Result<Price, ConfigError> {
    let mut told = [None; 5];
    for (key, value) in node.table()?.known(PRICE_KEYS)? {
        if let Some(at) = PRICE_KEYS.iter().position(|known| *known == key) {
            told[at] = Some(value.number()?);
        }
    }
    let [Some(input), Some(output), cache_read, cache_write_5m, cache_write_1h] = told else {
        return Err(node.error(format!("`{}` needs `input` and `output`", node.key)));
    };
    Ok(Price {
        input,
        output,
        cache_read: cache_read.unwrap_or(input),
        cache_write_5m: cache_write_5m.unwrap_or(input),
        cache_write_1h: cache_write_1h.unwrap_or(input),
        long: None,
    })
}

fn from_file(path: &Path, place: &str) -> Result<Secret, ConfigError> {
    let shown = path.display();
    let cannot = |error: std::io::Error| {
        ConfigError::new(format!("{place}: cannot read the key file {shown}: {error}"))
    };
    let mut file = std::fs::File::open(path).map_err(cannot)?;
    let mode = file.metadata().map_err(cannot)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let message = format!("{place}: the key file {shown} has mode {mode:04o}, so others can read it");
        return Err(ConfigError::new(message).hint(format!("chmod 600 {shown}")));
    }
    let mut text = String::new();
    file.by_ref().take(MAX_KEY_BYTES).read_to_string(&mut text).map_err(cannot)?;
    secret(&text).ok_or_else(|| ConfigError::new(format!("{place}: the key file {shown} holds no key")))
}

fn from_command(argv: &[String], place: &str, provider: &str) -> Result<Secret, ConfigError> {
    let failed = |what: String| {
        ConfigError::new(format!("{place}: the key command of `{provider}` {what}"))
            .hint("run it by hand; it must print the key and nothing else")
    };
    let (program, args) = argv.split_first().ok_or_else(|| failed("is empty".into()))?;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("could not be started: {error}")))?;
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed("has no output".into()));
    };
    let read = |from: Box<dyn Read + Send>| {
        let (tx, rx) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let read = from.take(MAX_KEY_BYTES).read_to_string(&mut text);
            // Nobody waits any more when it took too long.
            let _ = tx.send(read.map(|_| text));
        });
        rx
    };
    let (out, err) = (read(Box::new(out)), read(Box::new(err)));
    let Ok(said) = out.recv_timeout(KEY_COMMAND_TIME) else {
        // It may have ended in between.
        let _ = child.kill();
        let _ = child.wait();
        return Err(failed(format!("did not answer within {} s", KEY_COMMAND_TIME.as_secs())));
    };
    let status = child.wait().map_err(|error| failed(format!("cannot be waited for: {error}")))?;
    if !status.success() {
        let complaint =
            err.recv_timeout(Duration::from_millis(200)).ok().and_then(Result::ok).unwrap_or_default();
        let first: String = complaint.lines().next().unwrap_or_default().chars().take(200).collect();
        let ended = status
            .code()
            .map_or_else(|| "was killed".to_owned(), |code| format!("ended with exit code {code}"));
        return Err(failed(if first.is_empty() { ended } else { format!("{ended}: {first}") }));
    }
    let text = said.map_err(|error| failed(format!("printed no text: {error}")))?;
    secret(&text).ok_or_else(|| failed("printed nothing".into()))
}

fn told(error: ConfigError) -> String {
    match error.hint {
        Some(hint) => format!("{} ({hint})", error.message),
        None => error.message,
    }
}

/// A key is one line that a header can carry.
pub(super) fn secret(text: &str) -> Option<Secret> {
    let line = text.trim();
    (!line.is_empty() && !line.contains(|c: char| c.is_control())).then(|| Secret::new(line))
}

const MAX_KEY_BYTES: u64 = 64 << 10;
const KEY_COMMAND_TIME: Duration = Duration::from_secs(30);
