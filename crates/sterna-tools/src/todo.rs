//! `todo`: the session's list. The list itself is a fold of the facts that this tool gives.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use sterna_model::{EffectClass, Fact, TodoItem, TodoStatus, ToolSpec};
use sterna_tool::{
    Access, Placeholders, Plan, PlanContext, SessionView, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};

use crate::support::{first_line, parse};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    op: Op,
    /// For update and get.
    id: Option<String>,
    /// What is to be done, in one line.
    subject: Option<String>,
    description: Option<String>,
    /// The subject as something going on: `Running the tests`.
    active_form: Option<String>,
    status: Option<Status>,
    owner: Option<String>,
    /// Ids of items that wait for this one.
    blocks: Option<Vec<String>>,
    /// Ids of items that this one waits for.
    blocked_by: Option<Vec<String>>,
    metadata: Option<Map<String, Value>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Op {
    Create,
    Update,
    Get,
    List,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Status {
    Pending,
    InProgress,
    Completed,
    Deleted,
}

impl From<Status> for TodoStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::InProgress => Self::InProgress,
            Status::Completed => Self::Completed,
            Status::Deleted => Self::Deleted,
        }
    }
}

pub(crate) struct Todo {
    spec: ToolSpec,
}

impl Todo {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("todo", include_str!("todo.md")) }
    }
}

impl Tool for Todo {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, args: &Value) -> EffectClass {
        match args.get("op").and_then(Value::as_str) {
            Some("get" | "list") => EffectClass::Pure,
            _ => EffectClass::Idempotent,
        }
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        let what = args.id.or(args.subject).unwrap_or_default();
        let verb = match args.op {
            Op::Create => "create",
            Op::Update => "update",
            Op::Get => "get",
            Op::List => "list",
        };
        let summary = format!("todo {verb} {}", first_line(&what, 200)).trim_end().to_owned();
        Ok(Plan { accesses: vec![Access::Session], summary, preview: None })
    }

    /// What is said to a person, or noted, is only text.
    fn placeholders(&self, _: &Value) -> Placeholders {
        Placeholders::Keep
    }

    fn todos(&self, args: &Value, view: &SessionView) -> Vec<TodoItem> {
        let done = parse(args).and_then(|args| todo(args, &view.todos));
        let item = |fact| match fact {
            Fact::Todo(item) => Some(item),
            _ => None,
        };
        done.map(|done| done.facts.into_iter().filter_map(item).collect()).unwrap_or_default()
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move { todo(parse(&args)?, &cx.view.todos).map(ToolReturn::Done) }.boxed()
    }
}

type Items = BTreeMap<String, TodoItem>;

fn todo(args: Args, items: &Items) -> Result<ToolDone, ToolError> {
    match args.op {
        Op::List => Ok(ToolDone::text(listed(items))),
        Op::Get => Ok(ToolDone::text(whole(wanted(&args, items)?))),
        Op::Create => {
            if args.id.is_some() {
                return Err(ToolError::invalid("create gives the id itself; leave it out"));
            }
            if args.subject.is_none() {
                return Err(ToolError::invalid("create needs a subject"));
            }
            let id = next_id(items);
            let item = TodoItem {
                id: id.clone(),
                subject: String::new(),
                description: String::new(),
                active_form: String::new(),
                status: TodoStatus::Pending,
                owner: None,
                blocks: Vec::new(),
                blocked_by: Vec::new(),
                metadata: None,
            };
            change("created", item, args, items)
        }
        Op::Update => change("updated", wanted(&args, items)?.clone(), args, items),
    }
}

fn change(verb: &str, mut item: TodoItem, args: Args, items: &Items) -> Result<ToolDone, ToolError> {
    let Args { op: _, id: _, subject, description, active_form, status, owner, blocks, blocked_by, metadata } =
        args;
    if let Some(subject) = subject {
        item.subject = subject;
    }
    if item.subject.trim().is_empty() {
        return Err(ToolError::invalid("the subject is empty"));
    }
    item.description = description.unwrap_or(item.description);
    item.active_form = active_form.unwrap_or(item.active_form);
    item.status = status.map_or(item.status, TodoStatus::from);
    // An empty text takes the owner away.
    item.owner = owner.map_or(item.owner, |owner| Some(owner).filter(|owner| !owner.is_empty()));
    item.metadata = metadata.map(Value::Object).or(item.metadata);
    let is_deleted = item.status == TodoStatus::Deleted;
    let (given_blocks, given_blocked_by) =
        if is_deleted { (Some(Vec::new()), Some(Vec::new())) } else { (blocks, blocked_by) };

    let id = item.id.clone();
    let mut after = items.clone();
    after.insert(id.clone(), item);
    if let Some(others) = given_blocks {
        link(&mut after, &id, others, Side::Blocks)?;
    }
    if let Some(others) = given_blocked_by {
        link(&mut after, &id, others, Side::BlockedBy)?;
    }
    if let Some(circle) = circle(&after, &id) {
        return Err(ToolError::invalid(format!(
            "items would wait for each other in a circle: {}",
            circle.join(" → ")
        )));
    }
    let text = after.get(&id).map(|item| format!("{verb} {}", line(item))).unwrap_or_default();
    let facts =
        after.into_iter().filter(|(id, item)| items.get(id) != Some(item)).map(|(_, item)| Fact::Todo(item));
    Ok(ToolDone { facts: facts.collect(), ..ToolDone::text(text) })
}

#[derive(Clone, Copy)]
enum Side {
    Blocks,
    BlockedBy,
}

impl Side {
    fn of(self, item: &mut TodoItem) -> &mut Vec<String> {
        match self {
            Self::Blocks => &mut item.blocks,
            Self::BlockedBy => &mut item.blocked_by,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Blocks => Self::BlockedBy,
            Self::BlockedBy => Self::Blocks,
        }
    }
}

/// Sets one side's list of an item, and keeps the other side of each link in step.
fn link(items: &mut Items, id: &str, others: Vec<String>, side: Side) -> Result<(), ToolError> {
    let others: BTreeSet<String> = others.into_iter().collect();
    for other in &others {
        if other == id {
            return Err(ToolError::invalid(format!("`{id}` cannot wait for itself")));
        }
        if !items.get(other).is_some_and(|item| item.status != TodoStatus::Deleted) {
            return Err(unknown(other, items));
        }
    }
    for (at, item) in items.iter_mut() {
        if at == id {
            *side.of(item) = others.iter().cloned().collect();
            continue;
        }
        let back = side.other().of(item);
        let has = back.iter().any(|back| back == id);
        if others.contains(at) && !has {
            back.push(id.to_owned());
            back.sort();
        } else if !others.contains(at) && has {
            back.retain(|back| back != id);
        }
    }
    Ok(())
}

/// A way along `blocks` from the item back to itself.
fn circle(items: &Items, start: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        for next in
            way.last().and_then(|last| items.get(last)).map(|item| item.blocks.as_slice()).unwrap_or_default()
        {
            let mut longer = way.clone();
            longer.push(next.clone());
            if next == start {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push(longer);
            }
        }
    }
    None
}

fn wanted<'a>(args: &Args, items: &'a Items) -> Result<&'a TodoItem, ToolError> {
    let id = args.id.as_deref().ok_or_else(|| ToolError::invalid("this op needs an id"))?;
    items.get(id).ok_or_else(|| unknown(id, items))
}

fn unknown(id: &str, items: &Items) -> ToolError {
    let known: Vec<&str> = visible(items).map(|item| item.id.as_str()).collect();
    let known = if known.is_empty() {
        "the list is empty".to_owned()
    } else {
        format!("there are {}", known.join(", "))
    };
    ToolError::failed(format!("there is no item `{id}`; {known}"))
}

/// `t` and one more than the highest number ever given; deleted items keep theirs.
fn next_id(items: &Items) -> String {
    let highest = items.keys().filter_map(|id| number(id)).max().unwrap_or(0);
    format!("t{}", highest.saturating_add(1))
}

fn number(id: &str) -> Option<u64> {
    id.strip_prefix('t')?.parse().ok()
}

/// Items that are not deleted, in the order in which they were made.
fn visible(items: &Items) -> impl Iterator<Item = &TodoItem> {
    let mut all: Vec<&TodoItem> = items.values().filter(|item| item.status != TodoStatus::Deleted).collect();
    all.sort_by_key(|item| (number(&item.id), item.id.clone()));
    all.into_iter()
}

fn listed(items: &Items) -> String {
    let lines: Vec<String> = visible(items).map(line).collect();
    if lines.is_empty() { "the list is empty".to_owned() } else { lines.join("\n") }
}

/// `t1 [pending] subject (waits for t2, owner ann)`
fn line(item: &TodoItem) -> String {
    let mut notes = Vec::new();
    if !item.blocked_by.is_empty() {
        notes.push(format!("waits for {}", item.blocked_by.join(", ")));
    }
    if let Some(owner) = &item.owner {
        notes.push(format!("owner {owner}"));
    }
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
    format!("{} [{}] {}{notes}", item.id, word(item.status), item.subject)
}

fn whole(item: &TodoItem) -> String {
    let mut text = line(item);
    let mut more = |what: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("\n{what}: {value}"));
        }
    };
    more("description", &item.description);
    more("active form", &item.active_form);
    more("blocks", &item.blocks.join(", "));
    more("metadata", &item.metadata.as_ref().map(Value::to_string).unwrap_or_default());
    text
}

fn word(status: TodoStatus) -> &'static str {
    match status {
        TodoStatus::Pending => "pending",
        TodoStatus::InProgress => "in progress",
        TodoStatus::Completed => "completed",
        TodoStatus::Deleted => "deleted",
    }
}
