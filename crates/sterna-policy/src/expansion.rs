//! Expansions of a shell by their text alone: `${name%.rs}`, `$'…'` and `{1..9}`.

use crate::characters::is_name;
use crate::shell::Hidden;

/// What the inside of `${…}` makes of a variable where it stands in quotes; `None`: it may set one or run something.
pub(crate) fn made_of(inner: &str) -> Option<Hidden> {
    if let Some(counted) = inner.strip_prefix('#') {
        let name = counted.strip_suffix("[@]").or_else(|| counted.strip_suffix("[*]")).unwrap_or(counted);
        return is_name(name).then_some(Hidden::Number);
    }
    let end = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    let parameter = name.bytes().all(|b| b.is_ascii_digit()) || is_name(name);
    let special = name.is_empty() && rest.starts_with(['@', '*']);
    if !(parameter && !name.is_empty() || special) {
        return None;
    }
    let mut rest = if special { &rest[1..] } else { rest };
    let mut made = if special { Hidden::Many } else { Hidden::One };
    if let Some((index, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        match index {
            "@" | "*" => made = Hidden::Many,
            index if !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()) => {}
            _ => return None,
        }
        rest = after;
    }
    let plain =
        |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "_.,:@/*?+= -[]%#^".contains(c));
    let number = |text: &str| {
        let digits = text.trim_start().trim_start_matches('-');
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    };
    let fits = match rest {
        "" | "^" | "^^" | "," | ",," => true,
        // `:=` sets, and `@` runs what it finds in a prompt.
        _ if rest.starts_with([':', '-', '+', '?']) => {
            let operator = rest.strip_prefix(':').unwrap_or(rest);
            match operator.chars().next() {
                Some('-' | '+' | '?') => plain(&operator[1..]),
                _ => {
                    rest.starts_with(':')
                        && operator.split(':').count() < 3
                        && operator.split(':').all(number)
                }
            }
        }
        _ => rest.starts_with(['%', '#', '/']) && plain(rest),
    };
    fits.then_some(made)
}

/// The text of `$'…'` where its escapes are the usual ones.
pub(crate) fn ansi_c(source: &str) -> Option<String> {
    let inner = source.strip_prefix("$'")?.strip_suffix('\'')?;
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                // An escaped quote ends the string for a shell that does not know this form.
                c @ ('\\' | '"') => c,
                _ => return None,
            },
            c => c,
        });
    }
    Some(text)
}

/// The words of `{1..9}` and `{a..e}`.
pub(crate) fn range(inner: &str) -> Option<Vec<String>> {
    let (from, to) = inner.split_once("..")?;
    let letter = |text: &str| match text.as_bytes() {
        [letter] if letter.is_ascii_lowercase() => Some(*letter),
        _ => None,
    };
    if let (Some(from), Some(to)) = (letter(from), letter(to)) {
        return (from <= to).then(|| (from..=to).map(|c| char::from(c).to_string()).collect());
    }
    let plain = |text: &str| text.len() < 6 && (text == "0" || !text.starts_with('0'));
    if !plain(from) || !plain(to) {
        return None;
    }
    let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to && to - from < MAX_RANGE).then(|| (from..=to).map(|n| n.to_string()).collect())
}

const MAX_RANGE: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_set_or_run_something_is_not_understood() {
        for text in [
            "x:=y", "x=y", "x@P", "!x", "x[i]", "x[$(y)]", "x:$(y)", "x:a:b", "x-$(y)", "x-`y`", "x%\"y\"",
            "", "-", "x:", "x:1:2:3", "#x%y",
        ] {
            assert_eq!(made_of(text), None, "{text}");
        }
        let one = [
            "x%.rs", "x##*/", "x:-none", "x-", "x:0:8", "x: -3", "x/a/b", "x//./-", "x^^", "x[0]", "1", "x?",
        ];
        for text in one {
            assert_eq!(made_of(text), Some(Hidden::One), "{text}");
        }
        for text in ["x[@]", "@", "*", "x[*]", "@:2"] {
            assert_eq!(made_of(text), Some(Hidden::Many), "{text}");
        }
        assert_eq!(made_of("#x"), Some(Hidden::Number));
        assert_eq!(made_of("#x[@]"), Some(Hidden::Number));
    }

    #[test]
    fn escapes_and_ranges_are_what_a_shell_makes_of_them() {
        assert_eq!(ansi_c(r"$'a\tb\\'").as_deref(), Some("a\tb\\"));
        assert_eq!(ansi_c(r"$'a\'; rm x #'"), None);
        assert_eq!(ansi_c(r"$'\x41'"), None);
        assert_eq!(range("1..3"), Some(vec!["1".into(), "2".into(), "3".into()]));
        assert_eq!(range("a..c"), Some(vec!["a".into(), "b".into(), "c".into()]));
        for text in ["3..1", "01..3", "1..9..2", "1..", "a..C", "0..100", "x..y z"] {
            assert_eq!(range(text), None, "{text}");
        }
    }
}
