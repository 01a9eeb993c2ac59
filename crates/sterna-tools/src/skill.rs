//! `skill`: the list of skills, a skill's text, and the files beside it.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec};
use sterna_tool::{
    Access, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn, ViewBudget,
};

use crate::skills::{Found, Shelf, SkillText, nearest, tool_name, with_arguments};
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

pub(crate) struct Skill {
    spec: ToolSpec,
    shelf: Arc<Shelf>,
}

impl Skill {
    pub(crate) fn new(shelf: Arc<Shelf>) -> Self {
        Self { spec: crate::schema::spec::<Args>("skill", include_str!("skill.md")), shelf }
    }
}

impl Tool for Skill {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Pure
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        let name = first_line(args.name.as_deref().unwrap_or_default(), 64);
        let summary = match args.file.as_deref().filter(|file| !file.is_empty()) {
            None if name.is_empty() => "list skills".to_owned(),
            None => format!("load skill {name}"),
            Some(file) => format!("read {} of skill {name}", first_line(file, 100)),
        };
        // What it reads is the person's own or was trusted, byte for byte, and is no place that the model names.
        Ok(Plan { accesses: vec![Access::Session], summary, preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: Args = parse(&args)?;
            let shelf = self.shelf.clone();
            let text = blocking(&cx.cancel, move |_| told(&shelf, &args)).await?;
            let budget = ViewBudget { bytes: 48 << 10, lines: 2_000, head_percent: 100 };
            Ok(ToolReturn::Done(ToolDone { budget, ..ToolDone::text(text) }))
        }
        .boxed()
    }
}

fn told(shelf: &Shelf, args: &Args) -> Result<String, ToolError> {
    let mut skills = shelf.skills().found;
    let wanted = args.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let Some(wanted) = wanted else {
        if args.file.is_some() {
            return Err(ToolError::invalid("`file` needs the `name` of its skill"));
        }
        skills.retain(|skill| !skill.what.disabled);
        return Ok(listed(&skills));
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
    match args.file.as_deref() {
        Some(file) => skill.resource(file).map_err(ToolError::failed),
        None => Ok(loaded(&skill, args.args.as_deref().unwrap_or_default())),
    }
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
