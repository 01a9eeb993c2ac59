//! shell, ask_user, todo and recall.

// Helpers of tests may unwrap too.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{World, text};
use serde_json::{Value, json};
use sterna_log::Blobs;
use sterna_model::ToolStatus::{self, Failed, InvalidArguments};
use sterna_model::{Fact, TodoItem, TodoStatus};
use sterna_tool::{Access, Output, ViewBudget};

#[tokio::test]
async fn shell_tells_output_and_end() {
    let mut world = World::new();
    world.file("sub/f", "in sub\n");
    // arguments, text, failed, exit code, signal, bytes
    let cases = [
        (json!({"command": "echo hi"}), "hi\n", false, Some(0), None, 3),
        (json!({"command": "true"}), "(no output)", false, Some(0), None, 0),
        (json!({"command": "printf hi; exit 3"}), "hi\nexit code 3", true, Some(3), None, 2),
        (json!({"command": "kill -9 $$"}), "ended by signal 9", true, None, Some(9), 0),
        (json!({"command": "cat f", "cwd": "sub"}), "in sub\n", false, Some(0), None, 7),
        (json!({"command": "cat", "stdin": "given"}), "given", false, Some(0), None, 5),
        (json!({"command": "echo $SECRET_KEY$HOME"}), "\n", false, Some(0), None, 1),
    ];
    for (args, want, failed, exit_code, signal, bytes) in cases {
        let done = world.call("shell", args.clone()).await.unwrap();
        assert_eq!((text(&done).as_str(), done.failed), (want, failed), "{args}");
        assert_eq!(done.facts, [Fact::Command { exit_code, signal, bytes }], "{args}");
        assert_eq!(done.budget, ViewBudget { bytes: 16384, lines: 400, head_percent: 40 });
    }
    let plan = world.plan("shell", &json!({"command": "ls\n-l", "cwd": "sub"})).unwrap();
    let access = Access::Shell { command: "ls\n-l".into(), cwd: world.cwd.join("sub") };
    assert_eq!((plan.accesses, plan.summary.as_str()), (vec![access], "shell: ls …"));
    assert_eq!(plan.preview.as_deref(), Some("ls\n-l"));
}

#[tokio::test]
async fn shell_says_what_is_wrong() {
    let mut world = World::new();
    let nowhere =
        format!("cannot run in {}: No such file or directory (os error 2)", world.cwd.join("no").display());
    let cases = [
        (
            json!({"command": "ls", "background": true}),
            Failed,
            "there are no background jobs here: no effect shim was found; run it in the foreground",
        ),
        (json!({"command": " "}), InvalidArguments, "command is empty"),
        (json!({"command": "a\0"}), InvalidArguments, "command holds a NUL byte"),
        (json!({"command": "ls", "timeout_s": 0}), InvalidArguments, "timeout_s is 1 to 600"),
        (json!({"command": "ls", "timeout_s": 601}), InvalidArguments, "timeout_s is 1 to 600"),
        (json!({"command": "ls", "cwd": "no"}), Failed, nowhere.as_str()),
    ];
    for (args, status, message) in cases {
        world.refuses("shell", args, status, message).await;
    }
}

#[tokio::test]
async fn shell_that_is_ended_tells_its_output_so_far() {
    let mut world = World::new();
    let args = json!({"command": "echo so far; seq 1 10000; sleep 100 & sleep 100", "timeout_s": 1});
    let error = world.call("shell", args).await.unwrap_err();
    assert_eq!(error.status, ToolStatus::Timeout);
    let end = "10000\ntimed out after 1 s: the command and what it started were ended";
    assert!(error.message.starts_with("so far\n1\n2\n") && error.message.ends_with(end), "{error}");
    // What is held whole is told whole: the runtime takes secrets out before it cuts and keeps it.
    // 7 bytes, and those of the numbers: 9 x 2 + 90 x 3 + 900 x 4 + 9000 x 5 + 6.
    let said = error.message.strip_suffix(&end["10000\n".len()..]).unwrap();
    assert_eq!(said.len(), 7 + 48_894);

    let cancel = world.cancel.clone();
    world.progress = Arc::new(move |_| cancel.cancel());
    let error = world.call("shell", json!({"command": "echo started; sleep 100"})).await.unwrap_err();
    let message = "started\ncancelled: the command and what it started were ended";
    assert_eq!((error.status, error.message.as_str()), (ToolStatus::Cancelled, message));
}

#[tokio::test]
async fn shell_keeps_large_output_and_recall_reads_every_byte() {
    let mut world = World::new();
    let done = world.call("shell", json!({"command": "seq 1 200000; exit 4"})).await.unwrap();
    let Output::Large { blob, head, tail, note } = &done.output else { panic!("{done:?}") };
    assert!(head.starts_with("1\n2\n") && tail.ends_with("199999\n200000\n"));
    assert_eq!((note.as_str(), done.failed), ("exit code 4", true));
    let want: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(blob.bytes, want.len() as u64);
    let (mut read, mut offset) = (String::new(), 0u64);
    loop {
        let args = json!({"ref": format!("blob:{}", blob.hash), "offset": offset});
        let page = world.told("recall", args).await;
        assert!(page.len() <= 16 << 10 && page.lines().count() <= 400);
        let (body, trailer) = page.rsplit_once("\n[").unwrap();
        read.push_str(body);
        read.push('\n');
        offset = read.len() as u64;
        if trailer.ends_with("the end]") {
            break;
        }
        assert!(trailer.ends_with(&format!("offset {offset} reads on]")), "{trailer}");
    }
    assert!(read == want);
}

#[tokio::test]
async fn recall_pages_what_it_can_and_says_what_it_cannot() {
    let mut world = World::new();
    let blob = world.blobs.put(Bytes::from_static(b"one\ntwo\nthree")).await.unwrap();
    let reference = format!("blob:{}", blob.hash);
    let empty = format!("blob:{}", world.blobs.put(Bytes::new()).await.unwrap().hash);
    let wide = format!("blob:{}", world.blobs.put(Bytes::from("€".repeat(10_000))).await.unwrap().hash);
    let none = format!("blob:{}", "0".repeat(64));
    let cases = [
        (json!({"ref": reference}), "one\ntwo\nthree\n[bytes 0–13, the end]".to_owned()),
        (json!({"ref": reference, "limit": 2}), "one\ntwo\n[bytes 0–8; offset 8 reads on]".into()),
        (json!({"ref": reference, "offset": 8, "limit": 2}), "three\n[bytes 8–13, the end]".into()),
        (json!({"ref": blob.hash.to_string(), "offset": 13}), format!("failed: {} has no byte 13; it ends before", blob.hash)),
        (json!({"ref": empty}), format!("{empty} is empty")),
        // 15 KiB is 5,120 characters of three bytes.
        (json!({"ref": wide}), format!("{}\n[bytes 0–15360; offset 15360 reads on]", "€".repeat(5120))),
        (json!({"ref": none}), format!("failed: {none} is not kept here")),
        (json!({"ref": reference, "limit": 0}), "invalid_arguments: limit counts from 1".into()),
        (
            json!({"ref": "demo:4"}),
            "invalid_arguments: `demo:4` is not a reference; give blob: and the 64 hex digits that the cut names, or \
             record: and a number"
                .into(),
        ),
        (json!({}), "invalid_arguments: give ref or query, and not both".into()),
        (json!({"ref": reference, "query": "x"}), "invalid_arguments: give ref or query, and not both".into()),
        (json!({"ref": "record:x"}), "invalid_arguments: `record:x` is no record; give record: and its number".into()),
        (json!({"ref": "record:9"}), "failed: record:9 is not in this session".into()),
        (json!({"query": "lost"}), "no record of this session has a word of `lost`".into()),
    ];
    for (args, want) in cases {
        assert_eq!(world.told("recall", args.clone()).await, want, "{args}");
    }
}

#[tokio::test]
async fn ask_user_asks_first_and_tells_the_answers_then() {
    let mut world = World::new();
    let options = json!([{"label": "red", "description": "warm"}, {"label": "blue", "preview": "#00f"}]);
    let asked = |n: usize| -> Value {
        let question =
            json!({"question": "Which colour?", "header": "Colour", "options": options, "multi": true});
        json!({"questions": vec![question; n]})
    };
    let questions = world.ask(asked(2)).await.unwrap();
    assert_eq!(questions.len(), 2);
    let question = &questions[0];
    assert_eq!((question.header.as_str(), question.multi, question.options.len()), ("Colour", true, 2));
    assert_eq!(
        (question.options[0].description.as_str(), question.options[1].preview.as_deref()),
        ("warm", Some("#00f"))
    );
    let plan = world.plan("ask_user", &asked(2)).unwrap();
    assert_eq!(
        (plan.accesses, plan.summary.as_str()),
        (vec![Access::Person], "ask 2 questions: Which colour?")
    );
    world.answers = Some(vec!["green, please".into()]);
    assert_eq!(world.told("ask_user", asked(2)).await, "Colour: green, please\nColour: (no answer)");

    let one = |header: &str, options: Value| json!({"questions": [{"question": "q", "header": header, "options": options}]});
    let cases = [
        (asked(0), "ask 1 to 4 questions at once"),
        (asked(5), "ask 1 to 4 questions at once"),
        (one("thirteen char", options.clone()), "a header has at most 12 characters"),
        (one(" ", options.clone()), "a question needs its text and a header"),
        (
            one("h", json!([{"label": "a"}])),
            "a question has 2 to 4 options; the person may always answer in own words",
        ),
        (one("h", json!([{"label": "a"}, {"label": "a"}])), "each option needs a label of its own"),
    ];
    for (args, message) in cases {
        world.refuses("ask_user", args, InvalidArguments, message).await;
    }
}

#[tokio::test]
async fn todo_keeps_a_list() {
    let mut world = World::new();
    let steps = [
        (json!({"op": "list"}), "the list is empty"),
        (json!({"op": "create", "subject": "plan"}), "created t1 [pending] plan"),
        (
            json!({"op": "create", "subject": "build", "blocked_by": ["t1"]}),
            "created t2 [pending] build (waits for t1)",
        ),
        (json!({"op": "create", "subject": "test", "owner": "ann"}), "created t3 [pending] test (owner ann)"),
        (json!({"op": "update", "id": "t2", "blocks": ["t3"]}), "updated t2 [pending] build (waits for t1)"),
        (
            json!({"op": "update", "id": "t3", "blocks": ["t1"]}),
            "invalid_arguments: items would wait for each other in a circle: t3 → t1 → t2 → t3",
        ),
        (
            json!({"op": "update", "id": "t1", "blocked_by": ["t1"]}),
            "invalid_arguments: `t1` cannot wait for itself",
        ),
        (
            json!({"op": "update", "id": "t1", "blocks": ["t9"]}),
            "failed: there is no item `t9`; there are t1, t2, t3",
        ),
        (json!({"op": "update", "id": "t1", "status": "in_progress"}), "updated t1 [in progress] plan"),
        (
            json!({"op": "list"}),
            "t1 [in progress] plan\nt2 [pending] build (waits for t1)\nt3 [pending] test (waits for t2; owner ann)",
        ),
        (json!({"op": "update", "id": "t3", "status": "deleted", "owner": ""}), "updated t3 [deleted] test"),
        (json!({"op": "list"}), "t1 [in progress] plan\nt2 [pending] build (waits for t1)"),
        (json!({"op": "create", "subject": "ship"}), "created t4 [pending] ship"),
        (
            json!({"op": "update", "id": "t4", "metadata": {"n": 1}, "description": "d", "active_form": "shipping"}),
            "updated t4 [pending] ship",
        ),
        (
            json!({"op": "get", "id": "t4"}),
            "t4 [pending] ship\ndescription: d\nactive form: shipping\nmetadata: {\"n\":1}",
        ),
        (json!({"op": "get", "id": "x"}), "failed: there is no item `x`; there are t1, t2, t4"),
        (json!({"op": "get"}), "invalid_arguments: this op needs an id"),
        (json!({"op": "create"}), "invalid_arguments: create needs a subject"),
        (
            json!({"op": "create", "id": "t9", "subject": "x"}),
            "invalid_arguments: create gives the id itself; leave it out",
        ),
        (json!({"op": "update", "id": "t4", "subject": " "}), "invalid_arguments: the subject is empty"),
    ];
    for (args, want) in steps {
        assert_eq!(world.told("todo", args.clone()).await, want, "{args}");
    }
    // A change is told for every item that it touches.
    let done = world.call("todo", json!({"op": "update", "id": "t1", "blocks": ["t4"]})).await.unwrap();
    let item = |id: &str, subject: &str, status| TodoItem {
        id: id.into(),
        subject: subject.into(),
        description: String::new(),
        active_form: String::new(),
        status,
        owner: None,
        blocks: vec![],
        blocked_by: vec![],
        metadata: None,
    };
    let want = [
        TodoItem { blocks: vec!["t4".into()], ..item("t1", "plan", TodoStatus::InProgress) },
        item("t2", "build", TodoStatus::Pending),
        TodoItem {
            blocked_by: vec!["t1".into()],
            description: "d".into(),
            active_form: "shipping".into(),
            metadata: Some(json!({"n": 1})),
            ..item("t4", "ship", TodoStatus::Pending)
        },
    ];
    assert_eq!(done.facts, want.map(Fact::Todo));
}
