//! `sterna what-if`: lives a session again from a point with another model, prompt or limit, and shows the difference.

use std::process::ExitCode;

use clap::Args;
use sterna::{FileDiff, Store, WhatIfFiles, WhatIfPlaces, WhatIfReport};
use sterna_model::{Decision, RuleText, Scope, Seq};
use sterna_runtime::{Cost, Ending, StepPair, StepSide, WhatIf};

use crate::args::{TurnArgs, number, whole};
use crate::failure::Failure;
use crate::point::Point;
use crate::print::{Print, Style, harmless, one_line};
use crate::render::money;
use crate::table::table;
use crate::trust::{self, Wish};
use crate::{commands::resume, context::Context, setup};

#[derive(Debug, Args)]
pub struct WhatIfArgs {
    /// The session
    id: String,
    /// The last record that counts, or TURN.STEP: the end of that step
    #[arg(long, value_name = "POINT")]
    from: String,
    /// Another model: provider/model, local, or scripted:FILE
    #[arg(short, long, value_name = "ROUTE")]
    model: Option<String>,
    /// Another text for the next input; later ones are not given
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Another mode; the copy is all that can be written in any
    #[arg(long)]
    mode: Option<String>,
    /// Steps (model calls) that a turn may take
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u32>)]
    max_steps: Option<u32>,
    /// US dollars that a turn may cost
    #[arg(long, value_name = "USD", allow_negative_numbers = true, value_parser = number)]
    max_cost: Option<f64>,
    /// Seconds that a turn may take
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = number)]
    deadline: Option<f64>,
    /// Allow what this rule matches
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,
    /// Deny what this rule matches
    #[arg(long, value_name = "RULE")]
    deny: Vec<String>,
    /// One object
    #[arg(long)]
    json: bool,
}

/// Becomes the caged run, if that is what this process was started for. It is in no help.
pub fn is_inside() -> bool {
    std::env::args_os().nth(1).is_some_and(|word| word == WORD)
}

pub async fn what_if(args: WhatIfArgs) -> Result<ExitCode, Failure> {
    let point = Point::parse(&format!("{}@{}", args.id, args.from))?;
    let turn = args.turn();
    let here = setup::context(&turn)?;
    let store = here.store_of(&point.session)?;
    let from = point.seq(&store).await?.unwrap_or(Seq::MAX);
    let store = std::sync::Arc::new(store);
    let log: sterna_log::SharedLog = store.clone();
    let Some(state) = setup::state(&log, &point.session).await? else {
        return Err(sterna_log::LogError::NotFound(point.session).into());
    };
    let mut cx = resume::of_session(&here, &state)?;
    trust::join(&mut cx, Wish { once: turn.trust, ask: false }).await?;
    // Nothing of the new run is kept, and no command outlives it.
    cx.ephemeral = true;
    let recorded = state.turn.as_ref().map(|turn| turn.route.clone()).or(state.machine.route().cloned());
    let sterna = setup::sterna(&cx, &turn, Store::Own(log, store), recorded.as_ref(), false).await?;
    setup::ready(&sterna)?;
    let config = sterna.turn_config();
    let ask = WhatIf {
        session: point.session,
        from,
        route: turn.model.is_some().then(|| config.route.clone()),
        prompt: args.prompt.clone(),
        mode: setup::mode(&turn)?,
        rules: args.rules(),
        max_steps: turn.max_steps,
        max_cost: turn.max_cost.and(config.limits.max_cost),
        deadline: turn.deadline.and(config.limits.deadline),
    };
    let places = WhatIfPlaces {
        scratch: cx.places.state.join("what-if"),
        hidden: vec![cx.places.data.clone(), cx.places.cache.clone()],
        words: vec![WORD.into()],
        helper: vec![super::shim::WORD.into()],
    };
    let report = sterna.what_if(&ask, &places).await?;
    if args.json {
        cx.print.json(&report)?;
    } else {
        cx.print.out(&told(&cx, &ask, &report))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl WhatIfArgs {
    fn turn(&self) -> TurnArgs {
        TurnArgs {
            model: self.model.clone(),
            mode: self.mode.clone(),
            max_steps: self.max_steps,
            max_cost: self.max_cost,
            deadline: self.deadline,
            allow: self.allow.clone(),
            deny: self.deny.clone(),
            ..TurnArgs::default()
        }
    }

    fn rules(&self) -> Vec<RuleText> {
        let rule = |decision, source: &str, text: &String| RuleText {
            decision,
            text: text.clone(),
            scope: Scope::Session,
            source: source.into(),
        };
        let allow = self.allow.iter().map(|text| rule(Decision::Allow, "--allow", text));
        allow.chain(self.deny.iter().map(|text| rule(Decision::Deny, "--deny", text))).collect()
    }
}

fn told(cx: &Context, ask: &WhatIf, report: &WhatIfReport) -> String {
    let WhatIfReport { run, files, .. } = report;
    let print = &cx.print;
    let mut text = match &run.divergence {
        None => format!("{}: the same calls from record {} to the end\n", run.session, run.from),
        Some(divergence) => format!(
            "{}: the same calls from record {} on, {} in turn {}, step {}: {}\n",
            run.session,
            run.from,
            print.paint("until", Style::Yellow),
            divergence.turn,
            divergence.step,
            harmless(&one_line(&divergence.what, 200))
        ),
    };
    if run.from < ask.from {
        text.push_str(&format!("something was in flight at record {}, so it began before\n", ask.from));
    }
    match (files, &run.refused) {
        (Some(files), _) => text.push_str(&ground(files)),
        (None, Some(why)) => {
            text.push_str(&format!("tools were refused from there on: {}\n", harmless(why)));
        }
        (None, None) => text.push_str("no tool ran: the record answered for all of them\n"),
    }
    text.push('\n');
    let rows: Vec<Vec<String>> = run.steps.iter().map(row).chain(ends(&run.endings)).collect();
    text.push_str(&table(print, &["step", "", "recorded", "new"], &rows));
    text.push_str(&costs(print, report));
    if let Some(files) = files {
        text.push_str(&changed(print, "recorded, up to now", &files.recorded));
        text.push_str(&changed(print, "new", &files.new));
    }
    text
}

fn ground(files: &WhatIfFiles) -> String {
    let when = match files.checkpoint {
        Some(seq) => format!("as the checkpoint of record {seq} has it"),
        None => "as it is now: nothing has written in it since".to_owned(),
    };
    let mut text = format!("tools ran in a copy of {}, {when} (bubblewrap)\n", harmless(&files.root));
    if !files.missing.is_empty() {
        let shown: Vec<&str> = files.missing.iter().take(5).map(String::as_str).collect();
        let more = files.missing.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text.push_str(&format!("not in the copy: {}{more}\n", harmless(&shown.join(", "))));
    }
    text
}

fn row(pair: &StepPair) -> Vec<String> {
    let side = pair.recorded.as_ref().or(pair.new.as_ref());
    let at = side.map_or(String::new(), |side| format!("{}.{}", side.turn, side.step));
    let mark = if pair.same_calls { "=" } else { "≠" };
    let told = |side: &Option<StepSide>| side.as_ref().map_or_else(|| "-".to_owned(), step);
    vec![at, mark.to_owned(), told(&pair.recorded), told(&pair.new)]
}

fn step(side: &StepSide) -> String {
    if let Some(failure) = &side.failure {
        return harmless(&one_line(failure, WIDE));
    }
    let calls: Vec<String> = side
        .calls
        .iter()
        .map(|call| {
            let end = call.status.as_deref().unwrap_or("no end");
            let arguments = one_line(&call.arguments, WIDE / 2);
            if end == "ok" {
                format!("{} {arguments}", call.name)
            } else {
                format!("{} {arguments}: {end}", call.name)
            }
        })
        .collect();
    let said = if calls.is_empty() { one_line(&side.text, WIDE) } else { calls.join("; ") };
    harmless(&one_line(&said, WIDE))
}

fn ends(endings: &sterna_runtime::Sides<Vec<Ending>>) -> Vec<Vec<String>> {
    let (old, new) = (&endings.recorded, &endings.new);
    let word = |end: Option<&Ending>| end.map_or("-".to_owned(), |end| end.outcome.clone());
    (0..old.len().max(new.len()))
        .map(|at| {
            let (old, new) = (old.get(at), new.get(at));
            let turn = old.or(new).map_or(0, |end| end.turn);
            let same = old.map(|end| &end.outcome) == new.map(|end| &end.outcome);
            vec![format!("{turn} ends"), if same { "=" } else { "≠" }.into(), word(old), word(new)]
        })
        .collect()
}

fn costs(print: &Print, report: &WhatIfReport) -> String {
    let run = &report.run;
    let cells = |name: &str, cost: &Cost| -> Vec<String> {
        let (input, output) = (cost.usage.input(), cost.usage.output);
        vec![
            name.into(),
            cost.calls.to_string(),
            input.to_string(),
            output.to_string(),
            money(sterna_model::dollars(cost.cost)),
        ]
    };
    let rows = [
        cells("recorded", &run.cost.recorded),
        cells("new", &run.cost.new),
        cells("spent for this", &run.spent),
    ];
    format!("\n{}", table(print, &["", "model calls", "tokens read", "written", "cost"], &rows))
}

fn changed(print: &Print, whose: &str, files: &[FileDiff]) -> String {
    let head = match files.len() {
        0 => format!("files, {whose}: none changed"),
        1 => format!("files, {whose}: 1 path"),
        n => format!("files, {whose}: {n} paths"),
    };
    let mut text = format!("\n{}\n", print.paint(&head, Style::Bold));
    for file in files {
        let what = serde_json::to_value(file.what).ok();
        let what = what.as_ref().and_then(|what| what.as_str()).unwrap_or("changed");
        text.push_str(&format!("  {what:<9} {}\n", harmless(&file.path)));
        if let Some(diff) = &file.diff {
            for line in diff.lines() {
                let style = match line.as_bytes().first() {
                    Some(b'+') => Style::Green,
                    Some(b'-') => Style::Red,
                    _ => Style::Dim,
                };
                text.push_str(&format!("    {}\n", print.paint(&harmless(line), style)));
            }
        }
    }
    text
}

/// The word with which this program becomes the caged run.
const WORD: &str = "what-if-inside";
/// Characters of a step in a column.
const WIDE: usize = 60;
