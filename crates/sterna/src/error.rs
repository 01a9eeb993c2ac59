//! What an SDK call can fail with. A turn that stops is no error: its reply says how it ended.

use sterna_log::LogError;
use sterna_model::BadId;
use sterna_runtime::RuntimeError;
use sterna_tools::attach::AttachError;

/// An error with, where there is one, a hint at what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{message}")]
    Setup { message: String, hint: Option<String> },
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A file that no model takes.
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Id(#[from] BadId),
}

impl Error {
    pub(crate) fn setup(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Setup { message: message.into(), hint: Some(hint.into()) }
    }
}
