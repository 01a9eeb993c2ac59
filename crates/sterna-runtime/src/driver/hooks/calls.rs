//! Hooks of what single calls are about: items of the todo list, and questions of MCP servers.

use serde_json::{Value, json};
use sterna_model::{
    Body, CallTool, EffectKey, HookEvent, HookSays, Question, Ruling, TodoItem, TodoStatus, WaitOn,
};
use sterna_turn::CallState;

use super::{Before, Point};
use crate::RuntimeError;
use crate::driver::Driver;
use crate::hooks::{SharedHooks, server_of};

impl Driver {
    /// What hooks say of the items that a call would make or complete. `None`: nothing against it.
    pub(super) fn before_tasks(
        &mut self,
        hooks: &SharedHooks,
        call: &CallTool,
        args: &Value,
    ) -> Option<Before> {
        if !hooks.hears(HookEvent::TaskCreated) && !hooks.hears(HookEvent::TaskCompleted) {
            return None;
        }
        let points = self.task_points(call, args);
        let open: Vec<Point> = points.iter().filter(|point| self.is_open(hooks, point)).cloned().collect();
        if !open.is_empty() {
            if !self.draining {
                self.hooking.queue.extend(open);
            }
            return Some(Before::Wait);
        }
        let says = points.iter().filter_map(|point| self.state.hooks.says(&point.key));
        says.filter(|says| says.blocked).map(|says| Before::Deny(says.reason.clone())).next()
    }

    fn task_points(&self, call: &CallTool, args: &Value) -> Vec<Point> {
        let inner = self.rt.parts.tools.unwrapped(&call.call);
        let Some(tool) = self.rt.parts.tools.get(&inner.name) else { return Vec::new() };
        let mut points = Vec::new();
        for item in tool.todos(args, &self.view) {
            let before = self.view.todos.get(&item.id).map(|before| before.status);
            let made = before.is_none() && item.status != TodoStatus::Deleted;
            let done = item.status == TodoStatus::Completed && before != Some(TodoStatus::Completed);
            if made {
                points.push(self.task_point(HookEvent::TaskCreated, call, &item));
            }
            if done {
                points.push(self.task_point(HookEvent::TaskCompleted, call, &item));
            }
        }
        points
    }

    fn task_point(&self, event: HookEvent, call: &CallTool, item: &TodoItem) -> Point {
        let about = format!("{}.{}.{}", call.key.ordinal, call.changes, item.id);
        let mut more = json!({ "task_id": item.id, "task_subject": item.subject });
        if !item.description.is_empty() {
            more["task_description"] = item.description.clone().into();
        }
        if let Some(owner) = &item.owner {
            more["task_owner"] = owner.clone().into();
        }
        let mut point = self.point(event, call.key.step, String::new(), Some(about), more);
        point.tool = Some(call.key.clone());
        point
    }

    /// A call wants to ask a person. Of a server's questions hooks hear first.
    pub(in crate::driver) fn tool_asks(
        &mut self,
        key: EffectKey,
        questions: Vec<Question>,
    ) -> Result<(), RuntimeError> {
        let Some((hooks, point)) = self.rt.parts.hooks.clone().zip(self.elicitation_point(&key, &questions))
        else {
            return self.open_wait(key, WaitOn::Questions(questions));
        };
        match self.state.hooks.says(&point.key).cloned() {
            Some(says) => self.elicited(key, questions, &says),
            None if self.is_open(&hooks, &point) => {
                self.hooking.questions.push((key, questions));
                self.hooking.queue.push(point);
                Ok(())
            }
            None => self.open_wait(key, WaitOn::Questions(questions)),
        }
    }

    /// Hooks have heard a server's questions: they are put to the person, or answered with a no.
    pub(super) fn questions_heard(&mut self, key: &EffectKey, says: &HookSays) -> Result<(), RuntimeError> {
        let Some(at) = self.hooking.questions.iter().position(|(of, _)| of == key) else { return Ok(()) };
        let (key, questions) = self.hooking.questions.swap_remove(at);
        let ending = self.state.machine.turn().is_none_or(|turn| turn.is_ending());
        let open = self.call(&key).is_some_and(|call| call.state == CallState::Open);
        // The call of a turn that ends is answered as such.
        if open && !ending { self.elicited(key, questions, says) } else { Ok(()) }
    }

    fn elicited(
        &mut self,
        key: EffectKey,
        questions: Vec<Question>,
        says: &HookSays,
    ) -> Result<(), RuntimeError> {
        if !says.blocked {
            return self.open_wait(key, WaitOn::Questions(questions));
        }
        let Some(wait) = self.stage_wait(key, WaitOn::Questions(questions))? else { return Ok(()) };
        let ruling = Ruling::Deny { feedback: says.reason.clone() };
        self.stage(Body::WaitResolved { wait, ruling, by: "hook".into(), early: false })
    }

    fn elicitation_point(&self, key: &EffectKey, questions: &[Question]) -> Option<Point> {
        let call = self.call(key)?;
        let inner = self.rt.parts.tools.unwrapped(&call.call);
        let server = server_of(&inner.name)?.to_owned();
        let about = format!("{}.{}", key.ordinal, call.waits + 1);
        let message = questions.first().map_or("", |question| &question.question);
        let more = json!({
            "mcp_server_name": server,
            "tool_name": inner.name,
            "tool_use_id": inner.id,
            "message": message,
            "questions": questions,
        });
        let mut point = self.point(HookEvent::Elicitation, key.step, server, Some(about), more);
        point.tool = Some(key.clone());
        Some(point)
    }

    /// Questions of servers that were answered in this turn.
    pub(super) fn answers(&self) -> Vec<Point> {
        let point = |answered: &crate::hooks::Elicited| {
            let more = json!({
                "mcp_server_name": answered.server,
                "action": answered.action,
                "content": answered.answers,
                "by": answered.by,
            });
            let (server, about) = (answered.server.clone(), Some(answered.wait.clone()));
            self.point(HookEvent::ElicitationResult, answered.step, server, about, more)
        };
        self.state.hooks.happened.elicited.iter().map(point).collect()
    }
}
