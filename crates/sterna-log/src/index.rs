//! What an append changes in a store's indexes, computed from its records alone.

use sterna_model::{
    Body, EffectResult, InputPart, Millis, Part, Record, Route, Seq, SessionId, answer_text, input_text,
};

use crate::Status;

/// A change of the session's row and of the search index. A store applies it in the append's transaction, and
/// can rebuild both by applying the deltas of all records in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexDelta {
    pub opened: Option<Opened>,
    pub updated_at: Millis,
    pub status: Option<Status>,
    pub title: Option<Title>,
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

/// Facts of a new session.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    pub cwd: String,
    pub route: Route,
    pub parent: Option<SessionId>,
    pub at: Millis,
}

/// A title: a person's replaces any, the first words of an input only fill an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title {
    pub text: String,
    pub replace: bool,
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
        match &record.body {
            Body::SessionOpened(opened) => {
                self.opened = Some(Opened {
                    cwd: opened.cwd.clone(),
                    route: opened.route.clone(),
                    parent: opened.parent.as_ref().map(|parent| parent.session.clone()),
                    at: record.at,
                });
                self.status = Some(Status::Idle);
            }
            Body::TitleSet { title, .. } => self.title = Some(Title { text: title.clone(), replace: true }),
            Body::SessionClosed { .. } => self.status = Some(Status::Closed),
            Body::RouteChanged { route, .. } => self.route = Some(route.clone()),
            Body::InputAccepted(input) => {
                self.status = Some(Status::Running);
                let text = input_text(&input.parts);
                if self.title.is_none() {
                    self.title = title_from(&input.parts).map(|text| Title { text, replace: false });
                }
                self.texts.push(IndexedText { seq: record.seq, role: "user", text });
            }
            Body::TurnStarted(_) => {
                self.turns += 1;
                self.status = Some(Status::Running);
            }
            Body::TurnCommitted(_) => self.status = Some(Status::Idle),
            Body::WaitOpened(_) => self.status = Some(Status::Parked),
            Body::WaitResolved { .. } => self.status = Some(Status::Running),
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
                EffectResult::Tool(_) => {}
            },
            Body::ModeChanged { .. }
            | Body::InputEdited { .. }
            | Body::InputWithdrawn { .. }
            | Body::Intent(_)
            | Body::InDoubt { .. }
            | Body::CancelRequested { .. }
            | Body::LimitReached { .. }
            | Body::GrantGiven { .. }
            | Body::GrantRevoked { .. }
            | Body::TodoSet { .. } => {}
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
