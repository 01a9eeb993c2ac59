//! The owners of a request sum to its bytes, for every request of every log on every wire; and what broke a cache is named.

#![allow(clippy::unwrap_used, dead_code)]

#[path = "../../sterna-turn/tests/world/mod.rs"]
mod world;

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use sterna_context::*;
use sterna_llm::{CallResult, EncodeCache, Item, Request, wire};
use sterna_log::fold::World;
use sterna_model::*;
use world::*;

fn spec(name: &str, description: &str) -> ToolSpec {
    ToolSpec { name: name.into(), description: description.into(), schema: json!({"type": "object"}) }
}

fn section(name: &str, owner: &str, stability: Stability, text: &str) -> Section {
    Section { name: name.into(), owner: owner.into(), stability, text: text.into() }
}

fn prompt() -> Prompt {
    let mut sections = builtin_sections(Template::Main);
    sections.push(section(
        "instructions/1",
        "/w/AGENTS.md:1-9",
        Stability::Frame,
        "Use \"tabs\".\n\tAlways é.",
    ));
    sections.push(section("empty", "host", Stability::Frame, " \n"));
    sections.push(section("instructions/2", "/w/a/AGENTS.md:1-2", Stability::Frame, "Never push."));
    Prompt::assemble(sections, vec![spec("read", "reads"), spec("write", "writes \"all\"")]).unwrap()
}

fn facts(mode: Mode) -> TurnFacts {
    TurnFacts {
        guest: None,
        now: 0,
        cwd: "/w \"x\"".into(),
        mode,
        added: Vec::new(),
        schema: None,
        schema_native: false,
        thinking: None,
    }
}

fn ledger(
    name: &str,
    prompt: &Prompt,
    entries: &[Entry],
    world: &World,
    mode: Mode,
    way: Transition,
) -> Vec<Owned> {
    let facts = facts(mode);
    let items = entries.iter().map(|entry| entry.item.clone()).collect();
    let request = derive(prompt, items, world, &facts, &route(), way, false, 100);
    let wire = wire::by_name(name).unwrap();
    let whole = wire.encode(&request, &mut EncodeCache::default()).bytes;
    let mut cache = EncodeCache::default();
    let derived = Derived { prompt, entries, world, facts: &facts, transition: way, request: &request };
    let mut last: Option<Request> = None;
    let rows = owners(&derived, |request| {
        last = Some(request.clone());
        wire.encode(request, &mut cache).bytes
    });
    // The last thing that was built is the request itself.
    assert_eq!(last.unwrap(), request, "{name}");
    assert_eq!(rows.iter().map(|row| row.bytes).sum::<u64>(), whole, "{name}: {rows:#?}");
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn owners_sum_to_the_bytes_of_every_request(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let prompt = prompt();
        let (mut transcript, mut world) = (Transcript::new(), World::default());
        for record in random_log(&bytes) {
            if let Body::Intent(intent) = &record.body
                && let Intended::Model(model) = &intent.what
            {
                let entries = transcript.entries(&model.inputs);
                for name in wire::NAMES {
                    let rows = ledger(name, &prompt, &entries, &world, Mode::Plan, model.transition);
                    // Each part that says something owns at least its own text.
                    let tool = rows.iter().find(|row| row.owner == "tool write").unwrap();
                    prop_assert!(tool.bytes >= 30, "{name} {tool:?}");
                    let file = rows.iter().find(|row| row.owner == "/w/AGENTS.md:1-9").unwrap();
                    prop_assert!((22..150).contains(&file.bytes), "{name} {file:?}");
                    let said = rows.iter().filter(|row| row.owner.ends_with("(person)"));
                    prop_assert!(said.clone().count() > 0 && said.into_iter().all(|row| row.bytes > 0), "{name}");
                }
            }
            transcript.apply(&record);
            world.apply(&record);
        }
    }
}

fn entry(place: u64, item: Item) -> Entry {
    let n = match &item {
        Item::Results(results) => results.len(),
        Item::User(_) | Item::Mixed(_) | Item::Assistant(_) => 1,
    };
    let from: Vec<u64> = (0..n as u64).map(|n| place + n).collect();
    Entry { item: Arc::new(item), from: from.into(), head: None, fixed: false, hook: false, by: None }
}

fn said(place: u64, text: &str) -> Entry {
    entry(place, Item::User(vec![text.into()]))
}

fn history() -> Vec<Entry> {
    let result = |id: &str, text: &str| CallResult {
        call_id: id.into(),
        name: "read".into(),
        text: text.into(),
        failed: false,
        files: Vec::new(),
    };
    vec![
        said(2, "go"),
        entry(5, Item::Assistant(vec![call("a", "{}"), call("b", "{}")])),
        entry(6, Item::Results(vec![result("a", "short"), result("b", &"long ".repeat(200))])),
    ]
}

fn rows(prompt: &Prompt, entries: &[Entry]) -> Vec<Owned> {
    ledger("anthropic", prompt, entries, &World::default(), Mode::Execute, Transition::Input)
}

#[test]
fn a_large_result_owns_its_size_and_its_place() {
    for name in wire::NAMES {
        let rows = ledger(name, &prompt(), &history(), &World::default(), Mode::Execute, Transition::Nudge);
        let of = |owner: &str| {
            rows.iter().find(|row| row.owner == owner).unwrap_or_else(|| panic!("{owner}: {rows:#?}")).bytes
        };
        assert!((1_000..1_150).contains(&of("record 7 (read)")), "{name} {}", of("record 7 (read)"));
        assert!(of("record 6 (read)") < 200, "{name} {}", of("record 6 (read)"));
        assert!(of("record 5 (model, 2 calls)") > 30 && of("record 2 (person)") < 150, "{name}");
        assert!(of("section environment") > 60 && of("section nudge_empty") > 60, "{name}");
        assert!(of("section rules (sterna)") > 500, "{name}");
        assert_eq!(of("section empty (host)"), 0, "{name}");
    }
}

#[test]
fn what_broke_the_cache_is_named() {
    let before = rows(&prompt(), &history());
    let check = |after: Vec<Owned>, expected: Option<&str>| {
        let changes = compare(&before, &after);
        assert_eq!(changes.broken_by.as_deref(), expected);
        changes
    };
    // The history grew, and the tail is another one.
    let mut grown = history();
    grown.push(said(9, "and on"));
    let changes = check(rows(&prompt(), &grown), None);
    assert_eq!(changes.added.iter().map(|row| row.owner.as_str()).collect::<Vec<_>>(), ["record 9 (person)"]);
    assert!(changes.removed.is_empty() && changes.kept_bytes > 2_000);

    let assemble = |change: &dyn Fn(&mut Vec<Section>, &mut Vec<ToolSpec>)| {
        let mut sections = prompt().sections().to_vec();
        let mut tools = vec![spec("read", "reads"), spec("write", "writes \"all\"")];
        change(&mut sections, &mut tools);
        rows(&Prompt::assemble(sections, tools).unwrap(), &history())
    };
    let agents = assemble(&|sections, _| {
        let file = sections.iter_mut().find(|section| section.owner == "/w/a/AGENTS.md:1-2").unwrap();
        file.text.push_str(" Never pull.");
    });
    let changes = check(agents, Some("/w/a/AGENTS.md:1-2 changed"));
    assert_eq!((changes.added.len(), changes.removed.len()), (1, 1));
    check(assemble(&|_, tools| drop(tools.remove(1))), Some("tool write is gone"));
    check(
        assemble(&|_, tools| tools.push(spec("shell", "runs"))),
        Some("tool shell is new, before tool write"),
    );
    check(assemble(&|_, tools| tools[0].description = "reads it".into()), Some("tool read changed"));

    // Of the history, what was taken back and what had to make room.
    let after_rewind = [said(2, "go"), said(9, "something else")];
    check(rows(&prompt(), &after_rewind), Some("rewind: record 5 (model, 2 calls) is gone"));
    let mut shorter = history();
    let Item::Results(mut results) = Item::clone(&shorter[2].item) else { panic!("{shorter:?}") };
    results[1].text.truncate(100);
    shorter[2].item = Arc::new(Item::Results(results));
    check(rows(&prompt(), &shorter), Some("record 7 (read) is shown shorter, to make room"));

    let compacted = Compacted {
        trigger: CompactTrigger::Window,
        stage: CompactStage::Cut,
        key: None,
        archive: Some(Archive { from: 2, to: 5 }),
        summary: None,
        pinned: vec![],
        cut: vec![],
        tokens_before: 9,
        tokens_after: 5,
        bytes_before: 9,
        bytes_after: 5,
        failed: None,
        frame: None,
    };
    let head = Entry { head: Some(Arc::new(compacted)), ..said(9, "earlier") };
    let broken = "compaction: record 9 (compacted) stands for record 2 (person) and more";
    check(rows(&prompt(), &[head, said(12, "on")]), Some(broken));
}
