//! Records under another session's name: every id in them that names a session of the bundle is the new one's.

use std::collections::HashMap;

use sterna_model::{Body, EffectKey, Intended, MemoryChange, SessionId, Span, WaitId};

/// Old names and their new ones.
#[derive(Debug, Default)]
pub struct Names(HashMap<SessionId, SessionId>);

impl Names {
    pub fn add(&mut self, old: &SessionId, new: &SessionId) {
        self.0.insert(old.clone(), new.clone());
    }

    fn of(&self, id: &mut SessionId) {
        if let Some(new) = self.0.get(id) {
            *id = new.clone();
        }
    }

    fn key(&self, key: &mut EffectKey) {
        self.of(&mut key.session);
    }

    /// A wait is named by the effect that waits, and by a number after its first.
    fn wait(&self, wait: &mut WaitId) {
        let Some((session, rest)) = wait.split_once('/') else { return };
        let Ok(mut id) = SessionId::new(session) else { return };
        self.of(&mut id);
        *wait = format!("{id}/{rest}");
    }

    fn history(&self, spans: &mut [Span]) {
        for session in spans.iter_mut().filter_map(|span| span.session.as_mut()) {
            self.of(session);
        }
    }

    /// Names the sessions in a record anew. What people, models and tools wrote stays as it is.
    pub fn body(&self, body: &mut Body) {
        match body {
            Body::SessionOpened(opened) => {
                self.of(&mut opened.id);
                if let Some(parent) = &mut opened.parent {
                    self.of(&mut parent.session);
                }
            }
            Body::Intent(intent) => {
                self.key(&mut intent.key);
                match &mut intent.what {
                    Intended::Compact(compact) => self.history(&mut compact.model.history),
                    Intended::Judge(judge) => self.key(&mut judge.call),
                    Intended::Model(model) => self.history(&mut model.history),
                    Intended::Tool(_) | Intended::Undo(_) => {}
                }
            }
            Body::Attempt(attempt) => self.key(&mut attempt.key),
            Body::Outcome(outcome) => self.key(&mut outcome.key),
            Body::InDoubt { key, .. } => self.key(key),
            Body::WaitOpened(opened) => {
                self.key(&mut opened.key);
                self.wait(&mut opened.wait);
            }
            Body::WaitResolved { wait, .. } => self.wait(wait),
            Body::Compacted(compacted) => {
                if let Some(key) = &mut compacted.key {
                    self.key(key);
                }
            }
            Body::HookRan(ran) => {
                // It begins as a wait's name does.
                self.wait(&mut ran.key);
                if let Some(key) = &mut ran.tool {
                    self.key(key);
                }
            }
            Body::TitleSet { .. }
            | Body::SessionClosed { .. }
            | Body::RouteChanged { .. }
            | Body::ModeChanged { .. }
            | Body::InputAccepted(_)
            | Body::InputEdited { .. }
            | Body::InputWithdrawn { .. }
            | Body::TurnStarted(_)
            | Body::TurnCommitted(_)
            | Body::CancelRequested { .. }
            | Body::LimitReached { .. }
            | Body::GrantGiven { .. }
            | Body::GrantRevoked { .. }
            | Body::TodoSet { .. }
            | Body::CompactionMissed { .. }
            // These stand in no session's log.
            | Body::Automation(_)
            | Body::Budget(_)
            | Body::Goal(_)
            | Body::CheckpointMissed { .. } => {}
            Body::Memory(change) => {
                if let MemoryChange::Kept(note) = &mut **change {
                    if let Some(session) = &mut note.source.session {
                        self.of(session);
                    }
                    if let Some(call) = &mut note.source.call {
                        self.key(call);
                    }
                }
            }
            // Its files stayed where it comes from; and no file from elsewhere says which folder a rewind writes.
            Body::CheckpointTaken(_) => {
                let why = "it was taken where this session comes from".to_owned();
                *body = Body::CheckpointMissed { root: "another place".into(), why };
            }
            Body::Rewound(rewound) => rewound.files = None,
        }
    }
}
