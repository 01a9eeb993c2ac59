//! Where a secret may begin: one look at each place of a text, and hardly anything to make at a process's start.

use crate::patterns::KINDS;

/// The beginning of a kind, in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub at: usize,
    /// Behind it.
    pub end: usize,
    /// Index of the kind.
    pub kind: usize,
}

/// The beginnings of all kinds.
pub(crate) struct Starts {
    /// By their bytes, each with its kind.
    texts: Vec<(&'static [u8], usize)>,
    /// A bit for the first three bytes of each. Other bytes may share it.
    marks: Box<[u64; MARKS / 64]>,
}

impl Starts {
    pub fn new() -> Self {
        let all = KINDS.iter().enumerate().flat_map(|(at, kind)| kind.starts.iter().map(move |s| (at, *s)));
        let mut texts: Vec<(&[u8], usize)> = all.map(|(kind, start)| (start.as_bytes(), kind)).collect();
        texts.sort_unstable();
        let mut marks = Box::new([0; MARKS / 64]);
        for three in texts.iter().filter_map(|(text, _)| text.first_chunk()) {
            let mark = mark(three);
            marks[mark / 64] |= 1 << (mark % 64);
        }
        Self { texts, marks }
    }

    /// The first beginning from `from` on; of several at one place the longest.
    pub fn find(&self, text: &[u8], from: usize) -> Option<Start> {
        let mut at = from;
        while let Some(three) = text.get(at..).and_then(<[u8]>::first_chunk) {
            let mark = mark(three);
            if self.marks[mark / 64] >> (mark % 64) & 1 == 1
                && let Some((len, kind)) = self.longest(&text[at..], three)
            {
                return Some(Start { at, end: at + len, kind });
            }
            at += 1;
        }
        None
    }

    /// The kinds that this text begins as, in the order of the table.
    pub fn kinds(&self, text: &[u8]) -> Vec<usize> {
        let Some(three) = text.first_chunk() else { return Vec::new() };
        let mut kinds: Vec<usize> = self.fitting(text, three).map(|(_, kind)| kind).collect();
        kinds.sort_unstable();
        kinds
    }

    /// Length and kind of the longest that this text begins with.
    fn longest(&self, text: &[u8], three: &[u8; 3]) -> Option<(usize, usize)> {
        self.fitting(text, three).max_by_key(|(len, _)| *len)
    }

    /// Length and kind of each that this text begins with; `three`: its first bytes.
    fn fitting(&self, text: &[u8], three: &[u8; 3]) -> impl Iterator<Item = (usize, usize)> {
        let first = self.texts.partition_point(|(start, _)| *start < three.as_slice());
        let same = self.texts[first..].iter().take_while(move |(start, _)| start.starts_with(three));
        same.filter(move |(start, _)| text.starts_with(start)).map(|(start, kind)| (start.len(), *kind))
    }
}

/// Spreads three bytes over all marks, so that few share one.
fn mark([first, second, third]: &[u8; 3]) -> usize {
    let number = u32::from_le_bytes([*first, *second, *third, 0]);
    (number.wrapping_mul(SPREAD) >> 16) as usize
}

/// Bits: 8 KiB of them, which stay in a core's nearest cache. As many as 16 bits have values.
const MARKS: usize = 1 << 16;
/// The golden ratio of 32 bits, as usual for multiplicative hashing.
const SPREAD: u32 = 0x9E37_79B1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_beginning_has_three_bytes_and_is_of_one_kind() {
        let Starts { texts, .. } = Starts::new();
        assert!(texts.iter().all(|(text, _)| text.len() >= 3));
        assert!(texts.windows(2).all(|two| two[0].0 != two[1].0), "two kinds begin alike");
    }

    #[test]
    fn the_longest_at_the_first_place_is_found() {
        let starts = Starts::new();
        let kind = |name: &str| KINDS.iter().position(|kind| kind.name == name).unwrap();
        let text = b"a sk-ant-x, then sk-y";
        assert_eq!(starts.find(text, 0), Some(Start { at: 2, end: 9, kind: kind("anthropic-key") }));
        assert_eq!(starts.find(text, 3), Some(Start { at: 17, end: 20, kind: kind("api-key") }));
        assert_eq!(starts.find(text, 18), None);
        assert_eq!(starts.find(text, 99), None);
        assert_eq!(starts.kinds(b"sk-ant-x"), [kind("anthropic-key"), kind("api-key")]);
        assert!(starts.kinds(b"sk").is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// As if each place were held against each beginning.
        #[test]
        fn as_by_trying_them_all(
            pieces in prop::collection::vec((any::<prop::sample::Index>(), 0usize..30, "[a-z:/_-]{0,3}"), 0..12),
            from in 0usize..40,
        ) {
            let all: Vec<(usize, &str)> =
                KINDS.iter().enumerate().flat_map(|(at, kind)| kind.starts.iter().map(move |s| (at, *s))).collect();
            let text: String = pieces
                .iter()
                .map(|(which, cut, other)| {
                    let start = all[which.index(all.len())].1;
                    format!("{}{other}", &start[..start.len().min(*cut)])
                })
                .collect();
            let text = text.as_bytes();
            let expected = (from..text.len()).find_map(|at| {
                let fit = all.iter().filter(|(_, start)| text[at..].starts_with(start.as_bytes()));
                fit.max_by_key(|(_, start)| start.len()).map(|(kind, start)| Start { at, end: at + start.len(), kind: *kind })
            });
            prop_assert_eq!(Starts::new().find(text, from), expected);
        }
    }
}
