//! Where the commands of a line may run, told from where the line starts: each `cd` that succeeds moves on, and where it
//! is not certain whether it did, both places count.

use crate::shell::Word;

/// Where a `cd` leads, by name alone: a shell takes `..` for the folder that it came from, links or not.
pub(crate) fn from(place: &Word, target: &Word) -> Word {
    if target.tilde || target.text.starts_with('/') || place.text.is_empty() && !place.tilde {
        return Word { text: tidy(&target.text), tilde: target.tilde, ..Word::default() };
    }
    let text = tidy(&format!("{}/{}", place.text, target.text));
    Word { text, tilde: place.tilde, ..Word::default() }
}

/// Every place that one of `targets` may be from one of `places`.
pub(crate) fn all_from(places: &[Word], targets: &[Word]) -> Vec<Word> {
    let mut all = Vec::new();
    for place in places {
        for target in targets {
            let stays = target.text.is_empty() && !target.tilde;
            merge(&mut all, &[if stays { place.clone() } else { from(place, target) }]);
        }
    }
    all
}

/// Adds places that are not there yet.
pub(crate) fn merge(places: &mut Vec<Word>, more: &[Word]) {
    for word in more {
        if !places.contains(word) {
            places.push(word.clone());
        }
    }
}

/// Without `.` and empty parts, and without `..` behind a name. The home folder's `~` is no name.
fn tidy(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !["", "."].contains(part)) {
        match (part, parts.last()) {
            ("..", Some(last)) if !["..", "~"].contains(last) => drop(parts.pop()),
            ("..", None) if path.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_goes_back_to_where_it_came_from() {
        let home = |text: &str| Word { tilde: true, ..Word::literal(text) };
        let table = [
            (Word::default(), Word::literal("a/b"), Word::literal("a/b")),
            (Word::literal("a/b"), Word::literal(".."), Word::literal("a")),
            (Word::literal("a"), Word::literal("../.."), Word::literal("..")),
            (Word::literal("a"), Word::literal(".."), Word::default()),
            (Word::literal(".."), Word::literal("../x/./y"), Word::literal("../../x/y")),
            (Word::literal("a"), Word::literal("/etc/../usr"), Word::literal("/usr")),
            (Word::literal("/"), Word::literal(".."), Word::literal("/")),
            (Word::literal("a"), home("~/x"), home("~/x")),
            (home("~/x"), Word::literal("../y"), home("~/y")),
            (home("~"), Word::literal(".."), home("~/..")),
        ];
        for (place, target, want) in table {
            assert_eq!(from(&place, &target), want, "{} from {}", target.text, place.text);
        }
    }
}
