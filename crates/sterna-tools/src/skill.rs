//! `skill`: the list of skills, a skill's text, and the files beside it.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec};
use sterna_tool::{
    Access, ChildOp, Placeholders, Plan, PlanContext, SpawnChild, Tool, ToolContext, ToolDone, ToolError,
    ToolReturn, ViewBudget,
};

use crate::agent_types::AgentType;
use crate::skills::{Found, KEPT_TOOLS, Shelf, SkillText, nearest, tool_name, with_arguments};
use crate::support::{blocking, first_line, parse};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// The skill. Without it: the list of skills.
    name: Option<String>,
    /// What it is to work on.
    args: Option<String>,
    /// A file below the skill's folder, instead of its text.
    file: Option<String>,
}

impl Args {
    /// Empty ones are none: models fill in what they need not.
    fn name(&self) -> Option<&str> {
        self.name.as_deref().map(str::trim).filter(|name| !name.is_empty())
    }

    fn file(&self) -> Option<&str> {
        self.file.as_deref().filter(|file| !file.trim().is_empty())
    }
}

pub(crate) struct Skill {
    spec: ToolSpec,
    shelf: Arc<Shelf>,
    /// Who does the skills that say so. Of two kinds with one name the later counts.
    kinds: Arc<[AgentType]>,
}

impl Skill {
    pub(crate) fn new(shelf: Arc<Shelf>, kinds: Vec<AgentType>) -> Self {
        let spec = crate::schema::spec::<Args>("skill", include_str!("skill.md"));
        Self { spec, shelf, kinds: kinds.into() }
    }
}

/// What a call comes to.
enum Wanted {
    Text(String),
    Agent(Box<SpawnChild>),
}

impl Tool for Skill {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// Whether another agent does the skill stands in its file, and files are not read here: a class is asked for where
    /// nothing may wait. So each call that may start an agent is one that does: under the key of the call there is one.
    fn class(&self, args: &Value) -> EffectClass {
        let has =
            |key: &str| args.get(key).and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty());
        if has("name") && !has("file") { EffectClass::Idempotent } else { EffectClass::Pure }
    }

    /// It sends its arguments nowhere but to a model.
    fn placeholders(&self, _: &Value) -> Placeholders {
        Placeholders::Keep
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        let name = first_line(args.name().unwrap_or_default(), 64);
        let summary = match args.file() {
            None if name.is_empty() => "list skills".to_owned(),
            None => format!("load skill {name}"),
            Some(file) => format!("read {} of skill {name}", first_line(file, 100)),
        };
        // What it reads is the person's own or was trusted, byte for byte, and is no place that the model names.
        Ok(Plan { accesses: vec![Access::Session], summary, preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            if let Some(end) = &cx.ended {
                return Ok(ToolReturn::Done(crate::agent::told(end)));
            }
            let args: Args = parse(&args)?;
            let (shelf, kinds) = (self.shelf.clone(), self.kinds.clone());
            let text = match blocking(&cx.cancel, move |_| wanted(&shelf, &kinds, &args)).await? {
                Wanted::Text(text) => text,
                Wanted::Agent(spawn) => return Ok(ToolReturn::Child(ChildOp::Spawn(spawn))),
            };
            let budget = ViewBudget { bytes: 48 << 10, lines: 2_000, head_percent: 100 };
            Ok(ToolReturn::Done(ToolDone { budget, ..ToolDone::text(text) }))
        }
        .boxed()
    }
}

fn wanted(shelf: &Shelf, kinds: &[AgentType], args: &Args) -> Result<Wanted, ToolError> {
    let mut skills = shelf.skills().found;
    let file = args.file();
    let Some(wanted) = args.name() else {
        if file.is_some() {
            return Err(ToolError::invalid("`file` needs the `name` of its skill"));
        }
        skills.retain(|skill| !skill.what.disabled);
        return Ok(Wanted::Text(listed(&skills)));
    };
    let Some(at) = skills.iter().position(|skill| skill.name == wanted) else {
        let open = || skills.iter().filter(|skill| !skill.what.disabled).map(|skill| skill.name.as_str());
        let near = nearest(wanted, open());
        let names: Vec<&str> = if near.is_empty() { open().take(MANY).collect() } else { near };
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(ToolError::invalid(format!("there is no skill `{wanted}`; there are: {names}")));
    };
    let skill = skills.swap_remove(at);
    if skill.what.disabled {
        return Err(ToolError::failed(format!("only a person may run the skill `{wanted}`: `/{wanted}`")));
    }
    let rest = args.args.as_deref().unwrap_or_default();
    match (file, &skill.what.forks) {
        (Some(file), _) => skill.resource(file).map(Wanted::Text).map_err(ToolError::failed),
        (None, None) => Ok(Wanted::Text(loaded(&skill, rest))),
        (None, Some(kind)) => agent_for(&skill, kind, kinds, rest).map(Wanted::Agent),
    }
}

/// The agent that does a skill: of its kind, with the skill's text as its task, and with no tool that the skill does not
/// name where it names some.
fn agent_for(
    skill: &Found<SkillText>,
    kind: &str,
    kinds: &[AgentType],
    args: &str,
) -> Result<Box<SpawnChild>, ToolError> {
    let Some(kind) = kinds.iter().rev().find(|known| known.name == kind) else {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
        let text = format!(
            "the skill `{}` is for an agent `{kind}`, which there is not; there are {}",
            skill.name,
            names.join(", ")
        );
        return Err(ToolError::failed(text));
    };
    let mut tools = kind.tools.clone();
    if let Some(named) = skill.what.allowed_tools.as_ref().filter(|named| !named.is_empty()) {
        let kept = KEPT_TOOLS.iter().map(|tool| (*tool).to_owned());
        let mut fewer: Vec<String> = named.iter().map(|tool| tool_name(tool)).chain(kept).collect();
        fewer.retain(|tool| kind.tools.is_empty() || kind.tools.contains(tool));
        fewer.sort();
        fewer.dedup();
        if fewer.is_empty() {
            let text = format!(
                "an agent of kind `{}` has none of the tools that the skill `{}` is meant to be done with",
                kind.name, skill.name
            );
            return Err(ToolError::failed(text));
        }
        tools = fewer;
    }
    Ok(Box::new(SpawnChild {
        agent: kind.name.clone(),
        prompt: kind.prompt.clone(),
        task: loaded(skill, args),
        tools,
        route: kind.route.clone(),
        max_steps: kind.max_steps,
        background: false,
        fork: false,
        worktree: false,
    }))
}

/// The text of a skill, as the model is shown it.
fn loaded(skill: &Found<SkillText>, args: &str) -> String {
    let mut text = format!("Skill `{}`, in {}", skill.name, skill.folder().display());
    if let Some(tools) = &skill.what.allowed_tools {
        let mut names: Vec<String> = tools.iter().map(|tool| tool_name(tool)).collect();
        names.dedup();
        text.push_str(&format!("\nIt is meant to be done with these tools only: {}", names.join(", ")));
    }
    let files = skill.files();
    if !files.is_empty() {
        text.push_str(&format!("\nIts files (read one with `file`): {}", files.join(", ")));
    }
    text.push_str("\n\n");
    text.push_str(&with_arguments(&skill.what.body, args));
    text
}

fn listed(skills: &[Found<SkillText>]) -> String {
    if skills.is_empty() {
        return "no skills".to_owned();
    }
    skills.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// `- name: description`, on one line.
pub(crate) fn line(skill: &Found<SkillText>) -> String {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut line = format!("- {}: {}", skill.name, words(&skill.what.description));
    if let Some(when) = &skill.what.when_to_use {
        line.push_str(&format!(" Use it: {}", words(when)));
    }
    line
}

/// Names that are told when none is near.
const MANY: usize = 20;
