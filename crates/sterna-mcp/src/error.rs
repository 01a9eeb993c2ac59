//! Why a server gave no answer.

/// What went wrong between us and a server. Its own words are cut to 2,000 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum McpError {
    #[error("the MCP server `{server}` could not be started: {why}")]
    Start { server: String, why: String },
    #[error("the MCP server `{server}` was not ready within {seconds} s{said}")]
    StartTimeout { server: String, seconds: u64, said: String },
    #[error("the MCP server `{server}` wants a login: run `sterna mcp login {server}`")]
    NeedsLogin { server: String },
    #[error(
        "the MCP server `{server}` wants more than its login allows{asks}: run `sterna mcp login {server}` again"
    )]
    NeedsScopes {
        server: String,
        /// Which scopes, in brackets after a space; empty where it does not say.
        asks: String,
    },
    #[error(
        "the MCP server `{server}` does not take what its `oauth_client_id` was given by the authorization server"
    )]
    ClientRefused { server: String },
    #[error(
        "the MCP server `{server}` wants more than its `oauth_client_id` is given{asks}: have the authorization server allow it that{why}"
    )]
    ClientNeedsScopes {
        server: String,
        /// As in `NeedsScopes`.
        asks: String,
        /// What the authorization server said to it, after a semicolon; empty where it gave a login that is not enough.
        why: String,
    },
    #[error(
        "the MCP server `{server}` wants more than its login has{asks}, and asking for another one failed: {why}"
    )]
    ClientNotWidened {
        server: String,
        /// As in `NeedsScopes`.
        asks: String,
        why: String,
    },
    #[error("the connection to the MCP server `{server}` ended: {why}")]
    Closed { server: String, why: String },
    #[error(
        "the MCP server `{server}` gave no sign of life for {seconds} s; the call was cancelled, and may have happened all the same"
    )]
    Silent { server: String, seconds: u64 },
    #[error(
        "the MCP server `{server}` took longer than {seconds} s; the call was cancelled, and may have happened all the same"
    )]
    TooLong { server: String, seconds: u64 },
    #[error("the MCP server `{server}` sent a message of more than 16 MiB; the connection was ended")]
    TooLarge { server: String },
    #[error("the MCP server `{server}` answered with error {code}: {message}")]
    Refused { server: String, code: i32, message: String },
    #[error("the MCP server `{server}` gave an answer that is none: {what}")]
    Strange { server: String, what: String },
}

impl McpError {
    /// The request surely never reached the server.
    pub fn never_sent(&self) -> bool {
        match self {
            Self::Start { .. }
            | Self::StartTimeout { .. }
            | Self::NeedsLogin { .. }
            | Self::NeedsScopes { .. }
            | Self::ClientRefused { .. }
            | Self::ClientNeedsScopes { .. }
            | Self::ClientNotWidened { .. } => true,
            Self::Closed { .. }
            | Self::Silent { .. }
            | Self::TooLong { .. }
            | Self::TooLarge { .. }
            | Self::Refused { .. }
            | Self::Strange { .. } => false,
        }
    }
}

/// At most this much of what a server says of its troubles is shown, in characters.
const SAID: usize = 2_000;

pub(crate) fn cut(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    match clean.char_indices().nth(SAID) {
        Some((at, _)) => format!("{} …", &clean[..at]),
        None => clean,
    }
}
