//! A seeded simulation: the real runtime in a world that is a pure function of a number.
//!
//! A single thread, a clock that stands still until everybody waits, and every choice drawn from the seed: the same
//! seed gives the same log, byte for byte. The store fails, workers die at every boundary and live again, two of them
//! share a store; then the faults stop, everything must settle, and the log is compared with a ledger of what really
//! happened.

// A world that cannot go on is a defect of the simulation, and ends it.
#![allow(clippy::unwrap_used)]

mod check;
mod dice;
mod model;
mod people;
mod store;
mod tools;
mod waits;
mod world;

use std::collections::BTreeSet;

pub use dice::Choice;
pub use store::Mutation;
use world::World;

/// How to run a world.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Choices that are the dull ones.
    pub mask: BTreeSet<Choice>,
    pub mutation: Option<Mutation>,
    /// Keep the story.
    pub telling: bool,
}

/// What came of a seed.
#[derive(Debug, Clone)]
pub struct Lived {
    pub seed: u64,
    /// What must never be, and was.
    pub wrong: Vec<String>,
    /// Tells one run from another: hashes of all logs.
    pub digest: String,
    /// Choices that were not dull.
    pub taken: Vec<(Choice, usize)>,
    pub story: Vec<String>,
    pub records: usize,
    pub lives: usize,
    pub effects: usize,
    pub answers: Answers,
}

/// How questions of a world ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// Before they were asked.
    pub early: usize,
    pub by_people: usize,
    /// At their deadline.
    pub by_time: usize,
    /// Calls that their time woke.
    pub woken: usize,
    /// Calls that a signal woke.
    pub signals: usize,
    /// Those whose signal was there before them.
    pub kept_signals: usize,
}

/// Lives a seed's world.
pub fn run(seed: u64, options: &Options) -> Lived {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread needs nothing");
    let options = options.clone();
    runtime.block_on(async move {
        let world = World::new(seed, options.mask, options.mutation, options.telling);
        let people = people::live(world.clone()).await;
        let worker = people.last_worker();
        let digest = check::check(&world, worker.as_ref().map(|worker| &worker.runtime)).await;
        let taken = world.dice.taken();
        let mut facts = world.facts();
        Lived {
            seed,
            digest,
            taken,
            wrong: std::mem::take(&mut facts.wrong),
            story: std::mem::take(&mut facts.story),
            records: facts.sessions.values().map(|seen| seen.records.len()).sum(),
            lives: facts.lives.len(),
            answers: check::answers(&facts),
            effects: facts.runs.iter().filter(|run| run.effect).count(),
        }
    })
}

/// The shortest variant of a failing seed that still fails: as many choices masked as can be.
pub fn shrink(failed: &Lived, options: &Options) -> (Options, Lived) {
    let mut best = (options.clone(), failed.clone());
    let mut size = failed.taken.len().div_ceil(2).max(1);
    let mut tries = 0;
    let kind = failed.wrong.first().map(|wrong| kind_of(wrong)).unwrap_or_default();
    loop {
        let mut shorter = false;
        let mut at = 0;
        while at < best.1.taken.len() && tries < SHRINK_TRIES {
            let chunk = best.1.taken.iter().skip(at).take(size).map(|(choice, _)| *choice);
            let mut trial = best.0.clone();
            trial.mask.extend(chunk);
            tries += 1;
            let lived = run(failed.seed, &trial);
            let same = lived.wrong.iter().any(|wrong| kind_of(wrong) == kind);
            if !same || lived.taken.len() >= best.1.taken.len() {
                at += size;
            } else {
                best = (trial, lived);
                shorter = true;
            }
        }
        if tries >= SHRINK_TRIES || (size == 1 && !shorter) {
            return best;
        }
        if !shorter {
            size = size.div_ceil(2);
        }
    }
}

/// What failed, without the names of the place: a shorter variant must fail in the same way.
fn kind_of(wrong: &str) -> String {
    let plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphabetic() || ",:;".contains(c));
    wrong.split_whitespace().filter(plain).take(6).collect::<Vec<_>>().join(" ")
}

/// Worlds that a minimiser lives at most.
const SHRINK_TRIES: usize = 1_500;

/// A failing seed and its shortest variant, for people.
pub fn report(failed: &Lived, options: &Options) -> String {
    let (mut shortest, _) = shrink(failed, options);
    shortest.telling = true;
    let lived = run(failed.seed, &shortest);
    let mut text = format!("seed {} fails: cargo xtask sim --seed {}\n", failed.seed, failed.seed);
    for wrong in &failed.wrong {
        text.push_str(&format!("  {wrong}\n"));
    }
    text.push_str(&format!(
        "the shortest variant has {} of {} choices:\n",
        lived.taken.len(),
        failed.taken.len()
    ));
    for (choice, value) in &lived.taken {
        text.push_str(&format!("  {choice} = {value}\n"));
    }
    text.push_str("and goes so:\n");
    for line in &lived.story {
        text.push_str(&format!("  {line}\n"));
    }
    for wrong in &lived.wrong {
        text.push_str(&format!("  wrong: {wrong}\n"));
    }
    text
}
