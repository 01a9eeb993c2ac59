//! Frames: a session that goes on in a fresh window. A call asks for one, the step ends, and one record opens it.

use serde_json::{Map, Value};
use sterna_context::fresh_window;
use sterna_model::{CompactTrigger, Digest, EffectKey, Fact, Frame, ToolOutcome, ToolStatus};

use super::Driver;
use crate::RuntimeError;
use crate::effects::tool::unrun;

impl Driver {
    /// A call asks for a fresh window: it opens when the step is over.
    pub(super) fn continue_as(
        &mut self,
        key: EffectKey,
        task: String,
        seed: Map<String, Value>,
    ) -> Result<(), RuntimeError> {
        let now = self.rt.parts.env.now();
        let Some(turn) = self.state.machine.turn() else { return Ok(()) };
        let refused = if turn.awaits_frame() {
            Some("another call of this answer goes on in a fresh window already".to_owned())
        } else if turn.frames() >= MAX_FRAMES {
            Some(format!(
                "frame_limit: this turn went on in {MAX_FRAMES} windows, which is all it may; end it"
            ))
        } else {
            None
        };
        if let Some(why) = refused {
            return self.tool_outcome(key, unrun(ToolStatus::Failed, why, now));
        }
        let id = frame_id(&key, self.state.transcript.frame().map(|frame| &frame.id));
        let text = "the next request is the first of a fresh window".to_owned();
        let facts = vec![Fact::Continued(Box::new(Frame { id, task, seed }))];
        self.tool_outcome(key, ToolOutcome { facts, ..unrun(ToolStatus::Ok, text, now) })
    }

    /// Opens the window that a call of the last step asked for.
    pub(super) async fn open_frame(&mut self, frame: Frame) -> Result<bool, RuntimeError> {
        let (load, entries) = self.measured().await?;
        let change = fresh_window(&entries, &load, frame);
        self.stage_change(change, CompactTrigger::Continue, None, &load, None)?;
        Ok(true)
    }
}

/// A window's name: of its session, the window before it, and the call.
fn frame_id(call: &EffectKey, before: Option<&Digest>) -> Digest {
    let lineage = before.map_or_else(|| "-".to_owned(), Digest::to_string);
    Digest(*blake3::hash(format!("{}\n{lineage}\n{call}", call.session).as_bytes()).as_bytes())
}

/// Windows that a turn may go on in (design: `max_frames_per_turn`).
const MAX_FRAMES: u32 = 16;
