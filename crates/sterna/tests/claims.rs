//! Turns that wait for a time are found when it has come, once, whoever parked them.

#![allow(clippy::unwrap_used)]

#[path = "../../sterna-runtime/tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::*;
use futures::FutureExt;
use serde_json::json;
use sterna::{Claim, Claims};
use sterna_model::{EffectClass, Millis, OnAsk, SessionId};
use sterna_tool::{Access, SharedTool, ToolDone, ToolReturn};

const HOUR: Millis = 3_600_000;

fn sleeper() -> SharedTool {
    tool_of("edit", EffectClass::AtMostOnce, Access::Session, |cx, _| {
        let said = match cx.woken {
            None => ToolReturn::Sleep { until: (cx.now)() + HOUR },
            Some(_) => ToolReturn::Done(ToolDone::text("slept")),
        };
        async move { Ok(said) }.boxed()
    })
}

/// A time, and an approval that nobody gives in time.
#[tokio::test]
async fn a_turn_whose_time_has_come_is_found_once() {
    for (what, tool, max_wait) in
        [("a time", sleeper(), None), ("an approval", asking_tool("edit", "edited"), Some(HOUR))]
    {
        let said = [Say::Calls(vec![("edit", json!({}))]), Say::Text("over")];
        let world = World::new(TestModel::new(said), vec![tool]);
        let mut submit = world.submit("s", "go");
        submit.config.on_ask = OnAsk::Park;
        submit.config.limits.max_wait = max_wait;
        let accepted = world.runtime.submit(submit).await.unwrap();
        assert_eq!(world.result(&accepted).await.outcome, "parked", "{what}");
        let claims = Claims::new(world.log.clone(), Arc::new(world.env.clone()));
        assert_eq!(claims.open().await.unwrap(), [], "{what}: too early");
        world.env.now.fetch_add(HOUR, Ordering::SeqCst);
        let found = claims.open().await.unwrap();
        let [Claim { session, input, origin, given }] = &found[..] else { panic!("{what}: {found:?}") };
        assert_eq!((session.as_str(), *input, origin.as_str()), ("s", accepted.input, "timer"), "{what}");
        assert_eq!((given.on_ask, given.limits.max_wait), (OnAsk::Park, max_wait), "{what}");
        assert_eq!(claims.open().await.unwrap(), [], "{what}: it is given out");
        let world = world.next_life("worker", world.model.clone());
        world.runtime.resume(&SessionId::new("s").unwrap(), world.config());
        assert_eq!(world.result(&accepted).await.message.as_deref(), Some("over"), "{what}");
        claims.ended(session);
        assert_eq!(claims.open().await.unwrap(), [], "{what}: it is over");
    }
}
