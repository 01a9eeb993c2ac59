//! `/name rest`: what a person says instead of a prompt, and the prompt that it stands for.

use super::front::{Front, Problem, Weight};
use super::shelf::Shelf;
use super::skill::{Check, tool_name};

/// A prompt file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandText {
    /// What it is for; empty when its file does not say.
    pub description: String,
    pub argument_hint: Option<String>,
    pub allowed_tools: Option<Vec<String>>,
    pub body: String,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slash {
    /// It is a prompt like any other.
    Prompt,
    Run(Expansion),
    /// There is no such thing for a person to run.
    Unknown {
        name: String,
    },
}

/// A prompt that a name stood for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expansion {
    pub name: String,
    /// What was said, then the body.
    pub text: String,
    /// Only these tools, by the names that they have here, and those of `KEPT_TOOLS`.
    pub tools: Option<Vec<String>>,
}

impl Shelf {
    /// What a line stands for. Reads folders only when it begins with `/` and a name.
    pub fn slash(&self, said: &str) -> Slash {
        let Some((name, rest)) = split(said) else { return Slash::Prompt };
        let skills = self.skills();
        if let Some(skill) = skills.found.iter().find(|skill| skill.name == name && skill.what.user_invocable)
        {
            let what = &skill.what;
            let folder = format!(" folder=\"{}\"", skill.folder().display());
            return expanded(("skill", &folder), name, rest, &what.body, what.allowed_tools.as_deref());
        }
        if let Some(command) = self.commands().found.iter().find(|command| command.name == name) {
            let what = &command.what;
            return expanded(("command", ""), name, rest, &what.body, what.allowed_tools.as_deref());
        }
        Slash::Unknown { name: name.to_owned() }
    }

    /// What a person can run, with a word on each: skills and prompt files.
    pub fn slash_names(&self) -> Vec<(String, String)> {
        let skills = self.skills().found.into_iter().filter(|skill| skill.what.user_invocable);
        let mut names: Vec<(String, String)> =
            skills.map(|skill| (skill.name, skill.what.description)).collect();
        for command in self.commands().found {
            if !names.iter().any(|(name, _)| *name == command.name) {
                names.push((command.name, command.what.description));
            }
        }
        names.sort();
        names
    }
}

/// Names that are written like this one, the nearest first, three at most.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let distance = |other: &str| strsim::damerau_levenshtein(name, other);
    let close = |other: &&str| distance(other) <= 1 + name.chars().count() / 3 || part_of(name, other);
    let mut near: Vec<&str> = names.into_iter().filter(close).collect();
    near.sort_by_key(|other| (distance(other), *other));
    near.dedup();
    near.truncate(3);
    near
}

/// Reads `commands/STEM.md`: front matter may be there, and need not.
pub fn parse_command(text: &str, stem: &str) -> (Option<CommandText>, Vec<Problem>) {
    let mut problems = Vec::new();
    if stem.is_empty() || !stem.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_') {
        let message = format!("the name `{stem}` may have letters, digits, `-` and `_` only");
        return (None, vec![Problem::error(1, message)]);
    }
    let front = if Front::is_in(text) {
        Front::parse(text, &mut problems)
    } else {
        Some(Front { fields: Vec::new(), body: text.trim().to_owned() })
    };
    let Some(front) = front else { return (None, problems) };
    let mut check = Check { front: &front, problems: &mut problems };
    let description = check.text("description").unwrap_or_default();
    let argument_hint = check.text("argument-hint");
    let allowed_tools = check.names("allowed-tools");
    if front.body.is_empty() {
        problems.push(Problem::error(1, "the file says nothing"));
    }
    let broken = problems.iter().any(|problem| problem.weight == Weight::Error);
    let command = CommandText { description, argument_hint, allowed_tools, body: front.body };
    ((!broken).then_some(command), problems)
}

fn expanded(
    (kind, more): (&str, &str),
    name: &str,
    rest: &str,
    body: &str,
    allowed: Option<&[String]>,
) -> Slash {
    let body = body.replace("$ARGUMENTS", rest);
    let said = format!("/{name} {rest}");
    let text = format!("{}\n\n<{kind} name=\"{name}\"{more}>\n{body}\n</{kind}>", said.trim_end());
    let tools = allowed.filter(|names| !names.is_empty()).map(|names| {
        let mut tools: Vec<String> = names.iter().map(|name| tool_name(name)).collect();
        tools.sort();
        tools.dedup();
        tools
    });
    Slash::Run(Expansion { name: name.to_owned(), text, tools })
}

/// `/name rest`. A path is none: `/etc/hosts`, `/tmp.`
fn split(said: &str) -> Option<(&str, &str)> {
    let said = said.strip_prefix('/')?;
    let (name, rest) = said.split_once(char::is_whitespace).unwrap_or((said, ""));
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
    plain.then_some((name, rest.trim()))
}

fn part_of(name: &str, other: &str) -> bool {
    name.chars().count() >= 3 && (other.contains(name) || (other.len() >= 3 && name.contains(other)))
}

/// Tools that no list of a skill takes away: they touch nothing but the session.
pub const KEPT_TOOLS: [&str; 8] =
    ["ask_user", "context", "enter_plan", "recall", "request_permission", "skill", "submit_plan", "todo"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_prompts_are_no_commands() {
        for (said, want) in [
            ("/fix it now ", Some(("fix", "it now"))),
            ("/fix", Some(("fix", ""))),
            ("/fix\nthat", Some(("fix", "that"))),
            ("fix /it", None),
            ("/etc/hosts is odd", None),
            ("/tmp.txt", None),
            ("/", None),
            ("//x", None),
            ("/../x", None),
        ] {
            assert_eq!(split(said), want, "{said}");
        }
    }

    #[test]
    fn the_nearest_names_are_offered() {
        let names = ["commit", "comment", "review-code", "deploy"];
        for (name, want) in [
            ("comit", &["commit"][..]),
            ("commet", &["comment", "commit"]),
            ("review", &["review-code"]),
            ("xyzzy", &[]),
            ("deplyo", &["deploy"]),
        ] {
            assert_eq!(nearest(name, names), want, "{name}");
        }
    }

    #[test]
    fn a_prompt_file_needs_no_front_matter() {
        let (command, problems) = parse_command("Look at $ARGUMENTS.\n", "look");
        assert_eq!((command.unwrap().body.as_str(), problems.len()), ("Look at $ARGUMENTS.", 0));
        let (command, _) = parse_command("---\ndescription: d\nallowed-tools: Read\n---\nLook.", "look");
        let command = command.unwrap();
        assert_eq!((command.description.as_str(), command.allowed_tools), ("d", Some(vec!["Read".into()])));
        for (text, stem) in [("x", "a b"), (" ", "a"), ("---\na: [\n---\nx", "a")] {
            assert!(parse_command(text, stem).0.is_none(), "{text}");
        }
    }
}
