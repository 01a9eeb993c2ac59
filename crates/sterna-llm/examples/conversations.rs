//! Prints requests of generated conversations, one JSON object a line: `{"wire", "route", "body"}`.
//!
//! `scripts/judge-wires` gives them to the providers' own typed models. The same on every run.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::sync::Arc;

use serde_json::{Value, json};
use sterna_llm::{CallResult, EncodeCache, FilePart, Item, Request, Shown, SystemPart, UserPart, wire};
use sterna_model::{
    Attachment, BlobRef, Digest, Effort, Opaque, Part, Reasoning, Route, Thinking, ThinkingDialect, ToolCall,
    ToolSpec,
};

const CONVERSATIONS: u64 = 50;
const ROUTES: [(&str, &str); 4] = [
    ("anthropic", "anthropic/claude-opus-5"),
    ("openai_responses", "openai/gpt-5.4"),
    ("openai_chat", "openai/gpt-4.1"),
    ("gemini", "gemini/gemini-3.5-flash"),
];
const TEXTS: [&str; 8] = [
    "look at the tests",
    "Grüße, 世界 😀",
    "line one\nline two\t\"quoted\" \\ back",
    "{\"json\": [1, 2, null]}",
    "</tool> <|end|> [INST]",
    "x",
    "a rather longer text that goes on for a while, and then ends with a dot.",
    "\u{feff}odd\u{200b} spaces\u{a0}",
];

/// A generator that needs no state of the machine (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn text(&mut self) -> String {
        TEXTS[self.below(TEXTS.len())].to_owned()
    }
}

fn main() {
    for seed in 0..CONVERSATIONS {
        for (name, route) in ROUTES {
            let mut dice = Dice(seed);
            let route: Route = route.parse().unwrap();
            let request = conversation(&mut dice, name, &route);
            let encoded = wire::by_name(name).unwrap().encode(&request, &mut EncodeCache::default());
            let body: Value = serde_json::from_slice(&encoded.body()).unwrap();
            println!("{}", json!({"wire": name, "route": route.to_string(), "body": body}));
        }
    }
}

fn conversation(dice: &mut Dice, wire: &str, route: &Route) -> Request {
    let tools: Vec<ToolSpec> = (0..dice.below(4)).map(tool).collect();
    let mut items = vec![user(dice)];
    for turn in 0..dice.below(5) {
        let calls = if tools.is_empty() { 0 } else { dice.below(4) };
        let mut parts = Vec::new();
        if dice.one_in(2) {
            parts.push(reasoning(dice, wire, route, turn));
        }
        if dice.one_in(2) || calls == 0 {
            parts.push(Part::Text(dice.text()));
        }
        let mut results = Vec::new();
        for call in 0..calls {
            let name = tools[dice.below(tools.len())].name.clone();
            let id = format!("call_{turn}_{call}");
            // Now and then arguments that are no object.
            let arguments = if dice.one_in(6) {
                "{\"path\": ".to_owned()
            } else {
                json!({"path": dice.text()}).to_string()
            };
            parts.push(Part::ToolCall(ToolCall {
                id: id.clone(),
                name: name.clone(),
                arguments,
                truncated: false,
            }));
            results.push(CallResult {
                call_id: id,
                name,
                text: dice.text(),
                failed: dice.one_in(3),
                files: if dice.one_in(3) { files(dice) } else { Vec::new() },
            });
        }
        items.push(Arc::new(Item::Assistant(parts)));
        items.push(if results.is_empty() { user(dice) } else { Arc::new(Item::Results(results)) });
        if dice.one_in(4) {
            items.push(user(dice));
        }
    }
    let system = (0..dice.below(3)).map(|_| SystemPart { text: dice.text(), boundary: true }).collect();
    let schema = json!({
        "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false
    });
    Request {
        route: route.clone(),
        system,
        tools: tools.into(),
        items,
        tail: if dice.one_in(2) { dice.text() } else { String::new() },
        tools_off: dice.one_in(4),
        max_output: 1 + dice.below(64_000) as u32,
        // The newest types of the Messages API have no temperature any more, and its newest models refuse one.
        temperature: (wire != "anthropic" && dice.one_in(3)).then_some(0.5),
        schema: dice.one_in(4).then(|| Arc::new(schema)),
        thinking: dice.one_in(3).then(|| {
            let effort = Effort::ALL[dice.below(3)];
            let dialects = match wire {
                "anthropic" => [ThinkingDialect::Adaptive, ThinkingDialect::Budget],
                "gemini" => [ThinkingDialect::Level, ThinkingDialect::Budget],
                _ => [ThinkingDialect::Effort; 2],
            };
            Thinking { dialect: dialects[dice.below(2)], effort }
        }),
    }
}

/// One or two files: an image or a document that is sent, or the words for one that is not.
fn files(dice: &mut Dice) -> Vec<FilePart> {
    let file = |dice: &mut Dice| {
        let (name, media_type, data) = [
            ("a.png", "image/png", "iVBORw0KGgo="),
            ("photo \"1\".jpg", "image/jpeg", "/9j/4AAQ"),
            ("anim.gif", "image/gif", "R0lGODlh"),
            ("Bericht.pdf", "application/pdf", "JVBERi0xLjcK"),
        ][dice.below(4)];
        let blob = BlobRef { hash: Digest::ZERO, bytes: data.len() as u64 };
        let shown = if dice.one_in(4) { Shown::Text(dice.text().into()) } else { Shown::Data(data.into()) };
        let origin = dice.one_in(3).then(|| "mcp:shop".to_owned());
        FilePart { file: Arc::new(Attachment::new(name, media_type, blob)), origin, shown }
    };
    (0..=dice.below(2)).map(|_| file(dice)).collect()
}

fn user(dice: &mut Dice) -> Arc<Item> {
    if dice.one_in(4) {
        let files = files(dice).into_iter().map(UserPart::File);
        return Arc::new(Item::Mixed(std::iter::once(UserPart::Text(dice.text())).chain(files).collect()));
    }
    Arc::new(Item::User((0..=dice.below(2)).map(|_| dice.text()).collect()))
}

fn tool(n: usize) -> ToolSpec {
    let schema = json!({
        "type": "object",
        "properties": {"path": {"type": "string", "description": "a path"}, "lines": {"type": ["integer", "null"]}},
        "required": ["path"],
        "additionalProperties": false,
    });
    ToolSpec { name: format!("tool_{n}"), description: format!("Does the {n}th thing."), schema }
}

/// Reasoning as its own wire gave it, or without a seal.
fn reasoning(dice: &mut Dice, wire: &str, route: &Route, turn: usize) -> Part {
    let json = match wire {
        "anthropic" if dice.one_in(3) => json!({"type": "redacted_thinking", "data": "c2VjcmV0"}),
        "anthropic" => json!({"type": "thinking", "thinking": "hm", "signature": "c2lnbmVk"}),
        "openai_responses" => json!({
            "type": "reasoning", "id": format!("rs_{turn}"), "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "c2VhbGVk",
        }),
        _ => {
            return Part::Reasoning(Reasoning { text: "hm".into(), opaque: None });
        }
    };
    let opaque = Opaque { route: route.clone(), json: json.to_string() };
    Part::Reasoning(Reasoning { text: "hm".into(), opaque: Some(opaque) })
}
