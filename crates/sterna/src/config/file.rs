//! The file's form as types, for its JSON Schema. A test holds that the reader knows the same keys.
#![expect(dead_code, reason = "only the schema of these types is used; `read` takes the file with its lines")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

/// The JSON Schema of `config.toml`.
pub fn schema() -> Value {
    SchemaGenerator::from(SchemaSettings::draft2020_12()).into_root_schema_for::<ConfigFile>().to_value()
}

/// Sterna's configuration file.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "Sterna configuration")]
struct ConfigFile {
    /// `provider/model`, `local`, or `scripted:FILE`.
    model: Option<String>,
    /// Routes that take over, in this order, when the one before them fails for good. Only providers that are named here
    /// are ever asked.
    fallback: Option<Vec<String>>,
    /// The model that sums up what a window cannot hold any more; the session's own by default.
    compact_model: Option<String>,
    /// The model that judges calls in mode `auto`; the session's own by default.
    classifier_model: Option<String>,
    /// How far an agent may go before it has to ask.
    mode: Option<ModeWord>,
    /// What happens when policy asks and nobody is at a terminal.
    on_ask: Option<OnAskWord>,
    /// What to do with a call whose outcome a crash took.
    in_doubt: Option<InDoubtWord>,
    /// What counts instead for calls of one tool, by its name.
    in_doubt_of: Option<BTreeMap<String, InDoubtWord>>,
    /// Steps of a turn; 100 by default.
    #[schemars(range(min = 1))]
    max_steps: Option<u32>,
    /// Tool calls that run at once; 10 by default.
    #[schemars(range(min = 1))]
    max_parallel_tools: Option<u32>,
    /// Times an answer that was cut is gone on with, in one turn; 3 by default.
    max_output_continuations: Option<u32>,
    /// Steps without progress after which a turn stops; 12 by default.
    #[schemars(range(min = 1))]
    no_progress_steps: Option<u32>,
    /// Refused calls in a row after which a turn stops; 3 by default.
    #[schemars(range(min = 1))]
    max_consecutive_denials: Option<u32>,
    /// Tokens of a turn.
    #[schemars(range(min = 1))]
    max_tokens: Option<u64>,
    /// US dollars of a turn.
    #[schemars(range(min = 0))]
    max_cost: Option<f64>,
    /// Tokens that a turn is to use: it goes on after an answer that comes before nine tenths of them, up to three times.
    #[schemars(range(min = 1))]
    turn_tokens: Option<u64>,
    /// Tokens of all turns of a session together.
    #[schemars(range(min = 1))]
    session_max_tokens: Option<u64>,
    /// US dollars of all turns of a session together.
    #[schemars(range(min = 0))]
    session_max_cost: Option<f64>,
    /// Tokens of a session and all that descend from it together.
    #[schemars(range(min = 1))]
    tree_max_tokens: Option<u64>,
    /// US dollars of a session and all that descend from it together.
    #[schemars(range(min = 0))]
    tree_max_cost: Option<f64>,
    /// Seconds of a turn.
    #[schemars(extend("exclusiveMinimum" = 0))]
    deadline: Option<f64>,
    /// Seconds that a wait for a person lasts: then the call is answered `timeout`. As long as it takes by default.
    #[schemars(extend("exclusiveMinimum" = 0))]
    max_wait: Option<f64>,
    /// Agents of one session that work at the same time; more wait for their turn. 8 by default.
    #[schemars(range(min = 1, max = 64))]
    max_children: Option<u32>,
    /// How deep agents may start agents; 0: not at all. 3 by default.
    #[schemars(range(max = 5))]
    max_child_depth: Option<u32>,
    /// Tokens that the model may write in one answer; the model's own limit by default.
    #[schemars(range(min = 1))]
    max_output: Option<u32>,
    /// How much models that can are asked to think before they answer; by default nothing is said about it.
    effort: Option<EffortWord>,
    /// The set of tools and the prompt that goes with it; `minimal` for small models.
    profile: Option<ProfileWord>,
    /// Names of the tools that may be called; those of the profile by default.
    tools: Option<Vec<String>>,
    /// Tokens of schemas above which tools of MCP servers are shown by name only; 8,000 by default.
    tool_budget: Option<u32>,
    /// Further environment variables that tools may see.
    env_pass: Option<Vec<String>>,
    /// Further environment variables that a trusted project's MCP servers may be given.
    mcp_env: Option<Vec<String>>,
    /// The level that confines commands; `auto`: the best there is; `required`: no command runs without one.
    sandbox: Option<SandboxWord>,
    secrets: Option<Secrets>,
    /// Whether the workspace is kept before a step that may write in it, for `sterna rewind`; true by default.
    checkpoints: Option<bool>,
    /// Whether notes are kept, and recalled when a turn begins; on by default.
    memory: Option<OnOff>,
    /// `provider/model` of an OpenAI-compatible endpoint that makes the vectors by which notes are found; by their
    /// spelling alone by default, without a network.
    memory_embedder: Option<String>,
    /// How sessions get their titles.
    title: Option<TitleWord>,
    /// The model that names sessions where `title` is `model`; the session's own by default.
    title_model: Option<String>,
    policy: Option<Policy>,
    /// Providers beside the built-in ones, or changes of those, by name.
    providers: Option<BTreeMap<String, Provider>>,
    local: Option<Local>,
    web_fetch: Option<WebFetch>,
    web_search: Option<WebSearch>,
    hooks: Option<Hooks>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum ModeWord {
    Execute,
    AcceptEdits,
    Ask,
    Auto,
    NeverAsk,
    Bypass,
    Plan,
    Pair,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum OnAskWord {
    Deny,
    Fail,
    Park,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum InDoubtWord {
    Report,
    Ask,
    Rerun,
    Stop,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum ProfileWord {
    Main,
    Minimal,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum SandboxWord {
    Auto,
    None,
    Landlock,
    Bubblewrap,
    Required,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum OnOff {
    On,
    Off,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum TitleWord {
    /// The first words of the first input.
    Words,
    /// A model names the session after its first turn; in `sterna run` its first words do all the same.
    Model,
}

/// Rules. Those of all files are joined; a deny wins over an ask, an ask over an allow.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Policy {
    allow: Option<Vec<RuleEntry>>,
    ask: Option<Vec<RuleEntry>>,
    deny: Option<Vec<RuleEntry>>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum RuleEntry {
    /// `Tool` or `Tool(pattern)`, for example `Shell(cargo test *)`.
    Text(String),
    WithExamples(RuleWithExamples),
}

/// A rule that is refused unless its examples hold.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct RuleWithExamples {
    rule: String,
    /// What the rule must match.
    r#match: Option<Vec<String>>,
    /// What the rule must not match.
    not_match: Option<Vec<String>>,
}

/// What is a secret besides what is one anyway, and what is none.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Secrets {
    /// Regular expressions for further secrets. The first group of one is the secret, where it has groups.
    extra: Option<Vec<String>>,
    /// Regular expressions: what one of them matches as a whole is no secret.
    allow: Option<Vec<String>>,
}

/// Where models are served. At most one of the four keys' places.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Provider {
    /// The form of requests and answers. Needed unless the provider is built in.
    wire: Option<WireWord>,
    /// With the version for `openai_chat` (`https://host/v1`), without for `anthropic`.
    base_url: Option<String>,
    /// The variable that holds the key.
    key_env: Option<String>,
    /// A file of mode 0600 that holds the key.
    key_file: Option<String>,
    /// A command that prints the key. It runs when the provider is used, and not before.
    key_command: Option<KeyCommand>,
    /// An entry of the system's keyring, under the service `sterna`. Only in builds with the feature `keyring`.
    key_keyring: Option<String>,
    /// The header that carries the key bare, where the endpoint does not want it in the wire's own one: `api-key`.
    key_header: Option<String>,
    timeouts: Option<Timeouts>,
    /// Sent with each request.
    headers: Option<BTreeMap<String, String>>,
    /// What is known of models, by name.
    models: Option<BTreeMap<String, Model>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum WireWord {
    OpenaiChat,
    OpenaiResponses,
    Anthropic,
    Gemini,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum KeyCommand {
    /// A line for `sh`.
    Line(String),
    /// A program and its arguments.
    Argv(Vec<String>),
}

/// Seconds.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Timeouts {
    connect_s: Option<f64>,
    /// Up to the first byte of the answer.
    first_byte_s: Option<f64>,
    /// Between two pieces of the answer.
    idle_s: Option<f64>,
    /// The whole call.
    total_s: Option<f64>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Model {
    /// Tokens that the model can read and write together.
    context: Option<u32>,
    /// Tokens that it may write in one answer.
    max_output: Option<u32>,
    price: Option<Price>,
    /// Whether it takes images.
    images: Option<bool>,
    /// Whether it takes PDF documents as they are; else it gets their text.
    documents: Option<bool>,
    /// How its API is asked to think.
    thinking: Option<ThinkingWord>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum EffortWord {
    Low,
    Medium,
    High,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum ThinkingWord {
    /// A word for the effort, as OpenAI has it.
    Effort,
    /// Switched on, and a word: the Messages API.
    Adaptive,
    /// A number of tokens: older models of Messages and Gemini.
    Budget,
    /// A word for the level: Gemini.
    Level,
}

/// US dollars per million tokens. What is not said of the cache costs what input costs.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Price {
    input: f64,
    output: f64,
    cache_read: Option<f64>,
    cache_write_5m: Option<f64>,
    cache_write_1h: Option<f64>,
}

/// The tool `web_fetch`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WebFetch {
    /// Hosts with a port (`localhost:3000`, `host:*`) that may be fetched although they are not of the public network.
    allow_private: Option<Vec<String>>,
}

/// The tool `web_search`. Without this table there is none.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WebSearch {
    /// `searxng` needs `url`; `brave` needs a key.
    backend: SearchWord,
    /// Base address.
    url: Option<String>,
    /// The variable that holds the key; `BRAVE_API_KEY` by default.
    key_env: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum SearchWord {
    Searxng,
    Brave,
}

/// The local model.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Local {
    /// Where it is installed.
    dir: Option<String>,
    threads: Option<u32>,
    /// Tokens of context.
    #[schemars(range(min = 512))]
    context: Option<u32>,
}

/// What is asked, or told, while a session runs. The same shape as `hooks.json`.
#[derive(JsonSchema)]
struct Hooks {
    /// Files with hooks that were written for another agent.
    import: Option<Vec<String>>,
    /// By the name of the event.
    #[schemars(flatten)]
    events: BTreeMap<String, Vec<HookGroup>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct HookGroup {
    /// Names divided by `|`, or a regular expression; everything unless it is given.
    matcher: Option<String>,
    description: Option<String>,
    hooks: Vec<HookEntry>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct HookEntry {
    r#type: HookType,
    /// A line for the shell. It is given the event as JSON on stdin.
    command: String,
    /// Seconds; 30 by default.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 600))]
    timeout: Option<f64>,
    /// What happens to what it was asked about when it fails.
    on_failure: Option<OnFailure>,
    description: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum HookType {
    Command,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum OnFailure {
    Block,
    Allow,
}
