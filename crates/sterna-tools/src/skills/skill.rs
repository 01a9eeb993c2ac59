//! What a `SKILL.md` says, and what is wrong with it. Pure: the rules are those of agentskills.io, with the fields that
//! other agents have added.

use crate::agent_types::DEFAULT_KIND;

use super::front::{Field, FieldValue, Front, Problem, Weight};

/// A skill as its file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkillText {
    /// The name of its folder.
    pub name: String,
    /// At most 1,024 characters.
    pub description: String,
    /// When to use it, in more words than the description has.
    pub when_to_use: Option<String>,
    /// What the person is to say behind its name: `[file]`.
    pub argument_hint: Option<String>,
    pub license: Option<String>,
    pub compatibility: Option<String>,
    pub metadata: Vec<(String, String)>,
    /// The tools that it needs, as they are written there. They never grant anything.
    pub allowed_tools: Option<Vec<String>>,
    /// Another agent does it, in a session of its own: the kind of agent.
    pub forks: Option<String>,
    /// The model may not load it.
    pub disabled: bool,
    /// A person may run it by `/name`.
    pub user_invocable: bool,
    pub body: String,
}

impl SkillText {
    /// Reads a `SKILL.md` in a folder of this name. `None` when it cannot be used; the problems say why.
    pub fn parse(text: &str, folder: &str) -> (Option<Self>, Vec<Problem>) {
        let mut problems = Vec::new();
        let Some(front) = Front::parse(text, &mut problems) else { return (None, problems) };
        let mut check = Check { front: &front, problems: &mut problems };
        let name = check.name(folder);
        let description = check.needed("description", MAX_DESCRIPTION);
        let compatibility = check.short("compatibility", MAX_COMPATIBILITY);
        let when_to_use = check.short("when_to_use", MAX_DESCRIPTION).or_else(|| check.text("when-to-use"));
        let argument_hint = check.text("argument-hint");
        let license = check.text("license");
        let metadata = check.metadata();
        let allowed_tools = check.names("allowed-tools");
        let forks = check.forks();
        let disabled = check.flag("disable-model-invocation").unwrap_or(false);
        let user_invocable = check.flag("user-invocable").unwrap_or(true);
        check.fields();
        problems.sort_by_key(|problem| problem.line);
        let broken = problems.iter().any(|problem| problem.weight == Weight::Error);
        let (Some(name), Some(description), false) = (name, description, broken) else {
            return (None, problems);
        };
        let skill = Self {
            name,
            description,
            when_to_use,
            argument_hint,
            license,
            compatibility,
            metadata,
            allowed_tools,
            forks,
            disabled,
            user_invocable,
            body: front.body,
        };
        (Some(skill), problems)
    }
}

/// The body with what the person or the model says to it: `$ARGUMENTS` stands for it, else it follows.
pub fn with_arguments(body: &str, args: &str) -> String {
    let args = args.trim();
    if body.contains(ARGUMENTS) {
        body.replace(ARGUMENTS, args)
    } else if args.is_empty() {
        body.to_owned()
    } else {
        format!("{body}\n\n{args}")
    }
}

/// The name by which a tool is known here: `Bash(git *)` is `shell`.
pub fn tool_name(written: &str) -> String {
    let name = written.split('(').next().unwrap_or_default().trim();
    let known = FOREIGN.iter().find(|(foreign, _)| foreign.eq_ignore_ascii_case(name));
    match known {
        Some((_, own)) => (*own).to_owned(),
        None if name.starts_with("mcp__") => name.to_owned(),
        None => name.to_ascii_lowercase(),
    }
}

/// Fields of a front matter, looked at one by one.
pub(super) struct Check<'a, 'p> {
    pub(super) front: &'a Front,
    pub(super) problems: &'p mut Vec<Problem>,
}

impl Check<'_, '_> {
    fn say(&mut self, line: usize, weight: Weight, message: impl Into<String>) {
        self.problems.push(Problem::new(line, weight, message));
    }

    fn name(&mut self, folder: &str) -> Option<String> {
        let line = self.front.get("name").map_or(1, |field| field.line);
        let name = self.needed("name", usize::MAX)?;
        let before = self.problems.len();
        for fault in name_faults(&name) {
            self.say(line, Weight::Error, fault);
        }
        if name != folder {
            self.say(
                line,
                Weight::Error,
                format!("the name `{name}` must be that of the folder, `{folder}`"),
            );
        }
        (self.problems.len() == before).then_some(name)
    }

    /// Text that must be there.
    pub(super) fn needed(&mut self, key: &str, most: usize) -> Option<String> {
        let Some(field) = self.front.get(key) else {
            self.say(1, Weight::Error, format!("`{key}` is missing"));
            return None;
        };
        match field.text().map(str::trim) {
            Some(text) if !text.is_empty() => self.bounded(field, text, most),
            _ => {
                self.say(field.line, Weight::Error, format!("`{key}` must be text, and not empty"));
                None
            }
        }
    }

    fn short(&mut self, key: &str, most: usize) -> Option<String> {
        let field = self.front.get(key)?;
        let text = self.text(key)?;
        self.bounded(field, &text, most)
    }

    fn bounded(&mut self, field: &Field, text: &str, most: usize) -> Option<String> {
        let long = text.chars().count();
        if long > most {
            let key = &field.key;
            self.say(field.line, Weight::Error, format!("`{key}` has {long} characters; {most} are allowed"));
            return None;
        }
        Some(text.to_owned())
    }

    /// Text that may be there.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let field = self.front.get(key)?;
        match field.text().map(str::trim) {
            Some(text) => Some(text.to_owned()).filter(|text| !text.is_empty()),
            // Others write `[file]` and mean the brackets.
            None if key == "argument-hint" => Some(field.names()?.join(" ")),
            None => {
                self.say(field.line, Weight::Error, format!("`{key}` must be text"));
                None
            }
        }
    }

    pub(super) fn names(&mut self, key: &str) -> Option<Vec<String>> {
        let field = self.front.get(key)?;
        let names = field.names();
        if names.is_none() {
            self.say(field.line, Weight::Error, format!("`{key}` must be text or a list of names"));
        }
        names
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        let field = self.front.get(key)?;
        let flag = field.flag();
        if flag.is_none() {
            self.say(field.line, Weight::Error, format!("`{key}` must be true or false"));
        }
        flag
    }

    /// `context: fork`, with the kind of agent that `agent` names.
    fn forks(&mut self) -> Option<String> {
        let agent = self.text("agent");
        let context = self.text("context");
        let line = |key: &str| self.front.get(key).map_or(1, |field| field.line);
        match context.as_deref() {
            Some("fork") => Some(agent.unwrap_or_else(|| DEFAULT_KIND.to_owned())),
            None | Some("inline") => {
                if agent.is_some() {
                    self.say(line("agent"), Weight::Warning, "`agent` means nothing without `context: fork`");
                }
                None
            }
            Some(_) => {
                self.say(line("context"), Weight::Error, "`context` must be `inline` or `fork`");
                None
            }
        }
    }

    fn metadata(&mut self) -> Vec<(String, String)> {
        let Some(field) = self.front.get("metadata") else { return Vec::new() };
        let FieldValue::Map(members) = &field.value else {
            let empty = field.text().is_some_and(|text| text.trim().is_empty());
            if !empty {
                self.say(field.line, Weight::Error, "`metadata` must be `key: value` lines");
            }
            return Vec::new();
        };
        let text = |value: &FieldValue| match value {
            FieldValue::Text(text) => text.clone(),
            // Other agents keep lists here; nothing of ours reads them.
            FieldValue::List(items) => format!("{} items", items.len()),
            FieldValue::Map(members) => format!("{} members", members.len()),
        };
        members.iter().map(|(key, value)| (key.clone(), text(value))).collect()
    }

    /// Remarks on fields beyond the specification.
    fn fields(&mut self) {
        for field in &self.front.fields {
            let key = field.key.as_str();
            if SPECIFIED.contains(&key) {
                continue;
            }
            let message = match key {
                _ if EXTENSIONS.contains(&key) => format!("`{key}` is not in the specification"),
                _ if UNUSED.contains(&key) => format!("`{key}` is not used by this version"),
                _ => match near(key) {
                    Some(near) => format!("there is no field `{key}`; did you mean `{near}`?"),
                    None => format!("there is no field `{key}`; put it below `metadata`"),
                },
            };
            let weight = if EXTENSIONS.contains(&key) { Weight::Strict } else { Weight::Warning };
            self.problems.push(Problem::new(field.line, weight, message));
        }
    }
}

/// What is wrong with a name: lower-case letters, digits and single hyphens, 64 characters at most.
pub(super) fn name_faults(name: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if name.chars().count() > MAX_NAME {
        faults.push(format!("the name has {} characters; {MAX_NAME} are allowed", name.chars().count()));
    }
    if name != name.to_lowercase() {
        faults.push(format!("the name `{name}` must be in lower case"));
    }
    if name.starts_with('-') || name.ends_with('-') {
        faults.push(format!("the name `{name}` must not begin or end with a hyphen"));
    }
    if name.contains("--") {
        faults.push(format!("the name `{name}` must not have two hyphens in a row"));
    }
    if !name.chars().all(|c| c.is_alphanumeric() || c == '-') {
        faults.push(format!("the name `{name}` may have letters, digits and hyphens only"));
    }
    faults
}

fn near(key: &str) -> Option<&'static str> {
    let known = SPECIFIED.iter().chain(&EXTENSIONS);
    let near = known.min_by_key(|known| strsim::damerau_levenshtein(known, key))?;
    (strsim::damerau_levenshtein(near, key) <= 2).then_some(near)
}

const ARGUMENTS: &str = "$ARGUMENTS";
/// Bounds of the specification, in characters.
const MAX_NAME: usize = 64;
const MAX_DESCRIPTION: usize = 1024;
const MAX_COMPATIBILITY: usize = 500;
const SPECIFIED: [&str; 6] = ["name", "description", "license", "compatibility", "metadata", "allowed-tools"];
/// Fields of other agents that mean something here.
const EXTENSIONS: [&str; 7] = [
    "when_to_use",
    "when-to-use",
    "argument-hint",
    "disable-model-invocation",
    "user-invocable",
    "context",
    "agent",
];
/// Fields of other agents that mean nothing here yet.
const UNUSED: [&str; 7] = ["model", "effort", "paths", "hooks", "arguments", "version", "shell"];
/// Tools by the names that skills of other agents use.
const FOREIGN: [(&str, &str); 13] = [
    ("Bash", "shell"),
    ("BashOutput", "job_output"),
    ("KillShell", "job_kill"),
    ("LS", "list"),
    ("MultiEdit", "edit"),
    ("NotebookEdit", "notebook_edit"),
    ("NotebookRead", "read"),
    ("Task", "agent"),
    ("TodoWrite", "todo"),
    ("TodoRead", "todo"),
    ("WebFetch", "web_fetch"),
    ("WebSearch", "web_search"),
    ("AskUserQuestion", "ask_user"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(front: &str) -> (Option<SkillText>, Vec<Problem>) {
        SkillText::parse(&format!("---\n{front}---\n\n# Do it\n$ARGUMENTS\n"), "x")
    }

    #[test]
    fn every_field_is_read() {
        let (skill, problems) = read(
            "name: x\ndescription: \"Does: it\"\nlicense: MIT\ncompatibility: needs git\nmetadata:\n  a: 1\n\
             allowed-tools: Bash(git *) Read\nwhen_to_use: often\ndisable-model-invocation: true\nuser-invocable: false\n\
             argument-hint: [file]\n",
        );
        let skill = skill.unwrap();
        assert_eq!((skill.name.as_str(), skill.description.as_str()), ("x", "Does: it"));
        assert_eq!(
            (skill.license.as_deref(), skill.compatibility.as_deref()),
            (Some("MIT"), Some("needs git"))
        );
        assert_eq!(skill.metadata, [("a".to_owned(), "1".to_owned())]);
        assert_eq!(skill.allowed_tools.as_deref(), Some(&["Bash(git *)".to_owned(), "Read".to_owned()][..]));
        assert_eq!(
            (skill.when_to_use.as_deref(), skill.argument_hint.as_deref()),
            (Some("often"), Some("file"))
        );
        assert!(skill.disabled && !skill.user_invocable);
        assert_eq!(skill.body, "# Do it\n$ARGUMENTS");
        assert!(problems.iter().all(|problem| problem.weight == Weight::Strict), "{problems:?}");
    }

    #[test]
    fn each_fault_has_its_line() {
        for (front, at, weight, word) in [
            ("description: d\n", 1, Weight::Error, "`name` is missing"),
            ("name: x\n", 1, Weight::Error, "`description` is missing"),
            ("name: X\ndescription: d\n", 2, Weight::Error, "lower case"),
            ("name: y\ndescription: d\n", 2, Weight::Error, "that of the folder, `x`"),
            ("name: [x]\ndescription: d\n", 2, Weight::Error, "must be text"),
            ("description: d\nname: x-\n", 3, Weight::Error, "begin or end"),
            ("name: a--b\ndescription: d\n", 2, Weight::Error, "two hyphens"),
            ("name: a_b\ndescription: d\n", 2, Weight::Error, "letters, digits"),
            ("name: x\ndescription:\n", 3, Weight::Error, "not empty"),
            ("name: x\ndescription: d\nuser-invocable: perhaps\n", 4, Weight::Error, "true or false"),
            ("name: x\ndescription: d\nmetadata: text\n", 4, Weight::Error, "key: value"),
            ("name: x\ndescription: d\nlicence: MIT\n", 4, Weight::Warning, "did you mean `license`"),
            ("name: x\ndescription: d\nauthor: me\n", 4, Weight::Warning, "below `metadata`"),
            ("name: x\ndescription: d\nmodel: opus\n", 4, Weight::Warning, "not used"),
            ("name: x\ndescription: d\ncontext: spoon\n", 4, Weight::Error, "`inline` or `fork`"),
            ("name: x\ndescription: d\nagent: explore\n", 4, Weight::Warning, "without `context: fork`"),
        ] {
            let (skill, problems) = read(front);
            let found = problems.iter().find(|p| p.message.contains(word));
            assert_eq!(found.map(|p| (p.line, p.weight)), Some((at, weight)), "{front}: {problems:?}");
            assert_eq!(skill.is_none(), weight == Weight::Error, "{front}");
        }
        let long = format!("name: x\ndescription: {}\n", "é".repeat(1025));
        assert!(read(&long).1[0].message.contains("1025 characters; 1024"));
        assert!(read(&long.replacen('é', "", 1)).0.is_some());
    }

    #[test]
    fn a_skill_says_whether_another_agent_does_it() {
        for (more, forks) in [
            ("", None),
            ("context: inline\n", None),
            ("context: fork\n", Some("general")),
            ("agent: explore\ncontext: fork\n", Some("explore")),
        ] {
            let (skill, problems) = read(&format!("name: x\ndescription: d\n{more}"));
            assert_eq!(skill.unwrap().forks.as_deref(), forks, "{more}");
            assert!(problems.iter().all(|problem| problem.weight == Weight::Strict), "{problems:?}");
        }
    }

    #[test]
    fn arguments_stand_where_they_are_asked_for() {
        for (body, args, want) in [
            ("do $ARGUMENTS now, $ARGUMENTS", " a b ", "do a b now, a b"),
            ("do it", "a b", "do it\n\na b"),
            ("do it", " ", "do it"),
            ("do $ARGUMENTS", "", "do "),
            ("do $ARGUMENTS", "$ARGUMENTS", "do $ARGUMENTS"),
        ] {
            assert_eq!(with_arguments(body, args), want, "{body}");
        }
    }

    #[test]
    fn tools_have_other_names_elsewhere() {
        for (written, own) in [
            ("Bash(git:*)", "shell"),
            ("Read", "read"),
            ("WebFetch", "web_fetch"),
            ("mcp__A__B", "mcp__A__B"),
        ] {
            assert_eq!(tool_name(written), own);
        }
    }
}
