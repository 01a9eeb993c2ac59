//! All spools of a root, for people: what runs, what has ended, what a crash left.

use std::fs;

use sterna_model::{EffectKey, Millis};

use super::client::{ShimError, Shims};
use super::handle::Handle;
use super::plan::Screen;
use super::spool::{CALL, GONE, JOB, SHORT_LEN, Spool, State, remove_tree};

/// One spool.
#[derive(Debug, Clone)]
pub struct Listed {
    pub spool: Spool,
    /// `None`: its plan cannot be read, or there is none because recovery made the folder.
    pub plan: Option<ListedPlan>,
    /// `Err`: why the folder cannot be read.
    pub state: Result<State, String>,
    pub output_bytes: u64,
}

/// What people want to know of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPlan {
    pub key: EffectKey,
    pub attempt: u32,
    pub created_at: Millis,
    pub command: String,
    pub cwd: std::path::PathBuf,
    /// A background job.
    pub job: bool,
    /// Its input stays open.
    pub open_input: bool,
    /// It has a terminal.
    pub terminal: Option<Screen>,
}

impl Listed {
    /// `job-` or `call-`, and the beginning of the spool's name.
    pub fn id(&self) -> String {
        let job = self.plan.as_ref().is_some_and(|plan| plan.job);
        if job { self.spool.job_id() } else { format!("{CALL}{}", self.spool.short()) }
    }
}

impl Shims {
    /// The spools, oldest first. Changes nothing.
    pub fn list(&self) -> Result<Vec<Listed>, ShimError> {
        self.list_where(|_| true)
    }

    /// The spools that an id may mean: `job-` or `call-` and 8 hex digits, or the digits alone, or more of them.
    /// Oldest first.
    pub fn find(&self, id: &str) -> Result<Vec<Listed>, ShimError> {
        let digits = id.strip_prefix(JOB).or_else(|| id.strip_prefix(CALL)).unwrap_or(id);
        if digits.len() < SHORT_LEN {
            return Ok(Vec::new());
        }
        self.list_where(|name| name.starts_with(digits))
    }

    /// A command's output and end, from the first byte. It must have been claimed. Needs a tokio runtime.
    pub fn open(&self, spool: &Spool) -> Handle {
        Handle::open(spool.clone(), None, None)
    }

    fn list_where(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Listed>, ShimError> {
        let names = self.names()?.into_iter().filter(|name| Spool::is_name(name) && wanted(name));
        let mut all: Vec<Listed> = names
            .map(|name| {
                let spool = Spool::at(self.root().join(name));
                Listed {
                    plan: spool.plan().ok().map(|file| ListedPlan {
                        command: file.plan.command(),
                        key: file.key,
                        attempt: file.attempt,
                        created_at: file.created_at,
                        job: file.plan.job,
                        terminal: file.plan.terminal,
                        open_input: file.plan.input.is_some_and(|input| input.open),
                        cwd: file.plan.cwd,
                    }),
                    state: spool.state().map_err(|error| error.to_string()),
                    output_bytes: spool.output_len(),
                    spool,
                }
            })
            .collect();
        all.sort_by_cached_key(|listed| {
            (listed.plan.as_ref().map(|plan| plan.created_at), listed.spool.dir().to_owned())
        });
        Ok(all)
    }

    /// Ends what removals left half done when they were interrupted. How many there were.
    pub fn sweep(&self) -> Result<usize, ShimError> {
        let half_gone = |name: &String| {
            name.strip_suffix(GONE).and_then(|name| name.strip_suffix('.')).is_some_and(Spool::is_name)
        };
        let names: Vec<String> = self.names()?.into_iter().filter(half_gone).collect();
        for name in &names {
            remove_tree(&self.root().join(name))?;
        }
        Ok(names.len())
    }

    fn names(&self) -> Result<Vec<String>, ShimError> {
        let entries = match fs::read_dir(self.root()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                let path = self.root().to_owned();
                return Err(super::spool::SpoolError::Io { doing: "read", path, source }.into());
            }
        };
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }
}
