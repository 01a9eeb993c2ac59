//! Records under another session's name: every id in them that names a session of the bundle is the new one's, and one
//! of an agent, or of whoever made it, that did not come along names nobody here.

use std::collections::HashMap;

use sterna_model::{
    Body, EffectKey, EffectResult, Fact, Given, Intended, MemoryChange, Ruling, SessionId, Span, WaitId,
    WaitOn,
};

/// Old names and their new ones.
#[derive(Debug, Default)]
pub struct Names {
    new: HashMap<SessionId, SessionId>,
    /// The session that is imported, by its new name.
    first: Option<SessionId>,
}

impl Names {
    /// The session that is imported is added first.
    pub fn add(&mut self, old: &SessionId, new: &SessionId) {
        self.first.get_or_insert_with(|| new.clone());
        self.new.insert(old.clone(), new.clone());
    }

    fn of(&self, id: &mut SessionId) {
        if let Some(new) = self.new.get(id) {
            *id = new.clone();
        }
    }

    /// An agent, or who made one. Under its old name it would be the original's, which may be here too: nothing of an
    /// import may speak to that.
    fn relative(&self, id: &mut SessionId) {
        if let Some(new) = self.new.get(id) {
            *id = new.clone();
            return;
        }
        let of = self.first.as_ref().map_or("", SessionId::as_str);
        let hash = blake3::hash(format!("{of}\n{id}").as_bytes()).to_hex();
        // Hex digits make a name.
        if let Ok(new) = SessionId::new(&format!("absent-{}", &hash[..24])) {
            *id = new;
        }
    }

    fn given(&self, given: &mut Given) {
        given.tree.iter_mut().for_each(|tree| self.relative(tree));
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
                if let Some(spawned) = &mut opened.spawned {
                    self.relative(&mut spawned.by.session);
                }
            }
            Body::InputAccepted(input) => {
                input.given.iter_mut().for_each(|given| self.given(given));
                input.ended.iter_mut().for_each(|end| self.relative(&mut end.session));
            }
            Body::TurnStarted(started) => self.given(&mut started.given),
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
            Body::Outcome(outcome) => {
                self.key(&mut outcome.key);
                if let EffectResult::Tool(tool) = &mut outcome.result {
                    for fact in &mut tool.facts {
                        match fact {
                            Fact::Child(child) => self.relative(&mut child.turn.session),
                            Fact::ChildClosed(child) => self.relative(child),
                            Fact::FileRead { .. }
                            | Fact::FileWritten { .. }
                            | Fact::FileRemoved { .. }
                            | Fact::Todo(_)
                            | Fact::ToolsFound { .. }
                            | Fact::Command { .. }
                            | Fact::Goal(_)
                            // Its id is a hash, and names nothing.
                            | Fact::Continued(_) => {}
                        }
                    }
                }
            }
            Body::InDoubt { key, .. } => self.key(key),
            Body::WaitOpened(opened) => {
                self.key(&mut opened.key);
                self.wait(&mut opened.wait);
                if let WaitOn::Child(turn) = &mut opened.on {
                    self.relative(&mut turn.session);
                }
            }
            Body::WaitResolved { wait, ruling, .. } => {
                self.wait(wait);
                if let Ruling::Ended(end) = ruling {
                    self.relative(&mut end.session);
                }
            }
            Body::Compacted(compacted) => {
                if let Some(key) = &mut compacted.key {
                    self.key(key);
                }
            }
            Body::HookIntent(intent) => self.wait(&mut intent.key),
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
            | Body::InputEdited { .. }
            | Body::InputWithdrawn { .. }
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
