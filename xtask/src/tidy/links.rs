//! Links of the documentation lead somewhere, each page is in the book, and its examples are what they say.

use std::collections::BTreeSet;

use super::{Files, Problem};

/// Checks all Markdown files.
pub fn check(files: &Files) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (line, target) in links(text) {
            problems.extend(broken(files, path, &target).map(|what| Problem::new(path, line, what)));
        }
        if path.starts_with("docs/") || !path.contains('/') {
            problems.extend(blocks(text).into_iter().filter_map(|(line, kind, block)| {
                wrong_block(&kind, &block).map(|what| Problem::new(path, line, what))
            }));
        }
    }
    problems.extend(pages_outside_the_book(files));
    problems
}

/// What is wrong with a link, if anything is.
fn broken(files: &Files, from: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() { Some(from.to_owned()) } else { joined(from, file) };
    let Some(path) = path else { return Some(format!("the link `{target}` leads out of the repository")) };
    let folder = format!("{}/", path.trim_end_matches('/'));
    let Some(text) = files.get(&path) else {
        let is_folder =
            files.range(folder.clone()..).next().is_some_and(|(file, _)| file.starts_with(&folder));
        return (!is_folder).then(|| format!("the link `{target}` leads to no file"));
    };
    let anchor = anchor.filter(|_| path.ends_with(".md"))?;
    (!anchors(text).contains(anchor)).then(|| format!("the link `{target}` leads to no heading"))
}

/// A relative link as a path from the root.
fn joined(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Pages that SUMMARY.md does not name are not in the book.
fn pages_outside_the_book(files: &Files) -> Vec<Problem> {
    let Some(summary) = files.get(SUMMARY) else {
        return vec![Problem::new(SUMMARY, 0, "this file must exist")];
    };
    let named: BTreeSet<String> =
        links(summary).into_iter().filter_map(|(_, target)| joined(SUMMARY, &target)).collect();
    let pages = files.keys().filter(|path| path.starts_with("docs/") && path.ends_with(".md"));
    pages
        .filter(|path| *path != SUMMARY && !named.contains(*path))
        .map(|path| Problem::new(path, 0, "docs/SUMMARY.md does not name this page"))
        .collect()
}

/// Targets of the links in a text, with their lines. Code is skipped.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let mut rest = line.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let Some(end) = rest.find(')') else { break };
            // A title may follow the target.
            let target = rest[..end].split_whitespace().next().unwrap_or_default();
            found.push((number, target.trim_matches(['<', '>']).to_owned()));
            rest = &rest[end..];
        }
    }
    found
}

/// Lines that are no code, with the code inside them blanked.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with(FENCE) {
            fenced = !fenced;
        } else if !fenced {
            let parts = line.split('`').enumerate();
            let kept: Vec<&str> = parts.filter(|(i, _)| i % 2 == 0).map(|(_, part)| part).collect();
            lines.push((number, kept.join(" ")));
        }
    }
    lines
}

/// The anchors of a page's headings, as mdBook and code hosts make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if line.trim_start().starts_with(FENCE) {
            fenced = !fenced;
        }
        let heading = line.trim_start_matches('#');
        if fenced || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let slug = heading.trim().chars().filter_map(|c| match c {
            c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c.to_ascii_lowercase()),
            ' ' => Some('-'),
            _ => None,
        });
        found.insert(slug.collect());
    }
    found
}

/// Fenced blocks: the line each begins at, its language, its text.
fn blocks(text: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.trim_start().strip_prefix(FENCE), open.take()) {
            (Some(_), Some(block)) => found.push(block),
            (Some(kind), None) => open = Some((number, kind.trim().to_owned(), String::new())),
            (None, Some((at, kind, mut block))) => {
                block.push_str(line);
                block.push('\n');
                open = Some((at, kind, block));
            }
            (None, None) => {}
        }
    }
    found
}

/// An example in a data format must be one.
fn wrong_block(kind: &str, block: &str) -> Option<String> {
    let json =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).map_err(|error| error.to_string());
    let lines = || block.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let checked = match kind {
        "toml" => block.parse::<toml::Table>().map(drop).map_err(|error| error.to_string()),
        "json" => json(block).map(drop),
        "jsonl" => lines().try_for_each(|line| json(line).map(drop)),
        _ => Ok(()),
    };
    checked.err().map(|error| format!("this block is not {kind}: {error}"))
}

const SUMMARY: &str = "docs/SUMMARY.md";
const FENCE: &str = "```";

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        let all = files(&[
            ("README.md", "# Top\n## What `it` is\n"),
            ("docs/SUMMARY.md", "[a](a.md)"),
            ("docs/a.md", "# A\n"),
            ("docs/adr/0001-x.md", ""),
            ("LICENSE-MIT", ""),
        ]);
        let table = [
            ("../README.md", true),
            ("../README.md#what-it-is", true),
            ("../README.md#top", true),
            ("../README.md#nowhere", false),
            ("../LICENSE-MIT", true),
            ("adr/", true),
            ("adr", true),
            ("adr/0002.md", false),
            ("#a", true),
            ("#b", false),
            ("../../x", false),
            ("https://example.org/x", true),
        ];
        for (target, good) in table {
            assert_eq!(broken(&all, "docs/a.md", target).is_none(), good, "{target}");
        }
    }

    #[test]
    fn code_holds_no_links() {
        let text = "[a](b.md) `[c](d.md)` [e](f.md \"title\")\n```\n[g](h.md)\n```\n[i](<j.md>)";
        let targets: Vec<String> = links(text).into_iter().map(|(_, target)| target).collect();
        assert_eq!(targets, ["b.md", "f.md", "j.md"]);
    }

    #[test]
    fn every_page_is_in_the_book() {
        let all = files(&[("docs/SUMMARY.md", "[a](a.md)"), ("docs/a.md", ""), ("docs/b/c.md", "")]);
        let outside: Vec<String> = pages_outside_the_book(&all).into_iter().map(|p| p.path).collect();
        assert_eq!(outside, ["docs/b/c.md"]);
    }

    #[test]
    fn examples_are_in_the_format_they_name() {
        let table = [
            ("toml", "a = 1\n", true),
            ("toml", "a = \n", false),
            ("json", "{\"a\":1}", true),
            ("json", "{a:1}", false),
            ("jsonl", "{}\n# why\n\n[]\n", true),
            ("jsonl", "{}\n{\n", false),
            ("sh", "a = ", true),
        ];
        for (kind, block, good) in table {
            let text = format!("x\n```{kind}\n{block}\n```\n");
            let found = blocks(&text);
            assert_eq!((found[0].0, found[0].1.as_str()), (2, kind));
            assert_eq!(wrong_block(kind, &found[0].2).is_none(), good, "{block}");
        }
    }
}
