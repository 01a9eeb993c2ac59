//! The folder of a store is Sterna's own, wherever the host puts it: no tool writes it, in no mode.

#![allow(clippy::unwrap_used)]

#[path = "../../sterna-runtime/tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::sync::Arc;

use common::*;
use serde_json::{Value, json};
use sterna::places::Places;
use sterna::{Sterna, Store};
use sterna_model::*;

/// What becomes of these calls with a store in this folder, in the mode that asks nobody.
async fn statuses(dir: &Path, store: &str, calls: Vec<(&'static str, Value)>) -> Vec<(ToolStatus, String)> {
    let list: Vec<Say> = calls.into_iter().map(|call| Say::Calls(vec![call])).collect();
    let model = TestModel::new(list.into_iter().chain([Say::Text("done")]));
    let home = |name: &str| (name == "STERNA_HOME").then(|| dir.join("home").display().to_string());
    let sterna = Sterna::builder()
        .provider(Arc::new(model))
        .store(Store::Folder(dir.join(store)))
        .places(Places::from_env(&home).unwrap())
        .workspace(dir.join("work"))
        .profile("main")
        .mode(Mode::Bypass)
        .limits(Limits { max_consecutive_denials: 100, ..Limits::default() })
        .without_instructions()
        .checkpoints(false)
        .build()
        .await
        .unwrap();
    let id = SessionId::new("s").unwrap();
    assert!(sterna.session("s").turn("go").await.unwrap().is_finished());
    let records = sterna.runtime().parts().log.read(&id, 1, 1_000).await.unwrap();
    let ended = records.into_iter().filter_map(|sealed| match sealed.record.body {
        Body::Outcome(outcome) => match outcome.result {
            EffectResult::Tool(tool) => Some((tool.status, tool.view)),
            _ => None,
        },
        _ => None,
    });
    ended.collect()
}

fn write(path: &str) -> (&'static str, Value) {
    ("write", json!({"path": path, "content": "x"}))
}

fn shell(command: &str) -> (&'static str, Value) {
    ("shell", json!({"command": command}))
}

#[tokio::test]
async fn no_tool_writes_the_folder_of_a_store() {
    // In the workspace, beside it, and above it, where only what is Sterna's is protected.
    for (store, own, free) in [
        ("work/.store", ".store/sterna.db", "note"),
        ("store", "../store/blobs/x", "store/note"),
        (".", "../sterna.db-wal", "../note"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("work")).unwrap();
        let calls =
            vec![write(own), shell(&format!("echo x > {own}")), shell(&format!("rm -f {own}")), write(free)];
        let ended = statuses(dir.path(), store, calls).await;
        for (status, view) in &ended[..3] {
            assert!(
                *status == ToolStatus::Denied && view.contains("Sterna's own"),
                "{store}: {status:?} {view}"
            );
        }
        assert_eq!(ended[3].0, ToolStatus::Ok, "{store}: {}", ended[3].1);
    }
}
