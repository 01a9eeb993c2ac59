//! Real processes that are killed with SIGKILL, and what they leave: a worker on the SDK whose model plays a script, a
//! world outside it that counts what happens to it, and a judge that looks at the world, the log and the process table.

// Two programs use it, and each of them not all.
#![allow(dead_code)]

pub mod figures;
pub mod judge;
pub mod life;
pub mod matrix;
pub mod outside;
pub mod run;
pub mod script;
pub mod worker;

/// splitmix64: the same seed gives the same throws.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 up to `n`, which is not 0 and not among them.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}
