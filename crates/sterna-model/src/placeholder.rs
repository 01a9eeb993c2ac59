//! The placeholder that stands where a secret stood: `[secret:NAME:HASH]`.

use std::ops::Range;

/// Bytes of the longest placeholder.
pub const PLACEHOLDER_BYTES: usize = BEGIN.len() + NAME_BYTES + 1 + HASH_BYTES + 1;

/// The placeholder of a name and a hash. What a name may not hold becomes `_`, and what is too long is cut.
pub fn placeholder(name: &str, hash: &str) -> String {
    let name: String = name.chars().take(NAME_BYTES).map(|c| if is_name(c) { c } else { '_' }).collect();
    format!("{BEGIN}{name}:{hash}]")
}

/// All placeholders of a text, in order, each with its place.
pub fn placeholders(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    text.match_indices(BEGIN).filter_map(|(at, _)| {
        let rest = &text[at + BEGIN.len()..];
        let name = rest.find(|c| !is_name(c)).filter(|len| (1..=NAME_BYTES).contains(len))?;
        let hash = rest[name..].strip_prefix(':')?;
        let digits = hash.find(|c: char| !c.is_ascii_hexdigit()).filter(|len| *len == HASH_BYTES)?;
        hash[digits..].starts_with(']').then(|| {
            let range = at..at + BEGIN.len() + name + 1 + digits + 1;
            (range.clone(), &text[range])
        })
    })
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

const BEGIN: &str = "[secret:";
const NAME_BYTES: usize = 40;
const HASH_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_made_and_found() {
        let made = placeholder("MY KEY/ö", "0a1b2c3d");
        assert_eq!(made, "[secret:MY_KEY__:0a1b2c3d]");
        let text =
            format!("é{made}{made} [secret:x:12] [secret::0a1b2c3d] [secret:x:0a1b2c3d [secret:y:0a1b2c3g]");
        let found: Vec<_> = placeholders(&text).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].0, 2 + made.len()..2 + 2 * made.len());
        assert!(found.iter().all(|(range, text_of)| text[range.clone()] == made && *text_of == made));
        let long = placeholder(&"n".repeat(99), "0a1b2c3d");
        assert_eq!((long.len(), placeholders(&long).count()), (PLACEHOLDER_BYTES, 1));
    }
}
