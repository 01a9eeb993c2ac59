//! SIGKILL at any moment: a few runs of `cargo xtask crash`, and level 2 of the crash matrix.
//!
//! This program is also the worker that is killed and the shim of its commands, so it has a `main` of its own.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod kill;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use kill::life::{Kill, WORKER};
use kill::matrix::Death;
use kill::{matrix, run, worker};

const TESTS: [(&str, fn()); 2] = [
    ("twenty_runs_lose_and_double_nothing", twenty_runs_lose_and_double_nothing),
    ("a_kill_at_each_record_ends_as_the_table_says", a_kill_at_each_record_ends_as_the_table_says),
];

fn twenty_runs_lose_and_double_nothing() {
    let measure = run::measure().unwrap();
    let (next, kills, wrong) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Vec::new()));
    both(|| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= 20 {
                return;
            }
            let lived = run::run(seed, &measure, false);
            kills.fetch_add(lived.kills as u64, Ordering::Relaxed);
            wrong.lock().unwrap().extend(lived.wrong.iter().map(|what| format!("seed {seed}: {what}")));
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}\n`cargo xtask crash --seed N` runs one alone", wrong.join("\n"));
    // A plan that never meets a living process proves nothing.
    assert!(kills.into_inner() >= 20);
}

fn a_kill_at_each_record_ends_as_the_table_says() {
    let whole = matrix::die_at(Kill::Never);
    assert_eq!((whole.last.as_str(), &whole.wrong), ("2 turn_committed", &vec![]), "nobody was killed");
    let (next, wrong) = (AtomicU64::new(1), Mutex::new(Vec::new()));
    let ends = Mutex::new(BTreeSet::new());
    both(|| {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at > whole.seq {
                return;
            }
            let Death { wrong: found, last, .. } = matrix::die_at(Kill::AtRecord(at));
            let told = found.iter().map(|what| format!("killed at {at}, `{last}`: {what}"));
            wrong.lock().unwrap().extend(told);
            ends.lock().unwrap().insert(last);
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let ends = ends.into_inner().unwrap();
    assert!(ends.len() >= 10, "the kills came at few different records: {ends:?}");
    println!("{} different records were the last: {ends:?}", ends.len());
}

/// On two threads.
fn both(work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        let threads = [scope.spawn(&work), scope.spawn(&work)];
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

fn main() -> ExitCode {
    sterna::init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, dir] = &args[..]
        && word == WORKER
    {
        return worker::work(dir.as_ref());
    }
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    if has("--list") {
        // What test runners ask for; none of ours is ignored.
        for (name, _) in TESTS.iter().filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| match (wanted.is_empty(), has("--exact")) {
        (true, _) => true,
        (false, true) => wanted.iter().any(|text| *text == name),
        (false, false) => wanted.iter().any(|text| name.contains(text.as_str())),
    };
    let mut passed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| is_wanted(name)) {
        println!("test {name} ...");
        test();
        passed += 1;
    }
    println!("test result: ok. {passed} passed; 0 failed");
    ExitCode::SUCCESS
}
