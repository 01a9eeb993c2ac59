//! Every body of every version ever written, as a file: what is written today must be those bytes, and what was
//! written then must be read today.

#![allow(clippy::unwrap_used)] // The helpers of a test are tests.

use serde_json::json;
use sterna_log::{LogError, chain, open, prepare, seal, seal_as};
use sterna_model::*;

/// The files of a body, by version from 1. A new body does not compile here before it has them.
fn golden(body: &Body) -> [&'static str; 3] {
    macro_rules! file {
        ($name:literal) => {
            [
                include_str!(concat!("golden/v1/", $name, ".json")),
                include_str!(concat!("golden/v2/", $name, ".json")),
                include_str!(concat!("golden/v3/", $name, ".json")),
            ]
        };
        // Versions 1 and 2 did not know it.
        (3: $name:literal) => {
            ["", "", include_str!(concat!("golden/v3/", $name, ".json"))]
        };
        // Version 1 did not know it.
        (2: $name:literal) => {
            [
                "",
                include_str!(concat!("golden/v2/", $name, ".json")),
                include_str!(concat!("golden/v3/", $name, ".json")),
            ]
        };
        // Neither did version 2.
        (3: $name:literal) => {
            ["", "", include_str!(concat!("golden/v3/", $name, ".json"))]
        };
    }
    match body {
        Body::SessionOpened(SessionOpened { spawned: Some(_), .. }) => {
            file!(2: "session_opened_child")
        }
        Body::SessionOpened(_) => file!("session_opened"),
        Body::TitleSet { made: Some(made), .. } if made.asking => file!(3: "title_asking"),
        Body::TitleSet { made: Some(_), .. } => file!(3: "title_made"),
        Body::TitleSet { .. } => file!("title_set"),
        Body::SessionClosed { .. } => file!("session_closed"),
        Body::RouteChanged { .. } => file!("route_changed"),
        Body::ModeChanged { .. } => file!("mode_changed"),
        Body::InputAccepted(input) if matches!(input.parts[..], [InputPart::File(_)]) => {
            file!(2: "input_file")
        }
        Body::InputAccepted(input) if input.compact.is_some() => {
            file!(2: "input_compact")
        }
        Body::InputAccepted(input) if !input.tainted.is_empty() => {
            file!(3: "input_tainted")
        }
        Body::InputAccepted(_) => file!("input_accepted"),
        Body::InputEdited { .. } => file!("input_edited"),
        Body::InputWithdrawn { .. } => file!("input_withdrawn"),
        Body::TurnStarted(_) => file!("turn_started"),
        Body::TurnCommitted(committed) => match committed.outcome {
            TurnOutcome::Finished { .. } => file!("turn_finished"),
            TurnOutcome::Stopped { .. } => file!("turn_stopped"),
        },
        Body::Intent(intent) => match intent.what {
            Intended::Model(ref model) if model.files.is_some() => {
                file!(2: "intent_model_files")
            }
            Intended::Model(_) => file!("intent_model"),
            Intended::Tool(_) => file!("intent_tool"),
            Intended::Undo(_) => file!(2: "intent_undo"),
            Intended::Compact(_) => file!(2: "intent_compact"),
            Intended::Judge(_) => file!(3: "intent_judge"),
        },
        Body::Attempt(_) => file!("attempt"),
        Body::Outcome(outcome) => match outcome.result {
            EffectResult::Model(_) => file!("outcome_model"),
            EffectResult::ModelFailed(_) => file!("outcome_model_failed"),
            EffectResult::Tool(ref tool) if tool.untrusted.is_some() => {
                file!(2: "outcome_tool_untrusted")
            }
            EffectResult::Tool(ref tool) if !tool.attachments.is_empty() => {
                file!(2: "outcome_tool_files")
            }
            EffectResult::Tool(_) => file!("outcome_tool"),
            EffectResult::Summary(_) => file!(2: "outcome_summary"),
            EffectResult::Judged(_) => file!(3: "outcome_judged"),
        },
        Body::InDoubt { .. } => file!("in_doubt"),
        Body::WaitOpened(wait) => match wait.on {
            WaitOn::Approval(ref asked) if !asked.untrusted.is_empty() => {
                file!(2: "wait_approval_untrusted")
            }
            WaitOn::Approval(_) => file!("wait_approval"),
            WaitOn::Questions(_) => file!("wait_questions"),
            WaitOn::Child(_) => file!(2: "wait_child"),
            WaitOn::Plan(_) => file!(2: "wait_plan"),
            WaitOn::Timer => file!(3: "wait_timer"),
            WaitOn::Signal { .. } => file!(3: "wait_signal"),
        },
        Body::WaitResolved { ruling: Ruling::Ended(_), .. } => {
            file!(2: "wait_resolved_child")
        }
        Body::WaitResolved { ruling: Ruling::Signal(_), .. } => file!(3: "wait_resolved_signal"),
        Body::WaitResolved { .. } => file!("wait_resolved"),
        Body::CancelRequested { .. } => file!("cancel_requested"),
        Body::LimitReached { .. } => file!("limit_reached"),
        Body::GrantGiven { .. } => file!("grant_given"),
        Body::GrantRevoked { .. } => file!("grant_revoked"),
        Body::TodoSet { .. } => file!("todo_set"),
        Body::CheckpointTaken(_) => file!("checkpoint_taken"),
        Body::CheckpointMissed { .. } => file!("checkpoint_missed"),
        Body::Rewound(_) => file!("rewound"),
        Body::Compacted(compacted) if compacted.frame.is_some() => file!(3: "compacted_frame"),
        Body::Compacted(_) => file!(2: "compacted"),
        Body::CompactionMissed { .. } => file!(2: "compaction_missed"),
        Body::HookIntent(_) => file!(3: "hook_intent"),
        Body::HookRan(_) => file!(2: "hook_ran"),
        Body::Memory(change) => match **change {
            MemoryChange::Kept(_) => file!(2: "memory_kept"),
            MemoryChange::Forgotten { .. } => file!(2: "memory_forgotten"),
            MemoryChange::Used { .. } => file!(2: "memory_used"),
            MemoryChange::Recalled { .. } => file!(2: "memory_recalled"),
        },
        Body::Automation(change) => match **change {
            AutomationChange::Made(_) => file!(3: "automation_made"),
            AutomationChange::Paused { .. } => file!(3: "automation_paused"),
            AutomationChange::Resumed { .. } => file!(3: "automation_resumed"),
            AutomationChange::Removed { .. } => file!(3: "automation_removed"),
            AutomationChange::Fired(ref fired) => match fired.cause {
                Cause::Time { .. } => file!(3: "automation_fired"),
                Cause::Occurrence(_) => file!(3: "automation_fired_occurrence"),
                Cause::Hand { .. } => file!(3: "automation_fired_hand"),
            },
            AutomationChange::Passed { .. } => file!(3: "automation_passed"),
            AutomationChange::Dropped { .. } => file!(3: "automation_dropped"),
            AutomationChange::Ended { .. } => file!(3: "automation_ended"),
            AutomationChange::Discarded { .. } => file!(3: "automation_discarded"),
        },
        Body::Goal(change) => match **change {
            GoalChange::Set(_) => file!(3: "goal_set"),
            GoalChange::Status { .. } => file!(3: "goal_status"),
            GoalChange::Cleared { .. } => file!(3: "goal_cleared"),
        },
        Body::Budget(change) => match **change {
            BudgetChange::Asked { .. } => file!(3: "budget_asked"),
            BudgetChange::Settled { .. } => file!(3: "budget_settled"),
        },
    }
}

#[test]
fn each_body_is_written_and_read_as_its_file_says() {
    let session = SessionId::new("demo").unwrap();
    let drafts = drafts();
    let mut files: Vec<&str> = drafts.iter().map(|draft| golden(&draft.body)[2]).collect();
    for draft in drafts {
        let [first, second, now] = golden(&draft.body).map(str::trim_end);
        let read =
            |row: &str| open(&session, 7, row.as_bytes(), |_| Err(LogError::Io("nothing is spilled".into())));
        let (written, hash) = seal(&prepare(&draft).unwrap(), 7, &Digest::ZERO);
        assert_eq!(String::from_utf8(written).unwrap(), now);
        assert_eq!(hash, chain(&Digest::ZERO, now.as_bytes()));
        assert_eq!(read(now).unwrap(), draft.clone().at_seq(7));
        for (version, then) in [(2, second), (1, first)] {
            if then.is_empty() {
                continue;
            }
            let mut draft = draft.clone();
            if version == 1 {
                without_version_2(&mut draft.body);
            }
            let (written, hash) = seal_as(version, &prepare(&draft).unwrap(), 7, &Digest::ZERO);
            assert_eq!(String::from_utf8(written).unwrap(), then);
            assert_eq!(hash, chain(&Digest::ZERO, then.as_bytes()));
            assert_eq!(read(then).unwrap(), Record { v: version, ..draft.at_seq(7) });
        }
    }
    files.sort_unstable();
    files.dedup();
    assert_eq!(files.len(), 75, "each file has its draft below");
}

/// The body as version 1 wrote it: without what it did not know.
fn without_version_2(body: &mut Body) {
    match body {
        Body::InputAccepted(input) => input.given = None,
        Body::TurnStarted(turn) => {
            turn.limits.max_wait = None;
            turn.in_doubt_of.clear();
        }
        Body::WaitOpened(wait) => (wait.deadline, wait.answered) = (None, false),
        Body::WaitResolved { early, .. } => *early = false,
        _ => {}
    }
}

fn drafts() -> Vec<Draft> {
    let key = |text: &str| text.parse::<EffectKey>().unwrap();
    let route = || "anthropic/claude-x".parse::<Route>().unwrap();
    let hash = |byte: u8| Digest([byte; 32]);
    let blob = |byte: u8, bytes: u64| BlobRef { hash: hash(byte), bytes };
    let by = || "user".to_owned();
    let text = |text: &str| vec![InputPart::Text(text.into())];
    let usage = Usage {
        input_uncached: 1,
        cache_read: 2,
        cache_write_5m: 3,
        cache_write_1h: 4,
        output: 5,
        reasoning: 6,
    };
    let billed = || Billed { usage, cost: Some(7), estimated: true, raw: Some("{\"in\":1}".into()) };
    let failure = || ProviderFailure {
        class: ErrorClass::RateLimit,
        status: Some(429),
        message: "slow down".into(),
        retry_after_ms: Some(2000),
        billed: billed(),
    };
    let given = || Given {
        limits: Limits {
            max_tokens: Some(1000),
            max_cost: Some(5),
            deadline: Some(60_000),
            max_wait: Some(300_000),
            ..Limits::default()
        },
        rules: vec![RuleText {
            decision: Decision::Deny,
            text: "Shell(rm *)".into(),
            scope: Scope::ProjectLocal,
            source: "config.toml:3".into(),
        }],
        on_ask: OnAsk::Park,
        in_doubt_of: [("shell".to_owned(), InDoubtPolicy::Ask)].into(),
        add_dirs: vec!["/x".into()],
        tools: vec!["read".into()],
        max_output: Some(4096),
        ..Given::new(route(), "/w")
    };
    let session = |body| Draft { at: 1_700_000_000_000, turn: None, step: None, body };
    let automation = |change| session(Body::Automation(Box::new(change)));
    let goal = |change| session(Body::Goal(Box::new(change)));
    let occurrence = || Occurrence {
        source: Source::Publish,
        key: "ci".into(),
        id: "build 7".into(),
        payload: "red".into(),
        hops: 1,
    };
    let fired = |cause| {
        AutomationChange::Fired(Box::new(Fired {
            name: "nightly".into(),
            made: 2,
            run: "nightly.2.1699999999000".into(),
            due: 1_699_999_999_000,
            cause,
        }))
    };
    let turn = |body| Draft { at: 1_700_000_000_000, turn: Some(1), step: None, body };
    let step = |body| Draft { at: 1_700_000_000_000, turn: Some(1), step: Some(2), body };
    let item = TodoItem {
        id: "1".into(),
        subject: "write".into(),
        description: "the code".into(),
        active_form: "writing".into(),
        status: TodoStatus::InProgress,
        owner: Some("main".into()),
        blocks: vec!["2".into()],
        blocked_by: vec!["0".into()],
        metadata: Some(json!({"a": 0.1})),
    };
    vec![
        session(Body::SessionOpened(SessionOpened {
            id: SessionId::new("demo").unwrap(),
            parent: Some(Parent { session: SessionId::new("first").unwrap(), seq: 3, hash: hash(1) }),
            root: "/w".into(),
            cwd: "/w/src".into(),
            route: route(),
            mode: Mode::AcceptEdits,
            sterna: "0.1.0".into(),
            spawned: None,
        })),
        session(Body::SessionOpened(SessionOpened {
            id: SessionId::new("agent-1").unwrap(),
            parent: None,
            spawned: Some(Box::new(Spawned {
                worktree: None,
                by: key("demo/1/2/tool/3"),
                depth: 1,
                agent: "explore".into(),
                prompt: "You look.".into(),
            })),
            root: "/w".into(),
            cwd: "/w".into(),
            route: route(),
            mode: Mode::Execute,
            sterna: "0.1.0".into(),
        })),
        session(Body::TitleSet { title: "A \"title\"\n".into(), by: by(), made: None }),
        session(Body::TitleSet {
            title: "Größe ändern".into(),
            by: "model".into(),
            made: Some(Box::new(TitleMade {
                instead_of: Some("please change".into()),
                asking: false,
                route: route(),
                billed: billed(),
                failed: Some("late".into()),
            })),
        }),
        session(Body::TitleSet {
            title: String::new(),
            by: "model".into(),
            made: Some(Box::new(TitleMade {
                instead_of: None,
                asking: true,
                route: route(),
                billed: billed(),
                failed: None,
            })),
        }),
        session(Body::SessionClosed { by: by() }),
        session(Body::RouteChanged {
            route: "scripted:a b.jsonl".parse().unwrap(),
            cause: "user".into(),
            turn: None,
        }),
        session(Body::ModeChanged { mode: Mode::NeverAsk, by: by() }),
        session(Body::InputAccepted(InputAccepted {
            key: None,
            delivery: Delivery::NextTurn,
            parts: vec![],
            origin: "cli".into(),
            given: None,
            ended: None,
            compact: Some("the parser".into()),
            tainted: Vec::new(),
        })),
        session(Body::InputAccepted(InputAccepted {
            key: Some("k".into()),
            delivery: Delivery::BeforeCompletion,
            parts: text("größe"),
            origin: "cli".into(),
            ended: None,
            compact: None,
            tainted: Vec::new(),
            given: Some(Box::new(given())),
        })),
        session(Body::InputEdited { input: 4, parts: text("other"), by: by() }),
        session(Body::InputWithdrawn { inputs: vec![4, 5], by: by() }),
        turn(Body::TurnStarted(Box::new(TurnStarted {
            inputs: vec![4],
            given: Given { max_output: None, ..given() },
            now: 1_700_000_000_001,
        }))),
        turn(Body::TurnCommitted(Box::new(TurnCommitted {
            outcome: TurnOutcome::Finished { message: "done".into(), value: Some(json!({"ok": true})) },
            steps: 2,
            usage,
            cost: Some(9),
        }))),
        turn(Body::TurnCommitted(Box::new(TurnCommitted {
            outcome: TurnOutcome::Stopped {
                reason: StopReason::Cancelled,
                detail: "by hand".into(),
                by: Some(by()),
            },
            steps: 0,
            usage: Usage::default(),
            cost: None,
        }))),
        step(Body::Intent(Box::new(Intent {
            key: key("demo/1/2/model/0"),
            class: EffectClass::Idempotent,
            attempt: 1,
            what: Intended::Model(ModelIntent {
                route: route(),
                transition: Transition::ToolResults,
                inputs: vec![6],
                history: vec![
                    Span { session: Some(SessionId::new("first").unwrap()), from: 1, to: 3 },
                    Span { session: None, from: 1, to: 6 },
                ],
                manifest: hash(2),
                tools_off: true,
                max_output: 4096,
                encoder: "anthropic/1".into(),
                request: hash(3),
                bytes: 1234,
                prefix: None,
                prefix_broken: Vec::new(),
                left_out: 0,
                schema_native: false,
                files: None,
                thinking: None,
            }),
        }))),
        step(Body::Intent(Box::new(Intent {
            key: key("demo/1/2/tool/1"),
            class: EffectClass::AtMostOnce,
            attempt: 2,
            what: Intended::Tool(ToolIntent {
                call_id: "c1".into(),
                name: "shell".into(),
                input: hash(4),
                sandbox: "none".into(),
            }),
        }))),
        step(Body::Intent(Box::new(Intent {
            key: key("demo/1/2/tool/1"),
            class: EffectClass::Compensable,
            attempt: 2,
            what: Intended::Undo(ToolIntent {
                call_id: "c1".into(),
                name: "lend".into(),
                input: hash(4),
                sandbox: "none".into(),
            }),
        }))),
        step(Body::Intent(Box::new(Intent {
            key: key("demo/1/3/compact/0"),
            class: EffectClass::Idempotent,
            attempt: 1,
            what: Intended::Compact(Box::new(CompactIntent {
                trigger: CompactTrigger::Manual,
                focus: "the parser".into(),
                to: 9,
                cut_results: true,
                tokens: 90_000,
                model: ModelIntent {
                    route: route(),
                    transition: Transition::Compact,
                    inputs: vec![],
                    history: vec![Span { session: None, from: 1, to: 12 }],
                    manifest: hash(2),
                    tools_off: true,
                    max_output: 2000,
                    encoder: "anthropic/1".into(),
                    request: hash(3),
                    bytes: 1234,
                    prefix: None,
                    prefix_broken: vec![],
                    left_out: 0,
                    schema_native: false,
                    files: None,
                    thinking: None,
                },
            })),
        }))),
        step(Body::Outcome(Box::new(Outcome {
            key: key("demo/1/3/compact/0"),
            attempt: 1,
            result: EffectResult::Summary(Summary {
                text: "all of it".into(),
                failed: Some("refused".into()),
                billed: billed(),
                duration_ms: 12,
            }),
        }))),
        step(Body::Intent(Box::new(Intent {
            key: key("demo/1/2/judge/0"),
            class: EffectClass::Idempotent,
            attempt: 1,
            what: Intended::Judge(Box::new(JudgeIntent {
                call: key("demo/1/2/tool/1"),
                pass: JudgePass::Reasoned,
                subject: hash(4),
                asked: blob(7, 9),
                route: route(),
                max_output: 4096,
                encoder: "anthropic/1".into(),
                request: hash(3),
                bytes: 1234,
                schema_native: true,
            })),
        }))),
        step(Body::Outcome(Box::new(Outcome {
            key: key("demo/1/2/judge/0"),
            attempt: 1,
            result: EffectResult::Judged(Judgement {
                says: JudgeSays::Ask,
                reason: "who knows".into(),
                failed: Some("refused".into()),
                billed: billed(),
                duration_ms: 12,
            }),
        }))),
        step(Body::Compacted(Box::new(Compacted {
            trigger: CompactTrigger::Window,
            stage: CompactStage::Summary,
            key: Some(key("demo/1/3/compact/0")),
            archive: Some(Archive { from: 2, to: 9 }),
            summary: Some(blob(7, 9)),
            pinned: vec![Pinned { record: 2, text: "never push".into() }],
            cut: vec![11],
            tokens_before: 90_000,
            tokens_after: 30_000,
            bytes_before: 360_000,
            bytes_after: 120_000,
            failed: Some("no".into()),
            frame: None,
        }))),
        step(Body::Compacted(Box::new(Compacted {
            trigger: CompactTrigger::Continue,
            stage: CompactStage::Frame,
            key: None,
            archive: Some(Archive { from: 2, to: 9 }),
            summary: None,
            pinned: Vec::new(),
            cut: Vec::new(),
            tokens_before: 90_000,
            tokens_after: 3_000,
            bytes_before: 360_000,
            bytes_after: 12_000,
            failed: None,
            frame: Some(Box::new(Frame {
                id: hash(4),
                task: "the second half".into(),
                seed: serde_json::Map::from_iter([("k".to_owned(), json!(1))]),
            })),
        }))),
        step(Body::CompactionMissed { trigger: CompactTrigger::Overflow, why: "nothing is left".into() }),
        step(Body::Attempt(Box::new(Attempt {
            key: key("demo/1/2/model/0"),
            attempt: 1,
            route: route(),
            failure: failure(),
            wait_ms: 1500,
            retry_at: Some(1_700_000_001_500),
        }))),
        step(Body::Outcome(Box::new(Outcome {
            key: key("demo/1/2/model/0"),
            attempt: 2,
            result: EffectResult::Model(ModelOutcome {
                parts: vec![
                    Part::Reasoning(Reasoning {
                        text: "hm".into(),
                        opaque: Some(Opaque { route: route(), json: "{\"sig\":\"x\"}".into() }),
                    }),
                    Part::Text("I read.".into()),
                    Part::ToolCall(ToolCall {
                        id: "c1".into(),
                        name: "read".into(),
                        arguments: "{\"path\":".into(),
                        truncated: true,
                    }),
                    Part::Opaque(Opaque { route: route(), json: "[]".into() }),
                ],
                stop: ModelStop::ToolCalls,
                classes: vec![EffectClass::Pure],
                billed: billed(),
                partial: true,
                duration_ms: 12,
                checked: None,
            }),
        }))),
        step(Body::Outcome(Box::new(Outcome {
            key: key("demo/1/2/model/0"),
            attempt: 3,
            result: EffectResult::ModelFailed(ProviderFailure {
                class: ErrorClass::StreamCut,
                status: None,
                message: "cut".into(),
                retry_after_ms: None,
                billed: Billed::default(),
            }),
        }))),
        step(Body::Outcome(Box::new(Outcome {
            key: key("demo/1/2/tool/0"),
            attempt: 1,
            result: EffectResult::Tool(ToolOutcome {
                status: ToolStatus::Ok,
                view: "seen".into(),
                full: Some(blob(5, 100)),
                facts: vec![
                    Fact::FileRead { path: "/w/a".into(), hash: hash(6) },
                    Fact::FileWritten { path: "/w/b".into(), before: None, after: hash(7) },
                    Fact::Todo(item.clone()),
                    Fact::Command { exit_code: Some(1), signal: None, bytes: 10 },
                ],
                started_at: 1_699_999_999_999,
                duration_ms: 1,
                untrusted: None,
                attachments: Vec::new(),
            }),
        }))),
        step(Body::InDoubt { key: key("demo/1/2/tool/1"), resolution: InDoubtPolicy::Rerun }),
        step(Body::WaitOpened(Box::new(WaitOpened {
            wait: "w1".into(),
            key: key("demo/1/2/tool/1"),
            deadline: Some(1_700_000_300_000),
            answered: true,
            on: WaitOn::Approval(Approval {
                effects: None,
                tool: "shell".into(),
                summary: "rm x".into(),
                reason: "it writes".into(),
                rule: Some("Shell(rm *)".into()),
                source: Some("config.toml:3".into()),
                preview: Some("- x".into()),
                content: hash(8),
                untrusted: Vec::new(),
            }),
        }))),
        session(Body::InputAccepted(InputAccepted {
            key: None,
            delivery: Delivery::NextTurn,
            parts: vec![InputPart::File(Attachment {
                pages: Some(3),
                text: Some(blob(5, 60)),
                ..Attachment::new("spec.pdf", "application/pdf", blob(4, 1200))
            })],
            origin: "cli".into(),
            given: None,
            compact: None,
            ended: None,
            tainted: Vec::new(),
        })),
        session(Body::InputAccepted(InputAccepted {
            key: Some("task:demo/1/2/tool/0".into()),
            delivery: Delivery::NextTurn,
            parts: vec![InputPart::Text("find it".into())],
            origin: "agent".into(),
            given: None,
            ended: None,
            compact: None,
            tainted: vec!["web:docs.rs".into()],
        })),
        step(Body::Intent(Box::new(Intent {
            key: key("demo/1/2/model/0"),
            class: EffectClass::Idempotent,
            attempt: 1,
            what: Intended::Model(ModelIntent {
                route: route(),
                transition: Transition::Input,
                inputs: vec![6],
                history: vec![],
                manifest: hash(2),
                tools_off: false,
                max_output: 4096,
                encoder: "anthropic/1".into(),
                request: hash(3),
                bytes: 1234,
                prefix: None,
                prefix_broken: Vec::new(),
                left_out: 0,
                schema_native: false,
                files: Some(FilesSent {
                    sight: Sight { images: true, documents: false },
                    bytes: 92,
                    tokens: 85,
                }),
                thinking: None,
            }),
        }))),
        step(Body::Outcome(Box::new(Outcome {
            key: key("demo/1/2/tool/1"),
            attempt: 1,
            result: EffectResult::Tool(ToolOutcome {
                status: ToolStatus::Ok,
                view: "an image".into(),
                full: None,
                facts: vec![],
                started_at: 1_699_999_999_999,
                duration_ms: 1,
                untrusted: None,
                attachments: vec![Attachment {
                    width: Some(640),
                    height: Some(480),
                    in_view: true,
                    ..Attachment::new("a.png", "image/png", blob(6, 69))
                }],
            }),
        }))),
        step(Body::WaitOpened(Box::new(WaitOpened {
            wait: "w3".into(),
            key: key("demo/1/2/tool/3"),
            deadline: None,
            answered: false,
            on: WaitOn::Plan(SubmittedPlan {
                slug: "fix-it".into(),
                content: "# Fix it".into(),
                after: Mode::AcceptEdits,
            }),
        }))),
        step(Body::HookIntent(Box::new(HookIntent {
            key: "demo/1/2/hook/PreToolUse/0.1".into(),
            event: HookEvent::PreToolUse,
            asks: HookAsked {
                route: "a/m".parse().unwrap(),
                billed: Billed {
                    usage: Usage { input_uncached: 3, ..Usage::default() },
                    estimated: true,
                    ..Billed::default()
                },
            },
        }))),
        step(Body::HookRan(Box::new(HookRan {
            key: "demo/1/2/hook/PreToolUse/0.1".into(),
            event: HookEvent::PreToolUse,
            tool: Some(key("demo/1/2/tool/0")),
            input: Some(4),
            hooks: vec![HookReport {
                name: "hooks.json:PreToolUse.1.1".into(),
                end: HookEnd::FailedClosed,
                duration_ms: 3,
                message: "hello".into(),
                output: "noise".into(),
            }],
            says: HookSays {
                blocked: true,
                permission: Some(Decision::Ask),
                reason: "so".into(),
                stop: Some("enough".into()),
                rewrite: Some(Rewrite {
                    arguments: "{}".into(),
                    class: EffectClass::AtMostOnce,
                    effects: None,
                }),
                context: vec!["mind".into()],
            },
            asked: vec![],
        }))),
        step(Body::WaitOpened(Box::new(WaitOpened {
            wait: "w2".into(),
            key: key("demo/1/2/tool/2"),
            deadline: None,
            answered: false,
            on: WaitOn::Questions(vec![Question {
                question: "Which?".into(),
                header: "Choice".into(),
                options: vec![Choice {
                    label: "A".into(),
                    description: "the first".into(),
                    preview: Some("a".into()),
                }],
                multi: true,
            }]),
        }))),
        step(Body::WaitOpened(Box::new(WaitOpened {
            wait: "w4".into(),
            key: key("demo/1/2/tool/4"),
            deadline: Some(1_700_000_060_000),
            answered: false,
            on: WaitOn::Timer,
        }))),
        step(Body::WaitOpened(Box::new(WaitOpened {
            wait: "w5".into(),
            key: key("demo/1/2/tool/5"),
            deadline: None,
            answered: true,
            on: WaitOn::Signal { name: "ci:42".into() },
        }))),
        step(Body::WaitResolved {
            wait: "demo/signal/ci:42".into(),
            ruling: Ruling::Signal("{\"ok\":true}".into()),
            by: "person".into(),
            early: true,
        }),
        step(Body::WaitOpened(Box::new(WaitOpened {
            wait: "w3".into(),
            key: key("demo/1/2/tool/3"),
            deadline: None,
            answered: false,
            on: WaitOn::Child(ChildTurn {
                session: SessionId::new("agent-1").unwrap(),
                input: 2,
                agent: "explore".into(),
                task: "find it".into(),
            }),
        }))),
        step(Body::WaitResolved {
            wait: "w3".into(),
            ruling: Ruling::Ended(Box::new(ChildEnd {
                turn: None,
                session: SessionId::new("agent-1").unwrap(),
                input: 2,
                stop: Some(StopReason::MaxSteps),
                message: "not found".into(),
                steps: 12,
                spent: vec![Spent {
                    route: route(),
                    calls: 12,
                    usage: Usage { input_uncached: 10, output: 5, ..Usage::default() },
                    cost: Some(7),
                }],
                changed_files: vec!["/w/a".into()],
                tainted: Vec::new(),
            })),
            by: "child".into(),
            early: false,
        }),
        step(Body::WaitResolved {
            wait: "w1".into(),
            ruling: Ruling::Deny { feedback: "not that".into() },
            by: by(),
            early: true,
        }),
        turn(Body::CancelRequested { turn: 1, request: "r1".into(), by: by(), reason: "enough".into() }),
        turn(Body::LimitReached { turn: 1, reason: StopReason::Deadline }),
        session(Body::GrantGiven {
            grant: Grant {
                effects: None,
                tool: "shell".into(),
                summary: "rm x".into(),
                scope: GrantScope::Session,
                content: hash(8),
                expires: Some(1_700_000_100_000),
                permits: None,
            },
            by: by(),
        }),
        session(Body::Memory(Box::new(MemoryChange::Kept(MemoryNote {
            id: "m0123456789ab".into(),
            name: "Test command".into(),
            scope: MemoryScope::Project,
            text: "cargo nextest run".into(),
            tags: vec!["rust".into()],
            aliases: vec!["tc".into()],
            source: MemorySource {
                by: "model".into(),
                session: Some(SessionId::new("demo").unwrap()),
                call: Some(key("demo/1/2/tool/0")),
            },
            tainted: vec!["web:docs.rs".into()],
        })))),
        session(Body::Memory(Box::new(MemoryChange::Forgotten { ids: vec!["m1".into()], by: by() }))),
        session(Body::Memory(Box::new(MemoryChange::Used { ids: vec!["m1".into(), "m2".into()] }))),
        session(Body::Memory(Box::new(MemoryChange::Recalled {
            notes: vec![RecalledNote {
                id: "m1".into(),
                scope: MemoryScope::User,
                name: "port".into(),
                text: "5432".into(),
                cut: true,
                tainted: vec!["web:docs.rs".into()],
            }],
        }))),
        automation(AutomationChange::Made(Box::new(Automation {
            name: "nightly".into(),
            start: Start::Cron { expr: "0 3 * * *".into() },
            zone: "Europe/Berlin".into(),
            quiet: Some(QuietHours { from: 1_320, to: 120 }),
            missed: Missed::All,
            overlap: Overlap::Queue,
            target: RunTarget::Session(SessionId::new("demo").unwrap()),
            prompt: "look at the build".into(),
            given: Box::new(Given::new(route(), "/w")),
            by: by(),
        }))),
        automation(AutomationChange::Paused { name: "nightly".into(), by: by() }),
        automation(AutomationChange::Resumed { name: "nightly".into(), by: by() }),
        automation(AutomationChange::Removed { name: "nightly".into(), by: by() }),
        automation(fired(Cause::Time { after: 1_699_900_000_000, missed: 2 })),
        automation(fired(Cause::Occurrence(Box::new(occurrence())))),
        automation(fired(Cause::Hand { by: by() })),
        automation(AutomationChange::Passed {
            name: "nightly".into(),
            made: 2,
            after: 1_699_900_000_000,
            until: 1_699_990_000_000,
            times: 3,
            why: PassedWhy::Overlap,
        }),
        automation(AutomationChange::Dropped {
            name: "nightly".into(),
            made: 2,
            occurrence: Box::new(occurrence()),
            why: PassedWhy::Hops,
        }),
        automation(AutomationChange::Ended {
            run: "nightly.2.1699999999000".into(),
            end: Box::new(RunEnd {
                outcome: RunOutcome::Stopped(StopReason::MaxSteps),
                session: Some(SessionId::new("demo").unwrap()),
                message: "too long".into(),
                steps: 4,
                tokens: 500,
                cost: Some(6),
            }),
        }),
        automation(AutomationChange::Discarded {
            session: SessionId::new("demo").unwrap(),
            key: "job:demo/1/2/tool/0".into(),
            why: Discard::SessionDeleted,
        }),
        goal(GoalChange::Set(Goal {
            id: "g1".into(),
            objective: "all tests pass".into(),
            token_budget: Some(10_000),
            by: by(),
        })),
        goal(GoalChange::Status { status: GoalStatus::BudgetLimited, why: "it is used up".into(), by: by() }),
        goal(GoalChange::Cleared { by: by() }),
        session(Body::Budget(Box::new(BudgetChange::Asked {
            key: key("demo/1/2/model/0"),
            attempt: 2,
            spent: Spend { tokens: 900, cost: Some(7_000) },
            children: std::collections::BTreeMap::from([(
                SessionId::new("agent-1").unwrap(),
                Spend { tokens: 400, cost: None },
            )]),
            caps: SpendCaps { tokens: Some(5_000), cost: Some(1_000_000_000) },
            wish: SpendWish {
                max_output: 800,
                least: 1,
                price: Some(WorstPrice { input: 12, million: 15_000_000_000 }),
            },
        }))),
        session(Body::Budget(Box::new(BudgetChange::Settled {
            key: key("demo/1/2/model/0"),
            attempt: 2,
            spent: Spend { tokens: 950, cost: Some(7_500) },
        }))),
        session(Body::GrantRevoked { content: hash(8), by: by() }),
        session(Body::TodoSet { items: vec![item], by: by() }),
        step(Body::CheckpointTaken(Box::new(CheckpointTaken {
            root: "/w".into(),
            manifest: hash(9),
            files: 12,
            bytes_new: 345,
            skipped: 1,
            skipped_names: vec!["big: 9 bytes are over the limit of one file".into()],
        }))),
        step(Body::CheckpointMissed { root: "/".into(), why: "it is the root of the file system".into() }),
        step(Body::Outcome(Box::new(Outcome {
            key: key("demo/1/2/tool/1"),
            attempt: 1,
            result: EffectResult::Tool(ToolOutcome {
                status: ToolStatus::Ok,
                view: "a page".into(),
                full: None,
                facts: vec![],
                started_at: 1_699_999_999_999,
                duration_ms: 1,
                attachments: Vec::new(),
                untrusted: Some(Box::new(Untrusted {
                    origin: "web:docs.rs".into(),
                    flags: vec!["ignore-instructions".into()],
                })),
            }),
        }))),
        step(Body::WaitOpened(Box::new(WaitOpened {
            wait: "w3".into(),
            key: key("demo/1/2/tool/1"),
            deadline: None,
            answered: false,
            on: WaitOn::Approval(Approval {
                effects: None,
                tool: "web_fetch".into(),
                summary: "fetch".into(),
                reason: "it reaches out".into(),
                rule: None,
                source: None,
                preview: None,
                content: hash(8),
                untrusted: vec![Untrusted { origin: "web:docs.rs".into(), flags: vec![] }],
            }),
        }))),
        session(Body::Rewound(Rewound { to: 5, files: Some(hash(9)), conversation: true, by: by() })),
    ]
}
