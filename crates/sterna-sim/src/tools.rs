//! Tools of all classes. Each does one thing to the world, at one moment, and the ledger says so.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sterna_model::*;
use sterna_tool::*;

use crate::dice::lane_of;
use crate::world::{Life, ToolRun, World};

pub struct Kind {
    pub name: &'static str,
    class: EffectClass,
    /// Policy asks a person.
    guarded: bool,
    /// What the tool waits for before it does what it does.
    before: Before,
}

#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// A person's answer.
    Answer,
    Time,
    Signal,
}

/// Names of signals. Few, so that several wait for one, and several are sent.
pub const SIGNALS: [&str; 2] = ["ci", "mail:42"];

const fn kind(name: &'static str, class: EffectClass) -> Kind {
    Kind { name, class, guarded: false, before: Before::Nothing }
}

const fn after(name: &'static str, before: Before) -> Kind {
    Kind { name, class: EffectClass::AtMostOnce, guarded: false, before }
}

pub const TOOLS: [Kind; 11] = [
    kind("look", EffectClass::Pure),
    kind("watch", EffectClass::Pure),
    kind("put", EffectClass::Idempotent),
    kind("fire", EffectClass::AtMostOnce),
    kind("mail", EffectClass::AtMostOnce),
    kind("lend", EffectClass::Compensable),
    Kind { name: "guarded", class: EffectClass::AtMostOnce, guarded: true, before: Before::Nothing },
    after("survey", Before::Answer),
    after("nap", Before::Time),
    after("listen", Before::Signal),
    kind(FORBIDDEN, EffectClass::AtMostOnce),
];

/// A rule denies it.
pub const FORBIDDEN: &str = "forbidden";
/// What the output of the call says that did it.
pub fn token(key: &EffectKey) -> String {
    format!("did {key}.")
}

pub struct SimTool {
    world: Arc<World>,
    life: Arc<Life>,
    kind: &'static Kind,
    spec: ToolSpec,
}

pub fn toolbox(world: &Arc<World>, life: &Arc<Life>) -> Vec<SharedTool> {
    let make = |kind: &'static Kind| -> SharedTool {
        let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
        let spec = ToolSpec { name: kind.name.into(), description: kind.name.into(), schema };
        Arc::new(SimTool { world: world.clone(), life: life.clone(), kind, spec })
    };
    TOOLS.iter().map(make).collect()
}

impl Tool for SimTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        self.kind.class
    }

    fn plan(&self, _: &PlanContext, _: &Value) -> Result<Plan, ToolError> {
        let access = if self.kind.guarded { Access::Other } else { Access::Session };
        Ok(Plan { accesses: vec![access], summary: self.kind.name.into(), preview: None })
    }

    fn timeout_ms(&self, _: &Value) -> u64 {
        20_000
    }

    fn call<'a>(&'a self, cx: ToolContext, _: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        self.run(cx).boxed()
    }

    fn undo<'a>(&'a self, cx: ToolContext, _: Value) -> BoxFuture<'a, Result<(), ToolError>> {
        self.take_back(cx).boxed()
    }
}

impl SimTool {
    async fn run(&self, cx: ToolContext) -> Result<ToolReturn, ToolError> {
        self.life.stop_if_dead().await;
        let key = &cx.key;
        let lane = lane_of(&key.to_string());
        let dice = &self.world.dice;
        self.world.tell(|| format!("{} runs {key} #{} {}", self.life.name, cx.attempt, self.kind.name));
        self.may_run(&cx);
        let run = {
            let mut facts = self.world.facts();
            let (class, name) = (self.kind.class, self.kind.name.to_owned());
            let (key, attempt) = (key.clone(), cx.attempt);
            facts.runs.push(ToolRun { key, attempt, class, name, asked: false, effect: false });
            facts.runs.len() - 1
        };
        if self.kind.before != Before::Nothing && cx.answers.is_none() && cx.woken.is_none() {
            self.world.facts().runs[run].asked = true;
            self.world.boundary(&self.life, "crash.tool_asks", lane, 20).await;
            return Ok(self.wait(lane));
        }
        self.is_woken_by_the_log(&cx);
        self.world.boundary(&self.life, "crash.tool_starts", lane, 15).await;
        let act = dice.pick("tool", lane, &[500, 200, 40, 40, 20, 20, 30, 30, 15]);
        let (before, after) = match act {
            1 | 6 => (dice.below("tool.ms", lane, 4_000), dice.below("tool.ms", lane, 4_000)),
            _ => (dice.below("tool.ms", lane, 20), dice.below("tool.ms", lane, 20)),
        };
        let deaf = act == 6;
        self.pause(&cx, before, deaf).await?;
        match act {
            2 => return Err(ToolError::failed("it does not work")),
            4 => std::panic::resume_unwind(Box::new("sim: panics before")),
            _ => {}
        }
        if self.kind.class != EffectClass::Pure {
            self.world.facts().runs[run].effect = true;
            self.world.tell(|| format!("{} SIDE EFFECT of {key} #{}", self.life.name, cx.attempt));
        }
        self.world.boundary(&self.life, "crash.tool_did", lane, 15).await;
        (cx.progress)("half".into());
        self.pause(&cx, after, deaf).await?;
        match act {
            5 => std::panic::resume_unwind(Box::new("sim: panics after")),
            // Until it is given up.
            8 => futures::future::pending::<()>().await,
            _ => {}
        }
        self.world.boundary(&self.life, "crash.tool_ends", lane, 15).await;
        let mut text = token(key);
        if act == 7 {
            text.push_str(&"long output\n".repeat(3_000));
        }
        Ok(ToolReturn::Done(ToolDone { failed: act == 3, ..ToolDone::text(text) }))
    }

    /// What it waits for.
    fn wait(&self, lane: u64) -> ToolReturn {
        let dice = &self.world.dice;
        // Some times are near, some so far that a turn parks for them, some over already.
        let span = [1, 5_000, 30_000, 70_000][dice.pick("nap", lane, &[1, 4, 2, 1])];
        let until = self.world.now() + dice.below("nap.ms", lane, span);
        match self.kind.before {
            Before::Time => ToolReturn::Sleep { until },
            Before::Signal => ToolReturn::Signal {
                name: SIGNALS[dice.below("listen.name", lane, SIGNALS.len() as u64) as usize].into(),
                until: (dice.pick("listen.limit", lane, &[2, 1]) == 1).then_some(until),
            },
            Before::Nothing | Before::Answer => {
                let options = vec![Choice { label: "yes".into(), description: String::new(), preview: None }];
                let (question, header) = ("which?".into(), "which".into());
                ToolReturn::Ask(vec![Question { question, header, options, multi: false }])
            }
        }
    }

    /// What a call is woken with stands in the log before it.
    fn is_woken_by_the_log(&self, cx: &ToolContext) {
        if let Some(Woken::Signal(payload)) = &cx.woken {
            self.world.facts().delivered.entry(payload.clone()).or_default().insert(cx.key.clone());
        }
        let said = self.world.look(&cx.key.session, |seen| seen.waits.woken(&cx.key));
        let fits = match &cx.woken {
            None => true,
            Some(Woken::Time) => said == Some(Ruling::Timeout),
            Some(Woken::Signal(payload)) => said == Some(Ruling::Signal(payload.clone())),
        };
        if !fits {
            self.world.wrong(format!("{} is woken by {:?}, and the log says {said:?}", cx.key, cx.woken));
        }
    }

    async fn take_back(&self, cx: ToolContext) -> Result<(), ToolError> {
        self.life.stop_if_dead().await;
        let (key, attempt) = (&cx.key, cx.attempt);
        let lane = lane_of(&key.to_string());
        self.world.tell(|| format!("{} takes back {key} #{attempt}", self.life.name));
        let durable = self.world.look(&key.session, |seen| seen.undos.contains(&(key.clone(), attempt)));
        if !durable {
            self.world.wrong(format!("{key} #{attempt} is taken back without a durable intent"));
        }
        self.world.boundary(&self.life, "crash.undo_starts", lane, 60).await;
        if self.world.dice.pick("undo", lane, &[8, 1]) == 1 {
            return Err(ToolError::failed("it cannot be taken back"));
        }
        self.world.facts().undone.insert((key.clone(), attempt));
        self.world.boundary(&self.life, "crash.undo_did", lane, 60).await;
        Ok(())
    }

    /// A part of the work. A tool that is told to stop stops, unless it is deaf.
    async fn pause(&self, cx: &ToolContext, ms: u64, deaf: bool) -> Result<(), ToolError> {
        if ms > 0 {
            tokio::select! {
                biased;
                () = cx.cancel.cancelled(), if !deaf => return Err(ToolError::cancelled()),
                () = self.world.sleep(ms) => {}
            }
        }
        self.life.stop_if_dead().await;
        Ok(())
    }

    /// What must be durable before a call may start.
    fn may_run(&self, cx: &ToolContext) {
        let (key, attempt) = (&cx.key, cx.attempt);
        let wrong = self.world.look(&key.session, |seen| {
            if self.kind.class != EffectClass::Pure && !seen.intents.contains(&(key.clone(), attempt)) {
                return Some(format!("{key} runs as attempt {attempt} without a durable intent"));
            }
            if self.kind.guarded && !seen.waits.allowed(key) {
                return Some(format!("{key} runs, and nobody allowed it"));
            }
            if self.kind.name == FORBIDDEN {
                return Some(format!("{key} runs, and a rule denies it"));
            }
            None
        });
        let by = self.world.facts().intended.get(&(key.clone(), attempt)).copied();
        let other = (by.filter(|by| *by != self.life.id))
            .map(|by| format!("{} runs {key} #{attempt}, whose intent life {by} wrote", self.life.name));
        if let Some(wrong) = wrong.or(other) {
            self.world.wrong(wrong);
        }
    }
}
