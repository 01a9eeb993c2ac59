//! What the tools for background jobs share: finding a job of one's own session, and judging what its input may do.
//!
//! A job is a spool that its plan marks. It has no other register: what the disk says is what there is.

use std::sync::Arc;

use sterna_model::SessionId;
use sterna_shell::shim::{Listed, ListedPlan, ShimError, Shims, State};
use sterna_tool::{Access, ToolError};

use crate::support::first_line;

/// The jobs of all sessions; each call sees only those of its own.
#[derive(Clone)]
pub(crate) struct Jobs(Option<Arc<Shims>>);

/// One that was found.
pub(crate) struct Job {
    pub id: String,
    pub listed: Listed,
    pub plan: ListedPlan,
}

impl Jobs {
    pub(crate) fn new(shims: Option<Arc<Shims>>) -> Self {
        Self(shims)
    }

    pub(crate) fn shims(&self) -> Result<&Shims, ToolError> {
        self.0.as_deref().ok_or_else(|| ToolError::failed(NO_SHIM))
    }

    /// The session's jobs, oldest first.
    pub(crate) fn of(&self, session: &SessionId) -> Result<Vec<Job>, ToolError> {
        let all = self.shims()?.list().map_err(ToolError::failed)?;
        Ok(all.into_iter().filter_map(Job::of).filter(|job| job.plan.key.session == *session).collect())
    }

    /// The job of that name, if it is the session's own.
    pub(crate) fn find(&self, session: &SessionId, id: &str) -> Result<Job, ToolError> {
        let mut found = self.named(id)?;
        let foreign = found.iter().find(|job| job.plan.key.session != *session);
        let foreign = foreign.map(|job| (job.id.clone(), job.plan.key.session.clone()));
        found.retain(|job| job.plan.key.session == *session);
        if found.len() > 1 {
            return Err(ToolError::invalid(format!("`{}` names several jobs", shown_id(id))));
        }
        match (found.pop(), foreign) {
            (Some(job), _) => Ok(job),
            (None, Some((id, owner))) => Err(ToolError::invalid(format!(
                "{id} belongs to session `{owner}`; a session has only its own jobs"
            ))),
            (None, None) => {
                let own: Vec<String> = self.of(session)?.iter().map(Job::named).collect();
                let own = if own.is_empty() { "none".to_owned() } else { own.join(", ") };
                let id = shown_id(id);
                Err(ToolError::invalid(format!("there is no job `{id}`; jobs of this session: {own}")))
            }
        }
    }

    /// What giving text to a job touches. It is judged again at the call, which must find the same.
    pub(crate) fn accesses(&self, id: &str, text: &str) -> Vec<Access> {
        let found = self.named(id).unwrap_or_default();
        if text.is_empty() || found.is_empty() {
            // Nothing is given, or nobody takes it: the call says so.
            return vec![Access::Session];
        }
        let mut accesses = Vec::new();
        for Job { plan, .. } in found {
            match Listener::of(&plan.command) {
                // What it was started to write is written with every text: that is judged each time.
                Listener::Data => {
                    let written = written(&plan.command).map(|name| Access::Write(plan.cwd.join(name)));
                    accesses.push(Access::Session);
                    accesses.extend(written);
                }
                Listener::Program => accesses.push(Access::Other),
                Listener::Shell => {
                    accesses.push(Access::Shell { command: text.to_owned(), cwd: plan.cwd });
                    accesses.push(Access::Other);
                }
            }
        }
        accesses
    }

    fn named(&self, id: &str) -> Result<Vec<Job>, ToolError> {
        let found = self.shims()?.find(id).map_err(ToolError::failed)?;
        Ok(found.into_iter().filter_map(Job::of).collect())
    }
}

impl Job {
    fn of(listed: Listed) -> Option<Self> {
        let plan = listed.plan.clone().filter(|plan| plan.job)?;
        Some(Self { id: listed.spool.job_id(), listed, plan })
    }

    pub(crate) fn state(&self) -> Result<State, ToolError> {
        self.listed.state.clone().map_err(ToolError::failed)
    }

    /// `job-1a2b3c4d (running)`
    fn named(&self) -> String {
        format!("{} ({})", self.id, self.told())
    }

    pub(crate) fn told(&self) -> String {
        match &self.listed.state {
            Ok(state) => state.told(),
            Err(why) => format!("cannot be read: {why}"),
        }
    }

    pub(crate) fn command(&self) -> String {
        first_line(&self.plan.command, COMMAND_BYTES)
    }
}

/// What the shim's errors are in a job's terms.
pub(crate) fn refused(id: &str, error: &ShimError) -> ToolError {
    match error {
        ShimError::Ended => ToolError::failed(format!("{id} has ended; job_output tells how")),
        ShimError::Removed => ToolError::failed(format!("{id} was removed while it was read")),
        ShimError::Refused(why) => ToolError::failed(format!("{id} takes no input: {why}")),
        other => ToolError::failed(other),
    }
}

/// What a job's command makes of its input, as far as its command line tells.
#[derive(Debug, PartialEq, Eq)]
enum Listener {
    /// It reads it as data, and does nothing else with it.
    Data,
    /// It may do anything with it.
    Program,
    /// A shell may run it.
    Shell,
}

impl Listener {
    /// Fails closed: what is not plainly harmless is a program, and where a shell is named there is one.
    fn of(command: &str) -> Self {
        let letters = |c: char| c.is_ascii_alphanumeric();
        if command.split(|c| !letters(c)).any(|word| SHELLS.contains(&word)) {
            return Self::Shell;
        }
        let plain = |c: char| letters(c) || "_./-=+:,@% ".contains(c);
        let mut words = command.split(' ').filter(|word| !word.is_empty());
        let data = words.next().is_some_and(|first| READERS.contains(&first));
        // Long options are left out: `sort --files0-from=-` opens what its input names. So is what else writes a file.
        let odd = |word: &str| match command.trim_start().split(' ').next() {
            Some("sort") => word.starts_with('-') && word.contains(['o', 'T', 'S']),
            Some("uniq") => !word.starts_with('-'),
            Some(_) | None => false,
        };
        let data = data && words.all(|word| !word.starts_with("--") && !odd(word));
        if data && command.chars().all(plain) { Self::Data } else { Self::Program }
    }
}

/// The files that a command writes which only copies its input.
fn written(command: &str) -> impl Iterator<Item = &str> {
    let mut words = command.split(' ').filter(|word| !word.is_empty());
    let tee = words.next() == Some("tee");
    words.filter(move |word| tee && !word.starts_with('-'))
}

fn shown_id(id: &str) -> String {
    id.chars().take(80).collect()
}

pub(crate) const NO_SHIM: &str =
    "there are no background jobs here: no effect shim was found; run it in the foreground";
const COMMAND_BYTES: usize = 200;
/// Programs that do nothing with their input but show, count, order or copy it to where their arguments say.
const READERS: [&str; 13] =
    ["base64", "cat", "cut", "grep", "head", "nl", "rev", "sort", "tac", "tail", "tee", "tr", "uniq"];
const SHELLS: [&str; 13] =
    ["sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "fish", "csh", "tcsh", "busybox", "pwsh", "nu"];

#[cfg(test)]
mod tests {
    use super::Listener::{self, Data, Program, Shell};

    #[test]
    fn input_is_data_only_where_the_command_line_says_so() {
        for (command, want) in [
            ("cat", Data),
            ("tee -a log.txt", Data),
            ("grep -c x", Data),
            ("sort --files0-from=-", Program),
            ("sort -o out", Program),
            ("sort -ro out", Program),
            ("sort -k2", Data),
            ("uniq - out", Program),
            ("uniq -c", Data),
            ("cat; python3", Program),
            ("cat | python3", Program),
            ("cat\npython3", Program),
            ("cat $(x)", Program),
            ("cat 'a'", Program),
            ("./cat", Program),
            ("A=1 cat", Program),
            ("python3 -i", Program),
            ("xargs rm", Program),
            ("", Program),
            ("bash", Shell),
            ("exec /bin/sh -i", Shell),
            ("ssh host", Program),
            ("docker exec -i x sh", Shell),
            ("cat | bash", Shell),
            ("'ba'sh", Shell),
            ("./run.sh", Shell),
        ] {
            assert_eq!(Listener::of(command), want, "{command}");
        }
        let of = |command| super::written(command).collect::<Vec<_>>();
        assert_eq!(of("tee -a log.txt  b"), ["log.txt", "b"]);
        assert_eq!(of("tail -n 2 a"), [""; 0]);
    }
}
