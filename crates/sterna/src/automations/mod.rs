//! `schedule` and `trigger`: what the model lets start by itself. A run never has more rights than the turn that made it.

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use sterna_automation::{
    Board, BoardError, Held, Over, decide, parse_at, parse_every, parse_quiet, times, zone_here,
};
use sterna_model::{
    Automation, EffectClass, Given, Missed, Mode, OnAsk, Overlap, RunTarget, Source, Start, ToolSpec,
};
use sterna_tool::{
    Access, Plan, PlanContext, SharedTool, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};

/// The automations of the store, once it is open.
pub(crate) type Desk = Arc<OnceLock<Board>>;

/// The names of both tools.
pub(crate) const AUTOMATION_TOOLS: [&str; 2] = ["schedule", "trigger"];

pub(crate) fn tools(desk: &Desk) -> [SharedTool; 2] {
    [Kind::Schedule, Kind::Trigger].map(|kind| {
        let (name, told) = match kind {
            Kind::Schedule => ("schedule", include_str!("schedule.md")),
            Kind::Trigger => ("trigger", include_str!("trigger.md")),
        };
        let spec = ToolSpec { name: name.into(), description: told.trim_end().into(), schema: schema(kind) };
        Arc::new(Automations { spec, kind, desk: desk.clone() }) as SharedTool
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Schedule,
    Trigger,
}

struct Automations {
    spec: ToolSpec,
    kind: Kind,
    desk: Desk,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    op: Op,
    name: Option<String>,
    prompt: Option<String>,
    cron: Option<String>,
    every: Option<String>,
    at: Option<String>,
    on: Option<String>,
    zone: Option<String>,
    quiet: Option<String>,
    missed: Option<Missed>,
    overlap: Option<Overlap>,
    session: Option<Where>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Op {
    Create,
    List,
    Pause,
    Resume,
    Delete,
    Run,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Where {
    Own,
    Here,
}

impl Tool for Automations {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, args: &Value) -> EffectClass {
        match args.get("op").and_then(Value::as_str) {
            Some("list") => EffectClass::Pure,
            _ => EffectClass::Idempotent,
        }
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args = self.parsed(args)?;
        let name = args.name.clone().unwrap_or_default();
        let word = self.spec.name.as_str();
        // Whatever it starts later acts while nobody looks: no rule but one for this tool lets it pass.
        let (access, summary) = match args.op {
            Op::List => (Access::Session, format!("list {word}s")),
            Op::Create => {
                let said = args
                    .prompt
                    .as_deref()
                    .unwrap_or_default()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ");
                let said: String = said.chars().take(200).collect();
                (Access::Other, format!("{word} {name} ({}): {said}", args.start_told()))
            }
            Op::Pause => (Access::Other, format!("pause the {word} {name}")),
            Op::Resume => (Access::Other, format!("resume the {word} {name}")),
            Op::Delete => (Access::Other, format!("delete the {word} {name}")),
            Op::Run => (Access::Other, format!("run the {word} {name} now")),
        };
        Ok(Plan { accesses: vec![access], summary, preview: args.prompt.filter(|_| args.op == Op::Create) })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let text = self.done(&cx, self.parsed(&args)?).await?;
            Ok(ToolReturn::Done(ToolDone::text(text)))
        }
        .boxed()
    }
}

impl Automations {
    fn parsed(&self, args: &Value) -> Result<Args, ToolError> {
        let args: Args = serde_json::from_value(args.clone()).map_err(ToolError::invalid)?;
        let needs = |given: bool, what: &str| {
            if given { Ok(()) } else { Err(ToolError::invalid(format!("this op needs `{what}`"))) }
        };
        if args.op != Op::List {
            needs(args.name.is_some(), "name")?;
        }
        if args.op == Op::Create {
            needs(args.prompt.is_some(), "prompt")?;
            let starts = [&args.cron, &args.every, &args.at].iter().filter(|start| start.is_some()).count();
            match self.kind {
                Kind::Schedule if starts != 1 => {
                    return Err(ToolError::invalid("say when: one of `cron`, `every` and `at`"));
                }
                Kind::Schedule => {}
                Kind::Trigger => needs(args.on.is_some(), "on")?,
            }
        }
        Ok(args)
    }

    async fn done(&self, cx: &ToolContext, args: Args) -> Result<String, ToolError> {
        let board =
            self.desk.get().ok_or_else(|| ToolError::failed("nothing starts by itself in this store"))?;
        let (now, once) = ((cx.now)(), format!("call:{}", cx.key));
        let by = cx.key.session.to_string();
        let name = args.name.clone().unwrap_or_default();
        let word = &self.spec.name;
        if !matches!(args.op, Op::List | Op::Create) {
            let all = board.all().await.map_err(failed)?;
            let known = all.named(&name).is_some_and(|held| kind_of(&held.automation) == self.kind);
            if !known && args.op != Op::Delete {
                return Err(ToolError::failed(format!("there is no {word} `{name}`; `list` names them")));
            }
            if !known {
                return Ok(format!("there is no {word} {name}"));
            }
        }
        match args.op {
            Op::List => {
                let all = board.all().await.map_err(failed)?;
                let held: Vec<String> = all
                    .iter()
                    .filter(|held| kind_of(&held.automation) == self.kind)
                    .map(|held| line(held, now))
                    .collect();
                Ok(if held.is_empty() { format!("no {word}s") } else { held.join("\n") })
            }
            Op::Create => {
                let automation = self.automation(cx, args)?;
                let all = board.all().await.map_err(failed)?;
                // Made in another life of this call.
                let made = match all.named(&name).filter(|held| held.automation == automation) {
                    Some(held) => held.clone(),
                    None => board.add(&once, now, automation).await.map_err(failed)?,
                };
                Ok(format!("made: {}\n`sterna worker` runs what is due.", line(&made, now)))
            }
            Op::Pause => {
                board.pause(&once, now, &name, &by).await.map(|()| format!("paused: {name}")).map_err(failed)
            }
            Op::Resume => board
                .resume(&once, now, &name, &by)
                .await
                .map(|()| format!("resumed: {name}"))
                .map_err(failed),
            Op::Delete => board
                .remove(&once, now, &name, &by)
                .await
                .map(|()| format!("deleted: {name}"))
                .map_err(failed),
            Op::Run => {
                let run = board.run_now(&once, now, &name, &by).await.map_err(failed)?;
                Ok(format!("run {} is to start; `sterna worker` drives it", run.fired.run))
            }
        }
    }

    fn automation(&self, cx: &ToolContext, args: Args) -> Result<Automation, ToolError> {
        let Some(turn) = &cx.turn else { return Err(ToolError::failed("this turn lends no rights")) };
        let zone = args.zone.clone().unwrap_or_else(zone_here);
        let start = match (self.kind, &args.cron, &args.every, &args.at, &args.on) {
            (Kind::Schedule, Some(expr), ..) => Start::Cron { expr: expr.clone() },
            (Kind::Schedule, _, Some(every), ..) => {
                Start::Every { ms: parse_every(every).map_err(ToolError::invalid)? }
            }
            (Kind::Schedule, .., at, _) => {
                let at = at.as_deref().unwrap_or_default();
                Start::At { at: parse_at(at, &zone).map_err(ToolError::invalid)? }
            }
            (Kind::Trigger, .., on) => source_of(on.as_deref().unwrap_or_default())?,
        };
        let target = match args.session.unwrap_or(Where::Own) {
            Where::Own => RunTarget::Own,
            Where::Here => RunTarget::Session(cx.key.session.clone()),
        };
        let overlap = args.overlap.unwrap_or(match self.kind {
            Kind::Schedule => Overlap::Skip,
            Kind::Trigger => Overlap::Queue,
        });
        Ok(Automation {
            name: args.name.unwrap_or_default(),
            start,
            zone,
            quiet: args.quiet.as_deref().map(parse_quiet).transpose().map_err(ToolError::invalid)?,
            missed: args.missed.unwrap_or_default(),
            overlap,
            target,
            prompt: args.prompt.unwrap_or_default(),
            given: Box::new(lent(&turn.given)),
            by: cx.key.session.to_string(),
        })
    }
}

impl Args {
    fn start_told(&self) -> String {
        let told = |what: &str, value: &Option<String>| value.as_ref().map(|value| format!("{what} {value}"));
        let starts = [
            told("cron", &self.cron),
            told("every", &self.every),
            told("at", &self.at),
            told("on", &self.on),
        ];
        starts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// What a run may do: what its maker may, for good, and nothing that needs somebody to look on.
fn lent(given: &Given) -> Given {
    Given {
        mode: if given.mode == Mode::Bypass { Mode::Execute } else { given.mode },
        on_ask: if given.on_ask == OnAsk::Prompt { OnAsk::Deny } else { given.on_ask },
        mode_of_session: false,
        output_schema: None,
        guest: None,
        tree: None,
        ..given.clone()
    }
}

fn source_of(on: &str) -> Result<Start, ToolError> {
    let wrong = || ToolError::invalid("`on` is publish:KEY, automation:NAME or job:SESSION; `*` is any key");
    let (source, key) = on.split_once(':').ok_or_else(wrong)?;
    let source = Source::ALL.into_iter().find(|of| of.word() == source).ok_or_else(wrong)?;
    Ok(Start::On { source, key: key.to_owned() })
}

fn kind_of(automation: &Automation) -> Kind {
    match automation.start {
        Start::On { .. } => Kind::Trigger,
        Start::Cron { .. } | Start::Every { .. } | Start::At { .. } => Kind::Schedule,
    }
}

fn line(held: &Held, now: u64) -> String {
    let automation = &held.automation;
    let when = match &automation.start {
        Start::Cron { expr } => format!("cron {expr}"),
        Start::Every { ms } => format!("every {} s", ms / 1000),
        Start::At { .. } => "once".to_owned(),
        Start::On { source, key } => format!("on {}:{key}", source.word()),
    };
    let times = times(held);
    let next = times.as_ref().and_then(|times| decide::next(held, times, now).map(|at| times.shown(at)));
    let state = match (held.over, held.paused) {
        (Some(Over::Done), _) => "done".to_owned(),
        (Some(Over::SessionDeleted), _) => "session deleted".to_owned(),
        (None, true) => "paused".to_owned(),
        (None, false) => next.map_or_else(|| "active".to_owned(), |next| format!("next {next}")),
    };
    let place = match &automation.target {
        RunTarget::Own => String::new(),
        RunTarget::Session(session) => format!(", in {session}"),
    };
    let prompt: String =
        automation.prompt.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(80).collect();
    format!("{} ({when}{place}) {state}, {} runs: {prompt}", automation.name, held.runs)
}

fn failed(error: BoardError) -> ToolError {
    match error {
        BoardError::Refused(why) => ToolError::invalid(why),
        BoardError::Unknown(_) | BoardError::Log(_) | BoardError::Shared(_) => ToolError::failed(error),
    }
}

fn schema(kind: Kind) -> Value {
    let text = |told: &str| json!({"type": "string", "description": told});
    let mut fields = json!({
        "op": {"type": "string", "enum": ["create", "list", "pause", "resume", "delete", "run"]},
        "name": text("1 to 64 characters of a-z, 0-9 and -"),
        "prompt": text("what each run is told: all that it has to know"),
        "zone": text("IANA name; this machine's if left out"),
        "quiet": text("hours in which nothing starts: 22:00-06:00"),
        "overlap": {
            "type": "string", "enum": ["skip", "queue", "parallel"], "description": "while the run before is not over"
        },
        "session": {"type": "string", "enum": ["own", "here"], "description": "where runs work; own if left out"},
    });
    let more = match kind {
        Kind::Schedule => json!({
            "cron": text("5 or 6 fields"),
            "every": text("30m, 6h, 2d"),
            "at": text("once: 2026-12-24T18:00"),
            "missed": {
                "type": "string", "enum": ["skip", "once", "all"], "description": "times that came while nothing ran"
            },
        }),
        Kind::Trigger => json!({"on": text("publish:KEY, automation:NAME or job:SESSION; * is any key")}),
    };
    if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
        fields.extend(more);
    }
    json!({"type": "object", "properties": fields, "required": ["op"], "additionalProperties": false})
}
