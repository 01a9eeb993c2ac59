//! Who was asked and whose answer counts, told from the records alone: of all answers to a wait exactly one.

use std::collections::{BTreeMap, BTreeSet};

use sterna_model::*;

/// The waits of a session.
#[derive(Default)]
pub struct Waits {
    pub all: BTreeMap<WaitId, Asked>,
    /// Lost calls about which a person is to be asked.
    doubted: BTreeSet<EffectKey>,
    over: TurnNo,
    /// Signals that came before they were waited for, by name.
    kept: BTreeMap<String, Kept>,
}

/// A signal that nobody has waited for.
struct Kept {
    answer: Answer,
    /// A call of the running turn waited for it as it came. Unless that turn was ending then, it was too late to be
    /// early, and whoever sent it sends it again.
    unsure: bool,
}

/// One wait, from its first answer or its opening on.
#[derive(Default)]
pub struct Asked {
    pub opened: Option<Opened>,
    /// Answers that came before it was opened.
    pub early: Vec<Answer>,
    /// The answer that counts.
    pub counted: Option<Answer>,
    /// It was a signal that came before it was waited for.
    pub was_kept: bool,
}

impl Asked {
    /// Nobody is asked.
    pub fn is_wake(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.wake)
    }
}

pub struct Opened {
    pub key: EffectKey,
    /// A lost call: whether it runs again.
    pub doubt: bool,
    /// Nobody is asked: time or a signal is waited for.
    pub wake: bool,
    /// The signal.
    name: Option<String>,
    /// In the order of the log.
    nth: usize,
    pub deadline: Option<Millis>,
}

#[derive(Clone)]
pub struct Answer {
    pub ruling: Ruling,
    pub by: String,
}

/// The name under which drivers answer for time.
pub const DEADLINE: &str = "deadline";

impl Waits {
    /// Folds a record; an error is what must never be.
    pub fn take(&mut self, record: &Record) -> Result<(), String> {
        match &record.body {
            Body::TurnCommitted(_) => self.over = record.turn.unwrap_or(self.over),
            Body::InDoubt { key, resolution: InDoubtPolicy::Ask } => drop(self.doubted.insert(key.clone())),
            Body::WaitOpened(open) => return self.open(open),
            Body::WaitResolved { wait, ruling, by, early } => {
                let answer = Answer { ruling: ruling.clone(), by: by.clone() };
                if let Some(name) = wait.split_once("/signal/").map(|(_, name)| name.to_owned()) {
                    return self.keep(name, answer, *early);
                }
                return self.answer(record, wait, answer, *early);
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, open: &WaitOpened) -> Result<(), String> {
        let doubt = self.doubted.remove(&open.key);
        let nth = self.all.values().filter(|asked| asked.opened.is_some()).count();
        let asked = self.all.entry(open.wait.clone()).or_default();
        let name = match &open.on {
            WaitOn::Signal { name } => Some(name.clone()),
            _ => None,
        };
        let fits = |answer: &&Answer| match answer.ruling {
            Ruling::Deny { .. } | Ruling::Timeout => true,
            Ruling::Allow | Ruling::Edited(_) => matches!(open.on, WaitOn::Approval(_)),
            Ruling::Plan { .. } | Ruling::Ended(_) => false,
            Ruling::Answers(_) => matches!(open.on, WaitOn::Questions(_)),
            Ruling::Signal(_) => name.is_some(),
        };
        // What was said before a call was lost says nothing of that.
        let mut first = asked.early.first().filter(fits).filter(|_| !doubt).cloned();
        if let (Some(name), None) = (&name, &first) {
            let kept = self.kept.remove(name);
            asked.was_kept = open.answered;
            first = kept.filter(|kept| open.answered || !kept.unsure).map(|kept| kept.answer);
        }
        if open.answered != first.is_some() {
            return Err(format!("{} is opened as answered: {}", open.wait, open.answered));
        }
        let (key, deadline) = (open.key.clone(), open.deadline);
        let wake = name.is_some() || open.on == WaitOn::Timer;
        if asked.opened.replace(Opened { key, doubt, wake, name, nth, deadline }).is_some() {
            return Err(format!("{} is opened twice", open.wait));
        }
        asked.counted = first;
        Ok(())
    }

    fn answer(&mut self, record: &Record, wait: &WaitId, answer: Answer, early: bool) -> Result<(), String> {
        let asked = self.all.entry(wait.clone()).or_default();
        let Some(opened) = &asked.opened else {
            asked.early.push(answer);
            return if early { Ok(()) } else { Err(format!("{wait} is answered before it is opened")) };
        };
        if early || opened.key.turn <= self.over {
            return Ok(());
        }
        if answer.by == DEADLINE && opened.deadline.is_none_or(|at| record.at < at) {
            return Err(format!("{wait} ends at {}, its time is {:?}", record.at, opened.deadline));
        }
        match asked.counted.replace(answer) {
            None => Ok(()),
            Some(first) => Err(format!("{wait} is answered by {} and again", first.by)),
        }
    }

    fn keep(&mut self, name: String, answer: Answer, early: bool) -> Result<(), String> {
        if !early {
            return Err(format!("the signal {name} answers no wait, and is not early"));
        }
        let over = self.over;
        let awaited = |asked: &Asked| {
            let of = |opened: &Opened| opened.key.turn > over && opened.name.as_ref() == Some(&name);
            asked.counted.is_none() && asked.opened.as_ref().is_some_and(of)
        };
        let unsure = self.all.values().any(awaited);
        match self.kept.get(&name) {
            Some(before) if !before.unsure && !unsure => {
                let Answer { ruling, by } = &before.answer;
                return Err(format!("the signal {name} of {by} ({ruling:?}) is kept, and another came"));
            }
            Some(before) if !before.unsure => {}
            Some(_) | None => drop(self.kept.insert(name, Kept { answer, unsure })),
        }
        Ok(())
    }

    /// What ended the last wait of this call.
    pub fn woken(&self, key: &EffectKey) -> Option<Ruling> {
        let of = |asked: &&Asked| asked.opened.as_ref().is_some_and(|opened| opened.key == *key);
        let last = self.all.values().filter(of).max_by_key(|asked| asked.opened.as_ref().map(|o| o.nth));
        last?.counted.as_ref().map(|answer| answer.ruling.clone())
    }

    /// Whether this signal answered a wait, or is kept for one.
    pub fn has_signal(&self, name: &str, by: &str) -> bool {
        let counts = |asked: &Asked| asked.counted.as_ref().is_some_and(|answer| answer.by == by);
        self.all.values().any(counts) || self.kept.get(name).is_some_and(|kept| kept.answer.by == by)
    }

    /// Whether a person has allowed this call.
    pub fn allowed(&self, key: &EffectKey) -> bool {
        let of = |asked: &Asked| asked.opened.as_ref().is_some_and(|opened| opened.key == *key);
        let allowed = |asked: &Asked| asked.counted.as_ref().is_some_and(|a| a.ruling == Ruling::Allow);
        self.all.values().any(|asked| of(asked) && allowed(asked))
    }

    /// Times that a person said that this call, which was lost, may run again.
    pub fn reruns(&self, key: &EffectKey) -> u32 {
        let again = |asked: &&Asked| {
            let of = asked.opened.as_ref().is_some_and(|opened| opened.doubt && opened.key == *key);
            of && asked.counted.as_ref().is_some_and(|answer| answer.ruling == Ruling::Allow)
        };
        self.all.values().filter(again).count() as u32
    }

    /// Whether all that is asked now ends by itself.
    pub fn all_end(&self) -> bool {
        let open = |asked: &&Asked| asked.counted.is_none();
        let mut open = self.all.values().filter(open).filter_map(|asked| asked.opened.as_ref()).peekable();
        open.peek().is_some() && open.filter(|o| o.key.turn > self.over).all(|o| o.deadline.is_some())
    }

    /// Whoever was told that their answer counts, and it does not.
    pub fn deceived(&self, wait: &WaitId, by: &str) -> Option<String> {
        let Some(asked) = self.all.get(wait) else {
            return Some(format!("the answer of {by} to {wait} is not in the log"));
        };
        let counts = asked.counted.as_ref().is_some_and(|answer| answer.by == by);
        let was_early = asked.early.first().is_some_and(|answer| answer.by == by);
        // It came before the wait, which may not have come, or may have been another.
        if counts || was_early {
            return None;
        }
        let over = asked.opened.as_ref().is_some_and(|opened| opened.key.turn <= self.over);
        let nobody = over && asked.counted.is_none();
        // The turn ended while they spoke.
        if nobody {
            return None;
        }
        Some(format!("{by} was told that the answer to {wait} counts, and that of somebody else does"))
    }
}
