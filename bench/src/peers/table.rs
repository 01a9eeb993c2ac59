//! The peers as data: how each is found, what is written for it, how it is run without a person, and which tool it is
//! made to call.
//!
//! In files, arguments and variables `{home}`, `{work}` and `{tmp}` are folders of the run, `{base_url}` is the script
//! server, `{steps}` the calls of the turn and `{limit}` some more, `{prompt}` the task and `{dsn}` the database.

/// A program or a library.
#[derive(Debug)]
pub struct Peer {
    /// One of `bench/peers.txt`.
    pub name: &'static str,
    pub title: &'static str,
    pub found: Found,
    /// What a person types to have it.
    pub install: &'static str,
    pub turns: &'static [Turn],
}

/// Where a peer is looked for.
#[derive(Debug)]
pub enum Found {
    /// The release build of this checkout, or what `--sterna` names.
    Sterna,
    /// A program: first at these places below the folder of `--from`, then by this name on PATH.
    Program { below: &'static [&'static str], name: &'static str },
    /// A Python distribution, and the others that its script needs.
    Python { distributions: &'static [&'static str] },
}

/// One way to run a peer.
#[derive(Debug)]
pub struct Turn {
    /// The wire and the tool, as they stand in the table.
    pub label: &'static str,
    /// Turns of one kind are compared with each other.
    pub work: Work,
    /// Path below the home, and text.
    pub files: &'static [(&'static str, &'static str)],
    pub env: &'static [(&'static str, &'static str)],
    pub args: &'static [&'static str],
    /// The script that a Python interpreter runs.
    pub script: Option<&'static str>,
    /// The environment variable without which it is not run. Its value is `{dsn}`.
    pub needs: Option<&'static str>,
    pub tool: Tool,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The cheapest call: reading a line where there is a tool for it.
    Read,
    /// A command of the shell, without a sandbox.
    Shell,
    /// The same in the peer's own sandbox.
    Confined,
}

/// The tool that is called: name, arguments, and what shows in the next request that it has run.
#[derive(Debug)]
pub struct Tool {
    pub name: &'static str,
    pub arguments: &'static str,
    pub result: &'static str,
}

/// Where the database is named that LangGraph keeps its checkpoints in.
pub const DSN: &str = "STERNA_PEERS_POSTGRES";

pub const PROMPT: &str = "Read lines.txt line by line, one line at a time.";

pub const PEERS: [Peer; 7] = [
    Peer {
        name: "sterna",
        title: "Sterna",
        found: Found::Sterna,
        install: "cargo build --release --locked --package sterna-cli",
        turns: &[
            sterna("chat, `read`", Work::Read, STERNA_CHAT, STERNA_READ),
            sterna("Responses, `read`", Work::Read, STERNA_RESPONSES, STERNA_READ),
            sterna("Messages, `read`", Work::Read, STERNA_MESSAGES, STERNA_READ),
            sterna("chat, `shell`, no sandbox", Work::Shell, STERNA_CHAT, STERNA_SHELL),
            sterna("chat, `shell` in its sandbox", Work::Confined, STERNA_CHAT, STERNA_SHELL),
        ],
    },
    Peer {
        name: "codex",
        title: "Codex CLI",
        found: Found::Program {
            // The native program first: the launcher of the package starts another process.
            below: &[
                "node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
                "node_modules/@openai/codex-linux-arm64/vendor/aarch64-unknown-linux-musl/bin/codex",
                "node_modules/.bin/codex",
            ],
            name: "codex",
        },
        install: "npm install --prefix FOLDER @openai/codex",
        turns: &[
            codex("Responses, `update_plan`", Work::Read, CODEX_PLAN),
            codex("Responses, `exec_command`", Work::Shell, CODEX_SHELL),
            codex("Responses, `exec_command` in its sandbox", Work::Confined, CODEX_SHELL),
        ],
    },
    Peer {
        name: "opencode",
        title: "opencode",
        found: Found::Program { below: &["node_modules/.bin/opencode"], name: "opencode" },
        install: "npm install --prefix FOLDER opencode-ai",
        turns: &[
            opencode("chat, `read`", Work::Read, OPENCODE_READ),
            opencode("chat, `bash`", Work::Shell, OPENCODE_SHELL),
        ],
    },
    Peer {
        name: "pi",
        title: "pi",
        found: Found::Program { below: &["node_modules/.bin/pi"], name: "pi" },
        install: "npm install --prefix FOLDER @mariozechner/pi-coding-agent",
        turns: &[pi("chat, `read`", Work::Read, PI_READ), pi("chat, `bash`", Work::Shell, PI_SHELL)],
    },
    Peer {
        name: "agents",
        title: "OpenAI Agents SDK",
        found: Found::Python { distributions: &["openai-agents"] },
        install: "pip install openai-agents",
        turns: &[python("chat, own tool, SQLite", include_str!("../../peers/agents.py"), None)],
    },
    Peer {
        name: "langgraph",
        title: "LangGraph",
        found: Found::Python {
            distributions: &["langgraph", "langgraph-checkpoint-sqlite", "langchain-openai"],
        },
        install: "pip install langgraph langgraph-checkpoint-sqlite langgraph-checkpoint-postgres langchain-openai 'psycopg[binary]'",
        turns: &[
            python("chat, own tool, SQLite", include_str!("../../peers/langgraph_agent.py"), None),
            python("chat, own tool, Postgres", include_str!("../../peers/langgraph_agent.py"), Some(DSN)),
        ],
    },
    Peer {
        name: "pydantic",
        title: "PydanticAI",
        found: Found::Python { distributions: &["pydantic-ai-slim"] },
        install: "pip install 'pydantic-ai-slim[openai]'",
        turns: &[python("chat, own tool, nothing kept", include_str!("../../peers/pydantic_agent.py"), None)],
    },
];

const fn sterna(label: &'static str, work: Work, files: Files, tool: Tool) -> Turn {
    let args: &[&str] = match work {
        Work::Shell => &["run", "-m", "bench/x", "--sandbox", "none", "--max-steps", "{limit}", "{prompt}"],
        Work::Read | Work::Confined => &["run", "-m", "bench/x", "--max-steps", "{limit}", "{prompt}"],
    };
    Turn { label, work, files, env: &[("STERNA_HOME", "{home}")], args, script: None, needs: None, tool }
}

const fn codex(label: &'static str, work: Work, tool: Tool) -> Turn {
    let args: &[&str] = match work {
        Work::Read | Work::Shell => {
            &["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "{prompt}"]
        }
        Work::Confined => &["exec", "--skip-git-repo-check", "--sandbox", "workspace-write", "{prompt}"],
    };
    let env = &[("CODEX_HOME", "{home}/.codex")];
    Turn { label, work, files: CODEX_FILES, env, args, script: None, needs: None, tool }
}

const fn opencode(label: &'static str, work: Work, tool: Tool) -> Turn {
    let env = &[
        ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
        ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
        ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
    ];
    let args = &["run", "-m", "bench/x", "{prompt}"];
    Turn { label, work, files: OPENCODE_FILES, env, args, script: None, needs: None, tool }
}

const fn pi(label: &'static str, work: Work, tool: Tool) -> Turn {
    let env = &[("PI_CODING_AGENT_DIR", "{home}/.pi/agent"), ("PI_OFFLINE", "1"), ("PI_TELEMETRY", "0")];
    let args = &["--print", "--provider", "bench", "--model", "x", "{prompt}"];
    Turn { label, work, files: PI_FILES, env, args, script: None, needs: None, tool }
}

const fn python(label: &'static str, script: &'static str, needs: Option<&'static str>) -> Turn {
    let args = match needs {
        None => &["{base_url}", "{steps}", "{home}/store.db", "{prompt}"],
        Some(_) => &["{base_url}", "{steps}", "{dsn}", "{prompt}"],
    };
    let env = &[("OPENAI_AGENTS_DISABLE_TRACING", "1"), ("LANGSMITH_TRACING", "false")];
    Turn { label, work: Work::Read, files: &[], env, args, script: Some(script), needs, tool: NOOP }
}

type Files = &'static [(&'static str, &'static str)];

const STERNA_CHAT: Files =
    &[("config.toml", "[providers.bench]\nwire = \"openai_chat\"\nbase_url = \"{base_url}\"\n")];
const STERNA_RESPONSES: Files =
    &[("config.toml", "[providers.bench]\nwire = \"openai_responses\"\nbase_url = \"{base_url}\"\n")];
const STERNA_MESSAGES: Files =
    &[("config.toml", "[providers.bench]\nwire = \"anthropic\"\nbase_url = \"{base_url}\"\n")];
const STERNA_READ: Tool = Tool { name: "read", arguments: READ, result: "{entry}" };
const STERNA_SHELL: Tool = Tool { name: "shell", arguments: COMMAND, result: "{entry}" };

const CODEX_FILES: Files = &[(
    ".codex/config.toml",
    "model = \"x\"\nmodel_provider = \"bench\"\ncheck_for_update_on_startup = false\n\
     [analytics]\nenabled = false\n\
     [tools.update_plan]\nenabled = true\n\
     [model_providers.bench]\nname = \"bench\"\nbase_url = \"{base_url}\"\nwire_api = \"responses\"\n",
)];
const CODEX_PLAN: Tool = Tool {
    name: "update_plan",
    arguments: r#"{"plan":[{"step":"read line {line}","status":"in_progress"}]}"#,
    result: "Plan updated",
};
const CODEX_SHELL: Tool =
    Tool { name: "exec_command", arguments: r#"{"cmd":"sed -n {line}p lines.txt"}"#, result: "{entry}" };

const OPENCODE_FILES: Files = &[(
    ".config/opencode/opencode.json",
    r#"{
  "provider": {
    "bench": {
      "npm": "@ai-sdk/openai-compatible",
      "options": { "baseURL": "{base_url}", "apiKey": "none" },
      "models": { "x": { "limit": { "context": 1000000, "output": 32000 } } }
    }
  },
  "model": "bench/x",
  "small_model": "bench/x",
  "permission": { "read": "allow", "bash": "allow" },
  "autoupdate": false,
  "share": "disabled"
}"#,
)];
const OPENCODE_READ: Tool = Tool {
    name: "read",
    arguments: r#"{"filePath":"{work}/lines.txt","offset":{line},"limit":1}"#,
    result: "{entry}",
};
const OPENCODE_SHELL: Tool = Tool {
    name: "bash",
    arguments: r#"{"command":"sed -n {line}p lines.txt","description":"Reads a line"}"#,
    result: "{entry}",
};

const PI_FILES: Files = &[(
    ".pi/agent/models.json",
    r#"{
  "providers": {
    "bench": {
      "baseUrl": "{base_url}",
      "api": "openai-completions",
      "apiKey": "none",
      "models": [{ "id": "x", "contextWindow": 1000000, "maxTokens": 32000 }]
    }
  }
}"#,
)];
const PI_READ: Tool = Tool { name: "read", arguments: READ, result: "{entry}" };
const PI_SHELL: Tool = Tool { name: "bash", arguments: COMMAND, result: "{entry}" };

const NOOP: Tool = Tool { name: "noop", arguments: r#"{"n":{n}}"#, result: "{entry}" };

const READ: &str = r#"{"path":"lines.txt","offset":{line},"limit":1}"#;
const COMMAND: &str = r#"{"command":"sed -n {line}p lines.txt"}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_in_the_list() {
        let list = include_str!("../../peers.txt");
        let listed: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(listed, PEERS.map(|peer| peer.name));
    }

    #[test]
    fn every_call_is_json() {
        for turn in PEERS.iter().flat_map(|peer| peer.turns) {
            let text = turn.tool.arguments.replace("{line}", "1").replace("{n}", "0");
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}: {text}", turn.label);
        }
    }
}
