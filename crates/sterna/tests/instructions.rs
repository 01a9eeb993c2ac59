//! SC-53: instructions from the user's folder, the repository and the working directory; one changes between two turns.

#![allow(clippy::unwrap_used)]

#[path = "../../sterna-runtime/tests/common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use sterna::places::Places;
use sterna::{Sterna, Store};
use sterna_log::{Log, MemoryLog};
use sterna_model::*;
use sterna_runtime::{context, replay};

fn write(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

fn places(folder: &Path) -> Places {
    let at = |name: &str| folder.join(name);
    Places {
        config: at("config"),
        data: at("data"),
        state: at("state"),
        cache: at("cache"),
        managed: at("none"),
    }
}

fn system(body: &serde_json::Value) -> String {
    body["messages"][0]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn new_text_counts_from_the_next_turn_and_what_it_broke_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder: PathBuf = std::fs::canonicalize(folder.path()).unwrap();
    std::fs::create_dir_all(folder.join("space/.git")).unwrap();
    // 40 KiB in all: the user's is the farthest, and is cut.
    write(&folder, "config/AGENTS.md", &"mine\n".repeat((30 << 10) / 5));
    write(&folder, "space/AGENTS.md", &"root\n".repeat((9 << 10) / 5));
    write(&folder, "space/deep/AGENTS.md", "near: use tabs\n");
    let log = Arc::new(MemoryLog::new());
    let model = TestModel::new([Say::Text("one"), Say::Text("two"), Say::Text("three")]);
    let sterna = Sterna::builder()
        .provider(Arc::new(model.clone()))
        .store(Store::Own(log.clone(), log.clone()))
        .env(Arc::new(TestEnv::new("one")))
        .places(places(&folder))
        .workspace(folder.join("space"))
        .cwd(folder.join("space/deep"))
        .without_builtin_tools()
        .build()
        .await
        .unwrap();
    let session = sterna.session("s");
    session.turn("first").await.unwrap();
    session.turn("second").await.unwrap();
    write(&folder, "space/deep/AGENTS.md", "near: use spaces\n");
    session.turn("third").await.unwrap();

    let texts: Vec<String> = (0..3).map(|n| system(&model.body(n))).collect();
    let at = |text: &str, what: &str| text.find(what).unwrap_or_else(|| panic!("{what} is not there"));
    assert!(
        at(&texts[0], "mine\n") < at(&texts[0], "root\n")
            && at(&texts[0], "root\n") < at(&texts[0], "near: ")
    );
    assert!(texts[0].contains("bytes of") && texts[0].contains("config/AGENTS.md are left out"));
    assert!(texts[0].contains("(untrusted)"));
    assert_eq!(texts[0], texts[1]);
    assert!(
        texts[1].contains("use tabs") && texts[2].contains("use spaces") && !texts[2].contains("use tabs")
    );

    // Whose bytes they are, and what the change broke.
    let id = SessionId::new("s").unwrap();
    let parts = sterna.runtime().parts();
    let mut reports = Vec::new();
    for sealed in log.read(&id, 1, 1_000).await.unwrap() {
        if let Body::Intent(intent) = &sealed.record.body
            && let Intended::Model(sent) = &intent.what
        {
            let report = context(parts, &id, Some(sealed.record.seq)).await.unwrap().unwrap();
            assert_eq!(report.rows.iter().map(|row| row.owned.bytes).sum::<u64>(), sent.bytes);
            reports.push(report);
        }
    }
    let owner = format!("{}/space/deep/AGENTS.md:1-1", folder.display());
    assert!(reports[0].rows.iter().any(|row| row.owned.owner == owner && row.owned.bytes > 14));
    assert_eq!(reports[1].since(&reports[0]).broken_by, None);
    let broken = reports[2].since(&reports[1]);
    assert_eq!(broken.broken_by, Some(format!("{owner} changed")));
    assert!(broken.kept_tokens > 0);
    assert_eq!(replay(parts, &id).await.unwrap().difference, None);
}
