//! Hooks of what happens round a turn: what came by itself, another folder, instructions, and how servers are.

use serde_json::{Value, json};
use sterna_log::{Filter, Page, SessionRow};
use sterna_model::{ChildEnd, Digest, Effect, HookEvent, StepNo, TurnNo};
use sterna_turn::Next;

use super::Point;
use super::files::Changed;
use crate::RuntimeError;
use crate::driver::Driver;
use crate::hooks::{Arrived, SHORT, SharedHooks};

/// What had to be looked up, and when.
#[derive(Default)]
pub(in crate::driver) struct Seen {
    /// The step before which files were looked at.
    pub(super) at: Option<(TurnNo, StepNo)>,
    /// Files that are not as hooks, or the session, know them.
    pub(super) changed: Vec<Changed>,
    /// It was found out whether the folder is new.
    folder: bool,
    /// Why the folder is to be made ready, when it is.
    setup: Option<&'static str>,
    /// What the prompt of this hash says in instructions.
    instructions: Option<(Digest, String, Value)>,
}

impl Driver {
    /// Finds out, when a session begins, whether its folder is new. Nothing is looked at for nobody.
    pub(super) async fn look_at_folder(
        &mut self,
        hooks: &SharedHooks,
        next: &Next,
    ) -> Result<(), RuntimeError> {
        let begins = self.state.hooks.first_turn && begun_step(next).is_some_and(|(_, step)| step == 1);
        if begins && !self.hooking.seen.folder && hooks.hears(HookEvent::Setup) {
            self.hooking.seen.folder = true;
            self.hooking.seen.setup = self.is_new_here().await?;
        }
        Ok(())
    }

    /// Why the folder of a session that begins may have to be made ready.
    async fn is_new_here(&self) -> Result<Option<&'static str>, RuntimeError> {
        let Some(session) = self.state.machine.session() else { return Ok(None) };
        if let Some(spawned) = &session.spawned {
            return Ok(spawned.worktree.as_ref().map(|_| "worktree"));
        }
        if session.parent.is_some() {
            return Ok(None);
        }
        let filter = Filter { cwd: Some(session.cwd.clone()), ..Filter::default() };
        let page = Page { after: None, limit: NEIGHBOURS };
        let here = self.rt.parts.log.list(&filter, page).await?;
        // It is in no list before its first records are durable.
        let ours = here.iter().find(|row| row.id == self.id).map_or(u64::MAX, |row| row.created_at);
        let older = |row: &SessionRow| {
            row.id != self.id && (row.created_at, row.id.as_str()) < (ours, self.id.as_str())
        };
        Ok((!here.iter().any(older)).then_some("init"))
    }

    /// The folder is new to Sterna, or to an agent.
    pub(super) fn setup_point(&self) -> Option<Point> {
        let why = self.hooking.seen.setup?;
        Some(self.point(HookEvent::Setup, 0, why.into(), None, json!({ "trigger": why })))
    }

    /// What happened round this turn, whatever step it is at.
    pub(super) fn round(&mut self) -> Vec<Point> {
        let Some(hooks) = self.rt.parts.hooks.clone() else { return Vec::new() };
        let mut points = self.arrivals(&hooks);
        if hooks.hears(HookEvent::CwdChanged) {
            points.extend(self.moved());
        }
        if hooks.hears(HookEvent::ElicitationResult) {
            points.extend(self.answers());
        }
        if hooks.hears(HookEvent::InstructionsLoaded) {
            points.extend(self.instructions());
        }
        if hooks.hears(HookEvent::FileChanged) {
            points.extend(self.changed());
        }
        if hooks.hears(HookEvent::McpState) {
            points.extend(hooks.servers().into_iter().filter_map(|server| {
                let told = self.state.hooks.happened.told(&state_of(HookEvent::McpState, &server.server));
                // What was never up is not down.
                let news = told.is_some() || server.state != "disconnected";
                let more = json!({
                    "mcp_server_name": server.server, "state": server.state, "detail": server.detail,
                });
                let name = server.server.clone();
                news.then(|| self.state_point(HookEvent::McpState, name, &server.server, server.state, more))?
            }));
        }
        points
    }

    fn arrivals(&self, hooks: &SharedHooks) -> Vec<Point> {
        let heard = |(_, arrived): &(u64, &Arrived)| {
            hooks.hears(match arrived {
                Arrived::Ended(_) => HookEvent::TeammateIdle,
                Arrived::Job(_) => HookEvent::ProcessEvent,
                Arrived::Run(_) => HookEvent::TriggerFired,
            })
        };
        let point = |(seq, arrived): (u64, &Arrived)| {
            let text = self.state.transcript.prompt(seq).unwrap_or_default();
            let (event, subject, more) = match arrived {
                Arrived::Ended(end) => {
                    let agent = self.agent_type(end);
                    let more = json!({
                        "agent_id": end.session.to_string(),
                        "agent_type": agent,
                        "stop": end.stop.map(|stop| stop.word()),
                        "last_assistant_message": end.message,
                    });
                    (HookEvent::TeammateIdle, agent, more)
                }
                Arrived::Job(key) => {
                    let more = json!({ "process": key, "event": "ended", "message": text });
                    (HookEvent::ProcessEvent, "ended".to_owned(), more)
                }
                Arrived::Run(run) => {
                    let name = run.split_once('.').map_or(run.as_str(), |(name, _)| name).to_owned();
                    (
                        HookEvent::TriggerFired,
                        name.clone(),
                        json!({ "name": name, "run": run, "prompt": text }),
                    )
                }
            };
            self.point(event, 0, subject, Some(seq.to_string()), more)
        };
        self.state.hooks.happened.taken().filter(heard).map(point).collect()
    }

    fn agent_type(&self, end: &ChildEnd) -> String {
        let child = self.state.folded.world.children.get(&end.session);
        child.map_or_else(String::new, |child| child.last.turn.agent.clone())
    }

    fn moved(&self) -> Option<Point> {
        let from = self.state.hooks.happened.moved_from.as_ref()?;
        let to = &self.state.turn.as_ref()?.cwd;
        let more = json!({ "old_cwd": from, "new_cwd": to });
        Some(self.point(HookEvent::CwdChanged, 0, String::new(), None, more))
    }

    /// The instructions of the prompt that this turn is sent with.
    fn instructions(&mut self) -> Option<Point> {
        let prompt = self.prompt.as_ref().filter(|_| self.state.prompt.is_some())?;
        if self.hooking.seen.instructions.as_ref().is_none_or(|(of, ..)| *of != prompt.hash()) {
            let mut hasher = blake3::Hasher::new();
            let mut files = Vec::new();
            for section in
                prompt.sections().iter().filter(|section| section.name.starts_with("instructions/"))
            {
                hasher.update(section.owner.as_bytes()).update(section.text.as_bytes());
                if let Some((path, lines)) = section.owner.rsplit_once(':') {
                    files.push(json!({ "file_path": path, "lines": lines }));
                }
            }
            let state = hasher.finalize().to_hex()[..SHORT].to_owned();
            self.hooking.seen.instructions = Some((prompt.hash(), state, Value::Array(files)));
        }
        let (_, state, files) = self.hooking.seen.instructions.as_ref()?;
        let some = files.as_array().is_some_and(|files| !files.is_empty());
        let more = json!({ "files": files });
        some.then(|| self.state_point(HookEvent::InstructionsLoaded, String::new(), "files", state, more))?
    }

    /// How something is. `None`: hooks were told so last.
    fn state_point(
        &self,
        event: HookEvent,
        subject: String,
        of: &str,
        state: &str,
        more: Value,
    ) -> Option<Point> {
        let told = self.state.hooks.happened.told(&state_of(event, of));
        if told.is_some_and(|(last, _)| last == state) {
            return None;
        }
        let n = told.map_or(1, |(_, n)| n + 1);
        Some(self.point(event, 0, subject, Some(format!("{n}/{of}={state}")), more))
    }
}

/// The step that begins with the model call that is wished for.
pub(super) fn begun_step(next: &Next) -> Option<(TurnNo, StepNo)> {
    let Next::Effects(effects) = next else { return None };
    match effects.first()? {
        Effect::CallModel(call) if call.intent.is_none() => Some((call.key.turn, call.key.step)),
        Effect::CallModel(_) | Effect::CallTool(_) | Effect::Compact(_) => None,
    }
}

/// Of what hooks are told how it is.
pub(super) fn state_of(event: HookEvent, of: &str) -> String {
    format!("{}/{of}", event.word())
}

/// Sessions of a folder that are looked at: where there are so many, it is new to none.
const NEIGHBOURS: usize = 64;
