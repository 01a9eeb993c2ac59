//! `sterna memory`: notes, seen and changed by a person.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use sterna::memory_of;
use sterna::tool::{MemoryError, MemoryPlace, NewNote, Remembered, SharedMemory};
use sterna_log::fold::Note;
use sterna_model::{MemoryScope, MemorySource, SessionId};
use sterna_runtime::Env;
use sterna_sqlite::SqliteStore;

use crate::args::whole;
use crate::context::Context;
use crate::edit::in_editor;
use crate::failure::Failure;
use crate::print::{Style, harmless, one_line};
use crate::table::{age, now, table};

#[derive(Debug, Args)]
pub struct MemoryArgs {
    #[command(subcommand)]
    command: Option<MemoryCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum MemoryCommand {
    /// Lists notes
    List(ListArgs),
    /// Shows a note whole
    Show(RefArgs),
    /// Keeps a note; one of the same name is replaced
    Add(AddArgs),
    /// Changes a note, in your editor unless a flag says what
    Edit(EditArgs),
    /// Forgets a note
    Forget(RefArgs),
    /// Finds notes as the model finds them
    Search(SearchArgs),
    /// Writes all notes as Markdown
    Dump(DumpArgs),
    /// Keeps the notes of a Markdown file that `dump` or a person wrote
    Load(LoadArgs),
}

/// Whose notes.
#[derive(Debug, Clone, Args)]
struct PlaceArgs {
    /// Of the project in this folder; the current one unless it is said
    #[arg(short = 'C', long = "cd", value_name = "DIR")]
    cd: Option<PathBuf>,
    /// Those of this session too
    #[arg(long, value_name = "ID")]
    session: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScopeArg {
    User,
    Project,
    Session,
}

impl From<ScopeArg> for MemoryScope {
    fn from(scope: ScopeArg) -> Self {
        match scope {
            ScopeArg::User => Self::User,
            ScopeArg::Project => Self::Project,
            ScopeArg::Session => Self::Session,
        }
    }
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Only notes of this scope
    #[arg(long)]
    scope: Option<ScopeArg>,
    /// One object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RefArgs {
    /// The note's id, name or alias
    #[arg(value_name = "NOTE")]
    reference: String,
    #[command(flatten)]
    place: PlaceArgs,
    /// Only in this scope
    #[arg(long)]
    scope: Option<ScopeArg>,
    /// One object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct AddArgs {
    /// What it is called
    name: String,
    /// What is to be known; read from stdin when absent or `-`
    text: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Who finds it
    #[arg(long, default_value = "project")]
    scope: ScopeArg,
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Another name under which it is found
    #[arg(long = "alias", value_name = "NAME")]
    aliases: Vec<String>,
    /// One object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct EditArgs {
    #[command(flatten)]
    of: RefArgs,
    /// Its new text
    #[arg(long)]
    text: Option<String>,
    /// Its tags from now on; an empty one takes them away
    #[arg(long = "tag", value_name = "TAG")]
    tags: Option<Vec<String>>,
    /// Its other names from now on; an empty one takes them away
    #[arg(long = "alias", value_name = "NAME")]
    aliases: Option<Vec<String>>,
}

#[derive(Debug, Args)]
struct SearchArgs {
    /// What to look for
    #[arg(required = true, num_args = 1..)]
    query: Vec<String>,
    #[command(flatten)]
    place: PlaceArgs,
    /// At most so many, up to 20
    #[arg(long, value_name = "N", default_value_t = 10, allow_negative_numbers = true, value_parser = whole::<usize>)]
    limit: usize,
    /// One object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DumpArgs {
    /// Where to; stdout when absent or `-`
    file: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Only notes of this scope
    #[arg(long)]
    scope: Option<ScopeArg>,
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// Where from; stdin when `-`
    file: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// One object
    #[arg(long)]
    json: bool,
}

pub async fn memory(args: MemoryArgs) -> Result<ExitCode, Failure> {
    match args.command.unwrap_or(MemoryCommand::List(args.list)) {
        MemoryCommand::List(args) => list(args).await,
        MemoryCommand::Show(args) => show(args).await,
        MemoryCommand::Add(args) => add(args).await,
        MemoryCommand::Edit(args) => edit(args).await,
        MemoryCommand::Forget(args) => forget(args).await,
        MemoryCommand::Search(args) => search(args).await,
        MemoryCommand::Dump(args) => dump(args).await,
        MemoryCommand::Load(args) => load(args).await,
    }
}

async fn list(args: ListArgs) -> Result<ExitCode, Failure> {
    let Some(open) = Open::if_there(&args.place)? else { return nothing(args.json, &args.place) };
    let notes = open.notes(args.scope).await?;
    if args.json {
        for note in &notes {
            open.cx.print.json(&json_of(note))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if notes.is_empty() {
        return nothing(false, &args.place);
    }
    let now = now();
    let rows: Vec<Vec<String>> = notes
        .iter()
        .map(|held| {
            let note = &held.note;
            let used = if open.sleeps(held) { "not recalled any more".into() } else { age(now, held.used) };
            let text = one_line(&note.text, 60);
            vec![note.id.clone(), note.scope.to_string(), used, one_line(&note.name, 40), text]
        })
        .collect();
    open.cx.print.out(&table(&open.cx.print, &["id", "scope", "used", "name", "text"], &rows))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(args: RefArgs) -> Result<ExitCode, Failure> {
    let open = Open::store(&args.place)?;
    let held = open.find(&args.reference, args.scope).await?;
    if args.json {
        open.cx.print.json(&json_of(&held))?;
    } else {
        open.cx.print.out(&shown(&open.cx, &held))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(args: AddArgs) -> Result<ExitCode, Failure> {
    let open = Open::store(&args.place)?;
    let text = match args.text.filter(|text| text != "-") {
        Some(text) => text,
        None => from_stdin()?,
    };
    let note = NewNote {
        scope: args.scope.into(),
        name: args.name,
        text,
        tags: args.tags,
        aliases: args.aliases,
        source: source(),
        tainted: Vec::new(),
    };
    let name = note.name.clone();
    let kept = open.keep(note).await?;
    told(&open.cx, args.json, &kept, &name)
}

async fn edit(args: EditArgs) -> Result<ExitCode, Failure> {
    let open = Open::store(&args.of.place)?;
    let held = open.find(&args.of.reference, args.of.scope).await?;
    let by_flags = args.text.is_some() || args.tags.is_some() || args.aliases.is_some();
    let before = held.note;
    let list = |new: Option<Vec<String>>, old: &[String]| match new {
        Some(new) => new.into_iter().filter(|one| !one.trim().is_empty()).collect(),
        None => old.to_vec(),
    };
    let text = match args.text {
        Some(text) => text,
        None if by_flags => before.text.clone(),
        None => in_editor(before.text.clone(), ".md")
            .await
            .map_err(|why| Failure::failed(why).hint("or give the new text with --text"))?,
    };
    let (tags, aliases) = (list(args.tags, &before.tags), list(args.aliases, &before.aliases));
    if !by_flags && text.trim() == before.text {
        open.cx.print.note("nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    // A text that a person wrote anew is theirs; one that stayed keeps its label.
    let tainted = if text.trim() == before.text { before.tainted } else { Vec::new() };
    let (scope, name) = (before.scope, before.name);
    let note = NewNote { scope, name: name.clone(), text, tags, aliases, source: source(), tainted };
    let kept = open.keep(note).await?;
    told(&open.cx, args.of.json, &kept, &name)
}

async fn forget(args: RefArgs) -> Result<ExitCode, Failure> {
    let open = Open::store(&args.place)?;
    let scope = args.scope.map(MemoryScope::from);
    let gone = open.memory.forget(&open.place, &open.once(), &args.reference, scope, BY).await;
    let gone = gone.map_err(failure)?;
    if args.json {
        open.cx.print.json(&json!({"forgotten": gone.note.id, "name": gone.note.name}))?;
    } else {
        let (id, scope, name) = (&gone.note.id, gone.note.scope, one_line(&gone.note.name, 120));
        open.cx.print.line(&format!("forgot {id} of the {scope}: {name}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn search(args: SearchArgs) -> Result<ExitCode, Failure> {
    let Some(open) = Open::if_there(&args.place)? else { return nothing(args.json, &args.place) };
    let found = open.memory.search(&open.place, &args.query.join(" "), args.limit).await.map_err(failure)?;
    if found.is_empty() && !args.json {
        open.cx.print.note("nothing found");
    }
    for held in &found {
        if args.json {
            open.cx.print.json(&json_of(held))?;
        } else {
            let id = open.cx.print.paint(&held.note.id, Style::Bold);
            let (name, text) = (one_line(&held.note.name, 80), one_line(&held.note.text, 200));
            open.cx.print.line(&format!("{id}  {name}: {text}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn dump(args: DumpArgs) -> Result<ExitCode, Failure> {
    let notes = match Open::if_there(&args.place)? {
        Some(open) => open.notes(args.scope).await?,
        None => Vec::new(),
    };
    let text = sterna_memory::dump(&notes);
    let cx = Context::load(None)?;
    match args.file.filter(|file| file != Path::new("-")) {
        None => cx.print.out(&text)?,
        Some(file) => {
            std::fs::write(&file, text)
                .map_err(|why| Failure::failed(format!("cannot write {}: {why}", file.display())))?;
            cx.print.note(&format!("wrote {} notes to {}", notes.len(), file.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn load(args: LoadArgs) -> Result<ExitCode, Failure> {
    let open = Open::store(&args.place)?;
    let text = if args.file == Path::new("-") {
        from_stdin()?
    } else {
        std::fs::read_to_string(&args.file)
            .map_err(|why| Failure::usage(format!("cannot read {}: {why}", args.file.display())))?
    };
    let notes = sterna_memory::load(&text, BY)
        .map_err(|bad| Failure::usage(format!("{} is no dump of notes: {bad}", args.file.display())))?;
    let (mut kept, mut replaced) = (0, 0);
    for note in notes {
        let name = note.name.clone();
        let done = open.memory.remember(&open.place, &open.once(), note).await;
        let done = done.map_err(|error| {
            Failure::usage(format!("the note `{}`: {error}", one_line(&name, 120))).hint(format!(
                "{} notes before it are kept; mend it and load the file again",
                kept + replaced
            ))
        })?;
        if done.replaced {
            replaced += 1;
        } else {
            kept += 1;
        }
    }
    if args.json {
        open.cx.print.json(&json!({"kept": kept, "replaced": replaced}))?;
    } else {
        open.cx.print.line(&format!("kept {kept} new notes and replaced {replaced}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Memory in the store, and the place that is asked about.
struct Open {
    cx: Context,
    memory: SharedMemory,
    place: MemoryPlace,
    env: std::sync::Arc<sterna::SystemEnv>,
}

impl Open {
    fn store(args: &PlaceArgs) -> Result<Self, Failure> {
        let cx = Context::load(args.cd.as_deref())?;
        let store = cx.store()?;
        Self::over(cx, store, args)
    }

    /// `None`: there is no store, and none is made.
    fn if_there(args: &PlaceArgs) -> Result<Option<Self>, Failure> {
        let cx = Context::load(args.cd.as_deref())?;
        match cx.store_if_there()? {
            Some(store) => Self::over(cx, store, args).map(Some),
            None => Ok(None),
        }
    }

    fn over(cx: Context, store: SqliteStore, args: &PlaceArgs) -> Result<Self, Failure> {
        let session = args.session.as_deref().map(SessionId::new).transpose()?;
        let place = MemoryPlace { root: cx.cwd.display().to_string(), session, now: now() };
        let env = sterna::SystemEnv::new(&[], Vec::new()).secret_in(cx.places.wait_key());
        let env = std::sync::Arc::new(env);
        let secrets = cx.secrets(env.clone());
        let memory = memory_of(&cx.settings, std::sync::Arc::new(store), secrets)?;
        Ok(Self { cx, memory, place, env })
    }

    /// No two commands are the same change.
    fn once(&self) -> String {
        format!("memory:{BY}:{}", self.env.new_session_id())
    }

    async fn notes(&self, scope: Option<ScopeArg>) -> Result<Vec<Note>, Failure> {
        let mut notes = self.memory.list(&self.place).await.map_err(failure)?;
        let scope = scope.map(MemoryScope::from);
        notes.retain(|held| scope.is_none_or(|scope| held.note.scope == scope));
        Ok(notes)
    }

    /// Looking is not using: a person who lists and shows wakes nothing.
    async fn find(&self, reference: &str, scope: Option<ScopeArg>) -> Result<Note, Failure> {
        let key = sterna_log::fold::name_key(reference);
        let mut notes = self.notes(scope).await?;
        notes.sort_by_key(|held| std::cmp::Reverse(held.note.scope));
        let fits = |held: &&Note| {
            held.note.id == reference.trim() || sterna_log::fold::name_key(&held.note.name) == key
        };
        let alias =
            |held: &&Note| held.note.aliases.iter().any(|alias| sterna_log::fold::name_key(alias) == key);
        let found = notes.iter().find(fits).or_else(|| notes.iter().find(alias)).cloned();
        found.ok_or_else(|| failure(MemoryError::Unknown(one_line(reference, 120))))
    }

    async fn keep(&self, note: NewNote) -> Result<Remembered, Failure> {
        self.memory.remember(&self.place, &self.once(), note).await.map_err(failure)
    }

    fn sleeps(&self, held: &Note) -> bool {
        let lasts = held.note.scope == MemoryScope::Session;
        !lasts && self.place.now >= held.used.saturating_add(sterna_memory::UNUSED_MS)
    }
}

fn told(cx: &Context, json: bool, kept: &Remembered, name: &str) -> Result<ExitCode, Failure> {
    if json {
        cx.print.json(&json!({"id": kept.id, "replaced": kept.replaced}))?;
    } else {
        let verb = if kept.replaced { "replaced" } else { "remembered" };
        cx.print.line(&format!("{verb} {}: {}", kept.id, one_line(name, 120)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn nothing(json: bool, place: &PlaceArgs) -> Result<ExitCode, Failure> {
    if !json {
        Context::load(place.cd.as_deref())?.print.note("nothing is remembered");
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(cx: &Context, held: &Note) -> String {
    let note = &held.note;
    let mut text = cx.print.paint(&harmless(&note.name), Style::Bold) + "\n";
    let mut row = |what: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!(
                "{}{}\n",
                cx.print.paint(&format!("{what:<9}"), Style::Dim),
                harmless(&value)
            ));
        }
    };
    let from = match (&note.source.call, &note.source.session) {
        (Some(call), _) => format!("{}, {call}", note.source.by),
        (None, Some(session)) => format!("{}, session {session}", note.source.by),
        (None, None) => note.source.by.clone(),
    };
    row("id", note.id.clone());
    row("scope", note.scope.to_string());
    row("tags", note.tags.join(", "));
    row("also", note.aliases.join(", "));
    row("from", from);
    row("tainted", note.tainted.join(", "));
    row("written", crate::table::moment(held.updated));
    row("used", crate::table::moment(held.used));
    format!("{text}\n{}\n", harmless(&note.text))
}

fn json_of(held: &Note) -> Value {
    let note = &held.note;
    json!({
        "id": note.id, "name": note.name, "scope": note.scope, "text": note.text, "tags": note.tags,
        "aliases": note.aliases, "source": note.source, "tainted": note.tainted, "created": held.created,
        "updated": held.updated, "used": held.used,
    })
}

fn source() -> MemorySource {
    MemorySource { by: BY.into(), session: None, call: None }
}

fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|why| Failure::usage(format!("cannot read the text from stdin: {why}")))?;
    Ok(text)
}

fn failure(error: MemoryError) -> Failure {
    match error {
        MemoryError::Refused(why) => Failure::usage(why),
        MemoryError::Unknown(_) => {
            Failure::failed(error.to_string()).hint("`sterna memory list` shows what there is")
        }
        MemoryError::Log(error) => error.into(),
    }
}

/// The surface, as records name it.
const BY: &str = "cli";
