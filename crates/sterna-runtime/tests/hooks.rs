//! Hooks: each event fires, each answer has its effect, the strictest wins, and what was said is in the log first.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hooks.rs"]
mod double;

use common::*;
use double::{Reaction, Told, listening, saying};
use serde_json::{Value, json};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::Access;

const CALL: &str = "s/1/1/tool/0";

/// A model that calls `t` once and then says `done`.
fn one_call(access: Access) -> World {
    World::new(
        TestModel::new([Say::Calls(vec![("t", json!({"n": 1}))]), Say::Text("done")]),
        vec![tool_of("t", EffectClass::AtMostOnce, access, |_, args| {
            Box::pin(async move {
                Ok(sterna_tool::ToolReturn::Done(sterna_tool::ToolDone::text(args.to_string())))
            })
        })],
    )
}

async fn outcome_of(world: &World, key: &str) -> Option<ToolOutcome> {
    let records = world.records("s").await;
    records.into_iter().find_map(|record| match record.body {
        Body::Outcome(outcome) if outcome.key.to_string() == key => match outcome.result {
            EffectResult::Tool(tool) => Some(tool),
            _ => None,
        },
        _ => None,
    })
}

async fn hooks_of(world: &World, event: HookEvent) -> Vec<HookRan> {
    let records = world.records("s").await;
    let ran = records.into_iter().filter_map(|record| match record.body {
        Body::HookRan(ran) if ran.event == event => Some(*ran),
        _ => None,
    });
    ran.collect()
}

async fn replays(world: &World) {
    let parts = Parts { hooks: None, ..world.runtime.parts().clone() };
    let replayed = replay(&parts, &SessionId::new("s").unwrap()).await.unwrap();
    assert_eq!(replayed.difference, None);
}

/// How a turn ends.
fn end(result: &ResultEvent) -> String {
    result.stop.map_or(result.outcome, |stop| stop.word()).to_owned()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    Nothing,
    Blocks,
    Stops,
    Crashes,
    Panics,
    Hangs,
}

fn reaction(does: Does) -> Reaction {
    match does {
        Does::Nothing => Reaction::Says(HookAnswer::nothing()),
        Does::Blocks => Reaction::Says(HookAnswer::Blocked("no way".into())),
        Does::Stops => Reaction::Says(HookAnswer::Stopped("enough".into())),
        Does::Crashes => Reaction::Says(HookAnswer::Failed("exit code 1: oops".into())),
        Does::Panics => Reaction::Panics,
        Does::Hangs => Reaction::Hangs,
    }
}

/// Every event that can deny, and everything that its hook can do: how the turn ends, what the call came to, and how
/// many requests the model got.
#[tokio::test]
async fn matrix_of_what_hooks_do() {
    use Does::*;
    use HookEvent as E;
    let all = [Nothing, Blocks, Stops, Crashes, Panics, Hangs];
    for (event, ends, calls, requests) in [
        (E::UserPromptSubmit, "fssSSS", "o-----", [2, 0, 0, 0, 0, 0]),
        (E::PreToolUse, "ffsfff", "odcddd", [2, 2, 1, 2, 2, 2]),
        (E::PermissionRequest, "ffsfff", "ddcddd", [2, 2, 1, 2, 2, 2]),
        (E::SessionStart, "fssfff", "o--ooo", [2, 0, 0, 2, 2, 2]),
        (E::TurnStart, "fssfff", "o--ooo", [2, 0, 0, 2, 2, 2]),
        (E::StepStart, "fssfff", "o--ooo", [2, 0, 0, 2, 2, 2]),
        (E::PreModelCall, "fssfff", "o--ooo", [2, 0, 0, 2, 2, 2]),
    ] {
        for (at, does) in all.into_iter().enumerate() {
            let context = format!("{event:?} {does:?}");
            // PermissionRequest is only asked where somebody would be.
            let access = if event == E::PermissionRequest { Access::Other } else { Access::Session };
            let world =
                one_call(access).hooked(listening("h", &[event], &Told::default(), move |_| reaction(does)));
            let result = world.run(world.submit("s", "go")).await;
            let ended = match ends.as_bytes()[at] {
                b'f' => "finished",
                _ => "hook_stopped",
            };
            assert_eq!(end(&result), ended, "{context}: {result:?}");
            let status = outcome_of(&world, CALL).await.map(|outcome| outcome.status);
            let expected = match calls.as_bytes()[at] {
                b'o' => Some(ToolStatus::Ok),
                b'd' => Some(ToolStatus::Denied),
                b'c' => Some(ToolStatus::Cancelled),
                _ => None,
            };
            assert_eq!(status, expected, "{context}");
            assert_eq!(world.model.asked(), requests[at], "{context}");
            let hook_end = match (does, event.fails_closed()) {
                (Nothing, _) => HookEnd::Ok,
                (Blocks, _) => HookEnd::Blocked,
                (Stops, _) => HookEnd::Stopped,
                (_, true) => HookEnd::FailedClosed,
                (_, false) => HookEnd::Failed,
            };
            let ran = hooks_of(&world, event).await;
            assert!(
                !ran.is_empty() && ran.iter().all(|ran| ran.hooks[0].end == hook_end),
                "{context}: {ran:?}"
            );
            replays(&world).await;
        }
    }
}

#[tokio::test]
async fn the_reason_of_a_hook_reaches_the_model() {
    let world = one_call(Access::Session)
        .hooked(saying(&[HookEvent::PreToolUse], HookAnswer::Blocked("use the other tool".into())));
    let result = world.run(world.submit("s", "go")).await;
    let denied = "denied: use the other tool (hook h)\nThe call was not run.";
    assert_eq!(world.model.body(1)["messages"][3]["content"], denied);
    assert_eq!(result.denials.len(), 1);
}

/// What a hook says of permission, and what policy says: the stricter holds, and a hook's yes answers only what the
/// mode alone would have asked.
#[tokio::test]
async fn a_hook_narrows_and_never_lifts() {
    let rule = |decision, text: &str| RuleText {
        decision,
        text: text.into(),
        scope: Scope::User,
        source: "config.toml:3".into(),
    };
    let (deny, ask) = (rule(Decision::Deny, "t"), rule(Decision::Ask, "t"));
    let write = || Access::Write("/w/a".into());
    for (access, rules, mode, says, status) in [
        (write(), vec![], Mode::Execute, Decision::Allow, ToolStatus::Ok),
        (write(), vec![], Mode::Execute, Decision::Deny, ToolStatus::Denied),
        (write(), vec![], Mode::Execute, Decision::Ask, ToolStatus::Denied),
        (write(), vec![deny.clone()], Mode::Execute, Decision::Allow, ToolStatus::Denied),
        (write(), vec![deny], Mode::Bypass, Decision::Allow, ToolStatus::Denied),
        (write(), vec![ask], Mode::Execute, Decision::Allow, ToolStatus::Denied),
        (Access::Other, vec![], Mode::Execute, Decision::Allow, ToolStatus::Ok),
        (Access::Other, vec![], Mode::Execute, Decision::Ask, ToolStatus::Denied),
        (write(), vec![], Mode::Ask, Decision::Allow, ToolStatus::Ok),
        (write(), vec![], Mode::Plan, Decision::Allow, ToolStatus::Denied),
        (write(), vec![], Mode::Pair, Decision::Allow, ToolStatus::Denied),
        (Access::Other, vec![], Mode::NeverAsk, Decision::Allow, ToolStatus::Denied),
        (write(), vec![], Mode::NeverAsk, Decision::Ask, ToolStatus::Denied),
        (write(), vec![], Mode::Bypass, Decision::Ask, ToolStatus::Ok),
        (write(), vec![], Mode::Bypass, Decision::Deny, ToolStatus::Denied),
    ] {
        for event in [HookEvent::PreToolUse, HookEvent::PermissionRequest] {
            let context = format!("{event:?}: {access:?} {rules:?} {mode:?} {says:?}");
            // Nobody is there, so whoever would be asked says no.
            let world = one_call(access.clone()).hooked(saying(&[event], HookAnswer::permission(says, "so")));
            let mut submit = world.submit("s", "go");
            (submit.config.mode, submit.config.rules) = (mode, rules.clone());
            world.run(submit).await;
            let asked = !hooks_of(&world, HookEvent::PermissionRequest).await.is_empty();
            let status = match event {
                // Where nobody would be asked, its hooks say nothing.
                HookEvent::PermissionRequest if !asked && access == write() && rules.is_empty() => match mode
                {
                    Mode::Execute | Mode::NeverAsk | Mode::Bypass => ToolStatus::Ok,
                    _ => status,
                },
                _ => status,
            };
            assert_eq!(outcome_of(&world, CALL).await.unwrap().status, status, "{context}");
        }
    }
}

#[tokio::test]
async fn of_two_hooks_the_one_that_denies_wins() {
    let (told, e) = (Told::default(), HookEvent::PreToolUse);
    let mut both =
        listening("yes", &[e], &told, |_| Reaction::Says(HookAnswer::permission(Decision::Allow, "fine")));
    both.extend(listening("no", &[e], &told, |_| {
        Reaction::Says(HookAnswer::permission(Decision::Deny, "bad"))
    }));
    let world = one_call(Access::Session).hooked(both);
    world.run(world.submit("s", "go")).await;
    let outcome = outcome_of(&world, CALL).await.unwrap();
    assert_eq!(outcome.view, "denied: bad (hook no)\nThe call was not run.");
    assert_eq!(told.calls().len(), 2);
    let names: Vec<String> =
        hooks_of(&world, e).await.remove(0).hooks.into_iter().map(|hook| hook.name).collect();
    assert_eq!(names, ["yes", "no"]);
}

/// New input of a call is checked, judged and asked about again, at most three times.
#[tokio::test]
async fn new_input_goes_back_to_the_start() {
    let deny = RuleText {
        decision: Decision::Deny,
        text: "Write(/w/secret)".into(),
        scope: Scope::User,
        source: "config.toml:1".into(),
    };
    let n = |call: &HookCall| call.input["tool_input"]["n"].as_u64().unwrap();
    // The new input by the one before; what the call comes to; how often hooks were asked.
    type New = fn(u64) -> Option<Value>;
    let cases: [(New, ToolStatus, &str, usize); 5] = [
        (|_| Some(json!({"n": 7})), ToolStatus::Ok, "{\"n\":7}", 2),
        (|n| (n < 3).then(|| json!({"n": n + 1})), ToolStatus::Ok, "{\"n\":3}", 3),
        (|n| Some(json!({"n": n + 1})), ToolStatus::Denied, "more than 3 times", 4),
        (|_| Some(json!({"path": "/w/secret", "n": 1})), ToolStatus::Denied, "config.toml:1", 2),
        (|_| Some(json!({"n": "one"})), ToolStatus::Denied, "does not fit", 1),
    ];
    for (new, status, view, asked) in cases {
        let told = Told::default();
        let hooks = listening("h", &[HookEvent::PreToolUse], &told, move |call| {
            Reaction::Says(new(n(call)).map_or_else(HookAnswer::nothing, HookAnswer::rewrite))
        });
        let world = World::new(
            TestModel::new([Say::Calls(vec![("t", json!({"n": 1}))]), Say::Text("done")]),
            vec![pathy()],
        )
        .hooked(hooks);
        let mut submit = world.submit("s", "go");
        submit.config.rules = vec![deny.clone()];
        world.run(submit).await;
        let outcome = outcome_of(&world, CALL).await.unwrap();
        assert!(outcome.status == status && outcome.view.contains(view), "{view}: {outcome:?}");
        assert_eq!(told.calls().len(), asked, "{view}");
        // The model sees what it asked for itself, and what runs is what the log holds.
        let call = &world.model.body(1)["messages"][2]["tool_calls"][0]["function"]["arguments"];
        assert_eq!(call, "{\"n\":1}");
        replays(&world).await;
    }
}

/// A tool that writes where its argument says, and takes a number.
fn pathy() -> sterna_tool::SharedTool {
    struct Pathy(ToolSpec);
    impl sterna_tool::Tool for Pathy {
        fn spec(&self) -> &ToolSpec {
            &self.0
        }
        fn class(&self, args: &Value) -> EffectClass {
            if args["n"] == 1 { EffectClass::Pure } else { EffectClass::AtMostOnce }
        }
        fn plan(
            &self,
            _: &sterna_tool::PlanContext,
            args: &Value,
        ) -> Result<sterna_tool::Plan, sterna_tool::ToolError> {
            let path = args["path"].as_str().unwrap_or("/w/free");
            Ok(sterna_tool::Plan { accesses: vec![Access::Write(path.into())], ..Default::default() })
        }
        fn call<'a>(
            &'a self,
            _: sterna_tool::ToolContext,
            args: Value,
        ) -> futures::future::BoxFuture<'a, Result<sterna_tool::ToolReturn, sterna_tool::ToolError>> {
            Box::pin(async move {
                Ok(sterna_tool::ToolReturn::Done(sterna_tool::ToolDone::text(args.to_string())))
            })
        }
    }
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    std::sync::Arc::new(Pathy(ToolSpec { name: "t".into(), description: "t".into(), schema }))
}

/// A rewritten call has the class that its tool gives the new input: it is run as what it is.
#[tokio::test]
async fn a_rewritten_call_has_a_class_of_its_own() {
    let hooks = saying(&[HookEvent::PreToolUse], HookAnswer::rewrite(json!({"n": 2})));
    let model = TestModel::new([Say::Calls(vec![("t", json!({"n": 1}))]), Say::Text("done")]);
    let world = World::new(model, vec![pathy()]).hooked(hooks);
    world.run(world.submit("s", "go")).await;
    let bodies = world.bodies("s").await;
    // A pure call has no intent.
    assert!(bodies.contains(&"intent 1/tool/0".to_owned()), "{bodies:?}");
}

/// A tool that is shown by name only is the one that hooks are asked about, however it is called.
#[tokio::test]
async fn a_deferred_tool_passes_its_hooks() {
    let wrapped = ("call_tool", json!({"name": "t", "arguments": {"n": 1}}));
    let direct = ("t", json!({"n": 1}));
    for call in [wrapped, direct] {
        for (answer, status, view) in [
            (HookAnswer::nothing(), ToolStatus::Ok, "{\"n\":1}"),
            (HookAnswer::Blocked("no".into()), ToolStatus::Denied, "denied: no (hook h)"),
            (HookAnswer::rewrite(json!({"n": 7})), ToolStatus::Ok, "{\"n\":7}"),
            (HookAnswer::rewrite(json!({"n": "one"})), ToolStatus::Denied, "does not fit"),
        ] {
            let told = Told::default();
            let says = answer.clone();
            let mut hooks =
                listening("h", &[HookEvent::PreToolUse], &told, move |_| Reaction::Says(says.clone()));
            hooks.extend(listening("h", &[HookEvent::PostToolUse], &told, |_| {
                Reaction::Says(HookAnswer::nothing())
            }));
            let hooks = hooks.into_iter();
            let matcher = || Matcher::new("t").unwrap();
            let hooks = hooks.map(|one| Listening { matcher: matcher(), ..one }).collect();
            let model = TestModel::new([Say::Calls(vec![call.clone()]), Say::Text("done")]);
            let world = World::new(model, vec![pathy(), echo("call_tool", EffectClass::Pure)]).hooked(hooks);
            let mut submit = world.submit("s", "go");
            submit.config.tools = vec!["call_tool".into()];
            submit.config.deferred = vec!["t".into()];
            world.run(submit).await;
            let context = format!("{} {answer:?}", call.0);
            let outcome = outcome_of(&world, CALL).await.unwrap();
            assert!(outcome.status == status && outcome.view.contains(view), "{context}: {outcome:?}");
            let first = told.input(HookEvent::PreToolUse);
            assert_eq!(
                (&first["tool_name"], &first["tool_input"]),
                (&json!("t"), &json!({"n": 1})),
                "{context}"
            );
            let ran = status == ToolStatus::Ok;
            assert_eq!(told.events().contains(&HookEvent::PostToolUse), ran, "{context}");
            replays(&world).await;
        }
    }
}

#[tokio::test]
async fn what_hooks_tell_the_model_stands_in_its_next_request() {
    let events =
        [HookEvent::SessionStart, HookEvent::UserPromptSubmit, HookEvent::PostToolUse, HookEvent::TurnEnd];
    let told = Told::default();
    let hooks = listening("h", &events, &told, |call| {
        Reaction::Says(HookAnswer::tell(format!("at {}", call.event.word())))
    });
    let model = TestModel::new([Say::Calls(vec![("t", json!({}))]), Say::Text("done"), Say::Text("again")]);
    let world = World::new(model, vec![echo("t", EffectClass::Pure)]).hooked(hooks);
    world.run(world.submit("s", "go")).await;
    world.run(world.submit("s", "more")).await;
    let note = |event: &str| format!("<hook event=\"{event}\">\nat {event}\n</hook>");
    let text = |n: usize| world.model.body(n)["messages"].to_string();
    let has = |n: usize, event: &str| {
        text(n).contains(&json!(note(event)).to_string().replace('"', "").replace("\\\\", "\\"))
            || text(n).contains(&note(event).replace('"', "\\\"").replace('\n', "\\n"))
    };
    assert!(has(0, "SessionStart") && has(0, "UserPromptSubmit") && !has(0, "PostToolUse"), "{}", text(0));
    assert!(has(1, "PostToolUse") && !has(1, "TurnEnd"), "{}", text(1));
    assert!(has(2, "TurnEnd"), "{}", text(2));
    replays(&world).await;
}

#[tokio::test]
async fn a_step_that_another_route_takes_over_ends_when_it_is_answered() {
    let model = TestModel::new([Say::Fail(ErrorClass::ModelGone), Say::Text("done")]);
    let hooks = saying(&[HookEvent::PreModelCall, HookEvent::StepEnd], HookAnswer::nothing());
    let world = World::new(model, vec![]).hooked(hooks);
    let mut submit = world.submit("s", "go");
    submit.config.fallback = vec!["test/other".parse().unwrap()];
    assert_eq!(world.run(submit).await.message.as_deref(), Some("done"));
    let records = world.records("s").await;
    let at = |fits: &dyn Fn(&Body) -> bool| -> Vec<Seq> {
        records.iter().filter(|record| fits(&record.body)).map(|record| record.seq).collect()
    };
    let rerouted = at(&|body| matches!(body, Body::RouteChanged { .. }));
    let answered = at(&|body| matches!(body, Body::Outcome(_)));
    let ended = at(&|body| matches!(body, Body::HookRan(ran) if ran.event == HookEvent::StepEnd));
    assert_eq!((rerouted.len(), answered.len(), ended.len()), (1, 1, 1));
    assert!(rerouted[0] < answered[0] && answered[0] < ended[0], "{rerouted:?} {answered:?} {ended:?}");
    replays(&world).await;
}

/// A block of something that has happened is a word to the model.
#[tokio::test]
async fn watching_hooks_forbid_nothing_and_may_end_the_turn() {
    for (answer, ends, told) in [
        (HookAnswer::Blocked("that was wrong".into()), "finished", true),
        (HookAnswer::Failed("exit code 1".into()), "finished", false),
        (HookAnswer::Stopped("enough".into()), "hook_stopped", false),
    ] {
        let world = one_call(Access::Session).hooked(saying(&[HookEvent::PostToolUse], answer.clone()));
        let result = world.run(world.submit("s", "go")).await;
        assert_eq!(end(&result), ends, "{answer:?}");
        assert_eq!(outcome_of(&world, CALL).await.unwrap().status, ToolStatus::Ok);
        let last = world.model.body(world.model.asked() - 1)["messages"].to_string();
        assert_eq!(last.contains("that was wrong (hook h)"), told, "{answer:?}");
    }
}

#[tokio::test]
async fn a_stop_hook_goes_on_three_times_and_no_more() {
    let told = Told::default();
    let hooks =
        listening("h", &[HookEvent::Stop], &told, |_| Reaction::Says(HookAnswer::Blocked("not yet".into())));
    let says = [Say::Text("1"), Say::Text("2"), Say::Text("3"), Say::Text("4")];
    let world = World::new(TestModel::new(says), vec![]).hooked(hooks);
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!((end(&result).as_str(), result.message.as_deref()), ("finished", Some("4")));
    let active: Vec<Value> = told.calls().iter().map(|call| call.input["stop_hook_active"].clone()).collect();
    assert_eq!(active, [json!(false), json!(true), json!(true), json!(true)]);
    for n in 1..4 {
        let text = world.model.body(n)["messages"].to_string();
        assert_eq!(text.matches("not yet (hook h)").count(), n, "{text}");
    }
    let transitions: Vec<String> = world
        .records("s")
        .await
        .iter()
        .filter_map(|record| match &record.body {
            Body::Intent(intent) => match &intent.what {
                Intended::Model(model) => Some(model.transition.word().to_owned()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(transitions, ["input", "stop_hook", "stop_hook", "stop_hook"]);
    replays(&world).await;
}

#[tokio::test]
async fn a_forbidden_prompt_reaches_no_request() {
    let hooks = listening("h", &[HookEvent::UserPromptSubmit], &Told::default(), |call| {
        let secret = call.input["prompt"].as_str().unwrap().contains("hunter2");
        Reaction::Says(if secret { HookAnswer::Blocked("a secret".into()) } else { HookAnswer::nothing() })
    });
    let world = World::new(TestModel::new([Say::Text("hello")]), vec![]).hooked(hooks);
    let result = world.run(world.submit("s", "my password is hunter2")).await;
    assert_eq!(end(&result), "hook_stopped");
    assert_eq!(result.message.as_deref(), Some("a secret (hook h)"));
    world.run(world.submit("s", "hello")).await;
    let text = world.model.body(0)["messages"].to_string();
    assert!(!text.contains("hunter2") && text.contains("withheld"), "{text}");
    replays(&world).await;
}

#[tokio::test]
async fn a_forbidden_steered_prompt_is_taken_back_and_the_turn_goes_on() {
    let hooks = listening("h", &[HookEvent::UserPromptSubmit], &Told::default(), |call| {
        let bad = call.input["prompt"] == "bad";
        Reaction::Says(if bad { HookAnswer::Blocked("no".into()) } else { HookAnswer::nothing() })
    });
    let model = TestModel::new([Say::Hang("thinking"), Say::Text("done")]);
    let world = World::new(model, vec![]).hooked(hooks);
    let accepted = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    world.model.arrived.notified().await;
    for text in ["bad", "good"] {
        let steer = Submit { delivery: Delivery::AfterWork, ..world.submit("s", text) };
        world.runtime.submit(steer).await.unwrap();
    }
    world.model.go.notify_one();
    let result = world.result(&accepted).await;
    assert_eq!(end(&result), "finished");
    let text = world.model.body(1)["messages"].to_string();
    assert!(text.contains("good") && !text.contains("bad"), "{text}");
    let withdrawn = world.records("s").await.into_iter().find_map(|record| match record.body {
        Body::InputWithdrawn { inputs, by } => Some((inputs.len(), by)),
        _ => None,
    });
    assert_eq!(withdrawn, Some((1, "hook".to_owned())));
}

/// Killed in a response hook: it runs again under its key, and nothing is billed twice.
#[tokio::test]
async fn a_hook_that_was_cut_runs_again_under_its_key() {
    let told = Told::default();
    let hooks = listening("h", &[HookEvent::PostModelCall], &told, |_| Reaction::Hangs);
    let hooks = hooks.into_iter().map(|listening| Listening { timeout_ms: 60_000, ..listening }).collect();
    let world = one_call(Access::Session).hooked(hooks);
    let accepted = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    while told.calls().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    // Here the first process dies.
    let again = Told::default();
    let next = world.next_life("two", TestModel::new([Say::Text("done")]));
    let next = next.hooked(listening("h", &[HookEvent::PostModelCall], &again, |_| {
        Reaction::Says(HookAnswer::nothing())
    }));
    next.runtime.resume(&accepted.session, next.config());
    let result = next.result(&accepted).await;
    assert_eq!(end(&result), "finished");
    let keys: Vec<String> = again.calls().into_iter().map(|call| call.key).collect();
    assert_eq!(keys, ["s/1/1/hook/PostModelCall", "s/1/2/hook/PostModelCall"]);
    assert_eq!(told.calls()[0].key, keys[0]);
    assert_eq!((world.model.asked(), next.model.asked()), (1, 1));
    let ran = hooks_of(&next, HookEvent::PostModelCall).await;
    assert_eq!(ran.len(), 2);
}

/// What is in the log is not asked again by whoever drives the turn on.
#[tokio::test]
async fn answers_in_the_log_are_not_asked_for_again() {
    let told = Told::default();
    let events =
        [HookEvent::SessionStart, HookEvent::UserPromptSubmit, HookEvent::TurnStart, HookEvent::PreToolUse];
    let world = one_call(Access::Other)
        .hooked(listening("h", &events, &told, |_| Reaction::Says(HookAnswer::nothing())));
    let mut submit = world.submit("s", "go");
    submit.config.on_ask = OnAsk::Park;
    let result = world.run(submit).await;
    assert_eq!(result.outcome, "parked");
    assert_eq!(told.events(), events);
    let next = world.next_life("two", TestModel::new([Say::Text("done")]));
    let next = next.hooked(listening("h", &events, &told, |_| Reaction::Says(HookAnswer::nothing())));
    let session = SessionId::new("s").unwrap();
    let resolve = Resolve {
        session: session.clone(),
        wait: CALL.into(),
        ruling: Ruling::Allow,
        grant: None,
        by: "p".into(),
    };
    next.runtime.resolve(resolve).await.unwrap();
    next.runtime.resume(&session, next.config());
    let accepted = Accepted { session, input: 2, repeated: true, opened: false };
    assert_eq!(end(&next.result(&accepted).await), "finished");
    assert_eq!(told.events(), events);
}

#[tokio::test]
async fn what_hooks_said_is_durable_before_anyone_acts_on_it() {
    let world = one_call(Access::Session)
        .hooked(saying(&[HookEvent::PreToolUse, HookEvent::PreModelCall], HookAnswer::nothing()));
    world.run(world.submit("s", "go")).await;
    let bodies = world.bodies("s").await;
    let at = |name: &str| {
        bodies.iter().position(|body| body == name).unwrap_or_else(|| panic!("{name}: {bodies:?}"))
    };
    let hook = bodies.iter().position(|body| body == "hook_ran").unwrap();
    assert!(hook < at("intent 1/model/0"), "{bodies:?}");
    let before_tool =
        bodies[at("outcome 1/model/0")..at("intent 1/tool/0")].iter().filter(|body| *body == "hook_ran");
    assert_eq!(before_tool.count(), 1, "{bodies:?}");
}

#[tokio::test]
async fn a_session_without_hooks_that_listen_has_no_record_of_any() {
    let with = one_call(Access::Session).hooked(saying(&[HookEvent::WorktreeCreate], HookAnswer::nothing()));
    with.run(with.submit("s", "go")).await;
    let without = one_call(Access::Session);
    without.run(without.submit("s", "go")).await;
    assert_eq!(with.bodies("s").await, without.bodies("s").await);
}

/// The tour: every event that fires in a turn, in order, with what its hooks are told.
#[tokio::test]
async fn every_event_of_a_turn_fires_in_its_order() {
    use HookEvent as E;
    let told = Told::default();
    let hooks = listening("h", &E::ALL, &told, |_| Reaction::Says(HookAnswer::nothing()));
    let calls = vec![("ok", json!({"a": 1})), ("bad", json!({})), ("asks", json!({}))];
    let model = TestModel::new([Say::Fail(ErrorClass::Overloaded), Say::Calls(calls), Say::Text("done")]);
    let bad = tool("bad", EffectClass::AtMostOnce, |_, _| {
        Box::pin(async { Err(sterna_tool::ToolError::failed("it broke")) })
    });
    let tools = vec![echo("ok", EffectClass::AtMostOnce), bad, asking_tool("asks", "ran")];
    let world = World::new(model, tools).hooked(hooks);
    let result = world.run(world.submit("s", "hello")).await;
    assert_eq!(end(&result), "finished");
    let mut fired = told.events();
    // What is only told runs beside the rest.
    let beside = [E::Error, E::PostToolUse, E::PostToolUseFailure, E::PermissionDenied];
    for event in beside {
        let at = fired.iter().position(|fired| *fired == event);
        fired.remove(at.unwrap_or_else(|| panic!("{event:?} did not fire: {fired:?}")));
    }
    assert_eq!(
        fired,
        [
            E::Setup,
            E::SessionStart,
            E::UserPromptSubmit,
            E::TurnStart,
            E::StepStart,
            E::PreModelCall,
            E::PostModelCall,
            E::ToolBatchStart,
            E::PreToolUse,
            E::PreToolUse,
            E::PreToolUse,
            E::PermissionRequest,
            E::ToolBatchEnd,
            E::StepEnd,
            E::StepStart,
            E::PreModelCall,
            E::PostModelCall,
            E::StepEnd,
            E::Stop,
            E::TurnEnd,
        ]
    );
    for call in told.calls() {
        let input = &call.input;
        assert_eq!(input["session_id"], "s");
        assert_eq!(input["hook_event_name"], call.event.word());
        assert_eq!((&input["cwd"], &input["permission_mode"]), (&json!("/w"), &json!("execute")));
        assert_eq!((&input["turn_id"], &input["effect_key"]), (&json!(1), &json!(call.key)));
        assert!(input["step"].is_u64() && input["transcript_path"].is_string());
    }
    assert_eq!(told.input(E::UserPromptSubmit)["prompt"], "hello");
    assert_eq!(told.input(E::SessionStart)["source"], "startup");
    let post = told.input(E::PostToolUse);
    assert_eq!(
        (&post["tool_name"], &post["tool_input"], &post["tool_use_id"]),
        (&json!("ok"), &json!({"a": 1}), &json!("c2_0"))
    );
    assert_eq!(post["tool_response"]["output"], "{\"a\":1}");
    assert_eq!(told.input(E::PostToolUseFailure)["error"], "it broke");
    assert_eq!(told.input(E::PermissionDenied)["tool_name"], "asks");
    assert_eq!(told.input(E::Error)["class"], "overloaded");
    assert_eq!(told.input(E::TurnEnd)["message"], "done");
    // Each has its record, and each record an event by the schema.
    let ran = world.bodies("s").await.iter().filter(|body| *body == "hook_ran").count();
    assert_eq!(ran, told.calls().len());
    let schema: Value = serde_json::from_str(include_str!("../../../events.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for (_, event) in shown(&world, "s").await {
        assert!(schema.is_valid(&event), "{event}");
    }
    replays(&world).await;
    assert_eq!(told.calls().len(), ran, "replay starts no hook");
}

/// The events of turns that end otherwise, and of what happens outside turns.
#[tokio::test]
async fn every_other_event_fires() {
    use HookEvent as E;
    let all = |told: &Told| listening("h", &E::ALL, told, |_| Reaction::Says(HookAnswer::nothing()));
    let session = SessionId::new("s").unwrap();
    // A turn that fails, in a session that another process knows already.
    let told = Told::default();
    let world = World::new(TestModel::new([Say::Text("done")]), vec![]);
    world.run(world.submit("s", "go")).await;
    let next = world.next_life("two", TestModel::new([Say::Fail(ErrorClass::Auth)])).hooked(all(&told));
    let result = next.run(next.submit("s", "more")).await;
    assert_eq!(end(&result), "provider_failed");
    for event in [E::SessionRestored, E::StopFailure, E::TurnEnd, E::Error] {
        assert_eq!(told.events().iter().filter(|fired| **fired == event).count(), 1, "{event:?}");
    }
    assert!(!told.events().contains(&E::SessionStart) && !told.events().contains(&E::Stop));
    assert_eq!(told.input(E::StopFailure)["stop"], "provider_failed");
    // Settings and the end of a session.
    next.runtime.set_mode(&session, Mode::Ask, "person").await.unwrap();
    next.runtime.set_route(&session, "test/other".parse().unwrap(), "person").await.unwrap();
    next.runtime.close(&session, "person").await.unwrap();
    let outside: Vec<E> = told.events().into_iter().skip_while(|event| *event != E::ConfigChange).collect();
    assert_eq!(outside, [E::ConfigChange, E::ModeChanged, E::ConfigChange, E::SessionEnd]);
    assert_eq!(told.input(E::ModeChanged)["mode"], "ask");
    // A turn that is parked, and then cancelled.
    let told = Told::default();
    let model = TestModel::new([Say::Calls(vec![("asks", json!({}))])]);
    let world = World::new(model, vec![asking_tool("asks", "ran")]).hooked(all(&told));
    let mut submit = world.submit("s", "go");
    submit.config.on_ask = OnAsk::Park;
    assert_eq!(world.run(submit).await.outcome, "parked");
    assert_eq!(told.input(E::Notification)["notification_type"], "permission_prompt");
    world.runtime.cancel(&session, "person", "enough").await.unwrap();
    let mut config = world.config();
    config.on_ask = OnAsk::Park;
    world.runtime.resume(&session, config);
    let accepted = Accepted { session, input: 2, repeated: true, opened: false };
    assert_eq!(end(&world.result(&accepted).await), "cancelled");
    assert!(told.events().contains(&E::Interrupt) && !told.events().contains(&E::StopFailure));
    assert_eq!(told.input(E::Interrupt)["message"], "enough");
}

#[tokio::test]
async fn a_hook_may_forbid_a_change_of_settings() {
    let world = World::new(TestModel::new([Say::Text("done")]), vec![])
        .hooked(saying(&[HookEvent::ConfigChange], HookAnswer::Blocked("not here".into())));
    world.run(world.submit("s", "go")).await;
    let session = SessionId::new("s").unwrap();
    let refused = world.runtime.set_mode(&session, Mode::Bypass, "person").await.unwrap_err();
    assert_eq!(refused.to_string(), "not here (hook h)");
    let changed = world.bodies("s").await.iter().any(|body| body == "mode_changed");
    assert!(!changed);
}

/// What a hook says of a call that was cancelled meanwhile changes nothing.
#[tokio::test]
async fn a_cancelled_turn_does_not_wait_for_hooks_of_its_calls() {
    let told = Told::default();
    let hooks = listening("h", &[HookEvent::PreToolUse], &told, |_| Reaction::Hangs);
    let hooks = hooks.into_iter().map(|listening| Listening { timeout_ms: 60_000, ..listening }).collect();
    let world = one_call(Access::Session).hooked(hooks);
    let accepted = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    while told.calls().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    world.runtime.cancel(&accepted.session, "person", "enough").await.unwrap();
    let result = world.result(&accepted).await;
    assert_eq!(end(&result), "cancelled");
    assert_eq!(outcome_of(&world, CALL).await.unwrap().status, ToolStatus::Cancelled);
    assert_eq!(hooks_of(&world, HookEvent::PreToolUse).await, []);
    replays(&world).await;
}
