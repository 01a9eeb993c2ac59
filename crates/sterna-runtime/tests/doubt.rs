//! Calls that were running when their process died: what is taken back, and what a person is asked.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use common::*;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use serde_json::{Value, json};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{
    Access, Plan, PlanContext, Recovered, SharedTool, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};
use tokio::sync::Notify;

/// What a tool does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Ends,
    /// Its process dies in it.
    Hangs,
    Fails,
    Panics,
}

/// The world outside, and what it is told to do.
struct Outside {
    happened: Mutex<Vec<String>>,
    call: Mutex<Does>,
    /// What the next calls do, before `call` counts.
    first: Mutex<VecDeque<Does>>,
    undo: Mutex<Does>,
    recover: Mutex<fn() -> Recovered>,
    begun: Notify,
}

struct Lend {
    spec: ToolSpec,
    class: EffectClass,
    outside: Arc<Outside>,
}

impl Lend {
    fn named(name: &str, class: EffectClass, outside: &Arc<Outside>) -> SharedTool {
        let schema = json!({"type": "object"});
        let spec = ToolSpec { name: name.into(), description: name.into(), schema };
        Arc::new(Self { spec, class, outside: outside.clone() })
    }

    async fn act(&self, what: &str, cx: &ToolContext, does: Does) -> Result<(), ToolError> {
        self.outside.happened.lock().unwrap().push(format!("{what} {} #{}", cx.key, cx.attempt));
        self.outside.begun.notify_one();
        match does {
            Does::Ends => Ok(()),
            Does::Hangs => pending().await,
            Does::Fails => Err(ToolError::failed("the other side says no")),
            Does::Panics => panic!("as the test says"),
        }
    }
}

impl Tool for Lend {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    fn class(&self, _: &Value) -> EffectClass {
        self.class
    }
    fn plan(&self, _: &PlanContext, _: &Value) -> Result<Plan, ToolError> {
        Ok(Plan { accesses: vec![Access::Session], summary: "lend a book".into(), preview: None })
    }
    fn call<'a>(&'a self, cx: ToolContext, _: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let first = self.outside.first.lock().unwrap().pop_front();
            let does = first.unwrap_or_else(|| *self.outside.call.lock().unwrap());
            self.act("call", &cx, does).await?;
            Ok(ToolReturn::Done(ToolDone::text("lent")))
        }
        .boxed()
    }
    fn recover<'a>(&'a self, _: ToolContext, _: Value) -> BoxFuture<'a, Recovered> {
        let recover = *self.outside.recover.lock().unwrap();
        async move { recover() }.boxed()
    }
    fn undo<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<(), ToolError>> {
        async move {
            assert_eq!(args, json!({"book": 7}));
            let does = *self.outside.undo.lock().unwrap();
            self.act("undo", &cx, does).await
        }
        .boxed()
    }
}

/// A session whose process died in its only call, under this policy.
struct Died {
    world: World,
    accepted: Accepted,
    outside: Arc<Outside>,
    lives: usize,
}

impl Died {
    async fn in_call(class: EffectClass, policy: InDoubtPolicy, on_ask: OnAsk) -> Self {
        let given = |config: &mut TurnConfig| (config.in_doubt, config.on_ask) = (policy, on_ask);
        Self::in_first_of(&["lend"], class, given).await
    }

    /// As `in_call`, of a step that calls these tools one after another.
    async fn in_first_of(
        names: &[&'static str],
        class: EffectClass,
        given: impl FnOnce(&mut TurnConfig),
    ) -> Self {
        let outside = Arc::new(Outside {
            happened: Mutex::default(),
            call: Mutex::new(Does::Hangs),
            first: Mutex::default(),
            undo: Mutex::new(Does::Ends),
            recover: Mutex::new(|| Recovered::Unknown),
            begun: Notify::new(),
        });
        let calls = names.iter().map(|name| (*name, json!({"book": 7}))).collect();
        let tools = names.iter().map(|name| Lend::named(name, class, &outside)).collect();
        let world = World::new(TestModel::new([Say::Calls(calls)]), tools);
        let mut submit = world.submit("s", "go");
        given(&mut submit.config);
        let accepted = world.runtime.submit(submit).await.unwrap();
        outside.begun.notified().await;
        Self { world, accepted, outside, lives: 1 }
    }

    /// The next process, which finishes the turn when it is let.
    fn next_life(&mut self) {
        self.lives += 1;
        let next = self.world.next_life(&format!("life {}", self.lives), TestModel::new([Say::Text("told")]));
        // The lives before it go on as tasks of this test: they must not learn of deaths after their own.
        let dead = next.env.dead.lock().unwrap().clone();
        let env = TestEnv {
            now: Arc::new(Env::now(&self.world.env).into()),
            dead: Arc::new(Mutex::new(dead)),
            ..next.env.clone()
        };
        self.world = World::over(next.log.clone(), env, next.model.clone(), next.tools.clone());
        let mut config = self.world.config();
        config.on_ask = OnAsk::Park;
        self.world.runtime.resume(&self.accepted.session, config);
    }

    async fn dies_in_next_life(&mut self) {
        self.next_life();
        self.outside.begun.notified().await;
    }

    /// Until this is the last thing that happened.
    async fn begins(&self, what: &str) {
        while self.happened().last().map(String::as_str) != Some(what) {
            self.outside.begun.notified().await;
        }
    }

    async fn end(&self) -> ResultEvent {
        self.world.result(&self.accepted).await
    }

    fn happened(&self) -> Vec<String> {
        self.outside.happened.lock().unwrap().clone()
    }

    /// Records of calls, from the first intent of one.
    async fn records(&self) -> Vec<String> {
        let bodies = self.world.bodies("s").await;
        let wanted = |body: &String| {
            body.contains("tool/") || ["in_doubt", "wait_opened", "wait_resolved"].contains(&body.as_str())
        };
        bodies.into_iter().filter(wanted).collect()
    }

    /// The one result of the call, as the model is told it.
    async fn told(&self) -> (ToolStatus, String) {
        let records = self.world.records("s").await;
        let mut ends = records.into_iter().filter_map(|record| match record.body {
            Body::Outcome(outcome) => match outcome.result {
                EffectResult::Tool(tool) => Some((tool.status, tool.view)),
                EffectResult::Model(_)
                | EffectResult::ModelFailed(_)
                | EffectResult::Summary(_)
                | EffectResult::Judged(_) => None,
            },
            _ => None,
        });
        let told = ends.next().expect("the call has an outcome");
        assert!(ends.next().is_none(), "and only one");
        told
    }

    async fn resolve(&self, ruling: Ruling) {
        let (session, wait) = (self.accepted.session.clone(), self.open_wait().await);
        let resolve = Resolve { session, wait, ruling, grant: None, by: "person".into() };
        self.world.runtime.resolve(resolve).await.unwrap();
    }

    async fn open_wait(&self) -> WaitId {
        let state = State::load(&self.world.runtime.parts().log, &self.accepted.session).await.unwrap();
        match state.machine.next() {
            sterna_turn::Next::Wait(waits) => waits[0].clone(),
            other => panic!("it does not wait: {other:?}"),
        }
    }
}

const CALL: &str = "call s/1/1/tool/0 #1";
const AGAIN: &str = "call s/1/1/tool/0 #2";
const UNDO: &str = "undo s/1/1/tool/0 #1";

/// The policy is not asked about what can be taken back.
#[tokio::test]
async fn a_compensable_call_is_taken_back_once_and_the_model_is_told() {
    for policy in [InDoubtPolicy::Report, InDoubtPolicy::Rerun, InDoubtPolicy::Stop, InDoubtPolicy::Ask] {
        let mut died = Died::in_call(EffectClass::Compensable, policy, OnAsk::Deny).await;
        died.next_life();
        assert_eq!(died.end().await.outcome, "finished", "{policy:?}");
        assert_eq!(died.happened(), [CALL, UNDO], "{policy:?}");
        let (status, view) = died.told().await;
        assert_eq!(status, ToolStatus::RolledBack, "{view}");
        assert!(view.starts_with("rolled_back: "), "{view}");
        let records = died.records().await;
        assert_eq!(records, ["intent 1/tool/0", "undo 1/tool/0", "outcome 1/tool/0 rolled_back"]);
        let asked = died.world.model.body(0).to_string();
        assert_eq!(asked.matches("rolled_back: ").count(), 1, "{asked}");
    }
}

#[tokio::test]
async fn an_undo_that_a_crash_cut_is_done_again_under_its_one_intent() {
    let mut died = Died::in_call(EffectClass::Compensable, InDoubtPolicy::Report, OnAsk::Deny).await;
    *died.outside.undo.lock().unwrap() = Does::Hangs;
    died.dies_in_next_life().await;
    died.dies_in_next_life().await;
    *died.outside.undo.lock().unwrap() = Does::Ends;
    died.next_life();
    died.end().await;
    assert_eq!(died.happened(), [CALL, UNDO, UNDO, UNDO]);
    let records = died.records().await;
    assert_eq!(records, ["intent 1/tool/0", "undo 1/tool/0", "outcome 1/tool/0 rolled_back"]);
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_in_doubt() {
    for (does, why) in [(Does::Fails, "the other side says no"), (Does::Panics, "as the test says")] {
        for (policy, calls, status, stop) in [
            (InDoubtPolicy::Report, 1, ToolStatus::OutcomeUnknown, None),
            (InDoubtPolicy::Stop, 1, ToolStatus::OutcomeUnknown, Some(StopReason::InDoubt)),
            (InDoubtPolicy::Rerun, 2, ToolStatus::Ok, None),
        ] {
            let mut died = Died::in_call(EffectClass::Compensable, policy, OnAsk::Deny).await;
            *died.outside.undo.lock().unwrap() = does;
            *died.outside.call.lock().unwrap() = Does::Ends;
            died.next_life();
            assert_eq!(died.end().await.stop, stop, "{does:?} {policy:?}");
            let wanted = [CALL, UNDO, AGAIN];
            assert_eq!(died.happened(), wanted[..calls + 1], "{does:?} {policy:?}");
            let told = died.told().await;
            assert_eq!(told.0, status, "{does:?} {policy:?}");
            assert_eq!(told.1.contains(why), status == ToolStatus::OutcomeUnknown, "{}", told.1);
        }
    }
}

/// What is known needs no undo.
#[tokio::test]
async fn a_compensable_call_whose_end_is_known_is_not_taken_back() {
    let ended: fn() -> Recovered = || Recovered::Ended(Ok(ToolReturn::Done(ToolDone::text("lent"))));
    let cases: [(fn() -> Recovered, &[&str]); 2] =
        [(ended, &[CALL]), (|| Recovered::NeverRan, &[CALL, AGAIN])];
    for (recover, happened) in cases {
        let mut died = Died::in_call(EffectClass::Compensable, InDoubtPolicy::Report, OnAsk::Deny).await;
        *died.outside.recover.lock().unwrap() = recover;
        *died.outside.call.lock().unwrap() = Does::Ends;
        died.next_life();
        died.end().await;
        assert_eq!((died.told().await, died.happened()), ((ToolStatus::Ok, "lent".into()), owned(happened)));
    }
}

/// A turn that ends leaves nothing half done either.
#[tokio::test]
async fn a_cancelled_turn_takes_back_what_was_running() {
    let mut died = Died::in_call(EffectClass::Compensable, InDoubtPolicy::Report, OnAsk::Deny).await;
    // The first process is dead, and somebody cancels before the next one is there.
    died.world.log.cancelled("s").await;
    died.next_life();
    assert_eq!(died.end().await.stop, Some(StopReason::Cancelled));
    assert_eq!(died.happened(), [CALL, UNDO]);
    assert_eq!(died.told().await.0, ToolStatus::RolledBack);
}

#[tokio::test]
async fn a_person_is_asked_whether_a_call_in_doubt_runs_again() {
    let deny = |text: &str| Ruling::Deny { feedback: text.into() };
    for (ruling, happened, status, said) in [
        (Ruling::Allow, &[CALL, AGAIN][..], ToolStatus::Ok, "lent"),
        (deny("I lent it myself"), &[CALL], ToolStatus::OutcomeUnknown, "A person says: I lent it myself"),
        (deny(""), &[CALL], ToolStatus::OutcomeUnknown, "outcome_unknown: "),
        (Ruling::Timeout, &[CALL], ToolStatus::OutcomeUnknown, "outcome_unknown: "),
    ] {
        // Whatever an ask does otherwise: nobody else can say so.
        for on_ask in [OnAsk::Deny, OnAsk::Fail, OnAsk::Park] {
            let mut died = Died::in_call(EffectClass::AtMostOnce, InDoubtPolicy::Ask, on_ask).await;
            *died.outside.call.lock().unwrap() = Does::Ends;
            died.next_life();
            assert_eq!(died.end().await.outcome, "parked", "{on_ask:?}");
            assert_eq!((died.happened(), died.world.model.asked()), (owned(&[CALL]), 0));
            // Nothing is asked twice, however often it is resumed.
            died.next_life();
            assert_eq!(died.end().await.outcome, "parked", "{on_ask:?}");
            died.resolve(ruling.clone()).await;
            died.next_life();
            let result = died.end().await;
            assert_eq!((result.outcome, result.stop), ("finished", None), "{on_ask:?} {ruling:?}");
            let told = died.told().await;
            assert_eq!((told.0, died.happened()), (status, owned(happened)), "{on_ask:?} {ruling:?}");
            assert!(told.1.contains(said), "{}", told.1);
            assert_eq!(result.denials.len(), 0, "a doubt that is not run again is no refusal");
            let replayed = replay(died.world.runtime.parts(), &died.accepted.session).await.unwrap();
            assert_eq!(replayed.difference, None);
        }
    }
}

/// What was said before the call was lost says nothing of whether it may run again.
#[tokio::test]
async fn an_early_answer_is_none_to_a_doubt() {
    let mut died = Died::in_call(EffectClass::AtMostOnce, InDoubtPolicy::Ask, OnAsk::Park).await;
    let key = died.world.runtime.wait_key(&"s/1/1/tool/0".to_owned()).unwrap();
    died.world.runtime.resolve_key(&key, Ruling::Allow, "person").await.unwrap();
    died.next_life();
    assert_eq!(died.end().await.outcome, "parked");
    assert_eq!(died.happened(), owned(&[CALL]));
    died.world.runtime.resolve_key(&key, Ruling::Deny { feedback: String::new() }, "person").await.unwrap();
    died.next_life();
    assert_eq!(died.end().await.outcome, "finished");
    assert_eq!((died.told().await.0, died.happened()), (ToolStatus::OutcomeUnknown, owned(&[CALL])));
}

/// The answer was for one attempt: the next one that is lost is asked about again.
#[tokio::test]
async fn each_attempt_in_doubt_is_asked_about() {
    let mut died = Died::in_call(EffectClass::AtMostOnce, InDoubtPolicy::Ask, OnAsk::Deny).await;
    died.next_life();
    assert_eq!(died.end().await.outcome, "parked");
    died.resolve(Ruling::Allow).await;
    died.dies_in_next_life().await;
    assert_eq!(died.happened(), [CALL, AGAIN]);
    died.next_life();
    assert_eq!(died.end().await.outcome, "parked");
    assert_eq!(died.open_wait().await, "s/1/1/tool/0/2");
    died.resolve(Ruling::Deny { feedback: String::new() }).await;
    died.next_life();
    assert_eq!(died.end().await.outcome, "finished");
    assert_eq!((died.told().await.0, died.happened()), (ToolStatus::OutcomeUnknown, owned(&[CALL, AGAIN])));
}

/// Each tool has its own ruling, and the turn has it with it: the processes after the first are told of none.
#[tokio::test]
async fn a_tool_has_its_own_ruling_before_that_of_the_turn() {
    let given = |config: &mut TurnConfig| {
        config.in_doubt = InDoubtPolicy::Ask;
        let of = [("lend", InDoubtPolicy::Rerun), ("mail", InDoubtPolicy::Report)];
        config.in_doubt_of = of.map(|(name, ruling)| (name.to_owned(), ruling)).into();
    };
    let mut died = Died::in_first_of(&["lend", "mail", "sell"], EffectClass::AtMostOnce, given).await;
    let call = |ordinal: u32, attempt: u32| format!("call s/1/1/tool/{ordinal} #{attempt}");
    // `lend` runs again and ends, and the process dies in `mail`.
    died.outside.first.lock().unwrap().push_back(Does::Ends);
    died.next_life();
    died.begins(&call(1, 1)).await;
    // Of `mail` the model is told, and the process dies in `sell`.
    died.next_life();
    died.begins(&call(2, 1)).await;
    // That one has no ruling of its own: a person is asked.
    died.next_life();
    assert_eq!(died.end().await.outcome, "parked");
    let happened = [call(0, 1), call(0, 2), call(1, 1), call(2, 1)];
    assert_eq!(died.happened(), happened);
    died.outside.first.lock().unwrap().push_back(Does::Ends);
    died.resolve(Ruling::Allow).await;
    died.next_life();
    assert_eq!(died.end().await.outcome, "finished");
    assert_eq!(died.happened(), [&happened[..], &[call(2, 2)]].concat());
    let records = died.records().await;
    let ends: Vec<&String> = records.iter().filter(|record| record.starts_with("outcome")).collect();
    let ended = ["outcome 1/tool/0 ok", "outcome 1/tool/1 outcome_unknown", "outcome 1/tool/2 ok"];
    assert_eq!(ends, ended);
}

#[tokio::test]
async fn a_call_can_be_lost_and_run_again_more_than_once() {
    let mut died = Died::in_call(EffectClass::AtMostOnce, InDoubtPolicy::Rerun, OnAsk::Deny).await;
    died.dies_in_next_life().await;
    died.dies_in_next_life().await;
    *died.outside.call.lock().unwrap() = Does::Ends;
    died.next_life();
    died.end().await;
    let ran: Vec<String> = (1..=4).map(|n| format!("call s/1/1/tool/0 #{n}")).collect();
    assert_eq!((died.told().await.0, died.happened()), (ToolStatus::Ok, ran));
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A cancel that somebody appended while no process was there.
trait Cancelled {
    async fn cancelled(&self, session: &str);
}

impl Cancelled for sterna_log::MemoryLog {
    async fn cancelled(&self, session: &str) {
        use sterna_log::{Append, Expect, Log};
        let body = Body::CancelRequested {
            turn: 1,
            request: "r".into(),
            by: "person".into(),
            reason: "enough".into(),
        };
        let append = Append {
            session: SessionId::new(session).unwrap(),
            expect: Expect::Any,
            id: "cancel:1".into(),
            records: vec![Draft { at: 1, turn: Some(1), step: None, body }],
            blobs: Vec::new(),
        };
        self.append(append).await.unwrap();
    }
}
