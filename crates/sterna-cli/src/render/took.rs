//! How long calls took, also those that are over when somebody else is done.

use std::collections::HashMap;

use sterna_model::{Event, EventKind, Millis};

/// Hears the events of a session in their order. A call that an agent does, or that waits for a time or a signal, says of
/// itself only how long its last words took.
#[derive(Debug, Default)]
pub struct Took(HashMap<String, Call>);

#[derive(Debug)]
struct Call {
    since: Millis,
    waits: bool,
}

impl Took {
    pub fn hear(&mut self, event: &Event) {
        match &event.kind {
            EventKind::ToolStarted { call_id, name, .. } => {
                let call = self.0.entry(call_id.clone()).or_insert(Call { since: event.at, waits: false });
                call.waits |= name == AGENT;
            }
            EventKind::ChildStarted { call_id, background: false, .. }
            | EventKind::WaitOpened { call_id, .. } => {
                if let Some(call) = self.0.get_mut(call_id) {
                    call.waits = true;
                }
            }
            _ => {}
        }
    }

    /// A call has ended, which says that it took so long.
    pub fn end(&mut self, event: &Event, call: &str, said_ms: u64) -> u64 {
        match self.0.remove(call).filter(|call| call.waits) {
            Some(call) => event.at.saturating_sub(call.since).max(said_ms),
            None => said_ms,
        }
    }
}

const AGENT: &str = "agent";

#[cfg(test)]
mod tests {
    use sterna_model::SessionId;

    use super::*;

    fn event(at: Millis, kind: EventKind) -> Event {
        Event { v: 1, seq: 1, session: SessionId::new("s").unwrap(), turn: None, step: None, at, kind }
    }

    fn started(at: Millis, name: &str, attempt: u32) -> Event {
        let (call_id, name) = ("call".to_owned(), name.to_owned());
        event(at, EventKind::ToolStarted { call_id, name, attempt, at_ms: at })
    }

    fn child(at: Millis, background: bool) -> Event {
        let (call_id, child) = ("call".to_owned(), SessionId::new("c").unwrap());
        let (agent, task) = ("general".to_owned(), "look".to_owned());
        event(at, EventKind::ChildStarted { call_id, child, input: 1, agent, task, background })
    }

    fn wait(at: Millis) -> Event {
        let (wait, call_id) = ("w".to_owned(), "call".to_owned());
        event(at, EventKind::WaitOpened { wait, call_id, signal: None, until: Some(9_000) })
    }

    #[test]
    fn a_call_takes_as_long_as_it_is_waited_for() {
        for (what, events, took) in [
            (
                "an agent",
                vec![started(1_000, "agent", 1), child(1_001, false), started(4_990, "agent", 2)],
                4_000,
            ),
            ("a wait for one", vec![started(2_000, "agent", 1), started(4_990, "agent", 2)], 3_000),
            ("one in the background", vec![started(4_998, "agent", 1), child(4_999, true)], 2),
            ("a skill that an agent does", vec![started(1_000, "skill", 1), child(1_001, false)], 4_000),
            ("a skill", vec![started(1_000, "skill", 1)], 1),
            ("a host's call that waits", vec![started(3_000, "sleep", 1), wait(3_001)], 2_000),
            // A person may have been asked meanwhile, or the machine was off: what it says itself counts.
            ("any other", vec![started(1_000, "shell", 1), started(4_000, "shell", 2)], 1),
            ("one that is not known", vec![], 1),
        ] {
            let mut heard = Took::default();
            events.iter().for_each(|event| heard.hear(event));
            let end = event(5_000, EventKind::Gap { missed: 0 });
            assert_eq!(heard.end(&end, "call", 1), took, "{what}");
            assert_eq!(heard.end(&end, "call", 1), 1, "{what}, forgotten");
        }
    }
}
