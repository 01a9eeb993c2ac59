//! A file can be read in one sitting.

use super::Problem;
use super::blank::{blank, without_tests};

/// Counts the lines of a source without its tests.
pub fn check(path: &str, source: &str) -> Option<Problem> {
    if is_test_file(path) {
        let lines = source.lines().count();
        return (lines > MAX_TEST_LINES).then(|| {
            Problem::new(
                path,
                0,
                format!("{lines} lines of tests: split them, {MAX_TEST_LINES} is the limit"),
            )
        });
    }
    let tests = test_lines(source);
    let lines = source.lines().count().saturating_sub(tests);
    (lines > MAX_LINES).then(|| {
        Problem::new(path, 0, format!("{lines} lines without tests: split it, {MAX_LINES} is the limit"))
    })
}

/// Whether a file holds nothing but tests.
pub fn is_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let folder = path.split('/').rev().skip(1).any(|part| part == "tests");
    folder || name == "tests.rs" || name.ends_with("_tests.rs")
}

/// Lines that are in items for tests, comments of these included.
fn test_lines(source: &str) -> usize {
    let code = blank(source).code;
    let kept = without_tests(&code);
    let within = code.lines().zip(kept.lines()).map(|(all, kept)| all.trim() != kept.trim());
    // Blank lines and comments between lines of tests are theirs too.
    let within: Vec<bool> = within.collect();
    let blank_line: Vec<bool> = code.lines().map(|line| line.trim().is_empty()).collect();
    let mut count = 0;
    let mut open = 0;
    let mut before = false;
    for (test, blank) in within.into_iter().zip(blank_line) {
        if test {
            count += 1 + if before { open } else { 0 };
            (open, before) = (0, true);
        } else if blank {
            open += 1;
        } else {
            (open, before) = (0, false);
        }
    }
    count
}

const MAX_LINES: usize = 800;
const MAX_TEST_LINES: usize = 1_500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_are_no_tests_count() {
        let code = |lines: usize| "fn a() {}\n".repeat(lines);
        let tests = |lines: usize| {
            format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    // x\n\n    fn t() {}\n".repeat(lines))
        };
        assert_eq!(check("crates/a/src/b.rs", &code(800)), None);
        assert!(check("crates/a/src/b.rs", &code(801)).is_some());
        assert_eq!(check("crates/a/src/b.rs", &(code(800) + &tests(400))), None);
        assert!(check("crates/a/src/b.rs", &(tests(1) + &code(801))).is_some());
        assert_eq!(check("crates/a/src/b_tests.rs", &code(1_500)), None);
        assert!(check("crates/a/tests/b.rs", &code(1_501)).is_some());
    }

    #[test]
    fn test_files_are_known_by_name_and_folder() {
        for path in ["crates/a/tests/b.rs", "crates/a/src/c_tests.rs", "crates/a/src/d/tests.rs"] {
            assert!(is_test_file(path), "{path}");
        }
        for path in ["crates/a/src/b.rs", "crates/a/src/conformance/append.rs", "crates/attests/src/b.rs"] {
            assert!(!is_test_file(path), "{path}");
        }
    }
}
