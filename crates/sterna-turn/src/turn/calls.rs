//! The calls of a step: which are due, which wait for an answer, and which are in doubt.

use sterna_model::{
    CallTool, Closed, Effect, EffectClass, EffectKey, EffectKind, InDoubtPolicy, Millis, OnAsk, Ruling,
    StopReason, WaitId, WaitOn, WaitOpened,
};

use super::{Phase, Turn};
use crate::batch::batches;
use crate::call::{CallState, TurnCall, Wake};
use crate::machine::{Next, key_of};

impl Turn {
    pub(crate) fn in_doubt(&mut self, key: &EffectKey, resolution: InDoubtPolicy) -> Result<(), String> {
        let call = self.open_call(key)?;
        let name = call.call.name.clone();
        match resolution {
            InDoubtPolicy::Report | InDoubtPolicy::Rerun => {}
            InDoubtPolicy::Ask => call.doubted = call.started,
            InDoubtPolicy::Stop => self.end(
                StopReason::InDoubt,
                format!("`{name}` was running when Sterna died; whether it finished is not known"),
                None,
            ),
        }
        Ok(())
    }

    pub(crate) fn wait_opened(&mut self, opened: &WaitOpened) -> Result<(), String> {
        let call = self.open_call(&opened.key)?;
        if call.state != CallState::Open {
            return Err(format!("somebody is asked about {} already", opened.key));
        }
        let (approval, effects, child, wake) = match &opened.on {
            WaitOn::Approval(approval) => (true, approval.effects, None, None),
            WaitOn::Plan(_) => (true, None, None, None),
            WaitOn::Questions(_) => (false, None, None, None),
            WaitOn::Child(turn) => (false, None, Some(turn.clone()), None),
            WaitOn::Timer => (false, None, None, Some(Wake::Time)),
            WaitOn::Signal { name } => (false, None, None, Some(Wake::Signal(name.clone()))),
        };
        let (wait, deadline) = (opened.wait.clone(), opened.deadline);
        call.state = CallState::Waiting { wait, approval, effects, deadline, child, wake };
        call.waits += 1;
        call.asked_at = call.started;
        Ok(())
    }

    /// Waits that are open, and when each ends by itself.
    pub fn waits(&self) -> impl Iterator<Item = (&WaitId, Option<Millis>)> {
        self.calls.iter().filter_map(|call| match &call.state {
            CallState::Waiting { wait, deadline, .. } => Some((wait, *deadline)),
            CallState::Open | CallState::Ended => None,
        })
    }

    /// Waits that time or a signal ends: nobody is asked.
    pub fn wakes(&self) -> impl Iterator<Item = (&WaitId, &Wake, Option<Millis>)> {
        self.calls.iter().filter_map(|call| match &call.state {
            CallState::Waiting { wait, wake: Some(wake), deadline, .. } => Some((wait, wake, *deadline)),
            CallState::Waiting { wake: None, .. } | CallState::Open | CallState::Ended => None,
        })
    }

    /// The first wait for this signal. A turn that ends waits for none.
    pub(crate) fn awaits_signal(&self, name: &str) -> Option<&WaitId> {
        let of = |wake: &Wake| matches!(wake, Wake::Signal(of) if of == name);
        let found = self.wakes().find(|(_, wake, _)| !self.is_ending() && of(wake));
        found.map(|(wait, _, _)| wait)
    }

    /// The first answer counts; later ones find no wait.
    pub(crate) fn wait_resolved(&mut self, wait: &WaitId, ruling: &Ruling) {
        let waiting =
            |call: &&mut TurnCall| matches!(&call.state, CallState::Waiting { wait: w, .. } if w == wait);
        let Some(call) = self.calls.iter_mut().find(waiting) else { return };
        // That a call in doubt is not run again refuses nothing.
        let refused_approval = matches!(call.state, CallState::Waiting { approval: true, .. })
            && !call.is_doubted()
            && matches!(ruling, Ruling::Deny { .. } | Ruling::Timeout);
        match (&call.state, ruling) {
            // That a call in doubt is run again is not what policy asks about.
            (CallState::Waiting { approval: true, effects, .. }, Ruling::Allow) if !call.is_doubted() => {
                call.approved = true;
                call.approved_for = *effects;
            }
            // What a person wrote, they have allowed.
            (_, Ruling::Edited(rewrite)) => {
                call.replace(rewrite);
                call.approved = true;
                call.approved_for = rewrite.effects;
            }
            _ => {}
        }
        call.state = CallState::Open;
        call.ruling = Some(ruling.clone());
        let name = call.call.name.clone();
        if refused_approval && self.on_ask == OnAsk::Fail {
            let detail = format!("`{name}` needs an approval, and --on-ask fail stops there");
            self.end(StopReason::Denied, detail, None);
        }
    }

    pub(super) fn run_calls(&self) -> Next {
        let closed = if self.ending.is_some() {
            Some(Closed::Cancelled)
        } else if self.tools_off {
            Some(Closed::ToolsOff)
        } else {
            None
        };
        let classes: Vec<EffectClass> = self.calls.iter().map(|call| call.class).collect();
        let max = self.limits.max_parallel_tools as usize;
        let ended = |i: usize| self.calls[i].state == CallState::Ended;
        // A turn that ends answers all that is open at once.
        let due: Vec<usize> = if closed.is_some() {
            (0..self.calls.len()).filter(|i| !ended(*i)).collect()
        } else {
            self.due(batches(&classes, max)).into_iter().filter(|i| !ended(*i)).collect()
        };
        let mut effects = Vec::with_capacity(due.len());
        let mut waits = Vec::new();
        for i in due {
            let call = &self.calls[i];
            match &call.state {
                CallState::Waiting { wait, .. } if closed.is_none() => waits.push(wait.clone()),
                CallState::Waiting { .. } | CallState::Open => effects.push(Effect::CallTool(CallTool {
                    key: key_of(&self.session, self.number, self.step, EffectKind::Tool, i as u32),
                    call: call.call.clone(),
                    class: call.class,
                    started: call.started,
                    ruling: call.ruling.clone(),
                    approved: call.approved,
                    approved_for: call.approved_for,
                    waits: call.waits,
                    asked: call.started > 0 && call.asked_at == call.started && !call.is_doubted(),
                    doubt_answered: call.ruling.is_some()
                        && call.is_doubted()
                        && call.asked_at == call.started,
                    undoing: call.undoing,
                    changes: call.changes,
                    rewrites: call.rewrites,
                    judging: call.judging.clone(),
                    closed,
                })),
                CallState::Ended => {}
            }
        }
        if effects.is_empty() { Next::Wait(waits) } else { Next::Effects(effects) }
    }

    pub(super) fn open_call(&mut self, key: &EffectKey) -> Result<&mut TurnCall, String> {
        let fits = self.phase == Phase::Tools && key.kind == EffectKind::Tool && key.step == self.step;
        let call =
            self.calls.get_mut(key.ordinal as usize).filter(|call| fits && call.state != CallState::Ended);
        call.ok_or_else(|| format!("no call is open for {key}"))
    }
}
