//! Tools that are shown by name only: how a request names them, and which of them the model has found.

use std::collections::{BTreeMap, BTreeSet};

use sterna_model::Stability;

use crate::Section;

/// The section that names deferred tools, those of one server together. `None` where there are none.
pub fn deferred_section(names: &[String]) -> Option<Section> {
    if names.is_empty() {
        return None;
    }
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        let (prefix, rest) = split(name);
        groups.entry(prefix).or_default().push(rest);
    }
    let mut text = include_str!("prompts/deferred_tools.md").trim().to_owned();
    let mut left_out = 0;
    for (prefix, mut tools) in groups {
        tools.sort_unstable();
        let mut line = format!("\n- {prefix}");
        let mut first = true;
        for tool in tools {
            if text.len() + line.len() + tool.len() > NAMES_BYTES {
                left_out += 1;
                continue;
            }
            line.push_str(if first { "" } else { ", " });
            line.push_str(tool);
            first = false;
        }
        if !first {
            text.push_str(&line);
        }
    }
    if left_out > 0 {
        text.push_str(&format!("\n- and {left_out} more, which `tool_search` finds"));
    }
    Some(Section {
        name: "deferred_tools".into(),
        owner: "sterna".into(),
        stability: Stability::Stable,
        text,
    })
}

/// What the tail says of tools that were found: the search's answer may have left the request since.
pub(crate) fn found_note(found: &BTreeSet<String>) -> String {
    listed("found_tools", "", found)
}

/// What the tail says of tools that the prompt cannot name any more without becoming another one.
pub(crate) fn added_note(added: &[String]) -> String {
    listed(
        "new_tools",
        "\nNew, or others than before; `tool_search` shows them, `call_tool` calls them:",
        added,
    )
}

/// Names within a mark, one a line. Nothing where there are none.
fn listed<'a>(mark: &str, about: &str, names: impl IntoIterator<Item = &'a String>) -> String {
    let mut names = names.into_iter().peekable();
    if names.peek().is_none() {
        return String::new();
    }
    let mut text = format!("<{mark}>{about}");
    let mut left_out = 0;
    for name in names {
        if text.len() + name.len() > LISTED_BYTES {
            left_out += 1;
            continue;
        }
        text.push('\n');
        text.push_str(name);
    }
    if left_out > 0 {
        text.push_str(&format!("\nand {left_out} more"));
    }
    text.push_str(&format!("\n</{mark}>"));
    text
}

/// `mcp__server__tool` as `mcp__server__` and `tool`; any other name as nothing and itself.
fn split(name: &str) -> (&str, &str) {
    let end =
        name.strip_prefix("mcp__").and_then(|rest| rest.find("__")).map(|at| at + "mcp__".len() + "__".len());
    end.map_or(("", name), |end| name.split_at(end))
}

/// What names may take of the prompt: 300 tools of usual names fit.
const NAMES_BYTES: usize = 6_000;
/// What they may take of the tail, which is sent anew with each request.
const LISTED_BYTES: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        deferred_section(&names).unwrap().text
    }

    #[test]
    fn names_stand_by_their_server() {
        assert_eq!(deferred_section(&[]), None);
        let text = text(&["mcp__b__y", "mcp__a__x_1", "rare", "mcp__a__b__c", "mcp__broken"]);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("- ")).collect();
        assert_eq!(lines, ["- mcp__broken, rare", "- mcp__a__b__c, x_1", "- mcp__b__y"]);
    }

    #[test]
    fn very_many_names_are_counted() {
        let names: Vec<String> = (0..2_000).map(|n| format!("mcp__server__tool_{n:04}")).collect();
        let text = deferred_section(&names).unwrap().text;
        assert!(text.len() < 6_200, "{}", text.len());
        let listed = text.matches("tool_0").count() + text.matches("tool_1").count();
        assert!(text.ends_with(&format!("and {} more, which `tool_search` finds", 2_000 - listed)), "{text}");
    }

    #[test]
    fn found_tools_are_named_within_bounds() {
        let found: BTreeSet<String> = (0..500).map(|n| format!("mcp__server__tool_{n:03}")).collect();
        let note = found_note(&found);
        assert!(note.len() < 2_100 && note.contains("tool_000") && note.contains(" more\n"), "{note}");
    }
}
