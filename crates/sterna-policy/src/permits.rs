//! Rights that a person gave for later calls: what they cover, and what they open in a sandbox.

use std::path::{Path, PathBuf};

use sterna_model::{Bounds, Grant, Millis, Mode, PathAccess, Permits, PermittedPath};

use crate::effects::{How, Reach};
use crate::paths::within;

/// The permits that are in force.
pub(crate) struct Held<'a> {
    all: Vec<&'a Permits>,
    mode: Mode,
    tainted: bool,
}

impl<'a> Held<'a> {
    pub(crate) fn new(grants: &[&'a Grant], now: Millis, mode: Mode, tainted: bool) -> Self {
        let holds = |grant: &&&Grant| grant.expires.is_none_or(|at| now < at);
        Self {
            all: grants.iter().filter(holds).filter_map(|grant| grant.permits.as_ref()).collect(),
            mode,
            tainted,
        }
    }

    /// Whether doing this to a path was permitted, wherever it leads. In mode `pair` each write is shown all the same.
    pub(crate) fn path(&self, how: How, real: &[PathBuf], reach: Reach, glob: bool) -> bool {
        let shown = self.mode == Mode::Pair && !matches!(how, How::Read | How::Named);
        let one = |real: &PathBuf| self.paths().any(|permitted| covers(permitted, how, real, reach));
        !shown && !glob && !real.is_empty() && real.iter().all(one)
    }

    /// Whether reaching this host was permitted, with what the model has before it now.
    pub(crate) fn host(&self, host: &str) -> bool {
        self.hosts().any(|permitted| permitted.eq_ignore_ascii_case(host))
    }

    /// Lets a call's commands do it, but for what `denied` says of paths and hosts.
    pub(crate) fn open(
        &self,
        bounds: &mut Bounds,
        denied: &dyn Fn(How, &Path) -> bool,
        no: &dyn Fn(&str) -> bool,
    ) {
        for PermittedPath { path, access, .. } in self.paths() {
            if denied(How::Read, path) {
                continue;
            }
            // As with a line that only this mode lets pass: nobody said that a secret may be read.
            if self.mode != Mode::Bypass {
                bounds.readable.push(path.clone());
            }
            if *access == PathAccess::Write && !denied(How::Write, path) {
                bounds.writable.push(path.clone());
            }
        }
        bounds.hosts.extend(self.hosts().filter(|host| !no(host)).map(str::to_owned));
        for list in [&mut bounds.readable, &mut bounds.writable] {
            list.sort();
            list.dedup();
        }
        bounds.hosts.sort();
        bounds.hosts.dedup();
    }

    fn paths(&self) -> impl Iterator<Item = &'a PermittedPath> {
        self.all.iter().flat_map(|permits| &permits.paths)
    }

    /// Texts of strangers that came later may want to be sent there.
    fn hosts(&self) -> impl Iterator<Item = &'a str> {
        let counts = |permits: &&&Permits| !self.tainted || permits.tainted;
        self.all
            .iter()
            .filter(counts)
            .flat_map(|permits| permits.hosts.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .into_iter()
    }
}

fn covers(permitted: &PermittedPath, how: How, path: &Path, reach: Reach) -> bool {
    let may = match how {
        How::Read | How::Named => true,
        How::Write | How::Delete => permitted.access == PathAccess::Write,
    };
    let itself = path == permitted.path;
    let there = match (permitted.beneath, how, reach) {
        // The folder itself stays.
        (true, How::Delete, _) => within(path, &permitted.path) && !itself,
        (true, How::Read | How::Named | How::Write, _) => within(path, &permitted.path),
        (false, How::Read | How::Named | How::Write, Reach::Tree | Reach::Visible) => false,
        (false, _, _) => itself,
    };
    may && there
}
