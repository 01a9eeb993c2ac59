//! The environment of a child: an allow-list, so that no key reaches it.

use std::collections::BTreeMap;

/// The variables of `all` that a child may see: the fixed list, every `LC_*`, and the names in `pass`.
pub fn allow_list<'a>(
    all: impl IntoIterator<Item = (String, String)>,
    pass: impl IntoIterator<Item = &'a str>,
) -> BTreeMap<String, String> {
    let pass: Vec<&str> = pass.into_iter().collect();
    all.into_iter()
        .filter(|(name, _)| {
            let name = name.as_str();
            let listed = ALWAYS.contains(&name) || name.starts_with("LC_") || pass.contains(&name);
            listed && !NEVER.contains(&name)
        })
        .collect()
}

const ALWAYS: &[&str] = &["PATH", "HOME", "LANG", "TERM", "TZ", "TMPDIR"];

/// They name files that a shell would run before the command.
pub(crate) const NEVER: &[&str] = &["BASH_ENV", "ENV"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_passes() {
        let all =
            ["PATH", "HOME", "LC_ALL", "ANTHROPIC_API_KEY", "ENV", "BASH_ENV", "CC", "PATHS", "XLC_ALL"]
                .map(|name| (name.to_owned(), format!("value of {name}")));
        let names = |pass: &[&str]| -> Vec<String> {
            allow_list(all.clone(), pass.iter().copied()).into_keys().collect()
        };
        assert_eq!(names(&[]), ["HOME", "LC_ALL", "PATH"]);
        assert_eq!(names(&["CC", "BASH_ENV", "NOT_SET"]), ["CC", "HOME", "LC_ALL", "PATH"]);
    }
}
