//! What a turn is reminded of when it begins, and what its calls may do with memory.

use sterna_model::{EventKind, RecalledNote, Seq, TurnNo, TurnStarted, input_text};
use sterna_tool::{MemoryAccess, MemoryPlace};

use super::Driver;

impl Driver {
    /// Notes that fit these inputs. Memory that cannot be read keeps no turn from starting.
    pub(super) async fn remind(&mut self, turn: TurnNo, root: &str, inputs: &[Seq]) -> Vec<RecalledNote> {
        let Some(memory) = self.rt.parts.memory.clone() else { return Vec::new() };
        let texts = inputs.iter().filter_map(|seq| self.state.transcript.input(*seq)).map(input_text);
        let input = texts.collect::<Vec<_>>().join("\n");
        let now = self.rt.parts.env.now();
        // Most sessions have no notes of their own, and need not be read for them.
        let session = self.state.folded.world.has_notes.then(|| self.id.clone());
        let place = MemoryPlace { root: root.to_owned(), session, now };
        match memory.remind(&place, &input).await {
            Ok(notes) => notes,
            Err(error) => {
                let message = format!("nothing was recalled from memory: {error}");
                let kind = EventKind::Warning { code: "memory".into(), message };
                self.shared.hub.say(Some(turn), now, kind);
                Vec::new()
            }
        }
    }

    pub(super) fn memory_access(&self, turn: &TurnStarted) -> Option<MemoryAccess> {
        let memory = self.rt.parts.memory.clone()?;
        let tainted = self.state.transcript.untrusted().into_iter().map(|one| one.origin).collect();
        Some(MemoryAccess { memory, root: turn.root.clone(), tainted })
    }
}
