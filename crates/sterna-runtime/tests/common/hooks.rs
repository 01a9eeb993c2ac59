//! Hooks that do as the test says, and remember what they were told.

#![allow(dead_code)]

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_model::*;
use sterna_runtime::*;

use crate::common::World;

type Answer = Arc<dyn Fn(&HookCall) -> Reaction + Send + Sync>;

/// What a hook does.
pub enum Reaction {
    Says(HookAnswer),
    Hangs,
    Panics,
}

/// A hook of every event that it is registered for.
pub struct Recorder {
    name: String,
    pub told: Arc<Mutex<Vec<HookCall>>>,
    answer: Answer,
}

impl Hook for Recorder {
    fn name(&self) -> &str {
        &self.name
    }
    fn on<'a>(&'a self, call: &'a HookCall) -> BoxFuture<'a, HookAnswer> {
        self.told.lock().unwrap().push(call.clone());
        let reaction = (self.answer)(call);
        async move {
            match reaction {
                Reaction::Says(answer) => answer,
                Reaction::Hangs => futures::future::pending().await,
                Reaction::Panics => panic!("as it must"),
            }
        }
        .boxed()
    }
}

/// What hooks were told, in order.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<Vec<HookCall>>>);

impl Told {
    pub fn calls(&self) -> Vec<HookCall> {
        self.0.lock().unwrap().clone()
    }

    pub fn events(&self) -> Vec<HookEvent> {
        self.calls().iter().map(|call| call.event).collect()
    }

    /// The first input of this event.
    pub fn input(&self, event: HookEvent) -> serde_json::Value {
        let calls = self.calls();
        calls
            .iter()
            .find(|call| call.event == event)
            .unwrap_or_else(|| panic!("{event:?} did not fire"))
            .input
            .clone()
    }
}

/// Hooks of these events that answer as the test says.
pub fn listening(
    name: &str,
    events: &[HookEvent],
    told: &Told,
    answer: impl Fn(&HookCall) -> Reaction + Send + Sync + 'static,
) -> Vec<Listening> {
    let hook = Arc::new(Recorder { name: name.into(), told: told.0.clone(), answer: Arc::new(answer) });
    // Milliseconds, so that a hook that hangs holds no test up.
    events.iter().map(|event| Listening { timeout_ms: 40, ..Listening::new(*event, hook.clone()) }).collect()
}

/// One that says the same to everything.
pub fn saying(events: &[HookEvent], answer: HookAnswer) -> Vec<Listening> {
    listening("h", events, &Told::default(), move |_| Reaction::Says(answer.clone()))
}

impl World {
    /// The same world with hooks.
    pub fn hooked(self, listening: Vec<Listening>) -> World {
        self.with_hooks(HookSet::new(listening))
    }

    pub fn with_hooks(self, hooks: HookSet) -> World {
        let hooks: SharedHooks = Arc::new(hooks);
        let parts = Parts { hooks: Some(hooks), ..self.runtime.parts().clone() };
        World { runtime: Runtime::new(parts), ..self }
    }
}
