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
}

/// One wait, from its first answer or its opening on.
#[derive(Default)]
pub struct Asked {
    pub opened: Option<Opened>,
    /// Answers that came before it was opened.
    pub early: Vec<Answer>,
    /// The answer that counts.
    pub counted: Option<Answer>,
}

pub struct Opened {
    pub key: EffectKey,
    /// A lost call: whether it runs again.
    pub doubt: bool,
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
                return self.answer(record, wait, answer, *early);
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, open: &WaitOpened) -> Result<(), String> {
        let doubt = self.doubted.remove(&open.key);
        let asked = self.all.entry(open.wait.clone()).or_default();
        let question = matches!(open.on, WaitOn::Questions(_));
        let fits = |answer: &&Answer| match answer.ruling {
            Ruling::Deny { .. } | Ruling::Timeout => true,
            Ruling::Allow | Ruling::Edited(_) => !question,
            Ruling::Plan { .. } | Ruling::Ended(_) => false,
            Ruling::Answers(_) => question,
        };
        // What was said before a call was lost says nothing of that.
        let first = asked.early.first().filter(fits).filter(|_| !doubt).cloned();
        if open.answered != first.is_some() {
            return Err(format!("{} is opened as answered: {}", open.wait, open.answered));
        }
        let (key, deadline) = (open.key.clone(), open.deadline);
        if asked.opened.replace(Opened { key, doubt, deadline }).is_some() {
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
