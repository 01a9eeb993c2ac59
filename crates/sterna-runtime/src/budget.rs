//! Caps of trees: reserved before a call at its worst, settled after it, by whichever process drives the session.
//!
//! A tree is a session and all that descend from it. Reservations are records of the tree's own log, and their order
//! decides: nobody has to be asked, and no process knows more than another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sterna_log::fold::TreeBudget;
use sterna_log::{LogError, SharedLog, append_reserved, tree_log};
use sterna_model::{Body, BudgetChange, Draft, EffectKey, Seq, SessionId, Spend, StopReason};

use crate::state::for_each_record;
use crate::{Env, Parts, RuntimeError, State};

/// The budgets of all trees that this process works for, as far as their logs were read.
#[derive(Default)]
pub(crate) struct Budgets(Mutex<HashMap<SessionId, Arc<Budget>>>);

/// One tree's.
pub(crate) struct Budget {
    log: SessionId,
    read: tokio::sync::Mutex<Read>,
}

#[derive(Default)]
struct Read {
    fold: TreeBudget,
    /// The last record that is folded.
    head: Seq,
}

impl Budgets {
    pub fn of(&self, root: &SessionId) -> Arc<Budget> {
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = budgets.entry(root.clone());
        budget.or_insert_with(|| Arc::new(Budget { log: tree_log(root), read: Default::default() })).clone()
    }
}

impl Budget {
    /// Reserves what fits of what is asked for: how many tokens the call may write, or the cap that leaves too few.
    ///
    /// Where too little is left, it looks first whether calls that others reserved for are over: whoever is killed
    /// between a call's outcome and its settlement leaves that to others.
    pub async fn ask(
        &self,
        parts: &Parts,
        root: &str,
        asked: BudgetChange,
        wished: u32,
    ) -> Result<Result<u32, StopReason>, RuntimeError> {
        let mut read = self.read.lock().await;
        let answer = self.append(&mut read, parts, root, &asked).await?;
        if answer == Ok(wished) {
            return Ok(answer);
        }
        let mut settled = false;
        let held: Vec<(EffectKey, u32)> =
            read.fold.held().map(|(key, attempt)| (key.clone(), attempt)).collect();
        for (key, attempt) in held.into_iter().filter(|(key, _)| key.session != asked.key().session) {
            if let Some(spent) = spent_if_over(&parts.log, &key, attempt).await? {
                let change = BudgetChange::Settled { key, attempt, spent };
                let _ = self.append(&mut read, parts, root, &change).await?;
                settled = true;
            }
        }
        if settled { self.append(&mut read, parts, root, &asked).await } else { Ok(answer) }
    }

    /// This attempt of a call is over, or is not made.
    pub async fn settle(
        &self,
        parts: &Parts,
        root: &str,
        key: EffectKey,
        attempt: u32,
        spent: Spend,
    ) -> Result<(), RuntimeError> {
        let mut read = self.read.lock().await;
        let change = BudgetChange::Settled { key, attempt, spent };
        let _ = self.append(&mut read, parts, root, &change).await?;
        Ok(())
    }

    /// Appends, and reads what others appended before it. What it decided, for one that asks.
    async fn append(
        &self,
        read: &mut Read,
        parts: &Parts,
        root: &str,
        change: &BudgetChange,
    ) -> Result<Result<u32, StopReason>, RuntimeError> {
        let env: &dyn Env = &*parts.env;
        let once = format!("once:{}", env.new_session_id());
        let body = Body::Budget(Box::new(change.clone()));
        let draft = Draft { at: env.now(), turn: None, step: None, body };
        let receipt = append_reserved(&*parts.log, &self.log, root, &once, draft).await?;
        let mut answer = Ok(0);
        while read.head < receipt.last {
            let page = parts.log.read(&self.log, read.head + 1, PAGE).await?;
            let Some(last) = page.last() else {
                return Err(LogError::NotFound(self.log.clone()).into());
            };
            read.head = last.record.seq;
            for sealed in &page {
                if let Body::Budget(change) = &sealed.record.body {
                    let decided = read.fold.apply(sealed.record.at, change);
                    if let (Some(decided), true) = (decided, sealed.record.seq == receipt.last) {
                        answer = decided;
                    }
                }
            }
        }
        Ok(answer)
    }
}

/// What a session has spent by its own log, if this call of it is over there. `None`: it may be under way.
async fn spent_if_over(
    log: &SharedLog,
    key: &EffectKey,
    attempt: u32,
) -> Result<Option<Spend>, RuntimeError> {
    let mut over = false;
    let read = for_each_record(log, &key.session, |_, sealed| {
        over |= match &sealed.record.body {
            Body::Outcome(outcome) => outcome.key == *key,
            Body::Attempt(failed) => failed.key == *key && failed.attempt >= attempt,
            Body::TurnCommitted(_) => sealed.record.turn == Some(key.turn),
            _ => false,
        };
        Ok(())
    });
    match read.await {
        Ok(()) => {}
        // What it spent was said with what it asked for.
        Err(LogError::NotFound(_) | LogError::Tombstone(_)) => {
            return Ok(Some(Spend { tokens: 0, cost: Some(0) }));
        }
        Err(error) => return Err(error.into()),
    }
    if !over {
        return Ok(None);
    }
    let state = State::load(log, &key.session).await?;
    let total = state.folded.ledger.total();
    Ok(Some(Spend { tokens: total.usage.total(), cost: total.cost() }))
}

const PAGE: usize = 256;
