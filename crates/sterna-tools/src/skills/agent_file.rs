//! Kinds of agents from files: front matter that says what they may do, and a body that says what they are.

use sterna_model::Route;

use super::front::{Front, Problem, Weight};
use super::skill::{Check, name_faults, tool_name};
use crate::AgentType;

/// Reads `agents/STEM.md`. `None` when it cannot be used; the problems say why.
pub fn parse_agent(text: &str, stem: &str) -> (Option<AgentType>, Vec<Problem>) {
    let mut problems = Vec::new();
    let Some(front) = Front::parse(text, &mut problems) else { return (None, problems) };
    let mut check = Check { front: &front, problems: &mut problems };
    let name = check.text("name").unwrap_or_else(|| stem.to_owned());
    let description = check.needed("description", 4_096);
    let tools = check.names("tools");
    let route = check.text("model");
    let steps = check.text("max_steps");
    let at = |key: &str| front.get(key).map_or(1, |field| field.line);
    problems.extend(name_faults(&name).into_iter().map(|fault| Problem::error(at("name"), fault)));
    if !name.is_ascii() {
        problems.push(Problem::error(at("name"), "the name of an agent has the letters a to z only"));
    }
    let tools = match tools {
        // All: what other agents write for it.
        Some(names) if names.iter().any(|name| name == "*") => Vec::new(),
        Some(names) if names.iter().all(String::is_empty) && front.get("tools").is_some() => {
            // Nothing must not come to mean everything.
            problems.push(Problem::error(at("tools"), "`tools` names no tool; leave it out for all"));
            Vec::new()
        }
        Some(names) => {
            let mut names: Vec<String> = names.iter().map(|name| tool_name(name)).collect();
            names.sort();
            names.dedup();
            names
        }
        None => Vec::new(),
    };
    let route = match route.as_deref() {
        None | Some("inherit") => None,
        Some(text) => match text.parse::<Route>() {
            Ok(route) if text.contains('/') => Some(route),
            _ => {
                let message = format!("`{text}` is no provider/model: the model of its maker is used");
                problems.push(Problem::new(at("model"), Weight::Warning, message));
                None
            }
        },
    };
    let max_steps = match steps.as_deref().map(str::parse::<u32>) {
        None => STEPS,
        Some(Ok(steps)) if (1..=MAX_STEPS).contains(&steps) => steps,
        Some(_) => {
            problems.push(Problem::error(at("max_steps"), format!("`max_steps` is 1 to {MAX_STEPS}")));
            STEPS
        }
    };
    for field in &front.fields {
        if !FIELDS.contains(&field.key.as_str()) {
            let message = format!("`{}` is not used by this version", field.key);
            problems.push(Problem::new(field.line, Weight::Warning, message));
        }
    }
    if front.body.is_empty() {
        problems.push(Problem::error(
            1,
            "the file says nothing below its front matter: that is the agent's prompt",
        ));
    }
    problems.sort_by_key(|problem| problem.line);
    let broken = problems.iter().any(|problem| problem.weight == Weight::Error);
    let agent = description.filter(|_| !broken).map(|description| AgentType {
        name,
        description: description.split_whitespace().collect::<Vec<_>>().join(" "),
        prompt: front.body,
        tools,
        route,
        max_steps,
    });
    (agent, problems)
}

/// Steps of an agent whose file names none: as the built-in `general` (design: 50).
const STEPS: u32 = 50;
const MAX_STEPS: u32 = 1_000;
const FIELDS: [&str; 5] = ["name", "description", "tools", "model", "max_steps"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_kind_of_agent() {
        let (agent, problems) = parse_agent(
            "---\nname: reviewer\ndescription: Reads a change\n  and judges it\ntools: Read, Grep, Bash\n\
             model: anthropic/claude-x\nmax_steps: 9\ncolor: red\n---\nYou judge.\n",
            "reviewer",
        );
        let want = AgentType {
            name: "reviewer".into(),
            description: "Reads a change and judges it".into(),
            prompt: "You judge.".into(),
            tools: vec!["grep".into(), "read".into(), "shell".into()],
            route: Some("anthropic/claude-x".parse().unwrap()),
            max_steps: 9,
        };
        assert_eq!(agent, Some(want));
        assert_eq!(problems.len(), 1, "{problems:?}");
        let (agent, problems) = parse_agent("---\ndescription: d\nmodel: sonnet\n---\nx", "plain");
        let agent = agent.unwrap();
        assert_eq!((agent.name.as_str(), agent.max_steps, agent.route), ("plain", 50, None));
        assert!(agent.tools.is_empty() && problems[0].message.contains("maker"), "{problems:?}");
    }

    #[test]
    fn a_broken_file_is_no_agent() {
        for (text, at, word) in [
            ("You judge.", 1, "must begin"),
            ("---\nname: a\n---\nx", 1, "`description` is missing"),
            ("---\ndescription: d\ntools: []\n---\nx", 3, "names no tool"),
            ("---\ndescription: d\ntools:\n---\nx", 3, "names no tool"),
            ("---\ndescription: d\nmax_steps: 0\n---\nx", 3, "1 to 1000"),
            ("---\nname: A b\ndescription: d\n---\nx", 2, "lower case"),
            ("---\ndescription: d\n---\n", 1, "says nothing"),
        ] {
            let (agent, problems) = parse_agent(text, "a");
            let found = problems.iter().find(|problem| problem.message.contains(word));
            assert_eq!((agent.is_none(), found.map(|p| p.line)), (true, Some(at)), "{text}: {problems:?}");
        }
    }
}
