//! What the sessions of a tree have spent and reserved, as the tree's own log says it: the order of its records decides
//! who gets what is left.

use std::collections::BTreeMap;

use sterna_model::{
    BudgetChange, EffectKey, Millis, SessionId, Spend, SpendCaps, SpendWish, StopReason, TurnNo,
};

/// A tree's sums. Every reader of the log comes to the same ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TreeBudget {
    spent: BTreeMap<SessionId, Spend>,
    /// What of a session's is in the sum of the one that made it already.
    counted: BTreeMap<SessionId, Spend>,
    held: BTreeMap<EffectKey, Held>,
}

/// What is reserved for a call that is under way.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Held {
    /// The attempt that was asked for, and when.
    attempt: u32,
    at: Millis,
    /// What it costs at worst.
    worst: Spend,
}

impl TreeBudget {
    /// Folds a record that was written at `at`. For one that asks: the tokens that its call may write, or the cap that
    /// leaves too few.
    pub fn apply(&mut self, at: Millis, change: &BudgetChange) -> Option<Result<u32, StopReason>> {
        // Whoever made such a call is gone: no step of its session comes that would take its place.
        self.held.retain(|key, held| key.turn != BESIDE_TURNS || at.saturating_sub(held.at) < BESIDE_MS);
        match change {
            BudgetChange::Settled { key, attempt, spent } => {
                self.say(&key.session, *spent);
                // A later one may have been asked for in between.
                self.held.retain(|of, held| of != key || held.attempt > *attempt);
                None
            }
            BudgetChange::Asked { key, attempt, spent, children, caps, wish } => {
                self.say(&key.session, *spent);
                self.counted.extend(children.iter().map(|(child, spent)| (child.clone(), *spent)));
                // The steps of a session follow one another: what it asked for in those before is over.
                self.held.retain(|held, _| held.session != key.session || is_beside(held, key));
                let fits = room(caps, self.sum(), wish);
                if let Ok(room) = fits {
                    self.held.insert(key.clone(), Held { attempt: *attempt, at, worst: worst(wish, room) });
                }
                Some(fits)
            }
        }
    }

    /// Calls for which something is reserved, and the attempt that was asked for.
    pub fn held(&self) -> impl Iterator<Item = (&EffectKey, u32)> {
        self.held.iter().map(|(key, held)| (key, held.attempt))
    }

    /// What is spent or reserved in all.
    pub fn sum(&self) -> Spend {
        let own = self.spent.iter().map(|(session, spent)| match self.counted.get(session) {
            Some(counted) => less(*spent, *counted),
            None => *spent,
        });
        let all = own.chain(self.held.values().map(|held| held.worst));
        all.fold(Spend { tokens: 0, cost: Some(0) }, |sum, one| Spend {
            tokens: sum.tokens.saturating_add(one.tokens),
            cost: sum.cost.zip(one.cost).map(|(a, b)| a.saturating_add(b)),
        })
    }

    /// What was spent does not become less: whoever says so has been overtaken.
    fn say(&mut self, session: &SessionId, spent: Spend) {
        let known = self.spent.entry(session.clone()).or_insert(spent);
        known.tokens = known.tokens.max(spent.tokens);
        known.cost = known.cost.zip(spent.cost).map(|(a, b)| a.max(b));
    }
}

/// How many tokens of a wish fit beside what is spent. An error names the cap that leaves too few.
pub fn room(caps: &SpendCaps, spent: Spend, wish: &SpendWish) -> Result<u32, StopReason> {
    let least = wish.least.max(1);
    let mut room = wish.max_output;
    if let Some(cap) = caps.tokens {
        let left = cap.saturating_sub(spent.tokens);
        room = room.min(u32::try_from(left).unwrap_or(u32::MAX));
        if room < least {
            return Err(StopReason::BudgetTokens);
        }
    }
    if let Some(cap) = caps.cost {
        // Where a price is not known, no cap can hold.
        let (Some(spent), Some(price)) = (spent.cost, wish.price) else {
            return Err(StopReason::BudgetCost);
        };
        let left = cap.checked_sub(spent).and_then(|left| left.checked_sub(price.input));
        let left = left.ok_or(StopReason::BudgetCost)?;
        let tokens = u128::from(left) * 1_000_000 / u128::from(price.million.max(1));
        room = room.min(u32::try_from(tokens).unwrap_or(u32::MAX));
        if room < least {
            return Err(StopReason::BudgetCost);
        }
    }
    Ok(room)
}

/// What a call costs at worst with an answer of this many tokens.
fn worst(wish: &SpendWish, output: u32) -> Spend {
    let cost = wish.price.map(|price| {
        let written = (u128::from(output) * u128::from(price.million)).div_ceil(1_000_000);
        price.input.saturating_add(u64::try_from(written).unwrap_or(u64::MAX))
    });
    Spend { tokens: u64::from(output), cost }
}

fn less(all: Spend, counted: Spend) -> Spend {
    Spend {
        tokens: all.tokens.saturating_sub(counted.tokens),
        cost: all.cost.zip(counted.cost).map(|(all, counted)| all.saturating_sub(counted)),
    }
}

/// Another call of the same step, or of a later one.
fn is_beside(held: &EffectKey, key: &EffectKey) -> bool {
    held != key && (held.turn, held.step) >= (key.turn, key.step)
}

/// The turn in the key of a call that stands beside all turns of its session, such as one for a title.
pub const BESIDE_TURNS: TurnNo = TurnNo::MAX;
/// Milliseconds after which nothing is reserved any more for a call beside all turns: twice what one may take.
pub const BESIDE_MS: Millis = 60_000;

#[cfg(test)]
mod tests {
    use sterna_model::{EffectKind, WorstPrice};

    use super::*;

    fn wish(max_output: u32) -> SpendWish {
        // 10 nano-dollars to read, 1,000 a token to write.
        SpendWish { max_output, least: 1, price: Some(WorstPrice { input: 10, million: 1_000_000_000 }) }
    }

    fn spent(tokens: u64, cost: u64) -> Spend {
        Spend { tokens, cost: Some(cost) }
    }

    fn call(session: &str, step: u32) -> EffectKey {
        EffectKey {
            session: SessionId::new(session).unwrap(),
            turn: 1,
            step,
            kind: EffectKind::Model,
            ordinal: 0,
        }
    }

    fn ask(key: EffectKey, spent: Spend, cap: u64, wish: SpendWish) -> BudgetChange {
        let caps = SpendCaps { tokens: None, cost: Some(cap) };
        BudgetChange::Asked { key, attempt: 1, spent, children: BTreeMap::new(), caps, wish }
    }

    #[test]
    fn a_cap_leaves_what_is_left() {
        let money = SpendCaps { tokens: None, cost: Some(5_010) };
        let unpriced = SpendWish { price: None, ..wish(8) };
        for (caps, spent, wish, expected) in [
            (SpendCaps::default(), spent(9, 9), wish(8), Ok(8)),
            (money, spent(0, 0), wish(8), Ok(5)),
            (money, spent(0, 3_500), wish(8), Ok(1)),
            (money, spent(0, 3_500), SpendWish { least: 2, ..wish(8) }, Err(StopReason::BudgetCost)),
            (money, spent(0, 4_001), wish(8), Err(StopReason::BudgetCost)),
            (money, spent(0, 9_999), wish(8), Err(StopReason::BudgetCost)),
            (money, Spend { tokens: 0, cost: None }, wish(8), Err(StopReason::BudgetCost)),
            (money, spent(0, 0), unpriced, Err(StopReason::BudgetCost)),
            (SpendCaps { tokens: Some(10), cost: None }, spent(7, 0), wish(8), Ok(3)),
            (
                SpendCaps { tokens: Some(10), cost: None },
                spent(10, 0),
                wish(8),
                Err(StopReason::BudgetTokens),
            ),
        ] {
            assert_eq!(room(&caps, spent, &wish), expected, "{caps:?} {spent:?} {wish:?}");
        }
    }

    #[test]
    fn what_is_reserved_is_not_there_for_others_until_it_is_given_back() {
        let mut tree = TreeBudget::default();
        assert_eq!(tree.apply(1, &ask(call("a", 1), spent(0, 0), 10_000, wish(6))), Some(Ok(6)));
        // 10,000 - 6,010 - 10 to read: 3 tokens.
        assert_eq!(tree.apply(1, &ask(call("b", 1), spent(0, 0), 10_000, wish(6))), Some(Ok(3)));
        assert_eq!(
            tree.apply(1, &BudgetChange::Settled { key: call("b", 1), attempt: 1, spent: spent(0, 0) }),
            None
        );
        // It cost 1,010 in the end.
        tree.apply(1, &BudgetChange::Settled { key: call("a", 1), attempt: 1, spent: spent(1, 1_010) });
        assert_eq!(tree.apply(1, &ask(call("b", 1), spent(0, 0), 10_000, wish(100))), Some(Ok(8)));
        // Nothing is held for whoever got nothing.
        let refused = tree.apply(1, &ask(call("c", 1), spent(0, 0), 10_000, wish(1)));
        assert_eq!(refused, Some(Err(StopReason::BudgetCost)));
        assert_eq!(tree.held().collect::<Vec<_>>(), [(&call("b", 1), 1)]);
    }

    #[test]
    fn the_steps_of_a_session_follow_one_another() {
        let mut tree = TreeBudget::default();
        tree.apply(1, &ask(call("a", 1), spent(0, 0), 100_000, wish(6)));
        tree.apply(1, &ask(call("a", 2), spent(0, 0), 100_000, wish(5)));
        tree.apply(1, &ask(call("a", 2), spent(0, 0), 100_000, wish(4)));
        assert_eq!(tree.sum(), spent(4, 4_010));
        // Calls of one step stand beside each other.
        let beside = EffectKey { ordinal: 1, ..call("a", 2) };
        tree.apply(1, &ask(beside.clone(), spent(0, 0), 100_000, wish(1)));
        assert_eq!(tree.sum(), spent(5, 5_020));
        tree.apply(1, &BudgetChange::Settled { key: beside, attempt: 1, spent: spent(0, 0) });
        // Somebody who was overtaken says less, and asks for what is over.
        tree.apply(1, &BudgetChange::Settled { key: call("a", 1), attempt: 1, spent: spent(9, 9_000) });
        tree.apply(1, &BudgetChange::Settled { key: call("a", 1), attempt: 1, spent: spent(1, 1_000) });
        assert_eq!(tree.sum(), spent(13, 13_010));
    }

    #[test]
    fn an_attempt_that_is_over_does_not_free_what_the_next_one_holds() {
        let mut tree = TreeBudget::default();
        let again = |attempt| {
            let BudgetChange::Asked { key, spent, children, caps, wish, .. } =
                ask(call("a", 1), spent(0, 0), 100_000, wish(6))
            else {
                unreachable!()
            };
            BudgetChange::Asked { key, attempt, spent, children, caps, wish }
        };
        tree.apply(1, &again(1));
        tree.apply(1, &again(2));
        // Somebody found the first one over, and says so late.
        tree.apply(1, &BudgetChange::Settled { key: call("a", 1), attempt: 1, spent: spent(2, 2_000) });
        assert_eq!(tree.held().collect::<Vec<_>>(), [(&call("a", 1), 2)]);
        assert_eq!(tree.sum(), spent(8, 8_010));
    }

    /// Nobody gives back what a process held that died in the call.
    #[test]
    fn what_a_call_beside_all_turns_holds_is_free_when_its_time_is_over() {
        let beside = EffectKey { turn: BESIDE_TURNS, ..call("a", 0) };
        let mut tree = TreeBudget::default();
        tree.apply(1_000, &ask(beside.clone(), spent(0, 0), 100_000, wish(6)));
        // The steps of its session take its place as little as those of others.
        for (at, session, wanted) in
            [(1_000, "a", 2), (500, "b", 3), (1_000 + BESIDE_MS - 1, "a", 3), (1_000 + BESIDE_MS, "a", 2)]
        {
            tree.apply(at, &ask(call(session, 1), spent(0, 0), 100_000, wish(1)));
            assert_eq!(tree.held().count(), wanted, "{at} {session}");
        }
        assert_eq!(tree.sum(), spent(2, 2_020));
        // A call of a turn holds what it holds, however long it takes.
        assert!(tree.held().all(|(key, _)| *key != beside));
    }

    #[test]
    fn what_a_maker_counts_of_a_child_is_counted_once() {
        let mut tree = TreeBudget::default();
        let cap = 10_010;
        tree.apply(1, &ask(call("child", 1), spent(0, 0), cap, wish(4)));
        tree.apply(1, &BudgetChange::Settled { key: call("child", 1), attempt: 1, spent: spent(4, 4_000) });
        // Its end is not in the maker's log yet, and counts.
        assert_eq!(tree.apply(1, &ask(call("maker", 1), spent(0, 0), cap, wish(100))), Some(Ok(6)));
        // It is: 4,000 of the maker's 5,000.
        let BudgetChange::Asked { key, attempt, spent, caps, wish, .. } =
            ask(call("maker", 2), spent(5, 5_000), cap, wish(100))
        else {
            unreachable!()
        };
        let counted = Spend { tokens: 4, cost: Some(4_000) };
        let children = BTreeMap::from([(call("child", 1).session, counted)]);
        let asked = BudgetChange::Asked { key, attempt, spent, children, caps, wish };
        assert_eq!(tree.apply(1, &asked), Some(Ok(5)));
        // Its maker's log counts it also where nothing else is known of the child.
        assert_eq!(TreeBudget::default().apply(1, &asked), Some(Ok(5)));
    }
}
