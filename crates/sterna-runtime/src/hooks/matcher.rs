//! Matchers: which tools, modes or stops a hook wants to know of.

use regex::Regex;

/// A pattern that must match the whole of a name. None at all, an empty one and `*` match everything.
#[derive(Debug, Clone, Default)]
pub struct Matcher(Option<Regex>);

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the matcher `{given}` is no pattern: {why}")]
pub struct BadMatcher {
    pub given: String,
    pub why: String,
}

impl Matcher {
    /// Names divided by `|`, or a regular expression.
    pub fn new(pattern: &str) -> Result<Self, BadMatcher> {
        if matches!(pattern.trim(), "" | "*") {
            return Ok(Self(None));
        }
        let whole = format!("^(?:{})$", pattern.trim());
        let regex = regex::RegexBuilder::new(&whole).size_limit(MAX_SIZE).build();
        let bad = |e: regex::Error| {
            let why = e.to_string().lines().last().unwrap_or_default().trim().to_owned();
            BadMatcher { given: pattern.chars().take(200).collect(), why }
        };
        Ok(Self(Some(regex.map_err(bad)?)))
    }

    pub fn matches(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|regex| regex.is_match(name))
    }
}

/// Bytes of a compiled pattern.
const MAX_SIZE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matcher_matches_whole_names() {
        for (pattern, name, matches) in [
            ("", "shell", true),
            ("*", "shell", true),
            ("shell", "shell", true),
            ("shell", "shell_input", false),
            ("shell|edit", "edit", true),
            ("shell|edit", "credit", false),
            ("mcp__.*", "mcp__s__x", true),
            ("Shell", "shell", false),
            (" shell ", "shell", true),
        ] {
            assert_eq!(Matcher::new(pattern).unwrap().matches(name), matches, "{pattern} {name}");
        }
        assert!(Matcher::new("(").unwrap_err().to_string().contains("`(`"));
    }
}
