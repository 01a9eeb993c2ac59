//! Tables: what has happened, and what the machine then wants. Expectations are written by hand.

#![allow(clippy::unwrap_used)]

mod world;

use Do::*;
use EffectClass::{AtMostOnce as A, Compensable as C, Idempotent as I, Pure as P};
use sterna_model::*;
use sterna_turn::{Next, TurnMachine};
use world::*;

/// Something that happens. Answers of the model come with their intent, if it is not there yet.
#[derive(Debug, Clone)]
enum Do {
    Input(Delivery),
    /// The model call's intent alone.
    Ask,
    Text(&'static str),
    Empty,
    Cut(&'static str),
    Refuse(&'static str),
    Partial,
    Calls(&'static [EffectClass]),
    Attempt(ErrorClass, Option<Millis>),
    Fail(ErrorClass),
    /// The intent of a call, as attempt n.
    Intent(u32, u32),
    /// The intent of the undo of a call's attempt n.
    Undo(u32, u32),
    /// A result that nobody has seen before.
    New(u32),
    /// A result that is always the same.
    Same(u32),
    End(u32, ToolStatus),
    Wait(u32),
    Question(u32),
    Rule(u32, Ruling),
    Cancel,
    Limit(StopReason),
    InDoubt(u32, InDoubtPolicy),
    Commit,
}

struct Play {
    machine: TurnMachine,
    limits: Limits,
    on_ask: OnAsk,
    results: u32,
}

impl Play {
    fn new(limits: Limits, on_ask: OnAsk) -> Self {
        let mut play = Self { machine: TurnMachine::new(), limits, on_ask, results: 0 };
        play.push(opened(SESSION, None));
        play.act(&Input(Delivery::NextTurn));
        play
    }

    fn push(&mut self, body: Body) {
        let turn = match (&body, self.machine.turn()) {
            (Body::TurnStarted(_), _) => Some(self.machine.turns() + 1),
            (_, turn) => turn.map(|turn| turn.number),
        };
        let record = record(self.machine.head() + 1, turn, body);
        self.machine.apply(&record).unwrap_or_else(|e| panic!("{e}: {:?}", record.body));
    }

    fn key(&self, kind: EffectKind, ordinal: u32) -> EffectKey {
        let turn = self.machine.turn().unwrap();
        EffectKey { session: turn.session.clone(), turn: turn.number, step: turn.steps(), kind, ordinal }
    }

    /// The key of the open model call, whose intent is written if it is missing.
    fn asked(&mut self) -> EffectKey {
        if let Next::Start { inputs, .. } = self.machine.next() {
            self.push(started(inputs, self.limits.clone(), self.on_ask));
        }
        match self.machine.next() {
            Next::Effects(effects) => match &effects[..] {
                [Effect::CallModel(call)] => {
                    if call.intent.is_none() {
                        self.push(model_intent(call));
                    }
                    call.key.clone()
                }
                other => panic!("no model call is wanted: {other:?}"),
            },
            other => panic!("no model call is wanted: {other:?}"),
        }
    }

    fn act(&mut self, what: &Do) {
        let text = |text: &str| vec![Part::Text(text.into())];
        match what.clone() {
            Input(delivery) => self.push(input("words", delivery)),
            Ask => drop(self.asked()),
            Text(said) => self.answer(text(said), &[], ModelStop::EndTurn),
            Empty => self.answer(vec![], &[], ModelStop::EndTurn),
            Cut(said) => self.answer(text(said), &[], ModelStop::MaxOutput),
            Refuse(said) => self.answer(text(said), &[], ModelStop::Refused),
            Partial => self.answer(text("so f"), &[], ModelStop::Cancelled),
            Calls(classes) => {
                let parts = (0..classes.len()).map(|n| call(&format!("id{n}"), "{}"));
                self.answer(parts.collect(), classes, ModelStop::ToolCalls);
            }
            Attempt(class, retry_at) => {
                let key = self.asked();
                let Next::Effects(effects) = self.machine.next() else { panic!("not asked") };
                let Effect::CallModel(call) = &effects[0] else { panic!("not a model call") };
                self.push(attempt(&key, call.attempt, class, retry_at));
            }
            Fail(class) => {
                let key = self.asked();
                self.push(outcome(&key, EffectResult::ModelFailed(failure(class, 0))));
            }
            Intent(n, attempt) => {
                let class = self.machine.turn().unwrap().calls()[n as usize].class;
                let key = self.key(EffectKind::Tool, n);
                self.push(tool_intent(&key, class, attempt));
            }
            Undo(n, attempt) => self.push(undo_intent(&self.key(EffectKind::Tool, n), attempt)),
            New(n) => {
                self.results += 1;
                let view = format!("news {}", self.results);
                self.push(tool_outcome(&self.key(EffectKind::Tool, n), ToolStatus::Ok, &view));
            }
            Same(n) => self.push(tool_outcome(&self.key(EffectKind::Tool, n), ToolStatus::Ok, "same")),
            End(n, status) => self.push(tool_outcome(&self.key(EffectKind::Tool, n), status, "said")),
            Wait(n) => self.push(wait_opened(&self.key(EffectKind::Tool, n), false)),
            Question(n) => self.push(wait_opened(&self.key(EffectKind::Tool, n), true)),
            Rule(n, ruling) => {
                let wait = self.key(EffectKind::Tool, n).to_string();
                self.push(Body::WaitResolved { wait, ruling, by: "p".into(), early: false });
            }
            Cancel => {
                let turn = self.machine.turns();
                let (request, by, reason) = ("r".into(), "p".into(), "enough".into());
                self.push(Body::CancelRequested { turn, request, by, reason });
            }
            Limit(reason) => self.push(Body::LimitReached { turn: self.machine.turns(), reason }),
            InDoubt(n, resolution) => {
                self.push(Body::InDoubt { key: self.key(EffectKind::Tool, n), resolution });
            }
            Commit => match self.machine.next() {
                Next::Done(outcome) => self.push(committed(outcome)),
                other => panic!("the turn is not over: {other:?}"),
            },
        }
    }

    fn answer(&mut self, parts: Vec<Part>, classes: &[EffectClass], stop: ModelStop) {
        let key = self.asked();
        self.push(answered(&key, parts, classes.to_vec(), stop));
    }
}

/// The machine's wish in a few words.
fn short(next: &Next) -> String {
    match next {
        Next::Idle => "idle".into(),
        Next::Start { turn, inputs } => format!("start {turn} {inputs:?}"),
        Next::Wait(waits) => format!("wait {}", waits.join(" ")),
        Next::Done(TurnOutcome::Finished { message, .. }) => format!("finished {message}"),
        Next::Done(TurnOutcome::Stopped { reason, by, .. }) => {
            format!(
                "stopped {}{}",
                reason.word(),
                by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default()
            )
        }
        Next::Effects(effects) => {
            let one = |effect: &Effect| match effect {
                Effect::Compact(wanted) => format!("compact {}", wanted.trigger.word()),
                Effect::CallModel(call) => {
                    let mut text = format!("model {} {}", call.key.step, call.transition.word());
                    if !call.inputs.is_empty() {
                        text.push_str(&format!(" {:?}", call.inputs));
                    }
                    if call.tools_off {
                        text.push_str(" off");
                    }
                    if call.intent.is_some() {
                        text.push_str(&format!(" attempt {}", call.attempt));
                    }
                    text
                }
                Effect::CallTool(call) => {
                    let mut text = format!("tool {}", call.key.ordinal);
                    if call.started > 0 {
                        text.push_str(&format!(" started {}", call.started));
                    }
                    if call.undoing {
                        text.push_str(" undoing");
                    }
                    if call.doubt_answered {
                        text.push_str(" doubt answered");
                    }
                    if let Some(ruling) = &call.ruling {
                        text.push_str(&format!(
                            " {}",
                            format!("{ruling:?}").split([' ', '(']).next().unwrap()
                        ));
                    }
                    if let Some(closed) = call.closed {
                        text.push_str(&format!(" {closed:?}"));
                    }
                    text
                }
            };
            effects.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    }
}

fn with(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

fn check_as(limits: &Limits, on_ask: OnAsk, what: &[Do], expected: &str) {
    let mut play = Play::new(limits.clone(), on_ask);
    what.iter().for_each(|what| play.act(what));
    assert_eq!(short(&play.machine.next()), expected, "after {what:?} with {limits:?}");
}

fn check(what: &[Do], expected: &str) {
    check_as(&Limits::default(), OnAsk::Deny, what, expected);
}

#[test]
fn steps_and_their_transitions() {
    check(&[], "start 1 [2]");
    check(&[Ask], "model 1 input attempt 1");
    check(&[Text("hi")], "finished hi");
    check(&[Text("hi"), Commit], "idle");
    check(&[Calls(&[P])], "tool 0");
    check(&[Calls(&[P]), New(0)], "model 2 tool_results");
    check(&[Calls(&[P]), New(0), Text("done")], "finished done");
    check(&[Cut("a")], "model 2 output_continue");
    check(&[Empty], "model 2 nudge");
    check(&[Text("  \n")], "model 2 nudge");
    check(&[Text("hi"), Commit, Input(Delivery::NextTurn)], "start 2 [7]");
}

#[test]
fn inputs_are_taken_at_their_boundary() {
    use Delivery::*;
    // Record 2 is the first input, 3 the turn's start.
    check(&[Ask, Input(NextTurn), Text("a")], "finished a");
    check(&[Ask, Input(NextTurn), Text("a"), Commit], "start 2 [5]");
    check(&[Calls(&[P]), Input(AfterWork), New(0)], "model 2 tool_results [6]");
    check(&[Calls(&[P]), Input(BeforeCompletion), New(0)], "model 2 tool_results");
    check(&[Calls(&[P]), Input(BeforeCompletion), New(0), Text("a")], "model 3 steer [6]");
    // Both kinds are heard before the turn ends, in the order in which they came.
    check(&[Ask, Input(BeforeCompletion), Input(AfterWork), Text("a")], "model 2 steer [5, 6]");
    check(&[Ask, Input(AfterWork), Text("a"), Text("b")], "finished b");
    // While the final answer is being written, and after it.
    check(&[Ask, Input(AfterWork), Text("a")], "model 2 steer [5]");
    check(&[Text("a"), Input(AfterWork)], "model 2 steer [6]");
    check(&[Text("a"), Input(NextTurn)], "finished a");
    // With no turn to enter, a steer begins one, alone and in order.
    check(&[Text("a"), Commit, Input(BeforeCompletion), Input(AfterWork)], "start 2 [7]");
    check(&[Text("a"), Commit, Input(AfterWork), Text("b"), Commit], "idle");
    // An empty or a cut answer is a boundary too.
    check(&[Ask, Input(AfterWork), Empty], "model 2 nudge [5]");
    check(&[Ask, Input(AfterWork), Cut("a")], "model 2 output_continue [5]");
    // A turn that is stopped takes nothing more: the input is the next turn's.
    check(&[Ask, Input(AfterWork), Cancel, Text("a")], "stopped cancelled by p");
    check(&[Ask, Input(AfterWork), Cancel, Text("a"), Commit], "start 2 [5]");
}

#[test]
fn the_step_limit_leaves_one_answer_without_tools() {
    let one = with(|l| l.max_steps = 1);
    let check = |what: &[Do], expected: &str| check_as(&one, OnAsk::Deny, what, expected);
    check(&[Text("a")], "finished a");
    check(&[Calls(&[P]), New(0)], "model 2 grace off");
    check(&[Calls(&[P]), New(0), Text("so far")], "stopped max_steps");
    check(&[Calls(&[P]), New(0), Empty], "stopped max_steps");
    check(&[Calls(&[P]), New(0), Cut("a")], "stopped max_steps");
    check(&[Calls(&[P]), New(0), Calls(&[A, P])], "tool 0 ToolsOff, tool 1 ToolsOff");
    let off = End(0, ToolStatus::NotAvailable);
    check(&[Calls(&[P]), New(0), Calls(&[A]), off], "stopped max_steps");
    check(&[Ask, Input(Delivery::AfterWork), Text("a")], "model 2 grace [5] off");
    check(&[Empty], "model 2 grace off");
    check_as(&with(|l| l.max_steps = 0), OnAsk::Deny, &[], "start 1 [2]");
    check_as(&with(|l| l.max_steps = 0), OnAsk::Deny, &[Text("a")], "stopped max_steps");
    let two = with(|l| l.max_steps = 2);
    check_as(&two, OnAsk::Deny, &[Calls(&[P]), New(0)], "model 2 tool_results");
    check_as(&two, OnAsk::Deny, &[Calls(&[P]), New(0), Calls(&[P]), New(0)], "model 3 grace off");
}

#[test]
fn calls_run_in_batches_of_their_class() {
    check(&[Calls(&[P, P, A, P])], "tool 0, tool 1");
    check(&[Calls(&[P, P, A, P]), New(1)], "tool 0");
    check(&[Calls(&[P, P, A, P]), New(1), New(0)], "tool 2");
    check(&[Calls(&[P, P, A, P]), New(0), New(1), Intent(2, 1)], "tool 2 started 1");
    check(&[Calls(&[P, P, A, P]), New(0), New(1), New(2)], "tool 3");
    check(&[Calls(&[I, I]), New(0)], "tool 1");
    let eleven: &[EffectClass] = &[P; 11];
    let ten = "tool 0, tool 1, tool 2, tool 3, tool 4, tool 5, tool 6, tool 7, tool 8, tool 9";
    check(&[Calls(eleven)], ten);
    for max in [0, 1] {
        let limits = with(|l| l.max_parallel_tools = max);
        check_as(&limits, OnAsk::Deny, &[Calls(&[P, P])], "tool 0");
        check_as(&limits, OnAsk::Deny, &[Calls(&[P, P]), New(0)], "tool 1");
    }
    check_as(&with(|l| l.max_parallel_tools = 2), OnAsk::Deny, &[Calls(&[P, P, P])], "tool 0, tool 1");
}

#[test]
fn cut_answers_are_continued_up_to_the_limit_and_joined() {
    check(&[Cut("a"), Cut("b"), Cut("c")], "model 4 output_continue");
    check(&[Cut("a"), Cut("b"), Cut("c"), Cut("d")], "stopped max_output");
    check(&[Cut("a, "), Cut("b, "), Text("c")], "finished a, b, c");
    // A call is no continuation: what was said before it belongs to it.
    check(&[Cut("a"), Calls(&[P]), New(0), Text("b")], "finished b");
    let none = with(|l| l.max_output_continuations = 0);
    check_as(&none, OnAsk::Deny, &[Cut("a")], "stopped max_output");
    let one = with(|l| l.max_output_continuations = 1);
    check_as(&one, OnAsk::Deny, &[Cut("a")], "model 2 output_continue");
    check_as(&one, OnAsk::Deny, &[Cut("a"), Cut("b")], "stopped max_output");
    check(&[Empty, Empty], "stopped no_progress");
    check(&[Empty, Text("there")], "finished there");
    check(&[Empty, Calls(&[P]), New(0), Empty], "stopped no_progress");
}

/// The steps of a loop: the first is news, the others are not.
fn stalled(steps: usize) -> Vec<Do> {
    std::iter::repeat_n([Calls(&[P]), Same(0)], steps + 1).flatten().collect()
}

#[test]
fn a_stall_is_nudged_at_half_and_stopped_at_the_limit() {
    for (limit, nudge) in [(12, 6), (13, 6), (5, 2), (4, 2), (3, 1), (2, 1)] {
        let limits = with(|l| l.no_progress_steps = limit);
        for n in 0..limit as usize {
            let wanted = if n == nudge { "nudge" } else { "tool_results" };
            check_as(&limits, OnAsk::Deny, &stalled(n), &format!("model {} {wanted}", n + 2));
        }
        check_as(&limits, OnAsk::Deny, &stalled(limit as usize), "stopped no_progress");
    }
    // One stalled step stops before anything could be nudged; none at all switches it off.
    let one = with(|l| l.no_progress_steps = 1);
    check_as(&one, OnAsk::Deny, &stalled(0), "model 2 tool_results");
    check_as(&one, OnAsk::Deny, &stalled(1), "stopped no_progress");
    let off = with(|l| l.no_progress_steps = 0);
    check_as(&off, OnAsk::Deny, &stalled(60), "model 62 tool_results");
    // News between two stalls: the second is nudged like the first.
    let four = with(|l| l.no_progress_steps = 4);
    let news = [Calls(&[P]), New(0)];
    let again = [Calls(&[P]), Same(0)];
    let twice = [&stalled(2)[..], &news, &again].concat();
    check_as(&four, OnAsk::Deny, &twice, "model 6 tool_results");
    check_as(&four, OnAsk::Deny, &[&twice[..], &again].concat(), "model 7 nudge");
    check_as(&four, OnAsk::Deny, &[&twice[..], &again, &again].concat(), "model 8 tool_results");
    check_as(&four, OnAsk::Deny, &[&twice[..], &again, &again, &again].concat(), "stopped no_progress");
    // One call with news is enough.
    let both = [Calls(&[P, P]), Same(0), New(1)];
    check_as(&one, OnAsk::Deny, &[&both[..], &both].concat(), "model 3 tool_results");
}

#[test]
fn a_file_or_a_todo_item_in_a_new_state_is_progress() {
    let limits = with(|l| l.no_progress_steps = 1);
    for (facts, expected) in [
        (vec![], "stopped no_progress"),
        (vec![Fact::FileRead { path: "/a".into(), hash: Digest([1; 32]) }], "stopped no_progress"),
        (
            vec![Fact::FileWritten { path: "/a".into(), before: None, after: Digest([1; 32]) }],
            "model 3 tool_results",
        ),
        (
            vec![Fact::Todo(TodoItem {
                id: "1".into(),
                subject: "s".into(),
                description: String::new(),
                active_form: String::new(),
                status: TodoStatus::Pending,
                owner: None,
                blocks: vec![],
                blocked_by: vec![],
                metadata: None,
            })],
            "model 3 tool_results",
        ),
    ] {
        let mut play = Play::new(limits.clone(), OnAsk::Deny);
        [Calls(&[P]), Same(0), Calls(&[P])].iter().for_each(|what| play.act(what));
        let result = ToolOutcome {
            status: ToolStatus::Ok,
            view: "same".into(),
            full: None,
            facts: facts.clone(),
            started_at: 1,
            duration_ms: 1,
            untrusted: None,
        };
        play.push(outcome(&play.key(EffectKind::Tool, 0), EffectResult::Tool(result)));
        assert_eq!(short(&play.machine.next()), expected, "{facts:?}");
    }
}

#[test]
fn denials_in_a_row_stop_a_turn_that_has_nobody_to_ask() {
    let no = End(0, ToolStatus::Denied);
    let step = [Calls(&[A]), no.clone()];
    let two = [&step[..], &step].concat();
    let three = [&two[..], &step].concat();
    check(&two, "model 3 tool_results");
    check(&three, "stopped denied");
    check_as(&Limits::default(), OnAsk::Prompt, &three, "model 4 tool_results");
    for on_ask in [OnAsk::Park, OnAsk::Fail] {
        check_as(&Limits::default(), on_ask, &three, "stopped denied");
    }
    // Only a call that worked breaks the row.
    let ok = [Calls(&[A]), New(0)];
    check(&[&two[..], &ok, &step].concat(), "model 5 tool_results");
    for other in [ToolStatus::Failed, ToolStatus::InvalidArguments, ToolStatus::Timeout] {
        check(&[&two[..], &[Calls(&[A]), End(0, other)], &step].concat(), "stopped denied");
    }
    check(
        &[Calls(&[A, A, A]), no.clone(), End(1, ToolStatus::Denied), End(2, ToolStatus::Denied)],
        "stopped denied",
    );
    check(&[Calls(&[A, A, A]), no.clone(), End(1, ToolStatus::Denied), New(2)], "model 2 tool_results");
    let one = with(|l| l.max_consecutive_denials = 1);
    check_as(&one, OnAsk::Deny, &step, "stopped denied");
    let off = with(|l| l.max_consecutive_denials = 0);
    check_as(&off, OnAsk::Deny, &[&three[..], &three].concat(), "model 7 tool_results");
}

#[test]
fn tokens_and_money_stop_before_the_next_step() {
    // Each answer costs 10 tokens and 50 nano-dollars, each failed attempt 2 and 10.
    let step = [Calls(&[P]), New(0)];
    for (tokens, expected) in [(10, "stopped budget_tokens"), (11, "model 2 tool_results")] {
        check_as(&with(|l| l.max_tokens = Some(tokens)), OnAsk::Deny, &step, expected);
    }
    for (cost, expected) in [(50, "stopped budget_cost"), (51, "model 2 tool_results")] {
        check_as(&with(|l| l.max_cost = Some(cost)), OnAsk::Deny, &step, expected);
    }
    let failed = [Attempt(ErrorClass::Server, Some(5)), Calls(&[P]), New(0)];
    for (tokens, expected) in [(12, "stopped budget_tokens"), (13, "model 2 tool_results")] {
        check_as(&with(|l| l.max_tokens = Some(tokens)), OnAsk::Deny, &failed, expected);
    }
    // The last answer is paid: it is not thrown away.
    check_as(&with(|l| l.max_tokens = Some(1)), OnAsk::Deny, &[Text("a")], "finished a");
}

#[test]
fn failures_of_the_model() {
    use ErrorClass::*;
    check(&[Attempt(RateLimit, Some(9))], "model 1 input attempt 2");
    check(&[Attempt(RateLimit, Some(9)), Attempt(Server, Some(9)), Text("a")], "finished a");
    for (class, expected) in [
        (Auth, "stopped provider_failed"),
        (StreamCut, "stopped provider_failed"),
        (ContextOverflow, "compact overflow"),
        (ContentFilter, "stopped refused"),
    ] {
        check(&[Fail(class)], expected);
    }
    check(&[Refuse("no way")], "stopped refused");
    check(&[Refuse("")], "stopped refused");
    // Our own death is no failure of the provider; what was waited adds up.
    let mut play = Play::new(Limits::default(), OnAsk::Deny);
    for class in [RateLimit, Interrupted, Server] {
        play.act(&Attempt(class, Some(77)));
    }
    let Next::Effects(effects) = play.machine.next() else { panic!("over") };
    let Effect::CallModel(call) = &effects[0] else { panic!("a tool") };
    assert_eq!((call.attempt, call.failures, call.waited_ms, call.not_before), (4, 2, 30, Some(77)));
}

#[test]
fn a_stop_is_heard_in_every_phase_and_the_first_counts() {
    use StopReason::*;
    let stops: [(Do, &str); 4] = [
        (Cancel, "stopped cancelled by p"),
        (Limit(Deadline), "stopped deadline"),
        (Limit(BudgetCost), "stopped budget_cost"),
        (Limit(ContextOverflow), "stopped context_overflow"),
    ];
    for (stop, ended) in &stops {
        let after = |before: &[Do], then: &[Do], expected: &str| {
            check(&[before, std::slice::from_ref(stop), then].concat(), expected);
        };
        // A model call is answered first: with what was said so far, or with the whole answer.
        after(&[Ask], &[], "model 1 input attempt 1");
        after(&[Ask], &[Partial], ended);
        after(&[Ask], &[Text("a")], ended);
        after(&[Ask], &[Empty], ended);
        after(&[Ask], &[Cut("a")], ended);
        after(&[Ask], &[Fail(ErrorClass::Server)], ended);
        after(&[Ask], &[Refuse("a")], ended);
        after(&[Attempt(ErrorClass::Server, Some(9))], &[], "model 1 input attempt 2");
        after(&[Attempt(ErrorClass::Server, Some(9))], &[Partial], ended);
        after(&[Ask], &[Calls(&[P, A])], "tool 0 Cancelled, tool 1 Cancelled");
        // Every open call gets its answer, whatever its batch.
        after(&[Calls(&[P, A, P]), New(0)], &[], "tool 1 Cancelled, tool 2 Cancelled");
        after(&[Calls(&[A, A]), Intent(0, 1)], &[], "tool 0 started 1 Cancelled, tool 1 Cancelled");
        after(&[Calls(&[A]), Wait(0)], &[], "tool 0 Cancelled");
        after(&[Calls(&[A]), Wait(0)], &[Rule(0, Ruling::Allow)], "tool 0 Allow Cancelled");
        after(&[Calls(&[A])], &[End(0, ToolStatus::Cancelled)], ended);
        after(&[Calls(&[A]), New(0)], &[], ended);
        after(&[Text("a")], &[], ended);
        after(&[Empty], &[], ended);
        // The first stop names the ending.
        for (other, _) in &stops {
            after(&[Calls(&[A]), New(0)], std::slice::from_ref(other), ended);
        }
    }
    // Before the first request, and too late.
    let mut play = Play::new(Limits::default(), OnAsk::Deny);
    play.push(started(vec![2], Limits::default(), OnAsk::Deny));
    play.act(&Cancel);
    assert_eq!(short(&play.machine.next()), "stopped cancelled by p");
    check(&[Text("a"), Commit, Cancel], "idle");
    check(&[Text("a"), Commit, Limit(Deadline)], "idle");
    check(&[Partial], "stopped cancelled");
}

#[test]
fn waits_and_their_answers() {
    let deny = || Ruling::Deny { feedback: "no".into() };
    let prompt = |what: &[Do], expected: &str| check_as(&Limits::default(), OnAsk::Prompt, what, expected);
    prompt(&[Calls(&[P, P]), Wait(0), Wait(1)], "wait s/1/1/tool/0 s/1/1/tool/1");
    prompt(&[Calls(&[P, P]), Wait(0)], "tool 1");
    prompt(&[Calls(&[P, P]), Wait(0), New(1)], "wait s/1/1/tool/0");
    prompt(&[Calls(&[P, P]), Wait(0), Wait(1), Rule(1, Ruling::Allow)], "tool 1 Allow");
    prompt(
        &[Calls(&[P, P]), Wait(0), Wait(1), Rule(0, deny()), Rule(1, Ruling::Allow)],
        "tool 0 Deny, tool 1 Allow",
    );
    prompt(&[Calls(&[A]), Wait(0), Rule(0, deny()), End(0, ToolStatus::Denied)], "model 2 tool_results");
    prompt(&[Calls(&[A]), Wait(0), Rule(0, Ruling::Timeout)], "tool 0 Timeout");
    prompt(&[Calls(&[A]), Question(0), Rule(0, Ruling::Answers(vec![]))], "tool 0 Answers");
    // The first answer counts; answers to nothing are heard by nobody.
    prompt(&[Calls(&[A]), Wait(0), Rule(0, Ruling::Allow), Rule(0, deny())], "tool 0 Allow");
    prompt(&[Calls(&[A]), Rule(0, Ruling::Allow)], "tool 0");
    // A call that asks twice: the second answer is the one that it gets.
    prompt(&[Calls(&[A]), Wait(0), Rule(0, Ruling::Allow), Question(0)], "wait s/1/1/tool/0");
    // `fail` stops at an approval that is not given, and not at a question.
    for ruling in [deny(), Ruling::Timeout] {
        let asked = |ask: Do| [Calls(&[A]), ask, Rule(0, ruling.clone()), End(0, ToolStatus::Denied)];
        check_as(&Limits::default(), OnAsk::Fail, &asked(Wait(0)), "stopped denied");
        check_as(&Limits::default(), OnAsk::Fail, &asked(Question(0)), "model 2 tool_results");
        check_as(&Limits::default(), OnAsk::Deny, &asked(Wait(0)), "model 2 tool_results");
    }
}

#[test]
fn calls_in_doubt() {
    use InDoubtPolicy::*;
    let begun = [Calls(&[A]), Intent(0, 1)];
    let then = |more: &[Do], expected: &str| check(&[&begun[..], more].concat(), expected);
    let unknown = End(0, ToolStatus::OutcomeUnknown);
    then(&[InDoubt(0, Report)], "tool 0 started 1");
    then(&[InDoubt(0, Report), unknown.clone()], "model 2 tool_results");
    then(&[InDoubt(0, Rerun), Intent(0, 2)], "tool 0 started 2");
    then(&[InDoubt(0, Stop)], "tool 0 started 1 Cancelled");
    then(&[InDoubt(0, Stop), unknown], "stopped in_doubt");
    then(&[Cancel, InDoubt(0, Stop), End(0, ToolStatus::OutcomeUnknown)], "stopped cancelled by p");
}

#[test]
fn a_doubt_that_a_person_settles() {
    use InDoubtPolicy::Ask;
    let asked = [Calls(&[A]), Intent(0, 1), InDoubt(0, Ask), Wait(0)];
    // Whatever an ask does otherwise, and a doubt that is not run again is no refusal: `fail` does not stop for it.
    let then = |more: &[Do], expected: &str| {
        for on_ask in [OnAsk::Deny, OnAsk::Fail, OnAsk::Park, OnAsk::Prompt] {
            check_as(&Limits::default(), on_ask, &[&asked[..], more].concat(), expected);
        }
    };
    let deny = || Ruling::Deny { feedback: String::new() };
    then(&[], "wait s/1/1/tool/0");
    then(&[Rule(0, Ruling::Allow)], "tool 0 started 1 doubt answered Allow");
    then(&[Rule(0, deny())], "tool 0 started 1 doubt answered Deny");
    then(&[Rule(0, deny()), End(0, ToolStatus::OutcomeUnknown)], "model 2 tool_results");
    // The answer was for that attempt, and not for the next one.
    then(&[Rule(0, Ruling::Allow), Intent(0, 2)], "tool 0 started 2 Allow");
    then(&[Rule(0, Ruling::Allow), Intent(0, 2), InDoubt(0, Ask)], "tool 0 started 2 Allow");
    // An answer that came before the doubt is none to it.
    check(
        &[Calls(&[A]), Wait(0), Rule(0, Ruling::Allow), Intent(0, 1), InDoubt(0, Ask)],
        "tool 0 started 1 Allow",
    );
}

#[test]
fn an_undo_is_begun_once_for_each_attempt() {
    let begun = [Calls(&[C]), Intent(0, 1)];
    let then = |more: &[Do], expected: &str| check(&[&begun[..], more].concat(), expected);
    then(&[Undo(0, 1)], "tool 0 started 1 undoing");
    then(&[Undo(0, 1), End(0, ToolStatus::RolledBack)], "model 2 tool_results");
    // It failed, and the policy said to run the call again.
    then(&[Undo(0, 1), InDoubt(0, InDoubtPolicy::Rerun), Intent(0, 2)], "tool 0 started 2");
    then(
        &[Undo(0, 1), InDoubt(0, InDoubtPolicy::Rerun), Intent(0, 2), Undo(0, 2)],
        "tool 0 started 2 undoing",
    );
    then(&[Undo(0, 1), Cancel], "tool 0 started 1 undoing Cancelled");
}

#[test]
fn a_fork_begins_without_what_was_running() {
    for before in [
        vec![Ask],
        vec![Calls(&[A]), Intent(0, 1)],
        vec![Calls(&[A]), Wait(0)],
        vec![Text("a")],
        vec![Text("a"), Commit, Input(Delivery::NextTurn)],
    ] {
        let mut play = Play::new(Limits::default(), OnAsk::Deny);
        before.iter().for_each(|what| play.act(what));
        let parent = Parent {
            session: SessionId::new(SESSION).unwrap(),
            seq: play.machine.head(),
            hash: Digest::ZERO,
        };
        play.machine.apply(&record(1, None, opened("child", Some(parent)))).unwrap();
        assert_eq!((short(&play.machine.next()).as_str(), play.machine.head()), ("idle", 1), "{before:?}");
        // Turn numbers go on where the parent's were.
        play.act(&Input(Delivery::NextTurn));
        assert_eq!(short(&play.machine.next()), "start 2 [2]");
        play.act(&Text("child"));
        assert_eq!(short(&play.machine.next()), "finished child");
        assert_eq!(play.key(EffectKind::Model, 0).to_string(), "child/2/1/model/0");
    }
}

/// Tries a record that cannot follow: it is refused by name, and nothing of it is there afterwards.
fn refused(before: &[Do], wrong: impl Fn(&Play) -> Record) {
    let mut play = Play::new(Limits::default(), OnAsk::Deny);
    before.iter().for_each(|what| play.act(what));
    let (state, record) = (play.machine.clone(), wrong(&play));
    let error = play.machine.apply(&record).expect_err(&format!("{:?} after {before:?}", record.body));
    assert_eq!(error.seq, record.seq);
    assert!(!error.why.is_empty());
    assert_eq!(play.machine, state, "{:?} after {before:?}", record.body);
}

#[test]
fn records_that_cannot_follow_leave_the_state_as_it_was() {
    let body = |before: &[Do], wrong: &dyn Fn(&Play) -> Body| {
        refused(before, |play| record(play.machine.head() + 1, Some(1), wrong(play)));
    };
    let text = || vec![Part::Text("a".into())];
    let model = |play: &Play| play.key(EffectKind::Model, 0);
    let tool = |play: &Play| play.key(EffectKind::Tool, 0);
    let end = ModelStop::EndTurn;
    // Places.
    refused(&[], |_| record(2, None, input("again", Delivery::NextTurn)));
    refused(&[], |_| record(4, None, input("too far", Delivery::NextTurn)));
    refused(&[], |_| record(3, None, opened(SESSION, None)));
    refused(&[], |_| record(1, None, opened("other", None)));
    let parent = || Parent { session: SessionId::new(SESSION).unwrap(), seq: 2, hash: Digest::ZERO };
    refused(&[], |_| record(1, None, opened(SESSION, Some(parent()))));
    refused(&[], |_| record(3, None, opened("child", Some(parent()))));
    let mut nobody = TurnMachine::new();
    assert!(nobody.apply(&record(1, None, input("who", Delivery::NextTurn))).is_err());
    assert_eq!(nobody, TurnMachine::new());
    // Turns.
    refused(&[], |_| record(3, None, started(vec![2], Limits::default(), OnAsk::Deny)));
    body(&[Ask], &|_| started(vec![2], Limits::default(), OnAsk::Deny));
    body(&[Text("a"), Commit], &|_| started(vec![2], Limits::default(), OnAsk::Deny));
    body(&[Text("a"), Commit], &|_| committed(TurnOutcome::Finished { message: "a".into(), value: None }));
    // The model call.
    let again = |play: &Play, step: u32| {
        let key = EffectKey { step, ..model(play) };
        model_intent(&CallModel {
            key,
            attempt: 1,
            failures: 0,
            waited_ms: 0,
            not_before: None,
            transition: Transition::Input,
            inputs: vec![],
            tools_off: false,
            intent: None,
        })
    };
    body(&[Ask], &|play| again(play, 1));
    body(&[Ask], &|play| again(play, 2));
    body(&[Calls(&[A])], &|play| again(play, 2));
    body(&[Calls(&[A]), New(0)], &|play| again(play, 3));
    body(&[Text("a")], &|play| answered(&model(play), text(), vec![], end));
    body(&[Ask], &|play| answered(&EffectKey { step: 2, ..model(play) }, text(), vec![], end));
    body(&[Ask], &|play| answered(&EffectKey { turn: 2, ..model(play) }, text(), vec![], end));
    body(&[Ask], &|play| answered(&tool(play), text(), vec![], end));
    let other = || SessionId::new("other").unwrap();
    body(&[Ask], &|play| answered(&EffectKey { session: other(), ..model(play) }, text(), vec![], end));
    body(&[Ask], &|play| attempt(&model(play), 2, ErrorClass::Server, None));
    body(&[Attempt(ErrorClass::Server, Some(1))], &|play| attempt(&model(play), 1, ErrorClass::Server, None));
    body(&[Ask], &|play| attempt(&tool(play), 1, ErrorClass::Server, None));
    body(&[Text("a")], &|play| attempt(&model(play), 1, ErrorClass::Server, None));
    // Tool calls.
    let calls = [Calls(&[A])];
    body(&[Calls(&[A, A]), New(0)], &|play| tool_outcome(&tool(play), ToolStatus::Ok, "twice"));
    body(&calls, &|play| tool_outcome(&play.key(EffectKind::Tool, 1), ToolStatus::Ok, "nobody's"));
    body(&calls, &|play| tool_outcome(&model(play), ToolStatus::Ok, "not a call's"));
    body(&[Ask], &|play| tool_outcome(&tool(play), ToolStatus::Ok, "early"));
    body(&[Calls(&[A]), New(0)], &|play| tool_outcome(&tool(play), ToolStatus::Ok, "late"));
    body(&[Calls(&[A, A]), New(0)], &|play| tool_intent(&tool(play), A, 1));
    body(&[Calls(&[A]), Intent(0, 1)], &|play| tool_intent(&tool(play), A, 1));
    body(&calls, &|play| tool_intent(&tool(play), A, 2));
    body(&[Calls(&[A]), Wait(0)], &|play| tool_intent(&tool(play), A, 1));
    body(&[Calls(&[A]), Wait(0)], &|play| wait_opened(&tool(play), false));
    body(&[Calls(&[A, A]), New(0)], &|play| wait_opened(&tool(play), false));
    let doubt = |key: EffectKey| Body::InDoubt { key, resolution: InDoubtPolicy::Stop };
    body(&[Calls(&[A, A]), New(0)], &|play| doubt(tool(play)));
    body(&calls, &|play| doubt(play.key(EffectKind::Tool, 7)));
}
