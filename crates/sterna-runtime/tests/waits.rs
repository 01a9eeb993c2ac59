//! Approvals and questions of one call: each wait has a name and an answer of its own.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};

use common::*;
use futures::FutureExt;
use serde_json::json;
use sterna_log::{Log, Status};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{Access, SharedTool, ToolDone, ToolReturn};

/// What a call was given: its attempt, and the answers.
type Given = Arc<Mutex<Vec<(u32, Option<Vec<String>>)>>>;

/// Asks so many questions one after another, and then is done.
fn asker(access: Access, questions: u32, given: &Given) -> SharedTool {
    let given = given.clone();
    tool_of("asker", EffectClass::AtMostOnce, access, move |cx, _| {
        given.lock().unwrap().push((cx.attempt, cx.answers.clone()));
        let n = cx.attempt;
        async move {
            if n > questions {
                return Ok(ToolReturn::Done(ToolDone::text("all is said")));
            }
            let header = format!("{n}");
            let question = Question { question: format!("{n}?"), header, options: vec![], multi: false };
            Ok(ToolReturn::Ask(vec![question]))
        }
        .boxed()
    })
}

fn world(tool: SharedTool) -> World {
    World::new(TestModel::new([Say::Calls(vec![("asker", json!({}))]), Say::Text("went on")]), vec![tool])
}

fn answer(text: &str) -> Ruling {
    Ruling::Answers(vec![text.into()])
}

async fn resolve(world: &World, wait: &str, ruling: Ruling) -> Result<(), RuntimeError> {
    let session = SessionId::new("s").unwrap();
    let resolve = Resolve { session, wait: wait.into(), ruling, grant: None, by: "person".into() };
    world.runtime.resolve(resolve).await.map(|_| ())
}

/// The next wait that is opened, and whether it is a question.
async fn next_wait(observer: &mut Observer) -> (WaitId, bool) {
    let found = async {
        loop {
            match observer.next().await.unwrap().kind {
                EventKind::ApprovalRequested { wait, .. } => return (wait, false),
                EventKind::QuestionAsked { wait, .. } => return (wait, true),
                _ => {}
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), found).await.expect("nobody asks")
}

/// What somebody says to each wait of a call, and what the call comes to.
struct Case {
    access: Access,
    questions: u32,
    /// `None`: the approval.
    says: Vec<Option<Ruling>>,
    status: ToolStatus,
    view: &'static str,
    /// What the runs of the call were given.
    given: Vec<(u32, Option<&'static str>)>,
}

fn cases() -> Vec<Case> {
    let busy = || Ruling::Deny { feedback: "busy".into() };
    vec![
        Case {
            access: Access::Other,
            questions: 1,
            says: vec![None, Some(answer("a"))],
            status: ToolStatus::Ok,
            view: "all is said",
            given: vec![(1, None), (2, Some("a"))],
        },
        Case {
            access: Access::Session,
            questions: 2,
            says: vec![Some(answer("a")), Some(answer("b"))],
            status: ToolStatus::Ok,
            view: "all is said",
            given: vec![(1, None), (2, Some("a")), (3, Some("b"))],
        },
        Case {
            access: Access::Other,
            questions: 2,
            says: vec![None, Some(answer("a")), Some(answer("b"))],
            status: ToolStatus::Ok,
            view: "all is said",
            given: vec![(1, None), (2, Some("a")), (3, Some("b"))],
        },
        // It was allowed, and it ran: only its question was not answered.
        Case {
            access: Access::Other,
            questions: 1,
            says: vec![None, Some(busy())],
            status: ToolStatus::Failed,
            view: "the question was not answered: busy",
            given: vec![(1, None)],
        },
    ]
}

/// The names of a call's waits.
const NAMES: [&str; 3] = ["s/1/1/tool/0", "s/1/1/tool/0/2", "s/1/1/tool/0/3"];

/// Says something to the n-th wait, after what does not fit was refused.
async fn say(world: &World, n: usize, says: &Option<Ruling>) {
    let before = world.records("s").await.len();
    let (fits, does_not) = match says {
        None => (Ruling::Allow, answer("no approval")),
        Some(ruling) => (ruling.clone(), Ruling::Allow),
    };
    let refused = resolve(world, NAMES[n], does_not).await;
    assert!(matches!(refused, Err(RuntimeError::Refused(_))), "{n} {refused:?}");
    let unknown = resolve(world, &format!("s/1/1/tool/0/{}", n + 2), fits.clone()).await;
    assert!(matches!(unknown, Err(RuntimeError::NoWait { .. })), "{n} {unknown:?}");
    if n > 0 {
        let old = resolve(world, NAMES[n - 1], fits.clone()).await;
        assert!(matches!(old, Err(RuntimeError::AlreadyResolved { .. }) | Err(RuntimeError::Refused(_))));
    }
    assert_eq!(world.records("s").await.len(), before, "what was refused is in no log");
    resolve(world, NAMES[n], fits).await.unwrap();
}

async fn check_end(world: &World, accepted: &Accepted, case: &Case, given: &Given) {
    assert_eq!(world.result(accepted).await.message.as_deref(), Some("went on"));
    let records = world.records("s").await;
    let opened: Vec<&str> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::WaitOpened(opened) => Some(opened.wait.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(opened, NAMES[..case.says.len()]);
    let ended: Vec<(ToolStatus, &str)> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Outcome(outcome) => match &outcome.result {
                EffectResult::Tool(tool) => Some((tool.status, tool.view.as_str())),
                EffectResult::Model(_)
                | EffectResult::ModelFailed(_)
                | EffectResult::Summary(_)
                | EffectResult::Judged(_) => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(ended, [(case.status, case.view)]);
    let wanted: Vec<(u32, Option<Vec<String>>)> =
        case.given.iter().map(|(n, answer)| (*n, answer.map(|text| vec![text.to_owned()]))).collect();
    assert_eq!(*given.lock().unwrap(), wanted);
}

#[tokio::test]
async fn each_wait_of_a_call_has_its_own_name_and_answer() {
    for case in cases() {
        let given = Given::default();
        let world = world(asker(case.access.clone(), case.questions, &given));
        let mut observer = world.runtime.observe(&SessionId::new("s").unwrap(), 0);
        let mut submit = world.submit("s", "go");
        submit.config.on_ask = OnAsk::Prompt;
        let accepted = world.runtime.submit(submit).await.unwrap();
        for (n, says) in case.says.iter().enumerate() {
            assert_eq!(next_wait(&mut observer).await, (NAMES[n].to_owned(), says.is_some()));
            say(&world, n, says).await;
        }
        check_end(&world, &accepted, &case, &given).await;
    }
}

#[tokio::test]
async fn each_wait_is_answered_in_a_life_of_its_own() {
    for case in cases() {
        let given = Given::default();
        let mut world = world(asker(case.access.clone(), case.questions, &given));
        let mut submit = world.submit("s", "go");
        submit.config.on_ask = OnAsk::Park;
        let accepted = world.runtime.submit(submit).await.unwrap();
        for (n, says) in case.says.iter().enumerate() {
            let parked = world.result(&accepted).await;
            assert_eq!(parked.outcome, "parked");
            assert_eq!(parked.message.as_deref(), Some(format!("waits for {}", NAMES[n]).as_str()));
            world = world.next_life(&format!("life {n}"), world.model.clone());
            say(&world, n, says).await;
            let mut config = world.config();
            config.on_ask = OnAsk::Park;
            world.runtime.resume(&accepted.session, config);
        }
        check_end(&world, &accepted, &case, &given).await;
    }
}

/// A session whose first turn asks for an approval at its first call, and is not driven yet.
async fn about_to_ask(on_ask: OnAsk, max_wait: Option<u64>) -> (World, Accepted) {
    let said = [Say::Calls(vec![("edit", json!({}))]), Say::Text("over")];
    let world = World::new(TestModel::new(said), vec![asking_tool("edit", "edited")]);
    let mut submit = world.submit("s", "go");
    submit.config.on_ask = on_ask;
    submit.config.limits.max_wait = max_wait;
    submit.drive = false;
    let accepted = world.runtime.submit(submit).await.unwrap();
    (world, accepted)
}

/// What the call gave, as the log has it.
async fn view_of_call(world: &World) -> String {
    let records = world.records("s").await;
    let views = records.iter().filter_map(|record| match &record.body {
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Tool(tool) => Some(tool.view.clone()),
            EffectResult::Model(_)
            | EffectResult::ModelFailed(_)
            | EffectResult::Summary(_)
            | EffectResult::Judged(_) => None,
        },
        _ => None,
    });
    views.collect::<Vec<_>>().join("\n")
}

async fn status(world: &World) -> Status {
    let page = sterna_log::Page { after: None, limit: 1 };
    world.log.list(&sterna_log::Filter::default(), page).await.unwrap()[0].status
}

const WAIT: &str = "s/1/1/tool/0";

#[tokio::test]
async fn a_key_answers_a_wait_before_it_is_opened_and_the_first_answer_counts() {
    let (world, accepted) = about_to_ask(OnAsk::Park, None).await;
    let key = world.runtime.wait_key(&WAIT.to_owned()).unwrap();
    let unsigned = Resolve {
        session: accepted.session.clone(),
        wait: WAIT.into(),
        ruling: Ruling::Allow,
        grant: None,
        by: "p".into(),
    };
    let refused = world.runtime.resolve(unsigned).await;
    assert!(matches!(refused, Err(RuntimeError::NoWait { .. })), "{refused:?}");
    // Nobody knows yet what would be edited, or what its class would be.
    let edit = Rewrite { arguments: "{}".into(), class: EffectClass::Pure, effects: None };
    for early in [Ruling::Edited(edit), Ruling::Plan { mode: Some(Mode::Plan), content: None }] {
        let refused = world.runtime.resolve_key(&key, early, "p").await;
        assert!(matches!(refused, Err(RuntimeError::Refused(_))), "{refused:?}");
    }
    for forged in [WAIT.to_owned(), key.replace("tool/0", "tool/1"), format!("{key}0")] {
        let refused = world.runtime.resolve_key(&forged, Ruling::Allow, "p").await;
        assert!(matches!(refused, Err(RuntimeError::ForgedKey)), "{forged}: {refused:?}");
    }
    world.runtime.resolve_key(&key, Ruling::Allow, "p").await.unwrap();
    let second = world.runtime.resolve_key(&key, Ruling::Deny { feedback: String::new() }, "q").await;
    assert!(matches!(second, Err(RuntimeError::AlreadyResolved { .. })), "{second:?}");

    // Whoever drives it, and after a restart.
    let next =
        world.next_life("two", TestModel::new([Say::Calls(vec![("edit", json!({}))]), Say::Text("over")]));
    next.runtime.resume(&accepted.session, next.config());
    assert_eq!(next.result(&accepted).await.message.as_deref(), Some("over"));
    assert_eq!(view_of_call(&next).await, "edited");
    assert_eq!(status(&next).await, Status::Idle);
    let late = next.runtime.resolve_key(&key, Ruling::Allow, "p").await;
    assert!(matches!(late, Err(RuntimeError::AlreadyResolved { .. })), "{late:?}");
    let never = next.runtime.wait_key(&"s/1/1/tool/1".to_owned()).unwrap();
    let never = next.runtime.resolve_key(&never, Ruling::Allow, "p").await;
    assert!(matches!(never, Err(RuntimeError::NoWait { .. })), "{never:?}");
}

#[tokio::test]
async fn an_early_answer_to_something_else_leaves_the_wait_open() {
    let (world, accepted) = about_to_ask(OnAsk::Park, None).await;
    let key = world.runtime.wait_key(&WAIT.to_owned()).unwrap();
    world.runtime.resolve_key(&key, Ruling::Answers(vec!["blue".into()]), "p").await.unwrap();
    let mut config = world.config();
    config.on_ask = OnAsk::Park;
    world.runtime.resume(&accepted.session, config.clone());
    assert_eq!(world.result(&accepted).await.outcome, "parked");
    assert_eq!(status(&world).await, Status::Parked);
    world.runtime.resolve_key(&key, Ruling::Allow, "p").await.unwrap();
    world.runtime.resume(&accepted.session, config);
    assert_eq!(world.result(&accepted).await.message.as_deref(), Some("over"));
    assert_eq!(view_of_call(&world).await, "edited");
}

#[tokio::test]
async fn a_wait_ends_at_its_deadline_also_when_nobody_was_there() {
    for restart in [false, true] {
        let on_ask = if restart { OnAsk::Park } else { OnAsk::Prompt };
        let (world, accepted) = about_to_ask(on_ask, Some(60_000)).await;
        let mut config = world.config();
        config.on_ask = on_ask;
        world.runtime.resume(&accepted.session, config);
        let world = if restart {
            assert_eq!(world.result(&accepted).await.outcome, "parked");
            world.env.now.fetch_add(60_000, std::sync::atomic::Ordering::SeqCst);
            let next = world.next_life("two", TestModel::new([Say::Text("over")]));
            next.runtime.resume(&accepted.session, next.config());
            next
        } else {
            while world.bodies("s").await.iter().all(|body| !body.starts_with("wait_opened")) {
                tokio::task::yield_now().await;
            }
            world.env.now.fetch_add(60_000, std::sync::atomic::Ordering::SeqCst);
            world
        };
        assert_eq!(world.result(&accepted).await.message.as_deref(), Some("over"), "{restart}");
        assert!(view_of_call(&world).await.starts_with("timeout: nobody answered in time"), "{restart}");
        let late = Resolve {
            session: accepted.session.clone(),
            wait: WAIT.into(),
            ruling: Ruling::Allow,
            grant: None,
            by: "p".into(),
        };
        let late = world.runtime.resolve(late).await;
        assert!(matches!(late, Err(RuntimeError::AlreadyResolved { .. })), "{late:?}");
    }
}
