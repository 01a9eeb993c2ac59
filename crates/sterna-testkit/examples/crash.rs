//! `cargo xtask crash`: runs of ten effects of all classes, killed with SIGKILL at random moments and carried on.
//!
//! This program is also the worker that is killed, and the shim of its commands.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../tests/kill/mod.rs"]
mod kill;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kill::figures::Figures;
use kill::life::WORKER;
use kill::{run, worker};

fn main() -> ExitCode {
    sterna::init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, dir] = &args[..]
        && word == WORKER
    {
        return worker::work(dir.as_ref());
    }
    let asked = match Asked::read(&args) {
        Ok(asked) => asked,
        Err(what) => {
            eprintln!("error: {what}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let measure = match run::measure() {
        Ok(measure) => measure,
        Err(what) => {
            eprintln!("error: {what}");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "a run that nobody kills takes {} ms and {} records\n",
        measure.whole.as_millis(),
        measure.records
    );
    let began = Instant::now();
    let next = AtomicU64::new(asked.seed);
    let figures: Mutex<Figures> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..asked.threads {
            scope.spawn(|| {
                loop {
                    let late = asked.seconds.is_some_and(|most| began.elapsed() >= Duration::from_secs(most));
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if late || seed >= asked.seed + asked.runs || figures.lock().unwrap().failed >= MANY {
                        return;
                    }
                    let lived = run::run(seed, &measure, asked.keep);
                    for what in &lived.wrong {
                        eprintln!("seed {seed}: {what}");
                    }
                    if !lived.wrong.is_empty() {
                        eprintln!("  alone: cargo xtask crash --seed {seed} --runs 1 --keep");
                    }
                    figures.lock().unwrap().add(&lived);
                }
            });
        }
    });
    let figures = figures.into_inner().unwrap();
    print!("{}", figures.table(began.elapsed()));
    // Runs of which nobody was killed prove nothing. One alone may be done before its kill.
    let proved = figures.kills() > 0 || figures.runs <= 1;
    if figures.failed == 0 && proved { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Asked {
    runs: u64,
    seed: u64,
    /// No new run begins after that.
    seconds: Option<u64>,
    threads: usize,
    /// The folder of a run that failed stays.
    keep: bool,
}

impl Asked {
    fn read(args: &[String]) -> Result<Self, String> {
        let mut asked = Self { runs: 1_000, seed: 1, seconds: None, threads: 6, keep: false };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            if flag == "--keep" {
                asked.keep = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            let number = value.parse::<u64>().map_err(|e| format!("{flag} {value}: {e}"))?;
            match flag.as_str() {
                "--runs" => asked.runs = number,
                "--seed" => asked.seed = number,
                "--seconds" => asked.seconds = Some(number),
                "--threads" => asked.threads = number.max(1) as usize,
                other => return Err(format!("there is no flag {other}")),
            }
        }
        Ok(asked)
    }
}

/// Failed runs after which no other begins.
const MANY: usize = 20;

const USAGE: &str = "usage: cargo xtask crash [--runs N] [--seed S] [--seconds T] [--threads N] [--keep]";
