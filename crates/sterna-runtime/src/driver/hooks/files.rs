//! Hooks of files that the session knows and that somebody else has changed: looked at before a step, told once for each
//! change.

use std::path::Path;

use serde_json::json;
use sterna_model::{Digest, HookEvent, StepNo, TurnNo};
use sterna_turn::Next;

use super::Point;
use super::round::{begun_step, state_of};
use crate::driver::Driver;
use crate::env::FileVersion;
use crate::hooks::{SharedHooks, short_of_path, short_of_version};

/// A file that is not as hooks, or the session, know it.
pub(super) struct Changed {
    path: String,
    now: FileVersion,
    /// How often hooks will have been told of it with this.
    nth: u64,
}

impl Driver {
    /// Looks at files before a step begins, when all that the step before led to is over. `true`: some are changed.
    pub(super) async fn look_at_files(&mut self, hooks: &SharedHooks, next: &Next) -> bool {
        let Some(at) = begun_step(next) else { return false };
        if self.hooking.seen.at == Some(at) || !hooks.hears(HookEvent::FileChanged) {
            return false;
        }
        self.hooking.seen.at = Some(at);
        let files = self.files_to_look_at(hooks, at);
        self.hooking.seen.changed = self.changed_files(files).await;
        !self.hooking.seen.changed.is_empty()
    }

    /// Files that were found to be changed, and of which hooks were not told yet.
    pub(super) fn changed(&self) -> Vec<Point> {
        self.hooking.seen.changed.iter().filter_map(|changed| self.file(changed)).collect()
    }

    /// Those of the session's files that somebody watches, with what the session knows of them. Of many, a step looks at
    /// some, and the next one at the next: what is read of the disk does not grow with the session. The names of all its
    /// files are matched each time, which does. Which are looked at is told by the numbers of turn and step, so that whoever
    /// drives the next turn goes on with others.
    fn files_to_look_at(&self, hooks: &SharedHooks, (turn, step): (TurnNo, StepNo)) -> Vec<(String, Digest)> {
        let watched =
            |(path, _): &(&String, &Digest)| hooks.listens(HookEvent::FileChanged, &name_of(path), "");
        let files: Vec<(&String, &Digest)> = self.state.folded.world.files.iter().filter(watched).collect();
        let rounds = files.len().div_ceil(LOOKED).max(1) as u64;
        let round = turn.wrapping_add(u64::from(step)) % rounds;
        let some = files.chunks(LOOKED).nth(round as usize).unwrap_or_default();
        some.iter().map(|(path, hash)| ((*path).clone(), **hash)).collect()
    }

    /// Which of these files hold something else than hooks were told last. Where hooks were told nothing since the session
    /// read or wrote a file itself: something else than it knows.
    async fn changed_files(&self, known: Vec<(String, Digest)>) -> Vec<Changed> {
        let env = self.rt.parts.env.clone();
        let look = tokio::task::spawn_blocking(move || {
            let now = known.into_iter().filter_map(|(path, hash)| {
                let now = env.file_version(Path::new(&path))?;
                Some((path, hash, now))
            });
            now.collect::<Vec<_>>()
        });
        // A host that panics there has seen nothing.
        let looked = look.await.unwrap_or_default();
        let changed = |(path, known, now): (String, Digest, FileVersion)| {
            let (stands, nth) = match self.told_of_file(&path) {
                Some((state, n)) if state.is_empty() => (now == FileVersion::Is(known), *n),
                Some((state, n)) => (*state == short_of_version(now), *n),
                None => (now == FileVersion::Is(known), 0),
            };
            (!stands).then_some(Changed { path, now, nth: nth + 1 })
        };
        looked.into_iter().filter_map(changed).collect()
    }

    fn told_of_file(&self, path: &str) -> Option<&(String, u64)> {
        self.state.hooks.happened.told(&state_of(HookEvent::FileChanged, &short_of_path(path)))
    }

    fn file(&self, changed: &Changed) -> Option<Point> {
        let Changed { path, now, nth } = changed;
        if self.told_of_file(path).is_some_and(|(_, n)| n >= nth) {
            return None;
        }
        let change = match now {
            FileVersion::Gone => "removed",
            FileVersion::Is(_) => "changed",
        };
        let more = json!({ "file_path": path, "change": change });
        let about = format!("{nth}/{}={}", short_of_path(path), short_of_version(*now));
        Some(self.point(HookEvent::FileChanged, 0, name_of(path), Some(about), more))
    }
}

fn name_of(path: &str) -> String {
    Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Files that one step looks at.
const LOOKED: usize = 256;
