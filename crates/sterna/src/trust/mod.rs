//! Trust: whether the files of a folder may make us do something. A folder is untrusted until a person says otherwise,
//! and what they say holds for exactly these bytes.
//!
//! It decides nothing that policy decides: it only says whose files count.

mod project;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use sterna_log::{Append, Expect, Log, LogError, SharedBlobs, SharedLog, read_history, user_log};
use sterna_model::{Body, Digest, Draft, Grant, GrantScope, Millis, Mode, Route, SessionOpened};

pub use project::{Look, Project, ProjectFile};

/// Whether a project's files count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// There is nothing that could make us do anything.
    Nothing,
    /// Use the files of this project, as they were read.
    Trusted(Arc<Project>),
    Untrusted {
        why: Why,
        project: Arc<Project>,
    },
}

/// Why files do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Nobody ever said that they do.
    Never,
    /// Somebody took it back.
    Revoked,
    /// Other bytes were trusted. The paths that are new, gone or different, where they are still known.
    Changed(Vec<String>),
    /// They can never be.
    Refused(String),
}

/// The user's log, where trust is kept.
pub struct TrustBook {
    log: SharedLog,
    blobs: SharedBlobs,
}

impl Trust {
    /// What holds for the files of this folder. Without a book nobody has said anything.
    pub async fn of(folder: &Path, look: Look<'_>, book: Option<&TrustBook>) -> Result<Self, LogError> {
        match Project::find(folder, look) {
            None => Ok(Self::Nothing),
            Some(project) => Self::of_project(Arc::new(project), book).await,
        }
    }

    /// The same, of a project that was read before.
    pub async fn of_project(project: Arc<Project>, book: Option<&TrustBook>) -> Result<Self, LogError> {
        if let Some(why) = project.refused.clone() {
            return Ok(Self::Untrusted { why: Why::Refused(why), project });
        }
        let why = match book {
            Some(book) => book.why_not(&project).await?,
            None => Some(Why::Never),
        };
        Ok(match why {
            None => Self::Trusted(project),
            Some(why) => Self::Untrusted { why, project },
        })
    }

    /// The project whose files count.
    pub fn trusted(&self) -> Option<&Arc<Project>> {
        match self {
            Self::Trusted(project) => Some(project),
            Self::Nothing | Self::Untrusted { .. } => None,
        }
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Never => f.write_str("nobody has trusted them yet"),
            Self::Revoked => f.write_str("the trust in them was taken back"),
            Self::Changed(paths) if paths.is_empty() => {
                f.write_str("they have changed since they were trusted")
            }
            Self::Changed(paths) => write!(f, "changed since they were trusted: {}", paths.join(", ")),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl TrustBook {
    pub fn new(log: SharedLog, blobs: SharedBlobs) -> Self {
        Self { log, blobs }
    }

    /// Trusts the project as it was read. Durable on return.
    pub async fn trust(&self, project: &Project, now: Millis, by: &str) -> Result<(), LogError> {
        let grant = Grant {
            tool: CAPABILITY.into(),
            summary: project.root.display().to_string(),
            scope: GrantScope::User,
            content: project.content,
            effects: None,
            expires: None,
            permits: None,
        };
        let body = Body::GrantGiven { grant, by: by.into() };
        self.append(body, now, vec![project.manifest().into()]).await
    }

    /// Takes back all trust in this folder. `false`: there was none.
    pub async fn revoke(&self, root: &Path, now: Millis, by: &str) -> Result<bool, LogError> {
        let given = self.given(root).await?;
        for content in &given.in_force {
            self.append(Body::GrantRevoked { content: *content, by: by.into() }, now, Vec::new()).await?;
        }
        Ok(!given.in_force.is_empty())
    }

    async fn why_not(&self, project: &Project) -> Result<Option<Why>, LogError> {
        let given = self.given(&project.root).await?;
        if given.in_force.contains(&project.content) {
            return Ok(None);
        }
        let Some(last) = given.in_force.last() else {
            return Ok(Some(if given.ever { Why::Revoked } else { Why::Never }));
        };
        // A store that others keep may have lost it: then the change has no names.
        let Ok(before) = self.blobs.get(last).await else { return Ok(Some(Why::Changed(Vec::new()))) };
        let (before, now) = (project::read_manifest(&before), project::read_manifest(&project.manifest()));
        let only = |of: &[(String, String)], other: &[(String, String)]| -> Vec<String> {
            of.iter().filter(|entry| !other.contains(entry)).map(|(path, _)| path.clone()).collect()
        };
        let mut changed = [only(&before, &now), only(&now, &before)].concat();
        changed.sort();
        changed.dedup();
        Ok(Some(Why::Changed(changed)))
    }

    async fn given(&self, root: &Path) -> Result<Given, LogError> {
        let root = root.display().to_string();
        let mut given = Given::default();
        let read = each_body(&*self.log, |body| match body {
            Body::GrantGiven { grant, .. } if grant.tool == CAPABILITY && grant.summary == root => {
                given.ever = true;
                given.in_force.retain(|content| *content != grant.content);
                given.in_force.push(grant.content);
            }
            Body::GrantRevoked { content, .. } => given.in_force.retain(|held| *held != content),
            _ => {}
        });
        read.await?;
        Ok(given)
    }

    async fn append(&self, body: Body, now: Millis, blobs: Vec<bytes::Bytes>) -> Result<(), LogError> {
        let draft = |body| Draft { at: now, turn: None, step: None, body };
        let opened = SessionOpened {
            id: user_log(),
            parent: None,
            root: String::new(),
            cwd: String::new(),
            // No turn is ever led here.
            route: Route { provider: "sterna".into(), model: "none".into() },
            mode: Mode::default(),
            sterna: env!("CARGO_PKG_VERSION").into(),
            spawned: None,
        };
        let open = Append {
            session: user_log(),
            expect: Expect::New(None),
            id: "user".into(),
            records: vec![draft(Body::SessionOpened(opened))],
            blobs: Vec::new(),
        };
        match self.log.append(open).await {
            Ok(_) | Err(LogError::Exists(_) | LogError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        // What is trusted again after it was taken back is another act with the same words.
        let id = format!("trust:{}", uuid::Uuid::now_v7());
        let records = vec![draft(body)];
        let append = Append { session: user_log(), expect: Expect::Any, id, records, blobs };
        self.log.append(append).await.map(|_| ())
    }
}

/// Blobs by which a person is told what has changed since they trusted it.
pub(crate) async fn manifests(log: &dyn Log) -> Result<Vec<Digest>, LogError> {
    let mut held = Vec::new();
    let read = each_body(log, |body| match body {
        Body::GrantGiven { grant, .. } if grant.tool == CAPABILITY => held.push(grant.content),
        Body::GrantRevoked { content, .. } => held.retain(|held| *held != content),
        _ => {}
    });
    read.await?;
    Ok(held)
}

/// Reads the user's log. Where there is none there is nothing in it.
async fn each_body(log: &dyn Log, mut each: impl FnMut(Body)) -> Result<(), LogError> {
    let mut history = match read_history(log, &user_log()).await {
        Ok(history) => history,
        Err(LogError::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    loop {
        let page = match history.next_page().await {
            Ok(page) => page,
            Err(LogError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        if page.is_empty() {
            return Ok(());
        }
        page.into_iter().for_each(|(_, sealed)| each(sealed.record.body));
    }
}

/// What the log says of a folder.
#[derive(Default)]
struct Given {
    /// Contents that are trusted, the last one last.
    in_force: Vec<Digest>,
    ever: bool,
}

/// What a trust grants.
pub const CAPABILITY: &str = "trust";
