//! What an append changes in a store's indexes, computed from its records alone.

use sterna_model::{
    Body, EffectResult, InputPart, Intended, Millis, Part, Record, Route, Seq, SessionId, answer_text,
    input_text,
};

use crate::{Pending, Status};

/// A change of the session's row and of the search index. A store applies it in the append's transaction, and
/// can rebuild both by applying the deltas of all records in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexDelta {
    pub opened: Option<Opened>,
    pub updated_at: Millis,
    /// What the records move, in their order.
    pub moves: Vec<Move>,
    /// What the records do to the title, in their order.
    pub titles: Vec<Title>,
    pub route: Option<Route>,
    pub turns: u64,
    pub steps: u64,
    pub tokens: u64,
    /// Nano-dollars to add.
    pub cost: u64,
    /// A call without a known price: the session's cost is unknown from here on.
    pub cost_unknown: bool,
    /// Texts for the search index.
    pub texts: Vec<IndexedText>,
}

/// What a record does to where its session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// An input waits for a turn.
    Input,
    /// So many inputs were taken by a turn, or withdrawn.
    Taken(u64),
    TurnStarted,
    TurnEnded,
    Asked,
    Answered,
    Closed,
}

impl Pending {
    pub fn apply(&mut self, change: Move) {
        match change {
            Move::Input => {
                self.closed = false;
                self.inputs = self.inputs.saturating_add(1);
            }
            Move::Taken(n) => self.inputs = self.inputs.saturating_sub(n),
            Move::TurnStarted => {
                self.closed = false;
                self.in_turn = true;
                self.asks = 0;
            }
            Move::TurnEnded => {
                self.in_turn = false;
                self.asks = 0;
            }
            Move::Asked => self.asks = self.asks.saturating_add(1),
            Move::Answered => self.asks = self.asks.saturating_sub(1),
            Move::Closed => self.closed = true,
        }
    }

    pub fn status(&self) -> Status {
        match self {
            Self { closed: true, .. } => Status::Closed,
            Self { asks: 1.., .. } => Status::Parked,
            Self { in_turn: true, .. } | Self { inputs: 1.., .. } => Status::Running,
            Self { .. } => Status::Idle,
        }
    }
}

/// Facts of a new session.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    pub cwd: String,
    pub route: Route,
    pub parent: Option<SessionId>,
    pub at: Millis,
}

/// What becomes of a session's title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Title {
    /// The first words of an input: only where there is none.
    Words(String),
    /// Somebody named the session: in place of any.
    Named(String),
    /// A model's: only where this one still stands.
    Made { text: String, instead_of: Option<String> },
}

impl Title {
    /// The title that a record gives, if it gives one.
    pub fn of(body: &Body) -> Option<Self> {
        match body {
            Body::TitleSet { title, made: None, .. } => Some(Self::Named(title.clone())),
            Body::TitleSet { title, made: Some(made), .. } if !title.is_empty() => {
                Some(Self::Made { text: title.clone(), instead_of: made.instead_of.clone() })
            }
            Body::InputAccepted(input) => title_from(&input.parts).map(Self::Words),
            _ => None,
        }
    }

    /// Changes the title that stands. `false`: it stays as it is.
    pub fn apply(self, title: &mut Option<String>) -> bool {
        let (counts, text) = match self {
            Self::Words(text) => (title.is_none(), text),
            Self::Named(text) => (true, text),
            Self::Made { text, instead_of } => (*title == instead_of, text),
        };
        if counts {
            *title = Some(text);
        }
        counts
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedText {
    pub seq: Seq,
    /// `user` or `assistant`.
    pub role: &'static str,
    pub text: String,
}

impl IndexDelta {
    /// The change that these records make, taken together.
    pub fn of(records: &[Record]) -> Self {
        let mut delta = Self::default();
        for record in records {
            delta.add(record);
        }
        delta
    }

    fn add(&mut self, record: &Record) {
        self.updated_at = self.updated_at.max(record.at);
        self.titles.extend(Title::of(&record.body));
        match &record.body {
            Body::SessionOpened(opened) => {
                self.opened = Some(Opened {
                    cwd: opened.cwd.clone(),
                    route: opened.route.clone(),
                    parent: opened.parent.as_ref().map(|parent| parent.session.clone()),
                    at: record.at,
                });
            }
            Body::TitleSet { made, .. } => {
                let paid = made.iter().filter(|made| !made.asking);
                paid.for_each(|made| self.bill(&made.billed));
            }
            Body::SessionClosed { .. } => self.moves.push(Move::Closed),
            Body::RouteChanged { route, turn: None, .. } => self.route = Some(route.clone()),
            Body::InputAccepted(input) => {
                self.moves.push(Move::Input);
                if input.compact.is_none() {
                    let text = input_text(&input.parts);
                    self.texts.push(IndexedText { seq: record.seq, role: "user", text });
                }
            }
            Body::TurnStarted(started) => {
                self.turns += 1;
                self.moves.extend([Move::Taken(started.inputs.len() as u64), Move::TurnStarted]);
            }
            Body::TurnCommitted(_) => self.moves.push(Move::TurnEnded),
            // A wait whose answer came first never waits.
            Body::WaitOpened(opened) if opened.answered => {}
            Body::WaitResolved { early: true, .. } => {}
            Body::WaitOpened(_) => self.moves.push(Move::Asked),
            Body::WaitResolved { .. } => self.moves.push(Move::Answered),
            Body::Attempt(attempt) => self.bill(&attempt.failure.billed),
            Body::Outcome(outcome) => match &outcome.result {
                EffectResult::Model(model) => {
                    self.steps += 1;
                    self.bill(&model.billed);
                    let text = answer_text(&model.parts);
                    let asks = model.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
                    // Words between tool calls are not worth a row each: the answer is what people look for.
                    if !text.is_empty() && !asks {
                        self.texts.push(IndexedText { seq: record.seq, role: "assistant", text });
                    }
                }
                EffectResult::ModelFailed(failure) => self.bill(&failure.billed),
                EffectResult::Summary(summary) => self.bill(&summary.billed),
                EffectResult::Judged(judgement) => self.bill(&judgement.billed),
                EffectResult::Tool(_) => {}
            },
            Body::HookRan(ran) => ran.asked.iter().for_each(|asked| self.bill(&asked.billed)),
            Body::InputWithdrawn { inputs, .. } => self.moves.push(Move::Taken(inputs.len() as u64)),
            // Inputs that were steered into the turn.
            Body::Intent(intent) => match &intent.what {
                // A route that takes over asks with the same inputs.
                Intended::Model(model) if !model.inputs.is_empty() && intent.attempt == 1 => {
                    self.moves.push(Move::Taken(model.inputs.len() as u64));
                }
                Intended::Model(_) | Intended::Tool(_) | Intended::Undo(_) | Intended::Compact(_)| Intended::Judge(_) => {}
            },
            Body::RouteChanged { turn: Some(_), .. }
            | Body::ModeChanged { .. }
            | Body::InputEdited { .. }
            | Body::InDoubt { .. }
            | Body::CancelRequested { .. }
            | Body::LimitReached { .. }
            | Body::GrantGiven { .. }
            | Body::GrantRevoked { .. }
            | Body::TodoSet { .. }
            | Body::CheckpointTaken(_)
            | Body::CheckpointMissed { .. }
            | Body::Compacted(_)
            | Body::CompactionMissed { .. }
            | Body::Memory(_)
            | Body::Automation(_)
            | Body::Goal(_)
            | Body::Budget(_)
            | Body::HookIntent(_)
            // What it closes and takes back stands in records of its own, in the same append.
            | Body::Rewound(_) => {}
        }
    }

    fn bill(&mut self, billed: &sterna_model::Billed) {
        self.tokens = self.tokens.saturating_add(billed.usage.total());
        match billed.cost {
            Some(cost) => self.cost = self.cost.saturating_add(cost),
            None if billed.usage.total() > 0 => self.cost_unknown = true,
            None => {}
        }
    }
}

/// The first words of an input: at most 60 characters of its first line that has any.
pub fn title_from(parts: &[InputPart]) -> Option<String> {
    let text = input_text(parts);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= 60 {
        return Some(line);
    }
    let cut: String = line.chars().take(59).collect();
    Some(format!("{}…", cut.trim_end()))
}
