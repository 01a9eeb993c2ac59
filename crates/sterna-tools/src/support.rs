//! What all tools need: arguments, checked places, work off the executor's threads, numbers for people.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::de::DeserializeOwned;
use serde_json::Value;
use sterna_model::ToolStatus;
use sterna_tool::{Access, Cancel, ToolContext, ToolError};

/// The arguments as the tool's own type.
pub(crate) fn parse<T: DeserializeOwned>(args: &Value) -> Result<T, ToolError> {
    T::deserialize(args).map_err(ToolError::invalid)
}

/// Where a path of the arguments leads.
pub(crate) fn place(cwd: &Path, given: &str) -> Result<PathBuf, ToolError> {
    crate::paths::resolve(cwd, given).map_err(ToolError::invalid)
}

/// The same at the time of the call: it must still be the place that was judged.
pub(crate) fn planned(cx: &ToolContext, given: &str) -> Result<PathBuf, ToolError> {
    let path = place(&cx.cwd, given)?;
    let judged = cx.plan.accesses.iter().any(|access| match access {
        Access::Read(judged)
        | Access::ReadTree(judged)
        | Access::Write(judged)
        | Access::Shell { cwd: judged, .. } => *judged == path,
        Access::Web { .. }
        | Access::Person
        | Access::Permission(_)
        | Access::Session
        | Access::Keep
        | Access::Other
        | Access::Unaccepted { .. } => false,
    });
    if judged { Ok(path) } else { Err(moved(given)) }
}

/// A symlink was put where a folder or a file was.
pub(crate) fn moved(given: &str) -> ToolError {
    ToolError::failed(format!(
        "`{given}` leads to another place than when this call was checked; nothing was touched, call again"
    ))
}

/// How a file is named in the session's view and in facts.
pub(crate) fn key(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Tells work on another thread that it is not wanted any more.
pub(crate) struct Stop {
    cancel: Cancel,
    dropped: Arc<AtomicBool>,
}

impl Stop {
    /// For what must be brought to its end.
    pub(crate) fn never() -> Self {
        Self { cancel: Cancel::new(), dropped: Arc::default() }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.cancel.is_cancelled() || self.dropped.load(Ordering::SeqCst)
    }

    pub(crate) fn check(&self) -> Result<(), ToolError> {
        if self.is_set() { Err(ToolError::cancelled()) } else { Ok(()) }
    }
}

/// Runs blocking work. It is told to stop when the call is cancelled, and when this future is dropped.
pub(crate) async fn blocking<T: Send + 'static>(
    cancel: &Cancel,
    work: impl FnOnce(&Stop) -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    let dropped = Arc::new(AtomicBool::new(false));
    let _raise = RaiseOnDrop(dropped.clone());
    let stop = Stop { cancel: cancel.clone(), dropped };
    let done = tokio::task::spawn_blocking(move || {
        stop.check()?;
        work(&stop)
    });
    done.await.unwrap_or_else(|failure| {
        Err(ToolError { status: ToolStatus::Panicked, message: format!("the tool crashed: {failure}") })
    })
}

struct RaiseOnDrop(Arc<AtomicBool>);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// `1,204`
pub(crate) fn number(n: impl TryInto<u64>) -> String {
    let digits = n.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 line`, `2 lines`
pub(crate) fn counted(n: usize, what: &str) -> String {
    format!("{} {what}{}", number(n as u64), if n == 1 { "" } else { "s" })
}

/// At most `max` bytes, cut at a character.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// The first line, at most `max` bytes, with a mark when that is not all.
pub(crate) fn first_line(text: &str, max: usize) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let shown = cut(line, max);
    if shown.len() < text.trim().len() { format!("{shown} …") } else { shown.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_cuts_for_people() {
        for (n, want) in [(0u64, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(n), want);
        }
        assert_eq!((counted(1, "line"), counted(1200, "line")), ("1 line".into(), "1,200 lines".into()));
        for (text, want) in [("a", "a"), ("a\nb", "a …"), ("aéé", "aé …"), ("", "")] {
            assert_eq!(first_line(text, 4), want);
        }
    }
}
