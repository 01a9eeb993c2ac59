//! The derived request: the same function live, on resume, in replay and for the context ledger.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::Value;
use sterna_llm::{Item, Request};
use sterna_model::{Millis, Mode, Route, Thinking, TodoStatus, Transition, TurnStarted};

use sterna_log::fold::World;

use crate::Prompt;
use crate::deferred::{added_note, found_note};
use crate::recalled::recalled_note;

/// Version of this function, part of the encoder's name in an intent: `openai_chat/1+context/1`.
pub const CONTEXT_VERSION: u32 = 1;

/// What the turn's first record says that the request shows.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnFacts {
    pub now: Millis,
    pub cwd: String,
    pub mode: Mode,
    /// Tools that came after the prompt was made.
    pub added: Vec<String>,
    /// What the final answer has to fit.
    pub schema: Option<Arc<Value>>,
    /// The provider is asked to hold the answer to it.
    pub schema_native: bool,
    /// What the model is asked for before its answer.
    pub thinking: Option<Thinking>,
    /// The name of the guest who answers.
    pub guest: Option<String>,
}

impl TurnFacts {
    pub fn of(started: &TurnStarted) -> Self {
        let schema = started.output_schema.as_deref().map(|schema| Arc::new(schema.clone()));
        let (now, cwd, mode) = (started.now, started.cwd.clone(), started.mode);
        // A turn that was narrowed since may not call all of them.
        let may = |name: &&String| started.deferred.contains(name);
        let added = started.added.iter().filter(may).cloned().collect();
        let guest = started.guest.as_ref().map(|guest| guest.agent.clone());
        Self { now, cwd, mode, added, schema, schema_native: false, thinking: None, guest }
    }

    /// As the intent of the request says.
    pub fn schema_native(self, schema_native: bool) -> Self {
        Self { schema_native, ..self }
    }

    /// As the intent of the request says.
    pub fn thinking(self, thinking: Option<Thinking>) -> Self {
        Self { thinking, ..self }
    }
}

/// Derives a request. `items` come from `Transcript::with`. Nothing volatile stands before the history.
pub fn derive(
    prompt: &Prompt,
    items: Vec<Arc<Item>>,
    world: &World,
    facts: &TurnFacts,
    route: &Route,
    transition: Transition,
    tools_off: bool,
    max_output: u32,
) -> Request {
    Request {
        route: route.clone(),
        system: prompt.system(),
        tools: prompt.tools(),
        tail: tail(prompt, world, facts, transition),
        items,
        tools_off,
        max_output,
        temperature: None,
        schema: facts.schema.clone().filter(|_| facts.schema_native),
        thinking: facts.thinking,
    }
}

fn tail(prompt: &Prompt, world: &World, facts: &TurnFacts, transition: Transition) -> String {
    tail_pieces(prompt, world, facts, transition).into_iter().map(|(_, text)| text).collect()
}

/// The pieces of the tail, each with its owner and with what separates it from the one before.
pub(crate) fn tail_pieces(
    prompt: &Prompt,
    world: &World,
    facts: &TurnFacts,
    transition: Transition,
) -> Vec<(String, String)> {
    let mut pieces: Vec<(String, String)> = Vec::new();
    let mut push = |owner: String, between: &str, text: String| {
        if !text.is_empty() {
            let between = if pieces.is_empty() { "" } else { between };
            pieces.push((owner, format!("{between}{text}")));
        }
    };
    let section = |name: &str| format!("section {name}");
    let environment = prompt
        .note("environment")
        .replace("{date}", &date(facts.now))
        .replace("{mode}", facts.mode.word())
        // Last, so that a folder's name is never read as a slot.
        .replace("{cwd}", &facts.cwd);
    push(section("environment"), "", environment);
    push("goal".into(), "\n", goal(world));
    push("todo list".into(), "\n", todo_list(world));
    push("tools that are new".into(), "\n", added_note(&facts.added));
    push("tools that were found".into(), "\n", found_note(&world.found));
    if !world.recalled.is_empty() {
        let ids: Vec<&str> = world.recalled.iter().map(|note| note.id.as_str()).collect();
        push(format!("memory {}", ids.join(", ")), "\n", recalled_note(&world.recalled));
    }
    let rewound = if world.files_rewound { prompt.note("files_rewound") } else { "" };
    push(section("files_rewound"), "\n\n", rewound.to_owned());
    let plan = if facts.mode == Mode::Plan { prompt.note("plan_mode") } else { "" };
    push(section("plan_mode"), "\n\n", plan.to_owned());
    let guest = match &facts.guest {
        Some(agent) => GUEST.trim().replace("{agent}", agent),
        None => String::new(),
    };
    push(section("guest"), "\n\n", guest);
    let schema = match &facts.schema {
        Some(schema) => prompt.note("output_schema").replace("{schema}", &schema.to_string()),
        None => String::new(),
    };
    push(section("output_schema"), "\n\n", schema);
    let (name, note) = match transition {
        Transition::Nudge if world.last_answer_called() => ("nudge_stalled", prompt.note("nudge_stalled")),
        Transition::Nudge => ("nudge_empty", prompt.note("nudge_empty")),
        Transition::OutputContinue => ("output_continue", prompt.note("output_continue")),
        Transition::Grace => ("grace", prompt.note("grace")),
        Transition::Repair => ("output_repair", prompt.note("output_repair")),
        Transition::BudgetContinue => ("budget_continue", prompt.note("budget_continue")),
        Transition::Input
        | Transition::ToolResults
        | Transition::Steer
        | Transition::Compact
        | Transition::StopHook => ("", ""),
    };
    let note = match transition {
        Transition::Repair => {
            let errors = world.schema_errors.iter().map(|error| format!("- {error}"));
            note.replace("{errors}", &errors.collect::<Vec<_>>().join("\n"))
        }
        _ => note.to_owned(),
    };
    push(section(name), "\n\n", note);
    pieces
}

/// The goal while it is worked on, with what was used for it; else nothing.
fn goal(world: &World) -> String {
    let Some(held) = world.goal.held().filter(|held| held.is_active()) else { return String::new() };
    let used = match held.goal.token_budget {
        Some(budget) => format!("{} of {budget} tokens used", held.tokens),
        None => format!("{} tokens used", held.tokens),
    };
    format!("<goal>\n{}\n({used})\n</goal>", held.goal.objective)
}

/// The todo list while something on it is open; else nothing.
fn todo_list(world: &World) -> String {
    if world.todos.values().all(|item| item.status == TodoStatus::Completed) {
        return String::new();
    }
    let mut text = String::from("<todo>\n");
    for item in world.todos.values() {
        let mark = match item.status {
            TodoStatus::Pending => ' ',
            TodoStatus::InProgress => '>',
            TodoStatus::Completed => 'x',
            TodoStatus::Deleted => continue,
        };
        let _ = writeln!(text, "[{mark}] {}: {}", item.id, item.subject);
    }
    text.push_str("</todo>");
    text
}

/// The civil date of a moment, in UTC: days since 1970-01-01 to year, month, day in the proleptic Gregorian calendar.
fn date(at: Millis) -> String {
    let days = (at / 86_400_000) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

const GUEST: &str = include_str!("prompts/guest.md");

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (at, expected) in [
            (0, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (951_868_800_000, "2000-03-01"),
            (1_795_260_103_000, "2026-11-21"),
            (4_107_542_399_999, "2100-02-28"),
            (4_107_542_400_000, "2100-03-01"),
        ] {
            assert_eq!(date(at), expected);
        }
    }
}
