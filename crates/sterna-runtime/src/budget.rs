//! What the sessions of one tree may still spend: reserved before a call at its worst, settled after it.
//!
//! A tree is a session and all that descend from it. What each has spent is in its own log; this holds the sums that
//! this process knows, and what is under way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sterna_model::{NanoUsd, SessionId, StopReason};

/// What is spent or reserved. `cost` is `None` when a price is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent {
    pub tokens: u64,
    pub cost: Option<NanoUsd>,
}

/// The most that may be spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Caps {
    pub tokens: Option<u64>,
    pub cost: Option<NanoUsd>,
}

/// A call that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Tokens that the model may write at most.
    pub max_output: u32,
    /// What reading the request costs at worst, and a million tokens of the answer. `None`: nobody knows.
    pub price: Option<(NanoUsd, NanoUsd)>,
}

/// The budgets of all trees that this process works for.
#[derive(Default)]
pub(crate) struct Budgets(Mutex<HashMap<SessionId, Arc<Budget>>>);

/// One tree's.
#[derive(Default)]
pub(crate) struct Budget(Mutex<Tree>);

#[derive(Default)]
struct Tree {
    spent: BTreeMap<SessionId, Spent>,
    /// What of a session's is in the sum of the one that made it already.
    counted: BTreeMap<SessionId, Spent>,
    held: BTreeMap<u64, Spent>,
    last: u64,
}

impl Tree {
    fn count(&mut self, session: &SessionId, own: Spent, children: impl Iterator<Item = (SessionId, Spent)>) {
        self.spent.insert(session.clone(), own);
        self.counted.extend(children);
    }
}

/// A reservation. Dropping it gives it back.
pub(crate) struct Hold {
    budget: Arc<Budget>,
    id: u64,
}

impl Caps {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// How much of a wish fits beside what is spent. An error names the cap that leaves nothing.
    pub fn room(&self, spent: Spent, wish: Wish) -> Result<u32, StopReason> {
        let mut room = wish.max_output;
        if let Some(cap) = self.tokens {
            let left = cap.saturating_sub(spent.tokens);
            room = room.min(u32::try_from(left).unwrap_or(u32::MAX));
            if room == 0 {
                return Err(StopReason::BudgetTokens);
            }
        }
        if let Some(cap) = self.cost {
            // Where a price is not known, no cap can hold.
            let (Some(spent), Some((input, million))) = (spent.cost, wish.price) else {
                return Err(StopReason::BudgetCost);
            };
            let left = cap.checked_sub(spent).and_then(|left| left.checked_sub(input));
            let left = left.ok_or(StopReason::BudgetCost)?;
            let tokens = u128::from(left) * 1_000_000 / u128::from(million.max(1));
            room = room.min(u32::try_from(tokens).unwrap_or(u32::MAX));
            if room == 0 {
                return Err(StopReason::BudgetCost);
            }
        }
        Ok(room)
    }
}

impl Spent {
    fn less(self, counted: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(counted.tokens),
            cost: self.cost.zip(counted.cost).map(|(all, counted)| all.saturating_sub(counted)),
        }
    }
}

impl Wish {
    /// What it costs at worst with an answer of this many tokens.
    fn worst(&self, output: u32) -> Spent {
        let cost = self.price.map(|(input, million)| {
            let written = (u128::from(output) * u128::from(million)).div_ceil(1_000_000);
            input.saturating_add(NanoUsd::try_from(written).unwrap_or(NanoUsd::MAX))
        });
        Spent { tokens: u64::from(output), cost }
    }
}

impl Budgets {
    pub fn of(&self, root: &SessionId) -> Arc<Budget> {
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.entry(root.clone()).or_default().clone()
    }
}

impl Budget {
    /// What the session's log says that it and its `children` have spent counts, though it reserves nothing itself.
    pub fn count(&self, session: &SessionId, own: Spent, children: impl Iterator<Item = (SessionId, Spent)>) {
        self.lock().count(session, own, children);
    }

    /// Reserves what fits. `own`: what the session's log says that it has spent, with what `children` spent of it.
    pub fn reserve(
        self: &Arc<Self>,
        session: &SessionId,
        own: Spent,
        children: impl Iterator<Item = (SessionId, Spent)>,
        caps: Caps,
        wish: Wish,
    ) -> Result<(u32, Hold), StopReason> {
        let mut tree = self.lock();
        tree.count(session, own, children);
        let mine = tree.spent.iter().map(|(session, spent)| match tree.counted.get(session) {
            Some(counted) => spent.less(*counted),
            None => *spent,
        });
        let all = mine.chain(tree.held.values().copied());
        let sum = all.fold(Spent { tokens: 0, cost: Some(0) }, |sum, one| Spent {
            tokens: sum.tokens.saturating_add(one.tokens),
            cost: sum.cost.zip(one.cost).map(|(a, b)| a.saturating_add(b)),
        });
        let room = caps.room(sum, wish)?;
        tree.last += 1;
        let id = tree.last;
        tree.held.insert(id, wish.worst(room));
        Ok((room, Hold { budget: self.clone(), id }))
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// The call is over, and the session's log says what it has spent with it.
    pub fn settle(self, session: &SessionId, own: Spent) {
        let mut tree = self.budget.lock();
        tree.spent.insert(session.clone(), own);
        tree.held.remove(&self.id);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.budget.lock().held.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(max_output: u32) -> Wish {
        // 10 nano-dollars to read, 1,000 a token to write.
        Wish { max_output, price: Some((10, 1_000_000_000)) }
    }

    fn spent(tokens: u64, cost: u64) -> Spent {
        Spent { tokens, cost: Some(cost) }
    }

    #[test]
    fn a_cap_leaves_what_is_left() {
        let money = Caps { tokens: None, cost: Some(5_010) };
        for (caps, spent, wish, expected) in [
            (Caps::default(), spent(9, 9), wish(8), Ok(8)),
            (money, spent(0, 0), wish(8), Ok(5)),
            (money, spent(0, 3_500), wish(8), Ok(1)),
            (money, spent(0, 4_001), wish(8), Err(StopReason::BudgetCost)),
            (money, spent(0, 9_999), wish(8), Err(StopReason::BudgetCost)),
            (money, Spent { tokens: 0, cost: None }, wish(8), Err(StopReason::BudgetCost)),
            (money, spent(0, 0), Wish { max_output: 8, price: None }, Err(StopReason::BudgetCost)),
            (Caps { tokens: Some(10), cost: None }, spent(7, 0), wish(8), Ok(3)),
            (Caps { tokens: Some(10), cost: None }, spent(10, 0), wish(8), Err(StopReason::BudgetTokens)),
        ] {
            assert_eq!(caps.room(spent, wish), expected, "{caps:?} {spent:?} {wish:?}");
        }
    }

    #[test]
    fn what_is_reserved_is_not_there_for_others_until_it_is_given_back() {
        let budget = Budgets::default().of(&SessionId::new("root").unwrap());
        let (a, b) = (SessionId::new("a").unwrap(), SessionId::new("b").unwrap());
        let caps = Caps { tokens: None, cost: Some(10_000) };
        let (room, held) = budget.reserve(&a, spent(0, 0), std::iter::empty(), caps, wish(6)).unwrap();
        assert_eq!(room, 6);
        // 10,000 - 6,010 - 10 to read: 3 tokens.
        let (room, other) = budget.reserve(&b, spent(0, 0), std::iter::empty(), caps, wish(6)).unwrap();
        assert_eq!(room, 3);
        drop(other);
        // It cost 1,010 in the end.
        held.settle(&a, spent(1, 1_010));
        let (room, _held) = budget.reserve(&b, spent(0, 0), std::iter::empty(), caps, wish(100)).unwrap();
        assert_eq!(room, 8);
    }

    #[test]
    fn what_a_maker_counts_of_a_child_is_counted_once() {
        let budget = Budgets::default().of(&SessionId::new("root").unwrap());
        let (maker, child) = (SessionId::new("maker").unwrap(), SessionId::new("child").unwrap());
        let caps = Caps { tokens: None, cost: Some(10_010) };
        let none = std::iter::empty;
        let (_, held) = budget.reserve(&child, spent(0, 0), none(), caps, wish(4)).unwrap();
        held.settle(&child, spent(4, 4_000));
        // Its end is not in the maker's log yet, and counts.
        assert_eq!(budget.reserve(&maker, spent(0, 0), none(), caps, wish(100)).unwrap().0, 6);
        // It is: 4,000 of the maker's 5,000.
        let counted = || std::iter::once((child.clone(), spent(4, 4_000)));
        assert_eq!(budget.reserve(&maker, spent(5, 5_000), counted(), caps, wish(100)).unwrap().0, 5);
        // After a restart nobody knows the child, and its maker's log counts it.
        let budget = Budgets::default().of(&SessionId::new("root").unwrap());
        assert_eq!(budget.reserve(&maker, spent(5, 5_000), counted(), caps, wish(100)).unwrap().0, 5);
    }
}
