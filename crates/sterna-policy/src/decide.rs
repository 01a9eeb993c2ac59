//! The decision: every access of a call is judged, and the strictest finding wins.
//!
//! Deny rule, safety floor, walls of the mode, ask rule, grant, allow rule, mode.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use sterna_model::{
    Bounds, Decision, Digest, Grant, Millis, Mode, PathAccess, Permits, PermittedPath, Sandbox, Scope,
};

use crate::access::{Access, By, Look};
use crate::binding::Binding;
use crate::bounds;
use crate::effects::{Contact, How, Reach};
use crate::floor::{self, Protected};
use crate::git_remote::Contacts;
use crate::paths::{is_harmless_device, normalise, within};
use crate::patterns;
use crate::permits::Held;
use crate::rule::{Beneath, PathPattern, Places, Rule, Target, host_matches};
use crate::shell::ShellPlan;
use crate::verdict::{Changes, Met, Need, Verdict};

mod beneath;
mod commands;

/// A call to be judged, and everything that the answer depends on.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub tool: &'a str,
    /// An empty list counts as `Access::Other`.
    pub accesses: &'a [Access],
    pub mode: Mode,
    /// The rules of all scopes, in any order.
    pub rules: &'a [Rule],
    /// Grants that are in force; expiry is looked at here.
    pub grants: &'a [&'a Grant],
    /// Hash of the tool's name and normalised arguments.
    pub content: Digest,
    pub now: Millis,
    /// The workspace and further folders, absolute, symlinks resolved. The first is where relative rules start too.
    pub roots: &'a [PathBuf],
    pub home: Option<&'a Path>,
    /// Absolute. Relative paths start here.
    pub cwd: &'a Path,
    /// Folders of our own state and configuration.
    pub state_dirs: &'a [PathBuf],
    /// What holds the commands of this call.
    pub sandbox: Sandbox,
    /// Where the texts of strangers come from that the model had before it when it asked for this call: `web:docs.rs`.
    /// Empty: none.
    pub untrusted: &'a [&'a str],
    /// Resolves the symlinks of an absolute path component by component, `..` included, as far as it exists.
    pub resolve: &'a dyn Fn(&Path) -> PathBuf,
    /// Why git's reading commands in this folder may do more than read: a setting of the repository there, as
    /// `suspect_setting` judges it. `None`: they only read.
    pub git: &'a dyn Fn(&Path) -> Option<String>,
    /// Why git in this folder may run a program of a repository at hand although a rule allows it and no sandbox holds it, also
    /// by a push to the remote that is told (empty: the one that the settings name). `None`: it runs none.
    pub git_outside: &'a dyn Fn(&Path, Option<&str>) -> Option<String>,
    /// Where git in this folder goes when it talks to a remote (empty: one that the settings name), and whether it pushes.
    pub git_contacts: &'a dyn Fn(&Path, &str, bool) -> Contacts,
    /// Whether a folder holds, at any depth, something that is wanted. Links are not followed.
    pub look: &'a dyn Fn(&Path, &dyn Fn(&Path) -> bool) -> Look,
}

/// Judges a call.
pub fn decide(ask: &Ask) -> Verdict {
    let mut judge = Judge {
        ask,
        places: Places { roots: ask.roots, home: ask.home },
        findings: Vec::new(),
        met: Vec::new(),
        needs: Vec::new(),
        plan: None,
        glimpsing: false,
        tool_rule: None,
        held: Held::new(ask.grants, ask.now, ask.mode, !ask.untrusted.is_empty()),
        permitted: false,
        own_loopback: false,
        leaving: false,
        work: 0,
        swept: BTreeMap::new(),
        repositories: BTreeMap::new(),
        contacts: BTreeMap::new(),
        contacting: false,
        changes: Changes::default(),
        bounds: Bounds::default(),
        binding: Binding::default(),
    };
    judge.tool();
    for access in ask.accesses {
        judge.access(access);
    }
    if ask.accesses.is_empty() {
        judge.access(&Access::Other);
    }
    judge.verdict()
}

/// How strict a finding is, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Allow,
    AskByMode,
    AskByRule,
    Wall,
    /// A deny rule may be about something that is not seen.
    MayDeny,
    Floor,
    Deny,
}

struct Finding {
    rank: Rank,
    reason: String,
    rule: Option<usize>,
}

/// A folder, and where no sandbox holds git there, the remote that it pushes to.
type Repository = (PathBuf, Option<Option<String>>);

struct Judge<'a> {
    ask: &'a Ask<'a>,
    places: Places<'a>,
    findings: Vec<Finding>,
    met: Vec<usize>,
    needs: Vec<Need>,
    plan: Option<ShellPlan>,
    /// What is judged may not be what would run: only rules that restrict and the floor count.
    glimpsing: bool,
    /// The allow rule for the tool's name.
    tool_rule: Option<usize>,
    held: Held<'a>,
    /// A person permitted what is judged just now: rules that ask have been answered.
    permitted: bool,
    /// The line starts something in the background, in a network of its own.
    own_loopback: bool,
    /// Something of the line is held by no sandbox, and so nothing of it is.
    leaving: bool,
    /// What judging has cost so far.
    work: usize,
    /// Of a folder, with what the names begin that are removed by patterns.
    swept: BTreeMap<PathBuf, BTreeSet<char>>,
    /// What was told of git in a folder, and of a push from there.
    repositories: BTreeMap<Repository, Option<String>>,
    /// Where git goes from a folder.
    contacts: BTreeMap<(PathBuf, Contact), Contacts>,
    /// The line has git talk to a remote.
    contacting: bool,
    changes: Changes,
    bounds: Bounds,
    binding: Binding,
}

impl Judge<'_> {
    fn find(&mut self, rank: Rank, reason: impl Into<String>, rule: Option<usize>) {
        self.met.extend(rule);
        let mild = matches!(rank, Rank::Allow | Rank::AskByMode | Rank::Wall);
        if !(self.glimpsing && mild) {
            self.findings.push(Finding { rank, reason: reason.into(), rule });
        }
    }

    /// Asks, or refuses where the mode has a wall.
    fn ask_or_wall(&mut self, reason: String) {
        if self.ask.mode == Mode::Plan {
            self.find(Rank::Wall, format!("plan mode: nothing that may write can run: {reason}"), None);
        } else if self.ask.mode == Mode::Pair {
            self.find(Rank::AskByRule, format!("mode `pair` shows what may write: {reason}"), None);
        } else {
            self.find(Rank::AskByMode, reason, None);
        }
    }

    /// Holds the rules that restrict against something. Returns whether one denies.
    fn restrict(&mut self, what: &str, matches: impl Fn(&Rule) -> bool) {
        for (i, rule) in self.ask.rules.iter().enumerate() {
            if !self.counts(rule) {
                continue;
            }
            let rank = match rule.decision() {
                Decision::Deny => Rank::Deny,
                Decision::Ask if self.permitted => continue,
                Decision::Ask => Rank::AskByRule,
                Decision::Allow => continue,
            };
            if matches(rule) && !self.is_lifted(rule, &matches) {
                let verb = if rank == Rank::Deny { "denied" } else { "asked for" };
                let because = self.because(rule);
                self.find(rank, format!("{what}: {verb} by {}{because}", described(rule)), Some(i));
            }
        }
    }

    /// Whether a rule is about this call at all.
    fn counts(&self, rule: &Rule) -> bool {
        !rule.when_tainted || !self.ask.untrusted.is_empty()
    }

    /// What everybody is asked because of texts of strangers can be allowed by a rule that says `when tainted` too.
    fn is_lifted(&self, rule: &Rule, matches: impl Fn(&Rule) -> bool) -> bool {
        rule.when_tainted
            && rule.scope() == Scope::Builtin
            && self.allowed(|other| other.when_tainted && matches(other)).is_some()
    }

    /// The texts of strangers that make a conditional rule count.
    fn because(&self, rule: &Rule) -> String {
        match self.ask.untrusted {
            [] => String::new(),
            _ if !rule.when_tainted => String::new(),
            [one] => format!(", because the model has read text from {one}"),
            [first, rest @ ..] => {
                format!(", because the model has read text from {first} and {} more", rest.len())
            }
        }
    }

    /// The strongest allow rule that fits.
    fn allowed(&self, matches: impl Fn(&Rule) -> bool) -> Option<usize> {
        let rules = self.ask.rules.iter().enumerate();
        let fits = rules.filter(|(_, r)| r.decision() == Decision::Allow && self.counts(r) && matches(r));
        fits.min_by_key(|(_, r)| r.scope()).map(|(i, _)| i)
    }

    fn tool(&mut self) {
        let tool = self.ask.tool;
        let named = |rule: &Rule| matches!(&rule.target, Target::Tool(name) if name.matches(tool));
        self.restrict(&format!("the tool `{tool}`"), named);
        self.tool_rule = self.allowed(named);
    }

    fn access(&mut self, access: &Access) {
        match access {
            Access::Read(path) => self.path(How::Read, &self.absolute(path), Reach::This, false, By::Tool),
            Access::ReadTree(path) => {
                self.path(How::Read, &self.absolute(path), Reach::Tree, false, By::Tool)
            }
            Access::Write(path) => self.path(How::Write, &self.absolute(path), Reach::This, false, By::Tool),
            Access::Delete(path) => {
                self.path(How::Delete, &self.absolute(path), Reach::Tree, false, By::Tool)
            }
            Access::Shell { command, cwd } => self.shell(command, &self.absolute(cwd)),
            Access::Web { host } => self.host(host, By::Tool),
            Access::Person => self.find(Rank::Allow, "asks a person", None),
            Access::Permission(permits) => self.permission(permits),
            Access::Session => self.find(Rank::Allow, "touches only the session's own state", None),
            Access::Keep if self.ask.mode == Mode::Plan => {
                self.find(Rank::Wall, "plan mode: nothing is kept beyond the session", None);
            }
            Access::Keep => self.find(Rank::Allow, "keeps a note", None),
            Access::Unaccepted { why } => self.find(Rank::AskByRule, why.as_str(), None),
            Access::Other => {
                self.changes.unknown = true;
                match self.tool_rule.filter(|_| !matches!(self.ask.mode, Mode::Plan | Mode::Pair)) {
                    Some(i) => {
                        let reason = format!("allowed by {}", described(&self.ask.rules[i]));
                        self.find(Rank::Allow, reason, Some(i));
                    }
                    None => self.ask_or_wall(format!("what `{}` does is not known", self.ask.tool)),
                }
            }
        }
    }

    /// More rights: what can never be had is refused at once, the rest is a person's to say.
    fn permission(&mut self, permits: &Permits) {
        if self.ask.mode == Mode::Plan {
            self.find(Rank::Wall, "plan mode: no rights are given before the plan is approved", None);
            return;
        }
        for PermittedPath { path, access, beneath } in &permits.paths {
            let own = [self.ask.home, self.ask.roots.first().map(PathBuf::as_path)];
            let above = own.into_iter().flatten().any(|folder| within(folder, path));
            let widest = path.parent().is_none() || (above && !self.ask.roots.contains(path));
            let (how, reach) = match access {
                PathAccess::Read if *beneath => (How::Read, Reach::Tree),
                PathAccess::Read => (How::Read, Reach::This),
                PathAccess::Write => (How::Write, Reach::This),
            };
            if widest && how == How::Write {
                let reason = format!("safety floor: writes all of `{}`", path.display());
                self.find(Rank::Floor, reason, None);
            }
            self.path(How::Read, path, reach, false, By::Tool);
            self.path(how, path, reach, false, By::Tool);
        }
        for host in &permits.hosts {
            self.host(host, By::Tool);
        }
        // What was judged is not done now.
        self.changes = Changes::default();
        self.find(Rank::AskByRule, format!("it asks for more rights: {}", permits.told().join(", ")), None);
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        self.ask.cwd.join(path)
    }

    /// Whether something more may be judged. Once it is too much, the rest is not looked at: a person sees it, and where
    /// nobody does it is refused.
    fn affords(&mut self, cost: usize) -> bool {
        let before = self.work;
        self.work = before.saturating_add(cost);
        if self.work <= MAX_WORK {
            return true;
        }
        if before <= MAX_WORK {
            self.changes.unknown = true;
            let reason = "it names more places than can be judged";
            self.meets_whole_capabilities(reason);
            match self.ask.mode {
                Mode::Bypass => self.find(Rank::MayDeny, reason, None),
                Mode::Plan => self.ask_or_wall(reason.to_owned()),
                _ => self.find(Rank::AskByRule, reason, None),
            }
        }
        false
    }

    /// The places that a path may mean: by name, by link, and by `..` on either side of a link.
    fn real(&self, path: &Path) -> Vec<PathBuf> {
        let mut real =
            vec![normalise(&(self.ask.resolve)(path)), normalise(&(self.ask.resolve)(&normalise(path)))];
        real.dedup();
        real
    }

    fn path(&mut self, how: How, path: &Path, reach: Reach, glob: bool, by: By) {
        // What a command touches was counted before.
        if matches!(by, By::Tool) && !self.affords(cost(path.components().count())) {
            return;
        }
        if is_harmless_device(&normalise(path)) {
            return;
        }
        // Where a pattern begins nothing can be resolved: what is before it is, and the rest is text.
        let (fixed, rest) = if glob { split_at_glob(path) } else { (path.to_owned(), PathBuf::new()) };
        let real = self.real(&fixed);
        let visible = reach == Reach::Visible;
        let reach = match reach {
            Reach::Visible => Reach::Tree,
            // What a sandbox keeps from it is not held against what it may name.
            Reach::MayTree if self.is_confined() => Reach::This,
            Reach::MayTree if real.iter().any(|r| (self.ask.look)(r, &|_| true) != Look::NoFolder) => {
                Reach::Tree
            }
            Reach::MayTree => Reach::This,
            Reach::This | Reach::Names | Reach::Tree | Reach::Whole => reach,
        };
        self.binding.path(how, reach, &real, &rest, self.ask.roots.first().map(PathBuf::as_path));
        let full = |p: &PathBuf| if glob { p.join(&rest) } else { p.clone() };
        let mut all: Vec<PathBuf> = real.iter().map(full).collect();
        all.push(full(&normalise(&fixed)));
        all.sort();
        all.dedup();
        let shown = all.first().map(|p| p.display().to_string()).unwrap_or_default();
        let what = format!("{} `{shown}`", verb(how));

        let permitted = self.held.path(how, &real, reach, glob);
        self.permitted = permitted;
        let many = glob || matches!(reach, Reach::Tree | Reach::Whole);
        self.restrict_path(how, &what, &all, &real, many, reach);
        if let By::Command(covering) = by
            && reach == Reach::Tree
            && matches!(how, How::Read | How::Named)
            && !self.is_confined()
        {
            let first =
                rest.components().next().filter(|_| glob).map(|part| part.as_os_str().to_string_lossy());
            self.look_beneath(&what, &real, visible, first.as_deref(), covering.is_some());
        }
        self.permitted = false;
        let protected = Protected { roots: self.ask.roots, home: self.ask.home, state: self.ask.state_dirs };
        let everything =
            glob && (names_everything(&rest) || how == How::Delete && self.sweeps(&real, &rest, reach));
        for place in if everything { &real } else { &all } {
            if let Some(reason) = floor::forbids_path(how, place, reach, everything, protected) {
                self.find(Rank::Floor, format!("safety floor: {reason}"), None);
            }
        }
        if how == How::Named {
            return;
        }
        if how != How::Read {
            self.changes.paths.extend(real.iter().cloned());
        }
        if how != How::Read && self.ask.mode == Mode::Plan {
            self.find(Rank::Wall, format!("plan mode: nothing that writes can run: {what}"), None);
            return;
        }
        let inside = real.iter().all(|r| self.ask.roots.iter().any(|root| within(r, root)));
        let by_command = matches!(by, By::Command(_));
        let open = inside || self.open_to_commands(how, &real.iter().map(full).collect::<Vec<_>>());
        if by_command && !open && !self.glimpsing {
            bounds::touch(&mut self.bounds, how, &real, self.ask.mode);
        }
        if how != How::Read && self.ask.mode == Mode::Pair {
            // No allow rule answers it: that the person sees each write is what the mode is for.
            self.find(Rank::AskByRule, format!("{what}: mode `pair` shows each write"), None);
            return;
        }
        let covering = match by {
            By::Tool => self.tool_rule,
            By::Command(rule) => rule,
        };
        let places = self.places;
        let covering = covering.or_else(|| {
            let fits = |p: &Option<PathPattern>| {
                p.as_ref().is_none_or(|p| {
                    !glob && reach != Reach::Tree && real.iter().all(|r| p.matches(r, places))
                })
            };
            self.allowed(|rule| match &rule.target {
                Target::Read(p) => how == How::Read && fits(p),
                Target::Write(p) => how != How::Read && fits(p),
                Target::Shell(_) | Target::Web(_) | Target::Tool(_) => false,
            })
        });
        if let Some(i) = covering {
            self.find(Rank::Allow, format!("{what}: allowed by {}", described(&self.ask.rules[i])), Some(i));
            return;
        }
        if permitted {
            self.find(Rank::Allow, format!("{what}: it was permitted when it was asked for"), None);
            return;
        }
        match how {
            _ if by_command && self.sandboxed() && open => {
                self.find(Rank::Allow, format!("{what}: the sandbox holds it"), None);
            }
            _ if !inside => self.ask_or_wall_for_read(how, format!("{what}: outside the workspace")),
            How::Read if glob && reach != Reach::Names => {
                self.find(
                    Rank::AskByMode,
                    format!("{what}: a pattern may name links that lead out of the workspace"),
                    None,
                );
            }
            How::Read | How::Named => {
                self.find(Rank::Allow, format!("{what}: reads in the workspace pass"), None)
            }
            How::Write | How::Delete if by_command => {
                let why = match self.ask.sandbox.holds() {
                    true => format!("mode `{}` asks for commands that write", self.ask.mode.word()),
                    false => "commands that write ask where no sandbox holds them".to_owned(),
                };
                self.find(Rank::AskByMode, format!("{what}: {why}"), None);
            }
            How::Write | How::Delete => match self.ask.mode {
                Mode::Ask => self.find(Rank::AskByMode, format!("{what}: mode `ask` asks for writes"), None),
                Mode::Execute | Mode::AcceptEdits | Mode::Auto | Mode::NeverAsk | Mode::Bypass => {
                    self.find(Rank::Allow, format!("{what}: file tools may write in the workspace"), None);
                }
                Mode::Plan => self.find(Rank::Wall, format!("plan mode: {what}"), None),
                Mode::Pair => {
                    self.find(Rank::AskByRule, format!("{what}: mode `pair` shows each write"), None);
                }
            },
        }
    }

    /// Whether patterns like this one, which the line has removed so far, together name most of what there is.
    fn sweeps(&mut self, folders: &[PathBuf], rest: &Path, reach: Reach) -> bool {
        let mut parts = rest.components();
        let (Some(Component::Normal(part)), None, Reach::Tree) = (parts.next(), parts.next(), reach) else {
            return false;
        };
        let letters = part.to_str().map(patterns::first_letters).unwrap_or_default();
        if letters.is_empty() {
            return false;
        }
        let mut most = false;
        for folder in folders {
            let all = self.swept.entry(folder.clone()).or_default();
            all.extend(&letters);
            most |= patterns::are_most(all);
        }
        most
    }

    /// Whether what a command does is left to the sandbox: in the modes that do not ask for each command that writes.
    fn sandboxed(&self) -> bool {
        let trusting = match self.ask.mode {
            Mode::Execute | Mode::Auto | Mode::NeverAsk | Mode::Bypass => true,
            Mode::AcceptEdits | Mode::Ask | Mode::Plan | Mode::Pair => false,
        };
        trusting && self.ask.sandbox.holds()
    }

    /// Places outside the workspace that a confined command may touch: it reads the system, and has a `/tmp` of its own.
    fn open_to_commands(&self, how: How, real: &[PathBuf]) -> bool {
        let (open, itself): (&[&str], bool) = match how {
            How::Read | How::Named => (&SYSTEM, true),
            How::Write | How::Delete => (&["/tmp"], false),
        };
        let holds = |p: &Path, folder: &Path| within(p, folder) && (itself || p != folder);
        let home = |p: &Path| self.ask.home.is_some_and(|h| within(p, h) || within(h, p));
        let reads = matches!(how, How::Read | How::Named);
        let fetched = |p: &Path| {
            reads && self.ask.home.is_some_and(|h| PACKAGES.iter().any(|folder| within(p, &h.join(folder))))
        };
        real.iter().all(|p| fetched(p) || !home(p) && open.iter().any(|folder| holds(p, Path::new(folder))))
    }

    /// Reading changes nothing: outside the workspace it asks in every mode.
    fn ask_or_wall_for_read(&mut self, how: How, reason: String) {
        match how {
            How::Read | How::Named => self.find(Rank::AskByMode, reason, None),
            How::Write | How::Delete => self.ask_or_wall(reason),
        }
    }

    fn restrict_path(
        &mut self,
        how: How,
        what: &str,
        all: &[PathBuf],
        real: &[PathBuf],
        many: bool,
        reach: Reach,
    ) {
        let places = self.places;
        let roots = self.ask.roots;
        let chosen_root = |rule: &Rule, p: &PathPattern| {
            // A workspace in a system folder was chosen by a person.
            let folder = p.absolute_folder().filter(|_| rule.scope() == Scope::Builtin);
            let Some(folder) = folder else { return false };
            roots.iter().any(|r| within(r, &folder) && all.iter().all(|path| within(path, r)))
        };
        self.restrict(what, |rule| match about(rule, how) {
            None => false,
            Some(None) => true,
            Some(Some(p)) => {
                let sample = |path: &Path| rule.scope() == Scope::Builtin && is_sample(path);
                all.iter().any(|path| p.matches_widely(path, places) && !sample(path))
                    && !chosen_root(rule, p)
            }
        });
        if !many || reach == Reach::Names {
            return;
        }
        // What lies beneath is not seen: a rule that may reach it at least asks, and denies where asking is off.
        let rules = self.ask.rules;
        for (i, rule) in rules.iter().enumerate().filter(|(_, r)| r.restricts()) {
            if !self.counts(rule) {
                continue;
            }
            let Some(Some(p)) = about(rule, how) else { continue };
            let may = real.iter().any(|folder| match p.may_match_beneath(folder, places) {
                Beneath::No => false,
                Beneath::Anywhere => rule.scope() != Scope::Builtin && reach != Reach::Whole,
                Beneath::Here => true,
            });
            if may && !chosen_root(rule, p) && !(self.permitted && rule.decision() == Decision::Ask) {
                let certain = rule.decision() == Decision::Deny && self.ask.mode == Mode::Bypass;
                let rank = if certain { Rank::MayDeny } else { Rank::AskByRule };
                self.find(rank, format!("{what}: may reach what {} is about", described(rule)), Some(i));
            }
        }
    }

    /// Whether a sandbox is around what the line runs, whatever the mode asks for.
    fn is_confined(&self) -> bool {
        self.ask.sandbox.holds() && !self.leaving
    }

    fn host(&mut self, host: &str, by: By) {
        self.binding.host(host);
        let any = host == "*";
        let what =
            if any { "reaches hosts that cannot be seen".to_owned() } else { format!("reaches `{host}`") };
        let hits = |rule: &Rule| match &rule.target {
            Target::Web(pattern) => {
                pattern.as_ref().is_none_or(|p| p.is_everything() || (!any && host_matches(p, host)))
            }
            _ => false,
        };
        // Its own network has a loopback of its own.
        let own = matches!(by, By::Command(_)) && self.own_loopback && is_loopback(host);
        let permitted = !any && self.held.host(host);
        self.permitted = permitted;
        // What strangers wrote can send nothing out by it.
        let about_leaving = |rule: &Rule| own && rule.when_tainted && rule.scope() == Scope::Builtin;
        self.restrict(&what, |rule| {
            !about_leaving(rule) && (hits(rule) || (any && matches!(&rule.target, Target::Web(_))))
        });
        self.permitted = false;
        let rule = match by {
            By::Tool => self.tool_rule,
            By::Command(_) => {
                if !self.glimpsing && !own {
                    self.bounds.hosts.push(host.to_owned());
                }
                None
            }
        };
        match rule.or_else(|| self.allowed(hits)) {
            Some(i) => self.find(
                Rank::Allow,
                format!("{what}: allowed by {}", described(&self.ask.rules[i])),
                Some(i),
            ),
            None if own => {
                self.find(Rank::Allow, format!("{what}: what the line itself started, in its sandbox"), None);
            }
            None if permitted => {
                self.find(Rank::Allow, format!("{what}: it was permitted when it was asked for"), None);
            }
            None => self.find(Rank::AskByMode, what, None),
        }
    }

    fn verdict(mut self) -> Verdict {
        let rules = self.ask.rules;
        let ask = self.ask;
        // The strictest; among equals the one of the strongest scope, else the first.
        let scope = |f: &Finding| f.rule.map_or(Scope::Builtin, |i| rules[i].scope());
        let order = |f: &Finding| (std::cmp::Reverse(f.rank), f.rule.is_none(), scope(f));
        self.findings.sort_by_key(order);
        self.met.sort_unstable();
        self.met.dedup();
        let (rank, why, rule) = match self.findings.first() {
            Some(f) => (f.rank, f.reason.clone(), f.rule),
            None => (Rank::AskByMode, "nothing is known of this call".to_owned(), None),
        };
        let bound = self.binding.digest();
        let grant = ask.grants.iter().find(|g| {
            let there = g.effects.is_none_or(|effects| effects == bound);
            g.tool == ask.tool && g.content == ask.content && there && g.expires.is_none_or(|at| ask.now < at)
        });
        let (decision, reason) = match (rank, grant, ask.mode) {
            (Rank::Deny | Rank::Floor | Rank::MayDeny | Rank::Wall, _, _) => (Decision::Deny, why),
            (Rank::Allow, _, _) => (Decision::Allow, why),
            (Rank::AskByMode | Rank::AskByRule, Some(_), _) => {
                (Decision::Allow, format!("granted for this very content; {why}"))
            }
            (Rank::AskByMode | Rank::AskByRule, None, Mode::NeverAsk) => {
                (Decision::Deny, format!("mode `never-ask` refuses what would ask; {why}"))
            }
            (Rank::AskByMode | Rank::AskByRule, None, Mode::Bypass) => {
                (Decision::Allow, format!("mode `bypass` allows what would ask; {why}"))
            }
            (
                Rank::AskByMode | Rank::AskByRule,
                None,
                Mode::Execute | Mode::AcceptEdits | Mode::Ask | Mode::Auto | Mode::Plan | Mode::Pair,
            ) => (Decision::Ask, why),
        };
        let met = |i: &usize| {
            let r = &rules[*i];
            Met { decision: r.decision(), rule: r.text().to_owned(), source: r.source().to_owned() }
        };
        Verdict {
            decision,
            reason,
            tainted: rule.is_some_and(|i| rules[i].when_tainted),
            rule: rule.map(|i| rules[i].text().to_owned()),
            source: rule.map(|i| rules[i].source().to_owned()),
            needs: self.needs,
            rules: self.met.iter().map(met).collect(),
            shell: self.plan,
            changes: self.changes,
            by_mode: decision == Decision::Ask && rank == Rank::AskByMode,
            bounds: self.bounds,
            effects: bound,
        }
    }
}

/// What it costs to hold a path of so many parts against the rules: some look at each folder above it.
fn cost(parts: usize) -> usize {
    1 + parts.saturating_mul(parts) / 1_000
}

/// The pattern of a rule that is about doing this to a path; the inner `None` is every path.
fn about(rule: &Rule, how: How) -> Option<Option<&PathPattern>> {
    match (&rule.target, how) {
        (Target::Read(p), How::Read | How::Named) | (Target::Write(p), How::Write | How::Delete) => {
            Some(p.as_ref())
        }
        _ => None,
    }
}

/// Whether a host is the machine that the command runs on.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    ["localhost", "127.0.0.1"].contains(&name.map_or(host, |(name, _)| name))
}

fn described(rule: &Rule) -> String {
    format!("`{} {}` ({})", rule.decision().word(), rule.text(), rule.source())
}

fn verb(how: How) -> &'static str {
    match how {
        How::Read => "reads",
        How::Write => "writes",
        How::Delete => "removes",
        How::Named => "names",
    }
}

/// Whether a file shows which settings there are, and by custom holds none: `.env.example`.
fn is_sample(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(".env."));
    name.is_some_and(|kind| ["example", "sample", "template", "dist"].contains(&kind))
}

/// Whether the patterns of a path, one below the other, match most of what there is. `**/*` is some of it: that is what
/// tests of `find` spare.
fn names_everything(rest: &Path) -> bool {
    let broad = |c: Component| match c {
        Component::Normal(part) => part.to_str().is_some_and(patterns::is_broad),
        Component::ParentDir | Component::CurDir => true,
        Component::Prefix(_) | Component::RootDir => false,
    };
    rest != Path::new("**/*") && rest.components().all(broad)
}

/// The components before the first with a pattern, and the rest.
fn split_at_glob(path: &Path) -> (PathBuf, PathBuf) {
    let glob = |c: &std::path::Component| c.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let fixed: PathBuf = path.components().take_while(|c| !glob(c)).collect();
    let rest = path.components().skip_while(|c| !glob(c)).collect();
    (fixed, rest)
}

/// Paths that are judged in one call: less than a second's work.
const MAX_WORK: usize = 20_000;
/// Where package managers keep what they fetched from public places, beneath the home folder.
const PACKAGES: [&str; 13] = [
    ".cargo/registry",
    ".cargo/git",
    ".rustup/toolchains",
    ".npm/_cacache",
    ".cache/pip",
    ".cache/uv",
    ".cache/yarn",
    "go/pkg/mod",
    ".gradle/caches",
    ".m2/repository",
    ".nuget/packages",
    ".ivy2/cache",
    ".pub-cache",
];
/// What programs of the system are made of; `/etc/shadow` has a rule of its own.
const SYSTEM: [&str; 10] =
    ["/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/tmp", "/var/lib/dpkg", "/nix/store"];
