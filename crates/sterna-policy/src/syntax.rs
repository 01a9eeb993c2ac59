//! The syntax tree of a command line, and the checks that make it safe to trust: tree-sitter guesses where a shell
//! would not, so whatever lies between two nodes must be what the shell skips, too.

use std::ops::ControlFlow;

use tree_sitter::{Node, ParseOptions, Parser, Tree};

use crate::characters::quoted;

/// Parses a command line. The error says what was not understood.
pub(crate) fn parse(text: &str) -> Result<Tree, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("the command line is longer than {MAX_LENGTH} bytes"));
    }
    text.chars().try_for_each(quoted)?;
    // The parser may look at all operators before one that it cannot place: their number bounds the work.
    if text.bytes().filter(|b| b"|&;<>()[".contains(b)).count() > MAX_OPERATORS {
        return Err(format!("more than {MAX_OPERATORS} operators in one line"));
    }
    if text.bytes().filter(|b| *b == b'|').count() > MAX_PIPES || text.matches("case").count() > MAX_CASES {
        return Err(format!("more than {MAX_PIPES} pipes or {MAX_CASES} cases in one line"));
    }
    let back: usize = text.lines().map(|line| line.len() * line.matches('$').count()).sum();
    if text.contains("<<") && back > MAX_BACK {
        return Err("too many expansions in one line of a here-document".into());
    }
    if deepest(text) > MAX_OPEN {
        return Err("brackets within brackets, too deep".into());
    }
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_bash::LANGUAGE.into()).map_err(|e| e.to_string())?;
    // Counted, not timed: the same line is always read alike.
    let mut rounds = 0usize;
    let mut count = |state: &tree_sitter::ParseState| {
        rounds += 1;
        // A line with an error is unknown, and mending it is what takes long.
        if rounds > MAX_ROUNDS || state.has_error() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let options = ParseOptions::new().progress_callback(&mut count);
    let bytes = text.as_bytes();
    let mut read = |at: usize, _| bytes.get(at..).unwrap_or_default();
    let tree = parser
        .parse_with_options(&mut read, None, Some(options))
        .ok_or("the command line takes too long to read")?;
    let root = tree.root_node();
    if root.has_error() {
        return Err("a syntax that is not understood".into());
    }
    if root.kind() != "program" || root.end_byte() > text.len() {
        return Err("a syntax that is not understood".into());
    }
    gap(text, 0, root.start_byte(), true)?;
    gap(text, root.end_byte(), text.len(), true)?;
    too_deep(root)?;
    Ok(tree)
}

/// The children of a node without comments. What lies between them is blank; it may hold line breaks where `lines`
/// says so of the child before and the child after.
pub(crate) fn children<'t>(
    node: Node<'t>,
    text: &str,
    lines: impl Fn(&Node<'t>, &Node<'t>) -> bool,
) -> Result<Vec<Node<'t>>, String> {
    let mut cursor = node.walk();
    let mut kept: Vec<Node<'t>> = Vec::new();
    let mut end = node.start_byte();
    for child in node.children(&mut cursor) {
        let comment = child.kind() == "comment";
        let free = kept.last().is_none_or(|last| comment || lines(last, &child));
        if kept.last().is_some_and(|last| is_keyword(last) && last.end_byte() == child.start_byte()) {
            // `else'rm'` is one word for a shell.
            return Err("a keyword without a blank behind it".into());
        }
        gap(text, end, child.start_byte(), free)?;
        operator_is_one(text, &child)?;
        end = child.end_byte();
        if comment {
            comment_is_one(text, &child)?;
            if !kept.last().is_none_or(|last| lines(last, last)) {
                return Err("a comment within a command".into());
            }
        } else {
            kept.push(child);
        }
    }
    let free = kept.last().is_some_and(|last| lines(last, last));
    gap(text, end, node.end_byte(), free)?;
    Ok(kept)
}

fn is_keyword(node: &Node) -> bool {
    !node.is_named()
        && (["{", "!"].contains(&node.kind()) || node.kind().bytes().all(|b| b.is_ascii_alphabetic()))
}

/// Between two nodes a shell skips blanks, escaped line breaks and, at some places, line breaks.
pub(crate) fn gap(text: &str, from: usize, to: usize, lines: bool) -> Result<(), String> {
    let between = text.get(from..to).ok_or("a syntax that is not understood")?;
    let blank = between.replace("\\\n", "");
    if blank.is_empty() && !between.is_empty() {
        // The shell joins what the parser told apart.
        return Err("a word across an escaped line break".into());
    }
    match blank.chars().find(|c| !(matches!(c, ' ' | '\t') || lines && *c == '\n')) {
        None => Ok(()),
        Some('\n') => Err("a line break within a command".into()),
        Some(_) => Err("a syntax that is not understood".into()),
    }
}

/// The source of a node.
pub(crate) fn source<'a>(text: &'a str, node: Node) -> Result<&'a str, String> {
    text.get(node.byte_range()).ok_or_else(|| "a syntax that is not understood".into())
}

/// An operator is what it is called: the parser takes `-<<` for `<<`, and then a word is gone.
pub(crate) fn operator_is_one(text: &str, node: &Node) -> Result<(), String> {
    if node.is_named() || source(text, *node)?.trim() == node.kind().trim() {
        return Ok(());
    }
    Err("a syntax that is not understood".into())
}

/// A comment begins where a word could, and ends with its line.
fn comment_is_one(text: &str, comment: &Node) -> Result<(), String> {
    let before = text.get(..comment.start_byte()).unwrap_or_default();
    let starts = match before.chars().next_back() {
        None | Some('\n' | ';' | '&' | '|' | '(' | ')') => true,
        Some(' ' | '\t') => !before.trim_end_matches([' ', '\t']).ends_with('\\'),
        Some(_) => false,
    };
    if !starts || source(text, *comment)?.contains('\n') {
        return Err("a comment that is not understood".into());
    }
    Ok(())
}

/// How many brackets are open at once, quotes aside: an upper bound for what a parser has to hold.
fn deepest(text: &str) -> usize {
    let (mut open, mut most) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'{' => open += 1,
            b')' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// Walks without recursion: the walk itself must not be what breaks.
fn too_deep(root: Node) -> Result<(), String> {
    let mut cursor = root.walk();
    let mut depth = 0usize;
    // A list of n commands is n levels deep, and no danger.
    let weight = |node: Node| usize::from(!matches!(node.kind(), "list" | "pipeline"));
    loop {
        let here = weight(cursor.node());
        if cursor.goto_first_child() {
            depth += here;
            if depth > MAX_DEPTH {
                return Err("commands within commands, too deep".into());
            }
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return Ok(());
            }
            depth -= weight(cursor.node());
        }
    }
}

/// Longer lines are not read: nobody would read them before saying yes, either.
const MAX_LENGTH: usize = 64 << 10;
const MAX_OPEN: usize = 400;
/// Those in quotes and here-documents count, too: about 30 kB of code.
const MAX_OPERATORS: usize = 3_000;
const MAX_PIPES: usize = 1_000;
const MAX_CASES: usize = 300;
/// At each expansion in a here-document the parser goes back to where its line begins.
const MAX_BACK: usize = 20_000_000;
/// Of the syntax tree.
const MAX_DEPTH: usize = 40;
/// The parser reports after every hundred or so of its steps: some ten times for a kilobyte of words.
const MAX_ROUNDS: usize = 4_000;
