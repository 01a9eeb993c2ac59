//! The checkpoint effect: the workspace is kept before the first effect of a step that may write in it.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use sterna_model::{Body, CheckpointTaken};
use sterna_policy::Changes;
use sterna_tool::Cancel;

use crate::checkpoints::{CheckpointFault, Reach, SharedCheckpoints};
use crate::driver::told_by;

/// Keeps the workspace, if the effect may change something in it. A failure is a record too, and stops nothing.
pub async fn before(
    keeper: SharedCheckpoints,
    root: PathBuf,
    changes: &Changes,
    cancel: Cancel,
) -> Option<Body> {
    let reach = reach(changes, &root)?;
    let told = root.display().to_string();
    Some(match take(keeper, root, reach, cancel).await {
        Ok(taken) => Body::CheckpointTaken(Box::new(taken)),
        Err(fault) => Body::CheckpointMissed { root: told, why: fault.to_string() },
    })
}

/// Keeps the workspace, on a thread where it may block.
pub async fn take(
    keeper: SharedCheckpoints,
    root: PathBuf,
    reach: Reach,
    cancel: Cancel,
) -> Result<CheckpointTaken, CheckpointFault> {
    blocking(move || keeper.take(&root, &reach, &cancel)).await
}

/// Runs what blocks where it may. A panic is a fault like any other.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CheckpointFault> + Send + 'static,
) -> Result<T, CheckpointFault> {
    let work = AssertUnwindSafe(work);
    let caught = tokio::task::spawn_blocking(move || std::panic::catch_unwind(work)).await;
    match caught {
        Ok(Ok(done)) => done,
        Ok(Err(panic)) => Err(CheckpointFault::Failed(format!("it panicked: {}", told_by(&*panic)))),
        Err(_) => Err(CheckpointFault::Failed("the runtime is shutting down".into())),
    }
}

/// `None`: nothing in the workspace changes.
fn reach(changes: &Changes, root: &Path) -> Option<Reach> {
    let Changes { paths, arbitrary, unknown } = changes;
    if *unknown {
        return Some(Reach::Everything);
    }
    // A folder above the workspace that is removed takes the workspace with it.
    let touches = |path: &&PathBuf| path.starts_with(root) || root.starts_with(path);
    let inside: Vec<PathBuf> = paths.iter().filter(touches).cloned().collect();
    (*arbitrary || !inside.is_empty()).then_some(Reach::Paths(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_touches_the_workspace_is_kept_before() {
        let check = |paths: &[&str], arbitrary: bool, unknown: bool, expected: Option<Reach>| {
            let paths = paths.iter().map(PathBuf::from).collect();
            let changes = Changes { paths, arbitrary, unknown };
            assert_eq!(reach(&changes, Path::new("/w")), expected, "{changes:?}");
        };
        let paths = |paths: &[&str]| Some(Reach::Paths(paths.iter().map(PathBuf::from).collect()));
        check(&[], false, false, None);
        check(&["/tmp/x", "/wide"], false, false, None);
        check(&["/w/a", "/tmp/x"], false, false, paths(&["/w/a"]));
        check(&["/"], false, false, paths(&["/"]));
        check(&[], true, false, paths(&[]));
        check(&["/tmp/x"], false, true, Some(Reach::Everything));
    }
}
