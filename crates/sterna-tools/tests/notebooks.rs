//! notebook_edit, and read of notebooks and PDF documents.

// Helpers of tests may unwrap too.
#![allow(clippy::unwrap_used)]

mod common;

use common::{World, text};
use serde_json::{Value, json};
use sterna_log::{Blobs, digest};
use sterna_model::ToolStatus::{Failed, InvalidArguments};
use sterna_model::{EffectClass, Fact};
use sterna_tool::Access;

const NOTEBOOK: &str = "{\n \"cells\": [\n  {\n   \"cell_type\": \"markdown\",\n   \"id\": \"a\",\n   \"metadata\": {\"keep\": [1]},\n   \
    \"source\": [\n    \"# One\"\n   ]\n  }\n ],\n \"metadata\": {\"odd\": 1.50},\n \"nbformat\": 4,\n \"nbformat_minor\": 5\n}\n";

fn args(op: &str, more: Value) -> Value {
    let mut args = json!({"path": "n.ipynb", "op": op});
    args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    args
}

#[tokio::test]
async fn cells_are_changed_and_everything_else_is_kept() {
    let mut world = World::new();
    let path = world.file("n.ipynb", NOTEBOOK);
    let shown = world.told("read", json!({"path": "n.ipynb"})).await;
    assert_eq!(shown, "1\t[notebook, 1 cell]\n2\t[cell a, markdown]\n3\t# One\n");
    let replace = args("replace", json!({"cell": "a", "source": "# Two\n"}));
    let plan = world.plan("notebook_edit", &replace).unwrap();
    assert_eq!(
        (plan.accesses, plan.summary.as_str()),
        (vec![Access::Write(path)], "change a cell of n.ipynb")
    );
    assert!(plan.preview.unwrap().contains("-    \"# One\"\n+    \"# Two\\n\""));
    assert_eq!(common::tool("notebook_edit").class(&replace), EffectClass::Idempotent);
    assert_eq!(world.told("notebook_edit", replace).await, "changed `n.ipynb`: cell a");
    assert_eq!(world.text("n.ipynb"), NOTEBOOK.replace("# One", "# Two\\n"));
    let insert = args("insert", json!({"source": "1 + 1", "after": ""}));
    let done = world.call("notebook_edit", insert).await.unwrap();
    let id = text(&done)
        .strip_prefix("changed `n.ipynb`: cell ")
        .unwrap()
        .strip_suffix(" is new")
        .unwrap()
        .to_owned();
    let shown = world.told("read", json!({"path": "n.ipynb"})).await;
    assert_eq!(
        shown,
        format!("1\t[notebook, 2 cells]\n2\t[cell {id}, code]\n3\t1 + 1\n4\t[cell a, markdown]\n5\t# Two\n")
    );
    let moved = args("move", json!({"cell": id}));
    assert_eq!(world.told("notebook_edit", moved).await, format!("changed `n.ipynb`: cell {id} was moved"));
    assert!(world.text("n.ipynb").find("# Two").unwrap() < world.text("n.ipynb").find("1 + 1").unwrap());
    let delete = args("delete", json!({"cell": id}));
    assert_eq!(world.told("notebook_edit", delete).await, format!("changed `n.ipynb`: cell {id} is gone"));
    assert_eq!(world.text("n.ipynb"), NOTEBOOK.replace("# One", "# Two\\n"));
    // A new one.
    let create = json!({"path": "new.ipynb", "op": "create", "source": "x", "type": "markdown"});
    let told = world.told("notebook_edit", create).await;
    assert!(told.starts_with("made `new.ipynb`: cell "), "{told}");
    let made: Value = serde_json::from_str(&world.text("new.ipynb")).unwrap();
    assert_eq!((&made["cells"][0]["source"], &made["nbformat"]), (&json!(["x"]), &json!(4)));
}

#[tokio::test]
async fn a_second_attempt_finds_what_the_first_has_done() {
    let mut world = World::new();
    world.seen("n.ipynb", NOTEBOOK);
    let insert = args("insert", json!({"source": "1 + 1"}));
    let first = world.call("notebook_edit", insert.clone()).await.unwrap();
    let after = world.text("n.ipynb");
    // The crash came before the outcome: the session knows the version before.
    let path = world.cwd.join("n.ipynb").to_str().unwrap().to_owned();
    world.view.files.insert(path.clone(), digest(NOTEBOOK.as_bytes()));
    assert!(world.blobs.has(&digest(NOTEBOOK.as_bytes())).await.unwrap());
    world.attempt = 2;
    let second = world.call("notebook_edit", insert).await.unwrap();
    assert_eq!((text(&second), world.text("n.ipynb")), (text(&first), after.clone()));
    let (before, after) = (Some(digest(NOTEBOOK.as_bytes())), digest(after.as_bytes()));
    assert_eq!(second.facts, [Fact::FileWritten { path, before, after }]);
}

#[tokio::test]
async fn what_is_wrong_with_a_change_is_told() {
    let mut world = World::new();
    world.seen("n.ipynb", NOTEBOOK);
    world.file("unread.ipynb", NOTEBOOK);
    world.seen("text.ipynb", "no notebook");
    let at = |path: &str, op: &str| json!({"path": path, "op": op, "cell": "a", "source": "x"});
    let cases = [
        (
            at("unread.ipynb", "replace"),
            Failed,
            "`unread.ipynb` exists and was not read in this session; read it first, then change it",
        ),
        (
            at("text.ipynb", "replace"),
            Failed,
            "`text.ipynb` is not a notebook that can be changed: expected ident at line 1 column 2",
        ),
        (args("replace", json!({"cell": "b", "source": "x"})), Failed, "there is no cell `b`; cells are a"),
        (args("insert", json!({"after": "b", "source": "x"})), Failed, "there is no cell `b`; cells are a"),
        (
            args("replace", json!({"cell": "a", "source": "# One"})),
            Failed,
            "`n.ipynb` already is as this would make it; nothing was changed",
        ),
        (args("create", json!({})), Failed, "`n.ipynb` exists already; insert cells into it"),
        (args("insert", json!({})), InvalidArguments, "`source` is missing: the text of the new cell"),
        (args("delete", json!({})), InvalidArguments, "`cell` is missing: the id of a cell"),
        (
            args("move", json!({"cell": "a", "after": "a"})),
            InvalidArguments,
            "a cell cannot stand behind itself",
        ),
        (
            args("replace", json!({"cell": "a"})),
            InvalidArguments,
            "`source` and `type` are missing: there is nothing to change",
        ),
    ];
    for (args, status, message) in cases {
        world.refuses("notebook_edit", args, status, message).await;
    }
}
