//! `sterna skills`: the skills, prompt files and agents that count here, and what is wrong with their files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use sterna::skills::{
    FileProblem, Found, Origin, Problem, ProblemWeight, Shelf, Shelved, SkillText, parse_agent,
    parse_command, read_text, shelf, shelf_now, skill_file,
};

use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::print::{harmless, one_line};
use crate::render::counted;
use crate::table::table;
use crate::trust::{self, Wish};

#[derive(Debug, Args)]
pub struct SkillsArgs {
    #[command(subcommand)]
    command: SkillsCommand,
}

#[derive(Debug, Subcommand)]
enum SkillsCommand {
    /// Lists the skills, prompt files and agents that count here
    List {
        /// One object a line
        #[arg(long)]
        json: bool,
    },
    /// Shows one skill, prompt file or agent
    Show {
        name: String,
        /// One object
        #[arg(long)]
        json: bool,
    },
    /// Says what is wrong with files, trusted or not, and runs nothing
    Validate {
        /// A skill's folder, a folder of skills, or a file; those of this folder and your own unless it is said
        path: Option<PathBuf>,
        /// One object a problem
        #[arg(long)]
        json: bool,
        /// Hold skills against the specification alone: what others refuse fails too
        #[arg(long)]
        strict: bool,
    },
}

/// One row of the list.
#[derive(Serialize)]
struct Row {
    kind: &'static str,
    name: String,
    description: String,
    origin: Origin,
    file: PathBuf,
    /// The model may load it.
    model: bool,
    /// A person may run it by `/name`.
    person: bool,
    #[serde(skip)]
    text: String,
}

pub async fn skills(args: SkillsArgs) -> Result<ExitCode, Failure> {
    match args.command {
        // It helps with what is broken.
        SkillsCommand::Validate { path, json, strict } => {
            validate(&Context::lenient(None)?, path.as_deref(), json, strict)
        }
        SkillsCommand::List { json } => list(&joined().await?, json),
        SkillsCommand::Show { name, json } => show(&joined().await?, &name, json),
    }
}

async fn joined() -> Result<Context, Failure> {
    let mut cx = Context::load(None)?;
    trust::join(&mut cx, Wish { once: false, ask: false }).await?;
    Ok(cx)
}

fn list(cx: &Context, json: bool) -> Result<ExitCode, Failure> {
    let (rows, problems) = rows(&here(cx));
    for problem in problems.iter().filter(|of| of.problem.weight >= ProblemWeight::Shadowed) {
        cx.print.warning(&problem.told());
    }
    if json {
        rows.iter().try_for_each(|row| cx.print.json(row))?;
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        cx.print.note("there are no skills, prompt files or agents here");
        return Ok(ExitCode::SUCCESS);
    }
    let cells = |row: &Row| {
        let who = match (row.model, row.person) {
            (true, true) => "both",
            (true, false) => "model",
            (false, true) => "person",
            (false, false) => "nobody",
        };
        let origin = match row.origin {
            Origin::Project => "project",
            Origin::User => "user",
        };
        let about = one_line(&row.description, 80);
        vec![row.kind.into(), one_line(&row.name, 64), origin.into(), who.into(), about]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    cx.print.out(&table(&cx.print, &["KIND", "NAME", "FROM", "FOR", "WHAT IT IS"], &rows))?;
    Ok(ExitCode::SUCCESS)
}

fn show(cx: &Context, name: &str, json: bool) -> Result<ExitCode, Failure> {
    let shelf = here(cx);
    let (rows, _) = rows(&shelf);
    let found: Vec<&Row> = rows.iter().filter(|row| row.name == name).collect();
    if found.is_empty() {
        let near = sterna::skills::nearest(name, rows.iter().map(|row| row.name.as_str()));
        let failure =
            Failure::usage(format!("there is no skill, prompt file or agent `{}`", one_line(name, 64)));
        return Err(match near.as_slice() {
            [] => failure.hint("`sterna skills list` shows those that there are"),
            near => failure.hint(format!("did you mean {}?", near.join(" or "))),
        });
    }
    let skills = shelf.skills().found;
    for row in found {
        let skill = skills.iter().find(|skill| row.kind == SKILL && skill.name == row.name);
        if json {
            let mut object = json!(row);
            object["text"] = json!(row.text);
            if let Some(Found { what, .. }) = skill {
                object["skill"] = json!({
                    "when_to_use": what.when_to_use, "argument_hint": what.argument_hint, "license": what.license,
                    "compatibility": what.compatibility, "allowed_tools": what.allowed_tools,
                    "agent": what.forks,
                    "metadata": what.metadata.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                });
                object["files"] = json!(skill.map(Found::files));
            }
            cx.print.json(&object)?;
            continue;
        }
        cx.print.line(&format!("{} {}: {}", row.kind, row.name, one_line(&row.description, 1_024)))?;
        cx.print.line(&format!("file: {}", row.file.display()))?;
        if let Some(Found { what, .. }) = skill {
            let tools = what.allowed_tools.as_ref().map(|tools| tools.join(", "));
            let facts = [
                ("when to use", &what.when_to_use),
                ("arguments", &what.argument_hint),
                ("tools", &tools),
                ("done by an agent", &what.forks),
                ("licence", &what.license),
                ("needs", &what.compatibility),
            ];
            for (title, fact) in facts {
                if let Some(fact) = fact {
                    cx.print.line(&format!("{title}: {}", one_line(fact, 1_024)))?;
                }
            }
            for (key, value) in &what.metadata {
                cx.print.line(&format!("{}: {}", one_line(key, 64), one_line(value, 1_024)))?;
            }
            let files = skill.map(Found::files).unwrap_or_default();
            if !files.is_empty() {
                cx.print.line(&format!("files: {}", one_line(&files.join(", "), 2_048)))?;
            }
        }
        cx.print.line(&format!("\n{}", harmless(&row.text)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn validate(cx: &Context, path: Option<&Path>, json: bool, strict: bool) -> Result<ExitCode, Failure> {
    let (checked, mut problems) = match path {
        Some(path) => at(path)?,
        None => {
            let root = trust::find(cx).map_or_else(|| cx.cwd.clone(), |project| project.root);
            let shelf = shelf_now(&cx.places.config, &root, &cx.cwd);
            let (rows, problems) = rows(&shelf);
            (rows.len(), problems)
        }
    };
    let floor = if strict { ProblemWeight::Strict } else { ProblemWeight::Warning };
    problems.retain(|of| of.problem.weight >= floor);
    let fails = |of: &FileProblem| strict || of.problem.weight == ProblemWeight::Error;
    for problem in &problems {
        if json {
            cx.print.json(problem)?;
        } else {
            let word = if fails(problem) { "" } else { "warning: " };
            let FileProblem { file, problem } = problem;
            let message = one_line(&problem.message, 300);
            cx.print.line(&format!("{}:{}: {word}{message}", file.display(), problem.line))?;
        }
    }
    let failed = problems.iter().filter(|of| fails(of)).count();
    if !json {
        let warned = counted((problems.len() - failed) as u64, "warning");
        cx.print.note(&format!("{checked} usable, {}, {warned}", counted(failed as u64, "problem")));
    }
    Ok(if failed > 0 { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// What a person points at: a skill, or a folder of them. How many can be used, and what is wrong.
fn at(path: &Path) -> Result<(usize, Vec<FileProblem>), Failure> {
    let shown = path.display();
    let cannot = |error: std::io::Error| Failure::usage(format!("`{shown}`: {error}"));
    let real = fs::canonicalize(path).map_err(cannot)?;
    let files: Vec<PathBuf> = if real.is_file() {
        vec![real.clone()]
    } else if let Some(file) = skill_file(&real) {
        vec![file]
    } else {
        let mut folders: Vec<PathBuf> =
            fs::read_dir(&real).map_err(cannot)?.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        folders.iter().filter_map(|folder| skill_file(folder)).collect()
    };
    if files.is_empty() {
        let problem =
            Problem { line: 1, weight: ProblemWeight::Error, message: "there is no SKILL.md".into() };
        return Ok((0, vec![FileProblem { file: real, problem }]));
    }
    let mut usable = 0;
    let mut all = Vec::new();
    for file in files {
        let (is_usable, problems) = match read_text(&file) {
            Ok(text) => check(&file, &text),
            Err(message) => (false, vec![Problem { line: 1, weight: ProblemWeight::Error, message }]),
        };
        usable += usize::from(is_usable);
        all.extend(problems.into_iter().map(|problem| FileProblem { file: file.clone(), problem }));
    }
    Ok((usable, all))
}

/// What a file is follows from its place: `agents/x.md`, `commands/x.md`, or a skill.
fn check(file: &Path, text: &str) -> (bool, Vec<Problem>) {
    let name = |name: Option<&std::ffi::OsStr>| name.unwrap_or_default().to_string_lossy().into_owned();
    let folder = name(file.parent().and_then(Path::file_name));
    let is_sheet = skill_file(file.parent().unwrap_or(file)).as_deref() != Some(file);
    match folder.as_str() {
        "agents" if is_sheet => {
            let (agent, problems) = parse_agent(text, &name(file.file_stem()));
            (agent.is_some(), problems)
        }
        "commands" if is_sheet => {
            let (command, problems) = parse_command(text, &name(file.file_stem()));
            (command.is_some(), problems)
        }
        _ => {
            let (skill, problems) = SkillText::parse(text, &folder);
            (skill.is_some(), problems)
        }
    }
}

fn here(cx: &Context) -> Shelf {
    shelf(&cx.places.config, cx.trust.trusted().map(AsRef::as_ref))
}

fn rows(shelf: &Shelf) -> (Vec<Row>, Vec<FileProblem>) {
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    let Shelved { found, problems: of_skills } = shelf.skills();
    problems.extend(of_skills);
    rows.extend(found.into_iter().map(|Found { name, file, place, what }| Row {
        kind: SKILL,
        name,
        description: what.description,
        origin: place.origin,
        file,
        model: !what.disabled,
        person: what.user_invocable,
        text: what.body,
    }));
    let Shelved { found, problems: of_commands } = shelf.commands();
    problems.extend(of_commands);
    rows.extend(found.into_iter().map(|Found { name, file, place, what }| Row {
        kind: "command",
        name,
        description: what.description,
        origin: place.origin,
        file,
        model: false,
        person: true,
        text: what.body,
    }));
    let Shelved { found, problems: of_agents } = shelf.agents();
    problems.extend(of_agents);
    rows.extend(found.into_iter().map(|Found { name, file, place, what }| Row {
        kind: "agent",
        name,
        description: what.description,
        origin: place.origin,
        file,
        model: true,
        person: false,
        text: what.prompt,
    }));
    (rows, problems)
}

const SKILL: &str = "skill";
