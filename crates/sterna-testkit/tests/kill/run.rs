//! One run: the ten effects of a seed, a few kills at moments of the seed's, and what the judge says of the end.

use std::time::{Duration, Instant};

use super::Dice;
use super::judge::{Judged, judge};
use super::life::{End, Kill, World};
use super::script;

/// What a run takes that nobody kills.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    pub whole: Duration,
    pub records: u64,
}

/// What came of a seed.
#[derive(Debug, Default)]
pub struct Lived {
    /// Kills that met a process that was still at work.
    pub kills: usize,
    /// Of them, at the moment when a chosen record was known to be durable.
    pub at_records: usize,
    pub judged: Judged,
    /// Processes that no shim held after a kill, and such as were left at the end.
    pub orphans: usize,
    /// Spools that crashes left; `sterna ps --clean` takes them.
    pub spools: usize,
    pub wrong: Vec<String>,
}

/// A run without a kill: it must do everything once, and says how long it takes.
pub fn measure() -> Result<Measure, String> {
    let world = World::new(&script::of_seed(0), false).map_err(|e| e.to_string())?;
    let began = Instant::now();
    let end = world.live(Kill::Never).map_err(|e| e.to_string())?;
    let whole = began.elapsed();
    let judged = judge(&world);
    match (end, judged.wrong.is_empty() && judged.unsure() == 0) {
        (End::Done, true) => Ok(Measure { whole, records: judged.records }),
        _ => Err(format!("a run that nobody killed came to {end:?}: {:?}", judged.wrong)),
    }
}

pub fn run(seed: u64, measure: &Measure, keep: bool) -> Lived {
    let mut lived = Lived::default();
    match World::new(&script::of_seed(seed), false) {
        Ok(world) => {
            if let Err(error) = through(&world, seed, measure, &mut lived) {
                lived.wrong.push(format!("the harness failed: {error}"));
            }
            if keep && !lived.wrong.is_empty() {
                lived.wrong.push(format!("its folder is {}", world.keep().display()));
            }
        }
        Err(error) => lived.wrong.push(format!("the harness failed: {error}")),
    }
    lived
}

fn through(world: &World, seed: u64, measure: &Measure, lived: &mut Lived) -> std::io::Result<()> {
    let mut done = false;
    for kill in kills(seed, measure) {
        match world.live(kill)? {
            End::Killed => {
                lived.kills += 1;
                lived.at_records += usize::from(matches!(kill, Kill::AtRecord(_)));
                let orphans = world.orphans();
                if !orphans.is_empty() {
                    lived.orphans += orphans.len();
                    lived
                        .wrong
                        .push(format!("no shim holds the processes {orphans:?} after kill {}", lived.kills));
                }
            }
            // It was done before the kill came.
            End::Done => {
                done = true;
                break;
            }
            end @ (End::Failed | End::Hung) => lived.wrong.push(format!("a life {end:?} before its kill")),
        }
    }
    if !done {
        match world.live(Kill::Never)? {
            End::Done => {}
            end => lived.wrong.push(format!("the last life, which nobody killed, {end:?}")),
        }
    }
    let left = world.left();
    if !left.is_empty() {
        lived.orphans += left.len();
        lived.wrong.push(format!("the processes {left:?} are left at the end"));
    }
    lived.judged = judge(world);
    lived.wrong.extend(lived.judged.wrong.iter().cloned());
    lived.spools = world.spools();
    Ok(())
}

/// One to four: most at a random moment of the measured time, the others when a random record is durable.
fn kills(seed: u64, measure: &Measure) -> Vec<Kill> {
    let mut dice = Dice::new(seed);
    let many = 1 + dice.below(4);
    let whole = u64::try_from(measure.whole.as_micros()).unwrap_or(u64::MAX).max(1);
    let kill = |dice: &mut Dice| match dice.below(5) {
        0 | 1 => Kill::AtRecord(1 + dice.below(measure.records)),
        _ => Kill::After(Duration::from_micros(dice.below(whole))),
    };
    (0..many).map(|_| kill(&mut dice)).collect()
}
