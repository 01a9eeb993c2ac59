//! Of a long page, the passages that a question is about. Pure.

use std::collections::BTreeSet;

/// The passages that share most with `question`, in the order of the page, together at most `max` bytes. Each gap is
/// marked. A page that fits is whole.
pub(crate) fn focus(page: &str, question: &str, max: usize) -> String {
    if page.len() <= max {
        return page.to_owned();
    }
    let wanted = words(question);
    let passages = passages(page);
    let with: Vec<BTreeSet<String>> = passages.iter().map(|passage| words(passage)).collect();
    // A word that is everywhere tells little.
    let weight = |word: &String| {
        let n = with.iter().filter(|words| words.contains(word)).count();
        if n == 0 { 0.0 } else { 1.0 / n as f64 }
    };
    let weights: Vec<(&String, f64)> = wanted.iter().map(|word| (word, weight(word))).collect();
    let score = |at: usize| -> f64 {
        weights.iter().filter(|(word, _)| with[at].contains(*word)).map(|(_, weight)| weight).sum()
    };
    let mut order: Vec<(usize, f64)> = (0..passages.len()).map(|at| (at, score(at))).collect();
    // The beginning says what the page is, whatever is asked.
    if let Some(first) = order.first_mut() {
        first.1 = f64::INFINITY;
    }
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut taken = BTreeSet::new();
    let mut room = max;
    for (at, score) in order {
        let cost = passages[at].len() + GAP.len();
        if score <= 0.0 {
            break;
        }
        if cost <= room {
            room -= cost;
            taken.insert(at);
        }
    }
    let mut text = String::new();
    let mut last = None;
    for at in taken {
        if last.is_some_and(|last: usize| last + 1 < at) {
            text.push_str(GAP);
        }
        text.push_str(passages[at]);
        last = Some(at);
    }
    text
}

/// Paragraphs; a long one is cut at the ends of its lines, and a long line at a character.
fn passages(page: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for line in page.split_inclusive('\n') {
        let end = at + line.len();
        if end - start > PASSAGE_BYTES && at > start {
            all.push(&page[start..at]);
            start = at;
        }
        while end - start > PASSAGE_BYTES {
            let cut = page.floor_char_boundary(start + PASSAGE_BYTES);
            all.push(&page[start..cut]);
            start = cut;
        }
        at = end;
        if line.trim().is_empty() && at - start > SHORT_BYTES {
            all.push(&page[start..at]);
            start = at;
        }
    }
    if start < page.len() {
        all.push(&page[start..]);
    }
    all
}

fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() > 2);
    words.map(str::to_lowercase).collect()
}

const GAP: &str = "\n[…]\n\n";
const PASSAGE_BYTES: usize = 2 << 10;
/// A passage shorter than this takes in the next paragraph.
const SHORT_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_passages_that_are_asked_for_come_in_the_order_of_the_page() {
        let filler = |n: usize| format!("Filler number {n} {}\n\n", "about nothing ".repeat(20));
        let mut page = "# Manual\n\nIntroduction of the manual, as long as it takes to be a passage by itself. It goes on \
            and on about what a manual is, who reads it, and why nobody does; that is enough, surely, for a start.\n\n"
            .to_owned();
        for n in 0..20 {
            page.push_str(&filler(n));
            if n == 5 {
                page.push_str(&format!(
                    "The timeout of connections is 15 seconds.{}\n\n",
                    " More words.".repeat(20)
                ));
            }
            if n == 15 {
                page.push_str(&format!("Retries double the Timeout each.{}\n\n", " Other words.".repeat(20)));
            }
        }
        let got = focus(&page, "What is the timeout?", 1200);
        assert!(got.len() <= 1200, "{}", got.len());
        let at = |text: &str| got.find(text).unwrap_or_else(|| panic!("{text} is not in {got}"));
        assert!(at("# Manual") < at("[…]") && at("[…]") < at("timeout of connections"));
        assert!(at("timeout of connections") < at("double the Timeout"));
        assert!(!got.contains("Filler number 1 "));
        assert_eq!(focus("short", "anything", 100), "short");
    }

    proptest! {
        #[test]
        fn it_keeps_to_its_room(page in "(\\PC{0,40}\n{0,2}){0,40}", question in "\\PC{0,20}", max in 0usize..2000) {
            prop_assert!(focus(&page, &question, max).len() <= max);
            prop_assert_eq!(passages(&page).concat(), page);
        }
    }
}
