//! `sessions import`: a new session from an export, or from the session log of another agent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;
use sterna::SystemEnv;
use sterna_import::{
    Agent, Bundle, BundleError, ForeignError, ImportError, Imported, NewSession, Plan, is_bundle,
    read_foreign,
};
use sterna_log::{Log, LogError};
use sterna_model::{Parent, Route, SessionId};
use sterna_runtime::Env;
use sterna_sqlite::SqliteStore;

use crate::context::Context;
use crate::failure::Failure;
use crate::print::one_line;
use crate::render::counted;
use crate::table::now;

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// An export, a session log (JSON lines) of Claude Code, Codex or pi, or what `opencode export` wrote
    file: PathBuf,
    /// The id of the new session
    #[arg(long, value_name = "NEW")]
    id: Option<String>,
    /// Whose file it is; without it, its content says so
    #[arg(long, value_name = "AGENT")]
    from: Option<From>,
    /// The folder that the session works in from now on, instead of the current one
    #[arg(short = 'C', long = "cd", value_name = "DIR")]
    cd: Option<PathBuf>,
    /// Print an object instead of the bare id
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    Sterna,
    Claude,
    Codex,
    Opencode,
    Pi,
}

/// What is told of an import.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    imported: &'a Imported,
    folder: String,
    #[serde(flatten)]
    source: &'a Source,
}

/// Where it comes from, and what did not come with it.
#[derive(Serialize)]
struct Source {
    from: &'static str,
    /// The session's name there.
    source: Option<String>,
    title: Option<String>,
    blobs: usize,
    /// What the new session cannot hold, by kind.
    left_out: BTreeMap<String, u64>,
}

pub async fn import(cx: &Context, args: ImportArgs) -> Result<ExitCode, Failure> {
    let folder = match &args.cd {
        None => cx.cwd.clone(),
        Some(dir) => std::fs::canonicalize(dir).ok().filter(|dir| dir.is_dir()).ok_or_else(|| {
            Failure::usage(format!("`{}` is not a folder", dir.display())).hint("name a folder that exists")
        })?,
    };
    let asked = args.id.as_deref().map(SessionId::new).transpose()?;
    let file = args.file.as_path();
    let of_sterna = match args.from {
        Some(from) => from == From::Sterna,
        None => is_bundle(&beginning(file)?),
    };
    let env = SystemEnv::new(&[], Vec::new());
    let new = new_session(cx, &env, asked, Some(folder.display().to_string()));
    let (store, plan, source) = if of_sterna {
        from_bundle(cx, file, &new, &env).await?
    } else {
        from_log(cx, file, &new, args.from.and_then(From::agent)).await?
    };
    let Plan { appends, imported } = plan;
    store.append_all(appends).await.map_err(|error| taken(error, &new.id))?;
    if args.json {
        let report = Report { imported: &imported, folder: folder.display().to_string(), source: &source };
        cx.print.json(&report)?;
    } else {
        cx.print.line(imported.session.as_str())?;
    }
    notes(cx, &imported, &source);
    Ok(ExitCode::SUCCESS)
}

/// What an import or a salvage decides about its new session.
pub fn new_session(
    cx: &Context,
    env: &SystemEnv,
    id: Option<SessionId>,
    folder: Option<String>,
) -> NewSession {
    NewSession {
        id: id.unwrap_or_else(|| env.new_session_id()),
        folder,
        mode: cx.settings.mode.unwrap_or_default(),
        now: now(),
        sterna: env!("CARGO_PKG_VERSION").into(),
    }
}

/// Ids are used once.
pub async fn must_be_new(store: &SqliteStore, id: &SessionId) -> Result<(), Failure> {
    match store.head(id).await {
        Ok(_) => Err(LogError::Exists(id.clone()).into()),
        Err(LogError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Another process took the id meanwhile.
pub fn taken(error: LogError, id: &SessionId) -> Failure {
    match error {
        LogError::Conflict { .. } => LogError::Exists(id.clone()).into(),
        other => other.into(),
    }
}

/// What had to be ended, for people.
pub fn ended(cx: &Context, imported: &Imported) {
    let ended = &imported.ended;
    let all = [
        (ended.turns, "turn without its end, now stopped"),
        (ended.unknown_calls, "call without a result, now of unknown outcome"),
        (ended.withdrawn_inputs, "input that waited, now withdrawn"),
        (ended.revoked_grants, "grant, now revoked"),
    ];
    for (count, what) in all.into_iter().filter(|(count, _)| *count > 0) {
        cx.print.note(&format!("ended: {count} × {what}"));
    }
}

async fn from_bundle(
    cx: &Context,
    file: &Path,
    new: &NewSession,
    env: &SystemEnv,
) -> Result<(SqliteStore, Plan, Source), Failure> {
    let failed = |error: ImportError| failure(error, file);
    let bundle = Bundle::read(|| open(file)).map_err(failed)?;
    let store = cx.store()?;
    must_be_new(&store, &new.id).await?;
    let mut known: Vec<Parent> = Vec::new();
    for parent in bundle.logs.iter().filter_map(|log| log.parent()) {
        if has_record(&store, parent).await? {
            known.push(parent.clone());
        }
    }
    // The bytes first: what refers to them is not there before them.
    let source = open(file).map_err(|error| failed(error.into()))?;
    bundle.store_blobs(source, &store).await.map_err(failed)?;
    let told = Source {
        from: "sterna",
        source: bundle.session().map(SessionId::to_string),
        title: None,
        blobs: bundle.blobs.len(),
        left_out: BTreeMap::new(),
    };
    let plan = bundle.plan(new, |parent| known.contains(parent), || env.new_session_id());
    Ok((store, plan.map_err(failed)?, told))
}

async fn from_log(
    cx: &Context,
    file: &Path,
    new: &NewSession,
    agent: Option<Agent>,
) -> Result<(SqliteStore, Plan, Source), Failure> {
    let failed = |error: ImportError| failure(error, file);
    let bytes = std::fs::read(file).map_err(|error| failed(error.into()))?;
    // Before it is read: what stands in its strings becomes placeholders, and it stays JSON.
    let env = SystemEnv::new(&[], Vec::new()).secret_in(cx.places.wait_key());
    let bytes = cx.secrets(std::sync::Arc::new(env)).of(&new.id).redact_bytes(&bytes).into_owned();
    let mut foreign = read_foreign(&bytes, agent).map_err(|error| failed(error.into()))?;
    let route = cx.settings.model.clone().unwrap_or_else(unknown_model);
    let plan = foreign.plan(new, &route).map_err(failed)?;
    let store = cx.store()?;
    must_be_new(&store, &new.id).await?;
    let told = Source {
        from: foreign.agent.word(),
        source: foreign.session,
        title: foreign.title,
        blobs: plan.appends.iter().map(|append| append.blobs.len()).sum(),
        left_out: foreign.left_out,
    };
    Ok((store, plan, told))
}

/// Whether the store has this very record.
async fn has_record(store: &SqliteStore, parent: &Parent) -> Result<bool, Failure> {
    match store.read(&parent.session, parent.seq, 1).await {
        Ok(page) => Ok(page.first().is_some_and(|found| found.hash == parent.hash)),
        Err(LogError::NotFound(_) | LogError::Tombstone(_) | LogError::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn notes(cx: &Context, imported: &Imported, source: &Source) {
    let Imported { records, turns, shared, .. } = imported;
    let name = source.source.as_deref().unwrap_or("without a name");
    cx.print.note(&format!(
        "{} with {} from {} session {}",
        counted(*records, "record"),
        counted(*turns, "turn"),
        source.from,
        one_line(name, 200)
    ));
    for id in shared {
        cx.print.note(&format!("the history that it shares is session `{id}`"));
    }
    ended(cx, imported);
    for (kind, count) in &source.left_out {
        cx.print.note(&format!("left out: {count} × {}", one_line(kind, 100)));
    }
}

fn open(file: &Path) -> io::Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 18, File::open(file)?))
}

fn beginning(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(BEGINNING).read_to_end(&mut bytes));
    read.map_err(|error| failure(error.into(), file))?;
    Ok(bytes)
}

fn failure(error: ImportError, file: &Path) -> Failure {
    let at = file.display();
    match error {
        ImportError::Log(error) => error.into(),
        ImportError::Read(error) => Failure::usage(format!("cannot read {at}: {error}"))
            .hint("name an export, or a session log of claude, codex, opencode or pi"),
        ImportError::Foreign(error @ ForeignError::Unknown) => Failure::usage(format!("{at}: {error}"))
            .hint("--from says whose it is; `opencode export ID` writes what can be read of opencode"),
        ImportError::Foreign(error) => Failure::usage(format!("{at}: {error}")),
        ImportError::Bundle(error @ (BundleError::NotOne | BundleError::Version { .. })) => {
            Failure::usage(format!("{at}: {error}"))
        }
        ImportError::Bundle(error) => Failure::failed(format!("{at}: {error}"))
            .hint("nothing was imported; export the session again, or copy the file again"),
        error @ ImportError::Unfoldable { .. } => {
            Failure::failed(format!("{at}: {error}")).hint("nothing was imported")
        }
    }
}

/// For a log that does not say, where no model is configured: `-m` names one when the session goes on.
fn unknown_model() -> Route {
    Route { provider: "unknown".into(), model: "unknown".into() }
}

impl From {
    fn agent(self) -> Option<Agent> {
        match self {
            Self::Sterna => None,
            Self::Claude => Some(Agent::Claude),
            Self::Codex => Some(Agent::Codex),
            Self::Opencode => Some(Agent::Opencode),
            Self::Pi => Some(Agent::Pi),
        }
    }
}

/// Where the first line of an export ends long before.
const BEGINNING: u64 = 64 << 10;
