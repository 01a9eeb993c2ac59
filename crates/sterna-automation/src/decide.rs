//! What is to be decided now: a pure function of what there is and of the time. The same state gives the same
//! decision, whoever asks.

use sterna_model::{
    AutomationChange, Cause, Fired, Millis, Missed, Occurrence, Overlap, PassedWhy, RunEnd, RunOutcome,
    Source, Start,
};

use crate::fold::{Automations, Held, Run};
use crate::times::{Due, Times};

/// A decision, under the name by which the log takes it once.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub once: String,
    pub change: AutomationChange,
}

/// The next thing to decide about times that have come. `None`: nothing is due.
pub fn due(held: &Held, times: &Times, now: Millis) -> Option<Decision> {
    if held.rests() || times.is_quiet(now) {
        return None;
    }
    let (name, made, after) = (held.automation.name.clone(), held.made, held.decided);
    let due = times.between(after, now)?;
    let pass =
        |until, times, why| AutomationChange::Passed { name: name.clone(), made, after, until, times, why };
    let fire = |due: Millis, missed: u64| {
        let (run, name) = (run_name(held, &due.to_string()), name.clone());
        AutomationChange::Fired(Box::new(Fired {
            name,
            made,
            run,
            due,
            cause: Cause::Time { after, missed },
        }))
    };
    let is_late = |due: Millis| now.saturating_sub(due) > LATE;
    let change = match held.automation.missed {
        Missed::Skip if is_late(due.last) => pass(due.last, due.times, PassedWhy::Missed),
        Missed::Skip | Missed::Once => match room(held) {
            Room::Free => fire(due.last, due.times - 1),
            // What was missed is made up for when that run is over.
            Room::Full if is_late(due.last) => return None,
            Room::Full => pass(due.last, due.times, PassedWhy::Overlap),
        },
        // Of more than can be made up for the last ones are.
        Missed::All if due.times > MADE_UP => {
            let gone = oldest(times, after, now, due);
            pass(gone.last, gone.times, PassedWhy::Missed)
        }
        Missed::All if !held.open.is_empty() && held.automation.overlap != Overlap::Parallel => return None,
        Missed::All => fire(due.first, 0),
    };
    Some(Decision { once: format!("due:{name}:{made}:{after}"), change })
}

/// When something is due next: then `due` has something to say.
pub fn next(held: &Held, times: &Times, now: Millis) -> Option<Millis> {
    if held.rests() {
        return None;
    }
    let next = times.after(held.decided)?;
    match times.is_quiet(next.max(now)) {
        true => times.quiet_end(next.max(now)),
        false => Some(next),
    }
}

/// What an occurrence comes to: one decision for each trigger that waits for it.
pub fn occurred(
    all: &Automations,
    occurrence: &Occurrence,
    now: Millis,
    happened: Millis,
    is_quiet: impl Fn(&Held) -> bool,
) -> Vec<AutomationChange> {
    let waits = |held: &&Held| match &held.automation.start {
        Start::On { source, key } => {
            let is_meant = *source == occurrence.source && (key == "*" || *key == occurrence.key);
            is_meant && !held.rests() && held.made_at <= happened
        }
        Start::Cron { .. } | Start::Every { .. } | Start::At { .. } => false,
    };
    let decide = |held: &Held| {
        let (name, made) = (held.automation.name.clone(), held.made);
        let occurrence = Box::new(occurrence.clone());
        let why = if occurrence.hops >= MAX_HOPS {
            PassedWhy::Hops
        } else if is_quiet(held) {
            PassedWhy::Quiet
        } else if room(held) == Room::Full {
            PassedWhy::Overlap
        } else {
            let run = run_name(held, &occurrence_hash(&occurrence)[..RUN_DIGITS]);
            let cause = Cause::Occurrence(occurrence);
            return AutomationChange::Fired(Box::new(Fired { name, made, run, due: now, cause }));
        };
        AutomationChange::Dropped { name, made, occurrence, why }
    };
    all.iter().filter(waits).map(decide).collect()
}

/// What the end of a run is to triggers that wait for it.
pub fn ended(held: &Held, run: &Run, end: &RunEnd) -> Option<Occurrence> {
    // What did not take place led to nothing.
    if matches!(end.outcome, RunOutcome::Discarded(_) | RunOutcome::Failed) {
        return None;
    }
    let hops = match &run.fired.cause {
        Cause::Occurrence(occurrence) => occurrence.hops,
        Cause::Time { .. } | Cause::Hand { .. } => 0,
    };
    Some(Occurrence {
        source: Source::Automation,
        key: held.automation.name.clone(),
        id: run.fired.run.clone(),
        payload: end.message.clone(),
        hops: hops + 1,
    })
}

/// The runs that may be driven now.
pub fn to_drive(held: &Held) -> &[Run] {
    match held.automation.overlap {
        Overlap::Parallel => &held.open,
        // One after the other.
        Overlap::Skip | Overlap::Queue => held.open.get(..1).unwrap_or_default(),
    }
}

/// Whether somebody may start a run by hand.
pub fn may_start(held: &Held) -> bool {
    room(held) == Room::Free
}

/// A run's name. It is the key of its input, and names its session.
pub fn run_name(held: &Held, of: &str) -> String {
    format!("{}.{}.{of}", held.automation.name, held.made)
}

pub fn occurrence_hash(occurrence: &Occurrence) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [occurrence.source.word(), &occurrence.key, &occurrence.id] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

#[derive(PartialEq, Eq)]
enum Room {
    Free,
    Full,
}

fn room(held: &Held) -> Room {
    let most = match (held.automation.overlap, &held.automation.start) {
        (Overlap::Skip, _) => 1,
        (Overlap::Queue, Start::On { .. }) => QUEUED_EVENTS,
        (Overlap::Queue | Overlap::Parallel, _) => QUEUED,
    };
    if held.open.len() < most { Room::Free } else { Room::Full }
}

/// All but the last ones of what was due.
fn oldest(times: &Times, after: Millis, now: Millis, due: Due) -> Due {
    // From the end, as what was missed may be too much to count.
    let mut back = LATE;
    loop {
        let from = now.saturating_sub(back).max(after);
        let recent = times.between(from, now);
        if from == after || recent.is_some_and(|recent| recent.times >= MADE_UP) {
            let mut last = times.between(after, from).map_or(after, |gone| gone.last);
            // Those that are more than enough.
            let mut surplus = recent.map_or(0, |recent| recent.times.saturating_sub(MADE_UP));
            while surplus > 0
                && let Some(next) = times.after(last)
            {
                (last, surplus) = (next, surplus - 1);
            }
            return Due { first: due.first, last, times: due.times.saturating_sub(MADE_UP).max(1) };
        }
        back = back.saturating_mul(2);
    }
}

/// Milliseconds after which a time counts as missed: nobody was there.
pub const LATE: u64 = 60_000;
/// Runs that led to one another (design: 8).
pub const MAX_HOPS: u32 = 8;
/// Missed times that are made up for with `all`.
const MADE_UP: u64 = 100;
/// Runs of a schedule that are open at the same time.
const QUEUED: usize = 16;
/// The same of a trigger (design: intake page 256).
const QUEUED_EVENTS: usize = 256;
const RUN_DIGITS: usize = 16;
