//! Titles by a model: one small call after a session's first turn, beside everything else.
//!
//! Nothing waits for it. The record says which title it may take the place of, so whoever names the session meanwhile is not
//! overruled, whichever of the two is written first. A process that ends in the call leaves the session with its first
//! words, and what the call may have cost is written by whoever drives a later turn.

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

use crate::hooks::{Asked, Asking, HookModel, Purpose};
use crate::runtime::Inner;
use crate::{Runtime, RuntimeError, State};

use super::Driver;

impl Driver {
    /// Lets a model name the session, if it is due: after its first turn, a fork's after its own, once, and unless somebody
    /// has named it.
    pub(super) fn see_to_title(&self, outcome: &TurnOutcome) {
        self.pay_lost_title();
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

    /// A process died while it asked for a title: nobody waits for the answer, and it was paid.
    fn pay_lost_title(&self) {
        let Some((at, asked)) = self.state.folded.world.title.asked() else { return };
        if self.rt.parts.env.now().saturating_sub(at) < BESIDE_MS {
            return;
        }
        let why = "Sterna was stopped while a model was asked for a title".to_owned();
        let made = TitleMade { asking: false, failed: Some(why), ..asked.clone() };
        let (rt, session) = (self.rt.clone(), self.id.clone());
        tokio::spawn(async move {
            // Whoever drives the next turn tries again.
            let _ = write(&rt, &session, APPEND, String::new(), made).await;
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
            of: Purpose::Title { until: self.rt.parts.env.now().saturating_add(TIME_MS) },
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
    let said = model.complete(&route, TITLE_TOKENS, request).await;
    let read = said.and_then(|text| read_title(&text));
    let is_intended = model.is_intended();
    let (calls, held) = model.take();
    let billed = calls.into_iter().next().map(|HookAsked { billed, .. }| billed).unwrap_or_default();
    let (title, failed) = match read {
        Ok(title) => (title, None),
        // Nobody was asked, or somebody else asks.
        Err(_) if !is_intended => return of.settle(&rt, held, None).await,
        Err(why) => (String::new(), Some(why)),
    };
    let made = TitleMade { instead_of, asking: false, route, billed: billed.clone(), failed };
    let written = write(&rt, &of.session, APPEND, title, made).await;
    // Another process took this one for dead: what it wrote says already what the call may have cost.
    let is_told = match &written {
        Ok(()) => true,
        Err(error) => matches!(error.log(), Some(LogError::Conflict { .. })),
    };
    // Whatever became of the record: the call is over, and holds nothing back from others.
    of.settle(&rt, held, (!is_told).then_some(&billed)).await?;
    if is_told { Ok(()) } else { written }
}

/// That a model is about to be asked for a session's title. `false`: it is not written down, or somebody else asks.
pub(crate) async fn intend(rt: &Arc<Inner>, session: &SessionId, asks: HookAsked) -> bool {
    let HookAsked { route, billed } = asks;
    let made = TitleMade { instead_of: None, asking: true, route, billed, failed: None };
    write(rt, session, INTENT, String::new(), made).await.is_ok()
}

/// Writes a record of a title by a model, under a name that the log takes once.
async fn write(
    rt: &Arc<Inner>,
    session: &SessionId,
    name: &str,
    title: String,
    made: TitleMade,
) -> Result<(), RuntimeError> {
    let body = Body::TitleSet { title, by: BY.into(), made: Some(Box::new(made)) };
    let runtime = Runtime(rt.clone());
    let shared = rt.shared(session);
    let receipt = runtime.append(&shared, name, vec![runtime.draft(None, body)]).await?;
    if receipt.repeated {
        return Err(LogError::Conflict { session: session.clone(), id: name.to_owned() }.into());
    }
    if !shared.is_driven() {
        // Whoever looks on reads it in the log.
        shared.hub.settle(Vec::new(), receipt.last, rt.parts.env.now());
    }
    Ok(())
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
pub(crate) const TIME_MS: u64 = 30_000;
/// A session is named by a model once, whoever asks, and one asks.
const APPEND: &str = "title:model";
const INTENT: &str = "title:asking";
/// Who the title is by.
const BY: &str = "model";
/// Records that are read at a time.
const PAGE: usize = 64;
/// What is reserved for a call that nobody gave back is held longer than any may take.
const _: () = assert!(TIME_MS < BESIDE_MS);
