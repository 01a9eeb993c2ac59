use std::fs;
use std::os::unix::fs::PermissionsExt;

use sterna_llm::Price;
use sterna_model::Decision;

use super::provider::{MODEL_KEYS, PRICE_KEYS, PROVIDER_KEYS, TIMEOUT_KEYS};
use super::read::{KEYS, LOCAL_KEYS, POLICY_KEYS, RULE_KEYS, SECRETS_KEYS};
use super::web::{FETCH_KEYS, SEARCH_KEYS};
use super::*;

const USER: &str = "/u/config.toml";

fn env(name: &str) -> Option<String> {
    match name {
        "HOME" => Some("/home/me".into()),
        "MINE_API_KEY" => Some(" sk-mine\n".into()),
        "OPENAI_API_KEY" => Some("sk-openai".into()),
        "GROQ_BASE_URL" => Some("http://127.0.0.1:7/v1".into()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Settings, ConfigError> {
    let mut settings = Settings::with_builtins(&env);
    read::apply(&mut settings, Path::new(USER), text, Scope::User, &env)?;
    Ok(settings)
}

/// The error of a file that holds this text: what happened, and the hint.
fn error(text: &str) -> (String, String) {
    let error = read(text).err().unwrap_or_else(|| panic!("accepted: {text}"));
    (error.message, error.hint.unwrap_or_default())
}

#[test]
fn every_key_reaches_its_setting() {
    let settings = read(
        r#"
model = "anthropic/claude-sonnet-4-5"
fallback = ["openai/gpt-5", "local"]
mode = "accept-edits"
on_ask = "park"
in_doubt = "stop"
in_doubt_of = { shell = "ask", mcp__mail__send = "report" }
max_steps = 7
max_parallel_tools = 2
max_output_continuations = 0
no_progress_steps = 5
max_consecutive_denials = 9
max_tokens = 1_000_000
max_cost = 0.25
turn_tokens = 500_000
session_max_tokens = 2_000_000
session_max_cost = 1.5
tree_max_tokens = 3_000_000
tree_max_cost = 4
deadline = 1.5
max_wait = 300
max_children = 3
max_child_depth = 1
max_output = 0x1000
profile = "minimal"
tools = ["read", "shell"]
env_pass = ["RUSTUP_HOME"]
sandbox = "landlock"
title = "model"
title_model = "openai/gpt-5-nano"
[policy]
allow = ["Shell(cargo test *)"]
deny = [{ rule = "Shell(rm *)", match = ["rm -rf x"], not_match = ["ls"] }, "Write(secrets/**)"]
[local]
dir = "~/models"
threads = 1
context = 4096
[web_fetch]
allow_private = ["localhost:3000", "10.0.0.7:*"]
[web_search]
backend = "searxng"
url = "http://u:p@localhost:8888"
[secrets]
extra = ["corp-[0-9]{6}"]
allow = ["corp-000000"]
"#,
    )
    .unwrap();
    assert_eq!(settings.model.as_ref().unwrap().to_string(), "anthropic/claude-sonnet-4-5");
    assert_eq!(settings.mode, Some(Mode::AcceptEdits));
    assert_eq!(settings.on_ask, Some(OnAsk::Park));
    assert_eq!(settings.in_doubt, Some(InDoubtPolicy::Stop));
    let of = [("mcp__mail__send".to_owned(), InDoubtPolicy::Report), ("shell".into(), InDoubtPolicy::Ask)];
    assert_eq!(settings.in_doubt_of, of.into());
    assert_eq!(settings.sources["in_doubt_of.shell"], format!("{USER}:7"));
    let limits = Limits {
        max_steps: 7,
        max_parallel_tools: 2,
        max_output_continuations: 0,
        no_progress_steps: 5,
        max_consecutive_denials: 9,
        max_tokens: Some(1_000_000),
        max_cost: Some(250_000_000),
        turn_tokens: Some(500_000),
        session_max_tokens: Some(2_000_000),
        session_max_cost: Some(1_500_000_000),
        tree_max_tokens: Some(3_000_000),
        tree_max_cost: Some(4_000_000_000),
        deadline: Some(1_500),
        max_wait: Some(300_000),
        max_children: 3,
        max_child_depth: 1,
    };
    assert_eq!(settings.limits, limits);
    assert_eq!(settings.max_output, Some(4_096));
    assert_eq!(settings.profile.as_deref(), Some("minimal"));
    assert_eq!(settings.tools, ["read", "shell"]);
    assert_eq!(settings.env_pass, ["RUSTUP_HOME"]);
    let list = |text: &str| vec![text.to_owned()];
    assert_eq!(settings.secrets, SecretsWish { extra: list("corp-[0-9]{6}"), allow: list("corp-000000") });
    assert_eq!(settings.sandbox, Some(SandboxWish::Landlock));
    let local = LocalSettings { dir: Some("/home/me/models".into()), threads: Some(1), context: Some(4_096) };
    assert_eq!(settings.local, local);
    let private: Vec<String> = settings.web.allow_private.iter().map(ToString::to_string).collect();
    assert_eq!(private, ["localhost:3000", "10.0.0.7:*"]);
    let url = Some("http://u:p@localhost:8888".to_owned());
    let search = SearchWish { backend: sterna_tools::Backend::Searxng, url, key_env: None };
    assert_eq!(settings.web.search, Some(search));
    let rule = |decision, text: &str, line| RuleText {
        decision,
        text: text.into(),
        scope: Scope::User,
        source: format!("{USER}:{line}"),
    };
    let rules = [
        rule(Decision::Allow, "Shell(cargo test *)", 32),
        rule(Decision::Deny, "Shell(rm *)", 33),
        rule(Decision::Deny, "Write(secrets/**)", 33),
    ];
    assert_eq!(settings.rules, rules);
    let fallback: Vec<String> = settings.fallback.iter().map(ToString::to_string).collect();
    assert_eq!(fallback, ["openai/gpt-5", "local"]);
    assert!(settings.notices.is_empty(), "{:?}", settings.notices);
    assert_eq!(settings.sources["local.threads"], format!("{USER}:36"));
    assert!(settings.locked.is_empty());
    let (own, small): (Route, Route) = ("a/m".parse().unwrap(), "openai/gpt-5-nano".parse().unwrap());
    assert_eq!(settings.title_route(&own), Some(small));
    // Nothing said, nothing changed.
    assert_eq!(read("").unwrap().limits, Limits::default());
    assert_eq!(read("sandbox = \"required\"").unwrap().sandbox, Some(SandboxWish::Required));
}

#[test]
fn a_local_model_and_a_script_name_sessions_only_when_they_are_chosen_for_it() {
    for (text, own, wanted) in [
        ("", "a/m", None),
        ("title_model = \"b/small\"", "a/m", None),
        ("title = \"words\"\ntitle_model = \"b/small\"", "a/m", None),
        ("title = \"model\"", "a/m", Some("a/m")),
        ("title = \"model\"", "local", None),
        ("title = \"model\"", "scripted:x.jsonl", None),
        ("title = \"model\"\ntitle_model = \"b/small\"", "local", Some("b/small")),
        ("title = \"model\"\ntitle_model = \"local\"", "a/m", Some("local")),
    ] {
        let route = read(text).unwrap().title_route(&own.parse().unwrap());
        assert_eq!(route, wanted.map(|route| route.parse().unwrap()), "{text} {own}");
    }
}

#[test]
fn complaints_name_the_place_and_what_to_do() {
    let keys = "model, fallback, compact_model, classifier_model, mode, on_ask, in_doubt, in_doubt_of, max_steps, max_parallel_tools, \
                max_output_continuations, no_progress_steps, max_consecutive_denials, max_tokens, max_cost, turn_tokens, session_max_tokens, session_max_cost, \
                tree_max_tokens, tree_max_cost, deadline, max_wait, max_children, max_child_depth, \
                max_output, effort, profile, tools, tool_budget, env_pass, mcp_env, sandbox, secrets, checkpoints, memory, memory_embedder, title, title_model, policy, providers, local, web_fetch, web_search, hooks";
    let here = format!("keys here are {keys}");
    for (text, message, hint) in [
        ("\nmodle = \"x\"", "2: unknown key `modle`", "did you mean `model`?"),
        ("max-steps = 3", "1: unknown key `max-steps`", "did you mean `max_steps`?"),
        ("frobnicate = 1", "1: unknown key `frobnicate`", here.as_str()),
        (
            "[mcp_servers.x]",
            "1: unknown key `mcp_servers`",
            "MCP servers are in mcp.json: `sterna mcp add` writes it",
        ),
        (
            "allow = []",
            "1: unknown key `allow`",
            "rules are lists in [policy], such as allow = [\"Shell(cargo test *)\"]",
        ),
        ("[local]\n\nallow = 1", "3: unknown key `local.allow`", "keys there are dir, threads, context"),
        ("[local]\n\nthread = 1", "3: unknown key `local.thread`", "did you mean `local.threads`?"),
        (
            "[providers.mine]\nurl = \"\"",
            "2: unknown key `providers.mine.url`",
            "keys there are wire, base_url, key_env, key_file, key_command, key_keyring, key_header, timeouts, headers, models",
        ),
        ("[web_search]\nurl = \"http://h\"", "2: [web_search] has no `backend`: searxng or brave", ""),
        (
            "[web_fetch]\nallow_private = [\"10.0.0.7\"]",
            "2: `10.0.0.7` in `web_fetch.allow_private` has no port: write host:port, or host:*",
            "",
        ),
        (
            "[in_doubt_of]\n\nshell = \"rerum\"",
            "3: `in_doubt_of.shell` cannot be `rerum`",
            "did you mean `rerun`? it is one of report, ask, rerun, stop",
        ),
        ("model = 3", "1: `model` must be a string, not a whole number", ""),
        ("model = \"\"", "1: `model` is empty", ""),
        (
            "model = \"a b\"",
            "1: `a b` is not a model route: write provider/model, for example anthropic/claude-sonnet-4-5, or local, or scripted:FILE",
            "",
        ),
        (
            "mode = \"axecute\"",
            "1: `mode` cannot be `axecute`",
            "did you mean `execute`? it is one of execute, accept-edits, ask, auto, never-ask, bypass, plan, pair",
        ),
        ("on_ask = \"prompt\"", "1: `on_ask` cannot be `prompt`", "it is one of deny, fail, park"),
        ("max_steps = 0", "1: `max_steps` must be a whole number of at least 1, not 0", ""),
        ("max_steps = -1", "1: `max_steps` must be a whole number of at least 1, not -1", ""),
        (
            "max_steps = 99999999999",
            "1: `max_steps` must be a whole number of at least 1, not 99999999999",
            "",
        ),
        ("max_steps = \"9\"", "1: `max_steps` must be a whole number of at least 1, not a string", ""),
        ("max_cost = -0.5", "1: `max_cost` must be a number that is not negative, not -0.5", ""),
        ("max_cost = nan", "1: `max_cost` must be a number that is not negative, not nan", ""),
        ("max_cost = true", "1: `max_cost` must be a number that is not negative, not true or false", ""),
        ("deadline = 0", "1: `deadline` must be a number of seconds greater than 0", ""),
        ("tools = [\n\"read\",\n3]", "3: `tools` must be an array of strings, not a whole number", ""),
        ("tools = \"read\"", "1: `tools` must be an array of strings, not a string", ""),
        ("[secrets]\nextra = [\"a(\"]", "2: `a(` is no pattern: unclosed group", ""),
        (
            "env_pass = [\"A=B\"]",
            "1: `A=B` in `env_pass` is not the name of a variable",
            "write names of environment variables, without `$` and without `*`",
        ),
        ("title = \"none\"", "1: `title` cannot be `none`", "it is one of words, model"),
        ("policy = 1", "1: `policy` must be a table, not a whole number", ""),
        (
            "[policy]\nallow = [\n  \"Shell(\",\n]",
            "3: rule `Shell(`, at character 7: the pattern is never closed; add `)`",
            "",
        ),
        (
            "[policy]\nallow = [3]",
            "2: an entry of `policy.allow` must be a rule, \"Shell(cargo test *)\", or {rule = \"…\", match = […], not_match = […]}",
            "",
        ),
        ("[policy]\ndeny = [{match = [\"ls\"]}]", "2: an entry of `policy.deny` has no `rule`", ""),
        (
            "[policy]\ndeny = [{rule = \"Shell(rm *)\", match = [\"ls\"]}]",
            "2: rule `Shell(rm *)`, at character 1: its `match` example `ls` does not match",
            "",
        ),
        (
            "[policy]\ndeny = [{rule = \"Shell(rm *)\", not_match = [\"rm x\"]}]",
            "2: rule `Shell(rm *)`, at character 1: its `not_match` example `rm x` matches",
            "",
        ),
        (
            "[providers.scripted]",
            "1: `scripted` cannot be the name of a provider",
            "use letters, digits, `.`, `_` and `-`; `scripted` is taken",
        ),
        (
            "[providers.\"a/b\"]",
            "1: `a/b` cannot be the name of a provider",
            "use letters, digits, `.`, `_` and `-`; `scripted` is taken",
        ),
        (
            "[providers.mine]\nbase_url = \"http://h/v1\"",
            "1: `providers.mine` has no `wire`",
            "write for example wire = \"openai_chat\"",
        ),
        (
            "[providers.mine]\nwire = \"openai_chat\"",
            "1: `providers.mine` has no `base_url`",
            "for openai_chat it ends with the version, as in http://127.0.0.1:8080/v1",
        ),
        (
            "[providers.mine]\nwire = \"openai\"",
            "2: there is no wire `openai`",
            "it is one of anthropic, openai_responses, openai_chat, gemini",
        ),
        (
            "[providers.mine]\nwire = \"bedrock\"",
            "2: the wire `bedrock` is not built yet",
            "signed requests to cloud platforms are not built yet: use the vendor's own provider (anthropic, gemini), or \
             openrouter/VENDOR/MODEL",
        ),
        (
            "[providers.openai]\nbase_url = \"api.openai.com\"",
            "2: `providers.openai.base_url` is not a URL",
            "write it with its scheme, as in http://127.0.0.1:8080/v1",
        ),
        (
            "[providers.openai]\nkey_env = \"A\"\nkey_file = \"b\"",
            "1: `providers.openai` has both `key_env` and `key_file`; keep one",
            "",
        ),
        (
            "[providers.openai.headers]\n\"a b\" = \"c\"",
            "2: `providers.openai.headers.a b` is not an HTTP header",
            "",
        ),
        (
            "[providers.openai.timeouts]\nidle_s = 0",
            "2: `providers.openai.timeouts.idle_s` must be a number of seconds greater than 0",
            "",
        ),
        (
            "[providers.openai.models.x.price]\ninput = 1",
            "1: `providers.openai.models.x.price` needs `input` and `output`",
            "",
        ),
    ] {
        assert_eq!(error(text), (format!("{USER}:{message}"), hint.to_owned()), "{text}");
    }
    // What is no TOML at all is told in the parser's words, with the line.
    let (message, hint) = error("a = 1\nb = = 2");
    assert!(message.starts_with("/u/config.toml:2: "), "{message}");
    assert_eq!(hint, "the file must be valid TOML");
}

#[test]
fn providers_are_laid_over_the_built_in_ones() {
    let settings = read(
        r#"
[providers.mine]
wire = "openai_chat"
base_url = "http://user:pw@127.0.0.1:8080/v1/"
key_env = "MINE_API_KEY"
headers = { X-Team = "secret-team" }
timeouts = { first_byte_s = 600, idle_s = 0.5 }
[providers.mine.models."org/m.1"]
context = 4096
price = { input = 1, output = 2.5, cache_read = 0 }
[providers.openai]
base_url = "http://127.0.0.1:1/v1"
[providers.groq]
base_url = "http://127.0.0.1:2/v1"
[providers.free]
wire = "anthropic"
base_url = "http://h"
"#,
    )
    .unwrap();
    let mine = settings.endpoint("mine").unwrap().unwrap();
    assert_eq!((mine.wire, mine.base_url.as_str()), ("openai_chat", "http://user:pw@127.0.0.1:8080/v1"));
    let KeySource::Value(secret, origin) = &mine.key else { panic!("{:?}", mine.key) };
    assert_eq!((secret.expose(), origin.as_str()), ("sk-mine", "$MINE_API_KEY"));
    assert_eq!(mine.headers, [("X-Team".to_owned(), "secret-team".to_owned())]);
    let timeouts = [mine.timeouts.connect_ms, mine.timeouts.first_byte_ms, mine.timeouts.idle_ms];
    assert_eq!(timeouts, [15_000, 600_000, 500]);
    let price = Price {
        input: 1.0,
        output: 2.5,
        cache_read: 0.0,
        cache_write_5m: 1.0,
        cache_write_1h: 1.0,
        long: None,
    };
    let told = &mine.models["org/m.1"];
    assert_eq!((told.context, told.max_output, told.price), (Some(4_096), None, Some(price)));
    // The file moves a built-in provider, and its key stays where it was; a variable comes before the file.
    let openai = settings.endpoint("openai").unwrap().unwrap();
    assert_eq!((openai.wire, openai.base_url.as_str()), ("openai_chat", "http://127.0.0.1:1/v1"));
    assert!(matches!(openai.key, KeySource::Value(..)));
    assert_eq!(settings.endpoint("groq").unwrap().unwrap().base_url, "http://127.0.0.1:7/v1");
    assert!(matches!(settings.endpoint("free").unwrap().unwrap().key, KeySource::None));
    assert!(settings.endpoint("nobody").unwrap().is_none());
    let KeySource::Missing { hint } = settings.endpoint("anthropic").unwrap().unwrap().key else { panic!() };
    assert_eq!(hint, "set ANTHROPIC_API_KEY to a key of anthropic");
    // Nothing that is shown holds a secret.
    let shown = serde_json::to_string(&settings.shown()).unwrap();
    for secret in ["sk-mine", "sk-openai", "secret-team", "user:pw"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("$MINE_API_KEY") && shown.contains("http://…@127.0.0.1:8080/v1"), "{shown}");
}

#[test]
fn keys_from_files_and_commands() {
    let dir = tempfile::tempdir().unwrap();
    let (file, ran) = (dir.path().join("key"), dir.path().join("ran"));
    fs::write(&file, "sk-file\n").unwrap();
    let text = format!(
        "[providers.f]\nwire = \"anthropic\"\nbase_url = \"http://h\"\nkey_file = \"key\"\n\
         [providers.c]\nwire = \"anthropic\"\nbase_url = \"http://h\"\nkey_command = \"touch {0}; echo sk-command\"\n\
         [providers.bad]\nwire = \"anthropic\"\nbase_url = \"http://h\"\nkey_command = [\"sh\", \"-c\", \"echo no vault >&2; exit 3\"]\n",
        ran.display()
    );
    let path = dir.path().join("config.toml");
    let mut settings = Settings::default();
    read::apply(&mut settings, &path, &text, Scope::User, &env).unwrap();
    let (at, key) = (path.display(), file.display());

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let open = settings.endpoint("f").unwrap_err();
    assert_eq!(open.message, format!("{at}:4: the key file {key} has mode 0644, so others can read it"));
    assert_eq!(open.hint, Some(format!("chmod 600 {key}")));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let KeySource::Value(secret, origin) = settings.endpoint("f").unwrap().unwrap().key else { panic!() };
    assert_eq!((secret.expose(), origin), ("sk-file", key.to_string()));

    // A command runs for the provider that is chosen, and for no other.
    let others = settings.endpoints("f").unwrap();
    assert!(matches!(others["c"].key, KeySource::Later(_)) && !ran.exists());
    let KeySource::Later(later) = &others["bad"].key else { panic!() };
    assert!(later.get().unwrap_err().contains("ended with exit code 3: no vault"));
    settings.shown();
    assert!(
        settings.endpoints_without_keys().values().all(|e| matches!(e.key, KeySource::None)) && !ran.exists()
    );
    let KeySource::Value(secret, _) = &settings.endpoints("c").unwrap()["c"].key else { panic!() };
    assert_eq!((secret.expose(), ran.exists()), ("sk-command", true));
    let failed = settings.endpoints("bad").unwrap_err();
    assert_eq!(failed.message, format!("{at}:12: the key command of `bad` ended with exit code 3: no vault"));
    assert_eq!(failed.hint.as_deref(), Some("run it by hand; it must print the key and nothing else"));
}

#[test]
fn managed_wins_and_locks() {
    let dir = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(dir.path()).unwrap();
    let places = Places {
        config: dir.join("user"),
        data: dir.join("data"),
        state: dir.join("state"),
        cache: dir.join("cache"),
        managed: dir.join("managed.toml"),
    };
    fs::create_dir_all(&places.config).unwrap();
    let load_with = |model: Option<&str>| {
        let get = |name: &str| if name == "STERNA_MODEL" { model.map(str::to_owned) } else { env(name) };
        load(&places, &get)
    };
    assert!(load_with(None).unwrap().model.is_none());

    fs::write(places.config_file(), "model = \"openai/gpt-5\"\nmax_steps = 9\n[policy]\nallow = [\"Shell(ls *)\"]\n[providers.openai]\nbase_url = \"http://user/v1\"").unwrap();
    let user = load_with(None).unwrap();
    assert_eq!((user.model.unwrap().to_string(), user.limits.max_steps), ("openai/gpt-5".into(), 9));
    let from_env = load_with(Some("local")).unwrap();
    assert_eq!(from_env.model.unwrap().to_string(), "local");
    assert_eq!(from_env.sources["model"], "$STERNA_MODEL");

    fs::write(&places.managed, "max_steps = 5\nmodel = \"anthropic/claude-opus-4-5\"\n[policy]\ndeny = [\"Shell(ls *)\"]\n[providers.openai]\nkey_env = \"CORP\"").unwrap();
    let managed = load_with(Some("local")).unwrap();
    assert_eq!(
        (managed.model.as_ref().unwrap().to_string(), managed.limits.max_steps),
        ("anthropic/claude-opus-4-5".into(), 5)
    );
    let scopes: Vec<Scope> = managed.rules.iter().map(|rule| rule.scope).collect();
    assert_eq!(scopes, [Scope::Managed, Scope::User]);
    // The user's base URL is gone with the user's say in this provider.
    assert_eq!(managed.endpoint("openai").unwrap().unwrap().base_url, "https://api.openai.com/v1");
    managed.check_flag("mode").unwrap();
    let locked = managed.check_flag("max_steps").unwrap_err();
    assert_eq!(
        locked.message,
        format!("`max_steps` is set by {}:1 and cannot be changed", places.managed.display())
    );
    let row = managed.shown().into_iter().find(|row| row.key == "max_steps").unwrap();
    assert_eq!(
        (row.value, row.source, row.locked),
        (5.into(), format!("{}:1", places.managed.display()), true)
    );

    // A ruling of the user for one tool is no way round a managed one for all; a managed one for one tool is.
    let in_doubt = "in_doubt = \"stop\"\nin_doubt_of = { shell = \"ask\" }";
    fs::write(&places.managed, in_doubt).unwrap();
    fs::write(places.config_file(), "in_doubt_of = { shell = \"rerun\", write = \"rerun\" }").unwrap();
    let ruled = load_with(None).unwrap();
    assert_eq!(ruled.in_doubt_of, [("shell".to_owned(), InDoubtPolicy::Ask)].into());
    let (place, by) = (places.config_file(), places.managed.clone());
    let not_used = |tool: &str| {
        let (place, by) = (place.display(), by.display());
        format!("{place}:1: `in_doubt_of.{tool}` is not used: {by}:1 sets `in_doubt` for all tools")
    };
    assert_eq!(ruled.notices[..2], [not_used("shell"), not_used("write")]);

    let wrong = load_with(Some("no route")).unwrap_err().message;
    assert!(wrong.starts_with("STERNA_MODEL: `no route` is not a model route"), "{wrong}");
    fs::write(places.config_file(), [0xFF, 0xFE]).unwrap();
    let broken = load_with(None).unwrap_err().message;
    assert_eq!(broken, format!("cannot read {}: it is not UTF-8", places.config_file().display()));
}

/// The rules of a project join the user's; what reaches further than the project is not taken from it.
#[test]
fn a_trusted_project_adds_its_word() {
    let dir = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(dir.path()).unwrap();
    let places = Places {
        config: dir.join("user"),
        data: dir.join("data"),
        state: dir.join("state"),
        cache: dir.join("cache"),
        managed: dir.join("managed.toml"),
    };
    let work = dir.join("project");
    fs::create_dir_all(&places.config).unwrap();
    fs::create_dir_all(work.join(".sterna")).unwrap();
    fs::write(places.config_file(), "max_steps = 9\n[policy]\ndeny = [\"Shell(rm *)\"]").unwrap();
    let project_file = work.join(".sterna/config.toml");
    let text = "max_steps = 7\ndeadline = 5\nmode = \"bypass\"\nsandbox = \"none\"\nenv_pass = [\"KEY\"]\nmcp_env = [\"KEY\"]\n\
                checkpoints = false\nmodel = \"openai/gpt-5\"\n[policy]\nallow = [\"Shell(rm *)\"]\n\
                [providers.openai]\nbase_url = \"http://evil/v1\"\n[local]\ndir = \"/x\"";
    fs::write(&project_file, text).unwrap();
    let local = "max_steps = 5\n[policy]\nask = [\"Web(*)\"]";
    fs::write(work.join(".sterna/config.local.toml"), local).unwrap();
    fs::write(&places.managed, "deadline = 3\n[policy]\ndeny = [\"Shell(dd *)\"]").unwrap();

    let plain = load(&places, &env).unwrap();
    assert_eq!((plain.limits.max_steps, plain.rules.len(), plain.model), (9, 2, None));
    let look = crate::trust::Look { own: &[], home: None };
    let project = Project::find(&work, look).unwrap();
    // What was hashed is what is read.
    fs::write(&project_file, "max_steps = 1").unwrap();
    let settings = load_with(&places, &env, Some(&project)).unwrap();
    assert_eq!(settings.limits.max_steps, 5);
    assert_eq!(settings.limits.deadline, Some(3_000), "what is managed is locked");
    assert_eq!(settings.model.unwrap().to_string(), "openai/gpt-5");
    assert_eq!((settings.mode, settings.checkpoints, settings.local.dir), (None, None, None));
    assert!(settings.sandbox.is_none() && settings.env_pass.is_empty() && settings.mcp_env.is_empty());
    assert_eq!(settings.providers["openai"].endpoint.base_url, "https://api.openai.com/v1");
    let rules: Vec<(Scope, String)> =
        settings.rules.iter().map(|rule| (rule.scope, rule.source.clone())).collect();
    let at = |file: &Path, line: u32| format!("{}:{line}", file.display());
    let wanted = [
        (Scope::Managed, at(&places.managed, 3)),
        (Scope::User, at(&places.config_file(), 3)),
        (Scope::Project, at(&project_file, 10)),
        (Scope::ProjectLocal, at(&work.join(".sterna/config.local.toml"), 3)),
    ];
    assert_eq!(rules, wanted);
    let not_used = |line: u32, key: &str| {
        let place = at(&project_file, line);
        let why = match key {
            "mode" => "a project may not set it to `bypass`; that is for your own configuration",
            _ => "a project may not set it; it is for your own configuration",
        };
        format!("{place}: `{key}` is not used: {why}")
    };
    let wanted = [
        not_used(3, "mode"),
        not_used(5, "env_pass"),
        not_used(6, "mcp_env"),
        not_used(4, "sandbox"),
        not_used(7, "checkpoints"),
        not_used(11, "providers"),
        not_used(13, "local"),
    ];
    assert_eq!(settings.notices, wanted);
}

#[test]
fn a_trusted_project_reaches_no_key_no_private_host_and_no_file_that_was_not_hashed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(dir.path()).unwrap();
    let at = |name: &str| dir.join(name);
    let (config, data, state) = (at("user"), at("data"), at("state"));
    let places = Places { config, data, state, cache: at("cache"), managed: at("managed.toml") };
    fs::create_dir_all(at("project/.sterna")).unwrap();
    let hooks = r#"{"hooks": {"PreToolUse": [{"hooks": [{"type": "command", "command": "evil"}]}]}}"#;
    fs::write(at("project/later.json"), hooks).unwrap();
    let text = "[web_fetch]\nallow_private = [\"169.254.169.254:80\"]\n[web_search]\nbackend = \"searxng\"\n\
                url = \"http://evil.example\"\n[hooks]\nimport = [\"../later.json\"]";
    fs::write(at("project/.sterna/config.toml"), text).unwrap();
    let look = crate::trust::Look { own: &[], home: None };
    let project = Project::find(&at("project"), look).unwrap();
    let settings = load_with(&places, &env, Some(&project)).unwrap();
    assert_eq!(settings.web, WebWish::default());
    assert!(settings.hooks.is_empty());
    let mut keys: Vec<&str> = settings.notices.iter().filter_map(|notice| notice.split('`').nth(1)).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["hooks.import", "web_fetch", "web_search"], "{:?}", settings.notices);
}

#[test]
fn the_schema_knows_the_keys_that_the_reader_knows() {
    let schema = schema();
    let keys = |pointer: &str| -> Vec<String> {
        let object = schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer} in {schema}"));
        object["properties"].as_object().unwrap().keys().cloned().collect()
    };
    for (pointer, known) in [
        ("", KEYS),
        ("/$defs/Policy", POLICY_KEYS),
        ("/$defs/RuleWithExamples", RULE_KEYS),
        ("/$defs/Local", LOCAL_KEYS),
        ("/$defs/WebFetch", FETCH_KEYS),
        ("/$defs/WebSearch", SEARCH_KEYS),
        ("/$defs/Secrets", SECRETS_KEYS),
        ("/$defs/Provider", PROVIDER_KEYS),
        ("/$defs/Timeouts", TIMEOUT_KEYS),
        ("/$defs/Model", MODEL_KEYS),
        ("/$defs/Price", PRICE_KEYS),
    ] {
        let mut known: Vec<&str> = known.to_vec();
        known.sort_unstable();
        assert_eq!(keys(pointer), known, "{pointer}");
        assert_eq!(schema.pointer(pointer).unwrap()["additionalProperties"], false, "{pointer}");
    }
}

#[test]
fn a_word_that_was_meant_is_like_the_one_that_was_written() {
    let known = ["gh", "tracker", "max_steps"];
    for (given, meant) in [
        ("trakcer", Some("tracker")),
        ("Tracker", Some("tracker")),
        ("max-step", Some("max_steps")),
        ("gb", Some("gh")),
        // Nothing of it is left.
        ("db", None),
        ("x", None),
        ("github", None),
    ] {
        assert_eq!(nearest(given, &known), meant, "{given}");
    }
    assert_eq!(nearest("x", &[]), None);
}
