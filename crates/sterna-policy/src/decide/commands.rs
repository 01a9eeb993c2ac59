//! The commands of a line: each is held against the rules, and what it touches is judged like any access.

use std::path::{Path, PathBuf};

use sterna_model::{Decision, Mode, Sandbox};

use super::{Judge, Rank, about, cost, described};
use crate::access::By;
use crate::binding;
use crate::bounds;
use crate::effect_set::place;
use crate::effects::{Class, Contact, Effects, How, Reach, Touch};
use crate::floor;
use crate::git_remote::Contacts;
use crate::lower::MAX_FOLDERS;
use crate::network;
use crate::outside;
use crate::paths::base_name;
use crate::programs;
use crate::rule::{Rule, Target, Text, host_matches, trusted_name};
use crate::runners;
use crate::shell::{Hidden, RedirectKind, ShellPlan, SimpleCommand, Word, joined};
use crate::texts::{text_until_hidden, texts_to_allow, texts_to_restrict};
use crate::variables::is_harmless;
use crate::verdict::Need;
use crate::wrappers;

impl Judge<'_> {
    pub(super) fn shell(&mut self, line: &str, cwd: &Path) {
        let plan = ShellPlan::read(line);
        if floor::is_fork_bomb(line) {
            self.find(Rank::Floor, "safety floor: a fork bomb", None);
        }
        if let Some(reason) = &plan.unknown {
            self.unknown(format!("the command line is not understood: {reason}"));
        }
        self.glimpsing = true;
        let mut cwds = vec![cwd.to_owned()];
        for command in &plan.glimpsed {
            let enters = self.command(command, &cwds);
            self.enter(enters.as_ref(), &mut cwds);
        }
        self.glimpsing = false;
        // Where a rule opens the network, the sandbox has no network of its own.
        let open = self.allowed(
            |rule| matches!(&rule.target, Target::Web(p) if p.as_ref().is_none_or(Text::is_everything)),
        );
        let apart = self.sandboxed() && self.ask.sandbox == Sandbox::Bubblewrap && open.is_none();
        self.own_loopback = apart && plan.commands.iter().any(|command| command.background);
        self.leaving = plan.commands.iter().any(outside::moves_the_line);
        let contacts =
            |c: &SimpleCommand| trusted_name(c.program()) == "git" && programs::effects(c).contact.is_some();
        self.contacting = plan.commands.iter().any(contacts);
        for command in &plan.commands {
            let cwds: Option<Vec<PathBuf>> =
                command.folders().iter().map(|word| place(word, cwd, self.ask.home)).collect();
            match cwds {
                Some(cwds) => drop(self.command(command, &cwds)),
                None => self.unknown("the home folder is not known".into()),
            }
        }
        self.path(How::Read, cwd, Reach::Names, false, By::Command(None));
        let tainted = !self.ask.untrusted.is_empty();
        bounds::rules(&mut self.bounds, self.ask.rules, self.places, tainted);
        self.open_permitted();
        self.plan = Some(plan);
    }

    /// Opens what a person permitted, but for what a rule denies since.
    fn open_permitted(&mut self) {
        let mut bounds = std::mem::take(&mut self.bounds);
        let deny = || self.ask.rules.iter().filter(|r| r.decision() == Decision::Deny && self.counts(r));
        let denied = |how: How, path: &Path| {
            deny().any(|rule| match about(rule, how) {
                None => false,
                Some(pattern) => pattern.is_none_or(|p| p.matches_widely(path, self.places)),
            })
        };
        let closed = |host: &str| {
            deny().any(|rule| match &rule.target {
                Target::Web(pattern) => pattern.as_ref().is_none_or(|p| host_matches(p, host)),
                Target::Read(_) | Target::Write(_) | Target::Shell(_) | Target::Tool(_) => false,
            })
        };
        self.held.open(&mut bounds, &denied, &closed);
        self.bounds = bounds;
    }

    /// What is not understood asks, and meets every rule that restricts a whole capability.
    fn unknown(&mut self, reason: String) {
        self.changes.unknown = true;
        self.meets_whole_capabilities(&reason);
        self.ask_or_wall(reason);
    }

    pub(super) fn meets_whole_capabilities(&mut self, reason: &str) {
        self.restrict(reason, |rule| match &rule.target {
            Target::Shell(text) => text.is_everything(),
            Target::Read(pattern) | Target::Write(pattern) => pattern.is_none(),
            Target::Web(pattern) => pattern.as_ref().is_none_or(Text::is_everything),
            Target::Tool(_) => false,
        });
    }

    /// Judges a command that may run in any of these folders. Returns where it leads the commands after it.
    fn command(&mut self, command: &SimpleCommand, cwds: &[PathBuf]) -> Option<Word> {
        let mut effects = programs::effects(command);
        if effects.git && effects.class == Class::Known && !effects.touches.is_empty() && !self.glimpsing {
            effects.class = self.git(&effects.git_folders, cwds);
        }
        // A repository that a confined command has made must not get out by a line that does.
        if effects.git
            && self.leaving
            && !self.glimpsing
            && matches!(effects.class, Class::Arbitrary(_))
            && let Some(why) = self.git_outside(&effects, cwds)
        {
            effects.class = Class::Unclear(why);
        }
        let mut led_to = std::mem::take(&mut effects.may_reach);
        if self.contacting {
            led_to.extend(std::mem::take(&mut effects.keeps));
        }
        led_to.extend(self.contacts(&mut effects, cwds));
        self.bind_programs(command, &effects.class, cwds);
        let texts = texts_to_restrict(command);
        let shown = joined(&command.argv);
        let hit =
            |rule: &Rule| matches!(&rule.target, Target::Shell(p) if texts.iter().any(|t| p.matches(t)));
        self.restrict(&format!("`{shown}`"), hit);
        if let Some(reason) = floor::forbids_command(command) {
            self.find(Rank::Floor, format!("safety floor: {reason}"), None);
        }
        self.may_be_restricted(command, &shown);
        self.may_run(command, cwds);
        let leaves = outside::leaves_the_sandbox(command);
        self.changes.arbitrary |= matches!(effects.class, Class::Arbitrary(_) | Class::Unclear(_));
        self.bounds.outside |= !self.glimpsing && (leaves || outside::speaks_no_http(command, &effects));
        let covering = match &effects.class {
            Class::Unclear(_) | Class::Unknown(_) => None,
            class => self.covering(command, *class == Class::Known),
        };
        match (&effects.class, covering) {
            (Class::Unclear(reason), _) if self.sandboxed() && !leaves => {
                self.find(Rank::Allow, format!("`{shown}`: {reason}; the sandbox holds it"), None);
            }
            (Class::Unclear(reason), _) => {
                let reason = format!("`{shown}`: {reason}");
                self.meets_whole_capabilities(&reason);
                self.ask_or_wall(reason);
            }
            (Class::Unknown(reason), _) => self.unknown(format!("`{shown}`: {reason}")),
            (Class::Arbitrary(reason), _) if self.ask.mode == Mode::Plan => {
                self.ask_or_wall(format!("`{shown}`: {reason}"))
            }
            (Class::Arbitrary(_) | Class::Known, Some(i)) => {
                let rule = described(&self.ask.rules[i]);
                self.find(Rank::Allow, format!("`{shown}`: allowed by {rule}"), Some(i));
            }
            (Class::Arbitrary(_), None) if self.sandboxed() && !leaves => {
                self.find(Rank::Allow, format!("`{shown}`: the sandbox holds it"), None);
            }
            (Class::Arbitrary(reason), None) => self.ask_or_wall(format!("`{shown}`: {reason}")),
            (Class::Known, None) if effects.only_reads() => {
                self.find(Rank::Allow, format!("`{shown}`: only reads"), None);
            }
            (Class::Known, None) => {}
        }
        let words = effects
            .touches
            .iter()
            .map(|touch| &touch.word)
            .chain(command.redirects.iter().map(|r| &r.target));
        if !self.affords(cost_of(words, cwds)) {
            return effects.enters;
        }
        for touch in &effects.touches {
            self.word(touch.how, &touch.word, touch.reach, By::Command(covering), cwds);
        }
        for redirect in &command.redirects {
            let how = match redirect.kind {
                RedirectKind::Read => How::Read,
                RedirectKind::Write | RedirectKind::Append => How::Write,
            };
            self.word(how, &redirect.target, Reach::This, By::Command(None), cwds);
            if let Some(host) = network::host_of_device(&redirect.target) {
                self.host(&host, By::Command(None));
            }
        }
        for host in &effects.hosts {
            self.host(host, By::Command(covering));
        }
        self.led_to(&led_to, covering);
        if effects.git && !self.needs.contains(&Need::QuietGit) {
            self.needs.push(Need::QuietGit);
        }
        effects.enters
    }

    fn covering(&self, command: &SimpleCommand, known: bool) -> Option<usize> {
        self.allowed(|rule| matches!(&rule.target, Target::Shell(p) if covers(p, command, known)))
    }

    /// Words that only the shell will know may be the very ones that a rule is about.
    fn may_be_restricted(&mut self, command: &SimpleCommand, shown: &str) {
        let Some(seen) = text_until_hidden(command) else { return };
        self.restrict_perhaps(shown, |rule| {
            matches!(&rule.target, Target::Shell(p) if seen.iter().any(|text| p.may_match_beyond(text)))
        });
    }

    /// Rules that restrict and may be meant ask, and deny where asking is off.
    fn restrict_perhaps(&mut self, shown: &str, may_match: impl Fn(&Rule) -> bool) {
        let rules = self.ask.rules;
        for (i, rule) in rules.iter().enumerate().filter(|(_, r)| r.restricts()) {
            if self.counts(rule) && may_match(rule) {
                let denies = rule.decision() == Decision::Deny && self.ask.mode == Mode::Bypass;
                let rank = if denies { Rank::MayDeny } else { Rank::AskByRule };
                let rule = described(rule);
                self.find(rank, format!("`{shown}`: may be what {rule} is about"), Some(i));
            }
        }
    }

    /// What a program runs of its words, as `ionice` and `npx` do, is held against what restricts. Of a program that
    /// nobody knows the words may mean something else.
    fn may_run(&mut self, command: &SimpleCommand, cwds: &[PathBuf]) {
        let runs = wrappers::is_runner(command.program());
        if runs || runners::is_listed(command) {
            self.tails(command, wrappers::tails(command, runs), true, cwds);
        }
        if !runs && !programs::is_known(trusted_name(command.program())) {
            self.tails(command, wrappers::tails(command, true), false, cwds);
        }
    }

    /// Of a command the ones that it runs; `certain`: and does not only perhaps.
    fn tails(
        &mut self,
        command: &SimpleCommand,
        all: Option<Vec<SimpleCommand>>,
        certain: bool,
        cwds: &[PathBuf],
    ) {
        let Some(all) = all else {
            // Whatever is forbidden may be among it.
            let reason = format!("`{}`: it runs more than can be looked at", command.program());
            let rank = if self.ask.mode == Mode::Bypass { Rank::MayDeny } else { Rank::AskByRule };
            match certain {
                true => self.find(rank, reason, None),
                false => self.restrict_perhaps(command.program(), |r| matches!(r.target, Target::Shell(_))),
            }
            return;
        };
        let was = std::mem::replace(&mut self.glimpsing, true);
        for inner in all {
            let texts = texts_to_restrict(&inner);
            let hit = |rule: &Rule| matches!(&rule.target, Target::Shell(p) if !p.is_everything() && texts.iter().any(|t| p.matches(t)));
            let shown = joined(&inner.argv);
            if certain {
                self.restrict(&format!("`{shown}`"), hit);
                if let Some(reason) = floor::forbids_command(&inner) {
                    self.find(Rank::Floor, format!("safety floor: {reason}"), None);
                }
            } else {
                self.restrict_perhaps(&joined(&command.argv), hit);
            }
            let is_rm = base_name(inner.program()) == "rm";
            let counts = |touch: &&Touch| match touch.how {
                How::Named => false,
                How::Read | How::Write => certain,
                How::Delete => certain || is_rm && touch.reach == Reach::Tree,
            };
            let mut effects = programs::effects(&inner);
            if effects.removes_unseen && certain {
                let reason = format!("`{shown}`: it removes names that it is given, and nobody has seen");
                self.find(Rank::AskByRule, reason, None);
            }
            if !self.affords(cost_of(effects.touches.iter().filter(counts).map(|touch| &touch.word), cwds)) {
                break;
            }
            for touch in effects.touches.iter().filter(counts) {
                self.word(touch.how, &touch.word, touch.reach, By::Command(None), cwds);
            }
            if certain {
                let mut hosts = std::mem::take(&mut effects.hosts);
                hosts.append(&mut effects.may_reach);
                hosts.extend(self.contacts(&mut effects, cwds));
                self.led_to(&hosts, None);
            }
        }
        self.glimpsing = was;
    }

    /// In a line that was only glimpsed: the `cd` may fail, so what follows may run in any of these.
    fn enter(&mut self, target: Option<&Word>, cwds: &mut Vec<PathBuf>) {
        let Some(target) = target else { return };
        let more: Vec<PathBuf> = cwds.iter().filter_map(|cwd| self.word_path(target, cwd)).collect();
        cwds.extend(more);
        cwds.sort();
        cwds.dedup();
        cwds.truncate(MAX_FOLDERS);
    }

    /// A yes to `./build.sh` is one to that very file, and a yes to what only read is none to what may do more.
    fn bind_programs(&mut self, command: &SimpleCommand, class: &Class, cwds: &[PathBuf]) {
        let programs = binding::programs_by_path(command);
        if !self.affords(cost_of(programs.iter().copied(), cwds)) {
            return;
        }
        for word in programs {
            for cwd in cwds {
                let real = self.word_path(word, cwd).map(|path| self.real(&path));
                self.binding.program(&real.unwrap_or_default());
            }
        }
        if let Class::Arbitrary(why) | Class::Unclear(why) = class {
            self.binding.class(why);
        }
    }

    /// What a reading command of git's is in these folders.
    fn git(&mut self, folders: &[Word], cwds: &[PathBuf]) -> Class {
        for cwd in cwds {
            let from = |at: PathBuf, word: &Word| place(word, &at, self.ask.home);
            match folders.iter().try_fold(cwd.clone(), from) {
                None => return Class::Unknown("the home folder is not known".into()),
                Some(folder) => {
                    if let Some(why) = self.repository(folder, None) {
                        return Class::Arbitrary(format!("the repository may make git run a program: {why}"));
                    }
                }
            }
        }
        Class::Known
    }

    /// Why a git command that no sandbox holds may run programs of a repository.
    fn git_outside(&mut self, effects: &Effects, cwds: &[PathBuf]) -> Option<String> {
        let home = self.ask.home;
        let from = |at: PathBuf, word: &Word| place(word, &at, home);
        let pushes = effects.contact.as_ref().filter(|to| to.push).map(|to| to.remote.as_str());
        let suspect = |cwd: &PathBuf| match effects.git_folders.iter().try_fold(cwd.clone(), from) {
            None => Some("the home folder is not known".to_owned()),
            Some(folder) => self.repository(folder, Some(pushes)),
        };
        cwds.iter().find_map(suspect).map(|why| format!("no sandbox would hold it, and {why}"))
    }

    /// Hosts to which traffic may be led, where no sandbox holds it: what restricts is held against them, and nothing else.
    fn led_to(&mut self, hosts: &[String], covering: Option<usize>) {
        if self.is_held() {
            return;
        }
        let was = std::mem::replace(&mut self.glimpsing, true);
        hosts.iter().for_each(|host| self.host(host, By::Command(covering)));
        self.glimpsing = was;
    }

    fn is_held(&self) -> bool {
        self.sandboxed() && !self.leaving
    }

    /// The hosts that git reaches by the settings of the repository at hand. Where those do more than name a remote, no
    /// rule for git means it.
    fn contacts(&mut self, effects: &mut Effects, cwds: &[PathBuf]) -> Vec<String> {
        let Some(contact) = effects.contact.clone().filter(|_| !self.is_held()) else {
            return Vec::new();
        };
        let mut all = Contacts::default();
        for cwd in cwds {
            let from = |at: PathBuf, word: &Word| place(word, &at, self.ask.home);
            let found = match effects.git_folders.iter().try_fold(cwd.clone(), from) {
                None => Contacts { hosts: vec!["*".to_owned()], suspect: None },
                Some(folder) => self.contacts_of(folder, &contact),
            };
            all.hosts.extend(found.hosts);
            all.suspect = all.suspect.or(found.suspect);
        }
        all.hosts.sort();
        all.hosts.dedup();
        if let Class::Arbitrary(why) = &effects.class {
            let told: Vec<String> =
                all.hosts.iter().filter(|h| *h != "*").map(|h| format!("`{h}`")).collect();
            let to =
                if told.is_empty() { String::new() } else { format!("; it goes to {}", told.join(", ")) };
            effects.class = match &all.suspect {
                Some(suspect) => {
                    Class::Unclear(format!("{suspect} changes where git goes or what it sends{to}"))
                }
                None => Class::Arbitrary(format!("{why}{to}")),
            };
        }
        all.hosts
    }

    fn contacts_of(&mut self, folder: PathBuf, contact: &Contact) -> Contacts {
        let key = (folder, contact.clone());
        if let Some(told) = self.contacts.get(&key) {
            return told.clone();
        }
        if !self.affords(COST_OF_A_REPOSITORY) {
            return Contacts { hosts: vec!["*".to_owned()], suspect: None };
        }
        let told = (self.ask.git_contacts)(&key.0, &contact.remote, contact.push);
        self.contacts.insert(key, told.clone());
        told
    }

    /// Why git in a folder may run a program; `outside`: where no sandbox holds it, with the remote that it pushes to.
    fn repository(&mut self, folder: PathBuf, outside: Option<Option<&str>>) -> Option<String> {
        let key = (folder, outside.map(|remote| remote.map(str::to_owned)));
        if let Some(told) = self.repositories.get(&key) {
            return told.clone();
        }
        if !self.affords(COST_OF_A_REPOSITORY) {
            return Some("there are too many of them to look at".to_owned());
        }
        let told = match outside {
            None => (self.ask.git)(&key.0),
            Some(remote) => (self.ask.git_outside)(&key.0, remote),
        };
        self.repositories.insert(key, told.clone());
        told
    }

    /// A word that only the shell will know names no path here: the command that has it is unclear.
    fn word(&mut self, how: How, word: &Word, reach: Reach, by: By, cwds: &[PathBuf]) {
        if word.hidden != Hidden::No && !word.is_cut_pattern() {
            // But for what may only make the decision stricter.
            let rest = word.text.strip_prefix("$PWD").or_else(|| word.text.strip_prefix("${PWD}"));
            if let Some(rest) = rest.filter(|rest| !rest.contains(['$', '`'])) {
                let was = std::mem::replace(&mut self.glimpsing, true);
                for cwd in cwds {
                    self.path(how, &cwd.join(rest.trim_start_matches('/')), reach, word.glob, by);
                }
                self.glimpsing = was;
            }
            return;
        }
        for cwd in cwds {
            match self.word_path(word, cwd) {
                Some(path) => self.path(how, &path, reach, word.glob, by),
                None => self.unknown("the home folder is not known".into()),
            }
        }
    }

    /// Where a word leads from a folder. Not normalised: `..` behind a link is the link's affair.
    fn word_path(&self, word: &Word, cwd: &Path) -> Option<PathBuf> {
        let text = word.text.as_str();
        let home = |rest: &str| self.ask.home.map(|h| h.join(rest.trim_start_matches('/')));
        if self.glimpsing {
            if let Some(rest) = text.strip_prefix("$HOME") {
                return home(rest);
            }
            if let Some(rest) = text.strip_prefix("$PWD") {
                return Some(cwd.join(rest.trim_start_matches('/')));
            }
        }
        place(word, cwd, self.ask.home)
    }
}

/// What it costs to judge these words in each of these folders.
fn cost_of<'w>(words: impl Iterator<Item = &'w Word>, cwds: &[PathBuf]) -> usize {
    let above: Vec<usize> = cwds.iter().map(|cwd| cwd.components().count()).collect();
    let of_one = |word: &Word| {
        let parts = word.text.matches('/').count() + 1;
        above.iter().fold(0_usize, |sum, above| sum.saturating_add(cost(above + parts)))
    };
    words.fold(0, |sum, word| sum.saturating_add(of_one(word)))
}

/// As much as so many paths: its settings and its index are read.
const COST_OF_A_REPOSITORY: usize = 100;

/// Whether an allow rule's pattern covers a command with its variables and wrappers. What can do anything must be
/// named: a star does not name it.
fn covers(pattern: &Text, command: &SimpleCommand, known: bool) -> bool {
    let named = |argv: &[Word]| argv.first().is_some_and(|w| pattern.names(trusted_name(&w.text)));
    let telling = command.env_prefix.iter().filter(|v| !is_harmless(v));
    let variables =
        telling.filter_map(|v| v.split_once('=')).all(|(name, _)| pattern.contains(&format!("{name}=")));
    let raised = command.raised.is_none() || command.via.first().is_some_and(|argv| named(argv));
    variables
        && raised
        && (known || named(&command.argv))
        && texts_to_allow(command).iter().any(|text| pattern.matches(text))
}
