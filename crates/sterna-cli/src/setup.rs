//! From flags and configuration to a `Sterna` that can send its first request. What is wrong is said here, before any
//! session is made.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use sterna::{Sterna, Store};
use sterna_log::{Filter, LogError, Page, SessionRow, SharedLog, Status};
use sterna_model::{Body, Decision, Limits, Mode, OnAsk, Route, RuleText, SandboxWish, Scope, SessionId};
use sterna_policy::Rule;
use sterna_runtime::State;

use crate::args::{OnAskArg, TurnArgs};
use crate::context::Context;
use crate::failure::{Failure, USAGE};
use crate::trust::{self, Wish};

/// The exit code when a sandbox is required and there is none.
const NO_SANDBOX: u8 = 7;
const NANO: f64 = 1e9;
/// How long a prompt is held up by MCP servers that were never started before.
#[cfg(feature = "mcp")]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// A person sits at this terminal: they can be asked, and see what they are asked.
pub fn has_person(cx: &Context) -> bool {
    cx.print.live_err && std::io::stdin().is_terminal()
}

/// As `context`, with the folder's own configuration when it is trusted. `ask`: a person at the terminal is asked.
pub async fn context_here(args: &TurnArgs, ask: bool) -> Result<Context, Failure> {
    let mut cx = context(args)?;
    let ask = ask && has_person(&cx);
    trust::join(&mut cx, Wish { once: args.trust, ask }).await?;
    Ok(cx)
}

/// Reads configuration, says what was read and is not used, and refuses flags that cannot hold.
/// Nothing of the folder counts yet: `trust::join`.
pub fn context(args: &TurnArgs) -> Result<Context, Failure> {
    mode(args)?;
    let cx = Context::load(args.cd.as_deref())?;
    let flags = [
        ("model", args.model.is_some()),
        ("fallback", !args.fallback.is_empty()),
        ("effort", args.effort.is_some()),
        ("mode", args.mode.is_some()),
        ("on_ask", args.on_ask.is_some()),
        ("max_steps", args.max_steps.is_some()),
        ("max_cost", args.max_cost.is_some()),
        ("deadline", args.deadline.is_some()),
        ("sandbox", args.sandbox.is_some()),
    ];
    for (key, _) in flags.into_iter().filter(|(_, given)| *given) {
        cx.settings.check_flag(key)?;
    }
    sandbox(args, &cx)?;
    for notice in &cx.settings.notices {
        cx.print.warning(notice);
    }
    Ok(cx)
}

/// The user's store, or one that keeps nothing.
pub fn store(cx: &Context) -> Result<(Store, SharedLog), Failure> {
    if cx.ephemeral {
        let log = Arc::new(sterna_log::MemoryLog::new());
        return Ok((Store::Own(log.clone(), log.clone()), log));
    }
    let store = Arc::new(cx.store()?);
    Ok((Store::Own(store.clone(), store.clone()), store))
}

/// Puts everything together. `route`: what an existing session used last; a flag comes before it.
pub async fn sterna(
    cx: &Context,
    args: &TurnArgs,
    store: Store,
    route: Option<&Route>,
    person: bool,
) -> Result<Sterna, Failure> {
    let print = cx.print;
    let mut builder = Sterna::builder()
        .places(cx.places.clone())
        .settings(cx.settings.clone())
        .store(store)
        .workspace(&cx.cwd)
        .trusted(cx.trust.trusted().is_some())
        .limits(limits(args, &cx.settings.limits)?)
        .on_ask(on_ask(args, cx, person))
        // Where somebody stays, `chat` has them named. A run ends with its answer.
        .titles_of_words()
        .sandbox(sandbox(args, cx)?)
        .on_notice(move |text| print.note(text));
    if let Some(project) = cx.trust.trusted() {
        builder = builder.project(project.clone());
    }
    if let Some(route) = args.model.clone().or_else(|| route.map(Route::to_string)) {
        builder = builder.model(route);
    }
    // What is not kept is not found again either: its commands end with it.
    if cx.ephemeral {
        builder = builder.checkpoints(false).commands_end_with_us();
    }
    if !args.fallback.is_empty() {
        builder = builder.fallback(fallback(args)?);
    }
    if let Some(effort) = args.effort {
        builder = builder.effort(effort);
    }
    if let Some(file) = &args.output_schema {
        builder = builder.output_schema(schema(file)?);
    }
    builder = builder.helper(crate::commands::shim::helper());
    #[cfg(feature = "mcp")]
    {
        builder = builder.mcp(crate::commands::mcp::servers(cx));
        if cx.hasty {
            builder = builder.mcp_patience(PATIENCE);
        }
    }
    if let Some(mode) = mode(args)? {
        builder = builder.mode(mode);
    }
    for dir in &args.add_dir {
        builder = builder.add_dir(dir);
    }
    for (decision, flag, texts) in
        [(Decision::Allow, "--allow", &args.allow), (Decision::Deny, "--deny", &args.deny)]
    {
        for text in texts {
            let rule = RuleText { decision, text: text.clone(), scope: Scope::Session, source: flag.into() };
            Rule::parse(&rule).map_err(|e| {
                Failure::usage(format!("{flag} `{text}`: {e}"))
                    .hint("write Tool or Tool(pattern), for example --allow \"Shell(cargo test *)\"")
            })?;
            builder = builder.rule(decision, text, flag);
        }
    }
    let sterna = builder.build().await?;
    if sterna.turn_config().sandbox.is_strict() {
        sterna.check_sandbox().await.map_err(no_sandbox)?;
    }
    Ok(sterna)
}

fn no_sandbox(why: String) -> Failure {
    let hint = "`sterna doctor` shows what is missing; without a sandbox, commands that write ask first";
    Failure { code: NO_SANDBOX, ..Failure::usage(format!("a sandbox is required: {why}")).hint(hint) }
}

/// Whether its turns could send a request, and their limits hold.
pub fn ready(sterna: &Sterna) -> Result<(), Failure> {
    let config = sterna.turn_config();
    sterna.ready(&config.route).map_err(|why| not_ready(&config.route, &why))?;
    let known = |route: &Route| sterna.runtime().parts().provider.model(route);
    for route in &config.fallback {
        // Its key is looked for when it takes over, and whether there is such a route is told now.
        known(route).map_err(|why| {
            let failure = not_ready(route, &why);
            Failure { message: format!("fallback {route}: {}", failure.message), ..failure }
        })?;
    }
    let priced = || known(&config.route).is_ok_and(|info| info.price.is_some());
    let limits = &config.limits;
    let capped = [limits.max_cost, limits.session_max_cost, limits.tree_max_cost].iter().any(Option::is_some);
    if capped && !priced() {
        let message = format!("the price of {} is not known, so a cap on its cost cannot hold", config.route);
        let hint = "use a model whose price is known, or leave out --max-cost and what is configured like it";
        return Err(Failure::usage(message).hint(hint));
    }
    Ok(())
}

/// The folded state of a session that exists.
pub async fn state(log: &SharedLog, id: &SessionId) -> Result<Option<State>, Failure> {
    match log.head(id).await {
        Ok(_) => Ok(Some(State::load(log, id).await?)),
        Err(LogError::NotFound(_)) => Ok(None),
        // Of a deleted session, too, records may be left that a fork shares.
        Err(error) => Err(error.into()),
    }
}

/// Sessions of this folder that a person began, newest first. Without a status: those that are not closed.
pub async fn sessions_here(
    cx: &Context,
    log: &SharedLog,
    status: Option<Status>,
    limit: usize,
) -> Result<Vec<SessionRow>, Failure> {
    let filter = Filter { cwd: Some(cx.cwd.display().to_string()), status, parent: None };
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = log.list(&filter, Page { after, limit }).await?;
        let Some(last) = page.last() else { return Ok(rows) };
        after = Some(last.id.clone());
        for row in page {
            let counts = status.is_some() || row.status != Status::Closed;
            if counts && !is_agents(log, &row.id).await? {
                rows.push(row);
            }
            if rows.len() == limit {
                return Ok(rows);
            }
        }
    }
}

/// Whether an agent works in it for another session. Who cannot be read is nobody's agent.
async fn is_agents(log: &SharedLog, id: &SessionId) -> Result<bool, Failure> {
    match log.read(id, 1, 1).await {
        Ok(page) => Ok(page.first().is_some_and(|sealed| match &sealed.record.body {
            Body::SessionOpened(opened) => opened.spawned.is_some(),
            _ => false,
        })),
        Err(LogError::Corrupt { .. } | LogError::NotFound(_) | LogError::Tombstone(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The mode that is asked for, if there is such a one.
pub fn mode(args: &TurnArgs) -> Result<Option<Mode>, Failure> {
    let Some(word) = &args.mode else { return Ok(None) };
    if let Some(mode) = Mode::ALL.into_iter().find(|mode| mode.word() == word) {
        return Ok(Some(mode));
    }
    let words = Mode::ALL.map(Mode::word).join(", ");
    Err(Failure::usage(format!("there is no mode `{word}`")).hint(format!("modes are {words}")))
}

fn fallback(args: &TurnArgs) -> Result<Vec<Route>, Failure> {
    let mut routes: Vec<Route> = Vec::new();
    for text in &args.fallback {
        let route = text.parse().map_err(|e| Failure::usage(format!("--fallback `{text}`: {e}")))?;
        if routes.contains(&route) {
            return Err(
                Failure::usage(format!("--fallback names {route} twice")).hint("leave one of them out")
            );
        }
        routes.push(route);
    }
    Ok(routes)
}

/// The schema of `--output-schema`. Relative paths start where Sterna was called.
fn schema(file: &Path) -> Result<serde_json::Value, Failure> {
    let shown = file.display();
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("--output-schema {shown}: {why}"))
            .hint("name a file that holds one JSON Schema")
    };
    let text = std::fs::read_to_string(file).map_err(|e| wrong(&e))?;
    let schema = serde_json::from_str(&text).map_err(|e| wrong(&format!("it is not JSON: {e}")))?;
    sterna_runtime::check_output_schema(&schema).map_err(|e| wrong(&e))?;
    Ok(schema)
}

/// How commands are to be confined: what the flags say, else the configuration.
pub fn sandbox(args: &TurnArgs, cx: &Context) -> Result<SandboxWish, Failure> {
    let configured = cx.settings.sandbox.unwrap_or_default();
    let wish = match &args.sandbox {
        None => configured,
        Some(word) => SandboxWish::ALL.into_iter().find(|wish| wish.word() == word).ok_or_else(|| {
            let words = SandboxWish::ALL.map(SandboxWish::word).join(", ");
            Failure::usage(format!("there is no sandbox level `{word}`")).hint(format!("levels are {words}"))
        })?,
    };
    match wish {
        wish if !args.require_sandbox => Ok(wish),
        SandboxWish::None if args.sandbox.is_some() => {
            Err(Failure::usage("--require-sandbox and --sandbox none contradict each other")
                .hint("leave one of them out"))
        }
        SandboxWish::Auto | SandboxWish::None | SandboxWish::Required => Ok(SandboxWish::Required),
        named @ (SandboxWish::Landlock | SandboxWish::Bubblewrap) => Ok(named),
    }
}

/// At a terminal a person is asked, whatever is configured for where there is none.
fn on_ask(args: &TurnArgs, cx: &Context, person: bool) -> OnAsk {
    match args.on_ask {
        Some(OnAskArg::Deny) => OnAsk::Deny,
        Some(OnAskArg::Fail) => OnAsk::Fail,
        Some(OnAskArg::Park) => OnAsk::Park,
        None if person => OnAsk::Prompt,
        None => cx.settings.on_ask.unwrap_or_default(),
    }
}

fn limits(args: &TurnArgs, configured: &Limits) -> Result<Limits, Failure> {
    let mut limits = configured.clone();
    limits.max_steps = args.max_steps.unwrap_or(limits.max_steps);
    if let Some(cost) = args.max_cost {
        limits.max_cost = Some(positive("--max-cost", cost, NANO, "US dollars, for example 0.50")?);
    }
    if let Some(seconds) = args.deadline {
        limits.deadline = Some(positive("--deadline", seconds, 1e3, "seconds, for example 600")?);
    }
    Ok(limits)
}

fn positive(flag: &str, value: f64, scale: f64, what: &str) -> Result<u64, Failure> {
    let scaled = value * scale;
    if value > 0.0 && (1.0..1e18).contains(&scaled) {
        // In range by the line above.
        return Ok(scaled as u64);
    }
    Err(Failure::usage(format!("{flag} {value} is no bound")).hint(format!("give {what}")))
}

/// A provider's "not ready" says what happened, and after a semicolon what to do.
pub fn not_ready(route: &Route, why: &str) -> Failure {
    if let Some((message, hint)) = why.split_once("; ") {
        return Failure { message: message.into(), hint: Some(hint.into()), code: USAGE };
    }
    let hint = match route.provider.as_str() {
        "scripted" => "a script is a file of replies, one JSON object a line, named from the working folder",
        _ => "`sterna doctor` shows which providers are set up; `-m local` needs no key",
    };
    Failure::usage(why).hint(hint)
}
