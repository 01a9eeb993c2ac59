//! What a turn lends to hooks that ask a model.

use std::sync::Mutex;

use sterna_model::{EffectKey, EffectKind, Spend};

use super::Point;
use crate::driver::Driver;
use crate::hooks::{Asked, Asking, FIRST, HookModel};

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
            state: Mutex::new(Asked::default()),
        }))
    }
}
