//! What is decided, once, whoever decides and however often: SC-67, and the triggers of SC-66 and SC-68.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{at, automation, utc};
use futures::executor::block_on;
use sterna_automation::{Board, Held, Over, Row, decide};
use sterna_log::{MemoryLog, SharedLog};
use sterna_model::{
    Automation, AutomationChange, Cause, Discard, Millis, Missed, Mode, Occurrence, OnAsk, Overlap,
    PassedWhy, RunEnd, RunOutcome, SessionId, Source, Start,
};

const MADE: &str = "2026-11-22T08:30:00Z";

struct Store(SharedLog);

impl Store {
    /// With one automation, made at `MADE`.
    fn with(automation: Automation) -> Self {
        let store = Self(Arc::new(MemoryLog::new()));
        store.add(automation);
        store
    }

    /// A process of its own.
    fn board(&self) -> Board {
        Board::new(self.0.clone())
    }

    fn add(&self, automation: Automation) -> Held {
        let once = automation.name.clone();
        block_on(self.board().add(&once, at(MADE), automation)).unwrap()
    }

    fn decide(&self, now: &str) -> Vec<AutomationChange> {
        block_on(self.board().decide(at(now))).unwrap()
    }

    fn held(&self, name: &str) -> Held {
        block_on(self.board().all()).unwrap().named(name).unwrap().clone()
    }

    /// Ends the first run that is open.
    fn end(&self, name: &str, now: &str, outcome: RunOutcome) -> String {
        let run = self.held(name).open[0].fired.run.clone();
        block_on(self.board().ended(at(now), &run, end(outcome))).unwrap();
        run
    }
}

fn end(outcome: RunOutcome) -> RunEnd {
    let session = Some(SessionId::new("s").unwrap());
    RunEnd { outcome, session, message: "done".into(), steps: 1, tokens: 10, cost: None }
}

fn hourly() -> Automation {
    automation("a", Start::Cron { expr: "0 * * * *".into() })
}

/// Each decision in a word: when it was due, and what was decided.
fn told(changes: &[AutomationChange]) -> Vec<String> {
    let of = |change: &AutomationChange| match change {
        AutomationChange::Fired(fired) => match &fired.cause {
            Cause::Time { missed, .. } => format!("fire {} for {missed} more", clock(fired.due)),
            Cause::Occurrence(occurrence) => format!("fire {} by {}", fired.name, occurrence.id),
            Cause::Hand { by } => format!("fire by {by}"),
        },
        AutomationChange::Passed { until, times, why, .. } => {
            format!("pass {times} until {}: {}", clock(*until), why.word())
        }
        AutomationChange::Dropped { name, why, .. } => format!("drop {name}: {}", why.word()),
        other => format!("{other:?}"),
    };
    changes.iter().map(of).collect()
}

fn clock(at: Millis) -> String {
    utc(at)[11..16].to_owned()
}

#[test]
fn a_time_fires_once_and_not_before() {
    let store = Store::with(hourly());
    assert_eq!(told(&store.decide("2026-11-22T08:59:59Z")), [""; 0]);
    assert_eq!(
        block_on(store.board().next(at("2026-11-22T08:40:00Z"))).unwrap(),
        Some(at("2026-11-22T09:00:00Z"))
    );
    assert_eq!(told(&store.decide("2026-11-22T09:00:00Z")), ["fire 09:00 for 0 more"]);
    // Again, and by another process.
    assert_eq!(told(&store.decide("2026-11-22T09:00:05Z")), [""; 0]);
    let held = store.held("a");
    assert_eq!((held.open.len(), held.runs, utc(held.decided).as_str()), (1, 1, "2026-11-22T09:00:00Z"));
    assert_eq!(held.open[0].fired.run, format!("a.{}.{}", held.made, at("2026-11-22T09:00:00Z")));
}

#[test]
fn two_processes_that_decide_from_the_same_state_fire_once() {
    let store = Store::with(hourly());
    // Each has read the same, and each looks at its own clock.
    let (one, other) = (store.board(), store.board());
    block_on(one.all()).unwrap();
    block_on(other.all()).unwrap();
    let first = block_on(one.decide(at("2026-11-22T09:59:59Z"))).unwrap();
    let second = block_on(other.decide(at("2026-11-22T10:00:00Z"))).unwrap();
    assert_eq!(told(&first), ["fire 09:00 for 0 more"]);
    assert_eq!(told(&second), ["pass 1 until 10:00: overlap"]);
    // And one that has not read what the other decided does not decide it again.
    let held = Store(store.0.clone()).held("a");
    assert_eq!(held.runs, 1);
}

#[test]
fn a_decision_on_a_state_that_is_gone_counts_for_nothing() {
    let store = Store::with(hourly());
    let stale = store.held("a");
    let times = sterna_automation::times(&stale).unwrap();
    let late = decide::due(&stale, &times, at("2026-11-22T11:00:00Z")).unwrap();
    assert_eq!(told(&store.decide("2026-11-22T10:00:00Z")), ["fire 10:00 for 1 more"]);
    // It was decided before that, and written after it.
    let draft = sterna_model::Draft {
        at: at("2026-11-22T11:00:00Z"),
        turn: None,
        step: None,
        body: sterna_model::Body::Automation(Box::new(late.change)),
    };
    let log = sterna_log::automation_log();
    block_on(sterna_log::append_reserved(&*store.0, &log, "/", "elsewhere", draft)).unwrap();
    let held = store.held("a");
    assert_eq!((held.runs, utc(held.decided).as_str()), (1, "2026-11-22T10:00:00Z"));
}

#[test]
fn missed_times_are_made_up_for_once_or_not_or_each() {
    // Down from 08:30 until 12:30: four times.
    let check = |missed, steps: &[(&str, &[&str])]| {
        let store = Store::with(Automation { missed, ..hourly() });
        for (now, want) in steps {
            assert_eq!(told(&store.decide(now)), *want, "{missed:?} {now}");
            if !store.held("a").open.is_empty() {
                store.end("a", now, RunOutcome::Finished);
            }
        }
    };
    check(
        Missed::Once,
        &[
            ("2026-11-22T12:30:00Z", &["fire 12:00 for 3 more"]),
            ("2026-11-22T12:31:00Z", &[]),
            ("2026-11-22T13:00:01Z", &["fire 13:00 for 0 more"]),
        ],
    );
    check(
        Missed::Skip,
        &[
            ("2026-11-22T12:30:00Z", &["pass 4 until 12:00: missed"]),
            ("2026-11-22T13:00:01Z", &["fire 13:00 for 0 more"]),
        ],
    );
    check(
        Missed::All,
        &[
            ("2026-11-22T12:30:00Z", &["fire 09:00 for 0 more"]),
            ("2026-11-22T12:31:00Z", &["fire 10:00 for 0 more"]),
            ("2026-11-22T12:32:00Z", &["fire 11:00 for 0 more"]),
            ("2026-11-22T12:33:00Z", &["fire 12:00 for 0 more"]),
            ("2026-11-22T12:34:00Z", &[]),
        ],
    );
}

#[test]
fn of_too_many_missed_times_the_last_hundred_are_made_up_for() {
    let minutely = automation("a", Start::Cron { expr: "* * * * *".into() });
    let store = Store::with(Automation { missed: Missed::All, ..minutely });
    // 300 minutes: 08:31 to 13:30.
    assert_eq!(
        told(&store.decide("2026-11-22T13:30:00Z")),
        ["pass 200 until 11:50: missed", "fire 11:51 for 0 more"]
    );
}

#[test]
fn a_run_that_is_not_over_keeps_out_the_next_or_not() {
    let check = |overlap, want: &[&str], open: usize, driven: usize| {
        let store = Store::with(Automation { overlap, ..hourly() });
        store.decide("2026-11-22T09:00:00Z");
        assert_eq!(told(&store.decide("2026-11-22T10:00:00Z")), want, "{overlap:?}");
        let held = store.held("a");
        assert_eq!((held.open.len(), decide::to_drive(&held).len()), (open, driven), "{overlap:?}");
    };
    check(Overlap::Skip, &["pass 1 until 10:00: overlap"], 1, 1);
    check(Overlap::Queue, &["fire 10:00 for 0 more"], 2, 1);
    check(Overlap::Parallel, &["fire 10:00 for 0 more"], 2, 2);
}

#[test]
fn what_was_missed_while_a_run_was_interrupted_is_made_up_for_after_it() {
    let store = Store::with(hourly());
    store.decide("2026-11-22T09:00:00Z");
    // Nobody was there until 11:30: the run of 09:00 is driven to its end first.
    assert_eq!(told(&store.decide("2026-11-22T11:30:00Z")), [""; 0]);
    store.end("a", "2026-11-22T11:31:00Z", RunOutcome::Finished);
    assert_eq!(told(&store.decide("2026-11-22T11:31:01Z")), ["fire 11:00 for 1 more"]);
}

#[test]
fn nothing_starts_in_quiet_hours_and_what_was_missed_waits_for_their_end() {
    let quiet = Some(sterna_automation::parse_quiet("22:00-06:00").unwrap());
    let store = Store::with(Automation { quiet, ..hourly() });
    // Nobody was there from 08:30 until 23:00.
    assert_eq!(told(&store.decide("2026-11-22T23:00:00Z")), [""; 0]);
    let next = block_on(store.board().next(at("2026-11-22T23:00:00Z"))).unwrap().unwrap();
    assert_eq!(utc(next), "2026-11-23T06:00:00Z");
    assert_eq!(told(&store.decide("2026-11-23T05:59:59Z")), [""; 0]);
    // 09:00 to 21:00 are 13 times, and 06:00 itself.
    assert_eq!(told(&store.decide("2026-11-23T06:00:00Z")), ["fire 06:00 for 13 more"]);
}

#[test]
fn one_that_is_for_one_time_is_over_then() {
    let store = Store::with(automation("a", Start::At { at: at("2026-11-22T09:00:00Z") }));
    // Also when nobody was there at that time.
    assert_eq!(told(&store.decide("2026-11-25T00:00:00Z")), ["fire 09:00 for 0 more"]);
    let held = store.held("a");
    assert_eq!((held.over, held.open.len()), (Some(Over::Done), 1));
    store.end("a", "2026-11-25T00:01:00Z", RunOutcome::Finished);
    assert_eq!(told(&store.decide("2026-11-26T00:00:00Z")), [""; 0]);
    assert_eq!(block_on(store.board().next(at("2026-11-26T00:00:00Z"))).unwrap(), None);
}

#[test]
fn a_pause_leaves_out_what_was_due_meanwhile_and_a_new_one_of_the_name_begins_anew() {
    let store = Store::with(hourly());
    let board = store.board();
    block_on(board.pause("p", at("2026-11-22T08:45:00Z"), "a", "cli")).unwrap();
    assert_eq!(told(&store.decide("2026-11-22T10:10:00Z")), [""; 0]);
    block_on(board.resume("r", at("2026-11-22T10:15:00Z"), "a", "cli")).unwrap();
    assert_eq!(told(&store.decide("2026-11-22T10:20:00Z")), [""; 0]);
    assert_eq!(told(&store.decide("2026-11-22T11:00:00Z")), ["fire 11:00 for 0 more"]);
    block_on(board.remove("x", at("2026-11-22T11:01:00Z"), "a", "cli")).unwrap();
    assert!(block_on(board.all()).unwrap().named("a").is_none());
    let again = block_on(board.add("again", at("2026-11-22T11:02:00Z"), hourly())).unwrap();
    assert_eq!((again.runs, again.open.len(), again.history.len()), (0, 0, 0));
    let unknown = block_on(board.pause("p2", at(MADE), "b", "cli")).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no schedule or trigger `b`");
}

#[test]
fn what_may_not_be_made_is_refused() {
    let store = Store::with(hourly());
    let check = |once: &str, change: fn(&mut Automation), says: &str| {
        let mut made = automation("b", Start::Every { ms: 60_000 });
        change(&mut made);
        let why = block_on(store.board().add(once, at(MADE), made)).unwrap_err().to_string();
        assert!(why.contains(says), "{why}");
    };
    check("1", |a| a.name = "a".into(), "there is a schedule or trigger `a` already");
    check("2", |a| a.name = "Not A Name".into(), "is no name");
    check("3", |a| a.prompt = " ".into(), "what it does");
    check("4", |a| a.given.mode = Mode::Bypass, "cannot be bypass");
    check("5", |a| a.given.on_ask = OnAsk::Prompt, "nobody is there to be asked");
    check("6", |a| a.start = Start::At { at: 1 }, "over already");
    // The same twice is made once.
    let made = automation("c", Start::Every { ms: 60_000 });
    let first = block_on(store.board().add("same", at(MADE), made.clone())).unwrap();
    let again = block_on(store.board().add("same", at(MADE) + 5, made)).unwrap();
    assert_eq!(first.made, again.made);
}

#[test]
fn a_run_by_hand_is_one_however_often_it_is_wanted() {
    let store = Store::with(hourly());
    let now = at("2026-11-22T08:40:00Z");
    let run = block_on(store.board().run_now("k1", now, "a", "cli")).unwrap();
    assert_eq!(block_on(store.board().run_now("k1", now + 9, "a", "cli")).unwrap().fired.run, run.fired.run);
    let why = block_on(store.board().run_now("k2", now, "a", "cli")).unwrap_err();
    assert!(why.to_string().contains("is not over yet"), "{why}");
    store.end("a", "2026-11-22T08:41:00Z", RunOutcome::Finished);
    // What is due stays due.
    assert_eq!(told(&store.decide("2026-11-22T09:00:00Z")), ["fire 09:00 for 0 more"]);
    assert_eq!(store.held("a").runs, 2);
}

#[test]
fn a_deleted_session_ends_what_was_to_work_in_it() {
    let store = Store::with(hourly());
    store.decide("2026-11-22T09:00:00Z");
    store.end("a", "2026-11-22T09:00:01Z", RunOutcome::Discarded(Discard::SessionDeleted));
    let held = store.held("a");
    assert_eq!((held.over, held.open.len()), (Some(Over::SessionDeleted), 0));
    assert!(matches!(
        held.history.back(),
        Some(Row::Ran { end: RunEnd { outcome: RunOutcome::Discarded(Discard::SessionDeleted), .. }, .. })
    ));
    assert_eq!(told(&store.decide("2026-11-22T10:00:00Z")), [""; 0]);
}

fn on(name: &str, source: Source, key: &str) -> Automation {
    let overlap = Overlap::Queue;
    Automation { overlap, ..automation(name, Start::On { source, key: key.into() }) }
}

fn published(id: &str) -> Occurrence {
    Occurrence { source: Source::Publish, key: "ci".into(), id: id.into(), payload: "red".into(), hops: 0 }
}

#[test]
fn an_occurrence_that_is_delivered_five_times_is_one_run() {
    let store = Store::with(on("t", Source::Publish, "ci"));
    store.add(on("all", Source::Publish, "*"));
    store.add(on("other", Source::Publish, "cd"));
    for time in 0..5 {
        // Each by a process that knows nothing of the others.
        let got = block_on(store.board().publish(at(MADE) + time, published("build 7"))).unwrap();
        assert_eq!(got.repeated, time > 0);
        if time == 2 {
            store.end("t", "2026-11-22T08:31:00Z", RunOutcome::Finished);
            store.add(on("late", Source::Publish, "ci"));
        }
    }
    let runs = ["t", "all", "other", "late"].map(|name| store.held(name).runs);
    assert_eq!(runs, [1, 1, 0, 0]);
    assert_eq!(store.held("t").history.len(), 1);
    let next = block_on(store.board().publish(at(MADE), published("build 8"))).unwrap();
    assert_eq!(told(&next.decided), ["fire all by build 8", "fire late by build 8", "fire t by build 8"]);
}

#[test]
fn two_that_trigger_each_other_end_at_the_eighth_hop() {
    let store = Store::with(on("a", Source::Automation, "b"));
    store.add(on("b", Source::Automation, "a"));
    block_on(store.board().run_now("k", at(MADE), "a", "cli")).unwrap();
    let mut names = Vec::new();
    while let Some(held) =
        ["a", "b"].map(|name| store.held(name)).into_iter().find(|held| !held.open.is_empty())
    {
        names.push(held.automation.name.clone());
        // Each end is told twice, as after a kill.
        let run = store.end(&held.automation.name, "2026-11-22T08:31:00Z", RunOutcome::Finished);
        block_on(store.board().ended(at("2026-11-22T08:31:01Z"), &run, end(RunOutcome::Finished))).unwrap();
    }
    assert_eq!(names.concat(), "abababab");
    let last = store.held("a").history.back().cloned();
    assert!(matches!(last, Some(Row::Passed { why: PassedWhy::Hops, .. })), "{last:?}");
}

#[test]
fn triggers_rest_in_quiet_hours_and_when_they_are_paused() {
    let quiet = Some(sterna_automation::parse_quiet("22:00-06:00").unwrap());
    let store = Store::with(Automation { quiet, ..on("t", Source::Publish, "ci") });
    let got = block_on(store.board().publish(at("2026-11-22T23:00:00Z"), published("1"))).unwrap();
    assert_eq!(told(&got.decided), ["drop t: quiet"]);
    block_on(store.board().pause("p", at(MADE), "t", "cli")).unwrap();
    let got = block_on(store.board().publish(at("2026-11-22T12:00:00Z"), published("2"))).unwrap();
    assert_eq!(told(&got.decided), [""; 0]);
    let big = Occurrence { payload: "x".repeat(16_385), ..published("3") };
    let why = block_on(store.board().publish(at(MADE), big)).unwrap_err();
    assert!(why.to_string().contains("16384"), "{why}");
}

#[test]
fn a_discard_is_written_once() {
    let store = Store::with(hourly());
    let session = SessionId::new("gone").unwrap();
    for _ in 0..3 {
        block_on(store.board().discard(at(MADE), &session, "job:1", Discard::SessionDeleted)).unwrap();
    }
    let all = block_on(store.board().all()).unwrap();
    let told: Vec<_> = all.discarded().map(|told| (told.key.as_str(), told.why.word())).collect();
    assert_eq!(told, [("job:1", "session_deleted")]);
}

#[test]
fn the_fold_of_a_long_log_is_kept_and_says_the_same() {
    let store = Store::with(automation("a", Start::Every { ms: 60_000 }));
    let (board, mut now) = (store.board(), at(MADE));
    for _ in 0..140 {
        now += 60_000;
        let decided = block_on(board.decide(now)).unwrap();
        let [AutomationChange::Fired(fired)] = decided.as_slice() else { panic!("{decided:?}") };
        block_on(board.ended(now, &fired.run, end(RunOutcome::Finished))).unwrap();
    }
    let kept = block_on(store.0.snapshot_get(&sterna_log::automation_log(), 1)).unwrap();
    assert!(kept.is_some_and(|(seq, _)| seq >= 255));
    let held = store.held("a");
    assert_eq!((held.runs, held.history.len(), held.decided), (140, 20, now));
}
