//! What must be true of a world at its end. Nothing here uses the code that decides: it compares the log with the
//! ledger of what really happened.

use std::collections::{BTreeMap, BTreeSet};

use sterna_log::fold::Folded;
use sterna_log::verify;
use sterna_model::*;
use sterna_runtime::{Runtime, replay};

use crate::Answers;
use crate::tools::token;
use crate::waits::{Answer, DEADLINE};
use crate::world::{Facts, Seen, World};

/// Checks all, and returns what tells one run from another.
pub async fn check(world: &World, runtime: Option<&Runtime>) -> String {
    let mut digest = String::new();
    for id in world.session_ids() {
        let fsck = verify(&*world.inner, &*world.inner, &id).await;
        match &fsck {
            Ok(fsck) if fsck.first_bad.is_none() => {
                digest.push_str(&format!("{id}:{}:{} ", fsck.records, fsck.last_hash));
            }
            other => world.wrong(format!("{id} does not verify: {other:?}")),
        }
        if let Some(runtime) = runtime {
            check_replay(world, runtime, &id).await;
        }
    }
    let mut facts = world.facts();
    let mut wrong = Vec::new();
    for (id, seen) in &facts.sessions {
        let mut say = |what: String| wrong.push(format!("{id}: {what}"));
        inputs(seen, &mut say);
        turns(seen, &mut say);
        tools(id, seen, &facts, &mut say);
        waits(seen, &mut say);
        books(id, seen, &facts, &mut say);
    }
    people(&facts, &mut wrong);
    for watch in &facts.watches {
        if let Some(what) = shown(watch, &facts) {
            wrong.push(format!("{}: {what}", watch.session));
        }
    }
    digest.push_str(&format!("{} runs, {} requests", facts.runs.len(), facts.sends.len()));
    facts.wrong.extend(wrong);
    digest
}

async fn check_replay(world: &World, runtime: &Runtime, id: &SessionId) {
    let sends = world.facts().sends.len();
    match replay(runtime.parts(), id).await {
        Ok(replayed) => {
            let intents = world.look(id, |seen| {
                let asks = |key: &EffectKey| matches!(key.kind, EffectKind::Model | EffectKind::Compact);
                seen.intents.iter().filter(|(key, _)| asks(key)).count()
            });
            if replayed.difference.is_some() || replayed.requests != intents as u64 {
                world.wrong(format!("{id} is replayed otherwise, of {intents} requests: {replayed:?}"));
            }
        }
        Err(error) => world.wrong(format!("{id} is not replayed: {error}")),
    }
    if world.facts().sends.len() != sends {
        world.wrong(format!("{id}: the replay asked the model"));
    }
}

/// Every accepted input ends in one turn, or is withdrawn; a key is used once.
fn inputs(seen: &Seen, say: &mut impl FnMut(String)) {
    let mut taken: BTreeMap<Seq, Vec<String>> = BTreeMap::new();
    let mut keys = BTreeSet::new();
    for record in &seen.records {
        let (inputs, by): (&[Seq], String) = match &record.body {
            Body::InputAccepted(input) => {
                taken.entry(record.seq).or_default();
                if let Some(key) = &input.key
                    && !keys.insert(key.clone())
                {
                    say(format!("the key {key} is accepted twice"));
                }
                continue;
            }
            Body::TurnStarted(started) => (&started.inputs, format!("turn {:?}", record.turn)),
            Body::Intent(intent) => match &intent.what {
                Intended::Model(model) => (&model.inputs, format!("turn {:?}", record.turn)),
                Intended::Tool(_) | Intended::Undo(_) | Intended::Compact(_) | Intended::Judge(_) => continue,
            },
            // A withdrawal that came too late has no effect.
            Body::InputWithdrawn { inputs, .. } => {
                for input in inputs {
                    let of = taken.entry(*input).or_default();
                    if of.is_empty() {
                        of.push("withdrawn".into());
                    }
                }
                continue;
            }
            _ => continue,
        };
        for input in inputs {
            match taken.get_mut(input) {
                Some(of) => of.push(by.clone()),
                None => say(format!("{by} takes input {input}, which is none")),
            }
        }
    }
    for (input, of) in taken {
        if of.len() != 1 {
            say(format!("input {input} ends in {of:?}"));
        }
    }
}

/// One terminal record for each turn; what was cancelled in time did not finish.
fn turns(seen: &Seen, say: &mut impl FnMut(String)) {
    let mut started = BTreeSet::new();
    let mut ended = BTreeSet::new();
    let mut cancelled = BTreeSet::new();
    for record in &seen.records {
        let turn = record.turn.unwrap_or(0);
        match &record.body {
            Body::TurnStarted(_) if !started.insert(turn) => say(format!("turn {turn} starts twice")),
            Body::CancelRequested { turn, .. } if !ended.contains(turn) => {
                cancelled.insert(*turn);
            }
            Body::TurnCommitted(committed) => {
                if !ended.insert(turn) {
                    say(format!("turn {turn} ends twice"));
                }
                let finished = matches!(committed.outcome, TurnOutcome::Finished { .. });
                if finished && cancelled.contains(&turn) {
                    say(format!("turn {turn} was cancelled, and finished"));
                }
            }
            Body::Intent(intent) if ended.contains(&intent.key.turn) => {
                say(format!("{} is intended after its turn ended", intent.key));
            }
            _ => {}
        }
    }
    if started != ended {
        say(format!("turns {started:?} started, {ended:?} ended"));
    }
}

/// Side effects against outcomes.
fn tools(id: &SessionId, seen: &Seen, facts: &Facts, say: &mut impl FnMut(String)) {
    let mut outcomes: BTreeMap<EffectKey, &ToolOutcome> = BTreeMap::new();
    let mut reruns: BTreeMap<&EffectKey, u32> = BTreeMap::new();
    let mut called: BTreeMap<(TurnNo, StepNo), usize> = BTreeMap::new();
    for record in &seen.records {
        match &record.body {
            Body::InDoubt { key, resolution: InDoubtPolicy::Rerun } => *reruns.entry(key).or_default() += 1,
            Body::Outcome(outcome) => match &outcome.result {
                EffectResult::Tool(result) => {
                    if outcomes.insert(outcome.key.clone(), result).is_some() {
                        say(format!("{} has two outcomes", outcome.key));
                    }
                }
                EffectResult::Model(model) if !model.partial => {
                    let calls = model.parts.iter().filter(|part| matches!(part, Part::ToolCall(_))).count();
                    called.insert((outcome.key.turn, outcome.key.step), calls);
                }
                EffectResult::Model(_)
                | EffectResult::ModelFailed(_)
                | EffectResult::Summary(_)
                | EffectResult::Judged(_) => {}
            },
            _ => {}
        }
    }
    for ((turn, step), calls) in called {
        let answered = outcomes.keys().filter(|key| key.turn == turn && key.step == step).count();
        if answered != calls {
            say(format!("step {turn}.{step} has {calls} calls and {answered} outcomes"));
        }
    }
    let mut keys: BTreeMap<&EffectKey, Vec<&crate::world::ToolRun>> = BTreeMap::new();
    for run in facts.runs.iter().filter(|run| run.key.session == *id) {
        keys.entry(&run.key).or_default().push(run);
    }
    for (key, runs) in &keys {
        let class = runs[0].class;
        let once = matches!(class, EffectClass::AtMostOnce | EffectClass::Compensable);
        let effects = runs.iter().filter(|run| run.effect).count();
        let starts = runs.iter().filter(|run| !run.asked).count();
        let again = reruns.get(key).copied().unwrap_or(0) + seen.waits.reruns(key);
        let allowed = 1 + again as usize;
        let name = &runs[0].name;
        if once && (effects > allowed || starts > allowed) {
            say(format!("{key} ({name}) ran {starts} times, happened {effects} times; {allowed} allowed"));
        }
        let Some(outcome) = outcomes.get(key) else {
            // A pure call may run before the answer that asked for it is durable, and die with it.
            if class == EffectClass::Pure {
                continue;
            }
            say(format!("{key} ({name}) ran and has no outcome"));
            continue;
        };
        let untold = "ran, and its outcome says that it did not";
        let not_run = match outcome.status {
            ToolStatus::InvalidArguments
            | ToolStatus::NotRegistered
            | ToolStatus::NotAvailable
            | ToolStatus::TruncatedArguments
            | ToolStatus::Denied => true,
            ToolStatus::Cancelled => outcome.view.contains("before this call ran"),
            ToolStatus::Timeout => outcome.view.contains("the call was not run"),
            ToolStatus::Ok
            | ToolStatus::Failed
            | ToolStatus::Panicked
            | ToolStatus::OutcomeUnknown
            | ToolStatus::RolledBack => false,
        };
        if effects > 0 && not_run {
            say(format!("{key} ({name}) {untold}: {}", outcome.view));
        }
    }
    for (key, outcome) in &outcomes {
        let runs = keys.get(key).map_or(&[][..], |runs| runs);
        let effect = runs.iter().any(|run| run.effect || run.class == EffectClass::Pure);
        let intended = seen.intents.iter().any(|(intent, _)| intent == key);
        let undone = |run: Option<&&crate::world::ToolRun>| {
            run.is_some_and(|run| facts.undone.contains(&(key.clone(), run.attempt)))
        };
        match outcome.status {
            ToolStatus::Ok if !effect || !outcome.view.contains(&token(key)) => {
                say(format!("{key} is told as done, and was not: {:.80}", outcome.view));
            }
            ToolStatus::Ok | ToolStatus::Failed if undone(runs.last()) => {
                say(format!("{key} is told as done, and was taken back"));
            }
            ToolStatus::RolledBack if !seen.undos.iter().any(|(undo, _)| undo == key) => {
                say(format!("{key} is told as taken back, and that was never intended"));
            }
            // An attempt whose process died before it could begin has no run, and nothing to be taken back.
            ToolStatus::RolledBack if runs.last().is_some_and(|run| run.effect) && !undone(runs.last()) => {
                say(format!("{key} is told as taken back, and was not"));
            }
            ToolStatus::OutcomeUnknown if !intended => {
                say(format!("{key} is told as unknown, and was never intended"));
            }
            _ => {}
        }
    }
}

/// The usage ledger against the provider's books.
fn books(id: &SessionId, seen: &Seen, facts: &Facts, say: &mut impl FnMut(String)) {
    let mut rows: BTreeMap<EffectKey, Vec<&Billed>> = BTreeMap::new();
    let mut by_turn: BTreeMap<TurnNo, Usage> = BTreeMap::new();
    let mut told: BTreeMap<u64, u32> = BTreeMap::new();
    let mut ledger = Folded::new();
    let mut sum = Usage::default();
    for record in &seen.records {
        ledger.apply(record);
        let (key, billed) = match &record.body {
            Body::Attempt(attempt) => (&attempt.key, &attempt.failure.billed),
            Body::Outcome(outcome) => match &outcome.result {
                EffectResult::Model(model) => (&outcome.key, &model.billed),
                // It stands in the attempt.
                EffectResult::ModelFailed(failure) => {
                    if failure.billed.usage.total() > 0 {
                        say(format!("{} is billed twice", outcome.key));
                    }
                    continue;
                }
                EffectResult::Summary(summary) => (&outcome.key, &summary.billed),
                EffectResult::Judged(judgement) => (&outcome.key, &judgement.billed),
                EffectResult::Tool(_) => continue,
            },
            Body::TurnCommitted(committed) => {
                let turn = record.turn.unwrap_or(0);
                let rows = by_turn.get(&turn).copied().unwrap_or_default();
                if rows != committed.usage {
                    say(format!(
                        "turn {turn} is committed with {:?}, its rows are {rows:?}",
                        committed.usage
                    ));
                }
                continue;
            }
            _ => continue,
        };
        rows.entry(key.clone()).or_default().push(billed);
        by_turn.entry(key.turn).or_default().add(&billed.usage);
        sum.add(&billed.usage);
        if !billed.estimated && billed.usage.total() > 0 {
            *told.entry(billed.usage.output).or_default() += 1;
            let real = facts.sends.iter().any(|send| send.key == *key && send.billed == Some(billed.usage));
            if !real {
                say(format!("{key} is charged with {:?}, which no provider billed", billed.usage));
            }
        }
    }
    if let Some((tokens, n)) = told.iter().find(|(_, n)| **n > 1) {
        say(format!("the answer of {tokens} tokens is charged {n} times"));
    }
    let total = ledger.ledger.total();
    if total.usage != sum {
        say(format!("the usage ledger says {:?}, its records {sum:?}", total.usage));
    }
    let mut sends: BTreeMap<&EffectKey, usize> = BTreeMap::new();
    for send in facts.sends.iter().filter(|send| send.key.session == *id) {
        *sends.entry(&send.key).or_default() += 1;
    }
    for (key, n) in sends {
        let rows = rows.get(key).map_or(0, Vec::len);
        if rows < n {
            say(format!("{key} was sent {n} times, and the ledger has {rows} rows of it"));
        }
    }
}

/// What people were told.
fn people(facts: &Facts, wrong: &mut Vec<String>) {
    let text_of = |session: &SessionId| -> Vec<(Seq, String)> {
        let records = facts.sessions.get(session).map_or(&[][..], |seen| &seen.records);
        let text = |record: &Record| match &record.body {
            Body::InputAccepted(input) => Some((record.seq, input_text(&input.parts))),
            _ => None,
        };
        records.iter().filter_map(text).collect()
    };
    for sent in &facts.submits {
        let found: Vec<Seq> = (text_of(&sent.session).into_iter())
            .filter(|(_, text)| *text == sent.text)
            .map(|(seq, _)| seq)
            .collect();
        let told = match sent.accepted {
            Some(seq) => found == [seq],
            None => found.len() <= 1 && !sent.sure,
        };
        if !told {
            let (session, text, key) = (&sent.session, &sent.text, &sent.key);
            wrong.push(format!(
                "{session}: `{text}` (key {key:?}) was told {:?} and is at {found:?}",
                sent.accepted
            ));
        }
    }
    for (session, input) in &facts.withdrawn {
        let records = facts.sessions.get(session).map_or(&[][..], |seen| &seen.records);
        let heard = records.iter().any(|record| match &record.body {
            Body::TurnStarted(started) => started.inputs.contains(input),
            Body::Intent(intent) => {
                matches!(&intent.what, Intended::Model(model) if model.inputs.contains(input))
            }
            _ => false,
        });
        if heard {
            wrong.push(format!("{session}: input {input} was withdrawn, and a turn took it"));
        }
    }
    for (session, name, _, by) in &facts.signalled {
        let there = facts.sessions.get(session).is_some_and(|seen| seen.waits.has_signal(name, by));
        if !there {
            wrong.push(format!("{session}: the signal {name} of {by} was taken, and is lost"));
        }
    }
    for (payload, calls) in facts.delivered.iter().filter(|(_, calls)| calls.len() > 1) {
        wrong.push(format!("the signal of {payload} went to {calls:?}"));
    }
    for (session, wait, by) in &facts.resolved {
        let waits = facts.sessions.get(session).map(|seen| &seen.waits);
        let deceived = match waits {
            Some(waits) => waits.deceived(wait, by),
            None => Some(format!("{by} answered {wait}, and there is no such session")),
        };
        wrong.extend(deceived.map(|what| format!("{session}: {what}")));
    }
}

/// What was answered is what became of the call: a question whose time is over goes on with `timeout`.
fn waits(seen: &Seen, say: &mut impl FnMut(String)) {
    let outcome_of = |key: &EffectKey| {
        seen.records.iter().find_map(|record| match &record.body {
            Body::Outcome(outcome) if outcome.key == *key => match &outcome.result {
                EffectResult::Tool(tool) => Some(tool.status),
                EffectResult::Model(_)
                | EffectResult::ModelFailed(_)
                | EffectResult::Summary(_)
                | EffectResult::Judged(_) => None,
            },
            _ => None,
        })
    };
    for (wait, asked) in &seen.waits.all {
        let Some(opened) = &asked.opened else { continue };
        let ended = outcome_of(&opened.key);
        let Some(answer) = &asked.counted else {
            // The turn ended before anybody did.
            let lost = [ToolStatus::OutcomeUnknown, ToolStatus::RolledBack];
            if ended != Some(ToolStatus::Cancelled)
                && !(opened.doubt && ended.is_some_and(|e| lost.contains(&e)))
            {
                say(format!("nobody answered {wait}, and its call is told as {ended:?}"));
            }
            continue;
        };
        // Of an end that the turn came to first the model is told that.
        let due: &[ToolStatus] = match &answer.ruling {
            Ruling::Allow
            | Ruling::Answers(_)
            | Ruling::Edited(_)
            | Ruling::Plan { .. }
            | Ruling::Ended(_)
            | Ruling::Signal(_) => continue,
            // The call comes again.
            Ruling::Timeout if opened.wake => continue,
            // What a lost call may have done is taken back, or ended, when the turn ends.
            Ruling::Deny { .. } | Ruling::Timeout if opened.doubt => {
                &[ToolStatus::OutcomeUnknown, ToolStatus::RolledBack]
            }
            Ruling::Timeout => &[ToolStatus::Timeout, ToolStatus::Cancelled],
            Ruling::Deny { .. } => &[ToolStatus::Denied, ToolStatus::Failed, ToolStatus::Cancelled],
        };
        if ended.is_none_or(|ended| !due.contains(&ended)) {
            let Answer { ruling, by } = answer;
            say(format!("{wait} is answered {ruling:?} by {by}, and its call is told as {ended:?}"));
        }
    }
}

/// How questions ended.
pub fn answers(facts: &Facts) -> Answers {
    let mut sum = Answers::default();
    for asked in facts.sessions.values().flat_map(|seen| seen.waits.all.values()) {
        match &asked.counted {
            Some(answer) if answer.by == DEADLINE && asked.is_wake() => sum.woken += 1,
            Some(answer) if answer.by == DEADLINE => sum.by_time += 1,
            Some(Answer { ruling: Ruling::Signal(_), .. }) if asked.was_kept => sum.kept_signals += 1,
            Some(Answer { ruling: Ruling::Signal(_), .. }) => sum.signals += 1,
            Some(answer) if asked.early.iter().any(|early| early.by == answer.by) => sum.early += 1,
            Some(answer) if answer.by.starts_with("person") => sum.by_people += 1,
            Some(_) | None => {}
        }
    }
    sum
}

/// What an observer saw is what the log gives, from where it began, without a gap and nothing twice.
fn shown(watch: &crate::world::Watch, facts: &Facts) -> Option<String> {
    let seen = facts.sessions.get(&watch.session);
    let mut folded = Folded::new();
    let mut due = Vec::new();
    for record in seen.map_or(&[][..], |seen| &seen.records) {
        folded.apply(record);
        if record.seq > watch.seen {
            due.extend(folded.events(record));
        }
    }
    let settled = |event: &&Event| match &event.kind {
        EventKind::Result(result) => !matches!(result.outcome, "parked" | "drained"),
        kind => !kind.is_live(),
    };
    let got: Vec<&Event> = watch.events.iter().filter(settled).collect();
    let due: Vec<&Event> = due.iter().filter(settled).collect();
    if let Some(at) = got.iter().zip(&due).position(|(a, b)| a != b) {
        return Some(format!(
            "an observer from {} saw\n  {:?}\nwhere\n  {:?}\nis due",
            watch.seen, got[at], due[at]
        ));
    }
    if got.len() > due.len() {
        return Some(format!("an observer saw what is in no log: {:?}", got[due.len()]));
    }
    let whole = watch.partial || watch.life.is_dead() || got.len() == due.len();
    (!whole).then(|| format!("an observer from {} got {} of {} events", watch.seen, got.len(), due.len()))
}
