//! Schedules and triggers at the command line: what was due while nothing ran, kills, two workers, deleted sessions,
//! rights. SC-34, SC-66, SC-67.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use rustix::process::Signal;
use serde_json::{Value, json};
use sterna_automation::{Board, Held, Row, times};
use sterna_log::{Log, LogError};
use sterna_model::{Automation, Given, Millis, Missed, Overlap, RunOutcome, RunTarget, SessionId, Start};
use sterna_sqlite::{Options, SqliteStore};
use support::{Done, World};

/// Reads a file, adds a line to another, answers: four records that a kill can stand between, and more.
const SCRIPT: &str = r#"{"calls":[{"name":"shell","arguments":{"command":"echo x >> count.txt; echo ran"}}]}
{"text":"watered"}"#;
const HOUR: Millis = 3_600_000;

fn store(world: &World) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(&world.home().join("data"), Options::default()).unwrap())
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn hourly(world: &World) -> Automation {
    let work = world.work().display().to_string();
    let mut given = Given::new("scripted/s.jsonl".parse().unwrap(), work);
    given.rules = vec![sterna_model::RuleText {
        decision: sterna_model::Decision::Allow,
        text: "Shell(echo *)".into(),
        scope: sterna_model::Scope::User,
        source: "test".into(),
    }];
    Automation {
        name: "plants".into(),
        start: Start::Every { ms: HOUR },
        zone: "UTC".into(),
        quiet: None,
        missed: Missed::Once,
        overlap: Overlap::Skip,
        target: RunTarget::Own,
        prompt: "water the plants".into(),
        given: Box::new(given),
        by: "test".into(),
    }
}

/// Made so many milliseconds ago: since then nothing ran.
fn made_before(world: &World, ago: Millis, automation: Automation) -> Held {
    let board = Board::new(store(world));
    block_on(board.add("made", now() - ago, automation)).unwrap()
}

fn held(world: &World, name: &str) -> Held {
    block_on(Board::new(store(world)).all()).unwrap().named(name).unwrap().clone()
}

fn worker(world: &World) -> Done {
    world.sterna(&["worker", "--once", "--json"])
}

fn lines(done: &Done) -> Vec<Value> {
    done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn told(done: &Done) -> Vec<String> {
    let of = |line: &Value| {
        format!("{} {}", line["event"].as_str().unwrap(), line["outcome"].as_str().unwrap_or("-"))
    };
    lines(done).iter().map(of).collect()
}

fn count(world: &World) -> usize {
    std::fs::read_to_string(world.work().join("count.txt")).unwrap_or_default().lines().count()
}

/// The events of a session, by their type.
fn events(world: &World, session: &str, kind: &str) -> usize {
    let shown = world.sterna(&["sessions", "show", session, "--json"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    support::event_lines(&shown.out).iter().filter(|event| event["type"] == kind).count()
}

#[test]
fn what_was_due_while_nothing_ran_fires_once_at_start() {
    let world = World::new(SCRIPT);
    made_before(&world, 3 * HOUR + 60_000, hourly(&world));
    let done = worker(&world);
    assert_eq!((done.code, told(&done)), (0, vec!["started -".into(), "ended finished".into()]), "{done:?}");
    let plants = held(&world, "plants");
    let [Row::Ran { run, end, .. }] = &rows(&plants)[..] else { panic!("{plants:?}") };
    assert!(matches!(run.fired.cause, sterna_model::Cause::Time { missed: 2, .. }), "{run:?}");
    assert_eq!((end.message.as_str(), end.outcome, plants.runs), ("watered", RunOutcome::Finished, 1));
    assert_eq!(events(&world, end.session.as_ref().unwrap().as_str(), "input.accepted"), 1);
    // And not again.
    let again = worker(&world);
    assert_eq!((again.code, again.out.as_str(), count(&world)), (0, "", 1));
}

fn rows(held: &Held) -> Vec<Row> {
    held.history.iter().cloned().collect()
}

/// Waits until the log of that session has so many records, or the process has ended. `true`: it has them.
fn reaches(running: &mut support::Running, store: &SqliteStore, session: &SessionId, seq: u64) -> bool {
    loop {
        if block_on(store.head(session)).is_ok_and(|head| head.seq >= seq) {
            return true;
        }
        if running.child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_worker_that_is_killed_anywhere_loses_and_doubles_nothing() {
    let mut killed = 0;
    // Records of the automations' log, then of the run's own session.
    let points = (2..=3).map(|seq| (true, seq)).chain([1, 3, 5, 7, 9, 10].map(|seq| (false, seq)));
    for (of_board, seq) in points {
        let world = World::new(SCRIPT);
        let plants = made_before(&world, HOUR + 60_000, hourly(&world));
        let times = times(&plants).unwrap();
        let due = times.after(plants.made_at).unwrap();
        let own = SessionId::new(&format!("auto-plants.{}.{due}", plants.made)).unwrap();
        let watched = if of_board { sterna_log::automation_log() } else { own.clone() };
        let log = store(&world);
        let mut running = world.start(&["worker", "--once", "--json"]);
        if reaches(&mut running, &log, &watched, seq) {
            running.signal(Signal::KILL);
            killed += 1;
        }
        running.child.wait().unwrap();
        let done = worker(&world);
        assert_eq!(done.code, 0, "{seq}: {done:?}");
        let plants = held(&world, "plants");
        assert_eq!((plants.runs, plants.open.len(), plants.history.len()), (1, 0, 1), "{of_board} {seq}");
        let own = own.as_str();
        let once = ["input.accepted", "turn.started", "turn.committed"].map(|kind| events(&world, own, kind));
        assert_eq!((once, count(&world)), ([1, 1, 1], 1), "{of_board} {seq}");
    }
    assert!(killed >= 5, "{killed}");
}

#[test]
fn many_workers_at_once_make_one_run() {
    let world = World::new(SCRIPT);
    made_before(&world, 2 * HOUR + 60_000, hourly(&world));
    let workers: Vec<_> =
        (0..4).map(|_| world.command(&["worker", "--once", "--json"]).spawn().unwrap()).collect();
    for done in workers.into_iter().map(Done::of) {
        assert_eq!(done.code, 0, "{done:?}");
    }
    let plants = held(&world, "plants");
    assert_eq!((plants.runs, plants.open.len(), count(&world)), (1, 0, 1));
}

#[test]
fn a_run_for_a_deleted_session_is_a_typed_discard() {
    let world = World::new(r#"{"text":"hello"}"#);
    assert_eq!(world.run(&["--session", "home", "hi"]).code, 0);
    let target = RunTarget::Session(SessionId::new("home").unwrap());
    made_before(&world, HOUR + 60_000, Automation { target, ..hourly(&world) });
    let deleted = world.sterna(&["sessions", "delete", "home", "--yes"]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    let done = worker(&world);
    assert_eq!((done.code, told(&done)), (1, vec!["started -".into(), "ended session_deleted".into()]));
    let shown = world.sterna(&["schedule", "show", "plants", "--json"]);
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!((&shown["status"], &shown["next"]), (&json!("session_deleted"), &Value::Null));
    assert_eq!(shown["history"][0]["outcome"], json!("session_deleted"));
    assert!(matches!(
        block_on(store(&world).head(&SessionId::new("home").unwrap())),
        Err(LogError::Tombstone(_) | LogError::NotFound(_))
    ));
    assert_eq!(worker(&world).out, "");
}

#[test]
fn a_schedule_never_gets_more_than_its_maker_had() {
    let world = World::new(&[SCRIPT, SCRIPT].join("\n"));
    let add = [
        "schedule",
        "add",
        "plants",
        "water them",
        "--every",
        "1h",
        "-m",
        "scripted:s.jsonl",
        "--session",
        "s",
    ];
    let made = world.sterna(&[&add[..], &["--deny", "Shell(*)", "--json"]].concat());
    assert_eq!(made.code, 0, "{made:?}");
    // Its maker has all rights by now, and so has its session.
    let opened = world.run(&["--session", "s", "--mode", "bypass", "hi"]);
    assert_eq!((opened.code, count(&world)), (0, 1), "{opened:?}");
    assert_eq!(world.sterna(&["schedule", "run-now", "plants"]).code, 0);
    let done = worker(&world);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(count(&world), 1, "{done:?}");
    // What is denied here since then is denied to it too.
    let other = world.sterna(&[
        "schedule",
        "add",
        "other",
        "water them",
        "--every",
        "1h",
        "-m",
        "scripted:s.jsonl",
        "--allow",
        "Shell(echo *)",
    ]);
    assert_eq!(other.code, 0, "{other:?}");
    world.config("[policy]\ndeny = [\"Shell(echo *)\"]\n");
    assert_eq!(world.sterna(&["schedule", "run-now", "other"]).code, 0);
    assert_eq!((worker(&world).code, count(&world)), (0, 1));
    world.config("");
    assert_eq!(world.sterna(&["schedule", "run-now", "other"]).code, 0);
    assert_eq!((worker(&world).code, count(&world)), (0, 2));
}

#[test]
fn what_cannot_be_scheduled_is_a_usage_error() {
    let world = World::new(SCRIPT);
    let check = |more: &[&str], says: &str| {
        let add = ["schedule", "add", "plants", "water them", "-m", "scripted:s.jsonl"];
        let done = world.sterna(&[&add[..], more].concat());
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.err.contains(says), "{}", done.err);
    };
    check(&[], "--cron");
    check(&["--cron", "0 9 * *"], "has 4 fields");
    check(&["--cron", "0 9 * * *", "--every", "1h"], "cannot be used with");
    check(&["--every", "soon"], "90s, 15m");
    check(&["--at", "2020-01-01T00:00"], "over already");
    check(&["--every", "1h", "--zone", "Mars"], "Europe/Berlin");
    check(&["--every", "1h", "--quiet", "late"], "22:00-06:00");
    check(&["--every", "1h", "--mode", "bypass"], "cannot be bypass");
    assert_eq!(world.sterna(&["schedule", "show", "plants"]).code, 2);
    assert_eq!(world.sterna(&["trigger", "list"]).code, 0);
}

#[test]
fn schedules_are_listed_shown_paused_and_removed() {
    let world = World::new(SCRIPT);
    let add =
        ["schedule", "add", "plants", "water them", "-m", "scripted:s.jsonl", "--zone", "Europe/Berlin"];
    let made =
        world.sterna(&[&add[..], &["--cron", "0 9 * * 1-5", "--quiet", "22:00-06:00", "--json"]].concat());
    assert_eq!(made.code, 0, "{made:?}");
    let made: Value = serde_json::from_str(&made.out).unwrap();
    assert_eq!(
        (&made["kind"], &made["start"], &made["quiet"], &made["missed"], &made["overlap"], &made["status"]),
        (
            &json!("schedule"),
            &json!({"cron": {"expr": "0 9 * * 1-5"}}),
            &json!("22:00-06:00"),
            &json!("once"),
            &json!("skip"),
            &json!("active")
        )
    );
    assert!(made["next"].as_u64().unwrap() > now());
    let status = |word: &str| {
        let shown = world.sterna(&["schedule", word, "plants", "--json"]);
        assert_eq!(shown.code, 0, "{shown:?}");
        let list = world.sterna(&["schedule", "list", "--json"]);
        lines(&list).first().map(|row| row["status"].as_str().unwrap().to_owned())
    };
    assert_eq!(status("pause").as_deref(), Some("paused"));
    assert_eq!(status("resume").as_deref(), Some("active"));
    let text = world.sterna(&["schedule", "show", "plants"]);
    assert!(text.out.contains("0 9 * * 1-5 (Europe/Berlin)"), "{}", text.out);
    assert!(world.sterna(&["schedule", "list"]).out.contains("plants"));
    assert_eq!(status("remove"), None);
}

#[test]
fn an_occurrence_that_is_published_five_times_with_kills_between_is_one_run() {
    let world = World::new(SCRIPT);
    let add = ["trigger", "add", "ci", "look at it", "--on", "publish:build", "-m", "scripted:s.jsonl"];
    let made = world.sterna(&[&add[..], &["--allow", "Shell(echo *)"]].concat());
    assert_eq!(made.code, 0, "{made:?}");
    for time in 0..5u64 {
        let sent = world.sterna(&["publish", "build", "--id", "7", "--payload", "red", "--json"]);
        let sent: Value = serde_json::from_str(&sent.out).unwrap();
        assert_eq!(
            sent,
            json!({"fired": if time == 0 { json!(["ci"]) } else { sent["fired"].clone() }, "repeated": time > 0})
        );
        let run = held(&world, "ci").open.first().map(|run| run.fired.run.clone());
        let Some(run) = run else { continue };
        let own = SessionId::new(&format!("auto-{run}")).unwrap();
        let log = store(&world);
        let mut running = world.start(&["worker", "--once"]);
        if reaches(&mut running, &log, &own, 2 + 2 * time) {
            running.signal(Signal::KILL);
        }
        running.child.wait().unwrap();
    }
    assert_eq!(worker(&world).code, 0);
    let ci = held(&world, "ci");
    assert_eq!((ci.runs, ci.open.len(), ci.history.len(), count(&world)), (1, 0, 1, 1));
    let [Row::Ran { end, .. }] = &rows(&ci)[..] else { panic!("{ci:?}") };
    let own = end.session.as_ref().unwrap().as_str();
    assert_eq!((events(&world, own, "input.accepted"), events(&world, own, "turn.committed")), (1, 1));
}

#[test]
fn a_worker_that_is_told_to_stop_leaves_its_run_to_the_next() {
    let world = World::new("{\"delay_ms\":60000}\n{\"text\":\"late\"}");
    made_before(&world, HOUR + 60_000, hourly(&world));
    let mut running = world.start(&["worker", "--json"]);
    let mut line = String::new();
    while !line.contains("started") {
        line = running.line();
    }
    running.signal(Signal::TERM);
    let done = running.end();
    assert_eq!(done.code, 143, "{done:?}");
    assert_eq!(held(&world, "plants").open.len(), 1);
    world.script(r#"{"text":"now"}"#);
    let next = worker(&world);
    assert_eq!((next.code, told(&next)), (0, vec!["started -".into(), "ended finished".into()]), "{next:?}");
}

/// A session that has started a job, waits for a yes, and ends when it has one.
const PARKS: &str = r#"{"calls":[{"name":"shell","arguments":{"command":"while [ ! -e go ]; do sleep 0.02; done; echo built","background":true}}]}
{"calls":[{"name":"shell","arguments":{"command":"touch asked"}}]}
{"text":"first"}
{"text":"the build is done"}"#;

#[test]
fn the_end_of_a_job_wakes_its_session_once_also_when_nothing_ran() {
    let world = World::new(PARKS);
    let parked = world.run(&[
        "--session",
        "s",
        "--on-ask",
        "park",
        "--mode",
        "ask",
        "--allow",
        "Shell(while *)",
        "--allow",
        "Shell(sleep *)",
        "--allow",
        "Shell(echo *)",
        "build it",
    ]);
    assert_eq!(parked.code, 8, "{parked:?}");
    // It ends while nothing of Sterna is there but its shim.
    std::fs::write(world.work().join("go"), "").unwrap();
    world.shims_end();
    for time in 0..3 {
        let done = worker(&world);
        assert_eq!((done.code, told(&done).len()), (0, usize::from(time == 0)), "{done:?}");
    }
    assert_eq!(events(&world, "s", "input.accepted"), 2);
    let answered = world.sterna(&["approve", "s", "--json"]);
    assert_eq!(answered.code, 0, "{answered:?}");
    // It entered the turn that was parked.
    assert_eq!((events(&world, "s", "turn.started"), events(&world, "s", "input.steered")), (1, 1));
    assert_eq!(worker(&world).out, "");
    assert_eq!(events(&world, "s", "input.accepted"), 2);
}

#[test]
fn the_end_of_a_job_begins_a_turn_and_starts_triggers_or_is_discarded() {
    let script = r#"{"calls":[{"name":"shell","arguments":{"command":"echo built","background":true}}]}
{"text":"it is on its way"}
{"text":"the build is done"}"#;
    let world = World::new(script);
    let made = world.sterna(&["trigger", "add", "t", "look", "--on", "job:s", "-m", "scripted:t.jsonl"]);
    assert_eq!(made.code, 2, "{made:?}");
    std::fs::write(world.work().join("t.jsonl"), r#"{"text":"looked"}"#).unwrap();
    let made = world.sterna(&["trigger", "add", "t", "look", "--on", "job:s", "-m", "scripted:t.jsonl"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(
        world.run(&["--session", "s", "--allow", "Shell(echo *)", "--wait-background", "build it"]).code,
        0
    );
    let done = worker(&world);
    assert_eq!(done.code, 0, "{done:?}");
    let mut told = told(&done);
    told.sort();
    assert_eq!(told, ["ended finished", "started -", "turn finished", "woken -"], "{done:?}");
    assert_eq!((events(&world, "s", "turn.committed"), held(&world, "t").runs), (2, 1));
    assert_eq!(worker(&world).out, "");
    // Of a deleted session nobody is told.
    assert_eq!(
        world.run(&["--session", "u", "--allow", "Shell(echo *)", "--wait-background", "build it"]).code,
        0
    );
    let spools = world.spools();
    block_on(store(&world).delete(&SessionId::new("u").unwrap())).unwrap();
    assert_eq!(world.spools(), spools);
    let done = worker(&world);
    let line = &lines(&done)[0];
    assert_eq!(
        (&line["event"], &line["session"], &line["why"]),
        (&json!("discarded"), &json!("u"), &json!("session_deleted"))
    );
    assert_eq!(worker(&world).code, 0);
    let listed = lines(&world.sterna(&["worker", "--discarded", "--json"]));
    assert_eq!((listed.len(), &listed[0]["session"]), (1, &json!("u")));
}

#[test]
fn a_goal_is_worked_on_by_its_command_and_after_a_kill_by_a_worker() {
    let look = r#"{"calls":[{"name":"shell","arguments":{"command":"echo x >> count.txt; wc -l count.txt"}}],"usage":{"input":100,"output":10}}"#;
    let done = r#"{"calls":[{"name":"goal","arguments":{"op":"update","status":"complete"}}]}"#;
    let script = [
        look,
        r#"{"text":"more"}"#,
        look,
        r#"{"text":"more"}"#,
        look,
        r#"{"text":"more"}"#,
        done,
        r#"{"text":"reached"}"#,
    ]
    .join("\n");
    let world = World::new(&script);
    let set =
        ["goal", "set", "three lines", "--session", "s", "--key", "k", "-m", "scripted:s.jsonl", "--json"];
    let set =
        [&set[..], &["--allow", "Shell(echo *)", "--allow", "Shell(wc *)", "--tokens", "100000"]].concat();
    let mut running = world.start(&set);
    let log = store(&world);
    assert!(reaches(&mut running, &log, &SessionId::new("s").unwrap(), 14));
    running.signal(Signal::KILL);
    running.child.wait().unwrap();
    let next = worker(&world);
    assert_eq!(next.code, 0, "{next:?}");
    let shown = world.sterna(&["goal", "show", "s", "--json"]);
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(
        (&shown["status"], &shown["turns"], count(&world)),
        (&json!("complete"), &json!(4), 3),
        "{shown} {next:?}"
    );
    // Three answers of 110 tokens, and the call that the kill took, by estimate.
    let usage: Value = serde_json::from_str(&world.sterna(&["usage", "s", "--json"]).out).unwrap();
    let total: u64 = ["input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output"]
        .iter()
        .map(|class| usage["total"][class].as_u64().unwrap())
        .sum();
    assert_eq!(shown["tokens"].as_u64(), Some(total), "{usage}");
    assert!(total >= 330);
    // What stood in its requests is derived again, byte for byte.
    let replayed = world.sterna(&["replay", "s"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    // The same key sets it once.
    let again = world.sterna(&set);
    assert_eq!((again.code, count(&world)), (0, 3), "{again:?}");
    assert_eq!(world.sterna(&["goal", "pause", "s"]).code, 2);
    assert_eq!(world.sterna(&["goal", "clear", "s"]).code, 0);
    assert_eq!(world.sterna(&["goal", "show", "s"]).code, 2);
}
