//! What a hook asks a model: one call, under the caps of the turn, and in the ledger as a hook's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use sterna_context::{HOOK_TOKENS, hook_request, hook_text, read_hook_answer};
use sterna_llm::catalog::cost;
use sterna_llm::{EncodeCache, Price, Request};
use sterna_log::fold::room;
use sterna_model::{
    Billed, BudgetChange, EffectKey, HookAsked, HookEvent, HookIntent, Limits, Millis, ModelStop, Part,
    Route, SessionId, Spend, SpendCaps, SpendWish, answer_text,
};
use sterna_secrets::Scoped;
use sterna_tool::Cancel;
use tokio::sync::{mpsc, oneshot};

use super::HookAnswer;
use crate::driver::caps::worst_price;
use crate::driver::{Msg, titles};
use crate::effects::model::{self, ModelCall, ModelEnd, estimate};
use crate::hub::Hub;
use crate::runtime::Inner;

/// Asks models for the hooks of one occurrence of an event.
#[derive(Clone)]
pub struct HookModel(Arc<Asking>);

pub(crate) struct Asking {
    pub rt: Arc<Inner>,
    pub session: SessionId,
    /// Of the tree whose caps hold, and the folder of its log.
    pub tree: SessionId,
    pub root: String,
    /// The turn's own, for hooks that name none.
    pub route: Route,
    pub limits: Limits,
    /// Spent in the turn, and in the session, before these hooks.
    pub in_turn: Spend,
    pub in_session: Spend,
    pub children: BTreeMap<SessionId, Spend>,
    /// A name for what is reserved: its ordinal counts the calls.
    pub key: EffectKey,
    pub leased_until: Arc<AtomicU64>,
    pub secrets: Scoped,
    /// What is asked for.
    pub of: Purpose,
    pub state: Mutex<Asked>,
}

/// What a model is asked for. That it is about to be is in the log before.
pub(crate) enum Purpose {
    /// The occurrence of an event whose hooks ask.
    Hook {
        key: String,
        event: HookEvent,
        /// To who leads the session: it alone writes down what is about to be asked.
        tx: mpsc::UnboundedSender<Msg>,
    },
    /// The session's title: anyone may write that down, and of all who do one asks. From `until` on an answer comes too
    /// late.
    Title { until: Millis },
}

/// What was asked so far.
pub(crate) struct Asked {
    /// One for each call, estimated while it runs: what a hook that is given up has cost is counted too.
    calls: Vec<HookAsked>,
    /// At worst, by all calls so far.
    worst: Spend,
    /// Reserved in the tree.
    pub held: Vec<(EffectKey, u32)>,
    /// That one is about to be made is written down.
    intended: bool,
}

impl Default for Asked {
    fn default() -> Self {
        let worst = Spend { tokens: 0, cost: Some(0) };
        Self { calls: Vec::new(), worst, held: Vec::new(), intended: false }
    }
}

impl fmt::Debug for HookModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookModel").field("session", &self.0.session).finish_non_exhaustive()
    }
}

impl HookModel {
    pub(crate) fn new(asking: Asking) -> Self {
        Self(Arc::new(asking))
    }

    /// Puts an event before a model: its no forbids, its yes says nothing, and whatever is no answer is a failure.
    pub async fn judge(&self, route: Option<&Route>, prompt: &str, event: &Value) -> HookAnswer {
        match self.ask(route, &hook_text(prompt, event)).await.and_then(|text| read_hook_answer(&text)) {
            Ok(None) => HookAnswer::nothing(),
            Ok(Some(reason)) => HookAnswer::Blocked(reason),
            Err(why) => HookAnswer::Failed(why),
        }
    }

    /// What was asked, and what is reserved for it.
    pub(crate) fn take(&self) -> (Vec<HookAsked>, Vec<(EffectKey, u32)>) {
        let mut state = self.state();
        let mut calls = std::mem::take(&mut state.calls);
        // What was refused by a cap, or by a provider at once, has cost nothing.
        calls.retain(|asked| asked.billed.usage.total() > 0 || asked.billed.estimated);
        (calls, std::mem::take(&mut state.held))
    }

    /// It is in the log that somebody is asked.
    pub(crate) fn is_intended(&self) -> bool {
        self.state().intended
    }

    async fn ask(&self, route: Option<&Route>, text: &str) -> Result<String, String> {
        let route = route.unwrap_or(&self.0.route);
        let text = self.0.secrets.redact(text);
        let request = |route: &Route, max_output: u32, schema_native: bool| {
            Some(hook_request(&text, route, max_output, schema_native))
        };
        self.complete(route, HOOK_TOKENS, request).await
    }

    /// Sends what `request` makes of the route, the tokens that the answer may have, and whether the provider holds it to a
    /// schema: one call, if all caps leave room for it. `None`: there is nothing to ask.
    pub(crate) async fn complete(
        &self,
        route: &Route,
        max_output: u32,
        request: impl FnOnce(&Route, u32, bool) -> Option<Request>,
    ) -> Result<String, String> {
        let asking = &*self.0;
        let parts = &asking.rt.parts;
        let route = route.clone();
        let info = parts.provider.model(&route)?;
        let max_output = max_output.min(info.max_output);
        let request = request(&route, max_output, info.schema_native).ok_or("there is nothing to ask")?;
        let body = parts.provider.encode(&request, &mut EncodeCache::default());
        let bytes = body.bytes;
        let (at, key) = self.reserve(&route, bytes, max_output, info.price.as_ref()).await?;
        self.intend(at).await?;
        // Whoever asks for a hook gives it up.
        let until = match asking.of {
            Purpose::Hook { .. } => None,
            Purpose::Title { until } => Some(until),
        };
        let late = || format!("no answer within {} s", titles::TIME_MS / 1_000);
        if until.is_some_and(|until| until <= parts.env.now()) {
            // Nobody is asked any more, which costs nothing.
            if let Some(asked) = self.state().calls.get_mut(at) {
                asked.billed = Billed::default();
            }
            return Err(late());
        }
        let call = model::run(ModelCall {
            proposed: None,
            provider: parts.provider.clone(),
            env: parts.env.clone(),
            // Nobody watches it being written: it is no answer of the session.
            hub: Arc::new(Hub::new(asking.session.clone())),
            route: route.clone(),
            key,
            attempt: 1,
            not_before: None,
            breakers: asking.rt.breakers.clone(),
            leased_until: asking.leased_until.clone(),
            weight: bytes,
            body,
            cancel: Cancel::new(),
            secrets: asking.secrets.clone(),
        });
        let end = match until {
            None => call.await,
            Some(until) => tokio::select! {
                biased;
                end = call => end,
                () = parts.env.sleep_until(until) => return Err(late()),
            },
        };
        let (read, mut billed) = match end {
            ModelEnd::Answered(outcome) => {
                let called = outcome.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
                let read = match outcome.stop {
                    _ if outcome.partial => Err("the model's answer was cut".to_owned()),
                    ModelStop::Refused => Err("the model refused to answer".to_owned()),
                    _ if called => Err("the model called a tool instead of answering".to_owned()),
                    ModelStop::MaxOutput => Err("the model's answer was cut by the output limit".to_owned()),
                    ModelStop::EndTurn | ModelStop::ToolCalls | ModelStop::Cancelled => {
                        Ok(answer_text(&outcome.parts))
                    }
                };
                (read, outcome.billed)
            }
            ModelEnd::Failed(failure) => {
                (Err(format!("{}: {}", failure.class.word(), failure.message)), failure.billed)
            }
        };
        if billed.cost.is_none() && billed.usage.total() > 0 {
            billed.cost = info.price.as_ref().map(|price| cost(price, &billed.usage));
        }
        if let Some(asked) = self.state().calls.get_mut(at) {
            asked.billed = billed;
        }
        read
    }

    /// What is about to be asked is in the log before it is, so that a crash takes no bill away.
    async fn intend(&self, at: usize) -> Result<(), String> {
        let asks = self.state().calls.get(at).cloned();
        let Some(asks) = asks else { return Err("no call was reckoned with".into()) };
        let written = match &self.0.of {
            Purpose::Hook { key, event, tx } => {
                let (durable, written) = oneshot::channel();
                let intent = Box::new(HookIntent { key: key.clone(), event: *event, asks });
                // A driver that is gone answers as little as one that leads no more.
                let _ = tx.send(Msg::HookAsks { intent, durable });
                written.await.is_ok()
            }
            Purpose::Title { .. } => titles::intend(&self.0.rt, &self.0.session, asks).await,
        };
        if written {
            self.state().intended = true;
            return Ok(());
        }
        if let Some(asked) = self.state().calls.get_mut(at) {
            asked.billed = Billed::default();
        }
        Err("that a model is asked could not be written down".into())
    }

    /// Makes sure that the call fits under all caps, at its worst. Gives its place among the calls, and its name.
    async fn reserve(
        &self,
        route: &Route,
        bytes: u64,
        max_output: u32,
        price: Option<&Price>,
    ) -> Result<(usize, EffectKey), String> {
        let asking = &*self.0;
        let limits = &asking.limits;
        let price = price.map(|price| worst_price(price, bytes));
        let no_room = || "a cap of the turn leaves no room to ask a model".to_owned();
        let wish = SpendWish { max_output, least: max_output, price };
        let (at, key) = {
            let mut state = self.state();
            let of_turn = SpendCaps { tokens: limits.max_tokens, cost: limits.max_cost };
            let of_session = SpendCaps { tokens: limits.session_max_tokens, cost: limits.session_max_cost };
            for (caps, spent) in [(of_turn, asking.in_turn), (of_session, asking.in_session)] {
                room(&caps, sum(spent, state.worst), &wish).map_err(|_| no_room())?;
            }
            let worst = wish.price.as_ref().map(|price| {
                price.input.saturating_add(price.million.saturating_mul(u64::from(max_output)) / 1_000_000)
            });
            let here = Spend { tokens: bytes / 2 + u64::from(max_output), cost: worst };
            state.worst = sum(state.worst, here);
            let mut billed = estimate(bytes, 0);
            billed.cost = worst.filter(|_| billed.usage.total() > 0);
            state.calls.push(HookAsked { route: route.clone(), billed });
            let at = state.calls.len() - 1;
            (at, EffectKey { ordinal: asking.key.ordinal.saturating_add(at as u32), ..asking.key.clone() })
        };
        let caps = SpendCaps { tokens: limits.tree_max_tokens, cost: limits.tree_max_cost };
        if caps != SpendCaps::default() {
            let asked = BudgetChange::Asked {
                key: key.clone(),
                attempt: 1,
                spent: asking.in_session,
                children: asking.children.clone(),
                caps,
                wish,
            };
            let parts = &asking.rt.parts;
            let budget = asking.rt.budgets.of(&asking.tree);
            let answer = budget.ask(parts, &asking.root, asked, max_output).await;
            if !matches!(answer, Ok(Ok(_))) {
                // It is not made, and costs nothing.
                if let Some(asked) = self.state().calls.get_mut(at) {
                    asked.billed = Default::default();
                }
                return Err(no_room());
            }
            self.state().held.push((key.clone(), 1));
        }
        Ok((at, key))
    }

    fn state(&self) -> MutexGuard<'_, Asked> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sum(a: Spend, b: Spend) -> Spend {
    let cost = a.cost.zip(b.cost).map(|(a, b)| a.saturating_add(b));
    Spend { tokens: a.tokens.saturating_add(b.tokens), cost }
}

/// Ordinals of reservations of hooks begin here: no call of a classifier has one of these.
pub(crate) const FIRST: u32 = 1 << 24;
