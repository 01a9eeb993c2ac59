//! Guests by name, runs that leave nothing behind, and programs of prompts.

#![allow(clippy::unwrap_used)]

#[path = "../../sterna-runtime/tests/common/mod.rs"]
mod common;

use std::sync::Arc;

use common::*;
use serde_json::json;
use sterna::config::Settings;
use sterna::places::Places;
use sterna::{Builder, Sterna, Store};
use sterna_log::{Filter, Log, MemoryLog, Page};
use sterna_model::*;

struct Home {
    dir: tempfile::TempDir,
    log: Arc<MemoryLog>,
    model: TestModel,
}

impl Home {
    fn new(list: impl IntoIterator<Item = Say>) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            log: Arc::new(MemoryLog::new()),
            model: TestModel::new(list),
        }
    }

    fn builder(&self) -> Builder {
        let home = self.dir.path().display().to_string();
        let get = move |name: &str| (name == "STERNA_HOME").then(|| home.clone());
        Sterna::builder()
            .places(Places::from_env(&get).unwrap())
            .settings(Settings::default())
            .store(Store::Own(self.log.clone(), self.log.clone()))
            .workspace(self.dir.path())
            .provider(Arc::new(self.model.clone()))
    }

    async fn logs(&self) -> Vec<(String, u64)> {
        let all = self.log.list(&Filter::default(), Page { after: None, limit: 100 }).await.unwrap();
        let mut heads = Vec::new();
        for row in all {
            heads.push((row.id.to_string(), self.log.head(&row.id).await.unwrap().seq));
        }
        heads
    }
}

#[tokio::test]
async fn a_guest_is_an_agent_of_that_name() {
    let home = Home::new([Say::Text("Here."), Say::Text("Looks fine.")]);
    std::fs::create_dir_all(home.dir.path().join("agents")).unwrap();
    let own = "---\nname: critic\ndescription: judges\nmodel: other/large\n---\nYou are stern.\n";
    std::fs::write(home.dir.path().join("agents/critic.md"), own).unwrap();
    let sterna = home.builder().build().await.unwrap();
    let session = sterna.session("s");
    session.turn("Write it.").await.unwrap();
    let reply = session.turn("And?").guest("critic").await.unwrap();
    assert_eq!(reply.message(), "Looks fine.");
    let body = home.model.body(1);
    assert_eq!((&body["tool_choice"], &body["tools"]), (&json!("none"), &home.model.body(0)["tools"]));
    assert!(body.to_string().contains("You are stern."));
    let view = session.view().await.unwrap();
    let turn = view.turn.as_ref().unwrap();
    assert_eq!(
        (turn.route.to_string(), turn.guest.as_ref().unwrap().agent.as_str()),
        ("other/large".into(), "critic")
    );
    // The session's own model stays what it was.
    assert_ne!(view.machine.route().unwrap().to_string(), "other/large");
    let heads = home.logs().await;
    let unknown = session.turn("And?").guest("nobody").await.unwrap_err().to_string();
    assert!(unknown.contains("there is no agent `nobody`"), "{unknown}");
    assert_eq!(home.logs().await, heads);
}

#[tokio::test]
async fn an_ephemeral_turn_and_a_program_leave_the_store_as_it_is() {
    let asks = || Say::Calls(vec![("act", json!({}))]);
    let home = Home::new([
        Say::Text("kept"),
        asks(),
        Say::Text("alone"),
        Say::Text("one"),
        asks(),
        Say::Text("two"),
        Say::Text("three"),
    ]);
    let tools = home.builder().on_ask(OnAsk::Deny).tool(asking_tool("act", "acted"));
    let sterna = tools.build().await.unwrap();
    sterna.session("s").turn("Hello.").await.unwrap();
    let heads = home.logs().await;
    let alone = sterna.ephemeral().new_session().turn("Act.").await.unwrap();
    assert_eq!(alone.message(), "alone");
    // Policy is asked, and what it used up is told.
    assert_eq!(alone.result().denials.len(), 1);
    assert_eq!(alone.result().usage[0].calls, 2);
    let replies = sterna.ephemeral().new_session().program(["First.", "Second.", "Third."]).await.unwrap();
    let said: Vec<&str> = replies.iter().map(|reply| reply.message()).collect();
    assert_eq!(said, ["one", "two", "three"]);
    let turns: Vec<_> =
        replies.iter().map(|reply| (reply.result().turn, reply.result().denials.len())).collect();
    assert_eq!(turns, [(1, 0), (2, 1), (3, 0)]);
    // They share one history.
    let last = home.model.body(6).to_string();
    assert!(last.contains("First.") && last.contains("one") && last.contains("Third."));
    assert_eq!(home.logs().await, heads);
    // A program ends after the first prompt that does not finish.
    let failing = Home::new([Say::Text("one"), Say::Fail(ErrorClass::Auth), Say::Text("never")]);
    let sterna = failing.builder().build().await.unwrap();
    let replies = sterna.ephemeral().new_session().program(["First.", "Second.", "Third."]).await.unwrap();
    let stops: Vec<_> = replies.iter().map(|reply| reply.stop()).collect();
    assert_eq!(stops, [None, Some(StopReason::ProviderFailed)]);
    assert_eq!((failing.logs().await, failing.model.asked()), (vec![], 2));
}
