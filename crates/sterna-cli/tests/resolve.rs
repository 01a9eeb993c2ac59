//! A person's word for a turn that waits, from another process.

#![allow(clippy::unwrap_used)]

mod support;

use support::{World, lines_of};

const ASKS: &str = r#"{"calls":[{"name":"shell","arguments":{"command":"echo x >> made"}}]}
{"text":"done"}"#;
const QUESTIONS: &str = r#"{"calls":[{"name":"ask_user","arguments":{"questions":[{"question":"Which colour?","header":"Colour","options":[{"label":"red","description":"warm"},{"label":"blue","description":"cold"}],"multi":false},{"question":"How many?","header":"Count","options":[{"label":"one","description":"1"},{"label":"two","description":"2"}],"multi":false}]}}]}
{"text":"done"}"#;

fn parked(script: &str) -> (World, String) {
    let world = World::new(script);
    let run = world.run(&["--sandbox", "none", "--on-ask", "park", "--session", "p", "go"]);
    assert_eq!(run.code, 8, "{}", run.err);
    let wait = run.events().iter().find_map(|event| event["wait"].as_str().map(str::to_owned)).unwrap();
    (world, wait)
}

#[test]
fn an_approval_drives_the_turn_to_its_end() {
    let (world, wait) = parked(ASKS);
    let done = world.sterna(&["approve", "p", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!((done.result()["message"].as_str(), lines_of(&world.work().join("made"))), (Some("done"), 1));
    // It is answered once.
    for args in [["approve", "p"], ["deny", "p"], ["approve", wait.as_str()]] {
        assert_eq!(world.sterna(&args).code, 2);
    }
    assert_eq!(lines_of(&world.work().join("made")), 1);
}

#[test]
fn a_refusal_is_told_to_the_model() {
    let (world, wait) = parked(ASKS);
    let done = world.sterna(&["deny", &wait, "--feedback", "use the other file", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let ended = done.events().into_iter().find(|event| event["type"] == "tool.ended").unwrap();
    assert_eq!(ended["status"], "denied");
    assert!(ended["output"].as_str().unwrap().contains("use the other file"), "{ended}");
    assert_eq!(done.result()["denials"][0]["tool"], "shell");
    assert!(!world.work().join("made").exists());
}

#[test]
fn a_word_may_be_written_down_only() {
    let (world, wait) = parked(ASKS);
    let done = world.sterna(&["approve", &wait, "--no-drive"]);
    assert_eq!((done.code, done.out.as_str()), (0, ""));
    assert!(!world.work().join("made").exists());
    // Now it waits for nobody, and whoever resumes it carries on.
    assert_eq!(world.sterna(&["approve", "p"]).code, 2);
    assert_eq!(world.sterna(&["resume", "p", "--json"]).result()["outcome"], "finished");
    assert_eq!(lines_of(&world.work().join("made")), 1);
}

#[test]
fn a_grant_for_the_session_is_not_asked_for_again() {
    let script = r#"{"calls":[{"name":"shell","arguments":{"command":"echo x >> made"}}]}
{"calls":[{"name":"shell","arguments":{"command":"echo x >> made"}}]}
{"text":"done"}"#;
    let (world, _) = parked(script);
    let done = world.sterna(&["approve", "p", "--for", "session", "--json"]);
    assert_eq!((done.code, lines_of(&world.work().join("made"))), (0, 2), "{}", done.out);
}

#[test]
fn questions_want_as_many_answers() {
    let (world, wait) = parked(QUESTIONS);
    let few = world.sterna(&["answer", "p", "red"]);
    assert_eq!(few.code, 2);
    let message = "error: there are 2 questions and 1 answers:\n  Which colour?\n  How many?\nhint: ";
    assert!(few.err.starts_with(message), "{}", few.err);
    let approved = world.sterna(&["approve", &wait]);
    assert_eq!(approved.code, 2);
    assert!(approved.err.contains("is a question, and not an approval"), "{}", approved.err);
    let done = world.sterna(&["answer", &wait, "2", "a dozen", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let answered = done.events().into_iter().find(|event| event["type"] == "question.answered").unwrap();
    assert_eq!(answered["ruling"], serde_json::json!({"answers": ["blue", "a dozen"]}));
    assert_eq!(done.result()["outcome"], "finished");
}

#[test]
fn nobody_waits() {
    let world = World::new(r#"{"text":"done"}"#);
    world.run(&["--session", "s", "go"]);
    for (args, message) in [
        (["approve", "s"], "session `s` waits for nobody"),
        (["approve", "s/1/1/tool/0"], "session `s` does not wait for `s/1/1/tool/0`"),
        (["deny", "no"], "session `no` does not exist"),
        (["approve", "a b"], "`a b` is not a session id"),
    ] {
        let done = world.sterna(&args);
        assert_eq!(done.code, 2);
        assert!(done.err.starts_with(&format!("error: {message}")), "{}", done.err);
    }
}

#[test]
fn a_wait_outlives_its_process_and_is_answered_once() {
    let (world, wait) = parked(ASKS);
    let made = world.work().join("made");
    // The process has gone, and nothing of the call has run. What nobody waits for is refused.
    assert!(!made.exists());
    for forged in ["p/1/1/tool/1", "p/1/2/tool/0", "p/2/1/tool/0", "other/1/1/tool/0"] {
        let refused = world.sterna(&["approve", forged]);
        assert_eq!(refused.code, 2, "{forged}: {}", refused.err);
    }
    assert!(!made.exists());
    // Eight processes answer at once: one of them is the first, and its word counts for all.
    let verbs = ["approve", "deny", "approve", "deny", "approve", "deny", "approve", "deny"];
    let children: Vec<_> =
        verbs.map(|verb| world.command(&[verb, &wait, "--no-drive"]).spawn().unwrap()).into();
    let ends: Vec<support::Done> = children.into_iter().map(support::Done::of).collect();
    let won: Vec<usize> = (0..8).filter(|at| ends[*at].code == 0).collect();
    assert_eq!(won.len(), 1, "{ends:?}");
    for (at, end) in ends.iter().enumerate().filter(|(at, _)| !won.contains(at)) {
        assert!(end.code == 2 && end.err.contains("already_resolved"), "{at}: {}", end.err);
    }
    let resumed = world.sterna(&["resume", "p", "--json"]);
    assert_eq!(resumed.result()["outcome"], "finished", "{}", resumed.err);
    assert_eq!(lines_of(&made), usize::from(verbs[won[0]] == "approve"));
    // Later, too, and nothing runs a second time.
    let late = world.sterna(&["approve", &wait]);
    assert!(late.code == 2 && late.err.contains("already_resolved"), "{}", late.err);
    assert_eq!(world.sterna(&["resume", "p", "--json"]).code, 0);
    assert_eq!(lines_of(&made), usize::from(verbs[won[0]] == "approve"));
}

/// A key of a wait of session `p`, from a host on the same store.
fn key_of(world: &World, wait: &str) -> String {
    let home = world.home().display().to_string();
    let places =
        sterna::places::Places::from_env(&|name| (name == "STERNA_HOME").then(|| home.clone())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let host = sterna::Sterna::builder().places(places).model("scripted:none").build().await.unwrap();
        host.session("p").wait_key(wait).unwrap()
    })
}

#[test]
fn a_key_of_a_host_answers_and_a_forged_one_does_not() {
    let (world, wait) = parked(ASKS);
    let key = key_of(&world, &wait);
    let forged = world.sterna(&["approve", &format!("{wait}~{}", "0".repeat(32))]);
    assert_eq!(forged.code, 2);
    assert!(forged.err.contains("this is no key of a wait"), "{}", forged.err);
    assert!(!world.work().join("made").exists());
    let done = world.sterna(&["approve", &key, "--json"]);
    assert_eq!((done.code, lines_of(&world.work().join("made"))), (0, 1), "{}", done.err);
    assert_eq!(world.sterna(&["deny", &key]).code, 2);
}

#[test]
fn a_question_that_waits_is_shown_with_its_options() {
    let (world, _) = parked(QUESTIONS);
    let again = world.sterna(&["resume", "p"]);
    let asks = "parked: asks `Which colour?`\n  1. red  warm\n  2. blue  cold\nparked: asks `How many?`\n  1. one  1\n  2. \
                two  2\nhint: `sterna answer p TEXT TEXT` answers them, in this order; a number names an option\n";
    assert!(again.code == 8 && again.err.starts_with(asks), "{again:?}");
}

#[test]
fn what_was_shown_before_is_known_when_a_turn_goes_on() {
    let (world, _) = parked(ASKS);
    let again = world.sterna(&["resume", "p"]);
    let waits = "parked: waits for an approval of `shell: echo x >> made` (";
    assert!(again.code == 8 && again.err.starts_with(waits), "{again:?}");
    assert!(
        again.err.contains("hint: `sterna approve p` allows it, `sterna deny p` does not\n"),
        "{again:?}"
    );
    let denied = world.sterna(&["deny", "p"]);
    assert_eq!((denied.code, denied.out.as_str()), (0, "done\n"), "{denied:?}");
    assert!(denied.err.starts_with("  ✗ shell echo x >> made  denied\n"), "{denied:?}");
    // It was a person's word: no flag is missing.
    assert!(!denied.err.contains("hint:"), "{denied:?}");
}

#[test]
fn a_signal_is_kept_for_whoever_waits_for_it_and_the_first_counts() {
    let world = World::new(r#"{"text":"done"}"#);
    world.run(&["--session", "s", "go"]);
    let sent = world.sterna(&["signal", "s", "ci:42", r#"{"ok": true}"#]);
    assert_eq!((sent.code, sent.out.as_str()), (0, ""), "{}", sent.err);
    assert!(sent.err.contains("nothing waits for `ci:42` yet"), "{}", sent.err);
    for (args, code, message) in [
        (vec!["signal", "s", "ci:42", "1"], 2, "session `s` has a signal `ci:42` already"),
        (vec!["signal", "s", "ci 42"], 2, "`ci 42` is no name of a signal"),
        (vec!["signal", "s", "other", "no json"], 2, "the payload is not JSON"),
        (vec!["signal", "no", "ci:42"], 2, "session `no` does not exist"),
    ] {
        let done = world.sterna(&args);
        assert_eq!(done.code, code, "{args:?} {}", done.err);
        assert!(done.err.starts_with(&format!("error: {message}")), "{}", done.err);
    }
    let shown = world.sterna(&["sessions", "show", "s", "--json"]);
    let events = support::event_lines(&shown.out);
    let ended: Vec<_> = events.iter().filter(|event| event["type"] == "wait.ended").collect();
    let [kept] = &ended[..] else { panic!("{ended:?}") };
    assert_eq!((&kept["wait"], &kept["how"]), (&"s/signal/ci:42".into(), &"signal".into()));
    assert_eq!(kept["payload"], r#"{"ok":true}"#);
    // It is no question of the session.
    assert_eq!(world.sterna(&["approve", "s"]).code, 2);
    assert_eq!(world.sterna(&["sessions", "fsck", "s"]).code, 0);
}
