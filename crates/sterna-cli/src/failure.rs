//! A command that failed: what happened, what to do, and the exit code.

use std::process::ExitCode;

use sterna::config::ConfigError;
use sterna_log::LogError;
use sterna_model::BadId;
use sterna_runtime::RuntimeError;
use sterna_shell::shim::ShimError;

use crate::print::Print;

/// An expected failure. An empty message says nothing: the reader of our output has gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    pub hint: Option<String>,
    pub code: u8,
}

/// Runtime errors and damage.
pub const FAILED: u8 = 1;
/// Usage, configuration, conflicts, a missing key.
pub const USAGE: u8 = 2;

impl Failure {
    /// Something went wrong that is not the caller's fault.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: FAILED }
    }

    /// The command cannot be done as it was asked for.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: USAGE }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Errors of a store say what happened, and after a semicolon what to do: that becomes the hint.
    fn with_way_out(mut self, otherwise: Option<&str>) -> Self {
        match self.message.split_once("; ") {
            Some((what, way_out)) => {
                (self.hint, self.message) = (Some(way_out.to_owned()), what.to_owned());
            }
            None => self.hint = otherwise.map(str::to_owned),
        }
        self
    }

    /// Whoever read our output has closed it: nothing to say, and no failure of ours.
    pub fn reader_gone() -> Self {
        Self { message: String::new(), hint: None, code: 0 }
    }

    /// Writes `error:` and `hint:` to stderr, and gives the exit code.
    pub fn report(&self, print: &Print) -> ExitCode {
        if !self.message.is_empty() {
            print.error(&self.message);
        }
        if let Some(hint) = &self.hint {
            print.hint(hint);
        }
        ExitCode::from(self.code)
    }
}

impl From<ShimError> for Failure {
    fn from(error: ShimError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<&LogError> for Failure {
    fn from(error: &LogError) -> Self {
        let message = error.to_string();
        match error {
            LogError::NotFound(_) => {
                Self::usage(message).hint("`sterna sessions list` shows the sessions that there are")
            }
            LogError::Exists(_) => Self::usage(message).hint("choose another id"),
            LogError::Conflict { .. } => {
                Self::usage(message).hint("the same key always means the same input; choose another key")
            }
            LogError::Tombstone(_) => Self::usage(message).hint("choose another id for a new session"),
            LogError::BadId(error) => Self::from(error.clone()),
            LogError::Refused(_) => Self::usage(message).with_way_out(None),
            LogError::TooLarge { .. } => Self::usage(message),
            LogError::Corrupt { session, .. } => {
                Self::failed(message).hint(format!("`sterna sessions fsck {session}` says what is whole"))
            }
            LogError::BlobMissing(_) => {
                Self::failed(message).hint("`sterna sessions fsck` names the records that refer to it")
            }
            LogError::ReadOnly(_) => {
                Self::failed(message).hint("make it writable, or set STERNA_HOME to a folder that is")
            }
            LogError::Newer { .. } => Self::failed(message)
                .with_way_out(None)
                .hint("upgrade Sterna; until then `sterna sessions show` and `export` can read it"),
            LogError::Damaged(_) | LogError::DiskFull(_) => Self::failed(message).with_way_out(None),
            LogError::Io(_) => Self::failed(message)
                .with_way_out(Some("`sterna doctor` looks at the folders and at the store")),
            LogError::StaleHead { .. } | LogError::Fenced { .. } | LogError::Held { .. } => {
                Self::failed(message).hint("another process drives it; try again when that one is through")
            }
        }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::from(&error)
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        let message = error.to_string();
        match &error {
            RuntimeError::Log(error) => Self::from(&**error),
            RuntimeError::Route(_) => {
                Self::usage(message).hint("`sterna doctor` shows which providers are set up")
            }
            RuntimeError::ReplayMismatch { session, .. } => Self::failed(message).hint(format!(
                "the turn was begun by another version, which can end it; `sterna sessions fork {session}` goes on \
                 from where it was before"
            )),
            RuntimeError::Fold { session, .. } => {
                Self::failed(message).hint(format!("`sterna sessions fsck {session}` says what is whole"))
            }
            RuntimeError::Interrupted { session, .. } => {
                Self::failed(message).hint(format!("`sterna resume {session}` carries on"))
            }
            RuntimeError::Panicked(_) => Self::failed(message)
                .hint("this is a defect; what was durable is kept, and `sterna resume` carries on"),
            RuntimeError::TurnRunning(session) => Self::usage(message).hint(format!(
                "end that turn first, or wait for it; `sterna sessions show {session}` tells more"
            )),
            RuntimeError::InDoubt { session, .. } => Self::usage(message).hint(format!(
                "`sterna resume {session}` finds out how it ended; --force rewinds all the same"
            )),
            RuntimeError::NotKept { .. } => {
                Self::failed(message).hint("--force restores the first checkpoint after that step")
            }
            RuntimeError::FilesChanged(_) => Self::failed(message).with_way_out(None),
            RuntimeError::Files(_) | RuntimeError::Forgotten { .. } => Self::failed(message),
            RuntimeError::NoTurn(_)
            | RuntimeError::NoRecord { .. }
            | RuntimeError::NoWait { .. }
            | RuntimeError::AlreadyResolved { .. }
            | RuntimeError::ForgedKey
            | RuntimeError::InputTaken { .. }
            | RuntimeError::Attached(_)
            | RuntimeError::Refused(_) => Self::usage(message),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { message: error.message, hint: error.hint, code: USAGE }
    }
}

impl From<sterna::Error> for Failure {
    fn from(error: sterna::Error) -> Self {
        match error {
            sterna::Error::Setup { message, hint } => Self { message, hint, code: USAGE },
            sterna::Error::Config(error) => error.into(),
            sterna::Error::Log(error) => error.into(),
            sterna::Error::Runtime(error) => error.into(),
            sterna::Error::Attach(error) => Self::usage(error.to_string()),
            sterna::Error::Id(error) => error.into(),
        }
    }
}

impl From<BadId> for Failure {
    fn from(error: BadId) -> Self {
        let failure = Self::usage(error.to_string());
        match error.what {
            "session id" => failure
                .hint("an id looks like `fix-login.2`; `sterna sessions list` shows those that there are"),
            // Its rule says how it is written.
            _ => failure,
        }
    }
}
