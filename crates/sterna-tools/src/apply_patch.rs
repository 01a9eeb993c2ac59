//! `apply_patch`: several files at once, all of them or none.
//!
//! A patch is a list of transitions of single files: from a version (or nothing) to another one. All are worked out and
//! their new contents lie beside their places before the first one is put there. When one fails in the middle, those
//! before it are taken back. When the process dies in the middle, the next attempt goes on: what already is as it is to
//! be is done. It finds the old versions among the blobs, where they are put before anything is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_log::digest;
use sterna_model::{Digest, EffectClass, Fact, ToolSpec};
use sterna_tool::{
    Access, Placeholders, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn, shown,
};

use crate::file::{self, Snapshot, Staged, Trouble};
use crate::patch::{Section, parse as parse_patch};
use crate::patch_match::{Applied, apply};
use crate::support::{Stop, blocking, counted, cut, key, parse, place, planned};
use crate::write::{PREVIEW_BYTES, check_seen, preview, temp_mark};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// The whole patch, from `*** Begin Patch` to `*** End Patch`.
    patch: String,
}

pub(crate) struct ApplyPatch {
    spec: ToolSpec,
}

impl ApplyPatch {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("apply_patch", include_str!("apply_patch.md")) }
    }
}

impl Tool for ApplyPatch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }

    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        let sections = sections(&args)?;
        let located = locate(sections, &cx.cwd, |given| place(&cx.cwd, given))?;
        let places: Vec<&PathBuf> = located.iter().flat_map(Located::places).collect();
        let names: Vec<String> = places.iter().take(NAMED).map(|path| shown(path, &cx.cwd)).collect();
        let more = places.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Ok(Plan {
            summary: format!("patch {}{more}", names.join(", ")),
            preview: preview_of(&located, &cx.cwd),
            accesses: places.into_iter().cloned().map(Access::Write).collect(),
        })
    }

    fn placeholders(&self, _: &Value) -> Placeholders {
        Placeholders::Restore
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: Args = parse(&args)?;
            let located = locate(sections(&args)?, &cx.cwd, |given| planned(&cx, given))?;
            patch(&cx, located).await.map(ToolReturn::Done)
        }
        .boxed()
    }
}

fn sections(args: &Args) -> Result<Vec<Section>, ToolError> {
    parse_patch(&args.patch).map_err(|fault| ToolError::invalid(format!("{fault}; nothing was changed")))
}

/// A section and where its files are.
struct Located {
    section: Section,
    path: PathBuf,
    to: Option<PathBuf>,
}

impl Located {
    fn places(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.path).chain(&self.to)
    }
}

/// Finds the places. No file is named twice: what a second section is about would depend on the first.
fn locate(
    sections: Vec<Section>,
    cwd: &Path,
    find: impl Fn(&str) -> Result<PathBuf, ToolError>,
) -> Result<Vec<Located>, ToolError> {
    let mut known = BTreeSet::new();
    let mut located = Vec::with_capacity(sections.len());
    for section in sections {
        let path = find(section.path())?;
        let to = match &section {
            Section::Update { to: Some(to), .. } => Some(find(to)?),
            Section::Update { to: None, .. } | Section::Add { .. } | Section::Delete { .. } => None,
        };
        let goes = to.is_some() || matches!(section, Section::Delete { .. });
        if goes && cwd.join(section.path()).symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
            return Err(ToolError::invalid(format!(
                "`{}` is a symlink; a patch moves and deletes files only, nothing was changed",
                section.path()
            )));
        }
        let found = Located { section, path, to };
        for place in found.places() {
            if !known.insert(place.clone()) {
                return Err(ToolError::invalid(format!(
                    "`{}` is named twice in the patch; put all its changes in one section, nothing was changed",
                    shown(place, cwd)
                )));
            }
        }
        located.push(found);
    }
    Ok(located)
}

/// One file's way from what it is to what it is to be.
struct Transition {
    path: PathBuf,
    /// The version that was read, where there was a file. Its blob holds it.
    before: Option<Old>,
    /// Of the version before, or of the file that is moved here.
    mode: Option<u32>,
    after: Option<Vec<u8>>,
    /// The file as it is now, when that is not yet done.
    now: Option<Snapshot>,
    done: bool,
}

struct Old {
    bytes: Vec<u8>,
    hash: Digest,
}

/// What is at a place, and the version of it that this session has seen when that is another one.
struct Found {
    now: Option<Snapshot>,
    seen: Option<Digest>,
    old: Option<Bytes>,
}

type World = BTreeMap<PathBuf, Found>;

async fn patch(cx: &ToolContext, located: Vec<Located>) -> Result<ToolDone, ToolError> {
    let mut world = look(cx, &located).await?;
    if cx.attempt > 1 {
        // What the attempt before this one has replaced lies among the blobs.
        for found in world.values_mut() {
            let now = found.now.as_ref().map(|now| now.hash);
            if let Some(seen) = found.seen.filter(|seen| Some(*seen) != now) {
                found.old = cx.blobs.get(&seen).await.ok();
            }
        }
    }
    let (cwd, again) = (cx.cwd.clone(), cx.attempt > 1);
    let worked_out = blocking(&cx.cancel, move |_| Ok(work_out(&located, world, &cwd, again))).await?;
    for transition in worked_out.transitions.iter().filter(|transition| !transition.done) {
        let Some(before) = &transition.before else { continue };
        cx.blobs.put(Bytes::from(before.bytes.clone())).await.map_err(|error| {
            let name = shown(&transition.path, &cx.cwd);
            ToolError::failed(format!(
                "the old version of `{name}` could not be kept, so nothing was changed: {error}"
            ))
        })?;
    }
    let (cwd, mark) = (cx.cwd.clone(), temp_mark(&cx.key));
    blocking(&cx.cancel, move |stop| commit(worked_out, &cwd, &mark, stop)).await
}

/// Reads every file of the patch.
async fn look(cx: &ToolContext, located: &[Located]) -> Result<World, ToolError> {
    let places: Vec<PathBuf> = located.iter().flat_map(Located::places).cloned().collect();
    let (cwd, view) = (cx.cwd.clone(), cx.view.clone());
    blocking(&cx.cancel, move |stop| {
        let mut world = World::new();
        for path in places {
            stop.check()?;
            let now = match file::read(&path) {
                Ok(snapshot) => Some(snapshot),
                Err(Trouble::Missing) => None,
                Err(other) => return Err(untouched(other.told(&path, &cwd))),
            };
            let seen = view.files.get(&key(&path)).copied();
            world.insert(path, Found { now, seen, old: None });
        }
        Ok(world)
    })
    .await
}

/// What is to be done, or what is in the way.
struct WorkedOut {
    transitions: Vec<Transition>,
    told: Vec<String>,
    trouble: Option<ToolError>,
}

fn work_out(located: &[Located], mut world: World, cwd: &Path, again: bool) -> WorkedOut {
    let mut all = WorkedOut { transitions: Vec::new(), told: Vec::new(), trouble: None };
    for located in located {
        match section(located, &mut world, cwd, again) {
            Ok((transitions, told)) => {
                all.transitions.extend(transitions);
                all.told.push(told);
            }
            // The rest is looked at all the same: a crash may have left a part of it done.
            Err(error) => {
                all.trouble.get_or_insert(error);
            }
        }
    }
    all
}

fn section(
    located: &Located,
    world: &mut World,
    cwd: &Path,
    again: bool,
) -> Result<(Vec<Transition>, String), ToolError> {
    let path = &located.path;
    let name = shown(path, cwd);
    let mut take = |path: &Path| world.remove(path).unwrap_or(Found { now: None, seen: None, old: None });
    match &located.section {
        Section::Add { content, .. } => {
            let made = new_file(path, &name, content.clone().into_bytes(), None, take(path), again)?;
            Ok((vec![made], format!("added `{name}` ({})", counted(content.lines().count(), "line"))))
        }
        Section::Delete { .. } => {
            let old = known(path, &name, take(path), None, cwd, again)?;
            Ok((vec![old.gone(path)], format!("deleted `{name}`")))
        }
        Section::Update { to, hunks, .. } => {
            let found = take(path);
            let to = to.as_ref().and(located.to.as_ref());
            let change = |old: &[u8]| changed(old, hunks, &name);
            let whole: &dyn Fn(&[u8]) -> Result<Vec<u8>, ToolError> =
                &|old| change(old).map(|applied| applied.text.into_bytes());
            let old = known(path, &name, found, to.is_none().then_some(whole), cwd, again)?;
            let applied = change(&old.old.bytes)?;
            if to.is_none() && applied.text.as_bytes() == old.old.bytes {
                let what = format!("`{name}` already is as the patch would make it");
                return Err(untouched(ToolError::failed(what)));
            }
            let hunks = counted(hunks.len(), "hunk");
            let note = tolerance(&applied);
            let after = applied.text.into_bytes();
            Ok(match to {
                None => (vec![old.becomes(path, after)], format!("updated `{name}` ({hunks}){note}")),
                Some(to) => {
                    let new_name = shown(to, cwd);
                    let made = new_file(to, &new_name, after, old.mode, take(to), again)?;
                    let told = format!("moved `{name}` to `{new_name}` ({hunks}){note}");
                    // The new one first: between the two there are both, and never none.
                    (vec![made, old.gone(path)], told)
                }
            })
        }
    }
}

fn new_file(
    path: &Path,
    name: &str,
    content: Vec<u8>,
    mode: Option<u32>,
    found: Found,
    again: bool,
) -> Result<Transition, ToolError> {
    let done = match &found.now {
        None => false,
        Some(now) if again && now.bytes == content => true,
        Some(_) => {
            let what = format!("`{name}` exists already; change it with `*** Update File:`");
            return Err(untouched(ToolError::failed(what)));
        }
    };
    let after = Some(content);
    Ok(Transition { path: path.to_owned(), before: None, mode, after, now: found.now, done })
}

/// A file that the session has seen, as it was then.
struct Known {
    old: Old,
    mode: Option<u32>,
    now: Option<Snapshot>,
    /// It is not there any more as it was: an attempt before this one has come this far.
    done: bool,
}

impl Known {
    fn becomes(self, path: &Path, after: Vec<u8>) -> Transition {
        let Self { old, mode, now, done } = self;
        Transition { path: path.to_owned(), before: Some(old), mode, after: Some(after), now, done }
    }

    fn gone(self, path: &Path) -> Transition {
        let Self { old, mode, now, done } = self;
        Transition { path: path.to_owned(), before: Some(old), mode, after: None, now, done }
    }
}

/// `change` makes the new content of a file that stays; without it the file goes.
fn known(
    path: &Path,
    name: &str,
    found: Found,
    change: Option<&dyn Fn(&[u8]) -> Result<Vec<u8>, ToolError>>,
    cwd: &Path,
    again: bool,
) -> Result<Known, ToolError> {
    let Found { now, seen, old } = found;
    match (now, seen, old) {
        (Some(now), Some(seen), _) if now.hash == seen => {
            let old = Old { bytes: now.bytes.clone(), hash: now.hash };
            Ok(Known { old, mode: Some(now.mode), now: Some(now), done: false })
        }
        (Some(now), Some(seen), Some(old))
            if again && change.is_some_and(|change| change(&old).is_ok_and(|new| new == now.bytes)) =>
        {
            let old = Old { bytes: old.to_vec(), hash: seen };
            Ok(Known { old, mode: Some(now.mode), now: Some(now), done: true })
        }
        (None, Some(seen), Some(old)) if again && change.is_none() => {
            let old = Old { bytes: old.to_vec(), hash: seen };
            Ok(Known { old, mode: None, now: None, done: true })
        }
        (Some(now), seen, _) => {
            check_seen(name, seen, now.hash).map_err(untouched)?;
            // `check_seen` refuses whatever the first arm has not taken.
            Err(untouched(ToolError::failed(file::stale(name))))
        }
        (None, _, _) => Err(untouched(Trouble::Missing.told(path, cwd))),
    }
}

fn changed(old: &[u8], hunks: &[crate::patch::Hunk], name: &str) -> Result<Applied, ToolError> {
    let text = std::str::from_utf8(old).map_err(|error| {
        let at = error.valid_up_to();
        untouched(ToolError::failed(format!(
            "`{name}` is not UTF-8 text (byte {at}); change it with shell and a program that knows its encoding"
        )))
    })?;
    apply(text, hunks).map_err(|misfit| {
        let what = format!("hunk {} of `{name}` does not fit: {}", misfit.hunk, misfit.what);
        untouched(ToolError::failed(what))
    })
}

fn tolerance(applied: &Applied) -> String {
    if applied.tolerant.is_empty() {
        return String::new();
    }
    let hunks: Vec<String> = applied.tolerant.iter().map(usize::to_string).collect();
    format!("; differences in whitespace were ignored in hunk {}", hunks.join(", "))
}

fn commit(worked_out: WorkedOut, cwd: &Path, mark: &str, stop: &Stop) -> Result<ToolDone, ToolError> {
    let WorkedOut { transitions, told, trouble } = worked_out;
    let mut undo = Undo { done: Vec::new(), folders: Vec::new(), cwd, mark };
    let mut facts = Vec::new();
    for transition in &transitions {
        facts.push(transition.fact());
        if transition.done {
            undo.done.push(transition);
        }
    }
    if let Some(trouble) = trouble {
        return Err(undo.all(trouble));
    }
    let mut staged: Vec<(&Transition, Option<Staged>)> = Vec::new();
    for (at, transition) in transitions.iter().enumerate().filter(|(_, transition)| !transition.done) {
        undo.folders.extend(missing_folders(&transition.path));
        let stage = |bytes: &Vec<u8>| {
            stop.check().map_err(|_| Trouble::Stopped)?;
            Staged::new(&transition.path, bytes, transition.mode, &format!("{mark}-{at}"))
        };
        match transition.after.as_ref().map(stage).transpose() {
            Ok(new) => staged.push((transition, new)),
            Err(trouble) => {
                drop(staged);
                return Err(undo.all(untouched(trouble.told(&transition.path, cwd))));
            }
        }
    }
    let mut waiting = staged.into_iter();
    for (transition, new) in waiting.by_ref() {
        let put = match (new, &transition.now) {
            (Some(new), now) => new.commit(now.as_ref(), stop),
            (None, Some(now)) => file::remove(&transition.path, now, stop),
            (None, None) => Ok(()),
        };
        if let Err(trouble) = put {
            // What lies beside its place goes before the folders that were made for it.
            drop(waiting);
            return Err(undo.all(untouched(trouble.told(&transition.path, cwd))));
        }
        undo.done.push(transition);
    }
    Ok(ToolDone { facts, ..ToolDone::text(told.join("\n")) })
}

/// What was done so far, to be taken back when the rest cannot be done.
struct Undo<'a> {
    done: Vec<&'a Transition>,
    /// Folders that were not there, outermost first for each file.
    folders: Vec<PathBuf>,
    cwd: &'a Path,
    mark: &'a str,
}

impl Undo<'_> {
    /// Takes everything back, and adds to the error what could not be.
    fn all(self, mut error: ToolError) -> ToolError {
        let mut left = Vec::new();
        for transition in self.done.iter().rev() {
            if transition.take_back(self.mark).is_err() {
                left.push(format!("`{}`", shown(&transition.path, self.cwd)));
            }
        }
        for folder in self.folders.iter().rev() {
            // One that is not empty is not ours alone.
            drop(file::remove_folder(folder));
        }
        if !left.is_empty() {
            error.message = error.message.replace(UNTOUCHED, "");
            error.message.push_str(&format!(
                "; {} stayed changed, because somebody else changed it meanwhile or it cannot be written: read it again",
                left.join(", ")
            ));
        }
        error
    }
}

impl Transition {
    fn fact(&self) -> Fact {
        let path = key(&self.path);
        let before = self.before.as_ref().map(|before| before.hash);
        match &self.after {
            Some(after) => Fact::FileWritten { path, before, after: digest(after) },
            None => Fact::FileRemoved { path, before },
        }
    }

    /// Puts the old version back, when the new one is still there.
    fn take_back(&self, mark: &str) -> Result<(), Trouble> {
        let never = Stop::never();
        let now = match file::read(&self.path) {
            Ok(now) => Some(now),
            Err(Trouble::Missing) => None,
            Err(other) => return Err(other),
        };
        if now.as_ref().map(|now| now.hash) != self.after.as_ref().map(|after| digest(after)) {
            return Err(Trouble::Changed);
        }
        match (&self.before, &now) {
            (Some(before), now) => {
                Staged::new(&self.path, &before.bytes, self.mode, mark)?.commit(now.as_ref(), &never)
            }
            (None, Some(now)) => file::remove(&self.path, now, &never),
            (None, None) => Ok(()),
        }
    }
}

/// Folders on the way to a file that are not there, outermost first.
fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> =
        path.ancestors().skip(1).take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

fn untouched(mut error: ToolError) -> ToolError {
    error.message.push_str(UNTOUCHED);
    error
}

/// The diffs, as far as the patch fits. The call will say what is wrong.
fn preview_of(located: &[Located], cwd: &Path) -> Option<String> {
    let mut all = String::new();
    for located in located {
        let name = shown(&located.path, cwd);
        let bytes = |path: &Path| file::read(path).map(|snapshot| snapshot.bytes).unwrap_or_default();
        let diff = match &located.section {
            Section::Add { content, .. } => preview(&name, b"", content.as_bytes()),
            Section::Delete { .. } => preview(&name, &bytes(&located.path), b""),
            Section::Update { hunks, .. } => {
                let old = bytes(&located.path);
                changed(&old, hunks, &name).ok().and_then(|new| preview(&name, &old, new.text.as_bytes()))
            }
        };
        if let Some(to) = &located.to {
            all.push_str(&format!("{name} becomes {}\n", shown(to, cwd)));
        }
        all.push_str(&diff.unwrap_or_default());
        if all.len() > PREVIEW_BYTES {
            break;
        }
    }
    (!all.is_empty()).then(|| cut(&all, PREVIEW_BYTES).to_owned())
}

const UNTOUCHED: &str = "; nothing was changed";
/// Files that the summary names.
const NAMED: usize = 3;
