//! What the model asks for, and what each call does to the world when nobody is killed. Written by hand: the judge
//! goes by it.

use serde_json::{Value, json};

use super::Dice;

/// What may be said of an effect whose process died in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Changes nothing, and may be done again: at least once, always told.
    Pure,
    /// The other side knows the key: once, always told.
    Idempotent,
    /// Under a shim: once, and its true end is told.
    Shim,
    /// Taken back whole, or once and told.
    Compensable,
    /// Nobody keeps it: once and told, or declared unknown and at most once.
    AtMostOnce,
}

impl Promise {
    pub fn word(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Idempotent => "idempotent",
            Self::Shim => "at_most_once, shim",
            Self::Compensable => "compensable",
            Self::AtMostOnce => "at_most_once",
        }
    }
}

/// How the world counts an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// By the server outside.
    Server,
    /// By the lines of the file of its name in the workspace.
    Lines,
    /// By the content of the file of its name: there or not.
    Content(&'static str),
}

/// What the model is told when the call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Exactly this text.
    Text(&'static str),
    /// A text that begins so.
    Begins(&'static str),
    /// A text that holds this.
    Holds(&'static str),
    /// This exit code, and a text that holds this.
    Failed(i64, &'static str),
    /// Numbers from 1 to this, one a line: the whole output is kept, and the view has its ends.
    Numbers(u32),
}

pub struct Effect {
    pub name: &'static str,
    pub tool: &'static str,
    pub promise: Promise,
    pub counted: Counted,
    pub told: Told,
    /// For `shell`.
    command: &'static str,
    background: bool,
}

impl Effect {
    fn arguments(&self) -> Value {
        match (self.tool, self.background) {
            ("shell", false) => json!({"command": self.command}),
            ("shell", true) => json!({"command": self.command, "background": true}),
            ("write", _) => json!({"path": self.name, "content": FILE}),
            _ => json!({"what": self.name}),
        }
    }
}

/// Ten effects of all classes.
pub const EFFECTS: [Effect; 10] = [
    remote("look", Promise::Pure, "looked"),
    remote("put", Promise::Idempotent, "put"),
    Effect {
        counted: Counted::Content(FILE),
        told: Told::Holds("`file`"),
        ..effect("file", "write", Promise::Idempotent)
    },
    shell("quick", "echo x >> quick; echo quick done", Told::Text("quick done")),
    shell("slow", "echo x >> slow; sleep 0.15; echo slow done", Told::Text("slow done")),
    shell("fails", "echo x >> fails; echo oops >&2; exit 7", Told::Failed(7, "oops")),
    shell("large", "echo x >> large; seq 1 30000", Told::Numbers(30_000)),
    Effect {
        background: true,
        ..shell("job", "echo x >> job; sleep 0.2; echo end", Told::Begins("started "))
    },
    remote("lend", Promise::Compensable, "lent"),
    remote("fire", Promise::AtMostOnce, "fired"),
];

/// The ten in an order of the seed's, in three steps, and an answer; then one more turn.
pub fn of_seed(seed: u64) -> String {
    let mut dice = Dice::new(seed ^ 0x5c21_9700);
    let mut order: Vec<&Effect> = EFFECTS.iter().collect();
    dice.shuffle(&mut order);
    let first = 2 + dice.below(4) as usize;
    let second = first + 2 + dice.below(3) as usize;
    let steps = [&order[..first], &order[first..second], &order[second..]];
    let call =
        |effect: &&Effect| json!({"id": effect.name, "name": effect.tool, "arguments": effect.arguments()});
    let mut lines: Vec<Value> =
        steps.iter().map(|step| json!({"calls": step.iter().map(call).collect::<Vec<_>>()})).collect();
    lines.push(json!({"text": FIRST}));
    lines.push(json!({"text": SECOND}));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The end of the first turn and of the second.
pub const FIRST: &str = "first done";
pub const SECOND: &str = "second done";
const FILE: &str = "made\n";

const fn effect(name: &'static str, tool: &'static str, promise: Promise) -> Effect {
    let (counted, told) = (Counted::Server, Told::Text(""));
    Effect { name, tool, promise, counted, told, command: "", background: false }
}

const fn remote(name: &'static str, promise: Promise, told: &'static str) -> Effect {
    Effect { told: Told::Text(told), ..effect(name, name, promise) }
}

const fn shell(name: &'static str, command: &'static str, told: Told) -> Effect {
    Effect { counted: Counted::Lines, told, command, ..effect(name, "shell", Promise::Shim) }
}
