//! What the driver has to do with child sessions: carries out what calls want of them, and watches those that calls
//! wait for. A wait for a child is answered from the child's log, so it outlives every process.

use sterna_model::{
    Body, ChildTurn, EffectKey, Given, Limits, Ruling, Seq, ToolOutcome, ToolStatus, WaitId, WaitOn,
};
use sterna_tool::{Cancel, ChildOp};
use sterna_turn::{CallState, Next};

use super::beside::Beside;
use super::{Driver, InFlight, Msg, Stage};
use crate::children::{ChildDone, ChildSeen, Maker};
use crate::effects::tool::unrun;
use crate::{Runtime, RuntimeError};

/// What is known of a child's turn that a call waits for.
pub(super) enum Watched {
    /// It is driven, here or elsewhere.
    Live(tokio::task::AbortHandle),
    /// It waits for somebody who is not here: what its result says, and the head of its log then.
    Parked(String, Seq),
}

impl Driver {
    /// Does what a call wants of a child session, beside the driver.
    pub(super) fn child_op(&mut self, key: EffectKey, op: ChildOp) {
        let Some(turn) = self.state.turn.clone() else { return };
        let depth = self.state.machine.session().and_then(|s| s.spawned.as_ref()).map_or(0, |s| s.depth);
        let maker = Maker {
            key: key.clone(),
            depth,
            left: self.left(&turn.limits),
            turn,
            config: self.config.clone(),
            tainted: self.state.transcript.untrusted().into_iter().map(|one| one.origin).collect(),
        };
        let (rt, tx, sent) = (Runtime(self.rt.clone()), self.tx.clone(), key.clone());
        let task = Beside::spawn(async move {
            let done = rt.see_to_child(maker, op).await;
            let done = done.unwrap_or_else(|error| ChildDone::Refused(error.to_string()));
            // A driver that is gone wants no answer.
            let _ = tx.send(Msg::Child { key: sent, done });
        });
        let flight = InFlight { cancel: Cancel::new(), task, stage: Stage::Running };
        self.inflight.insert(key, flight);
    }

    pub(super) fn child_done(&mut self, key: EffectKey, done: ChildDone) -> Result<(), RuntimeError> {
        let now = self.rt.parts.env.now();
        match done {
            ChildDone::Await(turn, until) => {
                self.stage_wait_until(key, WaitOn::Child(turn), until).map(|_| ())
            }
            ChildDone::Answer { text, facts } => {
                let outcome = ToolOutcome { facts, ..unrun(ToolStatus::Ok, text, now) };
                self.tool_outcome(key, outcome)
            }
            ChildDone::Refused(why) => self.tool_outcome(key, unrun(ToolStatus::Failed, why, now)),
        }
    }

    /// Drives and watches children: those that open calls wait for, and those in the background.
    pub(super) fn watch_children(&mut self) {
        if self.draining {
            return;
        }
        self.watch_background();
        let Some(turn) = self.state.machine.turn().filter(|turn| !turn.is_ending()) else { return };
        let waits: Vec<_> = turn
            .children()
            .filter(|(wait, child)| match self.watched.get(*wait) {
                None => true,
                Some(Watched::Live(_)) => false,
                // Its question was answered here, and it goes on.
                Some(Watched::Parked(..)) => self.rt.shared(&child.session).is_driven(),
            })
            .map(|(wait, child)| (wait.clone(), child.clone()))
            .collect();
        for (wait, child) in waits {
            let (rt, tx, of) = (Runtime(self.rt.clone()), self.tx.clone(), wait.clone());
            let (maker, config) = (self.shared.clone(), self.config.clone());
            let task = tokio::spawn(async move {
                let seen = rt.drive_child(&maker, &child, config).await;
                // A driver that is gone leaves the wait to the next.
                let _ = tx.send(Msg::ChildTurn { wait: of, seen });
            });
            self.watched.insert(wait, Watched::Live(task.abort_handle()));
        }
    }

    /// Those in the background are seen to once in a turn: one that waits for a person then waits on.
    fn watch_background(&mut self) {
        let children = self.state.folded.world.children.values();
        let at_work = children.filter(|child| child.last.background && child.end.is_none());
        let turns: Vec<ChildTurn> = at_work.map(|child| child.last.turn.clone()).collect();
        for turn in turns {
            if !self.seen_to.insert((turn.session.clone(), turn.input)) {
                continue;
            }
            let config = match &self.state.turn {
                Some(turn) => self.config.with(Given { guest: None, ..turn.given.clone() }),
                None => self.config.clone(),
            };
            self.rt.await_in_background(&self.shared, &turn, &config);
        }
    }

    pub(super) fn child_seen(&mut self, wait: WaitId, seen: ChildSeen) -> Result<(), RuntimeError> {
        let open = self.state.machine.turn().is_some_and(|turn| turn.waits().any(|(open, _)| *open == wait));
        match seen {
            ChildSeen::Parked(message, head) => {
                drop(self.watched.insert(wait, Watched::Parked(message, head)));
            }
            ChildSeen::Ended(_) if !open => drop(self.watched.remove(&wait)),
            ChildSeen::Ended(end) => {
                self.watched.remove(&wait);
                let by = "child".into();
                self.stage(Body::WaitResolved { wait, ruling: Ruling::Ended(end), by, early: false })?;
            }
        }
        Ok(())
    }

    /// A parked child whose log has moved was answered by another process: it is watched again. Looked at as often as our
    /// own log is.
    pub(super) async fn look_at_parked(&mut self) -> Result<(), RuntimeError> {
        let Some(turn) = self.state.machine.turn().filter(|turn| !turn.is_ending()) else { return Ok(()) };
        let parked: Vec<(WaitId, ChildTurn, Seq)> = turn
            .children()
            .filter_map(|(wait, child)| match self.watched.get(wait) {
                Some(Watched::Parked(_, head)) => Some((wait.clone(), child.clone(), *head)),
                Some(Watched::Live(_)) | None => None,
            })
            .collect();
        for (wait, child, head) in parked {
            if self.rt.parts.log.head(&child.session).await.is_ok_and(|now| now.seq != head) {
                self.watched.remove(&wait);
            }
        }
        Ok(())
    }

    /// Some child that a call waits for is under way.
    pub(super) fn awaits_children(&self) -> bool {
        self.watched.values().any(|watched| matches!(watched, Watched::Live(_)))
    }

    pub(super) fn unwatch_children(&mut self) {
        self.watched.retain(|_, watched| match watched {
            Watched::Live(task) => {
                task.abort();
                false
            }
            // What it is told with stays.
            Watched::Parked(..) => true,
        });
    }

    /// A call is about to be answered without being run: a child that it waits for is not waited for any more, and is
    /// told to stop before the call's end says so.
    pub(super) async fn cancel_awaited(&mut self, key: &EffectKey) {
        let waiting = self.call(key).and_then(|call| match &call.state {
            CallState::Waiting { wait, child: Some(child), .. } => {
                Some((wait.clone(), child.session.clone()))
            }
            CallState::Waiting { child: None, .. } | CallState::Open | CallState::Ended => None,
        });
        let Some((wait, child)) = waiting else { return };
        if let Some(Watched::Live(task)) = self.watched.remove(&wait) {
            task.abort();
        }
        let rt = Runtime(self.rt.clone());
        // A child that is gone, or whose log cannot be written, keeps nobody from stopping.
        if rt.stop_child(&child, "the turn that waits for it was stopped").await.is_ok_and(|stops| stops) {
            let shared = self.rt.shared(&child);
            if !shared.is_driven() {
                // It was parked: somebody has to end its turn.
                self.rt.spawn(&shared, None, self.config.clone(), None);
            }
        }
    }

    /// What the turn that is parked now waits for, for people.
    pub(super) fn parked_on(&self) -> String {
        match self.state.machine.next() {
            Next::Wait(waits) => format!("waits for {}", self.waited_for(waits)),
            Next::Idle | Next::Start { .. } | Next::Effects(_) | Next::Done(_) => "waits".to_owned(),
        }
    }

    /// The same of these waits: a child's own where that is what it is.
    fn waited_for(&self, waits: Vec<WaitId>) -> String {
        let said = |wait: &WaitId| match self.watched.get(wait) {
            Some(Watched::Parked(message, _)) => format!("an agent, which {message}"),
            Some(Watched::Live(_)) | None => self.waits_to_wake(wait).unwrap_or_else(|| wait.clone()),
        };
        waits.iter().map(said).collect::<Vec<_>>().join(", ")
    }

    /// The turn's bounds, less what it has used up.
    fn left(&self, limits: &Limits) -> Limits {
        let turn = self.state.machine.turn();
        let (tokens, cost) = turn.map_or((0, Some(0)), |turn| (turn.usage().total(), turn.cost()));
        let now = self.rt.parts.env.now();
        let until = turn.and_then(|turn| turn.deadline());
        Limits {
            max_tokens: limits.max_tokens.map(|cap| cap.saturating_sub(tokens)),
            max_cost: limits.max_cost.map(|cap| cap.saturating_sub(cost.unwrap_or(cap))),
            deadline: until.map(|at| at.saturating_sub(now)),
            // What a turn is to use up is for the turn itself.
            turn_tokens: None,
            ..limits.clone()
        }
    }
}
