//! Session logs of other agents become valid logs, and whatever they cannot hold is counted.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use futures::executor::block_on;
use proptest::prelude::*;
use sterna_context::Transcript;
use sterna_import::{Agent, Foreign, ForeignError, NewSession, Plan, read_foreign};
use sterna_llm::Item;
use sterna_log::{Log, MemoryLog, verify};
use sterna_model::{Body, Draft, EffectResult, Intended, Part, Route, SessionId, TurnOutcome, input_text};

const CLAUDE: &[u8] = include_bytes!("data/claude.jsonl");
const CODEX: &[u8] = include_bytes!("data/codex.jsonl");
const OPENCODE: &[u8] = include_bytes!("data/opencode.json");
const PI: &[u8] = include_bytes!("data/pi.jsonl");

fn new() -> NewSession {
    NewSession {
        id: SessionId::new("new").unwrap(),
        folder: Some("/work".into()),
        mode: Default::default(),
        now: 1_800_000_000_000,
        sterna: "0".into(),
    }
}

fn plan(foreign: &mut Foreign) -> Plan {
    foreign.plan(&new(), &Route { provider: "my".into(), model: "model".into() }).unwrap()
}

/// Stores the plan, and checks that it is a whole log.
fn stored(plan: &Plan) -> u64 {
    let log = MemoryLog::new();
    for append in plan.appends.clone() {
        block_on(log.append(append)).unwrap();
    }
    let found = block_on(verify(&log, &log, &new().id)).unwrap();
    assert_eq!(found.first_bad, None);
    each_call_has_one_result(&log);
    found.records
}

/// What the next request would carry: each answer with calls is followed by as many results, in their order.
fn each_call_has_one_result(log: &MemoryLog) {
    let mut transcript = Transcript::new();
    for sealed in block_on(log.read(&new().id, 1, usize::MAX)).unwrap() {
        transcript.apply(&sealed.record);
    }
    let items = transcript.with(&[]);
    for (at, item) in items.iter().enumerate() {
        let Item::Assistant(parts) = &**item else { continue };
        let calls: Vec<&str> = parts
            .iter()
            .filter_map(|part| match part {
                Part::ToolCall(call) => Some(call.id.as_str()),
                _ => None,
            })
            .collect();
        if calls.is_empty() {
            continue;
        }
        let Some(Item::Results(results)) = items.get(at + 1).map(|item| &**item) else {
            panic!("no results after {calls:?}")
        };
        assert_eq!(results.iter().map(|result| result.call_id.as_str()).collect::<Vec<_>>(), calls);
    }
    assert!(matches!(&*items[0], Item::User(_)));
}

/// The log in a few words a record. Whatever is the same for all is left away.
fn told(plan: &Plan) -> String {
    let drafts = plan.appends.iter().flat_map(|append| &append.records);
    drafts.filter_map(line).collect::<Vec<_>>().join("\n")
}

fn line(draft: &Draft) -> Option<String> {
    let place = format!("{}.{}", draft.turn.unwrap_or(0), draft.step.unwrap_or(0));
    Some(match &draft.body {
        Body::SessionOpened(opened) => format!("open {} {}", opened.cwd, opened.route),
        Body::TitleSet { title, .. } => format!("title {title}"),
        Body::InputAccepted(input) => format!("user {:?}", input_text(&input.parts)),
        Body::TurnStarted(started) => format!("turn {} in {} takes {:?}", place, started.cwd, started.inputs),
        Body::Intent(intent) => match &intent.what {
            Intended::Model(model) => format!("{place} {} after {}", model.route, model.transition.word()),
            Intended::Tool(_) | Intended::Undo(_) | Intended::Compact(_) | Intended::Judge(_) => return None,
        },
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Model(model) => {
                let parts: Vec<String> = model.parts.iter().map(part).collect();
                let usage = &model.billed.usage;
                let used = [
                    usage.input_uncached,
                    usage.cache_read,
                    usage.cache_write_5m,
                    usage.cache_write_1h,
                    usage.output,
                    usage.reasoning,
                ];
                format!("{place} says {} · {used:?} {:?}", parts.join(" + "), model.billed.cost)
            }
            EffectResult::Tool(tool) => {
                let ordinal = outcome.key.ordinal;
                let view: String = tool.view.chars().take(20).collect();
                format!("{place} #{ordinal} {} {view:?}", tool.status.word())
            }
            EffectResult::ModelFailed(_) => "failed".into(),
            EffectResult::Summary(_) => "summary".into(),
            EffectResult::Judged(_) => "judged".into(),
        },
        Body::CancelRequested { .. } => return None,
        Body::TurnCommitted(committed) => match &committed.outcome {
            TurnOutcome::Finished { message, .. } => format!("turn {place} finished {message:?}"),
            TurnOutcome::Stopped { reason, .. } => format!("turn {place} stopped {}", reason.word()),
        },
        Body::TodoSet { items, .. } => {
            let items: Vec<String> =
                items.iter().map(|item| format!("{} {:?}", item.subject, item.status)).collect();
            format!("todo {}", items.join(", "))
        }
        Body::ModeChanged { by, .. } => format!("from {}", by.split(", ").next().unwrap()),
        other => panic!("{other:?}"),
    })
}

fn part(part: &Part) -> String {
    match part {
        Part::Text(text) => format!("{text:?}"),
        Part::Reasoning(reasoning) => {
            assert_eq!(reasoning.opaque, None);
            format!("~{}~", reasoning.text)
        }
        Part::ToolCall(call) => format!("{}({})", call.name, call.arguments),
        Part::Opaque(_) => panic!("opaque state belongs to its route"),
    }
}

fn check(bytes: &[u8], agent: Agent, title: Option<&str>, expected: &str, left_out: &[(&str, u64)]) {
    let mut foreign = read_foreign(bytes, None).unwrap();
    assert_eq!((foreign.agent, foreign.title.as_deref()), (agent, title));
    assert_eq!(foreign.folder.as_deref(), Some("/home/ada/pond"));
    let left: BTreeMap<String, u64> = left_out.iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect();
    assert_eq!(foreign.left_out, left);
    let plan = plan(&mut foreign);
    assert_eq!(told(&plan), expected.trim());
    assert_eq!(stored(&plan), plan.imported.records);
}

#[test]
fn claude_branches_pieces_and_lost_results() {
    check(
        CLAUDE,
        Agent::Claude,
        Some("Ducks in the pond"),
        r#"
open /work anthropic/claude-opus-4-5
title Ducks in the pond
user "How many ducks are in pond.txt and in lake.txt?"
turn 1.0 in /home/ada/pond takes [3]
1.1 anthropic/claude-sonnet-4-5 after input
1.1 says ~Two files to read.~ + Read({"file_path":"/home/ada/pond/pond.txt"}) + mcp__lakes__count({"lake":"lake.txt"}) · [10, 1000, 60, 40, 50, 0] None
1.1 #0 ok "duck\nduck\n"
1.1 #1 failed "no such lake"
1.2 anthropic/claude-sonnet-4-5 after tool_results
1.2 says "Two ducks in the pond. There is no lake." · [20, 0, 0, 0, 12, 0] None
turn 1.0 finished "Two ducks in the pond. There is no lake."
user "/feed the ducks"
user "Put bread into pond.txt."
turn 2.0 in /home/ada/pond takes [14, 15]
2.1 anthropic/claude-opus-4-5 after input
2.1 says "Feeding them." + Bash({"command":"echo bread >> pond.txt"}) · [30, 0, 0, 0, 20, 0] None
2.1 #0 outcome_unknown "outcome_unknown: the"
turn 2.0 stopped cancelled
from import: claude session `5d0c-claude`"#,
        &[
            ("content image", 2),
            ("file-history-snapshot", 1),
            ("message of a subagent", 1),
            ("message of an abandoned branch", 2),
            ("note of the program", 1),
            ("opaque reasoning", 1),
            ("signature of reasoning", 1),
            ("system turn_duration", 1),
            ("unreadable line", 1),
        ],
    );
}

#[test]
fn codex_two_logs_in_one_are_read_once() {
    check(
        CODEX,
        Agent::Codex,
        None,
        r#"
open /work openai/gpt-5-codex
user "Make the swan test pass."
turn 1.0 in /home/ada/pond takes [2]
1.1 openai/gpt-5-codex after input
1.1 says ~**Running the test first**~ + "I run it first." + exec_command({"cmd":"make swan"}) · [400, 600, 0, 0, 80, 30] None
1.1 #0 failed "swan: FAILED\n"
1.2 openai/gpt-5-codex after tool_results
1.2 says apply_patch({"input":"*** Begin Patch\n*** Add File: swan\n+honk\n*** End Patch"}) · [0, 0, 0, 0, 0, 0] None
1.2 #0 ok "Success."
1.3 openai/gpt-5-codex after tool_results
1.3 says "The swan honks now." · [500, 1000, 0, 0, 20, 0] None
turn 1.0 finished "The swan honks now."
user "And the heron?"
turn 2.0 in /home/ada/pond takes [15]
turn 2.0 stopped cancelled
from import: codex session `019c-codex`"#,
        &[
            ("context that the program added", 1),
            ("event_msg turn_aborted", 1),
            ("message of developer", 1),
            ("opaque reasoning", 1),
            ("response_item web_search_call", 1),
        ],
    );
}

#[test]
fn opencode_answers_of_one_message_are_steps() {
    check(
        OPENCODE,
        Agent::Opencode,
        Some("Herons and reeds"),
        r#"
open /work openrouter/z-ai/glm-4.6
title Herons and reeds
user "Where is the heron?"
turn 1.0 in /home/ada/pond takes [3]
1.1 anthropic/claude-haiku-4-5 after input
1.1 says ~It hides.~ + grep({"pattern":"heron"}) + bash({"command":"fly"}) · [60, 10, 20, 0, 20, 0] Some(2500000)
1.1 #0 ok "reeds.txt:3: heron"
1.1 #1 failed "fly: not found"
1.2 anthropic/claude-haiku-4-5 after tool_results
1.2 says "In the reeds." · [40, 40, 0, 0, 10, 0] Some(1000000)
turn 1.0 finished "In the reeds."
user "Cut the reeds."
turn 2.0 in /home/ada/pond takes [14]
2.1 openrouter/z-ai/glm-4.6 after input
2.1 says bash({"command":"scythe"}) · [0, 0, 0, 0, 0, 0] Some(0)
2.1 #0 outcome_unknown "outcome_unknown: the"
turn 2.0 stopped cancelled
todo Find the heron Completed, Cut the reeds InProgress
from import: opencode session `ses_0a`"#,
        &[("part file", 1), ("part patch", 1), ("signature of reasoning", 1), ("todo item", 1)],
    );
}

#[test]
fn pi_follows_the_branch_that_it_ended_on() {
    check(
        PI,
        Agent::Pi,
        Some("Still water"),
        r#"
open /work openai/gpt-5
title Still water
user "I ran `ls` (exit code 0):\npond.txt\n"
user "Read the pond."
turn 1.0 in /home/ada/pond takes [3, 4]
1.1 anthropic/claude-sonnet-4-5 after input
1.1 says ~There is only one.~ + read({"path":"pond.txt"}) · [10, 5, 2, 0, 20, 0] Some(3000000)
1.1 #0 ok "water\n"
1.2 openai/gpt-5 after tool_results
1.2 says "Water." · [7, 0, 0, 0, 3, 0] Some(500000)
turn 1.0 finished "Water."
from import: pi session `7f-pi`"#,
        &[
            ("compaction", 1),
            ("entry of an abandoned branch", 1),
            ("signature of reasoning", 1),
            ("thinking_level_change", 1),
        ],
    );
}

/// A title is optional, and lines had no frame once.
#[test]
fn old_codex_lines_are_read_too() {
    let old = r#"{"id":"old-1","timestamp":"2025-06-01T10:00:00.000Z","instructions":null}
{"record_type":"state"}
{"type":"message","id":null,"role":"user","content":[{"type":"input_text","text":"hello"}]}
{"type":"message","id":"m","role":"assistant","content":[{"type":"output_text","text":"hi"}]}
"#;
    let mut foreign = read_foreign(old.as_bytes(), None).unwrap();
    assert_eq!((foreign.agent, foreign.session.as_deref()), (Agent::Codex, Some("old-1")));
    let told = told(&plan(&mut foreign));
    assert!(told.contains("user \"hello\"") && told.contains("turn 1.0 finished \"hi\""), "{told}");
    assert!(told.starts_with("open /work my/model"), "{told}");
    assert_eq!(foreign.left_out, BTreeMap::from([("unknown".to_owned(), 1)]));
}

/// More than a view holds is kept whole; more than an append holds goes in several.
#[test]
fn large_logs_keep_every_byte() {
    let output = "0123456789abcdef".repeat(10_000);
    let mut log = String::from("{\"type\":\"session\",\"id\":\"big\",\"cwd\":\"/\"}\n");
    for n in 0..600 {
        let call = serde_json::json!({"type": "message", "message": {"role": "assistant", "content": [
            {"type": "toolCall", "id": format!("c{n}"), "name": "read", "arguments": {"n": n}}]}});
        let text = if n == 300 { output.clone() } else { "x".repeat(4_000) };
        let result = serde_json::json!({"type": "message", "message": {"role": "toolResult",
            "toolCallId": format!("c{n}"), "content": text}});
        log.push_str(&format!("{call}\n{result}\n"));
    }
    let plan = plan(&mut read_foreign(log.as_bytes(), None).unwrap());
    assert!(plan.appends.len() > 3, "{}", plan.appends.len());
    // An opening, an input that is not in the log, a turn, four records a call, a cancel, a commit, and the origin.
    assert_eq!(stored(&plan), 3 + 600 * 4 + 3);
    let kept: Vec<_> = plan.appends.iter().flat_map(|append| &append.blobs).collect();
    assert!(kept.iter().any(|bytes| bytes[..] == *output.as_bytes()));
    let views =
        plan.appends.iter().flat_map(|append| &append.records).filter_map(|draft| match &draft.body {
            Body::Outcome(outcome) => match &outcome.result {
                EffectResult::Tool(tool) => Some(tool.view.len()),
                _ => None,
            },
            _ => None,
        });
    assert!(views.max().unwrap() <= 64 << 10);
}

#[test]
fn what_is_none_is_named() {
    let error = |bytes: &[u8], from| read_foreign(bytes, from).unwrap_err();
    for bytes in [&b""[..], b"\n\n", b"hello", b"{}", b"[1]\n", b"{\"type\":\"user\"}", &[0xff, 0xfe, b'\n']]
    {
        assert_eq!(error(bytes, None), ForeignError::Unknown, "{bytes:?}");
        for agent in Agent::ALL.into_iter().filter(|agent| *agent != Agent::Claude) {
            assert_eq!(error(bytes, Some(agent)), ForeignError::Not(agent.word()), "{bytes:?}");
        }
    }
    assert_eq!(error(PI, Some(Agent::Codex)), ForeignError::Not("codex"));
    assert_eq!(error(b"{\"type\":\"session\",\"id\":\"x\",\"cwd\":\"/\"}", None), ForeignError::Empty);
    // An answer without content and cost is no message.
    let silent = br#"{"type":"session","id":"x","cwd":"/"}
{"type":"message","id":"a","message":{"role":"assistant","content":[]}}"#;
    assert_eq!(error(silent, None), ForeignError::Empty);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever the bytes are: no panic, and what is made of them is a whole log.
    #[test]
    fn any_bytes_make_a_whole_log_or_none(
        which in 0usize..4,
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        dropped in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        keep_end in any::<bool>(),
    ) {
        let mut bytes = [CLAUDE, CODEX, OPENCODE, PI][which].to_vec();
        if !keep_end {
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        for at in dropped {
            if lines.len() > 1 {
                lines.remove(at.index(lines.len()));
            }
        }
        let bytes = lines.join(&b'\n');
        for from in [None, Some(Agent::ALL[which])] {
            if let Ok(mut foreign) = read_foreign(&bytes, from) {
                let plan = plan(&mut foreign);
                prop_assert_eq!(stored(&plan), plan.imported.records);
            }
        }
    }
}
