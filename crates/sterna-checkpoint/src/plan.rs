//! What a restore would do, before it does anything.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sterna_model::Digest;
use sterna_tool::Cancel;

use crate::diff::{compare, sides};
use crate::root::{Stamp, is_leftover};
use crate::{Change, CheckpointError, Checkpointer, Kind, RelPath, Side, What, Why};

/// Everything that a restore would change, in the order in which it would.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    pub manifest: Digest,
    /// Whether what was created since the checkpoint goes.
    pub remove_created: bool,
    pub steps: Vec<Step>,
    /// What the checkpoint does not know and the restore leaves as it is.
    pub kept: Vec<(RelPath, Stay)>,
    /// What should come back and cannot, because something is in its way.
    pub blocked: Vec<(RelPath, Stay)>,
    /// What was there, was not held, and is gone.
    pub lost: Vec<(RelPath, Why)>,
    /// Files whose contents the store has lost. A restore refuses such a plan.
    pub missing: Vec<(RelPath, Digest)>,
    /// Bytes that would be written.
    pub bytes: u64,
    /// The root's mode, if it is to be made or changed.
    #[serde(skip)]
    pub(crate) root: Option<u32>,
}

/// One path, from what it is (`before`) to what it was (`after`).
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    #[serde(flatten)]
    pub change: Change,
    /// What stood there at the preview.
    #[serde(skip)]
    pub(crate) stamp: Option<Stamp>,
}

/// Why something stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stay {
    /// It was not looked into.
    LeftOut { why: Why },
    /// Created since, and removal was not asked for.
    Created,
    /// Something that stays lies in it.
    Holds,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.root.is_none()
    }
}

impl Checkpointer {
    /// Says exactly what a restore would change; changes nothing.
    ///
    /// With `remove_created`, the default for a caller without an opinion, files that the checkpoint does not know go.
    /// Without it they stay, but for those in the way: in a folder that was no folder.
    pub fn preview_restore(
        &self,
        manifest: &Digest,
        remove_created: bool,
        cancel: &Cancel,
    ) -> Result<Plan, CheckpointError> {
        let base = self.load(manifest)?;
        let goal = sides(&base);
        let now = self.observe(&base, cancel)?;
        let mut sorting = Sorting { remove_created, ..Sorting::default() };
        sorting.blocked.extend(now.locked.iter().map(|path| (path.clone(), unreadable())));
        for (path, side) in &now.sides {
            let held = goal.get(path).is_some_and(|goal| goal.kind != Kind::LeftOut);
            if let Some(why) = side.left_out.clone().filter(|_| held) {
                sorting.blocked.push((path.clone(), Stay::LeftOut { why }));
            }
        }
        sorting.sort(compare(&now.sides, &goal, &now.locked));
        let (changes, mut plan) = sorting.plan(*manifest);
        plan.missing = self.missing(&changes, cancel)?;
        plan.bytes = changes.iter().filter_map(writes).map(|side| side.bytes).sum();
        let stamp = |change: &Change| now.stamps.get(&change.path).copied();
        plan.steps = changes.into_iter().map(|change| Step { stamp: stamp(&change), change }).collect();
        plan.root = (now.root_mode != Some(base.root_mode)).then_some(base.root_mode);
        Ok(plan)
    }

    fn missing(
        &self,
        changes: &[Change],
        cancel: &Cancel,
    ) -> Result<Vec<(RelPath, Digest)>, CheckpointError> {
        let hash = |change: &Change| Some((change.path.clone(), writes(change)?.hash?));
        let wanted: Vec<(RelPath, Digest)> = changes.iter().filter_map(hash).collect();
        let hashes: Vec<Digest> = wanted.iter().map(|(_, hash)| *hash).collect();
        let held = self.held(&hashes, cancel)?;
        Ok(wanted.into_iter().zip(held).filter(|(_, held)| !held).map(|(wanted, _)| wanted).collect())
    }
}

/// The file that a change writes, if it does.
fn writes(change: &Change) -> Option<&Side> {
    change.after.as_ref().filter(|side| side.kind == Kind::File && change.what != What::Mode)
}

fn unreadable() -> Stay {
    Stay::LeftOut { why: Why::Unreadable }
}

/// Changes, by what is to be done about them.
#[derive(Default)]
struct Sorting {
    remove_created: bool,
    /// Back to what they were.
    back: Vec<Change>,
    /// Known now and not then.
    extra: Vec<Change>,
    kept: BTreeMap<RelPath, Stay>,
    blocked: Vec<(RelPath, Stay)>,
    lost: Vec<(RelPath, Why)>,
}

impl Sorting {
    fn sort(&mut self, changes: Vec<Change>) {
        for change in changes {
            let now_out = change.before.as_ref().and_then(|side| side.left_out.clone());
            let then_out = change.after.as_ref().and_then(|side| side.left_out.clone());
            match (&change.after, now_out, then_out) {
                (None, Some(why), _) => {
                    self.kept.insert(change.path, Stay::LeftOut { why });
                }
                (None, None, _) => self.extra.push(change),
                (Some(_), _, Some(why)) => self.lost.push((change.path, why)),
                (Some(_), _, None) => self.back.push(change),
            }
        }
    }

    /// The changes in a safe order, and a plan that has no steps yet.
    fn plan(mut self, manifest: Digest) -> (Vec<Change>, Plan) {
        // Folders that become something else must be emptied; one that holds what stays cannot be.
        let gives_way = |change: &Change| {
            let kind = |side: &Option<Side>| side.as_ref().map(|side| side.kind);
            kind(&change.before) == Some(Kind::Dir) && kind(&change.after) != Some(Kind::Dir)
        };
        let holders: BTreeSet<RelPath> = self.kept.keys().flat_map(RelPath::ancestors).collect();
        let (stuck, back): (Vec<Change>, Vec<Change>) = std::mem::take(&mut self.back)
            .into_iter()
            .partition(|change| gives_way(change) && holders.contains(&change.path));
        let stuck: BTreeSet<RelPath> = stuck.into_iter().map(|change| change.path).collect();
        let emptied: BTreeSet<RelPath> =
            back.iter().filter(|change| gives_way(change)).map(|change| change.path.clone()).collect();

        let below =
            |set: &BTreeSet<RelPath>, path: &RelPath| path.ancestors().any(|above| set.contains(&above));
        let mut in_the_way = Vec::new();
        let mut created = Vec::new();
        for change in std::mem::take(&mut self.extra) {
            if below(&emptied, &change.path) {
                in_the_way.push(change);
            } else if below(&stuck, &change.path) {
                // What cannot make way stays whole.
                self.kept.insert(change.path, Stay::Holds);
            } else if self.remove_created || is_leftover(change.path.name()) {
                created.push(change);
            } else {
                self.kept.insert(change.path, Stay::Created);
            }
        }
        let holders: BTreeSet<RelPath> = self.kept.keys().flat_map(RelPath::ancestors).collect();
        let (holding, created): (Vec<Change>, Vec<Change>) =
            created.into_iter().partition(|change| holders.contains(&change.path));
        self.kept.extend(holding.into_iter().map(|change| (change.path, Stay::Holds)));
        self.blocked.extend(stuck.into_iter().map(|path| (path, Stay::Holds)));
        self.blocked.sort_by(|a, b| a.0.cmp(&b.0));

        let is_dir = |change: &Change| change.after.as_ref().is_some_and(|side| side.kind == Kind::Dir);
        let (folders, rest): (Vec<Change>, Vec<Change>) =
            back.into_iter().partition(|change| is_dir(change) && change.what != What::Mode);
        // Deepest first where something goes, folders first where something comes; what was created since goes last,
        // so that a restore that cannot be finished has lost nothing.
        let steps = in_the_way.into_iter().rev().chain(folders).chain(rest).chain(created.into_iter().rev());
        let plan = Plan {
            manifest,
            remove_created: self.remove_created,
            steps: Vec::new(),
            kept: self.kept.into_iter().collect(),
            blocked: self.blocked,
            lost: self.lost,
            missing: Vec::new(),
            bytes: 0,
            root: None,
        };
        (steps.collect(), plan)
    }
}
