//! The machine's face: `apply` and `next`, and the part of its state that outlives a turn.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sterna_model::{
    Body, ChildEnd, CompactTrigger, Delivery, Effect, EffectKey, Mode, Record, Route, Ruling, Seq, SessionId,
    SessionOpened, SpentOf, TurnNo, TurnOutcome, WaitId, WaitOn, signal_wait, waiting_call, waiting_signal,
};

use crate::turn::Turn;

/// What is to be done now.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Nothing: no turn, and no input that waits for one.
    Idle,
    /// A turn should start with these inputs: append `TurnStarted`.
    Start { turn: TurnNo, inputs: Vec<Seq> },
    /// These effects should be under way. Asking for one again, while it is, changes nothing.
    Effects(Vec<Effect>),
    /// Only these answers can move the turn on.
    Wait(Vec<WaitId>),
    /// The turn is over: append `TurnCommitted`.
    Done(TurnOutcome),
}

/// The state of a session that decides, folded from its log. Serialises as a snapshot.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TurnMachine {
    session: Option<SessionOpened>,
    head: Seq,
    route: Option<Route>,
    mode: Mode,
    /// The mode that somebody switched to last.
    #[serde(default)]
    switched: Option<Mode>,
    closed: bool,
    turns: TurnNo,
    /// Accepted inputs that no turn has taken.
    waiting: BTreeMap<Seq, Delivery>,
    /// Those among them that ask for a compaction, with what is to be kept above all.
    #[serde(default)]
    to_compact: BTreeMap<Seq, String>,
    /// Answers that came before their waits.
    #[serde(default)]
    early: BTreeMap<WaitId, Ruling>,
    /// Signals that came before anybody waited for them, ever, by their names: the number that the next one has.
    #[serde(default)]
    sent: BTreeMap<String, u64>,
    /// Turns of children whose ends were told: what they used up is paid once.
    #[serde(default)]
    paid: BTreeSet<(SessionId, SpentOf)>,
    turn: Option<Turn>,
}

/// A record that cannot follow what is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongRecord {
    pub seq: Seq,
    pub why: String,
}

impl std::fmt::Display for WrongRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "record {} does not follow: {}", self.seq, self.why)
    }
}

impl std::error::Error for WrongRecord {}

impl TurnMachine {
    /// The state before the first record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Folds one record. An error leaves the state as it was.
    pub fn apply(&mut self, record: &Record) -> Result<(), WrongRecord> {
        let wrong = |why: String| WrongRecord { seq: record.seq, why };
        self.follows(record).map_err(wrong)?;
        match &record.body {
            Body::SessionOpened(opened) => self.open(opened),
            Body::TitleSet { .. }
            | Body::GrantGiven { .. }
            | Body::GrantRevoked { .. }
            | Body::TodoSet { .. }
            | Body::Memory(_)
            | Body::Automation(_)
            | Body::Goal(_)
            | Body::Budget(_)
            | Body::HookIntent(_)
            | Body::CheckpointTaken(_)
            | Body::CheckpointMissed { .. } => {}
            Body::Rewound(rewound) if rewound.conversation => {
                if rewound.to == 0 || rewound.to >= record.seq {
                    return Err(wrong(format!("record {} is not before it", rewound.to)));
                }
                // As in a fork, what was running is not gone on with: numbers and keys of effects never repeat. An
                // input that no turn has taken stays, unless it came after that record.
                self.turn = None;
                self.early.retain(|wait, _| may_come(wait, self.turns));
                self.waiting.retain(|input, _| *input <= rewound.to);
            }
            Body::Rewound(_) => {}
            Body::Compacted(compacted) => {
                let turn = self.turn.as_mut().ok_or_else(|| wrong("no turn is running".into()))?;
                turn.compacted(compacted).map_err(wrong)?;
            }
            Body::CompactionMissed { trigger, why } => {
                let turn = self.turn.as_mut().ok_or_else(|| wrong("no turn is running".into()))?;
                turn.compaction_missed(*trigger, why).map_err(wrong)?;
            }
            Body::SessionClosed { .. } => self.closed = true,
            Body::RouteChanged { route, turn: None, .. } => self.route = Some(route.clone()),
            Body::RouteChanged { route, turn: Some(turn), .. } => {
                if let Some(running) = self.turn.as_mut().filter(|running| running.number == *turn) {
                    running.reroute(route);
                }
            }
            Body::ModeChanged { mode, .. } => (self.mode, self.switched) = (*mode, Some(*mode)),
            Body::InputAccepted(input) => {
                self.closed = false;
                self.waiting.insert(record.seq, input.delivery);
                if let Some(end) = &input.ended {
                    self.child_ended(end);
                }
                if let Some(focus) = &input.compact {
                    self.to_compact.insert(record.seq, focus.clone());
                }
            }
            Body::InputEdited { .. } => {}
            Body::InputWithdrawn { inputs, .. } => {
                for input in inputs {
                    self.waiting.remove(input);
                }
            }
            Body::TurnStarted(started) => {
                if self.turn.is_some() {
                    return Err(wrong("a turn is running".into()));
                }
                let number = record.turn.ok_or_else(|| wrong("a turn without a number".into()))?;
                if number <= self.turns {
                    return Err(wrong(format!("turn {number} was already used")));
                }
                let session = self.session.as_ref().ok_or_else(|| wrong("no session yet".into()))?;
                self.turns = number;
                for input in &started.inputs {
                    self.waiting.remove(input);
                }
                let mut turn = Turn::new(session.id.clone(), number, started);
                if let Some(focus) = started.inputs.iter().find_map(|input| self.to_compact.get(input)) {
                    turn.compacting.want(CompactTrigger::Manual, focus);
                }
                self.turn = Some(turn);
                let waiting = &self.waiting;
                self.to_compact.retain(|input, _| waiting.contains_key(input));
            }
            Body::TurnCommitted(_) => {
                let over = self.turn.take().ok_or_else(|| wrong("no turn is running".into()))?;
                // What was said for its waits, and they never came. A signal waits for any turn.
                self.early.retain(|wait, _| may_come(wait, over.number));
            }
            Body::HookRan(ran) => {
                // Hooks of a session that no turn runs in change nothing.
                if let Some(running) =
                    self.turn.as_mut().filter(|running| record.turn == Some(running.number))
                {
                    running.hook_ran(ran).map_err(wrong)?;
                }
            }
            // A request to cancel a turn that is over arrives too late, and is no error.
            Body::CancelRequested { turn, by, reason, .. } => {
                if let Some(running) = self.turn.as_mut().filter(|running| running.number == *turn) {
                    running.cancel(by, reason);
                }
            }
            Body::LimitReached { turn, reason } => {
                let unheard = !self.steering().before_end().is_empty();
                if let Some(running) = self.turn.as_mut().filter(|running| running.number == *turn) {
                    running.limit(*reason, unheard);
                }
            }
            Body::WaitResolved { wait, ruling, early, .. } => {
                if let Some(name) = waiting_signal(wait).filter(|_| *early) {
                    *self.sent.entry(name.to_owned()).or_default() += 1;
                }
                let awaited = |turn: &Turn| match waiting_signal(wait) {
                    Some(name) => turn.awaits_signal(name).is_some(),
                    None => turn.waits().any(|(open, _)| open == wait),
                };
                let open = self.turn.as_mut().filter(|turn| awaited(turn));
                match open {
                    // It did not come early after all, and whoever sent it sends it again as what it is.
                    Some(_) if *early => {}
                    Some(running) => {
                        running.wait_resolved(wait, ruling);
                        if let Ruling::Ended(end) = ruling {
                            self.child_ended(end);
                        }
                    }
                    None if *early => drop(self.early.entry(wait.clone()).or_insert_with(|| ruling.clone())),
                    // Too late, which is no error.
                    None => {}
                }
            }
            Body::Intent(intent) => {
                let turn = running(&mut self.turn, &intent.key).map_err(wrong)?;
                turn.intent(intent, record.at).map_err(wrong)?;
                if let sterna_model::Intended::Model(model) = &intent.what {
                    for input in &model.inputs {
                        self.waiting.remove(input);
                    }
                }
            }
            Body::Attempt(attempt) => {
                running(&mut self.turn, &attempt.key)
                    .and_then(|turn| turn.attempt(attempt))
                    .map_err(wrong)?;
            }
            Body::Outcome(outcome) => {
                running(&mut self.turn, &outcome.key)
                    .and_then(|turn| turn.outcome(outcome))
                    .map_err(wrong)?;
            }
            Body::InDoubt { key, resolution } => {
                running(&mut self.turn, key)
                    .and_then(|turn| turn.in_doubt(key, *resolution))
                    .map_err(wrong)?;
            }
            Body::WaitOpened(opened) => {
                let turn = running(&mut self.turn, &opened.key).map_err(wrong)?;
                turn.wait_opened(opened).map_err(wrong)?;
                // One that does not fit is none.
                let early = self.early.remove(&opened.wait).filter(|ruling| opened.on.takes(ruling));
                let early = early.or_else(|| match (&opened.on, opened.answered) {
                    (WaitOn::Signal { name }, true) => {
                        self.early.remove(&signal_wait(&opened.key.session, name))
                    }
                    _ => None,
                });
                if let Some(ruling) = early.filter(|_| opened.answered) {
                    turn.wait_resolved(&opened.wait, &ruling);
                }
            }
        }
        self.head = record.seq;
        Ok(())
    }

    /// What is to be done now. Pure: asking twice gives the same answer.
    pub fn next(&self) -> Next {
        match &self.turn {
            Some(turn) => turn.next(&self.steering()),
            None => match self.waiting.keys().next() {
                Some(first) => Next::Start { turn: self.turns + 1, inputs: vec![*first] },
                None => Next::Idle,
            },
        }
    }

    /// The last record that was applied.
    pub fn head(&self) -> Seq {
        self.head
    }

    pub fn session(&self) -> Option<&SessionOpened> {
        self.session.as_ref()
    }

    /// The route that the next turn takes.
    pub fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// The mode that the next turn has, unless it is given another.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The mode that somebody has switched the session to, if anybody has.
    pub fn switched(&self) -> Option<Mode> {
        self.switched
    }

    pub fn closed(&self) -> bool {
        self.closed
    }

    /// The running turn.
    pub fn turn(&self) -> Option<&Turn> {
        self.turn.as_ref()
    }

    /// Whether a wait of this call, which is not open yet, has its answer already. Whether a lost call runs again is
    /// asked about when it is lost: what was said before is no answer to that.
    pub fn is_answered_early(&self, key: &EffectKey, wait: &str, on: &WaitOn) -> bool {
        let turn = self.turn.as_ref().filter(|turn| turn.number == key.turn && turn.steps() == key.step);
        let call = turn.and_then(|turn| turn.calls().get(key.ordinal as usize));
        let doubted = call.is_some_and(|call| call.is_doubted());
        let said = self.early.get(wait).is_some_and(|ruling| on.takes(ruling));
        let signalled = match on {
            WaitOn::Signal { name } => self.early.contains_key(&signal_wait(&key.session, name)),
            _ => false,
        };
        !doubted && (said || signalled)
    }

    /// The wait that a signal of this name answers: of several the first.
    pub fn awaits_signal(&self, name: &str) -> Option<&WaitId> {
        self.turn.as_ref()?.awaits_signal(name)
    }

    /// Whether a signal of this name came that nobody has waited for yet.
    pub fn is_signalled(&self, name: &str) -> bool {
        self.early.keys().any(|wait| waiting_signal(wait) == Some(name))
    }

    /// How many signals of this name were written to the session's own log before anybody waited for them.
    pub fn sent_early(&self, name: &str) -> u64 {
        self.sent.get(name).copied().unwrap_or(0)
    }

    /// Signals that came and that nobody has waited for yet.
    pub fn signals(&self) -> usize {
        self.early.keys().filter(|wait| waiting_signal(wait).is_some()).count()
    }

    /// The number of the last turn that started.
    pub fn turns(&self) -> TurnNo {
        self.turns
    }

    /// Inputs that no turn has taken, in order.
    pub fn waiting(&self) -> impl Iterator<Item = (Seq, Delivery)> {
        self.waiting.iter().map(|(seq, delivery)| (*seq, *delivery))
    }

    /// Whether the record's place is the next one. A fork's own log begins with 1 after the history that it shares.
    fn follows(&self, record: &Record) -> Result<(), String> {
        let due = match &record.body {
            Body::SessionOpened(opened) => {
                let again = |session: &SessionOpened| session.id == opened.id || opened.parent.is_none();
                if self.session.as_ref().is_some_and(again) {
                    return Err("a session is open already".into());
                }
                1
            }
            _ if self.session.is_none() => return Err("no session yet".into()),
            _ => self.head + 1,
        };
        if record.seq == due { Ok(()) } else { Err(format!("record {due} is due")) }
    }

    fn open(&mut self, opened: &SessionOpened) {
        // A fork's own opening comes after the history that it shares. What was running there is not ours: calls in
        // flight are closed as unknown in the derived request, and inputs that waited belong to the parent.
        self.turn = None;
        self.waiting.clear();
        self.to_compact.clear();
        self.early.clear();
        self.sent.clear();
        self.paid.clear();
        self.route = Some(opened.route.clone());
        self.mode = opened.mode;
        self.closed = false;
        self.session = Some(opened.clone());
    }

    /// What a child used up is part of what its maker's turn used up.
    fn child_ended(&mut self, end: &ChildEnd) {
        let fresh = self.paid.insert((end.session.clone(), end.spent_of()));
        if let Some(turn) = self.turn.as_mut().filter(|_| fresh) {
            turn.child_ended(end);
        }
    }

    /// Inputs that may enter the running turn, by when they may.
    fn steering(&self) -> Steering {
        let of = |wanted: Delivery| {
            self.waiting.iter().filter(|(_, delivery)| **delivery == wanted).map(|(seq, _)| *seq).collect()
        };
        Steering { after_work: of(Delivery::AfterWork), before_completion: of(Delivery::BeforeCompletion) }
    }
}

/// Steered inputs that wait for their boundary.
pub(crate) struct Steering {
    pub after_work: Vec<Seq>,
    pub before_completion: Vec<Seq>,
}

impl Steering {
    /// Everything that must be heard before the turn may end, in the order in which it came.
    pub fn before_end(&self) -> Vec<Seq> {
        let mut all = [self.after_work.as_slice(), self.before_completion.as_slice()].concat();
        all.sort_unstable();
        all
    }
}

fn running<'a>(turn: &'a mut Option<Turn>, key: &EffectKey) -> Result<&'a mut Turn, String> {
    let turn = turn.as_mut().ok_or_else(|| format!("{key} belongs to no running turn"))?;
    if key.session != turn.session || key.turn != turn.number {
        return Err(format!("{key} belongs to another turn than {}/{}", turn.session, turn.number));
    }
    Ok(turn)
}

/// Whether what came before this wait may still be wanted when turns up to `over` are over.
fn may_come(wait: &str, over: TurnNo) -> bool {
    waiting_signal(wait).is_some() || waiting_call(wait).is_some_and(|key| key.turn > over)
}

/// Names an effect of this turn.
pub(crate) fn key_of(
    session: &SessionId,
    turn: TurnNo,
    step: u32,
    kind: sterna_model::EffectKind,
    ordinal: u32,
) -> EffectKey {
    EffectKey { session: session.clone(), turn, step, kind, ordinal }
}
