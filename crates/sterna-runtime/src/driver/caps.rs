//! The caps of a turn, its session and its tree, before each model call.

use sterna_llm::Price;
use sterna_llm::catalog::cost;
use sterna_log::fold::room;
use sterna_model::{BudgetChange, EffectKey, Spend, SpendCaps, SpendWish, StopReason, Usage, WorstPrice};

use super::Driver;
use crate::RuntimeError;

/// A call as far as it costs.
pub(super) struct Costs<'a> {
    pub key: &'a EffectKey,
    pub attempt: u32,
    /// What of the request is counted as text.
    pub bytes: u64,
    /// Tokens that it may write.
    pub max_output: u32,
    /// It is made as it stands, or not at all.
    pub fixed: bool,
    pub price: Option<&'a Price>,
}

impl Driver {
    /// Tokens that may still be written under all caps. In the tree they are reserved until the call is settled. An
    /// error names the cap that leaves too few.
    pub(super) async fn reserve(&mut self, call: Costs<'_>) -> Result<Result<u32, StopReason>, RuntimeError> {
        let Costs { key, attempt, bytes, max_output, fixed, price } = call;
        let Some(turn) = self.state.machine.turn() else { return Ok(Ok(max_output)) };
        let limits = turn.limits();
        let price = price.map(|price| worst_price(price, bytes));
        let mut wish = SpendWish { max_output, least: if fixed { max_output } else { 1 }, price };
        let of_turn = SpendCaps { tokens: limits.max_tokens, cost: limits.max_cost };
        let of_session = SpendCaps { tokens: limits.session_max_tokens, cost: limits.session_max_cost };
        let in_turn = Spend { tokens: turn.usage().total(), cost: turn.cost() };
        for (caps, spent) in [(of_turn, in_turn), (of_session, self.spent())] {
            match room(&caps, spent, &wish) {
                Ok(room) => wish.max_output = room,
                refused => return Ok(refused),
            }
        }
        let caps = SpendCaps { tokens: limits.tree_max_tokens, cost: limits.tree_max_cost };
        if caps == SpendCaps::default() {
            return Ok(Ok(wish.max_output));
        }
        let children = self.state.folded.world.children.iter();
        let children = children
            .map(|(session, child)| (session.clone(), Spend { tokens: child.tokens, cost: child.cost }));
        let (key, spent, children) = (key.clone(), self.spent(), children.collect());
        let asked = BudgetChange::Asked { key: key.clone(), attempt, spent, children, caps, wish };
        let budget = self.rt.budgets.of(self.tree());
        let answer = budget.ask(&self.rt.parts, self.root(), asked, wish.max_output).await?;
        if answer.is_ok() {
            self.held.retain(|(held, _)| *held != key);
            self.held.push((key, attempt));
        }
        Ok(answer)
    }

    /// What was reserved for a call in its tree is free again: it is over, or is not made. Where that cannot be written
    /// down, whoever needs what is left finds it out by the session's own log.
    pub(super) async fn settle(&mut self, key: &EffectKey) {
        let Some(at) = self.held.iter().position(|(held, _)| held == key) else { return };
        let (key, attempt) = self.held.swap_remove(at);
        let budget = self.rt.budgets.of(self.tree());
        let _ = budget.settle(&self.rt.parts, self.root(), key, attempt, self.spent()).await;
    }

    /// Settles what was reserved for calls that are neither under way nor about to be.
    pub(super) async fn settle_unmade(&mut self) {
        let waits = |key: &EffectKey| self.request.as_ref().is_some_and(|(next, _)| next == key);
        let unmade = |key: &&EffectKey| !self.inflight.contains_key(*key) && !waits(key);
        let held = self.held.iter().map(|(key, _)| key);
        let unmade: Vec<EffectKey> = held.filter(unmade).cloned().collect();
        for key in unmade {
            self.settle(&key).await;
        }
    }

    /// What this session has spent, by its log, with its children.
    pub(super) fn spent(&self) -> Spend {
        let total = self.state.folded.ledger.total();
        Spend { tokens: total.usage.total(), cost: total.cost() }
    }

    pub(super) fn is_capped_in_money(&self) -> bool {
        self.state.machine.turn().is_some_and(|turn| {
            let limits = turn.limits();
            [limits.max_cost, limits.session_max_cost, limits.tree_max_cost].iter().any(Option::is_some)
        })
    }

    /// The session whose caps hold for all below it.
    pub(super) fn tree(&self) -> &sterna_model::SessionId {
        self.state.turn.as_ref().and_then(|turn| turn.tree.as_ref()).unwrap_or(&self.id)
    }

    pub(super) fn root(&self) -> &str {
        self.state.turn.as_ref().map_or("/", |turn| &turn.root)
    }
}

/// What a call with a request of so many bytes costs at worst: a token is two bytes of it, and all of it is written to the
/// cache.
pub(crate) fn worst_price(price: &Price, bytes: u64) -> WorstPrice {
    let read = Usage { input_uncached: bytes / 2, ..Usage::default() };
    let written = Usage { cache_write_5m: bytes / 2, ..Usage::default() };
    // An answer to a long call may cost more.
    let million = cost(price, &Usage { output: 1_000_000, ..read }).saturating_sub(cost(price, &read));
    WorstPrice { input: cost(price, &read).max(cost(price, &written)), million }
}
