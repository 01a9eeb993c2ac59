//! `ask_user`: questions to the person.

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{Choice, EffectClass, Question, ToolSpec};
use sterna_tool::{
    Access, Placeholders, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};

use crate::support::{counted, first_line, parse};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    #[schemars(length(min = 1, max = 4))]
    questions: Vec<AskedQuestion>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AskedQuestion {
    question: String,
    /// A word or two to name it, 12 characters at most.
    #[schemars(length(min = 1, max = 12))]
    header: String,
    #[schemars(length(min = 2, max = 4))]
    options: Vec<AskedChoice>,
    /// Several options may be chosen.
    multi: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AskedChoice {
    label: String,
    /// What choosing it means.
    description: Option<String>,
    /// Text or code to look at.
    preview: Option<String>,
}

pub(crate) struct AskUser {
    spec: ToolSpec,
}

impl AskUser {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("ask_user", include_str!("ask_user.md")) }
    }
}

impl Tool for AskUser {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let questions = questions(args)?;
        let first = questions.first().map_or("", |question| question.question.as_str());
        let summary = match questions.len() {
            1 => format!("ask: {}", first_line(first, 200)),
            n => format!("ask {}: {}", counted(n, "question"), first_line(first, 200)),
        };
        Ok(Plan { accesses: vec![Access::Person], summary, preview: None })
    }

    /// What is said to a person, or noted, is only text.
    fn placeholders(&self, _: &Value) -> Placeholders {
        Placeholders::Keep
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let questions = questions(&args)?;
            Ok(match cx.answers {
                None => ToolReturn::Ask(questions),
                Some(answers) => ToolReturn::Done(ToolDone::text(told(&questions, &answers))),
            })
        }
        .boxed()
    }
}

fn questions(args: &Value) -> Result<Vec<Question>, ToolError> {
    let args: Args = parse(args)?;
    let wrong = |rule: &str| Err(ToolError::invalid(rule));
    if !(1..=4).contains(&args.questions.len()) {
        return wrong("ask 1 to 4 questions at once");
    }
    for asked in &args.questions {
        if asked.question.trim().is_empty() || asked.header.trim().is_empty() {
            return wrong("a question needs its text and a header");
        }
        if asked.header.chars().count() > 12 {
            return wrong("a header has at most 12 characters");
        }
        if !(2..=4).contains(&asked.options.len()) {
            return wrong("a question has 2 to 4 options; the person may always answer in own words");
        }
        let labels: std::collections::BTreeSet<&str> =
            asked.options.iter().map(|option| option.label.trim()).collect();
        if labels.contains("") || labels.len() < asked.options.len() {
            return wrong("each option needs a label of its own");
        }
    }
    let choice = |option: AskedChoice| Choice {
        label: option.label,
        description: option.description.unwrap_or_default(),
        preview: option.preview,
    };
    let question = |asked: AskedQuestion| Question {
        question: asked.question,
        header: asked.header,
        options: asked.options.into_iter().map(choice).collect(),
        multi: asked.multi.unwrap_or(false),
    };
    Ok(args.questions.into_iter().map(question).collect())
}

fn told(questions: &[Question], answers: &[String]) -> String {
    let answer = |at: usize| answers.get(at).map(|answer| answer.trim()).filter(|answer| !answer.is_empty());
    let lines: Vec<String> = questions
        .iter()
        .enumerate()
        .map(|(at, question)| format!("{}: {}", question.header, answer(at).unwrap_or("(no answer)")))
        .collect();
    lines.join("\n")
}
