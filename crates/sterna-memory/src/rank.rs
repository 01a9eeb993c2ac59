//! Which notes fit a query: by words (BM25), by vectors, and both fused by their ranks.

use std::collections::{BTreeMap, BTreeSet};

use sterna_log::words;

/// What is ranked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// All its words, in lower case.
    pub words: Vec<String>,
    /// What it is called: each name's words, joined by spaces.
    pub names: Vec<String>,
}

impl Document {
    /// The names count twice: they stand among the words and for themselves.
    pub fn new<'a>(
        names: impl IntoIterator<Item = &'a str>,
        more: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        let all = names.iter().copied().chain(names.iter().copied()).chain(more);
        let of = |name: &&str| words(name).collect::<Vec<_>>().join(" ");
        Self { words: all.flat_map(words).collect(), names: names.iter().map(of).collect() }
    }
}

/// How well each document fits the words of a query: Okapi BM25 with k1 1.2 and b 0.75. 0: they share no word that
/// tells anything.
pub fn bm25(documents: &[Document], query: &str) -> Vec<f64> {
    let wanted: BTreeSet<String> = words(query).filter(|word| !is_common(word)).collect();
    let total: usize = documents.iter().map(|document| document.words.len()).sum();
    let average = (total as f64 / documents.len().max(1) as f64).max(1.0);
    let mut scores = vec![0.0; documents.len()];
    let counts: Vec<BTreeMap<&str, usize>> = documents
        .iter()
        .map(|document| {
            let mut counts = BTreeMap::new();
            for word in document.words.iter().filter(|word| wanted.contains(*word)) {
                *counts.entry(word.as_str()).or_default() += 1;
            }
            counts
        })
        .collect();
    for word in &wanted {
        let holding = counts.iter().filter(|counts| counts.contains_key(word.as_str())).count() as f64;
        // Never negative: a word that most of them have still says something.
        let idf = (1.0 + (documents.len() as f64 - holding + 0.5) / (holding + 0.5)).ln();
        for ((score, counts), document) in scores.iter_mut().zip(&counts).zip(documents) {
            let count = counts.get(word.as_str()).copied().unwrap_or(0) as f64;
            let length = document.words.len() as f64 / average;
            *score += idf * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length));
        }
    }
    scores
}

/// Whether a query names this document: one of its names stands in it, word for word.
pub fn names(document: &Document, query: &str) -> bool {
    let query = format!(" {} ", words(query).collect::<Vec<_>>().join(" "));
    let said = |name: &String| !name.is_empty() && !is_common(name) && query.contains(&format!(" {name} "));
    document.names.iter().any(said)
}

/// Several rankings as one: reciprocal rank fusion with k 60. Each ranking holds scores; what is not above its floor
/// is not in it. Best first; of equals the first.
pub fn fused(rankings: &[(&[f64], f64)]) -> Vec<usize> {
    let mut scores: BTreeMap<usize, f64> = BTreeMap::new();
    for (ranking, floor) in rankings {
        let mut order: Vec<usize> = (0..ranking.len()).filter(|at| ranking[*at] > *floor).collect();
        order.sort_by(|a, b| ranking[*b].total_cmp(&ranking[*a]).then(a.cmp(b)));
        let mut rank = 0;
        for (place, at) in order.iter().enumerate() {
            // Equals share a rank.
            if place > 0 && ranking[*at] < ranking[order[place - 1]] {
                rank = place;
            }
            *scores.entry(*at).or_default() += 1.0 / (RRF_K + rank as f64 + 1.0);
        }
    }
    let mut order: Vec<(usize, f64)> = scores.into_iter().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    order.into_iter().map(|(at, _)| at).collect()
}

/// Words that stand in every text and tell nothing of it.
pub(crate) fn is_common(word: &str) -> bool {
    COMMON.contains(&word)
}

/// The design's constants, which are the usual ones.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// The constant of the paper that introduced the method (Cormack, Clarke, Büttcher, 2009).
const RRF_K: f64 = 60.0;
const COMMON: [&str; 62] = [
    "a", "about", "all", "am", "an", "and", "any", "are", "as", "at", "be", "but", "by", "can", "could",
    "did", "do", "does", "for", "from", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it",
    "its", "me", "my", "no", "not", "of", "on", "or", "our", "please", "should", "so", "that", "the",
    "their", "then", "there", "this", "to", "us", "was", "we", "what", "when", "where", "which", "who",
    "will", "with", "would", "you", "your",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(texts: &[&str]) -> Vec<Document> {
        texts.iter().map(|text| Document::new([], [*text])).collect()
    }

    #[test]
    fn bm25_is_what_the_formula_says() {
        // Three documents of two, two and four words: 8/3 on average.
        let docs = documents(&["red apple", "green apple", "red red wine glass"]);
        let scores = bm25(&docs, "the RED thing");
        // "red" is in two of three: ln(1 + 1.5/2.5).
        let idf = 1.6f64.ln();
        let first = idf * 2.2 / (1.0 + 1.2 * (0.25 + 0.75 * 2.0 / (8.0 / 3.0)));
        let third = idf * 2.0 * 2.2 / (2.0 + 1.2 * (0.25 + 0.75 * 4.0 / (8.0 / 3.0)));
        let wanted = [first, 0.0, third];
        for (score, wanted) in scores.iter().zip(wanted) {
            assert!((score - wanted).abs() < 1e-12, "{scores:?}");
        }
        assert!(third > first);
        assert!(bm25(&docs, "what is the").iter().all(|score| *score == 0.0));
        assert!(bm25(&[], "red").is_empty());
    }

    #[test]
    fn ranks_count_and_not_the_size_of_scores() {
        let check = |rankings: &[(&[f64], f64)], expected: &[usize]| assert_eq!(fused(rankings), expected);
        check(&[(&[9.0, 1.0, 5.0], 0.0)], &[0, 2, 1]);
        // Second in both beats first in one.
        check(&[(&[9.0, 8.0, 0.0], 0.0), (&[0.0, 0.5, 0.9], 0.0)], &[1, 0, 2]);
        check(&[(&[0.2, 0.4], 0.3)], &[1]);
        check(&[(&[0.0, 0.0], 0.0)], &[]);
        // Equals stay in their order.
        check(&[(&[1.0, 1.0, 2.0], 0.0)], &[2, 0, 1]);
    }

    #[test]
    fn names_are_found_as_whole_words() {
        let document = Document::new(["Test command", "tc"], ["cargo nextest run"]);
        for (query, expected) in [
            ("what is the TEST-command?", true),
            ("tc", true),
            ("etc", false),
            ("test the command", false),
            ("nextest", false),
        ] {
            assert_eq!(names(&document, query), expected, "{query}");
        }
    }
}
