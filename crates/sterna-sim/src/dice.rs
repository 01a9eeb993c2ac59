//! Choices: each a pure function of the seed, its site and how often the site was asked. A choice can be masked,
//! which makes it the dull one and leaves all others as they were: that is what the minimiser does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// One choice that was not the dull one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice {
    pub site: &'static str,
    /// Which worker, user, effect: sites of one name do not disturb each other.
    pub lane: u64,
    pub n: u32,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{:x}]#{}", self.site, self.lane & 0xffff, self.n)
    }
}

pub struct Dice {
    seed: u64,
    mask: BTreeSet<Choice>,
    asked: Mutex<BTreeMap<(&'static str, u64), u32>>,
    taken: Mutex<Vec<(Choice, usize)>>,
    /// No more faults.
    calm: AtomicBool,
}

impl Dice {
    pub fn new(seed: u64, mask: BTreeSet<Choice>) -> Self {
        let (asked, taken, calm) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Self { seed, mask, asked, taken, calm }
    }

    /// One of several, by weight. The first is the dull one.
    pub fn pick(&self, site: &'static str, lane: u64, weights: &[u64]) -> usize {
        let choice = self.ask(site, lane);
        self.weigh(choice, weights)
    }

    /// Whether a fault strikes. Never when it is calm.
    pub fn fault(&self, site: &'static str, lane: u64, per_mille: u64) -> bool {
        let choice = self.ask(site, lane);
        !self.is_calm() && self.weigh(choice, &[1000 - per_mille, per_mille]) == 1
    }

    /// As `fault`, for callers whose order is not known: who asks alike is answered alike.
    pub fn fault_at(&self, site: &'static str, lane: u64, per_mille: u64) -> bool {
        let choice = Choice { site, lane, n: 0 };
        !self.is_calm() && self.weigh(choice, &[1000 - per_mille, per_mille]) == 1
    }

    /// A number below `n` that is no choice: how long, which text.
    pub fn below(&self, site: &'static str, lane: u64, n: u64) -> u64 {
        let choice = self.ask(site, lane);
        self.roll(choice) % n.max(1)
    }

    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    /// All choices that were not the dull one, in order, with what was chosen.
    pub fn taken(&self) -> Vec<(Choice, usize)> {
        self.taken.lock().unwrap().clone()
    }

    fn ask(&self, site: &'static str, lane: u64) -> Choice {
        let mut asked = self.asked.lock().unwrap();
        let n = asked.entry((site, lane)).or_insert(0);
        *n += 1;
        Choice { site, lane, n: *n }
    }

    fn weigh(&self, choice: Choice, weights: &[u64]) -> usize {
        if self.mask.contains(&choice) {
            return 0;
        }
        let mut at = self.roll(choice) % weights.iter().sum::<u64>().max(1);
        let mut chosen = 0;
        for (i, weight) in weights.iter().enumerate() {
            if at < *weight {
                chosen = i;
                break;
            }
            at -= weight;
        }
        if chosen != 0 {
            self.taken.lock().unwrap().push((choice, chosen));
        }
        chosen
    }

    fn roll(&self, choice: Choice) -> u64 {
        let site = choice.site.bytes().fold(self.seed, |hash, byte| mix(hash ^ u64::from(byte)));
        mix(mix(site ^ choice.lane) ^ u64::from(choice.n))
    }
}

/// Spreads a number over all bits (the finaliser of splitmix64).
pub fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A lane of a name.
pub fn lane_of(text: &str) -> u64 {
    text.bytes().fold(7, |hash, byte| mix(hash ^ u64::from(byte)))
}
