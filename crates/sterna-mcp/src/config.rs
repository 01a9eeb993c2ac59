//! Servers as they are configured: the common `mcpServers` form, with a few members of our own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use sterna_model::Scope;

use crate::name::server_name;

/// One server, ready to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// As in the names of its tools.
    pub name: String,
    pub transport: Transport,
    pub origin: Origin,
    /// What it says of its tools (`readOnlyHint`, `idempotentHint`) is believed.
    pub trusted: bool,
    /// Whether a program runs in the sandbox, where there is one.
    pub sandbox: bool,
    pub disabled: bool,
    pub tools: ToolChoice,
    pub times: Times,
    pub oauth: OAuth,
}

/// How we are known to a server's authorization server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OAuth {
    /// Registered there by hand, or the `https` address of a client's metadata page. `None`: registered when it is needed.
    pub client: Option<String>,
    /// Of a client that was registered by hand.
    pub secret: Option<String>,
    /// Empty: those that the server asks for.
    pub scopes: Vec<String>,
    pub grant: Grant,
}

/// Who it is that logs in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// A person, with a browser.
    #[default]
    AuthorizationCode,
    /// The client itself, with its secret: nobody needs to be there.
    ClientCredentials,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Transport {
    Stdio {
        command: String,
        args: Vec<String>,
        env: BTreeMap<String, String>,
        /// `None`: the workspace.
        cwd: Option<PathBuf>,
    },
    Http {
        url: String,
        headers: BTreeMap<String, String>,
    },
}

impl Transport {
    /// One line for people, without values that may be secret.
    pub fn shown(&self) -> String {
        match self {
            Self::Stdio { command, args, .. } => {
                std::iter::once(command).chain(args).map(String::as_str).collect::<Vec<_>>().join(" ")
            }
            Self::Http { url, .. } => url.split('?').next().unwrap_or_default().to_owned(),
        }
    }

    /// The host of a server that is reached over the network.
    pub fn host(&self) -> Option<String> {
        match self {
            Self::Stdio { .. } => None,
            Self::Http { url, .. } => {
                let url = reqwest::Url::parse(url).ok()?;
                let host = url.host_str()?;
                Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
            }
        }
    }
}

/// Who configured a server, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub scope: Scope,
    pub file: PathBuf,
}

/// Which tools of a server there are, by their names at the server. `*` at the end stands for anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolChoice {
    /// Empty: all.
    #[serde(default)]
    pub allow: Vec<String>,
    #[serde(default)]
    pub deny: Vec<String>,
    /// Shown to the model with their schemas, however many tools there are.
    #[serde(default)]
    pub always: Vec<String>,
    /// Only by name, however few there are.
    #[serde(default)]
    pub defer: Vec<String>,
}

impl ToolChoice {
    pub fn takes(&self, tool: &str) -> bool {
        !has(&self.deny, tool) && (self.allow.is_empty() || has(&self.allow, tool))
    }

    /// `Some(true)`: always deferred; `Some(false)`: never; `None`: as the budget says.
    pub fn deferred(&self, tool: &str) -> Option<bool> {
        if has(&self.always, tool) { Some(false) } else { has(&self.defer, tool).then_some(true) }
    }
}

fn has(patterns: &[String], tool: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => tool.starts_with(prefix),
        None => pattern == tool,
    })
}

/// How long is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// From the start until a server says that it is ready.
    pub start: Duration,
    /// Without an answer or progress of a call.
    pub idle: Duration,
    /// For the whole of a call.
    pub total: Duration,
    /// Between two pings of a server that has nothing to do, and for the answer to one.
    pub ping: Duration,
    /// The first wait before a server is started again; doubled each time, up to 60 times as much.
    pub reconnect: Duration,
    /// A server that nobody has called for so long is ended.
    pub unused: Duration,
}

impl Default for Times {
    /// The constants of the design's MCP client.
    fn default() -> Self {
        Self {
            start: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
            ping: Duration::from_secs(5),
            reconnect: Duration::from_millis(500),
            unused: Duration::from_secs(1_800),
        }
    }
}

/// Whether `${NAME}` and `${NAME:-default}` are replaced.
pub enum Expand<'a> {
    /// A file that nobody has trusted: it is only looked at.
    No,
    From(&'a dyn Fn(&str) -> Option<String>),
    /// A file that others wrote, though it is trusted: only these variables. One that is set and not given is an error.
    Listed {
        get: &'a dyn Fn(&str) -> Option<String>,
        gives: &'a dyn Fn(&str) -> bool,
    },
}

/// What a file says: the servers that can be used, and what is wrong with the others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    pub servers: Vec<ServerConfig>,
    pub problems: Vec<ConfigProblem>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", file.display())]
pub struct ConfigProblem {
    pub file: PathBuf,
    pub what: String,
}

/// Reads a file in the form `{"mcpServers": {name: {…}}}`. One wrong entry does not take the others with it.
pub fn parse(text: &str, origin: &Origin, expand: &Expand<'_>) -> Parsed {
    let mut parsed = Parsed::default();
    let mut problem = |what: String| {
        parsed.problems.push(ConfigProblem { file: origin.file.clone(), what });
    };
    let entries = match serde_json::from_str::<FileForm>(text) {
        Ok(file) => file.servers,
        Err(error) => {
            problem(format!("it is not in the form {{\"mcpServers\": {{…}}}}: {error}"));
            return parsed;
        }
    };
    let mut servers: Vec<ServerConfig> = Vec::new();
    for (given, entry) in entries {
        match server(&given, entry, origin, expand) {
            Ok((server, notes)) => {
                notes.into_iter().for_each(&mut problem);
                match servers.iter().find(|held| held.name == server.name) {
                    Some(_) => problem(format!(
                        "server `{given}`: another one has the name `{}` already",
                        server.name
                    )),
                    None => servers.push(server),
                }
            }
            Err(what) => problem(format!("server `{given}`: {what}")),
        }
    }
    parsed.servers = servers;
    parsed
}

/// The file's text with one more server, or with another entry under its name. The rest stays as it is.
pub fn edit_add(text: &str, name: &str, entry: Value) -> Result<String, String> {
    let mut root = document(text)?;
    let servers = root.entry("mcpServers").or_insert_with(|| Value::Object(Map::new()));
    let servers = servers.as_object_mut().ok_or("`mcpServers` is not an object")?;
    servers.insert(name.to_owned(), entry);
    Ok(written(&root))
}

/// The file's text without a server. `None`: there is no such entry.
pub fn edit_remove(text: &str, name: &str) -> Result<Option<String>, String> {
    let mut root = document(text)?;
    let removed =
        root.get_mut("mcpServers").and_then(Value::as_object_mut).and_then(|servers| servers.remove(name));
    Ok(removed.map(|_| written(&root)))
}

fn document(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(root)) => Ok(root),
        Ok(_) => Err("the file is not a JSON object".into()),
        Err(error) => Err(format!("the file is not JSON: {error}")),
    }
}

fn written(root: &Map<String, Value>) -> String {
    format!("{:#}\n", Value::Object(root.clone()))
}

#[derive(Deserialize)]
struct FileForm {
    #[serde(rename = "mcpServers", default)]
    servers: Map<String, Value>,
}

/// Members that we do not know are left alone: the form is shared with other programs.
#[derive(Deserialize)]
struct Entry {
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: Option<String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    r#type: Option<String>,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    trusted: bool,
    sandbox: Option<bool>,
    #[serde(default)]
    tools: ToolChoice,
    start_timeout_s: Option<f64>,
    idle_timeout_s: Option<f64>,
    total_timeout_s: Option<f64>,
    oauth_client_id: Option<String>,
    oauth_client_secret: Option<String>,
    #[serde(default)]
    oauth_scopes: Vec<String>,
    #[serde(default)]
    oauth_grant: Grant,
}

fn server(
    given: &str,
    entry: Value,
    origin: &Origin,
    expand: &Expand<'_>,
) -> Result<(ServerConfig, Vec<String>), String> {
    let name = server_name(given).ok_or("its name needs letters or digits, and 32 characters at most")?;
    let entry: Entry = serde_json::from_value(entry).map_err(|error| error.to_string())?;
    let one = |text: &str| expanded(text, expand);
    let all = |map: &BTreeMap<String, String>| -> Result<BTreeMap<String, String>, String> {
        map.iter().map(|(key, value)| Ok((key.clone(), one(value)?))).collect()
    };
    let kind = entry.r#type.as_deref();
    let transport = match (&entry.command, &entry.url) {
        (Some(_), Some(_)) => return Err("it has both `command` and `url`".into()),
        (Some(command), None) if matches!(kind, None | Some("stdio")) => {
            let cwd = entry.cwd.as_deref().map(one).transpose()?.map(PathBuf::from);
            let beside = origin.file.parent().unwrap_or(Path::new("/"));
            Transport::Stdio {
                command: one(command)?,
                args: entry.args.iter().map(|arg| one(arg)).collect::<Result<_, _>>()?,
                env: all(&entry.env)?,
                cwd: cwd.map(|cwd| beside.join(cwd)),
            }
        }
        (None, Some(written))
            if matches!(kind, None | Some("http" | "streamable-http" | "streamableHttp")) =>
        {
            let url = one(written)?;
            if !matches!(expand, Expand::No) {
                // As it was written: what variables hold may be a secret.
                let parsed = reqwest::Url::parse(&url).map_err(|_| {
                    format!("`url` is `{written}`, which is no address such as https://host/mcp")
                })?;
                if !matches!(parsed.scheme(), "http" | "https") {
                    return Err("`url` needs the scheme http or https".into());
                }
            }
            Transport::Http { url, headers: all(&entry.headers)? }
        }
        (_, Some(_)) if kind == Some("sse") => {
            return Err(
                "`sse` is the transport of 2024; the server's streamable HTTP address is needed".into()
            );
        }
        (None, None) => return Err("it needs `command` or `url`".into()),
        (Some(_), None) | (None, Some(_)) => {
            return Err(format!("its type `{}` does not fit", kind.unwrap_or_default()));
        }
    };
    let mut notes = Vec::new();
    // Who writes a project's file is not who uses it.
    let own = origin.scope != Scope::Project;
    if entry.trusted && !own {
        notes.push(format!("server `{given}`: `trusted` counts only in your own file, and is not used"));
    }
    let unconfined = entry.sandbox == Some(false);
    if unconfined && !own {
        notes.push(format!(
            "server `{given}`: `\"sandbox\": false` counts only in your own file, and is not used"
        ));
    }
    let usual = Times::default();
    let time = |given: Option<f64>, usual: Duration| match given {
        None => Ok(usual),
        Some(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        Some(_) => Err("a timeout is more than 0 and at most 86,400 seconds".to_owned()),
    };
    let times = Times {
        start: time(entry.start_timeout_s, usual.start)?,
        idle: time(entry.idle_timeout_s, usual.idle)?,
        total: time(entry.total_timeout_s, usual.total)?,
        ..usual
    };
    let oauth = OAuth {
        client: entry.oauth_client_id.as_deref().map(one).transpose()?,
        secret: entry.oauth_client_secret.as_deref().map(one).transpose()?,
        scopes: entry.oauth_scopes,
        grant: entry.oauth_grant,
    };
    match (oauth.grant, &oauth.client, &oauth.secret) {
        (_, Some(_), Some(_)) | (Grant::AuthorizationCode, _, None) => {}
        (Grant::ClientCredentials, _, _) => {
            return Err("`client_credentials` needs `oauth_client_id` and `oauth_client_secret`".into());
        }
        (Grant::AuthorizationCode, None, Some(_)) => {
            return Err("`oauth_client_secret` needs `oauth_client_id`".into());
        }
    }
    let server = ServerConfig {
        name,
        transport,
        origin: origin.clone(),
        trusted: entry.trusted && own,
        sandbox: !(unconfined && own),
        disabled: entry.disabled,
        tools: entry.tools,
        times,
        oauth,
    };
    Ok((server, notes))
}

/// Replaces `${NAME}` and `${NAME:-default}`; a variable that is not set and has no default is an error.
fn expanded(text: &str, expand: &Expand<'_>) -> Result<String, String> {
    let every = |_: &str| true;
    let (get, gives): (_, &dyn Fn(&str) -> bool) = match expand {
        Expand::No => return Ok(text.to_owned()),
        Expand::From(get) => (get, &every),
        Expand::Listed { get, gives } => (get, gives),
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let Some(end) = inner.find('}') else { return Err("a `${` has no `}`".into()) };
        let (name, default) = match inner[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inner[..end], None),
        };
        let value = get(name);
        if value.is_some() && !gives(name) {
            return Err(format!(
                "the variable `{name}` is not given to a project's file; name it in `mcp_env` of your own configuration"
            ));
        }
        let value = value.filter(|value| !(value.is_empty() && default.is_some()));
        match value.as_deref().or(default) {
            Some(value) => out.push_str(value),
            None => return Err(format!("the variable `{name}` is not set; write `${{{name}:-default}}`")),
        }
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(scope: Scope) -> Origin {
        Origin { scope, file: "/conf/mcp.json".into() }
    }

    fn read(text: &str, scope: Scope) -> (Vec<ServerConfig>, Vec<String>) {
        let get = |name: &str| match name {
            "TOKEN" => Some("t0p".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let parsed = parse(text, &origin(scope), &Expand::From(&get));
        (parsed.servers, parsed.problems.into_iter().map(|problem| problem.what).collect())
    }

    #[test]
    fn the_common_form_is_read() {
        let text = r#"{"mcpServers": {
            "files": {"command": "npx", "args": ["-y", "srv", "${HOME:-/h}"], "env": {"K": "${TOKEN}"}, "cwd": "sub",
                      "autoApprove": ["x"], "trusted": true, "tools": {"deny": ["rm*"], "always": ["ls"]}},
            "web": {"type": "http", "url": "https://host/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"},
                    "idle_timeout_s": 0.5, "disabled": true, "oauth_client_id": "c", "oauth_client_secret": "${TOKEN}",
                    "oauth_scopes": ["a"], "oauth_grant": "client_credentials"}
        }, "other": 1}"#;
        let (servers, problems) = read(text, Scope::User);
        assert_eq!(problems, [""; 0]);
        let files = &servers[0];
        assert_eq!(files.name, "files");
        assert!(files.trusted && !files.disabled);
        assert_eq!(
            files.transport,
            Transport::Stdio {
                command: "npx".into(),
                args: vec!["-y".into(), "srv".into(), "/h".into()],
                env: [("K".to_owned(), "t0p".to_owned())].into(),
                cwd: Some("/conf/sub".into()),
            }
        );
        assert!(files.tools.takes("ls") && !files.tools.takes("rm_all"));
        assert_eq!((files.tools.deferred("ls"), files.tools.deferred("cat")), (Some(false), None));
        let web = &servers[1];
        assert!(web.disabled);
        assert_eq!(web.times.idle, Duration::from_millis(500));
        assert_eq!(web.transport.host().as_deref(), Some("host"));
        let Transport::Http { headers, .. } = &web.transport else { panic!("{web:?}") };
        assert_eq!(headers["Authorization"], "Bearer t0p");
        let oauth = OAuth {
            client: Some("c".into()),
            secret: Some("t0p".into()),
            scopes: vec!["a".into()],
            grant: Grant::ClientCredentials,
        };
        assert_eq!((&web.oauth, &files.oauth), (&oauth, &OAuth::default()));
    }

    #[test]
    fn a_wrong_entry_is_named_and_the_others_stay() {
        for (entry, expected) in [
            (r#"{}"#, "needs `command` or `url`"),
            (r#"{"command": "a", "url": "http://b"}"#, "both"),
            (r#"{"command": "a", "type": "http"}"#, "does not fit"),
            (r#"{"url": "http://b", "type": "sse"}"#, "streamable HTTP"),
            (r#"{"url": "ftp://b"}"#, "scheme"),
            (r#"{"command": "${NOPE}"}"#, "`NOPE` is not set"),
            (r#"{"command": "${NOPE"}"#, "has no `}`"),
            (r#"{"command": 3}"#, "invalid type"),
            (r#"{"command": "a", "tools": {"permit": []}}"#, "unknown field"),
            (r#"{"command": "a", "idle_timeout_s": -1}"#, "timeout"),
            (r#"{"url": "http://b", "oauth_client_secret": "s"}"#, "needs `oauth_client_id`"),
            (
                r#"{"url": "http://b", "oauth_grant": "client_credentials", "oauth_client_id": "c"}"#,
                "`oauth_client_secret`",
            ),
            (r#"{"url": "http://b", "oauth_grant": "password"}"#, "unknown variant"),
        ] {
            let text = format!(r#"{{"mcpServers": {{"bad": {entry}, "good": {{"command": "true"}}}}}}"#);
            let (servers, problems) = read(&text, Scope::User);
            assert_eq!(servers.len(), 1, "{entry}");
            assert!(problems[0].contains(expected) && problems[0].contains("`bad`"), "{problems:?}");
        }
        assert!(read("3", Scope::User).1[0].contains("mcpServers"));
        assert!(
            read(r#"{"mcpServers": {"a b": {"command": "x"}, "a_b": {"command": "y"}}}"#, Scope::User).1[0]
                .contains("already")
        );
    }

    #[test]
    fn a_project_cannot_trust_its_own_servers() {
        let text = r#"{"mcpServers": {"s": {"command": "x", "trusted": true}}}"#;
        let (servers, problems) = read(text, Scope::Project);
        assert!(!servers[0].trusted);
        assert!(problems[0].contains("`trusted`"), "{problems:?}");
    }

    #[test]
    fn a_project_cannot_take_its_servers_out_of_the_sandbox() {
        let text = r#"{"mcpServers": {"s": {"command": "x", "sandbox": false}, "t": {"command": "x"}}}"#;
        for (scope, held) in [(Scope::Project, true), (Scope::User, false), (Scope::Managed, false)] {
            let (servers, problems) = read(text, scope);
            assert_eq!((servers[0].sandbox, servers[1].sandbox), (held, true), "{scope:?}");
            assert_eq!(
                problems.iter().any(|told| told.contains("`\"sandbox\": false`")),
                held,
                "{problems:?}"
            );
        }
    }

    #[test]
    fn an_untrusted_file_learns_no_variable() {
        let text = r#"{"mcpServers": {"s": {"command": "${TOKEN}", "args": ["${NOPE}"]}}}"#;
        let parsed = parse(text, &origin(Scope::Project), &Expand::No);
        assert_eq!(parsed.servers[0].transport.shown(), "${TOKEN} ${NOPE}");
    }

    #[test]
    fn variables_have_defaults() {
        let get = |name: &str| (name == "EMPTY").then(String::new);
        let expand = Expand::From(&get);
        for (text, expected) in [
            ("a${EMPTY}b", Ok("ab")),
            ("${EMPTY:-x}", Ok("x")),
            ("${NO:-}", Ok("")),
            ("$HOME ${NO:-a:-b}", Ok("$HOME a:-b")),
            ("${NO}", Err(())),
        ] {
            assert_eq!(expanded(text, &expand).as_deref().map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn editing_keeps_the_rest() {
        let text = r#"{"x": 1, "mcpServers": {"a": {"command": "b"}}}"#;
        let added = edit_add(text, "n", serde_json::json!({"url": "http://h"})).unwrap();
        let value: Value = serde_json::from_str(&added).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"x": 1, "mcpServers": {"a": {"command": "b"}, "n": {"url": "http://h"}}})
        );
        assert_eq!(edit_remove(&added, "zz").unwrap(), None);
        let removed: Value = serde_json::from_str(&edit_remove(&added, "a").unwrap().unwrap()).unwrap();
        assert_eq!(removed, serde_json::json!({"x": 1, "mcpServers": {"n": {"url": "http://h"}}}));
        assert!(edit_add("nonsense", "n", Value::Null).is_err());
        assert!(edit_add("", "n", Value::Null).is_ok());
    }

    #[test]
    fn a_file_of_others_is_given_the_listed_variables_only() {
        let get = |name: &str| ["HOME", "TOKEN"].contains(&name).then(|| format!("value of {name}"));
        let expand = Expand::Listed { get: &get, gives: &|name| name == "HOME" };
        let said = |text| expanded(text, &expand);
        assert_eq!(said("${HOME}").as_deref(), Ok("value of HOME"));
        // A default is for what is not set, and hides nothing that is withheld.
        assert_eq!(said("${NOPE:-x}").as_deref(), Ok("x"));
        for text in ["${TOKEN}", "a${TOKEN:-x}b"] {
            let error = said(text).unwrap_err();
            assert!(
                error.contains("`TOKEN`") && error.contains("`mcp_env`") && !error.contains("value"),
                "{error}"
            );
        }
    }
}
