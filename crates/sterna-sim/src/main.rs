//! `cargo xtask sim`: runs seeds of the simulation on several threads, and shortens those that fail.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sterna_sim::{Lived, Mutation, Options, report, run};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let asked = match Asked::read(&args) {
        Ok(asked) => asked,
        Err(what) => {
            eprintln!("error: {what}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let options = Options { mutation: asked.mutation, telling: asked.tell, ..Options::default() };
    let began = Instant::now();
    let next = AtomicU64::new(asked.from);
    let failed: Mutex<Vec<Lived>> = Mutex::default();
    let (records, lives, effects) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (early, by_people, by_time) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (woken, signals, kept) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..asked.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let enough = failed.lock().unwrap().len() >= asked.max_failures;
                    if seed >= asked.from + asked.seeds || enough {
                        return;
                    }
                    let mut lived = run(seed, &options);
                    if asked.twice && run(seed, &options).digest != lived.digest {
                        lived.wrong.push("the same seed gives another log".into());
                    }
                    records.fetch_add(lived.records as u64, Ordering::Relaxed);
                    lives.fetch_add(lived.lives as u64, Ordering::Relaxed);
                    effects.fetch_add(lived.effects as u64, Ordering::Relaxed);
                    early.fetch_add(lived.answers.early as u64, Ordering::Relaxed);
                    by_people.fetch_add(lived.answers.by_people as u64, Ordering::Relaxed);
                    by_time.fetch_add(lived.answers.by_time as u64, Ordering::Relaxed);
                    woken.fetch_add(lived.answers.woken as u64, Ordering::Relaxed);
                    signals.fetch_add(lived.answers.signals as u64, Ordering::Relaxed);
                    kept.fetch_add(lived.answers.kept_signals as u64, Ordering::Relaxed);
                    if asked.tell {
                        println!("{}", lived.story.join("\n"));
                    }
                    if !lived.wrong.is_empty() {
                        eprintln!("seed {seed}: {} (alone: cargo xtask sim --seed {seed})", lived.wrong[0]);
                        failed.lock().unwrap().push(lived);
                    }
                }
            });
        }
    });
    let secs = began.elapsed().as_secs_f64();
    let failed = failed.into_inner().unwrap();
    let ran = (next.into_inner() - asked.from).min(asked.seeds);
    for lived in failed.iter().take(asked.shrink) {
        println!("\n{}", report(lived, &options));
    }
    println!(
        "questions answered: {} by people, {} of them before they were asked, {} by their deadline",
        by_people.into_inner() + early.load(Ordering::Relaxed),
        early.into_inner(),
        by_time.into_inner()
    );
    println!(
        "calls woken: {} by their time, {} by a signal, {} by one that was there before them",
        woken.into_inner(),
        signals.into_inner(),
        kept.into_inner()
    );
    println!(
        "{ran} seeds in {secs:.1} s: {} records, {} workers' lives, {} side effects; {} failed",
        records.into_inner(),
        lives.into_inner(),
        effects.into_inner(),
        failed.len()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Asked {
    seeds: u64,
    from: u64,
    threads: usize,
    max_failures: usize,
    shrink: usize,
    tell: bool,
    /// Each seed is lived twice, and must give the same log.
    twice: bool,
    mutation: Option<Mutation>,
}

impl Asked {
    fn read(args: &[String]) -> Result<Self, String> {
        let mut asked = Self {
            seeds: 10_000,
            from: 0,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            max_failures: 20,
            shrink: 1,
            tell: false,
            twice: false,
            mutation: None,
        };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            if flag == "--tell" || flag == "--twice" {
                asked.tell |= flag == "--tell";
                asked.twice |= flag == "--twice";
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|e| format!("{flag} {value}: {e}"));
            match flag.as_str() {
                "--seeds" => asked.seeds = number()?,
                "--from" => asked.from = number()?,
                "--seed" => (asked.from, asked.seeds) = (number()?, 1),
                "--threads" => asked.threads = number()? as usize,
                "--max-failures" => asked.max_failures = number()? as usize,
                "--shrink" => asked.shrink = number()? as usize,
                "--mutation" => {
                    let named = |m: &Mutation| format!("{m:?}").eq_ignore_ascii_case(value);
                    asked.mutation = Some(Mutation::ALL.into_iter().find(named).ok_or("no such mutation")?);
                }
                other => return Err(format!("there is no flag {other}")),
            }
        }
        Ok(asked)
    }
}

const USAGE: &str =
    "usage: cargo xtask sim [--seeds N] [--from S] [--seed S] [--threads N] [--tell] [--twice]
       [--max-failures N] [--shrink N] [--mutation NAME]";
