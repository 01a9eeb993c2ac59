//! Checkpoints before effects that may write, and rewinds of conversation and files, over a keeper that is a map.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hook.rs"]
mod hook;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::*;
use futures::FutureExt;
use hook::{Act, HookLog, foreign};
use serde_json::{Value, json};
use sterna_log::{Append, LogError, digest};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{
    Access, Cancel, Plan, PlanContext, SharedTool, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};

type Files = BTreeMap<String, String>;

/// A workspace that is a map, and its checkpoints.
#[derive(Default)]
struct Keeper {
    files: Mutex<Files>,
    kept: Mutex<BTreeMap<Digest, Files>>,
    reaches: Mutex<Vec<Reach>>,
    /// Steps of restores that succeed before one fails; 0: all do.
    fails_after: AtomicUsize,
    /// A checkpoint takes until it is cancelled; told when it begins.
    hangs: Mutex<Option<std::sync::mpsc::Sender<()>>>,
    /// Why nothing can be kept.
    refuses: Mutex<Option<&'static str>>,
}

impl Keeper {
    fn files(&self) -> Files {
        self.files.lock().unwrap().clone()
    }

    fn set(&self, path: &str, content: &str) {
        self.files.lock().unwrap().insert(path.into(), content.into());
    }
}

fn hash(files: &Files) -> Digest {
    digest(serde_json::to_string(files).unwrap().as_bytes())
}

impl Checkpoints for Keeper {
    fn take(&self, root: &Path, reach: &Reach, cancel: &Cancel) -> Result<CheckpointTaken, CheckpointFault> {
        if let Some(begun) = self.hangs.lock().unwrap().take() {
            begun.send(()).unwrap();
            while !cancel.is_cancelled() {
                std::thread::yield_now();
            }
            return Err(CheckpointFault::Failed("cancelled".into()));
        }
        if let Some(why) = *self.refuses.lock().unwrap() {
            return Err(CheckpointFault::Failed(why.into()));
        }
        self.reaches.lock().unwrap().push(reach.clone());
        let files = self.files();
        let (manifest, n) = (hash(&files), files.len() as u64);
        self.kept.lock().unwrap().insert(manifest, files);
        let root = root.display().to_string();
        Ok(CheckpointTaken { root, manifest, files: n, bytes_new: 0, skipped: 0, skipped_names: vec![] })
    }

    fn preview(&self, _: &Path, manifest: &Digest, _: &Cancel) -> Result<FilePlan, CheckpointFault> {
        let (then, now) = (self.kept.lock().unwrap()[manifest].clone(), self.files());
        let paths: std::collections::BTreeSet<&String> = then.keys().chain(now.keys()).collect();
        let change = |path: &&String| {
            let what = match (now.get(*path), then.get(*path)) {
                (old, new) if old == new => return None,
                (_, None) => "remove",
                (None, _) => "create",
                _ => "restore",
            };
            Some(FileChange { path: (*path).clone(), what, kind: "file", bytes: 0 })
        };
        let changes: Vec<FileChange> = paths.iter().filter_map(change).collect();
        let own = Arc::new((now, then));
        Ok(FilePlan {
            manifest: *manifest,
            changes,
            kept: vec![],
            missing: vec![],
            bytes: 0,
            caches: false,
            own,
        })
    }

    fn restore(
        &self,
        root: &Path,
        plan: &FilePlan,
        force: bool,
        cancel: &Cancel,
    ) -> Result<FilesRestored, CheckpointFault> {
        let plan = if force { self.preview(root, &plan.manifest, cancel)? } else { plan.clone() };
        let (now, then) = plan.own.downcast_ref::<(Files, Files)>().unwrap();
        if *now != self.files() {
            return Err(CheckpointFault::Changed("changed since the preview".into()));
        }
        let fails_after = self.fails_after.load(Ordering::SeqCst);
        for (n, change) in plan.changes.iter().enumerate() {
            if fails_after > 0 && n >= fails_after {
                panic!("the power goes");
            }
            let mut files = self.files.lock().unwrap();
            match then.get(&change.path) {
                Some(content) => drop(files.insert(change.path.clone(), content.clone())),
                None => drop(files.remove(&change.path)),
            }
        }
        Ok(FilesRestored { restored: plan.changes.len() as u64, removed: 0, bytes: 0 })
    }
}

/// A tool that plans to touch this, and then makes its arguments files of the keeper.
struct Changer {
    spec: ToolSpec,
    class: EffectClass,
    access: Access,
    keeper: Arc<Keeper>,
}

impl Tool for Changer {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    fn class(&self, _: &Value) -> EffectClass {
        self.class
    }
    fn plan(&self, _: &PlanContext, _: &Value) -> Result<Plan, ToolError> {
        Ok(Plan { accesses: vec![self.access.clone()], summary: self.spec.name.clone(), preview: None })
    }
    fn call<'a>(
        &'a self,
        _: ToolContext,
        args: Value,
    ) -> futures::future::BoxFuture<'a, Result<ToolReturn, ToolError>> {
        for (path, content) in args.as_object().unwrap() {
            match content.as_str() {
                Some(content) => self.keeper.set(path, content),
                None => drop(self.keeper.files.lock().unwrap().remove(path)),
            }
        }
        async move { Ok(ToolReturn::Done(ToolDone::text(args.to_string()))) }.boxed()
    }
}

fn tools(keeper: &Arc<Keeper>) -> Vec<SharedTool> {
    let shell = |command: &str| Access::Shell { command: command.into(), cwd: "/w".into() };
    let list = [
        ("write", EffectClass::Idempotent, Access::Write("/w/a".into())),
        ("outside", EffectClass::Idempotent, Access::Write("/tmp/x".into())),
        ("look", EffectClass::Pure, Access::ReadTree("/w".into())),
        ("git_status", EffectClass::AtMostOnce, shell("git status")),
        ("rm", EffectClass::AtMostOnce, shell("rm -r b")),
        ("build", EffectClass::AtMostOnce, shell("make")),
        ("strange", EffectClass::AtMostOnce, shell("eval frobnicate")),
        ("other", EffectClass::AtMostOnce, Access::Other),
    ];
    let tool = |(name, class, access): (&str, EffectClass, Access)| {
        let schema = json!({"type": "object"});
        let spec = ToolSpec { name: name.into(), description: name.into(), schema };
        Arc::new(Changer { spec, class, access, keeper: keeper.clone() }) as SharedTool
    };
    list.into_iter().map(tool).collect()
}

/// A world with a keeper whose workspace holds `a`.
fn world(model: TestModel) -> (World, Arc<Keeper>) {
    let keeper = Arc::new(Keeper::default());
    keeper.set("a", "first");
    let world = over(World::new(model, tools(&keeper)), &keeper);
    (world, keeper)
}

fn over(world: World, keeper: &Arc<Keeper>) -> World {
    let checkpoints: SharedCheckpoints = keeper.clone();
    let parts = Parts { checkpoints: Some(checkpoints), ..world.runtime.parts().clone() };
    World { runtime: Runtime::new(parts), ..world }
}

fn bypass(world: &World, text: &str) -> Submit {
    let mut submit = world.submit("s", text);
    submit.config.mode = Mode::Bypass;
    submit
}

fn id() -> SessionId {
    SessionId::new("s").unwrap()
}

fn back(to: Seq, what: RewindWhat) -> Rewind {
    Rewind { session: id(), to, what, force: false, by: "test".into(), plan: None }
}

async fn seq_of(world: &World, name: &str) -> Seq {
    let at = world.bodies("s").await.iter().position(|body| body == name);
    at.unwrap_or_else(|| panic!("there is no {name}")) as Seq + 1
}

/// Texts of the messages of a request, in order, without the prompt and the tail.
fn texts(body: &Value) -> Vec<String> {
    let messages = body["messages"].as_array().unwrap();
    let text = |message: &Value| message["content"].as_str().unwrap_or("").to_owned();
    let said = messages.iter().filter(|message| message["role"] != "system").map(text);
    said.filter(|text| !text.starts_with("<environment>")).collect()
}

#[tokio::test]
async fn what_may_write_is_kept_before_once_a_step() {
    let paths = |paths: &[&str]| Reach::Paths(paths.iter().map(Into::into).collect());
    let table = [
        (vec!["write"], vec![paths(&["/w/a"])]),
        (vec!["write", "write", "rm"], vec![paths(&["/w/a"])]),
        (vec!["look", "look"], vec![]),
        (vec!["outside", "git_status"], vec![]),
        (vec!["git_status", "rm"], vec![paths(&["/w/b"])]),
        (vec!["build"], vec![paths(&[])]),
        (vec!["strange"], vec![Reach::Everything]),
        (vec!["look", "other"], vec![Reach::Everything]),
    ];
    for (names, expected) in table {
        let reads = |name: &str| ["look", "outside", "git_status"].contains(&name);
        let args = |name: &str| if reads(name) { json!({}) } else { json!({"x": "y"}) };
        let calls = names.iter().map(|name| (*name, args(name))).collect();
        let (world, keeper) = world(TestModel::new([Say::Calls(calls), Say::Text("done")]));
        world.run(bypass(&world, "go")).await;
        let reaches = keeper.reaches.lock().unwrap().clone();
        assert_eq!(reaches, expected, "{names:?}");
        let bodies = world.bodies("s").await;
        let taken: Vec<usize> = (0..bodies.len()).filter(|at| bodies[*at] == "checkpoint_taken").collect();
        assert_eq!(taken.len(), expected.len(), "{bodies:?}");
        for at in taken {
            // It holds what was there before the first effect, and stands right before its intent.
            let records = world.records("s").await;
            let Body::CheckpointTaken(taken) = &records[at].body else { panic!() };
            assert_eq!(taken.manifest, hash(&Files::from([("a".into(), "first".into())])));
            assert_eq!((records[at].turn, records[at].step), (Some(1), Some(1)));
            assert!(bodies[at + 1].starts_with("intent 1/tool/"), "{bodies:?}");
            let earlier = bodies[..at].iter().filter(|body| body.starts_with("intent 1/tool/"));
            assert!(earlier.count() <= 1, "only a reading command may run before: {bodies:?}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_told_and_stops_nothing() {
    let calls = || Say::Calls(vec![("write", json!({"a": "second"}))]);
    let (world, keeper) = world(TestModel::new([calls(), calls(), Say::Text("done")]));
    *keeper.refuses.lock().unwrap() = Some("it is too large");
    assert_eq!(world.run(bypass(&world, "go")).await.outcome, "finished");
    assert_eq!(keeper.files()["a"], "second");
    let missed = world.bodies("s").await.iter().filter(|body| *body == "checkpoint_missed").count();
    assert_eq!(missed, 2);

    // Whoever wants the files back is not given others.
    *keeper.refuses.lock().unwrap() = None;
    let refused = world.runtime.rewind(back(2, RewindWhat::Both)).await.unwrap_err();
    assert!(
        matches!(&refused, RuntimeError::NotKept { seq: 2, why } if why == "it is too large"),
        "{refused}"
    );
    let done = world.runtime.rewind(back(2, RewindWhat::Conversation)).await.unwrap();
    assert_eq!((done.conversation, done.files), (true, None));
}

#[tokio::test]
async fn a_rewound_conversation_is_not_sent_again_and_every_request_replays() {
    let write = |n: &'static str| Say::Calls(vec![("write", json!({"a": n}))]);
    let script = [
        write("second"),
        Say::Text("one"),
        write("third"),
        Say::Text("two"),
        Say::Text("three"),
        Say::Text("four"),
    ];
    let (world, keeper) = world(TestModel::new(script));
    world.run(bypass(&world, "first input")).await;
    let after_first = world.records("s").await.len() as Seq;
    world.run(bypass(&world, "second input")).await;
    let after_second = world.records("s").await.len() as Seq;

    // Only the conversation: files stay, and the turn's numbers and costs go on.
    let done = world.runtime.rewind(back(after_first, RewindWhat::Conversation)).await.unwrap();
    assert_eq!(done.seq, Some(after_second + 1));
    assert_eq!(keeper.files()["a"], "third");
    let third = world.run(bypass(&world, "third input")).await;
    assert_eq!(third.turn, 3);
    assert_eq!(
        texts(&world.model.body(4)),
        ["first input", "", "{\"a\":\"second\"}", "one", "third input"],
        "{:#}",
        world.model.body(4)
    );
    let state = State::load(&world.runtime.parts().log, &id()).await.unwrap();
    assert_eq!(state.folded.ledger.total().calls, 5, "usage is not rewound");
    let intent = world.records("s").await.into_iter().rev().find_map(|record| match record.body {
        Body::Intent(intent) => match intent.what {
            Intended::Model(model) => Some(model),
            Intended::Tool(_) | Intended::Undo(_) | Intended::Compact(_) | Intended::Judge(_) => None,
        },
        _ => None,
    });
    let spans: Vec<(Seq, Seq)> = intent.unwrap().history.iter().map(|span| (span.from, span.to)).collect();
    assert_eq!(spans, [(1, after_first), (after_second + 1, after_second + 3)]);

    // The undo is undone: the second turn is back, the third is gone.
    world.runtime.rewind(back(after_second, RewindWhat::Conversation)).await.unwrap();
    world.run(bypass(&world, "fourth input")).await;
    assert_eq!(
        texts(&world.model.body(5)),
        [
            "first input",
            "",
            "{\"a\":\"second\"}",
            "one",
            "second input",
            "",
            "{\"a\":\"third\"}",
            "two",
            "fourth input"
        ]
    );
    let replayed = replay(world.runtime.parts(), &id()).await.unwrap();
    assert_eq!((replayed.requests, replayed.difference), (6, None));
    // A fork of a point that was cut shows what was said there; one of the head what counts there.
    for (at, sees) in [(after_second, 4), (after_second + 1, 2)] {
        let fork = world.runtime.fork(&id(), Some(at), None).await.unwrap();
        let state = State::load(&world.runtime.parts().log, &fork).await.unwrap();
        let said = state
            .transcript
            .items()
            .iter()
            .filter(|item| matches!(*item.item, sterna_llm::Item::Assistant(_)));
        assert_eq!(said.count(), sees, "{at}");
    }
}

#[tokio::test]
async fn files_go_back_and_the_undo_is_undone() {
    let step = |args: Value| Say::Calls(vec![("write", args)]);
    let script = [
        step(json!({"a": "second", "new": "x"})),
        step(json!({"a": null})),
        Say::Text("one"),
        Say::Text("two"),
    ];
    let (world, keeper) = world(TestModel::new(script));
    world.run(bypass(&world, "go")).await;
    let first = Files::from([("a".into(), "first".into())]);
    let between = Files::from([("a".into(), "second".into()), ("new".into(), "x".into())]);
    let last = Files::from([("new".into(), "x".into())]);
    assert_eq!(keeper.files(), last);

    // To the input: before the first checkpoint. To the end of step 1: before the second.
    let end_of_step_1 = seq_of(&world, "outcome 1/tool/0 ok").await;
    let done = world.runtime.rewind(back(end_of_step_1, RewindWhat::Files)).await.unwrap();
    assert_eq!((keeper.files(), done.conversation), (between.clone(), false));
    let undo = done.undo.unwrap();
    world.runtime.rewind(back(2, RewindWhat::Files)).await.unwrap();
    assert_eq!(keeper.files(), first);
    world.runtime.rewind(back(undo, RewindWhat::Files)).await.unwrap();
    assert_eq!(keeper.files(), last);

    // Nothing may write after the head: nothing to do, and no record of it.
    let head = world.records("s").await.len() as Seq;
    let done = world.runtime.rewind(back(head, RewindWhat::Files)).await.unwrap();
    assert_eq!((done.seq, done.files, done.undo), (None, None, None));
    assert_eq!(world.records("s").await.len() as Seq, head);

    // A preview changes nothing, and holds what is found to it.
    let plan = world.runtime.preview_rewind(&id(), 2, RewindWhat::Both, false).await.unwrap();
    let RewindFiles::Back { plan: files, .. } = plan.files else { panic!("{plan:?}") };
    let told: Vec<(&str, &str)> = files.changes.iter().map(|c| (c.path.as_str(), c.what)).collect();
    assert_eq!(told, [("a", "create"), ("new", "remove")]);
    keeper.set("a", "by somebody else");
    let rewind = || Rewind { plan: Some(files.clone()), ..back(2, RewindWhat::Both) };
    let refused = world.runtime.rewind(rewind()).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::FilesChanged(_)), "{refused}");
    assert_eq!(keeper.files()["a"], "by somebody else");
    let done = world.runtime.rewind(Rewind { force: true, ..rewind() }).await.unwrap();
    assert_eq!((keeper.files(), done.conversation), (first, true));

    // The session works on, with what is left of it.
    world.run(bypass(&world, "again")).await;
    assert_eq!(texts(&world.model.body(3)), ["again"]);
    assert_eq!(replay(world.runtime.parts(), &id()).await.unwrap().difference, None);
}

#[tokio::test]
async fn a_restore_that_was_cut_is_asked_for_again() {
    let args = json!({"a": "second", "b": "x", "c": "y"});
    let (world, keeper) = world(TestModel::new([Say::Calls(vec![("write", args)]), Say::Text("one")]));
    world.run(bypass(&world, "go")).await;
    let (last, head) = (keeper.files(), world.records("s").await.len() as Seq);
    for _ in 0..2 {
        keeper.fails_after.store(1, Ordering::SeqCst);
        let failed = world.runtime.rewind(back(2, RewindWhat::Both)).await.unwrap_err();
        assert!(matches!(&failed, RuntimeError::Files(why) if why.contains("the power goes")), "{failed}");
        // What is durable says nothing of a rewind that did not come to its end.
        assert!(!world.bodies("s").await.contains(&"rewound".to_owned()));
    }
    keeper.fails_after.store(0, Ordering::SeqCst);
    // Another process, as far as it can tell.
    let world = over(world.next_life("two", TestModel::default()), &keeper);
    world.runtime.rewind(back(2, RewindWhat::Both)).await.unwrap();
    assert_eq!(keeper.files(), Files::from([("a".into(), "first".into())]));
    // The undo of the first attempt holds what was there before any.
    world.runtime.rewind(back(head, RewindWhat::Files)).await.unwrap();
    assert_eq!(keeper.files(), last);
}

#[tokio::test]
async fn a_session_that_is_driven_is_not_rewound() {
    let (world, _) = world(TestModel::new([Say::Hang("so far"), Say::Text("again")]));
    let accepted = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    world.model.arrived.notified().await;
    let refused = world.runtime.rewind(back(1, RewindWhat::Both)).await.unwrap_err();
    assert!(matches!(&refused, RuntimeError::TurnRunning(session) if *session == id()), "{refused}");
    // Nor by another process.
    let other = World::over(world.log.clone(), TestEnv::new("other"), TestModel::default(), vec![]);
    let refused = other.runtime.rewind(back(1, RewindWhat::Both)).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::TurnRunning(_)), "{refused}");
    world.runtime.cancel(&id(), "test", "enough").await.unwrap();
    assert_eq!(world.result(&accepted).await.stop, Some(StopReason::Cancelled));

    // Right after the result, when the driver is still leaving.
    world.runtime.rewind(back(1, RewindWhat::Conversation)).await.unwrap();
    world.run(world.submit("s", "from the start")).await;
    assert_eq!(texts(&world.model.body(1)), ["from the start"]);
    for wrong in [0, 1_000] {
        let refused = world.runtime.rewind(back(wrong, RewindWhat::Both)).await.unwrap_err();
        assert!(matches!(refused, RuntimeError::NoRecord { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_parked_turn_ends_and_what_waited_does_not_come_back() {
    let asks = Say::Calls(vec![("other", json!({}))]);
    let (world, _) = world(TestModel::new([Say::Text("one"), asks, Say::Text("three")]));
    world.run(world.submit("s", "first")).await;
    let head = world.records("s").await.len() as Seq;
    let mut parks = world.submit("s", "second");
    parks.config.on_ask = OnAsk::Park;
    assert_eq!(world.run(parks).await.outcome, "parked");
    let queued = Submit { drive: false, ..world.submit("s", "queued") };
    let queued = world.runtime.submit(queued).await.unwrap().input;

    let plan = world.runtime.preview_rewind(&id(), head, RewindWhat::Both, false).await.unwrap();
    assert_eq!((plan.turn, plan.inputs), (Some(2), vec![queued]));
    world.runtime.rewind(back(head, RewindWhat::Both)).await.unwrap();
    let bodies = world.bodies("s").await;
    assert_eq!(bodies[bodies.len() - 3..], ["turn_committed", "input_withdrawn", "rewound"]);
    let filter = sterna_log::Filter::default();
    let page = sterna_log::Page { after: None, limit: 10 };
    let row = sterna_log::Log::list(&*world.log, &filter, page).await.unwrap().remove(0);
    assert_eq!((row.status, row.pending.inputs, row.pending.asks), (sterna_log::Status::Idle, 0, 0));

    assert_eq!(world.run(world.submit("s", "third")).await.turn, 3);
    assert_eq!(texts(&world.model.body(2)), ["first", "one", "third"]);
}

/// A session whose one call is kept before, over a log that acts before the append that holds the checkpoint.
fn at_the_checkpoint(act: impl FnMut(&Append) -> Act + Send + 'static) -> (World, Arc<Keeper>, Arc<HookLog>) {
    let (mut act, mut done) = (act, false);
    let log = HookLog::new(move |append| {
        let kept = append.records.iter().any(|draft| matches!(draft.body, Body::CheckpointTaken(_)));
        if !kept || std::mem::replace(&mut done, true) {
            return Act::Pass;
        }
        act(append)
    });
    let (env, model) = (TestEnv::new("one"), TestModel::new([calls_once(), Say::Text("done")]));
    let keeper = Arc::new(Keeper::default());
    keeper.set("a", "first");
    let shared: sterna_log::SharedLog = log.clone();
    let provider = Arc::new(model.clone());
    let world = World::with(shared, log.inner.clone(), env, model, provider, tools(&keeper));
    (over(world, &keeper), keeper, log)
}

fn calls_once() -> Say {
    Say::Calls(vec![("rm", json!({"a": null}))])
}

#[tokio::test]
async fn a_crash_between_checkpoint_and_intent_runs_the_call_once() {
    // The checkpoint was taken, and the process died before anything of it was written.
    let (world, keeper, _) = at_the_checkpoint(|_| Act::Fail(LogError::Io("the power goes".into())));
    let accepted = world.runtime.submit(bypass(&world, "go")).await.unwrap();
    assert!(world.runtime.result(&id(), accepted.input).await.is_err());
    assert_eq!(keeper.files()["a"], "first", "nothing ran before its intent was durable");
    assert!(!world.bodies("s").await.contains(&"checkpoint_taken".to_owned()));
    // A quick checkpoint shares the append of the answer that asked for the call: then that is asked for again.
    let answered = world.bodies("s").await.contains(&"outcome 1/model/0".to_owned());
    let script = [(!answered).then(calls_once), Some(Say::Text("done"))];
    let next = over(world.next_life("two", TestModel::new(script.into_iter().flatten())), &keeper);
    let mut config = next.config();
    config.mode = Mode::Bypass;
    next.runtime.resume(&id(), config);
    assert_eq!(next.result(&accepted).await.outcome, "finished");
    assert!(keeper.files().is_empty());
    let bodies = next.bodies("s").await;
    let of = |name: &str| bodies.iter().filter(|body| *body == name).count();
    assert_eq!((of("checkpoint_taken"), of("intent 1/tool/0"), of("outcome 1/tool/0 ok")), (1, 1, 1));
    assert_eq!(next.model.asked(), if answered { 1 } else { 2 });
    next.runtime.rewind(back(2, RewindWhat::Files)).await.unwrap();
    assert_eq!(keeper.files()["a"], "first");
}

#[tokio::test]
async fn a_checkpoint_that_somebodys_input_overtakes_is_still_the_one_of_its_step() {
    let (world, keeper, _) = at_the_checkpoint(|append| foreign(append, "also this", Delivery::AfterWork));
    assert_eq!(world.run(bypass(&world, "go")).await.outcome, "finished");
    let bodies = world.bodies("s").await;
    let at = bodies.iter().position(|body| body == "checkpoint_taken").unwrap();
    assert_eq!(bodies.iter().filter(|body| *body == "checkpoint_taken").count(), 1, "{bodies:?}");
    assert!(bodies[at + 1..].contains(&"intent 1/tool/0".to_owned()), "{bodies:?}");
    assert_eq!(keeper.reaches.lock().unwrap().len(), 1, "what was kept is not kept again");
    assert!(keeper.files().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_is_cancelled_while_its_files_are_kept_changes_none() {
    let (world, keeper) = world(TestModel::new([calls_once(), Say::Text("again")]));
    let (begun, begins) = std::sync::mpsc::channel();
    *keeper.hangs.lock().unwrap() = Some(begun);
    let accepted = world.runtime.submit(bypass(&world, "go")).await.unwrap();
    tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
    world.runtime.cancel(&id(), "test", "enough").await.unwrap();
    assert_eq!(world.result(&accepted).await.stop, Some(StopReason::Cancelled));
    assert_eq!(keeper.files()["a"], "first");
    let bodies = world.bodies("s").await;
    assert!(bodies.contains(&"outcome 1/tool/0 cancelled".to_owned()), "{bodies:?}");
    assert!(!bodies.iter().any(|body| body.starts_with("checkpoint")), "{bodies:?}");
    assert_eq!(world.run(bypass(&world, "again")).await.outcome, "finished");
}
