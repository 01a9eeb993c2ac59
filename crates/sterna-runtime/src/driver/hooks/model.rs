//! What a turn lends to hooks that ask a model.

use std::sync::Mutex;

use sterna_model::{Body, EffectKey, EffectKind, HookIntent, HookRan, HookSays, Spend};
use tokio::sync::oneshot;

use super::Point;
use crate::RuntimeError;
use crate::driver::Driver;
use crate::hooks::{Asked, Asking, FIRST, HookModel, Purpose};

impl Driver {
    /// Asks models under the caps of the turn. `None`: no turn runs that would pay.
    pub(super) fn hook_model(&self, point: &Point) -> Option<HookModel> {
        let (turn, started) = (self.state.machine.turn()?, self.state.turn.as_ref()?);
        let children = self.state.folded.world.children.iter();
        let children = children
            .map(|(session, child)| (session.clone(), Spend { tokens: child.tokens, cost: child.cost }));
        // Occurrences of one step have names of their own, so that what is reserved for them is told apart.
        let place = blake3::hash(point.key.as_bytes());
        let spread = u32::from_le_bytes([place.as_bytes()[0], place.as_bytes()[1], place.as_bytes()[2], 0]);
        Some(HookModel::new(Asking {
            rt: self.rt.clone(),
            session: self.id.clone(),
            tree: self.tree().clone(),
            root: self.root().to_owned(),
            route: self.route(),
            limits: started.limits.clone(),
            in_turn: Spend { tokens: turn.usage().total(), cost: turn.cost() },
            in_session: self.spent(),
            children: children.collect(),
            key: EffectKey {
                session: self.id.clone(),
                turn: turn.number,
                step: point.step,
                kind: EffectKind::Judge,
                ordinal: FIRST + spread * 64,
            },
            leased_until: self.leased_until.clone(),
            secrets: self.secrets.clone(),
            of: Purpose::Hook { key: point.key.clone(), event: point.event, tx: self.tx.clone() },
            state: Mutex::new(Asked::default()),
        }))
    }

    /// A hook is about to ask a model. It is told when that is durable; when it is not, it hears nothing more.
    pub(in crate::driver) async fn hook_asks(
        &mut self,
        intent: Box<HookIntent>,
        durable: oneshot::Sender<()>,
    ) -> Result<bool, RuntimeError> {
        let Some(step) = self.hooking.step_of(&intent.key) else { return Ok(true) };
        let before = self.state.hooks.asking(&intent.key).len();
        let (key, running) = (intent.key.clone(), self.state.machine.turn().map(|turn| turn.number));
        self.stage_at(running, Some(step).filter(|step| *step > 0), Body::HookIntent(intent))?;
        let stands = self.flush().await?;
        if stands && self.state.hooks.asking(&key).len() > before {
            // A hook that was given up meanwhile asks nobody.
            let _ = durable.send(());
        }
        Ok(stands)
    }

    /// Calls of hooks that were given up, or whose answer a crash took: what they may have cost is in the log before the
    /// turn's sum is.
    pub(in crate::driver) fn settle_hooks(&mut self) -> Result<(), RuntimeError> {
        let lost: Vec<HookRan> = (self.state.hooks.unanswered())
            .map(|(key, event, asks)| HookRan {
                key: key.clone(),
                event,
                tool: None,
                input: None,
                hooks: Vec::new(),
                says: HookSays::default(),
                asked: asks.clone(),
            })
            .collect();
        lost.into_iter().try_for_each(|ran| self.stage(Body::HookRan(Box::new(ran))))
    }
}
