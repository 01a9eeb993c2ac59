//! Hooks of what happens to a session outside its turns, and without its driver: its settings and its end.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use sterna_model::{Body, Bounds, HookEvent, HookRan, HookSays, SessionId};
use sterna_policy::bounds_of_rules;

use super::HookCall;
use crate::effects::pipeline;
use crate::{Runtime, RuntimeError, State};

impl Runtime {
    /// Asks whether a session may be changed. What was said is in its log before it is heard.
    pub(crate) async fn ask_outside(
        &self,
        session: &SessionId,
        event: HookEvent,
        subject: &str,
        more: Value,
    ) -> Result<(), RuntimeError> {
        match self.outside(session, event, subject, more).await? {
            says if says.blocked => Err(RuntimeError::Refused(says.reason)),
            HookSays { stop: Some(why), .. } => Err(RuntimeError::Refused(why)),
            _ => Ok(()),
        }
    }

    /// Tells what happened to a session.
    pub(crate) async fn tell_outside(
        &self,
        session: &SessionId,
        event: HookEvent,
        subject: &str,
        more: Value,
    ) -> Result<(), RuntimeError> {
        self.outside(session, event, subject, more).await.map(|_| ())
    }

    async fn outside(
        &self,
        session: &SessionId,
        event: HookEvent,
        subject: &str,
        more: Value,
    ) -> Result<HookSays, RuntimeError> {
        let parts = self.parts();
        let Some(hooks) = parts.hooks.as_ref().filter(|hooks| hooks.listens(event, subject, "")) else {
            return Ok(HookSays::default());
        };
        let state = State::load(&parts.log, session).await?;
        // Each time is another occurrence: nobody else drives it again.
        let key = format!("{session}/{}/0/hook/{}/{}", state.machine.turns(), event.word(), state.head);
        let cwd = state.machine.session().map(|opened| opened.cwd.clone()).unwrap_or_default();
        let mut input = json!({
            "session_id": session.to_string(),
            "transcript_path": "",
            "cwd": cwd,
            "hook_event_name": event.word(),
            "permission_mode": state.mode.now().word(),
            "turn_id": state.machine.turns(),
            "step": 0,
            "effect_key": key,
        });
        if let (Some(input), Value::Object(more)) = (input.as_object_mut(), more) {
            input.extend(more);
        }
        let cwd = PathBuf::from(cwd);
        let (roots, bounds) = match &state.turn {
            Some(turn) => {
                let tainted = !state.transcript.untrusted().is_empty();
                let roots = pipeline::plan_context(turn).roots;
                let bounds = bounds_of_rules(
                    &self.0.rules(&turn.rules)?,
                    &roots,
                    parts.env.home().as_deref(),
                    tainted,
                );
                (roots, bounds)
            }
            None => (vec![cwd.clone()], Bounds::default()),
        };
        let call = HookCall {
            event,
            key: key.clone(),
            subject: subject.to_owned(),
            input,
            session: session.clone(),
            cwd,
            roots,
            bounds,
            sandbox: state.turn.as_ref().map(|turn| turn.sandbox).unwrap_or_default(),
            env: Arc::new(parts.env.child_env()),
            model: None,
        };
        let answered = hooks.run(call).await;
        // The turn that may run meanwhile is none of theirs: they end none, and tell its model nothing.
        let says = HookSays { context: Vec::new(), ..answered.says };
        let recorded = HookSays { stop: None, ..says.clone() };
        let ran = HookRan {
            key,
            event,
            tool: None,
            input: None,
            hooks: answered.hooks,
            says: recorded,
            asked: Vec::new(),
        };
        self.append_one(session, Body::HookRan(Box::new(ran))).await?;
        Ok(says)
    }
}
