//! Where skills, prompt files and agents stand, and reading them. Folders of a project give only the bytes that somebody
//! trusted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use sterna_model::Digest;

use super::agent_file::parse_agent;
use super::front::{MAX_FILE, Problem, Weight};
use super::skill::SkillText;
use super::slash::{CommandText, parse_command};
use crate::AgentType;
use crate::file::{self, Trouble};

/// The folders that count, the first one first: of two things with one name the first counts.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    /// Each holds `NAME/SKILL.md`.
    pub skills: Vec<Place>,
    /// Each holds `NAME.md`.
    pub commands: Vec<Place>,
    /// Each holds `NAME.md`.
    pub agents: Vec<Place>,
}

/// One folder.
#[derive(Debug, Clone)]
pub struct Place {
    pub dir: PathBuf,
    pub origin: Origin,
    /// Only these files, with these contents. `None`: whatever is there.
    pins: Option<Arc<Pins>>,
}

/// What the files of a trusted folder must hash to, by absolute path.
pub type Pins = BTreeMap<PathBuf, Digest>;

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Project,
    User,
}

/// Something that a file describes.
#[derive(Debug, Clone)]
pub struct Found<T> {
    pub name: String,
    pub file: PathBuf,
    pub place: Place,
    pub what: T,
}

/// What folders hold.
#[derive(Debug, Clone)]
pub struct Shelved<T> {
    /// Sorted by name, each name once.
    pub found: Vec<Found<T>>,
    /// Also of files that are used all the same.
    pub problems: Vec<FileProblem>,
}

/// Something wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileProblem {
    pub file: PathBuf,
    #[serde(flatten)]
    pub problem: Problem,
}

impl Shelf {
    /// Whether there is a folder of skills. Reads nothing.
    pub fn has_skills(&self) -> bool {
        self.skills.iter().any(Place::is_there)
    }

    /// Whether there is a folder of agents. Reads nothing.
    pub fn has_agents(&self) -> bool {
        self.agents.iter().any(Place::is_there)
    }

    pub fn skills(&self) -> Shelved<SkillText> {
        let read = |place: &Place| {
            let files = if place.pins.is_some() { place.pinned(true) } else { place.folders() };
            files.map(|(name, file)| (file, name)).collect()
        };
        shelved(&self.skills, read, |text, name| {
            let (skill, problems) = SkillText::parse(text, name);
            (skill.map(|skill| (skill.name.clone(), skill)), problems)
        })
    }

    pub fn commands(&self) -> Shelved<CommandText> {
        shelved(&self.commands, Place::sheets, |text, stem| {
            let (command, problems) = parse_command(text, stem);
            (command.map(|command| (stem.to_owned(), command)), problems)
        })
    }

    pub fn agents(&self) -> Shelved<AgentType> {
        shelved(&self.agents, Place::sheets, |text, stem| {
            let (agent, problems) = parse_agent(text, stem);
            (agent.map(|agent| (agent.name.clone(), agent)), problems)
        })
    }
}

impl Place {
    /// A folder of the person's own: whatever is there counts.
    pub fn user(dir: PathBuf) -> Self {
        Self { dir, origin: Origin::User, pins: None }
    }

    /// A folder of a project: the files that somebody trusted count, as they were then.
    pub fn project(dir: PathBuf, pins: Arc<Pins>) -> Self {
        Self { dir, origin: Origin::Project, pins: Some(pins) }
    }

    /// A folder of a project as it is now, for a person who looks at it.
    pub fn project_now(dir: PathBuf) -> Self {
        Self { dir, origin: Origin::Project, pins: None }
    }

    fn is_there(&self) -> bool {
        match &self.pins {
            Some(pins) => {
                pins.range(self.dir.clone()..).next().is_some_and(|(at, _)| at.starts_with(&self.dir))
            }
            None => self.dir.is_dir(),
        }
    }

    /// Folders with a `SKILL.md`, by name.
    fn folders(&self) -> Box<dyn Iterator<Item = (String, PathBuf)> + '_> {
        let with_file = |name: String| Some((name.clone(), skill_file(&self.dir.join(&name))?));
        Box::new(names(&self.dir).into_iter().filter_map(with_file))
    }

    /// `NAME.md`, by name.
    fn sheets(&self) -> Vec<(PathBuf, String)> {
        let all: Vec<(String, PathBuf)> = match self.pins {
            Some(_) => self.pinned(false).collect(),
            None => names(&self.dir).into_iter().map(|name| (name.clone(), self.dir.join(name))).collect(),
        };
        let sheet = |(name, path): (String, PathBuf)| {
            let stem = name.strip_suffix(".md").filter(|stem| !stem.is_empty())?.to_owned();
            (self.pins.is_some() || path.is_file()).then_some((path, stem))
        };
        all.into_iter().filter_map(sheet).collect()
    }

    /// Trusted files: of each folder its `SKILL.md`, or those that stand here themselves.
    fn pinned(&self, of_folders: bool) -> Box<dyn Iterator<Item = (String, PathBuf)> + '_> {
        let Some(pins) = &self.pins else { return Box::new(std::iter::empty()) };
        let below = pins.range(self.dir.clone()..).take_while(|(path, _)| path.starts_with(&self.dir));
        let found = below.filter_map(move |(path, _)| {
            let parts: Vec<&str> =
                path.strip_prefix(&self.dir).ok()?.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
            match (of_folders, parts.as_slice()) {
                (true, [name, file]) if SKILL_FILES.contains(file) => {
                    Some(((*name).to_owned(), path.clone()))
                }
                (false, [name]) => Some(((*name).to_owned(), path.clone())),
                _ => None,
            }
        });
        Box::new(found.take(MAX_ENTRIES))
    }

    /// A file's bytes, whole: of a project only if it still is what was trusted.
    fn read(&self, path: &Path, inside: &Path, most: usize) -> Result<Vec<u8>, String> {
        let told = |error: std::io::Error| error.to_string();
        let real = fs::canonicalize(path).map_err(told)?;
        let inside = fs::canonicalize(inside).map_err(told)?;
        if !real.starts_with(&inside) {
            return Err("a link leads out of its folder".into());
        }
        let size = fs::metadata(&real).map_err(told)?.len();
        if size > most as u64 {
            return Err(format!("it has {size} bytes; {most} are allowed"));
        }
        let snapshot = file::read(&real).map_err(|trouble| match trouble {
            Trouble::Missing => "there is no such file".to_owned(),
            Trouble::Folder => "it is a folder".to_owned(),
            Trouble::Special(what) => format!("it is {what}, not a regular file"),
            Trouble::TooLarge(size) => format!("it has {size} bytes; {most} are allowed"),
            Trouble::Moved | Trouble::Changed | Trouble::Busy | Trouble::Stopped => {
                "it changed while it was read".to_owned()
            }
            Trouble::Io(error) => error.to_string(),
        })?;
        match self.pins.as_ref().map(|pins| pins.get(path)) {
            None => Ok(snapshot.bytes),
            Some(Some(hash)) if *hash == snapshot.hash => Ok(snapshot.bytes),
            Some(Some(_)) => {
                Err("it is not what was trusted any more: `sterna trust` trusts it as it is".into())
            }
            Some(None) => Err("it was not there when the folder was trusted".into()),
        }
    }
}

impl<T> Found<T> {
    /// The folder that its file stands in.
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// A file below the folder, as text. `name` has folders separated by `/` and nothing else of a path.
    pub fn resource(&self, name: &str) -> Result<String, String> {
        let plain = !name.is_empty()
            && !name.contains(['\\', '\0'])
            && !name.split('/').any(|part| part.is_empty() || part == "." || part == "..")
            && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !plain {
            return Err(format!(
                "`{name}` must name a file below the skill's folder, such as `references/more.md`"
            ));
        }
        let folder = self.folder();
        let bytes = self.place.read(&folder.join(name), folder, MAX_RESOURCE);
        let bytes = bytes.map_err(|why| format!("`{name}` cannot be read: {why}"))?;
        String::from_utf8(bytes).map_err(|_| format!("`{name}` is not text"))
    }

    /// Names of the files below the folder, without its own; at most 100.
    pub fn files(&self) -> Vec<String> {
        let folder = self.folder();
        let mut files = Vec::new();
        match &self.place.pins {
            Some(pins) => {
                let below = pins.range(folder.to_owned()..).map(|(path, _)| path);
                let below = below.take_while(|path| path.starts_with(folder)).take(MAX_FILES + 1);
                files.extend(below.cloned());
            }
            None => walk(folder, 0, &mut files),
        }
        let name = |path: &PathBuf| Some(path.strip_prefix(folder).ok()?.to_str()?.to_owned());
        files.iter().filter(|path| **path != self.file).filter_map(name).take(MAX_FILES).collect()
    }
}

impl FileProblem {
    /// `file:line: message`
    pub fn told(&self) -> String {
        format!("{}:{}: {}", self.file.display(), self.problem.line, self.problem.message)
    }
}

/// The `SKILL.md` of a skill's folder.
pub fn skill_file(folder: &Path) -> Option<PathBuf> {
    SKILL_FILES.iter().map(|name| folder.join(name)).find(|file| file.is_file())
}

/// The text of a file that a person points at.
pub fn read_text(file: &Path) -> Result<String, String> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let bytes = Place::user(folder.to_owned()).read(file, folder, MAX_FILE)?;
    String::from_utf8(bytes).map_err(|_| NOT_TEXT.to_owned())
}

/// Reads what places hold. `list` gives files with the names that they imply, `parse` what a file says.
fn shelved<T>(
    places: &[Place],
    list: impl Fn(&Place) -> Vec<(PathBuf, String)>,
    parse: impl Fn(&str, &str) -> (Option<(String, T)>, Vec<Problem>),
) -> Shelved<T> {
    let mut by_name: BTreeMap<String, Found<T>> = BTreeMap::new();
    let mut all = Vec::new();
    for place in places {
        for (file, implied) in list(place) {
            let mut say = |problem: Problem| all.push(FileProblem { file: file.clone(), problem });
            let bytes = match place.read(&file, file.parent().unwrap_or(&place.dir), MAX_FILE) {
                Ok(bytes) => bytes,
                Err(why) => {
                    say(Problem::error(1, why));
                    continue;
                }
            };
            let Ok(text) = String::from_utf8(bytes) else {
                say(Problem::error(1, NOT_TEXT));
                continue;
            };
            let (what, problems) = parse(&text, &implied);
            problems.into_iter().for_each(&mut say);
            let Some((name, what)) = what else { continue };
            if let Some(first) = by_name.get(&name) {
                let message = format!("`{name}` is not used: {} comes first", first.file.display());
                say(Problem::new(1, Weight::Shadowed, message));
                continue;
            }
            by_name.insert(name.clone(), Found { name, file, place: place.clone(), what });
        }
    }
    Shelved { found: by_name.into_values().collect(), problems: all }
}

/// Names in a folder, sorted, without hidden ones.
fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).take(MAX_ENTRIES).collect();
    names.sort();
    names
}

fn walk(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    for name in names(dir) {
        if files.len() > MAX_FILES {
            return;
        }
        let path = dir.join(name);
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() && depth < MAX_DEPTH => walk(&path, depth + 1, files),
            Ok(meta) if meta.is_file() => files.push(path),
            _ => {}
        }
    }
}

const NOT_TEXT: &str = "the file is not UTF-8";
/// What the specification calls it, and what others have made of that.
const SKILL_FILES: [&str; 2] = ["SKILL.md", "skill.md"];
/// Entries of one folder that are looked at.
const MAX_ENTRIES: usize = 500;
/// Files of a skill that are named.
const MAX_FILES: usize = 100;
const MAX_DEPTH: usize = 4;
const MAX_RESOURCE: usize = 1 << 20;
