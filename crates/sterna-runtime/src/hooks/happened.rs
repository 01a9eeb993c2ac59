//! What the log says of what happened round a turn, for hooks that watch it: inputs that nobody typed, questions of MCP
//! servers, another folder, and what hooks were told of the state of things.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sterna_model::{
    Body, ChildEnd, EffectKey, EffectResult, Fact, HookEvent, HookRan, InputAccepted, Intended, Part, Record,
    Ruling, Seq, StepNo, ToolCall, TurnStarted, WaitId, WaitOn,
};

use crate::env::FileVersion;

/// A fold of the log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Happened {
    /// Where the session works.
    cwd: Option<String>,
    /// The folder of the turn before, where this turn has another one.
    pub moved_from: Option<String>,
    /// Inputs that came by themselves: who sent them, and whether this turn has taken them.
    arrived: BTreeMap<Seq, (Arrived, bool)>,
    /// The tools that the last answer asks for.
    called: Vec<String>,
    /// Open questions of MCP servers.
    asked: BTreeMap<WaitId, (StepNo, String)>,
    /// Those of this turn that were answered.
    pub elicited: Vec<Elicited>,
    /// The state of which hooks were told last, and how often they were told of it. Empty: the session has seen to it
    /// itself since.
    told: BTreeMap<String, (String, u64)>,
}

/// An input that nobody typed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Arrived {
    /// An agent in the background has ended its turn.
    Ended(Box<ChildEnd>),
    /// A background job has ended, under this key.
    Job(String),
    /// A schedule or a trigger has fired: its run.
    Run(String),
}

/// A question of an MCP server, answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Elicited {
    pub wait: WaitId,
    pub step: StepNo,
    pub server: String,
    /// `accept`, `decline` or `cancel`.
    pub action: String,
    pub answers: Vec<String>,
    pub by: String,
}

impl Happened {
    /// Folds one record.
    pub fn apply(&mut self, record: &Record) {
        match &record.body {
            Body::SessionOpened(opened) => {
                self.cwd = Some(opened.cwd.clone());
                self.arrived.clear();
                self.told.clear();
            }
            Body::InputAccepted(input) => {
                self.arrived.extend(arrived(input).map(|arrived| (record.seq, (arrived, false))));
            }
            Body::InputWithdrawn { inputs, .. } => {
                self.arrived.retain(|seq, _| !inputs.contains(seq));
            }
            Body::TurnStarted(started) => self.turn_started(started),
            Body::Intent(intent) => {
                if let Intended::Model(model) = &intent.what {
                    self.take(&model.inputs);
                }
            }
            Body::Outcome(outcome) => {
                if let EffectResult::Model(model) = &outcome.result {
                    let call = |part: &Part| match part {
                        Part::ToolCall(call) => Some(called(call)),
                        Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
                    };
                    self.called = model.parts.iter().filter_map(call).collect();
                }
                if let EffectResult::Tool(tool) = &outcome.result {
                    tool.facts.iter().for_each(|fact| self.seen_to(fact));
                }
            }
            Body::WaitOpened(opened) => {
                if let (WaitOn::Questions(_), Some(server)) = (&opened.on, self.server(&opened.key)) {
                    self.asked.insert(opened.wait.clone(), (opened.key.step, server.to_owned()));
                }
            }
            Body::WaitResolved { wait, ruling, by, .. } => self.resolved(wait, ruling, by),
            Body::HookRan(ran) => self.hooks_told(ran),
            _ => {}
        }
    }

    /// What came by itself and was taken by the turn.
    pub fn taken(&self) -> impl Iterator<Item = (Seq, &Arrived)> {
        self.arrived.iter().filter(|(_, (_, taken))| *taken).map(|(seq, (arrived, _))| (*seq, arrived))
    }

    /// The state of which hooks were told last, and how often they were told of it.
    pub fn told(&self, of: &str) -> Option<&(String, u64)> {
        self.told.get(of)
    }

    /// What the session itself knows of a file now is no change of it, and what hooks were told of it is over.
    fn seen_to(&mut self, fact: &Fact) {
        let (Fact::FileRead { path, .. } | Fact::FileWritten { path, .. } | Fact::FileRemoved { path, .. }) =
            fact
        else {
            return;
        };
        if self.told.is_empty() {
            return;
        }
        let of = format!("{}/{}", HookEvent::FileChanged.word(), short_of_path(path));
        if let Some((state, _)) = self.told.get_mut(&of) {
            state.clear();
        }
    }

    fn turn_started(&mut self, started: &TurnStarted) {
        let before = self.cwd.replace(started.cwd.clone());
        self.moved_from = before.filter(|before| *before != started.cwd);
        self.arrived.retain(|_, (_, taken)| !*taken);
        self.take(&started.inputs);
        self.asked.clear();
        self.elicited.clear();
    }

    fn take(&mut self, inputs: &[Seq]) {
        for input in inputs {
            if let Some((_, taken)) = self.arrived.get_mut(input) {
                *taken = true;
            }
        }
    }

    fn server(&self, key: &EffectKey) -> Option<&str> {
        server_of(self.called.get(key.ordinal as usize)?)
    }

    fn resolved(&mut self, wait: &WaitId, ruling: &Ruling, by: &str) {
        let Some((step, server)) = self.asked.remove(wait) else { return };
        let (action, answers) = match ruling {
            Ruling::Answers(answers) => ("accept", answers.clone()),
            Ruling::Timeout => ("cancel", Vec::new()),
            _ => ("decline", Vec::new()),
        };
        let (wait, action, by) = (wait.clone(), action.to_owned(), by.to_owned());
        self.elicited.push(Elicited { wait, step, server, action, answers, by });
    }

    /// The key of such an occurrence ends with how often it was told, what it is about, and its state.
    fn hooks_told(&mut self, ran: &HookRan) {
        if !ran.event.tells_a_state() {
            return;
        }
        let place = format!("/hook/{}/", ran.event.word());
        let about = ran.key.split_once(&place).and_then(|(_, about)| about.split_once('/'));
        if let Some((n, (of, state))) = about.and_then(|(n, about)| Some((n, about.rsplit_once('=')?))) {
            let of = format!("{}/{of}", ran.event.word());
            self.told.insert(of, (state.to_owned(), n.parse().unwrap_or_default()));
        }
    }
}

/// A path in keys of occurrences.
pub fn short_of_path(path: &str) -> String {
    blake3::hash(path.as_bytes()).to_hex()[..SHORT].to_owned()
}

/// What a file holds in keys of occurrences.
pub fn short_of_version(now: FileVersion) -> String {
    match now {
        FileVersion::Gone => "gone".to_owned(),
        FileVersion::Is(hash) => hash.to_string()[..SHORT].to_owned(),
    }
}

/// The server of a tool of one, by the name that the model calls it.
pub fn server_of(tool: &str) -> Option<&str> {
    tool.strip_prefix("mcp__")?.split_once("__").map(|(server, _)| server)
}

fn arrived(input: &InputAccepted) -> Option<Arrived> {
    let key = || input.key.as_deref().unwrap_or_default();
    let after = |prefix| key().strip_prefix(prefix).unwrap_or_else(key).to_owned();
    match (&input.ended, input.origin.as_str()) {
        (Some(end), _) => Some(Arrived::Ended(end.clone())),
        (None, "job") => Some(Arrived::Job(after("job:"))),
        (None, "automation") => Some(Arrived::Run(after("run:"))),
        (None, _) => None,
    }
}

/// The tool that a call is about: the one inside, for one that calls tools by name.
fn called(call: &ToolCall) -> String {
    if call.name != sterna_tool::CALL_TOOL {
        return call.name.clone();
    }
    let inside = serde_json::from_str::<serde_json::Value>(&call.arguments).ok();
    let name = inside.and_then(|args| Some(args.get("name")?.as_str()?.to_owned()));
    name.unwrap_or_else(|| call.name.clone())
}

/// Hexadecimal digits of a hash that tell things of one session apart.
pub const SHORT: usize = 16;
