//! What a folder's own files may do here: asks the user's log, and at a terminal the person.

use std::path::PathBuf;
use std::sync::Arc;

use sterna::config;
use sterna::trust::{Look, Project, Trust, TrustBook, Why};
use sterna_sqlite::SqliteStore;

use crate::context::Context;
use crate::failure::Failure;
use crate::person::{Line, Person};
use crate::print::one_line;
use crate::table::now;

/// How far a command may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// `--trust`: for this run.
    pub once: bool,
    /// A person sits here and is asked.
    pub ask: bool,
}

/// Finds out whether the files of this folder count, and reads its configuration if they do.
pub async fn join(cx: &mut Context, wish: Wish) -> Result<(), Failure> {
    let Some(project) = find(cx) else { return Ok(()) };
    let project = Arc::new(project);
    let book = cx.store_if_there()?.map(book_of);
    let mut trust = Trust::of_project(project.clone(), book.as_ref()).await?;
    if let Trust::Untrusted { why, .. } = &trust {
        let refused = matches!(why, Why::Refused(_));
        let yes = match wish {
            _ if refused => false,
            Wish { once: true, .. } => true,
            Wish { ask: true, .. } => ask(cx, &project, why).await?,
            Wish { .. } => false,
        };
        if yes {
            trust = Trust::Trusted(project);
        } else {
            let (root, n) = (project.root.display(), project.files.len());
            let (files, are) = if n == 1 { ("file", "is") } else { ("files", "are") };
            cx.print.warning(&format!(
                "{n} {files} of {root} that could make Sterna do something {are} not used: {why}"
            ));
            if !refused {
                cx.print.hint("`sterna trust --show` lists them, `sterna trust` trusts them as they are, --trust for one run");
            }
        }
    }
    if let Some(project) = trust.trusted() {
        let get = |name: &str| std::env::var(name).ok();
        let before = std::mem::replace(
            &mut cx.settings,
            config::load_with(&cx.places, &get, Some(project)).map_err(Failure::from)?,
        );
        for notice in cx.settings.notices.iter().filter(|notice| !before.notices.contains(notice)) {
            cx.print.warning(notice);
        }
    }
    cx.trust = trust;
    Ok(())
}

/// What there is in this folder, whether it is trusted or not.
pub fn find(cx: &Context) -> Option<Project> {
    let own: Vec<PathBuf> = [&cx.places.config, &cx.places.data, &cx.places.state, &cx.places.cache]
        .into_iter()
        .map(|dir| std::fs::canonicalize(dir).unwrap_or_else(|_| dir.clone()))
        .collect();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let home = home.map(|home| std::fs::canonicalize(&home).unwrap_or(home));
    Project::find(&cx.cwd, Look { own: &own, home: home.as_deref() })
}

pub fn book_of(store: SqliteStore) -> TrustBook {
    let store = Arc::new(store);
    TrustBook::new(store.clone(), store)
}

/// What a project holds, one line each, at most `most`.
pub fn listed(project: &Project, most: usize) -> Vec<String> {
    let what = |path: &str| {
        let ends = |name: &str| path == name || path.ends_with(&format!("/{name}"));
        match path {
            _ if ends(".mcp.json") || ends("mcp.json") => "servers that would be started or reached",
            _ if ends("hooks.json") || path.contains("/hooks/") => "commands that would run by themselves",
            _ if ends("settings.json") || ends("settings.local.json") => "hooks and permissions",
            _ if ends("config.toml") || ends("config.local.toml") => "rules and settings",
            _ if path.contains("agents/agents/") || path.contains("/agents/") => "an agent's instructions",
            _ => "instructions, or a script beside them",
        }
    };
    let mut lines: Vec<String> = (project.files.iter().take(most))
        .map(|file| format!("{}  ({})", one_line(&file.path, 100), what(&file.path)))
        .collect();
    if project.files.len() > most {
        lines.push(format!("and {} more", project.files.len() - most));
    }
    lines
}

async fn ask(cx: &Context, project: &Project, why: &Why) -> Result<bool, Failure> {
    let root = project.root.display();
    cx.print.note(&format!("{root} has files that could make Sterna do something; {why}:"));
    for line in listed(project, 20) {
        cx.print.note(&format!("  {line}"));
    }
    let person = Person::new(None);
    loop {
        match person.read("trust them? [y]es / [o]nce / [n]o: ", false).await {
            Line::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "y" | "yes" => {
                    book_of(cx.store()?).trust(project, now(), BY).await?;
                    return Ok(true);
                }
                "o" | "once" => return Ok(true),
                "n" | "no" | "" => return Ok(false),
                _ => {}
            },
            Line::Interrupt | Line::End => return Ok(false),
        }
    }
}

/// Who trusts, in the records.
pub const BY: &str = "person";
