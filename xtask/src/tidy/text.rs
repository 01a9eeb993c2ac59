//! What no file may hold.

use super::Problem;
use super::blank::blank;

/// Checks one text file.
pub fn check(path: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    // What a test feeds to the code may name any folder.
    let is_test = is_test_data(path);
    for (number, line) in (1..).zip(text.lines()) {
        for folder in MACHINE.iter().filter(|folder| !is_test && names_folder(line, folder)) {
            let what = format!("`{folder}` is a path of one machine");
            problems.push(Problem::new(path, number, what));
        }
        if path.ends_with(".md") {
            if line.contains('\t') {
                problems.push(Problem::new(path, number, "a tab"));
            }
            if line.ends_with(' ') {
                problems.push(Problem::new(path, number, "a space at the end"));
            }
        }
    }
    if path.ends_with(".rs") {
        problems.extend(left_over(path, text));
    }
    problems
}

/// Work that somebody meant to do later.
fn left_over(path: &str, source: &str) -> Vec<Problem> {
    let parts = blank(source);
    let mut problems = Vec::new();
    for (number, (code, comment)) in (1..).zip(parts.code.lines().zip(parts.comments.lines())) {
        for found in UNDONE.iter().filter(|word| code.contains(*word)) {
            problems.push(Problem::new(path, number, format!("`{found}…)`: finish it or leave it out")));
        }
        for found in LATER.iter().filter(|word| has_word(comment, word)) {
            problems.push(Problem::new(path, number, format!("`{found}`: finish it or open an issue")));
        }
    }
    problems
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

fn is_test_data(path: &str) -> bool {
    path.contains("/tests/") && !path.ends_with(".rs")
}

/// Whether the folder stands in the line as the beginning of an absolute path.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/*~}".contains(c))
    })
}

// Put together here, so that this file does not hold what it looks for.
const MACHINE: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
const UNDONE: [&str; 2] = ["todo!(", "unimplemented!("];
const LATER: [&str; 3] = ["TODO", "FIXME", "XXX"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_judged() {
        let work = MACHINE[0];
        // Path, text, how many problems.
        let table = [
            ("a.md", "fine\n".to_owned(), 0),
            ("a.md", "end \n\ttab\n".to_owned(), 2),
            ("a.sh", "\tend \n".to_owned(), 0),
            ("a.toml", format!("p = \"{work}x\""), 1),
            ("crates/a/tests/lines.txt", format!("rm {work}x"), 0),
            ("a.md", format!("see frame{work}x and https://host{work}x"), 0),
            ("a.rs", "fn f() { todo!() }".to_owned(), 1),
            ("a.rs", "fn f() { g(\"TODO\") } // TODO later".to_owned(), 1),
            ("a.rs", "// a todo list, and AUTODOC".to_owned(), 0),
        ];
        for (path, text, expected) in table {
            assert_eq!(check(path, &text).len(), expected, "{path}: {text}");
        }
    }
}
