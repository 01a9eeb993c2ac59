//! What the model lets start by itself: a person is asked, and no run has more rights than the turn that made it.

#![allow(clippy::unwrap_used)]

#[path = "../../sterna-runtime/tests/common/mod.rs"]
mod common;

use std::sync::Arc;

use common::*;
use serde_json::{Value, json};
use sterna::config::Settings;
use sterna::places::Places;
use sterna::watch::{Watch, Worked};
use sterna::{Builder, Sterna, Store};
use sterna_automation::{Automations, Board};
use sterna_log::MemoryLog;
use sterna_model::*;
use sterna_runtime::Secrets;

struct Home {
    dir: tempfile::TempDir,
    log: Arc<MemoryLog>,
    model: TestModel,
}

impl Home {
    fn new(list: impl IntoIterator<Item = Say>) -> Self {
        let log = Arc::new(MemoryLog::new());
        Self { dir: tempfile::tempdir().unwrap(), log, model: TestModel::new(list) }
    }

    fn builder(&self) -> Builder {
        let home = self.dir.path().display().to_string();
        let get = move |name: &str| (name == "STERNA_HOME").then(|| home.clone());
        let work = self.dir.path().join("work");
        std::fs::create_dir_all(&work).unwrap();
        Sterna::builder()
            .places(Places::from_env(&get).unwrap())
            .settings(Settings::default())
            .store(Store::Own(self.log.clone(), self.log.clone()))
            .workspace(work)
            .checkpoints(false)
            .on_ask(OnAsk::Deny)
            .provider(Arc::new(self.model.clone()))
    }

    async fn all(&self) -> Automations {
        Board::new(self.log.clone()).all().await.unwrap()
    }

    /// What the n-th request shows of the calls before it.
    fn results(&self, n: usize) -> Vec<String> {
        let body = self.model.body(n);
        let tool = |message: &Value| {
            (message["role"] == "tool").then(|| message["content"].as_str().unwrap().to_owned())
        };
        body["messages"].as_array().unwrap().iter().filter_map(tool).collect()
    }
}

fn nightly() -> Value {
    json!({"op": "create", "name": "nightly", "prompt": "Run the tests.", "cron": "0 3 * * *", "zone": "Europe/Berlin"})
}

fn calls(calls: Vec<(&'static str, Value)>) -> Say {
    Say::Calls(calls)
}

#[tokio::test]
async fn a_person_is_asked_before_anything_starts_by_itself() {
    let on_push = json!({"op": "create", "name": "on-push", "prompt": "Look.", "on": "publish:push"});
    let list = || vec![("schedule", json!({"op": "list"})), ("trigger", json!({"op": "list"}))];
    let home = Home::new([
        calls(vec![("schedule", nightly()), ("trigger", on_push)]),
        calls(list()),
        Say::Text("denied"),
    ]);
    let sterna = home.builder().build().await.unwrap();
    let reply = sterna.session("s").turn("Every night.").await.unwrap();
    assert_eq!((reply.message(), reply.result().denials.len()), ("denied", 2));
    assert_eq!(home.results(2)[2..], ["no schedules", "no triggers"]);
    assert_eq!(home.all().await.iter().count(), 0);
    // In plan mode no rule helps.
    let home = Home::new([calls(vec![("schedule", nightly())]), Say::Text("denied")]);
    let allowed = home.builder().rule(Decision::Allow, "schedule", "test").mode(Mode::Plan);
    let reply = allowed.build().await.unwrap().session("s").turn("Every night.").await.unwrap();
    assert_eq!(reply.result().denials.len(), 1);
    assert_eq!(home.all().await.iter().count(), 0);
}

#[tokio::test]
async fn a_run_has_the_rights_of_the_turn_that_made_it_and_never_bypass() {
    for (mode, expected) in [(Mode::Bypass, Mode::Execute), (Mode::AcceptEdits, Mode::AcceptEdits)] {
        let home =
            Home::new([calls(vec![("schedule", nightly()), ("schedule", nightly())]), Say::Text("done")]);
        let builder = home.builder().mode(mode).rule(Decision::Allow, "schedule", "test");
        let builder = builder.rule(Decision::Deny, "Shell(rm *)", "test").on_ask(OnAsk::Prompt);
        let sterna = builder.build().await.unwrap();
        let mut config = sterna.turn_config().clone();
        config.tools = vec!["read".into(), "schedule".into()];
        let runtime = sterna.runtime();
        let submit = sterna_runtime::Submit {
            session: Some(SessionId::new("s").unwrap()),
            key: None,
            parts: vec![InputPart::Text("Every night.".into())],
            delivery: Delivery::NextTurn,
            origin: "test".into(),
            config,
            live: false,
            drive: true,
        };
        let accepted = runtime.submit(submit).await.unwrap();
        runtime.result(&accepted.session, accepted.input).await.unwrap();
        let all = home.all().await;
        let held: Vec<_> = all.iter().collect();
        assert_eq!(held.len(), 1, "the same again is the same: {:?}", home.results(1));
        let made = &held[0].automation;
        assert_eq!((made.name.as_str(), made.by.as_str(), &made.target), ("nightly", "s", &RunTarget::Own));
        assert_eq!(
            (made.given.mode, made.given.on_ask, made.given.mode_of_session),
            (expected, OnAsk::Deny, false)
        );
        assert_eq!(made.given.tools, ["read", "schedule"]);
        assert!(
            made.given.rules.iter().any(|rule| rule.text == "Shell(rm *)" && rule.decision == Decision::Deny)
        );
    }
}

#[tokio::test]
async fn a_run_made_by_an_agent_without_a_shell_has_none_whatever_its_maker_is_switched_to() {
    let here =
        json!({"op": "create", "name": "later", "prompt": "Build it.", "every": "1h", "session": "here"});
    let home = Home::new([
        calls(vec![("schedule", here), ("schedule", json!({"op": "run", "name": "later"}))]),
        Say::Text("made"),
        calls(vec![("shell", json!({"command": "touch made-by-shell"}))]),
        Say::Text("no shell"),
    ]);
    let sterna = home
        .builder()
        .only_tools(["read", "schedule"])
        .rule(Decision::Allow, "schedule", "test")
        .build()
        .await
        .unwrap();
    sterna.session("s").turn("Every hour.").await.unwrap();
    // Whoever drives it is in bypass, and so is the session by now.
    let driver = home.builder().mode(Mode::Bypass).build().await.unwrap();
    driver.session("s").set_mode(Mode::Bypass).await.unwrap();
    let watch = Watch::new(home.log.clone(), Secrets::default());
    let work = watch.work().await.unwrap().pop().unwrap();
    let Worked::Ended(end) = work.drive(&driver).await.unwrap() else { panic!("open") };
    assert_eq!((end.outcome, end.message.as_str()), (RunOutcome::Finished, "no shell"));
    assert_eq!(end.session.as_ref().unwrap().as_str(), "s");
    // The history says why.
    let refused = home.results(3).pop().unwrap();
    assert!(refused.contains("shell") && refused.contains("not"), "{refused}");
    assert!(!home.dir.path().join("work/made-by-shell").exists());
}

#[tokio::test]
async fn what_is_made_is_listed_paused_run_and_deleted() {
    let op = |op: &str| ("schedule", json!({"op": op, "name": "nightly"}));
    let list = ("schedule", json!({"op": "list"}));
    let home = Home::new([
        calls(vec![
            ("schedule", nightly()),
            list.clone(),
            op("pause"),
            list.clone(),
            op("resume"),
            op("run"),
            list.clone(),
        ]),
        calls(vec![
            op("delete"),
            op("delete"),
            op("run"),
            list,
            ("trigger", json!({"op": "pause", "name": "nightly"})),
        ]),
        Say::Text("done"),
    ]);
    let builder =
        home.builder().rule(Decision::Allow, "schedule", "test").rule(Decision::Allow, "trigger", "test");
    builder.build().await.unwrap().session("s").turn("Go.").await.unwrap();
    let told = home.results(2);
    let begins = [
        "made: nightly (cron 0 3 * * *) next ",
        "nightly (cron 0 3 * * *) next ",
        "paused: nightly",
        "nightly (cron 0 3 * * *) paused, 0 runs: Run the tests.",
        "resumed: nightly",
        "run ",
        "nightly (cron 0 3 * * *) next ",
        "deleted: nightly",
        "there is no schedule nightly",
        "there is no schedule `nightly`; `list` names them",
        "no schedules",
        "there is no trigger `nightly`",
    ];
    assert_eq!(told.len(), begins.len());
    for (told, begin) in told.iter().zip(begins) {
        assert!(told.starts_with(begin), "{told}");
    }
}

#[tokio::test]
async fn wrong_words_are_told_before_anybody_is_asked() {
    let create = |more: Value| {
        let mut args = json!({"op": "create", "name": "n", "prompt": "p"});
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        args
    };
    let wrong = vec![
        ("schedule", create(json!({}))),
        ("schedule", create(json!({"cron": "0 3 * * *", "every": "1h"}))),
        ("schedule", json!({"op": "pause"})),
        ("trigger", create(json!({}))),
    ];
    let refused = vec![
        ("schedule", create(json!({"cron": "nonsense"}))),
        ("schedule", create(json!({"at": "2001-01-01T00:00"}))),
        ("schedule", create(json!({"every": "1h", "name": "No Name"}))),
        ("schedule", create(json!({"every": "1h", "quiet": "late"}))),
        ("trigger", create(json!({"on": "moon:full"}))),
    ];
    let n = wrong.len();
    let home = Home::new([calls([wrong, refused].concat()), Say::Text("done")]);
    let builder =
        home.builder().rule(Decision::Allow, "schedule", "test").rule(Decision::Allow, "trigger", "test");
    builder.build().await.unwrap().session("s").turn("Go.").await.unwrap();
    let told = home.results(1);
    let says = ["one of `cron`, `every` and `at`", "one of `cron`", "needs `name`", "needs `on`"];
    for (told, says) in told.iter().zip(says) {
        assert!(told.contains(says), "{told}");
    }
    assert!(told[n..].iter().all(|told| !told.starts_with("made")), "{told:?}");
    assert_eq!(home.all().await.iter().count(), 0);
}
