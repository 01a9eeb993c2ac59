//! What a model is asked for a session's title, and how its answer is read.

use std::sync::Arc;

use sterna_llm::{Item, Request, SystemPart};
use sterna_model::Route;

/// The request: the first words that a person said, and nothing else of the session. `None`: they said none.
pub fn title_request(said: &str, route: &Route, max_output: u32) -> Option<Request> {
    let said: String = said.trim().chars().take(SAID_CHARS).collect();
    (!said.is_empty()).then(|| Request {
        route: route.clone(),
        system: Arc::from([SystemPart { text: SYSTEM.trim().to_owned(), boundary: true }]),
        tools: Arc::from([]),
        items: vec![Arc::new(Item::User(vec![said]))],
        tail: String::new(),
        tools_off: false,
        max_output,
        temperature: None,
        schema: None,
        thinking: None,
    })
}

/// Reads the answer: its first line that has words, without what models like to put round a title. An error says why it is
/// none.
pub fn read_title(text: &str) -> Result<String, String> {
    let line = text.lines().map(bare).find(|line| !line.is_empty());
    let line = line.ok_or("the model gave no title")?;
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.len() > MOST_WORDS {
        return Err(format!("the model gave {} words in place of a title", words.len()));
    }
    let title = words.join(" ");
    if title.chars().count() <= TITLE_CHARS {
        return Ok(title);
    }
    let cut: String = title.chars().take(TITLE_CHARS - 1).collect();
    Ok(format!("{}…", cut.trim_end()))
}

/// A line without the marks of Markdown, quotes, and a full stop.
fn bare(line: &str) -> String {
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let marks = |c: char| c.is_whitespace() || "#*_`\"'“”„«»".contains(c);
    let line = line.trim_matches(marks);
    let line = line.strip_prefix("Title:").unwrap_or(line).trim_matches(marks);
    line.strip_suffix('.').unwrap_or(line).trim_matches(marks).to_owned()
}

/// Tokens that an answer may have (design: 50).
pub const TITLE_TOKENS: u32 = 50;
/// What the model is shown of what a person said (design: 500).
const SAID_CHARS: usize = 500;
/// It is asked for six; more than twice as many is an answer, and no title.
const MOST_WORDS: usize = 12;
/// As long as one of first words may be.
const TITLE_CHARS: usize = 60;
const SYSTEM: &str = include_str!("prompts/title.md");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_round_a_title_is_left_out() {
        let long = "Rechtsschutzversicherungsgesellschaften und Donaudampfschifffahrt vergleichen";
        for (text, wanted) in [
            ("Fix the parser", Some("Fix the parser")),
            ("\n\n**\"Fix the parser.\"**\nIt is about a parser.", Some("Fix the parser")),
            ("# Title: Fix  the\tparser", Some("Fix the parser")),
            ("„Größe ändern“", Some("Größe ändern")),
            ("Fix \u{1b}[31mthe parser", Some("Fix [31mthe parser")),
            (long, Some("Rechtsschutzversicherungsgesellschaften und Donaudampfschif…")),
            ("Sure, I can help you with that, tell me first which of the parsers is broken", None),
            (" \n\t\n", None),
            ("\"\"", None),
        ] {
            assert_eq!(read_title(text).ok().as_deref(), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_request_holds_the_first_words_alone() {
        let route: Route = "a/m".parse().unwrap();
        assert!(title_request(" \n", &route, 50).is_none());
        let request = title_request(&"ü".repeat(501), &route, 50).unwrap();
        assert_eq!(request.items, [Arc::new(Item::User(vec!["ü".repeat(500)]))]);
        assert!(request.tools.is_empty() && request.max_output == 50);
    }
}
