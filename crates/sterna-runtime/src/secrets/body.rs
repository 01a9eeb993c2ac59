//! A record's body without its secrets: the one place that all of them pass before they are folded and kept.

use sterna_model::{
    Body, EffectResult, Fact, Frame, HookRan, InputPart, MemoryChange, ModelOutcome, Part, Question,
    Reasoning, Ruling, TodoItem, ToolOutcome, WaitOn,
};
use sterna_secrets::Scoped;

use super::arguments;

/// Takes the secrets out of a record that is about to be written. What a record before it said already, such as the
/// text of a turn's end, is not looked at again.
pub(crate) fn clean(body: &mut Body, secrets: &Scoped) {
    let text = |text: &mut String| {
        secrets.redact_in_place(text);
    };
    let parts = |parts: &mut Vec<InputPart>| {
        parts.iter_mut().for_each(|part| match part {
            InputPart::Text(said) => text(said),
            // The bytes are in its blob, and not looked into.
            InputPart::File(file) => text(&mut file.name),
        });
    };
    match body {
        Body::InputAccepted(input) => {
            parts(&mut input.parts);
            input.compact.iter_mut().for_each(text);
        }
        Body::InputEdited { parts: edited, .. } => parts(edited),
        Body::TitleSet { title, made, .. } => {
            text(title);
            if let Some(made) = made {
                made.instead_of.iter_mut().for_each(text);
                made.failed.iter_mut().for_each(text);
                made.billed.raw.iter_mut().for_each(text);
            }
        }
        Body::CancelRequested { reason, .. } => text(reason),
        Body::Attempt(attempt) => {
            text(&mut attempt.failure.message);
            attempt.failure.billed.raw.iter_mut().for_each(text);
        }
        Body::Outcome(outcome) => match &mut outcome.result {
            EffectResult::Model(model) => answer(model, secrets),
            EffectResult::ModelFailed(failure) => text(&mut failure.message),
            EffectResult::Tool(result) => tool(result, secrets),
            EffectResult::Summary(summary) => {
                text(&mut summary.text);
                summary.failed.iter_mut().for_each(text);
            }
            EffectResult::Judged(judgement) => {
                text(&mut judgement.reason);
                judgement.failed.iter_mut().for_each(text);
            }
        },
        Body::WaitOpened(opened) => match &mut opened.on {
            WaitOn::Approval(approval) => {
                text(&mut approval.summary);
                text(&mut approval.reason);
                approval.preview.iter_mut().for_each(text);
            }
            WaitOn::Questions(questions) => questions.iter_mut().for_each(|asked| question(asked, secrets)),
            WaitOn::Plan(plan) => text(&mut plan.content),
            WaitOn::Child(turn) => text(&mut turn.task),
            WaitOn::Timer | WaitOn::Signal { .. } => {}
        },
        Body::WaitResolved { ruling, .. } => match ruling {
            Ruling::Deny { feedback } => text(feedback),
            Ruling::Answers(answers) => answers.iter_mut().for_each(text),
            Ruling::Signal(payload) => arguments::clean(payload, secrets),
            Ruling::Edited(edit) => arguments::clean(&mut edit.arguments, secrets),
            Ruling::Plan { content, .. } => content.iter_mut().for_each(text),
            // What a child says was cleaned in its own log.
            Ruling::Allow | Ruling::Timeout | Ruling::Ended(_) => {}
        },
        Body::GrantGiven { grant, .. } => text(&mut grant.summary),
        Body::TodoSet { items, .. } => items.iter_mut().for_each(|item| todo(item, secrets)),
        Body::CheckpointMissed { why, .. } => text(why),
        Body::HookRan(ran) => hook(ran, secrets),
        Body::Automation(change) => change.texts_mut().into_iter().for_each(text),
        Body::Goal(change) => change.text_mut().into_iter().for_each(text),
        Body::Memory(change) => match &mut **change {
            MemoryChange::Kept(note) => {
                [&mut note.name, &mut note.text].into_iter().for_each(text);
                note.tags.iter_mut().chain(&mut note.aliases).for_each(text);
            }
            MemoryChange::Recalled { notes } => {
                notes.iter_mut().flat_map(|note| [&mut note.name, &mut note.text]).for_each(text);
            }
            MemoryChange::Forgotten { .. } | MemoryChange::Used { .. } => {}
        },
        Body::SessionOpened(_)
        | Body::Budget(_)
        | Body::HookIntent(_)
        | Body::SessionClosed { .. }
        | Body::RouteChanged { .. }
        | Body::ModeChanged { .. }
        | Body::InputWithdrawn { .. }
        | Body::TurnStarted(_)
        | Body::TurnCommitted(_)
        // What they hold was cleaned when it was said.
        | Body::Compacted(_)
        | Body::CompactionMissed { .. }
        | Body::Intent(_)
        | Body::InDoubt { .. }
        | Body::LimitReached { .. }
        | Body::GrantRevoked { .. }
        | Body::CheckpointTaken(_)
        | Body::Rewound(_) => {}
    }
}

/// What hooks said. What they were given is not kept.
fn hook(ran: &mut HookRan, secrets: &Scoped) {
    secrets.redact_in_place(&mut ran.says.reason);
    if let Some(rewrite) = &mut ran.says.rewrite {
        arguments::clean(&mut rewrite.arguments, secrets);
    }
    let said = ran.says.stop.iter_mut().chain(&mut ran.says.context);
    let said = said.chain(ran.hooks.iter_mut().flat_map(|hook| [&mut hook.message, &mut hook.output]));
    said.for_each(|text| {
        secrets.redact_in_place(text);
    });
}

/// A model's answer. Nothing opaque is edited: with a secret in it, or beside a text that had one, it goes whole.
fn answer(model: &mut ModelOutcome, secrets: &Scoped) {
    join_split_texts(&mut model.parts, secrets);
    for part in &mut model.parts {
        match part {
            Part::Text(said) if model.partial => {
                if let std::borrow::Cow::Owned(clean) = secrets.redact_cut(said) {
                    *said = clean;
                }
            }
            Part::Text(said) => {
                secrets.redact_in_place(said);
            }
            Part::Reasoning(Reasoning { text, opaque }) => {
                let edited = secrets.redact_in_place(text);
                if edited || opaque.as_ref().is_some_and(|opaque| secrets.finds(&opaque.json)) {
                    *opaque = None;
                }
            }
            Part::ToolCall(call) => arguments::clean(&mut call.arguments, secrets),
            Part::Opaque(_) => {}
        }
    }
    model.parts.retain(|part| !matches!(part, Part::Opaque(opaque) if secrets.finds(&opaque.json)));
    if let Some(raw) = &mut model.billed.raw {
        secrets.redact_in_place(raw);
    }
}

/// Texts that follow each other are one text to whoever reads them: a secret that two of them share makes them one.
fn join_split_texts(parts: &mut Vec<Part>, secrets: &Scoped) {
    let text = |part: &Part| matches!(part, Part::Text(_));
    if !parts.windows(2).any(|pair| pair.iter().all(text)) {
        return;
    }
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts.drain(..) {
        if let (Some(Part::Text(before)), Part::Text(said)) = (joined.last_mut(), &part) {
            let whole = format!("{before}{said}");
            let apart = format!("{}{}", secrets.redact(before), secrets.redact(said));
            if secrets.redact(&whole) != apart {
                *before = whole;
                continue;
            }
        }
        joined.push(part);
    }
    *parts = joined;
}

fn tool(result: &mut ToolOutcome, secrets: &Scoped) {
    secrets.redact_in_place(&mut result.view);
    result.attachments.iter_mut().for_each(|file| {
        secrets.redact_in_place(&mut file.name);
    });
    for fact in &mut result.facts {
        match fact {
            Fact::Todo(item) => todo(item, secrets),
            Fact::Child(child) => {
                secrets.redact_in_place(&mut child.turn.task);
            }
            Fact::Goal(change) => change.text_mut().into_iter().for_each(|text| {
                secrets.redact_in_place(text);
            }),
            Fact::Continued(frame) => self::frame(frame, secrets),
            // A path is where something is: another text would be another place.
            Fact::FileRead { .. }
            | Fact::FileWritten { .. }
            | Fact::FileRemoved { .. }
            | Fact::ToolsFound { .. }
            | Fact::Command { .. }
            | Fact::ChildClosed(_) => {}
        }
    }
}

fn frame(frame: &mut Frame, secrets: &Scoped) {
    secrets.redact_in_place(&mut frame.task);
    frame.seed.values_mut().for_each(|value| arguments::clean_value(value, secrets));
}

fn todo(item: &mut TodoItem, secrets: &Scoped) {
    for text in [&mut item.subject, &mut item.description, &mut item.active_form] {
        secrets.redact_in_place(text);
    }
    item.metadata.iter_mut().for_each(|value| arguments::clean_value(value, secrets));
}

fn question(asked: &mut Question, secrets: &Scoped) {
    secrets.redact_in_place(&mut asked.question);
    secrets.redact_in_place(&mut asked.header);
    for choice in &mut asked.options {
        secrets.redact_in_place(&mut choice.label);
        secrets.redact_in_place(&mut choice.description);
        if let Some(preview) = &mut choice.preview {
            secrets.redact_in_place(preview);
        }
    }
}
