//! Titles by a model: one small call after a session's first turn, beside everything else.
//!
//! Nothing waits for it. The record says which title it may take the place of, so whoever names the session meanwhile is not
//! overruled, whichever of the two is written first. A process that ends in the call leaves the session with its first
//! words.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use sterna_context::{TITLE_TOKENS, read_title, title_request};
use sterna_log::fold::{BESIDE_MS, BESIDE_TURNS};
use sterna_log::{LogError, SharedLog};
use sterna_model::{
    Billed, Body, EffectKey, EffectKind, HookAsked, Limits, Route, Seq, SessionId, Spend, TitleMade,
    TurnOutcome, input_text,
};

use crate::hooks::{Asked, Asking, HookModel};
use crate::runtime::Inner;
use crate::{Runtime, RuntimeError, State};

use super::Driver;

impl Driver {
    /// Lets a model name the session, if it is due: after its first turn, a fork's after its own, once, and unless somebody
    /// has named it.
    pub(super) fn see_to_title(&self, outcome: &TurnOutcome) {
        let Some(route) = self.config.title_route.clone() else { return };
        let finished = matches!(outcome, TurnOutcome::Finished { .. });
        let world = &self.state.folded.world;
        let child = self.state.machine.session().is_none_or(|session| session.spawned.is_some());
        if !finished || child || !self.state.hooks.first_turn || world.title.is_named() {
            return;
        }
        let asking = self.title_asking();
        let instead_of = world.title.text().map(str::to_owned);
        let inputs = self.state.heard.clone();
        tokio::spawn(async move {
            // The session keeps its first words.
            let _ = make(asking, route, instead_of, &inputs).await;
        });
    }

    /// The call is no part of a turn: of the bounds only those of the session and its tree hold.
    fn title_asking(&self) -> Asking {
        let limits = self.state.turn.as_ref().map(|turn| turn.limits.clone()).unwrap_or_default();
        let children = self.state.folded.world.children.iter();
        let children = children
            .map(|(session, child)| (session.clone(), Spend { tokens: child.tokens, cost: child.cost }));
        Asking {
            rt: self.rt.clone(),
            session: self.id.clone(),
            tree: self.tree().clone(),
            root: self.root().to_owned(),
            // Each call names its own.
            route: self.route(),
            limits: Limits { max_tokens: None, max_cost: None, ..limits },
            in_turn: Spend { tokens: 0, cost: Some(0) },
            in_session: self.spent(),
            children: children.collect(),
            // Beside every call of the session's turns: none of them takes the place of what is reserved for it.
            key: EffectKey {
                session: self.id.clone(),
                turn: BESIDE_TURNS,
                step: 0,
                kind: EffectKind::Judge,
                ordinal: 0,
            },
            // It is appended by anyone: no lease has to hold.
            leased_until: Arc::new(AtomicU64::new(u64::MAX)),
            secrets: self.secrets.clone(),
            of: None,
            state: Mutex::new(Asked::default()),
        }
    }
}

/// Asks, and writes down what came of it with what it cost.
async fn make(
    asking: Asking,
    route: Route,
    instead_of: Option<String>,
    inputs: &[Seq],
) -> Result<(), RuntimeError> {
    let rt = asking.rt.clone();
    let of = Of {
        session: asking.session.clone(),
        tree: asking.tree.clone(),
        root: asking.root.clone(),
        before: asking.in_session,
    };
    let said = said_in(&rt.parts.log, &of.session, inputs).await?;
    let model = HookModel::new(asking);
    let request = |route: &Route, max_output: u32, _: bool| title_request(&said, route, max_output);
    let env = &rt.parts.env;
    let read = tokio::select! {
        biased;
        said = model.complete(&route, TITLE_TOKENS, request) => said.and_then(|text| read_title(&text)),
        () = env.sleep_until(env.now().saturating_add(TIME_MS)) => {
            Err(format!("no answer within {} s", TIME_MS / 1_000))
        }
    };
    let (calls, held) = model.take();
    let billed = calls.into_iter().next().map(|HookAsked { billed, .. }| billed).unwrap_or_default();
    let (title, failed) = match read {
        Ok(title) => (title, None),
        // A call that was not made leaves no record.
        Err(_) if billed == Billed::default() => return of.settle(&rt, held, None).await,
        Err(why) => (String::new(), Some(why)),
    };
    let made = TitleMade { instead_of, route, billed: billed.clone(), failed };
    let body = Body::TitleSet { title, by: BY.into(), made: Some(Box::new(made)) };
    let runtime = Runtime(rt.clone());
    let shared = rt.shared(&of.session);
    let written = runtime.append(&shared, APPEND, vec![runtime.draft(None, body)]).await;
    // Whatever became of the record: the call is over, and holds nothing back from others.
    let settled = of.settle(&rt, held, written.is_err().then_some(&billed)).await;
    match written {
        // Another process had it named.
        Err(RuntimeError::Log(error)) if matches!(*error, LogError::Conflict { .. }) => {}
        other => {
            let written = other?.last;
            if !shared.is_driven() {
                // Whoever looks on reads it in the log.
                shared.hub.settle(Vec::new(), written, env.now());
            }
        }
    }
    settled
}

/// Whose title it is, and who pays.
struct Of {
    session: SessionId,
    tree: SessionId,
    root: String,
    /// What the session had spent before.
    before: Spend,
}

impl Of {
    /// Gives back what was reserved. `unwritten`: what the call cost, where the session's log does not say so.
    async fn settle(
        &self,
        rt: &Arc<Inner>,
        held: Vec<(EffectKey, u32)>,
        unwritten: Option<&Billed>,
    ) -> Result<(), RuntimeError> {
        if held.is_empty() {
            return Ok(());
        }
        let mut spent = match State::load(&rt.parts.log, &self.session).await {
            Ok(state) => {
                let total = state.folded.ledger.total();
                Spend { tokens: total.usage.total(), cost: total.cost() }
            }
            // In the tree no sum becomes less.
            Err(_) => self.before,
        };
        if let Some(billed) = unwritten {
            let cost = if billed.usage.total() == 0 { Some(0) } else { billed.cost };
            spent.tokens = spent.tokens.saturating_add(billed.usage.total());
            spent.cost = spent.cost.zip(cost).map(|(sum, cost)| sum.saturating_add(cost));
        }
        for (key, attempt) in held {
            rt.budgets.of(&self.tree).settle(&rt.parts, &self.root, key, attempt, spent).await?;
        }
        Ok(())
    }
}

/// What was said in these inputs of a session's first turn. Reads no further than to the end of that turn, and nothing that
/// a fork shares.
async fn said_in(log: &SharedLog, session: &SessionId, inputs: &[Seq]) -> Result<String, RuntimeError> {
    let (mut said, mut next) = (BTreeMap::new(), 1);
    'pages: loop {
        let page = log.read(session, next, PAGE).await?;
        let Some(last) = page.last() else { break };
        next = last.record.seq + 1;
        for sealed in &page {
            match &sealed.record.body {
                Body::InputAccepted(input) if inputs.contains(&sealed.record.seq) => {
                    said.insert(sealed.record.seq, input_text(&input.parts));
                }
                Body::InputEdited { input, parts, .. } => {
                    said.entry(*input).and_modify(|text| *text = input_text(parts));
                }
                Body::TurnCommitted(_) => break 'pages,
                _ => {}
            }
        }
    }
    Ok(said.into_values().collect::<Vec<_>>().join("\n"))
}

/// Milliseconds that a model has for a title (design: 30 s).
const TIME_MS: u64 = 30_000;
/// A session is named by a model once, whoever asks.
const APPEND: &str = "title:model";
/// Who the title is by.
const BY: &str = "model";
/// Records that are read at a time.
const PAGE: usize = 64;
/// What is reserved for a call that nobody gave back is held longer than any may take.
const _: () = assert!(TIME_MS < BESIDE_MS);
