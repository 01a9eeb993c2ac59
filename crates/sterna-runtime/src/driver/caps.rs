//! The caps of a turn, its session and its tree, before each model call.

use std::sync::Arc;

use sterna_llm::Price;
use sterna_llm::catalog::cost;
use sterna_model::{EffectKey, Limits, SessionId, StopReason, Usage};

use super::Driver;
use crate::budget::{Budget, Caps, Hold, Spent, Wish};

impl Driver {
    /// Tokens that may still be written under all caps, and what is reserved for them in the tree. An error names the
    /// cap that leaves none.
    pub(super) fn reserve(
        &self,
        key: &EffectKey,
        bytes: u64,
        max_output: u32,
        price: Option<&Price>,
    ) -> Result<(u32, Option<Hold>), StopReason> {
        let Some(turn) = self.state.machine.turn() else { return Ok((max_output, None)) };
        let limits = turn.limits();
        // At worst a token is two bytes of the request, and all of it is written to the cache.
        let price = price.map(|price| {
            let read = Usage { input_uncached: bytes / 2, ..Usage::default() };
            let written = Usage { cache_write_5m: bytes / 2, ..Usage::default() };
            // An answer to a long call may cost more.
            let million =
                cost(price, &Usage { output: 1_000_000, ..read }).saturating_sub(cost(price, &read));
            (cost(price, &read).max(cost(price, &written)), million)
        });
        let mut wish = Wish { max_output, price };
        let of_turn = Caps { tokens: limits.max_tokens, cost: limits.max_cost };
        let spent = Spent { tokens: turn.usage().total(), cost: turn.cost() };
        wish.max_output = of_turn.room(spent, wish)?;
        let of_session = Caps { tokens: limits.session_max_tokens, cost: limits.session_max_cost };
        wish.max_output = of_session.room(self.spent(), wish)?;
        let of_tree = of_tree(limits);
        if of_tree.is_none() {
            return Ok((wish.max_output, None));
        }
        let (room, hold) =
            self.tree().reserve(&key.session, self.spent(), self.spent_by_children(), of_tree, wish)?;
        Ok((room, Some(hold)))
    }

    /// Tells the tree what was spent here before others spend in it: after a restart nobody else knows.
    pub(super) fn count_in_tree(&self) {
        let limits = self.state.turn.as_ref().map(|turn| &turn.limits);
        if limits.is_some_and(|limits| !of_tree(limits).is_none()) {
            self.tree().count(&self.id, self.spent(), self.spent_by_children());
        }
    }

    /// What this session has spent, by its log, with its children.
    pub(super) fn spent(&self) -> Spent {
        let total = self.state.folded.ledger.total();
        Spent { tokens: total.usage.total(), cost: total.cost() }
    }

    fn tree(&self) -> Arc<Budget> {
        let root = self.state.turn.as_ref().and_then(|turn| turn.tree.clone());
        self.rt.budgets.of(&root.unwrap_or_else(|| self.id.clone()))
    }

    fn spent_by_children(&self) -> impl Iterator<Item = (SessionId, Spent)> {
        let children = self.state.folded.world.children.iter();
        children.map(|(session, child)| (session.clone(), Spent { tokens: child.tokens, cost: child.cost }))
    }

    pub(super) fn is_capped_in_money(&self) -> bool {
        self.state.machine.turn().is_some_and(|turn| {
            let limits = turn.limits();
            [limits.max_cost, limits.session_max_cost, limits.tree_max_cost].iter().any(Option::is_some)
        })
    }
}

fn of_tree(limits: &Limits) -> Caps {
    Caps { tokens: limits.tree_max_tokens, cost: limits.tree_max_cost }
}
