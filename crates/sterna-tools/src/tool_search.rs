//! `tool_search`: finds tools that are shown by name only. What it shows is a fact of its result, so that it is known
//! after a restart and after the conversation was shortened.

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, Fact, ToolSpec};
use sterna_tool::{
    Access, Plan, PlanContext, TOOL_SEARCH, Tool, ToolContext, ToolDone, ToolError, ToolReturn, ViewBudget,
};

use crate::support::parse;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    query: String,
    /// How many to show: 5 if left out.
    #[schemars(range(min = 1, max = 20))]
    limit: Option<u32>,
}

pub(crate) struct ToolSearch {
    spec: ToolSpec,
}

impl ToolSearch {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>(TOOL_SEARCH, include_str!("tool_search.md")) }
    }
}

impl Tool for ToolSearch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Pure
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        let query: String = args.query.chars().take(100).collect();
        Ok(Plan { accesses: vec![Access::Session], summary: format!("search tools: {query}"), preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: Args = parse(&args)?;
            let limit = args.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX) as usize;
            let all = &cx.view.deferred;
            let (found, missed) = search(all, &args.query, limit);
            let mut text = String::new();
            for name in &missed {
                let near = nearest(all, name, NEAR);
                text.push_str(&match near.as_slice() {
                    [] => format!("There is no tool `{name}`, and no tool is listed by name only.\n"),
                    near => {
                        format!("There is no tool for `{name}`. Names that come near: {}\n", near.join(", "))
                    }
                });
            }
            for tool in &found {
                text.push_str(&format!("{}\n{}\nIt takes: {}\n\n", tool.name, tool.description, tool.schema));
            }
            let names: Vec<String> = found.iter().map(|tool| tool.name.clone()).collect();
            let facts = if names.is_empty() { Vec::new() } else { vec![Fact::ToolsFound { names }] };
            let budget = ViewBudget { bytes: 48 << 10, lines: 2_000, head_percent: 100 };
            Ok(ToolReturn::Done(ToolDone { facts, budget, ..ToolDone::text(text.trim_end()) }))
        }
        .boxed()
    }
}

/// The tools that a query finds, best first, and what of it found nothing.
fn search<'a>(all: &'a [ToolSpec], query: &str, limit: usize) -> (Vec<&'a ToolSpec>, Vec<String>) {
    if let Some(names) = query.trim().strip_prefix("select:") {
        let mut found: Vec<&ToolSpec> = Vec::new();
        let mut missed = Vec::new();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match all.iter().find(|tool| tool.name == name) {
                Some(tool) if found.iter().any(|held| held.name == tool.name) => {}
                Some(tool) => found.push(tool),
                None => missed.push(name.to_owned()),
            }
        }
        if found.is_empty() && missed.is_empty() {
            missed.push(query.trim().to_owned());
        }
        found.truncate(LIMIT_MAX as usize);
        return (found, missed);
    }
    let wanted = words(query);
    let mut scored: Vec<(u32, &ToolSpec)> =
        all.iter().map(|tool| (score(tool, &wanted), tool)).filter(|(score, _)| *score > 0).collect();
    scored.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.name.cmp(&b.1.name)));
    let found: Vec<&ToolSpec> = scored.into_iter().take(limit).map(|(_, tool)| tool).collect();
    let missed = if found.is_empty() { vec![query.trim().to_owned()] } else { Vec::new() };
    (found, missed)
}

/// A word in the name counts most, then one in the text, then one in the arguments; a word that begins like one counts
/// half.
fn score(tool: &ToolSpec, wanted: &[String]) -> u32 {
    let name = words(&tool.name);
    let text = words(&tool.description);
    let schema = words(&tool.schema.to_string());
    let in_words = |of: &[String], wanted: &str, weight: u32| {
        if of.iter().any(|word| word == wanted) {
            weight * 2
        } else if wanted.len() >= 3 && of.iter().any(|word| word.starts_with(wanted) || like(word, wanted)) {
            weight
        } else {
            0
        }
    };
    wanted
        .iter()
        .map(|word| in_words(&name, word, 6) + in_words(&text, word, 2) + in_words(&schema, word, 1))
        .sum()
}

/// `issues` asks for `issue`.
fn like(word: &str, wanted: &str) -> bool {
    word.len() >= 3 && wanted.starts_with(word) && wanted.len() - word.len() <= 2
}

fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last_lower = false;
    for c in text.chars() {
        if !c.is_alphanumeric() {
            words.push(String::new());
        } else {
            // `listIssues` is two words.
            if words.is_empty() || (c.is_uppercase() && last_lower) {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        last_lower = c.is_lowercase();
    }
    // A letter says nothing, and all are of `mcp`.
    words.retain(|word| word.chars().count() > 1 && word != "mcp");
    words.dedup();
    words
}

/// Names that are written most alike, or hold the most of the same words.
fn nearest<'a>(all: &'a [ToolSpec], wanted: &str, count: usize) -> Vec<&'a str> {
    let wanted = wanted.to_lowercase();
    let mut near: Vec<(f64, &str)> = all
        .iter()
        .map(|tool| {
            let own = tool.name.rsplit("__").next().unwrap_or(&tool.name).to_lowercase();
            let alike = strsim::jaro_winkler(&own, &wanted).max(strsim::jaro_winkler(&tool.name, &wanted));
            (alike, tool.name.as_str())
        })
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    near.into_iter().take(count).map(|(_, name)| name).collect()
}

const LIMIT: u32 = 5;
const LIMIT_MAX: u32 = 20;
/// Names that are offered where nothing was found.
const NEAR: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> Vec<ToolSpec> {
        let tool = |name: &str, description: &str, property: &str| ToolSpec {
            name: name.into(),
            description: description.into(),
            schema: serde_json::json!({"type": "object", "properties": {property: {"type": "string"}}}),
        };
        vec![
            tool("mcp__github__create_issue", "Opens a new issue in a repository.", "title"),
            tool("mcp__github__list_issues", "Lists what is open.", "repository"),
            tool("mcp__mail__sendMessage", "Sends a mail to somebody.", "recipient"),
            tool("mcp__calendar__add_event", "Puts something into the calendar.", "when"),
        ]
    }

    #[test]
    fn queries_find_what_they_are_about() {
        let tools = tools();
        for (query, limit, expected, missed) in [
            ("issue", 5, &["mcp__github__create_issue", "mcp__github__list_issues"][..], &[][..]),
            ("create an issue", 1, &["mcp__github__create_issue"], &[]),
            ("send message", 5, &["mcp__mail__sendMessage"], &[]),
            ("recipient", 5, &["mcp__mail__sendMessage"], &[]),
            (
                "select:mcp__calendar__add_event, mcp__mail__sendMessage",
                5,
                &["mcp__calendar__add_event", "mcp__mail__sendMessage"],
                &[],
            ),
            ("select:mcp__mail__sendMessage,nope", 5, &["mcp__mail__sendMessage"], &["nope"]),
            ("select:", 5, &[], &["select:"]),
            ("xyzzy", 5, &[], &["xyzzy"]),
            ("", 5, &[], &[""]),
            ("💥,,{\"a\":", 5, &[], &["💥,,{\"a\":"]),
        ] {
            let (found, miss) = search(&tools, query, limit);
            let found: Vec<&str> = found.iter().map(|tool| tool.name.as_str()).collect();
            assert_eq!(
                (found.as_slice(), miss.iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
                (expected, missed),
                "{query}"
            );
        }
    }

    #[test]
    fn a_miss_gives_the_nearest_names() {
        let tools = tools();
        assert_eq!(nearest(&tools, "creat_isue", 1), ["mcp__github__create_issue"]);
        assert_eq!(nearest(&tools, "mcp__mail__send_message", 1), ["mcp__mail__sendMessage"]);
        assert_eq!(nearest(&[], "x", 5), [""; 0]);
    }
}
