//! Looks at the world, the log and what the model was told, after the last life. What must hold is in the script and
//! here, by hand; nothing of it is asked of the code under test.

use std::collections::BTreeMap;

use sterna::model::*;
use sterna::{Sterna, log};

use super::life::World;
use super::script::{Counted, EFFECTS, Effect, FIRST, Promise, SECOND, Told};
use super::worker::{SESSION, open};

/// What an effect came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Came {
    pub status: ToolStatus,
    /// How often it happened to the world; of a compensable one, how often it is so now.
    pub happened: usize,
}

#[derive(Debug, Default)]
pub struct Judged {
    /// By the effect's name.
    pub came: BTreeMap<&'static str, Came>,
    pub records: u64,
    pub wrong: Vec<String>,
}

impl Judged {
    /// Effects of which the model was told no true end.
    pub fn unsure(&self) -> usize {
        let sure = |came: &&Came| matches!(came.status, ToolStatus::Ok | ToolStatus::Failed);
        self.came.len() - self.came.values().filter(sure).count()
    }
}

/// The session's records, and what reading its log says is wrong.
pub struct Read {
    pub records: Vec<Record>,
    pub wrong: Vec<String>,
    /// The whole output where the view is not all of it.
    pub full: BTreeMap<Digest, Vec<u8>>,
}

pub fn judge(world: &World) -> Judged {
    let read = read(world);
    let mut judged = Judged { records: read.records.len() as u64, wrong: read.wrong, ..Judged::default() };
    let mut say = |what: String| judged.wrong.push(what);
    shape(&read.records, &mut say);
    let ends = ends(&read.records, &mut say);
    for effect in &EFFECTS {
        let Some(outcome) = ends.get(effect.name) else {
            say(format!("{}: there is no outcome", effect.name));
            continue;
        };
        let came = Came { status: outcome.status, happened: happened(world, effect) };
        for wrong in kept(world, effect, came).into_iter().chain(told(effect, outcome, &read.full)) {
            let view: String = outcome.view.chars().take(120).collect();
            say(format!("{}: {wrong} (told {}: {view:?})", effect.name, came.status.word()));
        }
        judged.came.insert(effect.name, came);
    }
    judged
}

/// Reads the log as the next process would.
pub fn read(world: &World) -> Read {
    let mut read = Read { records: Vec::new(), wrong: Vec::new(), full: BTreeMap::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(|e| e.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            let sterna = open(&world.folder).await.map_err(|e| e.to_string())?;
            look(&sterna, &mut read).await
        })
    });
    if let Err(error) = done {
        read.wrong.push(format!("the log cannot be read: {error}"));
    }
    read
}

async fn look(sterna: &Sterna, read: &mut Read) -> Result<(), String> {
    let id = SessionId::new(SESSION).map_err(|e| e.to_string())?;
    let parts = sterna.runtime().parts();
    match parts.log.read(&id, 1, 100_000).await {
        Ok(sealed) => read.records = sealed.into_iter().map(|sealed| sealed.record).collect(),
        // It was killed before its first record.
        Err(log::LogError::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    }
    let fsck = log::verify(&*parts.log, &*parts.blobs, &id).await.map_err(|e| e.to_string())?;
    if let Some(bad) = fsck.first_bad {
        read.wrong.push(format!("the chain is broken: {bad:?}"));
    }
    let replayed = sterna::runtime::replay(parts, &id).await.map_err(|e| e.to_string())?;
    if let Some(difference) = replayed.difference {
        read.wrong.push(format!("replay derives another request: {difference:?}"));
    }
    for record in &read.records {
        if let Some(blob) = tool_outcome(record).and_then(|(_, outcome)| outcome.full.as_ref()) {
            let bytes = parts.blobs.get(&blob.hash).await.map_err(|e| e.to_string())?;
            read.full.insert(blob.hash, bytes.to_vec());
        }
    }
    Ok(())
}

/// Inputs and turns: none is lost or doubled, each turn ends once and as it must.
pub fn shape(records: &[Record], say: &mut impl FnMut(String)) {
    let count = |is: fn(&Body) -> bool| records.iter().filter(|record| is(&record.body)).count();
    let inputs = count(|body| matches!(body, Body::InputAccepted(_)));
    let turns = count(|body| matches!(body, Body::TurnStarted(_)));
    if (inputs, turns) != (3, 2) {
        say(format!("{inputs} inputs and {turns} turns, not 3 and 2"));
    }
    let end = |record: &Record| match &record.body {
        Body::TurnCommitted(committed) => Some(match &committed.outcome {
            TurnOutcome::Finished { message, .. } => message.clone(),
            TurnOutcome::Stopped { reason, .. } => reason.word().to_owned(),
        }),
        _ => None,
    };
    let ends: Vec<String> = records.iter().filter_map(end).collect();
    if ends != [FIRST, SECOND] {
        say(format!("the turns end with {ends:?}"));
    }
    let gap = records.iter().zip(1..).find(|(record, due)| record.seq != *due);
    if let Some((record, due)) = gap {
        say(format!("record {} stands where {due} is due", record.seq));
    }
}

/// The one outcome of each call, by the call's id.
pub fn ends<'a>(records: &'a [Record], say: &mut impl FnMut(String)) -> BTreeMap<&'a str, &'a ToolOutcome> {
    let mut calls: BTreeMap<(TurnNo, StepNo, u32), &str> = BTreeMap::new();
    let mut ends = BTreeMap::new();
    for record in records {
        if let Body::Outcome(outcome) = &record.body
            && let EffectResult::Model(model) = &outcome.result
        {
            let ids = model.parts.iter().filter_map(|part| match part {
                Part::ToolCall(call) => Some(call.id.as_str()),
                Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
            });
            let (turn, step) = (outcome.key.turn, outcome.key.step);
            calls.extend(ids.zip(0..).map(|(id, ordinal)| ((turn, step, ordinal), id)));
        }
        if let Some((key, result)) = tool_outcome(record) {
            match calls.get(&(key.turn, key.step, key.ordinal)) {
                None => say(format!("{key} ended, and nobody asked for it")),
                Some(id) => {
                    if ends.insert(*id, result).is_some() {
                        say(format!("{id} has two outcomes"));
                    }
                }
            }
        }
    }
    ends
}

fn tool_outcome(record: &Record) -> Option<(&EffectKey, &ToolOutcome)> {
    match &record.body {
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Tool(result) => Some((&outcome.key, result)),
            EffectResult::Model(_)
            | EffectResult::ModelFailed(_)
            | EffectResult::Summary(_)
            | EffectResult::Judged(_) => None,
        },
        _ => None,
    }
}

fn happened(world: &World, effect: &Effect) -> usize {
    let books = world.books();
    match (effect.counted, effect.promise) {
        (Counted::Server, Promise::Idempotent) => books.put(),
        (Counted::Server, Promise::Compensable) => books.lent(),
        (Counted::Server, Promise::Pure | Promise::AtMostOnce | Promise::Shim) => books.asked(effect.name),
        (Counted::Lines, _) => world.lines(effect.name),
        (Counted::Content(text), _) => usize::from(world.content(effect.name).as_deref() == Some(text)),
    }
}

/// What is wrong with how often it happened, by what its class promises.
fn kept(world: &World, effect: &Effect, came: Came) -> Option<String> {
    let Came { status, happened } = came;
    let books = world.books();
    let wrong = format!("happened {happened} times");
    let holds = match (effect.promise, status) {
        (Promise::Pure, ToolStatus::Ok) => happened >= 1,
        (Promise::Idempotent, ToolStatus::Ok) => {
            // Each attempt came under the same key.
            happened == 1 && books.most(effect.name) == books.asked(effect.name)
        }
        (Promise::Shim, ToolStatus::Ok | ToolStatus::Failed) => happened == 1,
        (Promise::Compensable, ToolStatus::Ok) => {
            happened == 1 && (books.asked("lend"), books.asked("undo")) == (1, 0)
        }
        (Promise::Compensable, ToolStatus::RolledBack) => {
            happened == 0 && books.asked("lend") <= 1 && books.asked("undo") >= 1
        }
        (Promise::AtMostOnce, ToolStatus::Ok) => happened == 1,
        (Promise::AtMostOnce, ToolStatus::OutcomeUnknown) => happened <= 1,
        _ => false,
    };
    (!holds).then_some(wrong)
}

/// What is wrong with what the model was told.
fn told(effect: &Effect, outcome: &ToolOutcome, full: &BTreeMap<Digest, Vec<u8>>) -> Option<String> {
    if matches!(outcome.status, ToolStatus::OutcomeUnknown | ToolStatus::RolledBack) {
        let word = outcome.status.word();
        return (!outcome.view.starts_with(word)).then(|| format!("the model is not told `{word}`"));
    }
    let exit = outcome.facts.iter().find_map(|fact| match fact {
        Fact::Command { exit_code, .. } => Some(exit_code.map(i64::from)),
        Fact::FileRead { .. }
        | Fact::FileWritten { .. }
        | Fact::FileRemoved { .. }
        | Fact::Todo(_)
        | Fact::Continued(_)
        | Fact::Goal(_)
        | Fact::Child(_)
        | Fact::ChildClosed(_)
        | Fact::ToolsFound { .. } => None,
    });
    let view = outcome.view.trim_end();
    let ok = outcome.status == ToolStatus::Ok;
    let ran = effect.promise == Promise::Shim && !matches!(effect.told, Told::Begins(_));
    let holds = match effect.told {
        Told::Text(text) => ok && view == text && (!ran || exit == Some(Some(0))),
        Told::Begins(text) => ok && view.starts_with(text),
        Told::Holds(text) => ok && view.contains(text),
        Told::Failed(code, text) => {
            let said = view.contains(text) && view.contains(&format!("exit code {code}"));
            !ok && exit == Some(Some(code)) && said
        }
        Told::Numbers(to) => {
            let whole: String = (1..=to).map(|n| format!("{n}\n")).collect();
            let kept = outcome.full.as_ref().and_then(|blob| full.get(&blob.hash));
            let ends = view.starts_with("1\n2\n3\n") && view.contains(&format!("\n{to}"));
            ok && exit == Some(Some(0)) && ends && kept.is_some_and(|kept| kept == whole.as_bytes())
        }
    };
    (!holds).then(|| format!("that is not its true end, {:?}", effect.told))
}
