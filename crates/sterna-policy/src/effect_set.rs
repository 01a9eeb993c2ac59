//! What a whole command line would touch: the effects of its commands, with paths told from the folders they may run in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::effects::{Class, How, Reach};
use crate::network;
use crate::paths::{is_harmless_device, normalise};
use crate::programs;
use crate::shell::{Hidden, RedirectKind, ShellPlan, Word};

/// The effects of a plan. Paths are absolute and normalised by name; symlinks are not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EffectSet {
    /// Paths whose content is read.
    pub reads: BTreeSet<Touched>,
    /// Paths of which only names, sizes and links are read.
    pub lists: BTreeSet<Touched>,
    pub writes: BTreeSet<Touched>,
    pub deletes: BTreeSet<Touched>,
    /// Hosts it reaches; `*` is any host.
    pub hosts: BTreeSet<String>,
    /// How far the lists above can be trusted.
    pub certainty: Certainty,
}

/// A path, or a pattern of paths, that is touched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Touched {
    pub path: PathBuf,
    /// Whatever lies beneath is touched, too.
    pub beneath: bool,
    /// `path` is a pattern, which the shell replaces by the names that it matches.
    pub pattern: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// Nothing else is touched.
    #[default]
    Known,
    /// A program does more than can be listed, such as a build.
    Arbitrary,
    /// Something is not understood.
    Unknown,
}

impl ShellPlan {
    /// What the line would touch when it starts in `cwd`, which is absolute. A path from the home folder is left out
    /// where there is none, and the line is unknown then.
    pub fn effects(&self, cwd: &Path, home: Option<&Path>) -> EffectSet {
        let mut set = EffectSet::default();
        if self.unknown.is_some() {
            set.certainty = Certainty::Unknown;
        }
        for command in &self.commands {
            let effects = programs::effects(command);
            let folders = command.folders();
            let cwds: Vec<PathBuf> = folders.iter().filter_map(|word| place(word, cwd, home)).collect();
            if cwds.len() < folders.len() {
                set.certainty = Certainty::Unknown;
            }
            set.certainty = set.certainty.max(match effects.class {
                Class::Known => Certainty::Known,
                Class::Arbitrary(_) => Certainty::Arbitrary,
                Class::Unclear(_) | Class::Unknown(_) => Certainty::Unknown,
            });
            set.hosts.extend(effects.hosts);
            for touch in &effects.touches {
                set.add(touch.how, &touch.word, touch.reach, &cwds, home);
            }
            for redirect in &command.redirects {
                let how = match redirect.kind {
                    RedirectKind::Read => How::Read,
                    RedirectKind::Write | RedirectKind::Append => How::Write,
                };
                set.add(how, &redirect.target, Reach::This, &cwds, home);
                set.hosts.extend(network::host_of_device(&redirect.target));
            }
        }
        set
    }
}

impl EffectSet {
    fn add(&mut self, how: How, word: &Word, reach: Reach, cwds: &[PathBuf], home: Option<&Path>) {
        if word.hidden != Hidden::No {
            self.certainty = Certainty::Unknown;
            return;
        }
        for cwd in cwds {
            let Some(path) = place(word, cwd, home) else {
                self.certainty = Certainty::Unknown;
                continue;
            };
            let path = normalise(&path);
            if is_harmless_device(&path) {
                continue;
            }
            let touched =
                Touched { path, beneath: matches!(reach, Reach::Tree | Reach::Visible), pattern: word.glob };
            match how {
                How::Read if reach == Reach::Names => self.lists.insert(touched),
                How::Read => self.reads.insert(touched),
                How::Write => self.writes.insert(touched),
                How::Delete => self.deletes.insert(touched),
                // What the argument of an unlisted program may be: only rules that forbid look at it.
                How::Named => false,
            };
        }
    }
}

/// Where a word leads from a folder. Not normalised: `..` behind a link is the link's affair.
pub(crate) fn place(word: &Word, cwd: &Path, home: Option<&Path>) -> Option<PathBuf> {
    let text = word.text.as_str();
    if word.tilde {
        let rest = text.strip_prefix('~').unwrap_or(text);
        return home.map(|h| h.join(rest.trim_start_matches('/')));
    }
    Some(cwd.join(text))
}
