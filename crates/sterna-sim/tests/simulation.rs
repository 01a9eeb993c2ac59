//! Eighty seeds of the simulation, that the same seed gives the same log, and that defects are found.
//! `cargo xtask sim` runs ten thousand.

#![allow(clippy::unwrap_used)]

use sterna_sim::{Mutation, Options, report, run};

#[test]
fn seeds_hold_all_invariants() {
    let halves: Vec<_> =
        [0..40u64, 40..80].into_iter().map(|seeds| std::thread::spawn(|| check(seeds))).collect();
    for half in halves {
        half.join().unwrap();
    }
}

fn check(seeds: std::ops::Range<u64>) {
    let options = Options::default();
    let mut answers = Vec::new();
    for seed in seeds {
        let lived = run(seed, &options);
        assert!(lived.wrong.is_empty(), "{}", report(&lived, &options));
        answers.push(lived.answers);
    }
    // What never happens is not tested.
    for (what, count) in [
        ("early", answers.iter().map(|answers| answers.early).sum::<usize>()),
        ("by people", answers.iter().map(|answers| answers.by_people).sum()),
        ("by time", answers.iter().map(|answers| answers.by_time).sum()),
        ("when its time comes", answers.iter().map(|answers| answers.woken).sum()),
        ("by a signal", answers.iter().map(|answers| answers.signals).sum()),
        ("by a signal that was there before", answers.iter().map(|answers| answers.kept_signals).sum()),
    ] {
        assert!(count > 0, "no question is answered {what}");
    }
}

#[test]
fn a_seed_gives_the_same_log() {
    for seed in 0..30 {
        let (first, second) = (run(seed, &Options::default()), run(seed, &Options::default()));
        assert_eq!(first.digest, second.digest, "seed {seed}");
        assert_eq!(first.taken, second.taken, "seed {seed}");
    }
}

#[test]
fn defects_of_the_store_are_found() {
    for mutation in Mutation::ALL {
        let options = Options { mutation: Some(mutation), ..Options::default() };
        let found = (0..400).find(|seed| !run(*seed, &options).wrong.is_empty());
        assert!(found.is_some(), "{mutation:?} is not found");
    }
}
