//! How the commands of all sessions are confined: the level of this machine, found out when it is first needed, and what
//! each command may touch.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sterna_model::{Bounds, Sandbox, SandboxWish, SessionId};
use sterna_shell::Confined;
use sterna_shell::sandbox::{Confinement, DomainRule, Level, Network, Places, Prober, Report};
use sterna_shell::shim::Helper;
use sterna_tool::{Confine, ToolContext};
use tokio::sync::OnceCell;

/// Where things are that a confinement names, for all sessions.
#[derive(Debug, Clone, Default)]
pub struct Grounds {
    /// A folder of ours: the report is kept in it.
    pub state: PathBuf,
    /// Holds the temporary files of sessions, a folder for each.
    pub tmp: PathBuf,
    pub home: Option<PathBuf>,
    /// Our own configuration, state and data: never written by a command.
    pub own: Vec<PathBuf>,
    /// Our own keys: never read by a command.
    pub secret: Vec<PathBuf>,
    /// Sessions end with this process: `tmp` is removed with this value.
    pub ephemeral: bool,
}

/// Confines commands. One for a process.
#[derive(Debug)]
pub struct Sandboxes {
    prober: Prober,
    helper: Helper,
    grounds: Grounds,
    report: OnceCell<Report>,
}

impl Sandboxes {
    /// `helper` as for shims.
    pub fn new(helper: Helper, grounds: Grounds) -> Self {
        let prober = Prober::new(helper.clone(), &grounds.state);
        Self::with_prober(helper, prober, grounds)
    }

    /// With a prober that looks elsewhere for what it needs.
    pub fn with_prober(helper: Helper, prober: Prober, grounds: Grounds) -> Self {
        Self { prober, helper, grounds, report: OnceCell::new() }
    }

    /// What this machine offers. Probed when it is first asked for and no report is kept.
    pub async fn report(&self) -> &Report {
        self.report.get_or_init(|| self.prober.report()).await
    }

    /// The level that a turn's commands run on. An error says why there is none that the wish takes.
    pub async fn level(&self, wish: SandboxWish) -> Result<Sandbox, String> {
        let named = match wish {
            SandboxWish::None => return Ok(Sandbox::None),
            SandboxWish::Auto => return Ok(sandbox_of(self.report().await.best())),
            SandboxWish::Required => {
                let report = self.report().await;
                return match report.best() {
                    Level::None => Err(format!("no sandbox is to be had here ({})", faults(report))),
                    level => Ok(sandbox_of(level)),
                };
            }
            SandboxWish::Landlock => Level::Landlock,
            SandboxWish::Bubblewrap => Level::Bubblewrap,
        };
        let tried = self.report().await.at(named, Confinement::new(named, "/"));
        tried.map(|_| sandbox_of(named)).map_err(|error| error.to_string())
    }

    /// What holds a call's command. `None`: nothing, because that was decided. An error says why it cannot be confined as it
    /// was decided: then it must not run.
    pub(crate) async fn confined(&self, cx: &ToolContext) -> Result<Option<Confined>, String> {
        self.confine(&cx.confine, &cx.key.session, &cx.roots, &cx.env).await
    }

    /// The same for a command of a session that is no call, such as a hook.
    pub async fn confine(
        &self,
        confine: &Confine,
        session: &SessionId,
        roots: &[PathBuf],
        env: &BTreeMap<String, String>,
    ) -> Result<Option<Confined>, String> {
        let Confine { level, bounds } = confine;
        let level = match level {
            Sandbox::None => return Ok(None),
            Sandbox::Landlock => Level::Landlock,
            Sandbox::Bubblewrap => Level::Bubblewrap,
        };
        let report = self.report().await.clone();
        let places = Places {
            home: self.grounds.home.clone(),
            workspace: roots.to_vec(),
            own: self.grounds.own.clone(),
            secret: self.grounds.secret.clone(),
            tmp: self.grounds.tmp.join(session.as_str()),
            env: env.clone(),
        };
        let (bounds, helper) = (bounds.clone(), self.helper.clone());
        let made = tokio::task::spawn_blocking(move || {
            let network = network(&bounds.hosts);
            let confinement = places.confinement(&report, Some(level), network);
            let confinement = confinement.map_err(|error| error.to_string())?;
            Ok(Confined { confinement: bounded(confinement, &bounds, &places), helper })
        });
        made.await.unwrap_or_else(|panic| Err(panic.to_string())).map(Some)
    }
}

impl Drop for Sandboxes {
    fn drop(&mut self) {
        if self.grounds.ephemeral {
            // Nobody is there to be told.
            drop(fs::remove_dir_all(&self.grounds.tmp));
        }
    }
}

/// A level of the machine as intents and policy name it.
pub fn sandbox_of(level: Level) -> Sandbox {
    match level {
        Level::None => Sandbox::None,
        Level::Landlock => Sandbox::Landlock,
        Level::Bubblewrap => Sandbox::Bubblewrap,
    }
}

fn faults(report: &Report) -> String {
    let faults = report.levels.iter().filter_map(|tried| Some((tried.level, tried.fault.as_ref()?)));
    faults.map(|(level, why)| format!("{level}: {why}")).collect::<Vec<_>>().join("; ")
}

/// The hosts of a line and of rules. A pattern that a list cannot say, for any host or half of the world, opens all. What is
/// no host leads nowhere, and opens nothing.
fn network(hosts: &[String]) -> Network {
    if hosts.is_empty() {
        return Network::None;
    }
    let mut rules = Vec::new();
    for host in hosts {
        match host.parse::<DomainRule>() {
            Ok(rule) => rules.push(rule),
            Err(_) if host.starts_with('*') => return Network::All,
            Err(_) => {}
        }
    }
    Network::Domains(rules)
}

/// Adds what rules and people said of this call.
fn bounded(mut confinement: Confinement, bounds: &Bounds, places: &Places) -> Confinement {
    for path in &bounds.writable {
        if path.exists() {
            confinement.writable.push(path.clone());
        } else if let Some(folder) = path.ancestors().skip(1).find(|folder| folder.is_dir()) {
            make_room(&mut confinement, folder, places);
        }
    }
    confinement.readable.extend(bounds.readable.iter().cloned());
    confinement.unreadable.extend(bounds.unreadable.iter().cloned());
    let inside = |path: &Path| places.workspace.iter().any(|root| path.starts_with(root));
    // Landlock has no read-only part of a folder that can be written: it would close the whole folder.
    let holds = |path: &&PathBuf| confinement.level == Level::Bubblewrap || !inside(path);
    confinement.read_only.extend(bounds.read_only.iter().filter(holds).cloned());
    confinement
}

/// Lets something new be made in a folder, and leaves what is there as it is where the level can hold that.
fn make_room(confinement: &mut Confinement, folder: &Path, places: &Places) {
    let home = places.home.as_deref();
    let above_home = home.is_some_and(|home| home != folder && home.starts_with(folder));
    if folder.parent().is_none() || above_home {
        return;
    }
    if confinement.level == Level::Bubblewrap {
        let entries: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        if entries.len() > ENTRIES_MAX {
            return;
        }
        let kept = |path: &PathBuf| !confinement.writable.iter().any(|open| open.starts_with(path));
        let kept: Vec<PathBuf> = entries.into_iter().filter(kept).collect();
        confinement.read_only.extend(kept);
    } else if home == Some(folder) {
        return;
    }
    confinement.writable.push(folder.to_owned());
}

/// Each is a mount of its own.
const ENTRIES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_become_a_list_or_all() {
        let list = |hosts: &[&str]| network(&hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>());
        let domains =
            |hosts: &[&str]| Network::Domains(hosts.iter().map(|host| host.parse().unwrap()).collect());
        assert_eq!(list(&[]), Network::None);
        assert_eq!(list(&["docs.rs", "*.example.org"]), domains(&["docs.rs", "*.example.org"]));
        assert_eq!(list(&["docs.rs:8443", "10.0.0.7:5432"]), domains(&["docs.rs:8443", "10.0.0.7:5432"]));
        assert_eq!(list(&["localhost:3000", "127.0.0.1"]), domains(&["localhost:3000", "127.0.0.1"]));
        assert_eq!(list(&["docs.rs", "a..b:x"]), domains(&["docs.rs"]));
        for open in [&["*"][..], &["docs.rs", "*"], &["*.com"]] {
            assert_eq!(list(open), Network::All, "{open:?}");
        }
    }

    #[test]
    fn what_was_allowed_outside_is_opened_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["home/notes", "home/old", "home/.cache/pip", "work"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        let places = Places { home: Some(at("home")), workspace: vec![at("work")], ..Places::default() };
        let writable = |level: Level, wanted: &[&str]| {
            let mut confinement = Confinement::new(level, at("tmp"));
            confinement.writable = vec![at("home/.cache/pip")];
            let bounds =
                Bounds { writable: wanted.iter().map(|name| at(name)).collect(), ..Bounds::default() };
            let mut made = bounded(confinement, &bounds, &places);
            made.writable.remove(0);
            made.read_only.sort();
            (made.writable, made.read_only)
        };
        let there = |level| writable(level, &["home/notes"]);
        assert_eq!(there(Level::Bubblewrap), (vec![at("home/notes")], vec![]));
        assert_eq!(there(Level::Landlock), (vec![at("home/notes")], vec![]));
        let kept = vec![at("home/notes"), at("home/old")];
        assert_eq!(writable(Level::Bubblewrap, &["home/new"]), (vec![at("home")], kept));
        // Landlock cannot hold the rest of it.
        assert_eq!(writable(Level::Landlock, &["home/new"]), (vec![], vec![]));
        assert_eq!(writable(Level::Landlock, &["home/old/new"]), (vec![at("home/old")], vec![]));
        assert_eq!(writable(Level::Bubblewrap, &["new"]), (vec![], vec![]));
        let bounds = Bounds { read_only: vec![at("work/a"), at("old")], ..Bounds::default() };
        let held = |level| bounded(Confinement::new(level, at("tmp")), &bounds, &places).read_only;
        assert_eq!(held(Level::Landlock), [at("old")]);
        assert_eq!(held(Level::Bubblewrap), [at("work/a"), at("old")]);
    }
}
