//! `sterna policy`: what the rules say, before anything runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sterna::trust::CAPABILITY;
use sterna::{Explained, PolicyOf, PolicyView};
use sterna_log::{MemoryLog, SharedLog};
use sterna_model::{Decision, Digest, Grant, GrantScope, Mode, RuleText, SandboxWish, Scope};
use sterna_policy::{Rule, ShellPlan};
use sterna_runtime::{STORED_MS, StoredGrant};

use crate::args::TurnArgs;
use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::print::{Style, one_line};
use crate::trust::{self, Wish};
use crate::{setup, table};

#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Says what would become of a call, and why. Runs nothing
    Explain(ExplainArgs),
    /// Checks the examples of all rules, and a table of command lines
    Test(TestArgs),
    /// Lists rules in the order in which a decision goes by them, and the grants that are stored
    List(ListArgs),
    /// Takes back a stored grant
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// A command line for the shell, as one word
    #[arg(required_unless_present = "tool", conflicts_with = "tool")]
    command: Vec<String>,
    /// Another tool than shell
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Its arguments, a JSON object
    #[arg(long, value_name = "JSON", requires = "tool")]
    args: Option<String>,
    #[command(flatten)]
    of: OfArgs,
    /// One object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Lines of `allow`, `ask` or `deny`, a tab, and a command line; `#` begins a remark
    file: Option<PathBuf>,
    #[command(flatten)]
    of: OfArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Without the built-in rules
    #[arg(long)]
    own: bool,
    /// One object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    /// The first digits of a grant's hash, as `sterna policy list` shows it
    id: String,
}

/// Whose policy.
#[derive(Debug, Args)]
struct OfArgs {
    /// As if work were done in this folder
    #[arg(short = 'C', long = "cd", value_name = "DIR")]
    cd: Option<PathBuf>,
    /// execute, accept-edits, ask, auto, never-ask, bypass, plan or pair
    #[arg(long)]
    mode: Option<String>,
    /// As with this level of the sandbox
    #[arg(long, value_name = "LEVEL")]
    sandbox: Option<String>,
    /// With this rule too
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,
    /// With this rule too
    #[arg(long, value_name = "RULE")]
    deny: Vec<String>,
}

pub async fn policy(args: PolicyArgs) -> Result<ExitCode, Failure> {
    match args.command {
        PolicyCommand::Explain(args) => explain(args).await,
        PolicyCommand::Test(args) => test(args).await,
        PolicyCommand::List(args) => list(args).await,
        PolicyCommand::Revoke(args) => revoke(args).await,
    }
}

async fn explain(args: ExplainArgs) -> Result<ExitCode, Failure> {
    let line = match args.command.as_slice() {
        [] => "",
        [line] => line,
        words => return Err(unquoted(words)),
    };
    let (cx, view) = args.of.view().await?;
    let explained = match &args.tool {
        Some(tool) => {
            let text = args.args.as_deref().unwrap_or("{}");
            let given: Value = serde_json::from_str(text)
                .map_err(|error| Failure::usage(format!("--args is no JSON: {error}")))?;
            view.explain(tool, &given).await
        }
        None => view.explain_command(line).await,
    };
    let explained = explained.map_err(Failure::usage)?;
    if args.json {
        let mut object = explained.verdict.explain();
        object["sandbox"] = json!(explained.level.word());
        cx.print.json(&object)?;
    } else {
        cx.print.out(&told(&cx, &explained))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The shell that starts us has taken the quotes away: what was meant cannot be told from the words.
fn unquoted(words: &[String]) -> Failure {
    let plain = |word: &String| word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c));
    let line = if words.iter().all(plain) { words.join(" ") } else { "git push origin main".to_owned() };
    Failure::usage(format!("the command line came as {} words", words.len()))
        .hint(format!("quote it whole: sterna policy explain '{line}'"))
}

fn told(cx: &Context, explained: &Explained) -> String {
    let Explained { verdict, level } = explained;
    let style = match verdict.decision {
        Decision::Allow => Style::Green,
        Decision::Ask => Style::Yellow,
        Decision::Deny => Style::Red,
    };
    let word = cx.print.paint(verdict.decision.word(), style);
    let mut text = format!("{word}  {}\n", one_line(&verdict.reason, 500));
    if let (Some(rule), Some(source)) = (&verdict.rule, &verdict.source) {
        text += &format!("rule      {}  {source}\n", one_line(rule, 200));
    }
    if let Some(plan) = &verdict.shell {
        text += &format!("sandbox   {}\n", level.word());
        text += &plan_told(plan);
    }
    for met in &verdict.rules {
        text += &format!("met       {} {}  {}\n", met.decision.word(), one_line(&met.rule, 200), met.source);
    }
    text
}

fn plan_told(plan: &ShellPlan) -> String {
    let mut text = String::new();
    if let Some(why) = &plan.unknown {
        text += &format!("unknown   {}\n", one_line(why, 300));
    }
    for command in plan.commands.iter().chain(&plan.glimpsed) {
        let words: Vec<&str> = command.argv.iter().map(|word| word.text.as_str()).collect();
        text += &format!("command   {}\n", one_line(&words.join(" "), 300));
        for redirect in &command.redirects {
            text += &format!("  {:?} {}\n", redirect.kind, one_line(&redirect.target.text, 200));
        }
    }
    text
}

async fn test(args: TestArgs) -> Result<ExitCode, Failure> {
    // A rule that fails its examples is refused here already, with its place.
    let (cx, view) = args.of.view().await?;
    let examples = cx.settings.examples;
    let mut wrong = 0;
    let mut lines = 0;
    if let Some(file) = &args.file {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !is_remark(line)) {
            let place = format!("{}:{}", file.display(), at + 1);
            let (wanted, command) = row(line).ok_or_else(|| {
                Failure::usage(format!("{place}: no `allow`, `ask` or `deny`, a tab and a command line"))
            })?;
            lines += 1;
            let explained = view.explain_command(command).await;
            let explained = explained.map_err(|why| Failure::usage(format!("{place}: {why}")))?;
            let verdict = &explained.verdict;
            if verdict.decision != wanted {
                wrong += 1;
                let said = format!("{place}: {} and not {}", verdict.decision.word(), wanted.word());
                cx.print.out(&format!(
                    "{said}: {}\n    {}\n",
                    one_line(command, 300),
                    one_line(&verdict.reason, 300)
                ))?;
            }
        }
    }
    if args.file.is_none() && examples == 0 {
        cx.print.note("no rule has examples, and no file of command lines is named: nothing was checked");
        return Ok(ExitCode::SUCCESS);
    }
    cx.print.out(&format!("{examples} examples of rules hold; {} of {lines} lines\n", lines - wrong))?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn is_remark(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

fn row(line: &str) -> Option<(Decision, &str)> {
    let (word, command) = line.split_once('\t')?;
    let decisions = [Decision::Allow, Decision::Ask, Decision::Deny];
    Some((decisions.into_iter().find(|decision| decision.word() == word.trim())?, command))
}

async fn list(args: ListArgs) -> Result<ExitCode, Failure> {
    let of = OfArgs { cd: None, mode: None, sandbox: None, allow: Vec::new(), deny: Vec::new() };
    let (cx, view) = of.view().await?;
    let rules: Vec<&Rule> =
        view.rules().into_iter().filter(|rule| !args.own || rule.scope() != Scope::Builtin).collect();
    let grants = stored(&cx).await?;
    if args.json {
        let rules: Vec<Value> = rules.iter().map(|rule| rule_json(rule)).collect();
        let grants: Vec<Value> = grants.iter().map(grant_json).collect();
        cx.print.json(&json!({"rules": rules, "grants": grants}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    let mut floor_told = false;
    for rule in &rules {
        if rule.decision() != Decision::Deny && !floor_told {
            floor_told = true;
            text += "floor  what nobody can lift; then the walls of the mode\n";
        }
        text += &format!(
            "{:<5}  {}  {}\n",
            rule.decision().word(),
            one_line(rule.text(), 200),
            cx.print.paint(rule.source(), Style::Dim)
        );
    }
    for stored in &grants {
        let word = if stored.grant.tool == CAPABILITY { "trust" } else { "grant" };
        text += &format!("{word}  {}\n", grant_told(stored, table::now()));
    }
    cx.print.out(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn revoke(args: RevokeArgs) -> Result<ExitCode, Failure> {
    let cx = Context::load(None)?;
    let grants = stored(&cx).await?;
    let named: BTreeMap<String, Digest> = grants
        .iter()
        .map(|stored| (stored.grant.content.to_string(), stored.grant.content))
        .filter(|(hash, _)| !args.id.is_empty() && hash.starts_with(&args.id.to_ascii_lowercase()))
        .collect();
    let content = match named.values().collect::<Vec<_>>()[..] {
        [content] => *content,
        [] => {
            return Err(Failure::usage(format!("no stored grant has a hash that begins with `{}`", args.id))
                .hint("`sterna policy list` shows them; those of another folder are listed there"));
        }
        _ => {
            return Err(
                Failure::usage(format!("`{}` begins several hashes", args.id)).hint("give more digits")
            );
        }
    };
    let root = cx.cwd.display().to_string();
    let runtime = cx.quiet_runtime(cx.store()?);
    let revoked = runtime.revoke_grant(&root, content, "person").await?;
    cx.print.note(&format!("revoked: {revoked}"));
    Ok(ExitCode::SUCCESS)
}

async fn stored(cx: &Context) -> Result<Vec<StoredGrant>, Failure> {
    let Some(store) = cx.store_if_there()? else { return Ok(Vec::new()) };
    Ok(cx.quiet_runtime(store).stored_grants(&cx.cwd.display().to_string()).await?)
}

fn rule_json(rule: &Rule) -> Value {
    json!({"decision": rule.decision(), "rule": rule.text(), "scope": rule.scope(), "source": rule.source()})
}

fn grant_json(stored: &StoredGrant) -> Value {
    let StoredGrant { grant, at, by, root } = stored;
    json!({
        "tool": grant.tool, "summary": grant.summary, "scope": grant.scope, "content": grant.content.to_string(),
        "given_at": at, "expires": grant.expires, "by": by, "root": root,
    })
}

/// One line: what, for how long, and its hash.
fn grant_told(stored: &StoredGrant, now: u64) -> String {
    let StoredGrant { grant, root, .. } = stored;
    let hash = &grant.content.to_string()[..SHOWN_DIGITS];
    if grant.tool == CAPABILITY {
        return format!("{hash}  {}, its files as they were then", one_line(&grant.summary, 300));
    }
    let whose = root.as_ref().map_or_else(|| "everywhere".to_owned(), |root| format!("in {root}"));
    let days = grant.expires.map(|at| at.saturating_sub(now).div_ceil(DAY_MS));
    let until = days.map_or_else(String::new, |days| format!(", {days} days"));
    format!("{hash}  {}  {}{until}", one_line(&grant.summary, 300), whose)
}

/// A grant that a person is about to store.
pub fn grant_shown(grant: &Grant) -> String {
    let hash = &grant.content.to_string()[..SHOWN_DIGITS];
    let whose = if grant.scope == GrantScope::User { "everywhere" } else { "in this folder" };
    let days = STORED_MS / DAY_MS;
    format!("{} {whose} for {days} days, and nothing but that; hash {hash}", one_line(&grant.summary, 300))
}

impl OfArgs {
    /// The folder's own rules count where it is trusted, as in a turn.
    async fn view(&self) -> Result<(Context, PolicyView), Failure> {
        let turn = TurnArgs {
            cd: self.cd.clone(),
            mode: self.mode.clone(),
            sandbox: self.sandbox.clone(),
            ..TurnArgs::default()
        };
        let mode = setup::mode(&turn)?;
        let mut cx = Context::load(self.cd.as_deref())?;
        trust::join(&mut cx, Wish { once: false, ask: false }).await?;
        let sandbox: SandboxWish = setup::sandbox(&turn, &cx)?;
        let rule = |decision, flag: &str, text: &String| RuleText {
            decision,
            text: text.clone(),
            scope: Scope::Session,
            source: flag.into(),
        };
        let allowed = self.allow.iter().map(|text| rule(Decision::Allow, "--allow", text));
        let denied = self.deny.iter().map(|text| rule(Decision::Deny, "--deny", text));
        let log: SharedLog = match cx.store_if_there()? {
            Some(store) => Arc::new(store),
            None => Arc::new(MemoryLog::new()),
        };
        let view = PolicyView::new(PolicyOf {
            places: cx.places.clone(),
            settings: cx.settings.clone(),
            root: cx.cwd.clone(),
            rules: allowed.chain(denied).collect(),
            mode: mode.or(cx.settings.mode).unwrap_or(Mode::default()),
            sandbox,
            helper: Some(super::shim::helper()),
            log,
        })?;
        Ok((cx, view))
    }
}

/// Digits of a hash that people are shown.
const SHOWN_DIGITS: usize = 12;
const DAY_MS: u64 = 24 * 3_600 * 1_000;
