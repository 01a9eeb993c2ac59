//! What every step does, alone and in this process, each beside the least that touches the same bytes.

use std::time::Instant;

use anyhow::Result;
use sterna_hot::{Hot, NAMES, about, make};

use crate::Options;
use crate::report::Report;

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    for name in NAMES {
        let mut hot = make(name)?;
        let times = per_round(&mut hot);
        let mut pairs = Vec::new();
        for _ in 0..options.rounds(15, 3) {
            pairs.push((run(&mut hot.ours, times), run(&mut hot.floor, times)));
        }
        let what = format!("{}: {}", hot.name, about(hot.name));
        if hot.bytes == 0 {
            report.pairs(what, "µs", hot.target, &pairs);
        } else {
            let speed = |micros: f64| hot.bytes as f64 / micros;
            let pairs: Vec<(f64, f64)> = pairs.iter().map(|(a, b)| (speed(*a), speed(*b))).collect();
            report.pairs(what, "MB/s", hot.target, &pairs);
        }
    }
    Ok(())
}

/// Microseconds of one run, over many.
fn run(what: &mut dyn FnMut(), times: usize) -> f64 {
    let started = Instant::now();
    for _ in 0..times {
        what();
    }
    started.elapsed().as_secs_f64() * 1e6 / times as f64
}

/// Runs that take some twenty milliseconds together.
fn per_round(hot: &mut Hot) -> usize {
    let once = run(&mut hot.ours, 3);
    ((20_000.0 / once) as usize).clamp(3, 10_000)
}
