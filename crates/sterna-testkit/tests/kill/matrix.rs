//! Level 2 of the crash matrix: the process dies when a record of the reference turn is durable, and the next one
//! carries on. What must be true then is in the table that both levels share.

use serde_json::json;
use sterna::model::*;
use sterna_testkit::{CrashRow, crash_matrix};

use super::judge::{ends, read, shape};
use super::life::{End, Kill, World};
use super::script::{FIRST, SECOND};

/// What came of a death.
pub struct Death {
    pub wrong: Vec<String>,
    /// The name of the last record that was durable then.
    pub last: String,
    /// Its number.
    pub seq: u64,
}

/// The reference turn with this death, carried on by the next process.
pub fn die_at(at: Kill) -> Death {
    let world = World::new(&reference(), true).expect("the folder can be made");
    let first = world.live(at).expect("the worker can be started");
    let mut wrong = Vec::new();
    match first {
        End::Killed | End::Done => {}
        end => wrong.push(format!("the first life {end:?}")),
    }
    let durable = read(&world).records;
    let (last, seq) = durable.last().map(|last| (name_of(last), last.seq)).expect("a record is durable");
    let orphans = world.orphans();
    if !orphans.is_empty() {
        wrong.push(format!("orphans {orphans:?}"));
    }
    match world.live(Kill::Never).expect("the worker can be started") {
        End::Done => {}
        end => wrong.push(format!("the second life {end:?}")),
    }
    match crash_matrix().get(&last) {
        Some(row) => check(&world, row, &mut wrong),
        None => wrong.push(format!("the table has no row for `{last}`")),
    }
    Death { wrong, last, seq }
}

fn check(world: &World, row: &CrashRow, wrong: &mut Vec<String>) {
    let read = read(world);
    wrong.extend(read.wrong.iter().cloned());
    shape(&read.records, &mut |what| wrong.push(what));
    let ends = ends(&read.records, &mut |what| wrong.push(what));
    let told: Vec<(&str, ToolStatus)> = ends.iter().map(|(id, outcome)| (*id, outcome.status)).collect();
    let fire = if row.fire_unknown { ToolStatus::OutcomeUnknown } else { ToolStatus::Ok };
    let lend = if row.lend_back { ToolStatus::RolledBack } else { ToolStatus::Ok };
    let (ok, denied) = (ToolStatus::Ok, ToolStatus::Denied);
    let due = [("fire", fire), ("lend", lend), ("look1", ok), ("look2", ok), ("put", ok), ("risky", denied)];
    if told != due {
        wrong.push(format!("told {told:?}"));
    }
    let books = world.books();
    let more = |name: &str| usize::from(row.again.iter().any(|again| again == name));
    let mut within = |what: &str, count: usize, least: usize, most: usize| {
        if !(least..=most).contains(&count) {
            wrong.push(format!("{what} {count} times, not {least} to {most}"));
        }
    };
    within("looked", books.asked("look"), 2, 2 + more("look"));
    within("put asked", books.asked("put"), 1, 1 + more("put"));
    within("put done", books.put(), 1, 1);
    within("fired", books.asked("fire"), usize::from(!row.fire_unknown), 1);
    within("lend asked", books.asked("lend"), usize::from(!row.lend_back), 1);
    within("lent", books.lent(), usize::from(!row.lend_back), usize::from(!row.lend_back));
    within("undone", books.asked("undo"), usize::from(row.lend_back), usize::from(row.lend_back));
    within("risky ran", books.asked("risky"), 0, 0);
    let lost = read.records.iter().filter(|record| matches!(record.body, Body::Attempt(_))).count();
    within("a model call was lost", lost, row.lost, row.lost);
}

fn reference() -> String {
    let call = |id: &str, name: &str| json!({"id": id, "name": name, "arguments": {}});
    let first = [
        call("look1", "look"),
        call("put", "put"),
        call("fire", "fire"),
        call("lend", "lend"),
        call("risky", "risky"),
    ];
    let lines = [
        json!({"calls": first}),
        json!({"calls": [call("look2", "look")]}),
        json!({"text": FIRST}),
        json!({"text": SECOND}),
    ];
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// As the table names it.
fn name_of(record: &Record) -> String {
    let effect = |what: &str, key: &EffectKey| {
        format!("{} {what} {}/{}/{}", key.turn, key.step, key.kind.word(), key.ordinal)
    };
    match &record.body {
        Body::Intent(intent) => effect("intent", &intent.key),
        Body::Outcome(outcome) => effect("outcome", &outcome.key),
        body => {
            let json = serde_json::to_value(body).unwrap_or_default();
            let name = json.as_object().and_then(|object| object.keys().next().cloned()).unwrap_or_default();
            record.turn.map_or(name.clone(), |turn| format!("{turn} {name}"))
        }
    }
}
