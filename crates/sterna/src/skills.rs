//! Skills, prompt files and agents of the person and of a trusted project, and what the prompt says of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sterna_context::Section;
use sterna_model::Stability;
pub use sterna_tools::skills::Weight as ProblemWeight;
pub use sterna_tools::skills::{
    CommandText, Expansion, FileProblem, Found, KEPT_TOOLS, Origin, Problem, Shelf, Shelved, SkillText,
    Slash, nearest, parse_agent, parse_command, read_text, skill_file,
};
use sterna_tools::skills::{Pins, Place, Weight};
use sterna_tools::{AgentType, skill_line};

use crate::trust::Project;

/// The folders that count: those of a project that is trusted, the nearest first, then the person's own. Looks at
/// nothing.
pub fn shelf(user: &Path, project: Option<&Project>) -> Shelf {
    let mut shelf = Shelf::default();
    if let Some(project) = project {
        let pins: Arc<Pins> =
            Arc::new(project.files.iter().map(|file| (project.root.join(&file.path), file.hash)).collect());
        let place = |dir: PathBuf| Place::project(dir, pins.clone());
        shelf.skills = of_trees(project, "skills").map(place).collect();
        shelf.commands = of_trees(project, "commands").map(place).collect();
        shelf.agents = of_trees(project, "agents").map(place).collect();
    }
    add_user(&mut shelf, user);
    shelf
}

/// The same for a person who looks at it: folders of `cwd` and above up to `root`, trusted or not, as they are now.
pub fn shelf_now(user: &Path, root: &Path, cwd: &Path) -> Shelf {
    let mut shelf = Shelf::default();
    for dir in cwd.ancestors().take_while(|dir| dir.starts_with(root)) {
        for (kind, places) in
            [("skills", &mut shelf.skills), ("commands", &mut shelf.commands), ("agents", &mut shelf.agents)]
        {
            let trees = TREES.iter().filter(|tree| trees_of(kind).contains(*tree));
            places.extend(trees.map(|tree| Place::project_now(dir.join(tree).join(kind))));
        }
    }
    add_user(&mut shelf, user);
    shelf
}

/// The agents of these folders. Files that cannot be used are told of.
pub(crate) fn agents(shelf: &Shelf, notice: &Arc<dyn Fn(&str) + Send + Sync>) -> Vec<AgentType> {
    if !shelf.has_agents() {
        return Vec::new();
    }
    let agents = shelf.agents();
    for problem in agents.problems.iter().filter(|of| of.problem.weight >= Weight::Shadowed) {
        notice(&problem.told());
    }
    agents.found.into_iter().map(|agent| agent.what).collect()
}

/// What the prompt says of skills.
pub(crate) struct Catalogue {
    shelf: Arc<Shelf>,
    notice: Arc<dyn Fn(&str) + Send + Sync>,
    /// What was said already.
    said: Mutex<BTreeSet<String>>,
}

impl Catalogue {
    pub(crate) fn new(shelf: Arc<Shelf>, notice: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        Self { shelf, notice, said: Mutex::default() }
    }

    /// The skills that the model may load, a section for each folder. Reads their files.
    pub(crate) fn sections(&self) -> Vec<Section> {
        let skills = self.shelf.skills();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for problem in skills.problems.iter().filter(|of| of.problem.weight >= Weight::Shadowed) {
            if said.insert(problem.told()) {
                (self.notice)(&problem.told());
            }
        }
        let open: Vec<&Found<SkillText>> = skills.found.iter().filter(|skill| !skill.what.disabled).collect();
        let lines = fitting(open.iter().map(|skill| skill_line(skill)).collect(), MAX_BYTES);
        let left_out = open.len() - lines.len();
        let mut folders: Vec<(&Path, String)> = Vec::new();
        for (skill, line) in open.iter().zip(lines) {
            let dir = skill.place.dir.as_path();
            match folders.iter_mut().find(|(held, _)| *held == dir) {
                Some((_, text)) => {
                    text.push('\n');
                    text.push_str(&line);
                }
                None => folders.push((dir, line)),
            }
        }
        if folders.is_empty() {
            return Vec::new();
        }
        // Those of a place that comes first stand first.
        folders.sort_by_key(|(dir, _)| self.shelf.skills.iter().position(|place| place.dir == *dir));
        let mut sections: Vec<Section> = Vec::new();
        let mut add = |owner: String, text: String| {
            let name = format!("skills/{}", sections.len() + 1);
            sections.push(Section { name, owner, stability: Stability::Frame, text });
        };
        add("sterna".into(), TITLE.into());
        for (dir, text) in folders {
            add(dir.display().to_string(), text);
        }
        if left_out > 0 {
            add("sterna".into(), format!("[{left_out} more: `skill` without a name lists them all.]"));
        }
        sections
    }
}

/// Lines within the bound: long ones are cut, then the last are left out.
fn fitting(mut lines: Vec<String>, most: usize) -> Vec<String> {
    let bytes = |lines: &[String]| lines.iter().map(|line| line.len() + 1).sum::<usize>();
    if bytes(&lines) > most {
        let each = (most / lines.len().max(1)).max(MIN_LINE);
        for line in &mut lines {
            if line.len() > each {
                line.truncate(line.floor_char_boundary(each.saturating_sub(" …".len())));
                line.push_str(" …");
            }
        }
    }
    while bytes(&lines) > most {
        lines.pop();
    }
    lines
}

/// Folders of this kind in which the project has files: the nearest to the work first, then in the order of `TREES`.
fn of_trees<'a>(project: &'a Project, kind: &'static str) -> impl Iterator<Item = PathBuf> + 'a {
    let mut found: Vec<(usize, usize, PathBuf)> = Vec::new();
    for file in &project.files {
        let parts: Vec<&str> = file.path.split('/').collect();
        let at = |at: usize| {
            let tree = trees_of(kind).iter().position(|tree| parts[at] == *tree)?;
            (parts.get(at + 1) == Some(&kind)).then_some((at, tree))
        };
        // The first: what lies deeper is a file of it.
        let Some((depth, tree)) = (0..parts.len()).find_map(at) else { continue };
        let dir = project.root.join(parts[..depth + 2].join("/"));
        if !found.iter().any(|(_, _, held)| *held == dir) {
            found.push((depth, tree, dir));
        }
    }
    found.sort_by_key(|(depth, tree, _)| (std::cmp::Reverse(*depth), *tree));
    found.into_iter().map(|(_, _, dir)| dir)
}

fn trees_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "commands" => &[".sterna", ".claude"],
        _ => &TREES,
    }
}

fn add_user(shelf: &mut Shelf, user: &Path) {
    shelf.skills.push(Place::user(user.join("skills")));
    shelf.commands.push(Place::user(user.join("commands")));
    shelf.agents.push(Place::user(user.join("agents")));
}

/// In this order; `trust` hashes what stands in them.
const TREES: [&str; 3] = [".sterna", ".agents", ".claude"];
/// Bytes of the list of skills in the prompt.
const MAX_BYTES: usize = 8 << 10;
/// A line is not cut shorter than this.
const MIN_LINE: usize = 120;
const TITLE: &str = "# Skills\nInstructions for kinds of work. When a task fits one of them, load it with the tool `skill` before you begin.";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::trust::Look;

    struct World {
        dir: tempfile::TempDir,
    }

    impl World {
        fn new(files: &[(&str, &str)]) -> Self {
            let world = Self { dir: tempfile::tempdir().unwrap() };
            fs::create_dir_all(world.at("work/.git")).unwrap();
            for (path, text) in files {
                world.write(path, text);
            }
            world
        }

        fn at(&self, path: &str) -> PathBuf {
            fs::canonicalize(self.dir.path()).unwrap().join(path)
        }

        fn write(&self, path: &str, text: &str) {
            fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
            fs::write(self.at(path), text).unwrap();
        }

        /// As if somebody had trusted what there is now.
        fn project(&self, cwd: &str) -> Option<Project> {
            Project::find(&self.at(cwd), Look { own: &[self.at("user")], home: Some(&self.at("")) })
        }

        fn shelf(&self, cwd: &str) -> Shelf {
            shelf(&self.at("user"), self.project(cwd).as_ref())
        }

        fn short(&self, text: impl std::fmt::Display) -> String {
            text.to_string()
                .replace(&format!("{}/", self.at("").display().to_string().trim_end_matches('/')), "")
        }
    }

    fn skill(name: &str, description: &str) -> String {
        format!("---\nname: {name}\ndescription: {description}\n---\nBody of {description}: $ARGUMENTS\n")
    }

    fn named<T>(world: &World, shelved: &Shelved<T>) -> Vec<(String, String)> {
        shelved.found.iter().map(|of| (of.name.clone(), world.short(of.file.display()))).collect()
    }

    #[test]
    fn the_first_place_wins_and_doubles_are_told() {
        let world = World::new(&[
            ("work/.claude/skills/a/SKILL.md", &skill("a", "claude")),
            ("work/.agents/skills/a/SKILL.md", &skill("a", "agents")),
            ("work/.sterna/skills/b/SKILL.md", &skill("b", "root")),
            ("work/sub/.claude/skills/b/SKILL.md", &skill("b", "near")),
            ("work/sub/.claude/skills/b/sub/SKILL.md", &skill("sub", "no skill")),
            ("user/skills/a/SKILL.md", &skill("a", "user")),
            ("user/skills/c/skill.md", &skill("c", "user's c")),
            ("user/skills/broken/SKILL.md", "nothing"),
        ]);
        let skills = world.shelf("work/sub").skills();
        let want = [
            ("a", "work/.agents/skills/a/SKILL.md"),
            ("b", "work/sub/.claude/skills/b/SKILL.md"),
            ("c", "user/skills/c/skill.md"),
        ];
        let want: Vec<_> = want.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        assert_eq!(named(&world, &skills), want);
        let told: Vec<String> = skills.problems.iter().map(|problem| world.short(problem.told())).collect();
        let told_want = [
            "work/.sterna/skills/b/SKILL.md:1: `b` is not used: work/sub/.claude/skills/b/SKILL.md comes first",
            "work/.claude/skills/a/SKILL.md:1: `a` is not used: work/.agents/skills/a/SKILL.md comes first",
            "user/skills/a/SKILL.md:1: `a` is not used: work/.agents/skills/a/SKILL.md comes first",
            "user/skills/broken/SKILL.md:1: the file must begin with front matter: a line `---` first",
        ];
        assert_eq!(told, told_want);
        // Nobody trusts the project: nothing of it is there.
        let own = shelf(&world.at("user"), None).skills();
        assert_eq!(named(&world, &own).len(), 2);
    }

    #[test]
    fn only_what_was_trusted_is_read() {
        let world = World::new(&[
            ("work/.sterna/skills/a/SKILL.md", &skill("a", "first")),
            ("work/.sterna/skills/a/more.md", "more"),
            ("work/.sterna/commands/go.md", "Go $ARGUMENTS"),
            ("work/.claude/agents/r.md", "---\ndescription: d\n---\nx"),
        ]);
        let shelf = world.shelf("work");
        let found = shelf.skills().found;
        assert_eq!(found[0].resource("more.md").unwrap(), "more");
        assert_eq!((shelf.commands().found.len(), shelf.agents().found.len()), (1, 1));
        world.write("work/.sterna/skills/a/more.md", "evil");
        world.write("work/.sterna/skills/a/new.md", "new");
        world.write("work/.sterna/skills/b/SKILL.md", &skill("b", "new"));
        world.write("work/.sterna/commands/go.md", "evil");
        world.write("work/.claude/agents/r.md", "---\ndescription: d\n---\nevil");
        assert!(found[0].resource("more.md").unwrap_err().contains("not what was trusted"));
        assert!(found[0].resource("new.md").unwrap_err().contains("was not there"));
        assert_eq!(found[0].files(), ["more.md"]);
        assert_eq!(shelf.skills().found.len(), 1);
        assert_eq!((shelf.commands().found.len(), shelf.agents().found.len()), (0, 0));
        world.write("work/.sterna/skills/a/SKILL.md", &skill("a", "other"));
        let skills = shelf.skills();
        assert!(skills.found.is_empty() && skills.problems[0].problem.message.contains("sterna trust"));
    }

    #[test]
    fn the_prompt_names_what_the_model_may_load() {
        let closed = "---\nname: closed\ndescription: hidden\ndisable-model-invocation: true\n---\nx";
        let world = World::new(&[
            ("work/.sterna/skills/a/SKILL.md", &skill("a", "does a")),
            ("user/skills/b/SKILL.md", &skill("b", "does b")),
            ("user/skills/a/SKILL.md", &skill("a", "shadowed")),
            ("user/skills/closed/SKILL.md", closed),
        ]);
        let notes: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = notes.clone();
        let notice = Arc::new(move |text: &str| kept.lock().unwrap().push(text.to_owned()));
        let catalogue = Catalogue::new(Arc::new(world.shelf("work")), notice);
        let sections = catalogue.sections();
        let told: Vec<(String, String)> =
            sections.iter().skip(1).map(|of| (world.short(&of.owner), of.text.clone())).collect();
        let want = [("work/.sterna/skills", "- a: does a"), ("user/skills", "- b: does b")];
        assert_eq!(told, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert!(sections.iter().all(|section| section.stability == Stability::Frame));
        assert_eq!(catalogue.sections(), sections);
        assert_eq!(notes.lock().unwrap().len(), 1, "a double is told once");
        let nothing = World::new(&[]);
        assert_eq!(Catalogue::new(Arc::new(nothing.shelf("work")), Arc::new(|_: &str| {})).sections(), []);
    }

    #[test]
    fn a_long_list_is_cut() {
        let lines = |n: usize, long: usize| -> Vec<String> { (0..n).map(|_| "é".repeat(long)).collect() };
        assert_eq!(fitting(lines(3, 10), 1_000), lines(3, 10));
        let cut = fitting(lines(10, 500), 2_000);
        assert_eq!(cut.len(), 9, "{cut:?}");
        assert!(cut.iter().all(|line| line.ends_with(" …") && line.len() <= 200));
        assert_eq!(fitting(lines(100, 500), 2_000).len(), 16);
    }

    #[test]
    fn a_line_stands_for_a_skill_or_a_prompt_file() {
        let hidden = "---\nname: hidden\ndescription: d\nuser-invocable: false\n---\nx";
        let narrow = "---\nname: narrow\ndescription: d\nallowed-tools: Bash(git *), Read\n---\nDo it.";
        let world = World::new(&[
            ("user/skills/fix/SKILL.md", &skill("fix", "d")),
            ("user/skills/hidden/SKILL.md", hidden),
            ("user/skills/narrow/SKILL.md", narrow),
            ("user/commands/fix.md", "shadowed by the skill"),
            ("user/commands/go.md", "Go to $ARGUMENTS."),
        ]);
        let shelf = world.shelf("work");
        let ran = |said: &str| match shelf.slash(said) {
            Slash::Run(expansion) => Some((world.short(expansion.text), expansion.tools)),
            Slash::Prompt | Slash::Unknown { .. } => None,
        };
        let fix = "/fix a b\n\n<skill name=\"fix\" folder=\"user/skills/fix\">\nBody of d: a b\n</skill>";
        assert_eq!(ran("/fix  a b "), Some((fix.into(), None)));
        let go = "/go home\n\n<command name=\"go\">\nGo to home.\n</command>";
        assert_eq!(ran("/go home"), Some((go.into(), None)));
        assert_eq!(ran("/narrow").unwrap().1, Some(vec!["read".into(), "shell".into()]));
        assert_eq!(shelf.slash("/hidden"), Slash::Unknown { name: "hidden".into() });
        assert_eq!(shelf.slash("/fix/x"), Slash::Prompt);
        let names: Vec<String> = shelf.slash_names().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["fix", "go", "narrow"]);
    }
}
