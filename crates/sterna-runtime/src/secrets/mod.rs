//! Secrets on their way: what the driver writes, shows and sends has none, and what few tools are given has them back.

mod arguments;
mod blobs;
mod body;

use std::sync::{Arc, OnceLock};

use sterna_model::SessionId;
use sterna_secrets::{Config, Redactor, Scoped};

pub(crate) use arguments::{placeholder, restored};
pub(crate) use blobs::CleanBlobs;
pub(crate) use body::clean;

/// What a process knows of secrets. Asked for, and put together, when the first text is looked at.
#[derive(Clone)]
pub struct Secrets(Arc<Inner>);

struct Inner {
    source: Box<dyn Fn() -> Config + Send + Sync>,
    made: OnceLock<Redactor>,
}

impl Default for Secrets {
    /// The built-in patterns, and no known value.
    fn default() -> Self {
        Self::new(Config::default)
    }
}

impl Secrets {
    /// `source` is asked once, at the first text. Its patterns must be good (`Scanner::new`): bad ones are left out.
    pub fn new(source: impl Fn() -> Config + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { source: Box::new(source), made: OnceLock::new() }))
    }

    /// The redactor of a session.
    pub fn of(&self, session: &SessionId) -> Scoped {
        self.redactor().scoped(session.as_str())
    }

    /// The redactor of what belongs to no session, such as the prompt.
    pub fn common(&self) -> Scoped {
        self.redactor().scoped("")
    }

    fn redactor(&self) -> &Redactor {
        self.0.made.get_or_init(|| {
            let config = (self.0.source)();
            Redactor::new(config).unwrap_or_else(|_| {
                let config = Config { extra: Vec::new(), allow: Vec::new(), ..(self.0.source)() };
                Redactor::new(config).expect("the built-in patterns and literal values always compile")
            })
        })
    }
}
