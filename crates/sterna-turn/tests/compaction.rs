//! When the machine wants the history smaller, what it accepts of a compaction, and how often it tries.

#![allow(clippy::unwrap_used, dead_code)]

mod world;

use sterna_model::*;
use sterna_turn::{Next, TurnMachine};
use world::*;

struct Play {
    machine: TurnMachine,
}

impl Play {
    fn new(first: Body) -> Self {
        let mut play = Self { machine: TurnMachine::new() };
        play.push(opened(SESSION, None));
        play.push(first);
        play.push(started(vec![2], Limits::default(), OnAsk::Deny));
        play
    }

    fn record(&self, body: Body) -> Record {
        let turn = match &body {
            Body::TurnStarted(_) => Some(self.machine.turns() + 1),
            _ => self.machine.turn().map(|turn| turn.number),
        };
        record(self.machine.head() + 1, turn, body)
    }

    fn push(&mut self, body: Body) {
        let record = self.record(body);
        self.machine.apply(&record).unwrap_or_else(|e| panic!("{e}: {:?}", record.body));
    }

    fn refuses(&mut self, body: Body) {
        let before = self.machine.clone();
        let record = self.record(body);
        assert!(self.machine.apply(&record).is_err(), "{:?}", record.body);
        assert_eq!(self.machine, before);
    }

    fn wanted(&self) -> Compaction {
        match self.machine.next() {
            Next::Effects(effects) => match effects.into_iter().next() {
                Some(Effect::Compact(wanted)) => wanted,
                other => panic!("no compaction is wanted: {other:?}"),
            },
            other => panic!("no compaction is wanted: {other:?}"),
        }
    }

    fn call(&self) -> CallModel {
        match self.machine.next() {
            Next::Effects(effects) => match effects.into_iter().next() {
                Some(Effect::CallModel(call)) => call,
                other => panic!("no model call is wanted: {other:?}"),
            },
            other => panic!("no model call is wanted: {other:?}"),
        }
    }

    fn ask(&mut self) -> EffectKey {
        let call = self.call();
        self.push(model_intent(&call));
        call.key
    }

    fn overflow(&mut self) {
        let key = self.ask();
        self.push(outcome(&key, EffectResult::ModelFailed(failure(ErrorClass::ContextOverflow, 0))));
    }

    fn done(&self) -> TurnOutcome {
        match self.machine.next() {
            Next::Done(outcome) => outcome,
            other => panic!("the turn is not over: {other:?}"),
        }
    }
}

fn asks_for_compaction(focus: &str) -> Body {
    Body::InputAccepted(InputAccepted {
        key: None,
        delivery: Delivery::NextTurn,
        parts: vec![],
        origin: "test".into(),
        given: None,
        ended: None,
        compact: Some(focus.into()),
        tainted: Vec::new(),
    })
}

fn intent(key: &EffectKey, trigger: CompactTrigger, focus: &str) -> Body {
    let model = ModelIntent {
        route: route(),
        transition: Transition::Compact,
        inputs: vec![],
        history: vec![],
        manifest: Digest::ZERO,
        tools_off: true,
        max_output: 2_000,
        encoder: "test/1".into(),
        request: Digest::ZERO,
        bytes: 1,
        prefix: None,
        prefix_broken: vec![],
        left_out: 0,
        schema_native: false,
        files: None,
        thinking: None,
    };
    let what = CompactIntent { trigger, focus: focus.into(), to: 2, cut_results: false, tokens: 9, model };
    let what = Intended::Compact(Box::new(what));
    Body::Intent(Box::new(Intent { key: key.clone(), class: EffectClass::Idempotent, attempt: 1, what }))
}

fn summary(key: &EffectKey, tokens: u64) -> Body {
    let summary = Summary { text: "s".into(), failed: None, billed: billed(tokens), duration_ms: 1 };
    outcome(key, EffectResult::Summary(summary))
}

fn compacted(trigger: CompactTrigger) -> Body {
    Body::Compacted(Box::new(Compacted {
        trigger,
        stage: CompactStage::Cut,
        key: None,
        archive: Some(Archive { from: 2, to: 2 }),
        summary: None,
        pinned: vec![],
        cut: vec![],
        tokens_before: 900,
        tokens_after: 300,
        bytes_before: 9,
        bytes_after: 3,
        failed: None,
        frame: None,
    }))
}

fn missed(trigger: CompactTrigger) -> Body {
    Body::CompactionMissed { trigger, why: "nothing is left".into() }
}

#[test]
fn a_request_that_does_not_fit_is_made_smaller_once_and_tried_once() {
    let mut play = Play::new(input("go", Delivery::NextTurn));
    play.overflow();
    let wanted = play.wanted();
    assert_eq!(wanted.key.to_string(), format!("{SESSION}/1/2/compact/0"));
    assert_eq!((wanted.trigger, wanted.attempt, wanted.intent), (CompactTrigger::Overflow, 1, None));
    play.push(compacted(CompactTrigger::Overflow));
    assert_eq!(play.call().key.to_string(), format!("{SESSION}/1/2/model/0"));
    play.overflow();
    assert!(matches!(play.done(), TurnOutcome::Stopped { reason: StopReason::ContextOverflow, .. }));

    // An answer in between makes the next one another one.
    let mut play = Play::new(input("go", Delivery::NextTurn));
    play.overflow();
    play.push(compacted(CompactTrigger::Overflow));
    let key = play.ask();
    let calls = vec![call("a", "{}")];
    play.push(answered(&key, calls, vec![EffectClass::Pure], ModelStop::ToolCalls));
    let tool = EffectKey { kind: EffectKind::Tool, ..key };
    play.push(tool_outcome(&tool, ToolStatus::Ok, "seen"));
    play.overflow();
    assert_eq!(play.wanted().trigger, CompactTrigger::Overflow);
    // With nothing left to make smaller it is over.
    play.push(missed(CompactTrigger::Overflow));
    assert!(matches!(play.done(), TurnOutcome::Stopped { reason: StopReason::ContextOverflow, .. }));
}

#[test]
fn a_compaction_that_a_person_asks_for_is_a_turn_without_a_model_call() {
    let mut play = Play::new(asks_for_compaction("the parser"));
    let wanted = play.wanted();
    assert_eq!((wanted.trigger, wanted.focus.as_str()), (CompactTrigger::Manual, "the parser"));
    play.push(intent(&wanted.key, wanted.trigger, &wanted.focus));
    let open = play.wanted();
    assert!(open.intent.is_some() && open.summary.is_none());
    // Nothing else happens while it is open.
    play.refuses(model_intent(&CallModel {
        key: format!("{SESSION}/1/1/model/0").parse().unwrap(),
        attempt: 1,
        failures: 0,
        waited_ms: 0,
        not_before: None,
        transition: Transition::Input,
        inputs: vec![],
        tools_off: false,
        intent: None,
    }));
    play.push(summary(&open.key, 7));
    assert_eq!(play.wanted().summary.unwrap().text, "s");
    play.refuses(summary(&open.key, 7));
    play.push(compacted(CompactTrigger::Manual));
    let TurnOutcome::Finished { message, .. } = play.done() else { panic!("it did not finish") };
    assert_eq!(message, "compacted (cut): about 900 tokens became 300");
    // What it cost is the turn's.
    assert_eq!(play.machine.turn().unwrap().usage(), billed(7).usage);
    let ends = play.done();
    play.push(committed(ends));
    assert_eq!(play.machine.next(), Next::Idle);

    let mut play = Play::new(asks_for_compaction(""));
    play.push(missed(CompactTrigger::Manual));
    let TurnOutcome::Finished { message, .. } = play.done() else { panic!("it did not finish") };
    assert_eq!(message, "nothing was compacted: nothing is left");
}

#[test]
fn a_summary_before_a_step_has_a_key_of_its_own_and_survives_a_life() {
    let mut play = Play::new(input("go", Delivery::NextTurn));
    let key = play.machine.turn().unwrap().compaction_key();
    play.push(intent(&key, CompactTrigger::Window, ""));
    play.push(attempt(&key, 1, ErrorClass::Interrupted, Some(2_000)));
    assert_eq!(play.wanted().attempt, 2);
    play.push(summary(&key, 3));
    play.push(compacted(CompactTrigger::Window));
    let turn = play.machine.turn().unwrap();
    assert_eq!((turn.compactions(), turn.compaction_key().ordinal), (1, 1));
    // The step that it was made for comes next, and after it the count begins again.
    let asked = play.ask();
    assert_eq!(asked.to_string(), format!("{SESSION}/1/1/model/0"));
    assert_eq!(play.machine.turn().unwrap().compactions(), 0);
}

#[test]
fn a_cancel_ends_a_compaction_and_the_turn() {
    let mut play = Play::new(asks_for_compaction(""));
    let key = play.wanted().key;
    play.push(intent(&key, CompactTrigger::Manual, ""));
    play.push(Body::CancelRequested { turn: 1, request: "r".into(), by: "p".into(), reason: String::new() });
    // The open call is to be closed first.
    assert!(play.wanted().intent.is_some());
    play.push(summary(&key, 1));
    assert!(matches!(play.done(), TurnOutcome::Stopped { reason: StopReason::Cancelled, .. }));
}

#[test]
fn nothing_is_compacted_within_a_step_or_outside_a_turn() {
    let mut play = Play::new(input("go", Delivery::NextTurn));
    let key = play.ask();
    play.refuses(compacted(CompactTrigger::Window));
    play.refuses(missed(CompactTrigger::Window));
    play.refuses(intent(&play.machine.turn().unwrap().compaction_key(), CompactTrigger::Window, ""));
    play.push(answered(&key, vec![Part::Text("hi".into())], vec![], ModelStop::EndTurn));
    // After a final answer no model is asked for anything.
    let ends = play.done();
    play.push(committed(ends));
    play.refuses(compacted(CompactTrigger::Window));
    play.refuses(summary(&format!("{SESSION}/1/2/compact/0").parse().unwrap(), 1));
}
