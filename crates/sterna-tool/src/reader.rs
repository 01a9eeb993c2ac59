//! What a tool may read of its own session: records that its requests do not show any more, and what they are made of.

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_model::Place;

/// Reads the session that a call belongs to. The log is whole, whatever requests show of it.
pub trait SessionReader: Send + Sync {
    /// A record as text; `None` when the history has none at this place.
    fn record(&self, place: Place) -> BoxFuture<'_, Result<Option<String>, String>>;

    /// Records that hold words of the query, the best first: those with more of the words, then the newer ones.
    fn search<'a>(&'a self, query: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Found>, String>>;

    /// What the last request was made of, for the model.
    fn context(&self) -> BoxFuture<'_, Result<String, String>>;
}

/// A record that a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub place: Place,
    /// Whose words: `person`, `model`, or the name of a tool.
    pub who: String,
    /// The words round the match.
    pub snippet: String,
}

/// A session of which nothing can be read: for tools that are run without one.
pub struct NoSession;

impl SessionReader for NoSession {
    fn record(&self, _: Place) -> BoxFuture<'_, Result<Option<String>, String>> {
        std::future::ready(Ok(None)).boxed()
    }
    fn search<'a>(&'a self, _: &'a str, _: usize) -> BoxFuture<'a, Result<Vec<Found>, String>> {
        std::future::ready(Ok(Vec::new())).boxed()
    }
    fn context(&self) -> BoxFuture<'_, Result<String, String>> {
        std::future::ready(Err("there is no session".to_owned())).boxed()
    }
}
